//! Key presses through a relay with real sockets: taken out of a stream, and played into one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::time::{Duration, Instant};

use call::{Digit, MediaId, MediaOrder, MediaReport, Side};
use harness::{Bench, Phone, expect_nothing, receive, rtp};

const EVENTS: u8 = 101;

fn event(sequence: u16, digit: u8, end: bool, units: u16) -> Vec<u8> {
    let mut packet = rtp(sequence);
    packet.truncate(12);
    packet[1] = EVENTS;
    packet[4..8].copy_from_slice(&9_000u32.to_be_bytes());
    packet.extend([digit, if end { 0x8a } else { 0x0a }]);
    packet.extend(units.to_be_bytes());
    packet
}

#[test]
fn a_key_that_is_taken_out_is_reported_once_and_the_talk_goes_on() {
    let mut bench = Bench::new(23_000..=23_019);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let session = MediaId(1);
    let order = MediaOrder::TakeDigits { session, stream: 0, side: Side::A, payload_type: Some(EVENTS) };
    assert_eq!(bench.order(order), []);
    a.send(ports.a.rtp, &rtp(1));
    assert_eq!(receive(&b.rtp).0, rtp(1));
    for (sequence, end) in [(2, false), (3, true), (4, true), (5, true)] {
        a.send(ports.a.rtp, &event(sequence, 7, end, 800));
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut reports = Vec::new();
    while reports.is_empty() && Instant::now() < deadline {
        reports = bench.poll();
    }
    let digit = Digit::new(7, 100).unwrap();
    assert_eq!(reports, [MediaReport::Digit { session, side: Side::A, digit }]);
    a.send(ports.a.rtp, &rtp(6));
    let mut next = rtp(6);
    next[2..4].copy_from_slice(&2u16.to_be_bytes());
    assert_eq!(receive(&b.rtp).0, next, "no gap is where the key was");
    a.send(ports.a.rtp, &rtp(8));
    next = rtp(8);
    next[2..4].copy_from_slice(&4u16.to_be_bytes());
    assert_eq!(receive(&b.rtp).0, next, "and a packet that was lost is");
    expect_nothing(&b.rtp);
    assert_eq!(bench.poll(), []);
    bench.close(1);
}

#[test]
fn a_digit_is_played_also_where_nobody_talks_and_in_one_stream_with_who_does() {
    let mut bench = Bench::new(23_020..=23_039);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    let session = MediaId(1);
    let play = |bench: &mut Bench, event| {
        let digit = Digit::new(event, 80).unwrap();
        let order =
            MediaOrder::PlayDigit { session, stream: 0, side: Side::B, payload_type: EVENTS, digit, seed: 7 };
        assert_eq!(bench.order(order), []);
    };
    play(&mut bench, 4);
    let packets: Vec<Vec<u8>> = (0..6).map(|_| receive(&b.rtp).0).collect();
    assert!(packets.iter().all(|packet| packet[1] & 0x7f == EVENTS && packet[12] == 4), "{packets:?}");
    assert_eq!(packets.iter().filter(|packet| packet[13] & 0x80 != 0).count(), 3, "the end three times");

    a.send(ports.a.rtp, &rtp(1));
    assert_eq!(receive(&b.rtp).0, rtp(1), "another source has numbers of its own");
    play(&mut bench, 5);
    let packets: Vec<Vec<u8>> = (0..6).map(|_| receive(&b.rtp).0).collect();
    let numbers: Vec<u16> = packets.iter().map(|packet| u16::from_be_bytes([packet[2], packet[3]])).collect();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
    assert!(packets.iter().all(|packet| packet[8..12] == rtp(1)[8..12]), "one source");
    std::thread::sleep(Duration::from_millis(20));
    a.send(ports.a.rtp, &rtp(9));
    assert_eq!(receive(&b.rtp).0[2..4], [0, 8]);
    expect_nothing(&b.rtp);
    bench.close(1);
}
