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

/// A line of a few bytes that numbers its trunk 65535 has a snapshot of 65536 trunks made of it.
#[test]
fn trunks_that_a_short_file_numbers_high_take_no_memory_without_bound() {
    let (header, steps) = JOURNAL.split_once('\n').unwrap();
    let with = |configurations: usize| {
        let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
        let mut configuration = header["configurations"][0].clone();
        for (trunk, id) in [(0, 0), (1, 65_535)] {
            configuration["trunks"][trunk]["id"] = id.into();
        }
        header["configurations"] = vec![configuration; configurations].into();
        replay::read(&format!("{header}\n{steps}"))
    };
    with(1).unwrap();
    let mistake = with(100).unwrap_err().to_string();
    assert_eq!(
        mistake,
        "line 1: expected trunks numbered below 262144 in all configurations together, found more"
    );
}
