//! A Core with its outside played by the test: routing answers from its snapshot, the relay always has ports, and
//! every message that leaves is kept with where it goes.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use call::{
    Addresses, CdrFact, Command, Core, DirectionStats, Event, EventKind, Flow, Input, JournalLimits,
    Listener, ListenerId, MediaOrder, MediaReport, NextHop, Now, Output, PeerAside, PeerChange, PortPair,
    QueryId, RegistrarPolicy, Reply, RouteQuery, SendToken, ServerAside, Settings, Speech, StreamPorts, Utc,
};
use routing::{Query, Route, Snapshot, Source, Trunk, TrunkId};
use sip::{Message, Time, Timing, Transport};

pub const BOX: &str = "192.0.2.1:5060";
/// The relay's address in IPv6.
pub const BOX_6: &str = "2001:db8::1";
/// A second listener, in another network.
pub const OUTSIDE: &str = "203.0.113.7:5060";
pub const CALLER: &str = "10.1.1.1:5060";
pub const CALLEE: &str = "10.2.2.2:5060";
pub const SPARE: &str = "10.3.3.3:5060";
/// The listener of [`BOX`] for streams.
pub const STREAM: ListenerId = ListenerId(2);
/// One call of `handle_timeout` does some thousands of deadlines; nothing here needs so many of them at one moment.
const MANY_AT_ONCE: u32 = 8;
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;

/// A message that left the box.
#[derive(Clone, Debug)]
pub struct Sent {
    pub to: SocketAddr,
    /// What of it is text.
    pub text: String,
    pub bytes: bytes::Bytes,
    pub flow: Flow,
    pub token: SendToken,
}

impl Sent {
    pub fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        self.text
            .lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix(&prefix))
            .unwrap_or_else(|| panic!("no {name} in\n{}", self.text))
    }

    pub fn has(&self, name: &str) -> bool {
        self.text.lines().any(|line| line.starts_with(&format!("{name}: ")))
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub fn tag(&self, name: &str) -> &str {
        self.header(name).split(";tag=").nth(1).unwrap_or_default()
    }
}

/// A question for a name.
#[derive(Clone, Debug)]
pub struct Name {
    pub host: String,
    pub port: Option<u16>,
    pub transport: Option<Transport>,
    pub secure: bool,
    pub draw: u64,
}

/// What has come of a side: all of it but one packet was speech, of which another was lost.
fn heard(packets: u64) -> DirectionStats {
    let speech = Some(Speech { packets: packets - 1, lost: 1 });
    DirectionStats { packets, lost: 1, speech, ..DirectionStats::default() }
}

/// The caller's, and the callee's with a second peer.
pub fn usual_trunks() -> Vec<Trunk> {
    let mut pbx = Trunk::new("pbx");
    pbx.sources = vec![Source::parse("10.1.1.0/24").unwrap()];
    let mut carrier = Trunk::new("carrier");
    carrier.sources = vec![Source::parse("10.2.2.2").unwrap(), Source::parse("10.3.3.3").unwrap()];
    carrier.peers = vec![format!("sip:{CALLEE}"), format!("sip:{SPARE}")];
    vec![pbx, carrier]
}

