//! `drawbridge demo`: two phones, a call with sound both ways, a cancelled one, and their records.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use process::{Folder, output, text};

#[test]
fn the_demo_calls_talks_cancels_and_finds_both_records() {
    let folder = Folder::new();
    let story = output(&folder, &["demo"]);
    let (told, said) = (text(&story.stdout), text(&story.stderr));
    assert_eq!(story.status.code(), Some(0), "{told}\n{said}");
    for line in [
        "alice to bob: answered, ended by caller",
        "alice to bob: cancelled, ended by caller",
        "Everything was as it should be.",
    ] {
        assert!(told.contains(line), "{told}\n{said}");
    }
    let left = std::fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(left, 0, "nothing is left in the folder it was started in");
}
