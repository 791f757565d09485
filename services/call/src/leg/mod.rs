//! One leg: a whole RFC 3261 user agent towards one side of a call.
//!
//! A leg hides the protocol. The bridge orders `progress`, `answer`, `reject`, `invite`, `offer`, `hang_up`; the leg
//! alone knows whether `hang_up` means CANCEL now, CANCEL once a provisional arrives, ACK then BYE, BYE, or nothing any
//! more. What happens on its side it tells as [`News`].
//!
//! ```text
//!   towards the caller (uas.rs)                 towards the callee (uac.rs)
//!
//!   Invited ──reject──────────▶ Gone            Calling ──1xx──▶ Proceeding ──3xx-6xx──▶ Gone
//!      │ answer                                   │ hang_up         │ hang_up      (from both)
//!      ▼                                          ▼                 ▼
//!   Answered ──hang_up──▶ AnsweredLeaving       CancelWaiting ─1xx─▶ Cancelling ──final──▶ Gone
//!      │ ACK                │ ACK, or none        │ 2xx             │ 2xx      └─64·T1─▶ Ghost
//!      ▼                    ▼                     ▼                 ▼
//!      Up ───hang_up───▶ Leaving ──final──▶ Gone  ACK, BYE: Leaving  ACK, BYE: Leaving
//!                                               Calling, Proceeding ──2xx──▶ AckDue ──acknowledge──▶ Up
//! ```
//!
//! Beside this machine stand smaller ones, each in its file: `reliable` and `early` for what comes before the answer (18x
//! with PRACK, UPDATE), `exchange` with `reinvite` (the peer's offers) and `offer` (ours) within the dialog,
//! `session_timer`, and `refer`.

#![deny(clippy::wildcard_enum_match_arm)]

mod carry;
mod challenge;
mod dialog;
mod early;
mod exchange;
mod inform;
mod kept;
mod offer;
mod refer;
mod reinvite;
mod reliable;
mod session_timer;
mod uac;
mod uas;
mod way;

use std::time::Duration;

use bytes::Bytes;
use sip::{Dialog, Message, Time};
use slotmap::new_key_type;

use crate::bridge::CallKey;
use crate::coverage::LegInput;
use crate::family::Told;
use crate::io::{Flow, Now, SendToken};
use crate::media::Side;
use crate::wire::{ClientKey, ServerKey, Wire, reconnecting};

pub(crate) use carry::Loss;
pub(crate) use challenge::{AuthTries, Challenged, again_with};
pub(crate) use dialog::{acknowledge_late, end_fork};
pub(crate) use early::rseq;
pub(crate) use exchange::{Aim, EarlyUpdate, Exchange, OfferBy, Ours};
pub(crate) use offer::{Offer, retry_after};
pub(crate) use refer::Referral;
pub(crate) use reliable::Acknowledges;
pub(crate) use session_timer::interval_too_small;
pub(crate) use uac::{Target, from_header, via, via_pieces};
pub(crate) use uas::Rejection;
pub(crate) use way::{UnknownWay, Way, by_way, unknown_way};

new_key_type! {
    /// A leg.
    pub(crate) struct LegKey;
}

/// Reason of the BYE after 64·T1 without the ACK of a 2xx.
const NO_ACK: &[u8] = b"SIP;cause=408, Q.850;cause=102";

/// Where a leg stands.
#[derive(Debug)]
pub(crate) enum LegState {
    /// The caller's INVITE is here, no final response sent.
    Invited { server: ServerKey },
    /// 2xx sent, repeated until its ACK comes.
    Answered { ok: Box<Unacked> },
    /// The same, but to be ended: a callee must not send BYE before the ACK (RFC 3261 §15).
    AnsweredLeaving { ok: Box<Unacked>, reason: Option<Box<[u8]>> },
    /// INVITE sent, no provisional response.
    Calling { client: ClientKey },
    /// A provisional response came; Timer C runs.
    Proceeding { client: ClientKey, timer_c: Time },
    /// To be cancelled as soon as a provisional comes (row C2).
    CancelWaiting { client: ClientKey, reason: Option<Box<[u8]>> },
    /// CANCEL sent; without a final response by `give_up` the INVITE is abandoned (row C6).
    Cancelling { client: ClientKey, reason: Option<Box<[u8]>>, give_up: Time },
    /// 2xx received, its ACK waits for what the other leg answers.
    AckDue { client: ClientKey, cseq: u32 },
    /// Both ends know that the dialog stands.
    Up,
    /// BYE sent, its final response awaited.
    Leaving,
    /// Given up, but a 2xx that still comes gets ACK and BYE (row C6). `ended`: the ACKs of those that did.
    Ghost { until: Time, invite: Bytes, ended: Vec<Bytes> },
    /// Nothing is owed any more.
    Gone,
}

