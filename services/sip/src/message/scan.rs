//! The one header that is read before the message is.

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
    // A line that begins otherwise costs no more for being long; any number of blanks may stand before the colon.
    let names = [&b"call-id"[..], b"i"];
    let is_it = |name: &&[u8]| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let name = names.into_iter().find(is_it)?;
    let blanks = text.get(name.len()..)?.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let colon = name.len() + blanks;
    if text.get(colon) != Some(&b':') {
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
