//! One shard's Core and all that carries out what it says.
//!
//! Everything here happens between two looks at the sockets and returns at once: routing and media answer on the
//! spot, names are looked up elsewhere, datagrams wait in their sockets' outboxes until the whole batch of inputs has
//! been handled. Answers that are there at once are handed in when the Core has said everything it had to say.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use call::{
    BindingChange, Command, Core, Engine, Event, EventKind, Flow, Input, Interrupted, MediaReport, Now,
    Output, QueryId, RegistrarPolicy, Reply, SendToken, Utc,
};
use routing::Snapshot;
use sip::{Message, Method, Time};

use crate::Records;
use crate::clock::Clock;
use crate::connection::Parcel;
use crate::datagram::Datagrams;
use crate::dispatch::Dispatch;
use crate::events::EventLog;
use crate::guard::{Admission, Guard};
use crate::handle::ShardStats;
use crate::mailbox::{Answer, Letter, Mailbox};
use crate::overload::{Load, Overload};
use crate::refusal;
use crate::repeats::Repeats;
use crate::resolver::{self, Asker, Question, Resolver};
use crate::streams::Streams;
use crate::totals::Counters;

/// How often the media engine is asked when it does not call.
const MEDIA_INTERVAL: Duration = Duration::from_secs(1);

/// Orders of the operator that may wait for an answer before those that nobody waits for are looked for.
const MANY_REPLIES: usize = 256;

/// Rounds of "could not be sent, so this instead" before the rest waits for the next input.
const MAX_FLUSHES: usize = 8;

/// Messages to calls of another shard that wait for room there.
const MAX_HELD: usize = 4_096;

/// How long somebody is known whom the box has sent a request to, or who has placed a call.
const ACQUAINTED: Duration = Duration::from_secs(60 * 60);

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) shard: u16,
    pub(crate) core: Core,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) engine: Box<dyn Engine + Send>,
    pub(crate) records: Box<dyn Records>,
    pub(crate) clock: Clock,
    pub(crate) dispatch: Dispatch,
    pub(crate) mailboxes: Arc<[Arc<Mailbox>]>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) resolver: Arc<Resolver>,
    /// This shard's datagram sockets, at the index of their listener.
    pub(crate) sockets: Vec<Option<Datagrams>>,
    pub(crate) guard: Arc<Guard>,
    /// Of all shards.
    pub(crate) loads: Arc<[Load]>,
    pub(crate) overload: Overload,
    /// Calls of the process before this one.
    pub(crate) interrupted: Vec<Interrupted>,
}

/// One shard without its loop.
pub(crate) struct Worker {
    pub(crate) parts: Parts,
    pub(crate) now: Now,
    events: EventLog,
    answers: VecDeque<Input<'static>>,
    reports: Vec<MediaReport>,
    media_due: Time,
    replies: HashMap<u64, Answer>,
    next_command: u64,
    /// For the other shards, by shard, until the end of the batch.
    handover: Vec<Vec<Letter>>,
    undelivered: Vec<SendToken>,
    /// For streams, until the end of the batch: a connection writes at once, or on another thread.
    parcels: Vec<(Flow, Parcel)>,
    /// Whom a request was sent to last, and when the guard was told.
    met: (IpAddr, Time),
    repeats: Repeats,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Worker {
        let handover = parts.mailboxes.iter().map(|_| Vec::new()).collect();
        Worker {
            parts,
            now: Now::default(),
            events: EventLog::default(),
            answers: VecDeque::new(),
            reports: Vec::new(),
            media_due: Time::ZERO,
            replies: HashMap::new(),
            next_command: 0,
            handover,
            undelivered: Vec::new(),
            parcels: Vec::new(),
            met: (IpAddr::V4(Ipv4Addr::UNSPECIFIED), Time::ZERO),
            repeats: Repeats::new(),
        }
    }

    /// Reads the clocks, once for what follows.
    pub(crate) fn tick(&mut self) {
        self.now = self.parts.clock.now();
    }

