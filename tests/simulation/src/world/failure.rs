//! A rule broken, told so that it can be understood and seen again.

use std::fmt;

use super::Cut;

/// A world that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed; `None` for a world that a test wrote.
    pub seed: Option<u64>,
    /// What of the seed's world was left out.
    pub cut: Cut,
    /// Which call of the world.
    pub call: Option<usize>,
    /// The rule and what broke it.
    pub what: String,
    /// What each party meant to do.
    pub script: String,
    /// The call, datagram by datagram.
    pub ladder: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.call.map_or("?".to_owned(), |call| call.to_string());
        let seed = self.seed.map_or("none".to_owned(), |seed| seed.to_string());
        writeln!(f, "\nbroken: {}\nseed {seed}, call {call}", self.what)?;
        writeln!(f, "script: {}\n\n{}", self.script, self.ladder)?;
        match self.seed {
            Some(seed) => {
                let cut = self.cut.to_string();
                let cut = if cut.is_empty() { cut } else { format!("CUT={cut} ") };
                writeln!(f, "again: SEED={seed} {cut}cargo test -p simulation replay_one -- --nocapture")
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
