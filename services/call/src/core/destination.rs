//! Where a URI leads, as far as the URI itself says (RFC 3261 §8.1.2, RFC 3263 §4): to an address, or to a name that has to
//! be looked up. Peers, Request-URIs, redirections, Routes and Contacts are all read here and nowhere else.

use std::net::{IpAddr, SocketAddr};

use sip::{Scheme, Transport, Uri};

/// A name longer than this is none (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// What a request has to be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Destination<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) port: Option<u16>,
    /// What the URI says; of a `sips` URI always one over TLS.
    written: Option<Transport>,
    /// Of a `sips` URI: nothing that can be read on the way may carry it (RFC 3261 §26.2.2).
    pub(crate) secure: bool,
}

/// Where, as the URI has it: `maddr` before the host (RFC 3261 §19.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// There is nothing to ask for.
    Address(IpAddr),
    Name(&'a str),
}

impl<'a> Destination<'a> {
    /// `None` for what cannot be reached: another scheme, a transport that the box does not know.
    pub(crate) fn of(uri: &Uri<'a>) -> Option<Destination<'a>> {
        let secure = match uri.scheme {
            Scheme::Sip => false,
            Scheme::Sips => true,
            Scheme::Tel | Scheme::Other => return None,
        };
        let written = match uri.params.value("transport") {
            Some(_) => uri.transport().map(|_| Some(uri.carried_by()))?,
            None => None,
        };
        let host = match uri.target_ip() {
            Some(ip) => Host::Address(ip),
            None => Host::Name(std::str::from_utf8(uri.target()).ok().filter(|host| is_name(host))?),
        };
        Some(Destination { host, port: uri.port, written, secure })
    }

    /// The transport of a new request. `None` where the records of the name are to say (RFC 3263 §4.1): neither an
    /// address nor a port nor a transport was written.
    pub(crate) fn transport(&self) -> Option<Transport> {
        let usual = if self.secure { Transport::Tls } else { Transport::Udp };
        match self.host {
            Host::Name(_) if self.port.is_none() => self.written,
            Host::Address(_) | Host::Name(_) => Some(self.written.unwrap_or(usual)),
        }
    }

    /// The transport of a request within a dialog that was made over `own`, and stays with it where the URI says nothing.
    /// What could not be read on the way so far is never shown from here on.
    pub(crate) fn transport_within(&self, own: Transport) -> Transport {
        match self.written {
            Some(written) if written.is_secure() || !own.is_secure() => written,
            None if self.secure && !own.is_secure() => Transport::Tls,
            Some(_) | None => own,
        }
    }

    /// The address that is spoken to in this transport; `None` for a name.
    pub(crate) fn address(&self, transport: Transport) -> Option<SocketAddr> {
        match self.host {
            Host::Address(ip) => Some(SocketAddr::new(ip, self.port.unwrap_or(transport.default_port()))),
            Host::Name(_) => None,
        }
    }
}

fn is_name(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && host.len() <= MAX_NAME && host.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host, port and transport of a new request.
    type Led<'a> = (Host<'a>, Option<u16>, Option<Transport>);

    fn of(uri: &str) -> Option<Led<'_>> {
        let led = Destination::of(&Uri::parse(uri.as_bytes()).ok()?)?;
        assert_eq!(led.secure, uri.starts_with("sips:"));
        Some((led.host, led.port, led.transport()))
    }

    #[test]
    fn only_a_name_without_port_and_transport_leaves_the_transport_to_its_records() {
        let name = |port, transport| Some((Host::Name("carrier.example"), port, transport));
        assert_eq!(of("sip:carrier.example"), name(None, None));
        assert_eq!(of("sips:carrier.example"), name(None, None));
        assert_eq!(of("sip:carrier.example:5060"), name(Some(5060), Some(Transport::Udp)));
        assert_eq!(of("sips:carrier.example:5062"), name(Some(5062), Some(Transport::Tls)));
        assert_eq!(of("sip:carrier.example;transport=tcp"), name(None, Some(Transport::Tcp)));
        assert_eq!(of("sips:carrier.example;transport=tcp"), name(None, Some(Transport::Tls)));
        assert_eq!(of("sips:carrier.example;transport=ws"), name(None, Some(Transport::Wss)));
        assert_eq!(
            of("sip:192.0.2.1;maddr=b.example"),
            Some((Host::Name("b.example"), None, None)),
            "maddr stands for the host"
        );
    }

    #[test]
    fn an_address_needs_no_question_and_maddr_stands_for_the_host() {
        for (uri, address, transport) in [
            ("sip:192.0.2.1", "192.0.2.1:5060", Transport::Udp),
            ("sips:192.0.2.1", "192.0.2.1:5061", Transport::Tls),
            ("sip:[2001:db8::1]:5070;transport=tcp", "[2001:db8::1]:5070", Transport::Tcp),
            ("sip:a.example;maddr=192.0.2.7", "192.0.2.7:5060", Transport::Udp),
        ] {
            let led = Destination::of(&Uri::parse(uri.as_bytes()).unwrap()).unwrap();
            assert_eq!(led.transport(), Some(transport), "{uri}");
            assert_eq!(led.address(transport), address.parse().ok(), "{uri}");
        }
    }

    #[test]
    fn a_dialog_stays_with_its_transport_unless_another_is_written_and_never_becomes_readable() {
        use Transport::{Tcp, Tls, Udp, Wss};
        for (uri, own, transport) in [
            ("sip:192.0.2.1", Udp, Udp),
            ("sip:192.0.2.1", Tcp, Tcp),
            ("sip:192.0.2.1;transport=udp", Tcp, Udp),
            ("sip:192.0.2.1;transport=tcp", Udp, Tcp),
            ("sip:192.0.2.1;transport=tcp", Tls, Tls),
            ("sip:192.0.2.1;transport=ws", Wss, Wss),
            ("sip:192.0.2.1;transport=tls", Tcp, Tls),
            ("sips:192.0.2.1", Udp, Tls),
            ("sips:192.0.2.1", Wss, Wss),
            ("sips:192.0.2.1;transport=tcp", Tcp, Tls),
        ] {
            let led = Destination::of(&Uri::parse(uri.as_bytes()).unwrap()).unwrap();
            assert_eq!(led.transport_within(own), transport, "{uri} in a dialog over {own:?}");
        }
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
