//! The wall clock of a box, which a test may set while the box runs. Time since the machine's start goes on as it does.

use std::path::PathBuf;
use std::process::Command;

use crate::place::Place;

/// A clock that is as far ahead of the system's as was said last.
#[derive(Debug)]
pub struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// One that is right.
    pub fn new(place: &Place) -> WallClock {
        let libraries = std::fs::read_dir("/usr/lib").unwrap();
        let library = libraries
            .map(|folder| folder.unwrap().path().join("faketime/libfaketime.so.1"))
            .find(|library| library.exists())
            .expect("the package libfaketime, which `make deps` installs");
        let clock = WallClock { library, file: place.path("wall-clock") };
        clock.set(0);
        clock
    }

    /// Sets it to so many seconds ahead of the system's.
    pub fn set(&self, ahead: i64) {
        // Replaced as a whole: the box may read it at any moment.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{ahead:+}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    pub(crate) fn rules(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }
}
