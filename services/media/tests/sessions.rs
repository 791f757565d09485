//! Ports, sessions and reports: what a shard is told, and that the books balance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use call::{
    DirectionStats, Family, MediaId, MediaOrder, MediaReport, PortPair, RemoteStream, Side, StreamPorts,
};
use harness::{Bench, LOCAL, Phone, receive, rtp};
use media::{Config, MediaError, start};
use smallvec::SmallVec;

#[test]
fn ports_come_in_even_pairs_within_the_range_and_none_twice() {
    let mut bench = Bench::new(22_000..=22_039);
    let mut seen = HashSet::new();
    for session in 0..10 {
        let ports = bench.open(session);
        for pair in [ports.a, ports.b] {
            assert!(pair.rtp.is_multiple_of(2) && pair.rtcp == pair.rtp + 1, "{pair:?}");
            assert!((22_000..=22_038).contains(&pair.rtp), "{pair:?}");
            assert!(seen.insert(pair.rtp), "{pair:?} was given twice");
        }
    }
    assert_eq!(bench.engine.ports_in_use(), 40);
}

#[test]
fn exhaustion_is_refused_and_leaks_nothing() {
    let mut bench = Bench::new(22_040..=22_049);
    bench.open(1);
    bench.open(2);
    assert_eq!(bench.try_open(3, 1).unwrap_err(), "every media port is in use or in quarantine");
    assert_eq!(bench.engine.ports_in_use(), 8);
    bench.close(1);
    bench.pass(Duration::from_secs(5));
    assert!(bench.try_open(3, 1).is_ok(), "the pair that the refused call had taken is free again");
    assert_eq!(bench.relay.totals().refused, 1);
}

#[test]
fn a_session_that_cannot_grow_stays_as_it_was() {
    let mut bench = Bench::new(22_060..=22_071);
    let before = bench.try_open(1, 1).unwrap();
    assert!(bench.try_open(1, 4).is_err());
    assert_eq!(bench.engine.ports_in_use(), 4);
    assert_eq!(bench.try_open(1, 1).unwrap(), before);
    let grown = bench.try_open(1, 3).unwrap();
    assert_eq!((grown.len(), grown[0]), (3, before[0]), "streams are added behind those that are there");
    assert_eq!(bench.try_open(1, 1).unwrap(), grown, "a session never shrinks");
    bench.close(1);
    assert_eq!(bench.engine.ports_in_use(), 0);
}

#[test]
fn a_description_with_a_hundred_streams_is_refused() {
    let mut bench = Bench::new(22_080..=22_999);
    assert_eq!(bench.try_open(1, 100).unwrap_err(), "more streams than a session may have");
    assert_eq!(bench.relay.totals().sockets, 0);
}

#[test]
fn a_call_gets_the_ports_back_that_it_had_before_the_process_died() {
    let mut bench = Bench::new(23_100..=23_115);
    let had: SmallVec<[StreamPorts; 1]> = [(23_104, 23_110), (23_112, 23_100)]
        .map(|(a, b)| StreamPorts { a: pair(a), b: pair(b) })
        .into_iter()
        .collect();
    assert_eq!(reopen(&mut bench, 7, had.clone()).unwrap(), had.to_vec());
    assert_eq!(bench.engine.ports_in_use(), 8);
    let others: Vec<u16> =
        (0..2).map(|id| bench.open(id)).flat_map(|ports| [ports.a.rtp, ports.b.rtp]).collect();
    let taken = [23_104, 23_110, 23_112, 23_100];
    assert!(others.iter().all(|port| !taken.contains(port)), "{others:?}");
    bench.close(7);
    assert_eq!(bench.engine.ports_in_use(), 8);
}

#[test]
fn ports_that_cannot_all_be_had_back_are_left_alone() {
    let mut bench = Bench::new(23_120..=23_129);
    let _stranger = UdpSocket::bind((LOCAL, 23_124)).unwrap();
    let one = |a, b| -> SmallVec<[StreamPorts; 1]> { [StreamPorts { a: pair(a), b: pair(b) }].into() };
    let refused = |bench: &mut Bench, a, b| reopen(bench, 1, one(a, b)).unwrap_err();
    assert_eq!(refused(&mut bench, 23_120, 23_124), "another process holds the port");
    assert_eq!(refused(&mut bench, 23_120, 23_131), "the port is not among media.ports");
    assert_eq!(refused(&mut bench, 23_120, 23_120), "another call has the port, or another shard of the box");
    assert_eq!(bench.engine.ports_in_use(), 0);
    assert!(reopen(&mut bench, 1, one(23_120, 23_122)).is_ok());
    assert_eq!(refused(&mut bench, 23_126, 23_128), "the session is open already");
}

