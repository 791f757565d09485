//! Whether the peers of trunks are alive: OPTIONS now and then to each peer of a trunk with `options_ping` (RFC 3261 §11).
//!
//! Any answer is a sign of life, a refusal too; 408 and 503 come from somebody who cannot reach the peer, or from a peer
//! that wants no calls. One miss is an accident, two are a state; one answer ends it.
//!
//! ```text
//!   Unknown, Up ──2 misses──▶ Down ──answer──▶ Up
//!   Unknown, Up, Down ──503 with Retry-After──▶ Aside ──in its time, answer──▶ Up
//! ```
//!
//! Nothing here is of a call, so nothing of it is in a journal. What is found out goes to the shell, which passes peers over
//! that are away as long as a route has others.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::VecDeque;
use std::time::Duration;

use sip::{Message, Method, Time, Writer};
use slotmap::{SlotMap, new_key_type};

use crate::bridge::Reach;
use crate::core::Core;
use crate::headers::{advertised_host, contact, is_sips};
use crate::io::{Flow, NextHop, Now, Output, PeerChange, PeerLife, PeerState, QueryId};
use crate::leg::{retry_after, via};
use crate::timers::TimerOf;
use crate::wire::{ClientKey, ClientUser};

/// How long a peer may take to answer: T1 and its repetitions up to four seconds.
const ANSWER: Duration = Duration::from_secs(5);
/// A name stands for more servers than this only by mistake or malice.
const MAX_SERVERS: usize = 8;
/// So many pings without an answer make a peer down.
const MISSES: u8 = 2;
/// No peer is left alone for longer, whatever its Retry-After says.
const LONGEST_ASIDE: Duration = Duration::from_secs(3600);

new_key_type! {
    /// A peer that is asked for life.
    pub(crate) struct PingKey;
}

/// The peers that are asked, of all trunks.
#[derive(Default)]
pub(crate) struct Pings {
    /// One shard of a process asks, the others do not.
    is_on: bool,
    peers: SlotMap<PingKey, Peer>,
}

struct Peer {
    trunk: Box<str>,
    uri: Box<str>,
    /// The listener that the trunk is bound to.
    listener: Option<Box<str>>,
    interval: Duration,
    ping: Ping,
    /// Where else its name led, for this question; asked when the servers before them do not answer.
    others: VecDeque<Flow>,
    life: PeerLife,
    misses: u8,
    /// When it is asked next.
    due: Time,
    armed: Option<Time>,
}

/// The question that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    None,
    /// The peer's name is being looked up.
    Resolving {
        query: QueryId,
    },
    /// The peer has it.
    Sent {
        client: ClientKey,
        at: Time,
    },
}

/// What came of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Alive {
        status: u16,
        took: Duration,
    },
    /// Not before the time that it wants.
    PutOff {
        status: u16,
        left: Duration,
    },
    /// Nothing, or a status of somebody who speaks for it; 0: nothing.
    Missed {
        status: u16,
    },
}

impl Core {
    /// Asks the peers of trunks for life from now on, as the configuration says. For one shard of a process.
    pub fn watch_peers(&mut self, now: Now) {
        self.pings.is_on = true;
        self.follow_peers(now);
    }

    /// Another configuration: peers that stay keep their state.
    pub(crate) fn follow_peers(&mut self, now: Now) {
        if !self.pings.is_on {
            return;
        }
        let snapshot = self.snapshot.clone();
        let mut kept = Vec::new();
        for trunk in snapshot.trunks() {
            let Some(interval) = trunk.options_ping else { continue };
            for uri in &trunk.peers {
                let is_it = |peer: &Peer| *peer.trunk == *trunk.name && *peer.uri == **uri;
                let known = self.pings.peers.iter().find(|(_, peer)| is_it(peer)).map(|(key, _)| key);
                let key = known.unwrap_or_else(|| self.begin_watch(&trunk.name, uri, interval, now));
                if let Some(peer) = self.pings.peers.get_mut(key) {
                    peer.listener = trunk.listener.as_deref().map(Box::from);
                    if peer.interval != interval {
                        peer.interval = interval;
                        peer.due = peer.due.min(now.time + interval);
                    }
                }
                self.arm_ping(key);
                kept.push(key);
            }
        }
        let gone: Vec<PingKey> = self.pings.peers.keys().filter(|key| !kept.contains(key)).collect();
        gone.into_iter().for_each(|key| self.end_watch(key));
        self.clear_notes();
    }

