//! Offers between the legs: carried, answered, refused, taken back, and put right where the sides came apart.

use routing::TrunkId;
use sip::{Message, Sdp};

use super::orders::Follow;
use super::table::Event;
use super::{CallKey, Cause, Terms};
use crate::bodies::{Body, sdp_of};
use crate::core::Core;
use crate::io::Now;
use crate::leg::{Aim, Leg, Offer, Ours};
use crate::media::Side;

impl Core {
    /// Sends a side's offer on, or first asks for the ports that its new streams need. Where the other leg has an offer
    /// of its own to finish, the news of its end bring us here again.
    pub(super) fn relay_offer(&mut self, key: CallKey, side: Side, follow: &mut Follow<'_>, now: Now) {
        let Some((from, to)) = self.pair(key, side) else { return };
        let request = self.legs.get(from).and_then(|leg| leg.open_offer(&self.wire));
        let (Some(request), Some(call)) = (request, self.calls.get_mut(key)) else { return };
        let Ok(message) = Message::parse(&request) else { return };
        let sdp = sdp_of(&message).and_then(|body| Sdp::parse(body).ok());
        if let Some(sdp) = &sdp
            && !call.media.covers(sdp)
        {
            call.media.open(sdp.streams().len(), &mut self.wire);
            return;
        }
        let Some(offerer) = self.legs.get_mut(from) else { return };
        if let Some(sdp) = &sdp
            && !call.media.takes_offer(sdp, offerer)
        {
            return follow.push_back(Cause::new(Event::OfferRefused).status(488));
        }
        offerer.session.peer_offers(sdp.is_some());
        let trunk = offerer.trunk;
        let bodies = call.bodies_of(trunk);
        let Some(leg) = self.legs.get_mut(to) else { return };
        if !leg.is_confirmed() {
            follow.push_back(Cause::new(Event::OfferRefused).status(491));
        }
        if !leg.can_offer() {
            return;
        }
        let terms = Terms::of(&call.snapshot, trunk, leg.trunk).read(call.media.is_secured());
        if sdp.as_ref().is_some_and(|sdp| terms.refuse(sdp) || !leg.session.carries(sdp)) {
            return follow.push_back(Cause::new(Event::OfferRefused).status(488));
        }
        // Of the offer the relay hears only when it is accepted; a refused one leaves the session as it was.
        let body = sdp.map(|sdp| {
            let written = call.media.propose(&sdp, leg, side.other(), terms, &mut self.wire);
            Body::in_place(Some(&message), written, bodies)
        });
        let ours = Ours::new(leg.carrier_of(message.method()), Aim::Carried, body.is_none());
        if ours.offerless {
            leg.session.peer_offers(false);
        }
        let offer = Offer { ours, from: Some(&message), body: body.as_ref() };
        if !leg.offer(to, &offer, &mut self.wire, now) {
            follow.push_back(Cause::new(Event::OfferRefused).status(491));
        }
    }

    pub(super) fn relay_offer_answer(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(message) = cause.message else { return };
        let Some((from, to)) = self.pair(key, side) else { return };
        if let Some(request) = self.legs.get(from).and_then(|leg| leg.open_offer(&self.wire))
            && let Ok(request) = Message::parse(&request)
        {
            self.describe_only(key, side, &request);
        }
        if let Some(leg) = self.legs.get_mut(to) {
            leg.session.accepted();
        }
        let body = self.describe_to(key, side.other(), cause);
        if let Some(leg) = self.legs.get_mut(from) {
            leg.answer_offer(message, body.as_ref(), &mut self.wire, now);
        }
        self.review_recording(key, now);
        self.keep_call(key, now);
    }

    pub(super) fn refuse_offer(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some((from, to)) = self.pair(key, side) else { return };
        // Where the other side's 2xx cannot be used, it still wants its ACK.
        if let Some(leg) = self.legs.get_mut(to).filter(|leg| leg.owes_ack()) {
            leg.acknowledge(&mut self.wire, None);
        }
        let Some(leg) = self.legs.get_mut(from) else { return };
        let response = cause.message.filter(|message| message.status() == Some(cause.status));
        let status = if cause.status >= 300 { cause.status } else { 491 };
        leg.reject_offer(status, response, &[], &mut self.wire, now);
    }

    pub(super) fn relay_offer_ack(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some((_, to)) = self.pair(key, side) else { return };
        if !self.legs.get(to).is_some_and(Leg::owes_ack) {
            return;
        }
        let body = self.describe_to(key, side, cause);
        if let Some(leg) = self.legs.get_mut(to) {
            leg.acknowledge(&mut self.wire, body.as_ref());
        }
        self.review_recording(key, now);
        self.keep_call(key, now);
    }

    /// The ACK of the other side that would bring the answer does not come any more (RFC 3261 §13.2.2.4).
    pub(super) fn release_ack(&mut self, key: CallKey, side: Side) {
        let Some((to, gone)) = self.pair(key, side) else { return };
        let offered = self.legs.get(gone).map(|leg| leg.session.streams());
        let Some(leg) = self.legs.get_mut(to).filter(|leg| leg.owes_ack()) else { return };
        let is_answered = offered == Some(leg.session.streams());
        let answer = if is_answered { leg.session.answer_heard(&mut self.wire.ids) } else { None };
        let answer = answer.map(Body::from);
        leg.acknowledge(&mut self.wire, answer.as_ref());
    }

    pub(super) fn withdraw_offer(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(leg) = self.calls.get(key).and_then(|call| call.leg(side)) else { return };
        let reason = cause.reason_value();
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.withdraw(reason.as_deref(), &mut self.wire, now);
        }
    }

    pub(super) fn put_back(&mut self, key: CallKey, side: Side, follow: &mut Follow<'_>, now: Now) {
        let Some(leg_key) = self.calls.get(key).and_then(|call| call.leg(side)) else { return };
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        if !leg.put_back(leg_key, &mut self.wire, now) {
            follow.push_back(Cause::new(Event::NotPutBack(side)));
        }
    }

    pub(super) fn take_answer(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(leg_key) = self.calls.get(key).and_then(|call| call.leg(side)) else { return };
        if let Some(leg) = self.legs.get_mut(leg_key) {
            leg.session.accepted();
        }
        if let Some(message) = cause.message {
            self.describe_agreed(key, side, message);
        }
        self.review_recording(key, now);
        self.keep_call(key, now);
    }

    /// Offers a side a description of the bridge's own choice: another party's, which is at the trunk `from`, or where that is
    /// `None` one that was made for a side already. Answered by
    /// [`Event::OfferAccepted`], or by [`Event::OfferRefused`] also where the peer has an offer of its own out (491).
    /// False when an offer is under way there: [`Event::CanOffer`], [`Event::Agreed`] or an ACK tells when it is over.
    pub(super) fn propose(
        &mut self,
        key: CallKey,
        side: Side,
        sdp: &Sdp<'_>,
        from: Option<TrunkId>,
        now: Now,
    ) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(leg_key) = call.leg(side) else { return false };
        let Some(leg) = self.legs.get_mut(leg_key).filter(|leg| leg.can_offer()) else { return false };
        let terms = Terms::of(&call.snapshot, from, leg.trunk);
        let body = Body::from(call.media.propose(sdp, leg, side, terms, &mut self.wire));
        let ours = Ours::new(crate::leg::OfferBy::Invite, Aim::Proposed, false);
        let offer = Offer { ours, from: None, body: Some(&body) };
        leg.offer(leg_key, &offer, &mut self.wire, now)
    }
}
