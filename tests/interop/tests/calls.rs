//! One kind of call after another through the box, SIPp on both sides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::UdpSocket;
use std::time::Duration;

use interop::{Direction, Drawbridge, Outcome, Place, Sipp, Wire};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const CALLS: u32 = 5;

/// A PBX at A whose calls all go to the carrier at B.
fn one_carrier(place: &Place) -> String {
    format!(
        "[[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n\
         [[trunk]]\nname = \"carrier\"\nsources = [\"{b}\"]\npeers = [\"sip:{b}:5060\"]\n\n\
         [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n",
        a = place.ip(Place::A),
        b = place.ip(Place::B),
    )
}

/// The same with a second carrier at C, tried when the first fails.
fn two_carriers(place: &Place) -> String {
    let second =
        format!("[[trunk]]\nname = \"backup\"\npeers = [\"sip:{}:5060\"]\n\n[[route]]", place.ip(Place::C));
    one_carrier(place).replace("[[route]]", &second).replace("[\"carrier\"]", "[\"carrier\", \"backup\"]")
}

/// Plays `calls` through the box to `waits`, both to their ends; returns what the caller and the callee saw.
fn play(place: &Place, calls: &'static str, waits: &'static str) -> (Outcome, Outcome) {
    let callee = Sipp::callee(waits, place.ip(Place::B)).calls(CALLS).logged().start(place);
    let caller = Sipp::caller(calls, place.ip(Place::A), place.sip(Place::BOX)).calls(CALLS).rate(20);
    let caller = caller.calling("12125551000").logged().start(place).finish(LIMIT);
    caller.assert_clean(CALLS);
    let callee = callee.finish(LIMIT);
    callee.assert_clean(CALLS);
    (caller, callee)
}

/// Asserts that every row says `value` in `column`.
fn assert_all(cdrs: &[Value], column: &str, value: impl Into<Value>) {
    let value = value.into();
    for cdr in cdrs {
        assert_eq!(cdr[column], value, "{column} of {cdr:#}");
    }
}

#[test]
fn a_call_goes_through_and_neither_side_sees_the_other() {
    let place = Place::new("through");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    let (caller, callee) = play(&place, "uac.xml", "uas.xml");

    let cdrs = drawbridge.cdrs(CALLS as usize);
    assert_eq!(cdrs.len(), CALLS as usize);
    assert_all(&cdrs, "disposition", "answered");
    assert_all(&cdrs, "ended_by", "caller");
    assert_all(&cdrs, "sip_code_a", 200);
    assert_all(&cdrs, "called", "12125551000");
    assert_all(&cdrs, "trunk_out", "carrier");

    for (outcome, hidden) in [(&caller, place.ip(Place::B)), (&callee, place.ip(Place::A))] {
        let hidden = hidden.to_string();
        for message in outcome.messages.iter().filter(|message| message.direction == Direction::Received) {
            assert!(!message.text.contains(&hidden), "{hidden} is seen on the other side:\n{}", message.text);
            if !message.text.starts_with("SIP/2.0") {
                assert_eq!(message.headers("Via").len(), 1, "{}", message.text);
            }
        }
    }
    let call_ids = |outcome: &Outcome| -> Vec<String> {
        outcome.messages.iter().filter_map(|message| message.header("Call-ID")).map(str::to_owned).collect()
    };
    let towards_caller = call_ids(&caller);
    assert!(
        call_ids(&callee).iter().all(|id| !towards_caller.contains(id)),
        "each leg has a Call-ID of its own"
    );
    drawbridge.assert_comes_to_rest();
}

