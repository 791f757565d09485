//! Stream connections: cutting, answering on the connection asked on, and knowing when to let go.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use call::{BindingChange, CdrFact, RegistrarPolicy};
use net::Records;

use crate::bench::{Line, Sbc, call_id, calls_to, request};

#[test]
fn a_request_is_answered_on_its_connection() {
    let sbc = Sbc::start(1);
    let mut line = sbc.dial();
    let local = line.stream.local_addr().unwrap();
    line.send(&request("BYE", "t1", "TCP", local));
    let answer = line.receive();
    assert!(answer.starts_with("SIP/2.0 481 "), "{answer}");
    sbc.net.shutdown().unwrap();
}

#[test]
fn pipelined_requests_are_all_answered_by_their_shards() {
    let sbc = Sbc::start(2);
    let mut line = sbc.dial();
    let local = line.stream.local_addr().unwrap();
    let calls: BTreeSet<String> = (0..100).map(|count| format!("{count}-pipelined")).collect();
    let all: String = calls.iter().map(|call| request("BYE", call, "TCP", local)).collect();
    line.send(&all);
    let answered: BTreeSet<String> = (0..100).map(|_| call_id(&line.receive()).to_owned()).collect();
    assert_eq!(answered, calls);
    assert!(sbc.stats().shards.iter().all(|shard| shard.core.requests_in > 0));
    sbc.net.shutdown().unwrap();
}

/// Keeps nothing before it has taken its time.
struct Slow(Arc<AtomicBool>, bool);

impl Records for Slow {
    fn open_cdr(&mut self, _: Box<CdrFact>, _: Option<Box<[u8]>>) {
        self.1 = true;
    }

    fn cdr(&mut self, _: Box<CdrFact>) {}

