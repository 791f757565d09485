//! Streams between phones in another namespace.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Duration;

use call::{DirectionStats, Family, MediaId, MediaReport, RemoteStream, Side, Speech, StreamPorts};
use media::{Config, EngineChoice, OtherFamily, Totals};
use rustix::net::{SendFlags, sendto};

use crate::harness::{Bench, Phone, REPORT, expect_nothing, receive, rtp};
use crate::network::{BOX, BOX_6, Network, PEERS, PEERS_6, datagram_to, folded};

/// More packets than a stream takes to settle.
const SETTLED: u16 = 40;
const PORTS: RangeInclusive<u16> = 30_000..=30_099;

fn config() -> Config {
    let address: IpAddr = BOX.parse().unwrap();
    let other = BOX_6.parse().unwrap();
    Config {
        address,
        advertise: address,
        other: Some(OtherFamily { address: other, advertise: other }),
        ports: PORTS,
        engine: EngineChoice::Kernel,
        ..Config::default()
    }
}

/// At every interface.
fn wildcard() -> Config {
    Config { address: "0.0.0.0".parse().unwrap(), advertise: BOX.parse().unwrap(), other: None, ..config() }
}

fn phone(network: &Network, address: &str) -> Phone {
    Phone { rtp: network.socket(address), rtcp: network.socket(address) }
}

/// Every second packet in two parts: then the system finishes its checksum instead of leaving that to the interface.
fn say(from: &UdpSocket, to: (&str, u16), packet: &[u8]) {
    let to = SocketAddr::new(to.0.parse().unwrap(), to.1);
    let mut rest = packet;
    if packet.len() > 12 && packet[3] & 1 == 1 {
        let (first, second) = packet.split_at(12);
        sendto(from, first, SendFlags::MORE, &to).unwrap();
        rest = second;
    }
    from.send_to(rest, to).unwrap();
}

/// How many packets come until none does for as long as the socket waits.
fn drain(socket: &UdpSocket) -> u64 {
    let mut heard = 0;
    loop {
        match socket.recv(&mut [0; 512]) {
            Ok(_) => heard += 1,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return heard,
        }
    }
}

/// A call over IPv4 that both sides have talked in until it is the kernel's.
struct Call {
    bench: Bench,
    a: Phone,
    b: Phone,
    ports: StreamPorts,
    next: u16,
}

impl Call {
    fn settled(network: &Network, config: Config) -> Call {
        let mut bench = Bench::with(config);
        let (a, b) = (phone(network, PEERS[0]), phone(network, PEERS[1]));
        let ports = bench.call(1, &a, &b);
        let mut call = Call { bench, a, b, ports, next: 0 };
        call.talk(SETTLED);
        call.wait_for_flows(2);
        call
    }

    /// So many packets each way, each of which arrives.
    fn talk(&mut self, packets: u16) {
        for _ in 0..packets {
            let packet = rtp(self.next);
            say(&self.a.rtp, (BOX, self.ports.a.rtp), &packet);
            assert_eq!(receive(&self.b.rtp), (packet.clone(), relay(self.ports.b.rtp)));
            say(&self.b.rtp, (BOX, self.ports.b.rtp), &packet);
            assert_eq!(receive(&self.a.rtp), (packet, relay(self.ports.a.rtp)));
            self.next += 1;
        }
    }

    fn wait_for_flows(&self, flows: usize) -> Totals {
        let totals = self.bench.totals_when(|totals| totals.kernel_flows == flows);
        assert_eq!(totals.kernel_flows, flows, "directions in the kernel: {totals:?}");
        totals
    }

    fn counted(&self, packets: u64) -> Totals {
        self.bench.totals_when(|totals| totals.packets == packets)
    }
}

fn relay(port: u16) -> SocketAddr {
    SocketAddr::new(BOX.parse().unwrap(), port)
}

