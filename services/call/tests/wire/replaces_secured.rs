//! An INVITE with Replaces where a side encrypts: no description has anything of another side's keys, and who comes is answered as
//! it has offered, or refused.

use call::Side;
use routing::{MediaSecurity, Source, Trunk};
use sip::Fingerprint;

use crate::crypto::{CM, KEY, OTHER_KEY, cryptos, keys, line, offer, proto, secure};
use crate::harness::*;
use crate::offerless::{offers, protection, secured, setups, up};
use crate::replaces::{DESK, from_desk, pickup};

/// Two trunks that the box encrypts nothing for, and a phone at a third one for which it does.
fn world(desk: MediaSecurity) -> World {
    let trunks = |trunks: &mut Vec<Trunk>| {
        let mut trunk = Trunk::new("desk");
        trunk.sources = vec![Source::parse("10.1.1.7").unwrap()];
        trunk.media_security = desk;
        trunks.push(trunk);
    };
    World::shaped(trunks, |settings| settings.fingerprint = Some(Fingerprint([9; 32])))
}

/// The phone's INVITE in the place of the caller, with this offer.
fn comes(world: &mut World, ok: &Sent, offer: &str) {
    world.receive(DESK, &pickup(ok, "").replace(OFFER, offer));
    world.expect(DESK, "SIP/2.0 100");
}

#[test]
fn who_comes_encrypted_is_decrypted_for_who_stays_in_plain() {
    for scheme in [MediaSecurity::Sdes, MediaSecurity::Dtls] {
        let mut world = world(scheme);
        let (ok, _) = call_up_in(&mut world);
        comes(&mut world, &ok, &offers(scheme, OFFER, KEY));
        let asked = world.expect(CALLEE, "INVITE");
        assert_eq!(proto(&asked), "RTP/AVP", "{scheme:?}");
        assert!(!asked.body().contains("crypto") && !asked.body().contains("fingerprint"), "{}", asked.text);
        world.receive(CALLEE, &response(&asked, "200 OK", "", Some(ANSWER)));
        world.expect(CALLEE, "ACK");
        let taken = world.expect(DESK, "SIP/2.0 200");
        match scheme {
            MediaSecurity::Sdes => {
                assert_eq!((proto(&taken).as_str(), cryptos(&taken).len()), ("RTP/SAVP", 1));
                let told = keys(&world, Side::A).unwrap();
                assert_eq!(told.outbound, cryptos(&taken)[0].key);
                assert_eq!(told.inbound.key(), b"1234567890123456");
            }
            _ => {
                assert_eq!((proto(&taken).as_str(), setups(&taken)), ("UDP/TLS/RTP/SAVP", vec!["passive"]));
                assert!(protection(&world, Side::A).is_some());
            }
        }
        assert_eq!(protection(&world, Side::B), None);
        let bye = world.expect(CALLER, "BYE");
        world.receive(CALLER, &response(&bye, "200 OK", "", None));
        world.receive(DESK, &from_desk("ACK", 1, &taken));
        world.expect_silence();
        world.expect_replays();
    }
}

#[test]
fn who_comes_with_keys_that_are_not_the_boxs_business_has_no_place_beside_a_side_whose_are() {
    let mut world = secured(Side::B, MediaSecurity::Sdes);
    let (ok, _) = up(&mut world, Side::B, MediaSecurity::Sdes);
    comes(&mut world, &ok, &offer());
    let refused = world.expect(DESK, "SIP/2.0 488");
    world.receive(DESK, &from_desk("ACK", 1, &refused).replace("bKACK1", "bKp1"));
    world.expect_silence();
    // In plain it is welcome.
    let again = pickup(&ok, "").replace("bKp1", "bKp2").replace("1 INVITE", "2 INVITE");
    world.receive(DESK, &again);
    world.expect(DESK, "SIP/2.0 100");
    let asked = world.expect(CALLEE, "INVITE");
    assert_eq!(proto(&asked), "RTP/SAVP");
}

#[test]
fn two_who_encrypt_for_themselves_do_so_still_when_nobody_comes_after_all() {
    let mut world = world(MediaSecurity::Sdes);
    world.receive(CALLER, &invite("1", Some(&offer())));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let own = secure(ANSWER, &line(1, CM, OTHER_KEY));
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&own)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    comes(&mut world, &ok, &offer());
    let asked = world.expect(CALLEE, "INVITE");
    assert_eq!(proto(&asked), "RTP/AVP");
    world.receive(CALLEE, &response(&asked, "488 Not Acceptable Here", "", None));
    world.expect(CALLEE, "ACK");
    world.expect(DESK, "SIP/2.0 488");
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &offer() + "a=sendonly\n"));
    world.expect(CALLER, "SIP/2.0 100");
    let held = world.expect(CALLEE, "INVITE");
    assert!(held.body().contains(line(1, CM, KEY).trim_end()), "{}", held.text);
}
