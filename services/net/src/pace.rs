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
    /// Until when the first message has to be whole, as long as there was none. Keep-alives are no messages.
    first_by: Option<Instant>,
    /// Since when the peer has taken nothing of what waits for it.
    stalled: Option<Instant>,
    idle: Duration,
    stall: Duration,
}

impl Pace {
    pub(crate) fn new(now: Instant, is_ours: bool, limits: &Limits) -> Pace {
        // Whom we have called may take its time.
        let first_by = (!is_ours).then(|| now + limits.first_message);
        Pace {
            heard: now,
            begun: None,
            first_by,
            stalled: None,
            idle: limits.idle,
            stall: limits.write_stall,
        }
    }

    /// Octets came.
    pub(crate) fn read(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What was whole in them, and whether more has begun.
    pub(crate) fn heard(&mut self, cut: Cut, within_message: bool) {
        let begun = if cut.frames > 0 { self.heard } else { self.begun.unwrap_or(self.heard) };
        self.begun = within_message.then_some(begun);
        if cut.messages > 0 {
            self.first_by = None;
        }
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
        [self.first_by, stalled_by].into_iter().flatten().fold(deadline, Instant::min)
    }

    /// Why the connection ends whose deadline has come.
    pub(crate) fn end(&self) -> End {
        match self.stalled {
            Some(since) if since + self.stall <= Instant::now() => End::Slow,
            Some(_) | None => End::Idle,
        }
    }
}
