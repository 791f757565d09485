//! A relay thread: waits for packets, moves all that there are, sleeps for a tick, and again.
//!
//! The wake-up per packet is the greatest cost that a relay in userspace can save. Thousands of streams at 50 packets/s
//! never give the thread time to sleep by itself; so it sleeps on purpose while packets gather in the sockets, and moves
//! some hundreds of them per wake-up. Without traffic it blocks and costs nothing.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use call::Side;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use sip::Time;

use super::funnel::{Arrived, Batch};
use super::moving::transmit;
use super::seats::Seats;
use super::sockets::Kind;
use super::{Path, Shared, ThreadState};
use crate::Wake;
use crate::ports::SlotId;
use crate::stream::OVERHEAD;

/// The token of the eventfd; no port has it.
pub(super) const INTERRUPT: u64 = u64::MAX;
/// The token of the funnel.
pub(super) const FUNNEL: u64 = u64::MAX - 1;

/// Events taken from epoll at once.
const BATCH: usize = 512;
/// Full batches before the thread looks at its other duties.
pub(super) const ROUNDS: usize = 64;
/// So many rounds the ports' own sockets wait at most for a funnel that does not get empty.
const PATIENT: usize = 8;
/// So many sockets at once are looked at ahead of their packets: what those need is in the cache still when they are read.
const AHEAD: usize = 16;
/// Streams that have ended are let go of this often when no packet comes.
const VACATE: Duration = Duration::from_secs(1);
/// How often is looked for packets of digits that are due, while there are any.
const PLAYING: Duration = Duration::from_millis(5);
/// How soon they are looked at.
const PUT_OFF: Duration = Duration::from_millis(1);
/// How often handshakes are looked at.
const TEND: Duration = Duration::from_millis(50);
/// The largest UDP payload.
pub(super) const DATAGRAM: usize = 65_535;

/// What epoll hands back for a socket.
pub(super) fn token(slot: SlotId, kind: Kind) -> u64 {
    let kinds = Kind::ALL.len() as u64;
    u64::from(slot.0) * kinds + kind as u64
}

pub(super) fn socket_of(token: u64) -> Option<(SlotId, Kind)> {
    let kinds = Kind::ALL.len() as u64;
    let slot = u32::try_from(token / kinds).ok()?;
    Some((SlotId(slot), *Kind::ALL.get((token % kinds) as usize)?))
}

/// Starts thread `thread`, which serves the shards of `wakers`.
pub(super) fn spawn(
    shared: Arc<Shared>,
    thread: usize,
    wakers: Vec<(usize, Wake)>,
) -> io::Result<JoinHandle<()>> {
    let start = shared.start;
    let worker = Worker {
        seats: Seats::new(shared.slots.len()),
        put_off: VecDeque::new(),
        octets_put_off: 0,
        whole: Vec::new(),
        shared,
        thread,
        wakers,
        start,
        woken: Instant::now(),
        now: Time::ZERO,
        wakeup: 0,
        handshakes: Vec::new(),
        tended: start,
        records: 0,
        tally: Tally::default(),
    };
    std::thread::Builder::new().name(format!("media-{thread}")).spawn(move || worker.run())
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) thread: usize,
    pub(super) wakers: Vec<(usize, Wake)>,
    pub(super) start: Instant,
    /// When shards were last told to look for silence.
    pub(super) woken: Instant,
    /// The arrival time of the packets of this round.
    pub(super) now: Time,
    /// Counts wake-ups, to know a socket that comes up again.
    pub(super) wakeup: u32,
    pub(super) seats: Seats,
    /// Records of handshakes for the next wake-ups.
    pub(super) put_off: VecDeque<(Arrived, Box<[u8]>)>,
    pub(super) octets_put_off: usize,
    /// Where a datagram gets its headers.
    pub(super) whole: Vec<u8>,
    /// Those under way.
    pub(super) handshakes: Vec<(Weak<Path>, Side)>,
    /// When they were last looked at.
    pub(super) tended: Instant,
    /// Their records that were read in this wake-up.
    pub(super) records: u32,
    pub(super) tally: Tally,
}

/// The counts of one wake-up, published together: an atomic addition per packet would be a waste.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) octets: u64,
    pub(super) steered: u64,
    pub(super) control: u64,
    pub(super) dropped: u64,
    pub(super) not_rtp: u64,
    pub(super) forged: u64,
    pub(super) replayed: u64,
    pub(super) withheld: u64,
    pub(super) unsent: u64,
    pub(super) late: u64,
}

impl Worker {
    fn run(mut self) {
        let mut events = Vec::with_capacity(BATCH);
        let mut buffer = vec![0; DATAGRAM + OVERHEAD];
        let mut batch = self.state().funnel.is_some().then(Batch::new);
        while !self.shared.stop.load(Relaxed) {
            if let Err(error) = self.wait(&mut events, self.patience()) {
                tracing::error!(thread = self.thread, %error, "media relay thread cannot wait for packets and ends");
                return;
            }
            let busy = !events.is_empty();
            self.drain(&mut events, &mut buffer, batch.as_mut());
            self.play(&mut buffer);
            self.tend();
            self.publish();
            self.wake_shards();
            if busy && !self.shared.config.tick.is_zero() {
                std::thread::sleep(self.shared.config.tick);
            }
        }
    }

