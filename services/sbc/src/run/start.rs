//! Building the box from its rooms: journal, relay, sockets, shards, API. Everything that can fail is tried before the
//! first message is read; on an error nothing is left behind.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use ::net::{HandleError, Limits, Listen, Net, NetError, Wakers};
use call::{BindingChange, CdrFact, Listener, RegistrarPolicy};
use media::{MediaError, Relay};
use routing::{Snapshot, SnapshotError};
use store::{OpenError, Recorder, Store};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::control::{AwaitedReload, Glass};
use crate::settings::{Api, Connections, Engine, Journal, Media, Settings};

/// Reloads that the API may have asked for while one is carried out.
const MOST_RELOADS: usize = 4;

/// What the system refused, or the parts to each other.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of the API.
    #[error("api.bind: cannot listen on {address}: {source}")]
    Api {
        /// Where it should listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The API's tokens.
    #[error("api.tokens: {0}")]
    Tokens(#[from] api::TokenError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// Registrations kept over the restart.
    #[error("registrations cannot be read: {0}")]
    Registrations(#[from] store::Error),
    /// The relay.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The listeners.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A shard that does not answer.
    #[error(transparent)]
    Shard(#[from] HandleError),
    /// Trunks and routes.
    #[error(transparent)]
    Routing(#[from] SnapshotError),
    /// The system's random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// The running box. [`stop`](Running::stop) ends it in good order.
pub struct Running {
    net: Net,
    glass: Arc<Glass>,
    store: Arc<Store>,
    listeners: Vec<Listener>,
    shards: usize,
    api: ApiTask,
    reloads: Mutex<mpsc::Receiver<AwaitedReload>>,
}

struct ApiTask {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts the box.
    ///
    /// # Errors
    ///
    /// Says which part, and why; nothing is left running.
    pub async fn start(settings: &Settings) -> Result<Running, StartError> {
        let snapshot = Arc::new(settings.snapshot()?);
        let access = access(&settings.api)?;
        let address = settings.api.bind;
        let api_listener =
            TcpListener::bind(address).await.map_err(|source| StartError::Api { address, source })?;
        let store = Arc::new(Store::open(&settings.node.data_dir, store_config(settings)).await?);
        match Running::start_calls(settings, Arc::clone(&snapshot), &store).await {
            Ok((net, relay, listeners)) => {
                let shards = shards(settings);
                let journal = Arc::clone(&store);
                let (asked, reloads) = mpsc::channel(MOST_RELOADS);
                let (node, handle) = (&settings.node.name, net.handle());
                let glass = Arc::new(Glass::new(node, handle, relay, journal, snapshot, asked));
                let api = ApiTask::start(api_listener, address, Arc::clone(&glass), access);
                Ok(Running { net, glass, store, listeners, shards, api, reloads: Mutex::new(reloads) })
            }
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    async fn start_calls(
        settings: &Settings,
        snapshot: Arc<Snapshot>,
        store: &Store,
    ) -> Result<(Net, Relay, Vec<Listener>), StartError> {
        let shards = shards(settings);
        let wakers = Wakers::new(shards);
        let wakes = (0..shards).map(|shard| wakers.waker(shard)).collect();
        let media_config = media::Config {
            recordings: recordings(&settings.recording),
            ..media_config(&settings.media, shards)
        };
        let families = media_config.families();
        let (engines, relay) = media::start(media_config, shards, wakes)?;
        let records = (0..shards).map(|_| {
            Box::new(ToStore { recorder: store.recorder(), keeps_records: settings.cdr.enabled })
                as Box<dyn ::net::Records>
        });
        let listen = settings.listeners.iter().map(|listener| Listen {
            name: listener.name.clone(),
            transport: listener.transport,
            bind: listener.bind,
            advertise: listener.advertise.clone(),
            tls: settings.tls.get(&listener.name).cloned(),
            origins: listener.origins.clone(),
        });
        let mut bound = ::net::bind(::net::Config {
            listeners: listen.collect(),
            wakers,
            settings: core_settings(settings, families, relay.fingerprint(), shards)?,
            snapshot,
            engines,
            records: records.collect(),
            dns: ::net::Dns {
                servers: settings.dns.servers.clone(),
                timeout: settings.dns.timeout,
                attempts: settings.dns.attempts as usize,
            },
            limits: limits(&settings.connections),
            guard: settings.guard.clone(),
        })?;
        let listeners = bound.listeners().to_vec();
        let bindings = store.bindings().await?;
        bound.restore(store.interrupted());
        let net = bound.run()?;
        net.handle().bindings(bindings).await?;
        store.begun();
        Ok((net, relay, listeners))
    }

    /// The next time that the API wants the configuration read again.
    pub(super) async fn asked_to_reload(&self) -> AwaitedReload {
        match self.reloads.lock().await.recv().await {
            Some(awaited) => awaited,
            // The API has ended, and so will the box.
            None => std::future::pending().await,
        }
    }

    /// The listeners with their real ports.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Where the API is, with its real port.
    pub fn api_address(&self) -> SocketAddr {
        self.api.address
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Gives orders to the shards.
    pub fn handle(&self) -> &::net::Handle {
        self.glass.handle()
    }

    /// The journal, to read.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A shard that has ended without being told to.
    pub fn failed_shard(&self) -> Option<usize> {
        self.net.failed_shard()
    }

    /// Calls begun and not yet over. What is only remembered for late retransmissions does not count.
    ///
    /// # Errors
    ///
    /// A shard does not answer.
    pub async fn calls_in_progress(&self) -> Result<u64, HandleError> {
        let total = self.handle().stats().await?.total;
        Ok(total.core.calls_started.saturating_sub(total.core.calls_ended))
    }

    /// Takes no new calls from now on.
    ///
    /// # Errors
    ///
    /// A shard does not answer.
    pub async fn drain(&self) -> Result<(), HandleError> {
        self.glass.set_draining();
        self.handle().drain().await
    }

    /// New calls follow these trunks and routes from now on, and phones register under these terms.
    ///
    /// # Errors
    ///
    /// A shard does not answer; others may have them already.
    pub async fn put_in_force(
        &self,
        snapshot: Arc<Snapshot>,
        registrar: RegistrarPolicy,
    ) -> Result<(), HandleError> {
        self.handle().reload(Arc::clone(&snapshot), registrar).await?;
        self.glass.show(snapshot);
        Ok(())
    }

    /// The box ends by a failure: media that survives a restart is left to the next process, and so are calls.
    pub(super) fn leave_media(&self) {
        self.glass.leave_media();
    }

    /// Ends the shards, then the API, and last the journal, which commits what the shards have left.
    ///
    /// # Errors
    ///
    /// Names a shard that did not end or had failed; everything else has ended nevertheless.
    pub async fn stop(self) -> Result<(), NetError> {
        let Running { net, glass: _, store, listeners: _, shards: _, api, reloads } = self;
        // Nobody is left to read the file again; who waits is told.
        drop(reloads);
        let ended = tokio::task::spawn_blocking(move || net.shutdown()).await;
        api.stop().await;
        store.close().await;
        // A panic of that task is one of the shutdown itself; there is nothing more to save.
        ended.unwrap_or(Ok(()))
    }
}

impl ApiTask {
    fn start(
        listener: TcpListener,
        configured: SocketAddr,
        glass: Arc<Glass>,
        access: api::Access,
    ) -> ApiTask {
        let address = listener.local_addr().unwrap_or(configured);
        let control: Arc<dyn api::Control> = glass.clone();
        let records: Arc<dyn api::Records> = glass;
        let router = api::router(api::Api { control, records, access: Arc::new(access) });
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                // A sender that is gone means the same as its word.
                let _ = stopped.await;
            };
            api::serve(listener, router, stopped).await;
        });
        ApiTask { address, stop, task }
    }

    async fn stop(self) {
        // An API that has ended by itself has said so.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// A shard's facts on their way to the journal.
struct ToStore {
    recorder: Recorder,
    keeps_records: bool,
}

impl ::net::Records for ToStore {
    fn open_cdr(&mut self, fact: Box<CdrFact>, state: Option<Box<[u8]>>) {
        if self.keeps_records {
            self.recorder.open_cdr(fact, state);
        }
    }

    fn cdr(&mut self, fact: Box<CdrFact>) {
        if self.keeps_records {
            self.recorder.cdr(fact);
        }
    }

    fn flush(&mut self) {
        self.recorder.flush();
    }

    fn binding(&mut self, change: &BindingChange) {
        self.recorder.binding(change);
    }
}

fn shards(settings: &Settings) -> usize {
    match settings.node.workers {
        0 => available_parallelism().map_or(1, NonZero::get),
        workers => usize::from(workers),
    }
}

fn store_config(settings: &Settings) -> store::Config {
    store::Config {
        listeners: settings.listeners.iter().map(|listener| listener.name.clone()).collect(),
        spool: settings.cdr.spool.clone(),
        recover: settings.node.recover_calls.then(|| u16::try_from(shards(settings)).unwrap_or(u16::MAX)),
        retention: settings.cdr.retention(),
        postgres: settings.cdr.postgres.as_ref().map(|url| url.reveal().to_owned()),
        lines: settings.cdr.lines.clone().map(|path| store::Lines {
            path,
            max_bytes: u64::from(settings.cdr.lines_max_mb) * 1024 * 1024,
            keep: settings.cdr.lines_keep,
        }),
        webhook: settings.cdr.webhook.as_ref().zip(settings.cdr.webhook_secret.as_ref()).map(
            |(url, secret)| store::Webhook {
                url: url.reveal().to_owned(),
                secret: secret.reveal().to_owned(),
            },
        ),
        ..store::Config::new(settings.node.name.clone())
    }
}

fn recordings(recording: &crate::settings::Recording) -> Option<media::RecordingLimits> {
    Some(media::RecordingLimits {
        directory: recording.directory.clone()?,
        max_bytes: u64::from(recording.max_mb) << 20,
        max_length: recording.max_length,
        layout: recording.layout,
    })
}

fn media_config(media: &Media, shards: usize) -> media::Config {
    media::Config {
        address: media.address,
        advertise: media.advertise.unwrap_or(media.address),
        other: other_family(media),
        ports: media.ports.0..=media.ports.1,
        timeout: media.timeout,
        one_way_after: media.one_way_after,
        tick: media.tick,
        threads: usize::from(media.threads).min(shards),
        dscp: media.dscp,
        rate: media.rate,
        engine: match media.engine {
            Engine::Auto => media::EngineChoice::Auto,
            Engine::Userspace => media::EngineChoice::Userspace,
            Engine::Ebpf => media::EngineChoice::Kernel,
        },
        steer: media.steer,
        survive_restart: media.survive_restart,
        pins: Some(media.pins.clone()),
        ..media::Config::default()
    }
}

/// The loopback address stands for "where this system has one", so that the box runs on those that have IPv4 only.
fn other_family(media: &Media) -> Option<media::OtherFamily> {
    let address = media.address6?;
    if address.is_loopback() && std::net::UdpSocket::bind((address, 0)).is_err() {
        tracing::warn!(%address, "this system has no such address: media is relayed over IPv4 only");
        return None;
    }
    let advertise = media.advertise6.unwrap_or(address);
    Some(media::OtherFamily { address: address.into(), advertise: advertise.into() })
}

/// Zero is as many as this system has room for.
fn limits(connections: &Connections) -> Limits {
    let limits = Limits::of_this_system();
    let or = |configured: u32, limit: usize| if configured == 0 { limit } else { configured as usize };
    Limits {
        connections: or(connections.max, limits.connections),
        connections_per_source: or(connections.per_source, limits.connections_per_source),
        handshakes: connections.handshakes as usize,
        handshake: connections.handshake_timeout,
        idle: connections.idle,
        ..limits
    }
}

fn core_settings(
    settings: &Settings,
    media: call::Families,
    fingerprint: Option<sip::Fingerprint>,
    shards: usize,
) -> Result<call::Settings, getrandom::Error> {
    let mut seed = [0; 32];
    let mut nonce_secret = [0; 32];
    getrandom::fill(&mut seed)?;
    getrandom::fill(&mut nonce_secret)?;
    Ok(call::Settings {
        // These three are filled in by whoever binds the sockets.
        listeners: Vec::new(),
        shard: 0,
        shards: 0,
        timing: settings.sip.timing,
        timer_c: settings.sip.timer_c,
        session_expires: settings.sip.session_expires,
        min_se: settings.sip.min_se,
        registrar: settings.registrar(),
        // Calls spread evenly; one shard is full a little before the box is.
        max_calls: (settings.node.max_calls as usize).div_ceil(shards),
        product: concat!("Drawbridge/", env!("CARGO_PKG_VERSION")).to_owned(),
        journal: journal_limits(&settings.journal, shards),
        media,
        fingerprint,
        phones: settings.media.phone_security,
        interim: settings.cdr.interim,
        recover_calls: settings.node.recover_calls,
        seed,
        nonce_secret,
    })
}

/// Calls spread evenly, and so do the journals; zero calls mean none anywhere.
fn journal_limits(journal: &Journal, shards: usize) -> call::JournalLimits {
    call::JournalLimits {
        calls: (journal.calls as usize).div_ceil(shards),
        max_bytes: journal.max_kb as usize * 1024,
        memory: (journal.memory_mb as usize * 1024 * 1024).div_ceil(shards),
    }
}

fn access(api: &Api) -> Result<api::Access, api::TokenError> {
    let tokens =
        api.tokens.iter().map(|token| api::Token::new(token.name.clone(), &token.sha256, token.role));
    Ok(api::Access::new(tokens.collect::<Result<_, _>>()?))
}
