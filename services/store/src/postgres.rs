//! PostgreSQL: connecting, its schema, and taking a batch of records exactly once.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::batch::Batch;
use crate::cdr::{COLUMNS, Kind};
use crate::error::OpenError;
use crate::sink::{Destination, Refusal};
use crate::view;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(30);

/// How long migrations may: rows that a change moves take the time that they take.
const MIGRATE: Duration = Duration::from_secs(60 * 60);

/// How long they wait for a lock. Whoever asks for the table while a migration waits for a report waits as well; so it
/// gives way and comes again.
const PATIENCE: &str = "SET lock_timeout = '2s'";

/// Rows of this box that are taken away in one go, in months that it shares with others.
const MOST_DROPPED: i32 = 5_000;

/// How long that may take, since records wait for it.
const DROP: &str = "SET statement_timeout = '10s'";

/// How long a batch may take. A network that is cut mid-way says nothing for many minutes.
const BATCH: Duration = Duration::from_secs(30);

/// Where the database is.
pub(crate) struct Target(PgConnectOptions);

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Target, OpenError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            let source = sqlx::Error::Configuration("the scheme is another".into());
            return Err(OpenError::PostgresUrl { source });
        }
        let options = PgConnectOptions::from_str(url).map_err(|source| OpenError::PostgresUrl { source })?;
        Ok(Target(options.application_name("drawbridge").disable_statement_logging()))
    }

    /// Connects and brings the schema up to date. A schema newer than this program's is left alone, so that boxes can
    /// be upgraded one after another.
    pub(crate) async fn connect(&self, from: Origin) -> Result<Database, Refusal> {
        let mut connection = within(CONNECT, "a connection", self.0.connect()).await?;
        within(CONNECT, "a connection", sqlx::query(PATIENCE).execute(&mut connection)).await?;
        match tokio::time::timeout(MIGRATE, migrate(&mut connection)).await {
            Ok(migrated) => migrated.map_err(|error| Refusal::Away(error.to_string()))?,
            Err(_) => {
                return Err(Refusal::Away(format!(
                    "the schema was not brought up to date within {MIGRATE:?}"
                )));
            }
        }
        let known = async {
            sqlx::query("RESET lock_timeout").execute(&mut connection).await?;
            sqlx::query_scalar("SELECT id::text FROM installation LIMIT 1").fetch_one(&mut connection).await
        };
        let installation = within(CONNECT, "a connection", known).await?;
        Ok(Database { connection, installation, from, months: BTreeSet::new(), insert: insert_sql().into() })
    }

    /// A connection for what takes long.
    pub(crate) async fn connect_besides(&self) -> Result<PgConnection, sqlx::Error> {
        match tokio::time::timeout(CONNECT, self.0.connect()).await {
            Ok(connection) => connection,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// A connection that leaves the schema as it is.
    pub(crate) async fn connect_to_read(&self) -> Result<PgConnection, sqlx::Error> {
        self.0.connect().await
    }
}

/// A network that is cut says nothing.
async fn within<T>(
    limit: Duration,
    what: &str,
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(limit, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Refusal::Away(format!("{what} was not to be had within {limit:?}"))),
    }
}

/// Several boxes may do this at once: sqlx takes an advisory lock. `run_direct` is what `Migrator::run` calls; `run`
/// itself cannot be part of a spawned future here (its bound `Acquire<'a>` is "not general enough" to be `Send`).
async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateError> {
    view::put_aside(connection).await.map_err(MigrateError::Execute)?;
    let mut migrations = sqlx::migrate!("../../migrations/postgres");
    migrations.set_ignore_missing(true);
    migrations.run_direct(None, connection, false).await
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Refusal {
        // SQLSTATE classes 22 (data exception) and 23 (integrity constraint) blame the row.
        if is_of_class(&error, &["22", "23"]) {
            Refusal::Record(error.to_string())
        } else {
            Refusal::Away(error.to_string())
        }
    }
}

/// SQLSTATE begins with one of these.
fn is_of_class(error: &sqlx::Error, classes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref().and_then(|code| code.get(..2)).is_some_and(|class| classes.contains(&class))
}

/// What an insert is refused with by a trigger: PL/pgSQL's own class, in which its RAISE is, and the check option of a view that a
/// trigger writes to. Elsewhere these blame no row: an event trigger says so of a new month.
fn is_of_trigger(error: &sqlx::Error) -> bool {
    is_of_class(error, &["P0", "44"])
}

