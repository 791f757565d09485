//! SDES (RFC 4568): each leg has keys of its own, and who may say what of encryption is its trunk's matter.

use call::journal::Stimulus;
use call::{Command, DtlsTerms, Input, Keying, MediaOrder, Output, Reply, Side, SrtpKeys};
use routing::{MediaSecurity, Trunk};
use sip::{Crypto, Fingerprint, Sdp, SrtpSuite};

use crate::harness::{
    ANSWER, CALLEE, CALLER, KIND, OFFER, Sent, World, ack_failure, ends_by_the_caller, from_callee,
    from_caller, invite, response,
};

pub const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw";
pub const OTHER_KEY: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNk";

/// The trunks of [`World::new`]: the caller's and the callee's.
pub fn world(caller: MediaSecurity, callee: MediaSecurity) -> World {
    World::shaped(
        |trunks: &mut Vec<Trunk>| {
            trunks[0].media_security = caller;
            trunks[1].media_security = callee;
        },
        |_| {},
    )
}

pub fn secure(body: &str, lines: &str) -> String {
    format!("{}{lines}", body.replace("RTP/AVP", "RTP/SAVP"))
}

pub fn line(tag: u32, suite: &str, key: &str) -> String {
    format!("a=crypto:{tag} {suite} inline:{key}\n")
}

pub const CM: &str = "AES_CM_128_HMAC_SHA1_80";

pub fn offer() -> String {
    secure(OFFER, &line(1, CM, KEY))
}

/// The answer to what the box offered, with its tag of this suite.
pub fn answer(out: &Sent, suite: SrtpSuite, key: &str) -> String {
    let tag = cryptos(out).iter().find(|crypto| crypto.suite == suite).map(|crypto| crypto.tag).unwrap();
    secure(ANSWER, &line(tag, suite.name(), key))
}

pub fn cryptos(sent: &Sent) -> Vec<Crypto> {
    Sdp::parse(sent.body().as_bytes()).unwrap().streams()[0].crypto().collect()
}

pub fn proto(sent: &Sent) -> String {
    let line = sent.body().lines().find(|line| line.starts_with("m=")).unwrap();
    line.split(' ').nth(2).unwrap().to_owned()
}

/// The keys that the relay was told last for a side.
pub fn keys(world: &World, of: Side) -> Option<SrtpKeys> {
    let told = |order: &MediaOrder| match order {
        MediaOrder::Describe { side, protection, .. } if *side == of => Some(protection.clone()),
        MediaOrder::Describe { .. }
        | MediaOrder::Open { .. }
        | MediaOrder::Reopen { .. }
        | MediaOrder::Listen { .. }
        | MediaOrder::Watch { .. }
        | MediaOrder::Count { .. }
        | MediaOrder::TakeDigits { .. }
        | MediaOrder::Transcode { .. }
        | MediaOrder::PlayDigit { .. }
        | MediaOrder::Record { .. }
        | MediaOrder::Close { .. } => None,
    };
    match world.orders.iter().rev().find_map(told)??.keying {
        Keying::Sdes(keys) => Some(keys),
        Keying::Plain | Keying::Dtls(_) => None,
    }
}

/// A call that is up: the box's 200 and INVITE.
pub fn up(world: &mut World, offer: &str, answer: impl Fn(&Sent) -> String) -> (Sent, Sent) {
    world.receive(CALLER, &invite("1", Some(offer)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answer(&out))));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    (ok, out)
}

#[test]
fn a_plain_caller_and_a_callee_with_sdes() {
    let mut world = world(MediaSecurity::None, MediaSecurity::Sdes);
    let (ok, out) = up(&mut world, OFFER, |out| answer(out, SrtpSuite::AesCm128Sha1_80, KEY));
    assert_eq!(proto(&out), "RTP/SAVP");
    let offered = cryptos(&out);
    assert_eq!(offered.iter().map(|crypto| crypto.suite).collect::<Vec<_>>(), SrtpSuite::ALL);
    assert!(offered.iter().all(|crypto| offered.iter().filter(|other| other.key == crypto.key).count() == 1));
    assert_eq!((proto(&ok).as_str(), ok.body().contains("crypto")), ("RTP/AVP", false));

    let keys_of_b = keys(&world, Side::B).unwrap();
    let own = offered.iter().find(|crypto| crypto.suite == SrtpSuite::AesCm128Sha1_80).unwrap();
    assert_eq!((keys_of_b.suite, &keys_of_b.outbound), (own.suite, &own.key));
    assert_eq!(keys_of_b.inbound.key(), b"1234567890123456");
    assert_eq!(keys(&world, Side::A), None);
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}

