//! Offers within an established dialog (RFC 3261 §14): at most one under way on a leg.

use sip::{Message, Method};

use super::{Exchange, Leg, LegKey, LegState, News};
use crate::coverage::LegInput;
use crate::headers::{ALLOW, SDP, contact, copy_crossing};
use crate::io::Now;
use crate::wire::{ClientKey, ClientUser, Purpose, ServerKey, Wire};

/// Why a re-INVITE is refused by the leg itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glare {
    /// 491: ours is under way.
    RequestPending,
    /// 500 with Retry-After: theirs is not finished (RFC 3261 §14.2).
    NotFinished,
}

impl Leg {
    /// A re-INVITE of the peer. The bridge is told only where nothing else is under way.
    pub(crate) fn on_reinvite(&mut self, server: ServerKey, wire: &mut Wire, now: Now) -> News {
        let glare = match (&self.state, &self.exchange) {
            (LegState::Up, Exchange::Idle) => {
                self.exchange = Exchange::PeerOffers { server };
                return News::Offered;
            }
            (LegState::Up, Exchange::WeOffer { .. } | Exchange::AckDue { .. }) => Glare::RequestPending,
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

    /// The peer's re-INVITE that waits for an answer.
    pub(crate) fn open_offer(&self, wire: &Wire) -> Option<bytes::Bytes> {
        match self.exchange {
            Exchange::PeerOffers { server } => wire.server_request(server),
            Exchange::Idle
            | Exchange::PeerAnswered { .. }
            | Exchange::WeOffer { .. }
            | Exchange::AckDue { .. } => None,
        }
    }

    /// Whether an ACK of ours waits for what the other leg answers.
    pub(crate) fn owes_ack(&self) -> bool {
        match (&self.state, &self.exchange) {
            (LegState::AckDue { .. }, _) | (_, Exchange::AckDue { .. }) => true,
            (
                _,
                Exchange::Idle
                | Exchange::PeerOffers { .. }
                | Exchange::PeerAnswered { .. }
                | Exchange::WeOffer { .. },
            ) => false,
        }
    }

    /// Whether the dialog stands and no re-INVITE is under way (RFC 3261 §14.1).
    pub(crate) fn can_offer(&self) -> bool {
        matches!((&self.state, &self.exchange), (LegState::Up, Exchange::Idle))
    }

    /// Sends the other leg's offer on; without a body the answer will be the offer.
    pub(crate) fn offer(
        &mut self,
        key: LegKey,
        from: &Message<'_>,
        body: Option<&[u8]>,
        wire: &mut Wire,
        now: Now,
    ) -> bool {
        wire.coverage.leg(self, LegInput::Offer);
        if !self.can_offer() {
            return false;
        }
        let flow = self.request_flow(wire);
        let user = ClientUser::Leg(key, Purpose::Reinvite);
        let (client, branch) = wire.prepare(Method::Invite, user, flow, now);
        let Some(mut writer) = self.in_dialog(b"INVITE", None, &branch, wire) else {
            wire.abandon(client);
            return false;
        };
        contact(&mut writer, wire.listener(self.flow.listener));
        writer.header("Allow", ALLOW);
        copy_crossing(from, &mut writer, wire.listener(self.flow.listener));
        // A peer that says 100 and then nothing must not hold the call for ever (RFC 3261 §14.1, §16.8).
        wire.limit(client, now.time + wire.settings.timer_c);
        wire.launch(client, writer.body(body.map(|_| SDP), body.unwrap_or_default()));
        let cseq = self.dialog.as_ref().map_or(0, |dialog| dialog.local_cseq);
        self.exchange = Exchange::WeOffer { client, cseq, offerless: body.is_none() };
        true
    }

    /// A response to our re-INVITE.
    pub(crate) fn on_reinvite_response(
        &mut self,
        client: ClientKey,
        response: &Message<'_>,
        wire: &mut Wire,
    ) -> News {
        let status = response.status().unwrap_or(500);
        let ours = match self.exchange {
            Exchange::WeOffer { client: ours, cseq, offerless } if ours == client => Some((cseq, offerless)),
            Exchange::WeOffer { .. }
            | Exchange::Idle
            | Exchange::PeerOffers { .. }
            | Exchange::PeerAnswered { .. }
            | Exchange::AckDue { .. } => None,
        };
        match (ours, status) {
            (_, 100..200) => News::Nothing,
            (Some((cseq, offerless)), 200..300) => {
                if let Some(dialog) = &mut self.dialog {
                    dialog.refresh_target(response);
                }
                if offerless {
                    self.exchange = Exchange::AckDue { client, cseq };
                } else {
                    self.exchange = Exchange::Idle;
                    self.send_ack(client, cseq, None, wire);
                }
                if let LegState::Up = self.state {
                    return News::OfferAccepted;
                }
                // The call ended meanwhile; the BYE is on its way, the ACK is owed all the same.
                if let Exchange::AckDue { .. } = self.exchange {
                    self.exchange = Exchange::Idle;
                    self.send_ack(client, cseq, None, wire);
                }
                News::Nothing
            }
            // The 2xx again: the same ACK again; while it is still owed, nothing.
            (None, 200..300) => {
                if let Some(ack) = wire.kept_ack(client) {
                    let flow = self.request_flow(wire);
                    wire.send(flow, ack, crate::io::SendToken::NONE);
                }
                News::Nothing
            }
            (Some(_), 408 | 481) => self.lost_dialog(),
            (Some(_), _) => {
                self.exchange = Exchange::Idle;
                News::OfferRefused(status)
            }
            (None, _) => News::Nothing,
        }
    }

    /// No answer to our re-INVITE at all.
    pub(crate) fn on_reinvite_unanswered(&mut self) -> News {
        self.lost_dialog()
    }

    /// RFC 3261 §12.2.1.2: the peer does not know the dialog. BYE is sent all the same, for it may know it after all.
    fn lost_dialog(&mut self) -> News {
        self.exchange = Exchange::Idle;
        if let LegState::Up = self.state { News::Lost } else { News::Nothing }
    }

    /// Passes the other leg's answer back to the peer that offered.
    pub(crate) fn answer_offer(
        &mut self,
        from: &Message<'_>,
        body: Option<&[u8]>,
        wire: &mut Wire,
        now: Now,
    ) {
        wire.coverage.leg(self, LegInput::AnswerOffer);
        let Exchange::PeerOffers { server } = self.exchange else { return };
        let status = from.status().unwrap_or(200);
        if let Some(request) = wire.server_request(server)
            && let (Ok(request), Some(dialog)) = (Message::parse(&request), &mut self.dialog)
        {
            dialog.refresh_target(&request);
        }
        self.exchange = match self.success(server, status, wire, from, body, now) {
            Some(ok) => Exchange::PeerAnswered { ok },
            None => Exchange::Idle,
        };
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
        let Exchange::PeerOffers { server } = self.exchange else { return };
        self.exchange = Exchange::Idle;
        let reason = from.map(Message::reason_phrase);
        if let Some(mut writer) = wire.response(server, status, reason, Some(&self.tag)) {
            if let Some(from) = from {
                copy_crossing(from, &mut writer, wire.listener(self.flow.listener));
            }
            for (name, value) in headers {
                writer.header(name, value);
            }
            wire.respond(server, status, writer.finish(), now);
        }
    }

    /// The dialog ends: what the peer asked for is refused (RFC 3261 §15.1.2), what it answered is acknowledged, and our
    /// own answer is repeated no more. A re-INVITE of ours that is still out is acknowledged when its answer comes.
    pub(super) fn close_exchange(&mut self, wire: &mut Wire, now: Now) {
        match self.exchange {
            Exchange::PeerOffers { .. } => self.reject_offer(487, None, &[], wire, now),
            Exchange::AckDue { client, cseq } => {
                self.exchange = Exchange::Idle;
                self.send_ack(client, cseq, None, wire);
            }
            Exchange::PeerAnswered { .. } => self.exchange = Exchange::Idle,
            Exchange::Idle | Exchange::WeOffer { .. } => {}
        }
    }
}
