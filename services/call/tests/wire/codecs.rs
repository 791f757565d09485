//! Codec policy of trunks (RFC 3264 §5.1, §6.1): what remains of offers and answers, line by line, and what is refused.

use call::{Codec, MediaOrder, RegistrarPolicy};
use routing::{Codecs, RtpProfile, Trunk};

use crate::harness::{
    ANSWER, CALLEE, CALLER, KIND, SPARE, Sent, World, ack_failure, ends_by_the_caller, from_callee,
    from_caller, invite, response,
};

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn allow(list: &[&str]) -> Codecs {
    Codecs { allow: names(list), ..Codecs::default() }
}

/// The caller's trunk and the callee's with these rules.
fn world(caller: Codecs, callee: Codecs) -> World {
    World::with(RegistrarPolicy::Closed, |trunks: &mut Vec<Trunk>| {
        trunks[0].codecs = caller;
        trunks[1].codecs = callee;
    })
}

fn described(media: &str) -> String {
    format!("v=0\no=alice 1 1 IN IP4 10.1.1.1\ns=-\nc=IN IP4 10.1.1.1\nt=0 0\n{media}")
}

fn answered(media: &str) -> String {
    described(media).replace("10.1.1.1", "10.2.2.2").replace("alice 1 1", "bob 9 9")
}

/// The lines from the first m= on.
fn media(sent: &Sent) -> Vec<&str> {
    sent.body().lines().skip_while(|line| !line.starts_with("m=")).collect()
}

fn offered(world: &mut World, offer: &str) -> Sent {
    world.receive(CALLER, &invite("1", Some(offer)));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE")
}

