//! Calls between real phones that the box records, and what is in the files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use interop::{Drawbridge, Phone, Place, heard_in, until};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(15);
const TALK: Duration = Duration::from_secs(3);
const ENOUGH: f64 = 2.0;
const ALICE: u16 = 5071;
const BOB: u16 = 5082;
/// What alice says, and bob.
const TONES: [f64; 2] = [600.0, 1500.0];
const LEFT: (usize, usize) = (0, 2);
const RIGHT: (usize, usize) = (1, 2);

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn whole(place: &Place, name: &str) -> PathBuf {
    let file = place.path("recordings").join(name);
    until(&format!("{} is whole", file.display()), LIMIT, || file.exists().then_some(()));
    file
}

#[test]
fn an_operator_has_a_part_of_a_call_recorded_which_comes_out_of_the_kernel_for_that_and_goes_back() {
    Place::own_network();
    let place = Place::new("recording");
    let directory = place.path("recordings");
    let rest =
        format!("[access]\nopen_loopback = true\n[recording]\ndirectory = \"{}\"\n", directory.display());
    let drawbridge = Drawbridge::start(&place, &rest);
    let in_kernel = || drawbridge.metrics().sum("drawbridge_media_kernel_streams");
    let has_kernel = drawbridge.log().contains("engine=\"ebpf\"");
    let registrar = SocketAddr::from((place.ip(Place::BOX), 5060));
    let mut bob = Phone::registered(&place, "bob", at(BOB), registrar, TONES[1]);
    let mut alice = Phone::registered(&place, "alice", at(ALICE), registrar, TONES[0]);
    alice.dial(&format!("sip:bob@{}", registrar.ip()));
    alice.expect("CALL_ESTABLISHED", LIMIT);
    let settles = || until("the kernel has both directions", LIMIT, || (in_kernel() == 2.0).then_some(()));
    if has_kernel {
        settles();
    }

    let calls = drawbridge.ask("GET", "/v1/calls").json();
    let id = calls["calls"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(calls["calls"][0]["recording"], json!(null));
    let (call, path) = (format!("/v1/calls/{id}"), format!("/v1/calls/{id}/recording"));
    let name = format!("{id}.wav");
    assert_eq!(drawbridge.ask("DELETE", &path).status, 404);
    let begun = drawbridge.ask("POST", &path);
    assert_eq!((begun.status, begun.json()), (200, json!({"files": [name], "running": true})));
    std::thread::sleep(TALK);
    if has_kernel {
        assert_eq!(in_kernel(), 0.0, "while it is recorded");
    }
    assert_eq!(drawbridge.metrics().sum("drawbridge_recordings"), 1.0);
    assert_eq!(drawbridge.ask("GET", &call).json()["recording"]["running"], json!(true));
    assert_eq!(drawbridge.ask("DELETE", &path).status, 204);
    let file = whole(&place, &name);
    if has_kernel {
        settles();
    }
    alice.hang_up();
    bob.expect("CALL_CLOSED", LIMIT);

    let (left, right) = (heard_in(&file, LEFT, &TONES[..1]), heard_in(&file, RIGHT, &TONES[1..]));
    assert!(left > ENOUGH && right > ENOUGH, "{left} s of alice on the left, {right} s of bob on the right");
    assert_eq!((heard_in(&file, LEFT, &TONES[1..]), heard_in(&file, RIGHT, &TONES[..1])), (0.0, 0.0));
    assert!(left < TALK.as_secs_f64() + 1.5, "{left} s: what came after the order is not in it");
    assert_eq!(drawbridge.cdrs(1)[0]["recording"], json!(name));
    assert_eq!(drawbridge.ask("POST", &path).status, 404, "the call is over");
}

#[test]
fn calls_of_a_route_that_is_recorded_are_recorded_whole_and_mixed_where_that_is_wanted() {
    Place::own_network();
    let place = Place::new("recorded");
    let trunk = |name: &str, port: u16| {
        format!(
            "[[trunk]]\nname = \"{name}\"\nsources = [\"127.0.0.1:{port}\"]\npeers = [\"sip:127.0.0.1:{port}\"]\n"
        )
    };
    let rest = format!(
        "[recording]\ndirectory = \"{}\"\nlayout = \"mixed\"\n{}{}\
         [[route]]\nname = \"out\"\nfrom = [\"alice\"]\nto = [\"bob\"]\nrecord = true\n",
        place.path("recordings").display(),
        trunk("alice", ALICE),
        trunk("bob", BOB),
    );
    let drawbridge = Drawbridge::start(&place, &rest);
    let account = |user: &str, port: u16| {
        format!("<sip:{user}@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs=PCMU\n")
    };
    let mut bob = Phone::start(&place, "bob", at(BOB), &account("bob", BOB), TONES[1]);
    let mut alice = Phone::start(&place, "alice", at(ALICE), &account("alice", ALICE), TONES[0]);
    alice.dial(&format!("sip:bob@{}", place.ip(Place::BOX)));
    alice.expect("CALL_ESTABLISHED", LIMIT);
    std::thread::sleep(TALK);
    alice.hang_up();
    bob.expect("CALL_CLOSED", LIMIT);
    let cdr = drawbridge.cdrs(1).remove(0);
    let name = cdr["recording"].as_str().unwrap_or_else(|| panic!("no recording in {cdr:#}"));
    assert_eq!(name, format!("{}.wav", cdr["call_id"].as_str().unwrap()));
    let both = heard_in(&whole(&place, name), (0, 1), &TONES);
    assert!(both > ENOUGH, "{both} s of both in one channel");
    let health = drawbridge.ask("GET", "/health").json();
    assert!(health.to_string().contains("recordings"), "{health:#}");
}
