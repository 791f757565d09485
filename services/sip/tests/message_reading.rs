//! What `Message::parse` makes of bytes: lines, names, lists and the body.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sip::{Header, MAX_HEADER_LINE, MAX_HEADERS, MAX_MESSAGE, Message, Method, Name, ParseError, call_id_of};

const HEAD: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK7\r\nFrom: <sip:a@example.com>;tag=1\r\n\
                    To: <sip:b@example.com>\r\nCall-ID: c7@example.com\r\nCSeq: 7 OPTIONS\r\n";

fn options(more: &str) -> Vec<u8> {
    format!("OPTIONS sip:b@example.com SIP/2.0\r\n{HEAD}{more}").into_bytes()
}

#[test]
fn a_request_gives_its_parts() {
    let bytes = options(
        "Max-Forwards: 70\r\nContent-Type: text/plain;charset=utf-8\r\nContent-Length: 5\r\n\r\nhello",
    );
    let message = Message::parse(&bytes).unwrap();
    assert!(message.is_request());
    assert_eq!(message.method(), Method::Options);
    assert_eq!(message.method_text(), b"OPTIONS");
    assert_eq!(message.request_uri(), Some(&b"sip:b@example.com"[..]));
    assert_eq!(message.status(), None);
    assert_eq!(message.call_id(), Ok(&b"c7@example.com"[..]));
    assert_eq!(message.cseq().unwrap().number, 7);
    assert_eq!(message.max_forwards(), Ok(Some(70)));
    assert_eq!(message.content_type(), Some(&b"text/plain"[..]));
    assert_eq!(message.body(), b"hello");
    assert_eq!(message.bytes(), bytes);
    assert_eq!(message.headers().count(), 8);
    message.check().unwrap();
}

#[test]
fn a_response_gives_its_parts_and_takes_its_method_from_cseq() {
    let bytes = format!("SIP/2.0 404 Not Found\r\n{HEAD}\r\n").into_bytes();
    let message = Message::parse(&bytes).unwrap();
    assert!(!message.is_request());
    assert_eq!(message.status(), Some(404));
    assert_eq!(message.reason_phrase(), b"Not Found");
    assert_eq!(message.method(), Method::Options);
    assert_eq!(message.method_text(), b"OPTIONS");
    assert_eq!(message.request_uri(), None);
}

#[test]
fn a_status_line_may_lack_its_phrase_and_a_phrase_may_be_any_bytes() {
    for (line, phrase) in [
        (&b"SIP/2.0 100 "[..], &b""[..]),
        (b"SIP/2.0 100", b""),
        (b"SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xff", b"= 2**3 * 5**2 \xd0\xbd\xff"),
    ] {
        let bytes = [line, b"\r\n", HEAD.as_bytes(), b"\r\n"].concat();
        assert_eq!(Message::parse(&bytes).unwrap().reason_phrase(), phrase);
    }
    for line in
        ["SIP/2.0 4294967301 x", "SIP/2.0 99 x", "SIP/2.0 700 x", "SIP/2.0 20x", "SIP/2.0 2000", "SIP/2.0"]
    {
        let bytes = format!("{line}\r\n{HEAD}\r\n");
        assert_eq!(Message::parse(bytes.as_bytes()).unwrap_err(), ParseError::NotSip, "{line}");
    }
}

#[test]
fn methods_are_told_apart_by_case_and_unknown_ones_keep_their_text() {
    for text in ["invite", "Invite", "RTP-STAT", "!odd-Method0_*+`.%'~"] {
        let bytes = format!("{text} sip:b@example.com SIP/2.0\r\nCSeq: 1 {text}\r\n\r\n");
        let message = Message::parse(bytes.as_bytes()).unwrap();
        assert_eq!(message.method(), Method::Unknown);
        assert_eq!(message.method_text(), text.as_bytes());
        assert_eq!(message.cseq().unwrap().method_text, text.as_bytes());
    }
}

