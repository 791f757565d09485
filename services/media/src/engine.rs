//! The relay as one shard sees it: sessions, their ports, and what is reported of them.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use call::{
    Deaf, DirectionStats, Engine, Family, MediaId, MediaOrder, MediaReport, PortPair, Protection,
    RemoteStream, Side, StreamPorts,
};
use foldhash::{HashMap, HashMapExt};
use sip::Time;
use smallvec::{SmallVec, smallvec};

use crate::ports::{At, Pair, Ports};
use crate::recording::Cut;
use crate::relay::{Path, PathEnd, ShardState, Shared, SocketError};
use crate::stream::{Agreed, Limit, Silence, Stream};

/// More m= lines than any call has; each costs four ports.
const MAX_STREAMS: u8 = 16;
/// Ports of other processes that one order steps over before it gives up.
const MAX_TAKEN: usize = 256;
/// How often streams leave the kernel because routes change: they need most of a second to go back.
const REROUTE_INTERVAL: Duration = Duration::from_secs(1);

/// One shard's [`Engine`].
pub(crate) struct Handle {
    shared: Arc<Shared>,
    shard: usize,
    ports: Ports,
    sessions: HashMap<MediaId, Session>,
    watched: usize,
    next_look: Time,
    /// The routes of the host as of the last look.
    routes: u64,
    next_reroute: Time,
}

#[derive(Debug, Default)]
struct Session {
    paths: SmallVec<[Arc<Path>; 1]>,
    /// Of A and B, while silence matters.
    watch: Option<[Watched; 2]>,
    /// The stream that is recorded.
    recorded: Option<u8>,
}

impl Session {
    /// Copies nothing any more for a recording; whether it did.
    fn untap(&mut self, id: MediaId) -> bool {
        let Some(stream) = self.recorded.take() else { return false };
        if let Some(path) = self.paths.get(usize::from(stream)) {
            path.state().tap(id, false);
        }
        true
    }
}

/// One side of a session whose silence matters.
#[derive(Debug)]
struct Watched {
    silence: Silence,
    /// By stream.
    awaited: SmallVec<[Awaited; 1]>,
}

/// Whether a side is still to be heard in one stream by the terms of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Since(Time),
    /// It was heard, or it was reported that it is not.
    Over,
}

impl Engine for Handle {
    fn order(&mut self, order: MediaOrder, now: Time, reports: &mut Vec<MediaReport>) {
        match order {
            MediaOrder::Open { session, streams, families } => {
                reports.push(self.open(session, streams, families, now));
            }
            MediaOrder::Reopen { session, ports, families } => {
                reports.push(self.reopen(session, &ports, families));
            }
            MediaOrder::Listen { session, side, family } => {
                if let Err(why) = self.listen(session, side, family) {
                    reports.push(MediaReport::NotListening { session, why: why.into() });
                }
            }
            MediaOrder::Describe { session, stream, side, remote, protection } => {
                self.describe(session, stream, side, remote, protection.as_deref(), now);
            }
            MediaOrder::Watch { session, on } => self.watch(session, on, now),
            MediaOrder::TakeDigits { session, stream, side, payload_type } => {
                if let Some(path) = self.path_of(session, stream) {
                    let mut state = path.state();
                    state.take_digits(session, side, payload_type);
                    self.shared.recall(path, &mut state);
                }
            }
            MediaOrder::PlayDigit { session, stream, side, payload_type, digit, seed } => {
                if let Some(path) = self.path_of(session, stream) {
                    let mut state = path.state();
                    state.keep(session);
                    self.shared.recall(path, &mut state);
                    let begins = state.play(session, side, digit, payload_type, seed);
                    drop(state);
                    if begins {
                        self.shared.play(self.shard, path, side);
                    }
                }
            }
            MediaOrder::Transcode { session, stream, codecs } => {
                if let Some(path) = self.path_of(session, stream) {
                    let mut state = path.state();
                    state.transcode(session, codecs);
                    self.shared.recall(path, &mut state);
                }
            }
            MediaOrder::Record { session, stream, name } => self.record(session, stream, name),
            MediaOrder::Count { session } => reports.push(self.count(session)),
            MediaOrder::Close { session } => {
                for path in self.sessions.get(&session).iter().flat_map(|session| &session.paths) {
                    [Side::A, Side::B].into_iter().for_each(|side| path.part_from(side));
                }
                reports.push(self.close(session, now));
            }
        }
    }

