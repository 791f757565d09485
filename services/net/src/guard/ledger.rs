//! The books on sources: how fast they send, what they did in the last while, who is banned, who is known.
//!
//! All of it is bounded. A flood of forged sources forgets only strangers who have been silent
//! ([`Generations`](super::generations)), and never touches bans or those who are known, which have tables of their own.
//!
//! Numbers of offences are held against nothing that a stranger can send for nothing: an ACK, a response or a request of
//! no dialog among them changes none of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use routing::TrunkId;
use sip::Time;

use super::bans::{Ban, Bans};
use super::bucket::{Bucket, Pace};
use super::generations::Generations;
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
    pub(super) trunk: Option<Pace>,
    pub(super) sources: usize,
    pub(super) bans: usize,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    strangers: Generations<Host, Record>,
    trunks: Generations<(TrunkId, Host), Bucket>,
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
    /// Requests in it that begin something and can be read.
    asked: u32,
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
        Knock::Stranger
    }

    /// A source of a trunk sends a message; whether that is within the pace.
    pub(super) fn knock_of_trunk(&mut self, trunk: TrunkId, host: Host, share: &Share, now: Time) -> bool {
        self.trunks.entry((trunk, host), share.sources, Bucket::default).take(share.trunk, now)
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

    /// A stranger begins something, perhaps a call, by the name that it asks for. What it is banned for from now on, if that was
    /// one too many.
    pub(super) fn asks(
        &mut self,
        host: Host,
        name: Option<u64>,
        invite: bool,
        rules: &GuardRules,
        share: &Share,
        now: Time,
    ) -> Option<Reason> {
        let record = self.record(host, share.sources, now, rules.window);
        record.asked += 1;
        if let Some(name) = name {
            let [word, bit] = [name / 64 % 4, name % 64];
            if let Some(word) = record.names.get_mut(word as usize) {
                *word |= 1 << bit;
            }
            let names = record.names.iter().map(|word| word.count_ones()).sum();
            if self.judge(host, Reason::Names, names, rules, share, now) {
                return Some(Reason::Names);
            }
        }
        let is_one_too_many = invite && self.offence(host, Reason::Invites, rules, share, now);
        is_one_too_many.then_some(Reason::Invites)
    }

    /// Bans whoever did this so often; whether that is the case.
    fn judge(
        &mut self,
        host: Host,
        reason: Reason,
        count: u32,
        rules: &GuardRules,
        share: &Share,
        now: Time,
    ) -> bool {
        let is_banned = rules.most(reason).is_some_and(|most| count >= most)
            && (reason != Reason::Malformed || self.is_much_of_it(host, count, rules, share, now));
        if is_banned {
            self.bans.impose(host, reason, rules, share.bans, now);
            self.forget(host);
        }
        is_banned
    }

    /// Whether what was malformed has its share. One phone of an office that writes nonsense must not shut the others out before
    /// one of them has registered; what they ask for costs who asks, since all of it is counted elsewhere.
    fn is_much_of_it(
        &mut self,
        host: Host,
        malformed: u32,
        rules: &GuardRules,
        share: &Share,
        now: Time,
    ) -> bool {
        let asked = self.record(host, share.sources, now, rules.window).asked;
        let all = u64::from(malformed) + u64::from(asked);
        u64::from(malformed) * 100 >= u64::from(rules.share) * all
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
        self.strangers.forget(host);
    }

    /// The record of a source, its window not over.
    fn record(&mut self, host: Host, most: usize, now: Time, window: Duration) -> &mut Record {
        let record = self.strangers.entry(host, most, || Record { since: now, ..Record::default() });
        if now.since(record.since) >= window {
            *record = Record { bucket: record.bucket, since: now, ..Record::default() };
        }
        record
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
