//! What rows say of a call in which somebody takes another's place: whose media, codec and cause stand in which column.

use crate::harness::*;
use crate::replaces::{self, DESK, FAR, pickup, to_consulted, two_calls};
use crate::transfer::{caller_refers, caller_transfers, from_target, notified, target_answers_with};
use call::{CdrFact, Disposition, EndedBy, Input, Origin};
use routing::{Codecs, Decision, Refusal, Source, Trunk};

/// The target takes PCMA, in packets of 30 ms.
const CAROL: &str = "v=0
o=carol 5 5 IN IP4 10.2.2.9
s=-
c=IN IP4 10.2.2.9
t=0 0
m=audio 6000 RTP/AVP 8
a=ptime:30
";

fn codecs(fact: &CdrFact) -> [Option<&str>; 2] {
    [fact.codec_a.as_deref(), fact.codec_b.as_deref()]
}

/// Where A and B want their media.
fn media(fact: &CdrFact) -> [Option<String>; 2] {
    [fact.a_media, fact.b_media].map(|at| at.map(|at| at.to_string()))
}

fn at(a: &str, b: &str) -> [Option<String>; 2] {
    [Some(a.to_owned()), Some(b.to_owned())]
}

/// Packets of A and of B.
fn counted(fact: &CdrFact) -> [u64; 2] {
    [fact.from_a.packets, fact.from_b.packets]
}

/// 777 took the place of the caller: the box's INVITE to it.
fn carol_in_the_callers_place(world: &mut World, ok: &Sent) -> Sent {
    let target = caller_transfers(world, ok);
    target_answers_with(world, &target, CAROL);
    notified(world, CALLER, "terminated", "SIP/2.0 200 OK");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(&ANSWER.replace("AVP 0", "AVP 8"))));
    world.expect(CALLEE, "ACK");
    target
}

/// The harness' relay has counted 3 and 4 packets when it is asked, and 11 and 22 at the end.
#[test]
fn who_comes_for_the_caller_is_b_of_its_row_and_who_stays_is_a() {
    let (mut world, ok, out) = call_up();
    let target = carol_in_the_callers_place(&mut world, &ok);
    world.receive(CALLEE, &from_target("BYE", 1, &target));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.header("Call-ID"), out.header("Call-ID"));
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let [talk, last] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((talk.sip_code_a, talk.q850_a, talk.q850_b), (Some(200), Some(16), Some(16)));
    assert_eq!((talk.sip_reason_a.as_deref(), codecs(talk)), (Some("OK"), [Some("PCMU"); 2]));
    assert_eq!((media(talk), counted(talk)), (at("10.1.1.1:4000", "10.2.2.2:5000"), [3, 4]));
    assert_eq!((codecs(last), last.ptime_a, last.ptime_b), ([Some("PCMA"); 2], None, Some(30)));
    assert_eq!((media(last), counted(last)), (at("10.2.2.2:5000", "10.2.2.9:6000"), [18, 8]));
    assert_eq!((last.ended_by, last.parent_id), (EndedBy::Callee, Some(talk.id)));
    world.expect_nothing_left();
}

#[test]
fn who_stayed_and_hangs_up_is_the_caller_of_the_row() {
    let (mut world, ok, out) = call_up();
    let target = carol_in_the_callers_place(&mut world, &ok);
    world.receive(CALLEE, &from_callee("BYE", 1, &out, "Reason: Q.850;cause=31\n"));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.header("Call-ID"), target.header("Call-ID"));
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let last = world.records.last().unwrap();
    assert_eq!((last.ended_by, last.q850_a), (EndedBy::Caller, Some(31)));
    world.expect_nothing_left();
}

