//! Cuts a byte stream into SIP messages (RFC 3261 §18.3) and keep-alives (RFC 5626 §3.5.1).
//!
//! On a stream the Content-Length header alone says where a message ends, so a message without one, or with one that
//! cannot be believed, ends the connection: whatever follows might be a body or a request, and guessing is how
//! requests are smuggled. The [`Framer`] is plain data: [`extend`](Framer::extend) it with what was read, then call
//! [`cut`](Framer::cut) until it says there is nothing yet. Each byte is looked at once, however small the pieces.

use bytes::{Bytes, BytesMut};

/// The longest message, head and body: what a datagram can carry and what `sip` can index.
pub const MAX_MESSAGE: usize = 65_535;

/// What the stream held next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Message(Bytes),
    /// A double CRLF between messages; the peer wants a CRLF back.
    Ping,
}

/// Why a stream cannot be cut any further. The connection has to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What is wrong.
    pub fault: FramingFault,
    /// The head of the message at fault, or what was read of one that did not end; an answer can be made from it.
    pub head: Option<Bytes>,
}

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingFault {
    /// The head did not end in time.
    #[error("no end of headers within {MAX_MESSAGE} bytes")]
    HeadTooLong,
    /// RFC 3261 §20.14: a stream needs the header.
    #[error("no Content-Length")]
    LengthMissing,
    /// Not a plain decimal number.
    #[error("Content-Length is not a number")]
    LengthUnreadable,
    /// Two that differ.
    #[error("two Content-Lengths that differ")]
    LengthAmbiguous,
    /// Head and body together would be too long.
    #[error("message longer than {MAX_MESSAGE} bytes")]
    MessageTooLong,
}

impl FramingFault {
    /// The status of the answer that is sent before the connection is closed.
    pub fn status(self) -> u16 {
        match self {
            FramingFault::LengthMissing | FramingFault::LengthUnreadable | FramingFault::LengthAmbiguous => {
                400
            }
            FramingFault::HeadTooLong | FramingFault::MessageTooLong => 513,
        }
    }

    /// The reason phrase of that answer.
    pub fn phrase(self) -> &'static str {
        match self {
            FramingFault::HeadTooLong => "Headers Too Long",
            FramingFault::LengthMissing => "Missing Content-Length",
            FramingFault::LengthUnreadable => "Bad Content-Length",
            FramingFault::LengthAmbiguous => "Ambiguous Content-Length",
            FramingFault::MessageTooLong => "Message Too Large",
        }
    }
}

/// Where the framer stands in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between messages, this far into a double CRLF (0 to 3 octets seen).
    Between { seen: u8 },
    /// In a head; octets before `scanned` hold no end of it.
    Head { scanned: usize },
    /// In the body of a message of so many octets in all.
    Body { total: usize },
}

/// Cuts one stream.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    place: Place,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::new()
    }
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new() -> Framer {
        Framer { buffer: BytesMut::new(), place: Place::Between { seen: 0 } }
    }

    /// Adds what was read. At most one message plus one read is held: call [`cut`](Framer::cut) to exhaustion
    /// after each read.
    pub fn extend(&mut self, read: &[u8]) {
        self.buffer.extend_from_slice(read);
    }

    /// Whether a message has begun and not ended; its sender may not take for ever.
    pub fn is_within_message(&self) -> bool {
        match self.place {
            Place::Between { .. } => false,
            Place::Head { .. } | Place::Body { .. } => true,
        }
    }

    /// The next frame; `None` when more must be read first. After an error the stream is lost.
    pub fn cut(&mut self) -> Result<Option<Frame>, Broken> {
        loop {
            match self.place {
                Place::Between { seen } => match self.skip_line_ends(seen) {
                    Some(frame) => return Ok(Some(frame)),
                    None if self.buffer.is_empty() => return Ok(None),
                    None => self.place = Place::Head { scanned: 0 },
                },
                Place::Head { scanned } => match end_of_head(&self.buffer, scanned) {
                    Some(end) if end <= MAX_MESSAGE => self.place = self.measure(end)?,
                    None if self.buffer.len() <= MAX_MESSAGE => {
                        self.place = Place::Head { scanned: self.buffer.len() };
                        return Ok(None);
                    }
                    Some(_) | None => {
                        let head = start_of_head(&self.buffer);
                        return Err(Broken { fault: FramingFault::HeadTooLong, head });
                    }
                },
                Place::Body { total } => {
                    if self.buffer.len() < total {
                        return Ok(None);
                    }
                    self.place = Place::Between { seen: 0 };
                    return Ok(Some(Frame::Message(self.buffer.split_to(total).freeze())));
                }
            }
        }
    }

    /// Drops line ends before a message (RFC 3261 §7.5) and notices the double CRLF, also when it comes in pieces.
    fn skip_line_ends(&mut self, mut seen: u8) -> Option<Frame> {
        let mut dropped = 0;
        let mut ping = false;
        for &octet in self.buffer.iter() {
            seen = match (seen, octet) {
                (0 | 2, b'\r') => seen + 1,
                (1, b'\n') => 2,
                (3, b'\n') => {
                    ping = true;
                    0
                }
                (_, b'\r') => 1,
                (_, b'\n') => 0,
                (_, _) => break,
            };
            dropped += 1;
            if ping {
                break;
            }
        }
        let _ = self.buffer.split_to(dropped);
        self.place = Place::Between { seen };
        ping.then_some(Frame::Ping)
    }

    /// The head is whole and `end` octets long; how long is the message?
    fn measure(&mut self, end: usize) -> Result<Place, Broken> {
        let head = self.buffer.get(..end).unwrap_or_default();
        let total = content_length(head).and_then(|length| match end.checked_add(length) {
            Some(total) if total <= MAX_MESSAGE => Ok(total),
            Some(_) | None => Err(FramingFault::MessageTooLong),
        });
        match total {
            Ok(total) => Ok(Place::Body { total }),
            Err(fault) => Err(Broken { fault, head: Some(self.buffer.split_to(end).freeze()) }),
        }
    }
}

