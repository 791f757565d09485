//! What the relay is told to let through: RTP and nothing else where the transport of an m= line is one of RTP's.

use call::{MediaOrder, Side};

use crate::harness::{
    ANSWER, CALLEE, CALLER, KIND, OFFER, World, ends_by_the_caller, from_caller, invite, response,
};

/// What was said last, by stream, of A and of B.
fn is_rtp(world: &World) -> Vec<[Option<bool>; 2]> {
    let mut said = Vec::new();
    for order in &world.orders {
        let MediaOrder::Describe { stream, side, remote, .. } = order else { continue };
        let stream = usize::from(*stream);
        if said.len() <= stream {
            said.resize(stream + 1, [None; 2]);
        }
        said[stream][usize::from(*side == Side::B)] = remote.map(|remote| remote.is_rtp);
    }
    said
}

#[test]
fn every_profile_of_rtp_is_rtp_and_a_fax_or_what_nobody_knows_is_not() {
    for (line, expected) in [
        ("audio 4000 RTP/AVP 0", true),
        ("audio 4000 RTP/AVPF 0", true),
        ("audio 4000 RTP/SAVP 0", true),
        ("video 4000 RTP/SAVPF 96", true),
        ("video 4000 UDP/TLS/RTP/SAVP 96", true),
        ("audio 4000 udp/tls/rtp/savpf 0", true),
        ("image 4000 udptl t38", false),
        ("image 4000 UDPTL t38", false),
        ("application 4000 UDP/DTLS/SCTP webrtc-datachannel", false),
        ("message 4000 TCP/MSRP *", false),
        ("audio 4000 udp 0", false),
    ] {
        let body =
            |of: &str| of.replace("audio 4000 RTP/AVP 0 101", line).replace("audio 5000 RTP/AVP 0", line);
        let mut world = World::new();
        world.receive(CALLER, &invite("1", Some(&body(OFFER))));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&body(ANSWER))));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        world.expect(CALLEE, "ACK");
        world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
        assert_eq!(is_rtp(&world), [[Some(expected); 2]], "m={line}");
        let is_audio = world.orders.iter().all(|order| match order {
            MediaOrder::Describe { remote: Some(remote), .. } => remote.is_audio,
            _ => true,
        });
        assert_eq!(is_audio, line.starts_with("audio"), "m={line}");
        ends_by_the_caller(&mut world, &ok, 2);
        world.expect_replays();
    }
}

#[test]
fn a_call_that_becomes_a_fax_in_the_same_stream_is_let_through_from_then_on() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    assert_eq!(is_rtp(&world), [[Some(true); 2]]);
    let fax = |body: &str| {
        body.replace("audio", "image").replace("RTP/AVP 0 101", "udptl t38").replace("RTP/AVP 0", "udptl t38")
    };
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &fax(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let reinvite = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&reinvite, "200 OK", "", Some(&fax(ANSWER))));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    assert_eq!(is_rtp(&world), [[Some(false); 2]]);
    ends_by_the_caller(&mut world, &ok, 3);
    world.expect_replays();
}
