//! The transaction layer of a Core: every client and server transaction, the messages they keep, and what is sent.
//!
//! `sip::transaction` says what to do next; this room owns the bytes to do it with, the flows, the timers and the
//! indexes by which a message finds its transaction. Legs and the registrar stand above it as transaction users.

mod carriage;
mod clients;
mod servers;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use bytes::Bytes;
use foldhash::quality::FixedState;
use sip::{Message, Transport, Via};
use slotmap::{KeyData, new_key_type};
use smallvec::SmallVec;

use crate::coverage::Coverage;
use crate::ids::Ids;
use crate::io::{Event, EventKind, Flow, Output, SendToken};
use crate::journal::JournalKey;
use crate::settings::{Listener, ListenerId, Settings};
use crate::slab::{Slab, Touched};
use crate::timers::Timers;
use crate::view::Stats;

use clients::Client;
pub(crate) use clients::{ClientUser, Purpose, Unanswered, client_of};
use servers::Server;

new_key_type! {
    /// A client transaction.
    pub(crate) struct ClientKey;
    /// A server transaction.
    pub(crate) struct ServerKey;
}

/// An index that nobody outside can aim collisions at: 128 bits keyed by the Core's seed.
type Fingerprint = u128;
type Index<V> = std::collections::HashMap<Fingerprint, V, FixedState>;

/// Everything below the transaction users.
pub(crate) struct Wire {
    pub(crate) settings: Settings,
    /// What stands for the box in messages between shards.
    inner: Listener,
    pub(crate) ids: Ids,
    pub(crate) timers: Timers,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) stats: Stats,
    pub(crate) coverage: Coverage,
    clients: Slab<ClientKey, Client>,
    servers: Slab<ServerKey, Server>,
    /// RFC 3261 §17.2.3.
    by_branch: Index<ServerKey>,
    /// Those with a branch that another had before them.
    namesakes: Index<Vec<ServerKey>>,
    /// §8.2.2.2: one entry for each request outside dialogs that is being served, by Call-ID, From-tag and CSeq; an
    /// INVITE's has no method in it, so that a CANCEL finds it.
    by_request: Index<ServerKey>,
    deaf: carriage::Deaf,
    hashers: [FixedState; 2],
}

impl Wire {
    pub(crate) fn new(settings: Settings) -> Wire {
        let mut ids = Ids::new(settings.seed, settings.shard, settings.shards);
        let seeds = [ids.random(), ids.random()];
        Wire {
            ids,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            coverage: Coverage::default(),
            clients: Slab::default(),
            servers: Slab::default(),
            by_branch: Index::with_hasher(FixedState::with_seed(seeds[0])),
            namesakes: Index::with_hasher(FixedState::with_seed(seeds[0])),
            by_request: Index::with_hasher(FixedState::with_seed(seeds[0])),
            deaf: carriage::Deaf::default(),
            hashers: seeds.map(FixedState::with_seed),
            inner: inner(settings.shard),
            settings,
        }
    }

    /// Whose transactions were changed: clients, servers.
    pub(crate) fn touched(&mut self) -> [Touched; 2] {
        [std::mem::take(&mut self.clients.notes().touched), std::mem::take(&mut self.servers.notes().touched)]
    }

    /// The keys of the transactions that were made: clients, servers.
    pub(crate) fn created(&mut self) -> [SmallVec<[KeyData; 4]>; 2] {
        [self.clients.notes().created_keys(), self.servers.notes().created_keys()]
    }

    pub(crate) fn give_created_to(&mut self, journal: JournalKey) {
        self.clients.give_created_to(journal);
        self.servers.give_created_to(journal);
    }

    pub(crate) fn clear_notes(&mut self) {
        self.clients.notes().clear();
        self.servers.notes().clear();
        self.ids.tape.clear();
    }

    /// Transactions get the keys of a record from now on.
    pub(crate) fn replayed(&mut self) {
        self.clients = Slab::replayed();
        self.servers = Slab::replayed();
    }

    /// The keys of the transactions that the next input of a replay makes.
    pub(crate) fn expect(&mut self, clients: &[u64], servers: &[u64]) {
        self.clients.expect(clients);
        self.servers.expect(servers);
    }

