//! One stream connection: what waits to be written, and the task that reads, cuts and writes.
//!
//! A shard writes straight to the socket as long as the socket takes it, so that a message normally costs one system
//! call and no change of tasks; only what does not fit waits in the bounded [`Outbox`] for the task. A peer that lets
//! it fill up is cut off: one slow reader must not cost the others their memory. What TLS and WebSockets put between a
//! message and the socket is the matter of `layers`.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use call::{Flow, SendToken, TlsVersion};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::framing::{Broken, Frame};
use crate::guard::Admission;
use crate::layers::{Intake, Layers, Stop};
use crate::pace::Pace;
use crate::refusal;
use crate::streams::{Delivery, Streams};

/// One read; most messages fit, larger ones come in several. Every connection holds this much.
const READ: usize = 4 * 1024;

/// Messages of one write.
const GATHER: usize = 16;

/// How long and how much a peer may still send after its stream was given up.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_READS: usize = 64;

/// How long a connection whose peer says nothing more stays for the answers to what it has said.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
const LAST_LOOK: Duration = Duration::from_millis(10);

/// INVITEs that are remembered beyond their being written: those of a peer that has been silent for as long as a call waits
/// for it, at a hundred calls a second.
const MAX_INVITES: usize = 4096;

/// Something to be written, and who wants to know if it was not.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) bytes: Bytes,
    pub(crate) token: SendToken,
    /// The shard that the token belongs to.
    pub(crate) shard: u16,
    /// It is written away bit by bit, so this is asked before.
    is_invite: bool,
}

impl Parcel {
    pub(crate) fn new(bytes: Bytes, token: SendToken, shard: u16) -> Parcel {
        let is_invite = bytes.starts_with(b"INVITE ");
        Parcel { bytes, token, shard, is_invite }
    }

    /// The memory that it takes while it waits.
    fn weight(&self) -> usize {
        self.bytes.len() + size_of::<Parcel>()
    }
}

/// One connection, open or being opened.
#[derive(Debug)]
pub(crate) struct Connection {
    /// As it was entered: without what is known after its handshake.
    pub(crate) flow: Flow,
    tls: OnceLock<TlsVersion>,
    /// The shard on whose thread its task runs.
    pub(crate) home: u16,
    /// Opened by us.
    pub(crate) is_ours: bool,
    /// Who the peer has proved to be.
    pub(crate) name: Option<Box<str>>,
    /// A bit for each shard that has sent or got something here; the last stands for all shards from the 64th on.
    concerned: AtomicU64,
    /// Requests of the peer that have no final response yet, as far as can be told by counting both.
    owed: AtomicU32,
    max_waiting: usize,
    outbox: Mutex<Outbox>,
    attention: Notify,
}

#[derive(Debug)]
struct Outbox {
    state: State,
    queue: VecDeque<Parcel>,
    octets: usize,
    /// The INVITEs that were written last, with their shards: whether they were answered is not known here.
    invites: VecDeque<(u16, SendToken)>,
}

/// What a connection leaves behind.
pub(crate) struct Left {
    /// Was not written, or not to its end.
    pub(crate) unwritten: VecDeque<Parcel>,
    /// INVITEs that were, with their shards.
    pub(crate) invites: VecDeque<(u16, SendToken)>,
}

impl Outbox {
    /// So many octets of what waits were written.
    fn strike_off(&mut self, mut written: usize) {
        self.octets = self.octets.saturating_sub(written);
        while let Some(parcel) = self.queue.front_mut() {
            if parcel.bytes.len() > written {
                return parcel.bytes.advance(written);
            }
            written -= parcel.bytes.len();
            self.octets = self.octets.saturating_sub(size_of::<Parcel>());
            if let Some(parcel) = self.queue.pop_front() {
                self.wrote(&parcel);
            }
        }
    }

    fn wrote(&mut self, parcel: &Parcel) {
        if parcel.is_invite && parcel.token != SendToken::NONE {
            self.invites.truncate(MAX_INVITES - 1);
            self.invites.push_front((parcel.shard, parcel.token));
        }
    }
}

#[derive(Debug)]
enum State {
    Connecting,
    Open(Line),
    /// Nothing is taken any more; the task is ending or has ended.
    Closed,
}

/// An open socket with what is wrapped round it.
#[derive(Debug)]
struct Line {
    socket: Arc<OwnedWriteHalf>,
    layers: Layers,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closed it, or the network did.
    Peer,
    /// It could not be cut into messages.
    Framing,
    /// The peer read too slowly.
    Slow,
    /// Nothing happened, or a message did not end.
    Idle,
    /// Nothing is to be heard of the peer any more.
    Banned,
    /// The shard it lived on has ended.
    Shutdown,
}

