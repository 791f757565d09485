//! The userspace relay: what its threads and the shards' handles share, and how it starts and stops.
//!
//! Every pair of ports has a [`Slot`] at each of the relay's addresses: its open sockets, and the stream it belongs to now. A
//! side of a stream has the slot of the family that it was told of, and the *twin* of that, with the same ports in the
//! other family, once it is told of both or described itself in the other: where its packets come from and where they go to
//! may differ. A packet leaves by the socket of its destination's family. A shard puts a stream into its
//! slots and takes it out again; a relay thread, told by epoll that a port has packets, looks into the slot and asks the
//! stream. Slots and streams have a lock each, held for some tens of nanoseconds and never across a system call of the
//! packet path (but across the one that connects a port to its peer, once for many packets), so orders take effect at once and neither party waits for the other. There is no queue between them
//! that could fill up.

mod allowance;
mod farewell;
mod funnel;
mod handing;
mod handshake;
mod moving;
mod seats;
mod sockets;
mod worker;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use call::{Digit, Engine, Family, MediaId, MediaReport, Side};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::OwnedFd;
use sip::Time;

use self::funnel::Funnel;
use self::handshake::Identity;
use self::seats::Vacated;
pub(crate) use self::sockets::SocketError;
use self::sockets::{Slot, Socket, Sockets};
use crate::engine::Handle;
use crate::kernel::{Kernel, KernelTotals, Steering};
use crate::ports::{At, Plan, SlotId};
use crate::recording::{Recorder, RecordingTotals};
use crate::stream::{Channel, Limit, Stream};
use crate::{Config, EngineChoice, MediaError, Wake};

/// The relay as a whole: its counters, and its life. Dropping it stops the threads; packets are not moved afterwards.
pub struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Counters since the start, and gauges of now. Opened less closed is what is open; ports in use must reach zero with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Media packets relayed, by sockets or in the kernel.
    pub packets: u64,
    /// Their payload octets, without RTP headers.
    pub octets: u64,
    /// Those of them that were relayed in the kernel.
    pub kernel_packets: u64,
    /// And their payload octets.
    pub kernel_octets: u64,
    /// Datagrams that came to the one socket of a relay thread, whatever became of them.
    pub steered: u64,
    /// Directions of streams that are in the kernel now.
    pub kernel_flows: usize,
    /// RTCP packets relayed.
    pub control: u64,
    /// Packets dropped by the source filter, the rate limits or encryption, as no RTP, or with no address to go to.
    pub dropped: u64,
    /// Those of them that came from where a side may send that described itself with RTP, and are none.
    pub not_rtp: u64,
    /// Those of them that came from where an encrypted side may send, and that nobody who has its key wrote.
    pub forged: u64,
    /// And those encrypted ones that were here before, or are too old to tell.
    pub replayed: u64,
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
    /// Of recordings; `None`: there is no place for any.
    pub recordings: Option<RecordingTotals>,
    /// Open sockets, also of resting ports.
    pub sockets: usize,
    /// How many sockets the limit of file descriptors leaves to media.
    pub sockets_limit: usize,
}

impl Relay {
    /// Of the certificate that the relay shows in DTLS; `None`: it does none.
    pub fn fingerprint(&self) -> Option<sip::Fingerprint> {
        self.shared.identity.as_ref().map(Identity::fingerprint)
    }

    /// The process is about to end by a failure: what the kernel relays is left for the next one, where it may be.
    pub fn leave(&self) {
        self.shared.leaving.store(true, Relaxed);
        self.shared.kernel.iter().for_each(Kernel::leave);
    }

    /// The counters now.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { ports_total: self.shared.plan.pairs() as usize * 2, ..Totals::default() };
        for thread in &self.shared.threads {
            let counters = &thread.counters;
            totals.packets += counters.packets.load(Relaxed);
            totals.octets += counters.octets.load(Relaxed);
            totals.steered += counters.steered.load(Relaxed);
            totals.control += counters.control.load(Relaxed);
            totals.dropped += counters.dropped.load(Relaxed);
            totals.not_rtp += counters.not_rtp.load(Relaxed);
            totals.forged += counters.forged.load(Relaxed);
            totals.replayed += counters.replayed.load(Relaxed);
            totals.withheld += counters.withheld.load(Relaxed);
            totals.unsent += counters.unsent.load(Relaxed);
            totals.late += counters.late.load(Relaxed);
        }
        if let Some(kernel) = &self.shared.kernel {
            let KernelTotals { packets, octets, limited, flows } = kernel.totals();
            totals.packets += packets;
            totals.octets += octets;
            totals.dropped += limited;
            (totals.kernel_packets, totals.kernel_octets, totals.kernel_flows) = (packets, octets, flows);
        }
        totals.recordings = self.shared.recorder.as_ref().map(Recorder::totals);
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
        self.shared.kernel.iter().for_each(Kernel::end);
    }
}

