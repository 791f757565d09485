//! Sweeps over a range of seeds: `SEEDS=0..100000 cargo run --release -p simulation`.

use std::process::ExitCode;
use std::time::Instant;

use simulation::sweep::{parse_seeds, run_seeds};

fn main() -> ExitCode {
    let text = std::env::var("SEEDS").unwrap_or_else(|_| "0..10000".to_owned());
    let seeds = match parse_seeds(&text) {
        Ok(seeds) => seeds,
        Err(error) => {
            eprintln!("SEEDS: {error}");
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    match run_seeds(seeds) {
        Ok(summary) => {
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "{} calls ({} answered, {} cancelled), {} datagrams in {seconds:.1} s: {:.0} calls/s",
                summary.calls,
                summary.answered,
                summary.cancelled,
                summary.datagrams,
                summary.calls as f64 / seconds
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
