//! A phone: one side of one call, a user agent of its own (RFC 3261) with a script.
//!
//! A phone shares nothing with the product but the reading of messages: its transactions, dialog and descriptions are
//! written apart, so that one misunderstanding of the RFC cannot hide on both sides. It is told the time, fed with
//! datagrams and drained of what it sends. What no peer of it may do it notes as a complaint.

mod bargain;
mod callee;
mod caller;
mod client;
mod compose;
mod early;
mod server;
mod session;
mod stray;
mod talk;
mod timer;
mod transfer;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sip::{Message, Method, Name, Time};

use crate::chance::Chance;
use crate::oracle::MARK;
use crate::script::{CalleeScript, CallerScript, Offer, Stray, Talk};
use client::{Client, ClientState, Due, Purpose};
use compose::{Request, request};
use server::{Server, ServerState};
use session::Session;

pub use callee::{PASSWORD, USERNAME};

const SDP: &str = "application/sdp";
/// A stream that nobody offered.
const TOO_MANY: &str = "m=text 9 RTP/AVP 98\r\n";

/// What a phone means to do at a moment.
#[derive(Clone, Debug)]
enum Act {
    Invite,
    Cancel {
        rash: bool,
    },
    EarlyBye {
        tag: String,
    },
    Ack,
    Ring {
        status: u16,
        sdp: bool,
    },
    Answer {
        branch: String,
    },
    AnswerOffer {
        branch: String,
    },
    Refuse {
        branch: String,
        status: u16,
    },
    Again {
        bytes: Bytes,
    },
    Bye,
    /// The other phone behind the address answers, too; `interval` until it says so again.
    AnswerToo {
        branch: String,
        interval: Duration,
    },
    Die,
    Offer {
        offer: Offer,
        tries: u8,
    },
    Info,
    Refer {
        leaves: Option<Duration>,
    },
    /// The ACK of a re-INVITE.
    AckOffer {
        at: usize,
        answer: Option<String>,
    },
    RingAgain {
        rseq: u32,
        interval: Duration,
    },
    Prack {
        rack: String,
        answer: Option<String>,
    },
    Update,
    Withdraw {
        branch: String,
    },
    Refresh,
    Expire,
    Challenge {
        branch: String,
    },
}

/// Where a phone's call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Idle,
    Early,
    Confirmed,
    Ended,
}

#[derive(Clone, Debug)]
enum Role {
    Caller { script: CallerScript, wants_out: bool },
    Callee { script: CalleeScript, challenged: Option<String> },
}

/// Another phone behind the same address, reached by the same INVITE.
#[derive(Debug)]
struct Twin {
    tag: String,
    acked: bool,
    /// Its 2xx is repeated until then.
    until: Time,
}

/// One side of one call.
#[derive(Debug)]
pub struct Phone {
    address: SocketAddr,
    call_id: String,
    product: String,
    contact: String,
    /// Our From or To without tag.
    local: String,
    local_tag: String,
    /// It has said what it does not mean: an ACK in the place of an answer, a BYE before there was a call.
    muddled: bool,
    /// The tag of the phone that rang, when another one answered.
    rang_as: Option<String>,
    remote: String,
    remote_tag: Option<String>,
    target: String,
    routes: Vec<String>,
    cseq: u32,
    remote_cseq: Option<u32>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    agenda: Vec<(Time, Act)>,
    /// What it does out of turn, the earliest first.
    strays: Vec<(Time, Stray)>,
    stage: Stage,
    /// The 2xx of the call was acknowledged.
    acked: bool,
    /// The other phone behind this address that answered the same INVITE.
    twin: Option<Twin>,
    /// It speaks TCP: nothing is sent again but a 2xx.
    stream: bool,
    /// Switched off.
    dead: bool,
    answered: bool,
    early: early::EarlyDialog,
    /// The other one takes UPDATE.
    peer_updates: bool,
    timer: timer::Agreed,
    session: Session,
    /// The offer of a 2xx that the ACK will answer.
    due_answer: Vec<u8>,
    chance: Chance,
    role: Role,
    deadline: Option<Time>,
    /// What it sends, in order.
    pub outbox: Vec<Bytes>,
    /// What its peer did that no peer may do.
    pub complaints: Vec<String>,
    /// Bodies of INFO that came.
    pub heard: Vec<Vec<u8>>,
    /// Final statuses of its own requests, with their method.
    pub results: Vec<(&'static str, u16)>,
}

impl Phone {
    /// When [`on_timeout`](Phone::on_timeout) must be called.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Whether it believes that a call goes on.
    pub fn is_in_call(&self) -> bool {
        self.stage == Stage::Confirmed
    }