pub struct World {
    pub core: Core,
    pub now: Now,
    pub sent: VecDeque<Sent>,
    pub open_records: Vec<CdrFact>,
    /// What the last of them came with, for another process.
    pub kept: Option<Box<[u8]>>,
    pub records: Vec<CdrFact>,
    pub orders: Vec<MediaOrder>,
    /// The relay's.
    pub addresses: Addresses,
    /// The relay cannot have a port in the other family.
    pub refuse_listening: bool,
    pub replies: Vec<Reply>,
    pub ports: u16,
    pub refuse_ports: bool,
    /// The relay takes its time: its reports wait in `reports`.
    pub slow_ports: bool,
    pub reports: Vec<MediaReport>,
    /// Routing takes its time: its questions wait in `questions`.
    pub slow_routing: bool,
    pub questions: Vec<RouteQuery>,
    /// Names that were asked for; nobody answers them.
    pub resolves: Vec<QueryId>,
    /// What was asked for.
    pub names: Vec<Name>,
    /// Places that were found to take no connections.
    pub no_streams: Vec<std::net::SocketAddr>,
    /// News of peers that are asked for life.
    pub peers: Vec<PeerChange>,
    /// Peers that calls found unwilling.
    pub aside: Vec<PeerAside>,
    /// Servers of names that calls found unwilling.
    pub servers_aside: Vec<ServerAside>,
    /// What the operator was warned of.
    pub warnings: Vec<String>,
    /// Of whom it was told that they talk.
    pub joined: Vec<[Option<String>; 2]>,
    /// The calls that began.
    pub begun: Vec<uuid::Uuid>,
}

impl World {
    /// A caller's trunk, and a callee's with a second peer.
    pub fn new() -> World {
        World::with(RegistrarPolicy::Closed, |_| {})
    }

    pub fn with(registrar: RegistrarPolicy, change: impl FnOnce(&mut Vec<Trunk>)) -> World {
        World::build(registrar, |trunks, _| change(trunks), |_| {})
    }

    /// The same with another route.
    pub fn routed(registrar: RegistrarPolicy, change: impl FnOnce(&mut Vec<Trunk>, &mut Route)) -> World {
        World::build(registrar, |trunks, routes| change(trunks, &mut routes[0]), |_| {})
    }

    /// With other trunks, and routes that are asked before the usual one.
    pub fn with_routes(change: impl FnOnce(&mut Vec<Trunk>, &mut Vec<Route>)) -> World {
        World::build(RegistrarPolicy::Closed, change, |_| {})
    }

    /// The usual world with other settings.
    pub fn tuned(tune: impl FnOnce(&mut Settings)) -> World {
        World::build(RegistrarPolicy::Closed, |_, _| {}, tune)
    }

    /// With other trunks and other settings.
    pub fn shaped(change: impl FnOnce(&mut Vec<Trunk>), tune: impl FnOnce(&mut Settings)) -> World {
        World::build(RegistrarPolicy::Closed, |trunks, _| change(trunks), tune)
    }

    /// The usual world with a caller's and a callee's trunk of IPv6 besides, and listeners for them. Calls go to the peer
    /// named `to`.
    pub fn dual(to: &str, change: impl FnOnce(&mut Vec<Trunk>), tune: impl FnOnce(&mut Settings)) -> World {
        let trunks = |trunks: &mut Vec<Trunk>, _: &mut Vec<Route>| {
            trunks[0].sources.push(Source::parse("2001:db8:a::/64").unwrap());
            trunks[1].sources.push(Source::parse("2001:db8:b::/64").unwrap());
            trunks[1].peers = vec![format!("sip:{to}")];
            change(trunks);
        };
        World::build(RegistrarPolicy::Closed, trunks, |settings| {
            let bind: SocketAddr = format!("[{BOX_6}]:5060").parse().unwrap();
            settings.listeners.push(Listener {
                name: "six".into(),
                transport: Transport::Udp,
                bind,
                advertise: bind.to_string(),
            });
            tune(settings);
        })
    }

    /// With these bounds of what is kept of calls.
    pub fn keeping(journal: JournalLimits) -> World {
        World::tuned(|settings| settings.journal = journal)
    }