    /// Goes on with the calls of the process before this one, and has one shard ask the peers of trunks for life.
    pub(crate) fn begin(&mut self) {
        self.tick();
        // Before anything is read, so that no call takes the ports of another.
        for call in std::mem::take(&mut self.parts.interrupted) {
            let now = self.now;
            self.now.utc = Utc(now.utc.0.saturating_sub(call.behind));
            self.handle(Input::Restore { state: &call.state, attempts: call.attempts });
            self.now = now;
        }
        self.parts.engine.restored();
        if self.parts.shard == 0 {
            self.parts.core.watch_peers(self.now);
            self.drain();
        }
    }

    /// Takes a datagram: handles it, or hands it to the shard that its call belongs to.
    pub(crate) fn datagram(&mut self, flow: Flow, bytes: &[u8]) {
        // Two CRLFs (RFC 5626 §3.5.1 has them on streams only, phones send them everywhere) or a zero or two.
        if bytes.len() <= 4 {
            return self.parts.counters.keepalives_in.add(1);
        }
        match self.parts.guard.admit(flow.remote, bytes, self.now.time) {
            Admission::Pass => {}
            Admission::Drop | Admission::Banned => return,
            Admission::Answer(answer, remote) => {
                return self.send(Flow { remote, ..flow }, answer, SendToken::NONE);
            }
        }
        let shards = self.handover.len() as u16;
        if shards > 1
            && let Some(call_id) = sip::call_id_of(bytes)
        {
            let shard = call::shard_of(call_id, shards);
            if shard != self.parts.shard && self.was_found_full(usize::from(shard), flow, bytes) {
                return;
            }
            if shard != self.parts.shard
                && let Some(letters) = self.handover.get_mut(usize::from(shard))
            {
                return letters.push(Letter::Message { flow, bytes: Bytes::copy_from_slice(bytes) });
            }
        }
        self.message(flow, bytes);
    }

    /// Takes something from the shard's mailbox.
    pub(crate) fn letter(&mut self, letter: Letter) {
        match letter {
            Letter::Message { flow, bytes } => self.message(flow, &bytes),
            Letter::Inner { from, bytes, token: _ } => {
                self.handle(Input::Message { flow: Flow::inner(from), bytes: &bytes });
            }
            Letter::Closed { flow } => self.handle(Input::Closed { flow }),
            Letter::Lost { flow, tokens } => {
                tokens.into_iter().for_each(|token| self.handle(Input::Lost { flow, token }));
            }
            Letter::Unreachable { flow, quote } => self.handle(Input::Unreachable { flow, quote: &quote }),
            Letter::Undeliverable { token } => self.handle(Input::Undeliverable { token }),
            Letter::Resolved { query, mut hops, note } => {
                self.parts.dispatch.peers().willing_first(&mut hops, self.now.time);
                self.handle(Input::Resolved { query, hops, note });
            }
            Letter::NoStreams(remote) => self.handle(Input::NoStreams(remote)),
            Letter::Bindings(bindings) => {
                for binding in bindings.iter() {
                    // Those of other shards have told the guard themselves; those kept over a restart have not.
                    self.greet(binding);
                    self.handle(Input::Binding(binding.clone()));
                }
            }
            Letter::Configuration { snapshot, registrar } => {
                self.parts.snapshot = Arc::clone(&snapshot);
                self.handle(Input::Snapshot(snapshot));
                self.handle(Input::Registrar(RegistrarPolicy::clone(&registrar)));
            }
            Letter::Overload { delay, interval } => self.parts.overload.set(delay, interval),
            Letter::Command { command, answer } => self.command(command, answer),
        }
    }

    /// A message of a call of this shard, or one that would make a new one.
    fn message(&mut self, flow: Flow, bytes: &[u8]) {
        let may_refuse = self.parts.overload.is_on() || !self.repeats.is_empty();
        if !(may_refuse && self.turn_away(flow, bytes)) {
            self.handle(Input::Message { flow, bytes });
        }
    }

