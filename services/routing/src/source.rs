//! Sources: which addresses are whose.
//!
//! A [`Source`] is a network, or one host, with or without a port. The index answers for every request that arrives, so
//! it keeps the networks of one prefix length together, sorted, longest prefix first: a lookup is a few binary searches
//! and touches no heap.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::trunk::{Trunk, TrunkId};

/// Addresses whose requests are a trunk's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The network's first address, or the host.
    pub network: IpAddr,
    /// How many leading bits count: at most 32 for IPv4, 128 for IPv6.
    pub prefix: u8,
    /// The only port that counts; `None`: any.
    pub port: Option<u16>,
}

/// What is wrong with the text of a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not an address at all; host names are not sources, since a request is attributed before any lookup.
    #[error("expected an IP address, ADDRESS:PORT or NETWORK/PREFIX, got {0:?}")]
    Address(String),
    /// The port is not a port.
    #[error("expected a port from 1 to 65535, got {0:?}")]
    Port(String),
    /// The prefix length is not one.
    #[error("expected a prefix length from 0 to {max}, got {got:?}")]
    Prefix {
        /// The longest for the address family.
        max: u8,
        /// What came.
        got: String,
    },
    /// Bits behind the prefix are set: a typing error, of the address or of the prefix.
    #[error("expected the network's first address, {expected}, got {got:?}")]
    HostBits {
        /// The network that holds the address.
        expected: Source,
        /// What came.
        got: String,
    },
}