#[test]
fn a_settled_stream_is_moved_by_the_kernel_and_every_packet_is_counted_once() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, config());
    let before = call.counted(u64::from(SETTLED) * 2);
    call.talk(200);
    let after = call.counted(u64::from(SETTLED + 200) * 2);
    assert_eq!(after.kernel_packets - before.kernel_packets, 400, "none of them by a socket: {after:?}");
    assert_eq!(after.kernel_octets - before.kernel_octets, 400 * 160);
    let (from_a, from_b) = call.bench.close(1);
    let expected = DirectionStats {
        packets: u64::from(call.next),
        octets: u64::from(call.next) * 160,
        jitter_ms: from_a.jitter_ms,
        speech: Some(Speech { packets: u64::from(call.next), lost: 0 }),
        first_media_ms: from_a.first_media_ms,
        ..DirectionStats::default()
    };
    assert_eq!(from_a, expected);
    assert_eq!(from_b, DirectionStats { jitter_ms: from_b.jitter_ms, ..expected });
    call.wait_for_flows(0);
}

#[test]
fn what_the_kernel_has_counted_is_told_in_between_and_the_stream_returns_there() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, config());
    call.talk(50);
    call.counted(u64::from(SETTLED + 50) * 2);
    let (from_a, from_b) = call.bench.count(1);
    assert_eq!((from_a.packets, from_b.packets), (u64::from(call.next), u64::from(call.next)));
    while call.bench.relay.totals().kernel_flows < 2 && call.next < 2_000 {
        call.talk(1);
    }
    let before = call.wait_for_flows(2);
    call.talk(10);
    let after = call.counted(before.packets + 20);
    assert_eq!(after.kernel_packets - before.kernel_packets, 20, "{after:?}");
    let (from_a, from_b) = call.bench.close(1);
    let counts = (from_a.packets, from_a.lost, from_b.packets, from_b.lost);
    assert_eq!(counts, (u64::from(call.next), 0, u64::from(call.next), 0));
}

#[test]
fn a_stranger_never_gets_through_a_stream_in_the_kernel_and_is_counted() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, config());
    let before = call.counted(u64::from(SETTLED) * 2);
    let elsewhere = phone(&network, PEERS[2]);
    let same_host = phone(&network, PEERS[0]);
    for stranger in [&elsewhere, &same_host] {
        for sequence in 0..20 {
            say(&stranger.rtp, (BOX, call.ports.a.rtp), &rtp(call.next + sequence));
            say(&stranger.rtp, (BOX, call.ports.b.rtp), &rtp(call.next + sequence));
        }
    }
    expect_nothing(&call.a.rtp);
    expect_nothing(&call.b.rtp);
    let after = call.bench.totals_when(|totals| totals.dropped == before.dropped + 80);
    assert_eq!((after.packets, after.dropped), (before.packets, before.dropped + 80));
    call.talk(5);
    let last = call.counted(before.packets + 10);
    assert_eq!(last.kernel_packets, before.kernel_packets + 10, "it stays where it is");
    let (from_a, from_b) = call.bench.close(1);
    assert_eq!((from_a.packets, from_a.lost, from_a.dropped), (u64::from(call.next), 0, 40));
    assert_eq!((from_b.packets, from_b.lost, from_b.dropped), (u64::from(call.next), 0, 40));
}

/// The stack knows by which interface an address may come; the program runs before it.
#[test]
fn a_peers_address_that_comes_from_another_network_is_left_to_the_stack() {
    let Some(network) = Network::new() else { return };
    network.join_impostor(PEERS[0]);
    let mut call = Call::settled(&network, wildcard());
    let before = call.counted(u64::from(SETTLED) * 2);
    let impostor = network.impostor(call.a.rtp.local_addr().unwrap());
    for sequence in 0..20 {
        say(&impostor, (BOX, call.ports.a.rtp), &rtp(call.next + sequence));
    }
    expect_nothing(&call.b.rtp);
    assert_eq!(call.bench.relay.totals().packets, before.packets);
    call.talk(5);
    assert_eq!(call.bench.close(1).0.packets, u64::from(call.next));
}

#[test]
fn a_frame_for_another_host_is_not_taken() {
    let Some(network) = Network::new() else { return };
    let call = Call::settled(&network, config());
    let before = call.counted(u64::from(SETTLED) * 2);
    network.change_peers(&["neighbour", "replace", BOX, "lladdr", "02:00:00:00:77:99", "dev", "peer0"]);
    for sequence in 0..20 {
        say(&call.a.rtp, (BOX, call.ports.a.rtp), &rtp(call.next + sequence));
    }
    expect_nothing(&call.b.rtp);
    assert_eq!(call.bench.relay.totals().packets, before.packets);
}