    pub(crate) fn is_as_expected(&self) -> bool {
        self.clients.is_as_expected() && self.servers.is_as_expected()
    }

    pub(crate) fn transactions(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    pub(crate) fn listener(&self, id: ListenerId) -> &Listener {
        match self.settings.listeners.get(usize::from(id.0)) {
            Some(listener) => listener,
            None if id == ListenerId::INNER => &self.inner,
            // Settings are checked to have a first listener before a Core is made, and ids are never invented.
            None => &self.settings.listeners[0],
        }
    }

    /// The listener of another transport at the same address of ours.
    pub(crate) fn beside(&self, id: ListenerId, transport: Transport) -> Option<ListenerId> {
        let here = self.listener(id).bind.ip();
        self.find_listener(|listener| listener.transport == transport && listener.bind.ip() == here)
    }

    /// The first listener of a transport.
    pub(crate) fn speaking(&self, transport: Transport) -> Option<ListenerId> {
        self.find_listener(|listener| listener.transport == transport)
    }

    /// The first listener that can send there at all: an IPv6 socket of ours speaks IPv6 only.
    pub(crate) fn listener_to(&self, remote: SocketAddr, transport: Transport) -> Option<ListenerId> {
        self.find_listener(|listener| {
            listener.transport == transport && listener.bind.is_ipv4() == remote.is_ipv4()
        })
    }

    fn find_listener(&self, fits: impl Fn(&Listener) -> bool) -> Option<ListenerId> {
        let index = self.settings.listeners.iter().position(fits)?;
        Some(ListenerId(u16::try_from(index).ok()?))
    }

    pub(crate) fn send(&mut self, flow: Flow, bytes: Bytes, token: SendToken) {
        self.stats.messages_out += 1;
        self.outputs.push_back(Output::Send { flow, bytes, token });
    }

    pub(crate) fn event(&mut self, call: Option<uuid::Uuid>, kind: EventKind) {
        self.outputs.push_back(Output::Event(Event { call, kind }));
    }

    /// RFC 3261 §18.2.2 and RFC 3581; a stream answers on the connection that asked.
    pub(crate) fn reply_flow(&self, via: &Via<'_>, flow: Flow) -> Flow {
        if self.listener(flow.listener).transport.is_reliable() {
            return flow;
        }
        Flow { remote: via.response_target(flow.remote), ..flow }
    }

    /// The leading 64 bits of a keyed hash over pieces: for tags and nonces of stateless answers.
    pub(crate) fn keyed_hash(&self, pieces: &[&[u8]]) -> u64 {
        self.fingerprint(pieces) as u64
    }

    /// [`keyed_hash`](Wire::keyed_hash) for what leaves the box: the key is not in a journal, so the hash is.
    pub(crate) fn stable_hash(&mut self, pieces: &[&[u8]]) -> u64 {
        let hash = self.keyed_hash(pieces);
        self.ids.tape.number(|| hash)
    }

    fn fingerprint(&self, pieces: &[&[u8]]) -> Fingerprint {
        let [high, low] = self.hashers.each_ref().map(|state| {
            let mut hasher = state.build_hasher();
            for piece in pieces {
                hasher.write_usize(piece.len());
                hasher.write(piece);
            }
            hasher.finish()
        });
        u128::from(high) << 64 | u128::from(low)
    }
}

/// An address stands in what goes to another shard, and an unusual one: whatever crosses from there to a leg outside gets
/// the host of that leg's listener in the place of each address.
fn inner(shard: u16) -> Listener {
    let bind = Flow::inner(shard).remote;
    Listener { name: "inner".to_owned(), transport: Transport::Tcp, bind, advertise: bind.ip().to_string() }
}

/// Where an answer goes whose connection is gone: to the port that the Via of the request, or of its response, says.
pub(crate) fn reconnecting(flow: Flow, message: &[u8]) -> Flow {
    let message = Message::parse(message).ok();
    let port = message.and_then(|message| Some(message.via().ok()?.sent_by_port_or_default()));
    let remote = SocketAddr::new(flow.remote.ip(), port.unwrap_or(flow.remote.port()));
    Flow { remote, connection: 0, ..flow }
}
