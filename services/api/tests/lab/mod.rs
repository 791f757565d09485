//! The box that the endpoints are asked in front of.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use api::{
    Answer, Ban, CdrFilter, CdrPage, CdrRecord, Control, Figures, Health, JournalFigures, Kind, Recorded,
    Records, RecordsError, ReloadError, Reloaded, Sample, SinkFigures, StatsQuestion, Trunk, TrunkPeer,
    TrunkStats, Unavailable,
};
use call::{
    CallView, CdrFact, DirectionStats, Disposition, EndedBy, Identity, LegView, Origin, PeerChange, PeerLife,
    PeerState, Recording, RecordingView, Stats, Utc,
};
use uuid::Uuid;

pub const START: Utc = Utc(1_767_323_045_678_901);

/// A box of three calls.
pub struct Lab {
    pub calls: Mutex<Vec<CallView>>,
    pub health: Mutex<Health>,
    pub wedged: bool,
    pub reload: Mutex<Result<Reloaded, ReloadError>>,
    pub asked: Mutex<Vec<CdrFilter>>,
    pub lifted: Mutex<Vec<IpAddr>>,
}

impl Lab {
    pub fn new() -> Lab {
        let calls = (1..=3).map(call_view).collect();
        Lab {
            calls: Mutex::new(calls),
            health: Mutex::default(),
            wedged: false,
            reload: Mutex::new(Ok(Reloaded::default())),
            asked: Mutex::default(),
            lifted: Mutex::default(),
        }
    }

    fn answer<T: Send + 'static>(&self, value: T) -> Answer<'_, Result<T, Unavailable>> {
        let wedged = self.wedged;
        Box::pin(
            async move { if wedged { Err(Unavailable("shard 1 gave no answer".into())) } else { Ok(value) } },
        )
    }
}

