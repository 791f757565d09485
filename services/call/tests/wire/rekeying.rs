//! Keys over re-INVITEs: a side may take another key or another suite, and whatever comes to nothing changes nothing.

use call::{Side, SrtpKeys};
use routing::MediaSecurity;
use sip::SrtpSuite;

use crate::crypto::{CM, KEY, OTHER_KEY, answer, cryptos, keys, line, offer, proto, secure, up, world};
use crate::harness::{
    ANSWER, CALLEE, CALLER, KIND, OFFER, Sent, World, ack_failure, ends_by_the_caller, from_callee,
    from_caller, response,
};

/// A key that nobody has had before, and what stands in a description for it.
const NEW: &[u8] = b"new key of Alice";
const NEW_KEY: &str = "bmV3IGtleSBvZiBBbGljZTAxMjM0NTY3ODkwMTIz";
/// Of 256 bits, for AES-GCM.
const LONG_KEY: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
const CM_80: SrtpSuite = SrtpSuite::AesCm128Sha1_80;

/// Both sides encrypt, each with a key of its own: the box's 200 and INVITE.
fn encrypted() -> (World, Sent, Sent) {
    let mut world = world(MediaSecurity::Sdes, MediaSecurity::Sdes);
    let (ok, out) = up(&mut world, &offer(), |out| answer(out, CM_80, OTHER_KEY));
    (world, ok, out)
}

fn of_both(world: &World) -> [SrtpKeys; 2] {
    [Side::A, Side::B].map(|side| keys(world, side).unwrap())
}

/// The caller offers this; what the callee is offered.
fn reinvite(world: &mut World, ok: &Sent, cseq: u32, body: &str) -> Sent {
    world.receive(CALLER, &(from_caller("INVITE", cseq, ok, KIND) + body));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE")
}

/// And the callee accepts; the box's answer to the caller.
fn agreed(world: &mut World, ok: &Sent, cseq: u32, body: &str, key: &str) -> Sent {
    let across = reinvite(world, ok, cseq, body);
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&answer(&across, CM_80, key))));
    world.expect(CALLEE, "ACK");
    let answered = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", cseq, ok, ""));
    answered
}

#[test]
fn a_new_key_counts_when_it_is_accepted_and_the_box_keeps_its_own() {
    let (mut world, ok, _) = encrypted();
    let before = of_both(&world);
    let offer = secure(OFFER, &line(1, CM, NEW_KEY));
    let across = reinvite(&mut world, &ok, 2, &offer);
    assert_eq!(of_both(&world), before, "it is not accepted yet");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&answer(&across, CM_80, OTHER_KEY))));
    world.expect(CALLEE, "ACK");
    let answered = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    let after = of_both(&world);
    assert_eq!((after[0].inbound.key(), &after[0].outbound), (NEW, &before[0].outbound));
    assert_eq!(cryptos(&answered), cryptos(&ok), "what the caller is sent is encrypted as before");
    assert_eq!(after[1], before[1], "and the callee knows nothing of it");
    ends_by_the_caller(&mut world, &ok, 3);
    world.expect_replays();
}

#[test]
fn a_new_key_in_a_reinvite_that_is_refused_or_taken_back_changes_nothing() {
    let new = secure(OFFER, &line(1, CM, NEW_KEY)) + "a=sendonly\n";
    for is_taken_back in [false, true] {
        let (mut world, ok, out) = encrypted();
        let before = of_both(&world);
        let across = reinvite(&mut world, &ok, 2, &new);
        let refused = if is_taken_back {
            world.receive(CALLEE, &response(&across, "100 Trying", "", None));
            let reinvite = from_caller("INVITE", 2, &ok, "");
            let cancel = reinvite.replace("INVITE sip", "CANCEL sip").replace("2 INVITE", "2 CANCEL");
            world.receive(CALLER, &cancel);
            world.expect(CALLER, "SIP/2.0 200");
            let refused = world.expect(CALLER, "SIP/2.0 487");
            let cancel = world.expect(CALLEE, "CANCEL");
            world.receive(CALLEE, &response(&cancel, "200 OK", "", None));
            world.receive(CALLEE, &response(&across, "487 Request Terminated", "", None));
            world.expect(CALLEE, "ACK");
            refused
        } else {
            world.receive(CALLEE, &response(&across, "488 Not Acceptable Here", "", None));
            world.expect(CALLEE, "ACK");
            world.expect(CALLER, "SIP/2.0 488")
        };
        let ack = ack_failure("INVITE2", &refused).replace("CSeq: 1 ACK", "CSeq: 2 ACK");
        world.receive(CALLER, &ack);
        assert_eq!(of_both(&world), before);

        // The callee, which knows nothing of it, holds: the caller is offered the key that it was always spoken to with.
        let hold = answer(&out, CM_80, OTHER_KEY) + "a=sendonly\n";
        world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + &hold));
        world.expect(CALLEE, "SIP/2.0 100");
        let offered = world.expect(CALLER, "INVITE");
        let own = cryptos(&offered).into_iter().find(|crypto| crypto.suite == CM_80).unwrap();
        assert_eq!(own.key, before[0].outbound);
        let held = secure(OFFER, &line(own.tag, CM, KEY)) + "a=recvonly\n";
        world.receive(CALLER, &response(&offered, "200 OK", "", Some(&held)));
        world.expect(CALLER, "ACK");
        world.expect(CALLEE, "SIP/2.0 200");
        world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
        assert_eq!(of_both(&world), before, "and its own is the one of before");
        ends_by_the_caller(&mut world, &ok, 3);
        world.expect_replays();
    }
}

