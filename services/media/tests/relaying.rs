//! What happens to packets, seen from the phones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use call::{Family, MediaId, MediaOrder, MediaReport, PortPair, RemoteStream, Side, StreamPorts};
use harness::{Bench, Phone, REPORT, expect_nothing, from_relay, receive, rtp};
use media::{Config, Totals};

#[test]
fn both_sides_hear_each_other_unchanged_and_from_the_port_they_were_told() {
    let mut bench = Bench::new(21_000..=21_019);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    for sequence in 0..50 {
        a.send(ports.a.rtp, &rtp(sequence));
        assert_eq!(receive(&b.rtp), (rtp(sequence), from_relay(ports.b.rtp)));
        b.send(ports.b.rtp, &rtp(1000 + sequence));
        assert_eq!(receive(&a.rtp), (rtp(1000 + sequence), from_relay(ports.a.rtp)));
    }
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.packets, from_a.octets, from_a.lost, from_a.dropped), (50, 50 * 160, 0, 0));
    assert_eq!((from_b.packets, from_b.octets, from_b.lost, from_b.dropped), (50, 50 * 160, 0, 0));
    let totals = bench.totals_when(|totals| totals.packets == 100);
    assert_eq!((totals.packets, totals.octets, totals.dropped, totals.unsent), (100, 16_000, 0, 0));
}

#[test]
fn control_crosses_on_its_own_ports_once_media_flows() {
    let mut bench = Bench::new(21_020..=21_039);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    assert_eq!(bench.relay.totals().sockets, 2, "a call without media has no RTCP sockets");
    a.send(ports.a.rtp, &rtp(1));
    receive(&b.rtp);
    assert_eq!(bench.totals_when(|totals| totals.sockets == 4).sockets, 4);
    a.send_control(ports.a.rtcp, &REPORT);
    assert_eq!(receive(&b.rtcp), (REPORT.to_vec(), from_relay(ports.b.rtcp)));
    b.send_control(ports.b.rtcp, &REPORT);
    assert_eq!(receive(&a.rtcp), (REPORT.to_vec(), from_relay(ports.a.rtcp)));
    let (from_a, _) = bench.close(1);
    assert_eq!(from_a.packets, 1, "reports are not media");
    assert_eq!(bench.totals_when(|totals| totals.control == 2).control, 2);
}

#[test]
fn two_calls_of_a_box_behind_a_nat_hear_each_other_without_leaving_it() {
    for (at, address) in ["127.0.0.1", "0.0.0.0"].into_iter().enumerate() {
        let first = 23_900 + 20 * at as u16;
        let advertise = "198.51.100.7".parse().unwrap();
        let mut bench = Bench::with(Config {
            ports: first..=first + 19,
            address: address.parse().unwrap(),
            advertise,
            ..Config::default()
        });
        let [one, two] = [1, 2].map(|session| {
            let opened = bench.order(MediaOrder::Open {
                session: MediaId(session),
                streams: 1,
                families: [Family::V4; 2],
            });
            let [MediaReport::Opened { streams, .. }] = opened.as_slice() else { panic!("{opened:?}") };
            streams[0]
        });
        let inside = |pair: PortPair, shard: u8| RemoteStream {
            rtp: SocketAddr::new(advertise, pair.rtp),
            rtcp: SocketAddr::new(advertise, pair.rtcp),
            signalling: IpAddr::from([0, 0, 0, shard]),
            sends: true,
            receives: true,
            is_rtp: true,
            is_audio: true,
        };
        let (a, b) = (Phone::new(), Phone::new());
        bench.describe(1, Side::A, a.description());
        bench.describe(1, Side::B, inside(two.a, 1));
        bench.describe(2, Side::A, inside(one.b, 0));
        bench.describe(2, Side::B, b.description());
        a.send(one.a.rtp, &rtp(1));
        assert_eq!(receive(&b.rtp), (rtp(1), from_relay(two.b.rtp)));
        b.send(two.b.rtp, &rtp(9));
        assert_eq!(receive(&a.rtp), (rtp(9), from_relay(one.a.rtp)));
    }
}

#[test]
fn a_phone_behind_a_nat_is_sent_to_where_its_packets_come_from() {
    let mut bench = Bench::new(21_040..=21_059);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.open(1);
    let private: SocketAddr = "192.168.77.7:4000".parse().unwrap();
    bench.describe(1, Side::A, RemoteStream { rtp: private, rtcp: private, ..a.description() });
    bench.describe(1, Side::B, b.description());
    a.send(ports.a.rtp, &rtp(1));
    receive(&b.rtp);
    b.send(ports.b.rtp, &rtp(7));
    assert_eq!(receive(&a.rtp).0, rtp(7));
}

