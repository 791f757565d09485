//! Streams that are switched off and on where the box encrypts, and fax in the place of talk.

use call::Side;
use routing::MediaSecurity;

use crate::crypto::{CM, KEY, cryptos, line, proto, secure};
use crate::harness::*;
use crate::offerless::{answers, protection, secured, setups, tls, up};

const FAX: &str = "v=0\no=- 7 7 IN IP4 10.9.9.9\ns=-\nc=IN IP4 10.9.9.9\nt=0 0\nm=image 4100 udptl t38\n";
const FAX_ONLY: &str = "m=image 4100 udptl t38\n";
const VIDEO: &str = "m=video 4002 RTP/AVP 96\na=rtpmap:96 H264/90000\n";

/// Where a side speaks from, and its request in the call.
fn request(of: Side, method: &str, cseq: u32, (ok, out): (&Sent, &Sent), body: &str) -> String {
    let kind = if body.is_empty() { "" } else { KIND };
    let head = match of {
        Side::A => from_caller(method, cseq, ok, kind),
        Side::B => from_callee(method, cseq, out, kind),
    };
    head + body
}

fn place(of: Side) -> &'static str {
    if of == Side::A { CALLER } else { CALLEE }
}

/// The plain side offers this and the other accepts with what is answered to its offer: what the other was offered.
fn agreed(
    world: &mut World,
    by: Side,
    cseq: u32,
    dialogs: (&Sent, &Sent),
    body: &str,
    answer: impl Fn(&Sent) -> String,
) -> Sent {
    let (by_at, other_at) = (place(by), place(by.other()));
    world.receive(by_at, &request(by, "INVITE", cseq, dialogs, body));
    world.expect(by_at, "SIP/2.0 100");
    let across = world.expect(other_at, "INVITE");
    world.receive(other_at, &response(&across, "200 OK", "", Some(&answer(&across))));
    world.expect(other_at, "ACK");
    world.expect(by_at, "SIP/2.0 200");
    world.receive(by_at, &request(by, "ACK", cseq, dialogs, ""));
    across
}

/// The m= lines with all that follows them.
fn sections(sent: &Sent) -> Vec<&str> {
    sent.body().split("\r\nm=").skip(1).collect()
}

#[test]
fn a_stream_that_was_off_is_encrypted_when_it_comes_back() {
    for (policy, needle) in [(MediaSecurity::Sdes, "a=crypto:"), (MediaSecurity::Dtls, "a=fingerprint:")] {
        let mut world = secured(Side::B, policy);
        let two = format!("{OFFER}{VIDEO}");
        world.receive(CALLER, &invite("1", Some(&two)));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        let key = |of: &Sent, index: usize| {
            let line = sections(of)[index].lines().find(|line| line.contains(CM)).unwrap();
            line.split(':').nth(1).unwrap().split(' ').next().unwrap().parse::<u32>().unwrap()
        };
        let answer = |of: &Sent, video: &str| match policy {
            MediaSecurity::Sdes => {
                secure(ANSWER, &line(key(of, 0), CM, KEY))
                    + &secure(video, &line(if video.contains(" 0 ") { 1 } else { key(of, 1) }, CM, KEY))
            }
            _ => tls(ANSWER, "active") + &tls(video, "active"),
        };
        world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answer(&out, VIDEO))));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        world.expect(CALLEE, "ACK");
        world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
        let off = VIDEO.replace("4002", "0");
        let dialogs = (&ok, &out);
        agreed(&mut world, Side::A, 2, dialogs, &format!("{OFFER}{off}"), |of| answer(of, &off));
        let on = agreed(&mut world, Side::A, 3, dialogs, &two, |of| answer(of, VIDEO));
        let video = sections(&on)[1];
        assert!(video.starts_with("video 3") && video.contains(needle), "{policy:?}: {}", on.text);
        assert!(video.contains("RTP/SAVP"), "{policy:?}: {}", on.text);
        ends_by_the_caller(&mut world, &ok, 4);
        world.expect_replays();
    }
}

