//! Row S5: a re-INVITE that is taken back with CANCEL, and what the other leg hears of it.

use std::time::Duration;

use crate::harness::*;

/// A call whose caller has sent a re-INVITE (CSeq 2): the world, its 200, the box's first INVITE and its re-INVITE.
fn hold_begun() -> (World, Sent, Sent, Sent) {
    let (mut world, ok, out) = call_up();
    let hold = format!("{OFFER}a=sendonly\n");
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &hold));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    (world, ok, out, across)
}

fn cancel_of_hold(ok: &Sent) -> String {
    from_caller("CANCEL", 2, ok, "Reason: SIP;cause=487\n").replace("bKCANCEL2", "bKINVITE2")
}

/// 200 to the CANCEL, 487 to the re-INVITE, in one dialog.
fn expect_cancelled(world: &mut World, ok: &Sent) {
    let taken = world.expect(CALLER, "SIP/2.0 200");
    let refused = world.expect(CALLER, "SIP/2.0 487");
    assert_eq!((taken.header("CSeq"), refused.header("CSeq")), ("2 CANCEL", "2 INVITE"));
    assert_eq!((taken.tag("To"), refused.tag("To")), (ok.tag("To"), ok.tag("To")));
    world.receive(CALLER, &from_caller("ACK", 2, ok, "").replace("bKACK2", "bKINVITE2"));
}

#[test]
fn cancel_s5_of_a_re_invite_cancels_the_one_on_the_other_leg_and_no_more() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    let described = world.orders.len();
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    let cancel = world.expect(CALLEE, "CANCEL");
    assert_eq!(cancel.header("Via"), across.header("Via"));
    assert_eq!(cancel.header("To"), across.header("To"));
    assert_eq!(cancel.header("Reason"), "SIP;cause=487");
    world.receive(CALLEE, &response(&cancel, "200 OK", "", None));
    world.receive(CALLEE, &response(&across, "487 Request Terminated", "", None));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    assert_eq!((world.core.stats().calls, world.orders.len()), (1, described));
    // The dialog is as it was: the next offer crosses, with the next CSeq.
    world.receive(CALLER, &(from_caller("INVITE", 3, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    assert_eq!(world.expect(CALLEE, "INVITE").header("CSeq"), "3 INVITE");
}

#[test]
fn cancel_s5_waits_for_a_provisional_response_as_c2_does() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    world.expect_silence();
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    let cancel = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&cancel, "200 OK", "", None));
    world.receive(CALLEE, &response(&across, "487 Request Terminated", "", None));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn cancel_s5_a_refusal_before_the_provisional_needs_no_cancel() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    world.receive(CALLEE, &response(&across, "488 Not Acceptable Here", "", None));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

