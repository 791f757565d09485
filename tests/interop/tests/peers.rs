//! The peers among themselves, without a box: when one of these fails, the fault is in a scenario or in the harness, and
//! the tests through the box say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use interop::{Phone, Place, Postgres, Sipp, heard};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn each_scenario_of_a_caller_fits_that_of_a_callee() {
    let pairs = [
        ("uac.xml", "uas.xml"),
        ("uac_cancel.xml", "uas_cancel.xml"),
        ("uac_486.xml", "uas_486.xml"),
        ("uac_hears_bye.xml", "uas_says_bye.xml"),
        ("uac_hold.xml", "uas_hold.xml"),
        ("uac_delayed.xml", "uas_delayed.xml"),
        ("uac_info.xml", "uas_info.xml"),
    ];
    for (calls, waits) in pairs {
        let place = Place::new("peers");
        let callee = Sipp::callee(waits, place.ip(Place::B)).calls(5).logged().start(&place);
        let caller =
            Sipp::caller(calls, place.ip(Place::A), place.sip(Place::B)).calls(5).rate(50).start(&place);
        caller.finish(LIMIT).assert_clean(5);
        let outcome = callee.finish(LIMIT);
        outcome.assert_clean(5);
        assert!(outcome.messages.iter().filter(|message| message.kind() == "INVITE").count() >= 5);
    }
}

#[test]
fn one_phone_hears_the_other() {
    let place = Place::new("phones");
    let answering = "<sip:bob@nowhere.invalid>;regint=0;answermode=auto;audio_codecs=PCMA\n";
    let mut bob =
        Phone::start(&place, "bob", SocketAddr::from((place.ip(Place::B), 5062)), answering, 1500.0);
    let mut alice = Phone::start(
        &place,
        "alice",
        SocketAddr::from((place.ip(Place::A), 5062)),
        &answering.replace("bob", "alice"),
        600.0,
    );
    alice.dial(&format!("sip:bob@{}:5062", place.ip(Place::B)));
    alice.expect("CALL_ESTABLISHED", LIMIT);
    std::thread::sleep(Duration::from_secs(3));
    alice.hang_up();
    bob.expect("CALL_CLOSED", LIMIT);
    assert!(heard(&alice.recording(), 1500.0) > 2.0, "alice hears bob");
    assert!(heard(&bob.recording(), 600.0) > 2.0, "bob hears alice");
    let ((a_sent, a_received), (b_sent, b_received)) = (alice.packets(), bob.packets());
    assert!(a_sent > 100 && b_sent > 100, "{a_sent} and {b_sent} packets in three seconds");
    assert!(a_sent.abs_diff(b_received) <= 5 && b_sent.abs_diff(a_received) <= 5);
}

#[test]
fn a_database_goes_and_comes_back_with_what_it_had() {
    let place = Place::new("postgres");
    let mut postgres = Postgres::start(&place);
    postgres.query("CREATE TABLE t (n int)");
    postgres.query("INSERT INTO t VALUES (1), (2)");
    postgres.go_away();
    postgres.come_back();
    assert_eq!(postgres.query("SELECT n FROM t ORDER BY n"), ["1", "2"]);
}
