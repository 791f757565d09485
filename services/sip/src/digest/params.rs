//! The parameters of credentials and challenges: `Digest name=value, name="value"`.

use std::borrow::Cow;

use crate::message::is_token_byte;

/// What may be wrong with them, as a fault's `expected`.
pub(super) const SHAPE: &str = "Digest and name=value pairs with commas between";

/// The text behind the scheme; `None` when the scheme is not Digest.
pub(super) fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.trim_ascii().split_at_checked(b"Digest".len())?;
    let separated = rest.first().is_some_and(u8::is_ascii_whitespace);
    (scheme.eq_ignore_ascii_case(b"Digest") && separated).then_some(rest)
}

/// Name and value of each parameter; `Err` once and then nothing where they cannot be read further.
pub(super) struct Params<'a>(&'a [u8]);

/// A value with the quotes off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    /// As it was written between the quotes.
    pub raw: &'a [u8],
    escaped: bool,
}

impl<'a> Value<'a> {
    /// What is meant: escapes undone (RFC 3261 §25.1, quoted-pair).
    pub fn unescaped(&self) -> Cow<'a, [u8]> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut meant = Vec::with_capacity(self.raw.len());
        let mut bytes = self.raw.iter();
        while let Some(byte) = bytes.next() {
            let byte = if *byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte };
            meant.push(*byte);
        }
        Cow::Owned(meant)
    }
}

impl<'a> Params<'a> {
    pub fn new(text: &'a [u8]) -> Params<'a> {
        Params(text)
    }

    fn read(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let name_length = self.0.iter().position(|byte| !is_token_byte(*byte))?;
        let (name, rest) = self.0.split_at_checked(name_length).filter(|(name, _)| !name.is_empty())?;
        let rest = rest.trim_ascii_start().strip_prefix(b"=")?;
        let rest = rest.trim_ascii_start();
        let (value, rest) = match rest.strip_prefix(b"\"") {
            Some(quoted) => quoted_string(quoted)?,
            None => {
                let length = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
                let (raw, rest) = rest.split_at_checked(length)?;
                (Value { raw: raw.trim_ascii(), escaped: false }, rest)
            }
        };
        let rest = rest.trim_ascii_start();
        if !(rest.is_empty() || rest.starts_with(b",")) {
            return None;
        }
        self.0 = rest;
        Some((name, value))
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Result<(&'a [u8], Value<'a>), ()>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.0.trim_ascii_start().strip_prefix(b",") {
            self.0 = rest;
        }
        self.0 = self.0.trim_ascii_start();
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_none() {
            self.0 = b"";
        }
        Some(read.ok_or(()))
    }
}

/// From behind the opening quote: the value, and what follows the closing quote.
fn quoted_string(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let mut at = 0;
    let mut escaped = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some((Value { raw: text.get(..at)?, escaped }, text.get(at + 1..)?));
        }
        escaped = true;
        at += 2;
    }
}

/// Writes `name="value"` with what has to be escaped escaped.
pub(super) fn write_quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    write_name(out, name);
    out.push(b'"');
    out.extend_from_slice(&escaped(value));
    out.push(b'"');
}

/// As it stands between quotes.
pub(super) fn escaped(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'"', b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut escaped = Vec::with_capacity(value.len() + 8);
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    Cow::Owned(escaped)
}

/// Writes `name=value`.
pub(super) fn write_plain(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    write_name(out, name);
    out.extend_from_slice(value);
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(if out.is_empty() { b"Digest " } else { b", " });
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
}
