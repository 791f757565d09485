//! The endpoints over real HTTP on loopback, in front of a small box that keeps its calls in a vector.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::{Access, Api, CdrFilter, Condition, Mistake, Part, ReloadError, Reloaded, Role, Token};
use call::{Disposition, Utc};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use lab::{Lab, START};

/// A served box and the way to ask it.
struct Server {
    address: SocketAddr,
    lab: Arc<Lab>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Asserts that this is a problem of the kind, and gives it.
    fn problem(&self, status: u16, kind: &str) -> Value {
        let problem = self.json();
        assert_eq!(self.status, status, "{problem}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["type"], format!("urn:drawbridge:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        problem
    }
}

impl Server {
    async fn start() -> Server {
        Server::with(Lab::new(), Access::Loopback).await
    }

    async fn with(lab: Lab, access: Access) -> Server {
        let lab = Arc::new(lab);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = api::router(Api {
            control: Arc::clone(&lab) as _,
            records: Arc::clone(&lab) as _,
            access: access.into(),
        });
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(api::serve(listener, router, async { drop(stopped.await) }));
        Server { address, lab, stop, served }
    }

    async fn get(&self, target: &str) -> Response {
        self.ask("GET", target, &[]).await
    }

    async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        Response { status, head: head.to_owned(), body: body.to_owned() }
    }
}

#[tokio::test]
async fn calls_are_listed_up_to_the_limit() {
    let server = Server::start().await;
    let all = server.get("/v1/calls").await;
    assert_eq!(all.status, 200);
    assert_eq!(all.header("content-type"), Some("application/json"));
    let first = json!({
        "id": "00000000-0000-0000-0000-000000000001", "state": "answered",
        "started_at": "2026-01-02T03:04:05.678901Z", "answered_at": "2026-01-02T03:04:07.678901Z",
        "caller": "alice", "called": "+15550001", "trunk_in": "pbx", "trunk_out": null, "route": "out",
        "recording": null,
        "legs": [{"side": "a", "state": "confirmed", "sip_call_id": "a-1@192.0.2.1",
                  "remote": "192.0.2.1:5060", "transport": "udp"}],
        "attempts": [],
    });
    assert_eq!(all.json()["calls"][0], first);
    assert_eq!((all.json()["calls"].as_array().unwrap().len(), &all.json()["more"]), (3, &json!(false)));

    let two = server.get("/v1/calls?limit=2").await.json();
    assert_eq!((two["calls"].as_array().unwrap().len(), &two["more"]), (2, &json!(true)));
    let one = server.get("/v1/calls/00000000-0000-0000-0000-000000000001").await;
    assert_eq!(one.json(), first);
}

#[tokio::test]
async fn a_call_is_recorded_and_no_more_and_shows_it() {
    let server = Server::start().await;
    let call = "/v1/calls/00000000-0000-0000-0000-000000000001";
    let path = format!("{call}/recording");
    let files = json!(["00000000-0000-0000-0000-000000000001.wav"]);
    server.ask("DELETE", &path, &[]).await.problem(404, "not-recorded");
    let begun = server.ask("POST", &path, &[]).await;
    assert_eq!((begun.status, begun.json()), (200, json!({"files": files, "running": true})));
    assert_eq!(server.get(call).await.json()["recording"], json!({"files": files, "running": true}));
    assert_eq!(server.ask("DELETE", &path, &[]).await.status, 204);
    assert_eq!(server.get(call).await.json()["recording"], json!({"files": files, "running": false}));
    let ringing = "/v1/calls/00000000-0000-0000-0000-000000000002/recording";
    server.ask("POST", ringing, &[]).await.problem(409, "not-answered");
    let unknown = "/v1/calls/00000000-0000-0000-0000-0000000000ff/recording";
    server.ask("POST", unknown, &[]).await.problem(404, "call-not-found");
    server.ask("POST", "/v1/calls/two/recording", &[]).await.problem(400, "bad-parameter");
}

#[tokio::test]
async fn a_call_is_ended_once() {
    let server = Server::start().await;
    let path = "/v1/calls/00000000-0000-0000-0000-000000000002";
    let ended = server.ask("DELETE", path, &[]).await;
    assert_eq!((ended.status, ended.body.as_str()), (204, ""));
    server.ask("DELETE", path, &[]).await.problem(404, "call-not-found");
    server.get(path).await.problem(404, "call-not-found");
    assert_eq!(server.get("/v1/calls").await.json()["calls"].as_array().unwrap().len(), 2);
    let wrong = server.get("/v1/calls/two").await.problem(400, "bad-parameter");
    assert_eq!(wrong["errors"], json!([{"parameter": "id", "detail": "expected a UUID, found \"two\""}]));
}

