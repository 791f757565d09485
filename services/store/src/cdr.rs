//! The columns of table `cdr`, in one order, and a record as their values.
//!
//! Everything that writes or names columns goes by [`COLUMNS`]: the SQLite insert, the hand-over to PostgreSQL and the
//! log line of a record that could not be kept. A new column is one line here, one in [`values`], one in
//! [`Record::read`] and one in each migration directory, where PostgreSQL's makes the view `calls` anew; tests compare all of them.

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

/// All columns, in the order of [`values`].
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

/// What goes into one column.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Real(f64),
}

/// The longest text a column takes, in bytes. Texts come from the wire; a record must not cost more than it tells.
const MAX_TEXT: usize = 1024;

/// A record as the values of [`COLUMNS`].
pub(crate) fn values<'a>(node: &'a str, fact: &'a CdrFact) -> [Value<'a>; COLUMNS.len()] {
    let CdrFact {
        id,
        call_id,
        attempt,
        is_last,
        a_sip_call_id,
        b_sip_call_id,
        trunk_in,
        trunk_out,
        route,
        caller,
        called,
        called_sent,
        a_source,
        b_destination,
        a_transport,
        b_transport,
        a_tls,
        b_tls,
        a_user_agent,
        b_user_agent,
        started_at,
        ringing_at,
        answered_at,
        ended_at,
        duration_ms,
        ring_ms,
        disposition,
        ended_by,
        sip_code_a,
        sip_reason_a,
        sip_code_b,
        sip_reason_b,
        q850,
        codec_a,
        codec_b,
        rank,
        origin,
        parent_id,
        pdd_ms,
        a_media,
        b_media,
        ptime_a,
        ptime_b,
        identity_in,
        identity_out,
        q850_a,
        q850_b,
        from_a,
        from_b,
        recording,
        recovered,
        tags,
    } = fact;
    let (came, sent) = (identity_in.as_deref(), identity_out.as_deref());
    [
        Value::Text(id.to_string().into()),
        Value::Text(call_id.to_string().into()),
        Value::Integer(i64::from(*attempt)),
        Value::Integer(i64::from(*is_last)),
        text(node),
        text(a_sip_call_id),
        optional_text(b_sip_call_id),
        optional_text(trunk_in),
        optional_text(trunk_out),
        optional_text(route),
        text(caller),
        text(called),
        optional_text(called_sent),
        Value::Text(a_source.to_string().into()),
        b_destination.map_or(Value::Null, |address| Value::Text(address.to_string().into())),
        Value::Text(transport_name(*a_transport).into()),
        b_transport.map_or(Value::Null, |transport| Value::Text(transport_name(transport).into())),
        optional_text(a_user_agent),
        optional_text(b_user_agent),
        Value::Integer(started_at.0),
        ringing_at.map_or(Value::Null, |at| Value::Integer(at.0)),
        answered_at.map_or(Value::Null, |at| Value::Integer(at.0)),
        Value::Integer(ended_at.0),
        count(*duration_ms),
        count(*ring_ms),
        Value::Text(disposition.as_str().into()),
        Value::Text(ended_by.as_str().into()),
        code(*sip_code_a),
        optional_text(sip_reason_a),
        code(*sip_code_b),
        optional_text(sip_reason_b),
        code(*q850),
        optional_text(codec_a),
        optional_text(codec_b),
        count(from_a.packets),
        count(from_a.octets),
        count(from_a.lost),
        real(from_a.jitter_ms),
        mos::estimate(codec_a, from_a, from_b).map_or(Value::Null, real),
        count(from_b.packets),
        count(from_b.octets),
        count(from_b.lost),
        real(from_b.jitter_ms),
        mos::estimate(codec_b, from_b, from_a).map_or(Value::Null, real),
        code(*rank),
        Value::Text(origin.as_str().into()),
        parent_id.map_or(Value::Null, |id| Value::Text(id.to_string().into())),
        pdd_ms.map_or(Value::Null, count),
        a_media.map_or(Value::Null, |address| Value::Text(address.to_string().into())),
        b_media.map_or(Value::Null, |address| Value::Text(address.to_string().into())),
        of(came, |identity| &identity.asserted),
        of(sent, |identity| &identity.asserted),
        of(came, |identity| &identity.diversion),
        of(sent, |identity| &identity.diversion),
        of(came, |identity| &identity.privacy),
        of(sent, |identity| &identity.privacy),
        code(*q850_a),
        code(*q850_b),
        count(from_a.reordered),
        count(from_a.duplicates),
        millis(from_a.round_trip_ms),
        millis(from_a.first_media_ms),
        count(u64::from(from_a.moves)),
        from_a.deaf.map_or(Value::Null, |deaf| Value::Text(deaf.to_string().into())),
        count(from_b.reordered),
        count(from_b.duplicates),
        millis(from_b.round_trip_ms),
        millis(from_b.first_media_ms),
        count(u64::from(from_b.moves)),
        from_b.deaf.map_or(Value::Null, |deaf| Value::Text(deaf.to_string().into())),
        optional_text(recording),
        from_a.srtp.map_or(Value::Null, |srtp| Value::Text(srtp.to_string().into())),
        from_b.srtp.map_or(Value::Null, |srtp| Value::Text(srtp.to_string().into())),
        Value::Integer(i64::from(*recovered)),
        code(*ptime_a),
        code(*ptime_b),
        a_tls.map_or(Value::Null, |version| Value::Text(version.as_str().into())),
        b_tls.map_or(Value::Null, |version| Value::Text(version.as_str().into())),
        tags.as_deref().map_or(Value::Null, |tags| Value::Text(object(tags).into())),
    ]
}

/// A record as one line of JSON, columns as the journal has them (times in microseconds).
pub(crate) fn json(node: &str, fact: &CdrFact) -> String {
    let mut object = serde_json::Map::new();
    for (column, value) in COLUMNS.iter().zip(values(node, fact)) {
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
    if cut.bytes().any(|byte| byte == 0) { cut.replace('\0', "\u{fffd}").into() } else { cut.into() }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(clean(text))
}

fn optional_text(value: &Option<Box<str>>) -> Value<'_> {
    value.as_deref().map_or(Value::Null, text)
}

fn of<'a>(identity: Option<&'a Identity>, field: impl Fn(&'a Identity) -> &'a Option<Box<str>>) -> Value<'a> {
    identity.map_or(Value::Null, |identity| optional_text(field(identity)))
}

fn count(value: u64) -> Value<'static> {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

fn millis(value: Option<u32>) -> Value<'static> {
    value.map_or(Value::Null, |millis| Value::Integer(i64::from(millis)))
}

fn code(value: Option<u16>) -> Value<'static> {
    value.map_or(Value::Null, |code| Value::Integer(i64::from(code)))
}

fn real(value: f32) -> Value<'static> {
    if value.is_finite() { Value::Real(f64::from(value)) } else { Value::Null }
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