#[test]
fn two_sides_with_sdes_have_nothing_of_each_others_keys() {
    let mut world = world(MediaSecurity::Required, MediaSecurity::Sdes);
    let lines = line(4, "F8_128_HMAC_SHA1_80", KEY) + &line(7, CM, KEY) + &line(8, "AEAD_AES_128_GCM", KEY);
    let (ok, out) =
        up(&mut world, &secure(OFFER, &lines), |out| answer(out, SrtpSuite::AeadAes256Gcm, &"A".repeat(59)));
    let answered = cryptos(&ok);
    assert_eq!(answered.len(), 1, "one line is chosen:\n{}", ok.text);
    assert_eq!(
        (answered[0].tag, answered[0].suite),
        (7, SrtpSuite::AesCm128Sha1_80),
        "the first that is usable"
    );
    assert!(!ok.text.contains(KEY) && !out.text.contains(KEY));
    let (a, b) = (keys(&world, Side::A).unwrap(), keys(&world, Side::B).unwrap());
    assert_eq!((a.suite, b.suite), (SrtpSuite::AesCm128Sha1_80, SrtpSuite::AeadAes256Gcm));
    assert_eq!(a.outbound, answered[0].key);
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}

#[test]
fn crypto_lines_of_two_sides_that_the_box_does_not_encrypt_pass() {
    let mut world = World::new();
    let (ok, out) = up(&mut world, &offer(), |_| secure(ANSWER, &line(1, CM, OTHER_KEY)));
    assert!(out.body().contains(line(1, CM, KEY).trim_end()), "{}", out.text);
    assert!(ok.body().contains(line(1, CM, OTHER_KEY).trim_end()), "{}", ok.text);
    assert_eq!((keys(&world, Side::A), keys(&world, Side::B)), (None, None));
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}

#[test]
fn optional_is_what_the_peer_makes_of_it() {
    for encrypted in [false, true] {
        let mut world = world(MediaSecurity::Optional, MediaSecurity::Optional);
        let body = if encrypted { offer() } else { OFFER.to_owned() };
        let (ok, out) = up(&mut world, &body, |out| {
            let answer = answer(out, SrtpSuite::AesCm128Sha1_80, KEY).replace("SAVP", "AVP");
            if encrypted { answer } else { ANSWER.to_owned() }
        });
        assert_eq!(proto(&out), "RTP/AVP", "RFC 8643: who knows no crypto line sees plain RTP");
        assert_eq!(cryptos(&out).len(), 4);
        assert_eq!(proto(&ok), if encrypted { "RTP/SAVP" } else { "RTP/AVP" }, "as it was offered");
        assert_eq!(cryptos(&ok).len(), usize::from(encrypted));
        let has_keys = [Side::A, Side::B].map(|side| keys(&world, side).is_some());
        assert_eq!(has_keys, [encrypted; 2]);
        ends_by_the_caller(&mut world, &ok, 2);
        world.expect_replays();
    }
}

#[test]
fn what_a_trunk_does_not_allow_gets_488_with_the_reason() {
    let unusable = secure(OFFER, &line(1, "F8_128_HMAC_SHA1_80", KEY));
    for (policy, body, expected) in [
        (MediaSecurity::Required, OFFER, "encrypted media with a usable key"),
        (MediaSecurity::Sdes, OFFER, "media encrypted with SDES"),
        (MediaSecurity::Dtls, &offer(), "media encrypted with DTLS"),
        (MediaSecurity::Optional, &unusable, "plain media or a usable key"),
        (MediaSecurity::Required, &unusable, "encrypted media with a usable key"),
    ] {
        let mut world = world(policy, MediaSecurity::None);
        world.receive(CALLER, &invite("1", Some(body)));
        let refused = world.expect(CALLER, "SIP/2.0 488");
        assert!(refused.header("Warning").contains(expected), "{policy:?}: {}", refused.text);
        world.expect_silence();
    }
}

