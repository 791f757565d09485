//! Recordings where a side is exchanged: whose wish counts, and what is read of whom.

use call::{Recording, RegistrarPolicy};
use routing::{Route, Source, Trunk, TrunkId};

use crate::harness::*;
use crate::recording::{G722, orders, record};
use crate::recovery::dies;
use crate::replaces::{DESK, pickup};
use crate::transfer::{caller_refers, caller_transfers, from_target, notified};

/// Where 777 is.
const STUDIO: &str = "10.4.4.4:5060";

const CAROL: &str = "v=0
o=carol 5 5 IN IP4 10.4.4.4
s=-
c=IN IP4 10.4.4.4
t=0 0
m=audio 6000 RTP/AVP 0
";

/// A world in which 777 has a trunk and a route of its own, of which one is recorded.
fn with_studio(by_route: bool) -> World {
    World::with_routes(|trunks, routes| {
        let mut studio = Trunk::new("studio");
        studio.sources = vec![Source::parse("10.4.4.4").unwrap()];
        studio.peers = vec![format!("sip:{STUDIO}")];
        studio.record = !by_route;
        trunks.push(studio);
        let mut route = Route::new("to the studio", [TrunkId(2)]);
        route.called = Some(regex::Regex::new("^777$").unwrap());
        route.record = by_route;
        routes.insert(0, route);
    })
}

/// The caller refers the callee to 777: the box's INVITE to it.
fn referred(world: &mut World, ok: &Sent) -> Sent {
    caller_refers(world, ok, "");
    world.expect(CALLER, "SIP/2.0 202");
    notified(world, CALLER, "active", "SIP/2.0 100 Trying");
    world.expect(STUDIO, "INVITE sip:777@")
}

/// 777 answers, and the callee takes it.
fn joined(world: &mut World, target: &Sent) {
    world.receive(STUDIO, &response(target, "200 OK", "c1", Some(CAROL)));
    notified(world, CALLER, "terminated", "SIP/2.0 200 OK");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.expect(STUDIO, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
}

#[test]
fn a_call_that_is_transferred_to_who_is_recorded_is_recorded_from_then_on() {
    for by_route in [false, true] {
        let mut world = with_studio(by_route);
        let (ok, _) = call_up_in(&mut world);
        let target = referred(&mut world, &ok);
        assert!(orders(&world).is_empty(), "those who talk are not");
        joined(&mut world, &target);
        let expected = format!("{}.wav", world.begun[0]);
        assert_eq!(orders(&world), [expected.as_str()]);
        let told = world.open_records.last().and_then(|fact| fact.recording.as_deref());
        assert_eq!(told, Some(&*expected), "should the process die now");
        world.receive(STUDIO, &from_target("BYE", 1, &target).replace(CALLEE, STUDIO));
        world.expect(STUDIO, "SIP/2.0 200");
        let bye = world.expect(CALLEE, "BYE");
        world.receive(CALLEE, &response(&bye, "200 OK", "", None));
        assert_eq!(world.records.last().unwrap().recording.as_deref(), Some(&*expected));
        world.expect_nothing_left();
    }
}

#[test]
fn a_recording_that_an_operator_ended_begins_anew_for_who_is_recorded() {
    let mut world = with_studio(true);
    let (ok, _) = call_up_in(&mut world);
    assert!(matches!(record(&mut world, true), Recording::Files(_)));
    assert!(matches!(record(&mut world, false), Recording::Files(_)));
    let target = referred(&mut world, &ok);
    joined(&mut world, &target);
    let id = world.begun[0];
    assert_eq!(orders(&world), [format!("{id}.wav"), "-".to_owned(), format!("{id}-2.wav")]);
}

#[test]
fn a_recording_that_an_operator_ended_stays_so_where_nobody_who_comes_is_recorded() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| trunks[1].record = true);
    let (ok, _) = call_up_in(&mut world);
    assert!(matches!(record(&mut world, false), Recording::Files(_)));
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    assert_eq!(orders(&world), [format!("{}.wav", world.begun[0]), "-".to_owned()]);
}

