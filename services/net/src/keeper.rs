//! The guard and the loads of the shards, for those who have no shard's clock at hand: connections and the operator.

use std::net::SocketAddr;
use std::sync::Arc;

use call::Now;

use crate::clock::Clock;
use crate::guard::{Admission, Guard};
use crate::overload::Load;

/// Asks the guard with the time of the moment.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    pub(crate) guard: Arc<Guard>,
    /// By shard.
    pub(crate) loads: Arc<[Load]>,
    pub(crate) clock: Clock,
}

impl Keeper {
    pub(crate) fn now(&self) -> Now {
        // A copy: what it remembers of civil time is for those who ask all the time.
        let mut clock = self.clock;
        clock.now()
    }

    /// What is to be done with a message of a stream.
    pub(crate) fn admit(&self, remote: SocketAddr, bytes: &[u8]) -> Admission {
        self.guard.admit(remote, bytes, self.now().time)
    }

    /// Whether nothing of a peer that connects is to be heard.
    pub(crate) fn is_banned(&self, remote: SocketAddr) -> bool {
        self.guard.is_banned(remote, self.now().time)
    }

    /// Whether a peer is somebody's whom the box knows.
    pub(crate) fn is_acquainted(&self, remote: SocketAddr) -> bool {
        self.guard.is_acquainted(remote, self.now().time)
    }

    /// A stream could not be cut into messages, from this head on. Whether its peer may hear of it.
    pub(crate) fn report_malformed(&self, remote: SocketAddr, head: &[u8]) -> bool {
        self.guard.report_malformed(remote, head, self.now().time)
    }

    /// Seconds for whoever finds the queue of a shard full.
    pub(crate) fn retry_after(&self, shard: u16) -> u64 {
        self.loads.get(usize::from(shard)).map_or(1, Load::retry_after)
    }
}
