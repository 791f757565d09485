//! CANCEL from the caller (RFC 3261 §9.2): rows S1 to S11.

use interop::Place;

use crate::party::{OFFER, Party, QUIET, branch, ringing, start, tag, up};

#[test]
fn cancel_s1_gets_200_and_487_with_the_tag_of_the_180_and_cancels_the_callee() {
    let place = Place::new("s1");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (progress, invite) = ringing(&caller, &callee);
    caller.say(&caller.request("CANCEL", "1", "Reason: SIP;cause=487;text=\"gone\"\n", ""));
    let ok = caller.expect("200");
    let terminated = caller.expect("487");
    assert_eq!(ok.method(), "CANCEL");
    assert_eq!(tag(&ok, "To"), tag(&progress, "To"));
    assert_eq!(tag(&terminated, "To"), tag(&progress, "To"));
    caller.ack_refusal("1", &terminated);
    let cancel = callee.expect("CANCEL");
    assert_eq!(branch(&cancel), branch(&invite), "the CANCEL's branch is its INVITE's");
    assert_eq!(cancel.header("Reason"), Some("SIP;cause=487;text=\"gone\""));
    callee.respond(&cancel, "200 OK", "", "");
    callee.respond(&invite, "487 Request Terminated", "", "");
    callee.expect("ACK");
    let cdrs = drawbridge.cdrs(1);
    assert_eq!((&cdrs[0]["disposition"], &cdrs[0]["ended_by"]), (&"cancelled".into(), &"caller".into()));
    drawbridge.assert_comes_to_rest();
}

#[test]
fn cancel_s2_after_the_final_response_gets_200_and_changes_nothing() {
    let place = Place::new("s2");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    callee.respond(&invite, "200 OK", "", crate::party::ANSWER);
    let answer = caller.expect("200");
    caller.say(&caller.request("CANCEL", "1", "", ""));
    let ok = caller.expect("200");
    assert_eq!(ok.method(), "CANCEL");
    callee.expect("ACK");
    caller.say(&caller.in_dialog("ACK", "ack", &answer, "", ""));
    callee.expect_nothing();
    caller.say(&caller.in_dialog("BYE", "bye", &answer, "", ""));
    assert_eq!(caller.expect("200").method(), "BYE");
    let bye = callee.expect("BYE");
    callee.respond(&bye, "200 OK", "", "");
}

#[test]
fn cancel_s3_that_matches_nothing_gets_481_and_the_same_again() {
    let place = Place::new("s3");
    let _drawbridge = start(&place, "", "");
    let caller = Party::caller(&place);
    let cancel = caller.request("CANCEL", "nothing", "", "");
    caller.say(&cancel);
    let unknown = caller.expect("481");
    caller.say(&cancel);
    caller.expect_again(&unknown);
}

