//! Where an offer within an established dialog stands: one at a time on a leg, whoever made it (RFC 3261 §14,
//! RFC 3311 §5).
//!
//! ```text
//!   Idle ──INVITE or UPDATE of the peer──▶ PeerOffers ──2xx to INVITE──▶ PeerAnswered ──ACK──▶ Idle
//!    │ ▲                                       └── 2xx to UPDATE, refusal, CANCEL ──▶ Idle
//!    │ └───────────────────────────────┐
//!    │ offer                           │ 2xx with the answer, refusal
//!    ├──────────────▶ WeOffer ─────────┤
//!    │                 │ │ │           └ 2xx with an offer: AckDue ──acknowledge──▶ Idle
//!    │                 │ │ └─491, 500─▶ BackOff ──in its time──▶ Idle, and again
//!    │                 │ withdraw
//!    │                 ▼
//!    │     WithdrawWaiting ──1xx──▶ Withdrawing ──3xx-6xx, 64·T1──▶ Idle
//!    └◀── put back ◀── 2xx ─┴────────────┘
//! ```

use bytes::Bytes;
use sip::Time;

use super::reliable::Agreement;
use super::{Leg, LegKey, LegState, News, Unacked};
use crate::io::Now;
use crate::wire::{ClientKey, ServerKey, Wire};

/// An offer under way within the dialog.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// None.
    Idle,
    /// The peer's, not answered yet. `give_up`: its UPDATE cannot wait for longer (RFC 3311 §5.2).
    PeerOffers { server: ServerKey, by: OfferBy, give_up: Option<Time> },
    /// The peer's INVITE, answered with 2xx, its ACK awaited.
    PeerAnswered { ok: Box<Unacked> },
    /// Ours, not answered yet.
    WeOffer { client: ClientKey, cseq: u32, ours: Ours },
    /// Ours, answered with an offer: its ACK waits for what the other leg answers.
    AckDue { client: ClientKey, cseq: u32 },
    /// Ours, to be cancelled as soon as a provisional response comes (row C2, within the dialog).
    WithdrawWaiting { client: ClientKey, cseq: u32, ours: Ours, reason: Option<Box<[u8]>> },
    /// Ours, cancelled; without a final response by `give_up` it is abandoned (row C6, within the dialog).
    Withdrawing { client: ClientKey, cseq: u32, ours: Ours, give_up: Time },
    /// Ours met one of the peer's, or came too early for it: not again before `until` (RFC 3261 §14.1, §14.2).
    BackOff { until: Time, ours: Ours },
}

/// What carries an offer within a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferBy {
    /// A re-INVITE.
    Invite,
    /// RFC 3311.
    Update,
}

/// What an offer of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ours {
    pub(crate) by: OfferBy,
    pub(crate) aim: Aim,
    /// It has no description: the answer will be an offer, or there will be none.
    pub(crate) offerless: bool,
    /// A provisional response came.
    pub(crate) proceeding: bool,
}

/// Whether an UPDATE may be sent to a peer before the call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EarlyUpdate {
    Possible,
    /// The INVITE's own offer is not answered, or the answer not acknowledged.
    NotYet,
    /// Another offer is under way.
    Busy,
    /// The peer does not list the method in Allow.
    Unknown,
}

/// Why we make an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// The other leg's peer made it; the bridge waits for the answer.
    Carried,
    /// The session stays as it is and lives on (RFC 4028).
    Refresh,
    /// The peer goes back to the description that both sides had.
    PutBack,
    /// The bridge itself made it.
    Proposed,
}

/// A re-INVITE that got no final response within 64·T1 after its CANCEL.
#[derive(Debug)]
pub(super) struct Abandoned {
    pub(super) cseq: u32,
    /// The ACK of the 2xx that came all the same.
    pub(super) ack: Option<Bytes>,
}

