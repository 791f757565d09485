//! 3xx of a target (RFC 3261 §8.1.3.4): followed, within bounds, or passed on.

use crate::harness::*;
use call::{Disposition, RegistrarPolicy};
use routing::{Credentials, Redirect};
use sip::Authorization;

/// Where nobody's trunk is.
const THERE: &str = "10.9.9.9:5070";

/// A trunk with one peer that follows.
fn world() -> World {
    World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers.truncate(1);
        trunks[1].auth = Some(Credentials { username: "box".into(), password: "secret".into() });
    })
}

/// A 3xx with these values of Contact.
fn moved(request: &Sent, line: &str, contacts: &[&str]) -> String {
    let own = format!("Contact: <sip:bob@{}>", request.to);
    response(request, line, "m", None).replace(&own, &format!("Contact: {}", contacts.join(", ")))
}

#[test]
fn the_contacts_of_a_302_are_tried_in_the_order_of_their_preference() {
    let mut world = world();
    let first = call_placed(&mut world);
    let contacts = ["<sip:c@10.9.9.9:5071>;q=0.2", "\"B\" <sip:b@10.9.9.9:5070;x=y?Subject=no>;q=0.7"];
    world.receive(CALLEE, &moved(&first, "302 Moved Temporarily", &contacts));
    world.expect(CALLEE, "ACK");
    let second = world.expect(THERE, "INVITE sip:b@10.9.9.9:5070;x=y SIP/2.0");
    assert_eq!(second.header("To"), "<sip:b@10.9.9.9:5070>");
    assert_ne!(second.header("Call-ID"), first.header("Call-ID"));
    world.receive(THERE, &response(&second, "480 Away", "n", None));
    world.expect(THERE, "ACK");
    let third = world.expect("10.9.9.9:5071", "INVITE sip:c@10.9.9.9:5071 SIP/2.0");
    world.receive("10.9.9.9:5071", &response(&third, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert!(!ok.text.contains("10.9.9.9"), "{}", ok.text);
    world.expect("10.9.9.9:5071", "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    // Who was called may hang up, wherever it is.
    let bye = from_callee("BYE", 1, &third, "").replace("10.2.2.2:5060", "10.9.9.9:5071");
    world.receive("10.9.9.9:5071", &bye);
    world.expect("10.9.9.9:5071", "SIP/2.0 200");
    world.expect(CALLER, "BYE");
    let rows: Vec<_> = world.records.iter().map(|r| (r.attempt, r.sip_code_b, r.disposition)).collect();
    assert_eq!(rows, [(1, Some(302), Disposition::Failed), (2, Some(480), Disposition::Rejected)]);
}

#[test]
fn a_contact_that_is_busy_ends_the_search_as_any_target_would() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &moved(&first, "301 Moved", &["<sip:b@10.9.9.9:5070>", "<sip:c@10.9.9.9:5070>"]));
    world.expect(CALLEE, "ACK");
    let second = world.expect(THERE, "INVITE sip:b@");
    world.receive(THERE, &response(&second, "486 Busy Here", "n", None));
    world.expect(THERE, "ACK");
    world.expect(CALLER, "SIP/2.0 486 Busy Here");
}

#[test]
fn the_trunk_s_password_is_shown_to_its_peers_and_to_nobody_else() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &moved(&first, "302 Moved", &["<sip:b@10.9.9.9:5070>", "<sip:c@10.2.2.2:5099>"]));
    world.expect(CALLEE, "ACK");
    let ask = |sent: &Sent| {
        response(sent, "407 Proxy Authentication Required", "p", None).replace(
            "Contact: ",
            "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\nContact: ",
        )
    };
    let stranger = world.expect(THERE, "INVITE sip:b@");
    world.receive(THERE, &ask(&stranger));
    world.expect(THERE, "ACK");
    let peer = world.expect("10.2.2.2:5099", "INVITE sip:c@");
    world.receive("10.2.2.2:5099", &ask(&peer));
    world.expect("10.2.2.2:5099", "ACK");
    let again = world.expect("10.2.2.2:5099", "INVITE");
    let answer = Authorization::parse(again.header("Proxy-Authorization").as_bytes()).unwrap();
    assert!(answer.verify("secret", b"INVITE"));
}

#[test]
fn a_place_that_was_tried_is_not_tried_again_and_a_loop_counts_as_a_bad_gateway() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &moved(&first, "302 Moved", &["<sip:b@10.9.9.9:5070>", "<sip:b@10.9.9.9:5070>"]));
    world.expect(CALLEE, "ACK");
    let second = world.expect(THERE, "INVITE sip:b@");
    let back = ["<sip:4912345@10.2.2.2:5060>", "<sip:b@10.9.9.9:5070>"];
    world.receive(THERE, &moved(&second, "302 Moved", &back));
    world.expect(THERE, "ACK");
    let refusal = world.expect(CALLER, "SIP/2.0 502 Bad Gateway");
    assert!(!refusal.has("Contact"), "{}", refusal.text);
    world.expect_silence();
    assert_eq!(world.records.last().map(|r| (r.sip_code_a, r.sip_code_b)), Some((Some(502), Some(302))));
}

