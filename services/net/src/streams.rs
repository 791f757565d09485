//! Stream connections: who has which, accepting, and opening on demand.
//!
//! The registry behind the lock is shared by all shards and touched only where a stream is concerned. A connection is
//! known by its number, which is never given twice, not even by the next process: registrations outlive us, and what
//! they remember must not become somebody else's connection. It is also known by the peer's address, and over TLS and
//! WebSocket by the name that the peer was asked for by, so that a request reuses what is open (RFC 3261 §18.1.1).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use call::{Flow, Listener, ListenerId, SendToken};
use sip::Transport;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::Limits;
use crate::clock::system_utc;
use crate::connection::{Connection, End, Left, Parcel, serve};
use crate::door::{Door, Visit};
use crate::guard::Host;
use crate::handshakes::{Handshake, Handshakes, less_a_quarter};
use crate::keeper::Keeper;
use crate::layers::Layers;
use crate::mailbox::{Letter, Mailbox, Refused};
use crate::next_hop::{peer_name, response_target};
use crate::socket;
use crate::tls::{Identities, Tls};
use crate::totals::Counters;
use crate::upgrade::Origins;

/// What streams know of a shard.
#[derive(Debug)]
pub(crate) struct Berth {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) runtime: tokio::runtime::Handle,
}

/// All stream connections of the process.
#[derive(Debug)]
pub(crate) struct Streams {
    berths: Vec<Berth>,
    listeners: Vec<Listener>,
    limits: Limits,
    secrets: Secrets,
    handshakes: Arc<Handshakes>,
    registry: Mutex<Registry>,
    pub(crate) keeper: Keeper,
    next: AtomicU64,
    /// For a shard that does not exist; nobody reads them.
    strays: Counters,
}

/// What handshakes need.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) identities: Identities,
    /// By listener.
    pub(crate) origins: Vec<Origins>,
    /// The runtime that does them; `None`: no listener needs any.
    pub(crate) runtime: Option<tokio::runtime::Handle>,
}

#[derive(Debug, Default)]
struct Registry {
    by_number: HashMap<u64, Arc<Connection>>,
    by_peer: HashMap<Peer, u64>,
    /// How many each source has opened.
    by_source: HashMap<Host, usize>,
}

/// Who is at the other end, and through which listener; over TLS with the name that it was asked to prove, over WebSocket
/// with the one that it was asked for.
type Peer = (ListenerId, SocketAddr, Option<Box<str>>);

/// What became of a message for a shard.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// It is in the shard's queue, or the shard is no more.
    Done,
    /// The queue is full, and may be so for that many seconds.
    Full(Bytes, u64),
}

/// Where a connection comes from.
enum Origin {
    Accepted(std::net::TcpStream, Option<Handshake>),
    Opened,
}

