//! A running box, and peers that talk to it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use call::{
    BindingChange, CdrFact, Engine, JournalLimits, MediaOrder, MediaReport, PortPair, RegistrarPolicy,
    Settings, StreamPorts,
};
use net::{Config, Dns, GuardRules, Limits, Listen, Net, Records, Wakers, bind};
use routing::{Route, Snapshot, Source, Trunk, TrunkId};
use sip::{Time, Timing, Transport};

/// A peer waits no longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Says yes to every order and relays nothing, since no media flows in these tests. Blocks its shard when told to.
#[derive(Clone, Default)]
pub struct Ports {
    pub polls: Arc<AtomicU64>,
    /// The next poll takes so many milliseconds.
    pub block: Arc<AtomicU64>,
}

impl Engine for Ports {
    fn order(&mut self, order: MediaOrder, _now: Time, reports: &mut Vec<MediaReport>) {
        match order {
            MediaOrder::Open { session, streams, families: _ } => {
                let pair = |rtp| PortPair { rtp, rtcp: rtp + 1 };
                let ports = StreamPorts { a: pair(40_000), b: pair(40_002) };
                let addresses = IpAddr::V4(Ipv4Addr::LOCALHOST).into();
                let streams = (0..streams).map(|_| ports).collect();
                reports.push(MediaReport::Opened { session, addresses, streams });
            }
            MediaOrder::Count { session } => reports.push(MediaReport::Counted {
                session,
                from_a: Default::default(),
                from_b: Default::default(),
            }),
            MediaOrder::Close { session } => reports.push(MediaReport::Closed {
                session,
                from_a: Default::default(),
                from_b: Default::default(),
            }),
            MediaOrder::Describe { .. }
            | MediaOrder::Watch { .. }
            | MediaOrder::TakeDigits { .. }
            | MediaOrder::Transcode { .. }
            | MediaOrder::PlayDigit { .. }
            | MediaOrder::Reopen { .. }
            | MediaOrder::Record { .. }
            | MediaOrder::Listen { .. } => {}
        }
    }

    fn poll(&mut self, _now: Time, _reports: &mut Vec<MediaReport>) {
        self.polls.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(self.block.swap(0, Ordering::SeqCst)));
    }

    fn ports_in_use(&self) -> usize {
        0
    }
}

/// Keeps what it is told.
#[derive(Clone, Default)]
pub struct Kept {
    pub cdrs: Arc<Mutex<Vec<CdrFact>>>,
    pub bindings: Arc<Mutex<Vec<BindingChange>>>,
}

impl Records for Kept {
    fn open_cdr(&mut self, _: Box<CdrFact>, _: Option<Box<[u8]>>) {}

    fn cdr(&mut self, fact: Box<CdrFact>) {
        self.cdrs.lock().unwrap().push(*fact);
    }

    fn flush(&mut self) {}

    fn binding(&mut self, change: &BindingChange) {
        self.bindings.lock().unwrap().push(change.clone());
    }
}

pub fn listen(name: &str, transport: Transport, bind: &str) -> Listen {
    Listen {
        name: name.to_owned(),
        transport,
        bind: bind.parse().unwrap(),
        advertise: None,
        tls: None,
        origins: Vec::new(),
    }
}

/// A configuration for so many shards, with the engines and records that it was given.
pub fn config(shards: usize) -> (Config, Vec<Ports>, Kept) {
    let engines: Vec<Ports> = (0..shards).map(|_| Ports::default()).collect();
    let kept = Kept::default();
    let config = Config {
        listeners: vec![
            listen("u", Transport::Udp, "127.0.0.1:0"),
            listen("t", Transport::Tcp, "127.0.0.1:0"),
        ],
        wakers: Wakers::new(shards),
        settings: Settings {
            listeners: Vec::new(),
            shard: 0,
            shards: 0,
            timing: Timing::default(),
            timer_c: Duration::from_secs(180),
            session_expires: Duration::from_secs(1_800),
            min_se: Duration::from_secs(90),
            media: call::Families::BOTH,
            registrar: RegistrarPolicy::OpenLoopback,
            max_calls: 1000,
            product: "box".to_owned(),
            journal: JournalLimits { calls: 1_000, max_bytes: 1 << 20, memory: 1 << 30 },
            seed: [7; 32],
            fingerprint: None,
            phones: routing::MediaSecurity::None,
            interim: Duration::ZERO,
            recover_calls: false,
            nonce_secret: [8; 32],
        },
        snapshot: Arc::new(Snapshot::empty()),
        engines: engines.iter().map(|engine| Box::new(engine.clone()) as Box<dyn Engine + Send>).collect(),
        records: (0..shards).map(|_| Box::new(kept.clone()) as Box<dyn Records>).collect(),
        dns: Dns::default(),
        limits: Limits::default(),
        guard: GuardRules::default(),
    };
    (config, engines, kept)
}

/// A running box with one UDP and one TCP listener.
pub struct Sbc {
    pub net: Net,
    pub udp: SocketAddr,
    pub tcp: SocketAddr,
    pub engines: Vec<Ports>,
    pub kept: Kept,
    pub wakers: Wakers,
    runtime: tokio::runtime::Runtime,
}

impl Sbc {
    pub fn start(shards: usize) -> Sbc {
        Sbc::start_with(shards, |_| {})
    }

    pub fn start_with(shards: usize, change: impl FnOnce(&mut Config)) -> Sbc {
        let (mut config, engines, kept) = config(shards);
        change(&mut config);
        let wakers = config.wakers.clone();
        let bound = bind(config).unwrap();
        let [udp, tcp] = [0, 1].map(|index: usize| bound.listeners()[index].bind);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Sbc { net: bound.run().unwrap(), udp, tcp, engines, kept, wakers, runtime }
    }

