//! What the relay says of how media went: with real sockets, and the relay's own clock where time matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use call::{Deaf, DirectionStats, MediaId, MediaOrder, MediaReport, RemoteStream, Side, Speech, StreamPorts};
use harness::{Bench, LOCAL, Phone, receive, rtp};
use media::Config;

fn bench(ports: std::ops::RangeInclusive<u16>) -> Bench {
    Bench::with(Config { ports, ..Config::default() })
}

/// What is reported of A six seconds after the answer, when B is heard and A is not.
fn deaf_after(bench: &mut Bench, a: RemoteStream, come: impl FnOnce(SocketAddr)) -> Deaf {
    let b = Phone::new();
    let ports = bench.open(1);
    bench.describe(1, Side::A, a);
    bench.describe(1, Side::B, b.description());
    bench.watch(1, true);
    b.send(ports.b.rtp, &rtp(1));
    come(SocketAddr::new(LOCAL, ports.a.rtp));
    bench.totals_when(|totals| totals.packets + totals.dropped >= 1);
    std::thread::sleep(Duration::from_millis(30));
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.poll(), [], "too early");
    bench.pass(Duration::from_secs(2));
    let reports = bench.poll();
    let [MediaReport::OneWay { session: MediaId(1), side: Side::A, deaf }] = reports[..] else {
        panic!("expected that A is not heard, came {reports:?}");
    };
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.poll(), [], "once");
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.deaf, from_b.deaf), (Some(deaf), None));
    assert_eq!((from_a.first_media_ms, from_b.first_media_ms.is_some()), (None, true));
    deaf
}

#[test]
fn a_private_address_that_nothing_comes_from_is_named() {
    let a = RemoteStream { rtp: "10.9.8.7:4000".parse().unwrap(), ..Phone::new().description() };
    let deaf = deaf_after(&mut bench(24_000..=24_019), a, |_| {});
    assert_eq!(deaf.to_string(), "private_address 10.9.8.7");
}

#[test]
fn who_sends_from_elsewhere_is_named() {
    let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
    let from = stranger.local_addr().unwrap();
    let deaf = deaf_after(&mut bench(24_020..=24_039), Phone::new().description(), |to| {
        let packet = rtp(1);
        stranger.send_to(&packet, to).unwrap();
    });
    assert_eq!(deaf, Deaf::WrongSource(from));
}

#[test]
fn who_sends_no_rtp_from_behind_a_nat_is_named() {
    let nat = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = nat.local_addr().unwrap();
    let deaf = deaf_after(&mut bench(24_040..=24_059), Phone::new().description(), |to| {
        nat.send_to(b"\0\0\0\0", to).unwrap();
    });
    assert_eq!(deaf, Deaf::NoLatch(from));
}

#[test]
fn a_side_of_which_nothing_came_is_named_and_one_on_hold_is_not() {
    let mut bench = bench(24_060..=24_079);
    assert_eq!(deaf_after(&mut bench, Phone::new().description(), |_| {}), Deaf::Nothing);
    let (a, b) = (Phone::new(), Phone::new());
    bench.open(2);
    bench.describe(2, Side::A, RemoteStream { sends: false, ..a.description() });
    bench.describe(2, Side::B, RemoteStream { sends: false, ..b.description() });
    bench.watch(2, true);
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.poll(), []);
}

/// A call in which both sides were heard and nothing is wrong by now.
fn talking(bench: &mut Bench, a: &Phone, b: &Phone) -> StreamPorts {
    let ports = bench.call(1, a, b);
    bench.watch(1, true);
    talk(a, b, ports, 1);
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.poll(), []);
    ports
}

fn talk(a: &Phone, b: &Phone, ports: StreamPorts, sequence: u16) {
    a.send(ports.a.rtp, &rtp(sequence));
    receive(&b.rtp);
    b.send(ports.b.rtp, &rtp(sequence));
    receive(&a.rtp);
}

