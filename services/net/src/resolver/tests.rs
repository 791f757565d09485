//! Names as a name server of the test's own tells them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use nameserver::{Habit, NameServer};
use sip::Transport;

use super::*;

const UDP: (Transport, &str) = (Transport::Udp, "127.0.0.1:5060");
const TCP: (Transport, &str) = (Transport::Tcp, "127.0.0.1:5060");
const TLS: (Transport, &str) = (Transport::Tls, "127.0.0.1:5061");
const WS: (Transport, &str) = (Transport::Ws, "127.0.0.1:80");
const WSS: (Transport, &str) = (Transport::Wss, "127.0.0.1:443");
const UDP6: (Transport, &str) = (Transport::Udp, "[::1]:5060");

/// Longer than any look-up takes here.
const SOON: Duration = Duration::from_secs(7);

struct Bench {
    resolver: Arc<Resolver>,
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    next: u64,
}

/// What came of a question: the hops as text, and the note.
type Outcome = (Vec<String>, Option<String>);

impl Bench {
    fn new(server: &NameServer, listeners: &[(Transport, &str)]) -> Bench {
        let dns = Dns { servers: vec![server.address()], timeout: Duration::from_millis(400), attempts: 2 };
        Bench::with(&dns, listeners)
    }

    fn with(dns: &Dns, listeners: &[(Transport, &str)]) -> Bench {
        let listeners: Vec<Listener> = listeners
            .iter()
            .map(|(transport, bind)| Listener {
                name: transport.as_param().to_owned(),
                transport: *transport,
                bind: bind.parse().unwrap(),
                advertise: (*bind).to_owned(),
            })
            .collect();
        let mailbox = Arc::new(Mailbox::new(10, 1000, Arc::default()));
        let resolver = Resolver::start(dns, &listeners, Arc::from([Arc::clone(&mailbox)])).unwrap();
        Bench { resolver, mailbox, counters: Arc::default(), next: 0 }
    }

    fn ask(&mut self, question: &Question) -> Answer {
        self.next += 1;
        let asker = Asker { shard: 0, query: QueryId(self.next), draw: self.next };
        self.resolver.resolve(question.clone(), asker, &self.counters)
    }

    /// The answer to the last question, when it has come.
    fn wait(&self) -> Outcome {
        let deadline = Instant::now() + SOON;
        let mut letters = VecDeque::new();
        while letters.is_empty() {
            assert!(Instant::now() < deadline, "the look-up ends");
            std::thread::sleep(Duration::from_millis(1));
            self.mailbox.take(&mut letters);
        }
        match letters.pop_back() {
            Some(Letter::Resolved { query, hops, note }) => {
                assert_eq!(query, QueryId(self.next));
                outcome(&hops, note.as_deref())
            }
            other => panic!("{other:?}"),
        }
    }

    fn find(&mut self, question: &Question) -> Outcome {
        match self.ask(question) {
            Answer::Now { hops, note } => outcome(&hops, note.as_deref()),
            Answer::Later => self.wait(),
        }
    }

    fn hops(&mut self, uri: &str) -> Vec<String> {
        self.find(&question(uri)).0
    }

    fn is_known(&mut self, uri: &str) -> bool {
        match self.ask(&question(uri)) {
            Answer::Now { .. } => true,
            Answer::Later => {
                self.wait();
                false
            }
        }
    }
}

fn outcome(hops: &[NextHop], note: Option<&str>) -> Outcome {
    let hop = |hop: &NextHop| format!("{} {}", hop.transport.as_param(), hop.address);
    (hops.iter().map(hop).collect(), note.map(str::to_owned))
}

/// `[sips:]host[:port][;transport]`.
fn question(uri: &str) -> Question {
    let (secure, rest) = uri.strip_prefix("sips:").map_or((false, uri), |rest| (true, rest));
    let (rest, transport) = rest.split_once(';').map_or((rest, None), |(rest, name)| (rest, Some(name)));
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, port.parse().ok()));
    let transport = transport.and_then(|name| Transport::parse(name.as_bytes()));
    let usual = if secure { Transport::Tls } else { Transport::Udp };
    Question { host: host.into(), port, transport: transport.or(port.map(|_| usual)), secure }
}

