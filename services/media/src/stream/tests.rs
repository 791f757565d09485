#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const PHONE_A: &str = "192.0.2.10:4000";
const PHONE_B: &str = "198.51.100.20:6000";
/// Where A's signalling comes from: the outside of its NAT.
const NAT_A: &str = "203.0.113.1";
const STRANGER: &str = "203.0.113.66:4000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn remote(rtp: &str, signalling: &str) -> RemoteStream {
    let rtp = address(rtp);
    RemoteStream {
        rtp,
        rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1),
        signalling: signalling.parse().unwrap(),
        sends: true,
        receives: true,
        is_rtp: true,
        is_audio: true,
    }
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend([0xd5; 160]);
    packet
}

const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];

/// A stream with a phone behind a NAT as A and a plain gateway as B.
fn described() -> Stream {
    let mut stream = Stream::default();
    stream.describe(Side::A, Some(remote(PHONE_A, NAT_A)));
    stream.describe(Side::B, Some(remote(PHONE_B, "198.51.100.20")));
    stream
}

fn media(stream: &mut Stream, from: Side, source: &str) -> Verdict {
    stream.receive(from, Channel::Rtp, address(source), &rtp(1), Time::ZERO)
}

fn control(stream: &mut Stream, from: Side, source: &str) -> Verdict {
    stream.receive(from, Channel::Rtcp, address(source), &RECEIVER_REPORT, Time::ZERO)
}

fn relayed_to(to: &str) -> Verdict {
    Verdict::Relay { out: Channel::Rtp, to: address(to), connected: false, media: Some(160) }
}

fn control_to(to: &str) -> Verdict {
    Verdict::Relay { out: Channel::Rtcp, to: address(to), connected: false, media: None }
}

fn dropped(stream: &mut Stream) -> (u64, u64) {
    let (a, b) = stream.close();
    (a.dropped, b.dropped)
}

#[test]
fn nothing_goes_to_a_side_before_its_address_is_known() {
    let mut stream = Stream::default();
    stream.describe(Side::A, Some(remote(PHONE_A, NAT_A)));
    assert_eq!(media(&mut stream, Side::A, PHONE_A), Verdict::Drop);
    assert_eq!(control(&mut stream, Side::A, "192.0.2.10:4001"), Verdict::Drop);
    assert_eq!(media(&mut stream, Side::B, PHONE_B), Verdict::Drop, "nobody has described B yet");

    stream.describe(Side::B, Some(remote(PHONE_B, "198.51.100.20")));
    assert_eq!(media(&mut stream, Side::A, PHONE_A), relayed_to(PHONE_B));
    let (a, b) = stream.close();
    assert_eq!((a.packets, a.dropped), (1, 2));
    assert_eq!((b.packets, b.dropped), (0, 1));
}

#[test]
fn each_side_is_sent_what_the_other_sends() {
    let mut stream = described();
    assert_eq!(media(&mut stream, Side::A, PHONE_A), relayed_to(PHONE_B));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to(PHONE_A));
    assert_eq!(control(&mut stream, Side::A, "192.0.2.10:4001"), control_to("198.51.100.20:6001"));
    let (a, b) = stream.close();
    assert_eq!((a.packets, a.octets, a.dropped), (1, 160, 0));
    assert_eq!((b.packets, b.octets, b.dropped), (1, 160, 0));
}

#[test]
fn the_first_packet_from_behind_the_nat_shows_where_the_phone_is() {
    let mut stream = described();
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to(PHONE_A), "all that is known so far");
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), relayed_to(PHONE_B));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to("203.0.113.1:61000"));
}

#[test]
fn strangers_are_dropped_and_counted_before_and_after_latching() {
    let mut stream = described();
    assert_eq!(media(&mut stream, Side::A, STRANGER), Verdict::Drop);
    media(&mut stream, Side::A, "203.0.113.1:61000");
    assert_eq!(media(&mut stream, Side::A, STRANGER), Verdict::Drop);
    assert_eq!(
        media(&mut stream, Side::A, "203.0.113.1:61002"),
        Verdict::Drop,
        "another port of the same host"
    );
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to("203.0.113.1:61000"));
    assert_eq!(dropped(&mut stream), (3, 0));
}

