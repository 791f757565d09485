//! The tree as it is, held against the rules of the house.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use house::{Breach, arrows, form, list, purity, races, root};

fn none(breaches: Vec<Breach>) {
    assert!(breaches.is_empty(), "the rules of the house are broken:{}", list(&breaches));
}

#[test]
fn arrows_between_crates_point_down() {
    let members = arrows::members(&root()).expect("cargo tells the members of the workspace");
    let rooms = ["sip", "call", "routing", "replay", "media", "net", "store", "api", "drawbridge"];
    for room in rooms {
        assert!(members.iter().any(|member| member.name == room), "the room `{room}` is missing");
    }
    none(arrows::check(&members));
}

#[test]
fn protocol_state_is_plain_data() {
    let root = root();
    none(purity::PURE_ROOTS.iter().flat_map(|file| purity::check_tree(&root, Path::new(file))).collect());
}

#[test]
fn every_file_is_named_and_sized_for_one_idea() {
    let root = root();
    let mut breaches = Vec::new();
    for file in ["services", "tests"].into_iter().flat_map(|folder| form::rust_files(&root, folder)) {
        let source = std::fs::read_to_string(root.join(&file)).expect("a source is readable");
        breaches.extend(form::check_source(&file, &source));
    }
    none(breaches);
}

#[test]
fn every_crate_takes_over_the_lints() {
    let root = root();
    let mut breaches = Vec::new();
    for member in arrows::members(&root).expect("cargo tells the members of the workspace") {
        let manifest = std::fs::read_to_string(root.join(&member.manifest)).expect("a manifest is readable");
        breaches.extend(form::check_manifest(&member.manifest, &manifest));
    }
    none(breaches);
}

#[test]
fn state_machines_name_every_state_and_event() {
    let root = root();
    let mut breaches = Vec::new();
    for file in form::STATE_MACHINES {
        let source = std::fs::read_to_string(root.join(file)).expect("a state machine is where it was");
        breaches.extend(form::check_state_machine(Path::new(file), &source));
    }
    none(breaches);
}

#[test]
fn the_page_of_races_claims_what_is_tested_and_nothing_else() {
    let root = root();
    let page = std::fs::read_to_string(root.join(races::PAGE)).expect("the page is where it was");
    none(races::check(&page, &races::tests(&root), &races::states(&root)));
}
