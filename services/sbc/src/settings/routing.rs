//! Trunks, users and routes. Each is read by itself; then trunks and routes are held against each other by the crate
//! that will use them, and its findings are brought back to the lines of the file.

use std::collections::BTreeMap;

use ::routing::{
    Bodies, CancelMatching, Challenges, Codecs, Credentials, Dtmf, Entry, Fork, MediaFamily, MediaSecurity,
    Problem, Redirect, Refer, Route, RtpProfile, Snapshot, SnapshotError, Trunk, TrunkId, default_failover,
};
use call::User;
use sip::Uri;

use super::section::{Document, Place, Placed, Section, one_of};
use super::sections::Taken;
use super::values::{
    choice, codec, codes, duration, flag, method, name, number, pattern, reject, source, tags, text, token,
    user_name,
};
use super::{Listener, Media, Notice, Recording};

/// A trunk or route with the places of its keys, and of the elements of its lists.
pub(super) struct Written<T> {
    pub(super) value: T,
    places: BTreeMap<(&'static str, usize), Place>,
}

impl<T> Written<T> {
    fn new(value: T) -> Written<T> {
        Written { value, places: BTreeMap::new() }
    }

    /// Remembers where a list's elements stand and gives their values.
    fn take<V>(&mut self, key: &'static str, list: Vec<Placed<V>>) -> Vec<V> {
        let mut values = Vec::new();
        for (index, element) in list.into_iter().enumerate() {
            self.places.insert((key, index), element.place);
            values.push(element.value);
        }
        values
    }
}

pub(super) fn trunks(
    root: &mut Section<'_>,
    listeners: &[Listener],
    (media, recording): (&Media, &Recording),
    notices: &mut Vec<Notice>,
) -> Vec<Written<Trunk>> {
    let mut taken = Taken::default();
    let sections = root.sections("trunk");
    let mut trunks: Vec<Written<Trunk>> = Vec::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        let mut name = named(&mut section, &mut taken, "trunk").unwrap_or_default();
        if name.is_empty() {
            // It keeps its number, so that the routes of the file still mean their trunks.
            name = format!("#{index}");
        }
        trunks.push(trunk(section, name, listeners, (media, recording), notices));
    }
    let document = root.document();
    let values: Vec<Trunk> = trunks.iter().map(|trunk| trunk.value.clone()).collect();
    for found in Snapshot::mistakes(&values, &[]) {
        bring_home(document, &found, &trunks, &[]);
    }
    trunks
}

/// Whether the box encrypts media, and how.
pub(super) const SECURITY: &[(&str, MediaSecurity)] = &[
    ("none", MediaSecurity::None),
    ("sdes", MediaSecurity::Sdes),
    ("dtls", MediaSecurity::Dtls),
    ("optional", MediaSecurity::Optional),
    ("required", MediaSecurity::Required),
];

