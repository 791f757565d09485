//! Calls: two legs and a bridge, as plain data.
//!
//! The [`Core`] is the whole protocol of one shard. It is handed [`Input`]s with the time and gives [`Output`]s; it opens
//! no socket, reads no clock and waits for nothing. Inside, `wire` is the transaction layer, `leg` one user agent
//! towards one side, `bridge` the table that joins two legs, `standalone` and
//! `subscription` what crosses outside calls, `registrar` who can be called by name, `pings` which peers of trunks are alive, `kept` what of a call outlives the process. [`media`] is the
//! seam to a relay, [`CdrFact`] the record of an attempt.

pub mod bodies;
mod bridge;
mod cdr;
mod core;
mod coverage;
mod family;
mod headers;
mod ids;
mod io;
pub mod journal;
mod kept;
mod leg;
pub mod media;
mod pings;
mod registrar;
mod settings;
mod slab;
mod standalone;
mod subscription;
mod timers;
mod view;
mod wire;

pub use crate::cdr::{CdrFact, Disposition, EndedBy, Identity, Origin};
pub use crate::core::{Core, may_be_quoted};
#[cfg(feature = "coverage")]
pub use crate::coverage::{Cell, Coverage};
pub use crate::family::{Addresses, Families, Family};
pub use crate::io::{
    Began, Command, Event, EventKind, Flow, Input, NextHop, Now, Output, PeerAside, PeerChange, PeerLife,
    PeerState, QueryId, Recording, Reply, RouteQuery, SendToken, ServerAside, TlsVersion, Utc,
};
pub use crate::kept::{Interrupted, NotRestorable, shard_of_kept};
pub use crate::media::{
    Codec, Deaf, Digit, DirectionStats, DtlsTerms, Engine, IceTerms, KeySource, Keying, MediaId, MediaOrder,
    MediaReport, PortPair, Protection, RemoteStream, Side, Speech, SrtpKeys, SrtpUse, StreamPorts,
};
pub use crate::registrar::BindingChange;
pub use crate::settings::{JournalLimits, Listener, ListenerId, RegistrarPolicy, Settings, User, shard_of};
pub use routing::Tags;

pub use crate::view::{CallView, LegView, RecordingView, Stats};
