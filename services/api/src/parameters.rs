//! Query parameters, read so that every mistake is named at once: bad values, repetitions, names that do not exist.

use crate::problem::{ParameterError, Problem};

/// The longest text value taken.
const MAX_TEXT: usize = 256;

/// The parameters of a request that are not read yet.
pub(crate) struct Parameters {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<ParameterError>,
}

impl Parameters {
    pub(crate) fn new(given: Vec<(String, String)>) -> Parameters {
        Parameters { given, known: Vec::new(), errors: Vec::new() }
    }

    /// Reads a parameter; an empty one is as good as none.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let mut values =
            self.given.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let value = values.next().filter(|value| !value.is_empty());
        if values.next().is_some() {
            self.error(name, "expected once, found more often".to_owned());
            return None;
        }
        let value = value?;
        let parsed = parse(value);
        if parsed.is_none() {
            let detail = format!("expected {expected}, found {:?}", shorten(value));
            self.error(name, detail);
        }
        parsed
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let parse = |text: &str| (text.len() <= MAX_TEXT).then(|| text.to_owned());
        self.read(name, &format!("at most {MAX_TEXT} octets"), parse)
    }

    /// A number of rows.
    pub(crate) fn limit(&mut self, default: usize, most: usize) -> usize {
        let parse = |text: &str| text.parse().ok().filter(|limit| (1..=most).contains(limit));
        self.read("limit", &format!("a whole number from 1 to {most}"), parse).unwrap_or(default)
    }

    pub(crate) fn error(&mut self, name: &str, detail: String) {
        self.errors.push(ParameterError { parameter: name.to_owned(), detail });
    }

    /// Everything is read: what is left does not exist.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        let mut unknown: Vec<String> = self.given.iter().map(|(name, _)| shorten(name)).collect();
        unknown.retain(|name| !self.known.contains(&name.as_str()));
        unknown.dedup();
        // A long query is no reason for a long answer.
        for name in unknown.into_iter().take(10) {
            let detail = format!("no such parameter; there are {}", self.known.join(", "));
            self.error(&name, detail);
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::bad_parameters(self.errors)) }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
