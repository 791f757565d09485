//! Streams whose sides are of different families, and sides that are of both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Duration;

use call::{Addresses, Family, MediaId, MediaOrder, MediaReport, RemoteStream, Side, StreamPorts};
use harness::{Bench, LOCAL, LOCAL_6, Phone, REPORT, expect_nothing, receive, rtp};
use media::{Config, OtherFamily};

/// More packets than the relay waits for before it connects a port.
const SETTLED: u16 = 40;

const V4: Family = Family::V4;
const V6: Family = Family::V6;

fn dual(ports: RangeInclusive<u16>) -> Config {
    let other = Some(OtherFamily { address: LOCAL_6, advertise: LOCAL_6 });
    Config { ports, other, ..Config::default() }
}

fn listen(bench: &mut Bench, session: u64, side: Side, family: Family) -> Vec<MediaReport> {
    bench.order(MediaOrder::Listen { session: MediaId(session), side, family })
}

/// One packet from `from` to the relay's port at `at`, which `to` gets from the relay's address of its own family.
#[track_caller]
fn crosses(from: &Phone, at: SocketAddr, to: &Phone, out: u16, sequence: u16) {
    from.rtp.send_to(&rtp(sequence), at).unwrap();
    let ip = if to.rtp.local_addr().unwrap().is_ipv4() { LOCAL } else { LOCAL_6 };
    assert_eq!(receive(&to.rtp), (rtp(sequence), SocketAddr::new(ip, out)));
}

fn between(bench: &mut Bench, families: [Family; 2], a: &Phone, b: &Phone) -> StreamPorts {
    let ports = bench.try_open_in(families, 1, 1).unwrap()[0];
    bench.describe(1, Side::A, a.description());
    bench.describe(1, Side::B, b.description());
    ports
}

fn ip(family: Family) -> IpAddr {
    match family {
        V4 => LOCAL,
        V6 => LOCAL_6,
    }
}

fn phone(family: Family) -> Phone {
    Phone::at(&ip(family).to_string())
}

#[test]
fn media_and_control_cross_between_all_pairs_of_families_and_are_counted() {
    for (at, families) in [[V4, V4], [V4, V6], [V6, V4], [V6, V6]].into_iter().enumerate() {
        let first = 28_000 + 20 * at as u16;
        let mut bench = Bench::with(dual(first..=first + 19));
        let (a, b) = (phone(families[0]), phone(families[1]));
        let ports = between(&mut bench, families, &a, &b);
        let [at_a, at_b] = families.map(ip);
        // Beyond the packet with which the ports are connected to their peers.
        for sequence in 0..SETTLED {
            crosses(&a, (at_a, ports.a.rtp).into(), &b, ports.b.rtp, sequence);
            crosses(&b, (at_b, ports.b.rtp).into(), &a, ports.a.rtp, sequence);
        }
        assert_eq!(bench.totals_when(|totals| totals.sockets == 4).sockets, 4, "as many as ever");
        a.rtcp.send_to(&REPORT, (at_a, ports.a.rtcp)).unwrap();
        assert_eq!(receive(&b.rtcp), (REPORT.to_vec(), (at_b, ports.b.rtcp).into()));
        b.rtcp.send_to(&REPORT, (at_b, ports.b.rtcp)).unwrap();
        assert_eq!(receive(&a.rtcp), (REPORT.to_vec(), (at_a, ports.a.rtcp).into()));
        let (from_a, from_b) = bench.close(1);
        assert_eq!([from_a.packets, from_b.packets], [u64::from(SETTLED); 2], "{families:?}");
        assert_eq!([from_a.octets, from_b.octets], [u64::from(SETTLED) * 160; 2], "{families:?}");
        assert_eq!([from_a.dropped, from_b.dropped], [0; 2], "{families:?}");
    }
}

#[test]
fn a_phone_behind_a_nat_is_latched_to_across_families_and_a_stranger_is_not() {
    let mut bench = Bench::with(dual(28_100..=28_119));
    let (a, b, stranger) = (phone(V6), phone(V4), Phone::at("127.0.0.66"));
    let ports = bench.try_open_in([V6, V4], 1, 1).unwrap()[0];
    // What it says of itself is true behind its NAT only; the signalling shows the outside.
    let inside: SocketAddr = "[2001:db8::7]:4000".parse().unwrap();
    bench.describe(1, Side::A, RemoteStream { rtp: inside, ..a.description() });
    bench.describe(1, Side::B, b.description());
    stranger.send(ports.b.rtp, &rtp(1));
    expect_nothing(&a.rtp);
    crosses(&a, (LOCAL_6, ports.a.rtp).into(), &b, ports.b.rtp, 2);
    crosses(&b, (LOCAL, ports.b.rtp).into(), &a, ports.a.rtp, 3);
    let (_, from_b) = bench.close(1);
    assert_eq!((from_b.packets, from_b.dropped), (1, 1));
}

