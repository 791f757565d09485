//! The record in the making: what a call and its current attempt will have to say.

mod agreed;
mod ends;
mod given_up;
mod kept;

use std::net::SocketAddr;
use std::sync::Arc;

use routing::{Tags, Trunk};
use sip::{Message, Time, Transport};
use uuid::Uuid;

use super::Recordings;
use crate::cdr::{CdrFact, Disposition, EndedBy, Identity, Origin};
use crate::headers::{dialled, text};
use crate::io::{EventKind, Now, TlsVersion, Utc};
use crate::leg::Leg;
use crate::media::{DirectionStats, Side};
use agreed::Described;
use given_up::GivenUp;

/// What is known so far.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) caller: Box<str>,
    pub(crate) called: Box<str>,
    pub(crate) a_source: SocketAddr,
    pub(crate) a_transport: Transport,
    pub(crate) a_tls: Option<TlsVersion>,
    pub(crate) a_call_id: Box<str>,
    a_user_agent: Option<Box<str>>,
    pub(crate) trunk_in: Option<Box<str>>,
    pub(crate) route: Option<Box<str>>,
    pub(crate) started_at: Utc,
    started: Time,
    identity: Option<Box<Identity>>,
    /// What the caller's side gave as its cause.
    q850: Option<u16>,
    /// What A of the row said of its media: the caller, or who stayed when somebody took the caller's place.
    described: Described,
    /// Of the branch that the call speaks of.
    pub(crate) attempt: Attempt,
    /// How many there were.
    pub(crate) attempts: u32,
    /// Who ended the call; the first to say so.
    pub(crate) ended_by: Option<EndedBy>,
    pub(crate) ended: Option<Now>,
    pub(crate) a_status: Option<u16>,
    pub(crate) a_reason: Option<Box<str>>,
    /// What has come from A and B; nothing as long as the relay was not asked, as of most calls that are up.
    counts: Option<Box<[DirectionStats; 2]>>,
    /// What had come from A and B when another process went on with the call.
    earlier: Option<Box<[DirectionStats; 2]>>,
    /// There when two of the call have parted and it went on.
    parted: Option<Box<Parted>>,
    /// Attempts that were given up and may still say how they ended.
    given_up: Vec<GivenUp>,
    /// When the relay was last asked what it has counted, at first when the call began.
    pub(crate) counted_at: Time,
    /// There where the call is recorded, or its route wants it.
    pub(crate) recordings: Option<Box<Recordings>>,
    /// The Q.850 cause that the box ended the call with.
    told: Option<u16>,
    /// How often another process went on with the call.
    recovered: u32,
}

/// Two who talked and do so no longer, in a call that goes on with somebody else.
#[derive(Debug, Default)]
struct Parted {
    /// Their row, while it waits for what the relay has counted, and the side of its B.
    waiting: Option<(Box<CdrFact>, Side)>,
    /// What had come from A and B when they parted: it stands in rows that are written.
    counted: [DirectionStats; 2],
    /// A target has failed of which something may have come, and the relay was asked how much.
    has_failed: bool,
}

/// One INVITE towards a target.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) started_at: Utc,
    pub(crate) started: Time,
    pub(crate) rank: u16,
    pub(crate) origin: Origin,
    /// Of the target of a transfer: the number of the attempt that talked before.
    pub(crate) parent: Option<u32>,
    pub(super) identity: Option<Box<Identity>>,
    /// What its party said of its media.
    pub(super) described: Described,
    /// Its party is on side A: it came in the place of the caller. It is the B of its row all the same.
    pub(super) on_a: bool,
    pub(crate) b_call_id: Option<Box<str>>,
    pub(crate) trunk_out: Option<Box<str>>,
    pub(crate) trunk: Option<routing::TrunkId>,
    pub(crate) called_sent: Option<Box<str>>,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) transport: Option<Transport>,
    pub(super) tls: Option<TlsVersion>,
    pub(super) user_agent: Option<Box<str>>,
    pub(super) ringing: Option<(Utc, Time)>,
    pub(crate) answered: Option<(Utc, Time)>,
    pub(crate) status: Option<u16>,
    pub(super) reason: Option<Box<str>>,
    pub(super) q850: Option<u16>,
    pub(crate) tags: Option<Arc<Tags>>,
    /// A policy of ours forbade it.
    pub(crate) blocked: bool,
    /// Of an attempt that was followed by another.
    pub(super) ended_by: Option<EndedBy>,
    /// It was given up although it might have answered: somebody else did, or nobody waits any more.
    pub(super) dropped: bool,
    /// Both talked, and one of them was replaced.
    pub(super) handed_over: bool,
}

