//! Answers given at the receiver, without a Core: when a shard is full, and when a stream cannot be cut.
//!
//! They are stateless (RFC 3261 §8.2.7): the To tag is made from the request, so that a retransmission gets the same
//! answer. ACK is never answered, and nothing that cannot be read well enough to say where the answer goes.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use sip::{Message, Method, Name};

/// Seconds after which a refused caller may try again: long enough to take the load off, short for a human.
const RETRY_AFTER: u64 = 5;

/// The 503 to an INVITE, and where it goes when it goes by datagram (RFC 3261 §18.2.2, RFC 3581 §4); `None` for anything else. Only a new call is worth the work of an answer, since it is what
/// makes the load; all other requests are sent again by their transactions.
pub(crate) fn refuse(message: &[u8], source: SocketAddr) -> Option<(Bytes, SocketAddr)> {
    // Looked at before the whole message is indexed: this is done when there is no time.
    if !message.trim_ascii_start().starts_with(b"INVITE ") {
        return None;
    }
    let request = Message::parse(message).ok()?;
    let target = request.via().ok()?.response_target(source);
    let mut response = sip::respond(&request, 503, None, Some(&tag_of(&request)?), source);
    response.number("Retry-After", RETRY_AFTER);
    Some((response.finish(), target))
}

/// The answer to a request whose head is whole and whose length is not to be believed.
pub(crate) fn refuse_head(head: &[u8], status: u16, phrase: &str, source: SocketAddr) -> Option<Bytes> {
    let head = without_length(head);
    let request = Message::parse(&head).ok()?;
    if !request.is_request() || request.method() == Method::Ack || request.via().is_err() {
        return None;
    }
    let tag = tag_of(&request)?;
    Some(sip::respond(&request, status, Some(phrase.as_bytes()), Some(&tag), source).finish())
}

/// A tag that depends on the transaction only, and is the same in every process.
fn tag_of(request: &Message<'_>) -> Option<[u8; 16]> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in [request.first(Name::Via)?, request.first(Name::From)?, request.first(Name::CallId)?] {
        for &octet in part {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let mut tag = [0; 16];
    for (digit, nibble) in tag.iter_mut().zip((0..16).map(|place| (hash >> (4 * place)) & 0xf)) {
        *digit = char::from_digit(nibble as u32, 16).map_or(b'0', |digit| digit as u8);
    }
    Some(tag)
}

/// The head without the header that is at fault, so that it can be read as a message without a body.
fn without_length(head: &[u8]) -> Bytes {
    let mut kept = BytesMut::with_capacity(head.len());
    for line in crate::framing::Lines::new(head) {
        if !crate::framing::is_content_length(line) {
            kept.extend_from_slice(line);
        }
    }
    kept.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const REQUEST: &str = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n\
        From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n";

    fn source() -> SocketAddr {
        "192.0.2.9:5071".parse().unwrap()
    }

    #[test]
    fn an_invite_is_told_when_to_come_back_and_always_with_the_same_tag() {
        let request = format!("{REQUEST}Content-Length: 0\r\n\r\n");
        let (first, target) = refuse(request.as_bytes(), source()).unwrap();
        assert_eq!(refuse(request.as_bytes(), source()), Some((first.clone(), target)));
        assert_eq!(target, source());

        let response = Message::parse(&first).unwrap();
        assert_eq!(response.status(), Some(503));
        assert_eq!(response.first(Name::RetryAfter), Some(&b"5"[..]));
        assert_eq!(response.first(Name::CallId), Some(&b"c"[..]));
        assert!(response.to().unwrap().tag().is_some());
    }

    #[test]
    fn nothing_but_an_invite_is_worth_an_answer_under_load() {
        for method in ["ACK", "BYE", "OPTIONS", "INVITED"] {
            let request = REQUEST.replace("INVITE", method) + "Content-Length: 0\r\n\r\n";
            assert_eq!(refuse(request.as_bytes(), source()), None, "{method}");
        }
        assert_eq!(refuse(b"INVITE garbage", source()), None);
        assert_eq!(refuse(b"SIP/2.0 200 OK\r\n\r\n", source()), None);
    }

    #[test]
    fn a_head_with_a_bad_length_is_refused_by_its_name() {
        for length in ["Content-Length: -1\r\n", "l: 5\r\nContent-Length: 6\r\n", ""] {
            let head = format!("{REQUEST}{length}\r\n");
            let answer = refuse_head(head.as_bytes(), 400, "Bad Content-Length", source()).unwrap();
            assert!(answer.starts_with(b"SIP/2.0 400 Bad Content-Length\r\n"), "{answer:?}");
        }
        let ack = REQUEST.replace("INVITE", "ACK") + "\r\n";
        assert_eq!(refuse_head(ack.as_bytes(), 400, "Bad Content-Length", source()), None);
        assert_eq!(refuse_head(b"GET / HTTP/1.1\r\n\r\n", 400, "Bad Content-Length", source()), None);
    }
}
