//! CANCEL towards the box (RFC 3261 §9.2): what the caller gets, and what the callee.

use std::time::Duration;

use crate::harness::*;
use call::{Disposition, EndedBy, RegistrarPolicy};
use routing::{Source, Trunk};

#[test]
fn cancel_s2_after_a_refusal_gets_200_with_its_tag_and_changes_nothing() {
    let mut world = World::new();
    let (out, ringing) = call_ringing(&mut world);
    world.receive(CALLEE, &response(&out, "486 Busy Here", "b1", None));
    world.expect(CALLEE, "ACK");
    let busy = world.expect(CALLER, "SIP/2.0 486");
    world.receive(CALLER, &cancel("1"));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.header("CSeq"), "1 CANCEL");
    assert_eq!([ok.tag("To"), busy.tag("To")], [ringing.tag("To"); 2]);
    world.expect_silence();
    world.receive(CALLER, &ack_failure("1", &busy));
    assert_eq!(world.records[0].disposition, Disposition::Busy);
    world.expect_nothing_left();
}

#[test]
fn cancel_s2_after_the_answer_gets_200_and_the_call_goes_on() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let answer = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &cancel("1"));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!((ok.header("CSeq"), ok.tag("To")), ("1 CANCEL", answer.tag("To")));
    world.expect_silence();
    world.receive(CALLER, &from_caller("ACK", 1, &answer, ""));
    world.receive(CALLER, &from_caller("BYE", 2, &answer, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records[0].disposition, Disposition::Answered);
    world.expect_nothing_left();
}

#[test]
fn cancel_s3_of_nothing_gets_481_with_the_same_tag_each_time() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLER, &cancel("other"));
    let first = world.expect(CALLER, "SIP/2.0 481");
    world.receive(CALLER, &cancel("other"));
    let again = world.expect(CALLER, "SIP/2.0 481");
    assert_eq!(first.text, again.text);
    assert!(!first.tag("To").is_empty());
    world.expect_silence();
    // The call that it did not match rings on.
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
}

/// The CANCEL of the caller's INVITE "1" by a gateway that made a new branch for it.
fn cancel_with_another_branch() -> String {
    cancel("other")
}

fn lenient() -> World {
    World::with(call::RegistrarPolicy::Closed, |trunks| {
        trunks[0].cancel_matching = routing::CancelMatching::Lenient;
    })
}

#[test]
fn cancel_s4_another_branch_is_refused_and_the_operator_told_once() {
    let mut world = World::new();
    call_ringing(&mut world);
    world.receive(CALLER, &cancel_with_another_branch());
    let first = world.expect(CALLER, "SIP/2.0 481");
    world.receive(CALLER, &cancel_with_another_branch());
    assert_eq!(world.expect(CALLER, "SIP/2.0 481").text, first.text);
    world.receive(CALLER, &cancel("third"));
    world.expect(CALLER, "SIP/2.0 481");
    world.expect_silence();
    let [warning] = &world.warnings[..] else { panic!("{:#?}", world.warnings) };
    assert!(warning.contains("z9hG4bKother") && warning.contains("z9hG4bK1\""), "{warning}");
    assert!(warning.contains("§9.1") && warning.contains("lenient"), "{warning}");
    // The right one is heard all the same.
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
}

#[test]
fn cancel_s4_another_branch_cancels_on_a_lenient_trunk_and_its_ack_is_found() {
    let mut world = lenient();
    let (out, ringing) = call_ringing(&mut world);
    world.receive(CALLER, &cancel_with_another_branch());
    let ok = world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    assert_eq!([ok.tag("To"), gone.tag("To")], [ringing.tag("To"); 2]);
    world.expect(CALLEE, "CANCEL");
    // The gateway makes a new branch for the ACK, too.
    world.receive(CALLER, &ack_failure("fourth", &gone));
    world.pass(Duration::from_millis(600));
    assert!(world.sent.iter().all(|sent| sent.to != CALLER.parse().unwrap()), "{:#?}", world.sent);
    world.sent.clear();
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert!(world.warnings.is_empty(), "{:#?}", world.warnings);
    world.expect_nothing_left();
}

