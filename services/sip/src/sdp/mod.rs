//! Session descriptions (RFC 8866), read leniently and rewritten line by line.
//!
//! A session border controller stands in the media path but does not author the description: it must put its own
//! addresses in and leave everything else as it is, extensions of tomorrow and sloppiness of yesterday included. So a
//! [`Sdp`] is an index over the bytes received, [`Stream`]s are views of its m= sections, and [`Sdp::rewrite`] writes
//! the same lines again except for the few that name addresses and ports.
//!
//! Reading forgives what is seen in the field (any line end, lines missing or out of order, unknown lines, trailing
//! spaces) and refuses what would leave it unclear where media goes: the [`SdpError`] names that line.

mod crypto;
mod dtls;
mod fit;
mod line;
mod rewrite;
mod select;
mod stream;

use std::net::IpAddr;

pub use crypto::{Crypto, MAX_CRYPTO, MasterKey, SrtpSuite};
pub use dtls::{Fingerprint, Setup};
pub use rewrite::{Edit, Encryption, StreamEncryption, StreamPorts};
pub use select::Selection;
pub use stream::{Direction, Stream};

use line::{Attribute, Line, lines, tokens};

/// The most m= lines a description may have.
pub const MAX_STREAMS: usize = 16;

/// The most lines a description may have.
pub const MAX_LINES: usize = 2_048;

/// Why a description cannot be understood. Its text fits in a Warning header (RFC 3261 §20.43).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, got '{got}'")]
pub struct SdpError {
    /// Which line, from 1.
    pub line: usize,
    /// What should have been there.
    pub expected: &'static str,
    /// The line's beginning, without quotes and control characters.
    pub got: String,
}

impl SdpError {
    fn new(line: usize, expected: &'static str, got: &[u8]) -> SdpError {
        const ENOUGH: usize = 60;
        let shown = got.get(..ENOUGH).unwrap_or(got);
        let plain = |c: char| if c.is_control() || matches!(c, '"' | '\\') { '?' } else { c };
        SdpError { line, expected, got: String::from_utf8_lossy(shown).chars().map(plain).collect() }
    }
}

/// Where media goes, as a description names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address.
    Ip(IpAddr),
    /// A name, or an address of a kind unknown here.
    Name(&'a [u8]),
}

impl<'a> Host<'a> {
    /// Reads a connection-address; what follows a slash (multicast TTL and count) is no part of the host.
    fn parse(text: &'a [u8]) -> Host<'a> {
        let host = text.split(|byte| *byte == b'/').next().unwrap_or(text);
        match std::str::from_utf8(host).ok().and_then(|host| host.parse().ok()) {
            Some(ip) => Host::Ip(ip),
            None => Host::Name(host),
        }
    }

    /// The address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }

    /// Whether it says "send nothing": `0.0.0.0` (RFC 3264 §8.4), `::`, or a name under `.invalid`, which no one has
    /// (RFC 2606 §2).
    pub fn is_held(&self) -> bool {
        match self {
            Host::Ip(ip) => ip.is_unspecified(),
            Host::Name(name) => name
                .len()
                .checked_sub(b".invalid".len())
                .and_then(|start| name.get(start..))
                .is_some_and(|end| end.eq_ignore_ascii_case(b".invalid")),
        }
    }
}

/// The o= line (RFC 8866 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The user, `-` mostly.
    pub username: &'a [u8],
    /// The session's id: digits of any length by the grammar, anything in practice.
    pub session_id: &'a [u8],
    /// Rises with every changed description.
    pub version: &'a [u8],
    /// Who made it; not where media goes.
    pub address: &'a [u8],
}

impl<'a> Origin<'a> {
    /// Reads from the right, because user names with spaces in them occur.
    fn parse(value: &'a [u8]) -> Option<Origin<'a>> {
        let (rest, address) = cut_last(value)?;
        let (rest, _address_type) = cut_last(rest)?;
        let (rest, _network_type) = cut_last(rest)?;
        let (rest, version) = cut_last(rest)?;
        let (username, session_id) = cut_last(rest)?;
        let username = username.trim_ascii();
        (!username.is_empty()).then_some(Origin { username, session_id, version, address })
    }
}

/// The last field and what goes before it.
fn cut_last(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_end();
    let start = text.iter().rposition(u8::is_ascii_whitespace).map_or(0, |space| space + 1);
    (start < text.len()).then(|| text.split_at(start))
}

/// A description: an index over its bytes.
#[derive(Clone, Debug)]
pub struct Sdp<'a> {
    bytes: &'a [u8],
    origin: Option<Origin<'a>>,
    session: Level<'a>,
    streams: Vec<Stream<'a>>,
}

