//! Reading RTCP as it passes (RFC 3550 §6.4): how long the way to a side and back takes.
//!
//! The relay is in the middle. A sender report that it passes on to a side is answered by that side's next report with the
//! time stamp of the one it answers and how long it waited; what is left of the time between the two is the way from here
//! to that side and back (RFC 3550 §6.4.1, with the relay in the place of the sender).

use sip::Time;

pub(super) const SENDER_REPORT: u8 = 200;
pub(super) const RECEIVER_REPORT: u8 = 201;
/// A compound packet has a handful; more are not looked at.
const MAX_PACKETS: usize = 8;

/// The round trip between the relay and one side.
#[derive(Debug, Default)]
pub struct RoundTrip {
    /// The sender reports that the side was sent last: the middle of their NTP time stamp, and when.
    sent: [Option<(u32, Time)>; 2],
    last: Option<u32>,
}

impl RoundTrip {
    /// Takes note of control that the side is sent.
    pub fn sent(&mut self, packet: &[u8], now: Time) {
        for Part { kind, body, .. } in packets(packet) {
            if kind == SENDER_REPORT
                && let Some(&[a, b, c, d]) = body.get(6..).and_then(|rest| rest.first_chunk())
            {
                self.sent = [Some((u32::from_be_bytes([a, b, c, d]), now)), self.sent[0]];
            }
        }
    }

    /// Takes note of control that came from the side.
    pub fn heard(&mut self, packet: &[u8], now: Time) {
        for Part { kind, body, .. } in packets(packet) {
            let blocks = match kind {
                SENDER_REPORT => body.get(24..),
                RECEIVER_REPORT => body.get(4..),
                _ => None,
            };
            for block in blocks.unwrap_or_default().chunks_exact(24) {
                let word = |at: usize| block.get(at..).and_then(|rest| rest.first_chunk()).copied();
                let (Some(answered), Some(waited)) = (word(16), word(20)) else { continue };
                self.answered(u32::from_be_bytes(answered), u32::from_be_bytes(waited), now);
            }
        }
    }

    /// In milliseconds, as the last report that answered one of ours says.
    pub fn milliseconds(&self) -> Option<u32> {
        self.last
    }

    /// `waited` is in units of 1/65536 s.
    fn answered(&mut self, stamp: u32, waited: u32, now: Time) {
        let sent = self.sent.iter().flatten().find(|(sent, _)| *sent == stamp && stamp != 0);
        let Some((_, at)) = sent else { return };
        let waited = (u64::from(waited) * 1_000_000) >> 16;
        let passed = u64::try_from(now.since(*at).as_micros()).unwrap_or(u64::MAX);
        // Clocks that disagree make it negative by a little; a peer that makes it negative by much is not believed.
        if let Some(micros) = passed.checked_sub(waited).or((waited < passed + 10_000).then_some(0)) {
            self.last = u32::try_from(micros / 1000).ok();
        }
    }
}

/// A packet of a compound one.
pub(super) struct Part<'p> {
    /// Of report blocks, or of sources.
    pub(super) count: usize,
    pub(super) kind: u8,
    /// What is behind the first word.
    pub(super) body: &'p [u8],
}

/// The packets of a compound one.
pub(super) fn packets(mut compound: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let next = move || {
        let &[first, kind, high, low] = compound.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([high, low])) * 4;
        let body = compound.get(4..4 + length).filter(|_| first >> 6 == 2)?;
        compound = compound.get(4 + length..)?;
        Some(Part { count: usize::from(first & 0x1f), kind, body })
    };
    std::iter::from_fn(next).take(MAX_PACKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender report with this middle of its time stamp, and blocks that answer others: `(stamp, waited)`.
    fn sender_report(stamp: u32, blocks: &[(u32, u32)]) -> Vec<u8> {
        let length = 6 + 6 * blocks.len() as u8;
        let mut packet = vec![0x80 | blocks.len() as u8, SENDER_REPORT, 0, length];
        packet.extend([0, 0, 0, 7, 0xAA, 0xAA]);
        packet.extend(stamp.to_be_bytes());
        packet.extend([0xBB; 14]);
        packet.extend(blocks.iter().flat_map(|block| report_block(*block)));
        packet
    }

    fn receiver_report(block: (u32, u32)) -> Vec<u8> {
        [&[0x81, RECEIVER_REPORT, 0, 7, 0, 0, 0, 9][..], &report_block(block)].concat()
    }

    fn report_block((stamp, waited): (u32, u32)) -> Vec<u8> {
        [&[0; 16][..], &stamp.to_be_bytes(), &waited.to_be_bytes()].concat()
    }

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    /// Half a second.
    const HALF: u32 = 0x8000;

    #[test]
    fn what_is_left_of_the_time_between_a_report_and_its_answer_is_the_way() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.milliseconds(), None);
        trip.sent(&sender_report(0x1234_5678, &[]), at(1000));
        trip.heard(&receiver_report((0x1234_5678, HALF)), at(1580));
        assert_eq!(trip.milliseconds(), Some(80));
        trip.sent(&sender_report(0x2222_2222, &[]), at(2000));
        trip.heard(&sender_report(1, &[(0x2222_2222, HALF)]), at(2520));
        assert_eq!(trip.milliseconds(), Some(20), "a side that sends as well says it in its own report");
    }

    #[test]
    fn the_report_before_the_last_may_be_answered_and_one_that_was_never_sent_may_not() {
        let mut trip = RoundTrip::default();
        trip.sent(&sender_report(1, &[]), at(0));
        trip.sent(&sender_report(2, &[]), at(500));
        trip.heard(&receiver_report((1, HALF)), at(540));
        assert_eq!(trip.milliseconds(), Some(40));
        for nothing in [(3, 0), (0, 0)] {
            trip.heard(&receiver_report(nothing), at(2000));
        }
        trip.heard(&receiver_report((2, u32::MAX)), at(2000));
        assert_eq!(trip.milliseconds(), Some(40), "who claims to have waited longer is not believed");
    }

    #[test]
    fn reports_are_found_in_compound_packets_and_nothing_is_read_beyond_them() {
        let mut trip = RoundTrip::default();
        trip.sent(&sender_report(1, &[]), at(0));
        let source = [0x81, 202, 0, 2, 0, 0, 0, 9, 1, 1, b'a', 0];
        trip.heard(&[&source[..], &receiver_report((1, 0))].concat(), at(7));
        assert_eq!(trip.milliseconds(), Some(7));
        let whole = sender_report(1, &[(1, 0)]);
        for length in 0..whole.len() {
            trip.heard(&whole[..length], at(99));
            trip.sent(&whole[..length], at(99));
        }
        assert_eq!(trip.milliseconds(), Some(7));
    }
}
