//! When a call is recorded, what the operator is told of it, and what its record names.

use crate::harness::*;
use call::{Command, Input, MediaId, MediaOrder, MediaReport, Recording, RegistrarPolicy, Reply};

/// The names of the files begun, `-` for each order to end one.
pub fn orders(world: &World) -> Vec<String> {
    let told = |order: &MediaOrder| match order {
        MediaOrder::Record { name, .. } => Some(name.as_deref().unwrap_or("-").to_owned()),
        MediaOrder::Open { .. }
        | MediaOrder::Reopen { .. }
        | MediaOrder::Listen { .. }
        | MediaOrder::Describe { .. }
        | MediaOrder::Watch { .. }
        | MediaOrder::Count { .. }
        | MediaOrder::TakeDigits { .. }
        | MediaOrder::Transcode { .. }
        | MediaOrder::PlayDigit { .. }
        | MediaOrder::Close { .. } => None,
    };
    world.orders.iter().filter_map(told).collect()
}

pub fn session(world: &World) -> MediaId {
    world
        .orders
        .iter()
        .find_map(|order| match order {
            MediaOrder::Open { session, .. } => Some(*session),
            _ => None,
        })
        .unwrap()
}

pub fn record(world: &mut World, on: bool) -> Recording {
    let id = *world.begun.first().unwrap_or(&uuid::Uuid::nil());
    world.input(Input::Command { id: 1, command: Command::Record { id, on } });
    match world.replies.pop() {
        Some(Reply::Recording(recording)) => recording,
        other => panic!("{other:?}"),
    }
}

/// What the call's view says: the files, and whether it is recorded now.
fn shown(world: &mut World) -> Option<(String, bool)> {
    world.input(Input::Command { id: 2, command: Command::Show(world.begun[0]) });
    let Some(Reply::Call(Some(call))) = world.replies.pop() else { panic!("no call") };
    call.recording.map(|recording| (recording.files.into(), recording.is_on))
}

#[test]
fn a_call_of_a_trunk_or_route_that_is_recorded_is_recorded_once_and_its_record_says_where() {
    for by_route in [false, true] {
        let mut world = World::routed(RegistrarPolicy::Closed, |trunks, route| {
            trunks[1].record = !by_route;
            route.record = by_route;
        });
        let (out, _) = call_ringing(&mut world);
        assert!(orders(&world).is_empty(), "what rings is not recorded");
        world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        world.expect(CALLEE, "ACK");
        world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
        let expected = format!("{}.wav", world.begun[0]);
        assert_eq!(orders(&world), [expected.as_str()]);
        assert_eq!(shown(&mut world), Some((expected.clone(), true)));
        let told = world.open_records.last().and_then(|fact| fact.recording.as_deref());
        assert_eq!(told, Some(&*expected), "should the process die now");
        ends_by_the_caller(&mut world, &ok, 2);
        assert_eq!(world.records[0].recording.as_deref(), Some(&*expected));
    }
}

#[test]
fn a_call_that_nobody_wants_recorded_is_not() {
    let (mut world, ok, _) = call_up();
    assert!(orders(&world).is_empty());
    assert_eq!(shown(&mut world), None);
    assert_eq!(record(&mut world, false), Recording::NotRecorded);
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(world.records[0].recording, None);
}

#[test]
fn an_operator_begins_and_ends_recordings_within_a_call_each_in_a_file_of_its_own() {
    let (mut world, ok, _) = call_up();
    let id = world.begun[0];
    let (one, two) = (format!("{id}.wav"), format!("{id}-2.wav"));
    assert_eq!(record(&mut world, true), Recording::Files(one.as_str().into()));
    assert_eq!(record(&mut world, true), Recording::Files(one.as_str().into()), "it goes on");
    assert_eq!(record(&mut world, false), Recording::Files(one.as_str().into()));
    assert_eq!(shown(&mut world), Some((one.clone(), false)));
    let both = format!("{one} {two}");
    assert_eq!(record(&mut world, true), Recording::Files(both.as_str().into()));
    assert_eq!(orders(&world), [one, "-".to_owned(), two]);
    world.expect_replays();
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(world.records[0].recording.as_deref(), Some(&*both));
}

#[test]
fn recordings_of_one_call_are_bounded() {
    let (mut world, _, _) = call_up();
    for _ in 0..16 {
        assert!(matches!(record(&mut world, true), Recording::Files(_)));
        assert!(matches!(record(&mut world, false), Recording::Files(_)));
    }
    assert_eq!(record(&mut world, true), Recording::TooMany);
}

