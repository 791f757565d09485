//! One m= section.

use std::net::{IpAddr, SocketAddr};

use super::line::{Line, lines, number, tokens};
use super::{Host, Level, SdpError};

/// Which way media flows, as the description's author sees it (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways; so it is when nothing is said.
    #[default]
    SendRecv,
    /// The author sends only: the other side is on hold.
    SendOnly,
    /// The author listens only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    pub(super) fn parse(name: &[u8]) -> Option<Direction> {
        match name {
            b"sendrecv" => Some(Direction::SendRecv),
            b"sendonly" => Some(Direction::SendOnly),
            b"recvonly" => Some(Direction::RecvOnly),
            b"inactive" => Some(Direction::Inactive),
            _ => None,
        }
    }

    /// Whether the author sends.
    pub const fn sends(self) -> bool {
        match self {
            Direction::SendRecv | Direction::SendOnly => true,
            Direction::RecvOnly | Direction::Inactive => false,
        }
    }

    /// Whether the author receives.
    pub const fn receives(self) -> bool {
        match self {
            Direction::SendRecv | Direction::RecvOnly => true,
            Direction::SendOnly | Direction::Inactive => false,
        }
    }
}

/// A stream: an m= line and what follows it up to the next.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// `audio`, `video`, `image` …
    pub kind: &'a [u8],
    /// Where its author receives; 0 rejects the stream.
    pub port: u16,
    /// The number after the port's slash, 1 mostly.
    pub port_count: u16,
    /// `RTP/AVP`, `udptl` …
    pub proto: &'a [u8],
    /// The formats as they are written.
    pub formats: &'a [u8],
    /// The description from behind the m= line to its end.
    rest: &'a [u8],
    session: Level<'a>,
    pub(super) level: Level<'a>,
}

/// An m= line cut up.
pub(super) struct MediaLine<'a> {
    pub kind: &'a [u8],
    /// The line up to the port.
    pub before_port: &'a [u8],
    /// With its count, if any.
    pub port: &'a [u8],
    /// The line from behind the port on.
    pub after_port: &'a [u8],
    pub proto: &'a [u8],
    pub formats: &'a [u8],
}

impl<'a> MediaLine<'a> {
    /// Cuts a whole line. `None` when a field is missing; formats may be.
    pub fn parse(line: &'a [u8]) -> Option<MediaLine<'a>> {
        let (kind, rest) = cut(line.get(2..)?)?;
        let rest = rest.trim_ascii_start();
        let before_port = &line[..line.len() - rest.len()];
        let (port, after_port) = cut(rest)?;
        let (proto, formats) = cut(after_port)?;
        Some(MediaLine { kind, before_port, port, after_port, proto, formats: formats.trim_ascii() })
    }
}

/// The first field and what follows it.
fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let length = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    (length > 0).then(|| text.split_at(length))
}

