//! A call that outlives its process: kept when it is up, restored in another Core, ended by whoever hangs up.

use std::time::Duration;

use call::{
    Disposition, EndedBy, Input, MediaOrder, MediaReport, NotRestorable, Recording, Side, Speech,
    StreamPorts, shard_of_kept,
};
use routing::MediaSecurity;

use crate::harness::*;
use crate::recording::{G722, orders, record, session, talks_in};
use crate::replaces::{self, DESK, FAR, from_far, of_second, pickup_of_callee, to_consulted, two_calls};
use crate::transfer::caller_transfers;

const LISTENERS: [&str; 3] = ["lab", "outside", "stream"];
/// How long the box is away.
const AWAY: Duration = Duration::from_secs(3);

/// The process dies and another one takes the place of its world, in which time has gone on.
fn die(world: World) -> (World, Box<[u8]>) {
    let kept = world.kept.expect("the call is up, and can be gone on with");
    assert_eq!(shard_of_kept(&kept, &LISTENERS, 1), Ok(0));
    let mut next = World::tuned(|settings| settings.seed = [8; 32]);
    next.now = world.now;
    // Another process has another monotonic clock.
    next.now.time = next.now.time + Duration::from_secs(1_000_000);
    next.pass(AWAY);
    (next, kept)
}

/// The same, and the call is restored.
pub fn dies(world: World) -> World {
    let (mut next, kept) = die(world);
    next.input(Input::Restore { state: &kept, attempts: 1 });
    next
}

fn cseq(request: &Sent) -> u32 {
    request.header("CSeq").split(' ').next().unwrap().parse().unwrap()
}

fn origin(sent: &Sent) -> Vec<&str> {
    sent.body().lines().find_map(|line| line.strip_prefix("o=")).unwrap().split(' ').collect()
}

#[test]
fn the_callers_bye_after_a_crash_is_answered_and_the_callee_told() {
    let (world, ok, out) = call_up();
    let open = world.open_records.last().unwrap().clone();
    let mut world = dies(world);
    world.expect_silence();
    world.pass(Duration::from_secs(5));
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("To"), ok.header("To"));
    let bye = world.expect(CALLEE, "BYE sip:bob@10.2.2.2:5060 SIP/2.0");
    for name in ["From", "Call-ID"] {
        assert_eq!(bye.header(name), out.header(name));
    }
    assert_eq!(bye.tag("To"), "b1");
    assert!(cseq(&bye) > cseq(&out), "{}", bye.header("CSeq"));
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let [record] = &world.records[..] else { panic!("{:?}", world.records) };
    assert_eq!((record.id, record.call_id), (open.id, open.call_id), "the row that was opened");
    assert_eq!((record.disposition, record.ended_by), (Disposition::Answered, EndedBy::Caller));
    assert_eq!((record.recovered, open.recovered), (1, 0));
    assert_eq!((record.started_at, record.answered_at), (open.started_at, open.answered_at));
    let told = (record.ended_at.0 - record.answered_at.unwrap().0) / 1000;
    assert_eq!((record.duration_ms, told), (8_000, 8_000), "the time without a box counts");
    let same = |fact: &call::CdrFact| {
        let parties = (fact.caller.clone(), fact.called.clone(), fact.called_sent.clone());
        let trunks = (fact.trunk_in.clone(), fact.trunk_out.clone(), fact.route.clone(), fact.rank);
        (parties, trunks, fact.b_destination, fact.a_media, fact.b_media, fact.codec_b.clone())
    };
    assert_eq!(same(record), same(&open));
    world.expect_nothing_left();
}

#[test]
fn the_callees_bye_after_a_crash_is_answered_and_the_caller_told() {
    let (world, ok, out) = call_up();
    let mut world = dies(world);
    world.receive(CALLEE, &from_callee("BYE", 1, &out, "Reason: Q.850;cause=16\n"));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(CALLER, "BYE sip:alice@10.1.1.1:5060 SIP/2.0");
    assert_eq!((bye.header("From"), bye.tag("To")), (ok.header("To"), "a1"));
    assert_eq!(bye.header("Reason"), "Q.850;cause=16");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records[0].ended_by, EndedBy::Callee);
    world.expect_nothing_left();
}

