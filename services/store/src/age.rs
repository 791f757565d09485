//! What is too old for the journal, by a clock that somebody may set.
//!
//! A clock that is years ahead for a minute would have everything dropped. So when it has jumped, nothing is for a day: somebody may
//! set it right meanwhile. That it has shows beside how long the machine is up. The journal keeps both, and what is left of the day:
//! the clock may be set while no process looks, and a process that is started again is no reason to believe it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::spool::LastSign;
use crate::uptime::Uptime;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Which records are dropped.
#[derive(Debug)]
pub(crate) struct Age {
    kept: Option<i64>,
    clocks: Mutex<Clocks>,
}

#[derive(Clone, Copy, Debug)]
struct Clocks {
    seen: Look,
    /// As the journal has it.
    written: Look,
}

/// What the clocks said when they were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) utc: i64,
    pub(crate) uptime: Option<Uptime>,
    /// Microseconds from then on for which nothing is dropped.
    pub(crate) wait: i64,
}

impl Age {
    /// `kept`: for how long; for ever if that is not said. `written`: as the journal has it. `alive`: when the process before this
    /// one looked at its clocks, which may have kept nothing of that in the journal.
    pub(crate) fn new(kept: Option<Duration>, written: Look, alive: LastSign) -> Age {
        let kept = kept.map(|kept| i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
        let seen = match written.uptime {
            Some(_) => written,
            None => Look { utc: alive.utc, uptime: alive.uptime, ..written },
        };
        Age { kept, clocks: Mutex::new(Clocks { seen, written }) }
    }

    /// Records that began before this time are too old. `None`: none are at the moment.
    pub(crate) fn before(&self, now: LastSign) -> Option<i64> {
        let kept = self.kept?;
        let Clocks { seen, .. } = &mut *self.clocks();
        let up = since(now.uptime, seen.uptime);
        let jumped = up.map_or(0, |up| now.utc - seen.utc - up);
        let wait = (seen.wait - up.unwrap_or(0)).max(0);
        *seen = Look { utc: now.utc, uptime: now.uptime, wait };
        if jumped.abs() > HOUR {
            seen.wait = DAY;
            tracing::warn!(
                by_seconds = jumped / 1_000_000,
                "the clock has been set: no call records are dropped for their age in the next 24 hours"
            );
        }
        (seen.wait == 0).then(|| now.utc.saturating_sub(kept))
    }

    /// What the journal is to keep; `None`: what it has tells as much. Hardly ever, since both clocks go on by themselves.
    pub(crate) fn to_write(&self) -> Option<Look> {
        self.kept?;
        let Clocks { seen, written } = *self.clocks();
        seen.uptime?;
        let is_told = since(seen.uptime, written.uptime).is_some_and(|up| {
            let goes_on = (seen.utc - written.utc - up).abs() < MINUTE;
            goes_on && up < HOUR && seen.wait == (written.wait - up).max(0)
        });
        (!is_told).then_some(seen)
    }

    /// The journal has it.
    pub(crate) fn written(&self, look: Look) {
        self.clocks().written = look;
    }

    /// A panic between two values of a look leaves one that is seen through at the next.
    fn clocks(&self) -> std::sync::MutexGuard<'_, Clocks> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Microseconds between two moments of one start of the machine.
fn since(now: Option<Uptime>, then: Option<Uptime>) -> Option<i64> {
    now?.since(then?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let age = Age::new(day, Look::default(), at(1, 0, 10_000));
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
        assert_eq!(Age::new(day, Look::default(), at(1, 100, 10_000)).before(at(1, 110, 900_000)), None);
        assert!(Age::new(day, Look::default(), at(1, 100, 10_000)).before(at(2, 1, 900_000)).is_some());
        assert!(Age::new(day, Look::default(), LastSign::default()).before(at(2, 1, 900_000)).is_some());
        assert_eq!(Age::new(None, Look::default(), at(1, 100, 10_000)).before(at(1, 101, 10_001)), None);
    }

    #[test]
    fn a_process_that_is_started_again_waits_for_the_rest_of_the_day() {
        let day = Some(Duration::from_secs(24 * 3600));
        let age = Age::new(day, Look::default(), at(1, 0, 10_000));
        assert_eq!(age.before(at(1, 1, 900_000)), None);
        let written = age.to_write().unwrap();
        // Its last sign of life is of the clock that is wrong.
        let age = Age::new(day, written, at(1, 600, 900_599));
        assert_eq!(age.before(at(1, 1440, 901_439)), None);
        assert!(age.before(at(1, 1441, 901_440)).is_some());

        let age = Age::new(day, written, LastSign::default());
        assert_eq!(age.before(at(2, 1, 901_500)), None, "nobody knows how long the machine was off");
        assert!(age.before(at(2, 1441, 902_940)).is_some());
    }

    #[test]
    fn a_clock_that_was_set_while_no_process_ran_is_seen_by_what_the_journal_has() {
        let day = Some(Duration::from_secs(24 * 3600));
        let age = Age::new(day, Look::default(), LastSign::default());
        assert!(age.before(at(1, 1, 10_001)).is_some());
        let written = age.to_write().unwrap();
        let age = Age::new(day, written, LastSign::default());
        assert_eq!(age.before(at(1, 600, 900_000)), None);
        let age = Age::new(day, written, at(1, 300, 10_300));
        assert!(age.before(at(1, 600, 10_600)).is_some());
    }

    #[test]
    fn the_journal_is_told_of_the_clocks_when_they_part_and_once_an_hour() {
        let day = Some(Duration::from_secs(24 * 3600));
        let age = Age::new(day, Look::default(), LastSign::default());
        let is_told = |now| {
            age.before(now);
            age.to_write().inspect(|look| age.written(*look)).is_some()
        };
        assert!(is_told(at(1, 0, 10_000)));
        assert!(!is_told(at(1, 59, 10_059)));
        assert!(is_told(at(1, 60, 10_060)));
        assert!(is_told(at(1, 61, 10_062)), "the clock was adjusted");
        assert!(is_told(at(1, 62, 20_000)));
        assert!(!is_told(at(1, 63, 20_001)));
        assert!(is_told(at(1, 64, 10_065)), "and set back");
        assert!(is_told(at(2, 1, 10_100)), "the machine was started");
        assert!(!is_told(LastSign { uptime: None, ..at(2, 2, 10_101) }), "there is nothing to tell");
    }
}
