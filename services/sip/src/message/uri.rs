//! URIs (RFC 3261 §19.1, RFC 3966).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;

use super::equivalent::Unescaped;
use super::text::{is_uri_text, number, trim};
use super::{Fault, Params};
use crate::Transport;

/// A URI's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip`.
    Sip,
    /// `sips`.
    Sips,
    /// `tel` (RFC 3966).
    Tel,
    /// Any other: only [`Uri::raw`] is set.
    Other,
}

/// A URI, its parts as they were written: escapes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole URI.
    pub raw: &'a [u8],
    /// The scheme.
    pub scheme: Scheme,
    /// What stands before the `@`, without the password; of a `tel` URI the number with its visual separators.
    pub user: Option<&'a [u8]>,
    /// The password, which nobody should write.
    pub password: Option<&'a [u8]>,
    /// The host; an IPv6 address has its brackets. Empty when the scheme has none.
    pub host: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// The URI's parameters.
    pub params: Params<'a>,
    /// What stands after the `?`; empty when there is none.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI, without `<>` around it.
    pub fn parse(raw: &'a [u8]) -> Result<Uri<'a>, Fault> {
        let fault = |expected| Fault::new("URI", expected);
        if !is_uri_text(raw) {
            return Err(fault("neither white space nor quotes nor angle brackets"));
        }
        let colon = memchr::memchr(b':', raw).ok_or(fault("scheme:address"))?;
        let (scheme, rest) = raw.split_at_checked(colon).ok_or(fault("scheme:address"))?;
        let rest = rest.get(1..).unwrap_or_default();
        match Scheme::parse(scheme).ok_or(fault("a scheme of letters and digits"))? {
            scheme @ (Scheme::Sip | Scheme::Sips) => {
                Uri::sip(raw, scheme, rest).ok_or(fault("user@host:port;parameters?headers"))
            }
            Scheme::Tel => Uri::tel(raw, rest).ok_or(fault("a telephone number")),
            Scheme::Other => Ok(Uri::bare(raw, Scheme::Other)),
        }
    }

    fn bare(raw: &'a [u8], scheme: Scheme) -> Uri<'a> {
        Uri {
            raw,
            scheme,
            user: None,
            password: None,
            host: &[],
            port: None,
            params: Params::default(),
            headers: &[],
        }
    }

    fn sip(raw: &'a [u8], scheme: Scheme, rest: &'a [u8]) -> Option<Uri<'a>> {
        let mut uri = Uri::bare(raw, scheme);
        // The user part may have `;`, `?` and `/` but never an `@`, so the first one ends it.
        let rest = match memchr::memchr(b'@', rest) {
            Some(at) => {
                uri.set_user(rest.get(..at)?)?;
                rest.get(at + 1..)?
            }
            None => rest,
        };
        let (rest, headers) = match memchr::memchr(b'?', rest) {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
            None => (rest, &[][..]),
        };
        let host_end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        (uri.host, uri.port) = host_port(rest.get(..host_end)?)?;
        uri.params = Params::new(rest.get(host_end..)?);
        uri.headers = headers;
        Some(uri)
    }

    /// `[` and `]` mark the host and nothing else (RFC 3261 §25.1), so neither may stand in a user.
    fn set_user(&mut self, text: &'a [u8]) -> Option<()> {
        if memchr::memchr2(b'[', b']', text).is_some() {
            return None;
        }
        match memchr::memchr(b':', text) {
            Some(at) => {
                self.user = Some(text.get(..at)?);
                self.password = Some(text.get(at + 1..)?);
            }
            None => self.user = Some(text),
        }
        Some(())
    }

    /// The user part that a sip URI has for what this one names: its own, or of a tel URI the number without what is in it
    /// for the eye alone, and the parameters (RFC 3261 §19.1.6, RFC 3966 §5.1.1).
    pub fn subscriber(&self) -> Option<Cow<'a, [u8]>> {
        let user = self.user?;
        if self.scheme != Scheme::Tel {
            return Some(Cow::Borrowed(user));
        }
        let mut subscriber = Vec::with_capacity(user.len() + self.params.raw().len());
        let number = user.iter().filter(|byte| !is_separator(**byte));
        for byte in number.chain(self.params.raw()) {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'%' => subscriber.push(*byte),
                _ if b"-_.!~*'()&=+$,;?/".contains(byte) => subscriber.push(*byte),
                _ => subscriber.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            }
        }
        Some(Cow::Owned(subscriber))
    }

    fn tel(raw: &'a [u8], rest: &'a [u8]) -> Option<Uri<'a>> {
        let (number, params) = Params::split(rest);
        let global = number.strip_prefix(b"+").unwrap_or(number);
        let is_number =
            |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#') || is_separator(*byte);
        if !global.iter().all(is_number) || global.iter().all(|byte| is_separator(*byte)) {
            return None;
        }
        Some(Uri { user: Some(number), params, ..Uri::bare(raw, Scheme::Tel) })
    }

    /// The host as an address; `None` when it is a name.
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// The host that a request is sent to: `maddr` where there is one (RFC 3261 §19.1.1), else the host.
    pub fn target(&self) -> &'a [u8] {
        self.params.value("maddr").unwrap_or(self.host)
    }

    /// The [`target`](Uri::target) as an address; `None` when it is a name.
    pub fn target_ip(&self) -> Option<IpAddr> {
        host_ip(self.target())
    }

    /// The `transport` parameter, when it names one that we speak.
    pub fn transport(&self) -> Option<Transport> {
        self.params.value("transport").and_then(Transport::parse)
    }

    /// What a request to this URI goes over where nothing is looked up: what it says, else UDP; with `sips` always TLS,
    /// whatever is within it (RFC 3261 §26.2.2, RFC 3263 §4.1).
    pub fn carried_by(&self) -> Transport {
        let said = self.transport();
        match self.scheme {
            Scheme::Sips => match said {
                Some(Transport::Ws | Transport::Wss) => Transport::Wss,
                Some(Transport::Udp | Transport::Tcp | Transport::Tls) | None => Transport::Tls,
            },
            Scheme::Sip | Scheme::Tel | Scheme::Other => said.unwrap_or(Transport::Udp),
        }
    }

    /// The values of a header that the URI wants in the request made from it (RFC 3261 §19.1.1), their escapes undone.
    pub fn header_values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = Vec<u8>> + 's {
        self.headers.split(|byte| *byte == b'&').filter_map(move |piece| {
            let at = memchr::memchr(b'=', piece)?;
            let (found, value) = (piece.get(..at)?, piece.get(at + 1..)?);
            let unescaped = |text| Unescaped(text).map(|(byte, _)| byte).collect::<Vec<u8>>();
            unescaped(found).eq_ignore_ascii_case(name.as_bytes()).then(|| unescaped(value))
        })
    }

    /// The URI without what a Request-URI must not have: headers and the `method` parameter (RFC 3261 §19.1.1, Table 1).
    pub fn to_request_uri(&self) -> Box<[u8]> {
        // A question mark in the user is part of the user; behind the parameters it begins the headers.
        let headers = if self.headers.is_empty() { 0 } else { self.headers.len() + 1 };
        let text = self.raw.get(..self.raw.len().saturating_sub(headers)).unwrap_or(self.raw);
        let text = text.strip_suffix(b"?").unwrap_or(text);
        if !self.params.has("method") {
            return text.into();
        }
        let head = text.len().saturating_sub(self.params.raw().len());
        let mut out = text.get(..head).unwrap_or(text).to_vec();
        for (name, value) in self.params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"method")) {
            out.push(b';');
            out.extend_from_slice(name);
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
        out.into()
    }

    /// Whether this is a loose router's URI (RFC 3261 §19.1.1).
    pub fn is_lr(&self) -> bool {
        self.params.has("lr")
    }

    /// The user with its `%` escapes resolved; empty when there is none.
    pub fn unescaped_user(&self) -> Cow<'a, [u8]> {
        let user = self.user.unwrap_or_default();
        if memchr::memchr(b'%', user).is_none() {
            return Cow::Borrowed(user);
        }
        Cow::Owned(Unescaped(user).map(|(byte, _)| byte).collect())
    }
}