    /// The oldest of what came has waited so long; `None`: nothing came.
    pub(crate) fn observe(&mut self, waited: Option<Duration>) {
        let Parts { overload, loads, shard, .. } = &mut self.parts;
        match waited {
            Some(waited) => overload.observe(waited, self.now.time),
            None => overload.pass(self.now.time),
        }
        if let Some(load) = loads.get(usize::from(*shard)) {
            load.show(overload, self.now.time);
        }
    }

    /// Runs what is due: the Core's timers, and the media engine when it called or was not asked for long.
    pub(crate) fn due(&mut self, media_called: bool) {
        if self.parts.core.poll_timeout().is_some_and(|deadline| deadline <= self.now.time) {
            self.parts.core.handle_timeout(self.now);
            self.drain();
        }
        if media_called || self.media_due <= self.now.time {
            self.media_due = self.now.time + MEDIA_INTERVAL;
            if self.parts.shard == 0 {
                self.parts.guard.sweep(self.now.time);
            }
            self.parts.engine.poll(self.now.time, &mut self.reports);
            self.take_reports();
            self.drain();
        }
    }

    /// When [`due`](Worker::due) must be called next.
    pub(crate) fn deadline(&self) -> Time {
        self.parts.core.poll_timeout().map_or(self.media_due, |timeout| timeout.min(self.media_due))
    }

