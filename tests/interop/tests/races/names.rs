//! Peers by name (RFC 3263), with a name server of the test's own.

use std::time::{Duration, Instant};

use interop::{Drawbridge, Place, until};
use nameserver::{Habit, NameServer};

use crate::party::{ANSWER, OFFER, Party};

const LIMIT: Duration = Duration::from_secs(10);

/// The box with two trunks: numbers that begin with 1 go to `carrier.example`, those with 2 to the callee's address.
fn start(place: &Place, server: &NameServer) -> Drawbridge {
    Drawbridge::start(
        place,
        &format!(
            "[sip]\nt1 = \"50ms\"\nt2 = \"400ms\"\nt4 = \"500ms\"\n\n\
             [dns]\nservers = [\"{dns}\"]\ntimeout = \"1s\"\nattempts = 2\n\n\
             [[trunk]]\nname = \"pbx\"\nsources = [\"{a}\", \"{other}\"]\n\n\
             [[trunk]]\nname = \"carrier\"\nsources = [\"{b}\", \"{c}\"]\npeers = [\"sip:carrier.example\"]\n\n\
             [[trunk]]\nname = \"direct\"\npeers = [\"sip:{b}:5060\"]\n\n\
             [[route]]\nname = \"by-name\"\nfrom = [\"pbx\"]\ncalled = \"^1\"\nto = [\"carrier\"]\n\n\
             [[route]]\nname = \"by-address\"\nfrom = [\"pbx\"]\ncalled = \"^2\"\nto = [\"direct\"]\n",
            dns = server.address(),
            a = place.ip(Place::A),
            other = place.ip(OTHER),
            b = place.ip(Place::B),
            c = place.ip(Place::C),
        ),
    )
}

/// A second caller.
const OTHER: u8 = 5;

/// NAPTR leads to UDP; of its two servers the one at B is preferred.
fn zone(place: &Place) -> String {
    format!(
        "carrier.example 60 NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.carrier.example
         _sip._udp.carrier.example 60 SRV 10 1 5060 one.carrier.example
         _sip._udp.carrier.example 60 SRV 20 1 5060 two.carrier.example
         one.carrier.example 60 A {}
         two.carrier.example 60 A {}",
        place.ip(Place::B),
        place.ip(Place::C)
    )
}

#[test]
fn a_carrier_by_name_is_found_and_its_next_server_takes_the_call_after_a_503() {
    let place = Place::new("names-503");
    let server = NameServer::start(&zone(&place));
    let drawbridge = start(&place, &server);
    let (caller, one, two) =
        (Party::caller(&place), Party::callee(&place), Party::at(&place, Place::C, "two"));
    caller.say(&caller.invite("1", OFFER));
    let first = one.expect("INVITE");
    assert!(first.text.starts_with("INVITE sip:12125551000@carrier.example SIP/2.0"), "{}", first.text);
    one.respond(&first, "503 Overloaded", "", "");
    one.expect("ACK");
    let second = two.expect("INVITE");
    two.respond(&second, "200 OK", "", ANSWER);
    let ok = caller.expect("200");
    two.expect("ACK");
    caller.say(&caller.in_dialog("ACK", "ack1", &ok, "", ""));
    caller.say(&caller.in_dialog("BYE", "bye1", &ok, "", ""));
    caller.expect("200");
    let bye = two.expect("BYE");
    two.respond(&bye, "200 OK", "", "");
    let rows = drawbridge.cdrs(2);
    let destination = |row: usize| rows[row]["b_destination"].as_str().unwrap().to_owned();
    assert_eq!([destination(1), destination(0)], [one.local(), two.local()]);
    assert_eq!(server.times("carrier.example", "NAPTR"), 1);
    drawbridge.assert_comes_to_rest();
}

#[test]
fn a_server_that_says_nothing_is_followed_by_the_next_and_the_name_is_asked_for_once() {
    let place = Place::new("names-silent");
    let server = NameServer::start(&zone(&place));
    let drawbridge = start(&place, &server);
    let (caller, one, two) =
        (Party::caller(&place), Party::callee(&place), Party::at(&place, Place::C, "two"));
    caller.say(&caller.invite("1", OFFER));
    one.expect("INVITE");
    // Timer B: 64 times a T1 of 50 ms.
    let second = two.expect("INVITE");
    two.respond(&second, "486 Busy Here", "", "");
    two.expect("ACK");
    let busy = caller.expect("486");
    caller.ack_refusal("1", &busy);
    assert_eq!(drawbridge.cdrs(2).len(), 2);
    for asked in ["NAPTR carrier.example", "SRV _sip._udp.carrier.example", "A one.carrier.example"] {
        let (kind, name) = asked.split_once(' ').unwrap();
        assert_eq!(server.times(name, kind), 1, "{asked}: {:?}", server.asked());
    }
}

#[test]
fn a_name_server_that_takes_its_time_delays_no_other_call() {
    let place = Place::new("names-slow");
    let server = NameServer::start(&zone(&place));
    server.habit("carrier.example", Habit::Slow(Duration::from_millis(900)));
    let _drawbridge = start(&place, &server);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let other = Party::at(&place, OTHER, "other");
    caller.say(&caller.invite("1", OFFER));
    until("the name is asked for", LIMIT, || (!server.asked().is_empty()).then_some(()));
    let begun = Instant::now();
    other.say(&other.invite("2", OFFER).replace("sip:12125551000@", "sip:22125551000@"));
    let direct = callee.expect("INVITE");
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(direct.text.starts_with("INVITE sip:22125551000@"), "{}", direct.text);
    callee.respond(&direct, "486 Busy Here", "", "");
    callee.expect("ACK");
    let busy = other.expect("486");
    other.ack_refusal("2", &busy);
    let named = callee.expect("INVITE");
    assert!(named.text.starts_with("INVITE sip:12125551000@carrier.example"), "{}", named.text);
}

#[test]
fn cancel_s8_while_the_name_server_is_silent_ends_the_call_at_once_and_nobody_is_called() {
    let place = Place::new("names-s8");
    let server = NameServer::start(&zone(&place));
    server.habit("carrier.example", Habit::Slow(Duration::from_millis(600)));
    let drawbridge = start(&place, &server);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.invite("1", OFFER));
    until("the name is asked for", LIMIT, || (!server.asked().is_empty()).then_some(()));
    let begun = Instant::now();
    caller.say(&caller.request("CANCEL", "1", "", ""));
    caller.expect("200");
    let gone = caller.expect("487");
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    caller.ack_refusal("1", &gone);
    until("the name is known", LIMIT, || (server.times("two.carrier.example", "A") > 0).then_some(()));
    callee.expect_nothing();
    assert_eq!(drawbridge.cdrs(1)[0]["disposition"], "cancelled");
    drawbridge.assert_comes_to_rest();
}

#[test]
fn a_name_that_nobody_has_fails_the_call_with_the_reason_in_the_log() {
    let place = Place::new("names-none");
    let server = NameServer::start("other.example 60 A 192.0.2.1");
    let drawbridge = start(&place, &server);
    let caller = Party::caller(&place);
    caller.say(&caller.invite("1", OFFER));
    let failed = caller.expect("503");
    caller.ack_refusal("1", &failed);
    until("the log says why", LIMIT, || {
        drawbridge.log().contains("carrier.example: no such name").then_some(())
    });
}
