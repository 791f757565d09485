//! PostgreSQL from its package, with a fresh cluster in the test's folder.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::place::Place;
use crate::process::{Process, until};

const LIMIT: Duration = Duration::from_secs(60);

/// A running server, listening at one address of the place.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Process>,
    host: String,
    programs: PathBuf,
    data: PathBuf,
    folder: PathBuf,
    account: Option<(u32, u32)>,
}

impl Postgres {
    /// The host of a [`Place`] that the server has for itself.
    pub const HOST: u8 = 9;

    /// Makes a cluster with a database `drawbridge` and starts it.
    pub fn start(place: &Place) -> Postgres {
        let account = server_account();
        let data = place.path("postgres");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
        if let Some((user, group)) = account {
            chown(&data, Some(user), Some(group)).unwrap();
        }
        let mut postgres = Postgres {
            server: None,
            host: place.ip(Postgres::HOST).to_string(),
            programs: programs(),
            data,
            folder: place.folder().to_path_buf(),
            account,
        };
        let mut initdb = postgres.command("initdb");
        initdb.arg("-D").arg(&postgres.data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]);
        let status = Process::start("initdb", initdb, &postgres.folder).wait(LIMIT);
        assert!(status.success(), "initdb: {status}, see initdb.log in {}", postgres.folder.display());
        postgres.come_back();
        postgres.query_in("postgres", "CREATE DATABASE drawbridge");
        postgres
    }

    /// What `[cdr] postgres` of the configuration says.
    pub fn url(&self) -> String {
        Postgres::url_at(self.address())
    }

    /// The same for a line that leads to it.
    pub fn url_at(address: SocketAddr) -> String {
        format!("postgres://postgres@{address}/drawbridge")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        format!("{}:5432", self.host).parse().unwrap()
    }

    /// Ends the server at once; connections break.
    pub fn go_away(&mut self) {
        let mut server = self.server.take().unwrap();
        server.signal(Signal::QUIT);
        server.wait(LIMIT);
    }

    /// Starts it again on the same data.
    pub fn come_back(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.data).args(["-c", "fsync=off", "-c", "unix_socket_directories="]);
        command.arg("-c").arg(format!("listen_addresses={}", self.host)).args(["-p", "5432"]);
        let mut server = Process::start("postgres", command, &self.folder);
        until("PostgreSQL takes connections", LIMIT, || {
            assert!(server.runs(), "PostgreSQL has ended:\n{}", server.output());
            let mut ready = Command::new(self.programs.join("pg_isready"));
            ready.args(["-q", "-h", &self.host, "-p", "5432"]);
            ready.status().unwrap().success().then_some(())
        });
        self.server = Some(server);
    }

    /// Asks the database; one line for each row, columns separated by `|`.
    pub fn query(&self, sql: &str) -> Vec<String> {
        self.query_in("drawbridge", sql)
    }

    fn query_in(&self, database: &str, sql: &str) -> Vec<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "-X",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            &self.host,
            "-p",
            "5432",
            "-U",
            "postgres",
        ]);
        let output = psql.args(["-d", database, "-c", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// A program of the server's, run as its own account: it refuses to be run by root.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command.current_dir("/").env_clear().env("LC_ALL", "C.UTF-8");
        command
    }
}

/// The folder of the newest server's programs; Debian keeps them out of PATH.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("postgres").is_file()).max();
    newest.expect("PostgreSQL's server is not installed; see `make deps`")
}

/// User and group of the account `postgres` when this test is run by root.
fn server_account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap();
    let line = accounts.lines().find(|line| line.starts_with("postgres:")).expect("no account `postgres`");
    let mut numbers = line.split(':').skip(2).map(|number| number.parse().unwrap());
    numbers.next().zip(numbers.next())
}
