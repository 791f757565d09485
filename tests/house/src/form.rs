//! How files are named and sized: a file is named for what it holds, one idea holds it together, and it begins with a
//! paragraph that a newcomer can start from.

use std::path::{Path, PathBuf};

use syn::Item;

use crate::Breach;

/// The most lines of one file. Most have fewer than 400.
pub const MOST_LINES: usize = 700;

/// Names that say nothing of what is inside, as modules and as endings of types.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "manager", "helper", "helpers", "misc"];

/// All Rust files under `folder`, from `root`, in order; build output is left out.
pub fn rust_files(root: &Path, folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![root.join(folder)];
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.strip_prefix(root).map(Path::to_path_buf).unwrap_or(path));
            }
        }
    }
    files.sort();
    files
}

/// What is wrong with the form of one file.
pub fn check_source(file: &Path, source: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach =
        |line: usize, what: String| breaches.push(Breach { file: file.to_path_buf(), line, what });
    let lines = source.lines().count();
    if lines > MOST_LINES {
        breach(0, format!("{lines} lines; at {MOST_LINES} no one idea holds a file together any more"));
    }
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        breach(0, format!("a file called `{stem}` says nothing of what it holds"));
    }
    let Ok(parsed) = syn::parse_file(source) else { return breaches };
    let documented = parsed.attrs.iter().any(|attribute| attribute.path().is_ident("doc"));
    if !documented && !continues_a_test(file) {
        breach(1, "no `//!` paragraph at the top that says what this module is".to_owned());
    }
    for item in &parsed.items {
        let ident = match item {
            Item::Mod(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            _ => continue,
        };
        let name = ident.to_string();
        let is_type = !matches!(item, Item::Mod(_));
        let empty = EMPTY_NAMES.iter().any(|empty| {
            name == *empty || (is_type && name.len() > empty.len() && name.to_lowercase().ends_with(empty))
        });
        if empty {
            breach(ident.span().start().line, format!("the name `{name}` says nothing of what it holds"));
        }
    }
    breaches
}

/// Whether a file is a part of tests whose first file says what they are about: `src/…/tests.rs` stands beside what it
/// tests, and `tests/story/part.rs` belongs to `tests/story.rs`.
fn continues_a_test(file: &Path) -> bool {
    let in_a_folder_of_tests = file.components().nth(2).is_some_and(|folder| folder.as_os_str() == "tests");
    file.ends_with("tests.rs") || (in_a_folder_of_tests && file.components().count() > 4)
}

/// The modules whose matches are tables of states and events.
pub const STATE_MACHINES: &[&str] = &[
    "services/sip/src/transaction/mod.rs",
    "services/call/src/leg/mod.rs",
    "services/call/src/bridge/mod.rs",
    "services/call/src/standalone/mod.rs",
    "services/call/src/subscription/mod.rs",
];

/// Whether a module of state machines has the compiler refuse wildcard arms: a state or event that is added must be
/// thought of at every match.
pub fn check_state_machine(file: &Path, source: &str) -> Vec<Breach> {
    let refuses = syn::parse_file(source).is_ok_and(|parsed| {
        parsed.attrs.iter().any(|attribute| {
            attribute.path().is_ident("deny")
                && attribute.meta.require_list().is_ok_and(|list| {
                    list.tokens.to_string().replace(' ', "").contains("clippy::wildcard_enum_match_arm")
                })
        })
    });
    if refuses {
        return Vec::new();
    }
    let what = "a state machine without `#![deny(clippy::wildcard_enum_match_arm)]`".to_owned();
    vec![Breach { file: file.to_path_buf(), line: 1, what }]
}

/// Whether a member's manifest takes over the workspace's lints.
pub fn check_manifest(file: &Path, manifest: &str) -> Vec<Breach> {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    if lines.find(|line| !line.is_empty()) == Some("workspace = true") {
        return Vec::new();
    }
    let what =
        "`[lints] workspace = true` is missing: the workspace's lints do not reach this crate".to_owned();
    vec![Breach { file: file.to_path_buf(), line: 0, what }]
}
