//! Whether a sweep has been through the tables: each cell is reached, or listed with the reason why it is not.
//!
//! `unreachable.md` is that list, for people as much as for the test: a section for each table, a line for each reason.
//! A cell that is neither reached nor listed is a behaviour that nobody has seen at work; a cell that is listed and
//! reached makes the list a lie. Both fail. A line may also say that its cells are rare, and then neither does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use call::{Cell, Coverage};

/// The cells that a list explains.
#[derive(Debug, Default)]
pub struct Unreachable {
    claims: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    line: usize,
    table: String,
    states: Vec<String>,
    events: Vec<String>,
    /// Reached by some sweeps and not by others, or by none so far.
    rare: bool,
}

impl Claim {
    fn covers(&self, cell: &Cell) -> bool {
        let fits = |names: &[String], name: &str| names.iter().any(|of| of == "*" || of == name);
        self.table == cell.table && fits(&self.states, cell.state) && fits(&self.events, cell.event)
    }
}

impl Unreachable {
    /// Reads lines like ``- `Routing, Opening` × `Answered`: nobody was invited yet`` below headings like `## bridge`.
    /// `*` stands for every name; `(rare)` or `(untried)` before the colon says that a sweep may reach these or not.
    ///
    /// # Errors
    ///
    /// The line that is no such line, or that gives no reason.
    pub fn parse(text: &str) -> Result<Unreachable, String> {
        let mut list = Unreachable::default();
        let mut table = String::new();
        for (at, line) in text.lines().enumerate() {
            if let Some(heading) = line.strip_prefix("## ") {
                heading.trim().clone_into(&mut table);
            }
            let Some(claim) = line.strip_prefix("- `") else { continue };
            let bad = || format!("line {}: expected \"- `States` × `Events`: reason\", got {line:?}", at + 1);
            let (states, rest) = claim.split_once("` × `").ok_or_else(bad)?;
            let (events, reason) = rest.split_once('`').ok_or_else(bad)?;
            let open = [" (rare)", " (untried)"].iter().find_map(|tag| reason.strip_prefix(tag));
            let rare = open.is_some();
            let reason = open.unwrap_or(reason).strip_prefix(": ").ok_or_else(bad)?;
            if reason.trim().is_empty() {
                return Err(bad());
            }
            let names = |text: &str| text.split(',').map(|name| name.trim().to_owned()).collect();
            let (states, events) = (names(states), names(events));
            list.claims.push(Claim { line: at + 1, table: table.clone(), states, events, rare });
        }
        Ok(list)
    }

    /// What the list and a sweep say against each other; empty when they agree.
    pub fn compare(&self, coverage: &Coverage) -> Vec<String> {
        let mut wrong = Vec::new();
        for cell in coverage.cells() {
            let Cell { table, state, event, times } = cell;
            let claim = self.claims.iter().find(|claim| claim.covers(&cell));
            match (claim, times) {
                (None, 0) => wrong.push(format!("{table}: {state} × {event} was never reached and is not listed")),
                (Some(claim), 1..) if !claim.rare => wrong.push(format!(
                    "{table}: {state} × {event} was reached {times} times, but line {} says that it cannot be",
                    claim.line
                )),
                (None | Some(_), _) => {}
            }
        }
        for claim in &self.claims {
            if !coverage.cells().any(|cell| claim.covers(&cell)) {
                wrong.push(format!("line {} names no cell of any table", claim.line));
            }
        }
        wrong
    }
}

/// The tables as text: a row for each event, a column for each state.
pub fn render(coverage: &Coverage) -> String {
    let mut tables: BTreeMap<&str, Vec<Cell>> = BTreeMap::new();
    for cell in coverage.cells() {
        tables.entry(cell.table).or_default().push(cell);
    }
    let mut text = String::new();
    for (name, cells) in tables {
        let mut states: Vec<&str> = cells.iter().map(|cell| cell.state).collect();
        states.dedup();
        let _ = write!(text, "\n{name:<20}");
        for state in &states {
            let _ = write!(text, " {:>9.9}", state);
        }
        let events = cells.len() / states.len().max(1);
        for row in 0..events {
            let _ = write!(text, "\n{:<20}", cells[row].event);
            for column in 0..states.len() {
                let _ = match cells[column * events + row].times {
                    0 => write!(text, " {:>9}", "·"),
                    times => write!(text, " {times:>9}"),
                };
            }
        }
        text.push('\n');
    }
    text
}
