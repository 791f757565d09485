//! What the journal hears of an attempt before its record: enough to write one if the process dies.

use crate::harness::*;
use call::{Disposition, EndedBy};

#[test]
fn an_attempt_is_told_at_the_invite_when_it_is_sent_on_and_at_the_answer() {
    let (mut world, ok, _) = call_up();
    let told = std::mem::take(&mut world.open_records);
    let [invited, sent, answered] = &told[..] else { panic!("{told:#?}") };
    assert_eq!((invited.attempt, &invited.b_sip_call_id), (0, &None));
    assert_eq!((sent.attempt, sent.b_sip_call_id.is_some(), sent.answered_at), (1, true, None));
    assert_eq!((answered.attempt, answered.sip_code_a), (1, Some(200)));
    assert!(answered.answered_at.is_some());
    let dispositions = [Disposition::Failed, Disposition::Failed, Disposition::Answered];
    assert_eq!(told.iter().map(|fact| fact.disposition).collect::<Vec<_>>(), dispositions);
    assert!(told.iter().all(|fact| fact.ended_by == EndedBy::Crash && !fact.is_last));

    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let [record] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert!(told.iter().all(|fact| (fact.id, fact.call_id) == (record.id, record.call_id)));
    assert_ne!(record.id, record.call_id);
    assert_eq!(record.id.get_version_num(), 7);
    assert!(world.open_records.is_empty(), "nothing is told of an attempt that is over");
}
