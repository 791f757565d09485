//! Reliable provisional responses to the caller (RFC 3262 §3): repeated until their PRACK comes, one at a time.
//!
//! Each leg has its own: a callee's unreliable 18x becomes a reliable one for a caller that demands it, and the other
//! way round. A 2xx that would overtake a description the caller has not acknowledged waits here, too.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sip::{Message, Method, Name, RAck, Time, Writer};

use super::{Leg, LegKey, LegState, News};
use crate::bodies::Body;
use crate::headers::{RELIABLE, requires_reliability, takes_reliability};
use crate::io::Now;
use crate::wire::{ServerKey, Wire};

/// Provisional responses that wait for the PRACK of the one before.
const MAX_QUEUED: usize = 8;

/// What a caller said of 100rel in its INVITE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reliability {
    /// Nothing: it gets none that is reliable.
    #[default]
    Never,
    /// Supported: those that the callee sends reliably.
    Able,
    /// Required: all but 100.
    Demanded,
}

impl Reliability {
    pub(super) fn of(invite: &Message<'_>) -> Reliability {
        if requires_reliability(invite) {
            Reliability::Demanded
        } else if takes_reliability(invite) {
            Reliability::Able
        } else {
            Reliability::Never
        }
    }
}

/// The reliable provisional responses of one INVITE.
#[derive(Debug)]
pub(crate) struct Reliable {
    /// CSeq number of the INVITE.
    invite: u32,
    /// RSeq of the last one, sent or queued.
    rseq: u32,
    sent: Sent,
    queue: VecDeque<Provisional>,
    /// The target whose PRACK may go now, with the answer that the caller's brought.
    released: Option<LegKey>,
    /// A target's 2xx that waits for the PRACK of a description.
    held: Option<(LegKey, Bytes)>,
    /// A PRACK came: the caller has the early dialog.
    pracked: bool,
    /// A description has gone out in one of these: the offer of the INVITE has its answer, or the caller its offer.
    described: bool,
}

/// The last one that was sent.
#[derive(Debug)]
enum Sent {
    /// None, or its PRACK came.
    Settled,
    /// Repeated until its PRACK comes.
    Repeating { provisional: Provisional, next: Time, interval: Duration, give_up: Time },
    /// The INVITE has its final response: repeated no more, but a PRACK is still answered.
    Superseded { rseq: u32 },
}

/// One provisional response, ready to be sent.
#[derive(Debug)]
struct Provisional {
    status: u16,
    bytes: Bytes,
    rseq: u32,
    /// It has a description.
    described: bool,
    /// The target whose offer this carries: its PRACK waits for the caller's.
    awaited_by: Option<LegKey>,
}

/// How far the offer and answer of an INVITE have come before its 2xx (RFC 3311 §5.1, §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// The peer has an offer of ours to answer.
    OursPending,
    /// We have an offer of the peer to answer, or it has none of ours yet.
    TheirsPending,
    /// Answered, but the peer may not know it yet: it may offer again, we may not.
    Unconfirmed,
    /// Either side may offer again.
    Reached,
}

/// What a PRACK acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledges {
    /// Nothing that waits for it.
    Nothing,
    /// A response without a description, or with an answer.
    Response,
    /// A response with an offer.
    Offer,
}

impl Reliable {
    fn new(invite: u32, rseq: u32) -> Reliable {
        Reliable {
            invite,
            rseq,
            sent: Sent::Settled,
            queue: VecDeque::new(),
            released: None,
            held: None,
            pracked: false,
            described: false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.sent {
            Sent::Repeating { next, give_up, .. } => Some((*next).min(*give_up)),
            Sent::Settled | Sent::Superseded { .. } => None,
        }
    }

    /// A final response goes out: nothing more is repeated or sent.
    pub(super) fn supersede(&mut self) {
        self.queue.clear();
        self.held = None;
        if let Sent::Repeating { provisional: Provisional { rseq, .. }, .. } = self.sent {
            self.sent = Sent::Superseded { rseq };
        }
    }
}

impl Leg {
    /// Sends a provisional response reliably, or queues it behind one that has no PRACK yet. `awaited_by` is the target
    /// whose PRACK waits for the answer that the caller's brings. False when there are too many.
    pub(super) fn progress_reliably(
        &mut self,
        server: ServerKey,
        mut writer: Writer,
        (status, body): (u16, Option<&Body>),
        awaited_by: Option<LegKey>,
        wire: &mut Wire,
        now: Now,
    ) -> bool {
        let reliable = self.reliable.get_or_insert_with(|| {
            let invite = wire.server_request(server);
            let cseq = invite.and_then(|invite| Some(Message::parse(&invite).ok()?.cseq().ok()?.number));
            // RFC 3262 §3: the first number is a random one below 2**31, with room for those that follow.
            Box::new(Reliable::new(cseq.unwrap_or(0), (wire.ids.random() & 0x3fff_ffff) as u32))
        });
        if reliable.queue.len() >= MAX_QUEUED {
            return false;
        }
        reliable.rseq += 1;
        writer.header("Require", RELIABLE).number("RSeq", u64::from(reliable.rseq));
        let bytes = Body::finish(body, writer);
        let rseq = reliable.rseq;
        reliable.queue.push_back(Provisional {
            status,
            bytes,
            rseq,
            described: body.is_some_and(Body::is_described),
            awaited_by,
        });
        self.next_provisional(server, wire, now);
        true
    }

    /// Whether the caller gets this provisional response of the callee reliably.
    pub(crate) fn goes_reliably(&self, progress: &Message<'_>) -> bool {
        match self.reliability {
            Reliability::Never => false,
            Reliability::Able => super::rseq(progress).is_some(),
            Reliability::Demanded => true,
        }
    }

