use sip::InviteServerState::{self as State, Accepted, Completed, Confirmed, Proceeding, Terminated};
use sip::{InviteServer, Step, Tell};

use super::{
    NOTHING, RELIABLE, RESPOND, RETRANSMIT, START, UNRELIABLE, after_ms, retransmits, run_out, tell, timing,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Invite,
    Ack,
    Respond(u16),
    /// At the deadline, or a little later where there is none.
    Timer,
    /// So late that every timer of the state has fired.
    LastTimer,
    TransportError,
}
use Event::{Ack, Invite, LastTimer, Respond, Timer, TransportError};

fn in_state(state: State) -> InviteServer {
    let mut server = InviteServer::new(START, timing(), UNRELIABLE);
    match state {
        Proceeding => {}
        Accepted => {
            server.respond(200, START);
        }
        Completed => {
            server.respond(486, START);
        }
        Confirmed => {
            server.respond(486, START);
            server.on_ack(START);
        }
        Terminated => {
            server.respond(486, START);
            server.on_timeout(after_ms(32_000));
        }
    }
    assert_eq!(server.state(), state);
    server
}

fn apply(server: &mut InviteServer, event: Event) -> Step {
    match event {
        Invite => server.on_request(after_ms(100)),
        Ack => server.on_ack(after_ms(100)),
        Respond(status) => server.respond(status, after_ms(100)),
        Timer => server.on_timeout(server.deadline().unwrap_or(after_ms(500))),
        LastTimer => server.on_timeout(after_ms(1_000_000)),
        TransportError => server.on_transport_error(),
    }
}

#[test]
fn every_state_meets_every_event() {
    const BROKEN: Step = tell(Tell::TransportError);
    const ACKED: Step = tell(Tell::Ack);
    let table = [
        (Proceeding, Invite, RETRANSMIT, Proceeding),
        (Proceeding, Ack, NOTHING, Proceeding),
        (Proceeding, Respond(180), RESPOND, Proceeding),
        (Proceeding, Respond(200), RESPOND, Accepted),
        (Proceeding, Respond(487), RESPOND, Completed),
        (Proceeding, Timer, NOTHING, Proceeding),
        (Proceeding, LastTimer, NOTHING, Proceeding),
        (Proceeding, TransportError, BROKEN, Proceeding),
        (Accepted, Invite, NOTHING, Accepted),
        (Accepted, Ack, ACKED, Accepted),
        (Accepted, Respond(180), NOTHING, Accepted),
        (Accepted, Respond(200), RESPOND, Accepted),
        (Accepted, Respond(487), NOTHING, Accepted),
        (Accepted, Timer, NOTHING, Terminated),
        (Accepted, LastTimer, NOTHING, Terminated),
        (Accepted, TransportError, BROKEN, Accepted),
        (Completed, Invite, RETRANSMIT, Completed),
        (Completed, Ack, ACKED, Confirmed),
        (Completed, Respond(180), NOTHING, Completed),
        (Completed, Respond(200), NOTHING, Completed),
        (Completed, Respond(487), NOTHING, Completed),
        (Completed, Timer, RETRANSMIT, Completed),
        (Completed, LastTimer, tell(Tell::NoAck), Terminated),
        (Completed, TransportError, BROKEN, Completed),
        (Confirmed, Invite, NOTHING, Confirmed),
        (Confirmed, Ack, NOTHING, Confirmed),
        (Confirmed, Respond(180), NOTHING, Confirmed),
        (Confirmed, Respond(200), NOTHING, Confirmed),
        (Confirmed, Respond(487), NOTHING, Confirmed),
        (Confirmed, Timer, NOTHING, Terminated),
        (Confirmed, LastTimer, NOTHING, Terminated),
        (Confirmed, TransportError, NOTHING, Confirmed),
        (Terminated, Invite, NOTHING, Terminated),
        (Terminated, Ack, NOTHING, Terminated),
        (Terminated, Respond(180), NOTHING, Terminated),
        (Terminated, Respond(200), NOTHING, Terminated),
        (Terminated, Respond(487), NOTHING, Terminated),
        (Terminated, Timer, NOTHING, Terminated),
        (Terminated, LastTimer, NOTHING, Terminated),
        (Terminated, TransportError, NOTHING, Terminated),
    ];
    for (state, event, step, next) in table {
        let mut server = in_state(state);
        assert_eq!(apply(&mut server, event), step, "{state:?} and {event:?}");
        assert_eq!(server.state(), next, "{state:?} and {event:?}");
        assert_eq!(server.is_terminated(), next == Terminated);
        assert_eq!(
            server.deadline().is_none(),
            matches!(next, Proceeding | Terminated),
            "{state:?}, {event:?}"
        );
    }
}

#[test]
fn a_487_is_repeated_by_timer_g_up_to_t2_until_timer_h() {
    let mut server = InviteServer::new(START, timing(), UNRELIABLE);
    assert_eq!(server.respond(487, START), RESPOND);
    let at = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(run_out(&mut server), retransmits(&at, 32_000, tell(Tell::NoAck)));
}

#[test]
fn over_a_reliable_transport_the_failure_is_sent_once_and_timer_h_still_guards() {
    let mut server = InviteServer::new(START, timing(), RELIABLE);
    server.respond(487, START);
    assert_eq!(run_out(&mut server), [(32_000, tell(Tell::NoAck))]);
}

#[test]
fn the_ack_stops_timer_g_and_timer_i_absorbs_its_repetitions_for_t4() {
    let mut server = in_state(Completed);
    server.on_timeout(after_ms(500));
    assert_eq!(server.on_ack(after_ms(700)), tell(Tell::Ack));
    assert_eq!(server.on_ack(after_ms(900)), NOTHING);
    assert_eq!(run_out(&mut server), [(5_700, NOTHING)]);

    let mut server = InviteServer::new(START, timing(), RELIABLE);
    server.respond(487, START);
    assert_eq!(server.on_ack(START), tell(Tell::Ack));
    assert!(server.is_terminated(), "Timer I is zero");
}

#[test]
fn timer_l_absorbs_repeated_invites_after_the_answer_and_sends_nothing_itself() {
    for reliable in [UNRELIABLE, RELIABLE] {
        let mut server = InviteServer::new(START, timing(), reliable);
        server.respond(180, START);
        server.respond(200, START);
        assert_eq!(server.on_request(after_ms(20_000)), NOTHING);
        assert_eq!(run_out(&mut server), [(32_000, NOTHING)]);
    }
}

#[test]
fn an_invite_has_one_final_response_whoever_asks_for_another() {
    let mut server = in_state(Completed);
    for status in [200, 180, 486, 603] {
        assert_eq!(server.respond(status, after_ms(10)), NOTHING);
    }
    let mut server = in_state(Accepted);
    for status in [180, 486, 603] {
        assert_eq!(server.respond(status, after_ms(10)), NOTHING);
    }
}
