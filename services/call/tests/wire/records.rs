//! What the journal hears of an attempt before its record: enough to write one if the process dies.

use std::time::Duration;

use crate::harness::*;
use call::{Command, Disposition, EndedBy, Input, MediaOrder, MediaReport, Origin, RegistrarPolicy, Side};

#[test]
fn an_attempt_is_told_at_the_invite_when_it_is_sent_on_and_at_the_answer() {
    let (mut world, ok, _) = call_up();
    let told = std::mem::take(&mut world.open_records);
    let [invited, sent, answered] = &told[..] else { panic!("{told:#?}") };
    assert_eq!((invited.attempt, &invited.b_sip_call_id), (0, &None));
    assert_eq!((sent.attempt, sent.b_sip_call_id.is_some(), sent.answered_at), (1, true, None));
    assert_eq!((answered.attempt, answered.sip_code_a), (1, Some(200)));
    assert!(answered.answered_at.is_some());
    let dispositions = [Disposition::Failed, Disposition::Failed, Disposition::Answered];
    assert_eq!(told.iter().map(|fact| fact.disposition).collect::<Vec<_>>(), dispositions);
    assert!(told.iter().all(|fact| fact.ended_by == EndedBy::Crash && !fact.is_last));

    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert!(told.iter().all(|fact| (fact.id, fact.call_id) == (record.id, record.call_id)));
    assert_ne!(record.id, record.call_id);
    assert_eq!(record.id.get_version_num(), 7);
    let ends: Vec<_> = world.open_records.iter().map(|fact| fact.ended_by).collect();
    assert_eq!(ends, [EndedBy::Caller], "nothing is told of an attempt that is over");
}

#[test]
fn a_record_says_who_called_when_it_rang_and_where_the_media_went() {
    let mut world = World::new();
    let said = "P-Asserted-Identity: \"A\" <sip:+4930@10.1.1.1:5070>
P-Asserted-Identity: <tel:+4930>
Diversion: <sip:desk@pbx.example>;reason=unconditional
Privacy: id
X-Trace: 42";
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("X-Trace: 42", said));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.pass(Duration::from_millis(250));
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.pass(Duration::from_millis(100));
    world.receive(CALLEE, &response(&out, "486 Busy Here", "b1", None));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 486");
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    let (came, sent) = (record.identity_in.as_ref().unwrap(), record.identity_out.as_ref().unwrap());
    assert_eq!(came.asserted.as_deref(), Some("\"A\" <sip:+4930@10.1.1.1:5070>, <tel:+4930>"));
    assert_eq!(sent.asserted.as_deref(), Some("\"A\" <sip:+4930@192.0.2.1>, <tel:+4930>"));
    assert_eq!(sent.diversion.as_deref(), Some("<sip:desk@pbx.example>;reason=unconditional"));
    assert_eq!((came.privacy.as_deref(), sent.privacy.as_deref()), (Some("id"), Some("id")));
    assert_eq!((record.origin, record.rank, record.parent_id), (Origin::Route, Some(1), None));
    assert_eq!(
        (record.pdd_ms, record.q850, record.q850_a, record.q850_b),
        (Some(250), None, Some(17), Some(17))
    );
    assert!(record.a_media.is_some() && record.b_media.is_none());
}

