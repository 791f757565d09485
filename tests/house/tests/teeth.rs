//! Each rule, shown something that breaks it: a rule that never bites is no rule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use house::arrows::{Dependency, Member};
use house::{arrows, form, purity, races};

fn member(name: &str, dependencies: &[&str]) -> Member {
    Member {
        name: name.to_owned(),
        manifest: Path::new("services").join(name).join("Cargo.toml"),
        dependencies: dependencies
            .iter()
            .map(|name| Dependency { name: (*name).to_owned(), dev: false })
            .collect(),
    }
}

fn arrow_breaches(members: &[Member]) -> Vec<String> {
    arrows::check(members).iter().map(ToString::to_string).collect()
}

#[test]
fn an_arrow_that_points_up_or_sideways_is_found() {
    let house = [
        member("sip", &[]),
        member("routing", &["sip"]),
        member("call", &["sip", "routing", "net"]),
        member("net", &["call", "store"]),
        member("store", &["call"]),
    ];
    let breaches = arrow_breaches(&house);
    assert_eq!(breaches.len(), 2, "{breaches:?}");
    assert!(breaches[0].contains("`call` depends on `net`"), "{breaches:?}");
    assert!(breaches[1].contains("`net` depends on `store`"), "{breaches:?}");
}

#[test]
fn a_test_dependency_is_an_arrow_too() {
    let mut sip = member("sip", &[]);
    sip.dependencies.push(Dependency { name: "call".to_owned(), dev: true });
    let breaches = arrow_breaches(&[sip, member("call", &["sip"])]);
    assert_eq!(breaches.len(), 1, "{breaches:?}");
}

#[test]
fn a_stranger_in_a_pure_crate_is_found_and_a_tool_of_its_tests_is_not() {
    let mut sip = member("sip", &["bytes", "tokio"]);
    sip.dependencies.push(Dependency { name: "proptest".to_owned(), dev: true });
    let breaches = arrow_breaches(&[sip]);
    assert_eq!(breaches.len(), 1, "{breaches:?}");
    assert!(breaches[0].contains("`tokio`"), "{breaches:?}");
}

#[test]
fn a_crate_that_is_no_room_is_found() {
    let breaches = arrow_breaches(&[member("glue", &[])]);
    assert_eq!(breaches.len(), 1, "{breaches:?}");
}

/// Lines of `source` on which the purity rule finds something.
fn impure_lines(source: &str) -> Vec<usize> {
    purity::check_source(Path::new("x.rs"), source).0.iter().map(|breach| breach.line).collect()
}

#[test]
fn every_way_to_a_clock_socket_file_thread_or_global_is_found() {
    let sources = [
        "fn f() { let t = std::time::Instant::now(); }",
        "use std::{time::{Duration, Instant}, net::IpAddr};",
        "use std::time;\nfn f() { time::SystemTime::now(); }",
        "use std::time::Instant as Clock;",
        "use std::time::*;",
        "fn f() { core::net::UdpSocket::bind(\"x\"); }",
        "fn f(s: &std::net::TcpStream) {}",
        "fn f() { std::fs::read(\"x\"); }",
        "fn f() { std::thread::yield_now(); }",
        "static N: std::sync::atomic::AtomicU64 = zero();",
        "static mut N: u64 = 0;",
        "thread_local! { static N: u64 = 0; }",
        "async fn f() {}",
        "fn f() { vec![std::time::Instant::now()]; }",
        "fn f() { println!(\"x\"); }",
        "fn f() { uuid::Uuid::now_v7(); }",
        "use rand::rngs::OsRng;",
        "use tokio::sync::mpsc;",
    ];
    for source in sources {
        assert!(!impure_lines(source).is_empty(), "not found: {source}");
    }
}

#[test]
fn a_map_with_a_random_hasher_is_found_and_one_with_a_fixed_hasher_is_not() {
    for source in [
        "use std::collections::HashMap;\nstruct S { m: HashMap<u8, u8> }",
        "use std::collections::HashMap;\nfn f() { let m = HashMap::new(); }",
        "struct S(std::collections::HashSet<u8>);",
        "fn f() { std::hash::RandomState::new(); }",
        "use foldhash::HashMap;",
    ] {
        assert!(!impure_lines(source).is_empty(), "not found: {source}");
    }
    let fixed = "use std::collections::HashMap;\nuse foldhash::fast::FixedState;\n\
                 struct S { m: HashMap<u8, u8, FixedState> }\nfn f() { HashMap::with_hasher(FixedState::default()); }";
    assert_eq!(impure_lines(fixed), Vec::<usize>::new());
}

