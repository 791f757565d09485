//! A page in a headless Chromium, over secure WebSocket, and a softphone that has never heard of encryption.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use interop::{Authority, Browser, Drawbridge, Phone, Place, heard};

/// A browser takes its time to start where two processors do everything.
const LIMIT: Duration = Duration::from_secs(60);
const BOB: u16 = 5082;
/// For so many seconds a tone is heard on a machine that does a lot else as well; what is wrongly decrypted is none at all.
const ENOUGH: f64 = 0.5;
/// A browser takes all that there is of such a machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A box whose secure WebSocket is on loopback, where no password is asked for, and whose media is on a wire, where browsers
/// find addresses.
fn drawbridge(place: &Place) -> (Drawbridge, SocketAddr) {
    let at = SocketAddr::from(([127, 0, 0, 1], 5443));
    let certificate = Authority::new("edge").write(place, &["127.0.0.1".to_owned()]);
    let ip = place.ip(Place::BOX);
    let config = format!(
        "[[listener]]\nname = \"wss\"\ntransport = \"wss\"\nbind = \"{at}\"\n{certificate}\n\
         [access]\nopen_loopback = true\n\
         [[trunk]]\nname = \"bob\"\nsources = [\"{ip}:{BOB}\"]\npeers = [\"sip:{ip}:{BOB}\"]\nrtp_profile = \"avp\"\n\
         [[route]]\nname = \"out\"\nto = [\"bob\"]\n"
    );
    (Drawbridge::start_media(place, "phone_security = \"required\"\n", &config), at)
}

fn bob(place: &Place) -> Phone {
    let ip = place.ip(Place::BOX);
    let account = format!("<sip:bob@{ip}:{BOB}>;regint=0;answermode=auto;audio_codecs=PCMA\n");
    Phone::start(place, "bob", SocketAddr::from((ip, BOB)), &account, 1500.0)
}

#[test]
fn a_page_calls_a_softphone_and_both_hear_each_other_before_and_after_a_hold() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(place) = Place::on_a_wire("page-calls") else { return };
    let (drawbridge, at) = drawbridge(&place);
    let mut bob = bob(&place);
    let page = Browser::open(&place, "page", at, Some("bob"), [600.0, 1500.0]);
    bob.expect("CALL_ESTABLISHED", LIMIT);
    assert_eq!(bob.expect("CALL_DTMF_START", LIMIT)["param"], "5");
    bob.expect("CALL_CLOSED", LIMIT);
    let after = page.heard(LIMIT);
    let said = page.said();
    let before = said.iter().find_map(|line| line.strip_prefix("heard ")?.strip_suffix(" s before the hold"));
    let before: f64 = before.unwrap().parse().unwrap();
    assert!(before > ENOUGH && after > ENOUGH, "the page heard bob for {before} s and {after} s:\n{said:#?}");
    let at_bob = heard(&bob.recording(), 600.0);
    assert!(at_bob > ENOUGH, "bob heard the page for {at_bob} s:\n{said:#?}");
    let cdr = &drawbridge.cdrs(1)[0];
    assert_eq!((&cdr["disposition"], &cdr["a_transport"]), (&"answered".into(), &"wss".into()), "{cdr:#}");
    assert!(cdr["srtp_a"].as_str().is_some_and(|used| used.starts_with("dtls ")), "{cdr:#}");
}

#[test]
fn a_softphone_calls_a_page_and_both_hear_each_other() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(place) = Place::on_a_wire("page-answers") else { return };
    let (drawbridge, at) = drawbridge(&place);
    let mut bob = bob(&place);
    let page = Browser::open(&place, "page", at, None, [600.0, 1500.0]);
    page.says("registered", LIMIT);
    bob.dial(&format!("sip:page@{}", place.ip(Place::BOX)));
    bob.expect("CALL_ESTABLISHED", LIMIT);
    // A page on a machine that does other things as well takes its time to play.
    std::thread::sleep(Duration::from_secs(9));
    bob.hang_up();
    let at_page = page.heard(LIMIT);
    let at_bob = heard(&bob.recording(), 600.0);
    let said = page.said();
    assert!(at_page > ENOUGH, "the page heard bob for {at_page} s:\n{said:#?}");
    assert!(at_bob > ENOUGH, "bob heard the page for {at_bob} s:\n{said:#?}");
    let cdr = &drawbridge.cdrs(1)[0];
    assert_eq!((&cdr["disposition"], &cdr["b_transport"]), (&"answered".into(), &"wss".into()), "{cdr:#}");
    assert!(cdr["srtp_b"].as_str().is_some_and(|used| used.starts_with("dtls ")), "{cdr:#}");
}
