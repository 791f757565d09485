//! Peers and servers that are not there: what is found out on the wire moves a call on at once, and the next call with it.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nameserver::NameServer;
use net::{Config, Dns};
use routing::{Route, Snapshot, TrunkId};

use crate::bench::{Line, PATIENCE, Sbc};
use crate::calls::{invite, towards};

/// No timer of a transaction is as short.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Calls go to the first of these peers, and to the next when nothing comes of it.
fn towards_each(peers: Vec<String>) -> impl FnOnce(&mut Config) {
    move |config| {
        towards("sip:127.0.0.1:9".to_owned())(config);
        let mut trunks = config.snapshot.trunks().to_vec();
        (trunks[1].peers, trunks[1].max_calls) = (peers, 0);
        let mut route = Route::new("out", vec![TrunkId(1)]);
        route.failover = routing::default_failover();
        config.snapshot = Arc::new(Snapshot::new(trunks, vec![route]).unwrap());
    }
}

fn callee() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn invited(callee: &UdpSocket) -> String {
    let mut room = [0; 65_536];
    let length = callee.recv(&mut room).expect("the callee is called");
    let text = String::from_utf8_lossy(&room[..length]).into_owned();
    assert!(text.starts_with("INVITE "), "{text}");
    text
}

/// The peer has read the INVITE, or its system has; whoever it was is not there any more (RFC 3261 §8.1.3.1).
#[test]
fn an_invite_whose_connection_closes_unanswered_goes_to_the_next_peer_at_once() {
    let dying = TcpListener::bind("127.0.0.1:0").unwrap();
    let (next, next_at) = callee();
    let peers = vec![format!("sip:{};transport=tcp", dying.local_addr().unwrap()), format!("sip:{next_at}")];
    for shards in [1, 2] {
        let sbc = Sbc::start_with(shards, towards_each(peers.clone()));
        let phone = sbc.phone();
        phone.send(&invite("severed", phone.address()));
        let mut line = Line::new(dying.accept().unwrap().0);
        assert!(line.receive().starts_with("INVITE "));
        let begun = Instant::now();
        drop(line);
        invited(&next);
        assert!(begun.elapsed() < AT_ONCE, "and not by a timer");
        sbc.net.shutdown().unwrap();
    }
}

#[test]
fn a_datagram_to_a_port_that_is_closed_moves_the_call_on_at_once_whichever_shard_has_it() {
    let (next, next_at) = callee();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sbc = Sbc::start_with(3, towards_each(vec![format!("sip:{closed}"), format!("sip:{next_at}")]));
    let phone = sbc.phone();
    for call in 0..8 {
        let begun = Instant::now();
        phone.send(&invite(&format!("closed{call}"), phone.address()));
        invited(&next);
        assert!(begun.elapsed() < AT_ONCE, "and not by a timer");
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_server_of_a_name_that_said_nothing_is_tried_last_by_the_next_call() {
    let ((dead, dead_at), (alive, alive_at)) = (callee(), callee());
    let names = NameServer::start(&format!(
        "_sip._udp.carrier.example 60 SRV 10 1 {} host.carrier.example
         _sip._udp.carrier.example 60 SRV 20 1 {} host.carrier.example
         host.carrier.example 60 A 127.0.0.1",
        dead_at.port(),
        alive_at.port()
    ));
    let sbc = Sbc::start_with(2, |config| {
        towards_each(vec!["sip:carrier.example;transport=udp".to_owned()])(config);
        config.dns = Dns { servers: vec![names.address()], ..Dns::default() };
        config.settings.timing.t1 = Duration::from_millis(25);
    });
    let phone = sbc.phone();
    phone.send(&invite("first", phone.address()));
    let first = invited(&dead);
    assert!(first.starts_with("INVITE sip:bob@"));
    // Until Timer B.
    invited(&alive);
    // Another shard may have these.
    for call in ["second", "third", "fourth"] {
        phone.send(&invite(call, phone.address()).replace("sip:bob@", &format!("sip:{call}@")));
        while !invited(&alive).starts_with(&format!("INVITE sip:{call}@")) {}
    }
    dead.set_nonblocking(true).unwrap();
    let mut room = [0; 65_536];
    while let Ok(length) = dead.recv(&mut room) {
        assert!(room[..length].starts_with(b"INVITE sip:bob@"), "nobody else was sent there");
    }
    sbc.net.shutdown().unwrap();
}
