//! Which cells of the tables a Core has been through.
//!
//! A table proves something only where its cells were seen at work. With the feature `coverage`, which the simulator
//! switches on, a Core counts every (state, event) of the bridge, every (state, input) of its legs and every (state,
//! input) of their re-INVITEs. Without the feature nothing is counted and nothing is paid.
//!
//! Each axis below is one list, from which its numbers and its names are made; the compiler says when a new state or
//! event is missing in it. What the sweep never reaches must be explained in `tests/simulation/unreachable.md`.

use crate::wire::Purpose;

/// What comes to a leg from outside, and what the bridge orders it to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegInput {
    /// 100 to its INVITE.
    InviteTrying,
    /// 101 to 199 to its INVITE.
    InviteProgress,
    /// 2xx to its INVITE.
    InviteSuccess,
    /// 401 or 407 to its INVITE.
    InviteChallenge,
    /// Any other final response to its INVITE.
    InviteFailure,
    /// No final response to its INVITE in time.
    InviteSilence,
    /// Its INVITE could not be sent.
    InviteUndeliverable,
    /// 2xx to its INVITE of which no transaction knows any more.
    StraySuccess,
    /// Provisional response to its re-INVITE.
    ReinviteProgress,
    /// 2xx to its re-INVITE.
    ReinviteSuccess,
    /// 408 or 481 to its re-INVITE.
    ReinviteLost,
    /// Any other final response to its re-INVITE.
    ReinviteFailure,
    /// No response to its re-INVITE, or it could not be sent.
    ReinviteSilence,
    /// Response to its BYE.
    ByeResponse,
    /// No response to its BYE, or it could not be sent.
    ByeSilence,
    /// Response to its PRACK.
    PrackResponse,
    /// No response to its PRACK, or it could not be sent.
    PrackSilence,
    /// Response to a request that it carried over.
    CarryResponse,
    /// 408 or 481 to a request that it carried over.
    CarryLost,
    /// No response to a request that it carried over, or it could not be sent.
    CarrySilence,
    /// Response to its NOTIFY.
    NotifyResponse,
    /// No response to its NOTIFY, or it could not be sent.
    NotifySilence,
    /// Its own deadline has come.
    Timer,
    /// ACK of the peer.
    Ack,
    /// BYE of the peer.
    Bye,
    /// Re-INVITE of the peer.
    Reinvite,
    /// UPDATE of the peer.
    Update,
    /// CANCEL of the peer's re-INVITE.
    CancelOffer,
    /// PRACK of the peer that matches what was sent.
    Prack,
    /// Another request of the peer.
    Request,
    /// Order: pass a provisional response on.
    Progress,
    /// Order: answer the caller.
    Answer,
    /// Order: refuse the caller.
    Reject,
    /// Order: end, whatever it takes.
    HangUp,
    /// Order: acknowledge the callee's 2xx.
    Acknowledge,
    /// Order: offer what the other leg offers.
    Offer,
    /// Order: take the other leg's offer back.
    Withdraw,
    /// Order: go back to the description that both sides had.
    PutBack,
    /// Order: answer the peer's offer.
    AnswerOffer,
    /// Order: refuse the peer's offer.
    RejectOffer,
    /// Order: carry a request of the other leg over.
    Carry,
}

impl LegInput {
    /// A response to what the leg sent for this purpose.
    pub(crate) fn response(purpose: Purpose, status: u16) -> LegInput {
        match (purpose, status) {
            (Purpose::Invite, ..=100) => LegInput::InviteTrying,
            (Purpose::Invite, 101..=199) => LegInput::InviteProgress,
            (Purpose::Invite, 200..=299) => LegInput::InviteSuccess,
            (Purpose::Invite, 401 | 407) => LegInput::InviteChallenge,
            (Purpose::Invite, 300..) => LegInput::InviteFailure,
            (Purpose::Offer, ..=199) => LegInput::ReinviteProgress,
            (Purpose::Offer, 200..=299) => LegInput::ReinviteSuccess,
            (Purpose::Offer, 408 | 481) => LegInput::ReinviteLost,
            (Purpose::Offer, 300..) => LegInput::ReinviteFailure,
            (Purpose::Bye, _) => LegInput::ByeResponse,
            (Purpose::Prack, _) => LegInput::PrackResponse,
            (Purpose::Notify, _) => LegInput::NotifyResponse,
            (Purpose::Carry(_) | Purpose::Info, 408 | 481) => LegInput::CarryLost,
            (Purpose::Carry(_) | Purpose::Info, _) => LegInput::CarryResponse,
        }
    }