/// A 2xx that is repeated until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(crate) struct Unacked {
    ok: Bytes,
    flow: Flow,
    cseq: u32,
    next: Time,
    interval: Duration,
    give_up: Time,
}

/// What a leg tells the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing that matters to the other side.
    Nothing,
    /// The callee's provisional response other than 100.
    Progress,
    /// The callee's 2xx.
    Answered,
    /// The callee's final failure, or none in time.
    Refused(u16),
    /// Timer C: it rang too long.
    Expired,
    /// The ACK of our 2xx.
    Acked,
    /// Our 2xx was never acknowledged.
    NoAck,
    /// The PRACK of a reliable provisional response of ours.
    Pracked,
    /// A reliable provisional response of ours was never acknowledged.
    NoPrack,
    /// BYE.
    Bye,
    /// A re-INVITE of the peer, or its UPDATE with a description.
    Offered,
    /// The same, while ours to it backed off from glare: the peer's goes first.
    Overtook,
    /// The peer took its offer back, or could wait for the answer no longer.
    OfferWithdrawn(u16),
    /// 2xx to the other side's offer.
    OfferAccepted,
    /// Failure of the other side's offer.
    OfferRefused(u16),
    /// 2xx to an offer of the box itself, and what it says.
    Agreed,
    /// The peer would not go back to the description that both sides had.
    NotPutBack,
    /// Nothing of ours is under way any more: an offer that waits can be sent.
    CanOffer,
    /// The session ran out: nobody refreshed it (RFC 4028 §10).
    SessionExpired,
    /// The dialog is no more at the peer: 408 or 481 within it, or no answer at all (RFC 3261 §12.2.1.2).
    Lost,
}

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    /// `None` once the call has forgotten it.
    pub(crate) call: Option<CallKey>,
    pub(crate) side: Side,
    pub(crate) state: LegState,
    pub(crate) exchange: Exchange,
    /// Where its INVITE came from or went to.
    pub(crate) flow: Flow,
    /// A phone of ours rather than a trunk: its flow is the only way to it.
    pub(crate) by_flow: bool,
    /// Found by a 3xx, and no peer of its trunk: it is not shown the trunk's credentials.
    pub(crate) is_stranger: bool,
    pub(crate) trunk: Option<routing::TrunkId>,
    pub(crate) tag: Box<str>,
    pub(crate) dialog: Option<Box<Dialog>>,
    /// What the caller's INVITE said of 100rel.
    reliability: reliable::Reliability,
    /// Towards a caller, once a reliable provisional response was sent.
    reliable: Option<Box<reliable::Reliable>>,
    /// Towards a callee that rings.
    early: Option<Box<early::Early>>,
    /// Final status of the INVITE, once known.
    pub(crate) final_status: u16,
    pub(crate) call_id: Box<str>,
    /// Challenges answered by its last request, so that a wrong password is not tried for ever.
    auth: challenge::AuthTries,
    /// How often its offer was put off by glare.
    put_off: u8,
    /// An offer that was cancelled and given up; its 2xx may still come.
    abandoned: Option<Box<exchange::Abandoned>>,
    /// Whether the peer takes UPDATE (RFC 3311 §4).
    pub(crate) allows_update: bool,
    /// We placed it, so that its Call-ID is ours.
    placed: bool,
    timer: session_timer::SessionTimer,
    /// Our session in descriptions towards this side (RFC 3264 §8).
    pub(crate) session: crate::bridge::LocalSession,
    /// In which family this side is told of the relay.
    pub(crate) told: Told,
    /// What its peer is told of the transfer that it asked for.
    subscription: Option<Box<refer::Subscription>>,
    /// Where requests go, when the peer named a host.
    way: Option<Box<way::Way>>,
    /// What its peer is told of in INFO.
    informing: Option<Box<inform::Informing>>,
    /// The peer may have named one that was not looked up.
    pub(crate) way_due: bool,
    pub(crate) armed: Option<Time>,
}