    /// Moves what is there: one packet per ready socket, which is all that an ordinary stream has per tick.
    ///
    /// Then it looks once more before the tick: epoll asks each socket that it named again whether it is still ready, and
    /// that is cheap while the socket is in the processor's cache. What came in the meantime is spared a tick.
    ///
    /// To read until nothing is left would cost each packet a second `recvfrom`. So a socket with more than one packet
    /// is told from the others by coming up in the next wake-up too: it is read in bursts then.
    fn drain(&mut self, events: &mut Vec<epoll::Event>, buffer: &mut [u8], mut batch: Option<&mut Batch>) {
        self.wakeup = self.wakeup.wrapping_add(1);
        self.records = 0;
        let mut look_again = !self.shared.config.tick.is_zero();
        for round in 1..=ROUNDS {
            self.now = Time::from_micros(self.start.elapsed().as_micros() as u64);
            let more_than_fit = events.len() >= BATCH;
            // What a shard has emptied is seen here before any packet that came afterwards.
            for slot in self.state().vacated.take() {
                self.seats.take(slot);
            }
            // Before the ports' own sockets: what they get of a stream comes after what is here. They wait while there is more,
            // but not for ever; epoll names them again.
            let is_more = batch.as_deref_mut().is_some_and(|batch| self.pour(batch));
            if !is_more || round % PATIENT == 0 {
                self.visit_all(events, buffer);
            }
            events.clear();
            if !is_more && !more_than_fit && !std::mem::take(&mut look_again)
                || self.wait(events, Some(Duration::ZERO)).is_err()
            {
                return;
            }
        }
    }

    fn visit_all(&mut self, events: &[epoll::Event], buffer: &mut [u8]) {
        for next in events.chunks(AHEAD) {
            let slots = next.iter().filter_map(|event| Some(socket_of(event.data.u64())?.0));
            self.seats.approach(slots, |near, far| near.rtp.as_raw_fd() ^ far.rtp.as_raw_fd());
            for event in next {
                self.visit(event.data.u64(), buffer);
            }
        }
    }

    /// Sends what is due of the digits that are played into streams.
    fn play(&mut self, buffer: &mut [u8]) {
        if !self.state().plays.load(Relaxed) {
            return;
        }
        let now = self.shared.clock();
        let shared = Arc::clone(&self.shared);
        let thread = &shared.threads[self.thread];
        let mut playing = super::lock(&thread.playing);
        playing.retain(|(path, side)| {
            loop {
                let due = path.state().played(*side, buffer, now);
                let Some((length, to, connected)) = due else { break };
                let socket = path.end_towards(*side, to).map(|end| &end.rtp);
                let packet = buffer.get(..length).unwrap_or_default();
                let sent = socket.is_some_and(|socket| transmit(socket, packet, to, connected));
                self.tally.packets += u64::from(sent);
                self.tally.unsent += u64::from(!sent);
            }
            path.state().is_playing(*side)
        });
        thread.plays.store(!playing.is_empty(), Relaxed);
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, timeout: Option<Duration>) -> Result<(), Errno> {
        // What an earlier round left is reported again. No room at all would be an error.
        events.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.state().epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How long to wait for packets: for ever, unless there is something else to look after.
    fn patience(&self) -> Option<Duration> {
        let watched = self.wakers.iter().any(|(shard, _)| self.is_watched(*shard));
        let look = watched.then(|| self.shared.look_interval().saturating_sub(self.woken.elapsed()));
        let tend = (!self.handshakes.is_empty()).then_some(TEND);
        let plays = self.state().plays.load(Relaxed).then_some(PLAYING);
        let put_off = (!self.put_off.is_empty()).then_some(PUT_OFF);
        let vacate = (!self.seats.are_empty()).then_some(VACATE);
        look.into_iter().chain(tend).chain(plays).chain(put_off).chain(vacate).min()
    }

    /// Sends again what handshakes have lost, until they are over.
    fn tend(&mut self) {
        let begun = std::mem::take(&mut *super::lock(&self.state().handshakes));
        let is_due = !begun.is_empty() || self.tended.elapsed() >= TEND;
        self.handshakes.extend(begun);
        if self.handshakes.is_empty() || !is_due {
            return;
        }
        self.tended = Instant::now();
        self.handshakes.retain(|(path, side)| {
            let Some(path) = path.upgrade() else { return false };
            let (goes_on, replies) = {
                let mut state = path.state();
                (state.tend(*side), state.replies(*side))
            };
            for (to, packet) in replies {
                if let Some(end) = path.end_towards(*side, to) {
                    transmit(&end.rtp, &packet, to, false);
                }
            }
            goes_on
        });
    }

    fn wake_shards(&mut self) {
        if self.woken.elapsed() < self.shared.look_interval() {
            return;
        }
        self.woken = Instant::now();
        self.shared.renew();
        for (shard, wake) in &self.wakers {
            if self.is_watched(*shard) {
                wake();
            }
        }
    }

    fn is_watched(&self, shard: usize) -> bool {
        self.shared.shards[shard].watched.load(Relaxed) > 0 || self.shared.has_flows()
    }

    fn publish(&mut self) {
        let tally = std::mem::take(&mut self.tally);
        let counters = &self.state().counters;
        let add = |counter: &AtomicU64, count: u64| {
            if count > 0 {
                counter.fetch_add(count, Relaxed);
            }
        };
        add(&counters.packets, tally.packets);
        add(&counters.octets, tally.octets);
        add(&counters.steered, tally.steered);
        add(&counters.control, tally.control);
        add(&counters.dropped, tally.dropped + tally.not_rtp + tally.forged + tally.replayed);
        add(&counters.not_rtp, tally.not_rtp);
        add(&counters.forged, tally.forged);
        add(&counters.replayed, tally.replayed);
        add(&counters.withheld, tally.withheld);
        add(&counters.unsent, tally.unsent);
        add(&counters.late, tally.late);
    }

    pub(super) fn state(&self) -> &ThreadState {
        &self.shared.threads[self.thread]
    }
}
