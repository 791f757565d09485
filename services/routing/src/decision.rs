//! The decision: where one call goes. One walk over the routing table, told to a listener step by step, so that what
//! `drawbridge explain` prints can never differ from what a call gets.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::called::{Called, Unroutable};
use crate::route::{Fork, Reject, Route};
use crate::snapshot::{Prepared, Snapshot};
use crate::tags::Tags;
use crate::trunk::TrunkId;

/// The question: where does this call go?
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// The trunk that [`Snapshot::trunk_of`] gave for the source; `None` for a user or a stranger.
    pub trunk: Option<TrunkId>,
    /// Where the request came from.
    pub source: SocketAddr,
    /// The URI of From.
    pub caller: &'a str,
    /// The Request-URI.
    pub uri: &'a str,
    /// The called name is a user that may register here.
    pub local_user: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try these targets.
    Route(Plan),
    /// Answer with this.
    Refuse(Refusal),
}

/// Targets, and in which order they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The route's name; `None` for a call to a user of ours.
    pub route: Option<String>,
    /// At least one.
    pub targets: Vec<Target>,
    /// Whether the trunks among the targets are tried one after the other. The contacts of a user are tried by their
    /// q-values in either case, those of one value at once.
    pub fork: Fork,
    /// Final response codes that move on to the next target, ascending. Shared by all calls of a route.
    pub failover: Arc<[u16]>,
    /// Whether the call is recorded, whatever its trunks say.
    pub record: bool,
    /// What the route has for the call's records besides; those of its trunks are not in here.
    pub tags: Option<Arc<Tags>>,
}

/// One place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One peer of a trunk.
    Trunk {
        /// The trunk.
        trunk: TrunkId,
        /// Index into [`Trunk::peers`](crate::Trunk::peers).
        peer: usize,
    },
    /// The registered contacts of this name.
    User {
        /// The user part of the Request-URI, its percent escapes undone.
        name: String,
    },
}

/// Why a call goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The final response code.
    pub status: u16,
    /// For records and logs, with everything untrusted quoted and escaped; never longer than a few kilobytes.
    pub why: String,
    /// A policy of ours forbade the call; `false` when there is simply nowhere to go.
    pub blocked: bool,
    /// The name of the route that said so, or that had been chosen before a limit was met.
    pub route: Option<String>,
    /// The reason phrase; `None`: the usual one.
    pub phrase: Option<String>,
    /// What the route has for the call's record besides.
    pub tags: Option<Arc<Tags>>,
    /// The trunk that it would have gone to, and that has no room.
    pub trunk: Option<TrunkId>,
}

impl Refusal {
    /// Of no route, with the usual reason phrase.
    pub fn new(status: u16, why: String, blocked: bool) -> Refusal {
        Refusal { status, why, blocked, route: None, phrase: None, tags: None, trunk: None }
    }
}

impl Snapshot {
    /// Where a call goes. A user of ours goes before every route; else the first route that takes the call decides.
    ///
    /// A target may be the very peer that the call came from. That is left to the configuration, since some networks
    /// want their calls back; a loop ends by Max-Forwards (RFC 3261 §16.3).
    pub fn decide(&self, query: &Query<'_>) -> Decision {
        self.decide_aloud(query, &mut Silence)
    }

    /// [`decide`](Snapshot::decide), telling a listener every step.
    pub(crate) fn decide_aloud(&self, query: &Query<'_>, listener: &mut impl Listener) -> Decision {
        let called = match Called::of(query.uri) {
            Ok(called) => called,
            Err(unroutable) => return Decision::Refuse(refuse_uri(query.uri, unroutable)),
        };
        listener.hear(Step::Called(&called));
        if let (true, Some(name)) = (query.local_user, called.name()) {
            listener.hear(Step::LocalUser(name));
            return Decision::Route(Plan {
                route: None,
                targets: vec![Target::User { name: name.to_owned() }],
                fork: Fork::Serial,
                failover: self.default_failover(),
                record: false,
                tags: None,
            });
        }
        let mut name_wanted = false;
        for (route, prepared) in self.prepared_routes() {
            let verdict = judge(route, query.trunk, &called);
            name_wanted |= verdict == Verdict::NoName;
            listener.hear(Step::Judged { route, verdict });
            match verdict {
                Verdict::Takes => return take(route, prepared),
                Verdict::TooShort => return Decision::Refuse(refuse_short(route, &called)),
                Verdict::OtherOrigin | Verdict::NoName | Verdict::OtherName => {}
            }
        }
        Decision::Refuse(self.refuse_unrouted(query, &called, name_wanted))
    }