    /// Whether it talks and nothing is under way that could change with whom or how.
    pub fn is_at_rest(&self) -> bool {
        let asks = self
            .clients
            .iter()
            .any(|client| matches!(client.method, "INVITE" | "UPDATE") && client.is_open());
        let asked = self.servers.iter().any(|server| server.method == "INVITE" && !server.is_done());
        let acknowledged =
            self.clients.iter().all(|client| client.method != "INVITE" || client.is_acknowledged());
        let settled = acknowledged && !self.muddled && self.twin.is_none();
        self.stage == Stage::Confirmed && !asks && !asked && settled
    }

    /// Whether it may have said something else than it believes.
    pub fn is_muddled(&self) -> bool {
        self.muddled
    }

    /// Where it hears what the other one says.
    pub fn listens_at(&self) -> SocketAddr {
        self.session.listens_at()
    }

    /// The first final status that its INVITE got.
    pub fn first_final(&self) -> Option<u16> {
        let invite = self.clients.iter().find(|client| client.purpose == Purpose::Invite)?;
        match invite.state {
            ClientState::Finished(status) => Some(status),
            ClientState::TimedOut => Some(408),
            ClientState::Waiting | ClientState::Proceeding => None,
        }
    }

    /// Whether it has answered a call, or its own was answered.
    pub fn has_answered(&self) -> bool {
        self.answered || matches!(self.first_final(), Some(200..300))
    }

    /// Whether its answers have a stream too many.
    pub(crate) fn botches(&self) -> bool {
        self.talk().terms.botches
    }

    /// Whether it speaks TCP.
    pub fn is_on_stream(&self) -> bool {
        self.stream
    }

    /// Whether it was switched off.
    pub fn is_switched_off(&self) -> bool {
        self.dead
    }

    /// Forgets all that it meant to do.
    pub(crate) fn stay_at_home(&mut self) {
        self.agenda.clear();
        self.strays.clear();
        self.rearm();
    }

    /// Its Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// What stands for it alone, and must not be seen on the other side.
    pub fn secrets(&self) -> Vec<String> {
        vec![
            self.address.ip().to_string(),
            self.call_id.clone(),
            self.local_tag.clone(),
            self.product.clone(),
            self.contact.trim_matches(['<', '>']).to_owned(),
            self.session.id.to_string(),
        ]
    }

    /// Whether this response answers a request of its own.
    pub fn asked(&self, response: &Message<'_>) -> bool {
        let (Ok(via), Ok(cseq)) = (response.via(), response.cseq()) else { return false };
        self.clients.iter().any(|client| {
            via.branch() == Some(client.branch.as_bytes()) && client.method.as_bytes() == cseq.method_text
        })
    }

    /// Its time has come.
    pub fn on_timeout(&mut self, now: Time) {
        if self.dead {
            return;
        }
        while let Some(at) = self.agenda.iter().position(|(time, _)| *time <= now) {
            let (_, act) = self.agenda.remove(at);
            self.perform(act, now);
        }
        self.stray(now);
        for at in 0..self.clients.len() {
            match self.clients[at].on_timeout(now) {
                Due::Nothing => {}
                Due::Send(bytes) => self.outbox.push(bytes),
                Due::GaveUp => self.on_client_timeout(at, now),
            }
        }
        for at in 0..self.servers.len() {
            match self.servers[at].on_timeout(now) {
                Ok(bytes) => self.outbox.extend(bytes),
                Err(status) if status < 300 => {
                    // RFC 3261 §13.3.1.4: never acknowledged, so it is ended.
                    self.acked = true;
                    self.hang_up(now);
                }
                Err(_) => {}
            }
        }
        self.rearm();
    }

