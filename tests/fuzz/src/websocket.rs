//! WebSockets: wherever the reads end, the same messages come out; what is answered is in proportion to what came; nothing
//! is held that is longer than a message; and what one end writes the other end reads.

use std::collections::VecDeque;

use bytes::Bytes;
use net::framing::{Frame, MAX_MESSAGE};
use net::websocket::{Stop, WebSocket};

/// What came out of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    frames: VecDeque<Frame>,
    stop: Option<Stop>,
}

/// The first byte chooses the end, and where the reads end.
pub(crate) fn check(bytes: &[u8]) {
    let Some((seed, stream)) = bytes.split_first() else { return };
    let end = || match seed & 1 {
        0 => WebSocket::accepted(),
        _ => WebSocket::opened(Vec::new()),
    };
    let whole = cut(end(), 0, stream, |left| left);
    let mut random = u64::from(*seed) | 1 << 40;
    let pieces = cut(end(), 0, stream, |_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        1 + (random >> 60) as usize * usize::from(seed >> 4 | 1)
    });
    assert_eq!(pieces, whole, "the same messages however the stream is cut");
    assert_eq!(cut(end(), 0, stream, |_| 1), whole, "and octet by octet");
    let behind_handshake = stream.len() * usize::from(seed >> 4) / 15;
    if seed & 1 == 1 {
        let (before, rest) = stream.split_at(behind_handshake);
        assert_eq!(
            cut(WebSocket::opened(before.to_vec()), before.len(), rest, |left| left),
            whole,
            "with the handshake"
        );
    }
    let length = |frame: &Frame| match frame {
        Frame::Message(message) => message.len(),
        Frame::Ping => 4,
    };
    assert!(whole.frames.iter().all(|frame| length(frame) <= MAX_MESSAGE));
    assert!(whole.frames.iter().map(length).sum::<usize>() <= stream.len(), "nothing is given out twice");
    if seed & 0x0e == 0 {
        comes_to_an_end(end(), stream);
    }
    crosses(stream);
}

/// `already`: so many octets came with the handshake.
fn cut(
    mut socket: WebSocket,
    already: usize,
    stream: &[u8],
    mut next: impl FnMut(usize) -> usize,
) -> Outcome {
    let mut outcome = Outcome { frames: VecDeque::new(), stop: None };
    let mut said = Vec::new();
    let mut rest = stream;
    // Once more at the end: what came with the handshake needs no octets behind it.
    loop {
        let (read, left) = rest.split_at(next(rest.len()).min(rest.len()));
        rest = left;
        let taken = socket.take(read, &mut said, &mut outcome.frames);
        // After the farewell there is nothing more to be written.
        assert!(socket.flush(&mut said).is_ok() || taken.is_err(), "memory takes everything");
        assert!(!socket.waits());
        outcome.stop = taken.err();
        if outcome.stop.is_some() || rest.is_empty() {
            break;
        }
    }
    // A pong for each ping, masked where the ping was not, and one farewell.
    let most = 3 * (stream.len() + already) + 256;
    assert!(said.len() <= most, "{} octets are answered with {}", stream.len() + already, said.len());
    outcome
}

/// With as many octets behind it as a message and what frames it can have, something must have come out.
fn comes_to_an_end(mut socket: WebSocket, stream: &[u8]) {
    let (mut frames, mut said) = (VecDeque::new(), Vec::new());
    if socket.take(stream, &mut said, &mut frames).is_err() {
        return;
    }
    frames.clear();
    for _ in 0..=MAX_MESSAGE / 1_024 + 1 {
        if socket.take(&[b'x'; 1_024], &mut said, &mut frames).is_err() || !frames.is_empty() {
            return;
        }
    }
    panic!("more than a message is held");
}

/// What one end writes the other end reads, in both directions.
fn crosses(message: &[u8]) {
    let message = Bytes::copy_from_slice(message);
    if message.is_empty() || message.iter().all(|octet| matches!(octet, b'\r' | b'\n')) {
        return;
    }
    for (mut from, mut to) in [
        (WebSocket::accepted(), WebSocket::opened(Vec::new())),
        (WebSocket::opened(Vec::new()), WebSocket::accepted()),
    ] {
        let (mut line, mut frames) = (Vec::new(), VecDeque::new());
        from.put(message.clone(), &mut line).unwrap();
        from.flush(&mut line).unwrap();
        assert_eq!(to.take(&line, &mut Vec::new(), &mut frames), Ok(false));
        assert_eq!(frames, [Frame::Message(message.clone())]);
    }
}
