//! A disk that takes no writes, or takes its time, when the test says so: the box runs with a library before it that stands
//! between it and the files of its journal. Everything else of the process is as ever.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::place::Place;

/// The disk of a box's journal, in order until something else is said.
#[derive(Debug)]
pub struct Disk {
    library: PathBuf,
    control: PathBuf,
}

impl Disk {
    /// `None` where there is no compiler for C.
    pub fn new(place: &Place) -> Option<Disk> {
        let library = place.path("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("disk/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status();
        let disk = Disk { library, control: place.path("fault") };
        compiled.is_ok_and(|status| status.success()).then_some(disk)
    }

    /// The program that is started has this disk.
    pub(crate) fn put_under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("DRAWBRIDGE_FAULT", &self.control);
    }

    /// Every write fails as on a file system that is read-only.
    pub fn takes_nothing(&self) {
        self.say("r");
    }

    /// Each fsync takes so long.
    pub fn takes(&self, time: Duration) {
        self.say(&format!("s{}", time.as_millis()));
    }

    /// It is in order again.
    pub fn is_well(&self) {
        std::fs::remove_file(&self.control).unwrap();
    }

    /// In one piece, since the box may look at any moment.
    fn say(&self, what: &str) {
        let new = self.control.with_extension("new");
        std::fs::write(&new, what).unwrap();
        std::fs::rename(new, &self.control).unwrap();
    }
}
