//! Answers with more or fewer m= lines than their offers (RFC 3264 §6): what is not answered is rejected, and what was not
//! offered is not passed on.

use call::Side;
use routing::MediaSecurity;

use crate::crypto::cryptos;
use crate::harness::*;
use crate::offerless::{offers, secured, setups};

const VIDEO: &str = "m=video 4002 RTP/AVP 96\na=rtpmap:96 H264/90000\n";

fn two() -> String {
    format!("{OFFER}{VIDEO}")
}

/// The m= lines, without the words behind the protocol.
fn streams(sent: &Sent) -> Vec<String> {
    let lines = sent.body().lines().filter_map(|line| line.strip_prefix("m="));
    lines.map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn what_a_callee_does_not_answer_is_rejected_and_hold_works() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(&two())));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "183 Session Progress", "b1", Some(ANSWER)));
    let early = world.expect(CALLER, "SIP/2.0 183");
    assert_eq!(streams(&early), ["audio 30000 RTP/AVP", "video 0 RTP/AVP"]);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.body(), early.body());
    assert!(ok.body().ends_with("m=video 0 RTP/AVP 96\r\n"), "{}", ok.text);
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    for (cseq, direction) in [(2, "sendonly"), (3, "sendrecv")] {
        let offer = OFFER.to_owned() + &format!("a={direction}\n{VIDEO}");
        world.receive(CALLER, &(from_caller("INVITE", cseq, &ok, KIND) + &offer));
        world.expect(CALLER, "SIP/2.0 100");
        let across = world.expect(CALLEE, "INVITE");
        assert_eq!(streams(&across).len(), 2);
        world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
        world.expect(CALLEE, "ACK");
        let answered = world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(streams(&answered), streams(&ok));
        world.receive(CALLER, &from_caller("ACK", cseq, &ok, ""));
        world.expect_silence();
    }
    ends_by_the_caller(&mut world, &ok, 4);
    world.expect_replays();
}

#[test]
fn a_caller_that_encrypts_is_answered_in_the_protocol_of_its_offer() {
    for (policy, proto) in [(MediaSecurity::Sdes, "RTP/SAVP"), (MediaSecurity::Dtls, "UDP/TLS/RTP/SAVP")] {
        let mut world = secured(Side::A, policy);
        let own = |part: &str| offers(policy, part, crate::crypto::KEY);
        world.receive(CALLER, &invite("1", Some(&(own(OFFER) + &own(VIDEO)))));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        assert_eq!(streams(&out).len(), 2);
        world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(streams(&ok), [format!("audio 30000 {proto}"), format!("video 0 {proto}")]);
        let said = (cryptos(&ok).len(), setups(&ok).len());
        assert_eq!(said, if policy == MediaSecurity::Sdes { (1, 0) } else { (0, 1) }, "{}", ok.text);
        world.expect(CALLEE, "ACK");
        world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
        ends_by_the_caller(&mut world, &ok, 2);
        world.expect_replays();
    }
}

#[test]
fn what_a_caller_does_not_answer_in_its_ack_is_rejected() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let offer = format!("{ANSWER}{VIDEO}");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&offer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(streams(&ok).len(), 2);
    world.receive(CALLER, &(from_caller("ACK", 1, &ok, KIND) + OFFER));
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!(streams(&ack)[1], "video 0 RTP/AVP");
    // The same in a re-INVITE.
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&offer)));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &(from_caller("ACK", 2, &ok, KIND) + OFFER));
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!(streams(&ack)[1], "video 0 RTP/AVP");
    ends_by_the_caller(&mut world, &ok, 3);
    world.expect_replays();
}

#[test]
fn what_was_not_offered_is_not_passed_on() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let more = format!("{ANSWER}{VIDEO}");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&more)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(streams(&ok), ["audio 30000 RTP/AVP"]);
    assert!(!ok.body().contains("H264"), "{}", ok.text);
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    ends_by_the_caller(&mut world, &ok, 2);
    world.expect_replays();
}

/// Who stays in a transfer answers less than who comes has offered.
#[test]
fn what_who_stays_does_not_answer_is_rejected_to_who_comes() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(&two())));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    let pickup = crate::replaces::pickup(&ok, "").replace(OFFER, &two());
    world.receive(crate::replaces::DESK, &pickup);
    world.expect(crate::replaces::DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    assert_eq!(streams(&offer).len(), 2);
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let comes = world.expect(crate::replaces::DESK, "SIP/2.0 200");
    assert_eq!(streams(&comes)[1], "video 0 RTP/AVP");
}

/// A target of a transfer answers less than it was offered; who stays is offered as many streams as it had.
#[test]
fn what_a_target_does_not_answer_is_rejected_to_who_stays() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(&two())));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let answer = format!("{ANSWER}{}", VIDEO.replace("4002", "5002"));
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.receive(CALLER, &from_caller("REFER", 2, &ok, "Refer-To: <sip:777@192.0.2.1>\n"));
    world.expect(CALLER, "SIP/2.0 202");
    world.expect(CALLER, "NOTIFY");
    let target = world.expect(CALLEE, "INVITE sip:777@");
    world.receive(CALLEE, &response(&target, "200 OK", "c1", Some(ANSWER)));
    world.expect(CALLER, "NOTIFY");
    world.expect(CALLER, "BYE");
    world.expect(CALLEE, "ACK");
    let joined = world.expect(CALLEE, "INVITE");
    assert_eq!(streams(&joined).len(), 2, "{}", joined.text);
    assert_eq!(streams(&joined)[1], "video 0 RTP/AVP");
}
