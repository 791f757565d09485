//! The columns of table `cdr`, in one order, and a record as their values.
//!
//! Everything that writes or names columns goes by [`COLUMNS`]: the SQLite insert, the hand-over to PostgreSQL and the
//! log line of a record that could not be kept. A new column is one line here, one in [`encode`], one in
//! [`Record::read`] and one in each migration directory, where PostgreSQL's ends with `SELECT cdr_calls()`; tests compare all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use call::{
    CdrFact, Deaf, DirectionStats, Disposition, EndedBy, Identity, Origin, SrtpUse, Tags, TlsVersion, Utc,
};
use sip::Transport;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::encoded::Encoder;
use crate::error::Error;
use crate::mos;

/// A column of table `cdr`.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// What a column holds, for the databases that tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Uuid,
    Text,
    Integer,
    Bigint,
    Boolean,
    Real,
    Time,
    /// An object.
    Json,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

/// All columns, in the order of [`encode`].
pub(crate) const COLUMNS: [Column; 79] = [
    column("id", Kind::Uuid),
    column("call_id", Kind::Uuid),
    column("attempt", Kind::Integer),
    column("is_last", Kind::Boolean),
    column("node", Kind::Text),
    column("a_sip_call_id", Kind::Text),
    column("b_sip_call_id", Kind::Text),
    column("trunk_in", Kind::Text),
    column("trunk_out", Kind::Text),
    column("route", Kind::Text),
    column("caller", Kind::Text),
    column("called", Kind::Text),
    column("called_sent", Kind::Text),
    column("a_source", Kind::Text),
    column("b_destination", Kind::Text),
    column("a_transport", Kind::Text),
    column("b_transport", Kind::Text),
    column("a_user_agent", Kind::Text),
    column("b_user_agent", Kind::Text),
    column("started_at", Kind::Time),
    column("ringing_at", Kind::Time),
    column("answered_at", Kind::Time),
    column("ended_at", Kind::Time),
    column("duration_ms", Kind::Bigint),
    column("ring_ms", Kind::Bigint),
    column("disposition", Kind::Text),
    column("ended_by", Kind::Text),
    column("sip_code_a", Kind::Integer),
    column("sip_reason_a", Kind::Text),
    column("sip_code_b", Kind::Integer),
    column("sip_reason_b", Kind::Text),
    column("q850", Kind::Integer),
    column("codec_a", Kind::Text),
    column("codec_b", Kind::Text),
    column("a_packets", Kind::Bigint),
    column("a_octets", Kind::Bigint),
    column("a_lost", Kind::Bigint),
    column("a_jitter_ms", Kind::Real),
    column("a_mos", Kind::Real),
    column("b_packets", Kind::Bigint),
    column("b_octets", Kind::Bigint),
    column("b_lost", Kind::Bigint),
    column("b_jitter_ms", Kind::Real),
    column("b_mos", Kind::Real),
    column("rank", Kind::Integer),
    column("origin", Kind::Text),
    column("parent_id", Kind::Uuid),
    column("pdd_ms", Kind::Bigint),
    column("a_media", Kind::Text),
    column("b_media", Kind::Text),
    column("pai_in", Kind::Text),
    column("pai_out", Kind::Text),
    column("diversion_in", Kind::Text),
    column("diversion_out", Kind::Text),
    column("privacy_in", Kind::Text),
    column("privacy_out", Kind::Text),
    column("q850_a", Kind::Integer),
    column("q850_b", Kind::Integer),
    column("a_reordered", Kind::Bigint),
    column("a_duplicates", Kind::Bigint),
    column("a_round_trip_ms", Kind::Integer),
    column("a_first_media_ms", Kind::Integer),
    column("a_moves", Kind::Integer),
    column("a_fault", Kind::Text),
    column("b_reordered", Kind::Bigint),
    column("b_duplicates", Kind::Bigint),
    column("b_round_trip_ms", Kind::Integer),
    column("b_first_media_ms", Kind::Integer),
    column("b_moves", Kind::Integer),
    column("b_fault", Kind::Text),
    column("recording", Kind::Text),
    column("srtp_a", Kind::Text),
    column("srtp_b", Kind::Text),
    column("recovered", Kind::Integer),
    column("ptime_a", Kind::Integer),
    column("ptime_b", Kind::Integer),
    column("a_tls", Kind::Text),
    column("b_tls", Kind::Text),
    column("tags", Kind::Json),
];

