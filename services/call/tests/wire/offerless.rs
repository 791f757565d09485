//! Re-INVITEs without an offer where the box encrypts: who is asked makes the offer, and what it is told is an answer.

use call::{DtlsTerms, Keying, MediaOrder, Protection, Side};
use routing::{MediaSecurity, Trunk};
use sip::{Fingerprint, SrtpSuite};

use crate::crypto::{CM, KEY, OTHER_KEY, answer, cryptos, keys, line, proto, secure};
use crate::harness::{
    ANSWER, CALLEE, CALLER, KIND, OFFER, Sent, World, ends_by_the_caller, from_callee, from_caller, invite,
    response,
};

const CM_80: SrtpSuite = SrtpSuite::AesCm128Sha1_80;
const BOTH: [MediaSecurity; 2] = [MediaSecurity::Sdes, MediaSecurity::Dtls];

/// One side plain, the other as its trunk says.
pub fn secured(of: Side, policy: MediaSecurity) -> World {
    World::shaped(
        |trunks: &mut Vec<Trunk>| match of {
            Side::A => trunks[0].media_security = policy,
            Side::B => trunks[1].media_security = policy,
        },
        |settings| settings.fingerprint = Some(Fingerprint([9; 32])),
    )
}

/// A description with DTLS, in this role.
pub fn tls(body: &str, setup: &str) -> String {
    let fingerprint = Fingerprint([7; 32]).write();
    body.replace("RTP/AVP", "UDP/TLS/RTP/SAVP") + &format!("a=fingerprint:{fingerprint}\na=setup:{setup}\n")
}

/// What a side that encrypts offers by itself.
pub fn offers(policy: MediaSecurity, body: &str, key: &str) -> String {
    match policy {
        MediaSecurity::Sdes => secure(body, &line(1, CM, key)),
        _ => tls(body, "actpass"),
    }
}

/// What it answers to an offer of the box.
pub fn answers(policy: MediaSecurity, offer: &Sent, body: &str) -> String {
    match policy {
        MediaSecurity::Sdes => answer(offer, CM_80, OTHER_KEY).replace(ANSWER.trim_end(), body.trim_end()),
        _ => tls(body, "active"),
    }
}

/// How a side was said to be protected last.
pub fn protection(world: &World, of: Side) -> Option<Protection> {
    let told = |order: &MediaOrder| match order {
        MediaOrder::Describe { side, protection, .. } if *side == of => Some(protection.as_deref().cloned()),
        _ => None,
    };
    world.orders.iter().rev().find_map(told).flatten()
}

/// The roles that a description names.
pub fn setups(sent: &Sent) -> Vec<&str> {
    sent.body().lines().filter_map(|line| line.strip_prefix("a=setup:")).collect()
}

/// A call that is up, in which the box has offered to who encrypts last: the box's 200 and INVITE.
pub fn up(world: &mut World, of: Side, policy: MediaSecurity) -> (Sent, Sent) {
    let offer = if of == Side::A { offers(policy, OFFER, KEY) } else { OFFER.to_owned() };
    world.receive(CALLER, &invite("1", Some(&offer)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let said = if of == Side::B { answers(policy, &out, ANSWER) } else { ANSWER.to_owned() };
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&said)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    if of == Side::A {
        world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + &format!("{ANSWER}a=sendonly\n")));
        world.expect(CALLEE, "SIP/2.0 100");
        let across = world.expect(CALLER, "INVITE");
        let held = answers(policy, &across, OFFER) + "a=recvonly\n";
        world.receive(CALLER, &response(&across, "200 OK", "", Some(&held)));
        world.expect(CALLER, "ACK");
        world.expect(CALLEE, "SIP/2.0 200");
        world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
    }
    (ok, out)
}

/// The plain side asks the other for an offer with this number: what that is asked with.
fn ask(world: &mut World, asked: Side, (ok, out): (&Sent, &Sent)) -> Sent {
    let request = match asked {
        Side::A => from_callee("INVITE", 2, out, ""),
        Side::B => from_caller("INVITE", 2, ok, ""),
    };
    let [asking, asked] = if asked == Side::A { [CALLEE, CALLER] } else { [CALLER, CALLEE] };
    world.receive(asking, &request);
    world.expect(asking, "SIP/2.0 100");
    let across = world.expect(asked, "INVITE");
    assert_eq!(across.body(), "");
    across
}

