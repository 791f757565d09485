//! A real PostgreSQL server from the Debian package, private to one test: own directory, own port, loopback only.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, PgConnection};
use tempfile::TempDir;

/// As an operator does who is told to try again: one whose lock crosses the making of an index may be taken for its deadlock.
pub async fn execute(database: &mut PgConnection, sql: &str) {
    let begin = Instant::now();
    while let Err(error) = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *database).await {
        let code = error.as_database_error().and_then(|error| error.code());
        let crossed = code.as_deref() == Some("40P01") && begin.elapsed() < Duration::from_secs(20);
        assert!(crossed, "{sql}: {error}");
    }
}

/// The server, ended with the value.
pub struct Postgres {
    directory: TempDir,
    programs: PathBuf,
    port: u16,
    server: Option<Child>,
    /// Whether what is committed is on the disk.
    is_durable: bool,
}

impl Postgres {
    /// A new, empty database, answering.
    pub async fn start() -> Postgres {
        let mut postgres = Postgres::prepare();
        postgres.run().await;
        postgres
    }

    /// The same, which writes to the disk what it commits.
    pub async fn start_durable() -> Postgres {
        let mut postgres = Postgres::prepare();
        postgres.is_durable = true;
        postgres.run().await;
        postgres
    }

    /// A database that exists and is not running yet.
    pub fn prepare() -> Postgres {
        let directory = tempfile::tempdir().unwrap();
        // The server runs as another user than a test run by root and must be able to enter.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let postgres = Postgres { directory, programs: programs(), port, server: None, is_durable: false };
        if is_root() {
            let made =
                Command::new("install").args(["-d", "-o", "postgres"]).arg(postgres.home()).status().unwrap();
            assert!(made.success(), "the postgresql package makes a user postgres");
        } else {
            std::fs::create_dir(postgres.home()).unwrap();
        }
        let made = postgres
            .program("initdb")
            .args(["--username=drawbridge", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("-D")
            .arg(postgres.home().join("data"))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        postgres
    }

    /// Starts the server, again if it was killed, and waits until it answers.
    pub async fn run(&mut self) {
        assert!(self.server.is_none());
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let mut server = self.spawn();
            // A server that follows a killed one gives up while the old one's backends still hold its memory.
            while Instant::now() < deadline && server.try_wait().unwrap().is_none() {
                if self.try_connect().await.is_ok() {
                    self.server = Some(server);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let _ = server.kill();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("PostgreSQL did not answer on port {}", self.port);
    }

    fn spawn(&self) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("server.log"))
            .unwrap();
        self.program("postgres")
            .arg("-D")
            .arg(self.home().join("data"))
            .arg("-k")
            .arg(self.home())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", if self.is_durable { "fsync=on" } else { "fsync=off" }])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Time that the server and those of its processes that are there have been on a processor.
    pub fn cpu_time(&self) -> Duration {
        let Some(server) = &self.server else { return Duration::ZERO };
        let id = server.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let all = children.split_whitespace().map(str::to_owned).chain([id.to_string()]);
        all.map(|id| time_of(&format!("/proc/{id}"))).sum()
    }

    /// Ends the server the hard way.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Keeps everything that is there now, while the server is killed.
    pub fn back_up(&self) {
        copy(&self.home().join("data"), &self.home().join("backup"));
    }

    /// Everything is as it was when it was kept.
    pub fn restore(&self) {
        assert!(self.server.is_none());
        std::fs::remove_dir_all(self.home().join("data")).unwrap();
        copy(&self.home().join("backup"), &self.home().join("data"));
    }

    /// What `cdr.postgres` would say.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The same for another database of this server.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://drawbridge@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection for the test's own questions.
    pub async fn connect(&self) -> PgConnection {
        self.try_connect().await.unwrap()
    }

    async fn try_connect(&self) -> Result<PgConnection, sqlx::Error> {
        let options: sqlx::postgres::PgConnectOptions = self.url().parse()?;
        options.disable_statement_logging().connect().await
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// One of the server's programs. `initdb` and `postgres` refuse to run as root.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"])
            .arg(path)
            .current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Time that a process's threads have been on a processor.
pub fn time_of(process: &str) -> Duration {
    let Ok(threads) = std::fs::read_dir(format!("{process}/task")) else { return Duration::ZERO };
    let nanoseconds = threads.filter_map(|thread| {
        let schedule = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedule.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// With owners and rights.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success(), "cp -a");
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// The newest version's programs.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir(Path::new("/usr/lib/postgresql"))
        .expect("the Debian package postgresql is needed for this test")
        .map(|version| version.unwrap().path().join("bin"))
        .filter(|programs| programs.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("the Debian package postgresql is needed for this test")
}
