//! Telling a side that who it has heard is gone (RFC 3550 §6.6).
//!
//! Who leaves says so itself, and its BYE is relayed like all control. But a party that dies says nothing, and when the box
//! takes a side away, a rejected stream or the rest of a call, whoever stays would wait for the others to time out. So it is
//! remembered whose reports a side was sent, and whose BYE was not; those are said to be gone, once. Who has left by itself
//! is told nothing more, and a side that was sent no control hears none now.

use std::net::SocketAddr;

use call::Side;
use smallvec::SmallVec;

use super::control::{Part, RECEIVER_REPORT, SENDER_REPORT, packets};
use super::{Channel, End, OVERHEAD, Stream, Verdict};

const BYE: u8 = 203;
/// So many are remembered. A phone has one source for each stream.
const MAX_SOURCES: usize = 8;
/// An empty report, without which there is no compound packet (§6.1), and the BYE.
const LONGEST: usize = 8 + 4 + 4 * MAX_SOURCES;

/// The sources that a side was sent reports of.
#[derive(Debug, Default)]
pub(super) struct Sources(SmallVec<[u32; 2]>);

/// A packet for a side that stays.
#[derive(Debug)]
pub(crate) struct Farewell {
    buffer: [u8; LONGEST + OVERHEAD],
    length: usize,
    pub(crate) out: Channel,
    pub(crate) to: SocketAddr,
}

