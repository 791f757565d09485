//! Who uses which slot, as far as one relay thread has seen: what it looks up for each packet without a lock.
//!
//! A thread serves thousands of streams in turns, so that whatever it needs for a packet has left the processor's cache
//! since the one before, and to wait for one line of memory after the other costs as much as all the rules together. The
//! thread therefore goes ahead of itself: it knows from epoll which sockets are next, and looks at what their packets will
//! need before it reads the first of them, so that it waits once for many. A lock on the way would make it wait for each.
//!
//! [`super::sockets::Slot`] stays the truth. A seat is taken at a stream's first packet and given up at the beginning of the
//! wake-up after the shard has emptied the slot.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use call::Side;

use super::{Path, PathEnd, lock};
use crate::ports::SlotId;

/// The user of a slot.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) path: Arc<Path>,
    pub(super) side: Side,
    /// The wake-up in which the thread was here last.
    visited: u32,
}

impl Seat {
    pub(super) fn new(path: Arc<Path>, side: Side, wakeup: u32) -> Seat {
        Seat { path, side, visited: wakeup }
    }

    /// Whether the relay thread was here in this wake-up already or in the one before.
    pub(super) fn comes_up_again(&mut self, wakeup: u32) -> bool {
        super::sockets::is_again(&mut self.visited, wakeup)
    }
}

/// The seats of a thread, by slot.
#[derive(Debug)]
pub(super) struct Seats {
    seats: Box<[Option<Seat>]>,
    occupied: usize,
}

impl Seats {
    pub(super) fn new(slots: usize) -> Seats {
        Seats { seats: std::iter::repeat_with(|| None).take(slots).collect(), occupied: 0 }
    }

    /// Takes the seat of a slot out, to be [put back](Seats::seat) when its packets have been moved.
    pub(super) fn take(&mut self, slot: SlotId) -> Option<Seat> {
        let seat = self.seats.get_mut(slot.0 as usize)?.take();
        self.occupied -= usize::from(seat.is_some());
        seat
    }

    pub(super) fn seat(&mut self, slot: SlotId, seat: Seat) {
        if let Some(place) = self.seats.get_mut(slot.0 as usize) {
            self.occupied += usize::from(place.is_none());
            *place = Some(seat);
        }
    }

    /// Nobody sits anywhere: no stream is kept by this thread.
    pub(super) fn are_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Has what the next packets of these slots need fetched from memory, all of it at once. `touch` looks at more of the ends
    /// of both sides.
    pub(super) fn approach(
        &self,
        slots: impl Iterator<Item = SlotId>,
        touch: impl Fn(&PathEnd, &PathEnd) -> i32,
    ) {
        let seats = slots.filter_map(|slot| self.seats.get(slot.0 as usize)?.as_ref());
        black_box(seats.fold(0, |seen, Seat { path, side, .. }| {
            let touched = touch(path.end(*side), path.end(side.other()));
            seen ^ touched ^ i32::from(path.state.is_poisoned())
        }));
    }
}

/// Slots that shards have emptied since the thread looked last.
#[derive(Debug, Default)]
pub(super) struct Vacated {
    slots: Mutex<Vec<SlotId>>,
    any: AtomicBool,
}

impl Vacated {
    pub(super) fn push(&self, slot: SlotId) {
        lock(&self.slots).push(slot);
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn take(&self) -> Vec<SlotId> {
        // A load first: each packet's wake-up asks, and there is hardly ever one.
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.slots))
    }
}
