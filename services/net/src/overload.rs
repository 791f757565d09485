//! Whether a shard has more to do than it can: judged by how long messages wait for it.
//!
//! As CoDel (RFC 8289) does, it looks at the time that a message has waited, which is what peers suffer from, and not at
//! how many wait; and a queue that was once empty within the interval is a burst and no overload. Where CoDel drops, new
//! calls and other new requests are answered 503 with Retry-After, in a share that grows while the delay stays too long
//! and falls when it does not. Requests within calls, responses, and whatever belongs to a transaction that has begun
//! are never refused: those calls are what the box is there for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sip::Time;

/// Refused all of so many new requests; the share is counted in these.
const ALL: u64 = 8;

/// The first step is large: there is more than can be done, and has been for a whole interval.
const FIRST: u64 = 4;
const STEP: u64 = 2;

/// The longest that anybody is told to wait.
const MAX_RETRY_AFTER: u64 = 60;

/// One shard's judgement. Pure: it is told how long messages have waited, and when.
#[derive(Debug)]
pub(crate) struct Overload {
    target: Duration,
    interval: Duration,
    /// Since when every message has waited too long.
    above: Option<Time>,
    /// When the share was looked at last.
    judged: Time,
    /// When a message came last.
    heard: Time,
    /// Since when some are refused.
    since: Time,
    /// Of [`ALL`].
    share: u64,
    /// Requests that the share has not added up to a refusal for yet, times [`ALL`].
    due: u64,
    waited: Duration,
}

impl Overload {
    pub(crate) fn new(target: Duration, interval: Duration) -> Overload {
        Overload {
            target,
            interval,
            above: None,
            judged: Time::ZERO,
            heard: Time::ZERO,
            since: Time::ZERO,
            share: 0,
            due: 0,
            waited: Duration::ZERO,
        }
    }

    /// Other bounds from now on.
    pub(crate) fn set(&mut self, target: Duration, interval: Duration) {
        (self.target, self.interval) = (target, interval);
    }

    /// The oldest message of this round has waited so long.
    pub(crate) fn observe(&mut self, waited: Duration, now: Time) {
        self.waited = waited;
        self.heard = now;
        // A target of zero is no target.
        if self.target.is_zero() || waited <= self.target {
            self.above = None;
            if self.share > 0 && now.since(self.judged) >= self.interval {
                self.judged = now;
                self.share -= 1;
            }
            return;
        }
        let above = *self.above.get_or_insert(now);
        if now.since(above) < self.interval || (self.share > 0 && now.since(self.judged) < self.interval) {
            return;
        }
        self.judged = now;
        if self.share == 0 {
            self.since = now;
            self.share = FIRST;
        } else {
            self.share = (self.share + STEP).min(ALL);
        }
    }

    /// Nothing has come in this round. That alone says little, since the system has not been asked; when it stays so for
    /// an interval, nobody waits.
    pub(crate) fn pass(&mut self, now: Time) {
        if now.since(self.heard) >= self.interval {
            self.observe(Duration::ZERO, now);
        }
    }

    /// Whether any new request is refused now.
    pub(crate) fn is_on(&self) -> bool {
        self.share > 0
    }

    /// Whether this new request is; asked once for each.
    pub(crate) fn refuses(&mut self) -> bool {
        self.due += self.share;
        let is_due = self.due >= ALL;
        if is_due {
            self.due -= ALL;
        }
        is_due
    }

    /// Seconds after which it may be better: what the share needs to fall to nothing, and once more as long as it has
    /// lasted by now, since what has lasted long is seldom over soon.
    pub(crate) fn retry_after(&self, now: Time) -> u64 {
        let to_fall = self.interval * self.share as u32;
        let lasted = if self.share > 0 { now.since(self.since) } else { Duration::ZERO };
        (to_fall + lasted + self.waited).as_millis().div_ceil(1000).clamp(1, MAX_RETRY_AFTER.into()) as u64
    }
}