    /// No response came in time (408), or the request could not be sent (503).
    pub(crate) fn no_response(purpose: Purpose, status: u16) -> LegInput {
        match purpose {
            Purpose::Invite if status == 503 => LegInput::InviteUndeliverable,
            Purpose::Invite => LegInput::InviteSilence,
            Purpose::Offer => LegInput::ReinviteSilence,
            Purpose::Bye => LegInput::ByeSilence,
            Purpose::Prack => LegInput::PrackSilence,
            Purpose::Notify => LegInput::NotifySilence,
            Purpose::Carry(_) | Purpose::Info => LegInput::CarrySilence,
        }
    }
}

#[cfg(not(feature = "coverage"))]
mod silent {
    use super::LegInput;
    use crate::bridge::table::{Event, State};
    use crate::leg::Leg;

    /// Counts nothing.
    #[derive(Default)]
    pub(crate) struct Coverage {}

    impl Coverage {
        #[inline(always)]
        pub(crate) fn bridge(&mut self, _state: State, _event: Event) {}

        #[inline(always)]
        pub(crate) fn leg(&mut self, _leg: &Leg, _input: LegInput) {}
    }
}

#[cfg(not(feature = "coverage"))]
pub(crate) use silent::Coverage;

#[cfg(feature = "coverage")]
pub use counting::{Cell, Coverage};

#[cfg(feature = "coverage")]
mod counting {
    use super::LegInput;
    use crate::bridge::table::{Event, State};
    use crate::leg::{Exchange, Leg, LegState};
    use crate::media::Side;

    /// One axis of a table: its names, and the place of a value on it.
    macro_rules! axis {
        ($names:ident, $place:ident($type:ty) { $($pattern:pat => $name:ident),+ $(,)? }) => {
            const $names: &[&str] = &[$(stringify!($name)),+];

            fn $place(value: &$type) -> usize {
                enum Place { $($name),+ }
                (match value { $($pattern => Place::$name),+ }) as usize
            }
        };
    }

    axis!(STATES, state(State) {
        State::Routing => Routing,
        State::Opening => Opening,
        State::Resolving => Resolving,
        State::Calling => Calling,
        State::Ringing => Ringing,
        State::Answered => Answered,
        State::Up => Up,
        State::Offering(Side::A) => OfferingA,
        State::Offering(Side::B) => OfferingB,
        State::Transferring(_) => Transferring,
        State::TransferringAlone(_) => TransferringAlone,
        State::Rejoining(_) => Rejoining,
        State::JoinWaiting(_) => JoinWaiting,
        State::Yielding(_) => Yielding,
        State::YieldingAlone(_) => YieldingAlone,
        State::Replacing(_) => Replacing,
        State::ReplacingAlone(_) => ReplacingAlone,
        State::Reverting(_) => Reverting,
        State::Ending => Ending,
        State::Restoring => Restoring,
        State::Settling => Settling,
        State::Over => Over,
    });

