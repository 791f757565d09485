//! From a name to its servers: NAPTR, then SRV, then A and AAAA, as RFC 3263 §4 says.
//!
//! ```text
//!   port written ──────────────────────────────────────────────▶ A, AAAA
//!   transport written ───────────▶ SRV of that transport ──none─▶ A, AAAA, default port
//!   neither ──▶ NAPTR ──usable───▶ SRV or A, AAAA of its replacement
//!                 │none
//!                 └──────────────▶ SRV of each transport ──none─▶ A, AAAA, default port
//! ```
//!
//! A look-up comes to one transport: that of the first usable NAPTR record, or of the first SRV records that exist. A
//! carrier that lists its hosts once for each transport is not to get each call three times when it is in trouble.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use call::{Listener, NextHop};
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::{NAPTR, SRV};
use sip::Transport;
use tokio::task::JoinSet;

use super::dns::{FAILED_LIFE, Family, Found, Records};
use super::servers::{Server, Servers};

/// More SRV records are not followed to their hosts, the least preferred go first.
const MAX_SRV: usize = 16;

/// What is known for sure is believed for so long.
const SURE: Duration = Duration::from_secs(3600);

/// What is asked: the parts of a URI that decide where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) host: Box<str>,
    pub(crate) port: Option<u16>,
    /// Absent: the records of the name are to say.
    pub(crate) transport: Option<Transport>,
    pub(crate) secure: bool,
}

/// What this box can begin to speak: the transport and family of each listener, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spoken(Vec<(Transport, Family)>);

impl Spoken {
    pub(crate) fn of(listeners: &[Listener]) -> Spoken {
        Spoken(
            listeners.iter().map(|listener| (listener.transport, Family::of(listener.bind.ip()))).collect(),
        )
    }

    fn has(&self, transport: Transport) -> bool {
        self.0.iter().any(|(spoken, _)| *spoken == transport)
    }

    /// The families that this transport is spoken in; that of the first listener first.
    fn families(&self, transport: Transport) -> Vec<Family> {
        let mut families = Vec::new();
        for (_, family) in self.0.iter().filter(|(spoken, _)| *spoken == transport) {
            if !families.contains(family) {
                families.push(*family);
            }
        }
        families
    }
}

/// A look-up on its way: what it has learnt besides the servers.
struct Search<'a> {
    records: &'a Arc<Records>,
    spoken: &'a Spoken,
    until: Instant,
    notes: Vec<String>,
}

/// Finds the servers of a name.
pub(super) async fn locate(records: &Arc<Records>, spoken: &Spoken, question: &Question) -> Servers {
    let host = &*question.host;
    let mut search = Search { records, spoken, until: Instant::now() + SURE, notes: Vec::new() };
    let groups = match Name::from_utf8(host) {
        Ok(name) => search.servers(name, question).await,
        Err(_) => {
            search.note("not a host name");
            Vec::new()
        }
    };
    let mut servers = Servers { groups, note: None, until: search.until };
    if servers.is_empty() && search.notes.is_empty() {
        search.note("no such name, or no address that a listener here can send to");
    }
    if !search.notes.is_empty() {
        servers.note = Some(format!("{host}: {}", search.notes.join("; ")).into());
    }
    servers
}

