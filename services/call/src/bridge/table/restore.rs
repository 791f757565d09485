//! A call of the process before this one, while its ports are asked for.

use super::transfer;
use super::{Event, Order, State};
use crate::media::Side;

use Event as E;
use Order as O;
use State as S;

pub(super) fn restoring(event: Event) -> (State, &'static [Order]) {
    match event {
        E::Opened => (S::Up, &[O::ResumeMedia, O::WatchMedia]),
        // Without its media there is nothing to go on with; where the sides have left anyway the same is due.
        E::NoPorts | E::Operator | E::SessionExpired(_) | E::Bye(Side::A) | E::Lost(Side::A) => {
            (S::Ending, &[O::HangUp(Side::A), O::HangUp(Side::B), O::CloseMedia])
        }
        E::Bye(Side::B) | E::Lost(Side::B) => {
            (S::Ending, &[O::HangUp(Side::B), O::HangUp(Side::A), O::CloseMedia])
        }
        E::Offered(Side::A) | E::Overtook(Side::A) => (S::Restoring, &[O::RefuseOffer(Side::A)]),
        E::Offered(Side::B) | E::Overtook(Side::B) => (S::Restoring, &[O::RefuseOffer(Side::B)]),
        E::Referred(by) => (S::Restoring, transfer::refuse_refer(by)),
        E::Routed
        | E::NoRoute
        | E::Resolved
        | E::TargetFailed
        | E::BranchFailed
        | E::Refused
        | E::Progress
        | E::Answered
        | E::BadAnswer
        | E::Cancelled
        | E::Acked(_)
        | E::BadAck(_)
        | E::OfferWithdrawn(_)
        | E::OfferAccepted
        | E::OfferRefused
        | E::Agreed(_)
        | E::NotPutBack(_)
        | E::CanOffer(_)
        | E::Pracked
        | E::NoPrack
        | E::Silent(_)
        | E::Claimed(_)
        | E::Replaced(_)
        | E::JoinBusy
        | E::LegsOver
        | E::MediaClosed => (S::Restoring, &[]),
    }
}
