//! Offers within a call: glare, refusals, silence, and requests that are carried across beside them.

use std::time::Duration;

use crate::harness::*;
use call::EndedBy;

#[test]
fn the_callee_holds_and_resumes_too() {
    let (mut world, ok, out) = call_up();
    for (cseq, direction) in [(1, "sendonly"), (2, "sendrecv")] {
        let offer = format!("{ANSWER}a={direction}\n");
        world.receive(CALLEE, &(from_callee("INVITE", cseq, &out, KIND) + &offer));
        world.expect(CALLEE, "SIP/2.0 100");
        let across = world.expect(CALLER, "INVITE");
        assert!(
            across.body().contains(&format!("a={direction}\r\n")) && across.body().contains("m=audio 30000")
        );
        world.receive(CALLER, &response(&across, "200 OK", "", Some(OFFER)));
        let ack = world.expect(CALLER, "ACK");
        assert_eq!(ack.header("CSeq").split(' ').next(), across.header("CSeq").split(' ').next());
        world.expect(CALLEE, "SIP/2.0 200");
        world.receive(CALLEE, &from_callee("ACK", cseq, &out, ""));
        world.expect_silence();
    }
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn glare_is_refused_on_both_sides_and_ours_goes_out_again_in_its_time() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 100");
    world.expect(CALLEE, "SIP/2.0 491");
    world.receive(CALLEE, &from_callee("ACK", 1, &out, "").replace("bKbACK1", "bKbINVITE1"));
    world.receive(CALLEE, &response(&across, "491 Request Pending", "", None));
    world.expect(CALLEE, "ACK");
    // RFC 3261 §14.1: leg B's Call-ID is ours, so 2.1 to 4 s.
    world.pass(Duration::from_millis(2_099));
    world.expect_silence();
    // Answered as soon as it comes, whenever that is, so that it is not sent twice.
    for _ in 0..191 {
        world.pass(Duration::from_millis(10));
        if !world.sent.is_empty() {
            break;
        }
    }
    let again = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn a_resume_without_an_offer_is_answered_in_the_ack() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    assert_eq!(across.body(), "");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    let offered = world.expect(CALLER, "SIP/2.0 200");
    assert!(offered.body().contains("m=audio 30000"));
    world.expect_silence();
    world.receive(CALLER, &(from_caller("ACK", 2, &ok, KIND) + OFFER));
    let ack = world.expect(CALLEE, "ACK");
    assert!(ack.body().contains("m=audio 30002"));
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn an_offer_in_a_200_that_cannot_be_read_is_acknowledged_refused_and_put_back() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some("v=0\nm=audio nothing\n")));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 502");
    let back = world.expect(CALLEE, "INVITE");
    assert_eq!(back.body(), out.body());
    world.receive(CALLEE, &response(&back, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn a_peer_that_says_100_and_no_more_does_not_hold_the_call_for_ever() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    world.pass(Duration::from_secs(181));
    assert!(world.sent.iter().any(|sent| sent.text.starts_with("SIP/2.0 487")), "{:#?}", world.sent);
    for side in [CALLER, CALLEE] {
        let to = side.parse().unwrap();
        assert!(world.sent.iter().any(|sent| sent.to == to && sent.text.starts_with("BYE")), "{side}");
    }
    world.pass(Duration::from_secs(33));
    assert_eq!(world.records.len(), 1);
    world.expect_nothing_left();
}

#[test]
fn a_re_invite_that_is_pending_when_the_call_ends_leaves_nothing_behind() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.sent.retain(|sent| sent.text.starts_with("BYE"));
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records.len(), 1);
    world.expect_nothing_left();
}

