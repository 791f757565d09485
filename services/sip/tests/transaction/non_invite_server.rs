use sip::NonInviteServerState::{self as State, Completed, Proceeding, Terminated, Trying};
use sip::{NonInviteServer, Step, Tell};

use super::{NOTHING, RELIABLE, RESPOND, RETRANSMIT, START, UNRELIABLE, after_ms, run_out, tell, timing};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Request,
    Respond(u16),
    /// So late that every timer of the state has fired.
    LastTimer,
    TransportError,
}
use Event::{LastTimer, Request, Respond, TransportError};

fn in_state(state: State) -> NonInviteServer {
    let mut server = NonInviteServer::new(START, timing(), UNRELIABLE);
    match state {
        Trying => {}
        Proceeding => {
            server.respond(100, START);
        }
        Completed => {
            server.respond(200, START);
        }
        Terminated => {
            server.on_transport_error();
        }
    }
    assert_eq!(server.state(), state);
    server
}

fn apply(server: &mut NonInviteServer, event: Event) -> Step {
    match event {
        Request => server.on_request(after_ms(100)),
        Respond(status) => server.respond(status, after_ms(100)),
        LastTimer => server.on_timeout(after_ms(1_000_000)),
        TransportError => server.on_transport_error(),
    }
}

#[test]
fn every_state_meets_every_event() {
    const BROKEN: Step = tell(Tell::TransportError);
    const TIMEOUT: Step = tell(Tell::Timeout);
    let table = [
        (Trying, Request, NOTHING, Trying),
        (Trying, Respond(100), RESPOND, Proceeding),
        (Trying, Respond(180), NOTHING, Trying),
        (Trying, Respond(200), RESPOND, Completed),
        (Trying, Respond(408), NOTHING, Trying),
        (Trying, Respond(481), RESPOND, Completed),
        (Trying, LastTimer, TIMEOUT, Terminated),
        (Trying, TransportError, BROKEN, Terminated),
        (Proceeding, Request, RETRANSMIT, Proceeding),
        (Proceeding, Respond(100), RESPOND, Proceeding),
        (Proceeding, Respond(180), NOTHING, Proceeding),
        (Proceeding, Respond(200), RESPOND, Completed),
        (Proceeding, Respond(408), NOTHING, Proceeding),
        (Proceeding, Respond(481), RESPOND, Completed),
        (Proceeding, LastTimer, TIMEOUT, Terminated),
        (Proceeding, TransportError, BROKEN, Terminated),
        (Completed, Request, RETRANSMIT, Completed),
        (Completed, Respond(100), NOTHING, Completed),
        (Completed, Respond(180), NOTHING, Completed),
        (Completed, Respond(200), NOTHING, Completed),
        (Completed, Respond(408), NOTHING, Completed),
        (Completed, Respond(481), NOTHING, Completed),
        (Completed, LastTimer, NOTHING, Terminated),
        (Completed, TransportError, BROKEN, Terminated),
        (Terminated, Request, NOTHING, Terminated),
        (Terminated, Respond(100), NOTHING, Terminated),
        (Terminated, Respond(180), NOTHING, Terminated),
        (Terminated, Respond(200), NOTHING, Terminated),
        (Terminated, Respond(408), NOTHING, Terminated),
        (Terminated, Respond(481), NOTHING, Terminated),
        (Terminated, LastTimer, NOTHING, Terminated),
        (Terminated, TransportError, NOTHING, Terminated),
    ];
    for (state, event, step, next) in table {
        let mut server = in_state(state);
        assert_eq!(apply(&mut server, event), step, "{state:?} and {event:?}");
        assert_eq!(server.state(), next, "{state:?} and {event:?}");
        assert_eq!(server.is_terminated(), next == Terminated);
        assert_eq!(server.deadline().is_none(), next == Terminated, "{state:?} and {event:?}");
    }
}

#[test]
fn timer_j_answers_repeated_requests_for_64_t1_and_not_at_all_over_a_reliable_transport() {
    let mut server = NonInviteServer::new(START, timing(), UNRELIABLE);
    server.respond(200, after_ms(1_000));
    assert_eq!(server.on_request(after_ms(32_000)), RETRANSMIT);
    assert_eq!(run_out(&mut server), [(33_000, NOTHING)]);

    let mut server = NonInviteServer::new(START, timing(), RELIABLE);
    assert_eq!(server.respond(200, after_ms(1_000)), RESPOND);
    assert!(server.is_terminated());
}

#[test]
fn a_response_after_the_client_has_given_up_is_not_sent_and_no_unanswered_request_is_kept_for_ever() {
    for reliable in [UNRELIABLE, RELIABLE] {
        let mut server = NonInviteServer::new(START, timing(), reliable);
        server.respond(100, after_ms(4_000));
        assert_eq!(run_out(&mut server), [(32_000, tell(Tell::Timeout))]);
        assert_eq!(server.respond(200, after_ms(32_100)), NOTHING);
    }
}