#[test]
fn a_caller_whose_keys_are_not_the_boxs_business_does_not_reach_a_callee_whose_are() {
    let mut world = world(MediaSecurity::None, MediaSecurity::Sdes);
    world.receive(CALLER, &invite("1", Some(&offer())));
    world.expect(CALLER, "SIP/2.0 100");
    let refused = world.expect(CALLER, "SIP/2.0 488");
    world.receive(CALLER, &ack_failure("1", &refused));
    world.expect_nothing_left();
}

#[test]
fn an_answer_without_the_key_that_was_asked_for_ends_the_call() {
    for wrong in [ANSWER.to_owned(), secure(ANSWER, &line(9, CM, KEY)), secure(ANSWER, &line(1, CM, KEY))] {
        let mut world = world(MediaSecurity::None, MediaSecurity::Required);
        world.receive(CALLER, &invite("1", Some(OFFER)));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&wrong)));
        let refused = world.expect(CALLER, "SIP/2.0 502");
        world.expect(CALLEE, "ACK");
        let bye = world.expect(CALLEE, "BYE");
        world.receive(CALLEE, &response(&bye, "200 OK", "", None));
        world.receive(CALLER, &ack_failure("1", &refused));
        world.expect_nothing_left();
    }
}

/// Hold and resume, from both sides: the keys stay, so that what protects goes on.
#[test]
fn a_reinvite_keeps_the_keys_and_a_new_one_is_taken() {
    let mut world = world(MediaSecurity::Sdes, MediaSecurity::Sdes);
    let (ok, out) = up(&mut world, &offer(), |out| answer(out, SrtpSuite::AesCm128Sha1_80, OTHER_KEY));
    let before = [Side::A, Side::B].map(|side| keys(&world, side).unwrap());

    let hold = offer() + "a=sendonly\n";
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &hold));
    world.expect(CALLER, "SIP/2.0 100");
    let reinvite = world.expect(CALLEE, "INVITE");
    assert_eq!(
        (proto(&reinvite).as_str(), cryptos(&reinvite)),
        ("RTP/SAVP", cryptos(&out)),
        "the same lines"
    );
    let held = answer(&reinvite, SrtpSuite::AesCm128Sha1_80, OTHER_KEY) + "a=recvonly\n";
    world.receive(CALLEE, &response(&reinvite, "200 OK", "", Some(&held)));
    world.expect(CALLEE, "ACK");
    let held = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(cryptos(&held), cryptos(&ok));
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    assert_eq!([Side::A, Side::B].map(|side| keys(&world, side).unwrap()), before);

    let resume = answer(&out, SrtpSuite::AesCm128Sha1_80, KEY);
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + &resume));
    world.expect(CALLEE, "SIP/2.0 100");
    let reinvite = world.expect(CALLER, "INVITE");
    let offered = cryptos(&reinvite);
    let own = offered.iter().find(|crypto| crypto.suite == SrtpSuite::AesCm128Sha1_80).unwrap();
    assert_eq!(own.key, cryptos(&ok)[0].key, "its key did not change with the turn");
    let body = secure(OFFER, &line(own.tag, CM, KEY));
    world.receive(CALLER, &response(&reinvite, "200 OK", "", Some(&body)));
    world.expect(CALLER, "ACK");
    let resumed = world.expect(CALLEE, "SIP/2.0 200");
    assert_eq!(cryptos(&resumed)[0].key, before[1].outbound);
    world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
    let after = [Side::A, Side::B].map(|side| keys(&world, side).unwrap());
    assert_eq!(after[0], before[0]);
    assert_eq!((after[1].inbound.key(), &after[1].outbound), (&b"1234567890123456"[..], &before[1].outbound));
    world.expect_replays();
}