#[test]
fn the_place_is_named_and_tests_comments_and_strings_are_left_alone() {
    let source = "//! Never calls std::time::Instant::now().\n\
                  fn f() { let s = \"std::fs::read\"; }\n\
                  #[cfg(test)]\nmod tests { use std::time::Instant; }\n\
                  #[cfg(test)]\nmod vectors;\n\
                  mod timer;\n\
                  fn g() { std::thread::sleep(d); }\n";
    let (breaches, modules) = purity::check_source(Path::new("src/lib.rs"), source);
    assert_eq!(breaches.len(), 1, "{breaches:?}");
    assert!(breaches[0].to_string().starts_with("src/lib.rs:8: `std::thread::sleep`"), "{}", breaches[0]);
    assert_eq!(modules, [Path::new("src/timer")]);
}

#[test]
fn a_file_that_is_too_long_nameless_or_undocumented_is_found() {
    let what = |file: &str, source: &str| form::check_source(Path::new(file), source).len();
    assert_eq!(what("src/leg.rs", "//! A leg.\nstruct Leg;\n"), 0);
    assert_eq!(what("src/leg.rs", "struct Leg;\n"), 1);
    assert_eq!(what("src/utils.rs", "//! Things.\n"), 1);
    assert_eq!(what("src/leg.rs", "//! A leg.\nmod helpers;\nstruct CallManager;\n"), 2);
    assert_eq!(what("src/leg.rs", &format!("//! A leg.\n{}", "\n".repeat(form::MOST_LINES))), 1);
}

#[test]
fn a_crate_without_the_lints_is_found() {
    let with = "[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n";
    assert!(form::check_manifest(Path::new("Cargo.toml"), with).is_empty());
    assert_eq!(form::check_manifest(Path::new("Cargo.toml"), "[package]\nname = \"x\"\n").len(), 1);
}

#[test]
fn a_state_machine_that_allows_wildcard_arms_is_found() {
    let check = |source| form::check_state_machine(Path::new("mod.rs"), source).len();
    assert_eq!(check("//! A leg.\n#![deny(clippy::wildcard_enum_match_arm)]\n"), 0);
    assert_eq!(check("//! A leg, without clippy::wildcard_enum_match_arm.\n"), 1);
}

#[test]
fn parts_of_a_test_need_no_paragraph_of_their_own() {
    let undocumented = |file: &str| form::check_source(Path::new(file), "struct Leg;\n").len();
    assert_eq!(undocumented("services/sip/tests/transaction/timers.rs"), 0);
    assert_eq!(undocumented("services/media/src/stream/tests.rs"), 0);
    assert_eq!(undocumented("services/sip/tests/transaction.rs"), 1);
    assert_eq!(undocumented("tests/interop/src/phone.rs"), 1);
}

#[test]
fn a_page_of_races_that_lies_is_found() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    let tests = names(&["cancel_s1_c1_crosses", "cancel_s2_late", "a_bye"]);
    let states = names(&["Ending", "Ghost"]);
    let found = |page: &str| -> String {
        races::check(page, &tests, &states).iter().map(|breach| format!("{breach}\n")).collect()
    };
    let head =
        "| row | situation | RFC | what the box does | state | proven by |\n|---|---|---|---|---|---|\n";
    let true_rows = "| S1 | a | 1 | b | `Ending` | `cancel_s1_c1_crosses` |\n\
                     | C1 | a | 1 | b | – | `cancel_s1_c1_crosses` |\n\
                     | S2 | a | 1 | b | `Ghost` | `cancel_s2_late` `a_bye` |\n";
    assert_eq!(found(&format!("{head}{true_rows}")), "");
    for (row, expected) in [
        ("| S3 | a | 1 | b | – | none yet |\n", "names no test"),
        ("| S3 | a | 1 | b | – | `cancel_s3_gone` |\n", "there is no test `cancel_s3_gone`"),
        ("| S3 | a | 1 | b | – | `cancel_s2_late` |\n", "belongs to the row S2"),
        ("| – | a | 1 | b | `Limbo` | `a_bye` |\n", "there is no state `Limbo`"),
        ("| – | a | | b | – | `a_bye` |\n", "six cells"),
        ("| – | a | b | `a_bye` |\n", "six cells"),
    ] {
        let breaches = found(&format!("{head}{true_rows}{row}"));
        assert!(breaches.contains(expected), "{row}{breaches}");
    }
    let without = true_rows.replace("`cancel_s2_late` ", "");
    assert!(found(&format!("{head}{without}")).contains("`cancel_s2_late` is of a row and not in the page"));
}
