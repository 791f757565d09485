//! Streams in the kernel whose process is killed, and what the next process makes of them.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use call::{Family, MediaId, MediaOrder, MediaReport, PortPair, RemoteStream, Side, StreamPorts};
use media::{Config, EngineChoice, KernelError, MediaError, start};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use smallvec::smallvec;

use crate::endings::{attached, wait_for};
use crate::harness::{Bench, Phone, expect_nothing, receive, rtp};
use crate::network::{BOX, Network, PEERS};

/// What the process of its own that is killed is told: where its pins are, and where its phones; of a call that another had
/// before, its ports.
const PINS: &str = "DRAWBRIDGE_TEST_PINS";
const PHONES: &str = "DRAWBRIDGE_TEST_PHONES";
const PORTS: &str = "DRAWBRIDGE_TEST_PORTS";

/// A BPF file system of the test's own.
struct FileSystem(PathBuf);

impl FileSystem {
    fn new() -> FileSystem {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("drawbridge-pins-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        mount("bpf", &path, "bpf", MountFlags::empty(), None).unwrap();
        FileSystem(path)
    }

    /// Below which directories are made.
    fn root(&self) -> PathBuf {
        self.0.join("drawbridge")
    }

    fn directories(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root()).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn only(&self) -> PathBuf {
        let mut directories = self.directories();
        assert_eq!(directories.len(), 1, "{directories:?}");
        directories.remove(0)
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn config(pins: PathBuf) -> Config {
    let address: IpAddr = BOX.parse().unwrap();
    Config {
        address,
        advertise: address,
        ports: 30_000..=30_099,
        engine: EngineChoice::Kernel,
        survive_restart: true,
        pins: Some(pins),
        ..Config::default()
    }
}

fn pinned<V: aya::Pod>(directory: &Path, name: &str) -> Array<MapData, V> {
    let map = MapData::from_pin(directory.join(name)).unwrap();
    Map::from_map_data(map).unwrap().try_into().unwrap()
}

/// Directions that the kernel relays.
fn active(directory: &Path) -> usize {
    let flows: Array<MapData, [u8; 136]> = pinned(directory, "FLOWS");
    flows.iter().filter(|flow| flow.as_ref().unwrap()[..4] != [0; 4]).count()
}

/// Not a test but a process of one: a relay with a call that somebody kills.
#[test]
fn relays_a_call_until_it_is_killed() {
    let (Ok(pins), Ok(phones)) = (std::env::var(PINS), std::env::var(PHONES)) else { return };
    let ends: Vec<SocketAddr> = phones.split(' ').map(|end| end.parse().unwrap()).collect();
    let remote = |rtp: SocketAddr, rtcp: SocketAddr| RemoteStream {
        rtp,
        rtcp,
        signalling: rtp.ip(),
        sends: true,
        receives: true,
        is_rtp: true,
        is_audio: true,
    };
    let mut bench = Bench::with(config(pins.into()));
    let before = std::env::var(PORTS).ok().map(|text| pairs(&text));
    let ports = match before {
        None => bench.open(1),
        Some(ports) => {
            reopen(&mut bench, 1, ports);
            ports
        }
    };
    bench.describe(1, Side::A, remote(ends[0], ends[1]));
    bench.describe(1, Side::B, remote(ends[2], ends[3]));
    bench.engine.restored();
    eprintln!("PORTS {} {}", ports.a.rtp, ports.b.rtp);
    std::thread::sleep(Duration::from_secs(60));
}

fn pairs(text: &str) -> StreamPorts {
    let mut ports = text.split(' ').map(|port| port.parse().unwrap());
    let mut pair = || ports.next().map(|rtp: u16| PortPair { rtp, rtcp: rtp + 1 }).unwrap();
    StreamPorts { a: pair(), b: pair() }
}

fn reopen(bench: &mut Bench, session: u64, ports: StreamPorts) {
    let (ports, families) = (smallvec![ports], [Family::V4; 2]);
    let reports = bench.order(MediaOrder::Reopen { session: MediaId(session), ports, families });
    assert!(matches!(reports[..], [MediaReport::Opened { .. }]), "{reports:?}");
}

/// A call that two phones talk in, and the process that has it.
struct Story {
    network: Network,
    files: FileSystem,
    child: Child,
    a: Phone,
    b: Phone,
    ports: StreamPorts,
    next: u16,
}

impl Story {
    /// Until the call is the kernel's.
    fn begin() -> Option<Story> {
        let network = Network::new()?;
        let files = FileSystem::new();
        let phone = |address| Phone { rtp: network.socket(address), rtcp: network.socket(address) };
        let (a, b) = (phone(PEERS[0]), phone(PEERS[1]));
        let (child, ports) = process(&files, [&a, &b].map(described), None);
        let mut story = Story { network, files, child, a, b, ports, next: 0 };
        story.talk(40);
        let deadline = Instant::now() + Duration::from_secs(10);
        while active(&story.files.only()) < 2 {
            assert!(Instant::now() < deadline, "the kernel does not relay the call");
            story.talk(1);
        }
        Some(story)
    }

    /// Another process, which goes on with the call, and may be killed as well.
    fn begin_again(&mut self) {
        let ends = [&self.a, &self.b].map(described);
        (self.child, _) = process(&self.files, ends, Some(self.ports));
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// So many packets each way, each of which arrives.
    fn talk(&mut self, packets: u16) {
        for _ in 0..packets {
            let packet = rtp(self.next);
            let from = |port| SocketAddr::new(BOX.parse().unwrap(), port);
            self.a.rtp.send_to(&packet, (BOX, self.ports.a.rtp)).unwrap();
            assert_eq!(receive(&self.b.rtp), (packet.clone(), from(self.ports.b.rtp)));
            self.b.rtp.send_to(&packet, (BOX, self.ports.b.rtp)).unwrap();
            assert_eq!(receive(&self.a.rtp), (packet, from(self.ports.a.rtp)));
            self.next += 1;
        }
    }

    fn is_mute(&mut self) {
        self.a.rtp.send_to(&rtp(self.next), (BOX, self.ports.a.rtp)).unwrap();
        expect_nothing(&self.b.rtp);
        self.next += 1;
    }

    fn next_process(&self) -> Bench {
        Bench::with(config(self.files.root()))
    }

    fn reopen(&self, bench: &mut Bench) {
        reopen(bench, 7, self.ports);
    }

    /// The call goes on in another process, the only one that does.
    fn restore(&self, bench: &mut Bench) {
        self.reopen(bench);
        bench.describe(7, Side::A, described(&self.a));
        bench.describe(7, Side::B, described(&self.b));
        bench.engine.restored();
    }

    fn ends(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        self.ends();
    }
}

/// A process with a call between these two, and the ports of the call.
fn process(files: &FileSystem, ends: [RemoteStream; 2], before: Option<StreamPorts>) -> (Child, StreamPorts) {
    let ends: Vec<String> =
        ends.iter().flat_map(|end| [end.rtp, end.rtcp]).map(|end| end.to_string()).collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "surviving::relays_a_call_until_it_is_killed", "--nocapture"])
        .env(PINS, files.root())
        .env(PHONES, ends.join(" "))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(StreamPorts { a, b }) = before {
        command.env(PORTS, format!("{} {}", a.rtp, b.rtp));
    }
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ports = said.find_map(|line| line.strip_prefix("PORTS ").map(pairs));
    (child, ports.expect("the process tells its ports"))
}

fn described(phone: &Phone) -> RemoteStream {
    let rtp = phone.rtp.local_addr().unwrap();
    RemoteStream { signalling: rtp.ip(), ..phone.description() }
}

#[test]
fn packets_go_on_without_a_process_and_the_next_one_counts_them() {
    let Some(mut story) = Story::begin() else { return };
    let before = story.next;
    story.kill();
    story.talk(50);
    // Three are lost while nobody is there.
    story.next += 3;
    story.talk(10);
    let mut bench = story.next_process();
    assert_eq!((attached("box0"), attached("lo")), (1, 1), "the program that was there");
    story.reopen(&mut bench);
    bench.describe(7, Side::A, described(&story.a));
    assert_eq!(bench.relay.totals().kernel_flows, 2, "neither given back nor taken twice");
    bench.describe(7, Side::B, described(&story.b));
    bench.engine.restored();
    assert_eq!(active(&story.files.only()), 2);
    story.talk(30);
    let totals = bench.totals_when(|totals| totals.packets >= 60);
    assert_eq!((totals.packets, totals.kernel_packets, totals.kernel_flows), (60, 60, 2), "{totals:?}");
    let (from_a, from_b) = bench.close(7);
    let most = u64::from(story.next) - 3;
    let least = u64::from(story.next - before) + 1;
    assert!((least..=most).contains(&from_a.packets), "{least} to {most}: {from_a:?}");
    assert_eq!((from_a.lost, from_b.lost), (3, 3), "{from_a:?} {from_b:?}");
    assert_eq!(active(&story.files.only()), 0);
    story.is_mute();
    drop(bench);
    wait_for(0);
    assert_eq!(story.files.directories(), Vec::<PathBuf>::new());
}

#[test]
fn a_call_that_survives_twice_is_counted_since_the_kernel_has_it() {
    let Some(mut story) = Story::begin() else { return };
    for _ in 0..2 {
        story.kill();
        story.talk(20);
        story.next += 1;
        story.talk(1);
        story.begin_again();
        story.talk(10);
    }
    story.kill();
    let mut bench = story.next_process();
    story.restore(&mut bench);
    let (from_a, from_b) = bench.close(7);
    assert!((62..u64::from(story.next)).contains(&from_a.packets), "{from_a:?}");
    assert_eq!((from_a.lost, from_b.lost), (2, 2));
}

/// None of its media comes by a socket, where the first packet opens the ports of control.
#[test]
fn a_call_that_survived_has_its_reports() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let mut bench = story.next_process();
    story.restore(&mut bench);
    let report = [&[0x80, 201, 0, 1][..], &[0, 0, 0, 9]].concat();
    let StreamPorts { a, b } = story.ports;
    for (from, ours, to, theirs) in [(&story.a, a, &story.b, b), (&story.b, b, &story.a, a)] {
        from.rtcp.send_to(&report, (BOX, ours.rtcp)).unwrap();
        let source = SocketAddr::new(BOX.parse().unwrap(), theirs.rtcp);
        assert_eq!(receive(&to.rtcp), (report.clone(), source));
    }
    story.talk(5);
    assert_eq!(bench.relay.totals().kernel_flows, 2);
}

#[test]
fn a_call_that_survived_is_held_and_resumed_like_any_other() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let mut bench = story.next_process();
    story.restore(&mut bench);
    // Through userspace, and to the kernel again.
    bench.describe(7, Side::B, RemoteStream { receives: false, ..described(&story.b) });
    story.is_mute();
    bench.describe(7, Side::B, described(&story.b));
    story.talk(40);
    let totals = bench.totals_when(|totals| totals.kernel_flows == 2);
    assert_eq!(totals.kernel_flows, 2, "{totals:?}");
    story.talk(10);
    let (from_a, from_b) = bench.close(7);
    assert_eq!(
        (from_a.lost, from_b.lost),
        (0, 1),
        "what was said during the hold was heard of A: {from_a:?}"
    );
}