#[test]
fn a_stream_on_hold_comes_back_and_the_resume_gives_it_to_the_kernel_again() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, config());
    call.talk(20);
    call.bench.describe(1, Side::B, RemoteStream { receives: false, ..call.b.description() });
    call.wait_for_flows(1);
    for sequence in call.next..call.next + 10 {
        say(&call.a.rtp, (BOX, call.ports.a.rtp), &rtp(sequence));
    }
    assert_eq!(call.bench.totals_when(|totals| totals.withheld == 10).withheld, 10);
    expect_nothing(&call.b.rtp);
    let from_b = rtp(call.next);
    say(&call.b.rtp, (BOX, call.ports.b.rtp), &from_b);
    assert_eq!(receive(&call.a.rtp).0, from_b, "hold is for one direction");
    call.next += 10;
    call.bench.describe(1, Side::B, call.b.description());
    call.talk(SETTLED);
    let resumed = call.wait_for_flows(2);
    call.talk(10);
    let after = call.counted(resumed.packets + 20);
    assert_eq!(after.kernel_packets - resumed.kernel_packets, 20);
    let (from_a, from_b) = call.bench.close(1);
    assert_eq!((from_a.packets, from_a.lost), (u64::from(call.next) - 10, 0), "ten came and were withheld");
    assert_eq!((from_b.packets, from_b.lost), (u64::from(call.next) - 9, 9));
}

#[test]
fn a_side_that_moves_is_found_by_its_new_description_at_once() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, config());
    let moved = phone(&network, PEERS[2]);
    call.bench.describe(1, Side::B, moved.description());
    call.wait_for_flows(0);
    expect_nothing(&call.b.rtp);
    call.b = moved;
    call.talk(SETTLED);
    call.wait_for_flows(2);
    call.talk(5);
}

#[test]
fn loss_and_jitter_are_those_that_userspace_finds_in_the_same_packets() {
    let Some(network) = Network::new() else { return };
    let mut kernel = Call::settled(&network, config());
    let ports = 30_200..=30_299;
    let mut sockets = {
        let mut bench = Bench::with(Config { ports, engine: EngineChoice::Userspace, ..config() });
        let (a, b) = (phone(&network, PEERS[0]), phone(&network, PEERS[1]));
        let ports = bench.call(1, &a, &b);
        Call { bench, a, b, ports, next: 0 }
    };
    sockets.talk(SETTLED);
    // Gaps, a wrap, packets out of order and twice, one from nowhere, another source; timestamps that say much of jitter.
    let start = u32::from(SETTLED);
    let numbers = (start..start + 200).filter(|n| n % 9 != 0).chain([
        start + 195,
        start + 203,
        start + 201,
        start + 204,
    ]);
    let second = (65_400..65_700u32).filter(|n| !(65_500..65_510).contains(n)).chain([9_000, 65_701]);
    let packets = numbers.map(|n| (1u8, n)).chain(second.map(|n| (2, n)));
    let mut sent = 0;
    for (source, number) in packets {
        let mut packet = rtp(number as u16);
        packet[11] = source;
        let timestamp = number * 160 + (number * 7919 % 13) * 400;
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        for call in [&kernel, &sockets] {
            say(&call.a.rtp, (BOX, call.ports.a.rtp), &packet);
            assert_eq!(receive(&call.b.rtp).0, packet);
        }
        sent += 1;
    }
    let total = u64::from(SETTLED) * 2 + sent;
    assert!(kernel.counted(total).kernel_packets >= sent, "all of these in the kernel");
    assert_eq!(sockets.counted(total).kernel_packets, 0);
    let ((ours, _), (theirs, _)) = (kernel.bench.close(1), sockets.bench.close(1));
    assert_eq!(ours.lost, theirs.lost);
    assert_eq!((ours.reordered, ours.duplicates), (theirs.reordered, theirs.duplicates));
    assert!(theirs.reordered > 0 && theirs.duplicates > 0, "{theirs:?}");
    assert_eq!((ours.packets, ours.octets), (theirs.packets, theirs.octets));
    assert!(theirs.lost > 25 && theirs.jitter_ms > 100.0, "{theirs:?}");
    let ratio = ours.jitter_ms / theirs.jitter_ms;
    assert!(
        (0.98..1.02).contains(&ratio),
        "jitter {} ms, by sockets {} ms",
        ours.jitter_ms,
        theirs.jitter_ms
    );
}

