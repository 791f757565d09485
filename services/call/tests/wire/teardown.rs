//! The ways a call can end, and what its record says of each.

use std::time::Duration;

use crate::harness::*;
use call::{Command, Disposition, EndedBy, Input, MediaOrder, MediaReport, Reply, Side};

fn hang_up(world: &mut World) {
    world.input(Input::Command { id: 1, command: Command::List { limit: 10 } });
    let Some(Reply::Calls(calls)) = world.replies.pop() else { panic!("no list") };
    world.input(Input::Command { id: 2, command: Command::HangUp(calls[0].id) });
    assert!(matches!(world.replies.pop(), Some(Reply::HungUp(true))));
}

/// The one record, whose times are in order.
fn record(world: &World) -> &call::CdrFact {
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert!(record.is_last);
    let times: Vec<_> =
        [Some(record.started_at), record.ringing_at, record.answered_at, Some(record.ended_at)]
            .into_iter()
            .flatten()
            .collect();
    assert!(times.is_sorted(), "{record:#?}");
    record
}

#[test]
fn bye_crossing_gets_200_on_both_sides_and_the_first_one_ended_it() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(CALLEE, &response(&bye, "481 Call/Transaction Does Not Exist", "", None));
    world.expect_silence();
    assert_eq!(record(&world).ended_by, EndedBy::Caller);
    world.expect_nothing_left();
}

#[test]
fn a_bye_that_nobody_answers_is_given_up() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.pass(Duration::from_secs(33));
    assert_eq!(record(&world).ended_by, EndedBy::Caller);
    world.expect_nothing_left();
}

#[test]
fn a_caller_that_hangs_up_an_early_dialog_gets_487() {
    let mut world = World::new();
    let (out, ringing) = call_ringing(&mut world);
    world.receive(CALLER, &from_caller("BYE", 2, &ringing, ""));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 BYE");
    assert_eq!(world.expect(CALLER, "SIP/2.0 487").header("CSeq"), "1 INVITE");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!(
        (record(&world).disposition, record(&world).ended_by),
        (Disposition::Cancelled, EndedBy::Caller)
    );
    world.expect_nothing_left();
}

#[test]
fn a_bye_that_a_later_request_overtook_is_refused_and_ends_the_call_all_the_same() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("OPTIONS", 3, &ok, ""));
    let carried = world.expect(CALLEE, "OPTIONS");
    world.receive(CALLEE, &response(&carried, "200 OK", "", None));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("BYE", 2, &ok, "Reason: Q.850;cause=16\n"));
    // RFC 3261 §12.2.2 refuses it, §15.1.1 has ended the session where it left.
    assert_eq!(world.expect(CALLER, "SIP/2.0 500").header("CSeq"), "2 BYE");
    for side in [CALLER, CALLEE] {
        let bye = world.expect(side, "BYE");
        assert_eq!(bye.header("Reason"), "Q.850;cause=16");
        world.receive(side, &response(&bye, "200 OK", "", None));
    }
    assert_eq!(
        (record(&world).disposition, record(&world).ended_by),
        (Disposition::Answered, EndedBy::Caller)
    );
    world.expect_nothing_left();
}

#[test]
fn a_bye_of_an_early_dialog_that_was_overtaken_ends_the_invite_all_the_same() {
    let mut world = World::new();
    let (out, ringing) = call_ringing(&mut world);
    world.receive(CALLER, &from_caller("OPTIONS", 3, &ringing, ""));
    let carried = world.expect(CALLEE, "OPTIONS");
    world.receive(CALLEE, &response(&carried, "200 OK", "", None));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("BYE", 2, &ringing, ""));
    assert_eq!(world.expect(CALLER, "SIP/2.0 500").header("CSeq"), "2 BYE");
    assert_eq!(world.expect(CALLER, "SIP/2.0 487").header("CSeq"), "1 INVITE");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!(
        (record(&world).disposition, record(&world).ended_by),
        (Disposition::Cancelled, EndedBy::Caller)
    );
    world.expect_nothing_left();
}

#[test]
fn a_callee_that_hangs_up_before_the_caller_acknowledged_waits_for_nobody() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLEE, &from_callee("BYE", 1, &out, "Reason: Q.850;cause=16\n"));
    world.expect(CALLEE, "SIP/2.0 200");
    // RFC 3261 §15: no BYE before the ACK.
    world.expect_silence();
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    let bye = world.expect(CALLER, "BYE");
    assert_eq!(bye.header("Reason"), "Q.850;cause=16");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    assert_eq!(
        (record(&world).disposition, record(&world).ended_by),
        (Disposition::Answered, EndedBy::Callee)
    );
    world.expect_nothing_left();
}

