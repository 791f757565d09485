//! Inputs and what they found outside, between the Core's types and the lines of a file. Every type is taken apart by
//! name, so that a new field cannot be forgotten here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use call::journal::{Fact, Keys, Ordered, Owner, Stimulus};
use call::{
    Addresses, Deaf, Digit, DirectionStats, MediaId, MediaReport, NextHop, PortPair, QueryId, SendToken,
    Side, Speech, SrtpUse, StreamPorts,
};
use routing::{Decision, Fork, Plan, Refusal, Tags, Target, TrunkId};
use sip::Transport;

use crate::format::{
    Bytes, CountersLine, InputLine, KeysLine, OrderLine, OwnerLine, ServerLine, SideLine, TargetLine, hex,
    unhex,
};

pub(crate) fn input_line(stimulus: &Stimulus<'_>) -> InputLine {
    match stimulus {
        Stimulus::Message { flow, bytes } => {
            InputLine::Message { from: (*flow).into(), message: Bytes::of(bytes) }
        }
        Stimulus::Closed { flow, owner } => {
            InputLine::Closed { connection: (*flow).into(), of: owner_line(*owner) }
        }
        Stimulus::Undeliverable { token } => InputLine::Undeliverable { token: token.0 },
        Stimulus::Routed { query, decision: Decision::Route(plan) } => {
            let Plan { route, targets, failover, fork, record, tags } = plan;
            let targets = targets.iter().map(|target| match target {
                Target::Trunk { trunk, peer } => TargetLine::Trunk { trunk: trunk.0, peer: *peer as u64 },
                Target::User { name } => TargetLine::User { name: name.clone() },
            });
            InputLine::Routed {
                query: query.0,
                route: route.clone(),
                targets: targets.collect(),
                failover: failover.to_vec(),
                parallel: match fork {
                    Fork::Serial => false,
                    Fork::Parallel => true,
                },
                record: *record,
                tags: tag_lines(tags),
            }
        }
        Stimulus::Routed { query, decision: Decision::Refuse(refusal) } => {
            let Refusal { status, why, blocked, route, phrase, tags, trunk } = refusal.clone();
            let (tags, trunk) = (tag_lines(&tags), trunk.map(|trunk| trunk.0));
            InputLine::Refused { query: query.0, status, why, blocked, route, phrase, tags, trunk }
        }
        Stimulus::Resolved { query, hops, note } => {
            let server = |&NextHop { address, transport }: &NextHop| ServerLine {
                address,
                transport: transport.as_param().to_owned(),
            };
            InputLine::Resolved {
                query: query.0,
                servers: hops.iter().map(server).collect(),
                note: note.as_deref().map(str::to_owned),
            }
        }
        Stimulus::Media(report) => report_line(report),
        Stimulus::Restore { state, attempts } => {
            InputLine::Restored { state: hex(state), attempts: *attempts }
        }
        Stimulus::Timer(owner) => InputLine::Timer { of: owner_line(*owner) },
        Stimulus::Order { call, order } => InputLine::Operator {
            call: *call,
            order: match order {
                Ordered::HangUp => OrderLine::HangUp,
                Ordered::EndAll => OrderLine::EndAll,
                Ordered::Abandon => OrderLine::Abandon,
                Ordered::Record => OrderLine::Record,
                Ordered::StopRecording => OrderLine::StopRecording,
            },
        },
    }
}

