//! What both sides do before the call is answered: reliable provisional responses, their PRACKs (RFC 3262), and UPDATE
//! (RFC 3311), written apart from the product's.

use std::time::Duration;

use bytes::Bytes;
use sip::{Message, Name, RAck, Time};

use super::client::{PATIENCE, Purpose, T1};
use super::{Act, Phone, Role, SDP, Stage};
use crate::script::{Behind, Early, Pracks, Reliably};

pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO";

/// Where a phone's early dialog stands.
#[derive(Debug, Default)]
pub(super) struct EarlyDialog {
    /// RSeq of the last reliable response: sent by a callee, heard in order by a caller.
    rseq: u32,
    waiting: Option<Unpracked>,
    /// Provisional responses behind the one that waits.
    queue: Vec<(u16, bool)>,
    /// Offer and answer of the INVITE are done.
    pub(super) agreed: bool,
    updated: bool,
}

/// A reliable response of a callee that has no PRACK.
#[derive(Debug)]
struct Unpracked {
    bytes: Bytes,
    since: Time,
    described: bool,
}

impl Phone {
    fn early_script(&self) -> &Early {
        match &self.role {
            Role::Caller { script, .. } => &script.early,
            Role::Callee { script, .. } => &script.early,
        }
    }

    /// What a caller's INVITE says of this.
    pub(super) fn abilities(&self) -> String {
        match self.early_script().reliable {
            Reliably::Never if self.talk().terms.updates => format!("Allow: {ALLOW}\r\n"),
            Reliably::Never => String::new(),
            Reliably::Able => format!("Supported: 100rel\r\nAllow: {ALLOW}\r\n"),
            Reliably::Demanded => format!("Require: 100rel\r\nAllow: {ALLOW}\r\n"),
        }
    }

    /// Whether the callee's phone takes this INVITE only with an extension that it does not offer (RFC 3261 §21.4.16).
    pub(super) fn lacks_extension(&self, invite: &Message<'_>) -> bool {
        self.early_script().reliable == Reliably::Demanded && !offers_reliability(invite)
    }

    /// A callee's provisional response, where it is sent reliably; false where not.
    pub(super) fn ring_reliably(&mut self, at: usize, status: u16, sdp: bool, now: Time) -> bool {
        let bytes = self.servers[at].request.clone();
        let Ok(invite) = Message::parse(&bytes) else { return false };
        if status == 100 || self.early_script().reliable == Reliably::Never || !offers_reliability(&invite) {
            return false;
        }
        if self.early.waiting.is_some() {
            self.early.queue.push((status, sdp));
            return true;
        }
        // RFC 3261 §13.2.1: without an offer in the INVITE the first reliable response has one.
        let offers = invite.body().is_empty();
        let described = !self.early.agreed && (sdp || offers && self.early.rseq == 0);
        let body = if described { self.describe(at) } else { None };
        self.early.rseq = match self.early.rseq {
            0 => 1 + u32::try_from(self.chance.below(1 << 20)).unwrap_or(0),
            last => last + 1,
        };
        let rseq = self.early.rseq.to_string();
        let headers = [("Require", "100rel"), ("RSeq", rseq.as_str()), ("Allow", ALLOW)];
        self.respond_with(at, status, &headers, body.as_deref(), now);
        self.early.agreed |= body.is_some() && !offers;
        let Some(bytes) = self.outbox.last().cloned() else { return true };
        self.early.waiting = Some(Unpracked { bytes, since: now, described: body.is_some() });
        self.plan(now + T1, Act::RingAgain { rseq: self.early.rseq, interval: T1 });
        true
    }

    pub(super) fn ring_again(&mut self, rseq: u32, interval: Duration, now: Time) {
        let Some(waiting) = self.early.waiting.as_ref().filter(|_| self.early.rseq == rseq) else { return };
        if self.stage != Stage::Early {
            return;
        }
        if now.since(waiting.since) >= PATIENCE {
            if let Some(open) = self.servers.iter().find(|server| server.is_open_invite()) {
                let branch = open.branch.clone();
                self.refuse(&branch, 504, now);
            }
            return;
        }
        self.outbox.push(waiting.bytes.clone());
        let next = (now + interval * 2).min(waiting.since + PATIENCE);
        self.plan(next, Act::RingAgain { rseq, interval: interval * 2 });
    }

