//! What is left of the program when the relay ends, and what is said when it cannot begin.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use media::{Config, EngineChoice, KernelError, MediaError, start};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::network::{BOX, Network};

const CHILD: &str = "DRAWBRIDGE_TEST_RELAY";

fn config() -> Config {
    let address = BOX.parse().unwrap();
    let ports = 30_000..=30_099;
    Config { address, advertise: address, ports, engine: EngineChoice::Kernel, ..Config::default() }
}

pub fn attached(interface: &str) -> usize {
    SchedClassifier::query_tcx(interface, TcAttachType::Ingress).unwrap().1.len()
}

pub fn wait_for(programs: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while ["box0", "lo"].iter().any(|interface| attached(interface) != programs) {
        assert!(
            Instant::now() < deadline,
            "programs at box0: {}, at lo: {}",
            attached("box0"),
            attached("lo")
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Not a test but a process of one: a relay that somebody kills.
#[test]
fn relays_until_it_is_killed() {
    if std::env::var_os(CHILD).is_some() {
        let _relay = start(config(), 1, vec![Box::new(|| {})]).unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn a_relay_that_is_killed_leaves_no_program_at_any_interface() {
    let Some(_network) = Network::new() else { return };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "endings::relays_until_it_is_killed"])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(1);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(0);
}

#[test]
fn a_relay_that_is_dropped_leaves_no_program_either() {
    let Some(_network) = Network::new() else { return };
    let relay = start(config(), 1, vec![Box::new(|| {})]).unwrap();
    wait_for(1);
    drop(relay);
    wait_for(0);
}

#[test]
fn an_address_that_no_interface_has_up_is_named() {
    let Some(network) = Network::new() else { return };
    // The host has the address, and sockets may be bound to it.
    network.change(&["link", "add", "box1", "type", "veth", "peer", "name", "box2"]);
    network.change(&["address", "add", "10.79.0.1/24", "dev", "box1"]);
    let local = "10.79.0.1".parse().unwrap();
    let without = start(Config { address: local, advertise: local, ..config() }, 1, vec![Box::new(|| {})]);
    let said = without.err().unwrap();
    assert!(
        matches!(said, MediaError::Kernel(KernelError::Interface { address }) if address == local),
        "{said}"
    );
}

#[test]
fn auto_does_not_pass_by_ipsec() {
    let Some(network) = Network::new() else { return };
    let auto = || start(Config { engine: EngineChoice::Auto, ..config() }, 1, vec![Box::new(|| {})]).unwrap();
    let policy = |direction| {
        let selector = ["src", "10.77.0.1", "dst", "10.90.0.0/16", "dir", direction];
        network.change(&[&["xfrm", "policy", "add"], &selector[..], &["action", "allow"]].concat());
    };
    policy("in");
    let relay = auto();
    assert_eq!(attached("box0"), 1, "what comes in is no matter");
    drop(relay);
    wait_for(0);
    policy("out");
    let _relay = auto();
    assert_eq!(attached("box0"), 0);
}

/// On a thread of its own, which gives the privilege away for good.
#[test]
fn a_process_without_the_privilege_is_told_which_one_and_auto_goes_on_in_userspace() {
    let Some(network) = Network::new() else { return };
    let relay = network.enter_from_another_thread();
    std::thread::spawn(move || {
        relay();
        let mut kept = capabilities(None).unwrap();
        for set in [&mut kept.effective, &mut kept.permitted, &mut kept.inheritable] {
            set.remove(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
        }
        set_capabilities(None, kept).unwrap();
        let refused = start(config(), 1, vec![Box::new(|| {})]).err().unwrap();
        assert!(matches!(&refused, MediaError::Kernel(KernelError::Capability { .. })), "{refused}");
        assert_eq!(refused.to_string(), "media engine ebpf: the process lacks CAP_BPF");
        let auto = Config { engine: EngineChoice::Auto, ..config() };
        assert!(start(auto, 1, vec![Box::new(|| {})]).is_ok());
    })
    .join()
    .unwrap();
}

/// CAP_PERFMON lets the verifier be lenient; we do without.
#[test]
fn two_capabilities_are_enough_and_permitted_is_enough_of_them() {
    let Some(network) = Network::new() else { return };
    let relay = network.enter_from_another_thread();
    std::thread::spawn(move || {
        relay();
        let mut kept = capabilities(None).unwrap();
        let two = CapabilitySet::BPF | CapabilitySet::NET_ADMIN;
        kept.permitted &= two;
        kept.inheritable = CapabilitySet::empty();
        kept.effective = CapabilitySet::empty();
        set_capabilities(None, kept).unwrap();
        let started = start(config(), 1, vec![Box::new(|| {})]);
        assert!(started.is_ok(), "{:?}", started.err());
        assert_eq!(capabilities(None).unwrap().effective, CapabilitySet::empty(), "not kept");
    })
    .join()
    .unwrap();
}
