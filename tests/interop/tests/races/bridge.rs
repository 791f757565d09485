//! What one leg's news is on the other (RFC 3261 §13 to §15, RFC 3264).

use interop::Place;

use crate::party::{ANSWER, OFFER, Party, ringing, start, tag, up};

#[test]
fn provisional_responses_cross_with_their_codes_and_100_never_does() {
    let place = Place::new("b-18x");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.invite("1", OFFER));
    let invite = callee.expect("INVITE");
    let mut tags = Vec::new();
    for status in ["180 Ringing", "181 Call Is Being Forwarded", "182 Queued"] {
        callee.respond(&invite, status, "", "");
        tags.push(tag(&caller.expect(&status[..3]), "To").to_owned());
    }
    callee.respond(&invite, "183 Session Progress", "", ANSWER);
    let early = caller.expect("183");
    tags.push(tag(&early, "To").to_owned());
    assert!(early.body().contains("m=audio") && !early.body().contains("m=audio 8000"), "{}", early.body());
    assert!(tags.iter().all(|tag| *tag == tags[0]), "one dialog: {tags:?}");
    callee.respond(&invite, "199 Early Dialog Terminated", "", "");
    caller.expect_nothing();
}

#[test]
fn a_refusal_crosses_with_its_code_phrase_and_reason() {
    let place = Place::new("b-603");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    callee.respond(&invite, "603 Not Today", "Reason: Q.850;cause=21\n", "");
    callee.expect("ACK");
    let refusal = caller.expect("603");
    assert!(refusal.text.starts_with("SIP/2.0 603 Not Today"), "{}", refusal.text);
    assert_eq!(refusal.header("Reason"), Some("Q.850;cause=21"));
    caller.ack_refusal("1", &refusal);
}

#[test]
fn the_200_is_repeated_until_its_ack_and_without_one_the_call_ends_with_bye() {
    let place = Place::new("b-no-ack");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    callee.respond(&invite, "200 OK", "", ANSWER);
    let ok = caller.expect("200");
    caller.expect_again(&ok);
    caller.expect_again(&ok);
    callee.expect("ACK");
    let bye = callee.expect("BYE");
    callee.respond(&bye, "200 OK", "", "");
    let bye = caller.expect("BYE");
    caller.respond(&bye, "200 OK", "", "");
    assert_eq!(drawbridge.cdrs(1)[0]["ended_by"], "timer");
    drawbridge.assert_comes_to_rest();
}

#[test]
fn a_repeated_200_gets_the_same_ack_again() {
    let place = Place::new("b-ack-again");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    callee.respond(&invite, "200 OK", "", ANSWER);
    let ack = callee.expect("ACK");
    callee.respond(&invite, "200 OK", "", ANSWER);
    callee.expect_again(&ack);
    caller.expect("200");
}

#[test]
fn a_forked_200_after_the_first_gets_ack_then_bye() {
    let place = Place::new("b-fork");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    callee.respond_as("one", &invite, "200 OK", "", ANSWER);
    caller.expect("200");
    assert_eq!(tag(&callee.expect("ACK"), "To"), "one");
    callee.respond_as("two", &invite, "200 OK", "", ANSWER);
    assert_eq!(tag(&callee.expect("ACK"), "To"), "two");
    assert_eq!(tag(&callee.expect("BYE"), "To"), "two");
    caller.expect_nothing();
}

#[test]
fn bye_gets_200_at_once_and_crosses_with_its_reason() {
    let place = Place::new("b-bye");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = up(&drawbridge, &caller, &callee);
    callee.say(&callee.back("BYE", "bye", &invite, "Reason: Q.850;cause=16;text=\"bye\"\n", ""));
    assert_eq!(callee.expect("200").method(), "BYE");
    let bye = caller.expect("BYE");
    assert_eq!(bye.header("Reason"), Some("Q.850;cause=16;text=\"bye\""));
    caller.respond(&bye, "200 OK", "", "");
}

