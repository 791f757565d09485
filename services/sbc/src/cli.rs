//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A session border controller: two legs, one bridge, media, records, control.
///
/// Without a command it runs; without a configuration file it serves phones on loopback addresses.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Of `run`, which is what happens without a command.
    #[command(flatten)]
    pub run: Run,
    /// How log lines look; RUST_LOG says which there are (info by default).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM (drains; a second one ends all calls). SIGHUP reads the file again.
    Run(Run),
    /// Say everything that is wrong with a configuration file.
    Check(Check),
    /// Say which trunk, route and targets a call would get, and why.
    Explain(Explain),
    /// Hand the journal of a call to a fresh Core and compare every output with the one recorded.
    Replay(Replay),
    /// Draw the journal of a call as a ladder.
    Ladder(Ladder),
    /// Work with call records.
    #[command(subcommand)]
    Cdr(Cdr),
    /// Start the box and two built-in phones on loopback, and let them call each other.
    Demo,
}

/// The commands of `cdr`.
#[derive(Debug, Subcommand)]
pub enum Cdr {
    /// Compare the journal with PostgreSQL and say what differs; fails when anything does. The box may run meanwhile.
    Verify(Verify),
}

/// Arguments of `cdr verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The configuration (TOML): node.name, node.data_dir and cdr.postgres are read.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The configuration (TOML). Without it: SIP on 127.0.0.1:5060, HTTP on 127.0.0.1:8080.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where the call would come from.
    #[arg(long, value_name = "IP:PORT")]
    pub source: SocketAddr,
    /// Its From.
    #[arg(long, value_name = "URI")]
    pub from: String,
    /// Its Request-URI.
    #[arg(long, value_name = "URI")]
    pub to: String,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The journal, as `GET /v1/calls/{id}/journal` gave it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Draw the call first.
    #[arg(long)]
    pub verbose: bool,
}

/// Arguments of `ladder`.
#[derive(Debug, Args)]
pub struct Ladder {
    /// The journal, as `GET /v1/calls/{id}/journal` gave it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Also draw it into this file.
    #[arg(long, value_name = "OUT")]
    pub svg: Option<PathBuf>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}
