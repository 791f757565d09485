//! How both sides change the session in more ways than by a re-INVITE that is answered: UPDATE (RFC 3311), and CANCEL of
//! a re-INVITE, written apart from the product's.

use std::time::Duration;

use sip::{Message, Name, Time};

use super::client::{Client, ClientState, Purpose};
use super::server::ServerState;
use super::{Act, Phone, SDP, Session, Stage, compose, early};
use crate::script::{Offer, OnCancel};

impl Phone {
    pub(super) fn send_update(&mut self, body: Option<&str>, now: Time) {
        let purpose = Purpose::Update { offered: body.is_some() };
        let lines = format!("Allow: {}\r\n", early::ALLOW);
        self.send_with("UPDATE", purpose, &lines, body.map(|body| (SDP, body)), now);
    }

    pub(super) fn on_update_response(
        &mut self,
        at: usize,
        first: bool,
        offered: bool,
        response: &Message<'_>,
        now: Time,
    ) {
        if !first {
            return;
        }
        let confirmed = self.stage == Stage::Confirmed;
        match response.status().unwrap_or(0) {
            200..300 => {
                if confirmed {
                    self.retarget(response);
                    self.agree(response, now);
                }
                let streams = self.clients[at].streams_offered();
                if offered && let Err(what) = Session::answers(response.body(), streams) {
                    self.complaints.push(format!("200 to an UPDATE: {what}"));
                }
                if !offered && !response.body().is_empty() {
                    self.complaints.push("an answer to an UPDATE without offer".to_owned());
                }
            }
            491 if confirmed => {
                let after = self.chance.up_to(Duration::from_secs(4));
                self.plan(now + after, Act::Offer { offer: Offer::Resume, tries: 15 });
            }
            // RFC 3261 §12.2.1.2.
            408 | 481 => self.hang_up(now),
            _ => {}
        }
    }

    /// CANCEL of a re-INVITE of ours, as soon as a provisional response came (RFC 3261 §9.1).
    pub(super) fn withdraw(&mut self, branch: &str, now: Time) {
        let reinvite = |client: &&Client| client.method == "INVITE" && client.branch == branch;
        let Some(invite) = self.clients.iter().find(reinvite) else { return };
        let (bytes, cseq) = (invite.request.clone(), invite.cseq);
        match invite.state {
            ClientState::Waiting => {
                self.plan(now + Duration::from_millis(200), Act::Withdraw { branch: branch.to_owned() });
            }
            ClientState::Proceeding => {
                let Ok(message) = Message::parse(&bytes) else { return };
                let to = String::from_utf8_lossy(message.first(Name::To).unwrap_or_default());
                let cancel = compose::of_request(&message, "CANCEL", &to);
                self.outbox.push(cancel.clone());
                let timing = (now, self.stream);
                let client = Client::new(branch.to_owned(), "CANCEL", cseq, Purpose::Other, cancel, timing);
                self.clients.push(client);
            }
            ClientState::Finished(_) | ClientState::TimedOut => {}
        }
    }

    /// The other side takes its re-INVITE back; its CANCEL is the request at `at`.
    pub(super) fn on_withdrawn(&mut self, at: usize, branch: &str, state: ServerState, now: Time) {
        let habit = if state == ServerState::Open { self.talk().terms.withdrawn } else { OnCancel::Obeys };
        let status = if habit == OnCancel::Unknown { 481 } else { 200 };
        self.respond(at, status, None, now);
        let branch = branch.to_owned();
        if matches!(habit, OnCancel::Stalls | OnCancel::AnswersLate(_)) {
            self.agenda.retain(|(_, act)| {
                !matches!(act, Act::AnswerOffer { branch: of } | Act::Refuse { branch: of, .. } if *of == branch)
            });
        }
        match habit {
            OnCancel::Obeys => self.refuse(&branch, 487, now),
            OnCancel::Forgets => self.refuse(&branch, 481, now),
            OnCancel::Challenges => self.challenge_the_cancelled(&branch, now),
            OnCancel::Answers => self.answer_offer(&branch, now),
            OnCancel::AnswersLate(after) => self.plan(now + after, Act::AnswerOffer { branch }),
            OnCancel::Stalls | OnCancel::Unknown => {}
        }
    }
}

/// Whether who sent this takes UPDATE.
pub(super) fn takes_update(message: &Message<'_>) -> bool {
    message.token_list(Name::Allow).any(|method| method == b"UPDATE")
}
