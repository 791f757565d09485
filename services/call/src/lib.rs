//! Calls: two legs and a bridge, as plain data. The [`Core`] is the whole protocol of one shard.

mod cdr;
mod core;
mod io;
mod media;
mod registrar;
mod settings;
mod view;

pub use crate::cdr::{CdrFact, Disposition, EndedBy};
pub use crate::core::Core;
pub use crate::io::{
    Command, Event, EventKind, Flow, Input, Now, Output, QueryId, Reply, RouteQuery, SendToken, Utc,
};
pub use crate::media::{
    DirectionStats, Engine, MediaId, MediaOrder, MediaReport, PortPair, RemoteStream, Side, StreamPorts,
};
pub use crate::registrar::BindingChange;
pub use crate::settings::{Listener, ListenerId, RegistrarPolicy, Settings, User, shard_of};
pub use crate::view::{CallView, LegView, Stats};