fn pair(rtp: u16) -> PortPair {
    PortPair { rtp, rtcp: rtp + 1 }
}

fn reopen(
    bench: &mut Bench,
    session: u64,
    ports: SmallVec<[StreamPorts; 1]>,
) -> Result<Vec<StreamPorts>, String> {
    let order = MediaOrder::Reopen { session: MediaId(session), ports, families: [Family::V4; 2] };
    match bench.order(order).as_slice() {
        [MediaReport::Opened { streams, .. }] => Ok(streams.to_vec()),
        [MediaReport::Refused { why, .. }] => Err(why.to_string()),
        other => panic!("expected one answer, came {other:?}"),
    }
}

#[test]
fn a_port_rests_before_the_next_call_has_it_and_keeps_its_socket() {
    let mut bench = Bench::new(23_000..=23_003);
    bench.open(1);
    bench.close(1);
    assert!(bench.try_open(2, 1).is_err(), "in quarantine");
    bench.pass(Duration::from_millis(4999));
    assert!(bench.try_open(2, 1).is_err(), "still in quarantine");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.relay.totals().sockets, 2);
    bench.open(2);
    assert_eq!(bench.relay.totals().sockets, 2, "the sockets of the first call");
}

#[test]
fn ports_of_other_processes_are_stepped_over_and_counted() {
    let taken: Vec<UdpSocket> =
        [23_010, 23_014].map(|port| UdpSocket::bind((LOCAL, port)).unwrap()).into_iter().collect();
    let mut bench = Bench::new(23_010..=23_017);
    let ports = bench.open(1);
    assert_eq!(HashSet::from([ports.a.rtp, ports.b.rtp]), HashSet::from([23_012, 23_016]));
    assert!(bench.try_open(2, 1).is_err());
    assert_eq!(bench.relay.totals().ports_taken, 2);
    drop(taken);
    bench.pass(Duration::from_secs(5));
    assert!(bench.try_open(2, 1).is_ok(), "the other process has gone");
}

#[test]
fn five_hundred_calls_leave_nothing_behind() {
    let mut bench = Bench::new(24_000..=25_999);
    let (a, b) = (Phone::new(), Phone::new());
    let mut relayed = 0;
    for session in 0..500 {
        let ports = bench.call(session, &a, &b);
        bench.watch(session, true);
        if session % 10 == 0 {
            a.send(ports.a.rtp, &rtp(1));
            receive(&b.rtp);
            relayed += 1;
        }
    }
    let totals = bench.relay.totals();
    assert_eq!((totals.opened, totals.closed, totals.ports_in_use, totals.ports_total), (500, 0, 2000, 2000));
    let counted: u64 = (0..500).map(|session| bench.close(session).0.packets).sum();
    let totals = bench.totals_when(|totals| totals.packets == relayed);
    assert_eq!((totals.opened, totals.closed, totals.ports_in_use), (500, 500, 0));
    assert_eq!((counted, totals.packets), (relayed, relayed));
    assert_eq!(bench.engine.ports_in_use(), 0);
}

#[test]
fn closing_what_is_not_open_is_answered_and_not_counted() {
    let mut bench = Bench::new(26_000..=26_019);
    assert_eq!(bench.close(77), (DirectionStats::default(), DirectionStats::default()));
    bench.open(1);
    bench.close(1);
    bench.close(1);
    let totals = bench.relay.totals();
    assert_eq!((totals.opened, totals.closed), (1, 1));
}

#[test]
fn orders_for_sessions_and_streams_that_do_not_exist_are_ignored() {
    let mut bench = Bench::new(26_020..=26_039);
    let phone = Phone::new();
    bench.describe(9, Side::A, phone.description());
    bench.watch(9, true);
    bench.open(1);
    let order = MediaOrder::Describe {
        session: MediaId(1),
        stream: 200,
        side: Side::A,
        remote: Some(phone.description()),
        protection: None,
    };
    assert_eq!(bench.order(order), []);
}

