//! Keys of media in descriptions (RFC 4568 `a=crypto`), which no journal may have: each digit of one is written as the digit
//! of zero, so that the line can still be read and is as long as it was.

use std::borrow::Cow;

use memchr::memmem;

const LINE: &[u8] = b"a=crypto:";
const KEY: &[u8] = b"inline:";

/// Hides the keys in these bytes.
pub(super) fn mask(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(line) = bytes.get(from..).and_then(|rest| memmem::find(rest, LINE)) {
        let begin = from + line + LINE.len();
        let line = bytes.get_mut(begin..).unwrap_or_default();
        let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(line.len());
        mask_line(line.get_mut(..end).unwrap_or_default());
        from = begin + end;
    }
}

/// The same bytes with their keys hidden.
pub(super) fn masked(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(bytes, LINE).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut bytes = bytes.to_vec();
    mask(&mut bytes);
    Cow::Owned(bytes)
}

fn mask_line(mut line: &mut [u8]) {
    let is_key = |window: &[u8]| window.eq_ignore_ascii_case(KEY);
    while let Some(at) = line.windows(KEY.len()).position(is_key) {
        let (_, rest) = line.split_at_mut(at + KEY.len());
        let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
        let length = rest.iter().position(|byte| !digit(byte)).unwrap_or(rest.len());
        let (key, rest) = rest.split_at_mut(length);
        key.fill(b'A');
        line = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hidden_and_nothing_else() {
        let text = |one: &str, two: &str| {
            format!(
                "m=audio 1 RTP/SAVP 0\r\na=crypto:1 AES inline:{one}|2^31|1:1;inline:{two}==\r\n\
                 a=crypto:2 AES Inline:{two}\na=note:inline:kept\r\n"
            )
        };
        let mut bytes = text("a1+/Zz", "bcd").into_bytes();
        mask(&mut bytes);
        assert_eq!(String::from_utf8_lossy(&bytes), text("AAAAAA", "AAA"));
        assert!(matches!(masked(b"a=inline:x"), Cow::Borrowed(_)));
        for cut in 0..40 {
            mask(&mut text("a", "b").into_bytes()[..cut]);
        }
    }
}