/// It has sent nothing yet, and what it described is not where it will send from.
#[test]
fn a_call_that_was_held_when_the_process_died_is_resumed() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let mut bench = story.next_process();
    story.reopen(&mut bench);
    // The word of the hold was kept, and the relay died before it was told.
    bench.describe(7, Side::A, described(&story.a));
    bench.describe(7, Side::B, RemoteStream { receives: false, ..described(&story.b) });
    bench.engine.restored();
    story.is_mute();
    bench.describe(7, Side::B, described(&story.b));
    story.talk(40);
    // What came meanwhile was heard, and not passed on.
    assert_eq!(bench.close(7).0.lost, 0);
}

#[test]
fn a_side_that_was_never_heard_is_still_heard_where_it_turns_out_to_be() {
    let Some(network) = Network::new() else { return };
    let files = FileSystem::new();
    let phone = |address| Phone { rtp: network.socket(address), rtcp: network.socket(address) };
    let (a, b, behind) = (phone(PEERS[0]), phone(PEERS[1]), phone(PEERS[1]));
    let (mut child, ports) = process(&files, [&a, &b].map(described), None);
    let mut next = 0;
    while active(&files.only()) < 1 {
        assert!(next < 1000, "the kernel does not relay what one side says");
        a.rtp.send_to(&rtp(next), (BOX, ports.a.rtp)).unwrap();
        receive(&b.rtp);
        next += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut bench = Bench::with(config(files.root()));
    reopen(&mut bench, 7, ports);
    bench.describe(7, Side::A, described(&a));
    bench.describe(7, Side::B, described(&b));
    bench.engine.restored();
    assert_eq!(bench.relay.totals().kernel_flows, 1);
    // Another port of the same host, as behind a NAT.
    behind.rtp.send_to(&rtp(7), (BOX, ports.b.rtp)).unwrap();
    assert_eq!(receive(&a.rtp).0, rtp(7));
    a.rtp.send_to(&rtp(next), (BOX, ports.a.rtp)).unwrap();
    assert_eq!(receive(&behind.rtp).0, rtp(next));
}

#[test]
fn what_no_call_comes_back_for_ends_once_all_are_restored() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let mut bench = story.next_process();
    assert_eq!(bench.relay.totals().kernel_flows, 2);
    story.talk(5);
    bench.engine.restored();
    assert_eq!(bench.relay.totals().kernel_flows, 0);
    assert_eq!(active(&story.files.only()), 0);
    story.is_mute();
    // Whose ports it gets does not matter.
    let ports = bench.open(8);
    bench.describe(8, Side::A, described(&story.a));
    bench.describe(8, Side::B, described(&story.b));
    story.ports = ports;
    story.talk(60);
    assert_eq!(bench.close(8).0.packets, 60);
}