#[test]
fn who_stays_and_leaves_while_the_target_rings_cancels_it() {
    let (mut world, ok, out) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "180 Ringing", "c1", None));
    notified(&mut world, CALLER, "active", "SIP/2.0 180 Ringing");
    world.receive(CALLEE, &from_callee("BYE", 1, &out, "Reason: Q.850;cause=31\n"));
    world.expect(CALLEE, "SIP/2.0 200");
    let cancel = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&cancel, "200 OK", "c1", None));
    world.receive(CALLEE, &response(&target, "487 Request Terminated", "c1", None));
    world.sent.retain(|sent| sent.text.starts_with("BYE"));
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    let [given_up, last] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((given_up.attempt, given_up.disposition), (2, Disposition::Cancelled));
    assert_eq!(given_up.sip_code_b, Some(487));
    assert_eq!(given_up.ended_by, EndedBy::Caller, "who would have been its caller left");
    assert_eq!((last.attempt, last.ended_by, last.q850_b), (1, EndedBy::Callee, Some(31)));
    world.expect_nothing_left();
}

#[test]
fn who_comes_for_the_callee_has_its_media_in_its_row() {
    let (mut world, ok, out) = call_up();
    world.receive(CALLEE, &from_callee("REFER", 1, &out, "Refer-To: <sip:777@192.0.2.1>\n"));
    world.expect(CALLEE, "SIP/2.0 202");
    notified(&mut world, CALLEE, "active", "SIP/2.0 100 Trying");
    let target = world.expect(CALLEE, "INVITE sip:777@10.2.2.2:5060 SIP/2.0");
    target_answers_with(&mut world, &target, CAROL);
    notified(&mut world, CALLEE, "terminated", "SIP/2.0 200 OK");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLER, "INVITE");
    world.receive(CALLER, &response(&again, "200 OK", "", Some(&OFFER.replace("AVP 0", "AVP 8"))));
    world.expect(CALLER, "ACK");
    assert_eq!(codecs(world.open_records.last().unwrap()), [Some("PCMA"); 2]);
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let last = world.records.last().unwrap();
    assert_eq!((media(last), counted(last)), (at("10.1.1.1:4000", "10.2.2.9:6000"), [8, 18]));
    assert_eq!((codecs(last), last.ptime_b, last.ended_by), ([Some("PCMA"); 2], Some(30), EndedBy::Caller));
    world.expect_nothing_left();
}

#[test]
fn who_takes_a_place_by_replaces_is_b_of_its_row_with_what_its_invite_says() {
    let (mut world, ok, _) = call_up();
    let said = "\nUser-Agent: Desk/1\nP-Asserted-Identity: <sip:7@10.1.1.7>\nX-Trace: 42";
    let theirs = pickup(&ok, said).replace("m=audio 4000 RTP/AVP 0", "m=audio 4700 RTP/AVP 8");
    world.receive(DESK, &theirs);
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(&ANSWER.replace("AVP 0", "AVP 8"))));
    world.expect(CALLEE, "ACK");
    let taken = world.expect(DESK, "SIP/2.0 200");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.receive(DESK, &replaces::from_desk("ACK", 1, &taken));
    world.receive(DESK, &replaces::from_desk("BYE", 2, &taken));
    world.expect(DESK, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let [talk, last] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((codecs(talk), talk.sip_code_a), ([Some("PCMU"); 2], Some(200)));
    assert_eq!((codecs(last), counted(last)), ([Some("PCMA"); 2], [18, 8]));
    assert_eq!(media(last), at("10.2.2.2:5000", "10.1.1.1:4700"));
    assert_eq!((last.b_user_agent.as_deref(), last.called_sent.as_deref()), (Some("Desk/1"), Some("alice")));
    let asserted = last.identity_out.as_ref().and_then(|identity| identity.asserted.as_deref());
    assert_eq!((asserted, last.ended_by), (Some("<sip:7@10.1.1.7>"), EndedBy::Callee));
    world.expect_nothing_left();
}

#[test]
fn who_takes_a_place_has_its_own_codec_in_its_row_and_not_what_was_translated_for_who_goes() {
    let allow = |name: &str| Codecs { allow: vec![name.to_owned()], ..Codecs::default() };
    let mut world = World::with_routes(|trunks, _| {
        trunks[0].sources = vec![Source::parse("10.1.1.1").unwrap()];
        let mut desk = Trunk::new("desk");
        desk.sources = vec![Source::parse("10.1.1.7").unwrap()];
        (trunks[0].codecs, trunks[1].codecs) = (allow("PCMU"), allow("PCMA"));
        trunks.push(desk);
    });
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let pcma = ANSWER.replace("AVP 0", "AVP 8");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&pcma)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.receive(DESK, &pickup(&ok, "").replace("RTP/AVP 0", "RTP/AVP 8"));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(&pcma)));
    let [talk] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!(codecs(talk), [Some("PCMU"), Some("PCMA")]);
    assert_eq!(codecs(world.open_records.last().unwrap()), [Some("PCMA"); 2]);
}

