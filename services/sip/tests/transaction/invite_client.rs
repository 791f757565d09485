use sip::InviteClientState::{self as State, Accepted, Calling, Completed, Proceeding, Terminated};
use sip::{InviteClient, Step, Tell, Time, Timing};
use std::time::Duration;

use super::{
    ACK, ACK_AND_TELL, NOTHING, RELIABLE, RETRANSMIT, START, UNRELIABLE, after_ms, retransmits, run_out,
    tell, timing,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Response(u16),
    /// At the deadline, or a little later where there is none.
    Timer,
    /// So late that every timer of the state has fired.
    LastTimer,
    TransportError,
}
use Event::{LastTimer, Response, Timer, TransportError};

fn in_state(state: State) -> InviteClient {
    let mut client = InviteClient::new(START, timing(), UNRELIABLE);
    match state {
        Calling => {}
        Proceeding => {
            client.on_response(180, START);
        }
        Accepted => {
            client.on_response(200, START);
        }
        Completed => {
            client.on_response(486, START);
        }
        Terminated => client.kill(START),
    }
    assert_eq!(client.state(), state);
    client
}

fn apply(client: &mut InviteClient, event: Event) -> Step {
    match event {
        Response(status) => client.on_response(status, after_ms(100)),
        Timer => client.on_timeout(client.deadline().unwrap_or(after_ms(500))),
        LastTimer => client.on_timeout(after_ms(1_000_000)),
        TransportError => client.on_transport_error(),
    }
}

#[test]
fn every_state_meets_every_event() {
    const RESPONSE: Step = tell(Tell::Response);
    const BROKEN: Step = tell(Tell::TransportError);
    let table = [
        (Calling, Response(100), RESPONSE, Proceeding),
        (Calling, Response(183), RESPONSE, Proceeding),
        (Calling, Response(200), RESPONSE, Accepted),
        (Calling, Response(302), ACK_AND_TELL, Completed),
        (Calling, Response(699), ACK_AND_TELL, Completed),
        (Calling, Timer, RETRANSMIT, Calling),
        (Calling, LastTimer, tell(Tell::Timeout), Terminated),
        (Calling, TransportError, BROKEN, Terminated),
        (Proceeding, Response(100), RESPONSE, Proceeding),
        (Proceeding, Response(183), RESPONSE, Proceeding),
        (Proceeding, Response(200), RESPONSE, Accepted),
        (Proceeding, Response(302), ACK_AND_TELL, Completed),
        (Proceeding, Response(699), ACK_AND_TELL, Completed),
        (Proceeding, Timer, NOTHING, Proceeding),
        (Proceeding, LastTimer, NOTHING, Proceeding),
        (Proceeding, TransportError, BROKEN, Terminated),
        (Accepted, Response(100), NOTHING, Accepted),
        (Accepted, Response(183), NOTHING, Accepted),
        (Accepted, Response(200), RESPONSE, Accepted),
        (Accepted, Response(302), NOTHING, Accepted),
        (Accepted, Response(699), NOTHING, Accepted),
        (Accepted, Timer, NOTHING, Terminated),
        (Accepted, LastTimer, NOTHING, Terminated),
        (Accepted, TransportError, NOTHING, Accepted),
        (Completed, Response(100), NOTHING, Completed),
        (Completed, Response(183), NOTHING, Completed),
        (Completed, Response(200), NOTHING, Completed),
        (Completed, Response(302), ACK, Completed),
        (Completed, Response(699), ACK, Completed),
        (Completed, Timer, NOTHING, Terminated),
        (Completed, LastTimer, NOTHING, Terminated),
        (Completed, TransportError, BROKEN, Terminated),
        (Terminated, Response(100), NOTHING, Terminated),
        (Terminated, Response(183), NOTHING, Terminated),
        (Terminated, Response(200), NOTHING, Terminated),
        (Terminated, Response(302), NOTHING, Terminated),
        (Terminated, Response(699), NOTHING, Terminated),
        (Terminated, Timer, NOTHING, Terminated),
        (Terminated, LastTimer, NOTHING, Terminated),
        (Terminated, TransportError, NOTHING, Terminated),
    ];
    for (state, event, step, next) in table {
        let mut client = in_state(state);
        assert_eq!(apply(&mut client, event), step, "{state:?} and {event:?}");
        assert_eq!(client.state(), next, "{state:?} and {event:?}");
        assert_eq!(client.is_terminated(), next == Terminated);
        assert_eq!(
            client.deadline().is_none(),
            matches!(next, Proceeding | Terminated),
            "{state:?}, {event:?}"
        );
    }
}

