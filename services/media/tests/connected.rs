//! What must stay as it was once the relay has connected a port to the peer it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Duration;

use call::{RemoteStream, Side, StreamPorts};
use harness::{Bench, LOCAL, Phone, REPORT, expect_nothing, from_relay, receive, rtp};
use media::Config;
use socket2::{Domain, Socket, Type};

/// More packets than the relay waits for.
const SETTLED: u16 = 80;

/// Both sides talk until their ports are connected. Ends with the next sequence number.
fn settle(a: &Phone, b: &Phone, ports: StreamPorts) -> u16 {
    for sequence in 0..SETTLED {
        a.send(ports.a.rtp, &rtp(sequence));
        assert_eq!(receive(&b.rtp), (rtp(sequence), from_relay(ports.b.rtp)));
        b.send(ports.b.rtp, &rtp(sequence));
        assert_eq!(receive(&a.rtp), (rtp(sequence), from_relay(ports.a.rtp)));
    }
    SETTLED
}

#[track_caller]
fn hears(listener: &Phone, speaker: &Phone, port: u16, sequence: u16) {
    speaker.send(port, &rtp(sequence));
    assert_eq!(receive(&listener.rtp).0, rtp(sequence));
}

/// A relay that hears each port by its own sockets, whatever the process may do.
fn connecting(ports: RangeInclusive<u16>) -> Bench {
    let one_way_after = Duration::from_secs(24 * 60 * 60);
    Bench::with(Config { ports, one_way_after, steer: false, ..Config::default() })
}

#[test]
fn a_stranger_never_gets_through_and_is_counted() {
    let mut bench = connecting(21_300..=21_319);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let next = settle(&a, &b, ports);
    let sockets = bench.relay.totals().sockets;
    assert_eq!(sockets, 6, "each media port has one for its peer and one for everybody else");
    for stranger in [Phone::at("127.0.0.66"), Phone::new()] {
        for sequence in 0..10 {
            stranger.send(ports.a.rtp, &rtp(sequence));
            stranger.send(ports.b.rtp, &rtp(sequence));
        }
        stranger.send(ports.a.rtp, &REPORT);
        expect_nothing(&stranger.rtp);
    }
    expect_nothing(&a.rtp);
    expect_nothing(&b.rtp);
    hears(&b, &a, ports.a.rtp, next);
    hears(&a, &b, ports.b.rtp, next);
    assert_eq!(bench.totals_when(|totals| totals.dropped == 42).dropped, 42);
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.packets, from_a.dropped), (u64::from(next) + 1, 22));
    assert_eq!((from_b.packets, from_b.dropped), (u64::from(next) + 1, 20));
}

