//! The way to a peer whose route set or Contact names a host and no address (RFC 3261 §8.1.2, RFC 3263 §4).
//!
//! The name is looked up as soon as the dialog has it, and nothing waits for the answer: until it comes, and where none
//! comes, requests go to where the peer was reached or heard. The dialog stays with its listener and transport.

use std::net::SocketAddr;

use sip::{Dialog, Uri};

use super::Leg;
use super::dialog::{is_private, next_hop};
use crate::core::Destination;
use crate::io::{NextHop, QueryId};
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
    /// The one in use first.
    servers: Vec<SocketAddr>,
}

impl Leg {
    /// The host that is to be looked up, if the dialog has come to name one that was not: once for each.
    pub(crate) fn unknown_way(&mut self, wire: &Wire) -> Option<Destination> {
        if !self.placed && !self.is_confirmed() {
            return None;
        }
        let dialog = self.current_dialog()?;
        let uri = dialog.next_hop();
        let is_known = self.way.as_ref().is_some_and(|way| *way.uri == *uri);
        let destination = Uri::parse(uri).ok().and_then(|uri| Destination::of(&uri));
        self.way_due = false;
        let stream = wire.listener(self.flow.listener).transport.is_reliable();
        if is_known || self.by_flow || (stream && self.flow.connection != 0) {
            return None;
        }
        destination.filter(|destination| matches!(destination, Destination::Name { .. }))
    }

    /// The look-up has begun; the one that it takes the place of.
    pub(crate) fn await_way(&mut self, query: QueryId) -> Option<QueryId> {
        let uri = self.current_dialog().map(|dialog| dialog.next_hop().into()).unwrap_or_default();
        let way = Way { uri, query: Some(query), servers: Vec::new() };
        self.way.replace(Box::new(way)).and_then(|before| before.query)
    }

    /// The servers of the name, of those that this leg's listener can send to.
    pub(crate) fn way_found(&mut self, query: QueryId, hops: &[NextHop], wire: &Wire) {
        let listener = wire.listener(self.flow.listener);
        let Some(way) = self.way.as_mut().filter(|way| way.query == Some(query)) else { return };
        way.query = None;
        let fits = |hop: &&NextHop| {
            hop.transport == listener.transport && hop.address.is_ipv4() == listener.bind.is_ipv4()
        };
        way.servers = hops.iter().filter(fits).map(|hop| hop.address).take(MAX_SERVERS).collect();
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

    /// Where a request of this dialog goes.
    pub(super) fn remote_of(&self, dialog: &Dialog) -> SocketAddr {
        let source = self.flow.remote;
        let way = self.way.as_ref().filter(|way| *way.uri == *dialog.next_hop());
        match way.and_then(|way| way.servers.first()) {
            // A peer outside that names a private host is not reached there.
            Some(server) if is_private(server.ip()) && !is_private(source.ip()) => source,
            Some(server) => *server,
            None => next_hop(dialog, source),
        }
    }
}
