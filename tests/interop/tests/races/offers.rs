//! Within an established dialog: UPDATE, and offers that meet.

use interop::Place;

use crate::party::{ANSWER, OFFER, Party, start, up};

const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, UPDATE\n";

/// A call between two peers that both take UPDATE.
fn up_with_update(caller: &Party, callee: &Party) -> (interop::Message, interop::Message) {
    caller.say(&caller.request("INVITE", "1", ALLOW, OFFER));
    let invite = callee.expect("INVITE");
    callee.respond(&invite, "200 OK", ALLOW, ANSWER);
    let ok = caller.expect("200");
    caller.say(&caller.in_dialog("ACK", "ack1", &ok, "", ""));
    callee.expect("ACK");
    (ok, invite)
}

#[test]
fn update_with_an_offer_crosses_as_update() {
    let place = Place::new("update");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up_with_update(&caller, &callee);
    let offer = OFFER.replace("11 1", "11 2") + "a=sendonly\n";
    caller.say(&caller.in_dialog("UPDATE", "u", &ok, "", &offer));
    let update = callee.expect("UPDATE");
    assert!(update.body().contains("a=sendonly") && !update.body().contains("m=audio 7000"));
    callee.respond(&update, "200 OK", "", &(ANSWER.replace("22 1", "22 2") + "a=recvonly\n"));
    let answer = caller.expect("200");
    assert_eq!(answer.method(), "UPDATE");
    assert!(answer.body().contains("a=recvonly"));
    callee.expect_nothing();
}

#[test]
fn update_crosses_as_reinvite_where_the_other_side_does_not_take_it() {
    let place = Place::new("update-re");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up(&drawbridge, &caller, &callee);
    let offer = OFFER.replace("11 1", "11 2") + "a=sendonly\n";
    caller.say(&caller.in_dialog("UPDATE", "u", &ok, "", &offer));
    let carried = callee.expect("INVITE");
    callee.respond(&carried, "200 OK", "", &(ANSWER.replace("22 1", "22 2") + "a=recvonly\n"));
    callee.expect("ACK");
    assert_eq!(caller.expect("200").method(), "UPDATE");
}

#[test]
fn update_without_a_description_is_answered_by_the_leg() {
    let place = Place::new("update-none");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up_with_update(&caller, &callee);
    caller.say(&caller.in_dialog("UPDATE", "u", &ok, "", ""));
    assert_eq!(caller.expect("200").method(), "UPDATE");
    callee.expect_nothing();
}

#[test]
fn glare_of_two_offers_at_once_ends_with_both_carried_or_refused_and_the_call_up() {
    let place = Place::new("glare-both");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, invite) = up(&drawbridge, &caller, &callee);
    caller.say(&caller.in_dialog("INVITE", "re-a", &ok, "", &OFFER.replace("11 1", "11 2")));
    callee.say(&callee.back("INVITE", "re-b", &invite, "", &ANSWER.replace("22 1", "22 2")));
    // Whichever came second is refused; its side sends it again later (RFC 3261 §14.1). The first goes through.
    let on_callee = callee.expect_either(&["INVITE", "491"]);
    if on_callee.kind() == "491" {
        let carried = callee.expect("INVITE");
        callee.respond(&carried, "200 OK", "", &ANSWER.replace("22 1", "22 3"));
        callee.expect("ACK");
        assert_eq!(caller.expect("200").method(), "INVITE");
    } else {
        // The box's offer met the callee's own: a phone refuses it, and the box comes again.
        callee.respond(&on_callee, "491 Request Pending", "", "");
        callee.expect_either(&["ACK", "491"]);
    }
}