#[test]
fn a_call_whose_other_side_moved_meanwhile_is_relayed_to_where_that_is() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    story.talk(5);
    let mut bench = story.next_process();
    let address = PEERS[2];
    let moved = Phone { rtp: story.network.socket(address), rtcp: story.network.socket(address) };
    story.reopen(&mut bench);
    bench.describe(7, Side::A, described(&story.a));
    bench.describe(7, Side::B, described(&moved));
    bench.engine.restored();
    assert_eq!(bench.relay.totals().kernel_flows, 0);
    story.a.rtp.send_to(&rtp(story.next), (BOX, story.ports.a.rtp)).unwrap();
    assert_eq!(receive(&moved.rtp).0, rtp(story.next));
    expect_nothing(&story.b.rtp);
    assert!(bench.close(7).0.packets >= 6, "what the kernel had relayed is counted");
}

#[test]
fn a_process_that_fails_to_start_leaves_the_streams_to_the_next() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    drop(story.next_process());
    story.talk(5);
    let mut bench = story.next_process();
    story.restore(&mut bench);
    story.talk(5);
    assert_eq!(bench.relay.totals().kernel_flows, 2);
}

#[test]
fn the_ports_of_a_process_that_lives_are_refused_by_name() {
    let Some(story) = Story::begin() else { return };
    let refused = start(config(story.files.root()), 1, vec![Box::new(|| {})]).err().unwrap();
    assert!(matches!(&refused, MediaError::Kernel(KernelError::Held { .. })), "{refused}");
    let said = refused.to_string();
    assert!(said.contains(&story.files.only().display().to_string()), "{said}");
    assert_eq!(active(&story.files.only()), 2);
}

