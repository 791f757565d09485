//! Listeners, connections, names, timers and the loop that carries a shard's [`Core`](call::Core) between them.
//!
//! Begin with [`Config`] and [`bind`]: every listener is bound and everything that can fail has been tried before the
//! first message is read. [`Bound::run`] then starts one thread for each shard, and [`Net::handle`] gives the
//! operator's side of it. A shard owns its Core, its media engine and its own socket on each UDP listener; a message
//! of a call that belongs to another shard is put into that shard's bounded [queue](Wakers), and that is all that
//! shards share per message. Stream connections are tasks beside the shards, handshakes of TLS and WebSocket have a
//! thread of their own, and names are looked up beside them too, so that nothing a peer or a name server does can make
//! a shard wait. What becomes of strangers is
//! decided at the door (`guard`), before anything is read that they say.

mod bind;
mod clock;
mod connection;
mod datagram;
mod dispatch;
mod door;
mod error;
mod events;
pub mod framing;
mod guard;
mod handle;
mod handshakes;
mod keeper;
mod layers;
mod mailbox;
mod next_hop;
mod overload;
mod pace;
mod peers;
mod pem;
mod refusal;
mod repeats;
mod resolver;
mod shard;
mod sni;
mod socket;
mod streams;
mod tls;
mod totals;
mod unreachable;
mod upgrade;
pub mod websocket;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use call::{BindingChange, CdrFact, Engine, Settings};
use routing::Snapshot;
use sip::Transport;

pub use bind::{Bound, Net, bind};
pub use error::NetError;
pub use guard::{GuardRules, GuardTotals, Reason, Scanner};
pub use handle::{BanView, Handle, HandleError, NetStats, ShardStats};
pub use mailbox::Wakers;
pub use overload::ShardLoad;
pub use tls::{MAX_IDENTITIES, Tls, TlsError, TlsFiles, TlsPart};
pub use totals::NetTotals;

/// What the net is made of.
pub struct Config {
    /// What to listen on; at least one. The first is what the Core uses when nothing says otherwise.
    pub listeners: Vec<Listen>,
    /// Says how many shards there are.
    pub wakers: Wakers,
    /// For every shard's Core. `listeners`, `shard` and `shards` are filled in, and `seed` is varied by shard.
    pub settings: Settings,
    /// Trunks and routes to begin with.
    pub snapshot: Arc<Snapshot>,
    /// One for each shard, in order.
    pub engines: Vec<Box<dyn Engine + Send>>,
    /// One for each shard, in order.
    pub records: Vec<Box<dyn Records>>,
    /// Who is asked for names.
    pub dns: Dns,
    /// How much of everything.
    pub limits: Limits,
    /// How strangers are dealt with, and when there is too much to do.
    pub guard: GuardRules,
}

/// Who is asked for names, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The name servers; none: those that the system is configured with.
    pub servers: Vec<SocketAddr>,
    /// How long one of them may take.
    pub timeout: Duration,
    /// How often a question is asked before it counts as not answered.
    pub attempts: usize,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns { servers: Vec::new(), timeout: Duration::from_secs(2), attempts: 2 }
    }
}

/// A listener that shall be.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Its name in the configuration.
    pub name: String,
    /// What it speaks.
    pub transport: Transport,
    /// Where; port 0 takes a free one.
    pub bind: SocketAddr,
    /// What Via and Contact say: a host, or a host and a port. Absent: the address bound to.
    pub advertise: Option<String>,
    /// For TLS and secure WebSocket, which cannot do without.
    pub tls: Option<Tls>,
    /// For WebSockets: the pages whose scripts may connect, as browsers name them in Origin; nobody named: all.
    pub origins: Vec<String>,
}

/// Bounds of what peers can make the net hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that may wait for a shard.
    pub queue_messages: usize,
    /// Their octets.
    pub queue_octets: usize,
    /// Stream connections at once, accepted and opened.
    pub connections: usize,
    /// Those among them that one host may have opened; of IPv6, one network of 64 bits.
    pub connections_per_source: usize,
    /// Octets that may wait for a peer to read them; more, and it is cut off.
    pub connection_octets: usize,
    /// How long a connection lives on which nothing is received. Peers that are gone are noticed earlier.
    pub idle: Duration,
    /// How long a peer that connected may take until its first message is whole. One that says nothing holds a place
    /// that others need.
    pub first_message: Duration,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long the handshakes of TLS and WebSocket may take together.
    pub handshake: Duration,
    /// Handshakes of peers that connect, at once.
    pub handshakes: usize,
    /// How long a peer may take nothing of what waits for it.
    pub write_stall: Duration,
}

impl Limits {
    /// The defaults, with no more connections than the system's limit of file descriptors has room for.
    pub fn of_this_system() -> Limits {
        let most = socket::most_connections();
        let limits = Limits::default();
        Limits {
            connections: limits.connections.min(most),
            connections_per_source: limits.connections_per_source.min((most / 4).max(1)),
            ..limits
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue_messages: 8192,
            queue_octets: 16 << 20,
            connections: 8192,
            connections_per_source: 2048,
            connection_octets: 1 << 20,
            idle: Duration::from_secs(3600),
            first_message: Duration::from_secs(32),
            connect_timeout: Duration::from_secs(4),
            handshake: Duration::from_secs(8),
            handshakes: 512,
            write_stall: Duration::from_secs(32),
        }
    }
}

/// Where a shard's facts go. Called on the shard's thread: hand over and return, never wait.
pub trait Records: Send {
    /// How far an attempt is that goes on; replaced by what is said of the same id later.
    fn open_cdr(&mut self, fact: Box<CdrFact>, state: Option<Box<[u8]>>);

    /// An attempt ended.
    fn cdr(&mut self, fact: Box<CdrFact>);

    /// What was handed over is about to be told to peers: what this batch sends leaves when this returns.
    fn flush(&mut self);

    /// A registration was accepted, renewed or ended on this shard.
    fn binding(&mut self, change: &BindingChange);
}
