//! The inputs of a call: what a journal keeps of the outside, one at a time.
//!
//! [`Stimulus`] is [`Input`](crate::Input) as one call sees it. What concerns no call is not here, a deadline that has come
//! is, and an order for all calls is an order for each.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use routing::{Decision, Fork, Plan, Refusal, Tags, Target, TrunkId};
use sip::Transport;
use smallvec::SmallVec;

use super::bytes::{Reader, put_address, put_bytes};
use crate::family::Addresses;
use crate::io::{Flow, NextHop, QueryId, SendToken};
use crate::media::{
    Deaf, Digit, DirectionStats, MediaId, MediaReport, PortPair, Side, Speech, SrtpUse, StreamPorts,
};
use crate::settings::ListenerId;

/// Something that happened to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Stimulus<'a> {
    /// A message.
    Message {
        /// Where it came from.
        flow: Flow,
        /// The bytes as received.
        bytes: &'a [u8],
    },
    /// A connection is gone that something of the call used, or a datagram of it did not arrive.
    Closed {
        /// The connection; of a datagram its flow, without one.
        flow: Flow,
        /// What used it.
        owner: Owner,
    },
    /// Something could not be delivered.
    Undeliverable {
        /// What was sent with this token.
        token: SendToken,
    },
    /// Routing answered.
    Routed {
        /// The question.
        query: QueryId,
        /// The answer.
        decision: Decision,
    },
    /// A name was looked up.
    Resolved {
        /// The question.
        query: QueryId,
        /// The servers, in order.
        hops: Vec<NextHop>,
        /// What was told with them.
        note: Option<Box<str>>,
    },
    /// The relay has news.
    Media(MediaReport),
    /// The process before this one had the call: a journal that begins so is the rest of another.
    Restore {
        /// The call as that one handed it out.
        state: &'a [u8],
        /// How many attempts of it have records.
        attempts: u32,
    },
    /// A deadline has come.
    Timer(Owner),
    /// The operator wants something of this call, or of all.
    Order {
        /// The key of the call.
        call: u64,
        /// What.
        order: Ordered,
    },
}

/// Whose deadline or connection it is: a thing of the call, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A client transaction.
    Client(u64),
    /// A server transaction.
    Server(u64),
    /// A leg.
    Leg(u64),
    /// The call itself.
    Call(u64),
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// [`Command::HangUp`](crate::Command::HangUp).
    HangUp,
    /// [`Command::EndAll`](crate::Command::EndAll).
    EndAll,
    /// [`Command::Abandon`](crate::Command::Abandon).
    Abandon,
    /// [`Command::Record`](crate::Command::Record), on.
    Record,
    /// [`Command::Record`](crate::Command::Record), off.
    StopRecording,
}

const MESSAGE: u8 = 0;
const CLOSED: u8 = 1;
const UNDELIVERABLE: u8 = 2;
const ROUTED: u8 = 3;
const REFUSED: u8 = 4;
const RESOLVED: u8 = 5;
const MEDIA: u8 = 6;
const TIMER: u8 = 7;
const ORDER: u8 = 8;
const RESTORE: u8 = 9;