#[test]
fn without_a_process_for_too_long_nothing_is_relayed_and_whoever_starts_next_removes_it() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let left = story.files.only();
    let mut lease: Array<MapData, u64> = pinned(&left, "LEASE");
    assert!(lease.get(&0, 0).unwrap() > 0);
    // Of another place: who might come back to what has not run out.
    let elsewhere = || Config { ports: 31_000..=31_099, ..config(story.files.root()) };
    drop(start(elsewhere(), 1, vec![Box::new(|| {})]).unwrap());
    assert_eq!(story.files.directories(), [left.as_path()]);
    lease.set(0, 1, 0).unwrap();
    drop(lease);
    drop(start(elsewhere(), 1, vec![Box::new(|| {})]).unwrap());
    assert_eq!(story.files.directories(), Vec::<PathBuf>::new());
    wait_for(0);
    story.is_mute();
}

#[test]
fn a_lease_that_has_run_out_stops_the_program_until_its_calls_are_back() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let mut lease: Array<MapData, u64> = pinned(&story.files.only(), "LEASE");
    lease.set(0, 1, 0).unwrap();
    story.is_mute();
    let mut bench = story.next_process();
    story.is_mute();
    assert_eq!(lease.get(&0, 0).unwrap(), 1, "starts alone do not keep it alive");
    story.restore(&mut bench);
    story.talk(5);
    assert_eq!(bench.relay.totals().kernel_flows, 2);
}

