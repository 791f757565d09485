//! Many worlds: a range of seeds, on as many threads as there are cores.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use call::Coverage;

use crate::world::{Cut, Failure, Summary, World};

/// Seeds that a thread takes at once.
const PORTION: u64 = 32;
/// How often a long sweep says how far it is.
const PROGRESS: Duration = Duration::from_secs(20);

/// No world takes a thousandth of this; a Core that loops within one step is found by it.
const HANGS: Duration = Duration::from_secs(60);

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// What happened.
    pub summary: Summary,
    /// Which cells of the tables were reached.
    pub coverage: Coverage,
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Every seed below this one is done: where to go on after an interruption.
    pub done: u64,
    /// Calls so far.
    pub calls: u64,
    /// Since the start.
    pub elapsed: Duration,
}

/// Runs the world of one seed to its end. A panic of the Core is a failure like any other.
///
/// # Errors
///
/// The first rule that was broken, in the smallest cut of this world that breaks it as well.
pub fn run_seed(seed: u64) -> Result<Sweep, Box<Failure>> {
    run_cut(seed, Cut::default()).map_err(|failure| shrink(seed, failure))
}

/// [`run_seed`] for a part of the world of a seed.
///
/// # Errors
///
/// The first rule that was broken.
pub fn run_cut(seed: u64, cut: Cut) -> Result<Sweep, Box<Failure>> {
    let mut world = World::cut(seed, cut);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(result) => result.map(|summary| Sweep { summary, coverage: world.coverage() }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            Err(world.failure(None, format!("panic: {text}")))
        }
    }
}

/// The same rule broken with less around it; other luck makes up for what the missing calls did to the first one's.
fn shrink(seed: u64, failure: Box<Failure>) -> Box<Failure> {
    let rule = |failure: &Failure| failure.what.chars().take(24).collect::<String>();
    let wanted = rule(&failure);
    let smaller =
        Cut::of_call(failure.call).find_map(|cut| run_cut(seed, cut).err().filter(|f| rule(f) == wanted));
    smaller.unwrap_or(failure)
}

/// Runs a range of seeds until the first failure, the one with the lowest seed among those met. `told` hears how far
/// it is, now and then.
///
/// # Errors
///
/// That failure.
pub fn run_seeds(seeds: Range<u64>, told: impl Fn(Progress) + Sync) -> Result<Sweep, Box<Failure>> {
    let start = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let calls = AtomicU64::new(0);
    let total = Mutex::new(Sweep::default());
    let failed: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let at_work: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(seeds.start)).collect();
    let posts: Vec<Post> = (0..threads).map(|_| Post::default()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&posts, start));
        for thread in 0..threads {
            let (next, calls, total, failed, at_work, told) =
                (&next, &calls, &total, &failed, &at_work, &told);
            let post = &posts[thread];
            let seeds = seeds.clone();
            scope.spawn(move || {
                let mut mine = Sweep::default();
                let mut spoke = start;
                loop {
                    let first = next.fetch_add(PORTION, Ordering::Relaxed);
                    at_work[thread].store(first.min(seeds.end), Ordering::Relaxed);
                    if first >= seeds.end {
                        break;
                    }
                    let before = mine.summary.calls;
                    if let Err(failure) =
                        run_portion(first..(first + PORTION).min(seeds.end), &mut mine, (post, start))
                    {
                        next.store(seeds.end, Ordering::Relaxed);
                        let mut failed = failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                        if failed.as_ref().is_none_or(|before| failure.seed < before.seed) {
                            *failed = Some(failure);
                        }
                        break;
                    }
                    let calls = calls.fetch_add(mine.summary.calls - before, Ordering::Relaxed);
                    if thread == 0 && spoke.elapsed() >= PROGRESS {
                        spoke = Instant::now();
                        let done = at_work.iter().map(|at| at.load(Ordering::Relaxed)).min();
                        let done = done.unwrap_or(seeds.start);
                        told(Progress { done, calls, elapsed: start.elapsed() });
                    }
                }
                post.done.store(true, Ordering::Relaxed);
                total.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(&mine);
            });
        }
    });
    match failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(failure) => Err(failure),
        None => Ok(total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())),
    }
}

/// What one thread is at.
#[derive(Default)]
struct Post {
    seed: AtomicU64,
    /// Milliseconds after the start.
    since: AtomicU64,
    done: AtomicBool,
}

/// Ends the process when a world does not come to an end: a thread that never returns can only be told from outside.
#[expect(clippy::disallowed_methods, reason = "the thread that hangs cannot be asked to return")]
fn watch(posts: &[Post], start: Instant) {
    let hangs = u64::try_from(HANGS.as_millis()).unwrap_or(u64::MAX);
    while posts.iter().any(|post| !post.done.load(Ordering::Relaxed)) {
        std::thread::sleep(Duration::from_millis(50));
        let now = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        for post in posts.iter().filter(|post| !post.done.load(Ordering::Relaxed)) {
            if now.saturating_sub(post.since.load(Ordering::Relaxed)) > hangs {
                let seed = post.seed.load(Ordering::Relaxed);
                eprintln!("\nbroken: seed {seed} does not come to an end: a Core loops within one step");
                eprintln!("again: SEED={seed} cargo test -p simulation replay_one -- --nocapture");
                std::process::exit(101);
            }
        }
    }
}

fn run_portion(
    seeds: Range<u64>,
    sweep: &mut Sweep,
    (post, start): (&Post, Instant),
) -> Result<(), Box<Failure>> {
    for seed in seeds {
        let now = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        post.seed.store(seed, Ordering::Relaxed);
        post.since.store(now, Ordering::Relaxed);
        sweep.add(&run_seed(seed)?);
    }
    Ok(())
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

impl Sweep {
    /// Adds up.
    pub fn add(&mut self, other: &Sweep) {
        self.summary.add(&other.summary);
        self.coverage.add(&other.coverage);
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