    fn build(
        registrar: RegistrarPolicy,
        change: impl FnOnce(&mut Vec<Trunk>, &mut Vec<Route>),
        tune: impl FnOnce(&mut Settings),
    ) -> World {
        let mut trunks = usual_trunks();
        let mut route = Route::new("out", [routing::TrunkId(1)]);
        route.failover = routing::default_failover();
        let mut routes = vec![route];
        change(&mut trunks, &mut routes);
        let snapshot = Arc::new(Snapshot::new(trunks, routes).unwrap());
        let listener = |name: &str, transport: Transport, at: &str| Listener {
            name: name.into(),
            transport,
            bind: at.parse().unwrap(),
            advertise: at.into(),
        };
        let mut settings = Settings {
            listeners: vec![
                listener("lab", Transport::Udp, BOX),
                listener("outside", Transport::Udp, OUTSIDE),
                listener("stream", Transport::Tcp, BOX),
            ],
            shard: 0,
            shards: 1,
            timing: Timing::default(),
            timer_c: Duration::from_secs(180),
            session_expires: Duration::from_secs(1_800),
            min_se: Duration::from_secs(90),
            media: call::Families::BOTH,
            registrar,
            max_calls: 1000,
            product: "Drawbridge".into(),
            journal: JournalLimits { calls: 1_000, max_bytes: 1 << 20, memory: 1 << 30 },
            seed: [7; 32],
            fingerprint: None,
            phones: routing::MediaSecurity::None,
            interim: Duration::from_secs(300),
            recover_calls: true,
            nonce_secret: [9; 32],
        };
        tune(&mut settings);
        World {
            core: Core::new(settings, snapshot),
            now: Now { time: Time::ZERO + Duration::from_secs(1), utc: Utc(START) },
            sent: VecDeque::new(),
            open_records: Vec::new(),
            kept: None,
            records: Vec::new(),
            orders: Vec::new(),
            replies: Vec::new(),
            addresses: Addresses { v4: Some([192, 0, 2, 1].into()), v6: Some(BOX_6.parse().unwrap()) },
            refuse_listening: false,
            ports: 30_000,
            refuse_ports: false,
            slow_ports: false,
            reports: Vec::new(),
            slow_routing: false,
            questions: Vec::new(),
            resolves: Vec::new(),
            names: Vec::new(),
            no_streams: Vec::new(),
            peers: Vec::new(),
            aside: Vec::new(),
            servers_aside: Vec::new(),
            warnings: Vec::new(),
            joined: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// Hands the box a message; lines are ended with CRLF, `Content-Length` is added.
    pub fn receive(&mut self, from: &str, text: &str) {
        let flow = Flow { listener: ListenerId(0), remote: from.parse().unwrap(), connection: 0 };
        self.receive_on(flow, text);
    }

    /// The same by another listener, or over a connection.
    pub fn receive_on(&mut self, flow: Flow, text: &str) {
        let (head, body) = text.trim_start().split_once("\n\n").unwrap_or((text.trim_start(), ""));
        let body = body.replace('\n', "\r\n");
        let head = head.trim_end().replace('\n', "\r\n");
        let bytes = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.core.handle(Input::Message { flow, bytes: bytes.as_bytes() }, self.now);
        self.work();
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.core.handle(input, self.now);
        self.work();
    }

    /// Lets virtual time pass, with every timer at its time.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.time + time;
        let mut at_once = 0;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= end) {
            at_once = if due <= self.now.time { at_once + 1 } else { 0 };
            assert!(at_once < MANY_AT_ONCE, "the box is busy with itself and lets no time pass: {due:?}");
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

    /// Asks the peers of trunks for life from now on.
    pub fn watch_peers(&mut self) {
        self.core.watch_peers(self.now);
        self.work();
    }

    fn work(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { flow, bytes, token } => {
                    let message = Message::parse(&bytes).unwrap();
                    // A refusal repeats what was wrong, and every response every Via of who asked.
                    if message.is_request()
                        || !matches!(message.status(), Some(400 | 505))
                            && message.elements(sip::Name::Via).count() == 1
                    {
                        message.check().unwrap();
                    }
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.sent.push_back(Sent { to: flow.remote, text, bytes, flow, token });
                }
                Output::Route(query) if self.slow_routing => self.questions.push(*query),
                Output::Route(query) => self.route(&query),
                Output::Resolve { query, host, port, transport, secure, draw } => {
                    self.resolves.push(query);
                    self.names.push(Name { host: host.into(), port, transport, secure, draw });
                }
                Output::Media(order) => self.relay(order),
                Output::OpenCdr { fact, state } => {
                    self.open_records.push(*fact);
                    self.kept = state;
                }
                Output::Cdr(fact) => self.records.push(*fact),
                Output::Reply { reply, .. } => self.replies.push(reply),
                Output::Event(Event {
                    call: Some(call),
                    kind: EventKind::CallStarted { .. } | EventKind::CallRestored { .. },
                }) => self.begun.push(call),
                Output::Event(Event { kind: EventKind::Warning { what }, .. }) => self.warnings.push(what),
                Output::Event(Event { kind: EventKind::Joined { trunk_a, trunk_b, of }, .. }) => {
                    let name = |id: TrunkId| of.0.trunk(id).unwrap().name.clone();
                    self.joined.push([trunk_a.map(name), trunk_b.map(name)]);
                }
                Output::NoStreams(remote) => self.no_streams.push(remote),
                Output::Peer(change) => self.peers.push(*change),
                Output::Aside(aside) => self.aside.push(*aside),
                Output::ServerAside(aside) => self.servers_aside.push(aside),
                Output::Binding(_) | Output::Event(_) => {}
            }
            self.core.check_invariants().unwrap();
        }
    }