fn trunk(
    mut section: Section<'_>,
    name: String,
    listeners: &[Listener],
    (media, recording): (&Media, &Recording),
    notices: &mut Vec<Notice>,
) -> Written<Trunk> {
    const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
    const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
    const MATCHING: &[(&str, CancelMatching)] =
        &[("strict", CancelMatching::Strict), ("lenient", CancelMatching::Lenient)];
    const REFER: &[(&str, Refer)] = &[("local", Refer::Local), ("pass", Refer::Pass)];
    const FAMILIES: &[(&str, MediaFamily)] =
        &[("auto", MediaFamily::Auto), ("ipv4", MediaFamily::Ipv4), ("ipv6", MediaFamily::Ipv6)];
    const BODIES: &[(&str, Bodies)] = &[("strict", Bodies::Strict), ("pass", Bodies::Pass)];
    const PROFILES: &[(&str, RtpProfile)] =
        &[("pass", RtpProfile::Pass), ("avp", RtpProfile::Avp), ("avpf", RtpProfile::Avpf)];
    const DTMF: &[(&str, Dtmf)] = &[("pass", Dtmf::Pass), ("rfc4733", Dtmf::Rfc4733), ("info", Dtmf::Info)];
    const REDIRECT: &[(&str, Redirect)] = &[("follow", Redirect::Follow), ("pass", Redirect::Pass)];
    let mut trunk = Written::new(Trunk::new(name));
    let sources = section.list("sources", "IP addresses, IP:PORT or NETWORK/PREFIX", source);
    let peers = section.list("peers", "SIP URIs", text);
    if sources.is_none() && peers.is_none() {
        let expected =
            "addresses whose requests are this trunk's, or trunk.peers where its calls go, or both";
        section.document().mistake(&section.here("sources", "missing, as is trunk.peers"), expected);
    }
    trunk.value.sources = trunk.take("sources", sources.unwrap_or_default());
    let peers = peers.unwrap_or_default();
    let leaves_by = section.get("listener", text);
    if let Some(name) = &leaves_by
        && !listeners.is_empty()
        && !listeners.iter().any(|listener| listener.name == name.value)
    {
        let names = one_of(&name.value, listeners.iter().map(|listener| listener.name.as_str()));
        section.document().mistake(&name.place, format!("the name of a [[listener]]: {names}"));
    }
    trunk.value.listener = leaves_by.map(|name| name.value);
    check_peers(section.document(), &peers, trunk.value.listener.as_deref(), listeners);
    trunk.value.peers = trunk.take("peers", peers);
    if let Some(matching) = section.get("cancel_matching", choice(MATCHING)) {
        trunk.value.cancel_matching = matching.value;
    }
    if let Some(refer) = section.get("refer", choice(REFER)) {
        trunk.value.refer = refer.value;
    }
    if let Some(redirect) = section.get("redirect", choice(REDIRECT)) {
        trunk.value.redirect = redirect.value;
    }
    if let Some(bodies) = section.get("bodies", choice(BODIES)) {
        trunk.value.bodies = bodies.value;
    }
    if let Some(family) = section.get("media_family", choice(FAMILIES)) {
        let families = media.families();
        let (has, key) = match family.value {
            MediaFamily::Auto => (true, ""),
            MediaFamily::Ipv4 => (families.v4, "media.address"),
            MediaFamily::Ipv6 => (families.v6, "media.address6"),
        };
        if !has {
            let expected = format!("\"auto\", or an address of this family in {key}");
            section.document().mistake(&family.place, expected);
        }
        trunk.value.media_family = family.value;
    }
    trunk.value.codecs = codecs(section.section("codecs"));
    if let Some(profile) = section.get("rtp_profile", choice(PROFILES)) {
        trunk.value.rtp_profile = profile.value;
    }
    if let Some(dtmf) = section.get("dtmf", choice(DTMF)) {
        trunk.value.dtmf = dtmf.value;
    }
    if let Some(security) = section.get("media_security", choice(SECURITY)) {
        trunk.value.media_security = security.value;
    }
    trunk.value.record = record(&mut section, recording);
    trunk.value.tags = section.or("tags", None, tags);
    let methods = section.list("methods", "methods like MESSAGE", method);
    trunk.value.methods = methods.map(|list| list.into_iter().map(|method| method.value).collect());
    let require = section.list("require", "option tags like 100rel", token);
    trunk.value.require = require.unwrap_or_default().into_iter().map(|tag| tag.value).collect();
    trunk.value.max_calls = section.or("max_calls", 0, number(0..=u32::MAX));
    trunk.value.max_cps = section.or("max_cps", 0, number(0..=u32::MAX));
    if let Some(ping) = section.get("options_ping", duration(SECOND..=DAY)) {
        trunk.value.options_ping = Some(ping.value);
        if trunk.value.peers.is_empty() {
            let (line, key) = (ping.place.line, ping.place.key);
            notices.push(Notice { line, key, why: "the trunk has no peers to ask" });
        }
    }
    if section.word("auth") == Some("pass") {
        trunk.value.challenges = Challenges::Pass;
    } else {
        trunk.value.auth = credentials(section.section("auth"));
    }
    section.finish();
    trunk
}

