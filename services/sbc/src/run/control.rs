//! The glass front: how the API looks into the running box. Only translation, from the plain values of one room to those
//! of another.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ::net::{BanView, Handle, HandleError, ShardLoad};
use api::{
    Answer, Ban, CdrFilter, CdrPage, CdrRecord, Condition, Control, Figures, Health, JournalFigures, Part,
    Recorded, Records, RecordsError, ReloadError, Reloaded, Sample, SinkFigures, StatsQuestion, Trunk,
    TrunkPeer, TrunkStats, Unavailable,
};
use arc_swap::ArcSwap;
use call::{CallView, PeerChange};
use media::{RecordingTotals, Relay};
use routing::{Bodies, CancelMatching, MediaFamily, Redirect, Refer, Snapshot};
use store::{Filter, JournalHealth, SinkHealth, Store};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::samples::{
    gauge, guard_samples, log_samples, media_samples, net_samples, peer_samples, record_samples,
};

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

    /// See [`Relay::leave`].
    pub(super) fn leave_media(&self) {
        self.relay.leave();
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
        log_samples(&mut more);
        record_samples(&store.journal, &mut more);
        guard_samples(&self.handle.guard_totals(), &self.handle.loads(), &mut more);
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
            postgres: store.postgres.as_ref().map(sink_figures),
            lines: store.lines.as_ref().map(sink_figures),
            webhook: store.webhook.as_ref().map(sink_figures),
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
        let mut parts = vec![calls, load(&self.handle.loads()), part("journal", status, detail)];
        for (name, sink) in
            [("postgres", store.postgres), ("cdr_lines", store.lines), ("cdr_webhook", store.webhook)]
        {
            let Some(sink) = sink else { continue };
            let (status, detail) = judged(lacks(sink));
            parts.push(part(name, status, detail));
        }
        parts.extend(self.relay.totals().recordings.as_ref().map(recordings));
        Health { parts }
    }

    async fn read_cdrs(&self, filter: CdrFilter) -> Result<CdrPage, RecordsError> {
        let CdrFilter { from, to, trunk, number, disposition, code, by_arrival, cursor, limit } = filter;
        let order = if by_arrival { store::Order::Arrival } else { store::Order::Newest };
        let filter = Filter { from, to, trunk, number, disposition, code, order, cursor, limit };
        let store::Page { records, next_cursor, follow_cursor, more } =
            self.store.cdrs(&filter).await.map_err(unread)?;
        let records = records.into_iter().map(shown).collect();
        Ok(CdrPage { records, next_cursor, follow_cursor, more })
    }

    async fn read_call(&self, call: Uuid) -> Result<Vec<CdrRecord>, RecordsError> {
        let records = self.store.call(call).await.map_err(unread)?;
        // Attempts of a call that goes on have records already.
        let is_over = records.last().is_some_and(|record| record.fact.is_last);
        Ok(if is_over { records.into_iter().map(shown).collect() } else { Vec::new() })
    }

    async fn read_stats(&self, question: StatsQuestion) -> Result<Vec<TrunkStats>, RecordsError> {
        let StatsQuestion { from, to, interval, by_source, trunk } = question;
        let by = if by_source { store::By::TrunkIn } else { store::By::TrunkOut };
        let figures = self.store.stats(&store::Question { from, to, interval, by, trunk }).await;
        let shown = |figures: store::Figures| TrunkStats {
            asr: figures.asr(),
            ner: figures.ner(),
            acd_s: figures.acd(),
            trunk: figures.trunk,
            from: figures.from,
            seizures: figures.seizures,
            answered: figures.answered,
            pdd_ms: figures.pdd_ms,
        };
        Ok(figures.map_err(unread)?.into_iter().map(shown).collect())
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

    fn ladder(&self, id: Uuid) -> Answer<'_, Result<Option<String>, Unavailable>> {
        Box::pin(async move {
            let journal = self.handle.journal(id).await.map_err(unavailable)?;
            let Some(journal) = journal else { return Ok(None) };
            let recording = replay::read(&replay::write(&journal))
                .map_err(|mistake| Unavailable(format!("the journal cannot be drawn: {}", mistake.what)))?;
            Ok(Some(replay::ladder(&recording).to_string()))
        })
    }

    fn hang_up(&self, id: Uuid) -> Answer<'_, Result<bool, Unavailable>> {
        Box::pin(async move { self.handle.hang_up(id).await.map_err(unavailable) })
    }

    fn record(&self, id: Uuid, on: bool) -> Answer<'_, Result<Recorded, Unavailable>> {
        Box::pin(async move {
            match self.relay.totals().recordings {
                None => return Ok(Recorded::NotConfigured),
                Some(RecordingTotals { full: true, .. }) if on => return Ok(Recorded::Full),
                Some(_) => {}
            }
            Ok(Recorded::Call(self.handle.record(id, on).await.map_err(unavailable)?))
        })
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

    fn bans(&self) -> Vec<Ban> {
        self.handle.bans().into_iter().map(ban).collect()
    }

    fn lift(&self, ip: IpAddr) -> bool {
        self.handle.lift(ip)
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

    fn of_call(&self, call: Uuid) -> Answer<'_, Result<Vec<CdrRecord>, RecordsError>> {
        Box::pin(self.read_call(call))
    }

    fn stats(&self, question: StatsQuestion) -> Answer<'_, Result<Vec<TrunkStats>, RecordsError>> {
        Box::pin(self.read_stats(question))
    }
}

