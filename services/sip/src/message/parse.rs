//! The one pass over the bytes that makes the index.

use arrayvec::ArrayVec;

use super::name::BLOCK;
use super::scan::skip_line_ends;
use super::text::{find_line_end, is_space, is_token, is_token_byte, number, trim, trim_end, trim_start};
use super::{MAX_HEADER_LINE, MAX_MESSAGE, Message, Method, Name, ParseError};

/// Where one header stands. Offsets fit, because no message is longer than [`MAX_MESSAGE`].
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) start: u16,
    pub(super) name_end: u16,
    pub(super) value: u16,
    pub(super) value_end: u16,
    pub(super) name: Name,
}

/// Where the parts of the start line stand.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// `regular`: nothing but single spaces between the three parts.
    Request {
        method: Method,
        method_end: u16,
        uri: u16,
        uri_end: u16,
        version_2: bool,
        regular: bool,
    },
    Status {
        code: u16,
        reason: u16,
        reason_end: u16,
        version_2: bool,
    },
}

impl<'a> Message<'a> {
    /// Indexes one message: a whole datagram, or what a stream's framing cut out. Line ends before it are skipped
    /// (RFC 3261 §7.5), lines may end in LF alone, and bytes beyond Content-Length are no part of it (§18.3).
    /// Allocates nothing; takes time linear in the input.
    pub fn parse(input: &'a [u8]) -> Result<Message<'a>, ParseError> {
        // Read where it is handed out: an index is large to move.
        let mut read = Message::begin(input);
        if let Ok(message) = &mut read
            && let Err(error) = message.read_headers()
        {
            read = Err(error);
        }
        read
    }

    /// A message whose start line is read, and whose headers start where its body is said to.
    fn begin(input: &'a [u8]) -> Result<Message<'a>, ParseError> {
        let bytes = skip_line_ends(input);
        if bytes.len() > MAX_MESSAGE {
            return Err(ParseError::TooLong { length: bytes.len() });
        }
        let (start, headers) = start_line(bytes)?;
        Ok(Message {
            bytes,
            slots: ArrayVec::new(),
            present: 0,
            repeated: 0,
            plain: true,
            start,
            body: headers as u16,
        })
    }

    fn read_headers(&mut self) -> Result<(), ParseError> {
        let bytes = self.bytes;
        let mut length = None;
        let mut at = usize::from(self.body);
        // Two branches that end alike: a line that came by either would have to be put together in memory first.
        loop {
            if let Some(line) = usual_line(bytes, at) {
                at = self.add(&line, &mut length)?;
            } else if let Some(line) = any_line(bytes, at)? {
                at = self.add(&line, &mut length)?;
            } else {
                return self.close(at, length);
            }
        }
    }

    /// What can be read of bytes that [`Message::parse`] refused, so that a request among them can be answered: the
    /// headers that are sound and fit, without a body. `None` when not even the start line is sound. Only for
    /// answering: nothing that this gives may be acted upon.
    pub fn salvage(input: &'a [u8]) -> Option<Message<'a>> {
        let bytes = skip_line_ends(input);
        let bytes = bytes.get(..MAX_MESSAGE).unwrap_or(bytes);
        let (start, headers) = start_line(bytes).ok()?;
        let mut message = Message {
            bytes,
            slots: ArrayVec::new(),
            present: 0,
            repeated: 0,
            plain: false,
            start,
            body: bytes.len() as u16,
        };
        let mut at = headers;
        loop {
            match any_line(bytes, at) {
                Ok(None) => break,
                Ok(Some(line)) => {
                    at = line.next;
                    if message.push(&line).is_err() {
                        break;
                    }
                }
                Err(_) => match bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                    Some(end) => at += end + 1,
                    None => break,
                },
            }
        }
        Some(message)
    }

    /// Takes a line into the index; where the next one starts.
    #[inline]
    fn add(&mut self, line: &Line, length: &mut Option<u64>) -> Result<usize, ParseError> {
        if line.name == Name::ContentLength {
            *length = content_length(self.bytes, line, *length)?;
        }
        self.push(line)?;
        self.plain &= line.plain;
        Ok(line.next)
    }

    #[inline]
    fn push(&mut self, line: &Line) -> Result<(), ParseError> {
        let slot = Slot {
            start: line.start as u16,
            name_end: line.name_end as u16,
            value: line.value as u16,
            value_end: line.value_end as u16,
            name: line.name,
        };
        self.slots.try_push(slot).map_err(|_| ParseError::TooManyHeaders { at: line.start })?;
        let bit = line.name.bit();
        self.repeated |= self.present & bit;
        self.present |= bit;
        Ok(())
    }

    /// Ends the message where its body ends.
    fn close(&mut self, head_end: usize, length: Option<u64>) -> Result<(), ParseError> {
        let start = match self.bytes.get(head_end) {
            Some(b'\r') => head_end + 2,
            _ => head_end + 1,
        };
        let rest = self.bytes.len() - start;
        if let Some(expected) = length {
            if expected > rest as u64 {
                return Err(ParseError::ShortBody { expected, got: rest });
            }
            self.bytes = self.bytes.get(..start + expected as usize).unwrap_or(self.bytes);
        }
        self.body = start as u16;
        Ok(())
    }
}

/// One header line with its folds.
///
/// In whole words: what is stored in halves and loaded whole, as a [`Slot`] on its way would be, makes the processor wait.
struct Line {
    start: usize,
    name: Name,
    name_end: usize,
    value: usize,
    value_end: usize,
    next: usize,
    /// Neither folded nor ended by LF alone.
    plain: bool,
}

impl Line {
    #[inline(always)]
    fn new(bytes: &[u8], start: usize, name: &HeaderName, end: LineEnd, plain: bool) -> Line {
        let after_colon = start + name.colon + 1;
        let text = bytes.get(after_colon..end.at).unwrap_or_default();
        let (value, value_end) = match text {
            // One blank before the value and none behind it: as nearly everybody writes.
            [b' ', first, .., last] if *first > b' ' && *last > b' ' => (after_colon + 1, end.at),
            _ => {
                let text = trim_end(text);
                let value_end = after_colon + text.len();
                (value_end - trim_start(text).len(), value_end)
            }
        };
        Line {
            start,
            name: name.name,
            name_end: start + name.length,
            value,
            value_end,
            next: end.next,
            plain,
        }
    }
}

/// The header line at `start` when it is as nearly all are: not folded, ended by CRLF, its name among the first bytes.
#[inline]
fn usual_line(bytes: &[u8], start: usize) -> Option<Line> {
    let rest = bytes.get(start..)?;
    // Looked for from the start, not from the colon: so the processor is at the next line before it has read this name.
    let length = find_line_end(rest).filter(|length| (1..=MAX_HEADER_LINE).contains(length))?;
    let [b'\r', b'\n', after, ..] = rest.get(length..)? else { return None };
    let name = usual_name(rest).filter(|name| name.colon < length)?;
    let end = LineEnd { at: start + length, next: start + length + 2 };
    (!matches!(after, b' ' | b'\t')).then(|| Line::new(bytes, start, &name, end, true))
}

/// The header line at `start`, whatever it looks like; `None` at the empty line that ends the headers.
#[cold]
fn any_line(bytes: &[u8], start: usize) -> Result<Option<Line>, ParseError> {
    let rest = bytes.get(start..).unwrap_or_default();
    if let [b'\n', ..] | [b'\r', b'\n', ..] = rest {
        return Ok(None);
    }
    let name = any_name(rest).ok_or_else(|| no_name(rest, start))?;
    let mut end = line_end(bytes, start + name.colon + 1)?;
    // A line that starts with a blank goes on with the one before it.
    let mut folded = false;
    while let Some(b' ' | b'\t') = bytes.get(end.next) {
        end = line_end(bytes, end.next)?;
        folded = true;
    }
    if end.at - start > MAX_HEADER_LINE {
        return Err(ParseError::HeaderTooLong { at: start, length: end.at - start });
    }
    let plain = !folded && end.next == end.at + 2;
    Ok(Some(Line::new(bytes, start, &name, end, plain)))
}

/// The name that a line starts with.
struct HeaderName {
    name: Name,
    length: usize,
    colon: usize,
}

/// The name and its colon when they stand within the first words of the text, as nearly all do. Eight bytes are looked at
/// together: going byte by byte costs more for all the names of a message than finding all its line ends.
#[inline]
fn usual_name(line: &[u8]) -> Option<HeaderName> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x8080_8080_8080_8080;
    let block: &[u8; BLOCK] = line.first_chunk()?;
    let words = block.as_chunks::<8>().0.iter().enumerate();
    let colon = words.into_iter().find_map(|(at, word)| {
        // The lowest top bit that is left marks the first byte that became zero.
        let zeroed = u64::from_le_bytes(*word) ^ (EACH * u64::from(b':'));
        let marks = zeroed.wrapping_sub(EACH) & !zeroed & TOP;
        (marks != 0).then(|| at * 8 + marks.trailing_zeros() as usize / 8)
    })?;
    let text = match block.get(..colon)? {
        blanks @ [.., b' ' | b'\t'] => trim_blanks(blanks),
        text => text,
    };
    let name = Name::at_start(block, text.len());
    (name != Name::Other || is_token(text)).then_some(HeaderName { name, length: text.len(), colon })
}

/// The same for a name of any length.
fn any_name(line: &[u8]) -> Option<HeaderName> {
    let length = line.iter().position(|byte| !is_token_byte(*byte))?;
    let (text, after) = line.split_at_checked(length)?;
    // RFC 3261 §7.3.1 lets blanks stand before the colon.
    let blanks = blanks(after);
    let is_name = length > 0 && after.get(blanks) == Some(&b':');
    is_name.then(|| HeaderName { name: Name::parse(text), length, colon: length + blanks })
}

/// What stands where a name or its colon should.
fn no_name(line: &[u8], start: usize) -> ParseError {
    let length = line.iter().take_while(|byte| is_token_byte(**byte)).count();
    let at = length + line.get(length..).map_or(0, blanks);
    match line.get(at) {
        Some(got) => ParseError::NotHeader { at: start + at, got: *got },
        None => ParseError::Unterminated { at: start + line.len() },
    }
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// Where a line's text ends and where the next line starts.
struct LineEnd {
    at: usize,
    next: usize,
}

fn line_end(bytes: &[u8], from: usize) -> Result<LineEnd, ParseError> {
    let found = bytes.get(from..).and_then(find_line_end);
    let at = from + found.ok_or(ParseError::Unterminated { at: bytes.len() })?;
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\n'), _) => Ok(LineEnd { at, next: at + 1 }),
        (_, Some(b'\n')) => Ok(LineEnd { at, next: at + 2 }),
        (_, None) => Err(ParseError::Unterminated { at: bytes.len() }),
        (_, Some(_)) => Err(ParseError::BareCr { at }),
    }
}

/// The body's length as this line and an earlier one say it. All that is not a plain number is refused, and so are
/// two that differ: on a stream the next message would start elsewhere for us than for our neighbour.
fn content_length(bytes: &[u8], line: &Line, earlier: Option<u64>) -> Result<Option<u64>, ParseError> {
    let at = line.start;
    let value = bytes.get(line.value..line.value_end).unwrap_or_default();
    let length = number(value).ok_or(ParseError::BadContentLength { at })?;
    match earlier {
        Some(first) if first != length => Err(ParseError::TwoContentLengths { at, first, second: length }),
        Some(_) | None => Ok(Some(length)),
    }
}

/// The start line, and where the headers start.
fn start_line(bytes: &[u8]) -> Result<(Start, usize), ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    let end = line_end(bytes, 0)?;
    let line = bytes.get(..end.at).unwrap_or_default();
    let start = match line {
        [b'S' | b's', b'I' | b'i', b'P' | b'p', b'/', ..] => status_line(line),
        _ => request_line(line),
    };
    start.map(|start| (start, end.next)).ok_or(ParseError::NotSip)
}