/// What others may see of it.
#[derive(Debug, Default)]
pub(crate) struct Load {
    waited_us: AtomicU64,
    share: AtomicU64,
    retry_after: AtomicU64,
    refused: AtomicU64,
}

/// How a shard keeps up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShardLoad {
    /// How long the oldest message had waited when it was last looked at.
    pub waited: Duration,
    /// The share of new calls that is refused, 0 to 1.
    pub refusing: f64,
    /// What they are told to wait.
    pub retry_after: Duration,
    /// How many new requests were refused since start.
    pub refused: u64,
}

impl Load {
    pub(crate) fn show(&self, overload: &Overload, now: Time) {
        let waited = u64::try_from(overload.waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.store(waited, Ordering::Relaxed);
        self.share.store(overload.share, Ordering::Relaxed);
        self.retry_after.store(overload.retry_after(now), Ordering::Relaxed);
    }

    pub(crate) fn count(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Seconds for whoever finds the queue of this shard full.
    pub(crate) fn retry_after(&self) -> u64 {
        self.retry_after.load(Ordering::Relaxed).max(1)
    }

    pub(crate) fn read(&self) -> ShardLoad {
        ShardLoad {
            waited: Duration::from_micros(self.waited_us.load(Ordering::Relaxed)),
            refusing: self.share.load(Ordering::Relaxed) as f64 / ALL as f64,
            retry_after: Duration::from_secs(self.retry_after()),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(240);
    const SOON: Duration = Duration::from_millis(2);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn overload() -> Overload {
        Overload::new(Duration::from_millis(100), Duration::from_millis(500))
    }

    fn refused(overload: &mut Overload) -> usize {
        (0..800).filter(|_| overload.refuses()).count()
    }

    #[test]
    fn a_burst_is_no_overload_however_long_its_messages_wait() {
        let mut overload = overload();
        for second in 0..20 {
            for step in 0..45 {
                overload.observe(LATE, at(second * 1000 + step * 10));
            }
            overload.observe(SOON, at(second * 1000 + 490));
            assert!(!overload.is_on());
        }
    }

    #[test]
    fn the_share_that_is_refused_grows_while_messages_wait_and_falls_when_they_do_not() {
        let mut overload = overload();
        let mut shares = Vec::new();
        for step in 0..250 {
            overload.observe(LATE, at(step * 10));
            if step % 50 == 49 {
                shares.push(refused(&mut overload));
            }
        }
        assert_eq!(shares, [0, 400, 600, 800, 800]);
        shares.clear();
        for step in 250..700 {
            overload.observe(SOON, at(step * 10));
            if step % 50 == 49 {
                shares.push(refused(&mut overload));
            }
        }
        assert_eq!(shares, [700, 600, 500, 400, 300, 200, 100, 0, 0]);
        assert!(!overload.is_on());
    }

    #[test]
    fn who_is_refused_is_told_to_wait_longer_the_longer_it_lasts() {
        let mut overload = overload();
        let mut told = Vec::new();
        for step in 0..12_000 {
            overload.observe(LATE, at(step * 10));
            if [60, 1_000, 3_000, 11_999].contains(&step) {
                told.push(overload.retry_after(at(step * 10)));
            }
        }
        assert_eq!(told, [3, 14, 34, 60]);
    }

    #[test]
    fn it_is_over_when_nobody_comes_any_more() {
        let mut overload = overload();
        (0..100).for_each(|step| overload.observe(LATE, at(step * 10)));
        overload.pass(at(1_100));
        assert!(overload.is_on(), "a look in between says nothing");
        (0..20).for_each(|second| overload.pass(at(2_000 + second * 1_000)));
        assert!(!overload.is_on());
    }

    #[test]
    fn a_target_of_zero_is_off() {
        let mut overload = Overload::new(Duration::ZERO, SOON);
        (0..1000).for_each(|step| overload.observe(LATE, at(step)));
        assert!(!overload.is_on() && !overload.refuses());
    }
}
