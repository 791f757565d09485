//! The bridge as a table: (call state, event) → (call state, orders).
//!
//! This is the whole behaviour of a call between its legs. Every cell is written; a race is a row, not a flag. The
//! legs have already done what RFC 3261 asks of them alone (acknowledged, answered a BYE with 200, refused glare), so
//! a cell says only what one side's news means for the other.
//!
//! ```text
//!  Routing ─▶ Opening ─▶ Resolving ─▶ Calling ─▶ Ringing ─▶ Answered ─▶ Up ◀──▶ Offering(side)
//!     │          │          ▲  │         │          │           │        │          │
//!     │          │          └──┼─ next target ──────┘           │        │          │
//!     └──────────┴─────────────┴─────────┴──────────┴─────── Ending ◀────┴──────────┘
//!                                                              │ all legs over
//!                                                           Settling ── relay's last word ─▶ Over
//! ```
//!
//! What a REFER or a Replaces does to a call that is up stands in `table/transfer.rs`.

mod restore;
mod transfer;

use crate::media::Side;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Routing was asked where the call goes.
    Routing,
    /// The relay was asked for ports.
    Opening,
    /// The next target's address is being found.
    Resolving,
    /// The target was invited.
    Calling,
    /// The target rings or sends early media.
    Ringing,
    /// The target's 2xx was passed to the caller, whose ACK is awaited.
    Answered,
    /// Both sides talk.
    Up,
    /// An offer of this side is being carried to the other.
    Offering(Side),
    /// This side asked to be replaced (RFC 3515); who it named is being called.
    Transferring(Side),
    /// The same, and it has left.
    TransferringAlone(Side),
    /// This side was replaced; the other one is told what the newcomer described.
    Rejoining(Side),
    /// This side was replaced; the other one is told when an offer can be made to it.
    JoinWaiting(Side),
    /// A party of another call takes this side's place: the other side is asked for its consent.
    Yielding(Side),
    /// The same, and the side to be replaced has left.
    YieldingAlone(Side),
    /// A caller takes this side's place (RFC 3891): the other side is offered its description.
    Replacing(Side),
    /// The same, and the side to be replaced has left.
    ReplacingAlone(Side),
    /// Who was to take this side's place gave up before the other side had answered the description.
    Reverting(Side),
    /// The process before this one had it; the relay was asked for its ports.
    Restoring,
    /// Every leg was told to end.
    Ending,
    /// Every leg is over; the relay's counters are awaited.
    Settling,
    /// Nothing is left but to forget the call.
    Over,
}

