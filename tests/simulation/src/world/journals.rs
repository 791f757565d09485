//! Every call once more: its journal, handed to a fresh Core, must give the same outputs byte for byte, and nothing that
//! the box sent for a call may be missing from it.

use std::collections::BTreeMap;

use bytes::Bytes;
use call::journal::Journal;
use call::{Command, Input, Output, Reply};
use sip::Message;

use super::{BOX, Failure, STRANGER, World};

impl World {
    /// Replays the journals of all calls.
    pub(super) fn check_journals(&mut self) -> Result<(), Box<Failure>> {
        let mut told: BTreeMap<Bytes, usize> = BTreeMap::new();
        let mut seen = Vec::new();
        for (shard, call, uuid) in self.begun.clone() {
            // Calls that met are in one journal.
            if seen.contains(&uuid) {
                continue;
            }
            let Some(journal) = self.journal(shard, uuid) else {
                return Err(self.failure(call, "it has no journal"));
            };
            seen.extend(journal.calls.iter().copied());
            let replayed = journal.replay(|_, outputs| {
                for output in outputs {
                    if let Output::Send { bytes, .. } = output {
                        *told.entry(bytes.clone()).or_default() += 1;
                    }
                }
            });
            if let Err(difference) = replayed {
                return Err(self.failure(call, format!("the replay of its journal: {difference}")));
            }
        }
        self.check_that_all_is_told(told)
    }

    /// The journals of all calls, those that met in one.
    pub fn journals(&mut self) -> Vec<Box<Journal>> {
        let mut journals: Vec<Box<Journal>> = Vec::new();
        for (shard, _, uuid) in self.begun.clone() {
            if journals.iter().all(|journal| !journal.calls.contains(&uuid)) {
                journals.extend(self.journal(shard, uuid));
            }
        }
        journals
    }

    /// The journal of a call, in progress or over.
    pub fn journal(&mut self, shard: usize, call: uuid::Uuid) -> Option<Box<Journal>> {
        let now = self.now();
        self.cores[shard].handle(Input::Command { id: 98, command: Command::Journal(call) }, now);
        let mut journal = None;
        while let Some(output) = self.cores[shard].poll_output() {
            if let Output::Reply { id: 98, reply: Reply::Journal(found) } = output {
                journal = found;
            }
        }
        journal
    }

    /// Requests and successes are always of a call; a refusal may be of a request that never became one.
    fn check_that_all_is_told(&self, mut told: BTreeMap<Bytes, usize>) -> Result<(), Box<Failure>> {
        for line in self.tape.lines().filter(|line| line.from == BOX && line.to != STRANGER) {
            let Ok(message) = Message::parse(&line.bytes) else { continue };
            let of_a_call = match message.status() {
                None => true,
                Some(status) => message.method() == sip::Method::Invite && status < 300,
            };
            match told.get_mut(&line.bytes) {
                Some(left) if *left > 0 => *left -= 1,
                Some(_) | None if of_a_call => {
                    let call = message.call_id().ok().and_then(|id| self.oracle.call_of(id));
                    let what = format!("in no journal: {}", crate::tape::brief(&line.bytes));
                    return Err(self.failure(call.map(|(call, _)| call), what));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}