/// What is in one column.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Real(f64),
}

/// The longest text a column takes, in bytes. Texts come from the wire; a record must not cost more than it tells.
const MAX_TEXT: usize = 1024;

/// Appends a record as the values of [`COLUMNS`].
pub(crate) fn encode(node: &str, fact: &CdrFact, bytes: &mut Vec<u8>) {
    let mut to = Encoder(bytes);
    encode_parties(node, fact, &mut to);
    encode_outcome(fact, &mut to);
    encode_added(fact, &mut to);
}

fn encode_parties(node: &str, fact: &CdrFact, to: &mut Encoder<'_>) {
    to.uuid(fact.id);
    to.uuid(fact.call_id);
    to.integer(i64::from(fact.attempt));
    to.integer(i64::from(fact.is_last));
    to.text(node);
    to.text(&fact.a_sip_call_id);
    to.optional(fact.b_sip_call_id.as_deref(), Encoder::text);
    to.optional(fact.trunk_in.as_deref(), Encoder::text);
    to.optional(fact.trunk_out.as_deref(), Encoder::text);
    to.optional(fact.route.as_deref(), Encoder::text);
    to.text(&fact.caller);
    to.text(&fact.called);
    to.optional(fact.called_sent.as_deref(), Encoder::text);
    to.shown(fact.a_source);
    to.optional(fact.b_destination, Encoder::shown);
    to.text(transport_name(fact.a_transport));
    to.optional(fact.b_transport.map(transport_name), Encoder::text);
    to.optional(fact.a_user_agent.as_deref(), Encoder::text);
    to.optional(fact.b_user_agent.as_deref(), Encoder::text);
}

fn encode_outcome(fact: &CdrFact, to: &mut Encoder<'_>) {
    to.integer(fact.started_at.0);
    to.optional(fact.ringing_at.map(|at| at.0), Encoder::integer);
    to.optional(fact.answered_at.map(|at| at.0), Encoder::integer);
    to.integer(fact.ended_at.0);
    to.count(fact.duration_ms);
    to.count(fact.ring_ms);
    to.text(fact.disposition.as_str());
    to.text(fact.ended_by.as_str());
    to.small(fact.sip_code_a);
    to.optional(fact.sip_reason_a.as_deref(), Encoder::text);
    to.small(fact.sip_code_b);
    to.optional(fact.sip_reason_b.as_deref(), Encoder::text);
    to.small(fact.q850);
    to.optional(fact.codec_a.as_deref(), Encoder::text);
    to.optional(fact.codec_b.as_deref(), Encoder::text);
    let (a, b) = (&fact.from_a, &fact.from_b);
    for (codec, heard, back) in [(&fact.codec_a, a, b), (&fact.codec_b, b, a)] {
        to.count(heard.packets);
        to.count(heard.octets);
        to.count(heard.lost);
        to.real(heard.jitter_ms);
        to.optional(mos::estimate(codec, heard, back), Encoder::real);
    }
}

/// What later versions added.
fn encode_added(fact: &CdrFact, to: &mut Encoder<'_>) {
    let (came, sent) = (fact.identity_in.as_deref(), fact.identity_out.as_deref());
    to.small(fact.rank);
    to.text(fact.origin.as_str());
    to.optional(fact.parent_id, Encoder::uuid);
    to.optional(fact.pdd_ms, Encoder::count);
    to.optional(fact.a_media, Encoder::shown);
    to.optional(fact.b_media, Encoder::shown);
    let fields: [fn(&Identity) -> Option<&str>; 3] =
        [|of| of.asserted.as_deref(), |of| of.diversion.as_deref(), |of| of.privacy.as_deref()];
    for field in fields {
        to.optional(came.and_then(field), Encoder::text);
        to.optional(sent.and_then(field), Encoder::text);
    }
    to.small(fact.q850_a);
    to.small(fact.q850_b);
    for heard in [&fact.from_a, &fact.from_b] {
        to.count(heard.reordered);
        to.count(heard.duplicates);
        to.optional(heard.round_trip_ms.map(i64::from), Encoder::integer);
        to.optional(heard.first_media_ms.map(i64::from), Encoder::integer);
        to.integer(i64::from(heard.moves));
        to.optional(heard.deaf, Encoder::shown);
    }
    to.optional(fact.recording.as_deref(), Encoder::text);
    to.optional(fact.from_a.srtp, Encoder::shown);
    to.optional(fact.from_b.srtp, Encoder::shown);
    to.integer(i64::from(fact.recovered));
    to.small(fact.ptime_a);
    to.small(fact.ptime_b);
    to.optional(fact.a_tls.map(|version| version.as_str()), Encoder::text);
    to.optional(fact.b_tls.map(|version| version.as_str()), Encoder::text);
    to.optional(fact.tags.as_deref().map(object), Encoder::whole);
}

