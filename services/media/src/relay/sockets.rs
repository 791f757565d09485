//! The sockets of the ports: opened when first needed, kept while a port rests, counted against the limit of file
//! descriptors.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use call::{DirectionStats, Side};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use super::{Path, PathEnd, Shared, worker};
use crate::ports::SlotId;
use crate::stream::{Channel, Stream};

/// A bound, non-blocking socket that is registered with its thread's epoll. Shared: the relay may be about to send on it
/// while a shard gives it up.
pub(crate) type Socket = Arc<UdpSocket>;

/// The sockets of one pair of ports at one address, and who uses them.
///
/// They stay open while the pair rests, so that in steady state a call costs no `socket`, `bind` and `close`, and late
/// packets of the last call are read and dropped rather than left for the next one.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) rtp: Option<Socket>,
    pub(crate) rtcp: Option<Socket>,
    /// Beside the RTP socket, for everybody but the peer that it is connected to.
    strangers: Option<Socket>,
    pub(crate) user: Option<(Arc<Path>, Side)>,
    /// The wake-up of the relay thread that came here last.
    visited: u32,
}

/// The sockets of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
    Strangers,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Rtp, Kind::Rtcp, Kind::Strangers];

    /// Whose packets come there.
    pub(super) fn channel(self) -> Channel {
        match self {
            Kind::Rtp | Kind::Strangers => Channel::Rtp,
            Kind::Rtcp => Channel::Rtcp,
        }
    }
}

/// Why a port could not be opened.
#[derive(Debug)]
pub(crate) enum SocketError {
    /// Another process has the port: try the next pair.
    Taken,
    /// No file descriptors are left, by our own count or the system's.
    Exhausted,
    /// Anything else, such as an address that the host has lost.
    System(io::Error),
}

/// One shard's account of open sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    limit: usize,
    open: AtomicUsize,
    /// Those of them that a call can do without.
    spare: AtomicUsize,
    taken: AtomicU64,
}

impl Sockets {
    pub(super) fn new(limit: usize) -> Sockets {
        Sockets { limit, open: AtomicUsize::new(0), spare: AtomicUsize::new(0), taken: AtomicU64::new(0) }
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Media comes before control: the rest gets two fifths of the descriptors at most, so that calls are not refused for
    /// it; and what is there for speed half of that.
    fn allows(&self, kind: Kind) -> bool {
        let room = self.open() < self.limit;
        let spare = self.spare.load(Relaxed);
        match kind {
            Kind::Rtp => room,
            Kind::Rtcp => room && spare < self.limit / 5 * 2,
            Kind::Strangers => room && spare < self.limit / 5,
        }
    }

    /// Above this, ports rest with their sockets closed: descriptors are for calls first.
    fn keeps_resting(&self) -> bool {
        self.open() <= self.limit / 4 * 3
    }

    fn opened(&self, kind: Kind) {
        self.open.fetch_add(1, Relaxed);
        self.spare.fetch_add(usize::from(kind != Kind::Rtp), Relaxed);
    }

    fn closed(&self, kind: Kind) {
        self.open.fetch_sub(1, Relaxed);
        self.spare.fetch_sub(usize::from(kind != Kind::Rtp), Relaxed);
    }
}

/// Whether a place that was visited in the wake-up of that number is visited again in this one, or was in the one before.
pub(super) fn is_again(visited: &mut u32, wakeup: u32) -> bool {
    let before = std::mem::replace(visited, wakeup);
    wakeup.wrapping_sub(before) <= 1
}

impl Slot {
    /// Whether the relay thread was here in this wake-up already or in the one before.
    pub(super) fn comes_up_again(&mut self, wakeup: u32) -> bool {
        is_again(&mut self.visited, wakeup)
    }

    pub(super) fn socket(&self, kind: Kind) -> Option<&Socket> {
        match kind {
            Kind::Rtp => self.rtp.as_ref(),
            Kind::Rtcp => self.rtcp.as_ref(),
            Kind::Strangers => self.strangers.as_ref(),
        }
    }

    /// The RTP socket, opened now unless the pair has one from an earlier call.
    pub(crate) fn open_rtp(
        &mut self,
        shared: &Shared,
        shard: usize,
        slot: SlotId,
    ) -> Result<Socket, SocketError> {
        if let Some(socket) = &self.rtp {
            for kind in Kind::ALL.into_iter().filter(|kind| self.socket(*kind).is_some()) {
                shared.steer(slot, kind, Some(shard));
            }
            return Ok(Arc::clone(socket));
        }
        let socket = open(shared, shard, slot, Kind::Rtp, None)?;
        self.rtp = Some(Arc::clone(&socket));
        Ok(socket)
    }

