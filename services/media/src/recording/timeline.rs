//! Two directions of a call put side by side in time, as plain data: packets come in, frames of two samples go out.
//!
//! Where a sample belongs its packet's time stamp says, counted from the first packet of its source, which belongs where it
//! arrived. So jitter is gone, and what was lost, or not sent while somebody was silent, is silence. Frames are let go
//! [`HOLD`] after their time: a packet that comes later than that is left out.

use std::collections::VecDeque;
use std::time::Duration;

use call::Side;
use sip::Time;

use super::g711;

/// Samples a second, of G.711.
pub(crate) const RATE: u32 = 8_000;
/// How long a packet may be on its way.
const HOLD: Duration = Duration::from_millis(400);
/// Samples by which a packet may be behind its arrival, and before it. Beyond that its sender's clock has jumped, or has
/// drifted so far in hours that it is put right: what is [`HOLD`] behind would be lost.
const MAX_BEHIND: u64 = RATE as u64 * 3 / 10;
const MAX_BEFORE: u64 = RATE as u64 / 2;

/// What was heard of one side, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tapped {
    pub(crate) side: Side,
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    pub(crate) timestamp: u32,
    pub(crate) at: Time,
    pub(crate) payload: Box<[u8]>,
}

/// The call so far.
#[derive(Debug)]
pub(crate) struct Timeline {
    begun: Time,
    /// Frames that were let go.
    written: u64,
    /// The frames behind them.
    frames: VecDeque<[i16; 2]>,
    sources: [Option<Source>; 2],
}

/// Where the time stamps of a source begin.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    timestamp: u32,
    frame: u64,
}

impl Timeline {
    pub(crate) fn new(begun: Time) -> Timeline {
        Timeline { begun, written: 0, frames: VecDeque::new(), sources: [None; 2] }
    }

    /// Puts a packet where it belongs. What is no G.711 is silence. False: frames that were let go would have had to take it,
    /// or some of it.
    pub(crate) fn hear(&mut self, tapped: &Tapped) -> bool {
        let Some(decode) = g711::decoder(tapped.payload_type) else { return true };
        let channel = match tapped.side {
            Side::A => 0,
            Side::B => 1,
        };
        let frame = self.place(channel, tapped);
        for (offset, octet) in (0..).zip(&tapped.payload) {
            let Some(index) = (frame + offset).checked_sub(self.written) else { continue };
            let Ok(index) = usize::try_from(index) else { break };
            self.last(index + 1);
            if let Some(sample) = self.frames.get_mut(index).and_then(|frame| frame.get_mut(channel)) {
                *sample = decode(*octet);
            }
        }
        frame >= self.written
    }

    /// The call ended: what is left lasts until now.
    pub(crate) fn end(&mut self, now: Time) {
        let count = usize::try_from(self.frame_at(now).saturating_sub(self.written)).unwrap_or(0);
        self.last(count);
    }