#[test]
fn only_rtp_earns_a_latch() {
    let mut stream = described();
    let mut binding_request = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    binding_request.extend([0; 12]);
    for probe in [&b"\x16\xfe\xfd"[..], b"hello", b"", &binding_request] {
        let verdict = stream.receive(Side::A, Channel::Rtp, address("203.0.113.1:5"), probe, Time::ZERO);
        assert!(matches!(verdict, Verdict::Drop | Verdict::NotRtp), "{verdict:?} for {probe:?}");
    }
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), relayed_to(PHONE_B));
}

#[test]
fn the_described_address_may_send_what_is_not_rtp_where_it_has_not_said_rtp() {
    let mut stream = described();
    stream.describe(Side::B, Some(RemoteStream { is_rtp: false, ..remote(PHONE_B, "198.51.100.20") }));
    let udptl = [0, 1, 2, 3, 4];
    let verdict = stream.receive(Side::B, Channel::Rtp, address(PHONE_B), &udptl, Time::ZERO);
    let expected =
        Verdict::Relay { out: Channel::Rtp, to: address(PHONE_A), connected: false, media: Some(5) };
    assert_eq!(verdict, expected);
    assert_eq!(stream.heard(Side::B), 1);
}

/// A gateway behind a NAT describes a private address also for its fax.
#[test]
fn a_fax_from_behind_a_nat_shows_where_its_gateway_is_and_late_speech_does_not() {
    let mut stream = described();
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), relayed_to(PHONE_B));
    stream.describe(Side::A, Some(RemoteStream { is_rtp: false, ..remote("192.0.2.10:4100", NAT_A) }));
    stream.describe(Side::B, Some(RemoteStream { is_rtp: false, ..remote(PHONE_B, "198.51.100.20") }));
    let mut fax =
        |from, source, packet: &[u8]| stream.receive(from, Channel::Rtp, address(source), packet, Time::ZERO);
    let to = |to| Verdict::Relay { out: Channel::Rtp, to: address(to), connected: false, media: Some(5) };
    let udptl = [0, 0, 1, 6, 0];
    for (source, packet, what) in [
        ("203.0.113.1:61000", &rtp(2)[..], "speech that was on its way"),
        (STRANGER, &udptl, "a stranger"),
        ("203.0.113.1:61002", b"", "nothing"),
    ] {
        assert_eq!(fax(Side::A, source, packet), Verdict::Drop, "{what}");
        assert_eq!(fax(Side::B, PHONE_B, &udptl), to("192.0.2.10:4100"), "{what}");
    }
    assert_eq!(fax(Side::A, "203.0.113.1:61004", &udptl), to(PHONE_B));
    assert_eq!(fax(Side::B, PHONE_B, &udptl), to("203.0.113.1:61004"));
    assert_eq!(fax(Side::A, "203.0.113.1:61006", &udptl), Verdict::Drop, "another port of the same host");
    let mut late = [&[0x80, 0][..], &udptl, &[7; 20]].concat();
    for high in 0..=255 {
        late[0] = high;
        let verdict = fax(Side::A, "203.0.113.1:61004", &late);
        assert!(
            matches!(verdict, Verdict::Relay { media: Some(27), .. }),
            "whatever its number: {verdict:?}"
        );
    }
    let (a, _) = stream.close();
    assert_eq!((a.lost, a.reordered, a.jitter_ms), (0, 0, 0.0), "it has no header that would tell");
    assert_eq!((a.packets, a.speech), (258, Some(Speech { packets: 1, lost: 0 })));
}