/// Two sockets share the port then, and nobody else may.
#[test]
fn a_port_that_is_connected_is_the_relays_alone() {
    let mut bench = connecting(21_620..=21_639);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    settle(&a, &b, ports);
    let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    other.set_reuse_address(true).unwrap();
    other.set_reuse_port(true).unwrap();
    let taken = other.bind(&from_relay(ports.a.rtp).into()).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

/// Connecting does not empty the socket: what a stranger sent just before is still read afterwards.
#[test]
fn a_stranger_who_was_there_before_the_port_was_connected_is_not_taken_for_the_peer() {
    let mut bench = connecting(21_320..=21_439);
    let (a, b, stranger) = (Phone::new(), Phone::new(), Phone::at("127.0.0.66"));
    for session in 1..=20 {
        let ports = bench.call(session, &a, &b);
        for sequence in 0..SETTLED {
            a.send(ports.a.rtp, &rtp(sequence));
            stranger.send(ports.a.rtp, &rtp(9000 + sequence));
        }
        for sequence in 0..SETTLED {
            assert_eq!(receive(&b.rtp).0, rtp(sequence));
        }
        expect_nothing(&b.rtp);
        assert_eq!(bench.close(session).0.packets, u64::from(SETTLED));
    }
}

#[test]
fn a_peer_that_moves_is_heard_from_its_new_port_before_anything_is_sent_there() {
    let mut bench = connecting(21_440..=21_459);
    let (a, b, moved) = (Phone::new(), Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let next = settle(&a, &b, ports);
    bench.describe(1, Side::B, moved.description());
    hears(&a, &moved, ports.b.rtp, next);
    hears(&moved, &a, ports.a.rtp, next);
    b.send(ports.b.rtp, &rtp(7));
    expect_nothing(&a.rtp);
    let next = settle(&a, &moved, ports) + next;
    bench.describe(1, Side::B, b.description());
    hears(&a, &b, ports.b.rtp, next);
    hears(&b, &a, ports.a.rtp, next);
}

#[test]
fn a_stream_that_is_rejected_and_offered_again_is_open_to_its_new_peer() {
    let mut bench = connecting(21_460..=21_479);
    let (a, b, other) = (Phone::new(), Phone::new(), Phone::at("127.0.0.5"));
    let ports = bench.call(1, &a, &b);
    let next = settle(&a, &b, ports);
    bench.describe(1, Side::B, None);
    b.send(ports.b.rtp, &rtp(next));
    a.send(ports.a.rtp, &rtp(next));
    expect_nothing(&a.rtp);
    expect_nothing(&b.rtp);
    bench.describe(1, Side::B, other.description());
    hears(&a, &other, ports.b.rtp, next);
    hears(&other, &a, ports.a.rtp, next);
}

#[test]
fn a_hold_keeps_the_peer_and_the_resume_may_name_another() {
    let mut bench = connecting(21_480..=21_499);
    let (a, b, elsewhere) = (Phone::new(), Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let next = settle(&a, &b, ports);
    let unspecified: SocketAddr = "0.0.0.0:9".parse().unwrap();
    let hold = RemoteStream { rtp: unspecified, rtcp: unspecified, ..b.description() };
    bench.describe(1, Side::B, hold);
    a.send(ports.a.rtp, &rtp(next));
    expect_nothing(&b.rtp);
    hears(&a, &b, ports.b.rtp, next);
    bench.describe(1, Side::B, b.description());
    hears(&b, &a, ports.a.rtp, next + 1);
    hears(&a, &b, ports.b.rtp, next + 1);
    bench.describe(1, Side::B, hold);
    bench.describe(1, Side::B, elsewhere.description());
    hears(&a, &elsewhere, ports.b.rtp, next + 2);
    hears(&elsewhere, &a, ports.a.rtp, next + 2);
}

/// A phone restarts: its port is closed for a while, each packet comes back as an ICMP error, and then it listens again.
#[test]
fn a_peer_that_refused_for_a_while_hears_every_packet_from_then_on() {
    let mut bench = connecting(21_500..=21_519);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let next = settle(&a, &b, ports);
    let Phone { rtp: listening, rtcp: _rtcp } = b;
    let address = listening.local_addr().unwrap();
    drop(listening);
    // At once, so that the relay sends the next before it has read of the error.
    for sequence in next..next + 20 {
        a.send(ports.a.rtp, &rtp(sequence));
    }
    bench.totals_when(|totals| totals.packets == u64::from(2 * next + 20));
    let again = UdpSocket::bind(address).unwrap();
    again.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for sequence in next + 20..next + 30 {
        a.send(ports.a.rtp, &rtp(sequence));
        assert_eq!(receive(&again).0, rtp(sequence), "the error of an earlier packet is not this one's");
    }
    again.send_to(&rtp(next), (LOCAL, ports.b.rtp)).unwrap();
    assert_eq!(receive(&a.rtp).0, rtp(next));
    let (from_a, _) = bench.close(1);
    assert_eq!((from_a.packets, from_a.dropped), (u64::from(next) + 30, 0));
    assert_eq!(bench.totals_when(|totals| totals.packets > 0).unsent, 0);
}

#[test]
fn the_described_address_takes_the_stream_back_from_a_neighbour_however_late() {
    let mut bench = connecting(21_520..=21_539);
    let (a, b, neighbour) = (Phone::new(), Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    hears(&a, &neighbour, ports.b.rtp, 0);
    let next = settle(&a, &neighbour, ports);
    hears(&a, &b, ports.b.rtp, next);
    hears(&b, &a, ports.a.rtp, next);
}

#[test]
fn the_next_call_of_a_port_hears_its_own_peer_and_the_quarantine_counts_late_packets() {
    let mut bench = connecting(21_540..=21_543);
    let (a, b) = (Phone::new(), Phone::new());
    let (c, d) = (Phone::at("127.0.0.7"), Phone::at("127.0.0.8"));
    let first = bench.call(1, &a, &b);
    settle(&a, &b, first);
    bench.close(1);
    c.send(first.a.rtp, &rtp(1));
    a.send(first.a.rtp, &rtp(1));
    assert_eq!(bench.totals_when(|totals| totals.late == 2).late, 2, "resting ports are open to everybody");
    bench.pass(Duration::from_secs(5));
    let second = bench.call(2, &c, &d);
    settle(&c, &d, second);
    expect_nothing(&a.rtp);
    expect_nothing(&b.rtp);
}

/// Bound to every address, the relay does not know which of them a peer was told.
#[test]
fn a_peer_that_sends_to_another_address_of_the_host_is_heard_behind_the_wildcard() {
    let config = Config { address: "0.0.0.0".parse().unwrap(), ports: 21_560..=21_579, ..Config::default() };
    let mut bench = Bench::with(config);
    let (a, b) = (Phone::at("127.0.0.5"), Phone::at("127.0.0.6"));
    let ports = bench.call(1, &a, &b);
    for sequence in 0..2 * SETTLED {
        a.rtp.send_to(&rtp(sequence), ("127.0.0.9", ports.a.rtp)).unwrap();
        assert_eq!(receive(&b.rtp).0, rtp(sequence));
        b.rtp.send_to(&rtp(sequence), ("127.0.0.10", ports.b.rtp)).unwrap();
        assert_eq!(receive(&a.rtp).0, rtp(sequence));
    }
}

#[test]
fn ipv6_peers_are_connected_moved_and_parted_too() {
    let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let mut bench =
        Bench::with(Config { address, advertise: address, ports: 21_580..=21_599, ..Config::default() });
    let (a, b, moved) = (Phone::at("::1"), Phone::at("::1"), Phone::at("::1"));
    let ports = bench.call(1, &a, &b);
    let pass = |from: &Phone, port: u16, to: &Phone, sequence: u16| {
        from.rtp.send_to(&rtp(sequence), (address, port)).unwrap();
        assert_eq!(receive(&to.rtp).0, rtp(sequence));
    };
    for sequence in 0..SETTLED {
        pass(&a, ports.a.rtp, &b, sequence);
        pass(&b, ports.b.rtp, &a, sequence);
    }
    bench.describe(1, Side::B, moved.description());
    pass(&moved, ports.b.rtp, &a, SETTLED);
    pass(&a, ports.a.rtp, &moved, SETTLED);
}

#[test]
fn control_crosses_beside_a_connected_media_port() {
    let mut bench = connecting(21_600..=21_619);
    let (a, b, stranger) = (Phone::new(), Phone::new(), Phone::at("127.0.0.66"));
    let ports = bench.call(1, &a, &b);
    settle(&a, &b, ports);
    stranger.send_control(ports.a.rtcp, &REPORT);
    expect_nothing(&b.rtcp);
    a.send_control(ports.a.rtcp, &REPORT);
    assert_eq!(receive(&b.rtcp), (REPORT.to_vec(), from_relay(ports.b.rtcp)));
    b.send_control(ports.b.rtcp, &REPORT);
    assert_eq!(receive(&a.rtcp), (REPORT.to_vec(), from_relay(ports.a.rtcp)));
    assert_eq!(bench.close(1).0.dropped, 1);
}