fn answer(world: &mut World, out: &Sent, answer: &str) -> Sent {
    world.receive(CALLEE, &response(out, "200 OK", "b1", Some(answer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    ok
}

const WIDE: &str = "m=audio 4000 RTP/AVP 96 0 8 18 101 13
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
";

#[test]
fn what_both_trunks_allow_is_offered_in_the_order_of_the_one_called() {
    let drop = Codecs { drop: names(&["G729", "CN"]), ..Codecs::default() };
    let order = Codecs { order: names(&["pcma", "PCMU"]), ..Codecs::default() };
    let mut world = world(drop, order);
    let out = offered(&mut world, &described(WIDE));
    let expected = [
        "m=audio 30002 RTP/AVP 8 0 96 101",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
    ];
    assert_eq!(media(&out), expected);
    let ok = answer(
        &mut world,
        &out,
        &answered("m=audio 5000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\n"),
    );
    assert_eq!(media(&ok), ["m=audio 30000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"]);
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn key_presses_and_comfort_noise_stay_with_the_codecs_that_are_allowed() {
    let mut world = world(Codecs::default(), allow(&["PCMA"]));
    let out = offered(&mut world, &described(WIDE));
    let expected = [
        "m=audio 30002 RTP/AVP 8 101 13",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
    ];
    assert_eq!(media(&out), expected);
}

#[test]
fn trunks_without_rules_are_told_what_the_other_side_says_byte_for_byte() {
    let mut world = world(Codecs::default(), Codecs::default());
    let out = offered(&mut world, &described(WIDE));
    let expected: Vec<String> = WIDE.lines().map(|line| line.replace("4000", "30002")).collect();
    assert_eq!(media(&out), expected);
}

#[test]
fn an_answer_with_what_was_not_offered_is_cut_down_to_what_was() {
    let mut world = world(Codecs::default(), allow(&["PCMA", "PCMU"]));
    let out = offered(&mut world, &described(WIDE));
    let ok = answer(
        &mut world,
        &out,
        &answered("m=audio 5000 RTP/AVP 18 0\na=rtpmap:18 G729/8000\na=rtpmap:0 PCMU/8000\n"),
    );
    assert_eq!(media(&ok), ["m=audio 30000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000"]);
}

#[test]
fn an_answer_is_never_left_without_a_codec() {
    let mut world = world(Codecs::default(), allow(&["PCMA", "PCMU"]));
    let out = offered(&mut world, &described(WIDE));
    let ok = answer(&mut world, &out, &answered("m=audio 5000 RTP/AVP 18\na=rtpmap:18 G729/8000\n"));
    assert_eq!(media(&ok), ["m=audio 30000 RTP/AVP 18", "a=rtpmap:18 G729/8000"]);
}

#[test]
fn an_offer_of_which_its_own_trunk_leaves_nothing_is_refused_before_it_goes_anywhere() {
    let mut world = world(allow(&["opus"]), Codecs::default());
    world.receive(
        CALLER,
        &invite("1", Some(&described("m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n"))),
    );
    let refused = world.expect(CALLER, "SIP/2.0 488");
    assert_eq!(
        refused.header("Warning"),
        "305 192.0.2.1 \"Expected a codec that is allowed between these trunks\""
    );
    world.receive(CALLER, &ack_failure("1", &refused));
    world.expect_nothing_left();
}

#[test]
fn a_target_with_no_common_codec_is_passed_over_and_when_none_has_one_the_caller_gets_488() {
    let mut world = world(Codecs::default(), allow(&["opus"]));
    world.receive(
        CALLER,
        &invite("1", Some(&described("m=audio 4000 RTP/AVP 18 101\na=rtpmap:101 telephone-event/8000\n"))),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let refused = world.expect(CALLER, "SIP/2.0 488");
    assert!(refused.header("Warning").starts_with("305 "), "{}", refused.text);
    assert!(!world.sent.iter().any(|sent| [CALLEE, SPARE].contains(&&*sent.to.to_string())));
    world.receive(CALLER, &ack_failure("1", &refused));
    let disposition = world.records.last().unwrap().disposition;
    assert_eq!(disposition, call::Disposition::Rejected);
    world.expect_nothing_left();
}

#[test]
fn a_stream_of_which_nothing_remains_is_offered_as_rejected_beside_one_that_is_not() {
    let mut world = world(Codecs::default(), allow(&["PCMU", "VP8"]));
    let video = "m=video 4002 RTP/AVPF 100 101 102 103
a=rtpmap:100 VP8/90000
a=rtcp-fb:100 nack pli
a=rtpmap:101 rtx/90000
a=fmtp:101 apt=100
a=rtpmap:102 H264/90000
a=rtcp-fb:102 nack
a=rtpmap:103 rtx/90000
a=fmtp:103 apt=102
";
    let offer = described(&format!("m=audio 4000 RTP/AVP 18\na=rtpmap:18 G729/8000\n{video}"));
    let out = offered(&mut world, &offer);
    let expected = [
        "m=audio 0 RTP/AVP 18",
        "a=rtpmap:18 G729/8000",
        "m=video 30006 RTP/AVPF 100 101",
        "a=rtpmap:100 VP8/90000",
        "a=rtcp-fb:100 nack pli",
        "a=rtpmap:101 rtx/90000",
        "a=fmtp:101 apt=100",
    ];
    assert_eq!(media(&out), expected);
    let ok = answer(
        &mut world,
        &out,
        &answered(
            "m=audio 0 RTP/AVP 18\nm=video 5002 RTP/AVPF 100\na=rtpmap:100 VP8/90000\na=rtcp-fb:* nack\n",
        ),
    );
    let expected =
        ["m=audio 0 RTP/AVP 18", "m=video 30004 RTP/AVPF 100", "a=rtpmap:100 VP8/90000", "a=rtcp-fb:* nack"];
    assert_eq!(media(&ok), expected);
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn a_reinvite_with_nothing_that_is_allowed_is_refused_and_the_session_stays() {
    let mut world = world(Codecs::default(), allow(&["PCMU"]));
    let out = offered(&mut world, &described("m=audio 4000 RTP/AVP 0\n"));
    let ok = answer(&mut world, &out, ANSWER);
    let orders = world.orders.len();
    let offer = format!("{KIND}{}", described("m=audio 4000 RTP/AVP 18\n"));
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &offer));
    world.expect(CALLER, "SIP/2.0 100");
    let refused = world.expect(CALLER, "SIP/2.0 488");
    world.receive(CALLER, &ack_failure("INVITE2", &refused).replace("CSeq: 1", "CSeq: 2"));
    assert_eq!(world.orders.len(), orders);
    // From the trunk with the rule, with the words of the rule.
    let offer = format!("{KIND}{}", answered("m=audio 5000 RTP/AVP 18\n"));
    world.receive(CALLEE, &from_callee("INVITE", 1, &out, &offer));
    let refused = world.sent.pop_back().unwrap();
    assert!(refused.first_line().starts_with("SIP/2.0 488") && refused.has("Warning"), "{}", refused.text);
}

#[test]
fn a_stream_that_a_reinvite_adds_obeys_the_rules() {
    let mut world = world(Codecs::default(), allow(&["PCMA"]));
    let audio = "m=audio 4000 RTP/AVP 8\n";
    let out = offered(&mut world, &described(audio));
    let ok = answer(&mut world, &out, &answered(&audio.replace("4000", "5000")));
    let video = "m=video 4002 RTP/AVPF 102\na=rtpmap:102 H264/90000\na=rtcp-fb:102 nack\n";
    let offer = described(&format!("{audio}{video}")).replace("1 1", "1 2");
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{offer}")));
    world.expect(CALLER, "SIP/2.0 100");
    let reinvite = world.expect(CALLEE, "INVITE");
    assert_eq!(media(&reinvite)[1], "m=video 0 RTP/AVPF 102");
}

#[test]
fn a_stream_that_a_reinvite_adds_is_in_the_profile_that_its_trunk_wants() {
    for (profile, proto) in [(RtpProfile::Avpf, "RTP/AVPF"), (RtpProfile::Avp, "RTP/AVP")] {
        let mut world = profiles(RtpProfile::Pass, profile);
        let out = offered(&mut world, &described("m=audio 4000 RTP/AVP 0\n"));
        let said = answered(&format!("m=audio 5000 {proto} 0\n"));
        let ok = answer(&mut world, &out, &said);
        let video = "m=video 4002 RTP/AVPF 102\na=rtpmap:102 H264/90000\na=rtcp-fb:102 nack\n";
        let offer = described(&format!("m=audio 4000 RTP/AVP 0\n{video}")).replace("1 1", "1 2");
        world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{offer}")));
        world.expect(CALLER, "SIP/2.0 100");
        let reinvite = world.expect(CALLEE, "INVITE");
        let lines = media(&reinvite);
        let video = lines.iter().position(|line| line.starts_with("m=video")).unwrap();
        assert!(lines[video].contains(&format!(" {proto} ")), "{lines:?}");
        assert_eq!(lines.contains(&"a=rtcp-fb:102 nack"), profile == RtpProfile::Avpf, "{lines:?}");
    }
}

#[test]
fn a_delayed_offer_and_its_answer_obey_the_same_rules() {
    let mut world = world(Codecs { drop: names(&["opus"]), ..Codecs::default() }, allow(&["PCMA", "opus"]));
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answered(WIDE))));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(media(&ok)[0], "m=audio 30000 RTP/AVP 8 101 13");
    let body = format!("{KIND}{}", described("m=audio 4000 RTP/AVP 8\n"));
    world.receive(CALLER, &from_caller("ACK", 1, &ok, &body));
    assert_eq!(media(&world.expect(CALLEE, "ACK")), ["m=audio 30002 RTP/AVP 8"]);
}

/// The caller's trunk and the callee's with these profiles.
fn profiles(caller: RtpProfile, callee: RtpProfile) -> World {
    World::with(RegistrarPolicy::Closed, |trunks: &mut Vec<Trunk>| {
        trunks[0].rtp_profile = caller;
        trunks[1].rtp_profile = callee;
    })
}

#[test]
fn a_trunk_without_feedback_is_offered_none_and_the_answer_is_in_the_profile_of_the_offer() {
    let mut world = profiles(RtpProfile::Pass, RtpProfile::Avp);
    let video =
        "m=video 4002 RTP/AVPF 100\na=rtpmap:100 VP8/90000\na=rtcp-fb:100 nack pli\na=rtcp-fb:* ccm fir\n";
    let out = offered(&mut world, &described(&format!("m=audio 4000 RTP/AVP 0\n{video}")));
    let expected = ["m=audio 30002 RTP/AVP 0", "m=video 30006 RTP/AVP 100", "a=rtpmap:100 VP8/90000"];
    assert_eq!(media(&out), expected);
    let said = answered("m=audio 5000 RTP/AVP 0\nm=video 5002 RTP/AVP 100\na=rtpmap:100 VP8/90000\n");
    let ok = answer(&mut world, &out, &said);
    let expected = ["m=audio 30000 RTP/AVP 0", "m=video 30004 RTP/AVPF 100", "a=rtpmap:100 VP8/90000"];
    assert_eq!(media(&ok), expected);
    // And the other way round: the session's profiles are what they were.
    let offer = format!("{KIND}{}", said.replace("9 9", "9 10"));
    world.receive(CALLEE, &from_callee("INVITE", 1, &out, &offer));
    world.expect(CALLEE, "SIP/2.0 100");
    let offer = world.expect(CALLER, "INVITE");
    assert_eq!(media(&offer)[1], "m=video 30004 RTP/AVPF 100");
}

#[test]
fn a_trunk_with_feedback_is_offered_it_and_feedback_crosses_untouched_else() {
    let mut world = profiles(RtpProfile::Pass, RtpProfile::Avpf);
    let out = offered(&mut world, &described("m=audio 4000 RTP/SAVP 0\nm=image 4002 udptl t38\n"));
    assert_eq!(media(&out), ["m=audio 30002 RTP/SAVPF 0", "m=image 30006 udptl t38"]);
    let ok = answer(
        &mut world,
        &out,
        &answered("m=audio 5000 RTP/SAVPF 0\na=rtcp-fb:0 nack\nm=image 5002 udptl t38\n"),
    );
    assert_eq!(media(&ok), ["m=audio 30000 RTP/SAVP 0", "m=image 30004 udptl t38"]);
    ends_by_the_caller(&mut world, &ok, 2);
}

/// What the relay was told to turn into each other, of A and of B.
fn transcoded(world: &World) -> Vec<Option<[Codec; 2]>> {
    let told = |order: &MediaOrder| match order {
        MediaOrder::Transcode { stream: 0, codecs, .. } => Some(*codecs),
        _ => None,
    };
    world.orders.iter().filter_map(told).collect()
}

const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n";

#[test]
fn two_laws_of_g711_that_are_all_that_two_trunks_allow_are_turned_into_each_other() {
    let mut world = world(allow(&["PCMU"]), allow(&["PCMA"]));
    let out =
        offered(&mut world, &described(&format!("m=audio 4000 RTP/AVP 0 101 13\n{EVENTS}a=ptime:20\n")));
    let expected = [
        "m=audio 30002 RTP/AVP 8 101 13",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=rtpmap:8 PCMA/8000",
    ];
    assert_eq!(media(&out), expected);
    let law = "a=rtpmap:8 PCMA/8000\n";
    let ok = answer(&mut world, &out, &answered(&format!("m=audio 5000 RTP/AVP 8 101\n{law}{EVENTS}")));
    let expected = [
        "m=audio 30000 RTP/AVP 0 101",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=rtpmap:0 PCMU/8000",
    ];
    assert_eq!(media(&ok), expected);
    assert_eq!(transcoded(&world), [Some([Codec::Pcmu, Codec::Pcma])], "said once");
    // A hold of either side keeps to what each has.
    let hold = format!("{KIND}{}a=sendonly\n", answered("m=audio 5000 RTP/AVP 8\n").replace("9 9", "9 10"));
    world.receive(CALLEE, &from_callee("INVITE", 1, &out, &hold));
    world.expect(CALLEE, "SIP/2.0 100");
    let reinvite = world.expect(CALLER, "INVITE");
    assert_eq!(media(&reinvite)[0], "m=audio 30000 RTP/AVP 0");
    let held = described("m=audio 4000 RTP/AVP 0\na=recvonly\n").replace("1 1", "1 2");
    world.receive(CALLER, &response(&reinvite, "200 OK", "", Some(&held)));
    world.expect(CALLER, "ACK");
    assert_eq!(media(&world.expect(CALLEE, "SIP/2.0 200"))[0], "m=audio 30002 RTP/AVP 8");
    world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(transcoded(&world).len(), 1);
    let record = &world.records[0];
    assert_eq!((record.codec_a.as_deref(), record.codec_b.as_deref()), (Some("PCMU"), Some("PCMA")));
}

#[test]
fn a_caller_that_speaks_one_law_reaches_a_trunk_that_takes_the_other() {
    let mut world = world(Codecs::default(), allow(&["PCMU", "telephone-event"]));
    let out = offered(&mut world, &described("m=audio 4000 RTP/AVP 8\n"));
    assert_eq!(media(&out), ["m=audio 30002 RTP/AVP 0", "a=rtpmap:0 PCMU/8000"]);
    let ok = answer(&mut world, &out, ANSWER);
    assert_eq!(media(&ok), ["m=audio 30000 RTP/AVP 8", "a=rtpmap:8 PCMA/8000"]);
    // What the callee offers anew is what the caller has said that it speaks.
    let again = format!("{KIND}{}", ANSWER.replace("9 9", "9 10"));
    world.receive(CALLEE, &from_callee("INVITE", 1, &out, &again));
    world.expect(CALLEE, "SIP/2.0 100");
    assert_eq!(media(&world.expect(CALLER, "INVITE"))[0], "m=audio 30000 RTP/AVP 8");
    assert_eq!(transcoded(&world), [Some([Codec::Pcma, Codec::Pcmu])]);
}

#[test]
fn nothing_is_turned_into_anything_where_both_sides_have_a_codec_in_common() {
    let mut world = world(allow(&["PCMU", "PCMA"]), allow(&["PCMA"]));
    let out = offered(&mut world, &described(WIDE));
    assert_eq!(media(&out)[0], "m=audio 30002 RTP/AVP 8 101 13");
    let ok = answer(&mut world, &out, &answered("m=audio 5000 RTP/AVP 8\n"));
    assert_eq!(media(&ok), ["m=audio 30000 RTP/AVP 8"]);
    assert!(transcoded(&world).is_empty());
}

#[test]
fn a_target_after_one_of_the_other_law_is_told_of_the_callers_own() {
    let mut world = World::routed(RegistrarPolicy::Closed, |trunks, route| {
        trunks[0].codecs = allow(&["PCMU"]);
        trunks[1].codecs = allow(&["PCMA"]);
        let mut spare = Trunk::new("spare");
        (spare.peers, spare.sources) = (trunks[1].peers.split_off(1), trunks[1].sources.split_off(1));
        trunks.push(spare);
        route.to.push(routing::TrunkId(2));
    });
    let out = offered(&mut world, &described("m=audio 4000 RTP/AVP 0\n"));
    assert_eq!(media(&out)[0], "m=audio 30002 RTP/AVP 8");
    world.receive(CALLEE, &response(&out, "503 Service Unavailable", "b1", None));
    world.expect(CALLEE, "ACK");
    let next = world.expect(SPARE, "INVITE");
    assert_eq!(media(&next), ["m=audio 30002 RTP/AVP 0"]);
    assert!(transcoded(&world).is_empty(), "nobody has answered");
    world.receive(SPARE, &response(&next, "200 OK", "s1", Some(&answered("m=audio 5000 RTP/AVP 0\n"))));
    assert_eq!(media(&world.expect(CALLER, "SIP/2.0 200"))[0], "m=audio 30000 RTP/AVP 0");
    assert!(transcoded(&world).is_empty());
}

#[test]
fn of_two_targets_with_different_rules_the_one_that_answers_decides_what_is_turned_into_what() {
    let mut world = World::routed(RegistrarPolicy::Closed, |trunks, route| {
        trunks[0].codecs = allow(&["PCMU"]);
        trunks[1].codecs = allow(&["PCMA"]);
        let mut spare = Trunk::new("spare");
        (spare.peers, spare.sources) = (trunks[1].peers.split_off(1), trunks[1].sources.split_off(1));
        trunks.push(spare);
        route.to.push(routing::TrunkId(2));
        route.fork = routing::Fork::Parallel;
    });
    let out = offered(&mut world, &described("m=audio 4000 RTP/AVP 0\n"));
    let other = world.expect(SPARE, "INVITE");
    assert_eq!((media(&out)[0], media(&other)[0]), ("m=audio 30002 RTP/AVP 8", "m=audio 30002 RTP/AVP 0"));
    assert!(transcoded(&world).is_empty(), "one's offer does nothing to the other's media");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answered("m=audio 5000 RTP/AVP 8\n"))));
    assert_eq!(media(&world.expect(CALLER, "SIP/2.0 200"))[0], "m=audio 30000 RTP/AVP 0");
    assert_eq!(transcoded(&world), [Some([Codec::Pcmu, Codec::Pcma])]);
}