/// What another row says of a party that comes over into a call.
pub(super) struct Known {
    pub(super) name: Option<Box<str>>,
    pub(super) agent: Option<Box<str>>,
}

impl Attempt {
    /// Of a party that is in a dialog with the box already and comes into a call, which had `tags` so far.
    pub(super) fn of_party(
        leg: &Leg,
        trunk: Option<&Trunk>,
        tags: Option<&Arc<Tags>>,
        transport: Transport,
        now: Now,
    ) -> Attempt {
        Attempt {
            started_at: now.utc,
            started: now.time,
            origin: Origin::Transfer,
            b_call_id: Some(leg.call_id.clone()),
            trunk: leg.trunk,
            trunk_out: trunk.map(|trunk| trunk.name.as_str().into()),
            destination: Some(leg.flow.remote),
            transport: Some(transport),
            tls: leg.flow.tls(),
            tags: Tags::merged(tags, trunk.and_then(|trunk| trunk.tags.as_ref())),
            ..Attempt::default()
        }
    }

    /// The same of one who comes with an INVITE of its own.
    pub(super) fn arrived(self, invite: Option<&Message<'_>>, now: Now) -> Attempt {
        let from = invite.and_then(|invite| invite.from().ok());
        Attempt {
            answered: Some((now.utc, now.time)),
            status: Some(200),
            identity: invite.and_then(identity),
            user_agent: invite.and_then(|invite| invite.first(sip::Name::UserAgent)).map(text),
            called_sent: from.and_then(|from| dialled(from.uri)),
            ..self
        }
    }

    fn hear_agent(&mut self, response: &Message<'_>) {
        let agent = response.first(sip::Name::UserAgent).or(response.first(sip::Name::Server));
        if self.user_agent.is_none() {
            self.user_agent = agent.map(text);
        }
    }

    fn hear_final(&mut self, response: &Message<'_>) {
        self.hear_agent(response);
        self.status = response.status();
        self.reason = Some(text(response.reason_phrase()));
        self.q850 = q850_in(response).or(self.q850);
    }

    /// The side that its party is on.
    pub(super) fn side(&self) -> Side {
        if self.on_a { Side::A } else { Side::B }
    }

    /// Who this side is in its row.
    pub(super) fn who(&self, side: Side) -> EndedBy {
        if side == self.side() { EndedBy::Callee } else { EndedBy::Caller }
    }

    /// What A and B of its row have, of what both sides have.
    fn of_row<T>(&self, [a, b]: [T; 2]) -> [T; 2] {
        if self.on_a { [b, a] } else { [a, b] }
    }

    /// The talk goes on with somebody else in the place of the party of this side.
    pub(super) fn hand_over(&mut self, side: Side) {
        self.ended_by = Some(self.who(side));
        self.handed_over = true;
    }
}

impl Record {
    pub(crate) fn new(
        invite: &Message<'_>,
        caller: Box<str>,
        called: Box<str>,
        source: SocketAddr,
        transport: Transport,
        now: Now,
    ) -> Record {
        Record {
            caller,
            called,
            a_source: source,
            a_transport: transport,
            a_tls: None,
            a_call_id: text(invite.call_id().unwrap_or_default()),
            a_user_agent: invite.first(sip::Name::UserAgent).map(text),
            trunk_in: None,
            route: None,
            started_at: now.utc,
            started: now.time,
            identity: identity(invite),
            q850: None,
            described: Described::default(),
            attempt: Attempt { started_at: now.utc, started: now.time, ..Attempt::default() },
            attempts: 0,
            ended_by: None,
            ended: None,
            a_status: None,
            a_reason: None,
            counts: None,
            earlier: None,
            parted: None,
            given_up: Vec::new(),
            counted_at: now.time,
            recordings: None,
            told: None,
            recovered: 0,
        }
    }

