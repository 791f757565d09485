//! Connectivity checks: who knows the password gets one short answer that says where the check came from, and whatever
//! else comes gets none. A search cannot guess a code, so what it finds is also signed, as one who knows the password would.

use std::net::SocketAddr;

use call::IceTerms;
use hmac::{Hmac, KeyInit, Mac};
use media::reading::check as answer_to;
use sha1::Sha1;

const USER: &str = "evtj:h6vY";
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
/// A check has a handful of attributes, its answer three.
const LONGEST_ANSWER: usize = 96;

/// The first byte says what is done to the rest: nothing; a code is put behind it; a code and a checksum; and whether it
/// is sent from IPv6.
pub(crate) fn check(bytes: &[u8]) {
    let Some((seed, rest)) = bytes.split_first() else { return };
    let source: SocketAddr =
        if seed & 4 == 0 { "192.0.2.1:32853" } else { "[2001:db8::7]:61000" }.parse().unwrap();
    let message = match seed & 3 {
        0 => rest.to_vec(),
        1 => signed(rest),
        _ => with_checksum(signed(rest)),
    };
    let terms = IceTerms { user: USER.into(), password: PASSWORD.into(), is_lite: false };
    let answered = answer_to(&message, &terms, source);
    match &answered {
        Some(check) => {
            let request = second_reading(&message).expect("only what is a check is answered");
            assert_eq!(request.username, USER.as_bytes());
            assert_eq!(check.is_nominated, request.is_nominated);
            says_where_from(&check.answer, &message, source);
            assert!(answer_to(&check.answer, &terms, source).is_none(), "no answer to an answer");
        }
        None => assert!(
            second_reading(&message).is_none_or(|request| request.username != USER.as_bytes()),
            "a right check is answered"
        ),
    }
    let strangers = IceTerms { password: "another password, as long".into(), ..terms };
    assert!(answer_to(&message, &strangers, source).is_none(), "the password proves it");
}

/// The answer is a Binding success of this transaction with the address mixed into it (RFC 8489 §14.2), authenticated.
fn says_where_from(answer: &[u8], request: &[u8], source: SocketAddr) {
    assert!(answer.len() <= LONGEST_ANSWER, "no flood by way of the box");
    assert_eq!(answer[..2], [1, 1]);
    assert_eq!(answer[4..HEADER], request[4..HEADER]);
    let attributes = attributes(answer).expect("an answer is sound");
    let (_, at, address) = attributes[0];
    assert_eq!((at, address.len()), (HEADER, if source.is_ipv4() { 8 } else { 20 }));
    let plain: Vec<u8> = address[2..4].iter().zip(&COOKIE).map(|(one, other)| one ^ other).collect();
    assert_eq!(plain, source.port().to_be_bytes());
    let plain: Vec<u8> = address[4..].iter().zip(&answer[4..]).map(|(one, other)| one ^ other).collect();
    match source {
        SocketAddr::V4(v4) => assert_eq!(plain, v4.ip().octets()),
        SocketAddr::V6(v6) => assert_eq!(plain, v6.ip().octets()),
    }
    let (_, at, given) =
        attributes.iter().find(|(kind, ..)| *kind == MESSAGE_INTEGRITY).expect("authenticated");
    assert_eq!(code(&answer[..*at]), *given);
    let (_, at, given) = attributes.iter().find(|(kind, ..)| *kind == FINGERPRINT).expect("told from RTP");
    assert_eq!(checksum(&answer[..*at]).to_be_bytes(), *given);
}

struct Request<'a> {
    username: &'a [u8],
    is_nominated: bool,
}

/// A second reader: a Binding request whose code is right and whose checksum, where there is one, is too.
fn second_reading(message: &[u8]) -> Option<Request<'_>> {
    if message.get(..2)? != [0, 1] || message.get(4..8)? != COOKIE {
        return None;
    }
    let attributes = attributes(message)?;
    let last = |kind: u16, end: usize| attributes[..end].iter().rfind(|(found, ..)| *found == kind);
    let signed = attributes.iter().position(|(kind, ..)| *kind == MESSAGE_INTEGRITY)?;
    let (_, at, given) = attributes[signed];
    if code(&message[..at]) != given {
        return None;
    }
    for (_, _, sum) in attributes.iter().filter(|(kind, ..)| *kind == FINGERPRINT) {
        if sum.len() != 4 {
            return None;
        }
    }
    if let Some((_, at, sum)) = last(FINGERPRINT, attributes.len())
        && checksum(&message[..*at]).to_be_bytes() != *sum
    {
        return None;
    }
    let (_, _, username) = last(USERNAME, signed)?;
    Some(Request { username, is_nominated: last(USE_CANDIDATE, signed).is_some() })
}

/// Kind, place and value of each; `None` when they do not fill the message, or are more than anybody sends.
fn attributes(message: &[u8]) -> Option<Vec<(u16, usize, &[u8])>> {
    let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    if HEADER + usize::from(number(2)?) != message.len() {
        return None;
    }
    let mut found = Vec::new();
    let mut at = HEADER;
    while at < message.len() {
        let (kind, length) = (number(at)?, usize::from(number(at + 2)?));
        found.push((kind, at, message.get(at + 4..at + 4 + length)?));
        at += 4 + length.div_ceil(4) * 4;
    }
    (at == message.len() && found.len() < 32).then_some(found)
}

/// With MESSAGE-INTEGRITY behind it and a length that says so.
fn signed(message: &[u8]) -> Vec<u8> {
    if message.len() < HEADER {
        return message.to_vec();
    }
    let code = code(message);
    with(message, MESSAGE_INTEGRITY, &code)
}

fn with_checksum(message: Vec<u8>) -> Vec<u8> {
    if message.len() < HEADER {
        return message;
    }
    let sum = checksum(&message);
    with(&message, FINGERPRINT, &sum.to_be_bytes())
}

fn with(message: &[u8], kind: u16, value: &[u8]) -> Vec<u8> {
    let mut longer = message.to_vec();
    longer.extend(kind.to_be_bytes());
    longer.extend((value.len() as u16).to_be_bytes());
    longer.extend(value);
    let length = (longer.len() - HEADER) as u16;
    longer[2..4].copy_from_slice(&length.to_be_bytes());
    longer
}

/// RFC 8489 §14.5: over what stands before, as if the message ended with the code.
fn code(before: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(PASSWORD.as_bytes()).unwrap();
    mac.update(&ending_with(before, 24));
    mac.finalize().into_bytes().to_vec()
}

/// RFC 8489 §14.7, by long division.
fn checksum(before: &[u8]) -> u32 {
    let mut rest = 0_u32;
    let padded = ending_with(before, 8);
    for (place, octet) in padded.iter().chain(&[0; 4]).enumerate() {
        for bit in 0..8 {
            // The first 32 bits are taken inverted.
            let next = (u32::from(*octet) >> bit & 1) ^ u32::from(place < 4);
            let carry = rest >> 31;
            rest = rest << 1 | next;
            if carry == 1 {
                rest ^= 0x04c1_1db7;
            }
        }
    }
    !rest.reverse_bits() ^ 0x5354_554e
}

fn ending_with(before: &[u8], last: usize) -> Vec<u8> {
    let mut message = before.to_vec();
    let length = (before.len() - HEADER + last) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}
