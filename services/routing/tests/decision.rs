//! Where calls go, and why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use routing::{
    Decision, Fork, MAX_CALLED, Plan, Problem, Query, Refusal, Reject, Route, Snapshot, Source, Target,
    Trunk, TrunkId,
};

const PBX: TrunkId = TrunkId(0);
const CARRIER: TrunkId = TrunkId(1);
const BACKUP: TrunkId = TrunkId(2);

fn trunk(name: &str, source: &str, peers: &[&str]) -> Trunk {
    Trunk {
        sources: vec![Source::parse(source).unwrap()],
        peers: peers.iter().map(|peer| peer.to_string()).collect(),
        ..Trunk::new(name)
    }
}

fn trunks() -> Vec<Trunk> {
    vec![
        trunk("pbx", "10.0.0.5", &["sip:10.0.0.5:5060"]),
        trunk("carrier", "192.0.2.0/24", &["sip:192.0.2.10", "sip:192.0.2.11"]),
        trunk("backup", "198.51.100.7:5060", &["sip:198.51.100.7"]),
    ]
}

fn called(pattern: &str) -> Option<Regex> {
    Some(Regex::new(pattern).unwrap())
}

/// The example of the guide: North American numbers of the PBX go out, with a backup; the carrier's come in.
fn snapshot() -> Snapshot {
    let out = Route {
        from: Some(vec![PBX]),
        called: called(r"^\+?1(\d{10})$"),
        ..Route::new("out", [CARRIER, BACKUP])
    };
    let inward = Route { from: Some(vec![CARRIER, BACKUP]), ..Route::new("in", [PBX]) };
    Snapshot::new(trunks(), vec![out, inward]).unwrap()
}

fn ask(snapshot: &Snapshot, source: &str, uri: &str) -> Decision {
    let source: SocketAddr = source.parse().unwrap();
    let query = Query {
        trunk: snapshot.trunk_of(source),
        source,
        caller: "sip:100@pbx.example",
        uri,
        local_user: false,
    };
    let decision = snapshot.decide(&query);
    assert_eq!(snapshot.explain(&query).decision, decision, "explain must not differ from decide");
    decision
}

fn plan(decision: Decision) -> Plan {
    match decision {
        Decision::Route(plan) => plan,
        Decision::Refuse(refusal) => panic!("expected a plan, got {refusal:?}"),
    }
}

fn refusal(decision: Decision) -> (u16, String) {
    match decision {
        Decision::Refuse(refusal) => {
            assert!(!refusal.blocked, "nothing here is policy");
            (refusal.status, refusal.why)
        }
        Decision::Route(plan) => panic!("expected a refusal, got {plan:?}"),
    }
}

fn peer(trunk: TrunkId, peer: usize) -> Target {
    Target::Trunk { trunk, peer }
}

#[test]
fn the_targets_are_every_peer_of_every_trunk_in_the_order_written() {
    let plan = plan(ask(&snapshot(), "10.0.0.5:5060", "sip:+12015550123@sbc.example"));
    assert_eq!(plan.route.as_deref(), Some("out"));
    assert_eq!(plan.targets, [peer(CARRIER, 0), peer(CARRIER, 1), peer(BACKUP, 0)]);
}

#[test]
fn a_route_takes_only_calls_of_the_trunks_it_names() {
    let from_carrier = plan(ask(&snapshot(), "192.0.2.77:5062", "sip:12015550123@sbc.example"));
    assert_eq!(from_carrier.route.as_deref(), Some("in"));
    let (status, why) = refusal(ask(&snapshot(), "203.0.113.1:5060", "sip:12015550123@sbc.example"));
    assert_eq!((status, why.as_str()), (404, "no route for \"12015550123\""));
}

#[test]
fn a_name_that_no_route_takes_is_not_found() {
    let (status, why) = refusal(ask(&snapshot(), "10.0.0.5:5060", "sip:911@sbc.example"));
    assert_eq!((status, why.as_str()), (404, "no route for \"911\" from trunk \"pbx\""));
}