    /// Somebody has taken the place of the party of a side: the row of the talk so far, with what is told of its end. From now on
    /// the call speaks of the newcomer.
    pub(super) fn replaced(
        &mut self,
        side: Side,
        newcomer: Attempt,
        call: Uuid,
        now: Now,
    ) -> (CdrFact, Option<EventKind>) {
        self.attempts += 1;
        let on_a = side == Side::A;
        let newcomer = Attempt { number: self.attempts, parent: Some(self.attempt.number), on_a, ..newcomer };
        let talk = std::mem::replace(&mut self.attempt, newcomer);
        self.hand_over(talk, side, call, now)
    }

    /// The row of a talk that ends because the record's attempt has taken the place of its party on this side.
    pub(super) fn hand_over(
        &mut self,
        mut talk: Attempt,
        side: Side,
        call: Uuid,
        now: Now,
    ) -> (CdrFact, Option<EventKind>) {
        talk.hand_over(side);
        let fact = self.fact(&talk, call, false, now);
        // Who stays is A of the next row.
        if talk.side() != side {
            self.described = std::mem::take(&mut talk.described);
        }
        (fact, talk.ended_event())
    }

    /// What the row knows of its party on this side.
    pub(super) fn who_is(&self, side: Side) -> Known {
        let attempt = &self.attempt;
        if side == attempt.side() {
            Known { name: attempt.called_sent.clone(), agent: attempt.user_agent.clone() }
        } else {
            Known { name: Some(self.caller.clone()), agent: self.a_user_agent.clone() }
        }
    }

    /// What the relay has counted, in this process.
    pub(crate) fn counted(&mut self, from_a: DirectionStats, from_b: DirectionStats) {
        let mut counts = [from_a, from_b];
        for (count, earlier) in counts.iter_mut().zip(self.earlier.iter().flat_map(|earlier| &**earlier)) {
            *count = count.with_earlier(earlier);
        }
        self.counts = Some(Box::new(counts));
    }

    /// What has come from A and B since the call began.
    fn counts(&self) -> [DirectionStats; 2] {
        self.counts.as_deref().copied().unwrap_or_default()
    }

    /// What has come from A and B since two of the call parted, or since it began.
    fn stats(&self) -> [DirectionStats; 2] {
        let [from_a, from_b] = self.counts();
        match self.parted.as_deref() {
            Some(Parted { counted: [a, b], .. }) => [from_a.since(a), from_b.since(b)],
            None => [from_a, from_b],
        }
    }

    /// Two of the call part, and it goes on: their row waits for what the relay has counted by now.
    pub(super) fn part(&mut self, fact: CdrFact, b: Side) {
        self.parted.get_or_insert_default().waiting = Some((Box::new(fact), b));
    }

    /// The row of those who parted, with what has been counted by now.
    pub(crate) fn parted(&mut self) -> Option<Box<CdrFact>> {
        let [from_a, from_b] = self.stats();
        let counted = self.counts();
        let parted = self.parted.as_mut()?;
        let (fact, b) = parted.waiting.take()?;
        parted.counted = counted;
        let (from_a, from_b) = if b == Side::B { (from_a, from_b) } else { (from_b, from_a) };
        Some(Box::new(CdrFact { from_a, from_b, ..*fact }))
    }

    /// A target of which something may have come has failed: what the relay counts of it by now is none of the next one's.
    pub(super) fn leave_out(&mut self) {
        self.parted.get_or_insert_default().has_failed = true;
    }

    /// Whether that is to be told yet.
    pub(crate) fn leaves_out(&self) -> bool {
        self.parted.as_ref().is_some_and(|parted| parted.has_failed)
    }

    /// What there was of it. That of the caller is the call's, whoever heard it.
    pub(crate) fn left_out(&mut self, from_a: DirectionStats, from_b: DirectionStats) {
        self.counted(from_a, from_b);
        let [_, from_b] = self.counts();
        let parted = self.parted.get_or_insert_default();
        parted.has_failed = false;
        parted.counted[1] = from_b;
    }

    /// Whether a row waits for what the relay has counted.
    pub(crate) fn is_parting(&self) -> bool {
        self.parted.as_ref().is_some_and(|parted| parted.waiting.is_some())
    }