/// What the threads and the handles share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    /// The engine in the kernel, where there is one.
    kernel: Option<Kernel>,
    /// What brings the datagrams of all ports to the threads' funnels, where there is that.
    steering: Option<Steering>,
    /// What is shown in DTLS.
    pub(crate) identity: Option<Identity>,
    slots: Box<[Mutex<Slot>]>,
    pub(crate) shards: Box<[ShardState]>,
    threads: Box<[ThreadState]>,
    /// Of the clock by which packets arrive.
    start: Instant,
    pub(crate) recorder: Option<Recorder>,
    stop: AtomicBool,
    /// Sessions are left for the next process.
    pub(crate) leaving: AtomicBool,
}

/// One shard's part of the shared state.
#[derive(Debug)]
pub(crate) struct ShardState {
    pub(crate) sockets: Sockets,
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) ports_in_use: AtomicUsize,
    /// Key presses that were heard and are to be reported.
    digits: Mutex<Vec<MediaReport>>,
    has_digits: AtomicBool,
    /// Sessions whose silence matters: the relay thread wakes the shard while there are any.
    pub(crate) watched: AtomicUsize,
}

/// One relay thread's part of the shared state.
#[derive(Debug)]
struct ThreadState {
    epoll: OwnedFd,
    /// Ends a wait that has no timeout.
    interrupt: OwnedFd,
    /// Where the datagrams of all its ports come in, if they are steered.
    funnel: Option<Funnel>,
    /// Streams that digits are played into.
    playing: Mutex<Vec<(Arc<Path>, Side)>>,
    plays: AtomicBool,
    vacated: Vacated,
    counters: Counters,
    /// Begun since the thread looked last.
    handshakes: Mutex<Vec<(Weak<Path>, Side)>>,
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
    steered: AtomicU64,
    control: AtomicU64,
    dropped: AtomicU64,
    not_rtp: AtomicU64,
    forged: AtomicU64,
    replayed: AtomicU64,
    withheld: AtomicU64,
    unsent: AtomicU64,
    late: AtomicU64,
}

/// One stream of a session, and the sockets it uses.
#[derive(Debug)]
pub(crate) struct Path {
    shard: u32,
    /// The RTCP sockets exist or were tried.
    control: AtomicBool,
    state: Mutex<Stream>,
    a: PathEnd,
    b: PathEnd,
    /// The twins of both, for the few streams that have any.
    twins: OnceLock<Box<[OnceLock<PathEnd>; 2]>>,
}

/// One side of a [`Path`] at one address.
#[derive(Debug)]
pub(crate) struct PathEnd {
    pub(crate) slot: SlotId,
    pub(crate) is_ipv6: bool,
    pub(crate) rtp: Socket,
    pub(crate) rtcp: OnceLock<Socket>,
}