#[test]
fn a_side_that_floods_gets_its_rate_and_no_more() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, Config { rate: 100, ..config() });
    let before = call.counted(u64::from(SETTLED) * 2);
    call.b.rtp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    for sequence in 0..1000 {
        say(&call.a.rtp, (BOX, call.ports.a.rtp), &rtp(call.next + sequence));
    }
    let totals = call.bench.totals_when(|totals| totals.packets + totals.dropped == before.packets + 1000);
    let passed = totals.packets - before.packets;
    assert!((85..=150).contains(&passed), "what is left of the burst of a second: {totals:?}");
    assert_eq!(totals.kernel_packets - before.kernel_packets, passed);
    assert_eq!(drain(&call.b.rtp), passed);
    let (from_a, _) = call.bench.close(1);
    assert_eq!((from_a.packets, from_a.dropped), (u64::from(SETTLED) + passed, 1000 - passed));
    assert_eq!(from_a.lost, 0, "what was dropped here had come");
}

/// Everything that the program leaves to the socket: control, other datagrams, headers that lie about their length.
#[test]
fn what_is_not_plain_media_goes_by_the_socket_beside_it() {
    let Some(network) = Network::new() else { return };
    let call = Call::settled(&network, config());
    let before = call.counted(u64::from(SETTLED) * 2);
    say(&call.a.rtcp, (BOX, call.ports.a.rtcp), &REPORT);
    assert_eq!(receive(&call.b.rtcp), (REPORT.to_vec(), relay(call.ports.b.rtcp)));
    let mut too_long = rtp(call.next);
    too_long[0] |= 0x10;
    too_long[14..16].copy_from_slice(&[0xff, 0xff]);
    for other in [&[7][..], &too_long, &[0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]] {
        say(&call.a.rtp, (BOX, call.ports.a.rtp), other);
    }
    assert_eq!(receive(&call.b.rtp).0[0], 0x16, "of these only what two ends make keys with is relayed");
    let after = call.counted(before.packets + 1);
    let passed = (after.packets, after.kernel_packets, after.not_rtp);
    assert_eq!(passed, (before.packets + 1, before.kernel_packets, 2));
    // A header extension, a contributing source and padding, all of them true.
    let mut full = vec![0x80 | 0x20 | 0x10 | 1, 0];
    full.extend(&rtp(call.next)[2..12]);
    full.extend([[9; 4], [0xbe, 0xde, 0, 1], [1; 4], [0x55; 4], [0, 0, 0, 4]].concat());
    say(&call.a.rtp, (BOX, call.ports.a.rtp), &full);
    assert_eq!(receive(&call.b.rtp).0, full);
    let last = call.counted(before.packets + 2);
    assert_eq!(
        (last.kernel_packets - before.kernel_packets, last.kernel_octets - before.kernel_octets),
        (1, 4)
    );
}

#[test]
fn what_leaves_the_kernel_is_marked_and_has_one_hop_less() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, Config { dscp: Some(46), ..config() });
    let port = call.b.rtp.local_addr().unwrap().port();
    let mut frames = network.frames();
    call.a.rtp.set_ttl(40).unwrap();
    call.talk(1);
    let ip = datagram_to(port, &mut frames);
    assert_eq!((ip[1], ip[8]), (46 << 2, 39), "DSCP with ECN off, and the hops that are left");
    assert_eq!(folded(&ip[..20]), 0xffff, "the checksum of the header");
}

