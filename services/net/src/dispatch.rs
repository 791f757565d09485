//! The answer to "where does this call go?": admission of the trunks concerned, and routing.
//!
//! A trunk's calls are counted once for each side on which it takes part: when a call comes from it, and when one goes
//! to it. The first target's place is taken together with the decision, so that two calls cannot both see the last
//! one free. What is taken is written down by call and given back by what the Core reports of it. While two talk, their
//! places are theirs: a transfer takes one for its target besides, and once a side is exchanged it is the newcomer's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use call::{Event, EventKind, RouteQuery};
use routing::{Admission, Decision, Fork, Plan, Query, Refusal, Snapshot, Target, TrunkId};
use sip::Time;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::peers::Peers;

/// One shard's part in admission.
#[derive(Debug)]
pub(crate) struct Dispatch {
    admission: Arc<Mutex<Admission>>,
    peers: Arc<Peers>,
    held: HashMap<Uuid, Held>,
}

/// The places that a call has taken.
#[derive(Debug)]
struct Held {
    /// The ids are this snapshot's; a reload may give them to others.
    snapshot: Arc<Snapshot>,
    inbound: Option<TrunkId>,
    /// The trunk of B, once there is one.
    callee: Option<TrunkId>,
    /// Of targets that are tried: one after the other, unless the trunks of the route are called at once.
    outbound: SmallVec<[Place; 1]>,
    fork: Fork,
}

/// A place at a trunk that the call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    trunk: TrunkId,
    /// The attempt that uses it; `None`: taken with the decision, the attempt has not begun.
    attempt: Option<u32>,
}

impl Dispatch {
    pub(crate) fn new(admission: Arc<Mutex<Admission>>, peers: Arc<Peers>) -> Dispatch {
        Dispatch { admission, peers, held: HashMap::new() }
    }

    /// What is known of the life of peers.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Decides, leaves peers out that are away, and takes the places of the source trunk and of the first target that has one; where all trunks are
    /// called at once, of each.
    pub(crate) fn decide(&mut self, query: &RouteQuery, now: Time) -> Decision {
        // Asked again for the same call: the old places go back first.
        match query.call {
            Some(call) if query.transfer => self.give_back_targets(call),
            Some(call) => self.give_back(call),
            None => {}
        }
        let snapshot = &query.snapshot;
        let question = Query {
            trunk: query.trunk,
            source: query.source,
            caller: &query.caller,
            uri: &query.uri,
            local_user: query.local_user,
        };
        let mut plan = match snapshot.decide(&question) {
            Decision::Route(plan) => plan,
            Decision::Refuse(refusal) => return Decision::Refuse(refusal),
        };
        let passed_over = self.peers.pass_over(&mut plan, snapshot, now);
        let Some(call) = query.call else { return Decision::Route(plan) };
        let mut admission = lock(&self.admission);
        // Who asks for a transfer is in the call already.
        let inbound = query.trunk.filter(|_| !query.transfer);
        let source = inbound.and_then(|id| snapshot.trunk(id));
        if let Some(Err(refusal)) = source.map(|trunk| admission.admit(trunk, now)) {
            return Decision::Refuse(on_its_way(plan, refusal));
        }
        let outbound = reserve(&mut plan, snapshot, &mut admission, now).or_else(|refusal| {
            if passed_over.is_empty() {
                return Err(refusal);
            }
            // The others have no room: better one that seems to be away than none.
            plan.targets = passed_over;
            reserve(&mut plan, snapshot, &mut admission, now).map_err(|_| refusal)
        });
        let outbound = match outbound {
            Ok(outbound) => outbound,
            Err(refusal) => {
                if let Some(trunk) = source {
                    admission.release(&trunk.name);
                }
                return Decision::Refuse(on_its_way(plan, refusal));
            }
        };
        drop(admission);
        let to_trunk = plan.targets.iter().any(|target| matches!(target, Target::Trunk { .. }));
        if inbound.is_some() || to_trunk {
            let held = self.held.entry(call).or_insert_with(|| Held::new(snapshot));
            held.inbound = held.inbound.or(inbound);
            (held.outbound, held.fork) = (outbound, plan.fork);
        }
        Decision::Route(plan)
    }

