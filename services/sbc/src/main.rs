//! `drawbridge`: command line, configuration, wiring, and the end in good order. No protocol here.
#![forbid(unsafe_code)]

mod cli;
mod demo;
mod explain;
mod journal;
mod log;
mod records;
mod run;
mod settings;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use settings::{Notice, Settings};

fn main() -> ExitCode {
    match carry_out(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(run) => {
            let _lines = log::start(cli.log_format, None)?;
            run::run(run.config.as_deref())?;
        }
        Command::Check(check) => {
            let settings = Settings::load(Some(&check.config))?;
            let file = check.config.display();
            let mut out = std::io::stdout();
            for Notice { line, key, why } in &settings.notices {
                writeln!(out, "{file}:{line}: {key}: has no effect: {why}")?;
            }
            writeln!(out, "{file}: as it should be")?;
        }
        Command::Explain(question) => {
            let settings = Settings::load(Some(&question.config))?;
            std::io::stdout().write_all(explain::explain(&settings, &question)?.as_bytes())?;
        }
        Command::Replay(replay) => {
            let said = journal::replayed(&replay.file, replay.verbose)?;
            std::io::stdout().write_all(said.as_bytes())?;
        }
        Command::Ladder(ladder) => {
            let drawn = journal::drawn(&ladder.file, ladder.svg.as_deref())?;
            std::io::stdout().write_all(drawn.as_bytes())?;
        }
        Command::Cdr(cli::Cdr::Verify(verify)) => {
            let settings = Settings::load(Some(&verify.config))?;
            std::io::stdout().write_all(records::verify(&settings)?.as_bytes())?;
        }
        Command::Demo => {
            // The story is what somebody wants to read; only what goes wrong may interrupt it.
            let _lines = log::start(cli.log_format, Some("warn"))?;
            demo::demo()?;
        }
    }
    Ok(())
}
