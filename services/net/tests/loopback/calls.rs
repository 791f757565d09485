//! Calls through the net: streams opened on demand, names looked up, trunks counted.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::Config;
use routing::{Route, Snapshot, Source, Trunk, TrunkId};

use crate::bench::{Line, PATIENCE, Sbc, request};

/// Calls of loopback go to this URI.
fn towards(peer: String) -> impl FnOnce(&mut Config) {
    let mut pbx = Trunk::new("pbx");
    pbx.sources = vec![Source::parse("127.0.0.0/8").unwrap()];
    let mut carrier = Trunk::new("carrier");
    carrier.peers = vec![peer];
    carrier.max_calls = 1;
    let snapshot = Snapshot::new(vec![pbx, carrier], vec![Route::new("out", vec![TrunkId(1)])]).unwrap();
    |config| config.snapshot = Arc::new(snapshot)
}

fn invite(call: &str, from: SocketAddr) -> String {
    let body =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    request("INVITE", call, "UDP", from).replace(
        "Content-Length: 0\r\n\r\n",
        &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    )
}

/// Copies the headers that an answer needs.
fn answer(request: &str, status: &str) -> String {
    let copied: String = request
        .lines()
        .filter(|line| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let to = request.lines().find(|line| line.starts_with("To:")).unwrap();
    format!("SIP/2.0 {status}\r\n{copied}{to};tag=callee\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn a_call_to_a_stream_peer_opens_one_connection_and_the_next_reuses_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let sbc = Sbc::start_with(2, towards(format!("sip:localhost:{};transport=tcp", peer.port())));
    let phone = sbc.phone();

    let mut line: Option<Line> = None;
    for call in ["one", "two", "three"] {
        phone.send(&invite(call, phone.address()));
        let line = line.get_or_insert_with(|| Line::new(listener.accept().unwrap().0));
        let begun = Instant::now();
        let received = line.receive();
        assert!(received.starts_with("INVITE sip:"), "{received}");
        assert!(received.contains("SIP/2.0/TCP"), "{received}");
        assert!(begun.elapsed() < Duration::from_secs(1));
        let body = received.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        line.skip(body.parse().unwrap());
        assert_eq!(sbc.net.handle().trunk_calls("carrier"), 1);

        line.send(&answer(&received, "486 Busy Here"));
        assert!(line.receive().starts_with("ACK "));
        let refused = phone.receive_past_100();
        assert!(refused.starts_with("SIP/2.0 486 "), "{refused}");
        phone.send(&request("ACK", call, "UDP", phone.address()).replace("z9hG4bKACK", "z9hG4bKINVITE"));
        let deadline = Instant::now() + PATIENCE;
        while sbc.net.handle().trunk_calls("carrier") > 0 {
            assert!(Instant::now() < deadline, "the place is given back");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let totals = sbc.net.handle().net_totals();
    assert_eq!((totals.connections_opened, totals.connections_open), (1, 1));
    assert_eq!(totals.lookups, 1, "the name is remembered");
    assert_eq!(sbc.kept.cdrs.lock().unwrap().len(), 3);
    assert_eq!(sbc.stats().total.admitted, 0);
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_stream_peer_that_is_not_there_fails_the_call_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sbc = Sbc::start_with(1, towards(format!("sip:{closed};transport=tcp")));
    let phone = sbc.phone();
    let begun = Instant::now();
    phone.send(&invite("refused", phone.address()));
    let refused = phone.receive_past_100();
    assert!(refused.starts_with("SIP/2.0 5"), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(2), "and not by a timer");
    sbc.await_totals(|totals| (totals.connections_failed, totals.connections_open) == (1, 0));
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_trunk_at_its_limit_refuses_the_next_call() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let sbc = Sbc::start_with(1, towards(format!("sip:{peer};transport=tcp")));
    let phone = sbc.phone();
    phone.send(&invite("first", phone.address()));
    let mut line = Line::new(listener.accept().unwrap().0);
    assert!(line.receive().starts_with("INVITE "));

    let second = sbc.phone();
    second.send(&invite("second", second.address()));
    let refused = second.receive_past_100();
    assert!(refused.starts_with("SIP/2.0 503 "), "{refused}");
    assert_eq!(sbc.net.handle().trunk_calls("carrier"), 1);
    sbc.net.shutdown().unwrap();
}
