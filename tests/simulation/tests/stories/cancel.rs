//! CANCEL on both legs, each row of the table as one story on the wire. The invariants are watched all the while; these
//! tests say what exactly is sent, and when.

use std::time::Duration;

use crate::story::*;
use call::Disposition;
use simulation::script::{CallScript, Cancel, OnCancel, Outcome, Ring, Route};
use simulation::{BOX, Habits, Network, STRANGER, World, carrier_address};
use sip::Name;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// The caller leaves half a second after it hears the ringing.
fn cancelled_while_ringing() -> CallScript {
    call(|script| script.caller.cancel = Some(Cancel::Ringing(MS(500))))
}

/// The caller leaves after a second, when the target has said nothing yet.
fn cancelled_before_any_provisional(outcome: Outcome) -> CallScript {
    call(|script| {
        script.caller.cancel = Some(Cancel::Patient(MS(1_000)));
        script.callees[0].trying = None;
        script.callees[0].rings.clear();
        script.callees[0].outcome = outcome;
    })
}

#[test]
fn cancel_s1_gets_200_and_487_with_one_to_tag_and_the_target_is_cancelled() {
    let world = told(cancelled_while_ringing());
    in_order(
        &world,
        &[">A 180 INVITE", "A> CANCEL", ">A 200 CANCEL", ">A 487 INVITE", ">B CANCEL", "A> ACK"],
    );
    let tag = to_tag(&first(&world, ">A 180 INVITE"));
    assert!(!tag.is_empty());
    assert_eq!(to_tag(&first(&world, ">A 200 CANCEL")), tag);
    assert_eq!(to_tag(&first(&world, ">A 487 INVITE")), tag);
    assert_eq!(count(&world, ">A 487 INVITE"), 1);
    let records = world.oracle().records(0);
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].disposition, records[0].sip_code_a, records[0].sip_code_b),
        (Disposition::Cancelled, Some(487), Some(487))
    );
}

#[test]
fn cancel_s2_after_the_final_response_changes_nothing() {
    let mut world = World::of(vec![call(|_| {})]);
    world.run_until(MS(3_000)).unwrap();
    world.inject(caller(), cancel_of(&first(&world, "A> INVITE")));
    let world = to_the_end(world);
    in_order(&world, &[">A 200 INVITE", "A> CANCEL", ">A 200 CANCEL", "A> BYE", ">B BYE"]);
    assert_eq!(times(&world, "A> BYE"), vec![11_004], "the call goes on until the caller hangs up");
    assert_eq!((count(&world, ">B CANCEL"), count(&world, ">A 487 INVITE")), (0, 0));
    assert_eq!(to_tag(&first(&world, ">A 200 CANCEL")), to_tag(&first(&world, ">A 200 INVITE")));
}

#[test]
fn cancel_s3_that_matches_nothing_gets_481_with_a_stable_tag() {
    let mut world = World::of(vec![cancelled_while_ringing()]);
    world.run_until(MS(100)).unwrap();
    let strange = changed(&cancel_of(&first(&world, "A> INVITE")), "branch=z9hG4bK", "branch=z9hG4bKother");
    world.inject(caller(), strange.clone());
    world.inject(caller(), strange);
    world.run_until(MS(400)).unwrap();
    let answers = all(&world, ">A 481 CANCEL");
    assert_eq!(answers.len(), 2);
    assert!(!to_tag(&answers[0]).is_empty());
    assert_eq!(answers[0], answers[1]);
    assert_eq!(count(&world, ">A 487 INVITE"), 0, "the INVITE is not touched");
    to_the_end(world);
}

#[test]
fn cancel_s7_repeated_gets_the_same_200_and_nothing_more() {
    let mut world = World::of(vec![cancelled_while_ringing()]);
    world.run_until(MS(700)).unwrap();
    let cancel = first(&world, "A> CANCEL");
    world.inject(caller(), cancel.clone());
    world.inject(caller(), cancel);
    let world = to_the_end(world);
    let answers = all(&world, ">A 200 CANCEL");
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!((count(&world, ">A 487 INVITE"), count(&world, ">B CANCEL")), (1, 1));
}

#[test]
fn cancel_s8_while_routing_is_under_way_never_reaches_a_target() {
    let habits = Habits { routing: Duration::from_secs(30), ..Habits::prompt() };
    let script = call(|script| script.caller.cancel = Some(Cancel::Rash(MS(5))));
    let world = to_the_end(World::with(vec![script], Network::perfect(), habits));
    in_order(
        &world,
        &["A> INVITE", ">A 100 INVITE", "A> CANCEL", ">A 200 CANCEL", ">A 487 INVITE", "A> ACK"],
    );
    assert!(flow(&world).iter().all(|word| !word.starts_with(">B")));
    let records = world.oracle().records(0);
    assert_eq!((records.len(), records[0].attempt, records[0].disposition), (1, 0, Disposition::Cancelled));
}

