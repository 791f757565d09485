//! The one header that is read before the message is.

use super::Name;
use super::text::trim;

/// The value of the first Call-ID header, found without an index: the receiver chooses by it the shard that reads the
/// message in full. Gives what [`super::Message::call_id`] gives wherever that succeeds; `None` when the headers end
/// before one is found.
pub fn call_id_of(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = skip_line_ends(bytes);
    loop {
        // The start line is passed over first, so each round begins after a line end.
        rest = rest.get(memchr::memchr(b'\n', rest)? + 1..)?;
        match rest.first()? {
            b'c' | b'C' | b'i' | b'I' => {
                if let Some(value) = call_id_line(rest) {
                    return Some(value);
                }
            }
            b'\r' | b'\n' => return None,
            _ => {}
        }
    }
}

/// The bytes without the line ends before a message (RFC 3261 §7.5) and between keep-alives (RFC 5626 §3.5.1).
pub(super) fn skip_line_ends(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// The value when the line at the start of `text` is a Call-ID.
fn call_id_line(text: &[u8]) -> Option<&[u8]> {
    // No longer name can be one, so a long line costs no more than a short one.
    let colon = text.iter().take(64).position(|byte| *byte == b':')?;
    let name = trim_blanks(text.get(..colon)?);
    if Name::parse(name) != Name::CallId {
        return None;
    }
    let value = text.get(colon + 1..)?;
    let mut end = 0;
    loop {
        end += memchr::memchr(b'\n', value.get(end..)?)? + 1;
        if !matches!(value.get(end), Some(b' ' | b'\t')) {
            return value.get(..end).map(trim);
        }
    }
}

/// Only blanks may stand between a name and its colon: a line end there makes it another line.
pub(super) fn trim_blanks(mut name: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    name
}
