//! How a test reads a world's tape: the messages of one way, and the whole flow in short words.
#![allow(dead_code)]

use bytes::Bytes;
use simulation::script::{CallScript, Route};
use simulation::{BOX, World, caller_address};
use sip::{Message, Name};

/// A world with this one call, gone to its end.
pub fn told(script: CallScript) -> World {
    to_the_end(World::of(vec![script]))
}

/// Lets a world go to its end, with every invariant watched.
pub fn to_the_end(mut world: World) -> World {
    if let Err(failure) = world.run() {
        panic!("{failure}");
    }
    world
}

/// A call on the first route, changed by the test.
pub fn call(change: impl FnOnce(&mut CallScript)) -> CallScript {
    let mut script = CallScript::plain(Route::West);
    change(&mut script);
    script
}

/// Everything that happened between the box, caller 0 (`A`) and the targets (`B`), in the order of sending: `A> INVITE`
/// came from the caller, `>B 200 BYE` went to a target.
pub fn flow(world: &World) -> Vec<String> {
    world
        .tape()
        .lines()
        .map(|line| {
            let party = |address: std::net::SocketAddr| {
                if address.ip().to_string().starts_with("10.") { 'A' } else { 'B' }
            };
            if line.to == BOX {
                format!("{}> {}", party(line.from), word(&line.bytes))
            } else {
                format!(">{} {}", party(line.to), word(&line.bytes))
            }
        })
        .collect()
}

fn word(bytes: &[u8]) -> String {
    let message = Message::parse(bytes).expect("phones and box write messages");
    let method = String::from_utf8_lossy(message.cseq().expect("a CSeq").method_text).into_owned();
    match message.status() {
        Some(status) => format!("{status} {method}"),
        None => method,
    }
}

/// These words stand in the flow in this order, with anything between.
#[track_caller]
pub fn in_order(world: &World, wanted: &[&str]) {
    let flow = flow(world);
    let mut rest = flow.iter();
    for want in wanted {
        assert!(
            rest.any(|word| word == want),
            "`{want}` is missing or early; the flow:\n{}",
            world.ladder(None)
        );
    }
}

/// How often a word stands in the flow.
pub fn count(world: &World, word: &str) -> usize {
    flow(world).iter().filter(|found| *found == word).count()
}

/// The messages of this word, as bytes.
pub fn all(world: &World, word: &str) -> Vec<Bytes> {
    let lines = world.tape().lines();
    flow(world)
        .iter()
        .zip(lines)
        .filter(|(found, _)| *found == word)
        .map(|(_, line)| line.bytes.clone())
        .collect()
}

/// The first message of this word.
#[track_caller]
pub fn first(world: &World, word: &str) -> Bytes {
    all(world, word).into_iter().next().unwrap_or_else(|| panic!("no `{word}`:\n{}", world.ladder(None)))
}

/// When the messages of this word were sent, in milliseconds.
pub fn times(world: &World, word: &str) -> Vec<u64> {
    let lines = world.tape().lines();
    let found = flow(world).into_iter().zip(lines).filter(|(found, _)| found == word);
    found.map(|(_, line)| line.at.as_micros() / 1000).collect()
}

/// A header's value as text; empty when it is not there.
pub fn header(bytes: &Bytes, name: Name) -> String {
    let message = Message::parse(bytes).expect("a message");
    message.first(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// The body as text.
pub fn body(bytes: &Bytes) -> String {
    String::from_utf8_lossy(Message::parse(bytes).expect("a message").body()).into_owned()
}

/// The tag of To.
pub fn to_tag(bytes: &Bytes) -> String {
    let message = Message::parse(bytes).expect("a message");
    String::from_utf8_lossy(message.to().expect("To").tag().unwrap_or_default()).into_owned()
}

/// The port of the first m= line.
pub fn port(bytes: &Bytes) -> u16 {
    let body = body(bytes);
    let line = body.lines().find_map(|line| line.strip_prefix("m=audio ")).expect("an m= line");
    line.split(' ').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// A message with one part of its text changed.
pub fn changed(bytes: &Bytes, from: &str, to: &str) -> Bytes {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    assert!(text.contains(from), "{from:?} is not in {text}");
    Bytes::from(text.replace(from, to))
}

/// The CANCEL of the caller's INVITE, as a phone would write it.
pub fn cancel_of(invite: &Bytes) -> Bytes {
    let text = String::from_utf8(invite.to_vec()).expect("text");
    let head = text.split("\r\n\r\n").next().expect("a head");
    let kept = head.lines().filter(|line| {
        ["INVITE", "Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    let text: String = kept.map(|line| format!("{}\r\n", line.replace("INVITE", "CANCEL"))).collect();
    Bytes::from(format!("{text}Content-Length: 0\r\n\r\n"))
}

/// Where caller 0 is.
pub fn caller() -> std::net::SocketAddr {
    caller_address(0)
}
