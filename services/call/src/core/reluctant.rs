//! Peers that a call finds unwilling: 503 with a Retry-After (RFC 3261 §21.5.4), or no answer at all (RFC 3263 §4.3).
//!
//! The call itself goes on to the next peer, as ever; this is for the calls that come after it, which pass such a peer over
//! for as long as it asked for. Who keeps that is the shell, since what one shard finds out all have to know; and since
//! routing heeds it, the record of a call has what came of it. A peer that answered another call while it left this one
//! alone is there: something of this one call it does not like, or did not get.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use routing::TrunkId;
use sip::{Message, Time};

use crate::bridge::{CallKey, Candidate};
use crate::core::Core;
use crate::io::{Now, Output, PeerAside};
use crate::leg::retry_after;

/// No peer is left alone for longer, whatever its Retry-After says.
const LONGEST: Duration = Duration::from_secs(300);

/// When each peer of a trunk last answered a call, by its place in the trunk's list. Bounded by the configuration, which it
/// is of.
#[derive(Default)]
pub(crate) struct Heard(BTreeMap<(TrunkId, u16), Time>);

impl Core {
    /// The target that the call speaks of answered, whatever it said.
    pub(super) fn note_heard(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let current = call.setup.as_ref().and_then(|setup| setup.current.as_ref());
        if let Some(current) = current.filter(|current| current.hops == 0)
            && let Some(trunk) = current.trunk
            && Arc::ptr_eq(&call.snapshot, &self.snapshot)
        {
            self.heard.0.insert((trunk, current.peer), now.time);
        }
    }

    /// What was heard of the peers of another configuration says nothing of those of this one.
    pub(crate) fn forget_heard(&mut self) {
        self.heard.0.clear();
    }

    /// Notes that the target which the call speaks of refused with this status, or was silent until Timer B.
    pub(super) fn heed_reluctance(
        &mut self,
        key: CallKey,
        status: u16,
        response: Option<&Message<'_>>,
        now: Now,
    ) {
        let (status, left) = match (status, response) {
            (503, Some(response)) => match retry_after(response) {
                Some(seconds) => (status, Duration::from_secs(seconds)),
                None => return,
            },
            // As long as it took to find out.
            (408, None) => (0, self.wire.settings.timing.t1 * 64),
            (_, _) => return,
        };
        let Some(call) = self.calls.get(key) else { return };
        let Some(setup) = call.setup.as_ref() else { return };
        // The place that a 3xx named is no peer.
        let Some(current) = setup.current.as_ref().filter(|current| current.hops == 0) else { return };
        // Another server of the same name may be willing.
        let is_other = |next: &Candidate| next.is_alternative && next.line() == current.line();
        if left.is_zero() || setup.targets.iter().any(is_other) {
            return;
        }
        let Some(id) = current.trunk else { return };
        let since = call.record.attempt.started;
        let answered = || self.heard.0.get(&(id, current.peer)).is_some_and(|heard| *heard >= since);
        // That other calls were answered is not in the journal of this one.
        if status == 0 && self.wire.ids.tape.yes(answered) {
            return;
        }
        let Some(trunk) = call.snapshot.trunk(id) else { return };
        let Some(peer) = trunk.peers.get(usize::from(current.peer)) else { return };
        let (trunk, peer, left) = (trunk.name.as_str().into(), peer.as_str().into(), left.min(LONGEST));
        let aside = PeerAside { trunk, peer, status, at: now.utc, left };
        self.wire.outputs.push_back(Output::Aside(Box::new(aside)));
    }
}
