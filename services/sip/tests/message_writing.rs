//! What the writer lets out, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;

use sip::{Header, Message, Name, Writer, ack_for_failure, cancel_for, respond};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn source() -> SocketAddr {
    "203.0.113.9:31000".parse().unwrap()
}

#[test]
fn a_message_is_laid_out_in_the_order_of_the_calls() {
    let mut writer = Writer::request(b"INVITE", b"sip:b@example.com");
    writer
        .header("To", b"<sip:b@example.com>")
        .parts("CSeq", &[b"7", b" ", b"INVITE"])
        .number("Max-Forwards", 70);
    assert_eq!(
        text(&writer.body(Some(b"application/sdp"), b"v=0\r\n")),
        "INVITE sip:b@example.com SIP/2.0\r\nTo: <sip:b@example.com>\r\nCSeq: 7 INVITE\r\nMax-Forwards: 70\r\n\
         Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    );
    let mut writer = Writer::response(404, b"Not Found");
    writer.number("A", 0).number("B", u64::MAX);
    assert_eq!(
        text(&writer.finish()),
        "SIP/2.0 404 Not Found\r\nA: 0\r\nB: 18446744073709551615\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn copied_headers_are_byte_exact_and_content_length_is_never_copied() {
    let bytes =
        b"OPTIONS sip:b SIP/2.0\r\nX-oDD : a\xff\x00\r\n\t b,\n c\r\nl: 4\r\nv: x\r\n\r\n\x00\xff\r\n";
    let message = Message::parse(bytes).unwrap();
    let mut writer = Writer::request(message.method_text(), message.request_uri().unwrap());
    for header in message.headers() {
        writer.copy(&header);
    }
    writer.header("content-length", b"9").number("L", 9);
    assert_eq!(
        &writer.body(None, message.body())[..],
        b"OPTIONS sip:b SIP/2.0\r\nX-oDD: a\xff\x00\r\n\t b,\n c\r\nv: x\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n"
    );
}

#[test]
fn headers_that_are_kept_are_copied_in_order_whether_they_stand_together_or_not() {
    let plain = "OPTIONS sip:b SIP/2.0\r\nA: 1\r\nB : 2 \r\nC: 3\r\nl: 2\r\nD: 4\r\nE: 5\r\n\r\nhi";
    for bytes in [plain.to_owned(), plain.replace("C: 3", "C:\r\n 3"), plain.replace("\r\n", "\n")] {
        let message = Message::parse(bytes.as_bytes()).unwrap();
        let mut writer = Writer::response(200, b"OK");
        writer.copy_headers(&message, |header| header.raw_name != b"C");
        let written = writer.finish();
        let again = Message::parse(&written).unwrap();
        let headers: Vec<_> =
            again.headers().map(|header| (text(header.raw_name), text(header.value))).collect();
        assert_eq!(headers, [("A", "1"), ("B", "2"), ("D", "4"), ("E", "5"), ("Content-Length", "0")]);
        assert!(again.bytes().windows(2).all(|pair| pair[1] != b'\n' || pair[0] == b'\r'));
    }
}

#[test]
fn no_value_makes_a_second_header_or_ends_the_headers() {
    let evil: [&[u8]; 9] = [
        b"a\r\nEvil: 1",
        b"a\nEvil: 1",
        b"a\rEvil: 1",
        b"a\r\n\r\nEvil: 1",
        b"a\r\n",
        b"a\n\n",
        b"a\r\n ",
        b"a\r\n \r\nEvil: 1",
        b"a\r\n\t\r\n\r\n b",
    ];
    for value in evil {
        let mut writer = Writer::request(value, value);
        writer.header("Subject", value).parts("Reason", &[value, value, b" x"]);
        writer.copy(&Header { name: Name::Other, raw_name: value, value });
        let request = writer.body(Some(value), b"");
        let mut writer = Writer::response(200, value);
        writer.header(text(value), value);
        for bytes in [request, writer.finish()] {
            let message = Message::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", text(&bytes)));
            assert!(message.other(b"Evil").is_none(), "{}", text(&bytes));
            let expected = if message.is_request() { 5 } else { 2 };
            assert_eq!(message.headers().count(), expected, "{}", text(&bytes));
            assert!(
                bytes
                    .split(|byte| *byte == b'\n')
                    .all(|line| line.trim_ascii() != b"" || line == b"\r" || line == b"")
            );
        }
    }
}

#[test]
fn legal_folds_of_a_value_stay() {
    let mut writer = Writer::response(200, b"OK");
    writer.header("Subject", b"a\r\n b\n c");
    assert_eq!(text(&writer.finish()), "SIP/2.0 200 OK\r\nSubject: a\r\n b  c\r\nContent-Length: 0\r\n\r\n");
}

const INVITE: &str = "INVITE sip:b@example.com;x=1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5070 ;rport ;branch=z9hG4bK7;received=198.51.100.1;x=\"a;b\" , SIP/2.0/TCP p1;branch=z9hG4bKp1\r\n\
    v: SIP/2.0/UDP p2;branch=z9hG4bKp2\r\nMax-Forwards: 9\r\nf: \"A\" <sip:a@example.com>;tag=1\r\n\
    To:  <sip:b@example.com>\r\nCall-ID: c7\r\nCSeq: 007\r\n INVITE\r\nRoute: <sip:r1;lr>,<sip:r2;lr>\r\n\
    Route: <sip:r3;lr>\r\nRecord-Route: <sip:rr;lr>\r\nTimestamp: 54\r\nRequire: 100rel\r\nProxy-Require: x\r\n\
    Contact: <sip:a@192.0.2.1>\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_response_copies_what_must_come_back_and_completes_the_top_via() {
    let message = Message::parse(INVITE.as_bytes()).unwrap();
    let answer = respond(&message, 180, None, Some(b"t1"), source()).finish();
    assert_eq!(
        text(&answer),
        "SIP/2.0 180 Ringing\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5070;rport=31000;branch=z9hG4bK7;x=\"a;b\";received=203.0.113.9, \
         SIP/2.0/TCP p1;branch=z9hG4bKp1\r\n\
         Via: SIP/2.0/UDP p2;branch=z9hG4bKp2\r\nFrom: \"A\" <sip:a@example.com>;tag=1\r\n\
         To: <sip:b@example.com>;tag=t1\r\nCall-ID: c7\r\nCSeq: 007\r\n INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    let trying = respond(&message, 100, Some(b"Wait"), None, source()).finish();
    assert!(text(&trying).starts_with("SIP/2.0 100 Wait\r\n"));
    assert!(text(&trying).contains("To: <sip:b@example.com>\r\n"));
    assert!(text(&trying).contains("\r\nTimestamp: 54 0\r\n"));
}

#[test]
fn received_is_added_where_the_source_is_not_sent_by() {
    let top = |via: &str, source: &str| {
        let bytes = format!("OPTIONS sip:b SIP/2.0\r\nVia: {via}\r\nTo: <sip:b@h>;tag=x\r\n\r\n");
        let message = Message::parse(bytes.as_bytes()).unwrap();
        let answer = respond(&message, 200, None, Some(b"t"), source.parse().unwrap()).finish();
        assert!(text(&answer).contains("To: <sip:b@h>;tag=x\r\n"));
        text(Message::parse(&answer).unwrap().first(Name::Via).unwrap()).to_owned()
    };
    assert_eq!(top("SIP/2.0/UDP 192.0.2.1", "192.0.2.1:9"), "SIP/2.0/UDP 192.0.2.1");
    assert_eq!(top("SIP/2.0/UDP 192.0.2.1", "[::ffff:192.0.2.1]:9"), "SIP/2.0/UDP 192.0.2.1");
    assert_eq!(
        top("SIP/2.0/UDP 192.0.2.1;rport", "192.0.2.1:9"),
        "SIP/2.0/UDP 192.0.2.1;rport=9;received=192.0.2.1"
    );
    assert_eq!(top("SIP/2.0/UDP h;branch=b", "192.0.2.1:9"), "SIP/2.0/UDP h;branch=b;received=192.0.2.1");
    assert_eq!(top("SIP/2.0/UDP [2001:db8::1]", "[2001:db8:0::1]:9"), "SIP/2.0/UDP [2001:db8::1]");
    assert_eq!(
        top("SIP/2.0/UDP [2001:db8::1]", "[2001:db8::2]:9"),
        "SIP/2.0/UDP [2001:db8::1];received=2001:db8::2"
    );
    // The topmost Via is the first element, not the first line.
    let bytes = b"OPTIONS sip:b SIP/2.0\r\nVia: ,\r\nVia: SIP/2.0/UDP h, SIP/2.0/UDP i\r\n\r\n";
    let answer = respond(&Message::parse(bytes).unwrap(), 200, None, None, source()).finish();
    assert!(text(&answer).contains("Via: SIP/2.0/UDP h;received=203.0.113.9, SIP/2.0/UDP i\r\n"));
}

#[test]
fn the_ack_for_a_failure_is_the_invites_but_for_to() {
    let invite = Message::parse(INVITE.as_bytes()).unwrap();
    let failure = respond(&invite, 486, None, Some(b"t1"), source()).finish();
    let ack = ack_for_failure(&invite, &Message::parse(&failure).unwrap());
    assert_eq!(
        text(&ack),
        "ACK sip:b@example.com;x=1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5070 ;rport ;branch=z9hG4bK7;received=198.51.100.1;x=\"a;b\"\r\nMax-Forwards: 70\r\n\
         Route: <sip:r1;lr>,<sip:r2;lr>\r\nRoute: <sip:r3;lr>\r\nFrom: \"A\" <sip:a@example.com>;tag=1\r\n\
         To: <sip:b@example.com>;tag=t1\r\nCall-ID: c7\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn cancel_c1_is_the_invites_hop_without_body_require_or_a_tag_from_a_response() {
    let invite = Message::parse(INVITE.as_bytes()).unwrap();
    let cancel = cancel_for(&invite, Some(b"SIP;cause=200;text=\"Call completed elsewhere\""));
    assert_eq!(
        text(&cancel),
        "CANCEL sip:b@example.com;x=1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5070 ;rport ;branch=z9hG4bK7;received=198.51.100.1;x=\"a;b\"\r\nMax-Forwards: 70\r\n\
         Route: <sip:r1;lr>,<sip:r2;lr>\r\nRoute: <sip:r3;lr>\r\nFrom: \"A\" <sip:a@example.com>;tag=1\r\n\
         To: <sip:b@example.com>\r\nCall-ID: c7\r\nCSeq: 7 CANCEL\r\n\
         Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nContent-Length: 0\r\n\r\n"
    );
    assert!(!text(&cancel_for(&invite, None)).contains("Reason"));
    Message::parse(&cancel).unwrap().check().unwrap();
}
