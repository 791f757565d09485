//! The Core alone, without sockets: calls per second and allocations per call of an ordinary call (INVITE, 100, 180,
//! 200, ACK, BYE, 200 on both legs), with the bytes of real requests and responses read and written.
//!
//! `cargo bench -p call` prints one line. The time is this machine's; the allocations are the same everywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_types)]

#[path = "../tests/wire/harness/mod.rs"]
mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use call::{Core, Flow, Input, ListenerId, MediaOrder, MediaReport, Now, Output, PortPair, StreamPorts};
use harness::{ANSWER, BOX, CALLEE, CALLER, OFFER};
use routing::Query;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed to the system allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CALLS: u32 = 100_000;

/// What the test itself spends is taken off: messages are built outside the measured spans.
struct Meter {
    core: Core,
    now: Now,
    spent: Duration,
    allocations: u64,
    sent: Vec<bytes::Bytes>,
    port: u16,
}

impl Meter {
    fn receive(&mut self, from: &str, text: &str) {
        let flow = Flow { listener: ListenerId(0), remote: from.parse().unwrap(), connection: 0 };
        self.sent.clear();
        let (began, before) = (Instant::now(), ALLOCATIONS.load(Ordering::Relaxed));
        self.core.handle(Input::Message { flow, bytes: text.as_bytes() }, self.now);
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { bytes, .. } => self.sent.push(bytes),
                Output::Route(query) => {
                    let decision = query.snapshot.decide(&Query {
                        trunk: query.trunk,
                        source: query.source,
                        caller: &query.caller,
                        uri: &query.uri,
                        local_user: query.local_user,
                    });
                    self.core.handle(Input::Routed { query: query.query, decision }, self.now);
                }
                Output::Media(MediaOrder::Open { session, .. }) => {
                    self.port = self.port % 20_000 + 4;
                    let pair = PortPair { rtp: 30_000 + self.port, rtcp: 30_001 + self.port };
                    let report = MediaReport::Opened {
                        session,
                        addresses: std::net::IpAddr::from([192, 0, 2, 1]).into(),
                        streams: [StreamPorts { a: pair, b: pair }].into_iter().collect(),
                    };
                    self.core.handle(Input::Media(report), self.now);
                }
                Output::Media(MediaOrder::Close { session }) => {
                    let (from_a, from_b) = Default::default();
                    self.core.handle(Input::Media(MediaReport::Closed { session, from_a, from_b }), self.now);
                }
                _ => {}
            }
        }
        self.spent += began.elapsed();
        self.allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
    }

    /// Two milliseconds pass: 500 calls a second, so that timers and transactions stand as they do under load.
    fn pass(&mut self) {
        self.now.time = self.now.time + Duration::from_millis(2);
        let (began, before) = (Instant::now(), ALLOCATIONS.load(Ordering::Relaxed));
        self.core.handle_timeout(self.now);
        while self.core.poll_output().is_some() {}
        self.spent += began.elapsed();
        self.allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
    }

    fn line(&self, start: &str, name: &str) -> String {
        let prefix = format!("{name}: ");
        self.sent
            .iter()
            .map(|bytes| std::str::from_utf8(bytes).unwrap())
            .find(|text| text.starts_with(start))
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix(&prefix)))
            .unwrap_or_else(|| panic!("no {name} in a {start}"))
            .to_owned()
    }
}

fn main() {
    let world = harness::World::new();
    let mut meter = Meter {
        core: world.core,
        now: world.now,
        spent: Duration::ZERO,
        allocations: 0,
        sent: Vec::new(),
        port: 0,
    };
    for number in 0..CALLS {
        if number == CALLS / 4 {
            // Tables and slabs have grown to what they need.
            (meter.spent, meter.allocations) = (Duration::ZERO, 0);
        }
        one_call(&mut meter, number);
    }
    let measured = f64::from(CALLS - CALLS / 4);
    println!(
        "core: {:.0} calls/s, {:.2} µs and {:.1} allocations per call, {} transactions standing",
        measured / meter.spent.as_secs_f64(),
        meter.spent.as_secs_f64() * 1e6 / measured,
        meter.allocations as f64 / measured,
        meter.core.stats().transactions,
    );
}

fn one_call(meter: &mut Meter, number: u32) {
    let request = |method: &str, cseq: u32, to: &str, body: &str| {
        format!(
            "{method} sip:49{number}@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK-{method}-{number}\r\n\
             From: sipp <sip:alice@10.1.1.1>;tag={number}\r\nTo: {to}\r\nCall-ID: {number}-1@10.1.1.1\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:alice@{CALLER}>\r\nMax-Forwards: 70\r\nSubject: Performance Test\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let offer = OFFER.replace('\n', "\r\n");
    let answer = ANSWER.replace('\n', "\r\n");
    meter.receive(CALLER, &request("INVITE", 1, &format!("<sip:49{number}@{BOX}>"), &offer));
    let names = ["Via", "From", "To", "Call-ID"];
    let [via, from, to, id] = names.map(|name| meter.line("INVITE", name));
    let reply = |line: &str, cseq: &str, via: &str, body: &str| {
        format!(
            "SIP/2.0 {line}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag=b{number}\r\nCall-ID: {id}\r\nCSeq: {cseq}\r\n\
             Contact: <sip:bob@{CALLEE}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    meter.receive(CALLEE, &reply("180 Ringing", "1 INVITE", &via, ""));
    meter.receive(CALLEE, &reply("200 OK", "1 INVITE", &via, &answer));
    let dialog = meter.line("SIP/2.0 200", "To");
    meter.receive(CALLER, &request("ACK", 1, &dialog, ""));
    meter.receive(CALLER, &request("BYE", 2, &dialog, ""));
    let via = meter.line("BYE", "Via");
    meter.receive(CALLEE, &reply("200 OK", "2 BYE", &via, ""));
    meter.pass();
}
