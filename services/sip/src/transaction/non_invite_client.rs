//! The non-INVITE client transaction (RFC 3261 §17.1.2).

use super::timers::{Fired, Timers, Timing};
use super::{Class, Step, Tell};
use crate::Time;

// RFC 3261 Figure 6. Timers in (brackets).
//
//                    request sent by the owner
//                              |
//                              v          (E) send the request again
//                        +----------+ ---------+
//            +---------- |  Trying  | <--------+
//            |    1xx    +----------+ -----------------------------+
//            |  to TU      |                                       |
//            v             | 200-699                               |
//      +------------+      | to the TU     (F) or transport error  |
//  +-> | Proceeding | -----|-------------------------------------->|
//  |   +------------+      |               to the TU               |
//  |     |      |          v                                       |
//  +-----+      |     +-----------+                                v
//  1xx: to TU   +---> | Completed | ------------------------> +------------+
//  (E): request       +-----------+           (K)             | Terminated |
//  again     200-699                                          +------------+
//            to the TU
//
// (E) T1, doubled up to T2; T2 in Proceeding; unreliable transports only
// (F) 64·T1 from the first sending, in Proceeding too   (K) T4, 0 if reliable

/// The states of a [`NonInviteClient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonInviteClientState {
    /// The request was sent, nothing has come back.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// The final response came; its repetitions are absorbed.
    Completed,
    /// Over.
    Terminated,
}

/// A request other than INVITE and ACK on its way.
#[derive(Clone, Copy, Debug)]
pub struct NonInviteClient {
    timers: Timers,
    state: NonInviteClientState,
}

#[derive(Clone, Copy)]
enum Event {
    Provisional,
    Final,
    TimerE,
    /// F or K, as the state has it.
    TimerEnd,
    TransportError,
}

impl NonInviteClient {
    /// The owner has just sent the request for the first time, at `now`, over a transport that is `reliable` or not.
    pub fn new(now: Time, timing: Timing, reliable: bool) -> NonInviteClient {
        let mut timers = Timers::new(timing, reliable);
        timers.start_retransmitting(now);
        timers.end_after_patience(now);
        NonInviteClient { timers, state: NonInviteClientState::Trying }
    }

    /// The request leaves over a reliable transport after all: it is never sent again. To be told before any response.
    pub fn become_reliable(&mut self) {
        self.timers.become_reliable();
    }

    /// A response matched this transaction.
    pub fn on_response(&mut self, status: u16, now: Time) -> Step {
        let event = match Class::of(status) {
            Class::Provisional => Event::Provisional,
            Class::Success | Class::Failure => Event::Final,
        };
        self.step(event, now)
    }

    /// A timer's time has come. Call again while [`deadline`](Self::deadline) is not later than `now`.
    pub fn on_timeout(&mut self, now: Time) -> Step {
        match self.timers.fired(now) {
            Some(Fired::Retransmit) => self.step(Event::TimerE, now),
            Some(Fired::End) => self.step(Event::TimerEnd, now),
            None => Step::NOTHING,
        }
    }

    /// The request could not be sent.
    pub fn on_transport_error(&mut self) -> Step {
        self.step(Event::TransportError, Time::ZERO)
    }

    /// When [`on_timeout`](Self::on_timeout) has to be called next.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.deadline()
    }

    /// Where it is.
    pub fn state(&self) -> NonInviteClientState {
        self.state
    }

    /// Whether it can be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == NonInviteClientState::Terminated
    }

    fn step(&mut self, event: Event, now: Time) -> Step {
        use NonInviteClientState::{Completed, Proceeding, Terminated, Trying};
        match (self.state, event) {
            (Trying | Proceeding, Event::Provisional) => {
                // E and F run on: a server that says 100 and dies must not hold the request for ever.
                self.state = Proceeding;
                Step::tell(Tell::Response)
            }
            (Trying | Proceeding, Event::Final) => {
                self.timers.stop_retransmitting();
                self.state = if self.timers.end_after_t4(now) { Completed } else { Terminated };
                Step::tell(Tell::Response)
            }
            (Trying, Event::TimerE) => {
                self.timers.double_up_to_t2(now);
                Step::RETRANSMIT
            }
            (Proceeding, Event::TimerE) => {
                self.timers.every_t2(now);
                Step::RETRANSMIT
            }
            (Trying | Proceeding, Event::TimerEnd) => {
                self.terminate();
                Step::tell(Tell::Timeout)
            }
            (Trying | Proceeding, Event::TransportError) => {
                self.terminate();
                Step::tell(Tell::TransportError)
            }
            (Completed, Event::TimerEnd) => {
                self.terminate();
                Step::NOTHING
            }
            (Completed, Event::Provisional | Event::Final | Event::TimerE | Event::TransportError) => {
                Step::NOTHING
            }
            (
                Terminated,
                Event::Provisional | Event::Final | Event::TimerE | Event::TimerEnd | Event::TransportError,
            ) => Step::NOTHING,
        }
    }

    fn terminate(&mut self) {
        self.timers.stop();
        self.state = NonInviteClientState::Terminated;
    }
}
