//! Which headers cross the box, and the few that it writes of itself.
//!
//! A header crosses unless it belongs to one leg: to its routing, its dialog, its transaction, its capabilities or its
//! credentials. What the box has never heard of crosses byte for byte.

use sip::{Message, Name, Transport, Writer};

use crate::settings::Listener;

/// Methods that a call's dialog takes.
pub(crate) const ALLOW: &[u8] =
    b"INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS, INFO, MESSAGE, SUBSCRIBE, NOTIFY, PUBLISH, REFER, REGISTER";
/// Extensions that this box takes part in, whoever asks.
pub(crate) const SUPPORTED: &[u8] = b"timer, 100rel, replaces, norefersub";
/// The same without reliable provisional responses.
pub(crate) const SUPPORTED_UNRELIABLE: &[u8] = b"timer, replaces, norefersub";
/// Option tag of reliable provisional responses (RFC 3262 §8.1).
pub(crate) const RELIABLE: &[u8] = b"100rel";
/// RFC 4028.
pub(crate) const TIMER: &[u8] = b"timer";
pub(crate) const SDP: &[u8] = b"application/sdp";

/// Whether a header of this name is carried from one leg to the other.
pub(crate) fn crosses(name: Name) -> bool {
    match name {
        // Hop, dialog and transaction: each leg has its own.
        Name::Via
        | Name::From
        | Name::To
        | Name::CallId
        | Name::CSeq
        | Name::Contact
        | Name::MaxForwards
        | Name::Route
        | Name::RecordRoute
        | Name::Path
        | Name::ServiceRoute
        | Name::Timestamp
        | Name::RSeq
        | Name::RAck
        | Name::Replaces => false,
        // What each side can do is negotiated with the box (RFC 3261 §8.2.2.3, RFC 4028).
        Name::Supported
        | Name::Require
        | Name::ProxyRequire
        | Name::Unsupported
        | Name::Allow
        | Name::AllowEvents
        | Name::Accept
        | Name::AcceptEncoding
        | Name::SessionExpires
        | Name::MinSe => false,
        // Credentials are good for one hop.
        Name::Authorization
        | Name::ProxyAuthorization
        | Name::WwwAuthenticate
        | Name::ProxyAuthenticate
        | Name::AuthenticationInfo => false,
        // Topology: what stands behind the box is nobody's business.
        Name::UserAgent | Name::Server | Name::Organization => false,
        // They go with a body, and bodies are written anew.
        Name::ContentType
        | Name::ContentLength
        | Name::ContentEncoding
        | Name::ContentDisposition
        | Name::MimeVersion => false,
        // Registrar's business.
        Name::MinExpires => false,
        Name::AcceptLanguage
        | Name::Expires
        | Name::Reason
        | Name::Warning
        | Name::Event
        | Name::SubscriptionState
        | Name::ReferTo
        | Name::ReferredBy
        | Name::Date
        | Name::RetryAfter
        | Name::PAssertedIdentity
        | Name::PPreferredIdentity
        | Name::RemotePartyId
        | Name::Diversion
        | Name::HistoryInfo
        | Name::Privacy
        | Name::Subject
        | Name::Other => true,
    }
}

/// Headers beyond [`Name`] that name a dialog or transaction of one leg, or are between the two ends of a hop.
const STAY: [&[u8]; 9] = [
    b"Target-Dialog",
    b"Join",
    b"In-Reply-To",
    b"Proxy-Authentication-Info",
    b"Security-Client",
    b"Security-Server",
    b"Security-Verify",
    b"Max-Breadth",
    b"Flow-Timer",
];

/// Who says something and who hears it. Trunks trust each other's word for who calls, as networks do that agree on it (RFC
/// 3325 §3); a phone's word is worth its password, which its From has been compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Between {
    pub(crate) said_by_phone: bool,
    pub(crate) heard_by_phone: bool,
}

impl Between {
    /// Whether an assertion of this name stays behind: one that its sender has no right to make (RFC 3325 §5), or one that
    /// is to be withheld from those outside (§7).
    fn withholds(self, from: &Message<'_>, name: Name) -> bool {
        let asserts = matches!(name, Name::PAssertedIdentity | Name::RemotePartyId);
        asserts && (self.said_by_phone || self.heard_by_phone && is_private(from))
    }
}

/// Whether the caller wants its asserted identity to stay among those who trust each other (RFC 3325 §9.3).
fn is_private(message: &Message<'_>) -> bool {
    let mut wishes = message.values(Name::Privacy).flat_map(|value| value.split(|byte| *byte == b';'));
    wishes.any(|wish| wish.trim_ascii().eq_ignore_ascii_case(b"id"))
}

/// Copies what crosses to the side of that listener.
pub(crate) fn copy_crossing(from: &Message<'_>, to: &mut Writer, listener: &Listener, between: Between) {
    copy_some(from, to, listener, between, crosses);
}

