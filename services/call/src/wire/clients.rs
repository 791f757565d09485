//! Client transactions: requests of ours, what is kept to send them again, and who hears of their responses.

use bytes::Bytes;
use sip::{
    InviteClient, InviteClientState, Message, Method, NonInviteClient, NonInviteClientState, Send, Step,
    Tell, Time, Timing, Via,
};

use super::carriage::Carriage;
use super::{ClientKey, ServerKey, Wire};
use crate::ids::client_of_branch;
use crate::io::{Flow, Now, SendToken};
use crate::leg::LegKey;
use crate::pings::PingKey;
use crate::standalone::StandaloneKey;
use crate::subscription::SubscriptionKey;
use crate::timers::TimerOf;

/// Who is told of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientUser {
    /// A leg, and what it asked for.
    Leg(LegKey, Purpose),
    /// A request outside calls.
    Standalone(StandaloneKey),
    /// A request within a subscription, and where its answer is awaited.
    Subscription(SubscriptionKey, ServerKey),
    /// An OPTIONS of the box's own to a peer.
    Ping(PingKey),
    /// Nobody: a CANCEL, or the BYE that ends an unwanted 2xx.
    Nobody,
}

/// Why a leg sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Invite,
    /// A re-INVITE, or UPDATE.
    Offer,
    Bye,
    Prack,
    /// To the sender of a REFER.
    Notify,
    /// Carried over from the other leg, where this transaction waits for the answer.
    Carry(ServerKey),
    /// News of this box's own.
    Info,
}

/// A request that nothing will come of, out of a transaction that is no more.
pub(crate) struct Unanswered {
    pub(crate) user: ClientUser,
    pub(crate) request: Bytes,
    /// It was not waited for as long as the transaction would have.
    pub(crate) given_up: bool,
}

pub(super) struct Client {
    pub(super) machine: ClientMachine,
    method: Method,
    user: ClientUser,
    pub(super) flow: Flow,
    pub(super) carriage: Carriage,
    branch: Box<str>,
    pub(super) request: Bytes,
    /// How often that was sent again.
    repeats: u32,
    /// The ACK of a failure, or the leg's ACK of the 2xx: sent again for each repetition of the response.
    ack: Option<Bytes>,
    cancel: Option<ClientKey>,
    /// The highest CSeq number of a request within an early dialog that this INVITE made.
    spent: u32,
    /// The ACKs of 2xx from other forks, each of which got a BYE as well.
    unwanted: Vec<Bytes>,
    /// No answer is waited for beyond this, whatever the transaction itself would do.
    limit: Option<Time>,
    armed: Option<Time>,
}
pub(super) enum ClientMachine {
    Invite(InviteClient),
    Other(NonInviteClient),
}

impl ClientMachine {
    fn new(method: Method, now: Now, timing: Timing, reliable: bool) -> ClientMachine {
        match method {
            Method::Invite => ClientMachine::Invite(InviteClient::new(now.time, timing, reliable)),
            _ => ClientMachine::Other(NonInviteClient::new(now.time, timing, reliable)),
        }
    }

    /// The same from its beginning, for a transport that is not reliable. `None` once anything was heard.
    pub(super) fn anew(&self, now: Now, timing: Timing) -> Option<ClientMachine> {
        match self {
            ClientMachine::Invite(machine) => (machine.state() == InviteClientState::Calling)
                .then(|| ClientMachine::new(Method::Invite, now, timing, false)),
            ClientMachine::Other(machine) => (machine.state() == NonInviteClientState::Trying)
                .then(|| ClientMachine::Other(NonInviteClient::new(now.time, timing, false))),
        }
    }