#[test]
fn what_is_no_start_line_is_refused() {
    for line in [
        "",
        " ",
        "hello",
        "OPTIONS sip:b@example.com",
        "OPT{}IONS sip:b SIP/2.0",
        " OPTIONS sip:b SIP/2.0",
        "OPTIONS sip:b HTTP/1.1",
        "OPTIONS sip:b SIP/two",
        "OPTIONS sip:b SIP/2.",
        "v=0",
    ] {
        let bytes = format!("{line}\r\n\r\n");
        assert!(Message::parse(bytes.as_bytes()).is_err(), "{line:?}");
    }
    assert_eq!(Message::parse(b"").unwrap_err(), ParseError::Empty);
    assert_eq!(Message::parse(b"\r\n\r\n").unwrap_err(), ParseError::Empty);
}

#[test]
fn line_ends_before_a_message_are_skipped() {
    let bytes = [b"\r\n\n\r\n", &options("\r\n")[..]].concat();
    let message = Message::parse(&bytes).unwrap();
    assert!(message.bytes().starts_with(b"OPTIONS"));
    assert_eq!(call_id_of(&bytes), message.call_id().ok());
}

#[test]
fn lines_may_end_in_lf_alone() {
    let text = String::from_utf8(options("Odd: 1\r\n 2\r\n\r\nbody")).unwrap().replace("\r\n", "\n");
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(message.headers().count(), 6);
    assert_eq!(message.other(b"odd"), Some(&b"1\n 2"[..]));
    assert_eq!(message.body(), b"body");
    assert_eq!(call_id_of(text.as_bytes()), Some(&b"c7@example.com"[..]));
    message.check().unwrap();
}

#[test]
fn folded_values_keep_their_folds_and_read_as_one() {
    let bytes = b"INVITE sip:b@example.com SIP/2.0\r\nTO :\r\n sip:b@example.com ;   tag    = 19n\r\n\
        from   : \"J \\\\\\\"\"       <sip:j@example.com>\r\n  ;\r\n  tag = 98asjd8\r\nCall-ID:\r\n\tfolded@192.0.2.1\r\n\
        cseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\ns :\r\n\
        v:  SIP  / 2.0  / TCP     host.example.com   ;\r\n  branch  =   z9hG4bK9  ,\r\n SIP  /    2.0   / UDP  \
        192.168.255.111 : 5070  ; branch=\r\n z9hG4bK3\r\nMaX-fOrWaRdS: 0068\r\nContent-Length   : 2\r\n\r\nhi";
    let message = Message::parse(bytes).unwrap();
    message.check().unwrap();
    assert_eq!(message.to().unwrap().tag(), Some(&b"19n"[..]));
    assert_eq!(message.from().unwrap().tag(), Some(&b"98asjd8"[..]));
    assert_eq!(message.from().unwrap().display, br#""J \\\"""#);
    assert_eq!(message.call_id(), Ok(&b"folded@192.0.2.1"[..]));
    assert_eq!(call_id_of(bytes), Some(&b"folded@192.0.2.1"[..]));
    assert_eq!(message.cseq().unwrap().number, 9);
    assert_eq!(message.max_forwards(), Ok(Some(68)));
    assert_eq!(message.via().unwrap().branch(), Some(&b"390skdjuw"[..]));
    assert_eq!(message.first(Name::Subject), Some(&b""[..]));
    let vias: Vec<_> = message.elements(Name::Via).map(|via| sip::Via::parse(via).unwrap()).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!((vias[1].host, vias[1].port), (&b"host.example.com"[..], None));
    assert_eq!((vias[2].host, vias[2].port), (&b"192.168.255.111"[..], Some(5070)));
    assert_eq!(vias[2].branch(), Some(&b"z9hG4bK3"[..]));
    assert_eq!(message.body(), b"hi");
}

#[test]
fn any_number_of_blanks_stands_before_a_colon() {
    let text = String::from_utf8(options("\r\n"))
        .unwrap()
        .replace("Call-ID:", &format!("Call-ID{}:", " \t".repeat(90)));
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(message.call_id(), Ok(&b"c7@example.com"[..]));
    assert_eq!(call_id_of(text.as_bytes()), Some(&b"c7@example.com"[..]));
}

#[test]
fn compact_names_are_the_long_ones() {
    let bytes = b"MESSAGE sip:b@example.com SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nF: <sip:a@example.com>;tag=1\r\n\
        t: <sip:b@example.com>\r\nI: x@y\r\nCSeq: 1 MESSAGE\r\nm: <sip:a@192.0.2.1>\r\nc: text/plain\r\nk: timer\r\n\
        l: 2\r\n\r\nhello";
    let message = Message::parse(bytes).unwrap();
    message.check().unwrap();
    assert_eq!(message.call_id(), Ok(&b"x@y"[..]));
    assert_eq!(call_id_of(bytes), Some(&b"x@y"[..]));
    assert_eq!(message.contact().unwrap().unwrap().uri, b"sip:a@192.0.2.1");
    assert_eq!(message.token_list(Name::Supported).collect::<Vec<_>>(), [b"timer"]);
    assert_eq!(message.body(), b"he");
    assert_eq!(
        message.headers().next(),
        Some(Header { name: Name::Via, raw_name: b"v", value: b"SIP/2.0/UDP h;branch=z9hG4bK1" })
    );
}

#[test]
fn unknown_headers_and_bytes_that_are_not_utf_8_are_given_as_they_came() {
    let bytes = [&options("")[..], b"X-\xc3\xa9: no\r\n\r\n"].concat();
    assert!(matches!(Message::parse(&bytes).unwrap_err(), ParseError::NotHeader { got: 0xc3, .. }));
    let bytes =
        [&options("")[..], b"X-Odd!%: a \xff\x00\xfe;;,,\x01 z \r\nX-odd!%: 2\r\n\r\n\x00\xff"].concat();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.other(b"x-oDD!%"), Some(&b"a \xff\x00\xfe;;,,\x01 z"[..]));
    assert_eq!(message.headers().filter(|header| header.name == Name::Other).count(), 2);
    assert_eq!(message.body(), b"\x00\xff");
    message.check().unwrap();
}

