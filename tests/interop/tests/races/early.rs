//! Before the answer: reliable provisional responses (RFC 3262) and offers in early dialogs (RFC 3311), each leg for
//! itself.

use interop::{Message, Place};

use crate::party::{ANSWER, OFFER, Party, start, tag};

const SUPPORTED: &str = "Supported: 100rel\n";
const REQUIRED: &str = "Require: 100rel\n";

/// A caller's INVITE with these headers; the callee's INVITE.
fn call(caller: &Party, callee: &Party, headers: &str, body: &str) -> Message {
    caller.say(&caller.request("INVITE", "1", headers, body));
    callee.expect("INVITE")
}

/// A reliable 18x of the callee.
fn reliably(callee: &Party, invite: &Message, status: &str, rseq: u32, body: &str) {
    callee.respond(invite, status, &format!("Require: 100rel\nRSeq: {rseq}\n"), body);
}

/// RAck of the PRACK that this 18x wants (RFC 3262 §7.2).
fn rack(progress: &Message) -> String {
    format!("RAck: {} {}\n", progress.header("RSeq").unwrap(), progress.header("CSeq").unwrap())
}

#[test]
fn prack_a_reliable_180_is_acknowledged_for_a_caller_that_knows_nothing_of_it() {
    let place = Place::new("prack-b");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let invite = call(&caller, &callee, "", OFFER);
    reliably(&callee, &invite, "180 Ringing", 7001, "");
    let prack = callee.expect("PRACK");
    assert_eq!(prack.header("RAck"), Some(format!("7001 {}", invite.header("CSeq").unwrap()).as_str()));
    callee.respond(&prack, "200 OK", "", "");
    let progress = caller.expect("180");
    assert_eq!((progress.header("RSeq"), progress.header("Require")), (None, None));
    // The 180 again: neither a second PRACK nor a second 180.
    reliably(&callee, &invite, "180 Ringing", 7001, "");
    callee.expect_nothing();
    caller.expect_nothing();
}

#[test]
fn prack_a_caller_that_requires_it_gets_180_reliably_from_a_callee_that_cannot() {
    let place = Place::new("prack-a");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let invite = call(&caller, &callee, REQUIRED, OFFER);
    callee.respond(&invite, "180 Ringing", "", "");
    let progress = caller.expect("180");
    assert!(progress.header("Require").is_some_and(|value| value.contains("100rel")), "{}", progress.text);
    caller.expect_again(&progress);
    caller.say(&caller.in_dialog("PRACK", "prack", &progress, &rack(&progress), ""));
    let ok = caller.expect("200");
    assert_eq!((ok.method(), tag(&ok, "To")), ("PRACK", tag(&progress, "To")));
    callee.expect_nothing();
    callee.respond(&invite, "200 OK", "", ANSWER);
    assert_eq!(caller.expect("200").method(), "INVITE");
}

#[test]
fn prack_both_sides_support_it_and_rseq_rises_by_one() {
    let place = Place::new("prack-ab");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let invite = call(&caller, &callee, SUPPORTED, OFFER);
    reliably(&callee, &invite, "183 Session Progress", 50, ANSWER);
    let prack = callee.expect("PRACK");
    callee.respond(&prack, "200 OK", "", "");
    let first = caller.expect("183");
    assert!(first.body().contains("m=audio"));
    caller.say(&caller.in_dialog("PRACK", "p1", &first, &rack(&first), ""));
    assert_eq!(caller.expect("200").method(), "PRACK");
    reliably(&callee, &invite, "180 Ringing", 51, "");
    let prack = callee.expect("PRACK");
    callee.respond(&prack, "200 OK", "", "");
    let second = caller.expect("180");
    let rseq = |message: &Message| message.header("RSeq").unwrap().parse::<u64>().unwrap();
    assert_eq!(rseq(&second), rseq(&first) + 1);
    caller.say(&caller.in_dialog("PRACK", "p2", &second, &rack(&second), ""));
    assert_eq!(caller.expect("200").method(), "PRACK");
    callee.respond(&invite, "200 OK", "", ANSWER);
    caller.expect("200");
}

