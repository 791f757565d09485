//! Messages that want to be read in two ways: line ends within values, headers that come twice, numbers beyond their bounds,
//! methods without hops left, ACK and CANCEL of strange shapes, responses to nothing that was asked.

use crate::harness::*;
use call::{Flow, Input, ListenerId};

/// As it is written, without a Content-Length of the harness.
fn raw(world: &mut World, from: &str, text: &str) {
    let flow = Flow { listener: ListenerId(0), remote: from.parse().unwrap(), connection: 0 };
    let bytes = text.replace('\n', "\r\n");
    world.input(Input::Message { flow, bytes: bytes.as_bytes() });
}

/// Spellings of "a line ends here" that some reader may believe.
const LINE_ENDS: [&str; 8] = [
    "a\rEvil: 1",
    "a\r\nEvil: 1",
    "a\n\rEvil: 1",
    "a\n Evil: 1",
    "\rEvil: 1",
    "a\u{b}Evil: 1",
    "a\u{85}Evil: 1",
    "a%0d%0aEvil:%201",
];

/// Whoever takes a carriage return or a line feed alone for the end of a line must not find a header that was none.
fn expect_no_evil(world: &World, what: &str) {
    for sent in &world.sent {
        let lines = sent.text.split(['\r', '\n']);
        assert!(!lines.clone().any(|line| line.starts_with("Evil")), "{what:?} leaves as {:?}", sent.text);
    }
}

#[test]
fn a_line_end_within_a_value_makes_no_header_on_the_other_leg() {
    for value in LINE_ENDS {
        for (place, with) in [
            ("X-Trace: 42", format!("X-Trace: {value}")),
            ("X-Trace: 42", format!("Subject: {value}")),
            ("X-Trace: 42", format!("P-Asserted-Identity: \"{value}\" <sip:a@b.example>")),
            ("X-Trace: 42", format!("Reason: Q.850;text=\"{value}\"")),
            ("\"Alice\"", format!("\"{value}\"")),
            (";tag=a1", format!(";tag=a1;x=\"{value}\"")),
            ("<sip:alice@10.1.1.1:5060>", format!("\"{value}\" <sip:alice@10.1.1.1:5060>")),
            ("sip:4912345@192.0.2.1 SIP", format!("sip:49{value}@192.0.2.1 SIP")),
            ("To: <sip:4912345@", format!("To: \"{value}\" <sip:4912345@")),
            ("Call-ID: call-a", format!("Call-ID: call{value}-a")),
        ] {
            let mut world = World::new();
            world.receive(CALLER, &invite("1", Some(OFFER)).replace(place, &with));
            expect_no_evil(&world, &with);
        }
    }
}

#[test]
fn a_line_end_within_an_answer_makes_no_header_for_the_caller() {
    for value in LINE_ENDS {
        for (place, with) in [
            ("Busy Here", format!("Busy {value}")),
            ("Contact:", format!("Warning: 399 x \"{value}\"\nContact:")),
            ("Contact:", format!("X-Any: {value}\nContact:")),
            ("Contact:", format!("Reason: Q.850;text=\"{value}\"\nContact:")),
        ] {
            let mut world = World::new();
            let out = call_placed(&mut world);
            world.receive(CALLEE, &response(&out, "486 Busy Here", "b1", None).replace(place, &with));
            expect_no_evil(&world, &with);
        }
    }
}

