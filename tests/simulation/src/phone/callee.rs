//! The callee: ringing, answering, refusing, and what a CANCEL meets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sip::{Authorization, Message, Method, Name, Time};

use super::client::{PATIENCE, T1, T2};
use super::server::{Server, ServerState};
use super::{Act, Phone, Role, SDP, Session, Stage, Twin, compose};
use crate::chance::Chance;
use crate::script::{Behind, CalleeScript, Manners, OnCancel, Outcome};
use crate::world::carrier_address;

/// What the guarded carrier wants to hear.
pub const USERNAME: &str = "drawbridge";
/// How nonces begin that are too old when they come back.
const OLD: &str = "old-";
/// Its password.
pub const PASSWORD: &str = "moat and chain";

impl Phone {
    /// The phone that an INVITE of the box finds at `address`.
    pub fn callee(
        address: SocketAddr,
        invite: &Message<'_>,
        script: CalleeScript,
        mut chance: Chance,
    ) -> Phone {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let user = format!("u{}", chance.word());
        let stream = invite.first(Name::Via).is_some_and(|via| via.starts_with(b"SIP/2.0/TCP"));
        let transport = if stream { ";transport=tcp" } else { "" };
        let from = text(invite.first(Name::From));
        let port = 58_000 + 8 * u16::try_from(chance.below(500)).unwrap_or(0);
        let session = Session::new(
            8_000_000_000_000 + chance.below(999_999_999_999),
            address.ip(),
            port,
            script.streams,
        );
        let contact = invite.contact().ok().flatten().map(|contact| contact.uri);
        let mut routes: Vec<String> =
            invite.elements(Name::RecordRoute).map(|route| text(Some(route))).collect();
        routes.reverse();
        Phone {
            address,
            call_id: text(invite.call_id().ok()),
            product: format!("Callee-{}", chance.word()),
            contact: format!("<sip:{user}@{address}{transport}>"),
            local: text(invite.first(Name::To)),
            local_tag: format!("tb{}", chance.word()),
            rang_as: None,
            muddled: false,
            remote: from.split(";tag=").next().unwrap_or_default().to_owned(),
            remote_tag: invite.from().ok().and_then(|from| from.tag()).map(|tag| text(Some(tag))),
            target: text(contact),
            routes,
            cseq: 0,
            remote_cseq: None,
            clients: Vec::new(),
            servers: Vec::new(),
            agenda: Vec::new(),
            strays: Vec::new(),
            stage: Stage::Early,
            acked: false,
            twin: None,
            stream,
            dead: false,
            answered: false,
            early: super::early::EarlyDialog::default(),
            peer_updates: super::bargain::takes_update(invite),
            timer: super::timer::Agreed::default(),
            session,
            due_answer: Vec::new(),
            chance,
            role: Role::Callee { script, challenged: None },
            deadline: None,
            outbox: Vec::new(),
            complaints: Vec::new(),
            heard: Vec::new(),
            results: Vec::new(),
        }
    }

    /// An INVITE outside of a dialog: the call, or the call again with credentials.
    pub(super) fn on_invited(&mut self, at: usize, invite: &Message<'_>, now: Time) {
        let Role::Callee { script, challenged } = &mut self.role else {
            self.complaints.push("a request without To-tag".to_owned());
            return;
        };
        let script = script.clone();
        if self.servers[at].method != "INVITE" {
            self.complaints.push(format!("{} without To-tag", self.servers[at].method));
            return self.respond(at, 481, None, now);
        }
        if script.challenges {
            match challenged.clone() {
                None if script.talk.quirks.challenges_late.is_some() => {}
                None => {
                    let age = if self.chance.happens(250) { OLD } else { "" };
                    let nonce = format!("{age}{}", self.chance.word());
                    *challenged = Some(nonce.clone());
                    return self.challenge(at, &nonce, "", now);
                }
                Some(nonce) if !is_authorized(invite, &nonce) => {
                    self.complaints.push("a challenge answered wrongly".to_owned());
                    return self.respond(at, 403, None, now);
                }
                Some(nonce) if nonce.starts_with(OLD) => {
                    let nonce = self.chance.word();
                    *challenged = Some(nonce.clone());
                    return self.challenge(at, &nonce, ", stale=true", now);
                }
                Some(_) => {}
            }
        }
        if self.is_too_fast(invite) {
            return self.respond_with(at, 422, &[("Min-SE", "120")], None, now);
        }
        if self.lacks_extension(invite) {
            self.stage = Stage::Ended;
            return self.respond_with(at, 421, &[("Require", "100rel")], None, now);
        }
        if self.strays.is_empty() {
            self.plan_strays(now);
        }
        let branch = self.servers[at].branch.clone();
        let is_first = script.challenges && matches!(&self.role, Role::Callee { challenged: None, .. });
        if let Some(after) = script.talk.quirks.challenges_late.filter(|_| is_first) {
            self.plan(now + after, Act::Challenge { branch: branch.clone() });
        }
        if let Some(after) = script.trying {
            self.plan(now + after, Act::Ring { status: 100, sdp: false });
        }
        for ring in &script.rings {
            self.plan(now + ring.after, Act::Ring { status: ring.status, sdp: ring.sdp });
        }
        match script.outcome {
            Outcome::Answer(after) => self.plan(now + after, Act::Answer { branch }),
            Outcome::Refuse(after, status) => self.plan(now + after, Act::Refuse { branch, status }),
            Outcome::Never | Outcome::Deaf | Outcome::Unreachable => {}
        }
        self.on_timeout(now);
    }