/// Writes a stimulus down, but for the bytes of a message: they are there until it has been handled, and are copied
/// only if it was for a call.
pub(super) fn put(stimulus: &Stimulus<'_>, to: &mut Vec<u8>) {
    match stimulus {
        Stimulus::Message { flow, bytes: _ } => {
            to.push(MESSAGE);
            put_flow(to, *flow);
        }
        Stimulus::Closed { flow, owner } => {
            to.push(CLOSED);
            put_flow(to, *flow);
            put_owner(to, *owner);
        }
        Stimulus::Undeliverable { token } => {
            to.push(UNDELIVERABLE);
            to.extend_from_slice(&token.0.to_le_bytes());
        }
        Stimulus::Routed { query, decision: Decision::Route(plan) } => {
            to.push(ROUTED);
            to.extend_from_slice(&query.0.to_le_bytes());
            put_plan(to, plan);
        }
        Stimulus::Routed { query, decision: Decision::Refuse(refusal) } => {
            let Refusal { status, why, blocked, route, phrase, tags, trunk } = refusal;
            to.push(REFUSED);
            to.extend_from_slice(&query.0.to_le_bytes());
            to.extend_from_slice(&status.to_le_bytes());
            to.push(u8::from(*blocked));
            to.push(u8::from(trunk.is_some()));
            to.extend_from_slice(&trunk.map_or(0, |trunk| trunk.0).to_le_bytes());
            for text in [Some(why), route.as_ref(), phrase.as_ref()] {
                to.push(u8::from(text.is_some()));
                put_bytes(to, text.map_or(&[][..], |text| text.as_bytes()));
            }
            put_tags(to, tags);
        }
        Stimulus::Resolved { query, hops, note } => {
            to.push(RESOLVED);
            to.extend_from_slice(&query.0.to_le_bytes());
            to.push(u8::from(note.is_some()));
            put_bytes(to, note.as_deref().unwrap_or_default().as_bytes());
            for NextHop { address, transport } in hops {
                put_bytes(to, transport.as_str().as_bytes());
                put_address(to, *address);
            }
        }
        Stimulus::Media(report) => {
            to.push(MEDIA);
            put_report(to, report);
        }
        Stimulus::Restore { state, attempts } => {
            to.push(RESTORE);
            to.extend_from_slice(&attempts.to_le_bytes());
            to.extend_from_slice(state);
        }
        Stimulus::Timer(owner) => {
            to.push(TIMER);
            put_owner(to, *owner);
        }
        Stimulus::Order { call, order } => {
            to.push(ORDER);
            to.extend_from_slice(&call.to_le_bytes());
            to.push(match order {
                Ordered::HangUp => 0,
                Ordered::EndAll => 1,
                Ordered::Abandon => 2,
                Ordered::Record => 3,
                Ordered::StopRecording => 4,
            });
        }
    }
}

/// Reads what [`put`] wrote, followed by the message if it is one.
pub(super) fn take<'a>(mut from: Reader<'a>) -> Option<Stimulus<'a>> {
    let from = &mut from;
    Some(match from.u8()? {
        MESSAGE => Stimulus::Message { flow: flow(from)?, bytes: from.0 },
        CLOSED => Stimulus::Closed { flow: flow(from)?, owner: owner(from)? },
        UNDELIVERABLE => Stimulus::Undeliverable { token: SendToken(from.u64()?) },
        ROUTED => {
            let query = QueryId(from.u64()?);
            Stimulus::Routed { query, decision: Decision::Route(plan(from)?) }
        }
        REFUSED => {
            let query = QueryId(from.u64()?);
            let (status, blocked) = (from.u16()?, from.u8()? != 0);
            let has_trunk = from.u8()? != 0;
            let trunk = Some(TrunkId(from.u16()?)).filter(|_| has_trunk);
            let mut text = || {
                let is_there = from.u8()? != 0;
                Some(Some(from.text()?.to_owned()).filter(|_| is_there))
            };
            let (why, route, phrase) = (text()?.unwrap_or_default(), text()?, text()?);
            let refusal = Refusal { status, why, blocked, route, phrase, tags: tags(from)?, trunk };
            Stimulus::Routed { query, decision: Decision::Refuse(refusal) }
        }
        RESOLVED => {
            let query = QueryId(from.u64()?);
            let has_note = from.u8()? != 0;
            let note = Some(from.text()?.into()).filter(|_| has_note);
            let mut hops = Vec::new();
            while !from.is_empty() {
                let transport = Transport::parse(from.bytes()?)?;
                hops.push(NextHop { address: from.address()?, transport });
            }
            Stimulus::Resolved { query, hops, note }
        }
        MEDIA => Stimulus::Media(report(from)?),
        TIMER => Stimulus::Timer(owner(from)?),
        ORDER => {
            let call = from.u64()?;
            let order = match from.u8()? {
                0 => Ordered::HangUp,
                1 => Ordered::EndAll,
                2 => Ordered::Abandon,
                3 => Ordered::Record,
                4 => Ordered::StopRecording,
                5.. => return None,
            };
            Stimulus::Order { call, order }
        }
        RESTORE => Stimulus::Restore { attempts: from.u32()?, state: from.0 },
        10.. => return None,
    })
}

