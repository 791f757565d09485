//! Cutting streams: every spelling of a length, every place where a read may end, and what breaks a stream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn cut(stream: &[u8]) -> Result<Vec<Frame>, Broken> {
    let mut framer = Framer::new();
    framer.extend(stream);
    drain(&mut framer)
}

fn drain(framer: &mut Framer) -> Result<Vec<Frame>, Broken> {
    let mut frames = Vec::new();
    while let Some(frame) = framer.cut()? {
        frames.push(frame);
    }
    Ok(frames)
}

fn message(text: &str) -> Frame {
    Frame::Message(Bytes::copy_from_slice(text.as_bytes()))
}

fn fault(stream: &str) -> FramingFault {
    cut(stream.as_bytes()).expect_err("the stream is broken").fault
}

const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 0\r\n\r\n";
const WITH_BODY: &str = "MESSAGE sip:a@b SIP/2.0\r\nCall-ID: 2\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_message_ends_where_its_content_length_says() {
    assert_eq!(cut(WITH_BODY.as_bytes()), Ok(vec![message(WITH_BODY)]));
}

#[test]
fn pipelined_messages_come_out_one_by_one() {
    let stream = [WITH_BODY, OPTIONS, WITH_BODY].concat();
    assert_eq!(cut(stream.as_bytes()), Ok(vec![message(WITH_BODY), message(OPTIONS), message(WITH_BODY)]));
}

#[test]
fn a_stream_cut_anywhere_gives_the_same_frames() {
    let stream = ["\r\n\r\n", WITH_BODY, "\r\n", OPTIONS, "\r\n\r\n\r\n\r\n", WITH_BODY].concat();
    let whole = cut(stream.as_bytes()).unwrap();
    assert_eq!(whole.len(), 6);

    for at in 0..stream.len() {
        let mut framer = Framer::new();
        framer.extend(&stream.as_bytes()[..at]);
        let mut frames = drain(&mut framer).unwrap();
        framer.extend(&stream.as_bytes()[at..]);
        frames.extend(drain(&mut framer).unwrap());
        assert_eq!(frames, whole, "cut at {at}");
    }

    let mut framer = Framer::new();
    let mut frames = Vec::new();
    for octet in stream.as_bytes() {
        framer.extend(std::slice::from_ref(octet));
        frames.extend(drain(&mut framer).unwrap());
    }
    assert_eq!(frames, whole, "octet by octet");
    assert!(!framer.is_within_message());
}

#[test]
fn a_double_crlf_between_messages_is_a_ping_and_a_single_one_is_nothing() {
    assert_eq!(cut(b"\r\n\r\n"), Ok(vec![Frame::Ping]));
    assert_eq!(cut(b"\r\n"), Ok(vec![]));
    assert_eq!(cut(b"\r\n\r\n\r\n\r\n"), Ok(vec![Frame::Ping, Frame::Ping]));
    assert_eq!(cut(format!("\r\n{OPTIONS}\r\n").as_bytes()), Ok(vec![message(OPTIONS)]));
    assert_eq!(cut(b"\n\n\r\r\n"), Ok(vec![]));
}

#[test]
fn an_empty_line_inside_a_body_is_body() {
    let text = "MESSAGE sip:a@b SIP/2.0\r\nl: 8\r\n\r\n\r\n\r\n\r\n\r\n";
    assert_eq!(cut(text.as_bytes()), Ok(vec![message(text)]));
}

#[test]
fn the_header_is_found_in_every_legal_spelling() {
    for header in [
        "Content-Length: 5",
        "Content-Length : 5",
        "content-length:5",
        "CONTENT-LENGTH:\t5 ",
        "l: 5",
        "L :5",
        "Content-Length:\r\n 5",
        "l:\r\n\t  5  ",
        "Content-Length: 5\r\nl: 5",
        "Content-Length: 005",
        "Subject: Content-Length\r\n : 9\r\nl: 5",
    ] {
        let text = format!("MESSAGE sip:a@b SIP/2.0\r\nCall-ID: 2\r\n{header}\r\n\r\nhello");
        assert_eq!(cut(text.as_bytes()), Ok(vec![message(&text)]), "{header}");
    }
}