    /// Whether a callee may not answer yet; if so it has planned to try again.
    pub(super) fn must_wait_for_prack(&mut self, branch: &str, now: Time) -> bool {
        let Role::Callee { script, .. } = &self.role else { return false };
        let Some(waiting) = &self.early.waiting else { return false };
        let overdue = now.since(waiting.since) >= PATIENCE;
        if overdue || !(waiting.described || script.behind == Behind::Another) {
            return false;
        }
        self.plan(now + Duration::from_millis(200), Act::Answer { branch: branch.to_owned() });
        true
    }

    /// A callee hears a PRACK.
    pub(super) fn on_prack(&mut self, at: usize, prack: &Message<'_>, now: Time) {
        let rack = prack.first(Name::RAck).and_then(|value| RAck::parse(value).ok());
        let matches = rack.is_some_and(|rack| {
            rack.response == self.early.rseq
                && self
                    .servers
                    .iter()
                    .any(|server| server.method == "INVITE" && server.cseq == rack.cseq.number)
        });
        let Some(waiting) = self.early.waiting.take_if(|_| matches) else {
            self.complaints.push("a PRACK that acknowledges nothing".to_owned());
            return self.respond(at, 481, None, now);
        };
        self.respond(at, 200, None, now);
        let Some(invite) = self.servers.iter().position(|server| server.method == "INVITE") else { return };
        let bytes = self.servers[invite].request.clone();
        let offers = Message::parse(&bytes).is_ok_and(|invite| invite.body().is_empty());
        if waiting.described && offers {
            match self.session.accepts(prack.body()) {
                Ok(()) => self.early.agreed = true,
                Err(what) => self.complaints.push(format!("PRACK: {what}")),
            }
        }
        self.plan_update(now);
        if !self.early.queue.is_empty() {
            let (status, sdp) = self.early.queue.remove(0);
            self.ring(status, sdp, now);
        }
    }

    /// A caller hears a provisional response other than 100.
    pub(super) fn on_provisional(&mut self, cseq: u32, response: &Message<'_>, now: Time) {
        let Early { reliable, pracks, .. } = self.early_script().clone();
        let required = response.token_list(Name::Require).any(|tag| tag == b"100rel");
        let value = response.first(Name::RSeq).and_then(|value| std::str::from_utf8(value).ok());
        let Some(rseq) = value.and_then(|value| value.parse::<u32>().ok()).filter(|_| required) else {
            if reliable == Reliably::Demanded {
                self.complaints.push("an unreliable 18x although 100rel is required".to_owned());
            }
            return;
        };
        if reliable == Reliably::Never {
            self.complaints.push("a reliable 18x for a caller that does not support it".to_owned());
            return;
        }
        if self.early.rseq != 0 && rseq <= self.early.rseq {
            return;
        }
        if self.early.rseq != 0 && rseq != self.early.rseq + 1 && pracks != Pracks::Never {
            self.complaints.push(format!("RSeq {rseq} after {}", self.early.rseq));
        }
        self.early.rseq = rseq;
        if self.stage == Stage::Early {
            self.remote_tag = response
                .to()
                .ok()
                .and_then(|to| to.tag())
                .map(|tag| String::from_utf8_lossy(tag).into_owned());
            self.retarget(response);
        }
        let answer = self.take_early(response);
        let rack = format!("{rseq} {cseq} INVITE");
        match pracks {
            Pracks::Once => self.send_prack(rack, answer, now),
            Pracks::Late(after) => self.plan(now + after, Act::Prack { rack, answer }),
            Pracks::Never => {}
            Pracks::Twice => {
                self.send_prack(rack.clone(), answer.clone(), now);
                self.plan(now + Duration::from_millis(5), Act::Prack { rack, answer });
            }
            Pracks::Wrong => {
                self.send_prack(format!("{} {cseq} INVITE", rseq.wrapping_add(7)), None, now);
                self.plan(now + Duration::from_millis(700), Act::Prack { rack, answer });
            }
        }
    }

