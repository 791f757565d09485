//! Within an established dialog: UPDATE and session timers (RFC 4028).

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
fn session_timer_below_our_least_gets_422_with_min_se() {
    let place = Place::new("se-422");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.request("INVITE", "1", "Supported: timer\nSession-Expires: 30\n", OFFER));
    let refusal = caller.expect("422");
    assert_eq!(refusal.header("Min-SE"), Some("90"));
    caller.ack_refusal("1", &refusal);
    callee.expect_nothing();
}

#[test]
fn session_timer_422_of_the_callee_is_answered_with_its_interval() {
    let place = Place::new("se-callee");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.invite("1", OFFER));
    let invite = callee.expect("INVITE");
    let cseq = |message: &interop::Message| {
        message.header("CSeq").unwrap().split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    assert!(invite.header("Supported").is_some_and(|value| value.contains("timer")), "{}", invite.text);
    callee.respond(&invite, "422 Session Interval Too Small", "Min-SE: 7200\n", "");
    callee.expect("ACK");
    let again = callee.expect("INVITE");
    assert_eq!((again.header("Min-SE"), again.header("Call-ID")), (Some("7200"), invite.header("Call-ID")));
    assert_eq!(cseq(&again), cseq(&invite) + 1);
    let interval = again.header("Session-Expires").unwrap().split(';').next().unwrap();
    assert!(interval.parse::<u32>().unwrap() >= 7200, "{interval}");
    callee.respond(&again, "200 OK", "", ANSWER);
    caller.expect("200");
    callee.expect("ACK");
}

#[test]
fn session_timer_is_negotiated_for_each_leg_alone() {
    let place = Place::new("se-legs");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.request(
        "INVITE",
        "1",
        "Supported: timer\nSession-Expires: 1200;refresher=uac\n",
        OFFER,
    ));
    let invite = callee.expect("INVITE");
    callee.respond(&invite, "200 OK", "", ANSWER);
    let ok = caller.expect("200");
    assert_eq!(ok.header("Session-Expires"), Some("1200;refresher=uac"));
    assert!(ok.header("Require").is_some_and(|value| value.contains("timer")), "{}", ok.text);
    callee.expect("ACK");
}