/// Every message that came, as the journal has it, and every one that a replay sends.
fn messages(world: &mut World) -> String {
    world.core.handle(Input::Command { id: 0, command: Command::Journal(world.begun[0]) }, world.now);
    let Some(Output::Reply { reply: Reply::Journal(Some(journal)), .. }) = world.core.poll_output() else {
        panic!("no journal");
    };
    let mut text = format!("{:?}", world.orders);
    journal
        .replay(|step, outputs| {
            if let Stimulus::Message { bytes, .. } = &step.stimulus {
                text.push_str(&String::from_utf8_lossy(bytes));
            }
            for output in outputs {
                if let Output::Send { bytes, .. } = output {
                    text.push_str(&String::from_utf8_lossy(bytes));
                }
            }
        })
        .unwrap();
    text
}

#[test]
fn no_journal_has_a_key() {
    let mut world = world(MediaSecurity::Sdes, MediaSecurity::Sdes);
    let (ok, out) = up(&mut world, &offer(), |out| answer(out, SrtpSuite::AesCm128Sha1_80, OTHER_KEY));
    let mut seen = String::new();
    for sent in [&ok, &out] {
        for crypto in cryptos(sent) {
            let mut text = String::new();
            crypto.write(&mut text);
            seen.push_str(text.split("inline:").nth(1).unwrap());
            seen.push(' ');
        }
    }
    let journal = messages(&mut world);
    for key in seen.split_whitespace().chain([KEY, OTHER_KEY]) {
        assert!(!journal.contains(key), "{key} is in the journal");
    }
    assert!(journal.contains("inline:AAAA"));
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}

/// Who answers without `a=rtcp-mux` sends control where the offer says (RFC 5761 §5.1.3).
#[test]
fn an_offer_of_dtls_has_a_port_for_control_in_case_it_is_not_muxed() {
    let mut world = World::shaped(
        |trunks: &mut Vec<Trunk>| trunks[1].media_security = MediaSecurity::Dtls,
        |settings| settings.fingerprint = Some(Fingerprint([9; 32])),
    );
    let answer = format!(
        "v=0\no=- 5 5 IN IP4 192.0.2.30\ns=-\nc=IN IP4 192.0.2.30\nt=0 0\nm=audio 5000 UDP/TLS/RTP/SAVP 0\n\
         a=fingerprint:{}\na=setup:active\n",
        Fingerprint([7; 32]).write(),
    );
    let (ok, out) = up(&mut world, OFFER, |_| answer.clone());
    let lines = |start: &str| out.body().lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((lines("a=rtcp-mux"), lines("a=rtcp:"), lines("a=candidate:")), (1, 0, 2), "{}", out.text);
    let remote = world.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Describe { side: Side::B, remote, .. } => *remote,
        _ => None,
    });
    assert_eq!(remote.unwrap().rtcp.port(), 5001);
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}

/// What a page in a browser offers.
fn page(setup: &str) -> String {
    format!(
        "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\n\
         c=IN IP4 0.0.0.0\na=ice-ufrag:abcd\na=ice-pwd:{}\na=fingerprint:{}\na=setup:{setup}\na=mid:0\n\
         a=rtcp-mux\n",
        "p".repeat(24),
        Fingerprint([7; 32]).write(),
    )
}

#[test]
fn a_page_that_does_dtls_and_ice_hears_a_plain_callee() {
    let mut world = World::shaped(
        |trunks: &mut Vec<Trunk>| trunks[0].media_security = MediaSecurity::Required,
        |settings| settings.fingerprint = Some(Fingerprint([9; 32])),
    );
    let (ok, out) = up(&mut world, &page("actpass"), |_| ANSWER.to_owned());
    assert_eq!(proto(&out), "RTP/AVPF");
    for gone in ["fingerprint", "setup", "ice", "BUNDLE", "rtcp-mux"] {
        assert!(!out.body().contains(gone), "{gone} in\n{}", out.text);
    }
    assert_eq!(proto(&ok), "UDP/TLS/RTP/SAVPF");
    let fingerprint = format!("a=fingerprint:{}", Fingerprint([9; 32]).write());
    for line in [&fingerprint, "a=setup:passive", "a=ice-lite", "a=mid:0", "a=group:BUNDLE 0", "a=rtcp-mux"] {
        assert!(ok.body().lines().any(|of| of == line), "no {line} in\n{}", ok.text);
    }
    let candidates = ok.body().lines().filter(|line| line.starts_with("a=candidate:"));
    assert_eq!(candidates.count(), 1, "its one address, for RTP and RTCP");
    assert!(!out.body().contains("0.0.0.0"), "to know no address yet is no hold:\n{}", out.text);
    let protection = world.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Describe { side: Side::A, protection, .. } => protection.clone(),
        _ => None,
    });
    let protection = protection.unwrap();
    assert_eq!(
        protection.keying,
        Keying::Dtls(DtlsTerms { fingerprint: Fingerprint([7; 32]), active: false })
    );
    assert!(protection.ice.unwrap().user.ends_with(":abcd"));
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}

