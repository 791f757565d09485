//! The lexical ground of RFC 3261 §25.1: white space, tokens and numbers.

/// White space inside a value, where a fold may stand.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The text without the white space at both ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// The text without the white space it ends with.
pub(crate) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// The text without the white space it starts with.
pub(crate) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    text
}

/// What a byte may be part of, one bit each.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let at = byte as u8;
        let blank = matches!(at, b' ' | b'\t' | b'\r' | b'\n');
        let mark = matches!(at, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        let bracket = matches!(at, b'"' | b'<' | b'>');
        if at.is_ascii_alphanumeric() || mark {
            table[byte] |= TOKEN;
        }
        if !(blank || bracket || at == b',') {
            table[byte] |= VALUE;
        }
        if !(at <= b' ' || at == 0x7f || bracket) {
            table[byte] |= URI;
        }
        byte += 1;
    }
    table
};
/// In a token.
const TOKEN: u8 = 1;
/// In a parameter's value that is not quoted: whatever cannot be taken for the end of it.
const VALUE: u8 = 2;
/// In a URI. Its grammar is narrower; this much keeps it in one piece wherever it is copied to.
const URI: u8 = 4;

/// Whether all bytes are of that class. No early way out, so that it is done many bytes at a time.
fn all(text: &[u8], class: u8) -> bool {
    text.iter().fold(class, |all, byte| all & CLASS[usize::from(*byte)]) != 0
}

/// Whether the byte may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASS[usize::from(byte)] & TOKEN != 0
}

/// Whether the text can be a parameter's value without quotes.
pub(super) fn is_plain_value(text: &[u8]) -> bool {
    all(text, VALUE)
}

/// Whether no byte of the text could end a URI.
pub(crate) fn is_uri_text(text: &[u8]) -> bool {
    all(text, URI)
}

/// Whether the text is one token.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TOKEN)
}

/// A number of nothing but digits, at least one; leading zeros are legal. `None` too when it exceeds 64 bits.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Where one of these bytes first stands. The first few bytes are looked at one by one: a search of many bytes at a time
/// costs as much to begin as a dozen of them, and who writes a separator at every other byte would pay for it each time.
pub(crate) fn find_any<const N: usize>(
    text: &[u8],
    bytes: [u8; N],
    search: impl FnOnce([u8; N], &[u8]) -> Option<usize>,
) -> Option<usize> {
    const NEAR: usize = 12;
    let (near, far) = text.split_at_checked(NEAR).unwrap_or((text, &[]));
    match near.iter().position(|byte| bytes.contains(byte)) {
        Some(at) => Some(at),
        None if far.is_empty() => None,
        None => search(bytes, far).map(|at| near.len() + at),
    }
}

/// Where the quoted string ends whose opening quote stands just before `at`: just after its closing quote, or `None`
/// when it is never closed.
pub(crate) fn quote_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found =
            at + find_any(text.get(at..)?, [b'"', b'\\'], |[a, b], rest| memchr::memchr2(a, b, rest))?;
        if text.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        at = found + 2;
    }
}
