//! One thing that happens to a call at a time, and its record.
//!
//! [`Core::step`] is the only way in for whatever may concern a call: what is done in it is in the call's journal, and
//! what a journal has can be done again ([`Core::take`]).

use smallvec::SmallVec;

use super::{Asker, Core};
use crate::bridge::CallKey;
use crate::cdr::EndedBy;
use crate::ids::client_of_branch;
use crate::io::{Flow, Now, SendToken};
use crate::journal::{Deed, Mark, Ordered, Owner, Stimulus, call_key, print};
use crate::leg::LegKey;
use crate::slab::{Touched, touch};
use crate::timers::TimerOf;
use crate::wire::{ClientUser, Purpose, client_of};

impl Core {
    /// Does it, and keeps it with the calls that it concerned.
    pub(super) fn step(&mut self, stimulus: Stimulus<'_>, now: Now) {
        if !self.journals.is_on() {
            self.take(stimulus, now);
            return self.clear_notes();
        }
        debug_assert!(self.touched().is_empty(), "a call was changed by something that no journal has");
        self.clear_notes();
        self.journals.begin(&stimulus);
        let message = match &stimulus {
            Stimulus::Message { bytes, .. } => bytes,
            Stimulus::Closed { .. }
            | Stimulus::Undeliverable { .. }
            | Stimulus::Routed { .. }
            | Stimulus::Resolved { .. }
            | Stimulus::Media(_)
            | Stimulus::Restore { .. }
            | Stimulus::Timer(_)
            | Stimulus::Order { .. } => &[][..],
        };
        let mark = Mark {
            now,
            generation: self.generation,
            draining: self.draining,
            last_query: self.queries.next,
            outputs: self.wire.outputs.len(),
        };
        self.take(stimulus, now);
        self.keep(mark, message);
    }

    /// The thing itself, in life and in a replay.
    pub(crate) fn take(&mut self, stimulus: Stimulus<'_>, now: Now) {
        match stimulus {
            Stimulus::Message { flow, bytes } => self.on_bytes(flow, bytes, now),
            Stimulus::Closed { flow, owner } => match owner {
                Owner::Leg(key) => {
                    if let Some(leg) = self.legs.get_mut(LegKey::from(slotmap::KeyData::from_ffi(key))) {
                        leg.on_closed(flow.connection);
                    }
                }
                Owner::Server(key) => self.wire.on_closed(slotmap::KeyData::from_ffi(key).into()),
                Owner::Client(key) => self.on_undeliverable(SendToken(key), now),
                Owner::Call(_) => {}
            },
            Stimulus::Undeliverable { token } => self.on_undeliverable(token, now),
            Stimulus::Routed { query, decision } => match self.queries.answered(query) {
                Some(Asker::Call(call)) => self.on_routed(call, decision, now),
                Some(Asker::Standalone(request)) => self.on_standalone_routed(request, decision, now),
                Some(Asker::Leg(_) | Asker::Ping(_) | Asker::Subscription(..)) | None => {}
            },
            Stimulus::Resolved { query, hops, note } => match self.queries.answered(query) {
                Some(Asker::Call(call)) => self.on_resolved(call, query, &hops, note, now),
                Some(Asker::Standalone(request)) => self.on_standalone_resolved(request, &hops, note, now),
                Some(Asker::Leg(leg)) => self.on_way_found(leg, query, &hops),
                Some(Asker::Subscription(key, party)) => {
                    if let Some(way) = self.subscriptions.get_mut(key).and_then(|held| held.way_mut(party)) {
                        way.found(query, &hops, &self.wire);
                    }
                }
                Some(Asker::Ping(peer)) => self.on_ping_resolved(peer, &hops, now),
                None => {}
            },
            Stimulus::Media(report) => self.on_media(report, now),
            Stimulus::Restore { state, attempts } => self.on_restore(state, attempts, now),
            Stimulus::Timer(owner) => match TimerOf::of(owner) {
                Some(TimerOf::Client(key)) => {
                    if let Some(unanswered) = self.wire.on_client_timeout(key, now) {
                        self.on_no_answer(unanswered, 408, now);
                    }
                }
                Some(TimerOf::Server(key)) => self.wire.on_server_timeout(key, now),
                Some(TimerOf::Leg(key)) => self.on_leg_timeout(key, now),
                Some(TimerOf::Call(key)) => self.on_call_timeout(key, now),
                Some(
                    TimerOf::Standalone(_) | TimerOf::Subscription(_) | TimerOf::Ping(_) | TimerOf::Registrar,
                )
                | None => {}
            },
            Stimulus::Order { call, order } => {
                let call = call_key(call);
                match order {
                    Ordered::HangUp => self.end(call, 480, EndedBy::Api, now),
                    Ordered::EndAll => self.end(call, 503, EndedBy::Policy, now),
                    Ordered::Abandon => self.abandon(call, now),
                    Ordered::Record => self.begin_recording(call, now),
                    Ordered::StopRecording => self.stop_recording(call, now),
                }
            }
        }
    }

