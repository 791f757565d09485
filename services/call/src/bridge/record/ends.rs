//! How an attempt ended: who ended it, what that was, and its causes in the words of Q.850.

use super::{Attempt, Record};
use crate::bridge::cause::q850_of;
use crate::cdr::{Disposition, EndedBy};

impl Record {
    /// Who ended the attempt, if that is known by now.
    pub(super) fn ender(&self, attempt: &Attempt, is_last: bool) -> Option<EndedBy> {
        if is_last { self.ended_by } else { attempt.ended_by }
    }

    /// What the caller said, else what it was told, else what an answered call that ends so means.
    pub(super) fn q850_a(&self, attempt: &Attempt, is_last: bool) -> Option<u16> {
        self.cause(self.a_status, [self.q850, attempt.q850], self.ender(attempt, is_last), is_last)
    }

    /// What the target said, else what its status means; who is hung up is told why.
    pub(super) fn q850_b(&self, attempt: &Attempt, is_last: bool) -> Option<u16> {
        self.cause(attempt.status, [attempt.q850, self.q850], self.ender(attempt, is_last), is_last)
    }

    /// Of a side that has this status: what it said itself, else what the status means, else what it was told of the other side,
    /// where it talked and that has ended.
    fn cause(
        &self,
        status: Option<u16>,
        [own, others]: [Option<u16>; 2],
        ender: Option<EndedBy>,
        is_last: bool,
    ) -> Option<u16> {
        let meant = match status? {
            ..300 => ender.map(|by| others.unwrap_or(self.cleared(by, is_last))),
            refused => q850_of(refused),
        };
        own.or(meant)
    }

    /// The cause of a talk that ended so where no side named one: what the box told both, if it did.
    fn cleared(&self, by: EndedBy, is_last: bool) -> u16 {
        let meant = match by {
            EndedBy::Caller | EndedBy::Callee | EndedBy::Policy | EndedBy::Api => 16,
            EndedBy::MediaTimeout => 27,
            EndedBy::Timer => 102,
            EndedBy::Error | EndedBy::Crash => 41,
        };
        self.told.filter(|_| is_last).unwrap_or(meant)
    }

    pub(super) fn disposition(&self, attempt: &Attempt, is_last: bool) -> Disposition {
        if attempt.blocked {
            return Disposition::Blocked;
        }
        // What the caller was told decides; a 2xx that crossed a CANCEL answered nobody.
        if is_last && self.a_status.is_some_and(|status| (200..300).contains(&status)) {
            return Disposition::Answered;
        }
        if attempt.handed_over {
            return Disposition::Answered;
        }
        if attempt.dropped || (is_last && self.ended_by == Some(EndedBy::Caller)) {
            return Disposition::Cancelled;
        }
        let status = if is_last { self.a_status.or(attempt.status) } else { attempt.status };
        match status {
            Some(486 | 600) => Disposition::Busy,
            // Nothing at all was heard of it.
            Some(408) if attempt.status.is_none() && attempt.ringing.is_none() => Disposition::Failed,
            // Not of the target's own: a user who is not registered, an operator.
            Some(480) if self.ender(attempt, is_last) != Some(EndedBy::Callee) => Disposition::Failed,
            Some(480) if attempt.ringing.is_none() => Disposition::Rejected,
            Some(408 | 480) => Disposition::NoAnswer,
            // The caller's own time was up (RFC 3261 §13.3.1).
            Some(487) if is_last && self.ended_by == Some(EndedBy::Timer) => Disposition::NoAnswer,
            Some(400..500 | 601..700) => Disposition::Rejected,
            None if attempt.ringing.is_some() => Disposition::NoAnswer,
            Some(_) | None => Disposition::Failed,
        }
    }
}
