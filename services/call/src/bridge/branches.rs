//! Branches: several targets of one call that are tried at the same time (RFC 3261 §16.6, §16.7).
//!
//! Candidates come in groups, and a group in lines. All lines of a group are tried at once, the candidates of a line one
//! after the other; the next group begins when no line of this one is left. The ordinary call has one group with one
//! line, so that it has one branch at a time and none of what follows costs it anything.
//!
//! A call speaks of one branch: its leg is [`Call::b`], its record the record's `attempt`, its candidate the setup's
//! `current`. The others wait in [`Call::others`]. When one of them has something to say they change places
//! ([`Call::focus`]), so that the table and its orders need to know of one branch only; the one that answered is
//! the one that stays.

use std::sync::Arc;

use bytes::Bytes;
use routing::{Tags, TrunkId};
use sip::Message;

use super::orders::Follow;
use super::table::Event;
use super::{Attempt, Call, CallKey, Candidate, Cause, Reach};
use crate::cdr::{EndedBy, Origin};
use crate::core::Core;
use crate::io::{EventKind, Now, Output, QueryId, TlsVersion};
use crate::leg::{Leg, LegKey};
use crate::media::{MediaOrder, Side};

/// Said to those who are called no longer because somebody else answered (row C12, RFC 3326).
const ELSEWHERE: &[u8] = b"SIP;cause=200;text=\"Call completed elsewhere\"";

/// A target that is tried while the call speaks of another.
#[derive(Debug)]
pub(crate) struct Branch {
    /// `None` while its address is being found.
    pub(crate) leg: Option<LegKey>,
    pub(crate) attempt: Attempt,
    pub(crate) candidate: Option<Candidate>,
    /// The question for its address.
    pub(crate) query: Option<QueryId>,
}

/// What a target that failed said, kept because another may fail with something that says less.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    /// Absent when nobody said it: no answer, no address.
    pub(crate) response: Option<Bytes>,
}

impl Call {
    /// Makes the branch of this leg the one that the call speaks of; whether there is one.
    pub(crate) fn focus_leg(&mut self, leg: LegKey) -> bool {
        if self.b == Some(leg) {
            return true;
        }
        let found = self.others.iter().position(|branch| branch.leg == Some(leg));
        found.is_some_and(|index| self.change_places(index))
    }

    /// The same for the branch of this attempt.
    pub(crate) fn focus(&mut self, attempt: u32) -> bool {
        if self.record.attempt.number == attempt {
            return true;
        }
        let found = self.others.iter().position(|branch| branch.attempt.number == attempt);
        found.is_some_and(|index| self.change_places(index))
    }

    /// The same for the branch whose address was asked for with this question.
    pub(crate) fn focus_query(&mut self, query: QueryId) -> bool {
        if self.setup.as_ref().is_some_and(|setup| setup.query == Some(query)) {
            return true;
        }
        let found = self.others.iter().position(|branch| branch.query == Some(query));
        found.is_some_and(|index| self.change_places(index))
    }

    /// A call that ends without a word of its targets tells in its last record of the one that came furthest.
    pub(crate) fn focus_furthest(&mut self) {
        let came = |attempt: &Attempt| (attempt.ringing.is_some(), attempt.destination.is_some());
        let here = came(&self.record.attempt);
        let furthest = self.others.iter().enumerate().max_by_key(|(_, branch)| came(&branch.attempt));
        if let Some((index, branch)) = furthest
            && came(&branch.attempt) > here
        {
            self.change_places(index);
        }
    }

    fn change_places(&mut self, index: usize) -> bool {
        let Some(branch) = self.others.get_mut(index) else { return false };
        std::mem::swap(&mut self.b, &mut branch.leg);
        std::mem::swap(&mut self.record.attempt, &mut branch.attempt);
        if let Some(setup) = &mut self.setup {
            std::mem::swap(&mut setup.current, &mut branch.candidate);
            std::mem::swap(&mut setup.query, &mut branch.query);
        }
        true
    }

    /// What the caller's trunk and the route that decided have for the records of this call.
    pub(crate) fn tagged(&mut self, route: Option<&Arc<Tags>>) {
        let trunk = self.trunk_in.and_then(|trunk| self.snapshot.trunk(trunk));
        let tags = Tags::merged(trunk.and_then(|trunk| trunk.tags.as_ref()), route);
        if let Some(setup) = &mut self.setup {
            setup.tags.clone_from(&tags);
        }
        self.record.attempt.tags = tags;
    }

