//! Carrying out what the table says.

use std::collections::VecDeque;

use routing::Trunk;
use sip::{Message, Method, Sdp};

use super::security::is_plain;
use super::session::{MediaState, warning};
use super::table::{Event, Order, State, step};
use super::{Call, CallKey, Candidate, Cause, GoesOn, LocalSession, Reach, Terms};
use crate::bodies::{Body, sdp_of};
use crate::cdr::EndedBy;
use crate::core::Core;
use crate::family::{Families, Told};
use crate::headers::{Between, advertised_host, dialled, sips_not_allowed, text};
use crate::io::{EventKind, Flow, Now, Output};
use crate::leg::{Leg, LegKey, Rejection, Target};
use crate::media::Side;

/// Nothing to be had here now (RFC 3261 §21.5.4).
const UNAVAILABLE: u16 = 503;
/// The session that is described cannot be had (RFC 3261 §21.4.26).
const UNACCEPTABLE: u16 = 488;

/// What the journal is to hear of a step.
#[derive(Clone, Copy)]
enum News {
    /// The call begins to end, or its media has.
    Ends,
    /// One of the two who talk has left, and the other waits for somebody else.
    Parts,
}

pub(super) type Follow<'m> = VecDeque<Cause<'m>>;

impl Core {
    /// Takes a call one step, and the steps that follow from it.
    pub(crate) fn drive(&mut self, key: CallKey, cause: Cause<'_>, now: Now) {
        let mut follow = Follow::from([cause]);
        let mut news = None;
        while let Some(cause) = follow.pop_front() {
            let Some(call) = self.calls.get_mut(key) else { return };
            if cause.attempt != 0 && !call.focus(cause.attempt) {
                continue;
            }
            let before = call.state;
            self.wire.coverage.bridge(before, cause.event);
            let (next, orders) = step(before, cause.event);
            call.state = next;
            if next == State::Ending && (before != next || cause.event == Event::MediaClosed) {
                news = Some(News::Ends);
            } else if next.has_lost_a_side() && !before.has_lost_a_side() {
                news = Some(News::Parts);
            }
            if next == State::Ending && before != State::Ending {
                if !cause.is_of_target() {
                    call.focus_furthest();
                }
                call.record.ends(cause.by.unwrap_or(EndedBy::Error), cause.own_q850(), now);
                if let Some(message) = cause.message {
                    call.saw_reason(message, &cause);
                }
            }
            for order in orders {
                self.carry_out(key, *order, &cause, &mut follow, now);
            }
            if follow.is_empty() && self.has_no_legs_left(key) {
                follow.push_back(Cause::new(Event::LegsOver));
            }
        }
        if let Some(news) = news {
            self.tell_journal(key, news, now);
        }
        self.settle(key, now);
    }

    /// Somebody has left: a process that dies now must leave no call behind that another one goes on with, and its record
    /// tells who left and when. Where the record itself follows at once there is nothing to tell before it.
    fn tell_journal(&mut self, key: CallKey, news: News, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        match news {
            // What the relay has counted comes within this step, as a rule.
            News::Ends if call.state == State::Ending && call.media.state != MediaState::Closing => {
                self.open_record(key, now);
            }
            News::Parts if call.state.has_lost_a_side() => self.open_talk(key, now),
            News::Ends | News::Parts => {}
        }
    }

    pub(crate) fn has_no_legs_left(&self, key: CallKey) -> bool {
        self.calls.get(key).is_some_and(|call| {
            call.state == State::Ending && call.legs().all(|leg| self.legs.get(leg).is_none_or(Leg::is_over))
        })
    }

