//! Reliable provisional responses (RFC 3262): each leg has its own, whatever the other side knows of them.

use std::time::Duration;

use crate::harness::*;
use call::Disposition;

const KIND: &str = "Content-Type: application/sdp\n\n";

/// The caller's INVITE that says this of 100rel.
fn asking(says: &str, body: Option<&str>) -> String {
    invite("1", body).replace("X-Trace: 42", says)
}

/// A call placed by a caller that says this: the box's INVITE.
fn placed(world: &mut World, says: &str, body: Option<&str>) -> Sent {
    world.receive(CALLER, &asking(says, body));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE")
}

/// The callee's reliable provisional response.
fn reliable(out: &Sent, line: &str, rseq: u32, tag: &str, body: Option<&str>) -> String {
    response(out, line, tag, body).replacen(
        "Contact:",
        &format!("Require: 100rel\nRSeq: {rseq}\nContact:"),
        1,
    )
}

fn rseq(sent: &Sent) -> u32 {
    assert_eq!(sent.header("Require"), "100rel");
    sent.header("RSeq").parse().unwrap()
}

/// The caller's PRACK of this response.
fn prack(cseq: u32, of: &Sent, extra: &str) -> String {
    from_caller("PRACK", cseq, of, &format!("RAck: {} 1 INVITE\n{extra}", of.header("RSeq")))
}

/// The callee's 200 to a PRACK of the box.
fn answered(world: &mut World, prack: &Sent) {
    world.receive(CALLEE, &response(prack, "200 OK", "", None));
}

#[test]
fn what_each_side_can_do_is_said_to_the_other_where_it_can_work() {
    for (says, body, offered) in [
        ("X-Trace: 42", Some(OFFER), true),
        ("X-Trace: 42", None, false),
        ("Supported: timer, 100rel", None, true),
        ("Require: 100rel", None, true),
    ] {
        let mut world = World::new();
        let out = placed(&mut world, says, body);
        assert_eq!(out.header("Supported").contains("100rel"), offered, "{says} {body:?}");
        assert!(!out.has("Require"));
    }
    let mut world = World::new();
    world.receive(CALLER, &asking("Require: 100rel, outbound", Some(OFFER)));
    assert_eq!(world.expect(CALLER, "SIP/2.0 420").header("Unsupported"), "outbound");
}

#[test]
fn a_reliable_18x_is_acknowledged_for_a_caller_that_knows_nothing_of_it() {
    let mut world = World::new();
    let out = placed(&mut world, "X-Trace: 42", Some(OFFER));
    let route = "Record-Route: <sip:10.2.2.9;lr>\nContact:";
    let ringing =
        reliable(&out, "183 Session Progress", 71, "b1", Some(ANSWER)).replacen("Contact:", route, 1);
    world.receive(CALLEE, &ringing);
    let ours = world.expect("10.2.2.9:5060", "PRACK sip:bob@10.2.2.2:5060 SIP/2.0");
    assert_eq!((ours.header("RAck"), ours.header("CSeq")), ("71 1 INVITE", "2 PRACK"));
    assert_eq!((ours.tag("To"), ours.header("Route")), ("b1", "<sip:10.2.2.9;lr>"));
    assert_eq!((ours.header("Max-Forwards"), ours.body()), ("70", ""));
    let across = world.expect(CALLER, "SIP/2.0 183");
    assert!(!across.has("RSeq") && !across.has("Require") && across.body().contains("m=audio 30000"));
    // The 18x again: the PRACK's own transaction looks after its loss.
    world.receive(CALLEE, &ringing);
    world.expect_silence();
    world.pass(Duration::from_millis(600));
    assert_eq!(world.expect("10.2.2.9:5060", "PRACK").text, ours.text);
    answered(&mut world, &ours);
    // The answer was given: the 2xx says no more of it, but to this caller it has to.
    world.receive(CALLEE, &response(&out, "200 OK", "b1", None));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.body(), across.body());
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!(ack.header("CSeq"), "1 ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.header("CSeq"), "3 BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.expect_nothing_left();
}