fn codecs(mut section: Section<'_>) -> Codecs {
    let mut names = |key| {
        let names = section.list(key, "codecs like PCMA or opus", codec);
        names.unwrap_or_default().into_iter().map(|name| name.value).collect()
    };
    let codecs = Codecs { allow: names("allow"), drop: names("drop"), order: names("order") };
    section.finish();
    codecs
}

fn credentials(mut section: Section<'_>) -> Option<Credentials> {
    if !section.is_present() {
        return None;
    }
    let username = section.need("username", "the name that the trunk knows this box by", text);
    section.needed("password", "the password that goes with it");
    let password = section.secret("password", text);
    section.finish();
    Some(Credentials { username: username?.value, password: password?.value })
}

/// What this version and this box's listeners can reach.
fn check_peers(
    document: &Document<'_>,
    peers: &[Placed<String>],
    leaves_by: Option<&str>,
    listeners: &[Listener],
) {
    let usable: Vec<&Listener> =
        listeners.iter().filter(|listener| leaves_by.is_none_or(|name| name == listener.name)).collect();
    for peer in peers {
        // What is no URI at all is found when trunks and routes are held against each other.
        let Ok(uri) = Uri::parse(peer.value.as_bytes()) else { continue };
        // Without any of these the records of the name say what it is spoken to in (RFC 3263 §4.1).
        let says = uri.port.is_some() || uri.params.has("transport") || uri.target_ip().is_some();
        if uri.scheme == sip::Scheme::Sip && !says {
            continue;
        }
        let transport = uri.carried_by();
        if !usable.is_empty() && !usable.iter().any(|listener| listener.transport == transport) {
            let expected =
                format!("a transport that a [[listener]] speaks: none speaks {}", transport.as_param());
            document.mistake(&peer.place, expected);
        }
    }
}

/// Whether calls are recorded, which takes a place for the files.
fn record(section: &mut Section<'_>, recording: &Recording) -> bool {
    let Some(Placed { value, place }) = section.get("record", flag) else { return false };
    if value && recording.directory.is_none() {
        section.document().mistake(&place, "false, or recording.directory with the place for the files");
    }
    value
}

pub(super) fn users(root: &mut Section<'_>) -> Vec<User> {
    let mut taken = Taken::default();
    let mut users = Vec::new();
    for mut section in root.sections("user") {
        let name = section.need("name", "the user part of a SIP URI", user_name);
        if let Some(name) = &name {
            taken.check(section.document(), name, "user");
        }
        section.needed("password", "a password");
        let password = section.secret("password", text);
        section.finish();
        if let (Some(name), Some(password)) = (name, password) {
            users.push(User { name: name.value, password: password.value });
        }
    }
    users
}

pub(super) fn routes(root: &mut Section<'_>, trunks: &[Written<Trunk>], recording: &Recording) -> Vec<Route> {
    const FORK: &[(&str, Fork)] = &[("serial", Fork::Serial), ("parallel", Fork::Parallel)];
    let document = root.document();
    let mut taken = Taken::default();
    let mut routes: Vec<Written<Route>> = Vec::new();
    // A list with a stranger in it has been reported; that it is shorter now, or empty, is no second mistake.
    let mut reported = Vec::new();
    for (index, mut section) in root.sections("route").into_iter().enumerate() {
        let name = named(&mut section, &mut taken, "route").unwrap_or_else(|| format!("#{index}"));
        let mut route = Written::new(Route::new(name, Vec::new()));
        let before = document.count();
        if let Some(from) = section.list("from", "names of trunks", text) {
            let from = known(document, from, trunks);
            route.value.from = Some(route.take("from", from));
        }
        if let Some(Placed { value, place }) = section.get("reject", reject) {
            route.places.insert(("reject", 0), place);
            route.value.reject = Some(value);
        }
        if !section.has("reject") {
            section.needed("to", "a list of names of trunks, or route.reject for calls that lead nowhere");
        }
        let to = section.list("to", "names of trunks", text).unwrap_or_default();
        let to = known(document, to, trunks);
        route.value.to = route.take("to", to);
        // A `reject` that cannot be read leaves the route without targets, and is one mistake.
        if document.count() > before {
            reported.push(index);
        }
        route.value.fork = section.or("fork", Fork::Serial, choice(FORK));
        route.value.called = section.get("called", pattern).map(|pattern| pattern.value);
        if let Some(Placed { value, place }) = section.get("incomplete", pattern) {
            route.places.insert(("incomplete", 0), place);
            route.value.incomplete = Some(value);
        }
        if let Some(runs) = section.list("failover", "response codes", codes) {
            route.value.failover = runs.into_iter().flat_map(|run| run.value).collect();
        } else {
            route.value.failover = default_failover();
        }
        route.value.record = record(&mut section, recording);
        route.value.tags = section.or("tags", None, tags);
        route.places.insert(("", 0), section.here("", "an empty list"));
        section.finish();
        routes.push(route);
    }
    let trunk_values: Vec<Trunk> = trunks.iter().map(|trunk| trunk.value.clone()).collect();
    let route_values: Vec<Route> = routes.iter().map(|route| route.value.clone()).collect();
    for found in Snapshot::mistakes(&trunk_values, &route_values) {
        let is_new = match found.entry {
            Entry::Trunk(_) => false,
            Entry::Route(index) => found.element.is_some() || !reported.contains(&index),
        };
        if is_new {
            bring_home(document, &found, trunks, &routes);
        }
    }
    routes.into_iter().map(|route| route.value).collect()
}

