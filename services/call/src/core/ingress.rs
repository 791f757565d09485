//! Requests: from bytes to the transaction, dialog or new call they belong to (RFC 3261 §8.2 in its order).

use routing::{Trunk, TrunkId};
use sip::{Message, Method, Name, Via, Writer};

use crate::bodies::{ACCEPT, ANYTHING_ELSE, Unusable, judge, sdp_of, shows_addresses};
use crate::core::Core;
use crate::coverage::LegInput;
use crate::headers::{ALLOW, RELIABLE, SDP, SUPPORTED, TIMER};
use crate::io::{EventKind, Flow, Now, SendToken};
use crate::leg::{LegKey, News, OfferBy, interval_too_small};
use crate::media::Side;
use crate::registrar::Verdict;
use crate::settings::RegistrarPolicy;
use crate::standalone::Policy;
use crate::wire::ServerKey;

/// Whose a request is, by where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Trunk(TrunkId),
    /// A phone that registered from there, or any on loopback where the policy is open.
    Phone,
    /// Nobody yet, but the policy lets users log in from anywhere.
    Unproven,
    Stranger,
    /// Another shard of this process, which has asked already who may what.
    Shard,
}

impl Sender {
    pub(crate) fn trunk(self) -> Option<TrunkId> {
        match self {
            Sender::Trunk(trunk) => Some(trunk),
            Sender::Phone | Sender::Unproven | Sender::Stranger | Sender::Shard => None,
        }
    }

    /// As the tape of a journal has it.
    fn number(self) -> u64 {
        match self {
            Sender::Phone => 0,
            Sender::Unproven => 1,
            // Nobody asks the tape for a shard: the flow says it.
            Sender::Stranger | Sender::Shard => 2,
            Sender::Trunk(TrunkId(id)) => 3 + u64::from(id),
        }
    }

    fn from_number(number: u64) -> Sender {
        match number {
            0 => Sender::Phone,
            1 => Sender::Unproven,
            2 => Sender::Stranger,
            id => u16::try_from(id - 3).map_or(Sender::Stranger, |id| Sender::Trunk(TrunkId(id))),
        }
    }
}

/// A request with what every step needs of it.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) flow: Flow,
    pub(crate) message: &'a Message<'a>,
    pub(crate) via: &'a Via<'a>,
    pub(crate) now: Now,
}

