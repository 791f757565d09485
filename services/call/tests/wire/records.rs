//! What the journal hears of an attempt before its record: enough to write one if the process dies.

use std::time::Duration;

use crate::harness::*;
use call::{Disposition, EndedBy, Origin, RegistrarPolicy};

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