/// The caller's offer of a fax, in a call whose 200 this is.
fn fax(cseq: u32, ok: &Sent) -> String {
    let image = described("m=image 4000 udptl t38\n").replace("1 1", &format!("1 {cseq}"));
    from_caller("INVITE", cseq, ok, &format!("{KIND}{image}"))
}

#[test]
fn an_offer_that_is_refused_leaves_the_relay_at_what_it_turns_into_what() {
    let mut world = world(allow(&["PCMU"]), allow(&["PCMA"]));
    let out = offered(&mut world, &described("m=audio 4000 RTP/AVP 0\n"));
    let ok = answer(&mut world, &out, &answered("m=audio 5000 RTP/AVP 8\n"));
    let talk = Some([Codec::Pcmu, Codec::Pcma]);
    assert_eq!(transcoded(&world), [talk]);

    world.receive(CALLER, &fax(2, &ok));
    world.expect(CALLER, "SIP/2.0 100");
    let reinvite = world.expect(CALLEE, "INVITE");
    assert_eq!(media(&reinvite), ["m=image 30002 udptl t38"]);
    world.receive(CALLEE, &response(&reinvite, "488 Not Acceptable Here", "", None));
    world.expect(CALLEE, "ACK");
    let refused = world.expect(CALLER, "SIP/2.0 488");
    world.receive(CALLER, &ack_failure("INVITE2", &refused).replace("CSeq: 1", "CSeq: 2"));
    assert_eq!(transcoded(&world), [talk], "the talk goes on as it was");

    // One that is accepted is a fax, and the way back a talk.
    world.receive(CALLER, &fax(3, &ok));
    world.expect(CALLER, "SIP/2.0 100");
    let reinvite = world.expect(CALLEE, "INVITE");
    assert_eq!(transcoded(&world), [talk], "not answered yet");
    world.receive(CALLEE, &response(&reinvite, "200 OK", "", Some(&answered("m=image 5000 udptl t38\n"))));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 3, &ok, ""));
    assert_eq!(transcoded(&world), [talk, None]);
    let talks = described("m=audio 4000 RTP/AVP 0\n").replace("1 1", "1 4");
    world.receive(CALLER, &from_caller("INVITE", 4, &ok, &format!("{KIND}{talks}")));
    world.expect(CALLER, "SIP/2.0 100");
    let reinvite = world.expect(CALLEE, "INVITE");
    assert_eq!(media(&reinvite)[0], "m=audio 30002 RTP/AVP 8");
    world.receive(CALLEE, &response(&reinvite, "200 OK", "", Some(&answered("m=audio 5000 RTP/AVP 8\n"))));
    world.expect(CALLEE, "ACK");
    assert_eq!(media(&world.expect(CALLER, "SIP/2.0 200"))[0], "m=audio 30000 RTP/AVP 0");
    assert_eq!(transcoded(&world), [talk, None, talk]);
}

#[test]
fn who_wants_key_presses_under_another_number_is_sent_them_under_it() {
    // RFC 3264 §6.1: the number in a description is the one that its writer wants to be sent; each side is told of the
    // other's own, so that nothing has to be renumbered on the way.
    for rules in [Codecs::default(), allow(&["PCMU"])] {
        let mut world = world(Codecs::default(), rules);
        let out = offered(&mut world, &described(&format!("m=audio 4000 RTP/AVP 0 101\n{EVENTS}")));
        assert_eq!(media(&out)[0], "m=audio 30002 RTP/AVP 0 101");
        let events = EVENTS.replace("101", "96");
        let ok = answer(&mut world, &out, &answered(&format!("m=audio 5000 RTP/AVP 0 96\n{events}")));
        let expected = ["m=audio 30000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-15"];
        assert_eq!(media(&ok), expected);
    }
}
