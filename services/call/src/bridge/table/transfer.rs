//! The part of the table in which one side of a call that is up gives its place to somebody else.
//!
//! A REFER (RFC 3515) names a target; the box calls it in the name of the side that stays and lets it take the place of
//! the side that asked, which may leave when it likes. An INVITE with Replaces (RFC 3891) takes a place by itself. And
//! a REFER that names a dialog of another call here takes the party opposite from that call.
//!
//! ```text
//!             ┌──────────── target refused ─────────────┐
//!             ▼                                         │
//!   Up ─REFER─▶ Transferring(T) ─2xx─▶ Rejoining(T) ──▶ Up
//!                  │ BYE of T             ▲   ▲  └─ refused ─▶ Ending
//!                  ▼                      │   └─ busy ─▶ JoinWaiting(T)
//!             TransferringAlone(T) ─2xx───┤ ──── target refused ─▶ Ending
//!                                         │
//!   Up ─INVITE─▶ Replacing(T) ─CANCEL─▶ Reverting(T)
//!                  │ BYE of T
//!                  ▼
//!             ReplacingAlone(T) ──2xx──▶ Up ──── not replaced ─▶ Ending
//!
//!   Up ─wanted─▶ Yielding(T) ─accepted─▶ Ending, without the party that was wanted
//! ```

use super::{Event as E, Order as O, State as S};
use crate::media::Side;

/// Orders in which `T` is this side and `R` the other.
macro_rules! orders {
    ($side:expr, $t:ident, $r:ident => [$($order:expr),* $(,)?]) => {
        match $side {
            Side::A => {
                #[allow(dead_code)]
                const $t: Side = Side::A;
                #[allow(dead_code)]
                const $r: Side = Side::B;
                &[$($order),*]
            }
            Side::B => {
                #[allow(dead_code)]
                const $t: Side = Side::B;
                #[allow(dead_code)]
                const $r: Side = Side::A;
                &[$($order),*]
            }
        }
    };
}

type Next = (S, &'static [O]);

/// A REFER that comes when no side may be exchanged.
pub(super) fn refuse_refer(by: Side) -> &'static [O] {
    orders!(by, T, R => [O::RefuseRefer(T)])
}

fn refuse_offer(by: Side) -> &'static [O] {
    orders!(by, T, R => [O::RefuseOffer(T)])
}

fn take_answer(by: Side) -> &'static [O] {
    orders!(by, T, R => [O::TakeAnswer(T)])
}

fn relay_ack(by: Side) -> &'static [O] {
    orders!(by, T, R => [O::RelayOfferAck(T)])
}

/// `side` sent the REFER and is still there.
pub(super) fn transferring(side: Side, event: E) -> Next {
    let stays = S::Transferring(side);
    match event {
        E::Routed => (stays, &[O::NextTarget]),
        E::Resolved => (stays, &[O::Invite]),
        E::TargetFailed | E::BranchFailed => (stays, &[O::DropTarget, O::NextTarget]),
        E::Progress => (stays, orders!(side, T, R => [O::NotifyProgress(T)])),
        // Nobody came: the two go on as before.
        E::NoRoute | E::Refused | E::BadAnswer | E::NoPorts => {
            (S::Up, orders!(side, T, R => [O::DropTarget, O::DropBranches, O::NotifyEnd(T), O::ResumeTalk]))
        }
        E::Answered => (
            S::Rejoining(side),
            orders!(side, T, R => [
                O::ReleaseAck(R), O::DropBranches, O::NotifyEnd(T), O::HangUp(T), O::Join(T), O::OfferJoin(T),
            ]),
        ),
        // Who asked for a transfer may leave at once; that must not end what it asked for.
        E::Bye(by) | E::Lost(by) | E::Silent(by) if by == side => (
            S::TransferringAlone(side),
            orders!(side, T, R => [O::ReleaseAck(R), O::HangUp(T), O::ForgetMedia(T)]),
        ),
        E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, abandon(side)),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
        E::Opened
        | E::Cancelled
        | E::OfferAccepted
        | E::OfferRefused
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::Pracked
        | E::NoPrack
        | E::MediaClosed => (stays, &[]),
    }
}

