//! Bodies of several parts (RFC 2046 §5.1, RFC 5621).

use arrayvec::ArrayVec;
use memchr::memmem::Finder;

use super::text::{is_space, trim, trim_end};
use super::{Fault, Message, Name, Params, unquote};

/// The most parts that a body may have.
pub const MAX_PARTS: usize = 16;
/// RFC 2046 §5.1.1.
const LONGEST_BOUNDARY: usize = 70;

/// A body cut into its parts; what stands before the first and after the last is nobody's.
#[derive(Clone, Debug)]
pub struct Multipart<'a> {
    parts: ArrayVec<Part<'a>, MAX_PARTS>,
    body: &'a [u8],
    /// Where the line begins that ends the last part.
    close: usize,
}

/// One part, which may have parts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part<'a> {
    /// What is in it.
    pub body: &'a [u8],
    /// Its media type with parameters; `None` means plain text (RFC 2046 §5.2).
    pub content_type: Option<&'a [u8]>,
    /// What it is for, with parameters.
    pub disposition: Option<&'a [u8]>,
    /// `true` when it is compressed, or written in another way than octet by octet.
    pub is_encoded: bool,
    /// Where the line begins that it stands behind, and where its body begins, in the whole body.
    line: usize,
    start: usize,
}

impl<'a> Message<'a> {
    /// The parts of a body whose type is `multipart/…`; `None` for one of another type.
    pub fn multipart(&self) -> Option<Result<Multipart<'a>, Fault>> {
        Multipart::of(self.first(Name::ContentType)?, self.body())
    }
}

