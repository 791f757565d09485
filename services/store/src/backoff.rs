//! How long to wait before the next try.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Doubles from `first` to `most`, each wait somewhere in the upper half of its step, so that boxes that lost the same
/// database do not all come back in the same instant.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, next: first }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next wait is no shorter than this.
    pub(crate) fn at_least(&mut self, wait: Duration) {
        self.next = self.next.max(wait * 2);
    }

    pub(crate) fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        let random = RandomState::new().build_hasher().finish();
        step / 2 + step.mul_f64(random as f64 / u64::MAX as f64 / 2.0)
    }
}
