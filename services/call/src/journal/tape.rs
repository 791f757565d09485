//! What an input finds outside of its call: random numbers, and answers that depend on more than the call.
//!
//! A call is the same again when its inputs are the same and everything else that it looked at is the same. That
//! everything else passes through here: [`Tape::number`] and its kin ask for it, keep the answer with the input, and in a
//! replay give the kept answer instead of asking.

use std::collections::VecDeque;

use super::bytes::{Reader, put_bytes};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A random number, a yes or no, an index.
    Number(u64),
    /// A text, such as the answer to a challenge.
    Text(Box<[u8]>),
}

const NUMBER: u8 = 0;
const TEXT: u8 = 1;

/// The answers of one input.
#[derive(Debug)]
pub(crate) enum Tape {
    /// No journals are kept.
    Off,
    /// What has been answered since the input began.
    Recording(Vec<u8>),
    /// What is to be answered, and whether something else was asked.
    Replaying { facts: VecDeque<Fact>, astray: bool },
}

impl Tape {
    pub(crate) fn numbers<const N: usize>(&mut self, ask: impl FnOnce() -> [u64; N]) -> [u64; N] {
        match self {
            Tape::Off => ask(),
            Tape::Recording(kept) => {
                let numbers = ask();
                for number in numbers {
                    kept.push(NUMBER);
                    kept.extend_from_slice(&number.to_le_bytes());
                }
                numbers
            }
            Tape::Replaying { facts, astray } => std::array::from_fn(|_| match facts.pop_front() {
                Some(Fact::Number(number)) => number,
                Some(Fact::Text(_)) | None => {
                    *astray = true;
                    0
                }
            }),
        }
    }

    pub(crate) fn number(&mut self, ask: impl FnOnce() -> u64) -> u64 {
        let [number] = self.numbers(|| [ask()]);
        number
    }

    pub(crate) fn yes(&mut self, ask: impl FnOnce() -> bool) -> bool {
        self.number(|| u64::from(ask())) != 0
    }

    pub(crate) fn text(&mut self, ask: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        match self {
            Tape::Off => ask(),
            Tape::Recording(kept) => {
                let text = ask();
                kept.push(TEXT);
                put_bytes(kept, &text);
                text
            }
            Tape::Replaying { facts, astray } => match facts.pop_front() {
                Some(Fact::Text(text)) => text.into(),
                Some(Fact::Number(_)) | None => {
                    *astray = true;
                    Vec::new()
                }
            },
        }
    }

    /// What has been answered.
    pub(crate) fn recorded(&self) -> &[u8] {
        match self {
            Tape::Recording(kept) => kept,
            Tape::Off | Tape::Replaying { .. } => &[],
        }
    }

    /// Another input begins.
    pub(crate) fn clear(&mut self) {
        if let Tape::Recording(kept) = self {
            kept.clear();
        }
    }

    /// Whether a replay asked for what was answered then, and for all of it.
    pub(crate) fn is_as_recorded(&self) -> bool {
        match self {
            Tape::Off | Tape::Recording(_) => true,
            Tape::Replaying { facts, astray } => facts.is_empty() && !astray,
        }
    }
}

/// The answers as they were recorded.
pub(super) fn facts(mut recorded: Reader<'_>) -> Option<Vec<Fact>> {
    let mut facts = Vec::new();
    while !recorded.is_empty() {
        facts.push(match recorded.u8()? {
            NUMBER => Fact::Number(recorded.u64()?),
            TEXT => Fact::Text(recorded.bytes()?.into()),
            2.. => return None,
        });
    }
    Some(facts)
}
