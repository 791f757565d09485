//! Parameters: `;name=value;flag`.

use super::text::{find_any, is_plain_value, is_token, quote_end, trim};

/// The most parameters of one value in a header.
const MAX_PARAMS: usize = 128;

/// The parameters of a header value or URI, from the first semicolon on. Reading them never fails; what makes no
/// sense is found by [`Params::is_well_formed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// Parameters from their text, with or without the semicolon before the first one.
    pub fn new(raw: &'a [u8]) -> Params<'a> {
        Params(raw)
    }

    /// Splits a value such as `SIP;cause=487` into what stands before the first semicolon and the parameters.
    pub fn split(value: &'a [u8]) -> (&'a [u8], Params<'a>) {
        let (head, rest) = value.split_at_checked(piece_end(value)).unwrap_or((value, &[]));
        (trim(head), Params(rest))
    }

    /// The parameters as they were written.
    pub fn raw(&self) -> &'a [u8] {
        self.0
    }

    /// The parameter of that name: `None` when it is absent, `Some(None)` when it has no value.
    pub fn find(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of the parameter of that name, as it was written: a quoted string has its quotes ([`unquote`]).
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.find(name.as_bytes()).flatten()
    }

    /// Whether the parameter is there, with a value or without.
    pub fn has(&self, name: &str) -> bool {
        self.find(name.as_bytes()).is_some()
    }

    /// Names and values in order. Empty parameters (`;;`) are left out.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.pieces().map(parameter).filter(|(name, value)| !name.is_empty() || value.is_some())
    }

    /// Whether each parameter is a token or `token=value` with a value that is quoted or has neither white space nor
    /// a separator in it, and no name that identifies a dialog or transaction (`tag`, `branch`) comes twice: readers
    /// that take the first and readers that take the last must not differ on those. More than 128 are too many. One
    /// semicolon at the end is forgiven, since phones in the field write it.
    pub fn is_well_formed(&self) -> bool {
        let mut tags = 0;
        let mut empty = false;
        for (count, piece) in self.pieces().enumerate() {
            let (name, value) = parameter(piece);
            if count == MAX_PARAMS
                || empty
                || !(is_token(name) || piece.is_empty())
                || !value.is_none_or(is_value)
            {
                return false;
            }
            empty = piece.is_empty();
            let identifies = name.eq_ignore_ascii_case(b"tag") || name.eq_ignore_ascii_case(b"branch");
            tags += usize::from(identifies);
        }
        tags < 2
    }

    /// The text of each parameter, trimmed, without its semicolon; empty ones too.
    pub(crate) fn pieces(&self) -> Pieces<'a> {
        let raw = trim(self.0);
        match raw.strip_prefix(b";") {
            Some(rest) => Pieces(Some(rest)),
            None if raw.is_empty() => Pieces(None),
            None => Pieces(Some(raw)),
        }
    }
}

/// The texts between the semicolons.
pub(crate) struct Pieces<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let (piece, rest) = text.split_at_checked(piece_end(text))?;
        self.0 = rest.get(1..);
        Some(trim(piece))
    }
}

/// Where the first semicolon outside quotes stands, or the end.
fn piece_end(text: &[u8]) -> usize {
    let mut at = 0;
    let next = |rest| find_any(rest, [b';', b'"'], |[a, b], rest| memchr::memchr2(a, b, rest));
    while let Some(found) = text.get(at..).and_then(next) {
        at += found;
        if text.get(at) == Some(&b';') {
            return at;
        }
        match quote_end(text, at + 1) {
            Some(end) => at = end,
            None => return text.len(),
        }
    }
    text.len()
}

/// A parameter's name and value.
pub(crate) fn parameter(piece: &[u8]) -> (&[u8], Option<&[u8]>) {
    match find_any(piece, [b'='], |[equals], rest| memchr::memchr(equals, rest))
        .and_then(|at| Some((piece.get(..at)?, piece.get(at + 1..)?)))
    {
        Some((name, value)) => (trim(name), Some(trim(value))),
        None => (piece, None),
    }
}

fn is_value(value: &[u8]) -> bool {
    match value.strip_prefix(b"\"") {
        Some(rest) => quote_end(rest, 0) == Some(rest.len()),
        None => is_plain_value(value),
    }
}

/// The inside of a quoted string, escapes kept; any other text as it is.
pub fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
    }
}
