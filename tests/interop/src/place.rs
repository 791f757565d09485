//! Where one test plays: loopback addresses that no other test has, and a folder for its files.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::skipped::skipped;

/// Where a place with a network of its own must be had: a story that would be skipped fails.
const REQUIRED: &str = "DRAWBRIDGE_TEST_NETWORK";

static PLACES: AtomicU8 = AtomicU8::new(0);

/// Addresses x.y.z.1 to x.y.z.254 and a folder. The folder goes with the place, unless the test failed.
#[derive(Debug)]
pub struct Place {
    network: [u8; 3],
    folder: PathBuf,
}

impl Place {
    /// The box lives here.
    pub const BOX: u8 = 1;
    /// The caller.
    pub const A: u8 = 2;
    /// The callee, the first target.
    pub const B: u8 = 3;
    /// The second target.
    pub const C: u8 = 4;

    /// A place for the test `story`, on loopback.
    pub fn new(story: &str) -> Place {
        let process = std::process::id();
        let nth = PLACES.fetch_add(1, Ordering::Relaxed);
        // Test binaries run one after the other, tests of one binary at once: both parts together are not met twice.
        let network = [127, 64 + (process % 128) as u8, nth];
        let folder = std::env::temp_dir().join(format!("drawbridge-{story}-{process}-{nth}"));
        std::fs::create_dir_all(&folder).unwrap();
        Place { network, folder }
    }

    /// A place with a network of its own, in which the box's address is not on loopback: some programs find no way to others
    /// there. `None` without the privilege for that, and the story is [`skipped`].
    pub fn on_a_wire(story: &str) -> Option<Place> {
        if !Place::own_network() {
            assert!(
                std::env::var_os(REQUIRED).is_none(),
                "{REQUIRED} is set, and there is no network for {story}"
            );
            skipped(story, "it needs a network of its own: run it as root, or under `unshare -rn`");
            return None;
        }
        let mut place = Place::new(story);
        place.network = [192, 0, 2];
        let address = format!("{}/24", place.ip(Place::BOX));
        let alone = ip(&["link", "add", "wire", "type", "veth", "peer", "name", "end"])
            && ip(&["addr", "add", &address, "dev", "wire"])
            && ip(&["link", "set", "wire", "up"])
            && ip(&["link", "set", "end", "up"]);
        assert!(alone, "a network of its own is there for {story}, and `ip` cannot make a wire in it");
        Some(place)
    }

    /// The address of one host.
    pub fn ip(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, host)
    }

    /// A host's address with SIP's default port.
    pub fn sip(&self, host: u8) -> SocketAddr {
        SocketAddr::from((self.ip(host), 5060))
    }

    /// Where the box's API is: on loopback, where no token is asked for.
    pub fn api(&self) -> SocketAddr {
        let ip = if self.network[0] == 127 { self.ip(Place::BOX) } else { Ipv4Addr::LOCALHOST };
        SocketAddr::from((ip, 8080))
    }

    /// The test's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Moves this thread, and what it starts from now on, into a network of its own with nothing in it but loopback, so
    /// that fixed ports are free. Without the privilege it stays where it is and returns false.
    pub fn own_network() -> bool {
        // SAFETY: a network namespace touches neither memory nor file descriptors of this process; only sockets that
        // this thread opens from now on live in it.
        let alone = unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_ok();
        alone && ip(&["link", "set", "lo", "up"])
    }
}

/// Sets up this thread's network.
fn ip(arguments: &[&str]) -> bool {
    let status = Command::new("ip").args(arguments).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the test's files are left in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
