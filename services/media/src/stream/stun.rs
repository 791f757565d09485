//! Connectivity checks (RFC 8445, RFC 8489), as far as a lite end needs them: a Binding request with the right password is
//! answered with the address that it came from, and nothing else is answered at all. The same answers are the consent
//! that a peer asks for while it sends (RFC 7675).

use std::net::{IpAddr, SocketAddr};

use call::IceTerms;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
/// What the checksum of FINGERPRINT is mixed with (RFC 8489 §14.7).
const FINGERPRINT_MIX: u32 = 0x5354_554e;
/// More attributes than any check has.
const MAX_ATTRIBUTES: usize = 32;

/// A check by who knows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The answer.
    pub answer: Vec<u8>,
    /// Its sender wants this path (USE-CANDIDATE).
    pub is_nominated: bool,
}

/// Reads a check from `source`. `None`: it is none, its user or its password is not the one agreed upon, or it was changed
/// on the way. Who cannot prove itself gets no answer, so that nobody is flooded by way of this box.
pub fn check(packet: &[u8], terms: &IceTerms, source: SocketAddr) -> Option<Check> {
    let request = Request::read(packet)?;
    if request.username? != terms.user.as_bytes() {
        return None;
    }
    let (before, given) = request.integrity?;
    let mac = integrity(packet.get(..before)?, terms.password.as_bytes())?;
    mac.verify_slice(given).ok()?;
    if let Some((before, given)) = request.fingerprint
        && checksum(packet.get(..before)?) != given
    {
        return None;
    }
    let answer = answer(request.transaction, terms, source)?;
    Some(Check { answer, is_nominated: request.is_nominated })
}

/// A Binding request cut up. What follows MESSAGE-INTEGRITY counts for nothing but FINGERPRINT (RFC 8489 §14.5).
struct Request<'a> {
    transaction: [u8; 12],
    username: Option<&'a [u8]>,
    /// Where the attribute begins, and the code in it.
    integrity: Option<(usize, &'a [u8])>,
    fingerprint: Option<(usize, u32)>,
    is_nominated: bool,
}

impl<'a> Request<'a> {
    fn read(packet: &'a [u8]) -> Option<Request<'a>> {
        let header = packet.first_chunk::<HEADER>()?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if kind != BINDING_REQUEST || header[4..8] != COOKIE || HEADER + length != packet.len() {
            return None;
        }
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..]);
        let mut request =
            Request { transaction, username: None, integrity: None, fingerprint: None, is_nominated: false };
        let mut at = HEADER;
        for _ in 0..MAX_ATTRIBUTES {
            let Some(&[k0, k1, l0, l1]) = packet.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
                return (at == packet.len()).then_some(request);
            };
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let value = packet.get(at + 4..at + 4 + length)?;
            request.take(u16::from_be_bytes([k0, k1]), at, value)?;
            at += 4 + length.next_multiple_of(4);
        }
        None
    }

    fn take(&mut self, kind: u16, at: usize, value: &'a [u8]) -> Option<()> {
        match (kind, self.integrity) {
            (FINGERPRINT, _) => {
                self.fingerprint = Some((at, u32::from_be_bytes(value.try_into().ok()?)));
            }
            (_, Some(_)) => {}
            (USERNAME, None) => self.username = Some(value),
            (USE_CANDIDATE, None) => self.is_nominated = true,
            (MESSAGE_INTEGRITY, None) => self.integrity = Some((at, value)),
            // Below 0x8000 stands what must be understood: PRIORITY is, by being of no use to a lite end.
            (_, None) => {}
        }
        Some(())
    }
}

fn answer(transaction: [u8; 12], terms: &IceTerms, source: SocketAddr) -> Option<Vec<u8>> {
    let mut answer = Vec::with_capacity(96);
    answer.extend_from_slice(&BINDING_SUCCESS.to_be_bytes());
    answer.extend_from_slice(&[0, 0]);
    answer.extend_from_slice(&COOKIE);
    answer.extend_from_slice(&transaction);
    let mixed: Vec<u8> = COOKIE.iter().chain(&transaction).copied().collect();
    let mut address = vec![0, if source.is_ipv4() { 1 } else { 2 }];
    address.extend(source.port().to_be_bytes().iter().zip(&mixed).map(|(one, other)| one ^ other));
    match source.ip() {
        IpAddr::V4(ip) => address.extend(ip.octets().iter().zip(&mixed).map(|(one, other)| one ^ other)),
        IpAddr::V6(ip) => address.extend(ip.octets().iter().zip(&mixed).map(|(one, other)| one ^ other)),
    }
    put(&mut answer, XOR_MAPPED_ADDRESS, &address);
    let code = integrity(&answer, terms.password.as_bytes())?.finalize().into_bytes();
    put(&mut answer, MESSAGE_INTEGRITY, &code);
    let sum = checksum(&answer);
    put(&mut answer, FINGERPRINT, &sum.to_be_bytes());
    Some(answer)
}

/// Appends an attribute, whose length is a multiple of four, and counts it in the header.
fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    let length = ((message.len() - HEADER) as u16).to_be_bytes();
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&length);
    }
}