/// What happened to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Routing named targets.
    Routed,
    /// Routing refused.
    NoRoute,
    /// The relay has ports.
    Opened,
    /// The relay has none.
    NoPorts,
    /// The target's address is known.
    Resolved,
    /// The target failed and another is left: no address, no answer, or a code that the route fails over on.
    TargetFailed,
    /// The target failed while others are tried at the same time.
    BranchFailed,
    /// The last target failed, or one in a way that ends the search, whoever else is tried.
    Refused,
    /// Provisional response of the target, other than 100.
    Progress,
    /// 2xx of the target.
    Answered,
    /// 2xx of the target that this box cannot use.
    BadAnswer,
    /// CANCEL of the caller.
    Cancelled,
    /// This side acknowledged a 2xx.
    Acked(Side),
    /// This side never acknowledged a 2xx, or answered within the dialog that it knows none.
    Lost(Side),
    /// BYE of this side.
    Bye(Side),
    /// This side acknowledged a 2xx that was an offer, with an answer that cannot be used.
    BadAck(Side),
    /// This side sent a re-INVITE, or UPDATE with a description.
    Offered(Side),
    /// The same, while the other's offer to this side backed off from glare.
    Overtook(Side),
    /// This side took its offer back (row S5), or could wait for the answer no longer.
    OfferWithdrawn(Side),
    /// The side that got the other's offer accepted it.
    OfferAccepted,
    /// The side that got the other's offer refused it, or it could not be carried.
    OfferRefused,
    /// This side answered an offer of the box itself.
    Agreed(Side),
    /// This side would not go back to the description that both had.
    NotPutBack(Side),
    /// Nothing of ours is under way on this side any more.
    CanOffer(Side),
    /// Nobody refreshed the session of this side (RFC 4028 §10).
    SessionExpired(Side),
    /// The caller acknowledged a reliable provisional response.
    Pracked,
    /// The caller never acknowledged a reliable provisional response.
    NoPrack,
    /// No RTP from this side for too long.
    Silent(Side),
    /// REFER of this side.
    Referred(Side),
    /// Another call wants the party opposite this side.
    Claimed(Side),
    /// INVITE of somebody who replaces this side.
    Replaced(Side),
    /// The side that a newcomer is described to cannot take an offer just now.
    JoinBusy,
    /// An operator or a shutdown ends the call.
    Operator,
    /// Every leg is over.
    LegsOver,
    /// The relay gave everything back.
    MediaClosed,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Ask the relay for ports.
    OpenMedia,
    /// Find the addresses of the next targets; more than one where they are tried at the same time.
    NextTarget,
    /// Write the record of the attempt that just failed.
    RecordAttempt,
    /// Invite the target.
    Invite,
    /// Pass the provisional response to the caller.
    RelayProgress,
    /// Pass the 2xx to the caller; acknowledge it unless its answer is still to come.
    RelayAnswer,
    /// The caller's ACK releases the callee's, with the answer when it carries one.
    RelayAck,
    /// Refuse the caller with what the event says.
    Reject,
    /// End this leg, whatever it takes.
    HangUp(Side),
    /// End every other leg that is being tried, and write their records.
    DropBranches,
    /// Send this side's offer to the other, as soon as that is possible.
    RelayOffer(Side),
    /// The offer that is out to this side is wanted no more.
    WithdrawOffer(Side),
    /// Bring this side back to the description that both had.
    PutBack(Side),
    /// The relay hears what this side answered the box itself.
    TakeAnswer(Side),
    /// Pass the answer to the side that offered.
    RelayOfferAnswer(Side),
    /// Refuse the offer of this side with what the event says.
    RefuseOffer(Side),
    /// An acknowledgement within the dialog releases the other side's, with the answer when it carries one.
    RelayOfferAck(Side),
    /// Who would have answered what this side offered in a 2xx is gone: acknowledge it with what both had.
    ReleaseAck(Side),
    /// Take the REFER of this side: 202, a subscription, and the question where its target is.
    AcceptRefer(Side),
    /// Refuse the REFER of this side.
    RefuseRefer(Side),
    /// Tell this side, which sent the REFER, what the target said.
    NotifyProgress(Side),
    /// The same for the last time.
    NotifyEnd(Side),
    /// Hang up the target of a transfer and write the record of its attempt.
    DropTarget,
    /// Nothing came of the transfer: the two go on as before.
    ResumeTalk,
    /// The target takes this side's place.
    Join(Side),
    /// Describe the newcomer in this side's place to the other side.
    OfferJoin(Side),
    /// The other side accepted the newcomer in this side's place.
    AcceptJoin(Side),
    /// Nothing is relayed to this side any more.
    ForgetMedia(Side),
    /// The party opposite this side goes over to the call that asked for it.
    HandOver(Side),
    /// It stays; the call that asked for it is told.
    Keep,
    /// Offer what the caller in this side's place described to the other side.
    OfferReplacement(Side),
    /// That caller takes this side's place with the other side's answer.
    Replace(Side),
    /// Refuse that caller.
    RefuseReplacement,
    /// The caller's PRACK releases the callee's that waits for its answer.
    RelayPrack,
    /// Carry the UPDATE of this side over to the other before the call is answered, or refuse it.
    RelayEarlyOffer(Side),
    /// Pass the answer to whoever offered before the call was answered.
    AnswerEarlyOffer,
    /// Refuse whoever offered before the call was answered.
    RefuseEarlyOffer,
    /// The relay has the ports of a restored call: tell it where both sides are.
    ResumeMedia,
    /// From now on silence counts.
    WatchMedia,
    /// Give the ports back.
    CloseMedia,
    /// Write the last record and tell the operator.
    Finish,
}

use {Event as E, Order as O, State as S};