    /// Routing answers at last.
    pub fn answer_questions(&mut self) {
        for query in std::mem::take(&mut self.questions) {
            self.route(&query);
        }
        self.work();
    }

    fn route(&mut self, query: &RouteQuery) {
        let decision = query.snapshot.decide(&Query {
            trunk: query.trunk,
            source: query.source,
            caller: &query.caller,
            uri: &query.uri,
            local_user: query.local_user,
        });
        self.core.handle(Input::Routed { query: query.query, decision }, self.now);
    }

    /// The relay answers at last.
    pub fn open_ports(&mut self) {
        for report in std::mem::take(&mut self.reports) {
            self.core.handle(Input::Media(report), self.now);
        }
        self.work();
    }

    fn relay(&mut self, order: MediaOrder) {
        let report = match &order {
            MediaOrder::Open { session, .. } | MediaOrder::Reopen { session, .. } if self.refuse_ports => {
                Some(MediaReport::Refused { session: *session, why: "none left".into() })
            }
            MediaOrder::Open { session, streams, families: _ } => {
                let mut next = || {
                    self.ports += 2;
                    PortPair { rtp: self.ports - 2, rtcp: self.ports - 1 }
                };
                let streams = (0..*streams).map(|_| StreamPorts { a: next(), b: next() }).collect();
                Some(MediaReport::Opened { session: *session, addresses: self.addresses, streams })
            }
            MediaOrder::Reopen { session, ports, families: _ } => Some(MediaReport::Opened {
                session: *session,
                addresses: self.addresses,
                streams: ports.clone(),
            }),
            MediaOrder::Listen { session, .. } if self.refuse_listening => {
                Some(MediaReport::NotListening { session: *session, why: "held by another process".into() })
            }
            MediaOrder::Listen { .. }
            | MediaOrder::Describe { .. }
            | MediaOrder::TakeDigits { .. }
            | MediaOrder::Transcode { .. }
            | MediaOrder::PlayDigit { .. }
            | MediaOrder::Record { .. }
            | MediaOrder::Watch { .. } => None,
            MediaOrder::Count { session } => {
                Some(MediaReport::Counted { session: *session, from_a: heard(3), from_b: heard(4) })
            }
            MediaOrder::Close { session } => {
                Some(MediaReport::Closed { session: *session, from_a: heard(11), from_b: heard(22) })
            }
        };
        self.orders.push(order);
        if let Some(report) = report {
            if self.slow_ports {
                return self.reports.push(report);
            }
            self.core.handle(Input::Media(report), self.now);
        }
    }