#[test]
fn cancel_s4_with_another_branch_is_refused_with_a_warning_where_matching_is_strict() {
    let place = Place::new("s4-strict");
    let drawbridge = start(&place, "cancel_matching = \"strict\"", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    ringing(&caller, &callee);
    caller.say(&caller.request("CANCEL", "other", "", ""));
    caller.expect("481");
    callee.expect_nothing();
    let log = drawbridge.log();
    let named = log.lines().any(|line| line.contains("z9hG4bKother") && line.contains("z9hG4bK1"));
    assert!(named, "no line names both branches:\n{log}");
}

#[test]
fn cancel_s4_with_another_branch_counts_where_matching_is_lenient() {
    let place = Place::new("s4-lenient");
    let _drawbridge = start(&place, "cancel_matching = \"lenient\"", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (progress, _) = ringing(&caller, &callee);
    caller.say(&caller.request("CANCEL", "other", "", ""));
    assert_eq!(caller.expect("200").method(), "CANCEL");
    let terminated = caller.expect("487");
    assert_eq!(tag(&terminated, "To"), tag(&progress, "To"));
    callee.expect("CANCEL");
}

#[test]
fn cancel_s4_whose_via_a_nat_rewrote_always_counts() {
    let place = Place::new("s4-nat");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    ringing(&caller, &callee);
    let rewritten = caller
        .request("CANCEL", "1", "", "")
        .replace(&format!("UDP {}", caller.local()), "UDP 10.0.0.9:5062");
    caller.say(&rewritten);
    assert_eq!(caller.expect("200").method(), "CANCEL");
    caller.expect("487");
    callee.expect("CANCEL");
}

#[test]
fn cancel_s6_of_a_request_that_is_no_invite_gets_200_and_has_no_effect() {
    let place = Place::new("s6");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up(&drawbridge, &caller, &callee);
    let info = caller.in_dialog("INFO", "info", &ok, "", "");
    caller.say(&info);
    let carried = callee.expect("INFO");
    caller.say(&info.replace("INFO", "CANCEL"));
    assert_eq!(caller.expect("200").method(), "CANCEL");
    callee.respond(&carried, "200 OK", "", "");
    assert_eq!(caller.expect("200").method(), "INFO");
    callee.expect_nothing();
}

#[test]
fn cancel_s7_repeated_gets_the_same_200_and_has_no_second_effect() {
    let place = Place::new("s7");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    ringing(&caller, &callee);
    let cancel = caller.request("CANCEL", "1", "", "");
    caller.say(&cancel);
    let ok = caller.expect("200");
    let terminated = caller.expect("487");
    callee.expect("CANCEL");
    caller.say(&cancel);
    caller.expect_again(&ok);
    caller.ack_refusal("1", &terminated);
    caller.expect_nothing();
}

#[test]
fn cancel_s8_before_the_target_is_found_abandons_the_search() {
    let place = Place::new("s8");
    let drawbridge = start(&place, "", "");
    let (caller, _callee) = (Party::caller(&place), Party::callee(&place));
    // INVITE and CANCEL arrive in one burst: whatever the box had begun, the caller is answered at once. That no leg B
    // is made while routing or a name is waited for is told in virtual time, where they can be held back.
    caller.say(&caller.invite("1", OFFER));
    caller.say(&caller.request("CANCEL", "1", "", ""));
    let first = caller.expect_either(&["200", "487"]);
    let second = caller.expect_either(&["200", "487"]);
    assert_ne!(first.kind(), second.kind());
    let terminated = if first.kind() == "487" { first } else { second };
    caller.ack_refusal("1", &terminated);
    let cdrs = drawbridge.cdrs(1);
    assert_eq!(cdrs[0]["disposition"], "cancelled");
    drawbridge.assert_comes_to_rest();
}

#[test]
fn cancel_s9_ignores_require_and_proxy_require() {
    let place = Place::new("s9");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    ringing(&caller, &callee);
    caller.say(&caller.request("CANCEL", "1", "Require: foo\nProxy-Require: bar\n", ""));
    assert_eq!(caller.expect("200").method(), "CANCEL");
    caller.expect("487");
    let cancel = callee.expect("CANCEL");
    assert_eq!((cancel.header("Require"), cancel.header("Proxy-Require")), (None, None));
}

#[test]
fn cancel_s10_is_never_challenged() {
    let place = Place::new("s10");
    let _drawbridge = start(&place, "", "\n[[user]]\nname = \"100\"\npassword = \"open sesame\"\n");
    // Not of a trunk: whoever calls from here is asked for a password.
    let phone = Party::at(&place, 77, "phone");
    phone.say(&phone.invite("1", OFFER));
    let challenge = phone.expect("401");
    phone.ack_refusal("1", &challenge);
    phone.say(&phone.request("CANCEL", "1", "", ""));
    phone.expect_nothing();
}

#[test]
fn cancel_s11_repeats_the_487_until_it_is_acknowledged() {
    let place = Place::new("s11");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    ringing(&caller, &callee);
    caller.say(&caller.request("CANCEL", "1", "", ""));
    caller.expect("200");
    let terminated = caller.expect("487");
    caller.expect_again(&terminated);
    caller.expect_again(&terminated);
    caller.ack_refusal("1", &terminated);
    let cancel = callee.expect("CANCEL");
    callee.respond(&cancel, "200 OK", "", "");
    // One may have been on its way when the ACK came.
    std::thread::sleep(QUIET);
    caller.count_of(&terminated);
    assert_eq!(caller.count_of(&terminated), 0, "nothing is repeated after the ACK");
    drawbridge.assert_comes_to_rest();
}

#[test]
fn cancel_s5_of_a_reinvite_ends_that_reinvite_and_nothing_else() {
    let place = Place::new("s5");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up(&drawbridge, &caller, &callee);
    let offer = OFFER.replace("11 1", "11 2") + "a=sendonly\n";
    let reinvite = caller.in_dialog("INVITE", "re", &ok, "", &offer);
    caller.say(&reinvite);
    let carried = callee.expect("INVITE");
    callee.respond(&carried, "180 Ringing", "", "");
    let head = reinvite.split("Content-Type").next().unwrap();
    caller.say(&format!("{}Content-Length: 0\n\n", head.replace("INVITE", "CANCEL")));
    let cancelled: Vec<_> = (0..2).map(|_| caller.expect_either(&["200", "487"])).collect();
    assert!(cancelled.iter().any(|m| m.kind() == "200" && m.method() == "CANCEL"), "{cancelled:#?}");
    let refusal = cancelled.iter().find(|m| m.kind() == "487").expect("487 to the re-INVITE");
    assert_eq!(refusal.method(), "INVITE");
    let ack = caller.in_dialog("ACK", "re", &ok, "", "");
    caller.say(&ack);
    let cancel = callee.expect("CANCEL");
    assert_eq!(branch(&cancel), branch(&carried));
    callee.respond(&cancel, "200 OK", "", "");
    callee.respond(&carried, "487 Request Terminated", "", "");
    callee.expect("ACK");
    // The dialog stands on both sides.
    caller.say(&caller.in_dialog("BYE", "bye", &ok, "", ""));
    assert_eq!(caller.expect("200").method(), "BYE");
    let bye = callee.expect("BYE");
    callee.respond(&bye, "200 OK", "", "");
}
