//! RTCP BYE (RFC 3550 §6.6) of the box, through real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use call::{Keying, MediaId, MediaOrder, Protection, RemoteStream, Side, SrtpKeys};
use harness::{Bench, Phone, REPORT, expect_nothing, from_relay, receive, rtp};
use sip::{MasterKey, SrtpSuite};

/// An empty report of the source of [`REPORT`], and its BYE.
const BYE: [u8; 16] = [0x80, 201, 0, 1, 0x5e, 0xed, 0, 1, 0x81, 203, 0, 1, 0x5e, 0xed, 0, 1];

/// A call in which A was heard, and its control where it has sent any.
fn heard(bench: &mut Bench, a: &Phone, b: &Phone, control: &[&[u8]]) -> call::StreamPorts {
    let ports = bench.call(1, a, b);
    a.send(ports.a.rtp, &rtp(1));
    receive(&b.rtp);
    // The ports for control are opened with the first packet.
    bench.totals_when(|totals| totals.sockets >= 4);
    for packet in control {
        a.send_control(ports.a.rtcp, packet);
        assert_eq!(receive(&b.rtcp).0, *packet);
    }
    ports
}

#[test]
fn who_outlives_a_party_that_said_nothing_is_told_at_the_end_and_nobody_else_is() {
    let mut bench = Bench::new(24_500..=24_519);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = heard(&mut bench, &a, &b, &[&REPORT]);
    bench.close(1);
    assert_eq!(receive(&b.rtcp), (BYE.to_vec(), from_relay(ports.b.rtcp)));
    for socket in [&b.rtcp, &b.rtp, &a.rtcp, &a.rtp] {
        expect_nothing(socket);
    }
}

#[test]
fn a_bye_that_was_relayed_is_not_said_again_and_a_call_without_control_hears_none() {
    let mut bench = Bench::new(24_520..=24_539);
    for control in [&[&REPORT[..], &BYE][..], &[]] {
        let (a, b) = (Phone::new(), Phone::new());
        heard(&mut bench, &a, &b, control);
        bench.close(1);
        for socket in [&b.rtcp, &b.rtp, &a.rtcp, &a.rtp] {
            expect_nothing(socket);
        }
    }
}

#[test]
fn a_side_whose_opposite_rejects_the_stream_is_told_and_only_once() {
    let mut bench = Bench::new(24_540..=24_559);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = heard(&mut bench, &a, &b, &[&REPORT]);
    bench.describe(1, Side::A, None);
    assert_eq!(receive(&b.rtcp), (BYE.to_vec(), from_relay(ports.b.rtcp)));
    bench.describe(1, Side::B, None);
    bench.close(1);
    expect_nothing(&b.rtcp);
    expect_nothing(&a.rtcp);
}

#[test]
fn an_encrypted_side_that_multiplexes_is_told_on_its_one_port() {
    let mut bench = Bench::new(24_560..=24_599);
    let suite = SrtpSuite::AeadAes256Gcm;
    let master = MasterKey::new(suite, &[7; 44]).unwrap();
    let secure = |session: u64, phone: &Phone| {
        let rtcp = phone.rtp.local_addr().unwrap();
        let keys = SrtpKeys { suite, inbound: master.clone(), outbound: master.clone() };
        let order = MediaOrder::Describe {
            session: MediaId(session),
            stream: 0,
            side: Side::B,
            remote: Some(RemoteStream { rtcp, ..phone.description() }),
            protection: Some(Box::new(Protection { keying: Keying::Sdes(keys), ice: None })),
        };
        (session, order)
    };
    let (a, b, reader, writer) = (Phone::new(), Phone::new(), Phone::new(), Phone::new());
    let orders = [secure(1, &b), secure(2, &writer)];
    let ports = bench.call(1, &a, &b);
    // Another call with the same key, which takes off what the first has put on.
    let other = bench.call(2, &reader, &writer);
    for (_, order) in orders {
        assert_eq!(bench.order(order), []);
    }
    let read = |packet: &[u8]| {
        writer.send(other.b.rtp, packet);
        receive(&reader.rtcp).0
    };
    for (phone, port) in [(&a, ports.a.rtp), (&reader, other.a.rtp)] {
        phone.send(port, &rtp(1));
    }
    receive(&b.rtp);
    receive(&writer.rtp);
    bench.totals_when(|totals| totals.sockets >= 8);
    a.send_control(ports.a.rtcp, &REPORT);
    assert_eq!(read(&receive(&b.rtp).0), REPORT);
    bench.close(1);
    let (last, from) = receive(&b.rtp);
    assert_eq!((read(&last), from), (BYE.to_vec(), from_relay(ports.b.rtp)));
    assert_ne!(last[..BYE.len()], BYE, "it is encrypted");
    expect_nothing(&b.rtcp);
}