#[test]
fn cancel_s8_while_a_name_is_looked_up_never_reaches_a_target() {
    let habits = Habits { names: Duration::from_secs(30), ..Habits::prompt() };
    let mut script = CallScript::plain(Route::Named);
    script.caller.cancel = Some(Cancel::Rash(MS(5)));
    let world = to_the_end(World::with(vec![script], Network::perfect(), habits));
    in_order(&world, &["A> CANCEL", ">A 200 CANCEL", ">A 487 INVITE", "A> ACK"]);
    assert!(flow(&world).iter().all(|word| !word.starts_with(">B")));
}

#[test]
fn cancel_s9_with_require_is_no_420() {
    let mut world = World::of(vec![call(|_| {})]);
    world.run_until(MS(500)).unwrap();
    let cancel =
        changed(&cancel_of(&first(&world, "A> INVITE")), "Max-Forwards", "Require: future\r\nMax-Forwards");
    world.inject(caller(), cancel);
    let world = to_the_end(world);
    in_order(&world, &[">A 200 CANCEL", ">A 487 INVITE", ">B CANCEL"]);
    assert!(!String::from_utf8_lossy(&first(&world, ">B CANCEL")).contains("Require"));
}

#[test]
fn cancel_s11_the_487_is_repeated_until_its_ack() {
    let mut world = World::of(vec![cancelled_while_ringing()]);
    world.lose(BOX, caller(), "SIP/2.0 487", 3);
    let world = to_the_end(world);
    let sent = times(&world, ">A 487 INVITE");
    let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, vec![500, 1_000, 2_000], "Timer G");
    assert_eq!(count(&world, "A> ACK"), 1);
}

#[test]
fn cancel_s11_the_487_is_given_up_after_timer_h() {
    let mut world = World::of(vec![cancelled_while_ringing()]);
    world.lose(caller(), BOX, "ACK", usize::MAX);
    let world = to_the_end(world);
    let sent = times(&world, ">A 487 INVITE");
    assert_eq!(sent.len(), 11, "T1 doubling up to T2 fills 64·T1");
    assert!(sent.last().unwrap() - sent[0] < 32_000);
}

#[test]
fn cancel_c1_is_written_from_the_invite() {
    let world = told(cancelled_while_ringing());
    let invite = first(&world, ">B INVITE");
    let cancel = first(&world, ">B CANCEL");
    for name in [Name::Via, Name::From, Name::To, Name::CallId] {
        assert_eq!(header(&cancel, name), header(&invite, name), "{name:?}");
    }
    assert_eq!(to_tag(&cancel), "", "the tag of the 180 is not in it");
    assert_eq!(header(&cancel, Name::CSeq), header(&invite, Name::CSeq).replace("INVITE", "CANCEL"));
    let start = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).split(' ').nth(1).unwrap().to_owned();
    assert_eq!(start(&cancel), start(&invite));
    assert!(!header(&cancel, Name::MaxForwards).is_empty());
    assert!(header(&cancel, Name::Reason).starts_with("SIP;cause=487"), "{}", header(&cancel, Name::Reason));
    assert_eq!(body(&cancel), "");
    in_order(&world, &[">B CANCEL", "B> 200 CANCEL", "B> 487 INVITE", ">B ACK"]);
}

#[test]
fn cancel_c1_carries_the_callers_reason() {
    let mut world = World::of(vec![call(|_| {})]);
    world.run_until(MS(500)).unwrap();
    let reason = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nMax-Forwards";
    world.inject(caller(), changed(&cancel_of(&first(&world, "A> INVITE")), "Max-Forwards", reason));
    let world = to_the_end(world);
    assert_eq!(
        header(&first(&world, ">B CANCEL"), Name::Reason),
        "SIP;cause=200;text=\"Call completed elsewhere\""
    );
}

#[test]
fn cancel_c2_waits_for_the_first_provisional() {
    let mut script = cancelled_before_any_provisional(Outcome::Never);
    script.callees[0].rings = vec![Ring { after: MS(3_000), status: 180, sdp: false }];
    let world = told(script);
    in_order(&world, &[">A 487 INVITE", "B> 180 INVITE", ">B CANCEL", "B> 487 INVITE", ">B ACK"]);
    assert_eq!(times(&world, ">A 487 INVITE"), vec![1_001]);
    let rang = times(&world, "B> 180 INVITE")[0];
    assert_eq!(times(&world, ">B CANCEL"), vec![rang + 1], "as soon as the 180 is here");
    assert_eq!(count(&world, ">A 180 INVITE"), 0);
}

#[test]
fn cancel_c2_is_never_sent_to_a_target_that_says_nothing() {
    let world = told(cancelled_before_any_provisional(Outcome::Deaf));
    assert_eq!(count(&world, ">B CANCEL"), 0);
    assert_eq!(count(&world, ">B INVITE"), 7, "Timer A until Timer B");
    assert_eq!(count(&world, ">A 487 INVITE"), 1);
}

