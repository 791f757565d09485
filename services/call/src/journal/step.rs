//! One entry of a journal: an input with its time, what it found outside of its call, and a print of what came of it.

use slotmap::KeyData;

use super::bytes::Reader;
use super::print::print;
use super::stimulus::{self, Stimulus};
use super::tape::{self, Fact};
use crate::io::{Now, Output, Utc};

/// One input of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    /// Counts the inputs of a Core; within a journal it only rises.
    pub order: u64,
    /// When it happened.
    pub now: Now,
    /// Which configuration was in force for new calls, counted from 0.
    pub generation: u32,
    /// Whether new calls were refused.
    pub draining: bool,
    /// The last question that had been asked of the outside; the next one counts on.
    pub last_query: u64,
    /// What happened.
    pub stimulus: Stimulus<'a>,
    /// What it found outside of the call.
    pub facts: Vec<Fact>,
    /// The keys of what was made for it.
    pub keys: Keys,
    /// A print of what came of it; it means something only to the program that made it.
    pub print: u64,
}

/// The keys of what an input made, in the order of its making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Calls.
    pub calls: Vec<u64>,
    /// Legs.
    pub legs: Vec<u64>,
    /// Client transactions.
    pub clients: Vec<u64>,
    /// Server transactions.
    pub servers: Vec<u64>,
}

/// What of a [`Step`] is of a fixed size.
pub(super) struct Head {
    pub(super) order: u64,
    pub(super) now: Now,
    pub(super) generation: u32,
    pub(super) draining: bool,
    pub(super) last_query: u64,
    pub(super) print: u64,
}

/// `order`, `time`, `utc`, `last_query`, `print`, `generation`, `draining`.
const HEAD: usize = 5 * 8 + 4 + 1;

/// How long a step is as [`put`] writes it, with `pieces` of these lengths.
pub(super) fn length(stimulus: usize, message: usize, keys: usize, facts: usize) -> usize {
    3 * 4 + HEAD + stimulus + message + 4 * 2 + keys * 8 + facts
}

/// Writes a step down: its length, the head, what happened, the keys, the facts.
pub(super) fn put(
    to: &mut Vec<u8>,
    head: &Head,
    stimulus: &[u8],
    message: &[u8],
    keys: [&[KeyData]; 4],
    facts: &[u8],
) {
    let begin = to.len();
    to.extend_from_slice(&[0; 4]);
    for number in [head.order, head.now.time.as_micros(), head.now.utc.0 as u64, head.last_query, head.print]
    {
        to.extend_from_slice(&number.to_le_bytes());
    }
    to.extend_from_slice(&head.generation.to_le_bytes());
    to.push(u8::from(head.draining));
    let length = u32::try_from(stimulus.len() + message.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(stimulus);
    to.extend_from_slice(message);
    for keys in keys {
        to.extend_from_slice(&u16::try_from(keys.len()).unwrap_or(u16::MAX).to_le_bytes());
        for key in keys {
            to.extend_from_slice(&key.as_ffi().to_le_bytes());
        }
    }
    to.extend_from_slice(facts);
    let length = u32::try_from(to.len() - begin).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = to.get_mut(begin..begin + 4) {
        place.copy_from_slice(&length);
    }
}

/// The next step as bytes, and its order.
pub(super) fn split<'a>(from: &mut Reader<'a>) -> Option<(u64, &'a [u8])> {
    let length = Reader(from.0).u32()?;
    let entry = from.take(usize::try_from(length).ok()?)?;
    let mut reader = Reader(entry);
    reader.take(4)?;
    Some((reader.u64()?, entry))
}

impl<'a> Step<'a> {
    /// Whether this is what came of it then.
    pub fn gave(&self, outputs: &[Output]) -> bool {
        print(outputs.iter()) == self.print
    }

    /// Reads what [`put`] wrote.
    pub(super) fn read(entry: &'a [u8]) -> Option<Step<'a>> {
        let mut from = Reader(entry);
        from.take(4)?;
        let order = from.u64()?;
        let time = sip::Time::from_micros(from.u64()?);
        let utc = Utc(from.u64()? as i64);
        let (last_query, print) = (from.u64()?, from.u64()?);
        let (generation, draining) = (from.u32()?, from.u8()? != 0);
        let stimulus = stimulus::take(Reader(from.bytes()?))?;
        let mut keys = || {
            let count = from.u16()?;
            (0..count).map(|_| from.u64()).collect::<Option<Vec<u64>>>()
        };
        let keys = Keys { calls: keys()?, legs: keys()?, clients: keys()?, servers: keys()? };
        let facts = tape::facts(from)?;
        Some(Step {
            order,
            now: Now { time, utc },
            generation,
            draining,
            last_query,
            stimulus,
            facts,
            keys,
            print,
        })
    }
}