/// RFC 7983: what begins with another octet than those of RTP, and what that is.
#[test]
fn in_a_stream_of_rtp_the_described_address_may_send_rtp_and_what_keys_are_made_with() {
    let mut stream = described();
    let udptl = [0, 1, 2, 3, 4];
    for (packet, what) in [
        (&udptl[..], "a fax"),
        (b"\r\n\r\n", "what keeps a NAT open (RFC 6263 §4)"),
        (b"\0", "the same"),
        (&[0x40; 172], "RTP of no version that there is"),
        (&[0x80; 11], "less than a header"),
        (&[0x8f; 20], "a header longer than its packet"),
        (&[0xff; 172], "noise"),
    ] {
        let verdict = stream.receive(Side::B, Channel::Rtp, address(PHONE_B), packet, Time::ZERO);
        assert_eq!(verdict, Verdict::NotRtp, "{what}");
    }
    assert_eq!(stream.receive(Side::B, Channel::Rtp, address(STRANGER), &udptl, Time::ZERO), Verdict::Drop);
    assert_eq!(
        (stream.heard(Side::B), stream.takes_turns()),
        (0, false),
        "it counts as nothing that was heard"
    );
    assert!(matches!(stream.deaf(Side::B), Some(call::Deaf::NoLatch(from)) if from == address(PHONE_B)));
    for packet in [&[20, 254, 253][..], &[63; 40], b"\x10\0\0\x01ZRTP"] {
        let verdict = stream.receive(Side::B, Channel::Rtp, address(PHONE_B), packet, Time::ZERO);
        assert!(matches!(verdict, Verdict::Relay { .. }), "two ends make keys past the box: {packet:?}");
    }
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to(PHONE_A));
    assert_eq!(dropped(&mut stream), (0, 8));
}

#[test]
fn the_described_address_takes_the_stream_back_from_a_neighbour_and_keeps_it() {
    let mut stream = described();
    assert_eq!(media(&mut stream, Side::B, "198.51.100.20:9999"), relayed_to(PHONE_A));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to(PHONE_A));
    assert_eq!(media(&mut stream, Side::B, "198.51.100.20:9999"), Verdict::Drop);
    assert_eq!(media(&mut stream, Side::A, PHONE_A), relayed_to(PHONE_B));
}

#[test]
fn a_new_address_latches_anew_and_the_same_address_does_not() {
    let mut stream = described();
    media(&mut stream, Side::A, "203.0.113.1:61000");
    assert!(!stream.describe(Side::A, Some(remote(PHONE_A, NAT_A))), "nothing has changed");
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to("203.0.113.1:61000"));

    assert!(stream.describe(Side::A, Some(remote("192.0.2.10:4100", NAT_A))));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to("192.0.2.10:4100"));
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61500"), relayed_to(PHONE_B));
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), Verdict::Drop, "the old mapping");
}

/// RFC 3264 §8.3.1: who is to receive elsewhere may be sent to, and send, as before until the answer is there. Of two phones
/// behind one NAT the same goes for the one that is replaced.
#[test]
fn what_still_comes_from_before_a_new_address_does_not_shut_out_who_comes_after() {
    for is_forgotten in [false, true] {
        let mut stream = described();
        media(&mut stream, Side::A, "203.0.113.1:61000");
        if is_forgotten {
            stream.describe(Side::A, None);
        }
        stream.describe(Side::A, Some(remote("192.0.2.10:4100", NAT_A)));
        assert_eq!(
            media(&mut stream, Side::A, "203.0.113.1:61000"),
            relayed_to(PHONE_B),
            "it may be the one"
        );
        assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to("203.0.113.1:61000"));
        assert_eq!(stream.route(Side::A), None, "the kernel would hear nobody else");
        assert_eq!(media(&mut stream, Side::A, STRANGER), Verdict::Drop);
        assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61500"), relayed_to(PHONE_B));
        assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to("203.0.113.1:61500"));
        assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), Verdict::Drop, "the old mapping");
        assert!(stream.route(Side::A).is_some());
    }
}

#[test]
fn a_phone_that_is_described_elsewhere_and_sends_on_as_before_is_believed_after_a_while() {
    let mut stream = described();
    media(&mut stream, Side::A, "203.0.113.1:61000");
    media(&mut stream, Side::B, PHONE_B);
    stream.describe(Side::A, Some(remote("192.0.2.10:4100", NAT_A)));
    for _ in 0..200 {
        assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), relayed_to(PHONE_B));
    }
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61500"), Verdict::Drop, "a neighbour");
    assert!(stream.route(Side::A).is_some(), "the kernel may have it");
    assert_eq!(stream.close().0.moves, 0);
}

