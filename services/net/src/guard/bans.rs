//! Who is banned, until when, and how often before.
//!
//! A ban that has ended is remembered for as long as the longest ban lasts, so that the next one of the same source is
//! twice as long. The table is bounded: where it is full of bans in force, the one that ends first makes room.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use sip::Time;

use super::host::Host;
use super::reason::Reason;
use super::rules::GuardRules;

/// One source's ban, in force or not long over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) since: Time,
    pub(crate) until: Time,
    pub(crate) reason: Reason,
    /// The how manieth of this source.
    pub(crate) times: u32,
    /// Messages dropped because of it.
    pub(crate) dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Bans {
    table: HashMap<Host, Ban, RandomState>,
}

impl Bans {
    /// Whether the source is banned; then this is one more message that is dropped.
    pub(super) fn stops(&mut self, host: Host, now: Time) -> bool {
        // Most of the time nobody is.
        if self.table.is_empty() {
            return false;
        }
        match self.table.get_mut(&host).filter(|ban| ban.until > now) {
            Some(ban) => {
                ban.dropped += 1;
                true
            }
            None => false,
        }
    }

    /// The ban in force of a source.
    pub(super) fn of(&self, host: Host, now: Time) -> Option<&Ban> {
        self.table.get(&host).filter(|ban| ban.until > now)
    }

    /// Bans a source from now on; `most` is what this table may hold.
    pub(super) fn impose(&mut self, host: Host, reason: Reason, rules: &GuardRules, most: usize, now: Time) {
        let before = self.table.get(&host).filter(|ban| ban.until + rules.ban_max > now);
        let times = before.map_or(0, |ban| ban.times).saturating_add(1);
        if before.is_none() {
            self.make_room(most, rules.ban_max, now);
        }
        let ban = Ban { since: now, until: now + length(times, rules), reason, times, dropped: 0 };
        self.table.insert(host, ban);
    }

    /// Forgets a source's bans; whether one was in force.
    pub(super) fn lift(&mut self, host: Host, now: Time) -> bool {
        self.table.remove(&host).is_some_and(|ban| ban.until > now)
    }

    /// The bans in force.
    pub(super) fn list(&self, now: Time) -> impl Iterator<Item = (Host, Ban)> {
        self.table.iter().filter(move |(_, ban)| ban.until > now).map(|(host, ban)| (*host, *ban))
    }

    fn make_room(&mut self, most: usize, memory: Duration, now: Time) {
        if self.table.len() < most {
            return;
        }
        self.table.retain(|_, ban| ban.until + memory > now);
        while self.table.len() >= most.max(1) {
            let first = self.table.iter().min_by_key(|(host, ban)| (ban.until, **host));
            let Some(first) = first.map(|(host, _)| *host) else { return };
            self.table.remove(&first);
        }
    }
}

/// Twice as long every time, up to the longest.
fn length(times: u32, rules: &GuardRules) -> Duration {
    let factor = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    rules.ban.saturating_mul(factor).min(rules.ban_max.max(rules.ban))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MINUTE: u64 = 60;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn host(number: u32) -> Host {
        Host::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn each_ban_is_twice_as_long_as_the_one_before_up_to_the_longest() {
        let (rules, mut bans, bad) = (GuardRules::default(), Bans::default(), host(7));
        let mut now = 0;
        let mut minutes = Vec::new();
        for _ in 0..10 {
            bans.impose(bad, Reason::Flood, &rules, 100, at(now));
            let until = bans.of(bad, at(now)).unwrap().until;
            minutes.push(until.since(at(now)).as_secs() / MINUTE);
            now = until.as_micros() / 1_000_000 + 1;
            assert!(!bans.stops(bad, at(now)), "a ban ends by itself");
        }
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        // Good for as long as the longest ban lasts: it begins anew.
        bans.impose(bad, Reason::Flood, &rules, 100, at(now + 24 * 60 * MINUTE));
        assert_eq!(bans.table.get(&bad).unwrap().times, 1);
    }

    #[test]
    fn a_full_table_gives_up_the_ban_that_ends_first() {
        let (rules, mut bans) = (GuardRules::default(), Bans::default());
        for number in 0..100 {
            bans.impose(host(number), Reason::Scanner, &rules, 10, at(u64::from(number)));
        }
        let mut left: Vec<_> = bans.list(at(100)).map(|(host, _)| host).collect();
        left.sort_unstable();
        assert_eq!(left, (90..100).map(host).collect::<Vec<_>>());
    }

    #[test]
    fn a_ban_that_is_lifted_is_forgotten() {
        let (rules, mut bans) = (GuardRules::default(), Bans::default());
        bans.impose(host(1), Reason::Scanner, &rules, 10, at(0));
        assert!(bans.stops(host(1), at(1)) && !bans.stops(host(2), at(1)));
        assert!(bans.lift(host(1), at(2)) && !bans.lift(host(1), at(2)));
        assert!(!bans.stops(host(1), at(3)));
    }
}
