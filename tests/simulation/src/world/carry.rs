//! Between the Core and the world: what it is handed, and what it wants done.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use call::{
    Command, EventKind, Flow, Input, ListenerId, MediaOrder, Output, Reply, RouteQuery, SendToken, Side,
    Stats,
};
use routing::Decision;
use sip::{Message, Method};

use super::streams::STREAMS;
use super::{BOX, Failure, Happening, STRANGER, Slot, World, call_of_number, setup};
use crate::phone::Phone;
use crate::script::{CalleeScript, Outcome, Route};

/// More outputs than this for one input are a storm. The most comes of ending seven calls at once.
const STORM: usize = 400;

type Done = Result<(), Box<Failure>>;

impl World {
    /// Hands the Core something and carries out what it says.
    pub(super) fn input(&mut self, shard: usize, input: Input<'_>) -> Done {
        let now = self.now();
        self.cores[shard].handle(input, now);
        self.carry_out(shard)
    }

    pub(super) fn carry_out(&mut self, shard: usize) -> Done {
        let mut outputs = 0;
        while let Some(output) = self.cores[shard].poll_output() {
            outputs += 1;
            if outputs > STORM {
                return Err(
                    self.failure(None, format!("one input gives more than {STORM} outputs: {output:?}"))
                );
            }
            match output {
                Output::Send { flow, bytes, token } => self.send(shard, flow, bytes, token),
                Output::Route(query) => self.route(shard, &query),
                Output::Resolve { query, host, .. } => self.resolve(shard, query, &host),
                Output::Media(order) => self.order(shard, &order)?,
                Output::OpenCdr { fact, state } => {
                    if let Some(state) = state {
                        let shards = u16::try_from(self.cores.len()).unwrap_or(1);
                        let found = call::shard_of_kept(&state, &["main", "streams"], shards);
                        if found.as_ref().is_ok_and(|found| usize::from(*found) != shard) || found.is_err() {
                            let what =
                                format!("expected a call that shard {shard} can go on with, got {found:?}");
                            self.oracle.fail(None, what);
                        }
                    }
                    self.oracle.opened(&fact);
                }
                Output::Cdr(fact) => {
                    let (attempt, last) = (fact.attempt, if fact.is_last { ", the last" } else { "" });
                    let text = format!(
                        "record of attempt {attempt}{last}: {:?} {:?}",
                        fact.disposition, fact.ended_by
                    );
                    self.tape.note(self.now, self.oracle.call_of_record(&fact), text);
                    self.oracle.recorded(*fact);
                }
                Output::Binding(_) if self.scripts.iter().any(|script| script.route == Route::User) => {}
                Output::Binding(_) => self.oracle.fail(None, "a registration where nobody may register"),
                Output::Event(event) => {
                    if let (Some(uuid), EventKind::CallStarted { called, .. }) = (event.call, &event.kind) {
                        let call = call_of_number(called);
                        self.begun.push((shard, call, uuid));
                        call.map(|call| self.calls.insert(call, uuid));
                    }
                }
                Output::NoStreams(_)
                | Output::Peer(_)
                | Output::Aside(_)
                | Output::ServerAside(_)
                | Output::Reply { .. } => {}
            }
        }
        self.check()
    }

    /// Asks a Core how much it holds, the way an operator does.
    pub(super) fn stats(&mut self, shard: usize) -> Result<Stats, Box<Failure>> {
        let now = self.now();
        self.cores[shard].handle(Input::Command { id: 99, command: Command::Stats }, now);
        while let Some(output) = self.cores[shard].poll_output() {
            if let Output::Reply { id: 99, reply: Reply::Stats(stats) } = output {
                return Ok(*stats);
            }
        }
        Err(self.failure(None, "no answer to Command::Stats"))
    }