/// Sixty seconds without a packet from B, while A is heard.
#[test]
fn a_side_that_should_send_and_does_not_is_reported_once() {
    let mut bench = Bench::new(26_040..=26_059);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.poll(), [], "nobody watches before the answer");
    bench.watch(1, true);
    let silent = |side| MediaReport::Silent { session: MediaId(1), side };
    for second in 1..=59u16 {
        a.send(ports.a.rtp, &rtp(second));
        receive(&b.rtp);
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.poll(), [], "after {second} s");
    }
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.poll(), [silent(Side::B)]);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.poll(), [], "once is enough");
    b.send(ports.b.rtp, &rtp(1));
    receive(&a.rtp);
    bench.pass(Duration::from_secs(57));
    assert_eq!(bench.poll(), [], "B was heard");
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.poll(), [silent(Side::A)]);
    bench.pass(Duration::from_secs(57));
    assert_eq!(bench.poll(), [silent(Side::B)]);
}

/// How many sides are reported to be silent.
fn silences(bench: &mut Bench) -> usize {
    bench.poll().iter().filter(|report| matches!(report, MediaReport::Silent { .. })).count()
}

/// Nobody has to play music to who is held, and who is held has nobody to speak to (RFC 3264 §8.4).
#[test]
fn a_call_on_hold_in_whatever_form_may_be_silent_until_it_is_resumed() {
    let mut bench = Bench::new(26_060..=26_079);
    let (a, b) = (Phone::new(), Phone::new());
    let (of_a, of_b) = (a.description(), b.description());
    let nowhere = RemoteStream { rtp: "0.0.0.0:4000".parse().unwrap(), ..of_a };
    let forms = [
        (RemoteStream { receives: false, ..of_a }, RemoteStream { sends: false, ..of_b }),
        (
            RemoteStream { receives: false, sends: false, ..of_a },
            RemoteStream { sends: false, receives: false, ..of_b },
        ),
        (RemoteStream { sends: false, ..of_a }, RemoteStream { receives: false, ..of_b }),
        (nowhere, of_b),
    ];
    for (session, (holds, is_held)) in (1..).zip(forms) {
        bench.call(session, &a, &b);
        bench.watch(session, true);
        bench.describe(session, Side::A, holds);
        bench.describe(session, Side::B, is_held);
        for _ in 0..100 {
            bench.pass(Duration::from_secs(60));
            assert_eq!(silences(&mut bench), 0, "{holds:?}");
        }
        bench.describe(session, Side::A, of_a);
        bench.describe(session, Side::B, of_b);
        bench.pass(Duration::from_secs(59));
        assert_eq!(silences(&mut bench), 0, "{holds:?}");
        bench.pass(Duration::from_secs(1));
        assert_eq!(silences(&mut bench), 2, "it counts again: {holds:?}");
        bench.close(session);
    }
}

#[test]
fn a_watch_that_ended_reports_nothing() {
    let mut bench = Bench::new(26_120..=26_139);
    let (a, b) = (Phone::new(), Phone::new());
    bench.call(1, &a, &b);
    bench.watch(1, true);
    bench.watch(1, false);
    bench.pass(Duration::from_secs(600));
    assert_eq!(bench.poll(), []);
}

/// While one side sends the picture of a page, the other says nothing.
#[test]
fn a_fax_is_silent_when_both_sides_are() {
    let mut bench = Bench::new(26_140..=26_159);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    a.send(ports.a.rtp, &rtp(1));
    receive(&b.rtp);
    bench.describe(1, Side::A, RemoteStream { is_rtp: false, ..a.description() });
    bench.describe(1, Side::B, RemoteStream { is_rtp: false, ..b.description() });
    bench.watch(1, true);
    for second in 0..180u8 {
        a.send(ports.a.rtp, &[0, second, 6, 1, 2, 3]);
        receive(&b.rtp);
        bench.pass(Duration::from_secs(1));
        assert_eq!(silences(&mut bench), 0, "after {second} s");
    }
    bench.pass(Duration::from_secs(60));
    assert_eq!(silences(&mut bench), 2);
}

#[test]
fn a_refresh_with_the_same_description_does_not_put_the_report_off() {
    let mut bench = Bench::new(26_080..=26_099);
    let (a, b) = (Phone::new(), Phone::new());
    bench.call(1, &a, &b);
    bench.watch(1, true);
    bench.pass(Duration::from_secs(50));
    assert_eq!(bench.poll(), []);
    bench.describe(1, Side::A, a.description());
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.poll().len(), 2);
}

