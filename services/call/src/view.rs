//! What an operator sees of calls: plain values, made on demand.

use std::net::SocketAddr;

use uuid::Uuid;

use crate::io::Utc;

/// One call in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    /// The call's id, as in its records and log lines.
    pub id: Uuid,
    /// Name of the bridge state.
    pub state: &'static str,
    /// INVITE received.
    pub started_at: Utc,
    /// When those who talk were brought together.
    pub answered_at: Option<Utc>,
    /// User part of From.
    pub caller: Box<str>,
    /// User part of the Request-URI.
    pub called: Box<str>,
    /// Source trunk.
    pub trunk_in: Option<Box<str>>,
    /// Target trunk of the current attempt; while the target of a transfer is tried, of that which brought those together who talk.
    pub trunk_out: Option<Box<str>>,
    /// Route.
    pub route: Option<Box<str>>,
    /// Of a call that is recorded, or was.
    pub recording: Option<RecordingView>,
    /// The legs; the first is the caller's.
    pub legs: Vec<LegView>,
}

/// What is recorded of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingView {
    /// The files, as the record names them.
    pub files: Box<str>,
    /// Whether it is recorded now.
    pub is_on: bool,
}

/// One leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegView {
    /// `a` or `b`.
    pub side: &'static str,
    /// Name of the leg's state.
    pub state: &'static str,
    /// Its Call-ID.
    pub sip_call_id: Box<str>,
    /// The peer's signalling address.
    pub remote: SocketAddr,
    /// `udp`, `tcp` …
    pub transport: &'static str,
}

/// How many of everything one Core holds and has done. Sums over shards are the box's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls not yet forgotten.
    pub calls: u64,
    /// Legs.
    pub legs: u64,
    /// Client and server transactions.
    pub transactions: u64,
    /// Deadlines waiting.
    pub timers: u64,
    /// Questions to the outside not yet answered.
    pub queries: u64,
    /// Requests outside calls on their way across.
    pub requests: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Registered contacts.
    pub bindings: u64,
    /// Calls begun since start.
    pub calls_started: u64,
    /// Calls answered since start.
    pub calls_answered: u64,
    /// Calls ended since start.
    pub calls_ended: u64,
    /// Requests received, retransmissions included.
    pub requests_in: u64,
    /// Responses received.
    pub responses_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Messages sent again by a timer.
    pub retransmissions: u64,
    /// Datagrams that are no SIP message.
    pub malformed: u64,
    /// Requests refused before they were calls.
    pub refused: u64,
    /// Sides of answered calls that were not heard.
    pub one_way: u64,
}