/// One step of a call.
pub fn step(state: State, event: Event) -> (State, &'static [Order]) {
    match state {
        S::Routing => routing(event),
        S::Opening => opening(event),
        S::Resolving => resolving(event),
        S::Calling => inviting(S::Calling, event),
        S::Ringing => inviting(S::Ringing, event),
        S::Answered => answered(event),
        S::Up => up(event),
        S::Offering(side) => offering(side, event),
        S::Transferring(side) => transfer::transferring(side, event),
        S::TransferringAlone(side) => transfer::transferring_alone(side, event),
        S::Rejoining(side) => transfer::rejoining(side, event),
        S::JoinWaiting(side) => transfer::join_waiting(side, event),
        S::Yielding(side) => transfer::yielding(side, event),
        S::YieldingAlone(side) => transfer::yielding_alone(side, event),
        S::Replacing(side) => transfer::replacing(side, event),
        S::ReplacingAlone(side) => transfer::replacing_alone(side, event),
        S::Reverting(side) => transfer::reverting(side, event),
        S::Restoring => restore::restoring(event),
        S::Ending => ending(event),
        S::Settling => settling(event),
        S::Over => (S::Over, &[]),
    }
}

fn routing(event: Event) -> (State, &'static [Order]) {
    match event {
        E::Routed => (S::Opening, &[O::OpenMedia]),
        // Row S8: whatever is pending is abandoned, no leg B is ever made.
        E::NoRoute | E::Cancelled | E::Bye(Side::A) | E::Operator => (S::Ending, &[O::Reject]),
        E::Referred(by) => (S::Routing, transfer::refuse_refer(by)),
        E::Opened
        | E::NoPorts
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Answered
        | E::BadAnswer
        | E::Acked(_)
        | E::Lost(_)
        | E::Bye(Side::B)
        | E::Offered(_)
        | E::BadAck(_)
        | E::Overtook(_)
        | E::OfferWithdrawn(_)
        | E::Agreed(_)
        | E::NotPutBack(_)
        | E::CanOffer(_)
        | E::SessionExpired(_)
        | E::OfferAccepted
        | E::OfferRefused
        | E::Pracked
        | E::NoPrack
        | E::Silent(_)
        | E::LegsOver
        | E::MediaClosed
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy => (S::Routing, &[]),
    }
}

fn opening(event: Event) -> (State, &'static [Order]) {
    match event {
        E::Opened => (S::Resolving, &[O::NextTarget]),
        // Ports run out before anything rings.
        E::NoPorts => (S::Ending, &[O::Reject]),
        E::Cancelled | E::Bye(Side::A) | E::Operator => (S::Ending, &[O::Reject, O::CloseMedia]),
        E::Referred(by) => (S::Opening, transfer::refuse_refer(by)),
        E::Routed
        | E::NoRoute
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Answered
        | E::BadAnswer
        | E::Acked(_)
        | E::Lost(_)
        | E::Bye(Side::B)
        | E::Offered(_)
        | E::BadAck(_)
        | E::Overtook(_)
        | E::OfferWithdrawn(_)
        | E::Agreed(_)
        | E::NotPutBack(_)
        | E::CanOffer(_)
        | E::SessionExpired(_)
        | E::OfferAccepted
        | E::OfferRefused
        | E::Pracked
        | E::NoPrack
        | E::Silent(_)
        | E::LegsOver
        | E::MediaClosed
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy => (S::Opening, &[]),
    }
}

fn resolving(event: Event) -> (State, &'static [Order]) {
    match event {
        E::Resolved => (S::Calling, &[O::Invite]),
        E::TargetFailed | E::BranchFailed => (S::Resolving, &[O::RecordAttempt, O::NextTarget]),
        E::Refused | E::Cancelled | E::Bye(Side::A) | E::NoPrack | E::Operator => {
            (S::Ending, &[O::Reject, O::DropBranches, O::CloseMedia])
        }
        E::Referred(by) => (S::Resolving, transfer::refuse_refer(by)),
        // An UPDATE of the caller while the next target is looked for.
        E::Offered(_) | E::OfferWithdrawn(_) | E::OfferRefused => (S::Resolving, &[O::RefuseEarlyOffer]),
        E::OfferAccepted => (S::Resolving, &[O::AnswerEarlyOffer]),
        E::Routed
        | E::NoRoute
        | E::Opened
        | E::NoPorts
        | E::Progress
        | E::Answered
        | E::BadAnswer
        | E::Acked(_)
        | E::Lost(_)
        | E::Bye(Side::B)
        | E::BadAck(_)
        | E::Overtook(_)
        | E::Agreed(_)
        | E::NotPutBack(_)
        | E::CanOffer(_)
        | E::SessionExpired(_)
        | E::Pracked
        | E::Silent(_)
        | E::LegsOver
        | E::MediaClosed
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy => (S::Resolving, &[]),
    }
}

