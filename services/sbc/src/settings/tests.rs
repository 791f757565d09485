//! What the settings promise: the examples are right and complete, defaults are where the papers say, secrets stay
//! secret, and a reload knows what it may swap. The messages of every mistake are in `tests/wrong.stderr`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use call::RegistrarPolicy;
use routing::{CancelMatching, Query, Target};
use sip::Transport;

use super::{Settings, changes};

const EVERY_KEY: &str = include_str!("../../../../config/drawbridge.toml");
const LAB: &str = include_str!("../../../../config/lab.toml");
const CARRIER: &str = include_str!("../../../../config/carrier.toml");

/// The example with everything that is off in it turned on.
fn everything_on() -> String {
    let setting = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| !c.is_whitespace()))
            .map(str::to_owned)
    };
    let lines: Vec<String> = EVERY_KEY.lines().map(|line| setting(line).unwrap_or(line.to_owned())).collect();
    lines.join("\n").replace("open_loopback = true", "open_loopback = false")
}

fn mistakes(text: &str) -> Vec<String> {
    let found = Settings::parse(text).err().unwrap_or_default();
    found.iter().map(|mistake| format!("{}: {mistake}", mistake.line)).collect()
}

#[test]
fn the_example_of_every_key_says_what_the_box_does_without_a_file() {
    let example = Settings::parse(EVERY_KEY).unwrap();
    assert_eq!(format!("{example:?}"), format!("{:?}", Settings::default()));
}

#[test]
fn every_setting_that_is_off_in_the_example_can_be_turned_on() {
    assert_eq!(mistakes(&everything_on()), [""; 0]);
}

#[test]
fn no_key_is_missing_from_the_example() {
    let sections = [
        "",
        "node",
        "sip",
        "dns",
        "[listener]",
        "connections",
        "media",
        "api",
        "cdr",
        "recording",
        "journal",
        "access",
        "guard",
        "[scanner]",
        "[trunk]",
        "[user]",
        "[route]",
    ];
    let mut keys = 0;
    for section in sections {
        // An unknown key makes the reader name all that it knows in that place.
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let wrong = mistakes(&format!("{header}no-such-key = 1"));
        let known =
            wrong.iter().find_map(|line| line.split_once("unknown key: expected ")).unwrap().1.to_owned();
        for key in known.replace(" or ", ", ").split(", ") {
            keys += 1;
            let written = everything_on().lines().any(|line| {
                line.starts_with(&format!("{key} = "))
                    || line == format!("[{key}]")
                    || line == format!("[[{key}]]")
            });
            assert!(written, "{section}: {key} is not in config/drawbridge.toml");
        }
    }
    assert!(keys > 45, "only {keys} keys were asked about");
}

#[test]
fn without_a_file_the_box_serves_phones_on_loopback() {
    let settings = Settings::load(None).unwrap();
    let here: SocketAddr = "127.0.0.1:5060".parse().unwrap();
    let sockets: Vec<_> =
        settings.listeners.iter().map(|listener| (listener.transport, listener.bind)).collect();
    assert_eq!(sockets, [(Transport::Udp, here), (Transport::Tcp, here)]);
    assert_eq!(settings.api.bind, std::net::SocketAddr::from(([127, 0, 0, 1], 8080)));
    assert_eq!(settings.media.ports, (30000, 39999));
    assert_eq!(settings.registrar(), RegistrarPolicy::OpenLoopback);
}

#[test]
fn media_has_the_families_whose_addresses_the_file_names() {
    let media = |text: &str| {
        let media = Settings::parse(&format!("[media]\n{text}")).unwrap().media;
        (media.address.to_string(), media.address6.map(|ip| ip.to_string()))
    };
    let loopback = ("127.0.0.1".to_owned(), Some("::1".to_owned()));
    assert_eq!(media(""), loopback);
    assert_eq!(media("ports = '2000-2999'"), loopback);
    assert_eq!(media("address = '192.0.2.7'"), ("192.0.2.7".into(), None));
    assert_eq!(media("address = '2001:db8::7'"), ("2001:db8::7".into(), None));
    let both = "address = '192.0.2.7'\naddress6 = '2001:db8::7'\nadvertise6 = '2001:db8::8'";
    assert_eq!(media(both), ("192.0.2.7".into(), Some("2001:db8::7".into())));
}

