//! Responses and silence: from a client transaction to its leg, from the leg's news to the bridge.

use std::sync::Arc;

use routing::{Credentials, Snapshot, Trunk};
use sip::{Message, Method, Sdp};

use crate::bodies::sdp_of;
use crate::bridge::table::{Event, State};
use crate::bridge::{CallKey, Cause, Failure, GoesOn};
use crate::cdr::EndedBy;
use crate::core::Core;
use crate::coverage::LegInput;
use crate::io::{Flow, Now, Output};
use crate::leg::{Challenged, Leg, LegKey, News, acknowledge_late, end_fork};
use crate::media::Side;
use crate::wire::{ClientKey, ClientUser, Purpose, Unanswered};

/// A description in a response or an ACK that cannot be understood, or that names addresses of a family that the relay
/// does not have.
struct Unusable;

impl Core {
    pub(super) fn on_response(&mut self, flow: Flow, message: &Message<'_>, now: Now) {
        self.wire.stats.responses_in += 1;
        if message.check().is_err() {
            self.wire.stats.malformed += 1;
            return;
        }
        let Ok(via) = message.via() else { return };
        let client = via.branch().and_then(|branch| self.wire.client_of(branch, message.method()));
        let Some(client) = client else {
            self.on_stray_response(message, now);
            return;
        };
        // RFC 3261 §18.1.2: what names another sender than this box is no answer to it.
        if !self.wire.is_from(client, &via) {
            self.wire.stats.malformed += 1;
            return;
        }
        match self.wire.on_response(client, message, now) {
            Some(ClientUser::Leg(leg, purpose)) => {
                if let Some(leg) = self.legs.get_mut(leg) {
                    leg.heard_on(flow);
                }
                if let Some(version) = flow.tls() {
                    self.heard_over(leg, version);
                }
                self.on_leg_response(leg, purpose, client, message, now);
            }
            Some(ClientUser::Standalone(key)) => self.on_standalone_response(key, client, message, now),
            Some(ClientUser::Subscription(key, server)) => {
                self.on_subscription_response(key, server, client, message, now);
            }
            Some(ClientUser::Ping(peer)) => self.on_ping_response(peer, client, message, now),
            Some(ClientUser::Nobody) | None => {}
        }
        self.wire.settle_client(client);
    }

    /// A 2xx whose transaction is no more: row C6 still owes it ACK and BYE.
    fn on_stray_response(&mut self, message: &Message<'_>, now: Now) {
        if message.method() != Method::Invite {
            return;
        }
        let tag = message.from().ok().and_then(|from| from.tag());
        let Some(key) = tag.and_then(|tag| self.leg_with_tag(tag)) else { return };
        let call_id = message.call_id().unwrap_or_default();
        if let Some(leg) = self
            .legs
            .get_mut(key)
            .filter(|leg| Some(leg.tag.as_bytes()) == tag && leg.call_id.as_bytes() == call_id)
        {
            self.wire.coverage.leg(leg, LegInput::StraySuccess);
            let call = leg.call;
            if leg.on_abandoned_success(key, message, &mut self.wire, now) {
                if let Some(call) = call {
                    self.settle(call, now);
                }
                return;
            }
            leg.on_late_success(ClientKey::default(), message, &mut self.wire, now);
        }
    }