impl Exchange {
    /// When [`Leg::on_exchange_timeout`] must be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self {
            Exchange::PeerOffers { give_up, .. } => *give_up,
            Exchange::PeerAnswered { ok } => Some(ok.deadline()),
            Exchange::Withdrawing { give_up, .. } => Some(*give_up),
            Exchange::BackOff { until, .. } => Some(*until),
            Exchange::Idle
            | Exchange::WeOffer { .. }
            | Exchange::AckDue { .. }
            | Exchange::WithdrawWaiting { .. } => None,
        }
    }

    /// The transaction of our offer, while no final response to it came.
    pub(super) fn client(&self) -> Option<ClientKey> {
        match self {
            Exchange::WeOffer { client, .. }
            | Exchange::WithdrawWaiting { client, .. }
            | Exchange::Withdrawing { client, .. } => Some(*client),
            Exchange::Idle
            | Exchange::PeerOffers { .. }
            | Exchange::PeerAnswered { .. }
            | Exchange::AckDue { .. }
            | Exchange::BackOff { .. } => None,
        }
    }

    /// Whether this is the transaction of an offer of ours that is wanted.
    pub(super) fn is_out(&self, client: ClientKey) -> bool {
        matches!(self, Exchange::WeOffer { client: ours, .. } if *ours == client)
    }

    /// The offer of ours is sent again as another transaction.
    pub(super) fn sent_again(&mut self, old: ClientKey, new: ClientKey, number: u32) {
        match self {
            Exchange::WeOffer { client, cseq, ours } if *client == old => {
                (*client, *cseq, ours.proceeding) = (new, number, false);
            }
            Exchange::WeOffer { .. }
            | Exchange::WithdrawWaiting { .. }
            | Exchange::Withdrawing { .. }
            | Exchange::Idle
            | Exchange::PeerOffers { .. }
            | Exchange::PeerAnswered { .. }
            | Exchange::AckDue { .. }
            | Exchange::BackOff { .. } => {}
        }
    }
}

