//! Requests that are refused, and what of a refusal or an identity is seen on the other side.

use crate::harness::*;
use call::RegistrarPolicy;
use call::{Disposition, EndedBy};
use routing::{Source, Trunk};

/// A request of the caller for a dialog that nobody knows.
fn for_nobody(method: &str) -> String {
    invite("n", None).replace("INVITE", method).replace(
        "To: <sip:4912345@192.0.2.1>",
        "To: <sip:4912345@192.0.2.1>;tag=00000001000000014a257fc461d79202",
    )
}

#[test]
fn requests_for_an_unknown_dialog_get_481_and_an_ack_gets_nothing() {
    let mut world = World::new();
    for method in ["BYE", "INVITE", "INFO", "UPDATE", "OPTIONS", "NOTIFY"] {
        world.receive(CALLER, &for_nobody(method));
        let refusal = world.expect(CALLER, "SIP/2.0 481");
        assert_eq!(refusal.header("CSeq"), format!("1 {method}"));
    }
    world.receive(CALLER, &for_nobody("ACK"));
    world.expect_silence();
    world.receive(CALLER, &invite("b", None).replace("INVITE", "BYE"));
    assert!(!world.expect(CALLER, "SIP/2.0 481").tag("To").is_empty());
    world.expect_nothing_left();
}

#[test]
fn a_dialog_whose_tags_somebody_else_knows_is_unknown_to_them() {
    let (mut world, ok, _) = call_up();
    world.receive(SPARE, &from_caller("BYE", 2, &ok, ""));
    let refusal = world.sent.pop_front().unwrap();
    assert!(refusal.text.starts_with("SIP/2.0 481"));
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn of_two_trunks_at_one_address_neither_has_a_part_in_the_calls_of_the_other() {
    let shared = || {
        World::with(RegistrarPolicy::Closed, |trunks| {
            let mut other = Trunk::new("other");
            other.sources = vec![Source::parse("10.1.1.1:5080").unwrap()];
            trunks.push(other);
        })
    };
    let mut world = shared();
    let other = "10.1.1.1:5080";
    call_ringing(&mut world);
    world.receive(other, &cancel("1"));
    world.expect_silence();
    let mut world = shared();
    let (ok, _) = call_up_in(&mut world);
    for (cseq, method) in (2..).zip(["INFO", "BYE", "INVITE", "UPDATE"]) {
        world.receive(other, &from_caller(method, cseq, &ok, ""));
        let refusal = world.sent.pop_front().unwrap();
        assert!(refusal.text.starts_with("SIP/2.0 481"), "{}", refusal.text);
        world.expect_silence();
    }
    // From another port of its own trunk it counts.
    world.receive("10.1.1.1:5071", &from_caller("BYE", 9, &ok, ""));
    assert!(world.sent.pop_front().unwrap().text.starts_with("SIP/2.0 200"));
    world.expect(CALLEE, "BYE");
}

#[test]
fn an_invite_whose_contact_cannot_be_used_gets_400_and_nothing_else() {
    let mut world = World::new();
    for contact in ["", "Contact: <tel:+4930>\n", "Contact: *\n"] {
        let odd = invite("1", Some(OFFER)).replace(&format!("Contact: <sip:alice@{CALLER}>\n"), contact);
        world.receive(CALLER, &odd);
        let refusal = world.expect(CALLER, "SIP/2.0 400");
        world.expect_silence();
        world.receive(CALLER, &ack_failure("1", &refusal));
        world.pass(std::time::Duration::from_secs(64));
    }
    assert!(world.open_records.is_empty());
    world.expect_nothing_left();
}

#[test]
fn options_to_the_box_are_answered_as_an_invite_would_be() {
    let mut world = World::new();
    let options = |uri: &str, hops: &str| {
        let text = invite("o", None).replace("sip:4912345@192.0.2.1 SIP", &format!("{uri} SIP"));
        let text = text.replace("INVITE", "OPTIONS").replace("Max-Forwards: 70", hops);
        text.replace("call-a@", &format!("{uri}@")).replace("bKo", &format!("bK{}", uri.len()))
    };
    world.receive(CALLER, &options("sips:192.0.2.1", "Max-Forwards: 70"));
    world.expect(CALLER, "SIP/2.0 416");
    world.receive(CALLER, &options("sip:192.0.2.1", "Max-Forwards: 0"));
    world.expect(CALLER, "SIP/2.0 200");
}

#[test]
fn a_telephone_number_goes_on_as_one_with_all_that_was_said_of_it() {
    for (asked, goes_on) in [
        ("tel:+1-(555)-12.34", "sip:+15551234@10.2.2.2:5060;user=phone"),
        (
            "tel:7042;phone-context=example.com;ext=5",
            "sip:7042;phone-context=example.com;ext=5@10.2.2.2:5060;user=phone",
        ),
        ("tel:*21#", "sip:*21%23@10.2.2.2:5060;user=phone"),
        ("sip:+1-555@192.0.2.1", "sip:+1-555@10.2.2.2:5060"),
    ] {
        let mut world = World::new();
        world.receive(CALLER, &invite("1", Some(OFFER)).replacen("sip:4912345@192.0.2.1", asked, 1));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, &format!("INVITE {goes_on} SIP/2.0"));
        assert_eq!(out.header("To"), format!("<{goes_on}>"));
    }
}

