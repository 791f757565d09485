//! What was received from one side: sequence numbers and loss (RFC 3550 §A.1, §A.3).

use sip::Time;

use super::digits::Position;
use super::header::RtpHeader;
use super::jitter::Jitter;

/// A step forward of less than this is loss, more is a jump (RFC 3550 §A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;
/// A step backward of less than this is reordering (RFC 3550 §A.1, MAX_MISORDER).
const MAX_MISORDER: u16 = 100;

/// Loss and jitter of one direction, over every synchronisation source it has had.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    current: Option<Source>,
    /// Loss of the sources and runs of numbers before the current one.
    lost_before: u64,
    reordered: u64,
    duplicates: u64,
    jitter: Jitter,
    /// Packets that came here while another counted.
    aside: u64,
}

/// All that is known of a direction, on its way to who counts it from now on, and back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Handover {
    pub(crate) ssrc: u32,
    /// Of the current run of sequence numbers: the first, the highest with its cycles, how many came.
    pub(crate) first: u64,
    pub(crate) highest: u64,
    pub(crate) received: u64,
    /// Loss of the runs before.
    pub(crate) lost_before: u64,
    /// Which of the numbers up to the highest came, that one in the lowest bit.
    pub(crate) recent: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicates: u64,
    /// After a jump: the number that would prove it was not a stray packet.
    pub(crate) suspect: Option<u16>,
    pub(crate) jitter_ms: f64,
    /// Whose timestamps the jitter is measured by, and their clock rate.
    pub(crate) payload_type: u8,
    pub(crate) rate: Option<u32>,
}

impl Reception {
    /// Takes note of a packet.
    pub(crate) fn observe(&mut self, rtp: &RtpHeader, now: Time) {
        let step = match self.current.as_mut() {
            Some(source) if source.ssrc == rtp.ssrc => source.advance(rtp.sequence),
            Some(_) | None => {
                self.jitter.restart();
                Step::Restart
            }
        };
        match step {
            Step::Counted | Step::Restart => {}
            Step::Behind => self.reordered += 1,
            // It says nothing of when it was sent.
            Step::Again => {
                self.duplicates += 1;
                return;
            }
        }
        if step == Step::Restart {
            self.lost_before += self.current.as_ref().map_or(0, Source::lost);
            self.current = Some(Source::new(rtp));
        }
        self.jitter.observe(rtp.payload_type, rtp.timestamp, now);
    }

    /// Takes note of a packet while another counts: it is one that was on its way to us, or one that the other cannot
    /// take.
    pub(crate) fn observe_aside(&mut self, rtp: &RtpHeader) {
        if self.current.as_ref().is_none_or(|source| source.ssrc == rtp.ssrc) {
            self.aside += 1;
        }
    }

    /// What another needs to go on counting; `None` before the first packet, and while the clock of the codec is still
    /// being measured.
    pub(crate) fn hand_over(&mut self) -> Option<Handover> {
        let source = self.current.as_ref()?;
        let (payload_type, rate) = self.jitter.clock()?;
        self.aside = 0;
        Some(Handover {
            ssrc: source.ssrc,
            first: u64::from(source.first),
            highest: source.highest(),
            received: source.received,
            lost_before: self.lost_before,
            recent: source.recent,
            reordered: self.reordered,
            duplicates: self.duplicates,
            suspect: source.suspect,
            jitter_ms: f64::from(self.jitter.milliseconds()),
            payload_type,
            rate,
        })
    }

    /// Goes on from where the other came.
    pub(crate) fn take_back(&mut self, handover: &Handover) {
        let aside = std::mem::take(&mut self.aside);
        let same = self.current.as_ref().is_none_or(|source| source.ssrc == handover.ssrc);
        self.lost_before = handover.lost_before;
        self.reordered = handover.reordered;
        self.duplicates = handover.duplicates;
        self.current = Some(Source {
            ssrc: handover.ssrc,
            first: handover.first as u16,
            highest: handover.highest as u16,
            cycles: handover.highest >> 16,
            received: handover.received + if same { aside } else { 0 },
            recent: handover.recent,
            suspect: handover.suspect,
            is_behind: true,
        });
        self.jitter.resume(handover.jitter_ms as f32);
    }

    /// Where the sender has come to.
    pub(crate) fn position(&self) -> Option<Position> {
        let source = self.current.as_ref()?;
        let (timestamp, at) = self.jitter.last().map_or((0, None), |(timestamp, at)| (timestamp, Some(at)));
        Some(Position { ssrc: source.ssrc, sequence: source.highest, timestamp, at })
    }

    /// Packets that came behind a later one.
    pub(crate) fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets that were here before.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that never came, so far. Duplicates do not make up for them below zero.
    pub(crate) fn lost(&self) -> u64 {
        self.lost_before + self.current.as_ref().map_or(0, Source::lost)
    }

    /// The interarrival jitter now, in milliseconds.
    pub(crate) fn jitter_ms(&self) -> f32 {
        self.jitter.milliseconds()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Counted,
    /// Counted, and late.
    Behind,
    /// A packet that was counted before.
    Again,
    /// The numbers begin anew.
    Restart,
}

/// One run of sequence numbers of one SSRC.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    first: u16,
    highest: u16,
    cycles: u64,
    received: u64,
    /// Which of the numbers up to the highest came, that one in the lowest bit.
    recent: u64,
    /// After a jump: the number that would prove it was not a stray packet.
    suspect: Option<u16>,
    /// The highest number is another's, and what waited here meanwhile is read first: older packets, in their order.
    is_behind: bool,
}

