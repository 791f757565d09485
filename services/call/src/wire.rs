//! The transaction layer of a Core: every client and server transaction, the messages they keep, and what is sent.
//!
//! `sip::transaction` says what to do next; this room owns the bytes to do it with, the flows, the timers and the
//! indexes by which a message finds its transaction. Legs and the registrar stand above it as transaction users.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use bytes::Bytes;
use foldhash::quality::FixedState;
use sip::{
    InviteClient, InviteClientState, InviteServer, Message, Method, Name, NonInviteClient,
    NonInviteClientState, NonInviteServer, Send, Step, Tell, Time, Via, Writer,
};
use slotmap::{SlotMap, new_key_type};

use crate::ids::{Ids, client_of_branch};
use crate::io::{Event, EventKind, Flow, Now, Output, SendToken};
use crate::leg::LegKey;
use crate::settings::{Listener, ListenerId, Settings};
use crate::timers::{TimerOf, Timers};
use crate::view::Stats;

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
    pub(crate) ids: Ids,
    pub(crate) timers: Timers,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) stats: Stats,
    clients: SlotMap<ClientKey, Client>,
    servers: SlotMap<ServerKey, Server>,
    /// RFC 3261 §17.2.3.
    by_branch: Index<ServerKey>,
    /// §8.2.2.2: one entry for each INVITE being served, by Call-ID, From-tag and CSeq.
    by_request: Index<ServerKey>,
    hashers: [FixedState; 2],
}

/// Who is told of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientUser {
    /// A leg, and what it asked for.
    Leg(LegKey, Purpose),
    /// Nobody: a CANCEL, or the BYE that ends an unwanted 2xx.
    Nobody,
}

/// Why a leg sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Invite,
    Reinvite,
    Bye,
    /// Carried over from the other leg, where this transaction waits for the answer.
    Carry(ServerKey),
}

/// A request that nothing will come of, out of a transaction that is no more.
pub(crate) struct Unanswered {
    pub(crate) user: ClientUser,
    pub(crate) request: Bytes,
}

enum ClientMachine {
    Invite(InviteClient),
    Other(NonInviteClient),
}

impl ClientMachine {
    /// Whether a final response came.
    fn is_answered(&self) -> bool {
        match self {
            ClientMachine::Invite(machine) => match machine.state() {
                InviteClientState::Calling | InviteClientState::Proceeding => false,
                InviteClientState::Accepted
                | InviteClientState::Completed
                | InviteClientState::Terminated => true,
            },
            ClientMachine::Other(machine) => match machine.state() {
                NonInviteClientState::Trying | NonInviteClientState::Proceeding => false,
                NonInviteClientState::Completed | NonInviteClientState::Terminated => true,
            },
        }
    }
}

enum ServerMachine {
    Invite(InviteServer),
    Other(NonInviteServer),
}

struct Client {
    machine: ClientMachine,
    method: Method,
    user: ClientUser,
    flow: Flow,
    branch: Box<str>,
    request: Bytes,
    /// The ACK of a failure, or the leg's ACK of the 2xx: sent again for each repetition of the response.
    ack: Option<Bytes>,
    cancel: Option<ClientKey>,
    /// The ACKs of 2xx from other forks, each of which got a BYE as well.
    unwanted: Vec<Bytes>,
    /// No answer is waited for beyond this, whatever the transaction itself would do.
    limit: Option<Time>,
    armed: Option<Time>,
}