    /// A limit of the trunk that it would have gone to refuses it.
    pub(crate) fn no_room_at(&mut self, trunk: Option<TrunkId>) {
        let Some(trunk) = trunk.and_then(|trunk| self.snapshot.trunk(trunk)) else { return };
        let attempt = &mut self.record.attempt;
        attempt.trunk_out = Some(trunk.name.as_str().into());
        attempt.tags = Tags::merged(attempt.tags.as_ref(), trunk.tags.as_ref());
    }

    /// The URIs of all that were tried or are being tried.
    pub(crate) fn tried_uris(&self) -> impl Iterator<Item = &[u8]> + '_ {
        let setup = self.setup.as_deref();
        let before = setup.into_iter().flat_map(|setup| setup.tried.iter().map(|uri| &**uri));
        let current = setup.and_then(|setup| setup.current.as_ref());
        let others = self.others.iter().filter_map(|branch| branch.candidate.as_ref());
        before.chain(current.into_iter().chain(others).map(|candidate| &*candidate.uri))
    }

    /// Whether a name is being looked up.
    pub(crate) fn is_resolving(&self) -> bool {
        self.queries().next().is_some()
    }

    /// Whether it is not known yet who will be invited.
    pub(crate) fn is_being_routed(&self) -> bool {
        self.setup.as_ref().is_some_and(|setup| setup.query.is_some() && setup.current.is_none())
    }

    /// What the outside was asked and has not answered.
    pub(crate) fn queries(&self) -> impl Iterator<Item = QueryId> + '_ {
        let asked = self.setup.as_ref().and_then(|setup| setup.query);
        asked.into_iter().chain(self.others.iter().filter_map(|branch| branch.query))
    }
}