#[test]
fn the_first_route_that_takes_the_call_decides() {
    let special = Route { called: called("^1900"), ..Route::new("premium", [BACKUP]) };
    let snapshot =
        Snapshot::new(trunks(), vec![special, Route::new("rest", [CARRIER]), Route::new("never", [PBX])])
            .unwrap();
    let route = |uri| plan(ask(&snapshot, "10.0.0.5:5060", uri)).route.unwrap();
    assert_eq!(route("sip:19005550123@x"), "premium");
    assert_eq!(route("sip:12015550123@x"), "rest");
    assert_eq!(route("sip:x"), "rest", "a route without a pattern wants no name");
}

#[test]
fn a_route_without_from_takes_strangers_too() {
    let snapshot = Snapshot::new(trunks(), vec![Route::new("any", [PBX])]).unwrap();
    let plan = plan(ask(&snapshot, "203.0.113.1:5060", "sips:bob@x"));
    assert_eq!(plan.targets, [peer(PBX, 0)]);
}

#[test]
fn a_user_of_ours_goes_before_every_route() {
    let snapshot = Snapshot::new(trunks(), vec![Route::new("any", [PBX])]).unwrap();
    let source = "127.0.0.1:5080".parse().unwrap();
    let query =
        Query { trunk: None, source, caller: "sip:bob@x", uri: "sip:al%69ce@127.0.0.1", local_user: true };
    let plan = plan(snapshot.decide(&query));
    assert_eq!((plan.route, plan.targets), (None, vec![Target::User { name: "alice".into() }]));
    assert!(plan.failover.contains(&480));
    let text = snapshot.explain(&query).to_string();
    assert!(text.contains("User \"alice\" may register here, so the call goes there and no route is asked."));
    assert!(!text.contains("Route"), "{text}");
}

#[test]
fn the_pattern_sees_the_name_unescaped_and_nothing_else_of_the_uri() {
    let only = |pattern: &str| {
        let route = Route { called: called(pattern), ..Route::new("r", [PBX]) };
        Snapshot::new(trunks(), vec![route]).unwrap()
    };
    let takes =
        |pattern: &str, uri: &str| matches!(ask(&only(pattern), "10.0.0.5:5060", uri), Decision::Route(_));
    assert!(takes(r"^\+1201$", "sip:%2B1201@host"));
    assert!(takes(r"^\*21#$", "sip:*21%23@host;user=phone"));
    assert!(takes(r"^bob$", "sip:bob:pass@host:5060;transport=tcp"));
    assert!(!takes("host|pass|tcp", "sip:bob:pass@host;transport=tcp"));
    assert!(takes(r"^\+12015550123$", "tel:+1-201-555-0123"));
    assert!(takes(r"^\+12015550123$", "tel:+1(201)555.0123;ext=5"));
    assert!(takes(r"^7042$", "tel:7042;phone-context=example.com"));
    assert!(takes("^1-2$", "sip:1-2@host"), "only a tel number has visual separators");
}

#[test]
fn a_uri_without_a_name_is_incomplete_where_a_name_would_be_looked_at() {
    let (status, why) = refusal(ask(&snapshot(), "10.0.0.5:5060", "sip:sbc.example"));
    assert_eq!((status, why.as_str()), (484, "no route from trunk \"pbx\" for a URI without a user part"));
    assert_eq!(refusal(ask(&snapshot(), "10.0.0.5:5060", "sip:@sbc.example")).0 / 100, 4);
    assert_eq!(refusal(ask(&snapshot(), "203.0.113.1:5060", "sip:sbc.example")).0, 404);
    assert_eq!(refusal(ask(&Snapshot::empty(), "203.0.113.1:5060", "sip:sbc.example")).0, 404);
}

