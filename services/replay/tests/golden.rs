//! A journal that an earlier build wrote stays readable, and is drawn as it was.
//!
//! Whether it is repeated is not asked here: what the box sends may change for good reasons. The journals of the
//! simulator's calls are written, read and repeated in `tests/simulation`; `BLESS=1 cargo test -p simulation golden`
//! renews these files, with a new version where an old reader would not understand them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

const JOURNAL: &str = include_str!("golden/call.journal");
const LADDER: &str = include_str!("golden/call.ladder");
const DRAWING: &str = include_str!("golden/call.svg");

#[test]
fn a_journal_of_an_earlier_build_is_read_and_drawn() {
    let recording = replay::read(JOURNAL).unwrap();
    assert_eq!(recording.calls().len(), 1);
    let ladder = replay::ladder(&recording);
    assert_eq!(ladder.to_string(), LADDER);
    assert_eq!(ladder.svg(), DRAWING);
}

#[test]
fn a_drawing_needs_nothing_but_itself() {
    for outside in ["href", "url(", "<script", "@import"] {
        assert!(!DRAWING.contains(outside), "{outside}");
    }
    assert!(DRAWING.contains("prefers-color-scheme:dark"));
}