    fn carry_out<'m>(
        &mut self,
        key: CallKey,
        order: Order,
        cause: &Cause<'m>,
        follow: &mut Follow<'m>,
        now: Now,
    ) {
        match order {
            Order::OpenMedia => self.open_media(key),
            Order::NextTarget => self.next_target(key, follow, now),
            Order::RecordAttempt => self.record_attempt(key, cause, now),
            Order::Invite => self.invite_target(key, follow, now),
            Order::RelayProgress => self.relay_progress(key, cause, now),
            Order::RelayAnswer => self.relay_answer(key, cause, now),
            Order::RelayAck => self.relay_ack(key, cause, now),
            Order::Reject => self.reject_caller(key, cause, now),
            Order::HangUp(side) => self.hang_up(key, side, cause, now),
            Order::DropBranches => self.drop_branches(key, cause, now),
            Order::RelayOffer(side) => self.relay_offer(key, side, follow, now),
            Order::WithdrawOffer(side) => self.withdraw_offer(key, side, cause, now),
            Order::PutBack(side) => self.put_back(key, side, follow, now),
            Order::TakeAnswer(side) => self.take_answer(key, side, cause, now),
            Order::RelayOfferAnswer(side) => self.relay_offer_answer(key, side, cause, now),
            Order::RefuseOffer(side) => self.refuse_offer(key, side, cause, now),
            Order::RelayOfferAck(side) => self.relay_offer_ack(key, side, cause, now),
            Order::ReleaseAck(side) => self.release_ack(key, side),
            Order::AcceptRefer(side) => self.accept_refer(key, side, cause, follow, now),
            Order::RefuseRefer(side) => self.refuse_refer(key, side, cause, now),
            Order::NotifyProgress(side) => self.notify_progress(key, side, cause, now),
            Order::NotifyEnd(side) => self.notify_end(key, side, cause, now),
            Order::DropTarget => self.drop_target(key, cause, now),
            Order::ResumeTalk => self.resume_talk(key, now),
            Order::Join(side) => self.join(key, side, cause, now),
            Order::OfferJoin(side) => self.offer_join(key, side, follow, now),
            Order::AcceptJoin(side) => self.accept_join(key, side, cause, now),
            Order::ForgetMedia(side) => self.forget_media(key, side),
            Order::HandOver(side) => self.hand_over(key, side, cause, now),
            Order::Keep => self.keep_party(key, cause, now),
            Order::OfferReplacement(side) => self.offer_replacement(key, side, cause, follow, now),
            Order::Replace(side) => self.replace(key, side, cause, now),
            Order::RefuseReplacement => self.refuse_replacement(key, cause, now),
            Order::RelayPrack => self.relay_prack(key, cause, now),
            Order::RelayEarlyOffer(side) => self.relay_early_offer(key, side, follow, now),
            Order::AnswerEarlyOffer => self.answer_early_offer(key, cause, now),
            Order::RefuseEarlyOffer => self.refuse_early_offer(key, cause, now),
            Order::ResumeMedia => self.resume_media(key, now),
            Order::WatchMedia => {
                if let Some(call) = self.calls.get(key) {
                    call.media.watch(&mut self.wire);
                }
                self.begin_wanted_recording(key, false, now);
            }
            Order::CloseMedia => {
                if let Some(call) = self.calls.get_mut(key)
                    && call.media.close(&mut self.wire)
                {
                    follow.push_back(Cause::new(Event::MediaClosed));
                }
            }
            Order::Finish => self.finish(key, now),
        }
    }

    fn open_media(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(caller) = self.legs.get_mut(call.a) else { return };
        let invite = call.setup.as_ref().map(|setup| setup.invite.clone()).unwrap_or_default();
        // A call without offer has at least one stream; what its answer needs beyond is asked for then.
        let mut streams = 1;
        if let Ok(invite) = Message::parse(&invite)
            && let Some(sdp) = sdp_of(&invite).and_then(|body| Sdp::parse(body).ok())
        {
            streams = sdp.streams().len();
            caller.told.heard(&sdp);
        }
        if call.snapshot.shapes_media() {
            call.media.note_terms();
        }
        call.media.expect([caller.told.family(), call.first_target_family()], &self.wire);
        call.media.open(streams, &mut self.wire);
    }

    fn invite_target(&mut self, key: CallKey, follow: &mut Follow<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(setup) = call.setup.as_ref() else { return };
        let Some(Candidate { uri, to, trunk, reach: Reach::Flow { flow, registered }, is_stranger, .. }) =
            setup.current.clone()
        else {
            follow.push_back(Cause::new(Event::Refused).status(UNAVAILABLE).by(EndedBy::Error));
            return;
        };
        let bytes = setup.invite.clone();
        let side = call.target_side();
        let Ok(invite) = Message::parse(&bytes) else { return };
        let bodies = call.bodies_of(call.trunk_in);
        let offer = sdp_of(&invite).and_then(|body| Sdp::parse(body).ok());
        let caller_trunk =
            self.legs.get(call.a).and_then(|leg| leg.trunk).filter(|_| call.transfer.is_none());
        let terms = Terms::of(&call.snapshot, caller_trunk, trunk);
        let known = trunk.and_then(|id| call.snapshot.trunk(id));
        let security = self.wire.settings.security_of(known, flow);
        let is_ended = self.legs.get(call.a).is_some_and(|caller| caller.session.security.is_some());
        let is_read = is_ended || security.is_some() || call.media.is_secured();
        if offer.as_ref().is_some_and(|sdp| terms.read(is_read).refuse(sdp)) {
            return self.skip_target(key, follow);
        }
        let mut session = LocalSession::new(self.wire.ids.random());
        let told = Told::new(call.media_family_of(trunk), flow.remote.ip());
        session.security = security;
        // A caller on whose side nothing is encrypted here cannot be decrypted for one on whose side it is. In a transfer the
        // keys may be this box's own: those of the side that leaves.
        let is_foreign = session.security.is_some()
            && !(call.transfer.is_some() && call.media.is_secured())
            && self.legs.get(call.a).is_some_and(|caller| caller.session.security.is_none())
            && offer.as_ref().is_some_and(|sdp| !is_plain(sdp));
        if is_foreign || offer.as_ref().is_some_and(|sdp| !session.carries(sdp)) {
            follow.push_back(Cause::new(Event::Refused).status(UNACCEPTABLE).by(EndedBy::Policy));
            return;
        }
        let body = offer.map(|sdp| {
            // Who stays in a transfer is described already.
            if call.transfer.is_none()
                && let Some(caller) = self.legs.get_mut(call.a)
            {
                call.media.describe(&sdp, Side::A, caller, &mut self.wire);
                call.record.described(Side::A, &sdp);
            }
            let written = call.media.write_first(&sdp, &mut session, told, side, terms, &mut self.wire);
            Body::in_place(Some(&invite), written, bodies)
        });
        let body = body.or_else(|| Body::passed(&invite, bodies));
        let first = call.record.attempt.number == 1;
        // What a phone answered was asked by this box.
        let passes_credentials = self.legs.get(call.a).is_some_and(|caller| caller.trunk.is_some())
            && !is_stranger
            && trunk.and_then(|trunk| call.snapshot.trunk(trunk)).is_some_and(Trunk::passes_challenges);
        let between = Between {
            said_by_phone: self.legs.get(call.a).is_some_and(Leg::is_phone) && call.transfer.is_none(),
            heard_by_phone: trunk.is_none() && !flow.is_inner(),
        };
        let target = Target {
            uri: &uri,
            to: &to,
            flow,
            trunk,
            by_flow: registered,
            first,
            is_stranger,
            passes_credentials,
            between,
        };
        let wire = &mut self.wire;
        let leg = self
            .legs
            .insert_with_key(|leg| Leg::invite(leg, key, &target, &invite, body.as_ref(), wire, now));
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.session = session;
            leg.told = told;
            leg.side = side;
        }
        call.b = Some(leg);
        if call.record.has_identity() {
            let sent = self
                .legs
                .get(leg)
                .and_then(Leg::invite_client)
                .and_then(|client| self.wire.client_request(client));
            call.record.sent(sent.as_deref().and_then(|sent| Message::parse(sent).ok()).as_ref());
        }
        let attempt = &mut call.record.attempt;
        attempt.b_call_id = self.legs.get(leg).map(|leg| leg.call_id.clone());
        attempt.called_sent = dialled(&uri);
        // What stays inside goes to no place, and takes none at a trunk.
        if flow.is_inner() {
            return self.open_record(key, now);
        }
        attempt.destination = Some(flow.remote);
        attempt.transport = Some(self.wire.listener(flow.listener).transport);
        let kind = EventKind::AttemptStarted { attempt: attempt.number, trunk, destination: flow.remote };
        self.wire.event(Some(call.id), kind);
        self.open_record(key, now);
    }

    /// The target's trunk and the caller's have no codec of the offer in common.
    fn skip_target(&mut self, key: CallKey, follow: &mut Follow<'_>) {
        if let Some(setup) = self.calls.get_mut(key).and_then(|call| call.setup.as_mut()) {
            setup.no_codec = true;
        }
        let (event, earlier) = self.failure(key, UNACCEPTABLE, None, GoesOn::Always);
        let status = earlier.map_or(UNACCEPTABLE, |earlier| earlier.status);
        follow.push_back(Cause::new(event).status(status).by(EndedBy::Policy));
    }

    fn relay_progress(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(message) = cause.message else { return };
        // RFC 6337 §3.1: after the reliable answer another description says nothing to the caller. The relay hears it.
        let Some(call) = self.calls.get(key) else { return };
        let told = self.legs.get(call.a).is_some_and(|leg| {
            leg.is_told_already() || leg.goes_reliably(message) && is_preview(call, message)
        });
        let body = if told {
            self.describe_agreed(key, Side::B, message);
            None
        } else {
            self.describe_to(key, Side::B, cause)
        };
        let body = body.or_else(|| self.passed_from_callee(key, message));
        let Some(call) = self.calls.get_mut(key) else { return };
        call.record.heard(message, now);
        let (a, b) = (call.a, call.b);
        let holds_offer = crate::leg::rseq(message).is_some() && sdp_of(message).is_some();
        let owed = b.filter(|b| holds_offer && self.legs.get(*b).is_some_and(Leg::owes_prack));
        let awaited_by = owed.filter(|_| !told);
        let Some(leg) = self.legs.get_mut(a) else { return };
        let will_prack = leg.progress(&mut self.wire, message, body.as_ref(), awaited_by, now);
        if !(will_prack && awaited_by.is_some())
            && let Some(b) = owed
        {
            self.release_prack(b, None, now);
        }
    }

    fn relay_answer(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(message) = cause.message else { return };
        let body = self.describe_to(key, Side::B, cause).or_else(|| self.early_answer(key));
        let body = body.or_else(|| self.passed_from_callee(key, message));
        let Some(call) = self.calls.get_mut(key) else { return };
        call.record.heard(message, now);
        call.record.a_status = message.status();
        call.record.a_reason = Some(text(message.reason_phrase()));
        let offered = call.setup.take().is_some_and(|setup| setup.has_offer());
        if let Some(leg) = self.legs.get_mut(call.a) {
            leg.answer(&mut self.wire, message, body.as_ref(), now);
        }
        // A 2xx with an answer is acknowledged at once; one with an offer when the caller has answered it.
        if !offered && body.as_ref().is_some_and(Body::is_described) {
            call.answer_due = Some(Side::A);
        } else if let Some(leg) = call.b.and_then(|leg| self.legs.get_mut(leg)) {
            leg.acknowledge(&mut self.wire, None);
        }
        self.wire.stats.calls_answered += 1;
        self.wire.event(Some(call.id), EventKind::CallAnswered);
        self.tell_who_talks(key);
        self.open_record(key, now);
    }

    fn relay_ack(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.answer_due.take().is_none() {
            return;
        }
        let body = self.describe_to(key, Side::A, cause);
        let b = self.calls.get(key).and_then(|call| call.b);
        if let Some(leg) = b.and_then(|leg| self.legs.get_mut(leg)) {
            leg.acknowledge(&mut self.wire, body.as_ref());
        }
        self.keep_call(key, now);
    }

    fn reject_caller(&mut self, key: CallKey, cause: &Cause<'_>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        // A response of the callee crosses with its own words, unless its status was changed on the way.
        let response = cause.message.filter(|message| message.status() == Some(cause.status));
        let phrase = response.map(Message::reason_phrase).or(cause.phrase.map(str::as_bytes));
        call.record.a_status = Some(cause.status);
        let usual = sip::reason_phrase(cause.status).as_bytes();
        call.record.a_reason = Some(text(phrase.unwrap_or(usual)));
        let (a, setup) = (call.a, call.setup.as_ref());
        let setup = setup.filter(|_| response.is_none());
        let readable_only = setup.is_some_and(|setup| setup.readable_only);
        let no_codec = cause.status == UNACCEPTABLE && setup.is_some_and(|setup| setup.no_codec);
        let body = response.and_then(|response| self.passed_from_callee(key, response));
        let Some(leg) = self.legs.get_mut(a) else { return };
        let host = advertised_host(self.wire.listener(leg.flow.listener));
        let warning = if readable_only {
            Some(sips_not_allowed(host))
        } else {
            no_codec.then(|| no_common_codec(host))
        };
        let headers: &[(&str, &[u8])] = match &warning {
            Some(warning) => &[("Warning", warning.as_bytes())],
            None if cause.status == UNAVAILABLE && response.is_none() => &[("Retry-After", b"5")],
            None => &[],
        };
        let said =
            Rejection { status: cause.status, reason: phrase, from: response, headers, body: body.as_ref() };
        leg.reject(&mut self.wire, &said, now);
    }

    fn hang_up(&mut self, key: CallKey, side: Side, cause: &Cause<'_>, now: Now) {
        let Some(leg_key) = self.calls.get(key).and_then(|call| call.leg(side)) else { return };
        let Some(leg) = self.legs.get_mut(leg_key) else { return };
        leg.hang_up(leg_key, &mut self.wire, cause.reason_value().as_deref(), now);
    }

    fn finish(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let record = &mut call.record;
        // What leg B said last may have come after the caller was answered: the 487 of a cancelled call.
        if let Some(leg) = call.b.and_then(|leg| self.legs.get(leg))
            && record.attempt.status.is_none()
            && leg.final_status != 0
        {
            record.attempt.status = Some(leg.final_status);
        }
        self.wire.outputs.extend(record.take_given_up(|_| true).map(Output::Cdr));
        let parted = record.parted();
        let fact = record.fact(&record.attempt, call.id, true, now);
        let attempt_ended = record.attempt.ended_event();
        let call_ended = EventKind::CallEnded {
            trunk: call.trunk_in,
            caller: fact.caller.clone(),
            called: fact.called.clone(),
            status: record.a_status.unwrap_or(0),
            disposition: fact.disposition.as_str(),
            ended_by: fact.ended_by.as_str(),
            duration_ms: fact.duration_ms,
        };
        let call_id = call.id;
        self.wire.stats.calls_ended += 1;
        self.wire.outputs.extend(parted.map(Output::Cdr));
        self.wire.outputs.push_back(Output::Cdr(Box::new(fact)));
        if let Some(kind) = attempt_ended {
            self.wire.event(Some(call_id), kind);
        }
        self.wire.event(Some(call_id), call_ended);
    }

    /// The legs of a call: that of this side, then the other.
    pub(super) fn pair(&self, key: CallKey, side: Side) -> Option<(LegKey, LegKey)> {
        let call = self.calls.get(key)?;
        Some((call.leg(side)?, call.leg(side.other())?))
    }

    /// Tells the relay what this side's description says, and writes it anew for the other side.
    pub(super) fn describe_to(&mut self, key: CallKey, side: Side, cause: &Cause<'_>) -> Option<Body> {
        let read;
        let sdp = match cause.sdp {
            Some(sdp) => sdp,
            None => {
                read = Sdp::parse(sdp_of(cause.message?)?).ok()?;
                &read
            }
        };
        let call = self.calls.get_mut(key)?;
        let from = call.leg(side).and_then(|leg| self.legs.get_mut(leg))?;
        let trunk = from.trunk;
        let fitted = from.fitted(sdp);
        let fitted = fitted.as_deref().and_then(|fitted| Sdp::parse(fitted).ok());
        let sdp = fitted.as_ref().unwrap_or(sdp);
        call.media.describe(sdp, side, from, &mut self.wire);
        call.note_media(side, sdp);
        if let (Side::B, Some(setup)) = (side, call.setup.as_mut()) {
            setup.early = call.b;
        }
        let to = call.leg(side.other())?;
        let bodies = call.bodies_of(trunk);
        let leg = self.legs.get_mut(to)?;
        let terms = Terms::of(&call.snapshot, trunk, leg.trunk);
        let written = call.media.write(sdp, leg, side.other(), terms, &mut self.wire);
        call.note_answer(side, sdp);
        Some(Body::in_place(cause.message, written, bodies))
    }

    /// The body of a response without a description, where the callee's trunk lets it cross.
    fn passed_from_callee(&self, key: CallKey, response: &Message<'_>) -> Option<Body> {
        let call = self.calls.get(key)?;
        let trunk = call.leg(Side::B).and_then(|leg| self.legs.get(leg))?.trunk;
        Body::passed(response, call.bodies_of(trunk))
    }

    pub(super) fn describe_only(&mut self, key: CallKey, side: Side, message: &Message<'_>) {
        let Some(sdp) = sdp_of(message).and_then(|body| Sdp::parse(body).ok()) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(leg) = call.leg(side).and_then(|leg| self.legs.get_mut(leg)) else { return };
        call.media.describe(&sdp, side, leg, &mut self.wire);
        call.note_media(side, &sdp);
    }

    /// The same where it answers what the other side was told, which hears no more of it.
    pub(super) fn describe_agreed(&mut self, key: CallKey, side: Side, message: &Message<'_>) {
        let Some(sdp) = sdp_of(message).and_then(|body| Sdp::parse(body).ok()) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let reader = match side {
            Side::A => call.talking_callee().or(call.b),
            Side::B => Some(call.a),
        };
        let reader = reader.and_then(|leg| self.legs.get(leg)).and_then(|leg| leg.trunk);
        let Some(leg) = call.leg(side).and_then(|leg| self.legs.get_mut(leg)) else { return };
        let terms = Terms::of(&call.snapshot, leg.trunk, reader);
        call.media.describe(&sdp, side, leg, &mut self.wire);
        call.media.agree(&sdp, side.other(), terms, &mut self.wire);
        call.note_answer(side, &sdp);
    }

    /// Why this description cannot be used: a value for Warning.
    pub(crate) fn unreadable(&self, message: &Message<'_>) -> Option<String> {
        let error = Sdp::parse(sdp_of(message)?).err()?;
        let listener = self.wire.settings.listeners.first()?;
        Some(warning(&error, advertised_host(listener)))
    }

    /// Why an offer has nothing that its trunk lets it talk in: the same.
    pub(crate) fn unspeakable(&self, message: &Message<'_>, trunk: Option<&Trunk>) -> Option<String> {
        let terms = Terms::from(trunk.filter(|_| message.method() != Method::Prack));
        let sdp = sdp_of(message).map(Sdp::parse)?.ok()?;
        let host = advertised_host(self.wire.settings.listeners.first()?);
        terms.refuse(&sdp).then(|| no_common_codec(host))
    }

    /// Why the relay, or what its trunk allows it, cannot exchange media with who describes itself so: the same.
    pub(crate) fn out_of_reach(&self, message: &Message<'_>, trunk: Option<&Trunk>) -> Option<String> {
        let policy = trunk.map_or_else(Default::default, |trunk| trunk.media_family);
        let families = self.wire.settings.media.allowed_by(policy);
        let sdp = sdp_of(message).filter(|_| families != Families::BOTH).map(Sdp::parse)?.ok()?;
        let host = advertised_host(self.wire.settings.listeners.first()?);
        let name = families.name();
        // RFC 3261 §20.43: incompatible network address formats.
        (!families.reach(&sdp)).then(|| format!("301 {host} \"Expected media addresses of {name}\""))
    }
}

impl Core {
    /// Why a description is not one that its author may make here: the same.
    pub(crate) fn insecure(
        &self,
        message: &Message<'_>,
        trunk: Option<&Trunk>,
        flow: Flow,
    ) -> Option<String> {
        let security = self.wire.settings.security_of(trunk, flow)?;
        let sdp = Sdp::parse(sdp_of(message)?).ok()?;
        let host = advertised_host(self.wire.settings.listeners.first()?);
        let expected = security.expects();
        security.check(&sdp).err().map(|_| format!("399 {host} \"Expected {expected}\""))
    }
}

/// RFC 3261 §20.43: incompatible media format.
fn no_common_codec(host: &str) -> String {
    format!("305 {host} \"Expected a codec that is allowed between these trunks\"")
}

/// Whether a provisional response of the target only shows what it may offer later: an offer comes reliably (RFC 3261
/// §13.2.1), and a caller that got this one reliably would answer it.
fn is_preview(call: &Call, progress: &Message<'_>) -> bool {
    let is_offerless = call.setup.as_ref().is_some_and(|setup| !setup.has_offer());
    is_offerless && crate::leg::rseq(progress).is_none()
}