    axis!(EVENTS, event(Event) {
        Event::Routed => Routed,
        Event::NoRoute => NoRoute,
        Event::Opened => Opened,
        Event::NoPorts => NoPorts,
        Event::Resolved => Resolved,
        Event::TargetFailed => TargetFailed,
        Event::BranchFailed => BranchFailed,
        Event::Refused => Refused,
        Event::Progress => Progress,
        Event::Answered => Answered,
        Event::BadAnswer => BadAnswer,
        Event::Cancelled => Cancelled,
        Event::Acked(Side::A) => AckedA,
        Event::Acked(Side::B) => AckedB,
        Event::Lost(Side::A) => LostA,
        Event::Lost(Side::B) => LostB,
        Event::Bye(Side::A) => ByeA,
        Event::Bye(Side::B) => ByeB,
        Event::Offered(Side::A) => OfferedA,
        Event::Offered(Side::B) => OfferedB,
        Event::Overtook(Side::A) => OvertookA,
        Event::Overtook(Side::B) => OvertookB,
        Event::OfferWithdrawn(Side::A) => OfferWithdrawnA,
        Event::OfferWithdrawn(Side::B) => OfferWithdrawnB,
        Event::BadAck(Side::A) => BadAckA,
        Event::BadAck(Side::B) => BadAckB,
        Event::OfferAccepted => OfferAccepted,
        Event::OfferRefused => OfferRefused,
        Event::Agreed(Side::A) => AgreedA,
        Event::Agreed(Side::B) => AgreedB,
        Event::NotPutBack(Side::A) => NotPutBackA,
        Event::NotPutBack(Side::B) => NotPutBackB,
        Event::CanOffer(Side::A) => CanOfferA,
        Event::CanOffer(Side::B) => CanOfferB,
        Event::SessionExpired(Side::A) => SessionExpiredA,
        Event::SessionExpired(Side::B) => SessionExpiredB,
        Event::Pracked => Pracked,
        Event::NoPrack => NoPrack,
        Event::Silent(Side::A) => SilentA,
        Event::Silent(Side::B) => SilentB,
        Event::Referred(_) => Referred,
        Event::Claimed(_) => Claimed,
        Event::Replaced(_) => Replaced,
        Event::JoinBusy => JoinBusy,
        Event::Operator => Operator,
        Event::LegsOver => LegsOver,
        Event::MediaClosed => MediaClosed,
    });

    axis!(LEG_STATES, leg_state(LegState) {
        LegState::Invited { .. } => Invited,
        LegState::Answered { .. } => Answered,
        LegState::AnsweredLeaving { .. } => AnsweredLeaving,
        LegState::Calling { .. } => Calling,
        LegState::Proceeding { .. } => Proceeding,
        LegState::CancelWaiting { .. } => CancelWaiting,
        LegState::Cancelling { .. } => Cancelling,
        LegState::AckDue { .. } => AckDue,
        LegState::Up => Up,
        LegState::Leaving => Leaving,
        LegState::Ghost { .. } => Ghost,
        LegState::Gone => Gone,
    });

    axis!(EXCHANGES, exchange(Exchange) {
        Exchange::Idle => Idle,
        Exchange::PeerOffers { .. } => PeerOffers,
        Exchange::PeerAnswered { .. } => PeerAnswered,
        Exchange::WeOffer { .. } => WeOffer,
        Exchange::AckDue { .. } => AckDue,
        Exchange::WithdrawWaiting { .. } => WithdrawWaiting,
        Exchange::Withdrawing { .. } => Withdrawing,
        Exchange::BackOff { .. } => BackOff,
    });

    axis!(INPUTS, input(LegInput) {
        LegInput::InviteTrying => InviteTrying,
        LegInput::InviteProgress => InviteProgress,
        LegInput::InviteSuccess => InviteSuccess,
        LegInput::InviteChallenge => InviteChallenge,
        LegInput::InviteFailure => InviteFailure,
        LegInput::InviteSilence => InviteSilence,
        LegInput::InviteUndeliverable => InviteUndeliverable,
        LegInput::StraySuccess => StraySuccess,
        LegInput::ReinviteProgress => ReinviteProgress,
        LegInput::ReinviteSuccess => ReinviteSuccess,
        LegInput::ReinviteLost => ReinviteLost,
        LegInput::ReinviteFailure => ReinviteFailure,
        LegInput::ReinviteSilence => ReinviteSilence,
        LegInput::ByeResponse => ByeResponse,
        LegInput::ByeSilence => ByeSilence,
        LegInput::PrackResponse => PrackResponse,
        LegInput::PrackSilence => PrackSilence,
        LegInput::CarryResponse => CarryResponse,
        LegInput::CarryLost => CarryLost,
        LegInput::CarrySilence => CarrySilence,
        LegInput::NotifyResponse => NotifyResponse,
        LegInput::NotifySilence => NotifySilence,
        LegInput::Timer => Timer,
        LegInput::Ack => Ack,
        LegInput::Bye => Bye,
        LegInput::Reinvite => Reinvite,
        LegInput::Update => Update,
        LegInput::CancelOffer => CancelOffer,
        LegInput::Prack => Prack,
        LegInput::Request => Request,
        LegInput::Progress => Progress,
        LegInput::Answer => Answer,
        LegInput::Reject => Reject,
        LegInput::HangUp => HangUp,
        LegInput::Acknowledge => Acknowledge,
        LegInput::Offer => Offer,
        LegInput::Withdraw => Withdraw,
        LegInput::PutBack => PutBack,
        LegInput::AnswerOffer => AnswerOffer,
        LegInput::RejectOffer => RejectOffer,
        LegInput::Carry => Carry,
    });