    /// The description of a reliable response: an answer, or an offer whose answer goes into the PRACK.
    fn take_early(&mut self, response: &Message<'_>) -> Option<String> {
        let Role::Caller { script, .. } = &self.role else { return None };
        let body = response.body();
        if body.is_empty() || self.early.agreed {
            return None;
        }
        self.early.agreed = true;
        if !script.offer {
            return self.session.answer(body).map_err(|what| self.complaints.push(what)).ok();
        }
        if let Err(what) = self.session.accepts(body) {
            self.complaints.push(format!("reliable 18x: {what}"));
        }
        None
    }

    pub(super) fn send_prack(&mut self, rack: String, answer: Option<String>, now: Time) {
        if self.stage == Stage::Early {
            let body = answer.as_deref().map(|answer| (SDP, answer));
            self.send_with("PRACK", Purpose::Prack, &format!("RAck: {rack}\r\n"), body, now);
        }
    }

    /// A callee's early dialog is agreed upon with the PRACK, a caller's with its 200.
    pub(super) fn plan_update(&mut self, now: Time) {
        if let Some(after) = self.early_script().update
            && self.early.agreed
            && !self.early.updated
        {
            self.early.updated = true;
            self.plan(now + after, Act::Update);
        }
    }

    pub(super) fn update(&mut self, now: Time) {
        let busy = self.servers.iter().any(|server| server.method == "UPDATE" && server.is_open());
        if self.stage != Stage::Early || self.early.waiting.is_some() || busy {
            return;
        }
        let offer = self.session.offer("sendonly");
        let purpose = Purpose::Update { offered: true };
        self.send_with("UPDATE", purpose, &format!("Allow: {ALLOW}\r\n"), Some((SDP, &offer)), now);
    }

    pub(super) fn on_update(&mut self, at: usize, update: &Message<'_>, now: Time) {
        let offers = |client: &super::Client| {
            client.is_open()
                && matches!(client.purpose, Purpose::Update { offered: true } | Purpose::Reinvite { .. })
        };
        let contact = self.contact.clone();
        let headers = [("Contact", contact.as_str())];
        if self.talk().terms.trying {
            self.respond(at, 100, None, now);
        }
        if self.stage == Stage::Confirmed {
            self.retarget(update);
        }
        if update.body().is_empty() {
            return self.respond_with(at, 200, &headers, None, now);
        }
        if self.stage == Stage::Confirmed && self.talk().refuses_offers {
            return self.respond(at, 488, None, now);
        }
        if self.clients.iter().any(offers) {
            return self.respond(at, 491, None, now);
        }
        if self.refuses_out_of_a_mood(at, now) {
            return;
        }
        if !self.early.agreed && self.stage == Stage::Early {
            self.complaints.push("an UPDATE before the INVITE's offer is answered".to_owned());
        }
        match self.session.answer(update.body()) {
            Ok(answer) => self.respond_with(at, 200, &headers, Some(&answer), now),
            Err(what) => {
                self.complaints.push(what);
                self.respond(at, 488, None, now);
            }
        }
    }
}

/// A message with these lines more.
pub(super) fn with_headers(bytes: &Bytes, lines: &str) -> Bytes {
    let text = String::from_utf8_lossy(bytes);
    match text.split_once("\r\nCSeq: ") {
        Some((before, behind)) if !lines.is_empty() => {
            Bytes::from(format!("{before}\r\n{lines}CSeq: {behind}"))
        }
        Some(_) | None => bytes.clone(),
    }
}

fn offers_reliability(invite: &Message<'_>) -> bool {
    invite.token_list(Name::Supported).chain(invite.token_list(Name::Require)).any(|tag| tag == b"100rel")
}
