//! Requests that are no call: refused by the rules of RFC 3261 §8.2, asserted byte by byte.

use std::time::Duration;

use crate::story::*;
use bytes::Bytes;
use simulation::{STRANGER, World, caller_address};
use sip::Name;

/// A request by hand from an address of the access trunk where no phone is.
fn request(method: &str, to_tag: &str, headers: &str) -> Bytes {
    Bytes::from(format!(
        "{method} sip:5100000@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.10.1.150:5060;rport;branch=z9hG4bKhand\r\n\
         From: <sip:hand@10.10.1.150>;tag=hand\r\nTo: <sip:5100000@192.0.2.1>{to_tag}\r\nCall-ID: by-hand\r\n\
         CSeq: 7 {method}\r\nContact: <sip:hand@10.10.1.150:5060>\r\n{headers}Content-Length: 0\r\n\r\n"
    ))
}

/// What the box answers.
fn answers_to(request: Bytes) -> Vec<Bytes> {
    let mut world = World::of(Vec::new());
    world.inject(caller_address(49), request);
    let mut world = to_the_end(world);
    world
        .take_strays()
        .into_iter()
        .map(|(_, bytes)| bytes)
        .filter(|bytes| !bytes.starts_with(b"SIP/2.0 100"))
        .collect()
}

fn answer_to(request: Bytes) -> Bytes {
    answers_to(request).into_iter().next().expect("an answer")
}

fn status_line(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap().to_owned()
}

#[test]
fn no_hops_left_is_483() {
    let answer = answer_to(request("INVITE", "", "Max-Forwards: 0\r\n"));
    assert_eq!(status_line(&answer), "SIP/2.0 483 Too Many Hops");
    assert!(!to_tag(&answer).is_empty());
}

#[test]
fn a_method_that_calls_do_not_have_is_405_with_allow() {
    let answer = answer_to(request("REFER", "", "Max-Forwards: 70\r\nRefer-To: <sip:5100001@192.0.2.1>\r\n"));
    assert_eq!(status_line(&answer), "SIP/2.0 405 Method Not Allowed");
    assert!(header(&answer, Name::Allow).contains("INVITE"));
}

#[test]
fn a_method_that_nobody_knows_is_501_with_allow() {
    let answer = answer_to(request("DANCE", "", "Max-Forwards: 70\r\n"));
    assert!(status_line(&answer).starts_with("SIP/2.0 501 "));
    assert!(header(&answer, Name::Allow).contains("INVITE"));
}

#[test]
fn a_required_extension_that_is_unknown_is_420() {
    let answer = answer_to(request("INVITE", "", "Max-Forwards: 70\r\nRequire: future, 100rel-next\r\n"));
    assert_eq!(status_line(&answer), "SIP/2.0 420 Bad Extension");
    assert_eq!(header(&answer, Name::Unsupported), "future, 100rel-next");
}

#[test]
fn a_number_without_a_route_is_404() {
    let call = changed(&request("INVITE", "", "Max-Forwards: 70\r\n"), "5100000", "9900000");
    assert_eq!(status_line(&answer_to(call)), "SIP/2.0 404 Not Found");
}

#[test]
fn a_header_that_cannot_be_read_is_400() {
    let answer = answer_to(request("INVITE", "", "Max-Forwards: many\r\n"));
    assert!(status_line(&answer).starts_with("SIP/2.0 400 "), "{}", status_line(&answer));
}

#[test]
fn requests_of_an_unknown_dialog_are_481() {
    for method in ["BYE", "INFO", "INVITE"] {
        let answer = answer_to(request(method, ";tag=nobody", "Max-Forwards: 70\r\n"));
        assert!(status_line(&answer).starts_with("SIP/2.0 481 "), "{method}: {}", status_line(&answer));
    }
}

#[test]
fn an_ack_of_an_unknown_dialog_is_answered_by_nothing() {
    assert!(answers_to(request("ACK", ";tag=nobody", "Max-Forwards: 70\r\n")).is_empty());
}

#[test]
fn a_response_is_answered_by_nothing() {
    let stray = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnobody\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    assert!(answers_to(Bytes::from_static(stray.as_bytes())).is_empty());
}

#[test]
fn a_repeated_refusal_has_the_same_to_tag() {
    let mut world = World::of(Vec::new());
    let bye = request("BYE", ";tag=nobody", "Max-Forwards: 70\r\n");
    world.inject(caller_address(49), bye.clone());
    world.run_until(Duration::from_secs(1)).unwrap();
    world.inject(caller_address(49), bye);
    let answers = to_the_end(world).take_strays();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].1, answers[1].1);
}

#[test]
fn an_out_of_order_request_in_a_dialog_is_500() {
    let mut world =
        World::of(vec![call(|script| script.caller.talk.info = Some(Duration::from_millis(1_500)))]);
    world.run_until(Duration::from_secs(3)).unwrap();
    let info = first(&world, "A> INFO");
    let number = header(&info, Name::CSeq).split(' ').next().unwrap().parse::<u32>().unwrap();
    let early = changed(&info, &format!("CSeq: {number}"), &format!("CSeq: {}", number - 1));
    world.inject(caller(), changed(&early, "branch=z9hG4bK", "branch=z9hG4bKlate"));
    let world = to_the_end(world);
    assert_eq!(count(&world, ">A 500 INFO"), 1);
    assert_eq!(count(&world, ">B INFO"), 1);
}

#[test]
fn a_stranger_who_knows_the_tags_ends_no_call() {
    let mut world = World::of(vec![call(|_| {})]);
    world.run_until(Duration::from_secs(3)).unwrap();
    let ack = first(&world, "A> ACK");
    let number = header(&ack, Name::CSeq).split(' ').next().unwrap().parse::<u32>().unwrap();
    let bye = changed(&ack, "ACK", "BYE");
    let bye = changed(&bye, &format!("CSeq: {number}"), &format!("CSeq: {}", number + 1));
    world.inject(STRANGER, changed(&bye, "branch=z9hG4bK", "branch=z9hG4bKforged"));
    let world = to_the_end(world);
    assert_eq!(times(&world, ">B BYE"), vec![11_005], "the call lives until the caller hangs up");
}