#[tokio::test]
async fn records_have_every_column() {
    let server = Server::start().await;
    let page = server.get("/v1/cdrs").await.json();
    assert_eq!((&page["next_cursor"], &page["follow_cursor"]), (&json!("more"), &json!("later")));
    assert_eq!(page["more"], true);
    let expected: Value = serde_json::from_str(include_str!("cdr.json")).unwrap();
    assert_eq!(page["cdrs"], json!([expected]));
    let last = server.get("/v1/cdrs?cursor=more").await.json();
    assert_eq!(last, json!({"cdrs": [], "next_cursor": null, "follow_cursor": null, "more": false}));
}

#[tokio::test]
async fn a_call_that_is_over_was_answered_when_anybody_first_talked_in_it() {
    let server = Server::start().await;
    let call = server.get("/v1/calls/00000000-0000-0000-0000-00000000004e").await.json();
    assert_eq!(call["answered_at"], "2026-01-02T03:04:08.678901Z");
}

#[tokio::test]
async fn a_call_that_is_over_is_shown_with_its_attempts() {
    let server = Server::start().await;
    let call = server.get("/v1/calls/00000000-0000-0000-0000-00000000004d").await.json();
    let expected: Value = serde_json::from_str(include_str!("cdr.json")).unwrap();
    assert_eq!((&call["state"], &call["attempts"]), (&json!("over"), &json!([expected])));
    assert_eq!(
        (&call["caller"], &call["trunk_out"], &call["legs"]),
        (&json!("alice"), &json!("carrier"), &json!([]))
    );
    let ladder = server.get("/v1/calls/00000000-0000-0000-0000-000000000001/ladder").await;
    assert_eq!((ladder.status, ladder.body.as_str()), (200, "a      box      b\n"));
}

#[tokio::test]
async fn records_are_exported_as_csv_page_by_page() {
    let server = Server::start().await;
    let page = server.get("/v1/cdrs.csv").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    assert_eq!((page.header("next-cursor"), page.header("follow-cursor")), (Some("more"), Some("later")));
    assert_eq!(page.header("more"), Some("true"));
    let lines: Vec<&str> = page.body.split("\r\n").collect();
    assert!(lines[0].starts_with("id,call_id,attempt,is_last,node,"), "{}", lines[0]);
    assert!(lines[1].contains(",alice,+15550001,15550001,192.0.2.1:5060,"), "{}", lines[1]);
    assert!(lines[1].ends_with(",20,,,1.2,\"{\"\"customer\"\":\"\"=acme\"\"}\""), "{}", lines[1]);
    assert_eq!((lines.len(), lines[2]), (3, ""), "each line ends as RFC 4180 says");
    let last = server.get("/v1/cdrs.csv?cursor=more").await;
    let names = format!("{}\r\n", lines[0]);
    assert_eq!((last.header("next-cursor"), last.body.as_str()), (None, names.as_str()));
}

#[tokio::test]
async fn figures_of_trunks_are_asked_and_told() {
    let server = Server::start().await;
    let query = "/v1/stats?from=2026-01-02T03:04:05.678901Z&to=2026-01-02T03:04:05.678902Z&interval=900&by=trunk_in&trunk=pbx";
    let expected = json!({"stats": [{"trunk": "pbx", "from": "2026-01-02T03:04:05.678901Z", "seizures": 3, "answered": 1,
        "asr": 33.33, "ner": 100.0, "acd_s": 61.5, "pdd_ms": null}]});
    assert_eq!(server.get(query).await.json(), expected);
    let wrong = server
        .get("/v1/stats?by=route&interval=1&to=2026-01-02T03:04:05Z")
        .await
        .problem(400, "bad-parameter");
    let named: Vec<_> =
        wrong["errors"].as_array().unwrap().iter().map(|error| error["parameter"].clone()).collect();
    assert_eq!(named, ["interval", "by", "from"]);
    let long = server.get(&query.replace("interval=900", "interval=60")).await.problem(400, "bad-parameter");
    let expected = json!([{"parameter": "interval",
        "detail": "expected at most 10000 rows; narrow the time or widen the interval"}]);
    assert_eq!(long["errors"], expected);
}

