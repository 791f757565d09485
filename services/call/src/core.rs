//! The Core of one shard: what is handed in finds its transaction, leg and call here, and what they say goes out.
//!
//! `ingress` takes requests apart and in, `replies` hears responses and deadlines, `operator` answers commands. The
//! behaviour itself is in `leg` and `bridge`; nothing here knows what a CANCEL means for the other side.

mod candidates;
mod carried;
mod destination;
mod hairpin;
mod ingress;
mod invite;
mod operator;
mod prack;
mod redirect;
mod reluctant;
mod replies;
mod rewritten;
mod rules;
mod sources;
mod steps;
mod transfer;
mod ways;

pub(crate) use destination::{Destination, Host};
pub(crate) use invite::RouteQuestion;
pub(crate) use reluctant::Heard;
pub(crate) use sources::Peer;
pub use steps::may_be_quoted;

pub(crate) use ingress::{Arrival, Sender, unsupported};

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::quality::FixedState;
use routing::{Decision, Snapshot};
use sip::{Message, Sdp, Time};

use crate::bridge::table::{Event, State};
use crate::bridge::{Call, CallKey, Cause, MediaState};
use crate::cdr::EndedBy;
use crate::coverage::LegInput;
use crate::io::{Input, Now, Output, QueryId};
use crate::journal::{Journals, Stimulus, Tape};
use crate::leg::{Leg, LegKey, LegState};
use crate::media::{MediaId, MediaOrder, MediaReport};
use crate::pings::{PingKey, Pings};
use crate::registrar::{Access, Registrar};
use crate::settings::Settings;
use crate::slab::Slab;
use crate::standalone::{StandaloneKey, Standalones};
use crate::subscription::{Party, SubscriptionKey, Subscriptions};
use crate::timers::TimerOf;
use crate::view::Stats;
use crate::wire::Wire;

/// How long routing, a name or the relay may be silent before a call is given up. The outside answers within bounds of
/// its own; this is the backstop that keeps a call from waiting for ever.
const OUTSIDE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(32);
/// How long the last counters of the relay are waited for.
const SETTLING_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Deadlines served in one go: what came in meanwhile is not to wait for ever, and the outputs are to stay few.
const MAX_DEADLINES: usize = 4_096;

/// All calls of one shard, as plain data: hand it what happened, carry out what it says.
///
/// After every [`handle`](Core::handle) and [`handle_timeout`](Core::handle_timeout) empty
/// [`poll_output`](Core::poll_output), then ask [`poll_timeout`](Core::poll_timeout) again.
pub struct Core {
    pub(crate) wire: Wire,
    pub(crate) calls: Slab<CallKey, Call>,
    pub(crate) legs: Slab<LegKey, Leg>,
    /// Legs of the process before this one, whose tags name keys of that one.
    pub(crate) restored: HashMap<Box<[u8]>, LegKey, FixedState>,
    pub(crate) queries: Queries,
    pub(crate) standalones: Standalones,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) registrar: Registrar,
    pub(crate) pings: Pings,
    pub(crate) heard: Heard,
    pub(crate) access: Access,
    pub(crate) snapshot: Arc<Snapshot>,
    /// How many snapshots there were before this one.
    pub(crate) generation: u32,
    pub(crate) draining: bool,
    pub(crate) journals: Journals,
}

/// Questions to the outside that wait for an answer.
#[derive(Default)]
pub(crate) struct Queries {
    pub(crate) next: u64,
    open: HashMap<QueryId, Asker, FixedState>,
}

/// Who waits for an answer of the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Call(CallKey),
    Standalone(StandaloneKey),
    /// For the host that its dialog names.
    Leg(LegKey),
    /// A peer that is asked for life.
    Ping(PingKey),
    /// For the host that the dialog of one end names.
    Subscription(SubscriptionKey, Party),
}

impl From<(SubscriptionKey, Party)> for Asker {
    fn from((key, party): (SubscriptionKey, Party)) -> Asker {
        Asker::Subscription(key, party)
    }
}