#[test]
fn media_addresses_of_the_wrong_family_are_named() {
    let wrong = |text: &str| mistakes(&format!("[media]\n{text}")).join("; ");
    for (text, expected) in [
        ("address6 = '192.0.2.7'", "an IPv6 address"),
        ("address6 = '::1'\nadvertise6 = '192.0.2.7'", "an IPv6 address"),
        ("address = '192.0.2.7'\nadvertise = '2001:db8::7'", "an address of the family of media.address"),
        ("address = '2001:db8::7'\nadvertise = '192.0.2.7'", "an address of the family of media.address"),
        ("address = '2001:db8::7'\naddress6 = '2001:db8::8'", "media.address with an IPv4 address"),
        ("address6 = '::'", "media.advertise6 with the one that others reach"),
        ("address6 = '::'\nadvertise6 = '::'", "the address that others reach"),
        ("address = '192.0.2.7'\nadvertise6 = '2001:db8::8'", "media.address6 with the address of this box"),
        ("advertise = '2001:db8::8'", "an address of the family of media.address"),
    ] {
        assert!(wrong(text).contains(expected), "{text}: {}", wrong(text));
    }
    let trunk = "[[trunk]]\nname = 't'\nsources = ['192.0.2.1']\nmedia_family = ";
    let with =
        |media: &str, family: &str| mistakes(&format!("[media]\n{media}\n{trunk}'{family}'")).join("; ");
    assert!(with("address = '192.0.2.7'", "ipv6").contains("an address of this family in media.address6"));
    assert!(with("address = '2001:db8::7'", "ipv4").contains("an address of this family in media.address"));
    assert!(with("", "ipv5").contains("\"ipv6\""));
    assert_eq!(with("", "ipv6"), "");
}

#[test]
fn a_file_opens_the_registrar_only_when_it_says_so() {
    let registrar = |text: &str| Settings::parse(text).unwrap().registrar();
    assert_eq!(registrar(""), RegistrarPolicy::Closed);
    assert_eq!(registrar("[access]\nopen_loopback = true"), RegistrarPolicy::OpenLoopback);
    let users = registrar("[[user]]\nname = 'alice'\npassword = 'wonderland'");
    assert!(
        matches!(users, RegistrarPolicy::Users(users) if users.len() == 1 && users[0].password == "wonderland")
    );
}

#[test]
fn values_arrive_as_written() {
    let settings = Settings::parse(
        "[node]\nworkers = 3\ndrain_timeout = '1h 30m'\n\
         [[listener]]\nname = 'out'\ntransport = 'tcp'\nbind = '[::1]:5062'\nadvertise = 'edge.example.com:5060'\n\
         [dns]\nservers = ['192.0.2.53', '[2001:db8::53]:5353']\nattempts = 3\n\
         [media]\naddress = '::1'\nports = '2000-2999'\n\
         [[trunk]]\nname = 'pbx'\nsources = ['127.0.0.1:5070']\ncancel_matching = 'lenient'\nmax_cps = 7\n\
         [[route]]\nname = 'all'\nto = ['far']\nfailover = [486, '502-504']\nfork = 'parallel'\n\
         [[trunk]]\nname = 'far'\npeers = ['sip:192.0.2.1;transport=tcp']\nauth = { username = 'u', password = 'p' }",
    )
    .unwrap();
    assert_eq!((settings.node.workers, settings.node.drain_timeout), (3, Duration::from_secs(5400)));
    assert_eq!(settings.listeners.len(), 1, "a file with a listener has that one and no other");
    assert_eq!(settings.listeners[0].advertise.as_deref(), Some("edge.example.com:5060"));
    let servers: Vec<String> = settings.dns.servers.iter().map(SocketAddr::to_string).collect();
    assert_eq!(servers, ["192.0.2.53:53", "[2001:db8::53]:5353"]);
    assert_eq!((settings.dns.timeout, settings.dns.attempts), (Duration::from_secs(2), 3));
    assert_eq!(settings.media.ports, (2000, 2999));
    assert_eq!(settings.trunks[0].cancel_matching, CancelMatching::Lenient);
    assert_eq!(settings.trunks[0].max_cps, 7);
    assert_eq!(settings.trunks[1].auth.as_ref().unwrap().password, "p");
    assert_eq!(settings.routes[0].to, [routing::TrunkId(1)], "a route may stand before its trunk");
    assert_eq!(settings.routes[0].failover, [486, 502, 503, 504]);
    assert_eq!(settings.routes[0].fork, routing::Fork::Parallel);
}