impl Control for Lab {
    fn calls(&self, limit: usize) -> Answer<'_, Result<Vec<CallView>, Unavailable>> {
        self.answer(self.calls.lock().unwrap().iter().take(limit).cloned().collect())
    }

    fn call(&self, id: Uuid) -> Answer<'_, Result<Option<CallView>, Unavailable>> {
        self.answer(self.calls.lock().unwrap().iter().find(|call| call.id == id).cloned())
    }

    fn journal(&self, id: Uuid) -> Answer<'_, Result<Option<String>, Unavailable>> {
        let known = self.calls.lock().unwrap().iter().any(|call| call.id == id);
        self.answer(known.then(|| "{\"drawbridge_journal\":1}\n".to_owned()))
    }

    fn ladder(&self, id: Uuid) -> Answer<'_, Result<Option<String>, Unavailable>> {
        let known = self.calls.lock().unwrap().iter().any(|call| call.id == id);
        self.answer(known.then(|| "a      box      b\n".to_owned()))
    }

    fn hang_up(&self, id: Uuid) -> Answer<'_, Result<bool, Unavailable>> {
        let mut calls = self.calls.lock().unwrap();
        let before = calls.len();
        calls.retain(|call| call.id != id);
        self.answer(calls.len() < before)
    }

    fn record(&self, id: Uuid, on: bool) -> Answer<'_, Result<Recorded, Unavailable>> {
        let mut calls = self.calls.lock().unwrap();
        let call = calls.iter_mut().find(|call| call.id == id);
        self.answer(Recorded::Call(match (call, on) {
            (None, _) => Recording::NoCall,
            (Some(call), true) if call.answered_at.is_none() => Recording::NotAnswered,
            (Some(call), true) => {
                let files: Box<str> = format!("{id}.wav").into();
                call.recording = Some(RecordingView { files: files.clone(), is_on: true });
                Recording::Files(files)
            }
            (Some(call), false) => match call.recording.as_mut().filter(|recording| recording.is_on) {
                Some(recording) => {
                    recording.is_on = false;
                    Recording::Files(recording.files.clone())
                }
                None => Recording::NotRecorded,
            },
        }))
    }

    fn figures(&self) -> Answer<'_, Result<Figures, Unavailable>> {
        let sample = |value, listener: &str| Sample {
            name: "drawbridge_datagrams_total",
            help: "Datagrams received.",
            kind: Kind::Counter,
            labels: vec![("listener", listener.to_owned()), ("transport", "udp".to_owned())],
            value,
        };
        self.answer(Figures {
            node: "edge \"1\"".into(),
            version: "1.2.3",
            uptime: Duration::from_secs(61),
            draining: false,
            stats: Stats { calls: 3, legs: 6, calls_started: 12, ..Stats::default() },
            ports_in_use: 12,
            connections: 2,
            journal: JournalFigures { up: true, pending: 1, committed: 9, lost: 0 },
            postgres: Some(SinkFigures { up: false, behind: 4, forwarded: 5, refused: 0 }),
            lines: None,
            webhook: None,
            more: vec![sample(7.0, "public"), sample(8.5, "inside")],
        })
    }

    fn health(&self) -> Answer<'_, Health> {
        let health = self.health.lock().unwrap().clone();
        Box::pin(async move { health })
    }

    fn reload(&self) -> Answer<'_, Result<Reloaded, ReloadError>> {
        let outcome = self.reload.lock().unwrap().clone();
        Box::pin(async move { outcome })
    }

    fn bans(&self) -> Vec<Ban> {
        let ban = Ban {
            source: "2001:db8:1:2::/64".into(),
            ip: "2001:db8:1:2::".parse().unwrap(),
            reason: "scanner",
            since: START,
            until: Utc(START.0 + 600_000_000),
            times: 2,
            dropped: 17,
        };
        if self.lifted.lock().unwrap().is_empty() { vec![ban] } else { Vec::new() }
    }

    fn lift(&self, ip: IpAddr) -> bool {
        let mut lifted = self.lifted.lock().unwrap();
        let is_banned = lifted.is_empty() && ip.is_ipv6();
        lifted.push(ip);
        is_banned
    }

    fn trunks(&self) -> Vec<Trunk> {
        vec![Trunk {
            name: "carrier".into(),
            sources: vec!["192.0.2.10".into()],
            peers: vec!["sip:192.0.2.10:5060;transport=udp".into()],
            cancel_matching: "strict".into(),
            refer: "local".into(),
            redirect: "follow".into(),
            listener: Some("outside".into()),
            bodies: "strict".into(),
            media_family: "auto".into(),
            methods: Some(vec!["INFO".into()]),
            require: vec!["timer".into()],
            challenges: "answer".into(),
            authenticates: true,
            max_calls: 0,
            max_cps: 20,
            options_ping_ms: Some(30_000),
            peer_states: TrunkPeer::of(&PeerChange {
                trunk: "carrier".into(),
                peer: "sip:192.0.2.10:5060;transport=udp".into(),
                life: Some(PeerLife {
                    state: PeerState::Up,
                    since: START,
                    answered_at: Some(START),
                    round_trip: Some(Duration::from_micros(12_500)),
                    status: 200,
                }),
            })
            .into_iter()
            .collect(),
        }]
    }
}

impl Records for Lab {
    fn cdrs(&self, filter: CdrFilter) -> Answer<'_, Result<CdrPage, RecordsError>> {
        self.asked.lock().unwrap().push(filter.clone());
        Box::pin(async move {
            match filter.cursor.as_deref() {
                None => Ok(CdrPage {
                    records: vec![cdr_record()],
                    next_cursor: Some("more".into()),
                    follow_cursor: Some("later".into()),
                    more: true,
                }),
                Some("more") => Ok(CdrPage::default()),
                Some("slow") => Err(RecordsError::TooSlow("the journal was read for 5s".into())),
                Some(other) => Err(RecordsError::Cursor(format!("expected a next_cursor, found {other:?}"))),
            }
        })
    }

    fn of_call(&self, call: Uuid) -> Answer<'_, Result<Vec<CdrRecord>, RecordsError>> {
        let records = match call.as_u128() {
            77 => vec![cdr_record()],
            78 => transferred(),
            _ => Vec::new(),
        };
        Box::pin(async move { Ok(records) })
    }

    fn stats(&self, asked: StatsQuestion) -> Answer<'_, Result<Vec<TrunkStats>, RecordsError>> {
        if asked.interval == Duration::from_secs(60) {
            let why = "expected at most 10000 rows; narrow the time or widen the interval";
            return Box::pin(async move { Err(RecordsError::TooMany(why.into())) });
        }
        assert_eq!(asked, question());
        let stats = TrunkStats {
            trunk: Some("pbx".into()),
            from: START,
            seizures: 3,
            answered: 1,
            asr: 100.0 / 3.0,
            ner: 100.0,
            acd_s: Some(61.5),
            pdd_ms: None,
        };
        Box::pin(async move { Ok(vec![stats]) })
    }
}

