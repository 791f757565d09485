//! UPDATE in a dialog that stands (RFC 3311): an offer that crosses, or a word that stays on its leg.

use std::time::Duration;

use crate::harness::*;

/// A call whose callee takes UPDATE.
fn call_with_update() -> (World, Sent, Sent) {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    let answer = response(&out, "200 OK", "b1", Some(ANSWER));
    world.receive(CALLEE, &answer.replace("Content-Type", "Allow: INVITE, UPDATE\nContent-Type"));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    (world, ok, out)
}

fn hold() -> String {
    format!("{OFFER}a=sendonly\n")
}

#[test]
fn an_update_with_an_offer_crosses_as_update_where_the_peer_takes_it() {
    let (mut world, ok, _) = call_with_update();
    assert!(ok.header("Allow").contains("UPDATE"));
    world.receive(CALLER, &(from_caller("UPDATE", 2, &ok, KIND) + &hold()));
    let across = world.expect(CALLEE, "UPDATE sip:bob@10.2.2.2:5060 SIP/2.0");
    assert!(across.body().contains("a=sendonly") && across.has("Contact"));
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&format!("{ANSWER}a=recvonly\n"))));
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(answer.header("CSeq"), "2 UPDATE");
    assert!(answer.body().contains("a=recvonly") && answer.has("Contact"));
    // No ACK, neither way.
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn an_update_with_an_offer_crosses_as_a_re_invite_where_the_peer_does_not_take_it() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("UPDATE", 2, &ok, KIND) + &hold()));
    let across = world.expect(CALLEE, "INVITE sip:bob@10.2.2.2:5060 SIP/2.0");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 UPDATE");
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn a_re_invite_crosses_as_a_re_invite_even_where_the_peer_takes_update() {
    let (mut world, ok, _) = call_with_update();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &hold()));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE");
}

#[test]
fn an_update_that_its_peer_refuses_after_all_goes_as_a_re_invite() {
    let (mut world, ok, _) = call_with_update();
    world.receive(CALLER, &(from_caller("UPDATE", 2, &ok, KIND) + &hold()));
    let across = world.expect(CALLEE, "UPDATE");
    world.receive(CALLEE, &response(&across, "405 Method Not Allowed", "", None));
    let again = world.expect(CALLEE, "INVITE");
    assert!(again.body().contains("a=sendonly"));
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn an_update_without_a_description_stays_on_its_leg_and_moves_the_target() {
    let (mut world, ok, _) = call_up();
    let moved =
        from_caller("UPDATE", 2, &ok, "").replace("sip:alice@10.1.1.1:5060", "sip:alice@10.1.1.9:5070");
    world.receive(CALLER, &moved);
    let taken = world.expect(CALLER, "SIP/2.0 200");
    assert!(taken.has("Contact") && taken.body().is_empty());
    world.expect_silence();
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "BYE");
}

#[test]
fn a_refused_update_leaves_the_session_as_it_was_and_the_code_crosses() {
    let (mut world, ok, _) = call_with_update();
    let orders = world.orders.len();
    world.receive(CALLER, &(from_caller("UPDATE", 2, &ok, KIND) + &hold()));
    let across = world.expect(CALLEE, "UPDATE");
    let refusal = response(&across, "488 Not Acceptable Here", "", None);
    world.receive(CALLEE, &refusal.replace("Contact", "Warning: 304 bob.example \"no\"\nContact"));
    let refused = world.expect(CALLER, "SIP/2.0 488");
    assert_eq!((refused.header("CSeq"), refused.has("Warning")), ("2 UPDATE", true));
    assert_eq!(world.orders.len(), orders);
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn an_update_that_meets_ours_gets_491_and_one_that_meets_its_own_500() {
    let (mut world, ok, out) = call_with_update();
    world.receive(CALLER, &(from_caller("UPDATE", 2, &ok, KIND) + &hold()));
    let across = world.expect(CALLEE, "UPDATE");
    world.receive(CALLEE, &(from_callee("UPDATE", 1, &out, KIND) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 491");
    world.receive(CALLER, &(from_caller("UPDATE", 3, &ok, KIND) + OFFER));
    let busy = world.expect(CALLER, "SIP/2.0 500");
    assert!(busy.header("Retry-After").parse::<u32>().unwrap() < 10);
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 UPDATE");
    ends_by_the_caller(&mut world, &ok, 4);
}

#[test]
fn an_update_is_answered_in_time_even_if_the_other_side_is_slow() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("UPDATE", 2, &ok, KIND) + &hold()));
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    world.pass(Duration::from_secs(15));
    world.expect_silence();
    world.pass(Duration::from_millis(1_100));
    assert_eq!(world.expect(CALLER, "SIP/2.0 504").header("CSeq"), "2 UPDATE");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&across, "487 Request Terminated", "", None));
    world.expect(CALLEE, "ACK");
    world.sent.clear();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn an_update_that_cannot_be_read_is_refused_by_the_box() {
    let (mut world, ok, _) = call_with_update();
    world.receive(CALLER, &(from_caller("UPDATE", 2, &ok, KIND) + "v=0\nm=audio nothing\n"));
    assert!(world.expect(CALLER, "SIP/2.0 488").has("Warning"));
    world.receive(CALLER, &from_caller("UPDATE", 2, &ok, "").replace("bKUPDATE2", "bKother"));
    world.expect(CALLER, "SIP/2.0 500");
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}