const CARRIER: &str = "
    carrier.example 60 NAPTR 20 10 \"s\" \"SIP+D2T\" \"\" _sip._tcp.carrier.example
    carrier.example 60 NAPTR 10 20 \"s\" \"SIP+D2U\" \"\" _sip._udp.carrier.example
    carrier.example 60 NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.carrier.example
    _sips._tcp.carrier.example 60 SRV 1 1 5061 gw1.carrier.example
    _sip._udp.carrier.example 60 SRV 20 1 5070 gw2.carrier.example
    _sip._udp.carrier.example 60 SRV 10 1 5060 gw1.carrier.example
    _sip._tcp.carrier.example 60 SRV 1 1 5060 gw3.carrier.example
    gw1.carrier.example 60 A 192.0.2.1
    gw2.carrier.example 60 A 192.0.2.2
    gw3.carrier.example 60 A 192.0.2.3
    carrier.example 60 A 192.0.2.9";

#[test]
fn naptr_records_choose_the_transport_by_order_and_preference_among_those_that_are_spoken() {
    let server = NameServer::start(CARRIER);
    let all = Bench::new(&server, &[UDP, TCP, TLS]).hops("carrier.example");
    assert_eq!(all, ["tls 192.0.2.1:5061"]);
    let (hops, note) = Bench::new(&server, &[UDP, TCP]).find(&question("carrier.example"));
    assert_eq!(hops, ["udp 192.0.2.1:5060", "udp 192.0.2.2:5070"], "by priority");
    assert_eq!(note.unwrap(), "carrier.example: NAPTR SIPS+D2T is left out: no tls listener");
    assert_eq!(Bench::new(&server, &[TCP]).hops("carrier.example"), ["tcp 192.0.2.3:5060"]);
}

#[test]
fn a_sips_uri_is_reached_over_tls_or_not_at_all() {
    let server = NameServer::start(CARRIER);
    assert_eq!(Bench::new(&server, &[UDP, TLS]).hops("sips:carrier.example"), ["tls 192.0.2.1:5061"]);
    let (hops, note) = Bench::new(&server, &[UDP, TCP]).find(&question("sips:carrier.example"));
    assert!(hops.is_empty());
    let note = note.unwrap();
    assert!(note.contains("NAPTR SIPS+D2T is left out: no tls listener"), "{note}");
    assert!(note.contains("NAPTR SIP+D2U is left out: the URI is a sips URI"), "{note}");
}

#[test]
fn a_port_leaves_only_addresses_and_a_transport_only_its_own_srv_records() {
    let server = NameServer::start(CARRIER);
    let mut bench = Bench::new(&server, &[UDP, TCP]);
    assert_eq!(bench.hops("carrier.example:5090"), ["udp 192.0.2.9:5090"]);
    assert_eq!(server.times("carrier.example", "NAPTR"), 0);
    assert_eq!(bench.hops("carrier.example;tcp"), ["tcp 192.0.2.3:5060"]);
    assert_eq!(server.times("carrier.example", "NAPTR"), 0);
    assert_eq!(server.times("_sip._udp.carrier.example", "SRV"), 0);
    assert_eq!(bench.find(&question("carrier.example;tls")).1.unwrap(), "carrier.example: no tls listener");
}

#[test]
fn without_naptr_srv_records_choose_and_without_those_the_name_is_the_host() {
    let server = NameServer::start(
        "_sip._tcp.a.example 60 SRV 1 1 5080 gw.a.example
         gw.a.example 60 A 192.0.2.1
         a.example 60 A 192.0.2.9
         b.example 60 A 192.0.2.7",
    );
    let mut bench = Bench::new(&server, &[UDP, TCP]);
    assert_eq!(bench.hops("a.example"), ["tcp 192.0.2.1:5080"]);
    assert_eq!(bench.hops("b.example"), ["udp 192.0.2.7:5060"]);
    assert_eq!(bench.hops("b.example;tcp"), ["tcp 192.0.2.7:5060"]);
    assert_eq!(Bench::new(&server, &[TCP]).hops("b.example"), ["tcp 192.0.2.7:5060"]);
}

#[test]
fn a_naptr_record_that_names_a_host_needs_no_srv() {
    let server = NameServer::start(
        "a.example 60 NAPTR 1 1 \"a\" \"sip+d2t\" \"\" gw.a.example
         gw.a.example 60 A 192.0.2.1",
    );
    assert_eq!(Bench::new(&server, &[UDP, TCP]).hops("a.example"), ["tcp 192.0.2.1:5060"]);
}

