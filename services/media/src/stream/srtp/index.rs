//! Packet indices (RFC 3711 §3.3.1) and the window against replays (§3.3.2), source by source.

use super::Refused;

/// Sources that one context remembers; the one unheard for longest gives way. A phone has one or two, and as many more as
/// it begins anew within one key.
const MAX_SOURCES: usize = 32;

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
    /// A source that is known.
    pub(super) fn of(&self, ssrc: u32) -> Option<&Source> {
        self.sources.iter().find(|source| source.ssrc == ssrc)
    }

    /// A source whose packet proved to be right.
    pub(super) fn enter(&mut self, ssrc: u32) -> &mut Source {
        let at = self.sources.iter().position(|source| source.ssrc == ssrc);
        let at = at.unwrap_or_else(|| {
            if self.sources.len() >= MAX_SOURCES {
                self.sources.pop();
            }
            self.sources.push(Source { ssrc, rtp: Window::default(), rtcp: Window::default() });
            self.sources.len() - 1
        });
        self.sources[..=at].rotate_right(1);
        &mut self.sources[0]
    }
}

impl Source {
    /// The index of the next packet of control that goes out; `None` when there is none left.
    pub(super) fn next_rtcp(&mut self) -> Option<u32> {
        let next = self.rtcp.highest.map_or(0, |highest| highest + 1);
        let next = u32::try_from(next).ok().filter(|next| *next < super::ENCRYPTED)?;
        self.rtcp.note(u64::from(next));
        Some(next)
    }
}

impl Window {
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