impl<'a> Multipart<'a> {
    fn of(content_type: &'a [u8], body: &'a [u8]) -> Option<Result<Multipart<'a>, Fault>> {
        let (kind, params) = Params::split(content_type);
        is_multipart(kind).then(|| {
            let boundary = params.value("boundary").map(unquote).map(trim_end);
            let boundary = boundary.filter(|text| (1..=LONGEST_BOUNDARY).contains(&text.len()));
            let boundary = boundary.ok_or(Fault::new("Content-Type", "a boundary of 1 to 70 characters"))?;
            Multipart::cut(body, boundary)
        })
    }

    fn cut(body: &'a [u8], boundary: &[u8]) -> Result<Multipart<'a>, Fault> {
        let mut cut = Multipart { parts: ArrayVec::new(), body, close: 0 };
        let delimiter = Finder::new(boundary);
        let mut open: Option<Part<'a>> = None;
        let mut from = 0;
        while let Some(found) = body.get(from..).and_then(|rest| delimiter.find(rest)) {
            let at = from + found;
            from = at + boundary.len();
            let Some(line) = Line::around(body, at, boundary.len()) else { continue };
            if let Some(part) = open.take() {
                let content = body.get(part.start..line.start.max(part.start)).unwrap_or_default();
                let part = part.read(content);
                let full = Fault::new("Content-Type", "a body of at most 16 parts");
                cut.parts.try_push(part).map_err(|_| full)?;
            }
            if line.closes {
                cut.close = line.start;
                return Ok(cut);
            }
            open = Some(Part { line: line.start, start: line.end, ..Part::default() });
            from = line.end.max(from);
        }
        Err(Fault::new("Content-Type", "the boundary before each part and behind the last"))
    }

    /// The parts in their order.
    pub fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    /// The body with only the parts that `keep` gives something for, each with that as its content. Everything else
    /// stays as it was written.
    pub fn rewrite<C: AsRef<[u8]>>(&self, keep: impl Fn(&Part<'a>) -> Option<C>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 128);
        let first = self.parts.first().map_or(self.close, |part| part.line);
        out.extend_from_slice(self.body.get(..first).unwrap_or_default());
        // A boundary right behind another has no line end of its own: it is written once.
        let mut written = 0;
        for part in &self.parts {
            if let Some(content) = keep(part) {
                let content = content.as_ref();
                out.extend_from_slice(self.body.get(part.line.max(written)..part.start).unwrap_or_default());
                out.extend_from_slice(content);
                written = if content.is_empty() { part.start } else { 0 };
            }
        }
        out.extend_from_slice(self.body.get(self.close.max(written)..).unwrap_or_default());
        out
    }
}

/// Whether a media type is one of bodies with several parts.
pub fn is_multipart(kind: &[u8]) -> bool {
    let slash = memchr::memchr(b'/', kind).unwrap_or(kind.len());
    kind.get(..slash).is_some_and(|name| trim(name).eq_ignore_ascii_case(b"multipart"))
}

/// Whether a media type is the known one, which is written without white space. In any case, and with white space about its
/// slash (RFC 3261 §25.1: SLASH).
pub fn is_media_type(kind: &[u8], known: &[u8]) -> bool {
    if kind.eq_ignore_ascii_case(known) {
        return true;
    }
    let cut = |kind: &'_ [u8]| memchr::memchr(b'/', kind).map(|slash| (slash, slash + 1));
    let (Some(given), Some(wanted)) = (cut(kind), cut(known)) else { return false };
    let same = |one: Option<&[u8]>, other: Option<&[u8]>| match (one, other) {
        (Some(one), Some(other)) => trim(one).eq_ignore_ascii_case(other),
        (_, _) => false,
    };
    same(kind.get(..given.0), known.get(..wanted.0)) && same(kind.get(given.1..), known.get(wanted.1..))
}

/// A line that is a boundary.
struct Line {
    /// Where it begins, its own line end before it included: that belongs to no part.
    start: usize,
    /// Where the next line begins.
    end: usize,
    /// Nothing follows it.
    closes: bool,
}

impl Line {
    /// The line around a boundary found at `at`, if nothing but what may stand there does.
    fn around(body: &[u8], at: usize, length: usize) -> Option<Line> {
        let dashes = at.checked_sub(2).filter(|start| body.get(*start..at) == Some(b"--"))?;
        let start = match body.get(..dashes)? {
            [] => 0,
            [.., b'\r', b'\n'] => dashes - 2,
            [.., b'\n'] => dashes - 1,
            _ => return None,
        };
        let rest = body.get(at + length..)?;
        let closes = rest.starts_with(b"--");
        let behind = if closes { rest.get(2..)? } else { rest };
        let blanks = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line_end = match behind.get(blanks..)? {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            [] if closes => 0,
            _ => return None,
        };
        let end = at + length + (rest.len() - behind.len()) + blanks + line_end;
        Some(Line { start, end, closes })
    }
}

impl<'a> Part<'a> {
    /// Reads the headers of a part whose whole text this is. Those that nobody needs are passed over.
    fn read(mut self, text: &'a [u8]) -> Part<'a> {
        let mut at = 0;
        loop {
            let line_start = at;
            let Some(end) = next_line(text, at) else {
                // No empty line: all of it is headers.
                self.start += text.len();
                return self;
            };
            let line = text.get(line_start..end).unwrap_or_default();
            if trim(line).is_empty() {
                self.start += end;
                self.body = text.get(end..).unwrap_or_default();
                return self;
            }
            at = end;
            self.header(line);
        }
    }

    fn header(&mut self, line: &'a [u8]) {
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let (Some(name), Some(value)) = (line.get(..colon), line.get(colon + 1..)) else { return };
        let (name, value) = (trim(name), trim(value));
        match Name::parse(name) {
            Name::ContentType => self.content_type = Some(value),
            Name::ContentDisposition => self.disposition = Some(value),
            Name::ContentEncoding => self.is_encoded |= !value.eq_ignore_ascii_case(b"identity"),
            _ if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") => {
                let plain: [&[u8]; 3] = [b"binary", b"8bit", b"7bit"];
                self.is_encoded |= !plain.iter().any(|plain| value.eq_ignore_ascii_case(plain));
            }
            _ => {}
        }
    }

    /// Its own parts, when it has some; how deep to look is for who asks to bound.
    pub fn multipart(&self) -> Option<Result<Multipart<'a>, Fault>> {
        Multipart::of(self.content_type?, self.body)
    }

    /// The media type without its parameters.
    pub fn kind(&self) -> &'a [u8] {
        self.content_type.map_or(b"text/plain", |value| Params::split(value).0)
    }
}

/// Where the line after this one begins, folds included; `None` when it does not end.
fn next_line(text: &[u8], from: usize) -> Option<usize> {
    let mut end = from;
    loop {
        end += memchr::memchr(b'\n', text.get(end..)?)? + 1;
        let is_empty = text.get(from..end).is_some_and(|line| line.iter().all(|byte| is_space(*byte)));
        if is_empty || !matches!(text.get(end), Some(b' ' | b'\t')) {
            return Some(end);
        }
    }
}
