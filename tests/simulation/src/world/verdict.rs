//! Whether a world keeps the rules, after every step and at its end, and how a broken one is told.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use call::{Disposition, Side, Stats};
use smallvec::SmallVec;

use super::{BOX, Failure, STRANGER, Summary, World};
use crate::phone::Phone;

impl World {
    pub(super) fn check(&mut self) -> Result<(), Box<Failure>> {
        if let Some(breach) = self.oracle.breach() {
            return Err(self.failure(breach.call, breach.what));
        }
        for core in &self.cores {
            if let Err(what) = core.check_invariants() {
                return Err(self.failure(None, format!("check_invariants: {what}")));
            }
        }
        let kept = self.sessions.iter().find(|(call, session)| {
            let watched = &self.oracle.calls[**call];
            watched.over && !watched.moved && self.relay.is_open(**session)
        });
        if let Some((&call, _)) = kept {
            return Err(
                self.failure(Some(call), "the call is over for its caller, and its ports are not given back")
            );
        }
        Ok(())
    }

    /// The packets of those who talk go where the other one listens: the phones, the box and the relay agree who is in
    /// a call with whom.
    pub(super) fn listen(&mut self, call: usize) -> Result<(), Box<Failure>> {
        let Some(&session) = self.sessions.get(&call) else { return Ok(()) };
        let there: SmallVec<[(Side, &Phone); 3]> = self.parties(call).collect();
        let both = matches!(&*there, [(one, _), (other, _)] if one != other);
        if !both || !self.relay.is_open(session) || !there.iter().all(|(_, phone)| phone.is_at_rest()) {
            return Ok(());
        }
        let at_odds = there
            .iter()
            .find(|(side, phone)| self.relay.sends_to(session, *side) != Some(phone.listens_at()));
        // Somebody who answered too late, or was replaced, is told so by a BYE that it has not heard yet.
        let is_told = there.iter().any(|(_, phone)| self.oracle.has_hung_up(phone.call_id().as_bytes()));
        if let Some((side, phone)) = at_odds.filter(|_| !is_told) {
            let (at, sends) = (phone.listens_at(), self.relay.sends_to(session, *side));
            let what =
                format!("the phone of side {side:?} listens at {at}, and the relay sends to {sends:?}");
            return Err(self.failure(Some(call), what));
        }
        Ok(())
    }

    /// What the caller saw and what the last record says are the same story.
    fn check_beliefs(&self) -> Result<(), Box<Failure>> {
        for (call, caller) in self.callers.iter().enumerate() {
            let records = self.oracle.records(call);
            let Some(last) = records.iter().find(|record| record.is_last) else { continue };
            let Some(seen) = caller.first_final() else { continue };
            if caller.is_switched_off() || seen == last.sip_code_a.unwrap_or(0) {
                continue;
            }
            let what = format!("the caller saw {seen}, the record says {:?}", last.sip_code_a);
            return Err(self.failure(Some(call), what));
        }
        for record in (0..self.callers.len()).flat_map(|call| self.oracle.records(call)) {
            let answered = record.is_last && record.disposition == Disposition::Answered;
            let by = record.b_sip_call_id.as_deref().unwrap_or_default();
            let phone = self.phone_of(by.as_bytes());
            if answered && !phone.is_some_and(Phone::has_answered) {
                let call = self.oracle.call_of_record(record);
                return Err(self.failure(call, "the record says answered, and no phone did"));
            }
        }
        Ok(())
    }

    /// What must be true when nothing more can happen.
    pub(super) fn check_end(&mut self) -> Result<(), Box<Failure>> {
        self.oracle.end();
        self.check()?;
        for shard in 0..self.cores.len() {
            let Stats { calls, legs, transactions, timers, queries, .. } = self.stats(shard)?;
            // An INVITE that rings when the process ends has no timer of its own, and nobody waits for it.
            let transactions = if self.oracle.abandoned { 0 } else { transactions };
            let left = [calls, legs, transactions, timers, queries];
            if left != [0; 5] {
                let what = format!("left over: [calls, legs, transactions, timers, queries] = {left:?}");
                return Err(self.failure(None, what));
            }
        }
        if self.relay.sessions() > 0 {
            return Err(self.failure(None, format!("{} media sessions hold ports", self.relay.sessions())));
        }
        self.check_journals()?;
        // On a worse network a phone may miss every one of eleven BYEs.
        let bad = self.network.loss > 100 || self.network.strays > 0 || self.habits.undeliverable > 0;
        if !bad && self.partitions.is_empty() && !self.oracle.abandoned && !self.torn {
            let believes = |phone: &&Phone| phone.is_in_call() && !phone.is_muddled();
            let talking = self.phones().find(believes).map(|phone| phone.call_id().to_owned());
            if let Some(id) = talking {
                let call = self.oracle.call_of(id.as_bytes()).map(|(call, _)| call);
                return Err(self.failure(call, "a phone believes that it still talks"));
            }
            if self.network.loss == 0 {
                self.check_beliefs()?;
            }
        }
        Ok(())
    }

    pub(crate) fn failure(&self, call: Option<usize>, what: impl Into<String>) -> Box<Failure> {
        let together = call.map(|call| self.together_with(call)).unwrap_or_default();
        let ids: BTreeSet<Vec<u8>> =
            together.iter().flat_map(|call| self.oracle.call_ids(*call).cloned()).collect();
        let script = match call.and_then(|call| self.scripts.get(call)) {
            Some(script) => format!("{script:?}\n{:?} {:?}", self.network, self.habits),
            None => format!("{:?} {:?}", self.network, self.habits),
        };
        let ladder = self.tape.ladder(call, &ids, name_of);
        Box::new(Failure { seed: self.seed, cut: self.cut, call, what: what.into(), script, ladder })
    }

    pub(super) fn summary(&self) -> Summary {
        let status = |wanted: u16| {
            self.oracle.calls.iter().filter(|call| call.refused_or_answered == Some(wanted)).count() as u64
        };
        Summary {
            calls: self.oracle.calls.len() as u64,
            answered: status(200),
            cancelled: status(487),
            datagrams: self.tape.lines().count() as u64,
            steps: self.steps,
        }
    }
}

/// What a ladder calls an address.
fn name_of(address: SocketAddr) -> String {
    match address {
        BOX => "box".to_owned(),
        STRANGER => "stranger".to_owned(),
        SocketAddr::V4(v4) => {
            let last = v4.ip().octets()[3];
            match v4.ip().octets()[0] {
                198 => format!("user {}", last.wrapping_sub(101)),
                10 => format!("caller {}", last.wrapping_sub(101)),
                _ => format!("carrier {}", last.wrapping_sub(111)),
            }
        }
        SocketAddr::V6(_) => address.to_string(),
    }
}