#[test]
fn a_scheme_nobody_serves_is_416_and_no_uri_at_all_is_400() {
    let status = |uri: &str| refusal(ask(&snapshot(), "10.0.0.5:5060", uri)).0;
    assert_eq!(status("http://example.com"), 416);
    assert_eq!(status("mailto:bob@example.com"), 416);
    assert_eq!(status("urn:service:sos"), 416);
    assert_eq!(status("nonsense"), 400);
    assert_eq!(status(""), 400);
    assert_eq!(status("sip:"), 400);
    assert_eq!(status("tel:"), 400);
    assert_eq!(status("tel:---"), 400);
}

#[test]
fn a_name_longer_than_is_matched_is_refused_before_matching() {
    let any = Snapshot::new(trunks(), vec![Route::new("any", [PBX])]).unwrap();
    let longest = format!("sip:{}@x", "1".repeat(MAX_CALLED));
    plan(ask(&any, "10.0.0.5:5060", &longest));
    let (status, why) = refusal(ask(&any, "10.0.0.5:5060", &format!("sip:{}@x", "é".repeat(30_000))));
    assert_eq!(status, 414);
    assert!(why.contains("at most 256 bytes, got 60000"), "{why}");
    assert!(why.len() < 1_000, "a log line stays a line: {} bytes", why.len());
}

#[test]
fn what_a_caller_wrote_cannot_break_a_line_of_a_log_or_header() {
    for uri in ["sip:a%0D%0AVia:%20x@h", "sip:%1b[2Jx@h", "x\r\ny"] {
        let (_, why) = refusal(ask(&snapshot(), "10.0.0.5:5060", uri));
        assert!(!why.contains(char::is_control), "{why:?}");
    }
    let (status, why) = refusal(ask(&snapshot(), "10.0.0.5:5060", "sip:%FF%FE@h"));
    assert_eq!(status, 404);
    assert!(why.contains("UTF-8"), "{why}");
}

#[test]
fn failover_is_408_480_and_5xx_unless_the_route_says_otherwise_and_is_shared() {
    let own = Route { called: called("^2"), failover: vec![503, 404, 503], ..Route::new("own", [PBX]) };
    let snapshot = Snapshot::new(
        trunks(),
        vec![own, Route { called: called("^3"), ..Route::new("a", [PBX]) }, Route::new("b", [PBX])],
    )
    .unwrap();
    let failover = |uri| plan(ask(&snapshot, "10.0.0.5:5060", uri)).failover;
    let default = failover("sip:3@x");
    let expected: Vec<u16> = [408, 480].into_iter().chain(500..600).collect();
    assert_eq!(*default, *expected);
    assert!(Arc::ptr_eq(&default, &failover("sip:4@x")));
    assert_eq!(*failover("sip:2@x"), [404, 503]);
}

/// Numbers of ten digits go out, premium ones do not, and there are no others.
fn choosy() -> Vec<Route> {
    let reject = |status, phrase: Option<&str>| Some(Reject { status, phrase: phrase.map(str::to_owned) });
    vec![
        Route { called: called("^1900"), reject: reject(403, Some("Premium")), ..Route::new("premium", []) },
        Route {
            called: called(r"^1\d{10}$"),
            incomplete: called(r"^1?\d{0,9}$"),
            ..Route::new("out", [CARRIER])
        },
        Route { reject: reject(604, None), ..Route::new("nowhere", []) },
    ]
}

