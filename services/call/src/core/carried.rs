//! What comes back of a request that was carried across to the other leg.

use sip::Message;

use crate::core::Core;
use crate::io::Now;
use crate::leg::{LegKey, Loss};
use crate::wire::{ClientKey, ServerKey, Unanswered};

impl Core {
    /// A response to what was carried across to this leg.
    pub(super) fn on_carried(
        &mut self,
        server: ServerKey,
        to: LegKey,
        client: ClientKey,
        response: &Message<'_>,
        now: Now,
    ) {
        let ends = matches!(response.status(), Some(408 | 481));
        let request = self.wire.client_request(client).filter(|_| ends);
        let loss = request.and_then(|request| Some(self.legs.get(to)?.loss_of(&request)));
        match loss {
            Some(Loss::EarlyDialog) => self.answer_instead(server, 488, now),
            Some(Loss::Call | Loss::Usage) | None => self.carry_back(server, response, now),
        }
    }

    /// The answer to a request that was carried across goes back to who asked.
    pub(crate) fn carry_back(&mut self, server: ServerKey, message: &Message<'_>, now: Now) {
        let status = message.status().unwrap_or(500);
        // RFC 4320 §4.1: a provisional response to a non-INVITE says nothing; 408 is never sent for one (§4.2).
        if status < 200 {
            return;
        }
        if status == 408 {
            self.wire.forget_server(server);
            return;
        }
        // The challenge of a peer is this box's business; nobody else can answer it.
        if matches!(status, 401 | 407) {
            return self.answer_instead(server, 502, now);
        }
        if let Some(bytes) = self.wire.answer_across(server, None, message) {
            self.wire.respond(server, status, bytes, now);
        }
    }

    /// Nothing comes of what was carried across. That an early dialog is gone at the other side is not for who asked to hear,
    /// whose own dialog stands: 408, 481 and silence would end it there (RFC 3261 §12.2.1.2).
    pub(super) fn carry_nothing_back(
        &mut self,
        server: ServerKey,
        to: LegKey,
        unanswered: &Unanswered,
        now: Now,
    ) {
        let loss = self.legs.get(to).map(|leg| leg.loss_of(&unanswered.request));
        match loss {
            Some(Loss::EarlyDialog) => self.answer_instead(server, 504, now),
            Some(Loss::Call) if unanswered.given_up => self.answer_instead(server, 504, now),
            Some(Loss::Call | Loss::Usage) | None => self.wire.forget_server(server),
        }
    }

    fn answer_instead(&mut self, server: ServerKey, status: u16, now: Now) {
        if let Some(writer) = self.wire.response(server, status, None, None) {
            self.wire.respond(server, status, writer.finish(), now);
        }
    }
}