/// `side` sent the REFER and is gone: the other one waits for the target.
pub(super) fn transferring_alone(side: Side, event: E) -> Next {
    let stays = S::TransferringAlone(side);
    match event {
        E::Routed => (stays, &[O::NextTarget]),
        E::Resolved => (stays, &[O::Invite]),
        E::TargetFailed | E::BranchFailed => (stays, &[O::DropTarget, O::NextTarget]),
        E::Progress => (stays, orders!(side, T, R => [O::NotifyProgress(T)])),
        E::Answered => (
            S::Rejoining(side),
            orders!(side, T, R => [O::DropBranches, O::NotifyEnd(T), O::Join(T), O::OfferJoin(T)]),
        ),
        // There is nobody to go back to.
        E::NoRoute | E::Refused | E::BadAnswer | E::NoPorts => (S::Ending, abandon(side)),
        E::Silent(by) if by == side => (stays, &[]),
        E::Bye(by) | E::Lost(by) if by == side => (stays, &[]),
        E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, abandon(side)),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
        E::Opened
        | E::Cancelled
        | E::OfferAccepted
        | E::OfferRefused
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::Pracked
        | E::NoPrack
        | E::MediaClosed => (stays, &[]),
    }
}

/// The call ends while a target is looked for.
fn abandon(side: Side) -> &'static [O] {
    orders!(side, T, R => [
        O::DropTarget, O::DropBranches, O::NotifyEnd(T), O::ResumeTalk, O::HangUp(T), O::HangUp(R), O::CloseMedia,
    ])
}

const HANG_UP_BOTH: &[O] = &[O::HangUp(Side::A), O::HangUp(Side::B), O::CloseMedia];

/// The newcomer has `side`; the other side is offered what the newcomer described.
pub(super) fn rejoining(side: Side, event: E) -> Next {
    let stays = S::Rejoining(side);
    match event {
        E::OfferAccepted => (S::Up, orders!(side, T, R => [O::AcceptJoin(T)])),
        // The peer has an offer of its own out, or has not finished its last one (RFC 3261 §14.1).
        E::JoinBusy => (S::JoinWaiting(side), &[]),
        // A back-off is over; or the peer's own offer came first, which cannot be carried now.
        E::CanOffer(by) if by != side => (stays, orders!(side, T, R => [O::OfferJoin(T)])),
        E::Offered(by) | E::Overtook(by) if by != side => {
            (stays, orders!(side, T, R => [O::RefuseOffer(R), O::OfferJoin(T)]))
        }
        // Who cannot hear the newcomer is better told so than left in silence.
        E::OfferRefused
        | E::BadAnswer
        | E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, HANG_UP_BOTH),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
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
        | E::Claimed(_)
        | E::Replaced(_)
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::Pracked
        | E::NoPrack
        | E::MediaClosed => (stays, &[]),
    }
}

/// The newcomer has `side`; the other side is told as soon as an offer can be made to it.
pub(super) fn join_waiting(side: Side, event: E) -> Next {
    let stays = S::JoinWaiting(side);
    match event {
        E::Agreed(by) if by != side => {
            (S::Rejoining(side), orders!(side, T, R => [O::TakeAnswer(R), O::OfferJoin(T)]))
        }
        E::CanOffer(by) if by != side => (S::Rejoining(side), orders!(side, T, R => [O::OfferJoin(T)])),
        E::Acked(by) if by != side => {
            (S::Rejoining(side), orders!(side, T, R => [O::RelayOfferAck(R), O::OfferJoin(T)]))
        }
        E::Offered(by) | E::Overtook(by) if by != side => {
            (S::Rejoining(side), orders!(side, T, R => [O::RefuseOffer(R), O::OfferJoin(T)]))
        }
        // Who cannot hear the newcomer is better told so than left in silence.
        E::OfferRefused
        | E::BadAnswer
        | E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, HANG_UP_BOTH),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
        E::Routed
        | E::NoRoute
        | E::Opened
        | E::NoPorts
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Pracked
        | E::NoPrack
        | E::Answered
        | E::Cancelled
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::OfferAccepted
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::MediaClosed => (stays, &[]),
    }
}

/// The party opposite `side` was offered the description of somebody in another call.
pub(super) fn yielding(side: Side, event: E) -> Next {
    let stays = S::Yielding(side);
    match event {
        E::OfferAccepted => (S::Ending, orders!(side, T, R => [O::HandOver(T), O::HangUp(T), O::CloseMedia])),
        // The call that wanted the party is gone; the party may have accepted already.
        E::Cancelled => (S::Reverting(side), &[]),
        E::CanOffer(by) if by != side => (S::Up, &[O::Keep]),
        E::Overtook(by) if by != side => (S::Up, orders!(side, T, R => [O::RefuseOffer(R), O::Keep])),
        E::OfferRefused => (S::Up, &[O::Keep]),
        // It has accepted what this box cannot use.
        E::BadAnswer => (S::Up, orders!(side, T, R => [O::Keep, O::PutBack(R)])),
        E::Bye(by) | E::Lost(by) if by == side => {
            (S::YieldingAlone(side), orders!(side, T, R => [O::HangUp(T), O::ForgetMedia(T)]))
        }
        E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, keep_nothing(side)),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
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
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::Pracked
        | E::NoPrack
        | E::MediaClosed => (stays, &[]),
    }
}

