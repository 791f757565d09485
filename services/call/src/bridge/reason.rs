//! Why a side is hung up (RFC 3326): what the other side said of it, else what happened, in the words of SIP and of Q.850
//! for networks that speak ISUP behind a gateway.

use super::Cause;
use super::cause::q850_of;
use super::table::Event;

impl Cause<'_> {
    /// The value of Reason that a side which is hung up is told.
    pub(crate) fn reason_value(&self) -> Option<Vec<u8>> {
        let said: Vec<&[u8]> =
            self.message.into_iter().flat_map(|message| message.values(sip::Name::Reason)).collect();
        if !said.is_empty() {
            return Some(said.join(&b", "[..]));
        }
        self.reason.map(<[u8]>::to_vec).or_else(|| self.own_reason())
    }

    /// The Q.850 cause that a side is told of by the box itself.
    pub(super) fn own_q850(&self) -> Option<u16> {
        let has_said = self.message.is_some_and(|message| message.has(sip::Name::Reason));
        let own = self.reason.map(<[u8]>::to_vec).or_else(|| self.own_reason()).filter(|_| !has_said)?;
        let elements = own
            .split(|byte| *byte == b',')
            .filter_map(|element| sip::Reason::parse(element.trim_ascii()).ok());
        let (q850, sip): (Vec<_>, Vec<_>) =
            elements.partition(|reason| reason.protocol.eq_ignore_ascii_case(b"Q.850"));
        let meant = || sip.first().and_then(|reason| reason.cause).and_then(q850_of);
        q850.first().and_then(|reason| reason.cause).or_else(meant)
    }

    /// For what the box ends by itself. A BYE that says no more stays as it is.
    fn own_reason(&self) -> Option<Vec<u8>> {
        let (status, text) = if matches!(self.event, Event::Silent(_)) {
            (408, Some("Media Timeout"))
        } else if matches!(self.event, Event::SessionExpired(_)) {
            (408, Some("Session Expired"))
        } else if matches!(self.event, Event::Lost(_)) {
            // 408 or 481 within the dialog, or nothing at all (RFC 3261 §12.2.1.2).
            let heard = self.message.and_then(sip::Message::status);
            (heard.filter(|status| *status >= 300).unwrap_or(408), None)
        } else if matches!(self.event, Event::Operator) {
            (self.status, Some("Ended By Operator"))
        } else if matches!(self.event, Event::NoPrack) {
            (504, Some("No PRACK"))
        } else if matches!(self.event, Event::NoRoute | Event::Refused | Event::BadAnswer) {
            // Who loses the call to a target's refusal is told which it was.
            (self.status, None)
        } else {
            return None;
        };
        (status >= 300).then(|| reason(status, text))
    }
}

fn reason(status: u16, text: Option<&str>) -> Vec<u8> {
    let text = text.map(|text| format!(";text=\"{text}\"")).unwrap_or_default();
    let q850 = q850_of(status).map(|cause| format!(", Q.850;cause={cause}")).unwrap_or_default();
    format!("SIP;cause={status}{text}{q850}").into_bytes()
}
