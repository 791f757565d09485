//! Exchanging a side of a call that is up: the target of a REFER is called, takes its place, and is described to the
//! side that stays.
//!
//! While targets are tried the call's branches are theirs, as they were the callee's before the call was answered;
//! the callee of the talk that goes on meanwhile and the record of its attempt stand aside in [`Transfer`].
//!
//! The target is routed like a call of the side that stays, by what the trunk of the side that leaves may call: who
//! transfers a call answers for where it goes.

use bytes::Bytes;
use routing::TrunkId;
use sip::{Message, Sdp};

use super::orders::Follow;
use super::session::without_hold;
use super::table::{Event, State};
use super::{Attempt, Call, CallKey, Candidate, Cause, Setup};
use crate::bodies::sdp_of;
use crate::cdr::{CdrFact, EndedBy, Origin};
use crate::core::{Core, RouteQuestion};
use crate::headers::dialled;
use crate::io::{Began, EventKind, Now, Output};
use crate::leg::{LegKey, Referral};
use crate::media::{MediaOrder, Side};
use crate::wire::Wire;

/// A transfer under way.
#[derive(Default)]
pub(crate) struct Transfer {
    /// The talk that goes on until a target answers.
    talk: Option<Talk>,
    /// What the newcomer described, until the side that stays has accepted it; or what is described again when nobody
    /// comes after all.
    pub(super) newcomer: Bytes,
    /// Where the newcomer is, whose own words these are then.
    trunk: Option<TrunkId>,
    /// The call whose party is wanted.
    pub(super) claimed: Option<CallKey>,
    /// The call that wants a party of this one.
    pub(super) claimant: Option<CallKey>,
    /// The leg of an INVITE that replaces one.
    pub(super) arrival: Option<LegKey>,
    /// Whether who comes is recorded, as the route or the trunk that leads to it says.
    pub(super) is_recorded: bool,
}

/// What of a call is the target's while one is tried.
struct Talk {
    b: LegKey,
    attempt: Attempt,
    route: Option<Box<str>>,
}

impl Transfer {
    /// Another call wants a party of this one, which was last told `stood` of the other.
    pub(super) fn claimed_by(claimant: CallKey, stood: Vec<u8>) -> Transfer {
        Transfer { claimant: Some(claimant), newcomer: stood.into(), ..Transfer::default() }
    }

    /// The attempt that brought those together who talk while a target is tried.
    pub(super) fn talking(&self) -> Option<&Attempt> {
        self.talk.as_ref().map(|talk| &talk.attempt)
    }

    /// The same.
    pub(super) fn talk(&mut self) -> Option<&mut Attempt> {
        self.talk.as_mut().map(|talk| &mut talk.attempt)
    }

    /// This leg is to take a place.
    pub(crate) fn arrival(leg: LegKey) -> Transfer {
        Transfer { arrival: Some(leg), ..Transfer::default() }
    }
}

impl Call {
    /// The callee of the talk that goes on while targets of a transfer are tried.
    pub(crate) fn talking_callee(&self) -> Option<LegKey> {
        self.transfer.as_ref()?.talk.as_ref().map(|talk| talk.b)
    }

    /// The attempt that brought those together who talk, and the route that it took: while a target is tried what the record
    /// speaks of is the target's.
    pub(crate) fn talk(&self) -> (&Attempt, Option<&str>) {
        match self.transfer.as_ref().and_then(|transfer| transfer.talk.as_ref()) {
            Some(talk) => (&talk.attempt, talk.route.as_deref()),
            None => (&self.record.attempt, self.record.route.as_deref()),
        }
    }

    /// The number of the attempt that brought them together.
    pub(crate) fn talking_attempt(&self) -> Option<u32> {
        self.transfer.as_ref()?.talk.as_ref().map(|talk| talk.attempt.number)
    }

    /// The leg of an INVITE that takes a place in this call.
    pub(crate) fn arrival(&self) -> Option<LegKey> {
        self.transfer.as_ref()?.arrival
    }

    /// On which side a target that is invited now will be.
    pub(super) fn target_side(&self) -> Side {
        self.asked_by().unwrap_or(Side::B)
    }