    /// Follows what becomes of the calls.
    pub(crate) fn observe(&mut self, event: &Event, now: Time) {
        let Some(call) = event.call else { return };
        match &event.kind {
            EventKind::AttemptStarted { attempt, trunk, .. } => self.begin(call, *attempt, *trunk, now),
            // An answered attempt goes on as the call.
            EventKind::AttemptEnded { attempt, status, .. } if !(200..300).contains(status) => {
                self.finish(call, *attempt);
            }
            EventKind::CallEnded { .. } => self.give_back(call),
            EventKind::CallStarted { .. }
            | EventKind::CallRestored { .. }
            | EventKind::AttemptEnded { .. }
            | EventKind::CallAnswered
            | EventKind::Joined { .. }
            | EventKind::Refused { .. }
            | EventKind::OneWay { .. }
            | EventKind::Registered { .. }
            | EventKind::Warning { .. } => {}
        }
    }

    /// A call of the process before this one takes its places at the trunks of today, and one whose sides change other places at
    /// those that it began with.
    pub(crate) fn resume(&mut self, event: &Event, today: &Arc<Snapshot>, now: Time) {
        let Some(call) = event.call else { return };
        if let EventKind::CallRestored { trunk_in, trunk_out, .. } = &event.kind {
            self.seat(call, today, *trunk_in, *trunk_out, now);
        }
        if let EventKind::Joined { trunk_a, trunk_b, of } = &event.kind {
            self.seat(call, &of.0, *trunk_a, *trunk_b, now);
        }
    }

    /// These are the trunks of the two who talk in a call: whoever else had a place in it has it no more. A place that nobody
    /// had is taken whatever the limits say, for they talk already.
    fn seat(
        &mut self,
        call: Uuid,
        snapshot: &Arc<Snapshot>,
        inbound: Option<TrunkId>,
        callee: Option<TrunkId>,
        now: Time,
    ) {
        if !self.held.contains_key(&call) && inbound.is_none() && callee.is_none() {
            return;
        }
        let held = self.held.entry(call).or_insert_with(|| Held::new(snapshot));
        let mut admission = lock(&self.admission);
        let mut taken: SmallVec<[TrunkId; 4]> = held.trunks().collect();
        for wanted in inbound.into_iter().chain(callee) {
            match taken.iter().position(|trunk| *trunk == wanted) {
                Some(index) => {
                    taken.remove(index);
                }
                None => held.snapshot.trunk(wanted).into_iter().for_each(|trunk| admission.count(trunk, now)),
            }
        }
        held.release(taken, &mut admission);
        (held.inbound, held.callee) = (inbound, callee);
        held.outbound.clear();
        if inbound.is_none() && callee.is_none() {
            self.held.remove(&call);
        }
    }

    /// The snapshot that a call on trunks began with.
    pub(crate) fn snapshot_of(&self, call: Uuid) -> Option<&Snapshot> {
        self.held.get(&call).map(|held| &*held.snapshot)
    }

    /// How many places are taken by this shard's calls.
    pub(crate) fn places(&self) -> u64 {
        self.held.values().map(|held| held.trunks().count() as u64).sum()
    }

    fn begin(&mut self, call: Uuid, attempt: u32, trunk: Option<TrunkId>, now: Time) {
        let Some(held) = self.held.get_mut(&call) else { return };
        let reserved =
            held.outbound.iter_mut().find(|place| place.attempt.is_none() && Some(place.trunk) == trunk);
        if let Some(place) = reserved {
            place.attempt = Some(attempt);
            return;
        }
        // One after the other: whatever was taken before belongs to a target that was passed over.
        if held.fork == Fork::Serial {
            held.release_targets(&mut lock(&self.admission));
        }
        let Some((id, trunk)) = trunk.and_then(|id| Some((id, held.snapshot.trunk(id)?))) else { return };
        // The attempt has left already. A trunk that filled up since the decision is over its limit by the
        // few calls that were failing over at that moment.
        if lock(&self.admission).admit(trunk, now).is_ok() {
            held.outbound.push(Place { trunk: id, attempt: Some(attempt) });
        }
    }