#[test]
fn a_phone_whose_nat_forgot_it_while_it_was_on_hold_is_heard_from_its_new_port() {
    let silent = RemoteStream { sends: false, ..remote(PHONE_A, NAT_A) };
    for hold in [silent, remote("0.0.0.0:4000", NAT_A)] {
        let mut stream = described();
        media(&mut stream, Side::A, "203.0.113.1:61000");
        stream.describe(Side::A, Some(hold));
        stream.describe(Side::A, Some(remote(PHONE_A, NAT_A)));
        assert_eq!(media(&mut stream, Side::A, STRANGER), Verdict::Drop);
        assert_eq!(media(&mut stream, Side::A, "203.0.113.1:62000"), relayed_to(PHONE_B));
        assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to("203.0.113.1:62000"));
        assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), Verdict::Drop);
        assert_eq!(stream.close().0.moves, 1);
    }
}

#[test]
fn a_phone_whose_signalling_moved_loses_the_source_it_earned_from_there() {
    let mut stream = described();
    media(&mut stream, Side::A, "203.0.113.1:61000");
    stream.describe(Side::A, Some(remote(PHONE_A, "203.0.113.200")));
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), Verdict::Drop);
    assert_eq!(media(&mut stream, Side::A, "203.0.113.200:7000"), relayed_to(PHONE_B));
}

#[test]
fn a_hold_with_no_address_sends_nothing_and_the_resume_finds_the_latch_as_it_was() {
    let mut stream = described();
    media(&mut stream, Side::A, "203.0.113.1:61000");
    control(&mut stream, Side::A, "203.0.113.1:61001");
    let mut hold = remote("0.0.0.0:4000", NAT_A);
    hold.rtcp = address("0.0.0.0:4001");
    stream.describe(Side::A, Some(hold));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), Verdict::Withhold);
    assert_eq!(control(&mut stream, Side::B, "198.51.100.20:6001"), Verdict::Withhold);
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), relayed_to(PHONE_B), "music on hold");

    stream.describe(Side::A, Some(remote(PHONE_A, NAT_A)));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to("203.0.113.1:61000"));
    assert_eq!(control(&mut stream, Side::B, "198.51.100.20:6001"), control_to("203.0.113.1:61001"));
}

#[test]
fn a_side_that_only_sends_is_sent_control_and_no_media() {
    let mut stream = described();
    stream.describe(Side::B, Some(RemoteStream { receives: false, ..remote(PHONE_B, "198.51.100.20") }));
    assert_eq!(media(&mut stream, Side::A, PHONE_A), Verdict::Withhold);
    assert_eq!(control(&mut stream, Side::A, "192.0.2.10:4001"), control_to("198.51.100.20:6001"));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), relayed_to(PHONE_A));
    let (a, _) = stream.close();
    assert_eq!((a.packets, a.dropped), (0, 0), "neither relayed nor a stranger's");
}

#[test]
fn a_rejected_stream_is_forgotten() {
    let mut stream = described();
    media(&mut stream, Side::A, "203.0.113.1:61000");
    assert!(stream.describe(Side::A, None));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), Verdict::Drop);
    assert_eq!(media(&mut stream, Side::A, "203.0.113.1:61000"), Verdict::Drop);
    stream.describe(Side::A, Some(RemoteStream { rtp: address("192.0.2.10:0"), ..remote(PHONE_A, NAT_A) }));
    assert_eq!(media(&mut stream, Side::B, PHONE_B), Verdict::Drop, "port 0 is no address");
}

#[test]
fn control_is_latched_on_its_own_and_only_by_control() {
    let mut stream = described();
    media(&mut stream, Side::A, "203.0.113.1:61000");
    assert_eq!(control(&mut stream, Side::B, "198.51.100.20:6001"), control_to("192.0.2.10:4001"));
    let not_rtcp = stream.receive(Side::A, Channel::Rtcp, address("203.0.113.1:1"), &rtp(1), Time::ZERO);
    assert_eq!(not_rtcp, Verdict::Drop);
    assert_eq!(control(&mut stream, Side::A, "203.0.113.1:62345"), control_to("198.51.100.20:6001"));
    assert_eq!(control(&mut stream, Side::B, "198.51.100.20:6001"), control_to("203.0.113.1:62345"));
    assert_eq!(control(&mut stream, Side::A, STRANGER), Verdict::Drop);
}

