//! Offers of ours within an established dialog: carried from the other leg or made by the box itself, what their
//! responses mean, and how one is taken back.

use std::time::Duration;

use sip::{Message, Method, Name, Sdp};

use super::{Aim, EarlyUpdate, Exchange, Leg, LegKey, LegState, News, OfferBy, Ours};
use crate::bodies::{Body, sdp_of};
use crate::coverage::LegInput;
use crate::headers::{ALLOW, TIMER, contact, copy_crossing};
use crate::io::{Now, SendToken};
use crate::wire::{ClientKey, ClientUser, Purpose, Wire};

/// How often one offer is put off before the side that made it is told.
const MAX_PUT_OFF: u8 = 4;
/// A longer Retry-After is a refusal (RFC 3261 §14.2 never asks for more).
const LONGEST_RETRY: u64 = 10;

/// An offer for a leg's peer.
pub(crate) struct Offer<'a> {
    pub(crate) ours: Ours,
    /// The other peer's request, of which the headers cross.
    pub(crate) from: Option<&'a Message<'a>>,
    pub(crate) body: Option<&'a Body>,
}

impl Leg {
    /// Sends an offer, where nothing else is under way; without a body the answer will be the offer.
    pub(crate) fn offer(&mut self, key: LegKey, offer: &Offer<'_>, wire: &mut Wire, now: Now) -> bool {
        wire.coverage.leg(self, LegInput::Offer);
        let early = offer.ours.by == OfferBy::Update && self.early_update() == EarlyUpdate::Possible;
        if !self.can_offer() && !early {
            return false;
        }
        let flow = self.request_flow(wire);
        let (method, text) = match offer.ours.by {
            OfferBy::Invite => (Method::Invite, b"INVITE"),
            OfferBy::Update => (Method::Update, b"UPDATE"),
        };
        let (client, branch) = wire.prepare(method, ClientUser::Leg(key, Purpose::Offer), flow, now);
        if self.by_flow {
            wire.keep_to_flow(client);
        }
        let Some(mut writer) = self.in_dialog(text, None, &branch, flow, wire) else {
            wire.abandon(client);
            return false;
        };
        contact(&mut writer, wire.listener(flow.listener), self.is_secure());
        writer.header("Allow", ALLOW);
        writer.header("Supported", TIMER);
        if !early {
            self.timer.ask(&mut writer, &wire.settings);
        }
        if let Some(from) = offer.from {
            copy_crossing(from, &mut writer, wire.listener(flow.listener), self.hears());
        }
        // A peer that says 100 and then nothing must not hold the call for ever (RFC 3261 §14.1, §16.8).
        wire.limit(client, now.time + wire.settings.timer_c);
        wire.launch(client, Body::finish(offer.body, writer), now);
        self.note_spent(wire);
        let cseq = self.current_dialog().map_or(0, |dialog| dialog.local_cseq);
        self.exchange = Exchange::WeOffer { client, cseq, ours: offer.ours };
        true
    }

    /// What its peer answers when it describes itself now; `None` where that is an offer.
    pub(crate) fn offered(&self) -> Option<&[u8]> {
        let is_asked = matches!(self.exchange, Exchange::AckDue { .. });
        Some(self.session.standing()).filter(|offered| !is_asked && !offered.is_empty())
    }

    /// What its peer says in answer to that, where it has not as many streams: with as many (RFC 3264 §6).
    pub(crate) fn fitted(&self, answer: &Sdp<'_>) -> Option<Vec<u8>> {
        answer.fitted_to(&Sdp::parse(self.offered()?).ok()?)
    }

    /// How a carried offer travels: as it came, but UPDATE only to a peer that takes it.
    pub(crate) fn carrier_of(&self, method: Method) -> OfferBy {
        if method == Method::Update && self.allows_update { OfferBy::Update } else { OfferBy::Invite }
    }

    /// Offers what both sides had before an offer that came to nothing here.
    pub(crate) fn put_back(&mut self, key: LegKey, wire: &mut Wire, now: Now) -> bool {
        wire.coverage.leg(self, LegInput::PutBack);
        self.session.refused();
        let body = self.session.offer_again(&mut wire.ids).map(Body::from);
        let ours = Ours::new(OfferBy::Invite, Aim::PutBack, false);
        body.is_some_and(|body| self.offer(key, &Offer { ours, from: None, body: Some(&body) }, wire, now))
    }

