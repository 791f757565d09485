//! Transfers: who asks for one may leave at any moment, and whoever is called may say what it likes.

use std::time::Duration;

use call::{Disposition, EndedBy};
use simulation::script::{CalleeScript, Outcome};

use crate::story::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Someone who answers at once and hangs up after ten seconds.
fn target() -> CalleeScript {
    let mut script = CalleeScript::plain();
    script.talk.bye = Some(MS(10_000));
    script
}

#[test]
fn the_callee_sends_the_caller_on_and_waits_to_be_hung_up() {
    let world = told(call(|script| {
        script.caller.talk.bye = None;
        script.callees[0].talk.refers = Some((MS(1_000), None));
        script.callees.push(target());
    }));
    in_order(
        &world,
        &[
            "B> REFER",
            ">B 202 REFER",
            ">B NOTIFY",
            ">B INVITE",
            "B> 200 INVITE",
            ">B NOTIFY",
            ">B BYE",
            ">A INVITE",
            ">A BYE",
        ],
    );
    let records = world.oracle().records(0);
    let rows: Vec<_> = records.iter().map(|row| (row.attempt, row.is_last, row.disposition)).collect();
    assert_eq!(rows, [(1, false, Disposition::Answered), (2, true, Disposition::Answered)]);
    assert_eq!((records[0].ended_by, records[1].ended_by), (EndedBy::Callee, EndedBy::Callee));
}

#[test]
fn the_caller_sends_the_callee_on_and_leaves_at_once() {
    let world = told(call(|script| {
        script.caller.talk.bye = None;
        script.caller.talk.refers = Some((MS(1_000), Some(Duration::ZERO)));
        script.callees.push(target());
    }));
    in_order(
        &world,
        &["A> REFER", ">A 202 REFER", "A> BYE", "B> 200 INVITE", ">B ACK", ">B INVITE", "B> BYE", ">B BYE"],
    );
}

#[test]
fn a_target_that_refuses_leaves_the_two_as_they_were() {
    let world = told(call(|script| {
        script.caller.talk.refers = Some((MS(1_000), None));
        let mut busy = target();
        busy.outcome = Outcome::Refuse(MS(500), 486);
        script.callees.push(busy);
    }));
    in_order(&world, &["A> REFER", ">B INVITE", "B> 486 INVITE", ">A NOTIFY", "A> BYE", ">B BYE"]);
    assert_eq!(world.oracle().records(0).len(), 2);
}

#[test]
fn a_target_that_never_answers_is_cancelled_when_who_waits_gives_up() {
    let world = told(call(|script| {
        script.caller.talk.bye = Some(MS(15_000));
        script.callees[0].talk.refers = Some((MS(1_000), Some(MS(100))));
        let mut deaf = target();
        deaf.outcome = Outcome::Never;
        script.callees.push(deaf);
    }));
    in_order(&world, &["B> REFER", ">B INVITE", "B> BYE", "A> BYE", ">B CANCEL", "B> 487 INVITE", ">B ACK"]);
    assert_eq!(world.oracle().records(0).iter().filter(|row| row.is_last).count(), 1);
}