impl<'a> Stream<'a> {
    pub(super) fn parse(
        line: &Line<'a>,
        at: usize,
        session: Level<'a>,
        rest: &'a [u8],
    ) -> Result<Stream<'a>, SdpError> {
        let bad = |expected| SdpError::new(at, expected, line.text);
        let media = MediaLine::parse(line.text).ok_or_else(|| bad("media, port, protocol and formats"))?;
        let mut ports = media.port.splitn(2, |byte| *byte == b'/');
        let port = ports.next().and_then(number).ok_or_else(|| bad("a port from 0 to 65535"))?;
        let port_count = match ports.next() {
            Some(count) => number(count).ok_or_else(|| bad("a number of ports after '/'"))?,
            None => 1,
        };
        let MediaLine { kind, proto, formats, .. } = media;
        Ok(Stream { kind, port, port_count, proto, formats, rest, session, level: Level::default() })
    }

    /// Whether the stream is refused or switched off.
    pub fn is_rejected(&self) -> bool {
        self.port == 0
    }

    /// Where its author receives: its own c=, else the session's.
    pub fn address(&self) -> Option<Host<'a>> {
        self.level.connection.or(self.session.connection)
    }

    /// Whether the address says "send nothing" (`c=0.0.0.0`).
    pub fn is_held_address(&self) -> bool {
        self.address().is_some_and(|host| host.is_held())
    }

    /// Where RTP is to be sent; `None` when rejected or when only a name is known. Unspecified (`0.0.0.0`) for
    /// old-style hold.
    pub fn rtp(&self) -> Option<SocketAddr> {
        if self.is_rejected() {
            return None;
        }
        Some(SocketAddr::new(self.address()?.ip()?, self.port))
    }

    /// Where RTCP is to be sent when it is not multiplexed: `a=rtcp` (RFC 3605), else the port above RTP's.
    pub fn rtcp(&self) -> Option<SocketAddr> {
        let rtp = self.rtp()?;
        self.rtcp_beside(rtp.ip())
    }

    /// The same of an author who receives RTP at this address. `None` where no port is left for RTCP, and where it has an
    /// address of its own that is a name.
    pub fn rtcp_beside(&self, rtp: IpAddr) -> Option<SocketAddr> {
        let mut named = tokens(self.level.rtcp.unwrap_or_default());
        let port = named.next().and_then(number).filter(|port| *port != 0);
        let Some(port) = port else {
            return Some(SocketAddr::new(rtp, self.port.checked_add(1)?));
        };
        let ip = match named.nth(2) {
            Some(address) => Host::parse(address).ip()?,
            None => rtp,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// Whether its author can take RTCP on the RTP port (RFC 5761).
    pub fn rtcp_mux(&self) -> bool {
        self.level.rtcp_mux
    }

    /// Its own direction, else the session's.
    pub fn direction(&self) -> Direction {
        self.level.direction.or(self.session.direction).unwrap_or_default()
    }

    /// The formats one by one: payload types for RTP.
    pub fn format_list(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        tokens(self.formats)
    }

    /// The formats as payload types; what is none is passed over.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.format_list().filter_map(|format| u8::try_from(number(format)?).ok())
    }

    /// How many milliseconds of media a packet shall have (`a=ptime`, RFC 8866 §6.4); `None` also where that is no whole
    /// number, as some write it.
    pub fn ptime(&self) -> Option<u16> {
        let attributes = self.section().filter(|line| line.kind() == Some(b'a')).map(|line| line.attribute());
        let mut ptimes = attributes.filter(|attribute| attribute.name.eq_ignore_ascii_case(b"ptime"));
        number(ptimes.next()?.value)
    }

    /// What `a=fmtp` says of a payload type.
    pub fn fmtp(&self, payload_type: u8) -> Option<&'a [u8]> {
        self.section().find_map(|line| of_payload_type(&line, b"fmtp", payload_type))
    }

    /// What a payload type means, like `opus/48000/2`: by its rtpmap, else as RFC 3551 §6 assigns it.
    pub fn rtpmap(&self, payload_type: u8) -> Option<&'a [u8]> {
        self.section().find_map(|line| rtpmap_of(&line, payload_type)).or_else(|| assigned(payload_type))
    }

    /// The name of the first format's codec, like `PCMU`; the format itself where it is no payload type (`t38`).
    pub fn codec(&self) -> Option<&'a [u8]> {
        let format = self.format_list().next()?;
        let Some(payload_type) = number(format).and_then(|number| u8::try_from(number).ok()) else {
            return Some(format);
        };
        self.rtpmap(payload_type)?.split(|byte| *byte == b'/').next()
    }

    /// The values of a section's attributes of this name, in order.
    pub(super) fn attributes(&self, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let lines = self.section().filter(|line| line.kind() == Some(b'a'));
        lines.map(|line| line.attribute()).filter(move |line| line.name == name).map(|line| line.value)
    }

    fn section(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        lines(self.rest).take_while(|line| line.kind() != Some(b'm'))
    }
}

fn rtpmap_of<'a>(line: &Line<'a>, payload_type: u8) -> Option<&'a [u8]> {
    tokens(of_payload_type(line, b"rtpmap", payload_type)?).next()
}

/// What this attribute says of a payload type, if it is what stands in this line.
fn of_payload_type<'a>(line: &Line<'a>, name: &[u8], payload_type: u8) -> Option<&'a [u8]> {
    if line.kind() != Some(b'a') {
        return None;
    }
    let attribute = line.attribute();
    if !attribute.name.eq_ignore_ascii_case(name) {
        return None;
    }
    let (first, rest) = cut(attribute.value)?;
    (number(first) == Some(u16::from(payload_type))).then(|| rest.trim_ascii_start())
}

/// RFC 3551 Tables 4 and 5.
fn assigned(payload_type: u8) -> Option<&'static [u8]> {
    Some(match payload_type {
        0 => b"PCMU/8000",
        3 => b"GSM/8000",
        4 => b"G723/8000",
        5 => b"DVI4/8000",
        6 => b"DVI4/16000",
        7 => b"LPC/8000",
        8 => b"PCMA/8000",
        9 => b"G722/8000",
        10 => b"L16/44100/2",
        11 => b"L16/44100",
        12 => b"QCELP/8000",
        13 => b"CN/8000",
        14 => b"MPA/90000",
        15 => b"G728/8000",
        16 => b"DVI4/11025",
        17 => b"DVI4/22050",
        18 => b"G729/8000",
        25 => b"CelB/90000",
        26 => b"JPEG/90000",
        28 => b"nv/90000",
        31 => b"H261/90000",
        32 => b"MPV/90000",
        33 => b"MP2T/90000",
        34 => b"H263/90000",
        _ => return None,
    })
}
