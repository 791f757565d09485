//! Records to an address on the web: signed, in order, again and again until they are taken.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod records;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use records::{config, record, until};
use serde_json::Value;
use sha2::Sha256;
use sqlx::{Connection, SqliteConnection};
use store::{Config, Lines, Store, Webhook};

const SECRET: &str = "sixteen letters and more";

/// What the web has got, and how it answers.
#[derive(Clone, Default)]
struct Web {
    requests: Arc<Mutex<Vec<Request>>>,
    /// Answers by what is in the body, the first that fits; else 204.
    answers: Arc<Mutex<Vec<(String, u16)>>>,
    /// It has no time for each so manieth request.
    busy_each: Arc<Mutex<Option<usize>>>,
}

#[derive(Clone, Debug)]
struct Request {
    headers: HeaderMap,
    body: String,
    status: u16,
}

impl Web {
    async fn begin(&self) -> SocketAddr {
        self.begin_at("127.0.0.1:0").await
    }

    async fn begin_at(&self, at: &str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    fn answer(&self, to: &str, status: u16) {
        self.answers.lock().unwrap().push((to.to_owned(), status));
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Of the records that were taken, in the order in which they were.
    fn taken(&self) -> Vec<i64> {
        let taken = self.requests().into_iter().filter(|request| request.status == 204);
        let records = taken.flat_map(|request| serde_json::from_str::<Vec<Value>>(&request.body).unwrap());
        records.map(|record| record["seq"].as_i64().unwrap()).collect()
    }
}

async fn take(State(web): State<Web>, headers: HeaderMap, body: String) -> Response {
    let fits = |(part, _): &&(String, u16)| body.contains(part.as_str());
    let status = web.answers.lock().unwrap().iter().find(fits).map_or(204, |(_, status)| *status);
    let mut requests = web.requests.lock().unwrap();
    let is_busy = web.busy_each.lock().unwrap().is_some_and(|each| requests.len().is_multiple_of(each));
    let status = if is_busy { 503 } else { status };
    requests.push(Request { headers, body, status });
    (StatusCode::from_u16(status).unwrap(), "because\nso").into_response()
}

fn calling(address: SocketAddr) -> Config {
    let url = format!("http://user:hidden@{address}/records?key=hidden");
    Config { webhook: Some(Webhook { url, secret: SECRET.into() }), ..config() }
}

async fn open(directory: &Path, config: Config, calls: std::ops::Range<u32>) -> Store {
    let store = Store::open(directory, config).await.unwrap();
    let mut recorder = store.recorder();
    calls.for_each(|n| recorder.cdr(record(n)));
    recorder.flush();
    store
}

/// Ends a life of the box: the next one may have its journal.
async fn end(store: Store) {
    store.close().await;
}

async fn has_all(store: &Store) {
    until("every record is taken", async || {
        let health = store.health();
        health.journal.pending == 0 && health.webhook.is_some_and(|web| web.connected && web.behind == 0)
    })
    .await;
}

/// Tenants of one address.
fn tenant(address: SocketAddr, name: &str) -> Config {
    let url = format!("http://{address}/records?tenant={name}");
    Config { webhook: Some(Webhook { url, secret: SECRET.into() }), ..config() }
}

#[tokio::test]
async fn an_address_with_something_else_behind_the_question_mark_is_another_webhook() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    let address = web.begin().await;
    for (name, calls) in [("a", 0..3), ("b", 3..4), ("a", 4..5)] {
        let store = open(directory.path(), tenant(address, name), calls).await;
        has_all(&store).await;
        end(store).await;
    }
    assert_eq!(web.taken(), [1, 2, 3, 1, 2, 3, 4, 4, 5]);
}

#[tokio::test]
async fn a_webhook_that_an_earlier_version_has_called_goes_on_where_it_was() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    let address = web.begin().await;
    let store = open(directory.path(), tenant(address, "a"), 0..3).await;
    has_all(&store).await;
    end(store).await;
    let file = directory.path().join("drawbridge.db");
    let mut journal = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE sink SET name = ?, revision = 0")
        .bind(format!("webhook:http://{address}/records"))
        .execute(&mut journal)
        .await
        .unwrap();
    journal.close().await.unwrap();
    for (name, calls) in [("a", 3..4), ("b", 4..5)] {
        let store = open(directory.path(), tenant(address, name), calls).await;
        has_all(&store).await;
        end(store).await;
    }
    assert_eq!(web.taken(), [1, 2, 3, 4, 1, 2, 3, 4, 5], "and the next one begins at the beginning");
}

