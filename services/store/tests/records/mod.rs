//! Records to write, and a store in a directory of its own.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use call::{CdrFact, DirectionStats, Disposition, EndedBy, Identity, Origin, Utc};
use store::{Config, Filter, Record, Store};
use uuid::Uuid;

/// 2026-01-02T03:04:05.678901Z
pub const START: i64 = 1_767_323_045_678_901;

/// A process of its own: whatever it has not written when `life` returns is gone, as with a process that is killed.
pub fn live_and_die(directory: &Path, config: Config, life: impl AsyncFnOnce(&Store)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(async {
        let store = Store::open(directory, config).await.unwrap();
        life(&store).await;
        store
    });
    drop(runtime);
    drop(store);
}

/// Microseconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

/// The `n`th call's only record: one second after the one before, with every column told.
pub fn record(n: u32) -> CdrFact {
    let at = |seconds: i64| Utc(START + (i64::from(n) + seconds) * 1_000_000);
    CdrFact {
        id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(n)),
        call_id: Uuid::from_u128(0x0190_0000_0000_7000_9000_0000_0000_0000 | u128::from(n)),
        attempt: 1,
        is_last: true,
        a_sip_call_id: format!("a-{n}@192.0.2.1").into(),
        b_sip_call_id: Some(format!("b-{n}@192.0.2.2").into()),
        trunk_in: Some("pbx".into()),
        trunk_out: Some(if n.is_multiple_of(2) { "carrier-a" } else { "carrier-b" }.into()),
        route: Some("to-carrier".into()),
        caller: format!("+1555000{n:04}").into(),
        called: format!("+1666000{n:04}").into(),
        called_sent: Some(format!("666000{n:04}").into()),
        a_source: "192.0.2.1:5060".parse().unwrap(),
        b_destination: Some("[2001:db8::2]:5061".parse().unwrap()),
        a_transport: sip::Transport::Udp,
        b_transport: Some(sip::Transport::Tls),
        a_tls: None,
        b_tls: Some(call::TlsVersion::V1_3),
        a_user_agent: Some("phone/1.0".into()),
        b_user_agent: Some("gate \"way\" \\ ü".into()),
        started_at: at(0),
        ringing_at: Some(at(1)),
        answered_at: Some(at(2)),
        ended_at: at(62),
        duration_ms: 60_000,
        ring_ms: 1_000,
        disposition: Disposition::Answered,
        ended_by: EndedBy::Caller,
        sip_code_a: Some(200),
        sip_reason_a: Some("OK".into()),
        sip_code_b: Some(200),
        sip_reason_b: Some("Fine".into()),
        q850: Some(16),
        codec_a: Some("PCMU".into()),
        codec_b: Some("PCMA".into()),
        rank: Some(1),
        origin: Origin::Transfer,
        parent_id: Some(Uuid::from_u128(0x0190_0000_0000_7000_a000_0000_0000_0000 | u128::from(n))),
        pdd_ms: Some(1_000),
        a_media: Some("192.0.2.1:4000".parse().unwrap()),
        b_media: Some("[2001:db8::2]:5000".parse().unwrap()),
        ptime_a: Some(20),
        ptime_b: Some(30),
        identity_in: Some(Box::new(Identity {
            asserted: Some("<sip:+15550000@pbx.example>".into()),
            diversion: Some("<sip:desk@pbx.example>;reason=unconditional".into()),
            privacy: Some("id".into()),
        })),
        identity_out: Some(Box::new(Identity { privacy: Some("id".into()), ..Identity::default() })),
        q850_a: Some(16),
        q850_b: Some(17),
        from_a: DirectionStats {
            packets: 3_000,
            octets: 480_000,
            lost: 3,
            jitter_ms: 1.5,
            reordered: 2,
            duplicates: 1,
            round_trip_ms: Some(4),
            first_media_ms: Some(20),
            moves: 1,
            ..DirectionStats::default()
        },
        from_b: DirectionStats {
            packets: 2_999,
            octets: 479_840,
            jitter_ms: 0.25,
            deaf: call::Deaf::parse("wrong_source 192.0.2.66:9"),
            srtp: call::SrtpUse::parse("sdes AES_CM_128_HMAC_SHA1_80"),
            ..DirectionStats::default()
        },
        recording: Some("calls/a.wav".into()),
        recovered: 2,
        tags: call::Tags::new([("customer", "acme \"ü\""), ("tariff", "")]).unwrap(),
    }
}

/// A call from 03:04:05 on whose first target fails, whose second talks for ten minutes and is transferred, and which goes on for
/// one with the third.
pub fn transferred() -> [CdrFact; 3] {
    let at = |seconds: i64| Utc(START + seconds * 1_000_000);
    let attempt = |n: u32, started: i64| CdrFact {
        call_id: record(1).call_id,
        attempt: n,
        is_last: n == 3,
        trunk_out: Some(format!("carrier-{n}").into()),
        rank: Some(1),
        started_at: at(started),
        ..record(n)
    };
    let failed = CdrFact {
        disposition: Disposition::Failed,
        origin: Origin::Route,
        sip_code_b: Some(503),
        ringing_at: None,
        answered_at: None,
        pdd_ms: None,
        duration_ms: 0,
        ..attempt(1, 0)
    };
    let talk = CdrFact {
        origin: Origin::Failover,
        ringing_at: Some(at(8)),
        answered_at: Some(at(10)),
        pdd_ms: Some(3_000),
        duration_ms: 600_000,
        ..attempt(2, 5)
    };
    let newcomer = CdrFact {
        ringing_at: Some(at(606)),
        answered_at: Some(at(610)),
        pdd_ms: Some(1_000),
        duration_ms: 60_000,
        ..attempt(3, 605)
    };
    [failed, talk, newcomer]
}

/// A journal without a sink.
pub async fn open(directory: &Path) -> Store {
    Store::open(directory, config()).await.unwrap()
}

/// What [`open`] opens with.
pub fn config() -> Config {
    Config { listeners: vec!["public".into(), "inside".into()], ..Config::new("edge-1") }
}

/// Every record of the journal, newest first.
pub async fn all(store: &Store) -> Vec<Record> {
    let mut filter = Filter { limit: 1000, ..Filter::default() };
    let mut records = Vec::new();
    loop {
        let page = store.cdrs(&filter).await.unwrap();
        records.extend(page.records);
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => return records,
        }
    }
}

/// Waits until the condition holds; fails the test when it does not within 20 s.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
