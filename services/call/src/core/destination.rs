//! Where a URI leads, as far as the URI itself says (RFC 3263 §4): to an address, or to a name that has to be looked up.

use std::net::SocketAddr;

use sip::{Scheme, Transport, Uri};

/// A name longer than this is none (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// What a request has to be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// An address: there is nothing to ask for.
    Address(SocketAddr, Transport),
    /// A name.
    Name {
        host: Box<str>,
        port: Option<u16>,
        /// Absent where the records of the name are to say (§4.1): neither a port nor a transport was written.
        transport: Option<Transport>,
        secure: bool,
    },
}

impl Destination {
    /// `None` for what cannot be reached: another scheme, a transport that the box does not know.
    pub(crate) fn of(uri: &Uri<'_>) -> Option<Destination> {
        let secure = match uri.scheme {
            Scheme::Sip => false,
            Scheme::Sips => true,
            Scheme::Tel | Scheme::Other => return None,
        };
        let written = match uri.params.value("transport") {
            Some(_) => uri.transport().map(|_| Some(uri.carried_by()))?,
            None => None,
        };
        if let Some(ip) = uri.target_ip() {
            let transport = uri.carried_by();
            let port = uri.port.unwrap_or(transport.default_port());
            return Some(Destination::Address(SocketAddr::new(ip, port), transport));
        }
        let host = std::str::from_utf8(uri.target()).ok().filter(|host| is_name(host))?;
        let transport = written.or(uri.port.map(|_| uri.carried_by()));
        Some(Destination::Name { host: host.into(), port: uri.port, transport, secure })
    }
}

fn is_name(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && host.len() <= MAX_NAME && host.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Option<Destination> {
        Destination::of(&Uri::parse(uri.as_bytes()).ok()?)
    }

    fn name(
        host: &str,
        port: Option<u16>,
        transport: Option<Transport>,
        secure: bool,
    ) -> Option<Destination> {
        Some(Destination::Name { host: host.into(), port, transport, secure })
    }

    #[test]
    fn only_a_name_without_port_and_transport_leaves_the_transport_to_its_records() {
        let c = "carrier.example";
        assert_eq!(of("sip:carrier.example"), name(c, None, None, false));
        assert_eq!(of("sips:carrier.example"), name(c, None, None, true));
        assert_eq!(of("sip:carrier.example:5060"), name(c, Some(5060), Some(Transport::Udp), false));
        assert_eq!(of("sips:carrier.example:5062"), name(c, Some(5062), Some(Transport::Tls), true));
        assert_eq!(of("sip:carrier.example;transport=tcp"), name(c, None, Some(Transport::Tcp), false));
        assert_eq!(of("sips:carrier.example;transport=tcp"), name(c, None, Some(Transport::Tls), true));
        assert_eq!(of("sips:carrier.example;transport=ws"), name(c, None, Some(Transport::Wss), true));
    }

    #[test]
    fn an_address_needs_no_question_and_maddr_stands_for_the_host() {
        let at = |address: &str, transport| {
            address.parse().ok().map(|address| Destination::Address(address, transport))
        };
        assert_eq!(of("sip:192.0.2.1"), at("192.0.2.1:5060", Transport::Udp));
        assert_eq!(of("sips:192.0.2.1"), at("192.0.2.1:5061", Transport::Tls));
        assert_eq!(of("sip:[2001:db8::1]:5070;transport=tcp"), at("[2001:db8::1]:5070", Transport::Tcp));
        assert_eq!(of("sip:a.example;maddr=192.0.2.7"), at("192.0.2.7:5060", Transport::Udp));
        assert_eq!(of("sip:192.0.2.1;maddr=b.example"), name("b.example", None, None, false));
    }

    #[test]
    fn what_cannot_be_reached_leads_nowhere() {
        for uri in ["tel:+49301", "mailto:a@b.example", "sip:a.example;transport=sctp"] {
            assert_eq!(of(uri), None, "{uri}");
        }
        assert_eq!(of(&format!("sip:{}", "a".repeat(300))), None);
        assert_eq!(of("sip:a.example;maddr=%00"), None);
    }
}
