//! Several targets at once (RFC 3261 §16.6, §16.7): who is called, what the caller hears of it, and how those end who
//! were called in vain.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::*;
use call::{Disposition, EndedBy, MediaOrder, RegistrarPolicy, Side};
use routing::{Fork, Source, Trunk, TrunkId};

/// The first peer of a third trunk.
const OTHER: &str = "10.4.4.4:5060";

const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// A route that calls two trunks at once: the callee's with its two peers, and another with one.
fn parallel() -> World {
    parallel_with(|_, _| {})
}

/// The same, with the two trunks changed.
fn parallel_with(change: impl FnOnce(&mut Trunk, &mut Trunk)) -> World {
    World::routed(RegistrarPolicy::Closed, |trunks, route| {
        let mut other = Trunk::new("other");
        other.sources = vec![Source::parse("10.4.4.4").unwrap()];
        other.peers = vec![format!("sip:{OTHER}")];
        change(&mut trunks[1], &mut other);
        trunks.push(other);
        route.to = vec![TrunkId(1), TrunkId(2)];
        route.fork = Fork::Parallel;
    })
}

/// A call that two targets were invited to.
fn both_invited(world: &mut World) -> (Sent, Sent) {
    let one = call_placed(world);
    let other = world.expect(OTHER, "INVITE sip:4912345@10.4.4.4:5060 SIP/2.0");
    assert_ne!(one.header("Call-ID"), other.header("Call-ID"));
    world.expect_silence();
    (one, other)
}

/// A call that two targets ring for.
fn both_ring(world: &mut World) -> (Sent, Sent) {
    let (one, other) = both_invited(world);
    world.receive(CALLEE, &response(&one, "180 Ringing", "b1", None));
    let first = world.expect(CALLER, "SIP/2.0 180");
    world.receive(OTHER, &response(&other, "183 Session Progress", "c1", None));
    let second = world.expect(CALLER, "SIP/2.0 183");
    assert_eq!(first.tag("To"), second.tag("To"));
    (one, other)
}

/// The target at `at` was cancelled: it agrees.
fn leaves(world: &mut World, at: &str, invite: &Sent, tag: &str) -> Sent {
    let cancel = world.expect(at, "CANCEL");
    assert_eq!(cancel.header("Via"), invite.header("Via"));
    world.receive(at, &response(&cancel, "200 OK", tag, None));
    world.receive(at, &response(invite, "487 Request Terminated", tag, None));
    world.expect(at, "ACK");
    cancel
}

/// Attempt, whether it is the last, disposition, who ended it, status of the target: of each record in their order.
fn rows(world: &World) -> Vec<(u32, bool, Disposition, EndedBy, Option<u16>)> {
    world.records.iter().map(|r| (r.attempt, r.is_last, r.disposition, r.ended_by, r.sip_code_b)).collect()
}

