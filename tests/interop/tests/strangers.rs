//! Those who were not invited: the scanners of SIPVicious, guesses, and floods, beside a trunk that has calls to make.
//!
//! `DRAWBRIDGE_RUBBISH` (datagrams a second), `DRAWBRIDGE_CALLS` and `DRAWBRIDGE_RATE` set the figures of the flood; `make
//! bench-flood` runs it with the release build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use interop::{Drawbridge, Place, Process, Sipp, Wire, from_environment, to_the_carrier, until};

const SCANNER: u8 = 77;

/// Loopback is taken off the list, so that the addresses of the test are strangers as others are.
const GUARD: &str = "[guard]\nexempt = []\n";

/// Runs a program of SIPVicious to its end; what it said. svmap sends from the scanner's address; the others pay no heed to
/// `-b` and send from 127.0.0.1, which is as much of a stranger here.
fn sipvicious(place: &Place, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let scanner = place.ip(SCANNER).to_string();
    // What it keeps between runs belongs to the test.
    command.env("HOME", place.folder()).args(["-b", &scanner, "-x", &scanner]).args(arguments);
    let mut process = Process::start(program, command, place.folder());
    let status = process.wait(Duration::from_secs(60));
    let said = process.output();
    assert!(!said.contains("Traceback"), "{program} fails by itself ({status}):\n{said}");
    said
}

fn bans(drawbridge: &Drawbridge) -> Vec<(String, String)> {
    let listed = drawbridge.ask("GET", "/v1/bans").json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    listed["bans"].as_array().unwrap().iter().map(|ban| (text(&ban["ip"]), text(&ban["reason"]))).collect()
}

fn lift(drawbridge: &Drawbridge, host: &str) {
    assert_eq!(drawbridge.ask("DELETE", &format!("/v1/bans/{host}")).status, 204, "{}", drawbridge.log());
}

#[test]
fn sipvicious_learns_nothing_and_is_banned_while_a_trunk_goes_on_calling() {
    let place = Place::new("sipvicious");
    let users =
        "[[user]]\nname = \"100\"\npassword = \"101\"\n\n[[user]]\nname = \"104\"\npassword = \"104\"\n\n";
    let drawbridge = Drawbridge::start(&place, &format!("{users}{}\n{GUARD}", to_the_carrier(&place)));
    let (target, scanner) = (place.ip(Place::BOX).to_string(), place.ip(SCANNER));
    let calls = 150;
    let callee = Sipp::callee("uas.xml", place.ip(Place::B)).calls(calls).start(&place);
    let caller = Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(calls).rate(10);
    let caller = caller.start(&place);

    let banned = || {
        let listed = until("the scanner is banned", Duration::from_secs(5), || bans(&drawbridge).pop());
        assert_eq!(listed.1, "scanner", "{}", drawbridge.log());
        lift(&drawbridge, &listed.0);
        listed.0
    };
    let found = sipvicious(&place, "svmap", &[&target]);
    assert!(!found.contains(&format!("{target}:5060")), "svmap has found the box:\n{found}");
    assert_eq!(banned(), scanner.to_string());
    let found = sipvicious(&place, "svwar", &["-e", "100-199", "--force", "--maximumtime=5", &target]);
    assert!(!found.contains("reqauth") && !found.contains("noauth"), "svwar has found a name:\n{found}");
    banned();
    let found = sipvicious(&place, "svcrack", &["-u", "100", "-r", "100-199", "--maximumtime=5", &target]);
    assert!(!found.contains("Password"), "svcrack has found a password:\n{found}");
    banned();

    caller.finish(Duration::from_secs(90)).assert_clean(calls);
    callee.finish(Duration::from_secs(90)).assert_clean(calls);
    let log = drawbridge.log();
    assert!(
        log.contains(&format!("INFO guard: refused {scanner} for scanner (1 times), banned for 600 s")),
        "{log}"
    );
}