impl Search<'_> {
    async fn servers(&mut self, mut name: Name, question: &Question) -> Vec<Vec<Server>> {
        if let Some(transport) = question.transport.filter(|transport| !self.spoken.has(*transport)) {
            self.note(format!("no {} listener", transport.as_param()));
            return Vec::new();
        }
        // A name without a dot is a host of this network and no domain: it has addresses, under the search list.
        let is_host = name.num_labels() < 2 || self.records.is_host(&name);
        if name.num_labels() > 1 {
            name.set_fqdn(true);
        }
        let usual = self.usual(question);
        let transport = question.transport.or(usual);
        if question.port.is_some() || is_host {
            let Some(transport) = transport else { return self.nothing_spoken(question) };
            let port = question.port.unwrap_or(transport.default_port());
            return self.hosts(name, transport, port).await;
        }
        if let Some(transport) = question.transport {
            return match service(&name, transport) {
                Some(service) => match self.srv(&service, transport).await {
                    Some(groups) => groups,
                    None => self.hosts(name, transport, transport.default_port()).await,
                },
                None => self.hosts(name, transport, transport.default_port()).await,
            };
        }
        if let Some(groups) = self.by_naptr(&name, question.secure).await {
            return groups;
        }
        let mut has_service = false;
        for transport in transports(question.secure).iter().filter(|transport| self.spoken.has(**transport)) {
            if let Some(service) = service(&name, *transport)
                && let Some(groups) = self.srv(&service, *transport).await
            {
                if !groups.is_empty() {
                    return groups;
                }
                has_service = true;
            }
        }
        // Only a name without any is a server itself (RFC 3263 §4.2); of others the address is that of something else.
        if has_service {
            return Vec::new();
        }
        match usual {
            Some(transport) => self.hosts(name, transport, transport.default_port()).await,
            None => self.nothing_spoken(question),
        }
    }

    /// What a URI without transport is spoken to in (§4.1): UDP, TLS for `sips`. TCP where that is all there is.
    fn usual(&self, question: &Question) -> Option<Transport> {
        transports(question.secure).iter().copied().find(|transport| self.spoken.has(*transport))
    }

    fn nothing_spoken(&mut self, question: &Question) -> Vec<Vec<Server>> {
        self.note(if question.secure { "no tls listener" } else { "no udp or tcp listener" });
        Vec::new()
    }

    /// `None`: the name has no NAPTR records for SIP.
    async fn by_naptr(&mut self, name: &Name, secure: bool) -> Option<Vec<Vec<Server>>> {
        let found = self.records.naptr(name).await;
        let mut services: Vec<(Service, NAPTR)> = self
            .learn(found, "NAPTR")
            .into_iter()
            .filter_map(|naptr| Some((Service::of(&naptr)?, naptr)))
            .collect();
        if services.is_empty() {
            return None;
        }
        services.sort_by_key(|(_, naptr)| (naptr.order, naptr.preference));
        for (service, naptr) in services {
            let transport = service.transport;
            if secure && !service.secure {
                self.note(format!("NAPTR {service} is left out: the URI is a sips URI"));
                continue;
            }
            if !self.spoken.has(transport) {
                self.note(format!("NAPTR {service} is left out: no {} listener", transport.as_param()));
                continue;
            }
            let groups = match service.leads_to {
                Replacement::Service => self.srv(&naptr.replacement, transport).await.unwrap_or_default(),
                Replacement::Host => self.hosts(naptr.replacement, transport, transport.default_port()).await,
            };
            if !groups.is_empty() {
                return Some(groups);
            }
        }
        Some(Vec::new())
    }

    /// The servers of a service by priority; `None` when it has no records. Empty: it has, and none of them helps.
    async fn srv(&mut self, service: &Name, transport: Transport) -> Option<Vec<Vec<Server>>> {
        let found = self.records.srv(service).await;
        let mut records = self.learn(found, "SRV");
        if records.is_empty() {
            return None;
        }
        // RFC 2782: the service is decidedly not there.
        if records.iter().all(|srv| srv.target.is_root()) {
            self.note(format!("SRV {service} says that there is no such service"));
            return Some(Vec::new());
        }
        records.retain(|srv| !srv.target.is_root() && srv.port != 0);
        records.sort_by_key(|srv| srv.priority);
        records.truncate(MAX_SRV);
        let mut asked = JoinSet::new();
        for (index, srv) in records.iter().enumerate() {
            let target = fully_qualified(srv.target.clone());
            let families = self.spoken.families(transport);
            let (records, port) = (Arc::clone(self.records), srv.port);
            asked.spawn(async move { (index, hops(&records, &target, transport, port, families).await) });
        }
        let mut answers: Vec<(usize, Vec<Found<NextHop>>)> = Vec::new();
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer);
        }
        answers.sort_by_key(|(index, _)| *index);
        let mut groups: Vec<(u16, Vec<Server>)> = Vec::new();
        for (srv, (_, answers)) in records.iter().zip(answers) {
            let SRV { priority, weight, .. } = *srv;
            let hops: Vec<NextHop> =
                answers.into_iter().flat_map(|found| self.learn(found, &srv.target)).collect();
            if hops.is_empty() {
                self.note(format!("{} has no address that a listener here can send to", srv.target));
                continue;
            }
            let server = Server { weight, hops };
            match groups.last_mut() {
                Some((last, group)) if *last == priority => group.push(server),
                Some(_) | None => groups.push((priority, vec![server])),
            }
        }
        Some(groups.into_iter().map(|(_, group)| group).collect())
    }

    /// The addresses of the name itself.
    async fn hosts(&mut self, name: Name, transport: Transport, port: u16) -> Vec<Vec<Server>> {
        let families = self.spoken.families(transport);
        let found = hops(self.records, &name, transport, port, families).await;
        let hops: Vec<NextHop> = found.into_iter().flat_map(|found| self.learn(found, &name)).collect();
        if hops.is_empty() { Vec::new() } else { vec![vec![Server { weight: 0, hops }]] }
    }

    /// Takes the records, and notes how long they are believed and what went wrong.
    fn learn<T>(&mut self, found: Found<T>, what: impl Display) -> Vec<T> {
        self.until = self.until.min(found.until);
        if let Some(failure) = found.failure {
            self.until = self.until.min(Instant::now() + FAILED_LIFE);
            self.note(format!("{what}: {failure}"));
        }
        found.records
    }

    fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }
}

