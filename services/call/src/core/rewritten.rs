//! CANCEL and ACK that match no INVITE by their Via (row S4): rewritten by a NAT on the way, or by a gateway that makes a
//! new branch for each request; and CANCEL of something else (row S6).
//!
//! RFC 3261 §9.2 and §17.2.3 match by branch and sent-by alone. What does not match is looked up once more by what
//! RFC 2543 matched by, in an index that is there for merged requests: a flood of them costs no search.

use routing::CancelMatching;
use sip::{Message, Method, Uri};

use super::ingress::Arrival;
use crate::core::Core;
use crate::headers::text;
use crate::io::EventKind;
use crate::wire::ServerKey;

/// Every method that has a transaction of its own, but INVITE and CANCEL. The branch says nothing of the method.
const OTHER_METHODS: [Method; 12] = [
    Method::Bye,
    Method::Info,
    Method::Options,
    Method::Update,
    Method::Prack,
    Method::Register,
    Method::Message,
    Method::Subscribe,
    Method::Notify,
    Method::Refer,
    Method::Publish,
    Method::Unknown,
];

impl Core {
    /// The pending INVITE that a CANCEL means although its Via does not match: with the same branch always, with another
    /// one where the trunk says so. Else the CANCEL fails, and the operator is told why, once for each INVITE.
    pub(super) fn invite_meant(&mut self, arrival: &Arrival<'_>) -> Option<ServerKey> {
        let server = self.wire.invite_like(arrival.message)?;
        if !self.is_from_sender_of(server, arrival.flow) {
            return None;
        }
        let kept = self.wire.server_request(server)?;
        let invite = Message::parse(&kept).ok()?;
        let (wanted, given) = (invite.via().ok()?.branch(), arrival.via.branch());
        if wanted == given {
            return Some(server);
        }
        if !is_same_uri(invite.request_uri()?, arrival.message.request_uri()?) {
            return None;
        }
        if self.is_lenient(server) {
            return Some(server);
        }
        if self.wire.is_first_mismatch(server) {
            let branch = |branch: Option<&[u8]>| text(branch.unwrap_or_default());
            let what = format!(
                "CANCEL refused: its branch is {:?}, its INVITE's is {:?}, and RFC 3261 §9.1 wants them equal; \
                 cancel_matching = \"lenient\" on the trunk would take it",
                branch(given),
                branch(wanted)
            );
            let leg = self.wire.server_user(server).and_then(|leg| self.legs.get(leg));
            let call = leg.and_then(|leg| self.calls.get(leg.call?)).map(|call| call.id);
            self.wire.event(call, EventKind::Warning { what });
        }
        None
    }

    /// The refused INVITE that an ACK means although its Via does not match; the To-tag says which refusal it saw.
    pub(super) fn refusal_meant(&self, arrival: &Arrival<'_>) -> Option<ServerKey> {
        let server = self.wire.invite_like(arrival.message)?;
        let kept = self.wire.server_refusal(server)?;
        let refusal = Message::parse(&kept).ok()?;
        let same_tag = refusal.to().ok()?.tag() == arrival.message.to().ok()?.tag();
        let same_branch = refusal.via().ok()?.branch() == arrival.via.branch();
        let meant = same_tag && (same_branch || self.is_lenient(server));
        (meant && self.is_from_sender_of(server, arrival.flow)).then_some(server)
    }

    /// Whether a CANCEL is for a request that is being served and is no INVITE (row S6).
    pub(super) fn is_of_another_method(&self, arrival: &Arrival<'_>) -> bool {
        OTHER_METHODS.iter().any(|method| self.server_from(arrival, *method).is_some())
    }

    fn is_lenient(&self, server: ServerKey) -> bool {
        let leg = self.wire.server_user(server).and_then(|leg| self.legs.get(leg));
        leg.is_some_and(|leg| {
            let began_with = leg.call.and_then(|call| self.calls.get(call)).map(|call| &call.snapshot);
            let trunk = leg.trunk.and_then(|trunk| began_with.unwrap_or(&self.snapshot).trunk(trunk));
            trunk.is_some_and(|trunk| trunk.cancel_matching == CancelMatching::Lenient)
        })
    }
}

pub(super) fn is_same_uri(one: &[u8], other: &[u8]) -> bool {
    one == other
        || matches!((Uri::parse(one), Uri::parse(other)), (Ok(one), Ok(other)) if one.equivalent(&other))
}
