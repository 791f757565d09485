//! The real program in a folder of its own: started, watched through its log lines, and gone when the test is.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Everything on ports that the system chooses, for a test that runs beside others.
pub const FREE_PORTS: &str = "[[listener]]\nname = 'udp'\ntransport = 'udp'\nbind = '127.0.0.1:0'\n\
    [api]\nbind = '127.0.0.1:0'\n[media]\nports = '41000-41999'\n[access]\nopen_loopback = true\n";

/// A folder that is removed with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("drawbridge-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Writes a file and gives its name, as the program will be told it.
    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        name.to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawbridge"));
    // More than the default says, so that tests can follow a call.
    command.args(arguments).current_dir(&folder.0).env("RUST_LOG", "info,call=debug");
    command
}

/// Runs it to its end.
pub fn output(folder: &Folder, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The running program.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    /// All lines read so far.
    pub log: Vec<String>,
}

impl Process {
    pub fn start(folder: &Folder, arguments: &[&str]) -> Process {
        let mut child =
            command(folder, arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Process { child, lines, log: Vec::new() }
    }

    /// Waits for a line with this text in it, from the next unread one on.
    pub fn line(&mut self, with: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {with:?} in:\n{}", self.log.join("\n"));
            };
            self.log.push(line.clone());
            if line.contains(with) {
                return line;
            }
        }
    }

    /// Waits until it serves, and gives the addresses of SIP and API.
    pub fn ready(&mut self) -> (SocketAddr, SocketAddr) {
        self.line(" ready ");
        addresses(&self.log)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.log.extend(self.lines.iter());
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end:\n{}", self.log.join("\n"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The running program whose log lines nobody reads once it serves.
pub struct Unread {
    child: Child,
    _stderr: BufReader<ChildStderr>,
}

impl Unread {
    /// With the addresses of SIP and API.
    pub fn start(folder: &Folder, arguments: &[&str]) -> (Unread, SocketAddr, SocketAddr) {
        let mut child =
            command(folder, arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = Vec::new();
        while log.last().is_none_or(|line: &String| !line.contains(" ready ")) {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended:\n{}", log.join(""));
            log.push(line);
        }
        let (sip, api) = addresses(&log);
        (Unread { child, _stderr: stderr }, sip, api)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it says that it listens for SIP and for the API.
fn addresses(log: &[String]) -> (SocketAddr, SocketAddr) {
    let find = |with: &str, before: &str| {
        let line = log.iter().find(|line| line.contains(with)).unwrap();
        let rest = line.split_once(before).unwrap().1;
        rest.split([' ', ',', '\n']).next().unwrap().parse().unwrap()
    };
    (find("listening", "address="), find("API on", "http://"))
}

/// Asks the API; gives status and body.
pub fn get(api: SocketAddr, target: &str) -> (u16, String) {
    ask(api, "GET", target)
}

/// Orders the API; gives status and body.
pub fn post(api: SocketAddr, target: &str) -> (u16, String) {
    ask(api, "POST", target)
}

fn ask(api: SocketAddr, method: &str, target: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}
