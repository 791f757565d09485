//! What a reload changes: some settings are swapped under running calls, the others wait for a restart.

use super::{Listener, Settings};

/// The difference between the settings in force and those just read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Trunks or routes differ.
    pub routing: bool,
    /// Users or `[access]` differ.
    pub registrar: bool,
    /// `[guard]` or a `[[scanner]]` differs.
    pub guard: bool,
    /// Keys or sections that differ and are read only at start.
    pub restart: Vec<&'static str>,
}

/// Compares the settings in force with those just read.
pub fn changes(old: &Settings, new: &Settings) -> Changes {
    // Exhaustive on purpose: a new section must be put on one side or the other.
    let Settings {
        node,
        sip,
        dns,
        listeners,
        // Read anew and put in force with every reload.
        tls: _,
        connections,
        media,
        api,
        cdr,
        recording,
        journal,
        access,
        guard,
        users,
        trunks,
        routes,
        notices: _,
    } = old;
    // Trunks and routes hold patterns, which have no equality; their text has.
    let routing = format!("{trunks:?}{routes:?}") != format!("{:?}{:?}", new.trunks, new.routes)
        || trunks.iter().map(|trunk| &trunk.auth).ne(new.trunks.iter().map(|trunk| &trunk.auth));
    let registrar = *users != new.users || *access != new.access;
    let guard = format!("{guard:?}") != format!("{:?}", new.guard);
    let checks = [
        ("node.name", node.name == new.node.name),
        ("node.data_dir", node.data_dir == new.node.data_dir),
        ("node.workers", node.workers == new.node.workers),
        ("node.max_calls", node.max_calls == new.node.max_calls),
        ("node.recover_calls", node.recover_calls == new.node.recover_calls),
        ("sip", *sip == new.sip),
        ("dns", *dns == new.dns),
        ("listener", listeners.iter().map(socket).eq(new.listeners.iter().map(socket))),
        ("connections", *connections == new.connections),
        ("media", *media == new.media),
        ("api", *api == new.api),
        ("cdr", *cdr == new.cdr),
        ("recording", *recording == new.recording),
        ("journal", *journal == new.journal),
    ];
    let restart = checks.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect();
    Changes { routing, registrar, guard, restart }
}

/// What a listener is but for its files: whether it is encrypted is a matter of its transport.
fn socket(listener: &Listener) -> Listener {
    Listener { certificate: None, ..listener.clone() }
}
