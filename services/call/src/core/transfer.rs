//! REFER and Replaces as they come in: what is asked, and whether it may be.

use sip::{Message, Method};

use crate::bridge::table::Event;
use crate::bridge::{CallKey, Cause};
use crate::core::Core;
use crate::io::Now;
use crate::leg::{LegKey, Referral};
use crate::media::Side;
use crate::wire::ServerKey;

/// Two parties that send each other's peers round in circles are stopped here, if their hops do not run out before.
const MAX_REFERRALS: u8 = 10;

impl Core {
    /// A REFER within the dialog of a leg (RFC 3515 §2.4.2).
    pub(super) fn on_refer(&mut self, key: LegKey, server: ServerKey, message: &Message<'_>, now: Now) {
        debug_assert_eq!(message.method(), Method::Refer);
        let Some(leg) = self.legs.get(key) else { return };
        let tag = leg.tag.clone();
        let Some((call, side)) = leg.call.and_then(|call| Some((call, self.side_of(call, key)?))) else {
            return self.respond(server, 481, None, &tag, &[], now);
        };
        if let Err((status, phrase)) = Referral::read(message) {
            return self.respond(server, status, Some(phrase), &tag, &[], now);
        }
        let referrals = self.calls.get(call).map_or(0, |call| call.referrals);
        if referrals >= MAX_REFERRALS {
            return self.respond(server, 403, Some("Too Many Transfers"), &tag, &[], now);
        }
        self.drive(call, Cause::new(Event::Referred(side)).message(message).server(server), now);
    }

    /// Which side of its call a leg is, if it is one.
    fn side_of(&self, call: CallKey, leg: LegKey) -> Option<Side> {
        let call = self.calls.get(call)?;
        [Side::A, Side::B].into_iter().find(|side| call.leg(*side) == Some(leg))
    }
}