    /// The time of a back-off is over.
    pub(super) fn offer_again(&mut self, key: LegKey, ours: Ours, wire: &mut Wire, now: Now) -> News {
        match ours.aim {
            Aim::Carried | Aim::Proposed => News::CanOffer,
            Aim::Refresh => {
                self.refresh(key, wire, now);
                News::Nothing
            }
            Aim::PutBack if self.put_back(key, wire, now) => News::Nothing,
            Aim::PutBack => News::NotPutBack,
        }
    }

    /// A response to our re-INVITE or UPDATE.
    pub(crate) fn on_offer_response(
        &mut self,
        key: LegKey,
        from: ClientKey,
        response: &Message<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> News {
        let status = response.status().unwrap_or(500);
        if self.exchange.client() != Some(from) {
            // The 2xx again: the same ACK again; while it is still owed, nothing.
            if (200..300).contains(&status)
                && let Some(ack) = wire.kept_ack(from)
            {
                let flow = self.request_flow(wire);
                wire.send(flow, ack, SendToken::NONE);
            }
            return News::Nothing;
        }
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::WeOffer { client, cseq, mut ours } => match status {
                100..200 => {
                    ours.proceeding = true;
                    self.exchange = Exchange::WeOffer { client, cseq, ours };
                    News::Nothing
                }
                200..300 => self.accepted(client, cseq, ours, response, wire, now),
                // An early dialog may be gone at one of several callees: that is no end of the call.
                _ if status >= 300 && self.agreement(None).is_some() => self.refused_early(ours, status),
                408 | 481 => self.lost_dialog(),
                // A peer that allowed UPDATE and does not take it gets the same as a re-INVITE.
                405 | 501 if ours.by == OfferBy::Update => {
                    self.allows_update = false;
                    self.session.refused();
                    self.offer_again(key, ours, wire, now)
                }
                // RFC 4028 §7.3.
                422 if ours.aim != Aim::Proposed
                    && self.put_off < MAX_PUT_OFF
                    && self.raise_min_se(response) =>
                {
                    self.put_off += 1;
                    self.session.refused();
                    self.offer_again(key, ours, wire, now)
                }
                _ => match self.wait_after(status, response, wire) {
                    Some(wait) => self.back_off(ours, wait, now),
                    None => self.refused_offer(ours, status),
                },
            },
            Exchange::WithdrawWaiting { client, cseq, ours, reason } => match status {
                100..200 => self.send_withdrawal(client, cseq, ours, reason, wire, now),
                200..300 => self.accepted_too_late(key, client, cseq, ours, response, wire, now),
                408 | 481 => self.lost_dialog(),
                _ => self.withdrawn(),
            },
            Exchange::Withdrawing { client, cseq, ours, give_up } => match status {
                100..200 => {
                    self.exchange = Exchange::Withdrawing { client, cseq, ours, give_up };
                    News::Nothing
                }
                200..300 => self.accepted_too_late(key, client, cseq, ours, response, wire, now),
                408 | 481 => self.lost_dialog(),
                _ => self.withdrawn(),
            },
            other @ (Exchange::Idle
            | Exchange::PeerOffers { .. }
            | Exchange::PeerAnswered { .. }
            | Exchange::AckDue { .. }
            | Exchange::BackOff { .. }) => {
                self.exchange = other;
                News::Nothing
            }
        }
    }

