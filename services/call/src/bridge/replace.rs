//! An INVITE that takes the place of a leg here (RFC 3891 §3): its offer goes to the side that stays, the answer comes
//! back in the 2xx, and the leg that was named is hung up.

use sip::{Message, Sdp};

use super::claim::given_up;
use super::orders::Follow;
use super::table::{Event, State};
use super::{Attempt, CallKey, Cause, Terms};
use crate::bodies::{Body, sdp_of};
use crate::core::Core;
use crate::io::Now;
use crate::leg::{LegKey, Rejection};
use crate::media::Side;

impl Core {
    pub(super) fn offer_replacement(
        &mut self,
        key: CallKey,
        side: Side,
        cause: &Cause<'_>,
        follow: &mut Follow<'_>,
        now: Now,
    ) {
        let offer = cause.message.and_then(sdp_of).and_then(|body| Sdp::parse(body).ok());
        let Some(call) = self.calls.get_mut(key) else { return };
        let comes = call.arrival().and_then(|leg| self.legs.get(leg));
        let stays = call.leg(side.other()).and_then(|leg| self.legs.get(leg));
        // Kept for the case that who comes gives up when the offer is out already.
        if let Some(transfer) = call.transfer.as_mut() {
            transfer.newcomer = stays.map(|leg| leg.session.standing().to_vec()).unwrap_or_default().into();
        }
        // What the one says of its encryption is nothing for the other, and who says it in vain is refused as with any other
        // offer: an answer is in the profile of its offer (RFC 3264 §6).
        if let (Some(sdp), Some(comes), Some(stays)) = (&offer, comes, stays) {
            call.media.secure_for(comes);
            call.media.secure_for(stays);
            if !call.media.takes_offer(sdp, comes) || !stays.session.carries(sdp) {
                return follow.push_back(Cause::new(Event::OfferRefused).status(488));
            }
        }
        let from = comes.and_then(|leg| leg.trunk);
        if !offer.is_some_and(|sdp| self.propose(key, side.other(), &sdp, from, now)) {
            follow.push_back(Cause::new(Event::OfferRefused).status(491));
        }
    }

    /// Who stays accepted: who comes is answered, and who is replaced hung up.
    pub(super) fn replace(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(response) = cause.message else { return };
        self.begin_newcomer(key, side, now);
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(comes) = call.transfer.take().and_then(|transfer| transfer.arrival) else { return };
        // First of all, so that what who stays has said is read as an answer to who comes.
        let goes = match side {
            Side::A => Some(std::mem::replace(&mut call.a, comes)),
            Side::B => call.b.replace(comes),
        };
        call.former.extend(goes);
        let stays = call.leg(side.other());
        self.hear_newcomer(key, side, comes);
        if let Some(leg) = stays.and_then(|leg| self.legs.get_mut(leg)) {
            leg.session.accepted();
        }
        self.describe_agreed(key, side.other(), response);
        self.answer_newcomer(key, side, response, now);
        if let Some(goes) = goes
            && let Some(leg) = self.legs.get_mut(goes)
        {
            leg.hang_up(goes, &mut self.wire, None, now);
        }
        self.tell_who_talks(key);
        self.review_recording(key, now);
        self.open_record(key, now);
        let trunk = self.legs.get(comes).and_then(|leg| leg.trunk);
        let is_recorded = self.calls.get(key).is_some_and(|call| call.records(trunk));
        self.begin_wanted_recording(key, is_recorded, now);
    }

    /// The relay hears where who comes is, as its INVITE says.
    fn hear_newcomer(&mut self, key: CallKey, side: Side, comes: LegKey) {
        let (Some(call), Some(leg)) = (self.calls.get_mut(key), self.legs.get_mut(comes)) else { return };
        if let Some(invite) = leg.open_invite(&self.wire)
            && let Ok(invite) = Message::parse(&invite)
            && let Some(sdp) = sdp_of(&invite).and_then(|body| Sdp::parse(body).ok())
        {
            call.media.describe(&sdp, side, leg, &mut self.wire);
            call.record.described(side, &sdp);
        }
    }

    /// Who comes, on `side`, gets the answer of who stays.
    fn answer_newcomer(&mut self, key: CallKey, side: Side, response: &Message<'_>, now: Now) {
        let Some((comes, stays)) = self.pair(key, side) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let stays = self.legs.get(stays);
        let answer = sdp_of(response).and_then(|body| Sdp::parse(body).ok());
        let fitted = stays.zip(answer.as_ref()).and_then(|(leg, answer)| leg.fitted(answer));
        let answer = fitted.as_deref().and_then(|fitted| Sdp::parse(fitted).ok()).or(answer);
        let stays = stays.and_then(|leg| leg.trunk);
        let Some(leg) = self.legs.get_mut(comes) else { return };
        let terms = Terms::of(&call.snapshot, stays, leg.trunk);
        let body = answer.map(|sdp| call.media.write(&sdp, leg, side, terms, &mut self.wire)).map(Body::from);
        leg.answer(&mut self.wire, response, body.as_ref(), now);
    }

    /// The row of the talk so far, and the attempt of who comes.
    fn begin_newcomer(&mut self, key: CallKey, side: Side, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(leg) = call.arrival().and_then(|leg| self.legs.get(leg)) else { return };
        // Who comes by way of another shard has a record there.
        if leg.flow.is_inner() {
            return;
        }
        let trunk = leg.trunk.and_then(|id| call.snapshot.trunk(id));
        let transport = self.wire.listener(leg.flow.listener).transport;
        let party = Attempt::of_party(leg, trunk, call.record.attempt.tags.as_ref(), transport, now);
        let invite = leg.open_invite(&self.wire);
        let invite = invite.as_ref().and_then(|invite| Message::parse(invite).ok());
        let newcomer = party.arrived(invite.as_ref(), now);
        let b = call.record.attempt.side();
        let (before, kind) = call.record.replaced(side, newcomer, call.id, now);
        call.tell_talk(before, b, &mut self.wire);
        if let Some(kind) = kind {
            self.wire.event(Some(call.id), kind);
        }
    }

    pub(super) fn refuse_replacement(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(comes) = call.transfer.as_mut().and_then(|transfer| transfer.arrival.take()) else { return };
        if !matches!(call.state, State::Reverting(_)) {
            call.transfer = None;
        }
        call.former.push(comes);
        let sides = [Side::A, Side::B].map(|side| call.leg(side).and_then(|leg| self.legs.get(leg)));
        call.media.secure_only_for(sides.into_iter().flatten());
        // 487 is for who gave up itself: that a side left, or left an offer of ours unanswered, is no CANCEL of who comes.
        let left = matches!(cause.event, Event::Bye(_) | Event::Lost(_) | Event::Silent(_));
        let says = cause.event == Event::Cancelled || !left && cause.status >= 300 && cause.status != 487;
        let status = if says { cause.status } else { given_up(cause.event) };
        if let Some(leg) = self.legs.get_mut(comes) {
            let response = cause.message.filter(|message| message.status() == Some(status));
            let reason = response.map(Message::reason_phrase);
            let said = Rejection { status, reason, from: response, ..Rejection::default() };
            leg.reject(&mut self.wire, &said, now);
        }
        self.keep_call(key, now);
    }
}
