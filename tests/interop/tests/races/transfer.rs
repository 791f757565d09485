//! Transfers (RFC 3515, RFC 3891): carried out by the box, or carried across.

use interop::{Drawbridge, Message, Place};

use crate::party::{ANSWER, OFFER, Party, start, start_with, up};

const SIPFRAG: &str = "message/sipfrag";

/// The transferor asks for `target`; the REFER is accepted.
fn refer(transferor: &Party, invite: &Message, target: &str) {
    transferor.say(&transferor.back("REFER", "refer", invite, &format!("Refer-To: <{target}>\n"), ""));
    assert_eq!(transferor.expect("202").method(), "REFER");
}

/// The next NOTIFY, answered; its status line.
fn notified(party: &Party) -> String {
    let notify = party.expect("NOTIFY");
    party.respond(&notify, "200 OK", "", "");
    assert!(notify.header("Content-Type").unwrap().starts_with(SIPFRAG), "{}", notify.text);
    notify.body().trim().to_owned()
}

fn three(place: &Place) -> Drawbridge {
    let carrier = format!(
        "\n[[trunk]]\nname = \"desk\"\nsources = [\"{c}\"]\npeers = [\"sip:{c}:5060\"]\n\n\
         [[route]]\nname = \"to-desk\"\ncalled = \"^77\"\nto = [\"desk\"]\n",
        c = place.ip(Place::C),
    );
    start_with(place, "", &carrier, "\"carrier\"", "")
}

#[test]
fn refer_blind_by_the_callee_brings_the_caller_to_the_target() {
    let place = Place::new("refer-blind");
    let drawbridge = three(&place);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let target = Party::at(&place, Place::C, "target");
    let (ok, invite) = up(&drawbridge, &caller, &callee);
    refer(&callee, &invite, "sip:7712@box.example");
    assert!(notified(&callee).starts_with("SIP/2.0 100"));
    let called = target.expect("INVITE");
    assert!(called.text.starts_with("INVITE sip:7712@"), "{}", called.text);
    assert!(called.body().contains("m=audio") && !called.body().contains("m=audio 7000"));
    target.respond(&called, "200 OK", "", &ANSWER.replace("8000", "9000"));
    target.expect("ACK");
    let reinvite = caller.expect("INVITE");
    caller.respond(&reinvite, "200 OK", "", &OFFER.replace("11 1", "11 2"));
    caller.expect("ACK");
    // The transferor is told, and let go.
    let mut released = false;
    for _ in 0..4 {
        let message = callee.expect_either(&["NOTIFY", "BYE"]);
        callee.respond(&message, "200 OK", "", "");
        if message.kind() == "BYE" {
            released = true;
            break;
        }
    }
    assert!(released, "the transferor gets its BYE");
    caller.say(&caller.in_dialog("BYE", "bye", &ok, "", ""));
    caller.expect("200");
    let bye = target.expect("BYE");
    target.respond(&bye, "200 OK", "", "");
    drawbridge.assert_comes_to_rest();
}

#[test]
fn refer_whose_transferor_hangs_up_at_once_still_reaches_the_target() {
    let place = Place::new("refer-bye");
    let drawbridge = three(&place);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let target = Party::at(&place, Place::C, "target");
    let (_, invite) = up(&drawbridge, &caller, &callee);
    refer(&callee, &invite, "sip:7712@box.example");
    notified(&callee);
    callee.say(&callee.back("BYE", "bye", &invite, "", ""));
    callee.expect("200");
    let called = target.expect("INVITE");
    target.respond(&called, "200 OK", "", &ANSWER.replace("8000", "9000"));
    target.expect("ACK");
    let reinvite = caller.expect("INVITE");
    caller.respond(&reinvite, "200 OK", "", &OFFER.replace("11 1", "11 2"));
    caller.expect("ACK");
}

#[test]
fn refer_to_a_target_that_refuses_leaves_the_two_talking() {
    let place = Place::new("refer-busy");
    let drawbridge = three(&place);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let target = Party::at(&place, Place::C, "target");
    let (ok, invite) = up(&drawbridge, &caller, &callee);
    refer(&callee, &invite, "sip:7712@box.example");
    notified(&callee);
    let called = target.expect("INVITE");
    target.respond(&called, "486 Busy Here", "", "");
    target.expect("ACK");
    assert!(notified(&callee).starts_with("SIP/2.0 486"));
    caller.say(&caller.in_dialog("BYE", "bye", &ok, "", ""));
    caller.expect("200");
    callee.expect("BYE");
}

#[test]
fn refer_passed_crosses_with_its_notify() {
    let place = Place::new("refer-pass");
    let drawbridge = start(&place, "refer = \"pass\"", "refer = \"pass\"");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, invite) = up(&drawbridge, &caller, &callee);
    callee.say(&callee.back("REFER", "refer", &invite, "Refer-To: <sip:7712@elsewhere.example>\n", ""));
    let carried = caller.expect("REFER");
    assert!(carried.header("Refer-To").unwrap().contains("7712@"), "{}", carried.text);
    caller.respond(&carried, "202 Accepted", "", "");
    assert_eq!(callee.expect("202").method(), "REFER");
    let headers = "Event: refer\nSubscription-State: active;expires=60\n";
    caller.say(&caller.in_dialog("NOTIFY", "notify", &ok, headers, ""));
    let notify = callee.expect("NOTIFY");
    assert_eq!(notify.header("Event"), Some("refer"));
    callee.respond(&notify, "200 OK", "", "");
    assert_eq!(caller.expect("200").method(), "NOTIFY");
}
