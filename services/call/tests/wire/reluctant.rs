//! Peers that a call finds unwilling: what is said of them for the calls that come after it.

use std::time::Duration;

use crate::harness::*;
use call::{Input, NextHop, PeerAside, RegistrarPolicy, ServerAside};
use sip::Transport;

const SILENCE: Duration = Duration::from_secs(33);

/// The first target refuses with this line and header.
fn refuse(world: &mut World, invite: &Sent, line: &str, extra: &str) {
    let answer = response(invite, line, "p", None).replace("Contact:", &format!("{extra}Contact:"));
    world.receive_on(invite.flow, &answer);
    world.expect(&invite.to.to_string(), "ACK");
}

/// Of which peer of the carrier something is said, with which status, for how many seconds.
fn said(world: &World) -> Vec<(&str, u16, u64)> {
    let of = |aside: &'_ PeerAside| {
        assert_eq!(&*aside.trunk, "carrier");
        (aside.status, aside.left.as_secs())
    };
    world.aside.iter().map(|aside| (&*aside.peer, of(aside).0, of(aside).1)).collect()
}

#[test]
fn a_503_with_retry_after_puts_its_peer_aside_for_so_long_and_five_minutes_at_most() {
    for (header, expected) in [
        ("Retry-After: 120\n", Some(120)),
        ("Retry-After: 18 (too busy);duration=3600\n", Some(18)),
        ("Retry-After: 86400\n", Some(300)),
        ("Retry-After: 0\n", None),
        ("Retry-After: soon\n", None),
        ("", None),
    ] {
        let mut world = World::new();
        let first = call_placed(&mut world);
        refuse(&mut world, &first, "503 Overloaded", header);
        let second = world.expect(SPARE, "INVITE");
        let expected: Vec<_> = expected.map(|left| ("sip:10.2.2.2:5060", 503, left)).into_iter().collect();
        assert_eq!(said(&world), expected, "{header}");
        refuse(&mut world, &second, "486 Busy Here", "Retry-After: 60\n");
        assert_eq!(said(&world).len(), expected.len(), "only 503 speaks of the server");
        world.expect_replays();
    }
}

#[test]
fn a_peer_that_leaves_an_invite_unanswered_is_put_aside_for_as_long_as_that_took() {
    let mut world = World::new();
    call_placed(&mut world);
    world.pass(SILENCE);
    assert_eq!(said(&world), [("sip:10.2.2.2:5060", 0, 32)]);
    // One that rings and is given up was there.
    let mut world = World::new();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &response(&first, "180 Ringing", "r", None));
    world.pass(Duration::from_secs(181));
    assert_eq!(said(&world), []);
}

#[test]
fn a_peer_that_answers_other_calls_is_not_put_aside_for_the_one_that_it_leaves_alone() {
    for line in ["180 Ringing", "486 Busy Here", "200 OK"] {
        let mut world = World::new();
        call_placed(&mut world);
        world.pass(Duration::from_secs(20));
        world.sent.clear();
        world.receive(CALLER, &invite("2", Some(OFFER)).replace("call-a", "call-b"));
        world.expect(CALLER, "SIP/2.0 100");
        let other = world.expect(CALLEE, "INVITE");
        world.receive(CALLEE, &response(&other, line, "b2", None));
        world.pass(Duration::from_secs(13));
        assert_eq!(said(&world), [], "{line}");
        world.expect_replays();
    }
}

#[test]
fn a_name_is_put_aside_when_the_last_of_its_servers_is_unwilling() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers = vec!["sip:carrier.example".into(), "sip:10.5.5.5".into()];
    });
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let hops = [CALLEE, SPARE].map(|at| NextHop { address: at.parse().unwrap(), transport: Transport::Udp });
    let query = *world.resolves.last().unwrap();
    world.input(Input::Resolved { query, hops: hops.to_vec(), note: None });
    let first = world.expect(CALLEE, "INVITE");
    refuse(&mut world, &first, "503 Overloaded", "Retry-After: 120\n");
    assert_eq!(said(&world), []);
    let second = world.expect(SPARE, "INVITE");
    refuse(&mut world, &second, "503 Overloaded", "Retry-After: 90\n");
    assert_eq!(said(&world), [("sip:carrier.example", 503, 90)]);
    world.expect("10.5.5.5:5060", "INVITE");
}

