//! How an attempt ended: who ended it, what that was, and its causes in the words of Q.850.

use super::{Attempt, Record};
use crate::bridge::cause::q850_of;
use crate::cdr::{Disposition, EndedBy};

impl Record {
    /// Who ended the attempt, if that is known by now.
    pub(super) fn ender(&self, attempt: &Attempt, is_last: bool) -> Option<EndedBy> {
        if is_last { self.ended_by } else { attempt.ended_by }
    }

    /// What the caller said, else what it was told; an answered call that ends is cleared normally.
    pub(super) fn q850_a(&self, attempt: &Attempt, is_last: bool) -> Option<u16> {
        let status = self.a_status?;
        let told = if status < 300 {
            self.ender(attempt, is_last).map(|_| attempt.q850.unwrap_or(16))
        } else {
            q850_of(status)
        };
        self.q850.or(told)
    }

    /// What the target said, else what its status means; who is hung up is told why.
    pub(super) fn q850_b(&self, attempt: &Attempt, is_last: bool) -> Option<u16> {
        let status = attempt.status?;
        let meant = if status < 300 {
            self.ender(attempt, is_last).map(|_| self.q850.unwrap_or(16))
        } else {
            q850_of(status)
        };
        attempt.q850.or(meant)
    }

    pub(super) fn disposition(&self, attempt: &Attempt, is_last: bool) -> Disposition {
        if self.blocked {
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
            Some(408 | 480) => Disposition::NoAnswer,
            // The caller's own time was up (RFC 3261 §13.3.1).
            Some(487) if is_last && self.ended_by == Some(EndedBy::Timer) => Disposition::NoAnswer,
            Some(400..500 | 601..700) => Disposition::Rejected,
            None if attempt.ringing.is_some() => Disposition::NoAnswer,
            Some(_) | None => Disposition::Failed,
        }
    }
}
