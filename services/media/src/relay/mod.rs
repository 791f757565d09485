//! The userspace relay: what its threads and the shards' handles share, and how it starts and stops.
//!
//! Every pair of ports has a [`Slot`]: its open sockets, and the stream it belongs to now. A shard puts a stream into its
//! slots and takes it out again; a relay thread, told by epoll that a port has packets, looks into the slot and asks the
//! stream. Slots and streams have a lock each, held for some tens of nanoseconds and never across a system call of the
//! packet path (but across the one that connects a port to its peer, once for many packets), so orders take effect at once and neither party waits for the other. There is no queue between them
//! that could fill up.

mod sockets;
mod worker;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use call::{Engine, Side};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::OwnedFd;

pub(crate) use self::sockets::SocketError;
use self::sockets::{Slot, Socket, Sockets};
use crate::engine::Handle;
use crate::ports::{Pair, Plan};
use crate::stream::{Channel, Stream};
use crate::{Config, MediaError, Wake};

/// The relay as a whole: its counters, and its life. Dropping it stops the threads; packets are not moved afterwards.
pub struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Counters since the start, and gauges of now. Opened less closed is what is open; ports in use must reach zero with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Media packets relayed.
    pub packets: u64,
    /// Their payload octets, without RTP headers.
    pub octets: u64,
    /// RTCP packets relayed.
    pub control: u64,
    /// Packets dropped by the source filter, or with no address to go to. Not those that strangers send to a media port
    /// which is connected to its peer by then: the system refuses them.
    pub dropped: u64,
    /// Packets for a side on hold.
    pub withheld: u64,
    /// Packets that the network refused to take.
    pub unsent: u64,
    /// Packets to ports that belong to no call: late ones of an ended call, or a scanner's.
    pub late: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Sessions closed.
    pub closed: u64,
    /// Orders to open that were refused.
    pub refused: u64,
    /// Ports that belong to sessions.
    pub ports_in_use: usize,
    /// Ports of the configured range that make pairs.
    pub ports_total: usize,
    /// How often a port could not be had because another process holds it.
    pub ports_taken: u64,
    /// Open sockets, also of resting ports.
    pub sockets: usize,
    /// How many sockets the limit of file descriptors leaves to media.
    pub sockets_limit: usize,
}

impl Relay {
    /// The counters now.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { ports_total: self.shared.plan.pairs() as usize * 2, ..Totals::default() };
        for thread in &self.shared.threads {
            let counters = &thread.counters;
            totals.packets += counters.packets.load(Relaxed);
            totals.octets += counters.octets.load(Relaxed);
            totals.control += counters.control.load(Relaxed);
            totals.dropped += counters.dropped.load(Relaxed);
            totals.withheld += counters.withheld.load(Relaxed);
            totals.unsent += counters.unsent.load(Relaxed);
            totals.late += counters.late.load(Relaxed);
        }
        for shard in &self.shared.shards {
            totals.opened += shard.opened.load(Relaxed);
            totals.closed += shard.closed.load(Relaxed);
            totals.refused += shard.refused.load(Relaxed);
            totals.ports_in_use += shard.ports_in_use.load(Relaxed);
            totals.ports_taken += shard.sockets.taken();
            totals.sockets += shard.sockets.open();
            totals.sockets_limit += shard.sockets.limit();
        }
        totals
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("threads", &self.threads.len()).field("totals", &self.totals()).finish()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in &self.shared.threads {
            thread.interrupt();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a media relay thread had panicked");
            }
        }
    }
}

/// What the threads and the handles share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    slots: Box<[Mutex<Slot>]>,
    pub(crate) shards: Box<[ShardState]>,
    threads: Box<[ThreadState]>,
    stop: AtomicBool,
}

/// One shard's part of the shared state.
#[derive(Debug)]
pub(crate) struct ShardState {
    pub(crate) sockets: Sockets,
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) ports_in_use: AtomicUsize,
    /// Sessions whose silence matters: the relay thread wakes the shard while there are any.
    pub(crate) watched: AtomicUsize,
}

/// One relay thread's part of the shared state.
#[derive(Debug)]
struct ThreadState {
    epoll: OwnedFd,
    /// Ends a wait that has no timeout.
    interrupt: OwnedFd,
    counters: Counters,
}

impl ThreadState {
    fn interrupt(&self) {
        // The only failure is a counter at its maximum, which ends the wait as well.
        let _ = rustix::io::write(&self.interrupt, &1u64.to_ne_bytes());
    }
}

/// Written by one thread; anybody reads.
#[derive(Debug, Default)]
struct Counters {
    packets: AtomicU64,
    octets: AtomicU64,
    control: AtomicU64,
    dropped: AtomicU64,
    withheld: AtomicU64,
    unsent: AtomicU64,
    late: AtomicU64,
}

/// One stream of a session, and the sockets it uses.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) shard: usize,
    state: Mutex<Stream>,
    pub(crate) a: PathEnd,
    pub(crate) b: PathEnd,
    /// The RTCP sockets exist or were tried.
    control: AtomicBool,
}

/// One side of a [`Path`].
#[derive(Debug)]
pub(crate) struct PathEnd {
    pub(crate) pair: Pair,
    pub(crate) rtp: Socket,
    pub(crate) rtcp: OnceLock<Socket>,
}

