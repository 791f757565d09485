//! One call from INVITE to record, and what each side sees of the other.

use std::time::Duration;

use crate::harness::*;
use call::{Disposition, EndedBy};

#[test]
fn a_call_goes_through_and_ends_with_one_true_record() {
    let (mut world, ok, _) = call_up();
    world.pass(Duration::from_secs(10));
    world.expect_silence();
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE sip:bob@10.2.2.2:5060 SIP/2.0");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((record.attempt, record.is_last), (1, true));
    assert_eq!((record.disposition, record.ended_by), (Disposition::Answered, EndedBy::Caller));
    assert_eq!((record.sip_code_a, record.sip_code_b), (Some(200), Some(200)));
    assert_eq!(record.duration_ms, 10_000);
    assert_eq!((&*record.caller, &*record.called), ("alice", "4912345"));
    assert_eq!((record.trunk_in.as_deref(), record.trunk_out.as_deref()), (Some("pbx"), Some("carrier")));
    assert_eq!((record.codec_a.as_deref(), record.codec_b.as_deref()), (Some("PCMU"), Some("PCMU")));
    assert_eq!((record.from_a.packets, record.from_b.packets), (11, 22));
    world.expect_nothing_left();
}

#[test]
fn neither_side_sees_anything_of_the_other() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    for inner in ["10.1.1.1", "call-a", "a1", "4000"] {
        assert!(
            !out.text.contains(&format!("{inner};")) && !out.text.contains(&format!("{inner}\r")),
            "{inner}:\n{}",
            out.text
        );
    }
    assert!(out.header("From").starts_with("\"Alice\" <sip:alice@192.0.2.1>;tag="));
    assert_eq!(out.header("X-Trace"), "42");
    assert_eq!(out.header("Max-Forwards"), "69");
    assert!(
        out.body().contains("m=audio 30002 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"),
        "{}",
        out.body()
    );
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert!(!ok.text.contains("10.2.2.2"), "{}", ok.text);
    assert!(ok.body().contains("m=audio 30000 RTP/AVP 0\r\n"), "{}", ok.body());
}

#[test]
fn a_bye_of_the_callee_reaches_the_caller_with_its_reason() {
    let (mut world, _, out) = call_up();
    world.receive(CALLEE, &from_callee("BYE", 7, &out, "Reason: Q.850;cause=16;text=\"bye\"\n"));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(CALLER, "BYE sip:alice@10.1.1.1:5060 SIP/2.0");
    assert_eq!(bye.header("Reason"), "Q.850;cause=16;text=\"bye\"");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records[0].ended_by, EndedBy::Callee);
    assert_eq!(world.records[0].q850, Some(16));
    world.expect_nothing_left();
}

#[test]
fn hold_and_resume_cross_and_the_version_rises_by_one() {
    let (mut world, ok, _) = call_up();
    let hold = OFFER.replace("a=rtpmap", "a=sendonly\na=rtpmap");
    let again = from_caller("INVITE", 2, &ok, "Content-Type: application/sdp\n\n") + &hold;
    world.receive(CALLER, &again);
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE sip:bob@10.2.2.2:5060 SIP/2.0");
    assert!(out.body().contains("a=sendonly\r\n"));
    assert!(out.body().contains(" 2 IN IP4 192.0.2.1"), "{}", out.body());
    let held = ANSWER.to_owned() + "a=recvonly\n";
    world.receive(CALLEE, &response(&out, "200 OK", "", Some(&held)));
    world.expect(CALLEE, "ACK");
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert!(answer.body().contains("a=recvonly"));
    world.receive(CALLER, &from_caller("ACK", 2, &answer, ""));
    world.expect_silence();
    world.receive(CALLER, &(from_caller("INVITE", 3, &ok, "Content-Type: application/sdp\n\n") + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "488 Not Acceptable Here", "", None));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 488");
    world.receive(CALLER, &from_caller("BYE", 4, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "BYE");
    world.expect_nothing_left();
}

#[test]
fn a_call_without_offer_stays_without_one_end_to_end() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(out.body(), "");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert!(ok.body().contains("m=audio 30000"));
    world.expect_silence();
    world.receive(CALLER, &(from_caller("ACK", 1, &ok, "Content-Type: application/sdp\n\n") + OFFER));
    let ack = world.expect(CALLEE, "ACK");
    assert!(ack.body().contains("m=audio 30002"), "{}", ack.text);
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "BYE");
    world.expect_nothing_left();
}