#[test]
fn lists_are_cut_at_commas_that_separate() {
    let bytes = options(
        "Contact: \"a, <b>\" <sip:x@h?a=1,2>, <sip:y(z@h>;q=\"1,0\" ,, sip:u(v@h\r\nm: *\r\nServer: a (b, (c) \\) d), e\r\n\
         Supported: timer ,100rel\r\nSupported:\r\nSupported: , replaces\r\n\r\n",
    );
    let message = Message::parse(&bytes).unwrap();
    let list =
        |name| message.elements(name).map(|text| std::str::from_utf8(text).unwrap()).collect::<Vec<_>>();
    assert_eq!(
        list(Name::Contact),
        ["\"a, <b>\" <sip:x@h?a=1,2>", "<sip:y(z@h>;q=\"1,0\"", "sip:u(v@h", "*"]
    );
    assert_eq!(list(Name::Server), ["a (b, (c) \\) d)", "e"]);
    assert_eq!(list(Name::Supported), ["timer", "100rel", "replaces"]);
    assert_eq!(message.values(Name::Supported).count(), 3);
    assert_eq!(list(Name::Require), [] as [&str; 0]);
    assert!(message.has(Name::Contact) && !message.has(Name::Require));
}

#[test]
fn what_is_never_closed_takes_the_rest_of_its_element() {
    let bytes =
        options("Contact: \"open, <sip:a@h>\r\nRoute: <sip:a@h, <sip:b@h>\r\nServer: (((a, b\r\n\r\n");
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.elements(Name::Contact).count(), 1);
    assert!(message.contact().is_err());
    assert_eq!(message.elements(Name::Route).collect::<Vec<_>>(), [b"<sip:a@h, <sip:b@h>"]);
    assert_eq!(message.elements(Name::Server).collect::<Vec<_>>(), [&b"(((a"[..], b"b"]);
}

