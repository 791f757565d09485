//! Flows that outlive their process: program, maps and links have names in a BPF file system, in a directory of their own, and
//! the next process for the same ports goes on with them.
//!
//! A directory belongs to who holds its lock, which the system takes from a process that dies. What nobody comes back for is
//! no danger: the program relays for as long as the lease runs that its process puts off, and is removed by whichever process
//! starts next in the same file system.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::program::{KernelError, LEASE_MAP, PROGRAM, refused};

/// How long packets are relayed that nobody watches over.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// What a BPF file system says that it is (`BPF_FS_MAGIC`).
const BPF_FS: i64 = 0xcafe_4a11;
const LINK: &str = "link-";

/// How long to wait for others that look through the directories: they do so in milliseconds, when they start.
const TRIES: u32 = 200;
const BETWEEN: Duration = Duration::from_millis(10);

/// Which ports of which addresses in which network: there is one process for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    network: u64,
    /// As they are in a name: without dots, which that file system keeps for itself.
    addresses: Vec<String>,
    first_port: u32,
    pairs: u32,
}

impl Place {
    /// In the network of this thread.
    pub(super) fn here(addresses: impl Iterator<Item = IpAddr>, first_port: u32, pairs: u32) -> Place {
        let network = fs::metadata("/proc/thread-self/ns/net").map_or(0, |file| file.ino());
        let addresses = addresses.map(|address| address.to_string().replace(['.', ':'], "-")).collect();
        Place { network, addresses, first_port, pairs }
    }

    /// From the name of a directory, which ends with a digest.
    fn of(name: &str) -> Option<Place> {
        let mut fields = name.split('_');
        let network = fields.next()?.parse().ok()?;
        let mut rest: Vec<&str> = fields.collect();
        let _digest = rest.pop()?;
        let pairs = rest.pop()?.parse().ok()?;
        let first_port = rest.pop()?.parse().ok()?;
        Some(Place { network, addresses: rest.into_iter().map(str::to_owned).collect(), first_port, pairs })
    }

    /// Whether a port is in both.
    fn meets(&self, other: &Place) -> bool {
        let every = |address: &String| address.chars().all(|c| matches!(c, '0' | '-'));
        let common = self
            .addresses
            .iter()
            .any(|mine| every(mine) || other.addresses.iter().any(|theirs| theirs == mine || every(theirs)));
        let end = |place: &Place| place.first_port + place.pairs * 2;
        let overlap = self.first_port < end(other) && other.first_port < end(self);
        self.network == other.network && common && overlap
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { network, addresses, first_port, pairs } = self;
        write!(f, "{network}_{}_{first_port}_{pairs}", addresses.join("_"))
    }
}

/// A directory that is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    /// What is in it goes with this, and not on to the next process.
    ends: bool,
    _lock: File,
}

impl Pins {
    /// The directory for a place and what is relayed there. Others with ports of this place are removed, and those that nobody
    /// has come back for. Directories of other processes are below `root` too.
    pub(super) fn claim(root: &Path, place: &Place, digest: &str) -> Result<Pins, KernelError> {
        let name = format!("{place}_{digest}");
        let there = root.ancestors().find(|path| path.exists()).unwrap_or(root);
        let system = statfs(there).map_err(|error| unusable(root, &error))?;
        if system.f_type as i64 != BPF_FS {
            return Err(unusable(root, &"expected a BPF file system, such as /sys/fs/bpf"));
        }
        let directory = root.join(&name);
        // What is in it is nobody else's to see, and its lock nobody else's to take.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|error| unusable(root, &error))?;
        let _others = wait_for_lock(root).map_err(|error| unusable(root, &error))?;
        let Some(lock) = lock(&directory).map_err(|error| unusable(root, &error))? else {
            return Err(KernelError::Held { directory: directory.display().to_string() });
        };
        let mut pins = Pins { directory, ends: false, _lock: lock };
        if !pins.is_whole() {
            pins.clear();
        }
        look_through(root, place, &name)?;
        Ok(pins)
    }

    /// Ends what is here: the next process finds nothing, nor does this one.
    pub(super) fn clear(&mut self) {
        self.ends = true;
        empty(&self.directory);
    }

    /// Whether a process before this one has left all of it here.
    pub(super) fn is_whole(&self) -> bool {
        self.path(PROGRAM).exists()
    }

    /// Where something has its name.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the link with an interface has its name.
    pub(super) fn link(&self, interface: u32) -> PathBuf {
        self.path(&format!("{LINK}{interface}"))
    }

    /// Forgets the link with an interface, which may have gone and come back since.
    pub(super) fn unlink(&self, interface: u32) {
        let _ = fs::remove_file(self.link(interface));
    }