    /// Whether a provisional response would describe to the caller again what it was told reliably: that was the answer
    /// to its offer, and there is one (RFC 3262 §5).
    pub(crate) fn is_told_already(&self) -> bool {
        self.reliable.as_ref().is_some_and(|reliable| {
            reliable.described || reliable.queue.iter().any(|provisional| provisional.described)
        })
    }

    /// Sends the next of those that wait, when nothing is unacknowledged.
    fn next_provisional(&mut self, server: ServerKey, wire: &mut Wire, now: Now) {
        let Some(reliable) = &mut self.reliable else { return };
        let Sent::Settled = reliable.sent else { return };
        let Some(provisional) = reliable.queue.pop_front() else { return };
        wire.respond(server, provisional.status, provisional.bytes.clone(), now);
        reliable.described |= provisional.described;
        let t1 = wire.settings.timing.t1;
        let (next, give_up) = (now.time + t1, now.time + t1 * 64);
        reliable.sent = Sent::Repeating { provisional, next, interval: t1, give_up };
    }

    /// Repeats what has no PRACK (RFC 3262 §3: T1, doubled each time without an upper bound, for 64·T1 in all).
    pub(super) fn on_unacknowledged(&mut self, wire: &mut Wire, now: Now) -> News {
        let (LegState::Invited { server }, Some(reliable)) = (&self.state, &mut self.reliable) else {
            return News::Nothing;
        };
        let Sent::Repeating { provisional, next, interval, give_up } = &mut reliable.sent else {
            return News::Nothing;
        };
        if now.time >= *give_up {
            reliable.supersede();
            return News::NoPrack;
        }
        *interval *= 2;
        *next = now.time + *interval;
        wire.stats.retransmissions += 1;
        wire.respond(*server, provisional.status, provisional.bytes.clone(), now);
        News::Nothing
    }

    /// What this PRACK acknowledges.
    pub(crate) fn acknowledges(&self, prack: &Message<'_>) -> Acknowledges {
        let rack = prack.first(Name::RAck).and_then(|value| RAck::parse(value).ok());
        let (Some(rack), Some(reliable)) = (rack, &self.reliable) else { return Acknowledges::Nothing };
        if rack.cseq.method != Method::Invite || rack.cseq.number != reliable.invite {
            return Acknowledges::Nothing;
        }
        match &reliable.sent {
            Sent::Repeating { provisional, .. } if provisional.rseq == rack.response => {
                match provisional.awaited_by {
                    Some(_) => Acknowledges::Offer,
                    None => Acknowledges::Response,
                }
            }
            Sent::Superseded { rseq } if *rseq == rack.response => Acknowledges::Response,
            Sent::Repeating { .. } | Sent::Superseded { .. } | Sent::Settled => Acknowledges::Nothing,
        }
    }

    /// The PRACK of what was sent last came and was answered; the next of those that wait goes out.
    pub(crate) fn on_pracked(&mut self, wire: &mut Wire, now: Now) -> News {
        let Some(reliable) = &mut self.reliable else { return News::Nothing };
        let sent = std::mem::replace(&mut reliable.sent, Sent::Settled);
        let Sent::Repeating { provisional, .. } = sent else { return News::Nothing };
        reliable.released = provisional.awaited_by;
        reliable.pracked = true;
        if let LegState::Invited { server } = self.state {
            self.next_provisional(server, wire, now);
        }
        News::Pracked
    }

    /// The target whose PRACK waited for the one that came last.
    pub(crate) fn take_released(&mut self) -> Option<LegKey> {
        self.reliable.as_mut()?.released.take()
    }

    /// Keeps the 2xx of `target` back while a description has no PRACK (RFC 3262 §3); false when it may pass.
    pub(crate) fn hold_answer(&mut self, target: LegKey, ok: &Message<'_>) -> bool {
        let Some(reliable) = &mut self.reliable else { return false };
        let Sent::Repeating { provisional: Provisional { described: true, .. }, .. } = reliable.sent else {
            return false;
        };
        reliable.held.get_or_insert_with(|| (target, Bytes::copy_from_slice(ok.bytes())));
        true
    }

    /// The 2xx that was kept back, when it may pass now.
    pub(crate) fn release_answer(&mut self) -> Option<(LegKey, Bytes)> {
        let reliable = self.reliable.as_mut()?;
        if let Sent::Repeating { provisional: Provisional { described: true, .. }, .. } = reliable.sent {
            return None;
        }
        reliable.held.take()
    }

    /// Whether the caller knows its early dialog for certain.
    pub(super) fn has_pracked(&self) -> bool {
        self.reliable.as_ref().is_some_and(|reliable| reliable.pracked)
    }

    /// Whether the caller was given a description that counts, before the 2xx.
    pub(crate) fn was_described(&self) -> bool {
        self.reliable.as_ref().is_some_and(|reliable| reliable.described)
    }

    /// How far offer and answer have come with a caller that is not answered.
    pub(super) fn agreement_with_caller(&self) -> Agreement {
        match &self.reliable {
            Some(reliable) if reliable.described => match &reliable.sent {
                Sent::Repeating { provisional: Provisional { awaited_by: Some(_), .. }, .. } => {
                    Agreement::OursPending
                }
                Sent::Repeating { provisional: Provisional { described: true, .. }, .. } => {
                    Agreement::Unconfirmed
                }
                Sent::Repeating { .. } | Sent::Settled | Sent::Superseded { .. } => Agreement::Reached,
            },
            Some(_) | None => Agreement::TheirsPending,
        }
    }
}
