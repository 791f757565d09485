//! Packet indices (RFC 3711 §3.3.1) and the window against replays (§3.3.2), source by source.

use super::Refused;

/// Sources that are remembered of what comes in; the one unheard for longest gives way. A phone has one or two, and as many
/// more as it begins anew within one key.
const MAX_SOURCES: usize = 32;

/// Sources that one key protects. None of these is forgotten: it would begin anew, and use its indices twice.
const MAX_SENT: usize = 256;

/// So many packets in a row that come too late are no late packets: the source has begun anew.
const BEGUN_ANEW: u8 = 3;

/// What is no further back may be what a receiver has missed and asked for (RFC 4585 §6.2.1): some seconds of a picture.
const ASKED_FOR: u64 = 2048;

/// So many of those in a row are nothing that was asked for.
const BEGUN_NEARBY: u8 = 50;

/// A source that has begun again with its numbers has one below this, unless nobody heard it for ten minutes.
pub(super) const BEGUN: u16 = 0x8000;

/// A source that begins above this may begin again with its numbers before the other end has its key or its call: this
/// is some minutes of voice.
const LATE: u16 = 0xe000;

/// How far back an index may be and still be told from a replay.
const WINDOW: u64 = 128;

/// The indices of a context.
#[derive(Debug, Default)]
pub(super) struct Indices {
    /// The one heard last at the front: nearly always the only one.
    sources: Vec<Source>,
}

/// One synchronisation source.
#[derive(Debug)]
pub(super) struct Source {
    ssrc: u32,
    pub(super) rtp: Window,
    pub(super) rtcp: Window,
    /// What is added to the numbers that the source gives, of what goes out.
    shift: u16,
    /// How many in a row came too late, of what goes out.
    late: u8,
}

/// How far sources had come under the key before.
#[derive(Debug, Default)]
pub(super) struct Reached(Vec<(u32, Window)>);

impl Reached {
    /// The index of a packet of a source that counts on.
    pub(super) fn guess(&self, ssrc: u32, sequence: u16) -> Option<u64> {
        self.0.iter().find(|(of, _)| *of == ssrc).map(|(_, window)| window.guess(sequence))
    }
}

/// The highest index there was, and which of those below it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// `None`: nothing was there yet.
    highest: Option<u64>,
    /// Bit `n` is the index `highest - n`.
    seen: u128,
}

impl Indices {
    /// How far each source has come. `before`: under the key before, for those that were not heard under this one.
    pub(super) fn reached(&self, before: &Reached) -> Reached {
        let heard = self.sources.iter().filter(|source| source.rtp.has_begun());
        let heard = heard.map(|source| (source.ssrc, source.rtp));
        let unheard = before.0.iter().copied().filter(|(ssrc, _)| self.heard(*ssrc).is_none());
        Reached(heard.chain(unheard).take(MAX_SOURCES).collect())
    }

    /// A source that is known.
    pub(super) fn of(&self, ssrc: u32) -> Option<&Source> {
        self.sources.iter().find(|source| source.ssrc == ssrc)
    }

    /// A source whose media is known. Control has indices of its own (RFC 3711 §3.4), and says nothing of where those of media
    /// are.
    pub(super) fn heard(&self, ssrc: u32) -> Option<&Source> {
        self.of(ssrc).filter(|source| source.rtp.has_begun())
    }

    /// A source whose packet proved to be right.
    pub(super) fn enter(&mut self, ssrc: u32) -> &mut Source {
        if self.sources.len() >= MAX_SOURCES && self.of(ssrc).is_none() {
            self.sources.pop();
        }
        self.heard_last(ssrc)
    }

    /// A source of what goes out.
    pub(super) fn sent(&mut self, ssrc: u32) -> Result<&mut Source, Refused> {
        if self.sources.len() >= MAX_SENT && self.of(ssrc).is_none() {
            return Err(Refused::Exhausted);
        }
        Ok(self.heard_last(ssrc))
    }

    /// Brings a source to the front, a new one if there is none.
    fn heard_last(&mut self, ssrc: u32) -> &mut Source {
        let at = self.sources.iter().position(|source| source.ssrc == ssrc).unwrap_or_else(|| {
            self.sources.push(Source::new(ssrc));
            self.sources.len() - 1
        });
        self.sources[..=at].rotate_right(1);
        &mut self.sources[0]
    }
}

