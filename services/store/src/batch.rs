//! Some of the journal's records, written as a destination reads them.

use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::cdr::{COLUMNS, Column, Kind};

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// For a database: an array of objects with the values as the journal has them.
    Stored,
    /// For people and their programs: with `seq`, and times as RFC 3339 has them; an array.
    Shown,
    /// The same, each a line.
    ShownLines,
}

impl Shape {
    fn sql(self) -> Arc<str> {
        static SQL: LazyLock<[Arc<str>; 3]> = LazyLock::new(|| {
            [Shape::Stored, Shape::Shown, Shape::ShownLines].map(|shape| shape.written().into())
        });
        let [stored, shown, lines] = &*SQL;
        Arc::clone(match self {
            Shape::Stored => stored,
            Shape::Shown => shown,
            Shape::ShownLines => lines,
        })
    }

    fn written(self) -> String {
        let all = match self {
            Shape::Stored => format!("json_group_array(json_object({}))", stored()),
            Shape::Shown => format!("json_group_array(json_object({}))", shown()),
            Shape::ShownLines => {
                format!("group_concat(json_object({}) || char(10), '' ORDER BY seq)", shown())
            }
        };
        format!(
            "SELECT min(seq), max(seq), count(*), {all},
                    group_concat(DISTINCT strftime('%Y-%m', started_at / 1000000, 'unixepoch'))
             FROM (SELECT * FROM cdr WHERE seq > ? ORDER BY seq LIMIT ?)"
        )
    }
}

fn stored() -> String {
    let fields = COLUMNS.map(|Column { name, kind }| match kind {
        Kind::Json => format!("'{name}', json({name})"),
        Kind::Uuid | Kind::Text | Kind::Integer | Kind::Bigint | Kind::Boolean | Kind::Real | Kind::Time => {
            format!("'{name}', {name}")
        }
    });
    fields.join(", ")
}

fn shown() -> String {
    let fields = COLUMNS.map(|Column { name, kind }| match kind {
        Kind::Time => format!(
            "'{name}', strftime('%Y-%m-%dT%H:%M:%S', {name} / 1000000, 'unixepoch')
             || printf('.%06dZ', {name} % 1000000)"
        ),
        Kind::Boolean => format!("'{name}', json(iif({name}, 'true', 'false'))"),
        Kind::Json => format!("'{name}', json({name})"),
        Kind::Uuid | Kind::Text | Kind::Integer | Kind::Bigint | Kind::Real => format!("'{name}', {name}"),
    });
    format!("'seq', seq, {}", fields.join(", "))
}

/// Some records as one JSON text, which is how both databases handle many columns a row best.
pub(crate) struct Batch {
    pub(crate) last: i64,
    pub(crate) first: i64,
    pub(crate) records: u64,
    /// An array of objects, or one a line.
    pub(crate) json: String,
    /// In which its records began: `2026-01`, separated by commas.
    pub(crate) months: String,
}

impl Batch {
    /// So many at most of those after a position; `None`: there are none.
    pub(crate) async fn read(
        journal: &mut SqliteConnection,
        shape: Shape,
        position: i64,
        limit: i64,
    ) -> Result<Option<Batch>, String> {
        let (first, last, records, json, months): (
            Option<i64>,
            Option<i64>,
            i64,
            Option<String>,
            Option<String>,
        ) = sqlx::query_as(AssertSqlSafe(shape.sql()))
            .bind(position)
            .bind(limit)
            .fetch_one(journal)
            .await
            .map_err(|error| format!("reading the journal: {error}"))?;
        Ok(first.zip(last).map(|(first, last)| Batch {
            first,
            last,
            records: records.unsigned_abs(),
            json: json.unwrap_or_default(),
            months: months.unwrap_or_default(),
        }))
    }
}
