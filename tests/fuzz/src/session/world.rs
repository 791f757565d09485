//! A Core and its outside: what is asked is answered at once or when the story says so, and everything that comes out is
//! looked at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use call::{
    Addresses, Command, Core, DirectionStats, Event, EventKind, Families, Flow, Input, JournalLimits,
    Listener, MediaId, MediaOrder, MediaReport, Now, Output, PortPair, QueryId, RegistrarPolicy, Reply,
    RouteQuery, SendToken, Settings, StreamPorts, User, Utc,
};
use routing::{
    Bodies, CancelMatching, Challenges, Credentials, Decision, Fork, Query, Redirect, Refer, Route, Snapshot,
};
use routing::{Source, Trunk, TrunkId};
use sip::{Message, Time, Timing, Transport};
use uuid::Uuid;

/// Who speaks to the box. The last is nobody's.
pub(super) const PARTIES: [&str; 7] = [
    "10.1.1.1:5060",
    "10.2.2.2:5060",
    "10.3.3.3:5060",
    "10.4.4.4:5060",
    "127.0.0.1:5090",
    "10.1.1.2:5062",
    STRANGER,
];
const STRANGER: &str = "198.18.0.66:5060";
/// Where the relay is, in both families.
const RELAY: Addresses = Addresses {
    v4: Some(Ipv4Addr::new(192, 0, 2, 9)),
    v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)),
};

/// More outputs than this for one input are a storm.
const STORM: usize = 400;
/// How many messages of each direction are remembered.
const REMEMBERED: usize = 24;
/// As many deadlines at one moment say that the box is busy with itself.
const SPINNING: u32 = 64;
/// Within this everything has ended that was told to end: 64·T1 and Timer C, twice over.
const LONGEST: Duration = Duration::from_secs(2 * (32 + 180));
/// The longest that a subscription lives by itself.
const SUBSCRIBED: Duration = Duration::from_secs(7_200 + 32);

/// A message that left the box.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
    pub(super) token: SendToken,
}

pub(super) struct World {
    core: Core,
    pub(super) now: Now,
    /// What the story leaves to itself: routing, the relay, names.
    by_hand: [bool; 3],
    replays: bool,
    /// Whether the story is told, for who reads a finding: `FUZZ_TELL` is set.
    tells: bool,
    sent: VecDeque<Sent>,
    /// How many messages were sent in all.
    total: usize,
    heard: VecDeque<(Flow, Bytes)>,
    pub(super) questions: VecDeque<RouteQuery>,
    pub(super) names: VecDeque<QueryId>,
    pub(super) reports: VecDeque<MediaReport>,
    /// Sessions, and whether each is open.
    sessions: BTreeMap<MediaId, bool>,
    /// Every call that began, in order, and whether it has its last record.
    calls: Vec<Uuid>,
    recorded: BTreeSet<Uuid>,
    /// Attempts that have their record.
    finished: BTreeSet<Uuid>,
    port: u16,
}

/// The configuration; 1: after a reload.
pub(super) fn snapshot(at: usize) -> Arc<Snapshot> {
    static BOTH: LazyLock<[Arc<Snapshot>; 2]> = LazyLock::new(|| [make_snapshot(false), make_snapshot(true)]);
    Arc::clone(&BOTH[at])
}

fn make_snapshot(reloaded: bool) -> Arc<Snapshot> {
    let trunk = |name: &str, sources: &[&str], peers: &[&str]| {
        let mut trunk = Trunk::new(name);
        trunk.sources = sources.iter().map(|text| Source::parse(text).unwrap()).collect();
        trunk.peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
        trunk
    };
    let pbx = trunk("pbx", &["10.1.1.0/24"], &[]);
    let mut carrier = trunk(
        "carrier",
        &["10.2.2.2", "10.3.3.3"],
        &["sip:10.2.2.2:5060", "sip:10.3.3.3:5060;transport=tcp"],
    );
    carrier.auth = Some(Credentials { username: "box".to_owned(), password: "open".to_owned() });
    carrier.cancel_matching = CancelMatching::Lenient;
    let mut loose = trunk("loose", &["10.4.4.4"], &["sip:gw.example.net", "sip:10.4.4.4"]);
    loose.refer = Refer::Pass;
    loose.redirect = Redirect::Pass;
    loose.bodies = Bodies::Pass;
    loose.challenges = Challenges::Pass;
    loose.methods = Some(["INFO", "ODD", "MESSAGE", "SUBSCRIBE"].map(str::to_owned).to_vec());
    let mut several = Route::new("several", [TrunkId(1), TrunkId(2)]);
    several.called = regex::Regex::new("^1").ok();
    several.fork = Fork::Parallel;
    let mut named = Route::new("named", [TrunkId(2)]);
    named.called = regex::Regex::new("^2").ok();
    let mut routes = vec![several, named, Route::new("out", [TrunkId(1)])];
    if reloaded {
        loose.sources.clear();
        routes.remove(0);
    }
    Arc::new(Snapshot::new(vec![pbx, carrier, loose], routes).unwrap())
}

