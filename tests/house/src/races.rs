//! The published table of races, `docs/races.md`, held against the tests that it names.
//!
//! Every row names at least one test, every test and state that it names is there, and every test that is named after a row of CANCEL
//! (`cancel_s1_…`, `cancel_c3_…`) stands in that row. What the page promises is therefore what `make test` runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::Breach;
use crate::form::rust_files;

/// The page.
pub const PAGE: &str = "docs/races.md";

/// Where the tests are that it may name.
const SUITES: [&str; 3] = ["services/call/tests/wire", "tests/simulation/tests", "tests/interop/tests"];

/// The names of all tests of the suites.
pub fn tests(root: &Path) -> BTreeSet<String> {
    let files: Vec<PathBuf> = SUITES.iter().flat_map(|suite| rust_files(root, suite)).collect();
    let mut names = BTreeSet::new();
    for file in files {
        let Ok(source) = std::fs::read_to_string(root.join(file)) else { continue };
        let Ok(parsed) = syn::parse_file(&source) else { continue };
        for item in parsed.items {
            if let syn::Item::Fn(function) = item
                && function.attrs.iter().any(|attribute| attribute.path().is_ident("test"))
            {
                names.insert(function.sig.ident.to_string());
            }
        }
    }
    names
}

/// The names of all states: the variants of the enums of the crate that calls are made of.
pub fn states(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in rust_files(root, "services/call/src") {
        let Ok(source) = std::fs::read_to_string(root.join(file)) else { continue };
        let Ok(parsed) = syn::parse_file(&source) else { continue };
        for item in parsed.items {
            if let syn::Item::Enum(item) = item {
                names.extend(item.variants.iter().map(|variant| variant.ident.to_string()));
            }
        }
    }
    names
}

/// What is wrong with the page.
pub fn check(page: &str, tests: &BTreeSet<String>, states: &BTreeSet<String>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut named = BTreeSet::new();
    let mut breach =
        |line: usize, what: String| breaches.push(Breach { file: PathBuf::from(PAGE), line, what });
    for (index, line) in page.lines().enumerate().filter(|(_, line)| is_row(line)) {
        let number = index + 1;
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        let [row, _, rfc, done, state, proof] = cells[..] else {
            breach(number, format!("a row of six cells was expected, this has {}", cells.len()));
            continue;
        };
        if rfc.is_empty() || done.is_empty() {
            breach(number, format!("the row {row:?} does not say what the RFC or what the box does"));
        }
        for state in quoted(state).filter(|state| !states.contains(*state)) {
            breach(number, format!("there is no state `{state}`"));
        }
        let proofs: Vec<&str> = quoted(proof).collect();
        if proofs.is_empty() {
            breach(number, format!("the row {row:?} names no test"));
        }
        for proof in proofs {
            if !tests.contains(proof) {
                breach(number, format!("there is no test `{proof}`"));
            }
            if let Some(theirs) = row_of(proof)
                && theirs != row
                && !is_also_of(proof, row)
            {
                breach(number, format!("`{proof}` belongs to the row {theirs}, not to {row:?}"));
            }
            named.insert(proof.to_owned());
        }
    }
    for test in tests.iter().filter(|test| row_of(test).is_some() && !named.contains(*test)) {
        breach(0, format!("the test `{test}` is of a row and not in the page"));
    }
    if named.is_empty() {
        breach(0, "no table with tests was found".to_owned());
    }
    breaches
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn is_row(line: &str) -> bool {
    line.starts_with("| ") && !line.starts_with("| row |")
}

/// The row that a test's name begins with: `cancel_s4_…` is of `S4`.
fn row_of(test: &str) -> Option<String> {
    row_name(test.strip_prefix("cancel_")?.split('_').next()?)
}

/// A test may show two rows at once: `cancel_s1_c1_…`.
fn is_also_of(test: &str, row: &str) -> bool {
    test.split('_').skip(1).map_while(row_name).any(|name| name == row)
}

fn row_name(word: &str) -> Option<String> {
    let (side, number) = word.split_at_checked(1)?;
    let is_row =
        matches!(side, "s" | "c") && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    is_row.then(|| word.to_uppercase())
}