    fn route(&mut self, shard: usize, query: &RouteQuery) {
        if let Some(call) = query.call {
            self.oracle.routed(call);
            let number = self.calls.iter().find(|(_, uuid)| **uuid == call).map(|(number, _)| *number);
            self.questions.extend(number.map(|number| ((shard, query.query), number)));
        }
        let decision: Decision = query.snapshot.decide(&routing::Query {
            trunk: query.trunk,
            source: query.source,
            caller: &query.caller,
            uri: &query.uri,
            local_user: query.local_user,
        });
        if self.chance.happens(self.habits.forgets) {
            return self.tape.note(self.now, None, "routing never answers");
        }
        let after = self.chance.up_to(self.habits.routing);
        self.schedule(after, Happening::Routed { shard, query: query.query, decision });
    }

    fn resolve(&mut self, shard: usize, query: call::QueryId, host: &str) {
        if self.chance.happens(self.habits.forgets) {
            return self.tape.note(self.now, None, "a name is never found");
        }
        let unknown = self.chance.happens(self.habits.unknown_names);
        let addresses = if unknown { Vec::new() } else { setup::address_of(host) };
        let after = self.chance.up_to(self.habits.names);
        self.schedule(after, Happening::Resolved { shard, query, addresses, call: None });
    }

    fn order(&mut self, shard: usize, order: &MediaOrder) -> Done {
        if let (MediaOrder::Open { session, .. }, Some(call)) = (order, self.routed) {
            self.sessions.insert(call, *session);
        }
        if let MediaOrder::Describe { session, .. } = order {
            let of_session = self.sessions.iter().find(|(_, of)| *of == session).map(|(call, _)| *call);
            if of_session.is_some_and(|call| self.oracle.calls[call].is_mixed()) {
                self.relay.mix(*session);
            }
        }
        let exhausted = self.chance.happens(self.habits.refusals);
        match self.relay.order(order, exhausted) {
            Ok(Some(_)) if self.chance.happens(self.habits.forgets) => {
                self.tape.note(self.now, None, format!("the relay never answers {order:?}"));
            }
            // One delay for all orders: those of a session are answered in order.
            Ok(Some(report)) => self.schedule(self.habits.relay, Happening::Media { shard, report }),
            Ok(None) => {}
            Err(what) => return Err(self.failure(None, format!("relay: {what}"))),
        }
        Ok(())
    }

    fn send(&mut self, shard: usize, flow: Flow, bytes: Bytes, token: SendToken) {
        let to = flow.remote;
        // Without rport in what it repeats the port is the one that Via says (RFC 3261 §18.2.2).
        if to.ip() == STRANGER.ip() {
            self.oracle.sent_to_stranger(&bytes);
            return self.transmit(BOX, to, bytes);
        }
        self.oracle.sent(self.now, &bytes, &self.relay);
        let id = sip::call_id_of(&bytes).map(<[u8]>::to_vec).unwrap_or_default();
        self.make_slot(&id, to, &bytes);
        let unreachable = self.slots.get(&id).is_some_and(|slot| slot.script.outcome == Outcome::Unreachable);
        let refused = token != SendToken::NONE && self.chance.happens(self.habits.undeliverable);
        if unreachable || refused {
            let call = self.oracle.call_of(&id).map(|(call, _)| call);
            self.tape.note(self.now, call, format!("unreachable: {}", crate::tape::brief(&bytes)));
            if token != SendToken::NONE {
                self.schedule(
                    Duration::from_millis(2),
                    Happening::Undeliverable { shard, token, call, bytes },
                );
            }
            return;
        }
        if flow.listener == STREAMS {
            return self.send_on_stream(shard, flow, &bytes, token);
        }
        self.transmit(BOX, to, bytes);
    }

    /// Decides which target of its script a new leg has reached.
    fn make_slot(&mut self, id: &[u8], to: SocketAddr, bytes: &Bytes) {
        let is_target = matches!(to.ip(), IpAddr::V4(ip) if matches!(ip.octets()[0], 203 | 198));
        if !is_target || self.slots.contains_key(id) {
            return;
        }
        let Some((call, _)) = self.oracle.call_of(id) else { return };
        if !Message::parse(bytes).is_ok_and(|message| message.method() == Method::Invite) {
            return;
        }
        let before = self.slots.values().filter(|slot| slot.call == call).count();
        let callees = &self.scripts[call].callees;
        let script = callees.get(before).or(callees.last()).cloned().unwrap_or_else(CalleeScript::plain);
        self.slots.insert(id.to_vec(), Slot { call, address: to, script, phone: None });
    }

