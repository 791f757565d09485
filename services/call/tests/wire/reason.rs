//! Reason (RFC 3326, RFC 6432): why a call ends is told on both sides, in the words that somebody used, else in the box's.

use std::time::Duration;

use crate::harness::*;
use call::{Command, Input, MediaOrder, MediaReport, Reply, Side};

/// The Reason of the next BYE to each side.
fn reasons(world: &mut World) -> Vec<String> {
    let byes: Vec<Sent> = world.sent.drain(..).filter(|sent| sent.text.starts_with("BYE")).collect();
    assert!(byes.iter().any(|bye| bye.to == CALLEE.parse().unwrap()), "{byes:#?}");
    byes.iter().map(|bye| bye.header("Reason").to_owned()).collect()
}

#[test]
fn reason_of_a_bye_crosses_in_both_directions() {
    let said = "Q.850;cause=16;text=\"done\", SIP;cause=200";
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("BYE", 2, &ok, &format!("Reason: {said}\n")));
    world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(world.expect(CALLEE, "BYE").header("Reason"), said);
    let (mut world, _, out) = call_up();
    world.receive(CALLEE, &from_callee("BYE", 1, &out, &format!("Reason: {said}\n")));
    world.expect(CALLEE, "SIP/2.0 200");
    assert_eq!(world.expect(CALLER, "BYE").header("Reason"), said);
}

#[test]
fn reason_of_a_bye_without_one_is_not_invented() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    assert!(!world.expect(CALLEE, "BYE").has("Reason"));
}

#[test]
fn reason_of_silent_media_is_told_to_both_sides() {
    let (mut world, _, _) = call_up();
    let Some(MediaOrder::Watch { session, .. }) = world.orders.last().cloned() else {
        panic!("{:?}", world.orders)
    };
    world.input(Input::Media(MediaReport::Silent { session, side: Side::A }));
    let told = "SIP;cause=408;text=\"Media Timeout\", Q.850;cause=102";
    assert_eq!(reasons(&mut world), [told, told]);
}

#[test]
fn reason_of_an_operator_and_of_a_shutdown_is_told_to_both_sides() {
    let (mut world, _, _) = call_up();
    world.input(Input::Command { id: 1, command: Command::List { limit: 1 } });
    let Some(Reply::Calls(calls)) = world.replies.pop() else { panic!("no list") };
    world.input(Input::Command { id: 2, command: Command::HangUp(calls[0].id) });
    let told = "SIP;cause=480;text=\"Ended By Operator\", Q.850;cause=18";
    assert_eq!(reasons(&mut world), [told, told]);
    let (mut world, _, _) = call_up();
    world.input(Input::Command { id: 1, command: Command::EndAll });
    let told = "SIP;cause=503;text=\"Ended By Operator\", Q.850;cause=41";
    assert_eq!(reasons(&mut world), [told, told]);
}

#[test]
fn reason_of_a_dialog_that_one_side_does_not_know_or_never_acknowledged_is_told() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("INFO", 2, &ok, ""));
    let info = world.expect(CALLEE, "INFO");
    world.receive(CALLEE, &response(&info, "481 Call Does Not Exist", "", None));
    let told = "SIP;cause=481, Q.850;cause=41";
    assert_eq!(reasons(&mut world), [told, told]);
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.pass(Duration::from_secs(33));
    assert!(reasons(&mut world).contains(&"SIP;cause=408, Q.850;cause=102".to_owned()));
}

#[test]
fn reason_of_a_cancel_crosses_and_one_of_an_operator_is_told_to_the_callee_that_rings() {
    let mut world = World::new();
    call_ringing(&mut world);
    world.input(Input::Command { id: 1, command: Command::EndAll });
    world.expect(CALLER, "SIP/2.0 503");
    let told = "SIP;cause=503;text=\"Ended By Operator\", Q.850;cause=41";
    assert_eq!(world.expect(CALLEE, "CANCEL").header("Reason"), told);
}

#[test]
fn reason_of_a_response_crosses() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    let busy = response(&out, "486 Busy Here", "b1", None);
    world.receive(CALLEE, &busy.replacen("Contact:", "Reason: Q.850;cause=17;text=\"busy\"\nContact:", 1));
    world.expect(CALLEE, "ACK");
    assert_eq!(world.expect(CALLER, "SIP/2.0 486").header("Reason"), "Q.850;cause=17;text=\"busy\"");
}
