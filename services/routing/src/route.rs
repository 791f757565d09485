//! A route: which calls it takes, and the trunks they go to.

use std::sync::Arc;

use regex::Regex;

use crate::tags::Tags;
use crate::trunk::TrunkId;

/// One rule of the routing table. The first that takes a call decides.
#[derive(Clone, Debug)]
pub struct Route {
    /// Unique in a snapshot.
    pub name: String,
    /// Trunks whose calls it takes; `None`: anybody's, also of a source that is no trunk's.
    pub from: Option<Vec<TrunkId>>,
    /// What the called name must match; `None`: anything, also a URI without a name. The name is the user part of the
    /// Request-URI with its percent escapes undone, or the number of a `tel:` URI without visual separators.
    pub called: Option<Regex>,
    /// What a called name looks like that lacks digits to be one of this route's: such a call gets 484 (RFC 3261
    /// §21.4.22), so that whoever sends digit by digit goes on.
    pub incomplete: Option<Regex>,
    /// Trunks, tried in order, each with all its peers; or all at once. Nobody where the route rejects.
    pub to: Vec<TrunkId>,
    /// Calls that it takes go nowhere and are answered so.
    pub reject: Option<Reject>,
    /// Whether its trunks are tried one after the other.
    pub fork: Fork,
    /// Final response codes that move on to the next target; see [`default_failover`].
    pub failover: Vec<u16>,
    /// Whether its calls are recorded.
    pub record: bool,
    /// For the records of its calls.
    pub tags: Option<Arc<Tags>>,
}

impl Route {
    /// A route for every call to these trunks, with the default failover.
    pub fn new(name: impl Into<String>, to: impl Into<Vec<TrunkId>>) -> Route {
        Route {
            name: name.into(),
            from: None,
            called: None,
            incomplete: None,
            to: to.into(),
            reject: None,
            fork: Fork::default(),
            failover: default_failover(),
            record: false,
            tags: None,
        }
    }
}

/// What the calls of a route are answered with that lead nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// From 400 to 699, and no challenge.
    pub status: u16,
    /// The reason phrase; `None`: the usual one.
    pub phrase: Option<String>,
}

impl Reject {
    /// Whether a call may be refused with this status: a redirection needs a place and a challenge an answer.
    pub fn is_refusal(status: u16) -> bool {
        (400..=699).contains(&status) && !matches!(status, 401 | 407)
    }
}

/// How a call spreads over the trunks of its route (RFC 3261 §16.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fork {
    /// One target after the other.
    #[default]
    Serial,
    /// All trunks at once, each with its own peers one after the other. The first to answer has the call.
    Parallel,
}

/// 408, 480 and 500 to 599, ascending: the target failed or is not there, another may not. 6xx is not among them
/// because it speaks for every place the callee could be (RFC 3261 §21.6).
pub fn default_failover() -> Vec<u16> {
    [408, 480].into_iter().chain(500..=599).collect()
}
