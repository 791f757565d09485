//! Who may speak in a dialog or a transaction: to know its tags or its branch is not enough, what counts comes from where its
//! peer is. A trunk is wherever its sources are. A phone is at the address and port that it was heard from; behind one
//! address there may be others. A phone whose address translator has moved it is known again by its registration.

use routing::{Snapshot, TrunkId};
use sip::{Message, Method, Uri};

use super::ingress::Arrival;
use crate::core::Core;
use crate::io::Flow;
use crate::leg::{Leg, LegKey};
use crate::wire::ServerKey;

/// The other end of a dialog or a transaction.
pub(crate) struct Peer<'a> {
    /// Where it was last heard from, or is sent to.
    pub(crate) flow: Flow,
    pub(crate) trunk: Option<TrunkId>,
    /// The configuration that names the trunk.
    pub(crate) snapshot: &'a Snapshot,
}

impl Core {
    /// The leg whose dialog a request belongs to, if it comes from where that leg's peer is.
    pub(super) fn leg_of(&mut self, message: &Message<'_>, flow: Flow) -> Option<LegKey> {
        let key = self.leg_with_tag(message.to().ok()?.tag()?)?;
        let leg = self.legs.get(key)?;
        if !leg.owns(message) {
            return None;
        }
        if self.is_peer_of(leg, flow) {
            return Some(key);
        }
        if !self.is_registered_peer(key, flow) {
            return None;
        }
        if let Some(leg) = self.legs.get_mut(key) {
            leg.moves_to(flow);
        }
        Some(key)
    }

    /// The INVITE that a CANCEL or an ACK is for.
    pub(super) fn invite_of(&self, arrival: &Arrival<'_>) -> Option<ServerKey> {
        self.server_from(arrival, Method::Invite)
    }

    /// The server transaction that a request belongs to. It counts from where the first copy came from, or from elsewhere
    /// in the same trunk.
    pub(super) fn server_from(&self, arrival: &Arrival<'_>, method: Method) -> Option<ServerKey> {
        let mut servers = self.wire.servers_of(arrival.via, arrival.message, method);
        servers.find(|server| self.is_from_sender_of(*server, arrival.flow))
    }

    /// Whether something came from where the request of this transaction came from.
    pub(super) fn is_from_sender_of(&self, server: ServerKey, flow: Flow) -> bool {
        let Some(from) = self.wire.server_flow(server) else { return false };
        let leg = self.wire.server_user(server).and_then(|leg| self.legs.get(leg));
        from == flow
            || leg.is_some_and(|leg| self.is_peer_of(leg, flow))
            || self.may_send(
                &Peer { flow: from, trunk: self.snapshot.trunk_of(from.remote), snapshot: &self.snapshot },
                flow,
            )
    }

    /// Whether a request from there may be of this leg's peer.
    fn is_peer_of(&self, leg: &Leg, flow: Flow) -> bool {
        let began_with = leg.call.and_then(|call| self.calls.get(call)).map(|call| &call.snapshot);
        let snapshot = began_with.unwrap_or(&self.snapshot);
        self.may_send(&Peer { flow: leg.flow, trunk: leg.trunk, snapshot }, flow)
    }

    /// Whether a request from there may be of this peer.
    pub(crate) fn may_send(&self, peer: &Peer<'_>, from: Flow) -> bool {
        let same_address = peer.flow.remote.ip() == from.remote.ip();
        if peer.flow.is_inner() || from.is_inner() {
            return same_address && peer.flow.is_inner() == from.is_inner();
        }
        if peer.flow.remote == from.remote {
            return true;
        }
        match peer.trunk {
            Some(trunk) => match peer.snapshot.trunk_of(from.remote) {
                Some(owner) if owner == trunk => true,
                // What another trunk lists is not this one's, but where this one is only called and lists nothing.
                Some(_) => same_address && lists_nothing(peer.snapshot, trunk),
                // A server that only the name of a peer led to is in no list.
                None => same_address,
            },
            // Who connects again does so from another port.
            None => same_address && self.wire.listener(from.listener).transport.is_reliable(),
        }
    }

    /// Whether the user at the other end of a leg has registered from there. A replay has no registrar.
    fn is_registered_peer(&mut self, key: LegKey, flow: Flow) -> bool {
        let Some(leg) = self.legs.get(key).filter(|leg| leg.trunk.is_none()) else { return false };
        let Some(uri) = leg.peer_uri().and_then(|uri| sip::Address::parse(uri).ok()) else { return false };
        let Ok(uri) = Uri::parse(uri.uri) else { return false };
        let user = String::from_utf8_lossy(&uri.unescaped_user()).into_owned();
        let registrar = &self.registrar;
        self.wire.ids.tape.yes(|| registrar.is_bound_from(&user, flow))
    }
}

fn lists_nothing(snapshot: &Snapshot, trunk: TrunkId) -> bool {
    snapshot.trunk(trunk).is_some_and(|trunk| trunk.sources.is_empty())
}
