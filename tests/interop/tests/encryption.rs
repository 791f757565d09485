//! Softphones that encrypt in different ways, or not at all, and hear each other through the box.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use interop::{Drawbridge, Meddler, Phone, Place, heard, replace};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(15);
const TALK: Duration = Duration::from_secs(3);
const ALICE: u16 = 5071;
const BOB: u16 = 5082;
/// Where alice is when somebody is between her and the box, and where she finds them.
const BEHIND: u16 = 5371;
const INNER: u16 = 5372;

/// How a phone encrypts: what its trunk says of it, what its account does, and what its record says.
#[derive(Clone, Copy, Debug)]
struct Way {
    trunk: &'static str,
    account: &'static str,
    record: Option<&'static str>,
    /// It checks its path, which baresip does not do on loopback.
    on_a_wire: bool,
}

const PLAIN: Way = Way { trunk: "none", account: "", record: None, on_a_wire: false };
/// RTP/AVP with crypto lines.
const SDES_IF_POSSIBLE: Way =
    Way { trunk: "optional", account: ";mediaenc=srtp", record: Some("sdes "), ..PLAIN };
const SDES: Way = Way { trunk: "sdes", account: ";mediaenc=srtp-mand", record: Some("sdes "), ..PLAIN };
const REQUIRED: Way =
    Way { trunk: "required", account: ";mediaenc=srtp-mandf", record: Some("sdes "), ..PLAIN };
/// Its certificate has an RSA key.
const DTLS: Way = Way { trunk: "dtls", account: ";mediaenc=dtls_srtp", record: Some("dtls "), ..PLAIN };
const ICE: Way = Way { account: ";mediaenc=dtls_srtp;medianat=ice", on_a_wire: true, ..DTLS };

/// What somebody between alice and the box makes of what she says.
type Meddling = fn(&mut [u8]);

fn configuration(ip: IpAddr, alice: Way, bob: Way) -> String {
    let trunk = |name: &str, port: u16, way: Way| {
        format!(
            "[[trunk]]\nname = \"{name}\"\nsources = [\"{ip}:{port}\"]\npeers = [\"sip:{ip}:{port}\"]\n\
             media_security = \"{}\"\nrtp_profile = \"avp\"\n",
            way.trunk
        )
    };
    let route = "[[route]]\nname = \"out\"\nfrom = [\"alice\"]\nto = [\"bob\"]\n";
    trunk("alice", ALICE, alice) + &trunk("bob", BOB, bob) + route
}

/// Alice has called bob.
struct Call {
    drawbridge: Drawbridge,
    alice: Phone,
    bob: Phone,
    _meddler: Option<Meddler>,
}

impl Call {
    fn begin(place: &Place, alice_does: Way, bob_does: Way, meddling: Option<Meddling>) -> Call {
        let on_a_wire = alice_does.on_a_wire || bob_does.on_a_wire;
        let ip = if on_a_wire { place.ip(Place::BOX) } else { Ipv4Addr::LOCALHOST };
        let at = |port: u16| SocketAddr::from((ip, port));
        let drawbridge = Drawbridge::start(place, &configuration(ip.into(), alice_does, bob_does));
        let account = |user: &str, port: u16, way: Way| {
            format!("<sip:{user}@{ip}:{port}>;regint=0;answermode=auto;audio_codecs=PCMA{}\n", way.account)
        };
        let mut bob = Phone::start(place, "bob", at(BOB), &account("bob", BOB, bob_does), 1500.0);
        let box_ = place.sip(Place::BOX);
        let meddler = meddling.map(|change| Meddler::between(at(BEHIND), at(INNER), at(ALICE), box_, change));
        let (port, dialled) = if meddler.is_some() { (BEHIND, at(INNER)) } else { (ALICE, box_) };
        let mut alice = Phone::start(place, "alice", at(port), &account("alice", port, alice_does), 600.0);
        alice.dial(&format!("sip:bob@{dialled}"));
        alice.expect("CALL_ESTABLISHED", LIMIT);
        bob.expect("CALL_ESTABLISHED", LIMIT);
        Call { drawbridge, alice, bob, _meddler: meddler }
    }

    fn end(&mut self) -> Value {
        self.alice.hang_up();
        self.bob.expect("CALL_CLOSED", LIMIT);
        let cdr = self.drawbridge.cdrs(1).swap_remove(0);
        assert_eq!(cdr["disposition"], "answered", "{cdr:#}");
        cdr
    }
}

