//! Comma-separated lists.

use super::Name;
use super::text::{find_any, is_space, quote_end, trim};

/// The elements of one value that is a comma-separated list, trimmed, empty ones left out. An unclosed quote or `<`
/// takes all that follows into its element, where reading that element will fail.
#[derive(Clone, Debug)]
pub struct List<'a> {
    rest: &'a [u8],
    comments: bool,
}

impl<'a> List<'a> {
    /// The elements of a value in which parentheses mean nothing, as in every header with addresses, whose URIs
    /// may have them.
    pub fn new(value: &'a [u8]) -> List<'a> {
        List { rest: value, comments: false }
    }

    /// The elements of a value of that header.
    pub(super) fn of(name: Name, value: &'a [u8]) -> List<'a> {
        List { rest: value, comments: matches!(name, Name::UserAgent | Name::Server | Name::RetryAfter) }
    }

    /// What has not been given out yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How far the first element goes.
    fn element_end(&mut self) -> usize {
        let text = self.rest;
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let mark = if self.comments {
                rest.iter().position(|byte| matches!(byte, b',' | b'"' | b'<' | b'('))
            } else {
                find_any(rest, [b',', b'"', b'<'], |[a, b, c], rest| memchr::memchr3(a, b, c, rest))
            };
            let Some(mark) = mark else { return text.len() };
            at += mark;
            let next = match text.get(at) {
                Some(b'"') => quote_end(text, at + 1),
                Some(b'<') => {
                    text.get(at..).and_then(|rest| memchr::memchr(b'>', rest)).map(|end| at + end + 1)
                }
                Some(b'(') => Some(self.comment_end(at)),
                Some(_) | None => return at,
            };
            at = next.unwrap_or(text.len());
        }
        text.len()
    }

    /// Where the comment ends that opens at `open`. Comments nest (RFC 3261 §25.1); one that is never closed is no
    /// comment, and then none that follows can be, so nothing is looked at twice.
    fn comment_end(&mut self, open: usize) -> usize {
        let mut depth = 0_usize;
        let mut at = open;
        while let Some(byte) = self.rest.get(at) {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => at += 1,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                return at;
            }
        }
        self.comments = false;
        open + 1
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            // Empty elements, of which there may be one at each byte.
            while let [first, rest @ ..] = self.rest
                && (*first == b',' || is_space(*first))
            {
                self.rest = rest;
            }
            if self.rest.is_empty() {
                return None;
            }
            let end = self.element_end();
            let (element, rest) = self.rest.split_at_checked(end)?;
            self.rest = rest.get(1..).unwrap_or_default();
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}