/// A record as one line of JSON, columns as the journal has them (times in microseconds).
pub(crate) fn json(values: Vec<Value<'_>>) -> String {
    let mut object = serde_json::Map::new();
    for (column, value) in COLUMNS.iter().zip(values) {
        let value = match value {
            Value::Null => serde_json::Value::Null,
            Value::Text(text) => match column.kind {
                Kind::Json => serde_json::from_str(&text).unwrap_or_default(),
                Kind::Uuid
                | Kind::Text
                | Kind::Integer
                | Kind::Bigint
                | Kind::Boolean
                | Kind::Real
                | Kind::Time => text.into(),
            },
            Value::Integer(integer) => integer.into(),
            Value::Real(real) => real.into(),
        };
        object.insert(column.name.to_owned(), value);
    }
    serde_json::Value::Object(object).to_string()
}

/// Tags as an object of JSON. They are bounded where they come from: cut, it would be none.
fn object(tags: &Tags) -> String {
    let object: serde_json::Map<String, serde_json::Value> =
        tags.iter().map(|(name, value)| (name.to_owned(), clean(value).into())).collect();
    serde_json::Value::Object(object).to_string()
}

/// The other way round; `None`: it is no object of texts.
fn tags(text: &str) -> Option<Option<Arc<Tags>>> {
    let object: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    Some(Tags::kept(object.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// Text as both databases take it: PostgreSQL has no NUL in texts.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let cut = if text.len() > MAX_TEXT { &text[..text.floor_char_boundary(MAX_TEXT)] } else { text };
    if cut.as_bytes().contains(&0) { cut.replace('\0', "\u{fffd}").into() } else { cut.into() }
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
    }
}

/// A record as the journal has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Name of the box that wrote it.
    pub node: String,
    /// What happened. `dropped` of both directions is not a column and always 0 here.
    pub fact: CdrFact,
    /// Estimated mean opinion score of what came from A.
    pub a_mos: Option<f32>,
    /// Estimated mean opinion score of what came from B.
    pub b_mos: Option<f32>,
}