impl Path {
    pub(crate) fn new(shard: usize, a: PathEnd, b: PathEnd) -> Path {
        let control = AtomicBool::new(a.rtcp.get().is_some() && b.rtcp.get().is_some());
        Path { shard, state: Mutex::default(), a, b, control }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Stream> {
        lock(&self.state)
    }

    pub(crate) fn end(&self, side: Side) -> &PathEnd {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

impl PathEnd {
    fn socket(&self, channel: Channel) -> Option<&Socket> {
        match channel {
            Channel::Rtp => Some(&self.rtp),
            Channel::Rtcp => self.rtcp.get(),
        }
    }
}

impl Shared {
    /// The slot of a pair. Pairs come from the plan that sized the slots, and tokens from registered sockets.
    pub(crate) fn slot(&self, pair: Pair) -> Option<MutexGuard<'_, Slot>> {
        self.slots.get(pair.0 as usize).map(lock)
    }

    /// The epoll instance that serves a shard's sockets.
    fn epoll_of(&self, shard: usize) -> &OwnedFd {
        &self.thread_of(shard).epoll
    }

    fn thread_of(&self, shard: usize) -> &ThreadState {
        &self.threads[shard % self.threads.len()]
    }

    /// Whether ports may be connected to their peers. Not where they are bound to every address of the host: connecting
    /// would choose one of them, and the peer was perhaps told another.
    pub(crate) fn may_connect(&self) -> bool {
        !self.config.address.is_unspecified()
    }

    /// A session of the shard is watched from now on. The first one ends the thread's wait without timeout.
    pub(crate) fn watch(&self, shard: usize) {
        if self.shards[shard].watched.fetch_add(1, Relaxed) == 0 {
            self.thread_of(shard).interrupt();
        }
    }

    /// The opposite of [`Shared::watch`].
    pub(crate) fn unwatch(&self, shard: usize) {
        self.shards[shard].watched.fetch_sub(1, Relaxed);
    }

    /// How often silence is looked for: often enough that the timeout is not overrun by much.
    pub(crate) fn look_interval(&self) -> Duration {
        (self.config.timeout / 8).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// Nothing panics while it holds a lock; if it ever does, the data is counters and addresses, good as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`crate::start`].
pub(crate) fn start(
    config: Config,
    shards: usize,
    wake: Vec<Wake>,
) -> Result<(Vec<Box<dyn Engine + Send>>, Relay), MediaError> {
    let plan = Plan::new(&config.ports);
    check(&config, plan, shards, wake.len())?;
    sockets::probe(config.address)
        .map_err(|source| MediaError::Address { address: config.address, source })?;
    let limit = sockets::raise_limit();
    let threads = config.threads.clamp(1, shards);
    let shared = Arc::new(Shared {
        plan,
        slots: (0..plan.pairs()).map(|_| Mutex::default()).collect(),
        shards: (0..shards).map(|_| ShardState::new(limit / shards)).collect(),
        threads: (0..threads)
            .map(|thread| ThreadState::new().map_err(|source| MediaError::Thread { thread, source }))
            .collect::<Result<_, _>>()?,
        stop: AtomicBool::new(false),
        config,
    });
    // From here on a failure drops the relay, which stops the threads already started.
    let mut relay = Relay { shared: Arc::clone(&shared), threads: Vec::with_capacity(threads) };
    let mut wakers: Vec<Vec<(usize, Wake)>> = (0..threads).map(|_| Vec::new()).collect();
    for (shard, wake) in wake.into_iter().enumerate() {
        wakers[shard % threads].push((shard, wake));
    }
    for (thread, wakers) in wakers.into_iter().enumerate() {
        let started = worker::spawn(Arc::clone(&shared), thread, wakers);
        relay.threads.push(started.map_err(|source| MediaError::Thread { thread, source })?);
    }
    tell(&relay);
    let handles = (0..shards).map(|shard| Box::new(Handle::new(Arc::clone(&shared), shard)) as _);
    Ok((handles.collect(), relay))
}

fn check(config: &Config, plan: Plan, shards: usize, wakers: usize) -> Result<(), MediaError> {
    if shards == 0 || wakers != shards {
        return Err(MediaError::Wakers { shards, wakers });
    }
    if (plan.pairs() as usize) < shards * 2 {
        return Err(MediaError::Ports { ports: config.ports.clone(), pairs: plan.pairs(), shards });
    }
    match config.dscp {
        Some(came) if came > 63 => Err(MediaError::Dscp { came }),
        Some(_) | None => Ok(()),
    }
}

fn tell(relay: &Relay) {
    let totals = relay.totals();
    let config = &relay.shared.config;
    let (pairs, limit) = (totals.ports_total / 2, totals.sockets_limit);
    tracing::info!(
        address = %config.address,
        advertise = %config.advertise,
        ports = totals.ports_total,
        sockets = limit,
        streams = (pairs / 2).min(limit / 2),
        threads = relay.threads.len(),
        tick = ?config.tick,
        "media relay runs in userspace"
    );
    if limit < pairs {
        tracing::warn!(
            pairs,
            sockets = limit,
            "the limit of file descriptors allows fewer media streams than the ports do"
        );
    }
}

impl ShardState {
    fn new(limit: usize) -> ShardState {
        ShardState {
            sockets: Sockets::new(limit),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ports_in_use: AtomicUsize::new(0),
            watched: AtomicUsize::new(0),
        }
    }
}

impl ThreadState {
    fn new() -> std::io::Result<ThreadState> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let interrupt = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &interrupt, epoll::EventData::new_u64(worker::INTERRUPT), epoll::EventFlags::IN)?;
        Ok(ThreadState { epoll, interrupt, counters: Counters::default() })
    }
}
