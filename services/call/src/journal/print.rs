//! A print of what came of an input: short enough to be kept for each, made to find a difference and for nothing else.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;

use super::mask::masked;
use crate::io::{Event, Output, RouteQuery};

/// The print of these outputs.
pub(crate) fn print<'a>(outputs: impl Iterator<Item = &'a Output>) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    for output in outputs {
        add(output, &mut hasher);
    }
    hasher.finish()
}

fn add(output: &Output, hasher: &mut impl Hasher) {
    match output {
        Output::Send { flow, bytes, token } => {
            flow.hash(hasher);
            token.hash(hasher);
            hasher.write(&masked(bytes));
        }
        Output::Route(query) => {
            let RouteQuery { query, call, transfer, snapshot: _, trunk, source, caller, uri, local_user } =
                &**query;
            (query, call, transfer, trunk, source, caller, uri, local_user).hash(hasher);
        }
        Output::Resolve { query, host, port, transport, secure, draw } => {
            (query, host, port, transport, secure, draw).hash(hasher);
        }
        Output::Media(order) => order.hash(hasher),
        // What another process needs to go on is no output of the call.
        Output::OpenCdr { fact, state: _ } | Output::Cdr(fact) => fact.hash(hasher),
        Output::Event(Event { call, kind }) => (call, kind).hash(hasher),
        // Of registrations, peers and the operator, not of a call; a replay has found nothing out itself.
        Output::Binding(_)
        | Output::NoStreams(_)
        | Output::Peer(_)
        | Output::Aside(_)
        | Output::ServerAside(_)
        | Output::Reply { .. } => {}
    }
}
