//! Media that the two encrypt past the box, whose trunks both say `media_security = "none"`: nothing of it is read, played into
//! or turned into anything, and what the two say of it crosses.

use call::{MediaOrder, Recording};
use routing::{Codecs, Dtmf, Trunk};

use crate::harness::*;
use crate::recording::{orders as recorded, record};

const KEY: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw\n";
const DTLS: &str =
    "a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB\na=setup:actpass\n";
const DIGITS: &str = "a=rtpmap:101 telephone-event/8000\n";

/// How two phones say that they encrypt: the profile, and the line with their keys.
const WAYS: [(&str, &str); 4] =
    [("RTP/SAVP", KEY), ("RTP/SAVPF", KEY), ("UDP/TLS/RTP/SAVPF", DTLS), ("RTP/AVP", KEY)];

/// A description in this way, with these formats.
fn described(description: &str, (profile, keys): (&str, &str), formats: &str) -> String {
    let (session, _) = description.split_once("m=").unwrap();
    let digits = if formats.contains("101") { DIGITS } else { "" };
    format!("{session}m=audio 4000 {profile} {formats}\n{digits}{keys}")
}

/// A call that is up: the box's INVITE and its 200.
fn up(world: &mut World, offer: &str, answer: &str) -> (Sent, Sent) {
    world.receive(CALLER, &invite("1", Some(offer)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(answer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    (out, ok)
}

fn changed(change: impl FnOnce(&mut Vec<Trunk>)) -> World {
    World::with(call::RegistrarPolicy::Closed, change)
}

fn allow(name: &str) -> Codecs {
    Codecs { allow: vec![name.to_owned()], ..Codecs::default() }
}

/// Whether the relay was told to look into packets, or to send some of its own.
fn is_touched(world: &World) -> bool {
    world.orders.iter().any(|order| match order {
        MediaOrder::TakeDigits { .. }
        | MediaOrder::PlayDigit { .. }
        | MediaOrder::Transcode { .. }
        | MediaOrder::Record { .. } => true,
        MediaOrder::Open { .. }
        | MediaOrder::Reopen { .. }
        | MediaOrder::Listen { .. }
        | MediaOrder::Describe { .. }
        | MediaOrder::Watch { .. }
        | MediaOrder::Count { .. }
        | MediaOrder::Close { .. } => false,
    })
}

#[test]
fn key_presses_of_two_who_encrypt_past_the_box_stay_theirs() {
    for way in WAYS {
        let mut world = changed(|trunks| trunks[1].dtmf = Dtmf::Info);
        let [offer, answer] = [OFFER, ANSWER].map(|body| described(body, way, "0 101"));
        let (out, ok) = up(&mut world, &offer, &answer);
        assert!(!is_touched(&world), "{way:?}: {:?}", world.orders);
        assert!(ok.body().contains("telephone-event"), "{way:?}: {}", ok.body());
        // Whether an offer that leaves it to the answer will be encrypted nobody knows yet.
        assert_eq!(out.body().contains("telephone-event"), way.0 != "RTP/AVP", "{way:?}: {}", out.body());
        // A press in INFO is the other side's to understand.
        let press = "Content-Type: application/dtmf-relay\n\nSignal=5\nDuration=160\n";
        world.receive(CALLEE, &from_callee("INFO", 1, &out, press));
        let info = world.expect(CALLER, "INFO");
        assert!(info.body().contains("Signal=5"));
        world.receive(CALLER, &response(&info, "200 OK", "", None));
        world.expect(CALLEE, "SIP/2.0 200");
        assert!(!is_touched(&world), "{way:?}");
        ends_by_the_caller(&mut world, &ok, 2);
    }
}

#[test]
fn key_presses_of_who_offers_keys_and_gets_none_are_taken_out_as_usual() {
    let mut world = changed(|trunks| trunks[1].dtmf = Dtmf::Info);
    let (_, ok) = up(&mut world, &described(OFFER, ("RTP/AVP", KEY), "0 101"), ANSWER);
    assert!(is_touched(&world));
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn two_laws_of_g711_are_not_turned_into_each_other_where_the_two_encrypt_past_the_box() {
    for way in WAYS.into_iter().filter(|(profile, _)| *profile != "RTP/AVP") {
        let mut world = changed(|trunks| {
            (trunks[0].codecs, trunks[1].codecs) = (allow("PCMU"), allow("PCMA"));
        });
        world.receive(CALLER, &invite("1", Some(&described(OFFER, way, "0"))));
        world.expect(CALLER, "SIP/2.0 100");
        assert!(world.expect(CALLER, "SIP/2.0 488").header("Warning").starts_with("305 "), "{way:?}");
        assert!(!is_touched(&world), "{way:?}");
    }
}

#[test]
fn a_call_of_two_who_encrypt_past_the_box_is_not_recorded_and_it_is_said_why() {
    for way in WAYS {
        let mut world = changed(|trunks| trunks[1].record = true);
        let [offer, answer] = [OFFER, ANSWER].map(|body| described(body, way, "0"));
        let (_, ok) = up(&mut world, &offer, &answer);
        assert!(recorded(&world).is_empty(), "{way:?}");
        assert!(world.warnings.iter().any(|what| what.contains("encrypt")), "{:?}", world.warnings);
        assert_eq!(record(&mut world, true), Recording::Encrypted, "{way:?}");
        ends_by_the_caller(&mut world, &ok, 2);
    }
}
