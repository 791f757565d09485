//! Reading a message allocates nothing. Alone in its binary, because it counts every allocation of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use sip::{Message, Name, call_id_of};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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

const INVITE: &[u8] = b"INVITE sip:+14155550123@gw.example.net:5060;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1---a1b2c3d4;rport, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK2\r\n\
    Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@pbx.example.com>;tag=9fx\r\nTo: <sip:+14155550123@gw.example.net>\r\n\
    Call-ID: 3848276298220188511@pbx.example.com\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.10:5060>\r\n\
    Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\nSupported: replaces, 100rel, timer\r\nX-Odd:\r\n folded\r\n\
    Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";

#[test]
fn indexing_checking_and_viewing_allocate_nothing() {
    // What the test harness itself allocates meanwhile is over after a few rounds; a reader that allocated would do
    // so in each.
    let fewest = (0..20)
        .map(|_| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            read(black_box(INVITE));
            ALLOCATIONS.load(Ordering::Relaxed) - before
        })
        .min();
    assert_eq!(fewest, Some(0));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(black_box(vec![1_u8]));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before, "the counter counts");
}

fn read(bytes: &[u8]) {
    let message = Message::parse(bytes).unwrap();
    message.check().unwrap();
    assert_eq!(call_id_of(bytes), message.call_id().ok());
    assert_eq!(message.elements(Name::Via).count(), 2);
    assert!(message.via().unwrap().has_magic_cookie());
    assert!(message.contact().unwrap().unwrap().parsed_uri().unwrap().host_ip().is_some());
    assert!(message.token_list(Name::Supported).any(|token| token == b"100rel"));
    black_box(message.headers().map(|header| header.value.len()).sum::<usize>());
}