#[tokio::test]
async fn every_record_is_sent_in_order_and_signed() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    let store = open(directory.path(), calling(web.begin().await), 0..250).await;
    has_all(&store).await;
    end(store).await;
    assert_eq!(web.taken(), (1..=250).collect::<Vec<_>>());
    let requests = web.requests();
    assert!(requests.len() >= 3, "a hundred at most in one");
    for request in &requests {
        let header = |name: &str| request.headers[name].to_str().unwrap();
        assert_eq!(header("content-type"), "application/json");
        let (seconds, code) = header("drawbridge-signature").split_once(',').unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{}.{}", seconds.strip_prefix("t=").unwrap(), request.body).as_bytes());
        let expected: String =
            mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(code, format!("v1={expected}"));
        let records: Vec<Value> = serde_json::from_str(&request.body).unwrap();
        let ends = [records.first(), records.last()].map(|record| record.unwrap()["seq"].to_string());
        assert_eq!(header("drawbridge-sequence"), ends.join("-"));
    }
    let first: Vec<Value> = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(first[0]["id"], record(0).id.to_string());
    assert_eq!(first[1]["started_at"], "2026-01-02T03:04:06.678901Z");
    assert_eq!(first[0]["is_last"], true);
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_and_holds_up_no_other() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    web.answer("", 503);
    let path = directory.path().join("cdrs.jsonl");
    let lines = Lines { path: path.clone(), max_bytes: 1 << 20, keep: 2 };
    let config = Config { lines: Some(lines), ..calling(web.begin().await) };
    let store = open(directory.path(), config, 0..10).await;
    until("the lines are written", async || store.health().lines.unwrap().forwarded == 10).await;
    until("it was tried twice", async || web.requests().len() >= 2).await;
    let health = store.health().webhook.unwrap();
    assert_eq!((health.connected, health.behind, health.refused), (false, 10, 0));
    let error = health.error.unwrap();
    assert!(error.contains("503") && error.contains(r"because\nso") && !error.contains("hidden"), "{error}");
    web.answers.lock().unwrap().clear();
    has_all(&store).await;
    end(store).await;
    assert_eq!(web.taken(), (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_web_that_is_away_gets_everything_when_it_is_back_though_the_box_was_restarted() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    let address = web.begin().await;
    let store = open(directory.path(), calling(address), 0..5).await;
    has_all(&store).await;
    end(store).await;

    // Nobody listens at this port any more for the box's second life.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = nobody.local_addr().unwrap();
    drop(nobody);
    let second = tempfile::tempdir().unwrap();
    let store = open(second.path(), calling(away), 0..7).await;
    until("it is known to be away", async || store.health().webhook.unwrap().error.is_some()).await;
    let error = store.health().webhook.unwrap().error.unwrap();
    assert!(error.contains("refused") && !error.contains("hidden"), "{error}");
    end(store).await;
    let later = Web::default();
    later.begin_at(&away.to_string()).await;
    let store = open(second.path(), calling(away), 7..9).await;
    has_all(&store).await;
    end(store).await;
    assert_eq!(later.taken(), (1..=9).collect::<Vec<_>>());

    // The first went on where it was.
    let store = open(directory.path(), calling(address), 5..8).await;
    has_all(&store).await;
    end(store).await;
    assert_eq!(web.taken(), (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_is_refused_for_what_it_is_is_put_aside_and_offered_again() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    web.answer(&record(3).id.to_string(), 422);
    let address = web.begin().await;
    let store = open(directory.path(), calling(address), 0..6).await;
    has_all(&store).await;
    assert_eq!(store.health().webhook.unwrap().refused, 1);
    end(store).await;
    assert_eq!(web.taken(), [1, 2, 3, 5, 6]);
    web.answers.lock().unwrap().clear();
    let store = open(directory.path(), calling(address), 6..7).await;
    has_all(&store).await;
    assert_eq!(store.health().webhook.unwrap().refused, 0);
    end(store).await;
    assert_eq!(web.taken(), [1, 2, 3, 5, 6, 4, 7]);
}

#[tokio::test]
async fn a_web_that_refuses_everything_is_left_alone_for_a_while_and_nothing_is_passed_over() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    web.answer("", 400);
    let store = open(directory.path(), calling(web.begin().await), 0..50).await;
    let error = async || store.health().webhook.unwrap().error;
    until("it is known", async || error().await.is_some_and(|error| error.contains("5 records in a row")))
        .await;
    let health = store.health().webhook.unwrap();
    assert!(!health.connected && health.refused <= 10 && health.behind >= 40, "{health:?}");
    web.answers.lock().unwrap().clear();
    has_all(&store).await;
    until("what was refused too", async || store.health().webhook.unwrap().refused == 0).await;
    end(store).await;
    let mut taken = web.taken();
    taken.sort_unstable();
    assert_eq!(taken, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn new_records_come_before_refused_ones_and_what_was_taken_is_not_offered_again() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    let address = web.begin().await;
    (0..30).step_by(3).for_each(|n| web.answer(&record(n).id.to_string(), 422));
    let store = open(directory.path(), calling(address), 0..30).await;
    has_all(&store).await;
    assert_eq!(store.health().webhook.unwrap().refused, 10);
    end(store).await;

    *web.answers.lock().unwrap() = vec![(String::new(), 503)];
    let store = open(directory.path(), calling(address), 30..32).await;
    until("the new ones wait", async || store.health().journal.committed == 2).await;
    web.requests.lock().unwrap().clear();
    // One that is refused for good comes first in each round.
    *web.answers.lock().unwrap() = vec![(record(0).id.to_string(), 422)];
    *web.busy_each.lock().unwrap() = Some(4);
    until("all others are taken", async || store.health().webhook.unwrap().refused == 1).await;
    end(store).await;
    assert_eq!(web.taken(), [31, 32, 4, 7, 10, 13, 16, 19, 22, 25, 28]);
}

#[tokio::test]
async fn a_record_that_is_refused_stays_in_the_journal_however_old_it_is() {
    let (web, directory) = (Web::default(), tempfile::tempdir().unwrap());
    let address = web.begin().await;
    web.answer(&record(3).id.to_string(), 422);
    let store = open(directory.path(), calling(address), 0..6).await;
    has_all(&store).await;
    end(store).await;
    let retention = Some(std::time::Duration::from_secs(24 * 60 * 60));
    let store = open(directory.path(), Config { retention, ..calling(address) }, 0..0).await;
    until("the others are dropped", async || records::all(&store).await.len() == 1).await;
    assert_eq!(records::all(&store).await[0].fact.id, record(3).id);
    end(store).await;
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error_at_the_start() {
    for url in ["ftp://127.0.0.1/", "127.0.0.1", "http://"] {
        let directory = tempfile::tempdir().unwrap();
        let webhook = Some(Webhook { url: url.into(), secret: SECRET.into() });
        let error = Store::open(directory.path(), Config { webhook, ..config() }).await.unwrap_err();
        assert!(error.to_string().starts_with("cdr.webhook: expected a URL"), "{error}");
    }
}
