//! `a=crypto` lines (RFC 4568): the keys of SRTP in a description.
//!
//! A line is read whole or not at all: a suite that is unknown, a session parameter that would change what is on the
//! wire, a key of the wrong length or an identifier of the master key in the packets makes it one that is not chosen, as
//! RFC 4568 §7.1.2 wants it. Keys are wiped when dropped and never shown by `Debug`.

use std::fmt;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use zeroize::Zeroize;

use super::Stream;
use super::line::tokens;

/// Of a key's lifetime, in packets. A key that is good for fewer would have to be changed within the call, which is nobody's to
/// do here: its line is not used (RFC 4568 §6.1). This is what phones write who write little, and six hours of speech.
const SHORTEST: u64 = 1 << 20;

/// The most `a=crypto` lines of a stream that are looked at.
pub const MAX_CRYPTO: usize = 16;
/// RFC 4568 §9.1: one to nine digits.
const MAX_TAG: u32 = 999_999_999;
/// The longest master key with its salt: AES-256 and 96 bits.
const MAX_MASTER: usize = 44;

/// How packets are protected (RFC 3711, RFC 7714).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpSuite {
    /// `AES_CM_128_HMAC_SHA1_80`, which everybody has.
    AesCm128Sha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: a short tag for RTP, the long one for RTCP (RFC 4568 §6.2.2).
    AesCm128Sha1_32,
    /// `AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

impl SrtpSuite {
    /// All of them, what is offered first at the front: authenticated encryption is the cheapest and the strongest.
    pub const ALL: [SrtpSuite; 4] = [
        SrtpSuite::AeadAes256Gcm,
        SrtpSuite::AeadAes128Gcm,
        SrtpSuite::AesCm128Sha1_80,
        SrtpSuite::AesCm128Sha1_32,
    ];

    /// As descriptions name it.
    pub const fn name(self) -> &'static str {
        match self {
            SrtpSuite::AesCm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            SrtpSuite::AesCm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
            SrtpSuite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            SrtpSuite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of this name.
    pub fn parse(name: &[u8]) -> Option<SrtpSuite> {
        SrtpSuite::ALL.into_iter().find(|suite| suite.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Octets of the master key.
    pub const fn key_length(self) -> usize {
        match self {
            SrtpSuite::AesCm128Sha1_80 | SrtpSuite::AesCm128Sha1_32 | SrtpSuite::AeadAes128Gcm => 16,
            SrtpSuite::AeadAes256Gcm => 32,
        }
    }

    /// Octets of the master salt.
    pub const fn salt_length(self) -> usize {
        match self {
            SrtpSuite::AesCm128Sha1_80 | SrtpSuite::AesCm128Sha1_32 => 14,
            SrtpSuite::AeadAes128Gcm | SrtpSuite::AeadAes256Gcm => 12,
        }
    }
}

/// A master key followed by its salt, for one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    octets: [u8; MAX_MASTER],
    key: u8,
    length: u8,
}

impl MasterKey {
    /// From key and salt in one piece; `None` when there are not as many octets as the suite wants.
    pub fn new(suite: SrtpSuite, octets: &[u8]) -> Option<MasterKey> {
        let (key, length) = (suite.key_length(), suite.key_length() + suite.salt_length());
        if octets.len() != length {
            return None;
        }
        let mut master = MasterKey { octets: [0; MAX_MASTER], key: key as u8, length: length as u8 };
        master.octets.get_mut(..length)?.copy_from_slice(octets);
        Some(master)
    }

    /// Nothing but zeros.
    pub fn zero(suite: SrtpSuite) -> MasterKey {
        let (key, length) = (suite.key_length(), suite.key_length() + suite.salt_length());
        MasterKey { octets: [0; MAX_MASTER], key: key as u8, length: length as u8 }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.octets.get(..usize::from(self.key)).unwrap_or_default()
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        self.octets.get(usize::from(self.key)..usize::from(self.length)).unwrap_or_default()
    }

    fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// An `a=crypto` line that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Tells it from the other lines; an answer repeats it.
    pub tag: u32,
    /// How.
    pub suite: SrtpSuite,
    /// With what its author's packets are protected.
    pub key: MasterKey,
}

impl Crypto {
    /// Reads what follows `a=crypto:`.
    pub fn parse(value: &[u8]) -> Option<Crypto> {
        let mut fields = tokens(value);
        let tag = std::str::from_utf8(fields.next()?).ok()?;
        let tag = Some(tag).filter(|tag| tag.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
        let suite = SrtpSuite::parse(fields.next()?)?;
        let parameter = fields.next()?;
        // Several keys take an identifier in each packet, which is not spoken here.
        let (method, information) = parameter.split_at_checked(b"inline:".len())?;
        if tag > MAX_TAG || !method.eq_ignore_ascii_case(b"inline:") || information.contains(&b';') {
            return None;
        }
        let mut information = information.split(|byte| *byte == b'|');
        let key = key(suite, information.next()?)?;
        // What follows is a lifetime, or an identifier in each packet, told by its colon: that is not spoken here.
        let plain = information.all(|field| lifetime(field).is_some_and(|packets| packets >= SHORTEST));
        // Of session parameters only a hint on the replay window leaves the packets as they are (RFC 4568 §6.3.7).
        let known = fields.all(|field| field.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"WSH=")));
        (plain && known).then_some(Crypto { tag, suite, key })
    }

    /// The value of the line, to be written behind `a=crypto:`.
    pub fn write(&self, to: &mut String) {
        to.push_str(&self.tag.to_string());
        to.push(' ');
        to.push_str(self.suite.name());
        to.push_str(" inline:");
        BASE64_STANDARD.encode_string(self.key.octets(), to);
    }
}

/// How many packets a key is good for (RFC 4568 §6.1): a number, or a power of two.
fn lifetime(field: &[u8]) -> Option<u64> {
    let number = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    match field.strip_prefix(b"2^") {
        Some(exponent) => 1_u64.checked_shl(number(exponent)?.try_into().ok()?),
        None => number(field),
    }
}

fn key(suite: SrtpSuite, text: &[u8]) -> Option<MasterKey> {
    let mut octets = [0; MAX_MASTER + 4];
    // Padding is often left out. More text than a key has would not fit, and is none.
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let length = BASE64_STANDARD_NO_PAD.decode_slice(text.get(..end)?, &mut octets).ok()?;
    let key = octets.get(..length).and_then(|octets| MasterKey::new(suite, octets));
    octets.zeroize();
    key
}

impl<'a> Stream<'a> {
    /// The `a=crypto` lines that can be used, as their author prefers them.
    pub fn crypto(&self) -> impl Iterator<Item = Crypto> + use<'a> {
        self.attributes(b"crypto").take(MAX_CRYPTO).filter_map(Crypto::parse)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw";

