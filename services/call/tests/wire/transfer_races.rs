//! What crosses while one side of a call gives its place to somebody else.

use crate::harness::*;
use crate::replaces::*;

const TO_CAROL: &str = "Refer-To: <sip:777@192.0.2.1>\n";

/// A description with a stream more than anybody offered.
fn too_many(answer: &str) -> String {
    format!("{answer}m=video 9 RTP/AVP 31\n")
}

#[test]
fn a_refused_replaces_is_refused_again_when_its_repetition_finds_the_call_free() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 100");
    let offer = world.expect(CALLER, "INVITE");
    world.receive(DESK, &pickup(&ok, ""));
    let refused = world.expect(DESK, "SIP/2.0 491");
    world.receive(CALLER, &response(&offer, "488 Not Acceptable Here", "", None));
    world.expect(CALLER, "ACK");
    world.expect(CALLEE, "SIP/2.0 488");
    world.receive(DESK, &pickup(&ok, ""));
    assert_eq!(world.expect(DESK, "SIP/2.0 491").text, refused.text);
    world.expect_silence();
}

#[test]
fn a_caller_that_hangs_up_does_not_cancel_who_comes_in_the_callees_place() {
    let (mut world, ok, out) = call_up();
    world.receive(DESK, &pickup_of_callee(&out, "p1"));
    world.expect(DESK, "SIP/2.0 100");
    world.expect(CALLER, "INVITE");
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    // 487 says that it has cancelled itself (RFC 3261 §21.4.25).
    world.expect(DESK, "SIP/2.0 480");
    world.expect(CALLEE, "BYE");
}

#[test]
fn who_leaves_our_offer_unanswered_does_not_cancel_who_comes() {
    let (mut world, ok, _) = call_up();
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&offer, "487 Request Terminated", "", None));
    world.expect(CALLEE, "ACK");
    world.expect(DESK, "SIP/2.0 480");
    world.expect_silence();
}

#[test]
fn who_stays_and_accepts_a_newcomer_unusably_goes_back_to_what_it_had() {
    let (mut world, ok, _) = call_up();
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(&too_many(ANSWER))));
    world.expect(CALLEE, "ACK");
    world.expect(DESK, "SIP/2.0 502");
    let back = world.expect(CALLEE, "INVITE");
    assert!(back.body().contains("m=audio"));
    world.receive(CALLEE, &response(&back, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn who_accepts_unusably_after_the_newcomer_gave_up_goes_back_to_what_it_had() {
    let (mut world, ok, _) = call_up();
    let text = pickup(&ok, "");
    world.receive(DESK, &text);
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(DESK, &text.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL"));
    world.expect(DESK, "SIP/2.0 200");
    world.expect(DESK, "SIP/2.0 487");
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(&too_many(ANSWER))));
    world.expect(CALLEE, "ACK");
    world.expect(CALLEE, "INVITE");
    world.expect_silence();
}

#[test]
fn a_wanted_party_that_accepts_unusably_goes_back_to_what_it_had() {
    let (mut world, ok, _, ok2, out2) = two_calls();
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    let offer = world.expect(FAR, "INVITE");
    let answer = ANSWER.replace("10.2.2.2", "10.3.3.3");
    world.receive(FAR, &response(&offer, "200 OK", "", Some(&too_many(&answer))));
    world.expect(FAR, "ACK");
    world.expect(CALLER, "NOTIFY");
    let back = world.expect(FAR, "INVITE");
    let ports = |sent: &Sent| sent.body().split_once("m=audio ").unwrap().1[..5].to_owned();
    // With the ports of its own call, not of the one that wanted it.
    assert_eq!((ports(&back), ports(&back) == ports(&offer)), (ports(&out2), false));
    world.expect_silence();
}

#[test]
fn a_refer_that_finds_the_other_call_busy_is_told_with_that_call() {
    let (mut world, ok, _, ok2, _) = two_calls();
    world.receive(CALLER, &of_second(&(from_caller("INVITE", 2, &ok2, KIND) + OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(FAR, "INVITE");
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    notified(&mut world, "SIP/2.0 491 Request Pending");
    world.expect_replays();
}

#[test]
fn the_offer_in_a_2xx_is_acknowledged_when_who_would_answer_it_leaves() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 100");
    let asked = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&asked, "200 OK", "", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("REFER", 3, &ok, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 202");
    world.expect(CALLER, "NOTIFY");
    world.expect(CALLEE, "INVITE sip:777@");
    world.expect_silence();
    world.receive(CALLER, &from_caller("BYE", 4, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!((ack.header("CSeq"), ack.header("Call-ID")), ("2 ACK", out.header("Call-ID")));
    assert!(ack.body().contains("m=audio"));
    world.expect_silence();
}

#[test]
fn ports_for_an_offer_that_was_taken_back_are_not_the_transfers() {
    let (mut world, ok, _) = call_up();
    (world.slow_ports, world.refuse_ports) = (true, true);
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &too_many(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let cancel = from_caller("CANCEL", 2, &ok, "").replace("bKCANCEL2", "bKINVITE2");
    world.receive(CALLER, &cancel);
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &from_caller("REFER", 3, &ok, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 491");
    world.open_ports();
    world.receive(CALLER, &from_caller("REFER", 4, &ok, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 202");
    world.expect(CALLER, "NOTIFY");
    world.expect(CALLEE, "INVITE sip:777@");
    world.expect_silence();
}

#[test]
fn the_last_refusal_of_a_side_that_left_does_not_end_the_transfer() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 100");
    let across = world.expect(CALLER, "INVITE");
    world.receive(CALLEE, &from_callee("CANCEL", 1, &out, "").replace("bKbCANCEL1", "bKbINVITE1"));
    world.expect(CALLEE, "SIP/2.0 200");
    world.expect(CALLEE, "SIP/2.0 487");
    world.receive(CALLER, &response(&across, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    let back = world.expect(CALLER, "INVITE");
    world.receive(CALLER, &from_caller("REFER", 2, &ok, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 202");
    world.expect(CALLER, "NOTIFY");
    world.expect(CALLEE, "INVITE sip:777@");
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    // What it was offered again is of no matter any more.
    world.receive(CALLER, &response(&back, "487 Request Terminated", "", None));
    world.expect(CALLER, "ACK");
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1);
}