#[test]
fn a_stranger_is_not_heard_and_its_packets_are_counted() {
    let mut bench = Bench::new(21_060..=21_079);
    let (a, b, stranger) = (Phone::new(), Phone::new(), Phone::at("127.0.0.66"));
    let ports = bench.call(1, &a, &b);
    stranger.send(ports.a.rtp, &rtp(1));
    expect_nothing(&b.rtp);
    a.send(ports.a.rtp, &rtp(2));
    assert_eq!(receive(&b.rtp).0, rtp(2));
    stranger.send(ports.a.rtp, &rtp(3));
    expect_nothing(&b.rtp);
    b.send(ports.b.rtp, &rtp(4));
    assert_eq!(receive(&a.rtp).0, rtp(4), "the stream was not moved to the stranger");
    expect_nothing(&stranger.rtp);
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.packets, from_a.dropped), (1, 2));
    assert_eq!((from_b.packets, from_b.dropped), (1, 0));
    assert_eq!(bench.totals_when(|totals| totals.dropped == 2).dropped, 2);
}

#[test]
fn a_side_that_floods_with_control_gets_a_fixed_rate_and_the_rest_is_counted() {
    let mut bench = Bench::new(24_620..=24_639);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    a.send(ports.a.rtp, &rtp(1));
    receive(&b.rtp);
    assert_eq!(bench.totals_when(|totals| totals.sockets == 4).sockets, 4);
    let begun = Instant::now();
    for sent in (0..2_000).step_by(50) {
        (0..50).for_each(|_| a.send_control(ports.a.rtcp, &REPORT));
        bench.totals_when(|totals| totals.control + totals.dropped == sent + 50);
    }
    let most = 201 + 200 * (begun.elapsed().as_secs() + 1);
    let totals = bench.relay.totals();
    assert!((200..=most).contains(&totals.control), "{totals:?}");
    assert_eq!(totals.control + totals.dropped, 2_000);
    a.send(ports.a.rtp, &rtp(2));
    assert_eq!(receive(&b.rtp).0, rtp(2), "media has a limit of its own");
    assert_eq!(bench.close(1).0.dropped, totals.dropped);
}

#[test]
fn nothing_is_sent_to_a_side_that_is_not_known_yet() {
    let mut bench = Bench::new(21_080..=21_099);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.open(1);
    bench.describe(1, Side::A, a.description());
    a.send(ports.a.rtp, &rtp(1));
    b.send(ports.b.rtp, &rtp(1));
    expect_nothing(&a.rtp);
    expect_nothing(&b.rtp);
    bench.describe(1, Side::B, b.description());
    a.send(ports.a.rtp, &rtp(2));
    assert_eq!(receive(&b.rtp).0, rtp(2));
}

#[test]
fn a_held_side_hears_nothing_until_it_resumes() {
    let mut bench = Bench::new(21_100..=21_119);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let unspecified: SocketAddr = "0.0.0.0:9".parse().unwrap();
    let holds = [
        RemoteStream { receives: false, ..b.description() },
        RemoteStream { rtp: unspecified, rtcp: unspecified, ..b.description() },
    ];
    for (n, hold) in (0..).zip(holds) {
        bench.describe(1, Side::B, hold);
        a.send(ports.a.rtp, &rtp(n * 2));
        expect_nothing(&b.rtp);
        bench.describe(1, Side::B, b.description());
        a.send(ports.a.rtp, &rtp(n * 2 + 1));
        assert_eq!(receive(&b.rtp).0, rtp(n * 2 + 1));
    }
    let (from_a, _) = bench.close(1);
    assert_eq!((from_a.packets, from_a.lost), (2, 0), "what was held back did arrive");
    assert_eq!(bench.totals_when(|totals| totals.withheld == 2).withheld, 2);
}

#[test]
fn a_side_that_moves_is_followed_and_its_old_address_is_forgotten() {
    let mut bench = Bench::new(21_120..=21_139);
    let (a, b, elsewhere) = (Phone::new(), Phone::new(), Phone::at("127.0.0.5"));
    let ports = bench.call(1, &a, &b);
    b.send(ports.b.rtp, &rtp(1));
    receive(&a.rtp);
    bench.describe(
        1,
        Side::B,
        RemoteStream { signalling: "127.0.0.5".parse().unwrap(), ..elsewhere.description() },
    );
    a.send(ports.a.rtp, &rtp(2));
    assert_eq!(receive(&elsewhere.rtp).0, rtp(2));
    b.send(ports.b.rtp, &rtp(3));
    expect_nothing(&a.rtp);
    elsewhere.send(ports.b.rtp, &rtp(4));
    assert_eq!(receive(&a.rtp).0, rtp(4));
}

#[test]
fn nothing_is_relayed_after_the_close() {
    let mut bench = Bench::new(21_140..=21_159);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    a.send(ports.a.rtp, &rtp(1));
    receive(&b.rtp);
    bench.close(1);
    a.send(ports.a.rtp, &rtp(2));
    b.send(ports.b.rtp, &rtp(2));
    expect_nothing(&b.rtp);
    expect_nothing(&a.rtp);
    // The relay may have held the call's end of one port for another instant: it counts as dropped then.
    let unheard = |totals: &Totals| totals.late + totals.dropped;
    let totals = bench.totals_when(|totals| unheard(totals) == 2);
    assert_eq!((unheard(&totals), totals.packets), (2, 1), "late packets are read, not left");
}