    /// The frames whose time is over by now; without it, all that there are.
    pub(crate) fn take(&mut self, now: Option<Time>) -> impl Iterator<Item = [i16; 2]> + '_ {
        let count = now.map_or(self.frames.len(), |now| {
            let until = self.frame_at(now).saturating_sub(self.frame_at(self.begun + HOLD));
            usize::try_from(until.saturating_sub(self.written)).unwrap_or(0)
        });
        self.last(count);
        self.written += count as u64;
        self.frames.drain(..count)
    }

    /// There are at least so many frames.
    fn last(&mut self, count: usize) {
        if count > self.frames.len() {
            self.frames.resize(count, [0; 2]);
        }
    }

    fn place(&mut self, channel: usize, tapped: &Tapped) -> u64 {
        let arrived = self.frame_at(tapped.at);
        let source = self.sources.get(channel).copied().flatten().filter(|source| source.ssrc == tapped.ssrc);
        let meant = source.and_then(|source| {
            let behind = tapped.timestamp.wrapping_sub(source.timestamp) as i32;
            source.frame.checked_add_signed(i64::from(behind))
        });
        let near = arrived.saturating_sub(MAX_BEHIND)..=arrived + MAX_BEFORE;
        match meant.filter(|meant| near.contains(meant)) {
            Some(meant) => meant,
            None => {
                let begins = Source { ssrc: tapped.ssrc, timestamp: tapped.timestamp, frame: arrived };
                if let Some(source) = self.sources.get_mut(channel) {
                    *source = Some(begins);
                }
                arrived
            }
        }
    }

    fn frame_at(&self, time: Time) -> u64 {
        let micros = u64::try_from(time.since(self.begun).as_micros()).unwrap_or(u64::MAX);
        micros.saturating_mul(u64::from(RATE)) / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    /// A packet of 20 ms in which every sample is the same: A-law octet `0xD5 ^ level`.
    fn packet(side: Side, timestamp: u32, millis: u64, octet: u8) -> Tapped {
        let payload = vec![octet; 160].into();
        Tapped { side, payload_type: 8, ssrc: 1, timestamp, at: at(millis), payload }
    }

    /// Runs of equal frames: how many, and which.
    fn runs(frames: impl Iterator<Item = [i16; 2]>) -> Vec<(usize, [i16; 2])> {
        let mut runs: Vec<(usize, [i16; 2])> = Vec::new();
        for frame in frames {
            match runs.last_mut().filter(|(_, last)| *last == frame) {
                Some((count, _)) => *count += 1,
                None => runs.push((1, frame)),
            }
        }
        runs
    }

    const LOUD: u8 = 0xAA;

    fn loud() -> i16 {
        g711::decoder(8).map_or(0, |decode| decode(LOUD))
    }

    #[test]
    fn each_side_is_where_it_arrived_and_loss_and_pauses_are_silence() {
        let mut timeline = Timeline::new(at(0));
        timeline.hear(&packet(Side::A, 1000, 20, LOUD));
        // The second packet is lost; the third comes late, and before the one that it stands behind.
        timeline.hear(&packet(Side::A, 1000 + 480, 95, LOUD));
        timeline.hear(&packet(Side::A, 1000 + 320, 96, LOUD));
        timeline.hear(&packet(Side::B, 77, 40, LOUD));
        timeline.end(at(120));
        let (a, b) = (loud(), loud());
        assert_eq!(
            runs(timeline.take(None)),
            [(160, [0, 0]), (160, [a, 0]), (160, [0, b]), (320, [a, 0]), (160, [0, 0])]
        );
    }

    #[test]
    fn frames_are_let_go_when_their_time_is_over_and_silence_lasts_as_long_as_it_was() {
        let mut timeline = Timeline::new(at(0));
        assert_eq!(timeline.take(Some(at(400))).count(), 0);
        assert_eq!(timeline.take(Some(at(500))).count(), 800);
        timeline.hear(&packet(Side::A, 0, 50, LOUD));
        assert_eq!(runs(timeline.take(Some(at(600)))), [(800, [0, 0])], "later than that is too late");
        timeline.end(at(600));
        assert_eq!(timeline.take(None).count(), 4800 - 1600);
    }

    #[test]
    fn another_source_and_a_clock_that_jumps_begin_anew_where_they_arrive() {
        let mut timeline = Timeline::new(at(0));
        timeline.hear(&packet(Side::A, 0, 0, LOUD));
        timeline.hear(&packet(Side::A, 3_000_000_000, 20, LOUD));
        timeline.hear(&Tapped { ssrc: 2, ..packet(Side::A, 5, 40, LOUD) });
        timeline.hear(&Tapped { payload_type: 101, ..packet(Side::A, 5, 60, LOUD) });
        timeline.end(at(80));
        assert_eq!(runs(timeline.take(None)), [(480, [loud(), 0]), (160, [0, 0])]);
    }

    #[test]
    fn a_clock_that_goes_wrong_for_hours_loses_nothing() {
        for packets in [159_u32, 161] {
            let mut timeline = Timeline::new(at(0));
            let mut loud_frames = 0;
            for n in 0..10_000_u32 {
                let now = at(u64::from(n) * 20);
                timeline.hear(&packet(Side::A, n * packets, u64::from(n) * 20, LOUD));
                loud_frames += timeline.take(Some(now)).filter(|[a, _]| *a != 0).count();
            }
            assert!(loud_frames > 1_560_000, "{loud_frames} of 1,600,000 samples a packet of {packets}");
        }
    }
}
