//! What is too old for the journal, by a clock that somebody may set.
//!
//! A clock that is years ahead for a minute would have everything dropped. So when it has jumped, nothing is for a day: somebody may
//! set it right meanwhile. That it has shows beside how long the machine is up.

use std::time::Duration;

use crate::spool::LastSign;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// Which records are dropped.
#[derive(Debug)]
pub(crate) struct Age {
    kept: Option<i64>,
    /// What the clocks said when they were looked at last.
    seen: LastSign,
    /// Microseconds for which nothing is dropped.
    wait: i64,
}

impl Age {
    /// `kept`: for how long; for ever if that is not said. `alive`: when the process before this one looked at its clocks.
    pub(crate) fn new(kept: Option<Duration>, alive: LastSign) -> Age {
        let kept = kept.map(|kept| i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
        Age { kept, seen: alive, wait: 0 }
    }

    /// Records that began before this time are too old. `None`: none are at the moment.
    pub(crate) fn before(&mut self, now: LastSign) -> Option<i64> {
        let kept = self.kept?;
        let up = now.uptime.zip(self.seen.uptime).and_then(|(now, then)| now.since(then));
        let jumped = up.map_or(0, |up| now.utc - self.seen.utc - up);
        self.seen = now;
        self.wait = (self.wait - up.unwrap_or(0)).max(0);
        if jumped.abs() > HOUR {
            self.wait = DAY;
            tracing::warn!(
                by_seconds = jumped / 1_000_000,
                "the clock has been set: no call records are dropped for their age in the next 24 hours"
            );
        }
        (self.wait == 0).then(|| now.utc.saturating_sub(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uptime::Uptime;

    fn at(start: u64, up_minutes: i64, utc_minutes: i64) -> LastSign {
        let uptime = [start.to_le_bytes(), (up_minutes * 60_000_000).to_le_bytes()].concat();
        LastSign { utc: utc_minutes * 60_000_000, uptime: Uptime::from_bytes(&uptime), run: 1 }
    }

    #[test]
    fn nothing_is_dropped_for_a_day_after_the_clock_was_set() {
        let day = Some(Duration::from_secs(24 * 3600));
        let minute = 60_000_000;
        for years in [10, -10] {
            let step = years * 365 * 24 * 60;
            let mut age = Age::new(day, at(1, 0, 10_000));
            assert_eq!(age.before(at(1, 1, 10_001)), Some((10_001 - 1440) * minute));
            assert_eq!(
                age.before(at(1, 31, 10_032)),
                Some((10_032 - 1440) * minute),
                "the clock was adjusted"
            );
            assert_eq!(age.before(at(1, 32, 10_033 + step)), None);
            assert_eq!(age.before(at(1, 33, 10_034 + step)), None);
            assert_eq!(age.before(at(1, 34, 10_035)), None, "set right");
            assert_eq!(age.before(at(1, 34 + 1439, 10_035 + 1439)), None);
            assert_eq!(age.before(at(1, 34 + 1440, 10_035 + 1440)), Some(10_035 * minute));
        }
    }

    #[test]
    fn a_clock_that_was_set_between_two_processes_is_seen_and_a_machine_that_was_off_is_not_taken_for_that() {
        let day = Some(Duration::from_secs(24 * 3600));
        assert_eq!(Age::new(day, at(1, 100, 10_000)).before(at(1, 110, 900_000)), None);
        assert!(Age::new(day, at(1, 100, 10_000)).before(at(2, 1, 900_000)).is_some());
        assert!(Age::new(day, LastSign::default()).before(at(2, 1, 900_000)).is_some());
        assert_eq!(Age::new(None, at(1, 100, 10_000)).before(at(1, 101, 10_001)), None);
    }
}
