//! CANCEL from the box (RFC 3261 §9.1): when it goes out, what it says, and the answers that cross it.

use std::time::Duration;

use crate::harness::*;
use call::{Disposition, EndedBy};

/// The caller leaves and acknowledges its 487.
fn caller_leaves(world: &mut World, extra: &str) {
    world.receive(CALLER, &cancel("1").replace("X-Trace: 42", extra));
    world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &gone));
}

fn ended_twice_over(world: &mut World, out: &Sent) {
    let bye = world.expect(CALLEE, "BYE sip:bob@10.2.2.2:5060 SIP/2.0");
    assert_eq!(bye.tag("To"), "b1");
    assert_eq!(bye.header("Call-ID"), out.header("Call-ID"));
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
}

#[test]
fn cancel_c1_says_what_its_invite_said_and_why() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    caller_leaves(&mut world, "Reason: Q.850;cause=16\nReason: SIP;cause=200;text=\"elsewhere\"");
    let theirs = world.expect(CALLEE, "CANCEL sip:4912345@10.2.2.2:5060 SIP/2.0");
    for same in ["Via", "From", "To", "Call-ID"] {
        assert_eq!(theirs.header(same), out.header(same));
    }
    assert_eq!(theirs.text.matches("Via: ").count(), 1);
    assert_eq!(theirs.header("CSeq"), "1 CANCEL");
    assert_eq!(theirs.header("Max-Forwards"), "70");
    assert_eq!((theirs.header("Content-Length"), theirs.body()), ("0", ""));
    let reasons: Vec<_> = theirs.text.lines().filter(|line| line.starts_with("Reason: ")).collect();
    assert_eq!(
        reasons.join(",").replace("Reason: ", "").replace(", ", ","),
        "Q.850;cause=16,SIP;cause=200;text=\"elsewhere\""
    );
    assert_eq!(world.core.stats().calls, 1);
    world.receive(CALLEE, &response(&theirs, "200 OK", "b1", None));
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!((ack.header("CSeq"), ack.tag("To")), ("1 ACK", "b1"));
    assert_eq!(ack.header("Via"), out.header("Via"));
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((record.disposition, record.ended_by), (Disposition::Cancelled, EndedBy::Caller));
    assert_eq!((record.sip_code_a, record.sip_code_b, record.q850), (Some(487), Some(487), Some(16)));
    world.expect_nothing_left();
}

#[test]
fn cancel_c2_waits_for_the_first_provisional() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    caller_leaves(&mut world, "Subject: x");
    world.expect_silence();
    world.pass(Duration::from_millis(600));
    assert_eq!(world.expect(CALLEE, "INVITE").text, out.text);
    world.receive(CALLEE, &response(&out, "100 Trying", "", None));
    let theirs = world.expect(CALLEE, "CANCEL");
    assert_eq!(theirs.header("Reason"), "SIP;cause=487");
    world.receive(CALLEE, &response(&theirs, "200 OK", "b1", None));
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    world.expect_nothing_left();
}

#[test]
fn cancel_c2_without_any_provisional_ends_with_timer_b() {
    let mut world = World::new();
    call_placed(&mut world);
    caller_leaves(&mut world, "Subject: x");
    world.pass(Duration::from_secs(33));
    assert!(world.sent.iter().all(|sent| sent.text.starts_with("INVITE")), "{:#?}", world.sent);
    world.sent.clear();
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((record.disposition, record.sip_code_b), (Disposition::Cancelled, None));
    world.expect_nothing_left();
}

#[test]
fn cancel_c3_a_200_that_crosses_it_gets_ack_and_bye() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    caller_leaves(&mut world, "Reason: SIP;cause=487;text=\"gone\"");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ack = world.expect(CALLEE, "ACK sip:bob@10.2.2.2:5060 SIP/2.0");
    assert_eq!(ack.header("CSeq"), "1 ACK");
    assert_ne!(ack.header("Via"), out.header("Via"));
    assert_eq!(world.sent[0].header("Reason"), "SIP;cause=487;text=\"gone\"");
    assert_eq!(world.sent[0].header("CSeq"), "2 BYE");
    ended_twice_over(&mut world, &out);
    // A repeated 200 has lost the ACK: it gets the same one, and no second BYE.
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    assert_eq!(world.expect(CALLEE, "ACK").text, ack.text);
    world.expect_silence();
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!(
        (record.disposition, record.answered_at, record.duration_ms),
        (Disposition::Cancelled, None, 0)
    );
    assert_eq!((record.sip_code_a, record.sip_code_b), (Some(487), Some(200)));
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn cancel_c4_a_200_before_the_waiting_one_gets_ack_and_bye_and_no_cancel() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    caller_leaves(&mut world, "Subject: x");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLEE, "ACK sip:bob@10.2.2.2:5060 SIP/2.0");
    ended_twice_over(&mut world, &out);
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn cancel_c5_a_failure_before_the_waiting_one_is_acknowledged_and_not_cancelled() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    caller_leaves(&mut world, "Subject: x");
    world.receive(CALLEE, &response(&out, "486 Busy Here", "b1", None));
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!(ack.header("Via"), out.header("Via"));
    world.expect_silence();
    assert_eq!(world.records[0].sip_code_b, Some(486));
    world.expect_nothing_left();
}

