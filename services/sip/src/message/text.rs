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
        byte += 1;
    }
    table
};
/// In a token.
const TOKEN: u8 = 1;
/// In a parameter's value that is not quoted: whatever cannot be taken for the end of it.
const VALUE: u8 = 2;
/// Whether all bytes are of that class. No early way out, so that it is done many bytes at a time.
#[inline]
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

/// Whether no byte of the text could end a URI. The grammar is narrower; this much keeps it in one piece wherever it is
/// copied to. Compared and not looked up, which is done many bytes at a time.
pub(crate) fn is_uri_text(text: &[u8]) -> bool {
    let stays = |byte: u8| (byte > b' ') & (byte != 0x7f) & (byte != b'"') & (byte != b'<') & (byte != b'>');
    text.iter().fold(true, |all, byte| all & stays(*byte))
}

/// Whether the text is one token.
#[inline]
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

/// Where the first CR or LF stands. Lines of a head are some forty bytes long: going through them in small blocks is done
/// before a search of many bytes at a time has begun.
#[inline]
pub(crate) fn find_line_end(text: &[u8]) -> Option<usize> {
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    for (at, block) in blocks.iter().enumerate() {
        if has_control(block)
            && let Some(found) = line_end_within(block)
        {
            return Some(at * BLOCK + found);
        }
    }
    // The last block reaches back into what was looked at: going through the tail byte by byte costs more.
    match text.last_chunk() {
        Some(last) if !has_control(last) => None,
        Some(_) | None => tail.iter().position(is_line_end).map(|found| blocks.len() * BLOCK + found),
    }
}

/// As many bytes as every processor compares at once.
const BLOCK: usize = 16;

/// Whether there are bytes below 0x10: line ends, and the rare tab. No early way out, so that it is one comparison.
fn has_control(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(false, |any, byte| any | (*byte < 0x10))
}

#[inline]
fn line_end_within(block: &[u8; BLOCK]) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    block.as_chunks::<8>().0.iter().enumerate().find_map(|(at, word)| {
        // The lowest top bit that is left marks the first byte below 0x10.
        let number = u64::from_le_bytes(*word);
        let marks = number.wrapping_sub(EACH * 0x10) & !number & (EACH * 0x80);
        let first = marks.trailing_zeros() as usize / 8;
        let is_it = word.get(first).is_some_and(is_line_end);
        let found = if is_it { Some(first) } else { word.iter().position(is_line_end) };
        found.filter(|_| marks != 0).map(|found| at * 8 + found)
    })
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
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

#[cfg(test)]
mod tests {
    use super::find_line_end;

    #[test]
    fn the_first_line_end_is_found_wherever_it_stands_and_whatever_stands_before_it() {
        for length in 0..70 {
            for filler in *b"a\t \x01\x10\x80\xff" {
                let mut text = vec![filler; length];
                assert_eq!(find_line_end(&text), None, "{text:?}");
                for at in (0..length).rev() {
                    text[at] = if at % 3 == 0 { b'\n' } else { b'\r' };
                    assert_eq!(find_line_end(&text), Some(at), "{text:?}");
                }
            }
        }
    }
}