#[test]
fn a_200_that_is_never_acknowledged_is_repeated_and_then_ends_the_call_on_both_sides() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.pass(Duration::from_secs(31));
    // 0.5 s, doubled up to 4 s, until 64·T1.
    assert_eq!(world.sent.len(), 9);
    assert!(world.sent.iter().all(|sent| sent.first_line().starts_with("SIP/2.0 200")));
    world.sent.clear();
    world.pass(Duration::from_secs(2));
    let byes: Vec<_> =
        world.sent.iter().filter(|sent| sent.text.starts_with("BYE")).map(|sent| sent.to).collect();
    assert!(byes.contains(&CALLER.parse().unwrap()) && byes.contains(&CALLEE.parse().unwrap()), "{byes:?}");
    world.pass(Duration::from_secs(33));
    assert_eq!((record(&world).ended_by, record(&world).duration_ms), (EndedBy::Timer, 32_000));
    world.expect_nothing_left();
}

#[test]
fn a_side_that_falls_silent_ends_the_call() {
    let (mut world, _, _) = call_up();
    let Some(MediaOrder::Watch { session, on: true }) = world.orders.last() else {
        panic!("{:?}", world.orders)
    };
    let session = *session;
    world.pass(Duration::from_secs(30));
    world.input(Input::Media(MediaReport::Silent { session, side: Side::B }));
    for side in [CALLER, CALLEE] {
        let bye = world.expect(side, "BYE");
        world.receive(side, &response(&bye, "200 OK", "", None));
    }
    assert_eq!(record(&world).ended_by, EndedBy::MediaTimeout);
    assert_eq!(record(&world).duration_ms, 30_000);
    assert!(matches!(world.orders.last(), Some(MediaOrder::Close { .. })));
    world.expect_nothing_left();
}

#[test]
fn an_operator_ends_a_call_that_is_being_routed() {
    let mut world = World::new();
    world.slow_routing = true;
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    hang_up(&mut world);
    world.expect(CALLER, "SIP/2.0 480");
    world.answer_questions();
    world.expect_silence();
    assert_eq!((record(&world).ended_by, record(&world).sip_code_a), (EndedBy::Api, Some(480)));
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn an_operator_ends_a_call_that_was_placed_once_it_can_be_cancelled() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    hang_up(&mut world);
    world.expect(CALLER, "SIP/2.0 480");
    world.expect_silence();
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!((record(&world).ended_by, record(&world).sip_code_b), (EndedBy::Api, Some(487)));
    world.expect_nothing_left();
}

#[test]
fn an_operator_ends_a_call_that_rings() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.pass(Duration::from_secs(7));
    hang_up(&mut world);
    world.expect(CALLER, "SIP/2.0 480");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!((record(&world).ended_by, record(&world).ring_ms), (EndedBy::Api, 7_000));
    world.expect_nothing_left();
}

#[test]
fn an_operator_ends_a_call_whose_answer_is_not_acknowledged() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    hang_up(&mut world);
    let bye = world.expect(CALLEE, "BYE");
    world.expect_silence();
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    assert_eq!((record(&world).ended_by, record(&world).disposition), (EndedBy::Api, Disposition::Answered));
    world.expect_nothing_left();
}

#[test]
fn an_operator_ends_a_call_that_is_up_while_a_side_renegotiates() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, "Content-Type: application/sdp\n\n") + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let again = world.expect(CALLEE, "INVITE");
    hang_up(&mut world);
    // RFC 3261 §15.1.2: what is pending is answered.
    assert_eq!(world.expect(CALLER, "SIP/2.0 487").header("CSeq"), "2 INVITE");
    let a = world.expect(CALLER, "BYE");
    let b = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &response(&a, "200 OK", "", None));
    world.receive(CALLEE, &response(&b, "200 OK", "", None));
    assert_eq!(record(&world).ended_by, EndedBy::Api);
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn the_end_of_everything_ends_each_call_and_takes_no_new_one() {
    let (mut world, _, _) = call_up();
    world.input(Input::Command { id: 1, command: Command::EndAll });
    for side in [CALLER, CALLEE] {
        let bye = world.expect(side, "BYE");
        world.receive(side, &response(&bye, "200 OK", "", None));
    }
    assert_eq!(record(&world).ended_by, EndedBy::Policy);
    world.receive(CALLER, &invite("9", Some(OFFER)).replace("call-a", "call-z"));
    assert!(world.expect(CALLER, "SIP/2.0 503").has("Retry-After"));
    world.expect_nothing_left();
}

/// RFC 3261 §15.1.1: who sends BYE has left, whatever is said to it.
#[test]
fn bye_that_requires_what_nobody_knows_is_refused_and_ends_the_call_all_the_same() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("BYE", 2, &ok, "Require: foo\n"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 420").header("Unsupported"), "foo");
    for side in [CALLER, CALLEE] {
        let bye = world.expect(side, "BYE");
        world.receive(side, &response(&bye, "200 OK", "", None));
    }
    world.expect_silence();
    assert_eq!(world.records[0].ended_by, EndedBy::Caller);
    world.expect_nothing_left();
}
