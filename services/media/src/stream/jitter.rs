//! Interarrival jitter (RFC 3550 §A.8), without being told the codec.
//!
//! The formula needs the clock rate of the timestamps. Static payload types have theirs (RFC 3551 §6); for dynamic ones
//! it is measured against arrival times and rounded to a rate that codecs use. Arrival times are as coarse as the
//! relay's tick, which bounds what small values mean.

use std::time::Duration;

use sip::Time;

/// Rates in use, each further than [`TOLERANCE`] from the next.
const RATES: [u32; 10] = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 90000];
/// How far, of one, a measured rate may be off.
const TOLERANCE: f64 = 0.04;
/// How long to measure: 40 ms of network jitter are 2 % of it.
const MEASURE: Duration = Duration::from_secs(2);
/// So many packets of another payload type in a row are a change of codec; fewer are key presses or comfort noise.
const CHANGE: u8 = 100;

/// The running estimate of one direction.
#[derive(Debug, Default)]
pub(crate) struct Jitter {
    milliseconds: f32,
    codec: Option<Codec>,
}

#[derive(Debug)]
struct Codec {
    payload_type: u8,
    rate: Option<u32>,
    /// It was measured, though perhaps in vain.
    measured: bool,
    /// Where the measurement of the rate began.
    origin: Sample,
    /// `None` after packets that somebody else counted.
    last: Option<Sample>,
    others: u8,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    arrival: Time,
    timestamp: u32,
}

impl Jitter {
    /// Takes note of a packet, in the order of arrival.
    pub(crate) fn observe(&mut self, payload_type: u8, timestamp: u32, now: Time) {
        let sample = Sample { arrival: now, timestamp };
        let Some(codec) = self.codec.as_mut() else {
            self.codec = Some(Codec::new(payload_type, sample));
            return;
        };
        if codec.payload_type != payload_type {
            codec.others = codec.others.saturating_add(1);
            if codec.others >= CHANGE {
                *codec = Codec::new(payload_type, sample);
            }
            return;
        }
        codec.others = 0;
        match (codec.rate, codec.last) {
            (Some(rate), Some(last)) => {
                let arrived = millis_between(last.arrival, now);
                let sent =
                    f64::from(timestamp.wrapping_sub(last.timestamp) as i32) * 1000.0 / f64::from(rate);
                let transit_change = (arrived - sent).abs() as f32;
                self.milliseconds += (transit_change - self.milliseconds) / 16.0;
            }
            (Some(_), None) => {}
            (None, _) => codec.measure(sample),
        }
        codec.last = Some(sample);
    }

    /// The time stamp of the last packet of the codec, and when it came.
    pub(crate) fn last(&self) -> Option<(u32, Time)> {
        let last = self.codec.as_ref()?.last?;
        Some((last.timestamp, last.arrival))
    }

    /// Another synchronisation source: timestamps begin anew, the estimate goes on.
    pub(crate) fn restart(&mut self) {
        self.codec = None;
    }

    /// The payload type that is measured and its clock rate, once as much is known of that as will be.
    pub(crate) fn clock(&self) -> Option<(u8, Option<u32>)> {
        let codec = self.codec.as_ref()?;
        (codec.rate.is_some() || codec.measured).then_some((codec.payload_type, codec.rate))
    }

    /// Goes on with an estimate of somebody else's, after packets that were not seen here.
    pub(crate) fn resume(&mut self, milliseconds: f32) {
        self.milliseconds = milliseconds;
        match self.codec.as_mut() {
            Some(codec) if codec.rate.is_some() => codec.last = None,
            Some(_) | None => self.codec = None,
        }
    }

    /// The estimate; zero while the clock rate is not known.
    pub(crate) fn milliseconds(&self) -> f32 {
        self.milliseconds
    }
}

impl Codec {
    fn new(payload_type: u8, sample: Sample) -> Codec {
        Codec {
            payload_type,
            rate: static_rate(payload_type),
            measured: false,
            origin: sample,
            last: Some(sample),
            others: 0,
        }
    }

