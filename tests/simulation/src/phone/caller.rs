//! The caller: INVITE, CANCEL, ACK.

use std::net::SocketAddr;

use sip::{Message, Time};

use super::client::{Client, ClientState, Purpose};
use super::compose::{self, Request, request};
use super::{Act, Phone, Role, SDP, Session, Stage, TOO_MANY};
use crate::chance::Chance;
use crate::script::{Ack, CallerScript, Cancel};

impl Phone {
    /// A caller that will call `number` at the box.
    pub fn caller(
        address: SocketAddr,
        the_box: SocketAddr,
        number: &str,
        script: CallerScript,
        mut chance: Chance,
    ) -> Phone {
        let user = format!("u{}", chance.word());
        let transport = if script.stream { ";transport=tcp" } else { "" };
        let session = Session::new(
            7_000_000_000_000 + chance.below(999_999_999_999),
            address.ip(),
            50_000,
            script.streams,
        );
        let mut phone = Phone {
            address,
            call_id: format!("ca-{}", chance.word()),
            product: format!("Caller-{}", chance.word()),
            contact: format!("<sip:{user}@{address}{transport}>"),
            local: format!("\"Caller\" <sip:caller@{}>", address.ip()),
            local_tag: format!("tc{}", chance.word()),
            rang_as: None,
            muddled: false,
            remote: format!("<sip:{number}@{}>", the_box.ip()),
            remote_tag: None,
            target: format!("sip:{number}@{}", the_box.ip()),
            routes: Vec::new(),
            cseq: u32::try_from(chance.below(1_000)).unwrap_or(0),
            remote_cseq: None,
            clients: Vec::new(),
            servers: Vec::new(),
            agenda: Vec::new(),
            strays: Vec::new(),
            stage: Stage::Idle,
            acked: false,
            twin: None,
            stream: script.stream,
            dead: false,
            answered: false,
            early: super::early::EarlyDialog::default(),
            peer_updates: false,
            timer: super::timer::Agreed::default(),
            session,
            due_answer: Vec::new(),
            chance,
            role: Role::Caller { script: script.clone(), wants_out: false },
            deadline: None,
            outbox: Vec::new(),
            complaints: Vec::new(),
            heard: Vec::new(),
            results: Vec::new(),
        };
        phone.plan(Time::ZERO + script.start, Act::Invite);
        phone.rearm();
        phone
    }

    /// The INVITE, with header lines of its own.
    pub(super) fn invite(&mut self, lines: &str, now: Time) {
        let Role::Caller { script, .. } = &self.role else { return };
        let script = script.clone();
        let offer = script.offer.then(|| self.session.offer("sendrecv"));
        self.stage = Stage::Early;
        let abilities = self.abilities() + lines;
        let body = offer.as_deref().map(|offer| (SDP, offer));
        self.send_with("INVITE", Purpose::Invite, &abilities, body, now);
        self.plan_strays(now);
        match script.cancel {
            Some(Cancel::Rash(after)) => self.plan(now + after, Act::Cancel { rash: true }),
            Some(Cancel::Patient(after)) => self.plan(now + after, Act::Cancel { rash: false }),
            Some(Cancel::Ringing(_) | Cancel::Bye(_)) | None => {}
        }
    }

    pub(super) fn leave(&mut self, rash: bool, now: Time) {
        let Some(invite) = self.clients.iter().find(|client| client.purpose == Purpose::Invite) else {
            return;
        };
        let bytes = invite.request.clone();
        match invite.state {
            ClientState::Waiting if !rash => self.want_out(),
            ClientState::Waiting | ClientState::Proceeding => {
                let Ok(message) = Message::parse(&bytes) else { return };
                let branch = invite.branch.clone();
                let cseq = invite.cseq;
                let cancel = compose::of_request(&message, "CANCEL", &self.remote);
                self.outbox.push(cancel.clone());
                self.clients.push(Client::new(
                    branch,
                    "CANCEL",
                    cseq,
                    Purpose::Other,
                    cancel,
                    (now, self.stream),
                ));
                self.want_out();
                // A second CANCEL would be a transaction of the same branch.
                self.agenda.retain(|(_, act)| !matches!(act, Act::Cancel { .. }));
            }
            ClientState::Finished(_) | ClientState::TimedOut => self.hang_up(now),
        }
    }

    /// BYE in an early dialog (RFC 3261 §15): the INVITE is answered with 487.
    pub(super) fn leave_early(&mut self, tag: String, now: Time) {
        let left = self.clients.iter().any(|client| client.method == "BYE");
        if self.stage == Stage::Early && !left {
            self.remote_tag = Some(tag);
            self.send("BYE", Purpose::Other, None, now);
            self.want_out();
        }
    }

    fn want_out(&mut self) {
        if let Role::Caller { wants_out, .. } = &mut self.role {
            *wants_out = true;
        }
    }

