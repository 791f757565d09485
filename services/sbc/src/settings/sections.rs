//! The sections of the file, one function each, in the order of the example file. Trunks, users and routes are in
//! `routing`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ::media::Layout;
use api::Role;
use sip::{Timing, Transport};

use super::section::{Document, Place, Placed, Section};
use super::values::{
    address, address_v6, choice, duration, flag, host_port, name, name_server, number, path, ports, postgres,
    sha256, shared_secret, socket, spool, web_address,
};
use super::{
    Access, Api, Cdr, Connections, Dns, Engine, Journal, Listener, Media, Node, Recording, Settings, Timers,
    Token, certificates, guard, routing,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Walks the whole file. Mistakes are in the document afterwards; with any, the settings mean nothing.
pub(super) fn read(mut root: Section<'_>) -> Settings {
    let default = Settings::default();
    let node = node(root.section("node"), default.node);
    let sip = timers(root.section("sip"), default.sip);
    let dns = dns(root.section("dns"), default.dns);
    let listeners = listeners(&mut root, default.listeners);
    let connections = connections(root.section("connections"), default.connections);
    let media = media(root.section("media"), default.media, node.recover_calls);
    let api = api(root.section("api"), default.api);
    let cdr = cdr(root.section("cdr"), default.cdr, node.recover_calls);
    let recording = recording(root.section("recording"), default.recording);
    let journal = journal(root.section("journal"), default.journal);
    let mut notices = Vec::new();
    let trunks = routing::trunks(&mut root, &listeners, (&media, &recording), &mut notices);
    let users = routing::users(&mut root);
    let access = access(root.section("access"), root.has("user"));
    let guard = guard::guard(&mut root, default.guard);
    let routes = routing::routes(&mut root, &trunks, &recording);
    let trunks = trunks.into_iter().map(|entry| entry.value).collect();
    root.finish();
    let tls = BTreeMap::new();
    Settings {
        node,
        sip,
        dns,
        listeners,
        tls,
        connections,
        media,
        api,
        cdr,
        recording,
        journal,
        access,
        guard,
        users,
        trunks,
        routes,
        notices,
    }
}

fn node(mut section: Section<'_>, default: Node) -> Node {
    let node = Node {
        name: section.or("name", default.name, name),
        data_dir: section.or("data_dir", default.data_dir, path),
        workers: section.or("workers", u32::from(default.workers), number(0..=256)) as u16,
        drain_timeout: section.or("drain_timeout", default.drain_timeout, duration(Duration::ZERO..=DAY)),
        max_calls: section.or("max_calls", default.max_calls, number(1..=10_000_000)),
        recover_calls: section.or("recover_calls", default.recover_calls, flag),
    };
    section.finish();
    node
}

fn timers(mut section: Section<'_>, default: Timers) -> Timers {
    // Below 10 ms everything is sent twice; above 10 s a peer that is away is noticed after ten minutes.
    let range = || duration(Duration::from_millis(10)..=10 * SECOND);
    let t1 = section.get("t1", range());
    let t2 = section.get("t2", range());
    let written = [&t1, &t2].into_iter().flatten().last().map(|placed| placed.place.clone());
    let timing = Timing {
        t1: t1.map_or(default.timing.t1, |t1| t1.value),
        t2: t2.map_or(default.timing.t2, |t2| t2.value),
        t4: section.or("t4", default.timing.t4, range()),
    };
    if let Some(place) = written.filter(|_| timing.t2 < timing.t1) {
        section.document().mistake(&place, "sip.t1 not above sip.t2");
    }
    let timer_c = section.or("timer_c", default.timer_c, duration(SECOND..=DAY));
    let session_expires = section.get("session_expires", duration(Duration::ZERO..=DAY));
    // RFC 4028 §5 allows nothing below 90 s.
    let min_se = section.or("min_se", default.min_se, duration(90 * SECOND..=DAY));
    if let Some(session) = &session_expires
        && !session.value.is_zero()
        && session.value < min_se
    {
        section.document().mistake(
            &session.place,
            "\"0s\" for no session timer, or sip.session_expires not below sip.min_se",
        );
    }
    let session_expires =
        session_expires.map_or(default.session_expires.max(min_se), |session| session.value);
    section.finish();
    Timers { timing, timer_c, session_expires, min_se }
}

fn dns(mut section: Section<'_>, default: Dns) -> Dns {
    const MOST: usize = 8;
    let servers =
        section.list("servers", "name servers like \"192.0.2.53\"", name_server).unwrap_or_default();
    if let Some(beyond) = servers.get(MOST) {
        section.document().mistake(&beyond.place, format!("at most {MOST} name servers"));
    }
    let dns = Dns {
        servers: servers.into_iter().map(|server| server.value).collect(),
        // A caller waits for it: what takes longer than a look-up may take in all is of no use.
        timeout: section.or("timeout", default.timeout, duration(Duration::from_millis(100)..=5 * SECOND)),
        attempts: section.or("attempts", default.attempts, number(1..=5)),
    };
    section.finish();
    dns
}

fn listeners(root: &mut Section<'_>, default: Vec<Listener>) -> Vec<Listener> {
    let document = root.document();
    let mut taken_names = Taken::default();
    let mut taken_sockets: BTreeMap<(bool, SocketAddr), usize> = BTreeMap::new();
    let mut listeners = Vec::new();
    let before = document.count();
    for mut section in root.sections("listener") {
        let name = section.need("name", "a name", name);
        let transport = transport(&mut section);
        let bind = section.need("bind", "IP:PORT", socket);
        let advertise = section.get("advertise", host_port);
        let certificate = certificates::read(&mut section, transport);
        let origins = certificates::origins(&mut section, transport);
        if let Some(name) = &name {
            taken_names.check(document, name, "listener");
        }
        if let Some(bind) =
            bind.as_ref().filter(|bind| bind.value.ip().is_unspecified() && advertise.is_none())
        {
            let expected = "one address of this box, or listener.advertise with the one that others reach";
            document.mistake(&bind.place, expected);
        }
        if let (Some(transport), Some(bind)) = (transport, &bind)
            && bind.value.port() != 0
            && let Some(line) = taken_sockets.insert((transport.is_reliable(), bind.value), bind.place.line)
        {
            document.mistake(&bind.place, format!("a socket of its own: line {line} has this one"));
        }
        section.finish();
        if let (Some(name), Some(transport), Some(bind)) = (name, transport, bind) {
            let advertise = advertise.map(|advertise| advertise.value);
            let (name, bind) = (name.value, bind.value);
            listeners.push(Listener { name, transport, bind, advertise, certificate, origins });
        }
    }
    // With one that could not be read nobody knows which transports there are: then nothing is checked against them.
    match (document.count() == before, listeners.is_empty()) {
        (true, true) => default,
        (true, false) => listeners,
        (false, _) => Vec::new(),
    }
}

fn connections(mut section: Section<'_>, default: Connections) -> Connections {
    const MOST: u32 = 1_000_000;
    let connections = Connections {
        max: section.or("max", default.max, number(0..=MOST)),
        per_source: section.or("per_source", default.per_source, number(0..=MOST)),
        idle: section.or("idle", default.idle, duration(SECOND..=DAY)),
        handshakes: section.or("handshakes", default.handshakes, number(1..=MOST)),
        handshake_timeout: section.or(
            "handshake_timeout",
            default.handshake_timeout,
            duration(SECOND..=60 * SECOND),
        ),
    };
    section.finish();
    connections
}

fn transport(section: &mut Section<'_>) -> Option<Transport> {
    const WORDS: &[(&str, Transport)] = &[
        ("udp", Transport::Udp),
        ("tcp", Transport::Tcp),
        ("tls", Transport::Tls),
        ("ws", Transport::Ws),
        ("wss", Transport::Wss),
    ];
    const EXPECTED: &str = "\"udp\", \"tcp\", \"tls\", \"ws\" or \"wss\"";
    let transport = section.need("transport", EXPECTED, |value| {
        choice(WORDS)(value).map_err(|_| std::borrow::Cow::from(EXPECTED))
    });
    transport.map(|transport| transport.value)
}

fn media(mut section: Section<'_>, default: Media, recovers_calls: bool) -> Media {
    const ENGINES: &[(&str, Engine)] =
        &[("auto", Engine::Auto), ("userspace", Engine::Userspace), ("ebpf", Engine::Ebpf)];
    let document = section.document();
    let place = section.get("address", address);
    let advertise = section.get("advertise", address);
    if let Some(place) = place.as_ref().filter(|place| place.value.is_unspecified() && advertise.is_none()) {
        document.mistake(
            &place.place,
            "one address of this box, or media.advertise with the one that others reach",
        );
    }
    if let Some(advertise) = advertise.as_ref().filter(|advertise| advertise.value.is_unspecified()) {
        document.mistake(&advertise.place, "the address that others reach");
    }
    let of_this_family = "an address of the family of media.address";
    if let Some(advertise) = &advertise
        && place.as_ref().map_or(default.address, |place| place.value).is_ipv4() != advertise.value.is_ipv4()
    {
        document.mistake(&advertise.place, of_this_family);
    }
    let address6 = section.get("address6", address_v6);
    let advertise6 = section.get("advertise6", address_v6);
    if let Some(address6) = address6.as_ref().filter(|_| !default_or_v4(place.as_ref())) {
        document.mistake(&address6.place, "media.address with an IPv4 address: it has the IPv6 one already");
    }
    if let Some(address6) = address6.as_ref().filter(|ip| ip.value.is_unspecified() && advertise6.is_none()) {
        let expected = "one address of this box, or media.advertise6 with the one that others reach";
        document.mistake(&address6.place, expected);
    }
    if let Some(advertise6) = advertise6.as_ref().filter(|advertise6| advertise6.value.is_unspecified()) {
        document.mistake(&advertise6.place, "the address that others reach");
    }
    if let Some(advertise6) = advertise6.as_ref().filter(|_| address6.is_none()) {
        document.mistake(&advertise6.place, "media.address6 with the address of this box that it stands for");
    }
    // Who says where media is says it for both families.
    let default6 = default.address6.filter(|_| place.is_none());
    let engine = section.or("engine", default.engine, choice(ENGINES));
    let survives = section.get("survive_restart", flag);
    if let Some(survives) = survives.as_ref().filter(|survives| survives.value) {
        if engine == Engine::Userspace {
            document.mistake(
                &survives.place,
                "media.engine \"auto\" or \"ebpf\": sockets end with their process",
            );
        }
        if !recovers_calls {
            document
                .mistake(&survives.place, "node.recover_calls: without it there are no calls to go on with");
        }
    }
    let media = Media {
        address: place.map_or(default.address, |place| place.value),
        advertise: advertise.map(|advertise| advertise.value),
        address6: address6.map(|address6| address6.value).or(default6),
        advertise6: advertise6.map(|advertise6| advertise6.value),
        ports: section.or("ports", default.ports, ports),
        engine,
        steer: section.or("steer", default.steer, flag),
        survive_restart: survives.map_or(default.survive_restart, |survives| survives.value),
        pins: section.or("pins", default.pins, path),
        timeout: section.or("timeout", default.timeout, duration(SECOND..=DAY)),
        one_way_after: section.or(
            "one_way_after",
            default.one_way_after,
            duration(Duration::from_secs(1)..=Duration::from_secs(600)),
        ),
        tick: section.or("tick", default.tick, duration(Duration::ZERO..=Duration::from_millis(20))),
        threads: section.or("threads", u32::from(default.threads), number(1..=256)) as u16,
        dscp: section.get("dscp", number(0..=63)).map(|dscp| dscp.value as u8),
        rate: section.or("rate", default.rate, number(0..=1_000_000)),
        phone_security: section.or(
            "phone_security",
            default.phone_security,
            choice(super::routing::SECURITY),
        ),
    };
    section.finish();
    media
}

fn default_or_v4(address: Option<&Placed<IpAddr>>) -> bool {
    address.is_none_or(|address| address.value.is_ipv4())
}

fn api(mut section: Section<'_>, default: Api) -> Api {
    const ROLES: &[(&str, Role)] = &[("admin", Role::Admin), ("viewer", Role::Viewer)];
    let document = section.document();
    let bind = section.get("bind", socket);
    let mut taken_names = Taken::default();
    let mut tokens = Vec::new();
    let written = section.sections("tokens");
    let open = written.is_empty();
    for mut token in written {
        let name = token.need("name", "a name", name);
        let sha256 = token.secret("sha256", sha256);
        token.needed("sha256", "64 hexadecimal digits: the SHA-256 of the token");
        let role = token.need("role", "\"admin\" or \"viewer\"", choice(ROLES));
        if let Some(name) = &name {
            taken_names.check(document, name, "token");
        }
        token.finish();
        if let (Some(name), Some(sha256), Some(role)) = (name, sha256, role) {
            tokens.push(Token { name: name.value, sha256: sha256.value, role: role.value });
        }
    }
    if let Some(bind) = bind.as_ref().filter(|bind| open && !is_loopback(bind.value.ip())) {
        document.mistake(
            &bind.place,
            "a loopback address like 127.0.0.1:8080, or api.tokens that say who may ask",
        );
    }
    section.finish();
    Api { bind: bind.map_or(default.bind, |bind| bind.value), tokens }
}

fn cdr(mut section: Section<'_>, default: Cdr, recovers_calls: bool) -> Cdr {
    let enabled = section.get("enabled", flag);
    if let Some(off) = enabled.as_ref().filter(|enabled| !enabled.value && recovers_calls) {
        let what = "node.recover_calls = false beside it: calls are recovered from what is recorded of them";
        section.document().mistake(&off.place, what);
    }
    let webhook = section.secret("webhook", web_address).map(|url| url.value);
    let webhook_secret = section.secret("webhook_secret", shared_secret).map(|secret| secret.value);
    if webhook.is_some() {
        section.needed("webhook_secret", "16 characters or more that whoever gets the records knows as well");
    }
    let interim = section.get("interim", duration(Duration::ZERO..=DAY));
    // Each costs as much as a record.
    if let Some(often) = interim.as_ref().filter(|interim| !interim.value.is_zero() && interim.value < SECOND)
    {
        section.document().mistake(&often.place, "\"0s\" for none, or at least \"1s\"");
    }
    let interim = interim.map_or(default.interim, |interim| interim.value);
    let cdr = Cdr {
        enabled: enabled.map_or(default.enabled, |enabled| enabled.value),
        postgres: section.secret("postgres", postgres).map(|url| url.value),
        spool: section.or("spool", default.spool, spool),
        retention_days: section.or("retention_days", default.retention_days, number(0..=36_500)),
        interim,
        lines: section.get("lines", path).map(|path| path.value),
        lines_max_mb: section.or("lines_max_mb", default.lines_max_mb, number(1..=65_536)),
        lines_keep: section
            .or("lines_keep", default.lines_keep, |value| number(1..=1_000)(value).map(|keep| keep as u16)),
        webhook,
        webhook_secret,
    };
    section.finish();
    cdr
}

fn recording(mut section: Section<'_>, default: Recording) -> Recording {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const LAYOUT: &[(&str, Layout)] = &[("split", Layout::Split), ("mixed", Layout::Mixed)];
    let recording = Recording {
        directory: section.get("directory", path).map(|directory| directory.value),
        max_mb: section.or("max_mb", default.max_mb, number(1..=1_048_576)),
        max_length: section.or("max_length", default.max_length, duration(Duration::from_secs(1)..=DAY)),
        layout: section.or("layout", default.layout, choice(LAYOUT)),
    };
    section.finish();
    recording
}

fn journal(mut section: Section<'_>, default: Journal) -> Journal {
    let journal = Journal {
        calls: section.or("calls", default.calls, number(0..=10_000_000)),
        max_kb: section.or("max_kb", default.max_kb, number(1..=65_536)),
        memory_mb: section.or("memory_mb", default.memory_mb, number(1..=1_048_576)),
    };
    section.finish();
    journal
}

fn access(mut section: Section<'_>, has_users: bool) -> Access {
    let open_loopback = section.get("open_loopback", flag);
    if let Some(open) = open_loopback.as_ref().filter(|open| open.value && has_users) {
        let expected = "false where there are [[user]]s: a name with a password and names without do not mix";
        section.document().mistake(&open.place, expected);
    }
    section.finish();
    Access { open_loopback: open_loopback.is_some_and(|open| open.value) }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Names used so far, and the line of each.
#[derive(Default)]
pub(super) struct Taken(BTreeMap<String, usize>);

impl Taken {
    pub(super) fn check(&mut self, document: &Document<'_>, name: &Placed<String>, what: &str) {
        let Place { line, .. } = name.place;
        if let Some(before) = self.0.insert(name.value.clone(), line) {
            document
                .mistake(&name.place, format!("a name of its own: the {what} of line {before} has this one"));
        }
    }
}