#[test]
fn control_crosses_between_a_side_that_multiplexes_and_one_that_does_not() {
    let mut stream = described();
    let mut browser = remote(PHONE_A, NAT_A);
    browser.rtcp = browser.rtp;
    stream.describe(Side::A, Some(browser));
    media(&mut stream, Side::A, "203.0.113.1:61000");

    let from_browser =
        stream.receive(Side::A, Channel::Rtp, address("203.0.113.1:61000"), &RECEIVER_REPORT, Time::ZERO);
    assert_eq!(from_browser, control_to("198.51.100.20:6001"));
    assert_eq!(
        control(&mut stream, Side::B, "198.51.100.20:6001"),
        Verdict::Relay { out: Channel::Rtp, to: address("203.0.113.1:61000"), connected: false, media: None }
    );
    assert_eq!(stream.heard(Side::A), 1, "control is not media");
}

/// RTCP of somebody who keeps to RFC 3550 §6.2 comes every few seconds; feedback (RFC 4585) comes more often.
#[test]
fn control_has_a_limit_of_its_own_and_what_is_beyond_is_counted() {
    let mut browser = remote("192.0.2.11:4000", "192.0.2.11");
    browser.rtcp = browser.rtp;
    for (terms, channel) in [(remote(PHONE_A, NAT_A), Channel::Rtcp), (browser, Channel::Rtp)] {
        let mut stream = Stream::new(Limit::per_second(0));
        stream.describe(Side::A, Some(terms));
        stream.describe(Side::B, Some(remote(PHONE_B, "198.51.100.20")));
        let mut control = |from, source, micros| {
            stream.receive(from, channel, source, &RECEIVER_REPORT, Time::from_micros(micros))
        };
        let relayed = (0..100_000).filter(|n| {
            let verdict = control(Side::A, terms.rtcp, n * 100);
            assert!(matches!(verdict, Verdict::Relay { .. } | Verdict::Drop), "{verdict:?}");
            verdict != Verdict::Drop
        });
        let relayed = relayed.count() as u64;
        assert!((2_190..=2_210).contains(&relayed), "ten seconds and the burst of one: {relayed}");
        let media = stream.receive(Side::A, Channel::Rtp, terms.rtp, &rtp(1), Time::from_micros(10_000_000));
        assert_eq!(media, relayed_to(PHONE_B), "media has its own");
        assert_eq!(dropped(&mut stream), (100_000 - relayed, 0));
    }
}

#[test]
fn what_the_network_refused_is_not_counted_as_relayed() {
    let mut stream = described();
    media(&mut stream, Side::A, PHONE_A);
    media(&mut stream, Side::A, PHONE_A);
    stream.unsent(Side::A, 160);
    let (a, _) = stream.close();
    assert_eq!((a.packets, a.octets, a.dropped), (1, 160, 1));
}

#[test]
fn a_closed_stream_relays_nothing() {
    let mut stream = described();
    stream.close();
    assert_eq!(media(&mut stream, Side::A, PHONE_A), Verdict::Drop);
    assert_eq!(control(&mut stream, Side::A, "192.0.2.10:4001"), Verdict::Drop);
}

#[test]
fn a_side_is_expected_to_be_heard_while_it_sends_and_the_other_receives() {
    let mut stream = described();
    assert!(stream.expects(Side::A) && stream.expects(Side::B));
    stream.describe(Side::A, Some(RemoteStream { receives: false, ..remote(PHONE_A, NAT_A) }));
    assert!(stream.expects(Side::A) && !stream.expects(Side::B));
    stream.describe(Side::A, Some(RemoteStream { sends: false, ..remote(PHONE_A, NAT_A) }));
    assert!(!stream.expects(Side::A) && stream.expects(Side::B));
    stream.describe(Side::B, None);
    assert!(!stream.expects(Side::A) && !stream.expects(Side::B));
}

/// Packets enough for the port of `from` to be connected, if it may be at all.
fn settle(stream: &mut Stream, from: Side, source: &str) -> Option<SocketAddr> {
    for _ in 0..63 {
        media(stream, from, source);
        assert_eq!(stream.ripe(from), None, "too early");
    }
    media(stream, from, source);
    let peer = stream.ripe(from);
    stream.connected(from, peer);
    peer
}

fn is_connected(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Relay { connected: true, .. })
}

