//! Every property holds of every seed that is kept, of the torture messages, and of what a few seeds give when they are
//! cut short or strung together. What libFuzzer found wrong is kept as a seed, so that it stays mended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target};
use torture::{Parties, cases};

/// The most that is kept of one target: seeds show what there is, the search is libFuzzer's.
const MOST_SEEDS: usize = 120;
const LONGEST_SEED: u64 = 16_384;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name)
}

fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("{}: {error}", target.name));
    let mut seeds: Vec<(PathBuf, Vec<u8>)> = files
        .map(|file| file.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

/// Says which seed it was when a property does not hold.
struct Held<'a>(&'a str, String);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the target {} fails at {}", self.0, self.1);
        }
    }
}

fn check(target: &Target, what: String, bytes: &[u8]) {
    let _held = Held(target.name, what);
    (target.check)(bytes);
}

#[test]
fn every_property_holds_of_every_seed() {
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        assert!(seeds.len() <= MOST_SEEDS, "{} has {} seeds", target.name, seeds.len());
        for (path, bytes) in &seeds {
            assert!(bytes.len() as u64 <= LONGEST_SEED, "{}", path.display());
            check(target, path.display().to_string(), bytes);
        }
    }
}

#[test]
fn every_property_holds_of_seeds_cut_short_and_strung_together() {
    for target in TARGETS {
        let seeds = seeds(target);
        for (path, bytes) in &seeds {
            for part in 1..8 {
                let end = bytes.len() * part / 8;
                check(target, format!("{} up to {end}", path.display()), &bytes[..end]);
            }
        }
        for pair in seeds.windows(2) {
            let bytes = [&pair[0].1[..], &pair[1].1[..]].concat();
            check(target, format!("{} with {} behind it", pair[0].0.display(), pair[1].0.display()), &bytes);
        }
    }
}

#[test]
fn every_property_of_messages_holds_of_the_torture_messages() {
    let parties = Parties { sender: "192.0.2.9", host: "192.0.2.1" };
    let mut shown = BTreeSet::new();
    for case in cases() {
        let bytes = case.write(parties);
        for name in ["message", "framing"] {
            let target = fuzz::target(name).unwrap();
            check(target, format!("the torture message {}", case.name), &bytes);
            let in_a_stream = [&[0x35], &bytes[..], b"\r\n\r\n", &bytes[..]].concat();
            check(target, format!("the torture message {} twice", case.name), &in_a_stream);
        }
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let target = fuzz::target("sdp").unwrap();
            check(target, format!("the body of the torture message {}", case.name), &bytes[at + 4..]);
        }
        shown.insert(case.name);
    }
    assert!(shown.len() >= 60);
}

#[test]
fn every_target_has_its_seeds_and_every_folder_of_seeds_its_target() {
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")).unwrap();
    let folders: BTreeSet<String> =
        folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, targets);
}
