//! Targets by name (RFC 3263): what is asked, over what each server is spoken to, and which one is next.

use std::time::Duration;

use crate::harness::*;
use call::{Disposition, Input, NextHop, RegistrarPolicy};
use sip::Transport;

const NAME: &str = "sip:carrier.example";
/// The third server of the name.
const THIRD: &str = "10.4.4.4:5060";
/// Timer B.
const SILENCE: Duration = Duration::from_secs(33);

/// A call to a trunk with these peers, where routing has answered.
fn placed_to(peers: &[&str]) -> World {
    placed_in(World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
    }))
}

fn placed_in(mut world: World) -> World {
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    world
}

fn hop(address: &str, transport: Transport) -> NextHop {
    NextHop { address: address.parse().unwrap(), transport }
}

/// The look-up ends with these servers.
fn answer(world: &mut World, hops: &[NextHop], note: Option<&str>) {
    let query = *world.resolves.last().unwrap();
    world.input(Input::Resolved { query, hops: hops.to_vec(), note: note.map(Into::into) });
}

fn refuse(world: &mut World, request: &Sent, line: &str) {
    let from = request.to.to_string();
    world.receive_on(request.flow, &response(request, line, "r", None));
    world.expect(&from, "ACK");
}

#[test]
fn the_records_of_a_name_are_asked_for_the_transport_only_where_the_uri_leaves_it_open() {
    for (peer, port, transport, secure) in [
        ("sip:carrier.example", None, None, false),
        ("sips:carrier.example", None, None, true),
        ("sip:carrier.example:5080", Some(5080), Some(Transport::Udp), false),
        ("sips:carrier.example:5081", Some(5081), Some(Transport::Tls), true),
        ("sip:carrier.example;transport=tcp", None, Some(Transport::Tcp), false),
    ] {
        let world = placed_to(&[peer]);
        let asked = &world.names[0];
        assert_eq!(
            (asked.host.as_str(), asked.port, asked.transport, asked.secure),
            ("carrier.example", port, transport, secure),
            "{peer}"
        );
    }
}

#[test]
fn every_question_draws_a_number_of_its_own() {
    let mut world = placed_to(&[NAME, "sip:other.example"]);
    answer(&mut world, &[], None);
    assert_eq!(world.names[1].host, "other.example");
    assert_ne!(world.names[0].draw, world.names[1].draw);
}

