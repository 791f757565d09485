//! The configuration: what `config/drawbridge.toml` documents key by key, read from TOML and checked as a whole.
//!
//! [`Settings::load`] either gives settings that everything can be started from, or every mistake of the file at once,
//! each with its line ([`SettingsError`]). The order of reading is the order of this file: parse, walk the sections
//! (`sections`, `routing`), then hold trunks and routes against each other. [`changes()`] compares two settings for a
//! reload.

mod certificates;
mod changes;
mod guard;
mod mistake;
mod routing;
mod section;
mod sections;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::media::Layout;
use ::routing::{Route, Snapshot, Trunk};
use api::Role;
use call::{Families, RegistrarPolicy, User};
use sip::{Timing, Transport};
use store::SpoolPlace;
use toml::de::DeTable;

pub use certificates::Certificate;
pub use changes::changes;
pub use mistake::{Mistake, SettingsError};
use section::{Document, Place};

/// Everything the configuration says; a key that is not in the file has its default.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[node]`
    pub node: Node,
    /// `[sip]`
    pub sip: Timers,
    /// `[dns]`
    pub dns: Dns,
    /// `[[listener]]`, at least one.
    pub listeners: Vec<Listener>,
    /// What encrypted listeners show, by their names; read from the files that they name.
    pub tls: BTreeMap<String, ::net::Tls>,
    /// `[connections]`
    pub connections: Connections,
    /// `[media]`
    pub media: Media,
    /// `[api]`
    pub api: Api,
    /// `[cdr]`
    pub cdr: Cdr,
    /// `[recording]`
    pub recording: Recording,
    /// `[journal]`
    pub journal: Journal,
    /// `[access]`
    pub access: Access,
    /// `[guard]` and `[[scanner]]`
    pub guard: ::net::GuardRules,
    /// `[[user]]`
    pub users: Vec<User>,
    /// `[[trunk]]`
    pub trunks: Vec<Trunk>,
    /// `[[route]]`
    pub routes: Vec<Route>,
    /// Keys of the file that are right and have no effect.
    pub notices: Vec<Notice>,
}

/// `[node]`: this box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// In records and metrics.
    pub name: String,
    /// Where the journal of records and the registrations are kept.
    pub data_dir: PathBuf,
    /// Shards; 0: one for each core.
    pub workers: u16,
    /// How long a drain waits for calls to end by themselves.
    pub drain_timeout: Duration,
    /// The most calls at once, an equal part for each shard; the next gets 503 where that part is full.
    pub max_calls: u32,
    /// Calls that were up go on in another process.
    pub recover_calls: bool,
}

/// `[sip]`: the timers of RFC 3261 that may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// T1, T2 and T4.
    pub timing: Timing,
    /// How long a target may ring.
    pub timer_c: Duration,
    /// How long a session lives without a refresh; zero: the box asks for no session timer.
    pub session_expires: Duration,
    /// The smallest session interval that is accepted.
    pub min_se: Duration,
}

/// `[dns]`: who is asked for the servers of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Name servers; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one of them may take.
    pub timeout: Duration,
    /// How often a question is asked.
    pub attempts: u32,
}

/// `[[listener]]`: a socket for signalling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// In log lines.
    pub name: String,
    /// What it speaks.
    pub transport: Transport,
    /// Where it listens; port 0: the system chooses.
    pub bind: SocketAddr,
    /// What Via and Contact say, where that is not the bound address.
    pub advertise: Option<String>,
    /// Of tls and wss.
    pub certificate: Option<Certificate>,
    /// Of ws and wss: whose pages may connect; nobody named: all.
    pub origins: Vec<String>,
}

/// `[connections]`: how many streams of any kind, and how long they may be silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// At once; 0: what the limit of file descriptors has room for.
    pub max: u32,
    /// Of one host; 0: a quarter of that.
    pub per_source: u32,
    /// How long one lives on which nothing comes.
    pub idle: Duration,
    /// Handshakes of TLS and WebSocket under way at once.
    pub handshakes: u32,
    /// How long they may take.
    pub handshake_timeout: Duration,
}