    fn has_cancelled(&self) -> bool {
        self.clients.iter().any(|client| client.method == "CANCEL")
    }

    pub(super) fn on_invite_response(&mut self, at: usize, first: bool, response: &Message<'_>, now: Time) {
        let Role::Caller { script, wants_out } = &self.role else { return };
        let (script, wants_out) = (script.clone(), *wants_out);
        let status = response.status().unwrap_or(0);
        match status {
            ..200 => {
                if status > 100 && self.clients[at].is_open() {
                    self.note_early_tag(response);
                    self.on_provisional(self.clients[at].cseq, response, now);
                }
                if wants_out && !self.has_cancelled() && self.clients[at].is_open() {
                    self.leave(false, now);
                }
                if let Some(Cancel::Bye(after)) = script.cancel
                    && status > 100
                    && !self.agenda.iter().any(|(_, act)| matches!(act, Act::EarlyBye { .. }))
                    && let Some(tag) = response.to().ok().and_then(|to| to.tag())
                {
                    let tag = String::from_utf8_lossy(tag).into_owned();
                    self.plan(now + after, Act::EarlyBye { tag });
                }
                let planned = self.agenda.iter().any(|(_, act)| matches!(act, Act::Cancel { .. }));
                if let Some(Cancel::Ringing(after)) = script.cancel
                    && status > 100
                    && !planned
                    && !self.has_cancelled()
                {
                    self.plan(now + after, Act::Cancel { rash: false });
                }
            }
            200..300 if first => {
                self.establish(response);
                self.agree(response, now);
                self.take_answer(script.offer, response);
                match script.ack {
                    Ack::Prompt => self.send_ack(now),
                    Ack::Late(after) => self.plan(now + after, Act::Ack),
                    Ack::Never => {}
                }
                self.begin_talk(&script.talk, now);
                if wants_out {
                    self.plan(now, Act::Bye);
                }
            }
            200..300 => self.outbox.extend(self.clients[at].ack.clone()),
            _ => {
                self.ack_failure(at, response);
                if first {
                    self.stage = Stage::Ended;
                    self.agenda.clear();
                }
            }
        }
    }

    fn take_answer(&mut self, offered: bool, response: &Message<'_>) {
        // RFC 3262 §5: a reliable response answered already.
        if self.early.agreed && response.body().is_empty() {
            return;
        }
        if !offered {
            self.due_answer = response.body().to_vec();
        } else if let Err(what) = self.session.accepts(response.body()) {
            self.complaints.push(format!("200: {what}"));
        }
    }

    /// RFC 3261 §17.1.1.3.
    pub(super) fn ack_failure(&mut self, at: usize, response: &Message<'_>) {
        let invite = self.clients[at].request.clone();
        let to = String::from_utf8_lossy(response.first(sip::Name::To).unwrap_or_default()).into_owned();
        if let Ok(invite) = Message::parse(&invite) {
            self.outbox.push(compose::of_request(&invite, "ACK", &to));
        }
    }

    /// The ACK of the call's 2xx (RFC 3261 §13.2.2.4).
    pub(super) fn send_ack(&mut self, _now: Time) {
        let Some(at) = self.clients.iter().position(|client| client.purpose == Purpose::Invite) else {
            return;
        };
        let Role::Caller { script, .. } = &self.role else { return };
        let offered = script.offer || self.due_answer.is_empty();
        let offer = std::mem::take(&mut self.due_answer);
        let answer = if offered {
            None
        } else {
            self.session.answer(&offer).map_err(|what| self.complaints.push(what)).ok()
        };
        self.acked = true;
        self.ack_success(at, answer);
    }

    pub(super) fn ack_success(&mut self, at: usize, mut answer: Option<String>) {
        if self.clients[at].ack.is_some() {
            return;
        }
        if let Some(answer) = answer.as_mut().filter(|_| self.talk().terms.garbles) {
            "m=nonsense\r\n".clone_into(answer);
        }
        let again = matches!(self.clients[at].purpose, Purpose::Reinvite { .. });
        if again && self.talk().terms.botches {
            // Also where nothing is to be answered.
            let offer = || self.session.clone().offer("sendrecv");
            answer = Some(answer.unwrap_or_else(offer) + TOO_MANY);
        }
        let branch = format!("z9hG4bK{}", self.chance.word());
        let from = format!("{};tag={}", self.local, self.local_tag);
        let to = format!("{};tag={}", self.remote, self.remote_tag.as_deref().unwrap_or_default());
        let ack = request(&Request {
            method: "ACK",
            uri: &self.target,
            via: self.address,
            stream: self.stream,
            branch: &branch,
            routes: &self.routes,
            from: &from,
            to: &to,
            call_id: &self.call_id,
            cseq: self.clients[at].cseq,
            contact: None,
            product: &self.product,
            body: answer.as_deref().map(|answer| (SDP, answer)),
        });
        self.outbox.push(ack.clone());
        self.clients[at].ack = Some(ack);
    }
}
