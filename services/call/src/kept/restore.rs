//! A call in the process after the one in which it was placed.
//!
//! Its dialogs stand at once. The relay is asked for its ports ([`State::Restoring`]); where they are had the call is up as it
//! was, and where they are not both sides are told that it is over.

use std::time::Duration;

use sip::Time;
use smallvec::SmallVec;
use uuid::Uuid;

use super::{Kept, KeptLeg};
use crate::bridge::table::{Event, State};
use crate::bridge::{Call, CallKey, CallMedia, Cause, Record};
use crate::cdr::EndedBy;
use crate::core::{Core, media_id};
use crate::ids::leg_of_tag;
use crate::io::{EventKind, Now, Utc};
use crate::leg::{Leg, LegKey};
use crate::media::{MediaId, Side};

/// What the sides are told of a call that cannot go on (RFC 3326): out of order, temporarily.
const NO_MEDIA: &[u8] = b"SIP;cause=503;text=\"Media Lost In Restart\", Q.850;cause=41";

impl Core {
    /// Writes a call down for the process after this one; `None`: it could not go on with it.
    pub(crate) fn kept(&self, key: CallKey) -> Option<Box<[u8]>> {
        if !self.wire.settings.recover_calls {
            return None;
        }
        let call = self.calls.get(key)?;
        let talks = matches!(call.state, State::Answered | State::Up | State::Offering(_));
        if !talks || call.transfer.is_some() || call.answer_due.is_some() {
            return None;
        }
        let of = |side: Side| {
            let leg = self.legs.get(call.leg(side)?)?;
            let trunk = leg.trunk.and_then(|trunk| call.snapshot.trunk(trunk));
            leg.kept(&self.wire, trunk.map(|trunk| trunk.name.as_str()))
        };
        let kept = Kept {
            id: call.id.into_bytes(),
            referrals: call.referrals,
            record: call.record.kept(),
            legs: [of(Side::A)?, of(Side::B)?],
            media: call.media.kept(),
        };
        kept.write()
    }

    /// Something changed that the process after this one must know. What changes while a transfer is under way it learns when
    /// that is over: until then the call does not speak of the attempt that talks.
    pub(crate) fn keep_call(&mut self, key: CallKey, now: Now) {
        if let Some(state) = self.kept(key) {
            self.open_record_with(key, Some(state), now);
        }
    }

    /// Goes on with a call of the process before this one. `attempts`: how many of it have records.
    pub(crate) fn on_restore(&mut self, state: &[u8], attempts: u32, now: Now) {
        let (kept, legs) = match Kept::read(state).map(|kept| (self.restored_legs(&kept, now), kept)) {
            Ok((Some(legs), kept)) => (kept, legs),
            // Whoever hands it in has looked.
            Ok((None, _)) => return self.cannot_restore("a listener of it is not configured"),
            Err(why) => return self.cannot_restore(&why.to_string()),
        };
        let id = Uuid::from_bytes(kept.id);
        let mut record = Record::restored(&kept.record, now);
        record.attempts = record.attempts.max(attempts);
        let [a, b] = legs;
        record.attempt.trunk = b.trunk;
        let restored = EventKind::CallRestored {
            trunk_in: a.trunk,
            trunk_out: b.trunk,
            attempt: record.attempt.number,
            remotes: [a.flow.remote, b.flow.remote],
            caller: record.caller.clone(),
            called: record.called.clone(),
        };
        let key = self.calls.insert(Call {
            id,
            state: State::Restoring,
            snapshot: self.snapshot.clone(),
            trunk_in: kept.record.trunk_in.and_then(|name| self.snapshot.trunk_named(name)),
            a: LegKey::default(),
            b: None,
            others: Vec::new(),
            former: SmallVec::new(),
            media: CallMedia::new(MediaId(0)),
            record: Box::new(record),
            setup: None,
            answer_due: None,
            transfer: None,
            referrals: kept.referrals,
            armed: None,
            deadline: None,
        });
        let [a, b] = [a, b].map(|leg| self.restore_leg(leg, key));
        if let Some(call) = self.calls.get_mut(key) {
            (call.a, call.b) = (a, Some(b));
            let session = media_id(key, &self.wire.settings);
            call.media = CallMedia::restored(session, kept.media.as_ref());
        }
        self.wire.stats.calls_started += 1;
        self.wire.event(Some(id), restored);
        if kept.media.is_none() {
            return self.lose_media(key, now);
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.media.reopen(&mut self.wire);
        }
        self.settle(key, now);
    }

    fn cannot_restore(&mut self, why: &str) {
        let what = format!("a call of the process before this one is lost: {why}");
        self.wire.event(None, EventKind::Warning { what });
    }

    fn restored_legs(&mut self, kept: &Kept<'_>, now: Now) -> Option<[Leg; 2]> {
        let [a, b] = &kept.legs;
        let mut of = |side: Side, kept: &KeptLeg<'_>| {
            let trunk = kept.trunk.and_then(|name| self.snapshot.trunk_named(name));
            Leg::restored(side, kept, trunk, &mut self.wire, now)
        };
        Some([of(Side::A, a)?, of(Side::B, b)?])
    }

    /// Its tag names the key that it had in the other process.
    fn restore_leg(&mut self, mut leg: Leg, call: CallKey) -> LegKey {
        leg.call = Some(call);
        let tag = leg.tag.clone();
        let key = self.legs.insert(leg);
        self.restored.insert(tag.into_boxed_bytes(), key);
        key
    }

    /// The leg that has this tag: the one that it names, or one that was restored.
    pub(crate) fn leg_with_tag(&self, tag: &[u8]) -> Option<LegKey> {
        let is_it = |key: &LegKey| self.legs.get(*key).is_some_and(|leg| leg.tag.as_bytes() == tag);
        let restored = || self.restored.get(tag).copied();
        leg_of_tag(tag).filter(is_it).or_else(restored)
    }

    /// A call cannot go on without its ports: both sides are told, and its record says why.
    pub(crate) fn lose_media(&mut self, key: CallKey, now: Now) {
        let lost = Cause::new(Event::NoPorts).status(503).reason(NO_MEDIA);
        self.drive(key, lost.by(EndedBy::Crash), now);
    }

    /// The relay has the ports of a restored call: it hears where the sides are, and the call can be restored again.
    pub(crate) fn resume_media(&mut self, key: CallKey, now: Now) {
        if let Some(call) = self.calls.get(key) {
            call.media.resume(&mut self.wire);
        }
        self.resume_recording(key, now);
        self.keep_call(key, now);
    }
}

/// A moment of the process before this one, by the clocks of this one.
pub(crate) fn moment(utc: i64, now: Now) -> (Utc, Time) {
    let ago = u64::try_from(now.utc.0.saturating_sub(utc)).unwrap_or(0);
    (Utc(utc), now.time.before(Duration::from_micros(ago)))
}
