//! A phone's descriptions: what it offers, what it answers.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use sip::Sdp;

/// A phone's side of the session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    version: u64,
    address: IpAddr,
    port: u16,
    streams: usize,
    last: String,
}

impl Session {
    pub(crate) fn new(id: u64, address: IpAddr, port: u16, streams: usize) -> Session {
        Session { id, version: 1, address, port, streams, last: String::new() }
    }

    /// Where it hears.
    pub(crate) fn listens_at(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// An offer of all streams in this direction.
    pub(crate) fn offer(&mut self, direction: &str) -> String {
        let lines =
            (0..self.streams).map(|at| (self.port + 2 * at as u16, kind(at).to_owned(), direction)).collect();
        self.describe(lines)
    }

    /// An offer of one stream more than there are.
    pub(crate) fn offer_more(&mut self) -> String {
        self.streams += 1;
        self.offer("sendrecv")
    }

    /// The answer to an offer: the same m= lines in the same order, the direction turned round (RFC 3264 §6).
    pub(crate) fn answer(&mut self, offer: &[u8]) -> Result<String, String> {
        let offered = Sdp::parse(offer).map_err(|error| format!("the offer cannot be read: {error}"))?;
        let mut lines = Vec::new();
        for (at, stream) in offered.streams().iter().enumerate() {
            let direction = match stream.direction() {
                sip::Direction::SendRecv => "sendrecv",
                sip::Direction::SendOnly => "recvonly",
                sip::Direction::RecvOnly => "sendonly",
                sip::Direction::Inactive => "inactive",
            };
            let port = if stream.is_rejected() { 0 } else { self.port + 2 * at as u16 };
            lines.push((port, String::from_utf8_lossy(stream.kind).into_owned(), direction));
        }
        self.streams = lines.len();
        Ok(self.describe(lines))
    }

    /// Whether `answer` answers an offer of ours: as many m= lines (RFC 3264 §6).
    pub(crate) fn accepts(&self, answer: &[u8]) -> Result<(), String> {
        Session::answers(answer, self.streams)
    }

    /// Whether `answer` answers an offer with so many m= lines.
    pub(crate) fn answers(answer: &[u8], streams: usize) -> Result<(), String> {
        let answered = Sdp::parse(answer).map_err(|error| format!("the answer cannot be read: {error}"))?;
        let got = answered.streams().len();
        if got == streams {
            return Ok(());
        }
        Err(format!("an answer with {got} m= lines to an offer with {streams}"))
    }

    fn describe(&mut self, lines: Vec<(u16, String, &str)>) -> String {
        let mut rest = format!("s=-\r\nc=IN IP4 {}\r\nt=0 0\r\n", self.address);
        for (port, kind, direction) in lines {
            let _ = write!(rest, "m={kind} {port} RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n");
            let _ = write!(rest, "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na={direction}\r\n");
        }
        if rest != self.last && !self.last.is_empty() {
            self.version += 1;
        }
        let text = format!("v=0\r\no=- {} {} IN IP4 {}\r\n{rest}", self.id, self.version, self.address);
        self.last = rest;
        text
    }
}

fn kind(at: usize) -> &'static str {
    if at == 0 { "audio" } else { "video" }
}
