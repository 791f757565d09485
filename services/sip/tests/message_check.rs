//! What `Message::check` holds against a message, and what the peer is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sip::{MAX_LIST, Message};

const GOOD: [&str; 8] = [
    "INVITE sip:b@example.com SIP/2.0",
    "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK7",
    "From: <sip:a@example.com>;tag=1",
    "To: <sip:b@example.com>",
    "Call-ID: c7@example.com",
    "CSeq: 7 INVITE",
    "Max-Forwards: 70",
    "Contact: <sip:a@192.0.2.1>",
];

/// The status and phrase for the good message, after one line was put in another's place.
fn verdict(line: usize, text: &str) -> Option<(u16, String)> {
    let mut lines = GOOD;
    lines[line] = text;
    verdict_of(&lines)
}

fn verdict_of(lines: &[&str]) -> Option<(u16, String)> {
    let bytes: String =
        lines.iter().filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
    let bytes = format!("{bytes}\r\n");
    let message = Message::parse(bytes.as_bytes()).unwrap();
    message.check().err().map(|fault| (fault.status(), fault.phrase()))
}

fn bad(phrase: &str) -> Option<(u16, String)> {
    Some((400, phrase.to_owned()))
}

#[test]
fn a_sound_message_passes() {
    assert_eq!(verdict_of(&GOOD), None);
}

#[test]
fn each_mandatory_header_is_missed_by_name() {
    for (line, name) in [(1, "Via"), (2, "From"), (3, "To"), (4, "Call-ID"), (5, "CSeq")] {
        assert_eq!(verdict(line, ""), bad(&format!("Missing {name} Header")));
        let bytes = verdict(line, &format!("{name}:"));
        let phrase = if name == "Via" { "Missing Via Header" } else { &format!("Bad {name} Header") };
        assert_eq!(bytes, bad(phrase));
    }
    // RFC 2543 peers leave these out.
    assert_eq!(verdict(6, ""), None);
    assert_eq!(verdict(7, ""), None);
    assert_eq!(verdict(2, "From: sip:a@example.com"), None);
    assert_eq!(verdict(1, "Via: SIP/2.0/UDP 192.0.2.1"), None);
}

#[test]
fn single_headers_may_not_come_twice() {
    for line in [2, 3, 4, 5, 6] {
        let mut lines = GOOD.to_vec();
        lines.push(GOOD[line]);
        let name = GOOD[line].split(':').next().unwrap();
        assert_eq!(verdict_of(&lines), bad(&format!("Repeated {name} Header")));
    }
    let mut lines = GOOD.to_vec();
    lines.push("f: <sip:other@example.com>;tag=2");
    assert_eq!(verdict_of(&lines), bad("Repeated From Header"));
}

#[test]
fn another_version_is_505() {
    for line in
        ["INVITE sip:b@example.com SIP/7.0", "INVITE sip:b@example.com SIP/2.1", "INVITE sip:b@h SIP/02.0"]
    {
        assert_eq!(verdict(0, line), Some((505, "Version Not Supported".to_owned())));
    }
    assert_eq!(verdict(0, "INVITE sip:b@example.com sip/2.0"), None);
}

#[test]
fn a_request_line_has_single_spaces_and_a_bare_uri() {
    for line in ["INVITE  sip:b@example.com  SIP/2.0", "INVITE sip:b@example.com SIP/2.0  "] {
        assert_eq!(verdict(0, line), bad("Bad Request Line"), "{line}");
    }
    for line in [
        "INVITE <sip:b@example.com> SIP/2.0",
        "INVITE sip:b@example.com; lr SIP/2.0",
        "INVITE sip:b@example.com?Route=%3Csip:x%3E SIP/2.0",
        "INVITE b@example.com SIP/2.0",
        "INVITE  SIP/2.0",
    ] {
        assert_eq!(verdict(0, line), bad("Bad Request-URI"), "{line}");
    }
    for line in ["INVITE nobodyKnows:b@example.com SIP/2.0", "INVITE tel:911 SIP/2.0"] {
        assert_eq!(verdict(0, line), None, "{line}");
    }
}

#[test]
fn each_unreadable_header_is_named() {
    for (line, text, name) in [
        (1, "Via: SIP/2.0/UDP 192.0.2.1;;,;,,", "Via"),
        (1, "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK", "Via"),
        (2, "From: Bell, Alexander <sip:a@example.com>;tag=43", "From"),
        (2, "From: <sip:a@example.com>;tag=", "From"),
        (3, "To: \"Mr. J. User <sip:j@example.com>", "To"),
        (3, "To: \"Watson, Thomas\" < sip:t@example.org >", "To"),
        (3, "To: <no uri>", "To"),
        (4, "Call-ID: two words", "Call-ID"),
        (5, "CSeq: 36893488147419103232 INVITE", "CSeq"),
        (5, "CSeq: 8 OPTIONS", "CSeq"),
        (5, "CSeq: 8 invite", "CSeq"),
        (6, "Max-Forwards: 256", "Max-Forwards"),
        (6, "Max-Forwards: -1", "Max-Forwards"),
        (7, "Contact: \"Joe\" <sip:joe@example.org>;;;;", "Contact"),
        (7, "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E", "Contact"),
        (7, "Contact: <sip:a@h>, nonsense", "Contact"),
        (7, "Route: <tel:911>", "Route"),
        (7, "Record-Route: <sip:a@h;lr", "Record-Route"),
        (7, "RSeq: 0", "RSeq"),
    ] {
        assert_eq!(verdict(line, text), bad(&format!("Bad {name} Header")), "{text}");
    }
    assert_eq!(verdict(7, "Contact: *"), None);
}

#[test]
fn lists_that_are_walked_have_a_limit() {
    for (name, element) in [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK7"),
        ("Route", "<sip:r;lr>"),
        ("Record-Route", "<sip:r;lr>"),
        ("Contact", "<sip:c>"),
    ] {
        let list = |count: usize| format!("{name}: {}", vec![element; count].join(","));
        let line = if name == "Via" { 1 } else { 7 };
        assert_eq!(verdict(line, &list(MAX_LIST)), None, "{name}");
        assert_eq!(verdict(line, &list(MAX_LIST + 1)), bad(&format!("Bad {name} Header")));
    }
}

#[test]
fn a_response_with_a_second_via_is_not_ours() {
    let via = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK7";
    assert_eq!(verdict(0, "SIP/2.0 180 Ringing"), None);
    let response = [&["SIP/2.0 200 OK", via][..], &GOOD[1..]].concat();
    assert_eq!(verdict_of(&response), bad("Bad Via Header"));
    let request = [&GOOD[..1], &[via], &GOOD[1..]].concat();
    assert_eq!(verdict_of(&request), None);
}

#[test]
fn a_fault_says_what_it_expected() {
    let bytes = format!("{}\r\n\r\n", GOOD[..6].join("\r\n").replace("7 INVITE", "7 BYE"));
    let fault = Message::parse(bytes.as_bytes()).unwrap().check().unwrap_err();
    assert_eq!(fault.to_string(), "bad CSeq: expected the method of the request");
}