#[tokio::test]
async fn the_filter_of_records_arrives_as_it_was_asked() {
    let server = Server::start().await;
    let query = "/v1/cdrs?from=2026-01-02T03:04:05.678901Z&to=2026-01-02T04:04:05.678902%2B01:00&trunk=carrier%20a\
                 &number=+15550001&disposition=busy&code=486&order=arrival&cursor=more&limit=7";
    assert_eq!(server.get(query).await.status, 200);
    assert_eq!(server.get("/v1/cdrs?number=%2B15550001&trunk=").await.status, 200);
    let expected = CdrFilter {
        from: Some(START),
        to: Some(Utc(START.0 + 1)),
        trunk: Some("carrier a".into()),
        number: Some("+15550001".into()),
        disposition: Some(Disposition::Busy),
        code: Some(486),
        by_arrival: true,
        cursor: Some("more".into()),
        limit: 7,
    };
    let bare = CdrFilter { number: Some("+15550001".into()), limit: 100, ..CdrFilter::default() };
    assert_eq!(*server.lab.asked.lock().unwrap(), [expected, bare]);
}

#[tokio::test]
async fn every_wrong_parameter_is_named_at_once() {
    let server = Server::start().await;
    let long = "x".repeat(300);
    let query = format!("/v1/cdrs?from=yesterday&to=1&limit=0&limt=3&trunk={long}&cursor=a&cursor=b");
    let problem = server.get(&query).await.problem(400, "bad-parameter");
    let time = "expected an RFC 3339 time such as 2026-01-02T03:04:05Z, found";
    let expected = json!([
        {"parameter": "from", "detail": format!("{time} \"yesterday\"")},
        {"parameter": "to", "detail": format!("{time} \"1\"")},
        {"parameter": "trunk", "detail": format!("expected at most 256 octets, found {:?}", "x".repeat(80))},
        {"parameter": "cursor", "detail": "expected once, found more often"},
        {"parameter": "limit", "detail": "expected a whole number from 1 to 1000, found \"0\""},
        {"parameter": "limt", "detail": "no such parameter; there are from, to, trunk, number, disposition, code, order, cursor, limit"},
    ]);
    assert_eq!(problem["errors"], expected);
    assert_eq!(problem["detail"], "Cannot use from, to, trunk, cursor, limit, limt.");
    assert!(server.lab.asked.lock().unwrap().is_empty());

    let reversed = server.get("/v1/cdrs?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z").await;
    let detail = "expected a time after from, found 2026-01-01T00:00:00.000000Z";
    assert_eq!(
        reversed.problem(400, "bad-parameter")["errors"],
        json!([{"parameter": "to", "detail": detail}])
    );
    let foreign = server.get("/v1/cdrs?cursor=foreign").await.problem(400, "bad-parameter");
    assert_eq!(foreign["errors"][0]["parameter"], "cursor");
    server.get("/v1/cdrs?cursor=slow").await.problem(503, "timeout");
    server.get("/v1/calls?limit=ten").await.problem(400, "bad-parameter");
}

#[tokio::test]
async fn trunks_are_listed() {
    let server = Server::start().await;
    let expected = json!({"trunks": [{
        "name": "carrier", "sources": ["192.0.2.10"], "peers": ["sip:192.0.2.10:5060;transport=udp"],
        "cancel_matching": "strict", "refer": "local", "redirect": "follow", "authenticates": true,
        "listener": "outside", "bodies": "strict",
                "media_family": "auto", "methods": ["INFO"], "require": ["timer"], "challenges": "answer",
        "max_calls": 0, "max_cps": 20, "options_ping_ms": 30000,
        "peer_states": [{
            "uri": "sip:192.0.2.10:5060;transport=udp", "state": "up", "since": "2026-01-02T03:04:05.678901Z",
            "answered_at": "2026-01-02T03:04:05.678901Z", "round_trip_ms": 12.5, "status": 200,
        }],
    }]});
    assert_eq!(server.get("/v1/trunks").await.json(), expected);
}