impl From<PingKey> for Asker {
    fn from(key: PingKey) -> Asker {
        Asker::Ping(key)
    }
}

impl From<CallKey> for Asker {
    fn from(key: CallKey) -> Asker {
        Asker::Call(key)
    }
}

impl From<LegKey> for Asker {
    fn from(key: LegKey) -> Asker {
        Asker::Leg(key)
    }
}

impl From<StandaloneKey> for Asker {
    fn from(key: StandaloneKey) -> Asker {
        Asker::Standalone(key)
    }
}

impl Queries {
    pub(crate) fn ask(&mut self, asker: impl Into<Asker>) -> QueryId {
        self.next += 1;
        let id = QueryId(self.next);
        self.open.insert(id, asker.into());
        id
    }

    fn answered(&mut self, id: QueryId) -> Option<Asker> {
        self.open.remove(&id)
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn forget(&mut self, id: QueryId) {
        self.open.remove(&id);
    }
}

impl Core {
    /// A Core without calls. `settings.listeners` must not be empty.
    pub fn new(settings: Settings, snapshot: Arc<Snapshot>) -> Core {
        let secret = settings.nonce_secret;
        let mut wire = Wire::new(settings);
        let access = Access::new(secret, &mut wire.ids);
        let journals = Journals::new(wire.settings.journal);
        if journals.is_on() {
            wire.ids.tape = Tape::Recording(Vec::new());
        }
        Core {
            wire,
            calls: Slab::default(),
            legs: Slab::default(),
            restored: HashMap::default(),
            queries: Queries::default(),
            standalones: Standalones::with_key(),
            subscriptions: Subscriptions::with_key(),
            registrar: Registrar::default(),
            pings: Pings::default(),
            heard: Heard::default(),
            access,
            snapshot,
            generation: 0,
            draining: false,
            journals,
        }
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        match input {
            Input::Message { flow, bytes } => self.step(Stimulus::Message { flow, bytes }, now),
            Input::Closed { flow } => self.on_connection_closed(flow, now),
            Input::Lost { flow, token } => self.on_lost(flow, token, now),
            Input::Unreachable { flow, quote } => self.on_unreachable(flow, quote, now),
            Input::Undeliverable { token } => self.step(Stimulus::Undeliverable { token }, now),
            Input::Routed { query, decision } => self.step(Stimulus::Routed { query, decision }, now),
            Input::Resolved { query, hops, note } => {
                self.step(Stimulus::Resolved { query, hops, note }, now);
            }
            Input::Media(report) => self.step(Stimulus::Media(report), now),
            Input::Restore { state, attempts } => self.step(Stimulus::Restore { state, attempts }, now),
            // What follows concerns no call, or is taken apart into steps that do.
            Input::NoStreams(remote) => self.wire.takes_no_streams(remote, now),
            Input::Binding(change) => self.registrar.learn(change, &mut self.wire, now),
            Input::Snapshot(snapshot) => {
                self.snapshot = snapshot;
                self.generation += 1;
                self.forget_heard();
                self.follow_peers(now);
            }
            Input::Registrar(policy) => self.registrar.enforce(policy, &mut self.wire, now),
            Input::Command { id, command } => self.on_command(id, command, now),
        }
    }

    /// The time of [`poll_timeout`](Core::poll_timeout) has come. Calling it early does no harm.
    /// After a pause of the machine it serves so many deadlines and leaves the rest, so that `poll_timeout` names this
    /// very moment again.
    pub fn handle_timeout(&mut self, now: Now) {
        for _ in 0..MAX_DEADLINES {
            let Some(due) = self.wire.timers.pop(now.time) else { return };
            match due {
                TimerOf::Client(_) | TimerOf::Server(_) | TimerOf::Leg(_) | TimerOf::Call(_) => {
                    if let Some(owner) = due.owner() {
                        self.step(Stimulus::Timer(owner), now);
                    }
                }
                // These are of no call, and in no journal.
                TimerOf::Standalone(key) => self.on_standalone_timeout(key),
                TimerOf::Subscription(key) => self.on_subscription_timeout(key, now),
                TimerOf::Ping(key) => self.on_ping_due(key, now),
                TimerOf::Registrar => self.registrar.on_timeout(&mut self.wire, now),
            }
        }
    }