    fn flush(&mut self) {
        if std::mem::take(&mut self.1) {
            std::thread::sleep(Duration::from_millis(300));
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn binding(&mut self, _: &BindingChange) {}
}

#[test]
fn nobody_hears_of_a_call_over_a_stream_before_its_record_is_kept() {
    let kept = Arc::new(AtomicBool::new(false));
    let sbc = Sbc::start_with(1, |config| {
        config.records = vec![Box::new(Slow(Arc::clone(&kept), false))];
    });
    let mut line = sbc.dial();
    let local = line.stream.local_addr().unwrap();
    let calls = calls_to("sip:127.0.0.1:9", local);
    sbc.wait(sbc.net.handle().reload(calls, RegistrarPolicy::Closed)).unwrap();
    line.send(&request("INVITE", "kept", "TCP", local));
    let trying = line.receive();
    assert!(kept.load(Ordering::SeqCst), "heard first: {trying}");
    assert!(trying.starts_with("SIP/2.0 100 "), "{trying}");
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_request_that_comes_octet_by_octet_is_answered() {
    let sbc = Sbc::start(1);
    let mut line = sbc.dial();
    let text = request("BYE", "slow", "TCP", line.stream.local_addr().unwrap());
    for octet in text.as_bytes() {
        line.send(std::str::from_utf8(std::slice::from_ref(octet)).unwrap());
    }
    assert!(line.receive().starts_with("SIP/2.0 481 "));
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_ping_is_answered_with_a_pong() {
    let sbc = Sbc::start(1);
    let mut line = sbc.dial();
    line.send("\r\n\r\n");
    assert_eq!(line.receive_some(), "\r\n");
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_length_that_is_no_number_is_answered_400_and_the_connection_closed() {
    let sbc = Sbc::start(1);
    let mut line = sbc.dial();
    let text = request("BYE", "bad", "TCP", line.stream.local_addr().unwrap());
    line.send(&(text.replace("Content-Length: 0", "Content-Length: -1") + &"more".repeat(10_000)));
    let answer = line.receive();
    assert!(answer.starts_with("SIP/2.0 400 Bad Content-Length\r\n"), "{answer}");
    assert_eq!(call_id(&answer), "bad");
    assert!(line.is_closed());
    sbc.await_totals(|totals| (totals.framing_faults, totals.connections_open) == (1, 0));
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_connection_on_which_nothing_happens_is_closed() {
    let idle = Duration::from_millis(1500);
    let sbc = Sbc::start_with(1, |config| config.limits.idle = idle);
    let mut line = sbc.dial();
    let begun = Instant::now();
    for _ in 0..4 {
        std::thread::sleep(idle / 2);
        line.send("\r\n\r\n");
        assert_eq!(line.receive_some(), "\r\n", "it lives while something happens");
    }
    assert!(line.is_closed());
    assert!(begun.elapsed() >= 3 * idle);
    sbc.await_totals(|totals| (totals.connections_idle, totals.connections_open) == (1, 0));
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_connection_without_a_first_message_makes_room_for_others() {
    let soon = Duration::from_millis(1500);
    let sbc = Sbc::start_with(1, |config| config.limits.first_message = soon);
    let mut mute = sbc.dial();
    let mut pinging = sbc.dial();
    let mut dripping = sbc.dial();
    let mut working = sbc.dial();
    working.send(&request("OPTIONS", "o1", "TCP", working.stream.local_addr().unwrap()));
    assert!(working.receive().starts_with("SIP/2.0 "));
    pinging.send("\r\n\r\n");
    assert_eq!(pinging.receive_some(), "\r\n");
    dripping.send("OPTIONS sip:");
    for line in [&mut mute, &mut pinging, &mut dripping] {
        assert!(line.is_closed());
    }
    sbc.await_totals(|totals| (totals.connections_idle, totals.connections_open) == (3, 1));
    working.send(&request("OPTIONS", "o2", "TCP", working.stream.local_addr().unwrap()));
    assert!(working.receive().starts_with("SIP/2.0 "), "it has shown what it is here for");
    sbc.net.shutdown().unwrap();
}

/// Anybody can send a message that is refused: it is no ticket for as long as idle connections stay.
#[test]
fn a_stranger_keeps_its_connection_no_longer_than_from_message_to_message() {
    let soon = Duration::from_secs(2);
    let sbc = Sbc::start_with(1, |config| {
        config.limits.first_message = soon;
        config.guard.exempt.clear();
    });
    let mut line = sbc.dial();
    let local = line.stream.local_addr().unwrap();
    let begun = Instant::now();
    for round in 0..4 {
        line.send(&request("OPTIONS", &format!("strange{round}"), "TCP", local));
        assert!(line.receive().starts_with("SIP/2.0 "));
        std::thread::sleep(soon * 2 / 5);
    }
    assert!(begun.elapsed() > soon, "each message gives it as long again");
    let closed = |totals: net::NetTotals| (totals.connections_idle, totals.connections_open) == (1, 0);
    while !closed(sbc.net.handle().net_totals()) {
        assert!(begun.elapsed() < 4 * soon, "keep-alives give it no time");
        let _ = line.stream.write_all(b"\r\n\r\n");
        std::thread::sleep(soon / 20);
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn one_source_cannot_take_all_connections() {
    let sbc = Sbc::start_with(1, |config| config.limits.connections_per_source = 1);
    let mut first = sbc.dial();
    first.send("\r\n\r\n");
    assert_eq!(first.receive_some(), "\r\n");
    assert!(sbc.dial().is_closed(), "the second of this host");
    let elsewhere = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    elsewhere.bind(&std::net::SocketAddr::from(([127, 0, 0, 77], 0)).into()).unwrap();
    elsewhere.connect(&sbc.tcp.into()).unwrap();
    let mut elsewhere = Line::new(elsewhere.into());
    elsewhere.send("\r\n\r\n");
    assert_eq!(elsewhere.receive_some(), "\r\n", "others are not concerned");
    drop(first);
    sbc.await_totals(|totals| totals.connections_open == 1);
    let mut again = sbc.dial();
    again.send("\r\n\r\n");
    assert_eq!(again.receive_some(), "\r\n");
    sbc.net.shutdown().unwrap();
}

#[test]
fn no_more_connections_are_held_than_may_be() {
    let sbc = Sbc::start_with(1, |config| {
        config.limits.connections = 2;
        config.limits.connections_per_source = 2;
    });
    let mut lines = [sbc.dial(), sbc.dial()];
    for line in &mut lines {
        line.send("\r\n\r\n");
        assert_eq!(line.receive_some(), "\r\n");
    }
    assert!(sbc.dial().is_closed(), "the third finds no place");
    let [first, mut second] = lines;
    drop(first);
    sbc.await_totals(|totals| totals.connections_open == 1);
    let mut third = sbc.dial();
    for line in [&mut second, &mut third] {
        line.send("\r\n\r\n");
        assert_eq!(line.receive_some(), "\r\n");
    }
    assert_eq!(sbc.net.handle().net_totals().connections_refused, 1);
    sbc.net.shutdown().unwrap();
}

/// Requests, each of which is answered, until the box has closed the connection of whoever reads none of the answers.
fn flood(sbc: &Sbc, deaf: &mut Line) {
    use std::io::Write as _;
    let local = deaf.stream.local_addr().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut round = 0;
    while sbc.net.handle().net_totals().connections_slow == 0 && Instant::now() < deadline {
        let requests: String =
            (0..200).map(|n| request("BYE", &format!("deaf{round}-{n}"), "TCP", local)).collect();
        round += 1;
        if deaf.stream.write_all(requests.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_flood_of_keep_alives_is_not_answered_one_by_one() {
    let sbc = Sbc::start(1);
    let mut line = sbc.dial();
    line.send(&"\r\n\r\n".repeat(16_384));
    line.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut pongs = Vec::new();
    std::io::Read::read_to_end(&mut line.stream, &mut pongs).unwrap();
    assert!(
        pongs.len() >= 2 && pongs.len() < 2_000,
        "{} octets in answer to 16,384 keep-alives",
        pongs.len()
    );
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_long_before_its_place_is_full() {
    let stall = Duration::from_millis(400);
    let sbc = Sbc::start_with(1, |config| config.limits.write_stall = stall);
    let mut deaf = sbc.dial();
    deaf.stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    flood(&sbc, &mut deaf);
    sbc.await_totals(|totals| totals.connections_slow == 1);
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_peer_that_does_not_read_is_cut_off_and_the_others_go_on() {
    let sbc = Sbc::start_with(1, |config| config.limits.connection_octets = 10_000);
    let mut deaf = sbc.dial();
    deaf.stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    flood(&sbc, &mut deaf);
    sbc.await_totals(|totals| totals.connections_slow == 1);

    let mut line = sbc.dial();
    line.send("\r\n\r\n");
    assert_eq!(line.receive_some(), "\r\n");
    sbc.net.shutdown().unwrap();
}

#[test]
fn who_has_said_all_and_shut_its_side_gets_its_answers_on_the_same_connection() {
    let sbc = Sbc::start(2);
    for round in 0..20 {
        let mut line = sbc.dial();
        let local = line.stream.local_addr().unwrap();
        let requests: String =
            (0..3).map(|n| request("BYE", &format!("last{round}-{n}"), "TCP", local)).collect();
        line.send(&requests);
        line.stream.shutdown(std::net::Shutdown::Write).unwrap();
        for _ in 0..3 {
            assert!(line.receive().starts_with("SIP/2.0 481 "));
        }
        assert!(line.is_closed());
    }
    sbc.await_totals(|totals| (totals.connections_opened, totals.connections_open) == (0, 0));
    sbc.net.shutdown().unwrap();
}

#[test]
fn what_was_sound_before_the_stream_broke_is_answered_first() {
    let sbc = Sbc::start(2);
    for round in 0..20 {
        let mut line = sbc.dial();
        let local = line.stream.local_addr().unwrap();
        let sound = request("BYE", &format!("sound{round}"), "TCP", local);
        let broken = request("BYE", &format!("broken{round}"), "TCP", local);
        line.send(&(sound + &broken.replace("Content-Length: 0", "Content-Length: x")));
        let answers = [line.receive(), line.receive()];
        assert!(answers.iter().any(|answer| answer.starts_with("SIP/2.0 481 ")), "{answers:?}");
        assert!(answers.iter().any(|answer| answer.starts_with("SIP/2.0 400 ")), "{answers:?}");
        assert!(line.is_closed());
    }
    sbc.net.shutdown().unwrap();
}