#[test]
fn a_port_is_connected_to_the_described_address_and_sends_there_without_naming_it() {
    let mut stream = described();
    assert_eq!(settle(&mut stream, Side::B, PHONE_B), Some(address(PHONE_B)));
    assert!(is_connected(media(&mut stream, Side::A, PHONE_A)));
    assert!(!is_connected(media(&mut stream, Side::B, PHONE_B)), "A's port is another");
    assert!(!is_connected(control(&mut stream, Side::A, "192.0.2.10:4001")), "and so is B's for control");
    media(&mut stream, Side::B, PHONE_B);
    assert_eq!(stream.ripe(Side::B), None, "once");
}

#[test]
fn a_latched_source_that_the_described_address_could_still_replace_is_never_connected() {
    let mut stream = described();
    for _ in 0..300 {
        media(&mut stream, Side::A, "203.0.113.1:61000");
        assert_eq!(stream.ripe(Side::A), None);
    }
}

#[test]
fn a_port_that_could_not_be_connected_is_tried_again_later() {
    let mut stream = described();
    for _ in 0..64 {
        media(&mut stream, Side::B, PHONE_B);
    }
    assert!(stream.ripe(Side::B).is_some());
    stream.connected(Side::B, None);
    assert!(!is_connected(media(&mut stream, Side::A, PHONE_A)));
    assert_eq!(settle(&mut stream, Side::B, PHONE_B), Some(address(PHONE_B)));
}

#[test]
fn a_port_parts_from_a_peer_that_moves_or_goes_and_not_from_one_that_holds() {
    let mut stream = described();
    settle(&mut stream, Side::B, PHONE_B);
    let signalling = "198.51.100.20";
    let terms = remote(PHONE_B, signalling);
    for same_peer in [
        terms,
        remote("0.0.0.0:6000", signalling),
        RemoteStream { receives: false, ..terms },
        remote(PHONE_B, "198.51.100.99"),
        terms,
    ] {
        stream.describe(Side::B, Some(same_peer));
        assert_eq!(stream.parts(Side::B), None, "{same_peer:?}");
    }
    assert!(is_connected(media(&mut stream, Side::A, PHONE_A)));
    for other in [Some(remote("198.51.100.20:6100", signalling)), None] {
        stream.describe(Side::B, other);
        assert!(stream.parts(Side::B).is_some(), "{other:?}");
        assert_eq!(stream.parts(Side::B), None, "once");
        assert!(!is_connected(media(&mut stream, Side::A, PHONE_A)));
        stream.describe(Side::B, Some(terms));
        settle(&mut stream, Side::B, PHONE_B);
    }
    stream.close();
    assert!(stream.parts(Side::B).is_some());
    assert_eq!((stream.parts(Side::B), stream.parts(Side::A)), (None, None));
}

/// Twenty thousand datagrams of any bytes from the right source, with headers that often look like RTP.
#[test]
fn no_bytes_break_the_books() {
    for is_rtp in [true, false] {
        books(is_rtp);
    }
}

fn books(is_rtp: bool) {
    let mut stream = described();
    stream.describe(Side::B, Some(RemoteStream { is_rtp, ..remote(PHONE_B, "198.51.100.20") }));
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let (mut relayed, mut octets, mut dropped) = (0, 0, 0);
    for n in 0..20_000u64 {
        let mut packet: Vec<u8> = (0..random() % 48).map(|_| random() as u8).collect();
        if let (Some(first), true) = (packet.first_mut(), n % 2 == 0) {
            *first = *first & 0x3f | 0x80;
        }
        let now = Time::from_micros(n * 20_000);
        match stream.receive(Side::B, Channel::Rtp, address(PHONE_B), &packet, now) {
            Verdict::Relay { media: Some(payload), to, .. } => {
                assert_eq!(to, address(PHONE_A));
                assert!(payload <= packet.len(), "{packet:?}");
                relayed += 1;
                octets += payload as u64;
            }
            Verdict::Drop | Verdict::NotRtp => dropped += 1,
            other => panic!("{other:?} for {packet:?}"),
        }
    }
    let (_, b) = stream.close();
    assert_eq!((b.packets, b.octets, b.dropped), (relayed, octets, dropped));
    assert!(b.lost <= 20_000 * u64::from(u16::MAX) && b.jitter_ms.is_finite());
}
