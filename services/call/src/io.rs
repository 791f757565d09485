//! What goes into a Core and what comes out: the whole border between the protocol and the world.
//!
//! A [`Core`](crate::Core) never opens a socket, reads a clock or waits. The shell hands it [`Input`]s together with
//! the time ([`Now`]), then empties [`Output`]s and carries them out. An output that asks a question (`Route`,
//! `Resolve`, `Media`) is answered later, or at once, with the input of the same id. The order of a call's messages is
//! the order in which the shell hands them in.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use routing::{Decision, Snapshot, TrunkId};
use sip::{Time, Transport};
use uuid::Uuid;

use crate::cdr::CdrFact;
use crate::journal::Journal;
use crate::media::{Deaf, MediaOrder, MediaReport, Side};
use crate::registrar::BindingChange;
use crate::settings::{ListenerId, RegistrarPolicy};
use crate::view::{CallView, Stats};

/// The moment an input happens, as the shell's clocks say: a monotonic time for timers and durations, and the civil
/// time that records show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic.
    pub time: Time,
    /// UTC, microseconds since 1970-01-01.
    pub utc: Utc,
}

/// UTC, microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc(pub i64);

/// Where a message came from or goes to: a listener of ours, the peer's address, and for streams the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Which of our listeners.
    pub listener: ListenerId,
    /// The peer.
    pub remote: SocketAddr,
    /// The stream connection, never reused by the shell; 0 for datagrams, and in an [`Output::Send`] for a stream
    /// "whichever connection to `remote` is open, else a new one". The two highest bits say which TLS it speaks
    /// ([`Flow::secured`]): a version goes with every message that way and is nobody's to remember.
    pub connection: u64,
}

/// Where a connection's number says which TLS it speaks.
const TLS_BITS: u32 = 62;

/// A version of TLS that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// As the column has it.
    pub fn as_str(self) -> &'static str {
        match self {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        }
    }

    /// The other way round.
    pub fn parse(text: &str) -> Option<TlsVersion> {
        [TlsVersion::V1_2, TlsVersion::V1_3].into_iter().find(|version| version.as_str() == text)
    }
}

impl Flow {
    /// The same flow, over a connection that speaks this.
    #[must_use]
    pub fn secured(self, version: TlsVersion) -> Flow {
        let bits = match version {
            TlsVersion::V1_2 => 1,
            TlsVersion::V1_3 => 2,
        };
        Flow { connection: self.number() | bits << TLS_BITS, ..self }
    }

    /// The number of its connection without what it says of TLS.
    pub fn number(&self) -> u64 {
        self.connection & !(3 << TLS_BITS)
    }

    /// Which TLS its connection speaks; `None` where it is none, and before it is open.
    pub fn tls(&self) -> Option<TlsVersion> {
        match self.connection >> TLS_BITS {
            1 => Some(TlsVersion::V1_2),
            2 => Some(TlsVersion::V1_3),
            // 3 has only what leads to another shard.
            0 | 3.. => None,
        }
    }

    /// The way to another shard of this process, or from it: a message sent on it is put into that shard's queue, and
    /// comes out there on the inner flow of the sender. Such a flow is reliable and belongs to no socket, so that
    /// nothing that a network brings can come over one. Its address is of "this network" (RFC 6890), which no peer has.
    pub fn inner(shard: u16) -> Flow {
        let [high, low] = shard.to_be_bytes();
        let remote = SocketAddr::from((Ipv4Addr::new(0, 0, high, low), 0));
        Flow { listener: ListenerId::INNER, remote, connection: u64::MAX }
    }

    /// Whether it leads to another shard and not out of the box.
    pub fn is_inner(&self) -> bool {
        self.listener == ListenerId::INNER
    }