impl End {
    /// What a peer is told that can be told something.
    fn reason(self) -> &'static str {
        match self {
            End::Peer | End::Shutdown | End::Banned => "",
            End::Framing => "what came cannot be read",
            End::Slow => "too slow",
            End::Idle => "idle for too long",
        }
    }
}

impl Connection {
    pub(crate) fn connecting(
        flow: Flow,
        home: u16,
        is_ours: bool,
        name: Option<Box<str>>,
        max_waiting: usize,
    ) -> Connection {
        let (queue, invites) = (VecDeque::new(), VecDeque::new());
        let outbox = Outbox { state: State::Connecting, queue, octets: 0, invites };
        let concerned = AtomicU64::new(0);
        let (outbox, owed) = (Mutex::new(outbox), AtomicU32::new(0));
        let attention = Notify::new();
        let tls = OnceLock::new();
        Connection { flow, tls, home, is_ours, name, concerned, owed, max_waiting, outbox, attention }
    }

    /// As messages come over it.
    pub(crate) fn heard_on(&self) -> Flow {
        self.tls.get().map_or(self.flow, |version| self.flow.secured(*version))
    }

    /// The peer has sent a message. Neither a response nor an ACK is answered.
    fn asked(&self, message: &[u8]) {
        if !message.starts_with(b"SIP/") && !message.starts_with(b"ACK ") {
            self.owed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answered(&self, message: &[u8]) {
        if let Some([b'2'..=b'6', ..]) = message.strip_prefix(b"SIP/2.0 ") {
            let less = |owed: u32| Some(owed.saturating_sub(1));
            // Never an error: the closure always has an answer.
            let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    fn owes(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > 0 || !self.is_flushed()
    }

    /// The shard has something to do with this connection, and will want to know when it closes.
    pub(crate) fn concern(&self, shard: u16) {
        let bit = shard_bit(shard);
        if self.concerned.load(Ordering::Relaxed) & bit == 0 {
            self.concerned.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether the shard has to be told of the end. Others are not: a Core looks through all that it has when a
    /// connection closes, and strangers can open and close many.
    pub(crate) fn concerns(&self, shard: u16) -> bool {
        self.concerned.load(Ordering::Relaxed) & shard_bit(shard) != 0
    }

    /// Sends, or queues behind what waits. The parcel comes back when the connection is closed or will be.
    pub(crate) fn send(&self, mut parcel: Parcel) -> Result<(), Parcel> {
        let mut outbox = self.lock();
        // Under the lock, which whoever looks whether everything is written will take after this.
        self.answered(&parcel.bytes);
        let has_waiting = !outbox.queue.is_empty();
        if let (State::Open(line), false) = (&mut outbox.state, has_waiting) {
            match line.write(&mut parcel.bytes) {
                Ok(()) if parcel.bytes.is_empty() => {
                    if !line.layers.is_flushed() {
                        self.attention.notify_one();
                    }
                    outbox.wrote(&parcel);
                    return Ok(());
                }
                Ok(()) => {}
                Err(_) => {
                    outbox.state = State::Closed;
                    self.attention.notify_one();
                    return Err(parcel);
                }
            }
        }
        let full = outbox.octets + parcel.weight() > self.max_waiting;
        match outbox.state {
            State::Closed => return Err(parcel),
            State::Connecting if full => return Err(parcel),
            State::Connecting => {}
            State::Open(_) if full => {
                outbox.state = State::Closed;
                self.attention.notify_one();
                return Err(parcel);
            }
            State::Open(_) => self.attention.notify_one(),
        }
        outbox.octets += parcel.weight();
        outbox.queue.push_back(parcel);
        Ok(())
    }

    /// The stream is there; what waited can be written.
    pub(crate) fn open(&self, socket: &Arc<OwnedWriteHalf>, layers: Layers) {
        if let Some(version) = layers.tls_version() {
            // Nobody else sets it: a connection opens once.
            let _ = self.tls.set(version);
        }
        self.lock().state = State::Open(Line { socket: Arc::clone(socket), layers });
    }

    /// Takes nothing any more; what was not written comes back, and what may have gone with it.
    pub(crate) fn close(&self) -> Left {
        let mut outbox = self.lock();
        outbox.state = State::Closed;
        outbox.octets = 0;
        let Outbox { queue, invites, .. } = &mut *outbox;
        Left { unwritten: std::mem::take(queue), invites: std::mem::take(invites) }
    }

    /// Whether everything is written that can be.
    pub(crate) fn is_flushed(&self) -> bool {
        let outbox = self.lock();
        match &outbox.state {
            State::Connecting => outbox.queue.is_empty(),
            State::Open(line) => outbox.queue.is_empty() && line.layers.is_flushed(),
            State::Closed => true,
        }
    }

    /// Why a shard that wrote has given the connection up, if it has.
    fn verdict(&self) -> Option<End> {
        let outbox = self.lock();
        match outbox.state {
            State::Closed if outbox.queue.is_empty() => Some(End::Peer),
            State::Closed => Some(End::Slow),
            State::Connecting | State::Open(_) => None,
        }
    }

    /// Writes what waits as far as the socket takes it.
    fn flush(&self) -> io::Result<()> {
        let mut outbox = self.lock();
        let outbox = &mut *outbox;
        loop {
            let Outbox { state: State::Open(line), queue, octets, .. } = &mut *outbox else { return Ok(()) };
            if !line.layers.is_plain() {
                if !line.layers.flush(&line.socket)? {
                    return Ok(());
                }
                let Some(mut parcel) = queue.pop_front() else { return Ok(()) };
                *octets = octets.saturating_sub(parcel.weight());
                let put = line.layers.put(std::mem::take(&mut parcel.bytes), &line.socket);
                // Also where that failed: some of it may have gone.
                outbox.wrote(&parcel);
                put?;
                continue;
            }
            if queue.is_empty() {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); GATHER];
            for (slice, parcel) in slices.iter_mut().zip(queue.iter()) {
                *slice = IoSlice::new(&parcel.bytes);
            }
            let slices = slices.get(..queue.len().min(GATHER)).unwrap_or(&[]);
            let written = match line.socket.try_write_vectored(slices) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            outbox.strike_off(written);
        }
    }

    /// Takes off what lies round the messages that were read.
    fn take(&self, octets: &[u8], intake: &mut Intake) -> Result<(), Stop> {
        let mut outbox = self.lock();
        // A connection that a shard has given up takes nothing more; its task will hear of it next.
        let State::Open(line) = &mut outbox.state else { return Ok(()) };
        if line.layers.is_plain() {
            intake.extend(octets);
            return Ok(());
        }
        let taken = line.layers.take(octets, intake, &line.socket);
        if line.layers.flush(&line.socket).is_err() {
            return taken.and(Err(Stop::Done));
        }
        taken
    }

    /// The last words of TLS and WebSocket, as far as the socket takes them.
    fn say_goodbye(&self, why: &str) {
        let mut outbox = self.lock();
        if let State::Open(line) = &mut outbox.state {
            line.layers.close(why, &line.socket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Takes of the message what can be taken now, and cuts that off it.
    fn write(&mut self, bytes: &mut Bytes) -> io::Result<()> {
        if self.layers.is_plain() {
            match self.socket.try_write(bytes) {
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        } else if self.layers.flush(&self.socket)? {
            self.layers.put(std::mem::take(bytes), &self.socket)?;
            self.layers.flush(&self.socket)?;
        }
        Ok(())
    }
}

fn shard_bit(shard: u16) -> u64 {
    1 << shard.min(63)
}

/// Reads a connection to its end.
pub(crate) async fn serve(
    connection: &Connection,
    mut reader: OwnedReadHalf,
    writer: &OwnedWriteHalf,
    streams: &Streams,
) -> End {
    let mut intake = Intake::new();
    let mut room = vec![0; READ];
    let mut pace = Pace::new(Instant::now(), connection.is_ours, streams.limits());
    let mut timer = std::pin::pin!(tokio::time::sleep_until(pace.deadline().into()));
    // The handshake may have read more than it needed.
    let mut stop = connection.take(&[], &mut intake);
    loop {
        let end = match (hand_on(connection, streams, &mut intake).await, stop) {
            (Ok(cut), Ok(())) => {
                pace.heard(cut, intake.is_within_message(), || is_known(connection, streams));
                None
            }
            (Ok(_), Err(Stop::Done)) => Some(End::Peer),
            (Err(end), _) => Some(end),
            (Ok(_), Err(Stop::Broken)) => Some(End::Framing),
        };
        if let Some(end) = end {
            if end == End::Framing {
                answer_last(connection).await;
            }
            connection.say_goodbye(end.reason());
            if end == End::Framing {
                linger(&mut reader, writer, &mut room).await;
            }
            return end;
        }
        // Until something was read.
        stop = loop {
            pace.flushed(connection.is_flushed());
            if pace.deadline() < timer.deadline().into_std() {
                timer.as_mut().reset(pace.deadline().into());
            }
            tokio::select! {
                read = reader.read(&mut room) => {
                    let Ok(count) = read else { return End::Peer };
                    if count == 0 {
                        // New requests need a connection that is read.
                        streams.retire(connection);
                        answer_last(connection).await;
                        return End::Peer;
                    }
                    pace.read(Instant::now());
                    break connection.take(room.get(..count).unwrap_or_default(), &mut intake);
                }
                writable = writer.writable(), if !connection.is_flushed() => {
                    if writable.is_err() || connection.flush().is_err() {
                        return End::Peer;
                    }
                    pace.wrote();
                }
                () = connection.attention.notified() => {
                    if let Some(end) = connection.verdict() {
                        return end;
                    }
                }
                // Moved only when it comes: a busy connection does not touch the timer.
                () = timer.as_mut() => {
                    // Who registers is known a moment after it was heard.
                    if pace.is_strange() && is_known(connection, streams) {
                        pace.acquainted();
                    }
                    if pace.deadline() <= Instant::now() {
                        let end = pace.end();
                        connection.say_goodbye(end.reason());
                        return end;
                    }
                    timer.as_mut().reset(pace.deadline().into());
                }
            }
        };
    }
}

fn is_known(connection: &Connection, streams: &Streams) -> bool {
    streams.keeper.is_acquainted(connection.flow.remote)
}

/// The peer says nothing more, or nothing that can be read, and may still wait for what it has asked: that goes out on this
/// connection as long as it is there (RFC 3261 §18.2.2), if it does not take long.
async fn answer_last(connection: &Connection) {
    let deadline = Instant::now() + LAST_ANSWERS;
    while connection.owes() && Instant::now() < deadline {
        tokio::time::sleep(LAST_LOOK).await;
        if connection.verdict().is_some() || connection.flush().is_err() {
            return;
        }
    }
}

/// Lets the peer read why it is being left. Closing with octets unread would reset the connection and take the answer
/// back, so what still comes is read, for a moment, and thrown away.
async fn linger(reader: &mut OwnedReadHalf, writer: &OwnedWriteHalf, room: &mut [u8]) {
    let _ = SockRef::from(writer.as_ref()).shutdown(std::net::Shutdown::Write);
    let rest = async {
        for _ in 0..LINGER_READS {
            if matches!(reader.read(room).await, Ok(0) | Err(_)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// What was whole in one read: messages, and frames with the keep-alives among them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) frames: usize,
    pub(crate) messages: usize,
}

/// Hands on what is whole. However many keep-alives are in it, there is one answer: who keeps to RFC 5626 §3.5.1 has one of them
/// under way, and others would have each cost a system call.
async fn hand_on(connection: &Connection, streams: &Streams, intake: &mut Intake) -> Result<Cut, End> {
    let mut cut = Cut::default();
    let mut is_pinged = false;
    loop {
        match intake.next() {
            Ok(None) => {
                if is_pinged {
                    send(connection, Bytes::from_static(b"\r\n"));
                }
                return Ok(cut);
            }
            Ok(Some(Frame::Ping)) => is_pinged = true,
            Ok(Some(Frame::Message(bytes))) => {
                match streams.keeper.admit(connection.flow.remote, &bytes) {
                    Admission::Pass => {
                        connection.asked(&bytes);
                        deliver(connection, streams, bytes).await;
                    }
                    Admission::Answer(refusal, _) => answer(connection, refusal),
                    Admission::Drop => {}
                    Admission::Banned => return Err(End::Banned),
                }
                cut.messages += 1;
            }
            Err(broken) => {
                refuse(connection, streams, &broken);
                return Err(End::Framing);
            }
        }
        cut.frames += 1;
    }
}

/// How long a full shard may hold up a connection. Nobody sends a lost message again on a stream, so it is worth some
/// waiting, which slows the peer down; but one shard must not stop what the connection carries for the others.
const PATIENCE: Duration = Duration::from_millis(500);

async fn deliver(connection: &Connection, streams: &Streams, bytes: Bytes) {
    let deadline = Instant::now() + PATIENCE;
    let mut message = bytes;
    loop {
        match streams.deliver(connection, message) {
            Delivery::Done => return,
            Delivery::Full(bytes, retry_after) => {
                if let Some((refusal, _)) = refusal::full(&bytes, connection.flow.remote, retry_after) {
                    streams.counters(connection.home).answered_503.add(1);
                    streams.counters(connection.home).dropped_queue_full.add(1);
                    return send(connection, refusal);
                }
                if Instant::now() >= deadline {
                    streams.counters(connection.home).dropped_queue_full.add(1);
                    return;
                }
                message = bytes;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Answers from here what no shard has heard of.
fn answer(connection: &Connection, bytes: Bytes) {
    connection.owed.fetch_add(1, Ordering::Relaxed);
    send(connection, bytes);
}

/// Whether it arrives is nobody's question.
fn send(connection: &Connection, bytes: Bytes) {
    let _ = connection.send(Parcel::new(bytes, SendToken::NONE, connection.home));
}

fn refuse(connection: &Connection, streams: &Streams, broken: &Broken) {
    let fault = broken.fault;
    let remote = connection.flow.remote;
    tracing::info!(target: "net", %remote, "stream closed: {fault}");
    let head = broken.head.as_deref().unwrap_or_default();
    if !streams.keeper.report_malformed(remote, head) {
        return;
    }
    if let Some(refusal) = refusal::refuse_head(head, fault.status(), fault.phrase(), remote) {
        answer(connection, refusal);
    }
}