pub(super) fn decided(query: &RouteQuery) -> Decision {
    query.snapshot.decide(&Query {
        trunk: query.trunk,
        source: query.source,
        caller: &query.caller,
        uri: &query.uri,
        local_user: query.local_user,
    })
}

fn settings(mode: u8) -> Settings {
    let at = |name: &str, transport: Transport, address: &str| Listener {
        name: name.into(),
        transport,
        bind: address.parse().unwrap(),
        advertise: address.into(),
    };
    let user = |name: &str| User { name: name.into(), password: "wonder".into() };
    Settings {
        listeners: vec![
            at("lab", Transport::Udp, "192.0.2.1:5060"),
            at("outside", Transport::Udp, "203.0.113.7:5060"),
            at("stream", Transport::Tcp, "192.0.2.1:5060"),
        ],
        shard: 0,
        shards: 1,
        timing: Timing::default(),
        timer_c: Duration::from_secs(180),
        session_expires: Duration::from_secs(if mode & 8 == 0 { 1_800 } else { 0 }),
        min_se: Duration::from_secs(90),
        media: Families::BOTH,
        registrar: match mode >> 4 & 3 {
            0 => RegistrarPolicy::Closed,
            1 | 2 => RegistrarPolicy::OpenLoopback,
            _ => RegistrarPolicy::Users(vec![user("u0"), user("u1")]),
        },
        max_calls: 8,
        product: "Drawbridge".into(),
        journal: match mode >> 6 {
            0 => JournalLimits::OFF,
            1 => JournalLimits { calls: 2, max_bytes: 4_096, memory: 16_384 },
            _ => JournalLimits { calls: 1_000, max_bytes: 1 << 20, memory: 1 << 30 },
        },
        seed: [7; 32],
        fingerprint: None,
        phones: routing::MediaSecurity::None,
        interim: Duration::from_secs(60),
        recover_calls: true,
        nonce_secret: [9; 32],
    }
}

impl World {
    pub(super) fn new(mode: u8) -> World {
        World {
            core: Core::new(settings(mode), snapshot(0)),
            now: Now { time: Time::ZERO + Duration::from_secs(1), utc: Utc(1_767_225_600_000_000) },
            by_hand: [mode & 1 != 0, mode & 2 != 0, mode & 4 != 0],
            replays: mode >> 6 > 1,
            tells: std::env::var_os("FUZZ_TELL").is_some(),
            sent: VecDeque::new(),
            total: 0,
            heard: VecDeque::new(),
            questions: VecDeque::new(),
            names: VecDeque::new(),
            reports: VecDeque::new(),
            sessions: BTreeMap::new(),
            calls: Vec::new(),
            recorded: BTreeSet::new(),
            finished: BTreeSet::new(),
            port: 30_000,
        }
    }

    /// Of the last messages that were sent, the newest first.
    pub(super) fn sent(&self, back: u8) -> Option<Sent> {
        self.sent.iter().nth_back(usize::from(back % 8)).cloned()
    }

    pub(super) fn sent_request(&self, back: u8) -> Option<Sent> {
        let mut requests = self.sent.iter().rev().filter(|sent| !sent.bytes.starts_with(b"SIP/"));
        requests.nth(usize::from(back % 4)).cloned()
    }

    pub(super) fn last_success(&self) -> Option<Sent> {
        self.sent.iter().rev().find(|sent| sent.bytes.starts_with(b"SIP/2.0 2")).cloned()
    }

    pub(super) fn heard(&self, back: u8) -> Option<(Flow, Vec<u8>)> {
        let (flow, bytes) = self.heard.iter().nth_back(usize::from(back % 8))?;
        Some((*flow, bytes.to_vec()))
    }

    pub(super) fn heard_request(&self, back: u8) -> Option<(Flow, Vec<u8>)> {
        let mut requests = self.heard.iter().rev().filter(|(_, bytes)| !bytes.starts_with(b"SIP/"));
        requests.nth(usize::from(back % 8)).map(|(flow, bytes)| (*flow, bytes.to_vec()))
    }