    /// The inputs that a re-INVITE under way has anything to do with.
    const OF_EXCHANGES: &[&str] = &[
        "ReinviteProgress",
        "ReinviteSuccess",
        "ReinviteLost",
        "ReinviteFailure",
        "ReinviteSilence",
        "Timer",
        "Ack",
        "Bye",
        "Reinvite",
        "Update",
        "CancelOffer",
        "HangUp",
        "Acknowledge",
        "Offer",
        "Withdraw",
        "PutBack",
        "AnswerOffer",
        "RejectOffer",
    ];

    /// How often each cell of each table was reached.
    #[derive(Clone, Debug)]
    pub struct Coverage {
        bridge: Table,
        legs: Table,
        exchanges: Table,
    }

    #[derive(Clone, Debug)]
    struct Table {
        name: &'static str,
        rows: &'static [&'static str],
        columns: &'static [&'static str],
        times: Box<[u64]>,
    }

    /// One cell of a table.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Cell {
        /// `bridge`, `leg` or `exchange`.
        pub table: &'static str,
        /// The state.
        pub state: &'static str,
        /// The event or input.
        pub event: &'static str,
        /// How often it was reached.
        pub times: u64,
    }

    impl Table {
        fn new(name: &'static str, rows: &'static [&'static str], columns: &'static [&'static str]) -> Table {
            Table { name, rows, columns, times: vec![0; rows.len() * columns.len()].into_boxed_slice() }
        }

        fn count(&mut self, row: usize, column: usize) {
            if let Some(times) = self.times.get_mut(row * self.columns.len() + column) {
                *times += 1;
            }
        }

        fn add(&mut self, other: &Table) {
            self.times.iter_mut().zip(&other.times).for_each(|(times, more)| *times += more);
        }

        fn cells(&self) -> impl Iterator<Item = Cell> {
            let places =
                self.rows.iter().flat_map(|state| self.columns.iter().map(move |event| (state, event)));
            places.zip(&self.times).map(|((state, event), times)| Cell {
                table: self.name,
                state,
                event,
                times: *times,
            })
        }
    }

    impl Default for Coverage {
        fn default() -> Coverage {
            Coverage {
                bridge: Table::new("bridge", STATES, EVENTS),
                legs: Table::new("leg", LEG_STATES, INPUTS),
                exchanges: Table::new("exchange", EXCHANGES, INPUTS),
            }
        }
    }

    impl Coverage {
        pub(crate) fn bridge(&mut self, at: State, of: Event) {
            self.bridge.count(state(&at), event(&of));
        }

        pub(crate) fn leg(&mut self, leg: &Leg, of: LegInput) {
            self.legs.count(leg_state(&leg.state), input(&of));
            // Before and after the dialog there is no re-INVITE to speak of.
            if let LegState::Up = leg.state {
                self.exchanges.count(exchange(&leg.exchange), input(&of));
            }
        }

        /// Adds what another Core has been through.
        pub fn add(&mut self, other: &Coverage) {
            self.bridge.add(&other.bridge);
            self.legs.add(&other.legs);
            self.exchanges.add(&other.exchanges);
        }

        /// Every cell of every table.
        pub fn cells(&self) -> impl Iterator<Item = Cell> {
            let exchanges = self.exchanges.cells().filter(|cell| OF_EXCHANGES.contains(&cell.event));
            self.bridge.cells().chain(self.legs.cells()).chain(exchanges)
        }
    }
}
