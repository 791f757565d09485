//! Putting the relay's addresses in.

use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;

use super::line::{Attribute, Line, lines, tokens};
use super::stream::MediaLine;
use super::{Host, Sdp, Stream};

/// What the rewritten description shall say.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'e> {
    /// The user of the o= line; `-` when empty.
    pub origin_user: &'e str,
    /// This side's session id, the same in all of a session's descriptions.
    pub session_id: u64,
    /// Rises by one with every description that differs from the one before (RFC 3264 §8).
    pub version: u64,
    /// The relay's address.
    pub address: IpAddr,
    /// The relay's ports, in the order of the m= lines. A stream without any, or with port 0, is rejected.
    pub streams: &'e [StreamPorts],
    /// What stands in the place of what the author says of encryption and its transport. `None`: that is between the two
    /// ends, and passes as it is.
    pub encryption: Option<Encryption<'e>>,
}

/// What a description says of encryption, and of what comes with it.
#[derive(Clone, Copy, Debug)]
pub struct Encryption<'e> {
    /// Whole lines at the end of the session level, without their ends, one behind the other.
    pub session: &'e [String],
    /// In the order of the m= lines; a stream without any is left as it is.
    pub streams: &'e [StreamEncryption],
}

/// The same for one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamEncryption {
    /// The protocol of the m= line; `None`: as it is.
    pub proto: Option<Box<str>>,
    /// Whole lines at the end of the section.
    pub lines: Vec<String>,
}

/// The relay's ports for one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPorts {
    /// Where RTP (or udptl) is received.
    pub rtp: u16,
    /// Where RTCP is received.
    pub rtcp: u16,
}

impl<'a> Sdp<'a> {
    /// The description with the relay in the place of its author's addresses. Owned and rewritten are: o=, every c=,
    /// the port of m=, `a=rtcp`; `a=rtcp-mux` and everything of ICE is taken out, because the relay does neither; all
    /// other lines pass as they are. A stream that was rejected stays rejected and an address that means hold keeps
    /// meaning it.
    pub fn rewrite(&self, edit: &Edit<'_>) -> Vec<u8> {
        // Room for a few lines that grow; the body's own length decides the rest.
        let mut writer = Writer {
            out: Vec::with_capacity(self.bytes.len() + 128),
            eol: lines(self.bytes).map(|line| line.eol).find(|eol| !eol.is_empty()).unwrap_or(b"\r\n"),
            edit,
            finds_path: edit.encryption.is_some()
                && (0..self.streams.len()).any(|index| self.ice(index).is_some()),
            section: Section::Session,
            insert_connection: false,
            streams: 0,
        };
        let mut streams =
            self.streams.iter().zip(edit.streams.iter().map(Some).chain(std::iter::repeat(None)));
        let has_origin = lines(self.bytes).any(|line| line.kind() == Some(b'o'));
        for line in lines(self.bytes) {
            if line.kind() == Some(b'm') {
                writer.finish_section();
                if let Some((stream, ports)) = streams.next() {
                    writer.media(&line, stream, ports.copied());
                }
            } else {
                writer.line(&line);
                if !has_origin && line.kind() == Some(b'v') {
                    writer.insert(format_args!("o={}", Origin(edit)));
                }
            }
        }
        writer.finish_section();
        writer.out
    }
}

/// The part of the description being written.
enum Section {
    Session,
    Rejected,
    Stream {
        ports: StreamPorts,
        /// Whether its RTCP port has been named.
        rtcp_named: bool,
    },
}

struct Writer<'a, 'e> {
    out: Vec<u8>,
    eol: &'a [u8],
    edit: &'e Edit<'e>,
    /// The author does ICE with the box: where it does not know its address yet (RFC 8829 §5.2.1), that is no hold.
    finds_path: bool,
    section: Section,
    /// The stream has no c= from anywhere: one is due behind its m= and i= lines.
    insert_connection: bool,
    /// How many m= lines were written.
    streams: usize,
}

impl Writer<'_, '_> {
    fn line(&mut self, line: &Line<'_>) {
        if line.kind() != Some(b'i') {
            self.connect();
        }
        match line.kind() {
            Some(b'o') => {
                self.format(format_args!("o={}", Origin(self.edit)));
                self.out.extend_from_slice(line.eol);
            }
            Some(b'c') => self.connection(line),
            Some(b'a') => self.attribute(line),
            Some(_) | None => self.copy(line),
        }
    }

    fn media(&mut self, line: &Line<'_>, stream: &Stream<'_>, ports: Option<StreamPorts>) {
        let ports = ports.filter(|ports| ports.rtp != 0 && !stream.is_rejected());
        // Everything around the port is copied. The number of ports goes, since the relay has opened just one pair.
        if let Some(media) = MediaLine::parse(line.text) {
            self.out.extend_from_slice(media.before_port);
            self.format(format_args!("{}", ports.map_or(0, |ports| ports.rtp)));
            match self.edit.encryption.and_then(|encryption| encryption.streams.get(self.streams)) {
                Some(StreamEncryption { proto: Some(proto), .. }) => {
                    self.out.extend_from_slice(b" ");
                    self.out.extend_from_slice(proto.as_bytes());
                    let behind = media.after_port.trim_ascii_start().get(media.proto.len()..);
                    self.out.extend_from_slice(behind.unwrap_or_default());
                }
                Some(StreamEncryption { proto: None, .. }) | None => {
                    self.out.extend_from_slice(media.after_port)
                }
            }
            self.out.extend_from_slice(line.eol);
        }
        self.streams += 1;
        self.insert_connection = ports.is_some() && stream.address().is_none();
        self.section = match ports {
            Some(ports) => Section::Stream { ports, rtcp_named: false },
            None => Section::Rejected,
        };
    }