    /// The shard at the other end of an inner flow.
    pub fn inner_shard(&self) -> Option<u16> {
        match self.remote.ip() {
            IpAddr::V4(ip) if self.is_inner() => {
                let [_, _, high, low] = ip.octets();
                Some(u16::from_be_bytes([high, low]))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

/// A server that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Where it is.
    pub address: SocketAddr,
    /// What it is spoken to in.
    pub transport: Transport,
}

/// Ties the answer of the outside to its question. Never reused within a Core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(pub u64);

/// Ties a failed send to what was sent; [`SendToken::NONE`] where nobody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SendToken(pub u64);

impl SendToken {
    /// Nothing waits for the outcome.
    pub const NONE: SendToken = SendToken(0);
}

/// Something happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram, or one framed message of a stream.
    Message {
        /// Where it came from.
        flow: Flow,
        /// The bytes as received.
        bytes: &'a [u8],
    },
    /// A stream connection is gone. Answers still owed to it go by RFC 3261 §18.2.2.
    Closed {
        /// The connection.
        flow: Flow,
    },
    /// What was sent with this token left the box by a connection that is gone. Whether it has arrived is not known; where
    /// anything came back of it, the news is nothing to it.
    Lost {
        /// The connection.
        flow: Flow,
        /// The token of the [`Output::Send`].
        token: SendToken,
    },
    /// Somebody says that a datagram of the box's does not arrive where it was sent (ICMP). It may be anybody: it counts where
    /// this is how a request begins that is under way, and nowhere else.
    Unreachable {
        /// The listener that it left by, and where it was sent.
        flow: Flow,
        /// What is quoted of it.
        quote: &'a [u8],
    },
    /// What was sent with this token could not be delivered (connection refused or reset, unreachable).
    Undeliverable {
        /// The token of the [`Output::Send`].
        token: SendToken,
    },
    /// The answer to an [`Output::Route`].
    Routed {
        /// The question's id.
        query: QueryId,
        /// What routing decided.
        decision: Decision,
    },
    /// The answer to an [`Output::Resolve`].
    Resolved {
        /// The question's id.
        query: QueryId,
        /// In the order in which they are to be tried; none: not found, or not in time.
        hops: Vec<NextHop>,
        /// What an operator should know of it: why there is none, or what of the answer could not be used.
        note: Option<Box<str>>,
    },
    /// News of the relay.
    Media(MediaReport),
    /// A call that the process before this one was handed out with [`Output::OpenCdr`], and that goes on here. Before any
    /// message, so that no other call takes its ports; and at the time that the call's own clock shows
    /// ([`Interrupted::behind`](crate::Interrupted::behind)), from which its record goes on.
    Restore {
        /// As it was handed out.
        state: &'a [u8],
        /// How many attempts of it have records, those of other targets included.
        attempts: u32,
    },
    /// A registration that another shard accepted, or that the store kept over a restart.
    Binding(BindingChange),
    /// Another shard found out that this place takes no stream connections.
    NoStreams(SocketAddr),
    /// A new configuration; calls in progress keep the one they began with.
    Snapshot(Arc<Snapshot>),
    /// Who may register from now on. Registrations that the new policy would not have let in are dropped; calls go on.
    Registrar(RegistrarPolicy),
    /// An order of the operator, answered by [`Output::Reply`] with the same id.
    Command {
        /// Chosen by the shell.
        id: u64,
        /// The order.
        command: Command,
    },
}

/// An order of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A row for each call, at most `limit`.
    List {
        /// The most rows wanted.
        limit: usize,
    },
    /// One call in full.
    Show(Uuid),
    /// Ends a call from both sides.
    HangUp(Uuid),
    /// Records a call from now on, or no more.
    Record {
        /// The call.
        id: Uuid,
        /// Which of the two.
        on: bool,
    },
    /// The journal of a call in progress, or of one that ended not long ago.
    Journal(Uuid),
    /// How many of everything there are.
    Stats,
    /// Take no new calls (503); those in progress go on.
    Drain,
    /// End every call: CANCEL, BYE or a final response on each leg, and their records.
    EndAll,
    /// The process ends now: write the record of every call that still waits for a peer, and wait no longer.
    Abandon,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// To [`Command::List`].
    Calls(Vec<CallView>),
    /// To [`Command::Show`].
    Call(Option<Box<CallView>>),
    /// To [`Command::Journal`].
    Journal(Option<Box<Journal>>),
    /// To [`Command::HangUp`]: whether there was such a call.
    HungUp(bool),
    /// To [`Command::Record`].
    Recording(Recording),
    /// To [`Command::Stats`].
    Stats(Box<Stats>),
    /// To [`Command::Drain`], [`Command::EndAll`] and [`Command::Abandon`].
    Done,
}

/// What comes of [`Command::Record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recording {
    /// As it was wanted; all files of the call, as its record names them.
    Files(Box<str>),
    /// There is no such call.
    NoCall,
    /// It is not answered yet, or over.
    NotAnswered,
    /// Its audio is in a codec that is not recorded: this one.
    Codec(Box<str>),
    /// Both sides encrypt its audio with keys that the box does not have.
    Encrypted,
    /// It was recorded as often as a call may be.
    TooMany,
    /// It is not recorded, so that there is nothing to end.
    NotRecorded,
}