impl Leg {
    fn new(call: CallKey, side: Side, state: LegState, flow: Flow, tag: Box<str>, call_id: Box<str>) -> Leg {
        Leg {
            call: Some(call),
            side,
            state,
            exchange: Exchange::Idle,
            flow,
            by_flow: false,
            is_stranger: false,
            trunk: None,
            tag,
            dialog: None,
            reliability: reliable::Reliability::Never,
            reliable: None,
            early: None,
            final_status: 0,
            call_id,
            auth: challenge::AuthTries::default(),
            put_off: 0,
            abandoned: None,
            allows_update: false,
            placed: false,
            timer: session_timer::SessionTimer::default(),
            session: crate::bridge::LocalSession::default(),
            told: Told::new(routing::MediaFamily::Auto, flow.remote.ip()),
            subscription: None,
            way: None,
            informing: None,
            way_due: true,
            armed: None,
        }
    }

    /// Whether the call has nothing more to expect of this leg.
    pub(crate) fn is_over(&self) -> bool {
        match self.state {
            LegState::Ghost { .. } | LegState::Gone => true,
            LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving => false,
        }
    }

    /// Whether its dialog ended, or is being ended.
    pub(crate) fn has_left(&self) -> bool {
        matches!(self.state, LegState::AnsweredLeaving { .. } | LegState::Leaving | LegState::Gone)
    }

