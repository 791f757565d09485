//! The front door on the wire: what strangers get, that the Core hears nothing of it, and that overload is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use call::{RegistrarPolicy, User};
use net::{GuardRules, Reason};
use routing::{Snapshot, Source, Trunk};

use crate::bench::{PATIENCE, Sbc, call_id, request};

/// Loopback as strict as the rest of the world.
fn strict() -> GuardRules {
    GuardRules { exempt: Vec::new(), ..GuardRules::default() }
}

fn refused(sbc: &Sbc, reason: Reason) -> u64 {
    let totals = sbc.net.handle().guard_totals();
    totals.refused.iter().find(|(of, _)| *of == reason).unwrap().1
}

#[test]
fn a_stranger_is_refused_without_the_core_and_each_time_with_the_same_words() {
    let sbc = Sbc::start_with(2, |config| config.settings.registrar = RegistrarPolicy::Closed);
    let phone = sbc.phone();
    let invite = request("INVITE", "s1", "UDP", phone.address());
    phone.send(&invite);
    let answer = phone.receive();
    assert!(answer.starts_with("SIP/2.0 403 Forbidden\r\n"), "{answer}");
    assert!(!answer.contains("Server:"), "who answers is nobody's business: {answer}");
    phone.send(&invite);
    assert_eq!(phone.receive(), answer);
    // Neither is answered; what comes next is the answer to the third.
    phone.send(&request("ACK", "s1", "UDP", phone.address()));
    phone.send(&request("CANCEL", "s1", "UDP", phone.address()));
    phone.send(&request("OPTIONS", "s2", "UDP", phone.address()));
    assert_eq!(call_id(&phone.receive()), "s2");
    let core = sbc.stats().total.core;
    assert_eq!((core.requests_in, core.transactions, core.refused), (2, 0, 0), "only the ACK and the CANCEL");
    assert_eq!(refused(&sbc, Reason::Stranger), 3);
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_stream_of_a_stranger_is_answered_on_it_and_closed_when_it_is_banned() {
    let sbc = Sbc::start_with(1, |config| {
        config.settings.registrar = RegistrarPolicy::Closed;
        config.guard = GuardRules { strangers: 3, ..strict() };
    });
    let mut line = sbc.dial();
    let local = line.stream.local_addr().unwrap();
    for count in 0..3 {
        line.send(&request("OPTIONS", &format!("t{count}"), "TCP", local));
        assert!(line.receive().starts_with("SIP/2.0 403 "));
    }
    line.send(&request("OPTIONS", "t4", "TCP", local));
    assert!(line.is_closed(), "nobody is heard who is banned");
    let mut again = sbc.dial();
    assert!(again.is_closed(), "nor let in again");
    let bans = sbc.net.handle().bans();
    assert_eq!((bans.len(), bans[0].reason, bans[0].source.as_str()), (1, Reason::Stranger, "127.0.0.1"));
    assert_eq!(bans[0].until.0 - bans[0].since.0, 600_000_000);
    assert!(sbc.net.handle().lift(local.ip()));
    let mut line = sbc.dial();
    line.send(&request("OPTIONS", "t5", "TCP", local));
    assert!(line.receive().starts_with("SIP/2.0 403 "));
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_ban_is_in_force_at_every_shard_and_a_trunk_that_is_new_is_free_of_it() {
    let sbc = Sbc::start_with(2, |config| {
        config.settings.registrar = RegistrarPolicy::Closed;
        config.guard = strict();
    });
    let phone = sbc.phone();
    let scan = |call: &str| {
        request("OPTIONS", call, "UDP", phone.address())
            .replace("Max-Forwards", "User-Agent: friendly-scanner\r\nMax-Forwards")
    };
    phone.send(&scan("s0"));
    sbc.await_totals(|totals| totals.datagrams_in == 1);
    // Other ports, so that the system spreads them over the sockets of both shards.
    for count in 0..16 {
        sbc.phone().send(&request("OPTIONS", &format!("o{count}"), "UDP", phone.address()));
    }
    sbc.await_totals(|totals| totals.datagrams_in == 17);
    assert_eq!(sbc.net.handle().net_totals().datagrams_out, 0, "nobody got a word");
    assert_eq!((refused(&sbc, Reason::Scanner), refused(&sbc, Reason::Banned)), (1, 16));

    let mut trunk = Trunk::new("pbx");
    trunk.sources = vec![Source::parse("127.0.0.0/8").unwrap()];
    let snapshot = Arc::new(Snapshot::new(vec![trunk], Vec::new()).unwrap());
    sbc.wait(sbc.net.handle().reload(snapshot, RegistrarPolicy::Closed)).unwrap();
    phone.send(&request("BYE", "b1", "UDP", phone.address()));
    assert!(phone.receive().starts_with("SIP/2.0 481 "));
    sbc.net.shutdown().unwrap();
}

#[test]
fn guesses_at_a_password_are_answered_like_first_questions_until_they_are_banned() {
    let sbc = Sbc::start_with(1, |config| {
        let alice = User { name: "alice".to_owned(), password: "wonderland".to_owned() };
        config.settings.registrar = RegistrarPolicy::Users(vec![alice]);
        config.guard = strict();
    });
    let phone = sbc.phone();
    let mut answered = 0;
    for count in 0..12 {
        let guess = format!(
            "Authorization: Digest username=\"alice\", realm=\"drawbridge\", nonce=\"0\", uri=\"sip:bob@127.0.0.1\", response=\"{count:032x}\"\r\n\
             Max-Forwards"
        );
        phone.send(
            &request("REGISTER", &format!("g{count}"), "UDP", phone.address())
                .replace("Max-Forwards", &guess),
        );
        if count < 10 {
            assert!(phone.receive().starts_with("SIP/2.0 401 "));
            answered += 1;
        }
    }
    sbc.await_totals(|totals| totals.datagrams_in == 12);
    assert_eq!((answered, refused(&sbc, Reason::Password), refused(&sbc, Reason::Banned)), (10, 10, 2));
    sbc.net.shutdown().unwrap();
}

#[test]
fn while_messages_wait_too_long_new_calls_are_refused_and_calls_in_progress_are_not() {
    let sbc = Sbc::start_with(1, |config| {
        config.guard.overload_delay = Duration::from_millis(2);
        config.guard.overload_interval = Duration::from_millis(40);
    });
    let (phone, stop) = (sbc.phone(), AtomicBool::new(false));
    phone.socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let wake = sbc.wakers.waker(0);
    let (mut refusals, mut answers) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        // Every round of the shard takes 20 ms, and all the time there is something new for the next.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                sbc.engines[0].block.store(20, Ordering::SeqCst);
                wake();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let begin = Instant::now();
        let mut count = 0;
        while (refusals.len() < 3 || answers < 3) && begin.elapsed() < PATIENCE {
            count += 1;
            phone.send(&request("OPTIONS", &format!("n{count}"), "UDP", phone.address()));
            phone.send(&request("BYE", &format!("d{count}"), "UDP", phone.address()));
            let mut room = [0; 4096];
            while let Ok(length) = phone.socket.recv(&mut room) {
                let text = String::from_utf8_lossy(&room[..length]).into_owned();
                if text.starts_with("SIP/2.0 503 ") {
                    refusals.push(text);
                } else if text.starts_with("SIP/2.0 481 ") && !refusals.is_empty() {
                    answers += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(refusals.len() >= 3 && answers >= 3, "{} refused, {answers} answered", refusals.len());
    for refusal in &refusals {
        assert!(call_id(refusal).starts_with('n'), "what is within a dialog is never refused: {refusal}");
        assert!(refusal.contains("\r\nRetry-After: "), "{refusal}");
    }
    assert!(sbc.net.handle().loads()[0].refused >= 3);
    // It passes by itself.
    let begin = Instant::now();
    while sbc.net.handle().loads()[0].refusing > 0.0 {
        assert!(begin.elapsed() < 6 * PATIENCE, "{:?}", sbc.net.handle().loads());
        std::thread::sleep(Duration::from_millis(20));
    }
    // But a copy of what was refused does not begin what its sender has given up (RFC 3261 §8.2.7).
    phone.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let refused = refusals.last().unwrap();
    let name = call_id(refused).split('@').next().unwrap().to_owned();
    phone.send(&request("OPTIONS", &name, "UDP", phone.address()));
    phone.send(&request("OPTIONS", "another", "UDP", phone.address()));
    let mut statuses = [None, None];
    while statuses.contains(&None) {
        let answer = phone.receive();
        let status = answer.split(' ').nth(1).unwrap().to_owned();
        match call_id(&answer) {
            id if id == name => statuses[0] = Some(status),
            "another" => statuses[1] = Some(status),
            // Of what was asked before.
            _ => {}
        }
    }
    assert_eq!(statuses[0].as_deref(), Some("503"));
    assert_ne!(statuses[1].as_deref(), Some("503"));
    sbc.net.shutdown().unwrap();
}