/// A 200 that comes after the INVITE was forgotten: ACK and BYE, and for its repetition the ACK alone.
fn a_late_200_is_ended(world: &mut World, out: &Sent) {
    world.sent.clear();
    world.receive(CALLEE, &response(out, "200 OK", "b1", Some(ANSWER)));
    let ack = world.expect(CALLEE, "ACK sip:bob@10.2.2.2:5060 SIP/2.0");
    ended_twice_over(world, out);
    world.receive(CALLEE, &response(out, "200 OK", "b1", Some(ANSWER)));
    assert_eq!(world.expect(CALLEE, "ACK").text, ack.text);
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn cancel_c6_without_a_final_response_the_invite_is_forgotten_and_a_late_200_is_ended() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    caller_leaves(&mut world, "Subject: x");
    let theirs = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&theirs, "200 OK", "b1", None));
    world.pass(Duration::from_secs(33));
    assert_eq!((world.core.stats().calls, world.core.stats().transactions), (0, 0));
    assert_eq!(world.records.len(), 1);
    world.pass(Duration::from_secs(20));
    a_late_200_is_ended(&mut world, &out);
}

#[test]
fn cancel_c6_a_200_after_timer_b_is_ended_too() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    caller_leaves(&mut world, "Subject: x");
    world.pass(Duration::from_secs(40));
    a_late_200_is_ended(&mut world, &out);
}

#[test]
fn a_200_of_a_target_that_was_given_up_after_timer_b_is_ended() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    world.pass(Duration::from_millis(32_100));
    assert!(world.sent.iter().any(|sent| sent.to == SPARE.parse().unwrap()), "{:#?}", world.sent);
    world.sent.clear();
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    ended_twice_over(&mut world, &out);
    world.expect_silence();
}

#[test]
fn cancel_c7_a_481_to_the_cancel_has_no_effect() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    caller_leaves(&mut world, "Subject: x");
    let theirs = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&theirs, "481 Call/Transaction Does Not Exist", "b1", None));
    world.expect_silence();
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    ended_twice_over(&mut world, &out);
    world.expect_nothing_left();
}

#[test]
fn cancel_c8_every_fork_that_answers_gets_ack_and_bye() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLEE, &response(&out, "180 Ringing", "b2", None));
    world.expect(CALLER, "SIP/2.0 180");
    caller_leaves(&mut world, "Subject: x");
    world.expect(CALLEE, "CANCEL");
    for tag in ["b1", "b2"] {
        world.receive(CALLEE, &response(&out, "200 OK", tag, Some(ANSWER)));
        assert_eq!(world.expect(CALLEE, "ACK").tag("To"), tag);
        let bye = world.expect(CALLEE, "BYE");
        assert_eq!(bye.tag("To"), tag);
        world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    }
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn a_fork_that_answers_second_is_ended_once_and_its_repetitions_acknowledged() {
    let (mut world, _, out) = call_up();
    world.receive(CALLEE, &response(&out, "200 OK", "b2", Some(ANSWER)));
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!(ack.tag("To"), "b2");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.tag("To"), "b2");
    world.receive(CALLEE, &response(&out, "200 OK", "b2", Some(ANSWER)));
    assert_eq!(world.expect(CALLEE, "ACK").text, ack.text);
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn cancel_c11_no_further_target_is_tried() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    caller_leaves(&mut world, "Subject: x");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&out, "503 Service Unavailable", "b1", None));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    assert_eq!(world.records.len(), 1);
    world.expect_nothing_left();
}

#[test]
fn timer_c_cancels_a_target_that_rings_too_long_and_the_next_is_tried() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.pass(Duration::from_secs(100));
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.pass(Duration::from_secs(100));
    world.expect_silence();
    // A hop that only repeats its 100 is no news of the phone (RFC 3261 §16.7 item 2).
    world.receive(CALLEE, &response(&out, "100 Trying", "", None));
    world.pass(Duration::from_secs(81));
    let theirs = world.sent.iter().position(|sent| sent.text.starts_with("CANCEL")).expect("CANCEL");
    let next = world.sent.iter().position(|sent| sent.to == SPARE.parse().unwrap()).expect("next target");
    assert!(theirs < next);
    world.sent.clear();
    world.pass(Duration::from_secs(33));
    world.sent.clear();
    let record = &world.records[0];
    assert_eq!((record.is_last, record.disposition), (false, Disposition::NoAnswer));
    assert_eq!((record.ended_by, record.ring_ms), (EndedBy::Timer, 280_000));
    world.expect_nothing_left();
}
