//! Where calls go: a pure function from (configuration snapshot, question) to a decision.
//!
//! A [`Snapshot`] is immutable; a reload swaps it for another. [`Snapshot::trunk_of`] says whose a source address is,
//! [`Snapshot::decide`] where a call goes, [`Snapshot::explain`] the same with every step said aloud. What changes
//! from call to call, the calls a trunk has and how fast they come, is counted apart from it, in [`Admission`].

mod admission;
mod called;
mod decision;
mod error;
mod explain;
mod media;
mod route;
mod snapshot;
mod source;
mod tags;
mod trunk;

pub use admission::Admission;
pub use called::MAX_CALLED;
pub use decision::{Decision, Plan, Query, Refusal, Target};
pub use error::{Entry, Problem, SnapshotError};
pub use explain::Explanation;
pub use media::{Codecs, Dtmf, RtpProfile, is_companion, plays_digits};
pub use route::{Fork, Reject, Route, default_failover};
pub use snapshot::Snapshot;
pub use source::{Source, SourceError};
pub use tags::{LONGEST_TAG_NAME, LONGEST_TAG_VALUE, MOST_TAGS, Tags, TagsError};
pub use trunk::{
    Bodies, CancelMatching, Challenges, Credentials, MediaFamily, MediaSecurity, Redirect, Refer, Trunk,
    TrunkId,
};
