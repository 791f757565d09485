//! From a routing plan to places that can be invited.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use routing::{Fork, Plan, Snapshot, Target};
use sip::{Transport, Uri};

use crate::bridge::table::Event;
use crate::bridge::{CallKey, Candidate, Cause, GoesOn, Reach};
use crate::cdr::EndedBy;
use crate::core::{Core, Destination, Host};
use crate::headers::advertised_host;
use crate::io::{EventKind, Flow, NextHop, Now, QueryId};
use crate::journal::{Reachable, put_contact, take_contacts};
use crate::settings::ListenerId;

/// More peers and contacts than this are not tried for one call.
pub(super) const MAX_CANDIDATES: usize = 32;

/// More servers of one name are not tried.
const MAX_SERVERS: usize = 16;

/// Who is asked for, as the user part of a sip URI has it.
pub(crate) struct Dialled<'a> {
    pub(super) user: Cow<'a, [u8]>,
    was_tel: bool,
}

impl<'a> Dialled<'a> {
    pub(crate) fn of(uri: &Uri<'a>) -> Option<Dialled<'a>> {
        Some(Dialled { user: uri.subscriber()?, was_tel: uri.scheme == sip::Scheme::Tel })
    }

    /// That a user part is a telephone number is said of those that were one for certain (RFC 3261 §19.1.6).
    pub(crate) fn kind(&self) -> &'static [u8] {
        if self.was_tel { b";user=phone" } else { b"" }
    }
}

/// The places that a plan means.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) places: VecDeque<Candidate>,
    /// There were some, but none of them is reached over TLS, which the Request-URI asks for.
    pub(crate) readable_only: bool,
}

impl Core {
    pub(super) fn candidates(&mut self, key: CallKey, plan: &Plan, now: Now) -> Found {
        let Some(call) = self.calls.get(key) else { return Found::default() };
        let invite = call.setup.as_ref().map(|setup| setup.invite.clone()).unwrap_or_default();
        let (id, snapshot) = (call.id, call.snapshot.clone());
        let Ok(invite) = sip::Message::parse(&invite) else { return Found::default() };
        self.candidates_for(&invite, Some(id), &snapshot, plan, now)
    }

    /// The places that a plan means for this request.
    pub(crate) fn candidates_for(
        &mut self,
        request: &sip::Message<'_>,
        call: Option<uuid::Uuid>,
        snapshot: &Snapshot,
        plan: &Plan,
        now: Now,
    ) -> Found {
        let uri = request.request_uri().and_then(|uri| Uri::parse(uri).ok());
        let called = uri.and_then(|uri| Dialled::of(&uri));
        let secure = uri.is_some_and(|uri| uri.scheme == sip::Scheme::Sips);
        let mut found: VecDeque<Candidate> = VecDeque::new();
        for target in &plan.targets {
            match target {
                Target::User { name } => self.contacts_of(name, &mut found, now),
                Target::Trunk { trunk, peer } => {
                    let by = snapshot.trunk(*trunk).and_then(|trunk| trunk.listener.as_deref());
                    let index = u16::try_from(*peer).unwrap_or(u16::MAX);
                    let peer = snapshot.trunk(*trunk).and_then(|trunk| trunk.peers.get(*peer));
                    let candidate =
                        peer.and_then(|peer| self.peer_candidate(peer, by, called.as_ref(), secure));
                    match candidate {
                        Some(candidate) => {
                            let line = match (plan.fork, found.back()) {
                                (Fork::Serial, _) | (Fork::Parallel, None) => 0,
                                (Fork::Parallel, Some(last)) if last.trunk == Some(*trunk) => last.line,
                                (Fork::Parallel, Some(last)) => last.line + 1,
                            };
                            let trunk = Some(*trunk);
                            found.push_back(Candidate { trunk, peer: index, line, ..candidate });
                        }
                        None => {
                            let what = format!("no listener for peer {}", peer.map_or("", String::as_str));
                            self.wire.event(call, EventKind::Warning { what });
                        }
                    }
                }
            }
        }
        let mut readable_only = false;
        if secure && !found.is_empty() {
            found.retain(|candidate| self.is_reached_securely(candidate));
            readable_only = found.is_empty();
        }
        if readable_only {
            let what = "a sips URI asks for TLS, and no target of its route is reached that way".to_owned();
            self.wire.event(call, EventKind::Warning { what });
        }
        found.truncate(MAX_CANDIDATES);
        for (rank, candidate) in (1..).zip(&mut found) {
            candidate.rank = rank;
        }
        Found { places: found, readable_only }
    }