/// SQLSTATE.
fn is_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}

/// No table is there for the time of a record, which has the code of a constraint that is violated, and no constraint. A trigger that
/// raises that code names no table either.
fn is_without_month(error: &sqlx::Error) -> bool {
    let names_the_table = |error: &dyn DatabaseError| error.constraint().is_none() && error.table().is_some();
    is_code(error, "23514") && error.as_database_error().is_some_and(names_the_table)
}

/// What became of old records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// There are none.
    Nothing,
    /// So many months went whole, or so many records; there may be more.
    Some {
        /// Months.
        months: i32,
        /// Records.
        records: i64,
    },
    /// Somebody reads them, or there are too many for now.
    Later,
    /// There are some, and no index yet that finds them.
    Unindexed,
    /// PostgreSQL says no: somebody has built on them.
    Refused(String),
}

/// Whose records these are.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) journal: Arc<str>,
    pub(crate) node: Arc<str>,
}

/// A connection whose schema is known to fit.
pub(crate) struct Database {
    connection: PgConnection,
    /// Tells this database from every other.
    pub(crate) installation: String,
    from: Origin,
    /// Those that are known to have a table.
    months: BTreeSet<String>,
    insert: Arc<str>,
}

impl Destination for Database {
    const SAYS_POSITION: bool = true;

    async fn take(&mut self, batch: &Batch, position: i64) -> Result<(), Refusal> {
        self.months(&batch.months).await?;
        if self.insert(&batch.json, position).await? == Placed::All {
            return Ok(());
        }
        // Another box has dropped a month in which nothing was: it is made again.
        self.months.clear();
        self.months(&batch.months).await?;
        match self.insert(&batch.json, position).await? {
            Placed::All => Ok(()),
            // It cannot be: an operator has detached it.
            Placed::Not(why) => Err(Refusal::Place(why)),
        }
    }
}

/// Whether there was a table for each record of a batch.
#[derive(PartialEq, Eq)]
enum Placed {
    All,
    /// There was not, and none is taken; in PostgreSQL's words.
    Not(String),
}

impl Database {
    /// Inserts a JSON array of records, all or none. Those that are there already are left as they are: the batch may
    /// be one whose first try was cut off after it had been committed. The position is kept or lost with them.
    async fn insert(&mut self, records: &str, position: i64) -> Result<Placed, Refusal> {
        let sql = AssertSqlSafe(Arc::clone(&self.insert));
        let inserting = sqlx::query(sql)
            .bind(records)
            .bind(&*self.from.journal)
            .bind(&*self.from.node)
            .bind(position)
            .execute(&mut self.connection);
        match tokio::time::timeout(BATCH, inserting).await {
            Ok(Err(error)) if is_without_month(&error) => Ok(Placed::Not(error.to_string())),
            Ok(Err(error)) if is_of_trigger(&error) => Err(Refusal::Record(error.to_string())),
            Ok(done) => Ok(done.map(|_| Placed::All)?),
            Err(_) => Err(Refusal::Away(format!("a batch was not taken within {BATCH:?}"))),
        }
    }

    /// How far this journal has come; `None`: nothing is known of it.
    pub(crate) async fn position(&mut self) -> Result<Option<i64>, Refusal> {
        let position = sqlx::query_scalar("SELECT position FROM forwarded WHERE journal = $1")
            .bind(&*self.from.journal)
            .fetch_optional(&mut self.connection);
        within(BATCH, "the position", position).await
    }

    /// From now on this journal is known.
    pub(crate) async fn begin(&mut self, position: i64) -> Result<(), Refusal> {
        let sql =
            "INSERT INTO forwarded (journal, node, position) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let beginning = sqlx::query(sql)
            .bind(&*self.from.journal)
            .bind(&*self.from.node)
            .bind(position)
            .execute(&mut self.connection);
        within(BATCH, "the position", beginning).await.map(|_| ())
    }

    /// Makes the tables of the months that a batch needs: `2026-01`, separated by commas.
    async fn months(&mut self, months: &str) -> Result<(), Refusal> {
        for month in months.split(',') {
            if !self.months.contains(month) {
                let first = format!("{month}-01T00:00:00Z");
                let making = sqlx::query("SELECT cdr_month($1::timestamptz)")
                    .bind(first)
                    .execute(&mut self.connection);
                match tokio::time::timeout(BATCH, making).await {
                    Ok(done) => done?,
                    Err(_) => return Err(Refusal::Away(format!("a month was not made within {BATCH:?}"))),
                };
                self.months.insert(month.to_owned());
            }
        }
        Ok(())
    }