fn put_flow(to: &mut Vec<u8>, Flow { listener, remote, connection }: Flow) {
    to.extend_from_slice(&listener.0.to_le_bytes());
    put_address(to, remote);
    to.extend_from_slice(&connection.to_le_bytes());
}

fn flow(from: &mut Reader<'_>) -> Option<Flow> {
    Some(Flow { listener: ListenerId(from.u16()?), remote: from.address()?, connection: from.u64()? })
}

/// Where a user of ours can be reached, as the registrar knew it.
pub(crate) struct Reachable {
    pub(crate) contact: Box<[u8]>,
    pub(crate) flow: Flow,
    /// Its preference, in thousandths.
    pub(crate) q: u16,
}

/// A contact of a user of ours, for the tape.
pub(crate) fn put_contact(to: &mut Vec<u8>, contact: &[u8], flow: Flow, q: u16) {
    put_bytes(to, contact);
    put_flow(to, flow);
    to.extend_from_slice(&q.to_le_bytes());
}

/// All contacts that were put.
pub(crate) fn take_contacts(contacts: &[u8]) -> Vec<Reachable> {
    let mut from = Reader(contacts);
    let mut next =
        || Some(Reachable { contact: from.bytes()?.into(), flow: flow(&mut from)?, q: from.u16()? });
    std::iter::from_fn(&mut next).collect()
}

fn put_owner(to: &mut Vec<u8>, owner: Owner) {
    let (kind, key) = match owner {
        Owner::Client(key) => (0, key),
        Owner::Server(key) => (1, key),
        Owner::Leg(key) => (2, key),
        Owner::Call(key) => (3, key),
    };
    to.push(kind);
    to.extend_from_slice(&key.to_le_bytes());
}

fn owner(from: &mut Reader<'_>) -> Option<Owner> {
    let (kind, key) = (from.u8()?, from.u64()?);
    Some(match kind {
        0 => Owner::Client(key),
        1 => Owner::Server(key),
        2 => Owner::Leg(key),
        3 => Owner::Call(key),
        4.. => return None,
    })
}

const NOWHERE: u8 = 0;
const TRUNK: u8 = 1;
const USER: u8 = 2;

fn put_plan(to: &mut Vec<u8>, Plan { route, targets, failover, fork, record, tags }: &Plan) {
    to.push(u8::from(route.is_some()));
    to.push(u8::from(*record));
    to.push(match fork {
        Fork::Serial => 0,
        Fork::Parallel => 1,
    });
    put_bytes(to, route.as_deref().unwrap_or_default().as_bytes());
    for target in targets {
        match target {
            Target::Trunk { trunk, peer } => {
                to.push(TRUNK);
                to.extend_from_slice(&trunk.0.to_le_bytes());
                to.extend_from_slice(&(*peer as u64).to_le_bytes());
            }
            Target::User { name } => {
                to.push(USER);
                put_bytes(to, name.as_bytes());
            }
        }
    }
    to.push(NOWHERE);
    put_tags(to, tags);
    // The usual list is 102 codes, most of them in one run.
    for run in failover.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        if let [first, .., last] | [first @ last] = run {
            to.extend_from_slice(&first.to_le_bytes());
            to.extend_from_slice(&last.to_le_bytes());
        }
    }
}

