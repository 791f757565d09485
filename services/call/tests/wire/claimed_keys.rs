//! Keys of a party that is wanted in another call: it gets new ones there, and has its old ones where it stays.

use std::time::Duration;

use call::Side;
use routing::MediaSecurity;
use sip::SrtpSuite;

use crate::crypto::{KEY, OTHER_KEY, answer, cryptos, keys, line, proto, secure};
use crate::harness::*;
use crate::offerless::{secured, setups, tls};
use crate::replaces::{FAR, notified, of_second, to_consulted};

const CM_80: SrtpSuite = SrtpSuite::AesCm128Sha1_80;

/// What a callee of this kind answers.
fn says(scheme: MediaSecurity, offer: &Sent, key: &str) -> String {
    match scheme {
        MediaSecurity::None => ANSWER.to_owned(),
        MediaSecurity::Sdes => answer(offer, CM_80, key),
        _ => tls(ANSWER, "active"),
    }
}

/// The plain caller talks to the callee, and to the far party in another call: the box's 200s and its INVITE to the latter.
fn two_calls(world: &mut World, scheme: MediaSecurity) -> (Sent, Sent, Sent) {
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&says(scheme, &out, KEY))));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    let second = invite("c1", Some(OFFER)).replace("call-a@", "call-c@").replace("tag=a1", "tag=a2");
    world.receive(CALLER, &second.replace("4912345@", "888@"));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE sip:888@");
    world.receive(CALLEE, &response(&first, "503 Service Unavailable", "x", None));
    world.expect(CALLEE, "ACK");
    let out2 = world.expect(FAR, "INVITE sip:888@");
    world.receive(FAR, &response(&out2, "200 OK", "f1", Some(&says(scheme, &out2, OTHER_KEY))));
    let ok2 = world.expect(CALLER, "SIP/2.0 200");
    world.expect(FAR, "ACK");
    world.receive(CALLER, &of_second(&from_caller("ACK", 1, &ok2, "")));
    world.expect_silence();
    (ok, ok2, out2)
}

fn ufrag(sent: &Sent) -> Option<&str> {
    sent.body().lines().find(|line| line.starts_with("a=ice-ufrag:"))
}

#[test]
fn a_party_that_will_not_come_over_is_refreshed_with_the_keys_that_it_has() {
    for scheme in [MediaSecurity::Sdes, MediaSecurity::Dtls] {
        let mut world = secured(Side::B, scheme);
        let (ok, ok2, out2) = two_calls(&mut world, scheme);
        let before = keys(&world, Side::B);
        world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
        world.expect(CALLER, "SIP/2.0 202");
        notified(&mut world, "SIP/2.0 100 Trying");
        let wanted = world.expect(FAR, "INVITE");
        let own = |sent: &Sent| cryptos(sent).into_iter().map(|crypto| crypto.key).collect::<Vec<_>>();
        assert!(own(&wanted).iter().all(|key| !own(&out2).contains(key)), "{}", wanted.text);
        world.receive(FAR, &response(&wanted, "488 Not Acceptable Here", "", None));
        world.expect(FAR, "ACK");
        notified(&mut world, "SIP/2.0 488 Not Acceptable Here");
        world.expect_silence();

        world.pass(Duration::from_secs(900));
        let to = FAR.parse().unwrap();
        let refresh = world.sent.iter().find(|sent| sent.to == to).unwrap().clone();
        assert!(refresh.text.starts_with("INVITE"), "{}", refresh.text);
        assert_eq!(own(&refresh), own(&out2), "{scheme:?}");
        assert_eq!((ufrag(&refresh), setups(&refresh)), (ufrag(&out2), setups(&out2)), "{scheme:?}");
        world.sent.clear();
        world.receive(FAR, &response(&refresh, "200 OK", "", Some(&says(scheme, &refresh, OTHER_KEY))));
        world.expect(FAR, "ACK");
        world.expect_silence();
        assert_eq!(keys(&world, Side::B), before);
    }
}

/// Where a peer chose the line of its own that it had numbered, and refused an offer of ours since, its next answer is
/// looked for among ours.
#[test]
fn a_caller_that_refused_a_hold_answers_the_next_refresh() {
    let mut world = secured(Side::A, MediaSecurity::Sdes);
    let offer = secure(OFFER, &line(7, CM_80.name(), KEY));
    world.receive(CALLER, &invite("1", Some(&offer)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    let before = keys(&world, Side::A);
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + &format!("{ANSWER}a=sendonly\n")));
    world.expect(CALLEE, "SIP/2.0 100");
    let hold = world.expect(CALLER, "INVITE");
    world.receive(CALLER, &response(&hold, "488 Not Acceptable Here", "", None));
    world.expect(CALLER, "ACK");
    world.expect(CALLEE, "SIP/2.0 488");
    world.receive(CALLEE, &from_callee("ACK", 1, &out, "").replace("bKbACK1", "bKbINVITE1"));

    world.pass(Duration::from_secs(900));
    let to = CALLER.parse().unwrap();
    let refresh = world.sent.iter().find(|sent| sent.to == to).unwrap().clone();
    assert!(refresh.text.starts_with("INVITE"), "{}", refresh.text);
    world.sent.clear();
    let tag = cryptos(&refresh).iter().find(|crypto| crypto.suite == CM_80).unwrap().tag;
    let again = secure(OFFER, &line(tag, CM_80.name(), KEY));
    world.receive(CALLER, &response(&refresh, "200 OK", "", Some(&again)));
    world.expect(CALLER, "ACK");
    world.expect_silence();
    assert_eq!(keys(&world, Side::A), before);
}

/// It answered in plain what was offered to it in either way, and then did DTLS by itself.
#[test]
fn a_party_that_does_dtls_is_offered_that_in_the_call_that_it_comes_to() {
    let mut world = secured(Side::B, MediaSecurity::Optional);
    let (ok, ok2, out2) = two_calls(&mut world, MediaSecurity::None);
    let far = |method: &str, cseq: u32, extra: &str| {
        from_callee(method, cseq, &out2, extra).replace(CALLEE, FAR).replace("tag=b1", "tag=f1")
    };
    world.receive(FAR, &(far("INVITE", 1, KIND) + &tls(ANSWER, "actpass")));
    world.expect(FAR, "SIP/2.0 100");
    let across = world.expect(CALLER, "INVITE");
    world.receive(CALLER, &response(&across, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    let answered = world.expect(FAR, "SIP/2.0 200");
    assert_eq!(proto(&answered), "UDP/TLS/RTP/SAVP");
    world.receive(FAR, &far("ACK", 1, ""));
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    let wanted = world.expect(FAR, "INVITE");
    assert_eq!((proto(&wanted).as_str(), setups(&wanted)), ("UDP/TLS/RTP/SAVP", vec!["actpass"]));
}