/// A re-INVITE or a transfer says that a side is elsewhere, and from there nothing is heard.
#[test]
fn a_side_that_is_not_heard_where_it_has_moved_is_named_again() {
    let mut bench = bench(24_140..=24_159);
    let (a, b, moved, stranger) = (Phone::new(), Phone::new(), Phone::new(), Phone::at("127.0.0.9"));
    let ports = talking(&mut bench, &a, &b);
    let before = bench.relay.totals().dropped;
    bench.describe(1, Side::A, moved.description());
    b.send(ports.b.rtp, &rtp(2));
    receive(&moved.rtp);
    stranger.send(ports.a.rtp, &rtp(2));
    bench.totals_when(|totals| totals.dropped > before);
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.poll(), [], "too early");
    bench.pass(Duration::from_secs(2));
    let deaf = Deaf::WrongSource(stranger.rtp.local_addr().unwrap());
    assert_eq!(bench.poll(), [MediaReport::OneWay { session: MediaId(1), side: Side::A, deaf }]);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.poll(), [], "once");
    assert_eq!(bench.count(1).0.deaf, Some(deaf));
    talk(&moved, &b, ports, 3);
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.deaf, from_b.deaf), (None, None), "it came back");
}

#[test]
fn who_is_silent_after_a_resume_is_named_and_who_holds_or_hangs_up_soon_is_not() {
    let mut bench = bench(24_160..=24_179);
    let (a, b) = (Phone::new(), Phone::new());
    talking(&mut bench, &a, &b);
    let hold = RemoteStream { receives: false, ..a.description() };
    let is_held = RemoteStream { sends: false, ..b.description() };
    for _ in 0..2 {
        bench.describe(1, Side::A, hold);
        bench.describe(1, Side::B, is_held);
        for _ in 0..5 {
            bench.pass(Duration::from_secs(10));
            assert_eq!(bench.poll(), [], "nobody has to play music");
        }
        bench.describe(1, Side::A, a.description());
        bench.describe(1, Side::B, b.description());
        bench.pass(Duration::from_secs(6));
        let named = |side| MediaReport::OneWay { session: MediaId(1), side, deaf: Deaf::Nothing };
        assert_eq!(bench.poll(), [named(Side::A), named(Side::B)]);
    }
    bench.describe(1, Side::A, Phone::new().description());
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.deaf, from_b.deaf), (None, None), "there was no time to hear them");
}

#[test]
fn speech_that_does_not_come_is_named_where_the_picture_does() {
    let mut bench = bench(24_180..=24_199);
    let (a, b, camera, screen) = (Phone::new(), Phone::new(), Phone::new(), Phone::new());
    let [speech, picture] = bench.try_open(1, 2).unwrap()[..] else { panic!("two streams") };
    for (stream, side, phone) in
        [(0, Side::A, &a), (0, Side::B, &b), (1, Side::A, &camera), (1, Side::B, &screen)]
    {
        let remote = Some(phone.description());
        let order = MediaOrder::Describe { session: MediaId(1), stream, side, remote, protection: None };
        assert_eq!(bench.order(order), []);
    }
    bench.watch(1, true);
    talk(&camera, &screen, picture, 1);
    b.send(speech.b.rtp, &rtp(1));
    receive(&a.rtp);
    bench.pass(Duration::from_secs(6));
    let deaf = Deaf::Nothing;
    assert_eq!(bench.poll(), [MediaReport::OneWay { session: MediaId(1), side: Side::A, deaf }]);
}

#[test]
fn how_speech_sounded_is_counted_apart_from_the_picture_beside_it() {
    let mut bench = bench(24_200..=24_219);
    let (a, b, camera, screen) = (Phone::new(), Phone::new(), Phone::new(), Phone::new());
    let [picture, speech] = bench.try_open(1, 2).unwrap()[..] else { panic!("two streams") };
    for (stream, side, phone) in
        [(0, Side::A, &camera), (0, Side::B, &screen), (1, Side::A, &a), (1, Side::B, &b)]
    {
        let remote = Some(RemoteStream { is_audio: stream == 1, ..phone.description() });
        let order = MediaOrder::Describe { session: MediaId(1), stream, side, remote, protection: None };
        assert_eq!(bench.order(order), []);
    }
    for sequence in [1, 100, 200] {
        talk(&camera, &screen, picture, sequence);
    }
    for sequence in [1, 2, 4, 5] {
        talk(&a, &b, speech, sequence);
    }
    for (from_a, _) in [bench.count(1), bench.close(1)] {
        assert_eq!((from_a.packets, from_a.lost), (7, 198));
        assert_eq!(from_a.speech, Some(Speech { packets: 4, lost: 1 }));
        assert!(from_a.jitter_ms < 20.0, "that of the picture is more: {}", from_a.jitter_ms);
    }
}

