//! Whom a Request-URI names: the one string that routes and users are matched against.

use std::borrow::Cow;

use sip::{Scheme, Uri};

/// The longest name that is matched against routes, in bytes after unescaping; no number or user name comes near.
/// Matching takes time linear in the name, for every route, so it is bounded.
pub const MAX_CALLED: usize = 256;

/// What was read from a Request-URI.
#[derive(Debug)]
pub(crate) struct Called<'a> {
    name: Option<Cow<'a, str>>,
}

/// Why a URI names nobody that could be routed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unroutable {
    #[error("expected a URI with {0}")]
    NotAUri(&'static str),
    #[error("expected a sip, sips or tel URI")]
    Scheme,
    #[error("expected a called name of at most {MAX_CALLED} bytes, got {0}")]
    TooLong(usize),
    #[error("expected a called name in UTF-8")]
    NotUtf8,
}

impl<'a> Called<'a> {
    pub(crate) fn of(uri: &'a str) -> Result<Called<'a>, Unroutable> {
        let uri = Uri::parse(uri.as_bytes()).map_err(|fault| Unroutable::NotAUri(fault.expected))?;
        let name = match uri.scheme {
            Scheme::Sip | Scheme::Sips => match uri.user {
                None | Some([]) => None,
                Some(_) => Some(uri.unescaped_user()),
            },
            Scheme::Tel => Some(without_separators(uri.unescaped_user())),
            Scheme::Other => return Err(Unroutable::Scheme),
        };
        match name {
            None => Ok(Called { name: None }),
            Some(name) if name.len() > MAX_CALLED => Err(Unroutable::TooLong(name.len())),
            Some(name) => Ok(Called { name: Some(text(name)?) }),
        }
    }

    /// The called name; `None` when the URI has no user part, or an empty one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// A number as it is dialled: RFC 3966 §5.1.1 gives `-`, `.`, `(` and `)` to the eye alone, and two numbers that differ
/// in nothing else are the same (§4).
fn without_separators(number: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let visual = |byte: &u8| matches!(byte, b'-' | b'.' | b'(' | b')');
    if number.iter().any(visual) {
        Cow::Owned(number.iter().copied().filter(|byte| !visual(byte)).collect())
    } else {
        number
    }
}

fn text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Unroutable> {
    match bytes {
        Cow::Borrowed(bytes) => {
            std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Unroutable::NotUtf8)
        }
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Unroutable::NotUtf8),
    }
}
