//! Softphones that encrypt in different ways, or not at all, and hear each other through the box.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use interop::{Drawbridge, Phone, Place, heard};

const LIMIT: Duration = Duration::from_secs(15);
const TALK: Duration = Duration::from_secs(3);
const ALICE: u16 = 5071;
const BOB: u16 = 5082;

/// How a phone encrypts: what its trunk says of it, and what its account does.
#[derive(Clone, Copy, Debug)]
struct Way {
    trunk: &'static str,
    account: &'static str,
}

const PLAIN: Way = Way { trunk: "none", account: "" };
/// RTP/AVP with crypto lines.
const SDES_IF_POSSIBLE: Way = Way { trunk: "optional", account: ";mediaenc=srtp" };
const SDES: Way = Way { trunk: "sdes", account: ";mediaenc=srtp-mand" };
const REQUIRED: Way = Way { trunk: "required", account: ";mediaenc=srtp-mandf" };

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn configuration(alice: Way, bob: Way) -> String {
    let trunk = |name: &str, port: u16, way: Way| {
        format!(
            "[[trunk]]\nname = \"{name}\"\nsources = [\"127.0.0.1:{port}\"]\npeers = [\"sip:127.0.0.1:{port}\"]\n\
             media_security = \"{}\"\nrtp_profile = \"avp\"\n",
            way.trunk
        )
    };
    let route = "[[route]]\nname = \"out\"\nfrom = [\"alice\"]\nto = [\"bob\"]\n";
    trunk("alice", ALICE, alice) + &trunk("bob", BOB, bob) + route
}

/// Alice calls bob, is put on hold and taken back, and both hear each other before and after.
fn talk(story: &str, alice_does: Way, bob_does: Way) {
    Place::own_network();
    let place = Place::new(story);
    let drawbridge = Drawbridge::start(&place, &configuration(alice_does, bob_does));
    let account = |user: &str, port: u16, way: Way| {
        format!("<sip:{user}@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs=PCMA{}\n", way.account)
    };
    let mut bob = Phone::start(&place, "bob", at(BOB), &account("bob", BOB, bob_does), 1500.0);
    let mut alice = Phone::start(&place, "alice", at(ALICE), &account("alice", ALICE, alice_does), 600.0);
    alice.dial(&format!("sip:bob@{}", place.ip(Place::BOX)));
    alice.expect("CALL_ESTABLISHED", LIMIT);
    std::thread::sleep(TALK);
    alice.command("hold", "");
    std::thread::sleep(Duration::from_secs(1));
    alice.command("resume", "");
    std::thread::sleep(TALK);
    alice.hang_up();
    bob.expect("CALL_CLOSED", LIMIT);

    // Its recording ends with the hold; that packets came in and made sense after it, its own count says.
    let enough = TALK.as_secs_f64() - 1.0;
    let (at_alice, at_bob) = (heard(&alice.recording(), 1500.0), heard(&bob.recording(), 600.0));
    assert!(at_alice > enough, "{story}: alice heard bob for {at_alice} s of {enough}");
    assert!(at_bob > enough, "{story}: bob heard alice for {at_bob} s of {enough}");
    for (phone, came) in [("alice", alice.packets().1), ("bob", bob.packets().1)] {
        assert!(came > 240, "{story}: {came} packets came to {phone}");
    }
    let cdrs = drawbridge.cdrs(1);
    assert_eq!(cdrs[0]["disposition"], "answered", "{:#}", cdrs[0]);
}

#[test]
fn plain_to_plain() {
    talk("plain-plain", PLAIN, PLAIN);
}

#[test]
fn plain_to_sdes() {
    talk("plain-sdes", PLAIN, SDES);
}

#[test]
fn sdes_to_plain() {
    talk("sdes-plain", SDES, PLAIN);
}

#[test]
fn sdes_to_sdes_with_keys_of_each_leg() {
    talk("sdes-sdes", REQUIRED, SDES);
}

#[test]
fn plain_to_one_who_encrypts_if_it_can() {
    talk("plain-optional", SDES_IF_POSSIBLE, SDES_IF_POSSIBLE);
}