#[test]
fn a_side_that_is_not_heard_is_reported_with_its_cause_and_the_call_goes_on() {
    let (mut world, ok, _) = crate::harness::call_up();
    let session = world.orders.iter().find_map(|order| match order {
        call::MediaOrder::Open { session, .. } => Some(*session),
        _ => None,
    });
    let deaf = call::Deaf::parse("private_address 10.1.1.1").unwrap();
    let report = call::MediaReport::OneWay { session: session.unwrap(), side: call::Side::A, deaf };
    world.input(call::Input::Media(report));
    world.expect_silence();
    assert_eq!(world.core.stats().one_way, 1);
    crate::harness::ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn a_clock_that_is_set_during_a_call_does_not_set_its_times_against_each_other() {
    let (mut world, ok, _) = crate::harness::call_up();
    world.pass(Duration::from_secs(10));
    // Somebody puts it back by an hour.
    world.now.utc.0 -= 3_600_000_000;
    world.pass(Duration::from_secs(10));
    crate::harness::ends_by_the_caller(&mut world, &ok, 2);
    let record = &world.records[0];
    let talked = record.ended_at.0 - record.answered_at.unwrap().0;
    assert_eq!((talked, record.duration_ms), (20_000_000, 20_000));
    assert!(record.started_at <= record.ringing_at.unwrap() && record.ringing_at <= record.answered_at);
}

/// The harness' relay has counted 4 packets of the callee when it is asked, and 22 at the end.
#[test]
fn what_came_of_a_target_that_failed_is_not_in_the_row_of_the_next() {
    for is_early in [true, false] {
        let mut world = World::new();
        let first = call_placed(&mut world);
        if is_early {
            world.receive(CALLEE, &response(&first, "183 Session Progress", "b1", Some(ANSWER)));
            world.expect(CALLER, "SIP/2.0 183");
        }
        world.receive(CALLEE, &response(&first, "503 Service Unavailable", "b1", None));
        world.expect(CALLEE, "ACK");
        let second = world.expect(SPARE, "INVITE");
        world.receive(SPARE, &response(&second, "200 OK", "c1", Some(ANSWER)));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        world.expect(SPARE, "ACK");
        world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
        world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
        world.expect(CALLER, "SIP/2.0 200");
        let bye = world.expect(SPARE, "BYE");
        world.receive(SPARE, &response(&bye, "200 OK", "", None));
        let rows: Vec<_> = world.records.iter().map(|row| (row.from_a.packets, row.from_b.packets)).collect();
        assert_eq!(rows, [(0, 0), (11, if is_early { 22 - 4 } else { 22 })]);
        let asked = world.orders.iter().filter(|order| matches!(order, MediaOrder::Count { .. })).count();
        assert_eq!(asked, usize::from(is_early), "of whom nothing can have come nothing is asked");
        world.expect_nothing_left();
    }
}

fn tagged(fact: &call::CdrFact) -> Vec<(&str, &str)> {
    fact.tags.as_deref().map(|tags| tags.iter().collect()).unwrap_or_default()
}

#[test]
fn a_record_has_the_tags_of_where_it_came_from_of_its_route_and_of_where_it_went() {
    let tags = |pairs: &[(&str, &str)]| call::Tags::new(pairs.iter().copied()).unwrap();
    let build = |rejects: bool| {
        World::routed(RegistrarPolicy::Closed, |trunks, route| {
            trunks[0].tags = tags(&[("customer", "acme"), ("tariff", "standard"), ("side", "in")]);
            trunks[1].tags = tags(&[("supplier", "tele"), ("side", "out")]);
            route.tags = tags(&[("tariff", "night")]);
            if rejects {
                route.to = Vec::new();
                route.reject = Some(routing::Reject { status: 603, phrase: None });
            }
        })
    };
    let mut world = build(false);
    let (ok, _) = call_up_in(&mut world);
    let all = [("customer", "acme"), ("side", "out"), ("supplier", "tele"), ("tariff", "night")];
    assert_eq!(tagged(world.open_records.last().unwrap()), all, "the process may die now");
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(tagged(&world.records[0]), all);
    world.expect_replays();

    let mut world = build(true);
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLER, "SIP/2.0 603");
    let found = tagged(&world.records[0]);
    assert_eq!(
        found,
        [("customer", "acme"), ("side", "in"), ("tariff", "night")],
        "of a call that goes nowhere"
    );
    world.expect_replays();
}

#[test]
fn a_call_without_tags_has_none() {
    let (world, ..) = call_up();
    assert_eq!(world.open_records.last().unwrap().tags, None);
}

