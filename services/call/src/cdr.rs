//! The record of an attempt: one for each INVITE sent towards a target, and one for a call that never had a target.
//!
//! The Core makes a [`CdrFact`] when nothing about the attempt can change any more; the store commits it. Before that it
//! says now and then how far the attempt is, so that a process that dies leaves a record of it.

use std::net::SocketAddr;
use std::sync::Arc;

use routing::Tags;
use serde::{Deserialize, Serialize};
use sip::Transport;
use uuid::Uuid;

use crate::io::{TlsVersion, Utc};
use crate::media::DirectionStats;

/// One row of the table `cdr`.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct CdrFact {
    /// Primary key, UUIDv7 of the time when the call began; the same from the INVITE to the end.
    pub id: Uuid,
    /// The call, the same in all its attempts.
    pub call_id: Uuid,
    /// Counted from 1; 0 when no target was ever tried.
    pub attempt: u32,
    /// Whether this is the call's last row, the one that tells how the call ended.
    pub is_last: bool,
    /// Call-ID towards the caller.
    pub a_sip_call_id: Box<str>,
    /// Call-ID towards the callee.
    pub b_sip_call_id: Option<Box<str>>,
    /// Name of the source trunk.
    pub trunk_in: Option<Box<str>>,
    /// Name of the target trunk.
    pub trunk_out: Option<Box<str>>,
    /// Name of the route.
    pub route: Option<Box<str>>,
    /// User part of From.
    pub caller: Box<str>,
    /// User part of the Request-URI as received.
    pub called: Box<str>,
    /// User part of the Request-URI as sent; of one who came with Replaces: of its From.
    pub called_sent: Option<Box<str>>,
    /// Signalling address of the caller.
    pub a_source: SocketAddr,
    /// Signalling address of the callee.
    pub b_destination: Option<SocketAddr>,
    /// Transport of leg A.
    pub a_transport: Transport,
    /// Transport of leg B.
    pub b_transport: Option<Transport>,
    /// Which TLS the caller's connection speaks.
    pub a_tls: Option<TlsVersion>,
    /// Which TLS the callee's speaks; absent too where nothing was heard of it.
    pub b_tls: Option<TlsVersion>,
    /// User-Agent of the caller.
    pub a_user_agent: Option<Box<str>>,
    /// User-Agent or Server of the callee.
    pub b_user_agent: Option<Box<str>>,
    /// INVITE received (first attempt) or sent (later ones).
    pub started_at: Utc,
    /// First 180 or 183 of the target.
    pub ringing_at: Option<Utc>,
    /// 2xx of the target.
    pub answered_at: Option<Utc>,
    /// The attempt was over.
    pub ended_at: Utc,
    /// Answer to end, 0 when never answered. From the monotonic clock.
    pub duration_ms: u64,
    /// Ringing to answer or end; 0 when it never rang.
    pub ring_ms: u64,
    /// How it went.
    pub disposition: Disposition,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// Final status that the caller got (absent where the call went on with another attempt, unless the two talked).
    pub sip_code_a: Option<u16>,
    /// Its reason phrase.
    pub sip_reason_a: Option<Box<str>>,
    /// Final status that the target gave.
    pub sip_code_b: Option<u16>,
    /// Its reason phrase.
    pub sip_reason_b: Option<Box<str>>,
    /// Cause of a Reason header with protocol Q.850.
    pub q850: Option<u16>,
    /// What A talks in: the first codec of the description that answered last.
    pub codec_a: Option<Box<str>>,
    /// What B talks in.
    pub codec_b: Option<Box<str>>,
    /// The place of the target among those that the route named, from 1. Several servers of one name share it.
    pub rank: Option<u16>,
    /// How the attempt came about.
    pub origin: Origin,
    /// Of the target of a transfer: the row of the attempt that talked before.
    pub parent_id: Option<Uuid>,
    /// INVITE to the first sign that somebody is there: 18x of ringing, or the answer. From the monotonic clock.
    pub pdd_ms: Option<u64>,
    /// Where the caller wants its media; of the target of a transfer: where the one does who stayed, whose is all of A's
    /// media then.
    pub a_media: Option<SocketAddr>,
    /// Where the callee wants its media.
    pub b_media: Option<SocketAddr>,
    /// How many milliseconds of media the caller wants in a packet, where its description says so.
    pub ptime_a: Option<u16>,
    /// How many the callee wants.
    pub ptime_b: Option<u16>,
    /// Who the caller is, as the INVITE came.
    pub identity_in: Option<Box<Identity>>,
    /// Who the caller is, as the INVITE was sent; of one who came with Replaces: who that is, as its INVITE came.
    pub identity_out: Option<Box<Identity>>,
    /// Cause of the caller's side: what it said, else what its status means (RFC 3398 §8.2.6.1).
    pub q850_a: Option<u16>,
    /// Cause of the target's side.
    pub q850_b: Option<u16>,
    /// What came from A.
    pub from_a: DirectionStats,
    /// What came from B.
    pub from_b: DirectionStats,
    /// Where the call was recorded, if it was.
    pub recording: Option<Box<str>>,
    /// How often the process died during the call and another one went on with it.
    pub recovered: u32,
    /// What the trunks and the route have for the record besides.
    pub tags: Option<Arc<Tags>>,
}

