//! What a Core must know of its surroundings; all of it is given at the start.

use std::net::SocketAddr;
use std::time::Duration;

use routing::{MediaSecurity, Trunk};
use sip::{Fingerprint, Timing, Transport};

use crate::bridge::Security;
use crate::family::Families;
use crate::io::Flow;

/// Index of a listener in [`Settings::listeners`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

impl ListenerId {
    /// No socket of ours: what the shards of one process say to each other, see [`Flow::inner`](crate::Flow::inner).
    pub const INNER: ListenerId = ListenerId(u16::MAX);
}

/// One of our sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: String,
    /// What it speaks.
    pub transport: Transport,
    /// Where it is bound, with the real port.
    pub bind: SocketAddr,
    /// `host:port` that Via and Contact say.
    pub advertise: String,
}

/// Settings of one shard's Core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our sockets; the first is the default.
    pub listeners: Vec<Listener>,
    /// This shard, below `shards`.
    pub shard: u16,
    /// How many shards there are.
    pub shards: u16,
    /// T1, T2, T4.
    pub timing: Timing,
    /// Timer C: how long a target may ring (RFC 3261 §16.6 item 11).
    pub timer_c: Duration,
    /// How long a session lives without a refresh (RFC 4028); zero: the box asks for no session timer.
    pub session_expires: Duration,
    /// The smallest session interval that is accepted.
    pub min_se: Duration,
    /// Who may register.
    pub registrar: RegistrarPolicy,
    /// The most calls at once; the next gets 503.
    pub max_calls: usize,
    /// What Server and User-Agent say.
    pub product: String,
    /// How much of calls is kept for a replay.
    pub journal: JournalLimits,
    /// How often the open record of a call that is up is brought up to date; zero: when something changes, and else never.
    pub interim: Duration,
    /// Whether calls that are up are handed out with their open records, for a process after this one.
    pub recover_calls: bool,
    /// The families that media can be relayed in.
    pub media: Families,
    /// Of the certificate that the relay shows in DTLS; `None`: it does none.
    pub fingerprint: Option<Fingerprint>,
    /// Whether the media of phones is encrypted between them and the box; of trunks each says so itself.
    pub phones: MediaSecurity,
    /// Keys the tag, branch and nonce generators. From the system's generator in life, a seed in tests.
    pub seed: [u8; 32],
    /// Keys nonces; the same in all shards of a process.
    pub nonce_secret: [u8; 32],
}

/// How much of the journals of calls is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// How many calls that are over; 0: no journals at all, not of calls in progress either.
    pub calls: usize,
    /// The most bytes of one.
    pub max_bytes: usize,
    /// The most bytes of all of them, calls in progress included.
    pub memory: usize,
}

impl JournalLimits {
    /// No journals.
    pub const OFF: JournalLimits = JournalLimits { calls: 0, max_bytes: 0, memory: 0 };
}

impl Settings {
    /// For a journal, which may leave the box. The seeds would tell the tags of other calls.
    pub(crate) fn without_secrets(&self) -> Settings {
        Settings { registrar: RegistrarPolicy::Closed, seed: [0; 32], nonce_secret: [0; 32], ..self.clone() }
    }
}

impl Settings {
    /// What a leg of this trunk, or of a phone, over this flow does about encryption of its media, if the box encrypts it.
    pub(crate) fn security_of(&self, trunk: Option<&Trunk>, flow: Flow) -> Option<Box<Security>> {
        // What shards say to each other never leaves the box.
        if flow.is_inner() {
            return None;
        }
        let policy = trunk.map_or(self.phones, |trunk| trunk.media_security);
        let listener = self.listeners.get(usize::from(flow.listener.0));
        let is_web =
            listener.is_some_and(|listener| matches!(listener.transport, Transport::Ws | Transport::Wss));
        Security::new(policy, is_web, self.fingerprint)
    }
}

/// Who may register and call without being a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrarPolicy {
    /// Nobody.
    Closed,
    /// Any user name from a loopback address, without a password.
    OpenLoopback,
    /// These users, challenged.
    Users(Vec<User>),
}

/// A user with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// User part of the address of record, and digest user name.
    pub name: String,
    /// Plain text; never logged.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The shard that a Call-ID belongs to. Receivers and Cores must agree on it.
pub fn shard_of(call_id: &[u8], shards: u16) -> u16 {
    // FNV-1a: fixed for ever and the same in every process, which a randomly keyed hash is not. Somebody who chooses
    // Call-IDs to fill one shard meets that shard's bounded queue.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in call_id {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The last octets of an id reach only the low bits; folding brings them where the remainder looks.
    ((hash ^ hash >> 32) % u64::from(shards.max(1))) as u16
}
