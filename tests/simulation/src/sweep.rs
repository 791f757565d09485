//! Many worlds: a range of seeds, on as many threads as there are cores.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::{Failure, Summary, World};

/// Runs the world of one seed to its end. A panic of the Core is a failure like any other.
///
/// # Errors
///
/// The first rule that was broken.
pub fn run_seed(seed: u64) -> Result<Summary, Box<Failure>> {
    let mut world = World::seeded(seed);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            Err(Box::new(Failure {
                seed: Some(seed),
                call: None,
                what: format!("panic: {text}"),
                script: String::new(),
                ladder: world.ladder(None),
            }))
        }
    }
}

/// Runs a range of seeds until the first failure, the one with the lowest seed among those met.
///
/// # Errors
///
/// That failure.
pub fn run_seeds(seeds: Range<u64>) -> Result<Summary, Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Summary::default());
    let failed: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Summary::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    match run_seed(seed) {
                        Ok(summary) => mine.add(&summary),
                        Err(failure) => {
                            next.store(seeds.end, Ordering::Relaxed);
                            let mut failed = failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                            if failed.as_ref().is_none_or(|before| failure.seed < before.seed) {
                                *failed = Some(failure);
                            }
                            break;
                        }
                    }
                }
                total.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(&mine);
            });
        }
    });
    match failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(failure) => Err(failure),
        None => Ok(total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())),
    }
}

/// Reads `17`, `0..1000` or `5..=9`.
///
/// # Errors
///
/// What was expected.
pub fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let bad = || format!("expected a seed or a range like 0..1000, got {text:?}");
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| bad());
    match text.split_once("..") {
        None => number(text).map(|seed| seed..seed.saturating_add(1)),
        Some((from, to)) => {
            let from = number(from)?;
            let to = match to.strip_prefix('=') {
                Some(last) => number(last)?.saturating_add(1),
                None => number(to)?,
            };
            if from < to { Ok(from..to) } else { Err(bad()) }
        }
    }
}

impl Summary {
    /// Adds up.
    pub fn add(&mut self, other: &Summary) {
        self.calls += other.calls;
        self.answered += other.answered;
        self.cancelled += other.cancelled;
        self.datagrams += other.datagrams;
        self.steps += other.steps;
    }
}
