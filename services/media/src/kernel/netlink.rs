//! Questions to the kernel about interfaces, addresses and routes (rtnetlink, RFC 3549), as few as the engine has.
//!
//! The answer to a question comes at once, so the socket is asked and read in turn. All numbers are in the byte order of
//! the host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const REQUEST: u16 = 1;
pub(super) const DUMP: u16 = 0x300;

/// Multicast groups: links, IPv4 routes, IPv6 routes.
const CHANGES: u32 = 0x1 | 0x40 | 0x400;

/// One message of an answer is no longer than this.
const BUFFER: usize = 64 * 1024;
/// More messages than any host has interfaces or addresses.
const MAX_MESSAGES: usize = 100_000;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) is_up: bool,
    pub(super) kind: Kind,
}

/// What frames look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Loopback,
    Ethernet,
    /// Tunnels and the like, whose packets have no Ethernet header.
    Other,
}

/// Where packets to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextHop {
    pub(super) interface: u32,
    /// The address they leave with, unless they are given another.
    pub(super) source: Option<IpAddr>,
}

/// A socket to ask on.
#[derive(Debug)]
pub(super) struct Questions {
    socket: Mutex<OwnedFd>,
}

/// One to ask on, and one that hears of changes.
#[derive(Debug)]
pub(super) struct Netlink {
    questions: Questions,
    news: Mutex<OwnedFd>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Netlink> {
        let questions = Questions::of(None)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let news = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&news, &SocketAddrNetlink::new(0, CHANGES))?;
        Ok(Netlink { questions, news: Mutex::new(news) })
    }

    /// All interfaces of this network namespace.
    pub(super) fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let mut all = Vec::new();
        self.questions.ask(GET_LINK, DUMP, &[0; 16], |kind, body| {
            if kind == NEW_LINK {
                all.extend(interface(body));
            }
        })?;
        Ok(all)
    }

    /// The largest IP packet that an interface sends.
    pub(super) fn mtu(&self, index: u32) -> io::Result<u32> {
        let mut body = [0; 16];
        if let Some(place) = body.get_mut(4..8) {
            place.copy_from_slice(&index.to_ne_bytes());
        }
        let mut found = None;
        self.questions.ask(GET_LINK, 0, &body, |kind, body| {
            if kind == NEW_LINK {
                found = interface(body);
            }
        })?;
        found.map(|interface| interface.mtu).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// The interfaces that have this address.
    pub(super) fn holders(&self, address: IpAddr) -> io::Result<Vec<u32>> {
        let mut holders = Vec::new();
        self.questions.ask(GET_ADDRESS, DUMP, &[0; 8], |kind, body| {
            // IFA_ADDRESS, IFA_LOCAL: they differ on links with two ends.
            let has =
                attributes(body, 8).any(|(kind, value)| matches!(kind, 1 | 2) && ip(value) == Some(address));
            if kind == NEW_ADDRESS && has {
                holders.push(u32_at(body, 4));
            }
        })?;
        Ok(holders)
    }

    /// Where packets to `destination` go, when they have this source.
    pub(super) fn route(&self, destination: IpAddr, source: Option<IpAddr>) -> io::Result<NextHop> {
        let family: u8 = if destination.is_ipv4() { 2 } else { 10 };
        let bits: u8 = if destination.is_ipv4() { 32 } else { 128 };
        let source_bits = if source.is_some() { bits } else { 0 };
        let mut body = vec![family, bits, source_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        put_attribute(&mut body, 1, destination);
        if let Some(source) = source {
            put_attribute(&mut body, 2, source);
        }
        let mut found = Err(io::Error::from(io::ErrorKind::InvalidData));
        self.questions.ask(GET_ROUTE, 0, &body, |kind, body| {
            if kind == NEW_ROUTE {
                found = next_hop(body);
            }
        })?;
        found
    }

    /// Whether links or routes have changed since the last question.
    pub(super) fn changed(&self) -> bool {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; 4096];
        let mut any = false;
        for _ in 0..MAX_MESSAGES {
            match recv(&*news, &mut buffer, RecvFlags::empty()) {
                // More news than there was room for is news.
                Ok(_) | Err(Errno::NOBUFS) => any = true,
                Err(_) => break,
            }
        }
        any
    }
}

