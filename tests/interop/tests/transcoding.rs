//! Softphones that have no codec in common and hear each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use interop::{Drawbridge, Phone, Place, heard};

const LIMIT: Duration = Duration::from_secs(15);
const TALK: Duration = Duration::from_secs(4);
const ALICE: u16 = 5071;
const BOB: u16 = 5082;

#[test]
fn a_phone_with_mu_law_alone_and_one_with_a_law_alone_hear_each_other() {
    Place::own_network();
    let place = Place::new("transcoding");
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let trunk = |name: &str, port: u16, codec: &str| {
        format!(
            "[[trunk]]\nname = \"{name}\"\nsources = [\"127.0.0.1:{port}\"]\npeers = [\"sip:127.0.0.1:{port}\"]\n\
             codecs = {{ allow = [\"{codec}\"] }}\n"
        )
    };
    let route = "[[route]]\nname = \"out\"\nfrom = [\"alice\"]\nto = [\"bob\"]\n";
    let rest = trunk("alice", ALICE, "PCMU") + &trunk("bob", BOB, "PCMA") + route;
    let drawbridge = Drawbridge::start(&place, &rest);
    let account = |user: &str, port: u16, codec: &str| {
        format!("<sip:{user}@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs={codec}\n")
    };
    let mut bob = Phone::start(&place, "bob", at(BOB), &account("bob", BOB, "PCMA"), 1500.0);
    let mut alice = Phone::start(&place, "alice", at(ALICE), &account("alice", ALICE, "PCMU"), 600.0);
    alice.dial(&format!("sip:bob@{}", place.ip(Place::BOX)));
    alice.expect("CALL_ESTABLISHED", LIMIT);
    std::thread::sleep(TALK);
    let in_kernel = drawbridge.metrics().sum("drawbridge_media_kernel_streams");
    alice.hang_up();
    bob.expect("CALL_CLOSED", LIMIT);
    assert_eq!(in_kernel, 0.0, "the kernel knows nothing of codecs");
    let enough = TALK.as_secs_f64() - 1.0;
    let (at_alice, at_bob) = (heard(&alice.recording(), 1500.0), heard(&bob.recording(), 600.0));
    assert!(at_alice > enough && at_bob > enough, "alice {at_alice} s, bob {at_bob} s, of {enough}");
    let cdr = drawbridge.cdrs(1).remove(0);
    assert_eq!((&cdr["codec_a"], &cdr["codec_b"]), (&"PCMU".into(), &"PCMA".into()), "{cdr:#}");
}