    /// Waits for what the operator asked for.
    pub fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    pub fn stats(&self) -> net::NetStats {
        self.wait(self.net.handle().stats()).unwrap()
    }

    /// Waits until the sockets' counts are as they shall be.
    pub fn await_totals(&self, wanted: impl Fn(&net::NetTotals) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let totals = self.net.handle().net_totals();
            if wanted(&totals) {
                return;
            }
            assert!(Instant::now() < deadline, "{totals:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A datagram peer.
    pub fn phone(&self) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(self.udp).unwrap();
        Phone { socket }
    }

    /// A stream peer.
    pub fn dial(&self) -> Line {
        Line::new(TcpStream::connect(self.tcp).unwrap())
    }
}

pub struct Phone {
    pub socket: UdpSocket,
}

impl Phone {
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn send(&self, text: &str) {
        self.socket.send(text.as_bytes()).unwrap();
    }

    pub fn receive(&self) -> String {
        let mut room = [0; 65_536];
        let length = self.socket.recv(&mut room).expect("the box answers");
        String::from_utf8(room[..length].to_vec()).unwrap()
    }

    /// The next message that is not a 100.
    pub fn receive_past_100(&self) -> String {
        loop {
            let text = self.receive();
            if !text.starts_with("SIP/2.0 100 ") {
                return text;
            }
        }
    }
}

pub struct Line<S = TcpStream> {
    pub stream: S,
    read: Vec<u8>,
}

impl Line {
    pub fn new(stream: TcpStream) -> Line {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Line::over(stream)
    }

    /// Waits for the box to close the connection.
    pub fn is_closed(&mut self) -> bool {
        let mut room = [0; 4096];
        matches!(self.stream.read(&mut room), Ok(0)) || self.stream.take_error().unwrap().is_some()
    }
}

impl<S: Read + Write> Line<S> {
    pub fn over(stream: S) -> Line<S> {
        Line { stream, read: Vec::new() }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// The next message without a body.
    pub fn receive(&mut self) -> String {
        let received = self.try_receive();
        received.unwrap_or_else(|| panic!("the box closed the connection, after {:?}", self.read))
    }

    /// The same; `None` when the connection ends before.
    pub fn try_receive(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                return Some(String::from_utf8(self.read.drain(..end + 4).collect()).unwrap());
            }
            if self.read_more().ok()? == 0 {
                return None;
            }
        }
    }

    /// Throws the body away of the message that came last, where it has come with its head.
    pub fn skip_body(&mut self) {
        if self.read.is_empty() {
            let _ = self.read_more();
        }
        self.read.clear();
    }

    /// Throws so many octets away: a body that nobody wants.
    pub fn skip(&mut self, octets: usize) {
        while self.read.len() < octets {
            assert!(self.read_more().unwrap() > 0, "the box closed the connection");
        }
        self.read.drain(..octets);
    }

    /// Whatever comes next.
    pub fn receive_some(&mut self) -> String {
        self.read_more().expect("the box answers or closes");
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    fn read_more(&mut self) -> std::io::Result<usize> {
        let mut room = [0; 4096];
        let count = self.stream.read(&mut room)?;
        self.read.extend_from_slice(&room[..count]);
        Ok(count)
    }
}

/// A request as a peer of this transport writes it. `method` and `call` make it one of its kind.
pub fn request(method: &str, call: &str, transport: &str, sent_by: SocketAddr) -> String {
    let to_tag = if method == "BYE" { ";tag=nobody" } else { "" };
    format!(
        "{method} sip:bob@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{method}{call};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@127.0.0.1>;tag={call}\r\nTo: <sip:bob@127.0.0.1>{to_tag}\r\n\
         Call-ID: {call}\r\nCSeq: 1 {method}\r\nContact: <sip:alice@{sent_by}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The Call-ID of a message.
pub fn call_id(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap()
}

/// Calls of this UDP phone go to `peer`.
pub fn calls_to(peer: &str, phone: SocketAddr) -> Arc<Snapshot> {
    let mut pbx = Trunk::new("pbx");
    pbx.sources = vec![Source::parse(&phone.to_string()).unwrap()];
    let mut far = Trunk::new("far");
    far.peers = vec![peer.to_owned()];
    let route = Route::new("out", vec![TrunkId(1)]);
    Arc::new(Snapshot::new(vec![pbx, far], vec![route]).unwrap())
}

/// The value of a header.
pub fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// The answer that a callee gives to this INVITE.
pub fn answer_to(invite: &str, contact: &str) -> String {
    let same = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", header(invite, name)));
    format!(
        "SIP/2.0 200 OK\r\n{}To: {};tag=far\r\nContact: <{contact}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{DESCRIPTION}",
        same.concat(),
        header(invite, "To"),
        DESCRIPTION.len()
    )
}

/// The callee of this INVITE hangs up.
pub fn bye_of(invite: &str, via: &str) -> String {
    format!(
        "BYE sip:drawbridge@127.0.0.1 SIP/2.0\r\nVia: {via};branch=z9hG4bKbye\r\nMax-Forwards: 70\r\n\
         From: {};tag=far\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        header(invite, "To"),
        header(invite, "From"),
        header(invite, "Call-ID")
    )
}

/// The caller's ACK of `ok`, with an answer in it.
pub fn ack_of(ok: &str, call: &str, phone: SocketAddr) -> String {
    let body = format!(
        "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{DESCRIPTION}",
        DESCRIPTION.len()
    );
    request("ACK", call, "UDP", phone)
        .replace("To: <sip:bob@127.0.0.1>", &format!("To: {}", header(ok, "To")))
        .replace("Content-Length: 0\r\n\r\n", &body)
}

pub const DESCRIPTION: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
