//! Records to an address on the web: every committed record, in order, at least once.
//!
//! A batch is a POST of a JSON array. Only an answer of 2xx takes it; until then the same batch is sent again, later and later.
//! A batch whose answer was lost is sent twice, so whoever gets it goes by the `id` of a record. That it comes from this
//! box and was not changed, the signature says: HMAC-SHA-256 with the shared secret over the time, a dot and the body.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use sha2::{Digest, Sha256};

use crate::backoff::Backoff;
use crate::batch::{Batch, Shape};
use crate::error::OpenError;
use crate::health::{Shared, SinkShared};
use crate::journal;
use crate::sink::{Destination, GATHER, Refusal, Sink, Source};

/// Records of one request.
const BATCH: i64 = 100;

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(15);

/// No wait that an answer asks for is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// So much of a refusal goes into the log.
const MAX_SAID: usize = 256;

/// An address that gets records.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `https://…`, or `http://…` within one's own network.
    pub url: String,
    /// The secret that both sides know.
    pub secret: String,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

/// A webhook that can be called.
pub(crate) struct Caller {
    client: Client,
    url: Url,
    secret: String,
    node: String,
    /// How long it asked to be left alone.
    put_off: Option<Duration>,
}

impl Caller {
    pub(crate) fn new(webhook: &Webhook, node: &str) -> Result<Caller, OpenError> {
        let wrong = |why: String| OpenError::Webhook { why };
        let url = Url::parse(&webhook.url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("the scheme is {:?}", url.scheme())));
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls().map_err(wrong)?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST)
            .user_agent(concat!("drawbridge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Caller { client, url, secret: webhook.secret.clone(), node: node.to_owned(), put_off: None })
    }

    /// What the journal keeps its position under: the address without what is secret in it. Of what is behind the `?`, which may
    /// say whose records these are, there is a digest.
    pub(crate) fn name(&self) -> String {
        let name = self.earlier_name();
        let Some(query) = self.url.query() else { return name };
        let digest: String =
            Sha256::digest(query).iter().take(8).map(|octet| format!("{octet:02x}")).collect();
        format!("{name}?{digest}")
    }

    /// The same as earlier versions had it.
    pub(crate) fn earlier_name(&self) -> String {
        let mut shown = self.url.clone();
        // Fails only for URLs that have no place for it.
        let _ = shown.set_password(None);
        let _ = shown.set_username("");
        shown.set_query(None);
        format!("webhook:{shown}")
    }

    fn signature(&self, seconds: u64, body: &str) -> Result<String, Refusal> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())
            .map_err(|error| Refusal::Away(error.to_string()))?;
        mac.update(seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body.as_bytes());
        let code: String = mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(format!("t={seconds},v1={code}"))
    }

    /// Why the batch was not taken. What it is about a record is said with 400, 413, 415 and 422; everything else may be
    /// otherwise the next time.
    async fn refused(&mut self, response: Response) -> Refusal {
        let status = response.status();
        let wait =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let said = begins_with(response).await;
        let why = format!("{status}: {said}");
        match status {
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Refusal::Record(why),
            _ => {
                self.put_off = wait.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
                Refusal::Away(why)
            }
        }
    }
}

impl Destination for Caller {
    const SAYS_POSITION: bool = false;

    async fn take(&mut self, batch: &Batch, _position: i64) -> Result<(), Refusal> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Drawbridge-Node", &self.node)
            .header("Drawbridge-Sequence", format!("{}-{}", batch.first, batch.last))
            .header("Drawbridge-Signature", self.signature(seconds, &batch.json)?)
            .body(batch.json.clone());
        // The address may have a password in it.
        let response = request.send().await.map_err(|error| Refusal::Away(reason(error.without_url())))?;
        if response.status().is_success() { Ok(()) } else { Err(self.refused(response).await) }
    }
}

/// With the causes, which say more than "error sending request".
fn reason(error: reqwest::Error) -> String {
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    why
}

/// The first words of an answer, however long it is.
async fn begins_with(mut response: Response) -> String {
    let mut said = Vec::new();
    while said.len() < MAX_SAID
        && let Ok(Some(chunk)) = response.chunk().await
    {
        said.extend_from_slice(&chunk);
    }
    said.truncate(MAX_SAID);
    String::from_utf8_lossy(&said).trim().escape_debug().to_string()
}

/// The authorities that the system trusts; `SSL_CERT_FILE` names others.
fn tls() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map_err(|error| error.to_string())
}

/// Calls until the store is closed and everything is taken. While it takes nothing records wait in the journal.
pub(crate) async fn run(mut caller: Caller, mut source: Source, shared: Arc<Shared>) {
    let Some(health) = &shared.webhook else { return };
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    let mut sink = None;
    while let Err(why) = session(&mut caller, &mut source, &mut sink, health, &mut backoff).await {
        if health.link(false, Some(why.clone())) {
            tracing::warn!(why, "the webhook takes no records; they wait in the journal");
        }
        if let Some(wait) = caller.put_off.take() {
            backoff.at_least(wait);
        }
        if source.is_over_before(&mut backoff).await {
            return;
        }
    }
}

/// Until something fails. `Ok`: everything is taken and no more will come.
async fn session(
    caller: &mut Caller,
    source: &mut Source,
    sink: &mut Option<Sink>,
    health: &SinkShared,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let mut journal = journal::connect_reader(&source.path).await.map_err(|error| error.to_string())?;
    let sink = match sink {
        Some(known) => known,
        empty @ None => {
            let loaded = Sink::load(&mut journal, &caller.name(), Shape::Shown, BATCH).await;
            empty.insert(loaded.map_err(|error| error.to_string())?)
        }
    };
    health.position(sink.position);
    health.refused(sink.refused());
    let mut again = true;
    loop {
        let seen = *source.committed.borrow_and_update();
        while sink.forward(&mut journal, caller, source, health).await? {
            backoff.reset();
        }
        if again && !seen.last {
            again = sink.offer_again(&mut journal, caller, source, health).await?;
            continue;
        }
        // Whether it would take records is known only of one that has none to take.
        if health.link(true, None) {
            tracing::info!(position = sink.position, "the webhook has every record");
        }
        if seen.last || source.committed.changed().await.is_err() {
            return Ok(());
        }
        if !source.committed.borrow().last {
            tokio::time::sleep(GATHER).await;
        }
    }
}