#[test]
fn limits_are_kept_to_the_byte() {
    let head = options("");
    let pad = |bytes: usize| {
        let text = options("\r\n");
        [&text[..], &vec![b'x'; bytes - text.len()]].concat()
    };
    assert_eq!(Message::parse(&pad(MAX_MESSAGE)).unwrap().bytes().len(), MAX_MESSAGE);
    assert_eq!(
        Message::parse(&pad(MAX_MESSAGE + 1)).unwrap_err(),
        ParseError::TooLong { length: MAX_MESSAGE + 1 }
    );

    let lines = |count: usize| [&head[..], &b"X: y\r\n".repeat(count - 5), b"\r\n"].concat();
    assert_eq!(Message::parse(&lines(MAX_HEADERS)).unwrap().headers().count(), MAX_HEADERS);
    assert!(matches!(
        Message::parse(&lines(MAX_HEADERS + 1)).unwrap_err(),
        ParseError::TooManyHeaders { .. }
    ));

    let long = |length: usize| [&head[..], b"X: ", &vec![b'y'; length - 3], b"\r\n\r\n"].concat();
    assert!(Message::parse(&long(MAX_HEADER_LINE)).is_ok());
    assert!(matches!(
        Message::parse(&long(MAX_HEADER_LINE + 1)).unwrap_err(),
        ParseError::HeaderTooLong { .. }
    ));
}

#[test]
fn lines_that_are_no_headers_are_refused_and_named() {
    let at = options("").len();
    let error = |more: &str| Message::parse(&options(more)).unwrap_err();
    assert_eq!(error("no colon\r\n\r\n"), ParseError::NotHeader { at: at + 3, got: b'c' });
    assert_eq!(error(": empty name\r\n\r\n"), ParseError::NotHeader { at, got: b':' });
    assert_eq!(error("X: a\rY: b\r\n\r\n"), ParseError::BareCr { at: at + 4 });
    assert_eq!(error("X: a\r\r\n\r\n"), ParseError::BareCr { at: at + 4 });
    assert_eq!(error("X: a\r\n"), ParseError::Unterminated { at: at + 6 });
    assert_eq!(error(""), ParseError::Unterminated { at });
    assert_eq!(error("X: a\r\n\r"), ParseError::NotHeader { at: at + 6, got: b'\r' });
    let folded_start = b"OPTIONS sip:b@h SIP/2.0\r\n folded: 1\r\n\r\n";
    assert!(matches!(Message::parse(folded_start).unwrap_err(), ParseError::NotHeader { .. }));
    let text = error("no colon\r\n\r\n").to_string();
    assert_eq!(text, format!("expected a header name and a colon at byte {}, got byte 0x63", at + 3));
}

#[test]
fn a_refused_request_can_still_be_answered() {
    let bytes = options("no colon\r\nX: a\rb\r\nContent-Length: -1\r\nTimestamp: 54\r\n\r\nbody");
    assert!(Message::parse(&bytes).is_err());
    let message = Message::salvage(&bytes).unwrap();
    assert_eq!(message.via().unwrap().branch(), Some(&b"z9hG4bK7"[..]));
    assert_eq!(message.first(Name::Timestamp), Some(&b"54"[..]));
    assert_eq!(message.body(), b"");
    let answer = sip::respond(&message, 400, None, Some(b"t"), "192.0.2.1:5060".parse().unwrap()).finish();
    Message::parse(&answer).unwrap().check().unwrap();
    assert!(Message::salvage(b"hello\r\n\r\n").is_none());
}

#[test]
fn the_call_id_is_found_without_an_index_or_not_at_all() {
    assert_eq!(call_id_of(b"OPTIONS sip:b SIP/2.0\r\ncall-id \t: a@b \r\nX: y\r\n\r\n"), Some(&b"a@b"[..]));
    // A header of the body, or a folded line that looks like one, is none.
    assert_eq!(call_id_of(b"OPTIONS sip:b SIP/2.0\r\nX: y\r\n Call-ID: no\r\n\r\nCall-ID: no\r\n"), None);
    assert_eq!(call_id_of(b"OPTIONS sip:b SIP/2.0\r\nCall-Info: no\r\ni\r\n:no\r\n\r\n"), None);
    assert_eq!(call_id_of(b""), None);
    assert_eq!(call_id_of(b"Call-ID: a\r\n"), None);
}