#[test]
fn who_comes_over_from_another_call_names_the_talk_before_it_and_keeps_its_agent() {
    let (mut world, ok, _, ok2, _) = two_calls();
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    replaces::notified(&mut world, "SIP/2.0 100 Trying");
    let offer = world.expect(FAR, "INVITE");
    let answer = ANSWER.replace("10.2.2.2", "10.3.3.3").replace("5000", "7000");
    world.receive(FAR, &response(&offer, "200 OK", "", Some(&answer)));
    world.expect(FAR, "ACK");
    replaces::notified(&mut world, "SIP/2.0 200 OK");
    let talk = world.records.iter().find(|fact| !fact.is_last).unwrap();
    let joined = world.open_records.iter().rfind(|fact| fact.call_id == talk.call_id).unwrap();
    assert_eq!((joined.origin, joined.parent_id), (Origin::Transfer, Some(talk.id)));
    assert_eq!(joined.b_user_agent.as_deref(), Some("Far/2"));
    assert_eq!(joined.b_media, Some("10.3.3.3:7000".parse().unwrap()));
}

#[test]
fn a_transfer_that_routing_refuses_has_a_row() {
    let (mut world, ok, _) = call_up();
    let talk = world.open_records.last().unwrap().clone();
    world.slow_routing = true;
    caller_refers(&mut world, &ok, "");
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, CALLER, "active", "SIP/2.0 100 Trying");
    let query = world.questions.pop().unwrap().query;
    let tags = call::Tags::new([("tariff", "premium")]).unwrap();
    let refusal = Refusal { route: Some("premium".into()), tags, ..Refusal::new(603, "no".into(), true) };
    world.input(Input::Routed { query, decision: Decision::Refuse(refusal) });
    notified(&mut world, CALLER, "terminated", "SIP/2.0 603 Decline");
    let [row] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((row.attempt, row.is_last, row.origin), (2, false, Origin::Transfer));
    assert_eq!((row.disposition, row.ended_by), (Disposition::Blocked, EndedBy::Policy));
    assert_eq!((row.called_sent.as_deref(), row.route.as_deref()), (Some("777"), Some("premium")));
    assert_eq!((row.parent_id, row.b_destination), (Some(talk.id), None));
    assert_eq!(row.tags.as_ref().unwrap().iter().collect::<Vec<_>>(), [("tariff", "premium")]);
    assert_eq!((row.started_at, row.duration_ms), (row.ended_at, 0));
    ends_by_the_caller(&mut world, &ok, 3);
    let last = world.records.last().unwrap();
    assert_eq!((last.attempt, last.is_last, &last.route), (1, true, &talk.route));
    assert_eq!(last.disposition, Disposition::Answered, "the two went on");
}

#[test]
fn a_transfer_that_is_refused_when_who_asked_has_left_is_a_row_beside_the_last() {
    let (mut world, ok, _) = call_up();
    world.slow_routing = true;
    caller_refers(&mut world, &ok, "");
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, CALLER, "active", "SIP/2.0 100 Trying");
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let query = world.questions.pop().unwrap().query;
    let refusal = Refusal::new(404, "nowhere".into(), false);
    world.input(Input::Routed { query, decision: Decision::Refuse(refusal) });
    world.sent.retain(|sent| sent.text.starts_with("BYE"));
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let rows: Vec<_> = world.records.iter().map(|row| (row.attempt, row.is_last, row.disposition)).collect();
    assert_eq!(rows, [(2, false, Disposition::Failed), (1, true, Disposition::Answered)]);
    let told = world.open_records.iter().find(|open| open.attempt == 2).unwrap();
    assert_eq!((told.disposition, told.ended_by), (Disposition::Failed, EndedBy::Policy));
    world.sent.clear();
    world.expect_nothing_left();
}