fn named(section: &mut Section<'_>, taken: &mut Taken, what: &str) -> Option<String> {
    let name = section.need("name", "a name", name)?;
    taken.check(section.document(), &name, what);
    Some(name.value)
}

/// The trunks of these names; a name of none is a mistake.
fn known(
    document: &Document<'_>,
    names: Vec<Placed<String>>,
    trunks: &[Written<Trunk>],
) -> Vec<Placed<TrunkId>> {
    let mut known = Vec::new();
    for Placed { value: name, place } in names {
        let number = trunks.iter().position(|trunk| trunk.value.name == name);
        match number.and_then(|number| u16::try_from(number).ok()) {
            Some(number) => known.push(Placed { value: TrunkId(number), place }),
            None => {
                let names = one_of(&name, trunks.iter().map(|trunk| trunk.value.name.as_str()));
                document.mistake(&place, format!("the name of a [[trunk]]: {names}"));
            }
        }
    }
    known
}

/// Says at its line what is wrong with trunks and routes taken together.
fn bring_home(
    document: &Document<'_>,
    found: &SnapshotError,
    trunks: &[Written<Trunk>],
    routes: &[Written<Route>],
) {
    let places = match found.entry {
        Entry::Trunk(index) => trunks.get(index).map(|trunk| &trunk.places),
        Entry::Route(index) => routes.get(index).map(|route| &route.places),
    };
    let written = places.and_then(|places| places.get(&(found.field, found.element.unwrap_or_default())));
    let section = places.and_then(|places| places.get(&("", 0)));
    let place = match (written, section) {
        (Some(place), _) => place.clone(),
        (None, Some(section)) => Place { key: format!("{}{}", section.key, found.field), ..section.clone() },
        (None, None) => Place { line: 1, key: found.field.to_owned(), came: found.name.clone() },
    };
    let expected = match &found.problem {
        // Told apart from the others because here the walk of the file has spoken already.
        Problem::NameTaken | Problem::NoName => return,
        Problem::SourceTaken { by, .. } => format!("a source of its own: trunk {by} has this one"),
        Problem::BadPeer { expected, .. } => {
            format!("a URI like sip:192.0.2.10:5060;transport=udp ({expected})")
        }
        Problem::NoPeers(name) => format!("a trunk that can be called: {name} has no peers"),
        Problem::NoTargets => "at least one name of a [[trunk]]".to_owned(),
        Problem::EmptyFrom => {
            "at least one name of a [[trunk]], or no route.from for calls from anywhere".to_owned()
        }
        other => other.to_string().trim_start_matches("expected ").to_owned(),
    };
    document.mistake(&place, expected);
}
