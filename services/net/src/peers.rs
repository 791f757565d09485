//! What is known of the life of trunk peers, for all shards: one of them asks (`Core::watch_peers`), all know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use call::{PeerChange, PeerLife, PeerState};
use routing::{Plan, Snapshot, Target};
use tracing::{info, warn};

/// The peers of a trunk by their URIs.
type OfTrunk = BTreeMap<Box<str>, PeerLife>;

/// The peers of trunks that are asked for life.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    trunks: Mutex<BTreeMap<Box<str>, OfTrunk>>,
    /// How many are down or aside. While there are none, a call costs one look at this.
    away: AtomicUsize,
}

impl Peers {
    /// Takes note of what the Core found out. A line is written when a state changes, and only then.
    pub(crate) fn learn(&self, change: PeerChange) {
        let PeerChange { trunk, peer, life } = change;
        let mut trunks = self.lock();
        let before = match life.clone() {
            Some(life) => trunks.entry(trunk.clone()).or_default().insert(peer.clone(), life),
            None => trunks.get_mut(&trunk).and_then(|peers| peers.remove(&peer)),
        };
        trunks.retain(|_, peers| !peers.is_empty());
        let away = trunks.values().flat_map(BTreeMap::values).filter(|life| life.state.is_away()).count();
        self.away.store(away, Ordering::Relaxed);
        drop(trunks);
        let before = before.map_or(PeerState::Unknown, |life| life.state);
        let Some(PeerLife { state, status, .. }) = life else { return };
        match state {
            _ if state == before => {}
            PeerState::Up => info!(target: "net", trunk = &*trunk, peer = &*peer, status, "peer is up"),
            PeerState::Down => warn!(target: "net", trunk = &*trunk, peer = &*peer, status, "peer is down"),
            PeerState::Aside => {
                warn!(target: "net", trunk = &*trunk, peer = &*peer, status, "peer wants no calls for a while");
            }
            PeerState::Unknown => {}
        }
    }

    /// Takes peers that are away out of a plan, unless that leaves nobody: then they are tried all the same, for what is
    /// known of them may be wrong.
    pub(crate) fn pass_over(&self, plan: &mut Plan, snapshot: &Snapshot) {
        if self.away.load(Ordering::Relaxed) == 0 {
            return;
        }
        let trunks = self.lock();
        let is_there = |target: &Target| match target {
            Target::User { .. } => true,
            Target::Trunk { trunk, peer } => {
                let trunk = snapshot.trunk(*trunk);
                let life = trunk.and_then(|trunk| trunks.get(&*trunk.name)?.get(&**trunk.peers.get(*peer)?));
                !life.is_some_and(|life| life.state.is_away())
            }
        };
        if plan.targets.iter().any(is_there) {
            plan.targets.retain(is_there);
        }
    }

    /// All that are asked, by trunk and URI.
    pub(crate) fn all(&self) -> Vec<PeerChange> {
        let trunks = self.lock();
        let named = trunks.iter().flat_map(|(trunk, peers)| peers.iter().map(move |peer| (trunk, peer)));
        named
            .map(|(trunk, (peer, life))| PeerChange {
                trunk: trunk.clone(),
                peer: peer.clone(),
                life: Some(life.clone()),
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, OfTrunk>> {
        self.trunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