    /// A provisional or final response of the target.
    pub(crate) fn heard(&mut self, response: &Message<'_>, now: Now) {
        let status = response.status().unwrap_or(0);
        let attempt = &mut self.attempt;
        if matches!(status, 180 | 183) && attempt.ringing.is_none() {
            attempt.ringing = Some((now.utc, now.time));
        }
        if (200..300).contains(&status) && attempt.answered.is_none() && self.ended.is_none() {
            attempt.answered = Some((now.utc, now.time));
        }
        if status >= 200 {
            attempt.hear_final(response);
        } else {
            attempt.hear_agent(response);
        }
    }

    /// A Reason header with a Q.850 cause, in whatever message of that side. `talk`: whose row it belongs into, where the
    /// record speaks of another attempt.
    pub(super) fn saw_reason(&mut self, talk: Option<&mut Attempt>, message: &Message<'_>, by: EndedBy) {
        let cause = q850_in(message);
        if cause.is_some() {
            match by {
                EndedBy::Caller => self.q850 = cause,
                EndedBy::Callee
                | EndedBy::Policy
                | EndedBy::Timer
                | EndedBy::MediaTimeout
                | EndedBy::Api
                | EndedBy::Error
                | EndedBy::Crash => talk.unwrap_or(&mut self.attempt).q850 = cause,
            }
        }
    }

    /// The INVITE as it was sent to the target.
    pub(crate) fn sent(&mut self, invite: Option<&Message<'_>>) {
        self.attempt.identity = invite.and_then(identity);
    }

    /// Whether the INVITE says more of its caller than From.
    pub(crate) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The call begins to end; the first cause counts. `told`: what the box tells the sides of it in Q.850.
    pub(crate) fn ends(&mut self, by: EndedBy, told: Option<u16>, now: Now) {
        if self.ended.is_none() {
            self.told = told;
        }
        self.ended_by.get_or_insert(by);
        self.ended.get_or_insert(now);
    }

    /// What there is to say of an attempt that is not over should nothing more be heard of it: the row that the journal
    /// closes if the process dies. Of a call that ends already it is what the row will say.
    pub(crate) fn standing(&self, attempt: &Attempt, call: Uuid, now: Now) -> CdrFact {
        if self.ended.is_some() {
            return CdrFact { is_last: false, ..self.fact(attempt, call, true, now) };
        }
        let is_answered = attempt.answered.is_some();
        let fact = self.fact(attempt, call, is_answered, now);
        let disposition = if is_answered { Disposition::Answered } else { Disposition::Failed };
        let [from_a, from_b] = attempt.of_row(self.stats());
        CdrFact { is_last: false, disposition, ended_by: EndedBy::Crash, from_a, from_b, ..fact }
    }