impl Source {
    fn new(ssrc: u32) -> Source {
        Source { ssrc, rtp: Window::default(), rtcp: Window::default(), shift: 0, late: 0 }
    }

    /// The index under which a packet of this number goes out; its low half is the number that it goes out with.
    ///
    /// A receiver takes the first number that it hears for one of the first 2^16 (RFC 3711 §3.3.1). Who begins where it could be
    /// mistaken is given others.
    ///
    /// No index is used twice. So a source that begins anew with lower numbers is given others, which go on where it was:
    /// to refuse them would silence it until it has counted up to there again.
    pub(super) fn next_rtp(&mut self, sequence: u16) -> Result<u64, Refused> {
        if self.rtp.highest.is_none() && sequence >= LATE {
            self.shift = BEGUN;
        }
        let number = sequence.wrapping_add(self.shift);
        let most_late = if self.rtp.is_near(number) { BEGUN_NEARBY } else { BEGUN_ANEW };
        let index = match self.rtp.next(number) {
            Ok(index) => index,
            Err(Refused::Replayed) if self.late.saturating_add(1) >= most_late => {
                let next = self.rtp.highest.map_or(u64::from(sequence), |highest| highest + 1);
                self.shift = (next as u16).wrapping_sub(sequence);
                self.rtp.next(next as u16)?
            }
            Err(why) => {
                self.late = self.late.saturating_add(1);
                return Err(why);
            }
        };
        self.late = 0;
        self.rtp.note(index);
        Ok(index)
    }

    /// The index of the next packet of control that goes out; `None` when there is none left.
    pub(super) fn next_rtcp(&mut self) -> Option<u32> {
        let next = self.rtcp.highest.map_or(0, |highest| highest + 1);
        let next = u32::try_from(next).ok().filter(|next| *next < super::ENCRYPTED)?;
        self.rtcp.note(u64::from(next));
        Some(next)
    }
}

impl Window {
    fn has_begun(&self) -> bool {
        self.highest.is_some()
    }

    /// The index that a sequence number most likely stands for: the one nearest to the highest there was (RFC 3711
    /// Appendix A).
    pub(super) fn guess(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else { return u64::from(sequence) };
        let (rollovers, last) = (highest >> 16, highest as u16);
        let ahead = sequence.wrapping_sub(last);
        let rollovers = if ahead < 0x8000 {
            rollovers + u64::from(sequence < last)
        } else {
            // Behind. Before the first rollover there is nothing to go back to.
            rollovers.saturating_sub(u64::from(sequence > last))
        };
        rollovers << 16 | u64::from(sequence)
    }

    /// Whether a number is one of the last before the highest there was.
    fn is_near(&self, sequence: u16) -> bool {
        let behind = self.highest.and_then(|highest| highest.checked_sub(self.guess(sequence)));
        behind.is_some_and(|behind| behind < ASKED_FOR)
    }

    /// The index of a packet that is to go out.
    fn next(&self, sequence: u16) -> Result<u64, Refused> {
        let index = self.guess(sequence);
        // A number from before the first one would be taken for one far ahead of it, and those behind it for the next
        // rollover's, which the receiver does not see.
        let before_the_first = self.highest.is_some_and(|highest| index > highest + 0x7fff);
        if before_the_first { Err(Refused::Replayed) } else { self.check(index).map(|()| index) }
    }

    /// Whether an index may be used: once, and not long after later ones.
    pub(super) fn check(&self, index: u64) -> Result<(), Refused> {
        if index >> 48 != 0 {
            return Err(Refused::Exhausted);
        }
        let Some(behind) = self.highest.and_then(|highest| highest.checked_sub(index)) else {
            return Ok(());
        };
        if behind >= WINDOW || self.seen >> behind & 1 != 0 { Err(Refused::Replayed) } else { Ok(()) }
    }

