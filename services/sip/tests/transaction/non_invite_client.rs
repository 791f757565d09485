use sip::NonInviteClientState::{self as State, Completed, Proceeding, Terminated, Trying};
use sip::{NonInviteClient, Step, Tell};

use super::{NOTHING, RELIABLE, RETRANSMIT, START, UNRELIABLE, after_ms, retransmits, run_out, tell, timing};

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

fn in_state(state: State) -> NonInviteClient {
    let mut client = NonInviteClient::new(START, timing(), UNRELIABLE);
    match state {
        Trying => {}
        Proceeding => {
            client.on_response(100, START);
        }
        Completed => {
            client.on_response(200, START);
        }
        Terminated => {
            client.on_transport_error();
        }
    }
    assert_eq!(client.state(), state);
    client
}

fn apply(client: &mut NonInviteClient, event: Event) -> Step {
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
    const TIMEOUT: Step = tell(Tell::Timeout);
    let table = [
        (Trying, Response(100), RESPONSE, Proceeding),
        (Trying, Response(200), RESPONSE, Completed),
        (Trying, Response(481), RESPONSE, Completed),
        (Trying, Timer, RETRANSMIT, Trying),
        (Trying, LastTimer, TIMEOUT, Terminated),
        (Trying, TransportError, BROKEN, Terminated),
        (Proceeding, Response(100), RESPONSE, Proceeding),
        (Proceeding, Response(200), RESPONSE, Completed),
        (Proceeding, Response(481), RESPONSE, Completed),
        (Proceeding, Timer, RETRANSMIT, Proceeding),
        (Proceeding, LastTimer, TIMEOUT, Terminated),
        (Proceeding, TransportError, BROKEN, Terminated),
        (Completed, Response(100), NOTHING, Completed),
        (Completed, Response(200), NOTHING, Completed),
        (Completed, Response(481), NOTHING, Completed),
        (Completed, Timer, NOTHING, Terminated),
        (Completed, LastTimer, NOTHING, Terminated),
        (Completed, TransportError, NOTHING, Completed),
        (Terminated, Response(100), NOTHING, Terminated),
        (Terminated, Response(200), NOTHING, Terminated),
        (Terminated, Response(481), NOTHING, Terminated),
        (Terminated, Timer, NOTHING, Terminated),
        (Terminated, LastTimer, NOTHING, Terminated),
        (Terminated, TransportError, NOTHING, Terminated),
    ];
    for (state, event, step, next) in table {
        let mut client = in_state(state);
        assert_eq!(apply(&mut client, event), step, "{state:?} and {event:?}");
        assert_eq!(client.state(), next, "{state:?} and {event:?}");
        assert_eq!(client.is_terminated(), next == Terminated);
        assert_eq!(client.deadline().is_none(), next == Terminated, "{state:?} and {event:?}");
    }
}

#[test]
fn timer_e_doubles_up_to_t2_until_timer_f() {
    let mut client = NonInviteClient::new(START, timing(), UNRELIABLE);
    let at = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(run_out(&mut client), retransmits(&at, 32_000, tell(Tell::Timeout)));
}

#[test]
fn in_proceeding_timer_e_goes_on_at_t2_and_timer_f_still_ends_it() {
    let mut client = NonInviteClient::new(START, timing(), UNRELIABLE);
    client.on_timeout(after_ms(500));
    client.on_response(100, after_ms(600));
    let at = [1_500, 5_500, 9_500, 13_500, 17_500, 21_500, 25_500, 29_500];
    assert_eq!(run_out(&mut client), retransmits(&at, 32_000, tell(Tell::Timeout)));
}

#[test]
fn a_reliable_transport_is_trusted_until_timer_f() {
    let mut client = NonInviteClient::new(START, timing(), RELIABLE);
    client.on_response(100, after_ms(600));
    assert_eq!(run_out(&mut client), [(32_000, tell(Tell::Timeout))]);
}

#[test]
fn timer_k_absorbs_repetitions_for_t4_and_not_at_all_over_a_reliable_transport() {
    let mut client = NonInviteClient::new(START, timing(), UNRELIABLE);
    client.on_response(200, after_ms(300));
    assert_eq!(run_out(&mut client), [(5_300, NOTHING)]);

    let mut client = NonInviteClient::new(START, timing(), RELIABLE);
    assert_eq!(client.on_response(200, after_ms(300)), tell(Tell::Response));
    assert!(client.is_terminated());
}
