//! What grows with the square of its input in rsip 0.4.0 and sdp-rs 0.2.1, and with the input itself here: measured by the
//! octets that are allocated, which no busy machine changes. A failure of a part about theirs says that upstream has mended it. Alone in its binary, because it counts for the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use rsip::prelude::*;
use sip::{Address, Message, Name, Sdp};

struct Counting;

static OCTETS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        OCTETS.fetch_add(layout.size(), Ordering::Relaxed);
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

/// How many times as much is allocated for eight times as much to read.
fn growth(read: impl Fn(usize)) -> f64 {
    let allocated = |size| {
        let before = OCTETS.load(Ordering::Relaxed);
        read(size);
        (OCTETS.load(Ordering::Relaxed) - before).max(1) as f64
    };
    let small = allocated(2_000);
    allocated(16_000) / small
}

/// One test, since all threads allocate from the same counter.
#[test]
fn what_is_linear_here_grows_with_the_square_there() {
    // 60 KB of this take rsip the better part of a second.
    let routes = |size: usize| "a;x,".repeat(size / 4) + "a";
    let theirs = growth(|size| drop(black_box(rsip::headers::RecordRoute::new(routes(size)).typed())));
    let ours = growth(|size| {
        let text = format!("OPTIONS sip:a SIP/2.0\r\nRecord-Route: {}\r\n\r\n", routes(size));
        let message = Message::parse(text.as_bytes()).unwrap();
        let read = message.elements(Name::RecordRoute).filter(|element| Address::parse(element).is_ok());
        assert_eq!(read.count(), size / 4 + 1);
    });
    assert!(theirs > 20.0 && ours < 9.0, "Record-Route: theirs {theirs:.1}, ours {ours:.1}");

    let head = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\n";
    let lines = |size: usize| head.to_owned() + &"a=x\n".repeat(size / 4);
    let theirs = growth(|size| drop(black_box(sdp_rs::SessionDescription::try_from(&*lines(size)))));
    let ours = growth(|size| drop(black_box(Sdp::parse(lines(size).as_bytes()))));
    assert!(theirs > 20.0 && ours < 9.0, "lines that end in LF alone: theirs {theirs:.1}, ours {ours:.1}");
}
