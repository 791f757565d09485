//! Calls through the net: streams opened on demand, names looked up, trunks counted.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::Config;
use routing::{Route, Snapshot, Source, Trunk, TrunkId};

use crate::bench::{Line, PATIENCE, Sbc, call_id, request};

/// Calls of loopback go to this URI.
pub fn towards(peer: String) -> impl FnOnce(&mut Config) {
    let mut pbx = Trunk::new("pbx");
    pbx.sources = vec![Source::parse("127.0.0.0/8").unwrap()];
    let mut carrier = Trunk::new("carrier");
    carrier.peers = vec![peer];
    carrier.max_calls = 1;
    let snapshot = Snapshot::new(vec![pbx, carrier], vec![Route::new("out", vec![TrunkId(1)])]).unwrap();
    |config| config.snapshot = Arc::new(snapshot)
}

pub fn invite(call: &str, from: SocketAddr) -> String {
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

/// A callee that answers 180 and 200 in one breath. Ends with its socket's patience.
fn hasty_callee(socket: UdpSocket) {
    let mut room = [0; 65_536];
    while let Ok((length, from)) = socket.recv_from(&mut room) {
        let request = String::from_utf8_lossy(&room[..length]);
        if request.starts_with("INVITE ") {
            for status in ["180 Ringing", "200 OK"] {
                socket.send_to(answer(&request, status).as_bytes(), from).unwrap();
            }
        }
    }
}

#[test]
fn a_180_and_a_200_back_to_back_never_overtake_each_other() {
    const CALLERS: usize = 5;
    const CALLS: usize = 200;
    let callee = UdpSocket::bind("127.0.0.1:0").unwrap();
    callee.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let peer = callee.local_addr().unwrap();
    let sbc = Sbc::start_with(2, |config| {
        towards(format!("sip:{peer}"))(config);
        config.limits.queue_messages = 100_000;
        config.settings.max_calls = 10_000;
        let mut snapshot_trunks = config.snapshot.trunks().to_vec();
        snapshot_trunks[1].max_calls = 0;
        config.snapshot =
            Arc::new(Snapshot::new(snapshot_trunks, vec![Route::new("out", vec![TrunkId(1)])]).unwrap());
    });
    let callee = std::thread::spawn(move || hasty_callee(callee));
    // Several callers, so that calls arrive at either socket and belong to either shard.
    for caller in 0..CALLERS {
        let phone = sbc.phone();
        let mut heard: HashMap<String, Vec<String>> = HashMap::new();
        let mut answered = 0;
        for call in 0..CALLS {
            phone.send(&invite(&format!("hasty-{caller}-{call}"), phone.address()));
            // A few at a time are under way.
            while answered + 8 < call || (call + 1 == CALLS && answered < CALLS) {
                let text = phone.receive_past_100();
                let seen = heard.entry(call_id(&text).to_owned()).or_default();
                let status = text[8..11].to_owned();
                let is_repetition = seen.contains(&status);
                answered += usize::from(status == "200" && !is_repetition);
                seen.push(status);
            }
        }
        assert_eq!(heard.len(), CALLS);
        for (call, mut statuses) in heard {
            statuses.dedup();
            assert_eq!(statuses, ["180", "200"], "{call}");
        }
    }
    let totals = sbc.net.handle().net_totals();
    assert!(totals.handed_over > 0, "messages crossed from shard to shard: {totals:?}");
    sbc.net.shutdown().unwrap();
    callee.join().unwrap();
}

#[test]
fn a_response_whose_connection_is_gone_goes_to_where_its_via_says() {
    let callee = UdpSocket::bind("127.0.0.1:0").unwrap();
    callee.set_read_timeout(Some(PATIENCE)).unwrap();
    let sbc = Sbc::start_with(2, towards(format!("sip:{}", callee.local_addr().unwrap())));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sent_by = listener.local_addr().unwrap();
    let mut line = sbc.dial();
    line.send(&invite("moved", sent_by).replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
    assert!(line.receive().starts_with("SIP/2.0 100 "));
    let mut room = [0; 65_536];
    let (length, from) = callee.recv_from(&mut room).unwrap();
    drop(line);
    sbc.await_totals(|totals| totals.connections_open == 0);

    let request = String::from_utf8_lossy(&room[..length]);
    callee.send_to(answer(&request, "486 Busy Here").as_bytes(), from).unwrap();
    let mut line = Line::new(listener.accept().unwrap().0);
    let busy = line.receive();
    assert!(busy.starts_with("SIP/2.0 486 ") && call_id(&busy) == "moved", "{busy}");
    sbc.net.shutdown().unwrap();
}