    fn measure(&mut self, sample: Sample) {
        let elapsed = sample.arrival.since(self.origin.arrival);
        if elapsed < MEASURE {
            return;
        }
        let units = sample.timestamp.wrapping_sub(self.origin.timestamp);
        let measured = f64::from(units) / elapsed.as_secs_f64();
        self.rate = RATES.into_iter().find(|&rate| (measured / f64::from(rate) - 1.0).abs() <= TOLERANCE);
        self.origin = sample;
        self.measured = true;
    }
}

fn millis_between(earlier: Time, later: Time) -> f64 {
    later.since(earlier).as_secs_f64() * 1000.0
}

/// RFC 3551 §6, tables 4 and 5. G.722 counts at 8000 although it samples at 16000 (§4.5.2).
fn static_rate(payload_type: u8) -> Option<u32> {
    match payload_type {
        0 | 3..=5 | 7..=9 | 12 | 13 | 15 | 18 => Some(8000),
        6 => Some(16000),
        10 | 11 => Some(44100),
        14 | 25 | 26 | 28 | 31..=34 => Some(90000),
        16 => Some(11025),
        17 => Some(22050),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets `(arrival ms, payload type, timestamp)`.
    fn jitter_of(packets: impl IntoIterator<Item = (u64, u8, u32)>) -> f32 {
        let mut jitter = Jitter::default();
        for (millis, payload_type, timestamp) in packets {
            jitter.observe(payload_type, timestamp, Time::from_micros(millis * 1000));
        }
        jitter.milliseconds()
    }

    #[track_caller]
    fn assert_close(came: f32, expected: f32) {
        assert!((came - expected).abs() < 0.001, "expected {expected} ms, came {came} ms");
    }

    #[test]
    fn an_even_stream_has_no_jitter() {
        assert_close(jitter_of((0..100).map(|n| (n * 20, 0, n as u32 * 160))), 0.0);
    }

    #[test]
    fn each_deviation_moves_the_estimate_by_a_sixteenth() {
        // Spacing 20, 36, 20 ms of 20 ms packets: D = 0, 16, 0.
        assert_close(jitter_of([(0, 0, 0), (20, 0, 160), (56, 0, 320)]), 1.0);
        assert_close(jitter_of([(0, 0, 0), (20, 0, 160), (56, 0, 320), (76, 0, 480)]), 1.0 - 1.0 / 16.0);
    }

    #[test]
    fn early_and_late_packets_count_alike_and_timestamps_may_wrap() {
        let start = u32::MAX - 159;
        assert_close(jitter_of([(0, 8, start), (4, 8, 0)]), 1.0);
    }

    #[test]
    fn a_steady_alternation_settles_at_its_size() {
        let packets = (0..2000u64).map(|n| (n * 20 + (n % 2) * 5, 0, n as u32 * 160));
        assert_close(jitter_of(packets), 5.0);
    }

    #[test]
    fn a_dynamic_codec_is_judged_by_the_clock_it_is_seen_to_have() {
        let steady = (0..1000u64).map(|n| (n * 20, 111, n as u32 * 960));
        assert_close(jitter_of(steady), 0.0);
        let uneven = (0..3000u64).map(|n| (n * 20 + (n % 2) * 8, 111, n as u32 * 960));
        assert_close(jitter_of(uneven), 8.0);
    }

    #[test]
    fn a_key_press_in_the_middle_is_not_jitter() {
        let packets = (0..300u64).map(|n| match n {
            100..150 => (n * 20, 101, 100 * 160),
            _ => (n * 20, 0, n as u32 * 160),
        });
        assert_close(jitter_of(packets), 0.0);
    }

    #[test]
    fn a_change_of_codec_is_followed() {
        let packets = (0..1500u64).map(|n| match n {
            0..300 => (n * 20, 0, n as u32 * 160),
            _ => (n * 20 + (n % 2) * 4, 9, n as u32 * 160),
        });
        assert_close(jitter_of(packets), 4.0);
    }
}
