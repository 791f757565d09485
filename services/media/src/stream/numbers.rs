//! The sequence numbers of a stream out of which packets are taken: what goes on is numbered as if they had never been, so
//! that the receiver sees no gap, conceals nothing and reports no loss that the box has made (RFC 3550 §6.4.1). What the
//! network lost still shows.

use super::header::RtpHeader;

/// So many numbers back it is known which were taken.
const REMEMBERED: u16 = 64;
/// A number further back than this is none that comes late: the source has begun anew.
const MISORDER: u16 = 3_000;

/// Of one direction.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The source and its highest number.
    last: Option<(u32, u16)>,
    /// How many were taken of it.
    taken: u16,
    /// Which of the last were: bit `n` is the number `n` below the highest.
    recent: u64,
}

impl Numbers {
    /// Whether a packet that is not taken goes on with another number than its own.
    pub(super) fn are_shifted(&self) -> bool {
        self.taken != 0
    }

    /// A packet is taken. One that comes late has left its gap already: what came behind it has gone on.
    pub(super) fn take(&mut self, rtp: &RtpHeader) {
        if self.behind(rtp).is_none() {
            self.taken = self.taken.wrapping_add(1);
            self.recent |= 1;
        }
    }

    /// The number with which a packet goes on.
    pub(super) fn of(&mut self, rtp: &RtpHeader) -> u16 {
        let later = match self.behind(rtp) {
            None => 0,
            Some(behind) if behind < REMEMBERED => self.recent & ((1 << behind) - 1),
            Some(_) => self.recent,
        };
        let before = self.taken.wrapping_sub(later.count_ones() as u16);
        rtp.sequence.wrapping_sub(before)
    }

    /// How far behind the highest number there was; `None`: it is the highest now.
    fn behind(&mut self, rtp: &RtpHeader) -> Option<u16> {
        let last = self.last.filter(|(ssrc, _)| *ssrc == rtp.ssrc);
        let behind = last.map(|(_, highest)| highest.wrapping_sub(rtp.sequence));
        if let Some(behind) = behind.filter(|behind| *behind < MISORDER) {
            return Some(behind);
        }
        match behind {
            // Another source has numbers of its own.
            None => *self = Numbers::default(),
            Some(behind) => {
                self.recent = self.recent.checked_shl(u32::from(behind.wrapping_neg())).unwrap_or(0)
            }
        }
        self.last = Some((rtp.ssrc, rtp.sequence));
        None
    }
}