/// A phone that encrypts of its own accord is not offered plain talk after a fax.
#[test]
fn talk_after_a_fax_is_encrypted_as_it_was_before() {
    for scheme in [MediaSecurity::Sdes, MediaSecurity::Dtls] {
        let mut world = secured(Side::A, MediaSecurity::Optional);
        let (ok, out) = up(&mut world, Side::A, scheme);
        let dialogs = (&ok, &out);
        let fax = agreed(&mut world, Side::B, 2, dialogs, FAX, |_| FAX.replace("4100", "4200"));
        assert!(fax.body().contains("udptl t38"));
        assert_eq!(protection(&world, Side::A).map(|protection| protection.keying), None);
        let back = agreed(&mut world, Side::B, 3, dialogs, ANSWER, |of| answers(scheme, of, OFFER));
        match scheme {
            MediaSecurity::Sdes => assert_eq!((proto(&back).as_str(), cryptos(&back).len()), ("RTP/SAVP", 4)),
            _ => assert_eq!((proto(&back).as_str(), setups(&back)), ("UDP/TLS/RTP/SAVP", vec!["actpass"])),
        }
        assert!(protection(&world, Side::A).is_some());
        ends_by_the_caller(&mut world, &ok, 2);
        world.expect_replays();
    }
}

#[test]
fn a_fax_for_a_side_that_must_encrypt_is_refused_before_it_is_asked() {
    for (policy, scheme) in [
        (MediaSecurity::Sdes, MediaSecurity::Sdes),
        (MediaSecurity::Dtls, MediaSecurity::Dtls),
        (MediaSecurity::Required, MediaSecurity::Sdes),
    ] {
        for of in [Side::A, Side::B] {
            let mut world = secured(of, policy);
            let (ok, out) = up(&mut world, of, scheme);
            let by = of.other();
            for (cseq, fax) in [(2, FAX.to_owned()), (3, format!("{OFFER}{FAX_ONLY}").replace("4000", "0"))] {
                world.receive(place(by), &request(by, "INVITE", cseq, (&ok, &out), &fax));
                world.expect(place(by), "SIP/2.0 100");
                world.expect(place(by), "SIP/2.0 488");
                let ack = request(by, "ACK", cseq, (&ok, &out), "");
                world.receive(place(by), &ack.replacen(&format!("ACK{cseq}"), &format!("INVITE{cseq}"), 1));
                world.expect_silence();
            }
            ends_by_the_caller(&mut world, &ok, 4);
            world.expect_replays();
        }
    }
}

/// Beside talk it is only not offered: talk goes on.
#[test]
fn what_cannot_be_encrypted_beside_talk_is_offered_as_rejected() {
    for policy in [MediaSecurity::Sdes, MediaSecurity::Dtls] {
        let mut world = secured(Side::B, policy);
        world.receive(CALLER, &invite("1", Some(&format!("{OFFER}{FAX_ONLY}"))));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        assert!(out.body().contains("m=image 0 udptl t38\r\n"), "{}", out.text);
        let rejected = FAX_ONLY.replace("4100", "0");
        let answer = answers(policy, &out, ANSWER) + &rejected;
        world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answer)));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        assert!(ok.body().contains("m=image 0 udptl t38\r\n"), "{}", ok.text);
        world.expect(CALLEE, "ACK");
        world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
        ends_by_the_caller(&mut world, &ok, 2);
        world.expect_replays();
    }
}

#[test]
fn a_call_that_is_a_fax_is_not_placed_to_who_must_encrypt() {
    let mut world = secured(Side::B, MediaSecurity::Sdes);
    world.receive(CALLER, &invite("1", Some(FAX)));
    world.expect(CALLER, "SIP/2.0 100");
    let refused = world.expect(CALLER, "SIP/2.0 488");
    world.receive(CALLER, &ack_failure("1", &refused));
    world.expect_nothing_left();
}
