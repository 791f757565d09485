//! Orders of the table for a call that rings: what crosses with provisional responses and their PRACKs.

use sip::Sdp;

use super::{CallKey, Cause};
use crate::bridge::table::Event;
use crate::core::Core;
use crate::io::Now;
use crate::leg::LegKey;
use crate::media::Side;

impl Core {
    /// The caller's PRACK brought the answer that the callee's offer waits for.
    pub(super) fn relay_prack(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let a = self.calls.get(key).map(|call| call.a);
        let Some(target) = a.and_then(|a| self.legs.get_mut(a)).and_then(|leg| leg.take_released()) else {
            return;
        };
        let body = self.describe_to(key, Side::A, cause);
        self.release_prack(target, body.as_deref(), now);
    }

    pub(super) fn release_prack(&mut self, target: LegKey, body: Option<&[u8]>, now: Now) {
        if let Some(leg) = self.legs.get_mut(target) {
            leg.release_prack(target, body, &mut self.wire, now);
        }
    }

    /// What the callee's reliable response answered, for a caller to whom that was no answer: it gets it with the 2xx,
    /// which need not say it again on the callee's side (RFC 3262 §5).
    pub(super) fn early_answer(&mut self, key: CallKey) -> Option<Vec<u8>> {
        let call = self.calls.get(key)?;
        if self.legs.get(call.a)?.was_described() {
            return None;
        }
        let description = self.legs.get(call.b?)?.early_description()?;
        let sdp = Sdp::parse(&description).ok()?;
        self.describe_to(key, Side::B, &Cause::new(Event::Answered).sdp(&sdp))
    }
}