#[test]
fn cancel_s4_lenient_still_wants_the_caller_the_number_and_the_request_uri() {
    let mut world = lenient();
    call_ringing(&mut world);
    let loose = cancel_with_another_branch();
    for (right, wrong) in [
        ("CANCEL sip:4912345@", "CANCEL sip:4912346@"),
        ("tag=a1", "tag=a2"),
        ("1 CANCEL", "2 CANCEL"),
        ("call-a@", "call-b@"),
    ] {
        let branch = wrong.replace([' ', ':', '@', '='], "");
        assert!(loose.contains(right));
        world.receive(
            CALLER,
            &loose.replace(right, wrong).replace("z9hG4bKother", &format!("z9hG4bK{branch}")),
        );
        world.expect(CALLER, "SIP/2.0 481");
    }
    world.receive(SPARE, &cancel("fifth"));
    world.expect(SPARE, "SIP/2.0 481");
    world.expect_silence();
}

#[test]
fn cancel_s4_a_sent_by_that_a_nat_rewrote_never_matters() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    let rewritten = |text: String| text.replace("UDP 10.1.1.1:5060", "UDP 198.51.100.9:61234;rport");
    world.receive(CALLER, &rewritten(cancel("1")));
    world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLER, &rewritten(ack_failure("1", &gone)));
    world.pass(Duration::from_millis(600));
    assert!(world.sent.iter().all(|sent| sent.to != CALLER.parse().unwrap()), "{:#?}", world.sent);
    world.sent.clear();
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    assert!(world.warnings.is_empty(), "{:#?}", world.warnings);
    world.expect_nothing_left();
}

#[test]
fn cancel_s4_of_a_peer_without_the_magic_cookie_matches_as_rfc_2543_did() {
    let mut world = World::new();
    let old = |text: String| text.replace(";branch=z9hG4bK1", "");
    world.receive(CALLER, &old(invite("1", Some(OFFER))));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.receive(CALLER, &old(cancel("1")));
    world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLER, &old(ack_failure("1", &gone)));
    world.receive(CALLER, &old(cancel("1")));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    world.pass(Duration::from_millis(600));
    assert!(world.sent.iter().all(|sent| sent.to != CALLER.parse().unwrap()), "{:#?}", world.sent);
    world.expect_nothing_left();
}

#[test]
fn cancel_s6_of_something_else_than_an_invite_gets_200_and_has_no_effect() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("INFO", 2, &ok, ""));
    let info = world.expect(CALLEE, "INFO");
    let cancel = from_caller("CANCEL", 2, &ok, "").replace("z9hG4bKCANCEL2", "z9hG4bKINFO2");
    world.receive(CALLER, &cancel);
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 CANCEL");
    world.expect_silence();
    world.receive(CALLEE, &response(&info, "200 OK", "", None));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 INFO");
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn cancel_s7_retransmitted_gets_the_same_200_and_has_no_second_effect() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLER, &cancel("1"));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLER, &ack_failure("1", &gone));
    world.receive(CALLER, &cancel("1"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").text, ok.text);
    world.expect_silence();
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn cancel_s8_before_routing_answered_ends_the_call_and_no_leg_b_is_ever_made() {
    let mut world = World::new();
    world.slow_routing = true;
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &gone));
    world.answer_questions();
    world.expect_silence();
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((record.attempt, record.is_last, record.sip_code_a), (0, true, Some(487)));
    assert_eq!((record.disposition, record.ended_by), (Disposition::Cancelled, EndedBy::Caller));
    assert!(world.orders.is_empty(), "{:?}", world.orders);
    world.expect_nothing_left();
}

#[test]
fn cancel_s8_while_a_name_is_looked_up_ends_the_call_and_no_leg_b_is_ever_made() {
    let mut world = World::with(call::RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers = vec!["sip:gateway.example".into()];
    });
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &gone));
    let [query] = world.resolves[..] else { panic!("{:?}", world.resolves) };
    world.input(found(query, &[CALLEE]));
    world.expect_silence();
    assert_eq!(world.records.len(), 1);
    world.expect_nothing_left();
}

#[test]
fn cancel_s11_the_487_is_sent_again_until_its_ack_comes() {
    let mut world = World::new();
    call_ringing(&mut world);
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.sent.clear();
    world.pass(Duration::from_millis(1600));
    let again: Vec<_> =
        world.sent.iter().filter(|sent| sent.first_line().starts_with("SIP/2.0 487")).collect();
    assert_eq!(again.len(), 2, "at 0.5 s and 1.5 s: {:#?}", world.sent);
    assert!(again.iter().all(|sent| sent.text == gone.text));
    world.receive(CALLER, &ack_failure("1", &gone));
    world.sent.clear();
    world.pass(Duration::from_secs(10));
    assert!(world.sent.iter().all(|sent| sent.to != CALLER.parse().unwrap()), "{:#?}", world.sent);
    world.expect_nothing_left();
}

