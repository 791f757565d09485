//! Log lines on stderr. A call's lines carry its id in the field `call`.
//!
//! A thread of its own writes them: whoever reads them may stop to, and no call waits for that. Lines that find the way there
//! full are dropped and counted.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Without RUST_LOG: what an operator wants to read. The database library tells every statement at `debug` and every
/// slow one at `warn`; that of DTLS warns of every extension that it does not know, which anybody may send it.
const DEFAULT: &str = "info,rtc_dtls=error";

/// Lines that wait at most, of some 200 octets each.
const MOST_WAITING: usize = 16_384;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that were dropped because nobody read those before them.
pub fn dropped() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// How long lines gather before they are written together.
const GATHER: Duration = Duration::from_millis(10);

/// Writes the lines that have come in the meantime in one go: at hundreds of calls a second waking the thread for each of them would
/// cost more than making them.
struct Together<W: Write>(BufWriter<W>);

impl<W: Write> Write for Together<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write(lines)
    }

    /// Called when there are no more lines for now.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.0.flush();
        std::thread::sleep(GATHER);
        written
    }
}

/// RUST_LOG cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG: {came:?}: expected directives like info or call=debug,info ({why})")]
pub struct LogError {
    came: String,
    why: String,
}

/// Begins to write log lines. To be called once. What waits is written when the guard is dropped, if somebody reads it.
///
/// # Errors
///
/// RUST_LOG is set and is no filter.
pub fn start(format: LogFormat, default: Option<&'static str>) -> Result<WorkerGuard, LogError> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = match wanted {
        None => EnvFilter::new(default.unwrap_or(DEFAULT)),
        Some(came) => EnvFilter::try_new(&came).map_err(|error| LogError { came, why: error.to_string() })?,
    };
    let lossy =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MOST_WAITING).thread_name("log");
    let (stderr, guard) = lossy.finish(Together(BufWriter::with_capacity(64 * 1024, std::io::stderr())));
    DROPPED.get_or_init(|| stderr.error_counter());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(guard)
}
