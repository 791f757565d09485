//! The books on sources: how fast they send, what they did in the last while, who is banned, who is known.
//!
//! All of it is bounded. Strangers are kept in two generations: when the younger is full it becomes the older and the
//! older is forgotten, while whoever is heard of again moves into the younger. So a flood of forged sources costs no
//! search, forgets only who has been silent, and never touches bans or those who are known, which have tables of their
//! own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use sip::Time;

use super::bans::{Ban, Bans};
use super::bucket::{Bucket, Pace};
use super::host::Host;
use super::lines::{Line, Lines};
use super::reason::{REASONS, Reason};
use super::rules::GuardRules;

/// Known sources of one ledger; there are fewer users than of all of them together.
const MAX_KNOWN: usize = 1 << 14;

/// Sources of one ledger with a line in a minute.
const MAX_LINES: usize = 64;

/// Who a message comes from, as far as the books say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knock {
    /// A phone of ours, or whom the box speaks to.
    Known,
    /// Such a one, too fast.
    KnownTooFast,
    Banned,
    /// A stranger that is too fast.
    TooFast,
    Stranger,
}

/// The paces of the rules, and what this ledger may hold of all that is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) stranger: Option<Pace>,
    pub(super) known: Option<Pace>,
    pub(super) sources: usize,
    pub(super) bans: usize,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    young: HashMap<Host, Record, RandomState>,
    old: HashMap<Host, Record, RandomState>,
    known: HashMap<Host, Known, RandomState>,
    bans: Bans,
    lines: Lines,
}

/// What a stranger did.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    bucket: Bucket,
    /// When this window began.
    since: Time,
    /// Messages in it that were not too fast.
    seen: u32,
    offences: [u32; REASONS],
    /// A bit for each name asked for, of 256: names that share one are one. Two dozens rarely do.
    names: [u64; 4],
}

#[derive(Clone, Copy, Debug)]
struct Known {
    until: Time,
    bucket: Bucket,
}

impl Ledger {
    /// Somebody sends a message.
    pub(super) fn knock(&mut self, host: Host, share: &Share, now: Time, window: Duration) -> Knock {
        if let Some(known) = self.known.get_mut(&host).filter(|known| known.until > now) {
            return if known.bucket.take(share.known, now) { Knock::Known } else { Knock::KnownTooFast };
        }
        if self.bans.stops(host, now) {
            return Knock::Banned;
        }
        let record = self.record(host, share.sources, now, window);
        if !record.bucket.take(share.stranger, now) {
            return Knock::TooFast;
        }
        record.seen += 1;
        Knock::Stranger
    }

    /// A stranger did something that it may not do too often; whether it is banned for it from now on.
    pub(super) fn offence(
        &mut self,
        host: Host,
        reason: Reason,
        rules: &GuardRules,
        share: &Share,
        now: Time,
    ) -> bool {
        // What the calls refuse may have been under way when the ban began.
        if self.is_known(host, now) || self.bans.of(host, now).is_some() {
            return false;
        }
        let record = self.record(host, share.sources, now, rules.window);
        let count = record.offences.get_mut(reason as usize);
        let count = count.map_or(0, |count| {
            *count += 1;
            *count
        });
        self.judge(host, reason, count, rules, share, now)
    }

    /// A stranger asks for a name; whether that was one too many.
    pub(super) fn named(
        &mut self,
        host: Host,
        name: u64,
        rules: &GuardRules,
        share: &Share,
        now: Time,
    ) -> bool {
        let record = self.record(host, share.sources, now, rules.window);
        let [word, bit] = [name / 64 % 4, name % 64];
        if let Some(word) = record.names.get_mut(word as usize) {
            *word |= 1 << bit;
        }
        let names = record.names.iter().map(|word| word.count_ones()).sum();
        self.judge(host, Reason::Names, names, rules, share, now)
    }

    fn judge(
        &mut self,
        host: Host,
        reason: Reason,
        count: u32,
        rules: &GuardRules,
        share: &Share,
        now: Time,
    ) -> bool {
        let seen = self.young.get(&host).map_or(0, |record| record.seen);
        // What was too fast has not been looked at, so it has no share of what was.
        let is_enough =
            reason == Reason::Flood || u64::from(count) * 100 >= u64::from(rules.share) * u64::from(seen);
        let is_banned = rules.most(reason).is_some_and(|most| count >= most) && is_enough;
        if is_banned {
            self.bans.impose(host, reason, rules, share.bans, now);
            self.forget(host);
        }
        is_banned
    }

    /// The line that a refusal is worth, if any.
    pub(super) fn line(&mut self, ip: IpAddr, reason: Reason, now: Time) -> Option<Line> {
        let banned = self.bans.of(Host::of(ip), now).map(|ban| ban.until.since(now));
        self.lines.note(ip, reason, banned, MAX_LINES, now)
    }

    /// The lines that are due.
    pub(super) fn due(&mut self, now: Time) -> Vec<Line> {
        let bans = &self.bans;
        self.lines.due(now, |host| bans.of(host, now).map(|ban| ban.until.since(now)))
    }

    /// Somebody is known until then: a phone has registered from there, or the box sends requests there.
    pub(super) fn acquaint(&mut self, host: Host, until: Time, now: Time) {
        if let Some(known) = self.known.get_mut(&host) {
            known.until = known.until.max(until);
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, known| known.until > now);
        }
        if self.known.len() < MAX_KNOWN {
            self.known.insert(host, Known { until, bucket: Bucket::default() });
            // What it did before it was known is forgiven: a phone that asks without credentials does nothing wrong.
            self.forget(host);
        }
    }

    pub(super) fn is_known(&self, host: Host, now: Time) -> bool {
        self.known.get(&host).is_some_and(|known| known.until > now)
    }

    /// Whether nothing of a source is to be heard.
    pub(super) fn is_banned(&self, host: Host, now: Time) -> bool {
        !self.is_known(host, now) && self.bans.of(host, now).is_some()
    }

    /// Whether a ban was in force.
    pub(super) fn lift(&mut self, host: Host, now: Time) -> bool {
        self.forget(host);
        self.bans.lift(host, now)
    }

    pub(super) fn bans(&self, now: Time) -> impl Iterator<Item = (Host, Ban)> {
        self.bans.list(now)
    }

    fn forget(&mut self, host: Host) {
        self.young.remove(&host);
        self.old.remove(&host);
    }

    /// The record of a source, in the younger generation, its window not over.
    fn record(&mut self, host: Host, most: usize, now: Time, window: Duration) -> &mut Record {
        if !self.young.contains_key(&host) && self.young.len() >= most.div_ceil(2).max(1) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        let record = self
            .young
            .entry(host)
            .or_insert_with(|| old.remove(&host).unwrap_or(Record { since: now, ..Record::default() }));
        if now.since(record.since) >= window {
            *record = Record { bucket: record.bucket, since: now, ..Record::default() };
        }
        record
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