fn plan(from: &mut Reader<'_>) -> Option<Plan> {
    let (has_route, record) = (from.u8()? != 0, from.u8()? != 0);
    let fork = if from.u8()? == 0 { Fork::Serial } else { Fork::Parallel };
    let route = Some(from.text()?.to_owned()).filter(|_| has_route);
    let mut targets = Vec::new();
    loop {
        targets.push(match from.u8()? {
            NOWHERE => break,
            TRUNK => {
                let trunk = TrunkId(from.u16()?);
                Target::Trunk { trunk, peer: usize::try_from(from.u64()?).ok()? }
            }
            USER => Target::User { name: from.text()?.to_owned() },
            3.. => return None,
        });
    }
    let tags = tags(from)?;
    let mut failover = Vec::new();
    while !from.is_empty() {
        failover.extend(from.u16()?..=from.u16()?);
    }
    Some(Plan { route, targets, failover: failover.into(), fork, record, tags })
}

fn put_tags(to: &mut Vec<u8>, tags: &Option<Arc<Tags>>) {
    for (name, value) in tags.iter().flat_map(|tags| tags.iter()) {
        to.push(1);
        put_bytes(to, name.as_bytes());
        put_bytes(to, value.as_bytes());
    }
    to.push(0);
}

fn tags(from: &mut Reader<'_>) -> Option<Option<Arc<Tags>>> {
    let mut pairs = Vec::new();
    while from.u8()? != 0 {
        pairs.push((from.text()?, from.text()?));
    }
    Some(Tags::kept(pairs))
}

fn put_side(to: &mut Vec<u8>, side: Side) {
    to.push(match side {
        Side::A => 0,
        Side::B => 1,
    });
}

fn side(from: &mut Reader<'_>) -> Option<Side> {
    Some(if from.u8()? == 0 { Side::A } else { Side::B })
}

fn put_stats(to: &mut Vec<u8>, stats: &DirectionStats) {
    let DirectionStats {
        packets,
        octets,
        lost,
        jitter_ms,
        dropped,
        reordered,
        duplicates,
        speech,
        round_trip_ms,
        first_media_ms,
        moves,
        deaf,
        srtp,
    } = stats;
    for count in [packets, octets, lost, dropped, reordered, duplicates] {
        to.extend_from_slice(&count.to_le_bytes());
    }
    to.extend_from_slice(&jitter_ms.to_le_bytes());
    to.push(u8::from(speech.is_some()));
    if let Some(Speech { packets, lost }) = speech {
        to.extend_from_slice(&packets.to_le_bytes());
        to.extend_from_slice(&lost.to_le_bytes());
    }
    for time in [round_trip_ms, first_media_ms] {
        to.push(u8::from(time.is_some()));
        to.extend_from_slice(&time.unwrap_or(0).to_le_bytes());
    }
    to.extend_from_slice(&moves.to_le_bytes());
    put_bytes(to, deaf.map(|deaf| deaf.to_string()).unwrap_or_default().as_bytes());
    put_bytes(to, srtp.map(|srtp| srtp.to_string()).unwrap_or_default().as_bytes());
}

fn stats(from: &mut Reader<'_>) -> Option<DirectionStats> {
    let [packets, octets, lost, dropped] = [from.u64()?, from.u64()?, from.u64()?, from.u64()?];
    let [reordered, duplicates] = [from.u64()?, from.u64()?];
    let jitter_ms = f32::from_bits(from.u32()?);
    let speech = match from.u8()? {
        0 => None,
        _ => Some(Speech { packets: from.u64()?, lost: from.u64()? }),
    };
    let mut time = || {
        let is_there = from.u8()? != 0;
        Some(Some(from.u32()?).filter(|_| is_there))
    };
    let (round_trip_ms, first_media_ms) = (time()?, time()?);
    let moves = from.u32()?;
    let deaf = Deaf::parse(from.text()?);
    let srtp = SrtpUse::parse(from.text()?);
    Some(DirectionStats {
        packets,
        octets,
        lost,
        jitter_ms,
        dropped,
        reordered,
        duplicates,
        speech,
        round_trip_ms,
        first_media_ms,
        moves,
        deaf,
        srtp,
    })
}

