//! Command lines of the form `--name value`.

use std::collections::HashMap;
use std::str::FromStr;

/// What was given, by name.
#[derive(Debug)]
pub struct Arguments(HashMap<String, String>);

impl Arguments {
    /// The arguments of this process.
    pub fn read() -> Result<Arguments, String> {
        let mut given = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("`{word}`: expected --name value"))?;
            let value = words.next().ok_or_else(|| format!("--{name}: its value is missing"))?;
            given.insert(name.to_owned(), value);
        }
        Ok(Arguments(given))
    }

    /// The value of `--name`, if it was given.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("--{name} {text}: not understood"))
    }

    /// The value of `--name`, or what is taken when it was not given.
    pub fn or<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, String> {
        Ok(self.get(name)?.unwrap_or(otherwise))
    }
}