    pub(super) fn wants_credentials(&mut self, nonce: String) {
        if let Role::Callee { challenged, .. } = &mut self.role {
            *challenged = Some(nonce);
        }
    }

    pub(super) fn challenge(&mut self, at: usize, nonce: &str, stale: &str, now: Time) {
        let value =
            format!("Digest realm=\"carrier\", nonce=\"{nonce}\", algorithm=SHA-256, qop=\"auth\"{stale}");
        self.respond_with(at, 407, &[("Proxy-Authenticate", &value)], None, now);
    }

    /// Where else the number may be reached: at carriers, this one among them.
    fn other_places(&mut self) -> String {
        let user = self.local.split("sip:").nth(1).and_then(|uri| uri.split('@').next()).unwrap_or_default();
        let user = user.to_owned();
        let places = (0..1 + self.chance.below(3)).map(|_| {
            let place = carrier_address(u8::try_from(self.chance.below(5)).unwrap_or(0));
            format!("<sip:{user}@{place}>;q=0.{}", self.chance.below(10))
        });
        places.collect::<Vec<_>>().join(", ")
    }

    fn ringing(&self) -> Option<usize> {
        self.servers.iter().rposition(Server::is_open_invite)
    }

    pub(super) fn ring(&mut self, status: u16, sdp: bool, now: Time) {
        if self.stage != Stage::Early {
            return;
        }
        let Some(at) = self.ringing() else { return };
        if self.ring_reliably(at, status, sdp, now) {
            return;
        }
        let body = if sdp { self.describe(at) } else { None };
        self.respond(at, status, body.as_deref(), now);
    }

    /// The answer to the INVITE's offer, or an offer when it had none.
    pub(super) fn describe(&mut self, at: usize) -> Option<String> {
        let bytes = self.servers[at].request.clone();
        let invite = Message::parse(&bytes).ok()?;
        if invite.body().is_empty() {
            return Some(self.session.offer("sendrecv"));
        }
        match self.session.answer(invite.body()) {
            Ok(answer) => Some(answer),
            Err(what) => {
                self.complaints.push(what);
                None
            }
        }
    }

    pub(super) fn answer(&mut self, branch: &str, now: Time) {
        let Some(at) = self.open_server(branch) else { return };
        if self.must_wait_for_prack(branch, now) {
            return;
        }
        let Role::Callee { script, .. } = &self.role else { return };
        let script = script.clone();
        if script.behind == Behind::Another {
            let rang = std::mem::replace(&mut self.local_tag, format!("tb{}", self.chance.word()));
            self.rang_as = Some(rang);
            self.remote_cseq = None;
            self.early.agreed = false;
        }
        let body = match (self.early.agreed && !script.talk.quirks.repeats, script.garbles) {
            // RFC 3262 §5: said in a reliable response already.
            (true, _) => None,
            (false, true) => Some("m=nonsense\r\n".to_owned()),
            (false, false) => self.describe(at),
        };
        self.respond(at, 200, body.as_deref(), now);
        self.stage = Stage::Confirmed;
        self.answered = true;
        self.acked = false;
        if let Behind::Two(after) = script.behind {
            let tag = format!("tb{}", self.chance.word());
            self.twin = Some(Twin { tag, acked: false, until: now + after + PATIENCE });
            self.plan(now + after, Act::AnswerToo { branch: branch.to_owned(), interval: T1 });
        }
        if script.stutters
            && let Some(bytes) = self.outbox.last().cloned()
        {
            self.plan(now + Duration::from_micros(300), Act::Again { bytes });
        }
        self.begin_talk(&script.talk, now);
    }

