//! `drawbridge cdr verify`: whether the journal and PostgreSQL say the same.

use std::fmt::Write;

use store::Verified;

use crate::settings::Settings;

/// Why there is no "nothing differs".
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// There is no second place.
    #[error("cdr.postgres is not set: there is nothing to compare the journal with")]
    NoPostgres,
    /// The runtime.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// One of the two cannot be read.
    #[error(transparent)]
    Store(#[from] store::VerifyError),
    /// They are not the same.
    #[error("{0}")]
    Differ(String),
}

/// Compares them; what there is to say when they are the same.
///
/// # Errors
///
/// One cannot be read, or they differ.
pub fn verify(settings: &Settings) -> Result<String, RecordsError> {
    let url = settings.cdr.postgres.as_ref().ok_or(RecordsError::NoPostgres)?;
    let found = crate::run::runtime()?.block_on(store::verify(
        &settings.node.data_dir,
        url.reveal(),
        &settings.node.name,
        settings.cdr.retention(),
    ))?;
    let Verified { journal, waiting, postgres, lost, differences, named } = found;
    let mut text = format!(
        "{journal} records of the journal in PostgreSQL, {waiting} on their way; {postgres} of this box there: "
    );
    if lost > 0 {
        let _ = write!(text, "{lost} are in the log alone, for the journal could not keep them; ");
    }
    if differences == 0 {
        text.push_str("nothing differs\n");
        return Ok(text);
    }
    let _ = write!(text, "{differences} differ");
    for difference in named {
        let _ = write!(text, "\n{}: {}", difference.id, difference.what);
    }
    Err(RecordsError::Differ(text))
}
