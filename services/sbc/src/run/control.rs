//! The glass front: how the API looks into the running box. Only translation, from the plain values of one room to those
//! of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ::net::{Handle, HandleError, NetTotals};
use api::{
    Answer, CdrFilter, CdrPage, CdrRecord, Condition, Control, Figures, Health, JournalFigures, Kind, Part,
    PostgresFigures, Records, RecordsError, ReloadError, Reloaded, Sample, Trunk, TrunkPeer, Unavailable,
};
use arc_swap::ArcSwap;
use call::{CallView, PeerChange, PeerState};
use media::{Relay, Totals};
use routing::{Bodies, CancelMatching, Redirect, Refer, Snapshot};
use store::{Filter, JournalHealth, Store};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Where somebody waits to hear what a reload came to.
pub(super) type AwaitedReload = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// Reloads that the API has asked for. Few may wait: each reads the same file.
pub(super) type Reloads = mpsc::Sender<AwaitedReload>;

/// What the API sees.
pub(super) struct Glass {
    node: String,
    since: Instant,
    draining: AtomicBool,
    handle: Handle,
    relay: Relay,
    store: Arc<Store>,
    snapshot: ArcSwap<Snapshot>,
    reloads: Reloads,
}

impl Glass {
    pub(super) fn new(
        node: &str,
        handle: Handle,
        relay: Relay,
        store: Arc<Store>,
        snapshot: Arc<Snapshot>,
        reloads: Reloads,
    ) -> Glass {
        Glass {
            node: node.to_owned(),
            since: Instant::now(),
            draining: AtomicBool::new(false),
            handle,
            relay,
            store,
            snapshot: ArcSwap::new(snapshot),
            reloads,
        }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn show(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
    }

    async fn read_figures(&self) -> Result<Figures, Unavailable> {
        let stats = self.handle.stats().await.map_err(unavailable)?;
        let net = self.handle.net_totals();
        let store = self.store.health();
        let mut more = Vec::new();
        media_samples(&self.relay.totals(), &mut more);
        net_samples(&net, &mut more);
        record_samples(&store.journal, &mut more);
        let snapshot = self.snapshot.load();
        for trunk in snapshot.trunks() {
            let calls = f64::from(self.handle.trunk_calls(&trunk.name));
            more.push(Sample {
                labels: vec![("trunk", trunk.name.clone())],
                ..gauge("drawbridge_trunk_calls", "Calls that hold a place on a trunk.", calls)
            });
        }
        peer_samples(&self.handle.peers(), &mut more);
        Ok(Figures {
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.since.elapsed(),
            draining: self.draining.load(Ordering::Relaxed),
            stats: stats.total.core,
            ports_in_use: stats.total.ports,
            connections: net.connections_open,
            journal: JournalFigures {
                up: store.journal.error.is_none(),
                pending: store.journal.pending,
                committed: store.journal.committed,
                lost: store.journal.lost,
            },
            postgres: store.postgres.map(|postgres| PostgresFigures {
                up: postgres.connected,
                behind: postgres.behind,
                forwarded: postgres.forwarded,
                refused: postgres.refused,
            }),
            more,
        })
    }

    async fn read_health(&self) -> Health {
        let part = |name, status, detail| Part { name, status, detail };
        let calls = match self.handle.stats().await {
            Err(error) => part("calls", Condition::Failed, Some(error.to_string())),
            // A load balancer that asks here sends no more calls, which is what draining is for.
            Ok(_) if self.draining.load(Ordering::Relaxed) => {
                part("calls", Condition::Failed, Some("draining: no new calls".to_owned()))
            }
            Ok(_) => part("calls", Condition::Ok, None),
        };
        let store = self.store.health();
        let judged = |error: Option<String>| match error {
            Some(error) => (Condition::Degraded, Some(error)),
            None => (Condition::Ok, None),
        };
        let (status, detail) = judged(store.journal.error.clone().or_else(|| kept_less(&store.journal)));
        let mut parts = vec![calls, part("journal", status, detail)];
        if let Some(postgres) = store.postgres {
            let (status, detail) = match (postgres.connected, postgres.error) {
                (false, None) => (Condition::Degraded, Some("not connected".to_owned())),
                (_, error) => judged(error),
            };
            parts.push(part("postgres", status, detail));
        }
        Health { parts }
    }

    async fn read_cdrs(&self, filter: CdrFilter) -> Result<CdrPage, RecordsError> {
        let CdrFilter { from, to, trunk, number, cursor, limit } = filter;
        let page = self.store.cdrs(&Filter { from, to, trunk, number, cursor, limit }).await;
        let page = page.map_err(|error| match error {
            store::Error::Cursor(_) => RecordsError::Cursor(error.to_string()),
            store::Error::Deadline(_) => RecordsError::TooSlow(error.to_string()),
            store::Error::Column { .. } | store::Error::Journal(_) => {
                RecordsError::Unavailable(error.to_string())
            }
        })?;
        let records = page.records.into_iter().map(|record| CdrRecord {
            node: record.node,
            fact: record.fact,
            a_mos: record.a_mos,
            b_mos: record.b_mos,
        });
        Ok(CdrPage { records: records.collect(), next_cursor: page.next_cursor })
    }
}

impl Control for Glass {
    fn calls(&self, limit: usize) -> Answer<'_, Result<Vec<CallView>, Unavailable>> {
        Box::pin(async move { self.handle.calls(limit).await.map_err(unavailable) })
    }

