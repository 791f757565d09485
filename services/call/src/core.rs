//! The Core of one shard.

use std::sync::Arc;

use routing::Snapshot;
use sip::Time;

use crate::io::{Input, Now, Output};
use crate::settings::Settings;

/// All calls of one shard, as plain data: hand it what happened, carry out what it says.
///
/// After every [`handle`](Core::handle) and [`handle_timeout`](Core::handle_timeout) empty
/// [`poll_output`](Core::poll_output), then ask [`poll_timeout`](Core::poll_timeout) again.
pub struct Core {}

impl Core {
    /// A Core without calls.
    pub fn new(_settings: Settings, _snapshot: Arc<Snapshot>) -> Core {
        Core {}
    }

    /// Something happened.
    pub fn handle(&mut self, _input: Input<'_>, _now: Now) {}

    /// The time of [`poll_timeout`](Core::poll_timeout) has come. Calling it early does no harm.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// When [`handle_timeout`](Core::handle_timeout) must be called next, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// The next thing to do, in order; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
}
