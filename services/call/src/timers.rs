//! Deadlines of everything that can wait, in one ordered set.
//!
//! Each transaction, leg and call has at most one deadline here, the next of its own; it is moved when that changes and
//! taken out when its owner goes. Nothing is left behind to be skipped later, so the number of entries is the truth.

use std::collections::BTreeSet;

use sip::Time;

use crate::bridge::CallKey;
use crate::leg::LegKey;
use crate::wire::{ClientKey, ServerKey};

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerOf {
    Client(ClientKey),
    Server(ServerKey),
    Leg(LegKey),
    Call(CallKey),
    Registrar,
}

#[derive(Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Time, TimerOf)>,
}

impl Timers {
    /// Moves a deadline; `armed` is the owner's note of where it stands in the set.
    pub(crate) fn set(&mut self, of: TimerOf, armed: &mut Option<Time>, deadline: Option<Time>) {
        if *armed == deadline {
            return;
        }
        if let Some(old) = *armed {
            self.due.remove(&(old, of));
        }
        if let Some(new) = deadline {
            self.due.insert((new, of));
        }
        *armed = deadline;
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.due.first().map(|(time, _)| *time)
    }

    /// Takes out the earliest deadline that has come. Its owner must forget that it is armed.
    pub(crate) fn pop(&mut self, now: Time) -> Option<TimerOf> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, of)| of)
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}
