//! Two softphones and a box that nobody configured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use interop::{Drawbridge, Phone, Place, heard, skipped};

const LIMIT: Duration = Duration::from_secs(15);
const TALK: Duration = Duration::from_secs(4);

#[test]
fn two_phones_register_call_and_hear_each_other_without_a_configuration() {
    Place::own_network();
    let place = Place::new("bare");
    let drawbridge = Drawbridge::start_bare(&place);
    let second = Duration::from_secs(1);
    assert!(drawbridge.started_in() < second, "listening after {:?}", drawbridge.started_in());
    for said in ["127.0.0.1:5060", "127.0.0.1:8080"] {
        assert!(drawbridge.log().contains(said), "the start does not name {said}:\n{}", drawbridge.log());
    }

    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut bob = Phone::registered(&place, "bob", at(5082), at(5060), 1500.0);
    let mut alice = Phone::registered(&place, "alice", at(5071), at(5060), 600.0);
    alice.dial("sip:bob@127.0.0.1");
    alice.expect("CALL_ESTABLISHED", LIMIT);
    std::thread::sleep(TALK);
    alice.hang_up();
    bob.expect("CALL_CLOSED", LIMIT);

    let enough = TALK.as_secs_f64() - 1.0;
    assert!(heard(&alice.recording(), 1500.0) > enough, "alice hears bob");
    assert!(heard(&bob.recording(), 600.0) > enough, "bob hears alice");

    let cdrs = drawbridge.cdrs(1);
    let cdr = &cdrs[0];
    assert_eq!(cdrs.len(), 1);
    assert_eq!((&cdr["caller"], &cdr["called"]), (&"alice".into(), &"bob".into()));
    assert_eq!((&cdr["disposition"], &cdr["ended_by"]), (&"answered".into(), &"caller".into()));
    let relayed = |column: &str| cdr[column].as_u64().unwrap_or_else(|| panic!("no {column} in {cdr:#}"));
    let ((alice_sent, alice_got), (bob_sent, bob_got)) = (alice.packets(), bob.packets());
    for (from, sent, relayed, got) in [
        ("alice", alice_sent, relayed("a_packets"), bob_got),
        ("bob", bob_sent, relayed("b_packets"), alice_got),
    ] {
        // Packets under way when the call is answered or ended are counted by one party and not by the other.
        let close = |a: u64, b: u64| a.abs_diff(b) <= 10;
        assert!(sent > 100, "{from} sent {sent}");
        assert!(
            close(sent, relayed) && close(relayed, got),
            "{from} sent {sent}, relayed {relayed}, received {got}"
        );
    }
    assert_eq!((relayed("a_lost"), relayed("b_lost")), (0, 0), "{cdr:#}");
}

/// With the default engine; where the kernel may not be asked for help, this says so and why.
#[test]
fn two_phones_hear_each_other_through_the_kernel_and_the_record_counts_every_packet() {
    Place::own_network();
    let place = Place::new("kernel");
    let drawbridge = Drawbridge::start(&place, "[access]\nopen_loopback = true\n");
    let log = drawbridge.log();
    let said = log.lines().find(|line| line.contains("media relay runs")).unwrap().to_owned();
    if !said.contains("engine=\"ebpf\"") {
        skipped("the engine in the kernel", &said);
        return;
    }
    let registrar = SocketAddr::from((place.ip(Place::BOX), 5060));
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut bob = Phone::registered(&place, "bob", at(5082), registrar, 1500.0);
    let mut alice = Phone::registered(&place, "alice", at(5071), registrar, 600.0);
    alice.dial(&format!("sip:bob@{}", registrar.ip()));
    alice.expect("CALL_ESTABLISHED", LIMIT);
    std::thread::sleep(TALK);
    let in_kernel = drawbridge.metrics().sum("drawbridge_media_kernel_streams");
    alice.hang_up();
    bob.expect("CALL_CLOSED", LIMIT);
    assert_eq!(in_kernel, 2.0, "both directions, while the call was up");

    let enough = TALK.as_secs_f64() - 1.0;
    assert!(heard(&alice.recording(), 1500.0) > enough, "alice hears bob");
    assert!(heard(&bob.recording(), 600.0) > enough, "bob hears alice");
    let cdrs = drawbridge.cdrs(1);
    let counted =
        |column: &str| cdrs[0][column].as_u64().unwrap_or_else(|| panic!("no {column} in {:#}", cdrs[0]));
    let metrics = drawbridge.metrics();
    let both = counted("a_packets") + counted("b_packets");
    assert_eq!(metrics.sum("drawbridge_media_packets_total"), both as f64);
    let kernel = metrics.sum("drawbridge_media_kernel_packets_total");
    assert!(kernel > 200.0 && (both as f64 - kernel) < 100.0, "{kernel} of {both} in the kernel");
    assert_eq!((counted("a_lost"), counted("b_lost")), (0, 0));
    assert_eq!(metrics.sum("drawbridge_media_kernel_streams"), 0.0);
}

#[test]
fn a_phone_with_the_wrong_password_is_kept_out() {
    Place::own_network();
    let place = Place::new("users");
    let drawbridge = Drawbridge::start(&place, "[[user]]\nname = \"alice\"\npassword = \"open-sesame\"\n");
    let at = SocketAddr::from(([127, 0, 0, 1], 5071));
    let account = |password: &str| {
        let registrar = place.ip(Place::BOX);
        format!("<sip:alice@{registrar}>;auth_pass={password};regint=120;answermode=auto\n")
    };
    let stranger = Phone::start(&place, "stranger", at, &account("guess"), 600.0);
    stranger.says("401 Unauthorized", LIMIT);
    drop(stranger);
    let alice = Phone::start(&place, "alice", at, &account("open-sesame"), 600.0);
    alice.says("200 OK", LIMIT);
    assert!(!drawbridge.log().contains("open-sesame"), "a password is never logged");
}
