//! What can go wrong, with the place where it did.

use std::path::PathBuf;

/// The store could not be opened. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory or a file in it cannot be used; the system says why.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another process has this data directory.
    #[error("{} is in use by another drawbridge; give each its own node.data_dir", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// SQLite refuses the file.
    #[error("journal {}: {source}", path.display())]
    Journal {
        /// The database file.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// The file's schema cannot be brought to this version's.
    #[error("journal {}: {source}", path.display())]
    Migration {
        /// The database file.
        path: PathBuf,
        /// The migration and its reason.
        source: sqlx::migrate::MigrateError,
    },
    /// `cdr.postgres` is no PostgreSQL URL.
    #[error("cdr.postgres: expected postgres://user@host/database, {source}")]
    PostgresUrl {
        /// What is wrong with it.
        source: sqlx::Error,
    },
    /// `cdr.webhook` cannot be called.
    #[error("cdr.webhook: expected a URL like https://host/path, {why}")]
    Webhook {
        /// What is wrong with it.
        why: String,
    },
}

/// Journal and PostgreSQL could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// `cdr.postgres` is no PostgreSQL URL.
    #[error(transparent)]
    Url(#[from] OpenError),
    /// One of the two gave no answer.
    #[error("reading the records: {0}")]
    Database(#[from] sqlx::Error),
    /// The journal cannot be read.
    #[error("{0}")]
    Journal(String),
    /// The journal is one of another version of the program.
    #[error(
        "the journal has schema {found}: expected {expected}, which this version gives it when it runs with it"
    )]
    Schema {
        /// Its own.
        found: i64,
        /// That of this version.
        expected: i64,
    },
}

/// A question to the journal failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cursor is not one that a page of this journal gave, or the journal is older than it: a backup was restored.
    #[error("cursor: expected the next_cursor of an earlier page of this journal, found {0:?}")]
    Cursor(String),
    /// The question needed longer than allowed; a narrower time range helps.
    #[error("the journal was read for {0:?} without finding a page's worth of records")]
    Deadline(std::time::Duration),
    /// The answer has more rows than anybody is given.
    #[error("expected at most {} rows; narrow the time or widen the interval", crate::stats::MAX_ROWS)]
    TooMany,
    /// What was handed over is not committed, and may be what was asked for.
    #[error("the journal has not taken its records for {0:?}: the call may be among those that wait")]
    Behind(std::time::Duration),
    /// A row holds what this version does not write.
    #[error("journal column {column}: cannot read {found:?}")]
    Column {
        /// The column.
        column: &'static str,
        /// Its value.
        found: String,
    },
    /// SQLite says no.
    #[error("journal: {0}")]
    Journal(#[from] sqlx::Error),
}

/// Something was not committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// SQLite says no.
    #[error(transparent)]
    Journal(#[from] rusqlite::Error),
    /// What the process before this one has left cannot be read.
    #[error("the spool: {0}")]
    Spool(#[from] std::io::Error),
}
