//! Peers that are asked for life with OPTIONS: what counts as an answer, when a peer is away, and what a reload leaves.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::*;
use call::{Input, NextHop, PeerState, RegistrarPolicy};
use routing::{Snapshot, Trunk};
use sip::Transport;

const INTERVAL: Duration = Duration::from_secs(30);

fn world(peers: &[&str]) -> World {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| ask(&mut trunks[1], peers));
    world.watch_peers();
    world
}

fn ask(trunk: &mut Trunk, peers: &[&str]) {
    trunk.peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
    trunk.options_ping = Some(INTERVAL);
}

fn state(world: &World) -> PeerState {
    world.peers.last().unwrap().life.as_ref().unwrap().state
}

/// The next question to the callee, with nothing else before it.
fn asked(world: &mut World) -> Sent {
    world.pass(INTERVAL);
    let ping = world.expect(CALLEE, "OPTIONS sip:10.2.2.2:5060 SIP/2.0");
    world.sent.clear();
    ping
}

/// The peer answers at once; where it was silent so long that the question is over, the next one.
fn answered(world: &mut World, line: &str, extra: &str) {
    world.pass(Duration::from_secs(25));
    world.sent.clear();
    while world.sent.is_empty() {
        world.pass(Duration::from_millis(100));
    }
    let ping = world.expect(CALLEE, "OPTIONS");
    let answer = response(&ping, line, "p", None).replace("Contact:", &format!("{extra}Contact:"));
    world.receive(CALLEE, &answer);
    world.sent.clear();
}

#[test]
fn a_peer_is_asked_within_an_interval_and_any_answer_is_a_sign_of_life() {
    for line in ["200 OK", "404 Not Found", "401 Unauthorized", "500 Broken", "603 Decline"] {
        let mut world = world(&["sip:10.2.2.2:5060"]);
        assert_eq!(state(&world), PeerState::Unknown);
        world.expect_silence();
        let mut ping = None;
        while ping.is_none() {
            world.pass(Duration::from_millis(100));
            ping = world.sent.pop_front();
        }
        let ping = ping.unwrap();
        assert_eq!(ping.first_line(), "OPTIONS sip:10.2.2.2:5060 SIP/2.0");
        assert_eq!(ping.header("To"), "<sip:10.2.2.2:5060>");
        world.receive(CALLEE, &response(&ping, line, "p", None));
        assert_eq!(state(&world), PeerState::Up, "{line}");
        let life = world.peers.last().unwrap().life.clone().unwrap();
        assert_eq!(life.status.to_string(), line[..3]);
        assert!(life.round_trip.is_some() && life.answered_at.is_some());
    }
}

#[test]
fn two_misses_make_a_peer_down_and_one_answer_brings_it_back() {
    let mut world = world(&["sip:10.2.2.2:5060"]);
    answered(&mut world, "200 OK", "");
    let began = world.peers.last().unwrap().life.clone().unwrap().since;
    asked(&mut world);
    world.pass(Duration::from_secs(6));
    assert_eq!(state(&world), PeerState::Up, "one miss is an accident");
    asked(&mut world);
    world.pass(Duration::from_secs(6));
    assert_eq!(state(&world), PeerState::Down);
    assert!(world.peers.last().unwrap().life.clone().unwrap().since > began);
    for line in ["408 Request Timeout", "503 Unavailable"] {
        answered(&mut world, line, "");
        assert_eq!(state(&world), PeerState::Down, "{line} is said by somebody who does not reach it");
    }
    answered(&mut world, "405 Method Not Allowed", "");
    assert_eq!(state(&world), PeerState::Up);
}

#[test]
fn a_503_with_retry_after_puts_a_peer_aside_until_then() {
    let mut world = world(&["sip:10.2.2.2:5060"]);
    answered(&mut world, "503 Overloaded", "Retry-After: 120\n");
    assert_eq!(state(&world), PeerState::Aside);
    world.pass(Duration::from_secs(119));
    world.expect_silence();
    world.pass(Duration::from_secs(2));
    let ping = world.expect(CALLEE, "OPTIONS");
    world.receive(CALLEE, &response(&ping, "200 OK", "p", None));
    assert_eq!(state(&world), PeerState::Up);
}

