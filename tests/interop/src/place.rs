//! Where one test plays: loopback addresses that no other test has, and a folder for its files.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::thread::{UnshareFlags, unshare_unsafe};

static PLACES: AtomicU8 = AtomicU8::new(0);

/// Addresses 127.x.y.1 to 127.x.y.254 and a folder. The folder goes with the place, unless the test failed.
#[derive(Debug)]
pub struct Place {
    network: [u8; 2],
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

    /// A place for the test `story`.
    pub fn new(story: &str) -> Place {
        let process = std::process::id();
        let nth = PLACES.fetch_add(1, Ordering::Relaxed);
        // Test binaries run one after the other, tests of one binary at once: both parts together are not met twice.
        let network = [64 + (process % 128) as u8, nth];
        let folder = std::env::temp_dir().join(format!("drawbridge-{story}-{process}-{nth}"));
        std::fs::create_dir_all(&folder).unwrap();
        Place { network, folder }
    }

    /// The address of one host.
    pub fn ip(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.network[0], self.network[1], host)
    }

    /// A host's address with SIP's default port.
    pub fn sip(&self, host: u8) -> SocketAddr {
        SocketAddr::from((self.ip(host), 5060))
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
        alone
            && Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    }
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