#[test]
fn bye_crossing_bye_gets_200_on_both_sides() {
    let place = Place::new("b-byes");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, invite) = up(&drawbridge, &caller, &callee);
    caller.say(&caller.in_dialog("BYE", "bye", &ok, "", ""));
    callee.say(&callee.back("BYE", "bye", &invite, "", ""));
    // Each side may first hear the answer to its own BYE or the box's.
    for party in [&caller, &callee] {
        let mut answered = false;
        for _ in 0..2 {
            let message = match answered {
                false => party.expect_either(&["200", "BYE"]),
                true => break,
            };
            if message.kind() == "BYE" {
                party.respond(&message, "200 OK", "", "");
            } else {
                answered = true;
            }
        }
        assert!(answered, "its own BYE is answered");
    }
    drawbridge.assert_comes_to_rest();
    assert_eq!(drawbridge.cdrs(1).len(), 1);
}

#[test]
fn bye_of_the_caller_in_an_early_dialog_ends_the_call() {
    let place = Place::new("b-early-bye");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (progress, _) = ringing(&caller, &callee);
    caller.say(&caller.in_dialog("BYE", "bye", &progress, "", ""));
    let first = caller.expect_either(&["200", "487"]);
    let second = caller.expect_either(&["200", "487"]);
    assert_ne!(first.kind(), second.kind());
    let cancel = callee.expect("CANCEL");
    callee.respond(&cancel, "200 OK", "", "");
    assert_eq!(drawbridge.cdrs(1)[0]["disposition"], "cancelled");
}

#[test]
fn a_request_out_of_order_gets_500_and_the_call_goes_on() {
    let place = Place::new("b-cseq");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up(&drawbridge, &caller, &callee);
    let info = caller.in_dialog("INFO", "info", &ok, "", "");
    caller.say(&info);
    let carried = callee.expect("INFO");
    callee.respond(&carried, "200 OK", "", "");
    caller.expect("200");
    caller.say(&info.replace("CSeq: 2 ", "CSeq: 1 ").replace("z9hG4bKinfo", "z9hG4bKold"));
    caller.expect("500");
    caller.say(&caller.in_dialog("BYE", "bye", &ok, "", ""));
    caller.expect("200");
    callee.expect("BYE");
}

#[test]
fn a_refused_reinvite_leaves_the_session_as_it_was_and_another_goes_through() {
    let place = Place::new("b-488");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up(&drawbridge, &caller, &callee);
    let hold = OFFER.replace("11 1", "11 2") + "a=sendonly\n";
    caller.say(&caller.in_dialog("INVITE", "re1", &ok, "", &hold));
    let carried = callee.expect("INVITE");
    callee.respond(&carried, "488 Not Acceptable Here", "Warning: 305 callee \"no\"\n", "");
    callee.expect("ACK");
    let refusal = caller.expect("488");
    assert!(refusal.header("Warning").is_some());
    caller.say(&caller.in_dialog("ACK", "re1", &ok, "", ""));
    caller.say(&caller.in_dialog("INVITE", "re2", &ok, "", &hold));
    let carried = callee.expect("INVITE");
    assert!(carried.body().contains("a=sendonly"));
    callee.respond(&carried, "200 OK", "", &(ANSWER.replace("22 1", "22 2") + "a=recvonly\n"));
    callee.expect("ACK");
    let held = caller.expect("200");
    assert!(held.body().contains("a=recvonly"));
    caller.say(&caller.in_dialog("ACK", "re2ack", &ok, "", ""));
}

#[test]
fn glare_gets_491_on_the_side_that_came_second() {
    let place = Place::new("b-glare");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, invite) = up(&drawbridge, &caller, &callee);
    caller.say(&caller.in_dialog("INVITE", "re", &ok, "", OFFER));
    let carried = callee.expect("INVITE");
    callee.say(&callee.back("INVITE", "glare", &invite, "", ANSWER));
    let refused = callee.expect("491");
    assert_eq!(refused.method(), "INVITE");
    callee.say(&callee.back("ACK", "glare", &invite, "", ""));
    callee.respond(&carried, "200 OK", "", ANSWER);
    callee.expect("ACK");
    caller.expect("200");
    caller.say(&caller.in_dialog("ACK", "reack", &ok, "", ""));
}

#[test]
fn a_request_for_an_unknown_dialog_gets_481() {
    let place = Place::new("b-481");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up(&drawbridge, &caller, &callee);
    let stray = caller.in_dialog("BYE", "stray", &ok, "", "");
    let own = format!("tag={}", tag(&ok, "To"));
    caller.say(&stray.replace(&own, "tag=nobody"));
    caller.expect("481");
    callee.expect_nothing();
}