#[test]
fn a_call_that_a_limit_refuses_has_its_route_its_tags_and_the_trunk_that_is_full() {
    let tags = |pairs: &[(&str, &str)]| call::Tags::new(pairs.iter().copied()).unwrap();
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[0].tags = tags(&[("customer", "acme")]);
        trunks[1].tags = tags(&[("supplier", "tele")]);
    });
    world.slow_routing = true;
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let query = world.questions.pop().unwrap().query;
    let refusal = routing::Refusal {
        route: Some("out".into()),
        tags: tags(&[("tariff", "night")]),
        trunk: Some(routing::TrunkId(1)),
        ..routing::Refusal::new(503, "full".into(), true)
    };
    world.input(Input::Routed { query, decision: routing::Decision::Refuse(refusal) });
    world.expect(CALLER, "SIP/2.0 503");
    let record = &world.records[0];
    assert_eq!((record.attempt, record.disposition, record.is_last), (0, Disposition::Blocked, true));
    assert_eq!((record.route.as_deref(), record.trunk_out.as_deref()), (Some("out"), Some("carrier")));
    assert_eq!(tagged(record), [("customer", "acme"), ("supplier", "tele"), ("tariff", "night")]);
    assert_eq!((record.b_destination, record.b_sip_call_id.as_deref()), (None, None));
    world.expect_replays();
}

/// Where A and B want their media, and the codecs of both.
fn media(fact: &call::CdrFact) -> (Option<String>, Option<String>, Option<&str>, Option<&str>) {
    let [a, b] = [fact.a_media, fact.b_media].map(|at| at.map(|at| at.to_string()));
    (a, b, fact.codec_a.as_deref(), fact.codec_b.as_deref())
}

fn talks(
    a: &str,
    b: &str,
    codec: &'static str,
) -> (Option<String>, Option<String>, Option<&'static str>, Option<&'static str>) {
    (Some(a.into()), Some(b.into()), Some(codec), Some(codec))
}

#[test]
fn a_record_names_the_codec_of_the_last_answer_and_where_media_went_then() {
    let (mut world, ok, out) = call_up();
    let moved = ANSWER.replace("5000 RTP/AVP 0", "5100 RTP/AVP 18 8");
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + &moved));
    world.expect(CALLEE, "SIP/2.0 100");
    let across = world.expect(CALLER, "INVITE");
    let answer = OFFER.replace("4000 RTP/AVP 0 101", "4100 RTP/AVP 8") + "a=ptime:40\n";
    world.receive(CALLER, &response(&across, "200 OK", "", Some(&answer)));
    world.expect(CALLER, "ACK");
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
    let open = world.open_records.last().unwrap();
    assert_eq!(media(open), talks("10.1.1.1:4100", "10.2.2.2:5100", "PCMA"), "the process may die now");

    // What is refused changes nothing, and a hold names no other place.
    world.receive(CALLEE, &(from_callee("INVITE", 2, &out, KIND) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 100");
    let across = world.expect(CALLER, "INVITE");
    world.receive(CALLER, &response(&across, "488 Not Acceptable Here", "", None));
    world.expect(CALLER, "ACK");
    world.expect(CALLEE, "SIP/2.0 488");
    world.receive(CALLEE, &from_callee("ACK", 2, &out, "").replace("bKbACK2", "bKbINVITE2"));
    let hold = moved.replace("c=IN IP4 10.2.2.2", "c=IN IP4 0.0.0.0");
    world.receive(CALLEE, &(from_callee("INVITE", 3, &out, KIND) + &hold));
    world.expect(CALLEE, "SIP/2.0 100");
    let across = world.expect(CALLER, "INVITE");
    world.receive(CALLER, &response(&across, "200 OK", "", Some(&answer)));
    world.expect(CALLER, "ACK");
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(CALLEE, &from_callee("ACK", 3, &out, ""));
    ends_by_the_caller(&mut world, &ok, 2);
    let record = &world.records[0];
    assert_eq!(media(record), talks("10.1.1.1:4100", "10.2.2.2:5100", "PCMA"));
    assert_eq!((record.ptime_a, record.ptime_b), (Some(40), None));
}

#[test]
fn a_fax_that_the_callee_asks_for_is_in_the_record() {
    let (mut world, ok, out) = call_up();
    let fax = ANSWER.replace("m=audio 5000 RTP/AVP 0", "m=image 5200 udptl t38");
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + &fax));
    world.expect(CALLEE, "SIP/2.0 100");
    let across = world.expect(CALLER, "INVITE");
    let answer = fax.replace("10.2.2.2", "10.1.1.1").replace("5200", "4200");
    world.receive(CALLER, &response(&across, "200 OK", "", Some(&answer)));
    world.expect(CALLER, "ACK");
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(media(&world.records[0]), talks("10.1.1.1:4200", "10.2.2.2:5200", "t38"));
}