    pub(super) fn session(&self, at: u8) -> Option<MediaId> {
        self.sessions.keys().nth_back(usize::from(at % 4)).copied()
    }

    pub(super) fn begun(&self, back: u8) -> Uuid {
        self.calls.iter().nth_back(usize::from(back % 4)).copied().unwrap_or_default()
    }

    pub(super) fn receive(&mut self, flow: Flow, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.tell("<-", &flow, &bytes);
        self.core.handle(Input::Message { flow, bytes: &bytes }, self.now);
        let before = self.total;
        let octets = self.work();
        let count = self.total - before;
        if flow.remote == STRANGER.parse::<SocketAddr>().unwrap() {
            // Nobody who is nobody's gets more than one answer, or more than was sent. A response is known by its branch
            // alone (RFC 3261 §17.1.3) and may move a call on, but nothing goes back to where it came from.
            let back = self.sent.iter().rev().take(count).any(|sent| sent.flow.remote == flow.remote);
            match is_request(&bytes) {
                true => assert!(count <= 1, "{count} messages: {}", bytes.escape_ascii()),
                false => assert!(!back, "an answer to what is no request: {}", bytes.escape_ascii()),
            }
            let most = 2 * bytes.len() + 512;
            assert!(!back || octets <= most, "{octets} octets: {}", bytes.escape_ascii());
        }
        self.heard.push_back((flow, bytes));
        if self.heard.len() > REMEMBERED {
            self.heard.pop_front();
        }
    }

    fn tell(&self, way: &str, flow: &Flow, bytes: &[u8]) {
        if self.tells {
            let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n      ");
            eprintln!("{:>12} {way} {} {text}", self.now.time.as_micros(), flow.remote);
        }
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        if self.tells {
            eprintln!("{:>12} {input:?}", self.now.time.as_micros());
        }
        self.core.handle(input, self.now);
        self.work();
    }