/// The callee answered what was withdrawn: ACK, and an offer of what both sides had before.
fn expect_put_back(world: &mut World, out: &Sent, across: &Sent) -> Sent {
    world.receive(CALLEE, &response(across, "200 OK", "", Some(&format!("{ANSWER}a=recvonly\n"))));
    let number = across.header("CSeq").split(' ').next().unwrap().to_owned();
    assert_eq!(world.expect(CALLEE, "ACK").header("CSeq"), format!("{number} ACK"));
    let back = world.expect(CALLEE, "INVITE");
    let version = |sent: &Sent| {
        let line = sent.body().lines().find(|line| line.starts_with("o=")).unwrap().to_owned();
        line.split(' ').nth(2).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(version(&back), version(across) + 1);
    let rest = |sent: &Sent| sent.body().split_once("s=-").unwrap().1.to_owned();
    assert_eq!(rest(&back), rest(out));
    world.expect_silence();
    back
}

#[test]
fn cancel_s5_a_200_that_crosses_is_acknowledged_and_the_session_put_back() {
    let (mut world, ok, out, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    world.expect(CALLEE, "CANCEL");
    let before = world.orders.len();
    let back = expect_put_back(&mut world, &out, &across);
    assert_eq!(world.orders.len(), before, "the relay knows nothing of what was withdrawn");
    world.receive(CALLEE, &response(&back, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    assert!(world.orders.len() > before, "what the callee says now is what the relay does");
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn cancel_s5_a_200_before_the_cancel_could_be_sent_is_put_back_too() {
    let (mut world, ok, out, across) = hold_begun();
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    let back = expect_put_back(&mut world, &out, &across);
    world.receive(CALLEE, &response(&back, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn cancel_s5_a_callee_that_does_not_go_back_ends_the_call() {
    let (mut world, ok, out, across) = hold_begun();
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    let back = expect_put_back(&mut world, &out, &across);
    world.receive(CALLEE, &response(&back, "488 Not Acceptable Here", "", None));
    assert!(ends_by_the_box(&mut world).contains("488"));
}

#[test]
fn cancel_s5_without_a_final_response_is_given_up_and_a_late_200_is_put_back() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    let cancel = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&cancel, "200 OK", "", None));
    world.pass(Duration::from_secs(33));
    world.expect_silence();
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    assert_eq!(world.expect(CALLEE, "ACK").header("CSeq"), "2 ACK");
    let back = world.expect(CALLEE, "INVITE");
    assert_eq!(back.header("CSeq"), "3 INVITE");
    // The 200 again wants its ACK again, and nothing more.
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    assert_eq!(world.expect(CALLEE, "ACK").header("CSeq"), "2 ACK");
    world.expect_silence();
    world.receive(CALLEE, &response(&back, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn cancel_s5_an_offer_that_follows_at_once_waits_for_the_end_of_the_withdrawn_one() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLER, &(from_caller("INVITE", 3, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect_silence();
    world.receive(CALLEE, &response(&across, "487 Request Terminated", "", None));
    world.expect(CALLEE, "ACK");
    let next = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&next, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 3, &ok, ""));
    ends_by_the_caller(&mut world, &ok, 4);
}

#[test]
fn cancel_s5_of_an_offer_that_backs_off_from_glare_sends_nothing() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "491 Request Pending", "", None));
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    world.pass(Duration::from_secs(10));
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn cancel_s5_after_the_2xx_changes_nothing() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &cancel_of_hold(&ok));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 CANCEL");
    world.expect_silence();
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn cancel_s5_then_bye_leaves_nothing_behind() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn cancel_s6_of_an_info_gets_200_and_has_no_effect() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("INFO", 2, &ok, ""));
    let across = world.expect(CALLEE, "INFO");
    world.receive(CALLER, &from_caller("CANCEL", 2, &ok, "").replace("bKCANCEL2", "bKINFO2"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 CANCEL");
    world.expect_silence();
    world.receive(CALLEE, &response(&across, "200 OK", "", None));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 INFO");
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn cancel_s9_require_and_proxy_require_are_ignored() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    let strict = "Require: jump\nProxy-Require: stand\n";
    let cancel = from_caller("CANCEL", 2, &ok, strict).replace("bKCANCEL2", "bKINVITE2");
    world.receive(CALLER, &cancel);
    expect_cancelled(&mut world, &ok);
    let across = world.expect(CALLEE, "CANCEL");
    assert!(!across.has("Require") && !across.has("Proxy-Require"));
    // Row S7: the same again.
    world.receive(CALLER, &cancel);
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "2 CANCEL");
    world.expect_silence();
}

#[test]
fn what_is_put_back_is_not_counted_as_changed_where_it_was_offered_last() {
    let (mut world, ok, _, across) = hold_begun();
    world.receive(CALLEE, &response(&across, "488 Not Acceptable Here", "", None));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 488");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, "").replace("bKACK2", "bKINVITE2"));
    // What both sides had is offered once more, and that is withdrawn too late.
    world.receive(CALLER, &(from_caller("INVITE", 3, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let resume = world.expect(CALLEE, "INVITE");
    world.receive(CALLER, &from_caller("CANCEL", 3, &ok, "").replace("bKCANCEL3", "bKINVITE3"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLEE, &response(&resume, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    assert_eq!(world.expect(CALLEE, "INVITE").body(), resume.body());
}

#[test]
fn ports_for_an_offer_that_was_taken_back_are_not_asked_for_twice() {
    let (mut world, ok, _) = call_up();
    let video = OFFER.to_owned() + "m=video 4002 RTP/AVP 96\n";
    world.slow_ports = true;
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &video));
    world.expect(CALLER, "SIP/2.0 100");
    world.receive(CALLER, &cancel_of_hold(&ok));
    expect_cancelled(&mut world, &ok);
    // A refusal of what was asked for a second time would come when the offer is on its way already.
    world.refuse_ports = true;
    world.receive(CALLER, &(from_caller("INVITE", 3, &ok, KIND) + &video));
    world.expect(CALLER, "SIP/2.0 100");
    world.open_ports();
    let across = world.expect(CALLEE, "INVITE");
    world.expect_silence();
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&video)));
    world.expect(CALLEE, "ACK");
    assert!(world.expect(CALLER, "SIP/2.0 200").body().contains("m=video 3"));
}
