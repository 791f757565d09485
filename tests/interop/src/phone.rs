//! baresip as a phone: it registers, calls, answers by itself, says a tone and keeps what it hears.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::Place;
use crate::process::{Process, until};
use crate::tone::write_tone;

const MODULES: &str = "/usr/lib/baresip/modules";

/// A running baresip.
#[derive(Debug)]
pub struct Phone {
    process: Process,
    control: TcpStream,
    inbox: Vec<u8>,
    recordings: PathBuf,
}

impl Phone {
    /// A phone at `at` whose user is registered at `registrar` when this returns. It says a sine of `hertz`.
    ///
    /// baresip sends its media from whatever address the kernel chooses, on loopback 127.0.0.1: a phone that talks
    /// through the box must be there, or its media comes from where nobody said.
    pub fn registered(place: &Place, user: &str, at: SocketAddr, registrar: SocketAddr, hertz: f64) -> Phone {
        let account = format!("<sip:{user}@{registrar}>;regint=120;answermode=auto;audio_codecs=PCMA\n");
        let phone = Phone::start(place, user, at, &account, hertz);
        phone.says("200 OK", Duration::from_secs(10));
        phone
    }

    /// Waits until its output says `text`: what happens right at its start is over before it takes commands.
    pub fn says(&self, text: &str, limit: Duration) {
        until(&format!("baresip saying `{text}` in {}", self.process.log().display()), limit, || {
            self.process.output().contains(text).then_some(())
        });
    }

    /// Whether its output has said `text` so far.
    pub fn has_said(&self, text: &str) -> bool {
        self.process.output().contains(text)
    }

    /// A phone at `at` with an account line of baresip's.
    pub fn start(place: &Place, user: &str, at: SocketAddr, account: &str, hertz: f64) -> Phone {
        let (ip, port) = (at.ip(), at.port());
        let control = SocketAddr::from((ip, port + 1000));
        let folder = place.path(user);
        let recordings = folder.join("heard");
        std::fs::create_dir_all(&recordings).unwrap();
        let voice = folder.join("voice.wav");
        write_tone(&voice, hertz, 60);
        let config = format!(
            "poll_method epoll\nsip_listen {at}\nnet_interface {ip}\nrtp_ports {rtp}-{rtp_end}\nrtp_stats yes\n\
             audio_source aufile,{voice}\naudio_player aubridge,{user}\naudio_alert aubridge,{user}-alert\n\
             ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n\
             module_path {MODULES}\nmodule g711.so\nmodule aufile.so\nmodule aubridge.so\nmodule sndfile.so\n\
             module uuid.so\nmodule srtp.so\nmodule_app account.so\nmodule_app contact.so\nmodule_app menu.so\nmodule ctrl_tcp.so\n\
             ctrl_tcp_listen {control}\nsnd_path {heard}\n",
            rtp = port + 2000,
            rtp_end = port + 2100,
            voice = voice.display(),
            heard = recordings.display(),
        );
        // They make keys and look for addresses at the start, which most phones here do without.
        let extra =
            [("dtls_srtp", "module dtls_srtp.so\n"), ("medianat=ice", "module stun.so\nmodule ice.so\n")];
        let extra = extra.iter().filter(|(word, _)| account.contains(word)).map(|(_, modules)| *modules);
        let config = config + &extra.collect::<String>();
        // A place with an authority of its own: its certificates are good.
        let authority = place.path("ca.pem");
        let trusted =
            if authority.exists() { format!("sip_cafile {}\n", authority.display()) } else { String::new() };
        std::fs::write(folder.join("config"), config + &trusted).unwrap();
        std::fs::write(folder.join("accounts"), account).unwrap();
        std::fs::write(folder.join("contacts"), "").unwrap();
        // It goes into Contact as it stands, so it must not end with a line end.
        std::fs::write(folder.join("uuid"), format!("00000000-0000-4000-8000-{port:012}")).unwrap();
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&folder).args(["-t", "120"]);
        let mut process = Process::start(user, command, place.folder());
        let control = until("baresip takes commands", Duration::from_secs(10), || {
            assert!(process.runs(), "baresip has ended:\n{}", process.output());
            TcpStream::connect(control).ok()
        });
        Phone { process, control, inbox: Vec::new(), recordings }
    }

    /// Calls somebody.
    pub fn dial(&mut self, uri: &str) {
        self.command("dial", uri);
    }

    /// Presses a key in its call until `other` hears it: baresip releases it at once, and where it had no time for a packet
    /// of it in between it says that another was released.
    pub fn press(&mut self, key: char, other: &mut Phone) {
        let is_heard = (0..10).any(|_| {
            self.command("sndcode", &key.to_string());
            let heard = other.hears("CALL_DTMF_START", Duration::from_millis(700));
            heard.is_some_and(|heard| heard["param"] == key.to_string())
        });
        assert!(is_heard, "{key} is not heard; see {}", other.process.log().display());
    }

    /// Ends its call.
    pub fn hang_up(&mut self) {
        self.command("hangup", "");
    }

    /// A command of baresip's (`hold`, `resume`, …).
    pub fn command(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters, "token": command }).to_string();
        write!(self.control, "{}:{text},", text.len()).unwrap();
    }

    /// Waits for an event (`CALL_ESTABLISHED`, `CALL_CLOSED`, …) and returns it.
    pub fn expect(&mut self, event: &str, limit: Duration) -> Value {
        let found = self.hears(event, limit);
        found.unwrap_or_else(|| panic!("no {event} within {limit:?}; see {}", self.process.log().display()))
    }

    /// The next event of this name, if it comes in time.
    pub fn hears(&mut self, event: &str, limit: Duration) -> Option<Value> {
        let end = Instant::now() + limit;
        std::iter::from_fn(|| self.next_message(end)).find(|message| message["type"] == event)
    }

    /// The next netstring of the control connection, before `end`.
    fn next_message(&mut self, end: Instant) -> Option<Value> {
        loop {
            if let Some(colon) = self.inbox.iter().position(|byte| *byte == b':') {
                let length: usize = std::str::from_utf8(&self.inbox[..colon]).unwrap().parse().unwrap();
                let body = colon + 1..colon + 1 + length;
                if self.inbox.len() > body.end {
                    let message = serde_json::from_slice(&self.inbox[body.clone()]).unwrap();
                    self.inbox.drain(..=body.end);
                    return Some(message);
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.control.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 4096];
            match self.control.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.inbox.extend_from_slice(&buffer[..length]),
                Err(_) => return None,
            }
        }
    }

    /// The recording of what it heard in its last call.
    pub fn recording(&self) -> PathBuf {
        until("a recording", Duration::from_secs(5), || {
            let entries = std::fs::read_dir(&self.recordings).unwrap();
            let heard = entries.flatten().map(|entry| entry.path());
            heard.filter(|path| path.to_string_lossy().ends_with("dec.wav")).max()
        })
    }

    /// RTP packets that it sent and received in its last call, by its own count.
    pub fn packets(&self) -> (u64, u64) {
        until("baresip's packet counts", Duration::from_secs(5), || {
            let output = self.process.output();
            let line = output.lines().rfind(|line| line.starts_with("packets:"))?;
            let mut counts = line.split_whitespace().filter_map(|word| word.parse().ok());
            counts.next().zip(counts.next())
        })
    }
}
