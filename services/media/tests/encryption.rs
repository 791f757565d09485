//! Encrypted packets through a relay with real sockets. What one session encrypts another takes for a peer's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::time::{Duration, Instant};

use call::{DtlsTerms, Keying, MediaId, MediaOrder, Protection, RemoteStream, Side, SrtpKeys};
use harness::{Bench, LOCAL, Phone, expect_nothing, receive, rtp};
use sip::{MasterKey, SrtpSuite};

/// A call between `a`, which is plain, and `b`, to which this key is spoken in both directions.
fn call(bench: &mut Bench, session: u64, a: &Phone, b: &Phone, suite: SrtpSuite) -> call::StreamPorts {
    let ports = bench.call(session, a, b);
    describe(bench, session, b.description(), suite, 7);
    ports
}

/// B describes itself so, with keys that are filled with this octet.
fn describe(bench: &mut Bench, session: u64, remote: RemoteStream, suite: SrtpSuite, fill: u8) {
    let master = MasterKey::new(suite, &vec![fill; suite.key_length() + suite.salt_length()]).unwrap();
    let keys = SrtpKeys { suite, inbound: master.clone(), outbound: master };
    let order = MediaOrder::Describe {
        session: MediaId(session),
        stream: 0,
        side: Side::B,
        remote: Some(remote),
        protection: Some(Box::new(Protection { keying: Keying::Sdes(keys), ice: None })),
    };
    assert_eq!(bench.order(order), []);
}

fn replayed_and_forged(suite: SrtpSuite, first_port: u16) {
    let mut bench = Bench::new(first_port..=first_port + 19);
    let (speaker, seen) = (Phone::new(), Phone::new());
    let (listener, peer) = (Phone::new(), Phone::new());
    let one = call(&mut bench, 1, &speaker, &seen, suite);
    let other = call(&mut bench, 2, &listener, &peer, suite);
    let encrypted = |sequence: u16| {
        speaker.send(one.a.rtp, &rtp(sequence));
        receive(&seen.rtp).0
    };
    let (first, mut second) = (encrypted(1), encrypted(2));
    assert!(first.len() > rtp(1).len() && !first.ends_with(&rtp(1)[20..]), "it is encrypted");

    peer.send(other.b.rtp, &first);
    assert_eq!(receive(&listener.rtp).0, rtp(1));
    peer.send(other.b.rtp, &first);
    *second.last_mut().unwrap() ^= 1;
    peer.send(other.b.rtp, &second);
    let totals = bench.totals_when(|totals| totals.dropped >= 2);
    assert_eq!((totals.replayed, totals.forged, totals.dropped), (1, 1, 2), "{suite:?}");
    expect_nothing(&listener.rtp);
    *second.last_mut().unwrap() ^= 1;
    peer.send(other.b.rtp, &second);
    assert_eq!(receive(&listener.rtp).0, rtp(2), "what was forged had its number and did not use it up");
    let (_, from_b) = bench.close(2);
    let used = format!("sdes {}", suite.name());
    assert_eq!(from_b.srtp.map(|srtp| srtp.to_string()), Some(used));
    assert_eq!((from_b.packets, from_b.dropped), (2, 2));
}

#[test]
fn replayed_srtp_packet_is_not_relayed_and_is_counted() {
    for (suite, first_port) in SrtpSuite::ALL.into_iter().zip((23_500..).step_by(20)) {
        replayed_and_forged(suite, first_port);
    }
}