    fn call(&self, id: Uuid) -> Answer<'_, Result<Option<CallView>, Unavailable>> {
        Box::pin(async move { self.handle.call(id).await.map_err(unavailable) })
    }

    fn journal(&self, id: Uuid) -> Answer<'_, Result<Option<String>, Unavailable>> {
        Box::pin(async move {
            let journal = self.handle.journal(id).await.map_err(unavailable)?;
            Ok(journal.map(|journal| replay::write(&journal)))
        })
    }

    fn hang_up(&self, id: Uuid) -> Answer<'_, Result<bool, Unavailable>> {
        Box::pin(async move { self.handle.hang_up(id).await.map_err(unavailable) })
    }

    fn figures(&self) -> Answer<'_, Result<Figures, Unavailable>> {
        Box::pin(self.read_figures())
    }

    fn health(&self) -> Answer<'_, Health> {
        Box::pin(self.read_health())
    }

    fn reload(&self) -> Answer<'_, Result<Reloaded, ReloadError>> {
        Box::pin(async move {
            let nobody = || ReloadError::Unavailable("nobody reads the configuration again now".to_owned());
            let (outcome, awaited) = oneshot::channel();
            self.reloads.try_send(outcome).map_err(|_| nobody())?;
            awaited.await.unwrap_or_else(|_| Err(nobody()))
        })
    }

    fn trunks(&self) -> Vec<Trunk> {
        let peers = self.handle.peers();
        self.snapshot.load().trunks().iter().map(|it| trunk(it, &peers)).collect()
    }
}

impl Records for Glass {
    fn cdrs(&self, filter: CdrFilter) -> Answer<'_, Result<CdrPage, RecordsError>> {
        Box::pin(self.read_cdrs(filter))
    }
}

fn unavailable(error: HandleError) -> Unavailable {
    Unavailable(error.to_string())
}

