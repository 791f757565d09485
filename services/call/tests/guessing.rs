//! Who guesses names and passwords learns from neither the answers nor the work that they make which names there are. Alone
//! in its binary, because it counts every allocation of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

#[path = "wire/harness/mod.rs"]
mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use call::{EventKind, Flow, Input, ListenerId, Output, RegistrarPolicy, User};
use harness::World;

struct Counting;

thread_local! {
    /// How often this thread asked for memory, and for how much.
    static ASKED: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (times, octets) = ASKED.get();
        ASKED.set((times + 1, octets + layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const GUESSER: &str = "203.0.113.9:5060";

fn world() -> World {
    let user = |n: usize| User { name: format!("user{n:03}"), password: format!("secret{n}") };
    World::with(RegistrarPolicy::Users((0..200).map(user).collect()), |_| {})
}

/// What a guesser sends: names and numbers of the same length each, whatever the name.
fn guess(method: &str, name: &str, number: usize, nonce: &str) -> String {
    let proof = format!(
        "Digest username=\"{name}\", realm=\"drawbridge\", nonce=\"{nonce}\", uri=\"sip:192.0.2.1\", qop=auth, \
         nc=00000001, cnonce=\"c\", response=\"00000000000000000000000000000000\""
    );
    format!(
        "{method} sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {GUESSER};branch=z9hG4bK{number:04};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{name}@192.0.2.1>;tag=g\r\nTo: <sip:{name}@192.0.2.1>\r\n\
         Call-ID: {number:04}\r\nCSeq: 1 {method}\r\nContact: <sip:{name}@{GUESSER}>\r\n\
         Authorization: {proof}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What came of a guess: the answers, without what is of this guess alone, how often they were noted, and what was asked of
/// the allocator.
fn outcome(world: &mut World, text: &str, name: &str) -> (Vec<String>, usize, (u64, usize)) {
    let flow = Flow { listener: ListenerId(0), remote: GUESSER.parse().unwrap(), connection: 0 };
    let before = ASKED.get();
    world.core.handle(Input::Message { flow, bytes: text.as_bytes() }, world.now);
    let after = ASKED.get();
    let (mut answers, mut noted) = (Vec::new(), 0);
    while let Some(output) = world.core.poll_output() {
        match output {
            Output::Send { bytes, .. } => answers.push(answer(&bytes, name)),
            Output::Event(event) if matches!(event.kind, EventKind::Refused { .. }) => noted += 1,
            other => panic!("{other:?}"),
        }
    }
    (answers, noted, (after.0 - before.0, after.1 - before.1))
}

fn answer(bytes: &Bytes, name: &str) -> String {
    let text = std::str::from_utf8(bytes).unwrap().replace(name, "NAME");
    let of_all = |line: &&str| !["Via", "Call-ID", "To"].iter().any(|own| line.starts_with(own));
    let length = text.len();
    let head: String = text.lines().filter(of_all).map(|line| format!("{line}\n")).collect();
    let nonce = head.split_once("nonce=\"").unwrap().1.split('"').next().unwrap().to_owned();
    format!("{length} {}", head.replace(&nonce, "NONCE"))
}

#[test]
fn a_name_that_exists_and_one_that_does_not_are_answered_alike_with_as_much_work() {
    let mut world = world();
    let mut nonce = String::new();
    for round in 0..2 {
        for method in ["REGISTER", "INVITE", "MESSAGE"] {
            for number in 0..150 {
                // One after the other as the same request but for the name: a tag with a leading zero is made otherwise.
                let mut told = ["user", "none"].map(|kind| {
                    let name = format!("{kind}{number:03}");
                    outcome(&mut world, &guess(method, &name, number + 1_000 * round, &nonce), &name)
                });
                // What grows now and then, the queues, has grown after a few.
                if number < 20 {
                    told.iter_mut().for_each(|told| told.2 = (0, 0));
                }
                let [there, not_there] = told;
                assert!(there.0[0].contains("SIP/2.0 401 "), "{:?}", there.0);
                assert_eq!((there.0.len(), there.1), (1, 1), "one answer, noted once");
                assert_eq!(there, not_there, "{method}, nonce {nonce:?}");
            }
        }
        // In the second round with a nonce that was really given.
        let text = guess("REGISTER", "user000", 9_000, "");
        let flow = Flow { listener: ListenerId(0), remote: GUESSER.parse().unwrap(), connection: 0 };
        world.core.handle(Input::Message { flow, bytes: text.as_bytes() }, world.now);
        while let Some(output) = world.core.poll_output() {
            if let Output::Send { bytes, .. } = output {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                nonce = text.split_once("nonce=\"").unwrap().1.split('"').next().unwrap().to_owned();
            }
        }
    }
}
