//! What is asked of a request before anybody hears of it (RFC 3261 §8.2), each answer from its own cause.

use crate::harness::*;
use call::{Disposition, EndedBy, Flow, Input, Listener, ListenerId, RegistrarPolicy, Settings};
use sip::Transport;

/// A request of the caller's trunk outside any dialog.
fn asks(method: &str, branch: &str, extra: &str) -> String {
    let request = invite(branch, None).replace("INVITE", method).replace("call-a@", &format!("{branch}@"));
    format!("{}{extra}", request.trim_end_matches('\n').to_owned() + "\n")
}

#[test]
fn a_request_that_comes_twice_by_different_ways_is_served_once() {
    for method in ["INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH"] {
        let mut world = World::new();
        let first = asks(method, "1", "Event: presence\n");
        world.receive(CALLER, &first);
        world.expect(
            if method == "INVITE" { CALLER } else { CALLEE },
            if method == "INVITE" { "SIP/2.0 100" } else { method },
        );
        world.sent.clear();
        world.receive(CALLER, &first.replace("bK1", "bKanother-way"));
        world.expect(CALLER, "SIP/2.0 482 Loop Detected");
        world.receive(CALLER, &first.replace("bK1", "bKnext").replace("1@10", "next@10"));
        world.sent.pop_front().unwrap();
        let next = &world.sent;
        assert!(method != "INVITE" || !next.is_empty(), "another Call-ID is another request");
    }
    let mut world = World::new();
    world.receive(CALLER, &asks("MESSAGE", "1", ""));
    world.expect(CALLEE, "MESSAGE");
    world.receive(CALLER, &asks("PUBLISH", "1", ""));
    world.expect(CALLEE, "PUBLISH");
    world.expect_silence();
    world.expect_nothing_left();
}

