//! Admission: how many calls a trunk has, and how fast new ones may come.
//!
//! Counted by the trunk's name, so that the counts live on when a reload renumbers trunks. The rate is a token bucket
//! as deep as one second of calls, in whole micro-tokens, so that no call is lost or won to rounding.

use std::collections::BTreeMap;

use sip::Time;

use crate::decision::Refusal;
use crate::trunk::Trunk;

/// The most trunks counted at once: as many as a snapshot can have.
const MAX_TRUNKS: usize = 1 << 16;

/// What one call costs. A trunk's bucket gains its `max_cps` in micro-tokens every microsecond.
const TOKEN: u64 = 1_000_000;

/// The counts of all trunks. Every [`admit`](Admission::admit) that succeeds is followed by one
/// [`release`](Admission::release) when the call has ended.
#[derive(Debug, Default)]
pub struct Admission {
    trunks: BTreeMap<Box<str>, Load>,
}

#[derive(Debug)]
struct Load {
    calls: u32,
    /// Of a trunk with `max_cps`, once it had a call.
    bucket: Option<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Micro-tokens at `at`.
    level: u64,
    at: Time,
    cps: u32,
}

impl Admission {
    /// Nothing counted yet.
    pub fn new() -> Admission {
        Admission::default()
    }

    /// Counts one more call of a trunk, if its limits allow. A refused call costs nothing.
    ///
    /// # Errors
    ///
    /// 503, naming the limit and its value.
    pub fn admit(&mut self, trunk: &Trunk, now: Time) -> Result<(), Refusal> {
        let load = self.load(&trunk.name, now)?;
        if trunk.max_calls != 0 && load.calls >= trunk.max_calls {
            return Err(refuse(format!("trunk {:?} is at max_calls = {}", trunk.name, trunk.max_calls)));
        }
        load.bucket = match trunk.max_cps {
            0 => None,
            cps => {
                let filled = match load.bucket {
                    Some(bucket) => bucket.at_rate(cps, now),
                    None => Bucket::full(cps, now),
                };
                let Some(level) = filled.level.checked_sub(TOKEN) else {
                    return Err(refuse(format!("trunk {:?} is at max_cps = {cps}", trunk.name)));
                };
                Some(Bucket { level, ..filled })
            }
        };
        load.calls = load.calls.saturating_add(1);
        Ok(())
    }

    /// Counts a call that a process before this one admitted: it is there, whatever the limits say now.
    pub fn count(&mut self, trunk: &Trunk, now: Time) {
        // Where there is no room to count another trunk, its calls are not limited.
        if let Ok(load) = self.load(&trunk.name, now) {
            load.calls = load.calls.saturating_add(1);
        }
    }

    /// A call that was admitted has ended. A name that has no calls is left as it is.
    pub fn release(&mut self, name: &str) {
        let Some(load) = self.trunks.get_mut(name) else { return };
        load.calls = load.calls.saturating_sub(1);
        if load.calls == 0 && load.bucket.is_none() {
            self.trunks.remove(name);
        }
    }

    /// The calls that a trunk has now.
    pub fn calls(&self, name: &str) -> u32 {
        self.trunks.get(name).map_or(0, |load| load.calls)
    }

    fn load(&mut self, name: &str, now: Time) -> Result<&mut Load, Refusal> {
        if !self.trunks.contains_key(name) {
            self.make_room(now);
            if self.trunks.len() < MAX_TRUNKS {
                self.trunks.insert(name.into(), Load { calls: 0, bucket: None });
            }
        }
        let full = || refuse(format!("{MAX_TRUNKS} trunks have calls, no room to count {name:?}"));
        self.trunks.get_mut(name).ok_or_else(full)
    }

    /// Forgets names of older configurations: an idle trunk with a full bucket is as good as one never seen.
    fn make_room(&mut self, now: Time) {
        if self.trunks.len() >= MAX_TRUNKS {
            self.trunks
                .retain(|_, load| load.calls > 0 || load.bucket.is_some_and(|bucket| !bucket.is_full(now)));
        }
    }
}

impl Bucket {
    fn full(cps: u32, now: Time) -> Bucket {
        Bucket { level: u64::from(cps) * TOKEN, at: now, cps }
    }

    /// Filled up to now. A new rate, after a reload, fills from here on and cuts what is above its own depth.
    fn at_rate(self, cps: u32, now: Time) -> Bucket {
        let gained = now.since(self.at).as_micros().min(u128::from(TOKEN)) as u64 * u64::from(self.cps);
        let level = (self.level + gained).min(u64::from(cps) * TOKEN);
        Bucket { level, at: now.max(self.at), cps }
    }

    fn is_full(self, now: Time) -> bool {
        self.at_rate(self.cps, now).level >= u64::from(self.cps) * TOKEN
    }
}

fn refuse(why: String) -> Refusal {
    Refusal::new(503, why, true)
}
