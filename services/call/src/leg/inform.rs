//! News of the box's own for a peer, in INFO: one at a time, each when the one before it is answered. A peer refuses what a
//! later request overtakes (RFC 3261 §12.2.2), so that one datagram that is lost would cost the press in it.

use std::collections::VecDeque;

use sip::Method;

use super::{Leg, LegKey};
use crate::coverage::LegInput;
use crate::io::Now;
use crate::wire::{ClientUser, Purpose, Wire};

/// The most that wait: as long a number as anybody dials.
const MOST_WAITING: usize = 32;

/// What a peer was told of, and is to be.
#[derive(Debug, Default)]
pub(crate) struct Informing {
    /// One has no final response yet.
    is_out: bool,
    waiting: VecDeque<(&'static str, Box<[u8]>)>,
    /// One never reached the peer, and somebody was told so.
    has_failed: bool,
}

impl Leg {
    /// Sends news of this box's own within the dialog, if there is one, behind what waits already. False where the peer is told of
    /// nothing for too long, and that for the first time.
    pub(crate) fn inform(
        &mut self,
        key: LegKey,
        kind: &'static str,
        body: &[u8],
        wire: &mut Wire,
        now: Now,
    ) -> bool {
        wire.coverage.leg(self, LegInput::Carry);
        if !self.is_confirmed() && !self.has_early_dialog() {
            return true;
        }
        let informing = self.informing.get_or_insert_default();
        if informing.waiting.len() >= MOST_WAITING {
            return std::mem::replace(&mut informing.has_failed, true);
        }
        informing.waiting.push_back((kind, body.into()));
        self.inform_next(key, wire, now);
        true
    }

    /// The final response to news of ours, or that none will come. False where its peer was not told, for the first time.
    pub(crate) fn on_informed(
        &mut self,
        key: LegKey,
        status: Option<u16>,
        wire: &mut Wire,
        now: Now,
    ) -> bool {
        let Some(informing) = &mut self.informing else { return true };
        informing.is_out = false;
        let is_taken = status.is_some_and(|status| status < 300);
        let is_told = is_taken || std::mem::replace(&mut informing.has_failed, true);
        self.inform_next(key, wire, now);
        is_told
    }

    fn inform_next(&mut self, key: LegKey, wire: &mut Wire, now: Now) {
        let is_possible = self.is_confirmed() || self.has_early_dialog();
        let Some(informing) = self.informing.as_mut().filter(|informing| is_possible && !informing.is_out)
        else {
            return;
        };
        let Some((kind, body)) = informing.waiting.pop_front() else { return };
        let flow = self.request_flow(wire);
        let (client, branch) = wire.prepare(Method::Info, ClientUser::Leg(key, Purpose::Info), flow, now);
        let Some(writer) = self.in_dialog(b"INFO", None, &branch, flow, wire) else {
            return wire.abandon(client);
        };
        wire.launch(client, writer.body(Some(kind.as_bytes()), &body), now);
        self.note_spent(wire);
        if let Some(informing) = &mut self.informing {
            informing.is_out = true;
        }
    }
}
