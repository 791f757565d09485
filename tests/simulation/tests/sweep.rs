//! The fixed sweep: seeds that every commit must pass, and one seed again.

use simulation::World;
use simulation::sweep::{parse_seeds, run_cut, run_seeds};

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
fn no_call_of_the_fixed_sweep_breaks_an_invariant() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "0..5200".to_owned());
    let seeds = parse_seeds(&seeds).expect("SEEDS is a range");
    let whole = seeds.end - seeds.start >= 5_200;
    match run_seeds(seeds, |_| {}) {
        Ok(sweep) => {
            let summary = sweep.summary;
            println!("{summary:?}");
            if whole {
                assert!(summary.calls >= 20_000, "too few calls: {summary:?}");
                // A sweep in which hardly anything happens proves nothing.
                assert!(summary.answered * 5 > summary.calls, "too few are answered: {summary:?}");
                assert!(summary.cancelled * 10 > summary.calls, "too few are cancelled: {summary:?}");
            }
        }
        Err(failure) => panic!("{failure}"),
    }
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
