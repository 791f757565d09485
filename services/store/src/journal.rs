//! The SQLite file: where it is, how it is opened, and its schema.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, SqliteConnection, SqlitePool};

use crate::age::Look;
use crate::error::OpenError;
use crate::uptime::Uptime;
use crate::writer::utc_now;

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
pub(crate) fn connect_writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864",
    )?;
    Ok(connection)
}

/// The number of the schema that the file has, and of the one that this version gives it.
pub(crate) async fn schemas(connection: &mut SqliteConnection) -> Result<(i64, i64), sqlx::Error> {
    let found = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations");
    let expected = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    Ok((found.fetch_one(connection).await?, expected))
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
pub(crate) async fn open(path: &Path) -> Result<Connection, OpenError> {
    let connection =
        connect_writer(path).map_err(|source| OpenError::Journal { path: path.to_owned(), source })?;
    let failed = |source| OpenError::Migration { path: path.to_owned(), source };
    let migrated = options(path).synchronous(SqliteSynchronous::Full).connect().await;
    let mut migrated = migrated.map_err(|source| failed(source.into()))?;
    MIGRATIONS.run(&mut migrated).await.map_err(failed)?;
    migrated.close().await.map_err(|source| failed(source.into()))?;
    Ok(connection)
}

/// Drops some of the records that began before this time and that every sink has, and says whether those were all. So many at a
/// time: what is written waits for it. One that a sink refuses stays until it has been taken.
pub(crate) fn drop_before(
    connection: &Connection,
    before: i64,
    forwarded_to: i64,
    most: u32,
) -> rusqlite::Result<bool> {
    let dropped = connection.execute(
        "DELETE FROM cdr WHERE seq IN
         (SELECT seq FROM cdr WHERE started_at < ? AND seq <= ? AND seq NOT IN (SELECT seq FROM sink_refused)
          ORDER BY started_at LIMIT ?)",
        (before, forwarded_to, most),
    )?;
    if dropped > 0 {
        connection.execute("UPDATE journal SET dropped_before = max(dropped_before, ?)", [before])?;
    }
    Ok(dropped < most as usize)
}

/// What ended before this and is not here was dropped. None of the last day was, whatever the clock was set to at times.
pub(crate) fn dropped_before(connection: &Connection) -> rusqlite::Result<i64> {
    const DAY: i64 = 24 * 3_600_000_000;
    let dropped: i64 =
        connection.query_row("SELECT coalesce(max(dropped_before), 0) FROM journal", [], |row| row.get(0))?;
    Ok(dropped.min(utc_now() - DAY))
}

/// The process that had it last, and the one whose sign of life that one found.
pub(crate) fn runs(connection: &Connection) -> rusqlite::Result<[i64; 2]> {
    let sql = "SELECT coalesce(max(run), 0), coalesce(max(sign), 0) FROM journal";
    connection.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?]))
}

/// A number for a process that is to have it.
pub(crate) fn another_run(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT random()", [], |row| row.get(0))
}

/// This process has it now, and has found the sign of life of that one.
pub(crate) fn set_run(connection: &Connection, run: i64, sign: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE journal SET run = ?, sign = ?", [run, sign]).map(|_| ())
}

/// What the clocks said when records were last looked through for their age.
pub(crate) fn looked(connection: &Connection) -> rusqlite::Result<Look> {
    connection.query_row("SELECT looked_at, looked_up, waits FROM journal LIMIT 1", [], |row| {
        let uptime: Option<Vec<u8>> = row.get(1)?;
        let uptime = uptime.and_then(|uptime| Uptime::from_bytes(&uptime));
        Ok(Look { utc: row.get(0)?, uptime, wait: row.get(2)? })
    })
}

/// They say that now.
pub(crate) fn set_looked(connection: &Connection, look: Look) -> rusqlite::Result<()> {
    let uptime = look.uptime.map(Uptime::to_bytes);
    let sql = "UPDATE journal SET looked_at = ?, looked_up = ?, waits = ?";
    connection.execute(sql, (look.utc, uptime, look.wait)).map(|_| ())
}

/// Tells this journal from every other.
pub(crate) async fn identity(connection: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM journal LIMIT 1").fetch_one(connection).await
}

/// Counts records that went to the log instead.
pub(crate) fn add_lost(connection: &Connection, lost: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE journal SET lost = lost + ?", [lost]).map(|_| ())
}

/// The `seq` of the last record, 0 in an empty journal.
pub(crate) fn last_seq(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM cdr", [], |row| row.get(0))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}
