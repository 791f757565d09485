//! Key presses between a trunk that sends them as RTP (RFC 4733) and one that sends INFO: what is negotiated with each, and
//! what crosses.

use std::time::Duration;

use call::{Digit, Input, MediaOrder, MediaReport, RegistrarPolicy, Side};
use routing::{Dtmf, Trunk};

use crate::harness::{
    CALLEE, CALLER, KIND, OFFER, Sent, World, ends_by_the_caller, from_callee, from_caller, invite, response,
};

/// The caller's trunk and the callee's with these ways of sending digits.
fn world(caller: Dtmf, callee: Dtmf) -> World {
    World::with(RegistrarPolicy::Closed, |trunks: &mut Vec<Trunk>| {
        trunks[0].dtmf = caller;
        trunks[1].dtmf = callee;
    })
}

const PLAIN: &str =
    "v=0\no=alice 1 1 IN IP4 10.1.1.1\ns=-\nc=IN IP4 10.1.1.1\nt=0 0\nm=audio 4000 RTP/AVP 0 8\n";

/// The callee's answer with these formats and lines.
fn answered(formats: &str, lines: &str) -> String {
    format!(
        "v=0\no=bob 9 9 IN IP4 10.2.2.2\ns=-\nc=IN IP4 10.2.2.2\nt=0 0\nm=audio 5000 RTP/AVP {formats}\n{lines}"
    )
}

fn media(sent: &Sent) -> Vec<&str> {
    sent.body().lines().skip_while(|line| !line.starts_with("m=")).collect()
}

