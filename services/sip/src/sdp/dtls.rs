//! What a description says of DTLS (RFC 8122, RFC 4145) and of ICE (RFC 8839), as far as a box that ends both must know.

use super::line::tokens;
use super::{Sdp, Stream};

/// The SHA-256 of a certificate (RFC 8122 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Reads what follows `a=fingerprint:`; another hash is none.
    pub fn parse(value: &[u8]) -> Option<Fingerprint> {
        let mut fields = tokens(value);
        if !fields.next()?.eq_ignore_ascii_case(b"sha-256") {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut octets = [0; 32];
        let mut pairs = fields.next()?.split(|byte| *byte == b':');
        for octet in &mut octets {
            let &[high, low] = pairs.next()? else { return None };
            *octet = digit(high)? << 4 | digit(low)?;
        }
        pairs.next().is_none().then_some(Fingerprint(octets))
    }

    /// The value of the line.
    pub fn write(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|octet| format!("{octet:02X}")).collect();
        format!("sha-256 {}", pairs.join(":"))
    }
}

/// Who begins the handshake (RFC 4145 §4, RFC 8842 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Its author.
    Active,
    /// The other.
    Passive,
    /// The answerer chooses.
    ActPass,
}

impl Setup {
    /// Reads what follows `a=setup:`.
    pub fn parse(value: &[u8]) -> Option<Setup> {
        [Setup::Active, Setup::Passive, Setup::ActPass]
            .into_iter()
            .find(|setup| setup.name().as_bytes().eq_ignore_ascii_case(value.trim_ascii()))
    }

    /// The value of the line.
    pub const fn name(self) -> &'static str {
        match self {
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::ActPass => "actpass",
        }
    }
}

impl<'a> Sdp<'a> {
    /// The SHA-256 of the certificate that a stream's author will show: the stream's own or the session's.
    pub fn fingerprint(&self, index: usize) -> Option<Fingerprint> {
        let own = self.streams.get(index)?.attributes(b"fingerprint").find_map(Fingerprint::parse);
        own.or_else(|| self.attributes(b"fingerprint").find_map(Fingerprint::parse))
    }

    /// Whether a stream names a key, or the certificate of one, be it in a way that this library does not know.
    pub fn names_keys(&self, index: usize) -> bool {
        let Some(stream) = self.streams.get(index) else { return false };
        let fingerprint = stream.attributes(b"fingerprint").chain(self.attributes(b"fingerprint")).next();
        fingerprint.is_some() || stream.attributes(b"crypto").next().is_some()
    }

    /// Who begins a stream's handshake. Nothing said is `active` in an offer (RFC 4145 §4), which no one means who does
    /// DTLS: it is taken for `actpass`.
    pub fn setup(&self, index: usize) -> Setup {
        self.of_stream(index, b"setup").and_then(Setup::parse).unwrap_or(Setup::ActPass)
    }

    /// The user fragment and the password of a stream's ICE (RFC 8839 §5.4).
    pub fn ice(&self, index: usize) -> Option<(&'a [u8], &'a [u8])> {
        let (user, password) = (self.of_stream(index, b"ice-ufrag")?, self.of_stream(index, b"ice-pwd")?);
        ((4..=256).contains(&user.len()) && (22..=256).contains(&password.len())).then_some((user, password))
    }

    /// Whether its author answers checks and makes none (RFC 8839 §5.3).
    pub fn is_ice_lite(&self) -> bool {
        self.attributes(b"ice-lite").next().is_some()
    }

    /// Whether its author bundles streams (RFC 9143).
    pub fn bundles(&self) -> bool {
        self.attributes(b"group").any(|value| value.starts_with(b"BUNDLE"))
    }
}

impl<'a> Stream<'a> {
    /// What its author calls it (RFC 5888).
    pub fn mid(&self) -> Option<&'a [u8]> {
        self.attributes(b"mid").next().filter(|mid| !mid.is_empty() && mid.len() <= 64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_and_written_again() {
        let text = Fingerprint([0xA7; 32]).write();
        assert!(text.starts_with("sha-256 A7:A7:"), "{text}");
        assert_eq!(Fingerprint::parse(text.to_lowercase().as_bytes()), Some(Fingerprint([0xA7; 32])));
        for wrong in
            [&text[..text.len() - 3], &format!("{text}:A7"), &text.replace("256", "1"), "sha-256", ""]
        {
            assert_eq!(Fingerprint::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_the_session_says_holds_for_streams_that_say_nothing() {
        let text = format!(
            "v=0\r\na=fingerprint:{}\r\na=setup:passive\r\na=ice-ufrag:abcd\r\na=ice-pwd:{}\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=setup:active\r\na=mid:one\r\nm=video 9 RTP/AVP 96\r\n",
            Fingerprint([1; 32]).write(),
            "p".repeat(22),
        );
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        assert_eq!(sdp.fingerprint(1), Some(Fingerprint([1; 32])));
        assert_eq!((sdp.setup(0), sdp.setup(1)), (Setup::Active, Setup::Passive));
        assert_eq!(sdp.ice(0).unwrap().0, b"abcd");
        assert_eq!((sdp.streams()[0].mid(), sdp.streams()[1].mid()), (Some(&b"one"[..]), None));
        assert_eq!((sdp.fingerprint(2), sdp.ice(2)), (None, None));
    }
}