#[test]
fn a_caller_that_demands_it_gets_every_18x_reliably_from_a_callee_that_cannot() {
    let mut world = World::new();
    let out = placed(&mut world, "Require: 100rel", Some(OFFER));
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    let first = world.expect(CALLER, "SIP/2.0 180");
    world.receive(CALLEE, &response(&out, "183 Session Progress", "b1", Some(ANSWER)));
    // One at a time.
    world.expect_silence();
    world.receive(CALLER, &prack(2, &first, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let second = world.expect(CALLER, "SIP/2.0 183");
    assert_eq!(rseq(&second), rseq(&first) + 1);
    assert!(second.header("Allow").contains("PRACK"));
    // The 2xx waits: the caller has not acknowledged the description.
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect_silence();
    world.receive(CALLER, &prack(3, &second, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.header("CSeq"), "1 INVITE");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.expect_silence();
    assert_eq!(world.core.stats().calls_answered, 1);
}

#[test]
fn a_2xx_may_pass_an_18x_without_a_description() {
    let mut world = World::new();
    let out = placed(&mut world, "Require: 100rel", Some(OFFER));
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    let ringing = world.expect(CALLER, "SIP/2.0 180");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    // It is repeated no more, and a PRACK that was on its way is answered.
    world.receive(CALLER, &prack(2, &ringing, ""));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 PRACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.pass(Duration::from_secs(10));
    world.expect_silence();
}

#[test]
fn both_sides_reliable_and_the_offer_in_the_18x() {
    let mut world = World::new();
    let out = placed(&mut world, "Supported: 100rel", None);
    world.receive(CALLEE, &reliable(&out, "183 Session Progress", 9, "b1", Some(ANSWER)));
    let across = world.expect(CALLER, "SIP/2.0 183");
    assert!(across.body().contains("m=audio 30000") && rseq(&across) > 0);
    // Ours waits for the answer that the caller's brings.
    world.expect_silence();
    world.receive(CALLER, &prack(2, &across, &format!("{KIND}{OFFER}")));
    world.expect(CALLER, "SIP/2.0 200");
    let ours = world.expect(CALLEE, "PRACK");
    assert!(ours.body().contains("m=audio 30002") && ours.header("RAck") == "9 1 INVITE");
    answered(&mut world, &ours);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", None));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.body(), "");
    assert_eq!(world.expect(CALLEE, "ACK").body(), "");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.expect_silence();
}

#[test]
fn an_unreliable_18x_stays_so_for_a_caller_that_only_could() {
    let mut world = World::new();
    let out = placed(&mut world, "Supported: 100rel", Some(OFFER));
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    assert!(!world.expect(CALLER, "SIP/2.0 180").has("RSeq"));
    world.receive(CALLEE, &reliable(&out, "183 Session Progress", 1, "b1", Some(ANSWER)));
    world.expect(CALLEE, "PRACK");
    rseq(&world.expect(CALLER, "SIP/2.0 183"));
}

#[test]
fn a_reliable_18x_out_of_order_is_dropped_until_the_one_before_it_came() {
    let mut world = World::new();
    let out = placed(&mut world, "X-Trace: 42", Some(OFFER));
    world.receive(CALLEE, &reliable(&out, "180 Ringing", 5, "b1", None));
    world.expect(CALLEE, "PRACK");
    world.expect(CALLER, "SIP/2.0 180");
    let third = reliable(&out, "182 Queued", 7, "b1", None);
    world.receive(CALLEE, &third);
    world.expect_silence();
    world.receive(CALLEE, &reliable(&out, "181 Call Is Being Forwarded", 6, "b1", None));
    assert_eq!(world.expect(CALLEE, "PRACK").header("RAck"), "6 1 INVITE");
    world.expect(CALLER, "SIP/2.0 181");
    world.receive(CALLEE, &third);
    assert_eq!(world.expect(CALLEE, "PRACK").header("RAck"), "7 1 INVITE");
    world.expect(CALLER, "SIP/2.0 182");
}

#[test]
fn forked_early_dialogs_have_numbers_targets_and_cseq_of_their_own() {
    let mut world = World::new();
    let out = placed(&mut world, "X-Trace: 42", Some(OFFER));
    for (tag, rseq, contact) in [("b1", 100, "one"), ("b2", 3, "two"), ("b1", 101, "one")] {
        let ringing =
            reliable(&out, "180 Ringing", rseq, tag, None).replace("sip:bob@", &format!("sip:{contact}@"));
        world.receive(CALLEE, &ringing);
        let ours = world.expect(CALLEE, &format!("PRACK sip:{contact}@"));
        assert_eq!((ours.tag("To"), ours.header("RAck")), (tag, &*format!("{rseq} 1 INVITE")));
        assert_eq!(ours.header("CSeq"), if rseq == 101 { "3 PRACK" } else { "2 PRACK" });
        world.expect(CALLER, "SIP/2.0 180");
    }
    world.receive(CALLEE, &response(&out, "200 OK", "b2", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!((ack.tag("To"), ack.header("CSeq")), ("b2", "1 ACK"));
}

#[test]
fn a_prack_that_is_refused_or_lost_ends_nothing() {
    for answer in [Some("481 Call/Transaction Does Not Exist"), Some("500 Server Internal Error"), None] {
        let mut world = World::new();
        let out = placed(&mut world, "X-Trace: 42", Some(OFFER));
        world.receive(CALLEE, &reliable(&out, "180 Ringing", 1, "b1", None));
        let ours = world.expect(CALLEE, "PRACK");
        world.expect(CALLER, "SIP/2.0 180");
        if let Some(line) = answer {
            world.receive(CALLEE, &response(&ours, line, "", None));
        }
        world.pass(Duration::from_secs(40));
        world.sent.clear();
        world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
        world.expect(CALLER, "SIP/2.0 200");
        world.expect(CALLEE, "ACK");
    }
}

#[test]
fn an_18x_that_is_never_acknowledged_is_repeated_for_64_t1_and_ends_the_call() {
    let mut world = World::new();
    let out = placed(&mut world, "Require: 100rel", Some(OFFER));
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    let ringing = world.expect(CALLER, "SIP/2.0 180");
    // 0.5, 1, 2, 4, 8 and 16 s apart: doubled without an upper bound.
    for wait in [500, 1_000, 2_000, 4_000, 8_000, 16_000] {
        world.pass(Duration::from_millis(wait - 1));
        world.expect_silence();
        world.pass(Duration::from_millis(1));
        assert_eq!(world.expect(CALLER, "SIP/2.0 180").text, ringing.text);
    }
    world.pass(Duration::from_millis(500));
    let refused = world.expect(CALLER, "SIP/2.0 504");
    world.receive(CALLER, &ack_failure("1", &refused));
    let cancel = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&cancel, "200 OK", "b1", None));
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!((world.records.len(), world.records[0].sip_code_a), (1, Some(504)));
    world.expect_nothing_left();
}

#[test]
fn a_prack_that_matches_nothing_gets_481_and_the_18x_is_repeated_on() {
    let mut world = World::new();
    let out = placed(&mut world, "Require: 100rel", Some(OFFER));
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    let ringing = world.expect(CALLER, "SIP/2.0 180");
    let (number, right) = (rseq(&ringing), prack(2, &ringing, ""));
    let wrong = [
        right.replace(&format!("RAck: {number} 1"), &format!("RAck: {} 1", number + 1)),
        right.replace("1 INVITE\n", "2 INVITE\n"),
        right.replace("1 INVITE\n", "1 INFO\n"),
        right.lines().filter(|line| !line.starts_with("RAck")).map(|line| format!("{line}\n")).collect(),
    ];
    for (at, wrong) in wrong.iter().enumerate() {
        let cseq = 2 + at;
        let text =
            wrong.replace("CSeq: 2", &format!("CSeq: {cseq}")).replace("PRACK2", &format!("PRACK{cseq}"));
        world.receive(CALLER, &text);
        world.expect(CALLER, "SIP/2.0 481");
    }
    world.pass(Duration::from_millis(500));
    world.expect(CALLER, "SIP/2.0 180");
    world.receive(CALLER, &prack(9, &ringing, ""));
    world.expect(CALLER, "SIP/2.0 200");
    // A second one acknowledges nothing any more.
    world.receive(CALLER, &prack(10, &ringing, ""));
    world.expect(CALLER, "SIP/2.0 481");
    world.pass(Duration::from_secs(60));
    world.expect_silence();
}

#[test]
fn cancel_and_refusals_stop_what_is_repeated() {
    for cancelled in [true, false] {
        let mut world = World::new();
        let out = placed(&mut world, "Require: 100rel", Some(OFFER));
        world.receive(CALLEE, &response(&out, "183 Session Progress", "b1", Some(ANSWER)));
        let ringing = world.expect(CALLER, "SIP/2.0 183");
        let gone = if cancelled {
            world.receive(CALLER, &cancel("1"));
            world.expect(CALLER, "SIP/2.0 200");
            let gone = world.expect(CALLER, "SIP/2.0 487");
            world.expect(CALLEE, "CANCEL");
            gone
        } else {
            world.receive(CALLEE, &response(&out, "486 Busy Here", "b1", None));
            world.expect(CALLEE, "ACK");
            world.expect(CALLER, "SIP/2.0 486")
        };
        world.receive(CALLER, &ack_failure("1", &gone));
        world.pass(Duration::from_secs(20));
        assert!(!world.sent.iter().any(|sent| sent.text.starts_with("SIP/2.0 183")), "{ringing:?}");
        world.sent.clear();
        world.expect_nothing_left();
    }
}

#[test]
fn a_caller_that_leaves_while_the_2xx_waits_is_refused_and_the_callee_hung_up() {
    let mut world = World::new();
    let out = placed(&mut world, "Require: 100rel", Some(OFFER));
    world.receive(CALLEE, &response(&out, "183 Session Progress", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 183");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect_silence();
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &gone));
    world.expect(CALLEE, "ACK");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records[0].disposition, Disposition::Cancelled);
    world.expect_nothing_left();
}

#[test]
fn a_callee_that_leaves_while_its_2xx_waits_ends_the_call() {
    let mut world = World::new();
    let out = placed(&mut world, "Require: 100rel", Some(OFFER));
    world.receive(CALLEE, &response(&out, "183 Session Progress", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 183");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    let refused = world.expect(CALLER, "SIP/2.0 480");
    world.receive(CALLER, &ack_failure("1", &refused));
    world.expect_nothing_left();
}

#[test]
fn bye_in_an_early_dialog_is_the_callers_right_alone() {
    let mut world = World::new();
    let (out, ringing) = call_ringing(&mut world);
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 481");
    world.receive(CALLER, &from_caller("BYE", 2, &ringing, ""));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 BYE");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &gone));
    let cancel = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&cancel, "200 OK", "b1", None));
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    world.expect_nothing_left();
}

#[test]
fn a_re_invite_that_comes_too_early_is_put_off_and_ends_nothing() {
    let mut world = World::new();
    let (out, ringing) = call_ringing(&mut world);
    world.receive(CALLER, &(from_caller("INVITE", 2, &ringing, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    // RFC 3261 §14.2: the first INVITE has no final response yet.
    let later = world.expect(CALLER, "SIP/2.0 500");
    assert!(later.header("Retry-After").parse::<u32>().unwrap() < 10);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &(from_caller("INVITE", 3, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLER, "SIP/2.0 491");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.receive(CALLER, &(from_caller("INVITE", 4, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE");
}