/// Two targets that ring at the same time may be of two families.
#[test]
fn a_side_that_is_told_of_both_families_is_heard_in_both_and_answered_where_it_is() {
    let mut bench = Bench::with(dual(28_120..=28_139));
    let (a, four, six) = (phone(V4), phone(V4), phone(V6));
    let ports = bench.try_open_in([V4, V4], 1, 1).unwrap()[0];
    assert_eq!(listen(&mut bench, 1, Side::B, V6), []);
    assert_eq!(listen(&mut bench, 1, Side::B, V6), [], "said twice is said once");
    assert_eq!(bench.relay.totals().sockets, 3);
    bench.describe(1, Side::A, a.description());
    bench.describe(1, Side::B, six.description());
    for sequence in 0..SETTLED {
        crosses(&six, (LOCAL_6, ports.b.rtp).into(), &a, ports.a.rtp, sequence);
        crosses(&a, (LOCAL, ports.a.rtp).into(), &six, ports.b.rtp, sequence);
    }
    bench.describe(1, Side::B, four.description());
    for sequence in 0..SETTLED {
        crosses(&four, (LOCAL, ports.b.rtp).into(), &a, ports.a.rtp, sequence);
        crosses(&a, (LOCAL, ports.a.rtp).into(), &four, ports.b.rtp, sequence);
    }
    six.rtp.send_to(&rtp(1), (LOCAL_6, ports.b.rtp)).unwrap();
    expect_nothing(&a.rtp);
    bench.describe(1, Side::B, six.description());
    crosses(&six, (LOCAL_6, ports.b.rtp).into(), &a, ports.a.rtp, 1);
    crosses(&a, (LOCAL, ports.a.rtp).into(), &six, ports.b.rtp, 1);
    bench.close(1);
    assert_eq!(bench.engine.ports_in_use(), 0);
}

#[test]
fn what_a_peer_sends_in_one_family_and_receives_in_the_other_goes_both_ways() {
    let mut bench = Bench::with(dual(28_140..=28_159));
    let (a, speaks, listens) = (phone(V4), phone(V6), phone(V4));
    let ports = bench.try_open_in([V4, V6], 1, 1).unwrap()[0];
    assert_eq!(listen(&mut bench, 1, Side::B, V4), []);
    bench.describe(1, Side::A, a.description());
    // Told of the IPv6 address, it answers with one of IPv4.
    let answer = RemoteStream { signalling: LOCAL_6, ..listens.description() };
    bench.describe(1, Side::B, answer);
    crosses(&a, (LOCAL, ports.a.rtp).into(), &listens, ports.b.rtp, 1);
    crosses(&speaks, (LOCAL_6, ports.b.rtp).into(), &a, ports.a.rtp, 2);
}

#[test]
fn control_flows_at_an_address_that_was_added_after_the_media_began() {
    let mut bench = Bench::with(dual(28_160..=28_179));
    let (a, b, moved) = (phone(V4), phone(V4), phone(V6));
    let ports = bench.call(1, &a, &b);
    crosses(&a, (LOCAL, ports.a.rtp).into(), &b, ports.b.rtp, 1);
    assert_eq!(bench.totals_when(|totals| totals.sockets == 4).sockets, 4);
    assert_eq!(listen(&mut bench, 1, Side::B, V6), []);
    bench.describe(1, Side::B, moved.description());
    crosses(&moved, (LOCAL_6, ports.b.rtp).into(), &a, ports.a.rtp, 2);
    assert_eq!(bench.totals_when(|totals| totals.sockets == 6).sockets, 6);
    moved.rtcp.send_to(&REPORT, (LOCAL_6, ports.b.rtcp)).unwrap();
    assert_eq!(receive(&a.rtcp).0, REPORT);
    a.send_control(ports.a.rtcp, &REPORT);
    assert_eq!(receive(&moved.rtcp), (REPORT.to_vec(), (LOCAL_6, ports.b.rtcp).into()));
}