    /// Lets virtual time pass, with every timer at its time.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.time + time;
        let mut at_once = 0;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= end) {
            at_once = if due <= self.now.time { at_once + 1 } else { 0 };
            assert!(at_once < SPINNING, "the box lets no time pass");
            self.at(due);
            self.core.handle_timeout(self.now);
            self.work();
        }
        self.at(end);
    }

    fn at(&mut self, time: Time) {
        let passed = i64::try_from((time - self.now.time).as_micros()).unwrap();
        self.now = Now { time: self.now.time.max(time), utc: Utc(self.now.utc.0 + passed) };
    }

    /// Carries out what the Core says; how many octets left.
    fn work(&mut self) -> usize {
        let (mut outputs, mut octets) = (0, 0);
        while let Some(output) = self.core.poll_output() {
            outputs += 1;
            assert!(outputs <= STORM, "a storm of outputs, now {output:?}");
            match output {
                Output::Send { flow, bytes, token } => {
                    self.tell("->", &flow, &bytes);
                    is_sound(&bytes);
                    self.total += 1;
                    octets += bytes.len();
                    self.sent.push_back(Sent { flow, bytes, token });
                    if self.sent.len() > REMEMBERED {
                        self.sent.pop_front();
                    }
                }
                Output::Route(query) if self.by_hand[0] => self.questions.push_back(*query),
                Output::Route(query) => {
                    let decision = decided(&query);
                    self.core.handle(Input::Routed { query: query.query, decision }, self.now);
                }
                Output::Media(order) => self.relay(&order),
                Output::Resolve { query, .. } if self.by_hand[2] => self.names.push_back(query),
                Output::Resolve { query, .. } => {
                    let address: SocketAddr = PARTIES[3].parse().unwrap();
                    let hops = vec![call::NextHop { address, transport: Transport::Udp }];
                    self.core.handle(Input::Resolved { query, hops, note: None }, self.now);
                }
                Output::OpenCdr { fact, state } => {
                    if let Some(state) = state {
                        assert_eq!(
                            call::shard_of_kept(&state, &["lab", "outside", "stream"], 1),
                            Ok(0),
                            "no call to go on with"
                        );
                    }
                    assert!(!self.finished.contains(&fact.id), "an attempt goes on after its record");
                    assert!(!self.recorded.contains(&fact.call_id), "a call goes on after its last record");
                }
                Output::Cdr(fact) => {
                    assert!(self.finished.insert(fact.id), "two records of an attempt");
                    assert!(
                        !fact.is_last || self.recorded.insert(fact.call_id),
                        "two last records of a call"
                    );
                    assert!(fact.started_at <= fact.ended_at, "a record out of order");
                }
                Output::Event(Event { call: Some(call), kind: EventKind::CallStarted { .. } }) => {
                    self.calls.push(call);
                }
                Output::Reply { .. }
                | Output::Binding(_)
                | Output::NoStreams(_)
                | Output::Peer(_)
                | Output::Aside(_)
                | Output::ServerAside(_)
                | Output::Event(_) => {}
            }
        }
        let books = self.core.check_invariants();
        assert!(books.is_ok(), "{books:?}");
        octets
    }

    fn relay(&mut self, order: &MediaOrder) {
        let (MediaOrder::Open { session, .. }
        | MediaOrder::Reopen { session, .. }
        | MediaOrder::Listen { session, .. }
        | MediaOrder::Describe { session, .. }
        | MediaOrder::Watch { session, .. }
        | MediaOrder::TakeDigits { session, .. }
        | MediaOrder::Transcode { session, .. }
        | MediaOrder::PlayDigit { session, .. }
        | MediaOrder::Record { session, .. }
        | MediaOrder::Count { session }
        | MediaOrder::Close { session }) = order;
        let open = self.sessions.entry(*session).or_insert(true);
        assert!(*open, "an order for a session that was closed: {order:?}");
        let report = match order {
            MediaOrder::Open { session, streams, families: _ } => {
                assert!((1..=16).contains(streams), "{order:?}");
                let mut pair = || {
                    self.port = self.port.checked_add(2).unwrap_or(30_000);
                    PortPair { rtp: self.port, rtcp: self.port + 1 }
                };
                let streams = (0..*streams).map(|_| StreamPorts { a: pair(), b: pair() }).collect();
                MediaReport::Opened { session: *session, addresses: RELAY, streams }
            }
            MediaOrder::Count { session } => {
                let counted = DirectionStats::default();
                MediaReport::Counted { session: *session, from_a: counted, from_b: counted }
            }
            MediaOrder::Close { session } => {
                *open = false;
                let counted = DirectionStats::default();
                MediaReport::Closed { session: *session, from_a: counted, from_b: counted }
            }
            MediaOrder::Reopen { session, ports, families: _ } => {
                MediaReport::Opened { session: *session, addresses: RELAY, streams: ports.clone() }
            }
            MediaOrder::Listen { .. }
            | MediaOrder::Describe { .. }
            | MediaOrder::TakeDigits { .. }
            | MediaOrder::Transcode { .. }
            | MediaOrder::PlayDigit { .. }
            | MediaOrder::Record { .. }
            | MediaOrder::Watch { .. } => return,
        };
        if self.by_hand[1] {
            self.reports.push_back(report);
        } else {
            self.core.handle(Input::Media(report), self.now);
        }
    }

    /// The operator ends all calls, and time does the rest.
    pub(super) fn ends(&mut self) {
        self.input(Input::Command { id: 2, command: Command::EndAll });
        self.pass(LONGEST);
        if self.core.stats().subscriptions > 0 {
            self.pass(SUBSCRIBED);
        }
        let stats = self.core.stats();
        let left =
            (stats.calls, stats.legs, stats.transactions, stats.queries, stats.requests, stats.subscriptions);
        assert_eq!(left, (0, 0, 0, 0, 0, 0), "calls, legs, transactions, questions, requests, subscriptions");
        for call in &self.calls {
            assert!(self.recorded.contains(call), "no last record of {call}");
        }
        if self.replays {
            self.replay();
        }
    }

    /// Each call again, from its journal.
    fn replay(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            self.core.handle(Input::Command { id: 3, command: Command::Journal(call) }, self.now);
            let Some(Output::Reply { reply: Reply::Journal(Some(journal)), .. }) = self.core.poll_output()
            else {
                panic!("no journal of {call}");
            };
            if let Err(difference) = journal.replay(|_, _| {}) {
                panic!("the replay of {call}: {difference}");
            }
        }
    }
}

fn is_request(bytes: &[u8]) -> bool {
    match Message::parse(bytes) {
        Ok(message) => message.is_request(),
        Err(_) => Message::salvage(bytes).is_some_and(|message| message.is_request()),
    }
}

/// What leaves is a message, and a request is one that nobody could find fault with. A response repeats what came.
fn is_sound(bytes: &[u8]) {
    let message = Message::parse(bytes).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    assert_eq!(message.bytes(), bytes, "nothing stands behind the body");
    if message.is_request() {
        let sound = message.check();
        assert!(sound.is_ok(), "{sound:?}: {}", bytes.escape_ascii());
    }
}