/// `[media]`: the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Where its ports are.
    pub address: IpAddr,
    /// What descriptions say, where that is not `address`.
    pub advertise: Option<IpAddr>,
    /// Where they are in IPv6, when `address` is of IPv4; the loopback address only on systems that have it.
    pub address6: Option<Ipv6Addr>,
    /// What descriptions say, where that is not `address6`.
    pub advertise6: Option<Ipv6Addr>,
    /// First and last port.
    pub ports: (u16, u16),
    /// Which engine was asked for.
    pub engine: Engine,
    /// Whether the datagrams of all ports are brought to one socket of each relay thread, where that can be had.
    pub steer: bool,
    /// Whether the kernel goes on with settled streams when the process is killed, until the next one takes them over.
    pub survive_restart: bool,
    /// Where it is said of them, in a BPF file system.
    pub pins: PathBuf,
    /// How long a side that should send may be silent.
    pub timeout: Duration,
    /// How long after the answer a side is reported of which nothing was heard.
    pub one_way_after: Duration,
    /// How long packets gather before they are moved together.
    pub tick: Duration,
    /// Relay threads.
    pub threads: u16,
    /// Differentiated services code point of what is sent.
    pub dscp: Option<u8>,
    /// Packets a second that one side may send in one stream; 0: as many as it wants.
    pub rate: u32,
    /// Whether the media of phones is encrypted between them and the box; of trunks each says so itself.
    pub phone_security: ::routing::MediaSecurity,
}

impl Media {
    /// In which families media is relayed.
    fn families(&self) -> Families {
        Families { v4: self.address.is_ipv4(), v6: self.address.is_ipv6() || self.address6.is_some() }
    }
}

/// `media.engine`: who relays streams that have settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The kernel where it can be had.
    Auto,
    /// Sockets.
    Userspace,
    /// The kernel, or the box does not start.
    Ebpf,
}

/// `[api]`: HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Where it listens; port 0: the system chooses.
    pub bind: SocketAddr,
    /// Who may ask; nobody named: everybody on loopback.
    pub tokens: Vec<Token>,
}

/// Who may ask the API.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// In log lines.
    pub name: String,
    /// Of the bearer token, in hexadecimal digits.
    pub sha256: String,
    /// What it opens.
    pub role: Role,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// `[cdr]`: where records go besides the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdr {
    /// Whether calls leave records.
    pub enabled: bool,
    /// A PostgreSQL database.
    pub postgres: Option<Secret>,
    /// Where records wait for the journal.
    pub spool: SpoolPlace,
    /// How many days records are kept; 0: for ever.
    pub retention_days: u32,
    /// How often the journal is told how far a call is that is up; zero: only when something changes.
    pub interim: Duration,
    /// A file of JSON lines.
    pub lines: Option<PathBuf>,
    /// The length beyond which it becomes an older one, in units of 1024 · 1024 bytes.
    pub lines_max_mb: u32,
    /// How many older ones stay.
    pub lines_keep: u16,
    /// An address on the web, which may have a password in it.
    pub webhook: Option<Secret>,
    /// What its requests are signed with; there is one where there is an address.
    pub webhook_secret: Option<Secret>,
}

impl Cdr {
    /// How long records are kept; for ever when absent.
    pub fn retention(&self) -> Option<Duration> {
        let days = u64::from(self.retention_days);
        (days != 0).then(|| Duration::from_secs(days * 24 * 60 * 60))
    }
}

/// `[recording]`: where calls are recorded, of trunks that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Of the files; `None`: nothing is recorded.
    pub directory: Option<PathBuf>,
    /// The most of all files, in units of 1024 · 1024 bytes.
    pub max_mb: u32,
    /// The longest recording.
    pub max_length: Duration,
    /// What is in which channel.
    pub layout: Layout,
}

/// `[journal]`: what is kept of calls for `drawbridge replay` and `drawbridge ladder`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// How many calls that are over, all shards together; 0: nothing is kept, of calls in progress either.
    pub calls: u32,
    /// The most of one call, in units of 1024 bytes.
    pub max_kb: u32,
    /// The most of all of them, in units of 1024 · 1024 bytes.
    pub memory_mb: u32,
}

/// `[access]`: who may call without being a trunk or a configured user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Phones on loopback addresses register any name without a password.
    pub open_loopback: bool,
}

/// Text that no log line and no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A key that is right and has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Counted from 1.
    pub line: usize,
    /// The key with its section.
    pub key: String,
    /// Why.
    pub why: &'static str,
}

