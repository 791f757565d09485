//! What the relay and its program in the kernel write for each other: `struct flow`, `struct counts` and `struct totals` of
//! `bpf/relay.bpf.c`, field by field, as arrays of bytes. Numbers are in the byte order of the host, addresses and ports in
//! that of the network.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::stream::{Elsewhere, Handover, Route};

/// `struct flow`.
pub(super) const FLOW: usize = 136;
/// `struct counts`.
pub(super) const COUNTS: usize = 136;
/// `struct totals`.
pub(super) const TOTALS: usize = 24;

/// Where in a flow it says how packets are counted, and nothing of where they go: whose jitter, and what had been counted.
const COUNTING: [Range<usize>; 2] = [104..116, EARLIER..FLOW];
/// Where it says what had been counted.
const EARLIER: usize = 124;

const IPV6_OUT: u8 = 1;
const MUXED: u8 = 2;
const STAYS: u8 = 4;

/// What the program shall do with the media that reaches one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Who may send it, and the port where it comes.
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// The port from which it goes on, and where to.
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    /// By which interface, and whether that one leads nowhere but here.
    pub(super) interface: u32,
    pub(super) stays: bool,
    /// By which interface the peer is reached, and therefore the only one by which it may come.
    pub(super) ingress: u32,
    /// The largest IP packet that fits where it leaves.
    pub(super) mtu: u32,
    pub(super) muxed: bool,
    /// The octet of differentiated services.
    pub(super) tos: u8,
    /// The rate limit, in nanoseconds; an interval of zero is none.
    pub(super) interval: u64,
    pub(super) burst: u64,
    /// Whose timestamps say what jitter is.
    pub(super) payload_type: u8,
    pub(super) rate: Option<u32>,
    /// What the counts begin with.
    pub(super) earlier: Earlier,
}

/// What was counted of a direction before it was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Earlier {
    pub(super) lost: u32,
    pub(super) reordered: u32,
    pub(super) duplicates: u32,
}

impl Earlier {
    pub(super) fn of(handover: &Handover) -> Earlier {
        let capped = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let run = (handover.highest + 1).saturating_sub(handover.first).saturating_sub(handover.received);
        Earlier {
            lost: capped(handover.lost_before + run),
            reordered: capped(handover.reordered),
            duplicates: capped(handover.duplicates),
        }
    }

    /// Leaves what was counted since.
    pub(super) fn take_from(self, reception: &mut Handover) {
        let lost = u64::from(self.lost);
        let rest = lost.saturating_sub(reception.lost_before);
        reception.lost_before = reception.lost_before.saturating_sub(lost);
        // What is left of it is of the run of numbers that goes on: as if those had come.
        reception.received += rest;
        reception.reordered = reception.reordered.saturating_sub(u64::from(self.reordered));
        reception.duplicates = reception.duplicates.saturating_sub(u64::from(self.duplicates));
    }
}

impl Flow {
    pub(super) fn encode(&self, active: bool) -> [u8; FLOW] {
        let flags = [(self.destination.is_ipv6(), IPV6_OUT), (self.muxed, MUXED), (self.stays, STAYS)];
        let flags = flags.into_iter().filter(|(on, _)| *on).fold(0, |all, (_, flag)| all | flag);
        // Nanoseconds of one unit of the timestamp, times 1024.
        let unit =
            self.rate.filter(|rate| *rate != 0).map_or(0, |rate| (1_000_000_000 << 10) / u64::from(rate));
        let mut out = Writer::new();
        out.put(u32::from(active).to_ne_bytes());
        out.put(self.interface.to_ne_bytes());
        for end in [self.local, self.peer, self.source, self.destination] {
            out.put(address(end.ip()));
        }
        for end in [self.peer, self.source, self.destination] {
            out.put(end.port().to_be_bytes());
        }
        out.put([flags, self.tos]);
        out.put(
            change([self.peer, self.local], [self.source, self.destination], words_of_address).to_ne_bytes(),
        );
        out.put(change([self.peer, self.local], [self.source, self.destination], word_of_port).to_ne_bytes());
        out.put(self.interval.to_ne_bytes());
        out.put(self.burst.to_ne_bytes());
        out.put(u64::to_ne_bytes(unit));
        out.put(u32::from(self.payload_type).to_ne_bytes());
        out.put(self.ingress.to_ne_bytes());
        out.put(self.mtu.to_ne_bytes());
        out.put(self.earlier.lost.to_ne_bytes());
        out.put(self.earlier.reordered.to_ne_bytes());
        out.put(self.earlier.duplicates.to_ne_bytes());
        out.bytes
    }
}

/// A flow that the process before this one left, as far as it says where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) bytes: [u8; FLOW],
    pub(super) route: Route,
    pub(super) earlier: Earlier,
}

