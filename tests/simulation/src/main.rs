//! Sweeps over a range of seeds: `SEEDS=0..100000 cargo run --release -p simulation`.
//!
//! Says now and then how far it is; a sweep that was interrupted goes on with the seed that it named last. With
//! `TABLE=1` it prints how often each cell of the tables was reached, with `TABLE=lines` a line for each.

use std::process::ExitCode;
use std::time::Instant;

use call::Cell;
use simulation::coverage::render;
use simulation::sweep::{parse_seeds, run_seeds};

/// Phones and oracle make many small things that live for one datagram.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let text = std::env::var("SEEDS").unwrap_or_else(|_| "0..10000".to_owned());
    let seeds = match parse_seeds(&text) {
        Ok(seeds) => seeds,
        Err(error) => {
            eprintln!("SEEDS: {error}");
            return ExitCode::from(2);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    let end = seeds.end;
    let swept = run_seeds(seeds.clone(), |progress| {
        let rate = progress.calls as f64 / progress.elapsed.as_secs_f64();
        println!("{} calls, {rate:.0} calls/s; go on with SEEDS={}..{end}", progress.calls, progress.done);
    });
    match swept {
        Ok(sweep) => {
            let seconds = start.elapsed().as_secs_f64();
            let summary = sweep.summary;
            let rate = summary.calls as f64 / seconds;
            println!(
                "seeds {}..{end}: {} calls ({} answered, {} cancelled), {} datagrams in {seconds:.1} s: {rate:.0} calls/s, \
                 {:.0} calls/s on each of {threads} cores; no rule broken",
                seeds.start,
                summary.calls,
                summary.answered,
                summary.cancelled,
                summary.datagrams,
                rate / threads as f64
            );
            match std::env::var("TABLE").as_deref() {
                Ok("lines") => {
                    for Cell { table, state, event, times } in sweep.coverage.cells() {
                        println!("{table}\t{state}\t{event}\t{times}");
                    }
                }
                Ok(_) => println!("{}", render(&sweep.coverage)),
                Err(_) => {}
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
