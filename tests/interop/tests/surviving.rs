//! Media that the kernel relays while there is no box. As root, with Linux 6.6.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use interop::{Drawbridge, Place, Softphone, until};

const LIMIT: Duration = Duration::from_secs(30);

/// A BPF file system in the folder of a place.
struct Pins(PathBuf);

impl Pins {
    fn mount(place: &Place) -> Option<Pins> {
        let path = place.path("bpf");
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&path).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Pins(path)),
            _ => {
                eprintln!(
                    "SKIPPED, NOT TESTED: media over a restart needs a BPF file system, which only root may mount"
                );
                None
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join("drawbridge")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn two_who_talk_hear_each_other_while_the_box_is_dead_and_their_call_ends_with_one_row() {
    Place::own_network();
    let place = Place::new("surviving");
    let Some(pins) = Pins::mount(&place) else { return };
    let media =
        format!("engine = \"auto\"\nsurvive_restart = true\npins = \"{}/drawbridge\"\n", pins.0.display());
    let start = || Drawbridge::start_media(&place, &media, "[access]\nopen_loopback = true\n");
    let drawbridge = start();
    let flows = |drawbridge: &Drawbridge| drawbridge.metrics().sum("drawbridge_media_kernel_streams");
    if drawbridge.log().contains("engine=\"userspace\"") {
        eprintln!("SKIPPED, NOT TESTED: no engine in the kernel: {}", drawbridge.log());
        return;
    }
    let phone = |user: &str, host: u8| Softphone::at(&place, user, host);
    let (mut alice, mut bob) = (phone("alice", Place::A), phone("bob", Place::B));
    alice.call("bob");
    let invite = bob.answer();
    let ok = alice.confirm();
    bob.take("ACK");
    let talk = |what: u8| {
        alice.say(&ok, what);
        assert!(bob.listens(what), "bob hears alice");
        bob.say(&invite, what + 1);
        assert!(alice.listens(what + 1), "alice hears bob");
    };
    (0..8).for_each(talk);
    until("the kernel relays the call", LIMIT, || (flows(&drawbridge) == 2.0).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    // The process is killed.
    drop(drawbridge);
    (10..30).for_each(talk);
    let drawbridge = start();
    assert_eq!(flows(&drawbridge), 2.0, "{}", drawbridge.log());
    (30..40).for_each(talk);
    alice.hang_up(&ok);
    bob.take("BYE");
    let rows = drawbridge.cdrs(1);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&row["recovered"], &row["ended_by"]), (&1.into(), &"caller".into()), "{row}");
    for side in ["a_packets", "b_packets"] {
        let packets = row[side].as_u64().unwrap();
        assert!((150..=190).contains(&packets), "150 since the kill, at most 190 in all: {row}");
    }
    until("every port is free", LIMIT, || {
        (drawbridge.metrics().sum("drawbridge_ports_in_use") == 0.0).then_some(())
    });
    assert_eq!(flows(&drawbridge), 0.0);
    drawbridge.stop();
    assert_eq!(pins.names(), Vec::<String>::new(), "a box that is told to end leaves nothing");
}
