//! What the relay is told of addresses that a description gives in other ways than as `c=IN IP4 192.0.2.1`.

use call::{MediaOrder, RemoteStream, Side};

use crate::harness::{ANSWER, CALLEE, CALLER, KIND, OFFER, World, call_up_in, from_caller, invite, response};

/// Where the relay was told last that the caller is.
fn caller(world: &World) -> Option<RemoteStream> {
    world.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Describe { side: Side::A, remote, .. } => Some(*remote),
        _ => None,
    })?
}

/// A call of somebody who describes itself so.
fn described(from: &str, to: &str) -> Option<RemoteStream> {
    let mut world = World::new();
    let offer = OFFER.replace(from, to);
    assert_ne!(offer, OFFER);
    world.receive(CALLER, &invite("1", Some(&offer)));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE");
    caller(&world)
}

#[test]
fn a_port_for_control_that_cannot_be_known_does_not_silence_the_stream() {
    let named =
        described("RTP/AVP 0 101\n", "RTP/AVP 0 101\na=rtcp:4009 IN IP4 control.example.com\n").unwrap();
    assert_eq!((named.rtp, named.rtcp), ("10.1.1.1:4000".parse().unwrap(), "10.1.1.1:0".parse().unwrap()));
    let last = described("m=audio 4000", "m=audio 65535").unwrap();
    assert_eq!((last.rtp, last.rtcp), ("10.1.1.1:65535".parse().unwrap(), "10.1.1.1:0".parse().unwrap()));
}

#[test]
fn who_gives_its_address_as_a_name_is_where_its_signalling_comes_from() {
    let named = described("c=IN IP4 10.1.1.1", "c=IN IP4 phone.example.com").unwrap();
    assert_eq!((named.rtp, named.rtcp), ("10.1.1.1:4000".parse().unwrap(), "10.1.1.1:4001".parse().unwrap()));
    assert!(named.sends && named.receives);
}

#[test]
fn a_name_that_nobody_has_is_hold() {
    let mut world = World::new();
    let (ok, _) = call_up_in(&mut world);
    let before = caller(&world);
    for (cseq, to) in [(2, "c=IN IP4 hold.invalid"), (3, "c=IN IP4 10.1.1.1")] {
        let again = OFFER.replace("c=IN IP4 10.1.1.1", to).replace("alice 1 1", &format!("alice 1 {cseq}"));
        world.receive(CALLER, &from_caller("INVITE", cseq, &ok, &format!("{KIND}{again}")));
        world.expect(CALLER, "SIP/2.0 100");
        let reinvite = world.expect(CALLEE, "INVITE");
        assert_eq!(reinvite.body().contains("c=IN IP4 hold.invalid"), cseq == 2, "{}", reinvite.text);
        world.receive(CALLEE, &response(&reinvite, "200 OK", "", Some(ANSWER)));
        world.expect(CALLEE, "ACK");
        world.expect(CALLER, "SIP/2.0 200");
        world.receive(CALLER, &from_caller("ACK", cseq, &ok, ""));
        let now = caller(&world).expect("it is still known, so that what latching found is kept");
        assert_eq!(now.rtp.ip().is_unspecified(), cseq == 2);
    }
    assert_eq!(caller(&world), before);
}