    fn on_leg_response(
        &mut self,
        key: LegKey,
        purpose: Purpose,
        client: ClientKey,
        message: &Message<'_>,
        now: Now,
    ) {
        let status = message.status().unwrap_or(0);
        if matches!(status, 401 | 407)
            && purpose != Purpose::Invite
            && self.answer_challenge(key, client, purpose, message, now)
        {
            return;
        }
        if let Purpose::Carry(server) = purpose {
            self.on_carried(server, key, client, message, now);
        }
        let Some(leg) = self.legs.get_mut(key) else {
            self.on_success_after_the_call(purpose, client, message, now);
            return;
        };
        self.wire.coverage.leg(leg, LegInput::response(purpose, status));
        let call = leg.call;
        let news = match purpose {
            Purpose::Invite => {
                let snapshot = call.and_then(|call| self.calls.get(call)).map(|call| &call.snapshot);
                let credentials = credentials(snapshot, leg);
                leg.on_invite_response(key, client, message, credentials, &mut self.wire, now)
            }
            Purpose::Offer => leg.on_offer_response(key, client, message, &mut self.wire, now),
            Purpose::Bye if status >= 200 => {
                leg.on_bye_done();
                News::Nothing
            }
            // A refused PRACK changes nothing: the callee's own timer ends the call if it wants to (RFC 3262 §3).
            Purpose::Prack if (200..300).contains(&status) => {
                leg.on_prack_accepted();
                News::Nothing
            }
            Purpose::Bye | Purpose::Prack => News::Nothing,
            Purpose::Notify => {
                if let Some(notify) = self.wire.client_request(client) {
                    leg.on_notify_answered(status, &notify);
                }
                News::Nothing
            }
            Purpose::Carry(_) | Purpose::Info if matches!(status, 408 | 481) => {
                let request = self.wire.client_request(client);
                request.map_or(News::Nothing, |request| leg.lost_with(&request))
            }
            Purpose::Carry(_) | Purpose::Info => News::Nothing,
        };
        if let Some(call) = call {
            self.on_news(call, key, news, Some(message), now);
        }
        // Behind the news of it: a leg that is over by now sends no more.
        if purpose == Purpose::Info && status >= 200 {
            self.on_digit_answered(key, Some(status), now);
        }
    }

    /// A request within the dialog was challenged; whether it was sent again.
    fn answer_challenge(
        &mut self,
        key: LegKey,
        client: ClientKey,
        purpose: Purpose,
        response: &Message<'_>,
        now: Now,
    ) -> bool {
        let Some(leg) = self.legs.get_mut(key) else { return false };
        let snapshot = leg.call.and_then(|call| self.calls.get(call)).map(|call| &call.snapshot);
        let credentials = credentials(snapshot, leg);
        let asked = Challenged { client, purpose, response, credentials };
        leg.answer_challenge(key, &asked, &mut self.wire, now).is_some()
    }

    /// A repeated 2xx of a call that is over gets its ACK again as long as the transaction lives; one of another fork is
    /// ended.
    fn on_success_after_the_call(
        &mut self,
        purpose: Purpose,
        client: ClientKey,
        message: &Message<'_>,
        now: Now,
    ) {
        if !matches!(purpose, Purpose::Invite | Purpose::Offer)
            || message.method() != Method::Invite
            || message.status().is_none_or(|status| status / 100 != 2)
        {
            return;
        }
        let Some(flow) = self.wire.client_flow(client) else { return };
        if let Some(ack) = self.wire.kept_ack(client) {
            let acknowledged =
                Message::parse(&ack).ok().and_then(|ack| ack.to().ok()?.tag().map(<[u8]>::to_vec));
            if acknowledged.as_deref() == message.to().ok().and_then(|to| to.tag()) {
                self.wire.send(flow, ack, crate::io::SendToken::NONE);
                return;
            }
        }
        if purpose == Purpose::Invite {
            end_fork(client, message, flow, &mut self.wire, now);
        } else {
            acknowledge_late(client, message, flow, &mut self.wire);
        }
    }

    /// Timer B or F, or a transport that failed: nothing will come.
    pub(super) fn on_no_answer(&mut self, unanswered: Unanswered, status: u16, now: Now) {
        let (key, purpose) = match unanswered.user {
            ClientUser::Leg(key, purpose) => (key, purpose),
            ClientUser::Standalone(key) => return self.on_standalone_unanswered(key, status == 503, now),
            ClientUser::Subscription(key, server) => {
                return self.on_subscription_unanswered(key, server, &unanswered.request, now);
            }
            ClientUser::Ping(peer) => return self.on_ping_unanswered(peer, now),
            ClientUser::Nobody => return,
        };
        if let Purpose::Carry(server) = purpose {
            self.carry_nothing_back(server, key, &unanswered, now);
        }
        let Some(leg) = self.legs.get_mut(key) else { return };
        self.wire.coverage.leg(leg, LegInput::no_response(purpose, status));
        if purpose != Purpose::Invite {
            leg.way_failed();
        }
        let call = leg.call;
        let news = match purpose {
            Purpose::Invite => leg.on_invite_unanswered(status, unanswered.request, &self.wire, now),
            Purpose::Offer => leg.on_offer_unanswered(),
            Purpose::Bye => {
                leg.on_bye_done();
                News::Nothing
            }
            Purpose::Prack => News::Nothing,
            Purpose::Notify => {
                leg.on_notify_answered(status, &unanswered.request);
                News::Nothing
            }
            // The dialog was answered meanwhile, and is good until Timer F says otherwise.
            Purpose::Carry(_) if unanswered.given_up => News::Nothing,
            Purpose::Carry(_) | Purpose::Info => leg.lost_with(&unanswered.request),
        };
        if let Some(call) = call {
            self.on_news(call, key, news, None, now);
        }
        if purpose == Purpose::Info {
            self.on_digit_answered(key, None, now);
        }
    }

