//! What must be right before a message is acted upon.

use super::fault::{REQUEST_LINE, REQUEST_URI, VERSION};
use super::parse::Start;
use super::text::{is_space, number};
use super::{Address, Fault, MAX_LIST, Message, Name, Scheme, Uri};

/// The headers without which neither a request nor its response can be placed (RFC 3261 §8.1.1).
const MANDATORY: [Name; 5] = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];

/// The headers of which a second one would leave it open which counts.
const SINGLE: [Name; 15] = [
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
    Name::ContentLength,
    Name::ContentType,
    Name::ContentDisposition,
    Name::Expires,
    Name::RSeq,
    Name::RAck,
    Name::Event,
    Name::ReferTo,
    Name::Replaces,
    Name::SessionExpires,
];

impl Message<'_> {
    /// Checks what RFC 3261 §8.1.1 demands of any message, and what no reader may be left to guess at: the version,
    /// the start line's shape, the mandatory headers, single headers once, every address that routing looks at
    /// readable, CSeq's method that of the request, one Via only in a response that comes to us (§8.1.3.3). The
    /// first fault found is returned. Max-Forwards and the From tag may be absent, since RFC 2543 peers leave them
    /// out.
    pub fn check(&self) -> Result<(), Fault> {
        self.check_start()?;
        for name in MANDATORY {
            if !self.has(name) {
                return Err(Fault::missing(name.as_str()));
            }
        }
        for name in SINGLE {
            if self.repeated & name.bit() != 0 {
                return Err(Fault::repeated(name.as_str()));
            }
        }
        self.check_vias()?;
        check_tag(&self.from()?, "From")?;
        check_tag(&self.to()?, "To")?;
        self.call_id()?;
        self.max_forwards()?;
        self.check_cseq()?;
        self.check_numbers()?;
        self.check_addresses(Name::Contact)?;
        self.check_addresses(Name::Route)?;
        self.check_addresses(Name::RecordRoute)
    }

    fn check_start(&self) -> Result<(), Fault> {
        let (version_2, regular) = match self.start {
            Start::Request { version_2, regular, .. } => (version_2, regular),
            Start::Status { version_2, .. } => (version_2, true),
        };
        if !version_2 {
            return Err(Fault::new(VERSION, "SIP/2.0"));
        }
        if !regular {
            return Err(Fault::new(REQUEST_LINE, "one space between its parts and none after them"));
        }
        let Some(uri) = self.request_uri() else { return Ok(()) };
        let uri = Uri::parse(uri).map_err(|fault| fault.in_header(REQUEST_URI))?;
        if !uri.headers.is_empty() {
            return Err(Fault::new(REQUEST_URI, "a uri without headers"));
        }
        Ok(())
    }

    fn check_vias(&self) -> Result<(), Fault> {
        let via = self.via()?;
        // The cookie alone promises an identity and gives none.
        if via.branch().is_some_and(|branch| branch.eq_ignore_ascii_case(b"z9hG4bK")) {
            return Err(Fault::new("Via", "a branch with more than the cookie"));
        }
        let count = self.elements(Name::Via).take(MAX_LIST + 1).count();
        if count > MAX_LIST {
            return Err(Fault::new("Via", "at most 128 elements"));
        }
        if count > 1 && !self.is_request() {
            return Err(Fault::new("Via", "one element, because a response with more is not ours"));
        }
        Ok(())
    }

    fn check_cseq(&self) -> Result<(), Fault> {
        let cseq = self.cseq()?;
        if self.is_request() && cseq.method_text != self.method_text() {
            return Err(Fault::new("CSeq", "the method of the request"));
        }
        Ok(())
    }

    /// Content-Length was compared with the body when the message was indexed.
    fn check_numbers(&self) -> Result<(), Fault> {
        // Who reads a time of another zone as the one that it must be in is hours wrong (RFC 3261 §20.17). A response is not
        // thrown away for it.
        if let Some(value) = self.first(Name::Date)
            && self.is_request()
            && !value
                .rsplit(|byte| is_space(*byte))
                .next()
                .is_some_and(|zone| zone.eq_ignore_ascii_case(b"GMT"))
        {
            return Err(Fault::new("Date", "a time in GMT"));
        }
        if let Some(value) = self.first(Name::RSeq)
            && number(value).is_none_or(|number| number == 0 || number > u64::from(u32::MAX))
        {
            return Err(Fault::new("RSeq", "a number from 1 to 4294967295"));
        }
        Ok(())
    }

    fn check_addresses(&self, name: Name) -> Result<(), Fault> {
        let in_header = |fault: Fault| fault.in_header(name.as_str());
        for (count, element) in self.elements(name).enumerate() {
            if count == MAX_LIST {
                return Err(Fault::new(name.as_str(), "at most 128 elements"));
            }
            let address = Address::parse(element).map_err(in_header)?;
            if address.uri == b"*" && name == Name::Contact {
                continue;
            }
            let uri = address.parsed_uri().map_err(in_header)?;
            // Route and Record-Route have no other scheme (RFC 3261 §20.30, §20.34), and no way to follow one.
            if name != Name::Contact && !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
                return Err(Fault::new(name.as_str(), "a sip or sips uri"));
            }
        }
        Ok(())
    }
}

/// A From or To that can be copied into a response: its URI may be of any scheme, but must be one.
fn check_tag(address: &Address<'_>, header: &'static str) -> Result<(), Fault> {
    address.parsed_uri().map_err(|fault| fault.in_header(header))?;
    if address.params.has("tag") && address.tag().is_none() {
        return Err(Fault::new(header, "a tag that is not empty"));
    }
    Ok(())
}