    /// RFC 5630 §3.1.3: what is to be secure goes over nothing else.
    pub(super) fn is_reached_securely(&self, candidate: &Candidate) -> bool {
        match &candidate.reach {
            Reach::Flow { flow, .. } => self.wire.listener(flow.listener).transport.is_secure(),
            Reach::Name { transport, secure, .. } => {
                *secure || transport.is_some_and(sip::Transport::is_secure)
            }
        }
    }

    /// The contacts of a user: those of one preference at once, those of a lower one after them (RFC 3261 §16.6).
    fn contacts_of(&mut self, name: &str, found: &mut VecDeque<Candidate>, now: Now) {
        let mut preference = None;
        for Reachable { contact, flow, q } in self.contacts(name, now) {
            let (group, line) = match found.back() {
                Some(last) if preference == Some(q) => (last.group, last.line + 1),
                Some(last) => (last.group + 1, 0),
                None => (0, 0),
            };
            preference = Some(q);
            let host = advertised_host(self.wire.listener(flow.listener));
            let to = [b"sip:", name.as_bytes(), b"@", host.as_bytes()].concat();
            let reach = Reach::Flow { flow, registered: true };
            found.push_back(Candidate { group, line, ..Candidate::new(contact, to, reach) });
        }
    }

    /// Where a user of ours is registered. A replay has no registrar, so the answer goes by the tape.
    fn contacts(&mut self, name: &str, now: Now) -> Vec<Reachable> {
        let registrar = &self.registrar;
        let contacts = self.wire.ids.tape.text(|| {
            let mut contacts = Vec::new();
            for binding in registrar.contacts(name, now) {
                put_contact(&mut contacts, binding.contact.as_bytes(), binding.flow, binding.q);
            }
            contacts
        });
        take_contacts(&contacts)
    }

    /// A trunk's peer with the called number in it. What was asked for with a `sips` URI is asked of the peer with one, and
    /// its name stands for servers that speak TLS.
    pub(crate) fn peer_candidate(
        &self,
        peer: &str,
        by: Option<&str>,
        called: Option<&Dialled<'_>>,
        secure: bool,
    ) -> Option<Candidate> {
        let uri = Uri::parse(peer.as_bytes()).ok()?;
        let secured = secure && uri.scheme == sip::Scheme::Sip;
        let scheme: &[u8] = if secure || uri.scheme == sip::Scheme::Sips { b"sips:" } else { b"sip:" };
        let port = uri.port.map(|port| format!(":{port}")).unwrap_or_default();
        let (user, at, kind): (&[u8], &[u8], &[u8]) =
            called.map_or((b"", b"", b""), |called| (&called.user, b"@", called.kind()));
        let to = [scheme, user, at, uri.host, port.as_bytes(), kind].concat();
        let full = match secured {
            // RFC 3261 §26.2.2: with sips, tls is no transport to be named.
            true => [&to[..], &without_tls(uri.params)].concat(),
            false => [&to, uri.params.raw()].concat(),
        };
        let reach = match self.reach(&Destination::of(&uri)?, by)? {
            Reach::Name { host, port, transport: None, secure } => {
                Reach::Name { host, port, transport: None, secure: secure || secured }
            }
            reach => reach,
        };
        Some(Candidate::new(full, to, reach))
    }

    /// How a destination is reached; `None` when no listener of ours speaks to it.
    pub(super) fn reach(&self, destination: &Destination<'_>, by: Option<&str>) -> Option<Reach> {
        let transport = destination.transport();
        Some(match destination.host {
            Host::Name(host) => Reach::Name {
                host: host.into(),
                port: destination.port,
                transport,
                secure: destination.secure,
            },
            Host::Address(_) => {
                let remote = destination.address(transport?)?;
                Reach::Flow { flow: self.flow_to(remote, transport?, by)?, registered: false }
            }
        })
    }

