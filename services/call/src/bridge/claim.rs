//! Attended transfers inside the box: a REFER names a dialog that a leg here has (RFC 3891 in a Refer-To, RFC 5589 §7).
//! The party opposite that leg comes over to the call of the REFER with its leg and its dialog; nobody is called anew.
//!
//! It is offered what the side that stays described, with the ports of the call that it comes to. When it accepts, its
//! leg changes the call; until then both calls are as they were.

use sip::{Message, Sdp};

use super::orders::Follow;
use super::table::{Event, State};
use super::transfer::Transfer;
use super::{Attempt, CallKey, Cause, Terms};
use crate::cdr::EndedBy;
use crate::core::Core;
use crate::io::Now;
use crate::leg::{Aim, LegKey, Offer, OfferBy, Ours};
use crate::media::Side;

/// The call that has the party that is wanted.
struct Claim {
    call: CallKey,
    /// Whose place in that call is given up.
    side: Side,
    party: LegKey,
}

impl Core {
    /// Wants the party opposite the leg `named` for `side` of this call.
    pub(super) fn claim(
        &mut self,
        key: CallKey,
        side: Side,
        named: LegKey,
        offer: &[u8],
        follow: &mut Follow<'_>,
        now: Now,
    ) {
        // What is said now depends on the other call, also where that stays as it is: both are told in one journal.
        self.legs.get_mut(named);
        if let Err(status) = self.try_claim(key, side, named, offer, now) {
            follow.push_back(Cause::new(Event::Refused).status(status).by(EndedBy::Error));
        }
    }

    fn try_claim(
        &mut self,
        key: CallKey,
        side: Side,
        named: LegKey,
        offer: &[u8],
        now: Now,
    ) -> Result<(), u16> {
        let Claim { call: other, side: given_up, party } = self.claimable(key, named)?;
        let sdp = Sdp::parse(offer).map_err(|_| 488_u16)?;
        let theirs = self.calls.get(other).map(|call| call.snapshot.clone()).ok_or(481_u16)?;
        let (Some(call), Some(leg)) = (self.calls.get_mut(key), self.legs.get_mut(party)) else {
            return Err(481);
        };
        // The number of m= lines never falls within a session (RFC 3264 §8), and ports are not moved with the party.
        if leg.session.streams() != sdp.streams().len() {
            return Err(488);
        }
        let stood = leg.session.standing().to_vec();
        let trunk = call.own_trunk(leg.trunk, &theirs).map_err(|_unknown| 488_u16)?;
        let terms = Terms::of(&call.snapshot, None, trunk).read(call.media.is_secured());
        if terms.refuse(&sdp) || !leg.session.carries(&sdp) {
            return Err(488);
        }
        // Its keys have been at work where it is now; in another stream of the relay their count would begin anew.
        leg.session.forget_keys();
        let body = call.media.propose(&sdp, leg, side, terms, &mut self.wire);
        let ours = Ours::new(OfferBy::Invite, Aim::Proposed, false);
        if !leg.offer(party, &Offer { ours, from: None, body: Some(&body.into()) }, &mut self.wire, now) {
            leg.session.refused();
            return Err(491);
        }
        if let Some(transfer) = &mut call.transfer {
            transfer.claimed = Some(other);
        }
        if let Some(call) = self.calls.get_mut(other) {
            call.transfer = Some(Box::new(Transfer::claimed_by(key, stood)));
        }
        self.drive(other, Cause::new(Event::Claimed(given_up)), now);
        Ok(())
    }

    fn claimable(&self, key: CallKey, named: LegKey) -> Result<Claim, u16> {
        let other =
            self.legs.get(named).and_then(|leg| leg.call).filter(|other| *other != key).ok_or(481_u16)?;
        let call = self.calls.get(other).ok_or(481_u16)?;
        let side = self.side_of(other, named).ok_or(481_u16)?;
        let party = call.leg(side.other()).ok_or(481_u16)?;
        let free = self.legs.get(party).is_some_and(|leg| leg.can_offer());
        if call.state == State::Up && free && self.is_settled(other) {
            Ok(Claim { call: other, side, party })
        } else {
            Err(491)
        }
    }

    /// The party opposite `side` accepted: it goes over to the call that wanted it.
    pub(super) fn hand_over(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(claimant) = call.transfer.take().and_then(|transfer| transfer.claimant) else { return };
        let Some(party) = call.leg(side.other()) else { return };
        call.record.ended_by = Some(call.record.attempt.who(side));
        let known = call.record.who_is(side.other());
        let theirs = call.snapshot.clone();
        match side.other() {
            Side::A => call.a = LegKey::default(),
            Side::B => call.b = None,
        }
        let (Some(call), Some(leg)) = (self.calls.get_mut(claimant), self.legs.get_mut(party)) else {
            return;
        };
        leg.session.accepted();
        leg.call = Some(claimant);
        // That there is one was asked before it was offered to come.
        leg.trunk = call.own_trunk(leg.trunk, &theirs).unwrap_or_default();
        leg.side = call.target_side();
        if let Some(transfer) = &mut call.transfer {
            transfer.claimed = None;
        }
        call.b = Some(party);
        call.record.attempts += 1;
        let trunk = leg.trunk.and_then(|id| call.snapshot.trunk(id));
        let transport = self.wire.listener(leg.flow.listener).transport;
        let tags = call.record.attempt.tags.as_ref();
        call.record.attempt = Attempt {
            number: call.record.attempts,
            parent: call.talking_attempt(),
            on_a: call.target_side() == Side::A,
            called_sent: known.name,
            user_agent: known.agent,
            ..Attempt::of_party(leg, trunk, tags, transport, now)
        };
        let answered = Cause::new(Event::Answered);
        let answered = match cause.message {
            Some(message) => answered.message(message),
            None => answered,
        };
        self.drive(claimant, answered, now);
    }

    /// The party opposite `side` stays, or is gone; the call that wanted it is told.
    pub(super) fn keep_party(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(claimant) = call.transfer.take().and_then(|transfer| transfer.claimant) else { return };
        if let Some(transfer) = self.calls.get_mut(claimant).and_then(|call| call.transfer.as_mut()) {
            transfer.claimed = None;
        }
        let response = cause.message.filter(|message| message.status() == Some(cause.status));
        let refused = matches!(cause.event, Event::OfferRefused);
        let status = if refused && cause.status >= 300 { cause.status } else { given_up(cause.event) };
        let refused = Cause::new(Event::Refused).status(status).by(EndedBy::Callee);
        self.drive(
            claimant,
            response.map_or(refused, |response: &Message<'_>| refused.message(response)),
            now,
        );
        self.keep_call(key, now);
    }
}

/// What is said of an exchange of sides that the party that stays did not refuse, and that came to nothing.
pub(super) fn given_up(event: Event) -> u16 {
    // It made an offer of its own when ours had to wait.
    if matches!(event, Event::CanOffer(_) | Event::Overtook(_)) { 491 } else { 480 }
}
