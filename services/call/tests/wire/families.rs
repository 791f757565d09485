//! Media addresses of both families: each leg is told of the relay in the family of its side, whatever the other one speaks.

use call::{Families, Flow, ListenerId, MediaOrder, Settings, Side};
use routing::{MediaFamily, Trunk};

use crate::harness::{
    ANSWER, BOX_6, CALLEE, CALLER, KIND, OFFER, Sent, World, call_up_in, from_callee, from_caller, invite,
    response,
};

const CALLER_6: &str = "[2001:db8:a::1]:5060";
const CALLEE_6: &str = "[2001:db8:b::1]:5060";
/// The listener of IPv6.
const SIX: ListenerId = ListenerId(3);

const OFFER_6: &str = "v=0
o=alice 1 1 IN IP6 2001:db8:a::1
s=-
c=IN IP6 2001:db8:a::1
t=0 0
m=audio 4000 RTP/AVP 0
a=rtcp:4001 IN IP6 2001:db8:a::1
";

const ANSWER_6: &str = "v=0
o=bob 9 9 IN IP6 2001:db8:b::1
s=-
c=IN IP6 2001:db8:b::1
t=0 0
m=audio 5000 RTP/AVP 0
";

const ONLY_4: Families = Families { v4: true, v6: false };

fn usual(_: &mut Settings) {}

fn untouched(_: &mut Vec<Trunk>) {}

/// What of a description says where media goes and who wrote it: `o4 c6` and the like, in order; `held` for no address.
#[track_caller]
fn families(sent: &Sent) -> String {
    let of = |line: &str| {
        let (kind, rest) = line.split_once('=')?;
        let (_, rest) = rest.split_once("IN IP").filter(|_| matches!(kind, "o" | "c" | "a"))?;
        let (digit, address) = rest.split_once(' ')?;
        let whose = match (digit, address) {
            ("4", "192.0.2.1") | ("6", BOX_6) => "",
            ("4", "0.0.0.0") | ("6", "::") => "held",
            _ => panic!("not of the box: {line}"),
        };
        Some(format!("{kind}{digit}{whose}"))
    };
    sent.body().lines().filter_map(of).collect::<Vec<_>>().join(" ")
}

/// The orders by which the relay is told of families.
fn orders(world: &World) -> Vec<String> {
    let told = |order: &MediaOrder| match order {
        MediaOrder::Open { families, .. } => Some(format!("open {families:?}")),
        MediaOrder::Listen { side, family, .. } => Some(format!("listen {side:?} {family:?}")),
        MediaOrder::Reopen { .. }
        | MediaOrder::Describe { .. }
        | MediaOrder::Watch { .. }
        | MediaOrder::Count { .. }
        | MediaOrder::TakeDigits { .. }
        | MediaOrder::Transcode { .. }
        | MediaOrder::PlayDigit { .. }
        | MediaOrder::Record { .. }
        | MediaOrder::Close { .. } => None,
    };
    world.orders.iter().filter_map(told).collect()
}

fn invite_6(body: Option<&str>) -> String {
    invite("six", body).replace(CALLER, CALLER_6)
}

fn receive_6(world: &mut World, from: &str, text: &str) {
    world.receive_on(Flow { listener: SIX, remote: from.parse().unwrap(), connection: 0 }, text);
}