/// A call that is up: the box's INVITE and its 200.
fn up(world: &mut World, offer: &str, answer: &str) -> (Sent, Sent) {
    world.receive(CALLER, &invite("1", Some(offer)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(answer)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    (out, ok)
}

fn orders(world: &World) -> Vec<String> {
    let told = |order: &MediaOrder| match order {
        MediaOrder::TakeDigits { stream, side, payload_type, .. } => {
            Some(format!("take {stream} {side:?} {payload_type:?}"))
        }
        MediaOrder::PlayDigit { stream, side, payload_type, digit, .. } => {
            Some(format!("play {stream} {side:?} {payload_type} {} {}", digit.symbol(), digit.millis))
        }
        _ => None,
    };
    world.orders.iter().filter_map(told).collect()
}

fn pressed(world: &mut World, side: Side, symbol: &str, millis: u32) {
    let session = world.orders.iter().find_map(|order| match order {
        MediaOrder::Open { session, .. } => Some(*session),
        _ => None,
    });
    let digit = Digit::of_symbol(symbol, millis).unwrap();
    world.input(Input::Media(MediaReport::Digit { session: session.unwrap(), side, digit }));
}

fn info(kind: &str, body: &str) -> String {
    format!("Content-Type: {kind}\n\n{body}")
}

#[test]
fn keys_pressed_as_rtp_reach_a_trunk_that_wants_info() {
    let mut world = world(Dtmf::Pass, Dtmf::Info);
    let (out, ok) = up(&mut world, OFFER, &answered("0", ""));
    assert_eq!(media(&out), ["m=audio 30002 RTP/AVP 0"], "it is told of no telephone-event");
    let expected = ["m=audio 30000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"];
    assert_eq!(media(&ok), expected, "and the caller is answered with its own");
    assert_eq!(orders(&world), ["take 0 A Some(101)"]);
    pressed(&mut world, Side::A, "#", 120);
    let sent = world.expect(CALLEE, "INFO");
    assert_eq!(sent.header("Content-Type"), "application/dtmf-relay");
    assert_eq!(sent.body(), "Signal=#\r\nDuration=120\r\n");
    world.receive(CALLEE, &response(&sent, "200 OK", "", None));
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn keys_pressed_in_info_are_played_to_a_side_that_takes_rtp() {
    let mut world = world(Dtmf::Pass, Dtmf::Info);
    let (out, ok) = up(&mut world, OFFER, &answered("0", ""));
    for (cseq, kind, body, played) in [
        (1, "application/dtmf-relay", "Signal=5\nDuration=200\n", "play 0 A 101 5 200"),
        (2, "application/dtmf-relay", "Signal= *\nDuration= 80\n", "play 0 A 101 * 80"),
        (3, "application/dtmf-relay", "signal=11", "play 0 A 101 # 160"),
        (4, "application/dtmf", "d", "play 0 A 101 D 160"),
        (5, "application/dtmf-relay", "Signal=1\nDuration=99999999\n", "play 0 A 101 1 8000"),
    ] {
        world.receive(CALLEE, &from_callee("INFO", cseq, &out, &info(kind, body)));
        world.expect(CALLEE, "SIP/2.0 200");
        world.expect_silence();
        assert_eq!(orders(&world).last().map(String::as_str), Some(played));
    }
    let other = info("application/dtmf-relay", "Signal=Z\nDuration=1\n");
    world.receive(CALLEE, &from_callee("INFO", 6, &out, &other));
    let carried = world.expect(CALLER, "INFO");
    world.receive(CALLER, &response(&carried, "415 Unsupported Media Type", "", None));
    world.expect(CALLEE, "SIP/2.0 415");
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn a_trunk_that_wants_rtp_is_offered_it_and_the_caller_who_did_not_hears_nothing_of_that() {
    let mut world = world(Dtmf::Info, Dtmf::Rfc4733);
    let events = "a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n";
    let (out, ok) = up(&mut world, PLAIN, &answered("8 101", events));
    let expected = ["m=audio 30002 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"];
    assert_eq!(media(&out), expected);
    assert_eq!(media(&ok), ["m=audio 30000 RTP/AVP 8"]);
    let digit = info("application/dtmf-relay", "Signal=7\nDuration=100\n");
    world.receive(CALLER, &from_caller("INFO", 2, &ok, &digit));
    world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(orders(&world), ["take 0 B Some(101)", "play 0 B 101 7 100"]);
    pressed(&mut world, Side::B, "3", 90);
    let sent = world.expect(CALLER, "INFO");
    assert_eq!(sent.body(), "Signal=3\r\nDuration=90\r\n");
    world.receive(CALLER, &response(&sent, "200 OK", "", None));
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn a_number_that_is_taken_is_not_used_for_key_presses() {
    let mut world = world(Dtmf::Info, Dtmf::Pass);
    let offer =
        PLAIN.replace("0 8", "101 96") + "a=rtpmap:101 opus/48000/2\na=rtpmap:96 telephone-event/48000\n";
    world.receive(CALLER, &invite("1", Some(&offer)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(media(&out)[0], "m=audio 30002 RTP/AVP 101 96 97");
    assert_eq!(media(&out).last(), Some(&"a=fmtp:97 0-15"));
}

#[test]
fn info_crosses_where_the_other_side_takes_no_key_presses_as_rtp_or_nobody_asked_for_it() {
    for (caller, callee) in [(Dtmf::Info, Dtmf::Pass), (Dtmf::Pass, Dtmf::Pass), (Dtmf::Info, Dtmf::Info)] {
        let mut world = world(caller, callee);
        let (_, ok) = up(&mut world, PLAIN, &answered("0", ""));
        let digit = info("application/dtmf-relay", "Signal=7\nDuration=100\n");
        world.receive(CALLER, &from_caller("INFO", 2, &ok, &digit));
        let carried = world.expect(CALLEE, "INFO");
        assert!(carried.body().starts_with("Signal=7"), "{caller:?} {callee:?}");
        world.receive(CALLEE, &response(&carried, "200 OK", "", None));
        world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(orders(&world).iter().filter(|order| order.starts_with("play")).count(), 0);
        ends_by_the_caller(&mut world, &ok, 3);
    }
}

#[test]
fn a_reinvite_keeps_what_was_negotiated_with_each_side() {
    let mut world = world(Dtmf::Pass, Dtmf::Info);
    let (_, ok) = up(&mut world, OFFER, &answered("0", ""));
    let again = OFFER
        .replace("alice 1 1", "alice 1 2")
        .replace("a=rtpmap", "a=sendonly\na=rtpmap")
        .replace("101", "97");
    world.receive(CALLER, &from_caller("INVITE", 2, &ok, &format!("{KIND}{again}")));
    world.expect(CALLER, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    assert_eq!(media(&offer), ["m=audio 30002 RTP/AVP 0", "a=sendonly"]);
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(&answered("0", "a=recvonly\n"))));
    world.expect(CALLEE, "ACK");
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(media(&answer)[0], "m=audio 30000 RTP/AVP 0 97");
    assert_eq!(orders(&world), ["take 0 A Some(101)", "take 0 A Some(97)"]);
}

#[test]
fn a_digit_for_a_leg_that_is_gone_goes_nowhere() {
    let mut world = world(Dtmf::Pass, Dtmf::Info);
    let (_, ok) = up(&mut world, OFFER, &answered("0", ""));
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    pressed(&mut world, Side::A, "1", 100);
    pressed(&mut world, Side::B, "1", 100);
    world.expect_silence();
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.expect_nothing_left();
}

/// The caller (or the callee) refers the other to somebody at the callee's trunk, who is invited.
fn referred(world: &mut World, by: &str, refer: &str) -> Sent {
    world.receive(by, refer);
    world.expect(by, "SIP/2.0 202");
    let notify = world.expect(by, "NOTIFY");
    world.receive(by, &response(&notify, "200 OK", "", None));
    world.expect(CALLEE, "INVITE sip:777@")
}

const TO_CAROL: &str = "Refer-To: <sip:777@192.0.2.1>\n";

#[test]
fn a_transfer_of_which_nothing_comes_changes_nothing_of_what_is_taken_out() {
    let mut world = world(Dtmf::Pass, Dtmf::Info);
    let (_, ok) = up(&mut world, OFFER, &answered("0", ""));
    let target = referred(&mut world, CALLER, &from_caller("REFER", 2, &ok, TO_CAROL));
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "NOTIFY");
    assert_eq!(orders(&world), ["take 0 A Some(101)"]);
    pressed(&mut world, Side::A, "8", 100);
    assert_eq!(world.expect(CALLEE, "INFO").body(), "Signal=8\r\nDuration=100\r\n");
}

#[test]
fn the_trunk_of_who_comes_in_a_transfer_has_its_say() {
    let mut world = world(Dtmf::Pass, Dtmf::Info);
    let (out, _) = up(&mut world, OFFER, &answered("0", ""));
    let target = referred(&mut world, CALLEE, &from_callee("REFER", 1, &out, TO_CAROL));
    assert_eq!(media(&target), ["m=audio 30002 RTP/AVP 0"]);
    world.receive(CALLEE, &response(&target, "200 OK", "c1", Some(&answered("0", ""))));
    world.expect(CALLEE, "NOTIFY");
    world.expect(CALLEE, "BYE");
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLER, "INVITE");
    let expected = ["m=audio 30000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"];
    assert_eq!(media(&again), expected, "key presses are taken of who stays, for who comes");
    world.receive(CALLER, &response(&again, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    assert_eq!(orders(&world), ["take 0 A Some(101)"]);
    pressed(&mut world, Side::A, "9", 100);
    let sent = world.expect(CALLEE, "INFO");
    assert_eq!(
        (sent.header("Call-ID"), sent.body()),
        (target.header("Call-ID"), "Signal=9\r\nDuration=100\r\n")
    );
}

/// A press that is lost on its way once would be refused behind the next one (RFC 3261 §12.2.2).
#[test]
fn presses_in_info_leave_one_by_one() {
    let mut world = world(Dtmf::Pass, Dtmf::Info);
    let (_, ok) = up(&mut world, OFFER, &answered("0", ""));
    for symbol in ["1", "2", "3"] {
        pressed(&mut world, Side::A, symbol, 100);
        world.pass(Duration::from_millis(100));
    }
    let first = world.expect(CALLEE, "INFO");
    assert!(first.body().starts_with("Signal=1"));
    world.expect_silence();
    world.pass(Duration::from_millis(300));
    let again = world.expect(CALLEE, "INFO");
    assert_eq!(again.text, first.text, "nobody has heard it");
    world.receive(CALLEE, &response(&again, "200 OK", "", None));
    let second = world.expect(CALLEE, "INFO");
    assert!(second.body().starts_with("Signal=2"));
    world.expect_silence();
    world.receive(CALLEE, &response(&second, "415 Unsupported Media Type", "", None));
    let third = world.expect(CALLEE, "INFO");
    assert!(third.body().starts_with("Signal=3"));
    assert_eq!(world.warnings, ["a key press in INFO was not taken: expected 2xx, got 415"]);
    world.receive(CALLEE, &response(&third, "415 Unsupported Media Type", "", None));
    assert_eq!(world.warnings.len(), 1, "once for the leg");
    world.expect_silence();
    world.expect_replays();
    ends_by_the_caller(&mut world, &ok, 2);
}

#[test]
fn presses_that_nobody_answers_are_bounded() {
    let mut world = world(Dtmf::Pass, Dtmf::Info);
    let (_, ok) = up(&mut world, OFFER, &answered("0", ""));
    for _ in 0..40 {
        pressed(&mut world, Side::A, "5", 100);
    }
    assert_eq!(world.warnings, ["a key press in INFO was not taken: its peer answers too slowly"]);
    let mut answered = 0;
    while let Some(sent) = world.sent.pop_front() {
        answered += 1;
        world.receive(CALLEE, &response(&sent, "200 OK", "", None));
    }
    assert_eq!(answered, 33, "the one that was out, and those that waited");
    ends_by_the_caller(&mut world, &ok, 2);
}