#[test]
fn each_server_is_spoken_to_in_its_own_transport_and_503_moves_on_to_the_next() {
    let mut world = placed_to(&[NAME]);
    answer(&mut world, &[hop(CALLEE, Transport::Udp), hop(SPARE, Transport::Tcp)], None);
    let first = world.expect(CALLEE, "INVITE sip:4912345@carrier.example SIP/2.0");
    assert!(first.header("Via").starts_with("SIP/2.0/UDP "), "{}", first.text);
    refuse(&mut world, &first, "503 Overloaded");
    let second = world.expect(SPARE, "INVITE sip:4912345@carrier.example SIP/2.0");
    assert!(second.header("Via").starts_with("SIP/2.0/TCP "), "{}", second.text);
    assert_eq!(second.flow.listener, STREAM);
    assert_ne!(second.header("Call-ID"), first.header("Call-ID"));
    world.receive_on(second.flow, &response(&second, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(SPARE, "ACK");
    let rows: Vec<_> = world.records.iter().map(|r| (r.attempt, r.sip_code_b)).collect();
    assert_eq!(rows, [(1, Some(503))]);
    world.expect_replays();
}

#[test]
fn a_silent_server_and_one_that_cannot_be_reached_are_followed_by_the_next() {
    let mut world = placed_to(&[NAME]);
    answer(&mut world, &[CALLEE, SPARE, THIRD].map(|at| hop(at, Transport::Udp)), None);
    world.expect(CALLEE, "INVITE");
    world.sent.clear();
    world.pass(SILENCE);
    world.sent.retain(|sent| sent.to != CALLEE.parse().unwrap());
    let second = world.expect(SPARE, "INVITE");
    world.sent.clear();
    world.input(Input::Undeliverable { token: second.token });
    let third = world.expect(THIRD, "INVITE");
    refuse(&mut world, &third, "486 Busy Here");
    let busy = world.expect(CALLER, "SIP/2.0 486");
    world.receive(CALLER, &ack_failure("1", &busy));
    let rows: Vec<_> = world.records.iter().map(|r| (r.sip_code_b, r.disposition)).collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rows[2], (Some(486), Disposition::Busy));
    world.expect_nothing_left();
}

#[test]
fn the_next_server_is_tried_after_503_and_silence_whatever_the_route_fails_over_on() {
    let mut world = placed_in(World::routed(RegistrarPolicy::Closed, |trunks, route| {
        trunks[1].peers = vec![NAME.into(), format!("sip:{THIRD}")];
        route.failover = [486].into();
    }));
    answer(&mut world, &[hop(CALLEE, Transport::Udp), hop(SPARE, Transport::Udp)], None);
    let first = world.expect(CALLEE, "INVITE");
    refuse(&mut world, &first, "503 Overloaded");
    let second = world.expect(SPARE, "INVITE");
    refuse(&mut world, &second, "503 Overloaded");
    let refusal = world.expect(CALLER, "SIP/2.0 503");
    world.receive(CALLER, &ack_failure("1", &refusal));
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn what_one_server_answers_counts_for_all_servers_of_its_name() {
    let mut world = placed_to(&[NAME, &format!("sip:{THIRD}")]);
    answer(&mut world, &[hop(CALLEE, Transport::Udp), hop(SPARE, Transport::Udp)], None);
    let first = world.expect(CALLEE, "INVITE");
    // On the route's list: the next peer is tried, and not the same carrier again.
    refuse(&mut world, &first, "480 Nobody There");
    let other = world.expect(THIRD, "INVITE");
    refuse(&mut world, &other, "486 Busy Here");
    world.expect(CALLER, "SIP/2.0 486");
}

#[test]
fn a_server_that_rang_until_timer_c_was_reached() {
    let mut world = placed_to(&[NAME]);
    answer(&mut world, &[hop(CALLEE, Transport::Udp), hop(SPARE, Transport::Udp)], None);
    let first = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&first, "180 Ringing", "r", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.pass(Duration::from_secs(181));
    assert!(!world.sent.iter().any(|sent| sent.to == SPARE.parse().unwrap()), "{:#?}", world.sent);
    assert!(world.sent.iter().any(|sent| sent.first_line().starts_with("SIP/2.0 408")));
}

#[test]
fn the_contacts_of_a_redirection_take_the_place_of_the_other_servers() {
    let mut world = placed_to(&[NAME]);
    answer(&mut world, &[hop(CALLEE, Transport::Udp), hop(SPARE, Transport::Udp)], None);
    let first = world.expect(CALLEE, "INVITE");
    let moved = response(&first, "302 Moved", "m", None)
        .replace(&format!("Contact: <sip:bob@{CALLEE}>"), "Contact: <sip:b@far.example>");
    world.receive(CALLEE, &moved);
    world.expect(CALLEE, "ACK");
    assert_eq!(world.names[1].host, "far.example");
    answer(&mut world, &[hop(THIRD, Transport::Udp), hop("10.4.4.5:5060", Transport::Udp)], None);
    let second = world.expect(THIRD, "INVITE sip:b@far.example SIP/2.0");
    refuse(&mut world, &second, "503 Overloaded");
    let third = world.expect("10.4.4.5:5060", "INVITE sip:b@far.example SIP/2.0");
    refuse(&mut world, &third, "503 Overloaded");
    world.expect(CALLER, "SIP/2.0 503");
    world.expect_silence();
}

#[test]
fn a_server_that_no_listener_speaks_to_is_left_out_and_named() {
    let mut world = placed_to(&[NAME]);
    let hops = [hop("10.9.9.9:5061", Transport::Tls), hop("[2001:db8::1]:5060", Transport::Udp)];
    answer(&mut world, &[hops[0], hops[1], hop(CALLEE, Transport::Udp)], None);
    world.expect(CALLEE, "INVITE");
    let [warning] = &world.warnings[..] else { panic!("{:?}", world.warnings) };
    assert!(warning.contains("carrier.example: no tls listener speaks to 10.9.9.9:5061"), "{warning}");

    let mut world = placed_to(&[NAME]);
    answer(&mut world, &hops, None);
    world.expect(CALLER, "SIP/2.0 503");
    world.expect_silence();
}

#[test]
fn what_the_look_up_says_is_told_to_the_operator() {
    let mut world = placed_to(&[NAME]);
    answer(&mut world, &[], Some("carrier.example: no such name"));
    let gone = world.expect(CALLER, "SIP/2.0 503");
    world.receive(CALLER, &ack_failure("1", &gone));
    assert_eq!(world.warnings, ["carrier.example: no such name"]);
    world.expect_nothing_left();
}

#[test]
fn a_name_has_sixteen_servers_at_most() {
    let mut world = placed_to(&[NAME]);
    let hops: Vec<NextHop> = (1..=40).map(|n| hop(&format!("10.5.5.{n}:5060"), Transport::Udp)).collect();
    answer(&mut world, &hops, None);
    for n in 1..=16 {
        let request = world.expect(&format!("10.5.5.{n}:5060"), "INVITE");
        refuse(&mut world, &request, "503 Overloaded");
    }
    world.expect(CALLER, "SIP/2.0 503");
    world.expect_silence();
}

#[test]
fn a_request_outside_calls_goes_to_the_next_server_only_after_503() {
    for (line, goes_on) in [("503 Overloaded", true), ("500 Broken", false)] {
        let mut world = World::with(RegistrarPolicy::Closed, |trunks| trunks[1].peers = vec![NAME.into()]);
        world.receive(CALLER, &invite("m", None).replace("INVITE", "MESSAGE"));
        answer(&mut world, &[hop(CALLEE, Transport::Udp), hop(SPARE, Transport::Udp)], None);
        let first = world.expect(CALLEE, "MESSAGE sip:4912345@carrier.example SIP/2.0");
        world.receive(CALLEE, &response(&first, line, "r", None));
        if goes_on {
            let second = world.expect(SPARE, "MESSAGE sip:4912345@carrier.example SIP/2.0");
            world.receive(SPARE, &response(&second, "200 OK", "r", None));
            world.expect(CALLER, "SIP/2.0 200");
        } else {
            world.expect(CALLER, "SIP/2.0 500");
        }
        world.expect_nothing_left();
    }
}

/// The callee's 200 by way of a proxy that names itself, and the caller's ACK.
fn up_through_a_proxy() -> (World, Sent, Sent) {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    let ok = response(&out, "200 OK", "b1", Some(ANSWER))
        .replace("Contact: ", "Record-Route: <sip:proxy.example;lr>\nContact: ");
    world.receive(CALLEE, &ok);
    let ok = world.expect(CALLER, "SIP/2.0 200");
    // Nothing is known of the proxy but where its messages come from.
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!(ack.header("Route"), "<sip:proxy.example;lr>");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.expect_silence();
    (world, ok, out)
}

#[test]
fn a_route_by_name_is_looked_up_and_later_requests_go_there() {
    let (mut world, ok, _) = up_through_a_proxy();
    let [asked] = &world.names[..] else { panic!("{:?}", world.names) };
    assert_eq!((asked.host.as_str(), asked.port), ("proxy.example", None));
    assert_eq!(asked.transport, Some(Transport::Udp), "the dialog stays with its transport");
    answer(&mut world, &[hop("10.7.7.7:5099", Transport::Tcp), hop(THIRD, Transport::Udp)], None);
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(THIRD, "BYE");
    world.receive(THIRD, &response(&bye, "200 OK", "", None));
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn a_2xx_that_is_repeated_because_the_ack_went_astray_gets_it_by_the_route() {
    let (mut world, _, out) = up_through_a_proxy();
    answer(&mut world, &[hop(THIRD, Transport::Udp)], None);
    let again = response(&out, "200 OK", "b1", Some(ANSWER))
        .replace("Contact: ", "Record-Route: <sip:proxy.example;lr>\nContact: ");
    world.receive(CALLEE, &again);
    world.expect(THIRD, "ACK");
}

#[test]
fn a_route_that_nobody_knows_or_that_is_not_known_yet_leaves_requests_where_the_peer_is() {
    for answered in [true, false] {
        let (mut world, ok, _) = up_through_a_proxy();
        if answered {
            answer(&mut world, &[], Some("proxy.example: no such name"));
        }
        ends_by_the_caller(&mut world, &ok, 2);
    }
}

#[test]
fn a_caller_whose_contact_is_a_name_is_looked_up_once_the_call_is_up() {
    let mut world = World::new();
    let named = invite("1", Some(OFFER))
        .replace("Contact: <sip:alice@10.1.1.1:5060>", "Contact: <sip:alice@pc.example>");
    world.receive(CALLER, &named);
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    assert!(world.names.is_empty(), "a call that fails needs no way back: {:?}", world.names);
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    assert_eq!(world.names[0].host, "pc.example");
    answer(&mut world, &[hop("10.1.1.9:5060", Transport::Udp)], None);
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect("10.1.1.9:5060", "BYE sip:alice@pc.example SIP/2.0");
    world.receive("10.1.1.9:5060", &response(&bye, "200 OK", "", None));
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn a_server_of_the_route_that_cannot_be_reached_is_followed_by_the_next() {
    let (mut world, ok, _) = up_through_a_proxy();
    answer(&mut world, &[hop(THIRD, Transport::Udp), hop(SPARE, Transport::Udp)], None);
    world.receive(CALLER, &from_caller("INFO", 2, &ok, ""));
    let info = world.expect(THIRD, "INFO");
    world.input(Input::Undeliverable { token: info.token });
    // RFC 3261 §12.2.1.2: the dialog counts as lost, and its end is told to whoever still hears.
    world.expect(SPARE, "BYE");
    world.expect(CALLER, "BYE");
}