impl Leg {
    /// The deadline of the exchange has come.
    pub(super) fn on_exchange_timeout(&mut self, key: LegKey, wire: &mut Wire, now: Now) -> News {
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::PeerAnswered { mut ok } => {
                if ok.repeat(wire, now) {
                    self.exchange = Exchange::PeerAnswered { ok };
                    return News::Nothing;
                }
                // RFC 3261 §14.2: no ACK for the 2xx of a re-INVITE ends the dialog.
                self.hang_up(key, wire, None, now);
                News::NoAck
            }
            Exchange::PeerOffers { server, by, .. } => {
                self.exchange = Exchange::PeerOffers { server, by, give_up: None };
                News::OfferWithdrawn(504)
            }
            Exchange::Withdrawing { client, cseq, .. } => {
                wire.abandon(client);
                self.abandoned = Some(Box::new(Abandoned { cseq, ack: None }));
                self.session.refused();
                News::CanOffer
            }
            Exchange::BackOff { ours, .. } => self.offer_again(key, ours, wire, now),
            waiting @ (Exchange::Idle
            | Exchange::WeOffer { .. }
            | Exchange::AckDue { .. }
            | Exchange::WithdrawWaiting { .. }) => {
                self.exchange = waiting;
                News::Nothing
            }
        }
    }

    /// Whether the dialog stands and no offer is under way (RFC 3261 §14.1).
    pub(crate) fn can_offer(&self) -> bool {
        matches!((&self.state, &self.exchange), (LegState::Up, Exchange::Idle))
    }

    /// Whether an offer of either peer is being carried over this leg.
    pub(crate) fn carries(&self) -> bool {
        match self.exchange {
            Exchange::PeerOffers { .. } => true,
            Exchange::WeOffer { ours, .. } => ours.aim == Aim::Carried,
            Exchange::Idle
            | Exchange::PeerAnswered { .. }
            | Exchange::AckDue { .. }
            | Exchange::WithdrawWaiting { .. }
            | Exchange::Withdrawing { .. }
            | Exchange::BackOff { .. } => false,
        }
    }

    /// Whether the peer takes an UPDATE before the call is answered (RFC 3311 §5.1).
    pub(crate) fn early_update(&self) -> EarlyUpdate {
        match (self.agreement(None), &self.exchange) {
            (None, _)
            | (Some(Agreement::OursPending | Agreement::TheirsPending | Agreement::Unconfirmed), _) => {
                EarlyUpdate::NotYet
            }
            (Some(Agreement::Reached), Exchange::Idle) if self.allows_update => EarlyUpdate::Possible,
            (Some(Agreement::Reached), Exchange::Idle) => EarlyUpdate::Unknown,
            (
                Some(Agreement::Reached),
                Exchange::PeerOffers { .. }
                | Exchange::PeerAnswered { .. }
                | Exchange::WeOffer { .. }
                | Exchange::AckDue { .. }
                | Exchange::WithdrawWaiting { .. }
                | Exchange::Withdrawing { .. }
                | Exchange::BackOff { .. },
            ) => EarlyUpdate::Busy,
        }
    }

    /// How far offer and answer of the INVITE have come before its final response; `tag` is the peer's, of several early
    /// dialogs. `None` in every other state.
    pub(super) fn agreement(&self, tag: Option<&[u8]>) -> Option<Agreement> {
        match self.state {
            LegState::Invited { .. } => Some(self.agreement_with_caller()),
            LegState::Proceeding { .. } => Some(self.agreement_with_callee(tag)),
            LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::Calling { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone => None,
        }
    }

    /// Whether the answer to an offer still means something: the dialog has not ended.
    pub(super) fn may_be_answered(&self) -> bool {
        match self.state {
            LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::Proceeding { .. }
            | LegState::AckDue { .. }
            | LegState::Up => true,
            LegState::AnsweredLeaving { .. }
            | LegState::Calling { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone => false,
        }
    }

    /// Whether an ACK of ours waits for what the other leg answers.
    pub(crate) fn owes_ack(&self) -> bool {
        matches!(self.state, LegState::AckDue { .. }) || matches!(self.exchange, Exchange::AckDue { .. })
    }

    /// The peer's offer that waits for an answer.
    pub(crate) fn open_offer(&self, wire: &Wire) -> Option<Bytes> {
        match self.exchange {
            Exchange::PeerOffers { server, .. } => wire.server_request(server),
            Exchange::Idle
            | Exchange::PeerAnswered { .. }
            | Exchange::WeOffer { .. }
            | Exchange::AckDue { .. }
            | Exchange::WithdrawWaiting { .. }
            | Exchange::Withdrawing { .. }
            | Exchange::BackOff { .. } => None,
        }
    }

    /// Whether this CANCEL's INVITE is the peer's offer that waits for an answer (row S5).
    pub(crate) fn is_offered_by(&self, invite: ServerKey) -> bool {
        matches!(self.exchange, Exchange::PeerOffers { server, .. } if server == invite)
    }

    /// The dialog ends: what the peer asked for is refused (RFC 3261 §15.1.2), what it answered is acknowledged, and our
    /// own answer is repeated no more. A re-INVITE of ours that is still out is acknowledged when its answer comes.
    pub(super) fn close_exchange(&mut self, wire: &mut Wire, now: Now) {
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::PeerOffers { server, by, give_up } => {
                self.exchange = Exchange::PeerOffers { server, by, give_up };
                self.reject_offer(487, None, &[], wire, now);
            }
            Exchange::AckDue { client, cseq } => self.send_ack(client, cseq, None, wire),
            out @ Exchange::WeOffer { .. } => self.exchange = out,
            Exchange::WithdrawWaiting { client, cseq, ours, .. }
            | Exchange::Withdrawing { client, cseq, ours, .. } => {
                self.exchange = Exchange::WeOffer { client, cseq, ours };
            }
            Exchange::PeerAnswered { .. } | Exchange::Idle | Exchange::BackOff { .. } => {}
        }
    }
}

impl Ours {
    pub(crate) fn new(by: OfferBy, aim: Aim, offerless: bool) -> Ours {
        Ours { by, aim, offerless, proceeding: false }
    }
}
