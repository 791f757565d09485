//! The transactions of RFC 3261 §17, each told what happens and asked what follows: every state against every event,
//! and the times of all that is sent when nothing comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod invite_client;
mod invite_server;
mod non_invite_client;
mod non_invite_server;

use std::time::Duration;

use sip::{InviteClient, InviteServer, NonInviteClient, NonInviteServer, Send, Step, Tell, Time, Timing};

/// When everything begins: not at zero, so that a forgotten `now` is seen.
const START: Time = Time::from_micros(7_000_000);
const UNRELIABLE: bool = false;
const RELIABLE: bool = true;

const NOTHING: Step = Step::NOTHING;
const RETRANSMIT: Step = Step { send: Send::Retransmit, tell: Tell::Nothing };
const RESPOND: Step = Step { send: Send::Response, tell: Tell::Nothing };
const ACK: Step = Step { send: Send::Ack, tell: Tell::Nothing };
const ACK_AND_TELL: Step = Step { send: Send::Ack, tell: Tell::Response };

const fn tell(tell: Tell) -> Step {
    Step { send: Send::Nothing, tell }
}

fn after_ms(ms: u64) -> Time {
    START + Duration::from_millis(ms)
}

fn timing() -> Timing {
    Timing::default()
}

/// What the four have in common for their owner.
trait Machine: Copy {
    fn deadline(&self) -> Option<Time>;
    fn on_timeout(&mut self, now: Time) -> Step;
    fn is_terminated(&self) -> bool;
}

macro_rules! machine {
    ($($name:ty),*) => {$(
        impl Machine for $name {
            fn deadline(&self) -> Option<Time> {
                self.deadline()
            }
            fn on_timeout(&mut self, now: Time) -> Step {
                self.on_timeout(now)
            }
            fn is_terminated(&self) -> bool {
                self.is_terminated()
            }
        }
    )*};
}
machine!(InviteClient, InviteServer, NonInviteClient, NonInviteServer);

/// Lets the timers fire, each exactly when it is due, until none is left: the milliseconds since [`START`] and what
/// was asked for.
fn run_out(machine: &mut impl Machine) -> Vec<(u64, Step)> {
    let mut fired = Vec::new();
    while let Some(deadline) = machine.deadline() {
        assert!(fired.len() < 100, "the timers never end: {fired:?}");
        let early = Time::from_micros(deadline.as_micros() - 1);
        assert_eq!(machine.on_timeout(early), NOTHING, "a timer fired before its time");
        let step = machine.on_timeout(deadline);
        fired.push((deadline.since(START).as_millis() as u64, step));
    }
    assert!(machine.is_terminated(), "without a timer it would stay for ever");
    fired
}

/// Retransmissions at these milliseconds, then the end.
fn retransmits(at: &[u64], end: u64, last: Step) -> Vec<(u64, Step)> {
    at.iter().map(|ms| (*ms, RETRANSMIT)).chain([(end, last)]).collect()
}

#[test]
fn a_transaction_is_small_because_every_held_call_has_several() {
    assert!(size_of::<InviteClient>() <= 64);
    assert!(size_of::<InviteServer>() <= 64);
    assert!(size_of::<NonInviteClient>() <= 64);
    assert!(size_of::<NonInviteServer>() <= 64);
}

#[test]
fn a_timing_of_zero_does_not_make_the_timers_endless() {
    let zero = Timing { t1: Duration::ZERO, t2: Duration::ZERO, t4: Duration::ZERO };
    let mut client = NonInviteClient::new(START, zero, UNRELIABLE);
    assert_eq!(run_out(&mut client).last().map(|(_, step)| *step), Some(tell(Tell::Timeout)));
}

#[test]
fn an_owner_that_was_held_up_sends_once_and_not_in_a_burst() {
    let mut client = InviteClient::new(START, timing(), UNRELIABLE);
    let late = after_ms(8_000);
    assert_eq!(client.on_timeout(late), RETRANSMIT);
    assert!(client.deadline().unwrap() > late);
}