    fn poll(&mut self, now: Time, reports: &mut Vec<MediaReport>) {
        self.shared.shards[self.shard].fetch_digits(reports);
        self.fetch_ended(reports);
        // A busy shard calls this for every batch of messages; looking at each session is for once in a while.
        if self.sessions.is_empty() || now < self.next_look {
            return;
        }
        // Half of what the relay thread wakes for: its clock and the shard's need not agree to the microsecond.
        self.next_look = now + self.shared.look_interval() / 2;
        let timeout = self.shared.config.timeout;
        let routes = self.shared.routes();
        let rerouted = self.routes != routes && now >= self.next_reroute;
        if rerouted {
            self.routes = routes;
            self.next_reroute = now + REROUTE_INTERVAL;
        }
        if self.watched == 0 && !rerouted {
            return;
        }
        for (&id, session) in &mut self.sessions {
            if rerouted {
                session.paths.iter().for_each(|path| self.shared.recall_all(path, &mut path.state()));
            }
            let Some(watch) = session.watch.as_mut() else { continue };
            for (side, watched) in [Side::A, Side::B].into_iter().zip(watch) {
                let deaf = look_for(&self.shared, &session.paths, side, &mut watched.awaited, now);
                reports.extend(deaf.map(|deaf| MediaReport::OneWay { session: id, side, deaf }));
                let Hearing { expected, is_mutual, heard } = hearing(&self.shared, &session.paths, side);
                let silence = &mut watched.silence;
                if silence.look(expected, heard, now, is_mutual.then_some(timeout)) {
                    reports.push(MediaReport::Silent { session: id, side });
                }
            }
        }
    }

    fn restored(&mut self) {
        self.shared.end_what_is_left(self.shard);
    }

