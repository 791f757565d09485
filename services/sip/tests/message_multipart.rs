//! Bodies of several parts: cut where their boundaries say, and put together again as they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sip::Message;

fn message(kind: &str, body: &str) -> Vec<u8> {
    format!("INVITE sip:a@b SIP/2.0\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Kind and content of each part.
fn parts(kind: &str, body: &str) -> Option<Vec<(String, String)>> {
    let bytes = message(kind, body);
    let message = Message::parse(&bytes).unwrap();
    let cut = message.multipart().unwrap().ok()?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Some(cut.parts().iter().map(|part| (text(part.kind()), text(part.body))).collect())
}

const TWO: &str = "before\r\n--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--x \r\nContent-Type:\r\n text/html\r\n\
    Content-Disposition: render;handling=optional\r\n\r\n--xy\r\n<p>\r\n--x--\r\nafter";

#[test]
fn parts_stand_between_the_lines_of_their_boundary() {
    let expected =
        vec![("application/sdp".into(), "v=0\r\n".into()), ("text/html".into(), "--xy\r\n<p>".into())];
    assert_eq!(parts("multipart/mixed;boundary=x", TWO), Some(expected.clone()));
    assert_eq!(parts("Multipart/Related ; type=a; boundary=\"x\"", TWO), Some(expected));
    let plain = "--b\n\nhello\n--b--";
    assert_eq!(parts("multipart/mixed;boundary=b", plain), Some(vec![("text/plain".into(), "hello".into())]));
}

#[test]
fn what_is_not_closed_or_has_no_boundary_or_too_many_parts_is_no_multipart() {
    for (kind, body) in [
        ("multipart/mixed", TWO),
        ("multipart/mixed;boundary=\"\"", TWO),
        ("multipart/mixed;boundary=y", TWO),
        ("multipart/mixed;boundary=x", "--x\r\n\r\nopen"),
        ("multipart/mixed;boundary=x", "a --x\r\n\r\nopen\r\n --x--"),
    ] {
        assert_eq!(parts(kind, body), None, "{kind} {body}");
    }
    let many = format!("{}--x--", "--x\r\n\r\n\r\n".repeat(17));
    assert_eq!(parts("multipart/mixed;boundary=x", &many), None);
    let bytes = message("text/plain", TWO);
    assert!(Message::parse(&bytes).unwrap().multipart().is_none());
}

#[test]
fn a_part_is_rewritten_in_its_place_and_one_that_is_left_out_leaves_no_trace() {
    let bytes = message("multipart/mixed;boundary=x", TWO);
    let message = Message::parse(&bytes).unwrap();
    let cut = message.multipart().unwrap().unwrap();
    assert_eq!(cut.rewrite(|part| Some(part.body)), TWO.as_bytes());
    let changed =
        cut.rewrite(|part| Some(if part.kind() == b"application/sdp" { &b"v=1\r\n"[..] } else { part.body }));
    assert_eq!(String::from_utf8(changed).unwrap(), TWO.replace("v=0", "v=1"));
    let fewer = cut.rewrite(|part| (part.kind() == b"text/html").then_some(part.body));
    let expected = TWO.replace("\r\n--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n", "");
    assert_eq!(String::from_utf8(fewer).unwrap(), expected);
}

#[test]
fn what_a_part_says_of_itself_is_read() {
    let body = "--x\r\nContent-Transfer-Encoding: base64\r\nContent-Type: application/sdp\r\n\r\ndj0w\r\n--x\r\n\
        Content-Disposition: early-session\r\ne: gzip\r\n\r\n\r\n--x\r\nContent-Transfer-Encoding: 8BIT\r\n\r\n\r\n--x--";
    let bytes = message("multipart/mixed;boundary=x", body);
    let message = Message::parse(&bytes).unwrap();
    let cut = message.multipart().unwrap().unwrap();
    let encoded: Vec<bool> = cut.parts().iter().map(|part| part.is_encoded).collect();
    assert_eq!(encoded, [true, true, false]);
    assert_eq!(cut.parts()[1].disposition, Some(&b"early-session"[..]));
}

#[test]
fn a_boundary_right_behind_another_is_written_once() {
    let body = "--x\r\nContent-Type: a/b\r\n\r\none\r\n--x\r\n--x\r\n\r\ntwo\r\n--x\n--x--\r\n";
    let bytes = message("multipart/mixed;boundary=x", body);
    let message = Message::parse(&bytes).unwrap();
    let cut = message.multipart().unwrap().unwrap();
    assert_eq!(cut.parts().len(), 4);
    assert_eq!(cut.rewrite(|part| Some(part.body)), message.body());
    let without = |body: &[u8]| {
        let kept = cut.rewrite(|part| (part.body != body).then_some(part.body));
        String::from_utf8(kept).unwrap()
    };
    assert_eq!(without(b"one"), "\r\n--x\r\n--x\r\n\r\ntwo\r\n--x\n--x--\r\n");
    assert_eq!(without(b""), "--x\r\nContent-Type: a/b\r\n\r\none\r\n--x\r\n\r\ntwo\n--x--\r\n");
}