/// A host's addresses as hops, one answer for each family.
async fn hops(
    records: &Records,
    host: &Name,
    transport: Transport,
    port: u16,
    families: Vec<Family>,
) -> Vec<Found<NextHop>> {
    let mut answers = Vec::new();
    for family in families {
        let Found { records, until, failure } = records.addresses(host, family).await;
        let hop = |ip| NextHop { address: SocketAddr::new(ip, port), transport };
        answers.push(Found { records: records.into_iter().map(hop).collect(), until, failure });
    }
    answers
}

/// Without NAPTR records these are looked for, in this order (§4.1): `_sip` for sip URIs, `_sips` for sips URIs.
fn transports(secure: bool) -> &'static [Transport] {
    if secure { &[Transport::Tls] } else { &[Transport::Udp, Transport::Tcp] }
}

/// The name under which SRV records of a transport stand (§4.1). RFC 7118 §5.3 gives WebSocket services for NAPTR records and
/// no such name: without one, the addresses of the name are asked for, at port 80 or 443.
fn service(name: &Name, transport: Transport) -> Option<Name> {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws | Transport::Wss => return None,
    };
    Name::from_ascii(prefix).and_then(|prefix| prefix.append_domain(name)).ok()
}

fn fully_qualified(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

/// What a NAPTR record offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Service {
    transport: Transport,
    secure: bool,
    leads_to: Replacement,
}

/// Where a NAPTR record goes on: its flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replacement {
    /// `s`: to SRV records.
    Service,
    /// `a`: to a host.
    Host,
}

impl Service {
    /// `None` for what is not SIP, for transports that this box does not know (SCTP, DTLS), and for records that want
    /// their name made by an expression, which SIP has none of (§4.1).
    fn of(naptr: &NAPTR) -> Option<Service> {
        let leads_to = match &*naptr.flags {
            [b's' | b'S'] => Replacement::Service,
            [b'a' | b'A'] => Replacement::Host,
            _other => return None,
        };
        if !naptr.regexp.is_empty() || naptr.replacement.is_root() {
            return None;
        }
        const KNOWN: [(&[u8], Transport, bool); 5] = [
            (b"SIP+D2U", Transport::Udp, false),
            (b"SIP+D2T", Transport::Tcp, false),
            (b"SIPS+D2T", Transport::Tls, true),
            (b"SIP+D2W", Transport::Ws, false),
            (b"SIPS+D2W", Transport::Wss, true),
        ];
        let (_, transport, secure) =
            KNOWN.into_iter().find(|(name, ..)| naptr.services.eq_ignore_ascii_case(name))?;
        Some(Service { transport, secure, leads_to })
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.transport {
            Transport::Udp => "SIP+D2U",
            Transport::Tcp => "SIP+D2T",
            Transport::Tls => "SIPS+D2T",
            Transport::Ws => "SIP+D2W",
            Transport::Wss => "SIPS+D2W",
        })
    }
}