    fn finish(&mut self, call: Uuid, ended: u32) {
        let Some(held) = self.held.get_mut(&call) else { return };
        let place = held.outbound.iter().position(|place| place.attempt == Some(ended));
        let Some(place) = place.map(|index| held.outbound.remove(index)) else { return };
        if let Some(trunk) = held.snapshot.trunk(place.trunk) {
            lock(&self.admission).release(&trunk.name);
        }
    }

    fn give_back(&mut self, call: Uuid) {
        let Some(held) = self.held.remove(&call) else { return };
        let taken: SmallVec<[TrunkId; 4]> = held.trunks().collect();
        held.release(taken, &mut lock(&self.admission));
    }

    /// Those who talk keep their places.
    fn give_back_targets(&mut self, call: Uuid) {
        if let Some(held) = self.held.get_mut(&call) {
            held.release_targets(&mut lock(&self.admission));
        }
    }
}

impl Held {
    fn new(snapshot: &Arc<Snapshot>) -> Held {
        let (snapshot, outbound) = (Arc::clone(snapshot), SmallVec::new());
        Held { snapshot, inbound: None, callee: None, outbound, fork: Fork::Serial }
    }

    /// Of each place.
    fn trunks(&self) -> impl Iterator<Item = TrunkId> + '_ {
        let targets = self.outbound.iter().map(|place| place.trunk);
        self.inbound.into_iter().chain(self.callee).chain(targets)
    }

    fn release_targets(&mut self, admission: &mut Admission) {
        let targets: SmallVec<[Place; 1]> = std::mem::take(&mut self.outbound);
        self.release(targets.into_iter().map(|place| place.trunk), admission);
    }

    fn release(&self, taken: impl IntoIterator<Item = TrunkId>, admission: &mut Admission) {
        for trunk in taken.into_iter().filter_map(|id| self.snapshot.trunk(id)) {
            admission.release(&trunk.name);
        }
    }
}

/// Takes a place at the first target that has one, or at each trunk when they are called at once, and strikes out those
/// that have none.
fn reserve(
    plan: &mut Plan,
    snapshot: &Snapshot,
    admission: &mut Admission,
    now: Time,
) -> Result<SmallVec<[Place; 1]>, Refusal> {
    let mut taken: SmallVec<[Place; 1]> = SmallVec::new();
    let mut refused: Vec<(TrunkId, Refusal)> = Vec::new();
    let at_once = plan.fork == Fork::Parallel;
    let mut is_turn = true;
    plan.targets.retain(|target| {
        let Target::Trunk { trunk: id, .. } = target else {
            is_turn = at_once;
            return true;
        };
        let Some(trunk) = snapshot.trunk(*id) else { return false };
        if taken.iter().any(|place| place.trunk == *id) {
            return true;
        }
        if !is_turn {
            // Not taken before it is its turn; only those that are full now are left out.
            return trunk.max_calls == 0 || admission.calls(&trunk.name) < trunk.max_calls;
        }
        if refused.iter().any(|(refused, _)| refused == id) {
            return false;
        }
        match admission.admit(trunk, now) {
            Ok(()) => {
                taken.push(Place { trunk: *id, attempt: None });
                is_turn = at_once;
                true
            }
            Err(refusal) => {
                refused.push((*id, Refusal { trunk: Some(*id), ..refusal }));
                false
            }
        }
    });
    match refused.pop() {
        Some((_, refusal)) if plan.targets.is_empty() => Err(refusal),
        Some(_) | None => Ok(taken),
    }
}

/// What the record says of a call that a limit refused is what it says of one that its route lets pass.
fn on_its_way(plan: Plan, refusal: Refusal) -> Refusal {
    Refusal { route: plan.route, tags: plan.tags, ..refusal }
}

fn lock(admission: &Mutex<Admission>) -> MutexGuard<'_, Admission> {
    admission.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
