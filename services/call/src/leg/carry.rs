//! What is carried across within a dialog (INFO and the like), and what it means that it comes to nothing there.

use sip::{Message, Method, Name};

use super::{Leg, LegKey, News};
use crate::coverage::LegInput;
use crate::headers::{contact, copy_body_headers};
use crate::io::Now;
use crate::standalone::copy_across;
use crate::wire::{ClientKey, ClientUser, Purpose, ServerKey, Wire};

/// What 408, 481 or nothing at all in answer to a request is the end of (RFC 3261 §12.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The dialog that the call is in.
    Call,
    /// An early dialog at most: another fork may have answered the call, or may yet.
    EarlyDialog,
    /// A subscription that shares the dialog, and no more (RFC 5057 §5.1).
    Usage,
}

impl Leg {
    /// Sends a request of the other leg on to this one; the answer goes back to `server`.
    pub(crate) fn carry(
        &mut self,
        key: LegKey,
        request: &Message<'_>,
        server: ServerKey,
        wire: &mut Wire,
        now: Now,
    ) -> bool {
        wire.coverage.leg(self, LegInput::Carry);
        if !self.is_confirmed() && !self.has_early_dialog() {
            return false;
        }
        let flow = self.request_flow(wire);
        let user = ClientUser::Leg(key, Purpose::Carry(server));
        let (client, branch) = wire.prepare(request.method(), user, flow, now);
        if self.by_flow {
            wire.keep_to_flow(client);
        }
        let Some(mut writer) = self.in_dialog(request.method_text(), None, &branch, flow, wire) else {
            wire.abandon(client);
            return false;
        };
        let listener = wire.listener(flow.listener);
        if matches!(request.method(), Method::Subscribe | Method::Notify | Method::Refer) {
            contact(&mut writer, listener, self.is_secure());
        }
        copy_across(request, &mut writer, listener, self.hears());
        copy_body_headers(request, &mut writer);
        let body = request.body();
        let kind = request.first(Name::ContentType).filter(|_| !body.is_empty());
        self.limit_carried(client, request.method(), wire, now);
        wire.launch(client, writer.body(kind, body), now);
        self.note_spent(wire);
        true
    }

    /// Nothing need come of what goes into an early dialog, which may be gone at one of several callees. Who asked would take
    /// its own Timer F for the end of the call (RFC 3261 §12.2.1.2), and is to be told before that.
    pub(super) fn limit_carried(&self, client: ClientKey, method: Method, wire: &mut Wire, now: Now) {
        if !self.is_confirmed() && speaks_of_call(method) {
            wire.limit(client, now.time + wire.settings.timing.t1 * 32);
        }
    }

    /// What ends where 408, 481 or nothing at all came of this request.
    pub(crate) fn loss_of(&self, request: &[u8]) -> Loss {
        let Ok(request) = Message::parse(request) else { return Loss::EarlyDialog };
        let tag = request.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        let is_ours = self.dialog.as_ref().is_some_and(|dialog| &*dialog.remote_tag == tag);
        match speaks_of_call(request.method()) {
            false => Loss::Usage,
            true if self.is_confirmed() && is_ours => Loss::Call,
            true => Loss::EarlyDialog,
        }
    }

    pub(crate) fn lost_with(&self, request: &[u8]) -> News {
        match self.loss_of(request) {
            Loss::Call => News::Lost,
            Loss::EarlyDialog | Loss::Usage => News::Nothing,
        }
    }
}

/// Whether its failure is one of the call's dialog.
fn speaks_of_call(method: Method) -> bool {
    !matches!(method, Method::Subscribe | Method::Notify | Method::Refer)
}
