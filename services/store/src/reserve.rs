//! A little room on the disk that is put by: a box whose disk somebody has filled while it was stopped cannot even open its journal,
//! for which SQLite needs a file beside it. So it is opened with what is put by where there is no other room.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

/// What the journal needs to be opened, and to be written for a while.
const OCTETS: usize = 1024 * 1024;

/// It is put by where there is so much besides: a disk that has just been full needs what was given free.
const BESIDES: u64 = 16 * OCTETS as u64;

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("drawbridge.reserve")
}

/// Gives the room free on a disk that has no other. Whether that was so, and there was some.
pub(crate) fn give(data_dir: &Path) -> bool {
    room(data_dir) < OCTETS as u64 && fs::remove_file(path(data_dir)).is_ok()
}

/// Puts the room by, unless it is. A disk that has none is told of by what else is written there.
pub(crate) fn keep(data_dir: &Path) {
    let path = path(data_dir);
    let is_kept = fs::metadata(&path).is_ok_and(|found| found.len() >= OCTETS as u64);
    if !is_kept && room(data_dir) > BESIDES && fill(&path).is_err() {
        let _ = fs::remove_file(&path);
    }
}

/// What is free, in octets; none where that is not known.
fn room(data_dir: &Path) -> u64 {
    statvfs(data_dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    // No hole: that would be no room.
    file.write_all(&vec![0xd8; OCTETS])?;
    file.sync_all()
}