    fn connection(&mut self, line: &Line<'_>) {
        let held = tokens(line.value()).nth(2).map(Host::parse).filter(Host::is_held);
        let held = held.filter(|_| !self.finds_path);
        let address = match held {
            // `.invalid` names pass, an unspecified address takes the relay's family. So does what is written in an odd
            // way: who cuts the line elsewhere could read another address in it.
            Some(Host::Name(_)) if is_regular(line) => return self.copy(line),
            Some(Host::Ip(held)) if held.is_ipv4() == self.edit.address.is_ipv4() && is_regular(line) => {
                return self.copy(line);
            }
            Some(Host::Name(_) | Host::Ip(_)) => match self.edit.address {
                IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
            },
            None => self.edit.address,
        };
        self.format(format_args!("c={}", Address(address)));
        self.out.extend_from_slice(line.eol);
    }

    fn attribute(&mut self, line: &Line<'_>) {
        let Attribute { name, value } = line.attribute();
        if name.eq_ignore_ascii_case(b"rtcp") {
            let address = tokens(value).nth(1).map(|_| Address(self.edit.address));
            // Outside a live stream the line means nothing, and would show an address.
            let Section::Stream { ports, rtcp_named } = &mut self.section else { return };
            if std::mem::replace(rtcp_named, true) {
                return;
            }
            let rtcp = ports.rtcp;
            match address {
                Some(address) => self.format(format_args!("a=rtcp:{rtcp} {address}")),
                None => self.format(format_args!("a=rtcp:{rtcp}")),
            }
            self.out.extend_from_slice(line.eol);
        } else if !(is_dropped(name) || self.edit.encryption.is_some() && is_of_encryption(name, value)) {
            self.copy(line);
        }
    }

    /// What is due before a section ends.
    fn finish_section(&mut self) {
        self.connect();
        if let Some(encryption) = self.edit.encryption {
            let lines = match self.section {
                Section::Session => encryption.session,
                Section::Rejected => &[],
                Section::Stream { .. } => {
                    let at = self.streams.checked_sub(1).and_then(|last| encryption.streams.get(last));
                    at.map_or(&[][..], |stream| &stream.lines)
                }
            };
            lines.iter().for_each(|line| self.insert(format_args!("{line}")));
        }
        if let Section::Stream { ports, rtcp_named: false } = self.section
            && ports.rtcp != ports.rtp.wrapping_add(1)
        {
            self.insert(format_args!("a=rtcp:{}", ports.rtcp));
        }
    }

    fn connect(&mut self) {
        if std::mem::take(&mut self.insert_connection) {
            self.insert(format_args!("c={}", Address(self.edit.address)));
        }
    }

    /// A line that was not there. Where the body's last line is unfinished, so is the inserted one behind it.
    fn insert(&mut self, line: std::fmt::Arguments<'_>) {
        let finished = self.out.last().is_none_or(|last| matches!(last, b'\r' | b'\n'));
        if !finished {
            self.out.extend_from_slice(self.eol);
        }
        self.format(line);
        if finished {
            self.out.extend_from_slice(self.eol);
        }
    }

    fn copy(&mut self, line: &Line<'_>) {
        self.out.extend_from_slice(line.text);
        self.out.extend_from_slice(line.eol);
    }

    fn format(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a Vec does not fail.
        let _ = self.out.write_fmt(text);
    }
}

/// Whether a c= line is three words with a space between.
fn is_regular(line: &Line<'_>) -> bool {
    let mut words = line.value().trim_ascii_end().split(|byte| *byte == b' ');
    words.by_ref().take(3).all(|word| !word.is_empty() && word.iter().all(u8::is_ascii_graphic))
        && words.next().is_none()
}

/// RTCP multiplexing (RFC 5761, 8858) and ICE (RFC 8839) are between the two ends of a transport: the relay is one. So
/// are other addresses to send to (the `alt` of old ICE drafts, RFC 6947, RFC 7006) and to hear from (RFC 4570).
fn is_dropped(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b"rtcp-mux",
        b"rtcp-mux-only",
        b"candidate",
        b"remote-candidates",
        b"end-of-candidates",
        b"alt",
        b"altc",
        b"ccap",
        b"source-filter",
    ];
    NAMES.iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
        || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"ice-"))
}

/// What a box that ends encryption says itself: keys (RFC 4568, RFC 4567), DTLS (RFC 8122, RFC 4145, RFC 8842, RFC 8827) and
/// the bundling of streams on one transport (RFC 9143).
fn is_of_encryption(name: &[u8], value: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"crypto",
        b"key-mgmt",
        b"fingerprint",
        b"setup",
        b"connection",
        b"tls-id",
        b"identity",
        b"bundle-only",
    ];
    NAMES.iter().any(|own| name.eq_ignore_ascii_case(own))
        || name.eq_ignore_ascii_case(b"group") && value.get(..6).is_some_and(|kind| kind == b"BUNDLE")
}

/// The value of o=.
struct Origin<'e>(&'e Edit<'e>);

impl Display for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Edit { origin_user, session_id, version, address, .. } = self.0;
        let user = if origin_user.is_empty() { "-" } else { origin_user };
        write!(f, "{user} {session_id} {version} {}", Address(*address))
    }
}

/// `IN IP4 …` or `IN IP6 …`.
struct Address(IpAddr);

impl Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => write!(f, "IN IP4 {ip}"),
            IpAddr::V6(ip) => write!(f, "IN IP6 {ip}"),
        }
    }
}
