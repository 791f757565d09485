//! The relay as one shard sees it: sessions, their ports, and what is reported of them.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use call::{
    DirectionStats, Engine, MediaId, MediaOrder, MediaReport, PortPair, RemoteStream, Side, StreamPorts,
};
use foldhash::{HashMap, HashMapExt};
use sip::Time;
use smallvec::SmallVec;

use crate::ports::{Pair, Ports};
use crate::relay::{Path, PathEnd, ShardState, Shared, SocketError};
use crate::stream::Silence;

/// More m= lines than any call has; each costs four ports.
const MAX_STREAMS: u8 = 16;
/// Ports of other processes that one order steps over before it gives up.
const MAX_TAKEN: usize = 256;

/// One shard's [`Engine`].
pub(crate) struct Handle {
    shared: Arc<Shared>,
    shard: usize,
    ports: Ports,
    sessions: HashMap<MediaId, Session>,
    watched: usize,
    next_look: Time,
}

#[derive(Debug, Default)]
struct Session {
    paths: SmallVec<[Arc<Path>; 1]>,
    /// Of A and B, while silence matters.
    watch: Option<[Silence; 2]>,
}

impl Engine for Handle {
    fn order(&mut self, order: MediaOrder, now: Time, reports: &mut Vec<MediaReport>) {
        match order {
            MediaOrder::Open { session, streams } => reports.push(self.open(session, streams, now)),
            MediaOrder::Describe { session, stream, side, remote } => {
                self.describe(session, stream, side, remote, now);
            }
            MediaOrder::Watch { session, on } => self.watch(session, on, now),
            MediaOrder::Close { session } => reports.push(self.close(session, now)),
        }
    }

    fn poll(&mut self, now: Time, reports: &mut Vec<MediaReport>) {
        // A busy shard calls this for every batch of messages; looking at each session is for once in a while.
        if self.watched == 0 || now < self.next_look {
            return;
        }
        // Half of what the relay thread wakes for: its clock and the shard's need not agree to the microsecond.
        self.next_look = now + self.shared.look_interval() / 2;
        let timeout = self.shared.config.timeout;
        for (&id, session) in &mut self.sessions {
            let Some(watch) = session.watch.as_mut() else { continue };
            for (side, silence) in [Side::A, Side::B].into_iter().zip(watch) {
                let (expected, heard) = hearing(&session.paths, side);
                if silence.look(expected, heard, now, timeout) {
                    reports.push(MediaReport::Silent { session: id, side });
                }
            }
        }
    }

