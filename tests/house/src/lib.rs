//! The rules of the house, read out of the tree itself: which crate may know which, what the pure crates must never
//! touch, how files are named and sized, and what the published table of races may claim.
//!
//! Each rule is a function from what was found to a list of [`Breach`]es. `tests/rules.rs` holds the real tree against
//! them; `tests/teeth.rs` shows each of them a tree that breaks it, because a rule that never bites is no rule.

use std::fmt;
use std::path::{Path, PathBuf};

pub mod arrows;
pub mod form;
pub mod purity;
pub mod races;

/// A rule broken, at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The file, from the root of the workspace.
    pub file: PathBuf,
    /// Counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What was found and why it may not be there.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.what),
        }
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map_or_else(PathBuf::new, Path::to_path_buf)
}

/// One line for each breach, for a test's message.
pub fn list(breaches: &[Breach]) -> String {
    breaches.iter().map(|breach| format!("\n  {breach}")).collect()
}
