//! Batches through real sockets, and what the system says no to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::poll_fn;
use std::time::Duration;

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn socket(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn datagrams(socket: UdpSocket) -> Datagrams {
    Datagrams::new(ListenerId(0), socket).unwrap()
}

async fn receive(from: &mut Datagrams, inbox: &mut Inbox) -> Vec<(Vec<u8>, SocketAddr)> {
    let batch = poll_fn(|cx| from.poll_receive(inbox, cx));
    let arrived = tokio::time::timeout(Duration::from_secs(5), batch).await.expect("something comes");
    assert!(arrived.error.is_none());
    (0..arrived.count)
        .map(|index| {
            let (bytes, remote) = inbox.datagram(index).unwrap();
            (bytes.to_vec(), remote)
        })
        .collect()
}

async fn flush(through: &mut Datagrams, counters: &Counters) -> Vec<SendToken> {
    let mut failed = Vec::new();
    poll_fn(|cx| {
        through.flush(cx, counters, &mut failed);
        if through.outbox.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    failed
}

#[test]
fn batches_go_out_and_come_in_whole_and_in_order_over_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        runtime().block_on(async {
            let ((sender, from), (receiver, to)) = (socket(address), socket(address));
            let (mut sender, mut receiver) = (datagrams(sender), datagrams(receiver));
            let (counters, mut inbox) = (Counters::default(), Inbox::new());

            let sent: Vec<Vec<u8>> = (0..75_usize).map(|i| vec![i as u8; 100 + i]).collect();
            for bytes in &sent {
                sender.push(to, Bytes::copy_from_slice(bytes), SendToken::NONE);
            }
            assert!(flush(&mut sender, &counters).await.is_empty());
            assert_eq!(counters.datagrams_out.get(), 75);

            let mut got = Vec::new();
            while got.len() < sent.len() {
                got.extend(receive(&mut receiver, &mut inbox).await);
            }
            assert!(got.iter().all(|(_, remote)| *remote == from));
            assert_eq!(got.into_iter().map(|(bytes, _)| bytes).collect::<Vec<_>>(), sent);
        });
    }
}

#[test]
fn a_single_datagram_of_the_largest_size_arrives_whole() {
    runtime().block_on(async {
        let ((sender, _), (receiver, to)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let (mut sender, mut receiver) = (datagrams(sender), datagrams(receiver));
        let largest = vec![7_u8; 65_507];
        sender.push(to, Bytes::from(largest.clone()), SendToken::NONE);
        flush(&mut sender, &Counters::default()).await;
        let got = receive(&mut receiver, &mut Inbox::new()).await;
        assert_eq!(got.first().map(|(bytes, _)| bytes), Some(&largest));
    });
}

#[test]
fn what_the_system_refuses_is_reported_and_what_is_behind_it_goes_on() {
    runtime().block_on(async {
        let ((sender, _), (receiver, to)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let (mut sender, mut receiver) = (datagrams(sender), datagrams(receiver));
        let counters = Counters::default();
        sender.push(to, Bytes::from_static(b"first"), SendToken(1));
        sender.push(to, Bytes::from(vec![0; 65_536]), SendToken(2));
        sender.push(to, Bytes::from_static(b"second"), SendToken(3));
        sender.push("[::1]:9".parse().unwrap(), Bytes::from_static(b"other family"), SendToken(4));

        assert_eq!(flush(&mut sender, &counters).await, [SendToken(2), SendToken(4)]);
        assert_eq!((counters.datagrams_out.get(), counters.datagrams_unsent.get()), (2, 2));
        let (mut inbox, mut got) = (Inbox::new(), Vec::new());
        while got.len() < 2 {
            got.extend(receive(&mut receiver, &mut inbox).await.into_iter().map(|(bytes, _)| bytes));
        }
        assert_eq!(got, [b"first".to_vec(), b"second".to_vec()]);
    });
}

#[test]
fn a_port_that_nobody_listens_on_does_not_disturb_the_others() {
    runtime().block_on(async {
        let closed = socket("127.0.0.1:0").1;
        let ((sender, _), (receiver, to)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let (mut sender, mut receiver) = (datagrams(sender), datagrams(receiver));
        for _ in 0..3 {
            sender.push(closed, Bytes::from_static(b"nobody"), SendToken(1));
            sender.push(to, Bytes::from_static(b"somebody"), SendToken(2));
            assert!(flush(&mut sender, &Counters::default()).await.is_empty());
        }
        let (mut inbox, mut got) = (Inbox::new(), 0);
        while got < 3 {
            got += receive(&mut receiver, &mut inbox).await.len();
        }
    });
}

#[test]
fn of_a_datagram_that_did_not_arrive_its_target_and_its_beginning_are_told() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        runtime().block_on(async {
            let closed = socket(address).1;
            let ((sender, _), (receiver, to)) = (socket(address), socket(address));
            let (mut sender, mut receiver) = (datagrams(sender), datagrams(receiver));
            let text = [&b"INVITE sip:nobody"[..], &[b'x'; 2_000]].concat();
            for _ in 0..3 {
                sender.push(closed, Bytes::from(text.clone()), SendToken(1));
                sender.push(to, Bytes::from_static(b"somebody"), SendToken(2));
            }
            assert!(flush(&mut sender, &Counters::default()).await.is_empty());
            let (mut inbox, mut got) = (Inbox::new(), 0);
            while got < 3 {
                got += receive(&mut receiver, &mut inbox).await.len();
            }
            // The last may be told only when somebody looks.
            let told = poll_fn(|cx| {
                let looked = sender.poll_receive(&mut inbox, cx);
                if looked.is_ready() && sender.unreachable.is_empty() {
                    cx.waker().wake_by_ref();
                }
                if sender.unreachable.is_empty() { Poll::Pending } else { Poll::Ready(()) }
            });
            tokio::time::timeout(Duration::from_secs(5), told).await.expect("it is told");
            for Unreachable { remote, quote } in &sender.unreachable {
                assert_eq!(*remote, closed);
                assert!(quote.len() >= 400 && text.starts_with(quote), "{} octets", quote.len());
            }
        });
    }
}

#[test]
fn who_waits_for_datagrams_is_woken_by_news_of_one_that_did_not_arrive() {
    runtime().block_on(async {
        let closed = socket("127.0.0.1:0").1;
        let mut sender = datagrams(socket("127.0.0.1:0").0);
        let mut inbox = Inbox::new();
        assert!(poll_fn(|cx| Poll::Ready(sender.poll_receive(&mut inbox, cx))).await.is_pending());
        sender.push(closed, Bytes::from_static(b"nobody"), SendToken(1));
        flush(&mut sender, &Counters::default()).await;
        let woken = poll_fn(|cx| sender.poll_receive(&mut inbox, cx));
        tokio::time::timeout(Duration::from_secs(5), woken).await.expect("the socket has news");
        assert_eq!(sender.unreachable.len(), 1);
    });
}

#[test]
fn a_flood_of_such_news_is_taken_in_portions() {
    runtime().block_on(async {
        let closed = socket("127.0.0.1:0").1;
        let mut sender = datagrams(socket("127.0.0.1:0").0);
        for _ in 0..40 {
            for _ in 0..BATCH {
                sender.push(closed, Bytes::from_static(b"nobody"), SendToken(1));
            }
            flush(&mut sender, &Counters::default()).await;
        }
        assert!(!sender.unreachable.is_empty() && sender.unreachable.len() <= 32);
    });
}

#[test]
fn a_socket_that_has_room_is_not_watched_for_room() {
    runtime().block_on(async {
        let ((sender, _), (_receiver, to)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let mut sender = datagrams(sender);
        for _ in 0..20 {
            sender.push(to, Bytes::from_static(b"x"), SendToken::NONE);
            flush(&mut sender, &Counters::default()).await;
        }
        let news_of_room = poll_fn(|cx| sender.socket.poll_write_ready(cx).map(|_| ()));
        let waited = tokio::time::timeout(Duration::from_millis(50), news_of_room).await;
        assert!(waited.is_err() && sender.full.is_none(), "each send would wake the shard once more");
    });
}
