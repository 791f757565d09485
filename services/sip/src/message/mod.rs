//! SIP messages as an index over the received bytes.
//!
//! [`Message::parse`] walks the bytes once and notes where each header starts and ends; it copies and allocates
//! nothing, so a header that nobody understands, or that is not UTF-8, leaves the box as it came. What a value means
//! is read on demand by the typed views ([`Address`], [`Uri`], [`Via`], [`CSeq`] and the smaller ones beside it).
//! [`Message::check`] says whether all that RFC 3261 §8.1.1 demands is there; until it has, expect each view to fail.

mod address;
mod check;
mod equivalent;
mod error;
mod fault;
mod fields;
mod list;
mod method;
mod multipart;
mod name;
mod params;
mod parse;
mod scan;
mod status;
mod text;
mod uri;
mod via;

use arrayvec::ArrayVec;

pub use address::Address;
pub use error::ParseError;
pub use fault::Fault;
pub use fields::{CSeq, RAck, Reason, Refresher, Replaces, SessionExpires};
pub use list::List;
pub use method::Method;
pub use multipart::{MAX_PARTS, Multipart, Part, is_media_type};
pub use name::Name;
pub(crate) use params::parameter;
pub use params::{Params, unquote};
pub use scan::call_id_of;
pub use status::reason_phrase;
pub(crate) use text::{find_any, find_line_end, is_space, is_token, is_token_byte, is_uri_text};
pub use uri::{Scheme, Uri};
pub use via::Via;

use parse::{Slot, Start};

/// The longest message in bytes, start line to the end of the body: what one datagram can carry.
pub const MAX_MESSAGE: usize = 65_535;
/// The most header lines of a message.
pub const MAX_HEADERS: usize = 128;
/// The longest header line in bytes, its folds included.
pub const MAX_HEADER_LINE: usize = 16_384;
/// The most elements that [`Message::check`] lets a list have that is walked for routing: Via, Route, Record-Route
/// and Contact.
pub const MAX_LIST: usize = 128;