impl Left {
    /// `None`: the program does not relay by it. `is_ipv6`: the family of the port where it arrives.
    pub(super) fn read(bytes: [u8; FLOW], is_ipv6: bool) -> Option<Left> {
        let [flags] = chunk(&bytes, 78);
        let end = |address: usize, port: usize, is_ipv6: bool| {
            let ip = if is_ipv6 {
                IpAddr::from(chunk::<16>(&bytes, address))
            } else {
                IpAddr::from(chunk::<4>(&bytes, address))
            };
            SocketAddr::new(ip, u16::from_be_bytes(chunk(&bytes, port)))
        };
        (u32_at(&bytes, 0) != 0).then(|| Left {
            bytes,
            route: Route {
                source: end(24, 72, is_ipv6),
                destination: end(56, 76, flags & IPV6_OUT != 0),
                muxed: flags & MUXED != 0,
            },
            earlier: Earlier {
                lost: u32_at(&bytes, EARLIER),
                reordered: u32_at(&bytes, EARLIER + 4),
                duplicates: u32_at(&bytes, EARLIER + 8),
            },
        })
    }

    /// Whether this process would relay it in the same way.
    pub(super) fn is(&self, flow: &Flow) -> bool {
        let mut fresh = flow.encode(true);
        for counting in COUNTING {
            if let (Some(fresh), Some(left)) = (fresh.get_mut(counting.clone()), self.bytes.get(counting)) {
                fresh.copy_from_slice(left);
            }
        }
        fresh == self.bytes
    }
}

/// The same flow, which the program leaves alone from now on.
pub(super) fn switched_off(mut flow: [u8; FLOW]) -> [u8; FLOW] {
    if let Some(active) = flow.first_chunk_mut() {
        *active = 0u32.to_ne_bytes();
    }
    flow
}

/// What the program has counted for one port.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counts {
    pub(super) elsewhere: Elsewhere,
    /// Packets in a row of another payload type than the one whose jitter is measured.
    pub(super) others: u32,
}

impl Counts {
    /// What the program starts from.
    pub(super) fn begin(handover: &Handover) -> [u8; COUNTS] {
        let mut out = Writer::new();
        out.put(0u32.to_ne_bytes());
        out.put(handover.ssrc.to_ne_bytes());
        out.put([0; 32]);
        out.put(handover.first.to_ne_bytes());
        out.put(handover.highest.to_ne_bytes());
        out.put(handover.received.to_ne_bytes());
        out.put(handover.lost_before.to_ne_bytes());
        out.put(handover.recent.to_ne_bytes());
        out.put(handover.reordered.to_ne_bytes());
        out.put(handover.duplicates.to_ne_bytes());
        out.put(handover.suspect.map_or(0, |number| 0x1_0000 | u32::from(number)).to_ne_bytes());
        out.put(0u32.to_ne_bytes());
        out.put(((handover.jitter_ms * NANOS * 16.0) as u64).to_ne_bytes());
        out.bytes
    }

    pub(super) fn decode(bytes: &[u8; COUNTS]) -> Counts {
        let suspect = u32_at(bytes, 96);
        Counts {
            elsewhere: Elsewhere {
                packets: u64_at(bytes, 8),
                octets: u64_at(bytes, 16),
                limited: u64_at(bytes, 24),
                reception: Handover {
                    ssrc: u32_at(bytes, 4),
                    first: u64_at(bytes, 40),
                    highest: u64_at(bytes, 48),
                    received: u64_at(bytes, 56),
                    lost_before: u64_at(bytes, 64),
                    recent: u64_at(bytes, 72),
                    reordered: u64_at(bytes, 80),
                    duplicates: u64_at(bytes, 88),
                    suspect: (suspect != 0).then_some(suspect as u16),
                    jitter_ms: u64_at(bytes, 104) as f64 / 16.0 / NANOS,
                    ..Handover::default()
                },
            },
            others: u32_at(bytes, 100),
        }
    }
}

/// Packets, octets, packets beyond the limit.
pub(super) fn totals(bytes: &[u8; TOTALS]) -> [u64; 3] {
    [0, 8, 16].map(|at| u64_at(bytes, at))
}

/// In a millisecond.
const NANOS: f64 = 1e6;

struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    fn new() -> Writer<N> {
        Writer { bytes: [0; N], at: 0 }
    }

    fn put<const M: usize>(&mut self, field: [u8; M]) {
        if let Some(place) = self.bytes.get_mut(self.at..self.at + M) {
            place.copy_from_slice(&field);
        }
        self.at += M;
    }
}

