//! The two requests that are made out of an INVITE and belong to its hop: the ACK for a failure, and CANCEL.

use bytes::Bytes;

use super::{Writer, decimal};
use crate::message::{Message, Name};

/// The ACK for a final response above 299 to an INVITE that we sent (RFC 3261 §17.1.1.3): To comes from the response,
/// everything else from the INVITE.
pub fn ack_for_failure(invite: &Message<'_>, response: &Message<'_>) -> Bytes {
    let to = response.first(Name::To).or_else(|| invite.first(Name::To));
    derive(b"ACK", invite, to).finish()
}

/// The CANCEL of an INVITE that we sent (RFC 3261 §9.1): the same hop, transaction and dialog identifiers as the
/// INVITE's, To as the INVITE had it, with a Reason when there is one. It must not be sent before a provisional
/// response came.
pub fn cancel_for(invite: &Message<'_>, reason: Option<&[u8]>) -> Bytes {
    let mut writer = derive(b"CANCEL", invite, invite.first(Name::To));
    if let Some(reason) = reason {
        writer.header("Reason", reason);
    }
    writer.finish()
}

fn derive(method: &[u8], invite: &Message<'_>, to: Option<&[u8]>) -> Writer {
    let mut writer = Writer::request(method, invite.request_uri().unwrap_or_default());
    if let Some(via) = invite.top_via() {
        writer.header("Via", via);
    }
    writer.header("Max-Forwards", b"70");
    for route in invite.values(Name::Route) {
        writer.header("Route", route);
    }
    for (name, value) in
        [("From", invite.first(Name::From)), ("To", to), ("Call-ID", invite.first(Name::CallId))]
    {
        if let Some(value) = value {
            writer.header(name, value);
        }
    }
    if let Ok(cseq) = invite.cseq() {
        let mut digits = [0; 20];
        writer.parts("CSeq", &[decimal(u64::from(cseq.number), &mut digits), b" ", method]);
    }
    writer
}
