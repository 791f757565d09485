//! Arrows point down only: `sbc → {api, store, net, media} → call → {sip, routing}`, and `routing → sip`.
//!
//! Read from `cargo metadata`, so that a dependency renamed, made optional or hidden behind a target still counts.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Breach;

/// A member of the workspace and what it depends on.
#[derive(Clone, Debug)]
pub struct Member {
    /// Package name.
    pub name: String,
    /// Its `Cargo.toml`, from the root of the workspace.
    pub manifest: PathBuf,
    /// Its dependencies of every kind.
    pub dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` table.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Package name, whatever it is renamed to.
    pub name: String,
    /// Needed by tests only.
    pub dev: bool,
}

/// The crates whose state is plain data, and everything that they may use from outside the workspace. A crate is added
/// here when it brings no clock, socket, file, thread or system randomness with it.
const PURE: &[&str] = &["sip", "call", "routing", "replay"];
const PURE_MAY_USE: &[&str] = &[
    "arrayvec",
    "base64",
    "bytes",
    "foldhash",
    "hmac",
    "itoa",
    "md-5",
    "memchr",
    "postcard",
    "rand_chacha",
    "rand_core",
    "regex",
    "serde",
    "serde_json",
    "sha2",
    "slab",
    "slotmap",
    "smallvec",
    "subtle",
    "thiserror",
    "uuid",
    "zeroize",
];

/// What a crate of the product may know of the workspace; `None` for a name that is no room of the house.
fn below(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "sip" => Some(&[]),
        "routing" => Some(&["sip"]),
        "call" => Some(&["sip", "routing"]),
        "media" | "net" | "store" | "api" => Some(&["call", "sip", "routing"]),
        "replay" => Some(&["call", "sip", "routing"]),
        "drawbridge" => Some(&["api", "store", "net", "media", "replay", "call", "sip", "routing"]),
        _ => None,
    }
}

/// The members of the workspace at `root`, asked from cargo without the network.
pub fn members(root: &Path) -> Result<Vec<Member>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo metadata does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    Ok(packages.iter().map(|package| member(package, root)).collect())
}

fn member(package: &Value, root: &Path) -> Member {
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
    Member {
        name: package["name"].as_str().unwrap_or_default().to_owned(),
        manifest: manifest.strip_prefix(root).map(Path::to_path_buf).unwrap_or(manifest),
        dependencies: package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|dependency| Dependency {
                name: dependency["name"].as_str().unwrap_or_default().to_owned(),
                dev: dependency["kind"].as_str() == Some("dev"),
            })
            .collect(),
    }
}

/// Arrows that point sideways or up, strangers in pure crates, and members that are no room of the house.
pub fn check(members: &[Member]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for member in members {
        let mut breach = |what: String| {
            breaches.push(Breach { file: member.manifest.clone(), line: 0, what });
        };
        let Some(allowed) = below(&member.name) else {
            // What lies under tests/ may look at everything; the product may not.
            if !member.manifest.starts_with("tests") {
                breach(format!(
                    "`{}` is no room of the house: say in house::arrows what it may know",
                    member.name
                ));
            }
            continue;
        };
        for dependency in &member.dependencies {
            let name = dependency.name.as_str();
            let other = members.iter().find(|other| other.name == name);
            let inside = other.is_some();
            // A peer that only tests talk to is no part of the product.
            let of_tests = other.is_some_and(|other| dependency.dev && other.manifest.starts_with("tests"));
            if inside && !of_tests && !allowed.contains(&name) {
                let list = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
                breach(format!(
                    "`{}` depends on `{name}`; of the workspace it may know: {list}",
                    member.name
                ));
            }
            let pure = PURE.contains(&member.name.as_str());
            if pure && !inside && !dependency.dev && !PURE_MAY_USE.contains(&name) {
                breach(format!(
                    "the pure crate `{}` depends on `{name}`, which is not known to be free of clocks, sockets, files, \
                     threads and system randomness (house::arrows lists those that are)",
                    member.name
                ));
            }
        }
    }
    breaches
}