/// Extra blanks are read, and noted for [`Message::check`] to answer with 400: without an index there is no answer.
fn request_line(line: &[u8]) -> Option<Start> {
    let text = trim_end(line);
    let method_end = memchr::memchr(b' ', text)?;
    let last = memchr::memrchr(b' ', text)?;
    let method = text.get(..method_end)?;
    let version = text.get(last + 1..)?;
    let between = text.get(method_end..last)?;
    let uri = trim(between);
    if !is_token(method) || !is_version(version) {
        return None;
    }
    let uri_start = method_end + between.iter().take_while(|byte| is_space(**byte)).count();
    Some(Start::Request {
        method: Method::parse(method),
        method_end: method_end as u16,
        uri: uri_start as u16,
        uri_end: (uri_start + uri.len()) as u16,
        version_2: version.eq_ignore_ascii_case(b"SIP/2.0"),
        regular: method.len() + uri.len() + version.len() + 2 == line.len(),
    })
}

fn status_line(line: &[u8]) -> Option<Start> {
    let version_end = memchr::memchr(b' ', line)?;
    let version = line.get(..version_end)?;
    let digits = line.get(version_end + 1..version_end + 4)?;
    let code = number(digits).and_then(|code| u16::try_from(code).ok())?;
    // Some leave out the space that must stand even before an empty phrase.
    let reason = match line.get(version_end + 4) {
        None => version_end + 4,
        Some(b' ') => version_end + 5,
        Some(_) => return None,
    };
    (is_version(version) && (100..700).contains(&code)).then_some(Start::Status {
        code,
        reason: reason as u16,
        reason_end: line.len() as u16,
        version_2: version.eq_ignore_ascii_case(b"SIP/2.0"),
    })
}

/// `SIP/` and two numbers: any version, so that a version that is not ours can be answered with 505.
fn is_version(text: &[u8]) -> bool {
    if text == b"SIP/2.0" {
        return true;
    }
    let Some((name, numbers)) = text.split_at_checked(4) else { return false };
    let Some(dot) = memchr::memchr(b'.', numbers) else { return false };
    name.eq_ignore_ascii_case(b"SIP/")
        && numbers.get(..dot).is_some_and(is_number)
        && numbers.get(dot + 1..).is_some_and(is_number)
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Only blanks may stand between a name and its colon: a line end there makes it another line.
fn trim_blanks(mut name: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    name
}