/// `Calling` and `Ringing`: leg B, or one of several, has its INVITE and gave no final response.
fn inviting(state: State, event: Event) -> (State, &'static [Order]) {
    match event {
        E::Progress => (S::Ringing, &[O::RelayProgress]),
        // Row C12: who else is called learns that the call was completed elsewhere.
        E::Answered => (S::Answered, &[O::RelayAnswer, O::DropBranches]),
        // A target that is given up while it may still answer is hung up: CANCEL, or ACK and BYE (rows C1 to C6).
        E::TargetFailed => (S::Resolving, &[O::HangUp(Side::B), O::RecordAttempt, O::NextTarget]),
        E::BranchFailed => (state, &[O::HangUp(Side::B), O::RecordAttempt, O::NextTarget]),
        // A branch whose address was being found, or the next of its line, while others ring.
        E::Resolved => (state, &[O::Invite]),
        E::Refused | E::BadAnswer | E::Cancelled | E::Bye(Side::A) | E::NoPrack | E::Operator => {
            (S::Ending, &[O::Reject, O::HangUp(Side::B), O::DropBranches, O::CloseMedia])
        }
        E::Pracked => (state, &[O::RelayPrack]),
        E::Offered(by) => {
            (state, by_side(by, &[O::RelayEarlyOffer(Side::A)], &[O::RelayEarlyOffer(Side::B)]))
        }
        E::OfferAccepted => (state, &[O::AnswerEarlyOffer]),
        E::OfferRefused | E::OfferWithdrawn(_) => (state, &[O::RefuseEarlyOffer]),
        // The callee answered and left again while its 2xx waited for ports or for a PRACK of the caller.
        E::Bye(Side::B) => (S::Ending, &[O::Reject, O::HangUp(Side::B), O::DropBranches, O::CloseMedia]),
        // More streams than the first description had: the answer waits for ports and comes again as `Answered`.
        E::Opened => (state, &[]),
        E::NoPorts => (S::Ending, &[O::Reject, O::HangUp(Side::B), O::DropBranches, O::CloseMedia]),
        E::Referred(by) => (state, transfer::refuse_refer(by)),
        E::Routed
        | E::NoRoute
        | E::Acked(_)
        | E::Lost(_)
        | E::BadAck(_)
        | E::Overtook(_)
        | E::Agreed(_)
        | E::NotPutBack(_)
        | E::CanOffer(_)
        | E::SessionExpired(_)
        | E::Silent(_)
        | E::LegsOver
        | E::MediaClosed
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy => (state, &[]),
    }
}

fn answered(event: Event) -> (State, &'static [Order]) {
    match event {
        E::Acked(Side::A) => (S::Up, &[O::RelayAck, O::WatchMedia]),
        // A lost side is hung up, too: what it does not know now it may learn from the next repetition of the 2xx.
        E::Bye(Side::A) | E::Lost(Side::A) => {
            (S::Ending, &[O::HangUp(Side::A), O::HangUp(Side::B), O::CloseMedia])
        }
        E::Bye(Side::B) | E::Lost(Side::B) => {
            (S::Ending, &[O::HangUp(Side::B), O::HangUp(Side::A), O::CloseMedia])
        }
        E::Operator | E::Silent(_) | E::BadAnswer | E::BadAck(_) | E::SessionExpired(_) => {
            (S::Ending, &[O::HangUp(Side::A), O::HangUp(Side::B), O::CloseMedia])
        }
        // The callee may not renegotiate what the caller has not yet acknowledged.
        E::Offered(Side::B) | E::Overtook(Side::B) => (S::Answered, &[O::RefuseOffer(Side::B)]),
        E::Offered(Side::A) | E::Overtook(Side::A) => (S::Answered, &[O::RefuseOffer(Side::A)]),
        // Row S2: the 200 was faster.
        E::Cancelled => (S::Answered, &[]),
        E::Referred(by) => (S::Answered, transfer::refuse_refer(by)),
        // What was offered before the 2xx and is answered after it.
        E::OfferAccepted => (S::Answered, &[O::AnswerEarlyOffer]),
        E::OfferRefused | E::OfferWithdrawn(_) => (S::Answered, &[O::RefuseEarlyOffer]),
        E::Routed
        | E::NoRoute
        | E::Opened
        | E::NoPorts
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Answered
        | E::Acked(Side::B)
        | E::Agreed(_)
        | E::NotPutBack(_)
        | E::CanOffer(_)
        | E::Pracked
        | E::NoPrack
        | E::LegsOver
        | E::MediaClosed
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy => (S::Answered, &[]),
    }
}