#[test]
fn a_transfer_of_which_nothing_came_leaves_no_wish_behind() {
    let mut world = with_studio(true);
    let (ok, out) = call_up_in(&mut world);
    let target = referred(&mut world, &ok);
    world.receive(STUDIO, &response(&target, "486 Busy Here", "c1", None));
    world.expect(STUDIO, "ACK");
    notified(&mut world, CALLER, "terminated", "SIP/2.0 486 Busy Here");
    // Both are asked again what they talk in, and their call is kept.
    world.receive(CALLEE, &(from_callee("INVITE", 1, &out, KIND) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 100");
    let across = world.expect(CALLER, "INVITE");
    world.receive(CALLER, &response(&across, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(CALLEE, &from_callee("ACK", 1, &out, ""));
    let next = dies(world);
    assert!(orders(&next).is_empty());
}

#[test]
fn those_who_talk_while_a_target_rings_can_be_recorded_and_their_record_says_so() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "180 Ringing", "c1", None));
    notified(&mut world, CALLER, "active", "SIP/2.0 180 Ringing");
    let opened = world.open_records.len();
    let expected = format!("{}.wav", world.begun[0]);
    assert_eq!(record(&mut world, true), Recording::Files(expected.as_str().into()));
    assert_eq!(orders(&world), [expected.as_str()]);
    assert_eq!(world.open_records.len(), opened, "the row of the target has nothing of it");
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    world.expect(CALLEE, "ACK");
    notified(&mut world, CALLER, "terminated", "SIP/2.0 486 Busy Here");
    let told = world.open_records.last().and_then(|fact| fact.recording.as_deref());
    assert_eq!(told, Some(&*expected), "should the process die now");
    let next = dies(world);
    assert_eq!(orders(&next), [expected.replace(".wav", "-2.wav")]);
}

#[test]
fn who_is_left_alone_while_a_target_rings_is_not_recorded() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "180 Ringing", "c1", None));
    notified(&mut world, CALLER, "active", "SIP/2.0 180 Ringing");
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(record(&mut world, true), Recording::NotAnswered);
}

/// The desk is at a trunk of its own, which is recorded, or not.
fn with_desk(is_recorded: bool) -> World {
    World::with_routes(|trunks, _| {
        trunks[0].sources = vec![Source::parse("10.1.1.1").unwrap()];
        let mut desk = Trunk::new("desk");
        desk.sources = vec![Source::parse("10.1.1.7").unwrap()];
        desk.record = is_recorded;
        trunks.push(desk);
    })
}

/// The desk takes the caller's place with this offer, and the callee answers so.
fn picked_up(world: &mut World, ok: &Sent, offer: &str, answer: &str) {
    world.receive(DESK, &pickup(ok, "").replace(OFFER, offer));
    world.expect(DESK, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(answer)));
    world.expect(CALLEE, "ACK");
    world.expect(DESK, "SIP/2.0 200");
    world.expect(CALLER, "BYE");
}

#[test]
fn who_takes_a_place_and_is_recorded_is_recorded_from_then_on() {
    let mut world = with_desk(true);
    let (ok, _) = call_up_in(&mut world);
    picked_up(&mut world, &ok, OFFER, ANSWER);
    assert_eq!(orders(&world), [format!("{}.wav", world.begun[0])]);
    world.expect_replays();
}

#[test]
fn who_takes_a_place_and_speaks_what_cannot_be_read_interrupts_the_recording_at_once() {
    let mut world = with_desk(false);
    let (ok, _) = call_up_in(&mut world);
    assert!(matches!(record(&mut world, true), Recording::Files(_)));
    let [offer, answer] = [OFFER, ANSWER].map(|body| body.replace("AVP 0", "AVP 9") + G722);
    picked_up(&mut world, &ok, &offer, &answer);
    assert_eq!(orders(&world), [format!("{}.wav", world.begun[0]), "-".to_owned()]);
    assert_eq!(world.warnings.len(), 1, "{:?}", world.warnings);
    assert_eq!(record(&mut world, true), Recording::Codec("G722/8000".into()));
}

#[test]
fn who_takes_a_place_and_can_be_read_is_recorded_where_who_goes_could_not_be() {
    let mut world = with_desk(true);
    let [offer, answer] = [OFFER, ANSWER].map(|body| body.replace("AVP 0", "AVP 9") + G722);
    world.receive(CALLER, &invite("1", Some(&offer)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    picked_up(&mut world, &ok, OFFER, ANSWER);
    assert_eq!(orders(&world), [format!("{}.wav", world.begun[0])]);
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
}
