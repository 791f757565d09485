//! A smaller world of the same seed: a failure is understood sooner when less happens around it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Happening, READ_TWICE, World};
use crate::chance::Chance;
use crate::network::Network;
use crate::script::{CallScript, seeded_transfers};
use crate::world::Habits;

/// What of a seed's world is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Only this call is placed.
    pub only: Option<usize>,
    /// No stranger, no operator but the script's own, no partition.
    pub quiet: bool,
    /// The network keeps everything, in order.
    pub perfect: bool,
    /// Other luck: which packets are lost, how long answers take.
    pub luck: u64,
}

impl Cut {
    /// Cuts worth a try for a failure of this call, the smallest first.
    pub(crate) fn of_call(only: Option<usize>) -> impl Iterator<Item = Cut> {
        let smallest = Cut { only, quiet: true, perfect: true, luck: 0 };
        let quiet = (0..40).map(move |luck| Cut { only, quiet: true, perfect: false, luck });
        let loud = (0..10).map(move |luck| Cut { only, quiet: false, perfect: false, luck });
        let all = Cut { only: None, quiet: true, perfect: false, luck: 0 };
        std::iter::once(smallest).chain(quiet).chain(loud).chain([all])
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.only.map(|call| format!("only={call}")));
        words.extend(self.quiet.then(|| "quiet".to_owned()));
        words.extend(self.perfect.then(|| "perfect".to_owned()));
        words.extend((self.luck > 0).then(|| format!("luck={}", self.luck)));
        f.write_str(&words.join(","))
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Cut, String> {
        let mut cut = Cut::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let bad = || format!("expected only=CALL, quiet, perfect or luck=NUMBER, got {word:?}");
            match word.split_once('=') {
                Some(("only", call)) => cut.only = Some(call.parse().map_err(|_| bad())?),
                Some(("luck", luck)) => cut.luck = luck.parse().map_err(|_| bad())?,
                None if word == "quiet" => cut.quiet = true,
                None if word == "perfect" => cut.perfect = true,
                Some(_) | None => return Err(bad()),
            }
        }
        Ok(cut)
    }
}

/// How many of 1000 worlds have calls that outlast the interval of their sessions.
const LONG: u64 = 40;
/// How many of 1000 have two calls more, and transfers between them.
const TRANSFERS: u64 = 200;
/// How many of 1000 of these wait until their sessions are nearly over.
const LATE: u64 = 180;

/// How many of 1000 worlds have contrary parties.
const CONTRARY: u64 = 80;

impl World {
    /// The world of a seed: its calls, its network, its habits.
    pub fn seeded(seed: u64) -> World {
        World::cut(seed, Cut::default())
    }

    /// The world of a seed without what `cut` leaves out.
    pub fn cut(seed: u64, cut: Cut) -> World {
        let mut chance = Chance::new(seed);
        let seeded = Network::seeded(&mut chance);
        let network = if cut.perfect { Network::perfect() } else { seeded };
        let mut habits = Habits::seeded(&mut chance);
        let mut shards = 1 + u16::try_from(chance.below(2)).unwrap_or(0);
        let calls = 1 + chance.below(7);
        let mut scripts: Vec<CallScript> = (0..calls).map(|_| CallScript::seeded(&mut chance)).collect();
        // Few worlds, for their calls are long; what they draw moves no other luck.
        let mut apart = Chance::new(!seed);
        if apart.happens(LONG) {
            habits.session_expires = Duration::from_secs(90);
            scripts.iter_mut().for_each(|script| script.lengthen(&mut apart));
            if apart.happens(300) {
                habits.relay = apart.pick(&[Duration::from_millis(900), Duration::from_secs(4)]);
                scripts.iter_mut().for_each(|script| script.offer_at_the_end_of_the_session(&mut apart));
            }
        }
        let mut apart = Chance::new(seed.rotate_left(32) ^ CONTRARY);
        if apart.happens(CONTRARY) {
            scripts.iter_mut().for_each(|script| script.contradict(&mut apart));
        }
        let mut apart = Chance::new(seed.rotate_left(20));
        let mut transfers = Vec::new();
        if apart.happens(TRANSFERS) {
            let late = apart.happens(LATE);
            if late {
                habits.session_expires = Duration::from_secs(90);
            }
            let more;
            (more, transfers) = seeded_transfers(scripts.len(), late, &mut apart);
            scripts.extend(more);
            // Who is to meet is in one Core.
            shards = 1;
        }
        let chance = if cut.luck > 0 { Chance::new(seed ^ cut.luck << 40) } else { chance };
        let mut world = World::new(chance, network, habits, shards, scripts).transferring(transfers);
        world.seed = Some(seed);
        world.cut = cut;
        if !seed.is_multiple_of(READ_TWICE) {
            world.oracle.read_once();
        }
        if let Some(only) = cut.only {
            world.place_only(only);
        }
        if !cut.quiet {
            for _ in 0..world.chance.below(4) {
                let after = world.chance.up_to(Duration::from_secs(12));
                world.schedule(after, Happening::Noise);
            }
            world.plan_mishaps();
        }
        world
    }

    /// Nothing but this call, and what it meets.
    fn place_only(&mut self, only: usize) {
        let kept = self.together_with(only);
        for (at, caller) in self.callers.iter_mut().enumerate() {
            if !kept.contains(&at) {
                caller.stay_at_home();
            }
        }
        self.waiting.retain(|_, happening| match happening {
            Happening::Operator { call } | Happening::Silence { call } | Happening::Listen { call } => {
                kept.contains(call)
            }
            _ => true,
        });
    }
}
