//! Packets of media and their control: what is read of a header lies in it and is what a second reader finds there; a
//! datagram is one thing and stays that whatever is behind it; and reports tell of no round trip that there was not.

use std::time::Duration;

use media::reading::{Datagram, RoundTrip, RtpHeader, classify_media, is_rtcp};
use sip::Time;

/// The first byte says whether the port has control too; what follows is one datagram, and also a conversation.
pub(crate) fn check(bytes: &[u8]) {
    let Some((seed, packet)) = bytes.split_first() else { return };
    let muxed = seed & 1 == 1;
    let datagram = classify_media(packet, muxed);
    match datagram {
        Datagram::Rtp(header) => is_what_it_says(packet, header),
        Datagram::Rtcp => assert!(muxed && is_rtcp(packet), "control comes where it may"),
        Datagram::Stun => assert!(packet.len() >= 20 && packet[0] < 0x40 && !is_rtcp(packet)),
        Datagram::Other => {}
    }
    if !is_rtcp(packet) {
        assert_eq!(classify_media(packet, true), classify_media(packet, false), "nothing else depends on it");
    }
    is_no_more_when_shorter(packet, muxed, datagram);
    converse(*seed, packet);
}

/// A second reader, octet by octet (RFC 3550 §5.1).
fn is_what_it_says(packet: &[u8], header: RtpHeader) {
    let number = |at: usize, count: usize| {
        packet[at..at + count].iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet))
    };
    assert_eq!(packet[0] >> 6, 2);
    assert_eq!(u64::from(header.payload_type), number(1, 1) & 0x7f);
    assert_eq!(u64::from(header.sequence), number(2, 2));
    assert_eq!(u64::from(header.timestamp), number(4, 4));
    assert_eq!(u64::from(header.ssrc), number(8, 4));
    let sources = 4 * usize::from(packet[0] & 15);
    let extension = match packet[0] & 0x10 {
        0 => 0,
        _ => 4 + 4 * number(12 + sources + 2, 2) as usize,
    };
    let before = 12 + sources + extension;
    assert!(before + header.payload <= packet.len(), "no octet is payload that is not there");
    if packet[0] & 0x20 == 0 {
        assert_eq!(before + header.payload, packet.len());
    }
}

/// What is cut off a datagram takes nothing away but payload.
fn is_no_more_when_shorter(packet: &[u8], muxed: bool, datagram: Datagram) {
    for length in 0..packet.len().min(64) {
        match (classify_media(&packet[..length], muxed), datagram) {
            (Datagram::Rtp(short), Datagram::Rtp(long)) => {
                assert_eq!(RtpHeader { payload: 0, ..short }, RtpHeader { payload: 0, ..long });
            }
            (Datagram::Rtcp, whole) => assert_eq!(whole, Datagram::Rtcp),
            (Datagram::Stun, whole) => assert_eq!(whole, Datagram::Stun),
            (Datagram::Rtp(_) | Datagram::Other, _) => {}
        }
    }
}

/// Each piece begins with its length in words, whose highest bit says which way it goes.
fn converse(seed: u8, mut pieces: &[u8]) {
    let mut trip = RoundTrip::default();
    let mut now = Time::ZERO;
    while let Some((first, rest)) = pieces.split_first() {
        let (piece, rest) = rest.split_at((usize::from(first & 0x7f) * 4).min(rest.len()));
        pieces = rest;
        match first & 0x80 {
            0 => trip.heard(piece, now),
            _ => trip.sent(piece, now),
        }
        let passed = now.since(Time::ZERO).as_millis();
        assert!(
            trip.milliseconds().is_none_or(|way| u128::from(way) <= passed),
            "longer than it was looked at"
        );
        now = now + Duration::from_millis(u64::from(seed) * 7);
    }
}