/// The same with a scanner that does not say what it is: then what it does gives it away.
#[test]
fn a_scanner_in_disguise_hears_the_same_of_every_name_until_it_is_banned() {
    let place = Place::new("disguise");
    // One signature that nothing has, in place of the usual ones.
    let configuration = format!(
        "[[scanner]]\nname = \"none\"\nuser_agent = \"^nobody at all$\"\n\n[[user]]\nname = \"100\"\npassword = \"165\"\n\n[[user]]\nname = \"150\"\npassword = \"x\"\n\n{GUARD}"
    );
    let drawbridge = Drawbridge::start(&place, &configuration);
    let (target, scanner) = (place.ip(Place::BOX).to_string(), place.ip(SCANNER));
    // It tells names apart by answers that differ from that to a name of its own invention.
    let found = sipvicious(&place, "svwar", &["-e", "100-199", "--force", "--maximumtime=5", &target]);
    assert!(found.contains("found nothing"), "svwar has found a name:\n{found}");
    let found = sipvicious(&place, "svcrack", &["-u", "100", "-r", "100-199", "--maximumtime=5", &target]);
    assert!(!found.contains("165"), "svcrack has found the password:\n{found}");
    let (cracker, reason) = bans(&drawbridge).pop().expect("a ban");
    assert_eq!(reason, "password");
    // One that goes on where svwar gives up.
    let wire = Wire::new(scanner, place.sip(Place::BOX));
    for name in 100..160 {
        wire.say(&format!(
            "REGISTER sip:{target} SIP/2.0\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{name}\nMax-Forwards: 70\n\
             From: <sip:{name}@{target}>;tag=1\nTo: <sip:{name}@{target}>\nCall-ID: {name}@x\nCSeq: 1 REGISTER\n\
             Contact: <sip:{name}@{local}>\nContent-Length: 0\n\n",
            local = wire.local()
        ));
    }
    let answers = std::iter::from_fn(|| wire.hear(Duration::from_secs(2))).count();
    assert!((25..45).contains(&answers), "{answers} of 60 names were answered");
    assert_eq!(
        bans(&drawbridge),
        [(scanner.to_string(), "names".to_owned()), (cracker, "password".to_owned())]
    );
    let metrics = drawbridge.ask("GET", "/metrics").body;
    assert!(metrics.contains("drawbridge_guard_refused_total{reason=\"password\"} 10\n"), "{metrics}");
    assert!(metrics.contains("drawbridge_guard_bans 2\n"), "{metrics}");
}

/// What differs between two answers besides what must: tags, nonces and what was sent.
fn shape(answer: &str, name: &str) -> String {
    let nonce = answer.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let to_tag =
        answer.lines().find(|line| line.starts_with("To:")).and_then(|line| line.split(";tag=").nth(1));
    answer.replace(name, "NAME").replace(nonce, "NONCE").replace(to_tag.unwrap_or("-"), "TAG")
}

#[test]
fn a_name_that_exists_gets_the_answers_of_one_that_does_not() {
    let place = Place::new("names");
    let users = "[[user]]\nname = \"alice\"\npassword = \"wonderland\"\n\n";
    let drawbridge = Drawbridge::start(&place, users);
    let wire = Wire::new(place.ip(SCANNER), place.sip(Place::BOX));
    let host = place.ip(Place::BOX);
    let credentials = |name: &str, uri: &str| {
        format!(
            "Authorization: Digest username=\"{name}\", realm=\"drawbridge\", nonce=\"00\", uri=\"{uri}\", \
             response=\"00112233445566778899aabbccddeeff\", algorithm=MD5\n"
        )
    };
    for method in ["REGISTER", "INVITE", "OPTIONS", "MESSAGE", "SUBSCRIBE"] {
        for shows_password in [false, true] {
            let answer_to = |name: &str| {
                let uri =
                    if method == "REGISTER" { format!("sip:{host}") } else { format!("sip:{name}@{host}") };
                let extra = if shows_password { credentials(name, &uri) } else { String::new() };
                wire.say(&format!(
                    "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{shows_password}\n\
                     Max-Forwards: 70\nFrom: <sip:{name}@{host}>;tag=1\nTo: <sip:{name}@{host}>\n\
                     Call-ID: {name}@x\nCSeq: 1 {method}\nContact: <sip:{name}@{local}>\n{extra}Content-Length: 0\n\n",
                    local = wire.local()
                ));
                let answer = wire.hear(Duration::from_secs(5)).expect("an answer");
                shape(&answer, name)
            };
            let (known, unknown) = (answer_to("alice"), answer_to("nobdy"));
            assert!(known.starts_with("SIP/2.0 401 "), "{known}");
            assert_eq!(known, unknown);
        }
    }
    drawbridge.stop();
}

