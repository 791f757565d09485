//! Requests that are no call: carried to where a call would go, with the identifiers of each side.

use interop::Place;

use crate::party::{Party, start, up};

#[test]
fn message_outside_a_dialog_is_routed_like_a_call() {
    let place = Place::new("x-message");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.request("MESSAGE", "1", "", ""));
    let carried = callee.expect("MESSAGE");
    assert!(
        !carried.text.contains(&caller.local()),
        "nothing of the caller's side is seen:\n{}",
        carried.text
    );
    callee.respond(&carried, "200 OK", "", "");
    assert_eq!(caller.expect("200").method(), "MESSAGE");
    drawbridge.assert_comes_to_rest();
    assert_eq!(drawbridge.metrics().sum("drawbridge_cdr_committed_total"), 0.0, "it is no call");
}

#[test]
fn message_info_and_options_within_a_call_cross() {
    let place = Place::new("x-dialog");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, invite) = up(&drawbridge, &caller, &callee);
    for method in ["INFO", "MESSAGE", "FROBNICATE"] {
        caller.say(&caller.in_dialog(method, &format!("{method}-a"), &ok, "", ""));
        let carried = callee.expect(method);
        callee.respond(&carried, "299 Odd", "", "");
        assert_eq!(caller.expect("299").method(), method);
        callee.say(&callee.back(method, &format!("{method}-b"), &invite, "", ""));
        let carried = caller.expect(method);
        caller.respond(&carried, "200 OK", "", "");
        assert_eq!(callee.expect("200").method(), method);
    }
}

#[test]
fn subscribe_makes_a_dialog_in_which_notify_crosses() {
    let place = Place::new("x-subscribe");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.request("SUBSCRIBE", "1", "Event: dialog\nExpires: 60\n", ""));
    let carried = callee.expect("SUBSCRIBE");
    assert_eq!(carried.header("Event"), Some("dialog"));
    callee.respond(&carried, "200 OK", "Expires: 60\n", "");
    let ok = caller.expect("200");
    callee.say(&callee.back(
        "NOTIFY",
        "n",
        &carried,
        "Event: dialog\nSubscription-State: active;expires=60\n",
        "",
    ));
    let notify = caller.expect("NOTIFY");
    assert_eq!(notify.parameter("From", "tag"), ok.parameter("To", "tag"), "within the caller's dialog");
    caller.respond(&notify, "200 OK", "", "");
    assert_eq!(callee.expect("200").method(), "NOTIFY");
}

#[test]
fn a_method_that_nobody_knows_gets_501_or_405_with_allow() {
    let place = Place::new("x-unknown");
    let _drawbridge = start(&place, "", "");
    let caller = Party::caller(&place);
    caller.say(&caller.request("FROBNICATE", "1", "", ""));
    let refusal = caller.expect_either(&["501", "405"]);
    assert!(refusal.header("Allow").is_some_and(|allow| allow.contains("INVITE")), "{}", refusal.text);
}
