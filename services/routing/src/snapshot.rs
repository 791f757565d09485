//! The snapshot: trunks and routes checked together, and the indexes that make questions cheap.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use sip::{Scheme, Uri};

use crate::decision::Target;
use crate::error::{Entry, Problem, SnapshotError};
use crate::route::{Reject, Route, default_failover};
use crate::source::{Key, Source, SourceIndex};
use crate::trunk::{Trunk, TrunkId};

/// Trunks and routes at one moment. Never changes; a call keeps the one it began with.
#[derive(Debug)]
pub struct Snapshot {
    trunks: Vec<Trunk>,
    routes: Vec<Route>,
    /// One for each route.
    prepared: Vec<Prepared>,
    sources: SourceIndex,
    names: BTreeMap<String, TrunkId>,
    default_failover: Arc<[u16]>,
    shapes_media: bool,
}

/// What every call of a route gets, made once.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) targets: Vec<Target>,
    pub(crate) failover: Arc<[u16]>,
}

impl Snapshot {
    /// Checks trunks and routes together and indexes them. A [`TrunkId`] is the index in `trunks`.
    ///
    /// # Errors
    ///
    /// The first of [`Snapshot::mistakes`].
    pub fn new(trunks: Vec<Trunk>, routes: Vec<Route>) -> Result<Snapshot, SnapshotError> {
        if let Some(first) = Snapshot::mistakes(&trunks, &routes).into_iter().next() {
            return Err(first);
        }
        let default_failover: Arc<[u16]> = default_failover().into();
        let prepared = routes.iter().map(|route| prepare(route, &trunks, &default_failover)).collect();
        let sources = SourceIndex::of(&trunks);
        let names = numbered(&trunks).map(|(id, trunk)| (trunk.name.clone(), id)).collect();
        let shapes_media = trunks.iter().any(Trunk::shapes_media);
        Ok(Snapshot { trunks, routes, prepared, sources, names, default_failover, shapes_media })
    }

    /// No trunks, no routes: calls go to users of ours or nowhere.
    pub fn empty() -> Snapshot {
        Snapshot {
            trunks: Vec::new(),
            routes: Vec::new(),
            prepared: Vec::new(),
            sources: SourceIndex::default(),
            names: BTreeMap::new(),
            default_failover: default_failover().into(),
            shapes_media: false,
        }
    }

    /// Everything that keeps these trunks and routes from being a snapshot, in the order of the entries; empty when
    /// nothing does.
    pub fn mistakes(trunks: &[Trunk], routes: &[Route]) -> Vec<SnapshotError> {
        let mut mistakes = Vec::new();
        let mut names = BTreeMap::new();
        let mut claims = BTreeMap::new();
        for (index, trunk) in trunks.iter().enumerate() {
            let mut report =
                Report { entry: Entry::Trunk(index), name: &trunk.name, mistakes: &mut mistakes };
            report.check_name(&mut names);
            if index > usize::from(u16::MAX) {
                report.add("name", None, Problem::TooManyTrunks);
            }
            report.check_sources(index, trunks, &mut claims);
            for (element, peer) in trunk.peers.iter().enumerate() {
                if let Err(expected) = check_peer(peer) {
                    report.add("peers", Some(element), Problem::BadPeer { uri: peer.clone(), expected });
                }
            }
        }
        let mut names = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            let mut report =
                Report { entry: Entry::Route(index), name: &route.name, mistakes: &mut mistakes };
            report.check_name(&mut names);
            report.check_route(route, trunks);
        }
        mistakes
    }

    /// Whether any trunk changes descriptions beyond the addresses in them.
    pub fn shapes_media(&self) -> bool {
        self.shapes_media
    }

    /// All trunks; a [`TrunkId`] is an index here.
    pub fn trunks(&self) -> &[Trunk] {
        &self.trunks
    }

    /// All routes, in the order in which they are tried.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The trunk of an id. `None` only for an id of another snapshot.
    pub fn trunk(&self, id: TrunkId) -> Option<&Trunk> {
        self.trunks.get(usize::from(id.0))
    }

    /// The trunk of this name.
    pub fn trunk_named(&self, name: &str) -> Option<TrunkId> {
        self.names.get(name).copied()
    }

    /// Whose a request from this address is. A source with exactly this host and port goes first, then the longest
    /// prefix, and of two as long the one that names the port. IPv4-mapped IPv6 counts as IPv4. Allocates nothing:
    /// it is asked for every request.
    pub fn trunk_of(&self, source: SocketAddr) -> Option<TrunkId> {
        self.sources.find(source).map(|(id, _)| id)
    }

    /// [`trunk_of`](Snapshot::trunk_of) and the trunk's source that made it so.
    pub fn source_of(&self, source: SocketAddr) -> Option<(TrunkId, Source)> {
        self.sources.find(source)
    }

    pub(crate) fn prepared_routes(&self) -> impl Iterator<Item = (&Route, &Prepared)> {
        self.routes.iter().zip(&self.prepared)
    }

    pub(crate) fn default_failover(&self) -> Arc<[u16]> {
        Arc::clone(&self.default_failover)
    }
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot::empty()
    }
}

