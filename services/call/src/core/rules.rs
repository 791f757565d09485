//! What the box asks of a request before anybody hears of it (RFC 3261 §8.2): its method, whether it was here before, what
//! it needs and what is needed of it. Each rule that says no names its status.

use routing::TrunkId;
use sip::{Message, Method, Name, Scheme, Uri, Via};

use super::ingress::{Arrival, Refusal, Sender, unsupported};
use super::rewritten::is_same_uri;
use crate::core::Core;
use crate::headers::{ALLOW, advertised_host, requires_or_supports, sips_not_allowed};
use crate::ids::client_of_branch;
use crate::leg::LegKey;
use crate::standalone::{Policy, policy};
use crate::wire::{ClientUser, Purpose};

/// The methods of [`ALLOW`] that are a call's own, whatever a trunk's list says.
const OF_CALLS: &str = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS, REFER, REGISTER";

impl Core {
    /// Why a new call or a request outside calls is refused, if it is: what holds for both, in the order of §8.2.2.
    pub(crate) fn header_fault(&self, arrival: &Arrival<'_>, trunk: Option<TrunkId>) -> Option<Refusal> {
        if let Some(refusal) = self.header_fault_at_the_end(arrival, trunk) {
            return Some(refusal);
        }
        // §8.2.6 leaves a UAS alone with its Max-Forwards; what goes on must not go on for ever (§16.3).
        let is_spent = arrival.message.max_forwards().is_ok_and(|hops| hops == Some(0));
        is_spent.then(|| Refusal::new(483))
    }

    /// The same for what goes no further than the box.
    pub(super) fn header_fault_at_the_end(
        &self,
        arrival: &Arrival<'_>,
        trunk: Option<TrunkId>,
    ) -> Option<Refusal> {
        let message = arrival.message;
        let uri = message.request_uri().and_then(|uri| Uri::parse(uri).ok());
        // RFC 5630 §3.1.3: what is to be secure to the end goes nowhere from a box that speaks nothing secure.
        if uri.is_some_and(|uri| uri.scheme == Scheme::Sips) && !self.speaks_securely() {
            return Some(Refusal::new(416));
        }
        if let Some(refusal) = self.readable_on_its_way(arrival) {
            return Some(refusal);
        }
        if self.wire.is_merged(message) || self.is_loop(arrival, trunk) {
            return Some(Refusal::new(482));
        }
        if let Some(unsupported) = unsupported(message) {
            return Some(Refusal::new(420).with("Unsupported", unsupported));
        }
        None
    }

    /// RFC 3261 §26.2.2: every hop of what is asked for with a sips URI is one over TLS, the last one to here too. Who sends
    /// it otherwise is told what RFC 5630 §5.3 has for that, and may ask for the same with a sip URI.
    pub(super) fn readable_on_its_way(&self, arrival: &Arrival<'_>) -> Option<Refusal> {
        let uri = Uri::parse(arrival.message.request_uri()?).ok()?;
        let listener = self.wire.listener(arrival.flow.listener);
        // Another shard has judged what it hands over.
        let is_safe = listener.transport.is_secure() || arrival.flow.is_inner();
        (uri.scheme == Scheme::Sips && !is_safe).then(|| {
            let warning = sips_not_allowed(advertised_host(listener));
            Refusal::new(480).with("Warning", warning.into_bytes())
        })
    }

    /// The extension that a trunk's callers must support and this one does not (RFC 3261 §21.4.16).
    pub(super) fn extension_fault(&self, message: &Message<'_>, trunk: Option<TrunkId>) -> Option<Refusal> {
        let wanted = &self.snapshot.trunk(trunk?)?.require;
        let missing = wanted.iter().find(|tag| !requires_or_supports(message, tag.as_bytes()))?;
        Some(Refusal::new(421).with("Require", missing.as_bytes()))
    }

    fn speaks_securely(&self) -> bool {
        self.wire.settings.listeners.iter().any(|listener| listener.transport.is_secure())
    }