#[test]
fn cancel_c3_200_crossing_gets_ack_then_bye() {
    let mut script = cancelled_while_ringing();
    script.callees[0].on_cancel = OnCancel::Answers;
    let world = told(script);
    in_order(
        &world,
        &[">A 487 INVITE", ">B CANCEL", "B> 200 CANCEL", "B> 200 INVITE", ">B ACK", ">B BYE", "B> 200 BYE"],
    );
    assert_eq!(count(&world, ">A 200 INVITE"), 0);
    assert_eq!(
        header(&first(&world, ">B BYE"), Name::Reason),
        header(&first(&world, ">B CANCEL"), Name::Reason)
    );
    assert_eq!(world.oracle().records(0)[0].disposition, Disposition::Cancelled);
}

#[test]
fn cancel_c4_200_before_a_waiting_cancel_gets_ack_then_bye_and_no_cancel() {
    let world = told(cancelled_before_any_provisional(Outcome::Answer(MS(3_000))));
    in_order(&world, &[">A 487 INVITE", "B> 200 INVITE", ">B ACK", ">B BYE"]);
    assert_eq!((count(&world, ">B CANCEL"), count(&world, ">A 200 INVITE")), (0, 0));
}

#[test]
fn cancel_c5_failure_before_a_waiting_cancel_is_acknowledged_and_nothing_more() {
    let world = told(cancelled_before_any_provisional(Outcome::Refuse(MS(3_000), 486)));
    in_order(&world, &[">A 487 INVITE", "B> 486 INVITE", ">B ACK"]);
    assert_eq!((count(&world, ">B CANCEL"), count(&world, ">A 486 INVITE")), (0, 0));
}

#[test]
fn cancel_c6_without_a_final_response_is_given_up_after_64_t1() {
    let mut script = cancelled_while_ringing();
    script.callees[0].on_cancel = OnCancel::Stalls;
    let mut world = World::of(vec![script]);
    world.run_until(MS(32_000)).unwrap();
    assert!(world.oracle().records(0).is_empty(), "it is still waited for");
    world.run_until(MS(33_000)).unwrap();
    assert_eq!(world.oracle().records(0).len(), 1);
    to_the_end(world);
}

#[test]
fn cancel_c6_a_200_that_comes_later_still_gets_ack_and_bye_once() {
    let mut script = cancelled_while_ringing();
    script.callees[0].on_cancel = OnCancel::AnswersLate(MS(40_000));
    let mut world = World::of(vec![script]);
    world.lose(BOX, carrier_address(0), "ACK", 2);
    let world = to_the_end(world);
    in_order(&world, &["B> 200 INVITE", ">B ACK", ">B BYE", "B> 200 BYE"]);
    assert_eq!(count(&world, ">B BYE"), 1, "each repetition of the 200 gets its ACK and not another BYE");
    let acks = all(&world, ">B ACK");
    assert_eq!(acks.len(), 3);
    assert!(acks.iter().all(|ack| *ack == acks[0]));
}

#[test]
fn cancel_c7_481_to_the_cancel_has_no_effect() {
    let mut script = cancelled_while_ringing();
    script.callees[0].on_cancel = OnCancel::Unknown;
    script.callees[0].outcome = Outcome::Answer(MS(5_000));
    let world = told(script);
    in_order(&world, &[">B CANCEL", "B> 481 CANCEL", "B> 200 INVITE", ">B ACK", ">B BYE"]);
}

#[test]
fn cancel_c11_during_failover_ends_the_search() {
    let mut script = CallScript::plain(Route::WestThenEast);
    script.caller.cancel = Some(Cancel::Ringing(MS(500)));
    script.callees[0].outcome = Outcome::Refuse(MS(700), 503);
    let world = told(script);
    assert_eq!(count(&world, ">B INVITE"), 1, "no further target is tried");
    in_order(&world, &[">A 487 INVITE", ">B CANCEL", "B> 487 INVITE", ">B ACK"]);
}

#[test]
fn a_strangers_cancel_counts_for_nothing() {
    let mut world = World::of(vec![call(|_| {})]);
    world.run_until(MS(500)).unwrap();
    world.inject(STRANGER, cancel_of(&first(&world, "A> INVITE")));
    let world = to_the_end(world);
    assert_eq!((count(&world, ">A 487 INVITE"), count(&world, ">B CANCEL")), (0, 0));
    in_order(&world, &[">A 200 INVITE", "A> BYE", ">B BYE"]);
}

#[test]
fn a_strangers_ack_does_not_stop_the_487() {
    let mut world = World::of(vec![cancelled_while_ringing()]);
    world.lose(BOX, caller(), "SIP/2.0 487", 1);
    world.run_until(MS(700)).unwrap();
    let refused = first(&world, ">A 487 INVITE");
    let ack = changed(&cancel_of(&first(&world, "A> INVITE")), "CANCEL", "ACK");
    let to = format!("To: {}", header(&first(&world, "A> INVITE"), Name::To));
    world.inject(STRANGER, changed(&ack, &to, &format!("{to};tag={}", to_tag(&refused))));
    let world = to_the_end(world);
    assert_eq!(count(&world, ">A 487 INVITE"), 2);
}
