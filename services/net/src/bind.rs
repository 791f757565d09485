//! From a configuration to running shards: bind everything, then start, at last stop.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use call::{Core, Engine, Interrupted, Listener, ListenerId, Settings};
use routing::{Admission, Snapshot};
use sip::Transport;
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::datagram::Datagrams;
use crate::dispatch::Dispatch;
use crate::error::NetError;
use crate::guard::{Guard, GuardRules};
use crate::handle::Handle;
use crate::keeper::Keeper;
use crate::mailbox::Mailbox;
use crate::overload::{Load, Overload};
use crate::peers::Peers;
use crate::resolver::Resolver;
use crate::shard::Shard;
use crate::socket::{bind_tcp, bind_udp};
use crate::streams::{Berth, Secrets, Streams};
use crate::tls::Identities;
use crate::totals::Counters;
use crate::upgrade::Origins;
use crate::worker::{Parts, Worker};
use crate::{Config, Dns, Limits, Listen, Records, Wakers};

/// How long a shard may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Binds every listener and gets ready everything else that the system might refuse. On an error nothing is left
/// behind: what was bound is free again.
///
/// # Errors
///
/// Names the listener, its address and what the system said, or which parts do not fit together.
pub fn bind(config: Config) -> Result<Bound, NetError> {
    let Config { listeners, wakers, settings, snapshot, engines, records, dns, limits, guard } = config;
    let shards = wakers.shards();
    expect("media engines", shards, engines.len())?;
    expect("records", shards, records.len())?;
    if listeners.is_empty() || listeners.len() > usize::from(u16::MAX) {
        let expected = format!("1 to {}", u16::MAX);
        return Err(NetError::Parts { what: "listeners", expected, got: listeners.len() });
    }
    let mut bound = Vec::with_capacity(listeners.len());
    let mut sockets = Vec::with_capacity(listeners.len());
    for listen in &listeners {
        let (listener, socket) = open(listen, shards)?;
        bound.push(listener);
        sockets.push(socket);
    }
    let mut runtimes = Vec::with_capacity(shards);
    for shard in 0..shards {
        runtimes.push(runtime().map_err(|source| NetError::Start { shard, source })?);
    }
    let identity = |listen: &Listen| listen.tls.clone().map(ArcSwap::from_pointee);
    let identities = listeners.iter().map(identity).collect();
    let origins = listeners.iter().map(|listen| Origins(listen.origins.as_slice().into())).collect();
    let mut bound = Bound {
        listeners: bound,
        identities,
        origins,
        wakers,
        settings,
        snapshot,
        engines,
        records,
        dns,
        limits,
        guard,
        runtimes,
        ports: Vec::new(),
        interrupted: Vec::new(),
    };
    bound.register(sockets)?;
    Ok(bound)
}

/// Bound and not yet running: peers' messages wait in the sockets.
pub struct Bound {
    listeners: Vec<Listener>,
    /// By listener.
    identities: Identities,
    origins: Vec<Origins>,
    wakers: Wakers,
    settings: Settings,
    snapshot: Arc<Snapshot>,
    engines: Vec<Box<dyn Engine + Send>>,
    records: Vec<Box<dyn Records>>,
    dns: Dns,
    limits: Limits,
    guard: GuardRules,
    runtimes: Vec<Runtime>,
    /// By shard.
    ports: Vec<Ports>,
    interrupted: Vec<Interrupted>,
}

/// The sockets of one shard, known to its runtime.
#[derive(Default)]
struct Ports {
    /// At the index of their listener.
    datagrams: Vec<Option<Datagrams>>,
    streams: Vec<(ListenerId, tokio::net::TcpListener)>,
}

/// One listener's sockets.
enum Opened {
    /// One for each shard.
    Datagrams(Vec<UdpSocket>),
    Stream(TcpListener),
}

fn expect(what: &'static str, expected: usize, got: usize) -> Result<(), NetError> {
    if expected == got { Ok(()) } else { Err(NetError::Parts { what, expected: expected.to_string(), got }) }
}

fn open(listen: &Listen, shards: usize) -> Result<(Listener, Opened), NetError> {
    let name = &listen.name;
    let transport = listen.transport.as_param();
    let address = listen.bind;
    let failed = |source| NetError::Bind { listener: name.clone(), transport, address, source };
    if address.ip().is_unspecified() && listen.advertise.is_none() {
        return Err(NetError::Advertise { listener: name.clone(), address });
    }
    let opened = match listen.transport {
        Transport::Udp => Opened::Datagrams(bind_udp(address, shards).map_err(failed)?),
        Transport::Tls | Transport::Wss if listen.tls.is_none() => {
            return Err(NetError::Certificate { listener: name.clone(), transport });
        }
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
            Opened::Stream(bind_tcp(address).map_err(failed)?)
        }
    };
    let bind = match &opened {
        Opened::Datagrams(sockets) => sockets.first().map_or(Ok(address), UdpSocket::local_addr),
        Opened::Stream(listener) => listener.local_addr(),
    }
    .map_err(failed)?;
    let advertise =
        listen.advertise.as_deref().map_or_else(|| bind.to_string(), |host| with_port(host, bind.port()));
    Ok((Listener { name: name.clone(), transport: listen.transport, bind, advertise }, opened))
}

