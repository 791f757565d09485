//! Flows that outlive their process: program, maps and links have names in a BPF file system, in a directory of their own, and
//! the next process for the same ports goes on with them.
//!
//! A directory belongs to who holds its lock, which the system takes from a process that dies. What nobody comes back for is
//! no danger: the program relays for as long as the lease runs that its process puts off, and is removed by whichever process
//! starts next in the same file system.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::program::{KernelError, refused};

/// How long packets are relayed that nobody watches over.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// What a BPF file system says that it is (`BPF_FS_MAGIC`).
const BPF_FS: i64 = 0xcafe_4a11;
/// There once everything else is.
const WHOLE: &str = "drawbridge";
const LINK: &str = "link-";

/// A directory that is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    /// What is in it goes with this, and not on to the next process.
    ends: bool,
    _lock: File,
}

impl Pins {
    /// The directory for a place and what is relayed there; those for the same place are removed, and those that nobody has
    /// come back for. Directories of others are below `root` too.
    pub(super) fn claim(root: &Path, place: &str, digest: &str) -> Result<Pins, KernelError> {
        let name = format!("{place}_{digest}");
        let failed = |why: String| KernelError::Pins { directory: root.display().to_string(), why };
        let there = root.ancestors().find(|path| path.exists()).unwrap_or(root);
        let system = statfs(there).map_err(|error| failed(error.to_string()))?;
        if system.f_type as i64 != BPF_FS {
            return Err(failed("expected a BPF file system, such as /sys/fs/bpf".to_owned()));
        }
        let directory = root.join(&name);
        fs::create_dir_all(&directory).map_err(|error| failed(error.to_string()))?;
        let Some(lock) = lock(&directory).map_err(|error| failed(error.to_string()))? else {
            return Err(KernelError::Held { directory: directory.display().to_string() });
        };
        let mut pins = Pins { directory, ends: false, _lock: lock };
        pins.ends = !pins.is_whole();
        if pins.ends {
            empty(&pins.directory);
        }
        sweep(root, place, &name)?;
        Ok(pins)
    }

    /// Whether a process before this one has left all of it here.
    pub(super) fn is_whole(&self) -> bool {
        self.path(WHOLE).exists()
    }

    /// Where something has its name.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the link with an interface has its name.
    pub(super) fn link(&self, interface: u32) -> PathBuf {
        self.path(&format!("{LINK}{interface}"))
    }

    pub(super) fn has_link(&self, interface: u32) -> bool {
        self.link(interface).exists()
    }

    /// Takes the program off all other interfaces, of which some may not be there any more.
    pub(super) fn keep_links(&self, keep: impl Fn(u32) -> bool) {
        let index = |name: &str| name.strip_prefix(LINK)?.parse().ok();
        for name in names(&self.directory) {
            if index(&name).is_some_and(|index| !keep(index)) {
                let _ = fs::remove_file(self.path(&name));
            }
        }
    }

    /// Everything is taken over: from now on it ends with this, unless the process is killed.
    pub(super) fn own(&mut self) {
        self.ends = true;
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.ends {
            remove(&self.directory);
        }
    }
}

/// The monotonic clock, which is the one of the program, in nanoseconds.
pub(super) fn clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Removes what no process will go on with: other programs for this place, and whatever has run out.
pub(super) fn sweep(root: &Path, place: &str, mine: &str) -> Result<(), KernelError> {
    for name in names(root).into_iter().filter(|name| name != mine) {
        let directory = root.join(&name);
        let same_place = name.rsplit_once('_').is_some_and(|(of, _)| of == place);
        match lock(&directory) {
            Ok(Some(_lock)) if same_place || has_run_out(&directory) => {
                tracing::info!(directory = %directory.display(), "media that a process left behind is not relayed any more");
                remove(&directory);
            }
            Ok(None) if same_place => {
                return Err(KernelError::Held { directory: directory.display().to_string() });
            }
            // Somebody else's, who may come back for it.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn has_run_out(directory: &Path) -> bool {
    let lease = || -> Result<u64, KernelError> {
        let map = MapData::from_pin(directory.join("LEASE")).and_then(Map::from_map_data).map_err(refused)?;
        let lease: Array<MapData, u64> = map.try_into().map_err(refused)?;
        lease.get(&0, 0).map_err(refused)
    };
    lease().is_ok_and(|until| until < clock())
}

/// `None`: a process that lives has it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let file = File::open(directory)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The links go first: without them the rest is nothing.
fn empty(directory: &Path) {
    let (links, rest): (Vec<String>, Vec<String>) =
        names(directory).into_iter().partition(|name| name.starts_with(LINK));
    for name in links.into_iter().chain(rest) {
        let _ = fs::remove_file(directory.join(name));
    }
}

fn remove(directory: &Path) {
    empty(directory);
    let _ = fs::remove_dir(directory);
}