    /// The next message that left, which must go to this address and begin like this.
    pub fn expect(&mut self, to: &str, start: &str) -> Sent {
        let sent = self.sent.pop_front().unwrap_or_else(|| panic!("nothing sent, expected {start} to {to}"));
        assert!(
            sent.to == to.parse().unwrap() && sent.text.starts_with(start),
            "expected {start} to {to}, sent to {}:\n{}",
            sent.to,
            sent.text
        );
        sent
    }

    pub fn expect_silence(&self) {
        assert!(self.sent.is_empty(), "nothing expected, sent {:#?}", self.sent);
    }

    /// Every call, handed to a fresh Core, gives what it gave here.
    pub fn expect_replays(&mut self) {
        for call in std::mem::take(&mut self.begun) {
            self.core.handle(Input::Command { id: 0, command: Command::Journal(call) }, self.now);
            match self.core.poll_output() {
                Some(Output::Reply { reply: Reply::Journal(Some(journal)), .. }) => {
                    let replayed = journal.replay(|_, _| {});
                    replayed.unwrap_or_else(|difference| panic!("the replay of call {call}: {difference}"));
                }
                other => panic!("expected the journal of {call}, came {other:?}"),
            }
        }
    }

    /// Nothing may be left when every timer has run out.
    pub fn expect_nothing_left(&mut self) {
        self.pass(Duration::from_secs(300));
        self.expect_replays();
        let stats = self.core.stats();
        assert_eq!(
            (stats.calls, stats.legs, stats.transactions, stats.timers, stats.queries),
            (0, 0, 0, 0, 0)
        );
        assert_eq!((stats.requests, stats.subscriptions), (0, 0));
    }
}

pub const OFFER: &str = "v=0
o=alice 1 1 IN IP4 10.1.1.1
s=-
c=IN IP4 10.1.1.1
t=0 0
m=audio 4000 RTP/AVP 0 101
a=rtpmap:101 telephone-event/8000
";

pub const ANSWER: &str = "v=0
o=bob 9 9 IN IP4 10.2.2.2
s=-
c=IN IP4 10.2.2.2
t=0 0
m=audio 5000 RTP/AVP 0
";

/// The caller's INVITE with this branch, and a description when given.
pub fn invite(branch: &str, body: Option<&str>) -> String {
    let kind = if body.is_some() { "Content-Type: application/sdp\n" } else { "" };
    format!(
        "INVITE sip:4912345@192.0.2.1 SIP/2.0
Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{branch}
Max-Forwards: 70
From: \"Alice\" <sip:alice@10.1.1.1>;tag=a1
To: <sip:4912345@192.0.2.1>
Call-ID: call-a@10.1.1.1
CSeq: 1 INVITE
Contact: <sip:alice@{CALLER}>
X-Trace: 42
{kind}
{}",
        body.unwrap_or_default()
    )
}

/// The answer to a question for a name: these addresses, over UDP, in this order.
pub fn found(query: QueryId, addresses: &[&str]) -> Input<'static> {
    let hop = |address: &&str| NextHop { address: address.parse().unwrap(), transport: Transport::Udp };
    Input::Resolved { query, hops: addresses.iter().map(hop).collect(), note: None }
}