#[test]
fn strangers_are_dealt_with_as_written() {
    let guard = |text: &str| Settings::parse(text).unwrap().guard;
    let usual = guard("");
    assert!(usual.exempt.iter().any(|network| network.contains("127.0.0.1:9".parse().unwrap())));
    assert_eq!(usual.scanners[0].name, "sipvicious");
    let own = guard("[guard]\nexempt = []\nban = '1h'\n[[scanner]]\nname = 'own'\nuser_agent = 'bot|probe'");
    assert_eq!((own.exempt.len(), own.ban), (0, Duration::from_secs(3600)));
    let names: Vec<_> = own.scanners.iter().map(|scanner| scanner.name.as_str()).collect();
    assert_eq!(names, ["own"], "a file with a scanner has that one and no other");
    assert!(guard("scanner = []").scanners.is_empty());
    for (wrong, expected) in [
        ("[guard]\nexempt = ['127.0.0.1:5060']", "without a port"),
        ("[guard]\nban = '2h'\nban_max = '1h'", "not below guard.ban"),
        ("[[scanner]]\nname = 'x'", "a pattern for User-Agent"),
        ("[[scanner]]\nname = 'x'\nuser_agent = '('", "a regular expression"),
    ] {
        let said = mistakes(wrong).join("\n");
        assert!(said.contains(expected), "{wrong}: {said}");
    }
}

#[test]
fn the_laboratory_sends_numbers_to_the_carrier_and_extensions_to_the_pbx() {
    let settings = Settings::parse(LAB).unwrap();
    assert!(settings.notices.is_empty(), "{:?}", settings.notices);
    let snapshot = settings.snapshot().unwrap();
    let target = |source: &str, uri: &str| {
        let source = source.parse().unwrap();
        let trunk = snapshot.trunk_of(source);
        match snapshot.decide(&Query { trunk, source, caller: "sip:x@x", uri, local_user: false }) {
            routing::Decision::Route(plan) => match &plan.targets[0] {
                Target::Trunk { trunk, .. } => snapshot.trunk(*trunk).unwrap().name.clone(),
                Target::User { name } => panic!("user {name}"),
            },
            routing::Decision::Refuse(refusal) => panic!("{}", refusal.why),
        }
    };
    assert_eq!(target("127.0.0.1:5070", "sip:15551234567@127.0.0.1"), "carrier");
    assert_eq!(target("127.0.0.1:5080", "sip:15551234567@127.0.0.1"), "pbx");
    assert_eq!(target("127.0.0.1:6000", "sip:1000@127.0.0.1"), "pbx");
}

#[test]
fn the_edge_example_fails_over_from_one_carrier_to_the_other() {
    let settings = Settings::parse(CARRIER).unwrap();
    assert!(settings.notices.is_empty(), "{:?}", settings.notices);
    let snapshot = settings.snapshot().unwrap();
    let source = "10.0.0.10:5060".parse().unwrap();
    let query = Query {
        trunk: snapshot.trunk_of(source),
        source,
        caller: "sip:1000@pbx",
        uri: "sip:+4930123456@edge",
        local_user: false,
    };
    let routing::Decision::Route(plan) = snapshot.decide(&query) else { panic!("refused") };
    assert_eq!(plan.targets.len(), 2);
    assert!(plan.failover.contains(&486) && plan.failover.contains(&503) && !plan.failover.contains(&404));
}

#[test]
fn secrets_are_shown_by_no_debug_output_and_no_message() {
    let right = "[cdr]\npostgres = 'postgres://edge:hunter2@db/cdr'\n[[user]]\nname = 'bob'\npassword = 'hunter2'\n\
                 [[trunk]]\nname = 't'\npeers = ['sip:192.0.2.1']\nauth = { username = 'u', password = 'hunter2' }\n\
                 [api]\ntokens = [{ name = 'o', sha256 = 'f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7', role = 'admin' }]";
    let shown = format!("{:?}", Settings::parse(right).unwrap());
    assert!(
        shown.contains("postgres: Some") && shown.contains("bob"),
        "the test sees what it should: {shown}"
    );
    assert!(!shown.contains("hunter2") && !shown.contains("f52fbd"), "{shown}");
    // The same in places where it does not belong, and misspelt.
    for wrong in [
        "[[user]]\nname = 'bob'\npassword = ['hunter2']",
        "[[user]]\nname = 'bob'\npasword = 'hunter2'",
        "[cdr]\npostgres = 'hunter2'",
        "user = 'hunter2'",
        "[[trunk]]\nname = 't'\nsources = ['192.0.2.1']\nauth = 'hunter2'",
        "[[trunk]]\nname = 't'\nsources = ['192.0.2.1']\nauth = { password = ['hunter2'] }",
        "[[user]]\npassword = 'hunter2",
    ] {
        let said = mistakes(wrong).join("\n");
        assert!(!said.is_empty() && !said.contains("hunter2"), "{wrong}: {said}");
    }
}

