//! The SQLite file: where it is, how it is opened, and its schema.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use crate::error::OpenError;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// The most records that are dropped at once.
pub(crate) const MOST_DROPPED: u32 = 20_000;

/// How long a statement waits for a lock that somebody else has on the file (an operator's `sqlite3`, a backup).
const BUSY: Duration = Duration::from_secs(2);

/// Makes the directory and the file, and takes the directory for this process. Done before SQLite is asked, because
/// SQLite's own message for all of this is "unable to open database file".
pub(crate) fn prepare(data_dir: &Path) -> Result<(File, PathBuf), OpenError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { what, path, source }
    };
    std::fs::create_dir_all(data_dir).map_err(failed("cannot make the data directory", data_dir))?;
    // Records say who called whom: nobody's business but the box's user.
    let mut private = OpenOptions::new();
    private.read(true).write(true).create(true).truncate(false).mode(0o600);

    let lock_path = data_dir.join("drawbridge.lock");
    let lock = private.open(&lock_path).map_err(failed("cannot write the lock file", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: data_dir.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(failed("cannot lock", &lock_path)(source)),
    }
    let path = data_dir.join("drawbridge.db");
    private.open(&path).map_err(failed("cannot write the journal", &path))?;
    Ok((lock, path))
}

/// The one connection that writes.
///
/// WAL, so that listings read while records are committed. `synchronous = FULL`: in WAL mode NORMAL does not fsync at
/// a commit, and a power cut would take back records that were already counted as kept. One fsync per commit is
/// affordable because a commit carries everything that came within `Config::gather`.
pub(crate) async fn connect_writer(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", "67108864")
        .connect()
        .await
}

/// A connection that only reads.
pub(crate) async fn connect_reader(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path).read_only(true).connect().await
}

/// Connections for listings: few, so that an operator's script cannot take the machine.
pub(crate) fn readers(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(60))
        .connect_lazy_with(options(path).read_only(true))
}

/// Opens the file for the first time and brings its schema up to date.
pub(crate) async fn open(path: &Path) -> Result<SqliteConnection, OpenError> {
    let mut connection =
        connect_writer(path).await.map_err(|source| OpenError::Journal { path: path.to_owned(), source })?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|source| OpenError::Migration { path: path.to_owned(), source })?;
    Ok(connection)
}

/// Drops some of the records that began before this time and that every sink has, and says whether those were all. So many at a
/// time: what is written waits for it. One that a sink refuses stays until it has been taken.
pub(crate) async fn drop_before(
    connection: &mut SqliteConnection,
    before: i64,
    forwarded_to: i64,
    most: u32,
) -> Result<bool, sqlx::Error> {
    let dropped = sqlx::query(
        "DELETE FROM cdr WHERE seq IN
         (SELECT seq FROM cdr WHERE started_at < ? AND seq <= ? AND seq NOT IN (SELECT seq FROM sink_refused)
          ORDER BY started_at LIMIT ?)",
    )
    .bind(before)
    .bind(forwarded_to)
    .bind(most)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(dropped < u64::from(most))
}

/// Tells this journal from every other.
pub(crate) async fn identity(connection: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM journal LIMIT 1").fetch_one(connection).await
}

/// Counts records that went to the log instead.
pub(crate) async fn add_lost(connection: &mut SqliteConnection, lost: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE journal SET lost = lost + ?").bind(lost).execute(connection).await.map(|_| ())
}

/// The `seq` of the last record, 0 in an empty journal. Ends the connection.
pub(crate) async fn last_seq(path: &Path, mut connection: SqliteConnection) -> Result<i64, OpenError> {
    let failed = |source| OpenError::Journal { path: path.to_owned(), source };
    let last = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM cdr")
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(last)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}