impl Path {
    pub(crate) fn new(shard: usize, a: PathEnd, b: PathEnd, limit: Limit) -> Path {
        let control = AtomicBool::new(a.rtcp.get().is_some() && b.rtcp.get().is_some());
        Path {
            shard: shard as u32,
            control,
            state: Mutex::new(Stream::new(limit)),
            a,
            b,
            twins: OnceLock::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Stream> {
        lock(&self.state)
    }

    /// The end of a side that it had from the beginning.
    pub(crate) fn end(&self, side: Side) -> &PathEnd {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// The end of a side at the other address, if it has one.
    fn twin(&self, side: Side) -> Option<&PathEnd> {
        self.twins.get()?[place(side)].get()
    }

    /// Every end of a side.
    pub(crate) fn ends(&self, side: Side) -> impl Iterator<Item = &PathEnd> {
        std::iter::once(self.end(side)).chain(self.twin(side))
    }

    /// The end of a side that has this slot.
    fn end_at(&self, side: Side, slot: SlotId) -> Option<&PathEnd> {
        let end = self.end(side);
        if end.slot == slot { Some(end) } else { self.twin(side) }
    }

    /// The end of a side that can send to this address.
    fn end_towards(&self, side: Side, to: SocketAddr) -> Option<&PathEnd> {
        let end = self.end(side);
        if end.is_ipv6 == to.is_ipv6() { Some(end) } else { self.twin(side) }
    }

    /// Whether a side has its ports in this family.
    pub(crate) fn listens(&self, side: Side, family: Family) -> bool {
        self.ends(side).any(|end| end.is_ipv6 == (family == Family::V6))
    }

    /// Gives a side its ports at the other address too. Only the shard of the stream does so, and once for a side.
    pub(crate) fn add_twin(&self, side: Side, twin: PathEnd) {
        let _ = self.twins.get_or_init(Box::default)[place(side)].set(twin);
        // Where control flows already, it is to flow here as well.
        self.control.store(false, Relaxed);
    }
}

fn place(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
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
    /// The time by the clock of the relay threads.
    pub(crate) fn clock(&self) -> Time {
        Time::from_micros(self.start.elapsed().as_micros() as u64)
    }

    /// What is in a slot. Their numbers come from the plan that sized the slots, and tokens from registered sockets.
    pub(crate) fn slot(&self, slot: SlotId) -> Option<MutexGuard<'_, Slot>> {
        self.slots.get(slot.0 as usize).map(lock)
    }

    /// The local address of a slot.
    pub(crate) fn address(&self, at: At) -> IpAddr {
        match (at, self.config.other) {
            (At::Other, Some(other)) => other.address,
            (At::Other, None) | (At::First, _) => self.config.address,
        }
    }

    /// Where the relay is in a family; `None`: nowhere.
    pub(crate) fn in_family(&self, family: Family) -> Option<At> {
        let other = self.config.other.filter(|other| Family::of(other.address) == family);
        match other {
            Some(_) => Some(At::Other),
            None => (Family::of(self.config.address) == family).then_some(At::First),
        }
    }

    /// The epoll instance that serves a shard's sockets.
    fn epoll_of(&self, shard: usize) -> &OwnedFd {
        &self.thread_of(shard).epoll
    }

    fn thread_of(&self, shard: usize) -> &ThreadState {
        &self.threads[shard % self.threads.len()]
    }

    /// Whether ports may be connected to a peer. Not where they are bound to every address of the host: connecting would
    /// choose one of them, and the peer was perhaps told another.
    pub(crate) fn may_connect(&self, peer: SocketAddr) -> bool {
        // The system would choose the port's own socket for its peer then, whatever is steered.
        if self.steering.is_some() && peer.is_ipv4() {
            return false;
        }
        let mut locals = self.config.addresses().map(|(address, _)| address);
        locals.any(|local| local.is_ipv4() == peer.is_ipv4() && !local.is_unspecified())
    }

    /// Digits are played into a stream from now on.
    pub(crate) fn play(&self, shard: usize, path: &Arc<Path>, side: Side) {
        let thread = self.thread_of(shard);
        lock(&thread.playing).push((Arc::clone(path), side));
        thread.plays.store(true, Relaxed);
        thread.interrupt();
    }

    /// A handshake of the shard's was begun.
    pub(crate) fn begun(&self, shard: usize, path: &Arc<Path>, side: Side) {
        let thread = self.thread_of(shard);
        lock(&thread.handshakes).push((Arc::downgrade(path), side));
        thread.interrupt();
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
        (self.config.timeout.min(self.config.one_way_after) / 8)
            .clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// Nothing panics while it holds a lock; if it ever does, the data is counters and addresses, good as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Key presses of a shard that has not asked for them; more than all its calls press in a second.
const MAX_WAITING: usize = 4096;

/// See [`crate::start`].
pub(crate) fn start(
    config: Config,
    shards: usize,
    wake: Vec<Wake>,
) -> Result<(Vec<Box<dyn Engine + Send>>, Relay), MediaError> {
    let plan = Plan::new(&config.ports);
    check(&config, plan, shards, wake.len())?;
    for (address, _) in config.addresses() {
        sockets::probe(address).map_err(|source| MediaError::Address { address, source })?;
    }
    let (kernel, why) = kernel(&config, plan)?;
    if !kernel.as_ref().is_some_and(Kernel::survives) {
        Kernel::forget(&config, plan);
    }
    let limit = sockets::raise_limit();
    let start = Instant::now();
    let recorder = config.recordings.clone().map(|limits| {
        let directory = limits.directory.display().to_string();
        Recorder::start(limits, start).map_err(|source| MediaError::Recordings { directory, source })
    });
    let recorder = recorder.transpose()?;
    let threads = config.threads.clamp(1, shards);
    let (steering, funnels) = match funnel::open(&config, plan, threads) {
        Ok((steering, funnels)) => (Ok(steering), funnels.into_iter().map(Some).collect()),
        Err(why) => (Err(why), std::iter::repeat_with(|| None).take(threads).collect::<Vec<_>>()),
    };
    let not_steered = steering.as_ref().err().map(ToString::to_string);
    let identity = Identity::new();
    if identity.is_none() {
        tracing::warn!("no certificate for media could be made: no DTLS");
    }
    let shared = Arc::new(Shared {
        plan,
        kernel,
        steering: steering.ok(),
        identity,
        slots: config.addresses().flat_map(|_| 0..plan.pairs()).map(|_| Mutex::default()).collect(),
        shards: (0..shards).map(|_| ShardState::new(limit / shards)).collect(),
        threads: funnels
            .into_iter()
            .enumerate()
            .map(|(thread, funnel)| {
                ThreadState::new(funnel).map_err(|source| MediaError::Thread { thread, source })
            })
            .collect::<Result<_, _>>()?,
        start,
        recorder,
        stop: AtomicBool::new(false),
        leaving: AtomicBool::new(false),
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
    tell(&relay, &why, not_steered.as_deref());
    let handles = (0..shards).map(|shard| Box::new(Handle::new(Arc::clone(&shared), shard)) as _);
    Ok((handles.collect(), relay))
}

/// The engine in the kernel as configured, and why it is there or not.
fn kernel(config: &Config, plan: Plan) -> Result<(Option<Kernel>, String), MediaError> {
    if config.engine == EngineChoice::Userspace {
        return Ok((None, "configured".to_owned()));
    }
    match (Kernel::start(config, plan), config.engine) {
        (Ok(kernel), _) => {
            let why = format!("settled streams at {}", kernel.interfaces().join(", "));
            Ok((Some(kernel), why))
        }
        (Err(why), EngineChoice::Kernel) => Err(why.into()),
        (Err(why), EngineChoice::Auto | EngineChoice::Userspace) => Ok((None, why.to_string())),
    }
}

fn check(config: &Config, plan: Plan, shards: usize, wakers: usize) -> Result<(), MediaError> {
    if shards == 0 || wakers != shards {
        return Err(MediaError::Wakers { shards, wakers });
    }
    if (plan.pairs() as usize) < shards * 2 {
        return Err(MediaError::Ports { ports: config.ports.clone(), pairs: plan.pairs(), shards });
    }
    for (address, advertise) in config.addresses() {
        if Family::of(address) != Family::of(advertise) {
            let expected = "that of the local address that it is named for";
            return Err(MediaError::Family { expected, came: advertise });
        }
    }
    if let Some(other) = config.other
        && Family::of(other.address) == Family::of(config.address)
    {
        let expected = "another one than the first address has";
        return Err(MediaError::Family { expected, came: other.address });
    }
    match config.dscp {
        Some(came) if came > 63 => Err(MediaError::Dscp { came }),
        Some(_) | None => Ok(()),
    }
}

fn tell(relay: &Relay, why: &str, not_steered: Option<&str>) {
    let totals = relay.totals();
    let config = &relay.shared.config;
    let (pairs, limit) = (totals.ports_total / 2, totals.sockets_limit);
    tracing::info!(
        address = %config.address,
        advertise = %config.advertise,
        other = config.other.map(|other| tracing::field::display(other.address)),
        other_advertise = config.other.map(|other| tracing::field::display(other.advertise)),
        ports = totals.ports_total,
        sockets = limit,
        streams = (pairs / 2).min(limit / 2),
        threads = relay.threads.len(),
        tick = ?config.tick,
        engine = if relay.shared.kernel.is_some() { "ebpf" } else { "userspace" },
        why,
        steered = relay.shared.steering.is_some(),
        not_steered,
        "media relay runs"
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
            digits: Mutex::default(),
            has_digits: AtomicBool::new(false),
            watched: AtomicUsize::new(0),
        }
    }

    /// Puts what relay threads have heard to the other reports.
    pub(crate) fn fetch_digits(&self, reports: &mut Vec<MediaReport>) {
        if self.has_digits.swap(false, Relaxed) {
            reports.append(&mut lock(&self.digits));
        }
    }

    fn heard_digits(&self, session: MediaId, digits: Vec<(Side, Digit)>) {
        let mut waiting = lock(&self.digits);
        if waiting.len() < MAX_WAITING {
            waiting.extend(digits.into_iter().map(|(side, digit)| MediaReport::Digit {
                session,
                side,
                digit,
            }));
        }
        drop(waiting);
        self.has_digits.store(true, Relaxed);
    }
}

impl ThreadState {
    fn new(funnel: Option<Funnel>) -> std::io::Result<ThreadState> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let interrupt = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &interrupt, epoll::EventData::new_u64(worker::INTERRUPT), epoll::EventFlags::IN)?;
        if let Some(funnel) = &funnel {
            let token = epoll::EventData::new_u64(worker::FUNNEL);
            epoll::add(&epoll, funnel.inward(), token, epoll::EventFlags::IN)?;
        }
        let (playing, plays) = (Mutex::default(), AtomicBool::new(false));
        Ok(ThreadState {
            epoll,
            interrupt,
            funnel,
            playing,
            plays,
            vacated: Vacated::default(),
            counters: Counters::default(),
            handshakes: Mutex::default(),
        })
    }
}
