//! The INVITE client transaction (RFC 3261 §17.1.1 as changed by RFC 6026).

use super::timers::{Fired, Timers, Timing};
use super::{Class, Send, Step, Tell};
use crate::Time;

// RFC 3261 Figure 5 with the Accepted state of RFC 6026. Timers in (brackets).
//
//                      INVITE sent by the owner
//                               |
//                               v          (A) send INVITE again
//            1xx           +---------+ <---------------------+
//      +------------------ | Calling | ----------------------+
//      |  to the TU        +---------+
//      v                     |  |  |  (B) or transport error, to the TU
//  +------------+  2xx       |  |  +-----------------------------------------+
//  | Proceeding |  to the TU |  |                                            |
//  +------------+ -----+     |  | 300-699                                    |
//   ^   |   |          |     |  | ACK, to the TU                             |
//   |1xx|   |          v     v  v                                            |
//   +---+   |    +----------+  +-----------+ ---+                            |
//           |    | Accepted |  | Completed |    | 300-699                    |
//           |    +----------+  +-----------+ <--+ ACK                        |
//           |     ^  |   |        ^   |                                      |
//           |  2xx|  |   | (M)    |   | (D) or transport error, to the TU    |
//           |   to|  |   |        |   |                                      v
//           |   TU+--+   |        |   |                               +------------+
//           |            +--------|---+-----------------------------> | Terminated |
//           +---------------------+                                   +------------+
//             300-699: ACK, to the TU
//
// (A) T1, doubled each time, unreliable transports only   (B) 64·T1   (D) 32 s at least, 0 if reliable   (M) 64·T1

/// The states of an [`InviteClient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteClientState {
    /// The INVITE was sent, nothing has come back.
    Calling,
    /// A provisional response came. Nothing limits this state but Timer C, which is the owner's.
    Proceeding,
    /// A 2xx came. Further 2xx, repeated or from other forks, go to the transaction user.
    Accepted,
    /// A failure came and was acknowledged; repetitions are acknowledged again.
    Completed,
    /// Over.
    Terminated,
}

/// An INVITE on its way.
#[derive(Clone, Copy, Debug)]
pub struct InviteClient {
    timers: Timers,
    state: InviteClientState,
}

#[derive(Clone, Copy)]
enum Event {
    Provisional,
    Success,
    Failure,
    TimerA,
    /// B, D or M, as the state has it.
    TimerEnd,
    TransportError,
}

impl InviteClient {
    /// The owner has just sent the INVITE for the first time, at `now`, over a transport that is `reliable` or not.
    pub fn new(now: Time, timing: Timing, reliable: bool) -> InviteClient {
        let mut timers = Timers::new(timing, reliable);
        timers.start_retransmitting(now);
        timers.end_after_patience(now);
        InviteClient { timers, state: InviteClientState::Calling }
    }

    /// The INVITE leaves over a reliable transport after all: it is never sent again. To be told before any response.
    pub fn become_reliable(&mut self) {
        self.timers.become_reliable();
    }

    /// A response matched this transaction. [`Send::Ack`] is to be done before anything else.
    pub fn on_response(&mut self, status: u16, now: Time) -> Step {
        let event = match Class::of(status) {
            Class::Provisional => Event::Provisional,
            Class::Success => Event::Success,
            Class::Failure => Event::Failure,
        };
        self.step(event, now)
    }

    /// A timer's time has come. Call again while [`deadline`](Self::deadline) is not later than `now`.
    pub fn on_timeout(&mut self, now: Time) -> Step {
        match self.timers.fired(now) {
            Some(Fired::Retransmit) => self.step(Event::TimerA, now),
            Some(Fired::End) => self.step(Event::TimerEnd, now),
            None => Step::NOTHING,
        }
    }

    /// The INVITE or the ACK could not be sent.
    pub fn on_transport_error(&mut self) -> Step {
        self.step(Event::TransportError, Time::ZERO)
    }

    /// Ends the transaction without a word to anyone: after a CANCEL that nothing came of for 64·T1 (§9.1).
    pub fn kill(&mut self, _now: Time) {
        self.terminate();
    }

    /// When [`on_timeout`](Self::on_timeout) has to be called next.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.deadline()
    }

    /// Where it is.
    pub fn state(&self) -> InviteClientState {
        self.state
    }

    /// Whether it can be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == InviteClientState::Terminated
    }

    fn step(&mut self, event: Event, now: Time) -> Step {
        use InviteClientState::{Accepted, Calling, Completed, Proceeding, Terminated};
        match (self.state, event) {
            (Calling | Proceeding, Event::Provisional) => {
                // Both A and B belong to Calling alone: a phone may ring for as long as it likes.
                self.timers.stop();
                self.state = Proceeding;
                Step::tell(Tell::Response)
            }
            (Calling | Proceeding, Event::Success) => {
                self.timers.stop_retransmitting();
                self.timers.end_after_patience(now);
                self.state = Accepted;
                Step::tell(Tell::Response)
            }
            (Calling | Proceeding, Event::Failure) => {
                self.timers.stop_retransmitting();
                self.state = if self.timers.end_after_d(now) { Completed } else { Terminated };
                Step { send: Send::Ack, tell: Tell::Response }
            }
            (Calling, Event::TimerA) => {
                self.timers.double(now);
                Step::RETRANSMIT
            }
            (Calling, Event::TimerEnd) => {
                self.terminate();
                Step::tell(Tell::Timeout)
            }
            (Calling | Proceeding | Completed, Event::TransportError) => {
                self.terminate();
                Step::tell(Tell::TransportError)
            }
            (Accepted, Event::Success) => Step::tell(Tell::Response),
            (Completed, Event::Failure) => Step::ACK,
            (Accepted | Completed, Event::TimerEnd) => {
                self.terminate();
                Step::NOTHING
            }
            // Late or contradictory answers; the ACK of a 2xx is not sent by this transaction, so neither is its error.
            (Accepted, Event::Provisional | Event::Failure | Event::TransportError)
            | (Completed, Event::Provisional | Event::Success) => Step::NOTHING,
            // No such timer runs there.
            (Proceeding | Accepted | Completed, Event::TimerA) | (Proceeding, Event::TimerEnd) => {
                Step::NOTHING
            }
            (
                Terminated,
                Event::Provisional
                | Event::Success
                | Event::Failure
                | Event::TimerA
                | Event::TimerEnd
                | Event::TransportError,
            ) => Step::NOTHING,
        }
    }

    fn terminate(&mut self) {
        self.timers.stop();
        self.state = InviteClientState::Terminated;
    }
}
