//! Offers of the peer within an established dialog (RFC 3261 §14.2, RFC 3311 §5.2): taken, answered or refused.

use sip::Message;

use super::reliable::Agreement;
use super::{Aim, Exchange, Leg, LegState, News, OfferBy};
use crate::bodies::Body;
use crate::coverage::LegInput;
use crate::headers::{contact, copy_crossing};
use crate::io::Now;
use crate::wire::{ServerKey, Wire};

/// Why an offer is refused by the leg itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glare {
    /// 491: ours is under way.
    RequestPending,
    /// 500 with Retry-After: theirs is not finished (RFC 3261 §14.2).
    NotFinished,
}

/// What the leg makes of an UPDATE before the call is answered (RFC 3311 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EarlyOffer {
    /// It is the bridge's to answer.
    Possible,
    Refused(Glare),
    /// The call is answered, or over: it is an offer like any other.
    NotEarly,
}

impl Leg {
    /// An offer of the peer. The bridge is told only where nothing else is under way.
    pub(crate) fn on_offer(&mut self, server: ServerKey, by: OfferBy, wire: &mut Wire, now: Now) -> News {
        if by == OfferBy::Update {
            match self.early_offer(server, wire) {
                EarlyOffer::Possible => return self.peer_offers(server, by, wire, now),
                EarlyOffer::Refused(glare) => {
                    self.refuse_glare(server, glare, wire, now);
                    return News::Nothing;
                }
                EarlyOffer::NotEarly => {}
            }
        }
        let glare = match (&self.state, &self.exchange) {
            (LegState::Up, Exchange::Idle) => return self.peer_offers(server, by, wire, now),
            // RFC 3261 §14.1 makes one of the two wait; the one who was faster goes first.
            (LegState::Up, Exchange::BackOff { ours, .. }) => {
                let aim = ours.aim;
                let news = self.peer_offers(server, by, wire, now);
                return match aim {
                    Aim::Carried | Aim::Proposed => News::Overtook,
                    Aim::Refresh | Aim::PutBack => news,
                };
            }
            (
                LegState::Up,
                Exchange::WeOffer { .. }
                | Exchange::AckDue { .. }
                | Exchange::WithdrawWaiting { .. }
                | Exchange::Withdrawing { .. },
            ) => Glare::RequestPending,
            (LegState::Up, Exchange::PeerOffers { .. } | Exchange::PeerAnswered { .. }) => Glare::NotFinished,
            (LegState::Answered { .. } | LegState::AckDue { .. }, _) => Glare::RequestPending,
            (
                LegState::Invited { .. }
                | LegState::AnsweredLeaving { .. }
                | LegState::Calling { .. }
                | LegState::Proceeding { .. }
                | LegState::CancelWaiting { .. }
                | LegState::Cancelling { .. }
                | LegState::Leaving
                | LegState::Ghost { .. }
                | LegState::Gone,
                _,
            ) => Glare::NotFinished,
        };
        self.refuse_glare(server, glare, wire, now);
        News::Nothing
    }

    fn early_offer(&self, server: ServerKey, wire: &Wire) -> EarlyOffer {
        let request = wire.server_request(server);
        let request = request.as_ref().and_then(|request| Message::parse(request).ok());
        let tag = request.and_then(|request| request.from().ok()?.tag());
        let Some(agreement) = self.agreement(tag) else { return EarlyOffer::NotEarly };
        match (agreement, &self.exchange) {
            (Agreement::OursPending, _) => EarlyOffer::Refused(Glare::RequestPending),
            (Agreement::TheirsPending, _) => EarlyOffer::Refused(Glare::NotFinished),
            (Agreement::Reached | Agreement::Unconfirmed, Exchange::Idle) => EarlyOffer::Possible,
            (
                Agreement::Reached | Agreement::Unconfirmed,
                Exchange::WeOffer { .. }
                | Exchange::AckDue { .. }
                | Exchange::WithdrawWaiting { .. }
                | Exchange::Withdrawing { .. }
                | Exchange::BackOff { .. },
            ) => EarlyOffer::Refused(Glare::RequestPending),
            (
                Agreement::Reached | Agreement::Unconfirmed,
                Exchange::PeerOffers { .. } | Exchange::PeerAnswered { .. },
            ) => EarlyOffer::Refused(Glare::NotFinished),
        }
    }

