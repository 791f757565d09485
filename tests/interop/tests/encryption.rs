//! Softphones that encrypt in different ways, or not at all, and hear each other through the box.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use interop::{Drawbridge, Meddler, Phone, Place, heard, replace};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(15);
const TALK: Duration = Duration::from_millis(1800);
/// How long packets are counted while somebody is on hold, and how long before it has begun or ended for everybody.
const HOLD: Duration = Duration::from_millis(400);
const SETTLED: Duration = Duration::from_millis(300);
/// So many pairs talk at a time.
const AT_ONCE: usize = 6;
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

/// Alice calls bob; each presses a key, holds the other and takes it back; and both hear each other before and after.
fn talk(story: &str, alice_does: Way, bob_does: Way, meddling: Option<Meddling>) {
    let Some(place) = place(story, alice_does, bob_does) else { return };
    let mut call = Call::begin(&place, alice_does, bob_does, meddling);
    std::thread::sleep(TALK);
    let (alice, bob) = (&mut call.alice, &mut call.bob);
    alice.press('5', bob);
    bob.press('7', alice);
    // She answers an offer as one who begins (RFC 8842 §3.1), which is another association, though what was made of her words
    // says that she does not.
    let bob_holds = meddling.is_none();
    for holder in std::iter::once(alice).chain(Some(bob).filter(|_| bob_holds)) {
        holder.command("hold", "");
        std::thread::sleep(SETTLED);
        let held = call.drawbridge.media_packets(HOLD);
        assert!(held < HOLD.as_secs_f64() * 75.0, "{story}: {held} packets in {HOLD:?} on hold");
        holder.command("resume", "");
        std::thread::sleep(SETTLED);
    }
    // Its recording ends with the hold. That packets go both ways after it, the box's count says; that they made sense to the
    // phone, its own.
    let after = call.drawbridge.media_packets(TALK);
    assert!(after > TALK.as_secs_f64() * 75.0, "{story}: {after} packets in {TALK:?} after the holds");
    let cdr = call.end();

    let (alice, bob) = (&call.alice, &call.bob);
    let enough = TALK.as_secs_f64() - 1.0;
    let (at_alice, at_bob) = (heard(&alice.recording(), 1500.0), heard(&bob.recording(), 600.0));
    assert!(at_alice > enough, "{story}: alice heard bob for {at_alice} s of {enough}");
    assert!(at_bob > enough, "{story}: bob heard alice for {at_bob} s of {enough}");
    for (name, phone, relayed) in [("alice", alice, "b_packets"), ("bob", bob, "a_packets")] {
        let (came, relayed) = (phone.packets().1, cdr[relayed].as_u64().unwrap());
        assert!(came * 10 > relayed * 9, "{story}: {came} packets of {relayed} came to {name}");
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

/// Every way calls every way, itself included. They mostly wait, so several talk at once, each pair in a network of its own.
#[test]
fn phones_that_encrypt_in_any_way_hear_each_other_through_holds_and_key_presses() {
    let ways = [("plain", PLAIN), ("sdes", SDES), ("dtls", DTLS), ("ice", ICE)];
    let mut pairs = vec![
        ("required-sdes".to_owned(), REQUIRED, SDES),
        ("optional-optional".to_owned(), SDES_IF_POSSIBLE, SDES_IF_POSSIBLE),
    ];
    for (caller, alice) in ways {
        pairs.extend(ways.map(|(callee, bob)| (format!("{caller}-{callee}"), alice, bob)));
    }
    let has_networks = std::thread::spawn(Place::own_network).join().unwrap();
    let mut failed = Vec::new();
    for together in pairs.chunks(if has_networks { AT_ONCE } else { 1 }) {
        std::thread::scope(|scope| {
            let talking: Vec<_> = together
                .iter()
                .map(|(story, alice, bob)| {
                    let named = std::thread::Builder::new().name(story.clone());
                    (story, named.spawn_scoped(scope, || talk(story, *alice, *bob, None)).unwrap())
                })
                .collect();
            failed.extend(talking.into_iter().filter_map(|(story, talk)| talk.join().err().map(|_| story)));
        });
    }
    assert!(failed.is_empty(), "these did not hear each other: {failed:?}");
}

/// baresip leaves the beginning to whoever wants it, and begins itself when it may. Here it may not.
#[test]
fn dtls_that_the_box_begins() {
    talk("dtls-active", DTLS, PLAIN, Some(|text| replace(text, "a=setup:actpass", "a=setup:passive")));
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
