//! The life of the box: started as a whole or not at all, reloaded by SIGHUP, ended by SIGTERM or Ctrl-C.
//!
//! `start` builds it, `control` lets the API look into it, `reload` swaps its trunks and routes. Here is what happens
//! between start and end: signals arrive, and once a second somebody looks whether everything still lives.

mod control;
mod reload;
mod samples;
mod start;

use std::path::Path;
use std::time::Duration;

use call::RegistrarPolicy;
use net::{HandleError, NetError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::settings::{Settings, SettingsError};
pub use start::{Running, StartError};

/// How often the box is looked at: whether its shards live, and while it drains, whether it is empty.
const LOOK: Duration = Duration::from_millis(100);
/// How often the same trouble is worth a line.
const AGAIN: Duration = Duration::from_secs(30);
/// How long calls may take to end once they are told to. A peer that does not answer its BYE gets no more.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why the box did not run, or did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Something that the system refused.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The runtime or the signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// A shard died; its calls are lost. Whoever supervises the process starts it anew.
    #[error("shard {0} has failed: the process ends, to be started anew")]
    Shard(usize),
    /// The shards did not end as told.
    #[error("ending: {0}")]
    End(#[from] NetError),
}

/// Runs until told to end.
///
/// # Errors
///
/// Nothing is left running, whatever it was.
pub fn run(file: Option<&Path>) -> Result<(), RunError> {
    let settings = Settings::load(file)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let signals = Signals::new()?;
        let running = Running::start(&settings).await?;
        announce(&settings, &running);
        let outcome = live(&running, settings, file, signals).await;
        if outcome.is_err() {
            running.leave_media();
        }
        running.stop().await?;
        info!("ended");
        outcome
    });
    // Whoever still waits for a disk that hangs is not waited for.
    runtime.shutdown_background();
    outcome
}

/// The runtime beside the shards, for the journal and the API; calls have threads of their own.
///
/// # Errors
///
/// The system has no thread for it.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("side").enable_all().build()
}

/// Where the box is on its way to the end.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Serving,
    /// No new calls; those in progress have until then.
    Draining(Instant),
    /// Every call was told to end; what is left then is left behind.
    Ending(Instant),
}

struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

async fn live(
    running: &Running,
    mut settings: Settings,
    file: Option<&Path>,
    mut signals: Signals,
) -> Result<(), RunError> {
    let mut phase = Phase::Serving;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut uncounted = None;
    loop {
        tokio::select! {
            // What came of it is in the log.
            _ = signals.hang_up.recv() => drop(reload::reload(running, &mut settings, file).await),
            awaited = running.asked_to_reload() => {
                // Who asked may have gone.
                let _ = awaited.send(reload::reload(running, &mut settings, file).await);
            }
            _ = signals.terminate.recv() => phase = told_to_end(phase, running, &settings).await,
            _ = signals.interrupt.recv() => phase = told_to_end(phase, running, &settings).await,
            _ = look.tick() => {
                if let Some(shard) = running.failed_shard() {
                    return Err(RunError::Shard(shard));
                }
            }
        }
        match phase {
            Phase::Serving => {}
            Phase::Draining(_) | Phase::Ending(_) if is_empty(running, &mut uncounted).await => return Ok(()),
            Phase::Draining(until) if Instant::now() >= until => {
                warn!("calls have not ended within node.drain_timeout");
                phase = end_all(running).await;
            }
            Phase::Ending(until) if Instant::now() >= until => {
                warn!("calls are left behind whose peers do not answer");
                running.handle().abandon().await.unwrap_or_else(|error| unheard("write the records", error));
                return Ok(());
            }
            Phase::Draining(_) | Phase::Ending(_) => {}
        }
    }
}

/// SIGTERM or Ctrl-C, for the first time and again.
async fn told_to_end(phase: Phase, running: &Running, settings: &Settings) -> Phase {
    match phase {
        Phase::Serving => {
            let patience = settings.node.drain_timeout;
            running.drain().await.unwrap_or_else(|error| unheard("drain", error));
            info!(?patience, "draining: no new calls; told again, the calls in progress are ended as well");
            Phase::Draining(Instant::now() + patience)
        }
        Phase::Draining(_) => end_all(running).await,
        Phase::Ending(_) => Phase::Ending(Instant::now()),
    }
}

async fn end_all(running: &Running) -> Phase {
    info!("ending all calls");
    running.handle().end_all().await.unwrap_or_else(|error| unheard("end all calls", error));
    Phase::Ending(Instant::now() + FAREWELL)
}

/// Whether no call is left. Trouble with counting them is said now and then; `uncounted` is when it was.
async fn is_empty(running: &Running, uncounted: &mut Option<Instant>) -> bool {
    match running.calls_in_progress().await {
        Ok(calls) => calls == 0,
        Err(error) => {
            if uncounted.is_none_or(|said| said.elapsed() >= AGAIN) {
                unheard("count the calls", error);
                *uncounted = Some(Instant::now());
            }
            false
        }
    }
}

fn unheard(order: &str, error: HandleError) {
    error!(%error, "cannot {order}");
}

/// Says what somebody needs to know who has just started the box.
fn announce(settings: &Settings, running: &Running) {
    for notice in &settings.notices {
        warn!(key = notice.key, line = notice.line, "has no effect: {}", notice.why);
    }
    for listener in running.listeners() {
        let (name, transport) = (&listener.name, listener.transport.as_param());
        info!(name, transport, address = %listener.bind, advertise = listener.advertise, "listening");
    }
    match settings.registrar() {
        RegistrarPolicy::OpenLoopback => {
            info!("phones on loopback addresses, and only they, may register any name without a password");
        }
        RegistrarPolicy::Users(users) => info!(users = users.len(), "users register with their passwords"),
        RegistrarPolicy::Closed => {
            info!("nobody registers: there is no [[user]], and access.open_loopback is off")
        }
    }
    let api = running.api_address();
    match settings.api.tokens.len() {
        0 => info!("API on http://{api}, for this machine only: there are no tokens"),
        tokens => info!(tokens, "API on http://{api}"),
    }
    info!(data_dir = %settings.node.data_dir.display(), postgres = settings.cdr.postgres.is_some(), "records");
    info!(version = env!("CARGO_PKG_VERSION"), node = settings.node.name, shards = running.shards(), "ready");
}
