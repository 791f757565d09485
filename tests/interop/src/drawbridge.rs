//! The box itself: the real binary with a configuration of the test's, asked through its HTTP API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::clock::WallClock;
use crate::disk::Disk;
use crate::http::{Answer, request};
use crate::place::Place;
use crate::process::{Process, until};

/// What must be zero when nobody calls any more: calls, legs, transactions, timers and ports.
const AT_REST: &[&str] = &[
    "drawbridge_calls",
    "drawbridge_legs",
    "drawbridge_transactions",
    "drawbridge_timers",
    "drawbridge_ports_in_use",
];

/// A running `drawbridge`.
#[derive(Debug)]
pub struct Drawbridge {
    process: Process,
    api: SocketAddr,
    started_in: Duration,
}

impl Drawbridge {
    /// Starts it at [`Place::BOX`] with UDP and TCP on 5060 and the API on 8080; `rest` is the configuration of trunks,
    /// routes, users and the like. It is listening when this returns.
    pub fn start(place: &Place, rest: &str) -> Drawbridge {
        Drawbridge::start_node(place, "", rest)
    }

    /// The same with media at `::1` besides; the place must have a network of its own.
    pub fn start_dual(place: &Place, rest: &str) -> Drawbridge {
        Drawbridge::start_with(place, "", "address6 = \"::1\"\n", rest)
    }

    /// The same with these keys of `[media]` besides.
    pub fn start_media(place: &Place, media: &str, rest: &str) -> Drawbridge {
        Drawbridge::start_with(place, "", media, rest)
    }

    /// The same with these keys of `[node]` besides.
    pub fn start_node(place: &Place, node: &str, rest: &str) -> Drawbridge {
        Drawbridge::start_with(place, node, "", rest)
    }

    /// The same with one shard and these media ports and no others.
    pub fn start_with_ports(place: &Place, ports: &str, rest: &str) -> Drawbridge {
        Drawbridge::start_with(place, "workers = 1", &format!("ports = \"{ports}\"\n"), rest)
    }

    fn start_with(place: &Place, node: &str, media: &str, rest: &str) -> Drawbridge {
        let file = Drawbridge::configure(place, node, media, rest);
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(file).current_dir(place.folder());
        Drawbridge::launch(command, place, place.api())
    }