    /// The second phone's 2xx, repeated like any other until its ACK comes.
    pub(super) fn answer_too(&mut self, branch: String, interval: Duration, now: Time) {
        let Some(twin) = self.twin.as_ref().filter(|twin| !twin.acked && now < twin.until) else { return };
        let of_invite = |server: &&Server| server.branch == branch && server.method == "INVITE";
        let Some(server) = self.servers.iter().find(of_invite) else { return };
        let Ok(invite) = Message::parse(&server.request) else { return };
        let offered = sip::Sdp::parse(invite.body()).map_or(1, |offer| offer.streams().len());
        let mut body = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 61000 RTP/AVP 8\r\n",
            ip = self.address.ip()
        );
        body.push_str(&"m=video 0 RTP/AVP 31\r\n".repeat(offered.saturating_sub(1)));
        let headers = [("Contact", self.contact.as_str())];
        self.outbox.push(compose::response(&invite, 200, Some(&twin.tag), &headers, Some((SDP, &body))));
        self.plan(now + interval, Act::AnswerToo { branch, interval: (interval * 2).min(T2) });
    }

    pub(super) fn is_for_twin(&self, request: &Message<'_>) -> bool {
        let tag = request.to().ok().and_then(|to| to.tag());
        self.twin.as_ref().is_some_and(|twin| tag == Some(twin.tag.as_bytes()))
    }

    /// Whichever 2xx comes first at the box is the call; the oracle sees to it that the other one gets ACK and BYE. A twin
    /// that was faster keeps to what needs no session.
    pub(super) fn twin_hears(&mut self, request: &Message<'_>) {
        let Some(twin) = &mut self.twin else { return };
        let status = match request.method() {
            Method::Ack => {
                twin.acked = true;
                return;
            }
            Method::Invite => 488,
            Method::Update if !request.body().is_empty() => 488,
            _ => 200,
        };
        self.outbox.push(compose::response(request, status, None, &[], None));
    }

    pub(super) fn refuse(&mut self, branch: &str, status: u16, now: Time) {
        let Some(at) = self.open_server(branch) else { return };
        if status / 100 == 3 {
            let places = self.other_places();
            self.respond_with(at, status, &[("Contact", &places)], None, now);
        } else {
            self.respond(at, status, None, now);
        }
        if self.stage == Stage::Early {
            self.stage = Stage::Ended;
            self.agenda.clear();
        }
    }

    pub(super) fn open_server(&self, branch: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.is_open_invite() && server.branch == branch)
    }

    pub(super) fn on_cancel(&mut self, branch: &str, cancel: &Message<'_>, bytes: &Bytes, now: Time) {
        let known = self.servers.iter().find(|server| server.branch == branch && server.method == "CANCEL");
        if let Some(server) = known {
            self.outbox.extend(server.on_request_again());
            return;
        }
        let invite = self.servers.iter().find(|server| server.branch == branch && server.method == "INVITE");
        let Some(state) = invite.map(|server| server.state) else {
            self.complaints.push(format!("a CANCEL that matches nothing: branch {branch}"));
            self.outbox.push(compose::response(cancel, 481, Some(&self.local_tag), &[], None));
            return;
        };
        let number = cancel.cseq().map_or(0, |cseq| cseq.number);
        let in_dialog = cancel.to().is_ok_and(|to| to.tag().is_some());
        if in_dialog && self.talk().manners == Manners::Mute {
            return;
        }
        self.servers.push(Server::new(branch.to_owned(), "CANCEL".to_owned(), number, bytes.clone()));
        let at = self.servers.len() - 1;
        if in_dialog {
            return self.on_withdrawn(at, branch, state, now);
        }
        let Role::Callee { script: CalleeScript { on_cancel, .. }, .. } = self.role else {
            self.complaints.push("a CANCEL although it was never called".to_owned());
            return self.respond(at, 200, None, now);
        };
        let habit = if state == ServerState::Open { on_cancel } else { OnCancel::Stalls };
        if habit == OnCancel::Unknown {
            return self.respond(at, 481, None, now);
        }
        self.respond(at, 200, None, now);
        let branch = branch.to_owned();
        match habit {
            OnCancel::Obeys => self.refuse(&branch, 487, now),
            OnCancel::Forgets => self.refuse(&branch, 481, now),
            OnCancel::Challenges => self.challenge_the_cancelled(&branch, now),
            OnCancel::Answers => self.answer(&branch, now),
            OnCancel::AnswersLate(after) => {
                self.agenda.clear();
                self.plan(now + after, Act::Answer { branch });
            }
            OnCancel::Stalls if state == ServerState::Open => self.agenda.clear(),
            OnCancel::Stalls | OnCancel::Unknown => {}
        }
    }
}

fn is_authorized(invite: &Message<'_>, nonce: &str) -> bool {
    let Some(value) = invite.first(Name::ProxyAuthorization) else { return false };
    let Ok(authorization) = Authorization::parse(value) else { return false };
    authorization.verify(PASSWORD, b"INVITE")
        && value.windows(nonce.len()).any(|part| part == nonce.as_bytes())
}
