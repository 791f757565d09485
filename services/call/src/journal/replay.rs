//! A call again: a fresh Core that is handed the steps of a journal, one at a time.

use std::sync::Arc;

use routing::Snapshot;

use super::{Fact, Journal, Step, Stimulus};
use crate::bridge::CallKey;
use crate::core::Core;
use crate::io::Output;
use crate::settings::Settings;
use crate::timers::TimerOf;
use crate::view::CallView;

/// A Core that lives through a journal.
pub struct Replay {
    core: Core,
}

/// How an input went elsewhere than the record says. Its outputs may be the same all the same; later ones will not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Astray {
    /// Something else was asked of the outside than what the record answers.
    #[error("it asked the outside for something else than what was answered then")]
    Asked,
    /// Other transactions, legs or calls were made.
    #[error("it made other calls, legs or transactions than it made then")]
    Made,
}

/// Where a replay is not what was recorded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Difference {
    /// The journal has no end; what came later cannot be known.
    #[error("the journal ends before its call: {0}")]
    Cut(&'static str),
    /// The configuration of a step is missing.
    #[error("input {step} happened under configuration {generation}, which the journal does not have")]
    NoSnapshot {
        /// Counted from 1.
        step: usize,
        /// The configuration.
        generation: u32,
    },
    /// An input went elsewhere.
    #[error("input {step}: {astray}")]
    Astray {
        /// Counted from 1.
        step: usize,
        /// How.
        astray: Astray,
    },
    /// Other outputs.
    #[error("input {step} ({stimulus}) gave other outputs than it gave then: {outputs}")]
    Outputs {
        /// Counted from 1.
        step: usize,
        /// What happened.
        stimulus: String,
        /// What came of it now.
        outputs: String,
    },
}

impl Replay {
    /// A fresh Core in these surroundings.
    pub fn new(settings: Settings) -> Replay {
        Replay { core: Core::for_replay(settings) }
    }

    /// Does it again. `snapshot` is the configuration that was in force ([`Step::generation`]).
    ///
    /// # Errors
    /// When the way through it was another one; the outputs are given even then.
    pub fn step(&mut self, step: &Step<'_>, snapshot: &Arc<Snapshot>) -> (Vec<Output>, Result<(), Astray>) {
        let astray = self.core.again(step, snapshot);
        let outputs = std::iter::from_fn(|| self.core.poll_output()).collect();
        (outputs, astray.map_or(Ok(()), Err))
    }

    /// The calls as they stand now.
    pub fn calls(&self) -> Vec<CallView> {
        self.core.views().collect()
    }
}

impl Journal {
    /// Lives through the whole journal and holds every output against what came of it then; says how many outputs
    /// there were.
    ///
    /// # Errors
    /// The first difference.
    pub fn replay(&self, mut seen: impl FnMut(&Step<'_>, &[Output])) -> Result<usize, Difference> {
        let mut replay = Replay::new(self.settings.clone());
        let mut count = 0;
        for (at, step) in self.steps().enumerate() {
            let (number, generation) = (at + 1, step.generation);
            let snapshot = self.snapshot(generation);
            let snapshot = snapshot.ok_or(Difference::NoSnapshot { step: number, generation })?;
            let (outputs, gone) = replay.step(&step, snapshot);
            seen(&step, &outputs);
            count += outputs.len();
            if !step.gave(&outputs) {
                let stimulus = format!("{:?}", step.stimulus);
                let outputs = format!("{outputs:?}");
                return Err(Difference::Outputs { step: number, stimulus, outputs });
            }
            gone.map_err(|astray| Difference::Astray { step: number, astray })?;
        }
        match self.cut {
            Some(why) => Err(Difference::Cut(why)),
            None => Ok(count),
        }
    }

    /// The configuration of a generation.
    pub fn snapshot(&self, generation: u32) -> Option<&Arc<Snapshot>> {
        self.snapshots.iter().find(|(known, _)| *known == generation).map(|(_, snapshot)| snapshot)
    }
}

impl Core {
    fn for_replay(settings: Settings) -> Core {
        let limits = crate::settings::JournalLimits::OFF;
        // Who was let in was decided then.
        let settings = Settings { max_calls: usize::MAX, journal: limits, ..settings };
        let mut core = Core::new(settings, Arc::new(Snapshot::empty()));
        core.calls = crate::slab::Slab::replayed();
        core.legs = crate::slab::Slab::replayed();
        core.wire.replayed();
        core
    }

    fn again(&mut self, step: &Step<'_>, snapshot: &Arc<Snapshot>) -> Option<Astray> {
        self.snapshot = snapshot.clone();
        self.draining = step.draining;
        self.queries.next = step.last_query;
        let facts: std::collections::VecDeque<Fact> = step.facts.iter().cloned().collect();
        self.wire.ids.tape = super::Tape::Replaying { facts, astray: false };
        self.calls.expect(&step.keys.calls);
        self.legs.expect(&step.keys.legs);
        self.wire.expect(&step.keys.clients, &step.keys.servers);
        if let Stimulus::Timer(owner) = step.stimulus
            && let Some(due) = TimerOf::of(owner)
        {
            self.wire.timers.forget(due);
        }
        self.take(step.stimulus.clone(), step.now);
        let made = self.calls.is_as_expected() && self.legs.is_as_expected() && self.wire.is_as_expected();
        self.clear_notes();
        match (self.wire.ids.tape.is_as_recorded(), made) {
            (false, _) => Some(Astray::Asked),
            (true, false) => Some(Astray::Made),
            (true, true) => None,
        }
    }

    /// What an operator sees of all calls.
    pub(crate) fn views(&self) -> impl Iterator<Item = CallView> + '_ {
        self.calls.values().map(|call| self.view(call))
    }
}

pub(crate) fn call_key(key: u64) -> CallKey {
    CallKey::from(slotmap::KeyData::from_ffi(key))
}
