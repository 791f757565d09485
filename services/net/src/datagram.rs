//! Datagrams in batches: one `recvmmsg` takes what has come, one `sendmmsg` sends what a batch of inputs caused.
//!
//! All sockets of a shard share one [`Inbox`] of buffers; its pages are only touched as far as datagrams reach. What
//! cannot be sent because the socket is full waits, bounded, in order, until the socket is writable again. A datagram
//! that the system refuses (no route, too long) is given up by itself and those behind it go on. That one did not arrive
//! the system says at whatever is done next with the socket (`unreachable`).

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use call::{ListenerId, SendToken};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::totals::Counters;
use crate::unreachable::{self, Unreachable};

/// Datagrams of one system call.
const BATCH: usize = 32;

/// Room for the longest datagram.
const ROOM: usize = 65_536;

/// How often a datagram is tried again, or those that came are asked for, because of what the system had to say of others: a flood of
/// such messages may cost one, and holds nobody up.
const MAX_TRIES: usize = 8;

/// Datagrams that may wait for a full socket; with 64 kB each at worst.
const MAX_WAITING: usize = 4096;

/// Buffers for one batch of received datagrams.
pub(crate) struct Inbox {
    room: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    lengths: [usize; BATCH],
    /// Where the system says when the first datagram of a batch came.
    stamp: Stamp,
}

/// Room for one control message with a time, aligned as control messages are.
#[repr(align(8))]
struct Stamp([u8; 64]);

impl Inbox {
    pub(crate) fn new() -> Inbox {
        // SAFETY: all zeroes is a valid sockaddr_storage (of no family).
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Inbox {
            room: vec![0; BATCH * ROOM],
            names: vec![name; BATCH],
            lengths: [0; BATCH],
            stamp: Stamp([0; 64]),
        }
    }