    /// The row of an attempt: of the one that the call speaks of, or of another branch.
    pub(crate) fn fact(&self, attempt: &Attempt, call: Uuid, is_last: bool, now: Now) -> CdrFact {
        let id = row_id(call, attempt.number, self.attempts);
        let ended = if is_last { self.ended.unwrap_or(now) } else { now };
        let ms = |since: Option<(Utc, Time)>, until: Time| {
            since.map_or(0, |(_, since)| u64::try_from(until.since(since).as_millis()).unwrap_or(u64::MAX))
        };
        let first = attempt.number <= 1;
        let began = if first { self.started } else { attempt.started };
        let heard = attempt.ringing.or(attempt.answered).map(|(_, time)| time);
        let [from_a, from_b] = if is_last { attempt.of_row(self.stats()) } else { Default::default() };
        // Of those who talked the row says what the caller was told, also where the call went on without one of them.
        let tells = is_last || attempt.handed_over;
        let Described { media: a_media, ptime: ptime_a, codec: codec_a } = self.described.clone();
        let Described { media: b_media, ptime: ptime_b, codec: codec_b } = attempt.described.clone();
        let rang_until = attempt.answered.map_or(ended.time, |(_, time)| time);
        CdrFact {
            id,
            call_id: call,
            attempt: attempt.number,
            is_last,
            a_sip_call_id: self.a_call_id.clone(),
            b_sip_call_id: attempt.b_call_id.clone(),
            trunk_in: self.trunk_in.clone(),
            trunk_out: attempt.trunk_out.clone(),
            route: self.route.clone(),
            caller: self.caller.clone(),
            called: self.called.clone(),
            called_sent: attempt.called_sent.clone(),
            a_source: self.a_source,
            b_destination: attempt.destination,
            a_transport: self.a_transport,
            b_transport: attempt.transport,
            a_tls: self.a_tls,
            b_tls: attempt.tls,
            a_user_agent: self.a_user_agent.clone(),
            b_user_agent: attempt.user_agent.clone(),
            started_at: self.civil(began),
            ringing_at: attempt.ringing.map(|(_, time)| self.civil(time)),
            answered_at: attempt.answered.map(|(_, time)| self.civil(time)),
            ended_at: self.civil(ended.time),
            duration_ms: ms(attempt.answered, ended.time),
            ring_ms: ms(attempt.ringing, rang_until),
            disposition: self.disposition(attempt, is_last),
            ended_by: self.ender(attempt, is_last).unwrap_or(EndedBy::Error),
            sip_code_a: self.a_status.filter(|_| tells),
            sip_reason_a: self.a_reason.clone().filter(|_| tells),
            sip_code_b: attempt.status,
            sip_reason_b: attempt.reason.clone(),
            q850: self.q850.filter(|_| tells).or(attempt.q850),
            codec_a: codec_a.filter(|_| tells),
            codec_b,
            rank: Some(attempt.rank).filter(|rank| *rank != 0),
            origin: attempt.origin,
            parent_id: attempt.parent.map(|parent| row_id(call, parent, self.attempts)),
            pdd_ms: heard.map(|heard| u64::try_from(heard.since(began).as_millis()).unwrap_or(u64::MAX)),
            a_media,
            b_media,
            ptime_a,
            ptime_b,
            identity_in: self.identity.clone(),
            identity_out: attempt.identity.clone(),
            q850_a: self.q850_a(attempt, is_last).filter(|_| tells),
            q850_b: self.q850_b(attempt, is_last),
            from_a,
            from_b,
            recording: self.recordings.as_ref().filter(|_| is_last).and_then(|made| made.names(call)),
            recovered: self.recovered,
            tags: attempt.tags.clone(),
        }
    }

    /// The civil time of a moment of this call, counted from when it began: whoever sets the clock meanwhile does not set the
    /// times of a record against each other.
    fn civil(&self, time: Time) -> Utc {
        let since = i64::try_from(time.since(self.started).as_micros()).unwrap_or(i64::MAX);
        Utc(self.started_at.0.saturating_add(since))
    }
}

/// The Q.850 cause of a message's Reason header.
fn q850_in(message: &Message<'_>) -> Option<u16> {
    message.elements(sip::Name::Reason).find_map(|value| {
        let reason = sip::Reason::parse(value).ok()?;
        if reason.protocol.eq_ignore_ascii_case(b"Q.850") { reason.cause } else { None }
    })
}

/// The primary key of a row: the call's id with the attempt in it. So the row that is opened at the INVITE and the one that
/// is written at the end are the same, whoever writes them, and none has to be remembered.
fn row_id(call: Uuid, attempt: u32, attempts: u32) -> Uuid {
    let slot = match (attempt, attempts) {
        // No target was tried yet: the first one will go on with this row.
        (0, 0) => 1,
        // The call goes on after its attempts, with nobody in the place of the callee.
        (0, _) => u32::MAX,
        (number, _) => number,
    };
    Uuid::from_u128(call.as_u128() ^ u128::from(slot))
}

/// `None` where the INVITE says nothing of its caller but From, as most do.
fn identity(invite: &Message<'_>) -> Option<Box<Identity>> {
    let value = |name| {
        let mut values =
            invite.headers().filter(|header| header.name == name).map(|header| text(header.value));
        let first = values.next()?;
        // Several headers of a name are one list (RFC 3261 §7.3.1).
        Some(values.fold(first, |list, value| format!("{list}, {value}").into()))
    };
    let identity = Identity {
        asserted: value(sip::Name::PAssertedIdentity),
        diversion: value(sip::Name::Diversion),
        privacy: value(sip::Name::Privacy),
    };
    (identity != Identity::default()).then(|| Box::new(identity))
}
