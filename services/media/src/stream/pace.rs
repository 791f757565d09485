//! How fast one side may send: a virtual schedule (the generic cell rate algorithm), one number per direction.
//!
//! Whoever may send may also flood the other side, by fault or by will. Packets due faster than the limit for longer than a
//! burst are dropped; one second's worth may come at once, which is more than any video frame.

use sip::Time;

const BURST_MICROS: u64 = 1_000_000;

/// The most packets per second, as the time between two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Zero: no limit.
    nanos: u64,
}

impl Limit {
    /// Of RTCP, whatever that of media is: reports come every few seconds (RFC 3550 §6.2), feedback on a picture that is
    /// breaking up some dozens of times a second (RFC 4585 §3).
    pub(crate) const CONTROL: Limit = Limit { nanos: 1_000_000_000 / 200 };

    /// Zero: no limit.
    pub(crate) fn per_second(packets: u32) -> Limit {
        Limit { nanos: if packets == 0 { 0 } else { 1_000_000_000 / u64::from(packets) } }
    }

    /// Nanoseconds between two packets; zero without a limit.
    pub(crate) fn interval_nanos(self) -> u64 {
        self.nanos
    }

    /// How far ahead of the schedule a burst may be.
    pub(crate) fn burst_nanos(self) -> u64 {
        BURST_MICROS * 1000
    }
}

/// Where one direction stands.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When a packet would come that keeps to the limit exactly, in nanoseconds.
    due: u64,
}

impl Pace {
    /// Whether a packet that came now is within the limit.
    pub(crate) fn allows(&mut self, limit: Limit, now: Time) -> bool {
        if limit.nanos == 0 {
            return true;
        }
        let now = now.as_micros() * 1000;
        if self.due > now + limit.burst_nanos() {
            return false;
        }
        self.due = self.due.max(now) + limit.nanos;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(limit: Limit, arrivals: impl Iterator<Item = u64>) -> usize {
        let mut pace = Pace::default();
        arrivals.filter(|micros| pace.allows(limit, Time::from_micros(*micros))).count()
    }

    #[test]
    fn who_keeps_to_the_limit_never_loses_a_packet() {
        assert_eq!(passed(Limit::per_second(50), (0..10_000).map(|n| n * 20_000)), 10_000);
    }

    #[test]
    fn ten_times_the_limit_passes_a_burst_and_then_a_tenth() {
        let passed = passed(Limit::per_second(100), (0..10_000).map(|n| n * 1000));
        assert!((1090..=1102).contains(&passed), "ten seconds and the burst of one, came {passed}");
    }

    #[test]
    fn without_a_limit_everything_passes() {
        assert_eq!(passed(Limit::per_second(0), (0..10_000).map(|_| 7)), 10_000);
    }
}
