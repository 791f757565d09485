//! A relay without packets: it answers orders as the real one does, and keeps books of its ports.
//!
//! The books are the point: a port described after its session was closed, a session closed twice or never, packets
//! sent to somebody who is no party to the call.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use call::{Addresses, DirectionStats, MediaId, MediaOrder, MediaReport, PortPair, Side, StreamPorts};
use smallvec::SmallVec;

/// The address that the relay's descriptions name.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
/// The same in IPv6.
pub const ADDRESS_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
/// The lowest port; phones use higher ones, so that a number says whose it is.
pub const FIRST_PORT: u16 = 20_000;
/// Behind the highest port.
pub const BEHIND_PORTS: u16 = 40_000;

#[derive(Debug, Default)]
struct Session {
    ports: SmallVec<[StreamPorts; 1]>,
    watched: bool,
    /// Where the first stream's packets go, towards A and towards B.
    remotes: [Option<SocketAddr>; 2],
}

/// The relay.
#[derive(Debug)]
pub struct Relay {
    open: BTreeMap<MediaId, Session>,
    closed: BTreeSet<MediaId>,
    /// Sessions that never got ports. The Core may close one before it hears of the refusal.
    refused: BTreeSet<MediaId>,
    mixed: BTreeSet<MediaId>,
    next: u16,
}

impl Default for Relay {
    fn default() -> Relay {
        Relay {
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            refused: BTreeSet::new(),
            mixed: BTreeSet::new(),
            next: FIRST_PORT,
        }
    }
}

impl Relay {
    /// A transfer puts a party of the one network on the side of the other.
    pub(crate) fn mix(&mut self, session: MediaId) {
        self.mixed.insert(session);
    }

    /// Carries out an order; `exhausted`: as if all ports were in use.
    ///
    /// # Errors
    ///
    /// What no Core may order.
    pub fn order(&mut self, order: &MediaOrder, exhausted: bool) -> Result<Option<MediaReport>, String> {
        match *order {
            MediaOrder::Open { session, streams, families: _ } => {
                self.reserve(session, streams, exhausted).map(Some)
            }
            MediaOrder::Reopen { session, .. } => Err(format!("{session:?} reopened, and no process died")),
            MediaOrder::Describe { session, stream, side, remote, .. } => {
                let ports = &self.of(session, "described")?.ports;
                if usize::from(stream) >= ports.len() && remote.is_some() {
                    return Err(format!(
                        "stream {stream} of {session:?} described, but it has {}",
                        ports.len()
                    ));
                }
                if let Some(remote) = remote
                    && !belongs_to(side, remote.rtp.ip())
                    && !self.mixed.contains(&session)
                {
                    return Err(format!("packets for side {side:?} of {session:?} sent to {}", remote.rtp));
                }
                if stream == 0 {
                    self.of(session, "described")?.remotes[place(side)] = remote.map(|remote| remote.rtp);
                }
                Ok(None)
            }
            MediaOrder::Listen { session, .. } => {
                self.of(session, "told of another family")?;
                Ok(None)
            }
            MediaOrder::TakeDigits { session, .. }
            | MediaOrder::Transcode { session, .. }
            | MediaOrder::PlayDigit { session, .. }
            | MediaOrder::Record { session, .. } => {
                self.of(session, "told of key presses")?;
                Ok(None)
            }
            MediaOrder::Watch { session, on } => {
                self.of(session, "watched")?.watched = on;
                Ok(None)
            }
            MediaOrder::Count { session } => {
                self.of(session, "counted")?;
                let counted = DirectionStats::default();
                Ok(Some(MediaReport::Counted { session, from_a: counted, from_b: counted }))
            }
            MediaOrder::Close { session } => {
                if !self.refused.remove(&session) {
                    self.of(session, "closed")?;
                }
                self.open.remove(&session);
                self.closed.insert(session);
                let counted = DirectionStats::default();
                Ok(Some(MediaReport::Closed { session, from_a: counted, from_b: counted }))
            }
        }
    }

    fn reserve(&mut self, session: MediaId, streams: u8, exhausted: bool) -> Result<MediaReport, String> {
        if self.closed.contains(&session) {
            return Err(format!("{session:?} opened again after it was closed"));
        }
        if streams == 0 {
            return Err(format!("{session:?} opened for no streams"));
        }
        if exhausted {
            if !self.open.contains_key(&session) {
                self.refused.insert(session);
            }
            return Ok(MediaReport::Refused { session, why: "no ports".into() });
        }
        let mut ports = std::mem::take(&mut self.open.entry(session).or_default().ports);
        while ports.len() < usize::from(streams) {
            let a = self.pair();
            let b = self.pair();
            ports.push(StreamPorts { a, b });
        }
        self.open.entry(session).or_default().ports.clone_from(&ports);
        Ok(MediaReport::Opened {
            session,
            addresses: Addresses::from(ADDRESS).with(ADDRESS_6),
            streams: ports,
        })
    }

    /// Ports go up and come back only when all were used: a port in a message says which call it is of.
    fn pair(&mut self) -> PortPair {
        let rtp = self.next;
        self.next = if rtp + 2 >= BEHIND_PORTS { FIRST_PORT } else { rtp + 2 };
        PortPair { rtp, rtcp: rtp + 1 }
    }

    fn of(&mut self, session: MediaId, what: &str) -> Result<&mut Session, String> {
        let closed = self.closed.contains(&session);
        self.open.get_mut(&session).ok_or_else(|| {
            format!("{session:?} is {what} although it is {}", if closed { "closed" } else { "not open" })
        })
    }

    /// Whose an RTP port is at this moment.
    pub fn owner(&self, port: u16) -> Option<(MediaId, Side)> {
        self.open.iter().find_map(|(id, session)| {
            let side = session.ports.iter().find_map(|stream| {
                if stream.a.rtp == port {
                    Some(Side::A)
                } else if stream.b.rtp == port {
                    Some(Side::B)
                } else {
                    None
                }
            });
            side.map(|side| (*id, side))
        })
    }

    /// Sessions whose silence is reported.
    pub fn watched(&self) -> impl Iterator<Item = MediaId> + '_ {
        self.open.iter().filter(|(_, session)| session.watched).map(|(id, _)| *id)
    }

    /// Whether a session holds ports.
    pub fn is_open(&self, session: MediaId) -> bool {
        self.open.contains_key(&session)
    }

    /// Where a side's packets go.
    pub fn sends_to(&self, session: MediaId, side: Side) -> Option<SocketAddr> {
        self.open.get(&session)?.remotes[place(side)]
    }

    /// Sessions that hold ports.
    pub fn sessions(&self) -> usize {
        self.open.len()
    }
}

fn place(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

/// Callers live in 10.0.0.0/8, carriers in 203.0.113.0/24, registered phones in 198.51.100.0/24; `0.0.0.0` is an old-style hold.
fn belongs_to(side: Side, address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    let first = address.octets()[0];
    address.is_unspecified()
        || match side {
            Side::A => first == 10,
            Side::B => matches!(first, 198 | 203),
        }
}
