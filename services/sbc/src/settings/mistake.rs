//! Mistakes of a configuration file: where each one is, what came and what was expected. All of them are collected
//! before any is shown, so that a file is put right in one go.

use std::fmt;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// The key with its section, `listener.bind`; empty where the file is not TOML.
    pub key: String,
    /// What came, as written in the file; never the value of a secret.
    pub came: String,
    /// What is allowed.
    pub expected: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}: {}", self.came, self.expected)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error("{file}: expected a readable configuration file: {source}")]
    Unreadable {
        /// As given.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was read and is wrong: one line for each mistake.
    #[error("{}", Lines(.file, .mistakes))]
    Wrong {
        /// As given.
        file: String,
        /// At least one, in the order of the lines.
        mistakes: Vec<Mistake>,
    },
}

struct Lines<'a>(&'a str, &'a [Mistake]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.1.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{}: {mistake}", self.0, mistake.line)?;
        }
        Ok(())
    }
}
