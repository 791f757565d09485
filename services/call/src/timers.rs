//! Deadlines of everything that can wait, in one ordered set.
//!
//! Each transaction, leg and call has at most one deadline here, the next of its own; it is moved when that changes and
//! taken out when its owner goes. Nothing is left behind to be skipped later, so the number of entries is the truth.

use std::collections::BTreeSet;

use sip::Time;
use slotmap::Key;

use crate::bridge::CallKey;
use crate::journal::Owner;
use crate::leg::LegKey;
use crate::pings::PingKey;
use crate::standalone::StandaloneKey;
use crate::subscription::SubscriptionKey;
use crate::wire::{ClientKey, ServerKey};

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerOf {
    Client(ClientKey),
    Server(ServerKey),
    Leg(LegKey),
    Call(CallKey),
    Standalone(StandaloneKey),
    Subscription(SubscriptionKey),
    Ping(PingKey),
    Registrar,
}

impl TimerOf {
    /// As a journal says it; the registrar's deadline is no call's.
    pub(crate) fn of(owner: Owner) -> Option<TimerOf> {
        let key = slotmap::KeyData::from_ffi;
        Some(match owner {
            Owner::Client(client) => TimerOf::Client(key(client).into()),
            Owner::Server(server) => TimerOf::Server(key(server).into()),
            Owner::Leg(leg) => TimerOf::Leg(key(leg).into()),
            Owner::Call(call) => TimerOf::Call(key(call).into()),
        })
    }

    /// For a journal; `None` for what is of no call.
    pub(crate) fn owner(self) -> Option<Owner> {
        Some(match self {
            TimerOf::Client(key) => Owner::Client(key.data().as_ffi()),
            TimerOf::Server(key) => Owner::Server(key.data().as_ffi()),
            TimerOf::Leg(key) => Owner::Leg(key.data().as_ffi()),
            TimerOf::Call(key) => Owner::Call(key.data().as_ffi()),
            TimerOf::Standalone(_) | TimerOf::Subscription(_) | TimerOf::Ping(_) | TimerOf::Registrar => {
                return None;
            }
        })
    }
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

    /// Takes out the deadline of one owner, whenever it is: a replay says itself when it has come.
    pub(crate) fn forget(&mut self, of: TimerOf) {
        self.due.retain(|(_, other)| *other != of);
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}
