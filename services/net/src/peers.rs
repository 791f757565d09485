//! What is known of the life of trunk peers, for all shards: one of them asks (`Core::watch_peers`), calls find out besides,
//! all know.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use call::{NextHop, PeerAside, PeerChange, PeerLife, PeerState, ServerAside};
use routing::{Plan, Snapshot, Target};
use sip::Time;
use tracing::{info, warn};

/// The peers of a trunk by their URIs.
type OfTrunk<T> = BTreeMap<Box<str>, T>;

/// The peers of trunks that are asked for life, and those that calls have put aside.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    known: Mutex<Known>,
    /// How many are down or aside. While there are none, a call costs one look at this.
    away: AtomicUsize,
    /// Servers of names, and until when others are tried before them.
    last: Mutex<HashMap<NextHop, Time>>,
    /// How many of these there are, for the same reason.
    lasts: AtomicUsize,
}

/// More servers than this are not remembered at a time.
const MAX_LAST: usize = 1024;

#[derive(Debug, Default)]
struct Known {
    asked: BTreeMap<Box<str>, OfTrunk<PeerLife>>,
    /// Bounded by the peers that are configured, and by the time that each is left alone.
    aside: BTreeMap<Box<str>, OfTrunk<Aside>>,
}

/// A peer that a call found unwilling.
#[derive(Debug)]
struct Aside {
    said: PeerAside,
    until: Time,
}

impl Peers {
    /// Takes note of what the Core found out by asking. A line is written when a state changes, and only then.
    pub(crate) fn learn(&self, change: PeerChange) {
        let PeerChange { trunk, peer, life } = change;
        let mut known = self.lock();
        let before = match life.clone() {
            Some(life) => known.asked.entry(trunk.clone()).or_default().insert(peer.clone(), life),
            None => known.asked.get_mut(&trunk).and_then(|peers| peers.remove(&peer)),
        };
        known.asked.retain(|_, peers| !peers.is_empty());
        let answered_before = before.as_ref().and_then(|life| life.answered_at);
        let mut before = before.map_or(PeerState::Unknown, |life| life.state);
        let answers = |life: &PeerLife| life.state == PeerState::Up && life.answered_at != answered_before;
        let ends_aside = life.as_ref().is_none_or(answers);
        if ends_aside && known.aside.get_mut(&trunk).and_then(|peers| peers.remove(&peer)).is_some() {
            before = PeerState::Aside;
        }
        self.count(&known);
        drop(known);
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

    /// A call found a peer unwilling. It is left alone until then, or until it answers when it is asked for life.
    pub(crate) fn put_aside(&self, said: PeerAside, now: Time) {
        let (trunk, peer) = (said.trunk.clone(), said.peer.clone());
        let (status, seconds, until) = (said.status, said.left.as_secs(), now + said.left);
        let mut known = self.lock();
        known.forget_aside(now);
        let peers = known.aside.entry(trunk.clone()).or_default();
        let is_new = match peers.get_mut(&peer) {
            // Several calls come back from it at once, each with what it was told.
            Some(aside) => {
                aside.until = aside.until.max(until);
                false
            }
            None => peers.insert(peer.clone(), Aside { said, until }).is_none(),
        };
        self.count(&known);
        drop(known);
        if is_new {
            let (trunk, peer) = (&*trunk, &*peer);
            warn!(target: "net", trunk, peer, status, seconds, "peer gets no calls for a while");
        }
    }

    /// A call found a server of a name unwilling: until then the others of its name are tried before it.
    pub(crate) fn put_last(&self, ServerAside { server, status, left }: ServerAside, now: Time) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, until| *until > now);
        let until = now + left;
        let is_new = !last.contains_key(&server) && last.len() < MAX_LAST;
        if is_new {
            last.insert(server, until);
        } else if let Some(known) = last.get_mut(&server) {
            *known = until.max(*known);
        }
        self.lasts.store(last.len(), Ordering::Relaxed);
        drop(last);
        if is_new {
            let (server, transport, seconds) = (server.address, server.transport.as_str(), left.as_secs());
            warn!(target: "net", %server, transport, status, seconds, "server is tried last for a while");
        }
    }

    /// How many servers are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.lasts.load(Ordering::Relaxed)
    }

    /// Puts servers that calls found unwilling behind the others, which stay in their order (RFC 2782).
    pub(crate) fn willing_first(&self, servers: &mut [NextHop], now: Time) {
        if servers.len() < 2 || self.lasts.load(Ordering::Relaxed) == 0 {
            return;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        servers.sort_by_key(|server| last.get(server).is_some_and(|until| *until > now));
    }

    /// Takes peers that are away out of a plan, unless that leaves nobody: then they are tried all the same, for what is
    /// known of them may be wrong. Gives what was taken out.
    pub(crate) fn pass_over(&self, plan: &mut Plan, snapshot: &Snapshot, now: Time) -> Vec<Target> {
        if self.away.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let mut known = self.lock();
        if known.forget_aside(now) {
            self.count(&known);
        }
        let is_there = |target: &Target| match target {
            Target::User { .. } => true,
            Target::Trunk { trunk, peer } => {
                let trunk = snapshot.trunk(*trunk);
                let found = trunk.and_then(|trunk| Some((&*trunk.name, &**trunk.peers.get(*peer)?)));
                !found.is_some_and(|(trunk, peer)| known.is_away(trunk, peer))
            }
        };
        if !plan.targets.iter().any(is_there) {
            return Vec::new();
        }
        plan.targets.extract_if(.., |target| !is_there(target)).collect()
    }

    /// All that are asked or aside, by trunk and URI.
    pub(crate) fn all(&self, now: Time) -> Vec<PeerChange> {
        let mut known = self.lock();
        known.forget_aside(now);
        let mut all = known.asked.clone();
        for Aside { said, .. } in known.aside.values().flat_map(BTreeMap::values) {
            let PeerAside { trunk, peer, status, at, .. } = said.clone();
            let asked = all.entry(trunk).or_default();
            let before = asked.get(&peer);
            let life = PeerLife {
                state: PeerState::Aside,
                since: at,
                answered_at: before.and_then(|life| life.answered_at),
                round_trip: before.and_then(|life| life.round_trip),
                status,
            };
            asked.insert(peer, life);
        }
        let mut changes = Vec::new();
        for (trunk, peers) in all {
            let change = |(peer, life)| PeerChange { trunk: trunk.clone(), peer, life: Some(life) };
            changes.extend(peers.into_iter().map(change));
        }
        changes
    }

    fn count(&self, known: &Known) {
        let down = known.asked.values().flat_map(BTreeMap::values).filter(|life| life.state.is_away());
        let aside: usize = known.aside.values().map(BTreeMap::len).sum();
        self.away.store(down.count() + aside, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_away(&self, trunk: &str, peer: &str) -> bool {
        let asked = self.asked.get(trunk).and_then(|peers| peers.get(peer));
        asked.is_some_and(|life| life.state.is_away())
            || self.aside.get(trunk).is_some_and(|peers| peers.contains_key(peer))
    }

    /// Whether there was any whose time is over.
    fn forget_aside(&mut self, now: Time) -> bool {
        let mut is_over = false;
        self.aside.retain(|_, peers| {
            peers.retain(|_, aside| {
                let stays = aside.until > now;
                is_over |= !stays;
                stays
            });
            !peers.is_empty()
        });
        is_over
    }
}