fn up(event: Event) -> (State, &'static [Order]) {
    match event {
        E::Offered(Side::A) | E::Overtook(Side::A) => (S::Offering(Side::A), &[O::RelayOffer(Side::A)]),
        E::Offered(Side::B) | E::Overtook(Side::B) => (S::Offering(Side::B), &[O::RelayOffer(Side::B)]),
        E::Acked(Side::A) => (S::Up, &[O::RelayOfferAck(Side::A)]),
        E::Acked(Side::B) => (S::Up, &[O::RelayOfferAck(Side::B)]),
        E::Agreed(Side::A) => (S::Up, &[O::TakeAnswer(Side::A)]),
        E::Agreed(Side::B) => (S::Up, &[O::TakeAnswer(Side::B)]),
        E::Bye(Side::A) | E::Lost(Side::A) => {
            (S::Ending, &[O::HangUp(Side::A), O::HangUp(Side::B), O::CloseMedia])
        }
        E::Bye(Side::B) | E::Lost(Side::B) => {
            (S::Ending, &[O::HangUp(Side::B), O::HangUp(Side::A), O::CloseMedia])
        }
        // What the sides have agreed with the box is not the same any more, or not alive.
        E::Operator
        | E::Silent(_)
        | E::BadAnswer
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_) => (S::Ending, &[O::HangUp(Side::A), O::HangUp(Side::B), O::CloseMedia]),
        E::Referred(Side::A) => (S::Transferring(Side::A), &[O::AcceptRefer(Side::A)]),
        E::Referred(Side::B) => (S::Transferring(Side::B), &[O::AcceptRefer(Side::B)]),
        E::Claimed(side) => (S::Yielding(side), &[]),
        E::Replaced(Side::A) => (S::Replacing(Side::A), &[O::OfferReplacement(Side::A)]),
        E::Replaced(Side::B) => (S::Replacing(Side::B), &[O::OfferReplacement(Side::B)]),
        // What was offered before the 2xx and is answered after it.
        E::OfferAccepted => (S::Up, &[O::AnswerEarlyOffer]),
        E::OfferRefused | E::OfferWithdrawn(_) => (S::Up, &[O::RefuseEarlyOffer]),
        E::Routed
        | E::NoRoute
        | E::Opened
        | E::NoPorts
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Answered
        | E::Cancelled
        | E::CanOffer(_)
        | E::Pracked
        | E::NoPrack
        | E::LegsOver
        | E::MediaClosed
        | E::JoinBusy => (S::Up, &[]),
    }
}

