//! What hosts and routers say of datagrams that do not arrive (ICMP, RFC 3261 §18.4), as the system keeps it for a socket.
//!
//! Anybody can send such a message and name any peer in it. The system passes it on when the port is ours, and no more
//! than that: so what is handed on is the beginning of the datagram that it quotes, by which the Core knows whether it has
//! sent such a one. Where nothing is quoted (RFC 792 has routers quote eight octets) nothing is known.

use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use bytes::Bytes;

use crate::datagram::decode;

/// Of what is quoted: hosts quote 576 octets in all (RFC 1812 §4.3.2.3), and a Via with its branch stands at the beginning.
const QUOTE: usize = 640;

/// Messages of one look at a socket.
const MAX_MESSAGES: usize = 32;

/// Messages that wait for a shard. Of a flood the rest is not missed: one that is true speaks for all that was sent there.
const MAX_WAITING: usize = 32;

/// A datagram that did not arrive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreachable {
    /// Where it was sent to.
    pub(crate) remote: SocketAddr,
    /// How it begins.
    pub(crate) quote: Bytes,
}

/// Room for control messages, aligned as they are: a time, an error and who reports it.
#[repr(align(8))]
struct Control([u8; 256]);

/// Has the system keep what it is told of datagrams of this socket, and wake who waits for datagrams when there is
/// something. Where it will not, everything waits for its own timer.
pub(crate) fn ask_for(socket: &UdpSocket) {
    /// Not among the names of the system's library.
    const SO_SELECT_ERR_QUEUE: libc::c_int = 45;
    let (level, option) = match socket.local_addr() {
        Ok(SocketAddr::V6(_)) => (libc::SOL_IPV6, libc::IPV6_RECVERR),
        Ok(SocketAddr::V4(_)) | Err(_) => (libc::SOL_IP, libc::IP_RECVERR),
    };
    let on: libc::c_int = 1;
    for (level, option) in [(libc::SOL_SOCKET, SO_SELECT_ERR_QUEUE), (level, option)] {
        // SAFETY: the option's value is one int, which lives through the call.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                mem::size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
}

/// What a look at a socket gave.
pub(crate) struct News {
    pub(crate) any: bool,
    /// The look ended before the messages did.
    pub(crate) more: bool,
}

/// Takes what the system has kept, as much as one look is worth.
pub(crate) fn take(fd: RawFd, found: &mut Vec<Unreachable>) -> News {
    for count in 0..MAX_MESSAGES {
        let Some(message) = next(fd) else { return News { any: count > 0, more: false } };
        found.extend(message.filter(|_| found.len() < MAX_WAITING));
    }
    News { any: true, more: true }
}

/// The next message; `None` when there is none, and none in it when it is no reason to give anything up.
fn next(fd: RawFd) -> Option<Option<Unreachable>> {
    let mut room = [0; QUOTE];
    let mut control = Control([0; 256]);
    // SAFETY: all zeroes is a valid sockaddr_storage and a valid msghdr.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { mem::zeroed() };
    let mut iovec = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: the header points to a name, an iovec and room of ours, which live through the call.
    let length = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).ok()?;
    if !is_fatal(&header) {
        return Some(None);
    }
    let remote = decode(&name).filter(|remote| remote.port() != 0);
    let quote = Bytes::copy_from_slice(room.get(..length).unwrap_or_default());
    Some(remote.filter(|_| !quote.is_empty()).map(|remote| Unreachable { remote, quote }))
}

/// Whether a message of the system's says that nothing arrives there: host, network, port or protocol unreachable, or a
/// parameter problem, and not that a datagram was too long or lived too short (RFC 3261 §18.4).
fn is_fatal(header: &libc::msghdr) -> bool {
    // SAFETY: the header was filled in by the system; its control messages lie in room of ours that is alive.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: not null, so it points to a whole header of a control message.
    while let Some(control) = unsafe { at.as_ref() } {
        if matches!(
            (control.cmsg_level, control.cmsg_type),
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
        ) {
            // SAFETY: a message of this type begins with one sock_extended_err, which need not be aligned.
            let error = unsafe { libc::CMSG_DATA(at).cast::<libc::sock_extended_err>().read_unaligned() };
            return match (error.ee_origin, error.ee_type, error.ee_code) {
                // Fragmentation needed: the system has taken note, and what is sent again arrives.
                (libc::SO_EE_ORIGIN_ICMP, 3, 4) => false,
                (libc::SO_EE_ORIGIN_ICMP, kind, _) => matches!(kind, 3 | 12),
                (libc::SO_EE_ORIGIN_ICMP6, kind, _) => matches!(kind, 1 | 4),
                (_, _, _) => false,
            };
        }
        // SAFETY: as for the first.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    false
}
