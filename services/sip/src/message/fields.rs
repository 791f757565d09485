//! The smaller header values: CSeq, RAck, Session-Expires, Reason, Replaces.

use super::text::{is_space, is_token, number, trim};
use super::{Fault, Method, Params, unquote};

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, below 2³¹.
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method as it was written.
    pub method_text: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Reads a CSeq value.
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, Fault> {
        let fault = Fault::new("CSeq", "a number below 2147483648 and a method");
        let (digits, method_text) = split_at_space(trim(value)).ok_or(fault)?;
        // RFC 3261 §8.1.1.5: less than 2**31.
        let number = small_number(digits).filter(|number| *number < 1 << 31).ok_or(fault)?;
        if !is_token(method_text) {
            return Err(fault);
        }
        Ok(CSeq { number, method: Method::parse(method_text), method_text })
    }
}

/// RAck (RFC 3262 §7.2): which provisional response a PRACK acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck<'a> {
    /// The RSeq of the response.
    pub response: u32,
    /// The CSeq of the request that the response answered.
    pub cseq: CSeq<'a>,
}

impl<'a> RAck<'a> {
    /// Reads a RAck value.
    pub fn parse(value: &'a [u8]) -> Result<RAck<'a>, Fault> {
        let fault = Fault::new("RAck", "two numbers and a method");
        let (digits, rest) = split_at_space(trim(value)).ok_or(fault)?;
        let response = small_number(digits).ok_or(fault)?;
        let cseq = CSeq::parse(rest).map_err(|_| fault)?;
        Ok(RAck { response, cseq })
    }
}

/// Who refreshes a session (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The one that sent the request.
    Uac,
    /// The one that answered it.
    Uas,
}

impl Refresher {
    /// As the parameter says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        }
    }
}

/// Session-Expires (RFC 4028 §4); Min-SE has the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// The interval in seconds.
    pub seconds: u32,
    /// Who refreshes, when it is said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads a Session-Expires or Min-SE value.
    pub fn parse(value: &[u8]) -> Result<SessionExpires, Fault> {
        let fault = Fault::new("Session-Expires", "seconds, and uac or uas as the refresher");
        let (digits, params) = Params::split(trim(value));
        let seconds = small_number(digits).ok_or(fault)?;
        let refresher = match params.value("refresher") {
            None => None,
            Some(text) if text.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            Some(text) if text.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            Some(_) => return Err(fault),
        };
        Ok(SessionExpires { seconds, refresher })
    }
}

/// One element of a Reason header (RFC 3326).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// The protocol whose code it is: `SIP`, `Q.850`.
    pub protocol: &'a [u8],
    /// The code.
    pub cause: Option<u16>,
    /// The text without its quotes, escapes kept.
    pub text: Option<&'a [u8]>,
}

impl<'a> Reason<'a> {
    /// Reads one element.
    pub fn parse(value: &'a [u8]) -> Result<Reason<'a>, Fault> {
        let fault = Fault::new("Reason", "a protocol, and a number as the cause");
        let (protocol, params) = Params::split(trim(value));
        if !is_token(protocol) {
            return Err(fault);
        }
        let cause = match params.value("cause") {
            None => None,
            Some(digits) => Some(number(digits).and_then(|cause| u16::try_from(cause).ok()).ok_or(fault)?),
        };
        Ok(Reason { protocol, cause, text: params.value("text").map(unquote) })
    }
}

/// Replaces (RFC 3891), as a header or, unescaped, out of a Refer-To.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    /// The Call-ID of the dialog to replace.
    pub call_id: &'a [u8],
    /// The tag of the one that receives this.
    pub to_tag: &'a [u8],
    /// The tag of its peer.
    pub from_tag: &'a [u8],
    /// Whether only an early dialog may be replaced.
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    /// Reads a Replaces value.
    pub fn parse(value: &'a [u8]) -> Result<Replaces<'a>, Fault> {
        let fault = Fault::new("Replaces", "a Call-ID, a to-tag and a from-tag");
        let (call_id, params) = Params::split(trim(value));
        if call_id.is_empty() || call_id.iter().any(|byte| is_space(*byte)) {
            return Err(fault);
        }
        let tag = |name| params.value(name).filter(|tag| !tag.is_empty()).ok_or(fault);
        Ok(Replaces {
            call_id,
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

/// What stands before the first white space, and what after it.
fn split_at_space(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| is_space(*byte))?;
    let (head, rest) = text.split_at_checked(at)?;
    Some((head, trim(rest)))
}

fn small_number(digits: &[u8]) -> Option<u32> {
    number(digits).and_then(|number| u32::try_from(number).ok())
}
