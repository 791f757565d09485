//! Two legs joined: answers, offers, failures and hang-ups, as they cross the box.

use std::time::Duration;

use crate::story::*;
use call::{Disposition, EndedBy};
use simulation::script::{Ack, CallScript, Offer, Outcome, Ring, Route};
use simulation::{BOX, Habits, Network, World, carrier_address};
use sip::Name;

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn a_call_is_set_up_rung_answered_and_ended() {
    let world = told(call(|_| {}));
    assert_eq!(
        flow(&world),
        [
            "A> INVITE",
            ">A 100 INVITE",
            ">B INVITE",
            "B> 100 INVITE",
            "B> 180 INVITE",
            ">A 180 INVITE",
            "B> 200 INVITE",
            ">A 200 INVITE",
            ">B ACK",
            "A> ACK",
            "A> BYE",
            ">A 200 BYE",
            ">B BYE",
            "B> 200 BYE",
        ]
    );
    let record = world.oracle().records(0)[0];
    assert_eq!((record.disposition, record.ended_by), (Disposition::Answered, EndedBy::Caller));
    assert_eq!(record.duration_ms, 10_002);
}

#[test]
fn descriptions_name_the_relay_and_each_side_its_own_port() {
    let world = told(call(|_| {}));
    let (offer, answer) = (first(&world, ">B INVITE"), first(&world, ">A 200 INVITE"));
    for described in [&offer, &answer] {
        assert!(body(described).contains("c=IN IP4 192.0.2.9\r\n"), "{}", body(described));
        assert!(body(described).contains("a=rtpmap:101 telephone-event/8000\r\n"));
    }
    assert_ne!(port(&offer), port(&answer));
    assert!((20_000..40_000).contains(&port(&offer)));
}

#[test]
fn early_media_of_a_183_crosses() {
    let world = told(call(|script| {
        script.callees[0].rings = vec![Ring { after: MS(200), status: 183, sdp: true }];
    }));
    let early = first(&world, ">A 183 INVITE");
    assert_eq!(port(&early), port(&first(&world, ">A 200 INVITE")));
    assert!(world.oracle().records(0)[0].ringing_at.is_some());
}

#[test]
fn the_callees_bye_ends_both_legs() {
    let world = told(call(|script| {
        script.caller.talk.bye = None;
        script.callees[0].talk.bye = Some(MS(5_000));
    }));
    in_order(&world, &["B> BYE", ">B 200 BYE", ">A BYE", "A> 200 BYE"]);
    assert_eq!(world.oracle().records(0)[0].ended_by, EndedBy::Callee);
}

#[test]
fn byes_that_cross_both_get_200() {
    let world = told(call(|script| {
        script.caller.talk.bye = Some(MS(5_000));
        script.callees[0].talk.bye = Some(MS(5_002));
    }));
    in_order(&world, &["A> BYE", "B> BYE", ">B 200 BYE"]);
    for word in [">A 200 BYE", ">B 200 BYE"] {
        assert_eq!(count(&world, word), 1, "{word}\n{}", world.ladder(None));
    }
    assert_eq!(world.oracle().records(0).len(), 1);
}

#[test]
fn a_hold_and_a_resume_of_the_caller_cross() {
    let world = told(call(|script| {
        script.caller.talk.offers = vec![(MS(1_000), Offer::Hold), (MS(3_000), Offer::Resume)];
    }));
    let offers = all(&world, ">B INVITE");
    assert_eq!(offers.len(), 3);
    assert!(body(&offers[1]).contains("a=sendonly"));
    assert!(body(&offers[2]).contains("a=sendrecv"));
    let answers = all(&world, ">A 200 INVITE");
    assert!(body(&answers[1]).contains("a=recvonly"));
    let origin = |bytes| body(bytes).lines().find(|line| line.starts_with("o=")).unwrap().to_owned();
    let version = |bytes| origin(bytes).split(' ').nth(2).unwrap().parse::<u64>().unwrap();
    assert_eq!(
        (version(&offers[1]), version(&offers[2])),
        (version(&offers[0]) + 1, version(&offers[0]) + 2)
    );
    assert_eq!(port(&offers[1]), port(&offers[0]));
    in_order(&world, &["A> INVITE", ">B INVITE", "B> 200 INVITE", ">A 200 INVITE", "A> ACK", "A> BYE"]);
}