fn unread(error: store::Error) -> RecordsError {
    match error {
        store::Error::Cursor(_) => RecordsError::Cursor(error.to_string()),
        store::Error::TooMany => RecordsError::TooMany(error.to_string()),
        store::Error::Deadline(_) => RecordsError::TooSlow(error.to_string()),
        store::Error::Behind(_) | store::Error::Column { .. } | store::Error::Journal(_) => {
            RecordsError::Unavailable(error.to_string())
        }
    }
}

fn shown(record: store::Record) -> CdrRecord {
    CdrRecord { node: record.node, fact: record.fact, a_mos: record.a_mos, b_mos: record.b_mos }
}

fn unavailable(error: HandleError) -> Unavailable {
    Unavailable(error.to_string())
}

fn ban(ban: BanView) -> Ban {
    Ban {
        source: ban.source,
        ip: ban.ip,
        reason: ban.reason.word(),
        since: ban.since,
        until: ban.until,
        times: ban.times,
        dropped: ban.dropped,
    }
}

/// Degraded while there is no room for any: calls go on without.
fn recordings(totals: &RecordingTotals) -> Part {
    let detail = totals.full.then(|| "recording.max_mb is reached: calls are not recorded".to_owned());
    let status = if totals.full { Condition::Degraded } else { Condition::Ok };
    Part { name: "recordings", status, detail }
}

/// Degraded while any shard refuses new calls: the box goes on, and a balancer that has others may prefer them.
fn load(shards: &[ShardLoad]) -> Part {
    let worst = (0..).zip(shards).max_by(|(_, one), (_, other)| one.refusing.total_cmp(&other.refusing));
    let refusing = worst.filter(|(_, load)| load.refusing > 0.0).map(|(shard, load): (usize, _)| {
        format!(
            "shard {shard} refuses {:.0} % of new calls: messages wait {} ms for it",
            load.refusing * 100.0,
            load.waited.as_millis()
        )
    });
    let status = if refusing.is_some() { Condition::Degraded } else { Condition::Ok };
    Part { name: "load", status, detail: refusing }
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
        media_family: match trunk.media_family {
            MediaFamily::Auto => "auto",
            MediaFamily::Ipv4 => "ipv4",
            MediaFamily::Ipv6 => "ipv6",
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

fn sink_figures(sink: &SinkHealth) -> SinkFigures {
    SinkFigures { up: sink.connected, behind: sink.behind, forwarded: sink.forwarded, refused: sink.refused }
}

/// Why a sink does not have every record, beyond those that are on their way.
fn lacks(sink: SinkHealth) -> Option<String> {
    let away = (!sink.connected).then(|| "not connected".to_owned());
    let refused = || {
        let refused = sink.refused;
        (refused > 0)
            .then(|| format!("{refused} records are refused for what they are; the journal keeps them"))
    };
    sink.error.or(away).or_else(refused)
}

/// What of the records could not be kept since the start: somebody has to look into the log.
fn kept_less(journal: &JournalHealth) -> Option<String> {
    let JournalHealth { lost, late, unspooled, .. } = journal;
    (lost + late + unspooled > 0).then(|| {
        format!("since the start {lost} records are in the log alone and {unspooled} were in no spool; those of {late} calls in progress wait there for room")
    })
}
