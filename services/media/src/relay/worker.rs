//! A relay thread: waits for packets, moves all that there are, sleeps for a tick, and again.
//!
//! The wake-up per packet is the greatest cost that a relay in userspace can save. Thousands of streams at 50 packets/s
//! never give the thread time to sleep by itself; so it sleeps on purpose while packets gather in the sockets, and moves
//! some hundreds of them per wake-up. Without traffic it blocks and costs nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use call::Side;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvfrom, send, sendto};
use sip::Time;

use super::seats::{Seat, Seats};
use super::sockets::Kind;
use super::{Path, Shared, Socket, ThreadState};
use crate::Wake;
use crate::ports::SlotId;
use crate::stream::{Channel, News, OVERHEAD, Verdict, makes_keys};

/// The token of the eventfd; no port has it.
pub(super) const INTERRUPT: u64 = u64::MAX;

/// Events taken from epoll at once.
const BATCH: usize = 512;
/// Full batches before the thread looks at its other duties.
const ROUNDS: usize = 64;
/// Packets read per visit from a socket that comes up again: a video frame, or what gathered while the thread was kept
/// from running.
const BURST: usize = 32;
/// As many as a socket holds, and more.
const BACKLOG: usize = 1024;
/// So many sockets at once are looked at ahead of their packets: what those need is in the cache still when they are read.
const AHEAD: usize = 16;
/// Streams that have ended are let go of this often when no packet comes.
const VACATE: Duration = Duration::from_secs(1);
/// How often is looked for packets of digits that are due, while there are any.
const PLAYING: Duration = Duration::from_millis(5);
/// So many records of handshakes are read in a wake-up: each takes a tenth of a millisecond or more, in which nothing else moves. The
/// rest stays in its sockets and comes up again.
const RECORDS: u32 = 4;
/// How often handshakes are looked at.
const TEND: Duration = Duration::from_millis(50);
/// The largest UDP payload.
const DATAGRAM: usize = 65_535;

/// What epoll hands back for a socket.
pub(super) fn token(slot: SlotId, kind: Kind) -> u64 {
    let kinds = Kind::ALL.len() as u64;
    u64::from(slot.0) * kinds + kind as u64
}