    /// An order of the operator to one call.
    pub(super) fn order(&mut self, call: CallKey, order: Ordered, now: Now) {
        self.step(Stimulus::Order { call: slotmap::Key::data(&call).as_ffi(), order }, now);
    }

    /// Whether the request of this token is of a leg that nobody waits for any more: it had not left the box, and shall not.
    fn is_left(&self, token: SendToken) -> bool {
        match self.wire.client_user(client_of(token)) {
            Some(ClientUser::Leg(key, Purpose::Invite)) => {
                self.legs.get(key).is_some_and(|leg| leg.is_given_up())
            }
            Some(
                ClientUser::Leg(..)
                | ClientUser::Standalone(_)
                | ClientUser::Subscription(..)
                | ClientUser::Ping(_)
                | ClientUser::Nobody,
            )
            | None => false,
        }
    }

    /// A connection is gone: each thing that used it hears of it for itself, for they are of many calls.
    pub(super) fn on_connection_closed(&mut self, flow: Flow, now: Now) {
        let ffi = |key: slotmap::KeyData| key.as_ffi();
        let legs = self.legs.iter().filter(|(_, leg)| leg.is_on(flow.connection));
        let legs = legs.map(|(key, _)| Owner::Leg(ffi(slotmap::Key::data(&key))));
        let servers = self.wire.servers_on(flow.connection);
        let servers = servers.map(|key| Owner::Server(ffi(slotmap::Key::data(&key))));
        let owners: Vec<Owner> = legs.chain(servers).collect();
        self.subscriptions.values_mut().for_each(|held| held.on_closed(flow.connection));
        for owner in owners {
            self.step(Stimulus::Closed { flow, owner }, now);
        }
    }

    /// A request left by a connection that is gone since (RFC 3261 §8.1.3.1). An INVITE of which not even a 100 came back is
    /// taken for one that did not arrive; everything else waits for its answer, which may come by another connection
    /// (§18.2.2): a target that rings is not given up, and no call that is up.
    pub(super) fn on_lost(&mut self, flow: Flow, token: SendToken, now: Now) {
        let key = client_of(token);
        let is_call = matches!(self.wire.client_user(key), Some(ClientUser::Leg(_, Purpose::Invite)));
        if is_call && self.wire.is_unheard(key) {
            self.step(Stimulus::Closed { flow, owner: Owner::Client(token.0) }, now);
        }
    }