/// The lines of a head that goes on too long, ended as a head is.
fn start_of_head(buffer: &[u8]) -> Option<Bytes> {
    let within = buffer.get(..MAX_MESSAGE).unwrap_or(buffer);
    let lines = within.get(..=memchr::memrchr(b'\n', within)?)?;
    Some([lines, b"\r\n"].concat().into())
}

/// Where the empty line ends that ends the head, CRLF or bare LF. Octets before `scanned` are known to hold none.
fn end_of_head(buffer: &[u8], scanned: usize) -> Option<usize> {
    // An empty line may have begun in what was scanned already: at most "\n\r" of it.
    let from = scanned.saturating_sub(2);
    memchr::memchr_iter(b'\n', buffer.get(from..)?).map(|at| from + at + 1).find_map(|after| {
        match buffer.get(after..)? {
            [b'\n', ..] => Some(after + 1),
            [b'\r', b'\n', ..] => Some(after + 2),
            _ => None,
        }
    })
}

/// The value of Content-Length in a head.
fn content_length(head: &[u8]) -> Result<usize, FramingFault> {
    let mut found: Option<usize> = None;
    let mut lines = Lines::new(head);
    lines.next();
    for line in lines {
        let Some(value) = length_value(line) else { continue };
        let length = decimal(trim(value))?;
        match found {
            Some(earlier) if earlier != length => return Err(FramingFault::LengthAmbiguous),
            Some(_) | None => found = Some(length),
        }
    }
    found.ok_or(FramingFault::LengthMissing)
}

/// What stands behind the colon, if this header line is a Content-Length.
fn length_value(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at(memchr::memchr(b':', line)?);
    let name = trim(name);
    let named = name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l");
    if named { value.get(1..) } else { None }
}

/// Without the white space of RFC 3261 §25.1, which a form feed is not: who does not trim it reads another length.
fn trim(mut text: &[u8]) -> &[u8] {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// Whether a header line is a Content-Length.
pub(crate) fn is_content_length(line: &[u8]) -> bool {
    length_value(line).is_some()
}

/// Digits only: a sign, a list or a parameter would each be read in another way by somebody else.
fn decimal(text: &[u8]) -> Result<usize, FramingFault> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(FramingFault::LengthUnreadable);
    }
    text.iter()
        .try_fold(0_usize, |value, digit| value.checked_mul(10)?.checked_add(usize::from(digit - b'0')))
        .ok_or(FramingFault::MessageTooLong)
}

/// Header lines with their folds (RFC 3261 §7.3.1) still in them; line ends inside count as white space when trimmed.
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// Of a head, the start line first.
    pub(crate) fn new(head: &'a [u8]) -> Lines<'a> {
        Lines { rest: head }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr_iter(b'\n', self.rest)
            .map(|at| at + 1)
            .find(|&after| !matches!(self.rest.get(after), Some(b' ' | b'\t')))
            .unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(line)
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
