//! What both sides do within a dialog: offers, INFO, BYE.

use std::time::Duration;

use sip::{Message, Method, Time};

use super::client::{ClientState, Purpose};
use super::server::{Server, ServerState};
use super::{Act, Client, Phone, Role, SDP, Session, Stage, TOO_MANY};
use crate::script::{Ack, Manners, Offer};

impl Phone {
    pub(super) fn on_dialog_request(&mut self, at: usize, request: &Message<'_>, now: Time) {
        let tags =
            (request.to().ok().and_then(|to| to.tag()), request.from().ok().and_then(|from| from.tag()));
        let ours = tags == (Some(self.local_tag.as_bytes()), self.remote_tag.as_deref().map(str::as_bytes));
        if !ours {
            // Before its 2xx a caller knows no dialog: what overtook the 2xx gets 481 and no complaint. Nor does what was
            // for the phone that rang and gave way to the one that answered.
            let rang = tags.0.is_some() && tags.0 == self.rang_as.as_deref().map(str::as_bytes);
            if self.remote_tag.is_some() && !rang {
                self.complaints.push(format!("{} for a dialog that never was", self.servers[at].method));
            }
            return self.respond(at, 481, None, now);
        }
        let number = self.servers[at].cseq;
        if self.remote_cseq.is_some_and(|last| number <= last) {
            // RFC 3261 §12.2.2: overtaken on the way.
            return self.respond(at, 500, None, now);
        }
        self.remote_cseq = Some(number);
        if self.disowns(request) {
            return self.respond(at, 481, None, now);
        }
        let manners = if self.stage == Stage::Early { Manners::Polite } else { self.talk().manners };
        match manners {
            Manners::Forgets => {
                self.respond(at, 481, None, now);
                return self.forget_call();
            }
            Manners::Mute if request.method() == Method::Bye => return self.forget_call(),
            Manners::Mute => return,
            Manners::Stalls if request.method() == Method::Invite => return self.respond(at, 100, None, now),
            Manners::Stalls | Manners::Polite => {}
        }
        match request.method() {
            Method::Bye => self.on_bye(at, now),
            _ if self.stage == Stage::Ended => self.respond(at, 481, None, now),
            Method::Invite | Method::Update
                if self.stage == Stage::Confirmed && self.is_too_fast(request) =>
            {
                self.respond_with(at, 422, &[("Min-SE", "120")], None, now);
            }
            Method::Invite => self.on_offer(at, request, now),
            Method::Prack => self.on_prack(at, request, now),
            Method::Update => self.on_update(at, request, now),
            Method::Info => {
                self.heard.push(request.body().to_vec());
                self.respond(at, 200, None, now);
            }
            _ => self.respond(at, 200, None, now),
        }
    }

    fn forget_call(&mut self) {
        self.stage = Stage::Ended;
        self.agenda.clear();
    }

    fn on_bye(&mut self, at: usize, now: Time) {
        self.respond(at, 200, None, now);
        self.stage = Stage::Ended;
        self.agenda.clear();
        if let Some(open) = self.servers.iter().position(Server::is_open_invite) {
            self.respond(open, 487, None, now);
        }
    }

    fn on_offer(&mut self, at: usize, invite: &Message<'_>, now: Time) {
        let offers = |client: &Client| {
            client.method == "INVITE" || matches!(client.purpose, Purpose::Update { offered: true })
        };
        let glare = self.clients.iter().any(|client| offers(client) && client.is_open());
        if glare {
            return self.respond(at, 491, None, now);
        }
        let open = self.servers.iter().filter(|server| server.is_open_invite()).count();
        if open > 1 {
            return self.respond_with(at, 500, &[("Retry-After", "2")], None, now);
        }
        if self.refuses_out_of_a_mood(at, now) {
            return;
        }
        self.retarget(invite);
        if self.talk().terms.trying {
            self.respond(at, 100, None, now);
        }
        let branch = self.servers[at].branch.clone();
        let after = self.talk().thinks;
        if self.talk().refuses_offers {
            self.plan(now + after, Act::Refuse { branch, status: 488 });
        } else {
            self.plan(now + after, Act::AnswerOffer { branch });
        }
        if after.is_zero() {
            self.on_timeout(now);
        }
    }

    pub(super) fn answer_offer(&mut self, branch: &str, now: Time) {
        let Some(at) = self.open_server(branch) else { return };
        let mut body = self.describe(at);
        if let Some(body) = body.as_mut().filter(|_| self.talk().terms.botches) {
            body.push_str(TOO_MANY);
        }
        self.respond(at, 200, body.as_deref(), now);
    }