    /// The call is over: nobody uses the pair. Its sockets stay open unless descriptors are scarce.
    pub(crate) fn release(&mut self, shared: &Shared, shard: usize, slot: SlotId) {
        if self.user.take().is_some() {
            shared.thread_of(shard).vacated.push(slot);
        }
        // What still comes is nobody's, and has no place in the common queue.
        for kind in Kind::ALL.into_iter().filter(|kind| self.socket(*kind).is_some()) {
            shared.steer(slot, kind, None);
        }
        let account = &shared.shards[shard].sockets;
        if account.keeps_resting() {
            return;
        }
        let sockets = [self.rtp.take(), self.rtcp.take(), self.strangers.take()];
        for (socket, kind) in sockets.into_iter().zip(Kind::ALL) {
            if let Some(socket) = socket {
                // The relay may hold the socket for another instant; it must not be woken for it any more.
                let _ = epoll::delete(shared.epoll_of(shard), &*socket);
                account.closed(kind);
            }
        }
    }
}

impl Path {
    /// Connects the media port of `side` to the only peer that it is for. The caller holds the stream's lock, here and in
    /// [`Path::disconnect`], so that a socket is never connected to anybody else than its stream says. Whether it is now.
    pub(super) fn connect(
        self: &Arc<Path>,
        shared: &Shared,
        side: Side,
        peer: SocketAddr,
        state: &mut Stream,
    ) -> bool {
        // In this order: a second socket beside one that is not connected yet is given the peer's packets too, and what
        // each of the two holds of a burst is read out of order.
        let end = self.end_towards(side, peer);
        let done = end.is_some_and(|end| {
            if rustix::net::connect(&*end.rtp, &peer).is_err() {
                return false;
            }
            let hears = self.hears_strangers(shared, end);
            if !hears {
                open_to_everybody(&end.rtp);
            }
            hears
        });
        state.connected(side, done.then_some(peer));
        done
    }

    /// Opens a second socket at a media port, unless it has one: what others than the peer send goes there, to be counted,
    /// now that the first is connected. Whether it is there.
    fn hears_strangers(self: &Arc<Path>, shared: &Shared, end: &PathEnd) -> bool {
        let Some(mut slot) = shared.slot(end.slot) else { return false };
        // The call may have ended since the packet was read.
        let still_ours = slot.user.as_ref().is_some_and(|(user, _)| Arc::ptr_eq(user, self));
        if still_ours && slot.strangers.is_none() {
            let opened = open(shared, self.shard as usize, end.slot, Kind::Strangers, Some(&end.rtp));
            slot.strangers = opened.ok();
        }
        still_ours && slot.strangers.is_some()
    }

    /// Ends the stream; its media ports are open to everybody again, which is how they rest and how the next call finds
    /// them. Returns the final counters of A and B.
    pub(crate) fn close(&self, shared: &Shared) -> (DirectionStats, DirectionStats) {
        let mut state = self.state();
        shared.recall_all(self, &mut state);
        let counters = state.close();
        for side in [Side::A, Side::B] {
            self.disconnect(side, &mut state);
        }
        counters
    }

    /// Opens the media port of `side` to everybody again, if the stream says that it must be.
    pub(crate) fn disconnect(&self, side: Side, state: &mut Stream) {
        if let Some(end) = state.parts(side).and_then(|peer| self.end_towards(side, peer)) {
            open_to_everybody(&end.rtp);
        }
    }