    /// A datagram does not arrive (RFC 3261 §18.4). Whoever says so has seen it, for it quotes the branch of a request of which
    /// nothing came back; then all that begin something new there fail, and are tried elsewhere. A request outside calls has no
    /// provisional response that would tell whether it arrived (RFC 4320 §4.1): it fails where the only copy of it is quoted,
    /// and else waits for Timer F, lest it be delivered twice. What belongs to a call that is up goes on as long as its timers
    /// let it.
    pub(super) fn on_unreachable(&mut self, flow: Flow, quote: &[u8], now: Now) {
        let Some(branch) = quoted_branch(quote) else { return };
        let named = client_of_branch(branch).filter(|key| self.wire.has_branch(*key, branch));
        let Some(named) =
            named.filter(|key| self.wire.is_unheard(*key) && self.wire.client_flow(*key) == Some(flow))
        else {
            return;
        };
        let is_lost = self.wire.was_sent_once(named);
        let fails = |token, user| match user {
            ClientUser::Leg(_, Purpose::Invite) | ClientUser::Ping(_) => true,
            ClientUser::Standalone(_) => is_lost && client_of(token) == named,
            ClientUser::Leg(
                _,
                Purpose::Offer
                | Purpose::Bye
                | Purpose::Prack
                | Purpose::Notify
                | Purpose::Carry(_)
                | Purpose::Info,
            )
            | ClientUser::Subscription(..)
            | ClientUser::Nobody => false,
        };
        for (token, user) in self.wire.unheard_at(flow) {
            if fails(token, user) {
                self.step(Stimulus::Closed { flow, owner: Owner::Client(token.0) }, now);
            }
        }
    }

    /// A transport error of what was sent with this token.
    fn on_undeliverable(&mut self, token: SendToken, now: Now) {
        let is_left = self.is_left(token);
        if let Some(unanswered) = self.wire.on_undeliverable(token, is_left, now) {
            self.on_no_answer(unanswered, 503, now);
        }
    }

    fn touched(&mut self) -> Touched {
        let [clients, servers] = self.wire.touched();
        let mut all = std::mem::take(&mut self.calls.notes().touched);
        for touched in [std::mem::take(&mut self.legs.notes().touched), clients, servers] {
            touched.into_iter().for_each(|journal| touch(&mut all, journal));
        }
        all
    }

    fn keep(&mut self, mark: Mark, message: &[u8]) {
        let touched = self.touched();
        let begun: SmallVec<[uuid::Uuid; 1]> = {
            let created = self.calls.notes().created.clone();
            created.into_iter().filter_map(|key| Some(self.calls.get(key)?.id)).collect()
        };
        if !touched.is_empty() || !begun.is_empty() {
            let calls = self.calls.notes().created_keys();
            let legs = self.legs.notes().created_keys();
            let [clients, servers] = self.wire.created();
            let ended = std::mem::take(&mut self.calls.notes().removed);
            let print = print(self.wire.outputs.range(mark.outputs.min(self.wire.outputs.len())..));
            let deed = Deed {
                head: mark,
                message,
                touched,
                begun,
                ended,
                keys: [&calls, &legs, &clients, &servers],
                facts: self.wire.ids.tape.recorded(),
                print,
                snapshot: &self.snapshot,
            };
            let journal = self.journals.add(deed);
            self.calls.give_created_to(journal);
            self.legs.give_created_to(journal);
            self.wire.give_created_to(journal);
        }
        self.clear_notes();
    }

    pub(crate) fn clear_notes(&mut self) {
        self.calls.notes().clear();
        self.legs.notes().clear();
        self.wire.clear_notes();
    }
}

/// The branch of the Via of a request that begins like this: ours stands first, behind the Request-URI's line.
fn quoted_branch(quote: &[u8]) -> Option<&[u8]> {
    let (_, rest) = quote.split_at_checked(memchr::memmem::find(quote, b"\r\nVia: ")? + 7)?;
    let via = rest.get(..memchr::memchr(b'\r', rest).unwrap_or(rest.len()))?;
    let branch = via.get(memchr::memmem::find(via, b";branch=")? + 8..)?;
    branch.get(..branch.iter().position(|byte| *byte == b';').unwrap_or(branch.len()))
}

/// Whether this may be the beginning of a request of this box's, before any shard is asked for it.
pub fn may_be_quoted(quote: &[u8]) -> bool {
    quoted_branch(quote).and_then(client_of_branch).is_some()
}
