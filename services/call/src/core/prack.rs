//! PRACK (RFC 3262): which provisional response it acknowledges, and the 2xx that may have waited for it.

use sip::Message;

use crate::bodies::sdp_of;
use crate::bridge::CallKey;
use crate::core::Core;
use crate::coverage::LegInput;
use crate::io::Now;
use crate::leg::{Acknowledges, LegKey, News, OfferBy};
use crate::wire::ServerKey;

impl Core {
    /// PRACK of a caller (RFC 3262 §3).
    pub(super) fn on_prack(&mut self, key: LegKey, server: ServerKey, message: &Message<'_>, now: Now) {
        let Some(leg) = self.legs.get(key) else { return };
        let (call, tag, flow) = (leg.call, leg.tag.clone(), leg.flow);
        let Some(leg) = self.legs.get(key) else { return };
        let acknowledges = leg.acknowledges(message);
        let fault = match acknowledges {
            Acknowledges::Nothing => return self.respond(server, 481, None, &tag, &[], now),
            Acknowledges::Response | Acknowledges::Offer => {
                self.content_fault(message, self.trunk_of_leg(key), flow)
            }
        };
        if let Some(refusal) = fault {
            return self.refuse_in(server, &refusal, &tag, now);
        }
        // A description in it that answers nothing is another offer: the 200 waits for its answer (RFC 3262 §5).
        let offers = acknowledges == Acknowledges::Response && sdp_of(message).is_some();
        if !offers {
            self.respond(server, 200, None, &tag, &[], now);
        }
        let Some(leg) = self.legs.get_mut(key) else { return };
        self.wire.coverage.leg(leg, LegInput::Prack);
        let news = leg.on_pracked(&mut self.wire, now);
        let Some(call) = call else {
            return self.respond(server, 488, None, &tag, &[], now);
        };
        self.on_news(call, key, news, Some(message), now);
        if offers {
            self.on_offer_in_prack(call, key, server, message, now);
        }
        self.release_answer(call, now);
    }

    fn on_offer_in_prack(
        &mut self,
        call: CallKey,
        key: LegKey,
        server: ServerKey,
        message: &Message<'_>,
        now: Now,
    ) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        let news = leg.on_offer(server, OfferBy::Update, &mut self.wire, now);
        self.on_news(call, key, news, Some(message), now);
    }

    /// The 2xx that waited for the caller's PRACK is heard now.
    fn release_answer(&mut self, call: CallKey, now: Now) {
        let a = self.calls.get(call).map(|call| call.a);
        let held = a.and_then(|a| self.legs.get_mut(a)).and_then(|leg| leg.release_answer());
        if let Some((target, bytes)) = held
            && let Ok(message) = Message::parse(&bytes)
        {
            self.on_news(call, target, News::Answered, Some(&message), now);
        }
    }

    /// Whether the caller must acknowledge an earlier description before it may hear of this 2xx.
    pub(super) fn hold_answer(&mut self, call: CallKey, target: LegKey, message: &Message<'_>) -> bool {
        let a = self.calls.get(call).map(|call| call.a);
        a.and_then(|a| self.legs.get_mut(a)).is_some_and(|leg| leg.hold_answer(target, message))
    }
}