#[test]
fn a_hold_of_the_callee_crosses() {
    let world = told(call(|script| script.callees[0].talk.offers = vec![(MS(1_000), Offer::Hold)]));
    let offer = first(&world, ">A INVITE");
    assert!(body(&offer).contains("a=sendonly"));
    assert_eq!(port(&offer), port(&first(&world, ">A 200 INVITE")));
    assert!(body(&first(&world, ">B 200 INVITE")).contains("a=recvonly"));
}

#[test]
fn a_refused_offer_leaves_the_call_as_it_was() {
    let world = told(call(|script| {
        script.caller.talk.offers = vec![(MS(1_000), Offer::Hold)];
        script.callees[0].talk.refuses_offers = true;
    }));
    in_order(&world, &["B> 488 INVITE", ">B ACK", ">A 488 INVITE", "A> ACK", "A> BYE", ">B BYE"]);
    assert_eq!(world.oracle().records(0)[0].ended_by, EndedBy::Caller);
}

#[test]
fn an_offerless_reinvite_is_answered_in_its_ack() {
    let world = told(call(|script| script.caller.talk.offers = vec![(MS(1_000), Offer::Empty)]));
    let offers = all(&world, ">B INVITE");
    assert_eq!(body(&offers[1]), "");
    assert!(!body(&all(&world, ">A 200 INVITE")[1]).is_empty());
    assert!(body(&all(&world, ">B ACK")[1]).contains("m=audio"));
}

#[test]
fn offers_that_cross_are_refused_with_491() {
    let world = told(call(|script| {
        script.caller.talk.offers = vec![(MS(1_000), Offer::Hold)];
        script.callees[0].talk.offers = vec![(MS(1_002), Offer::Hold)];
        script.callees[0].talk.thinks = MS(50);
    }));
    assert!(flow(&world).iter().any(|word| word.ends_with("491 INVITE")), "{}", world.ladder(None));
    in_order(&world, &["A> BYE", ">B BYE"]);
}

#[test]
fn a_call_without_offer_stays_without_one_until_the_callee_offers() {
    let world = told(call(|script| script.caller.offer = false));
    assert_eq!(body(&first(&world, ">B INVITE")), "");
    assert!(body(&first(&world, ">A 200 INVITE")).contains("m=audio"));
    in_order(&world, &[">A 200 INVITE", "A> ACK", ">B ACK"]);
    assert_eq!(count(&world, ">B ACK"), 1, "the callee's 200 waits for the caller's answer");
    assert!(body(&first(&world, ">B ACK")).contains("m=audio"));
}

#[test]
fn a_target_that_fails_hands_over_to_the_next() {
    let mut script = CallScript::plain(Route::WestThenEast);
    script.callees = vec![script.callees[0].clone(), script.callees[0].clone()];
    script.callees[0].outcome = Outcome::Refuse(MS(300), 503);
    let world = told(script);
    in_order(&world, &["B> 503 INVITE", ">B ACK", ">B INVITE", "B> 200 INVITE", ">A 200 INVITE"]);
    assert_eq!(count(&world, ">A 503 INVITE"), 0);
    let records = world.oracle().records(0);
    let rows: Vec<_> =
        records.iter().map(|record| (record.attempt, record.is_last, record.sip_code_b)).collect();
    assert_eq!(rows, [(1, false, Some(503)), (2, true, Some(200))]);
    let invites = all(&world, ">B INVITE");
    assert_ne!(header(&invites[0], Name::CallId), header(&invites[1], Name::CallId));
}