    fn refuse_unrouted(&self, query: &Query<'_>, called: &Called<'_>, name_wanted: bool) -> Refusal {
        let whose = match query.trunk.and_then(|id| self.trunk(id)) {
            Some(trunk) => format!(" from trunk {:?}", trunk.name),
            None => String::new(),
        };
        match called.name() {
            Some(name) => refuse(404, format!("no route for {name:?}{whose}")),
            // A name would have been looked at, so the address is incomplete rather than unknown (RFC 3261 §21.4.22).
            None if name_wanted => refuse(484, format!("no route{whose} for a URI without a user part")),
            None => refuse(404, format!("no route{whose}, and the URI has no user part")),
        }
    }
}

/// Hears how a decision is reached. Steps are values; only a listener that wants words pays for them.
pub(crate) trait Listener {
    fn hear(&mut self, step: Step<'_>);
}

/// Nobody listens.
struct Silence;

impl Listener for Silence {
    fn hear(&mut self, _step: Step<'_>) {}
}

/// One step on the way to a decision.
pub(crate) enum Step<'a> {
    /// The URI was read.
    Called(&'a Called<'a>),
    /// The name is a user of ours; no route is asked.
    LocalUser(&'a str),
    /// A route was looked at.
    Judged { route: &'a Route, verdict: Verdict },
}

/// What a route makes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Takes,
    /// `from` does not name the call's trunk.
    OtherOrigin,
    /// `called` asks for a name and the URI has none.
    NoName,
    /// `called` does not match, and `incomplete` does.
    TooShort,
    /// `called` does not match.
    OtherName,
}

fn judge(route: &Route, trunk: Option<TrunkId>, called: &Called<'_>) -> Verdict {
    if let Some(from) = &route.from
        && !trunk.is_some_and(|trunk| from.contains(&trunk))
    {
        return Verdict::OtherOrigin;
    }
    match (&route.called, called.name()) {
        (None, _) => Verdict::Takes,
        (Some(_), None) => Verdict::NoName,
        (Some(pattern), Some(name)) if pattern.is_match(name) => Verdict::Takes,
        (Some(_), Some(name)) if route.incomplete.as_ref().is_some_and(|short| short.is_match(name)) => {
            Verdict::TooShort
        }
        (Some(_), Some(_)) => Verdict::OtherName,
    }
}

/// What a call gets whose route this is.
fn take(route: &Route, prepared: &Prepared) -> Decision {
    match &route.reject {
        None => Decision::Route(Plan {
            route: Some(route.name.clone()),
            targets: prepared.targets.clone(),
            fork: route.fork,
            failover: Arc::clone(&prepared.failover),
            record: route.record,
            tags: route.tags.clone(),
        }),
        Some(Reject { status, phrase }) => Decision::Refuse(Refusal {
            route: Some(route.name.clone()),
            phrase: phrase.clone(),
            tags: route.tags.clone(),
            ..Refusal::new(*status, format!("route {:?} rejects it", route.name), true)
        }),
    }
}

fn refuse_short(route: &Route, called: &Called<'_>) -> Refusal {
    let name = called.name().unwrap_or_default();
    let why = format!("{name:?} lacks digits for route {:?}", route.name);
    Refusal { route: Some(route.name.clone()), tags: route.tags.clone(), ..refuse(484, why) }
}

fn refuse_uri(uri: &str, unroutable: Unroutable) -> Refusal {
    let status = match unroutable {
        Unroutable::NotAUri(_) => 400,
        Unroutable::Scheme => 416,
        Unroutable::TooLong(_) => 414,
        Unroutable::NotUtf8 => 404,
    };
    // A URI may be as long as a message; a log line need not.
    let shown = uri.get(..uri.floor_char_boundary(crate::MAX_CALLED)).unwrap_or_default();
    let more = if shown.len() < uri.len() { "…" } else { "" };
    refuse(status, format!("{unroutable}: {shown:?}{more}"))
}

fn refuse(status: u16, why: String) -> Refusal {
    Refusal::new(status, why, false)
}
