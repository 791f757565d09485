//! A phone's server transactions (RFC 3261 §17.2 and §13.3.1.4), written apart from the product's.

use std::time::Duration;

use bytes::Bytes;
use sip::{Message, Sdp, Time};

use super::client::{PATIENCE, T1, T2};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerState {
    /// No final response yet.
    Open,
    /// Final response to an INVITE sent, repeated until its ACK comes.
    Unacked(u16),
    /// Nothing is waited for.
    Done(u16),
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) branch: String,
    pub(crate) method: String,
    pub(crate) cseq: u32,
    pub(crate) request: Bytes,
    pub(crate) state: ServerState,
    last: Option<Bytes>,
    next: Time,
    interval: Duration,
    give_up: Time,
}

impl Server {
    pub(crate) fn new(branch: String, method: String, cseq: u32, request: Bytes) -> Server {
        Server {
            branch,
            method,
            cseq,
            request,
            state: ServerState::Open,
            last: None,
            next: Time::ZERO,
            interval: T1,
            give_up: Time::ZERO,
        }
    }

    /// How many m= lines its last response had.
    pub(crate) fn streams_said(&self) -> usize {
        let Some(Ok(response)) = self.last.as_deref().map(Message::parse) else { return 0 };
        Sdp::parse(response.body()).map_or(0, |sdp| sdp.streams().len())
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, ServerState::Done(_))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == ServerState::Open
    }

    pub(crate) fn is_open_invite(&self) -> bool {
        self.method == "INVITE" && self.state == ServerState::Open
    }

    /// Keeps what was sent.
    pub(crate) fn sent(&mut self, status: u16, response: Bytes, now: Time, repeats: bool) {
        self.last = Some(response);
        if status < 200 {
            return;
        }
        if self.method == "INVITE" {
            self.state = ServerState::Unacked(status);
            self.interval = T1;
            self.give_up = now + PATIENCE;
            self.next = if repeats { now + T1 } else { self.give_up };
        } else {
            self.state = ServerState::Done(status);
        }
    }

    /// What a retransmitted request gets. A 2xx is repeated by its own timer (RFC 6026).
    pub(crate) fn on_request_again(&self) -> Option<Bytes> {
        match self.state {
            ServerState::Open | ServerState::Unacked(300..) => self.last.clone(),
            ServerState::Done(_) if self.method != "INVITE" => self.last.clone(),
            ServerState::Unacked(_) | ServerState::Done(_) => None,
        }
    }

    /// The ACK came; true for the first.
    pub(crate) fn on_ack(&mut self) -> bool {
        match self.state {
            ServerState::Unacked(status) => {
                self.state = ServerState::Done(status);
                true
            }
            ServerState::Open | ServerState::Done(_) => false,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        matches!(self.state, ServerState::Unacked(_)).then(|| self.next.min(self.give_up))
    }

    /// What is to be sent again; `Err` with the status when the ACK never came.
    pub(crate) fn on_timeout(&mut self, now: Time) -> Result<Option<Bytes>, u16> {
        let ServerState::Unacked(status) = self.state else { return Ok(None) };
        if now >= self.give_up {
            self.state = ServerState::Done(status);
            return Err(status);
        }
        if now < self.next {
            return Ok(None);
        }
        self.interval = (self.interval * 2).min(T2);
        self.next = now + self.interval;
        Ok(self.last.clone())
    }
}