#[test]
fn streams_that_are_added_are_heard_in_every_family_of_their_sides() {
    let mut bench = Bench::with(dual(28_180..=28_199));
    bench.try_open_in([V4, V6], 1, 1).unwrap();
    listen(&mut bench, 1, Side::A, V6);
    bench.try_open_in([V4, V6], 1, 2).unwrap();
    assert_eq!(bench.relay.totals().sockets, 6);
    bench.close(1);
    bench.pass(Duration::from_secs(5));
    bench.try_open_in([V6, V4], 2, 2).unwrap();
    assert_eq!(bench.engine.ports_in_use(), 8);
}

#[test]
fn the_report_names_the_address_of_each_family_that_there_is() {
    let addresses = |config: Config| -> Addresses {
        let mut bench = Bench::with(config);
        let order = MediaOrder::Open { session: MediaId(1), streams: 1, families: [V4, V6] };
        match bench.order(order).as_slice() {
            [MediaReport::Opened { addresses, .. }] => *addresses,
            other => panic!("{other:?}"),
        }
    };
    let nat: IpAddr = "2001:db8::1".parse().unwrap();
    let other = Some(OtherFamily { address: LOCAL_6, advertise: nat });
    assert_eq!(addresses(Config { other, ..dual(28_200..=28_219) }), Addresses::from(LOCAL).with(nat));
    assert_eq!(addresses(Config { other: None, ..dual(28_220..=28_239) }), Addresses::from(LOCAL));
}

#[test]
fn a_port_that_another_process_holds_in_the_other_family_is_refused_or_stepped_over() {
    let mut bench = Bench::with(dual(28_240..=28_247));
    let ports = bench.open(1);
    let _taken = UdpSocket::bind((LOCAL_6, ports.b.rtp)).unwrap();
    let refused = listen(&mut bench, 1, Side::B, V6);
    assert!(matches!(&refused[..], [MediaReport::NotListening { session: MediaId(1), .. }]), "{refused:?}");
    let (a, b) = (phone(V4), phone(V4));
    bench.describe(1, Side::A, a.description());
    bench.describe(1, Side::B, b.description());
    crosses(&a, (LOCAL, ports.a.rtp).into(), &b, ports.b.rtp, 1);
    bench.close(1);
    bench.pass(Duration::from_secs(5));
    let again = bench.try_open_in([V6, V6], 2, 1).unwrap()[0];
    assert!(again.a.rtp != ports.b.rtp && again.b.rtp != ports.b.rtp, "{again:?}");
}

#[test]
fn a_relay_of_one_family_takes_what_it_has_for_the_other() {
    let mut bench = Bench::new(28_260..=28_279);
    let (a, b) = (phone(V4), phone(V6));
    let ports = between(&mut bench, [V6, V6], &a, &b);
    assert_eq!(listen(&mut bench, 1, Side::B, V6), [], "there is none");
    a.send(ports.a.rtp, &rtp(1));
    expect_nothing(&b.rtp);
    let totals = bench.totals_when(|totals| totals.unsent == 1);
    assert_eq!((totals.unsent, totals.refused), (1, 0), "nothing can be sent there, and nothing breaks");
}

#[test]
fn two_calls_of_a_box_behind_two_nats_hear_each_other_in_either_family() {
    let (nat4, nat6): (IpAddr, IpAddr) = ("198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap());
    let config = Config {
        advertise: nat4,
        other: Some(OtherFamily { address: LOCAL_6, advertise: nat6 }),
        ..dual(28_280..=28_299)
    };
    for (family, nat) in [(V4, nat4), (V6, nat6)] {
        let mut bench = Bench::with(config.clone());
        let [one, two] =
            [1, 2].map(|session| bench.try_open_in([V4, family], session, 1).map(|ports| ports[0]).unwrap());
        let inside = |port: u16| RemoteStream {
            rtp: SocketAddr::new(nat, port),
            rtcp: SocketAddr::new(nat, port + 1),
            signalling: IpAddr::from([0, 0, 0, 1]),
            sends: true,
            receives: true,
            is_rtp: true,
            is_audio: true,
        };
        let (a, b) = (phone(V4), phone(V4));
        bench.describe(1, Side::A, a.description());
        bench.describe(1, Side::B, inside(two.b.rtp));
        bench.describe(2, Side::A, b.description());
        bench.describe(2, Side::B, inside(one.b.rtp));
        crosses(&a, (LOCAL, one.a.rtp).into(), &b, two.a.rtp, 1);
        crosses(&b, (LOCAL, two.a.rtp).into(), &a, one.a.rtp, 2);
    }
}