/// The input of a line; `message` holds its bytes if it is one, or the state of a restored call.
pub(crate) fn stimulus<'a>(line: &InputLine, message: &'a [u8]) -> Option<Stimulus<'a>> {
    Some(match line {
        InputLine::Message { from, message: _ } => Stimulus::Message { flow: (*from).into(), bytes: message },
        InputLine::Closed { connection, of } => {
            Stimulus::Closed { flow: (*connection).into(), owner: owner(*of) }
        }
        InputLine::Undeliverable { token } => Stimulus::Undeliverable { token: SendToken(*token) },
        InputLine::Routed { query, route, targets, failover, parallel, record, tags: lines } => {
            let targets = targets.iter().map(|target| {
                Some(match target {
                    TargetLine::Trunk { trunk, peer } => {
                        Target::Trunk { trunk: TrunkId(*trunk), peer: usize::try_from(*peer).ok()? }
                    }
                    TargetLine::User { name } => Target::User { name: name.clone() },
                })
            });
            let plan = Plan {
                route: route.clone(),
                targets: targets.collect::<Option<_>>()?,
                failover: failover.as_slice().into(),
                fork: if *parallel { Fork::Parallel } else { Fork::Serial },
                record: *record,
                tags: tags(lines),
            };
            Stimulus::Routed { query: QueryId(*query), decision: Decision::Route(plan) }
        }
        InputLine::Refused { query, status, why, blocked, route, phrase, tags: lines, trunk } => {
            let (route, phrase) = (route.clone(), phrase.clone());
            let refusal = Refusal {
                status: *status,
                why: why.clone(),
                blocked: *blocked,
                route,
                phrase,
                tags: tags(lines),
                trunk: trunk.map(TrunkId),
            };
            Stimulus::Routed { query: QueryId(*query), decision: Decision::Refuse(refusal) }
        }
        InputLine::Resolved { query, servers, note } => {
            let hop = |ServerLine { address, transport }: &ServerLine| {
                let transport = Transport::parse(transport.as_bytes())?;
                Some(NextHop { address: *address, transport })
            };
            Stimulus::Resolved {
                query: QueryId(*query),
                hops: servers.iter().map(hop).collect::<Option<_>>()?,
                note: note.as_deref().map(Box::from),
            }
        }
        InputLine::Opened { session, address, address6, ports } => Stimulus::Media(MediaReport::Opened {
            session: MediaId(*session),
            addresses: address6.iter().fold((*address).into(), |all, six| all.with((*six).into())),
            streams: ports
                .iter()
                .map(|&[a, a_rtcp, b, b_rtcp]| StreamPorts {
                    a: PortPair { rtp: a, rtcp: a_rtcp },
                    b: PortPair { rtp: b, rtcp: b_rtcp },
                })
                .collect(),
        }),
        InputLine::NoPorts { session, why } => {
            Stimulus::Media(MediaReport::Refused { session: MediaId(*session), why: why.clone().into() })
        }
        InputLine::NotListening { session, why } => {
            Stimulus::Media(MediaReport::NotListening { session: MediaId(*session), why: why.clone().into() })
        }
        InputLine::RecordingEnded { session, why } => Stimulus::Media(MediaReport::RecordingEnded {
            session: MediaId(*session),
            why: why.clone().into(),
        }),
        InputLine::NotRecording { session, why } => {
            Stimulus::Media(MediaReport::NotRecording { session: MediaId(*session), why: why.clone().into() })
        }
        InputLine::Silent { session, side } => {
            Stimulus::Media(MediaReport::Silent { session: MediaId(*session), side: (*side).into() })
        }
        InputLine::OneWay { session, side, deaf } => Stimulus::Media(MediaReport::OneWay {
            session: MediaId(*session),
            side: (*side).into(),
            deaf: Deaf::parse(deaf)?,
        }),
        InputLine::Digit { session, side, digit, millis } => Stimulus::Media(MediaReport::Digit {
            session: MediaId(*session),
            side: (*side).into(),
            digit: Digit::of_symbol(digit.encode_utf8(&mut [0; 4]), *millis)?,
        }),
        InputLine::Counted { session, from_a, from_b } => Stimulus::Media(MediaReport::Closed {
            session: MediaId(*session),
            from_a: counters(from_a),
            from_b: counters(from_b),
        }),
        InputLine::CountedSoFar { session, from_a, from_b } => Stimulus::Media(MediaReport::Counted {
            session: MediaId(*session),
            from_a: counters(from_a),
            from_b: counters(from_b),
        }),
        InputLine::Restored { state: _, attempts } => {
            Stimulus::Restore { state: message, attempts: *attempts }
        }
        InputLine::Timer { of } => Stimulus::Timer(owner(*of)),
        InputLine::Operator { call, order } => Stimulus::Order {
            call: *call,
            order: match order {
                OrderLine::HangUp => Ordered::HangUp,
                OrderLine::EndAll => Ordered::EndAll,
                OrderLine::Abandon => Ordered::Abandon,
                OrderLine::Record => Ordered::Record,
                OrderLine::StopRecording => Ordered::StopRecording,
            },
        },
    })
}

fn report_line(report: &MediaReport) -> InputLine {
    match report {
        MediaReport::Opened { session, addresses: Addresses { v4, v6 }, streams } => InputLine::Opened {
            session: session.0,
            address: v4.map(IpAddr::V4).or(v6.map(IpAddr::V6)).unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            address6: v6.filter(|_| v4.is_some()),
            ports: streams
                .iter()
                .map(|StreamPorts { a, b }| {
                    let (PortPair { rtp: a, rtcp: a_rtcp }, PortPair { rtp: b, rtcp: b_rtcp }) = (a, b);
                    [*a, *a_rtcp, *b, *b_rtcp]
                })
                .collect(),
        },
        MediaReport::Refused { session, why } => {
            InputLine::NoPorts { session: session.0, why: why.to_string() }
        }
        MediaReport::NotListening { session, why } => {
            InputLine::NotListening { session: session.0, why: why.to_string() }
        }
        MediaReport::RecordingEnded { session, why } => {
            InputLine::RecordingEnded { session: session.0, why: why.to_string() }
        }
        MediaReport::NotRecording { session, why } => {
            InputLine::NotRecording { session: session.0, why: why.to_string() }
        }
        MediaReport::Silent { session, side } => {
            InputLine::Silent { session: session.0, side: (*side).into() }
        }
        MediaReport::OneWay { session, side, deaf } => {
            InputLine::OneWay { session: session.0, side: (*side).into(), deaf: deaf.to_string() }
        }
        MediaReport::Digit { session, side, digit } => InputLine::Digit {
            session: session.0,
            side: (*side).into(),
            digit: digit.symbol(),
            millis: digit.millis,
        },
        MediaReport::Counted { session, from_a, from_b } => InputLine::CountedSoFar {
            session: session.0,
            from_a: counters_line(*from_a),
            from_b: counters_line(*from_b),
        },
        MediaReport::Closed { session, from_a, from_b } => InputLine::Counted {
            session: session.0,
            from_a: counters_line(*from_a),
            from_b: counters_line(*from_b),
        },
    }
}

