//! `drawbridge replay` and `drawbridge ladder`: a call's journal, as the API gives it, read from a file.

use std::fmt;
use std::io::Read;
use std::path::Path;

use replay::Recording;

/// The longest file that is read; the reader says so itself, but not before it is in memory.
const MAX_FILE: u64 = 64 << 20;

/// Why a journal could not be replayed or drawn.
#[derive(Debug)]
pub struct JournalError(String);

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JournalError {}

/// Lives through a journal; what there is to say when every output is as recorded.
///
/// # Errors
///
/// The file is no journal, or the first difference.
pub fn replayed(file: &Path, verbose: bool) -> Result<String, JournalError> {
    let recording = read(file)?;
    let drawn = if verbose { format!("{}\n", replay::ladder(&recording)) } else { String::new() };
    let name = file.display();
    match replay::replay(&recording) {
        Ok(replay::Replayed { inputs, outputs }) => {
            Ok(format!("{drawn}{name}: {inputs} inputs, {outputs} outputs, identical\n"))
        }
        Err(difference) => Err(JournalError(format!("{drawn}{name}: {difference}"))),
    }
}

/// Draws a journal; with `svg` into that file too.
///
/// # Errors
///
/// The file is no journal, or the drawing cannot be written.
pub fn drawn(file: &Path, svg: Option<&Path>) -> Result<String, JournalError> {
    let ladder = replay::ladder(&read(file)?);
    if let Some(svg) = svg {
        std::fs::write(svg, ladder.svg())
            .map_err(|error| JournalError(format!("{}: cannot be written: {error}", svg.display())))?;
    }
    Ok(ladder.to_string())
}

fn read(file: &Path) -> Result<Recording, JournalError> {
    let name = file.display();
    let unreadable = |error: std::io::Error| JournalError(format!("{name}: cannot be read: {error}"));
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    replay::read(&text).map_err(|mistake| JournalError(format!("{name}:{}: {}", mistake.line, mistake.what)))
}
