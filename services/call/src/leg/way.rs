//! The way of requests within a dialog: to where its route set or remote target leads (RFC 3261 §8.1.2, RFC 3263 §4).
//!
//! The dialog stays with its listener unless the URI writes another transport, which a listener beside it speaks. A name
//! is looked up as soon as the dialog has it, and nothing waits for the answer: until it comes, and where none comes,
//! requests go to where the peer was reached or heard.

use std::net::{IpAddr, SocketAddr};

use sip::{Dialog, Uri};

use super::Leg;
use crate::core::{Destination, Host};
use crate::headers::is_sips;
use crate::io::{Flow, NextHop, QueryId};
use crate::settings::ListenerId;
use crate::wire::Wire;

/// More servers of one name are not kept.
const MAX_SERVERS: usize = 4;

/// What is known of the host that a dialog names.
#[derive(Debug)]
pub(crate) struct Way {
    /// The URI of the next hop that was looked up.
    uri: Box<[u8]>,
    /// Not answered yet.
    query: Option<QueryId>,
    /// From where its servers are spoken to.
    listener: ListenerId,
    /// The one in use first.
    servers: Vec<SocketAddr>,
}

/// A host that is to be looked up.
pub(crate) struct UnknownWay {
    pub(crate) host: Box<str>,
    pub(crate) port: Option<u16>,
    pub(crate) listener: ListenerId,
    pub(crate) secure: bool,
}

impl Leg {
    /// The host that is to be looked up, if the dialog has come to name one that was not: once for each.
    pub(crate) fn unknown_way(&mut self, wire: &Wire) -> Option<UnknownWay> {
        if !self.placed && !self.is_confirmed() {
            return None;
        }
        self.current_dialog()?;
        self.way_due = false;
        if self.goes_by_flow(wire) {
            return None;
        }
        unknown_way(self.current_dialog()?, self.flow, self.way.as_deref(), wire)
    }

    /// The next hop, where it is to be reached over TLS only and nothing here speaks TLS.
    pub(crate) fn unsecured_hop(&self, wire: &Wire) -> Option<&[u8]> {
        let uri = self.current_dialog()?.next_hop();
        if !is_sips(uri) || self.goes_by_flow(wire) {
            return None;
        }
        let destination = Destination::of(&Uri::parse(uri).ok()?)?;
        let listener = listener_for(&destination, self.flow.listener, wire);
        (!wire.listener(listener).transport.is_secure()).then_some(uri)
    }

    /// The look-up has begun; the one that it takes the place of.
    pub(crate) fn await_way(&mut self, query: QueryId, listener: ListenerId) -> Option<QueryId> {
        let uri = self.current_dialog().map(|dialog| dialog.next_hop().into()).unwrap_or_default();
        let way = Way::awaited(uri, query, listener);
        self.way.replace(Box::new(way)).and_then(|before| before.query)
    }

    /// The servers of the name, of those that this leg's listener can send to.
    pub(crate) fn way_found(&mut self, query: QueryId, hops: &[NextHop], wire: &Wire) {
        if let Some(way) = self.way.as_mut() {
            way.found(query, hops, wire);
        }
    }

    /// A request within the dialog got no answer: the next one goes to another server, where there is one (RFC 3263
    /// §4.3).
    pub(crate) fn way_failed(&mut self) {
        if let Some(way) = self.way.as_mut().filter(|way| way.servers.len() > 1) {
            way.servers.rotate_left(1);
        }
    }

    /// What was asked and not answered.
    pub(crate) fn way_query(&self) -> Option<QueryId> {
        self.way.as_ref()?.query
    }

    /// Where requests of this dialog go: a stream that is open and a registered phone by their flow (RFC 5626 §5.3),
    /// else where the route set or the remote target say.
    pub(super) fn request_flow(&self, wire: &Wire) -> Flow {
        self.flow_to(self.current_dialog(), wire)
    }

    /// The same for another dialog of this leg, an early one.
    pub(super) fn flow_to(&self, dialog: Option<&Dialog>, wire: &Wire) -> Flow {
        match dialog.filter(|_| !self.goes_by_flow(wire)) {
            Some(dialog) => by_way(dialog, self.flow, self.way.as_deref(), wire),
            None => self.flow,
        }
    }