impl Record {
    /// Reads a row that has all [`COLUMNS`].
    ///
    /// # Errors
    /// [`Error::Column`] names a column whose value is not one that this program writes.
    pub(crate) fn read(row: &SqliteRow) -> Result<Record, Error> {
        let time = |column| Ok::<_, Error>(optional::<i64>(row, column)?.map(Utc));
        let fact = CdrFact {
            id: parsed(row, "id", |text| Uuid::parse_str(text).ok())?,
            call_id: parsed(row, "call_id", |text| Uuid::parse_str(text).ok())?,
            attempt: number(row, "attempt")?,
            is_last: number::<u8>(row, "is_last")? != 0,
            a_sip_call_id: required::<Box<str>>(row, "a_sip_call_id")?,
            b_sip_call_id: optional(row, "b_sip_call_id")?,
            trunk_in: optional(row, "trunk_in")?,
            trunk_out: optional(row, "trunk_out")?,
            route: optional(row, "route")?,
            caller: required(row, "caller")?,
            called: required(row, "called")?,
            called_sent: optional(row, "called_sent")?,
            a_source: parsed(row, "a_source", |text| text.parse::<SocketAddr>().ok())?,
            b_destination: optional_parsed(row, "b_destination", |text| text.parse::<SocketAddr>().ok())?,
            a_transport: parsed(row, "a_transport", |text| Transport::parse(text.as_bytes()))?,
            b_transport: optional_parsed(row, "b_transport", |text| Transport::parse(text.as_bytes()))?,
            a_tls: optional_parsed(row, "a_tls", TlsVersion::parse)?,
            b_tls: optional_parsed(row, "b_tls", TlsVersion::parse)?,
            a_user_agent: optional(row, "a_user_agent")?,
            b_user_agent: optional(row, "b_user_agent")?,
            started_at: Utc(required(row, "started_at")?),
            ringing_at: time("ringing_at")?,
            answered_at: time("answered_at")?,
            ended_at: Utc(required(row, "ended_at")?),
            duration_ms: number(row, "duration_ms")?,
            ring_ms: number(row, "ring_ms")?,
            disposition: parsed(row, "disposition", |text| {
                Disposition::ALL.into_iter().find(|disposition| disposition.as_str() == text)
            })?,
            ended_by: parsed(row, "ended_by", |text| ENDERS.into_iter().find(|by| by.as_str() == text))?,
            sip_code_a: optional_number(row, "sip_code_a")?,
            sip_reason_a: optional(row, "sip_reason_a")?,
            sip_code_b: optional_number(row, "sip_code_b")?,
            sip_reason_b: optional(row, "sip_reason_b")?,
            q850: optional_number(row, "q850")?,
            codec_a: optional(row, "codec_a")?,
            codec_b: optional(row, "codec_b")?,
            rank: optional_number(row, "rank")?,
            // Rows of earlier versions have none.
            origin: optional_parsed(row, "origin", |text| {
                ORIGINS.into_iter().find(|origin| origin.as_str() == text)
            })?
            .unwrap_or_default(),
            parent_id: optional_parsed(row, "parent_id", |text| Uuid::parse_str(text).ok())?,
            pdd_ms: optional_number(row, "pdd_ms")?,
            a_media: optional_parsed(row, "a_media", |text| text.parse::<SocketAddr>().ok())?,
            b_media: optional_parsed(row, "b_media", |text| text.parse::<SocketAddr>().ok())?,
            ptime_a: optional_number(row, "ptime_a")?,
            ptime_b: optional_number(row, "ptime_b")?,
            identity_in: identity(row, ["pai_in", "diversion_in", "privacy_in"])?,
            identity_out: identity(row, ["pai_out", "diversion_out", "privacy_out"])?,
            q850_a: optional_number(row, "q850_a")?,
            q850_b: optional_number(row, "q850_b")?,
            from_a: heard(
                row,
                ["a_packets", "a_octets", "a_lost", "a_reordered", "a_duplicates", "a_moves"],
                ["a_jitter_ms", "a_round_trip_ms", "a_first_media_ms", "a_fault", "srtp_a"],
            )?,
            from_b: heard(
                row,
                ["b_packets", "b_octets", "b_lost", "b_reordered", "b_duplicates", "b_moves"],
                ["b_jitter_ms", "b_round_trip_ms", "b_first_media_ms", "b_fault", "srtp_b"],
            )?,
            recording: optional(row, "recording")?,
            recovered: optional_number(row, "recovered")?.unwrap_or_default(),
            tags: optional_parsed(row, "tags", tags)?.flatten(),
        };
        Ok(Record {
            node: required(row, "node")?,
            fact,
            a_mos: optional(row, "a_mos")?,
            b_mos: optional(row, "b_mos")?,
        })
    }
}

