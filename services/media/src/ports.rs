//! The ports of one shard: which pairs are free, and which rest before they may be used again.
//!
//! A port that is given to the next call at once still receives the packets of the last one; so each pair rests for the
//! quarantine after its call. Pairs that have rested are used again before fresh ones, the longest rested first: their
//! sockets are still open. Fresh pairs come in a shuffled order, so that the next port cannot be guessed from the last.
//! Plain data: time and the seed of the shuffle come in as arguments.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use sip::Time;

/// An RTP and an RTCP port, counted from the start of the configured range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair(pub(crate) u32);

/// A pair at one of the relay's addresses. The pairs at the first come first, then those at the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId(pub(crate) u32);

/// Which of the relay's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The one that there always is.
    First,
    /// The one of the other family.
    Other,
}

/// The pairs that fit in a range of ports: an even one and the odd one after it (RFC 3550 §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    first: u32,
    pairs: u32,
}

impl Plan {
    /// How the range divides into pairs; a lone port at either end is left out.
    pub(crate) fn new(range: &RangeInclusive<u16>) -> Plan {
        // Port 0 would mean "any port".
        let first = u32::from(*range.start()).next_multiple_of(2).max(2);
        let pairs = (u32::from(*range.end()) + 1).saturating_sub(first) / 2;
        Plan { first, pairs }
    }

    /// How many pairs there are.
    pub(crate) fn pairs(self) -> u32 {
        self.pairs
    }

    /// The slot of a pair at one of the addresses.
    pub(crate) fn slot(self, pair: Pair, at: At) -> SlotId {
        match at {
            At::First => SlotId(pair.0),
            At::Other => SlotId(self.pairs + pair.0),
        }
    }

    /// The opposite of [`Plan::slot`].
    pub(crate) fn place(self, slot: SlotId) -> (Pair, At) {
        match slot.0.checked_sub(self.pairs) {
            None => (Pair(slot.0), At::First),
            Some(pair) => (Pair(pair), At::Other),
        }
    }

    /// The RTP port of a pair; its RTCP port is the next.
    pub(crate) fn rtp_port(self, pair: Pair) -> u16 {
        // No truncation: a pair below `pairs` ends within the range, which ends at 65535.
        (self.first + pair.0 * 2) as u16
    }

    /// The pair of an RTP port; `None`: it is not in the range, or an odd one.
    pub(crate) fn pair_of(self, rtp_port: u16) -> Option<Pair> {
        let offset = u32::from(rtp_port).checked_sub(self.first)?;
        (offset % 2 == 0 && offset / 2 < self.pairs).then_some(Pair(offset / 2))
    }

    /// The pair of a port, and whether it is the one for RTCP; `None`: it is not in the range.
    pub(crate) fn pair_with(self, port: u16) -> Option<(Pair, bool)> {
        Some((self.pair_of(port & !1)?, port % 2 == 1))
    }

    /// The pairs of one of `shards` shards, as even a share as can be.
    pub(crate) fn share(self, shard: u32, shards: u32) -> impl Iterator<Item = Pair> {
        let start = |n: u32| (u64::from(self.pairs) * u64::from(n) / u64::from(shards.max(1))) as u32;
        (start(shard)..start(shard + 1)).map(Pair)
    }
}

/// The pairs of one shard.
#[derive(Debug)]
pub(crate) struct Ports {
    fresh: Vec<Pair>,
    /// In the order in which they may be used again.
    resting: VecDeque<(Time, Pair)>,
    quarantine: Duration,
    in_use: usize,
}

impl Ports {
    /// All pairs free, to be taken in an order that `seed` decides.
    pub(crate) fn new(pairs: impl IntoIterator<Item = Pair>, quarantine: Duration, seed: u64) -> Ports {
        let mut fresh: Vec<Pair> = pairs.into_iter().collect();
        shuffle(&mut fresh, seed);
        Ports { fresh, resting: VecDeque::new(), quarantine, in_use: 0 }
    }

    /// A pair for a call. `None`: all are in use or still rest.
    pub(crate) fn take(&mut self, now: Time) -> Option<Pair> {
        let rested = self.resting.front().is_some_and(|&(until, _)| until <= now);
        let pair = if rested { self.resting.pop_front().map(|(_, pair)| pair) } else { self.fresh.pop() };
        self.in_use += usize::from(pair.is_some());
        pair
    }

    /// This very pair, whether it has rested or not; false where it is in use or not among these.
    pub(crate) fn take_this(&mut self, pair: Pair) -> bool {
        let fresh = self.fresh.iter().position(|free| *free == pair);
        let resting = || self.resting.iter().position(|(_, resting)| *resting == pair);
        let found = match fresh {
            Some(index) => Some(self.fresh.swap_remove(index)),
            None => resting().and_then(|index| self.resting.remove(index)).map(|(_, pair)| pair),
        };
        self.in_use += usize::from(found.is_some());
        found.is_some()
    }

    /// A call has ended, or the pair could not be had from the system: it rests.
    pub(crate) fn rest(&mut self, pair: Pair, now: Time) {
        self.in_use = self.in_use.saturating_sub(1);
        self.resting.push_back((now + self.quarantine, pair));
    }

    /// No packet has ever been expected here: the pair may be taken again at once.
    pub(crate) fn put_back(&mut self, pair: Pair) {
        self.in_use = self.in_use.saturating_sub(1);
        self.fresh.push(pair);
    }

