//! Bytes that no peer should send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use interop::{Drawbridge, Place, Sipp, Wire};

const LIMIT: Duration = Duration::from_secs(60);
const DATAGRAMS: u32 = 3000;

/// xorshift64*: the same datagrams every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }
}

/// Messages that are in order: what is made of them is not.
fn originals(place: &Place) -> Vec<String> {
    let (caller, host) = (place.ip(Place::A), place.ip(Place::BOX));
    let body = format!(
        "v=0\no=- 1 1 IN IP4 {caller}\ns=-\nc=IN IP4 {caller}\nt=0 0\nm=audio 30000 RTP/AVP 0 101\n\
         a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n"
    )
    .replace('\n', "\r\n");
    let message = |method: &str, to_tag: &str, extra: &str, body: &str| {
        format!(
            "{method} sip:12125551000@{host} SIP/2.0\nVia: SIP/2.0/UDP {caller}:5060;rport;branch=z9hG4bK-f-{method}\n\
             Max-Forwards: 70\nFrom: \"F, \\\"u\\\" z\" <sip:f@{caller}>;tag=fuzz\nTo: <sip:12125551000@{host}>{to_tag}\n\
             Call-ID: fuzz-{method}@{caller}\nCSeq: 1 {method}\nContact: <sip:f@{caller}:5060>\n{extra}\
             Content-Length: {}\n\n",
            body.len()
        )
        .replace('\n', "\r\n")
            + body
    };
    let digest = "Authorization: Digest username=\"f\", realm=\"r\", nonce=\"n\", uri=\"sip:r\", response=\"0\", qop=auth, \
                  nc=00000001, cnonce=\"c\"\n";
    vec![
        message(
            "INVITE",
            "",
            "Content-Type: application/sdp\nSupported: 100rel, timer\nRoute: <sip:x;lr>\n",
            &body,
        ),
        message("CANCEL", "", "Reason: SIP;cause=487\n", ""),
        message("BYE", ";tag=nobody", "", ""),
        message("ACK", ";tag=nobody", "", ""),
        message("REGISTER", "", &format!("Expires: 60\n{digest}"), ""),
        message("OPTIONS", "", "Accept: application/sdp\n", ""),
        message("INFO", ";tag=nobody", "Content-Type: application/dtmf-relay\n", "Signal=5\r\n"),
        message("FROBNICATE", "", "X-Odd: \u{e9}\u{4e2d}\n\tfolded\n", ""),
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {host}:5060;branch=z9hG4bK-none\r\nCSeq: 1 INVITE\r\n\r\n"
        ),
    ]
}

/// A datagram of random bytes, or an original with one to eight things done to it.
fn datagram(random: &mut Random, originals: &[String]) -> Vec<u8> {
    if random.below(6) == 0 {
        let length = random.below(1400);
        return (0..length).map(|_| random.next() as u8).collect();
    }
    let mut bytes = originals[random.below(originals.len())].clone().into_bytes();
    let odd: [&[u8]; 10] = [
        b"\r\n\r\n",
        b"\r\n ",
        b"\0",
        b"\xff\xfe",
        b"<",
        b"\"",
        b";",
        b"%00",
        b"99999999999999999999",
        b"::",
    ];
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte = random.next() as u8),
            2 => drop(bytes.splice(at..at, odd[random.below(odd.len())].iter().copied())),
            3 => {
                let end = (at + random.below(60)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.below(200)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            5 => {
                let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let line = lines[random.below(lines.len())].repeat(1 + random.below(40));
                drop(bytes.splice(at..at, line));
            }
            _ => bytes.retain(|byte| *byte != b'\r'),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes.truncate(60_000);
    bytes
}

#[test]
fn three_thousand_broken_datagrams_and_the_next_call_is_ordinary() {
    let place = Place::new("hostile");
    let configuration = format!(
        "[[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n[[trunk]]\nname = \"carrier\"\npeers = [\"sip:{b}:5060\"]\n\n\
         [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n",
        a = place.ip(Place::A),
        b = place.ip(Place::B),
    );
    let mut drawbridge = Drawbridge::start(&place, &configuration);
    let originals = originals(&place);
    let mut random = Random(0x005e_ed0f_d1ce);
    {
        // From a trunk's address, so that nothing is dropped at the door.
        let wire = Wire::new(place.ip(Place::A), place.sip(Place::BOX));
        for sent in 0..DATAGRAMS {
            wire.send(&datagram(&mut random, &originals));
            if sent % 50 == 49 {
                while wire.hear(Duration::from_millis(5)).is_some() {}
                drawbridge.assert_alive();
            }
        }
    }
    assert_eq!(drawbridge.ask("GET", "/health").status, 200);
    // What is left of the broken calls may reach the callee as well: it takes more than the one.
    let callee = Sipp::callee("uas.xml", place.ip(Place::B)).calls(1000).start(&place);
    let caller =
        Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calling("1").start(&place);
    let caller = caller.finish(LIMIT);
    assert_eq!((caller.successful, caller.failed), (1, 0), "{}\n{}", caller.errors, drawbridge.log());
    drop(callee);
    drawbridge.assert_alive();
}