/// What came from one side. Rows of earlier versions say less.
fn heard(
    row: &SqliteRow,
    counts: [&'static str; 6],
    [jitter, round_trip, first, fault, srtp]: [&'static str; 5],
) -> Result<DirectionStats, Error> {
    let [packets, octets, lost, reordered, duplicates, moves] = counts;
    Ok(DirectionStats {
        packets: number(row, packets)?,
        octets: number(row, octets)?,
        lost: number(row, lost)?,
        jitter_ms: optional::<f32>(row, jitter)?.unwrap_or_default(),
        dropped: 0,
        reordered: optional_number(row, reordered)?.unwrap_or_default(),
        duplicates: optional_number(row, duplicates)?.unwrap_or_default(),
        speech: None,
        round_trip_ms: optional_number(row, round_trip)?,
        first_media_ms: optional_number(row, first)?,
        moves: optional_number(row, moves)?.unwrap_or_default(),
        deaf: optional_parsed(row, fault, Deaf::parse)?,
        srtp: optional_parsed(row, srtp, SrtpUse::parse)?,
    })
}

const ORIGINS: [Origin; 5] =
    [Origin::Route, Origin::Failover, Origin::Fork, Origin::Redirect, Origin::Transfer];

const ENDERS: [EndedBy; 8] = [
    EndedBy::Caller,
    EndedBy::Callee,
    EndedBy::Policy,
    EndedBy::Timer,
    EndedBy::MediaTimeout,
    EndedBy::Api,
    EndedBy::Error,
    EndedBy::Crash,
];

fn identity(row: &SqliteRow, columns: [&'static str; 3]) -> Result<Option<Box<Identity>>, Error> {
    let [asserted, diversion, privacy] = columns;
    let identity = Identity {
        asserted: optional(row, asserted)?,
        diversion: optional(row, diversion)?,
        privacy: optional(row, privacy)?,
    };
    Ok((identity != Identity::default()).then(|| Box::new(identity)))
}

/// A value of this type, or NULL.
fn optional<T>(row: &SqliteRow, column: &'static str) -> Result<Option<T>, Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    Ok(row.try_get::<Option<T>, _>(column)?)
}

fn required<T>(row: &SqliteRow, column: &'static str) -> Result<T, Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    Ok(row.try_get::<T, _>(column)?)
}

fn optional_number<T: TryFrom<i64>>(row: &SqliteRow, column: &'static str) -> Result<Option<T>, Error> {
    optional::<i64>(row, column)?
        .map(|value| T::try_from(value).map_err(|_| Error::Column { column, found: value.to_string() }))
        .transpose()
}

fn number<T: TryFrom<i64>>(row: &SqliteRow, column: &'static str) -> Result<T, Error> {
    let value: i64 = required(row, column)?;
    T::try_from(value).map_err(|_| Error::Column { column, found: value.to_string() })
}

fn optional_parsed<T>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let Some(text) = row.try_get::<Option<&str>, _>(column)? else { return Ok(None) };
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => Err(Error::Column { column, found: text.to_owned() }),
    }
}

fn parsed<T>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Error> {
    optional_parsed(row, column, parse)?.ok_or(Error::Column { column, found: "NULL".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and types of table `cdr` in a migration, and of the columns that another adds.
    fn table<'a>(migration: &'a str, added: &'a str) -> Vec<(&'a str, &'a str)> {
        let (_, rest) = migration.split_once("CREATE TABLE cdr (").unwrap_or_default();
        let (body, _) = rest.split_once("\n)").unwrap_or_default();
        let added = added.lines().filter_map(|line| line.trim().strip_prefix("ALTER TABLE cdr ADD COLUMN "));
        let lines = body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
        let lines = lines.filter(|line| !line.starts_with("PRIMARY KEY")).chain(added);
        let words = lines.map(|line| line.trim_end_matches([',', ';']).split_whitespace());
        words.filter_map(|mut words| Some((words.next()?, words.next()?))).collect()
    }

    #[test]
    fn both_schemas_have_these_columns_in_this_order() {
        let sqlite = COLUMNS.map(|column| {
            let kind = match column.kind {
                Kind::Uuid | Kind::Text | Kind::Json => "TEXT",
                Kind::Integer | Kind::Bigint | Kind::Boolean | Kind::Time => "INTEGER",
                Kind::Real => "REAL",
            };
            (column.name, kind)
        });
        let added = [
            include_str!("../../../migrations/sqlite/0003_fields.sql"),
            include_str!("../../../migrations/sqlite/0004_quality.sql"),
            include_str!("../../../migrations/sqlite/0005_encryption.sql"),
            include_str!("../../../migrations/sqlite/0006_recovery.sql"),
            include_str!("../../../migrations/sqlite/0007_ptime.sql"),
            include_str!("../../../migrations/sqlite/0008_tags.sql"),
        ];
        let added = added.concat();
        let found = table(include_str!("../../../migrations/sqlite/0001_journal.sql"), &added);
        assert_eq!(found.split_first(), Some((&("seq", "INTEGER"), sqlite.as_slice())));

        let postgres = COLUMNS.map(|column| {
            let kind = match column.kind {
                Kind::Uuid => "UUID",
                Kind::Text => "TEXT",
                Kind::Integer => "INTEGER",
                Kind::Bigint => "BIGINT",
                Kind::Boolean => "BOOLEAN",
                Kind::Real => "REAL",
                Kind::Time => "TIMESTAMPTZ",
                Kind::Json => "JSONB",
            };
            (column.name, kind)
        });
        let added = [
            include_str!("../../../migrations/postgres/0003_quality.sql"),
            include_str!("../../../migrations/postgres/0004_encryption.sql"),
            include_str!("../../../migrations/postgres/0005_recovery.sql"),
            include_str!("../../../migrations/postgres/0006_ptime.sql"),
            include_str!("../../../migrations/postgres/0007_tags.sql"),
        ];
        let added = added.concat();
        let found = table(include_str!("../../../migrations/postgres/0002_months.sql"), &added);
        assert_eq!(found, postgres);
    }
}