    /// When [`handle_timeout`](Core::handle_timeout) must be called next, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.wire.timers.next()
    }

    /// The next thing to do, in order; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.wire.outputs.pop_front()
    }

    /// How much of everything there is.
    pub fn stats(&self) -> Stats {
        Stats {
            calls: self.calls.len() as u64,
            legs: self.legs.len() as u64,
            transactions: self.wire.transactions() as u64,
            timers: self.wire.timers.len() as u64,
            queries: self.queries.open.len() as u64,
            requests: self.standalones.len() as u64,
            subscriptions: self.subscriptions.len() as u64,
            bindings: self.registrar.len() as u64,
            ..self.wire.stats
        }
    }

    /// Which cells of the tables this Core has been through.
    #[cfg(feature = "coverage")]
    pub fn coverage(&self) -> &crate::coverage::Coverage {
        &self.wire.coverage
    }

    /// Whether the Core's own books agree: for tests and the simulator, after every input.
    ///
    /// # Errors
    /// Says which entry contradicts which.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (key, leg) in self.legs.iter() {
            match leg.call {
                Some(call) if !self.calls.get(call).is_some_and(|call| call.legs().any(|leg| leg == key)) => {
                    return Err(format!(
                        "leg {key:?} ({}) names a call that does not name it",
                        leg.state_name()
                    ));
                }
                None if !matches!(leg.state, LegState::Ghost { .. }) => {
                    return Err(format!("leg {key:?} ({}) belongs to no call", leg.state_name()));
                }
                Some(_) | None => {}
            }
            if leg.armed != leg.deadline() {
                return Err(format!("leg {key:?} ({}): its deadline is not armed", leg.state_name()));
            }
        }
        for (key, call) in self.calls.iter() {
            if call.state == State::Over {
                return Err(format!("call {key:?} is over and still here"));
            }
            if call.state == State::Ending
                && call.legs().all(|leg| self.legs.get(leg).is_none_or(Leg::is_over))
            {
                return Err(format!("call {key:?} is ending and has no legs left"));
            }
            if call.record.waits_for().any(|leg| self.legs.get(leg).is_none_or(Leg::is_over)) {
                return Err(format!("call {key:?} holds back the row of a leg that is over"));
            }
            if call.armed != call.due(self.wire.settings.interim) {
                return Err(format!("call {key:?}: its deadline is not armed"));
            }
        }
        self.check_requests()
    }

    /// After a step: what is over goes, what waits is armed.
    pub(crate) fn settle(&mut self, key: CallKey, now: Now) {
        self.tell_given_up(key);
        let Some(call) = self.calls.get_mut(key) else { return };
        call.deadline = match call.state {
            State::Routing | State::Opening | State::Resolving | State::Restoring => {
                call.deadline.or(Some(now.time + OUTSIDE_PATIENCE))
            }
            State::Settling => Some(call.deadline.unwrap_or(now.time + SETTLING_PATIENCE)),
            // A description waits for the ports of its new streams.
            State::Calling
            | State::Ringing
            | State::Offering(_)
            | State::Transferring(_)
            | State::TransferringAlone(_)
                if call.media.state == MediaState::Growing =>
            {
                call.deadline.or(Some(now.time + OUTSIDE_PATIENCE))
            }
            // A name is looked up while other targets ring, or while two talk.
            State::Calling | State::Ringing | State::Transferring(_) | State::TransferringAlone(_)
                if call.is_resolving() =>
            {
                call.deadline.or(Some(now.time + OUTSIDE_PATIENCE))
            }
            State::Calling
            | State::Ringing
            | State::Answered
            | State::Up
            | State::Offering(_)
            | State::Transferring(_)
            | State::TransferringAlone(_)
            | State::Rejoining(_)
            | State::JoinWaiting(_)
            | State::Yielding(_)
            | State::YieldingAlone(_)
            | State::Replacing(_)
            | State::ReplacingAlone(_)
            | State::Reverting(_)
            | State::Ending
            | State::Over => None,
        };
        let deadline = call.due(self.wire.settings.interim);
        self.wire.timers.set(TimerOf::Call(key), &mut call.armed, deadline);
        let over = call.state == State::Over;
        let legs: smallvec::SmallVec<[LegKey; 4]> = call.legs().collect();
        let former: smallvec::SmallVec<[LegKey; 1]> = call.former.clone();
        for leg in legs {
            self.settle_leg(leg, over, former.contains(&leg));
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.former.retain(|leg| self.legs.contains_key(*leg));
        }
        if over
            && let Some(call) = self.calls.remove(key)
            && let Some(query) = call.setup.and_then(|setup| setup.query)
        {
            self.queries.forget(query);
        }
    }

    /// `former`: it belongs to an attempt that was given up, of which the record has been written.
    fn settle_leg(&mut self, key: LegKey, call_is_over: bool, former: bool) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        if matches!(leg.state, LegState::Gone) && (call_is_over || former || leg.call.is_none()) {
            self.wire.timers.set(TimerOf::Leg(key), &mut leg.armed, None);
            leg.way_query().into_iter().for_each(|query| self.queries.forget(query));
            if let Some(leg) = self.legs.remove(key) {
                self.restored.remove(leg.tag.as_bytes());
            }
            return;
        }
        if call_is_over {
            leg.call = None;
        }
        if leg.way_due {
            self.look_for_way(key);
        }
        let Some(leg) = self.legs.get_mut(key) else { return };
        let deadline = leg.deadline();
        self.wire.timers.set(TimerOf::Leg(key), &mut leg.armed, deadline);
    }

    fn on_leg_timeout(&mut self, key: LegKey, now: Now) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        leg.armed = None;
        let call = leg.call;
        self.wire.coverage.leg(leg, LegInput::Timer);
        let news = leg.on_timeout(key, &mut self.wire, now);
        match call {
            Some(call) => self.on_news(call, key, news, None, now),
            None => self.settle_leg(key, false, false),
        }
    }

    fn on_call_timeout(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.armed = None;
        if let Some(setup) =
            call.setup.as_mut().filter(|setup| setup.expires.is_some_and(|end| end <= now.time))
        {
            setup.expires = None;
            let expired = Cause::new(Event::Cancelled).status(487).by(EndedBy::Timer);
            return self.drive(key, expired, now);
        }
        call.deadline = None;
        let cause = match call.state {
            State::Routing => Cause::new(Event::NoRoute).status(500),
            State::Opening => Cause::new(Event::NoPorts).status(503),
            State::Resolving => Cause::new(Event::Refused).status(503),
            State::Settling => Cause::new(Event::MediaClosed),
            State::Restoring => return self.lose_media(key, now),
            State::Up => return self.count_media(key, now),
            State::Transferring(_) | State::TransferringAlone(_) if call.is_being_routed() => {
                Cause::new(Event::NoRoute).status(500)
            }
            State::Calling | State::Ringing | State::Transferring(_) | State::TransferringAlone(_)
                if call.is_resolving() =>
            {
                return self.give_up_names(key, now);
            }
            State::Calling
            | State::Ringing
            | State::Offering(_)
            | State::Transferring(_)
            | State::TransferringAlone(_) => {
                call.media.refused();
                Cause::new(Event::NoPorts).status(503)
            }
            State::Answered
            | State::Rejoining(_)
            | State::JoinWaiting(_)
            | State::Yielding(_)
            | State::YieldingAlone(_)
            | State::Replacing(_)
            | State::ReplacingAlone(_)
            | State::Reverting(_)
            | State::Ending
            | State::Over => return,
        };
        if let Some(query) = call.setup.as_mut().and_then(|setup| setup.query.take()) {
            self.queries.forget(query);
        }
        self.drive(key, cause.by(EndedBy::Timer), now);
    }

    /// A long call: the journal is to know how far it has come.
    fn count_media(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.record.counted_at = now.time;
        let session = call.media.id;
        if call.media.is_open() {
            self.wire.outputs.push_back(Output::Media(MediaOrder::Count { session }));
        } else {
            self.open_record(key, now);
        }
        self.settle(key, now);
    }

    /// Names that nobody answers for, while other targets ring, have no address.
    fn give_up_names(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.media.state == MediaState::Growing {
            call.media.refused();
        }
        let asked: smallvec::SmallVec<[QueryId; 2]> = call.queries().collect();
        for query in asked {
            self.queries.forget(query);
            self.on_resolved(key, query, &[], None, now);
        }
    }

    fn on_media(&mut self, report: MediaReport, now: Now) {
        let (MediaReport::Opened { session, .. }
        | MediaReport::Refused { session, .. }
        | MediaReport::NotListening { session, .. }
        | MediaReport::Silent { session, .. }
        | MediaReport::OneWay { session, .. }
        | MediaReport::Digit { session, .. }
        | MediaReport::RecordingEnded { session, .. }
        | MediaReport::NotRecording { session, .. }
        | MediaReport::Counted { session, .. }
        | MediaReport::Closed { session, .. }) = &report;
        let key = call_of(*session);
        let Some(call) = self.calls.get_mut(key).filter(|call| call.media.id == *session) else { return };
        match report {
            MediaReport::Opened { addresses, streams, .. } => {
                let is_moved = call.state == State::Restoring && !call.media.is_told(addresses, &streams);
                call.media.opened(addresses, streams, &mut self.wire);
                if is_moved {
                    return self.no_ports(key, "the relay is not where both sides were told", now);
                }
                self.drive(key, Cause::new(Event::Opened), now);
                self.resume_deferred(key, now);
            }
            MediaReport::Refused { why, .. } => {
                call.media.refused();
                self.no_ports(key, &why, now);
            }
            MediaReport::NotListening { why, .. } => self.no_ports(key, &why, now),
            MediaReport::Silent { side, .. } => {
                self.drive(key, Cause::new(Event::Silent(side)).by(EndedBy::MediaTimeout), now);
            }
            MediaReport::OneWay { side, deaf, .. } => {
                let id = call.id;
                self.wire.stats.one_way += 1;
                self.wire.event(Some(id), crate::io::EventKind::OneWay { side, deaf });
            }
            MediaReport::Digit { side, digit, .. } => self.relay_digit(key, side, digit, now),
            MediaReport::RecordingEnded { why, .. } => self.on_recording_ended(key, &why, now),
            MediaReport::NotRecording { why, .. } => self.on_not_recording(key, &why, now),
            // Asked first, and so answered.
            MediaReport::Counted { from_a, from_b, .. } if call.record.leaves_out() => {
                call.record.left_out(from_a, from_b);
            }
            // While something changes, or once it ends, the next to tell the journal of the call has more to say.
            MediaReport::Counted { from_a, from_b, .. } if call.record.is_parting() => {
                call.record.counted(from_a, from_b);
                self.wire.outputs.extend(call.record.parted().map(Output::Cdr));
            }
            MediaReport::Counted { from_a, from_b, .. } if call.state == State::Up => {
                call.record.counted(from_a, from_b);
                self.open_record(key, now);
            }
            MediaReport::Counted { .. } => {}
            MediaReport::Closed { from_a, from_b, .. } => {
                call.media.state = MediaState::Closed;
                call.record.counted(from_a, from_b);
                self.drive(key, Cause::new(Event::MediaClosed), now);
            }
        }
    }

    fn no_ports(&mut self, key: CallKey, why: &str, now: Now) {
        let id = self.calls.get(key).map(|call| call.id);
        let what = format!("no media ports: {why}");
        self.wire.event(id, crate::io::EventKind::Warning { what });
        if self.calls.get(key).is_some_and(|call| call.state == State::Restoring) {
            return self.lose_media(key, now);
        }
        self.drive(key, Cause::new(Event::NoPorts).status(503).by(EndedBy::Error), now);
    }

    /// A response that waited for ports is heard now.
    fn resume_deferred(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some((leg, event, bytes)) = call.setup.as_mut().and_then(|setup| setup.deferred.take()) else {
            return;
        };
        if call.focus_leg(leg)
            && let Ok(message) = Message::parse(&bytes)
        {
            if event == Event::Answered && self.hold_answer(key, leg, &message) {
                return self.settle(key, now);
            }
            self.drive(key, Cause::new(event).message(&message), now);
        }
    }

    /// Keeps a response of the target until the relay has a port for each of its streams.
    pub(crate) fn defer_for_ports(
        &mut self,
        key: CallKey,
        event: Event,
        message: &Message<'_>,
        sdp: &Sdp<'_>,
    ) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let (Some(setup), Some(leg)) = (call.setup.as_mut(), call.b) else { return false };
        // The first 2xx decides, whatever comes while it waits.
        if let Some((first, Event::Answered, _)) = setup.deferred
            && first != leg
        {
            return true;
        }
        // Of an answer nothing is heard that was not offered, and that has its ports.
        let is_answer = self.legs.get(leg).is_some_and(|leg| leg.offered().is_some());
        if is_answer || call.media.covers(sdp) || call.media.state != MediaState::Open {
            return false;
        }
        setup.deferred = Some((leg, event, Bytes::copy_from_slice(message.bytes())));
        call.media.open(sdp.streams().len(), &mut self.wire);
        true
    }

    fn on_routed(&mut self, key: CallKey, decision: Decision, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        // An answer that comes after the caller left finds another state and is dropped by the table.
        match decision {
            Decision::Route(plan) => {
                let found = self.candidates(key, &plan, now);
                let Some(call) = self.calls.get_mut(key) else { return };
                call.tagged(plan.tags.as_ref());
                call.record.route = plan.route.map(String::into_boxed_str);
                if plan.record {
                    call.wants_recording();
                }
                if let Some(setup) = call.setup.as_mut() {
                    setup.query = None;
                    setup.targets = found.places;
                    setup.readable_only = found.readable_only;
                    setup.failover = plan.failover;
                }
                let cause = match call.setup.as_ref().is_some_and(|setup| setup.targets.is_empty()) {
                    // A user of ours who is not registered now.
                    true => Cause::new(Event::NoRoute).status(480).by(EndedBy::Policy),
                    false => Cause::new(Event::Routed),
                };
                self.drive(key, cause, now);
            }
            Decision::Refuse(refusal) => {
                call.tagged(refusal.tags.as_ref());
                call.record.attempt.blocked = refusal.blocked;
                call.no_room_at(refusal.trunk);
                call.record.route = refusal.route.map(String::into_boxed_str);
                if let Some(setup) = call.setup.as_mut() {
                    setup.query = None;
                }
                let id = call.id;
                self.wire.event(Some(id), crate::io::EventKind::Warning { what: refusal.why });
                let cause = Cause::new(Event::NoRoute).status(refusal.status).by(EndedBy::Policy);
                self.drive(key, Cause { phrase: refusal.phrase.as_deref(), ..cause }, now);
            }
        }
    }
}

/// The media session of a call names the call, so that a report finds it without an index; the shard, in the top byte
/// of the slot's index, keeps it unique. A Core never holds the sixteen million calls that would reach that byte.
pub(crate) fn media_id(call: CallKey, settings: &Settings) -> MediaId {
    MediaId(slotmap::Key::data(&call).as_ffi() | u64::from(settings.shard & 0xff) << 24)
}

fn call_of(session: MediaId) -> CallKey {
    CallKey::from(slotmap::KeyData::from_ffi(session.0 & !(0xff << 24)))
}
