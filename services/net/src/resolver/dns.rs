//! Records of names: asked of the name servers and of the hosts file, judged, and bounded.
//!
//! hickory speaks to the servers, keeps their answers for as long as they may be kept (RFC 2308 for those that there are
//! none), goes on by TCP where an answer was cut, and follows aliases. Here only what was asked for is taken out of
//! an answer: a record of another name that came with it is none of ours.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::{NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

use crate::Dns;

/// How long it is believed that a name server fails, and that a name does not exist where the answer does not say.
pub(super) const FAILED_LIFE: Duration = Duration::from_secs(5);

/// How long "there is none" is believed at most, whatever the zone says (RFC 2308 §5 wants a bound): a name that comes
/// into being is to be found.
const MAX_NEGATIVE_LIFE: Duration = Duration::from_secs(300);

/// The same for what there is.
const MAX_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a line of the hosts file is believed.
const HOSTS_LIFE: Duration = Duration::from_secs(30);

/// Answers kept.
const MAX_ANSWERS: u64 = 8192;

/// Aliases followed within one answer.
const MAX_ALIASES: usize = 8;

/// More records of one kind are not looked at.
const MAX_RECORDS: usize = 32;

/// More addresses of one host are not used.
const MAX_ADDRESSES: usize = 8;

const HOSTS: &str = "/etc/hosts";

/// What was found of one kind.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) records: Vec<T>,
    pub(super) until: Instant,
    /// Why nobody knows whether there are any.
    pub(super) failure: Option<String>,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn kind(self) -> RecordType {
        match self {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        }
    }
}

/// Where records come from.
pub(super) struct Records {
    servers: Result<TokioResolver, String>,
    hosts: Mutex<HostsFile>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

/// The hosts file, as it was when last looked at.
#[derive(Default)]
struct HostsFile {
    changed: Option<SystemTime>,
    hosts: Arc<Hosts>,
}

impl Records {
    /// Without name servers there are still the hosts file and `localhost`.
    pub(super) fn new(dns: &Dns) -> Records {
        let servers = resolver(dns).map_err(|error| error.to_string());
        if let Err(error) = &servers {
            tracing::warn!(target: "net", "only the names of {HOSTS} can be found: {error}");
        }
        Records { servers, hosts: Mutex::default() }
    }

    /// Whether the hosts file has this name: what this machine says of itself stands before any record.
    pub(super) fn is_host(&self, name: &Name) -> bool {
        let hosts = self.hosts();
        let has = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)).is_some();
        name.is_localhost() || has(RecordType::A) || has(RecordType::AAAA)
    }

    pub(super) async fn naptr(&self, name: &Name) -> Found<NAPTR> {
        self.find(name, RecordType::NAPTR, |data| match data {
            RData::NAPTR(naptr) => Some(naptr.clone()),
            _ => None,
        })
        .await
    }

    pub(super) async fn srv(&self, name: &Name) -> Found<SRV> {
        self.find(name, RecordType::SRV, |data| match data {
            RData::SRV(srv) => Some(srv.clone()),
            _ => None,
        })
        .await
    }

    /// The addresses of a host of this family. Those that mean no single host are none.
    pub(super) async fn addresses(&self, name: &Name, family: Family) -> Found<IpAddr> {
        let address = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        let static_host = self.hosts().lookup_static_host(&Query::query(name.clone(), family.kind()));
        let mut found = match static_host {
            Some(lookup) => Found {
                records: lookup.answers().iter().filter_map(|record| address(&record.data)).collect(),
                until: Instant::now() + HOSTS_LIFE,
                failure: None,
            },
            None => self.find(name, family.kind(), address).await,
        };
        found.records.retain(|ip| is_unicast(*ip) && Family::of(*ip) == family);
        found.records.truncate(MAX_ADDRESSES);
        found
    }

    async fn find<T>(&self, name: &Name, kind: RecordType, of: impl Fn(&RData) -> Option<T>) -> Found<T> {
        let none = |life, failure| Found { records: Vec::new(), until: Instant::now() + life, failure };
        let servers = match &self.servers {
            Ok(servers) => servers,
            Err(error) => return none(FAILED_LIFE, Some(error.clone())),
        };
        match servers.lookup(name.clone(), kind).await {
            Ok(lookup) => {
                let until = lookup.valid_until().min(Instant::now() + MAX_LIFE);
                Found { records: answers(&lookup, kind, of), until, failure: None }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none_found))) => {
                let life = none_found.negative_ttl.map_or(FAILED_LIFE, |seconds| {
                    Duration::from_secs(u64::from(seconds)).min(MAX_NEGATIVE_LIFE)
                });
                none(life, None)
            }
            Err(error) => none(FAILED_LIFE, Some(error.to_string())),
        }
    }

    /// Looks whether the file was changed: what an administrator writes there counts at once.
    fn hosts(&self) -> Arc<Hosts> {
        let changed = fs::metadata(HOSTS).and_then(|file| file.modified()).ok();
        let mut file = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if file.changed != changed {
            *file = HostsFile { changed, hosts: Arc::new(Hosts::from_system().unwrap_or_default()) };
        }
        Arc::clone(&file.hosts)
    }
}

/// The records of what was asked for: of this name, or of the last of its aliases.
fn answers<T>(lookup: &Lookup, kind: RecordType, of: impl Fn(&RData) -> Option<T>) -> Vec<T> {
    let mut name = lookup.query().name();
    for _ in 0..MAX_ALIASES {
        let alias = lookup.answers().iter().find_map(|record| match &record.data {
            RData::CNAME(cname) if record.name == *name => Some(&cname.0),
            _ => None,
        });
        match alias {
            Some(alias) => name = alias,
            None => break,
        }
    }
    let ours = lookup.answers().iter().filter(|record| record.name == *name && record.record_type() == kind);
    ours.filter_map(|record| of(&record.data)).take(MAX_RECORDS).collect()
}

fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        // Nobody has an address of "this network" (RFC 6890).
        IpAddr::V4(ip) => ip.octets()[0] != 0 && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    }
}

fn resolver(dns: &Dns) -> Result<TokioResolver, NetError> {
    let (config, mut options) = match dns.servers.is_empty() {
        true => hickory_resolver::system_conf::read_system_conf()?,
        false => {
            let servers = dns.servers.iter().map(|server| name_server(*server)).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        }
    };
    options.timeout = dns.timeout;
    options.attempts = dns.attempts.saturating_sub(1);
    options.cache_size = MAX_ANSWERS;
    options.positive_max_ttl = Some(MAX_LIFE);
    options.negative_max_ttl = Some(MAX_NEGATIVE_LIFE);
    // Aliases are needed to tell which records belong to the name.
    options.preserve_intermediates = true;
    // It would be read once and for ever.
    options.use_hosts_file = ResolveHosts::Never;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}
