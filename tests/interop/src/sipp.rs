//! SIPp as caller or callee, with the scenarios beside this crate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::process::{Process, until};
use crate::sip_log::Message;

/// A SIPp that is being prepared.
#[derive(Clone, Debug)]
pub struct Sipp {
    scenario: &'static str,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    arguments: Vec<String>,
    tcp: bool,
    log: bool,
    calls: u32,
    patience: Duration,
}

impl Sipp {
    /// One that waits at `host`:5060 for as many calls as it is told, one without being told.
    pub fn callee(scenario: &'static str, host: impl Into<IpAddr>) -> Sipp {
        let local = SocketAddr::new(host.into(), 5060);
        let patience = Duration::from_secs(20);
        Sipp {
            scenario,
            local,
            remote: None,
            arguments: Vec::new(),
            tcp: false,
            log: false,
            calls: 1,
            patience,
        }
    }

    /// One that calls `remote` from `host`:5060.
    pub fn caller(scenario: &'static str, host: Ipv4Addr, remote: SocketAddr) -> Sipp {
        Sipp { remote: Some(remote), ..Sipp::callee(scenario, host) }
    }

    /// It sends every RTP packet back.
    pub fn echoing(self) -> Sipp {
        let ip = self.local.ip().to_string();
        self.with(&["-rtp_echo", "-mi", &ip])
    }

    /// How many calls.
    pub fn calls(mut self, calls: u32) -> Sipp {
        self.calls = calls;
        self
    }

    /// New calls per second.
    pub fn rate(self, per_second: u32) -> Sipp {
        self.with(&["-r", &per_second.to_string()])
    }

    /// How long a call is held.
    pub fn hold(self, time: Duration) -> Sipp {
        self.with(&["-d", &time.as_millis().to_string()])
    }

    /// The user part that is called.
    pub fn calling(self, number: &str) -> Sipp {
        self.with(&["-s", number])
    }

    /// One TCP connection for all calls.
    pub fn over_tcp(mut self) -> Sipp {
        self.tcp = true;
        self.with(&["-t", "t1"])
    }

    /// How long it waits for a message that the scenario expects.
    pub fn patience(mut self, time: Duration) -> Sipp {
        self.patience = time;
        self
    }

    /// Keeps every message, see [`Outcome::messages`].
    pub fn logged(mut self) -> Sipp {
        self.log = true;
        self
    }

    fn with(mut self, arguments: &[&str]) -> Sipp {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Starts it; a callee is listening when this returns.
    pub fn start(self, place: &Place) -> Sipping {
        let stem = Path::new(self.scenario).file_stem().unwrap().to_string_lossy();
        let name = format!("{stem}-{}", self.local.ip().to_string().replace(':', "_"));
        let file = |ending: &str| place.path(&format!("{name}.{ending}"));
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(self.scenario);
        let mut command = Command::new("sipp");
        command.args(self.remote.map(|remote| remote.to_string()));
        command.arg("-sf").arg(scenario);
        command.args(["-i", &self.local.ip().to_string(), "-p", &self.local.port().to_string()]);
        command.args(["-m", &self.calls.to_string(), "-nostdin", "-buff_size", "4000000", "-l", "10000"]);
        // Without it SIPp answers what a scenario did not expect with a BYE or CANCEL of its own and hides the fault.
        command.args(["-default_behaviors", "none", "-recv_timeout", &self.patience.as_millis().to_string()]);
        command.arg("-trace_err").arg("-error_file").arg(file("errors"));
        command.arg("-trace_stat").arg("-stf").arg(file("csv")).args(["-fd", "1"]);
        if self.log {
            command.arg("-trace_msg").arg("-message_file").arg(file("messages"));
            command.args(["-message_overwrite", "false"]);
        }
        command.args(&self.arguments).current_dir(place.folder());
        let mut process = Process::start(&name, command, place.folder());
        if self.remote.is_none() {
            let listening = || is_listening(self.local, self.tcp).then_some(());
            until(&format!("{name} listening on {}", self.local), Duration::from_secs(10), || {
                assert!(process.runs(), "{name} has ended:\n{}", process.output());
                listening()
            });
        }
        let messages = self.log.then(|| file("messages"));
        Sipping { name: name.clone(), process, statistics: file("csv"), errors: file("errors"), messages }
    }
}

/// Whether a socket is bound there, read from the kernel's tables: trying to bind could take the port away.
fn is_listening(local: SocketAddr, tcp: bool) -> bool {
    let (octets, family) = match local.ip() {
        IpAddr::V4(ip) => (ip.octets().to_vec(), ""),
        IpAddr::V6(ip) => (ip.octets().to_vec(), "6"),
    };
    let words = octets.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let address: String = words.map(|word| format!("{word:08X}")).collect();
    let wanted = format!("{address}:{:04X}", local.port());
    let transport = if tcp { "tcp" } else { "udp" };
    let table = format!("/proc/thread-self/net/{transport}{family}");
    let table = std::fs::read_to_string(table).unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(wanted.as_str()) && (!tcp || fields.nth(1) == Some("0A"))
    })
}

/// A SIPp at work.
#[derive(Debug)]
pub struct Sipping {
    name: String,
    process: Process,
    statistics: PathBuf,
    errors: PathBuf,
    messages: Option<PathBuf>,
}

impl Sipping {
    /// Waits until all its calls are over.
    pub fn finish(mut self, limit: Duration) -> Outcome {
        self.process.wait(limit);
        let statistics = std::fs::read_to_string(&self.statistics).unwrap_or_default();
        let mut lines = statistics.lines();
        let names = lines.next().unwrap_or_default().split(';');
        let last = lines.next_back().unwrap_or_default().split(';');
        let columns: HashMap<_, _> = names.zip(last).collect();
        let count = |name: &str| {
            let value = columns.get(name).and_then(|value| value.parse().ok());
            value.unwrap_or_else(|| {
                panic!("{}: no statistics; it said:\n{}", self.name, self.process.output())
            })
        };
        let messages =
            self.messages.map(|path| Message::read(&std::fs::read_to_string(path).unwrap_or_default()));
        Outcome {
            name: self.name.clone(),
            created: count("TotalCallCreated"),
            successful: count("SuccessfulCall(C)"),
            failed: count("FailedCall(C)"),
            retransmissions: count("Retransmissions(C)"),
            errors: std::fs::read_to_string(&self.errors).unwrap_or_default(),
            messages: messages.unwrap_or_default(),
        }
    }
}

/// What became of the calls of one SIPp.
#[derive(Clone, Debug)]
pub struct Outcome {
    name: String,
    /// Calls begun.
    pub created: u32,
    /// Calls that went through the whole scenario.
    pub successful: u32,
    /// Calls that did not.
    pub failed: u32,
    /// Messages that SIPp had to send again.
    pub retransmissions: u32,
    /// What it complained of.
    pub errors: String,
    /// All messages, when it was [`logged`](Sipp::logged).
    pub messages: Vec<Message>,
}

impl Outcome {
    /// Panics unless all of `calls` went through the whole scenario and nothing had to be sent twice.
    pub fn assert_clean(&self, calls: u32) {
        let short: String = self.errors.chars().take(4000).collect();
        assert_eq!(
            (self.created, self.successful, self.failed, self.retransmissions),
            (calls, calls, 0, 0),
            "{}: calls created, successful, failed, and retransmissions; it complained:\n{short}",
            self.name
        );
    }
}