fn counters_line(stats: DirectionStats) -> CountersLine {
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
    CountersLine {
        packets,
        octets,
        lost,
        jitter_ms,
        dropped,
        reordered,
        duplicates,
        speech_packets: speech.map(|speech| speech.packets),
        speech_lost: speech.map(|speech| speech.lost),
        round_trip_ms,
        first_media_ms,
        moves,
        deaf: deaf.map(|deaf| deaf.to_string()),
        srtp: srtp.map(|srtp| srtp.to_string()),
    }
}

fn counters(line: &CountersLine) -> DirectionStats {
    let CountersLine {
        packets,
        octets,
        lost,
        jitter_ms,
        dropped,
        reordered,
        duplicates,
        speech_packets,
        speech_lost,
        round_trip_ms,
        first_media_ms,
        moves,
        deaf,
        srtp,
    } = line;
    DirectionStats {
        packets: *packets,
        octets: *octets,
        lost: *lost,
        jitter_ms: *jitter_ms,
        dropped: *dropped,
        reordered: *reordered,
        duplicates: *duplicates,
        speech: speech_packets.zip(*speech_lost).map(|(packets, lost)| Speech { packets, lost }),
        round_trip_ms: *round_trip_ms,
        first_media_ms: *first_media_ms,
        moves: *moves,
        deaf: deaf.as_deref().and_then(Deaf::parse),
        srtp: srtp.as_deref().and_then(SrtpUse::parse),
    }
}

impl From<SideLine> for Side {
    fn from(line: SideLine) -> Side {
        match line {
            SideLine::A => Side::A,
            SideLine::B => Side::B,
        }
    }
}

impl From<Side> for SideLine {
    fn from(side: Side) -> SideLine {
        match side {
            Side::A => SideLine::A,
            Side::B => SideLine::B,
        }
    }
}

fn owner_line(owner: Owner) -> OwnerLine {
    match owner {
        Owner::Client(key) => OwnerLine::Client(key),
        Owner::Server(key) => OwnerLine::Server(key),
        Owner::Leg(key) => OwnerLine::Leg(key),
        Owner::Call(key) => OwnerLine::Call(key),
    }
}

fn owner(line: OwnerLine) -> Owner {
    match line {
        OwnerLine::Client(key) => Owner::Client(key),
        OwnerLine::Server(key) => Owner::Server(key),
        OwnerLine::Leg(key) => Owner::Leg(key),
        OwnerLine::Call(key) => Owner::Call(key),
    }
}

pub(crate) fn fact_line(fact: &Fact) -> String {
    match fact {
        Fact::Number(number) => format!("{number:016x}"),
        Fact::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("text:{text}"),
            Err(_) => format!("hex:{}", hex(bytes)),
        },
    }
}

pub(crate) fn fact(line: &str) -> Option<Fact> {
    if let Some(text) = line.strip_prefix("text:") {
        return Some(Fact::Text(text.as_bytes().into()));
    }
    match line.strip_prefix("hex:") {
        Some(digits) => Some(Fact::Text(unhex(digits)?.into())),
        None => u64::from_str_radix(line, 16).ok().map(Fact::Number),
    }
}

pub(crate) fn keys_line(Keys { calls, legs, clients, servers }: &Keys) -> KeysLine {
    KeysLine { calls: calls.clone(), legs: legs.clone(), clients: clients.clone(), servers: servers.clone() }
}

pub(crate) fn keys(KeysLine { calls, legs, clients, servers }: &KeysLine) -> Keys {
    Keys { calls: calls.clone(), legs: legs.clone(), clients: clients.clone(), servers: servers.clone() }
}

/// Names with a value each, as a line has them.
pub(crate) fn tag_lines(tags: &Option<Arc<Tags>>) -> BTreeMap<String, String> {
    let pairs = tags.iter().flat_map(|tags| tags.iter());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(crate) fn tags(lines: &BTreeMap<String, String>) -> Option<Arc<Tags>> {
    Tags::kept(lines.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