#[test]
fn timer_a_doubles_without_limit_until_timer_b() {
    let mut client = InviteClient::new(START, timing(), UNRELIABLE);
    let expected = retransmits(&[500, 1_500, 3_500, 7_500, 15_500, 31_500], 32_000, tell(Tell::Timeout));
    assert_eq!(run_out(&mut client), expected);
    assert!(client.is_terminated());
}

#[test]
fn a_reliable_transport_is_trusted_until_timer_b() {
    let mut client = InviteClient::new(START, timing(), RELIABLE);
    assert_eq!(run_out(&mut client), [(32_000, tell(Tell::Timeout))]);
}

#[test]
fn a_provisional_response_ends_both_timers_and_the_phone_may_ring_for_an_hour() {
    let mut client = InviteClient::new(START, timing(), UNRELIABLE);
    client.on_timeout(after_ms(500));
    client.on_response(180, after_ms(600));
    assert_eq!(client.deadline(), None);
    assert_eq!(client.on_response(200, after_ms(3_600_000)), tell(Tell::Response));
}

#[test]
fn timer_m_lets_forked_answers_through_for_64_t1_after_the_first() {
    let mut client = in_state(Accepted);
    assert_eq!(client.on_response(200, after_ms(31_000)), tell(Tell::Response));
    assert_eq!(client.deadline(), Some(after_ms(32_000)), "a later 2xx does not extend it");
    assert_eq!(run_out(&mut client), [(32_000, NOTHING)]);
    let mut client = InviteClient::new(START, timing(), RELIABLE);
    client.on_response(200, START);
    assert_eq!(run_out(&mut client), [(32_000, NOTHING)], "Timer M does not depend on the transport");
}

#[test]
fn timer_d_is_32_seconds_at_least_and_nothing_over_a_reliable_transport() {
    let quick = Timing { t1: Duration::from_millis(10), ..timing() };
    let mut client = InviteClient::new(START, quick, UNRELIABLE);
    client.on_response(404, START);
    assert_eq!(run_out(&mut client), [(32_000, NOTHING)]);

    let slow = Timing { t1: Duration::from_secs(1), ..timing() };
    let mut client = InviteClient::new(START, slow, UNRELIABLE);
    client.on_response(404, START);
    assert_eq!(run_out(&mut client), [(64_000, NOTHING)]);

    let mut client = InviteClient::new(START, timing(), RELIABLE);
    assert_eq!(client.on_response(404, START), ACK_AND_TELL, "the ACK is still due");
    assert!(client.is_terminated());
}

#[test]
fn a_failure_that_is_repeated_is_acknowledged_each_time_and_told_once() {
    let mut client = in_state(Proceeding);
    assert_eq!(client.on_response(487, after_ms(10)), ACK_AND_TELL);
    for repetition in 1..10 {
        assert_eq!(client.on_response(487, after_ms(10 + repetition * 500)), ACK);
    }
}

#[test]
fn a_killed_transaction_is_silent_for_ever() {
    let mut client = in_state(Proceeding);
    client.kill(after_ms(32_000));
    assert_eq!((client.state(), client.deadline()), (Terminated, None));
    assert_eq!(client.on_response(200, after_ms(33_000)), NOTHING);
    assert_eq!(client.on_timeout(Time::from_micros(u64::MAX)), NOTHING);
}