    /// The first ping comes at any time within the interval, so that the peers of a large configuration do not have theirs
    /// at one moment.
    fn begin_watch(&mut self, trunk: &str, uri: &str, interval: Duration, now: Now) -> PingKey {
        let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
        let jitter = Duration::from_micros(self.wire.ids.random() % micros);
        let life = PeerLife {
            state: PeerState::Unknown,
            since: now.utc,
            answered_at: None,
            round_trip: None,
            status: 0,
        };
        let key = self.pings.peers.insert(Peer {
            trunk: trunk.into(),
            uri: uri.into(),
            listener: None,
            interval,
            ping: Ping::None,
            others: VecDeque::new(),
            life,
            misses: 0,
            due: now.time + jitter,
            armed: None,
        });
        self.tell_of_peer(key);
        key
    }

    fn end_watch(&mut self, key: PingKey) {
        self.give_up_ping(key);
        let Some(mut peer) = self.pings.peers.remove(key) else { return };
        self.wire.timers.set(TimerOf::Ping(key), &mut peer.armed, None);
        let change = PeerChange { trunk: peer.trunk, peer: peer.uri, life: None };
        self.wire.outputs.push_back(Output::Peer(Box::new(change)));
    }

    /// It is time to ask.
    pub(crate) fn on_ping_due(&mut self, key: PingKey, now: Now) {
        let Some(peer) = self.pings.peers.get_mut(key) else { return };
        peer.armed = None;
        peer.due = now.time + peer.interval;
        peer.others.clear();
        // Nobody told in all this time what came of the last one.
        if peer.ping != Ping::None {
            self.give_up_ping(key);
            self.on_ping_outcome(key, Outcome::Missed { status: 0 }, now);
        }
        let Some(peer) = self.pings.peers.get(key) else { return };
        match self.peer_candidate(&peer.uri, peer.listener.as_deref(), None, false).map(|peer| peer.reach) {
            Some(Reach::Flow { flow, .. }) => self.ping(key, flow, now),
            Some(Reach::Name { host, port, transport, secure }) => {
                let query = self.queries.ask(key);
                let draw = self.wire.ids.random();
                if let Some(peer) = self.pings.peers.get_mut(key) {
                    peer.ping = Ping::Resolving { query };
                }
                let question = Output::Resolve { query, host, port, transport, secure, draw };
                self.wire.outputs.push_back(question);
            }
            None => self.on_ping_outcome(key, Outcome::Missed { status: 0 }, now),
        }
        self.arm_ping(key);
        self.clear_notes();
    }

    /// The peer's name stands for these servers: it is alive as long as one of them is (RFC 3263 §4.3).
    pub(crate) fn on_ping_resolved(&mut self, key: PingKey, hops: &[NextHop], now: Now) {
        let Some(peer) = self.pings.peers.get_mut(key) else { return };
        peer.ping = Ping::None;
        let by = peer.listener.clone();
        let reached = |hop: &NextHop| {
            let flow = self.flow_to(hop.address, hop.transport, by.as_deref())?;
            self.is_of_family(flow).then_some(flow)
        };
        let others: VecDeque<Flow> = hops.iter().filter_map(reached).take(MAX_SERVERS).collect();
        if let Some(peer) = self.pings.peers.get_mut(key) {
            peer.others = others;
        }
        self.ping_next(key, Outcome::Missed { status: 0 }, now);
    }

    /// The next server that the name stands for is asked; after the last one, this is what came of it.
    fn ping_next(&mut self, key: PingKey, outcome: Outcome, now: Now) {
        let Some(peer) = self.pings.peers.get_mut(key) else { return };
        match (outcome, peer.others.pop_front()) {
            (Outcome::Missed { .. }, Some(flow)) => self.ping(key, flow, now),
            (Outcome::Missed { .. }, None) | (Outcome::Alive { .. } | Outcome::PutOff { .. }, _) => {
                self.on_ping_outcome(key, outcome, now);
            }
        }
    }

