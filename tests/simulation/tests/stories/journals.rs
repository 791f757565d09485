//! The journal of a call as a file: written, read again, lived through, drawn, and refused where it is no journal.

use replay::{Difference, ladder, read, replay, write};
use simulation::script::Route;
use simulation::{World, script::CallScript};

use crate::story::{call, told};

/// The journals of all calls of a world, as files.
fn journals(world: &mut World) -> Vec<String> {
    world.journals().iter().map(|journal| write(journal)).collect()
}

fn an_answered_call() -> String {
    journals(&mut told(call(|_| {}))).remove(0)
}

#[test]
fn every_journal_of_seeded_worlds_is_identical_out_of_its_file() {
    let mut files = 0;
    for seed in 0..60 {
        let mut world = World::seeded(seed);
        world.run().map_err(|failure| failure.to_string()).unwrap();
        for text in journals(&mut world) {
            let recording = read(&text).unwrap_or_else(|mistake| panic!("seed {seed}: {mistake}"));
            replay(&recording).unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
            assert!(ladder(&recording).to_string().contains("INVITE"));
            assert!(!text.contains("\"repeated\":false"), "seed {seed}");
            files += 1;
        }
    }
    assert!(files > 100, "only {files} journals");
}

#[test]
fn a_challenged_call_has_the_answer_in_its_journal_and_never_the_password() {
    let mut script = CallScript::plain(Route::Guarded);
    script.callees[0].challenges = true;
    let text = journals(&mut told(script)).remove(0);
    assert!(text.contains("Authorization: Digest"), "the answer to the challenge is there");
    assert!(!text.contains(simulation::PASSWORD), "the password is not");
    replay(&read(&text).unwrap()).unwrap();
}

#[test]
fn the_first_output_that_differs_is_shown_with_both_texts() {
    let text = an_answered_call().replacen(
        "SIP/2.0 180 Ringing\\r\\nVia: SIP/2.0/UDP 10.",
        "SIP/2.0 180 Rung\\r\\nVia: SIP/2.0/UDP 10.",
        1,
    );
    let difference = replay(&read(&text).unwrap()).unwrap_err();
    let Difference::Outputs { line, expected, got, .. } = &difference else { panic!("{difference}") };
    assert!(*line > 2, "{difference}");
    assert!(expected.contains("180 Rung") && got.contains("180 Ringing"), "{difference}");
}

#[test]
fn a_journal_that_was_cut_is_drawn_but_not_called_identical() {
    let text = an_answered_call().replacen("\"cut\":null", "\"cut\":\"it grew too long\"", 1);
    let recording = read(&text).unwrap();
    let said = replay(&recording).unwrap_err().to_string();
    assert!(said.contains("cut: it grew too long"), "{said}");
    assert!(ladder(&recording).to_string().contains("the rest is missing: it grew too long"));
}

#[test]
fn what_is_no_journal_is_refused_with_its_line_and_what_was_expected() {
    let text = an_answered_call();
    let refused = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(refused(""), "line 1: expected a journal, found nothing");
    assert!(refused("INVITE sip:x SIP/2.0").starts_with("line 1: expected the first line of a call journal"));
    assert!(refused("{}").contains("found none"));
    let newer = text.replacen("\"drawbridge_journal\":2", "\"drawbridge_journal\":7", 1);
    assert_eq!(refused(&newer), "line 1: expected a call journal of version 2, found version 7");
    let unknown = text.replacen("\"timer\":", "\"lunch\":", 1);
    assert!(refused(&unknown).contains("unknown variant `lunch`"), "{}", refused(&unknown));
    let far = text.replacen("\"generation\":0,\"draining\"", "\"generation\":9,\"draining\"", 1);
    assert!(
        refused(&far).contains("expected one of the first line's configurations, found 9"),
        "{}",
        refused(&far)
    );
    let hasty = text.replacen("\"t1_us\":500000", "\"t1_us\":18446744073709551615", 1);
    assert!(refused(&hasty).contains("expected t1_us from 1 to"), "{}", refused(&hasty));
}

/// Nothing in a file may make the program fall over: every line is broken in many ways, and what is read is replayed.
#[test]
fn a_damaged_journal_never_panics() {
    let text = an_answered_call();
    let mut state = 1u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for _ in 0..3_000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            if bytes[at].is_ascii_digit() {
                bytes[at] = b'0' + below(10) as u8;
            } else {
                bytes[at] = b"{}[]\",:0az \n"[below(12)];
            }
        }
        if let Ok(recording) = read(&String::from_utf8_lossy(&bytes)) {
            let _ = replay(&recording);
            let _ = ladder(&recording).svg();
        }
    }
}

/// `BLESS=1` renews the journal and its ladder, which `services/replay/tests` reads for ever after.
#[test]
fn the_golden_journal_is_one_that_a_call_writes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../services/replay/tests/golden");
    if std::env::var_os("BLESS").is_some() {
        let text = an_answered_call();
        std::fs::write(format!("{folder}/call.journal"), &text).unwrap();
        let drawn = ladder(&read(&text).unwrap());
        std::fs::write(format!("{folder}/call.ladder"), drawn.to_string()).unwrap();
        std::fs::write(format!("{folder}/call.svg"), drawn.svg()).unwrap();
    }
}