    /// Which listener of ours speaks to this address.
    pub(crate) fn flow_to(&self, remote: SocketAddr, transport: Transport, by: Option<&str>) -> Option<Flow> {
        let listeners = &self.wire.settings.listeners;
        let fits = |same_family: bool| {
            listeners.iter().position(|listener| {
                listener.transport == transport
                    && by.is_none_or(|name| name == listener.name)
                    && (!same_family || same_kind(listener.bind.ip(), remote.ip()))
            })
        };
        let index = fits(true).or_else(|| fits(false))?;
        Some(Flow { listener: ListenerId(u16::try_from(index).ok()?), remote, connection: 0 })
    }

    /// A named candidate, once for each server of its name: each is a target of its own (RFC 3263 §4.3).
    pub(crate) fn at_servers(
        &mut self,
        call: Option<uuid::Uuid>,
        named: &Candidate,
        hops: &[NextHop],
        snapshot: &Snapshot,
    ) -> VecDeque<Candidate> {
        let Reach::Name { host, .. } = &named.reach else { return VecDeque::new() };
        let trunk = named.trunk.and_then(|trunk| snapshot.trunk(trunk));
        let by = trunk.and_then(|trunk| trunk.listener.as_deref());
        let mut found: VecDeque<Candidate> = VecDeque::new();
        let mut left_out = None;
        for NextHop { address, transport } in hops {
            // A name may lead anywhere; one that a peer chose may not lead back here.
            if named.hops > 0 && !self.may_be_sent_to(*address) {
                continue;
            }
            let flow = self.flow_to(*address, *transport, by);
            let Some(flow) = flow.filter(|flow| self.is_of_family(*flow)) else {
                left_out = left_out.or(Some(NextHop { address: *address, transport: *transport }));
                continue;
            };
            let reach = Reach::Flow { flow, registered: false };
            let is_alternative = named.is_alternative || !found.is_empty();
            found.push_back(Candidate { reach, is_alternative, ..named.clone() });
            if found.len() == MAX_SERVERS {
                break;
            }
        }
        if let Some(NextHop { address, transport }) = left_out {
            let transport = transport.as_param();
            let by = by.map_or(String::new(), |by| format!(" called {by:?}"));
            let what = format!("{host}: no {transport} listener{by} speaks to {address}, which is left out");
            self.wire.event(call, EventKind::Warning { what });
        }
        found
    }

    /// Whether the listener of a flow can send to its peer at all: an IPv6 socket of ours speaks IPv6 only.
    pub(crate) fn is_of_family(&self, flow: Flow) -> bool {
        same_kind(self.wire.listener(flow.listener).bind.ip(), flow.remote.ip())
    }

    pub(super) fn on_resolved(
        &mut self,
        key: CallKey,
        query: QueryId,
        hops: &[NextHop],
        note: Option<Box<str>>,
        now: Now,
    ) {
        let Some(call) = self.calls.get_mut(key).filter(|call| call.setup.is_some()) else { return };
        if !call.focus_query(query) {
            return;
        }
        let Some(setup) = call.setup.as_mut() else { return };
        setup.query = None;
        let Some(current) = setup.current.clone() else { return };
        let (id, snapshot) = (call.id, call.snapshot.clone());
        if let Some(note) = note {
            self.wire.event(Some(id), EventKind::Warning { what: note.into() });
        }
        let mut servers = self.at_servers(Some(id), &current, hops, &snapshot);
        let first = servers.pop_front();
        let Some(setup) = self.calls.get_mut(key).and_then(|call| call.setup.as_mut()) else { return };
        let cause = match first {
            Some(first) => {
                setup.current = Some(first);
                servers.truncate(MAX_CANDIDATES.saturating_sub(setup.targets.len() + setup.tried.len()));
                for candidate in servers.into_iter().rev() {
                    setup.targets.push_front(candidate);
                }
                Cause::new(Event::Resolved)
            }
            // No address is no answer: whatever else is left is tried, whatever codes the route fails over on.
            None => {
                return self.target_failed(key, 503, None, GoesOn::Always, EndedBy::Error, now);
            }
        };
        self.drive(key, cause, now);
    }
}

/// The parameters but for `transport=tls`.
fn without_tls(params: sip::Params<'_>) -> Vec<u8> {
    let is_tls = |name: &[u8], value: Option<&[u8]>| {
        name.eq_ignore_ascii_case(b"transport")
            && value.is_some_and(|value| value.eq_ignore_ascii_case(b"tls"))
    };
    let mut out = Vec::new();
    for (name, value) in params.iter().filter(|(name, value)| !is_tls(name, *value)) {
        out.push(b';');
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}

fn same_kind(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}
