//! Session timers (RFC 4028), on each leg its own.

use std::time::Duration;

use crate::harness::*;
use call::EndedBy;

/// The caller's first INVITE with these headers.
fn invite_with(headers: &str) -> String {
    invite("1", Some(OFFER)).replace("X-Trace: 42\n", headers)
}

/// A call whose INVITE and whose 200 have these headers: the world, the box's 200 and its INVITE.
fn call_with(from_caller_: &str, from_callee_: &str) -> (World, Sent, Sent) {
    let mut world = World::new();
    world.receive(CALLER, &invite_with(from_caller_));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let answer = response(&out, "200 OK", "b1", Some(ANSWER));
    world.receive(CALLEE, &answer.replace("Content-Type", &format!("{from_callee_}Content-Type")));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.expect_silence();
    (world, ok, out)
}

#[test]
fn the_invite_asks_and_the_2xx_grants() {
    let (mut world, ok, out) = call_with("Supported: timer\nSession-Expires: 600\n", "");
    assert_eq!(
        (out.header("Supported"), out.header("Session-Expires")),
        ("timer, 100rel, replaces, norefersub", "1800")
    );
    assert_eq!((ok.header("Session-Expires"), ok.header("Require")), ("600;refresher=uac", "timer"));
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn the_callers_wish_who_refreshes_is_honoured() {
    for (asked, granted) in [
        ("Supported: timer\nSession-Expires: 600;refresher=uac\n", "600;refresher=uac"),
        ("Supported: timer\nSession-Expires: 600;refresher=uas\n", "600;refresher=uas"),
        ("Supported: timer\n", "1800;refresher=uac"),
        ("Supported: timer\nSession-Expires: 7200\n", "1800;refresher=uac"),
        ("Supported: timer\nSession-Expires: 7200\nMin-SE: 3600\n", "3600;refresher=uac"),
        // A caller that knows nothing of it is refreshed; what a proxy asked for on its behalf is granted.
        ("", "1800;refresher=uas"),
        ("Session-Expires: 600;refresher=uac\n", "600;refresher=uas"),
    ] {
        let (_, ok, _) = call_with(asked, "");
        assert_eq!(ok.header("Session-Expires"), granted, "{asked}");
        assert_eq!(ok.has("Require"), granted.ends_with("uac"), "{asked}");
    }
}

#[test]
fn an_interval_that_is_too_small_gets_422_from_who_can_be_told() {
    let mut world = World::new();
    world.receive(CALLER, &invite_with("Supported: timer\nSession-Expires: 60\n"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 422").header("Min-SE"), "90");
    assert_eq!(world.core.stats().calls, 0);
    // RFC 4028 §9: a caller without the extension could make nothing of it.
    let (_, ok, _) = call_with("Session-Expires: 60\n", "");
    assert_eq!(ok.header("Session-Expires"), "1800;refresher=uas");
}

#[test]
fn a_required_timer_is_understood() {
    let (_, ok, _) = call_with("Require: timer\nSession-Expires: 600\n", "");
    assert_eq!(ok.header("Session-Expires"), "600;refresher=uac");
}

#[test]
fn a_422_of_the_callee_is_tried_again_with_its_min_se() {
    let mut world = World::new();
    world.receive(CALLER, &invite_with(""));
    world.expect(CALLER, "SIP/2.0 100");
    let mut out = world.expect(CALLEE, "INVITE");
    for (number, least) in [(2, 3600), (3, 4000)] {
        let too_small = response(&out, "422 Session Interval Too Small", "b1", None);
        world.receive(CALLEE, &too_small.replace("Contact", &format!("Min-SE: {least}\nContact")));
        world.expect(CALLEE, "ACK");
        let again = world.expect(CALLEE, "INVITE");
        assert_eq!(again.header("CSeq"), format!("{number} INVITE"));
        assert_eq!(again.header("Call-ID"), out.header("Call-ID"));
        assert_eq!(again.header("Session-Expires"), least.to_string());
        assert_eq!(again.header("Min-SE"), least.to_string());
        assert_eq!(again.body(), out.body());
        out = again;
    }
    // The same again leads nowhere.
    let too_small = response(&out, "422 Session Interval Too Small", "b1", None);
    world.receive(CALLEE, &too_small.replace("Contact", "Min-SE: 4000\nContact"));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 422");
}

/// Both legs of a call with phones that know nothing of session timers: re-INVITE to each after half the interval.
fn refreshed_by_the_box() -> (World, Sent, Sent, Sent, Sent) {
    let (mut world, ok, out) = call_with("", "");
    world.pass(Duration::from_millis(899_900));
    world.expect_silence();
    world.pass(Duration::from_millis(200));
    let a = world.expect(CALLER, "INVITE");
    let b = world.expect(CALLEE, "INVITE");
    (world, ok, out, a, b)
}

#[test]
fn the_box_refreshes_where_the_peer_cannot() {
    let (mut world, ok, out, a, b) = refreshed_by_the_box();
    // The description is the one that each had, to the letter (RFC 4028 §7.4).
    assert_eq!((a.body(), b.body()), (ok.body(), out.body()));
    assert_eq!(a.header("Session-Expires"), "1800;refresher=uac");
    world.receive(CALLER, &response(&a, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    world.receive(CALLEE, &response(&b, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    // And so on.
    world.pass(Duration::from_millis(900_100));
    world.expect(CALLER, "INVITE");
    world.expect(CALLEE, "INVITE");
    world.expect_silence();
}

#[test]
fn a_peer_that_takes_update_is_refreshed_with_update() {
    let (mut world, _, _) = call_with("Allow: INVITE, ACK, UPDATE\n", "Allow: INVITE, UPDATE\n");
    for _ in 0..2 {
        world.pass(Duration::from_millis(900_100));
        for side in [CALLER, CALLEE] {
            let update = world.expect(side, "UPDATE");
            assert_eq!((update.body(), update.header("Session-Expires")), ("", "1800;refresher=uac"));
            world.receive(side, &response(&update, "200 OK", "", None));
        }
        world.expect_silence();
    }
}

#[test]
fn a_peer_that_lists_update_and_refuses_it_is_refreshed_with_a_re_invite() {
    let (mut world, ok, _) = call_with("Allow: INVITE, UPDATE\n", "Session-Expires: 3600;refresher=uas\n");
    world.pass(Duration::from_millis(900_100));
    let update = world.expect(CALLER, "UPDATE");
    world.receive(CALLER, &response(&update, "501 Not Implemented", "", None));
    let again = world.expect(CALLER, "INVITE");
    assert_eq!(again.body(), ok.body());
    world.receive(CALLER, &response(&again, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    world.expect_silence();
}

/// A call whose peers both refresh, every ten minutes.
fn refreshed_by_the_peers() -> (World, Sent, Sent) {
    call_with(
        "Supported: timer\nSession-Expires: 600\n",
        "Require: timer\nSession-Expires: 600;refresher=uas\n",
    )
}

#[test]
fn a_refresh_stays_on_its_leg_and_begins_the_interval_anew() {
    let (mut world, ok, out) = refreshed_by_the_peers();
    for number in 1..4 {
        world.pass(Duration::from_secs(560));
        let refresh = "Supported: timer\nSession-Expires: 600;refresher=uac\n";
        world.receive(CALLER, &from_caller("UPDATE", 1 + number, &ok, refresh));
        let taken = world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(taken.header("Session-Expires"), "600;refresher=uac");
        world.receive(CALLEE, &from_callee("UPDATE", number, &out, refresh));
        world.expect(CALLEE, "SIP/2.0 200");
        world.expect_silence();
    }
    ends_by_the_caller(&mut world, &ok, 5);
}

#[test]
fn a_session_that_nobody_refreshes_ends_on_both_sides_before_it_expires() {
    let (mut world, _, _) = refreshed_by_the_peers();
    // min(32 s, a third) before the end.
    world.pass(Duration::from_millis(567_900));
    world.expect_silence();
    world.pass(Duration::from_millis(200));
    assert_eq!(ends_by_the_box(&mut world), "SIP;cause=408;text=\"Session Expired\"");
    assert_eq!(world.records[0].ended_by, EndedBy::Timer);
}

#[test]
fn a_re_invite_counts_as_a_refresh_of_both_legs() {
    let (mut world, ok, _) = refreshed_by_the_peers();
    world.pass(Duration::from_secs(500));
    let refresh = "Supported: timer\nSession-Expires: 600\n";
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, refresh) + KIND + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    assert_eq!(across.header("Session-Expires"), "600;refresher=uas");
    let answer = response(&across, "200 OK", "", Some(ANSWER));
    world
        .receive(CALLEE, &answer.replace("Content-Type", "Session-Expires: 600;refresher=uas\nContent-Type"));
    world.expect(CALLEE, "ACK");
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("Session-Expires"), "600;refresher=uac");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    world.pass(Duration::from_secs(560));
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn a_refresh_that_is_due_while_an_offer_is_under_way_is_that_offer() {
    let (mut world, ok, _) = call_with("", "");
    world.pass(Duration::from_secs(899));
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "100 Trying", "", None));
    world.pass(Duration::from_secs(10));
    world.expect_silence();
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    world.pass(Duration::from_secs(890));
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn an_offer_that_comes_while_the_box_refreshes_the_other_leg_waits_for_it() {
    let (mut world, ok, _, a, b) = refreshed_by_the_box();
    world.receive(CALLER, &response(&a, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &format!("{OFFER}a=sendonly\n")));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect_silence();
    world.receive(CALLEE, &response(&b, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    assert!(world.expect(CALLEE, "INVITE").body().contains("a=sendonly"));
}

#[test]
fn a_refresh_that_meets_an_offer_of_the_peer_waits_and_that_offer_counts() {
    let (mut world, ok, out, a, b) = refreshed_by_the_box();
    world.receive(CALLEE, &response(&b, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &response(&a, "491 Request Pending", "", None));
    world.expect(CALLER, "ACK");
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    world.pass(Duration::from_secs(890));
    world.expect_silence();
    assert_eq!(out.header("CSeq"), "1 INVITE");
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn an_offer_that_waits_for_a_refresh_is_carried_when_the_peer_of_the_refresh_offers_instead() {
    let puts_off: [fn(&Sent) -> String; 2] = [
        |refresh| {
            response(refresh, "500 Server Internal Error", "", None)
                .replace("Contact", "Retry-After: 5\nContact")
        },
        |refresh| response(refresh, "491 Request Pending", "", None),
    ];
    for put_off in puts_off {
        let (mut world, ok, out, a, b) = refreshed_by_the_box();
        world.receive(CALLER, &response(&a, "200 OK", "", Some(OFFER)));
        world.expect(CALLER, "ACK");
        world.receive(CALLEE, &put_off(&b));
        world.expect(CALLEE, "ACK");
        world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &format!("{OFFER}a=sendonly\n")));
        world.expect(CALLER, "SIP/2.0 100");
        world.expect_silence();
        world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + ANSWER));
        world.expect(CALLEE, "SIP/2.0 100");
        world.expect(CALLEE, "SIP/2.0 491");
        let across = world.expect(CALLEE, "INVITE");
        assert!(across.body().contains("a=sendonly"));
        world.receive(CALLEE, &from_callee("ACK", 1, &out, "").replace("bKbACK1", "bKbINVITE1"));
        world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
        world.expect(CALLEE, "ACK");
        let taken = world.expect(CALLER, "SIP/2.0 200");
        world.receive(CALLER, &from_caller("ACK", 2, &taken, ""));
        world.expect_silence();
        ends_by_the_caller(&mut world, &ok, 3);
    }
}

#[test]
fn a_491_to_a_refresh_is_tried_again_within_two_seconds_where_the_call_id_is_the_peers() {
    let (mut world, _, _, a, b) = refreshed_by_the_box();
    let answers = [(CALLER, OFFER, a, 0..=2_000), (CALLEE, ANSWER, b, 2_100..=4_000)];
    for (side, _, refresh, _) in &answers {
        world.receive(side, &response(refresh, "491 Request Pending", "", None));
        world.expect(side, "ACK");
    }
    let before = world.now.time;
    for (side, description, _, within) in &answers {
        while world.sent.is_empty() {
            world.pass(Duration::from_millis(10));
        }
        let waited = world.now.time.since(before).as_millis();
        assert!(within.contains(&waited), "{side}: {waited} ms");
        let again = world.expect(side, "INVITE");
        world.receive(side, &response(&again, "200 OK", "", Some(description)));
        world.expect(side, "ACK");
    }
    world.expect_silence();
}

#[test]
fn a_refresh_that_is_refused_shows_that_the_peer_lives() {
    let (mut world, _, _, a, b) = refreshed_by_the_box();
    for (side, refresh) in [(CALLER, a), (CALLEE, b)] {
        world.receive(side, &response(&refresh, "488 Not Acceptable Here", "", None));
        world.expect(side, "ACK");
    }
    world.pass(Duration::from_secs(899));
    world.expect_silence();
    world.pass(Duration::from_secs(2));
    world.expect(CALLER, "INVITE");
    world.expect(CALLEE, "INVITE");
}

#[test]
fn a_refresh_after_two_refused_offers_says_again_what_the_second_said() {
    let (mut world, _, out) = call_with("", "");
    let mut offered = String::new();
    for (cseq, direction) in [(1, "a=sendonly\n"), (2, "")] {
        world.receive(CALLEE, &(from_callee("INVITE", cseq, &out, KIND) + ANSWER + direction));
        world.expect(CALLEE, "SIP/2.0 100");
        let across = world.expect(CALLER, "INVITE");
        offered = across.body().to_owned();
        world.receive(CALLER, &response(&across, "488 Not Acceptable Here", "", None));
        world.expect(CALLER, "ACK");
        world.expect(CALLEE, "SIP/2.0 488");
        let ack = from_callee("ACK", cseq, &out, "");
        world.receive(CALLEE, &ack.replace(&format!("bKbACK{cseq}"), &format!("bKbINVITE{cseq}")));
    }
    world.pass(Duration::from_secs(900));
    // RFC 3264 §8: the version rises when the description changes, and it was the last one that was sent.
    assert_eq!(world.expect(CALLER, "INVITE").body(), offered);
}

#[test]
fn a_refresh_of_a_call_that_nobody_described_is_acknowledged() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", None));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.expect(CALLEE, "ACK");
    world.pass(Duration::from_secs(900));
    let (a, b) = (world.expect(CALLER, "INVITE"), world.expect(CALLEE, "INVITE"));
    for (side, refresh, described) in [(CALLER, a, None), (CALLEE, b, Some(ANSWER))] {
        assert_eq!(refresh.body(), "");
        world.receive(side, &response(&refresh, "200 OK", "", described));
        assert_eq!(
            world.expect(side, "ACK").header("CSeq").split(' ').next(),
            refresh.header("CSeq").split(' ').next()
        );
    }
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn an_update_that_comes_before_the_ack_refreshes_a_session_as_well() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let answer = response(&out, "200 OK", "b1", Some(OFFER));
    let promises = "Require: timer\nSession-Expires: 90;refresher=uas\nContent-Type";
    world.receive(CALLEE, &answer.replace("Content-Type", promises));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.pass(Duration::from_secs(1));
    world.expect(CALLER, "SIP/2.0 200");
    for (side, update) in
        [(CALLEE, from_callee("UPDATE", 1, &out, "")), (CALLER, from_caller("UPDATE", 2, &ok, ""))]
    {
        world.receive(side, &update);
        let taken = world.expect(side, "SIP/2.0 200");
        assert!(taken.header("Session-Expires").ends_with(";refresher=uas"), "{}", taken.text);
    }
    let answer = from_caller("ACK", 1, &ok, "Content-Type: application/sdp\n\n") + ANSWER;
    world.receive(CALLER, &answer);
    world.expect(CALLEE, "ACK");
    // What the callee promised first is overtaken by what it was told last: the box asks for itself.
    world.pass(Duration::from_secs(61));
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn a_422_to_a_refresh_raises_the_interval() {
    let (mut world, _, _, _, b) = refreshed_by_the_box();
    let too_small = response(&b, "422 Session Interval Too Small", "", None);
    world.receive(CALLEE, &too_small.replace("Contact", "Min-SE: 2400\nContact"));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    assert_eq!(again.header("Session-Expires"), "2400;refresher=uac");
    assert_eq!(again.header("Min-SE"), "2400");
}

#[test]
fn a_refresh_whose_peer_knows_no_dialog_or_says_nothing_ends_both_legs() {
    let (mut world, _, _, a, _) = refreshed_by_the_box();
    world.receive(CALLER, &response(&a, "481 Call/Transaction Does Not Exist", "", None));
    world.expect(CALLER, "ACK");
    for side in [CALLER, CALLEE] {
        assert!(
            world.sent.iter().any(|sent| sent.to == side.parse().unwrap() && sent.text.starts_with("BYE"))
        );
    }
    let (mut world, _, _, _, b) = refreshed_by_the_box();
    world.receive(CALLEE, &response(&b, "200 OK", "", Some(ANSWER)));
    world.pass(Duration::from_secs(33));
    for side in [CALLER, CALLEE] {
        assert!(
            world.sent.iter().any(|sent| sent.to == side.parse().unwrap() && sent.text.starts_with("BYE"))
        );
    }
    world.pass(Duration::from_secs(33));
    assert_eq!(world.records.len(), 1);
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn a_box_without_session_timers_asks_for_none_and_grants_what_is_asked_for() {
    let mut world = World::tuned(|settings| settings.session_expires = Duration::ZERO);
    world.receive(CALLER, &invite_with("Supported: timer\nSession-Expires: 600\n"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert!(!out.has("Session-Expires"));
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.header("Session-Expires"), "600;refresher=uac");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.pass(Duration::from_millis(567_900));
    world.expect_silence();
    world.pass(Duration::from_millis(200));
    assert!(ends_by_the_box(&mut world).contains("Session Expired"));
}
