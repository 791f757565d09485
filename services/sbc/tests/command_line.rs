//! What the program says on its command line: check, explain, version, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use process::{Folder, output, text};

const WRONG: &str = include_str!("wrong.toml");
const MESSAGES: &str = include_str!("wrong.stderr");

#[test]
fn check_names_every_mistake_of_a_file_with_its_line_and_what_is_allowed() {
    let folder = Folder::new();
    folder.write("wrong.toml", WRONG);
    let checked = output(&folder, &["check", "--config", "wrong.toml"]);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(text(&checked.stdout), "");
    let (said, expected) = (text(&checked.stderr), MESSAGES);
    for (number, (said, expected)) in said.lines().zip(expected.lines()).enumerate() {
        assert_eq!(said, expected, "message {}", number + 1);
    }
    assert_eq!(said.lines().count(), expected.lines().count(), "{said}");
    assert!(!said.contains("hunter2"), "a secret is shown");
}

#[test]
fn check_finds_the_examples_right() {
    let folder = Folder::new();
    for name in ["drawbridge", "lab", "carrier"] {
        let file = format!("{}/../../config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let checked = output(&folder, &["check", "--config", &file]);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
        assert!(text(&checked.stdout).contains("as it should be"));
    }
}

#[test]
fn check_says_which_lines_are_no_toml() {
    let folder = Folder::new();
    folder.write("broken.toml", "[node]\nname = \n\n[api\nbind = \"127.0.0.1:1\"\n[node]\n");
    let checked = output(&folder, &["check", "--config", "broken.toml"]);
    assert_eq!(checked.status.code(), Some(1));
    let said = text(&checked.stderr);
    for line in ["broken.toml:2: not TOML", "broken.toml:4: not TOML", "broken.toml:6: not TOML"] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = Folder::new();
    for command in ["check", "run"] {
        let said = output(&folder, &[command, "--config", "nowhere.toml"]);
        assert_eq!(said.status.code(), Some(1));
        assert!(
            text(&said.stderr).starts_with("nowhere.toml: expected a readable"),
            "{}",
            text(&said.stderr)
        );
    }
}

#[test]
fn check_tells_which_right_keys_have_no_effect() {
    let folder = Folder::new();
    folder.write("early.toml", "[[trunk]]\nname = 't'\nsources = ['192.0.2.1']\noptions_ping = '30s'\n");
    let checked = output(&folder, &["check", "--config", "early.toml"]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(text(&checked.stdout).contains("early.toml:4: trunk.options_ping: has no effect"));
}

fn explain(file: &str, source: &str, to: &str) -> String {
    let folder = Folder::new();
    let file = format!("{}/../../config/{file}.toml", env!("CARGO_MANIFEST_DIR"));
    let from = ["--from", "sip:1000@127.0.0.1"];
    let said = output(
        &folder,
        &[&["explain", "--config", &file, "--source", source, "--to", to][..], &from].concat(),
    );
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    text(&said.stdout)
}

#[test]
fn explain_says_trunk_route_and_targets_with_their_reasons() {
    let said = explain("lab", "127.0.0.1:5070", "sip:+15551234567@127.0.0.1");
    for step in
        ["trunk \"pbx\"", "\"+15551234567\"", "Route \"to-carrier\" takes the call", "sip:127.0.0.1:5080"]
    {
        assert!(said.contains(step), "{step}: {said}");
    }
}

#[test]
fn explain_sends_a_call_for_a_user_to_the_users_phone() {
    let said = explain("lab", "127.0.0.1:5080", "sip:alice@127.0.0.1");
    assert!(said.contains("the registered contacts of \"alice\""), "{said}");
}

#[test]
fn explain_tells_a_stranger_from_a_phone() {
    let stranger = explain("carrier", "203.0.113.99:5060", "sip:+4930123456@203.0.113.7");
    assert!(stranger.contains("Refused with 403"), "{stranger}");
    let phone = explain("lab", "127.0.0.1:9999", "sip:1000@127.0.0.1");
    assert!(phone.contains("must authenticate as one of the [[user]]s"), "{phone}");
}

#[test]
fn the_version_is_told_and_nonsense_is_refused() {
    let folder = Folder::new();
    let version = output(&folder, &["--version"]);
    assert_eq!(text(&version.stdout), format!("drawbridge {}\n", env!("CARGO_PKG_VERSION")));
    for nonsense in [&["replay"][..], &["explain"], &["--log-format", "xml"], &["check"]] {
        assert_eq!(output(&folder, nonsense).status.code(), Some(2), "{nonsense:?}");
    }
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let folder = Folder::new();
    let said = process::command(&folder, &["demo"]).env("RUST_LOG", "call=loud").output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).starts_with("RUST_LOG: \"call=loud\": expected"), "{}", text(&said.stderr));
}