    /// Who gave a target up: who stays in a transfer would have been its caller.
    pub(super) fn gave_up(&self, cause: &Cause<'_>) -> Option<EndedBy> {
        let left = matches!(cause.event, Event::Bye(_)) && self.talking_callee().is_some();
        if left { Some(EndedBy::Caller) } else { cause.by }
    }

    /// The side whose REFER is being followed.
    pub(crate) fn asked_by(&self) -> Option<Side> {
        match self.state {
            State::Transferring(side) | State::TransferringAlone(side) => Some(side),
            State::Routing
            | State::Opening
            | State::Resolving
            | State::Calling
            | State::Ringing
            | State::Answered
            | State::Up
            | State::Offering(_)
            | State::Rejoining(_)
            | State::JoinWaiting(_)
            | State::Yielding(_)
            | State::YieldingAlone(_)
            | State::Replacing(_)
            | State::ReplacingAlone(_)
            | State::Reverting(_)
            | State::Ending
            | State::Restoring
            | State::Settling
            | State::Over => None,
        }
    }
}

impl Core {
    pub(super) fn refuse_refer(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let ended = matches!(call.state, State::Ending | State::Settling | State::Over);
        let Some(tag) = call.leg(side).and_then(|leg| self.legs.get(leg)).map(|leg| leg.tag.clone()) else {
            return;
        };
        let status = if ended { 481 } else { 491 };
        if let Some(server) = cause.server {
            self.respond(server, status, None, &tag, &[], now);
        }
    }

    pub(super) fn accept_refer(
        &mut self,
        key: CallKey,
        side: Side,
        cause: &Cause<'_>,
        follow: &mut Follow<'_>,
        now: Now,
    ) {
        let (Some(refer), Some(server)) = (cause.message, cause.server) else { return };
        let Ok(referral) = Referral::read(refer) else { return };
        let Some((leaves, stays)) = self.pair(key, side) else { return };
        let Some(stays) = self.legs.get(stays).and_then(|leg| leg.dialog.as_ref()) else { return };
        let from = stays.remote_uri.clone();
        let (Some(call), Some(leg)) = (self.calls.get_mut(key), self.legs.get_mut(leaves)) else { return };
        call.referrals = call.referrals.saturating_add(1);
        leg.accept_refer(refer, referral.silent, server, &mut self.wire, now);
        if !referral.silent {
            leg.subscribe(leaves, refer, call.referrals, &mut self.wire, now);
        }
        // What the one who leaves was told last of the one who stays; a hold was between these two.
        let offer = without_hold(leg.session.standing());
        let Some(b) = call.b.take() else { return };
        let record = &mut call.record;
        let talk = Talk { b, attempt: std::mem::take(&mut record.attempt), route: record.route.take() };
        call.transfer = Some(Box::new(Transfer { talk: Some(talk), ..Transfer::default() }));
        if let Some(named) = referral.replaces.as_deref().and_then(|replaces| self.leg_named(replaces)) {
            return self.claim(key, side, named, &offer, follow, now);
        }
        let invite = referral.invite(refer, &from, Some(&*offer).filter(|offer| !offer.is_empty()));
        let elsewhere = referral.replaces.as_deref().and_then(|replaces| self.shard_with(replaces));
        let inside = elsewhere.map(|shard| Candidate::inside(shard, &referral.uri));
        let Some(call) = self.calls.get_mut(key) else { return };
        let is_inside = inside.is_some();
        call.setup =
            Some(Box::new(Setup { invite, targets: inside.into_iter().collect(), ..Setup::default() }));
        if is_inside {
            follow.push_back(Cause::new(Event::Routed));
        } else {
            self.route_target(key, side, now);
        }
    }

    /// Asks where the target is that `side` named; whether it could.
    pub(super) fn route_target(&mut self, key: CallKey, side: Side, now: Now) -> bool {
        let Some(call) = self.calls.get(key) else { return false };
        let Some(asked) = call.leg(side).and_then(|leg| self.legs.get(leg)) else { return false };
        let (trunk, source) = (asked.trunk, asked.flow.remote);
        let Some(invite) = call.setup.as_ref().map(|setup| setup.invite.clone()) else { return false };
        let Ok(invite) = Message::parse(&invite) else { return false };
        let Some(uri) = invite.request_uri() else { return false };
        let caller = invite.from().map_or(&b""[..], |from| from.uri);
        self.ask_route(key, &RouteQuestion { trunk, source, caller, uri }, now);
        true
    }

