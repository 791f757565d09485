//! Flows of the process before this one, which the kernel has relayed meanwhile: each is claimed by the call that it belongs
//! to, once that is restored, or switched off.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::{HashMap, HashMapExt};

use super::abi::{Earlier, Left};
use super::program::{Hold, Program};
use super::{Handover, Kernel, Offer};
use crate::Config;
use crate::ports::{At, Plan, SlotId};
use crate::stream::{Elsewhere, Route};

/// The flows that were there at the start.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    /// How many there are in each of the maps: ordinarily none, and nobody has to look.
    unclaimed: AtomicUsize,
    claimed: AtomicUsize,
    flows: Mutex<Flows>,
}

#[derive(Debug, Default)]
struct Flows {
    unclaimed: HashMap<u32, Left>,
    /// Claimed, and not given back since: what had been counted of it before the kernel did.
    claimed: HashMap<u32, Earlier>,
}

/// What became of a flow that a stream has claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Adoption {
    /// The kernel goes on with it.
    GoesOn,
    /// It is not what this process would have asked for, because of other terms or routes; this is what it did.
    Returned(Elsewhere),
}

impl LeftBehind {
    pub(super) fn find(program: &Program, config: &Config, plan: Plan) -> LeftBehind {
        if matches!(program.hold, Hold::Process { .. }) {
            return LeftBehind::default();
        }
        let is_ipv6 = |slot: u32| {
            let (_, at) = plan.place(SlotId(slot));
            let address = match at {
                At::First => config.address,
                At::Other => config.other.map_or(config.address, |other| other.address),
            };
            address.is_ipv6()
        };
        let mut unclaimed = HashMap::new();
        for slot in 0..program.flows.len() {
            let left = program.flows.get(&slot, 0).ok().and_then(|flow| Left::read(flow, is_ipv6(slot)));
            unclaimed.extend(left.map(|left| (slot, left)));
        }
        let (count, claimed) = (AtomicUsize::new(unclaimed.len()), HashMap::new());
        LeftBehind {
            unclaimed: count,
            flows: Mutex::new(Flows { unclaimed, claimed }),
            ..LeftBehind::default()
        }
    }

    pub(super) fn count(&self) -> usize {
        self.unclaimed.load(Relaxed)
    }

    /// Whether there are calls still to be restored, or given up.
    pub(super) fn has_unclaimed(&self) -> bool {
        self.count() > 0
    }

    /// A flow is this process's again: what had been counted of it for the one before.
    pub(super) fn is_returned(&self, slot: SlotId) -> Option<Earlier> {
        if self.claimed.load(Relaxed) == 0 {
            return None;
        }
        let earlier = self.flows().claimed.remove(&slot.0);
        self.claimed.fetch_sub(usize::from(earlier.is_some()), Relaxed);
        earlier
    }

    fn flows(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel {
    /// Where the flow leads that was found in a slot and that nobody has claimed.
    pub(crate) fn left_in(&self, slot: SlotId) -> Option<Route> {
        if !self.left.has_unclaimed() {
            return None;
        }
        self.left.flows().unclaimed.get(&slot.0).map(|left| left.route)
    }

    /// A stream is restored to which the flow in the slot of this offer belongs.
    pub(crate) fn adopt(&self, offer: &Offer) -> io::Result<Adoption> {
        let left = self.claim(offer.slot)?;
        match self.flow(offer, &Handover::default()) {
            Ok(flow) if left.is(&flow) => Ok(Adoption::GoesOn),
            Ok(_) | Err(_) => self.give_back(offer.slot).map(Adoption::Returned),
        }
    }

    /// The flow in this slot is not what the stream that is restored there would have.
    pub(crate) fn reject(&self, slot: SlotId) -> io::Result<Elsewhere> {
        self.claim(slot)?;
        self.give_back(slot)
    }

    fn claim(&self, slot: SlotId) -> io::Result<Left> {
        let mut flows = self.left.flows();
        let left = flows.unclaimed.remove(&slot.0).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        flows.claimed.insert(slot.0, left.earlier);
        self.left.claimed.fetch_add(1, Relaxed);
        self.left.unclaimed.fetch_sub(1, Relaxed);
        Ok(left)
    }

    /// No stream of these slots will be restored any more: what is left in them ends.
    pub(crate) fn let_go_of(&self, slots: impl Iterator<Item = SlotId>) {
        for slot in slots {
            if self.left_in(slot).is_none() {
                continue;
            }
            if let Err(error) = self.reject(slot) {
                tracing::error!(%error, "a media stream of the process before this one cannot be ended");
            }
        }
        if self.left.has_unclaimed() {
            return;
        }
        if let Hold::Pins(pins) = &mut self.program().hold {
            pins.own();
        }
        self.renew();
    }
}
