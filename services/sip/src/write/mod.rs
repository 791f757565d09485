//! Writing messages: start line, headers, body, copied together once.
//!
//! [`Writer`] takes slices and lays them out; it never reads what it writes, with one exception: no value can end its
//! header. Whatever a peer put into a display name or a reason phrase, the number of headers that leave is the number
//! that the code asked for.

mod derived;
mod respond;

use bytes::Bytes;

pub use derived::{ack_for_failure, cancel_for};
pub use respond::respond;

use crate::message::{Header, Message, Name, find_line_end, is_token, is_token_byte, is_uri_text};

/// A message that is being written: start line first, then headers in the order of the calls, then
/// [`Writer::body`] or [`Writer::finish`]. Content-Length is written by those two and by nothing else.
#[derive(Clone, Debug)]
pub struct Writer {
    out: Vec<u8>,
}

/// Holds a request without a description, and most with one, without growing.
const CAPACITY: usize = 1_024;

impl Writer {
    /// Starts a request. White space and control characters in the URI are written escaped; a byte of the method that
    /// no method can have is written as `-`.
    pub fn request(method: &[u8], uri: &[u8]) -> Writer {
        let mut out = Vec::with_capacity(CAPACITY);
        push_token(&mut out, method);
        out.push(b' ');
        push_uri(&mut out, uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        Writer { out }
    }

    /// Starts a response. The status is written with three digits.
    pub fn response(status: u16, reason: &[u8]) -> Writer {
        let mut out = Vec::with_capacity(CAPACITY);
        out.extend_from_slice(b"SIP/2.0 ");
        let digit = |place: u16| b'0' + (status / place % 10) as u8;
        out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
        push_value(&mut out, reason, Folds::None);
        out.extend_from_slice(b"\r\n");
        Writer { out }
    }

    /// Makes room for so many bytes more, for a message known to be large.
    pub fn reserve(&mut self, bytes: usize) -> &mut Writer {
        self.out.reserve(bytes);
        self
    }

    /// Writes a header. A line end in the value that is not part of a fold (CRLF and a blank) is written as a space.
    /// A Content-Length is left out, because the end of the message writes it.
    #[inline]
    pub fn header(&mut self, name: &str, value: &[u8]) -> &mut Writer {
        if is_content_length(name.as_bytes()) {
            return self;
        }
        self.name(name.as_bytes());
        self.value(value);
        self
    }

    /// Writes a header whose value is those pieces one after another.
    pub fn parts(&mut self, name: &str, pieces: &[&[u8]]) -> &mut Writer {
        if is_content_length(name.as_bytes()) {
            return self;
        }
        self.name(name.as_bytes());
        for piece in pieces {
            push_value(&mut self.out, piece, Folds::Crlf);
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Copies a received header, name and value as they were written, folds kept. A Content-Length is left out.
    pub fn copy(&mut self, header: &Header<'_>) -> &mut Writer {
        if header.name == Name::ContentLength || is_content_length(header.raw_name) {
            return self;
        }
        self.name(header.raw_name);
        push_value(&mut self.out, header.value, Folds::Any);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Copies the headers of a message that `keep` says yes to, in their order, as [`Writer::copy`] would. Faster than
    /// one by one: lines that stand together are copied together.
    pub fn copy_headers(
        &mut self,
        message: &Message<'_>,
        mut keep: impl FnMut(&Header<'_>) -> bool,
    ) -> &mut Writer {
        let Some(lines) = message.plain_lines() else {
            for header in message.headers() {
                if keep(&header) {
                    self.copy(&header);
                }
            }
            return self;
        };
        let mut run = 0..0;
        for (header, line) in lines {
            if header.name == Name::ContentLength || !keep(&header) {
                continue;
            }
            if run.end != line.start {
                self.out.extend_from_slice(message.bytes().get(run).unwrap_or_default());
                run = line.start..line.start;
            }
            run.end = line.end;
        }
        self.out.extend_from_slice(message.bytes().get(run).unwrap_or_default());
        self
    }

    /// Writes a header whose value is a number.
    pub fn number(&mut self, name: &str, number: u64) -> &mut Writer {
        let mut digits = [0; 20];
        self.header(name, decimal(number, &mut digits))
    }

    /// Ends the message with a body, and with a Content-Type when one is given.
    pub fn body(mut self, content_type: Option<&[u8]>, body: &[u8]) -> Bytes {
        if let Some(content_type) = content_type {
            self.header("Content-Type", content_type);
        }
        let mut digits = [0; 20];
        self.out.extend_from_slice(b"Content-Length: ");
        self.out.extend_from_slice(decimal(body.len() as u64, &mut digits));
        self.out.extend_from_slice(b"\r\n\r\n");
        self.out.extend_from_slice(body);
        // Transactions keep messages for half a minute.
        self.out.shrink_to_fit();
        Bytes::from(self.out)
    }

    /// Ends the message without a body.
    pub fn finish(self) -> Bytes {
        self.body(None, &[])
    }

    fn value(&mut self, value: &[u8]) {
        push_value(&mut self.out, value, Folds::Crlf);
        self.out.extend_from_slice(b"\r\n");
    }

    /// In line: most names are known where the program is compiled, and are whole then.
    #[inline]
    fn name(&mut self, name: &[u8]) {
        push_token(&mut self.out, name);
        self.out.extend_from_slice(b": ");
    }
}

/// Which line ends of a value are folds and stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folds {
    /// None: the start line cannot be folded.
    None,
    /// CRLF before a blank.
    Crlf,
    /// CRLF or LF before a blank, as they were received.
    Any,
}

fn push_value(out: &mut Vec<u8>, value: &[u8], folds: Folds) {
    let mut rest = value;
    while let Some(at) = find_line_end(rest) {
        let (text, end) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(text);
        let fold = fold_length(end, folds);
        if fold == 0 {
            out.push(b' ');
        }
        let (fold_text, after) = end.split_at_checked(fold).unwrap_or_default();
        out.extend_from_slice(fold_text);
        rest = if fold == 0 { after.get(1..).unwrap_or_default() } else { after };
    }
    out.extend_from_slice(rest);
}

/// How long the line end is at the start of `text` when it is a fold that may stay; else 0. Blanks and then another
/// line end make no fold: what is left of that line looks empty to readers that trim first, and an empty line ends
/// the headers.
fn fold_length(text: &[u8], folds: Folds) -> usize {
    let length = match text {
        [b'\r', b'\n', b' ' | b'\t', ..] if folds != Folds::None => 2,
        [b'\n', b' ' | b'\t', ..] if folds == Folds::Any => 1,
        _ => return 0,
    };
    let content = text.iter().skip(length).find(|byte| !matches!(byte, b' ' | b'\t'));
    if matches!(content, None | Some(b'\r' | b'\n')) { 0 } else { length }
}

#[inline]
fn push_token(out: &mut Vec<u8>, token: &[u8]) {
    if is_token(token) {
        out.extend_from_slice(token);
    } else {
        out.extend(token.iter().map(|byte| if is_token_byte(*byte) { *byte } else { b'-' }));
    }
}

fn push_uri(out: &mut Vec<u8>, uri: &[u8]) {
    if is_uri_text(uri) {
        return out.extend_from_slice(uri);
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in uri {
        match byte {
            0..=b' ' | 0x7f => {
                out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(*byte),
        }
    }
}

#[inline]
fn is_content_length(name: &[u8]) -> bool {
    matches!(name, [b'l' | b'L']) || name.eq_ignore_ascii_case(b"Content-Length")
}

/// The digits of a number, without an allocation.
pub(crate) fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    digits.get(digits.len() - used..).unwrap_or_default()
}
