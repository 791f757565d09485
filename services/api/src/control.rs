//! What the endpoints ask of the box, as traits and plain values that whoever wires the box fills in.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use call::{CallView, CdrFact, Disposition, PeerChange, Recording, Stats, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::rfc3339;

/// An answer that may take a moment.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The running box.
pub trait Control: Send + Sync + 'static {
    /// Calls in progress over all shards, at most `limit`.
    fn calls(&self, limit: usize) -> Answer<'_, Result<Vec<CallView>, Unavailable>>;

    /// One call in progress.
    fn call(&self, id: Uuid) -> Answer<'_, Result<Option<CallView>, Unavailable>>;

    /// The journal of a call in progress, or of one that ended not long ago, as a file has it; `None` when none is kept.
    fn journal(&self, id: Uuid) -> Answer<'_, Result<Option<String>, Unavailable>>;

    /// The same drawn as a ladder.
    fn ladder(&self, id: Uuid) -> Answer<'_, Result<Option<String>, Unavailable>>;

    /// Ends a call from both sides; whether there was such a call.
    fn hang_up(&self, id: Uuid) -> Answer<'_, Result<bool, Unavailable>>;

    /// Records a call from now on, or no more.
    fn record(&self, id: Uuid, on: bool) -> Answer<'_, Result<Recorded, Unavailable>>;

    /// How many of everything there are.
    fn figures(&self) -> Answer<'_, Result<Figures, Unavailable>>;

    /// How each part of the box is.
    fn health(&self) -> Answer<'_, Health>;

    /// Reads the configuration again, as SIGHUP has it done. A configuration that is wrong changes nothing.
    fn reload(&self) -> Answer<'_, Result<Reloaded, ReloadError>>;

    /// Who is banned, the newest first.
    fn bans(&self) -> Vec<Ban>;

    /// Ends the ban of a source, and forgets what there is against it; whether it was banned.
    fn lift(&self, ip: IpAddr) -> bool;

    /// The trunks as configured now. No secrets.
    fn trunks(&self) -> Vec<Trunk>;
}

/// What happened.
pub trait Records: Send + Sync + 'static {
    /// A page of call records, newest first.
    fn cdrs(&self, filter: CdrFilter) -> Answer<'_, Result<CdrPage, RecordsError>>;

    /// Every record of a call, in the order of its attempts; none of one that is not over or not known.
    fn of_call(&self, call: Uuid) -> Answer<'_, Result<Vec<CdrRecord>, RecordsError>>;

    /// What carriers measure, by trunk and interval.
    fn stats(&self, question: StatsQuestion) -> Answer<'_, Result<Vec<TrunkStats>, RecordsError>>;
}

/// What comes of an order to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// As the call's shard says.
    Call(Recording),
    /// There is no place for recordings.
    NotConfigured,
    /// There is no room for more.
    Full,
}

/// A part of the box gave no answer; the text names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What reading the configuration again has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// What is in force from now on: `routing` (trunks and routes), `registrar` (users and access) and `guard` (with what counts
    /// as a scanner); calls in progress keep what they began with.
    pub changed: Vec<String>,
    /// Listeners whose certificates were read again.
    pub certificates: Vec<String>,
    /// Keys that have changed and need a restart to come into force.
    pub restart: Vec<String>,
    /// How many trunks there are now.
    pub trunks: usize,
    /// How many routes there are now.
    pub routes: usize,
    /// How many users there are now.
    pub users: usize,
}

/// Why the configuration stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The box was started without a file.
    #[error("the box was started without a configuration file")]
    NoFile,
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The file is wrong.
    #[error("the configuration in force stays: {} mistakes", .0.len())]
    Wrong(Vec<Mistake>),
    /// Nobody carries it out now, or not every shard has it.
    #[error("{0}")]
    Unavailable(String),
}

/// A mistake of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key with its section; empty where the file is not TOML.
    pub key: String,
    /// `file:line: key: what came: what was expected`; no secrets.
    pub text: String,
}

/// Why records could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// The cursor is not one that a page gave.
    #[error("{0}")]
    Cursor(String),
    /// The search took too long.
    #[error("{0}")]
    TooSlow(String),
    /// The answer would be longer than anybody is given.
    #[error("{0}")]
    TooMany(String),
    /// They cannot be read at all.
    #[error("{0}")]
    Unavailable(String),
}

