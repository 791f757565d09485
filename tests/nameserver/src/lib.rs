//! A name server for tests, on UDP and TCP of one loopback port: it has what a test writes into it, and behaves as badly
//! as a test wants ([`Habit`]).
//!
//! Every question is kept ([`NameServer::asked`]), so that a test can say what was asked, over what, and how often.
//! Records are written as in a zone file, one a line: `carrier.example 60 SRV 10 50 5060 gw1.carrier.example`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod zone;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};

/// How often the threads look whether they are still wanted.
const LOOK: Duration = Duration::from_millis(20);
/// The answer to a question that nobody could put into one datagram.
const MANY: usize = 4096;

/// What the server does with questions for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Says nothing.
    Silent,
    /// Loses so many questions and answers then.
    Loses(usize),
    /// Takes its time.
    Slow(Duration),
    /// SERVFAIL.
    Fails,
    /// Says by UDP that the answer does not fit, so that it is asked by TCP.
    Cuts,
    /// Puts these lines of a zone into the answer as well.
    Lies(String),
}

/// A running server; it ends when it is dropped.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    /// For how long the zone lets others believe that there is none; absent: it does not say.
    negative: Option<u32>,
    habits: Vec<(Name, Habit)>,
    asked: Vec<Asked>,
}

/// A question that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name, without the last dot.
    pub name: String,
    /// `A`, `AAAA`, `SRV`, `NAPTR`.
    pub kind: String,
    /// Over TCP.
    pub is_stream: bool,
}

impl NameServer {
    /// A server that has these lines of a zone.
    pub fn start(zone: &str) -> NameServer {
        let (datagrams, streams) = sockets();
        let address = datagrams.local_addr().unwrap();
        let server = NameServer { address, state: Arc::default(), stop: Arc::default() };
        server.write(zone);
        let (state, stop) = (Arc::clone(&server.state), Arc::clone(&server.stop));
        thread::spawn(move || serve_datagrams(&datagrams, &state, &stop));
        let (state, stop) = (Arc::clone(&server.state), Arc::clone(&server.stop));
        thread::spawn(move || serve_streams(&streams, &state, &stop));
        server
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has these lines instead of what it had.
    pub fn write(&self, zone: &str) {
        self.state().records = zone::records(zone);
    }

    /// "There is none" may be believed for so many seconds.
    pub fn negative(&self, seconds: u32) {
        self.state().negative = Some(seconds);
    }

    /// Behaves so with questions for this name and what is below it.
    pub fn habit(&self, name: &str, habit: Habit) {
        self.state().habits.push((zone::name(name), habit));
    }

    /// Behaves well again.
    pub fn behave(&self) {
        self.state().habits.clear();
    }

    /// What was asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// How often this was asked.
    pub fn times(&self, name: &str, kind: &str) -> usize {
        self.state().asked.iter().filter(|asked| asked.name == name && asked.kind == kind).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// One port for both.
fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(streams) = TcpListener::bind(datagrams.local_addr().unwrap()) {
            datagrams.set_read_timeout(Some(LOOK)).unwrap();
            streams.set_nonblocking(true).unwrap();
            return (datagrams, streams);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

fn serve_datagrams(socket: &UdpSocket, state: &Arc<Mutex<State>>, stop: &AtomicBool) {
    let mut room = [0; 4096];
    while !stop.load(Ordering::Acquire) {
        let Ok((length, from)) = socket.recv_from(&mut room) else { continue };
        let Some((answer, after)) = answer(&room[..length], state, false) else { continue };
        if after.is_zero() {
            let _ = socket.send_to(&answer, from);
        } else if let Ok(socket) = socket.try_clone() {
            thread::spawn(move || {
                thread::sleep(after);
                let _ = socket.send_to(&answer, from);
            });
        }
    }
}

fn serve_streams(listener: &TcpListener, state: &Arc<Mutex<State>>, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => {
                let (state, stop) = (Arc::clone(state), Arc::clone(stop));
                thread::spawn(move || serve_stream(stream, &state, &stop));
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Questions with their length in front (RFC 1035 §4.2.2), until the other end is done.
fn serve_stream(mut stream: TcpStream, state: &Arc<Mutex<State>>, stop: &AtomicBool) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    while !stop.load(Ordering::Acquire) {
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        let Some((answer, after)) = answer(&question, state, true) else { continue };
        thread::sleep(after);
        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
        if stream.write_all(&[&length, &answer[..]].concat()).is_err() {
            return;
        }
    }
}

/// The answer and when it leaves; `None`: the question is lost.
fn answer(question: &[u8], state: &Mutex<State>, is_stream: bool) -> Option<(Vec<u8>, Duration)> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let (name, kind) = (query.name().clone(), query.query_type());
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let text = name.to_ascii();
    let asked = Asked { name: text.trim_end_matches('.').to_owned(), kind: kind.to_string(), is_stream };
    state.asked.push(asked);

    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.add_query(query);
    let mut after = Duration::ZERO;
    let habit = state.habits.iter_mut().find(|(zone, _)| zone.zone_of(&name));
    match habit.map(|(_, habit)| habit) {
        Some(Habit::Silent) => return None,
        Some(Habit::Loses(left)) if *left > 0 => {
            *left -= 1;
            return None;
        }
        Some(Habit::Slow(time)) => after = *time,
        Some(Habit::Fails) => {
            message.metadata.response_code = ResponseCode::ServFail;
            return Some((message.to_vec().unwrap(), after));
        }
        Some(Habit::Cuts) if !is_stream => {
            message.metadata.truncation = true;
            return Some((message.to_vec().unwrap(), after));
        }
        Some(Habit::Lies(zone)) => {
            message.add_answers(zone::records(zone));
        }
        Some(Habit::Loses(_) | Habit::Cuts) | None => {}
    }
    state.answer(&name, kind, &mut message);
    Some((message.to_vec().unwrap(), after))
}

impl State {
    /// What a resolver says that knows the zone: the records, with the aliases that lead to them.
    fn answer(&self, name: &Name, kind: RecordType, message: &mut Message) {
        let mut name = name.clone();
        for _ in 0..16 {
            let of = |kind| self.records.iter().filter(move |record| record.record_type() == kind);
            let found: Vec<&Record> = of(kind).filter(|record| record.name == name).take(MANY).collect();
            if !found.is_empty() {
                message.add_answers(found.into_iter().cloned());
                return;
            }
            let Some(alias) = of(RecordType::CNAME).find(|record| record.name == name) else { break };
            message.add_answer(alias.clone());
            name = zone::alias(alias);
        }
        if !self.records.iter().any(|record| name.zone_of(&record.name)) {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        if let Some(seconds) = self.negative {
            message.add_authority(zone::start_of_authority(seconds));
        }
    }
}