impl Recording {
    /// For people.
    pub fn text(&self) -> String {
        match self {
            Recording::Files(files) => format!("recorded in {files}"),
            Recording::NoCall => "no call in progress has this id".to_owned(),
            Recording::NotAnswered => "the call is not answered yet, or over".to_owned(),
            Recording::Codec(codec) => format!("expected PCMU or PCMA, the call talks in {codec}"),
            Recording::Encrypted => {
                "expected audio that the box can read, the two encrypt theirs past it".to_owned()
            }
            Recording::TooMany => "the call was recorded as often as one may be".to_owned(),
            Recording::NotRecorded => "the call is not recorded now".to_owned(),
        }
    }
}

/// Something the outside is to do.
#[derive(Debug)]
pub enum Output {
    /// Send this message.
    Send {
        /// Where to.
        flow: Flow,
        /// The whole message.
        bytes: Bytes,
        /// Come back with [`Input::Undeliverable`] when it cannot be done.
        token: SendToken,
    },
    /// Where does this call go? Answered by [`Input::Routed`].
    Route(Box<RouteQuery>),
    /// Which servers does this name stand for (RFC 3263 §4)? Answered by [`Input::Resolved`]. Literal addresses are never
    /// asked for.
    Resolve {
        /// To be repeated in the answer.
        query: QueryId,
        /// A host or domain name.
        host: Box<str>,
        /// The port, when the URI named one: then only addresses are looked for.
        port: Option<u16>,
        /// The transport, where the URI or its port settles it; else the records of the name do.
        transport: Option<Transport>,
        /// Of a `sips` URI: every hop must be over TLS.
        secure: bool,
        /// A random number for the choice among servers of one priority (RFC 2782): the same number, the same choice.
        draw: u64,
    },
    /// An order to the relay.
    Media(MediaOrder),
    /// How far an attempt is that goes on: at the INVITE, when it is sent on, at the answer, when it begins to end and that
    /// takes longer. It reads as if the process died now; the record of the same id takes its place.
    OpenCdr {
        /// The record.
        fact: Box<CdrFact>,
        /// With which another process can go on with the call ([`Input::Restore`]); `None`: none can.
        state: Option<Box<[u8]>>,
    },
    /// An attempt ended; its record.
    Cdr(Box<CdrFact>),
    /// A registration changed: keep it, and tell the other shards.
    Binding(BindingChange),
    /// This place takes no stream connections: tell the other shards, so that none of them has to find out again.
    NoStreams(SocketAddr),
    /// A peer was asked for life, or is asked no more. Only of the shard that was told to
    /// [`watch_peers`](crate::Core::watch_peers).
    Peer(Box<PeerChange>),
    /// A peer is better left alone for a while: so a call found out.
    Aside(Box<PeerAside>),
    /// A server of a name is better tried after the others for a while: so a call found out.
    ServerAside(ServerAside),
    /// Something an operator may want to read.
    Event(Event),
    /// The answer to a command.
    Reply {
        /// The command's id.
        id: u64,
        /// The answer.
        reply: Reply,
    },
}

/// News of a peer of a trunk with `options_ping`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// The trunk's name.
    pub trunk: Box<str>,
    /// The peer's URI, as the trunk has it.
    pub peer: Box<str>,
    /// How it is; `None`: it is asked no more.
    pub life: Option<PeerLife>,
}

/// A peer that wants no calls for a while, or does not answer them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAside {
    /// The trunk's name.
    pub trunk: Box<str>,
    /// The peer's URI, as the trunk has it.
    pub peer: Box<str>,
    /// What it said; 0: nothing.
    pub status: u16,
    /// When.
    pub at: Utc,
    /// How long it is left alone.
    pub left: Duration,
}

/// A server of a name that wants no calls for a while, or that nothing comes of. It is still one of those that the name
/// stands for, and the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerAside {
    /// Which.
    pub server: NextHop,
    /// What it said; 0: nothing.
    pub status: u16,
    /// How long others are tried before it.
    pub left: Duration,
}

/// How a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLife {
    /// What its answers come to.
    pub state: PeerState,
    /// When that began.
    pub since: Utc,
    /// When it last answered.
    pub answered_at: Option<Utc>,
    /// How long its last sign of life took.
    pub round_trip: Option<Duration>,
    /// The status of the last answer; 0: none came to the last question.
    pub status: u16,
}

/// Whether a peer takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It was not asked yet, or is silent for the first time.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// It said 503 and when to come again (RFC 3261 §21.5.4), or left a call without an answer a moment ago.
    Aside,
}