/// Which records are wanted; everything absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrFilter {
    /// Started at or after.
    pub from: Option<Utc>,
    /// Started before.
    pub to: Option<Utc>,
    /// Source or target trunk.
    pub trunk: Option<String>,
    /// Caller's or called number, whole.
    pub number: Option<String>,
    /// How the attempt went.
    pub disposition: Option<Disposition>,
    /// The final status that the caller got or that the target gave.
    pub code: Option<u16>,
    /// In the order in which they came, the first one first; else by when calls began, the newest first. A cursor says it too.
    pub by_arrival: bool,
    /// [`CdrPage::next_cursor`] of the page before, or a [`CdrPage::follow_cursor`].
    pub cursor: Option<String>,
    /// The most records wanted, from 1 to [`MAX_PAGE`](crate::MAX_PAGE).
    pub limit: usize,
}

/// What figures are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsQuestion {
    /// Begun at or after.
    pub from: Utc,
    /// Begun before.
    pub to: Utc,
    /// The length of one row's time.
    pub interval: Duration,
    /// Of the trunks that calls came from, not of those that they were sent to.
    pub by_source: bool,
    /// One trunk alone.
    pub trunk: Option<String>,
}

/// One trunk in one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct TrunkStats {
    /// The trunk; absent for phones.
    pub trunk: Option<String>,
    /// When the interval began.
    pub from: Utc,
    /// Attempts, or calls.
    pub seizures: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Answer-seizure ratio in per cent.
    pub asr: f64,
    /// Network effectiveness ratio in per cent.
    pub ner: f64,
    /// Average duration of what was answered, in seconds.
    pub acd_s: Option<f64>,
    /// Mean post-dial delay in milliseconds.
    pub pdd_ms: Option<f64>,
}

/// Some records, in the order that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CdrPage {
    /// The records.
    pub records: Vec<CdrRecord>,
    /// Where the next page begins; absent when this is the last, unless they are read by arrival: then there is always one.
    pub next_cursor: Option<String>,
    /// Of those that are read from the newest back: where what came meanwhile begins, by arrival.
    pub follow_cursor: Option<String>,
    /// There is more behind `next_cursor` now.
    pub more: bool,
}

/// A record as the journal has it.
#[derive(Clone, Debug, PartialEq)]
pub struct CdrRecord {
    /// Name of the box that wrote it.
    pub node: String,
    /// What happened.
    pub fact: CdrFact,
    /// Estimated mean opinion score of what came from A.
    pub a_mos: Option<f32>,
    /// Estimated mean opinion score of what came from B.
    pub b_mos: Option<f32>,
}

/// A source that is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The host; of IPv6 the network of 64 bits.
    pub source: String,
    /// The host, or the first address of the network.
    pub ip: IpAddr,
    /// For what.
    pub reason: &'static str,
    /// Since when.
    pub since: Utc,
    /// Until when.
    pub until: Utc,
    /// The how manieth ban of this source.
    pub times: u32,
    /// Messages dropped because of it.
    pub dropped: u64,
}

/// A trunk as configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Trunk {
    /// Its name.
    pub name: String,
    /// Addresses and networks whose requests are this trunk's.
    pub sources: Vec<String>,
    /// SIP URIs where its calls go, in order.
    pub peers: Vec<String>,
    /// `strict` or `lenient`.
    pub cancel_matching: String,
    /// `local` or `pass`.
    pub refer: String,
    /// `follow` or `pass`.
    pub redirect: String,
    /// Name of the listener that its calls leave by; absent: the first that speaks to the peer.
    pub listener: Option<String>,
    /// Bodies that the box does not understand: `strict` or `pass`.
    pub bodies: String,
    /// In which family its peers are told where their media goes: `auto`, `ipv4` or `ipv6`.
    pub media_family: String,
    /// Methods that cross besides those of calls; absent: those that make sense.
    pub methods: Option<Vec<String>>,
    /// Extensions that its callers must support.
    pub require: Vec<String>,
    /// Who answers its challenges: `answer` (the box) or `pass` (the caller).
    pub challenges: String,
    /// Whether we have credentials for it.
    pub authenticates: bool,
    /// The most calls at once; 0: no limit.
    pub max_calls: u32,
    /// The most new calls a second; 0: no limit.
    pub max_cps: u32,
    /// Interval of OPTIONS pings in milliseconds; absent: none are sent.
    pub options_ping_ms: Option<u64>,
    /// Its peers that are asked for life, and those that calls have put aside.
    pub peer_states: Vec<TrunkPeer>,
}