    pub(super) fn become_reliable(&mut self) {
        match self {
            ClientMachine::Invite(machine) => machine.become_reliable(),
            ClientMachine::Other(machine) => machine.become_reliable(),
        }
    }

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

impl Wire {
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
        let machine = ClientMachine::new(method, now, timing, reliable);
        let key = self.clients.insert(Client {
            machine,
            method,
            user,
            flow,
            carriage: Carriage::AsAsked,
            branch: Box::from(""),
            request: Bytes::new(),
            repeats: 0,
            ack: None,
            cancel: None,
            spent: 0,
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
    pub(crate) fn launch(&mut self, key: ClientKey, request: Bytes, now: Now) {
        let Some(client) = self.clients.get(key) else { return };
        let (flow, method) = (client.flow, client.method);
        let may_leave = !matches!(client.carriage, Carriage::OnItsFlow);
        let lifted = if may_leave { self.lifted(flow, method, &request, now) } else { None };
        let (flow, request) = match lifted {
            Some(lifted) => self.lift(key, lifted, request),
            None => (flow, request),
        };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.request = request.clone();
        self.rearm_client(key);
        self.send(flow, request, token_of(key));
    }

    /// The request of a prepared transaction leaves over its flow, however long it is.
    pub(crate) fn keep_to_flow(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key) {
            client.carriage = Carriage::OnItsFlow;
        }
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
            carriage: Carriage::AsAsked,
            branch,
            request: Bytes::new(),
            repeats: 0,
            ack: None,
            cancel: None,
            spent: 0,
            unwanted: Vec::new(),
            limit: None,
            armed: None,
        });
        if let Some(client) = self.clients.get_mut(invite) {
            client.cancel = Some(key);
        }
        self.launch(key, bytes, now);
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

    /// Whether a client transaction has this very branch.
    pub(crate) fn has_branch(&self, key: ClientKey, branch: &[u8]) -> bool {
        self.clients.get(key).is_some_and(|client| client.branch.as_bytes() == branch)
    }

    pub(crate) fn client_user(&self, key: ClientKey) -> Option<ClientUser> {
        self.clients.get(key).map(|client| client.user)
    }

    /// Whether nothing at all has come back of a request that is still on its way.
    pub(crate) fn is_unheard(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_some_and(|client| match &client.machine {
            ClientMachine::Invite(machine) => machine.state() == InviteClientState::Calling,
            ClientMachine::Other(machine) => machine.state() == NonInviteClientState::Trying,
        })
    }

    /// Whether no copy but the first has left.
    pub(crate) fn was_sent_once(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_some_and(|client| client.repeats == 0)
    }

    /// The requests on their way to a place of which nothing has come back.
    pub(crate) fn unheard_at(&self, flow: Flow) -> Vec<(SendToken, ClientUser)> {
        let there = self.clients.iter().filter(|(key, client)| client.flow == flow && self.is_unheard(*key));
        there.map(|(key, client)| (token_of(key), client.user)).collect()
    }

    /// Hands a response to its transaction; says whether the user is to see it. Follow with
    /// [`settle_client`](Wire::settle_client) when the user has: over a reliable transport a failure ends the transaction
    /// at once, and a user that is challenged makes the next request out of this one.
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
        self.send_of_client(key, step.send);
        (step.tell == Tell::Response).then_some(user)
    }

