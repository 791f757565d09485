//! What is wrong with a message that could be indexed.

use std::fmt;

const MISSING: &str = "the header to be there";
const REPEATED: &str = "the header once only";
/// The start line's version as a fault names it.
pub(super) const VERSION: &str = "SIP-Version";
/// The request line as a fault names it.
pub(super) const REQUEST_LINE: &str = "Request-Line";
/// The Request-URI as a fault names it.
pub(super) const REQUEST_URI: &str = "Request-URI";

/// A header that cannot be read, and what was expected of it. Displayed as `bad Via: expected …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The header, or the part of the start line, that is at fault.
    pub header: &'static str,
    /// What should have stood there.
    pub expected: &'static str,
}

impl Fault {
    /// A fault of that header.
    pub const fn new(header: &'static str, expected: &'static str) -> Fault {
        Fault { header, expected }
    }

    /// The header is not there and must be.
    pub const fn missing(header: &'static str) -> Fault {
        Fault { header, expected: MISSING }
    }

    /// The header stands there more than once and must not.
    pub const fn repeated(header: &'static str) -> Fault {
        Fault { header, expected: REPEATED }
    }

    /// The same fault, found in that header.
    pub const fn in_header(self, header: &'static str) -> Fault {
        Fault { header, expected: self.expected }
    }

    /// The status that answers a request with this fault: 505 for the version, else 400.
    pub fn status(&self) -> u16 {
        if self.header == VERSION { 505 } else { 400 }
    }

    /// The reason phrase that tells the peer (RFC 3261 §21.4.1): `Missing Call-ID Header`, `Bad Via Header`. It
    /// depends on the kind of fault only, never on what came, so tests and dashboards may rely on it.
    pub fn phrase(&self) -> String {
        let kind = match self.expected {
            MISSING => "Missing",
            REPEATED => "Repeated",
            _ => "Bad",
        };
        match self.header {
            VERSION => String::from("Version Not Supported"),
            REQUEST_LINE => String::from("Bad Request Line"),
            REQUEST_URI => String::from("Bad Request-URI"),
            header => format!("{kind} {header} Header"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad {}: expected {}", self.header, self.expected)
    }
}

impl std::error::Error for Fault {}
