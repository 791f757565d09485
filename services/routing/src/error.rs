//! What can be wrong with trunks and routes taken together, said so that the settings reader can point at the line.

use std::fmt;

use crate::source::Source;

/// One mistake: in which entry, in which field, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry} {name:?}: {}: {problem}", Place(.field, .element))]
pub struct SnapshotError {
    /// The kind of entry and its index.
    pub entry: Entry,
    /// The entry's name.
    pub name: String,
    /// The field, as the configuration calls it.
    pub field: &'static str,
    /// Which element, where the field is a list.
    pub element: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

/// An entry, by its place in the lists given to [`Snapshot::new`](crate::Snapshot::new).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Index among the trunks.
    Trunk(usize),
    /// Index among the routes.
    Route(usize),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Entry::Trunk(_) => "trunk",
            Entry::Route(_) => "route",
        })
    }
}

/// What is wrong, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Names are how routes, records and metrics refer to an entry.
    #[error("expected a name, got none")]
    NoName,
    /// Two entries of a kind share a name.
    #[error("expected a name of its own, this one is taken")]
    NameTaken,
    /// More trunks than a [`TrunkId`](crate::TrunkId) can number.
    #[error("expected at most 65536 trunks, this one is beyond")]
    TooManyTrunks,
    /// The prefix is longer than the address, or the port is 0.
    #[error("expected a prefix that fits the address and a port above 0, got {0:?}")]
    BadSource(Source),
    /// Another trunk claims the very same source.
    #[error("expected a source of its own, {claimed} is claimed by trunk {by:?} already")]
    SourceTaken {
        /// The source.
        claimed: Source,
        /// Who has it.
        by: String,
    },
    /// A peer that no request can be sent to.
    #[error("expected {expected}, as in sip:192.0.2.10:5060;transport=udp, got {uri:?}")]
    BadPeer {
        /// What came.
        uri: String,
        /// What it lacks.
        expected: &'static str,
    },
    /// A route that takes calls and has nowhere to send them.
    #[error("expected at least one trunk, got none")]
    NoTargets,
    /// A route that sends its calls somewhere, and nowhere.
    #[error("expected either trunks or an answer for calls that lead nowhere, got both")]
    RejectsAndCalls,
    /// Not a response that refuses a call.
    #[error("expected a status from 400 to 699 other than 401 and 407, got {0}")]
    BadReject(u16),
    /// Nothing tells a number that lacks digits from one that does not.
    #[error("expected a pattern for whole names beside the one for incomplete ones, got none")]
    NothingComplete,
    /// A list that names nobody takes no call at all.
    #[error("expected at least one trunk, or no `from` for calls from anywhere")]
    EmptyFrom,
    /// The index is beyond the list of trunks.
    #[error("expected a trunk of this configuration, got number {0}")]
    UnknownTrunk(u16),
    /// A target that cannot be called.
    #[error("expected a trunk with peers, trunk {0:?} has none")]
    NoPeers(String),
    /// Only a final failure can move a call on.
    #[error("expected final response codes from 300 to 699, got {0}")]
    BadFailover(u16),
}

struct Place<'a>(&'a &'static str, &'a Option<usize>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(element) => write!(f, "{}[{element}]", self.0),
            None => f.write_str(self.0),
        }
    }
}