#[test]
fn a_peer_is_spoken_to_in_a_transport_that_some_listener_speaks() {
    let with = |listener: &str, transport: &str| {
        let peer = format!("sip:192.0.2.10:8080;transport={transport}");
        mistakes(&format!(
            "[[listener]]\nname = 'l'\ntransport = '{listener}'\nbind = '127.0.0.1:5060'\n\
             [[trunk]]\nname = 't'\npeers = ['{peer}']"
        ))
    };
    assert_eq!(with("ws", "ws"), [""; 0]);
    for transport in ["ws", "wss", "tls", "udp"] {
        let wrong = with("tcp", transport).join("; ");
        assert!(wrong.ends_with(&format!("[[listener]] speaks: none speaks {transport}")), "{wrong}");
    }
}

#[test]
fn challenges_of_a_trunk_are_answered_or_passed() {
    let text = |auth: &str| format!("{LAB}\n[[trunk]]\nname='x'\npeers=['sip:192.0.2.1']\nauth={auth}");
    let trunk = |auth: &str| Settings::parse(&text(auth)).unwrap().trunks.pop().unwrap();
    assert!(trunk("'pass'").passes_challenges() && trunk("'pass'").auth.is_none());
    assert!(!trunk("{username='u',password='p'}").passes_challenges());
    assert!(mistakes(&text("'answer'")).join("").contains("trunk.auth"));
}

#[test]
fn media_that_survives_wants_the_kernel_and_calls_that_do() {
    let with = |node: &str, media: &str| {
        mistakes(&format!("[node]\n{node}\n[media]\nsurvive_restart = true\n{media}\n"))
    };
    assert_eq!(with("", ""), Vec::<String>::new());
    assert_eq!(
        with("recover_calls = false", ""),
        [
            "4: media.survive_restart: true: expected node.recover_calls: without it there are no calls to go on with"
        ]
    );
    assert_eq!(
        with("", "engine = 'userspace'"),
        [
            "4: media.survive_restart: true: expected media.engine \"auto\" or \"ebpf\": sockets end with their process"
        ]
    );
}

#[test]
fn calls_that_are_to_be_recovered_leave_records() {
    let without = "[cdr]\nenabled = false\n[node]\n";
    assert_eq!(mistakes(&format!("{without}recover_calls = false\n")), Vec::<String>::new());
    assert_eq!(
        mistakes(without),
        [
            "2: cdr.enabled: false: expected node.recover_calls = false beside it: calls are recovered from what is recorded of them"
        ]
    );
}

#[test]
fn a_key_without_effect_is_named() {
    let text = "[[trunk]]\nname = 't'\nsources = ['192.0.2.1']\nrefer = 'pass'\nredirect = 'follow'\n\
                cancel_matching = 'lenient'\noptions_ping = '30s'";
    let notices = Settings::parse(text).unwrap().notices;
    let lines: Vec<_> = notices.iter().map(|notice| (notice.line, notice.key.as_str())).collect();
    let expected = [(7, "trunk.options_ping")];
    assert_eq!(lines, expected);
    let quiet =
        "[[trunk]]\nname = 't'\nsources = ['192.0.2.1']\nredirect = 'pass'\ncancel_matching = 'strict'";
    assert_eq!(Settings::parse(quiet).unwrap().notices, []);
}

#[test]
fn a_route_rejects_with_a_status_and_words_or_leads_to_trunks() {
    let text =
        |keys: &str| format!("[[trunk]]\nname='t'\npeers=['sip:192.0.2.1']\n[[route]]\nname='r'\n{keys}");
    let route = |keys: &str| Settings::parse(&text(keys)).unwrap().routes.pop().unwrap();
    let reject = route("reject='604 Does Not Exist Anywhere'").reject.unwrap();
    assert_eq!((reject.status, reject.phrase.as_deref()), (604, Some("Does Not Exist Anywhere")));
    assert_eq!(route("reject='503'").reject.unwrap().phrase, None);
    assert!(route("to=['t']\ncalled='^1..$'\nincomplete='^1'").incomplete.is_some());
    for (keys, key) in [
        ("reject='604'\nto=['t']", "route.reject"),
        ("reject='401'", "route.reject"),
        ("reject='busy'", "route.reject"),
        ("reject=604", "route.reject"),
        ("to=['t']\nincomplete='^1'", "route.incomplete"),
    ] {
        let found = mistakes(&text(keys));
        assert!(found.len() == 1 && found[0].contains(key), "{keys}: {found:?}");
    }
}

