//! The ports of a relay heard by one socket, with real packets.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use call::Side;
use media::{Config, EngineChoice};

use crate::harness::{Bench, Phone, REPORT, expect_nothing, receive, rtp};
use crate::network::{BOX, BOX_6, Network, PEERS, datagram_to, folded};

fn config() -> Config {
    let one_way_after = Duration::from_secs(24 * 60 * 60);
    let address = BOX.parse().unwrap();
    Config {
        address,
        advertise: address,
        ports: 30_000..=30_099,
        engine: EngineChoice::Userspace,
        one_way_after,
        ..Config::default()
    }
}

fn phone(network: &Network, address: &str) -> Phone {
    Phone { rtp: network.socket(address), rtcp: network.socket(address) }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(BOX.parse().unwrap(), port)
}

fn say(from: &UdpSocket, port: u16, packet: &[u8]) {
    from.send_to(packet, at(port)).unwrap();
}

/// An RTP packet of this length, the payload of which is different for each.
fn packet(sequence: u16, length: usize) -> Vec<u8> {
    let mut packet = rtp(sequence);
    packet.truncate(12);
    packet.extend((12..length).map(|at| (at * 31 + usize::from(sequence) * 7) as u8));
    packet
}

#[test]
fn both_sides_hear_each_other_through_one_socket_and_from_the_port_they_were_told() {
    let Some(network) = Network::new() else { return };
    let mut bench = Bench::with(config());
    let (a, b) = (phone(&network, PEERS[0]), phone(&network, PEERS[1]));
    let ports = bench.call(1, &a, &b);
    for sequence in 0..200 {
        say(&a.rtp, ports.a.rtp, &rtp(sequence));
        assert_eq!(receive(&b.rtp), (rtp(sequence), at(ports.b.rtp)));
        say(&b.rtp, ports.b.rtp, &rtp(sequence));
        assert_eq!(receive(&a.rtp), (rtp(sequence), at(ports.a.rtp)));
    }
    assert_eq!(bench.relay.totals().sockets, 4, "none of the ports is connected");
    say(&a.rtcp, ports.a.rtcp, &REPORT);
    assert_eq!(receive(&b.rtcp), (REPORT.to_vec(), at(ports.b.rtcp)));
    let stranger = phone(&network, PEERS[2]);
    say(&stranger.rtp, ports.a.rtp, &rtp(200));
    expect_nothing(&b.rtp);
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.packets, from_a.lost, from_a.dropped), (200, 0, 1));
    assert_eq!((from_b.packets, from_b.lost, from_b.dropped), (200, 0, 0));
    say(&a.rtp, ports.a.rtp, &rtp(201));
    let totals = bench.totals_when(|totals| totals.late == 1);
    assert_eq!((totals.packets, totals.control, totals.dropped, totals.late), (400, 1, 1, 1));
    assert_eq!(totals.steered, 402, "all that came during the call");
}

/// The headers are the relay's own work: a receiver throws away what their sums contradict.
#[test]
fn packets_of_every_length_arrive_as_they_were() {
    let Some(network) = Network::new() else { return };
    let mut bench = Bench::with(Config { dscp: Some(46), rate: 0, ..config() });
    let (a, b) = (phone(&network, PEERS[0]), phone(&network, PEERS[1]));
    let ports = bench.call(1, &a, &b);
    // The last ones are more than the interface takes in one piece.
    let lengths = (12..400).chain([1_471, 1_472, 1_473, 8_000, 65_507]);
    for (sequence, length) in (0..).zip(lengths) {
        let packet = packet(sequence, length);
        say(&a.rtp, ports.a.rtp, &packet);
        let mut came = vec![0; 65_536];
        let length = b.rtp.recv(&mut came).unwrap();
        assert!(came[..length] == packet, "{length} octets of {}", packet.len());
        if sequence % 50 == 0 {
            // No more than a stream of speech sends.
            std::thread::sleep(Duration::from_millis(70));
        }
    }
    assert_eq!(bench.totals_when(|totals| totals.packets == 393).unsent, 0);
}

#[test]
fn what_leaves_has_the_marks_of_a_socket() {
    let Some(network) = Network::new() else { return };
    let mut bench = Bench::with(Config { dscp: Some(46), ..config() });
    let (a, b) = (phone(&network, PEERS[0]), phone(&network, PEERS[1]));
    let ports = bench.call(1, &a, &b);
    let mut frames = network.frames();
    let port = b.rtp.local_addr().unwrap().port();
    say(&a.rtp, ports.a.rtp, &rtp(7));
    let ip = datagram_to(port, &mut frames);
    assert_eq!(ip[..2], [0x45, 46 << 2], "version and length; DSCP with ECN off");
    assert_eq!(ip[2..4], (28 + rtp(7).len() as u16).to_be_bytes(), "the length of all");
    assert_eq!(ip[6..9], [0x40, 0, 64], "not to be fragmented; hops");
    assert_eq!(ip[20..22], ports.b.rtp.to_be_bytes(), "from the port that B was told");
    assert_ne!(ip[26..28], [0, 0], "a checksum");
    assert_eq!(folded(&ip[..20]), 0xffff, "the checksum of the IP header");
}