#[test]
fn cancel_c12_one_answers_and_the_others_learn_that_the_call_was_completed_elsewhere() {
    let mut world = parallel();
    let (one, other) = both_ring(&mut world);
    world.receive(CALLEE, &response(&one, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    let cancel = leaves(&mut world, OTHER, &other, "c1");
    assert_eq!(cancel.header("Reason"), ELSEWHERE);
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(
        rows(&world),
        [
            (2, false, Disposition::Cancelled, EndedBy::Policy, Some(487)),
            (1, true, Disposition::Answered, EndedBy::Caller, Some(200)),
        ]
    );
    assert!(world.records.iter().all(|r| r.answered_at.is_some() == r.is_last), "{:#?}", world.records);
    assert_eq!(world.records[0].b_sip_call_id.as_deref(), Some(other.header("Call-ID")));
    assert_eq!(world.records[0].trunk_out.as_deref(), Some("other"));
    world.expect_nothing_left();
}

#[test]
fn cancel_c12_waits_for_the_first_provisional_of_a_branch_that_said_nothing() {
    let mut world = parallel();
    let (one, other) = both_invited(&mut world);
    world.receive(OTHER, &response(&other, "200 OK", "c1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(OTHER, "ACK");
    world.expect_silence();
    world.receive(CALLEE, &response(&one, "100 Trying", "", None));
    let cancel = leaves(&mut world, CALLEE, &one, "b1");
    assert_eq!(cancel.header("Reason"), ELSEWHERE);
    world.expect_silence();
}

#[test]
fn cancel_c12_c3_a_second_answer_that_crosses_gets_ack_and_bye_with_the_reason() {
    let mut world = parallel();
    let (one, other) = both_ring(&mut world);
    world.receive(CALLEE, &response(&one, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    let cancel = world.expect(OTHER, "CANCEL");
    world.receive(OTHER, &response(&other, "200 OK", "c1", Some(ANSWER)));
    let ack = world.expect(OTHER, "ACK");
    assert_eq!(ack.tag("To"), "c1");
    let bye = world.expect(OTHER, "BYE");
    assert_eq!((bye.tag("To"), bye.header("Reason")), ("c1", ELSEWHERE));
    world.receive(OTHER, &response(&cancel, "481 Gone", "c1", None));
    world.receive(OTHER, &response(&bye, "200 OK", "", None));
    // Its 2xx again, for the ACK was lost: the ACK again, and no second BYE.
    world.receive(OTHER, &response(&other, "200 OK", "c1", Some(ANSWER)));
    assert_eq!(world.expect(OTHER, "ACK").text, ack.text);
    world.expect_silence();
}

#[test]
fn a_late_second_answer_of_a_branch_that_was_never_heard_gets_ack_and_bye() {
    let mut world = parallel();
    let (one, other) = both_invited(&mut world);
    world.receive(CALLEE, &response(&one, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(OTHER, &response(&other, "200 OK", "c1", Some(ANSWER)));
    world.expect(OTHER, "ACK");
    assert_eq!(world.expect(OTHER, "BYE").header("Reason"), ELSEWHERE);
    world.expect_silence();
}

#[test]
fn cancel_c11_the_caller_leaves_and_every_branch_is_cancelled() {
    let mut world = parallel();
    let (one, other) = both_invited(&mut world);
    world.receive(OTHER, &response(&other, "180 Ringing", "c1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.receive(CALLER, &cancel("1").replace("X-Trace: 42", "Reason: Q.850;cause=16"));
    world.expect(CALLER, "SIP/2.0 200");
    let gone = world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &ack_failure("1", &gone));
    // Row C1 for the one that rings, row C2 for the one that said nothing.
    let theirs = leaves(&mut world, OTHER, &other, "c1");
    assert_eq!(theirs.header("Reason"), "Q.850;cause=16");
    world.expect_silence();
    world.receive(CALLEE, &response(&one, "180 Ringing", "b1", None));
    let theirs = leaves(&mut world, CALLEE, &one, "b1");
    assert_eq!(theirs.header("Reason"), "Q.850;cause=16");
    world.expect_silence();
    assert_eq!(
        rows(&world),
        [
            (1, false, Disposition::Cancelled, EndedBy::Caller, Some(487)),
            (2, true, Disposition::Cancelled, EndedBy::Caller, Some(487)),
        ]
    );
    world.expect_nothing_left();
}

#[test]
fn cancel_s8_a_branch_whose_address_is_not_known_yet_is_never_invited() {
    let mut world = parallel_with(|_, other| other.peers = vec!["sip:far.example".into()]);
    call_placed(&mut world);
    let [query] = world.resolves[..] else { panic!("{:?}", world.resolves) };
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.input(found(query, &[OTHER]));
    world.expect_silence();
    let attempts: Vec<_> = world.records.iter().map(|r| (r.attempt, r.b_sip_call_id.is_some())).collect();
    assert_eq!(attempts, [(2, false)], "the one that was invited tells how the call ended");
}

#[test]
fn a_name_is_looked_up_while_others_ring_and_invited_then() {
    let mut world = parallel_with(|_, other| other.peers = vec!["sip:far.example".into()]);
    let (one, _) = call_ringing(&mut world);
    let [query] = world.resolves[..] else { panic!("{:?}", world.resolves) };
    world.input(found(query, &[OTHER]));
    let other = world.expect(OTHER, "INVITE sip:4912345@far.example SIP/2.0");
    world.receive(OTHER, &response(&other, "200 OK", "c1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(OTHER, "ACK");
    leaves(&mut world, CALLEE, &one, "b1");
}

#[test]
fn a_name_that_nobody_knows_leaves_the_others_ringing() {
    let mut world = parallel_with(|_, other| other.peers = vec!["sip:far.example".into()]);
    let (one, _) = call_ringing(&mut world);
    world.pass(Duration::from_secs(33));
    world.expect_silence();
    assert_eq!(rows(&world), [(2, false, Disposition::Failed, EndedBy::Error, None)]);
    world.receive(CALLEE, &response(&one, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
}

#[test]
fn a_branch_that_fails_leaves_the_others_ringing_and_the_next_peer_of_its_trunk_is_tried() {
    let mut world = parallel();
    let (one, other) = both_ring(&mut world);
    world.receive(CALLEE, &response(&one, "500 Broken", "b1", None));
    world.expect(CALLEE, "ACK");
    let spare = world.expect(SPARE, "INVITE");
    world.expect_silence();
    world.receive(OTHER, &response(&other, "486 Busy Here", "c1", None));
    world.expect(OTHER, "ACK");
    world.expect_silence();
    world.receive(SPARE, &response(&spare, "200 OK", "d1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(SPARE, "ACK");
    world.expect_silence();
    let ended: Vec<_> = world.records.iter().map(|r| (r.attempt, r.is_last, r.disposition)).collect();
    assert_eq!(ended, [(1, false, Disposition::Failed), (2, false, Disposition::Busy)]);
}

#[test]
fn when_every_branch_fails_the_caller_hears_the_best_of_them() {
    for (first, second, told) in [
        ("486 Busy Here", "500 Broken", "486 Busy Here"),
        ("500 Broken", "486 Busy Here", "486 Busy Here"),
        ("503 Service Unavailable", "500 Broken", "500 Broken"),
        ("500 Broken", "503 Service Unavailable", "500 Broken"),
        ("404 Not Found", "401 Unauthorized", "404 Not Found"),
        ("503 Service Unavailable", "407 Proxy Authentication Required", "502 Bad Gateway"),
    ] {
        let mut world = parallel_with(|carrier, _| carrier.peers.truncate(1));
        let (one, other) = both_invited(&mut world);
        world.receive(OTHER, &response(&other, first, "c1", None));
        world.expect(OTHER, "ACK");
        world.expect_silence();
        world.receive(CALLEE, &response(&one, second, "b1", None));
        world.expect(CALLEE, "ACK");
        world.expect(CALLER, &format!("SIP/2.0 {told}"));
        world.expect_silence();
        let last: Vec<_> = world.records.iter().map(|r| (r.attempt, r.is_last)).collect();
        assert_eq!(last, [(2, false), (1, true)], "{first}, {second}");
    }
}

#[test]
fn a_603_speaks_for_every_place_and_ends_the_other_branches() {
    let mut world = parallel();
    let (one, other) = both_ring(&mut world);
    world.receive(OTHER, &response(&other, "603 Decline", "c1", None));
    world.expect(OTHER, "ACK");
    world.expect(CALLER, "SIP/2.0 603 Decline");
    let cancel = leaves(&mut world, CALLEE, &one, "b1");
    assert_eq!(cancel.header("Reason"), "SIP;cause=603");
    world.expect_silence();
    assert_eq!(
        rows(&world),
        [
            (1, false, Disposition::Cancelled, EndedBy::Policy, Some(487)),
            (2, true, Disposition::Rejected, EndedBy::Callee, Some(603)),
        ]
    );
}

#[test]
fn timer_c_runs_for_each_branch_of_its_own() {
    let mut world = parallel();
    let (one, other) = both_ring(&mut world);
    world.pass(Duration::from_secs(100));
    world.receive(OTHER, &response(&other, "180 Ringing", "c1", None));
    world.expect(CALLER, "SIP/2.0 180");
    world.pass(Duration::from_secs(80));
    let cancel = world.expect(CALLEE, "CANCEL");
    assert_eq!(cancel.header("Via"), one.header("Via"));
    let spare = world.expect(SPARE, "INVITE");
    world.receive(CALLEE, &response(&cancel, "200 OK", "b1", None));
    world.receive(CALLEE, &response(&one, "487 Request Terminated", "b1", None));
    world.expect(CALLEE, "ACK");
    world.receive(SPARE, &response(&spare, "404 Not Found", "d1", None));
    world.expect(SPARE, "ACK");
    world.expect_silence();
    world.pass(Duration::from_secs(100));
    world.expect(CALLER, "SIP/2.0 404");
    world.expect(OTHER, "CANCEL");
}

#[test]
fn early_media_follows_the_newest_description_and_the_answer_of_whoever_answers() {
    let mut world = parallel();
    let (one, other) = both_invited(&mut world);
    world.receive(CALLEE, &response(&one, "183 Session Progress", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 183");
    let theirs = ANSWER.replace("10.2.2.2", "10.4.4.4").replace("5000", "7000");
    world.receive(OTHER, &response(&other, "183 Session Progress", "c1", Some(&theirs)));
    world.expect(CALLER, "SIP/2.0 183");
    assert_eq!(newest_of_b(&world), Some("10.4.4.4:7000".parse().unwrap()));
    // Nothing is relayed to the branch that failed; nor is what the other said forgotten with it.
    world.receive(CALLEE, &response(&one, "486 Busy Here", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!(newest_of_b(&world), Some("10.4.4.4:7000".parse().unwrap()));
    world.receive(OTHER, &response(&other, "404 Not Found", "c1", None));
    world.expect(OTHER, "ACK");
    world.expect(CALLER, "SIP/2.0 404");
}

/// Where the relay sends what comes from the caller.
fn newest_of_b(world: &World) -> Option<SocketAddr> {
    world.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Describe { side: Side::B, remote, .. } => Some(remote.map(|remote| remote.rtp)),
        _ => None,
    })?
}

#[test]
fn an_answer_that_waits_for_ports_wins_over_one_that_comes_meanwhile() {
    let mut world = parallel();
    world.slow_ports = true;
    world.receive(CALLER, &invite("1", None));
    world.expect(CALLER, "SIP/2.0 100");
    world.open_ports();
    let one = world.expect(CALLEE, "INVITE");
    let other = world.expect(OTHER, "INVITE");
    let video = ANSWER.to_owned() + "m=video 5002 RTP/AVP 96\na=rtpmap:96 H264/90000\n";
    world.receive(CALLEE, &response(&one, "200 OK", "b1", Some(&video)));
    world.receive(OTHER, &response(&other, "200 OK", "c1", Some(ANSWER)));
    world.expect_silence();
    world.open_ports();
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert!(ok.body().contains("m=video 3"), "{}", ok.body());
    world.expect(OTHER, "ACK");
    assert_eq!(world.expect(OTHER, "BYE").header("Reason"), ELSEWHERE);
    let answer = OFFER.to_owned() + "m=video 4002 RTP/AVP 96\n";
    world.receive(CALLER, &(from_caller("ACK", 1, &ok, "Content-Type: application/sdp\n\n") + &answer));
    assert_eq!(world.expect(CALLEE, "ACK").tag("To"), "b1");
    world.expect_silence();
}

#[test]
fn two_phones_behind_one_target_ring_in_one_dialog_and_the_newest_is_heard() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    let theirs = ANSWER.replace("5000", "7000");
    world.receive(CALLEE, &response(&out, "183 Session Progress", "f1", Some(ANSWER)));
    let first = world.expect(CALLER, "SIP/2.0 183");
    world.receive(CALLEE, &response(&out, "183 Session Progress", "f2", Some(&theirs)));
    let second = world.expect(CALLER, "SIP/2.0 183");
    assert_eq!(first.tag("To"), second.tag("To"));
    assert_eq!(newest_of_b(&world), Some("10.2.2.2:7000".parse().unwrap()));
    // RFC 6228: one of them is out of it; the caller has one dialog, and it stays.
    world.receive(CALLEE, &response(&out, "199 Early Dialog Terminated", "f2", None));
    world.expect_silence();
    // The first one answers after all.
    world.receive(CALLEE, &response(&out, "200 OK", "f1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.tag("To"), first.tag("To"));
    assert_eq!(world.expect(CALLEE, "ACK").tag("To"), "f1");
    assert_eq!(newest_of_b(&world), Some("10.2.2.2:5000".parse().unwrap()));
    // The other, too: it is ended, and each 2xx that is repeated gets its own ACK again.
    world.receive(CALLEE, &response(&out, "200 OK", "f2", Some(&theirs)));
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!((ack.tag("To"), world.expect(CALLEE, "BYE").tag("To")), ("f2", "f2"));
    world.receive(CALLEE, &response(&out, "200 OK", "f2", Some(&theirs)));
    assert_eq!(world.expect(CALLEE, "ACK").text, ack.text);
    world.receive(CALLEE, &response(&out, "200 OK", "f1", Some(ANSWER)));
    assert_eq!(world.expect(CALLEE, "ACK").tag("To"), "f1");
    world.expect_silence();
    assert_eq!(newest_of_b(&world), Some("10.2.2.2:5000".parse().unwrap()));
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn cancel_c8_forks_that_rang_get_one_cancel_and_each_answer_its_end() {
    let mut world = World::new();
    let out = call_placed(&mut world);
    for tag in ["f1", "f2"] {
        world.receive(CALLEE, &response(&out, "180 Ringing", tag, None));
        world.expect(CALLER, "SIP/2.0 180");
    }
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    let theirs = world.expect(CALLEE, "CANCEL");
    assert!(!theirs.header("To").contains("tag="), "{}", theirs.text);
    world.receive(CALLEE, &response(&theirs, "200 OK", "p", None));
    for tag in ["f1", "f2"] {
        world.receive(CALLEE, &response(&out, "200 OK", tag, Some(ANSWER)));
        assert_eq!(world.expect(CALLEE, "ACK").tag("To"), tag);
        let bye = world.expect(CALLEE, "BYE");
        assert_eq!(bye.tag("To"), tag);
        world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    }
    world.expect_silence();
    world.expect_nothing_left();
}

/// Session id of a description's origin line.
fn session(sent: &Sent) -> &str {
    sent.body().lines().find_map(|line| line.strip_prefix("o=- ")).unwrap().split(' ').next().unwrap()
}

#[test]
fn prack_with_the_answer_goes_to_its_target_in_the_session_of_that_target() {
    let kind = "Content-Type: application/sdp\n\n";
    let mut world = parallel();
    world.receive(CALLER, &invite("1", None).replacen("Contact:", "Supported: 100rel\nContact:", 1));
    world.expect(CALLER, "SIP/2.0 100");
    let one = world.expect(CALLEE, "INVITE");
    let other = world.expect(OTHER, "INVITE");
    let offer = response(&one, "183 Session Progress", "b1", Some(ANSWER));
    world.receive(CALLEE, &offer.replacen("Contact:", "Require: 100rel\nRSeq: 1\nContact:", 1));
    let early = world.expect(CALLER, "SIP/2.0 183");
    // The other target was heard last when the caller answers the offer of the first.
    world.receive(OTHER, &response(&other, "180 Ringing", "c1", None));
    world.expect(CALLER, "SIP/2.0 180");
    let rack = format!("RAck: {} 1 INVITE\n{kind}{OFFER}", early.header("RSeq"));
    world.receive(CALLER, &from_caller("PRACK", 2, &early, &rack));
    world.expect(CALLER, "SIP/2.0 200");
    let prack = world.expect(CALLEE, "PRACK");
    world.receive(CALLEE, &response(&prack, "200 OK", "", None));
    world.receive(CALLEE, &response(&one, "200 OK", "b1", None));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    leaves(&mut world, OTHER, &other, "c1");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.receive(CALLER, &(from_caller("INVITE", 3, &ok, kind) + OFFER + "a=sendonly\n"));
    world.expect(CALLER, "SIP/2.0 100");
    let hold = world.expect(CALLEE, "INVITE");
    assert_eq!(session(&hold), session(&prack));
}

#[test]
fn update_of_a_target_while_the_callers_is_with_another_is_refused_and_the_callers_goes_on() {
    let kind = "Content-Type: application/sdp\n\n";
    let allow = "Allow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE";
    let mut world = parallel();
    let supports = format!("Supported: 100rel\n{allow}\nContact:");
    world.receive(CALLER, &invite("1", Some(OFFER)).replacen("Contact:", &supports, 1));
    world.expect(CALLER, "SIP/2.0 100");
    let one = world.expect(CALLEE, "INVITE");
    let other = world.expect(OTHER, "INVITE");
    let mut early = None;
    for (cseq, (at, out, tag)) in [(CALLEE, &one, "b1"), (OTHER, &other, "c1")].into_iter().enumerate() {
        let rings = response(out, "183 Session Progress", tag, Some(ANSWER));
        let reliably = format!("Require: 100rel\nRSeq: 1\n{allow}\nContact:");
        world.receive(at, &rings.replacen("Contact:", &reliably, 1));
        let prack = world.expect(at, "PRACK");
        world.receive(at, &response(&prack, "200 OK", "", None));
        let heard = world.expect(CALLER, "SIP/2.0 183");
        let rack = format!("RAck: {} 1 INVITE\n", heard.header("RSeq"));
        world.receive(CALLER, &from_caller("PRACK", 2 + cseq as u32, &heard, &rack));
        world.expect(CALLER, "SIP/2.0 200");
        early.get_or_insert(heard);
    }
    let early = early.unwrap();
    world.receive(CALLER, &(from_caller("UPDATE", 4, &early, kind) + OFFER + "a=sendonly\n"));
    let across = world.expect(OTHER, "UPDATE");
    // An offer of the target that was heard before: the caller has one of its own under way (RFC 3311 §5.2).
    world.receive(CALLEE, &(from_callee("UPDATE", 1, &one, kind) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 491");
    world.expect_silence();
    world.receive(OTHER, &response(&across, "200 OK", "", Some(ANSWER)));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), "4 UPDATE");
}

#[test]
fn the_row_of_a_branch_that_was_given_up_waits_for_its_last_word() {
    let mut world = parallel();
    let (one, other) = both_ring(&mut world);
    world.receive(CALLEE, &response(&one, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.expect(OTHER, "CANCEL");
    assert!(world.records.is_empty(), "{:#?}", world.records);
    let open = world.open_records.iter().rfind(|fact| fact.attempt == 2).unwrap().clone();
    assert_eq!(
        (open.disposition, open.ended_by, open.is_last),
        (Disposition::Cancelled, EndedBy::Policy, false),
        "the process may die now"
    );
    world.pass(Duration::from_secs(2));
    world.sent.clear();
    let late = response(&other, "200 OK", "c1", Some(ANSWER));
    world.receive(OTHER, &late.replacen("Contact:", "Server: Late/1\nReason: Q.850;cause=26\nContact:", 1));
    world.expect(OTHER, "ACK");
    let bye = world.expect(OTHER, "BYE");
    let [row] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((row.sip_code_b, row.sip_reason_b.as_deref(), row.q850_b), (Some(200), Some("OK"), Some(26)));
    assert_eq!(row.b_user_agent.as_deref(), Some("Late/1"));
    assert_eq!((row.disposition, row.answered_at, row.duration_ms), (Disposition::Cancelled, None, 0));
    assert_eq!((row.id, row.ended_at, row.ended_by), (open.id, open.ended_at, EndedBy::Policy));
    world.receive(OTHER, &response(&bye, "200 OK", "", None));
    world.expect_silence();
    assert_eq!(world.records.len(), 1);
}

#[test]
fn the_row_of_a_branch_that_never_agrees_to_its_cancel_comes_when_it_is_given_up_for_good() {
    let mut world = parallel();
    let (one, _) = both_ring(&mut world);
    world.receive(CALLEE, &response(&one, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    let ended = world.now.utc;
    world.pass(Duration::from_secs(31));
    assert!(world.records.is_empty());
    world.pass(Duration::from_secs(3));
    let [row] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((row.attempt, row.sip_code_b, row.ended_at), (2, None, ended));
}

#[test]
fn a_process_that_ends_writes_the_rows_of_those_who_were_given_up_before_the_last() {
    let mut world = parallel();
    let (one, _) = both_ring(&mut world);
    world.receive(CALLEE, &response(&one, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.input(call::Input::Command { id: 1, command: call::Command::Abandon });
    let rows: Vec<_> = world.records.iter().map(|fact| (fact.attempt, fact.is_last)).collect();
    assert_eq!(rows, [(2, false), (1, true)]);
}

#[test]
fn a_target_that_rang_too_long_says_so_in_its_row() {
    let mut world = World::new();
    let (out, _) = call_ringing(&mut world);
    world.pass(Duration::from_secs(180));
    world.sent.retain(|sent| sent.to == CALLEE.parse().unwrap());
    leaves(&mut world, CALLEE, &out, "b1");
    let [row] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((row.disposition, row.ended_by), (Disposition::NoAnswer, EndedBy::Timer));
    assert_eq!((row.sip_code_b, row.q850_b), (Some(487), Some(16)));
}
