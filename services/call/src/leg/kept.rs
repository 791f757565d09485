//! A leg whose dialog is confirmed, for the process after this one and from the one before.

use sip::Dialog;

use super::{Leg, LegState};
use crate::bridge::{CallKey, LocalSession};
use crate::family::Told;
use crate::io::{Flow, Now};
use crate::kept::{KeptDialog, KeptLeg, Octets};
use crate::media::Side;
use crate::settings::ListenerId;
use crate::wire::Wire;

/// How far a restored dialog's own CSeq numbers are beyond those that were written down: more requests than a call sends
/// without anything else in it changing. Numbers that are left out are no error to the peer (RFC 3261 §12.2.2).
const BEYOND: u32 = 10_000;

impl Leg {
    /// `None` where no other process could go on with it. `trunk`: the name of its trunk.
    pub(crate) fn kept<'a>(&'a self, wire: &'a Wire, trunk: Option<&'a str>) -> Option<KeptLeg<'a>> {
        // A dialog between two shards ends with them; one whose ACK we owe has no session yet.
        let talks = matches!(self.state, LegState::Answered { .. } | LegState::Up);
        if !talks || self.flow.is_inner() {
            return None;
        }
        let (interval, min_se, we_refresh) = self.timer.kept();
        Some(KeptLeg {
            listener: &wire.listener(self.flow.listener).name,
            remote: self.flow.remote,
            by_flow: self.by_flow,
            is_stranger: self.is_stranger,
            trunk,
            allows_update: self.allows_update,
            placed: self.placed,
            final_status: self.final_status,
            dialog: kept_dialog(self.dialog.as_deref()?),
            interval,
            min_se,
            we_refresh,
            told: self.told.kept(),
            session: self.session.kept(),
        })
    }

    /// A leg of a call that is to be. `None`: its listener is not here.
    pub(crate) fn restored(
        side: Side,
        kept: &KeptLeg<'_>,
        trunk: Option<routing::TrunkId>,
        wire: &mut Wire,
        now: Now,
    ) -> Option<Leg> {
        let listener = wire.settings.listeners.iter().position(|listener| listener.name == kept.listener)?;
        let listener = ListenerId(u16::try_from(listener).ok()?);
        // Its connection went with the process; where we may, another one is opened.
        let flow = Flow { listener, remote: kept.remote, connection: 0 };
        let dialog = restored_dialog(&kept.dialog);
        let tag = String::from_utf8_lossy(&dialog.local_tag).into();
        let call_id = crate::headers::text(&dialog.call_id);
        let mut leg = Leg::new(CallKey::default(), side, LegState::Up, flow, tag, call_id);
        leg.dialog = Some(Box::new(dialog));
        leg.by_flow = kept.by_flow;
        leg.is_stranger = kept.is_stranger;
        leg.trunk = trunk;
        leg.allows_update = kept.allows_update;
        leg.placed = kept.placed;
        leg.final_status = kept.final_status;
        leg.told = Told::restored(kept.told);
        leg.session = LocalSession::restored(&kept.session);
        leg.timer.restart((kept.interval, kept.min_se, kept.we_refresh), wire.ids.random(), now);
        Some(leg)
    }
}

fn kept_dialog(dialog: &Dialog) -> KeptDialog<'_> {
    KeptDialog {
        call_id: Octets(&dialog.call_id),
        local_tag: Octets(&dialog.local_tag),
        remote_tag: Octets(&dialog.remote_tag),
        local_uri: Octets(&dialog.local_uri),
        remote_uri: Octets(&dialog.remote_uri),
        remote_target: Octets(&dialog.remote_target),
        route_set: dialog.route_set.iter().map(|route| Octets(route)).collect(),
        local_cseq: dialog.local_cseq,
        remote_cseq: dialog.remote_cseq,
        secure: dialog.secure,
    }
}

fn restored_dialog(kept: &KeptDialog<'_>) -> Dialog {
    Dialog {
        call_id: kept.call_id.0.into(),
        local_tag: kept.local_tag.0.into(),
        remote_tag: kept.remote_tag.0.into(),
        local_uri: kept.local_uri.0.into(),
        remote_uri: kept.remote_uri.0.into(),
        remote_target: kept.remote_target.0.into(),
        route_set: kept.route_set.iter().map(|route| route.0.into()).collect(),
        // Below 2^31 (§8.1.1.5).
        local_cseq: kept.local_cseq.saturating_add(BEYOND).min(i32::MAX.unsigned_abs()),
        remote_cseq: kept.remote_cseq,
        secure: kept.secure,
    }
}
