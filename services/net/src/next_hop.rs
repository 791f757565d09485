//! What a message itself says of where it goes, for a connection that has to be opened for it.

use std::net::SocketAddr;

use call::Flow;
use sip::{Address, Message, Name, Transport, Uri};

/// Where a response goes whose connection is gone: to the host that asked, at the port that its Via names
/// (RFC 3261 §18.2.2). A request within a dialog knows better itself, and to a WebSocket there is no way back; `None`.
pub(crate) fn response_target(flow: Flow, transport: Transport, message: &[u8]) -> Option<Flow> {
    match transport {
        Transport::Udp | Transport::Tcp | Transport::Tls => {}
        Transport::Ws | Transport::Wss => return None,
    }
    if !message.starts_with(b"SIP/2.0 ") {
        return None;
    }
    let message = Message::parse(message).ok()?;
    let port = message.via().ok()?.port.unwrap_or(transport.default_port());
    Some(Flow { remote: SocketAddr::new(flow.remote.ip(), port), connection: 0, ..flow })
}

/// The name that the certificate of whom this message goes to must have (RFC 5922 §7): the host of the URI that it was
/// sent by, which is the first Route's or the Request-URI; of a response the host that asked.
pub(crate) fn peer_name(message: &[u8]) -> Option<Box<str>> {
    let message = Message::parse(message).ok()?;
    let host = if message.is_request() {
        let uri = match message.elements(Name::Route).next() {
            Some(route) => Address::parse(route).ok()?.uri,
            None => message.request_uri()?,
        };
        Uri::parse(uri).ok()?.host
    } else {
        message.via().ok()?.host
    };
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    Some(std::str::from_utf8(host).ok()?.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const REST: &str = "Via: SIP/2.0/TLS Edge.example.com:5061;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
        To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn the_name_of_a_peer_is_that_of_the_uri_that_led_to_it() {
        let name = |first: &str| peer_name(format!("{first}{REST}").as_bytes());
        assert_eq!(name("INVITE sips:b@Carrier.example SIP/2.0\r\n").unwrap(), "carrier.example".into());
        assert_eq!(
            name("BYE sip:b@10.0.0.1 SIP/2.0\r\nRoute: <sip:proxy.example;lr>, <sip:other;lr>\r\n").unwrap(),
            "proxy.example".into()
        );
        assert_eq!(name("INVITE sip:b@[2001:db8::1]:5061 SIP/2.0\r\n").unwrap(), "2001:db8::1".into());
        assert_eq!(name("SIP/2.0 200 OK\r\n").unwrap(), "edge.example.com".into());
        assert_eq!(peer_name(b"rubbish"), None);
    }

    #[test]
    fn a_response_without_its_connection_goes_to_the_port_of_the_via_and_never_to_a_websocket() {
        let listener = call::ListenerId(0);
        let flow = Flow { listener, remote: "192.0.2.1:40000".parse().unwrap(), connection: 7 };
        let response = format!("SIP/2.0 200 OK\r\n{REST}");
        let target = |transport| response_target(flow, transport, response.as_bytes());
        assert_eq!(target(Transport::Tls).unwrap().remote, "192.0.2.1:5061".parse().unwrap());
        assert_eq!(target(Transport::Wss), None);
        assert_eq!(response_target(flow, Transport::Tcp, b"BYE sip:b@h SIP/2.0\r\n\r\n"), None);
    }
}
