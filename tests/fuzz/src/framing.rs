//! Streams: wherever the reads end, the same messages come out; the reader of messages agrees where each one ends; and
//! nothing is waited for that is longer than a message.

use net::framing::{Broken, Frame, Framer, MAX_MESSAGE};
use sip::{Message, ParseError};

/// What came out of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    frames: Vec<Frame>,
    broken: Option<Broken>,
}

/// The first byte chooses where the reads end.
pub(crate) fn check(bytes: &[u8]) {
    let Some((seed, stream)) = bytes.split_first() else { return };
    let whole = cut(stream, |left| left);
    let mut random = u64::from(*seed) | 1 << 40;
    let pieces = cut(stream, |_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        1 + (random >> 60) as usize * usize::from(seed >> 4 | 1)
    });
    assert_eq!(pieces, whole, "the same frames however the stream is cut");
    assert_eq!(cut(stream, |_| 1), whole, "and octet by octet");
    let length = |frame: &Frame| match frame {
        Frame::Message(message) => message.len(),
        Frame::Ping => 4,
    };
    assert!(whole.frames.iter().map(length).sum::<usize>() <= stream.len(), "nothing is given out twice");
    whole.frames.iter().for_each(ends_where_its_reader_says);
    if seed % 16 == 0 {
        comes_to_an_end(stream);
    }
}

fn cut(stream: &[u8], mut next: impl FnMut(usize) -> usize) -> Outcome {
    let mut framer = Framer::new();
    let mut outcome = Outcome { frames: Vec::new(), broken: None };
    let mut rest = stream;
    while !rest.is_empty() {
        let (read, left) = rest.split_at(next(rest.len()).min(rest.len()));
        rest = left;
        framer.extend(read);
        loop {
            match framer.cut() {
                Ok(Some(frame)) => outcome.frames.push(frame),
                Ok(None) => break,
                Err(broken) => {
                    outcome.broken = Some(broken);
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// A neighbour that reads the message by itself finds no other message behind it.
fn ends_where_its_reader_says(frame: &Frame) {
    let Frame::Message(bytes) = frame else { return };
    assert!(bytes.len() <= MAX_MESSAGE);
    match Message::parse(bytes) {
        Ok(message) => assert_eq!(message.bytes(), bytes, "the framer and the reader agree"),
        Err(
            ParseError::ShortBody { .. }
            | ParseError::BadContentLength { .. }
            | ParseError::TwoContentLengths { .. }
            | ParseError::TooLong { .. },
        ) => panic!("the framer believed a length that the reader does not: {}", bytes.escape_ascii()),
        Err(_) => {}
    }
}

/// With as many octets behind it as a message can have, something must have come out.
fn comes_to_an_end(stream: &[u8]) {
    let mut framer = Framer::new();
    framer.extend(stream);
    while let Ok(Some(_)) = framer.cut() {}
    for _ in 0..=MAX_MESSAGE / 1_024 {
        framer.extend(&[b'x'; 1_024]);
        match framer.cut() {
            Ok(Some(_)) | Err(_) => return,
            Ok(None) => {}
        }
    }
    panic!("more than a message is held");
}