/// What an INVITE says of its caller besides From. Values as they stand in the header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// P-Asserted-Identity (RFC 3325).
    pub asserted: Option<Box<str>>,
    /// Diversion (RFC 5806), the newest first.
    pub diversion: Option<Box<str>>,
    /// Privacy (RFC 3323).
    pub privacy: Option<Box<str>>,
}

/// How an attempt came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// It is what the route named first.
    #[default]
    Route,
    /// The one before it failed.
    Failover,
    /// It was tried while another was.
    Fork,
    /// A 3xx named it.
    Redirect,
    /// A REFER named it.
    Transfer,
}

impl Origin {
    /// As the column has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Route => "route",
            Origin::Failover => "failover",
            Origin::Fork => "fork",
            Origin::Redirect => "redirect",
            Origin::Transfer => "transfer",
        }
    }
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Both sides talked.
    Answered,
    /// 486 or 600.
    Busy,
    /// 408, 480 after ringing, or nobody picked up.
    NoAnswer,
    /// The caller left before the answer.
    Cancelled,
    /// The target said no (other 4xx, 6xx).
    Rejected,
    /// 5xx, unreachable, no route, no ports; an operator ended it before the answer.
    Failed,
    /// Policy refused it.
    Blocked,
}

impl Disposition {
    /// All of them.
    pub const ALL: [Disposition; 7] = [
        Disposition::Answered,
        Disposition::Busy,
        Disposition::NoAnswer,
        Disposition::Cancelled,
        Disposition::Rejected,
        Disposition::Failed,
        Disposition::Blocked,
    ];

    /// As the column has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Disposition::Answered => "answered",
            Disposition::Busy => "busy",
            Disposition::NoAnswer => "no_answer",
            Disposition::Cancelled => "cancelled",
            Disposition::Rejected => "rejected",
            Disposition::Failed => "failed",
            Disposition::Blocked => "blocked",
        }
    }
}

/// Who ended an attempt. In the row of a transfer's target this is the callee, and who stayed the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// BYE or CANCEL of leg A.
    Caller,
    /// BYE or a final response of leg B.
    Callee,
    /// A rule of ours.
    Policy,
    /// A SIP timer.
    Timer,
    /// A leg went silent.
    MediaTimeout,
    /// An operator.
    Api,
    /// Something failed.
    Error,
    /// The process died; written at the next start. The end is when the process was last known to live.
    Crash,
}

impl EndedBy {
    /// As the column has it.
    pub fn as_str(self) -> &'static str {
        match self {
            EndedBy::Caller => "caller",
            EndedBy::Callee => "callee",
            EndedBy::Policy => "policy",
            EndedBy::Timer => "timer",
            EndedBy::MediaTimeout => "media_timeout",
            EndedBy::Api => "api",
            EndedBy::Error => "error",
            EndedBy::Crash => "crash",
        }
    }
}