#[test]
fn a_route_that_rejects_says_so_with_its_name_and_is_a_policy() {
    let snapshot = Snapshot::new(trunks(), choosy()).unwrap();
    let refused = |uri: &str| match ask(&snapshot, "10.0.0.5:5060", uri) {
        Decision::Refuse(refusal) => refusal,
        Decision::Route(plan) => panic!("{plan:?}"),
    };
    let Refusal { status, why, blocked, route, phrase, tags: _, trunk: _ } = refused("sip:19005550123@x");
    assert_eq!((status, blocked, phrase.as_deref()), (403, true, Some("Premium")));
    assert_eq!((route.as_deref(), why.as_str()), (Some("premium"), "route \"premium\" rejects it"));
    let refusal = refused("sip:alice@x");
    assert_eq!((refusal.status, refusal.blocked, refusal.phrase), (604, true, None));
    let refusal = refused("sip:x");
    assert_eq!((refusal.status, refusal.route.as_deref()), (604, Some("nowhere")));
    plan(ask(&snapshot, "10.0.0.5:5060", "sip:12015550123@x"));
}

#[test]
fn a_number_that_lacks_digits_gets_484_before_a_later_route_is_asked() {
    let snapshot = Snapshot::new(trunks(), choosy()).unwrap();
    for number in ["1", "120155", "1201555012"] {
        let decision = ask(&snapshot, "10.0.0.5:5060", &format!("sip:{number}@x"));
        let Decision::Refuse(refusal) = decision else { panic!("{decision:?}") };
        assert_eq!((refusal.status, refusal.blocked, refusal.route.as_deref()), (484, false, Some("out")));
    }
    let query = Query {
        trunk: Some(PBX),
        source: "10.0.0.5:5060".parse().unwrap(),
        caller: "sip:100@pbx.example",
        uri: "sip:1201@x",
        local_user: false,
    };
    let said = snapshot.explain(&query).to_string();
    assert!(
        said.contains("Route \"out\" wants more digits: the name is the beginning of one, ^1?"),
        "{said}"
    );
    assert!(said.ends_with("Refused with 484: \"1201\" lacks digits for route \"out\".\n"), "{said}");
}

#[test]
fn a_route_sends_its_calls_somewhere_or_rejects_them() {
    let problem = |route: Route| Snapshot::new(trunks(), vec![route]).unwrap_err().problem;
    let reject = |status| Some(Reject { status, phrase: None });
    assert_eq!(problem(Route { reject: reject(604), ..Route::new("r", [PBX]) }), Problem::RejectsAndCalls);
    assert_eq!(problem(Route::new("r", [])), Problem::NoTargets);
    for status in [200, 302, 401, 407, 700] {
        assert_eq!(
            problem(Route { reject: reject(status), ..Route::new("r", []) }),
            Problem::BadReject(status)
        );
    }
    let short = Route { incomplete: called("^1"), ..Route::new("r", [PBX]) };
    assert_eq!(problem(short), Problem::NothingComplete);
}

#[test]
fn explain_reads_like_an_answer() {
    let snapshot = snapshot();
    let source = "192.0.2.77:5060".parse().unwrap();
    let query = Query {
        trunk: snapshot.trunk_of(source),
        source,
        caller: "sip:+442079460000@c",
        uri: "sip:200@sbc.example",
        local_user: false,
    };
    assert_eq!(
        snapshot.explain(&query).to_string(),
        "Source 192.0.2.77:5060 is trunk \"carrier\"'s, by its source 192.0.2.0/24.\n\
         Called name: \"200\".\n\
         Route \"out\" is passed over: it is only for calls from \"pbx\".\n\
         Route \"in\" takes the call: any name.\n\
         Target 1: sip:10.0.0.5:5060, peer 1 of trunk \"pbx\".\n"
    );
    let source = "10.0.0.5:5060".parse().unwrap();
    let query = Query { trunk: Some(PBX), source, uri: "sip:12015550123@x", ..query };
    assert_eq!(
        snapshot.explain(&query).to_string(),
        "Source 10.0.0.5:5060 is trunk \"pbx\"'s, by its source 10.0.0.5.\n\
         Called name: \"12015550123\".\n\
         Route \"out\" takes the call: the name matches ^\\+?1(\\d{10})$\n\
         Target 1: sip:192.0.2.10, peer 1 of trunk \"carrier\".\n\
         Target 2: sip:192.0.2.11, peer 2 of trunk \"carrier\".\n\
         Target 3: sip:198.51.100.7, peer 1 of trunk \"backup\".\n\
         The next target is tried after 408, 480, 500-599.\n"
    );
    let query = Query { uri: "sip:911@x", ..query };
    assert_eq!(
        snapshot.explain(&query).to_string(),
        "Source 10.0.0.5:5060 is trunk \"pbx\"'s, by its source 10.0.0.5.\n\
         Called name: \"911\".\n\
         Route \"out\" is passed over: the name does not match ^\\+?1(\\d{10})$\n\
         Route \"in\" is passed over: it is only for calls from \"carrier\", \"backup\".\n\
         Refused with 404: no route for \"911\" from trunk \"pbx\".\n"
    );
}

