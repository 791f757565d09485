//! Server transactions: requests that came, what was last answered, and the indexes by which a copy finds its own.

use bytes::Bytes;
use sip::{InviteServer, Message, Method, Name, NonInviteServer, Send, Step, Time, Via, Writer};

use super::{Fingerprint, ServerKey, Wire, reconnecting};
use crate::io::{Flow, Now, SendToken};
use crate::leg::LegKey;
use crate::timers::TimerOf;

/// How many more than one may have the same branch at a time and be told apart.
const MAX_NAMESAKES: usize = 8;

pub(super) struct Server {
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
    /// The operator was told of a CANCEL whose branch is not this INVITE's.
    mismatch_told: bool,
    armed: Option<Time>,
}

enum ServerMachine {
    Invite(InviteServer),
    Other(NonInviteServer),
}

impl Wire {
    /// The server transactions that a request may belong to, by its branch: one, but where somebody else has used the branch
    /// too, by chance or because it was overheard. `method` is the request's own, but INVITE for its ACK and CANCEL.
    pub(crate) fn servers_of(
        &self,
        via: &Via<'_>,
        request: &Message<'_>,
        method: Method,
    ) -> impl Iterator<Item = ServerKey> {
        let branch = self.branch_fingerprint(via, request, method);
        let others = if self.namesakes.is_empty() { None } else { self.namesakes.get(&branch) };
        self.by_branch.get(&branch).into_iter().chain(others.into_iter().flatten()).copied()
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
            _ => {
                let machine = NonInviteServer::new(now.time, timing, reliable);
                (ServerMachine::Other(machine), self.merge_fingerprint(request))
            }
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
            mismatch_told: false,
            armed: None,
        });
        self.enter_branch(branch, key);
        if let Some(merged) = merged {
            self.by_request.insert(merged, key);
        }
        key
    }

    /// Behind those of others with the same branch, whose retransmissions and CANCELs must go on finding them.
    fn enter_branch(&mut self, branch: Fingerprint, key: ServerKey) {
        if *self.by_branch.entry(branch).or_insert(key) == key {
            return;
        }
        let others = self.namesakes.entry(branch).or_default();
        // One more gets no place, so that a branch costs no more for being used by many: its copies are new requests.
        if others.len() < MAX_NAMESAKES {
            others.push(key);
        }
    }

    fn leave_branch(&mut self, branch: Fingerprint, key: ServerKey) {
        let is_first = self.by_branch.get(&branch) == Some(&key);
        let Some(others) = self.namesakes.get_mut(&branch) else {
            if is_first {
                self.by_branch.remove(&branch);
            }
            return;
        };
        // `others` is never empty.
        if is_first {
            self.by_branch.insert(branch, others.remove(0));
        } else {
            others.retain(|other| *other != key);
        }
        if others.is_empty() {
            self.namesakes.remove(&branch);
        }
    }

    /// Whether this request, which no transaction knows, is another copy of one being served (RFC 3261 §8.2.2.2).
    pub(crate) fn is_merged(&self, request: &Message<'_>) -> bool {
        self.merge_fingerprint(request).is_some_and(|print| self.by_request.contains_key(&print))
    }

    /// The INVITE with the Call-ID, From-tag and CSeq number of this request, whatever its Via says.
    pub(crate) fn invite_like(&self, request: &Message<'_>) -> Option<ServerKey> {
        self.by_request.get(&self.request_fingerprint(request)?).copied()
    }

    /// The failure that was sent for an INVITE, as long as its ACK is awaited or may be repeated.
    pub(crate) fn server_refusal(&self, key: ServerKey) -> Option<Bytes> {
        self.servers.get(key)?.response.clone().filter(|_| !self.is_open(key))
    }

    /// Whether nothing was said yet about a CANCEL that did not match this INVITE; from now on something was.
    pub(crate) fn is_first_mismatch(&mut self, key: ServerKey) -> bool {
        self.servers.get_mut(key).is_some_and(|server| !std::mem::replace(&mut server.mismatch_told, true))
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
    pub(crate) fn on_closed(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let kept = Some(&server.request).filter(|request| !request.is_empty());
        if let Some(kept) = kept.or(server.response.as_ref()) {
            server.reply_to = reconnecting(server.reply_to, kept);
        }
    }

    /// The transactions that answer over this connection.
    pub(crate) fn servers_on(&self, connection: u64) -> impl Iterator<Item = ServerKey> {
        let on = move |server: &Server| server.reply_to.connection == connection;
        self.servers.iter().filter(move |(_, server)| on(server)).map(|(key, _)| key)
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
        self.leave_branch(server.branch, key);
        // A later request may have taken the place of this one in the index; only its own entry goes.
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
        match request.method() {
            Method::Invite => self.request_fingerprint(request),
            // A phone registers again and again, and CANCEL is its INVITE's.
            Method::Register | Method::Cancel | Method::Ack => None,
            _ => {
                let cseq = request.cseq().ok()?;
                let from = request.from().ok()?;
                let tag = from.tag().unwrap_or_default();
                let number = cseq.number.to_be_bytes();
                Some(self.fingerprint(&[request.call_id().ok()?, tag, &number, cseq.method_text]))
            }
        }
    }

    fn request_fingerprint(&self, request: &Message<'_>) -> Option<Fingerprint> {
        let cseq = request.cseq().ok()?.number.to_be_bytes();
        let from = request.from().ok()?;
        Some(self.fingerprint(&[request.call_id().ok()?, from.tag().unwrap_or_default(), &cseq]))
    }
}

/// §12.1.1: Record-Route is copied into the responses that make a dialog.
fn makes_dialog(method: Method, status: u16) -> bool {
    match method {
        Method::Invite => (101..300).contains(&status),
        Method::Subscribe => (200..300).contains(&status),
        _ => false,
    }
}
