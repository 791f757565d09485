//! SIGHUP or `POST /v1/reload`: the file is read again. Trunks and routes are swapped under running calls, which keep those
//! they began with; users are swapped, and who is none any more is registered no longer; strangers are dealt with by the new
//! rules; certificates are read anew, and connections that
//! are open stay. What is wrong changes nothing.

use std::path::Path;
use std::sync::Arc;

use api::{Mistake, ReloadError, Reloaded};
use tracing::{error, info, warn};

use super::Running;
use crate::settings::{Settings, SettingsError, changes};

/// Reads the file and puts in force what can be; `settings` are those in force, before and after.
pub(super) async fn reload(
    running: &Running,
    settings: &mut Settings,
    file: Option<&Path>,
) -> Result<Reloaded, ReloadError> {
    let Some(path) = file else {
        info!("there is no configuration file to read again");
        return Err(ReloadError::NoFile);
    };
    let new = Settings::load(file).map_err(unusable)?;
    let changes = changes(settings, &new);
    if changes.routing || changes.registrar {
        let snapshot = match new.snapshot() {
            Ok(snapshot) => Arc::new(snapshot),
            Err(error) => {
                error!(%error, "the configuration in force stays");
                return Err(ReloadError::Unreadable(error.to_string()));
            }
        };
        if let Err(error) = running.put_in_force(snapshot, new.registrar()).await {
            error!(%error, "not every shard has the new trunks, routes and users; read the file again");
            return Err(ReloadError::Unavailable(format!(
                "not every shard has the new configuration: {error}"
            )));
        }
    }
    if changes.guard
        && let Err(error) = running.handle().obey(new.guard.clone()).await
    {
        error!(%error, "not every shard has the new [guard]; read the file again");
        return Err(ReloadError::Unavailable(format!("not every shard has the new configuration: {error}")));
    }
    let mut certificates = Vec::new();
    for (listener, tls) in &new.tls {
        if running.handle().renew(listener, tls.clone()) {
            info!(listener, "certificate read again");
            certificates.push(listener.clone());
        }
    }
    for key in &changes.restart {
        warn!(key, "has changed and needs a restart to come into force");
    }
    for notice in &new.notices {
        warn!(key = notice.key, line = notice.line, "has no effect: {}", notice.why);
    }
    settings.trunks = new.trunks;
    settings.routes = new.routes;
    settings.users = new.users;
    settings.access = new.access;
    settings.guard = new.guard;
    settings.node.drain_timeout = new.node.drain_timeout;
    let (trunks, routes, users) = (settings.trunks.len(), settings.routes.len(), settings.users.len());
    let changed = changes.routing || changes.registrar || changes.guard;
    info!(file = %path.display(), changed, trunks, routes, users, "configuration read again");
    let parts = [("routing", changes.routing), ("registrar", changes.registrar), ("guard", changes.guard)];
    Ok(Reloaded {
        changed: parts.iter().filter(|(_, changed)| *changed).map(|(part, _)| (*part).to_owned()).collect(),
        certificates,
        restart: changes.restart.iter().map(|key| (*key).to_owned()).collect(),
        trunks,
        routes,
        users,
    })
}

/// Says in the log what is wrong with the file, and to who asked.
fn unusable(error: SettingsError) -> ReloadError {
    let outcome = match error {
        SettingsError::Wrong { file, mistakes } => {
            let text = |mistake: &crate::settings::Mistake| format!("{file}:{}: {mistake}", mistake.line);
            mistakes.iter().for_each(|mistake| error!("{}", text(mistake)));
            let told =
                mistakes.iter().map(|mistake| Mistake { key: mistake.key.clone(), text: text(mistake) });
            ReloadError::Wrong(told.collect())
        }
        SettingsError::Unreadable { .. } => {
            error!("{error}");
            ReloadError::Unreadable(error.to_string())
        }
    };
    error!("the configuration in force stays");
    outcome
}
