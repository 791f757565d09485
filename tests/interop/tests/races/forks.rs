//! Several targets: in turn, at once, and where a 3xx points.

use interop::{Drawbridge, Place};

use crate::party::{ANSWER, OFFER, Party, ringing, start_with};

fn two(place: &Place, carrier: &str, route: &str) -> Drawbridge {
    let carrier = format!(
        "{carrier}\n[[trunk]]\nname = \"second\"\nsources = [\"{c}\"]\npeers = [\"sip:{c}:5060\"]\n",
        c = place.ip(Place::C),
    );
    start_with(place, "", &carrier, "\"carrier\", \"second\"", route)
}

#[test]
fn fork_all_refuse_and_the_caller_gets_the_best_refusal() {
    let place = Place::new("fork-best");
    let drawbridge = two(&place, "", "fork = \"parallel\"");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let other = Party::at(&place, Place::C, "other");
    caller.say(&caller.invite("1", OFFER));
    let (first, second) = (callee.expect("INVITE"), other.expect("INVITE"));
    callee.respond(&first, "486 Busy Here", "", "");
    callee.expect("ACK");
    caller.expect_nothing();
    other.respond(&second, "500 Server Internal Error", "", "");
    other.expect("ACK");
    let refusal = caller.expect("486");
    caller.ack_refusal("1", &refusal);
    assert_eq!(drawbridge.cdrs(2).len(), 2);
}

#[test]
fn fork_the_caller_leaves_and_every_target_is_cancelled() {
    let place = Place::new("fork-cancel");
    let drawbridge = two(&place, "", "fork = \"parallel\"");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let other = Party::at(&place, Place::C, "other");
    let (_, _) = ringing(&caller, &callee);
    let second = other.expect("INVITE");
    caller.say(&caller.request("CANCEL", "1", "", ""));
    caller.expect("200");
    caller.expect("487");
    let cancel = callee.expect("CANCEL");
    callee.respond(&cancel, "200 OK", "", "");
    // Row C2 for the one that has not answered yet.
    other.expect_nothing();
    other.respond(&second, "180 Ringing", "", "");
    let cancel = other.expect("CANCEL");
    other.respond(&cancel, "200 OK", "", "");
    drop(drawbridge);
}

#[test]
fn redirection_is_followed_and_a_loop_is_not() {
    let place = Place::new("3xx-follow");
    let drawbridge = start_with(&place, "", "redirect = \"follow\"", "\"carrier\"", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let elsewhere = Party::at(&place, Place::C, "elsewhere");
    let (_, invite) = ringing(&caller, &callee);
    let contact = format!("Contact: <sip:1@{}>\n", elsewhere.local());
    callee.say(&moved(&callee, &invite, &contact));
    callee.expect("ACK");
    let followed = elsewhere.expect("INVITE");
    // It points back to where the call came from, then to itself: nothing is tried twice.
    elsewhere.say(&moved(&elsewhere, &followed, &contact));
    elsewhere.expect("ACK");
    let refusal = caller.hear_final();
    caller.ack_refusal("1", &refusal);
    elsewhere.expect_nothing();
    callee.expect_nothing();
    assert_eq!(drawbridge.cdrs(2).len(), 2, "one row for each attempt");
}

#[test]
fn redirection_is_passed_with_its_contact_where_the_trunk_says_so() {
    let place = Place::new("3xx-pass");
    let _drawbridge = start_with(&place, "", "redirect = \"pass\"", "\"carrier\"", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    callee.say(&moved(&callee, &invite, "Contact: <sip:1@elsewhere.example>\n"));
    callee.expect("ACK");
    let moved = caller.expect("302");
    assert!(moved.headers("Contact").iter().any(|contact| contact.contains("elsewhere.example")));
}

#[test]
fn failover_goes_to_the_next_target_and_answers_once() {
    let place = Place::new("failover");
    let drawbridge = two(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let other = Party::at(&place, Place::C, "other");
    caller.say(&caller.invite("1", OFFER));
    let first = callee.expect("INVITE");
    callee.respond(&first, "503 Service Unavailable", "", "");
    callee.expect("ACK");
    let second = other.expect("INVITE");
    other.respond(&second, "200 OK", "", ANSWER);
    other.expect("ACK");
    let ok = caller.expect("200");
    caller.say(&caller.in_dialog("ACK", "ack", &ok, "", ""));
    caller.say(&caller.in_dialog("BYE", "bye", &ok, "", ""));
    caller.expect("200");
    let bye = other.expect("BYE");
    other.respond(&bye, "200 OK", "", "");
    let cdrs = drawbridge.cdrs(2);
    assert_eq!(cdrs.iter().filter(|cdr| cdr["disposition"] == "answered").count(), 1, "{cdrs:#?}");
}

/// A 302 that has this Contact and no other.
fn moved(party: &Party, invite: &interop::Message, contact: &str) -> String {
    party.response(invite, "302 Moved Temporarily", contact)
}