impl Questions {
    /// Of the protocol of routes when none is named.
    pub(super) fn of(protocol: Option<Protocol>) -> io::Result<Questions> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(1)))?;
        Ok(Questions { socket: Mutex::new(socket) })
    }

    pub(super) fn ask(
        &self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(&*socket, &message, SendFlags::empty())?;
        let mut buffer = vec![0; BUFFER];
        for _ in 0..MAX_MESSAGES {
            let (length, _) = recv(&*socket, &mut buffer, RecvFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or(&[]);
            while rest.len() >= 16 {
                let (size, kind) = (u32_at(rest, 0) as usize, u16_at(rest, 4));
                let Some(body) = rest.get(16..size) else { break };
                match kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let code = u32_at(body, 0) as i32;
                        return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
                    }
                    kind => each(kind, body),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or(&[]);
            }
            if flags & DUMP == 0 {
                return Ok(());
            }
        }
        Err(io::Error::from(io::ErrorKind::InvalidData))
    }
}

fn interface(body: &[u8]) -> Option<Interface> {
    let text = |value: &[u8]| String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned();
    let name = attributes(body, 16).find(|(kind, _)| *kind == 3).map(|(_, value)| text(value))?;
    let mtu = attributes(body, 16).find(|(kind, _)| *kind == 4).map(|(_, value)| u32_at(value, 0))?;
    let kind = match u16_at(body, 2) {
        1 => Kind::Ethernet,
        772 => Kind::Loopback,
        _ => Kind::Other,
    };
    Some(Interface { index: u32_at(body, 4), name, mtu, is_up: u32_at(body, 8) & 1 != 0, kind })
}

fn next_hop(body: &[u8]) -> io::Result<NextHop> {
    // Unicast or local: everything else is no place for media.
    if !matches!(body.get(7), Some(1 | 2)) {
        return Err(io::Error::from(io::ErrorKind::HostUnreachable));
    }
    let interface = attributes(body, 12).find(|(kind, _)| *kind == 4).map(|(_, value)| u32_at(value, 0));
    let source = attributes(body, 12).find(|(kind, _)| *kind == 7).and_then(|(_, value)| ip(value));
    interface
        .map(|interface| NextHop { interface, source })
        .ok_or_else(|| io::Error::from(io::ErrorKind::HostUnreachable))
}

fn put_attribute(message: &mut Vec<u8>, kind: u16, address: IpAddr) {
    let (v4, v6);
    let octets: &[u8] = match address {
        IpAddr::V4(ip) => {
            v4 = ip.octets();
            &v4
        }
        IpAddr::V6(ip) => {
            v6 = ip.octets();
            &v6
        }
    };
    message.extend((4 + octets.len() as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(octets);
}

/// The attributes of a message whose fixed part is so long.
pub(super) fn attributes(body: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(fixed..).unwrap_or(&[]);
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(rest, 0)), u16_at(rest, 2));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(value).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(value).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(v6)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
    u16::from_ne_bytes(chunk.unwrap_or_default())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
    u32::from_ne_bytes(chunk.unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_with_its_address_and_the_way_to_it() {
        let netlink = Netlink::open().unwrap();
        let interfaces = netlink.interfaces().unwrap();
        let lo = interfaces.iter().find(|interface| interface.kind == Kind::Loopback).unwrap();
        assert!(lo.is_up && lo.mtu >= 1500, "{lo:?}");
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(netlink.holders(local).unwrap(), [lo.index]);
        let way = netlink.route("127.0.0.9".parse().unwrap(), None).unwrap();
        assert_eq!(way.interface, lo.index);
        assert!(way.source.is_some());
        assert!(netlink.route("224.0.0.1".parse().unwrap(), None).is_err(), "nowhere for media");
    }
}
