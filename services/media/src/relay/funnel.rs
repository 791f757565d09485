//! One socket for all ports of a thread, and one that sends from any of them, where the process may have them.
//!
//! A socket for each port costs each packet what the system keeps of that socket, which is in no cache after the others of
//! a tick, and the question to epoll for it, twice. A funnel is read many datagrams at once, in the order in which they
//! came. What leaves is written with its IP and UDP headers to a raw socket, because that alone may name the port that it
//! comes from. IPv4 only: the system's lookup of sockets is steered by `kernel::steering`.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use call::Family;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt,
};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use rustix::net::{SendFlags, sendto};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::Shared;
use super::sockets::{Kind, mark};
use super::worker::DATAGRAM;
use crate::Config;
use crate::kernel::{KernelError, Steering, privileged};
use crate::ports::{Plan, SlotId};
use crate::stream::OVERHEAD;

/// Datagrams read at once.
pub(super) const BATCH: usize = 64;
/// A packet with the room to grow.
const STRIDE: usize = DATAGRAM + OVERHEAD;
/// What may wait for a thread that is kept from running: a second and more of 100,000 packets, which take the system several
/// times their length. The ports' own sockets together would hold more.
const WAITING: usize = 64 << 20;
/// What may wait to leave.
const LEAVING: usize = 4 << 20;
/// Nobody is told of it: what was sent to it is not for a stream.
const ASIDE: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);
/// RFC 791 §3.1, RFC 768.
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const HEADERS: usize = IP_HEADER + UDP_HEADER;
const UDP: u8 = 17;
const DONT_FRAGMENT: u16 = 0x4000;
/// The default that RFC 1700 recommends.
const TTL: u8 = 64;

/// The two sockets of a thread.
#[derive(Debug)]
pub(super) struct Funnel {
    inward: UdpSocket,
    outward: RawSocket,
    address: Ipv4Addr,
    tos: u8,
}

