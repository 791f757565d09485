//! A phone's client transactions (RFC 3261 §17.1), written apart from the product's.

use std::time::Duration;

use bytes::Bytes;
use sip::{Message, Sdp, Time};

/// T1.
pub(crate) const T1: Duration = Duration::from_millis(500);
/// T2.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// 64·T1.
pub(crate) const PATIENCE: Duration = Duration::from_secs(32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    Waiting,
    Proceeding,
    /// A final response came.
    Finished(u16),
    /// None came.
    TimedOut,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Invite,
    Reinvite {
        offered: bool,
    },
    /// REFER; when accepted this side leaves so much later.
    Refer {
        leaves: Option<Duration>,
    },
    Prack,
    Update {
        offered: bool,
    },
    Other,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) branch: String,
    pub(crate) method: &'static str,
    pub(crate) cseq: u32,
    pub(crate) purpose: Purpose,
    pub(crate) request: Bytes,
    pub(crate) state: ClientState,
    /// The ACK of its final response, to be repeated.
    pub(crate) ack: Option<Bytes>,
    next: Option<Time>,
    interval: Duration,
    give_up: Time,
}

/// What a timer wants.
pub(crate) enum Due {
    Nothing,
    Send(Bytes),
    GaveUp,
}

impl Client {
    /// How many m= lines its offer has, whatever was agreed on since.
    pub(crate) fn streams_offered(&self) -> usize {
        let Ok(request) = Message::parse(&self.request) else { return 0 };
        Sdp::parse(request.body()).map_or(0, |sdp| sdp.streams().len())
    }

    pub(crate) fn new(
        branch: String,
        method: &'static str,
        cseq: u32,
        purpose: Purpose,
        request: Bytes,
        (now, stream): (Time, bool),
    ) -> Client {
        Client {
            branch,
            method,
            cseq,
            purpose,
            request,
            state: ClientState::Waiting,
            ack: None,
            next: (!stream).then(|| now + T1),
            interval: T1,
            give_up: now + PATIENCE,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, ClientState::Waiting | ClientState::Proceeding)
    }

    /// Whether nothing is owed for its 2xx.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.ack.is_some() || !matches!(self.state, ClientState::Finished(200..300))
    }

    /// True for the first final response.
    pub(crate) fn on_response(&mut self, status: u16) -> bool {
        if !self.is_open() {
            return false;
        }
        if status >= 200 {
            self.state = ClientState::Finished(status);
            self.next = None;
            return true;
        }
        self.state = ClientState::Proceeding;
        if self.method == "INVITE" {
            self.next = None;
        }
        false
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        match (self.state, self.method) {
            (ClientState::Waiting, _) => Some(self.next.unwrap_or(self.give_up).min(self.give_up)),
            // A proceeding INVITE waits for as long as it rings.
            (ClientState::Proceeding, "INVITE") => None,
            (ClientState::Proceeding, _) => Some(self.next.unwrap_or(self.give_up).min(self.give_up)),
            (ClientState::Finished(_) | ClientState::TimedOut, _) => None,
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Time) -> Due {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return Due::Nothing;
        }
        if now >= self.give_up {
            self.state = ClientState::TimedOut;
            self.next = None;
            return Due::GaveUp;
        }
        self.interval *= 2;
        if self.method != "INVITE" {
            self.interval = self.interval.min(T2);
            if self.state == ClientState::Proceeding {
                self.interval = T2;
            }
        }
        self.next = self.next.map(|_| now + self.interval);
        Due::Send(self.request.clone())
    }
}
