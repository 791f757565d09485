//! What a message costs to read, in instructions of the processor: no header, however it is written, may cost more than
//! three times as much for each byte as those of an ordinary message do.
//!
//! Instructions are counted by valgrind's callgrind, under which this program runs once more and reads one message after
//! the other, so the figures are the same on a busy machine as on an idle one; they are those of the release build, because
//! the ratio of two things that are not optimised says nothing. It fails when something is too dear, and where nothing can
//! be counted: it is part of `make test`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use sip::{
    Address, Authorization, CSeq, Challenge, Message, Name, Params, RAck, Reason, Replaces, Sdp,
    SessionExpires, Uri, Via, call_id_of,
};

/// How much more a byte of anything may cost.
const MOST: f64 = 3.0;

/// The argument with which this program runs under valgrind.
const UNDER_VALGRIND: &str = "under-valgrind";

const ORDINARY: &str = "INVITE sip:+14155550123@gw.example.net:5060;user=phone SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-524287-1---a1b2c3d4e5f60718;rport
Max-Forwards: 70
Contact: <sip:alice@192.0.2.10:5060;transport=udp>
To: <sip:+14155550123@gw.example.net;user=phone>
From: \"Alice Liddell\" <sip:alice@pbx.example.com>;tag=9fxced76sl
Call-ID: 3848276298220188511@pbx.example.com
CSeq: 1 INVITE
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, UPDATE, PRACK
Supported: replaces, 100rel, timer
User-Agent: Example 4.2.1
P-Asserted-Identity: <sip:alice@pbx.example.com>
Session-Expires: 1800;refresher=uac
Min-SE: 90
Content-Type: application/sdp
Content-Length: 272

v=0
o=- 1545997027 1 IN IP4 192.0.2.10
s=-
c=IN IP4 192.0.2.10
t=0 0
m=audio 49170 RTP/AVP 0 8 18 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=sendrecv
";

const HEAD: &str = "INVITE sip:a@b SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1
From: <sip:a@b>;tag=1
To: <sip:a@b>
Call-ID: 1@b
CSeq: 1 INVITE
";

/// A message read in full: all that is looked at before it is acted upon, and each header by the reader of its kind.
fn read_message(bytes: &[u8]) {
    black_box(call_id_of(bytes));
    let Ok(message) = Message::parse(bytes) else { return };
    black_box(message.check().is_ok());
    for name in Name::KNOWN.iter().filter(|name| message.has(**name)) {
        read_header(&message, *name);
    }
    black_box(message.request_uri().map(Uri::parse).is_some());
    black_box(message.other(b"X-None"));
    black_box(message.multipart().is_some_and(|parts| parts.is_ok()));
}

fn read_header(message: &Message<'_>, name: Name) {
    let elements = || message.elements(name).take(sip::MAX_LIST);
    let values = || message.values(name);
    match name {
        Name::Via => each(elements(), Via::parse),
        Name::From
        | Name::To
        | Name::Contact
        | Name::Route
        | Name::RecordRoute
        | Name::ReferTo
        | Name::ReferredBy
        | Name::Path
        | Name::ServiceRoute
        | Name::PAssertedIdentity
        | Name::PPreferredIdentity
        | Name::RemotePartyId
        | Name::Diversion
        | Name::HistoryInfo => {
            each(elements(), |element| Address::parse(element).and_then(|address| address.parsed_uri()))
        }
        Name::Supported
        | Name::Require
        | Name::ProxyRequire
        | Name::Unsupported
        | Name::Allow
        | Name::AllowEvents
        | Name::Accept
        | Name::AcceptEncoding
        | Name::AcceptLanguage
        | Name::Privacy
        | Name::UserAgent
        | Name::Server => each(message.token_list(name), <[u8]>::len),
        Name::Reason => each(elements(), Reason::parse),
        Name::CSeq => each(values(), CSeq::parse),
        Name::RAck => each(values(), RAck::parse),
        Name::SessionExpires | Name::MinSe => each(values(), SessionExpires::parse),
        Name::Replaces => each(values(), Replaces::parse),
        Name::Authorization | Name::ProxyAuthorization => each(values(), Authorization::parse),
        Name::WwwAuthenticate | Name::ProxyAuthenticate | Name::AuthenticationInfo => {
            each(values(), Challenge::parse)
        }
        Name::ContentType
        | Name::ContentDisposition
        | Name::Event
        | Name::SubscriptionState
        | Name::RetryAfter
        | Name::Warning => each(values(), |value| Params::split(value).1.is_well_formed()),
        Name::CallId
        | Name::MaxForwards
        | Name::ContentLength
        | Name::ContentEncoding
        | Name::Expires
        | Name::MinExpires
        | Name::RSeq
        | Name::Date
        | Name::Timestamp
        | Name::MimeVersion
        | Name::Organization
        | Name::Subject
        | Name::Other => each(message.first(name).into_iter(), <[u8]>::len),
    }
}

