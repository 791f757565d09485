//! The messages that a phone writes, as text: nothing of the product's writer is used here.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use sip::{Message, Name};

/// Everything of a request that a phone decides.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) via: SocketAddr,
    pub(crate) stream: bool,
    pub(crate) branch: &'a str,
    pub(crate) routes: &'a [String],
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) contact: Option<&'a str>,
    pub(crate) product: &'a str,
    /// Content-Type and body.
    pub(crate) body: Option<(&'a str, &'a str)>,
}

pub(crate) fn request(parts: &Request<'_>) -> Bytes {
    let mut text = format!("{} {} SIP/2.0\r\n", parts.method, parts.uri);
    let _ = write!(
        text,
        "Via: SIP/2.0/{} {};rport;branch={}\r\nMax-Forwards: 70\r\n",
        if parts.stream { "TCP" } else { "UDP" },
        parts.via,
        parts.branch
    );
    for route in parts.routes {
        let _ = write!(text, "Route: {route}\r\n");
    }
    let _ = write!(text, "From: {}\r\nTo: {}\r\nCall-ID: {}\r\n", parts.from, parts.to, parts.call_id);
    let _ = write!(text, "CSeq: {} {}\r\nUser-Agent: {}\r\n", parts.cseq, parts.method, parts.product);
    if let Some(contact) = parts.contact {
        let _ = write!(text, "Contact: {contact}\r\n");
    }
    end(text, parts.body)
}

/// A response to a request of the box, with the To-tag where the request has none.
pub(crate) fn response(
    request: &Message<'_>,
    status: u16,
    tag: Option<&str>,
    headers: &[(&str, &str)],
    body: Option<(&str, &str)>,
) -> Bytes {
    let mut text = format!("SIP/2.0 {status} {}\r\n", sip::reason_phrase(status));
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
        for value in request.values(name) {
            let value = String::from_utf8_lossy(value);
            let has_tag = request.to().is_ok_and(|to| to.tag().is_some());
            let _ = match tag {
                Some(tag) if name == Name::To && !has_tag && status > 100 => {
                    write!(text, "To: {value};tag={tag}\r\n")
                }
                _ => write!(text, "{}: {value}\r\n", name.as_str()),
            };
        }
    }
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    end(text, body)
}

/// What a request of our own turns into as CANCEL or as the ACK of its failure: the same top Via.
pub(crate) fn of_request(request: &Message<'_>, method: &str, to: &str) -> Bytes {
    let copied = |name| String::from_utf8_lossy(request.first(name).unwrap_or_default()).into_owned();
    let uri = String::from_utf8_lossy(request.request_uri().unwrap_or_default()).into_owned();
    let number = request.cseq().map_or(0, |cseq| cseq.number);
    let mut text = format!("{method} {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\n", copied(Name::Via));
    for route in request.values(Name::Route) {
        let _ = write!(text, "Route: {}\r\n", String::from_utf8_lossy(route));
    }
    let _ = write!(text, "From: {}\r\nTo: {to}\r\n", copied(Name::From));
    let _ = write!(text, "Call-ID: {}\r\nCSeq: {number} {method}\r\n", copied(Name::CallId));
    end(text, None)
}

fn end(mut text: String, body: Option<(&str, &str)>) -> Bytes {
    let (kind, body) = body.unwrap_or_default();
    if !body.is_empty() {
        let _ = write!(text, "Content-Type: {kind}\r\n");
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
    Bytes::from(text)
}
