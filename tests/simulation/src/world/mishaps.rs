//! What befalls a world apart from its calls: an operator at work, silence on the relay, networks that come apart.

use std::net::IpAddr;
use std::time::Duration;

use call::{Command, Input, MediaReport, RegistrarPolicy, Side};
use sip::Time;

use crate::script::Route;

use super::{Failure, Happening, World, caller_address, carrier_address, setup};

/// What an operator does to the whole box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Looks at every call.
    Look,
    /// Takes another configuration in, in which one route is missing, or the first one again.
    Reload {
        /// Which.
        changed: bool,
    },
    /// Says anew who may register.
    Registrar,
    /// Takes no new calls any more.
    Drain,
    /// Ends all calls.
    EndAll,
    /// Ends the process: whatever still waits for a peer is given up.
    Abandon,
}

/// For so long nothing reaches somebody, and nothing comes from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partition {
    pub(super) who: IpAddr,
    pub(super) from: Time,
    pub(super) until: Time,
}

impl World {
    /// An operator at work, and networks that come apart.
    pub(super) fn plan_mishaps(&mut self) {
        let seconds = Duration::from_secs;
        for _ in 0..self.chance.below(3) {
            let deed = match self.chance.below(100) {
                0..40 => Deed::Look,
                40..65 => Deed::Reload { changed: true },
                65..80 => Deed::Reload { changed: false },
                80..90 => Deed::Registrar,
                90..94 => Deed::Drain,
                94..98 => Deed::EndAll,
                _ => Deed::Abandon,
            };
            let after = self.chance.up_to(seconds(15));
            self.schedule(after, Happening::Deed(deed));
        }
        let streams = self.scripts.iter().any(|script| script.caller.stream || script.route == Route::Stream);
        if streams && self.chance.happens(300) {
            for _ in 0..=self.chance.below(3) {
                let after = self.chance.up_to(seconds(20));
                self.schedule(after, Happening::Reset);
            }
        }
        if self.chance.happens(80) {
            let calls = self.scripts.len() as u64;
            let at = usize::try_from(self.chance.below(calls)).unwrap_or(0);
            let who = self.chance.pick(&[caller_address(at), carrier_address(0), carrier_address(1)]).ip();
            let from = self.chance.up_to(seconds(10));
            let length = self.chance.pick(&[seconds(2), seconds(10), seconds(60)]);
            self.part(who, from, from + self.chance.clone().up_to(length));
            // Every BYE of a phone may be lost in it, and then nobody is left to hang up.
            if length > seconds(30) {
                self.schedule(seconds(120), Happening::Deed(Deed::EndAll));
            }
        }
    }

    /// Keeps everybody at this address from the box between two moments.
    pub fn part(&mut self, who: IpAddr, from: Duration, until: Duration) {
        self.partitions.push(Partition { who, from: Time::ZERO + from, until: Time::ZERO + until });
    }

    /// Lets an operator do something so long from now.
    pub fn instruct(&mut self, after: Duration, deed: Deed) {
        self.schedule(after, Happening::Deed(deed));
    }

    pub(super) fn perform(&mut self, deed: Deed) -> Result<(), Box<Failure>> {
        self.tape.note(self.now, None, format!("the operator: {deed:?}"));
        if matches!(deed, Deed::EndAll | Deed::Abandon) {
            self.oracle.calls.iter_mut().for_each(|call| call.broken = true);
        }
        self.oracle.abandoned |= deed == Deed::Abandon;
        let command = |command| Input::Command { id: 2, command };
        for shard in 0..self.cores.len() {
            match deed {
                Deed::Look => {
                    self.input(shard, command(Command::List { limit: 100 }))?;
                    for uuid in self.calls.values().copied().collect::<Vec<_>>() {
                        self.input(shard, command(Command::Show(uuid)))?;
                    }
                }
                Deed::Reload { changed } => self.input(shard, Input::Snapshot(setup::snapshot(changed)))?,
                Deed::Registrar => self.input(shard, Input::Registrar(RegistrarPolicy::OpenLoopback))?,
                Deed::Drain => self.input(shard, command(Command::Drain))?,
                Deed::EndAll => self.input(shard, command(Command::EndAll))?,
                Deed::Abandon => self.input(shard, command(Command::Abandon))?,
            }
        }
        Ok(())
    }

    pub(super) fn operate(&mut self, call: usize) -> Result<(), Box<Failure>> {
        let Some(&uuid) = self.calls.get(&call) else { return Ok(()) };
        self.tape.note(self.now, Some(call), format!("the operator hangs up call {call}"));
        self.oracle.calls[call].broken = true;
        for shard in 0..self.cores.len() {
            self.input(shard, Input::Command { id: 1, command: Command::HangUp(uuid) })?;
        }
        Ok(())
    }

    pub(super) fn fall_silent(&mut self, call: usize) -> Result<(), Box<Failure>> {
        let Some(session) = self.oracle.session_of(call) else { return Ok(()) };
        if !self.relay.watched().any(|watched| watched == session) {
            return Ok(());
        }
        self.tape.note(self.now, Some(call), format!("call {call} falls silent"));
        self.oracle.calls[call].broken = true;
        let side = self.chance.pick(&[Side::A, Side::B]);
        for shard in 0..self.cores.len() {
            self.input(shard, Input::Media(MediaReport::Silent { session, side }))?;
        }
        Ok(())
    }
}
