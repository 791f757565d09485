//! REFER (RFC 3515): what one asks for, and the subscription by which its sender learns what came of it.

use bytes::Bytes;
use sip::{Address, Message, Method, Name, Replaces, Scheme, Uri, Writer};

use super::{Leg, LegKey};
use crate::headers::contact;
use crate::io::Now;
use crate::wire::{ClientUser, Purpose, ServerKey, Wire};

/// How long a transfer may take as far as its sender is told; it is told of the end whenever that comes.
const EXPIRES: u64 = 600;
const SIPFRAG: &[u8] = b"message/sipfrag;version=2.0";

/// What a REFER asks for.
#[derive(Debug)]
pub(crate) struct Referral {
    /// Whom to invite, as a Request-URI.
    pub(crate) uri: Box<[u8]>,
    /// The dialog that the invitation is to replace (RFC 3891), as a header has it.
    pub(crate) replaces: Option<Box<[u8]>>,
    /// The sender wants no subscription (RFC 4488).
    pub(crate) silent: bool,
    /// What the invitation may still cost, so that referrals which come back end some time.
    pub(crate) hops: u8,
}

/// The implicit subscription of a REFER (RFC 3515 §2.4.4).
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The value of Event.
    event: Box<str>,
}

impl Referral {
    /// Reads a REFER, or says with what to refuse it.
    pub(crate) fn read(refer: &Message<'_>) -> Result<Referral, (u16, &'static str)> {
        let mut targets = refer.elements(Name::ReferTo);
        let target = targets.next().ok_or((400, "Missing Refer-To"))?;
        if targets.next().is_some() {
            return Err((400, "More Than One Refer-To"));
        }
        let address = Address::parse(target).map_err(|_| (400, "Refer-To Not Readable"))?;
        let uri = address.parsed_uri().map_err(|_| (400, "Refer-To Not Readable"))?;
        match uri.scheme {
            Scheme::Sip | Scheme::Sips | Scheme::Tel => {}
            Scheme::Other => return Err((416, "Unsupported URI Scheme In Refer-To")),
        }
        if uri.params.value("method").is_some_and(|method| Method::parse(method) != Method::Invite) {
            return Err((501, "Only INVITE Can Be Referred To"));
        }
        let hops = match refer.max_forwards().ok().flatten() {
            Some(0) => return Err((483, "Too Many Hops")),
            hops => hops.unwrap_or(70),
        };
        let silent = refer.other(b"Refer-Sub").is_some_and(|value| value.eq_ignore_ascii_case(b"false"));
        Ok(Referral { uri: uri.to_request_uri(), replaces: replaces_in(&uri)?, silent, hops })
    }

    /// The INVITE that the party `from` would send to follow this referral: what is called is called in its name, with
    /// its description. It never leaves as it is; the leg that does makes its own out of it.
    pub(crate) fn invite(&self, refer: &Message<'_>, from: &[u8], offer: Option<&[u8]>) -> Bytes {
        let mut writer = Writer::request(b"INVITE", &self.uri);
        writer.number("Max-Forwards", u64::from(self.hops));
        writer.header("From", from);
        if let Some(by) = refer.first(Name::ReferredBy) {
            writer.header("Referred-By", by);
        }
        if let Some(replaces) = &self.replaces {
            writer.header("Replaces", replaces);
        }
        writer.body(offer.map(|_| crate::headers::SDP), offer.unwrap_or_default())
    }
}

/// The header that a Refer-To asks to be put into the INVITE. Others it may name are for the sender's own use at best
/// (RFC 3261 §19.1.5).
fn replaces_in(uri: &Uri<'_>) -> Result<Option<Box<[u8]>>, (u16, &'static str)> {
    let mut found = uri.header_values("Replaces");
    let Some(value) = found.next() else { return Ok(None) };
    let fault = (400, "Replaces In Refer-To Not Readable");
    let is_readable = Replaces::parse(&value).is_ok() && !value.iter().any(u8::is_ascii_control);
    if !is_readable || found.next().is_some() {
        return Err(fault);
    }
    Ok(Some(value.into()))
}

impl Leg {
    /// 202 (RFC 3515 §2.4.2).
    pub(crate) fn accept_refer(
        &mut self,
        refer: &Message<'_>,
        silent: bool,
        server: ServerKey,
        wire: &mut Wire,
        now: Now,
    ) {
        if let Some(dialog) = &mut self.dialog {
            dialog.refresh_target(refer);
            self.way_due = true;
        }
        if let Some(mut writer) = wire.response(server, 202, None, Some(&self.tag)) {
            contact(&mut writer, wire.listener(self.flow.listener), self.is_secure());
            if silent {
                writer.header("Refer-Sub", b"false");
            }
            self.capabilities(&mut writer, wire);
            wire.respond(server, 202, writer.finish(), now);
        }
    }

    /// The subscription that goes with a REFER, and its first word. `nth`: how many REFER the call has seen.
    pub(crate) fn subscribe(&mut self, key: LegKey, refer: &Message<'_>, nth: u8, wire: &mut Wire, now: Now) {
        let number = refer.cseq().map_or(0, |cseq| cseq.number);
        // Only the first one of a dialog may go without (RFC 3515 §2.4.6); older phones know no other.
        let event = if nth == 1 { "refer".into() } else { format!("refer;id={number}").into_boxed_str() };
        self.subscription = Some(Box::new(Subscription { event }));
        self.notify(key, (100, b"Trying"), false, wire, now);
    }

    /// Tells the sender of a REFER what the target said (RFC 3515 §2.4.5). After the last word there is no subscription.
    /// It is told within the dialog even if it has left the call: the subscription is another use of the same dialog
    /// (RFC 5057 §5).
    pub(crate) fn notify(
        &mut self,
        key: LegKey,
        (status, phrase): (u16, &[u8]),
        is_last: bool,
        wire: &mut Wire,
        now: Now,
    ) {
        let Some(subscription) = self.subscription.take() else { return };
        let flow = self.request_flow(wire);
        let (client, branch) = wire.prepare(Method::Notify, ClientUser::Leg(key, Purpose::Notify), flow, now);
        let Some(mut writer) = self.in_dialog(b"NOTIFY", None, &branch, flow, wire) else {
            wire.abandon(client);
            return;
        };
        contact(&mut writer, wire.listener(flow.listener), self.is_secure());
        writer.header("Event", subscription.event.as_bytes());
        if is_last {
            writer.header("Subscription-State", b"terminated;reason=noresource");
        } else {
            let expires = EXPIRES.to_string();
            writer.parts("Subscription-State", &[b"active;expires=", expires.as_bytes()]);
            self.subscription = Some(subscription);
        }
        let number = status.to_string();
        let body = [b"SIP/2.0 ", number.as_bytes(), b" ", phrase, b"\r\n"].concat();
        wire.launch(client, writer.body(Some(SIPFRAG), &body), now);
    }

    /// The final response to a NOTIFY, or that none will come (408, or 503 where it did not leave). What says that nobody is
    /// there to be told ends the subscription that it was of (RFC 6665 §4.2.2, RFC 5057 §5.1); the transfer goes on. Any other
    /// refusal is of that NOTIFY alone: where a later one overtook it, it gets 500 (RFC 3261 §12.2.2), and the end is told all
    /// the same.
    pub(crate) fn on_notify_answered(&mut self, status: u16, notify: &[u8]) {
        if !matches!(status, 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604) {
            return;
        }
        let Ok(notify) = Message::parse(notify) else { return };
        let event = notify.first(Name::Event);
        self.subscription.take_if(|subscription| event == Some(subscription.event.as_bytes()));
    }
}