#[test]
fn what_comes_twice_or_beyond_its_bounds_is_refused_by_its_name() {
    for (place, with, words) in [
        ("CSeq: 1 ", "CSeq: -1 ", "Bad CSeq Header"),
        ("CSeq: 1 ", "CSeq: +1 ", "Bad CSeq Header"),
        ("CSeq: 1 ", "CSeq: 0x1 ", "Bad CSeq Header"),
        ("CSeq: 1 ", "CSeq: 2147483648 ", "Bad CSeq Header"),
        ("CSeq: 1 ", "CSeq: 4294967297 ", "Bad CSeq Header"),
        ("CSeq: 1 INVITE", "CSeq: 1 BYE", "Bad CSeq Header"),
        ("CSeq: 1 INVITE", "CSeq: 1", "Bad CSeq Header"),
        ("CSeq: 1 INVITE", "CSeq: 1 INVITE\nCSeq: 2 INVITE", "Repeated CSeq Header"),
        ("Call-ID: ", "i: other\nCall-ID: ", "Repeated Call-ID Header"),
        ("From: ", "f: <sip:x@y>;tag=z\nFrom: ", "Repeated From Header"),
        ("To: ", "t: <sip:x@y>\nTo: ", "Repeated To Header"),
        ("Max-Forwards: 70", "Max-Forwards: 70\nMax-Forwards: 0", "Repeated Max-Forwards Header"),
        ("Max-Forwards: 70", "Max-Forwards: -1", "Bad Max-Forwards Header"),
        ("Max-Forwards: 70", "Max-Forwards: 99999999999999999999", "Bad Max-Forwards Header"),
        ("X-Trace: 42", "Content-Length: 0\nContent-Length: 0", "Repeated Content-Length Header"),
        ("X-Trace: 42", "l: 0\nContent-Length : 5", "Repeated Content-Length Header"),
        ("X-Trace: 42", "Content-Length: 99999999999999999999999", "Bad Content-Length Header"),
        ("X-Trace: 42", "Content-Length: 0, 0", "Bad Content-Length Header"),
        ("X-Trace: 42", "Content-Length: -1", "Bad Content-Length Header"),
        ("X-Trace: 42", "Content-Length: 4294967297", "Body Shorter Than Content-Length"),
        ("X-Trace: 42", "c: application/sdp\nContent-Type: text/plain", "Repeated Content-Type Header"),
        (";tag=a1", ";tag=a1;tag=a2", "Bad From Header"),
        (";branch=z9hG4bK1", ";branch=z9hG4bK1;branch=z9hG4bK2", "Bad Via Header"),
        ("sip:4912345@192.0.2.1 SIP", "sip:4912345@2001:db8::1 SIP", "Bad Request-URI"),
        ("sip:4912345@192.0.2.1 SIP", "sip:4912345@[2001:db8::1 SIP", "Bad Request-URI"),
        ("<sip:alice@10.1.1.1:5060>", "<sip:alice@[::1>", "Bad Contact Header"),
    ] {
        let mut world = World::new();
        let text = invite("1", None).replace(place, with);
        assert_ne!(text, invite("1", None), "{place}");
        raw(&mut world, CALLER, &text);
        world.expect(CALLER, &format!("SIP/2.0 400 {words}\r\n"));
        world.expect_silence();
    }
}

#[test]
fn an_answer_goes_to_no_address_that_is_nobodys() {
    let sent_by = "Via: SIP/2.0/UDP 10.1.1.1:5060;";
    for with in
        ["10.1.1.1:0;", "10.1.1.1;maddr=0.0.0.0;", "10.1.1.1;maddr=255.255.255.255;", "10.1.1.1;maddr=[::];"]
    {
        let mut world = World::new();
        raw(&mut world, CALLER, &invite("1", None).replace(sent_by, &format!("Via: SIP/2.0/UDP {with}")));
        world.expect(CALLER, "SIP/2.0 100");
        world.expect(CALLEE, "INVITE");
    }
}

#[test]
fn without_hops_nothing_new_goes_on_and_what_is_for_the_box_is_answered() {
    let spent = |text: String| text.replace("Max-Forwards: 70", "Max-Forwards: 0");
    for method in ["INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH", "OPTIONS", "INFO", "NOTIFY"] {
        let mut world = World::new();
        world.receive(CALLER, &spent(invite("1", None).replace("INVITE", method)));
        world.expect(CALLER, "SIP/2.0 483");
        world.expect_silence();
    }
    let mut world = World::new();
    let for_the_box =
        invite("1", None).replace("INVITE sip:4912345@", "OPTIONS sip:").replace("INVITE", "OPTIONS");
    world.receive(CALLER, &spent(for_the_box));
    world.expect(CALLER, "SIP/2.0 200");
    let out = call_placed(&mut world);
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.receive(CALLER, &spent(cancel("1")));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &spent(from_caller("BYE", 2, &ok, "")));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "BYE");
}