    /// BYE, as soon as this side may send one (RFC 3261 §15).
    pub(super) fn hang_up(&mut self, now: Time) {
        if self.stage != Stage::Confirmed {
            return;
        }
        let is_callee = matches!(self.role, Role::Callee { .. });
        if is_callee && !self.acked {
            return self.plan(now + Duration::from_millis(200), Act::Bye);
        }
        self.stage = Stage::Ended;
        self.agenda.clear();
        if let Some(open) = self.servers.iter().position(Server::is_open_invite) {
            self.respond(open, 487, None, now);
        }
        self.send("BYE", Purpose::Other, None, now);
        if self.quirks().vanishes {
            self.plan(now + Duration::from_millis(400), Act::Die);
        }
    }

    /// Whether an offer of this side's would meet another one.
    pub(super) fn is_bargaining(&self) -> bool {
        let asks = |client: &Client| matches!(client.method, "INVITE" | "UPDATE") && client.is_open();
        let unacked = match &self.role {
            Role::Caller { script, .. } => script.ack == Ack::Never || !self.acked,
            Role::Callee { .. } => !self.acked,
        };
        let is_late =
            |client: &Client| matches!(client.purpose, Purpose::Reinvite { .. }) && !client.is_acknowledged();
        let unacked = unacked || self.clients.iter().any(is_late);
        let asked =
            |server: &Server| server.method == "INVITE" && !matches!(server.state, ServerState::Done(_));
        unacked || self.clients.iter().any(asks) || self.servers.iter().any(asked)
    }

    pub(super) fn offer(&mut self, offer: Offer, tries: u8, now: Time) {
        if self.stage != Stage::Confirmed || tries > 20 {
            return;
        }
        if self.is_bargaining() {
            return self.plan(now + Duration::from_millis(500), Act::Offer { offer, tries: tries + 1 });
        }
        let by_update = self.peer_updates && self.talk().terms.updates;
        let body = match offer {
            Offer::Touch if by_update => return self.send_update(None, now),
            Offer::Touch => return,
            Offer::Hold => Some(self.session.offer("sendonly")),
            Offer::Resume => Some(self.session.offer("sendrecv")),
            Offer::Empty => None,
            Offer::More => Some(self.session.offer_more()),
        };
        if by_update && body.is_some() {
            return self.send_update(body.as_deref(), now);
        }
        let purpose = Purpose::Reinvite { offered: body.is_some() };
        let at = self.send("INVITE", purpose, body.as_deref().map(|body| (SDP, body)), now);
        if let Some(after) = self.talk().terms.withdraws {
            self.plan(now + after, Act::Withdraw { branch: self.clients[at].branch.clone() });
        }
    }

    pub(super) fn on_offer_response(
        &mut self,
        at: usize,
        first: bool,
        offered: bool,
        response: &Message<'_>,
        now: Time,
    ) {
        let status = response.status().unwrap_or(0);
        match status {
            ..200 => {}
            200..300 if first => {
                self.retarget(response);
                self.agree(response, now);
                let body = response.body();
                let answer = if offered {
                    if let Err(what) = Session::answers(body, self.clients[at].streams_offered()) {
                        self.complaints.push(format!("200 to a re-INVITE: {what}"));
                    }
                    None
                } else {
                    match self.session.answer(body) {
                        Ok(answer) => Some(answer),
                        Err(what) => {
                            self.complaints.push(format!("200 to a re-INVITE without offer: {what}"));
                            None
                        }
                    }
                };
                match self.talk().terms.dawdles {
                    Duration::ZERO => self.ack_success(at, answer),
                    late => self.plan(now + late, Act::AckOffer { at, answer }),
                }
            }
            200..300 => self.outbox.extend(self.clients[at].ack.clone()),
            _ => {
                self.ack_failure(at, response);
                if !first {
                    return;
                }
                match status {
                    491 => {
                        let after = self.chance.up_to(Duration::from_secs(4));
                        self.plan(now + after, Act::Offer { offer: Offer::Resume, tries: 15 });
                    }
                    // RFC 3261 §12.2.1.2.
                    408 | 481 => self.hang_up(now),
                    _ => {}
                }
            }
        }
    }

    pub(super) fn inform(&mut self, now: Time) {
        if self.stage == Stage::Confirmed {
            let body = format!("Signal={}\r\n", self.chance.below(10));
            self.send("INFO", Purpose::Other, Some(("application/dtmf-relay", &body)), now);
        }
    }

    pub(super) fn on_client_timeout(&mut self, at: usize, now: Time) {
        let Client { method, purpose, .. } = self.clients[at];
        debug_assert_eq!(self.clients[at].state, ClientState::TimedOut);
        self.results.push((method, 408));
        match (method, purpose) {
            ("INVITE", Purpose::Invite) => {
                self.stage = Stage::Ended;
                self.agenda.clear();
            }
            ("INVITE" | "INFO" | "UPDATE", _) => self.hang_up(now),
            _ => {}
        }
    }
}