    /// The user of a transaction has heard what there was to hear.
    pub(crate) fn settle_client(&mut self, key: ClientKey) {
        self.rearm_client(key);
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

    /// A request of this CSeq number was sent within an early dialog of this INVITE.
    pub(crate) fn spend(&mut self, invite: ClientKey, cseq: u32) {
        if let Some(client) = self.clients.get_mut(invite) {
            client.spent = client.spent.max(cseq);
        }
    }

    /// The highest CSeq number within any early dialog of this INVITE; 0 where there was none.
    pub(crate) fn spent(&self, invite: ClientKey) -> u32 {
        self.clients.get(invite).map_or(0, |client| client.spent)
    }

    /// The ACKs of this INVITE's unwanted 2xx.
    pub(crate) fn unwanted(&mut self, key: ClientKey) -> Option<&mut Vec<Bytes>> {
        self.clients.get_mut(key).map(|client| &mut client.unwanted)
    }

    /// Whether the Via of a response is the one that the request went out with: its branch alone finds the transaction (RFC
    /// 3261 §17.1.3), its sent-by must be this box's (§18.1.2).
    pub(crate) fn is_from(&self, key: ClientKey, via: &Via<'_>) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let listener = self.listener(client.flow.listener);
        let advertise = listener.advertise.as_bytes();
        let usual = listener.transport.default_port();
        let (host, port) = match advertise.iter().rposition(|byte| *byte == b':') {
            Some(colon) if advertise.last() != Some(&b']') => advertise.split_at(colon),
            Some(_) | None => (advertise, &[][..]),
        };
        let port = std::str::from_utf8(port).ok().and_then(|port| port.strip_prefix(':')?.parse().ok());
        is_same_host(host, via.host) && port.unwrap_or(usual) == via.port.unwrap_or(usual)
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
        self.send_of_client(key, step.send);
        self.rearm_client(key);
    }

    fn send_of_client(&mut self, key: ClientKey, what: Send) {
        if let Some(client) = self.clients.get_mut(key) {
            let bytes = match what {
                Send::Nothing | Send::Response => None,
                Send::Retransmit => {
                    self.stats.retransmissions += 1;
                    client.repeats = client.repeats.saturating_add(1);
                    Some(client.request.clone())
                }
                Send::Ack => client.ack.clone(),
            };
            if let Some(bytes) = bytes {
                let flow = client.flow;
                self.send(flow, bytes, token_of(key));
            }
        }
    }

    pub(super) fn rearm_client(&mut self, key: ClientKey) {
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
            // The response of a CANCEL is found by way of its INVITE, and there is nothing left for it to end.
            if let Some(cancel) = client.cancel {
                self.remove_client(cancel);
            }
        }
    }

    /// A client transaction's deadline has come; says whom to tell that no answer will come.
    pub(crate) fn on_client_timeout(&mut self, key: ClientKey, now: Now) -> Option<Unanswered> {
        let client = self.clients.get_mut(key)?;
        client.armed = None;
        let given_up = client.limit.is_some_and(|limit| limit <= now.time) && !client.machine.is_answered();
        let unanswered = Unanswered { user: client.user, request: client.request.clone(), given_up };
        if given_up {
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

    /// What was sent with this token could not be delivered (RFC 3261 §17.1.4); says whom to tell. `is_left`: nobody waits for
    /// what came of it.
    pub(crate) fn on_undeliverable(
        &mut self,
        token: SendToken,
        is_left: bool,
        now: Now,
    ) -> Option<Unanswered> {
        let key = client_of(token);
        if !is_left && self.lower(key, now) {
            return None;
        }
        let client = self.clients.get_mut(key)?;
        // The ACK of a failure carries this token as well; its user has heard all there is to hear and may be elsewhere.
        let was_answered = client.machine.is_answered();
        let step = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.on_transport_error(),
            ClientMachine::Other(machine) => machine.on_transport_error(),
        };
        let unanswered = Unanswered { user: client.user, request: client.request.clone(), given_up: false };
        self.carry_out_client(key, step);
        (step.tell == Tell::TransportError && !was_answered).then_some(unanswered)
    }
}

/// The transaction that sent something with this token.
pub(crate) fn client_of(token: SendToken) -> ClientKey {
    ClientKey::from(slotmap::KeyData::from_ffi(token.0))
}

pub(super) fn token_of(key: ClientKey) -> SendToken {
    SendToken(slotmap::Key::data(&key).as_ffi())
}

/// An IPv6 address has many spellings.
fn is_same_host(one: &[u8], other: &[u8]) -> bool {
    let address = |host: &[u8]| {
        let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
        std::str::from_utf8(bare).ok()?.parse::<std::net::IpAddr>().ok()
    };
    one.eq_ignore_ascii_case(other) || address(one).is_some_and(|one| address(other) == Some(one))
}