#[test]
fn methods_that_are_not_taken_get_405_with_those_that_are() {
    let (mut world, _, _) = call_up();
    world.receive(CALLER, &invite("r", None).replace("INVITE", "REFER"));
    assert!(world.expect(CALLER, "SIP/2.0 405").header("Allow").starts_with("INVITE, ACK, CANCEL, BYE"));
    world.receive(CALLER, &invite("u", None).replace("INVITE", "JUMP"));
    assert!(world.expect(CALLER, "SIP/2.0 501").has("Allow"));
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn what_is_required_and_not_understood_is_named_in_the_420() {
    let mut world = World::new();
    let strict = "Require: magic, timer, jump\nX-Trace: 42";
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("X-Trace: 42", strict));
    assert_eq!(world.expect(CALLER, "SIP/2.0 420").header("Unsupported"), "magic, jump");
    world.receive(CALLER, &invite("2", None).replace("X-Trace: 42", strict).replace("INVITE", "OPTIONS"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 420").header("Unsupported"), "magic, jump");
    assert_eq!(world.core.stats().calls, 0);
    let (ok, _) = call_up_in(&mut world);
    world.receive(CALLER, &from_caller("INFO", 2, &ok, "Require: magic\n"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 420").header("Unsupported"), "magic");
    world.expect_silence();
}

#[test]
fn an_invite_without_hops_left_gets_483_and_another_copy_of_one_482() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("Max-Forwards: 70", "Max-Forwards: 0"));
    world.expect(CALLER, "SIP/2.0 483");
    call_placed(&mut world);
    world.receive(CALLER, &invite("other", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 482");
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn a_body_that_cannot_be_used_is_refused_with_what_can() {
    let mut world = World::new();
    let odd = invite("1", Some(OFFER)).replace("application/sdp", "text/plain");
    world.receive(CALLER, &odd);
    assert_eq!(world.expect(CALLER, "SIP/2.0 415").header("Accept"), "application/sdp, multipart/mixed");
    world.receive(CALLER, &invite("2", Some("v=0\nm=audio none RTP/AVP 0\n")));
    assert!(world.expect(CALLER, "SIP/2.0 488").header("Warning").contains("line 2"));
}

#[test]
fn the_code_the_words_and_the_reason_of_a_refusal_cross_and_the_addresses_do_not() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    let more = "Reason: Q.850;cause=21;text=\"no\"\nWarning: 399 10.2.2.2:5060 \"inside 7\"\nServer: Secret/1\nContact:";
    let refusal = response(&out, "603 Not Today", "b1", None).replace("Contact:", more);
    world.receive(CALLEE, &refusal);
    world.expect(CALLEE, "ACK");
    let crossed = world.expect(CALLER, "SIP/2.0 603 Not Today");
    assert_eq!(crossed.header("Reason"), "Q.850;cause=21;text=\"no\"");
    assert_eq!(crossed.header("Warning"), "399 192.0.2.1 \"inside 7\"");
    assert!(!crossed.text.contains("10.2.2.2") && !crossed.text.contains("Secret"), "{}", crossed.text);
    world.receive(CALLER, &ack_failure("1", &crossed));
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((record.disposition, record.ended_by), (Disposition::Rejected, EndedBy::Callee));
    assert_eq!((record.sip_code_a, record.sip_code_b, record.q850), (Some(603), Some(603), Some(21)));
    assert_eq!(record.sip_reason_a.as_deref(), Some("Not Today"));
    world.expect_nothing_left();
}

#[test]
fn identities_cross_without_the_addresses_of_the_network_they_come_from() {
    let mut world = World::new();
    let identities = "P-Asserted-Identity: \"A\" <sip:+4930@10.1.1.1:5070;user=phone>, <tel:+4930>
Remote-Party-ID: <sip:alice@[2001:db8::1]:5060>;party=calling
Diversion: <sip:desk@pbx.example>;reason=unconditional
History-Info: <sip:desk@10.1.1.9>;index=1
Target-Dialog: call-a@10.1.1.1;local-tag=a1
In-Reply-To: call-a@10.1.1.1
X-Trace: 42";
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("X-Trace: 42", identities));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(out.header("P-Asserted-Identity"), "\"A\" <sip:+4930@192.0.2.1;user=phone>, <tel:+4930>");
    assert_eq!(out.header("Remote-Party-ID"), "<sip:alice@192.0.2.1>;party=calling");
    assert_eq!(out.header("Diversion"), "<sip:desk@pbx.example>;reason=unconditional");
    assert_eq!(out.header("History-Info"), "<sip:desk@192.0.2.1>;index=1");
    assert!(!out.text.contains("10.1.1.") && !out.text.contains("call-a"), "{}", out.text);
}