impl Funnel {
    /// At the address of the ports. It takes CAP_NET_RAW and CAP_NET_ADMIN.
    pub(super) fn open(address: Ipv4Addr, dscp: Option<u8>) -> io::Result<Funnel> {
        let inward = UdpSocket::bind((ASIDE, 0))?;
        inward.set_nonblocking(true)?;
        set_socket_recv_buffer_size_force(&inward, WAITING)?;
        setsockopt(&inward, sockopt::Ipv4OrigDstAddr, &true)?;
        // A protocol number that nothing is received by.
        let outward = RawSocket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::from(255)))?;
        outward.set_header_included_v4(true)?;
        set_socket_send_buffer_size_force(&outward, LEAVING)?;
        if let Some(dscp) = dscp {
            // The header says it anyway; the queues of an interface go by the socket.
            mark(&outward, IpAddr::V4(address), dscp)?;
        }
        // Routes may depend on it.
        outward.bind(&SocketAddr::from((address, 0)).into())?;
        // The two low bits of the octet are ECN (RFC 3168 §5).
        Ok(Funnel { inward, outward, address, tos: dscp.unwrap_or(0) << 2 })
    }

    /// Where everything comes in.
    pub(super) fn inward(&self) -> &UdpSocket {
        &self.inward
    }

    /// Reads what is there, one batch at most; `place` says whose a port is. How much that was.
    pub(super) fn receive(&self, batch: &mut Batch, place: impl Fn(u16) -> Option<(SlotId, Kind)>) -> usize {
        let Batch { buffer, headers, arrived } = batch;
        arrived.clear();
        let mut rooms: Vec<[IoSliceMut<'_>; 1]> = buffer
            .chunks_exact_mut(STRIDE)
            .filter_map(|room| Some([IoSliceMut::new(room.get_mut(..DATAGRAM)?)]))
            .collect();
        let came = recvmmsg(self.inward.as_raw_fd(), headers, rooms.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let Ok(came) = came else { return 0 };
        let at = |told: SocketAddrV4| place(told.port()).filter(|_| *told.ip() == self.address);
        arrived.extend(came.map(|message| Arrived {
            length: message.bytes,
            source: message.address.map(|source| SocketAddrV4::from(source).into()),
            at: message.cmsgs().ok().and_then(|mut notes| notes.find_map(told)).and_then(at),
        }));
        arrived.len()
    }

    /// Sends from a port of this host. `whole` is room to put the datagram together.
    pub(super) fn send(
        &self,
        whole: &mut Vec<u8>,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) -> Result<(), Errno> {
        let headers = headers(from, to, payload, self.tos).ok_or(Errno::MSGSIZE)?;
        whole.clear();
        // Copied, because to hand the system two parts costs more than that.
        whole.extend_from_slice(&headers);
        whole.extend_from_slice(payload);
        let to = SocketAddrV4::new(*to.ip(), 0);
        sendto(&self.outward, whole, SendFlags::DONTWAIT, &to).map(drop)
    }
}

/// What brings all datagrams to one socket of each thread, and those sockets; or why they are read port by port.
pub(super) fn open(
    config: &Config,
    plan: Plan,
    threads: usize,
) -> Result<(Steering, Vec<Funnel>), KernelError> {
    if !config.steer {
        return Err(KernelError::Configured);
    }
    let own = config.addresses().find_map(|(address, _)| match address {
        IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    let address = own.ok_or(KernelError::NoAddress)?;
    privileged(|| {
        let funnels: Vec<Funnel> = (0..threads)
            .map(|_| Funnel::open(address, config.dscp).map_err(KernelError::Funnel))
            .collect::<Result<_, _>>()?;
        let sockets: Vec<_> = funnels.iter().map(Funnel::inward).collect();
        Ok((Steering::start(address, plan, &sockets)?, funnels))
    })
}

impl Shared {
    /// Has what comes to a port that was opened by a shard brought to its thread, where ports are steered; `None`: no more.
    pub(super) fn steer(&self, slot: SlotId, kind: Kind, shard: Option<usize>) {
        let (pair, at) = self.plan.place(slot);
        let Some(steering) = self.steering.as_ref().filter(|_| self.address(at).is_ipv4()) else { return };
        let port = self.plan.rtp_port(pair);
        let thread = shard.map(|shard| shard % self.threads.len());
        match kind {
            Kind::Rtp => steering.steer(port, thread),
            Kind::Rtcp => steering.steer(port + 1, thread),
            Kind::Strangers => {}
        }
    }

    /// The slot and the socket of a port at the IPv4 address.
    pub(super) fn steered(&self, port: u16) -> Option<(SlotId, Kind)> {
        let (pair, is_control) = self.plan.pair_with(port)?;
        let kind = if is_control { Kind::Rtcp } else { Kind::Rtp };
        Some((self.plan.slot(pair, self.in_family(Family::V4)?), kind))
    }
}

/// What a thread reads into.
pub(super) struct Batch {
    buffer: Vec<u8>,
    headers: MultiHeaders<SockaddrIn>,
    arrived: Vec<Arrived>,
}

/// A datagram in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) length: usize,
    pub(super) source: Option<SocketAddr>,
    /// The socket of the port that it was sent to.
    pub(super) at: Option<(SlotId, Kind)>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            buffer: vec![0; BATCH * STRIDE],
            headers: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(SockaddrIn))),
            arrived: Vec::with_capacity(BATCH),
        }
    }

    pub(super) fn arrived(&self) -> &[Arrived] {
        &self.arrived
    }

    /// Each datagram with the room behind it.
    pub(super) fn datagrams(&mut self) -> impl Iterator<Item = (Arrived, &mut [u8])> {
        self.arrived.iter().copied().zip(self.buffer.chunks_exact_mut(STRIDE))
    }
}

/// Where a datagram was sent to.
fn told(note: ControlMessageOwned) -> Option<SocketAddrV4> {
    match note {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => Some(SockaddrIn::from(to).into()),
        _ => None,
    }
}

/// The IP and the UDP header of a datagram; `None`: it is too long for one. The system fills in the IP header's checksum, its
/// length and its number.
fn headers(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8], tos: u8) -> Option<[u8; HEADERS]> {
    let length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let total = u16::try_from(HEADERS + payload.len()).ok()?;
    let mut headers = [0; HEADERS];
    let (ip, udp) = headers.split_at_mut(IP_HEADER);
    ip[0] = 0x45;
    ip[1] = tos;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    ip[8] = TTL;
    ip[9] = UDP;
    ip[12..16].copy_from_slice(&from.ip().octets());
    ip[16..20].copy_from_slice(&to.ip().octets());
    udp[0..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&length.to_be_bytes());
    // The pseudo header (RFC 768): the addresses, the protocol and the length once more.
    let pseudo = sum(&ip[12..20]) + u64::from(u16::from(UDP).to_be()) + u64::from(length.to_be());
    let checksum = !fold(pseudo + sum(udp) + sum(payload));
    // Zero would say that there is none.
    let checksum = if checksum == 0 { u16::MAX } else { checksum };
    udp[6..8].copy_from_slice(&checksum.to_ne_bytes());
    Some(headers)
}

/// The sum of the 16-bit words as they lie in memory: what comes of it does not depend on the order of their octets (RFC
/// 1071 §2 (B)).
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    // Words of 32 bits add up to the same.
    let words: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words + u64::from(u32::from_ne_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