#[test]
fn hold_and_resume_of_a_plain_caller_offer_the_callee_its_keys_and_its_answers_may_change_its_own() {
    let mut world = world(MediaSecurity::None, MediaSecurity::Sdes);
    let (ok, out) = up(&mut world, OFFER, |out| answer(out, CM_80, KEY));
    let before = keys(&world, Side::B).unwrap();
    for (cseq, direction, key) in [(2, "sendonly", KEY), (3, "sendrecv", NEW_KEY), (4, "inactive", NEW_KEY)] {
        let across = reinvite(&mut world, &ok, cseq, &format!("{OFFER}a={direction}\n"));
        assert_eq!((proto(&across).as_str(), cryptos(&across)), ("RTP/SAVP", cryptos(&out)), "{direction}");
        world.receive(CALLEE, &response(&across, "200 OK", "", Some(&answer(&across, CM_80, key))));
        world.expect(CALLEE, "ACK");
        let answered = world.expect(CALLER, "SIP/2.0 200");
        assert_eq!((proto(&answered).as_str(), cryptos(&answered).len()), ("RTP/AVP", 0));
        world.receive(CALLER, &from_caller("ACK", cseq, &ok, ""));
        let now = keys(&world, Side::B).unwrap();
        assert_eq!(now.outbound, before.outbound);
        assert_eq!((now.inbound == before.inbound, now.inbound.key() == NEW), (key == KEY, key == NEW_KEY));
    }
    ends_by_the_caller(&mut world, &ok, 5);
    world.expect_replays();
}

#[test]
fn another_suite_has_a_key_of_its_own_and_the_first_one_comes_back_with_its() {
    let (mut world, ok, _) = encrypted();
    let before = of_both(&world);
    let gcm = secure(OFFER, &line(3, "AEAD_AES_256_GCM", LONG_KEY));
    let answered = agreed(&mut world, &ok, 2, &gcm, OTHER_KEY);
    let chosen = cryptos(&answered);
    assert_eq!((chosen.len(), chosen[0].tag, chosen[0].suite), (1, 3, SrtpSuite::AeadAes256Gcm));
    let between = of_both(&world);
    assert_eq!((between[0].suite, &between[0].outbound), (chosen[0].suite, &chosen[0].key));
    assert_ne!(between[0].outbound, before[0].outbound);
    assert_eq!(between[1], before[1]);
    agreed(&mut world, &ok, 3, &offer(), OTHER_KEY);
    assert_eq!(of_both(&world), before);
    ends_by_the_caller(&mut world, &ok, 4);
    world.expect_replays();
}

/// A side that encrypts may not go over to plain RTP, and the call goes on as it was.
#[test]
fn a_reinvite_without_a_key_where_one_must_be_is_refused_and_the_keys_stay() {
    let (mut world, ok, _) = encrypted();
    let before = of_both(&world);
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let refused = world.expect(CALLER, "SIP/2.0 488");
    world.receive(CALLER, &ack_failure("INVITE2", &refused).replace("CSeq: 1 ACK", "CSeq: 2 ACK"));
    let across = reinvite(&mut world, &ok, 3, &offer());
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let refused = world.expect(CALLER, "SIP/2.0 502");
    world.receive(CALLER, &ack_failure("INVITE3", &refused).replace("CSeq: 1 ACK", "CSeq: 3 ACK"));
    assert_eq!(of_both(&world), before, "an answer in the clear is no answer");
}

/// Who was offered to before numbers the lines of its own offer as it likes.
#[test]
fn a_callee_offers_lines_of_its_own() {
    let (mut world, ok, out) = encrypted();
    let before = of_both(&world);
    let hold = secure(ANSWER, &line(1, CM, NEW_KEY)) + "a=sendonly\n";
    assert_ne!(cryptos(&out)[0].suite, CM_80, "the first line of the box is another");
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + &hold));
    world.expect(CALLEE, "SIP/2.0 100");
    let across = world.expect(CALLER, "INVITE");
    let held = answer(&across, CM_80, KEY).replace(ANSWER.trim_end(), OFFER.trim_end());
    world.receive(CALLER, &response(&across, "200 OK", "", Some(&held)));
    world.expect(CALLER, "ACK");
    let answered = world.expect(CALLEE, "SIP/2.0 200");
    assert_eq!((cryptos(&answered).len(), cryptos(&answered)[0].tag), (1, 1));
    world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
    let after = of_both(&world);
    assert_eq!((after[1].inbound.key(), &after[1].outbound), (NEW, &before[1].outbound));
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}