/// An offer of `side` waits for the other leg's answer, for that leg to be free, or for ports.
fn offering(side: Side, event: Event) -> (State, &'static [Order]) {
    let other = side.other();
    match event {
        E::OfferAccepted => {
            (S::Up, by_side(side, &[O::RelayOfferAnswer(Side::A)], &[O::RelayOfferAnswer(Side::B)]))
        }
        // The session stays as it was and the code crosses.
        E::OfferRefused | E::NoPorts => {
            (S::Up, by_side(side, &[O::RefuseOffer(Side::A)], &[O::RefuseOffer(Side::B)]))
        }
        // The other side has accepted what this box cannot pass on.
        E::BadAnswer => (
            S::Up,
            by_side(
                side,
                &[O::RefuseOffer(Side::A), O::PutBack(Side::B)],
                &[O::RefuseOffer(Side::B), O::PutBack(Side::A)],
            ),
        ),
        E::OfferWithdrawn(by) if by == side => (
            S::Up,
            by_side(
                side,
                &[O::RefuseOffer(Side::A), O::WithdrawOffer(Side::B)],
                &[O::RefuseOffer(Side::B), O::WithdrawOffer(Side::A)],
            ),
        ),
        // What the other side offered before the call was answered, and nobody answered in time, held its leg. Or that leg was held
        // by a refresh of the box, which gives way to an offer, so that no news of its end will come.
        E::OfferWithdrawn(by) | E::Offered(by) if by == other => (
            S::Offering(side),
            by_side(
                side,
                &[O::RefuseOffer(Side::B), O::RelayOffer(Side::A)],
                &[O::RefuseOffer(Side::A), O::RelayOffer(Side::B)],
            ),
        ),
        // New streams have their ports now, or the other leg is free.
        E::Opened => (S::Offering(side), by_side(side, &[O::RelayOffer(Side::A)], &[O::RelayOffer(Side::B)])),
        E::CanOffer(free) | E::Acked(free) if free == other => {
            (S::Offering(side), by_side(side, &[O::RelayOffer(Side::A)], &[O::RelayOffer(Side::B)]))
        }
        E::Agreed(free) if free == other => (
            S::Offering(side),
            by_side(
                side,
                &[O::TakeAnswer(Side::B), O::RelayOffer(Side::A)],
                &[O::TakeAnswer(Side::A), O::RelayOffer(Side::B)],
            ),
        ),
        E::Bye(_)
        | E::Lost(_)
        | E::Operator
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_) => (S::Ending, &[O::HangUp(Side::A), O::HangUp(Side::B), O::CloseMedia]),
        // Glare is refused by the leg that is being offered to; what comes here came before that was known.
        E::Referred(by) => (S::Offering(side), transfer::refuse_refer(by)),
        // Both offered and each refused the other's: the one that is here again first is carried, and the side whose
        // offer waited is told to try once more (RFC 3261 §14.1).
        E::Overtook(by) if by == other => (
            S::Offering(other),
            by_side(
                side,
                &[O::RefuseOffer(Side::A), O::RelayOffer(Side::B)],
                &[O::RefuseOffer(Side::B), O::RelayOffer(Side::A)],
            ),
        ),
        E::Offered(_)
        | E::OfferWithdrawn(_)
        | E::Overtook(_)
        | E::Agreed(_)
        | E::CanOffer(_)
        | E::Acked(_)
        | E::Routed
        | E::NoRoute
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Answered
        | E::Cancelled
        | E::Pracked
        | E::NoPrack
        | E::LegsOver
        | E::MediaClosed
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy => (S::Offering(side), &[]),
    }
}

fn by_side(side: Side, a: &'static [Order], b: &'static [Order]) -> &'static [Order] {
    match side {
        Side::A => a,
        Side::B => b,
    }
}

fn ending(event: Event) -> (State, &'static [Order]) {
    match event {
        E::LegsOver => (S::Settling, &[O::CloseMedia]),
        // Ports that came too late go back at once.
        E::Opened => (S::Ending, &[O::CloseMedia]),
        E::Referred(by) => (S::Ending, transfer::refuse_refer(by)),
        E::Routed
        | E::NoRoute
        | E::NoPorts
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Answered
        | E::BadAnswer
        | E::Cancelled
        | E::Acked(_)
        | E::Lost(_)
        | E::Bye(_)
        | E::Offered(_)
        | E::BadAck(_)
        | E::Overtook(_)
        | E::OfferWithdrawn(_)
        | E::Agreed(_)
        | E::NotPutBack(_)
        | E::CanOffer(_)
        | E::SessionExpired(_)
        | E::OfferAccepted
        | E::OfferRefused
        | E::Pracked
        | E::NoPrack
        | E::Silent(_)
        | E::Operator
        | E::MediaClosed
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy => (S::Ending, &[]),
    }
}

fn settling(event: Event) -> (State, &'static [Order]) {
    match event {
        E::MediaClosed => (S::Over, &[O::Finish]),
        E::Opened => (S::Settling, &[O::CloseMedia]),
        E::Referred(by) => (S::Settling, transfer::refuse_refer(by)),
        E::Routed
        | E::NoRoute
        | E::NoPorts
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Answered
        | E::BadAnswer
        | E::Cancelled
        | E::Acked(_)
        | E::Lost(_)
        | E::Bye(_)
        | E::Offered(_)
        | E::BadAck(_)
        | E::Overtook(_)
        | E::OfferWithdrawn(_)
        | E::Agreed(_)
        | E::NotPutBack(_)
        | E::CanOffer(_)
        | E::SessionExpired(_)
        | E::OfferAccepted
        | E::OfferRefused
        | E::Pracked
        | E::NoPrack
        | E::Silent(_)
        | E::Operator
        | E::LegsOver
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy => (S::Settling, &[]),
    }
}
