//! Call records: one for each attempt, one of them the last, times in order, and the same story as the wire's.

use std::collections::BTreeMap;

use call::{CdrFact, Disposition, EndedBy, Utc};
use sip::Message;
use uuid::Uuid;

use super::Oracle;

#[derive(Debug, Default)]
pub(super) struct Records {
    /// Calls that were routed, and the records that came of each.
    calls: BTreeMap<Uuid, Vec<CdrFact>>,
    /// Attempts that the journal was told of and that are not over.
    open: BTreeMap<Uuid, CdrFact>,
    /// What targets have said last to their INVITEs, by Call-ID.
    finals: BTreeMap<Vec<u8>, u16>,
}

impl Oracle {
    /// The Core asked where this call goes, so there will be a record of it.
    pub(crate) fn routed(&mut self, call: Uuid) {
        self.records.calls.entry(call).or_default();
    }

    /// The number of the call that a record is of.
    pub(crate) fn call_of_record(&self, fact: &CdrFact) -> Option<usize> {
        self.placed.get(fact.a_sip_call_id.as_bytes()).copied()
    }

    /// The Core said how far this attempt is.
    pub(crate) fn opened(&mut self, fact: &CdrFact) {
        let call = self.call_of_record(fact);
        if self.records.calls.values().flatten().any(|record| record.id == fact.id) {
            self.fail(call, "an attempt goes on after its record");
        }
        if fact.is_last {
            self.fail(call, "an attempt that is not over reads as the last");
        }
        if let Some(before) = self.records.open.insert(fact.id, fact.clone())
            && (before.call_id, before.started_at) != (fact.call_id, fact.started_at)
        {
            self.fail(call, "an attempt has another beginning than it had");
        }
    }

    /// The Core is about to hear the final response of a target.
    pub(super) fn target_said(&mut self, response: &Message<'_>, status: u16) {
        if let Ok(call_id) = response.call_id() {
            self.records.finals.insert(call_id.to_vec(), status);
        }
    }

    /// The Core wrote this record.
    pub(crate) fn recorded(&mut self, fact: CdrFact) {
        let call = self.call_of_record(&fact);
        let changed = call.is_some_and(|at| self.calls[at].has_changed());
        let mut wrong = Vec::new();
        match self.records.open.remove(&fact.id) {
            None => wrong.push("a record of an attempt that the journal was never told of".to_owned()),
            Some(open) if open.started_at != fact.started_at => {
                wrong.push("a record with another beginning than the attempt had".to_owned());
            }
            Some(open) if open.answered_at.is_some() && open.answered_at != fact.answered_at => {
                wrong.push("a record with another answer than the attempt had".to_owned());
            }
            Some(open) if open.ended_by != EndedBy::Crash && !ends_alike(&open, &fact) => {
                wrong.push(format!("a record that ends {:?} and was to end {:?}", end(&fact), end(&open)));
            }
            Some(_) => {}
        }
        match self.records.calls.get(&fact.call_id) {
            None => wrong.push("a record of a call that was never routed".to_owned()),
            Some(before) => {
                if before.iter().any(|record| record.is_last) {
                    wrong.push("a record after the last one".to_owned());
                }
                if before.iter().any(|record| record.attempt == fact.attempt) {
                    wrong.push(format!("two records of attempt {}", fact.attempt));
                }
                if before.iter().any(|record| record.id == fact.id) {
                    wrong.push("two records with one id".to_owned());
                }
            }
        }
        // A challenge, and an interval that is too small, are answered with another INVITE.
        let said = fact.b_sip_call_id.as_deref().and_then(|id| self.records.finals.get(id.as_bytes()));
        if let Some(said) = said.filter(|said| !matches!(said, 401 | 407 | 422))
            && fact.sip_code_b.is_none()
        {
            wrong.push(format!("a record without the {said} of its target"));
        }
        let times = [Some(fact.started_at), fact.ringing_at, fact.answered_at, Some(fact.ended_at)];
        let times: Vec<_> = times.into_iter().flatten().collect();
        if !times.is_sorted() {
            wrong.push(format!("a record with times out of order: {times:?}"));
        }
        // Of one who was replaced the record says that the two talked, and nothing of the caller.
        let replaced = changed && !fact.is_last && fact.answered_at.is_some();
        if !replaced
            && (fact.disposition == Disposition::Answered)
                != (fact.answered_at.is_some() && fact.sip_code_a == Some(200))
        {
            wrong.push(format!(
                "disposition {:?} with answered_at {:?} and status {:?} to the caller",
                fact.disposition, fact.answered_at, fact.sip_code_a
            ));
        }
        if let Some(at) = call
            && fact.is_last
        {
            let wire = self.calls[at].refused_or_answered;
            if fact.sip_code_a != wire {
                wrong.push(format!("the record says {:?} to the caller, the wire {wire:?}", fact.sip_code_a));
            }
        }
        for what in wrong {
            self.fail(call, what);
        }
        self.records.calls.entry(fact.call_id).or_default().push(fact);
    }