/// What the session level and an m= section can both say.
#[derive(Clone, Copy, Debug, Default)]
struct Level<'a> {
    connection: Option<Host<'a>>,
    direction: Option<Direction>,
    /// The value of `a=rtcp`.
    rtcp: Option<&'a [u8]>,
    rtcp_mux: bool,
}

impl<'a> Level<'a> {
    /// The first c= counts and, of contradicting directions, the last: as most of the field reads them.
    fn read(&mut self, line: &Line<'a>, number: usize) -> Result<(), SdpError> {
        match line.kind() {
            Some(b'c') => {
                let address = tokens(line.value()).nth(2).ok_or_else(|| {
                    SdpError::new(number, "network type, address type and address", line.text)
                })?;
                self.connection.get_or_insert(Host::parse(address));
            }
            Some(b'a') => {
                let Attribute { name, value } = line.attribute();
                if let Some(direction) = Direction::parse(name) {
                    self.direction = Some(direction);
                } else if name.eq_ignore_ascii_case(b"rtcp") {
                    self.rtcp = Some(value);
                } else if name.eq_ignore_ascii_case(b"rtcp-mux") {
                    self.rtcp_mux = true;
                }
            }
            Some(_) | None => {}
        }
        Ok(())
    }
}

impl<'a> Sdp<'a> {
    /// Reads a description: in linear time, with an allocation for the streams and no other.
    ///
    /// # Errors
    /// The first line that cannot be understood: one that is not `x=…`, a first line that is not v=, an m= line
    /// without media, port and protocol, a port above 65535, a c= line without an address, or one past
    /// [`MAX_STREAMS`] or [`MAX_LINES`].
    pub fn parse(bytes: &'a [u8]) -> Result<Sdp<'a>, SdpError> {
        let mut sdp = Sdp { bytes, origin: None, session: Level::default(), streams: Vec::new() };
        let mut versioned = false;
        for (number, line) in (1..).zip(lines(bytes)) {
            if number > MAX_LINES {
                return Err(SdpError::new(number, "no more than 2048 lines", line.text));
            }
            if line.is_blank() {
                continue;
            }
            if line.kind().is_none() {
                return Err(SdpError::new(number, "a letter and '='", line.text));
            }
            if !versioned && line.kind() != Some(b'v') {
                return Err(SdpError::new(number, "v=0 before all else", line.text));
            }
            versioned = true;
            sdp.read(&line, number)?;
        }
        if versioned { Ok(sdp) } else { Err(SdpError::new(1, "v=0", b"")) }
    }

    fn read(&mut self, line: &Line<'a>, number: usize) -> Result<(), SdpError> {
        match line.kind() {
            Some(b'm') => {
                if self.streams.len() == MAX_STREAMS {
                    return Err(SdpError::new(number, "no more than 16 m= lines", line.text));
                }
                let rest = &self.bytes[line.end..];
                self.streams.push(Stream::parse(line, number, self.session, rest)?);
            }
            Some(b'o') => {
                if self.origin.is_none() {
                    self.origin = Origin::parse(line.value());
                }
            }
            Some(_) | None => match self.streams.last_mut() {
                Some(stream) => stream.level.read(line, number)?,
                None => self.session.read(line, number)?,
            },
        }
        Ok(())
    }

    /// The m= sections, in order.
    pub fn streams(&self) -> &[Stream<'a>] {
        &self.streams
    }

    /// The o= line, where there is one and it has all of its fields.
    pub fn origin(&self) -> Option<Origin<'a>> {
        self.origin
    }

    /// The values of the session level's attributes of this name, in order.
    fn attributes(&self, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let own = lines(self.bytes).take_while(|line| line.kind() != Some(b'm'));
        let own = own.filter(|line| line.kind() == Some(b'a')).map(|line| line.attribute());
        own.filter(move |line| line.name == name).map(|line| line.value)
    }

    /// An attribute of a stream that the session level may say for all of them.
    fn of_stream(&self, index: usize, name: &'static [u8]) -> Option<&'a [u8]> {
        let stream = self.streams.get(index)?;
        stream.attributes(name).next().or_else(|| self.attributes(name).next())
    }

    /// The session level's c=.
    pub fn session_connection(&self) -> Option<Host<'a>> {
        self.session.connection
    }

    /// The session level's direction, where it names one.
    pub fn session_direction(&self) -> Option<Direction> {
        self.session.direction
    }
}