#[test]
fn a_busy_callee_is_not_called_again_through_the_next_gateway() {
    let mut script = CallScript::plain(Route::WestThenEast);
    script.callees[0].outcome = Outcome::Refuse(MS(300), 486);
    let world = told(script);
    in_order(&world, &["B> 486 INVITE", ">A 486 INVITE", "A> ACK"]);
    assert_eq!(count(&world, ">B INVITE"), 1);
    assert_eq!(world.oracle().records(0)[0].disposition, Disposition::Busy);
}

#[test]
fn an_unreachable_target_hands_over_at_once() {
    let mut script = CallScript::plain(Route::WestThenEast);
    script.callees = vec![script.callees[0].clone(), script.callees[0].clone()];
    script.callees[0].outcome = Outcome::Unreachable;
    let world = told(script);
    assert!(times(&world, ">A 200 INVITE")[0] < 1_100, "{}", world.ladder(None));
}

#[test]
fn names_that_are_not_found_end_the_call() {
    let habits = Habits { unknown_names: 1_000, ..Habits::prompt() };
    let world = to_the_end(World::with(vec![CallScript::plain(Route::Named)], Network::perfect(), habits));
    assert_eq!(count(&world, ">B INVITE"), 0);
    let status: Vec<_> = flow(&world).into_iter().filter(|word| word.starts_with(">A 5")).collect();
    assert_eq!(status.len(), 1, "{}", world.ladder(None));
}

#[test]
fn without_ports_the_call_is_refused_before_anything_rings() {
    let habits = Habits { refusals: 1_000, ..Habits::prompt() };
    let world = to_the_end(World::with(vec![call(|_| {})], Network::perfect(), habits));
    in_order(&world, &["A> INVITE", ">A 503 INVITE", "A> ACK"]);
    assert_eq!(count(&world, ">B INVITE"), 0);
}

#[test]
fn a_trunks_challenge_is_answered_and_never_seen_by_the_caller() {
    let mut script = CallScript::plain(Route::Guarded);
    script.callees[0].challenges = true;
    let world = told(script);
    in_order(&world, &["B> 407 INVITE", ">B ACK", ">B INVITE", "B> 200 INVITE", ">A 200 INVITE"]);
    let invites = all(&world, ">B INVITE");
    assert_eq!(header(&invites[0], Name::ProxyAuthorization), "");
    assert!(header(&invites[1], Name::ProxyAuthorization).starts_with("Digest "));
    assert_eq!(header(&invites[1], Name::CSeq), "2 INVITE");
    assert_eq!(header(&invites[0], Name::CallId), header(&invites[1], Name::CallId));
    assert_ne!(header(&invites[0], Name::Via), header(&invites[1], Name::Via));
    assert_eq!(body(&invites[0]), body(&invites[1]));
    assert!(!flow(&world).iter().any(|word| word.starts_with(">A 4")));
    assert_eq!(world.oracle().records(0).len(), 1, "one attempt");
}

#[test]
fn an_info_crosses_in_both_directions() {
    let world = told(call(|script| {
        script.caller.talk.info = Some(MS(2_000));
        script.callees[0].talk.info = Some(MS(3_000));
    }));
    in_order(
        &world,
        &[
            "A> INFO",
            ">B INFO",
            "B> 200 INFO",
            ">A 200 INFO",
            "B> INFO",
            ">A INFO",
            "A> 200 INFO",
            ">B 200 INFO",
        ],
    );
    assert_eq!(body(&first(&world, ">B INFO")), body(&first(&world, "A> INFO")));
    assert_eq!(header(&first(&world, ">B INFO"), Name::ContentType), "application/dtmf-relay");
}