#[test]
fn a_cancelled_call_rings_off_on_the_same_branch() {
    let place = Place::new("cancel");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    let (_, callee) = play(&place, "uac_cancel.xml", "uas_cancel.xml");
    for cancel in callee.messages.iter().filter(|message| message.kind() == "CANCEL") {
        let call_id = cancel.header("Call-ID");
        let of_call =
            |kind| callee.messages.iter().find(|m| m.kind() == kind && m.header("Call-ID") == call_id);
        let (invite, ack) = (of_call("INVITE").unwrap(), of_call("ACK").unwrap());
        assert_eq!(
            cancel.headers("Via"),
            invite.headers("Via"),
            "RFC 3261 §9.1: one Via, that of the INVITE"
        );
        assert_eq!(ack.parameter("Via", "branch"), invite.parameter("Via", "branch"), "§17.1.1.3");
        assert_eq!(cancel.header("To"), invite.header("To"), "without the tag of the 180");
        assert!(
            cancel.header("Reason").is_some_and(|reason| reason.contains("Gave up")),
            "RFC 3326: {}",
            cancel.text
        );
    }
    let cdrs = drawbridge.cdrs(CALLS as usize);
    assert_all(&cdrs, "disposition", "cancelled");
    assert_all(&cdrs, "sip_code_a", 487);
    assert_all(&cdrs, "ended_by", "caller");
}

#[test]
fn busy_is_busy_and_nobody_else_is_tried() {
    let place = Place::new("busy");
    let drawbridge = Drawbridge::start(&place, &two_carriers(&place));
    play(&place, "uac_486.xml", "uas_486.xml");
    let cdrs = drawbridge.cdrs(CALLS as usize);
    assert_eq!(cdrs.len(), CALLS as usize, "one attempt for each call");
    assert_all(&cdrs, "disposition", "busy");
    assert_all(&cdrs, "sip_code_a", 486);
}

#[test]
fn a_carrier_out_of_service_is_passed_over() {
    let place = Place::new("failover");
    let drawbridge = Drawbridge::start(&place, &two_carriers(&place));
    let first = Sipp::callee("uas_503.xml", place.ip(Place::B)).calls(CALLS).start(&place);
    let second = Sipp::callee("uas.xml", place.ip(Place::C)).calls(CALLS).start(&place);
    let caller =
        Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(CALLS).start(&place);
    caller.finish(LIMIT).assert_clean(CALLS);
    first.finish(LIMIT).assert_clean(CALLS);
    second.finish(LIMIT).assert_clean(CALLS);

    let cdrs = drawbridge.cdrs(2 * CALLS as usize);
    let (first, last): (Vec<_>, Vec<_>) = cdrs.into_iter().partition(|cdr| cdr["attempt"] == 1);
    assert_all(&first, "sip_code_b", 503);
    assert_all(&first, "is_last", false);
    assert_all(&last, "trunk_out", "backup");
    assert_all(&last, "disposition", "answered");
    assert_all(&last, "is_last", true);
    assert_eq!((first.len(), last.len()), (CALLS as usize, CALLS as usize));
}

#[test]
fn a_carrier_that_refuses_connections_is_passed_over() {
    let place = Place::new("refusing");
    let drawbridge =
        Drawbridge::start(&place, &two_carriers(&place).replacen(":5060\"]", ":5060;transport=tcp\"]", 1));
    let second = Sipp::callee("uas.xml", place.ip(Place::C)).calls(CALLS).start(&place);
    let caller =
        Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(CALLS).start(&place);
    caller.finish(LIMIT).assert_clean(CALLS);
    second.finish(LIMIT).assert_clean(CALLS);
    let cdrs = drawbridge.cdrs(2 * CALLS as usize);
    assert_eq!(cdrs.len(), 2 * CALLS as usize);
    assert_eq!(cdrs.iter().filter(|cdr| cdr["disposition"] == "failed").count(), CALLS as usize);
}

#[test]
fn a_carrier_that_is_silent_is_passed_over_after_timer_b() {
    let place = Place::new("silent");
    let drawbridge = Drawbridge::start(&place, &two_carriers(&place));
    // Somebody has the port and says nothing; where nobody has it, the system says so.
    let _silent = UdpSocket::bind(place.sip(Place::B)).unwrap();
    let patience = Duration::from_secs(45);
    let second = Sipp::callee("uas.xml", place.ip(Place::C)).patience(patience).start(&place);
    let caller = Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).patience(patience);
    caller.start(&place).finish(LIMIT).assert_clean(1);
    second.finish(LIMIT).assert_clean(1);
    let cdrs = drawbridge.cdrs(2);
    assert_eq!(cdrs.len(), 2);
    assert!(cdrs.iter().any(|cdr| cdr["attempt"] == 1 && cdr["ended_by"] == "timer"), "{cdrs:#?}");
}