/// A response to a request that the box sent, of whom it went to.
pub fn response(request: &Sent, line: &str, tag: &str, body: Option<&str>) -> String {
    let kind = if body.is_some() { "Content-Type: application/sdp\n" } else { "" };
    let to = request.header("To");
    let to = if tag.is_empty() || to.contains(";tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
    format!(
        "SIP/2.0 {line}
Via: {}
From: {}
To: {to}
Call-ID: {}
CSeq: {}
Contact: <sip:bob@{}>
{kind}
{}",
        request.header("Via"),
        request.header("From"),
        request.header("Call-ID"),
        request.header("CSeq"),
        request.to,
        body.unwrap_or_default()
    )
}

/// A request of the caller within the dialog that this response of the box made.
pub fn from_caller(method: &str, cseq: u32, dialog: &Sent, extra: &str) -> String {
    format!(
        "{method} sip:drawbridge@{BOX} SIP/2.0
Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{method}{cseq}
Max-Forwards: 70
From: \"Alice\" <sip:alice@10.1.1.1>;tag=a1
To: {}
Call-ID: call-a@10.1.1.1
CSeq: {cseq} {method}
Contact: <sip:alice@{CALLER}>
{extra}",
        dialog.header("To")
    )
}

/// A request of the callee within the dialog of the box's INVITE, after it answered with tag `b1`.
pub fn from_callee(method: &str, cseq: u32, invite: &Sent, extra: &str) -> String {
    format!(
        "{method} sip:drawbridge@{BOX} SIP/2.0
Via: SIP/2.0/UDP {CALLEE};branch=z9hG4bKb{method}{cseq}
Max-Forwards: 70
From: {};tag=b1
To: {}
Call-ID: {}
CSeq: {cseq} {method}
Contact: <sip:bob@{CALLEE}>
{extra}",
        invite.header("To"),
        invite.header("From"),
        invite.header("Call-ID"),
    )
}

/// The CANCEL of the caller's INVITE with this branch.
pub fn cancel(branch: &str) -> String {
    invite(branch, None).replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL")
}

/// The caller's ACK of a failure of its INVITE with this branch.
pub fn ack_failure(branch: &str, failure: &Sent) -> String {
    from_caller("ACK", 1, failure, "").replace("bKACK1", &format!("bK{branch}"))
}

/// A call that was placed and not answered by anybody: the box's INVITE to the callee.
pub fn call_placed(world: &mut World) -> Sent {
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect(CALLEE, "INVITE sip:4912345@10.2.2.2:5060 SIP/2.0")
}

/// A call whose callee rings with tag `b1`: the box's INVITE to the callee and its 180 to the caller.
pub fn call_ringing(world: &mut World) -> (Sent, Sent) {
    let out = call_placed(world);
    world.receive(CALLEE, &response(&out, "180 Ringing", "b1", None));
    let ringing = world.expect(CALLER, "SIP/2.0 180");
    (out, ringing)
}

/// A call that is up in this world: the box's 200 to the caller, the box's INVITE to the callee.
pub fn call_up_in(world: &mut World) -> (Sent, Sent) {
    let (out, _) = call_ringing(world);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.expect_silence();
    (ok, out)
}

/// A call that is up: the world, the box's 200 to the caller, the box's INVITE to the callee.
pub fn call_up() -> (World, Sent, Sent) {
    let mut world = World::new();
    let (ok, out) = call_up_in(&mut world);
    (world, ok, out)
}

/// The head of a request with a description, up to its body.
pub const KIND: &str = "Content-Type: application/sdp\n\n";

/// The caller hangs up, with everything answered; nothing may be left.
pub fn ends_by_the_caller(world: &mut World, ok: &Sent, cseq: u32) {
    world.receive(CALLER, &from_caller("BYE", cseq, ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.sent.clear();
    world.expect_nothing_left();
}

/// The box hangs both sides up; nothing may be left. The Reason of the BYE that the caller got.
pub fn ends_by_the_box(world: &mut World) -> String {
    world.sent.retain(|sent| sent.text.starts_with("BYE"));
    let byes: Vec<Sent> = world.sent.drain(..).collect();
    assert_eq!(byes.len(), 2, "{byes:#?}");
    for bye in &byes {
        world.receive(&bye.to.to_string(), &response(bye, "200 OK", "", None));
    }
    let caller = byes.iter().find(|bye| bye.to == CALLER.parse().unwrap()).unwrap();
    let reason = if caller.has("Reason") { caller.header("Reason").to_owned() } else { String::new() };
    assert_eq!(world.records.len(), 1);
    world.sent.clear();
    world.expect_nothing_left();
    reason
}
