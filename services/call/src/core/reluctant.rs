//! Peers and servers that a call finds unwilling: 503 with a Retry-After (RFC 3261 §21.5.4), no answer at all, or no way
//! to them (RFC 3263 §4.3).
//!
//! The call itself goes on to the next one, as ever; this is for the calls that come after it. A peer is passed over for
//! as long as it asked for; of the servers of a name the one that is unwilling is tried last, and the name is a peer that is
//! unwilling when its last server is. Who keeps that is the shell, since what one shard finds out all have to know; and
//! since routing and look-ups heed it, the record of a call has what came of it. Who answered another call while it left
//! this one alone is there: something of this one call it does not like, or did not get.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use routing::TrunkId;
use sip::{Message, Time, Uri};

use crate::bridge::{Call, CallKey, Candidate, Reach};
use crate::core::{Core, Destination, Host};
use crate::io::{NextHop, Now, Output, PeerAside, ServerAside};
use crate::leg::retry_after;

/// No peer is left alone for longer, whatever its Retry-After says.
const LONGEST: Duration = Duration::from_secs(300);

/// Of more servers it is not remembered when they answered.
const MAX_SERVERS: usize = 1024;

/// When each peer of a trunk last answered a call, by its place in the trunk's list, and when each server of those that are
/// names. Bounded by the configuration, which it is of.
#[derive(Default)]
pub(crate) struct Heard {
    peers: BTreeMap<(TrunkId, u16), Time>,
    servers: BTreeMap<SocketAddr, Time>,
}

/// How a target was found.
#[derive(Clone, Copy)]
enum Found {
    /// It wants no calls for so long.
    Busy(Duration),
    /// It said nothing until Timer B.
    Silent,
    /// What is sent there does not arrive.
    Unreachable,
}

impl Core {
    /// The target that the call speaks of answered, whatever it said.
    pub(super) fn note_heard(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let current = call.setup.as_ref().and_then(|setup| setup.current.as_ref());
        if let Some(current) = current.filter(|current| current.hops == 0)
            && let Some(trunk) = current.trunk
            && Arc::ptr_eq(&call.snapshot, &self.snapshot)
        {
            self.heard.peers.insert((trunk, current.peer), now.time);
            let servers = &mut self.heard.servers;
            if let Some(server) = server_of(call, current, &self.wire) {
                if servers.len() >= MAX_SERVERS {
                    servers.retain(|_, heard| now.time.since(*heard) < LONGEST);
                }
                if servers.len() < MAX_SERVERS || servers.contains_key(&server.address) {
                    servers.insert(server.address, now.time);
                }
            }
        }
    }

    /// What was heard of the peers of another configuration says nothing of those of this one.
    pub(crate) fn forget_heard(&mut self) {
        self.heard = Heard::default();
    }

    /// Notes that the target which the call speaks of refused with this status, or that nothing came of it.
    pub(super) fn heed_reluctance(
        &mut self,
        key: CallKey,
        status: u16,
        response: Option<&Message<'_>>,
        now: Now,
    ) {
        let found = match (status, response) {
            (503, Some(response)) => match retry_after(response) {
                Some(seconds) if seconds > 0 => Found::Busy(Duration::from_secs(seconds).min(LONGEST)),
                Some(_) | None => return,
            },
            (408, None) => Found::Silent,
            (503, None) => Found::Unreachable,
            (_, _) => return,
        };
        self.put_server_aside(key, found);
        self.put_peer_aside(key, found, now);
    }

    /// The server of a name: the calls that come after this one try the others first.
    fn put_server_aside(&mut self, key: CallKey, found: Found) {
        let Some(call) = self.calls.get(key) else { return };
        let current = call.setup.as_ref().and_then(|setup| setup.current.as_ref());
        let Some(server) = current.and_then(|current| server_of(call, current, &self.wire)) else { return };
        let since = call.record.attempt.started;
        let answered = || self.heard.servers.get(&server.address).is_some_and(|heard| *heard >= since);
        let (status, left) = self.terms_of(found);
        // That other calls were answered is not in the journal of this one.
        if matches!(found, Found::Silent) && self.wire.ids.tape.yes(answered) {
            return;
        }
        let aside = ServerAside { server, status, left };
        self.wire.outputs.push_back(Output::ServerAside(aside));
    }

    /// The peer, when no other server of its name is left.
    fn put_peer_aside(&mut self, key: CallKey, found: Found, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(setup) = call.setup.as_ref() else { return };
        // The place that a 3xx named is no peer.
        let Some(current) = setup.current.as_ref().filter(|current| current.hops == 0) else { return };
        let is_other = |next: &Candidate| next.is_alternative && next.line() == current.line();
        if setup.targets.iter().any(is_other) {
            return;
        }
        let Some(id) = current.trunk else { return };
        let since = call.record.attempt.started;
        let answered = || self.heard.peers.get(&(id, current.peer)).is_some_and(|heard| *heard >= since);
        match found {
            Found::Busy(_) => {}
            Found::Silent if self.wire.ids.tape.yes(answered) => return,
            Found::Silent => {}
            // To find that out again costs nothing.
            Found::Unreachable => return,
        }
        let (status, left) = self.terms_of(found);
        let Some(trunk) = call.snapshot.trunk(id) else { return };
        let Some(peer) = trunk.peers.get(usize::from(current.peer)) else { return };
        let (trunk, peer) = (trunk.name.as_str().into(), peer.as_str().into());
        let aside = PeerAside { trunk, peer, status, at: now.utc, left };
        self.wire.outputs.push_back(Output::Aside(Box::new(aside)));
    }

    /// What was said, 0 for nothing, and how long that counts: without a word of it as long as it may have taken to find out.
    fn terms_of(&self, found: Found) -> (u16, Duration) {
        match found {
            Found::Busy(left) => (503, left),
            Found::Silent | Found::Unreachable => (0, self.wire.settings.timing.t1 * 64),
        }
    }
}

/// Which server of a peer that is a name a candidate is. The place that a 3xx named is none of them.
fn server_of(call: &Call, candidate: &Candidate, wire: &crate::wire::Wire) -> Option<NextHop> {
    let trunk = call.snapshot.trunk(candidate.trunk.filter(|_| candidate.hops == 0)?)?;
    let peer = Uri::parse(trunk.peers.get(usize::from(candidate.peer))?.as_bytes()).ok()?;
    match (Destination::of(&peer)?.host, &candidate.reach) {
        (Host::Name(_), Reach::Flow { flow, .. }) => {
            Some(NextHop { address: flow.remote, transport: wire.listener(flow.listener).transport })
        }
        (Host::Name(_), Reach::Name { .. }) | (Host::Address(_), _) => None,
    }
}
