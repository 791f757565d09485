use std::time::Duration;

use sip::Sdp;

use super::{crlf, edit};

/// A generator that is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let plain = crlf(&[
        "v=0",
        "o=alice 5 9 IN IP4 192.0.2.10",
        "s=-",
        "c=IN IP4 192.0.2.10/127",
        "t=0 0",
        "r=9223372036854775807 1 0",
        "m=audio 6000/2 RTP/AVP 8 96",
        "a=rtpmap:96 opus/48000/2",
        "a=rtcp:6010 IN IP6 ::1",
        "a=inactive",
        "m=image 0 udptl t38",
        "c=IN IP4 0.0.0.0",
    ]);
    let sloppy = "v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtcp-mux\ra=candidate:1\na=ice-ufrag:x";
    vec![plain.into_bytes(), sloppy.as_bytes().to_vec()]
}

/// Changes, drops, doubles or joins a few bytes.
fn mutate(text: &[u8], random: &mut Random) -> Vec<u8> {
    const LIKELY: &[u8] = b"\r\n=: /0mcoav9\x00\xff.";
    let mut out = text.to_vec();
    for _ in 0..1 + random.below(6) {
        let at = random.below(out.len());
        let end = (at + random.below(12)).min(out.len());
        match random.below(5) {
            0 => out[at] = LIKELY[random.below(LIKELY.len())],
            1 => drop(out.drain(at..end)),
            2 => out.insert(at, LIKELY[random.below(LIKELY.len())]),
            3 => out.splice(at..at, text[at.min(text.len())..end.min(text.len())].to_vec()).for_each(drop),
            _ => out.truncate(end.max(1)),
        }
        if out.is_empty() {
            out.push(b'v');
        }
    }
    out
}

#[test]
fn no_mutation_panics_and_what_is_understood_can_be_rewritten_and_understood_again() {
    let mut random = Random(0x5eed_1234_5678_9abc);
    let seeds = seeds();
    let mut understood = 0;
    for round in 0..20_000 {
        let text = mutate(&seeds[round % seeds.len()], &mut random);
        let Ok(sdp) = Sdp::parse(&text) else { continue };
        understood += 1;
        for stream in sdp.streams() {
            let _ =
                (stream.rtp(), stream.rtcp(), stream.codec(), stream.is_held_address(), stream.direction());
            let _ = (stream.rtpmap(96), stream.format_list().count(), sdp.origin());
        }
        let after = sdp.rewrite(&edit());
        let again = Sdp::parse(&after).unwrap_or_else(|error| {
            panic!(
                "{error}: {:?} became {:?}",
                String::from_utf8_lossy(&text),
                String::from_utf8_lossy(&after)
            )
        });
        assert_eq!(again.streams().len(), sdp.streams().len());
        for stream in
            again.streams().iter().filter(|stream| !stream.is_rejected() && !stream.is_held_address())
        {
            assert_eq!(stream.address().and_then(|host| host.ip()), Some(super::RELAY));
        }
    }
    assert!(understood > 2_000, "the mutations must reach behind the first line: {understood}");
}

// The one place where real time counts.
#[allow(clippy::disallowed_types, clippy::disallowed_methods)]
#[test]
fn the_largest_descriptions_cost_no_more_than_their_length() {
    let head = "v=0\nc=IN IP4 192.0.2.10\n";
    let fill = |start: &str, unit: &str| {
        let mut text = format!("{head}{start}");
        while text.len() < 65_000 {
            text.push_str(unit);
        }
        text
    };
    let shapes = [
        fill("m=audio 6000 RTP/AVP ", "0 "),
        fill("o=", "a "),
        fill("a=rtpmap:", ": "),
        fill("m=audio ", "\t"),
        fill("a=", "\t"),
    ];
    let begin = std::time::Instant::now();
    for text in &shapes {
        if let Ok(sdp) = Sdp::parse(text.as_bytes()) {
            sdp.rewrite(&edit());
        }
    }
    // Quadratic work on 65 kB is seconds, linear work is a few milliseconds even unoptimised.
    assert!(begin.elapsed() < Duration::from_secs(1), "took {:?}", begin.elapsed());
}

#[test]
fn a_line_that_means_hold_has_no_room_for_an_address() {
    for line in [
        "c=IN\x0cIP4\x0c10.9.9.9 IP4 0.0.0.0",
        "c=IN IP4 0.0.0.0 10.9.9.9",
        "c=IN IP4 10.9.9.9\x0c.invalid",
        "c=IN\tIP4 0.0.0.0\t10.9.9.9",
    ] {
        let text = crlf(&["v=0", "o=a 1 1 IN IP4 10.9.9.9", "s=-", line, "t=0 0", "m=audio 4000 RTP/AVP 0"]);
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        assert!(sdp.streams()[0].is_held_address(), "{line:?}");
        let written = String::from_utf8(sdp.rewrite(&edit())).unwrap();
        assert!(!written.contains("10.9.9.9"), "{written:?}");
        assert!(Sdp::parse(written.as_bytes()).unwrap().streams()[0].is_held_address(), "{written:?}");
    }
}
