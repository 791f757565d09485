//! Requests that are too long for a datagram (RFC 3261 §18.1.1).
//!
//! A datagram above the path's MTU is cut in pieces, and many networks lose all of them. A request of more than
//! [`LONGEST_DATAGRAM`] octets that is meant for UDP is therefore *lifted*: it leaves over TCP, from a listener at the same
//! address, with its Via changed and nothing else. Where no connection can be had before anything was heard, the
//! transaction is *lowered*: it begins anew as the datagram that it would have been. Who does not take connections is
//! remembered for a while and told to the other shards, so that only the first call of all waits for that.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foldhash::quality::FixedState;
use sip::{Method, Time, Transport};

use super::clients::token_of;
use super::{ClientKey, Wire};
use crate::io::{Flow, Now, Output};
use crate::settings::Listener;

/// What leaves by UDP whatever the MTU, which is not known.
const LONGEST_DATAGRAM: usize = 1300;

/// How long it is remembered that somebody takes no connections.
const MEMORY: Duration = Duration::from_secs(300);

/// How many of them are remembered.
const MAX_DEAF: usize = 1024;

/// Over what the request of a client transaction goes.
pub(super) enum Carriage {
    /// What its user asked for.
    AsAsked,
    /// The flow that a phone registered over, and nothing else leads there (RFC 5626 §5.3).
    OnItsFlow,
    /// TCP in place of UDP. Kept: where and what it would have been.
    Lifted(Box<Datagram>),
    /// UDP after all, because there was no connection to be had.
    Lowered,
}

/// A request as it goes by UDP.
pub(super) struct Datagram {
    flow: Flow,
    request: Bytes,
}

/// Who takes no connections.
#[derive(Default)]
pub(super) struct Deaf(HashMap<SocketAddr, Time, FixedState>);

impl Deaf {
    fn contains(&self, remote: SocketAddr, now: Time) -> bool {
        self.0.get(&remote).is_some_and(|until| *until > now)
    }

    fn insert(&mut self, remote: SocketAddr, now: Time) {
        if self.0.len() >= MAX_DEAF {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() < MAX_DEAF {
            self.0.insert(remote, now + MEMORY);
        }
    }
}

impl Wire {
    /// Where a request goes in place of its datagram; `None` when it stays one.
    pub(super) fn lifted(&mut self, flow: Flow, method: Method, request: &[u8], now: Now) -> Option<Flow> {
        if request.len() <= LONGEST_DATAGRAM || self.listener(flow.listener).transport != Transport::Udp {
            return None;
        }
        // §9.1: a CANCEL follows its INVITE, whatever that went over.
        if method == Method::Cancel {
            return None;
        }
        let stream = self.beside(flow.listener, Transport::Tcp)?;
        let deaf = &self.deaf;
        // What other calls have found out.
        if self.ids.tape.yes(|| deaf.contains(flow.remote, now.time)) {
            return None;
        }
        Some(Flow { listener: stream, connection: 0, ..flow })
    }

    /// Somebody takes no connections, as this shard or another has found out.
    pub(crate) fn takes_no_streams(&mut self, remote: SocketAddr, now: Now) {
        self.deaf.insert(remote, now.time);
    }

    /// Moves a transaction whose request was not sent yet; what is to be sent, and where.
    pub(super) fn lift(&mut self, key: ClientKey, to: Flow, request: Bytes) -> (Flow, Bytes) {
        let Some(from) = self.clients.get(key).map(|client| client.flow) else { return (to, request) };
        let lifted = with_via(&request, self.listener(from.listener), self.listener(to.listener));
        let Some((client, lifted)) = self.clients.get_mut(key).zip(lifted) else { return (from, request) };
        client.machine.become_reliable();
        client.flow = to;
        client.carriage = Carriage::Lifted(Box::new(Datagram { flow: from, request }));
        (to, lifted)
    }

    /// Takes up a lifted transaction again as a datagram, when nothing was heard of it; whether it was one.
    pub(super) fn lower(&mut self, key: ClientKey, now: Now) -> bool {
        let timing = self.settings.timing;
        let Some(client) = self.clients.get_mut(key) else { return false };
        match &client.carriage {
            Carriage::AsAsked | Carriage::OnItsFlow | Carriage::Lowered => return false,
            Carriage::Lifted(_) => {}
        }
        let Some(machine) = client.machine.anew(now, timing) else { return false };
        let Carriage::Lifted(datagram) = std::mem::replace(&mut client.carriage, Carriage::Lowered) else {
            return false;
        };
        let Datagram { flow, request } = *datagram;
        (client.machine, client.flow, client.request) = (machine, flow, request.clone());
        self.takes_no_streams(flow.remote, now);
        self.outputs.push_back(Output::NoStreams(flow.remote));
        self.rearm_client(key);
        self.send(flow, request, token_of(key));
        true
    }
}

/// The request as it leaves from another listener: its Via, which stands first, says so.
fn with_via(request: &[u8], from: &Listener, to: &Listener) -> Option<Bytes> {
    let headers = request.iter().position(|octet| *octet == b'\n')? + 1;
    let said = ["Via: SIP/2.0/", from.transport.as_str(), " ", &from.advertise, ";"].concat();
    let (start, rest) = request.split_at_checked(headers)?;
    let rest = rest.strip_prefix(said.as_bytes())?;
    let mut lifted = BytesMut::with_capacity(request.len() + to.advertise.len());
    for piece in
        [start, b"Via: SIP/2.0/", to.transport.as_str().as_bytes(), b" ", to.advertise.as_bytes(), b";", rest]
    {
        lifted.extend_from_slice(piece);
    }
    Some(lifted.freeze())
}
