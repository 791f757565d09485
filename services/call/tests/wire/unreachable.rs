//! ICMP (RFC 3261 §18.4): what hosts and routers say of datagrams that do not arrive, and who is to be believed.

use std::time::Duration;

use crate::harness::*;
use call::{Flow, Input, ListenerId, RegistrarPolicy};

fn to(remote: &str) -> Flow {
    Flow { listener: ListenerId(0), remote: remote.parse().unwrap(), connection: 0 }
}

/// So much is quoted of a datagram.
fn quote(sent: &Sent) -> &[u8] {
    &sent.bytes[..sent.bytes.len().min(520)]
}

#[test]
fn a_target_whose_port_is_closed_is_followed_by_the_next_at_once() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&out) });
    let next = world.expect(SPARE, "INVITE");
    assert_eq!((world.records[0].sip_code_b, world.records[0].ended_by), (None, call::EndedBy::Error));
    world.receive(SPARE, &response(&next, "486 Busy Here", "s", None));
    world.expect(SPARE, "ACK");
    let busy = world.expect(CALLER, "SIP/2.0 486");
    world.receive(CALLER, &ack_failure("1", &busy));
    world.expect_nothing_left();
}

#[test]
fn all_that_wait_for_the_first_word_of_a_place_that_is_not_there_go_elsewhere() {
    let mut world = World::new();
    let first = call_placed(&mut world);
    for branch in ["2", "3"] {
        world.receive(CALLER, &invite(branch, Some(OFFER)).replace("call-a", &format!("call-{branch}")));
        world.expect(CALLER, "SIP/2.0 100");
        let other = world.expect(CALLEE, "INVITE");
        if branch == "3" {
            // It was there a moment ago; a target that rings is not given up.
            world.receive(CALLEE, &response(&other, "180 Ringing", "b3", None));
            world.expect(CALLER, "SIP/2.0 180");
        }
    }
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&first) });
    for _ in 0..2 {
        world.expect(SPARE, "INVITE");
    }
    world.expect_silence();
    world.expect_replays();
}

#[test]
fn who_has_not_seen_the_datagram_is_not_believed() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    let guessed = out.text.replace("branch=z9hG4bK", "branch=z9hG4bK0");
    let branch = out.header("Via").split("branch=").nth(1).unwrap();
    let (key, random) = branch.split_at(7 + 16);
    let near = out.text.replace(branch, &format!("{key}{}", "0".repeat(random.len())));
    let cut = &out.text[..out.text.find("branch=").unwrap() + 20];
    let in_uri = format!("INVITE sip:x;{branch}@10.2.2.2 SIP/2.0\r\nMax-Forwards: 70\r\n");
    for quote in [&*guessed, &*near, cut, &*in_uri, "INVITE sip:x SIP/2.0\r\nVia: ", "", "\r\nVia: ;branch="]
    {
        world.input(Input::Unreachable { flow: to(CALLEE), quote: quote.as_bytes() });
        world.expect_silence();
    }
    // The datagram is ours, and went somewhere else.
    world.input(Input::Unreachable { flow: to(SPARE), quote: quote(&out) });
    let outside = Flow { listener: ListenerId(1), ..to(CALLEE) };
    world.input(Input::Unreachable { flow: outside, quote: quote(&out) });
    world.expect_silence();
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&out) });
    world.expect_silence();
    world.expect_replays();
}

#[test]
fn a_call_that_is_up_is_not_ended_by_it() {
    let (mut world, ok, _) = call_up();
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, "") + KIND + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&offer) });
    world.expect_silence();
    world.receive(CALLEE, &response(&offer, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 2, &again, ""));
    world.receive(CALLER, &from_caller("INFO", 3, &ok, ""));
    let info = world.expect(CALLEE, "INFO");
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&info) });
    world.expect_silence();
    world.receive(CALLEE, &response(&info, "200 OK", "", None));
    world.expect(CALLER, "SIP/2.0 200");
    ends_by_the_caller(&mut world, &ok, 4);
}

#[test]
fn what_its_caller_has_taken_back_is_over_with_it() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    let refused = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &refused));
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&out) });
    world.expect_silence();
    world.pass(Duration::from_millis(600));
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn a_request_outside_calls_and_a_question_for_life_hear_of_it() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].options_ping = Some(Duration::from_secs(30));
    });
    world.receive(
        CALLER,
        &invite("1", None).replace("INVITE sip", "MESSAGE sip").replace("1 INVITE", "1 MESSAGE"),
    );
    let message = world.expect(CALLEE, "MESSAGE");
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&message) });
    world.expect(SPARE, "MESSAGE");
    world.sent.clear();
    world.watch_peers();
    let is_ping = |sent: &&Sent| sent.text.starts_with("OPTIONS") && sent.to == CALLEE.parse().unwrap();
    while !world.sent.iter().any(|sent| is_ping(&sent)) {
        world.pass(Duration::from_secs(1));
        assert!(world.sent.len() < 1_000, "it is asked for life");
    }
    let ping = world.sent.iter().find(is_ping).unwrap().clone();
    let before = world.core.stats().transactions;
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&ping) });
    assert!(world.core.stats().transactions < before);
}

/// The caller's MESSAGE, which the box has sent to the callee.
fn message_out(world: &mut World) -> Sent {
    let text = invite("m1", None).replace("INVITE sip", "MESSAGE sip").replace("1 INVITE", "1 MESSAGE");
    world.receive(CALLER, &text.replace("call-a", "call-m"));
    world.expect(CALLEE, "MESSAGE")
}

/// A MESSAGE that was delivered and waits for its answer looks like one that was not: a request that is no INVITE has no
/// provisional response to tell (RFC 4320 §4.1).
#[test]
fn a_message_goes_to_nobody_else_because_another_request_did_not_arrive() {
    let mut world = World::new();
    let message = message_out(&mut world);
    let out = call_placed(&mut world);
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&out) });
    world.expect(SPARE, "INVITE");
    world.expect_silence();
    world.receive(CALLEE, &response(&message, "202 Accepted", "b1", None));
    world.expect(CALLER, "SIP/2.0 202");
    world.expect_silence();
}

#[test]
fn a_message_that_was_sent_twice_goes_to_nobody_else_because_one_of_the_two_did_not_arrive() {
    let mut world = World::new();
    let message = message_out(&mut world);
    world.pass(Duration::from_millis(600));
    assert_eq!(world.expect(CALLEE, "MESSAGE").text, message.text);
    world.input(Input::Unreachable { flow: to(CALLEE), quote: quote(&message) });
    world.expect_silence();
    world.receive(CALLEE, &response(&message, "202 Accepted", "b1", None));
    world.expect(CALLER, "SIP/2.0 202");
    world.expect_silence();
    world.expect_nothing_left();
}
