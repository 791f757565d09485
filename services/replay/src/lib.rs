//! The journal of a call as a file, and what can be read out of it.
//!
//! [`write()`] turns a [`Journal`](call::journal::Journal) into text, a JSON object a line: the surroundings first, then
//! every input with everything that came of it. [`read`] takes such a text apart and trusts nothing in it. [`replay`]
//! hands the inputs to a fresh Core and compares every output; [`ladder`] draws the call. `format` is the shape of a line.
//! Nothing here opens a file: texts come in and go out.

mod format;
mod inputs;
mod ladder;
mod play;
mod read;
mod svg;
mod write;

pub use format::{Bytes, OutputLine, VERSION};
pub use ladder::{Ladder, ladder};
pub use play::{Difference, Replayed, replay};
pub use read::{Mistake, Recording, read};
pub use write::write;