#[test]
fn what_was_heard_before_the_crash_is_in_the_record_as_far_as_it_was_counted() {
    let (mut world, ok, _) = call_up();
    world.pass(Duration::from_secs(300));
    let mut world = dies(world);
    ends_by_the_caller(&mut world, &ok, 2);
    let record = &world.records[0];
    assert_eq!((record.from_a.packets, record.from_b.packets), (3 + 11, 4 + 22), "{record:?}");
    assert_eq!(record.from_b.speech, Some(Speech { packets: 3 + 21, lost: 1 + 1 }));
}

#[test]
fn requests_that_were_sent_and_not_written_down_are_not_counted_twice() {
    let (mut world, ok, _) = call_up();
    for number in 2..5 {
        world.receive(CALLER, &from_caller("INFO", number, &ok, ""));
        let info = world.expect(CALLEE, "INFO");
        world.receive(CALLEE, &response(&info, "200 OK", "", None));
        world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(cseq(&info), number);
    }
    let mut world = dies(world);
    world.receive(CALLER, &from_caller("BYE", 5, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    assert!(cseq(&bye) > 4, "the callee refuses what it has heard already (RFC 3261 §12.2.2)");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.expect_nothing_left();
}

#[test]
fn the_relay_takes_the_same_ports_back_and_hears_where_both_sides_are() {
    let (world, ok, _) = call_up();
    let ports = |world: &World| StreamPorts {
        a: call::PortPair { rtp: world.ports - 4, rtcp: world.ports - 3 },
        b: call::PortPair { rtp: world.ports - 2, rtcp: world.ports - 1 },
    };
    let had = ports(&world);
    let mut world = dies(world);
    let [
        MediaOrder::Reopen { session, ports, .. },
        MediaOrder::Describe { side: Side::A, remote: Some(a), .. },
        MediaOrder::Describe { side: Side::B, remote: Some(b), .. },
        MediaOrder::Watch { on: true, .. },
    ] = &world.orders[..]
    else {
        panic!("{:#?}", world.orders);
    };
    assert_eq!(ports[..], [had]);
    assert_eq!((a.rtp, b.rtp), ("10.1.1.1:4000".parse().unwrap(), "10.2.2.2:5000".parse().unwrap()));
    assert!(a.sends && a.receives && b.sends && b.receives);
    let silent = MediaReport::Silent { session: *session, side: Side::B };
    world.input(Input::Media(silent));
    assert!(ends_by_the_box(&mut world).contains("Media Timeout"));
    let _ = ok;
}

#[test]
fn a_call_whose_ports_another_process_has_is_ended_on_both_sides() {
    let (world, ..) = call_up();
    let (mut world, kept) = die(world);
    world.refuse_ports = true;
    world.input(Input::Restore { state: &kept, attempts: 1 });
    assert!(ends_by_the_box(&mut world).contains("Media Lost In Restart"));
    let record = &world.records[0];
    assert_eq!((record.disposition, record.ended_by), (Disposition::Answered, EndedBy::Crash));
}

#[test]
fn a_call_whose_relay_has_moved_is_ended_on_both_sides() {
    let (world, ..) = call_up();
    let (mut world, kept) = die(world);
    world.addresses.v4 = Some([192, 0, 2, 99].into());
    world.input(Input::Restore { state: &kept, attempts: 1 });
    assert!(ends_by_the_box(&mut world).contains("Media Lost In Restart"));
}

#[test]
fn a_call_whose_media_the_box_encrypted_is_ended_since_its_keys_are_kept_nowhere() {
    let mut world = World::with(call::RegistrarPolicy::Closed, |trunks| {
        trunks[1].media_security = MediaSecurity::Sdes;
    });
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let line = out.body().lines().find(|line| line.starts_with("a=crypto:")).unwrap().to_owned();
    let key = line.split("inline:").nth(1).unwrap();
    let key = &key[..40];
    let answer = format!("{}{line}\n", ANSWER.replace("RTP/AVP", "RTP/SAVP"));
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    let kept = world.kept.as_deref().unwrap();
    assert!(!kept.windows(40).any(|window| window == key.as_bytes()), "a key in what is kept");
    let mut world = dies(world);
    assert!(ends_by_the_box(&mut world).contains("Media Lost In Restart"));
}

#[test]
fn a_recording_goes_on_in_a_file_of_its_own() {
    let mut world = World::with(call::RegistrarPolicy::Closed, |trunks| trunks[1].record = true);
    let (ok, _) = call_up_in(&mut world);
    let id = world.begun[0];
    let mut world = dies(world);
    let names = world.orders.iter().filter_map(|order| match order {
        MediaOrder::Record { name, .. } => Some(name.as_deref().unwrap_or("-").to_owned()),
        _ => None,
    });
    assert_eq!(names.collect::<Vec<_>>(), [format!("{id}-2.wav")]);
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(world.records[0].recording, Some(format!("{id}.wav {id}-2.wav").into()));
}

#[test]
fn a_recording_that_a_codec_has_interrupted_goes_on_after_a_crash_when_the_two_come_back_from_it() {
    for is_wanted in [true, false] {
        let (mut world, ok, _) = call_up();
        let id = world.begun[0];
        assert!(matches!(record(&mut world, true), Recording::Files(_)));
        talks_in(&mut world, &ok, 2, "9", G722);
        assert_eq!(orders(&world), [format!("{id}.wav"), "-".to_owned()]);
        if !is_wanted {
            assert!(matches!(record(&mut world, false), Recording::Files(_)));
        }
        let mut world = dies(world);
        talks_in(&mut world, &ok, 3, "9", G722);
        assert!(orders(&world).is_empty());
        talks_in(&mut world, &ok, 4, "0", "");
        let expected = is_wanted.then(|| format!("{id}-2.wav"));
        assert_eq!(orders(&world), expected.into_iter().collect::<Vec<_>>());
        ends_by_the_caller(&mut world, &ok, 5);
    }
}

#[test]
fn a_recording_that_the_relay_has_ended_stays_ended_after_a_crash() {
    let (mut world, ok, _) = call_up();
    assert!(matches!(record(&mut world, true), Recording::Files(_)));
    let session = session(&world);
    world.input(Input::Media(MediaReport::RecordingEnded { session, why: "it is long enough".into() }));
    let mut world = dies(world);
    assert!(orders(&world).is_empty());
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!(world.records.len(), 1);
}

#[test]
fn a_re_invite_after_a_crash_crosses_and_the_session_counts_on() {
    let (world, ok, out) = call_up();
    let mut world = dies(world);
    let hold = OFFER.replace("a=rtpmap", "a=sendonly\na=rtpmap");
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{hold}")));
    world.expect(CALLER, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE sip:bob@10.2.2.2:5060");
    let (before, now) = (origin(&out), origin(&offer));
    assert_eq!((before[1], before[5]), (now[1], now[5]), "our session and address");
    let version = |origin: &[&str]| origin[2].parse::<u32>().unwrap();
    assert_eq!(version(&now), version(&before) + 1);
    let held = ANSWER.replace("m=audio", "a=recvonly\nm=audio");
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(&held)));
    world.expect(CALLEE, "ACK");
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(origin(&answer)[1], origin(&ok)[1]);
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    // The next process knows the session as it is now.
    let mut world = dies(world);
    let directions = world.orders.iter().filter_map(|order| match order {
        MediaOrder::Describe { remote: Some(remote), .. } => Some((remote.sends, remote.receives)),
        _ => None,
    });
    assert_eq!(directions.collect::<Vec<_>>(), [(true, false), (false, true)]);
    ends_by_the_caller(&mut world, &ok, 3);
    assert_eq!(world.records[0].recovered, 2);
}

#[test]
fn a_target_that_moved_before_the_crash_is_where_requests_go_after_it() {
    let (mut world, ok, out) = call_up();
    let update = from_caller("UPDATE", 2, &ok, "Supported: timer\n");
    world.receive(CALLER, &update.replace("<sip:alice@10.1.1.1:5060>", "<sip:alice@10.1.1.77:5060>"));
    world.expect(CALLER, "SIP/2.0 200");
    let mut world = dies(world);
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect("10.1.1.77:5060", "BYE sip:alice@10.1.1.77:5060 SIP/2.0");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.expect_nothing_left();
}

/// An UPDATE by which this host is somewhere else from now on.
fn moves(update: &str, from: &str, to: &str) -> String {
    let [from, to] = [from, to].map(|host| format!("@{host}:5060>"));
    update.replace(&from, &to)
}

/// What came to nothing adds nothing to what the journal had of the call, if nothing new is said of that.
fn dies_with(world: World, before: Option<Box<[u8]>>) -> World {
    dies(World { kept: world.kept.clone().or(before), ..world })
}

#[test]
fn who_moved_while_somebody_was_to_come_who_did_not_is_where_requests_go_after_a_crash() {
    for is_transfer in [true, false] {
        let (mut world, ok, out) = call_up();
        let before = world.kept.clone();
        let cseq = if is_transfer { 3 } else { 2 };
        let update = from_caller("UPDATE", cseq, &ok, "Supported: timer\n");
        let asked = if is_transfer {
            caller_transfers(&mut world, &ok)
        } else {
            world.receive(DESK, &pickup_of_callee(&out, "p1"));
            world.expect(DESK, "SIP/2.0 100");
            world.expect(CALLER, "INVITE")
        };
        world.receive(CALLER, &moves(&update, "10.1.1.1", "10.1.1.77"));
        world.expect(CALLER, "SIP/2.0 200");
        world.receive(&asked.to.to_string(), &response(&asked, "486 Busy Here", "", None));
        let mut world = dies_with(world, before);
        world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
        world.expect(CALLEE, "SIP/2.0 200");
        let bye = world.expect("10.1.1.77:5060", "BYE sip:alice@10.1.1.77:5060 SIP/2.0");
        world.receive(CALLER, &response(&bye, "200 OK", "", None));
        world.expect_nothing_left();
    }
}

#[test]
fn who_moved_while_another_call_wanted_it_and_stayed_is_where_requests_go_after_a_crash() {
    let (mut world, ok, _, ok2, out2) = two_calls();
    let before = world.kept.clone();
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    replaces::notified(&mut world, "SIP/2.0 100 Trying");
    let offer = world.expect(FAR, "INVITE");
    let update = from_far("UPDATE", 1, &out2).replace("\n\n", "\nSupported: timer\n\n");
    world.receive(FAR, &moves(&update, "10.3.3.3", "10.3.3.77"));
    world.expect(FAR, "SIP/2.0 200");
    world.receive(FAR, &response(&offer, "488 Not Acceptable Here", "", None));
    let mut world = dies_with(world, before);
    world.receive(CALLER, &of_second(&from_caller("BYE", 2, &ok2, "")));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect("10.3.3.77:5060", "BYE");
    world.receive(FAR, &response(&bye, "200 OK", "", None));
    world.expect_nothing_left();
}

#[test]
fn a_session_that_the_box_refreshes_is_refreshed_soon_with_the_description_that_stands() {
    let (world, ok, out) = call_up();
    let mut world = dies(world);
    world.expect_silence();
    let mut refreshed = Vec::new();
    for _ in 0..=1_800 / 8 {
        world.pass(Duration::from_secs(1));
        let Some(refresh) = world.sent.pop_front() else { continue };
        let to = refresh.to.to_string();
        let (told, body) = if to == CALLER { (&ok, OFFER) } else { (&out, ANSWER) };
        assert_eq!(refresh.body(), told.body(), "nothing in it has changed");
        world.receive(&to, &response(&refresh, "200 OK", "", Some(body)));
        world.expect(&to, "ACK");
        refreshed.push(to);
    }
    refreshed.sort();
    assert_eq!(refreshed, [CALLER, CALLEE]);
    assert_eq!(world.core.stats().calls, 1);
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn a_peer_that_forgot_the_dialog_meanwhile_ends_the_call_at_the_first_refresh() {
    let (world, ..) = call_up();
    let mut world = dies(world);
    let refresh = loop {
        world.pass(Duration::from_secs(1));
        if let Some(sent) = world.sent.pop_front() {
            break sent;
        }
    };
    let to = refresh.to.to_string();
    world.receive(&to, &response(&refresh, "481 Call/Transaction Does Not Exist", "", None));
    world.sent.retain(|sent| !sent.text.starts_with("ACK"));
    ends_by_the_box(&mut world);
}

#[test]
fn a_peer_that_refreshes_is_heard_and_one_that_does_not_any_more_ends_the_call() {
    for refreshes in [true, false] {
        let mut world = World::new();
        let timer = "Supported: timer\nSession-Expires: 90;refresher=uac\n";
        world.receive(CALLER, &invite("1", Some(OFFER)).replace("X-Trace: 42\n", timer));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        let answer = response(&out, "200 OK", "b1", Some(ANSWER));
        let granted = "Supported: timer\nSession-Expires: 1800;refresher=uas\nContent-Type";
        world.receive(CALLEE, &answer.replace("Content-Type", granted));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
        let mut world = dies(world);
        if refreshes {
            world.pass(Duration::from_secs(40));
            world.receive(CALLER, &from_caller("UPDATE", 2, &ok, timer));
            assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("Session-Expires"), "90;refresher=uac");
            world.pass(Duration::from_secs(40));
            world.expect_silence();
        }
        // A third of the interval before its end (RFC 4028 §10).
        world.pass(Duration::from_secs(if refreshes { 20 } else { 60 }));
        assert!(ends_by_the_box(&mut world).contains("Session Expired"));
    }
}

#[test]
fn however_often_the_process_dies_there_is_one_record() {
    let (world, ok, _) = call_up();
    let id = world.open_records[0].id;
    let mut world = world;
    for _ in 0..5 {
        world = dies(world);
        assert!(world.records.is_empty());
        assert_eq!(world.open_records.last().unwrap().id, id);
    }
    ends_by_the_caller(&mut world, &ok, 2);
    assert_eq!((world.records.len(), world.records[0].id, world.records[0].recovered), (1, id, 5));
}

#[test]
fn calls_that_are_restored_in_another_order_are_still_told_apart() {
    let mut kept = Vec::new();
    let mut dialogs = Vec::new();
    let mut world = World::new();
    for number in 0..3 {
        let numbered = |text: &str| {
            text.replace("call-a@", &format!("call-{number}@")).replace("bK", &format!("bK{number}x"))
        };
        world.receive(CALLER, &numbered(&invite("1", Some(OFFER))));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        world.expect(CALLEE, "ACK");
        world.receive(CALLER, &numbered(&from_caller("ACK", 1, &ok, "")));
        kept.push(world.kept.take().unwrap());
        dialogs.push((ok, out));
    }
    let mut next = World::tuned(|settings| settings.seed = [8; 32]);
    for state in kept.iter().rev() {
        next.input(Input::Restore { state, attempts: 1 });
    }
    assert_eq!(next.core.stats().calls, 3);
    for (number, (ok, out)) in dialogs.iter().enumerate() {
        let bye = from_caller("BYE", 2, ok, "")
            .replace("call-a@", &format!("call-{number}@"))
            .replace("bK", &format!("bK{number}x"));
        next.receive(CALLER, &bye);
        assert_eq!(next.expect(CALLER, "SIP/2.0 200").header("To"), ok.header("To"));
        let told = next.expect(CALLEE, "BYE");
        assert_eq!(
            (told.header("From"), told.header("Call-ID")),
            (out.header("From"), out.header("Call-ID"))
        );
        next.receive(CALLEE, &response(&told, "200 OK", "", None));
        // Whoever knows the tag of a call that is over finds nothing.
        next.receive(CALLER, &bye.replace("CSeq: 2", "CSeq: 3").replace("BYE2", "BYE3"));
        next.expect(CALLER, "SIP/2.0 481");
    }
    assert_eq!(next.records.len(), 3);
    next.expect_nothing_left();
}

#[test]
fn a_side_that_leaves_while_ports_are_asked_for_is_answered_and_the_other_told() {
    let (world, ok, _) = call_up();
    let (mut world, kept) = die(world);
    world.slow_ports = true;
    world.input(Input::Restore { state: &kept, attempts: 1 });
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.slow_ports = false;
    world.open_ports();
    assert_eq!(world.records[0].ended_by, EndedBy::Caller);
    assert!(world.orders.iter().any(|order| matches!(order, MediaOrder::Close { .. })));
    world.expect_nothing_left();
}

#[test]
fn an_offer_while_ports_are_asked_for_is_to_come_again() {
    let (world, ok, _) = call_up();
    let (mut world, kept) = die(world);
    world.slow_ports = true;
    world.input(Input::Restore { state: &kept, attempts: 1 });
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{OFFER}")));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLER, "SIP/2.0 491");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, "").replace("bKACK2", "bKINVITE2"));
    world.slow_ports = false;
    world.open_ports();
    assert_eq!(world.core.stats().calls, 1);
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn a_relay_that_says_nothing_of_the_ports_ends_the_call() {
    let (world, ..) = call_up();
    let (mut world, kept) = die(world);
    world.slow_ports = true;
    world.input(Input::Restore { state: &kept, attempts: 1 });
    world.pass(Duration::from_secs(32));
    world.slow_ports = false;
    world.open_ports();
    assert!(ends_by_the_box(&mut world).contains("Media Lost In Restart"));
}

#[test]
fn a_call_that_was_hung_up_is_over_though_its_process_dies_before_the_other_side_said_so() {
    let (mut world, ok, _) = call_up();
    assert!(world.kept.is_some());
    world.pass(Duration::from_secs(5));
    let hung_up = world.now.utc;
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    assert!(world.records.is_empty() && world.kept.is_none(), "nobody may go on with it");
    let open = world.open_records.last().unwrap().clone();
    assert_eq!((open.disposition, open.ended_by), (Disposition::Answered, EndedBy::Caller));
    assert_eq!((open.ended_at, open.duration_ms, open.is_last), (hung_up, 5_000, false));
    assert_eq!((open.from_a.packets, open.from_b.packets), (11, 22));
    // The callee takes its time; what was said stays true.
    world.pass(Duration::from_secs(3));
    world.sent.clear();
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records, [call::CdrFact { is_last: true, ..open }]);
    world.expect_nothing_left();
}

#[test]
fn a_call_that_was_cancelled_is_over_though_its_process_dies_before_the_callee_said_so() {
    let mut world = World::new();
    call_ringing(&mut world);
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.expect(CALLEE, "CANCEL");
    assert!(world.records.is_empty());
    let open = world.open_records.last().unwrap();
    assert_eq!((open.disposition, open.ended_by), (Disposition::Cancelled, EndedBy::Caller));
    assert_eq!((open.sip_code_a, open.ended_at), (Some(487), world.now.utc));
}

#[test]
fn of_a_call_that_ends_in_one_step_the_record_says_so_at_once() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    let opened = world.open_records.len();
    world.receive(CALLEE, &response(&out, "486 Busy Here", "b1", None));
    assert_eq!((world.records.len(), world.open_records.len()), (1, opened));
}