/// `host:port` from a host that may have a port already; a bare IPv6 address gets its brackets.
fn with_port(host: &str, port: u16) -> String {
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return SocketAddr::new(IpAddr::V6(address), port).to_string();
    }
    let has_port = match host.rsplit_once(':') {
        Some((name, port)) => !name.is_empty() && port.parse::<u16>().is_ok() && !host.ends_with(']'),
        None => false,
    };
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Bound {
    /// The listeners with their real ports, in the order of the configuration.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// These calls of the process before this one go on, each in its shard, before anything is heard.
    pub fn restore(&mut self, calls: Vec<Interrupted>) {
        self.interrupted = calls;
    }

    /// Makes the sockets known to the shards' runtimes. Streams are accepted on the first.
    fn register(&mut self, sockets: Vec<Opened>) -> Result<(), NetError> {
        self.ports = self.runtimes.iter().map(|_| Ports::default()).collect();
        for (index, (opened, listener)) in sockets.into_iter().zip(&self.listeners).enumerate() {
            let id = ListenerId(index as u16);
            let failed = |source| NetError::Bind {
                listener: listener.name.clone(),
                transport: listener.transport.as_param(),
                address: listener.bind,
                source,
            };
            let mut datagrams = Vec::new();
            let mut stream = None;
            match opened {
                Opened::Datagrams(sockets) => datagrams = sockets,
                Opened::Stream(listener) => stream = Some(listener),
            }
            let mut datagrams = datagrams.into_iter();
            for (ports, runtime) in self.ports.iter_mut().zip(&self.runtimes) {
                let _entered = runtime.enter();
                let socket = datagrams.next().map(|socket| Datagrams::new(id, socket)).transpose();
                ports.datagrams.push(socket.map_err(failed)?);
                if let Some(listener) = stream.take() {
                    ports.streams.push((id, tokio::net::TcpListener::from_std(listener).map_err(failed)?));
                }
            }
        }
        Ok(())
    }

    /// Starts the shards.
    ///
    /// # Errors
    ///
    /// [`NetError::Start`] when the system has no thread for one; those started by then have ended again.
    pub fn run(self) -> Result<Net, NetError> {
        let Bound { listeners, wakers, settings, snapshot, engines, records, dns, limits, .. } = self;
        let Bound { identities, origins, runtimes, ports, guard, mut interrupted, .. } = self;
        let mailboxes: Arc<[Arc<Mailbox>]> = wakers
            .iter()
            .map(|wake| Mailbox::new(limits.queue_messages, limits.queue_octets, Arc::clone(wake)))
            .map(Arc::new)
            .collect();
        let counters: Arc<[Arc<Counters>]> = mailboxes.iter().map(|_| Arc::default()).collect();
        let berths =
            mailboxes.iter().zip(counters.iter()).zip(&runtimes).map(|((mailbox, counters), runtime)| {
                Berth {
                    mailbox: Arc::clone(mailbox),
                    counters: Arc::clone(counters),
                    runtime: runtime.handle().clone(),
                }
            });
        let door = door(&listeners).map_err(|source| NetError::Start { shard: 0, source })?;
        let secrets = Secrets {
            identities: Arc::clone(&identities),
            origins,
            runtime: door.as_ref().map(|runtime| runtime.handle().clone()),
        };
        let clock = Clock::start();
        let overload = (guard.overload_delay, guard.overload_interval);
        let guard = Arc::new(Guard::new(guard, Arc::clone(&snapshot), &settings.registrar));
        let loads: Arc<[Load]> = mailboxes.iter().map(|_| Load::default()).collect();
        let keeper = Keeper { guard: Arc::clone(&guard), loads: Arc::clone(&loads), clock };
        let streams =
            Arc::new(Streams::new(berths.collect(), listeners.clone(), limits, secrets, keeper.clone()));
        let resolver = Resolver::start(&dns, &listeners, Arc::clone(&mailboxes))?;
        let admission = Arc::new(Mutex::new(Admission::new()));
        let peers = Arc::<Peers>::default();
        let names = listeners.iter().map(|listener| listener.name.as_str().into()).collect();
        let handle = Handle::new(&mailboxes, &counters, (&admission, &peers), (names, identities), keeper);
        let stop = Arc::new(AtomicBool::new(false));
        let mut net = Net { threads: Vec::new(), door, mailboxes: Arc::clone(&mailboxes), stop, handle };

        let each = runtimes.into_iter().zip(ports).zip(engines.into_iter().zip(records));
        for (shard, ((runtime, ports), (engine, records))) in each.enumerate() {
            let settings = settings_of(&settings, &listeners, shard, mailboxes.len());
            let of_shard = interrupted.extract_if(.., |call| usize::from(call.shard) == shard).collect();
            let parts = Parts {
                shard: shard as u16,
                core: Core::new(settings, Arc::clone(&snapshot)),
                snapshot: Arc::clone(&snapshot),
                engine,
                records,
                clock,
                dispatch: Dispatch::new(Arc::clone(&admission), Arc::clone(&peers)),
                mailboxes: Arc::clone(&mailboxes),
                counters: Arc::clone(&counters[shard]),
                streams: Arc::clone(&streams),
                resolver: Arc::clone(&resolver),
                sockets: ports.datagrams,
                guard: Arc::clone(&guard),
                loads: Arc::clone(&loads),
                overload: Overload::new(overload.0, overload.1),
                interrupted: of_shard,
            };
            net.start(shard, runtime, parts, ports.streams)?;
        }
        Ok(net)
    }
}