    pub(super) fn notify_progress(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(response) = cause.message else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        call.record.heard(response, now);
        let status = response.status().unwrap_or(180);
        self.notify(key, side, (status, response.reason_phrase()), false, now);
    }

    pub(super) fn notify_end(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let answered = cause.event == Event::Answered;
        let response = cause.message.filter(|message| answered || message.status() == Some(cause.status));
        // That a side left says nothing of the target, which is given up.
        let left = matches!(cause.event, Event::Bye(_) | Event::Lost(_) | Event::Silent(_));
        let status = response.and_then(Message::status);
        let status = status.unwrap_or(if left || cause.status < 300 { 487 } else { cause.status });
        let phrase = response.map_or(sip::reason_phrase(status).as_bytes(), Message::reason_phrase);
        self.notify(key, side, (status, phrase), true, now);
    }

    fn notify(&mut self, key: CallKey, side: Side, line: (u16, &[u8]), is_last: bool, now: Now) {
        let Some(leg_key) = self.calls.get(key).and_then(|call| call.leg(side)) else { return };
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.notify(leg_key, line, is_last, &mut self.wire, now);
        }
    }

    /// Hangs up the target that the call speaks of and writes the record of its attempt.
    pub(super) fn drop_target(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        if let Some(target) = call.b
            && let Some(leg) = self.legs.get_mut(target)
        {
            leg.hang_up(target, &mut self.wire, cause.reason_value().as_deref(), now);
        }
        if cause.event == Event::NoRoute && call.record.attempt.number == 0 {
            self.number_refused(key, cause, now);
        }
        if self.calls.get(key).is_some_and(|call| call.record.attempt.number != 0) {
            let left = matches!(cause.event, Event::Bye(_) | Event::Lost(_) | Event::Silent(_));
            let mut by = cause.by;
            if let Some(call) = self.calls.get_mut(key) {
                call.record.attempt.dropped = left || cause.event == Event::Operator;
                by = call.gave_up(cause);
            }
            self.record_attempt(key, &Cause { by, ..*cause }, now);
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.record.attempt = Attempt::default();
        }
    }

    /// A target that routing refuses has a row as a call has: who sent the REFER answers for it.
    fn number_refused(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let parent = call.talking_attempt();
        let invite = call.setup.as_ref().map(|setup| setup.invite.clone()).unwrap_or_default();
        let invite = Message::parse(&invite).ok();
        call.record.attempts += 1;
        call.record.attempt = Attempt {
            number: call.record.attempts,
            started_at: now.utc,
            started: now.time,
            origin: Origin::Transfer,
            parent,
            called_sent: invite.and_then(|invite| dialled(invite.request_uri()?)),
            ended_by: cause.by,
            ..std::mem::take(&mut call.record.attempt)
        };
        let fact = Box::new(call.record.fact(&call.record.attempt, call.id, false, now));
        self.wire.outputs.push_back(Output::OpenCdr { fact, state: None });
    }

    /// Nothing came of a transfer: the call speaks of its callee again.
    pub(super) fn resume_talk(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        for query in call.queries() {
            self.queries.forget(query);
        }
        call.setup = None;
        let Some(transfer) = call.transfer.take() else { return };
        if let Some(talk) = transfer.talk {
            call.former.extend(call.b.replace(talk.b));
            call.record.attempt = talk.attempt;
            call.record.route = talk.route;
        }
        self.tell_who_talks(key);
        self.keep_call(key, now);
        if let Some(other) = transfer.claimed {
            self.drive(other, Cause::new(Event::Cancelled), now);
        }
    }

    /// The outside keeps places at trunks for those who talk.
    pub(super) fn tell_who_talks(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        let [trunk_a, trunk_b] = [Some(call.a), call.b]
            .map(|leg| leg.and_then(|leg| self.legs.get(leg)).and_then(|leg| leg.trunk));
        let (id, of) = (call.id, Began(call.snapshot.clone()));
        self.wire.event(Some(id), EventKind::Joined { trunk_a, trunk_b, of });
    }

    /// Tells the journal how far the attempt is that brought together those of whom one has left: nobody can go on with it.
    pub(super) fn open_talk(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let talk = call.transfer.as_ref().and_then(|transfer| transfer.talk.as_ref());
        let fact = match talk {
            Some(talk) => {
                CdrFact { route: talk.route.clone(), ..call.record.standing(&talk.attempt, call.id, now) }
            }
            None => call.record.standing(&call.record.attempt, call.id, now),
        };
        self.wire.outputs.push_back(Output::OpenCdr { fact: Box::new(fact), state: None });
    }

    /// The target answered: it is `side` of the call from now on.
    pub(super) fn join(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(response) = cause.message else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let (Some(target), Some(talk)) =
            (call.b, call.transfer.as_mut().and_then(|transfer| transfer.talk.take()))
        else {
            return;
        };
        call.setup = None;
        let b = talk.attempt.side();
        let route = std::mem::replace(&mut call.record.route, talk.route);
        let (fact, kind) = call.record.hand_over(talk.attempt, side, call.id, now);
        call.record.route = route;
        call.tell_talk(fact, b, &mut self.wire);
        if let Some(kind) = kind {
            self.wire.event(Some(call.id), kind);
        }
        call.record.heard(response, now);
        match side {
            Side::A => {
                call.former.push(std::mem::replace(&mut call.a, target));
                call.b = Some(talk.b);
            }
            Side::B => call.former.push(talk.b),
        }
        let Some(leg) = self.legs.get_mut(target) else { return };
        // A reliable response may have answered already, and the 2xx need not say it again (RFC 3262 §5).
        let described = sdp_of(response).map(Bytes::copy_from_slice).or_else(|| leg.early_description());
        let newcomer = described.unwrap_or_default();
        let fitted = Sdp::parse(&newcomer).ok().and_then(|sdp| leg.fitted(&sdp));
        let newcomer = fitted.map_or(newcomer, Bytes::from);
        // A party of another call has its ACK already.
        if leg.owes_ack() {
            leg.acknowledge(&mut self.wire, None);
        }
        if let Ok(sdp) = Sdp::parse(&newcomer) {
            call.media.describe(&sdp, side, leg, &mut self.wire);
            call.note_newcomer(side, &sdp);
        }
        if let Some(transfer) = &mut call.transfer {
            (transfer.newcomer, transfer.trunk) = (newcomer, leg.trunk);
        }
        call.wants_newcomer_recorded(leg.trunk);
        self.tell_who_talks(key);
        self.open_record(key, now);
    }

    /// Offers what the newcomer described to the other side.
    pub(super) fn offer_join(&mut self, key: CallKey, side: Side, follow: &mut Follow<'_>, now: Now) {
        let Some(transfer) = self.calls.get(key).and_then(|call| call.transfer.as_ref()) else { return };
        let (newcomer, from) = (transfer.newcomer.clone(), transfer.trunk);
        match Sdp::parse(&newcomer) {
            Ok(sdp) => {
                if !self.propose(key, side.other(), &sdp, from, now) {
                    follow.push_back(Cause::new(Event::JoinBusy));
                }
            }
            Err(_) => follow.push_back(Cause::new(Event::OfferRefused).status(488).by(EndedBy::Error)),
        }
    }

    /// The relay hears what the side that stays answered; the transfer is over.
    pub(super) fn accept_join(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let transfer = self.calls.get_mut(key).and_then(|call| call.transfer.take());
        self.take_answer(key, side.other(), cause, now);
        self.begin_wanted_recording(key, transfer.is_some_and(|transfer| transfer.is_recorded), now);
    }

    pub(super) fn forget_media(&mut self, key: CallKey, side: Side) {
        if let Some(call) = self.calls.get_mut(key) {
            call.media.forget(side, &mut self.wire);
        }
    }
}

impl Call {
    /// Two who talked do so no longer, the row's B on this side: their row waits for what the relay has counted.
    pub(super) fn tell_talk(&mut self, fact: CdrFact, b: Side, wire: &mut Wire) {
        // Of those who part before the relay has said how it was, what is known is written.
        wire.outputs.extend(self.record.parted().map(Output::Cdr));
        self.record.part(fact, b);
        if self.media.is_open() {
            wire.outputs.push_back(Output::Media(MediaOrder::Count { session: self.media.id }));
        } else {
            wire.outputs.extend(self.record.parted().map(Output::Cdr));
        }
    }
}
