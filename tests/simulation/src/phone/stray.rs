//! What a contrary phone does: requests out of turn, and answers out of a mood.

use sip::{Message, Method, Time};

use super::client::Purpose;
use super::compose::{self, Request};
use super::{Act, Phone, SDP, Stage, early};
use crate::script::{Quirks, Stray};

impl Phone {
    pub(super) fn quirks(&self) -> &Quirks {
        &self.talk().quirks
    }

    /// Plans what it does out of turn, from now.
    pub(super) fn plan_strays(&mut self, now: Time) {
        for (after, what) in self.quirks().strays.clone() {
            self.strays.push((now + after, what));
        }
        self.strays.sort_by_key(|(at, _)| *at);
    }

    /// A caller that asks out of turn asks in the dialog of the last provisional response.
    pub(super) fn note_early_tag(&mut self, response: &Message<'_>) {
        if self.strays.is_empty() || self.stage != Stage::Early {
            return;
        }
        if let Some(tag) = response.to().ok().and_then(|to| to.tag()) {
            self.remote_tag = Some(String::from_utf8_lossy(tag).into_owned());
        }
    }

    /// Sends what is due out of turn.
    pub(super) fn stray(&mut self, now: Time) {
        while let Some(&(at, what)) = self.strays.first()
            && at <= now
        {
            self.strays.remove(0);
            if self.remote_tag.is_some() {
                self.send_stray(what, now);
            }
        }
    }

    fn send_stray(&mut self, what: Stray, now: Time) {
        let allow = format!("Allow: {}\r\n", early::ALLOW);
        match what {
            Stray::Info => {
                let body = ("application/dtmf-relay", "Signal=5\r\n");
                self.send("INFO", Purpose::Other, Some(body), now);
            }
            Stray::Message => {
                self.send("MESSAGE", Purpose::Other, Some(("text/plain", "are you there?")), now);
            }
            Stray::Options => {
                self.send("OPTIONS", Purpose::Other, None, now);
            }
            Stray::Update => {
                let offer = self.session.offer("sendrecv");
                let purpose = Purpose::Update { offered: true };
                self.send_with("UPDATE", purpose, &allow, Some((SDP, &offer)), now);
            }
            Stray::Touch => {
                self.send_with("UPDATE", Purpose::Update { offered: false }, &allow, None, now);
            }
            Stray::Reinvite => {
                let offer = self.session.offer("sendrecv");
                self.send("INVITE", Purpose::Reinvite { offered: true }, Some((SDP, &offer)), now);
            }
            Stray::EmptyReinvite => {
                self.send("INVITE", Purpose::Reinvite { offered: false }, None, now);
            }
            Stray::Prack => {
                self.send_with("PRACK", Purpose::Other, "RAck: 7 7 INVITE\r\n", None, now);
            }
            // In a call that is up it is a transfer, and that is the script's to say as well.
            Stray::Refer if self.stage == Stage::Confirmed => {}
            Stray::Refer => {
                self.send("REFER", Purpose::Refer { leaves: None }, None, now);
            }
            // In a call that is up it is the end of it.
            Stray::Bye if self.stage == Stage::Confirmed || self.is_caller() => {}
            Stray::Bye => {
                // A copy that comes after its 2xx ends the call, which it does not mean.
                self.muddled = true;
                self.send("BYE", Purpose::Other, None, now);
            }
            Stray::Ack => self.acknowledge_again(),
        }
    }

    /// The last ACK once more, or one with the number of the last request.
    fn acknowledge_again(&mut self) {
        if let Some(ack) = self.clients.iter().rev().find_map(|client| client.ack.clone()) {
            return self.outbox.push(ack);
        }
        if self.stage != Stage::Confirmed {
            return;
        }
        let branch = format!("z9hG4bK{}", self.chance.word());
        let from = format!("{};tag={}", self.local, self.local_tag);
        let to = format!("{};tag={}", self.remote, self.remote_tag.as_deref().unwrap_or_default());
        let ack = compose::request(&Request {
            method: "ACK",
            uri: &self.target,
            via: self.address,
            stream: self.stream,
            branch: &branch,
            routes: &self.routes,
            from: &from,
            to: &to,
            call_id: &self.call_id,
            cseq: self.cseq,
            contact: None,
            product: &self.product,
            body: None,
        });
        // What has the number of the INVITE acknowledges it, without the answer that it may owe.
        self.muddled = true;
        self.outbox.push(ack);
    }

    /// Whether it never answers this request.
    pub(super) fn ignores(&self, request: &Message<'_>) -> bool {
        self.quirks().ignores.iter().any(|method| Method::parse(method.as_bytes()) == request.method())
    }

    /// Whether it denies a dialog that is not confirmed.
    pub(super) fn disowns(&self, request: &Message<'_>) -> bool {
        self.stage == Stage::Early
            && self.quirks().disowns
            && !matches!(request.method(), Method::Bye | Method::Prack)
    }

    /// Refuses an offer because it feels like it; false where it does not.
    pub(super) fn refuses_out_of_a_mood(&mut self, at: usize, now: Time) -> bool {
        if !self.quirks().moody || self.chance.happens(500) {
            return false;
        }
        match self.chance.pick(&[488, 488, 491, 491, 500, 503, 405]) {
            500 => self.respond_with(at, 500, &[("Retry-After", "1")], None, now),
            status => self.respond(at, status, None, now),
        }
        true
    }

    /// The credentials that nobody is left to give.
    pub(super) fn challenge_the_cancelled(&mut self, branch: &str, now: Time) {
        let Some(at) = self.open_server(branch) else { return };
        self.challenge(at, "late", "", now);
        if self.stage == Stage::Early {
            self.stage = Stage::Ended;
            self.agenda.clear();
        }
    }

    /// The credentials that a callee wants when it has rung already.
    pub(super) fn challenge_late(&mut self, branch: &str, now: Time) {
        let Some(at) = self.open_server(branch) else { return };
        self.agenda.retain(|(_, act)| {
            !matches!(act, Act::Ring { .. } | Act::RingAgain { .. } | Act::Answer { .. } | Act::Refuse { .. })
        });
        let nonce = self.chance.word();
        self.wants_credentials(nonce.clone());
        self.challenge(at, &nonce, "", now);
        // What rang is no more; the INVITE that comes with credentials finds another dialog.
        self.early = early::EarlyDialog::default();
        let rang = std::mem::replace(&mut self.local_tag, format!("tb{}", self.chance.word()));
        self.rang_as = Some(rang);
        self.remote_cseq = None;
    }
}
