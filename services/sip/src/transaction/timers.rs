//! The two timers that any state of a transaction has at most: one that sends again, one that ends the state.

use std::time::Duration;

use crate::Time;

/// T1, T2 and T4 (RFC 3261 §17, Table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Round-trip estimate.
    pub t1: Duration,
    /// The longest retransmission interval of non-INVITE requests and of INVITE responses.
    pub t2: Duration,
    /// The longest a message stays in the network.
    pub t4: Duration,
}

impl Timing {
    /// 64·T1: how long a peer may take to answer (Timers B, F, H, J, L, M).
    pub fn patience(&self) -> Duration {
        self.t1 * 64
    }
}

impl Default for Timing {
    /// RFC 3261's values: 500 ms, 4 s, 5 s.
    fn default() -> Timing {
        Timing { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// Which timer fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fired {
    /// A, E or G.
    Retransmit,
    /// B, D, F, H, I, J, K, L or M: whichever ends the state.
    End,
}

/// What a transaction remembers of time. Intervals are 32-bit microseconds (up to 71 minutes) because every call holds
/// several of these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    t1: u32,
    t2: u32,
    t4: u32,
    /// The interval that `retransmit` is the end of.
    interval: u32,
    retransmit: Option<Time>,
    end: Option<Time>,
    reliable: bool,
}

impl Timers {
    pub(super) fn new(timing: Timing, reliable: bool) -> Timers {
        // An interval of zero would make the owner's "while the deadline is past" loop endless.
        let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX).max(1_000);
        Timers {
            t1: micros(timing.t1),
            t2: micros(timing.t2),
            t4: micros(timing.t4),
            interval: 0,
            retransmit: None,
            end: None,
            reliable,
        }
    }

    /// Starts sending again at T1; over a reliable transport there is nothing to repeat.
    pub(super) fn start_retransmitting(&mut self, now: Time) {
        if !self.reliable {
            self.interval = self.t1;
            self.retransmit = Some(now + micros(self.interval));
        }
    }

    /// The transport is a reliable one after all, before anything was heard.
    pub(super) fn become_reliable(&mut self) {
        self.reliable = true;
        self.stop_retransmitting();
    }

    /// Timer A: twice the last interval, with no upper limit but Timer B.
    pub(super) fn double(&mut self, now: Time) {
        self.again(now, self.interval.saturating_mul(2));
    }

    /// Timers E (in Trying) and G: twice the last interval, T2 at most.
    pub(super) fn double_up_to_t2(&mut self, now: Time) {
        self.again(now, self.interval.saturating_mul(2).min(self.t2));
    }

    /// Timer E in Proceeding.
    pub(super) fn every_t2(&mut self, now: Time) {
        self.again(now, self.t2);
    }

    fn again(&mut self, now: Time, interval: u32) {
        self.interval = interval;
        self.retransmit = Some(now + micros(interval));
    }

    pub(super) fn stop_retransmitting(&mut self) {
        self.retransmit = None;
    }

    pub(super) fn stop(&mut self) {
        self.retransmit = None;
        self.end = None;
    }

    /// B, F, H, L, M: 64·T1 over any transport.
    pub(super) fn end_after_patience(&mut self, now: Time) {
        self.end = Some(now + self.patience());
    }

    /// D: 64·T1 and 32 s at least, since the server's T1 is not known (§17.1.1.2). `false` when it is zero.
    pub(super) fn end_after_d(&mut self, now: Time) -> bool {
        const LEAST: Duration = Duration::from_secs(32);
        self.end_if_unreliable(now, self.patience().max(LEAST))
    }

    /// J: 64·T1. `false` when it is zero.
    pub(super) fn end_after_j(&mut self, now: Time) -> bool {
        self.end_if_unreliable(now, self.patience())
    }

    /// I and K: T4. `false` when they are zero.
    pub(super) fn end_after_t4(&mut self, now: Time) -> bool {
        self.end_if_unreliable(now, micros(self.t4))
    }

    fn end_if_unreliable(&mut self, now: Time, after: Duration) -> bool {
        self.end = (!self.reliable).then(|| now + after);
        !self.reliable
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match (self.retransmit, self.end) {
            (Some(retransmit), Some(end)) => Some(retransmit.min(end)),
            (Some(only), None) | (None, Some(only)) => Some(only),
            (None, None) => None,
        }
    }

    /// Which timer has fired by `now`; the one that ends the state goes first, so that nothing is sent at its very end.
    pub(super) fn fired(&self, now: Time) -> Option<Fired> {
        if self.end.is_some_and(|end| end <= now) {
            Some(Fired::End)
        } else if self.retransmit.is_some_and(|retransmit| retransmit <= now) {
            Some(Fired::Retransmit)
        } else {
            None
        }
    }

    fn patience(&self) -> Duration {
        micros(self.t1) * 64
    }
}

const fn micros(micros: u32) -> Duration {
    Duration::from_micros(micros as u64)
}