/// One queue is everybody's: a port that is sent too much is given back to its own.
#[test]
fn a_flood_at_one_port_goes_to_its_own_socket_and_the_call_is_heard_there() {
    let Some(network) = Network::new() else { return };
    let mut bench = Bench::with(Config { rate: 0, ..config() });
    let (a, b) = (phone(&network, PEERS[0]), phone(&network, PEERS[1]));
    let ports = bench.call(1, &a, &b);
    say(&a.rtp, ports.a.rtp, &rtp(0));
    assert_eq!(receive(&b.rtp).0, rtp(0));
    let stranger = phone(&network, PEERS[2]);
    for sequence in 0..3_000 {
        say(&stranger.rtp, ports.a.rtp, &rtp(sequence));
    }
    // Until it has been read: it fills what queue it comes to.
    let mut read = bench.relay.totals();
    loop {
        expect_nothing(&b.rtp);
        let before = std::mem::replace(&mut read, bench.relay.totals());
        if before == read {
            break;
        }
    }
    let flooded = read.steered;
    for sequence in 1..50 {
        say(&a.rtp, ports.a.rtp, &rtp(sequence));
        assert_eq!(receive(&b.rtp).0, rtp(sequence), "in order");
        say(&b.rtp, ports.b.rtp, &rtp(sequence));
        assert_eq!(receive(&a.rtp).0, rtp(sequence));
    }
    let totals = bench.totals_when(|totals| totals.packets == 99);
    assert_eq!(totals.packets, 99, "{totals:?}");
    assert!(totals.dropped > 512 && flooded < 2_000, "{flooded} of 3,000 by the common socket: {totals:?}");
    let (from_a, _) = bench.close(1);
    assert_eq!((from_a.packets, from_a.reordered, from_a.lost), (50, 0, 0));
}

#[test]
fn a_host_whose_routes_go_by_ports_is_not_steered() {
    let Some(network) = Network::new() else { return };
    network.change(&["rule", "add", "ipproto", "udp", "sport", "30000-30099", "lookup", "100"]);
    let mut bench = Bench::with(config());
    let (a, b) = (phone(&network, PEERS[0]), phone(&network, PEERS[1]));
    let ports = bench.call(1, &a, &b);
    say(&a.rtp, ports.a.rtp, &rtp(1));
    assert_eq!(receive(&b.rtp).0, rtp(1));
    assert_eq!(bench.totals_when(|totals| totals.packets == 1).steered, 0);
}

/// The next call of a port that rested is steered as the first was.
#[test]
fn a_port_that_is_used_again_is_steered_again() {
    let Some(network) = Network::new() else { return };
    let mut bench = Bench::with(Config { ports: 30_000..=30_003, quarantine: Duration::ZERO, ..config() });
    for call in 1..=3 {
        let (a, b) = (phone(&network, PEERS[0]), phone(&network, PEERS[1]));
        let ports = bench.call(call, &a, &b);
        say(&a.rtp, ports.a.rtp, &rtp(1));
        assert_eq!(receive(&b.rtp).0, rtp(1));
        assert_eq!(bench.totals_when(|totals| totals.sockets == 4).sockets, 4, "RTCP has its ports");
        say(&b.rtcp, ports.b.rtcp, &REPORT);
        assert_eq!(receive(&a.rtcp).0, REPORT);
        bench.close(call);
    }
    assert_eq!(bench.totals_when(|totals| totals.control == 3).steered, 6);
}

#[test]
fn nothing_is_steered_once_the_relay_is_gone() {
    let Some(network) = Network::new() else { return };
    let mut bench = Bench::with(config());
    let (a, b) = (phone(&network, PEERS[0]), phone(&network, PEERS[1]));
    let ports = bench.call(1, &a, &b);
    say(&a.rtp, ports.a.rtp, &rtp(1));
    receive(&b.rtp);
    assert_eq!(bench.totals_when(|totals| totals.steered == 1).steered, 1);
    drop(bench);
    let successor = UdpSocket::bind(at(ports.a.rtp)).unwrap();
    successor.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    say(&a.rtp, ports.a.rtp, &rtp(2));
    assert_eq!(receive(&successor).0, rtp(2));
}

#[test]
fn a_side_in_the_other_family_is_reached_from_a_steered_port() {
    let Some(network) = Network::new() else { return };
    let other = BOX_6.parse().unwrap();
    let other = Some(media::OtherFamily { address: other, advertise: other });
    let mut bench = Bench::with(Config { other, ..config() });
    let (a, b) = (phone(&network, PEERS[0]), phone(&network, crate::network::PEERS_6[0]));
    let ports = bench.try_open_in([call::Family::V4, call::Family::V6], 1, 1).unwrap()[0];
    bench.describe(1, Side::A, a.description());
    bench.describe(1, Side::B, b.description());
    for sequence in 0..100 {
        say(&a.rtp, ports.a.rtp, &rtp(sequence));
        assert_eq!(receive(&b.rtp).0, rtp(sequence));
        b.rtp.send_to(&rtp(sequence), (BOX_6, ports.b.rtp)).unwrap();
        assert_eq!(receive(&a.rtp), (rtp(sequence), at(ports.a.rtp)));
    }
    let totals = bench.totals_when(|totals| totals.packets == 200);
    assert_eq!((totals.packets, totals.steered), (200, 100), "what came in IPv6 came to its port");
}