    fn goes_by_flow(&self, wire: &Wire) -> bool {
        let stream = wire.listener(self.flow.listener).transport.is_reliable();
        self.by_flow || (stream && self.flow.connection != 0)
    }
}

impl Way {
    /// A look-up that has begun.
    pub(crate) fn awaited(uri: Box<[u8]>, query: QueryId, listener: ListenerId) -> Way {
        Way { uri, query: Some(query), listener, servers: Vec::new() }
    }

    /// What was asked and not answered.
    pub(crate) fn query(&self) -> Option<QueryId> {
        self.query
    }

    /// The answer: of the servers, those that the listener can send to.
    pub(crate) fn found(&mut self, query: QueryId, hops: &[NextHop], wire: &Wire) {
        if self.query != Some(query) {
            return;
        }
        let listener = wire.listener(self.listener);
        let fits = |hop: &&NextHop| {
            hop.transport == listener.transport && hop.address.is_ipv4() == listener.bind.is_ipv4()
        };
        self.query = None;
        self.servers = hops.iter().filter(fits).map(|hop| hop.address).take(MAX_SERVERS).collect();
    }
}

/// The host of a dialog's next hop that is to be looked up, if it is one and not the one that was.
pub(crate) fn unknown_way(dialog: &Dialog, flow: Flow, way: Option<&Way>, wire: &Wire) -> Option<UnknownWay> {
    let uri = dialog.next_hop();
    if way.is_some_and(|way| *way.uri == *uri) {
        return None;
    }
    let destination = Destination::of(&Uri::parse(uri).ok()?)?;
    let Host::Name(host) = destination.host else { return None };
    let listener = listener_for(&destination, flow.listener, wire);
    let Destination { port, secure, .. } = destination;
    Some(UnknownWay { host: host.into(), port, listener, secure })
}

/// Where the next request of a dialog goes, by what was found of its next hop if that is a name.
pub(crate) fn by_way(dialog: &Dialog, flow: Flow, way: Option<&Way>, wire: &Wire) -> Flow {
    let way = way.filter(|way| *way.uri == *dialog.next_hop());
    match way.and_then(|way| Some((way.listener, *way.servers.first()?))) {
        Some((listener, server)) => beside(flow, listener, server),
        None => next_hop(dialog, flow, wire),
    }
}

/// Where the next request of a dialog goes that was made over this flow, as far as its URIs say without asking anybody.
/// What cannot be reached from here is left: the peer is where it was heard.
pub(super) fn next_hop(dialog: &Dialog, flow: Flow, wire: &Wire) -> Flow {
    let uri = Uri::parse(dialog.next_hop()).ok();
    let Some(destination) = uri.and_then(|uri| Destination::of(&uri)) else { return flow };
    let listener = listener_for(&destination, flow.listener, wire);
    let transport = wire.listener(listener).transport;
    let Some(address) = destination.address(transport) else { return flow };
    if wire.listener(listener).bind.is_ipv4() == address.is_ipv4() {
        return beside(flow, listener, address);
    }
    match wire.listener_to(address, transport) {
        Some(listener) => beside(flow, listener, address),
        None => flow,
    }
}

/// The listener that sends there: the dialog's own, or one beside it where the URI writes another transport.
fn listener_for(destination: &Destination<'_>, own: ListenerId, wire: &Wire) -> ListenerId {
    let own_transport = wire.listener(own).transport;
    let transport = destination.transport_within(own_transport);
    if transport == own_transport {
        return own;
    }
    // What is to be secure had rather come from another address of ours than be read.
    let elsewhere = || wire.speaking(transport).filter(|_| destination.secure);
    wire.beside(own, transport).or_else(elsewhere).unwrap_or(own)
}

/// A private address that a peer outside wrote into its Contact, or a name that it gave leads to, leads nowhere from here;
/// where its messages come from does.
fn beside(flow: Flow, listener: ListenerId, remote: SocketAddr) -> Flow {
    if is_private(remote.ip()) && !is_private(flow.remote.ip()) {
        return flow;
    }
    let connection = if listener == flow.listener { flow.connection } else { 0 };
    Flow { listener, remote, connection }
}

/// RFC 1918, RFC 6598, RFC 4193, loopback and link-local addresses.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