/// What the box sent, as a proxy sends it back to the box.
fn turned_round(out: &Sent, host: &str) -> String {
    let text = out.text.replace("\r\n", "\n").replacen(
        "Via: ",
        &format!("Via: SIP/2.0/UDP {host};branch=z9hG4bKproxy-{}\nVia: ", out.header("Call-ID")),
        1,
    );
    text.lines().filter(|line| !line.starts_with("Content-Length")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_request_that_comes_back_as_it_went_is_a_loop_and_one_that_another_trunk_may_route_otherwise_is_not() {
    for method in ["INVITE", "MESSAGE"] {
        let mut world = World::new();
        world.receive(CALLER, &asks(method, "1", ""));
        world.sent.retain(|sent| sent.to == CALLEE.parse().unwrap());
        let out = world.expect(CALLEE, method);
        // From the carrier's side there is no such call yet.
        world.receive(CALLEE, &turned_round(&out, CALLEE));
        world.sent.retain(|sent| sent.text.starts_with(method));
        let again = world.expect(CALLEE, method);
        assert_eq!(again.first_line(), out.first_line());
        world.receive(CALLEE, &turned_round(&again, CALLEE));
        world.sent.retain(|sent| sent.text.starts_with("SIP/2.0 4"));
        world.expect(CALLEE, "SIP/2.0 482");
        // To somebody else it is no loop.
        let elsewhere = turned_round(&again, CALLEE).replace("4912345@10.2.2.2", "4954321@10.2.2.2");
        world.receive(CALLEE, &elsewhere.replace("proxy-", "forwarded-"));
        assert!(world.sent.iter().all(|sent| !sent.text.starts_with("SIP/2.0 482")), "{:#?}", world.sent);
    }
}

#[test]
fn the_same_answer_comes_for_each_copy_of_a_request_and_none_for_ack_and_cancel() {
    let mut world = World::new();
    let refused = [
        asks("MESSAGE", "hops", "").replace("Max-Forwards: 70", "Max-Forwards: 0"),
        asks("INVITE", "ext", "Require: magic\n"),
        asks("REFER", "method", ""),
        asks("FETCH", "unknown", ""),
        asks("OPTIONS", "box", "").replace("sip:4912345@192.0.2.1 SIP", "sip:192.0.2.1 SIP"),
        asks("INVITE", "twice", "From: <sip:eve@10.1.1.1>\n"),
    ];
    for request in &refused {
        world.receive(CALLER, request);
        let first = world.sent.pop_front().unwrap();
        assert!(!first.tag("To").is_empty(), "{}", first.text);
        world.pass(std::time::Duration::from_secs(1));
        world.receive(CALLER, request);
        assert_eq!(world.sent.pop_front().unwrap().text, first.text);
        world.expect_silence();
    }
    for method in ["ACK", "CANCEL"] {
        for request in &refused {
            let faulty = request.replace("INVITE", method).replace("CSeq: 1", "CSeq: x");
            world.receive(CALLER, &faulty.replace("MESSAGE", method).replace("FETCH", method));
        }
        world.sent.retain(|sent| sent.header("CSeq").ends_with(method));
        world.expect_silence();
    }
    world.expect_nothing_left();
}

/// RFC 3515 §2.4.6: from the second REFER of a dialog on, notifications say of which they are.
#[test]
fn news_of_a_transfer_cross_where_other_notifications_do_not() {
    let mut world =
        World::with(RegistrarPolicy::Closed, |trunks| trunks[1].methods = Some(vec!["INFO".to_owned()]));
    let (_, out) = call_up_in(&mut world);
    for (cseq, event) in (1..).zip(["refer", "refer;id=93809824", "Refer ;id=2"]) {
        world.receive(CALLEE, &from_callee("NOTIFY", cseq, &out, &format!("Event: {event}\n")));
        let across = world.expect(CALLER, "NOTIFY");
        world.receive(CALLER, &response(&across, "200 OK", "", None));
        world.expect(CALLEE, "SIP/2.0 200");
    }
    for (cseq, event) in (4..).zip(["presence", "referral;id=2", "message-summary;refer"]) {
        world.receive(CALLEE, &from_callee("NOTIFY", cseq, &out, &format!("Event: {event}\n")));
        world.expect(CALLEE, "SIP/2.0 405");
    }
    world.expect_silence();
}

#[test]
fn a_trunk_says_which_methods_cross_and_the_refusal_names_them() {
    let listed = ["MESSAGE", "FETCH", "!odd.Method~"].map(str::to_owned).to_vec();
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| trunks[0].methods = Some(listed));
    for method in ["MESSAGE", "FETCH", "!odd.Method~"] {
        let branch = format!("b{}", method.len());
        world.receive(CALLER, &asks(method, &branch, "X-New: 1\nContent-Type: text/plain\n\nhello"));
        let out = world.expect(CALLEE, &format!("{method} sip:4912345@10.2.2.2:5060 SIP/2.0"));
        assert_eq!((out.header("X-New"), out.body()), ("1", "hello"));
        assert_eq!(out.header("CSeq"), format!("1 {method}"));
        world.receive(CALLEE, &response(&out, "278 Quite Well", "b1", None));
        world.expect(CALLER, "SIP/2.0 278 Quite Well");
    }
    for (method, status) in [("PUBLISH", "405"), ("INFO", "405"), ("JUMP", "501"), ("UPDATE", "481")] {
        world.receive(CALLER, &asks(method, method, ""));
        let refusal = world.expect(CALLER, &format!("SIP/2.0 {status}"));
        if status != "481" {
            let allow = refusal.header("Allow");
            assert!(allow.contains("FETCH") && allow.contains("BYE") && !allow.contains("INFO"), "{allow}");
        }
    }
    let (ok, _) = call_up_in(&mut world);
    for (cseq, (method, status)) in [("INFO", "405"), ("JUMP", "501")].into_iter().enumerate() {
        world.receive(CALLER, &from_caller(method, 2 + cseq as u32, &ok, ""));
        assert!(world.expect(CALLER, &format!("SIP/2.0 {status}")).header("Allow").contains("FETCH"));
    }
    world.receive(CALLER, &from_caller("FETCH", 8, &ok, ""));
    world.expect(CALLEE, "FETCH");
}

#[test]
fn within_a_dialog_an_unknown_method_crosses_where_no_trunk_says_otherwise() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &from_caller("FETCH", 2, &ok, "X-New: 1\n"));
    let out = world.expect(CALLEE, "FETCH sip:bob@10.2.2.2:5060 SIP/2.0");
    world.receive(CALLEE, &response(&out, "299 As You Like It", "", None));
    world.expect(CALLER, "SIP/2.0 299 As You Like It");
}