/// Copies what `crosses` says, with the host of that listener for each address in an identity.
pub(crate) fn copy_some(
    from: &Message<'_>,
    to: &mut Writer,
    listener: &Listener,
    between: Between,
    crosses: impl Fn(Name) -> bool,
) {
    let is_wanted = |name| crosses(name) && !between.withholds(from, name);
    for header in from.headers().filter(|header| is_wanted(header.name)) {
        match header.name {
            Name::PAssertedIdentity
            | Name::PPreferredIdentity
            | Name::RemotePartyId
            | Name::Diversion
            | Name::HistoryInfo
            | Name::ReferredBy
            | Name::ReferTo
            | Name::Warning => match without_addresses(header.value, advertised_host(listener)) {
                Some(value) => drop(to.header(header.name.as_str(), &value)),
                None => drop(to.copy(&header)),
            },
            Name::Other if STAY.iter().any(|name| name.eq_ignore_ascii_case(header.raw_name)) => {}
            _ => drop(to.copy(&header)),
        }
    }
}

/// The value with `host` in the place of each host that is an address, which is one of the network behind; `None` when
/// it has none. Names stay: they say who answers for a number, not where a box stands.
fn without_addresses(value: &[u8], host: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(rest) = value.get(at..).filter(|rest| !rest.is_empty()) {
        let begins = at == 0 || matches!(value.get(at - 1), Some(b'@' | b':' | b' '));
        let Some(length) = begins.then(|| address_length(rest)).flatten() else {
            at += 1;
            continue;
        };
        out.extend_from_slice(value.get(copied..at).unwrap_or_default());
        out.extend_from_slice(host.as_bytes());
        at += length;
        copied = at;
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(value.get(copied..).unwrap_or_default());
    Some(out)
}

/// The length of the address at the start of a text, with its port.
fn address_length(text: &[u8]) -> Option<usize> {
    let host = match text.first()? {
        b'[' => text.iter().position(|byte| *byte == b']')? + 1,
        b'0'..=b'9' => text.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.')).unwrap_or(text.len()),
        _ => return None,
    };
    let literal = std::str::from_utf8(text.get(..host)?).ok()?;
    literal.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().ok()?;
    let port = text
        .get(host..)?
        .strip_prefix(b":")
        .map_or(0, |port| 1 + port.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(port.len()));
    Some(host + port)
}

/// Copies the headers of these names, whether they cross of themselves or not.
pub(crate) fn copy_named(from: &Message<'_>, to: &mut Writer, names: &[Name]) {
    for header in from.headers().filter(|header| names.contains(&header.name)) {
        to.copy(&header);
    }
}

/// Copies the headers that describe a body which is carried as it is.
pub(crate) fn copy_body_headers(from: &Message<'_>, to: &mut Writer) {
    for header in from.headers() {
        if matches!(header.name, Name::ContentEncoding | Name::ContentDisposition | Name::MimeVersion) {
            to.copy(&header);
        }
    }
}

/// Whether the sender of a message says that it knows this extension.
pub(crate) fn requires_or_supports(message: &Message<'_>, tag: &[u8]) -> bool {
    let said = [Name::Supported, Name::Require];
    said.iter().any(|name| message.token_list(*name).any(|token| token.eq_ignore_ascii_case(tag)))
}

/// Where the peer shall send its requests within the dialog. In a `secure` one that is a `sips` URI, so that none of them
/// goes where it can be read (RFC 3261 §8.1.1.8, §12.1.1); a listener that can be read has none.
pub(crate) fn contact(writer: &mut Writer, listener: &Listener, secure: bool) {
    let advertise = listener.advertise.as_bytes();
    match listener.transport {
        Transport::Tls if secure => writer.parts("Contact", &[b"<sips:drawbridge@", advertise, b">"]),
        Transport::Wss if secure => {
            writer.parts("Contact", &[b"<sips:drawbridge@", advertise, b";transport=ws>"])
        }
        Transport::Udp => writer.parts("Contact", &[b"<sip:drawbridge@", advertise, b">"]),
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => writer.parts(
            "Contact",
            &[b"<sip:drawbridge@", advertise, b";transport=", listener.transport.as_param().as_bytes(), b">"],
        ),
    };
}

/// Whether a URI is a `sips` one.
pub(crate) fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// The Warning that `host` gives to what cannot be had with a `sips` URI (RFC 5630 §5.3).
pub(crate) fn sips_not_allowed(host: &str) -> String {
    format!("380 {host} \"SIPS Not Allowed\"")
}

/// The host of a listener, without the port.
pub(crate) fn advertised_host(listener: &Listener) -> &str {
    let text = listener.advertise.as_str();
    match text.rsplit_once(':') {
        // An IPv6 address without port has its colons inside brackets.
        Some((host, port)) if !port.contains(']') => host,
        Some(_) | None => text,
    }
}

/// Whether the sender demands reliable provisional responses, or a PRACK for this one (RFC 3262 §3, §4).
pub(crate) fn requires_reliability(message: &Message<'_>) -> bool {
    message.token_list(Name::Require).any(|tag| tag.eq_ignore_ascii_case(RELIABLE))
}

/// Whether the sender takes reliable provisional responses.
pub(crate) fn takes_reliability(message: &Message<'_>) -> bool {
    message.token_list(Name::Supported).any(|tag| tag.eq_ignore_ascii_case(RELIABLE))
}

/// The user part of a URI for a record, its escapes undone; `None` when it has none.
pub(crate) fn dialled(uri: &[u8]) -> Option<Box<str>> {
    let uri = sip::Uri::parse(uri).ok()?;
    uri.user.map(|_| text(&uri.unescaped_user()))
}

/// Text of a header for a record: at most 255 octets, what is not UTF-8 replaced.
pub(crate) fn text(value: &[u8]) -> Box<str> {
    let end = value.len().min(255);
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned().into_boxed_str()
}
