//! Orders of the table for a call that rings: what crosses with provisional responses and their PRACKs.

use sip::{Message, Sdp};

use super::orders::Follow;
use super::table::Event;
use super::{CallKey, Cause, Terms};
use crate::bodies::{Body, sdp_of};
use crate::core::Core;
use crate::io::Now;
use crate::leg::{Aim, EarlyUpdate, LegKey, Offer, OfferBy, Ours};
use crate::media::Side;

/// RFC 3311 §5.2: an offer is still to be answered.
const NOT_YET: u16 = 500;
const UNACCEPTABLE: u16 = 488;
const GLARE: u16 = 491;

impl Core {
    /// The caller's PRACK brought the answer that the callee's offer waits for.
    pub(super) fn relay_prack(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let a = self.calls.get(key).map(|call| call.a);
        let Some(target) = a.and_then(|a| self.legs.get_mut(a)).and_then(|leg| leg.take_released()) else {
            return;
        };
        // The answer is written in the session of the target that offered, whoever was heard last.
        if !self.calls.get_mut(key).is_some_and(|call| call.focus_leg(target)) {
            return;
        }
        let body = self.describe_to(key, Side::A, cause);
        self.release_prack(target, body.as_ref(), now);
    }

    pub(super) fn release_prack(&mut self, target: LegKey, body: Option<&Body>, now: Now) {
        if let Some(leg) = self.legs.get_mut(target) {
            leg.release_prack(target, body, &mut self.wire, now);
        }
    }

    /// What the callee's reliable response answered, for a caller to whom that was no answer: it gets it with the 2xx,
    /// which need not say it again on the callee's side (RFC 3262 §5). Where the caller has an answer already, only the
    /// relay is told: it may have followed another branch's early media since.
    pub(super) fn early_answer(&mut self, key: CallKey) -> Option<Body> {
        let call = self.calls.get_mut(key)?;
        let caller = self.legs.get(call.a)?;
        let (is_answered, reader) = (caller.was_described(), caller.trunk);
        let target = self.legs.get_mut(call.b?)?;
        let description = target.early_description()?;
        let sdp = Sdp::parse(&description).ok()?;
        if is_answered {
            let terms = Terms::of(&call.snapshot, target.trunk, reader);
            call.media.describe(&sdp, Side::B, target, &mut self.wire);
            call.media.agree(&sdp, Side::A, terms, &mut self.wire);
            call.note_answer(Side::B, &sdp);
            return None;
        }
        self.describe_to(key, Side::B, &Cause::new(Event::Answered).sdp(&sdp))
    }

    /// Carries an UPDATE with a description over before the call is answered (RFC 3311 §5.1), where the other side can
    /// take one.
    pub(super) fn relay_early_offer(&mut self, key: CallKey, side: Side, follow: &mut Follow<'_>, now: Now) {
        let Some((from, to)) = self.pair(key, side) else {
            return follow.push_back(Cause::new(Event::OfferRefused).status(NOT_YET));
        };
        let refused =
            |status| Cause { offerer: Some(from), ..Cause::new(Event::OfferRefused).status(status) };
        let request = self.legs.get(from).and_then(|leg| leg.open_offer(&self.wire));
        let (Some(request), Some(call)) = (request, self.calls.get_mut(key)) else { return };
        let Ok(message) = Message::parse(&request) else { return };
        let sdp = sdp_of(&message).and_then(|body| Sdp::parse(body).ok());
        // More streams than there are ports for can be had when the call is answered.
        let sdp = sdp.filter(|sdp| call.media.covers(sdp));
        let Some(offerer) = self.legs.get_mut(from) else { return };
        let sdp = sdp.filter(|sdp| call.media.takes_offer(sdp, offerer));
        let trunk = offerer.trunk;
        let bodies = call.bodies_of(trunk);
        let (Some(leg), Some(sdp)) = (self.legs.get_mut(to), sdp) else {
            return follow.push_back(refused(UNACCEPTABLE));
        };
        let terms = Terms::of(&call.snapshot, trunk, leg.trunk).read(call.media.is_secured());
        if terms.refuse(&sdp) || !leg.session.carries(&sdp) {
            return follow.push_back(refused(UNACCEPTABLE));
        }
        match leg.early_update() {
            EarlyUpdate::Possible => {}
            EarlyUpdate::NotYet => return follow.push_back(refused(NOT_YET)),
            EarlyUpdate::Busy => return follow.push_back(refused(GLARE)),
            EarlyUpdate::Unknown => return follow.push_back(refused(UNACCEPTABLE)),
        }
        let written = call.media.propose(&sdp, leg, side.other(), terms, &mut self.wire);
        if let Some(offerer) = self.legs.get_mut(from) {
            offerer.session.peer_offers(true);
        }
        let Some(leg) = self.legs.get_mut(to) else { return };
        let body = Body::in_place(Some(&message), written, bodies);
        let ours = Ours::new(OfferBy::Update, Aim::Carried, false);
        let offer = Offer { ours, from: Some(&message), body: Some(&body) };
        leg.offer(to, &offer, &mut self.wire, now);
    }

    pub(super) fn answer_early_offer(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(side) = self.early_offerer(key, cause) else { return };
        self.relay_offer_answer(key, side, cause, now);
    }

    pub(super) fn refuse_early_offer(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(side) = self.early_offerer(key, cause) else { return };
        let leg = self.calls.get(key).and_then(|call| call.leg(side));
        let Some(leg) = leg.and_then(|leg| self.legs.get_mut(leg)) else { return };
        let response = cause.message.filter(|message| message.status() == Some(cause.status));
        let status = if cause.status >= 300 { cause.status } else { NOT_YET };
        let wait = (self.wire.ids.random() % 10).to_string();
        let later: &[(&str, &[u8])] =
            if status == NOT_YET && response.is_none() { &[("Retry-After", wait.as_bytes())] } else { &[] };
        leg.reject_offer(status, response, later, &mut self.wire, now);
    }

    /// The side whose offer waits for an answer; of several branches the call speaks of that one from now on.
    fn early_offerer(&mut self, key: CallKey, cause: &Cause<'_>) -> Option<Side> {
        let call = self.calls.get_mut(key)?;
        let waits =
            |leg: &LegKey| self.legs.get(*leg).is_some_and(|leg| leg.open_offer(&self.wire).is_some());
        let offerer = cause.offerer.or_else(|| call.legs().find(waits))?;
        if offerer == call.a { Some(Side::A) } else { call.focus_leg(offerer).then_some(Side::B) }
    }
}