/// The runtime of handshakes, where a listener needs any.
fn door(listeners: &[Listener]) -> std::io::Result<Option<Runtime>> {
    let shakes_hands = |listener: &Listener| match listener.transport {
        Transport::Udp | Transport::Tcp => false,
        Transport::Tls | Transport::Ws | Transport::Wss => true,
    };
    if !listeners.iter().any(shakes_hands) {
        return Ok(None);
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).thread_name("handshakes").enable_all().build().map(Some)
}

fn settings_of(template: &Settings, listeners: &[Listener], shard: usize, shards: usize) -> Settings {
    let mut settings = template.clone();
    settings.listeners = listeners.to_vec();
    settings.shard = shard as u16;
    settings.shards = shards as u16;
    // A key of a generator: another key, however near, is another sequence.
    for (octet, vary) in settings.seed.iter_mut().zip((shard as u64).to_le_bytes()) {
        *octet ^= vary;
    }
    settings
}

/// The running shards. [`shutdown`](Net::shutdown) ends them; dropped, it tells them to end and does not wait.
pub struct Net {
    threads: Vec<JoinHandle<()>>,
    /// Where handshakes are done.
    door: Option<Runtime>,
    mailboxes: Arc<[Arc<Mailbox>]>,
    stop: Arc<AtomicBool>,
    handle: Handle,
}

impl Net {
    /// The operator's side.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A shard that ended without being told to, if there is one: its calls are lost, and new calls of its share get
    /// no answer. To be looked at now and then; the process is best started anew.
    pub fn failed_shard(&self) -> Option<usize> {
        self.threads.iter().position(JoinHandle::is_finished)
    }

    /// Ends all shards once they have handled what has come. Calls in progress are dropped without a word: see
    /// [`Handle::end_all`]. Blocks for up to five seconds.
    ///
    /// # Errors
    ///
    /// Names a shard that did not end, or had failed before.
    pub fn shutdown(mut self) -> Result<(), NetError> {
        self.tell_to_stop();
        let deadline = Instant::now() + PATIENCE;
        let mut failure = None;
        for (shard, thread) in std::mem::take(&mut self.threads).into_iter().enumerate() {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                failure = failure.or(Some(NetError::Stuck { shard }));
            } else if thread.join().is_err() {
                failure = failure.or(Some(NetError::Failed { shard }));
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn tell_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        for mailbox in self.mailboxes.iter() {
            mailbox.wake().wake();
        }
    }

    fn start(
        &mut self,
        shard: usize,
        runtime: Runtime,
        parts: Parts,
        accepting: Vec<(ListenerId, tokio::net::TcpListener)>,
    ) -> Result<(), NetError> {
        let mailbox = Arc::clone(&self.mailboxes[shard]);
        let stop = Arc::clone(&self.stop);
        let thread = std::thread::Builder::new().name(format!("shard-{shard}")).spawn(move || {
            // Also when the shard fails: those who wait for it must not wait any longer.
            let _ended = Ended(Arc::clone(&mailbox));
            for (id, listener) in accepting {
                runtime.spawn(Arc::clone(&parts.streams).accept(id, listener));
            }
            runtime.block_on(async move { Shard::new(Worker::new(parts), mailbox, stop).run().await });
            runtime.shutdown_background();
        });
        self.threads.push(thread.map_err(|source| NetError::Start { shard, source })?);
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.tell_to_stop();
        // Without waiting, which a runtime that is dropped within another does not allow.
        if let Some(door) = self.door.take() {
            door.shutdown_background();
        }
    }
}

/// Closes a shard's mailbox when the shard ends.
struct Ended(Arc<Mailbox>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn an_advertised_host_gets_the_port_that_it_lacks() {
        for (host, expected) in [
            ("203.0.113.7", "203.0.113.7:5070"),
            ("203.0.113.7:5060", "203.0.113.7:5060"),
            ("sbc.example.com", "sbc.example.com:5070"),
            ("sbc.example.com:5061", "sbc.example.com:5061"),
            ("2001:db8::1", "[2001:db8::1]:5070"),
            ("[2001:db8::1]", "[2001:db8::1]:5070"),
            ("[2001:db8::1]:5060", "[2001:db8::1]:5060"),
        ] {
            assert_eq!(with_port(host, 5070), expected);
        }
    }
}