    /// The same with a data directory of so many kB, in a mount namespace of its own. `None` without the privilege for that.
    pub fn start_on_small_disk(place: &Place, rest: &str, size: u32) -> Option<Drawbridge> {
        let privileged = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
        if !privileged.is_ok_and(|status| status.success()) {
            return None;
        }
        let data = place.path("data");
        std::fs::create_dir_all(&data).unwrap();
        let file = Drawbridge::configure(place, "", "", rest);
        let script = "mount -t tmpfs -o size=\"$1\"k tmpfs \"$2\" && exec \"$3\" run --config \"$4\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh", &size.to_string()])
            .arg(data)
            .arg(binary())
            .arg(file);
        command.current_dir(place.folder());
        Some(Drawbridge::launch(command, place, place.api()))
    }

    /// The same whose journal is on this disk.
    pub fn start_on(disk: &Disk, place: &Place, rest: &str) -> Drawbridge {
        let file = Drawbridge::configure(place, "", "", rest);
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(file).current_dir(place.folder());
        disk.put_under(&mut command);
        Drawbridge::launch(command, place, place.api())
    }

    /// The same with a clock of its own.
    pub fn start_by(clock: &WallClock, place: &Place, node: &str, rest: &str) -> Drawbridge {
        let file = Drawbridge::configure(place, node, "", rest);
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(file).current_dir(place.folder());
        clock.rules(&mut command);
        Drawbridge::launch(command, place, place.api())
    }

    /// A path as the box sees it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.pid(), path.display()))
    }

    fn configure(place: &Place, node: &str, media: &str, rest: &str) -> PathBuf {
        let ip = place.ip(Place::BOX);
        let ports = if media.contains("ports") { "" } else { "ports = \"20000-29999\"\n" };
        let config = format!(
            "[node]\nname = \"interop\"\ndata_dir = \"{data}\"\n{node}\n\n\
             [[listener]]\nname = \"udp\"\ntransport = \"udp\"\nbind = \"{ip}:5060\"\n\n\
             [[listener]]\nname = \"tcp\"\ntransport = \"tcp\"\nbind = \"{ip}:5060\"\n\n\
             [media]\naddress = \"{ip}\"\n{media}{ports}\n\
             [api]\nbind = \"{api}\"\n\n{rest}\n",
            api = place.api(),
            data = place.path("data").display(),
            rest = with_spool(place, rest),
        );
        place.write("drawbridge.toml", &config)
    }

    /// Starts it as somebody does who has just built it: no file, no flag, in an empty folder.
    pub fn start_bare(place: &Place) -> Drawbridge {
        let mut command = Command::new(binary());
        command.current_dir(place.folder());
        Drawbridge::launch(command, place, SocketAddr::from(([127, 0, 0, 1], 8080)))
    }

    fn launch(command: Command, place: &Place, api: SocketAddr) -> Drawbridge {
        let begin = Instant::now();
        let mut process = Process::start("drawbridge", command, place.folder());
        until("the box answers GET /health", Duration::from_secs(20), || {
            assert!(process.runs(), "the box has ended:\n{}", process.output());
            request(api, "GET", "/health").ok().filter(|answer| answer.status == 200)
        });
        let started_in = begin.elapsed();
        // The first answer may come a moment before the box has said all that it says at its start.
        until("the box says that it is ready", Duration::from_secs(20), || {
            process.output().contains("ready version=").then_some(())
        });
        Drawbridge { process, api, started_in }
    }

    /// How long it took from the start of the process to the first healthy answer.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Asks its API.
    pub fn ask(&self, method: &str, target: &str) -> Answer {
        request(self.api, method, target)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}\n{}", self.log()))
    }

    /// All CDRs, newest first, once there are at least `rows` of them.
    pub fn cdrs(&self, rows: usize) -> Vec<Value> {
        let committed = || self.metrics().sum("drawbridge_cdr_committed_total") as usize;
        until(&format!("{rows} CDRs in the journal"), Duration::from_secs(30), || {
            (committed() >= rows).then_some(())
        });
        self.all_cdrs()
    }

    /// All CDRs that there are, page by page.
    pub fn all_cdrs(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        for _ in 0..1000 {
            let page = self.ask("GET", &format!("/v1/cdrs?limit=1000{cursor}"));
            assert_eq!(page.status, 200, "GET /v1/cdrs: {}", page.body);
            let page = page.json();
            rows.extend(
                page["cdrs"].as_array().unwrap_or_else(|| panic!("no records in {page}")).iter().cloned(),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
        panic!("the pages of /v1/cdrs do not end")
    }

    /// What `/metrics` says now.
    pub fn metrics(&self) -> Metrics {
        let answer = self.ask("GET", "/metrics");
        assert_eq!(answer.status, 200, "GET /metrics: {}", answer.body);
        Metrics::read(&answer.body)
    }

    /// How many media packets it relays in this time.
    pub fn media_packets(&self, during: Duration) -> f64 {
        let relayed = || self.metrics().sum("drawbridge_media_packets_total");
        let before = relayed();
        std::thread::sleep(during);
        relayed() - before
    }

    /// Waits until calls, legs, transactions, timers and ports are all zero. Timers H, J, L and M keep transactions for
    /// up to 32 seconds after a call (RFC 3261 Table 4, RFC 6026 §7).
    pub fn assert_comes_to_rest(&self) {
        let limit = Duration::from_secs(50);
        let begin = Instant::now();
        loop {
            let metrics = self.metrics();
            let left: Vec<_> =
                AT_REST.iter().map(|name| (*name, metrics.sum(name))).filter(|(_, n)| *n != 0.0).collect();
            if left.is_empty() {
                return;
            }
            assert!(begin.elapsed() < limit, "{limit:?} after the last call there is still: {left:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Tells it to read its configuration again.
    pub fn read_again(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Asks it to end and waits for it.
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(20));
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Panics when it has died.
    pub fn assert_alive(&mut self) {
        assert!(self.process.runs(), "the box has died:\n{}", self.process.output());
    }
}

/// What the binary says to a command such as `replay FILE`, which must succeed.
pub fn run_command(arguments: &[&str]) -> String {
    let ended = Command::new(binary()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        ended.status.success(),
        "{arguments:?}: {}\n{said}{}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
    said
}

/// `DRAWBRIDGE_BIN`, or the binary that cargo built beside this test.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("DRAWBRIDGE_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().map(|folder| folder.join("drawbridge")).find(|path| path.is_file());
    built.expect(
        "no `drawbridge` beside this test: run `cargo build -p drawbridge` first, or set DRAWBRIDGE_BIN",
    )
}

/// The samples of one reading of `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, Vec<f64>>);

impl Metrics {
    fn read(text: &str) -> Metrics {
        let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or_default();
            samples.entry(name.to_owned()).or_default().push(value.parse().unwrap_or(f64::NAN));
        }
        Metrics(samples)
    }

    /// The sum of a metric over its labels.
    pub fn sum(&self, name: &str) -> f64 {
        let known = || self.0.keys().cloned().collect::<Vec<_>>().join(", ");
        self.0.get(name).unwrap_or_else(|| panic!("no metric `{name}`; there are: {}", known())).iter().sum()
    }
}

/// Keeps the spool in the test's folder: in `/dev/shm`, where it is by itself, that of a box which a test kills would stay.
fn with_spool(place: &Place, rest: &str) -> String {
    let spool = format!("[cdr]\nspool = \"{}\"\n", place.path("spool").display());
    match rest.split_once("[cdr]\n") {
        Some((before, after)) => format!("{before}{spool}{after}"),
        None => format!("{rest}\n{spool}"),
    }
}
