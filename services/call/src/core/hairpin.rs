//! Replaces across shards: the two calls of an attended transfer have Call-IDs of their own, and so shards of their own.
//!
//! A Replaces names its dialog by Call-ID, which says the shard too. When that is another one, the call goes there by a
//! *hairpin*: this shard calls an ordinary leg B over an inner flow ([`Flow::inner`](crate::Flow::inner)) with that
//! Replaces, and the other one takes it for what it is, an INVITE that takes the place of a leg. Each shard keeps the
//! dialogs of its own peers; between them stand two legs of the box that speak SIP with each other, so that whatever may
//! happen on either side (BYE, CANCEL, re-INVITE, an operator, a session that runs out) is carried by what carries it
//! anywhere else. Media passes the relay once for each of the two calls.
//!
//! ```text
//!   who stays ── A [ call of the REFER ] B ── inner flow ── A [ call of the dialog named ] B ── who was consulted
//!                     this shard                                    the other shard
//! ```
//!
//! One step is all there is: what came over an inner flow is answered where it came to.

use routing::TrunkId;
use sip::Replaces;

use super::ingress::Arrival;
use super::invite::FULL;
use crate::bridge::table::Event;
use crate::bridge::{CallKey, Candidate, Cause};
use crate::cdr::EndedBy;
use crate::core::Core;
use crate::ids::leg_of_tag;
use crate::io::Now;
use crate::settings::shard_of;

/// What a shard says to another that names a dialog which it does not have. Not 481: that may also be said of a dialog
/// that is there and cannot be replaced (RFC 3891 §3), and then nobody else need be asked.
pub(super) const NOT_HERE: u16 = 404;

impl Core {
    /// The shard that has the dialog named by a Replaces, if this box may have it and not here. A tag that no leg ever
    /// had is of somebody else's dialog.
    pub(crate) fn shard_with(&self, replaces: &[u8]) -> Option<u16> {
        let replaces = Replaces::parse(replaces).ok()?;
        let settings = &self.wire.settings;
        let shard = shard_of(replaces.call_id, settings.shards);
        let may_be_ours = [replaces.to_tag, replaces.from_tag].iter().any(|tag| leg_of_tag(tag).is_some());
        (shard != settings.shard && may_be_ours).then_some(shard)
    }

    /// A call whose caller takes a place in a call of another shard. It is not routed, and takes no place at a trunk
    /// beyond those that the other call has; nor is it a new one as far as a box is concerned that takes no new calls.
    pub(super) fn call_inside(&mut self, arrival: &Arrival<'_>, trunk: Option<TrunkId>, shard: u16) {
        if self.calls.len() >= self.wire.settings.max_calls {
            return self.refuse_call(arrival, FULL);
        }
        let Some(key) = self.begin_call(arrival, trunk) else { return };
        let uri = arrival.message.request_uri().unwrap_or_default();
        if let Some(setup) = self.calls.get_mut(key).and_then(|call| call.setup.as_mut()) {
            setup.targets.push_back(Candidate::inside(shard, uri));
        }
        self.drive(key, Cause::new(Event::Routed), arrival.now);
    }

    /// Whether the target of this call is in another shard that does not have it.
    pub(super) fn is_not_inside(&self, key: CallKey, status: u16) -> bool {
        let setup = self.calls.get(key).and_then(|call| call.setup.as_ref());
        let target = setup.and_then(|setup| setup.current.as_ref());
        status == NOT_HERE && target.is_some_and(Candidate::is_inside)
    }

    /// The dialog is not of this box, or is over. A REFER may name one of its target's own, which is called then; for the
    /// caller of an INVITE with Replaces there is none.
    pub(super) fn look_outside(&mut self, key: CallKey, now: Now) {
        let asked_by = self.calls.get(key).and_then(|call| call.asked_by());
        let event = if asked_by.is_some() { Event::TargetFailed } else { Event::Refused };
        self.drive(key, Cause::new(event).status(481).by(EndedBy::Error), now);
    }
}