#[tokio::test]
async fn a_reload_says_what_has_changed_or_where_the_file_is_wrong() {
    let server = Server::start().await;
    let answer = |outcome| *server.lab.reload.lock().unwrap() = outcome;
    answer(Ok(Reloaded {
        changed: vec!["routing".into()],
        certificates: vec!["tls".into()],
        restart: vec!["listener".into()],
        trunks: 2,
        routes: 1,
        users: 0,
    }));
    let done = server.ask("POST", "/v1/reload", &[]).await;
    assert_eq!(done.status, 200);
    let expected = json!({
        "changed": ["routing"], "certificates": ["tls"], "restart": ["listener"], "trunks": 2, "routes": 1, "users": 0,
    });
    assert_eq!(done.json(), expected);

    let text = "box.toml:7: trunk.peers: \"gopher\": expected a URI";
    answer(Err(ReloadError::Wrong(vec![Mistake { key: "trunk.peers".into(), text: text.into() }])));
    let wrong = server.ask("POST", "/v1/reload", &[]).await.problem(422, "bad-configuration");
    assert_eq!(wrong["errors"], json!([{"parameter": "trunk.peers", "detail": text}]));
    answer(Err(ReloadError::Unreadable("box.toml: no such file".into())));
    server.ask("POST", "/v1/reload", &[]).await.problem(422, "bad-configuration");
    answer(Err(ReloadError::NoFile));
    server.ask("POST", "/v1/reload", &[]).await.problem(409, "no-configuration");
    answer(Err(ReloadError::Unavailable("shard 1 gave no answer".into())));
    server.ask("POST", "/v1/reload", &[]).await.problem(503, "unavailable");
    server.get("/v1/reload").await.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn a_ban_is_listed_until_it_is_lifted() {
    let server = Server::start().await;
    let listed = server.get("/v1/bans").await.json();
    let expected = json!({"bans": [{
        "source": "2001:db8:1:2::/64", "ip": "2001:db8:1:2::", "reason": "scanner",
        "since": "2026-01-02T03:04:05.678901Z", "until": "2026-01-02T03:14:05.678901Z", "times": 2, "dropped": 17,
    }]});
    assert_eq!(listed, expected);
    assert_eq!(server.ask("DELETE", "/v1/bans/2001:db8:1:2::", &[]).await.status, 204);
    assert_eq!(server.get("/v1/bans").await.json(), json!({"bans": []}));
    server.ask("DELETE", "/v1/bans/192.0.2.1", &[]).await.problem(404, "not-banned");
    server.ask("DELETE", "/v1/bans/everybody", &[]).await.problem(400, "bad-parameter");
}

#[tokio::test]
async fn health_is_that_of_the_worst_part() {
    let server = Server::start().await;
    let ok = server.get("/health").await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((ok.status, ok.json()), (200, json!({"status": "ok", "version": version, "parts": []})));

    let part = |name, status| Part { name, status, detail: Some("why".into()) };
    let degraded = vec![
        Part { name: "calls", status: Condition::Ok, detail: None },
        part("postgres", Condition::Degraded),
    ];
    server.lab.health.lock().unwrap().parts = degraded;
    let response = server.get("/health").await;
    assert_eq!(response.status, 200);
    let parts = json!([
        {"name": "calls", "status": "ok", "detail": null},
        {"name": "postgres", "status": "degraded", "detail": "why"},
    ]);
    assert_eq!(response.json(), json!({"status": "degraded", "version": version, "parts": parts}));

    server.lab.health.lock().unwrap().parts.push(part("journal", Condition::Failed));
    let response = server.get("/health").await;
    assert_eq!((response.status, &response.json()["status"]), (503, &json!("failed")));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let server = Server::start().await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for expected in [
        "drawbridge_build_info{node=\"edge \\\"1\\\"\",version=\"1.2.3\"} 1\n",
        "# HELP drawbridge_calls Calls not yet forgotten.\n# TYPE drawbridge_calls gauge\ndrawbridge_calls 3\n",
        "drawbridge_legs 6\n",
        "drawbridge_transactions 0\n",
        "drawbridge_timers 0\n",
        "drawbridge_ports_in_use 12\n",
        "drawbridge_bindings 0\n",
        "drawbridge_connections 2\n",
        "# TYPE drawbridge_calls_started_total counter\ndrawbridge_calls_started_total 12\n",
        "drawbridge_cdr_pending 1\n",
        "drawbridge_cdr_lost_total 0\n",
        "drawbridge_postgres_behind 4\n",
        "# HELP drawbridge_datagrams_total Datagrams received.\n# TYPE drawbridge_datagrams_total counter\n\
         drawbridge_datagrams_total{listener=\"public\",transport=\"udp\"} 7\n\
         drawbridge_datagrams_total{listener=\"inside\",transport=\"udp\"} 8.5\n",
    ] {
        assert!(metrics.body.contains(expected), "{expected} in {}", metrics.body);
    }
    // Every line is a comment or a sample, every sample belongs to a described family.
    let mut family = "";
    for line in metrics.body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap();
        } else if !line.starts_with("# TYPE ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(name.split('{').next().unwrap(), family);
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[tokio::test]
async fn a_part_that_gives_no_answer_is_named() {
    let server = Server::with(Lab { wedged: true, ..Lab::new() }, Access::Loopback).await;
    for path in ["/v1/calls", "/v1/calls/00000000-0000-0000-0000-000000000001", "/metrics"] {
        let problem = server.get(path).await.problem(503, "unavailable");
        assert_eq!(problem["detail"], "shard 1 gave no answer");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = Server::start().await;
    server.get("/v1/nothing").await.problem(404, "not-found");
    server.get("/").await.problem(404, "not-found");
    let wrong = server.ask("POST", "/v1/calls", &[("Content-Length", "0")]).await;
    wrong.problem(405, "method-not-allowed");
    assert_eq!(wrong.header("allow"), Some("GET,HEAD"));
    let large = server.ask("GET", "/v1/calls", &[("Content-Length", "65537")]).await;
    large.problem(413, "too-large");
}

fn tokens() -> Access {
    let admin = Token::new("ops", &sha256("opensesame"), Role::Admin).unwrap();
    let viewer = Token::new("wall", &sha256("justlooking").to_uppercase(), Role::Viewer).unwrap();
    Access::new(vec![admin, viewer])
}

/// As `printf … | sha256sum` says.
fn sha256(token: &str) -> String {
    match token {
        "opensesame" => "d9fb92e3bbe65be1f1aad4a82eef4567f7a1ebe2cd110c8049b9698be7a70c88",
        "justlooking" => "72ae8309f462b89a7eba857719fcc9f25883e321185652336d50945666cf0627",
        other => panic!("no digest of {other}"),
    }
    .to_owned()
}

#[tokio::test]
async fn with_tokens_everything_but_health_wants_one() {
    let server = Server::with(Lab::new(), tokens()).await;
    assert_eq!(server.get("/health").await.status, 200);
    for (target, header) in [
        ("/v1/calls", None),
        ("/metrics", None),
        ("/v1/openapi.json", None),
        ("/v1/nothing", None),
        ("/v1/calls", Some("Bearer wrong")),
        ("/v1/calls", Some("Bearer ")),
        ("/v1/calls", Some("Basic b3BlbnNlc2FtZQ==")),
        ("/v1/calls", Some("opensesame")),
    ] {
        let headers: Vec<_> = header.map(|header| ("Authorization", header)).into_iter().collect();
        let refused = server.ask("GET", target, &headers).await;
        refused.problem(401, "unauthenticated");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"drawbridge\""));
    }
    // A token is a token wherever it is sent from and to.
    let headers =
        [("Authorization", "bearer opensesame"), ("Host", "box.example"), ("Origin", "https://ops.example")];
    assert_eq!(server.ask("GET", "/v1/calls", &headers).await.status, 200);
}

#[tokio::test]
async fn a_viewer_reads_and_an_admin_hangs_up() {
    let server = Server::with(Lab::new(), tokens()).await;
    let viewer = [("Authorization", "Bearer justlooking")];
    let path = "/v1/calls/00000000-0000-0000-0000-000000000003";
    assert_eq!(server.ask("GET", path, &viewer).await.status, 200);
    server.ask("DELETE", path, &viewer).await.problem(403, "forbidden");
    server.ask("POST", &format!("{path}/recording"), &viewer).await.problem(403, "forbidden");
    assert_eq!(server.ask("GET", path, &viewer).await.status, 200);
    server.ask("POST", "/v1/reload", &viewer).await.problem(403, "forbidden");
    assert_eq!(server.ask("POST", "/v1/reload", &[("Authorization", "Bearer opensesame")]).await.status, 200);
    assert_eq!(server.ask("DELETE", path, &[("Authorization", "Bearer opensesame")]).await.status, 204);
}

#[tokio::test]
async fn without_tokens_web_pages_are_not_answered() {
    let server = Server::start().await;
    let port = server.address.port();
    let rebound = format!("evil.example:{port}");
    for headers in [
        vec![("Host", rebound.as_str())],
        vec![("Host", "127.0.0.1.evil.example")],
        vec![("Host", "192.0.2.1")],
        vec![("Origin", "https://evil.example")],
        vec![("Origin", "null")],
        vec![("Sec-Fetch-Site", "cross-site")],
    ] {
        server.ask("GET", "/v1/calls", &headers).await.problem(403, "forbidden");
        let path = "/v1/calls/00000000-0000-0000-0000-000000000001";
        server.ask("DELETE", path, &headers).await.problem(403, "forbidden");
        assert_eq!(server.ask("GET", "/health", &headers).await.status, 200);
    }
    let named = format!("localhost:{port}");
    for headers in [
        vec![("Host", named.as_str())],
        vec![("Host", "[::1]:8080")],
        vec![("Host", "127.0.0.2")],
        vec![("Origin", "http://localhost:8080"), ("Sec-Fetch-Site", "same-origin")],
    ] {
        assert_eq!(server.ask("GET", "/v1/calls", &headers).await.status, 200, "{headers:?}");
    }
    assert_eq!(server.get("/v1/calls").await.json()["calls"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn without_tokens_a_peer_from_elsewhere_is_not_answered() {
    let lab = Arc::new(Lab::new());
    let access = Arc::new(Access::new(Vec::new()));
    let mut router = api::router(Api { control: Arc::clone(&lab) as _, records: lab as _, access });
    for (peer, status) in [
        ("192.0.2.7:4000", 403),
        ("127.0.0.1:4000", 200),
        ("[::ffff:127.0.0.1]:4000", 200),
        ("[2001:db8::1]:1", 403),
    ] {
        let mut request = axum::http::Request::get("/v1/calls")
            .header("Host", "127.0.0.1")
            .body(axum::body::Body::empty())
            .unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        let response = tower_service::Service::call(&mut router, request).await.unwrap();
        assert_eq!(response.status(), status, "{peer}");
    }
}

#[test]
fn a_token_digest_is_64_hexadecimal_digits() {
    for wrong in ["", "abc", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66), &"é".repeat(32)] {
        let error = Token::new("x", wrong, Role::Admin).unwrap_err().to_string();
        let found = wrong.chars().count();
        let expected =
            format!("expected the SHA-256 of the token in 64 hexadecimal digits, found {found} characters");
        assert_eq!(error, expected);
    }
    let token = Token::new("x", &"ab".repeat(32), Role::Viewer).unwrap();
    assert_eq!(format!("{token:?}"), "Token { name: \"x\", role: Viewer, .. }");
}

#[tokio::test]
async fn serving_ends_while_a_peer_keeps_a_connection_open() {
    let server = Server::start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    server.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(3), server.served).await.expect("ends").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_journal_is_handed_to_an_admin_only() {
    let server = Server::with(Lab::new(), tokens()).await;
    let path = "/v1/calls/00000000-0000-0000-0000-000000000001/journal";
    let journal = server.ask("GET", path, &[("Authorization", "Bearer opensesame")]).await;
    assert_eq!(journal.status, 200);
    assert_eq!(journal.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(journal.body, "{\"drawbridge_journal\":1}\n");
    server.ask("GET", path, &[("Authorization", "Bearer justlooking")]).await.problem(403, "forbidden");
    let unknown = path.replace("1/journal", "9/journal");
    let unknown = server.ask("GET", &unknown, &[("Authorization", "Bearer opensesame")]).await;
    unknown.problem(404, "journal-not-found");
}

#[tokio::test]
async fn the_openapi_document_is_the_committed_one() {
    let server = Server::start().await;
    let served = server.get("/v1/openapi.json").await;
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert_eq!(served.body, api::openapi());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api/openapi.json");
    let current = api::openapi() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == current,
        "the API changed: look at it, then BLESS=1 cargo test -p api, and say so in CHANGELOG.md"
    );

    let document: Value = serde_json::from_str(&current).unwrap();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    let expected = [
        "/health",
        "/metrics",
        "/v1/bans",
        "/v1/bans/{ip}",
        "/v1/calls",
        "/v1/calls/{id}",
        "/v1/calls/{id}/journal",
        "/v1/calls/{id}/ladder",
        "/v1/calls/{id}/recording",
        "/v1/cdrs",
        "/v1/cdrs.csv",
        "/v1/reload",
        "/v1/stats",
        "/v1/trunks",
    ];
    assert_eq!(paths, expected);
}