    /// Opens the RTCP sockets of both sides.
    ///
    /// Called when the stream's first media packet arrives, or when the kernel goes on with it, and not with the call: calls
    /// that are set up and carry no media yet are many, descriptors are few, and a lost first report does no harm (the
    /// next comes within seconds, RFC 3550 §6.2). A port that cannot be had leaves the stream without RTCP on that side.
    pub(crate) fn open_control(self: &Arc<Path>, shared: &Shared) {
        if self.control.swap(true, Relaxed) {
            return;
        }
        for end in [Side::A, Side::B].into_iter().flat_map(|side| self.ends(side)) {
            let Some(mut slot) = shared.slot(end.slot) else { continue };
            // The call may have ended since the packet was read.
            let still_ours = slot.user.as_ref().is_some_and(|(user, _)| Arc::ptr_eq(user, self));
            if !still_ours || end.rtcp.get().is_some() {
                continue;
            }
            match open(shared, self.shard as usize, end.slot, Kind::Rtcp, None) {
                Ok(socket) => {
                    slot.rtcp = Some(Arc::clone(&socket));
                    let _ = end.rtcp.set(socket);
                }
                Err(error) => {
                    let (pair, at) = shared.plan.place(end.slot);
                    let (address, port) = (shared.address(at), shared.plan.rtp_port(pair) + 1);
                    tracing::debug!(%address, port, ?error, "no RTCP port");
                }
            }
        }
    }
}

/// Disconnects a media port from its peer.
fn open_to_everybody(socket: &Socket) {
    if let Err(error) = rustix::net::connect_unspec(&**socket) {
        tracing::error!(%error, "a media port cannot be disconnected from its peer and hears nobody else");
    }
}

/// Opens, binds and registers one port, or a second socket beside one that has it.
fn open(
    shared: &Shared,
    shard: usize,
    slot: SlotId,
    kind: Kind,
    beside: Option<&Socket>,
) -> Result<Socket, SocketError> {
    let account = &shared.shards[shard].sockets;
    if !account.allows(kind) {
        return Err(SocketError::Exhausted);
    }
    let (pair, at) = shared.plan.place(slot);
    let port = shared.plan.rtp_port(pair) + u16::from(kind == Kind::Rtcp);
    let address = shared.address(at);
    let attempt = || -> io::Result<UdpSocket> {
        let socket = bind(SocketAddr::new(address, port), beside)?;
        if let Some(dscp) = shared.config.dscp {
            mark(&socket, address, dscp)?;
        }
        let socket = UdpSocket::from(socket);
        // Level-triggered: what one visit leaves unread comes up again by itself.
        let token = epoll::EventData::new_u64(worker::token(slot, kind));
        epoll::add(shared.epoll_of(shard), &socket, token, epoll::EventFlags::IN)?;
        Ok(socket)
    };
    match attempt() {
        Ok(socket) => {
            account.opened(kind);
            shared.steer(slot, kind, Some(shard));
            Ok(Arc::new(socket))
        }
        Err(error) => Err(match Errno::from_io_error(&error) {
            Some(Errno::ADDRINUSE | Errno::ACCESS) => {
                account.taken.fetch_add(1, Relaxed);
                SocketError::Taken
            }
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) => {
                SocketError::Exhausted
            }
            Some(_) | None => SocketError::System(error),
        }),
    }
}

fn bind(address: SocketAddr, beside: Option<&Socket>) -> io::Result<RawSocket> {
    // Made non-blocking by the same system call: every call opens two of them.
    let socket =
        RawSocket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Otherwise sources would come as IPv4-mapped addresses, which no description names.
        socket.set_only_v6(true)?;
    }
    let Some(first) = beside.map(SockRef::from) else {
        socket.bind(&address.into())?;
        return Ok(socket);
    };
    // Both must allow it, and nobody else shall have the port in this way afterwards.
    let shared = |on| socket.set_reuse_address(on).and_then(|()| first.set_reuse_address(on));
    let bound = shared(true).and_then(|()| socket.bind(&address.into()));
    shared(false)?;
    bound.map(|()| socket)
}

pub(super) fn mark(socket: &RawSocket, address: IpAddr, dscp: u8) -> io::Result<()> {
    // The two low bits of the octet are ECN (RFC 3168 §5).
    let octet = u32::from(dscp) << 2;
    match address {
        IpAddr::V4(_) => socket.set_tos_v4(octet),
        IpAddr::V6(_) => socket.set_tclass_v6(octet),
    }
}

/// Whether the address is this host's: a port of the system's choice can be bound there.
pub(super) fn probe(address: IpAddr) -> io::Result<()> {
    bind(SocketAddr::new(address, 0), None).map(drop)
}

/// Raises the soft limit of file descriptors to the hard one. Returns how many sockets media may open: a tenth, and at
/// least some hundreds, are left for signalling, the database and the API.
pub(super) fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    // No limit at all: two sockets for each port there can be.
    let limit = limit.unwrap_or(1 << 18) as usize;
    limit.saturating_sub((limit / 10).max(256))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_open(limit: usize, rtp: usize, rtcp: usize) -> Sockets {
        let sockets = Sockets::new(limit);
        (0..rtp).for_each(|_| sockets.opened(Kind::Rtp));
        (0..rtcp).for_each(|_| sockets.opened(Kind::Rtcp));
        sockets
    }

    #[test]
    fn nothing_else_takes_the_descriptors_that_media_needs() {
        assert!(with_open(100, 0, 39).allows(Kind::Rtcp));
        assert!(!with_open(100, 0, 40).allows(Kind::Rtcp));
        assert!(with_open(100, 0, 19).allows(Kind::Strangers));
        assert!(!with_open(100, 0, 20).allows(Kind::Strangers));
        assert!(with_open(100, 59, 40).allows(Kind::Rtp));
        assert!(!with_open(100, 60, 40).allows(Kind::Rtp));
    }

    #[test]
    fn resting_ports_give_their_descriptors_up_when_few_are_left() {
        assert!(with_open(100, 75, 0).keeps_resting());
        let scarce = with_open(100, 60, 16);
        assert!(!scarce.keeps_resting());
        scarce.closed(Kind::Rtcp);
        assert!(scarce.keeps_resting());
        assert_eq!(scarce.open(), 75);
    }
}
