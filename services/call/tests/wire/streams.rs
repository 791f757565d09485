//! Calls over stream transports: which connection carries what.

use crate::harness::*;
use call::{Flow, Input, RegistrarPolicy};

fn over(remote: &str, connection: u64) -> Flow {
    Flow { listener: STREAM, remote: remote.parse().unwrap(), connection }
}

/// A call between two peers on TCP, the caller's from a port of its own choice.
fn call_up_over_tcp(world: &mut World) -> (Sent, Sent) {
    let (a, b) = (over("10.1.1.1:40001", 7), over(CALLEE, 8));
    world.receive_on(a, &invite("1", Some(OFFER)).replace("UDP", "TCP"));
    assert_eq!(world.expect("10.1.1.1:40001", "SIP/2.0 100").flow, a);
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(out.flow, over(CALLEE, 0));
    assert!(out.header("Via").starts_with("SIP/2.0/TCP") && out.header("Contact").contains("transport=tcp"));
    world.receive_on(b, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect("10.1.1.1:40001", "SIP/2.0 200");
    assert_eq!(ok.flow, a);
    // The ACK takes the connection that the answer came by, whatever its Contact says.
    assert_eq!(world.expect(CALLEE, "ACK").flow, b);
    world.receive_on(a, &from_caller("ACK", 1, &ok, ""));
    (ok, out)
}

fn world() -> World {
    World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers = vec![format!("sip:{CALLEE};transport=tcp")]
    })
}

#[test]
fn answers_go_back_and_requests_on_by_the_connections_in_use() {
    let mut world = world();
    let (_, out) = call_up_over_tcp(&mut world);
    world.receive_on(over(CALLEE, 8), &from_callee("BYE", 1, &out, ""));
    assert_eq!(world.expect(CALLEE, "SIP/2.0 200").flow, over(CALLEE, 8));
    let bye = world.expect("10.1.1.1:40001", "BYE");
    assert_eq!(bye.flow, over("10.1.1.1:40001", 7));
    world.receive_on(bye.flow, &response(&bye, "200 OK", "", None));
    world.expect_nothing_left();
}

#[test]
fn a_request_after_the_connection_closed_opens_one_to_the_contact() {
    let mut world = world();
    let (_, out) = call_up_over_tcp(&mut world);
    world.input(Input::Closed { flow: over("10.1.1.1:40001", 7) });
    world.receive_on(over(CALLEE, 8), &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    assert_eq!(world.expect(CALLER, "BYE").flow, over(CALLER, 0));
}

#[test]
fn an_answer_owed_to_a_connection_that_closed_goes_to_where_the_via_says() {
    let mut world = world();
    let a = over("10.1.1.1:40001", 7);
    world.receive_on(a, &invite("1", Some(OFFER)).replace("UDP", "TCP"));
    world.expect("10.1.1.1:40001", "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.input(Input::Closed { flow: a });
    world.receive_on(over(CALLEE, 8), &response(&out, "486 Busy Here", "b1", None));
    world.expect(CALLEE, "ACK");
    // RFC 3261 §18.2.2.
    assert_eq!(world.expect(CALLER, "SIP/2.0 486").flow, over(CALLER, 0));
}

#[test]
fn a_target_that_cannot_be_connected_to_is_unreachable_and_the_next_is_tried() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers = vec![format!("sip:{CALLEE};transport=tcp"), format!("sip:{SPARE}")];
    });
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.input(Input::Undeliverable { token: out.token });
    world.expect(SPARE, "INVITE");
    assert_eq!((world.records[0].sip_code_b, world.records[0].ended_by), (None, call::EndedBy::Error));
}

/// A call to a TCP peer that may be followed by another: the INVITE.
fn call_placed_over_tcp(world: &mut World) -> Sent {
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE")
}

fn world_with_spare() -> World {
    World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers = vec![format!("sip:{CALLEE};transport=tcp"), format!("sip:{SPARE}")];
    })
}

#[test]
fn an_invite_of_which_nothing_came_back_is_lost_with_its_connection_and_the_next_target_is_tried() {
    let mut world = world_with_spare();
    let out = call_placed_over_tcp(&mut world);
    world.input(Input::Lost { flow: over(CALLEE, 8), token: out.token });
    world.input(Input::Closed { flow: over(CALLEE, 8) });
    let next = world.expect(SPARE, "INVITE");
    assert_eq!((world.records[0].sip_code_b, world.records[0].ended_by), (None, call::EndedBy::Error));
    // It had arrived after all.
    world.receive_on(over(CALLEE, 9), &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let bye = world.expect(CALLEE, "BYE");
    world.receive_on(bye.flow, &response(&bye, "200 OK", "", None));
    world.receive(SPARE, &response(&next, "486 Busy Here", "s", None));
    world.expect(SPARE, "ACK");
    let busy = world.expect(CALLER, "SIP/2.0 486");
    world.receive(CALLER, &ack_failure("1", &busy));
    world.expect_nothing_left();
}

#[test]
fn what_was_answered_in_any_way_is_not_lost_with_its_connection() {
    for line in ["100 Trying", "180 Ringing", "183 Session Progress"] {
        let mut world = world_with_spare();
        let out = call_placed_over_tcp(&mut world);
        world.receive_on(over(CALLEE, 8), &response(&out, line, "b1", None));
        world.sent.clear();
        world.input(Input::Lost { flow: over(CALLEE, 8), token: out.token });
        world.input(Input::Closed { flow: over(CALLEE, 8) });
        world.expect_silence();
        // RFC 3261 §18.2.2: the answer comes by a connection of the callee's own.
        world.receive_on(over(CALLEE, 9), &response(&out, "200 OK", "b1", Some(ANSWER)));
        world.expect(CALLER, "SIP/2.0 200");
        world.expect(CALLEE, "ACK");
        world.expect_replays();
    }
}

#[test]
fn a_call_that_is_up_outlives_the_connection_that_its_re_invite_left_by() {
    let mut world = world();
    let (ok, _) = call_up_over_tcp(&mut world);
    let again = from_caller("INVITE", 2, &ok, "").replace("UDP", "TCP") + KIND + OFFER;
    world.receive_on(over("10.1.1.1:40001", 7), &again);
    world.expect("10.1.1.1:40001", "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.input(Input::Lost { flow: over(CALLEE, 8), token: offer.token });
    world.input(Input::Closed { flow: over(CALLEE, 8) });
    world.expect_silence();
    world.receive_on(over(CALLEE, 9), &response(&offer, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect("10.1.1.1:40001", "SIP/2.0 200");
    world.expect_replays();
}

#[test]
fn cancel_c10_a_487_before_the_200_of_the_cancel_leaves_no_transaction_behind() {
    let mut world = world();
    let b = over(CALLEE, 8);
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive_on(b, &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.expect(CALLEE, "CANCEL");
    let before = world.core.stats().transactions;
    // Over a reliable transport the ACK ends the INVITE's transaction (Timer D is zero), by whose branch the CANCEL's
    // response would be found.
    world.receive_on(b, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!(before - world.core.stats().transactions, 2, "the INVITE's and the CANCEL's are gone");
}