    /// What a leg told, as an event of its call.
    pub(super) fn on_news(
        &mut self,
        call_key: CallKey,
        leg: LegKey,
        news: News,
        message: Option<&Message<'_>>,
        now: Now,
    ) {
        let Some(call) = self.calls.get_mut(call_key) else { return };
        let side = if call.a == leg { Side::A } else { Side::B };
        // A caller that is to take a place in the call may only give up before it has it.
        if call.arrival() == Some(leg) {
            if news == News::Bye {
                self.drive(call_key, Cause::new(Event::Cancelled).status(487), now);
            }
            return;
        }
        let is_transferring = matches!(call.state, State::Transferring(_) | State::TransferringAlone(_));
        let is_target = is_transferring && side == Side::B && call.talking_callee() != Some(leg);
        if is_target && matches!(news, News::Offered | News::Overtook) {
            return self.put_off(call_key, leg, now);
        }
        // A target that was given up has nothing to say to the call any more.
        let news = match side {
            Side::B if call.talking_callee() == Some(leg) => news,
            Side::B if news != News::Nothing && !call.focus_leg(leg) => News::Nothing,
            Side::A | Side::B => news,
        };
        let who = call.who(side);
        if news == News::Answered && message.is_some_and(|message| self.hold_answer(call_key, leg, message)) {
            return self.settle(call_key, now);
        }
        if side == Side::B
            && message.is_some()
            && matches!(news, News::Progress | News::Answered | News::Refused(_))
        {
            self.note_heard(call_key, now);
        }
        let Some(call) = self.calls.get_mut(call_key) else { return };
        let cause = match news {
            News::Nothing => {
                self.note_final(call_key, leg, message, now);
                self.end_if_no_legs(call_key, now);
                return;
            }
            News::Progress => Cause::new(Event::Progress),
            News::Answered => Cause::new(Event::Answered),
            News::Refused(status) => {
                if let Some(message) = message {
                    call.record.heard(message, now);
                }
                let by = match message {
                    Some(_) => EndedBy::Callee,
                    None if status == 408 => EndedBy::Timer,
                    None => EndedBy::Error,
                };
                self.heed_reluctance(call_key, status, message, now);
                let goes_on =
                    if message.is_none() || status == 503 { GoesOn::Unreached } else { GoesOn::AsListed };
                return self.target_failed(call_key, status, message, goes_on, by, now);
            }
            News::Expired => {
                return self.target_failed(call_key, 408, None, GoesOn::AsListed, EndedBy::Timer, now);
            }
            News::Acked => Cause::new(Event::Acked(side)),
            News::Pracked => Cause::new(Event::Pracked),
            News::NoPrack => Cause::new(Event::NoPrack).status(504).by(EndedBy::Timer),
            News::NoAck => Cause::new(Event::Lost(side)).by(EndedBy::Timer),
            News::Lost => Cause::new(Event::Lost(side)).by(EndedBy::Error),
            News::Bye => Cause::new(Event::Bye(side)).status(if side == Side::A { 487 } else { 480 }).by(who),
            News::Offered => Cause::new(Event::Offered(side)),
            News::Overtook => Cause::new(Event::Overtook(side)).status(491),
            News::OfferWithdrawn(status) => Cause::new(Event::OfferWithdrawn(side)).status(status),
            News::Agreed => Cause::new(Event::Agreed(side)),
            News::NotPutBack => Cause::new(Event::NotPutBack(side)).reason(UNUSABLE).by(EndedBy::Error),
            News::CanOffer => Cause::new(Event::CanOffer(side)),
            News::SessionExpired => {
                Cause::new(Event::SessionExpired(side)).reason(EXPIRED).by(EndedBy::Timer)
            }
            News::OfferAccepted => Cause::new(Event::OfferAccepted),
            News::OfferRefused(status) => Cause::new(Event::OfferRefused).status(not_a_challenge(status)),
        };
        let Some(message) = message else { return self.drive(call_key, cause, now) };
        // The answer to an UPDATE that left before the 2xx; the session stays as it was.
        let before_answer = matches!(
            call.state,
            State::Resolving | State::Calling | State::Ringing | State::Answered | State::Up
        );
        let sdp = sdp_of(message).map(|body| self.usable(body));
        let sdp = sdp.map(|sdp| sdp.and_then(|sdp| self.permitted(call_key, side, sdp)));
        let cause = match (&sdp, cause.event) {
            // A response whose description cannot be read is not an answer that this box can use.
            (Some(Err(_)), Event::OfferAccepted) if before_answer => {
                Cause::new(Event::OfferRefused).status(488)
            }
            (Some(Err(_)), Event::Answered | Event::OfferAccepted) => {
                Cause::new(Event::BadAnswer).status(502).by(EndedBy::Error)
            }
            (Some(_), Event::Acked(_))
                if self.ack_is_awaited(call_key, side) && !self.answers(call_key, side, &sdp) =>
            {
                Cause::new(Event::BadAck(side)).reason(UNUSABLE).by(EndedBy::Error)
            }
            (Some(Ok(_)), Event::OfferAccepted) if !before_answer && !self.answers(call_key, side, &sdp) => {
                Cause::new(Event::BadAnswer).status(502).by(EndedBy::Error)
            }
            (Some(Err(_)), Event::Agreed(_)) => {
                Cause::new(Event::NotPutBack(side)).reason(UNUSABLE).by(EndedBy::Error)
            }
            (Some(Ok(sdp)), Event::Answered | Event::Progress)
                if self.defer_for_ports(call_key, cause.event, message, sdp) =>
            {
                return self.settle(call_key, now);
            }
            (Some(Ok(sdp)), _) => cause.message(message).sdp(sdp),
            (Some(Err(_)) | None, _) => cause.message(message),
        };
        self.drive(call_key, cause, now);
    }