    /// A datagram of the box arrived.
    pub fn receive(&mut self, bytes: &Bytes, now: Time) {
        if self.dead {
            return;
        }
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.on_request(&message, bytes, now),
            Ok(message) => self.on_response(&message, now),
            Err(error) => self.complaints.push(format!("cannot be read: {error}")),
        }
        self.rearm();
    }

    fn rearm(&mut self) {
        let strays = self.strays.first().map(|(time, _)| *time);
        let acts = self.agenda.iter().map(|(time, _)| *time).chain(strays);
        let clients = self.clients.iter().filter_map(Client::deadline);
        let servers = self.servers.iter().filter_map(Server::deadline);
        self.deadline = if self.dead { None } else { acts.chain(clients).chain(servers).min() };
    }

    fn plan(&mut self, at: Time, act: Act) {
        self.agenda.push((at, act));
        self.agenda.sort_by_key(|(time, _)| *time);
    }

    fn perform(&mut self, act: Act, now: Time) {
        match act {
            Act::Invite => self.invite("", now),
            Act::Cancel { rash } => self.leave(rash, now),
            Act::EarlyBye { tag } => self.leave_early(tag, now),
            Act::Ack => self.send_ack(now),
            Act::Ring { status, sdp } => self.ring(status, sdp, now),
            Act::Answer { branch } => self.answer(&branch, now),
            Act::AnswerOffer { branch } => self.answer_offer(&branch, now),
            Act::Refuse { branch, status } => self.refuse(&branch, status, now),
            Act::Again { bytes } => self.outbox.push(bytes),
            Act::Bye => self.hang_up(now),
            Act::AnswerToo { branch, interval } => self.answer_too(branch, interval, now),
            Act::Die => {
                self.dead = true;
                self.stage = Stage::Ended;
            }
            Act::Offer { offer, tries } => self.offer(offer, tries, now),
            Act::Info => self.inform(now),
            Act::Refer { leaves } => self.refer("", leaves, now),
            Act::AckOffer { at, answer } => self.ack_success(at, answer),
            Act::RingAgain { rseq, interval } => self.ring_again(rseq, interval, now),
            Act::Prack { rack, answer } => self.send_prack(rack, answer, now),
            Act::Update => self.update(now),
            Act::Withdraw { branch } => self.withdraw(&branch, now),
            Act::Refresh => self.refresh(now),
            Act::Expire => self.hang_up(now),
            Act::Challenge { branch } => self.challenge_late(&branch, now),
        }
    }

    fn on_response(&mut self, response: &Message<'_>, now: Time) {
        let (Ok(via), Ok(cseq)) = (response.via(), response.cseq()) else {
            self.complaints.push("a response without Via or CSeq".to_owned());
            return;
        };
        let branch = String::from_utf8_lossy(via.branch().unwrap_or_default()).into_owned();
        let found = self
            .clients
            .iter()
            .position(|client| client.branch == branch && client.method.as_bytes() == cseq.method_text);
        let Some(at) = found else {
            self.complaints.push(format!("a response to no request of ours: branch {branch}"));
            return;
        };
        let status = response.status().unwrap_or(0);
        let first = self.clients[at].on_response(status);
        if first {
            self.results.push((self.clients[at].method, status));
        }
        match self.clients[at].purpose {
            Purpose::Invite => self.on_invite_response(at, first, response, now),
            Purpose::Reinvite { offered } => self.on_offer_response(at, first, offered, response, now),
            Purpose::Refer { leaves } => {
                if let (true, 202, Some(after)) = (first, status, leaves) {
                    self.plan(now + after, Act::Bye);
                }
            }
            Purpose::Prack if first && status < 300 => self.plan_update(now),
            Purpose::Update { offered } => self.on_update_response(at, first, offered, response, now),
            Purpose::Prack | Purpose::Other => {}
        }
    }