fn trunk(trunk: &routing::Trunk, peers: &[PeerChange]) -> Trunk {
    let peers = peers.iter().filter(|peer| *peer.trunk == *trunk.name);
    Trunk {
        name: trunk.name.clone(),
        sources: trunk.sources.iter().map(ToString::to_string).collect(),
        peers: trunk.peers.clone(),
        cancel_matching: match trunk.cancel_matching {
            CancelMatching::Strict => "strict",
            CancelMatching::Lenient => "lenient",
        }
        .to_owned(),
        refer: match trunk.refer {
            Refer::Local => "local",
            Refer::Pass => "pass",
        }
        .to_owned(),
        redirect: match trunk.redirect {
            Redirect::Follow => "follow",
            Redirect::Pass => "pass",
        }
        .to_owned(),
        listener: trunk.listener.clone(),
        bodies: match trunk.bodies {
            Bodies::Strict => "strict",
            Bodies::Pass => "pass",
        }
        .to_owned(),
        methods: trunk.methods.clone(),
        require: trunk.require.clone(),
        challenges: if trunk.passes_challenges() { "pass" } else { "answer" }.to_owned(),
        authenticates: trunk.auth.is_some(),
        max_calls: trunk.max_calls,
        max_cps: trunk.max_cps,
        options_ping_ms: trunk.options_ping.map(|interval| interval.as_millis() as u64),
        peer_states: peers.filter_map(TrunkPeer::of).collect(),
    }
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Sample {
    Sample { name, help, kind: Kind::Gauge, labels: Vec::new(), value }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Sample {
    Sample { name, help, kind: Kind::Counter, labels: Vec::new(), value: value as f64 }
}

/// A peer that was not asked yet is neither up nor down.
fn peer_samples(peers: &[PeerChange], samples: &mut Vec<Sample>) {
    let labels = |peer: &PeerChange| vec![("trunk", peer.trunk.to_string()), ("peer", peer.peer.to_string())];
    for peer in peers {
        let up = match peer.life.as_ref().map(|life| life.state) {
            Some(PeerState::Up) => 1.0,
            Some(PeerState::Down | PeerState::Aside) => 0.0,
            Some(PeerState::Unknown) | None => continue,
        };
        let help = "Whether a peer that is asked for life answers and takes calls.";
        samples.push(Sample { labels: labels(peer), ..gauge("drawbridge_trunk_peer_up", help, up) });
    }
    for peer in peers {
        let Some(took) = peer.life.as_ref().and_then(|life| life.round_trip) else { continue };
        let name = "drawbridge_trunk_peer_round_trip_seconds";
        let help = "How long the last answer of a peer to OPTIONS took.";
        samples.push(Sample { labels: labels(peer), ..gauge(name, help, took.as_secs_f64()) });
    }
}

/// One line for each figure. Totals are taken apart, so that a new one cannot be forgotten here.
fn media_samples(totals: &Totals, samples: &mut Vec<Sample>) {
    let Totals {
        packets,
        octets,
        control,
        dropped,
        withheld,
        unsent,
        late,
        opened,
        closed,
        refused,
        ports_in_use: _,
        ports_total,
        ports_taken,
        sockets,
        sockets_limit,
    } = *totals;
    samples.extend([
        counter("drawbridge_media_packets_total", "Media packets relayed.", packets),
        counter("drawbridge_media_octets_total", "Payload octets of the media packets relayed.", octets),
        counter("drawbridge_media_control_packets_total", "RTCP packets relayed.", control),
        counter("drawbridge_media_dropped_total", "Packets of a source that is not the call's.", dropped),
        counter("drawbridge_media_withheld_total", "Packets for a side on hold.", withheld),
        counter("drawbridge_media_unsent_total", "Packets that the network refused.", unsent),
        counter("drawbridge_media_late_total", "Packets to ports that belong to no call.", late),
        counter("drawbridge_media_sessions_opened_total", "Media sessions opened.", opened),
        counter("drawbridge_media_sessions_closed_total", "Media sessions closed.", closed),
        counter(
            "drawbridge_media_sessions_refused_total",
            "Media sessions refused for want of ports.",
            refused,
        ),
        gauge("drawbridge_media_ports", "Media ports configured.", ports_total as f64),
        counter(
            "drawbridge_media_ports_taken_total",
            "Ports found in the hands of another process.",
            ports_taken,
        ),
        gauge("drawbridge_media_sockets", "Open media sockets, also of resting ports.", sockets as f64),
        gauge(
            "drawbridge_media_sockets_limit",
            "Media sockets that the system allows.",
            sockets_limit as f64,
        ),
    ]);
}

/// What of the records could not be kept since the start: somebody has to look into the log.
fn kept_less(journal: &JournalHealth) -> Option<String> {
    let JournalHealth { lost, unopened, unspooled, .. } = journal;
    (lost + unopened + unspooled > 0).then(|| {
        format!("since the start {lost} records are in the log alone, {unopened} beginnings and {unspooled} spooled entries were not kept")
    })
}

fn record_samples(journal: &JournalHealth, samples: &mut Vec<Sample>) {
    samples.extend([
        gauge("drawbridge_cdr_open", "Attempts in progress that the journal knows of.", journal.open as f64),
        counter(
            "drawbridge_cdr_unopened_total",
            "Attempts in progress of which the journal was not told.",
            journal.unopened,
        ),
        counter("drawbridge_cdr_unspooled_total", "Records that the spool did not take.", journal.unspooled),
    ]);
}

fn net_samples(totals: &NetTotals, samples: &mut Vec<Sample>) {
    let NetTotals {
        datagrams_in,
        datagrams_out,
        keepalives_in,
        datagrams_unsent,
        stream_messages_in,
        stream_messages_out,
        handed_over,
        dropped_queue_full,
        answered_503,
        connections_open: _,
        connections_accepted,
        connections_opened,
        connections_failed,
        connections_refused,
        connections_slow,
        connections_idle,
        framing_faults,
        lookups,
        lookups_failed,
    } = *totals;
    samples.extend([
        counter("drawbridge_datagrams_in_total", "SIP datagrams received.", datagrams_in),
        counter("drawbridge_datagrams_out_total", "SIP datagrams sent.", datagrams_out),
        counter("drawbridge_keepalives_in_total", "Datagrams that were only a keep-alive.", keepalives_in),
        counter(
            "drawbridge_datagrams_unsent_total",
            "SIP datagrams that the system refused.",
            datagrams_unsent,
        ),
        counter(
            "drawbridge_stream_messages_in_total",
            "SIP messages of streams received.",
            stream_messages_in,
        ),
        counter(
            "drawbridge_stream_messages_out_total",
            "SIP messages handed to streams.",
            stream_messages_out,
        ),
        counter("drawbridge_handed_over_total", "Messages received by a shard for another.", handed_over),
        counter(
            "drawbridge_queue_full_total",
            "Messages dropped at a shard's full queue.",
            dropped_queue_full,
        ),
        counter("drawbridge_queue_full_503_total", "INVITEs among them that got 503.", answered_503),
        counter("drawbridge_connections_accepted_total", "Streams accepted.", connections_accepted),
        counter("drawbridge_connections_opened_total", "Streams opened.", connections_opened),
        counter(
            "drawbridge_connections_failed_total",
            "Streams that could not be opened.",
            connections_failed,
        ),
        counter(
            "drawbridge_connections_refused_total",
            "Streams beyond the most allowed.",
            connections_refused,
        ),
        counter(
            "drawbridge_connections_slow_total",
            "Streams cut off for reading too slowly.",
            connections_slow,
        ),
        counter("drawbridge_connections_idle_total", "Streams closed for silence.", connections_idle),
        counter("drawbridge_framing_faults_total", "Streams closed for what is no SIP.", framing_faults),
        counter("drawbridge_lookups_total", "Host names looked up.", lookups),
        counter("drawbridge_lookups_failed_total", "Look-ups that gave nothing.", lookups_failed),
    ]);
}