#[test]
fn websocket_servers_are_found_by_naptr_records_and_else_at_the_ports_of_the_web() {
    let server = NameServer::start(
        "a.example 60 NAPTR 1 1 \"s\" \"SIPS+D2W\" \"\" _sips._ws.a.example
         a.example 60 NAPTR 2 1 \"s\" \"SIP+D2W\" \"\" _sip._ws.a.example
         _sips._ws.a.example 60 SRV 1 1 8443 gw.a.example
         _sip._ws.a.example 60 SRV 1 1 8080 gw.a.example
         gw.a.example 60 A 192.0.2.1
         b.example 60 A 192.0.2.7",
    );
    let mut both = Bench::new(&server, &[WS, WSS]);
    assert_eq!(both.hops("a.example"), ["wss 192.0.2.1:8443"]);
    assert_eq!(both.hops("b.example;ws"), ["ws 192.0.2.7:80"]);
    assert_eq!(both.hops("b.example;wss"), ["wss 192.0.2.7:443"]);
    assert_eq!(both.hops("b.example:8088;ws"), ["ws 192.0.2.7:8088"]);
    assert_eq!(Bench::new(&server, &[UDP, WS]).hops("a.example"), ["ws 192.0.2.1:8080"]);
    assert_eq!(both.hops("sips:a.example"), ["wss 192.0.2.1:8443"], "and never the readable one");
}

#[test]
fn naptr_records_of_other_services_count_as_none() {
    let server = NameServer::start(
        "a.example 60 NAPTR 1 1 \"u\" \"E2U+sip\" \"!^.*$!sip:x@y!\" .
         a.example 60 NAPTR 2 1 \"s\" \"SIP+D2S\" \"\" _sip._sctp.a.example
         a.example 60 A 192.0.2.1",
    );
    assert_eq!(Bench::new(&server, &[UDP]).hops("a.example"), ["udp 192.0.2.1:5060"]);
}

#[test]
fn a_service_that_is_decidedly_not_there_is_not_looked_for_at_the_host() {
    let server = NameServer::start(
        "a.example 60 NAPTR 1 1 \"s\" \"SIP+D2U\" \"\" _sip._udp.a.example
         _sip._udp.a.example 60 SRV 0 0 0 .
         a.example 60 A 192.0.2.1",
    );
    let (hops, note) = Bench::new(&server, &[UDP]).find(&question("a.example"));
    assert!(hops.is_empty());
    assert!(note.unwrap().contains("there is no such service"));
}

/// A web server has the name.
#[test]
fn a_name_with_services_is_not_itself_a_server_however_little_they_help() {
    for service in ["SRV 0 0 0 .", "SRV 1 0 5060 gone.a.example"] {
        let records = format!("_sip._udp.a.example 60 {service}\na.example 60 A 192.0.2.80");
        let server = NameServer::start(&records);
        let (hops, note) = Bench::new(&server, &[UDP]).find(&question("a.example"));
        assert!(hops.is_empty(), "{service}: {hops:?}");
        assert!(note.is_some());
    }
}

#[test]
fn weights_share_the_calls_of_one_priority_whoever_asks() {
    let server = NameServer::start(
        "_sip._udp.a.example 600 SRV 1 75 5060 gw1.a.example
         _sip._udp.a.example 600 SRV 1 25 5060 gw2.a.example
         _sip._udp.a.example 600 SRV 2 0 5060 gw3.a.example
         gw1.a.example 600 A 192.0.2.1
         gw2.a.example 600 A 192.0.2.2
         gw3.a.example 600 A 192.0.2.3",
    );
    server.negative(600);
    let mut bench = Bench::new(&server, &[UDP]);
    let mut firsts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..400 {
        let hops = bench.hops("a.example");
        assert_eq!((hops.len(), &*hops[2]), (3, "udp 192.0.2.3:5060"));
        *firsts.entry(hops[0].clone()).or_default() += 1;
    }
    assert!(firsts["udp 192.0.2.1:5060"].abs_diff(300) < 40, "{firsts:?}");
    assert_eq!(server.times("_sip._udp.a.example", "SRV"), 1);
    assert_eq!(bench.counters.lookups.get(), 1);
}

#[test]
fn both_families_are_asked_for_in_the_order_of_the_listeners() {
    let server = NameServer::start("a.example 60 A 192.0.2.1\na.example 60 AAAA 2001:db8::1");
    let (four, six) = ("udp 192.0.2.1:5060", "udp [2001:db8::1]:5060");
    assert_eq!(Bench::new(&server, &[UDP, UDP6]).hops("a.example:5060"), [four, six]);
    assert_eq!(Bench::new(&server, &[UDP6, UDP]).hops("a.example:5060"), [six, four]);
    let before = server.times("a.example", "AAAA");
    assert_eq!(Bench::new(&server, &[UDP]).hops("a.example:5060"), [four]);
    assert_eq!(server.times("a.example", "AAAA"), before, "no listener could use it");
}