    /// An index was used.
    pub(super) fn note(&mut self, index: u64) {
        let highest = *self.highest.get_or_insert(index);
        match index.checked_sub(highest) {
            Some(ahead) => {
                let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
                self.highest = Some(index);
            }
            None => {
                let behind = u32::try_from(highest - index).unwrap_or(u32::MAX);
                self.seen |= 1u128.checked_shl(behind).unwrap_or(0);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn after(indices: impl IntoIterator<Item = u64>) -> Window {
        let mut window = Window::default();
        for index in indices {
            assert_eq!(window.check(index), Ok(()), "{index}");
            window.note(index);
        }
        window
    }

    #[test]
    fn a_sequence_number_stands_for_the_nearest_index() {
        let window = after([0x1_fff0]);
        assert_eq!(window.guess(0xfff1), 0x1_fff1);
        assert_eq!(window.guess(0x0003), 0x2_0003, "behind the rollover");
        assert_eq!(window.guess(0xff00), 0x1_ff00, "late");
        let window = after([0x2_0003]);
        assert_eq!(window.guess(0xfff1), 0x1_fff1, "from before the rollover");
        assert_eq!(after([3]).guess(0xfff1), 0xfff1, "there was no rollover before the first");
    }

    #[test]
    fn an_index_is_good_once() {
        let window = after([100, 102, 101, 99]);
        for index in [99, 100, 101, 102] {
            assert_eq!(window.check(index), Err(Refused::Replayed), "{index}");
        }
        assert_eq!(window.check(98), Ok(()));
        assert_eq!(window.check(103), Ok(()));
    }

    #[test]
    fn what_is_too_old_to_tell_is_refused() {
        let window = after([1000]);
        assert_eq!(window.check(1000 - WINDOW + 1), Ok(()));
        assert_eq!(window.check(1000 - WINDOW), Err(Refused::Replayed));
        let window = after([5, 5 + WINDOW * 4]);
        assert_eq!(window.check(5), Err(Refused::Replayed));
    }

    #[test]
    fn an_index_past_its_48_bits_is_none() {
        assert_eq!(after([(1 << 48) - 1]).check(1 << 48), Err(Refused::Exhausted));
    }

    #[test]
    fn no_source_that_was_sent_is_forgotten() {
        let mut indices = Indices::default();
        for ssrc in 0..MAX_SENT as u32 {
            assert_eq!(indices.sent(ssrc).unwrap().next_rtp(7), Ok(7));
        }
        assert_eq!(indices.sent(1000).map(|source| source.ssrc), Err(Refused::Exhausted));
        assert_eq!(indices.sent(0).unwrap().next_rtp(7), Err(Refused::Replayed));
        assert_eq!(indices.sent(0).unwrap().next_rtcp(), Some(0));
        assert_eq!(indices.sent(0).unwrap().next_rtcp(), Some(1));
    }

    #[test]
    fn a_source_that_begins_anew_goes_on_where_it_was() {
        let mut source = Source::new(1);
        assert_eq!(source.next_rtp(40_000), Ok(40_000));
        assert_eq!(source.next_rtp(20_000), Err(Refused::Replayed));
        assert_eq!(source.next_rtp(20_001), Err(Refused::Replayed));
        assert_eq!(source.next_rtp(20_002), Ok(40_001));
        assert_eq!(source.next_rtp(20_003), Ok(40_002));
        assert_eq!(source.next_rtp(20_003), Err(Refused::Replayed), "once");
    }

    #[test]
    fn what_is_sent_again_because_it_was_asked_for_changes_no_number() {
        let mut source = Source::new(1);
        (980..=1000).for_each(|number| assert_eq!(source.next_rtp(number), Ok(u64::from(number))));
        for number in [990, 991, 992, 993, 994] {
            assert_eq!(source.next_rtp(number), Err(Refused::Replayed));
        }
        assert_eq!(source.next_rtp(1001), Ok(1001));
        let again: Vec<_> = (400..460).map(|number| source.next_rtp(number)).collect();
        assert!(again[..49].iter().all(|sent| *sent == Err(Refused::Replayed)));
        assert_eq!(again[49..], (1002..=1012).map(Ok).collect::<Vec<_>>(), "nobody has asked for so many");
    }

    #[test]
    fn one_from_before_the_first_does_not_count_as_a_rollover() {
        let mut source = Source::new(1);
        assert_eq!(source.next_rtp(0), Ok(0));
        assert_eq!(source.next_rtp(65_535), Err(Refused::Replayed));
        assert_eq!(source.next_rtp(1), Ok(1));
    }

    #[test]
    fn the_source_unheard_for_longest_gives_way() {
        let mut indices = Indices::default();
        for ssrc in 0..MAX_SOURCES as u32 {
            indices.enter(ssrc).rtp.note(1);
        }
        indices.enter(0);
        indices.enter(1000);
        assert!(indices.of(0).is_some());
        assert!(indices.of(1).is_none());
        assert_eq!(indices.sources.len(), MAX_SOURCES);
    }
}