    fn ping(&mut self, key: PingKey, flow: Flow, now: Now) {
        let Some(peer) = self.pings.peers.get(key) else { return };
        let by = peer.listener.as_deref();
        let Some(candidate) = self.peer_candidate(&peer.uri, by, None, false) else { return };
        // All of a name's servers are asked before it is time to ask again.
        let servers = u32::try_from(peer.others.len()).unwrap_or(u32::MAX).saturating_add(1);
        let limit = now.time + ANSWER.min(peer.due.since(now.time) / servers);
        let tag = format!("{:016x}", self.wire.ids.random());
        let call_id = self.wire.ids.call_id();
        let (client, branch) = self.wire.prepare(Method::Options, ClientUser::Ping(key), flow, now);
        let listener = self.wire.listener(flow.listener);
        let mut writer = Writer::request(b"OPTIONS", &candidate.uri);
        via(&mut writer, listener, &branch);
        writer.number("Max-Forwards", 70);
        let host = advertised_host(listener).as_bytes();
        writer.parts("From", &[b"<sip:drawbridge@", host, b">;tag=", tag.as_bytes()]);
        writer.parts("To", &[b"<", &candidate.to, b">"]);
        writer.header("Call-ID", call_id.as_bytes());
        writer.header("CSeq", b"1 OPTIONS");
        contact(&mut writer, listener, is_sips(&candidate.uri));
        writer.header("Accept", b"application/sdp");
        writer.header("User-Agent", self.wire.settings.product.as_bytes());
        self.wire.limit(client, limit);
        if let Some(peer) = self.pings.peers.get_mut(key) {
            peer.ping = Ping::Sent { client, at: now.time };
        }
        self.wire.launch(client, writer.finish(), now);
    }

    pub(crate) fn on_ping_response(
        &mut self,
        key: PingKey,
        client: ClientKey,
        response: &Message<'_>,
        now: Now,
    ) {
        let status = response.status().unwrap_or(500);
        let Some(peer) = self.pings.peers.get_mut(key) else { return };
        let Ping::Sent { client: awaited, at } = peer.ping else { return };
        if status < 200 || awaited != client {
            return;
        }
        peer.ping = Ping::None;
        let outcome = match (status, retry_after(response)) {
            (503, Some(seconds)) => Outcome::PutOff { status, left: Duration::from_secs(seconds) },
            (408 | 503, _) => Outcome::Missed { status },
            (_, _) => Outcome::Alive { status, took: now.time.since(at) },
        };
        self.ping_next(key, outcome, now);
    }

    /// No answer came in time, or the ping could not be sent.
    pub(crate) fn on_ping_unanswered(&mut self, key: PingKey, now: Now) {
        if let Some(peer) = self.pings.peers.get_mut(key) {
            peer.ping = Ping::None;
            self.ping_next(key, Outcome::Missed { status: 0 }, now);
        }
    }

    fn on_ping_outcome(&mut self, key: PingKey, outcome: Outcome, now: Now) {
        let Some(peer) = self.pings.peers.get_mut(key) else { return };
        let status = match outcome {
            Outcome::Alive { status, took } => {
                (peer.life.answered_at, peer.life.round_trip) = (Some(now.utc), Some(took));
                status
            }
            Outcome::PutOff { status, left } => {
                peer.life.answered_at = Some(now.utc);
                peer.due = now.time + left.clamp(peer.interval, LONGEST_ASIDE.max(peer.interval));
                status
            }
            Outcome::Missed { status } => status,
        };
        peer.life.status = status;
        let before = peer.life.state;
        (peer.life.state, peer.misses) = judge(before, peer.misses, outcome);
        if before != peer.life.state {
            peer.life.since = now.utc;
        }
        self.arm_ping(key);
        self.tell_of_peer(key);
    }

    fn give_up_ping(&mut self, key: PingKey) {
        let Some(peer) = self.pings.peers.get_mut(key) else { return };
        match std::mem::replace(&mut peer.ping, Ping::None) {
            Ping::None => {}
            Ping::Resolving { query } => self.queries.forget(query),
            Ping::Sent { client, .. } => self.wire.abandon(client),
        }
    }

    fn arm_ping(&mut self, key: PingKey) {
        if let Some(peer) = self.pings.peers.get_mut(key) {
            let due = Some(peer.due);
            self.wire.timers.set(TimerOf::Ping(key), &mut peer.armed, due);
        }
    }

    fn tell_of_peer(&mut self, key: PingKey) {
        let Some(peer) = self.pings.peers.get(key) else { return };
        let (trunk, uri) = (peer.trunk.clone(), peer.uri.clone());
        let change = PeerChange { trunk, peer: uri, life: Some(peer.life.clone()) };
        self.wire.outputs.push_back(Output::Peer(Box::new(change)));
    }
}

/// The state and the count of misses after a ping.
fn judge(state: PeerState, misses: u8, outcome: Outcome) -> (PeerState, u8) {
    match (state, outcome) {
        (_, Outcome::Alive { .. }) => (PeerState::Up, 0),
        (_, Outcome::PutOff { .. }) => (PeerState::Aside, 0),
        (PeerState::Down, Outcome::Missed { .. }) => (PeerState::Down, misses),
        (PeerState::Unknown | PeerState::Up | PeerState::Aside, Outcome::Missed { .. }) => {
            let misses = misses.saturating_add(1);
            (if misses >= MISSES { PeerState::Down } else { state }, misses)
        }
    }
}