    fn ports_in_use(&self) -> usize {
        self.ports.in_use() * 2
    }
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, shard: usize) -> Handle {
        let pairs = shared.plan.share(shard as u32, shared.shards.len() as u32);
        let ports = Ports::new(pairs, shared.config.quarantine, RandomState::new().hash_one(shard));
        Handle {
            shared,
            shard,
            ports,
            sessions: HashMap::new(),
            watched: 0,
            next_look: Time::ZERO,
            routes: 0,
            next_reroute: Time::ZERO,
        }
    }

    fn open(&mut self, id: MediaId, streams: u8, families: [Family; 2], now: Time) -> MediaReport {
        let report = match self.more_paths(id, usize::from(streams), families, now) {
            Ok(more) => self.opened(id, more),
            Err(why) => self.refused(id, why),
        };
        self.publish_ports();
        report
    }

    fn opened(&mut self, id: MediaId, more: SmallVec<[Arc<Path>; 1]>) -> MediaReport {
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
            addresses: self.shared.config.advertised(),
            streams: session.paths.iter().map(|path| self.shared.ports(path)).collect(),
        }
    }

    /// The ports that a session had in the process before this one, with sockets of this one.
    fn reopen(&mut self, id: MediaId, ports: &[StreamPorts], families: [Family; 2]) -> MediaReport {
        let mut paths: SmallVec<[Arc<Path>; 1]> = SmallVec::new();
        let mut refusal = (self.sessions.contains_key(&id)).then_some("the session is open already");
        for stream in ports.iter().take(usize::from(MAX_STREAMS)) {
            if refusal.is_some() {
                break;
            }
            match self.path_at(*stream, families) {
                Ok(path) => paths.push(path),
                Err(why) => refusal = Some(why),
            }
        }
        let report = match refusal {
            None => self.opened(id, paths),
            Some(why) => {
                self.let_go(&paths);
                self.refused(id, why)
            }
        };
        self.publish_ports();
        report
    }

    fn refused(&self, id: MediaId, why: &'static str) -> MediaReport {
        self.state().refused.fetch_add(1, Relaxed);
        MediaReport::Refused { session: id, why: why.into() }
    }

    /// Gives a side its ports in a family, for all streams that do not have them there.
    fn listen(&mut self, id: MediaId, side: Side, family: Family) -> Result<(), &'static str> {
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        let Some(at) = self.shared.in_family(family) else { return Ok(()) };
        session.paths.iter().try_for_each(|path| self.twin(path, side, family, at))
    }

    fn twin(&self, path: &Arc<Path>, side: Side, family: Family, at: At) -> Result<(), &'static str> {
        if path.listens(side, family) {
            return Ok(());
        }
        let (pair, _) = self.shared.plan.place(path.end(side).slot);
        let twin = self.shared.end(self.shard, pair, at).map_err(|error| match error {
            // The number is out already: another pair cannot be had in its place.
            SocketError::Taken => "another process holds the port at the address of the other family",
            error @ (SocketError::Exhausted | SocketError::System(_)) => self.shared.refusal(error, at),
        })?;
        let id = twin.slot;
        path.add_twin(side, twin);
        if let Some(mut slot) = self.shared.slot(id) {
            slot.user = Some((Arc::clone(path), side));
        }
        Ok(())
    }

    /// All the streams that are missing, or none.
    fn more_paths(
        &mut self,
        id: MediaId,
        wanted: usize,
        families: [Family; 2],
        now: Time,
    ) -> Result<SmallVec<[Arc<Path>; 1]>, &'static str> {
        if wanted > usize::from(MAX_STREAMS) {
            return Err("more streams than a session may have");
        }
        let before = self.sessions.get(&id).map_or(&[][..], |session| &session.paths);
        let have = before.len();
        // Those who were told of both families are told of more streams in both.
        let also: SmallVec<[(Side, Family); 4]> = before.first().map_or_else(SmallVec::new, |path| {
            let every =
                [Side::A, Side::B].into_iter().flat_map(|side| [(side, Family::V4), (side, Family::V6)]);
            every.filter(|(side, family)| path.listens(*side, *family)).collect()
        });
        let mut paths: SmallVec<[Arc<Path>; 1]> = SmallVec::new();
        for _ in have..wanted {
            let path = self.path(families, now).and_then(|path| {
                paths.push(Arc::clone(&path));
                also.iter().try_for_each(|&(side, family)| {
                    self.shared.in_family(family).map_or(Ok(()), |at| self.twin(&path, side, family, at))
                })
            });
            if let Err(why) = path {
                self.let_go(&paths);
                return Err(why);
            }
        }
        Ok(paths)
    }

    /// One stream: two pairs of ports with their RTP sockets, put into their slots.
    fn path(&mut self, families: [Family; 2], now: Time) -> Result<Arc<Path>, &'static str> {
        let [at_a, at_b] = self.at(families);
        let a = self.end(at_a, now)?;
        let b = match self.end(at_b, now) {
            Ok(b) => b,
            Err(why) => {
                self.ports.put_back(self.shared.plan.place(a.slot).0);
                return Err(why);
            }
        };
        Ok(self.join(a, b))
    }

    /// The same with ports that are named.
    fn path_at(&mut self, ports: StreamPorts, families: [Family; 2]) -> Result<Arc<Path>, &'static str> {
        let [at_a, at_b] = self.at(families);
        let a = self.end_at(ports.a, at_a)?;
        match self.end_at(ports.b, at_b) {
            Ok(b) => Ok(self.join(a, b)),
            Err(why) => {
                self.ports.put_back(self.shared.plan.place(a.slot).0);
                Err(why)
            }
        }
    }

    /// A family that the relay is not in is nobody's to choose: there is one address then.
    fn at(&self, families: [Family; 2]) -> [At; 2] {
        families.map(|family| self.shared.in_family(family).unwrap_or(At::First))
    }

    fn join(&self, a: PathEnd, b: PathEnd) -> Arc<Path> {
        let path = Arc::new(Path::new(self.shard, a, b, Limit::per_second(self.shared.config.rate)));
        for side in [Side::A, Side::B] {
            if let Some(mut slot) = self.shared.slot(path.end(side).slot) {
                slot.user = Some((Arc::clone(&path), side));
            }
        }
        path
    }

    /// This very pair of ports.
    fn end_at(&mut self, ports: PortPair, at: At) -> Result<PathEnd, &'static str> {
        let pair = self.shared.plan.pair_of(ports.rtp).ok_or("the port is not among media.ports")?;
        if !self.ports.take_this(pair) {
            return Err("another call has the port, or another shard of the box");
        }
        self.shared.end(self.shard, pair, at).map_err(|error| {
            self.ports.put_back(pair);
            match error {
                SocketError::Taken => "another process holds the port",
                error @ (SocketError::Exhausted | SocketError::System(_)) => self.shared.refusal(error, at),
            }
        })
    }

    /// Streams that nobody was told of.
    fn let_go(&mut self, paths: &[Arc<Path>]) {
        for path in paths {
            self.detach(path);
            self.pairs(path).into_iter().for_each(|pair| self.ports.put_back(pair));
        }
    }

    /// A pair of ports with its RTP socket. Steps over ports that other processes hold.
    fn end(&mut self, at: At, now: Time) -> Result<PathEnd, &'static str> {
        for _ in 0..MAX_TAKEN {
            let pair = self.ports.take(now).ok_or("every media port is in use or in quarantine")?;
            match self.shared.end(self.shard, pair, at) {
                Ok(end) => return Ok(end),
                Err(SocketError::Taken) => self.ports.rest(pair, now),
                Err(error) => {
                    self.ports.put_back(pair);
                    return Err(self.shared.refusal(error, at));
                }
            }
        }
        Err("other processes hold the media ports")
    }

    fn pairs(&self, path: &Path) -> [Pair; 2] {
        [Side::A, Side::B].map(|side| self.shared.plan.place(path.end(side).slot).0)
    }

    fn describe(
        &mut self,
        id: MediaId,
        stream: u8,
        side: Side,
        remote: Option<RemoteStream>,
        protection: Option<&Protection>,
        now: Time,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(path) = session.paths.get(usize::from(stream)) else { return };
        let remote = remote.map(|remote| self.shared.config.seen_inside(remote));
        if remote.is_none_or(|remote| remote.rtp.port() == 0) {
            path.part_from(side.other());
        }
        let begin = |terms| self.shared.identity.as_ref().and_then(|identity| identity.begin(terms));
        let (Agreed { is_other, has_begun }, goes_on) = {
            let mut state = path.state();
            let agreed = state.agree(side, remote, protection, &begin);
            if agreed.is_other {
                let heard = [Side::A, Side::B].map(|side| self.shared.heard(path, side, &mut state));
                state.expect_anew(heard);
            }
            path.disconnect(side, &mut state);
            self.shared.recall(path, &mut state);
            self.shared.adopt(path, &mut state);
            (agreed, [Side::A, Side::B].into_iter().any(|side| state.kernel_route(side).is_some()))
        };
        if has_begun {
            self.shared.begun(self.shard, path, side);
        }
        // No packet of media need come by the sockets of this process, should the kernel have gone on with the stream.
        if goes_on {
            path.open_control(&self.shared);
        }
        // A refresh with the same description must not put off the report of silence.
        if is_other {
            for Watched { silence, awaited } in session.watch.iter_mut().flatten() {
                silence.restart(now);
                awaited.resize(session.paths.len(), Awaited::Since(now));
                awaited
                    .iter_mut()
                    .skip(usize::from(stream))
                    .take(1)
                    .for_each(|one| *one = Awaited::Since(now));
            }
        }
    }

    fn record(&mut self, id: MediaId, stream: u8, name: Option<Box<str>>) {
        let Some(recorder) = &self.shared.recorder else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.untap(id) {
            recorder.end(id, self.shared.clock());
        }
        let (Some(path), Some(name)) = (session.paths.get(usize::from(stream)), name) else { return };
        session.recorded = Some(stream);
        recorder.begin(id, name, self.shared.clock());
        let mut state = path.state();
        state.tap(id, true);
        self.shared.recall(path, &mut state);
    }

    /// Reports the recordings of this shard that have ended by themselves.
    fn fetch_ended(&mut self, reports: &mut Vec<MediaReport>) {
        let Some(recorder) = self.shared.recorder.as_ref().filter(|recorder| recorder.has_ended()) else {
            return;
        };
        for Cut { session, why, has_file } in recorder.take_ended(|id| self.sessions.contains_key(&id)) {
            if self.sessions.get_mut(&session).is_some_and(|of| of.untap(session)) {
                let why = why.into();
                reports.push(match has_file {
                    true => MediaReport::RecordingEnded { session, why },
                    false => MediaReport::NotRecording { session, why },
                });
            }
        }
    }

    fn path_of(&self, id: MediaId, stream: u8) -> Option<&Arc<Path>> {
        self.sessions.get(&id)?.paths.get(usize::from(stream))
    }

    fn watch(&mut self, id: MediaId, on: bool, now: Time) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let was = session.watch.is_some();
        if on {
            let answered = self.shared.clock();
            session.paths.iter().for_each(|path| path.state().answered(answered));
        }
        session.watch = on.then(|| {
            [Side::A, Side::B].map(|side| {
                let silence = Silence::new(hearing(&self.shared, &session.paths, side).heard, now);
                Watched { silence, awaited: smallvec![Awaited::Since(now); session.paths.len()] }
            })
        });
        match (was, on) {
            (false, true) => {
                self.watched += 1;
                self.shared.watch(self.shard);
            }
            (true, false) => self.unwatch(),
            (true, true) | (false, false) => {}
        }
    }

    /// What the kernel has counted comes with the streams that it gives back; they soon return there.
    fn count(&self, id: MediaId) -> MediaReport {
        let mut counted = [DirectionStats::default(); 2];
        for path in self.sessions.get(&id).iter().flat_map(|session| &session.paths) {
            let mut state = path.state();
            self.shared.recall_all(path, &mut state);
            for (sum, side) in counted.iter_mut().zip([Side::A, Side::B]) {
                sum.add(&state.stats(side));
            }
        }
        let [from_a, from_b] = counted;
        MediaReport::Counted { session: id, from_a, from_b }
    }

    fn close(&mut self, id: MediaId, now: Time) -> MediaReport {
        let mut from_a = DirectionStats::default();
        let mut from_b = DirectionStats::default();
        // A session that was refused is closed like any other: there is nothing to count.
        if let Some(session) = self.sessions.remove(&id) {
            for path in &session.paths {
                self.detach(path);
                let (a, b) = path.close(&self.shared);
                from_a.add(&a);
                from_b.add(&b);
                self.pairs(path).into_iter().for_each(|pair| self.ports.rest(pair, now));
            }
            if let Some(recorder) = self.shared.recorder.as_ref().filter(|_| session.recorded.is_some()) {
                recorder.end(id, self.shared.clock());
                recorder.take_ended(|ended| ended == id);
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
        for end in [Side::A, Side::B].into_iter().flat_map(|side| path.ends(side)) {
            if let Some(mut slot) = self.shared.slot(end.slot) {
                slot.release(&self.shared, self.shard, end.slot);
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
    /// A shard that goes takes its sessions along; they count as closed. Those of one that fails go on in the next process.
    fn drop(&mut self) {
        if std::thread::panicking() || self.shared.leaving.load(Relaxed) {
            return;
        }
        let open: Vec<MediaId> = self.sessions.keys().copied().collect();
        for id in open {
            self.close(id, Time::ZERO);
        }
    }
}

impl Shared {
    fn ports(&self, path: &Path) -> StreamPorts {
        let ports = |side: Side| {
            let rtp = self.plan.rtp_port(self.plan.place(path.end(side).slot).0);
            PortPair { rtp, rtcp: rtp + 1 }
        };
        StreamPorts { a: ports(Side::A), b: ports(Side::B) }
    }

    /// A pair of ports at one of the addresses, with its RTP socket.
    fn end(&self, shard: usize, pair: Pair, at: At) -> Result<PathEnd, SocketError> {
        let id = self.plan.slot(pair, at);
        let Some(mut slot) = self.slot(id) else { return Err(SocketError::Taken) };
        let rtp = slot.open_rtp(self, shard, id)?;
        let rtcp = slot.rtcp.clone().map_or_else(OnceLock::new, OnceLock::from);
        Ok(PathEnd { slot: id, is_ipv6: self.address(at).is_ipv6(), rtp, rtcp })
    }

    /// Why there is no port where trying another one would not help.
    fn refusal(&self, error: SocketError, at: At) -> &'static str {
        match error {
            SocketError::Taken => "other processes hold the media ports",
            SocketError::Exhausted => "no file descriptors are left for media",
            SocketError::System(error) => {
                tracing::warn!(address = %self.address(at), %error, "cannot open a media port");
                "the system refused a media port"
            }
        }
    }
}

/// Looks for a side in each stream: a picture that arrives does not make up for speech that does not. Why it is not heard,
/// once for the terms of now.
fn look_for(
    shared: &Shared,
    paths: &[Arc<Path>],
    side: Side,
    awaited: &mut [Awaited],
    now: Time,
) -> Option<Deaf> {
    let mut deaf = None;
    for (path, awaited) in paths.iter().zip(awaited) {
        let Awaited::Since(since) = *awaited else { continue };
        let mut stream = path.state();
        let heard = heard(shared, path, side, &mut stream);
        if stream.is_heard(side, heard) {
            *awaited = Awaited::Over;
        } else if !stream.is_awaited(side) {
            *awaited = Awaited::Since(now);
        } else if now.since(since) >= shared.config.one_way_after {
            *awaited = Awaited::Over;
            deaf = deaf.or(stream.missed(side));
        }
    }
    deaf
}

/// What should come from a side, and has.
#[derive(Default)]
struct Hearing {
    /// Any stream should bring something.
    expected: bool,
    /// Any stream goes both ways, so that silence means something.
    is_mutual: bool,
    heard: u64,
}

/// Over all streams: a call whose audio goes on is not silent because its video stands still.
fn hearing(shared: &Shared, paths: &[Arc<Path>], side: Side) -> Hearing {
    paths.iter().fold(Hearing::default(), |Hearing { expected, is_mutual, heard }, path| {
        let mut stream = path.state();
        let more = self::heard(shared, path, side, &mut stream);
        Hearing {
            expected: expected || stream.expects(side),
            is_mutual: is_mutual || stream.is_mutual(),
            heard: heard + more,
        }
    })
}

/// What has come from a side in one stream, or from either where they take turns.
fn heard(shared: &Shared, path: &Path, side: Side, stream: &mut Stream) -> u64 {
    let heard = shared.heard(path, side, stream);
    if stream.takes_turns() { heard + shared.heard(path, side.other(), stream) } else { heard }
}
