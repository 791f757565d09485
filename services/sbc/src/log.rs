//! Log lines on stderr. A call's lines carry its id in the field `call`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Without RUST_LOG: what an operator wants to read. The database library tells every statement at `debug` and every
/// slow one at `warn`; that of DTLS warns of every extension that it does not know, which anybody may send it.
const DEFAULT: &str = "info,rtc_dtls=error";

/// RUST_LOG cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG: {came:?}: expected directives like info or call=debug,info ({why})")]
pub struct LogError {
    came: String,
    why: String,
}

/// Begins to write log lines. To be called once.
///
/// # Errors
///
/// RUST_LOG is set and is no filter.
pub fn start(format: LogFormat, default: Option<&'static str>) -> Result<(), LogError> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = match wanted {
        None => EnvFilter::new(default.unwrap_or(DEFAULT)),
        Some(came) => EnvFilter::try_new(&came).map_err(|error| LogError { came, why: error.to_string() })?,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