fn socket_of(token: u64) -> Option<(SlotId, Kind)> {
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

struct Worker {
    shared: Arc<Shared>,
    thread: usize,
    wakers: Vec<(usize, Wake)>,
    start: Instant,
    /// When shards were last told to look for silence.
    woken: Instant,
    /// The arrival time of the packets of this round.
    now: Time,
    /// Counts wake-ups, to know a socket that comes up again.
    wakeup: u32,
    seats: Seats,
    /// Those under way.
    handshakes: Vec<(Weak<Path>, Side)>,
    /// When they were last looked at.
    tended: Instant,
    /// Their records that were read in this wake-up.
    records: u32,
    tally: Tally,
}

/// The counts of one wake-up, published together: an atomic addition per packet would be a waste.
#[derive(Default)]
struct Tally {
    packets: u64,
    octets: u64,
    control: u64,
    dropped: u64,
    not_rtp: u64,
    forged: u64,
    replayed: u64,
    withheld: u64,
    unsent: u64,
    late: u64,
}

impl Worker {
    fn run(mut self) {
        let mut events = Vec::with_capacity(BATCH);
        let mut buffer = vec![0; DATAGRAM + OVERHEAD];
        while !self.shared.stop.load(Relaxed) {
            if let Err(error) = self.wait(&mut events, self.patience()) {
                tracing::error!(thread = self.thread, %error, "media relay thread cannot wait for packets and ends");
                return;
            }
            let busy = !events.is_empty();
            self.drain(&mut events, &mut buffer);
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
    fn drain(&mut self, events: &mut Vec<epoll::Event>, buffer: &mut [u8]) {
        self.wakeup = self.wakeup.wrapping_add(1);
        self.records = 0;
        let mut look_again = !self.shared.config.tick.is_zero();
        for _ in 0..ROUNDS {
            self.now = Time::from_micros(self.start.elapsed().as_micros() as u64);
            let more_than_fit = events.len() >= BATCH;
            // What a shard has emptied is seen here before any packet that came afterwards.
            for slot in self.state().vacated.take() {
                self.seats.take(slot);
            }
            for next in events.chunks(AHEAD) {
                self.seats.approach(next.iter().filter_map(|event| Some(socket_of(event.data.u64())?.0)));
                for event in next {
                    self.visit(event.data.u64(), buffer);
                }
            }
            events.clear();
            if !more_than_fit && !std::mem::take(&mut look_again)
                || self.wait(events, Some(Duration::ZERO)).is_err()
            {
                return;
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

    /// Hands the digits that a stream has heard to its shard, and what is recorded to the writer.
    fn report(&self, path: &Path, News { session, digits, tapped }: News) {
        if let Some(recorder) = self.shared.recorder.as_ref().filter(|_| !tapped.is_empty()) {
            recorder.heard(session, tapped);
        }
        if digits.is_empty() {
            return;
        }
        let shard = path.shard as usize;
        self.shared.shards[shard].heard_digits(session, digits);
        for (_, wake) in self.wakers.iter().filter(|(of, _)| *of == shard) {
            wake();
        }
    }

    fn visit(&mut self, token: u64, buffer: &mut [u8]) {
        if token == INTERRUPT {
            let _ = rustix::io::read(&self.state().interrupt, &mut [0; 8]);
            return;
        }
        let Some((id, kind)) = socket_of(token) else { return };
        match self.seats.take(id) {
            Some(mut seat) => {
                let burst = if seat.comes_up_again(self.wakeup) { BURST } else { 1 };
                self.serve(&seat.path, seat.side, id, kind, burst, buffer);
                self.seats.seat(id, seat);
            }
            None => self.visit_slot(id, kind, buffer),
        }
    }

    /// A slot where nobody sits yet.
    fn visit_slot(&mut self, id: SlotId, kind: Kind, buffer: &mut [u8]) {
        let Some(mut slot) = self.shared.slot(id) else { return };
        let burst = if slot.comes_up_again(self.wakeup) { BURST } else { 1 };
        let user = slot.user.clone();
        let socket = user.is_none().then(|| slot.socket(kind).cloned()).flatten();
        drop(slot);
        if let Some((path, side)) = user {
            self.serve(&path, side, id, kind, burst, buffer);
            self.seats.seat(id, Seat::new(path, side, self.wakeup));
        } else if let Some(socket) = socket {
            read(burst, &socket, buffer, |_, _, _| self.tally.late += 1);
        }
    }

    /// Moves what came to one socket of a stream.
    fn serve(
        &mut self,
        path: &Arc<Path>,
        side: Side,
        id: SlotId,
        kind: Kind,
        burst: usize,
        buffer: &mut [u8],
    ) {
        if self.records >= RECORDS && path.state().is_keyless(side) {
            return;
        }
        if kind == Kind::Strangers {
            // The path does not have that one.
            let socket = self.shared.slot(id).and_then(|slot| slot.socket(kind).cloned());
            if let Some(socket) = socket {
                self.relay(path, side, &socket, kind.channel(), burst, buffer);
            }
        } else if let Some(socket) = path.end_at(side, id).and_then(|end| end.socket(kind.channel())) {
            self.relay(path, side, socket, kind.channel(), burst, buffer);
        }
    }

    fn relay(
        &mut self,
        path: &Arc<Path>,
        side: Side,
        socket: &Socket,
        channel: Channel,
        burst: usize,
        buffer: &mut [u8],
    ) {
        if self.relay_some(path, side, socket, channel, burst, buffer) {
            // A peer that was heard beside its port's first socket is heard there from now on. What it sent until now
            // goes ahead of that.
            self.relay_some(path, side, socket, channel, BACKLOG, buffer);
        }
    }

    /// Moves up to `burst` packets. Whether a port has been connected to its peer meanwhile.
    fn relay_some(
        &mut self,
        path: &Arc<Path>,
        side: Side,
        socket: &Socket,
        channel: Channel,
        burst: usize,
        buffer: &mut [u8],
    ) -> bool {
        let mut connected = false;
        read(burst, socket, buffer, |buffer, length, source| {
            let is_record = buffer.get(..length).is_some_and(makes_keys);
            let ((verdict, length), news) = {
                let mut state = path.state();
                let verdict = state.pass(side, channel, source, buffer, length, self.now);
                if let Some(peer) = state.ripe(side).filter(|peer| self.shared.may_connect(*peer)) {
                    connected |= path.connect(&self.shared, side, peer, &mut state);
                }
                if channel == Channel::Rtp {
                    self.shared.settle(path, side, &mut state);
                }
                (verdict, state.news())
            };
            if let Some(news) = news {
                self.report(path, news);
            }
            match verdict {
                Verdict::Relay { out, to, connected, media } => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    let sent = path
                        .end_towards(side.other(), to)
                        .and_then(|end| end.socket(out))
                        .is_some_and(|socket| transmit(socket, packet, to, connected));
                    self.count(sent, path, side, media);
                }
                Verdict::Withhold => self.tally.withheld += 1,
                Verdict::Reply => {
                    self.records += u32::from(is_record);
                    for (to, packet) in path.state().replies(side) {
                        transmit(socket, &packet, to, false);
                    }
                }
                Verdict::Drop => self.tally.dropped += 1,
                Verdict::NotRtp => self.tally.not_rtp += 1,
                Verdict::Forged => self.tally.forged += 1,
                Verdict::Replayed => self.tally.replayed += 1,
            }
            let is_known =
                !matches!(verdict, Verdict::Drop | Verdict::NotRtp | Verdict::Forged | Verdict::Replayed);
            if channel == Channel::Rtp && !path.control.load(Relaxed) && is_known {
                path.open_control(&self.shared);
            }
        });
        connected
    }

    fn count(&mut self, sent: bool, path: &Path, from: Side, media: Option<usize>) {
        match (sent, media) {
            (true, Some(octets)) => {
                self.tally.packets += 1;
                self.tally.octets += octets as u64;
            }
            (true, None) => self.tally.control += 1,
            (false, Some(octets)) => {
                self.tally.unsent += 1;
                path.state().unsent(from, octets);
            }
            (false, None) => self.tally.unsent += 1,
        }
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
        let vacate = (!self.seats.are_empty()).then_some(VACATE);
        look.into_iter().chain(tend).chain(plays).chain(vacate).min()
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
        add(&counters.control, tally.control);
        add(&counters.dropped, tally.dropped + tally.not_rtp + tally.forged + tally.replayed);
        add(&counters.not_rtp, tally.not_rtp);
        add(&counters.forged, tally.forged);
        add(&counters.replayed, tally.replayed);
        add(&counters.withheld, tally.withheld);
        add(&counters.unsent, tally.unsent);
        add(&counters.late, tally.late);
    }

    fn state(&self) -> &ThreadState {
        &self.shared.threads[self.thread]
    }
}

/// Sends a datagram; whether the network took it.
///
/// A connected socket may fail for a datagram that it sent before and that an ICMP message came back for, or because a
/// shard disconnected it this instant. Neither is a reason to lose this one, and a second attempt that names the address
/// meets neither.
pub(super) fn transmit(socket: &Socket, packet: &[u8], to: SocketAddr, connected: bool) -> bool {
    connected && send(socket, packet, SendFlags::empty()).is_ok()
        || sendto(socket, packet, SendFlags::empty(), &to).is_ok()
}

/// Reads up to `burst` datagrams, each with its source: a connected socket still holds what strangers sent before. Errors other
/// than "nothing there" belong to a single datagram, so reading goes on. `each` is given the whole buffer, in which a packet may grow, and how much of it the packet is.
fn read(
    burst: usize,
    socket: &Socket,
    buffer: &mut [u8],
    mut each: impl FnMut(&mut [u8], usize, SocketAddr),
) {
    for _ in 0..burst {
        let Some(room) = buffer.get_mut(..DATAGRAM) else { return };
        match recvfrom(socket, room, RecvFlags::empty()) {
            Ok((length, _, Some(source))) => {
                if let Ok(source) = source.try_into() {
                    each(buffer, length, source);
                }
            }
            Err(Errno::AGAIN) => return,
            Ok((_, _, None)) | Err(_) => {}
        }
    }
}