#[test]
fn cancel_s11_a_487_that_is_never_acknowledged_is_given_up() {
    let mut world = World::new();
    call_ringing(&mut world);
    world.receive(CALLER, &cancel("1"));
    world.expect_nothing_left();
}

#[test]
fn a_cancel_of_somebody_else_who_knows_the_branch_is_not_heard() {
    let mut world = World::new();
    call_ringing(&mut world);
    world.receive(SPARE, &cancel("1"));
    world.expect_silence();
    // Nor does it keep the caller's own from being heard.
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
}

#[test]
fn cancel_s9_require_and_proxy_require_are_not_looked_at() {
    let mut world = World::new();
    call_ringing(&mut world);
    let strict = cancel("1").replace("X-Trace: 42", "Require: nothing\nProxy-Require: nothing");
    world.receive(CALLER, &strict);
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    let theirs = world.expect(CALLEE, "CANCEL");
    assert!(!theirs.has("Require") && !theirs.has("Proxy-Require"));
}

#[test]
fn cancel_s10_is_never_challenged() {
    let user = call::User { name: "alice".into(), password: "secret".into() };
    let mut world = World::with(call::RegistrarPolicy::Users(vec![user]), |_| {});
    call_ringing(&mut world);
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.expect(CALLEE, "CANCEL");
    // A source that would be challenged for anything else gets no challenge for the CANCEL of nothing.
    world.receive("10.9.9.9:5060", &cancel("other"));
    assert!(world.sent.iter().all(|sent| !sent.first_line().contains(" 40")), "{:#?}", world.sent);
}

#[test]
fn cancel_s1_the_ports_go_back_at_the_moment_of_the_cancel() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLER, &cancel("1"));
    // The callee has not answered the CANCEL yet; the relay must not wait for it.
    assert!(matches!(world.orders.last(), Some(call::MediaOrder::Close { .. })), "{:?}", world.orders);
    let closed = |world: &World| {
        world.orders.iter().filter(|order| matches!(order, call::MediaOrder::Close { .. })).count()
    };
    world.sent.clear();
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    world.expect_nothing_left();
    assert_eq!(closed(&world), 1, "and only once: {:?}", world.orders);
}

/// Whose request the CANCEL is for is known to no call, but the call is warned of it: what was found is in its journal.
#[test]
fn a_cancel_of_another_method_that_looks_like_one_of_an_invite_replays() {
    let mut world = World::new();
    call_placed(&mut world);
    let message = invite("m", None).replace("INVITE sip", "MESSAGE sip").replace("1 INVITE", "1 MESSAGE");
    world.receive(CALLER, &message);
    world.expect(CALLEE, "MESSAGE");
    world.receive(CALLER, &cancel("m"));
    world.expect(CALLER, "SIP/2.0 200");
    assert!(world.warnings.iter().any(|what| what.starts_with("CANCEL refused")), "{:?}", world.warnings);
    world.expect_replays();
}

#[test]
fn cancel_of_a_call_whose_branch_somebody_else_uses_too_still_ends_that_call() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        let mut other = Trunk::new("other");
        other.sources = vec![Source::parse("10.9.9.9").unwrap()];
        trunks.push(other);
    });
    let other = "10.9.9.9:5060";
    let (out, _) = call_ringing(&mut world);
    // Who overheard the branch, in a call of its own that is refused, and in one that is not.
    let overheard = |number: &str| {
        invite("1", Some(OFFER))
            .replace("call-a@", &format!("other-{number}@"))
            .replace(";tag=", &format!(";tag={number}"))
    };
    world.receive(other, &overheard("a"));
    world.sent.clear();
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 180");
    world.expect_silence();
    world.receive(CALLER, &cancel("1"));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.header("CSeq"), "1 CANCEL");
    world.expect(CALLER, "SIP/2.0 487");
    let cancelled = world.expect(CALLEE, "CANCEL");
    assert_eq!(cancelled.header("Call-ID"), out.header("Call-ID"));
    world.expect_silence();
}