#[test]
fn a_carrier_where_nobody_listens_is_passed_over_at_once() {
    let place = Place::new("closed");
    let drawbridge = Drawbridge::start(&place, &two_carriers(&place));
    let second = Sipp::callee("uas.xml", place.ip(Place::C)).start(&place);
    let caller = Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).start(&place);
    caller.finish(LIMIT).assert_clean(1);
    second.finish(LIMIT).assert_clean(1);
    let cdrs = drawbridge.cdrs(2);
    let first = cdrs.iter().find(|cdr| cdr["attempt"] == 1).unwrap();
    assert_eq!((&first["disposition"], &first["ended_by"]), (&"failed".into(), &"error".into()), "{first:#}");
}

#[test]
fn early_media_and_the_callee_hangs_up() {
    let place = Place::new("callee-bye");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    play(&place, "uac_hears_bye.xml", "uas_says_bye.xml");
    let cdrs = drawbridge.cdrs(CALLS as usize);
    assert_all(&cdrs, "ended_by", "callee");
    assert_all(&cdrs, "q850", 16);
    for cdr in &cdrs {
        assert!(cdr["ringing_at"].is_string(), "183 is ringing too: {cdr:#}");
    }
}

#[test]
fn hold_and_resume_cross_with_their_answers() {
    let place = Place::new("hold");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    let (caller, callee) = play(&place, "uac_hold.xml", "uas_hold.xml");
    for (name, outcome) in [("the caller", &caller), ("the callee", &callee)] {
        let call_id = outcome.messages.first().and_then(|message| message.header("Call-ID"));
        let origins: Vec<_> = outcome
            .messages
            .iter()
            .filter(|m| m.direction == Direction::Received && m.header("Call-ID") == call_id)
            .filter_map(|m| m.body().lines().find(|line| line.starts_with("o=")))
            .map(|origin| origin.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        assert_eq!(origins.len(), 3, "three descriptions for {name}: {origins:?}");
        for pair in origins.windows(2) {
            assert_eq!(pair[0][1], pair[1][1], "one session for {name}");
            let version = |origin: &[String]| origin[2].parse::<u64>().unwrap();
            assert_eq!(
                version(&pair[0]) + 1,
                version(&pair[1]),
                "RFC 3264 §8: the version rises by one, {origins:?}"
            );
        }
    }
    assert_all(&drawbridge.cdrs(CALLS as usize), "disposition", "answered");
}

#[test]
fn a_delayed_offer_stays_one_from_end_to_end() {
    let place = Place::new("delayed");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    play(&place, "uac_delayed.xml", "uas_delayed.xml");
    assert_all(&drawbridge.cdrs(CALLS as usize), "disposition", "answered");
}

#[test]
fn a_trunk_that_challenges_gets_credentials() {
    let place = Place::new("digest");
    let peers = format!("peers = [\"sip:{}:5060\"]", place.ip(Place::B));
    let auth = format!("{peers}\nauth = {{ username = \"edge\", password = \"open sesame\" }}");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place).replace(&peers, &auth));
    let (caller, _) = play(&place, "uac.xml", "uas_challenge.xml");
    assert!(
        caller.messages.iter().all(|message| message.kind() != "407"),
        "the challenge is the box's to answer"
    );
    let cdrs = drawbridge.cdrs(CALLS as usize);
    assert_eq!(cdrs.len(), CALLS as usize, "a challenge is no attempt of its own");
    assert_all(&cdrs, "disposition", "answered");
}

#[test]
fn an_info_crosses_the_call() {
    let place = Place::new("info");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    play(&place, "uac_info.xml", "uas_info.xml");
    assert_all(&drawbridge.cdrs(CALLS as usize), "disposition", "answered");
}

#[test]
fn a_caller_on_tcp_reaches_a_callee_on_udp() {
    let place = Place::new("tcp-in");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    let callee = Sipp::callee("uas.xml", place.ip(Place::B)).calls(CALLS).start(&place);
    let caller = Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(CALLS).over_tcp();
    caller.start(&place).finish(LIMIT).assert_clean(CALLS);
    callee.finish(LIMIT).assert_clean(CALLS);
    let cdrs = drawbridge.cdrs(CALLS as usize);
    assert_all(&cdrs, "a_transport", "tcp");
    assert_all(&cdrs, "b_transport", "udp");
}