#[test]
fn the_next_target_is_tried_when_the_first_fails_and_not_when_it_is_busy() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&first, "503 Service Unavailable", "b0", None));
    world.expect(CALLEE, "ACK");
    let second = world.expect(SPARE, "INVITE sip:4912345@10.3.3.3:5060");
    assert_ne!(first.header("Call-ID"), second.header("Call-ID"));
    world.receive(SPARE, &response(&second, "486 Busy Here", "b1", None));
    world.expect(SPARE, "ACK");
    world.expect(CALLER, "SIP/2.0 486 Busy Here");
    let kinds: Vec<_> =
        world.records.iter().map(|r| (r.attempt, r.is_last, r.sip_code_b, r.disposition)).collect();
    assert_eq!(kinds, [(1, false, Some(503), Disposition::Failed), (2, true, Some(486), Disposition::Busy)]);
    world.expect_nothing_left();
}

#[test]
fn ports_that_run_out_are_told_before_anything_rings() {
    let mut world = World::new();
    world.refuse_ports = true;
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let refusal = world.expect(CALLER, "SIP/2.0 503");
    assert!(refusal.has("Retry-After"));
    world.expect_silence();
}

#[test]
fn an_answer_with_more_streams_waits_for_its_ports() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let video = ANSWER.to_owned() + "m=video 5002 RTP/AVP 96\na=rtpmap:96 H264/90000\n";
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&video)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.body().lines().filter(|line| line.starts_with("m=")).count(), 2);
    assert!(!ok.body().contains("m=video 0 "), "{}", ok.body());
}

#[test]
fn cancel_s1_c1_is_carried_across_and_both_sides_end() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    let ringing = world.expect(CALLER, "SIP/2.0 180");
    let cancel = invite("1", None).replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL");
    world.receive(CALLER, &cancel);
    let ok = world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    assert_eq!((ok.tag("To"), gone.tag("To")), (ringing.tag("To"), ringing.tag("To")));
    let theirs = world.expect(CALLEE, "CANCEL");
    assert_eq!(theirs.header("Via"), out.header("Via"));
    assert_eq!(theirs.header("To"), out.header("To"));
    world.receive(CALLEE, &response(&theirs, "200 OK", "b1", None));
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!(world.records[0].disposition, Disposition::Cancelled);
    assert_eq!(world.records[0].sip_code_b, Some(487));
    world.receive(CALLER, &cancel);
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
    world.receive(CALLER, &from_caller("ACK", 1, &gone, "").replace("bKACK1", "bK1"));
    world.expect_nothing_left();
}

#[test]
fn a_trunk_s_calls_leave_by_the_listener_that_it_names() {
    let mut world =
        World::with(call::RegistrarPolicy::Closed, |trunks| trunks[1].listener = Some("outside".into()));
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert!(out.header("Via").contains(OUTSIDE) && out.header("Contact").contains(OUTSIDE), "{}", out.text);
}

#[test]
fn a_failure_that_comes_again_gets_its_ack_again_and_is_told_once() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    let busy = response(&out, "486 Busy Here", "b1", None);
    world.receive(CALLEE, &busy);
    let ack = world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 486");
    world.receive(CALLEE, &busy);
    assert_eq!(world.expect(CALLEE, "ACK").text, ack.text);
    world.expect_silence();
}

/// A call that rings, and that its caller wants answered within one second more.
fn about_to_expire() -> (World, Sent) {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("X-Trace: 42", "Expires: 30"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.pass(Duration::from_secs(29));
    (world, out)
}

#[test]
fn an_invite_that_expires_is_refused_with_487_and_the_callee_cancelled() {
    let (mut world, out) = about_to_expire();
    world.expect_silence();
    world.pass(Duration::from_secs(1));
    let refusal = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &refusal));
    let cancel = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&cancel, "200 OK", "b1", None));
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    let record = &world.records[0];
    assert_eq!((record.disposition, record.ended_by), (call::Disposition::NoAnswer, call::EndedBy::Timer));
    assert_eq!(record.sip_code_a, Some(487));
    world.expect_nothing_left();
}

#[test]
fn an_invite_that_is_answered_in_time_does_not_expire_any_more() {
    let (mut world, out) = about_to_expire();
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.pass(Duration::from_secs(100));
    ends_by_the_caller(&mut world, &ok, 2);
}