#[test]
fn an_extension_is_demanded_only_where_the_trunk_wants_it() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| trunks[0].require = vec!["timer".into()]);
    world.receive(CALLER, &asks("INVITE", "1", ""));
    assert_eq!(world.expect(CALLER, "SIP/2.0 421").header("Require"), "timer");
    world.receive(CALLER, &asks("INVITE", "2", "Supported: 100rel, Timer\n"));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE");
}

#[test]
fn a_timestamp_comes_back_in_the_100_with_its_delay_and_in_nothing_else() {
    let mut world = World::new();
    world.receive(CALLER, &asks("INVITE", "1", "Timestamp: 54.25\n"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 100").header("Timestamp"), "54.25 0");
    let out = world.expect(CALLEE, "INVITE");
    assert!(!out.has("Timestamp"), "it belongs to the hop");
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    assert!(!world.expect(CALLER, "SIP/2.0 180").has("Timestamp"));
}

fn secured(settings: &mut Settings) {
    settings.listeners.push(Listener {
        name: "tls".into(),
        transport: Transport::Tls,
        bind: "192.0.2.1:5061".parse().unwrap(),
        advertise: "192.0.2.1:5061".into(),
    });
}

#[test]
fn what_is_to_be_secure_goes_over_nothing_else() {
    let secure = |branch: &str| asks("INVITE", branch, "").replace("INVITE sip:", "INVITE sips:");
    let mut world = World::new();
    world.receive(CALLER, &secure("1"));
    world.expect(CALLER, "SIP/2.0 416");
    world.receive(CALLER, &asks("MESSAGE", "2", "").replace("MESSAGE sip:", "MESSAGE sips:"));
    world.expect(CALLER, "SIP/2.0 416");
    // The peers of the carrier speak UDP: there is a secure listener and nobody to be reached by it.
    let mut world = World::tuned(secured);
    world.receive(CALLER, &secure("3"));
    world.sent.retain(|sent| !sent.text.starts_with("SIP/2.0 100"));
    assert!(world.sent.iter().all(|sent| sent.to == CALLER.parse().unwrap()), "{:#?}", world.sent);
    assert!(world.sent.iter().any(|sent| sent.text.starts_with("SIP/2.0 4")), "{:#?}", world.sent);
}

#[test]
fn statuses_of_routing_and_of_the_grammar_name_their_cause() {
    let mut world = World::new();
    for (from, to, status) in [
        ("sip:4912345@192.0.2.1 SIP/2.0", "gopher://old SIP/2.0", "416 Unsupported URI Scheme"),
        ("sip:4912345@192.0.2.1 SIP/2.0", "sip:4912345@192.0.2.1 SIP/4.0", "505 Version Not Supported"),
        ("sip:4912345@192.0.2.1 SIP/2.0", "sip:@@192.0.2.1 SIP/2.0", "400 Bad Request-URI"),
        ("Max-Forwards: 70", "Max-Forwards: many", "400 Bad Max-Forwards Header"),
        ("Call-ID: ", "Call-ID: two words ", "400 Bad Call-ID Header"),
        ("X-Trace: 42", "Date: Thu, 01 Jan 2026 00:00:00 CET", "400 Bad Date Header"),
        ("X-Trace: 42", "X-Trace 42", "400 Bad Header Line"),
    ] {
        world.receive(CALLER, &asks("INVITE", &status[..3], "").replace(from, to));
        world.sent.retain(|sent| !sent.text.starts_with("SIP/2.0 100"));
        world.expect(CALLER, &format!("SIP/2.0 {status}"));
        world.sent.clear();
    }
    let mut world = World::routed(RegistrarPolicy::Closed, |_, route| {
        route.called = Some(regex::Regex::new("^49").unwrap());
    });
    for (uri, status) in [("sip:33@192.0.2.1", "404"), ("sip:192.0.2.1", "484")] {
        world.receive(
            CALLER,
            &asks("INVITE", status, "").replace("INVITE sip:4912345@192.0.2.1", &format!("INVITE {uri}")),
        );
        world.expect(CALLER, "SIP/2.0 100");
        world.expect(CALLER, &format!("SIP/2.0 {status}"));
    }
}

#[test]
fn a_route_that_rejects_answers_with_its_own_words_and_the_record_names_it() {
    let rejecting = |phrase: Option<&str>| {
        let phrase = phrase.map(str::to_owned);
        World::routed(RegistrarPolicy::Closed, move |_, route| {
            route.to.clear();
            route.reject = Some(routing::Reject { status: 604, phrase });
        })
    };
    for (phrase, line) in
        [(None, "604 Does Not Exist Anywhere"), (Some("Never Heard Of It"), "604 Never Heard Of It")]
    {
        let mut world = rejecting(phrase);
        world.receive(CALLER, &asks("MESSAGE", "m", ""));
        world.expect(CALLER, &format!("SIP/2.0 {line}"));
        world.receive(CALLER, &invite("1", Some(OFFER)));
        world.expect(CALLER, "SIP/2.0 100");
        let refusal = world.expect(CALLER, &format!("SIP/2.0 {line}"));
        world.receive(CALLER, &ack_failure("1", &refusal));
        let [record] = &world.records[..] else { panic!("{:?}", world.records) };
        assert_eq!((record.disposition, record.ended_by), (Disposition::Blocked, EndedBy::Policy));
        assert_eq!((record.route.as_deref(), record.sip_code_a), (Some("out"), Some(604)));
        assert_eq!(record.sip_reason_a.as_deref(), line.split_once(' ').map(|(_, phrase)| phrase));
        world.expect_nothing_left();
        world.expect_replays();
    }
}

#[test]
fn a_number_that_lacks_digits_gets_484_and_goes_on_when_it_is_whole() {
    let mut world = World::routed(RegistrarPolicy::Closed, |_, route| {
        route.called = Some(regex::Regex::new(r"^49\d{5}$").unwrap());
        route.incomplete = Some(regex::Regex::new(r"^49\d{0,4}$").unwrap());
    });
    world.receive(CALLER, &asks("INVITE", "short", "").replace("INVITE sip:4912345@", "INVITE sip:491234@"));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLER, "SIP/2.0 484 Address Incomplete");
    let record = &world.records[0];
    assert_eq!((record.disposition, record.route.as_deref()), (Disposition::Rejected, Some("out")));
    world.receive(CALLER, &asks("INVITE", "whole", ""));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE sip:4912345@");
}

#[test]
fn what_is_too_large_gets_513() {
    let mut world = World::new();
    let message = format!("{}{}", asks("MESSAGE", "1", "Content-Type: text/plain\n\n"), "x".repeat(70_000));
    let flow = Flow { listener: ListenerId(0), remote: CALLER.parse().unwrap(), connection: 0 };
    world.input(Input::Message { flow, bytes: message.replace('\n', "\r\n").as_bytes() });
    world.expect(CALLER, "SIP/2.0 513 Message Too Large");
}