/// The code over a message up to MESSAGE-INTEGRITY, whose header speaks of a message that ends with it (§14.5).
fn integrity(before: &[u8], password: &[u8]) -> Option<Hmac<Sha1>> {
    let mut mac = Hmac::<Sha1>::new_from_slice(password).ok()?;
    feed(before, 24, |octets| mac.update(octets))?;
    Some(mac)
}

/// The checksum over a message up to FINGERPRINT, likewise (§14.7).
fn checksum(before: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    let _ = feed(before, 8, |octets| {
        for octet in octets {
            sum ^= u32::from(*octet);
            for _ in 0..8 {
                // The polynomial of ISO 3309, bits in reverse.
                sum = sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
            }
        }
    });
    !sum ^ FINGERPRINT_MIX
}

/// The octets of a message as if it ended with an attribute of `last` octets behind them.
fn feed(before: &[u8], last: usize, mut each: impl FnMut(&[u8])) -> Option<()> {
    let length = u16::try_from(before.len().checked_sub(HEADER)? + last).ok()?.to_be_bytes();
    each(before.get(..2)?);
    each(&length);
    each(before.get(4..)?);
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    const SOURCE: &str = "192.0.2.1:32853";

    fn terms() -> IceTerms {
        IceTerms { user: "evtj:h6vY".into(), password: "VOkJxbRl1RmTxUk/WvJxBt".into(), is_lite: false }
    }

    /// A check like RFC 5769 §2.1 describes one: other attributes before the code, padding in the name.
    pub(in super::super) fn request(terms: &IceTerms, nominates: bool) -> Vec<u8> {
        let mut message = [&BINDING_REQUEST.to_be_bytes()[..], &[0, 0], &COOKIE, b"transaction."].concat();
        put(&mut message, 0x0024, &[0x6e, 0, 1, 0xff]);
        let user = terms.user.as_bytes();
        let padded = [user, &vec![b' '; user.len().next_multiple_of(4) - user.len()]].concat();
        let at = message.len() + 2;
        put(&mut message, USERNAME, &padded);
        message[at..at + 2].copy_from_slice(&(user.len() as u16).to_be_bytes());
        if nominates {
            put(&mut message, USE_CANDIDATE, &[]);
        }
        let code = integrity(&message, terms.password.as_bytes()).unwrap().finalize().into_bytes();
        put(&mut message, MESSAGE_INTEGRITY, &code);
        let sum = checksum(&message);
        put(&mut message, FINGERPRINT, &sum.to_be_bytes());
        message
    }

    /// RFC 5769 §2.1: a request as another implementation wrote it.
    #[test]
    fn the_sample_request_of_rfc_5769_is_right() {
        let sample: Vec<u8> = [
            &[0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42][..],
            &[0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae],
            &[0x80, 0x22, 0x00, 0x10],
            b"STUN test client",
            &[0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff],
            &[0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36],
            &[0x00, 0x06, 0x00, 0x09],
            b"evtj:h6vY   ",
            &[0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5],
            &[0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2],
            &[0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf],
        ]
        .concat();
        let check = check(&sample, &terms(), SOURCE.parse().unwrap());
        assert!(check.is_some_and(|check| !check.is_nominated));
    }

    #[test]
    fn a_check_is_answered_with_where_it_came_from() {
        let check = check(&request(&terms(), true), &terms(), SOURCE.parse().unwrap()).unwrap();
        assert!(check.is_nominated);
        assert_eq!(check.answer[..2], [1, 1]);
        assert_eq!(check.answer[8..20], *b"transaction.");
        // RFC 5769 §2.2 maps the same address.
        assert_eq!(check.answer[24..32], [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        assert_eq!(usize::from(check.answer[3]) + 20, check.answer.len());
        assert!(super::check(&check.answer, &terms(), SOURCE.parse().unwrap()).is_none(), "no answer to one");
    }

    #[test]
    fn an_ipv6_address_is_mixed_with_the_transaction_too() {
        let check = check(&request(&terms(), false), &terms(), "[2001:db8::1]:1".parse().unwrap()).unwrap();
        assert_eq!(check.answer[22..24], [0, 20]);
        assert_eq!(check.answer[25], 2);
    }

    #[test]
    fn who_does_not_know_the_password_is_not_answered() {
        let good = request(&terms(), true);
        let source = SOURCE.parse().unwrap();
        let wrong = IceTerms { password: "another password, as long".into(), ..terms() };
        assert!(check(&request(&wrong, true), &terms(), source).is_none());
        assert!(
            check(&request(&IceTerms { user: "evtj:xxxx".into(), ..terms() }, true), &terms(), source)
                .is_none()
        );
        // The last attribute is FINGERPRINT, which may be missing.
        for at in 0..good.len() - 8 {
            let mut changed = good.clone();
            changed[at] ^= 1;
            // Padding is covered by the code; nothing may be changed.
            assert!(check(&changed, &terms(), source).is_none(), "octet {at}");
            assert!(check(&good[..at], &terms(), source).is_none(), "cut at {at}");
        }
    }
}