    pub(super) fn end_records(&mut self) {
        let mut wrong = Vec::new();
        for fact in self.records.open.values() {
            wrong.push((self.call_of_record(fact), format!("attempt {} has no record", fact.attempt)));
        }
        for (uuid, facts) in &self.records.calls {
            let call = facts.first().and_then(|fact| self.call_of_record(fact));
            let last = facts.iter().filter(|fact| fact.is_last).count();
            if last != 1 {
                wrong.push((call, format!("{last} last records of call {uuid}")));
            }
            // Several at once end in any order; none is left out of the count.
            let mut numbers: Vec<_> = facts.iter().map(|fact| fact.attempt).collect();
            numbers.sort_unstable();
            let whole: Vec<_> = if numbers == [0] { vec![0] } else { (1..).take(numbers.len()).collect() };
            if numbers != whole {
                wrong.push((call, format!("records of the attempts {numbers:?} of call {uuid}")));
            }
            let answered = |fact: &&CdrFact| fact.answered_at.is_some();
            let changed = call.is_some_and(|at| self.calls[at].has_changed());
            if !changed && facts.iter().filter(answered).any(|fact| !fact.is_last) {
                wrong.push((call, "an attempt was answered and is not the last".to_owned()));
            }
            let Some(at) = call else { continue };
            let mut of_attempts: Vec<_> =
                facts.iter().filter_map(|fact| fact.b_sip_call_id.clone().map(String::from)).collect();
            let mut on_wire: Vec<_> =
                self.calls[at].attempts.iter().map(|id| String::from_utf8_lossy(id).into_owned()).collect();
            of_attempts.sort_unstable();
            on_wire.sort_unstable();
            if of_attempts != on_wire {
                wrong.push((call, "the records name other attempts than the wire shows".to_owned()));
            }
        }
        for (call, what) in wrong {
            self.fail(call, what);
        }
    }

    /// The records of a call, in order.
    pub fn records(&self, call: usize) -> Vec<&CdrFact> {
        let all = self.records.calls.values().flatten();
        all.filter(|fact| self.call_of_record(fact) == Some(call)).collect()
    }
}

/// What is told of an attempt that waits for nothing but the answer to a BYE or CANCEL is what becomes of it.
fn ends_alike(open: &CdrFact, fact: &CdrFact) -> bool {
    // By its answer to the CANCEL the target shows that it was there.
    let silent = open.disposition == Disposition::Failed && open.sip_code_a == Some(408);
    let shows = silent && open.sip_code_b.is_none() && fact.sip_code_b.is_some();
    let disposition = if shows { Disposition::NoAnswer } else { open.disposition };
    end(&CdrFact { disposition, ..open.clone() }) == end(fact)
}

/// How a record ends.
fn end(fact: &CdrFact) -> (Utc, u64, Disposition, EndedBy, Option<u16>) {
    (fact.ended_at, fact.duration_ms, fact.disposition, fact.ended_by, fact.sip_code_a)
}