    /// How many pairs calls have.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use
    }
}

/// Fisher and Yates, with the numbers of splitmix64: nobody's safety hangs on them.
fn shuffle(pairs: &mut [Pair], seed: u64) {
    let mut state = seed;
    for last in (1..pairs.len()).rev() {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        pairs.swap(last, (mixed % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn ports(pairs: u32) -> Ports {
        Ports::new((0..pairs).map(Pair), QUARANTINE, 1)
    }

    #[test]
    fn pairs_begin_at_even_ports_and_stay_in_the_range() {
        let plan = Plan::new(&(30_001..=30_006));
        assert_eq!(plan.pairs(), 2);
        assert_eq!([Pair(0), Pair(1)].map(|pair| plan.rtp_port(pair)), [30_002, 30_004]);
        let top = Plan::new(&(65_530..=65_535));
        assert_eq!((top.pairs(), top.rtp_port(Pair(2))), (3, 65_534));
        assert_eq!(Plan::new(&(65_535..=65_535)).pairs(), 0);
        assert_eq!(Plan::new(&(0..=5)).rtp_port(Pair(0)), 2, "port 0 means any port");
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = Plan::new(&(40_000..=30_000));
        assert_eq!(backwards.pairs(), 0);
    }

    #[test]
    fn a_port_of_the_range_leads_back_to_its_pair() {
        let plan = Plan::new(&(30_001..=30_006));
        assert_eq!(
            (0..2).map(|pair| plan.pair_of(plan.rtp_port(Pair(pair)))).collect::<Vec<_>>(),
            [Some(Pair(0)), Some(Pair(1))]
        );
        assert!([30_000, 30_003, 30_006, 0].map(|port| plan.pair_of(port)).iter().all(Option::is_none));
    }

    #[test]
    fn a_pair_that_is_asked_for_by_name_is_had_once() {
        let mut ports = ports(3);
        assert!(ports.take_this(Pair(1)));
        assert!(!ports.take_this(Pair(1)), "in use");
        assert!(!ports.take_this(Pair(3)), "not of these");
        let others = [ports.take(at(0)).unwrap(), ports.take(at(0)).unwrap()];
        assert!(!others.contains(&Pair(1)) && ports.take(at(0)).is_none());
        ports.rest(Pair(1), at(0));
        assert!(ports.take_this(Pair(1)), "although it rests");
        assert_eq!(ports.in_use(), 3);
    }

    #[test]
    fn each_pair_has_a_slot_of_its_own_at_each_address() {
        let plan = Plan::new(&(30_000..=30_009));
        let all = [At::First, At::Other].into_iter().flat_map(|at| (0..5).map(move |pair| (Pair(pair), at)));
        let slots: Vec<u32> = all.clone().map(|(pair, at)| plan.slot(pair, at).0).collect();
        assert_eq!(slots, (0..10).collect::<Vec<u32>>());
        assert!(all.clone().all(|(pair, at)| plan.place(plan.slot(pair, at)) == (pair, at)));
    }

    #[test]
    fn shards_share_every_pair_and_no_pair_twice() {
        let plan = Plan::new(&(30_000..=30_021));
        let shares: Vec<Vec<Pair>> = (0..3).map(|shard| plan.share(shard, 3).collect()).collect();
        assert!(shares.iter().all(|share| share.len() == 3 || share.len() == 4), "{shares:?}");
        assert_eq!(shares.concat(), (0..11).map(Pair).collect::<Vec<_>>());
    }

    #[test]
    fn a_pair_rests_before_it_is_used_again() {
        let mut ports = ports(1);
        let pair = ports.take(at(0)).unwrap();
        assert_eq!(ports.take(at(0)), None);
        ports.rest(pair, at(10));
        assert_eq!(ports.take(at(14)), None);
        assert_eq!(ports.take(at(15)), Some(pair));
    }

    #[test]
    fn the_longest_rested_pair_is_used_before_a_fresh_one() {
        let mut ports = ports(10);
        let (one, two) = (ports.take(at(0)).unwrap(), ports.take(at(0)).unwrap());
        ports.rest(two, at(1));
        ports.rest(one, at(2));
        assert_ne!(ports.take(at(3)).unwrap(), two, "still resting");
        assert_eq!(ports.take(at(8)), Some(two));
        assert_eq!(ports.take(at(8)), Some(one));
    }

    #[test]
    fn fresh_pairs_come_in_an_order_that_the_seed_decides() {
        let order = |seed| {
            let mut ports = Ports::new((0..1000).map(Pair), QUARANTINE, seed);
            std::iter::from_fn(move || ports.take(Time::ZERO)).map(|pair| pair.0).collect::<Vec<u32>>()
        };
        let mut sorted = order(7);
        assert_eq!(order(7), sorted);
        assert_ne!(order(8), sorted);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
    }

    #[test]
    fn what_is_in_use_reconciles() {
        let mut ports = ports(4);
        let taken: Vec<Pair> = (0..3).filter_map(|_| ports.take(at(0))).collect();
        assert_eq!(ports.in_use(), 3);
        ports.put_back(taken[0]);
        ports.rest(taken[1], at(0));
        ports.rest(taken[2], at(0));
        assert_eq!(ports.in_use(), 0);
    }
}