#[test]
fn an_answer_is_believed_for_as_long_as_its_shortest_lived_record() {
    let server = NameServer::start(
        "_sip._udp.a.example 600 SRV 1 1 5060 gw.a.example
         gw.a.example 1 A 192.0.2.1",
    );
    server.negative(600);
    let mut bench = Bench::new(&server, &[UDP]);
    assert_eq!(bench.hops("a.example"), ["udp 192.0.2.1:5060"]);
    assert!(bench.is_known("a.example"));
    server.write("_sip._udp.a.example 600 SRV 1 1 5060 gw.a.example\ngw.a.example 60 A 192.0.2.2");
    std::thread::sleep(Duration::from_millis(2300));
    assert_eq!(bench.hops("a.example"), ["udp 192.0.2.2:5060"]);
    assert_eq!(server.times("gw.a.example", "A"), 2);
    assert_eq!(server.times("_sip._udp.a.example", "SRV"), 1, "which may be believed for longer");
}

#[test]
fn that_there_is_none_is_believed_for_as_long_as_the_zone_says() {
    let server = NameServer::start("other.example 60 A 192.0.2.1");
    server.negative(1);
    let mut bench = Bench::new(&server, &[UDP]);
    let (hops, note) = bench.find(&question("a.example:5060"));
    assert!(hops.is_empty());
    assert!(note.unwrap().starts_with("a.example: no such name"));
    let Answer::Now { note: Some(_), .. } = bench.ask(&question("a.example:5060")) else { panic!("known") };
    assert_eq!(server.times("a.example", "A"), 1);
    server.write("a.example 60 A 192.0.2.1");
    std::thread::sleep(Duration::from_millis(2300));
    assert_eq!(bench.hops("a.example:5060"), ["udp 192.0.2.1:5060"]);
}

#[test]
fn a_name_server_that_fails_is_asked_again_soon_and_its_failure_told() {
    let server = NameServer::start(CARRIER);
    server.habit("carrier.example", Habit::Fails);
    let mut bench = Bench::new(&server, &[UDP]);
    let (hops, note) = bench.find(&question("carrier.example"));
    assert!(hops.is_empty());
    assert!(note.as_deref().unwrap().to_lowercase().contains("fail"), "{note:?}");
    assert!(bench.is_known("carrier.example"), "for some seconds");
}

#[test]
fn a_server_that_cannot_answer_for_naptr_does_not_hide_the_addresses() {
    let server =
        NameServer::start("a.example 3600 A 192.0.2.1\n_sip._udp.a.example 3600 SRV 1 1 5062 a.example");
    // The habit of a name is that of what is below it, so only the name itself fails: it is asked for NAPTR first.
    server.habit("a.example", Habit::Loses(2));
    let mut bench = Bench::new(&server, &[UDP]);
    assert_eq!(bench.hops("a.example"), ["udp 192.0.2.1:5062"]);
}

#[test]
fn an_answer_that_does_not_fit_a_datagram_is_fetched_by_tcp() {
    let server = NameServer::start(CARRIER);
    server.habit("_sip._udp.carrier.example", Habit::Cuts);
    let hops = Bench::new(&server, &[UDP]).hops("carrier.example");
    assert_eq!(hops, ["udp 192.0.2.1:5060", "udp 192.0.2.2:5070"]);
    assert!(
        server.asked().iter().any(|asked| asked.is_stream && asked.kind == "SRV"),
        "{:?}",
        server.asked()
    );
}

#[test]
fn a_question_that_is_lost_is_asked_again() {
    let server = NameServer::start("a.example 60 A 192.0.2.1");
    server.habit("a.example", Habit::Loses(1));
    assert_eq!(Bench::new(&server, &[UDP]).hops("a.example:5060"), ["udp 192.0.2.1:5060"]);
}

#[test]
fn records_of_other_names_that_come_along_are_nobodys() {
    let server = NameServer::start("a.example 60 A 192.0.2.1");
    server.habit(
        "a.example",
        Habit::Lies("b.example 60 A 198.51.100.66\nwww.a.example 60 A 198.51.100.67".to_owned()),
    );
    let mut bench = Bench::new(&server, &[UDP]);
    assert_eq!(bench.hops("a.example:5060"), ["udp 192.0.2.1:5060"]);
    server.behave();
    assert!(bench.hops("b.example:5060").is_empty(), "and are not kept");
}