    fn on_request(&mut self, request: &Message<'_>, bytes: &Bytes, now: Time) {
        let (Ok(via), Ok(cseq)) = (request.via(), request.cseq()) else {
            self.complaints.push("a request without Via or CSeq".to_owned());
            return;
        };
        let branch = String::from_utf8_lossy(via.branch().unwrap_or_default()).into_owned();
        match request.method() {
            Method::Ack if self.is_for_twin(request) => return self.twin_hears(request),
            Method::Ack => return self.on_ack(&branch, request, cseq.number),
            Method::Cancel => return self.on_cancel(&branch, request, bytes, now),
            _ => {}
        }
        if self.is_for_twin(request) {
            return self.twin_hears(request);
        }
        let method = String::from_utf8_lossy(cseq.method_text).into_owned();
        let known = self.servers.iter().find(|server| server.branch == branch && server.method == method);
        if let Some(server) = known {
            self.outbox.extend(server.on_request_again());
            return;
        }
        self.servers.push(Server::new(branch.clone(), method, cseq.number, bytes.clone()));
        let at = self.servers.len() - 1;
        if self.ignores(request) {
            return;
        }
        if request.to().is_ok_and(|to| to.tag().is_some()) {
            self.on_dialog_request(at, request, now);
        } else {
            self.on_invited(at, request, now);
        }
    }

    fn on_ack(&mut self, branch: &str, ack: &Message<'_>, cseq: u32) {
        // An answer that a later offer has overtaken is about a session that is no more.
        let overtaken = self.servers.iter().any(|server| server.method == "INVITE" && server.cseq > cseq);
        let found = self.servers.iter_mut().find(|server| {
            server.method == "INVITE"
                && match server.state {
                    ServerState::Unacked(status) | ServerState::Done(status) if status >= 300 => {
                        server.branch == branch
                    }
                    ServerState::Unacked(_) | ServerState::Done(_) => server.cseq == cseq,
                    ServerState::Open => false,
                }
        });
        let Some(server) = found else {
            self.complaints.push(format!("an ACK for nothing: CSeq {cseq}, branch {branch}"));
            return;
        };
        let status = match server.state {
            ServerState::Unacked(status) | ServerState::Done(status) => status,
            ServerState::Open => 0,
        };
        let offered = Message::parse(&server.request).is_ok_and(|invite| !invite.body().is_empty());
        // The ACK may be so late that another offer has come and gone since.
        let streams = server.streams_said();
        if server.on_ack() && status < 300 {
            self.acked = true;
            if !offered
                && !overtaken
                && !ack.body().is_empty()
                && let Err(what) = Session::answers(ack.body(), streams)
            {
                self.complaints.push(what);
            }
        }
    }

    fn respond(&mut self, at: usize, status: u16, body: Option<&str>, now: Time) {
        self.respond_with(at, status, &[], body, now);
    }

    fn respond_with(
        &mut self,
        at: usize,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<&str>,
        now: Time,
    ) {
        let bytes = self.servers[at].request.clone();
        let Ok(request) = Message::parse(&bytes) else { return };
        let contact = self.contact.clone();
        let product = self.product.clone();
        let mut all = vec![("Server", product.as_str())];
        if request.method() == Method::Invite && (101..300).contains(&status) {
            all.push(("Contact", contact.as_str()));
        }
        if request.method() == Method::Invite && status == 200 && self.talk().terms.updates {
            all.push(("Allow", early::ALLOW));
        }
        all.extend_from_slice(headers);
        let body = body.map(|body| (SDP, body));
        let timer = if status == 200 { self.grant(&request, now) } else { String::new() };
        let response = compose::response(&request, status, Some(&self.local_tag), &all, body);
        let response = early::with_headers(&response, &timer);
        self.outbox.push(response.clone());
        let repeats = !self.stream || status < 300;
        self.servers[at].sent(status, response, now, repeats);
    }

