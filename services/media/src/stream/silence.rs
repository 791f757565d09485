//! Noticing that a side which should send does not.
//!
//! Only counters are compared, at the times of the looker's choice: nothing is stamped per packet, and the relay's clock
//! need not be the shard's.

use std::time::Duration;

use sip::Time;

/// How long one side has been silent.
#[derive(Debug)]
pub(crate) struct Silence {
    heard: u64,
    since: Time,
    reported: bool,
}

impl Silence {
    /// Starts to wait at `now` for a side of which `heard` packets have come.
    pub(crate) fn new(heard: u64, now: Time) -> Silence {
        Silence { heard, since: now, reported: false }
    }

    /// Starts the wait again: the terms have changed.
    pub(crate) fn restart(&mut self, now: Time) {
        self.since = now;
    }

    /// Looks again. True once when a side that is `expected` to send has not for `timeout`, if there is one; and once more
    /// only after it was heard in between.
    pub(crate) fn look(&mut self, expected: bool, heard: u64, now: Time, timeout: Option<Duration>) -> bool {
        if heard != self.heard {
            self.heard = heard;
            self.since = now;
            self.reported = false;
        } else if !expected {
            self.since = now;
        }
        let is_over = timeout.is_some_and(|timeout| now.since(self.since) >= timeout);
        let silent = expected && !self.reported && is_over;
        self.reported |= silent;
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn silence_is_reported_once_until_the_side_is_heard_again() {
        let mut silence = Silence::new(0, at(100));
        assert!(!silence.look(true, 0, at(159), TIMEOUT));
        assert!(silence.look(true, 0, at(160), TIMEOUT));
        assert!(!silence.look(true, 0, at(500), TIMEOUT));
        assert!(!silence.look(true, 7, at(501), TIMEOUT), "heard");
        assert!(!silence.look(true, 7, at(560), TIMEOUT));
        assert!(silence.look(true, 7, at(561), TIMEOUT));
    }

    #[test]
    fn a_side_on_hold_is_not_waited_for() {
        let mut silence = Silence::new(0, at(0));
        assert!(!silence.look(false, 0, at(1000), TIMEOUT));
        assert!(!silence.look(true, 0, at(1059), TIMEOUT), "the wait begins when it should send again");
        assert!(silence.look(true, 0, at(1060), TIMEOUT));
    }

    #[test]
    fn new_terms_restart_the_wait() {
        let mut silence = Silence::new(0, at(0));
        silence.restart(at(30));
        assert!(!silence.look(true, 0, at(89), TIMEOUT));
        assert!(silence.look(true, 0, at(90), TIMEOUT));
    }
}