    /// Name of the state, for operators.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            LegState::Invited { .. } => "invited",
            LegState::Answered { .. } => "answered",
            LegState::AnsweredLeaving { .. } => "answered_leaving",
            LegState::Calling { .. } => "calling",
            LegState::Proceeding { .. } => "proceeding",
            LegState::CancelWaiting { .. } => "cancel_waiting",
            LegState::Cancelling { .. } => "cancelling",
            LegState::AckDue { .. } => "ack_due",
            LegState::Up => "up",
            LegState::Leaving => "leaving",
            LegState::Ghost { .. } => "ghost",
            LegState::Gone => "gone",
        }
    }

    /// Ends the leg whatever its state; the bridge hears nothing more that would matter.
    pub(crate) fn hang_up(&mut self, key: LegKey, wire: &mut Wire, reason: Option<&[u8]>, now: Now) {
        wire.coverage.leg(self, LegInput::HangUp);
        let kept = reason.map(Box::from);
        match std::mem::replace(&mut self.state, LegState::Gone) {
            // Before an answer the caller is refused, not hung up; `reject` says with what. This is the backstop.
            LegState::Invited { server } => {
                self.state = LegState::Invited { server };
                self.reject(wire, &Rejection { status: 480, ..Rejection::default() }, now);
            }
            LegState::Answered { ok } => {
                self.close_exchange(wire, now);
                self.state = LegState::AnsweredLeaving { ok, reason: kept };
            }
            LegState::Calling { client } => self.state = LegState::CancelWaiting { client, reason: kept },
            LegState::Proceeding { client, .. } => {
                self.close_exchange(wire, now);
                self.cancel(client, kept, wire, now);
            }
            LegState::AckDue { client, cseq } => {
                self.close_exchange(wire, now);
                self.send_ack(client, cseq, None, wire);
                self.bye(key, reason, wire, now);
            }
            LegState::Up => {
                self.close_exchange(wire, now);
                self.bye(key, reason, wire, now);
            }
            already @ (LegState::AnsweredLeaving { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone) => self.state = already,
        }
    }

    /// When [`on_timeout`](Leg::on_timeout) must be called.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let own = match &self.state {
            LegState::Invited { .. } => self.reliable.as_ref().and_then(|reliable| reliable.deadline()),
            LegState::Answered { ok } | LegState::AnsweredLeaving { ok, .. } => Some(ok.deadline()),
            LegState::Proceeding { timer_c, .. } => Some(*timer_c),
            LegState::Cancelling { give_up, .. } => Some(*give_up),
            LegState::Ghost { until, .. } => Some(*until),
            LegState::Calling { .. }
            | LegState::CancelWaiting { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Gone => None,
        };
        let exchange = self.exchange.deadline().or(self.session_deadline());
        match (own, exchange) {
            (Some(own), Some(exchange)) => Some(own.min(exchange)),
            (own, exchange) => own.or(exchange),
        }
    }

    pub(crate) fn on_timeout(&mut self, key: LegKey, wire: &mut Wire, now: Now) -> News {
        if self.exchange.deadline().is_some_and(|deadline| deadline <= now.time) {
            return self.on_exchange_timeout(key, wire, now);
        }
        if self.session_deadline().is_some_and(|deadline| deadline <= now.time) {
            return self.on_session_timeout(key, wire, now);
        }
        if self.deadline().is_none_or(|deadline| deadline > now.time) {
            return News::Nothing;
        }
        match std::mem::replace(&mut self.state, LegState::Gone) {
            LegState::Invited { server } => {
                self.state = LegState::Invited { server };
                self.on_unacknowledged(wire, now)
            }
            LegState::Answered { mut ok } => {
                if ok.repeat(wire, now) {
                    self.state = LegState::Answered { ok };
                    return News::Nothing;
                }
                self.bye(key, Some(NO_ACK), wire, now);
                News::NoAck
            }
            LegState::AnsweredLeaving { mut ok, reason } => {
                if ok.repeat(wire, now) {
                    self.state = LegState::AnsweredLeaving { ok, reason };
                } else {
                    self.bye(key, reason.as_deref(), wire, now);
                }
                News::Nothing
            }
            LegState::Proceeding { client, .. } => {
                // The bridge hangs up next, which is the CANCEL of RFC 3261 §16.8.
                self.state = LegState::Proceeding { client, timer_c: now.time + wire.settings.timer_c };
                News::Expired
            }
            LegState::Cancelling { client, .. } => {
                self.haunt(wire.client_request(client).unwrap_or_default(), wire, now);
                wire.abandon(client);
                News::Nothing
            }
            LegState::Ghost { .. } => News::Nothing,
            idle @ (LegState::Calling { .. }
            | LegState::CancelWaiting { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Gone) => {
                self.state = idle;
                News::Nothing
            }
        }
    }

    /// Stays behind for a 2xx that may still come.
    fn haunt(&mut self, invite: Bytes, wire: &Wire, now: Now) {
        let until = now.time + wire.settings.timing.t1 * 64;
        self.state = LegState::Ghost { until, invite, ended: Vec::new() };
    }

    /// Whether the request's dialog identifiers are this leg's (RFC 3261 §12.2.2).
    pub(crate) fn owns(&self, request: &Message<'_>) -> bool {
        let (Ok(to), Ok(from), Ok(call_id)) = (request.to(), request.from(), request.call_id()) else {
            return false;
        };
        if to.tag() != Some(self.tag.as_bytes()) || call_id != self.call_id.as_bytes() {
            return false;
        }
        match &self.dialog {
            Some(dialog) => dialog.matches(call_id, self.tag.as_bytes(), from.tag().unwrap_or_default()),
            None => self.owns_early(call_id, from.tag().unwrap_or_default()),
        }
    }
}

impl Unacked {
    fn new(ok: Bytes, flow: Flow, cseq: u32, wire: &Wire, now: Now) -> Unacked {
        let t1 = wire.settings.timing.t1;
        Unacked { ok, flow, cseq, next: now.time + t1, interval: t1, give_up: now.time + t1 * 64 }
    }

    fn is_on(&self, connection: u64) -> bool {
        self.flow.connection == connection
    }

    fn on_closed(&mut self, connection: u64) {
        if self.flow.connection == connection {
            self.flow = reconnecting(self.flow, &self.ok);
        }
    }

    fn deadline(&self) -> Time {
        self.next.min(self.give_up)
    }

    /// Sends it again; false when 64·T1 have passed.
    fn repeat(&mut self, wire: &mut Wire, now: Now) -> bool {
        if now.time >= self.give_up {
            return false;
        }
        self.interval = (self.interval * 2).min(wire.settings.timing.t2);
        self.next = now.time + self.interval;
        wire.stats.retransmissions += 1;
        wire.send(self.flow, self.ok.clone(), SendToken::NONE);
        true
    }
}