impl Core {
    pub(super) fn on_bytes(&mut self, flow: Flow, bytes: &[u8], now: Now) {
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.on_request(flow, &message, now),
            Ok(message) => self.on_response(flow, &message, now),
            Err(error) => {
                self.wire.stats.malformed += 1;
                if let Some(message) = Message::salvage(bytes).filter(Message::is_request) {
                    self.refuse_unreadable(flow, &message, (error.status(), error.phrase()), now);
                }
            }
        }
    }

    /// What can be answered is told what is wrong with it, if it comes from somebody we deal with.
    fn refuse_unreadable(
        &mut self,
        flow: Flow,
        message: &Message<'_>,
        (status, phrase): (u16, &str),
        now: Now,
    ) {
        let Some(via) = message.via_for_refusal() else { return };
        if matches!(message.method(), Method::Ack | Method::Cancel) {
            return;
        }
        let arrival = Arrival { flow, message, via: &via, now };
        match self.sender(flow) {
            Sender::Trunk(_) | Sender::Phone => self.stateless(&arrival, status, Some(phrase), &[]),
            Sender::Unproven => self.refuse_malformed(&arrival, status, phrase),
            Sender::Stranger | Sender::Shard => {}
        }
    }

    fn on_request(&mut self, flow: Flow, message: &Message<'_>, now: Now) {
        self.wire.stats.requests_in += 1;
        let via = match message.via() {
            Ok(via) => via,
            Err(fault) => {
                self.wire.stats.malformed += 1;
                // What is wrong with the request line weighs more.
                let fault = message.check().err().unwrap_or(fault);
                return self.refuse_unreadable(flow, message, (fault.status(), &fault.phrase()), now);
            }
        };
        let arrival = Arrival { flow, message, via: &via, now };
        match message.method() {
            Method::Ack => self.on_ack(&arrival),
            Method::Cancel => self.on_cancel(&arrival),
            method => match self.server_from(&arrival, method) {
                Some(server) => self.wire.on_retransmission(server, now),
                None => self.on_new_request(&arrival),
            },
        }
    }

    fn on_new_request(&mut self, arrival: &Arrival<'_>) {
        let message = arrival.message;
        let sender = self.sender(arrival.flow);
        if let Err(fault) = message.check() {
            self.wire.stats.malformed += 1;
            match sender {
                Sender::Trunk(_) | Sender::Phone => {
                    self.stateless(arrival, fault.status(), Some(&fault.phrase()), &[]);
                }
                Sender::Unproven => self.refuse_malformed(arrival, fault.status(), &fault.phrase()),
                Sender::Stranger | Sender::Shard => self.refuse_stranger(arrival),
            }
            return;
        }
        if message.to().is_ok_and(|to| to.tag().is_some()) {
            self.on_dialog_request(arrival, sender);
            return;
        }
        match (message.method(), sender) {
            (_, Sender::Stranger) => self.refuse_stranger(arrival),
            (Method::Invite, Sender::Shard) if message.has(Name::Replaces) => self.on_invite(arrival, sender),
            (_, Sender::Shard) => self.refuse_stranger(arrival),
            (Method::Invite, _) => self.on_invite(arrival, sender),
            (Method::Register, _) => self.on_register(arrival),
            (Method::Options, Sender::Trunk(_) | Sender::Phone) if Self::is_for_the_box(arrival) => {
                self.answer_options(arrival, sender);
            }
            (_, sender) => match (self.policy(message, sender), sender) {
                (Policy::Carry, _) => self.on_standalone(arrival, sender),
                (_, Sender::Unproven) => self.refuse_stranger(arrival),
                (Policy::NeedsDialog, _) => self.stateless(arrival, 481, None, &[]),
                (Policy::Refuse, _) => self.refuse_method(arrival, 405, sender.trunk()),
                (Policy::Unknown, _) => self.refuse_method(arrival, 501, sender.trunk()),
            },
        }
    }

    /// Whether a request belongs to a transaction that has begun, so that it must not be refused for want of time. Asked
    /// under overload, before the request is handed in.
    pub fn has_heard(&self, request: &Message<'_>) -> bool {
        request.via().is_ok_and(|via| self.wire.servers_of(&via, request, request.method()).next().is_some())
    }

    /// Who may be behind this source.
    pub(super) fn sender(&mut self, flow: Flow) -> Sender {
        if flow.is_inner() {
            return Sender::Shard;
        }
        let (policy, registrar, snapshot) = (&self.wire.settings.registrar, &self.registrar, &self.snapshot);
        Sender::from_number(self.wire.ids.tape.number(|| {
            let sender = match (snapshot.trunk_of(flow.remote), policy) {
                (Some(trunk), _) => Sender::Trunk(trunk),
                (None, RegistrarPolicy::OpenLoopback) if flow.remote.ip().is_loopback() => Sender::Phone,
                (None, RegistrarPolicy::OpenLoopback | RegistrarPolicy::Closed) => Sender::Stranger,
                (None, RegistrarPolicy::Users(_)) if registrar.has_binding_from(flow) => Sender::Phone,
                (None, RegistrarPolicy::Users(_)) => Sender::Unproven,
            };
            sender.number()
        }))
    }

    fn on_ack(&mut self, arrival: &Arrival<'_>) {
        let Arrival { flow, message, now, .. } = *arrival;
        if let Some(server) = self.invite_of(arrival).or_else(|| self.refusal_meant(arrival))
            && self.wire.on_ack(server, now)
        {
            return;
        }
        // The ACK of a 2xx is a request of its own within the dialog (RFC 3261 §13.2.2.4).
        let Some(key) = self.leg_of(message, flow) else { return };
        let Ok(cseq) = message.cseq() else { return };
        let Some(leg) = self.legs.get_mut(key) else { return };
        let call = leg.call;
        self.wire.coverage.leg(leg, LegInput::Ack);
        let news = leg.on_ack(key, cseq.number, &mut self.wire, now);
        if let Some(call) = call {
            self.on_news(call, key, news, Some(message), now);
        }
    }

    fn on_cancel(&mut self, arrival: &Arrival<'_>) {
        let Arrival { flow, message, via, now } = *arrival;
        if let Some(own) = self.server_from(arrival, Method::Cancel) {
            self.wire.on_retransmission(own, now);
            return;
        }
        if message.check().is_err() {
            self.wire.stats.malformed += 1;
            return;
        }
        let invite = self.invite_of(arrival).or_else(|| self.invite_meant(arrival));
        // A CANCEL that only knows the branch must not take the place of the one that may still come from the caller.
        let is_of_others = invite.is_none() && {
            // A call that the CANCEL nearly meant need not know of them.
            let found = self.wire.servers_of(via, message, Method::Invite).next().is_some();
            self.wire.ids.tape.yes(|| found)
        };
        if is_of_others {
            return self.refused(arrival, 0, "a CANCEL from elsewhere than its INVITE");
        }
        // A stateless answer leaves nothing that a CANCEL could be for (RFC 3261 §8.2.7).
        if invite.is_none() && matches!(self.sender(flow), Sender::Unproven | Sender::Stranger) {
            return;
        }
        let user = invite.and_then(|invite| self.wire.server_user(invite));
        let tag = user.and_then(|leg| self.legs.get(leg)).map(|leg| leg.tag.clone());
        let tag = tag.or_else(|| self.wire.answered_tag(invite?));
        // Row S6: of anything but an INVITE it comes too late to have an effect.
        let known = invite.is_some() || {
            // Whose request that is, a call that the CANCEL nearly meant need not know.
            let another = self.is_of_another_method(arrival);
            self.wire.ids.tape.yes(|| another)
        };
        let server = self.wire.accept(message, via, flow, true, now);
        let status = if known { 200 } else { 481 };
        // Row S1: one To-tag in the 18x, the 200 and the 487.
        let tag = tag.unwrap_or_else(|| self.stable_tag(message).into());
        if let Some(mut writer) = self.wire.response(server, status, None, Some(&tag)) {
            writer.header("Server", self.wire.settings.product.as_bytes());
            self.wire.respond(server, status, writer.finish(), now);
        }
        let Some(invite) = invite.filter(|invite| self.wire.is_open(*invite)) else { return };
        if let Some(leg) = user {
            self.on_caller_gone(leg, invite, message, now);
        }
    }

    /// A request with a To-tag: of a dialog of ours, or of none (RFC 3261 §12.2.2).
    fn on_dialog_request(&mut self, arrival: &Arrival<'_>, sender: Sender) {
        let Arrival { flow, message, now, .. } = *arrival;
        let Some(key) = self.leg_of(message, flow) else {
            if let Some((key, party)) = self.subscription_of(message, flow) {
                return self.on_subscription_request(key, party, arrival);
            }
            match sender {
                Sender::Trunk(_) | Sender::Phone | Sender::Shard => self.stateless(arrival, 481, None, &[]),
                // A phone whose registration has run out may still believe in a call.
                Sender::Unproven => {
                    self.refused(arrival, 481, "a dialog that is none, from somebody unknown");
                    self.stateless_to_anybody(arrival, 481, None, &[]);
                }
                Sender::Stranger => self.refuse_stranger(arrival),
            }
            return;
        };
        let Some(leg) = self.legs.get_mut(key) else { return };
        leg.heard_on(flow);
        let tag = leg.tag.clone();
        let peer = message.from().ok().and_then(|from| from.tag()).unwrap_or_default();
        let in_order = leg.dialog_with(peer).is_some_and(|dialog| dialog.receive(message).is_ok());
        let server = self.wire.accept(message, arrival.via, flow, true, now);
        if !in_order {
            self.respond(server, 500, Some("CSeq Out Of Order"), &tag, &[], now);
            return self.on_refused_bye(key, message, now);
        }
        if let Some(unsupported) = unsupported(message) {
            self.respond(server, 420, None, &tag, &[("Unsupported", &unsupported)], now);
            return self.on_refused_bye(key, message, now);
        }
        if let Some(refusal) = self.method_within(key, message) {
            return self.refuse_in(server, &refusal, &tag, now);
        }
        match message.method() {
            Method::Bye => self.on_bye(key, server, message, now),
            Method::Prack => self.on_prack(key, server, message, now),
            Method::Invite => self.on_reinvite(key, server, message, now),
            Method::Update => self.on_update(key, server, message, now),
            Method::Info
            | Method::Message
            | Method::Notify
            | Method::Subscribe
            | Method::Publish
            | Method::Options
            | Method::Unknown => self.carry_over(key, server, message, now),
            Method::Refer => self.on_refer(key, server, message, now),
            Method::Ack | Method::Cancel | Method::Register => {
                self.respond(server, 405, None, &tag, &[("Allow", ALLOW)], now)
            }
        }
    }

    /// A request that came behind a later one, or requires what nobody knows. Refused or not, who sends BYE has left the session
    /// in that moment (RFC 3261 §15.1.1): nobody is to talk to nobody until a timer notices.
    fn on_refused_bye(&mut self, key: LegKey, message: &Message<'_>, now: Now) {
        let Some(leg) = self.legs.get_mut(key).filter(|_| message.method() == Method::Bye) else { return };
        self.wire.coverage.leg(leg, LegInput::Bye);
        let news = leg.on_refused_bye();
        if let Some(call) = leg.call {
            self.on_news(call, key, news, Some(message), now);
        }
    }

    fn on_bye(&mut self, key: LegKey, server: ServerKey, message: &Message<'_>, now: Now) {
        self.wire.set_server_user(server, key);
        let Some(leg) = self.legs.get_mut(key) else { return };
        let (call, tag) = (leg.call, leg.tag.clone());
        // A callee has no dialog to end before it answered (RFC 3261 §15); everywhere else BYE is right.
        let status = if leg.knows_dialog() { 200 } else { 481 };
        self.respond(server, status, None, &tag, &[], now);
        let Some(leg) = self.legs.get_mut(key) else { return };
        self.wire.coverage.leg(leg, LegInput::Bye);
        let news = leg.on_bye(&mut self.wire, now);
        if let Some(call) = call {
            self.on_news(call, key, news, Some(message), now);
        }
    }

    fn on_reinvite(&mut self, key: LegKey, server: ServerKey, message: &Message<'_>, now: Now) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        let (call, tag, flow) = (leg.call, leg.tag.clone(), leg.flow);
        self.wire.set_server_user(server, key);
        if let Some(trying) = self.wire.response(server, 100, None, None) {
            self.wire.respond(server, 100, trying.finish(), now);
        }
        if let Some(least) = interval_too_small(message, &self.wire.settings) {
            return self.respond(server, 422, None, &tag, &[("Min-SE", least.as_bytes())], now);
        }
        if let Some(refusal) = self.content_fault(message, self.trunk_of_leg(key), flow) {
            return self.refuse_in(server, &refusal, &tag, now);
        }
        let Some(leg) = self.legs.get_mut(key) else { return };
        self.wire.coverage.leg(leg, LegInput::Reinvite);
        let news = leg.on_offer(server, OfferBy::Invite, &mut self.wire, now);
        if let Some(call) = call {
            self.on_news(call, key, news, Some(message), now);
        }
    }

    /// RFC 3311: an offer as a re-INVITE is one, or without a description a refresh that stays on its leg.
    fn on_update(&mut self, key: LegKey, server: ServerKey, message: &Message<'_>, now: Now) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        let (call, tag, flow) = (leg.call, leg.tag.clone(), leg.flow);
        if let Some(least) = interval_too_small(message, &self.wire.settings) {
            return self.respond(server, 422, None, &tag, &[("Min-SE", least.as_bytes())], now);
        }
        if let Some(refusal) = self.content_fault(message, self.trunk_of_leg(key), flow) {
            return self.refuse_in(server, &refusal, &tag, now);
        }
        let Some(leg) = self.legs.get_mut(key) else { return };
        self.wire.coverage.leg(leg, LegInput::Update);
        let news = if sdp_of(message).is_none() {
            let moves = leg.on_refresh(server, message, &mut self.wire, now);
            if let Some(call) = call.filter(|_| moves) {
                self.keep_call(call, now);
            }
            News::Nothing
        } else {
            leg.on_offer(server, OfferBy::Update, &mut self.wire, now)
        };
        if let Some(call) = call {
            self.on_news(call, key, news, Some(message), now);
        }
    }

    /// INFO and the like: the other side answers.
    pub(super) fn carry_over(&mut self, key: LegKey, server: ServerKey, message: &Message<'_>, now: Now) {
        let Some(leg) = self.legs.get(key) else { return };
        self.wire.coverage.leg(leg, LegInput::Request);
        let tag = leg.tag.clone();
        let side = leg.side;
        let other = leg.call.and_then(|call| self.calls.get(call)).and_then(|call| match side {
            Side::A => call.leg(Side::B),
            Side::B => Some(call.a),
        });
        // A description would show the other side addresses that no relay stands in front of.
        if shows_addresses(message) {
            let able = [("Accept", ANYTHING_ELSE)];
            return self.respond(server, 415, Some("No Session To Describe"), &tag, &able, now);
        }
        if self.play_digit(key, message) {
            return self.respond(server, 200, None, &tag, &[], now);
        }
        let carried = other.is_some_and(|other| {
            self.legs.get_mut(other).is_some_and(|leg| leg.carry(other, message, server, &mut self.wire, now))
        });
        if carried {
            return;
        }
        if message.method() == Method::Options {
            // Whether the dialog lives is asked of the box as long as it has no other side.
            self.respond(server, 200, None, &tag, &ABLE, now);
        } else {
            // 481 would end the dialog at the peer; this only says "not now".
            self.respond(server, 500, Some("No Session Yet"), &tag, &[("Retry-After", b"1")], now);
        }
    }

    /// Why the body of an offer cannot be used, if it cannot (RFC 3261 §8.2.3).
    pub(super) fn content_fault(
        &self,
        message: &Message<'_>,
        trunk: Option<&Trunk>,
        flow: Flow,
    ) -> Option<Refusal> {
        // A caller that takes no description in an answer takes no call of this box.
        if message.method() == Method::Invite && !takes_descriptions(message) {
            return Some(Refusal::new(406));
        }
        if let Err(unusable) = judge(message, trunk.map_or_else(Default::default, |trunk| trunk.bodies)) {
            return Some(Refusal::of(unusable));
        }
        let warning = self
            .unreadable(message)
            .or_else(|| self.out_of_reach(message, trunk))
            .or_else(|| self.unspeakable(message, trunk))
            .or_else(|| self.insecure(message, trunk, flow))?;
        Some(Refusal { headers: vec![("Warning", warning.into_bytes().into())], ..Refusal::new(488) })
    }

    /// The same of what is for the box itself.
    fn body_fault(&self, message: &Message<'_>, trunk: Option<TrunkId>) -> Option<Refusal> {
        let trunk = trunk.and_then(|trunk| self.snapshot.trunk(trunk));
        let bodies = trunk.map_or_else(Default::default, |trunk| trunk.bodies);
        judge(message, bodies).err().map(Refusal::of)
    }

    /// The trunk of a leg, as its call began with it.
    pub(super) fn trunk_of_leg(&self, key: LegKey) -> Option<&Trunk> {
        let leg = self.legs.get(key)?;
        self.calls.get(leg.call?)?.snapshot.trunk(leg.trunk?)
    }

    /// Refuses a request that has no transaction.
    pub(crate) fn refuse(&mut self, arrival: &Arrival<'_>, refusal: &Refusal) {
        self.stateless(arrival, refusal.status, refusal.phrase, &refusal.headers());
    }

    /// Refuses a request within a dialog.
    pub(super) fn refuse_in(&mut self, server: ServerKey, refusal: &Refusal, tag: &str, now: Now) {
        self.respond(server, refusal.status, refusal.phrase, tag, &refusal.headers(), now);
    }

    fn on_register(&mut self, arrival: &Arrival<'_>) {
        let Arrival { flow, message, via, now } = *arrival;
        let aor = message.to().ok().and_then(|to| to.parsed_uri().ok());
        // RFC 3261 §10.3 step 5: an address of record is a SIP URI.
        if aor.is_some_and(|uri| uri.scheme == sip::Scheme::Other) {
            return self.stateless_to_anybody(arrival, 400, Some("Bad To Header"), &[]);
        }
        let name = aor.and_then(|uri| {
            String::from_utf8(uri.unescaped_user().into_owned()).ok().filter(|name| !name.is_empty())
        });
        let Some(name) = name else {
            self.stateless_to_anybody(arrival, 404, None, &[]);
            return;
        };
        let policy = &self.wire.settings.registrar;
        match self.access.judge(message, flow, &name, policy, now) {
            Verdict::User(user) if *user == *name => {
                if let Some(refusal) = self.readable_on_its_way(arrival) {
                    return self.refuse(arrival, &refusal);
                }
                if let Some(unsupported) = unsupported(message) {
                    return self.stateless(arrival, 420, None, &[("Unsupported", &unsupported)]);
                }
                if let Some(refusal) = self.body_fault(message, None) {
                    return self.refuse(arrival, &refusal);
                }
                self.registrar.register(message, via, flow, &name, &mut self.wire, now);
            }
            Verdict::User(_) => self.stateless(arrival, 403, Some("Not Your Address Of Record"), &[]),
            Verdict::Challenge { stale } => self.challenge(arrival, stale),
            Verdict::Wrong => self.refuse_credentials(arrival),
            Verdict::OfAnother => self.refuse_misplaced_credentials(arrival),
            Verdict::Nobody => self.refuse_stranger(arrival),
        }
    }

    /// Whoever guesses is told nothing else than whoever asks for the first time, but it is noted.
    pub(super) fn refuse_credentials(&mut self, arrival: &Arrival<'_>) {
        self.refused(arrival, 401, "wrong credentials");
        self.challenge(arrival, false);
    }

    /// RFC 7616 §3.4.6: said in so many words, since a phone asked again would answer the same.
    pub(super) fn refuse_misplaced_credentials(&mut self, arrival: &Arrival<'_>) {
        self.refused(arrival, 401, "credentials for another Request-URI");
        self.stateless_to_anybody(arrival, 400, Some("Digest URI Is Not The Request-URI"), &[]);
    }

    pub(super) fn challenge(&mut self, arrival: &Arrival<'_>, stale: bool) {
        let challenge = self.access.challenge(stale, arrival.now);
        self.stateless_to_anybody(arrival, 401, None, &[("WWW-Authenticate", &challenge)]);
    }

    /// As an INVITE would be answered (RFC 3261 §11.2).
    fn answer_options(&mut self, arrival: &Arrival<'_>, sender: Sender) {
        if let Some(refusal) = self.header_fault_at_the_end(arrival, sender.trunk()) {
            return self.refuse(arrival, &refusal);
        }
        if let Some(refusal) = self.body_fault(arrival.message, sender.trunk()) {
            return self.refuse(arrival, &refusal);
        }
        if self.draining {
            self.stateless(arrival, 503, Some("Draining"), &[("Retry-After", b"60")]);
        } else {
            self.stateless(arrival, 200, None, &ABLE);
        }
    }

    /// Of somebody who may have a password and has not shown it yet: a phone is told what is wrong with what it sends.
    fn refuse_malformed(&mut self, arrival: &Arrival<'_>, status: u16, phrase: &str) {
        self.refused(arrival, status, "a request that cannot be read, from somebody unknown");
        self.stateless_to_anybody(arrival, status, Some(phrase), &[]);
    }

    pub(super) fn refuse_stranger(&mut self, arrival: &Arrival<'_>) {
        self.refused(arrival, 403, "no trunk, user or open listener for this source");
        self.stateless_to_anybody(arrival, 403, None, &[]);
    }

    pub(crate) fn refused(&mut self, arrival: &Arrival<'_>, status: u16, why: &'static str) {
        self.wire.stats.refused += 1;
        self.wire.event(None, EventKind::Refused { source: arrival.flow.remote, status, why });
    }

    /// A response without a transaction. Its To-tag is made from the request, so that a retransmission gets the same
    /// answer (RFC 3261 §8.2.7).
    pub(crate) fn stateless(
        &mut self,
        arrival: &Arrival<'_>,
        status: u16,
        phrase: Option<&str>,
        headers: &[(&str, &[u8])],
    ) {
        let flow = self.wire.reply_flow(arrival.via, arrival.flow);
        let mut writer = self.stateless_response(arrival, status, phrase, headers);
        writer.header("Server", self.wire.settings.product.as_bytes());
        self.wire.send(flow, writer.finish(), SendToken::NONE);
    }

    /// The same to somebody who has proved nothing, and is not told what program this is. It goes to the host that asked: a
    /// `maddr` (RFC 3261 §18.2.2) would let anybody choose whom the box writes to.
    fn stateless_to_anybody(
        &mut self,
        arrival: &Arrival<'_>,
        status: u16,
        phrase: Option<&str>,
        headers: &[(&str, &[u8])],
    ) {
        let mut flow = self.wire.reply_flow(arrival.via, arrival.flow);
        flow.remote.set_ip(arrival.flow.remote.ip());
        let writer = self.stateless_response(arrival, status, phrase, headers);
        self.wire.send(flow, writer.finish(), SendToken::NONE);
    }

    fn stateless_response(
        &mut self,
        arrival: &Arrival<'_>,
        status: u16,
        phrase: Option<&str>,
        headers: &[(&str, &[u8])],
    ) -> Writer {
        let message = arrival.message;
        let tag = self.stable_tag(message);
        let source = arrival.flow.remote;
        let mut writer =
            sip::respond(message, status, phrase.map(str::as_bytes), Some(tag.as_bytes()), source);
        for (name, value) in headers {
            writer.header(name, value);
        }
        writer
    }

    /// A response of the box itself within a transaction.
    pub(crate) fn respond(
        &mut self,
        server: ServerKey,
        status: u16,
        phrase: Option<&str>,
        tag: &str,
        headers: &[(&str, &[u8])],
        now: Now,
    ) {
        let Some(mut writer) = self.wire.response(server, status, phrase.map(str::as_bytes), Some(tag))
        else {
            return;
        };
        for (name, value) in headers {
            writer.header(name, value);
        }
        writer.header("Server", self.wire.settings.product.as_bytes());
        self.wire.respond(server, status, writer.finish(), now);
    }

    fn stable_tag(&mut self, message: &Message<'_>) -> String {
        let cseq = message.cseq().map(|cseq| cseq.number).unwrap_or(0).to_be_bytes();
        let branch = message.via().ok().and_then(|via| via.branch()).unwrap_or_default();
        let hash = self.wire.stable_hash(&[message.call_id().unwrap_or_default(), branch, &cseq]);
        format!("{hash:016x}")
    }

    /// CANCEL of the INVITE that a leg has not answered (row S1), or of a re-INVITE.
    fn on_caller_gone(&mut self, key: LegKey, invite: ServerKey, message: &Message<'_>, now: Now) {
        let Some(leg) = self.legs.get(key) else { return };
        let Some(call) = leg.call else { return };
        if leg.waits_for(invite) {
            self.on_cancelled(call, message, now);
        } else if leg.is_offered_by(invite) {
            self.wire.coverage.leg(leg, LegInput::CancelOffer);
            self.on_news(call, key, News::OfferWithdrawn(487), Some(message), now);
        }
    }

    pub(super) fn end_if_no_legs(&mut self, call: crate::bridge::CallKey, now: Now) {
        if self.has_no_legs_left(call) {
            self.drive(call, crate::bridge::Cause::new(crate::bridge::table::Event::LegsOver), now);
        } else {
            self.settle(call, now);
        }
    }
}

