//! How long the answer to a guess takes whose name exists, and to one whose name does not: registrations with a wrong
//! password, by turns, against a Core with a thousand users. `cargo bench -p call --bench guesses` prints the medians and
//! quartiles of both and the ratio of the medians, which should be 1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]
// What is measured here is time.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

#[path = "../tests/wire/harness/mod.rs"]
mod harness;

use std::time::Instant;

use call::{Flow, Input, ListenerId, RegistrarPolicy, User};
use harness::World;

const USERS: usize = 1_000;
const ROUNDS: usize = 200_000;
const GUESSER: &str = "203.0.113.9:5060";

fn guess(name: &str, number: usize) -> String {
    format!(
        "REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {GUESSER};branch=z9hG4bK{number:08};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{name}@192.0.2.1>;tag=g\r\nTo: <sip:{name}@192.0.2.1>\r\n\
         Call-ID: {number:08}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{name}@{GUESSER}>\r\n\
         Authorization: Digest username=\"{name}\", realm=\"drawbridge\", nonce=\"n\", uri=\"sip:192.0.2.1\", \
         qop=auth, nc=00000001, cnonce=\"c\", response=\"00000000000000000000000000000000\"\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn main() {
    // Some passwords are longer than a block of the hash.
    let user = |n: usize| User { name: format!("user{n:04}"), password: "p".repeat(8 + n % 60) };
    let mut world = World::with(RegistrarPolicy::Users((0..USERS).map(user).collect()), |_| {});
    let flow = Flow { listener: ListenerId(0), remote: GUESSER.parse().unwrap(), connection: 0 };
    let mut times = [Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS)];
    for round in 0..2 * ROUNDS {
        let (exists, which) = (round % 2 == 0, round / 2 * 7 % USERS);
        let name = if exists { format!("user{which:04}") } else { format!("none{which:04}") };
        let text = guess(&name, round);
        let began = Instant::now();
        world.core.handle(Input::Message { flow, bytes: text.as_bytes() }, world.now);
        let took = began.elapsed();
        while world.core.poll_output().is_some() {}
        times[usize::from(!exists)].push(took.as_nanos());
    }
    let [there, not_there] = times.map(|mut times| {
        times.sort_unstable();
        [4, 2, 1].map(|part| times[if part == 1 { times.len() * 3 / 4 } else { times.len() / part }])
    });
    println!("quartiles in ns of {ROUNDS} guesses each, {USERS} users");
    println!("the name exists: {there:?}; it does not: {not_there:?}");
    println!("ratio of the medians: {:.3}", there[1] as f64 / not_there[1] as f64);
}