    /// Whether a request went out from here as it comes back: from the same trunk and to the same place as what the box made
    /// it of, so that it would go the same way again (§16.3 item 4). Another B2BUA on the way hides that; then it ends by
    /// Max-Forwards.
    fn is_loop(&self, arrival: &Arrival<'_>, trunk: Option<TrunkId>) -> bool {
        let uri = arrival.message.request_uri().unwrap_or_default();
        let came_back = |via: &Via<'_>| {
            let branch = via.branch()?;
            let client = client_of_branch(branch).filter(|key| self.wire.has_branch(*key, branch))?;
            Some(match self.wire.client_user(client)? {
                ClientUser::Leg(leg, Purpose::Invite) => {
                    let call = self.calls.get(self.legs.get(leg)?.call?)?;
                    let invite = Message::parse(&call.setup.as_ref()?.invite).ok()?;
                    call.trunk_in == trunk && is_same_uri(invite.request_uri()?, uri)
                }
                ClientUser::Standalone(key) => {
                    let server = self.standalones.get(key)?.server;
                    let request = self.wire.server_request(server)?;
                    let asker = self.snapshot.trunk_of(self.wire.server_flow(server)?.remote);
                    asker == trunk && is_same_uri(Message::parse(&request).ok()?.request_uri()?, uri)
                }
                ClientUser::Leg(_, _)
                | ClientUser::Subscription(..)
                | ClientUser::Ping(_)
                | ClientUser::Nobody => false,
            })
        };
        if came_back(arrival.via) == Some(true) {
            return true;
        }
        let further = arrival.message.elements(Name::Via).skip(1);
        further.filter_map(|via| Via::parse(via).ok()).any(|via| came_back(&via) == Some(true))
    }

    /// What becomes of a request outside dialogs: what its trunk says, else what its method means.
    pub(super) fn policy(&self, message: &Message<'_>, sender: Sender) -> Policy {
        let usual = policy(message.method());
        let trunk = sender.trunk().and_then(|trunk| self.snapshot.trunk(trunk));
        match (usual, trunk.and_then(|trunk| trunk.lets_cross(message.method_text()))) {
            (Policy::Carry | Policy::Unknown, Some(true)) => Policy::Carry,
            (Policy::Carry, Some(false)) => Policy::Refuse,
            (Policy::Carry | Policy::Unknown | Policy::NeedsDialog | Policy::Refuse, _) => usual,
        }
    }

    /// Why the trunk of a leg does not let a request within the dialog cross, if it does not.
    pub(super) fn method_within(&self, leg: LegKey, message: &Message<'_>) -> Option<Refusal> {
        let status = match message.method() {
            Method::Info | Method::Message | Method::Notify | Method::Subscribe | Method::Publish => 405,
            Method::Unknown => 501,
            Method::Invite
            | Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Register
            | Method::Options
            | Method::Prack
            | Method::Update
            | Method::Refer => return None,
        };
        let leg = self.legs.get(leg)?;
        let began_with = leg.call.and_then(|call| self.calls.get(call)).map(|call| &call.snapshot);
        let trunk = began_with.unwrap_or(&self.snapshot).trunk(leg.trunk?)?;
        let refused = trunk.lets_cross(message.method_text()) == Some(false);
        // A transfer's own notifications are the box's business, not the other side's.
        let is_news_of_transfer = message.method() == Method::Notify && is_of_refer(message);
        (refused && !is_news_of_transfer).then(|| Refusal::new(status).with("Allow", allow(Some(trunk))))
    }

    pub(super) fn refuse_method(&mut self, arrival: &Arrival<'_>, status: u16, trunk: Option<TrunkId>) {
        let allow = allow(trunk.and_then(|trunk| self.snapshot.trunk(trunk)));
        self.stateless(arrival, status, None, &[("Allow", &allow)]);
    }
}

/// Whether a notification is of a REFER; its `id` says of which (RFC 3515 §2.4.6).
fn is_of_refer(notify: &Message<'_>) -> bool {
    let event = notify.first(Name::Event).and_then(|event| event.split(|byte| *byte == b';').next());
    event.is_some_and(|event| event.trim_ascii().eq_ignore_ascii_case(b"refer"))
}

/// What a trunk may send.
fn allow(trunk: Option<&routing::Trunk>) -> Vec<u8> {
    match trunk.and_then(|trunk| trunk.methods.as_ref()) {
        None => ALLOW.to_vec(),
        Some(listed) => {
            let own = std::iter::once(OF_CALLS);
            let more = listed.iter().map(String::as_str).filter(|method| *method != "OPTIONS");
            own.chain(more).collect::<Vec<_>>().join(", ").into_bytes()
        }
    }
}