#[test]
fn a_process_with_some_of_the_ports_ends_what_the_one_with_all_of_them_left() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let left = story.files.only();
    let config = Config { ports: 30_000..=30_049, ..config(story.files.root()) };
    let _relay = start(config, 1, vec![Box::new(|| {})]).unwrap();
    assert_ne!(story.files.only(), left);
    wait_for(1);
    story.is_mute();
}

#[test]
fn a_shard_that_fails_leaves_its_streams_to_the_next_process() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let (ports, ends, root) = (story.ports, [&story.a, &story.b].map(described), story.files.root());
    let enter = story.network.enter_from_another_thread();
    let failed = std::thread::spawn(move || {
        enter();
        let Bench { engine, relay, now } = Bench::with(config(root));
        // As the box does: the shard has the engine, and somebody else the relay.
        let shard = std::thread::spawn(move || {
            let mut reports = Vec::new();
            let mut engine = engine;
            let reopen = |order| engine.order(order, now, &mut reports);
            let session = MediaId(7);
            let described = [Side::A, Side::B].into_iter().zip(ends).map(|(side, end)| {
                MediaOrder::Describe { session, stream: 0, side, remote: Some(end), protection: None }
            });
            let first = MediaOrder::Reopen { session, ports: smallvec![ports], families: [Family::V4; 2] };
            std::iter::once(first).chain(described).for_each(reopen);
            engine.restored();
            panic!("a shard fails, as this test wants");
        });
        assert!(shard.join().is_err());
        relay.leave();
    });
    failed.join().unwrap();
    story.talk(5);
    let bench = story.next_process();
    assert_eq!(bench.relay.totals().kernel_flows, 2);
}

#[test]
fn what_is_left_and_damaged_is_not_gone_on_with() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    std::fs::remove_file(story.files.only().join("COUNTS")).unwrap();
    let bench = story.next_process();
    assert_eq!((attached("box0"), bench.relay.totals().kernel_flows), (1, 0));
    story.is_mute();
}

#[test]
fn what_another_version_of_the_program_has_left_is_not_gone_on_with() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let left = story.files.only();
    let (place, _) = left.to_str().unwrap().rsplit_once('_').unwrap();
    std::fs::rename(&left, format!("{place}_0123456789abcdef")).unwrap();
    let bench = story.next_process();
    assert_eq!(story.files.only(), left);
    assert_eq!((attached("box0"), bench.relay.totals().kernel_flows), (1, 0));
    story.is_mute();
}

#[test]
fn a_process_that_does_not_survive_ends_what_the_one_before_it_left() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let config = Config { survive_restart: false, ..config(story.files.root()) };
    let _relay = start(config, 1, vec![Box::new(|| {})]).unwrap();
    wait_for(1);
    assert_eq!(story.files.directories(), Vec::<PathBuf>::new());
    story.is_mute();
}

#[test]
fn a_process_that_relays_by_sockets_ends_what_the_one_before_it_left() {
    let Some(mut story) = Story::begin() else { return };
    story.kill();
    let config = Config { engine: EngineChoice::Userspace, ..config(story.files.root()) };
    let _relay = start(config, 1, vec![Box::new(|| {})]).unwrap();
    wait_for(0);
    assert_eq!(story.files.directories(), Vec::<PathBuf>::new());
    story.is_mute();
}

#[test]
fn pins_elsewhere_than_in_a_bpf_file_system_are_refused_and_auto_goes_on_without() {
    let Some(_network) = Network::new() else { return };
    let pins = std::env::temp_dir().join("drawbridge-no-bpf");
    let refused = start(config(pins.clone()), 1, vec![Box::new(|| {})]).err().unwrap().to_string();
    assert!(refused.contains("expected a BPF file system") && refused.contains("no-bpf"), "{refused}");
    let auto = Config { engine: EngineChoice::Auto, ..config(pins.clone()) };
    let _relay = start(auto, 1, vec![Box::new(|| {})]).unwrap();
    assert_eq!(attached("box0"), 1);
    assert!(!pins.exists());
}
