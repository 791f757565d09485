//! Where a message ends. Two readers of one stream that differ on this are how a request is smuggled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sip::{Message, ParseError};

fn parse(headers: &str, body: &str) -> Result<Vec<u8>, ParseError> {
    let bytes = format!("OPTIONS sip:b@example.com SIP/2.0\r\n{headers}\r\n{body}");
    Message::parse(bytes.as_bytes()).map(|message| message.body().to_vec())
}

#[test]
fn content_length_ends_the_body_however_it_is_legally_written() {
    for header in [
        "Content-Length: 5\r\n",
        "Content-Length : 5\r\n",
        "content-length:5\r\n",
        "l:5\r\n",
        "L \t: 005 \r\n",
        "Content-Length:\r\n 5\r\n",
        "l: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 0000000000000000000000000005\r\n",
    ] {
        assert_eq!(parse(header, "12345BYE sip:evil SIP/2.0").unwrap(), b"12345", "{header:?}");
    }
}

#[test]
fn without_content_length_the_body_is_the_rest_of_the_datagram() {
    assert_eq!(parse("", "12345").unwrap(), b"12345");
    assert_eq!(parse("", "").unwrap(), b"");
}

#[test]
fn all_that_is_not_a_plain_number_is_refused() {
    for value in [
        "-1",
        "+5",
        "5 5",
        "5,5",
        "5;a=b",
        "0x5",
        "5.0",
        "",
        "\"5\"",
        "five",
        "5\u{a0}",
        "5\r\n 5",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        let error = parse(&format!("Content-Length: {value}\r\n"), "12345").unwrap_err();
        assert!(matches!(error, ParseError::BadContentLength { .. }), "{value:?} gave {error}");
        assert_eq!((error.status(), error.phrase()), (400, "Bad Content-Length Header"));
    }
}

#[test]
fn a_length_beyond_the_bytes_is_refused() {
    assert_eq!(parse("l: 6\r\n", "12345").unwrap_err(), ParseError::ShortBody { expected: 6, got: 5 });
    let huge = parse("l: 18446744073709551615\r\n", "12345").unwrap_err();
    assert_eq!(huge, ParseError::ShortBody { expected: u64::MAX, got: 5 });
}

#[test]
fn two_that_differ_are_refused_and_two_alike_are_left_to_check() {
    let error = parse("Content-Length: 5\r\nX: y\r\nl: 4\r\n", "12345").unwrap_err();
    assert!(matches!(error, ParseError::TwoContentLengths { first: 5, second: 4, .. }));
    let bytes = b"OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
        Call-ID: c\r\nCSeq: 1 OPTIONS\r\nl: 0\r\nl: 0\r\n\r\n";
    let fault = Message::parse(bytes).unwrap().check().unwrap_err();
    assert_eq!(fault.phrase(), "Repeated Content-Length Header");
}
