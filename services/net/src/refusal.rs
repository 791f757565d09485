//! Answers given at the receiver, without a Core: to strangers, when a shard has too much to do, and when a stream cannot
//! be cut.
//!
//! They are stateless (RFC 3261 §8.2.7): the To tag is made from the request, so that a retransmission gets the same
//! answer. ACK is never answered, and nothing that cannot be read well enough to say where the answer goes.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use sip::{Message, Method, Name};

/// The 503 to an INVITE that finds no room, and where it goes when it goes by datagram; `None`
/// for anything else. Only a new call is worth the work of an answer, since it is what makes the load; all other
/// requests are sent again by their transactions.
pub(crate) fn full(message: &[u8], source: SocketAddr, retry_after: u64) -> Option<(Bytes, SocketAddr)> {
    // Looked at before the whole message is indexed: this is done when there is no time.
    if !message.trim_ascii_start().starts_with(b"INVITE ") {
        return None;
    }
    busy(&Message::parse(message).ok()?, source, retry_after)
}

/// The 503 to a request that would begin something new. Those that are refused in the same second are not all told the
/// same second to come back in (RFC 3261 §20.33 leaves it to the server).
pub(crate) fn busy(
    request: &Message<'_>,
    source: SocketAddr,
    retry_after: u64,
) -> Option<(Bytes, SocketAddr)> {
    let target = back(request, source)?;
    let tag = tag_of(request)?;
    let spread = tag.iter().fold(0_u64, |sum, digit| sum + u64::from(*digit)) % (retry_after / 2 + 1);
    let mut response = sip::respond(request, 503, None, Some(&tag), source);
    response.number("Retry-After", retry_after + spread);
    Some((response.finish(), target))
}

/// The 403 to somebody who has no business here. It does not say who answers.
pub(crate) fn stranger(request: &Message<'_>, source: SocketAddr) -> Option<(Bytes, SocketAddr)> {
    let target = back(request, source)?;
    let response = sip::respond(request, 403, None, Some(&tag_of(request)?), source);
    Some((response.finish(), target))
}

/// Where an answer goes that nobody has to get: to the host that asked, at the port that RFC 3261 §18.2.2 and RFC 3581 §4
/// say. A `maddr` would let anybody choose whom the box writes to.
fn back(request: &Message<'_>, source: SocketAddr) -> Option<SocketAddr> {
    let port = request.via().ok()?.response_target(source).port();
    Some(SocketAddr::new(source.ip(), port))
}

/// The answer to a request whose head is whole and whose length is not to be believed.
pub(crate) fn refuse_head(head: &[u8], status: u16, phrase: &str, source: SocketAddr) -> Option<Bytes> {
    let head = without_length(head);
    // One that is too long may be more than a message can have.
    let request = Message::parse(&head).ok().or_else(|| Message::salvage(&head))?;
    // Neither an ACK nor a CANCEL is told what is wrong with it.
    let is_answered = request.is_request() && !matches!(request.method(), Method::Ack | Method::Cancel);
    if !is_answered || request.via().is_err() {
        return None;
    }
    let tag = tag_of(&request)?;
    Some(sip::respond(&request, status, Some(phrase.as_bytes()), Some(&tag), source).finish())
}

/// The same number for each copy of a request.
pub(crate) fn key_of(request: &Message<'_>) -> Option<u64> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in [request.first(Name::Via)?, request.first(Name::From)?, request.first(Name::CallId)?] {
        for &octet in part {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Some(hash)
}

/// A tag that depends on the transaction only, and is the same in every process.
fn tag_of(request: &Message<'_>) -> Option<[u8; 16]> {
    let hash = key_of(request)?;
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
        let (first, target) = full(request.as_bytes(), source(), 5).unwrap();
        assert_eq!(full(request.as_bytes(), source(), 5), Some((first.clone(), target)));
        assert_eq!(target, source());

        let response = Message::parse(&first).unwrap();
        assert_eq!(response.status(), Some(503));
        let retry_after = response.first(Name::RetryAfter).unwrap();
        assert!((b"5".as_slice()..=b"7").contains(&retry_after), "{retry_after:?}");
        assert_eq!(response.first(Name::CallId), Some(&b"c"[..]));
        assert!(response.to().unwrap().tag().is_some());
    }

    #[test]
    fn nobody_chooses_by_maddr_whom_the_box_writes_to() {
        let request = format!("{REQUEST}Content-Length: 0\r\n\r\n").replace(";rport", ";maddr=198.51.100.7");
        let sent_by_port: SocketAddr = "192.0.2.9:5060".parse().unwrap();
        assert_eq!(full(request.as_bytes(), source(), 5).unwrap().1, sent_by_port);
        let request = Message::parse(request.as_bytes()).unwrap();
        assert_eq!(stranger(&request, source()).unwrap().1, sent_by_port);
    }

    #[test]
    fn nothing_but_an_invite_is_worth_an_answer_under_load() {
        for method in ["ACK", "BYE", "OPTIONS", "INVITED"] {
            let request = REQUEST.replace("INVITE", method) + "Content-Length: 0\r\n\r\n";
            assert_eq!(full(request.as_bytes(), source(), 5), None, "{method}");
        }
        assert_eq!(full(b"INVITE garbage", source(), 5), None);
        assert_eq!(full(b"SIP/2.0 200 OK\r\n\r\n", source(), 5), None);
    }

    #[test]
    fn a_head_with_a_bad_length_is_refused_by_its_name() {
        for length in ["Content-Length: -1\r\n", "l: 5\r\nContent-Length: 6\r\n", ""] {
            let head = format!("{REQUEST}{length}\r\n");
            let answer = refuse_head(head.as_bytes(), 400, "Bad Content-Length", source()).unwrap();
            assert!(answer.starts_with(b"SIP/2.0 400 Bad Content-Length\r\n"), "{answer:?}");
        }
        for method in ["ACK", "CANCEL"] {
            let request = REQUEST.replace("INVITE", method) + "\r\n";
            assert_eq!(refuse_head(request.as_bytes(), 400, "Bad Content-Length", source()), None);
        }
        assert_eq!(refuse_head(b"GET / HTTP/1.1\r\n\r\n", 400, "Bad Content-Length", source()), None);
    }
}