#[test]
fn late_packets_of_the_last_call_are_not_heard_in_the_next() {
    let mut bench = Bench::new(21_160..=21_163);
    let (a, b, c) = (Phone::new(), Phone::new(), Phone::new());
    let first = bench.call(1, &a, &b);
    bench.close(1);
    a.send(first.a.rtp, &rtp(1));
    bench.totals_when(|totals| totals.late + totals.dropped == 1);
    bench.pass(Duration::from_secs(5));
    let second = bench.call(2, &a, &c);
    let ports = |streams: StreamPorts| HashSet::from([streams.a.rtp, streams.b.rtp]);
    assert_eq!(ports(first), ports(second), "the same ports");
    expect_nothing(&c.rtp);
    a.send(second.a.rtp, &rtp(2));
    assert_eq!(receive(&c.rtp).0, rtp(2));
}

#[test]
fn a_burst_longer_than_one_visit_arrives_whole_and_in_order() {
    let mut bench = Bench::new(21_180..=21_183);
    // In the second call the ports are those of the first, with all that the first has left of its sockets.
    for call in 1..=2 {
        let (a, b) = (Phone::new(), Phone::new());
        let ports = bench.call(call, &a, &b);
        for sequence in 0..100 {
            a.send(ports.a.rtp, &rtp(sequence));
        }
        for sequence in 0..100 {
            assert_eq!(receive(&b.rtp).0, rtp(sequence), "call {call}");
        }
        assert_eq!(bench.close(call).0.lost, 0);
        bench.pass(Duration::from_secs(5));
    }
}

#[test]
fn loss_is_told_from_the_sequence_numbers() {
    let mut bench = Bench::new(21_200..=21_219);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    for sequence in [65_533, 65_534, 1, 2] {
        a.send(ports.a.rtp, &rtp(sequence));
        receive(&b.rtp);
    }
    let (from_a, _) = bench.close(1);
    assert_eq!((from_a.packets, from_a.lost), (4, 2));
}

#[test]
fn without_a_tick_each_packet_is_moved_at_once() {
    let mut bench = Bench::with(Config { ports: 21_220..=21_239, tick: Duration::ZERO, ..Config::default() });
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    for sequence in 0..20 {
        a.send(ports.a.rtp, &rtp(sequence));
        assert_eq!(receive(&b.rtp).0, rtp(sequence));
    }
}

#[test]
fn ipv6_is_relayed() {
    let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let ports = 21_240..=21_259;
    let mut bench = Bench::with(Config { address, advertise: address, ports, ..Config::default() });
    let (a, b) = (Phone::at("::1"), Phone::at("::1"));
    let ports = bench.call(1, &a, &b);
    a.rtp.send_to(&rtp(1), (address, ports.a.rtp)).unwrap();
    assert_eq!(receive(&b.rtp), (rtp(1), SocketAddr::new(address, ports.b.rtp)));
}

#[test]
fn marking_is_accepted_by_the_system_in_both_families() {
    for (ip, ports) in [("127.0.0.1", 21_260..=21_279), ("::1", 21_280..=21_299)] {
        let address: IpAddr = ip.parse().unwrap();
        let config = Config { address, advertise: address, ports, dscp: Some(46), ..Config::default() };
        let mut bench = Bench::with(config);
        let (a, b) = (Phone::at(ip), Phone::at(ip));
        let ports = bench.call(1, &a, &b);
        a.rtp.send_to(&rtp(1), (address, ports.a.rtp)).unwrap();
        assert_eq!(receive(&b.rtp), (rtp(1), SocketAddr::new(address, ports.b.rtp)));
    }
}

#[test]
fn in_a_stream_of_rtp_nothing_else_is_relayed_and_a_fax_is_in_its_own() {
    let mut bench = Bench::new(24_600..=24_619);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let fax = [0, 1, 2, 3, 4];
    for other in [&fax[..], b"\r\n", &[0xff; 172]] {
        a.send(ports.a.rtp, other);
    }
    let totals = bench.totals_when(|totals| totals.not_rtp >= 3);
    assert_eq!((totals.not_rtp, totals.dropped, totals.packets), (3, 3, 0));
    a.send(ports.a.rtp, &rtp(1));
    assert_eq!(receive(&b.rtp).0, rtp(1), "and nothing before it");
    bench.describe(1, Side::A, RemoteStream { is_rtp: false, ..a.description() });
    a.send(ports.a.rtp, &fax);
    assert_eq!(receive(&b.rtp).0, fax);
    let (from_a, _) = bench.close(1);
    assert_eq!((from_a.packets, from_a.dropped), (2, 3));
}
