//! The non-INVITE server transaction (RFC 3261 §17.2.2 as changed by RFC 4320).

use super::timers::{Fired, Timers, Timing};
use super::{Class, Step, Tell};
use crate::Time;

// RFC 3261 Figure 8. Timers in (brackets).
//
//                        request, to the TU
//                               |
//                               v        request again: nothing
//                         +----------+ -----+
//              +--------- |  Trying  | <----+
//              |   100    +----------+ --------------------------+
//              |   send     |                                    |
//              v            |                                    |
//       +------------+      | 200-699                            |
//   +-> | Proceeding | -----|----------------------------------->|
//   |   +------------+      | send        (64·T1), to the TU     |
//   |      |     |          v                                    |
//   +------+     |     +-----------+                             |
//   request or   +---> | Completed | ---+                        v
//   100: send  200-699 |           |    | request           +------------+
//              send    +-----------+ <--+ send again        | Terminated |
//                          |                                +------------+
//                          +--------------------------------------^
//                            (J) or transport error
//
// (J) 64·T1, 0 if reliable. A transport error in Trying, Proceeding and Completed ends it and is told to the TU.
// RFC 4320 §4: no provisional but 100, no 408, and nothing at all once the client's Timer F must have fired.

/// The states of a [`NonInviteServer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonInviteServerState {
    /// Nothing was answered.
    Trying,
    /// A 100 was given.
    Proceeding,
    /// The final response was given; repeated requests get it again.
    Completed,
    /// Over.
    Terminated,
}

/// A request other than INVITE and ACK that was received.
#[derive(Clone, Copy, Debug)]
pub struct NonInviteServer {
    timers: Timers,
    state: NonInviteServerState,
}

#[derive(Clone, Copy)]
enum Event {
    Request,
    RespondTrying,
    RespondFinal,
    /// A response that RFC 4320 forbids.
    RespondForbidden,
    /// J, or the limit that RFC 4320 sets.
    TimerEnd,
    TransportError,
}

impl NonInviteServer {
    /// A new request came, at `now`, over a transport that is `reliable` or not.
    pub fn new(now: Time, timing: Timing, reliable: bool) -> NonInviteServer {
        let mut timers = Timers::new(timing, reliable);
        timers.end_after_patience(now);
        NonInviteServer { timers, state: NonInviteServerState::Trying }
    }

    /// The request came once more.
    pub fn on_request(&mut self, now: Time) -> Step {
        self.step(Event::Request, now)
    }

    /// The transaction user wants to answer. Only where the step says [`Send::Response`](super::Send::Response) may
    /// the response go out. A 408 and provisionals other than 100 never do (RFC 4320 §4).
    pub fn respond(&mut self, status: u16, now: Time) -> Step {
        let event = match (Class::of(status), status) {
            (Class::Provisional, 100) => Event::RespondTrying,
            (Class::Provisional, _) | (Class::Failure, 408) => Event::RespondForbidden,
            (Class::Success | Class::Failure, _) => Event::RespondFinal,
        };
        self.step(event, now)
    }

    /// A timer's time has come. Call again while [`deadline`](Self::deadline) is not later than `now`.
    pub fn on_timeout(&mut self, now: Time) -> Step {
        match self.timers.fired(now) {
            Some(Fired::End) => self.step(Event::TimerEnd, now),
            Some(Fired::Retransmit) | None => Step::NOTHING,
        }
    }

    /// A response could not be sent.
    pub fn on_transport_error(&mut self) -> Step {
        self.step(Event::TransportError, Time::ZERO)
    }

    /// When [`on_timeout`](Self::on_timeout) has to be called next.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.deadline()
    }

    /// Where it is.
    pub fn state(&self) -> NonInviteServerState {
        self.state
    }

    /// Whether it can be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == NonInviteServerState::Terminated
    }

    fn step(&mut self, event: Event, now: Time) -> Step {
        use NonInviteServerState::{Completed, Proceeding, Terminated, Trying};
        match (self.state, event) {
            (Trying | Proceeding, Event::RespondTrying) => {
                self.state = Proceeding;
                Step::RESPONSE
            }
            (Trying | Proceeding, Event::RespondFinal) => {
                self.state = if self.timers.end_after_j(now) { Completed } else { Terminated };
                Step::RESPONSE
            }
            (Proceeding | Completed, Event::Request) => Step::RETRANSMIT,
            (Trying | Proceeding, Event::TimerEnd) => {
                self.terminate();
                Step::tell(Tell::Timeout)
            }
            (Completed, Event::TimerEnd) => {
                self.terminate();
                Step::NOTHING
            }
            (Trying | Proceeding | Completed, Event::TransportError) => {
                self.terminate();
                Step::tell(Tell::TransportError)
            }
            // The transaction user has not answered: a repeated request has nothing to be answered with.
            (Trying, Event::Request) => Step::NOTHING,
            (Trying | Proceeding, Event::RespondForbidden)
            | (Completed, Event::RespondTrying | Event::RespondFinal | Event::RespondForbidden) => {
                Step::NOTHING
            }
            (
                Terminated,
                Event::Request
                | Event::RespondTrying
                | Event::RespondFinal
                | Event::RespondForbidden
                | Event::TimerEnd
                | Event::TransportError,
            ) => Step::NOTHING,
        }
    }

    fn terminate(&mut self) {
        self.timers.stop();
        self.state = NonInviteServerState::Terminated;
    }
}