#[test]
fn bare_line_feeds_end_lines_too() {
    let text = "MESSAGE sip:a@b SIP/2.0\nCall-ID: 2\nl: 5\n\nhello";
    assert_eq!(cut(text.as_bytes()), Ok(vec![message(text)]));
}

#[test]
fn a_length_that_cannot_be_believed_breaks_the_stream() {
    for (header, expected) in [
        ("Subject: none", FramingFault::LengthMissing),
        ("Content-Length:", FramingFault::LengthUnreadable),
        ("Content-Length: -1", FramingFault::LengthUnreadable),
        ("Content-Length: +5", FramingFault::LengthUnreadable),
        ("Content-Length: 5, 5", FramingFault::LengthUnreadable),
        ("Content-Length: 5;x=y", FramingFault::LengthUnreadable),
        ("Content-Length: 0x5", FramingFault::LengthUnreadable),
        ("Content-Length: \x0c5", FramingFault::LengthUnreadable),
        ("Content-Length\x0c: 5", FramingFault::LengthMissing),
        ("Content-Length: 5\r\n 5", FramingFault::LengthUnreadable),
        ("Content-Length: 5\r\nContent-Length: 6", FramingFault::LengthAmbiguous),
        ("l: 5\r\nContent-Length: 0", FramingFault::LengthAmbiguous),
        ("Content-Length: 65536", FramingFault::MessageTooLong),
        ("Content-Length: 99999999999999999999999999", FramingFault::MessageTooLong),
    ] {
        let text = format!("MESSAGE sip:a@b SIP/2.0\r\n{header}\r\n\r\nhello");
        assert_eq!(fault(&text), expected, "{header}");
    }
}

#[test]
fn the_head_of_a_message_with_a_bad_length_is_handed_back() {
    let head = "MESSAGE sip:a@b SIP/2.0\r\nCall-ID: 2\r\nContent-Length: x\r\n\r\n";
    let broken = cut(format!("{head}hello").as_bytes()).unwrap_err();
    assert_eq!(broken.head.as_deref(), Some(head.as_bytes()));
}

#[test]
fn a_length_in_the_start_line_does_not_count() {
    assert_eq!(fault("l: 5 SIP/2.0\r\nCall-ID: 2\r\n\r\nhello"), FramingFault::LengthMissing);
}

#[test]
fn a_message_of_the_largest_size_passes_and_one_octet_more_does_not() {
    let head = |length: usize| format!("MESSAGE sip:a@b SIP/2.0\r\nContent-Length: {length}\r\n\r\n");
    let room = MAX_MESSAGE - head(60_000).len();
    let text = head(room) + &"x".repeat(room);
    assert_eq!(cut(text.as_bytes()), Ok(vec![message(&text)]));
    assert_eq!(fault(&head(room + 1)), FramingFault::MessageTooLong);
}

#[test]
fn headers_without_end_are_given_up() {
    let mut framer = Framer::new();
    let mut fed = 0;
    let broken = loop {
        framer.extend(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n");
        fed += 31;
        match drain(&mut framer) {
            Ok(frames) => assert!(frames.is_empty()),
            Err(broken) => break broken,
        }
        assert!(fed < 2 * MAX_MESSAGE, "given up in time");
    };
    assert_eq!(broken.fault, FramingFault::HeadTooLong);
    let head = broken.head.unwrap();
    assert!(head.len() <= MAX_MESSAGE + 2 && head.ends_with(b"yyy\r\n\r\n"), "whole lines, to be answered");

    let one_line = "x".repeat(MAX_MESSAGE + 1);
    assert_eq!(fault(&one_line), FramingFault::HeadTooLong);
}

#[test]
fn a_begun_message_is_noticed_as_such() {
    let mut framer = Framer::new();
    framer.extend(b"\r\n");
    assert_eq!(framer.cut(), Ok(None));
    assert!(!framer.is_within_message());
    framer.extend(&WITH_BODY.as_bytes()[..WITH_BODY.len() - 1]);
    assert_eq!(framer.cut(), Ok(None));
    assert!(framer.is_within_message());
    framer.extend(b"o");
    assert_eq!(framer.cut(), Ok(Some(message(WITH_BODY))));
    assert!(!framer.is_within_message());
}
