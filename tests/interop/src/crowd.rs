//! Many short calls, and phones that keep book of what they saw: for what must be true of every call, whoever dies.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::place::Place;

/// How long both talk.
const TALK: Duration = Duration::from_millis(150);

/// Microseconds since 1970.
type Micros = i64;

/// What the caller saw of a call. It is in the book when the box has answered anything at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Its 200 came.
    pub answered: Option<Micros>,
    /// It sent BYE, and that was answered with 200.
    pub ended: Option<Micros>,
}

/// What the phones saw.
#[derive(Debug, Default)]
pub struct Book {
    /// By the caller's Call-ID.
    pub caller: BTreeMap<String, Seen>,
    /// Call-IDs of the INVITEs that the callee got.
    pub callee: Vec<String>,
}

/// A caller at [`Place::A`] and a callee at [`Place::B`], who call each other through the box until they are stopped,
/// whether the box lives or not.
#[derive(Debug)]
pub struct Crowd {
    stop: Arc<AtomicBool>,
    caller: JoinHandle<BTreeMap<String, Seen>>,
    callee: JoinHandle<Vec<String>>,
}

impl Crowd {
    /// So many calls a second.
    pub fn start(place: &Place, rate: u32) -> Crowd {
        let stop = Arc::new(AtomicBool::new(false));
        let (a, b, box_) = (place.sip(Place::A), place.sip(Place::B), place.sip(Place::BOX));
        let (stop_caller, stop_callee) = (Arc::clone(&stop), Arc::clone(&stop));
        // Both are there before the first call: a callee who is not would be told of by ICMP.
        let (called, caller) = (socket(b, box_), Caller::new(a, box_, rate));
        let callee = std::thread::spawn(move || answer(b, &called, &stop_callee));
        let caller = std::thread::spawn(move || caller.run(&stop_caller));
        Crowd { stop, caller, callee }
    }

    /// No call begins from now on; what was seen.
    pub fn stop(self) -> Book {
        self.stop.store(true, Ordering::Relaxed);
        Book { caller: self.caller.join().unwrap(), callee: self.callee.join().unwrap() }
    }
}

struct Caller {
    socket: UdpSocket,
    local: SocketAddr,
    gap: Duration,
    book: BTreeMap<String, Seen>,
    /// When to say BYE, and the BYE.
    talking: Vec<(Instant, String, String)>,
    leaving: BTreeMap<String, Micros>,
}

impl Caller {
    fn new(local: SocketAddr, remote: SocketAddr, rate: u32) -> Caller {
        Caller {
            socket: socket(local, remote),
            local,
            gap: Duration::from_secs(1) / rate,
            book: BTreeMap::new(),
            talking: Vec::new(),
            leaving: BTreeMap::new(),
        }
    }

    fn run(mut self, stop: &AtomicBool) -> BTreeMap<String, Seen> {
        let begin = Instant::now();
        let mut calls = 0;
        let mut quiet_since = Instant::now();
        loop {
            let stopped = stop.load(Ordering::Relaxed);
            if !stopped && begin.elapsed() >= self.gap * calls {
                self.invite(calls);
                calls += 1;
            }
            let mut heard = false;
            while let Some(text) = receive(&self.socket) {
                heard = true;
                self.hear(&text);
            }
            self.hang_up();
            if heard || !stopped {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() > TALK * 4 {
                return self.book;
            }
        }
    }

    fn invite(&self, number: u32) {
        let Caller { local, .. } = self;
        let call_id = format!("{number}-{}@crowd", now());
        let body = description(*local);
        let uri = format!("sip:{number}@box.example");
        self.say(&format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKi{call_id}\r\nMax-Forwards: 70\r\n\
             From: <sip:crowd@{local}>;tag=a{number}\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:crowd@{local}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    fn hear(&mut self, text: &str) {
        let Caller { local, .. } = self;
        let (Some(call_id), Some(cseq)) = (header(text, "Call-ID"), header(text, "CSeq")) else { return };
        if text.starts_with("SIP/2.0 ") {
            self.book.entry(call_id.to_owned()).or_default();
        }
        if !text.starts_with("SIP/2.0 200") {
            return;
        }
        if cseq.ends_with("BYE") {
            let sent = self.leaving.remove(call_id);
            self.book.entry(call_id.to_owned()).or_default().ended = sent;
            return;
        }
        let (Some(from), Some(to), Some(contact)) =
            (header(text, "From"), header(text, "To"), header(text, "Contact"))
        else {
            return;
        };
        let target = contact.trim_start_matches('<').split('>').next().unwrap_or_default();
        let request = |method: &str, number: u32| {
            format!(
                "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{number}{method}{call_id}\r\n\
                 Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\n\
                 Content-Length: 0\r\n\r\n"
            )
        };
        let (ack, bye) = (request("ACK", 1), request("BYE", 2));
        self.say(&ack);
        let seen = self.book.entry(call_id.to_owned()).or_default();
        if seen.answered.is_none() {
            seen.answered = Some(now());
            self.talking.push((Instant::now() + TALK, call_id.to_owned(), bye));
        }
    }

    fn hang_up(&mut self) {
        let due: Vec<_> = self.talking.extract_if(.., |(at, ..)| *at <= Instant::now()).collect();
        for (_, call_id, bye) in due {
            self.leaving.insert(call_id, now());
            self.say(&bye);
        }
    }

    fn say(&self, text: &str) {
        // A box that is dead refuses.
        let _ = self.socket.send(text.as_bytes());
    }
}

/// The callee rings, answers, and is hung up.
fn answer(local: SocketAddr, socket: &UdpSocket, stop: &AtomicBool) -> Vec<String> {
    let mut seen = Vec::new();
    let mut quiet_since = Instant::now();
    loop {
        let Some(text) = receive(socket) else {
            if stop.load(Ordering::Relaxed) && quiet_since.elapsed() > TALK * 4 {
                return seen;
            }
            continue;
        };
        quiet_since = Instant::now();
        let call_id = header(&text, "Call-ID").unwrap_or_default();
        match text.split(' ').next().unwrap_or_default() {
            "INVITE" => {
                if !seen.iter().rev().take(1000).any(|known| known == call_id) {
                    seen.push(call_id.to_owned());
                }
                let body = description(local);
                let _ = socket.send(response(&text, "180 Ringing", local, "").as_bytes());
                let _ = socket.send(response(&text, "200 OK", local, &body).as_bytes());
            }
            "BYE" => {
                let _ = socket.send(response(&text, "200 OK", local, "").as_bytes());
            }
            _ => {}
        }
    }
}

fn response(request: &str, line: &str, local: SocketAddr, body: &str) -> String {
    let copied = |name: &str| header(request, name).unwrap_or_default();
    let (via, from, to) = (copied("Via"), copied("From"), copied("To"));
    let tag = if to.contains(";tag=") { "" } else { ";tag=b" };
    let (call_id, cseq) = (copied("Call-ID"), copied("CSeq"));
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {line}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\
         Contact: <sip:callee@{local}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn description(local: SocketAddr) -> String {
    let ip = local.ip();
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n")
}

fn socket(local: SocketAddr, remote: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(remote).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Option<String> {
    let mut room = [0; 4096];
    let count = socket.recv(&mut room).ok()?;
    Some(String::from_utf8_lossy(room.get(..count)?).into_owned())
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim_end)
}

fn now() -> Micros {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as Micros
}