    /// An UPDATE without description: the peer says where it is, and that it lives (RFC 3311 §5.2, RFC 4028 §7.4).
    pub(crate) fn on_refresh(
        &mut self,
        server: ServerKey,
        update: &Message<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> bool {
        self.learn_methods(update);
        let mut moves = false;
        if let Some(dialog) = self.dialog_with(peer_tag(update)) {
            let before = dialog.remote_target.clone();
            dialog.refresh_target(update);
            moves = dialog.remote_target != before;
            self.way_due = true;
        }
        self.answer_update(server, None, None, wire, now);
        moves
    }

    fn peer_offers(&mut self, server: ServerKey, by: OfferBy, wire: &Wire, now: Now) -> News {
        self.put_off = 0;
        let give_up = match by {
            OfferBy::Invite => None,
            // Half of what Timer F leaves to whoever sent it.
            OfferBy::Update => Some(now.time + wire.settings.timing.t1 * 32),
        };
        self.exchange = Exchange::PeerOffers { server, by, give_up };
        News::Offered
    }

    fn refuse_glare(&self, server: ServerKey, glare: Glare, wire: &mut Wire, now: Now) {
        let status = match glare {
            Glare::RequestPending => 491,
            Glare::NotFinished => 500,
        };
        let retry = wire.ids.random() % 10;
        if let Some(mut writer) = wire.response(server, status, None, Some(&self.tag)) {
            if glare == Glare::NotFinished {
                writer.number("Retry-After", retry);
            }
            wire.respond(server, status, writer.finish(), now);
        }
    }

    /// Passes the other leg's answer back to the peer that offered.
    pub(crate) fn answer_offer(
        &mut self,
        from: &Message<'_>,
        body: Option<&Body>,
        wire: &mut Wire,
        now: Now,
    ) {
        wire.coverage.leg(self, LegInput::AnswerOffer);
        let Exchange::PeerOffers { server, by, .. } = self.exchange else { return };
        let status = from.status().unwrap_or(200);
        if let Some(request) = wire.server_request(server)
            && let Ok(request) = Message::parse(&request)
        {
            self.learn_methods(&request);
            if let Some(dialog) = self.dialog_with(peer_tag(&request)) {
                dialog.refresh_target(&request);
                self.way_due = true;
            }
        }
        self.exchange = match by {
            OfferBy::Invite => match self.success(server, status, wire, from, body, now) {
                Some(ok) => Exchange::PeerAnswered { ok },
                None => Exchange::Idle,
            },
            OfferBy::Update => {
                self.answer_update(server, Some(from), body, wire, now);
                Exchange::Idle
            }
        };
    }

    /// 200 to the peer's UPDATE: with the answer of the other leg, or of the box alone when it had no offer.
    pub(crate) fn answer_update(
        &mut self,
        server: ServerKey,
        from: Option<&Message<'_>>,
        body: Option<&Body>,
        wire: &mut Wire,
        now: Now,
    ) {
        let Some(mut writer) = wire.response(server, 200, None, Some(&self.tag)) else { return };
        if self.has_session()
            && let Some(request) = wire.server_request(server)
            && let Ok(request) = Message::parse(&request)
        {
            self.grant_timer(&request, &mut writer, &wire.settings, now);
        }
        contact(&mut writer, wire.listener(self.flow.listener), self.is_secure());
        self.capabilities(&mut writer, wire);
        if let Some(from) = from {
            copy_crossing(from, &mut writer, wire.listener(self.flow.listener), self.hears());
        }
        let bytes = Body::finish(body, writer);
        wire.respond(server, 200, bytes, now);
    }

    /// Refuses the peer's offer; the session stays as it was.
    pub(crate) fn reject_offer(
        &mut self,
        status: u16,
        from: Option<&Message<'_>>,
        headers: &[(&str, &[u8])],
        wire: &mut Wire,
        now: Now,
    ) {
        wire.coverage.leg(self, LegInput::RejectOffer);
        let Exchange::PeerOffers { server, .. } = self.exchange else { return };
        self.exchange = Exchange::Idle;
        let reason = from.map(Message::reason_phrase);
        if let Some(mut writer) = wire.response(server, status, reason, Some(&self.tag)) {
            if let Some(from) = from {
                copy_crossing(from, &mut writer, wire.listener(self.flow.listener), self.hears());
            }
            for (name, value) in headers {
                writer.header(name, value);
            }
            wire.respond(server, status, writer.finish(), now);
        }
    }
}

/// The tag of who sent this request.
fn peer_tag<'a>(request: &Message<'a>) -> &'a [u8] {
    request.from().ok().and_then(|from| from.tag()).unwrap_or_default()
}
