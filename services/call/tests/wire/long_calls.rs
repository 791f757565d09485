//! What the journal is told of a call that goes on and on, should the process die during it.

use std::time::Duration;

use call::{DirectionStats, EndedBy, Input, MediaOrder, MediaReport};

use crate::harness::*;

/// Of the settings of the tests' world.
const INTERIM: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);

fn counted(fact: &call::CdrFact) -> (u64, u64) {
    (fact.from_a.packets, fact.from_b.packets)
}

#[test]
fn the_open_record_of_a_long_call_says_how_far_it_is_and_what_was_heard() {
    let (mut world, ok, _) = call_up();
    let opened = world.open_records.len();
    let answer = world.open_records.last().unwrap().clone();
    world.pass(INTERIM - SECOND);
    assert_eq!(world.open_records.len(), opened, "not yet");
    world.pass(SECOND);
    assert_eq!(world.open_records.len(), opened + 1);
    let open = world.open_records.last().unwrap();
    assert_eq!((open.id, counted(open)), (answer.id, (3, 4)), "what the relay has counted");
    assert_eq!((open.ended_by, open.is_last), (EndedBy::Crash, false), "should nothing more be heard of it");
    assert_eq!((open.ended_at.0 - answer.ended_at.0, open.duration_ms), (300_000_000, 300_000));
    world.pass(INTERIM);
    assert_eq!(world.open_records.len(), opened + 2, "again and again");
    ends_by_the_caller(&mut world, &ok, 2);
    world.pass(INTERIM);
    assert_eq!(world.open_records.len(), opened + 3, "that it ends, and no more");
    assert_eq!(counted(&world.records[0]), (11, 22), "what the relay said at the end counts, and once");
    world.expect_nothing_left();
}

#[test]
fn a_call_that_ends_while_it_is_counted_is_not_opened_again() {
    let (mut world, ok, _) = call_up();
    world.pass(INTERIM);
    let opened = world.open_records.len();
    let Some(MediaOrder::Count { session }) = world.orders.last().cloned() else {
        panic!("{:?}", world.orders.last())
    };
    let late = DirectionStats { packets: 9, ..DirectionStats::default() };
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.input(Input::Media(MediaReport::Counted { session, from_a: late, from_b: late }));
    assert_eq!(world.open_records.len(), opened + 1, "that it ends");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.input(Input::Media(MediaReport::Counted { session, from_a: late, from_b: late }));
    assert_eq!((world.open_records.len(), world.records.len()), (opened + 1, 1));
    assert_eq!(counted(&world.records[0]), (11, 22));
    world.expect_nothing_left();
}

#[test]
fn without_an_interval_the_journal_hears_of_changes_only() {
    let mut world = World::tuned(|settings| settings.interim = Duration::ZERO);
    let (ok, _) = call_up_in(&mut world);
    let opened = world.open_records.len();
    world.pass(2 * INTERIM);
    assert_eq!(world.open_records.len(), opened);
    ends_by_the_caller(&mut world, &ok, 2);
}