fn numbered(trunks: &[Trunk]) -> impl Iterator<Item = (TrunkId, &Trunk)> {
    (0..=u16::MAX).map(TrunkId).zip(trunks)
}

fn prepare(route: &Route, trunks: &[Trunk], default_failover: &Arc<[u16]>) -> Prepared {
    let targets = route.to.iter().flat_map(|&trunk| {
        let peers = trunks.get(usize::from(trunk.0)).map_or(0, |found| found.peers.len());
        (0..peers).map(move |peer| Target::Trunk { trunk, peer })
    });
    let mut failover = route.failover.clone();
    failover.sort_unstable();
    failover.dedup();
    let failover =
        if failover[..] == **default_failover { Arc::clone(default_failover) } else { failover.into() };
    Prepared { targets: targets.collect(), failover }
}

/// Collects the mistakes of one entry.
struct Report<'a, 'm> {
    entry: Entry,
    name: &'a str,
    mistakes: &'m mut Vec<SnapshotError>,
}

impl<'a> Report<'a, '_> {
    fn add(&mut self, field: &'static str, element: Option<usize>, problem: Problem) {
        let name = self.name.to_owned();
        self.mistakes.push(SnapshotError { entry: self.entry, name, field, element, problem });
    }

    fn check_name(&mut self, taken: &mut BTreeMap<&'a str, ()>) {
        if self.name.is_empty() {
            self.add("name", None, Problem::NoName);
        } else if taken.insert(self.name, ()).is_some() {
            self.add("name", None, Problem::NameTaken);
        }
    }

    /// `claims` says which trunk has a source. The same source twice in one trunk means the same as once.
    fn check_sources(&mut self, index: usize, trunks: &[Trunk], claims: &mut BTreeMap<Key, usize>) {
        let sources = trunks.get(index).map_or(&[][..], |trunk| &trunk.sources);
        for (element, source) in sources.iter().enumerate() {
            if !source.is_valid() {
                self.add("sources", Some(element), Problem::BadSource(*source));
                continue;
            }
            let owner = *claims.entry(source.key()).or_insert(index);
            if owner != index {
                let by = trunks.get(owner).map_or(String::new(), |trunk| trunk.name.clone());
                self.add("sources", Some(element), Problem::SourceTaken { claimed: *source, by });
            }
        }
    }

    fn check_route(&mut self, route: &Route, trunks: &[Trunk]) {
        let from = route.from.as_deref();
        if from.is_some_and(<[TrunkId]>::is_empty) {
            self.add("from", None, Problem::EmptyFrom);
        }
        for (element, id) in from.unwrap_or_default().iter().enumerate() {
            if usize::from(id.0) >= trunks.len() {
                self.add("from", Some(element), Problem::UnknownTrunk(id.0));
            }
        }
        match &route.reject {
            None if route.to.is_empty() => self.add("to", None, Problem::NoTargets),
            Some(_) if !route.to.is_empty() => self.add("reject", None, Problem::RejectsAndCalls),
            Some(reject) if !Reject::is_refusal(reject.status) => {
                self.add("reject", None, Problem::BadReject(reject.status));
            }
            None | Some(_) => {}
        }
        if route.incomplete.is_some() && route.called.is_none() {
            self.add("incomplete", None, Problem::NothingComplete);
        }
        for (element, id) in route.to.iter().enumerate() {
            match trunks.get(usize::from(id.0)) {
                None => self.add("to", Some(element), Problem::UnknownTrunk(id.0)),
                Some(trunk) if trunk.peers.is_empty() => {
                    self.add("to", Some(element), Problem::NoPeers(trunk.name.clone()));
                }
                Some(_) => {}
            }
        }
        for (element, &code) in route.failover.iter().enumerate() {
            if !(300..=699).contains(&code) {
                self.add("failover", Some(element), Problem::BadFailover(code));
            }
        }
    }
}

fn check_peer(peer: &str) -> Result<(), &'static str> {
    let uri = Uri::parse(peer.as_bytes()).map_err(|fault| fault.expected)?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {}
        Scheme::Tel | Scheme::Other => return Err("a sip or sips URI"),
    }
    if uri.host.is_empty() {
        return Err("a host");
    }
    // RFC 3261 §19.1.1, Table 1: a Request-URI has no headers.
    if !uri.headers.is_empty() {
        return Err("no ?headers behind the URI");
    }
    Ok(())
}
