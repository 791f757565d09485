//! Requests that were refused without a transaction: each copy of one hears the same again, however things stand by then
//! (RFC 3261 §8.2.7). Otherwise a call that its caller has given up would ring because its second copy found room.

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::{HashSet, HashSetExt};
use sip::Time;

/// Copies come for as long (64·T1).
const COPIES: Duration = Duration::from_secs(32);
/// More are refused in that time only by a box that has fallen behind beyond this.
const MOST: usize = 32_768;

/// What one shard has refused of late.
#[derive(Debug)]
pub(crate) struct Repeats {
    refused: VecDeque<(Time, u64)>,
    known: HashSet<u64>,
}

impl Repeats {
    pub(crate) fn new() -> Repeats {
        Repeats { refused: VecDeque::new(), known: HashSet::new() }
    }

    /// Nothing was refused for so long that a copy may come of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    /// A transaction ([`crate::refusal::key_of`]) was refused.
    pub(crate) fn add(&mut self, key: u64, now: Time) {
        self.forget(now);
        if self.refused.len() == MOST
            && let Some((_, oldest)) = self.refused.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.known.insert(key) {
            self.refused.push_back((now, key));
        }
    }

    /// Whether this is a copy.
    pub(crate) fn has(&mut self, key: u64, now: Time) -> bool {
        self.forget(now);
        self.known.contains(&key)
    }

    fn forget(&mut self, now: Time) {
        while self.refused.front().is_some_and(|(at, _)| now.since(*at) > COPIES) {
            if let Some((_, key)) = self.refused.pop_front() {
                self.known.remove(&key);
            }
        }
        if self.refused.is_empty() {
            // What an overload took is not kept for ever.
            self.refused.shrink_to(0);
            self.known.shrink_to(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_was_refused_is_known_for_as_long_as_copies_come() {
        let mut repeats = Repeats::new();
        repeats.add(7, at(1));
        repeats.add(8, at(20));
        assert!(repeats.has(7, at(33)) && repeats.has(8, at(33)) && !repeats.has(9, at(33)));
        assert!(!repeats.has(7, at(34)) && repeats.has(8, at(34)));
        assert!(!repeats.has(8, at(60)) && repeats.is_empty());
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many() {
        let mut repeats = Repeats::new();
        (0..MOST as u64 + 5).for_each(|key| repeats.add(key, at(1)));
        assert!(!repeats.has(4, at(2)) && repeats.has(5, at(2)));
        assert_eq!(repeats.known.len(), MOST);
    }
}
