//! Attempts that the call has given up and that may still say how they ended: by the 487 to a CANCEL, or the 2xx that crossed it.
//!
//! Their rows are settled but for that word. They wait for it as long as the leg does, and not beyond the call.

use sip::Message;

use super::{Attempt, Record};
use crate::cdr::CdrFact;
use crate::leg::LegKey;

/// The row of an attempt that was given up, and the leg that may still hear of it.
#[derive(Debug)]
pub(super) struct GivenUp {
    leg: LegKey,
    attempt: Attempt,
    row: Box<CdrFact>,
}

impl Record {
    /// The row waits for the last word of this leg.
    pub(crate) fn wait_for(&mut self, leg: LegKey, attempt: Attempt, row: Box<CdrFact>) {
        self.given_up.push(GivenUp { leg, attempt, row });
    }

    /// The legs that are waited for.
    pub(crate) fn waits_for(&self) -> impl Iterator<Item = LegKey> + '_ {
        self.given_up.iter().map(|waits| waits.leg)
    }

    /// A final response came to a leg, which completes the row that waits for it.
    pub(crate) fn heard_late(&mut self, leg: LegKey, response: &Message<'_>) -> Option<Box<CdrFact>> {
        let index = self.given_up.iter().position(|waits| waits.leg == leg)?;
        let GivenUp { mut attempt, mut row, .. } = self.given_up.remove(index);
        attempt.hear_final(response);
        row.q850_b = self.q850_b(&attempt, false);
        row.q850 = row.q850.or(attempt.q850);
        row.sip_code_b = attempt.status;
        row.sip_reason_b = attempt.reason;
        row.b_user_agent = attempt.user_agent;
        Some(row)
    }

    /// The rows of legs that will say nothing more, as they are.
    pub(crate) fn take_given_up(
        &mut self,
        is_over: impl Fn(LegKey) -> bool,
    ) -> impl Iterator<Item = Box<CdrFact>> {
        self.given_up.extract_if(.., move |waits| is_over(waits.leg)).map(|waits| waits.row)
    }
}
