//! The fixed sweep: seeds that every commit must pass, and one seed again.

use simulation::World;
use simulation::coverage::Unreachable;
use simulation::sweep::{parse_seeds, run_cut, run_seeds};

/// Fifty thousand calls.
const FIXED: &str = "0..13000";

/// `SEED=17 cargo test -p simulation replay_one -- --nocapture` tells the whole story of a seed, `CUT=only=3,quiet` that
/// of a part of its world.
#[test]
fn replay_one() {
    let Ok(text) = std::env::var("SEED") else { return };
    let seed = text.parse().expect("SEED is a number");
    let cut = std::env::var("CUT").unwrap_or_default().parse().expect("CUT is a cut");
    if let Err(failure) = run_cut(seed, cut) {
        panic!("{failure}");
    }
    let mut world = World::cut(seed, cut);
    let summary = world.run().expect("it went well a moment ago");
    println!("{}\n{summary:?}", world.ladder(None));
}

#[test]
fn the_fixed_sweep_keeps_every_rule_and_reaches_every_cell() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| FIXED.to_owned());
    let whole = seeds == FIXED;
    let sweep = match run_seeds(parse_seeds(&seeds).expect("SEEDS is a range"), |_| {}) {
        Ok(sweep) => sweep,
        Err(failure) => panic!("{failure}"),
    };
    let summary = sweep.summary;
    println!("{summary:?}");
    if !whole {
        return;
    }
    assert!(summary.calls >= 50_000, "too few calls: {summary:?}");
    // A sweep in which hardly anything happens proves nothing.
    assert!(summary.answered * 5 > summary.calls, "too few are answered: {summary:?}");
    assert!(summary.cancelled * 10 > summary.calls, "too few are cancelled: {summary:?}");
    let list = Unreachable::parse(include_str!("../unreachable.md")).expect("unreachable.md can be read");
    let wrong = list.compare(&sweep.coverage);
    assert!(
        wrong.is_empty(),
        "{} cells of the tables and unreachable.md disagree:\n{}\n\nLet a script, a phone or a mishap of the simulator \
         reach a cell that can come to pass; say in tests/simulation/unreachable.md why one cannot; take out the line \
         of one that does. `TABLE=1 make simulate SEEDS={FIXED}` prints all counts.",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in 0..20 {
        let story = |mut world: World| {
            world.run().map_err(|failure| failure.to_string()).expect("no rule is broken");
            let lines: Vec<_> =
                world.tape().lines().map(|line| (line.at, line.from, line.bytes.clone())).collect();
            lines
        };
        assert!(story(World::seeded(seed)) == story(World::seeded(seed)), "seed {seed}");
    }
}
