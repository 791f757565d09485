//! Requests that are too long for a datagram (RFC 3261 §18.1.1).

use crate::harness::*;
use call::{Flow, Input};

/// An offer that makes every INVITE with it longer than 1,300 octets.
fn long_offer() -> String {
    let attributes: String = (0..40).map(|n| format!("a=x-attribute:{n:030}\n")).collect();
    format!("{OFFER}{attributes}")
}

fn over_tcp(connection: u64) -> Flow {
    Flow { listener: STREAM, remote: CALLEE.parse().unwrap(), connection }
}

fn call(world: &mut World, branch: &str) -> Sent {
    world.receive(CALLER, &invite(branch, Some(&long_offer())));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE")
}

#[test]
fn a_long_invite_goes_by_tcp_and_so_do_its_cancel_and_its_ack() {
    let mut world = World::new();
    let out = call(&mut world, "1");
    assert_eq!(out.flow, over_tcp(0));
    assert!(out.header("Via").starts_with(&format!("SIP/2.0/TCP {BOX};branch=")), "{}", out.text);
    assert!(!out.header("Contact").contains("transport="), "the call itself stays with UDP: {}", out.text);
    world.pass(std::time::Duration::from_secs(5));
    world.expect_silence();
    world.receive_on(over_tcp(5), &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    let refused = world.expect(CALLER, "SIP/2.0 487");
    let cancel = world.expect(CALLEE, "CANCEL");
    assert_eq!((cancel.flow, cancel.header("Via")), (over_tcp(0), out.header("Via")));
    world.receive_on(over_tcp(5), &response(&cancel, "200 OK", "b1", None));
    world.receive_on(over_tcp(5), &response(&out, "487 Request Terminated", "b1", None));
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!((ack.flow, ack.header("Via")), (over_tcp(0), out.header("Via")));
    world.receive(CALLER, &ack_failure("1", &refused));
    world.expect_nothing_left();
}

#[test]
fn an_answered_call_goes_on_by_udp() {
    let mut world = World::new();
    let out = call(&mut world, "1");
    world.receive_on(over_tcp(5), &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(world.expect(CALLEE, "ACK").flow.listener, call::ListenerId(0));
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.flow.listener, call::ListenerId(0));
    world.receive(CALLEE, &response(&bye, "200 OK", "b1", None));
    world.expect_nothing_left();
}

#[test]
fn who_takes_no_connection_gets_the_datagram_and_the_next_one_at_once() {
    let mut world = World::new();
    let out = call(&mut world, "1");
    world.input(Input::Undeliverable { token: out.token });
    assert_eq!(world.no_streams, [CALLEE.parse().unwrap()], "the other shards need not find out again");
    let again = world.expect(CALLEE, "INVITE");
    assert_eq!(again.flow.listener, call::ListenerId(0));
    assert!(again.header("Via").starts_with("SIP/2.0/UDP "));
    assert_eq!(again.text, out.text.replace("SIP/2.0/TCP", "SIP/2.0/UDP"), "the same but for the transport");
    world.pass(std::time::Duration::from_millis(600));
    assert_eq!(world.expect(CALLEE, "INVITE").text, again.text, "it is repeated like any datagram");
    world.receive(CALLEE, &response(&again, "486 Busy Here", "b1", None));
    world.expect(CALLEE, "ACK");
    let refused = world.expect(CALLER, "SIP/2.0 486");
    world.receive(CALLER, &ack_failure("1", &refused));

    let second = invite("2", Some(&long_offer())).replace("call-a@", "call-b@");
    world.receive(CALLER, &second);
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(out.flow.listener, call::ListenerId(0), "what one call found out serves the next");
    world.input(Input::Undeliverable { token: out.token });
    // And now it is an ordinary failure.
    world.expect(SPARE, "INVITE");
    world.expect_replays();
}

#[test]
fn what_another_shard_found_out_spares_this_one_the_connection_for_a_while() {
    let mut world = World::new();
    world.input(Input::NoStreams(CALLEE.parse().unwrap()));
    assert_eq!(call(&mut world, "1").flow.listener, call::ListenerId(0));
    let mut world = World::new();
    world.input(Input::NoStreams(CALLEE.parse().unwrap()));
    world.pass(std::time::Duration::from_secs(301));
    assert_eq!(call(&mut world, "1").flow.listener, STREAM);
}

#[test]
fn a_long_invite_whose_connection_closes_unanswered_leaves_as_a_datagram() {
    let mut world = World::new();
    let out = call(&mut world, "1");
    world.input(Input::Lost { flow: over_tcp(5), token: out.token });
    let again = world.expect(CALLEE, "INVITE");
    assert_eq!(again.text, out.text.replace("SIP/2.0/TCP", "SIP/2.0/UDP"));
    // It is another connection's by now, which nothing was heard of.
    world.receive(CALLEE, &response(&again, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.input(Input::Lost { flow: over_tcp(5), token: out.token });
    world.expect_silence();
    world.expect_replays();
}

#[test]
fn a_connection_that_breaks_after_the_callee_rang_ends_the_attempt() {
    let mut world = World::new();
    let out = call(&mut world, "1");
    world.receive_on(over_tcp(5), &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.input(Input::Undeliverable { token: out.token });
    let next = world.sent.pop_front().unwrap();
    assert!(next.to != CALLEE.parse().unwrap(), "rung a second time:\n{}", next.text);
    world.expect_replays();
}

#[test]
fn without_a_tcp_listener_at_the_same_address_a_long_request_stays_a_datagram() {
    let mut world = World::tuned(|settings| settings.listeners.truncate(2));
    assert_eq!(call(&mut world, "1").flow.listener, call::ListenerId(0));
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    assert_eq!(world.expect(CALLEE, "INVITE").flow.listener, call::ListenerId(0), "a short one as well");
}

#[test]
fn a_long_invite_to_a_registered_phone_keeps_to_the_flow_that_it_registered_over() {
    const PHONE: &str = "127.0.0.1:6002";
    let mut world = World::with(call::RegistrarPolicy::OpenLoopback, |_| {});
    let register = format!(
        "REGISTER sip:127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP {PHONE};branch=z9hG4bKr;rport
Max-Forwards: 70
From: <sip:bob@127.0.0.1>;tag=r
To: <sip:bob@127.0.0.1>
Call-ID: reg-bob
CSeq: 1 REGISTER
Contact: <sip:bob@{PHONE}>

"
    );
    world.receive(PHONE, &register);
    world.expect(PHONE, "SIP/2.0 200");
    world.receive(CALLER, &invite("1", Some(&long_offer())).replace("4912345", "bob"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(PHONE, "INVITE");
    assert!(out.text.len() > 1_300 && out.header("Via").starts_with("SIP/2.0/UDP "), "{}", out.text);
    assert_ne!(out.flow.listener, STREAM);
}

/// Nothing of it had left the box when the caller did.
#[test]
fn what_the_caller_has_cancelled_is_not_sent_as_a_datagram_instead() {
    let mut world = World::new();
    let out = call(&mut world, "1");
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    let refused = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &refused));
    world.input(Input::Undeliverable { token: out.token });
    world.expect_silence();
    world.expect_nothing_left();
    world.expect_replays();
}