    /// Takes away some of what this box has in months that ended so long ago.
    pub(crate) async fn drop_old(&mut self, node: &str, retention: Duration) -> Result<Dropped, Refusal> {
        let dropping = self.ask_to_drop(node, retention);
        let Ok(dropped) = tokio::time::timeout(BATCH, dropping).await else {
            return Err(Refusal::Away(format!("old records were not dropped within {BATCH:?}")));
        };
        match dropped {
            Ok(Dropped::Some { months, records }) => {
                self.months.clear();
                Ok(Dropped::Some { months, records })
            }
            Ok(dropped) => Ok(dropped),
            // A lock was not to be had, or the time is up.
            Err(error) if is_code(&error, "55P03") || is_code(&error, "57014") => Ok(Dropped::Later),
            Err(error) if error.as_database_error().is_some() => Ok(Dropped::Refused(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    async fn ask_to_drop(&mut self, node: &str, retention: Duration) -> Result<Dropped, sqlx::Error> {
        let is_indexed =
            "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('cdr_node') AND indisvalid),
                    EXISTS (SELECT FROM cdr_months_before(now() - $1 * interval '1 second'))";
        let asking = sqlx::query_as(is_indexed).bind(retention.as_secs_f64());
        let (is_indexed, is_any): (bool, bool) = asking.fetch_one(&mut self.connection).await?;
        if !is_any {
            return Ok(Dropped::Nothing);
        }
        // Without it a whole month would be read, again and again.
        if !is_indexed {
            return Ok(Dropped::Unindexed);
        }
        sqlx::query(DROP).execute(&mut self.connection).await?;
        let sql = "SELECT months, records FROM cdr_drop_of($1, now() - $2 * interval '1 second', $3)";
        let dropped = sqlx::query_as(sql)
            .bind(node)
            .bind(retention.as_secs_f64())
            .bind(MOST_DROPPED)
            .fetch_one(&mut self.connection)
            .await;
        sqlx::query("RESET statement_timeout").execute(&mut self.connection).await?;
        Ok(match dropped? {
            (0, 0) => Dropped::Nothing,
            (months, records) => Dropped::Some { months, records },
        })
    }

    /// Whether the connection is still up.
    pub(crate) async fn ping(&mut self) -> Result<(), Refusal> {
        match tokio::time::timeout(Duration::from_secs(5), self.connection.ping()).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Refusal::Away("no answer within 5s".to_owned())),
        }
    }

    pub(crate) async fn close(self) {
        // The server notices anyway; there is nothing to do about an error here.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.close()).await;
    }
}

/// One parameter for a whole batch: the number of records does not change the statement, and a record's forty values
/// are not encoded one by one. One statement is one transaction and one round trip.
fn insert_sql() -> String {
    let names = COLUMNS.map(|column| column.name).join(", ");
    format!(
        "WITH taken AS (
             INSERT INTO cdr ({names}) SELECT {} FROM json_to_recordset($1::json) AS r({}) ON CONFLICT DO NOTHING
         )
         INSERT INTO forwarded (journal, node, position) VALUES ($2, $3, $4)
         ON CONFLICT (journal) DO UPDATE SET node = excluded.node, position = excluded.position",
        record_values(),
        record_columns()
    )
}

/// The values of a record `r` that was read from JSON.
pub(crate) fn record_values() -> String {
    let values = COLUMNS.map(|column| match column.kind {
        // The epoch as timestamptz and an interval of plain time: no time zone has a say, no microsecond is rounded.
        Kind::Time => format!("timestamptz 'epoch' + r.{} * interval '1 microsecond'", column.name),
        Kind::Uuid | Kind::Text | Kind::Integer | Kind::Bigint | Kind::Boolean | Kind::Real | Kind::Json => {
            format!("r.{}", column.name)
        }
    });
    values.join(", ")
}

/// The columns of a record as JSON has them.
pub(crate) fn record_columns() -> String {
    let types = COLUMNS.map(|column| {
        let kind = match column.kind {
            Kind::Uuid => "uuid",
            Kind::Text => "text",
            Kind::Integer => "integer",
            Kind::Bigint | Kind::Time => "bigint",
            Kind::Boolean => "boolean",
            Kind::Real => "real",
            Kind::Json => "jsonb",
        };
        format!("{} {kind}", column.name)
    });
    types.join(", ")
}