#[test]
fn late_and_repeated_packets_are_counted_apart_from_lost_ones() {
    let mut bench = Bench::new(24_080..=24_099);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    for sequence in [1, 2, 4, 3, 3, 6] {
        a.send(ports.a.rtp, &rtp(sequence));
    }
    for _ in 0..6 {
        receive(&b.rtp);
    }
    let (from_a, _) = bench.close(1);
    let counts = (from_a.packets, from_a.lost, from_a.reordered, from_a.duplicates);
    assert_eq!(counts, (6, 1, 1, 1), "repeated ones are relayed: the receiver is used to them");
}

#[test]
fn a_source_that_moves_is_counted() {
    let mut bench = Bench::new(24_100..=24_119);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    a.send(ports.a.rtp, &rtp(1));
    receive(&b.rtp);
    let moved = Phone::new();
    bench.describe(1, Side::A, moved.description());
    moved.send(ports.a.rtp, &rtp(2));
    receive(&b.rtp);
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.moves, from_b.moves), (1, 0));
}

/// The first target played an announcement and failed, and the next one is silent.
#[test]
fn what_was_heard_before_the_answer_of_another_says_nothing_of_who_answers() {
    let mut bench = bench(24_260..=24_279);
    let (a, first, second) = (Phone::new(), Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &first);
    first.send(ports.b.rtp, &rtp(1));
    receive(&a.rtp);
    bench.describe(1, Side::B, None);
    bench.describe(1, Side::B, second.description());
    bench.watch(1, true);
    let (_, from_b) = bench.count(1);
    assert_eq!((from_b.first_media_ms, from_b.deaf), (None, Some(Deaf::Nothing)));
    second.send(ports.b.rtp, &rtp(1));
    receive(&a.rtp);
    bench.describe(1, Side::B, None);
    bench.describe(1, Side::B, second.description());
    let (_, from_b) = bench.close(1);
    assert_eq!((from_b.first_media_ms.is_some(), from_b.deaf), (true, None), "it was away, and is the same");
}

/// A stream that was rejected and comes back, or a party whose place another takes.
#[test]
fn moves_of_a_side_are_counted_on_where_it_is_away_for_a_while_and_who_comes_has_none() {
    let mut bench = Bench::new(24_240..=24_259);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let mut next = 0;
    let mut heard_at = |bench: &mut Bench, phone: &Phone| {
        bench.describe(1, Side::A, phone.description());
        next += 1;
        phone.send(ports.a.rtp, &rtp(next));
        receive(&b.rtp);
        bench.count(1).0
    };
    heard_at(&mut bench, &a);
    let before = heard_at(&mut bench, &Phone::new());
    assert_eq!(before.moves, 1);
    bench.describe(1, Side::A, None);
    let (newcomer, elsewhere) = (Phone::new(), Phone::new());
    let came = heard_at(&mut bench, &newcomer);
    assert_eq!((came.moves, came.since(&before).moves), (1, 0), "it has not been elsewhere");
    let moved = heard_at(&mut bench, &elsewhere);
    assert_eq!((moved.moves, moved.since(&before).moves), (2, 1));
}

#[test]
fn counting_in_between_changes_nothing_and_the_end_has_all_of_it() {
    let mut bench = Bench::new(24_120..=24_139);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let nothing = DirectionStats { speech: Some(Speech::default()), ..DirectionStats::default() };
    assert_eq!(bench.count(1), (nothing, nothing));
    for (sequence, packets) in [(1, 1), (2, 2), (3, 3)] {
        a.send(ports.a.rtp, &rtp(sequence));
        receive(&b.rtp);
        let (from_a, from_b) = bench.count(1);
        assert_eq!((from_a.packets, from_a.lost, from_b.packets), (packets, 0, 0));
        assert_eq!(bench.count(1).0.packets, packets, "asking counts nothing");
    }
    let (from_a, _) = bench.close(1);
    assert_eq!((from_a.packets, from_a.octets), (3, 3 * 160));
    assert_eq!(bench.count(1), Default::default(), "nothing is known of a session that is over");
}