fn chunk<const M: usize>(bytes: &[u8], at: usize) -> [u8; M] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; M])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(chunk(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(chunk(bytes, at))
}

/// IPv4 in the first word.
fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut out = [0; 16];
            out[..4].copy_from_slice(&ip.octets());
            out
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// By how much the sum behind an Internet checksum changes (RFC 1624 §3), as the words lie in memory.
fn change(before: [SocketAddr; 2], after: [SocketAddr; 2], words: impl Fn(SocketAddr) -> [u8; 16]) -> u32 {
    let sum = |ends: [SocketAddr; 2], of: fn(u16) -> u16| -> u32 {
        let octets = ends.map(&words);
        let pairs = octets.iter().flat_map(|octets| octets.as_chunks::<2>().0);
        pairs.map(|pair| u32::from(of(u16::from_ne_bytes(*pair)))).sum()
    };
    sum(after, |word| word) + sum(before, |word| !word)
}

fn words_of_address(end: SocketAddr) -> [u8; 16] {
    address(end.ip())
}

fn word_of_port(end: SocketAddr) -> [u8; 16] {
    let mut out = [0; 16];
    out[..2].copy_from_slice(&end.port().to_be_bytes());
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fold(mut sum: u32) -> u16 {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn sum(octets: &[u8]) -> u32 {
        octets.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_ne_bytes(*pair))).sum()
    }

    #[test]
    fn the_change_of_a_checksum_is_what_summing_anew_would_give() {
        let ends: Vec<SocketAddr> =
            ["192.0.2.1:4000", "198.51.100.9:30002", "[2001:db8::1]:30004", "[2001:db8:ffff::abcd]:65534"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
        let before = [ends[0], ends[1]];
        for after in [[ends[2], ends[3]], [ends[1], ends[0]], [ends[1], ends[1]]] {
            let summed =
                |ends: [SocketAddr; 2]| ends.map(|end| sum(&words_of_address(end))).iter().sum::<u32>();
            let payload = 0x1234_u32;
            let incremental =
                fold(u32::from(fold(summed(before) + payload)) + change(before, after, words_of_address));
            let anew = fold(summed(after) + payload);
            assert_eq!(incremental % 0xffff, anew % 0xffff);
        }
    }

    fn flow() -> Flow {
        let [peer, local, source, destination] =
            ["192.0.2.1:4000", "192.0.2.9:30000", "[2001:db8::9]:30002", "[2001:db8::1]:6000"]
                .map(|text| text.parse().unwrap());
        Flow {
            peer,
            local,
            source,
            destination,
            interface: 2,
            stays: false,
            ingress: 3,
            mtu: 1500,
            muxed: true,
            tos: 184,
            interval: 1,
            burst: 2,
            payload_type: 8,
            rate: Some(8000),
            earlier: Earlier { lost: 7, reordered: 8, duplicates: 9 },
        }
    }

    #[test]
    fn a_flow_that_is_switched_off_is_otherwise_the_same() {
        assert_ne!(flow().encode(true), flow().encode(false));
        assert_eq!(switched_off(flow().encode(true)), flow().encode(false));
    }

    #[test]
    fn a_flow_that_is_found_says_where_it_goes_and_is_the_same_however_it_is_counted() {
        let left = Left::read(flow().encode(true), false).unwrap();
        let Flow { peer, destination, earlier, .. } = flow();
        assert_eq!(left.route, Route { source: peer, destination, muxed: true });
        assert_eq!(left.earlier, earlier);
        assert!(left.is(&Flow { payload_type: 0, rate: None, earlier: Earlier::default(), ..flow() }));
        let end = "192.0.2.1:4001".parse().unwrap();
        for other in [
            Flow { peer: end, ..flow() },
            Flow { destination: end, ..flow() },
            Flow { tos: 0, ..flow() },
            Flow { interval: 9, ..flow() },
            Flow { interface: 9, ..flow() },
            Flow { ingress: 9, ..flow() },
            Flow { mtu: 1400, ..flow() },
            Flow { muxed: false, ..flow() },
        ] {
            assert!(!left.is(&other), "{other:?}");
        }
        assert_eq!(Left::read(flow().encode(false), false), None, "it is not relayed");
    }

    #[test]
    fn what_was_counted_before_the_hand_over_is_not_counted_again() {
        let before = Handover {
            first: 100,
            highest: 199,
            received: 95,
            lost_before: 4,
            reordered: 1,
            duplicates: 2,
            ..Handover::default()
        };
        let earlier = Earlier::of(&before);
        assert_eq!(earlier, Earlier { lost: 9, reordered: 1, duplicates: 2 });
        // Two more are lost, one comes late.
        let mut after = Handover { highest: 299, received: 193, reordered: 2, ..before };
        earlier.take_from(&mut after);
        let lost = after.lost_before + (after.highest + 1 - after.first - after.received);
        assert_eq!((lost, after.reordered, after.duplicates), (2, 1, 0));
    }

    #[test]
    fn counts_come_back_as_they_were_handed_over() {
        let handover = Handover {
            ssrc: 0xdead_beef,
            first: 65_000,
            highest: 3 << 16 | 17,
            received: 130_000,
            lost_before: 12,
            recent: 0xfffe_ffff_0000_0001,
            reordered: 3,
            duplicates: 4,
            suspect: Some(0),
            jitter_ms: 2.5,
            ..Handover::default()
        };
        let counts = Counts::decode(&Counts::begin(&handover));
        assert_eq!(counts.elsewhere, Elsewhere { packets: 0, octets: 0, limited: 0, reception: handover });
        assert_eq!(counts.others, 0);
    }
}