fn each<'a, T>(values: impl Iterator<Item = &'a [u8]>, read: impl Fn(&'a [u8]) -> T) {
    for value in values {
        black_box(read(value));
    }
}

/// What a relay reads of a description.
fn read_description(body: &[u8]) {
    black_box(Sdp::parse(body).is_ok());
}

/// As many lines of this header as make about 64 KB, each filled with this unit.
fn filled(name: &str, before: &str, unit: &str, after: &str) -> Vec<u8> {
    const LINE: usize = 16_000;
    let units = (LINE - name.len() - before.len() - after.len()) / unit.len();
    let line = format!("{name}: {before}{}{after}\n", unit.repeat(units));
    let lines = (64_000 - HEAD.len()) / line.len();
    crlf(&format!("{HEAD}{}Content-Length: 0\n\n", line.repeat(lines)))
}

/// A message with this body of parts.
fn multipart(body: &str) -> Vec<u8> {
    let body = crlf(body);
    let head = format!("{HEAD}Content-Type: multipart/mixed;boundary=b\nContent-Length: {}\n\n", body.len());
    [crlf(&head), body].concat()
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// Each header filled with what a reader could stumble over, whatever its own is.
fn of_every_header() -> impl Iterator<Item = (String, Vec<u8>)> {
    const UNITS: [(&str, &str); 4] =
        [("commas", ","), ("parameters", ";a=b"), ("open quotes", "\""), ("escapes", "\"\\\\")];
    // Without a length there is nothing to read.
    let names = Name::KNOWN.iter().filter(|name| **name != Name::ContentLength).map(|name| name.as_str());
    names
        .flat_map(|name| UNITS.map(|(what, unit)| (format!("{name} of {what}"), filled(name, "a", unit, ""))))
}

fn worst_cases() -> Vec<(&'static str, Vec<u8>)> {
    let many_headers =
        (0..110).map(|number| format!("X-{number}: {}\n", "v".repeat(560))).collect::<String>();
    vec![
        ("many Via", filled("Via", "", "SIP/2.0/UDP a;branch=z9hG4bK1,", "SIP/2.0/UDP b")),
        ("Via parameters", filled("Via", "SIP/2.0/UDP a", ";a=b", "")),
        // As many as are read: a value with more has been given up by then.
        (
            "Via parameters that are read",
            filled("Via", "", &format!("SIP/2.0/UDP a{},", ";a=b".repeat(120)), "SIP/2.0/UDP b"),
        ),
        (
            "Contact parameters that are read",
            filled("Contact", "", &format!("<sip:a@b>{},", ";a".repeat(120)), "<sip:a@b>"),
        ),
        ("parts", multipart(&"--b\n\n".repeat(8_000))),
        (
            "parts with headers",
            multipart(&format!("--b\nContent-Type: text/plain\n{}\n\nx\n", "X: y\n".repeat(50)).repeat(150)),
        ),
        ("parts of parts", multipart(&"--b\nContent-Type: multipart/mixed;boundary=b\n\n".repeat(1_200))),
        ("what is nearly a boundary", multipart(&"--".repeat(30_000))),
        ("lines that are nearly boundaries", multipart(&"--\n".repeat(15_000))),
        ("Route a;x,a;x", filled("Route", "", "a;x,", "a")),
        ("Route addresses", filled("Route", "", "<sip:a@b;lr>,", "<sip:a@b;lr>")),
        ("Record-Route of commas", filled("Record-Route", "", ",", "<sip:a@b>")),
        ("Contact parameters", filled("Contact", "<sip:a@b>", ";a", "")),
        ("Contact quotes", filled("Contact", "\"", "\\\"", "\" <sip:a@b>")),
        ("open quotes", filled("Contact", "", "\"", "")),
        ("open brackets", filled("Route", "", "<", "")),
        ("nested comments", filled("User-Agent", "", "(", "")),
        ("comments", filled("User-Agent", "", "(a)", "")),
        ("closed comments", filled("Server", &"(".repeat(7_000), ")", "")),
        ("tokens", filled("Supported", "", "a,", "a")),
        ("blanks between tokens", filled("Supported", "", " ,", "a")),
        ("long URI", filled("Contact", "<sip:", "a", "@b>")),
        ("URI parameters", filled("Contact", "<sip:a@b", ";a=b", ">")),
        ("URI escapes", filled("Contact", "<sip:", "%41", "@b>")),
        ("colons", filled("Contact", "<sip:a@[", ":", "]>")),
        ("folds", filled("X-Fold", "a", "\n ", "a")),
        ("folded tokens", filled("Allow", "a", ",\n a", "")),
        ("many headers", crlf(&format!("{HEAD}{many_headers}\n"))),
        ("lines that are no headers", crlf(&format!("{HEAD}{}", "x".repeat(60_000)))),
        ("long Request-URI", crlf(&HEAD.replacen("sip:a@b", &format!("sip:{}@b", "a;".repeat(30_000)), 1))),
        ("line ends before it", [b"\r\n".repeat(30_000), crlf(HEAD)].concat()),
    ]
}

fn descriptions() -> Vec<(&'static str, Vec<u8>)> {
    let head = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 9 RTP/AVP 0\n";
    let filled =
        |unit: &str, most: usize| crlf(&format!("{head}{}", unit.repeat((60_000 / unit.len()).min(most))));
    vec![
        ("attributes", filled(&format!("a={}\n", "x".repeat(28)), 2_000)),
        ("short lines", filled("a=\n", 2_000)),
        ("one line", filled("a=", usize::MAX)),
        ("empty lines", filled("\n", 2_000)),
        ("formats", crlf(&format!("{head}m=audio 9 RTP/AVP{}\n", " 0".repeat(30_000)))),
        ("colons", crlf(&format!("{head}a={}\n", ":".repeat(60_000)))),
        ("blanks", crlf(&format!("{head}c={}\n", " ".repeat(60_000)))),
    ]
}

/// What is read, and by whom.
struct Case {
    what: String,
    bytes: Vec<u8>,
    read: fn(&[u8]),
}

/// All of them, those first that the others of their kind are held against.
fn kinds() -> [Vec<Case>; 2] {
    let message = crlf(ORDINARY);
    assert_eq!(message.len(), 961, "the INVITE of the benchmark");
    let description = message[message.len() - 272..].to_vec();
    let named = |(what, bytes): (&str, Vec<u8>)| (what.to_owned(), bytes);
    let messages = worst_cases().into_iter().map(named).chain(of_every_header());
    let messages = [("an ordinary message".to_owned(), message)].into_iter().chain(messages);
    let descriptions =
        [("an ordinary description", description)].into_iter().chain(descriptions()).map(named);
    [
        messages.map(|(what, bytes)| Case { what, bytes, read: read_message }).collect(),
        descriptions.map(|(what, bytes)| Case { what, bytes, read: read_description }).collect(),
    ]
}

/// The function whose instructions are counted: callgrind is told its name.
#[inline(never)]
fn counted(case: &Case) {
    (case.read)(&case.bytes);
}

fn main() {
    let kinds = kinds();
    if std::env::args().any(|argument| argument == UNDER_VALGRIND) {
        kinds.iter().flatten().for_each(counted);
        return;
    }
    let folder = std::env::temp_dir().join(format!("drawbridge-linear-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let counts = count(&folder, kinds.iter().map(Vec::len).sum());
    std::fs::remove_dir_all(&folder).unwrap();
    let mut counts = counts.into_iter();
    let mut dear = Vec::new();
    for cases in &kinds {
        let mut usual = None;
        for case in cases {
            let cost = counts.next().unwrap() as f64 / case.bytes.len() as f64;
            let usual = *usual.get_or_insert(cost);
            println!(
                "{}: {} bytes, {cost:.2} a byte, {:.2} times",
                case.what,
                case.bytes.len(),
                cost / usual
            );
            if cost > MOST * usual {
                dear.push(&case.what);
            }
        }
    }
    assert!(dear.is_empty(), "more than {MOST} times as dear as an ordinary one: {dear:?}");
}

/// How many instructions each call of [`counted`] takes.
fn count(folder: &Path, cases: usize) -> Vec<u64> {
    let counts = folder.join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=linear::counted", "--dump-after=linear::counted"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe().unwrap())
        .arg(UNDER_VALGRIND)
        .output()
        .expect("valgrind counts the instructions: is it installed?");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (1..=cases).map(|case| total(&counts.with_extension(case.to_string()))).collect()
}

/// The instructions in one of callgrind's reports.
fn total(report: &Path) -> u64 {
    let text = std::fs::read_to_string(report).expect("a report for each case");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a line with the total");
    total.trim().parse().unwrap()
}