    /// A new request of ours within or before the dialog; gives the transaction's place.
    fn send(
        &mut self,
        method: &'static str,
        purpose: Purpose,
        body: Option<(&str, &str)>,
        now: Time,
    ) -> usize {
        self.send_with(method, purpose, "", body, now)
    }

    /// [`send`](Phone::send) with header lines of its own.
    fn send_with(
        &mut self,
        method: &'static str,
        purpose: Purpose,
        lines: &str,
        body: Option<(&str, &str)>,
        now: Time,
    ) -> usize {
        self.cseq +=
            if self.talk().jumps { 1 + u32::try_from(self.chance.below(100_000)).unwrap_or(0) } else { 1 };
        let branch = format!("z9hG4bK{}", self.chance.word());
        let from = format!("{};tag={}", self.local, self.local_tag);
        let to = match &self.remote_tag {
            Some(tag) => format!("{};tag={tag}", self.remote),
            None => self.remote.clone(),
        };
        let bytes = request(&Request {
            method,
            uri: &self.target,
            via: self.address,
            stream: self.stream,
            branch: &branch,
            routes: &self.routes,
            from: &from,
            to: &to,
            call_id: &self.call_id,
            cseq: self.cseq,
            contact: matches!(method, "INVITE" | "REFER" | "UPDATE").then_some(&self.contact),
            product: &self.product,
            body,
        });
        let timer = self.ask(method);
        let mark = match purpose {
            Purpose::Reinvite { .. } => {
                let at = self.session.listens_at().port();
                format!("{MARK}: {at}-{}\r\n", self.cseq)
            }
            Purpose::Invite
            | Purpose::Refer { .. }
            | Purpose::Prack
            | Purpose::Update { .. }
            | Purpose::Other => String::new(),
        };
        let bytes = early::with_headers(&early::with_headers(&bytes, lines), &(timer + &mark));
        self.outbox.push(bytes.clone());
        self.clients.push(Client::new(branch, method, self.cseq, purpose, bytes, (now, self.stream)));
        self.clients.len() - 1
    }

    /// The dialog that a 2xx makes at its UAC (RFC 3261 §12.1.2).
    fn establish(&mut self, response: &Message<'_>) {
        let Ok(to) = response.to() else { return };
        self.remote_tag = to.tag().map(|tag| String::from_utf8_lossy(tag).into_owned());
        self.routes = response
            .elements(Name::RecordRoute)
            .map(|route| String::from_utf8_lossy(route).into_owned())
            .collect();
        self.routes.reverse();
        self.peer_updates = bargain::takes_update(response);
        self.retarget(response);
        self.stage = Stage::Confirmed;
    }

    fn retarget(&mut self, message: &Message<'_>) {
        match message.contact() {
            Ok(Some(contact)) => self.target = String::from_utf8_lossy(contact.uri).into_owned(),
            Ok(None) | Err(_) => self.complaints.push("a dialog without Contact".to_owned()),
        }
    }

    /// The script's plans for the dialog, from now.
    fn begin_talk(&mut self, talk: &Talk, now: Time) {
        if let Some(bye) = talk.bye {
            self.plan(now + bye, Act::Bye);
        }
        for (after, offer) in talk.offers.clone() {
            self.plan(now + after, Act::Offer { offer, tries: 0 });
        }
        if let Some(dies) = talk.dies {
            self.plan(now + dies, Act::Die);
        }
        if let Some((after, leaves)) = talk.refers {
            self.plan(now + after, Act::Refer { leaves });
        }
        if let Some(info) = talk.info {
            self.plan(now + info, Act::Info);
        }
    }

    fn is_caller(&self) -> bool {
        matches!(self.role, Role::Caller { .. })
    }

    fn talk(&self) -> &Talk {
        match &self.role {
            Role::Caller { script, .. } => &script.talk,
            Role::Callee { script, .. } => &script.talk,
        }
    }
}
