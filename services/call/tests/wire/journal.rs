//! What is kept of calls, and what is not: bounds, calls that are over, strangers.

use call::journal::Difference;
use call::{Command, Input, JournalLimits, Reply};

use crate::harness::*;

const ROOMY: JournalLimits = JournalLimits { calls: 10, max_bytes: 1 << 20, memory: 1 << 20 };

/// The journal of the call that was recorded last.
fn journal_of(world: &mut World, call: uuid::Uuid) -> Option<Box<call::journal::Journal>> {
    world.input(Input::Command { id: 1, command: Command::Journal(call) });
    match world.replies.pop() {
        Some(Reply::Journal(journal)) => journal,
        other => panic!("expected a journal, came {other:?}"),
    }
}

/// A call that is answered and ended by the caller; its id.
fn a_whole_call(world: &mut World, number: u32) -> uuid::Uuid {
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
    world.receive(CALLER, &numbered(&from_caller("BYE", 2, &ok, "")));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "b1", None));
    world.records.last().expect("the call has its record").call_id
}

#[test]
fn a_call_that_is_over_is_replayed_with_what_came_after_its_end() {
    let mut world = World::keeping(ROOMY);
    let call = a_whole_call(&mut world, 1);
    let before = journal_of(&mut world, call).unwrap().steps().count();
    world.pass(std::time::Duration::from_secs(40));
    let journal = journal_of(&mut world, call).unwrap();
    assert!(journal.steps().count() > before, "the timers of its transactions are told as well");
    journal.replay(|_, _| {}).unwrap();
    let secrets = &journal.settings;
    assert_eq!((secrets.seed, secrets.nonce_secret), ([0; 32], [0; 32]));
}

#[test]
fn the_oldest_of_the_calls_that_are_over_goes_first() {
    let mut world = World::keeping(JournalLimits { calls: 2, ..ROOMY });
    let calls: Vec<_> = (1..=3).map(|number| a_whole_call(&mut world, number)).collect();
    let kept: Vec<_> = calls.iter().map(|call| journal_of(&mut world, *call).is_some()).collect();
    assert_eq!(kept, [false, true, true]);
}

#[test]
fn a_journal_that_grows_too_long_is_cut_and_says_so() {
    let mut world = World::keeping(JournalLimits { max_bytes: 2_000, ..ROOMY });
    let call = a_whole_call(&mut world, 1);
    let journal = journal_of(&mut world, call).unwrap();
    assert!(journal.steps().count() > 1, "its beginning is there");
    let Err(Difference::Cut(why)) = journal.replay(|_, _| {}) else { panic!("it has no end") };
    assert!(why.contains("max_kb"), "{why}");
}

#[test]
fn memory_is_made_by_dropping_calls_that_are_over() {
    let mut world = World::keeping(JournalLimits { memory: 12_000, ..ROOMY });
    let calls: Vec<_> = (1..=6).map(|number| a_whole_call(&mut world, number)).collect();
    let kept: Vec<_> = calls.iter().filter_map(|call| journal_of(&mut world, *call)).collect();
    assert!((1..6).contains(&kept.len()), "{} journals are kept", kept.len());
    for journal in kept {
        journal.replay(|_, _| {}).unwrap();
    }
}

#[test]
fn nothing_is_kept_when_journals_are_off() {
    let mut world = World::keeping(JournalLimits::OFF);
    let call = a_whole_call(&mut world, 1);
    assert!(journal_of(&mut world, call).is_none());
}