impl Scheme {
    fn parse(text: &[u8]) -> Option<Scheme> {
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !text.first().is_some_and(u8::is_ascii_alphabetic) || !text.iter().all(legal) {
            return None;
        }
        Some(match text {
            _ if text.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            _ if text.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            _ if text.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
            _ => Scheme::Other,
        })
    }
}

/// Reads `host` or `host:port`. IPv6 addresses must have brackets: without them the port is anybody's guess
/// (RFC 5118 §4.2).
pub(super) fn host_port(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let end = match text.first()? {
        b'[' => {
            let end = memchr::memchr(b']', text)? + 1;
            host_ip(text.get(..end)?)?;
            end
        }
        _ => memchr::memchr(b':', text).unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(end)?;
    let host = trim(host);
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !host.starts_with(b"[") && (host.is_empty() || !host.iter().all(legal)) {
        return None;
    }
    let rest = trim(rest);
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = number(trim(rest.strip_prefix(b":")?))?;
    Some((host, Some(u16::try_from(port).ok()?)))
}

/// A host that is an address, IPv6 with its brackets or, as `received` has it, without.
pub(super) fn host_ip(host: &[u8]) -> Option<IpAddr> {
    let inside = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    match inside {
        Some(address) => match std::str::from_utf8(address).ok()?.parse() {
            Ok(address) => Some(IpAddr::V6(address)),
            Err(_) => with_a_colon_too_many(address).map(IpAddr::V6),
        },
        None => std::str::from_utf8(host).ok()?.parse().ok(),
    }
}

/// The grammar of RFC 3261 §25.1 writes `:::` before an IPv4 address at the end, by a mistake of the one that it was
/// taken from; both ways are to be read (RFC 5118 §4.10).
fn with_a_colon_too_many(text: &[u8]) -> Option<Ipv6Addr> {
    const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();
    let at = memchr::memmem::find(text, b":::")?;
    let (head, tail) = (text.get(..at)?, text.get(at + 3..)?);
    std::str::from_utf8(tail).ok()?.parse::<Ipv4Addr>().ok()?;
    let mut address = ArrayVec::<u8, LONGEST>::new();
    address.try_extend_from_slice(head).ok()?;
    address.try_extend_from_slice(b"::").ok()?;
    address.try_extend_from_slice(tail).ok()?;
    std::str::from_utf8(&address).ok()?.parse().ok()
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}