/// RFC 4568 §7.1.4: a re-INVITE with the same key goes on with its count, rollovers and all; another key counts anew.
#[test]
fn a_hold_and_a_resume_keep_the_count_of_a_key_and_another_key_begins_anew() {
    for (suite, first_port) in SrtpSuite::ALL.into_iter().zip((23_600..).step_by(20)) {
        let mut bench = Bench::new(first_port..=first_port + 19);
        let (speaker, seen) = (Phone::new(), Phone::new());
        let (listener, peer) = (Phone::new(), Phone::new());
        let one = call(&mut bench, 1, &speaker, &seen, suite);
        let other = call(&mut bench, 2, &listener, &peer, suite);
        let encrypted = |sequence: u16| {
            speaker.send(one.a.rtp, &rtp(sequence));
            receive(&seen.rtp).0
        };
        let crosses = |packet: &[u8], sequence: u16| {
            peer.send(other.b.rtp, packet);
            assert_eq!(receive(&listener.rtp).0, rtp(sequence), "{suite:?}");
        };
        // Who began there would be given other numbers.
        encrypted(50_000);
        let before = encrypted(65_535);
        crosses(&before, 65_535);
        // Beyond the rollover, which the receiver has seen as well; then both ends hold and resume.
        crosses(&encrypted(0), 0);
        for receives in [false, true] {
            for (session, phone) in [(1, &seen), (2, &peer)] {
                describe(&mut bench, session, RemoteStream { receives, ..phone.description() }, suite, 7);
            }
        }
        let after = encrypted(1);
        crosses(&after, 1);
        for again in [&before, &after] {
            peer.send(other.b.rtp, again);
        }
        assert_eq!(
            bench.totals_when(|totals| totals.replayed >= 2).replayed,
            2,
            "{suite:?}: from before the hold"
        );

        for (session, phone) in [(1, &seen), (2, &peer)] {
            describe(&mut bench, session, phone.description(), suite, 8);
        }
        let next = encrypted(2);
        peer.send(other.b.rtp, &after);
        assert_eq!(bench.totals_when(|totals| totals.forged >= 1).forged, 1, "{suite:?}: the old key's");
        crosses(&next, 2);
        expect_nothing(&listener.rtp);
    }
}

/// Two boxes between which so many calls are keyed by DTLS at the same moment: the first one's, with a plain call beside them.
fn keyed_at_once(calls: u64, first_port: u16) -> (Bench, Bench) {
    let ports = |at: u16| first_port + at * 1000..=first_port + at * 1000 + 999;
    let (mut one, mut other) = (Bench::new(ports(0)), Bench::new(ports(1)));
    let opened: Vec<_> = (1..=calls).map(|n| [one.open(n).b, other.open(n).b]).collect();
    let prints = [one.relay.fingerprint().unwrap(), other.relay.fingerprint().unwrap()];
    for (n, [of_one, of_other]) in (1..).zip(opened) {
        for (bench, remote, fingerprint, active) in
            [(&mut one, of_other, prints[1], false), (&mut other, of_one, prints[0], true)]
        {
            let at = |port| (LOCAL, port).into();
            let remote =
                RemoteStream { rtp: at(remote.rtp), rtcp: at(remote.rtcp), ..Phone::new().description() };
            let keying = Keying::Dtls(DtlsTerms { fingerprint, active });
            let order = MediaOrder::Describe {
                session: MediaId(n),
                stream: 0,
                side: Side::B,
                remote: Some(remote),
                protection: Some(Box::new(Protection { keying, ice: None })),
            };
            assert_eq!(bench.order(order), []);
        }
    }
    (one, other)
}

/// How many of the box's calls have keys.
fn keyed(bench: &mut Bench, calls: u64) -> usize {
    (1..=calls).filter(|n| bench.count(*n).1.srtp.is_some()).count()
}

#[test]
fn calls_that_are_keyed_at_once_all_get_their_keys() {
    let (mut one, mut other) = keyed_at_once(30, 24_000);
    let begin = Instant::now();
    while keyed(&mut one, 30) + keyed(&mut other, 30) < 60 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{} have keys", keyed(&mut one, 30));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `make bench-srtp`. What a plain call beside a hundred handshakes notices of them.
#[test]
#[ignore = "a measurement, for an optimised build"]
fn figures() {
    const CALLS: u64 = 100;
    let mut longest = Vec::new();
    for round in 0..7 {
        let first_port = 26_000 + round * 2000;
        let (mut one, _other) = keyed_at_once(CALLS, first_port);
        let (a, b) = (Phone::new(), Phone::new());
        let plain = one.call(CALLS + 1, &a, &b);
        let mut worst = Duration::ZERO;
        let begin = Instant::now();
        let mut sequence = 0;
        while keyed(&mut one, CALLS) < CALLS as usize && begin.elapsed() < Duration::from_secs(10) {
            sequence += 1;
            let sent = Instant::now();
            a.send(plain.a.rtp, &rtp(sequence));
            receive(&b.rtp);
            worst = worst.max(sent.elapsed());
        }
        println!(
            "{CALLS} handshakes in {:?}; a packet of a plain call took {worst:?} at most",
            begin.elapsed()
        );
        longest.push(worst);
    }
    longest.sort();
    println!("median {:?}", longest[3]);
}