    fn usable<'b>(&self, body: &'b [u8]) -> Result<Sdp<'b>, Unusable> {
        let sdp = Sdp::parse(body).map_err(|_| Unusable)?;
        if self.wire.settings.media.reach(&sdp) { Ok(sdp) } else { Err(Unusable) }
    }

    /// The description, unless a side's `media_security` forbids it.
    fn permitted<'b>(&self, call: CallKey, side: Side, sdp: Sdp<'b>) -> Result<Sdp<'b>, Unusable> {
        let Some(call) = self.calls.get(call) else { return Ok(sdp) };
        let Some(from) = call.leg(side).and_then(|leg| self.legs.get(leg)) else { return Ok(sdp) };
        if call.media.takes(&sdp, from) { Ok(sdp) } else { Err(Unusable) }
    }

    /// Whether a description that comes from this side answers the offer that this side has: with no more streams (RFC 3264
    /// §6; those that are missing are rejected). An offer in a 2xx, whose ACK is owed, is no answer.
    fn answers(&self, call: CallKey, side: Side, sdp: &Option<Result<Sdp<'_>, Unusable>>) -> bool {
        let Some(call) = self.calls.get(call) else { return true };
        let Some(from) = call.leg(side).and_then(|leg| self.legs.get(leg)) else { return true };
        match sdp {
            Some(Ok(sdp)) => from.owes_ack() || sdp.streams().len() <= from.session.streams(),
            Some(Err(_)) => false,
            None => true,
        }
    }

    /// Whether the other side's 2xx waits for what this side's ACK says. Where nobody does, it may say anything.
    fn ack_is_awaited(&self, call: CallKey, side: Side) -> bool {
        let other = self.calls.get(call).and_then(|call| call.leg(side.other()));
        other.and_then(|other| self.legs.get(other)).is_some_and(Leg::owes_ack)
    }

    /// A target refused, or never answered; what the caller hears of it if it was the last.
    pub(super) fn target_failed(
        &mut self,
        call: CallKey,
        status: u16,
        response: Option<&Message<'_>>,
        goes_on: GoesOn,
        by: EndedBy,
        now: Now,
    ) {
        if self.is_not_inside(call, status) {
            return self.look_outside(call, now);
        }
        let (status, goes_on) = match response {
            Some(response) if status / 100 == 3 => self.follow_redirect(call, status, response),
            Some(_) if self.passes_challenges(call) => (status, goes_on),
            Some(_) | None => (not_a_challenge(status), goes_on),
        };
        match self.failure(call, status, response, goes_on) {
            (event, None) => {
                let cause = Cause::new(event).status(status).by(by);
                self.drive(call, response.map_or(cause, |response| cause.message(response)), now);
            }
            // Another target said something that helps the caller more.
            (event, Some(Failure { status, response })) => {
                let response = response.as_ref().and_then(|bytes| Message::parse(bytes).ok());
                let cause = Cause::new(event).status(status).by(by);
                self.drive(call, response.as_ref().map_or(cause, |response| cause.message(response)), now);
            }
        }
    }

    /// Whether the caller is to answer what the target that is being tried asks.
    fn passes_challenges(&self, call: CallKey) -> bool {
        let Some(call) = self.calls.get(call) else { return false };
        let target = call.setup.as_ref().and_then(|setup| setup.current.as_ref());
        let trunk = target.and_then(|target| call.snapshot.trunk(target.trunk?));
        trunk.is_some_and(Trunk::passes_challenges)
    }

    /// The target of a transfer has nobody yet to whom an offer of its own could go (RFC 3311 §5.2).
    fn put_off(&mut self, call: CallKey, leg: LegKey, now: Now) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.reject_offer(500, None, &[("Retry-After", b"5")], &mut self.wire, now);
        }
        self.settle(call, now);
    }

    /// What leg B said after the call began to end belongs into the record: the 487 of a cancelled call. What a target that was
    /// given up says belongs into its own.
    fn note_final(&mut self, call: CallKey, leg: LegKey, message: Option<&Message<'_>>, now: Now) {
        let Some(call) = self.calls.get_mut(call) else { return };
        let last_word = message.filter(|message| {
            message.method() == Method::Invite && message.status().is_some_and(|status| status >= 200)
        });
        let given_up = last_word.and_then(|message| call.record.heard_late(leg, message));
        self.wire.outputs.extend(given_up.map(Output::Cdr));
        // A 2xx that waits for the caller's PRACK and is repeated meanwhile has not been heard yet.
        if matches!(call.state, State::Resolving | State::Calling | State::Ringing) {
            return;
        }
        if let Some(message) = last_word
            && call.b == Some(leg)
            && call.record.attempt.status.is_none()
        {
            call.record.heard(message, now);
        }
    }
}

/// Why both sides are hung up when they cannot be brought to one description.
const UNUSABLE: &[u8] = b"SIP;cause=488;text=\"Not Acceptable Here\"";

/// RFC 4028 names no code; 408 is what an unanswered refresh would have had.
const EXPIRED: &[u8] = b"SIP;cause=408;text=\"Session Expired\"";

/// What a trunk wants to hear when it asks who calls; nobody else who asks in its place.
fn credentials<'s>(snapshot: Option<&'s Arc<Snapshot>>, leg: &Leg) -> Option<&'s Credentials> {
    let trunk = leg.trunk.filter(|_| !leg.is_stranger)?;
    snapshot?.trunk(trunk)?.auth.as_ref()
}

/// 401 and 407 are this box's business (it has no credentials, or wrong ones): nothing that the other side could mend.
fn not_a_challenge(status: u16) -> u16 {
    if matches!(status, 401 | 407) { 502 } else { status }
}