    /// Receives up to a batch without waiting; how many came, and how long the first of them has waited in the socket.
    fn receive(&mut self, fd: RawFd) -> io::Result<(usize, Duration)> {
        // SAFETY: all zeroes is a valid iovec and a valid mmsghdr.
        let (mut iovecs, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { mem::zeroed() };
        let slots = iovecs.iter_mut().zip(headers.iter_mut());
        for ((iovec, header), (name, room)) in
            slots.zip(self.names.iter_mut().zip(self.room.chunks_exact_mut(ROOM)))
        {
            iovec.iov_base = room.as_mut_ptr().cast();
            iovec.iov_len = room.len();
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        headers[0].msg_hdr.msg_control = self.stamp.0.as_mut_ptr().cast();
        headers[0].msg_hdr.msg_controllen = self.stamp.0.len() as _;
        // SAFETY: every header points to one iovec and one name of ours, and the first to the room for a stamp, which outlive the call and are not otherwise
        // borrowed during it.
        let received = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (length, header) in self.lengths.iter_mut().zip(&headers).take(received) {
            *length = header.msg_len as usize;
        }
        let waited = if received > 0 { waited(&headers[0].msg_hdr) } else { Duration::ZERO };
        Ok((received, waited))
    }

    /// One datagram of the last batch, with its sender; `None` when nobody could answer it.
    pub(crate) fn datagram(&self, index: usize) -> Option<(&[u8], SocketAddr)> {
        let room = self.room.chunks_exact(ROOM).nth(index)?;
        let remote = decode(self.names.get(index)?).filter(|remote| remote.port() != 0)?;
        Some((room.get(..*self.lengths.get(index)?)?, remote))
    }
}

/// A datagram that shall be sent.
#[derive(Debug)]
struct Parcel {
    remote: SocketAddr,
    bytes: Bytes,
    token: SendToken,
}

/// One socket of one shard.
pub(crate) struct Datagrams {
    pub(crate) listener: ListenerId,
    socket: AsyncFd<UdpSocket>,
    outbox: VecDeque<Parcel>,
    /// The same socket, watched for room while it would not take more. Not longer: a socket that is watched for room
    /// all the time wakes its shard after every send, when the system has freed what was sent.
    full: Option<AsyncFd<UdpSocket>>,
    /// What did not arrive, until somebody asks.
    pub(crate) unreachable: Vec<Unreachable>,
    /// The system has more to say of that.
    has_more: bool,
}

/// What a look at a socket gave.
pub(crate) struct Arrived {
    /// So many datagrams are in the inbox.
    pub(crate) count: usize,
    /// How long the first of them has waited.
    pub(crate) waited: Duration,
    /// The system's complaint, when there was one.
    pub(crate) error: Option<io::Error>,
}

impl Arrived {
    fn nothing(error: Option<io::Error>) -> Arrived {
        Arrived { count: 0, waited: Duration::ZERO, error }
    }
}

impl Datagrams {
    /// Needs the shard's runtime to be entered. The socket must be non-blocking.
    pub(crate) fn new(listener: ListenerId, socket: UdpSocket) -> io::Result<Datagrams> {
        stamp_arrivals(&socket);
        unreachable::ask_for(&socket);
        let interest = Interest::READABLE | Interest::PRIORITY;
        // SAFETY: the descriptor is the socket's own, which nothing takes out or closes before the AsyncFd is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, interest) }?;
        Ok(Datagrams {
            listener,
            socket,
            outbox: VecDeque::new(),
            full: None,
            unreachable: Vec::new(),
            has_more: false,
        })
    }

    /// Takes a batch, if any has come. A batch that is not full says that there is no more, so the system is not
    /// asked again before it announces something.
    pub(crate) fn poll_receive(&mut self, inbox: &mut Inbox, cx: &mut Context<'_>) -> Poll<Arrived> {
        if std::mem::take(&mut self.has_more) {
            (_, self.has_more) = look_for_unreachable(self.socket.get_ref(), &mut self.unreachable);
        }
        let mut guard = match ready!(self.socket.poll_read_ready(cx)) {
            Ok(guard) => guard,
            Err(error) => return Poll::Ready(Arrived::nothing(Some(error))),
        };
        let fd = self.socket.as_raw_fd();
        let mut tries = 0;
        loop {
            match inbox.receive(fd) {
                Ok((count, waited)) => {
                    if count < BATCH && !self.has_more {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Arrived { count, waited, error: None });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.has_more {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Arrived::nothing(None));
                }
                Err(error) if is_passing(&error) => return Poll::Ready(Arrived::nothing(None)),
                // Of an earlier datagram. What has come meanwhile is not to wait for it, however much of that there is.
                Err(error) if is_of_another(&error) => {
                    tries += 1;
                    (_, self.has_more) = look_for_unreachable(self.socket.get_ref(), &mut self.unreachable);
                    if tries == MAX_TRIES {
                        return Poll::Ready(Arrived::nothing(None));
                    }
                }
                Err(error) => {
                    guard.clear_ready();
                    return Poll::Ready(Arrived::nothing(Some(error)));
                }
            }
        }
    }

    /// Puts a datagram behind those that wait for the next [`flush`](Datagrams::flush).
    pub(crate) fn push(&mut self, remote: SocketAddr, bytes: Bytes, token: SendToken) {
        self.outbox.push_back(Parcel { remote, bytes, token });
    }

    /// Sends what waits, in order; tokens of what could not be sent go to `failed`.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>, counters: &Counters, failed: &mut Vec<SendToken>) {
        let mut tries = 0;
        while !self.outbox.is_empty() {
            if let Some(full) = &self.full {
                match full.poll_write_ready(cx) {
                    // An error is the runtime's that ends; nothing will be writable any more.
                    Poll::Pending | Poll::Ready(Err(_)) => break,
                    Poll::Ready(Ok(_)) => self.full = None,
                }
            }
            match send(self.socket.as_raw_fd(), self.outbox.make_contiguous()) {
                Ok(sent) => {
                    // A batch that stops short has met an error, which is not told any more.
                    if sent < self.outbox.len().min(BATCH) {
                        self.look_for_unreachable();
                    }
                    tries = 0;
                    counters.datagrams_out.add(sent as u64);
                    self.outbox.drain(..sent.min(self.outbox.len()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.watch_for_room() {
                    Ok(full) => self.full = Some(full),
                    // No descriptor to watch with: what waits goes with what comes next.
                    Err(_) => break,
                },
                Err(error) if is_passing(&error) => {}
                // Of this one or of an earlier one: when nothing is told of others any more, it is this one.
                Err(error) if tries < MAX_TRIES && is_of_another(&error) && self.look_for_unreachable() => {
                    tries += 1;
                }
                Err(_) => {
                    tries = 0;
                    self.give_up_first(counters, failed);
                }
            }
        }
        while self.outbox.len() > MAX_WAITING {
            // The newest go: what waits longest is nearest to being sent, and order is kept.
            if let Some(parcel) = self.outbox.pop_back() {
                give_up(parcel.token, counters, failed);
            }
        }
    }

    fn watch_for_room(&self) -> io::Result<AsyncFd<UdpSocket>> {
        let socket = self.socket.get_ref().try_clone()?;
        // SAFETY: as in `new`, of a descriptor of its own.
        Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::WRITABLE) }?)
    }

    /// Takes what the system has to say of earlier datagrams; whether there was anything.
    fn look_for_unreachable(&mut self) -> bool {
        let (any, more) = look_for_unreachable(self.socket.get_ref(), &mut self.unreachable);
        self.has_more |= more;
        any
    }

    fn give_up_first(&mut self, counters: &Counters, failed: &mut Vec<SendToken>) {
        if let Some(parcel) = self.outbox.pop_front() {
            give_up(parcel.token, counters, failed);
        }
    }
}

/// Takes what the system has to say of datagrams that did not arrive; whether there was anything, and whether there may be
/// more. The error that announces more is taken off the socket, so that a flood of them stands in the way of nothing.
fn look_for_unreachable(socket: &UdpSocket, found: &mut Vec<Unreachable>) -> (bool, bool) {
    let news = unreachable::take(socket.as_raw_fd(), found);
    let _ = socket.take_error();
    (news.any, news.more)
}

fn give_up(token: SendToken, counters: &Counters, failed: &mut Vec<SendToken>) {
    counters.datagrams_unsent.add(1);
    if token != SendToken::NONE {
        failed.push(token);
    }
}

/// Has the system note when each datagram comes. Where it will not, none seems to wait.
fn stamp_arrivals(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one int, which lives through the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// How long ago a datagram came, by the stamp in its control messages; nothing when it has none. A step of the system's
/// clock in between shows once, and one look at the queue is not what overload is judged by.
fn waited(header: &libc::msghdr) -> Duration {
    // SAFETY: the header was filled in by the system; its control messages lie in room of ours that is alive.
    let first = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: not null, so it points to a whole header of a control message.
    let Some(control) = (unsafe { first.as_ref() }) else { return Duration::ZERO };
    if control.cmsg_level != libc::SOL_SOCKET || control.cmsg_type != libc::SCM_TIMESTAMPNS {
        return Duration::ZERO;
    }
    // SAFETY: a message of this type holds one timespec, which need not be aligned.
    let stamp = unsafe { libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned() };
    let came = Duration::new(stamp.tv_sec.unsigned_abs() as u64, stamp.tv_nsec.unsigned_abs() as u32);
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(came)
}

/// Nothing has happened.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// Errors that may be the ICMP answer to an earlier datagram, and say nothing about the one at hand.
fn is_of_another(error: &io::Error) -> bool {
    let known = [
        libc::ECONNREFUSED,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::ENOPROTOOPT,
        libc::EPROTO,
        libc::EOPNOTSUPP,
        libc::EACCES,
        libc::EMSGSIZE,
        libc::EHOSTDOWN,
        libc::ENONET,
    ];
    error.raw_os_error().is_some_and(|code| known.contains(&code))
}

/// Sends the first datagrams of the queue; how many went.
fn send(fd: RawFd, outbox: &[Parcel]) -> io::Result<usize> {
    match outbox {
        [] => Ok(0),
        [only] => send_one(fd, only).map(|()| 1),
        several => send_batch(fd, several),
    }
}

fn send_one(fd: RawFd, parcel: &Parcel) -> io::Result<()> {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut name: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let name_length = encode(parcel.remote, &mut name);
    let bytes = &parcel.bytes;
    // SAFETY: the bytes and the name live through the call, and the lengths are theirs.
    let sent = unsafe {
        libc::sendto(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
            (&raw const name).cast(),
            name_length,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn send_batch(fd: RawFd, parcels: &[Parcel]) -> io::Result<usize> {
    // SAFETY: all zeroes is valid for the three of them.
    let (mut names, mut iovecs, mut headers): (
        [libc::sockaddr_storage; BATCH],
        [libc::iovec; BATCH],
        [libc::mmsghdr; BATCH],
    ) = unsafe { mem::zeroed() };
    let slots = names.iter_mut().zip(iovecs.iter_mut().zip(headers.iter_mut()));
    for (parcel, (name, (iovec, header))) in parcels.iter().zip(slots) {
        let name_length = encode(parcel.remote, name);
        // The system only reads what is sent; the type is shared with receiving.
        iovec.iov_base = parcel.bytes.as_ptr().cast_mut().cast();
        iovec.iov_len = parcel.bytes.len();
        header.msg_hdr.msg_iov = iovec;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = name_length;
    }
    let count = parcels.len().min(BATCH) as libc::c_uint;
    // SAFETY: the first `count` headers point to names and iovecs that live until the end of this function, and the
    // iovecs to bytes that the queue holds.
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_NOSIGNAL as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Reads an address that the system wrote; `None` for a family that is not IP.
pub(crate) fn decode(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is large enough and aligned for every address type; the family says which.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(name.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            // No flow label: it is the sender's, and two addresses that differ in it only are the same peer.
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id)))
        }
        _ => None,
    }
}

/// Writes an address for the system; its length.
fn encode(address: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: sockaddr_storage is large enough and aligned for every address type.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = address.port().to_be();
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = address.scope_id();
            mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
#[path = "datagram_tests.rs"]
mod tests;
