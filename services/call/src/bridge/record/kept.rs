//! The record in the making, for the process after this one and from the one before.

use routing::Tags;
use sip::Transport;

use super::{Attempt, Described, Parted, Record};
use crate::bridge::recording::Recordings;
use crate::cdr::Identity;
use crate::io::{Now, TlsVersion};
use crate::kept::{KeptAttempt, KeptDescribed, KeptIdentity, KeptRecord, moment};
use crate::media::DirectionStats;

impl Record {
    pub(crate) fn kept(&self) -> KeptRecord<'_> {
        KeptRecord {
            recovered: self.recovered,
            caller: &self.caller,
            called: &self.called,
            a_source: self.a_source,
            a_transport: self.a_transport.as_str(),
            a_tls: self.a_tls.map(TlsVersion::as_str),
            a_call_id: &self.a_call_id,
            a_user_agent: self.a_user_agent.as_deref(),
            trunk_in: self.trunk_in.as_deref(),
            route: self.route.as_deref(),
            started_at: self.started_at.0,
            identity: self.identity.as_deref().map(identity),
            q850: self.q850,
            described: self.described.kept(),
            attempt: self.attempt.kept(),
            attempts: self.attempts,
            a_status: self.a_status,
            a_reason: self.a_reason.as_deref(),
            recordings: self.recordings.as_deref().map(Recordings::kept),
            counted: self
                .counts
                .as_deref()
                .filter(|counts| counts.iter().any(|from| *from != DirectionStats::default()))
                .copied(),
            parted: self.parted.as_ref().map(|parted| parted.counted),
        }
    }

    pub(crate) fn restored(kept: &KeptRecord<'_>, now: Now) -> Record {
        let (started_at, started) = moment(kept.started_at, now);
        Record {
            caller: kept.caller.into(),
            called: kept.called.into(),
            a_source: kept.a_source,
            a_transport: Transport::parse(kept.a_transport.as_bytes()).unwrap_or(Transport::Udp),
            a_tls: kept.a_tls.and_then(TlsVersion::parse),
            a_call_id: kept.a_call_id.into(),
            a_user_agent: owned(kept.a_user_agent),
            trunk_in: owned(kept.trunk_in),
            route: owned(kept.route),
            started_at,
            started,
            identity: kept.identity.as_ref().map(owned_identity),
            q850: kept.q850,
            described: Described::restored(&kept.described),
            attempt: Attempt::restored(&kept.attempt, now),
            attempts: kept.attempts,
            ended_by: None,
            ended: None,
            a_status: kept.a_status,
            a_reason: owned(kept.a_reason),
            counts: kept.counted.map(Box::new),
            earlier: kept.counted.map(Box::new),
            parted: kept.parted.map(|counted| Box::new(Parted { counted, ..Parted::default() })),
            given_up: Vec::new(),
            counted_at: now.time,
            told: None,
            recordings: kept.recordings.map(|kept| Box::new(Recordings::restored(kept))),
            recovered: kept.recovered.saturating_add(1),
        }
    }
}

impl Attempt {
    fn kept(&self) -> KeptAttempt<'_> {
        KeptAttempt {
            number: self.number,
            started_at: self.started_at.0,
            rank: self.rank,
            origin: self.origin,
            parent: self.parent,
            identity: self.identity.as_deref().map(identity),
            described: self.described.kept(),
            on_a: self.on_a,
            b_call_id: self.b_call_id.as_deref(),
            trunk_out: self.trunk_out.as_deref(),
            called_sent: self.called_sent.as_deref(),
            destination: self.destination,
            transport: self.transport.map(Transport::as_str),
            tls: self.tls.map(TlsVersion::as_str),
            user_agent: self.user_agent.as_deref(),
            ringing: self.ringing.map(|(utc, _)| utc.0),
            answered: self.answered.map(|(utc, _)| utc.0),
            status: self.status,
            reason: self.reason.as_deref(),
            q850: self.q850,
            tags: self.tags.iter().flat_map(|tags| tags.iter()).collect(),
        }
    }

    /// Its trunk has another number now.
    fn restored(kept: &KeptAttempt<'_>, now: Now) -> Attempt {
        let (started_at, started) = moment(kept.started_at, now);
        Attempt {
            number: kept.number,
            started_at,
            started,
            rank: kept.rank,
            origin: kept.origin,
            parent: kept.parent,
            identity: kept.identity.as_ref().map(owned_identity),
            described: Described::restored(&kept.described),
            on_a: kept.on_a,
            b_call_id: owned(kept.b_call_id),
            trunk_out: owned(kept.trunk_out),
            trunk: None,
            called_sent: owned(kept.called_sent),
            destination: kept.destination,
            transport: kept.transport.and_then(|name| Transport::parse(name.as_bytes())),
            tls: kept.tls.and_then(TlsVersion::parse),
            user_agent: owned(kept.user_agent),
            ringing: kept.ringing.map(|utc| moment(utc, now)),
            answered: kept.answered.map(|utc| moment(utc, now)),
            status: kept.status,
            reason: owned(kept.reason),
            q850: kept.q850,
            tags: Tags::kept(kept.tags.iter().copied()),
            blocked: false,
            ended_by: None,
            dropped: false,
            handed_over: false,
        }
    }
}

impl Described {
    fn kept(&self) -> KeptDescribed<'_> {
        KeptDescribed { media: self.media, ptime: self.ptime, codec: self.codec.as_deref() }
    }

    fn restored(kept: &KeptDescribed<'_>) -> Described {
        Described { media: kept.media, ptime: kept.ptime, codec: owned(kept.codec) }
    }
}

fn owned(text: Option<&str>) -> Option<Box<str>> {
    text.map(Box::from)
}

fn identity(identity: &Identity) -> KeptIdentity<'_> {
    let Identity { asserted, diversion, privacy } = identity;
    KeptIdentity {
        asserted: asserted.as_deref(),
        diversion: diversion.as_deref(),
        privacy: privacy.as_deref(),
    }
}

fn owned_identity(kept: &KeptIdentity<'_>) -> Box<Identity> {
    let KeptIdentity { asserted, diversion, privacy } = *kept;
    Box::new(Identity { asserted: owned(asserted), diversion: owned(diversion), privacy: owned(privacy) })
}
