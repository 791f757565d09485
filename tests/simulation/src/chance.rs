//! Chance: the only source of randomness in a world, so that a seed is a whole story.

use std::time::Duration;

/// A generator of 64 random bits at a time (SplitMix64: every seed gives a full period, also small and similar ones).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Chance {
        let mut chance = Chance(seed ^ 0x6a09_e667_f3bc_c908);
        chance.bits();
        chance
    }

    /// A generator of its own for one part of the world, so that what one part draws does not move another's luck.
    pub fn apart(&mut self) -> Chance {
        Chance::new(self.bits())
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 when the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.bits() % limit }
    }

    /// True in `per_mille` of 1000 cases.
    pub fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A time between the two, in microseconds.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from);
        from + Duration::from_micros(self.below(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }

    /// A time up to `most`, in microseconds.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        self.between(Duration::ZERO, most)
    }

    /// One of these; the list must not be empty.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from[at].clone()
    }

    /// A word that stands for itself wherever it is found: 12 letters and digits.
    pub fn word(&mut self) -> String {
        format!("{:012x}", self.bits() & 0xffff_ffff_ffff)
    }
}