impl PeerState {
    /// Whether calls are better sent to others.
    pub fn is_away(self) -> bool {
        matches!(self, PeerState::Down | PeerState::Aside)
    }

    /// For operators.
    pub fn name(self) -> &'static str {
        match self {
            PeerState::Unknown => "unknown",
            PeerState::Up => "up",
            PeerState::Down => "down",
            PeerState::Aside => "aside",
        }
    }
}

/// What routing is asked.
#[derive(Clone, Debug)]
pub struct RouteQuery {
    /// To be repeated in the answer.
    pub query: QueryId,
    /// The call, which takes places on its trunks until it ends. `None`: a request outside calls, which takes none.
    pub call: Option<Uuid>,
    /// The target of a transfer is asked for: those who talk have their places, and only the target takes another.
    pub transfer: bool,
    /// The snapshot that the call or request began with.
    pub snapshot: Arc<Snapshot>,
    /// Whose request it is; absent: a registered user's or an open listener's.
    pub trunk: Option<TrunkId>,
    /// Where it came from.
    pub source: SocketAddr,
    /// The URI of From, whole.
    pub caller: Box<str>,
    /// The Request-URI, whole.
    pub uri: Box<str>,
    /// Whether the called name is a user of ours (configured or registered).
    pub local_user: bool,
}

/// The configuration that a call began with; there may be another by now, with other trunks in the same places.
#[derive(Clone)]
pub struct Began(pub Arc<Snapshot>);

/// A replay has a snapshot of its own, which is no output of the call.
impl Hash for Began {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for Began {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Began")
    }
}

/// A line for the operator, joined to its call.
#[derive(Clone, Debug)]
pub struct Event {
    /// The call, when there is one.
    pub call: Option<Uuid>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, Hash)]
pub enum EventKind {
    /// A call was accepted for routing.
    CallStarted {
        /// Source trunk.
        trunk: Option<TrunkId>,
        /// Where from.
        source: SocketAddr,
        /// User part of From.
        caller: Box<str>,
        /// User part of the Request-URI.
        called: Box<str>,
    },
    /// A call of the process before this one goes on.
    CallRestored {
        /// Source trunk.
        trunk_in: Option<TrunkId>,
        /// Target trunk.
        trunk_out: Option<TrunkId>,
        /// The attempt that had answered.
        attempt: u32,
        /// Where A and B are.
        remotes: [SocketAddr; 2],
        /// User part of From.
        caller: Box<str>,
        /// User part of the Request-URI.
        called: Box<str>,
    },
    /// An INVITE towards a target left.
    AttemptStarted {
        /// Counted from 1.
        attempt: u32,
        /// Target trunk.
        trunk: Option<TrunkId>,
        /// Where to.
        destination: SocketAddr,
    },
    /// An attempt ended with this status from the target (0: none came).
    AttemptEnded {
        /// Counted from 1.
        attempt: u32,
        /// Target trunk.
        trunk: Option<TrunkId>,
        /// The final status of leg B.
        status: u16,
    },
    /// Both sides talk.
    CallAnswered,
    /// These two are the call from now on: it was answered, a side was exchanged, or a transfer came to nothing. Nobody else
    /// has a place in it.
    Joined {
        /// The trunk of A; absent: a phone, or another shard.
        trunk_a: Option<TrunkId>,
        /// The trunk of B.
        trunk_b: Option<TrunkId>,
        /// What these are places in.
        of: Began,
    },
    /// The call is over and everything it held is free.
    CallEnded {
        /// Source trunk.
        trunk: Option<TrunkId>,
        /// User part of From.
        caller: Box<str>,
        /// User part of the Request-URI.
        called: Box<str>,
        /// The status that the caller got.
        status: u16,
        /// How it went, as the record says.
        disposition: &'static str,
        /// Who ended the call, as the record says.
        ended_by: &'static str,
        /// Answer to end.
        duration_ms: u64,
    },
    /// Nothing is heard of a side that should send, although the call was answered some time ago.
    OneWay {
        /// Which side is not heard.
        side: Side,
        /// Why, as far as the relay can see.
        deaf: Deaf,
    },
    /// A request was refused before it was a call.
    Refused {
        /// Where from.
        source: SocketAddr,
        /// The answer; 0: dropped.
        status: u16,
        /// Why.
        why: &'static str,
    },
    /// A phone registered, or its registration ended.
    Registered {
        /// User name.
        user: Box<str>,
        /// Seconds granted; 0: gone.
        expires: u32,
    },
    /// A warning that names what was seen.
    Warning {
        /// The text.
        what: String,
    },
}