#[test]
fn what_is_no_call_yet_or_any_more_is_not_recorded() {
    let mut world = World::new();
    assert_eq!(record(&mut world, true), Recording::NoCall);
    let (out, _) = call_ringing(&mut world);
    assert_eq!(record(&mut world, true), Recording::NotAnswered);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    assert_eq!(record(&mut world, true), Recording::NotAnswered);
    assert!(orders(&world).is_empty());
}

#[test]
fn a_codec_that_cannot_be_read_is_refused_by_name_and_said_where_the_trunk_wanted_it_recorded() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| trunks[0].record = true);
    let offer = format!("{}a=rtpmap:9 G722/8000\n", OFFER.replace("RTP/AVP 0", "RTP/AVP 9 0"));
    let answer = format!("{}a=rtpmap:9 G722/8000\n", ANSWER.replace("RTP/AVP 0", "RTP/AVP 9"));
    world.receive(CALLER, &invite("1", Some(&offer)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    assert!(orders(&world).is_empty());
    assert!(world.warnings.iter().any(|what| what.contains("G722/8000")), "{:?}", world.warnings);
    assert_eq!(record(&mut world, true), Recording::Codec("G722/8000".into()));
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(world.records[0].recording, None);
}

#[test]
fn a_recording_that_the_relay_ends_leaves_the_call_as_it_was() {
    let (mut world, ok, _) = call_up();
    assert!(matches!(record(&mut world, true), Recording::Files(_)));
    let session = session(&world);
    let why = "recording.max_mb is reached";
    world.input(Input::Media(MediaReport::RecordingEnded { session, why: why.into() }));
    world.expect_silence();
    assert!(shown(&mut world).is_some_and(|(_, is_on)| !is_on));
    world.expect_replays();
    ends_by_the_caller(&mut world, &ok, 2);
    assert!(world.records[0].recording.is_some(), "what there is of it is kept");
}

#[test]
fn a_recording_that_could_not_begin_is_in_no_record() {
    let (mut world, ok, _) = call_up();
    assert!(matches!(record(&mut world, true), Recording::Files(_)));
    let session = session(&world);
    world.input(Input::Media(MediaReport::NotRecording {
        session,
        why: "recording.max_mb is reached".into(),
    }));
    world.expect_silence();
    assert!(world.warnings.iter().any(|what| what.contains("not recorded")), "{:?}", world.warnings);
    assert!(shown(&mut world).is_none_or(|(_, is_on)| !is_on));
    world.expect_replays();
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(world.records[0].recording, None);
}

pub const G722: &str = "a=rtpmap:9 G722/8000\n";

/// The caller offers another codec and the callee takes it.
pub fn talks_in(world: &mut World, ok: &Sent, cseq: u32, payload_type: &str, line: &str) {
    let [offer, answer] = [
        OFFER.replace("AVP 0 101", &format!("AVP {payload_type} 101")),
        ANSWER.replace("AVP 0", &format!("AVP {payload_type}")),
    ]
    .map(|body| body + line);
    world.receive(CALLER, &(from_caller("INVITE", cseq, ok, KIND) + &offer));
    world.expect(CALLER, "SIP/2.0 100");
    let across = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&answer)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", cseq, ok, ""));
}

#[test]
fn what_the_two_go_over_to_and_cannot_be_read_is_not_recorded_until_they_come_back() {
    let (mut world, ok, _) = call_up();
    let id = world.begun[0];
    let (one, two) = (format!("{id}.wav"), format!("{id}-2.wav"));
    assert!(matches!(record(&mut world, true), Recording::Files(_)));
    talks_in(&mut world, &ok, 2, "8", "");
    assert_eq!(orders(&world), [one.as_str()], "it can be read as well");
    talks_in(&mut world, &ok, 3, "9", G722);
    assert_eq!(orders(&world), [one.as_str(), "-"]);
    assert_eq!(shown(&mut world), Some((one.clone(), false)));
    assert!(world.warnings.iter().any(|what| what.contains("G722/8000")), "{:?}", world.warnings);
    talks_in(&mut world, &ok, 4, "9", G722);
    talks_in(&mut world, &ok, 5, "0", "");
    assert_eq!(orders(&world), [one.as_str(), "-", two.as_str()]);
    assert_eq!(world.warnings.len(), 1);
    talks_in(&mut world, &ok, 6, "9", G722);
    assert!(matches!(record(&mut world, false), Recording::Files(_)));
    talks_in(&mut world, &ok, 7, "0", "");
    assert_eq!(orders(&world), [one.as_str(), "-", two.as_str(), "-"], "nobody wants it any more");
    world.expect_replays();
    ends_by_the_caller(&mut world, &ok, 8);
    assert_eq!(world.records[0].recording.as_deref(), Some(&*format!("{one} {two}")));
}
