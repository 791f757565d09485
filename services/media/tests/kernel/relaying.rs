//! Streams between phones in another namespace.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use call::{DirectionStats, RemoteStream, Side, StreamPorts};
use media::{Config, EngineChoice, OtherFamily, Totals};

use crate::harness::{Bench, Phone, REPORT, expect_nothing, receive, rtp};
use crate::network::{BOX, BOX_6, Network, PEERS};

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

fn phone(network: &Network, address: &str) -> Phone {
    Phone { rtp: network.socket(address), rtcp: network.socket(address) }
}

fn say(from: &UdpSocket, to: (&str, u16), packet: &[u8]) {
    from.send_to(packet, (to.0.parse::<IpAddr>().unwrap(), to.1)).unwrap();
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
        ..DirectionStats::default()
    };
    assert_eq!(from_a, expected);
    assert_eq!(from_b, DirectionStats { jitter_ms: from_b.jitter_ms, ..expected });
    call.wait_for_flows(0);
}
