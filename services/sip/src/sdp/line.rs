//! Lines: where they end, and what they are.

use memchr::memchr2;

use crate::message::find_any;

/// A line of a description.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Without its end.
    pub text: &'a [u8],
    /// Its end: CRLF, LF, CR, or nothing for an unfinished last line.
    pub eol: &'a [u8],
    /// Where the next line begins in the description.
    pub end: usize,
}

/// An a= line's parts; the value is empty for a property attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> Line<'a> {
    /// Whether there is nothing to be read.
    pub fn is_blank(&self) -> bool {
        self.text.trim_ascii().is_empty()
    }

    /// The letter before `=`.
    pub fn kind(&self) -> Option<u8> {
        match self.text {
            [letter, b'=', ..] if letter.is_ascii_alphabetic() => Some(*letter),
            _ => None,
        }
    }

    /// What follows `x=`.
    pub fn value(&self) -> &'a [u8] {
        self.text.get(2..).unwrap_or_default()
    }

    /// The value as an attribute, without spaces around its parts.
    pub fn attribute(&self) -> Attribute<'a> {
        let value = self.value();
        match memchr::memchr(b':', value) {
            Some(colon) => {
                Attribute { name: value[..colon].trim_ascii(), value: value[colon + 1..].trim_ascii() }
            }
            None => Attribute { name: value.trim_ascii(), value: b"" },
        }
    }
}

/// The lines of a description. A lone CR ends a line too: where a peer would see a line, so must we, or it would carry
/// an address past the rewriting.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let found = find_any(rest, [b'\r', b'\n'], |[cr, lf], rest| memchr2(cr, lf, rest));
        let length = found.unwrap_or(rest.len());
        let (text, after) = rest.split_at(length);
        let eol = match after {
            [b'\r', b'\n', ..] => &after[..2],
            [_, ..] => &after[..1],
            [] => after,
        };
        start += text.len() + eol.len();
        Some(Line { text, eol, end: start })
    })
}

/// The fields of a value, however many spaces or tabs are between them.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|token| !token.is_empty())
}

/// A decimal number, digits only.
pub(super) fn number(text: &[u8]) -> Option<u16> {
    // `str::parse` would take a sign.
    text.iter().all(u8::is_ascii_digit).then_some(())?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