#[test]
fn an_info_before_the_callers_ack_waits_instead_of_ending_the_call() {
    let mut world = World::of(vec![call(|script| script.callees[0].talk.info = Some(MS(3)))]);
    world.lose(BOX, caller(), "SIP/2.0 200", 2);
    let world = to_the_end(world);
    assert!(header(&first(&world, ">B 500 INFO"), Name::RetryAfter) == "1", "{}", world.ladder(None));
    assert_eq!(count(&world, ">A INFO"), 0);
    assert_eq!(world.oracle().records(0)[0].ended_by, EndedBy::Caller);
}

#[test]
fn a_caller_that_never_acknowledges_is_hung_up_after_64_t1() {
    let world = told(call(|script| {
        script.caller.ack = Ack::Never;
        script.caller.talk.bye = None;
    }));
    let repeated = times(&world, ">A 200 INVITE");
    assert_eq!(repeated.len(), 11);
    assert_eq!(times(&world, ">A BYE"), [repeated[0] + 32_000]);
    assert_eq!(times(&world, ">B BYE"), [repeated[0] + 32_000]);
    assert_eq!(world.oracle().records(0)[0].ended_by, EndedBy::Timer);
}

#[test]
fn a_2xx_that_comes_again_gets_its_ack_again() {
    let world = told(call(|script| script.callees[0].stutters = true));
    let acks = all(&world, ">B ACK");
    assert_eq!(acks.len(), 2);
    assert_eq!(acks[0], acks[1]);
    assert_eq!(count(&world, ">A 200 INVITE"), 1);
}

#[test]
fn a_2xx_that_comes_again_after_the_bye_gets_its_ack_again() {
    let mut world = World::of(vec![call(|script| script.caller.talk.bye = Some(MS(100)))]);
    world.lose(BOX, carrier_address(0), "ACK", 3);
    let world = to_the_end(world);
    in_order(&world, &[">B BYE", "B> 200 BYE", "B> 200 INVITE", ">B ACK"]);
    assert_eq!(count(&world, ">B ACK"), 4);
    assert_eq!(count(&world, ">B BYE"), 1);
}

#[test]
fn a_reinvite_accepted_after_its_call_ended_is_acknowledged() {
    let world = told(call(|script| {
        script.caller.talk.bye = Some(MS(1_004));
        script.caller.talk.offers = vec![(MS(1_000), Offer::Hold)];
        script.callees[0].talk.thinks = MS(1);
    }));
    in_order(&world, &[">B INVITE", ">B BYE"]);
    // The oracle says that every 2xx has its ACK; here it is one of two ends of the race.
    assert_eq!(count(&world, "B> 200 INVITE") + count(&world, "B> 487 INVITE"), 2);
}

#[test]
fn a_target_that_rings_for_ever_is_given_up_by_timer_c() {
    let world = told(call(|script| script.callees[0].outcome = Outcome::Never));
    in_order(&world, &[">A 180 INVITE", ">A 408 INVITE", ">B CANCEL", "B> 487 INVITE", ">B ACK"]);
    let rang = times(&world, "B> 180 INVITE")[0];
    assert_eq!(times(&world, ">B CANCEL"), [rang + 1 + 180_000]);
    assert_eq!(world.oracle().records(0)[0].disposition, Disposition::NoAnswer);
}

#[test]
fn an_operator_ends_a_ringing_call_on_both_sides() {
    let world = told(call(|script| script.operator = Some(MS(500))));
    in_order(&world, &[">A 180 INVITE", ">B CANCEL", "B> 487 INVITE"]);
    assert_eq!(world.oracle().records(0)[0].ended_by, EndedBy::Api);
}

#[test]
fn a_silent_leg_ends_the_call() {
    let world = told(call(|script| script.silence = Some(MS(5_000))));
    assert_eq!((times(&world, ">A BYE"), times(&world, ">B BYE")), (vec![5_000], vec![5_000]));
    assert_eq!(world.oracle().records(0)[0].ended_by, EndedBy::MediaTimeout);
}