/// The index of one message. Cheap to make, but large for a value (some 1.3 KB inline): pass it by reference.
#[derive(Clone)]
pub struct Message<'a> {
    bytes: &'a [u8],
    slots: ArrayVec<Slot, MAX_HEADERS>,
    /// One bit per [`Name`] that occurs.
    present: u64,
    /// One bit per [`Name`] that occurs on more than one line.
    repeated: u64,
    /// Whether every header line ends in CRLF and none is folded, so that lines may be copied in one piece.
    plain: bool,
    start: Start,
    body: u16,
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which header it is.
    pub name: Name,
    /// The name as it was written.
    pub raw_name: &'a [u8],
    /// The value without the white space around it. Folds (a line end and the white space after it) are kept.
    pub value: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message's own bytes: from its start line to the end of its body, without what stood before and after.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        match self.start {
            Start::Request { .. } => true,
            Start::Status { .. } => false,
        }
    }

    /// The request's method; of a response, the method of its CSeq, `Unknown` when that cannot be read.
    pub fn method(&self) -> Method {
        match self.start {
            Start::Request { method, .. } => method,
            Start::Status { .. } => self.cseq().map_or(Method::Unknown, |cseq| cseq.method),
        }
    }

    /// The text of [`Message::method`]; empty when a response's CSeq cannot be read.
    pub fn method_text(&self) -> &'a [u8] {
        match self.start {
            Start::Request { method_end, .. } => self.span(0, method_end),
            Start::Status { .. } => self.cseq().map_or(&[], |cseq| cseq.method_text),
        }
    }

    /// The Request-URI; `None` for a response.
    pub fn request_uri(&self) -> Option<&'a [u8]> {
        match self.start {
            Start::Request { uri, uri_end, .. } => Some(self.span(uri, uri_end)),
            Start::Status { .. } => None,
        }
    }

    /// The status code, 100 to 699; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Status { code, .. } => Some(code),
        }
    }

    /// The reason phrase of a response; empty for a request.
    pub fn reason_phrase(&self) -> &'a [u8] {
        match self.start {
            Start::Request { .. } => &[],
            Start::Status { reason, reason_end, .. } => self.span(reason, reason_end),
        }
    }

    /// All headers in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + '_ {
        self.slots.iter().map(|slot| self.header(slot))
    }

    /// The value of the first line of that name. `Name::Other` is looked up with [`Message::other`] instead.
    pub fn first(&self, name: Name) -> Option<&'a [u8]> {
        if !self.has(name) {
            return None;
        }
        self.slots.iter().find(|slot| slot.name == name).map(|slot| self.span(slot.value, slot.value_end))
    }

    /// The values of all lines of that name, each whole.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + '_ {
        let slots: &[Slot] = if self.has(name) { &self.slots } else { &[] };
        slots.iter().filter(move |slot| slot.name == name).map(|slot| self.span(slot.value, slot.value_end))
    }

    /// The elements of a header that is a comma-separated list, over all lines of that name (RFC 3261 §7.3.1).
    /// Commas in quoted strings, in `<>` and, where the header may have them, in comments do not separate. Empty
    /// elements are left out.
    pub fn elements(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.values(name).flat_map(move |value| List::of(name, value))
    }

    /// The tokens of Supported, Require, Allow and the like, over all lines.
    pub fn token_list(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.elements(name)
    }

    /// The value of the first line of that name, for a header that [`Name`] does not know; in any case.
    pub fn other(&self, raw_name: &[u8]) -> Option<&'a [u8]> {
        if !self.has(Name::Other) {
            return None;
        }
        self.headers()
            .find(|header| header.name == Name::Other && header.raw_name.eq_ignore_ascii_case(raw_name))
            .map(|header| header.value)
    }

    /// Whether a line of that name is there.
    pub fn has(&self, name: Name) -> bool {
        self.present & name.bit() != 0
    }

    /// The body; empty when there is none.
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(usize::from(self.body)..).unwrap_or_default()
    }

    /// The topmost Via.
    pub fn via(&self) -> Result<Via<'a>, Fault> {
        Via::parse(self.top_via().ok_or(Fault::missing("Via"))?)
    }

    /// The topmost Via for an answer to a request that [`Message::check`] refuses: what tells where it goes can be read,
    /// its version and parameters may be anything.
    pub fn via_for_refusal(&self) -> Option<Via<'a>> {
        Via::parse_sent_by(self.top_via()?).ok().map(|(via, _)| via)
    }

    /// From.
    pub fn from(&self) -> Result<Address<'a>, Fault> {
        self.address(Name::From)
    }

    /// To.
    pub fn to(&self) -> Result<Address<'a>, Fault> {
        self.address(Name::To)
    }

    /// Call-ID.
    pub fn call_id(&self) -> Result<&'a [u8], Fault> {
        let value = self.first(Name::CallId).ok_or(Fault::missing("Call-ID"))?;
        // The grammar's word has odd characters, `<` and `"` among them, but never white space.
        if value.is_empty() || value.iter().any(|byte| text::is_space(*byte)) {
            return Err(Fault::new("Call-ID", "one word without white space"));
        }
        Ok(value)
    }

    /// CSeq.
    pub fn cseq(&self) -> Result<CSeq<'a>, Fault> {
        CSeq::parse(self.first(Name::CSeq).ok_or(Fault::missing("CSeq"))?)
    }

    /// Max-Forwards; `None` when it is absent, which RFC 2543 peers may do.
    pub fn max_forwards(&self) -> Result<Option<u8>, Fault> {
        let Some(value) = self.first(Name::MaxForwards) else { return Ok(None) };
        let number = text::number(value).and_then(|number| u8::try_from(number).ok());
        number.map(Some).ok_or(Fault::new("Max-Forwards", "a number from 0 to 255"))
    }

    /// The first Contact, when there is one. The `*` of a REGISTER comes as an address whose URI is `*`.
    pub fn contact(&self) -> Result<Option<Address<'a>>, Fault> {
        let Some(element) = self.elements(Name::Contact).next() else { return Ok(None) };
        Address::parse(element).map(Some).map_err(|fault| fault.in_header("Contact"))
    }

    /// The media type of the body, without parameters and as it was written: compare it in any case.
    pub fn content_type(&self) -> Option<&'a [u8]> {
        let value = self.first(Name::ContentType)?;
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        value.get(..end).map(text::trim)
    }

    /// The first element of the first Via line, as it was written.
    pub(crate) fn top_via(&self) -> Option<&'a [u8]> {
        self.elements(Name::Via).next()
    }

    /// All headers in order, each with where its whole line stands in [`Message::bytes`]; the lines leave no gaps.
    /// `None` when a line is folded or ends in LF alone, and has to be looked at before it is copied.
    pub(crate) fn plain_lines(
        &self,
    ) -> Option<impl Iterator<Item = (Header<'a>, std::ops::Range<usize>)> + '_> {
        let end = usize::from(self.body).checked_sub(2).filter(|end| self.bytes.get(*end) == Some(&b'\r'))?;
        let ends = self.slots.iter().skip(1).map(|slot| usize::from(slot.start)).chain([end]);
        let lines = self.slots.iter().zip(ends);
        self.plain.then(|| lines.map(|(slot, end)| (self.header(slot), usize::from(slot.start)..end)))
    }

    fn address(&self, name: Name) -> Result<Address<'a>, Fault> {
        let value = self.first(name).ok_or(Fault::missing(name.as_str()))?;
        Address::parse(value).map_err(|fault| fault.in_header(name.as_str()))
    }

    fn header(&self, slot: &Slot) -> Header<'a> {
        Header {
            name: slot.name,
            raw_name: self.span(slot.start, slot.name_end),
            value: self.span(slot.value, slot.value_end),
        }
    }

    fn span(&self, start: u16, end: u16) -> &'a [u8] {
        self.bytes.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }
}

impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        f.debug_struct("Message")
            .field("start_line", &String::from_utf8_lossy(line))
            .field("headers", &self.slots.len())
            .field("body", &self.body().len())
            .finish()
    }
}