fn put_report(to: &mut Vec<u8>, report: &MediaReport) {
    let (kind, session) = match report {
        MediaReport::Opened { session, .. } => (0, session),
        MediaReport::Refused { session, .. } => (1, session),
        MediaReport::Silent { session, .. } => (2, session),
        MediaReport::Closed { session, .. } => (3, session),
        MediaReport::NotListening { session, .. } => (4, session),
        MediaReport::OneWay { session, .. } => (5, session),
        MediaReport::Digit { session, .. } => (6, session),
        MediaReport::RecordingEnded { session, .. } => (7, session),
        MediaReport::Counted { session, .. } => (8, session),
        MediaReport::NotRecording { session, .. } => (9, session),
    };
    to.push(kind);
    to.extend_from_slice(&session.0.to_le_bytes());
    match report {
        MediaReport::Opened { session: _, addresses: Addresses { v4, v6 }, streams } => {
            to.push(u8::from(v4.is_some()) | u8::from(v6.is_some()) << 1);
            to.extend(v4.iter().flat_map(Ipv4Addr::octets));
            to.extend(v6.iter().flat_map(Ipv6Addr::octets));
            for StreamPorts { a, b } in streams {
                for PortPair { rtp, rtcp } in [a, b] {
                    to.extend_from_slice(&rtp.to_le_bytes());
                    to.extend_from_slice(&rtcp.to_le_bytes());
                }
            }
        }
        MediaReport::Refused { session: _, why }
        | MediaReport::NotListening { session: _, why }
        | MediaReport::RecordingEnded { session: _, why }
        | MediaReport::NotRecording { session: _, why } => {
            put_bytes(to, why.as_bytes());
        }
        MediaReport::Silent { session: _, side } => put_side(to, *side),
        MediaReport::Digit { session: _, side, digit: Digit { event, millis } } => {
            put_side(to, *side);
            to.push(*event);
            to.extend_from_slice(&millis.to_le_bytes());
        }
        MediaReport::OneWay { session: _, side, deaf } => {
            put_side(to, *side);
            put_bytes(to, deaf.to_string().as_bytes());
        }
        MediaReport::Counted { session: _, from_a, from_b }
        | MediaReport::Closed { session: _, from_a, from_b } => {
            put_stats(to, from_a);
            put_stats(to, from_b);
        }
    }
}

fn report(from: &mut Reader<'_>) -> Option<MediaReport> {
    let (kind, session) = (from.u8()?, MediaId(from.u64()?));
    Some(match kind {
        0 => {
            let families = from.u8()?;
            let v4 = if families & 1 == 0 { None } else { Some(from.array::<4>()?.into()) };
            let v6 = if families & 2 == 0 { None } else { Some(from.array::<16>()?.into()) };
            let mut streams = SmallVec::new();
            let pair = |from: &mut Reader<'_>| Some(PortPair { rtp: from.u16()?, rtcp: from.u16()? });
            while !from.is_empty() {
                streams.push(StreamPorts { a: pair(from)?, b: pair(from)? });
            }
            MediaReport::Opened { session, addresses: Addresses { v4, v6 }, streams }
        }
        1 => MediaReport::Refused { session, why: from.text()?.to_owned().into() },
        2 => MediaReport::Silent { session, side: side(from)? },
        3 => MediaReport::Closed { session, from_a: stats(from)?, from_b: stats(from)? },
        4 => MediaReport::NotListening { session, why: from.text()?.to_owned().into() },
        5 => MediaReport::OneWay { session, side: side(from)?, deaf: Deaf::parse(from.text()?)? },
        6 => MediaReport::Digit { session, side: side(from)?, digit: Digit::new(from.u8()?, from.u32()?)? },
        7 => MediaReport::RecordingEnded { session, why: from.text()?.to_owned().into() },
        8 => MediaReport::Counted { session, from_a: stats(from)?, from_b: stats(from)? },
        9 => MediaReport::NotRecording { session, why: from.text()?.to_owned().into() },
        10.. => return None,
    })
}