#[test]
fn a_call_that_nobody_has_answered_is_not_kept() {
    let mut world = World::new();
    call_ringing(&mut world);
    assert!(!world.open_records.is_empty() && world.kept.is_none());
    let mut off = World::tuned(|settings| settings.recover_calls = false);
    call_up_in(&mut off);
    assert!(off.kept.is_none(), "it is kept although nobody wants it");
}

#[test]
fn a_call_that_was_offered_in_the_2xx_is_kept_once_the_caller_has_answered() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert!(world.kept.is_none(), "the callee waits for its ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, &format!("{KIND}{OFFER}")));
    world.expect(CALLEE, "ACK");
    let mut world = dies(world);
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn what_no_process_of_this_kind_has_kept_is_refused_by_name() {
    let (world, ..) = call_up();
    let kept = world.kept.clone().unwrap();
    let refused = |state: &[u8]| shard_of_kept(state, &LISTENERS, 1).unwrap_err();
    assert_eq!(refused(b""), NotRestorable::Damaged);
    for at in 1..kept.len() {
        let mut damaged = kept.clone();
        damaged[at] ^= 0x20;
        assert_eq!(refused(&damaged), NotRestorable::Damaged, "octet {at}");
        assert_eq!(refused(&kept[..at]), NotRestorable::Damaged, "cut at {at}");
    }
    let mut older = kept.clone();
    older[0] = 0;
    assert_eq!(refused(&older).to_string(), "expected a call as version 6 writes it, got version 0");
    let gone = shard_of_kept(&kept, &["outside"], 1).unwrap_err();
    assert_eq!(gone.to_string(), "expected a listener \"lab\", which is not configured any more");
    let together = (1..50).filter(|shards| shard_of_kept(&kept, &LISTENERS, *shards).is_ok()).count();
    assert!(
        (1..30).contains(&together),
        "two Call-IDs are seldom of one shard when there are others: {together}"
    );
    // Even if somebody hands it in, nothing comes of it but a warning.
    let mut next = World::new();
    next.input(Input::Restore { state: &kept[..40], attempts: 1 });
    assert_eq!((next.core.stats().calls, next.warnings.len()), (0, 1));
}