#[test]
fn an_ack_is_never_answered_and_a_cancel_ends_its_invite_whatever_else_it_carries() {
    let ack = invite("9", None).replace("INVITE", "ACK");
    for with in [
        ack.clone(),
        ack.replace("X-Trace: 42", "Require: magic"),
        ack.replace("CSeq: 1 ", "CSeq: -1 "),
        ack.replace("Max-Forwards: 70", "Max-Forwards: 0"),
        ack.replace("To: <sip:4912345@192.0.2.1>", "To: <sip:4912345@192.0.2.1>;tag=nobody"),
        ack.replace("X-Trace: 42", "Content-Type: text/plain") + "a body",
        ack.replace("SIP/2.0\nVia", "SIP/3.0\nVia"),
    ] {
        let mut world = World::new();
        world.receive(CALLER, &with);
        world.expect_silence();
        world.expect_nothing_left();
    }
    for (place, with) in [
        ("Max-Forwards: 70", "Max-Forwards: 0\nRequire: magic\nProxy-Require: magic"),
        ("To: <sip:4912345@192.0.2.1>", "To: <sip:4912345@192.0.2.1>;tag=early"),
        ("CSeq: 1 CANCEL", "CSeq: 7 CANCEL"),
    ] {
        let mut world = World::new();
        call_ringing(&mut world);
        let text = cancel("1").replace(place, with);
        assert_ne!(text, cancel("1"), "{place}");
        world.receive(CALLER, &text);
        world.expect(CALLER, "SIP/2.0 200");
        world.expect(CALLER, "SIP/2.0 487");
        world.expect(CALLEE, "CANCEL");
    }
    let mut world = World::new();
    call_ringing(&mut world);
    world.receive(CALLER, &cancel("1").replace("CSeq: 1 CANCEL", "CSeq: 1 INVITE"));
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1, "what says that it is an INVITE cancels nothing");
}

#[test]
fn a_response_that_is_none_of_ours_or_cannot_be_read_changes_nothing() {
    for (place, with) in [
        ("SIP/2.0 200", "SIP/2.0 000"),
        ("SIP/2.0 200", "SIP/2.0 99"),
        ("SIP/2.0 200", "SIP/2.0 700"),
        ("SIP/2.0 200", "SIP/2.0 20000"),
        ("SIP/2.0 200", "SIP/2.0 2OO"),
        ("SIP/2.0 200", "SIP/2.0 -200"),
        ("SIP/2.0 200", "SIP/3.0 200"),
        ("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        ("CSeq: 1 INVITE", "CSeq: -1 INVITE"),
        ("CSeq: 1 INVITE", "CSeq: 1 INVITE\nCSeq: 1 INVITE"),
        ("Call-ID: ", "i: other\nCall-ID: "),
        ("Via: ", "v: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKother\nVia: "),
        (";branch=z9hG4bK", ";branch=z9hG4bKx"),
    ] {
        let mut world = World::new();
        let out = call_placed(&mut world);
        let text = response(&out, "200 OK", "b1", Some(ANSWER));
        let changed = text.replace(place, with);
        assert_ne!(changed, text, "{place}");
        world.receive(CALLEE, &changed);
        assert!(world.sent.is_empty(), "{with:?} led to {:#?}", world.sent);
        world.receive(CALLEE, &text);
        world.expect(CALLER, "SIP/2.0 200");
    }
}

#[test]
fn a_response_whose_via_names_somebody_else_is_no_answer() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    let ringing = response(&out, "180 Ringing", "b1", None);
    for other in ["192.0.2.99:5060", "192.0.2.1:5999", "carrier.example"] {
        world.receive(CALLEE, &ringing.replacen(BOX, other, 1));
        world.expect_silence();
    }
    world.receive(CALLEE, &ringing);
    world.expect(CALLER, "SIP/2.0 180");
}
