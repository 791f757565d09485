//! Measures what one INVITE of 961 bytes costs on its way through a reader and a writer: ours, and rsip in the same run.
//!
//! `codec` reads the message, puts the ids of another leg in, keeps what crosses and writes it, a million times by default,
//! in turns; it prints the median of the rounds and the allocations of one pass.

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use bench::arguments::Arguments;
use sip::{Message, Name, Writer};

/// The system's allocator, counted.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

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

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const INVITE: &str = include_str!("invite.sip");

const URI: &str = "sip:+14155550123@198.51.100.7:5060;user=phone";
const VIA: &str = "SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK0000000100000001110181b8295360eb;rport";
const FROM: &str = "\"Alice Liddell\" <sip:alice@203.0.113.7>;tag=000000010000000148bbb08e2d2f1b0c";
const TO: &str = "<sip:+14155550123@198.51.100.7>";
const CALL_ID: &str = "61d79202b21387153d82c2f54a257fc4";
const CONTACT: &str = "<sip:drawbridge@203.0.113.7:5060>";

fn main() -> ExitCode {
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("codec: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    let rounds: usize = arguments.or("rounds", 9)?;
    let passes: u32 = arguments.or("passes", 100_000)?;
    let invite = INVITE.replace('\n', "\r\n").into_bytes();
    ours(&invite).ok_or("our reader refuses the message")?;
    theirs(&invite).ok_or("rsip refuses the message")?;
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_times.push(timed(passes, || drop(black_box(ours(black_box(&invite))))));
        their_times.push(timed(passes / 20, || drop(black_box(theirs(black_box(&invite))))));
    }
    let allocations = |work: &dyn Fn()| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        work();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    let ours_allocate = allocations(&|| drop(black_box(ours(&invite))));
    let theirs_allocate = allocations(&|| drop(black_box(theirs(&invite))));
    println!("bytes {}", invite.len());
    println!("drawbridge {:.3} us, {ours_allocate} allocations (the output is one)", median(our_times));
    println!("rsip {:.3} us, {theirs_allocate} allocations", median(their_times));
    Ok(())
}

/// Microseconds of the processor for one pass.
fn timed(passes: u32, work: impl Fn()) -> f64 {
    let begin = processor_time();
    for _ in 0..passes {
        work();
    }
    (processor_time() - begin) * 1e6 / f64::from(passes)
}

/// Seconds that this thread has had of the processor: others may want it, too.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is there for as long as the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Whether a header is written as it came.
fn crosses(name: Name) -> bool {
    !matches!(
        name,
        Name::Via
            | Name::MaxForwards
            | Name::From
            | Name::To
            | Name::CallId
            | Name::CSeq
            | Name::Contact
            | Name::Allow
            | Name::Supported
            | Name::UserAgent
            | Name::ContentType
            | Name::ContentLength
    )
}

fn ours(bytes: &[u8]) -> Option<bytes::Bytes> {
    let message = Message::parse(bytes).ok()?;
    let hops = message.max_forwards().ok()??;
    let mut writer = Writer::request(b"INVITE", URI.as_bytes());
    writer.header("Via", VIA.as_bytes());
    writer.number("Max-Forwards", u64::from(hops) - 1);
    writer.header("From", FROM.as_bytes()).header("To", TO.as_bytes());
    writer.header("Call-ID", CALL_ID.as_bytes()).header("CSeq", b"1 INVITE");
    writer.header("Contact", CONTACT.as_bytes());
    writer.copy_headers(&message, |header| crosses(header.name));
    Some(writer.body(message.first(Name::ContentType), message.body()))
}

fn theirs(bytes: &[u8]) -> Option<Vec<u8>> {
    use rsip::Header;
    use rsip::headers::{CSeq, CallId, Contact, From, MaxForwards, To, Via};
    use rsip::prelude::UntypedHeader;
    let mut request = rsip::Request::try_from(bytes).ok()?;
    request.uri = rsip::Uri::try_from(URI).ok()?;
    let mut headers = rsip::Headers::default();
    for header in request.headers.iter() {
        headers.push(match header {
            Header::Via(_) => Header::Via(Via::new(VIA)),
            Header::MaxForwards(hops) => {
                let hops: u32 = hops.value().parse().ok()?;
                Header::MaxForwards(MaxForwards::new((hops - 1).to_string()))
            }
            Header::From(_) => Header::From(From::new(FROM)),
            Header::To(_) => Header::To(To::new(TO)),
            Header::CallId(_) => Header::CallId(CallId::new(CALL_ID)),
            Header::CSeq(_) => Header::CSeq(CSeq::new("1 INVITE")),
            Header::Contact(_) => Header::Contact(Contact::new(CONTACT)),
            Header::Allow(_) | Header::Supported(_) | Header::UserAgent(_) => continue,
            other => other.clone(),
        });
    }
    request.headers = headers;
    Some(request.into())
}
