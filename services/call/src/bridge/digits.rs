//! Key presses between a side that sends them as RTP (RFC 4733) and one that sends them in INFO.
//!
//! Where one side is told of no `telephone-event` because its trunk wants INFO, the relay takes the events of the other
//! side out of its stream and reports each press, which this leg's peer gets as an INFO; and an INFO of that peer becomes
//! an order to the relay to play the digit. The numbers of the payload types are each side's own.

use sip::{Message, Method, is_media_type};

use super::CallKey;
use super::session::TakenDigits;
use crate::core::Core;
use crate::io::{EventKind, Now, Output};
use crate::leg::LegKey;
use crate::media::{Digit, MediaOrder, Side};

/// What is sent; `application/dtmf`, which has the symbol alone, is understood as well.
const RELAY: &str = "application/dtmf-relay";
const BARE: &[u8] = b"application/dtmf";
/// Of a digit that does not say how long it is.
const USUAL_MILLIS: u32 = 160;
/// A longer body is no digit.
const MAX_BODY: usize = 128;

impl Core {
    /// A side's press was heard by the relay: the other side gets it as an INFO.
    pub(crate) fn relay_digit(&mut self, key: CallKey, side: Side, digit: Digit, now: Now) {
        let Some(to) = self.calls.get(key).and_then(|call| call.leg(side.other())) else { return };
        let body = format!("Signal={}\r\nDuration={}\r\n", digit.symbol(), digit.millis);
        let leg = self.legs.get_mut(to);
        if leg.is_some_and(|leg| !leg.inform(to, RELAY, body.as_bytes(), &mut self.wire, now)) {
            self.digits_fail(key, "its peer answers too slowly");
        }
        self.settle(key, now);
    }

    /// An INFO with a press was answered, or never will be (`None`); the next leaves.
    pub(crate) fn on_digit_answered(&mut self, to: LegKey, status: Option<u16>, now: Now) {
        let Some(leg) = self.legs.get_mut(to) else { return };
        let call = leg.call;
        if !leg.on_informed(to, status, &mut self.wire, now)
            && let Some(call) = call
        {
            match status {
                Some(status) => self.digits_fail(call, &format!("expected 2xx, got {status}")),
                None => self.digits_fail(call, "nobody answered"),
            }
        }
    }

    fn digits_fail(&mut self, key: CallKey, why: &str) {
        let Some(id) = self.calls.get(key).map(|call| call.id) else { return };
        let what = format!("a key press in INFO was not taken: {why}");
        self.wire.event(Some(id), EventKind::Warning { what });
    }

    /// A side's INFO: whether it is a digit that the relay plays to the other side.
    pub(crate) fn play_digit(&mut self, from: LegKey, message: &Message<'_>) -> bool {
        if message.method() != Method::Info {
            return false;
        }
        let Some((key, side, trunk)) =
            self.legs.get(from).and_then(|leg| Some((leg.call?, leg.side, leg.trunk)))
        else {
            return false;
        };
        let Some(call) = self.calls.get(key) else { return false };
        let to = call.leg(side.other()).and_then(|leg| self.legs.get(leg));
        let (from_trunk, to_trunk) =
            (trunk.and_then(|id| call.snapshot.trunk(id)), to.and_then(|to| call.snapshot.trunk(to.trunk?)));
        if !routing::plays_digits(from_trunk, to_trunk) {
            return false;
        }
        let Some(TakenDigits { stream, payload_type }) = call.media.digits_of(side.other()) else {
            return false;
        };
        let Some(digit) = digit_in(message) else { return false };
        let order = MediaOrder::PlayDigit {
            session: call.media.id,
            stream,
            side: side.other(),
            payload_type,
            digit,
            seed: self.wire.ids.random(),
        };
        self.wire.outputs.push_back(Output::Media(order));
        true
    }
}

/// The digit in an INFO, if it is one.
fn digit_in(message: &Message<'_>) -> Option<Digit> {
    let (kind, body) = (message.content_type()?, message.body());
    let text = std::str::from_utf8(body.get(..body.len().min(MAX_BODY))?).ok()?;
    if is_media_type(kind, BARE) {
        return Digit::of_symbol(text.trim(), USUAL_MILLIS);
    }
    if !is_media_type(kind, RELAY.as_bytes()) {
        return None;
    }
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    let millis = value("Duration").and_then(|value| value.parse().ok()).unwrap_or(USUAL_MILLIS);
    Digit::of_symbol(value("Signal")?, millis)
}