    fn ports_in_use(&self) -> usize {
        self.ports.in_use() * 2
    }
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, shard: usize) -> Handle {
        let pairs = shared.plan.share(shard as u32, shared.shards.len() as u32);
        let ports = Ports::new(pairs, shared.config.quarantine, RandomState::new().hash_one(shard));
        Handle { shared, shard, ports, sessions: HashMap::new(), watched: 0, next_look: Time::ZERO }
    }

    fn open(&mut self, id: MediaId, streams: u8, now: Time) -> MediaReport {
        let have = self.sessions.get(&id).map_or(0, |session| session.paths.len());
        let report = match self.more_paths(usize::from(streams), have, now) {
            Ok(more) => {
                let session = match self.sessions.entry(id) {
                    Entry::Occupied(open) => open.into_mut(),
                    Entry::Vacant(free) => {
                        self.shared.shards[self.shard].opened.fetch_add(1, Relaxed);
                        free.insert(Session::default())
                    }
                };
                session.paths.extend(more);
                MediaReport::Opened {
                    session: id,
                    address: self.shared.config.advertise,
                    streams: session.paths.iter().map(|path| self.shared.ports(path)).collect(),
                }
            }
            Err(why) => {
                self.state().refused.fetch_add(1, Relaxed);
                MediaReport::Refused { session: id, why: why.into() }
            }
        };
        self.publish_ports();
        report
    }

    /// All the streams that are missing, or none.
    fn more_paths(
        &mut self,
        wanted: usize,
        have: usize,
        now: Time,
    ) -> Result<SmallVec<[Arc<Path>; 1]>, &'static str> {
        if wanted > usize::from(MAX_STREAMS) {
            return Err("more streams than a session may have");
        }
        let mut paths: SmallVec<[Arc<Path>; 1]> = SmallVec::new();
        for _ in have..wanted {
            match self.path(now) {
                Ok(path) => paths.push(path),
                Err(why) => {
                    for path in &paths {
                        self.detach(path);
                        self.ports.put_back(path.a.pair);
                        self.ports.put_back(path.b.pair);
                    }
                    return Err(why);
                }
            }
        }
        Ok(paths)
    }

    /// One stream: two pairs of ports with their RTP sockets, put into their slots.
    fn path(&mut self, now: Time) -> Result<Arc<Path>, &'static str> {
        let a = self.end(now)?;
        let b = match self.end(now) {
            Ok(b) => b,
            Err(why) => {
                self.ports.put_back(a.pair);
                return Err(why);
            }
        };
        let path = Arc::new(Path::new(self.shard, a, b));
        for side in [Side::A, Side::B] {
            if let Some(mut slot) = self.shared.slot(path.end(side).pair) {
                slot.user = Some((Arc::clone(&path), side));
            }
        }
        Ok(path)
    }

    /// A pair of ports with its RTP socket. Steps over ports that other processes hold.
    fn end(&mut self, now: Time) -> Result<PathEnd, &'static str> {
        for _ in 0..MAX_TAKEN {
            let pair = self.ports.take(now).ok_or("every media port is in use or in quarantine")?;
            let Some(mut slot) = self.shared.slot(pair) else { continue };
            match slot.open_rtp(&self.shared, self.shard, pair) {
                Ok(rtp) => {
                    let rtcp = slot.rtcp.clone().map_or_else(OnceLock::new, OnceLock::from);
                    return Ok(PathEnd { pair, rtp, rtcp });
                }
                Err(SocketError::Taken) => self.ports.rest(pair, now),
                Err(SocketError::Exhausted) => {
                    self.ports.put_back(pair);
                    return Err("no file descriptors are left for media");
                }
                Err(SocketError::System(error)) => {
                    self.ports.put_back(pair);
                    tracing::warn!(address = %self.shared.config.address, %error, "cannot open a media port");
                    return Err("the system refused a media port");
                }
            }
        }
        Err("other processes hold the media ports")
    }

    fn describe(&mut self, id: MediaId, stream: u8, side: Side, remote: Option<RemoteStream>, now: Time) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(path) = session.paths.get(usize::from(stream)) else { return };
        let remote = remote.map(|remote| self.shared.config.seen_inside(remote));
        let changed = {
            let mut state = path.state();
            let changed = state.describe(side, remote);
            path.disconnect(side, &mut state);
            changed
        };
        // A refresh with the same description must not put off the report of silence.
        if changed {
            for silence in session.watch.iter_mut().flatten() {
                silence.restart(now);
            }
        }
    }

    fn watch(&mut self, id: MediaId, on: bool, now: Time) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let was = session.watch.is_some();
        session.watch =
            on.then(|| [Side::A, Side::B].map(|side| Silence::new(hearing(&session.paths, side).1, now)));
        match (was, on) {
            (false, true) => {
                self.watched += 1;
                self.shared.watch(self.shard);
            }
            (true, false) => self.unwatch(),
            (true, true) | (false, false) => {}
        }
    }

    fn close(&mut self, id: MediaId, now: Time) -> MediaReport {
        let mut from_a = DirectionStats::default();
        let mut from_b = DirectionStats::default();
        // A session that was refused is closed like any other: there is nothing to count.
        if let Some(session) = self.sessions.remove(&id) {
            for path in &session.paths {
                self.detach(path);
                let (a, b) = path.close();
                add(&mut from_a, a);
                add(&mut from_b, b);
                self.ports.rest(path.a.pair, now);
                self.ports.rest(path.b.pair, now);
            }
            if session.watch.is_some() {
                self.unwatch();
            }
            self.state().closed.fetch_add(1, Relaxed);
            self.publish_ports();
        }
        MediaReport::Closed { session: id, from_a, from_b }
    }

    /// Takes a stream out of its slots: what arrives there now belongs to no call.
    fn detach(&self, path: &Path) {
        for side in [Side::A, Side::B] {
            if let Some(mut slot) = self.shared.slot(path.end(side).pair) {
                slot.release(&self.shared, self.shard);
            }
        }
    }

    fn unwatch(&mut self) {
        self.watched -= 1;
        self.shared.unwatch(self.shard);
    }

    fn publish_ports(&self) {
        self.state().ports_in_use.store(self.ports_in_use(), Relaxed);
    }

    fn state(&self) -> &ShardState {
        &self.shared.shards[self.shard]
    }
}

impl Drop for Handle {
    /// A shard that goes takes its sessions along; they count as closed.
    fn drop(&mut self) {
        let open: Vec<MediaId> = self.sessions.keys().copied().collect();
        for id in open {
            self.close(id, Time::ZERO);
        }
    }
}

impl Shared {
    fn ports(&self, path: &Path) -> StreamPorts {
        let ports = |pair: Pair| {
            let rtp = self.plan.rtp_port(pair);
            PortPair { rtp, rtcp: rtp + 1 }
        };
        StreamPorts { a: ports(path.a.pair), b: ports(path.b.pair) }
    }
}

/// Whether any stream should bring something from `side`, and what all of them have brought: a call whose audio goes on
/// is not silent because its video stands still.
fn hearing(paths: &[Arc<Path>], side: Side) -> (bool, u64) {
    paths.iter().fold((false, 0), |(expected, heard), path| {
        let stream = path.state();
        (expected || stream.expects(side), heard + stream.heard(side))
    })
}

/// Adds a stream's counters to its session's. Jitters do not add up: the worst counts.
fn add(sum: &mut DirectionStats, stream: DirectionStats) {
    sum.packets += stream.packets;
    sum.octets += stream.octets;
    sum.lost += stream.lost;
    sum.jitter_ms = sum.jitter_ms.max(stream.jitter_ms);
    sum.dropped += stream.dropped;
}
