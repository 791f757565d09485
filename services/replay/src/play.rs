//! A recording lived through again, every output held against the one that was recorded.

use call::journal::Replay;

use crate::format::OutputLine;
use crate::read::Recording;
use crate::write::output_line;

/// A recording whose every input gave what it gave then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// How many inputs.
    pub inputs: usize,
    /// How many outputs.
    pub outputs: usize,
}

/// Where a replay is another story than the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The end is missing.
    #[error("{inputs} inputs are as recorded, but the journal was cut: {why}")]
    Cut {
        /// How many there are.
        inputs: usize,
        /// Why there are no more.
        why: String,
    },
    /// Other outputs.
    #[error("line {line}: {what}\n  expected: {expected}\n  got:      {got}")]
    Outputs {
        /// The line of the input.
        line: usize,
        /// Which output of it.
        what: String,
        /// The one recorded.
        expected: String,
        /// The one of now.
        got: String,
    },
    /// The same outputs on another way.
    #[error("line {line}: {astray}")]
    Astray {
        /// The line of the input.
        line: usize,
        /// How.
        astray: String,
    },
}

/// Hands every input to a fresh Core.
///
/// # Errors
///
/// The first difference.
pub fn replay(recording: &Recording) -> Result<Replayed, Difference> {
    let mut replay = Replay::new(recording.settings.clone());
    let mut count = 0;
    for (at, (line, message)) in recording.lines.iter().enumerate() {
        // The header is line 1.
        let number = at + 2;
        let snapshot = recording.snapshots.get(&line.generation);
        // The reader has looked at both.
        let (Some(step), Some(snapshot)) = (recording.step(line, message), snapshot) else { continue };
        let (outputs, gone) = replay.step(&step, snapshot);
        let outputs: Vec<OutputLine> = outputs.iter().map(output_line).collect();
        if let Some(difference) = difference(number, &line.outputs, &outputs) {
            return Err(difference);
        }
        gone.map_err(|astray| Difference::Astray { line: number, astray: astray.to_string() })?;
        count += outputs.len();
    }
    match &recording.header.cut {
        Some(why) => Err(Difference::Cut { inputs: recording.lines.len(), why: why.clone() }),
        None => Ok(Replayed { inputs: recording.lines.len(), outputs: count }),
    }
}

fn difference(line: usize, expected: &[OutputLine], got: &[OutputLine]) -> Option<Difference> {
    let longer = expected.len().max(got.len());
    let at = (0..longer).find(|&at| expected.get(at) != got.get(at))?;
    let show = |output: Option<&OutputLine>| match output {
        None => "nothing more".to_owned(),
        Some(OutputLine::Note(note)) => note.clone(),
        Some(OutputLine::Send { listener, remote, connection, token, message }) => {
            let bytes = message.bytes().unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n            ");
            format!(
                "to {remote} by listener {listener}, connection {connection}, token {token:x}:\n            {text}"
            )
        }
    };
    Some(Difference::Outputs {
        line,
        what: format!("output {} of {} is not the one recorded", at + 1, expected.len()),
        expected: show(expected.get(at)),
        got: show(got.get(at)),
    })
}