#[test]
fn explain_says_when_the_question_names_another_trunk_than_the_source_has() {
    let snapshot = snapshot();
    let query = Query {
        trunk: Some(TrunkId(40)),
        source: "203.0.113.1:5060".parse().unwrap(),
        caller: "sip:a@b",
        uri: "sip:sbc.example",
        local_user: false,
    };
    let steps = snapshot.explain(&query).steps;
    assert_eq!(
        steps[0],
        "Source 203.0.113.1:5060 is no trunk's; the question is asked for trunk number 40 of another configuration."
    );
    assert_eq!(steps[1], "Called name: none, the URI has no user part.");
}

#[test]
#[allow(clippy::disallowed_types, reason = "a measurement needs the real clock")]
fn the_last_of_a_thousand_routes_is_found_in_no_time() {
    use std::time::Instant;
    let routes = (0..1_000).map(|number| Route {
        called: called(&format!(r"^\+?1{number:03}\d{{7}}$")),
        ..Route::new(format!("r{number}"), [CARRIER])
    });
    let snapshot = Snapshot::new(trunks(), routes.collect()).unwrap();
    let query = Query {
        trunk: Some(PBX),
        source: "10.0.0.5:5060".parse().unwrap(),
        caller: "sip:a@b",
        uri: "sip:+19991234567@sbc.example",
        local_user: false,
    };
    assert_eq!(plan(snapshot.decide(&query)).route.as_deref(), Some("r999"));
    // The quickest of several rounds: whatever else the machine does only ever adds. The bound is for an unoptimised
    // build and is broken by a regex compiled per call or text made per route, not by a slow machine.
    let quickest = (0..20)
        .map(|_| {
            let start = Instant::now();
            assert!(matches!(snapshot.decide(&query), Decision::Route(_)));
            start.elapsed()
        })
        .min()
        .unwrap();
    eprintln!("last of 1,000 routes: {quickest:?}");
    assert!(quickest < Duration::from_millis(20), "{quickest:?}");
}

#[test]
fn a_parallel_route_says_that_its_trunks_are_called_at_once() {
    let route = Route { fork: Fork::Parallel, ..Route::new("out", [CARRIER, BACKUP]) };
    let one = Route { fork: Fork::Parallel, called: called("^1$"), ..Route::new("one", [CARRIER]) };
    let snapshot = Snapshot::new(trunks(), vec![one, route]).unwrap();
    assert_eq!(plan(ask(&snapshot, "10.0.0.5:5060", "sip:7@x")).fork, Fork::Parallel);
    let last = |uri| {
        let source = "10.0.0.5:5060".parse().unwrap();
        let query = Query { trunk: Some(PBX), source, caller: "sip:1@x", uri, local_user: false };
        snapshot.explain(&query).steps.pop().unwrap()
    };
    assert_eq!(
        last("sip:7@x"),
        "The 2 trunks are called at once, and the first that answers has the call; the next peer of a trunk is tried \
         after 408, 480, 500-599."
    );
    assert_eq!(last("sip:1@x"), "The next target is tried after 408, 480, 500-599.");
}