#[test]
fn an_offer_of_the_caller_that_is_accepted_is_in_the_record() {
    let (mut world, ok, _) = call_up();
    let moved = OFFER.replace("4000 RTP/AVP 0 101", "4300 RTP/AVP 8 0");
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, KIND) + &moved));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    ends_by_the_caller(&mut world, &ok, 3);
    assert_eq!(media(&world.records[0]), talks("10.1.1.1:4300", "10.2.2.2:5000", "PCMU"));
}

#[test]
fn a_caller_that_offers_nothing_picks_the_codec_of_the_record_in_its_ack() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let offer = ANSWER.replace("RTP/AVP 0", "RTP/AVP 18 8");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&offer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    let picked = OFFER.replace("RTP/AVP 0 101", "RTP/AVP 8");
    world.receive(CALLER, &(from_caller("ACK", 1, &ok, KIND) + &picked));
    world.expect(CALLEE, "ACK");
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(media(&world.records[0]), talks("10.1.1.1:4000", "10.2.2.2:5000", "PCMA"));
}

/// The Q.850 cause in a Reason.
fn told(reason: &str) -> Option<u16> {
    reason.split("Q.850;cause=").nth(1)?.parse().ok()
}

#[test]
fn a_call_that_the_box_drops_has_the_cause_that_both_sides_were_told() {
    let (mut world, ..) = call_up();
    let session = world.orders.iter().find_map(|order| match order {
        MediaOrder::Open { session, .. } => Some(*session),
        _ => None,
    });
    world.input(Input::Media(MediaReport::Silent { session: session.unwrap(), side: Side::B }));
    let reason = ends_by_the_box(&mut world);
    let record = &world.records[0];
    assert_eq!((told(&reason), record.ended_by), (Some(102), EndedBy::MediaTimeout));
    assert_eq!((record.q850_a, record.q850_b), (Some(102), Some(102)));

    let (mut world, ..) = call_up();
    world.input(Input::Command { id: 1, command: Command::EndAll });
    let reason = ends_by_the_box(&mut world);
    let record = &world.records[0];
    assert_eq!((told(&reason), record.q850_a, record.q850_b), (Some(41), Some(41), Some(41)));

    let (mut world, ok, _) = call_up();
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!((world.records[0].q850_a, world.records[0].q850_b), (Some(16), Some(16)));
}

#[test]
fn numbers_stand_in_a_record_as_they_are_dialled() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("sip:4912345@", "sip:%2B49%31@"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "404 Not Found", "b1", None));
    let record = &world.records[0];
    assert_eq!((&*record.called, record.called_sent.as_deref()), ("+491", Some("+491")));
}

#[test]
fn nobody_answered_only_where_it_rang_and_nobody_hung_up() {
    let refused = |rings: bool| {
        let mut world = World::new();
        let out = if rings { call_ringing(&mut world).0 } else { call_placed(&mut world) };
        world.receive(CALLEE, &response(&out, "480 Temporarily Unavailable", "b1", None));
        world.records[0].disposition
    };
    assert_eq!((refused(true), refused(false)), (Disposition::NoAnswer, Disposition::Rejected));

    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    let call = world.begun[0];
    world.input(Input::Command { id: 1, command: Command::HangUp(call) });
    world.expect(CALLER, "SIP/2.0 480");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&out, "487 Request Terminated", "b1", None));
    let record = &world.records[0];
    assert_eq!((record.disposition, record.ended_by), (Disposition::Failed, EndedBy::Api));
}
