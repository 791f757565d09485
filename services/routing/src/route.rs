//! A route: which calls it takes, and the trunks they go to.

use regex::Regex;

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
    /// Trunks, tried in order, each with all its peers; or all at once.
    pub to: Vec<TrunkId>,
    /// Whether its trunks are tried one after the other.
    pub fork: Fork,
    /// Final response codes that move on to the next target; see [`default_failover`].
    pub failover: Vec<u16>,
}

impl Route {
    /// A route for every call to these trunks, with the default failover.
    pub fn new(name: impl Into<String>, to: impl Into<Vec<TrunkId>>) -> Route {
        Route {
            name: name.into(),
            from: None,
            called: None,
            to: to.into(),
            fork: Fork::default(),
            failover: default_failover(),
        }
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
