//! The INVITE server transaction (RFC 3261 §17.2.1 as changed by RFC 6026).

use super::timers::{Fired, Timers, Timing};
use super::{Class, Step, Tell};
use crate::Time;

// RFC 3261 Figure 7 with the Accepted state of RFC 6026. Timers in (brackets).
//
//                          INVITE, to the TU
//                                 |
//          INVITE                 v              1xx from the TU
//          last 1xx again +--------------+       send
//            +----------- |              | ------------+
//            +----------> |  Proceeding  | <-----------+
//                         |              | ---+
//                         +--------------+ <--+ transport error, to the TU
//   300-699 from the TU     |          |     2xx from the TU
//   send                    |          |     send
//                           v          v
//                   +-----------+    +------------+ ---+
//   INVITE or (G) --|           |    |            |    | 2xx from the TU: send
//   send again      | Completed |    |  Accepted  |    | INVITE: nothing
//              +--> |           |    |            |    | ACK, transport error: to the TU
//                   +-----------+    +------------+ <--+
//           ACK       |     |            |
//           to the TU |     | (H)        | (L)
//                     v     | to the TU  |
//          +-----------+    |            |
//          | Confirmed |    |            |
//          +-----------+    v            v
//                 |      +--------------------+
//                 +----> |     Terminated     |
//                  (I)   +--------------------+
//
// (G) T1, doubled up to T2, unreliable transports only   (H) 64·T1   (I) T4, 0 if reliable   (L) 64·T1
// In Completed a transport error is told to the TU and changes nothing: Timer H ends it.

/// The states of an [`InviteServer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteServerState {
    /// No final response was given.
    Proceeding,
    /// A 2xx was given. Its repetition until the ACK is the dialog's affair (RFC 3261 §13.3.1.4); repeated INVITEs
    /// are absorbed.
    Accepted,
    /// A failure was given, its ACK is awaited.
    Completed,
    /// The ACK came; its repetitions are absorbed.
    Confirmed,
    /// Over.
    Terminated,
}

/// An INVITE that was received.
#[derive(Clone, Copy, Debug)]
pub struct InviteServer {
    timers: Timers,
    state: InviteServerState,
}

#[derive(Clone, Copy)]
enum Event {
    Invite,
    Ack,
    RespondProvisional,
    RespondSuccess,
    RespondFailure,
    TimerG,
    /// H, I or L, as the state has it.
    TimerEnd,
    TransportError,
}

impl InviteServer {
    /// A new INVITE came, at `now`, over a transport that is `reliable` or not.
    pub fn new(_now: Time, timing: Timing, reliable: bool) -> InviteServer {
        InviteServer { timers: Timers::new(timing, reliable), state: InviteServerState::Proceeding }
    }

    /// The INVITE came once more.
    pub fn on_request(&mut self, now: Time) -> Step {
        self.step(Event::Invite, now)
    }

    /// An ACK matched this transaction.
    pub fn on_ack(&mut self, now: Time) -> Step {
        self.step(Event::Ack, now)
    }

    /// The transaction user wants to answer. Only where the step says [`Send::Response`](super::Send::Response) may
    /// the response go out: there is one final response, and no provisional one after it.
    pub fn respond(&mut self, status: u16, now: Time) -> Step {
        let event = match Class::of(status) {
            Class::Provisional => Event::RespondProvisional,
            Class::Success => Event::RespondSuccess,
            Class::Failure => Event::RespondFailure,
        };
        self.step(event, now)
    }

    /// A timer's time has come. Call again while [`deadline`](Self::deadline) is not later than `now`.
    pub fn on_timeout(&mut self, now: Time) -> Step {
        match self.timers.fired(now) {
            Some(Fired::Retransmit) => self.step(Event::TimerG, now),
            Some(Fired::End) => self.step(Event::TimerEnd, now),
            None => Step::NOTHING,
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
    pub fn state(&self) -> InviteServerState {
        self.state
    }

    /// Whether it can be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == InviteServerState::Terminated
    }

    fn step(&mut self, event: Event, now: Time) -> Step {
        use InviteServerState::{Accepted, Completed, Confirmed, Proceeding, Terminated};
        match (self.state, event) {
            (Proceeding, Event::Invite) => Step::RETRANSMIT,
            (Proceeding, Event::RespondProvisional) => Step::RESPONSE,
            (Proceeding, Event::RespondSuccess) => {
                self.timers.end_after_patience(now);
                self.state = Accepted;
                Step::RESPONSE
            }
            (Proceeding, Event::RespondFailure) => {
                self.timers.start_retransmitting(now);
                self.timers.end_after_patience(now);
                self.state = Completed;
                Step::RESPONSE
            }
            (Proceeding | Accepted | Completed, Event::TransportError) => Step::tell(Tell::TransportError),
            // The same 2xx as before: an INVITE has one final response, the dialog repeats it.
            (Accepted, Event::RespondSuccess) => Step::RESPONSE,
            (Accepted, Event::Ack) => Step::tell(Tell::Ack),
            (Completed, Event::Invite) => Step::RETRANSMIT,
            (Completed, Event::TimerG) => {
                self.timers.double_up_to_t2(now);
                Step::RETRANSMIT
            }
            (Completed, Event::Ack) => {
                self.timers.stop_retransmitting();
                self.state = if self.timers.end_after_t4(now) { Confirmed } else { Terminated };
                Step::tell(Tell::Ack)
            }
            (Completed, Event::TimerEnd) => {
                self.terminate();
                Step::tell(Tell::NoAck)
            }
            (Accepted | Confirmed, Event::TimerEnd) => {
                self.terminate();
                Step::NOTHING
            }
            // What RFC 6026 and RFC 3261 say to absorb.
            (Proceeding, Event::Ack)
            | (Accepted, Event::Invite)
            | (Confirmed, Event::Invite | Event::Ack | Event::TransportError) => Step::NOTHING,
            // After the final response nothing else may be said.
            (Accepted, Event::RespondProvisional | Event::RespondFailure)
            | (
                Completed | Confirmed,
                Event::RespondProvisional | Event::RespondSuccess | Event::RespondFailure,
            ) => Step::NOTHING,
            // No such timer runs there.
            (Proceeding | Accepted | Confirmed, Event::TimerG) | (Proceeding, Event::TimerEnd) => {
                Step::NOTHING
            }
            (
                Terminated,
                Event::Invite
                | Event::Ack
                | Event::RespondProvisional
                | Event::RespondSuccess
                | Event::RespondFailure
                | Event::TimerG
                | Event::TimerEnd
                | Event::TransportError,
            ) => Step::NOTHING,
        }
    }

    fn terminate(&mut self) {
        self.timers.stop();
        self.state = InviteServerState::Terminated;
    }
}