/// What is asked for figures.
fn question() -> StatsQuestion {
    StatsQuestion {
        from: START,
        to: Utc(START.0 + 1),
        interval: Duration::from_secs(900),
        by_source: true,
        trunk: Some("pbx".into()),
    }
}

pub fn call_view(n: u128) -> CallView {
    CallView {
        id: Uuid::from_u128(n),
        state: "answered",
        started_at: START,
        answered_at: (n == 1).then_some(Utc(START.0 + 2_000_000)),
        caller: "alice".into(),
        called: "+15550001".into(),
        trunk_in: Some("pbx".into()),
        trunk_out: None,
        route: Some("out".into()),
        recording: None,
        legs: vec![LegView {
            side: "a",
            state: "confirmed",
            sip_call_id: "a-1@192.0.2.1".into(),
            remote: "192.0.2.1:5060".parse().unwrap(),
            transport: "udp",
        }],
    }
}

/// A call whose first target answered when it was too late, whose second talked, and which was transferred then.
fn transferred() -> Vec<CdrRecord> {
    let answered = [(Disposition::Cancelled, 1), (Disposition::Answered, 3), (Disposition::Answered, 60)];
    let row = |(disposition, seconds): (Disposition, i64)| {
        let mut record = cdr_record();
        record.fact.disposition = disposition;
        record.fact.answered_at = Some(Utc(START.0 + seconds * 1_000_000));
        record
    };
    answered.into_iter().map(row).collect()
}

pub fn cdr_record() -> CdrRecord {
    let fact = CdrFact {
        id: Uuid::from_u128(21),
        call_id: Uuid::from_u128(1),
        attempt: 2,
        is_last: true,
        a_sip_call_id: "a-1@192.0.2.1".into(),
        b_sip_call_id: Some("b-1@192.0.2.2".into()),
        trunk_in: Some("pbx".into()),
        trunk_out: Some("carrier".into()),
        route: None,
        caller: "alice".into(),
        called: "+15550001".into(),
        called_sent: Some("15550001".into()),
        a_source: "192.0.2.1:5060".parse().unwrap(),
        b_destination: Some("[2001:db8::2]:5061".parse().unwrap()),
        a_transport: sip::Transport::Udp,
        b_transport: Some(sip::Transport::Tls),
        a_tls: None,
        b_tls: Some(call::TlsVersion::V1_2),
        a_user_agent: None,
        b_user_agent: Some("gateway".into()),
        started_at: START,
        ringing_at: None,
        answered_at: Some(Utc(START.0 + 1)),
        ended_at: Utc(START.0 + 60_000_000),
        duration_ms: 59_999,
        ring_ms: 0,
        disposition: Disposition::NoAnswer,
        ended_by: EndedBy::MediaTimeout,
        sip_code_a: Some(200),
        sip_reason_a: Some("OK".into()),
        sip_code_b: None,
        sip_reason_b: None,
        q850: Some(16),
        codec_a: Some("PCMU".into()),
        codec_b: None,
        rank: Some(2),
        origin: Origin::Failover,
        parent_id: None,
        pdd_ms: Some(1_500),
        a_media: Some("192.0.2.1:4000".parse().unwrap()),
        b_media: None,
        ptime_a: Some(20),
        ptime_b: None,
        identity_in: Some(Box::new(Identity { asserted: Some("<tel:+1555>".into()), ..Identity::default() })),
        identity_out: None,
        q850_a: Some(16),
        q850_b: None,
        from_a: DirectionStats {
            packets: 3000,
            octets: 480_000,
            lost: 1,
            jitter_ms: 1.5,
            dropped: 9,
            round_trip_ms: Some(40),
            srtp: call::SrtpUse::parse("dtls AEAD_AES_128_GCM"),
            ..DirectionStats::default()
        },
        from_b: DirectionStats { deaf: Some(call::Deaf::Nothing), ..DirectionStats::default() },
        recording: None,
        recovered: 1,
        tags: call::Tags::new([("customer", "=acme")]).unwrap(),
    };
    CdrRecord { node: "edge-1".into(), fact, a_mos: Some(4.25), b_mos: None }
}
