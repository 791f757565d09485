//! A page in a headless Chromium, which is a phone: SIP over secure WebSocket, WebRTC for its media (`page/phone.html`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::process::{Process, until};
use crate::tone::write_tone;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/page/phone.html");

/// What `make deps` installs, and what it is called elsewhere.
const PROGRAMS: [&str; 3] = ["chromium-headless-shell", "chromium", "chrome"];

/// A running browser with one page.
#[derive(Debug)]
pub struct Browser {
    process: Process,
}

impl Browser {
    /// Opens the page: `user` registers with the box at `at`, calls `whom` or waits to be called, says a sine of `says` hertz
    /// and listens for one of `hears`.
    pub fn open(
        place: &Place,
        user: &str,
        at: SocketAddr,
        whom: Option<&str>,
        [says, hears]: [f64; 2],
    ) -> Browser {
        let folder = place.path(user);
        std::fs::create_dir_all(&folder).unwrap();
        let voice = folder.join("voice.wav");
        write_tone(&voice, says, 60);
        let call = whom.map(|whom| format!("&call={whom}")).unwrap_or_default();
        let mut command = Command::new(program());
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--enable-logging=stderr", "--remote-debugging-port=0"])
            .args(["--ignore-certificate-errors", "--autoplay-policy=no-user-gesture-required"])
            .args(["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"])
            .arg(format!("--use-file-for-fake-audio-capture={}", voice.display()))
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg(format!("file://{PAGE}?at={at}&user={user}&hertz={hears}{call}"));
        Browser { process: Process::start(user, command, place.folder()) }
    }

    /// Waits until the page says this.
    pub fn says(&self, text: &str, limit: Duration) {
        let log = self.process.log().display();
        until(&format!("the page saying `{text}` in {log}"), limit, || {
            let output = self.process.output();
            assert!(!output.contains("page: failed"), "the page has failed:\n{output}");
            output.contains(&format!("page: {text}")).then_some(())
        });
    }

    /// What the page has said so far.
    pub fn said(&self) -> Vec<String> {
        let output = self.process.output();
        let lines = output.lines().filter_map(|line| line.split_once("page: "));
        lines.map(|(_, said)| said.split('"').next().unwrap_or_default().to_owned()).collect()
    }

    /// For how many seconds the page has heard its tone, once its call is over. Where something came between, since then.
    pub fn heard(&self, limit: Duration) -> f64 {
        until("the page's end of the call", limit, || {
            let said = self.said();
            said.iter().rev().find_map(|line| line.strip_prefix("heard ")?.strip_suffix(" s")?.parse().ok())
        })
    }
}

/// The browser itself where it is known where that is: what Debian has in the path is a script that waits for it, and whoever ends
/// the script leaves the browser behind.
fn program() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders = [PathBuf::from("/usr/lib/chromium")].into_iter().chain(std::env::split_paths(&folders));
    let places: Vec<_> = folders.collect();
    let find = |name: &&str| places.iter().map(|folder| folder.join(name)).find(|place| place.is_file());
    PROGRAMS
        .iter()
        .find_map(find)
        .unwrap_or_else(|| panic!("none of {PROGRAMS:?} is installed; see `make deps`"))
}