/// The name under which the box is checked.
fn ufrag(sent: &Sent) -> &str {
    sent.body().lines().find(|line| line.starts_with("a=ice-ufrag:")).unwrap()
}

#[test]
fn a_page_that_begins_its_checks_anew_is_answered_with_another_name() {
    let mut world = World::shaped(
        |trunks: &mut Vec<Trunk>| trunks[0].media_security = MediaSecurity::Required,
        |settings| settings.fingerprint = Some(Fingerprint([9; 32])),
    );
    let (ok, _) = up(&mut world, &page("actpass"), |_| ANSWER.to_owned());
    let mut last = ok.clone();
    for (cseq, user, is_restart) in [(2, "abcd", false), (3, "efgh", true), (4, "efgh", false)] {
        let again = page("actpass").replace("abcd", user).replace("o=- 1 1", &format!("o=- 1 {cseq}"));
        world.receive(CALLER, &(from_caller("INVITE", cseq, &ok, KIND) + &again));
        world.expect(CALLER, "SIP/2.0 100");
        let reinvite = world.expect(CALLEE, "INVITE");
        world.receive(CALLEE, &response(&reinvite, "200 OK", "", Some(ANSWER)));
        world.expect(CALLEE, "ACK");
        let answer = world.expect(CALLER, "SIP/2.0 200");
        world.receive(CALLER, &from_caller("ACK", cseq, &ok, ""));
        assert_eq!(ufrag(&answer) != ufrag(&last), is_restart, "{cseq}");
        let ice = world.orders.iter().rev().find_map(|order| match order {
            MediaOrder::Describe { side: Side::A, protection, .. } => protection.clone()?.ice,
            _ => None,
        });
        let expected = format!("{}:{user}", ufrag(&answer).trim_start_matches("a=ice-ufrag:"));
        assert_eq!(&*ice.unwrap().user, expected);
        last = answer;
    }
    ends_by_the_caller(&mut world, &ok, 5);
    world.expect_replays();
}

/// Another device may answer than the one that was heard before (RFC 3261 §13.2.2.4).
#[test]
fn control_comes_with_media_when_the_last_answer_says_so() {
    let mut world = World::shaped(
        |trunks: &mut Vec<Trunk>| trunks[1].media_security = MediaSecurity::Dtls,
        |settings| settings.fingerprint = Some(Fingerprint([9; 32])),
    );
    let answer = format!(
        "v=0\no=- 5 5 IN IP4 192.0.2.30\ns=-\nc=IN IP4 192.0.2.30\nt=0 0\na=ice-lite\n\
         m=audio 5000 UDP/TLS/RTP/SAVP 0\na=fingerprint:{}\na=setup:active\na=ice-ufrag:abcd\na=ice-pwd:{}\n",
        Fingerprint([7; 32]).write(),
        "p".repeat(24),
    );
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "183 Session Progress", "b1", Some(&answer)));
    world.expect(CALLER, "SIP/2.0 183");
    let control = |world: &World| {
        world.orders.iter().rev().find_map(|order| match order {
            MediaOrder::Describe { side: Side::B, remote: Some(remote), protection, .. } => {
                let is_lite = protection.as_ref()?.ice.as_ref()?.is_lite;
                Some((remote.rtcp.port(), is_lite))
            }
            _ => None,
        })
    };
    assert_eq!(control(&world), Some((5001, true)));
    let muxed = answer + "a=rtcp-mux\n";
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&muxed)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    assert_eq!(control(&world), Some((5000, true)));
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}