impl Core {
    /// Begins what is next: the next candidate of the line that failed, else all lines of the next group.
    pub(super) fn next_target<'m>(&mut self, key: CallKey, follow: &mut Follow<'m>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(setup) = call.setup.as_mut() else { return };
        let failed = setup.current.take();
        let was_inside = failed.as_ref().is_some_and(Candidate::is_inside);
        let line = failed.map(|failed| {
            let line = failed.line();
            setup.tried.push(failed.uri);
            line
        });
        let next = setup.targets.iter().position(|candidate| Some(candidate.line()) == line);
        if let Some(candidate) = next.and_then(|index| setup.targets.remove(index)) {
            return self.begin_branch(key, candidate, follow, now);
        }
        if let Some(other) = call.others.pop() {
            call.b = other.leg;
            call.record.attempt = other.attempt;
            setup.current = other.candidate;
            setup.query = other.query;
            return;
        }
        let Some(first) = setup.targets.pop_front() else {
            // No shard has the dialog that a REFER named: then it is one of the target's own.
            let asked_by = call.asked_by().filter(|_| was_inside);
            if asked_by.is_some_and(|side| self.route_target(key, side, now)) {
                return;
            }
            follow.push_back(Cause::new(Event::Refused).status(480).by(EndedBy::Error));
            return;
        };
        let group = first.group;
        let mut begun = first.line().1;
        self.begin_branch(key, first, follow, now);
        // Lines of a group are numbered upwards.
        while let Some(candidate) = self.next_line(key, group, begun) {
            begun = candidate.line;
            self.begin_branch(key, candidate, follow, now);
        }
    }

    /// Takes the first candidate of the line after this one out of those that wait.
    fn next_line(&mut self, key: CallKey, group: u16, line: u16) -> Option<Candidate> {
        let targets = &mut self.calls.get_mut(key)?.setup.as_mut()?.targets;
        let next = targets.iter().position(|other| other.group == group && other.line > line)?;
        targets.remove(next)
    }

    /// Another attempt begins: with the invitation, or with finding out where it goes.
    fn begin_branch(&mut self, key: CallKey, candidate: Candidate, follow: &mut Follow<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let (parent, target_side) = (call.talking_attempt(), call.target_side());
        let Some(setup) = call.setup.as_mut() else { return };
        call.record.attempts += 1;
        let number = call.record.attempts;
        let trunk = candidate.trunk.and_then(|id| call.snapshot.trunk(id));
        let attempt = Attempt {
            number,
            started_at: now.utc,
            started: now.time,
            rank: candidate.rank,
            origin: match (parent, candidate.hops, setup.current.is_some()) {
                (Some(_), ..) => Origin::Transfer,
                (None, 1.., _) => Origin::Redirect,
                (None, 0, true) => Origin::Fork,
                (None, 0, false) if number > 1 => Origin::Failover,
                (None, 0, false) => Origin::Route,
            },
            parent,
            on_a: target_side == Side::A,
            trunk: candidate.trunk,
            trunk_out: trunk.map(|trunk| trunk.name.as_str().into()),
            tags: Tags::merged(setup.tags.as_ref(), trunk.and_then(|trunk| trunk.tags.as_ref())),
            ..Attempt::default()
        };
        let query = match &candidate.reach {
            Reach::Flow { .. } => {
                follow.push_back(Cause::new(Event::Resolved).branch(number));
                None
            }
            Reach::Name { host, port, transport, secure } => {
                let query = self.queries.ask(key);
                self.wire.outputs.push_back(Output::Resolve {
                    query,
                    host: host.clone(),
                    port: *port,
                    transport: *transport,
                    secure: *secure,
                    draw: self.wire.ids.random(),
                });
                Some(query)
            }
        };
        let before = std::mem::replace(&mut call.record.attempt, attempt);
        let candidate = setup.current.replace(candidate);
        let asked = std::mem::replace(&mut setup.query, query);
        if candidate.is_some() {
            let leg = call.b.take();
            call.others.push(Branch { leg, attempt: before, candidate, query: asked });
        }
        // One that is not looked up is invited in this very step.
        if query.is_some() {
            self.open_record(key, now);
        }
    }

    /// A target was heard over a connection that speaks this.
    pub(crate) fn heard_over(&mut self, leg: LegKey, version: TlsVersion) {
        let call = self.legs.get(leg).and_then(|leg| leg.call);
        let Some(call) = call.and_then(|call| self.calls.get_mut(call)) else { return };
        let attempt = if call.b == Some(leg) {
            Some(&mut call.record.attempt)
        } else {
            call.others.iter_mut().find(|branch| branch.leg == Some(leg)).map(|branch| &mut branch.attempt)
        };
        if let Some(attempt) = attempt {
            attempt.tls = Some(version);
        }
    }

    /// Tells the journal how far the attempt is that the call speaks of.
    pub(crate) fn open_record(&mut self, key: CallKey, now: Now) {
        let state = self.kept(key);
        self.open_record_with(key, state, now);
    }

    /// The same with what another process needs to go on with the call.
    pub(crate) fn open_record_with(&mut self, key: CallKey, state: Option<Box<[u8]>>, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let fact = Box::new(call.record.standing(&call.record.attempt, call.id, now));
        self.wire.outputs.push_back(Output::OpenCdr { fact, state });
    }

    /// Writes the record of the branch that failed, and lets go of its leg.
    pub(super) fn record_attempt(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.record.attempt.ended_by = cause.by;
        let early = call.setup.as_ref().and_then(|setup| setup.early);
        // The target of a transfer is not described to the relay before it is joined.
        if call.transfer.is_none() && (call.others.is_empty() || early == call.b) {
            if early.is_some() && early == call.b && call.media.is_open() {
                call.record.leave_out();
                let session = call.media.id;
                self.wire.outputs.push_back(Output::Media(MediaOrder::Count { session }));
            }
            call.media.forget(Side::B, &mut self.wire);
        }
        let leg = call.b.take();
        call.former.extend(leg);
        let attempt = std::mem::take(&mut call.record.attempt);
        self.tell_attempt(key, leg, attempt, now);
    }

    /// An attempt is over for its call: its row, as soon as its leg has heard how it ended.
    fn tell_attempt(&mut self, key: CallKey, leg: Option<LegKey>, mut attempt: Attempt, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        // Its place at its trunk is free, also where it has answered in vain.
        if let Some(kind) = attempt.ended_event() {
            self.wire.event(Some(call.id), kind);
        }
        let told = leg.and_then(|key| self.legs.get(key));
        // A 2xx that waited for ports or for a PRACK of the caller.
        let heard = told.map(|leg| leg.final_status).filter(|status| *status != 0);
        attempt.status = attempt.status.or(heard);
        let fact = Box::new(call.record.fact(&attempt, call.id, false, now));
        match leg.filter(|_| heard.is_none() && told.is_some_and(|leg| !leg.is_over())) {
            Some(leg) => {
                self.wire.outputs.push_back(Output::OpenCdr { fact: fact.clone(), state: None });
                call.record.wait_for(leg, attempt, fact);
            }
            None => self.wire.outputs.push_back(Output::Cdr(fact)),
        }
    }

    /// Writes the rows of attempts that were given up and will say nothing more.
    pub(crate) fn tell_given_up(&mut self, key: CallKey) {
        let legs = &self.legs;
        let is_over = |leg: LegKey| legs.get(leg).is_none_or(Leg::is_over);
        if !self.calls.get(key).is_some_and(|call| call.record.waits_for().any(is_over)) {
            return;
        }
        if let Some(call) = self.calls.get_mut(key) {
            self.wire.outputs.extend(call.record.take_given_up(is_over).map(Output::Cdr));
        }
    }

    /// Gives up every branch but the one that the call speaks of, with a record each (row C12; C11 where the caller left).
    pub(super) fn drop_branches(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.others.is_empty() {
            return;
        }
        let carried = cause.reason_value();
        let refused;
        let (reason, by) = if cause.event == Event::Answered {
            (Some(ELSEWHERE), EndedBy::Policy)
        } else if cause.event == Event::Refused {
            // RFC 3261 §16.7 item 5: one refused for all places where the callee could be.
            refused = format!("SIP;cause={}", cause.status);
            (Some(refused.as_bytes()), EndedBy::Policy)
        } else {
            (carried.as_deref(), call.gave_up(cause).unwrap_or(EndedBy::Policy))
        };
        for mut branch in std::mem::take(&mut call.others) {
            if let Some(query) = branch.query {
                self.queries.forget(query);
            }
            if let Some(leg_key) = branch.leg {
                if let Some(leg) = self.legs.get_mut(leg_key) {
                    leg.hang_up(leg_key, &mut self.wire, reason, now);
                }
                if let Some(call) = self.calls.get_mut(key) {
                    call.former.push(leg_key);
                }
            }
            branch.attempt.ended_by = Some(by);
            branch.attempt.dropped = true;
            self.tell_attempt(key, branch.leg, branch.attempt, now);
        }
    }

    /// What becomes of the call when the branch that it speaks of gave this status, or was given up with it. The
    /// failure comes back where the caller is to hear of an earlier one.
    pub(crate) fn failure(
        &mut self,
        key: CallKey,
        status: u16,
        response: Option<&Message<'_>>,
        goes_on: GoesOn,
    ) -> (Event, Option<Failure>) {
        let Some(call) = self.calls.get_mut(key) else { return (Event::Refused, None) };
        let alive = !call.others.is_empty();
        let Some(setup) = call.setup.as_mut() else { return (Event::Refused, None) };
        let line = setup.current.as_ref().map(Candidate::line);
        let elsewhere = goes_on == GoesOn::Elsewhere;
        let by_rule = match goes_on {
            GoesOn::Elsewhere | GoesOn::Always => true,
            GoesOn::Unreached => line.is_some_and(|line| setup.has_alternative(line)),
            GoesOn::AsListed => {
                line.into_iter().for_each(|line| setup.drop_alternatives(line));
                false
            }
        };
        let listed = |status: u16| setup.failover.contains(&status);
        let goes_on = by_rule || listed(status);
        if !goes_on {
            setup.targets.retain(|candidate| Some(candidate.line()) != line);
        }
        let more = setup.targets.iter().any(|candidate| Some(candidate.line()) == line);
        let weight = |status: u16| weight(status, setup.failover.contains(&status));
        let best = setup.best.as_ref().filter(|best| weight(best.status) < weight(status));
        let told = best.map_or(status, |best| best.status);
        let next_group = !setup.targets.is_empty() && (listed(told) || goes_on && best.is_none());
        let event = if !goes_on && status >= 600 {
            Event::Refused
        } else if alive {
            Event::BranchFailed
        } else if more || next_group {
            Event::TargetFailed
        } else {
            Event::Refused
        };
        if elsewhere {
            return (event, None);
        }
        if best.is_none() {
            let response = response.filter(|_| event != Event::Refused);
            let response = response.map(|response| Bytes::copy_from_slice(response.bytes()));
            setup.best = Some(Failure { status, response });
            return (event, None);
        }
        (event, if event == Event::Refused { setup.best.take() } else { None })
    }
}

/// Whether the next candidate of a line is tried after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GoesOn {
    /// As the route's list of codes says.
    AsListed,
    /// To another server of the same name in any case, for this one was not reached or takes nothing (RFC 3263 §4.3);
    /// else as the list says.
    Unreached,
    /// In any case: the target was not found.
    Always,
    /// In any case, and it was no failure: the target named others.
    Elsewhere,
}

/// How much a response says to the caller, the least first (RFC 3261 §16.7 item 6): one for all places, then the lowest
/// class, and 503, which is about a hop, only when there is nothing else. A code that does not move the call on is an
/// answer; one that does says only that this target could give none.
fn weight(status: u16, moves_on: bool) -> (bool, u16) {
    let class = match status {
        600.. => 0,
        503 => 9,
        _ => status / 100,
    };
    (moves_on, class)
}

impl Attempt {
    /// For an attempt that was begun, the event of its end.
    pub(super) fn ended_event(&self) -> Option<EventKind> {
        self.destination?;
        Some(EventKind::AttemptEnded {
            attempt: self.number,
            trunk: self.trunk,
            status: self.status.unwrap_or(0),
        })
    }
}
