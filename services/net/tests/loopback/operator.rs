//! The operator's side: answers from all shards, and an error in good time from one that hangs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use call::{BindingChange, Flow, ListenerId, RegistrarPolicy, Utc};
use net::HandleError;
use routing::Snapshot;
use uuid::Uuid;

use crate::bench::{PATIENCE, Sbc, request};

#[test]
fn an_idle_box_has_no_calls_and_all_levels_at_zero() {
    let sbc = Sbc::start(2);
    let handle = sbc.net.handle();
    let nobody = Uuid::from_u128(1);
    assert_eq!(sbc.wait(handle.calls(10)), Ok(Vec::new()));
    assert_eq!(sbc.wait(handle.call(nobody)), Ok(None));
    assert_eq!(sbc.wait(handle.hang_up(nobody)), Ok(false));
    assert_eq!(sbc.wait(handle.reload(Arc::new(Snapshot::empty()), RegistrarPolicy::OpenLoopback)), Ok(()));
    assert_eq!(sbc.wait(handle.end_all()), Ok(()));
    assert_eq!(sbc.wait(handle.drain()), Ok(()));
    let stats = sbc.stats();
    assert_eq!(stats.shards.len(), 2);
    let core = stats.total.core;
    assert_eq!((core.calls, core.legs, core.transactions, stats.total.ports), (0, 0, 0, 0));
    assert_eq!(sbc.net.failed_shard(), None);
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_box_that_has_ended_says_so() {
    let sbc = Sbc::start(2);
    let handle = sbc.net.handle();
    let address = sbc.udp;
    sbc.net.shutdown().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(handle.stats()), Err(HandleError::Gone { shard: 0 }));
    std::net::UdpSocket::bind(address).expect("its address is free again");
}

#[test]
fn kept_registrations_reach_every_shard() {
    let sbc = Sbc::start(2);
    let kept = BindingChange {
        user: "alice".into(),
        contact: "sip:alice@127.0.0.1:5999".into(),
        flow: Flow { listener: ListenerId(0), remote: "127.0.0.1:5999".parse().unwrap(), connection: 0 },
        expires_at: Utc(i64::MAX),
        call_id: "r".into(),
        cseq: 1,
        q: 1000,
        user_agent: None,
    };
    sbc.wait(sbc.net.handle().bindings(vec![kept])).unwrap();
    let stats = sbc.stats();
    assert!(stats.shards.iter().all(|shard| shard.core.bindings == 1), "{stats:?}");
    assert_eq!(stats.total.core.bindings, 1, "one registration, known everywhere");
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_registration_on_one_shard_is_recorded_once_and_known_to_the_others() {
    let sbc = Sbc::start(2);
    let phone = sbc.phone();
    phone.send(&request("REGISTER", "r1", "UDP", phone.address()).replace("sip:bob@", "sip:alice@"));
    let answer = phone.receive();
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let deadline = Instant::now() + PATIENCE;
    while !sbc.stats().shards.iter().all(|shard| shard.core.bindings == 1) {
        assert!(Instant::now() < deadline, "{:?}", sbc.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(sbc.kept.bindings.lock().unwrap().len(), 1);
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_media_engine_wakes_its_shard() {
    let sbc = Sbc::start(2);
    // Wait for the first poll at the start, so that the next is the waker's.
    sbc.stats();
    let polls = |shard: usize| sbc.engines[shard].polls.load(Ordering::SeqCst);
    let begun = Instant::now();
    // By its tick alone it would poll once a second.
    let rounds = 20;
    for _ in 0..rounds {
        let before = polls(1);
        sbc.wakers.waker(1)();
        while polls(1) == before {
            assert!(begun.elapsed() < Duration::from_secs(rounds / 2), "woken at once and not by the second");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_shard_that_hangs_is_reported_and_the_others_work() {
    let sbc = Sbc::start_with(2, |config| config.limits.queue_messages = 4);
    sbc.stats();
    sbc.engines[1].block.store(4_000, Ordering::SeqCst);
    sbc.wakers.waker(1)();
    std::thread::sleep(Duration::from_millis(50));

    // Peers whose datagrams arrive at the working shard: calls of both, more than the other's queue holds.
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..6 {
        let phone = sbc.phone();
        phone.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let own =
            (0..).map(|count| format!("own{count}")).find(|call| call::shard_of(call.as_bytes(), 2) == 0);
        phone.send(&request("BYE", &own.unwrap(), "UDP", phone.address()));
        let mut room = [0; 4096];
        if phone.socket.recv(&mut room).is_err() {
            continue;
        }
        answered += 1;
        let theirs =
            (0..).map(|count| format!("c{count}")).filter(|call| call::shard_of(call.as_bytes(), 2) == 1);
        for call in theirs.take(8) {
            phone.send(&request("INVITE", &call, "UDP", phone.address()));
        }
        while let Ok(length) = phone.socket.recv(&mut room) {
            let text = String::from_utf8_lossy(&room[..length]);
            assert!(text.starts_with("SIP/2.0 503 ") && text.contains("Retry-After: "), "{text}");
            refused += 1;
        }
    }
    assert!(answered > 0, "some peer's datagrams arrive at the working shard");
    assert!(refused >= 4, "{refused}");
    let totals = sbc.net.handle().net_totals();
    assert_eq!((totals.answered_503, totals.dropped_queue_full), (refused, refused));

    let begun = Instant::now();
    assert_eq!(sbc.wait(sbc.net.handle().stats()), Err(HandleError::Busy { shard: 1 }));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    std::thread::sleep(Duration::from_secs(1));
    assert!(sbc.wait(sbc.net.handle().stats()).is_ok(), "it works again");
    sbc.net.shutdown().unwrap();
}