fn between_families(from: (&str, &str), to: (&str, &str)) {
    let Some(network) = Network::new() else { return };
    let mut bench = Bench::with(config());
    let (a, b) = (phone(&network, from.0), phone(&network, to.0));
    let family = |address: &str| if address.contains(':') { Family::V6 } else { Family::V4 };
    let ports = bench.try_open_in([family(from.0), family(to.0)], 1, 1).unwrap()[0];
    let describe = |phone: &Phone| RemoteStream {
        signalling: phone.rtp.local_addr().unwrap().ip(),
        ..phone.description()
    };
    bench.describe(1, Side::A, describe(&a));
    bench.describe(1, Side::B, describe(&b));
    let mut sent = 0;
    let mut pass = |count: u16| {
        for _ in 0..count {
            let packet = rtp(sent);
            say(&a.rtp, (from.1, ports.a.rtp), &packet);
            assert_eq!(
                receive(&b.rtp),
                (packet.clone(), SocketAddr::new(to.1.parse().unwrap(), ports.b.rtp))
            );
            say(&b.rtp, (to.1, ports.b.rtp), &packet);
            assert_eq!(receive(&a.rtp), (packet, SocketAddr::new(from.1.parse().unwrap(), ports.a.rtp)));
            sent += 1;
        }
    };
    pass(SETTLED);
    let settled = bench.totals_when(|totals| totals.kernel_flows == 2);
    assert_eq!(settled.kernel_flows, 2);
    pass(20);
    let after = bench.totals_when(|totals| totals.packets == u64::from(SETTLED + 20) * 2);
    assert_eq!(after.kernel_packets - settled.kernel_packets, 40);
}

#[test]
fn ipv6_is_relayed_by_the_kernel() {
    between_families((PEERS_6[0], BOX_6), (PEERS_6[1], BOX_6));
}

#[test]
fn ipv4_and_ipv6_hear_each_other_through_the_kernel() {
    between_families((PEERS[0], BOX), (PEERS_6[1], BOX_6));
}

/// Phones on this host: their packets come by `lo`, to whatever address.
#[test]
fn phones_of_this_host_are_relayed_by_the_kernel_too() {
    let Some(_network) = Network::new() else { return };
    for (at, a, b) in [("127.0.0.1", "127.0.0.1", "127.0.0.5"), (BOX, BOX, BOX)] {
        let address: IpAddr = at.parse().unwrap();
        let mut bench = Bench::with(Config { address, advertise: address, other: None, ..config() });
        let (a, b) = (Phone::at(a), Phone::at(b));
        let ports = bench.call(1, &a, &b);
        for sequence in 0..SETTLED + 20 {
            say(&a.rtp, (at, ports.a.rtp), &rtp(sequence));
            assert_eq!(receive(&b.rtp), (rtp(sequence), SocketAddr::new(address, ports.b.rtp)));
            say(&b.rtp, (at, ports.b.rtp), &rtp(sequence));
            assert_eq!(receive(&a.rtp), (rtp(sequence), SocketAddr::new(address, ports.a.rtp)));
        }
        let totals = bench.totals_when(|totals| totals.packets == u64::from(SETTLED + 20) * 2);
        assert!(totals.kernel_packets >= 40, "{totals:?}");
    }
}

#[test]
fn a_phone_of_this_host_and_one_outside_hear_each_other_through_the_kernel() {
    let Some(network) = Network::new() else { return };
    let mut bench = Bench::with(config());
    let (inside, outside) = (Phone::at(BOX), phone(&network, PEERS[0]));
    let ports = bench.call(1, &inside, &outside);
    for sequence in 0..SETTLED + 20 {
        say(&inside.rtp, (BOX, ports.a.rtp), &rtp(sequence));
        assert_eq!(receive(&outside.rtp), (rtp(sequence), relay(ports.b.rtp)));
        say(&outside.rtp, (BOX, ports.b.rtp), &rtp(sequence));
        assert_eq!(receive(&inside.rtp), (rtp(sequence), relay(ports.a.rtp)));
    }
    let totals = bench.totals_when(|totals| totals.packets == u64::from(SETTLED + 20) * 2);
    assert!(totals.kernel_packets >= 40, "{totals:?}");
}

#[test]
fn a_stream_in_the_kernel_is_not_silent_until_it_is() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, Config { timeout: Duration::from_secs(10), ..config() });
    call.bench.watch(1, true);
    for _ in 0..5 {
        call.talk(2);
        call.bench.pass(Duration::from_secs(4));
        assert_eq!(call.bench.poll(), []);
    }
    call.bench.pass(Duration::from_secs(10));
    let silent = |side| MediaReport::Silent { session: MediaId(1), side };
    assert_eq!(call.bench.poll(), [silent(Side::A), silent(Side::B)]);
    call.talk(1);
    call.wait_for_flows(2);
}

