//! The two clocks of a shard: a monotonic one for timers, civil time for records.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use call::{Now, Utc};
use sip::Time;

/// How long civil time is carried forward by the monotonic clock before the system is asked again. In between, a step
/// of the system's clock cannot turn a record's times round.
const ANCHOR_LIFE: Duration = Duration::from_secs(60);

/// The time at which a process begins: calls that it takes over from the one before it began earlier, and none of them a
/// year ago.
const BEGIN: Time = Time::from_micros(365 * 24 * 60 * 60 * 1_000_000);

/// Says what time it is, the same [`Time`] in every copy. Read once for a batch of inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// When it was [`BEGIN`].
    begun: Instant,
    anchored_at: Time,
    /// Civil time at `anchored_at`.
    anchor: Utc,
}

impl Clock {
    /// A clock that begins at this moment.
    pub(crate) fn start() -> Clock {
        Clock { begun: Instant::now(), anchored_at: BEGIN, anchor: system_utc() }
    }

    pub(crate) fn now(&mut self) -> Now {
        let time = BEGIN + self.begun.elapsed();
        if time.since(self.anchored_at) >= ANCHOR_LIFE {
            self.anchored_at = time;
            self.anchor = system_utc();
        }
        let since = i64::try_from(time.since(self.anchored_at).as_micros()).unwrap_or(i64::MAX);
        Now { time, utc: Utc(self.anchor.0.saturating_add(since)) }
    }

    /// The moment of a time, for the runtime's timer.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.begun + time.since(BEGIN)
    }
}

/// What the system says, microseconds since 1970; a clock before that counts as 1970.
pub(crate) fn system_utc() -> Utc {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Utc(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_advance_together() {
        let mut clock = Clock::start();
        let earlier = clock.now();
        std::thread::sleep(Duration::from_millis(5));
        let later = clock.now();
        let monotonic = later.time.since(earlier.time).as_micros() as i64;
        assert!(monotonic >= 5_000);
        assert_eq!(later.utc.0 - earlier.utc.0, monotonic);
        assert!((later.utc.0 - system_utc().0).abs() < 1_000_000, "civil time is the system's");
    }

    #[test]
    fn a_time_becomes_the_moment_it_was_read_at() {
        let mut clock = Clock::start();
        let before = Instant::now();
        let now = clock.now();
        let moment = clock.instant(now.time);
        assert!(moment + Duration::from_micros(1) >= before && moment <= Instant::now());
    }
}