impl Streams {
    pub(crate) fn new(
        berths: Vec<Berth>,
        listeners: Vec<Listener>,
        limits: Limits,
        secrets: Secrets,
        keeper: Keeper,
    ) -> Streams {
        // Microseconds of civil time are ahead of whatever an earlier process counted to.
        let next = AtomicU64::new(system_utc().0.unsigned_abs().max(1));
        let handshakes = Handshakes::new(limits.handshakes);
        let (registry, strays) = (Mutex::default(), Counters::default());
        Streams { berths, listeners, limits, secrets, handshakes, registry, keeper, next, strays }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn counters(&self, shard: u16) -> &Counters {
        self.berths.get(usize::from(shard)).map_or(&self.strays, |berth| &berth.counters)
    }

    /// Sends on the flow's connection; without a number on the one open to its peer, or on a new one. The parcel comes
    /// back when that cannot be.
    pub(crate) fn send(self: &Arc<Self>, flow: Flow, parcel: Parcel) -> Result<(), Parcel> {
        let shard = parcel.shard;
        let by_number = (flow.connection != 0).then(|| self.lock().by_number.get(&flow.number()).cloned());
        let transport = self.transport(flow.listener);
        let connection = match by_number {
            Some(Some(connection)) => connection,
            Some(None) => match response_target(flow, transport, &parcel.bytes) {
                Some(flow) => return self.send(flow, parcel),
                None => return Err(parcel),
            },
            None => {
                let name = match transport {
                    Transport::Udp | Transport::Tcp => None,
                    Transport::Tls | Transport::Ws | Transport::Wss => match peer_name(&parcel.bytes) {
                        // A browser, which has no name (RFC 7118 §5) and takes no connections.
                        Some(name) if name.ends_with(".invalid") => return Err(parcel),
                        Some(name) => Some(name),
                        None => return Err(parcel),
                    },
                };
                let peer = (flow.listener, flow.remote, name);
                match self.open_to(&peer).or_else(|| self.register(peer, shard, Origin::Opened)) {
                    Some(connection) => connection,
                    None => return Err(parcel),
                }
            }
        };
        connection.concern(shard);
        connection.send(parcel)?;
        self.counters(shard).stream_messages_out.add(1);
        Ok(())
    }

    /// Puts a message into the queue of the shard that its call belongs to; without a Call-ID it stays where it is.
    pub(crate) fn deliver(&self, connection: &Connection, bytes: Bytes) -> Delivery {
        let shards = self.berths.len() as u16;
        let call_id = if shards > 1 { sip::call_id_of(&bytes) } else { None };
        let shard = call_id.map_or(connection.home, |call_id| call::shard_of(call_id, shards));
        let Some(berth) = self.berths.get(usize::from(shard)) else { return Delivery::Done };
        connection.concern(shard);
        match berth.mailbox.post(Letter::Message { flow: connection.heard_on(), bytes }) {
            Ok(()) => {
                self.counters(connection.home).stream_messages_in.add(1);
                Delivery::Done
            }
            Err(Refused::Full(Letter::Message { bytes, .. })) => {
                Delivery::Full(bytes, self.keeper.retry_after(shard))
            }
            Err(Refused::Full(_) | Refused::Gone) => Delivery::Done,
        }
    }

    /// Waits a moment for what is queued on open connections; a process that ends says its last BYE.
    pub(crate) async fn flushed(&self, patience: Duration) {
        let all_flushed = async {
            while !self.lock().by_number.values().all(|connection| connection.is_flushed()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = timeout(patience, all_flushed).await;
    }

    /// Accepts for one listener for ever. Connections are spread over the shards in turn.
    pub(crate) async fn accept(self: Arc<Self>, id: ListenerId, listener: TcpListener) {
        let mut complained = false;
        loop {
            let (stream, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                // The peer was gone before we looked.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    // Out of descriptors, most likely: asking again at once would only burn time.
                    if !complained {
                        tracing::warn!(target: "net", listener = id.0, "cannot accept connections: {error}");
                    }
                    complained = true;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            complained = false;
            if self.keeper.is_banned(remote) {
                self.counters(0).connections_refused.add(1);
                continue;
            }
            // The connection will live on another thread's runtime.
            let Ok(stream) = stream.into_std() else { continue };
            let home = (self.next.load(Ordering::Relaxed) % self.berths.len() as u64) as u16;
            let handshake = match self.transport(id) {
                Transport::Udp | Transport::Tcp => None,
                Transport::Tls | Transport::Ws | Transport::Wss => {
                    let stranger = (!self.keeper.is_acquainted(remote)).then(|| Host::of(remote.ip()));
                    let Some(handshake) = self.handshakes.begin(stranger) else {
                        self.counters(0).connections_refused.add(1);
                        continue;
                    };
                    Some(handshake)
                }
            };
            if self.register((id, remote, None), home, Origin::Accepted(stream, handshake)).is_some() {
                self.counters(0).connections_accepted.add(1);
            }
        }
    }

    /// Requests to its peer open another connection from now on.
    pub(crate) fn retire(&self, connection: &Connection) {
        let Flow { listener, remote, connection: number } = connection.flow;
        self.lock().retire(&(listener, remote, connection.name.clone()), number);
    }

    fn transport(&self, listener: ListenerId) -> Transport {
        self.listeners.get(usize::from(listener.0)).map_or(Transport::Tcp, |listener| listener.transport)
    }

    /// The connection that is open to a peer.
    fn open_to(&self, peer: &Peer) -> Option<Arc<Connection>> {
        let registry = self.lock();
        registry.by_number.get(registry.by_peer.get(peer)?).cloned()
    }

    /// Enters a connection and starts its task; `None` when there are too many.
    fn register(self: &Arc<Self>, peer: Peer, home: u16, origin: Origin) -> Option<Arc<Connection>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (listener, remote, name) = peer;
        let flow = Flow { listener, remote, connection: number };
        let is_ours = matches!(origin, Origin::Opened);
        let most = self.limits.connection_octets;
        let connection = Arc::new(Connection::connecting(flow, home, is_ours, name.clone(), most));
        let most = match is_ours || self.keeper.is_acquainted(remote) {
            true => self.limits.connections,
            false => less_a_quarter(self.limits.connections),
        };
        let mut registry = self.lock();
        let source = Host::of(remote.ip());
        let of_source = registry.by_source.get(&source).copied().unwrap_or(0);
        let is_one_too_many = !is_ours && of_source >= self.limits.connections_per_source;
        if registry.by_number.len() >= most || is_one_too_many {
            drop(registry);
            self.counters(home).connections_refused.add(1);
            return None;
        }
        registry.by_number.insert(number, Arc::clone(&connection));
        registry.by_peer.insert((listener, remote, name), number);
        if !is_ours {
            registry.by_source.insert(source, of_source + 1);
        }
        self.counters(0).connections_open.set(registry.by_number.len() as u64);
        drop(registry);

        let runtime = &self.berths.get(usize::from(home))?.runtime;
        runtime.spawn(Arc::clone(self).run(Arc::clone(&connection), origin));
        Some(connection)
    }

    /// The life of one connection.
    async fn run(self: Arc<Self>, connection: Arc<Connection>, origin: Origin) {
        // Also when the runtime ends and drops this task half way.
        let mut departure =
            Departure { streams: &self, connection: &connection, end: End::Shutdown, was_open: false };
        let counters = self.counters(connection.home);
        let (stream, layers) = match self.open(&connection, origin).await {
            Ok(opened) => opened,
            Err(error) => {
                counters.connections_failed.add(1);
                // Who connects and leaves may only have asked whether somebody is here.
                if !connection.is_ours
                    && matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::InvalidData)
                {
                    self.keeper.report_malformed(connection.flow.remote, &[]);
                }
                let (remote, name) = (connection.flow.remote, connection.name.as_deref());
                if connection.is_ours && name.is_some() {
                    // Certificates are somebody's work to put right; they must be able to read of it.
                    tracing::info!(target: "net", %remote, name, "cannot connect: {error}");
                } else {
                    tracing::debug!(target: "net", %remote, "cannot connect: {error}");
                }
                departure.end = End::Peer;
                return;
            }
        };
        let (reader, writer) = stream.into_split();
        let writer = Arc::new(writer);
        connection.open(&writer, layers);
        departure.was_open = true;
        departure.end = serve(&connection, reader, &writer, &self).await;
    }

    /// Connects, where that is ours to do, and shakes hands.
    async fn open(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        origin: Origin,
    ) -> io::Result<(TcpStream, Layers)> {
        let listener = connection.flow.listener;
        let transport = self.transport(listener);
        let (stream, layers) = match (transport, origin) {
            (Transport::Udp | Transport::Tcp, Origin::Accepted(stream, _)) => {
                (TcpStream::from_std(stream)?, Layers::default())
            }
            (Transport::Udp | Transport::Tcp, Origin::Opened) => {
                (self.connect(connection.flow).await?, Layers::default())
            }
            (Transport::Tls | Transport::Ws | Transport::Wss, Origin::Accepted(stream, handshake)) => {
                let door = self.door(listener, transport)?;
                let (stream, layers) = self
                    .at_the_door(async move {
                        let _place = handshake;
                        door.accept(TcpStream::from_std(stream)?).await
                    })
                    .await?;
                (TcpStream::from_std(stream)?, layers)
            }
            (Transport::Tls | Transport::Ws | Transport::Wss, Origin::Opened) => {
                let (streams, connection) = (Arc::clone(self), Arc::clone(connection));
                let (stream, layers) = self
                    .at_the_door(async move {
                        let tls = transport.is_secure().then(|| streams.tls(listener)).transpose()?;
                        let name = connection.name.as_deref().unwrap_or_default();
                        let websocket = matches!(transport, Transport::Ws | Transport::Wss);
                        let stream = streams.connect(connection.flow).await?;
                        Visit { name, tls, websocket }.pay(stream).await
                    })
                    .await?;
                (TcpStream::from_std(stream)?, layers)
            }
        };
        stream.set_nodelay(true)?;
        Ok((stream, layers))
    }

    /// Does a handshake where it is in no shard's way, for as long as it may take.
    async fn at_the_door(
        &self,
        handshake: impl Future<Output = io::Result<(TcpStream, Layers)>> + Send + 'static,
    ) -> io::Result<(std::net::TcpStream, Layers)> {
        let patience = self.limits.handshake;
        let all = async move {
            let (stream, layers) = timeout(patience, handshake).await??;
            Ok((stream.into_std()?, layers))
        };
        let runtime = self.secrets.runtime.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        runtime.spawn(all).await.map_err(io::Error::other)?
    }

    fn door(&self, listener: ListenerId, transport: Transport) -> io::Result<Door> {
        let origins = self.secrets.origins.get(usize::from(listener.0)).cloned().unwrap_or_default();
        Ok(match transport {
            Transport::Udp | Transport::Tcp => Door { tls: None, websocket: None },
            Transport::Tls => Door { tls: Some(self.tls(listener)?), websocket: None },
            Transport::Ws => Door { tls: None, websocket: Some(origins) },
            Transport::Wss => Door { tls: Some(self.tls(listener)?), websocket: Some(origins) },
        })
    }

    /// What a listener shows now.
    fn tls(&self, listener: ListenerId) -> io::Result<Tls> {
        let identity = self.secrets.identities.get(usize::from(listener.0)).and_then(Option::as_ref);
        let identity = identity.map(ArcSwap::load).ok_or(io::ErrorKind::NotFound)?;
        Ok(Tls::clone(&identity))
    }

    async fn connect(&self, flow: Flow) -> io::Result<TcpStream> {
        let listener = self.listeners.get(usize::from(flow.listener.0)).ok_or(io::ErrorKind::NotFound)?;
        let socket = match flow.remote {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // From the listener's address, so that the peer sees whom it knows; the port is the system's choice.
        socket.bind(SocketAddr::new(listener.bind.ip(), 0))?;
        let stream = timeout(self.limits.connect_timeout, socket.connect(flow.remote)).await??;
        socket::keep_alive(&stream)?;
        self.counters(0).connections_opened.add(1);
        Ok(stream)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Another connection may be the one to this peer by now.
    fn retire(&mut self, peer: &Peer, number: u64) {
        if self.by_peer.get(peer) == Some(&number) {
            self.by_peer.remove(peer);
        }
    }

    fn left(&mut self, source: Host) {
        match self.by_source.get_mut(&source) {
            Some(1) | None => {
                self.by_source.remove(&source);
            }
            Some(count) => *count -= 1,
        }
    }
}

/// Strikes a connection off when its task ends, however it ends, and tells those who have to know.
struct Departure<'a> {
    streams: &'a Streams,
    connection: &'a Connection,
    end: End,
    was_open: bool,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let flow = self.connection.flow;
        let mut registry = self.streams.lock();
        registry.by_number.remove(&flow.connection);
        registry.retire(&(flow.listener, flow.remote, self.connection.name.clone()), flow.connection);
        if !self.connection.is_ours {
            registry.left(Host::of(flow.remote.ip()));
        }
        self.streams.counters(0).connections_open.set(registry.by_number.len() as u64);
        drop(registry);

        let flow = self.connection.heard_on();
        let counters = self.streams.counters(self.connection.home);
        match self.end {
            End::Peer | End::Shutdown | End::Banned => {}
            End::Framing => counters.framing_faults.add(1),
            End::Slow => counters.connections_slow.add(1),
            End::Idle => counters.connections_idle.add(1),
        }
        let Left { unwritten, invites } = self.connection.close();
        for parcel in unwritten {
            if let (false, Some(berth)) =
                (parcel.token == SendToken::NONE, self.streams.berths.get(usize::from(parcel.shard)))
            {
                let _ = berth.mailbox.post(Letter::Undeliverable { token: parcel.token });
            }
        }
        for (shard, berth) in (0..).zip(&self.streams.berths) {
            let of_shard = invites.iter().rev().filter(|(of, _)| *of == shard);
            let tokens: Vec<SendToken> = of_shard.map(|(_, token)| *token).collect();
            if !tokens.is_empty() {
                let _ = berth.mailbox.post(Letter::Lost { flow, tokens });
            }
        }
        if self.was_open {
            let concerned =
                (0..).zip(&self.streams.berths).filter(|(shard, _)| self.connection.concerns(*shard));
            for (_, berth) in concerned {
                let _ = berth.mailbox.post(Letter::Closed { flow });
            }
        }
    }
}