#[test]
fn a_caller_on_udp_reaches_a_callee_on_tcp() {
    let place = Place::new("tcp-out");
    let over_tcp = one_carrier(&place).replace(":5060\"]", ":5060;transport=tcp\"]");
    let drawbridge = Drawbridge::start(&place, &over_tcp);
    let callee = Sipp::callee("uas.xml", place.ip(Place::B)).calls(CALLS).over_tcp().start(&place);
    let caller =
        Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(CALLS).start(&place);
    caller.finish(LIMIT).assert_clean(CALLS);
    callee.finish(LIMIT).assert_clean(CALLS);
    assert_all(&drawbridge.cdrs(CALLS as usize), "b_transport", "tcp");
}

/// A request without a body from a hand-written peer.
fn request(wire: &Wire, place: &Place, method: &str, to_tag: &str) -> String {
    let (local, remote) = (wire.local(), place.sip(Place::BOX));
    format!(
        "{method} sip:12125551000@{remote} SIP/2.0\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK-by-hand-{method}\n\
         Max-Forwards: 70\nFrom: <sip:caller@{local}>;tag=byhand\nTo: <sip:12125551000@{remote}>{to_tag}\n\
         Call-ID: by-hand-{method}@{local}\nCSeq: 7 {method}\nContact: <sip:caller@{local}>\nContent-Length: 0\n\n"
    )
}

#[test]
fn what_belongs_to_no_call_is_answered_by_the_rules() {
    let place = Place::new("by-hand");
    let mut drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    let wire = Wire::new(place.ip(Place::A), place.sip(Place::BOX));
    let stories = [
        ("OPTIONS", "", "SIP/2.0 200 ", "RFC 3261 §11.2"),
        ("BYE", ";tag=nobody", "SIP/2.0 481 ", "§15.1.2: no such dialog"),
        ("CANCEL", "", "SIP/2.0 481 ", "§9.2: nothing to cancel"),
        ("INFO", ";tag=nobody", "SIP/2.0 481 ", "§12.2.2: no such dialog"),
    ];
    for (method, to_tag, answer, why) in stories {
        let text = request(&wire, &place, method, to_tag);
        // OPTIONS to a number goes to who has it; this one asks the box itself.
        wire.say(&if method == "OPTIONS" { text.replace("12125551000@", "") } else { text });
        let heard = wire.hear_final(Duration::from_secs(2)).unwrap_or_else(|| panic!("{method}: no answer"));
        assert!(heard.starts_with(answer), "{method}, {why}: {heard}");
    }
    wire.say(&request(&wire, &place, "ACK", ";tag=nobody"));
    assert_eq!(wire.hear(Duration::from_millis(300)), None, "an ACK is never answered");

    let extension =
        request(&wire, &place, "INVITE", "").replace("Content-Length", "Require: foo, bar\nContent-Length");
    wire.say(&extension);
    let heard = wire.hear_final(Duration::from_secs(2)).expect("an answer to the INVITE");
    assert!(heard.starts_with("SIP/2.0 420 "), "§8.2.2.3: {heard}");
    assert!(heard.contains("Unsupported: foo, bar"), "{heard}");
    drawbridge.assert_alive();
}

#[test]
fn a_stranger_is_refused_once_and_makes_no_call() {
    let place = Place::new("stranger");
    let drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    let wire = Wire::new(place.ip(77), place.sip(Place::BOX));
    wire.say(&request(&wire, &place, "INVITE", ""));
    let heard = wire.hear_final(Duration::from_secs(2)).expect("an answer to the INVITE");
    assert!(heard.starts_with("SIP/2.0 403 "), "{heard}");
    assert_eq!(wire.hear(Duration::from_millis(1200)), None, "the refusal is not repeated by a timer");
    assert_eq!(drawbridge.metrics().sum("drawbridge_calls"), 0.0);
}