    fn accepted(
        &mut self,
        client: ClientKey,
        cseq: u32,
        ours: Ours,
        response: &Message<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> News {
        self.put_off = 0;
        self.learn_methods(response);
        // What an early dialog says of session timers is said again by the 2xx to the INVITE.
        if self.is_confirmed() {
            self.hear_timer(response, &wire.settings, now);
        }
        if let Some(dialog) = self.dialog_with(response.to().ok().and_then(|to| to.tag()).unwrap_or_default())
        {
            dialog.refresh_target(response);
            self.way_due = true;
        }
        let up = self.may_be_answered();
        match ours.by {
            // The call may have ended meanwhile; the BYE is on its way, the ACK is owed all the same.
            // A refresh of a session that nobody described asks for nothing, and has nobody to answer what it gets.
            OfferBy::Invite if ours.offerless && up && ours.aim != Aim::Refresh => {
                self.exchange = Exchange::AckDue { client, cseq };
            }
            OfferBy::Invite => self.send_ack(client, cseq, None, wire),
            OfferBy::Update => {}
        }
        match ours.aim {
            Aim::Carried | Aim::Proposed | Aim::PutBack | Aim::Refresh if !up => News::Nothing,
            Aim::Carried | Aim::Proposed => News::OfferAccepted,
            Aim::Refresh if sdp_of(response).is_none() => News::CanOffer,
            Aim::PutBack | Aim::Refresh => News::Agreed,
        }
    }

    fn refused_offer(&mut self, ours: Ours, status: u16) -> News {
        self.put_off = 0;
        self.session.refused();
        match ours.aim {
            // The side has left meanwhile; that the call goes on without it is not for its last offer to say.
            Aim::Carried | Aim::Proposed | Aim::PutBack | Aim::Refresh if !self.may_be_answered() => {
                News::Nothing
            }
            Aim::Carried | Aim::Proposed => News::OfferRefused(status),
            Aim::PutBack => News::NotPutBack,
            Aim::Refresh => News::CanOffer,
        }
    }

    /// Before the answer nothing is tried again: the peer that asked is told, though not that its dialog is gone.
    fn refused_early(&mut self, ours: Ours, status: u16) -> News {
        let told = if matches!(status, 405 | 408 | 481 | 501) { 488 } else { status };
        self.refused_offer(ours, told)
    }

    /// How long to wait before the same again: RFC 3261 §14.1 for 491, §14.2 for 500.
    fn wait_after(&self, status: u16, response: &Message<'_>, wire: &mut Wire) -> Option<Duration> {
        if self.put_off >= MAX_PUT_OFF || !matches!(self.state, LegState::Up) {
            return None;
        }
        match status {
            491 => {
                // Between 2.1 and 4 s where the Call-ID is ours, else up to 2 s.
                let (least, most) = if self.placed { (210, 400) } else { (0, 200) };
                Some(Duration::from_millis(10 * (least + wire.ids.random() % (most - least + 1))))
            }
            500 | 503 => {
                let seconds = retry_after(response)?;
                let wait = Duration::from_secs(seconds).max(wire.settings.timing.t1);
                (seconds <= LONGEST_RETRY).then_some(wait)
            }
            _ => None,
        }
    }

    fn back_off(&mut self, ours: Ours, wait: Duration, now: Now) -> News {
        self.put_off += 1;
        self.session.refused();
        self.exchange = Exchange::BackOff { until: now.time + wait, ours };
        News::Nothing
    }

    /// No answer to our offer at all.
    pub(crate) fn on_offer_unanswered(&mut self) -> News {
        if self.agreement(None).is_some() {
            self.exchange = Exchange::Idle;
            self.session.refused();
            return News::OfferRefused(504);
        }
        self.lost_dialog()
    }

    /// RFC 3261 §12.2.1.2: the peer does not know the dialog. BYE is sent all the same, for it may know it after all.
    fn lost_dialog(&mut self) -> News {
        self.exchange = Exchange::Idle;
        self.session.refused();
        if let LegState::Up = self.state { News::Lost } else { News::Nothing }
    }

    /// Takes the offer of the other leg's peer back (row S5): CANCEL as for a call, now or when it may be sent.
    pub(crate) fn withdraw(&mut self, reason: Option<&[u8]>, wire: &mut Wire, now: Now) {
        wire.coverage.leg(self, LegInput::Withdraw);
        let is_own = |ours: &Ours| matches!(ours.aim, Aim::Refresh | Aim::PutBack);
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::WeOffer { client, cseq, ours } if !is_own(&ours) => {
                let reason = reason.map(Box::from);
                if ours.proceeding && ours.by == OfferBy::Invite {
                    self.send_withdrawal(client, cseq, ours, reason, wire, now);
                } else {
                    self.exchange = Exchange::WithdrawWaiting { client, cseq, ours, reason };
                }
            }
            Exchange::BackOff { ours, .. } if !is_own(&ours) => self.put_off = 0,
            other @ (Exchange::Idle
            | Exchange::PeerOffers { .. }
            | Exchange::PeerAnswered { .. }
            | Exchange::WeOffer { .. }
            | Exchange::AckDue { .. }
            | Exchange::WithdrawWaiting { .. }
            | Exchange::Withdrawing { .. }
            | Exchange::BackOff { .. }) => self.exchange = other,
        }
    }

