//! `drawbridge explain`: what a call would get, and why.

use std::fmt::Write;

use call::RegistrarPolicy;
use routing::{Query, SnapshotError};
use sip::Uri;

use crate::cli::Explain;
use crate::settings::Settings;

/// The explanation as text, a sentence a line.
///
/// # Errors
///
/// None for settings that were read from a file.
pub fn explain(settings: &Settings, question: &Explain) -> Result<String, SnapshotError> {
    let snapshot = settings.snapshot()?;
    let trunk = snapshot.trunk_of(question.source);
    let registrar = settings.registrar();
    let called = Uri::parse(question.to.as_bytes()).ok().map(|uri| uri.unescaped_user().into_owned());
    let is_user = |name: &[u8]| settings.users.iter().any(|user| user.name.as_bytes() == name);
    let query = Query {
        trunk,
        source: question.source,
        caller: &question.from,
        uri: &question.to,
        local_user: called.as_deref().is_some_and(is_user),
    };
    let explanation = snapshot.explain(&query);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "A call from {} at {} to {}", question.from, question.source, question.to);
    let access = match (&trunk, &registrar) {
        (Some(_), _) => None,
        (None, RegistrarPolicy::Closed) => Some(Err("there is no [[user]], and access.open_loopback is off")),
        (None, RegistrarPolicy::OpenLoopback) if question.source.ip().to_canonical().is_loopback() => {
            Some(Ok("access.open_loopback lets it in, being from a loopback address"))
        }
        (None, RegistrarPolicy::OpenLoopback) => Some(Err("access.open_loopback is for loopback addresses")),
        (None, RegistrarPolicy::Users(_)) => Some(Ok("it must authenticate as one of the [[user]]s")),
    };
    let mut steps = explanation.steps.iter();
    if let Some(source) = steps.next() {
        let _ = writeln!(text, "{source}");
    }
    match access {
        Some(Err(why)) => {
            let _ = writeln!(text, "Refused with 403: {why}.");
            return Ok(text);
        }
        Some(Ok(how)) => {
            let _ = writeln!(text, "Access: {how}.");
        }
        None => {}
    }
    if registrar == RegistrarPolicy::OpenLoopback {
        let _ = writeln!(text, "Were the called name registered by a phone now, the call would go there.");
    }
    for step in steps {
        let _ = writeln!(text, "{step}");
    }
    Ok(text)
}