    fn parse(line: &str) -> Option<Crypto> {
        Crypto::parse(line.as_bytes())
    }

    #[test]
    fn a_line_is_read_and_written_again() {
        let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        let crypto = parse(&line).unwrap();
        assert_eq!((crypto.tag, crypto.suite), (1, SrtpSuite::AesCm128Sha1_80));
        assert_eq!((crypto.key.key(), crypto.key.salt()), (&b"1234567890123456"[..], &b"78901234567890"[..]));
        let mut written = String::new();
        crypto.write(&mut written);
        assert_eq!(written, line);
    }

    #[test]
    fn a_key_that_a_call_would_outlive_is_not_used() {
        let with = |lifetime: &str| parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|{lifetime}"));
        for good in ["2^20", "2^31", "2^48", "1048576"] {
            assert!(with(good).is_some(), "{good}");
        }
        for short in ["2^10", "2^19", "1000", "0", "", "2^", "2^64", "2^99999999999", "-1", "+2000000", "x"] {
            assert!(with(short).is_none(), "{short}");
        }
    }

    #[test]
    fn a_lifetime_and_a_hint_on_the_window_are_passed_over() {
        let line = format!("2  AES_CM_128_HMAC_SHA1_32\tinline:{KEY}|2^31 WSH=128 ");
        assert_eq!(parse(&line).unwrap().suite, SrtpSuite::AesCm128Sha1_32);
    }

    #[test]
    fn padding_may_be_missing() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw";
        for padding in ["", "=="] {
            assert!(parse(&format!("1 AEAD_AES_128_GCM inline:{key}{padding}")).is_some());
        }
    }

    #[test]
    fn a_line_that_asks_for_more_than_is_done_here_is_not_used() {
        for line in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AEAD_AES_128_GCM inline:{KEY}"),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{KEY}{KEY}"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:****".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80".to_owned(),
            "1".to_owned(),
            String::new(),
        ] {
            assert_eq!(parse(&line), None, "{line}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let crypto = parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).unwrap();
        assert!(!format!("{crypto:?}").contains("49"), "{crypto:?}");
    }
}