/// A call from IPv6 to IPv4 that is up: the box's 200 and INVITE.
fn up_from_6(world: &mut World) -> (Sent, Sent) {
    receive_6(world, CALLER_6, &invite_6(Some(OFFER_6)));
    world.expect(CALLER_6, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER_6, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    receive_6(world, CALLER_6, &from_caller("ACK", 1, &ok, "").replace(CALLER, CALLER_6));
    (ok, out)
}

fn ends_from_6(world: &mut World, ok: &Sent, cseq: u32) {
    receive_6(world, CALLER_6, &from_caller("BYE", cseq, ok, "").replace(CALLER, CALLER_6));
    world.expect(CALLER_6, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn an_ipv4_call_tells_the_relay_nothing_of_families() {
    let mut world = World::new();
    let (ok, out) = call_up_in(&mut world);
    assert_eq!((families(&out).as_str(), families(&ok).as_str()), ("o4 c4", "o4 c4"));
    assert_eq!(orders(&world), ["open [V4, V4]"]);
}

#[test]
fn an_ipv6_caller_is_answered_in_ipv6_and_its_ipv4_callee_offered_ipv4() {
    let mut world = World::dual(CALLEE, untouched, usual);
    let (ok, out) = up_from_6(&mut world);
    assert_eq!(families(&out), "o4 c4 a4", "a=rtcp as well");
    assert_eq!(families(&ok), "o6 c6");
    assert_eq!(orders(&world), ["open [V6, V4]"], "known from the beginning: no more ports than ever");
    ends_from_6(&mut world, &ok, 2);
}

#[test]
fn an_ipv4_caller_reaches_an_ipv6_callee_and_each_sees_its_own_family() {
    let mut world = World::dual(CALLEE_6, untouched, usual);
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE_6, "INVITE");
    assert_eq!(families(&out), "o6 c6");
    receive_6(&mut world, CALLEE_6, &response(&out, "183 Progress", "b1", Some(ANSWER_6)));
    assert_eq!(families(&world.expect(CALLER, "SIP/2.0 183")), "o4 c4", "early media too");
    receive_6(&mut world, CALLEE_6, &response(&out, "200 OK", "b1", Some(ANSWER_6)));
    assert_eq!(families(&world.expect(CALLER, "SIP/2.0 200")), "o4 c4");
    assert_eq!(orders(&world), ["open [V4, V6]"]);
}

#[test]
fn who_offers_nothing_is_offered_the_family_of_its_signalling() {
    let mut world = World::dual(CALLEE, untouched, usual);
    receive_6(&mut world, CALLER_6, &invite_6(None));
    world.expect(CALLER_6, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER_6, "SIP/2.0 200");
    assert_eq!(families(&ok), "o6 c6");
    let answer = format!("{KIND}{OFFER_6}");
    receive_6(&mut world, CALLER_6, &from_caller("ACK", 1, &ok, &answer).replace(CALLER, CALLER_6));
    assert_eq!(families(&world.expect(CALLEE, "ACK")), "o4 c4 a4");
}

#[test]
fn an_offer_in_the_other_family_than_its_signalling_is_answered_where_its_author_can_send() {
    let mut world = World::dual(CALLEE, untouched, usual);
    receive_6(&mut world, CALLER_6, &invite_6(Some(OFFER)));
    world.expect(CALLER_6, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    assert_eq!(families(&world.expect(CALLER_6, "SIP/2.0 200")), "o4 c4");
    assert_eq!(orders(&world), ["open [V4, V4]"]);
}

#[test]
fn a_callee_that_answers_in_the_other_family_is_relayed_to_in_both_and_offered_its_own_from_then_on() {
    let mut world = World::new();
    let (out, _) = crate::harness::call_ringing(&mut world);
    assert_eq!(families(&out), "o4 c4");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER_6)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(families(&ok), "o4 c4");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    assert_eq!(orders(&world), ["open [V4, V4]", "listen B V6"]);
    let hold = OFFER.replace("1 1 IN", "1 2 IN") + "a=sendonly\n";
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{hold}")));
    world.expect(CALLER, "SIP/2.0 100");
    assert_eq!(families(&world.expect(CALLEE, "INVITE")), "o6 c6");
    assert_eq!(orders(&world).len(), 2, "the relay knows of both families already");
}

#[test]
fn a_peer_that_moves_to_the_other_family_by_reinvite_is_answered_there_and_the_other_side_hears_no_difference()
 {
    let mut world = World::new();
    let (ok, out) = call_up_in(&mut world);
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{OFFER_6}")));
    world.expect(CALLER, "SIP/2.0 100");
    let again = world.expect(CALLEE, "INVITE");
    assert_eq!(families(&again), "o4 c4 a4");
    world.receive(CALLEE, &response(&again, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let moved = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(families(&moved), "o6 c6");
    assert!(moved.body().contains(" 2 IN IP6 "), "the version rises: {}", moved.body());
    assert_eq!(orders(&world), ["open [V4, V4]", "listen A V6"]);
    // It is offered what it described last.
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    let update = ANSWER.replace("9 9 IN", "9 10 IN");
    world.receive(CALLEE, &from_callee("INVITE", 2, &out, &format!("{KIND}{update}")));
    world.expect(CALLEE, "SIP/2.0 100");
    assert_eq!(families(&world.expect(CALLER, "INVITE")), "o6 c6");
}

#[test]
fn a_refused_move_leaves_the_family_as_it_was() {
    let mut world = World::new();
    let (ok, out) = call_up_in(&mut world);
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{OFFER_6}")));
    world.expect(CALLER, "SIP/2.0 100");
    let again = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&again, "488 Not Acceptable Here", "b1", None));
    world.sent.clear();
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    let update = ANSWER.replace("9 9 IN", "9 10 IN");
    world.receive(CALLEE, &from_callee("INVITE", 2, &out, &format!("{KIND}{update}")));
    world.expect(CALLEE, "SIP/2.0 100");
    assert_eq!(families(&world.expect(CALLER, "INVITE")), "o4 c4");
    assert_eq!(orders(&world), ["open [V4, V4]"]);
}

/// `c=IN IP4 0.0.0.0` of a phone that is otherwise IPv6, and `c=IN IP6 ::`: neither moves anybody.
#[test]
fn a_hold_address_of_either_family_is_a_hold_on_the_other_side_and_moves_nobody() {
    for held in ["c=IN IP4 0.0.0.0", "c=IN IP6 ::"] {
        let mut world = World::dual(CALLEE, untouched, usual);
        let (ok, _) = up_from_6(&mut world);
        let hold = OFFER_6.replace("c=IN IP6 2001:db8:a::1", held);
        let hold = from_caller("INVITE", 2, &ok, &format!("{KIND}{hold}")).replace(CALLER, CALLER_6);
        receive_6(&mut world, CALLER_6, &hold);
        world.expect(CALLER_6, "SIP/2.0 100");
        let again = world.expect(CALLEE, "INVITE");
        assert_eq!(families(&again), "o4 c4held a4", "{held}");
        world.receive(CALLEE, &response(&again, "200 OK", "b1", Some(ANSWER)));
        world.expect(CALLEE, "ACK");
        assert_eq!(families(&world.expect(CALLER_6, "SIP/2.0 200")), "o6 c6", "{held}");
        let last = world.orders.iter().rev().find_map(|order| match order {
            MediaOrder::Describe { side: Side::A, remote, .. } => *remote,
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
        });
        assert!(last.unwrap().rtp.ip().is_unspecified(), "{held}: nothing is sent there");
        assert_eq!(orders(&world), ["open [V6, V4]"], "{held}");
    }
}

#[test]
fn every_connection_line_is_written_in_the_family_of_the_side() {
    let mut world = World::dual(CALLEE_6, untouched, usual);
    let two = "v=0
o=alice 1 1 IN IP4 10.1.1.1
s=-
t=0 0
m=audio 4000 RTP/AVP 0
c=IN IP4 10.1.1.1
a=rtcp:4100 IN IP4 10.1.1.9
m=video 4002 RTP/AVP 96
c=IN IP4 10.1.1.2
a=rtpmap:96 H264/90000
m=image 0 udptl t38
c=IN IP4 10.1.1.3
";
    world.receive(CALLER, &invite("1", Some(two)));
    world.expect(CALLER, "SIP/2.0 100");
    assert_eq!(families(&world.expect(CALLEE_6, "INVITE")), "o6 c6 a6 c6 c6");
}

#[test]
fn a_trunk_says_in_which_family_its_peers_are_told_and_what_they_may_offer() {
    let six = |trunks: &mut Vec<Trunk>| trunks[1].media_family = MediaFamily::Ipv6;
    let mut world = World::dual(CALLEE, six, usual);
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(families(&out), "o6 c6", "although it is called over IPv4");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    // What it answers is relayed; what it offers must be as agreed.
    world.receive(CALLEE, &from_callee("INVITE", 2, &out, &format!("{KIND}{ANSWER}")));
    world.expect(CALLEE, "SIP/2.0 100");
    let refused = world.expect(CALLEE, "SIP/2.0 488");
    assert_eq!(refused.header("Warning"), "301 192.0.2.1 \"Expected media addresses of IPv6\"");
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{OFFER}a=sendonly\n")));
    world.expect(CALLER, "SIP/2.0 100");
    let again = world.expect(CALLEE, "INVITE");
    assert_eq!(families(&again), "o6 c6", "whatever it described");
    assert_eq!(orders(&world), ["open [V4, V6]", "listen B V4"]);
}

#[test]
fn a_caller_is_refused_whose_family_the_relay_does_not_have_or_its_trunk_does_not_want() {
    let four = |trunks: &mut Vec<Trunk>| trunks[0].media_family = MediaFamily::Ipv4;
    let without = |settings: &mut Settings| settings.media = ONLY_4;
    for mut world in [World::dual(CALLEE, untouched, without), World::dual(CALLEE, four, usual)] {
        receive_6(&mut world, CALLER_6, &invite_6(Some(OFFER_6)));
        let refused = world.expect(CALLER_6, "SIP/2.0 488");
        assert_eq!(refused.header("Warning"), "301 192.0.2.1 \"Expected media addresses of IPv4\"");
        world.expect_silence();
        assert!(world.orders.is_empty() && world.begun.is_empty());
        receive_6(&mut world, CALLER_6, &invite_6(Some(OFFER)).replace("bKsix", "bKfour"));
        world.expect(CALLER_6, "SIP/2.0 100");
        assert_eq!(families(&world.expect(CALLEE, "INVITE")), "o4 c4");
    }
}

#[test]
fn a_callee_that_answers_in_a_family_that_the_relay_does_not_have_fails_the_call_with_ack_and_bye() {
    let mut world = World::tuned(|settings| settings.media = ONLY_4);
    world.addresses.v6 = None;
    let (out, _) = crate::harness::call_ringing(&mut world);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER_6)));
    world.expect(CALLER, "SIP/2.0 502");
    world.expect(CALLEE, "ACK");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.sent.clear();
    world.expect_nothing_left();
    assert_eq!(orders(&world), ["open [V4, V4]"]);
}