/// A call to a name with two servers: the INVITE to the first.
fn placed_to_a_name(world: &mut World, branch: &str) -> Sent {
    let call = invite(branch, Some(OFFER)).replace("call-a", &format!("call-{branch}"));
    world.receive(CALLER, &call);
    world.expect(CALLER, "SIP/2.0 100");
    let query = *world.resolves.last().unwrap();
    world.input(found(query, &[CALLEE, SPARE]));
    world.expect(CALLEE, "INVITE")
}

fn named() -> World {
    World::with(RegistrarPolicy::Closed, |trunks| trunks[1].peers = vec!["sip:carrier.example".into()])
}

/// Which servers are said to be tried last, what they said, and for how many seconds.
fn tried_last(world: &World) -> Vec<(String, u16, u64)> {
    let of = |aside: &ServerAside| (aside.server.address.to_string(), aside.status, aside.left.as_secs());
    assert!(world.servers_aside.iter().all(|aside| aside.server.transport == Transport::Udp));
    world.servers_aside.iter().map(of).collect()
}

#[test]
fn a_server_of_a_name_that_is_silent_busy_or_out_of_reach_is_tried_last_by_the_next_calls() {
    let mut world = named();
    placed_to_a_name(&mut world, "1");
    world.pass(SILENCE);
    assert_eq!(tried_last(&world), [(CALLEE.to_owned(), 0, 32)]);
    world.expect_replays();

    let mut world = named();
    let first = placed_to_a_name(&mut world, "1");
    refuse(&mut world, &first, "503 Overloaded", "Retry-After: 86400\n");
    assert_eq!(tried_last(&world), [(CALLEE.to_owned(), 503, 300)]);
    world.expect(SPARE, "INVITE");
    assert_eq!(said(&world), [], "the name is not what is unwilling");

    let mut world = named();
    let first = placed_to_a_name(&mut world, "1");
    world.input(Input::Undeliverable { token: first.token });
    assert_eq!(tried_last(&world), [(CALLEE.to_owned(), 0, 32)]);
    world.expect(SPARE, "INVITE");
    world.expect_replays();
}

#[test]
fn a_server_that_answers_other_calls_is_not_tried_last_for_the_one_that_it_leaves_alone() {
    let mut world = named();
    placed_to_a_name(&mut world, "1");
    world.pass(Duration::from_secs(20));
    world.sent.clear();
    let other = placed_to_a_name(&mut world, "2");
    world.receive(CALLEE, &response(&other, "180 Ringing", "b2", None));
    world.pass(Duration::from_secs(13));
    assert_eq!(tried_last(&world), []);
    world.expect_replays();
}

#[test]
fn of_a_peer_with_an_address_no_server_is_spoken_of_nor_of_one_that_answers_anything_but_a_wait() {
    let mut world = World::new();
    let first = call_placed(&mut world);
    refuse(&mut world, &first, "503 Overloaded", "Retry-After: 120\n");
    assert_eq!(tried_last(&world), []);
    // RFC 3261 §21.5.4: without a Retry-After it is a 500, of this one call.
    for line in ["503 Overloaded", "486 Busy Here"] {
        let mut world = named();
        let first = placed_to_a_name(&mut world, "1");
        refuse(&mut world, &first, line, "");
        assert_eq!(tried_last(&world), [], "{line}");
    }
}

#[test]
fn what_a_redirection_led_to_is_no_peer() {
    let mut world = World::new();
    let first = call_placed(&mut world);
    let moved = response(&first, "302 Moved", "m", None)
        .replace(&format!("Contact: <sip:bob@{CALLEE}>"), "Contact: <sip:bob@10.4.4.4>");
    world.receive(CALLEE, &moved);
    world.expect(CALLEE, "ACK");
    let there = world.expect("10.4.4.4:5060", "INVITE");
    refuse(&mut world, &there, "503 Overloaded", "Retry-After: 120\n");
    assert_eq!(said(&world), []);
}