    /// A provisional response to what is to be withdrawn; an UPDATE has no CANCEL (RFC 3261 §9.1).
    fn send_withdrawal(
        &mut self,
        client: ClientKey,
        cseq: u32,
        ours: Ours,
        reason: Option<Box<[u8]>>,
        wire: &mut Wire,
        now: Now,
    ) -> News {
        self.exchange = match ours.by {
            OfferBy::Update => Exchange::WithdrawWaiting { client, cseq, ours, reason },
            OfferBy::Invite => {
                wire.cancel(client, Some(reason.as_deref().unwrap_or(b"SIP;cause=487")), now);
                let give_up = now.time + wire.settings.timing.t1 * 64;
                Exchange::Withdrawing { client, cseq, ours, give_up }
            }
        };
        News::Nothing
    }

    /// The withdrawn offer was refused, as wished.
    fn withdrawn(&mut self) -> News {
        self.put_off = 0;
        self.session.refused();
        News::CanOffer
    }

    /// Rows C3 and C4 within the dialog: the 2xx crossed the CANCEL. It is acknowledged, and the peer goes back to what
    /// both sides had.
    #[allow(clippy::too_many_arguments)]
    fn accepted_too_late(
        &mut self,
        key: LegKey,
        client: ClientKey,
        cseq: u32,
        ours: Ours,
        response: &Message<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> News {
        self.session.refused();
        if let Some(dialog) = &mut self.dialog {
            dialog.refresh_target(response);
            self.way_due = true;
        }
        // An offer in the 2xx is answered with what we had, where that answers as many streams.
        let answer = if ours.offerless { self.answer_as_before(response, wire) } else { None };
        if ours.by == OfferBy::Invite {
            self.send_ack(client, cseq, answer.as_ref(), wire);
        }
        if !self.is_confirmed() {
            return News::Nothing;
        }
        match answer {
            Some(_) => News::Agreed,
            None if self.put_back(key, wire, now) => News::Nothing,
            None => News::NotPutBack,
        }
    }

    /// A 2xx of a re-INVITE that was cancelled and given up (row C6, within the dialog): its ACK, and the peer goes back.
    /// False when this is no such 2xx.
    pub(crate) fn on_abandoned_success(
        &mut self,
        key: LegKey,
        response: &Message<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> bool {
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        let ours = response.to().ok().and_then(|to| to.tag())
            == self.dialog.as_ref().map(|dialog| &*dialog.remote_tag);
        let success = response.status().is_some_and(|status| (200..300).contains(&status));
        let Some(abandoned) = self.abandoned.as_ref().filter(|it| it.cseq == number && ours && success)
        else {
            return false;
        };
        let sent = abandoned.ack.clone();
        let flow = self.request_flow(wire);
        if let Some(ack) = sent {
            wire.send(flow, ack, SendToken::NONE);
            return true;
        }
        let branch = wire.ids.branch_without_transaction();
        let Some(writer) = self.in_dialog(b"ACK", Some(number), &branch, flow, wire) else { return true };
        let ack = writer.finish();
        wire.send(flow, ack.clone(), SendToken::NONE);
        if let Some(abandoned) = &mut self.abandoned {
            abandoned.ack = Some(ack);
        }
        // Where another offer is under way already, that one makes both sides agree.
        if self.can_offer() {
            self.put_back(key, wire, now);
        }
        true
    }

    fn answer_as_before(&mut self, response: &Message<'_>, wire: &mut Wire) -> Option<Body> {
        let offer = Sdp::parse(sdp_of(response)?).ok()?;
        self.session.answer_again(&offer, &mut wire.ids).map(Body::from)
    }

    /// Which methods the peer says it takes (RFC 3261 §20.5); a message without Allow says nothing.
    pub(crate) fn learn_methods(&mut self, message: &Message<'_>) {
        if message.has(Name::Allow) {
            self.allows_update = message.token_list(Name::Allow).any(|method| method == b"UPDATE");
        }
    }
}

/// The seconds of Retry-After, whose comment and parameters say nothing that would matter (RFC 3261 §20.33).
pub(crate) fn retry_after(response: &Message<'_>) -> Option<u64> {
    let value = response.first(Name::RetryAfter)?;
    let digits = value.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