#[test]
fn prack_carries_the_answer_to_an_offer_in_a_reliable_183() {
    let place = Place::new("prack-offer");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let invite = call(&caller, &callee, SUPPORTED, "");
    assert_eq!(invite.body(), "");
    reliably(&callee, &invite, "183 Session Progress", 9, ANSWER);
    let offer = caller.expect("183");
    assert!(offer.body().contains("m=audio") && offer.header("RSeq").is_some());
    caller.say(&caller.in_dialog("PRACK", "p", &offer, &rack(&offer), OFFER));
    let prack = callee.expect("PRACK");
    assert!(prack.body().contains("m=audio") && !prack.body().contains("m=audio 7000"), "{}", prack.body());
    callee.respond(&prack, "200 OK", "", "");
    assert_eq!(caller.expect("200").method(), "PRACK");
    callee.respond(&invite, "200 OK", "", "");
    let ok = caller.expect("200");
    callee.expect("ACK");
    caller.say(&caller.in_dialog("ACK", "ack", &ok, "", ""));
}

#[test]
fn prack_that_never_comes_ends_the_call_with_a_5xx_and_a_cancel() {
    let place = Place::new("prack-never");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let invite = call(&caller, &callee, REQUIRED, OFFER);
    callee.respond(&invite, "180 Ringing", "", "");
    caller.expect("180");
    let refusal = caller.expect_either(&["500", "503", "504"]);
    caller.ack_refusal("1", &refusal);
    let cancel = callee.expect("CANCEL");
    callee.respond(&cancel, "200 OK", "", "");
    callee.respond(&invite, "487 Request Terminated", "", "");
    callee.expect("ACK");
    drawbridge.assert_comes_to_rest();
}

#[test]
fn prack_that_matches_nothing_gets_481() {
    let place = Place::new("prack-481");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let invite = call(&caller, &callee, REQUIRED, OFFER);
    callee.respond(&invite, "180 Ringing", "", "");
    let progress = caller.expect("180");
    let wrong = format!("RAck: 1 {}\n", progress.header("CSeq").unwrap());
    caller.say(&caller.in_dialog("PRACK", "wrong", &progress, &wrong, ""));
    assert_eq!(caller.expect("481").method(), "PRACK");
}

#[test]
fn cancel_s1_stops_a_reliable_180_and_its_repetitions() {
    let place = Place::new("prack-cancel");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let invite = call(&caller, &callee, REQUIRED, OFFER);
    callee.respond(&invite, "180 Ringing", "", "");
    let progress = caller.expect("180");
    caller.say(&caller.request("CANCEL", "1", "", ""));
    caller.expect("200");
    let terminated = caller.expect("487");
    assert_eq!(tag(&terminated, "To"), tag(&progress, "To"));
    caller.ack_refusal("1", &terminated);
    callee.expect("CANCEL");
    caller.count_of(&progress);
    assert_eq!(caller.count_of(&progress), 0);
}

#[test]
fn update_with_an_offer_crosses_an_early_dialog() {
    let place = Place::new("update-early");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let headers = "Supported: 100rel\nAllow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE\n";
    let invite = call(&caller, &callee, headers, OFFER);
    let allow = "Require: 100rel\nRSeq: 3\nAllow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE\n";
    callee.respond(&invite, "183 Session Progress", allow, ANSWER);
    let prack = callee.expect("PRACK");
    callee.respond(&prack, "200 OK", "", "");
    let progress = caller.expect("183");
    caller.say(&caller.in_dialog("PRACK", "p", &progress, &rack(&progress), ""));
    caller.expect("200");
    let offer = OFFER.replace("11 1", "11 2") + "a=sendonly\n";
    caller.say(&caller.in_dialog("UPDATE", "u", &progress, "", &offer));
    let update = callee.expect("UPDATE");
    assert!(update.body().contains("a=sendonly"));
    callee.respond(&update, "200 OK", "", &(ANSWER.replace("22 1", "22 2") + "a=recvonly\n"));
    let ok = caller.expect("200");
    assert_eq!(ok.method(), "UPDATE");
    assert!(ok.body().contains("a=recvonly"));
    callee.respond(&invite, "200 OK", "", "");
    assert_eq!(caller.expect("200").method(), "INVITE");
}