    pub(super) fn arrive(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) -> Done {
        if to == BOX {
            let flow = Flow { listener: ListenerId(0), remote: from, connection: 0 };
            return self.arrive_at_box(flow, &bytes);
        }
        if self.hear_registrar(to, &bytes) {
            return Ok(());
        }
        if let Some(at) = (0..self.callers.len()).find(|&at| super::caller_address(at) == to) {
            let now = self.now;
            let ours = sip::call_id_of(&bytes) == Some(self.callers[at].call_id().as_bytes());
            let unasked = |message: &Message<'_>| !message.is_request() && !self.callers[at].asked(message);
            if self.by_hand && Message::parse(&bytes).is_ok_and(|message| unasked(&message)) {
                self.strays.push((to, bytes));
                return Ok(());
            }
            if ours {
                self.callers[at].receive(&bytes, now);
                return self.drain_caller(at);
            }
        }
        let id = sip::call_id_of(&bytes).map(<[u8]>::to_vec).unwrap_or_default();
        if self.slots.contains_key(&id) {
            return self.arrive_at_callee(&id, to, &bytes);
        }
        self.strays.push((to, bytes));
        Ok(())
    }

    pub(super) fn arrive_at_box(&mut self, flow: Flow, bytes: &Bytes) -> Done {
        let from = flow.remote;
        let shard = self.shard_of(bytes);
        if from == STRANGER {
            self.oracle.strange();
            self.input(shard, Input::Message { flow, bytes })?;
            self.oracle.strange_handled(bytes);
        } else {
            self.oracle.received(self.now, bytes);
            self.input(shard, Input::Message { flow, bytes })?;
            self.oracle.handled(self.now, bytes);
        }
        self.check()
    }

    fn arrive_at_callee(&mut self, id: &[u8], to: SocketAddr, bytes: &Bytes) -> Done {
        let now = self.now;
        let mut chance = self.chance.apart();
        let Some(slot) = self.slots.get_mut(id) else { return Ok(()) };
        if slot.script.outcome == Outcome::Deaf || slot.address != to {
            return Ok(());
        }
        if slot.phone.is_none() {
            let Ok(message) = Message::parse(bytes) else { return Ok(()) };
            if message.method() != Method::Invite || !message.is_request() {
                return Ok(());
            }
            let phone = Phone::callee(to, &message, slot.script.clone(), chance.apart());
            let side = self.oracle.call_of(id).map_or(Side::B, |(_, side)| side);
            self.oracle.keep_secrets(slot.call, side, phone.secrets());
            slot.phone = Some(phone);
        }
        if let Some(phone) = &mut slot.phone {
            phone.receive(bytes, now);
        }
        self.drain_callee(id)
    }

    pub(super) fn drain_caller(&mut self, at: usize) -> Done {
        let from = super::caller_address(at);
        let phone = &mut self.callers[at];
        let complaint = phone.complaints.pop();
        let stream = phone.is_on_stream();
        for bytes in std::mem::take(&mut phone.outbox) {
            match stream {
                true => self.phone_sends_on_stream(from, &bytes),
                false => self.transmit(from, BOX, bytes),
            }
        }
        match complaint {
            Some(what) => Err(self.failure(Some(at), format!("the caller complains: {what}"))),
            None => Ok(()),
        }
    }

    pub(super) fn drain_callee(&mut self, id: &[u8]) -> Done {
        let Some(slot) = self.slots.get_mut(id) else { return Ok(()) };
        let Some(phone) = &mut slot.phone else { return Ok(()) };
        let (from, call) = (slot.address, slot.call);
        let complaint = phone.complaints.pop();
        let stream = phone.is_on_stream();
        for bytes in std::mem::take(&mut phone.outbox) {
            match stream {
                true => self.phone_sends_on_stream(from, &bytes),
                false => self.transmit(from, BOX, bytes),
            }
        }
        match complaint {
            Some(what) => Err(self.failure(Some(call), format!("the callee complains: {what}"))),
            None => Ok(()),
        }
    }
}