impl Source {
    fn new(rtp: &RtpHeader) -> Source {
        Source {
            ssrc: rtp.ssrc,
            first: rtp.sequence,
            highest: rtp.sequence,
            cycles: 0,
            received: 1,
            recent: 1,
            suspect: None,
            is_behind: false,
        }
    }

    fn advance(&mut self, sequence: u16) -> Step {
        let step = sequence.wrapping_sub(self.highest);
        let mut counted = Step::Counted;
        if step == 0 {
            return Step::Again;
        } else if step < MAX_DROPOUT {
            if sequence < self.highest {
                self.cycles += 1;
            }
            self.highest = sequence;
            self.is_behind = false;
            self.recent = self.recent.checked_shl(u32::from(step)).unwrap_or(0) | 1;
        } else if self.is_behind && (MAX_MISORDER..MAX_DROPOUT).contains(&step.wrapping_neg()) {
            counted = Step::Behind;
        } else if step <= u16::MAX - MAX_MISORDER {
            // Two in a row after a jump: the sender restarted without telling (RFC 3550 §A.1).
            if self.suspect == Some(sequence) {
                return Step::Restart;
            }
            self.suspect = Some(sequence.wrapping_add(1));
            return Step::Counted;
        } else {
            let bit = 1u64.checked_shl(u32::from(step.wrapping_neg())).unwrap_or(0);
            if self.recent & bit != 0 {
                return Step::Again;
            }
            self.recent |= bit;
            counted = Step::Behind;
        }
        self.suspect = None;
        self.received += 1;
        counted
    }

    fn highest(&self) -> u64 {
        (self.cycles << 16) + u64::from(self.highest)
    }

    fn lost(&self) -> u64 {
        (self.highest() + 1).saturating_sub(u64::from(self.first)).saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost_after(packets: impl IntoIterator<Item = (u32, u16)>) -> u64 {
        let mut reception = Reception::default();
        for (ssrc, sequence) in packets {
            let rtp = RtpHeader { payload_type: 0, sequence, timestamp: 0, ssrc, payload: 160 };
            reception.observe(&rtp, Time::ZERO);
        }
        reception.lost()
    }

    fn run(sequences: impl IntoIterator<Item = u16>) -> u64 {
        lost_after(sequences.into_iter().map(|sequence| (1, sequence)))
    }

    #[test]
    fn nothing_received_is_nothing_lost() {
        assert_eq!(run([]), 0);
        assert_eq!(run([65535]), 0);
    }

    #[test]
    fn a_gap_is_lost_also_where_the_numbers_wrap() {
        assert_eq!(run([10, 11, 14, 15]), 2);
        assert_eq!(run([65533, 65534, 1, 2]), 2);
    }

    #[test]
    fn a_long_call_wraps_many_times_and_loses_only_what_is_missing() {
        let numbers = (0..400_000u32).filter(|n| n % 1000 != 999).map(|n| n as u16);
        assert_eq!(run(numbers), 399, "the last missing packet is past the highest received");
    }

    #[test]
    fn reordered_packets_are_not_lost_also_across_the_wrap() {
        assert_eq!(run([1, 3, 2, 4]), 0);
        assert_eq!(run([65534, 0, 65535, 1]), 0);
    }

    #[test]
    fn duplicates_never_make_loss_negative() {
        assert_eq!(run([1, 1, 1, 2, 2]), 0);
    }

    /// What another had relayed overtook them: they are late, and no sender that begins anew.
    #[test]
    fn packets_that_waited_while_another_relayed_the_stream_are_not_lost() {
        let packet = |sequence| RtpHeader { payload_type: 0, sequence, timestamp: 0, ssrc: 1, payload: 160 };
        let mut reception = Reception::default();
        reception.observe(&packet(1), Time::ZERO);
        let before = reception.hand_over().expect("a stream of a known clock");
        // It had 801 to 1000.
        reception.take_back(&Handover { highest: 1000, received: before.received + 200, ..before });
        assert_eq!(reception.lost(), 799);
        (2..=800).chain(1001..=1010).for_each(|sequence| reception.observe(&packet(sequence), Time::ZERO));
        assert_eq!(reception.lost(), 0);
        for sequence in [500, 501] {
            reception.observe(&packet(sequence), Time::ZERO);
        }
        reception.observe(&packet(503), Time::ZERO);
        assert_eq!(reception.lost(), 1, "a sender that begins anew");
    }

    #[test]
    fn a_new_ssrc_begins_anew_and_earlier_loss_is_remembered() {
        assert_eq!(lost_after([(1, 10), (1, 12), (2, 40_000), (2, 40_002)]), 2);
    }

    #[test]
    fn a_stray_number_far_away_is_ignored_but_two_in_a_row_are_a_restart() {
        assert_eq!(run([100, 101, 30_000, 102, 103]), 0);
        assert_eq!(run([100, 102, 30_000, 30_001, 30_003]), 2);
    }
}
