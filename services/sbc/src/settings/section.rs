//! Walking a parsed TOML file section by section.
//!
//! A [`Section`] is asked for the keys it may have; each answer is a value, a default, or a [`Mistake`] noted in the
//! [`Document`], and the walk goes on. [`Section::finish`] then knows which keys nobody asked for: those are unknown.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::Mistake;

/// What a reader says of a value that it cannot take: the text after `expected`.
pub(super) type Expected = Cow<'static, str>;

/// A file's text, to know lines by, and the mistakes found so far.
pub(super) struct Document<'t> {
    text: &'t str,
    line_ends: Vec<usize>,
    mistakes: RefCell<Vec<Mistake>>,
}

/// Where a value stands, with all that a mistake must say of it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) came: String,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<'t> Document<'t> {
    pub(super) fn new(text: &'t str) -> Document<'t> {
        let line_ends =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Document { text, line_ends, mistakes: RefCell::default() }
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_ends.partition_point(|end| *end < at) + 1
    }

    /// Notes that what stands at `place` is not what was `expected`.
    pub(super) fn mistake(&self, place: &Place, expected: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake {
            line: place.line,
            key: place.key.clone(),
            came: place.came.clone(),
            expected: format!("expected {}", expected.into()),
        });
    }

    /// How many mistakes there are by now.
    pub(super) fn count(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// All mistakes in the order of the lines.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.line);
        mistakes
    }

    /// The whole file as a section without a name.
    pub(super) fn root<'d>(&'d self, table: &'d DeTable<'d>) -> Section<'d> {
        Section { document: self, path: String::new(), line: 1, table: Some(table), known: Vec::new() }
    }

    /// What stands in the file, on one line and not longer than a line needs.
    fn shown(&self, span: Range<usize>) -> String {
        const LONGEST: usize = 60;
        let text = self.text.get(span).unwrap_or_default();
        let line: String = text.lines().next().unwrap_or_default().chars().take(LONGEST).collect();
        if line.len() < text.len() { format!("{line}…") } else { line }
    }
}

/// A table of the file; one that is absent has no keys.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    path: String,
    line: usize,
    table: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The document, to note mistakes in.
    pub(super) fn document(&self) -> &'d Document<'d> {
        self.document
    }

    /// Whether the file has this section.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether `key` is written, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The place of the section itself, to say what `came` of one of its keys where none is written.
    pub(super) fn here(&self, key: &str, came: impl Into<String>) -> Place {
        Place { line: self.line, key: self.key(key), came: came.into() }
    }

    /// The value of `key` where it is written and readable.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Expected>,
    ) -> Option<Placed<T>> {
        let node = self.node(key)?;
        self.read(node, self.place(key, node), &read)
    }

    /// The word at `key`, where a word stands for a table that is there as well. What is neither is for
    /// [`section`](Section::section) to refuse.
    pub(super) fn word(&mut self, key: &'static str) -> Option<&'d str> {
        self.node(key)?.get_ref().as_str()
    }

    /// As [`get`](Section::get), for a value that no message may show.
    pub(super) fn secret<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Expected>,
    ) -> Option<Placed<T>> {
        let node = self.node(key)?;
        let place = Place { came: "a value that is not shown".to_owned(), ..self.place(key, node) };
        self.read(node, place, &read)
    }

    /// The value of `key`, or `default`.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl Fn(&DeValue<'_>) -> Result<T, Expected>,
    ) -> T {
        self.get(key, read).map_or(default, |placed| placed.value)
    }

    /// The value of `key`, which must be there.
    pub(super) fn need<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Expected>,
    ) -> Option<Placed<T>> {
        self.needed(key, expected);
        self.get(key, read)
    }

    /// Notes a mistake when `key` is not there.
    pub(super) fn needed(&mut self, key: &'static str, expected: &'static str) {
        if self.node(key).is_none() {
            self.document.mistake(&self.here(key, "missing"), expected);
        }
    }

    /// The elements of the list `key`; those that cannot be read are left out, with a mistake each.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Expected>,
    ) -> Option<Vec<Placed<T>>> {
        let node = self.node(key)?;
        let DeValue::Array(elements) = node.get_ref() else {
            self.document.mistake(&self.place(key, node), format!("a list of {expected}"));
            return None;
        };
        let read_one = |element| self.read(element, self.place(key, element), &read);
        Some(elements.iter().filter_map(read_one).collect())
    }

    /// The table `key`; without keys when it is not in the file.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'d> {
        let node = self.node(key);
        self.below(key, node)
    }

    /// The tables of the list `key` (`[[key]]`).
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'d>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let DeValue::Array(elements) = node.get_ref() else {
            let place = Place { came: kind(node.get_ref()).to_owned(), ..self.place(key, node) };
            self.document.mistake(&place, format!("tables headed [[{}]], or a list of them", self.key(key)));
            return Vec::new();
        };
        elements.iter().map(|element| self.below(key, Some(element))).collect()
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for (key, _) in table.iter().filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref())) {
            let place = Place {
                line: self.document.line(key.span().start),
                key: self.key(key.get_ref()),
                came: "unknown key".to_owned(),
            };
            self.document.mistake(&place, one_of(key.get_ref(), self.known.iter().copied()));
        }
    }

    fn node(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table?.get(key)
    }

    fn below(&self, key: &'static str, node: Option<&'d Spanned<DeValue<'d>>>) -> Section<'d> {
        let table = match node.map(Spanned::get_ref) {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                // The value is not shown: it may be a secret in the wrong place.
                let line = node.map_or(self.line, |node| self.document.line(node.span().start));
                let place = Place { line, key: self.key(key), came: kind(other).to_owned() };
                self.document.mistake(&place, "a table");
                None
            }
        };
        let line = node.map_or(self.line, |node| self.document.line(node.span().start));
        Section { document: self.document, path: self.key(key), line, table, known: Vec::new() }
    }

    fn read<T>(
        &self,
        node: &Spanned<DeValue<'_>>,
        place: Place,
        read: &impl Fn(&DeValue<'_>) -> Result<T, Expected>,
    ) -> Option<Placed<T>> {
        match read(node.get_ref()) {
            Ok(value) => Some(Placed { value, place }),
            Err(expected) => {
                self.document.mistake(&place, expected);
                None
            }
        }
    }

    fn place(&self, key: &str, node: &Spanned<DeValue<'_>>) -> Place {
        let span = node.span();
        let line = self.document.line(span.start);
        Place { line, key: self.key(key), came: self.document.shown(span) }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// `a, b or c`, and which of them `came` was probably meant to be.
pub(super) fn one_of<'a>(came: &str, allowed: impl Iterator<Item = &'a str>) -> String {
    const ALIKE: f64 = 0.8;
    let allowed: Vec<&str> = allowed.collect();
    let listed = match allowed.split_last() {
        None => return "nothing here".to_owned(),
        Some((only, [])) => (*only).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    };
    let likeness = |name: &str| strsim::jaro_winkler(&came.to_lowercase(), name);
    let nearest = allowed.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(name) if likeness(name) >= ALIKE => format!("{listed}; did you mean {name}?"),
        Some(_) | None => listed,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