/// A peer of a trunk that is asked for life with OPTIONS.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TrunkPeer {
    /// As `peers` has it.
    pub uri: String,
    /// `unknown`, `up`, `down`, or `aside`: it answered 503 and when to come again, or left a call without an answer.
    pub state: String,
    /// When that began.
    #[schema(format = "date-time")]
    pub since: String,
    /// When it last answered.
    #[schema(format = "date-time")]
    pub answered_at: Option<String>,
    /// How long its last answer took.
    pub round_trip_ms: Option<f64>,
    /// The status of the answer to the last question; absent: none came.
    pub status: Option<u16>,
}

impl TrunkPeer {
    /// A peer as JSON shows it; `None` for one that is asked no more.
    pub fn of(peer: &PeerChange) -> Option<TrunkPeer> {
        let life = peer.life.as_ref()?;
        Some(TrunkPeer {
            uri: peer.peer.to_string(),
            state: life.state.name().to_owned(),
            since: rfc3339::format(life.since),
            answered_at: life.answered_at.map(rfc3339::format),
            round_trip_ms: life.round_trip.map(|took| took.as_micros() as f64 / 1000.0),
            status: Some(life.status).filter(|status| *status != 0),
        })
    }
}

/// How the box is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its parts.
    pub parts: Vec<Part>,
}

/// A part of the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Part {
    /// Its name, such as `journal`.
    #[schema(value_type = String)]
    pub name: &'static str,
    /// How it is.
    pub status: Condition,
    /// What is wrong, or worth knowing.
    pub detail: Option<String>,
}

/// How a part, or the whole box, is. The whole is as its worst part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// As it should be.
    Ok,
    /// Calls go on, something needs attention.
    Degraded,
    /// The box should get no new calls.
    Failed,
}

/// How many of everything there are, for `/metrics`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Name of the box.
    pub node: String,
    /// Version of the program.
    pub version: &'static str,
    /// Time since the process started.
    pub uptime: Duration,
    /// Whether new calls are refused because the process is to end.
    pub draining: bool,
    /// Sums over all shards.
    pub stats: Stats,
    /// Media ports in use.
    pub ports_in_use: u64,
    /// Open stream connections.
    pub connections: u64,
    /// The journal of call records.
    pub journal: JournalFigures,
    /// PostgreSQL, when configured.
    pub postgres: Option<SinkFigures>,
    /// The file of JSON lines, when configured.
    pub lines: Option<SinkFigures>,
    /// The webhook, when configured.
    pub webhook: Option<SinkFigures>,
    /// What other parts count; each name appears in one run.
    pub more: Vec<Sample>,
}

/// The journal of call records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalFigures {
    /// Whether the last commit succeeded.
    pub up: bool,
    /// Records handed over and not yet committed.
    pub pending: u64,
    /// Records committed since start.
    pub committed: u64,
    /// Records that could not be kept, since start.
    pub lost: u64,
}

/// What gets every record that the journal has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkFigures {
    /// Whether it takes records.
    pub up: bool,
    /// Records it does not have yet.
    pub behind: u64,
    /// Records forwarded since start.
    pub forwarded: u64,
    /// Records it refuses.
    pub refused: u64,
}

/// One more figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its whole name, `drawbridge_…`; of a counter it ends in `_total`.
    pub name: &'static str,
    /// What it counts, one line.
    pub help: &'static str,
    /// Whether it can go down.
    pub kind: Kind,
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: f64,
}

/// Whether a figure can go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It can.
    Gauge,
    /// It only grows.
    Counter,
}

/// A signalling address as JSON shows it.
pub(crate) fn address(address: SocketAddr) -> String {
    address.to_string()
}
