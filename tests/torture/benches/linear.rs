//! What a message costs to read, in instructions of the processor: no header, however it is written, may cost more than
//! three times as much for each byte as those of an ordinary message do.
//!
//! Instructions are counted by valgrind's cachegrind, which runs this program again for each message, so the figures are
//! the same on a busy machine as on an idle one; they are those of the release build, because the ratio of two things
//! that are not optimised says nothing. It fails when something is too dear, and where nothing can be counted: it is part of
//! `make test`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use sip::{Address, Message, Name, Sdp, Uri, Via, call_id_of};

/// How much more a byte of anything may cost.
const MOST: f64 = 3.0;

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

/// What a router reads of a message.
fn read(bytes: &[u8]) {
    black_box(call_id_of(bytes));
    let Ok(message) = Message::parse(bytes) else { return };
    black_box(message.check().is_ok());
    for name in [Name::Via, Name::Route, Name::RecordRoute, Name::Contact] {
        for element in message.elements(name).take(sip::MAX_LIST) {
            match name {
                Name::Via => drop(black_box(Via::parse(element))),
                _ => drop(black_box(Address::parse(element).and_then(|address| address.parsed_uri()))),
            }
        }
    }
    for name in [Name::Supported, Name::Require, Name::Allow, Name::UserAgent, Name::Accept] {
        black_box(message.token_list(name).map(<[u8]>::len).sum::<usize>());
    }
    black_box(message.request_uri().map(Uri::parse).is_some());
    black_box(message.other(b"X-None"));
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

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn worst_cases() -> Vec<(&'static str, Vec<u8>)> {
    let many_headers =
        (0..110).map(|number| format!("X-{number}: {}\n", "v".repeat(560))).collect::<String>();
    vec![
        ("many Via", filled("Via", "", "SIP/2.0/UDP a;branch=z9hG4bK1,", "SIP/2.0/UDP b")),
        ("Via parameters", filled("Via", "SIP/2.0/UDP a", ";a=b", "")),
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

fn main() {
    // Run again under valgrind: read what is in this file, or do not.
    if let [_, task, file] = &std::env::args().collect::<Vec<_>>()[..] {
        let bytes = std::fs::read(file).unwrap();
        match &**task {
            "message" => read(&bytes),
            "description" => read_description(&bytes),
            _ => {}
        }
        return;
    }
    let folder = std::env::temp_dir().join(format!("drawbridge-linear-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let outcome = compare(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    match outcome {
        None => panic!("valgrind did not count anything: is it installed?"),
        Some(dear) => {
            assert!(dear.is_empty(), "more than {MOST} times as dear as an ordinary one: {dear:?}");
        }
    }
}

/// What costs too much; `None` where nothing can be counted.
fn compare(folder: &Path) -> Option<Vec<&'static str>> {
    let ordinary = crlf(ORDINARY);
    assert_eq!(ordinary.len(), 961, "the INVITE of the benchmark");
    let body = ordinary[ordinary.len() - 272..].to_vec();
    let mut dear = Vec::new();
    for (task, usual, worst) in [("message", ordinary, worst_cases()), ("description", body, descriptions())]
    {
        let file = folder.join("bytes");
        std::fs::write(&file, &usual).unwrap();
        let nothing = instructions("nothing", &file)?;
        let cost = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            let extra = instructions(task, &file)?.saturating_sub(nothing);
            Some(extra as f64 / bytes.len() as f64)
        };
        let usual = cost(&usual)?;
        println!("an ordinary {task}: {usual:.2} instructions a byte");
        for (what, bytes) in worst {
            let cost = cost(&bytes)?;
            println!("{what}: {} bytes, {cost:.2} a byte, {:.2} times", bytes.len(), cost / usual);
            if cost > MOST * usual {
                dear.push(what);
            }
        }
    }
    Some(dear)
}

/// How many instructions this program takes for a task, from its start to its end.
fn instructions(task: &str, file: &Path) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .arg(task)
        .arg(file)
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr);
    let line = report.lines().find(|line| line.contains("I ") && line.contains("refs:"))?;
    line.rsplit(':').next()?.trim().replace(',', "").parse().ok()
}
