//! Addresses as From, To, Contact and Route have them.

use super::text::{is_uri_text, quote_end, trim, trim_start};
use super::{Fault, Params, Uri};

/// A name-addr or addr-spec with the header's parameters (RFC 3261 §20.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The display name as it was written, quotes kept; empty when there is none.
    pub display: &'a [u8],
    /// The URI, without the `<>` around it.
    pub uri: &'a [u8],
    /// The header's parameters. Without `<>` all parameters are the header's, none the URI's (RFC 3261 §20).
    pub params: Params<'a>,
}

const SHAPE: &str = "\"name\" <uri>;parameters, or a uri alone";
const CLOSED: &str = "a quoted name with its closing quote";
const INSIDE: &str = "a uri without white space between < and >";
const PARAMETERS: &str = "each parameter once, as ;name or ;name=value";
const BRACKETS: &str = "<> around a uri that has a ? or a comma";

impl<'a> Address<'a> {
    /// Reads one address: a whole From or To, or one element of a list.
    pub fn parse(value: &'a [u8]) -> Result<Address<'a>, Fault> {
        let value = trim(value);
        let (display, rest) = display_name(value)?;
        let Some(rest) = rest else { return Address::bare(value) };
        let end = memchr::memchr(b'>', rest).ok_or(fault(SHAPE))?;
        let (uri, rest) = rest.split_at_checked(end).ok_or(fault(SHAPE))?;
        if uri.is_empty() || !is_uri_text(uri) {
            return Err(fault(INSIDE));
        }
        let rest = trim_start(rest.get(1..).unwrap_or_default());
        Address::with_params(display, uri, rest)
    }

    /// An addr-spec. A question mark or comma in it is legal inside `<>` only (RFC 3261 §20.10).
    fn bare(value: &'a [u8]) -> Result<Address<'a>, Fault> {
        let (uri, params) = Params::split(value);
        if uri.is_empty() || !is_uri_text(uri) {
            return Err(fault(SHAPE));
        }
        if memchr::memchr2(b'?', b',', uri).is_some() {
            return Err(fault(BRACKETS));
        }
        Address::with_params(&[], uri, params.raw())
    }

    fn with_params(display: &'a [u8], uri: &'a [u8], rest: &'a [u8]) -> Result<Address<'a>, Fault> {
        let params = Params::new(rest);
        if !(rest.is_empty() || rest.starts_with(b";") && params.is_well_formed()) {
            return Err(fault(PARAMETERS));
        }
        Ok(Address { display, uri, params })
    }

    /// The tag; `None` when it is absent or empty.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }

    /// The URI, read.
    pub fn parsed_uri(&self) -> Result<Uri<'a>, Fault> {
        Uri::parse(self.uri)
    }
}

/// The display name, and what follows the `<` if there is one.
fn display_name(value: &[u8]) -> Result<(&[u8], Option<&[u8]>), Fault> {
    let open = if value.starts_with(b"\"") {
        let end = quote_end(value, 1).ok_or(fault(CLOSED))?;
        let rest = value.get(end..).unwrap_or_default();
        let open = end + (rest.len() - trim_start(rest).len());
        if value.get(open) != Some(&b'<') {
            return Err(fault(SHAPE));
        }
        open
    } else {
        // A quoted parameter of an addr-spec may have a `<`: only one before any separator opens the URI.
        match value.iter().position(|byte| matches!(byte, b'<' | b'"' | b';' | b',' | b'>')) {
            Some(at) if value.get(at) == Some(&b'<') => at,
            Some(at) if value.get(at) == Some(&b';') => return Ok((&[], None)),
            Some(_) => return Err(fault(SHAPE)),
            None => return Ok((&[], None)),
        }
    };
    let (display, rest) = value.split_at_checked(open).ok_or(fault(SHAPE))?;
    Ok((trim(display), rest.get(1..)))
}

/// The caller names the header with [`Fault::in_header`].
fn fault(expected: &'static str) -> Fault {
    Fault::new("Address", expected)
}
