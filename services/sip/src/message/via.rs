//! Via: where a request came through and where its response goes.

use std::net::{IpAddr, SocketAddr};

use super::text::{is_token, number, trim, trim_start};
use super::uri::{host_ip, host_port};
use super::{Fault, Params};
use crate::Transport;

/// One Via element (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport, when it is one that we speak.
    pub transport: Option<Transport>,
    /// The transport as it was written.
    pub transport_text: &'a [u8],
    /// The host of sent-by; an IPv6 address has its brackets.
    pub host: &'a [u8],
    /// The port of sent-by.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
}

const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

impl<'a> Via<'a> {
    /// Reads one element. White space is legal around each of its separators.
    pub fn parse(element: &'a [u8]) -> Result<Via<'a>, Fault> {
        let (via, version) = Via::parse_sent_by(element)?;
        if version != b"2.0" {
            return Err(fault("SIP/2.0 as its protocol"));
        }
        if !via.params.is_well_formed() {
            return Err(fault("each parameter once, as ;name or ;name=value"));
        }
        Ok(via)
    }

    /// Reads an element whose parameters may be anything, and gives the version of its protocol.
    pub(super) fn parse_sent_by(element: &'a [u8]) -> Result<(Via<'a>, &'a [u8]), Fault> {
        let shape = fault("SIP/2.0/TRANSPORT host:port;parameters");
        let (sent, params) = Params::split(element);
        let (name, rest) = split(sent, b'/').ok_or(shape)?;
        let (version, rest) = split(rest, b'/').ok_or(shape)?;
        if !name.eq_ignore_ascii_case(b"SIP") {
            return Err(fault("SIP/2.0 as its protocol"));
        }
        let rest = trim_start(rest);
        let end = rest.iter().position(|byte| super::text::is_space(*byte)).ok_or(shape)?;
        let (transport_text, sent_by) = rest.split_at_checked(end).ok_or(shape)?;
        if !is_token(transport_text) {
            return Err(shape);
        }
        let (host, port) = host_port(trim(sent_by)).ok_or(fault("host or host:port as sent-by"))?;
        let transport = Transport::parse(transport_text);
        Ok((Via { transport, transport_text, host, port, params }, version))
    }

    /// The branch; `None` when it is absent or empty, as RFC 2543 peers may leave it.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value("branch").filter(|branch| !branch.is_empty())
    }

    /// Whether the branch alone identifies the transaction (RFC 3261 §8.1.1.7).
    pub fn has_magic_cookie(&self) -> bool {
        self.branch().is_some_and(is_after_cookie)
    }

    /// `received`, without brackets.
    pub fn received(&self) -> Option<&'a [u8]> {
        self.params.value("received").map(without_brackets)
    }

    /// `rport`: `None` when absent, `Some(None)` when asked for but not filled in (RFC 3581).
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.params.find(b"rport")?;
        Some(value.and_then(number).and_then(|port| u16::try_from(port).ok()))
    }

    /// `maddr`; an IPv6 address has its brackets.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.params.value("maddr")
    }

    /// The port of sent-by, or its transport's default, also in the place of 0, where nobody listens.
    pub fn sent_by_port_or_default(&self) -> u16 {
        self.port
            .filter(|port| *port != 0)
            .unwrap_or_else(|| self.transport.map_or(5060, Transport::default_port))
    }

    /// Where the response to a request goes that came from `source` with this Via on top (RFC 3261 §18.2.2, RFC 3581
    /// §4): over a stream, back where it came from; over UDP to `maddr`, else to the source's address, at the
    /// source's port when the sender asked for `rport` and at sent-by's port when not. A `maddr` that is a name or
    /// nobody's address is passed over, as is a `received` that the sender wrote: the address that the packet came from is known.
    pub fn response_target(&self, source: SocketAddr) -> SocketAddr {
        if self.transport.is_some_and(Transport::is_reliable) {
            return source;
        }
        if let Some(address) = self.maddr().and_then(host_ip).filter(|address| is_somebodys(*address)) {
            return SocketAddr::new(address, self.sent_by_port_or_default());
        }
        match self.rport() {
            Some(_) => source,
            None => SocketAddr::new(source.ip(), self.sent_by_port_or_default()),
        }
    }

    /// Whether sent-by names that address (RFC 3261 §18.2.1).
    pub fn is_sent_by(&self, address: IpAddr) -> bool {
        host_ip(self.host).is_some_and(|host| host.to_canonical() == address.to_canonical())
    }
}

fn is_somebodys(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !is_broadcast
}

fn fault(expected: &'static str) -> Fault {
    Fault::new("Via", expected)
}

fn is_after_cookie(branch: &[u8]) -> bool {
    // The cookie is compared in any case: tokens are, unless said otherwise (RFC 3261 §7.3.1).
    branch
        .split_at_checked(MAGIC_COOKIE.len())
        .is_some_and(|(cookie, rest)| cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && !rest.is_empty())
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = text.split_at_checked(memchr::memchr(at, text)?)?;
    Some((trim(head), rest.get(1..)?))
}

fn without_brackets(host: &[u8]) -> &[u8] {
    match host {
        [b'[', inside @ .., b']'] => inside,
        _ => host,
    }
}