#[test]
fn addresses_that_mean_no_single_host_are_none() {
    let server = NameServer::start(
        "a.example 60 A 0.0.0.0\na.example 60 A 0.0.0.5\na.example 60 A 239.1.1.1\na.example 60 A 255.255.255.255\na.example 60 A 192.0.2.1",
    );
    assert_eq!(Bench::new(&server, &[UDP]).hops("a.example:5060"), ["udp 192.0.2.1:5060"]);
}

#[test]
fn aliases_are_followed_and_a_ring_of_them_ends() {
    let server = NameServer::start(
        "a.example 60 CNAME b.example
         b.example 60 CNAME c.example
         c.example 60 A 192.0.2.1
         x.example 60 CNAME y.example
         y.example 60 CNAME x.example",
    );
    let mut bench = Bench::new(&server, &[UDP]);
    assert_eq!(bench.hops("a.example:5060"), ["udp 192.0.2.1:5060"]);
    assert!(bench.hops("x.example:5060").is_empty());
    assert!(server.times("x.example", "A") < 20, "{:?}", server.asked());
}

#[test]
fn a_zone_with_thousands_of_servers_costs_a_bounded_number_of_questions() {
    let zone: String = (0..500)
        .map(|n| {
            format!(
                "_sip._udp.a.example 60 SRV {} 1 5060 gw{n}.a.example\ngw{n}.a.example 60 A 192.0.2.{}\n",
                n % 7,
                n % 250
            )
        })
        .collect();
    let server = NameServer::start(&zone);
    server.habit("_sip._udp.a.example", Habit::Cuts);
    let hops = Bench::new(&server, &[UDP]).hops("a.example");
    assert_eq!(hops.len(), 16);
    assert!(server.asked().len() < 30, "{}", server.asked().len());
}

#[test]
fn a_shard_is_answered_in_time_and_the_late_answer_serves_the_next_call() {
    let server = NameServer::start("a.example 60 A 192.0.2.1");
    server.habit("a.example", Habit::Slow(Duration::from_millis(5500)));
    let dns = Dns { servers: vec![server.address()], timeout: Duration::from_secs(8), attempts: 1 };
    let mut bench = Bench::with(&dns, &[UDP]);
    let begun = Instant::now();
    let (hops, note) = bench.find(&question("a.example:5060"));
    assert!(hops.is_empty() && note.unwrap().contains("within 5 s"));
    assert!(begun.elapsed() < Duration::from_millis(5400));
    let Answer::Now { note: Some(note), .. } = bench.ask(&question("a.example:5060")) else { panic!("late") };
    assert!(note.contains("not answered yet"), "{note}");
    let deadline = Instant::now() + SOON;
    while !matches!(bench.ask(&question("a.example:5060")), Answer::Now { hops, .. } if !hops.is_empty()) {
        assert!(Instant::now() < deadline, "what comes late is kept");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn look_ups_at_the_same_time_are_bounded_and_those_of_one_name_are_one() {
    let server = NameServer::start("");
    server.habit("example", Habit::Silent);
    let mut bench = Bench::new(&server, &[UDP]);
    for n in 0..MAX_RUNNING {
        assert_eq!(bench.ask(&question(&format!("a{n}.example:5060"))), Answer::Later);
    }
    assert_eq!(bench.ask(&question("a0.example:5060")), Answer::Later, "it waits with the first");
    let Answer::Now { hops, note } = bench.ask(&question("more.example:5060")) else { panic!("bounded") };
    assert!(hops.is_empty() && note.unwrap().contains("too many"));
    assert_eq!(bench.counters.lookups.get(), MAX_RUNNING as u64);
}

#[test]
fn localhost_is_this_machine_and_no_name_server_hears_of_it() {
    let server = NameServer::start("");
    let mut bench = Bench::new(&server, &[UDP, TCP]);
    assert_eq!(bench.hops("localhost"), ["udp 127.0.0.1:5060"]);
    assert_eq!(bench.hops("localhost:5062"), ["udp 127.0.0.1:5062"]);
    assert_eq!(bench.hops("localhost;tcp"), ["tcp 127.0.0.1:5060"]);
    assert_eq!(server.asked(), []);
}

#[test]
fn what_is_no_host_name_is_not_asked_for() {
    let server = NameServer::start("");
    let mut bench = Bench::new(&server, &[UDP]);
    for host in ["a..example", "-", &"a".repeat(64), "."] {
        assert!(bench.hops(host).is_empty(), "{host}");
    }
}
