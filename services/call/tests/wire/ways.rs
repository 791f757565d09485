//! Where requests within a dialog go: what Contact and Record-Route say of host, `maddr`, port and transport is read as a
//! peer's URI is (RFC 3261 §8.1.2, RFC 3263 §4).

use crate::harness::*;
use call::{Listener, ListenerId};
use sip::Transport;

/// A call that the callee answers with this in place of its Contact, and the ACK that goes there.
fn answered_with(world: &mut World, contact: &str, at: &str) -> (Sent, Sent) {
    let (out, _) = call_ringing(world);
    let ok = response(&out, "200 OK", "b1", Some(ANSWER))
        .replace(&format!("Contact: <sip:bob@{CALLEE}>"), contact);
    assert!(ok.contains(contact), "{ok}");
    world.receive(CALLEE, &ok);
    let ok = world.expect(CALLER, "SIP/2.0 200");
    let ack = world.expect(at, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    (ok, ack)
}

fn expect_bye_at(world: &mut World, ok: &Sent, at: &str) -> Sent {
    world.receive(CALLER, &from_caller("BYE", 2, ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(at, "BYE");
    world.receive_on(bye.flow, &response(&bye, "200 OK", "", None));
    world.sent.clear();
    world.expect_nothing_left();
    world.expect_replays();
    bye
}

#[test]
fn a_contact_is_reached_where_its_maddr_says() {
    let mut world = World::new();
    let contact = "Contact: <sip:bob@10.9.9.9;maddr=10.4.4.4>";
    let (ok, ack) = answered_with(&mut world, contact, "10.4.4.4:5060");
    assert_eq!(ack.first_line(), "ACK sip:bob@10.9.9.9;maddr=10.4.4.4 SIP/2.0");
    expect_bye_at(&mut world, &ok, "10.4.4.4:5060");
}

#[test]
fn a_route_is_taken_where_its_maddr_and_port_say() {
    let mut world = World::new();
    let contact =
        format!("Record-Route: <sip:p.example:5070;maddr=10.4.4.4;lr>\nContact: <sip:bob@{CALLEE}>");
    let (ok, _) = answered_with(&mut world, &contact, "10.4.4.4:5070");
    expect_bye_at(&mut world, &ok, "10.4.4.4:5070");
}

#[test]
fn another_transport_that_is_written_is_spoken_from_the_same_address() {
    let mut world = World::new();
    let contact = "Contact: <sip:bob@10.4.4.4;transport=tcp>";
    let (ok, ack) = answered_with(&mut world, contact, "10.4.4.4:5060");
    assert_eq!(ack.flow.listener, STREAM);
    assert!(ack.header("Via").starts_with(&format!("SIP/2.0/TCP {BOX};")), "{}", ack.text);
    let bye = expect_bye_at(&mut world, &ok, "10.4.4.4:5060");
    assert_eq!(bye.flow.listener, STREAM);
}

#[test]
fn a_transport_that_no_listener_speaks_and_a_transport_that_nobody_knows_change_nothing() {
    for contact in ["<sip:bob@10.4.4.4:5062;transport=ws>", "<sip:bob@10.2.2.2:5060;transport=sctp>"] {
        let mut world = World::new();
        let at = if contact.contains("sctp") { CALLEE } else { "10.4.4.4:5062" };
        let (ok, ack) = answered_with(&mut world, &format!("Contact: {contact}"), at);
        assert_eq!(ack.flow.listener, ListenerId(0));
        expect_bye_at(&mut world, &ok, at);
    }
}

#[test]
fn a_contact_of_the_other_family_is_reached_from_a_listener_of_it_if_there_is_one() {
    let contact = "Contact: <sip:bob@[2001:db8::9]:5070>";
    let mut world = World::new();
    let (ok, _) = answered_with(&mut world, contact, CALLEE);
    expect_bye_at(&mut world, &ok, CALLEE);

    let mut world = World::tuned(|settings| {
        settings.listeners.push(Listener {
            name: "six".into(),
            transport: Transport::Udp,
            bind: "[2001:db8::1]:5060".parse().unwrap(),
            advertise: "[2001:db8::1]:5060".into(),
        });
    });
    let (ok, ack) = answered_with(&mut world, contact, "[2001:db8::9]:5070");
    assert!(ack.header("Via").starts_with("SIP/2.0/UDP [2001:db8::1]:5060;"), "{}", ack.text);
    expect_bye_at(&mut world, &ok, "[2001:db8::9]:5070");
}
