//! Several targets at once, and targets that name others.

use std::time::Duration;

use crate::story::*;
use call::{Disposition, EndedBy};
use simulation::script::{CallScript, OnCancel, Outcome, Route};
use sip::Name;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Two carriers are called at once; the second answers so much later than the first.
fn both(later: Duration) -> CallScript {
    let mut script = CallScript::plain(Route::Both);
    script.callees = vec![script.callees[0].clone(), script.callees[0].clone()];
    script.callees[1].outcome = Outcome::Answer(MS(1_000) + later);
    script
}

#[test]
fn the_first_that_answers_has_the_call_and_the_other_is_told_why() {
    let world = told(both(MS(5_000)));
    assert_eq!((count(&world, ">B INVITE"), count(&world, ">B CANCEL")), (2, 1));
    in_order(&world, &["B> 200 INVITE", ">A 200 INVITE", ">B CANCEL", "B> 487 INVITE"]);
    assert!(header(&first(&world, ">B CANCEL"), Name::Reason).contains("cause=200"));
    let rows: Vec<_> =
        world.oracle().records(0).iter().map(|r| (r.is_last, r.disposition, r.ended_by)).collect();
    assert_eq!(
        rows,
        [(false, Disposition::Cancelled, EndedBy::Policy), (true, Disposition::Answered, EndedBy::Caller)]
    );
}

#[test]
fn cancel_c12_c3_two_answers_cross_and_one_of_them_is_ended() {
    let mut script = both(Duration::ZERO);
    script.callees[1].on_cancel = OnCancel::Answers;
    let world = told(script);
    assert_eq!(count(&world, "B> 200 INVITE"), 2);
    assert_eq!(count(&world, ">A 200 INVITE"), 1);
    assert_eq!((count(&world, ">B ACK"), count(&world, ">B BYE")), (2, 2));
}

#[test]
fn redirections_in_a_circle_come_to_an_end() {
    let mut script = CallScript::plain(Route::West);
    script.callees[0].outcome = Outcome::Refuse(MS(100), 302);
    let world = told(script);
    // Each carrier at most once.
    assert!(count(&world, ">B INVITE") <= 5, "{}", world.ladder(None));
    assert_eq!(count(&world, ">A 502 INVITE"), 1, "{}", world.ladder(None));
}