/// Sends rubbish until told to stop, in even portions of a millisecond; how much it was.
fn flood(from: Ipv4Addr, to: SocketAddr, rate: u32, stop: &AtomicBool) -> u64 {
    let socket = UdpSocket::bind((from, 5060)).unwrap();
    let kinds: [&[u8]; 3] = [
        b"\xff\xfe\x00 rubbish that is nothing at all, and goes on for a while to have the length of a small message",
        b"INVITE sip:100@box SIP/2.0\r\nVia: SIP/2.0/UDP 1.1.1.1;branch=z9hG4bKx\r\nCall-ID: x\r\n\r\n",
        b"OPTIONS sip:100@box SIP/2.0\r\nVia: SIP/2.0/UDP 1.1.1.1;branch=z9hG4bKx;rport\r\nFrom: <sip:a@b>;tag=1\r\n\
          To: <sip:100@box>\r\nCall-ID: y\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
    ];
    let begin = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = begin.elapsed().as_micros() as u64 * u64::from(rate) / 1_000_000;
        // One that was held up does not catch up with all of it at once.
        let portion = due.min(sent + u64::from(rate / 100).max(1));
        while sent < portion {
            let _ = socket.send_to(kinds[(sent % 3) as usize], to);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
}

#[test]
fn rubbish_from_one_source_costs_a_trunk_nothing() {
    let rubbish = from_environment("DRAWBRIDGE_RUBBISH", 2000);
    let calls = from_environment("DRAWBRIDGE_CALLS", 100);
    let rate = from_environment("DRAWBRIDGE_RATE", 20);
    let place = Place::new("rubbish");
    let mut drawbridge = Drawbridge::start(&place, &format!("{}\n{GUARD}", to_the_carrier(&place)));
    let limit = Duration::from_secs(u64::from(60 + calls / rate));
    let callee = Sipp::callee("uas.xml", place.ip(Place::B)).calls(calls).start(&place);
    let caller = Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(calls).rate(rate);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let begin = Instant::now();
    let (caller, callee) = std::thread::scope(|scope| {
        scope.spawn(|| {
            sent.store(flood(place.ip(SCANNER), place.sip(Place::BOX), rubbish, &stop), Ordering::Relaxed)
        });
        let caller = caller.start(&place).finish(limit);
        let callee = callee.finish(limit);
        stop.store(true, Ordering::Relaxed);
        (caller, callee)
    });
    let took = begin.elapsed();
    caller.assert_clean(calls);
    callee.assert_clean(calls);
    drawbridge.assert_alive();
    assert_eq!(bans(&drawbridge).len(), 1);
    let metrics = drawbridge.metrics();
    let (received, dropped) =
        (metrics.sum("drawbridge_datagrams_in_total"), metrics.sum("drawbridge_guard_refused_total"));
    let sent = sent.into_inner();
    println!(
        "{calls} calls at {rate}/s, none lost, beside {sent} datagrams of rubbish in {took:.1?} ({:.0}/s); the box has \
         received {received} datagrams in all and dropped {dropped}",
        sent as f64 / took.as_secs_f64()
    );
    assert!(
        dropped > sent as f64 * 0.5 && dropped <= received,
        "{sent} sent, {dropped} dropped of {received}"
    );
}