/// Whether both come from one host; no host of a network is a shard.
/// What the box can do, as OPTIONS asks (RFC 3261 §11.2).
const ABLE: [(&str, &[u8]); 5] = [
    ("Allow", ALLOW),
    ("Supported", SUPPORTED),
    ("Accept", ACCEPT),
    ("Accept-Encoding", b"identity"),
    ("Accept-Language", b"en"),
];

/// Why a request is refused.
pub(crate) struct Refusal {
    status: u16,
    phrase: Option<&'static str>,
    headers: Vec<(&'static str, Box<[u8]>)>,
}

impl Refusal {
    pub(crate) fn new(status: u16) -> Refusal {
        Refusal { status, phrase: None, headers: Vec::new() }
    }

    fn of(unusable: Unusable) -> Refusal {
        let Unusable { status, phrase, headers } = unusable;
        let headers = headers.iter().map(|(name, value)| (*name, (*value).into())).collect();
        Refusal { status, phrase, headers }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Box<[u8]>>) -> Refusal {
        self.headers.push((name, value.into()));
        self
    }

    fn headers(&self) -> Vec<(&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (*name, &**value)).collect()
    }
}

/// Whether SDP is among what the sender accepts, or it says nothing of it (RFC 3261 §20.1).
fn takes_descriptions(message: &Message<'_>) -> bool {
    const RANGES: [&[u8]; 3] = [SDP, b"application/*", b"*/*"];
    !message.has(Name::Accept)
        || message.elements(Name::Accept).any(|element| {
            let (range, params) = sip::Params::split(element);
            let refused = params.value("q").is_some_and(|q| q.iter().all(|byte| matches!(byte, b'0' | b'.')));
            !refused && RANGES.iter().any(|known| sip::is_media_type(range, known))
        })
}

/// Option tags that are required and not understood (RFC 3261 §8.2.2.3).
pub(crate) fn unsupported(message: &Message<'_>) -> Option<Vec<u8>> {
    let understood = |tag: &[u8]| {
        [RELIABLE, TIMER, b"replaces", b"norefersub"].iter().any(|known| tag.eq_ignore_ascii_case(known))
    };
    let required: Vec<&[u8]> = message.token_list(Name::Require).filter(|tag| !understood(tag)).collect();
    if required.is_empty() { None } else { Some(required.join(&b", "[..])) }
}