impl Default for Settings {
    /// What the box does without a file: everything on loopback, and phones there may register any name.
    fn default() -> Settings {
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 5060));
        let listener = |name: &str, transport| Listener {
            name: name.to_owned(),
            transport,
            bind,
            advertise: None,
            certificate: None,
            origins: Vec::new(),
        };
        Settings {
            node: Node {
                name: "drawbridge".to_owned(),
                data_dir: PathBuf::from("./data"),
                workers: 0,
                drain_timeout: Duration::from_secs(30 * 60),
                max_calls: 100_000,
                recover_calls: true,
            },
            sip: Timers {
                timing: Timing::default(),
                timer_c: Duration::from_secs(180),
                session_expires: Duration::from_secs(1_800),
                min_se: Duration::from_secs(90),
            },
            dns: Dns { servers: Vec::new(), timeout: Duration::from_secs(2), attempts: 2 },
            listeners: vec![listener("udp", Transport::Udp), listener("tcp", Transport::Tcp)],
            tls: BTreeMap::new(),
            connections: Connections {
                max: 0,
                per_source: 0,
                idle: Duration::from_secs(60 * 60),
                handshakes: 512,
                handshake_timeout: Duration::from_secs(8),
            },
            media: Media {
                address: IpAddr::from(Ipv4Addr::LOCALHOST),
                advertise: None,
                address6: Some(Ipv6Addr::LOCALHOST),
                advertise6: None,
                ports: (30000, 39999),
                engine: Engine::Auto,
                steer: true,
                survive_restart: false,
                pins: PathBuf::from("/sys/fs/bpf/drawbridge"),
                timeout: Duration::from_secs(60),
                one_way_after: Duration::from_secs(5),
                tick: Duration::from_millis(1),
                threads: 1,
                dscp: None,
                rate: 1_000,
                phone_security: ::routing::MediaSecurity::None,
            },
            api: Api { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), tokens: Vec::new() },
            cdr: Cdr {
                enabled: true,
                postgres: None,
                spool: SpoolPlace::Auto,
                retention_days: 0,
                interim: Duration::from_secs(300),
                lines: None,
                lines_max_mb: 64,
                lines_keep: 8,
                webhook: None,
                webhook_secret: None,
            },
            recording: Recording {
                directory: None,
                max_mb: 10_000,
                max_length: Duration::from_secs(4 * 60 * 60),
                layout: Layout::Split,
            },
            journal: Journal { calls: 1_000, max_kb: 64, memory_mb: 256 },
            access: Access { open_loopback: true },
            guard: ::net::GuardRules::default(),
            users: Vec::new(),
            trunks: Vec::new(),
            routes: Vec::new(),
            notices: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads and checks a file, and those that it names; without one, the defaults.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or anything in it is wrong.
    pub fn load(file: Option<&Path>) -> Result<Settings, SettingsError> {
        let Some(path) = file else { return Ok(Settings::default()) };
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Settings::parse(&text)
                .and_then(Settings::with_certificates)
                .map_err(|mistakes| SettingsError::Wrong { file, mistakes }),
            Err(source) => Err(SettingsError::Unreadable { file, source }),
        }
    }

    /// Reads what the listeners show.
    fn with_certificates(mut self) -> Result<Settings, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        for listener in &self.listeners {
            match certificates::load(listener) {
                Ok(None) => {}
                Ok(Some(tls)) => {
                    self.tls.insert(listener.name.clone(), tls);
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(self) } else { Err(mistakes) }
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    ///
    /// Every mistake in it, in the order of the lines.
    pub fn parse(text: &str) -> Result<Settings, Vec<Mistake>> {
        let document = Document::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // What a broken line was meant to say is anybody's guess, so the rest is judged once the file is TOML.
            for error in errors {
                let line = document.line(error.span().map_or(0, |span| span.start));
                let place = Place { line, key: String::new(), came: "not TOML".to_owned() };
                document.mistake(&place, format!("TOML ({})", error.message().replace('\n', ", ")));
            }
            return Err(document.into_mistakes());
        }
        let settings = sections::read(document.root(table.get_ref()));
        let mistakes = document.into_mistakes();
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }

    /// Trunks and routes as calls see them.
    ///
    /// # Errors
    ///
    /// None for settings that were read from a file; settings made by hand may contradict themselves.
    pub fn snapshot(&self) -> Result<Snapshot, ::routing::SnapshotError> {
        Snapshot::new(self.trunks.clone(), self.routes.clone())
    }

    /// Who may register.
    pub fn registrar(&self) -> RegistrarPolicy {
        match (self.users.is_empty(), self.access.open_loopback) {
            (false, _) => RegistrarPolicy::Users(self.users.clone()),
            (true, true) => RegistrarPolicy::OpenLoopback,
            (true, false) => RegistrarPolicy::Closed,
        }
    }
}
