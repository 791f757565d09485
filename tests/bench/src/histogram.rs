//! Durations in bins of one microsecond, up to a quarter of a second; longer ones count as that.

use std::time::Duration;

const BINS: usize = 250_000;

/// Counts of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    bins: Vec<u32>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { bins: vec![0; BINS], count: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let bin = usize::try_from(duration.as_micros()).unwrap_or(BINS).min(BINS - 1);
        if let Some(count) = self.bins.get_mut(bin) {
            *count += 1;
            self.count += 1;
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The duration in microseconds that `share` (0 to 1) of all do not exceed.
    pub fn quantile(&self, share: f64) -> usize {
        let wanted = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        let reached = |count: &u32| {
            seen += u64::from(*count);
            seen >= wanted.max(1)
        };
        self.bins.iter().position(reached).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_durations_that_were_counted() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|n| histogram.add(Duration::from_micros(n)));
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| histogram.quantile(share)), [1, 50, 99, 100]);
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
