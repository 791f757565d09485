//! How fast a source may send: the generic cell rate algorithm, one number for each source.
//!
//! The `governor` crate has the same arithmetic. Its keyed limiter is not used because its table grows with every new
//! key until somebody walks the whole of it, which is what a flood of forged sources is made for; here the number is
//! one field of the bounded record that is looked up anyway, and the time is handed in.

use sip::Time;

/// So many messages a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    step: u64,
    ahead: u64,
}

impl Pace {
    /// `None` for a rate of 0, which is no limit.
    pub(crate) fn new(rate: u32, burst: u32) -> Option<Pace> {
        let step = 1_000_000_u64.checked_div(u64::from(rate))?;
        Some(Pace { step, ahead: step * u64::from(burst.saturating_sub(1)) })
    }

    /// The time of which a source that was paid for up to `paid` has paid after one more message; `None`: too fast.
    fn pay(self, paid: u64, now: Time) -> Option<u64> {
        let now = now.as_micros();
        let from = paid.max(now);
        (from - now <= self.ahead).then_some(from + self.step)
    }
}

/// One source's bucket; a new one is full.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket(u64);

impl Bucket {
    /// Whether one more message is within the pace.
    pub(crate) fn take(&mut self, pace: Option<Pace>, now: Time) -> bool {
        let Some(pace) = pace else { return true };
        match pace.pay(self.0, now) {
            Some(paid) => {
                self.0 = paid;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn a_burst_passes_and_then_what_the_rate_allows() {
        let pace = Pace::new(20, 100);
        let mut bucket = Bucket::default();
        let passed = |bucket: &mut Bucket, now| (0..1000).filter(|_| bucket.take(pace, now)).count();
        assert_eq!(passed(&mut bucket, at(5_000)), 100, "the burst");
        assert_eq!(passed(&mut bucket, at(5_049)), 0);
        assert_eq!(passed(&mut bucket, at(5_050)), 1, "one for each twentieth of a second");
        assert_eq!(passed(&mut bucket, at(6_050)), 20);
        assert_eq!(passed(&mut bucket, at(60_000)), 100, "a long silence buys no more than the burst");
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let mut bucket = Bucket::default();
        assert!((0..100_000).all(|_| bucket.take(Pace::new(0, 0), at(0))));
        assert!(Bucket::default().take(Pace::new(1, 0), at(0)), "the least burst is one");
    }
}