/// The direction of who holds stays with the kernel, and may be silent there.
#[test]
fn a_stream_in_the_kernel_that_is_held_without_music_is_not_given_up() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, Config { timeout: Duration::from_secs(10), ..config() });
    call.bench.watch(1, true);
    call.bench.describe(1, Side::B, RemoteStream { receives: false, ..call.b.description() });
    call.bench.describe(1, Side::A, RemoteStream { sends: false, ..call.a.description() });
    call.wait_for_flows(1);
    for _ in 0..10 {
        call.bench.pass(Duration::from_secs(10));
        assert_eq!(call.bench.poll(), []);
    }
}

/// Early media is in the kernel before anybody watches for silence.
#[test]
fn a_change_of_routes_brings_streams_of_unanswered_calls_back_too() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, config());
    network.change(&["route", "add", "192.0.2.0/24", "via", PEERS[2]]);
    call.bench.pass(Duration::from_secs(10));
    call.bench.poll();
    call.wait_for_flows(0);
    call.talk(SETTLED);
    call.wait_for_flows(2);
    network.change(&["route", "delete", "192.0.2.0/24"]);
    call.bench.pass(Duration::from_millis(900));
    call.bench.poll();
    call.wait_for_flows(2);
    call.bench.pass(Duration::from_millis(600));
    call.bench.poll();
    call.wait_for_flows(0);
}

/// Other interfaces of the host may be smaller.
#[test]
fn the_largest_packet_is_that_of_the_interface_where_it_leaves() {
    let Some(network) = Network::new() else { return };
    network.change(&["link", "add", "box1", "mtu", "600", "type", "veth", "peer", "name", "box2"]);
    network.change(&["link", "set", "box1", "up"]);
    let call = Call::settled(&network, config());
    let before = call.counted(u64::from(SETTLED) * 2);
    let mut large = rtp(call.next);
    large.resize(1400, 0);
    call.a.rtp.send_to(&large, relay(call.ports.a.rtp)).unwrap();
    assert_eq!(call.b.rtp.recv(&mut [0; 2048]).unwrap(), 1400);
    assert_eq!(call.counted(before.packets + 1).kernel_packets - before.kernel_packets, 1);
}

/// Routes that change may lead streams elsewhere: they settle again, and ask.
#[test]
fn a_change_of_routes_brings_streams_back_to_ask_for_theirs() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, config());
    call.bench.watch(1, true);
    network.change(&["route", "add", "192.0.2.0/24", "via", PEERS[2]]);
    call.bench.pass(Duration::from_secs(10));
    call.bench.poll();
    call.wait_for_flows(0);
    call.talk(SETTLED);
    call.wait_for_flows(2);
    let (from_a, from_b) = call.bench.close(1);
    assert_eq!((from_a.packets, from_b.packets), (u64::from(call.next), u64::from(call.next)));
    assert_eq!((from_a.lost, from_b.lost), (0, 0));
}

/// Bound to every address of the host, the relay takes the one by which it speaks with a peer.
#[test]
fn the_wildcard_address_is_relayed_by_the_kernel_too() {
    let Some(network) = Network::new() else { return };
    drop(Call::settled(&network, wildcard()));
}

/// While packets come without a pause, the stream goes to the kernel and comes back again and again.
#[test]
fn every_packet_is_counted_once_while_its_stream_changes_hands() {
    let Some(network) = Network::new() else { return };
    let mut call = Call::settled(&network, config());
    let port = call.ports.a.rtp;
    let (from, first) = (call.a.rtp.try_clone().unwrap(), call.next);
    let sender = std::thread::spawn(move || {
        for sequence in first..first + 4000 {
            say(&from, (BOX, port), &rtp(sequence));
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let listener = call.b.rtp.try_clone().unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let listener = std::thread::spawn(move || drain(&listener));
    let mut turns = 0;
    while !sender.is_finished() {
        call.bench.describe(1, Side::B, RemoteStream { receives: false, ..call.b.description() });
        call.bench.describe(1, Side::B, call.b.description());
        call.bench.totals_when(|totals| totals.kernel_flows == 2 || sender.is_finished());
        turns += 1;
    }
    sender.join().unwrap();
    let heard = listener.join().unwrap();
    let withheld = call.bench.relay.totals().withheld;
    assert!(turns > 5, "{turns}");
    let (from_a, _) = call.bench.close(1);
    assert_eq!(heard + withheld, 4000, "none lost");
    assert_eq!((from_a.packets, from_a.lost), (u64::from(SETTLED) + heard, 0));
}