impl Source {
    /// Reads `192.0.2.10`, `192.0.2.0/24`, `127.0.0.1:5070`, `2001:db8::/32`, `::1`, `[::1]:5060`; a network with a port
    /// is `192.0.2.0/24:5060` or `[2001:db8::]/32:5060`. IPv4-mapped IPv6 becomes IPv4.
    ///
    /// # Errors
    ///
    /// [`SourceError`] says what was expected.
    pub fn parse(text: &str) -> Result<Source, SourceError> {
        let bad = || SourceError::Address(text.to_owned());
        let (address, rest) = match text.strip_prefix('[') {
            Some(inside) => {
                inside.split_once(']').filter(|(inside, _)| inside.contains(':')).ok_or_else(bad)?
            }
            // Every bare IPv6 address has two colons or more, and then only a slash can end it.
            None if text.matches(':').nth(1).is_some() => cut(text, &['/']),
            None => cut(text, &['/', ':']),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let (prefix, port) = match rest.strip_prefix('/') {
            Some(rest) => match rest.split_once(':') {
                Some((prefix, port)) => (Some(prefix), Some(port)),
                None => (Some(rest), None),
            },
            None if rest.is_empty() => (None, None),
            None => (None, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
        };
        let max = width(address);
        let prefix = match prefix {
            None => max,
            Some(digits) => read_number(digits)
                .and_then(|n| u8::try_from(n).ok())
                .filter(|n| *n <= max)
                .ok_or_else(|| SourceError::Prefix { max, got: digits.to_owned() })?,
        };
        let port = match port {
            None => None,
            Some(digits) => {
                let port = read_number(digits).filter(|n| *n != 0);
                Some(port.ok_or_else(|| SourceError::Port(digits.to_owned()))?)
            }
        };
        let source = Source { network: address, prefix, port }.unmapped();
        let first_bits = masked(source.network, source.prefix);
        let first = Source { network: address_of(first_bits, source.network), ..source };
        if first.network != source.network {
            return Err(SourceError::HostBits { expected: first, got: text.to_owned() });
        }
        Ok(source)
    }

    /// Whether a request from this address is from this source. IPv4-mapped IPv6 counts as IPv4, whichever side has it.
    pub fn contains(&self, address: SocketAddr) -> bool {
        let source = self.unmapped();
        let ip = address.ip().to_canonical();
        width(source.network) == width(ip)
            && source.port.is_none_or(|port| port == address.port())
            && masked(ip, source.prefix) == masked(source.network, source.prefix)
    }

    /// Whether the prefix fits the address family.
    pub(crate) fn is_valid(&self) -> bool {
        self.prefix <= width(self.network) && self.port != Some(0)
    }

    pub(crate) fn key(&self) -> Key {
        let source = self.unmapped();
        Key {
            width: width(source.network),
            prefix: source.prefix,
            bits: masked(source.network, source.prefix),
            port: source.port,
        }
    }

    /// As IPv4 if it is IPv4 in an IPv6 coat (`::ffff:192.0.2.0/120`).
    fn unmapped(&self) -> Source {
        match self.network.to_canonical() {
            network @ IpAddr::V4(_) if self.network.is_ipv6() && self.prefix >= 96 => {
                Source { network, prefix: self.prefix - 96, port: self.port }
            }
            IpAddr::V4(_) | IpAddr::V6(_) => *self,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.prefix == width(self.network);
        match (self.network, self.port) {
            (IpAddr::V6(network), Some(_)) => write!(f, "[{network}]")?,
            (network, _) => write!(f, "{network}")?,
        }
        if !whole {
            write!(f, "/{}", self.prefix)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// What makes two sources the very same: equal keys. Sorted with the longest prefix first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    width: u8,
    prefix: u8,
    bits: u128,
    port: Option<u16>,
}

/// Finds the owner of an address.
#[derive(Debug, Default)]
pub(crate) struct SourceIndex {
    v4: Vec<Level>,
    v6: Vec<Level>,
}

/// The sources of one prefix length, ascending by address and port.
#[derive(Debug)]
struct Level {
    prefix: u8,
    with_port: Vec<((u128, u16), TrunkId)>,
    any_port: Vec<(u128, TrunkId)>,
}

impl SourceIndex {
    /// Of sources that are valid and, between trunks, different.
    pub(crate) fn of(trunks: &[Trunk]) -> SourceIndex {
        let mut claims: Vec<(Key, TrunkId)> = Vec::new();
        for (id, trunk) in (0..=u16::MAX).map(TrunkId).zip(trunks) {
            claims.extend(trunk.sources.iter().map(|source| (source.key(), id)));
        }
        claims.sort_unstable();
        let mut index = SourceIndex::default();
        for (key, trunk) in claims.into_iter().rev() {
            let levels = if key.width == 32 { &mut index.v4 } else { &mut index.v6 };
            if levels.last().is_none_or(|level| level.prefix != key.prefix) {
                levels.push(Level { prefix: key.prefix, with_port: Vec::new(), any_port: Vec::new() });
            }
            let Some(level) = levels.last_mut() else { continue };
            match key.port {
                Some(port) => level.with_port.push(((key.bits, port), trunk)),
                None => level.any_port.push((key.bits, trunk)),
            }
        }
        for level in index.v4.iter_mut().chain(&mut index.v6) {
            level.with_port.reverse();
            level.any_port.reverse();
        }
        index
    }

    /// The owner, and by which source: longest prefix first, and of two as long the one that names the port.
    pub(crate) fn find(&self, address: SocketAddr) -> Option<(TrunkId, Source)> {
        let ip = address.ip().to_canonical();
        let levels = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        for level in levels {
            let bits = masked(ip, level.prefix);
            let network = || address_of(bits, ip);
            let port = address.port();
            if let Ok(at) = level.with_port.binary_search_by_key(&(bits, port), |entry| entry.0) {
                let owner = level.with_port.get(at)?.1;
                return Some((owner, Source { network: network(), prefix: level.prefix, port: Some(port) }));
            }
            if let Ok(at) = level.any_port.binary_search_by_key(&bits, |entry| entry.0) {
                let owner = level.any_port.get(at)?.1;
                return Some((owner, Source { network: network(), prefix: level.prefix, port: None }));
            }
        }
        None
    }
}

fn width(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The leading bits of an address, at the place they have in it; the rest zero.
fn masked(ip: IpAddr, prefix: u8) -> u128 {
    let bits = match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    match u32::from(width(ip).saturating_sub(prefix)) {
        128.. => 0,
        rest => bits >> rest << rest,
    }
}

/// Back from bits, in the family of `like`.
fn address_of(bits: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// `u16::from_str` takes a plus sign, which is a typing error here.
fn read_number(digits: &str) -> Option<u16> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The text before the first of these characters, and the rest from it on.
fn cut<'t>(text: &'t str, at: &[char]) -> (&'t str, &'t str) {
    text.find(at).map_or((text, ""), |at| text.split_at(at))
}
