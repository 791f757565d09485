//! What a transfer takes at trunks: those who talk keep their places, and the target has one of its own.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use routing::{Route, Snapshot, Source, Trunk, TrunkId};

use crate::bench::{PATIENCE, Sbc, header};
use crate::calls::invite;
use crate::hairpin::{accepted, next, renamed};

/// Calls of the pbx go to the carrier, and those that the carrier sends on to the third; each has room for one.
fn snapshot(peers: [&UdpSocket; 2]) -> Arc<Snapshot> {
    let mut trunks = ["pbx", "carrier", "third"].map(Trunk::new);
    trunks[0].sources = vec![Source::parse("127.0.0.0/8").unwrap()];
    for (trunk, peer) in trunks[1..].iter_mut().zip(peers) {
        trunk.peers = vec![format!("sip:{}", peer.local_addr().unwrap())];
    }
    trunks.iter_mut().for_each(|trunk| trunk.max_calls = 1);
    let route = |name: &str, from, to| {
        let mut route = Route::new(name, vec![to]);
        route.from = Some(vec![from]);
        route
    };
    let routes = vec![route("out", TrunkId(0), TrunkId(1)), route("on", TrunkId(1), TrunkId(2))];
    Arc::new(Snapshot::new(trunks.to_vec(), routes).unwrap())
}

/// How many calls each trunk has.
fn places(sbc: &Sbc) -> [u32; 3] {
    ["pbx", "carrier", "third"].map(|trunk| sbc.net.handle().trunk_calls(trunk))
}

fn await_places(sbc: &Sbc, wanted: [u32; 3]) {
    let deadline = Instant::now() + PATIENCE;
    while places(sbc) != wanted {
        assert!(Instant::now() < deadline, "expected {wanted:?}, have {:?}", places(sbc));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn callee() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// It gets a BYE, and accepts it.
fn is_hung_up(party: &UdpSocket) {
    let done = accepted(&next(party, "BYE"), party);
    let head = done.split("Content-Type").next().unwrap();
    party.send(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).unwrap();
}

#[test]
fn a_transfer_counts_who_talks_and_its_target_and_in_the_end_nobody() {
    for is_answered in [true, false] {
        let (carrier, third) = (callee(), callee());
        let sbc = Sbc::start_with(1, |config| config.snapshot = snapshot([&carrier, &third]));
        [&carrier, &third].into_iter().for_each(|socket| socket.connect(sbc.udp).unwrap());
        let phone = sbc.phone();
        let placed = invite("moves", phone.address());
        phone.send(&placed);
        let called = next(&carrier, "INVITE");
        carrier.send(accepted(&called, &carrier).as_bytes()).unwrap();
        let ok = phone.receive_past_100();
        next(&carrier, "ACK");
        phone.send(&renamed(&placed, "ACK", header(&ok, "To")).replace("z9hG4bK", "z9hG4bKack"));
        await_places(&sbc, [1, 1, 0]);

        let local = carrier.local_addr().unwrap();
        let refer = format!(
            "REFER sip:drawbridge@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKrefer\r\n\
             Max-Forwards: 70\r\nFrom: {};tag=callee\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 REFER\r\n\
             Contact: <sip:{local}>\r\nRefer-To: <sip:777@127.0.0.1>\r\nContent-Length: 0\r\n\r\n",
            header(&called, "To"),
            header(&called, "From"),
            header(&called, "Call-ID")
        );
        carrier.send(refer.as_bytes()).unwrap();
        let target = next(&third, "INVITE");
        assert_eq!(places(&sbc), [1, 1, 1]);
        if is_answered {
            third.send(accepted(&target, &third).as_bytes()).unwrap();
            is_hung_up(&carrier);
            let offer = next(&phone.socket, "INVITE");
            phone.send(&accepted(&offer, &phone.socket));
            next(&phone.socket, "ACK");
            await_places(&sbc, [1, 0, 1]);
        } else {
            let busy = accepted(&target, &third).replace("200 OK", "486 Busy Here");
            third.send(busy.as_bytes()).unwrap();
            next(&third, "ACK");
            await_places(&sbc, [1, 1, 0]);
        }
        let bye = renamed(&placed, "BYE", header(&ok, "To")).replace("1 BYE", "2 BYE");
        phone.send(&bye.replace("z9hG4bK", "z9hG4bKbye"));
        is_hung_up(if is_answered { &third } else { &carrier });
        await_places(&sbc, [0, 0, 0]);
        assert_eq!(sbc.stats().total.admitted, 0);
        sbc.net.shutdown().unwrap();
    }
}