#[test]
fn a_relay_of_one_family_is_what_everybody_is_told_of_who_has_described_nothing_else() {
    let mut world = World::dual(CALLEE_6, untouched, |settings| settings.media = ONLY_4);
    world.addresses.v6 = None;
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    assert_eq!(families(&world.expect(CALLEE_6, "INVITE")), "o4 c4");
    assert_eq!(orders(&world), ["open [V4, V4]"]);
}

#[test]
fn targets_of_both_families_are_each_offered_their_own() {
    let both =
        |trunks: &mut Vec<Trunk>| trunks[1].peers = vec![format!("sip:{CALLEE}"), format!("sip:{CALLEE_6}")];
    let mut world = World::dual(CALLEE, both, usual);
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&first, "503 Service Unavailable", "b0", None));
    world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE_6, "INVITE");
    assert_eq!((families(&first).as_str(), families(&second).as_str()), ("o4 c4", "o6 c6"));
    assert_eq!(orders(&world), ["open [V4, V4]", "listen B V6"]);
    receive_6(&mut world, CALLEE_6, &response(&second, "200 OK", "b1", Some(ANSWER_6)));
    assert_eq!(families(&world.expect(CALLER, "SIP/2.0 200")), "o4 c4");
}

#[test]
fn a_port_that_cannot_be_had_in_the_other_family_fails_the_call_that_needs_it_and_says_so() {
    let both =
        |trunks: &mut Vec<Trunk>| trunks[1].peers = vec![format!("sip:{CALLEE}"), format!("sip:{CALLEE_6}")];
    let mut world = World::dual(CALLEE, both, usual);
    world.refuse_listening = true;
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&first, "503 Service Unavailable", "b0", None));
    world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE_6, "INVITE");
    world.expect(CALLER, "SIP/2.0 503");
    assert_eq!(world.warnings, ["no media ports: held by another process"]);
    receive_6(&mut world, CALLEE_6, &response(&second, "180 Ringing", "b1", None));
    let cancel = world.expect(CALLEE_6, "CANCEL");
    receive_6(&mut world, CALLEE_6, &response(&cancel, "200 OK", "b1", None));
    receive_6(&mut world, CALLEE_6, &response(&second, "487 Request Terminated", "b1", None));
    world.sent.clear();
    world.expect_nothing_left();
}