#[test]
fn a_reload_swaps_trunks_routes_and_users_and_names_what_needs_a_restart() {
    let old = Settings::parse(LAB).unwrap();
    let same = changes(&old, &Settings::parse(LAB).unwrap());
    assert!(!same.routing && !same.registrar && same.restart.is_empty(), "{same:?}");

    let with = |from: &str, to: &str| {
        assert!(LAB.contains(from));
        changes(&old, &Settings::parse(&LAB.replace(from, to)).unwrap())
    };
    assert!(with(r"\d{3,4}", r"\d{5}").routing);
    assert!(with("127.0.0.1:5080\"]", "127.0.0.1:5081\"]").routing);
    let guarded = changes(&old, &Settings::parse(&format!("{LAB}\n[guard]\nrate = 7")).unwrap());
    assert!(guarded.guard && guarded.restart.is_empty(), "{guarded:?}");
    assert_eq!(with("5060", "5064").restart, ["listener"]);
    assert_eq!(with("30000-30999", "31000-31999").restart, ["media"]);
    let users = with("builder", "plumber");
    assert!(users.registrar && users.restart.is_empty(), "{users:?}");
    assert_eq!(with("10s", "11s").restart, [""; 0], "the next drain takes the new time");
    let auth = |password: &str| {
        format!(
            "{LAB}\n[[trunk]]\nname='x'\npeers=['sip:192.0.2.1']\nauth={{username='u',password='{password}'}}"
        )
    };
    let (one, two) = (Settings::parse(&auth("one")).unwrap(), Settings::parse(&auth("two")).unwrap());
    assert!(changes(&one, &two).routing, "a new password of a trunk counts");
}

#[test]
fn any_text_at_all_gives_settings_or_mistakes() {
    // Cut and changed at every place: reading never fails otherwise than by naming mistakes.
    for at in (0..EVERY_KEY.len()).step_by(11) {
        let cut = EVERY_KEY.get(..at).unwrap_or_default();
        if let Err(mistakes) = Settings::parse(cut) {
            assert!(!mistakes.is_empty());
        }
    }
    let text = everything_on();
    for (at, _) in text.char_indices().step_by(97) {
        let (before, after) = text.split_at(at);
        for wedge in ["\"", "[", "]", "\n", "=", "{", "0", "é", "\0"] {
            let _ = Settings::parse(&format!("{before}{wedge}{after}"));
        }
    }
}

#[test]
fn codecs_of_a_trunk_are_lists_of_names() {
    let trunk = "[[trunk]]\nname = 't'\nsources = ['192.0.2.1']\n";
    let settings =
        Settings::parse(&format!("{trunk}codecs = {{ allow = ['PCMA', 'L16/44100'], order = ['PCMA'] }}"));
    let codecs = settings.unwrap().snapshot().unwrap().trunks()[0].codecs.clone();
    assert_eq!((codecs.allow.len(), codecs.drop.len(), codecs.order.len()), (2, 0, 1));
    let wrong = mistakes(&format!(
        "{trunk}codecs = {{ allow = ['PCMA/'], prefer = ['PCMA'] }}\nrtp_profile = 'savp'"
    ));
    assert_eq!(wrong.len(), 3, "{wrong:?}");
}

#[test]
fn trunks_and_routes_have_tags_for_records_within_bounds() {
    let text = |trunk: &str, route: &str| {
        format!(
            "[[trunk]]\nname='t'\npeers=['sip:192.0.2.1']\n{trunk}\n[[route]]\nname='r'\nto=['t']\n{route}"
        )
    };
    let settings = Settings::parse(&text("tags={customer='acme'}", "tags={tariff='gold',a='b'}")).unwrap();
    let tags = |tags: &Option<std::sync::Arc<routing::Tags>>| {
        tags.iter().flat_map(|tags| tags.iter()).map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>()
    };
    assert_eq!(tags(&settings.trunks[0].tags), ["customer=acme"]);
    assert_eq!(tags(&settings.routes[0].tags), ["a=b", "tariff=gold"]);
    let many: Vec<String> = (0..17).map(|n| format!("t{n}=''")).collect();
    for (wrong, expected) in [
        ("tags='gold'", "expected a table of names with a text each"),
        (
            "tags={Tariff='gold'}",
            "expected names of up to 32 of a to z, 0 to 9 and _, a letter first, got \"Tariff\"",
        ),
        ("tags={tariff=7}", "expected a text for \"tariff\""),
        (&format!("tags={{tariff='{}'}}", "x".repeat(129)), "expected a value of up to 128 octets"),
        (&format!("tags={{{}}}", many.join(",")), "expected at most 16 tags, got 17"),
    ] {
        let found = mistakes(&text("", wrong));
        assert!(found.len() == 1 && found[0].starts_with("8: ") && found[0].contains(expected), "{found:?}");
    }
}