#[test]
fn a_peer_by_name_is_looked_up_each_time_and_a_name_of_nobody_is_a_miss() {
    let mut world = world(&["sip:carrier.example"]);
    for hops in [vec![], vec![NextHop { address: CALLEE.parse().unwrap(), transport: Transport::Udp }]] {
        world.names.clear();
        while world.names.is_empty() {
            world.pass(Duration::from_millis(100));
        }
        assert_eq!(world.names[0].host, "carrier.example");
        let query = *world.resolves.last().unwrap();
        world.input(Input::Resolved { query, hops: hops.clone(), note: None });
        if hops.is_empty() {
            world.expect_silence();
            assert_eq!(state(&world), PeerState::Unknown);
        } else {
            let ping = world.expect(CALLEE, "OPTIONS sip:carrier.example SIP/2.0");
            world.receive(CALLEE, &response(&ping, "200 OK", "p", None));
            assert_eq!(state(&world), PeerState::Up);
        }
    }
}

#[test]
fn a_name_is_alive_as_long_as_one_of_its_servers_is() {
    let mut world = world(&["sip:carrier.example"]);
    let hops = [CALLEE, SPARE].map(|at| NextHop { address: at.parse().unwrap(), transport: Transport::Udp });
    for round in 0..4 {
        world.names.clear();
        world.sent.clear();
        while world.names.is_empty() {
            world.pass(Duration::from_millis(100));
        }
        let query = *world.resolves.last().unwrap();
        world.input(Input::Resolved { query, hops: hops.to_vec(), note: None });
        // The first is silent or refuses to speak for itself, each time.
        let ping = world.expect(CALLEE, "OPTIONS sip:carrier.example SIP/2.0");
        match round % 2 {
            0 => world.pass(Duration::from_secs(6)),
            _ => world.receive(CALLEE, &response(&ping, "503 Unavailable", "p", None)),
        }
        world.sent.retain(|sent| sent.to.to_string() != CALLEE);
        let ping = world.expect(SPARE, "OPTIONS sip:carrier.example SIP/2.0");
        if round < 2 {
            world.receive(SPARE, &response(&ping, "200 OK", "p", None));
            assert_eq!(state(&world), PeerState::Up, "round {round}");
        } else {
            world.pass(Duration::from_secs(6));
        }
    }
    assert_eq!(state(&world), PeerState::Down, "neither answered, twice");
}

#[test]
fn a_reload_keeps_the_state_of_peers_that_stay_and_forgets_those_that_go() {
    let mut world = world(&["sip:10.2.2.2:5060"]);
    answered(&mut world, "200 OK", "");
    let with = |peers: &[&str]| {
        let mut carrier = Trunk::new("carrier");
        ask(&mut carrier, peers);
        Input::Snapshot(Arc::new(Snapshot::new(vec![carrier], vec![]).unwrap()))
    };
    world.peers.clear();
    world.input(with(&["sip:10.2.2.2:5060", "sip:10.3.3.3:5060"]));
    let [new] = &world.peers[..] else { panic!("{:?}", world.peers) };
    assert_eq!((&*new.peer, new.life.as_ref().unwrap().state), ("sip:10.3.3.3:5060", PeerState::Unknown));
    world.peers.clear();
    world.input(with(&["sip:10.3.3.3:5060"]));
    let [gone] = &world.peers[..] else { panic!("{:?}", world.peers) };
    assert_eq!((&*gone.trunk, &*gone.peer, &gone.life), ("carrier", "sip:10.2.2.2:5060", &None));
    world.input(with(&[]));
    world.sent.clear();
    world.expect_nothing_left();
    assert_eq!(world.core.poll_timeout(), None, "nobody is asked any more");
}

#[test]
fn a_core_that_was_not_told_to_asks_nobody() {
    let mut world =
        World::with(RegistrarPolicy::Closed, |trunks| ask(&mut trunks[1], &["sip:10.2.2.2:5060"]));
    world.pass(INTERVAL * 3);
    world.expect_silence();
    assert!(world.peers.is_empty());
}