impl Farewell {
    pub(crate) fn packet(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

/// Control of `near` is relayed to `far`.
pub(super) fn note(near: &mut End, far: &mut End, compound: &[u8]) {
    for Part { count, kind, body } in packets(compound) {
        let mut sources = body.as_chunks::<4>().0.iter().map(|ssrc| u32::from_be_bytes(*ssrc));
        match kind {
            SENDER_REPORT | RECEIVER_REPORT => {
                if let Some(ssrc) = sources.next() {
                    far.told.get_or_insert_default().add(ssrc);
                }
            }
            BYE => {
                near.told = None;
                if let Some(told) = &mut far.told {
                    sources.take(count).for_each(|gone| told.0.retain(|ssrc| *ssrc != gone));
                }
            }
            _ => {}
        }
    }
}

impl Sources {
    fn add(&mut self, ssrc: u32) {
        if !self.0.contains(&ssrc) && self.0.len() < MAX_SOURCES {
            self.0.push(ssrc);
        }
    }
}

impl Stream {
    /// What a side is to be told whose opposite is gone, if it has heard anything of it and can still be told. Once.
    pub(crate) fn farewell(&mut self, side: Side) -> Option<Farewell> {
        let end = self.end_mut(side);
        let Sources(gone) = *end.told.take()?;
        let (first, count) = (*gone.first()?, gone.len() as u8);
        let Verdict::Relay { out, to, .. } = end.control_target() else { return None };
        let head = [[0x80, RECEIVER_REPORT, 0, 1], first.to_be_bytes(), [0x80 | count, BYE, 0, count]];
        let packet = head.into_iter().chain(gone.iter().map(|ssrc| ssrc.to_be_bytes()));
        let mut buffer = [0; LONGEST + OVERHEAD];
        buffer.iter_mut().zip(packet.flatten()).for_each(|(to, octet)| *to = octet);
        let length = self.seal(side, false, &mut buffer, 12 + 4 * usize::from(count)).ok()?;
        Some(Farewell { buffer, length, out, to })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use call::{Keying, Protection, RemoteStream, SrtpKeys};
    use sip::{MasterKey, SrtpSuite, Time};

    use super::super::srtp::Context;
    use super::*;

    const A: &str = "192.0.2.10:4000";
    const B: &str = "198.51.100.20:6000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Two sides that multiplex.
    fn described() -> Stream {
        let mut stream = Stream::default();
        for (side, at) in [(Side::A, A), (Side::B, B)] {
            let rtp = address(at);
            let (sends, receives, is_rtp) = (true, true, true);
            let remote = RemoteStream {
                rtp,
                rtcp: rtp,
                signalling: rtp.ip(),
                sends,
                receives,
                is_rtp,
                is_audio: false,
            };
            stream.describe(side, Some(remote));
        }
        stream
    }

    fn control(stream: &mut Stream, from: Side, packet: &[u8]) {
        let source = address(if from == Side::A { A } else { B });
        let verdict = stream.receive(from, Channel::Rtp, source, packet, Time::ZERO);
        assert!(matches!(verdict, Verdict::Relay { media: None, .. }), "{verdict:?}");
    }

    fn report(ssrc: u8) -> [u8; 8] {
        [0x80, RECEIVER_REPORT, 0, 1, 0, 0, 0, ssrc]
    }

    fn bye(ssrc: u8) -> Vec<u8> {
        [report(ssrc), [0x81, BYE, 0, 1, 0, 0, 0, ssrc]].concat()
    }

    fn said(stream: &mut Stream, to: Side) -> Option<Vec<u8>> {
        stream.farewell(to).map(|farewell| farewell.packet().to_vec())
    }

    #[test]
    fn a_side_is_told_once_that_all_are_gone_whom_it_has_heard() {
        let mut stream = described();
        for ssrc in [9, 7, 9] {
            control(&mut stream, Side::A, &report(ssrc));
        }
        let farewell = stream.farewell(Side::B).unwrap();
        assert_eq!((farewell.out, farewell.to), (Channel::Rtp, address(B)));
        let expected = [&report(9)[..], &[0x82, BYE, 0, 2, 0, 0, 0, 9, 0, 0, 0, 7]].concat();
        assert_eq!(farewell.packet(), expected);
        assert_eq!(
            (said(&mut stream, Side::B), said(&mut stream, Side::A)),
            (None, None),
            "once, and who was told"
        );
    }

    #[test]
    fn who_has_said_bye_is_not_said_to_be_gone_again_and_is_told_nothing() {
        let mut stream = described();
        control(&mut stream, Side::A, &report(9));
        control(&mut stream, Side::B, &report(8));
        control(&mut stream, Side::A, &bye(9));
        assert_eq!((said(&mut stream, Side::A), said(&mut stream, Side::B)), (None, None));
        // It has begun anew with another source.
        control(&mut stream, Side::B, &report(8));
        control(&mut stream, Side::A, &report(5));
        assert_eq!((said(&mut stream, Side::A), said(&mut stream, Side::B)), (Some(bye(8)), Some(bye(5))));
    }

    #[test]
    fn a_side_without_an_address_is_told_nothing_and_sources_are_bounded() {
        let mut stream = described();
        (0..100).for_each(|ssrc| control(&mut stream, Side::A, &report(ssrc)));
        assert_eq!(said(&mut stream, Side::B).unwrap().len(), LONGEST);
        control(&mut stream, Side::A, &report(1));
        stream.describe(Side::B, None);
        assert_eq!(said(&mut stream, Side::B), None);
    }

    #[test]
    fn an_encrypted_side_is_told_so_with_the_index_behind_what_it_was_sent() {
        let mut stream = described();
        let suite = SrtpSuite::AesCm128Sha1_80;
        let master = |octet: u8| MasterKey::new(suite, &[octet; 30]).unwrap();
        let keying = Keying::Sdes(SrtpKeys { suite, inbound: master(1), outbound: master(2) });
        stream.protect(Side::B, Some(&Protection { keying, ice: None }), None, &|_| None);
        let mut buffer = [&report(9)[..], &[0; OVERHEAD]].concat();
        let (_, length) = stream.pass(Side::A, Channel::Rtp, address(A), &mut buffer, 8, Time::ZERO);
        let mut b = Context::new(suite, &master(2));
        assert_eq!(b.unprotect_rtcp(&mut buffer, length), Ok(8));
        let mut last = said(&mut stream, Side::B).unwrap();
        let length = last.len();
        assert_eq!(b.unprotect_rtcp(&mut last, length), Ok(16), "neither forged nor replayed");
        assert_eq!(last[..16], bye(9));
    }
}