/// The same, with `side` gone.
pub(super) fn yielding_alone(side: Side, event: E) -> Next {
    let stays = S::YieldingAlone(side);
    match event {
        E::OfferAccepted => (S::Ending, orders!(side, T, R => [O::HandOver(T), O::CloseMedia])),
        E::Cancelled => (S::Ending, HANG_UP_BOTH),
        E::CanOffer(by) | E::Overtook(by) if by != side => (S::Ending, keep_nothing(side)),
        E::Silent(by) if by == side => (stays, &[]),
        E::Bye(by) | E::Lost(by) if by == side => (stays, &[]),
        E::OfferRefused
        | E::BadAnswer
        | E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, keep_nothing(side)),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
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
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::Pracked
        | E::NoPrack
        | E::MediaClosed => (stays, &[]),
    }
}

fn keep_nothing(side: Side) -> &'static [O] {
    orders!(side, T, R => [O::Keep, O::HangUp(T), O::HangUp(R), O::CloseMedia])
}

/// A caller with Replaces waits for what the side opposite `side` says to its description.
pub(super) fn replacing(side: Side, event: E) -> Next {
    let stays = S::Replacing(side);
    match event {
        E::OfferAccepted => (S::Up, orders!(side, T, R => [O::Replace(T)])),
        E::CanOffer(by) if by != side => (S::Up, &[O::RefuseReplacement]),
        E::Overtook(by) if by != side => {
            (S::Up, orders!(side, T, R => [O::RefuseReplacement, O::RefuseOffer(R)]))
        }
        E::OfferRefused => (S::Up, &[O::RefuseReplacement]),
        E::BadAnswer => (S::Up, orders!(side, T, R => [O::RefuseReplacement, O::PutBack(R)])),
        E::Cancelled => (S::Reverting(side), &[O::RefuseReplacement]),
        // Who transfers a call by way of a caller with Replaces may leave at once, as with a REFER.
        E::Bye(by) | E::Lost(by) if by == side => {
            (S::ReplacingAlone(side), orders!(side, T, R => [O::HangUp(T), O::ForgetMedia(T)]))
        }
        E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, replace_nobody(side)),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
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
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::Pracked
        | E::NoPrack
        | E::MediaClosed => (stays, &[]),
    }
}

/// The same, with `side` gone: only the newcomer is left to talk to.
pub(super) fn replacing_alone(side: Side, event: E) -> Next {
    let stays = S::ReplacingAlone(side);
    match event {
        E::OfferAccepted => (S::Up, orders!(side, T, R => [O::Replace(T)])),
        E::CanOffer(by) | E::Overtook(by) if by != side => (S::Ending, replace_nobody(side)),
        E::Silent(by) if by == side => (stays, &[]),
        E::Bye(by) | E::Lost(by) if by == side => (stays, &[]),
        E::OfferRefused
        | E::BadAnswer
        | E::Cancelled
        | E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, replace_nobody(side)),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
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
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::Pracked
        | E::NoPrack
        | E::MediaClosed => (stays, &[]),
    }
}

fn replace_nobody(side: Side) -> &'static [O] {
    orders!(side, T, R => [O::RefuseReplacement, O::HangUp(T), O::HangUp(R), O::CloseMedia])
}

/// Nobody takes the place of `side` any more, but the other side may have accepted the description of who would have.
pub(super) fn reverting(side: Side, event: E) -> Next {
    let stays = S::Reverting(side);
    match event {
        // It is told again what the one still there described.
        E::OfferAccepted => (S::Rejoining(side), orders!(side, T, R => [O::OfferJoin(T)])),
        E::OfferRefused => (S::Up, &[O::ResumeTalk]),
        E::BadAnswer => (S::Up, orders!(side, T, R => [O::ResumeTalk, O::PutBack(R)])),
        E::CanOffer(by) if by != side => (S::Up, &[O::ResumeTalk]),
        E::Overtook(by) if by != side => (S::Up, orders!(side, T, R => [O::RefuseOffer(R), O::ResumeTalk])),
        E::Bye(_)
        | E::Lost(_)
        | E::Silent(_)
        | E::BadAck(_)
        | E::NotPutBack(_)
        | E::SessionExpired(_)
        | E::Operator => (S::Ending, HANG_UP_BOTH),
        E::Offered(by) | E::Overtook(by) => (stays, refuse_offer(by)),
        E::Agreed(by) => (stays, take_answer(by)),
        E::Acked(by) => (stays, relay_ack(by)),
        E::Referred(by) => (stays, refuse_refer(by)),
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
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::OfferWithdrawn(_)
        | E::CanOffer(_)
        | E::LegsOver
        | E::Pracked
        | E::NoPrack
        | E::MediaClosed => (stays, &[]),
    }
}