    /// Ends a batch: what was gathered leaves, for the network and for the other shards.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) {
        for _ in 0..MAX_FLUSHES {
            // Before anybody hears of it, in each round: what could not be sent may have ended calls.
            self.parts.records.flush();
            // Before the sockets: what a peer does upon hearing of a transfer (a BYE to the other shard) must find there
            // what this shard has asked for.
            self.hand_over();
            for (flow, parcel) in self.parcels.drain(..) {
                if let Err(parcel) = self.parts.streams.send(flow, parcel)
                    && parcel.token != SendToken::NONE
                {
                    self.undelivered.push(parcel.token);
                }
            }
            for socket in self.parts.sockets.iter_mut().flatten() {
                socket.flush(cx, &self.parts.counters, &mut self.undelivered);
            }
            if !self.take_unreachable() && self.undelivered.is_empty() {
                break;
            }
            for token in std::mem::take(&mut self.undelivered) {
                self.handle(Input::Undeliverable { token });
            }
        }
    }

    /// What sockets were told of datagrams that did not arrive; whether anything. The system tells the socket that hears
    /// the peer, and another shard may have sent it: the one that has knows it by what is quoted.
    pub(crate) fn take_unreachable(&mut self) -> bool {
        let mut found: Vec<(Flow, Bytes)> = Vec::new();
        for socket in self.parts.sockets.iter_mut().flatten() {
            let listener = socket.listener;
            let flow = |remote| Flow { listener, remote, connection: 0 };
            let news = socket.unreachable.drain(..).map(|news| (flow(news.remote), news.quote));
            found.extend(news.filter(|(_, quote)| call::may_be_quoted(quote)));
        }
        for (flow, quote) in &found {
            self.tell_others(|| Letter::Unreachable { flow: *flow, quote: quote.clone() });
            self.handle(Input::Unreachable { flow: *flow, quote });
        }
        !found.is_empty()
    }

    fn handle(&mut self, input: Input<'_>) {
        self.parts.core.handle(input, self.now);
        self.drain();
    }

    /// Carries out what the Core says, until it has no more to say and every answer that is there was handed in.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.parts.core.poll_output() {
                self.carry_out(output);
            }
            match self.answers.pop_front() {
                Some(answer) => self.parts.core.handle(answer, self.now),
                None => return,
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { flow, bytes, token } => self.send(flow, bytes, token),
            Output::Route(query) => {
                let decision = self.parts.dispatch.decide(&query, self.now.time);
                self.answers.push_back(Input::Routed { query: query.query, decision });
            }
            Output::Resolve { query, host, port, transport, secure, draw } => {
                self.resolve(query, draw, Question { host, port, transport, secure });
            }
            Output::Media(order) => {
                self.parts.engine.order(order, self.now.time, &mut self.reports);
                self.take_reports();
            }
            Output::OpenCdr { fact, state } => self.parts.records.open_cdr(fact, state),
            Output::Cdr(fact) => self.parts.records.cdr(fact),
            Output::Binding(change) => self.binding(change),
            Output::Event(event) => {
                if self.concerns_guard(&event) {
                    return;
                }
                let Parts { dispatch, snapshot, .. } = &mut self.parts;
                dispatch.resume(&event, snapshot, self.now.time);
                let Parts { dispatch, snapshot, .. } = &self.parts;
                let known = event.call.and_then(|call| dispatch.snapshot_of(call)).unwrap_or(snapshot);
                let name_of = |id| known.trunk(id).map(|trunk| trunk.name.as_str());
                self.events.write(&event, self.now.time, name_of);
                self.parts.dispatch.observe(&event, self.now.time);
            }
            Output::NoStreams(remote) => self.tell_others(|| Letter::NoStreams(remote)),
            Output::Peer(change) => self.parts.dispatch.peers().learn(*change),
            Output::ServerAside(aside) => self.parts.dispatch.peers().put_last(aside, self.now.time),
            Output::Aside(aside) => self.parts.dispatch.peers().put_aside(*aside, self.now.time),
            Output::Reply { id, reply } => self.reply(id, reply),
        }
    }

    /// Whether the guard has said what there is to say of an event.
    fn concerns_guard(&self, event: &Event) -> bool {
        let (guard, now) = (&self.parts.guard, self.now.time);
        match &event.kind {
            EventKind::Refused { source, status, .. } => guard.report(*source, *status, now),
            // It has shown its password.
            EventKind::CallStarted { trunk: None, source, .. } => {
                guard.acquaint(source.ip(), now + ACQUAINTED, now);
                false
            }
            // Each was let in by the process before this one.
            EventKind::CallRestored { remotes, .. } => {
                remotes.iter().for_each(|remote| guard.acquaint(remote.ip(), now + ACQUAINTED, now));
                false
            }
            EventKind::CallStarted { .. }
            | EventKind::AttemptStarted { .. }
            | EventKind::AttemptEnded { .. }
            | EventKind::CallAnswered
            | EventKind::Joined { .. }
            | EventKind::CallEnded { .. }
            | EventKind::OneWay { .. }
            | EventKind::Registered { .. }
            | EventKind::Warning { .. } => false,
        }
    }

    /// The box sends a request there, so what comes from there is not a stranger's.
    fn meet(&mut self, ip: IpAddr) {
        let now = self.now.time;
        let (last, told) = self.met;
        // Of a thousand requests most go where the one before went.
        if last != ip || now.since(told) >= ACQUAINTED / 4 {
            self.met = (ip, now);
            self.parts.guard.acquaint(ip, now + ACQUAINTED, now);
        }
    }

    fn send(&mut self, flow: Flow, bytes: Bytes, token: SendToken) {
        if !bytes.starts_with(b"SIP/2.0 ") && !flow.is_inner() {
            self.meet(flow.remote.ip());
        }
        if let Some(Some(socket)) = self.parts.sockets.get_mut(usize::from(flow.listener.0)) {
            return socket.push(flow.remote, bytes, token);
        }
        if let Some(shard) = flow.inner_shard() {
            return self.send_inside(shard, bytes, token);
        }
        self.parcels.push((flow, Parcel::new(bytes, token, self.parts.shard)));
    }

    /// To a call of another shard, when this batch ends.
    fn send_inside(&mut self, shard: u16, bytes: Bytes, token: SendToken) {
        match self.handover.get_mut(usize::from(shard)) {
            Some(letters) => letters.push(Letter::Inner { from: self.parts.shard, bytes, token }),
            None if token != SendToken::NONE => self.answers.push_back(Input::Undeliverable { token }),
            None => {}
        }
    }

    fn resolve(&mut self, query: QueryId, draw: u64, question: Question) {
        let Parts { resolver, shard, counters, .. } = &self.parts;
        match resolver.resolve(question, Asker { shard: *shard, query, draw }, counters) {
            resolver::Answer::Now { mut hops, note } => {
                self.parts.dispatch.peers().willing_first(&mut hops, self.now.time);
                self.answers.push_back(Input::Resolved { query, hops, note });
            }
            resolver::Answer::Later => {}
        }
    }

    fn take_reports(&mut self) {
        self.answers.extend(self.reports.drain(..).map(Input::Media));
    }

    fn binding(&mut self, change: BindingChange) {
        self.parts.records.binding(&change);
        self.greet(&change);
        if self.handover.len() > 1 {
            let change: Arc<[BindingChange]> = Arc::from([change]);
            self.tell_others(|| Letter::Bindings(Arc::clone(&change)));
        }
    }

    fn tell_others(&mut self, letter: impl Fn() -> Letter) {
        for (shard, letters) in self.handover.iter_mut().enumerate() {
            if shard != usize::from(self.parts.shard) {
                letters.push(letter());
            }
        }
    }

    /// A phone is known for as long as it is registered.
    fn greet(&self, binding: &BindingChange) {
        let left = u64::try_from(binding.expires_at.0 - self.now.utc.0).unwrap_or(0);
        if left > 0 {
            let now = self.now.time;
            self.parts.guard.acquaint(binding.flow.remote.ip(), now + Duration::from_micros(left), now);
        }
    }

    fn command(&mut self, command: Command, answer: Answer) {
        if self.replies.len() >= MANY_REPLIES {
            self.replies.retain(|_, answer| !answer.is_abandoned());
        }
        let id = self.next_command;
        self.next_command += 1;
        self.replies.insert(id, answer);
        self.handle(Input::Command { id, command });
    }

    fn reply(&mut self, id: u64, reply: Reply) {
        // Whoever asked may have gone; then the answer is for nobody.
        match (self.replies.remove(&id), reply) {
            (Some(Answer::Stats(answer)), Reply::Stats(core)) => {
                let _ = answer.send(ShardStats {
                    core: *core,
                    ports: self.parts.engine.ports_in_use() as u64,
                    admitted: self.parts.dispatch.places(),
                    queued: self.mailbox().map_or(0, |mailbox| mailbox.len() as u64),
                });
            }
            (Some(Answer::Reply(answer)), reply) => {
                let _ = answer.send(reply);
            }
            (Some(Answer::Stats(_)) | None, _) => {}
        }
    }

    pub(crate) fn mailbox(&self) -> Option<&Arc<Mailbox>> {
        self.parts.mailboxes.get(usize::from(self.parts.shard))
    }

    /// Gives the other shards what is theirs. What does not fit is dropped; a new call is told so, and so is a call of
    /// this shard that reaches into another. What two calls that are joined already say to each other waits for room.
    fn hand_over(&mut self) {
        let mut dropped = Vec::new();
        for (shard, (letters, mailbox)) in
            self.handover.iter_mut().zip(self.parts.mailboxes.iter()).enumerate()
        {
            let count = letters.len() as u64;
            if count > 0 {
                mailbox.post_all(letters);
                self.parts.counters.handed_over.add(count - letters.len() as u64);
                dropped.extend(take_impatient(letters).into_iter().map(|letter| (shard, letter)));
            }
        }
        for (shard, letter) in dropped {
            match letter {
                Letter::Message { flow, bytes } => self.found_full(shard, flow, &bytes),
                Letter::Inner { token, .. } => {
                    self.parts.counters.dropped_queue_full.add(1);
                    self.undelivered.extend(Some(token).filter(|token| *token != SendToken::NONE));
                }
                Letter::Closed { .. }
                | Letter::Lost { .. }
                | Letter::Unreachable { .. }
                | Letter::Undeliverable { .. }
                | Letter::Resolved { .. }
                | Letter::Bindings(_)
                | Letter::NoStreams(_)
                | Letter::Configuration { .. }
                | Letter::Overload { .. }
                | Letter::Command { .. } => {}
            }
        }
    }

    /// The queue of another shard has no room for this.
    fn found_full(&mut self, shard: usize, flow: Flow, bytes: &[u8]) {
        self.parts.counters.dropped_queue_full.add(1);
        let retry_after = self.parts.loads.get(shard).map_or(1, Load::retry_after);
        if let Some((answer, remote)) = refusal::full(bytes, flow.remote, retry_after) {
            self.parts.counters.answered_503.add(1);
            self.send(Flow { remote, ..flow }, answer, SendToken::NONE);
            if let Some(key) = Message::parse(bytes).ok().and_then(|request| refusal::key_of(&request)) {
                self.repeats.add(key, self.now.time);
            }
        }
    }

    /// Whether this is a copy of what was refused for another shard's sake, which hears the same.
    fn was_found_full(&mut self, shard: usize, flow: Flow, bytes: &[u8]) -> bool {
        if self.repeats.is_empty() || !bytes.starts_with(b"INVITE ") {
            return false;
        }
        let key = Message::parse(bytes).ok().and_then(|request| refusal::key_of(&request));
        let is_copy = key.is_some_and(|key| self.repeats.has(key, self.now.time));
        if is_copy {
            self.found_full(shard, flow, bytes);
        }
        is_copy
    }

    /// Refuses what would begin something new, when it is its turn or was before; whether that was done. Calls in progress go
    /// first: what belongs to one, or to a transaction that has begun, passes.
    fn turn_away(&mut self, flow: Flow, bytes: &[u8]) -> bool {
        let Ok(request) = Message::parse(bytes) else { return false };
        let is_new = request.is_request()
            && !matches!(request.method(), Method::Ack | Method::Cancel)
            && request.to().is_ok_and(|to| to.tag().is_none())
            && !self.parts.core.has_heard(&request);
        let Some(key) = refusal::key_of(&request).filter(|_| is_new) else { return false };
        let is_copy = self.repeats.has(key, self.now.time);
        let is_refused = is_copy || self.parts.overload.is_on() && self.parts.overload.refuses();
        if !is_refused {
            return false;
        }
        let retry_after = self.parts.overload.retry_after(self.now.time);
        let Some((answer, remote)) = refusal::busy(&request, flow.remote, retry_after) else { return false };
        self.repeats.add(key, self.now.time);
        if let Some(load) = self.parts.loads.get(usize::from(self.parts.shard)) {
            load.count();
        }
        // On a stream it goes where the request came from.
        let remote = if flow.connection == 0 { remote } else { flow.remote };
        self.send(Flow { remote, ..flow }, answer, SendToken::NONE);
        true
    }
}

/// Takes out of what did not fit what does not wait for room: all but messages between calls of two shards. Of those, an
/// INVITE does not wait either, since whoever sent it is better told soon; and no more wait than a shard may be behind.
fn take_impatient(letters: &mut Vec<Letter>) -> Vec<Letter> {
    let mut waiting = 0;
    letters
        .extract_if(.., |letter| {
            let waits = match letter {
                Letter::Inner { bytes, .. } => !bytes.starts_with(b"INVITE ") && waiting < MAX_HELD,
                Letter::Message { .. }
                | Letter::Closed { .. }
                | Letter::Lost { .. }
                | Letter::Unreachable { .. }
                | Letter::Undeliverable { .. }
                | Letter::Resolved { .. }
                | Letter::Bindings(_)
                | Letter::NoStreams(_)
                | Letter::Configuration { .. }
                | Letter::Overload { .. }
                | Letter::Command { .. } => false,
            };
            waiting += usize::from(waits);
            !waits
        })
        .collect()
}