#[test]
fn redirections_are_followed_five_deep() {
    let mut world = world();
    let mut request = call_placed(&mut world);
    for hop in 0..5 {
        let from = request.to.to_string();
        world.receive(&from, &moved(&request, "302 Moved", &[&format!("<sip:h{hop}@10.9.9.9:5070>")]));
        world.expect(&from, "ACK");
        request = world.expect(THERE, &format!("INVITE sip:h{hop}@"));
    }
    world.receive(THERE, &moved(&request, "302 Moved", &["<sip:h5@10.9.9.9:5070>"]));
    world.expect(THERE, "ACK");
    world.expect(CALLER, "SIP/2.0 502");
}

#[test]
fn nothing_is_sent_to_the_box_itself_nor_to_what_cannot_be_called() {
    for contact in [
        format!("<sip:x@{BOX}>"),
        format!("<sip:x@{OUTSIDE}>"),
        "<sip:x@192.0.2.1>".to_owned(),
        "<sip:x@0.0.0.0>".to_owned(),
        "<sip:x@239.1.1.1>".to_owned(),
        "<sip:x@10.9.9.9;transport=ws>".to_owned(),
        "<mailto:x@10.9.9.9>".to_owned(),
    ] {
        let mut world = world();
        let first = call_placed(&mut world);
        world.receive(CALLEE, &moved(&first, "302 Moved", &[&contact]));
        world.expect(CALLEE, "ACK");
        world.expect(CALLER, "SIP/2.0 502");
        assert!(world.warnings.iter().any(|what| what.contains("no place")), "{contact}");
        world.expect_silence();
    }
}

#[test]
fn a_name_that_leads_back_to_the_box_is_not_called() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &moved(&first, "302 Moved", &["<sip:x@loop.example:5060>"]));
    world.expect(CALLEE, "ACK");
    let query = world.resolves[0];
    world.input(found(query, &[BOX]));
    world.expect(CALLER, "SIP/2.0 503");
    world.expect_silence();
}

#[test]
fn a_number_is_asked_for_where_the_first_one_was() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &moved(&first, "302 Moved", &["<tel:+4930555>"]));
    world.expect(CALLEE, "ACK");
    world.expect(CALLEE, "INVITE sip:+4930555@10.2.2.2:5060;user=phone SIP/2.0");
}

#[test]
fn a_305_sends_the_same_request_by_another_way_and_a_380_sends_nothing_anywhere() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &moved(&first, "305 Use Proxy", &["<sip:10.9.9.9:5070>"]));
    world.expect(CALLEE, "ACK");
    let second = world.expect(THERE, "INVITE sip:4912345@10.2.2.2:5060 SIP/2.0");
    world.receive(THERE, &moved(&second, "380 Alternative Service", &["<sip:help@10.9.9.8>"]));
    world.expect(THERE, "ACK");
    assert!(!world.expect(CALLER, "SIP/2.0 502").text.contains("10.9.9"));
    world.expect_silence();
}

#[test]
fn a_trunk_that_passes_a_302_on_shows_its_contact() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| trunks[1].redirect = Redirect::Pass);
    let first = call_placed(&mut world);
    world.receive(CALLEE, &moved(&first, "302 Moved Temporarily", &["<sip:b@10.9.9.9:5070>"]));
    world.expect(CALLEE, "ACK");
    assert_eq!(world.expect(CALLER, "SIP/2.0 302").header("Contact"), "<sip:b@10.9.9.9:5070>");
    world.expect_silence();
}

#[test]
fn cancel_c9_a_302_after_the_cancel_is_not_followed() {
    let mut world = world();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &moved(&out, "302 Moved", &["<sip:b@10.9.9.9:5070>"]));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
}

/// A phone that is registered as bob, and calls to it.
const PHONE: &str = "127.0.0.1:6002";

fn world_with_phone() -> World {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
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
    world
}

#[test]
fn where_a_phone_sends_its_calls_on_to_is_not_shown_to_the_caller() {
    for line in ["302 Moved Temporarily", "300 Multiple Choices", "305 Use Proxy", "380 Alternative"] {
        let mut world = world_with_phone();
        world.receive(CALLER, &invite("1", Some(OFFER)).replace("4912345", "bob"));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(PHONE, "INVITE");
        world.receive(PHONE, &moved(&out, line, &["<sip:4930555@192.168.7.7:5099>"]));
        world.expect(PHONE, "ACK");
        let away = world.expect(CALLER, "SIP/2.0 480 ");
        assert!(!away.has("Contact") && !away.text.contains("192.168.7.7"), "{line}: {}", away.text);
        world.receive(CALLER, &ack_failure("1", &away));
        let status: u16 = line[..3].parse().unwrap();
        let row = world.records.last().map(|row| (row.sip_code_a, row.sip_code_b));
        assert_eq!(row, Some((Some(480), Some(status))));
        world.pass(std::time::Duration::from_secs(300));
        world.expect_replays();
    }
}