#[test]
fn a_shard_is_woken_while_it_watches_and_only_then() {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let config = Config { ports: 26_100..=26_119, timeout: Duration::from_millis(160), ..Config::default() };
    let wake = Box::new(move || {
        counter.fetch_add(1, SeqCst);
    });
    let (mut engines, relay) = start(config, 1, vec![wake]).unwrap();
    let mut bench = Bench { engine: engines.remove(0), relay, now: sip::Time::ZERO };
    bench.open(1);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(wakes.load(SeqCst), 0, "nothing to look for");

    bench.watch(1, true);
    let deadline = Instant::now() + Duration::from_secs(5);
    while wakes.load(SeqCst) < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(wakes.load(SeqCst) >= 3);
    bench.close(1);
    std::thread::sleep(Duration::from_millis(50));
    let after = wakes.load(SeqCst);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(wakes.load(SeqCst), after);
}

#[test]
fn shards_share_the_range_without_meeting() {
    let config = Config { ports: 27_000..=27_023, threads: 2, ..Config::default() };
    let wakes: Vec<media::Wake> = (0..3).map(|_| Box::new(|| {}) as media::Wake).collect();
    let (mut engines, relay) = start(config, 3, wakes).unwrap();
    let mut seen = HashSet::new();
    for (shard, engine) in (0..).zip(&mut engines) {
        let mut reports = Vec::new();
        for session in 0..3 {
            let session = MediaId(shard * 10 + session);
            engine.order(
                MediaOrder::Open { session, streams: 1, families: [Family::V4; 2] },
                sip::Time::ZERO,
                &mut reports,
            );
        }
        assert!(matches!(reports[2], MediaReport::Refused { .. }), "each shard has four pairs");
        for report in &reports[..2] {
            let MediaReport::Opened { streams, .. } = report else { panic!("{report:?}") };
            assert!(seen.insert(streams[0].a.rtp) && seen.insert(streams[0].b.rtp), "{report:?}");
        }
        assert_eq!(engine.ports_in_use(), 8);
    }
    assert_eq!(relay.totals().ports_in_use, 24);
    drop(engines);
    let totals = relay.totals();
    assert_eq!(
        (totals.ports_in_use, totals.opened - totals.closed),
        (0, 0),
        "a shard that goes gives all back"
    );
}

#[test]
fn what_cannot_work_is_refused_at_the_start_and_named() {
    let config = |ports| Config { ports, ..Config::default() };
    let error = |config, shards, wakers: usize| -> MediaError {
        let wakes = (0..wakers).map(|_| Box::new(|| {}) as media::Wake).collect();
        match start(config, shards, wakes) {
            Ok(_) => panic!("started"),
            Err(error) => error,
        }
    };
    assert_eq!(
        error(config(27_001..=27_004), 1, 1).to_string(),
        "media ports 27001-27004 hold 1 pairs of an even and an odd port; 1 shards need at least 2"
    );
    assert!(matches!(error(config(27_000..=27_099), 2, 1), MediaError::Wakers { shards: 2, wakers: 1 }));
    let at = "192.0.2.1".parse().unwrap();
    let foreign = Config { address: at, advertise: at, ..config(27_000..=27_099) };
    let text = error(foreign, 1, 1).to_string();
    assert!(text.starts_with("media address 192.0.2.1 cannot be bound: "), "{text}");
    let other = |address: &str, advertise: &str| media::OtherFamily {
        address: address.parse().unwrap(),
        advertise: advertise.parse().unwrap(),
    };
    for (address, advertise, came) in
        [("127.0.0.2", "127.0.0.2", "127.0.0.2"), ("::1", "192.0.2.1", "192.0.2.1")]
    {
        let mixed = Config { other: Some(other(address, advertise)), ..config(27_000..=27_099) };
        let text = error(mixed, 1, 1).to_string();
        assert!(text.starts_with(&format!("media address {came} is not of the family expected")), "{text}");
    }
    let marked = Config { dscp: Some(64), ..config(27_000..=27_099) };
    assert_eq!(error(marked, 1, 1).to_string(), "media dscp 64 is not a code point: expected 0 to 63");
}