struct Server {
    machine: ServerMachine,
    user: Option<LegKey>,
    flow: Flow,
    reply_to: Flow,
    method: Method,
    /// The request, while an answer is still to be made from it.
    request: Bytes,
    response: Option<Bytes>,
    branch: Fingerprint,
    merged: Option<Fingerprint>,
    armed: Option<Time>,
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
            clients: SlotMap::with_key(),
            servers: SlotMap::with_key(),
            by_branch: Index::with_hasher(FixedState::with_seed(seeds[0])),
            by_request: Index::with_hasher(FixedState::with_seed(seeds[0])),
            hashers: seeds.map(FixedState::with_seed),
            settings,
        }
    }

    pub(crate) fn transactions(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    pub(crate) fn listener(&self, id: ListenerId) -> &Listener {
        // Settings are checked to have a first listener before a Core is made, and ids are never invented.
        self.settings.listeners.get(usize::from(id.0)).unwrap_or(&self.settings.listeners[0])
    }

    pub(crate) fn send(&mut self, flow: Flow, bytes: Bytes, token: SendToken) {
        self.stats.messages_out += 1;
        self.outputs.push_back(Output::Send { flow, bytes, token });
    }

    pub(crate) fn event(&mut self, call: Option<uuid::Uuid>, kind: EventKind) {
        self.outputs.push_back(Output::Event(Event { call, kind }));
    }

    // ---- client transactions ----

    /// Makes room for a client transaction, so that its branch can stand in the request. Follow with
    /// [`launch`](Wire::launch).
    pub(crate) fn prepare(
        &mut self,
        method: Method,
        user: ClientUser,
        flow: Flow,
        now: Now,
    ) -> (ClientKey, Box<str>) {
        let reliable = self.listener(flow.listener).transport.is_reliable();
        let timing = self.settings.timing;
        let machine = match method {
            Method::Invite => ClientMachine::Invite(InviteClient::new(now.time, timing, reliable)),
            _ => ClientMachine::Other(NonInviteClient::new(now.time, timing, reliable)),
        };
        let key = self.clients.insert(Client {
            machine,
            method,
            user,
            flow,
            branch: Box::from(""),
            request: Bytes::new(),
            ack: None,
            cancel: None,
            unwanted: Vec::new(),
            limit: None,
            armed: None,
        });
        let branch = self.ids.branch(key);
        if let Some(client) = self.clients.get_mut(key) {
            client.branch.clone_from(&branch);
        }
        (key, branch)
    }

    /// Sends the request of a prepared transaction.
    pub(crate) fn launch(&mut self, key: ClientKey, request: Bytes) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.request = request.clone();
        let flow = client.flow;
        self.rearm_client(key);
        self.send(flow, request, token_of(key));
    }

    /// Ends the wait for an answer at `until`: an INVITE that got a provisional response has no timer of its own.
    pub(crate) fn limit(&mut self, key: ClientKey, until: Time) {
        if let Some(client) = self.clients.get_mut(key) {
            client.limit = Some(until);
        }
    }

    /// Sends CANCEL for an INVITE of ours, which must have had a provisional and no final response (RFC 3261 §9.1).
    pub(crate) fn cancel(&mut self, invite: ClientKey, reason: Option<&[u8]>, now: Now) {
        let Some(client) = self.clients.get(invite) else { return };
        let (flow, branch, request) = (client.flow, client.branch.clone(), client.request.clone());
        let Ok(message) = Message::parse(&request) else { return };
        let bytes = sip::cancel_for(&message, reason);
        let reliable = self.listener(flow.listener).transport.is_reliable();
        let machine = ClientMachine::Other(NonInviteClient::new(now.time, self.settings.timing, reliable));
        let key = self.clients.insert(Client {
            machine,
            method: Method::Cancel,
            user: ClientUser::Nobody,
            flow,
            branch,
            request: Bytes::new(),
            ack: None,
            cancel: None,
            unwanted: Vec::new(),
            limit: None,
            armed: None,
        });
        if let Some(client) = self.clients.get_mut(invite) {
            client.cancel = Some(key);
        }
        self.launch(key, bytes);
    }

    /// The client transaction of a response (RFC 3261 §17.1.3). A CANCEL shares its INVITE's branch.
    pub(crate) fn client_of(&self, branch: &[u8], method: Method) -> Option<ClientKey> {
        let key = client_of_branch(branch)?;
        let client = self.clients.get(key)?;
        if client.branch.as_bytes() != branch {
            return None;
        }
        match (&client.machine, method) {
            (ClientMachine::Invite(_), Method::Invite) => Some(key),
            (ClientMachine::Invite(_), Method::Cancel) => client.cancel,
            (ClientMachine::Invite(_), _) => None,
            (ClientMachine::Other(_), _) => (client.method == method).then_some(key),
        }
    }

    /// Hands a response to its transaction; says whether the user is to see it.
    pub(crate) fn on_response(
        &mut self,
        key: ClientKey,
        response: &Message<'_>,
        now: Now,
    ) -> Option<ClientUser> {
        let status = response.status()?;
        let client = self.clients.get_mut(key)?;
        let step = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.on_response(status, now.time),
            ClientMachine::Other(machine) => machine.on_response(status, now.time),
        };
        if step.send == Send::Ack && client.ack.is_none() {
            let invite = Message::parse(&client.request).ok()?;
            client.ack = Some(sip::ack_for_failure(&invite, response));
        }
        let user = client.user;
        self.carry_out_client(key, step);
        (step.tell == Tell::Response).then_some(user)
    }

    /// Keeps the ACK of a 2xx and sends it; it is sent again for each repetition of that 2xx.
    pub(crate) fn acknowledge(&mut self, key: ClientKey, flow: Flow, ack: Bytes) {
        if let Some(client) = self.clients.get_mut(key) {
            client.ack = Some(ack.clone());
        }
        self.send(flow, ack, SendToken::NONE);
    }

    /// The ACK that [`acknowledge`](Wire::acknowledge) kept.
    pub(crate) fn kept_ack(&self, key: ClientKey) -> Option<Bytes> {
        self.clients.get(key)?.ack.clone()
    }

    /// The request of a client transaction.
    pub(crate) fn client_request(&self, key: ClientKey) -> Option<Bytes> {
        self.clients.get(key).map(|client| client.request.clone())
    }

    /// The ACKs of this INVITE's unwanted 2xx.
    pub(crate) fn unwanted(&mut self, key: ClientKey) -> Option<&mut Vec<Bytes>> {
        self.clients.get_mut(key).map(|client| &mut client.unwanted)
    }

    /// Where a client transaction sends.
    pub(crate) fn client_flow(&self, key: ClientKey) -> Option<Flow> {
        self.clients.get(key).map(|client| client.flow)
    }

    /// Ends an INVITE that was cancelled and never got a final response (RFC 3261 §9.1).
    pub(crate) fn abandon(&mut self, key: ClientKey) {
        self.remove_client(key);
    }

    fn carry_out_client(&mut self, key: ClientKey, step: Step) {
        if let Some(client) = self.clients.get(key) {
            let bytes = match step.send {
                Send::Nothing | Send::Response => None,
                Send::Retransmit => {
                    self.stats.retransmissions += 1;
                    Some(client.request.clone())
                }
                Send::Ack => client.ack.clone(),
            };
            if let Some(bytes) = bytes {
                let flow = client.flow;
                self.send(flow, bytes, token_of(key));
            }
        }
        self.rearm_client(key);
    }

    fn rearm_client(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let (ended, deadline) = match &client.machine {
            ClientMachine::Invite(machine) => (machine.is_terminated(), machine.deadline()),
            ClientMachine::Other(machine) => (machine.is_terminated(), machine.deadline()),
        };
        let is_answered = client.machine.is_answered();
        let limit = client.limit.filter(|_| !is_answered);
        let deadline = deadline.into_iter().chain(limit).min();
        if ended {
            self.remove_client(key);
        } else {
            self.timers.set(TimerOf::Client(key), &mut client.armed, deadline);
        }
    }

    fn remove_client(&mut self, key: ClientKey) {
        if let Some(mut client) = self.clients.remove(key) {
            self.timers.set(TimerOf::Client(key), &mut client.armed, None);
        }
    }

    /// A client transaction's deadline has come; says whom to tell that no answer will come.
    pub(crate) fn on_client_timeout(&mut self, key: ClientKey, now: Now) -> Option<Unanswered> {
        let client = self.clients.get_mut(key)?;
        client.armed = None;
        let unanswered = Unanswered { user: client.user, request: client.request.clone() };
        if client.limit.is_some_and(|limit| limit <= now.time) && !client.machine.is_answered() {
            self.remove_client(key);
            return Some(unanswered);
        }
        let step = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.on_timeout(now.time),
            ClientMachine::Other(machine) => machine.on_timeout(now.time),
        };
        self.carry_out_client(key, step);
        (step.tell == Tell::Timeout).then_some(unanswered)
    }

    /// What was sent with this token could not be delivered (RFC 3261 §17.1.4); says whom to tell.
    pub(crate) fn on_undeliverable(&mut self, token: SendToken) -> Option<Unanswered> {
        let key = ClientKey::from(slotmap::KeyData::from_ffi(token.0));
        let client = self.clients.get_mut(key)?;
        let step = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.on_transport_error(),
            ClientMachine::Other(machine) => machine.on_transport_error(),
        };
        let unanswered = Unanswered { user: client.user, request: client.request.clone() };
        self.carry_out_client(key, step);
        (step.tell == Tell::TransportError).then_some(unanswered)
    }

    // ---- server transactions ----

    /// The server transaction that a request belongs to. `method` is the request's own, but INVITE for its ACK and CANCEL.
    pub(crate) fn server_of(
        &self,
        via: &Via<'_>,
        request: &Message<'_>,
        method: Method,
    ) -> Option<ServerKey> {
        self.by_branch.get(&self.branch_fingerprint(via, request, method)).copied()
    }

    /// Begins a server transaction for a request that has none. `keep` when the answer is not made at once.
    pub(crate) fn accept(
        &mut self,
        request: &Message<'_>,
        via: &Via<'_>,
        flow: Flow,
        keep: bool,
        now: Now,
    ) -> ServerKey {
        let method = request.method();
        let reliable = self.listener(flow.listener).transport.is_reliable();
        let timing = self.settings.timing;
        let (machine, merged) = match method {
            Method::Invite => (
                ServerMachine::Invite(InviteServer::new(now.time, timing, reliable)),
                self.merge_fingerprint(request),
            ),
            _ => (ServerMachine::Other(NonInviteServer::new(now.time, timing, reliable)), None),
        };
        let branch = self.branch_fingerprint(via, request, method);
        let key = self.servers.insert(Server {
            machine,
            user: None,
            flow,
            reply_to: self.reply_flow(via, flow),
            method,
            request: if keep { Bytes::copy_from_slice(request.bytes()) } else { Bytes::new() },
            response: None,
            branch,
            merged,
            armed: None,
        });
        self.by_branch.insert(branch, key);
        if let Some(merged) = merged {
            self.by_request.insert(merged, key);
        }
        key
    }

    /// Whether this INVITE, which no transaction knows, is another copy of one being served (RFC 3261 §8.2.2.2).
    pub(crate) fn is_merged(&self, request: &Message<'_>) -> bool {
        self.merge_fingerprint(request).is_some_and(|print| self.by_request.contains_key(&print))
    }

    pub(crate) fn set_server_user(&mut self, key: ServerKey, leg: LegKey) {
        if let Some(server) = self.servers.get_mut(key) {
            server.user = Some(leg);
        }
    }

    pub(crate) fn server_user(&self, key: ServerKey) -> Option<LegKey> {
        self.servers.get(key)?.user
    }

    /// Where the request of a server transaction came from.
    pub(crate) fn server_flow(&self, key: ServerKey) -> Option<Flow> {
        self.servers.get(key).map(|server| server.flow)
    }

    /// The request, as long as no final response was sent.
    pub(crate) fn server_request(&self, key: ServerKey) -> Option<Bytes> {
        self.servers.get(key).map(|server| server.request.clone()).filter(|request| !request.is_empty())
    }

    /// The To-tag of the failure that was sent.
    pub(crate) fn answered_tag(&self, key: ServerKey) -> Option<Box<str>> {
        let response = Message::parse(self.servers.get(key)?.response.as_ref()?).ok()?;
        Some(String::from_utf8_lossy(response.to().ok()?.tag()?).into())
    }

    /// Whether a final response is still owed.
    pub(crate) fn is_open(&self, key: ServerKey) -> bool {
        self.servers.get(key).is_some_and(|server| match &server.machine {
            ServerMachine::Invite(machine) => machine.state() == sip::InviteServerState::Proceeding,
            ServerMachine::Other(machine) => matches!(
                machine.state(),
                sip::NonInviteServerState::Trying | sip::NonInviteServerState::Proceeding
            ),
        })
    }

    /// A retransmitted request: answered with what was last answered.
    pub(crate) fn on_retransmission(&mut self, key: ServerKey, now: Now) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let step = match &mut server.machine {
            ServerMachine::Invite(machine) => machine.on_request(now.time),
            ServerMachine::Other(machine) => machine.on_request(now.time),
        };
        self.carry_out_server(key, step);
    }

    /// The ACK of a failure response. Says false when the ACK belongs to the dialog instead (2xx).
    pub(crate) fn on_ack(&mut self, key: ServerKey, now: Now) -> bool {
        let Some(server) = self.servers.get_mut(key) else { return false };
        let ServerMachine::Invite(machine) = &mut server.machine else { return false };
        if machine.state() == sip::InviteServerState::Accepted {
            return false;
        }
        let step = machine.on_ack(now.time);
        self.carry_out_server(key, step);
        true
    }

    /// A response to the kept request, ready for more headers. `None` when a final one was sent already.
    pub(crate) fn response(
        &self,
        key: ServerKey,
        status: u16,
        reason: Option<&[u8]>,
        tag: Option<&str>,
    ) -> Option<Writer> {
        let server = self.servers.get(key)?;
        let request = Message::parse(&server.request).ok()?;
        let mut writer = sip::respond(&request, status, reason, tag.map(str::as_bytes), server.flow.remote);
        if makes_dialog(server.method, status) {
            for route in request.headers().filter(|header| header.name == Name::RecordRoute) {
                writer.copy(&route);
            }
        }
        Some(writer)
    }

    /// Sends a response through its transaction, which keeps it for retransmissions.
    pub(crate) fn respond(&mut self, key: ServerKey, status: u16, bytes: Bytes, now: Now) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let step = match &mut server.machine {
            ServerMachine::Invite(machine) => machine.respond(status, now.time),
            ServerMachine::Other(machine) => machine.respond(status, now.time),
        };
        if step.send != Send::Response {
            return;
        }
        if status >= 200 {
            server.request = Bytes::new();
        }
        // A 2xx to INVITE is repeated by its leg until the ACK comes (RFC 6026 §7.1), never from here.
        let repeated_by_leg = server.method == Method::Invite && (200..300).contains(&status);
        server.response = (!repeated_by_leg).then(|| bytes.clone());
        let flow = server.reply_to;
        self.send(flow, bytes, SendToken::NONE);
        self.rearm_server(key);
    }

    /// A connection is gone: the answers owed to it go where the Via says, over a new one (RFC 3261 §18.2.2).
    pub(crate) fn on_closed(&mut self, connection: u64) {
        for server in self.servers.values_mut().filter(|server| server.reply_to.connection == connection) {
            let kept = Some(&server.request).filter(|request| !request.is_empty());
            if let Some(kept) = kept.or(server.response.as_ref()) {
                server.reply_to = reconnecting(server.reply_to, kept);
            }
        }
    }

    /// Where responses of this transaction go.
    pub(crate) fn reply_to(&self, key: ServerKey) -> Option<Flow> {
        self.servers.get(key).map(|server| server.reply_to)
    }

    /// Ends a non-INVITE transaction that will never be answered (RFC 4320 §4.2): late silence is all that is right.
    pub(crate) fn forget_server(&mut self, key: ServerKey) {
        if let Some(server) = self.servers.get(key)
            && let ServerMachine::Other(_) = server.machine
        {
            self.remove_server(key);
        }
    }

    fn carry_out_server(&mut self, key: ServerKey, step: Step) {
        if let Some(server) = self.servers.get(key) {
            let bytes = match step.send {
                Send::Nothing | Send::Response | Send::Ack => None,
                Send::Retransmit => server.response.clone(),
            };
            if let Some(bytes) = bytes {
                let flow = server.reply_to;
                self.stats.retransmissions += 1;
                self.send(flow, bytes, SendToken::NONE);
            }
        }
        self.rearm_server(key);
    }

    fn rearm_server(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let (ended, deadline) = match &server.machine {
            ServerMachine::Invite(machine) => (machine.is_terminated(), machine.deadline()),
            ServerMachine::Other(machine) => (machine.is_terminated(), machine.deadline()),
        };
        if ended {
            self.remove_server(key);
        } else {
            self.timers.set(TimerOf::Server(key), &mut server.armed, deadline);
        }
    }

    fn remove_server(&mut self, key: ServerKey) {
        let Some(mut server) = self.servers.remove(key) else { return };
        self.timers.set(TimerOf::Server(key), &mut server.armed, None);
        // A later request may have taken the place of this one in an index; only its own entry goes.
        if self.by_branch.get(&server.branch) == Some(&key) {
            self.by_branch.remove(&server.branch);
        }
        if let Some(merged) = server.merged.filter(|print| self.by_request.get(print) == Some(&key)) {
            self.by_request.remove(&merged);
        }
    }

    pub(crate) fn on_server_timeout(&mut self, key: ServerKey, now: Now) {
        let Some(server) = self.servers.get_mut(key) else { return };
        server.armed = None;
        let step = match &mut server.machine {
            ServerMachine::Invite(machine) => machine.on_timeout(now.time),
            ServerMachine::Other(machine) => machine.on_timeout(now.time),
        };
        self.carry_out_server(key, step);
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

    /// §17.2.3: branch, sent-by and method; without the magic cookie (RFC 2543) what identifies the request itself.
    fn branch_fingerprint(&self, via: &Via<'_>, request: &Message<'_>, method: Method) -> Fingerprint {
        let port = via.port.unwrap_or(0).to_be_bytes();
        match via.branch().filter(|_| via.has_magic_cookie()) {
            Some(branch) => self.fingerprint(&[branch, via.host, &port, &[method as u8]]),
            None => {
                let cseq = request.cseq().map(|cseq| cseq.number).unwrap_or(0).to_be_bytes();
                let from = request.from().ok();
                self.fingerprint(&[
                    request.request_uri().unwrap_or_default(),
                    from.as_ref().and_then(|from| from.tag()).unwrap_or_default(),
                    request.call_id().unwrap_or_default(),
                    &cseq,
                    via.host,
                    &port,
                    via.branch().unwrap_or_default(),
                    &[method as u8],
                ])
            }
        }
    }

    /// §8.2.2.2 looks only at requests outside dialogs: those without To-tag.
    fn merge_fingerprint(&self, request: &Message<'_>) -> Option<Fingerprint> {
        if request.to().ok()?.tag().is_some() {
            return None;
        }
        let cseq = request.cseq().ok()?.number.to_be_bytes();
        let from = request.from().ok()?;
        Some(self.fingerprint(&[request.call_id().ok()?, from.tag().unwrap_or_default(), &cseq]))
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

/// Where an answer goes whose connection is gone: to the port that the Via of the request, or of its response, says.
pub(crate) fn reconnecting(flow: Flow, message: &[u8]) -> Flow {
    let message = Message::parse(message).ok();
    let port = message.and_then(|message| Some(message.via().ok()?.sent_by_port_or_default()));
    let remote = SocketAddr::new(flow.remote.ip(), port.unwrap_or(flow.remote.port()));
    Flow { remote, connection: 0, ..flow }
}

fn token_of(key: ClientKey) -> SendToken {
    SendToken(slotmap::Key::data(&key).as_ffi())
}

/// §12.1.1: Record-Route is copied into the responses that make a dialog.
fn makes_dialog(method: Method, status: u16) -> bool {
    method == Method::Invite && (101..300).contains(&status)
}