    /// Takes the program off all other interfaces, of which some may not be there any more.
    pub(super) fn keep_links(&self, keep: impl Fn(u32) -> bool) {
        let index = |name: &str| name.strip_prefix(LINK)?.parse().ok();
        for name in names(&self.directory).unwrap_or_default() {
            if index(&name).is_some_and(|index| !keep(index)) {
                let _ = fs::remove_file(self.path(&name));
            }
        }
    }

    /// Everything is taken over: from now on it ends with this, unless the process is killed.
    pub(super) fn own(&mut self) {
        self.ends = true;
    }

    /// This process ends, and the next one is to go on with it.
    pub(super) fn leave(&mut self) {
        self.ends = false;
    }

    /// Removes all of it, if it ends with this.
    pub(super) fn end(&mut self) {
        // Once: the place may be another process's by the time that this is dropped.
        if std::mem::take(&mut self.ends) {
            remove(&self.directory);
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.end();
    }
}

/// The monotonic clock, which is the one of the program, in nanoseconds.
pub(super) fn clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Ends what was left for ports of this place, by whichever program, and whatever has run out.
pub(super) fn sweep(root: &Path, place: &Place) -> Result<(), KernelError> {
    if !root.exists() {
        return Ok(());
    }
    let _others = wait_for_lock(root).map_err(|error| unusable(root, &error))?;
    look_through(root, place, "")
}

fn look_through(root: &Path, place: &Place, mine: &str) -> Result<(), KernelError> {
    for name in names(root).map_err(|error| unusable(root, &error))?.into_iter().filter(|name| name != mine) {
        let directory = root.join(&name);
        let is_ours = Place::of(&name).is_some_and(|of| of.meets(place));
        match lock(&directory) {
            Ok(Some(_lock)) if is_ours || has_run_out(&directory) => {
                tracing::info!(directory = %directory.display(), "media that a process left behind is not relayed any more");
                remove(&directory);
            }
            Ok(None) if is_ours => {
                return Err(KernelError::Held { directory: directory.display().to_string() });
            }
            // Somebody else's, who may come back for it.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn unusable(root: &Path, why: &dyn fmt::Display) -> KernelError {
    KernelError::Pins { directory: root.display().to_string(), why: why.to_string() }
}

/// Also what was not removed to its end.
fn has_run_out(directory: &Path) -> bool {
    let pin = directory.join(LEASE_MAP);
    let lease = || -> Result<u64, KernelError> {
        let map = MapData::from_pin(&pin).and_then(Map::from_map_data).map_err(refused)?;
        let lease: Array<MapData, u64> = map.try_into().map_err(refused)?;
        lease.get(&0, 0).map_err(refused)
    };
    !pin.exists() || lease().is_ok_and(|until| until < clock())
}

/// Whoever looks through the directories, one process at a time.
fn wait_for_lock(root: &Path) -> io::Result<File> {
    for _ in 0..TRIES {
        if let Some(file) = lock(root)? {
            return Ok(file);
        }
        std::thread::sleep(BETWEEN);
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has it locked"))
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

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

/// The links go first, without which the rest is nothing; then what says that it is whole.
fn empty(directory: &Path) {
    let mut names = names(directory).unwrap_or_default();
    names.sort_by_key(|name| (!name.starts_with(LINK), name != PROGRAM));
    for name in names {
        let _ = fs::remove_file(directory.join(name));
    }
}

fn remove(directory: &Path) {
    empty(directory);
    let _ = fs::remove_dir(directory);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place(addresses: &[&str], first_port: u32, pairs: u32) -> Place {
        Place::here(addresses.iter().map(|text| text.parse().unwrap()), first_port, pairs)
    }

    #[test]
    fn a_place_is_known_by_the_name_of_its_directory() {
        for addresses in [&["192.0.2.1"][..], &["192.0.2.1", "2001:db8::1"], &["::"]] {
            let place = place(addresses, 30_000, 5_000);
            let name = format!("{place}_0123456789abcdef");
            assert!(!name.contains('.'), "{name}");
            assert_eq!(Place::of(&name), Some(place));
        }
        assert_eq!(Place::of("lost+found"), None);
    }

    #[test]
    fn places_meet_that_have_a_port_in_common() {
        let mine = place(&["192.0.2.1"], 30_000, 50);
        assert!(mine.meets(&place(&["192.0.2.1", "2001:db8::1"], 30_098, 500)));
        assert!(mine.meets(&place(&["0.0.0.0"], 20_000, 9_000)));
        assert!(!mine.meets(&place(&["192.0.2.2"], 30_000, 50)));
        assert!(!mine.meets(&place(&["192.0.2.1"], 30_100, 50)));
        assert!(!mine.meets(&Place { network: 1, ..mine.clone() }));
    }
}
