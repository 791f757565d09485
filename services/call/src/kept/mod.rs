//! What outlives the process of a call that is up: enough to go on with it in another process.
//!
//! When both sides talk, and when something changes that the next process must know (a description, a target, a party), the
//! Core writes the call down and gives it out with its open record ([`Output::OpenCdr`](crate::Output::OpenCdr)). A process
//! that finds it after a crash hands it in again ([`Input::Restore`](crate::Input::Restore)). `format` is what is written,
//! `restore` makes a call of it.
//!
//! Not kept, so that no state has to be written for each message: how far CSeq numbers have come (the next one is far
//! beyond, RFC 3261 §12.2.2 allows gaps), when a session is refreshed next (it is refreshed soon), offers and transfers under way
//! (they are over), what media counted since that was last asked for, and keys of media: where the box encrypts it, the call is ended.

mod format;
mod restore;

use crate::settings::shard_of;

pub(crate) use restore::moment;

pub(crate) use format::{
    Kept, KeptAttempt, KeptDescribed, KeptDialog, KeptIdentity, KeptLeg, KeptMedia, KeptRecord, KeptSession,
    Octets,
};

/// Why a call cannot go on in this process. Its record is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRestorable {
    /// Another version of the program wrote it.
    #[error("expected a call as version {} writes it, got version {got}", format::VERSION)]
    Version {
        /// Which.
        got: u8,
    },
    /// These are not the bytes that were written.
    #[error("expected a call, got bytes that are none")]
    Damaged,
    /// The configuration has changed.
    #[error("expected a listener {0:?}, which is not configured any more")]
    Listener(String),
    /// There are more or fewer shards than there were.
    #[error("expected both dialogs in one of {shards} shards, as they were when there were more or fewer")]
    Shards {
        /// How many there are now.
        shards: u16,
    },
}

/// A call that was up when the process before this one died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// The shard that goes on with it.
    pub shard: u16,
    /// As [`Output::OpenCdr`](crate::Output::OpenCdr) had it.
    pub state: Box<[u8]>,
    /// How many attempts of it have records.
    pub attempts: u32,
    /// How far the civil time that its record goes by is behind that of now, in microseconds: somebody has set the clock since it
    /// began. It is [`Input::Restore`](crate::Input::Restore) that must come at the call's own time.
    pub behind: i64,
}

/// The shard that takes over a call which an earlier process wrote down.
///
/// # Errors
/// Says why none can.
pub fn shard_of_kept(state: &[u8], listeners: &[impl AsRef<str>], shards: u16) -> Result<u16, NotRestorable> {
    let kept = Kept::read(state)?;
    let [a, b] = &kept.legs;
    for leg in [a, b] {
        if !listeners.iter().any(|listener| listener.as_ref() == leg.listener) {
            return Err(NotRestorable::Listener(leg.listener.to_owned()));
        }
    }
    let shard = shard_of(a.dialog.call_id.0, shards);
    if shard_of(b.dialog.call_id.0, shards) != shard {
        return Err(NotRestorable::Shards { shards });
    }
    Ok(shard)
}