/// Where these two can talk, if that place can be had here.
fn place(story: &str, alice: Way, bob: Way) -> Option<Place> {
    if alice.on_a_wire || bob.on_a_wire {
        return Place::on_a_wire(story);
    }
    Place::own_network();
    Some(Place::new(story))
}

/// Alice calls bob, presses a key, is put on hold and taken back, and both hear each other before and after.
fn talk(story: &str, alice_does: Way, bob_does: Way) {
    talk_despite(story, alice_does, bob_does, None);
}

fn talk_despite(story: &str, alice_does: Way, bob_does: Way, meddling: Option<Meddling>) {
    let Some(place) = place(story, alice_does, bob_does) else { return };
    let mut call = Call::begin(&place, alice_does, bob_does, meddling);
    std::thread::sleep(TALK);
    call.alice.press('5', &mut call.bob);
    call.alice.command("hold", "");
    std::thread::sleep(Duration::from_secs(1));
    call.alice.command("resume", "");
    std::thread::sleep(TALK);
    let cdr = call.end();

    // Its recording ends with the hold; that packets came in and made sense after it, its own count says.
    let (alice, bob) = (&call.alice, &call.bob);
    let enough = TALK.as_secs_f64() - 1.5;
    let (at_alice, at_bob) = (heard(&alice.recording(), 1500.0), heard(&bob.recording(), 600.0));
    assert!(at_alice > enough, "{story}: alice heard bob for {at_alice} s of {enough}");
    assert!(at_bob > enough, "{story}: bob heard alice for {at_bob} s of {enough}");
    for (phone, came) in [("alice", alice.packets().1), ("bob", bob.packets().1)] {
        assert!(came > 240, "{story}: {came} packets came to {phone}");
    }
    for (phone, way) in [(alice, alice_does), (bob, bob_does)] {
        assert_eq!(phone.has_said("connectivity check is complete"), way.on_a_wire, "{story}");
    }
    for (column, way) in [("srtp_a", alice_does), ("srtp_b", bob_does)] {
        match way.record {
            Some(source) => {
                assert!(cdr[column].as_str().is_some_and(|used| used.starts_with(source)), "{cdr:#}");
            }
            None => assert_eq!(cdr[column], Value::Null, "{story}"),
        }
    }
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

#[test]
fn dtls_to_plain() {
    talk("dtls-plain", DTLS, PLAIN);
}

#[test]
fn plain_to_dtls() {
    talk("plain-dtls", PLAIN, DTLS);
}

#[test]
fn sdes_to_dtls() {
    talk("sdes-dtls", SDES, DTLS);
}

#[test]
fn dtls_to_dtls_with_keys_of_each_leg() {
    talk("dtls-dtls", DTLS, DTLS);
}

/// baresip leaves the beginning to whoever wants it, and begins itself when it may. Here it may not.
#[test]
fn dtls_that_the_box_begins() {
    talk_despite(
        "dtls-active",
        DTLS,
        PLAIN,
        Some(|text| replace(text, "a=setup:actpass", "a=setup:passive")),
    );
}

#[test]
fn ice_to_plain() {
    talk("ice-plain", ICE, PLAIN);
}

#[test]
fn plain_to_ice() {
    talk("plain-ice", PLAIN, ICE);
}

#[test]
fn ice_to_dtls_without() {
    talk("ice-dtls", ICE, DTLS);
}

/// Somebody has put another fingerprint into what alice says: to the box she is not who she says she is.
#[test]
fn another_certificate_than_was_described_is_not_spoken_to() {
    let meddle = |text: &mut [u8]| {
        let line = b"a=fingerprint:SHA-256 ";
        if let Some(at) = text.windows(line.len()).position(|window| window.eq_ignore_ascii_case(line)) {
            let digit = &mut text[at + line.len()];
            *digit = if *digit == b'0' { b'1' } else { b'0' };
        }
    };
    let place = place("dtls-other", DTLS, PLAIN).unwrap();
    let mut call = Call::begin(&place, DTLS, PLAIN, Some(meddle));
    std::thread::sleep(TALK);
    let cdr = call.end();
    assert_eq!((&cdr["a_fault"], &cdr["srtp_a"]), (&"wrong_certificate".into(), &Value::Null), "{cdr:#}");
    assert_eq!((&cdr["a_packets"], &cdr["b_packets"]), (&0.into(), &0.into()), "{cdr:#}");
    for phone in [&call.alice, &call.bob] {
        assert!(!phone.has_said("incoming rtp"), "nothing is sent to anybody");
    }
}
