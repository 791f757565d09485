//! A second reader: what the Core sends is also read by rsip, code that is not ours.
//!
//! rsip misreads some messages (IPv6 references, lists of Via, binary bodies, unknown methods); none of these is in
//! what a Core sends to this world's phones, except methods that nobody knows: rsip cannot read their CSeq.

use rsip::message::HeadersExt;
use rsip::prelude::*;
use sip::{Message, Method};

/// Reads the message with rsip and compares with our own reading.
///
/// # Errors
///
/// What the two disagree about.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let ours =
        Message::parse(bytes).map_err(|error| format!("our own reader refuses what was sent: {error}"))?;
    ours.check().map_err(|fault| format!("what was sent breaks RFC 3261 §8.1.1: {fault}"))?;
    let theirs = match rsip::SipMessage::try_from(bytes) {
        Ok(message) => message,
        Err(error) => return Err(format!("rsip refuses what was sent: {error}")),
    };
    match &theirs {
        rsip::SipMessage::Request(request) => {
            let method = request.method().to_string();
            same("method", Some(method.as_bytes()), ours.is_request().then(|| ours.method_text()))?;
        }
        rsip::SipMessage::Response(response) => {
            let status = u16::from(response.status_code().clone());
            same("status", Some(status), ours.status())?;
        }
    }
    let text = |error: rsip::Error| format!("rsip cannot read a header of what was sent: {error}");
    let call_id = theirs.call_id_header().map_err(text)?.value().to_owned();
    same("Call-ID", Some(call_id.as_bytes()), ours.call_id().ok())?;
    if ours.method() == Method::Unknown {
        return Ok(());
    }
    let cseq = theirs.cseq_header().and_then(|header| header.typed()).map_err(text)?;
    same("CSeq", Some(cseq.seq), ours.cseq().ok().map(|cseq| cseq.number))?;
    let via = theirs.via_header().and_then(|header| header.typed()).map_err(text)?;
    let branch = via.branch().map(|branch| branch.value().to_owned());
    let our_branch = ours.via().ok().and_then(|via| via.branch());
    same("branch", branch.as_deref().map(str::as_bytes), our_branch)?;
    let from = theirs.from_header().and_then(|header| header.typed()).map_err(text)?;
    let from_tag = from.tag().map(|tag| tag.value().to_owned());
    let our_tag = ours.from().ok().and_then(|from| from.tag());
    same("From tag", from_tag.as_deref().map(str::as_bytes), our_tag)?;
    same("body", Some(theirs.body().as_slice()), Some(ours.body()))
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    theirs: Option<T>,
    ours: Option<T>,
) -> Result<(), String> {
    if theirs == ours {
        return Ok(());
    }
    Err(format!("rsip reads another {what}: {theirs:?}, we read {ours:?}"))
}
