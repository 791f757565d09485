//! Until when a stream connection may go on as it does: half-open, mute, dripping and deaf peers are let go.

use std::time::{Duration, Instant};

use crate::Limits;
use crate::connection::{Cut, End};

/// How long a message may take from its first octet to its last: as long as the transaction waits for it (64·T1).
const MESSAGE_LIFE: Duration = Duration::from_secs(32);

/// The clocks of one connection.
#[derive(Debug)]
pub(crate) struct Pace {
    heard: Instant,
    /// When the message began that has not ended.
    begun: Option<Instant>,
    purpose: Purpose,
    first_message: Duration,
    /// Since when the peer has taken nothing of what waits for it.
    stalled: Option<Instant>,
    idle: Duration,
    stall: Duration,
}

/// What the connection is there for, as far as it was shown. Keep-alives show nothing.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// Nothing so far: until then the first message has to be whole.
    Unknown(Instant),
    /// A message that anybody may send: until then another one, or its sender has become somebody who is known.
    Strange(Instant),
    /// It is ours, or that of somebody who is known.
    Known,
}

impl Pace {
    pub(crate) fn new(now: Instant, is_ours: bool, limits: &Limits) -> Pace {
        // Whom we have called may take its time.
        let purpose = if is_ours { Purpose::Known } else { Purpose::Unknown(now + limits.first_message) };
        Pace {
            heard: now,
            begun: None,
            purpose,
            first_message: limits.first_message,
            stalled: None,
            idle: limits.idle,
            stall: limits.write_stall,
        }
    }

    /// Octets came.
    pub(crate) fn read(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What was whole in them, and whether more has begun. `is_known`: whether somebody known is at the other end, by now; a place
    /// is not had for a message that anybody may send.
    pub(crate) fn heard(&mut self, cut: Cut, within_message: bool, is_known: impl Fn() -> bool) {
        let begun = if cut.frames > 0 { self.heard } else { self.begun.unwrap_or(self.heard) };
        self.begun = within_message.then_some(begun);
        if cut.messages == 0 {
            return;
        }
        self.purpose = match self.purpose {
            Purpose::Unknown(_) | Purpose::Strange(_) if !is_known() => {
                Purpose::Strange(self.heard + self.first_message)
            }
            Purpose::Unknown(_) | Purpose::Strange(_) | Purpose::Known => Purpose::Known,
        };
    }

    /// Whether its sender may have become known since.
    pub(crate) fn is_strange(&self) -> bool {
        matches!(self.purpose, Purpose::Strange(_))
    }

    /// It has.
    pub(crate) fn acquainted(&mut self) {
        self.purpose = Purpose::Known;
    }

    /// Whether everything that was to be written has left.
    pub(crate) fn flushed(&mut self, is_flushed: bool) {
        match (is_flushed, self.stalled) {
            (true, Some(_)) => self.stalled = None,
            (false, None) => self.stalled = Some(Instant::now()),
            (true, None) | (false, Some(_)) => {}
        }
    }

    /// The socket had room for some of it.
    pub(crate) fn wrote(&mut self) {
        self.stalled = None;
    }

    pub(crate) fn deadline(&self) -> Instant {
        let deadline = match self.begun {
            Some(begun) => begun + MESSAGE_LIFE,
            None => self.heard + self.idle,
        };
        let stalled_by = self.stalled.map(|since| since + self.stall);
        let purpose_by = match self.purpose {
            Purpose::Unknown(until) | Purpose::Strange(until) => Some(until),
            Purpose::Known => None,
        };
        [purpose_by, stalled_by].into_iter().flatten().fold(deadline, Instant::min)
    }

    /// Why the connection ends whose deadline has come.
    pub(crate) fn end(&self) -> End {
        match self.stalled {
            Some(since) if since + self.stall <= Instant::now() => End::Slow,
            Some(_) | None => End::Idle,
        }
    }
}
