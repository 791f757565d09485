//! SIGHUP: the file is read again. Trunks and routes are swapped under running calls, which keep those they began with;
//! users are swapped, and who is none any more is registered no longer; certificates are read anew, and connections that
//! are open stay. What is wrong changes nothing.

use std::path::Path;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::Running;
use crate::settings::{Settings, SettingsError, changes};

/// Reads the file and puts in force what can be; `settings` are those in force, before and after.
pub(super) async fn reload(running: &Running, settings: &mut Settings, file: Option<&Path>) {
    let Some(path) = file else {
        info!("there is no configuration file to read again");
        return;
    };
    let new = match Settings::load(file) {
        Ok(new) => new,
        Err(SettingsError::Wrong { file, mistakes }) => {
            for mistake in &mistakes {
                error!("{file}:{}: {mistake}", mistake.line);
            }
            error!(mistakes = mistakes.len(), "the configuration in force stays");
            return;
        }
        Err(error @ SettingsError::Unreadable { .. }) => {
            error!("{error}");
            error!("the configuration in force stays");
            return;
        }
    };
    let changes = changes(settings, &new);
    if changes.routing || changes.registrar {
        let snapshot = match new.snapshot() {
            Ok(snapshot) => Arc::new(snapshot),
            Err(error) => {
                error!(%error, "the configuration in force stays");
                return;
            }
        };
        if let Err(error) = running.put_in_force(snapshot, new.registrar()).await {
            error!(%error, "not every shard has the new trunks, routes and users; read the file again");
            return;
        }
    }
    for (listener, tls) in &new.tls {
        if running.handle().renew(listener, tls.clone()) {
            info!(listener, "certificate read again");
        }
    }
    for key in &changes.restart {
        warn!(key, "has changed and needs a restart to come into force");
    }
    for notice in &new.notices {
        warn!(key = notice.key, line = notice.line, "has no effect in this version: {}", notice.instead);
    }
    settings.trunks = new.trunks;
    settings.routes = new.routes;
    settings.users = new.users;
    settings.access = new.access;
    settings.node.drain_timeout = new.node.drain_timeout;
    let (trunks, routes, users) = (settings.trunks.len(), settings.routes.len(), settings.users.len());
    let changed = changes.routing || changes.registrar;
    info!(file = %path.display(), changed, trunks, routes, users, "configuration read again");
}