#[test]
fn a_481_to_a_re_invite_ends_both_sides() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "481 Call/Transaction Does Not Exist", "", None));
    world.expect(CALLEE, "ACK");
    world.sent.retain(|sent| sent.text.starts_with("BYE"));
    let mut byes: Vec<Sent> = world.sent.drain(..).collect();
    assert_eq!(byes.len(), 2);
    for bye in byes.drain(..) {
        world.receive(&bye.to.to_string(), &response(&bye, "200 OK", "", None));
    }
    assert_eq!(world.records[0].ended_by, EndedBy::Error);
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn info_crosses_with_its_body_and_so_does_its_answer() {
    let (mut world, ok, _) = call_up();
    let digit = "Content-Type: application/dtmf-relay\nX-Key: 5\n\nSignal=5\n";
    world.receive(CALLER, &from_caller("INFO", 2, &ok, digit));
    let across = world.expect(CALLEE, "INFO sip:bob@10.2.2.2:5060 SIP/2.0");
    assert_eq!((across.header("Content-Type"), across.header("X-Key")), ("application/dtmf-relay", "5"));
    assert_eq!((across.body(), across.header("CSeq")), ("Signal=5\r\n", "2 INFO"));
    world.expect_silence();
    world.receive(CALLEE, &response(&across, "200 Pressed", "", None));
    let answer = world.expect(CALLER, "SIP/2.0 200 Pressed");
    assert_eq!(answer.header("CSeq"), "2 INFO");
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn info_of_the_callee_crosses_to_the_caller() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLEE, &from_callee("INFO", 1, &out, ""));
    let across = world.expect(CALLER, "INFO sip:alice@10.1.1.1:5060 SIP/2.0");
    world.receive(CALLER, &response(&across, "415 Unsupported Media Type", "", None));
    world.expect(CALLEE, "SIP/2.0 415");
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn an_info_that_nobody_answers_is_forgotten_and_ends_the_call() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("INFO", 2, &ok, ""));
    world.pass(Duration::from_secs(33));
    // RFC 4320: no 408 for anything but INVITE.
    assert!(!world.sent.iter().any(|sent| sent.text.starts_with("SIP/2.0")), "{:#?}", world.sent);
    world.sent.clear();
    world.pass(Duration::from_secs(33));
    assert_eq!(world.records.len(), 1);
    world.expect_nothing_left();
}

#[test]
fn a_request_that_was_overtaken_gets_500() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("OPTIONS", 5, &ok, ""));
    let options = world.expect(CALLEE, "OPTIONS");
    world.receive(CALLEE, &response(&options, "200 OK", "", None));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("INFO", 4, &ok, ""));
    world.expect(CALLER, "SIP/2.0 500");
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 6);
}

#[test]
fn an_ack_with_a_bad_answer_ends_both_sides_with_488() {
    let two_streams = format!("{OFFER}m=video 4002 RTP/AVP 96\n");
    for answer in ["v=0\nm=audio nothing\n", &two_streams] {
        let (mut world, ok, _) = call_up();
        world.receive(CALLER, &from_caller("INVITE", 2, &ok, ""));
        world.expect(CALLER, "SIP/2.0 100");
        let across = world.expect(CALLEE, "INVITE");
        world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
        world.expect(CALLER, "SIP/2.0 200");
        world.receive(CALLER, &(from_caller("ACK", 2, &ok, KIND) + answer));
        // The callee's 2xx is acknowledged all the same.
        assert!(world.sent.iter().any(|sent| sent.text.starts_with("ACK")), "{answer}");
        assert!(ends_by_the_box(&mut world).contains("488"), "{answer}");
    }
}

#[test]
fn an_answer_with_another_number_of_streams_is_refused_and_put_back() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &format!("{OFFER}a=sendonly\n")));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    let two_streams = format!("{ANSWER}m=video 5002 RTP/AVP 96\n");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&two_streams)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 502");
    let back = world.expect(CALLEE, "INVITE");
    let rest = |sent: &Sent| sent.body().split_once("s=-").unwrap().1.to_owned();
    assert_eq!(rest(&back), rest(&out));
    world.receive(CALLEE, &response(&back, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn an_offer_of_the_peer_that_comes_while_ours_backs_off_goes_first() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "491 Request Pending", "", None));
    world.expect(CALLEE, "ACK");
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + &format!("{ANSWER}a=sendonly\n")));
    world.expect(CALLEE, "SIP/2.0 100");
    assert_eq!(world.expect(CALLER, "SIP/2.0 491").header("CSeq"), "2 INVITE");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, "").replace("bKACK2", "bKINVITE2"));
    let first = world.expect(CALLER, "INVITE");
    assert!(first.body().contains("a=sendonly"));
    world.receive(CALLER, &response(&first, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
    // Then the caller's, as it tries again.
    world.receive(CALLER, &(from_caller("INVITE", 3, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE");
}

#[test]
fn a_500_with_retry_after_is_tried_again_and_one_that_asks_for_much_crosses() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let mut across = world.expect(CALLEE, "INVITE");
    let busy = response(&across, "500 Busy", "", None);
    world.receive(CALLEE, &busy.replace("Contact", "Retry-After: 3\nContact"));
    world.expect(CALLEE, "ACK");
    world.pass(Duration::from_millis(2_900));
    world.expect_silence();
    world.pass(Duration::from_millis(200));
    across = world.expect(CALLEE, "INVITE");
    let busy = response(&across, "500 Busy", "", None);
    world.receive(CALLEE, &busy.replace("Contact", "Retry-After: 60\nContact"));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 500");
}

#[test]
fn a_description_in_an_ack_that_answers_nothing_is_not_heard() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, "Content-Type: application/sdp\n\n") + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    let talkative = from_caller("ACK", 2, &ok, "Content-Type: application/sdp\n\n") + OFFER;
    world.receive(CALLER, &(talkative + "m=video 40002 RTP/AVP 31\n"));
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1);
}