/// That this answers the offer of a side that encrypts, and that the relay was told the same.
fn expect_answer(world: &World, of: Side, policy: MediaSecurity, ack: &Sent) {
    match policy {
        MediaSecurity::Sdes => {
            let chosen = cryptos(ack);
            assert_eq!(chosen.len(), 1, "an answer names one line:\n{}", ack.text);
            assert_eq!((proto(ack).as_str(), chosen[0].tag, chosen[0].suite), ("RTP/SAVP", 1, CM_80));
            let keys = keys(world, of).unwrap();
            assert_eq!((keys.inbound.key(), &keys.outbound), (&b"1234567890123456"[..], &chosen[0].key));
        }
        _ => {
            assert_eq!((proto(ack).as_str(), setups(ack)), ("UDP/TLS/RTP/SAVP", vec!["passive"]));
            let terms = DtlsTerms { fingerprint: Fingerprint([7; 32]), active: false };
            assert_eq!(protection(world, of).unwrap().keying, Keying::Dtls(terms));
        }
    }
}

#[test]
fn who_encrypts_and_is_asked_for_an_offer_gets_an_answer_in_the_ack() {
    for (policy, asked) in BOTH.into_iter().flat_map(|policy| [(policy, Side::A), (policy, Side::B)]) {
        let mut world = secured(asked, policy);
        let (ok, out) = up(&mut world, asked, policy);
        let across = ask(&mut world, asked, (&ok, &out));
        let own = if asked == Side::A { OFFER } else { ANSWER };
        let [asking, other] = if asked == Side::A { [CALLEE, CALLER] } else { [CALLER, CALLEE] };
        world.receive(other, &response(&across, "200 OK", "", Some(&offers(policy, own, KEY))));
        let offered = world.expect(asking, "SIP/2.0 200");
        assert_eq!(
            (proto(&offered).as_str(), cryptos(&offered).len()),
            ("RTP/AVP", 0),
            "{policy:?} {asked:?}"
        );
        let ack = match asked {
            Side::A => from_callee("ACK", 2, &out, KIND) + ANSWER,
            Side::B => from_caller("ACK", 2, &ok, KIND) + OFFER,
        };
        world.receive(asking, &ack);
        let ack = world.expect(other, "ACK");
        expect_answer(&world, asked, policy, &ack);
        ends_by_the_caller(&mut world, &ok, 3);
        world.expect_replays();
    }
}

/// The asked side's 2xx crosses the CANCEL of who asked: nobody but the box answers its offer.
#[test]
fn an_offer_that_crosses_a_cancel_is_answered_with_its_own_key_or_role() {
    for (policy, asked) in BOTH.into_iter().flat_map(|policy| [(policy, Side::A), (policy, Side::B)]) {
        let mut world = secured(asked, policy);
        let (ok, out) = up(&mut world, asked, policy);
        let across = ask(&mut world, asked, (&ok, &out));
        let own = if asked == Side::A { OFFER } else { ANSWER };
        let [asking, other] = if asked == Side::A { [CALLEE, CALLER] } else { [CALLER, CALLEE] };
        world.receive(other, &response(&across, "100 Trying", "", None));
        let request = match asked {
            Side::A => from_callee("INVITE", 2, &out, ""),
            Side::B => from_caller("INVITE", 2, &ok, ""),
        };
        world.receive(asking, &request.replace("INVITE sip", "CANCEL sip").replace("2 INVITE", "2 CANCEL"));
        world.expect(asking, "SIP/2.0 200");
        world.expect(asking, "SIP/2.0 487");
        let cancel = world.expect(other, "CANCEL");
        world.receive(other, &response(&cancel, "200 OK", "", None));
        world.receive(other, &response(&across, "200 OK", "", Some(&offers(policy, own, KEY))));
        let ack = world.expect(other, "ACK");
        expect_answer(&world, asked, policy, &ack);
        world.expect_silence();
        let ack = match asked {
            Side::A => from_callee("ACK", 2, &out, "").replace("bKbACK2", "bKbINVITE2"),
            Side::B => from_caller("ACK", 2, &ok, "").replace("bKACK2", "bKINVITE2"),
        };
        world.receive(asking, &ack);
        ends_by_the_caller(&mut world, &ok, 3);
        world.expect_replays();
    }
}

/// Who asked for a transfer has not answered the offer that it asked for when it goes.
#[test]
fn an_offer_whose_asker_leaves_is_answered_by_the_box() {
    for policy in BOTH {
        let mut world = secured(Side::B, policy);
        let (ok, out) = up(&mut world, Side::B, policy);
        let across = ask(&mut world, Side::B, (&ok, &out));
        world.receive(CALLEE, &response(&across, "200 OK", "", Some(&offers(policy, ANSWER, KEY))));
        world.expect(CALLER, "SIP/2.0 200");
        world.receive(CALLER, &from_caller("REFER", 3, &ok, "Refer-To: <sip:49777@192.0.2.1>\n"));
        world.sent.clear();
        world.receive(CALLER, &from_caller("BYE", 4, &ok, ""));
        let ack = world.sent.iter().find(|sent| sent.text.starts_with("ACK")).unwrap().clone();
        expect_answer(&world, Side::B, policy, &ack);
    }
}
