//! The program in the kernel: loaded, sized for the ports, attached to interfaces. It goes when the process does: a tcx link
//! ends with its last descriptor.

use std::net::IpAddr;

use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::abi::{COUNTS, FLOW, TOTALS};
use super::ipsec;
use super::netlink::{Interface, Kind, Netlink};
use crate::ports::{At, Pair, Plan};
use crate::{Config, EngineChoice};

/// Compiled by `bpf/build.sh`, which `make bpf` compares with.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/relay.bpf.o");

/// The version that brought tcx, whose links do not outlive their process.
const OLDEST: (u32, u32) = (6, 6);

/// Why the kernel does not relay here.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Too old a system.
    #[error("Linux {}.{} or newer is needed, this is {came}", OLDEST.0, OLDEST.1)]
    Version {
        /// What it is.
        came: String,
    },
    /// The process may not do it.
    #[error("the process lacks {missing}")]
    Capability {
        /// The names of the capabilities.
        missing: &'static str,
    },
    /// The system refused the maps or the program.
    #[error("the system refuses the program: {why}")]
    Load {
        /// In the system's words.
        why: String,
    },
    /// What leaves this host may have to be encrypted.
    #[error("this host has IPsec policies for what it sends, and the program would pass by them")]
    Ipsec,
    /// No interface to attach to.
    #[error("no interface that is up has the address {address}, or none of them speaks Ethernet")]
    Interface {
        /// The media address.
        address: IpAddr,
    },
    /// An interface did not take the program.
    #[error("interface {name} does not take the program: {why}")]
    Attach {
        /// Which one.
        name: String,
        /// In the system's words.
        why: String,
    },
    /// Interfaces and routes cannot be asked for.
    #[error("the system does not say which interfaces it has: {0}")]
    Netlink(#[from] std::io::Error),
}

/// The loaded program. Dropping it takes it off every interface.
pub(super) struct Program {
    pub(super) flows: Array<MapData, [u8; FLOW]>,
    pub(super) counts: Array<MapData, [u8; COUNTS]>,
    pub(super) totals: PerCpuArray<MapData, [u8; TOTALS]>,
    /// Where it is attached.
    pub(super) interfaces: Vec<String>,
    /// Holds the links.
    _loaded: Ebpf,
}

impl Program {
    pub(super) fn start(config: &Config, plan: Plan, netlink: &Netlink) -> Result<Program, KernelError> {
        check_version()?;
        let before = raise_capabilities()?;
        let started = load(config, plan, netlink);
        if let Some(before) = before {
            // Maps are written through their descriptors, which takes no privilege.
            let _ = set_capabilities(None, before);
        }
        started
    }
}

fn load(config: &Config, plan: Plan, netlink: &Netlink) -> Result<Program, KernelError> {
    if ipsec::has_output_policies()? {
        if config.engine != EngineChoice::Kernel {
            return Err(KernelError::Ipsec);
        }
        tracing::warn!("media in the kernel passes by the IPsec policies of this host, unencrypted");
    }
    let all = netlink.interfaces()?;
    let chosen = choose(config, &all, netlink)?;
    let slots = plan.pairs() * config.addresses().count() as u32;
    let base = |v6: bool| {
        let at = [At::First, At::Other].into_iter().zip(config.addresses());
        let mine = at.into_iter().find(|(_, (address, _))| address.is_ipv6() == v6);
        mine.map_or(u32::MAX, |(at, _)| plan.slot(Pair(0), at).0)
    };
    let mut loaded = EbpfLoader::new()
        // Nothing in it depends on the layout of this kernel's own types.
        .btf(None)
        .override_global("first_port", &u32::from(plan.rtp_port(Pair(0))), true)
        .override_global("pairs", &plan.pairs(), true)
        .override_global("slots4", &base(false), true)
        .override_global("slots6", &base(true), true)
        .map_max_entries("FLOWS", slots)
        .map_max_entries("COUNTS", slots)
        .load(OBJECT)
        .map_err(refused)?;
    let flows = map(&mut loaded, "FLOWS")?.try_into().map_err(refused)?;
    let counts = map(&mut loaded, "COUNTS")?.try_into().map_err(refused)?;
    let totals = map(&mut loaded, "TOTALS")?.try_into().map_err(refused)?;
    let program = loaded.program_mut("drawbridge").ok_or_else(|| absent("drawbridge"))?;
    let program: &mut SchedClassifier = program.try_into().map_err(refused)?;
    program.load().map_err(refused)?;
    for name in &chosen {
        // Behind programs that are there: what they drop is not media, and what this one takes is nobody else's.
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        program
            .attach_with_options(name, TcAttachType::Ingress, order)
            .map_err(|error| KernelError::Attach { name: name.clone(), why: because(&error) })?;
    }
    Ok(Program { flows, counts, totals, interfaces: chosen, _loaded: loaded })
}

fn map(loaded: &mut Ebpf, name: &str) -> Result<aya::maps::Map, KernelError> {
    loaded.take_map(name).ok_or_else(|| absent(name))
}

fn absent(name: &str) -> KernelError {
    KernelError::Load { why: format!("the object has no {name}") }
}

/// The interfaces that have the media addresses, or all that are up where the address is everyone's; and the loopback, by
/// which packets from this host come whatever their addresses are.
fn choose(config: &Config, all: &[Interface], netlink: &Netlink) -> Result<Vec<String>, KernelError> {
    let mut chosen: Vec<String> = Vec::new();
    for (address, _) in config.addresses() {
        let holders = if address.is_unspecified() { Vec::new() } else { netlink.holders(address)? };
        let fits = |interface: &&Interface| {
            let here = if address.is_loopback() {
                interface.kind == Kind::Loopback
            } else {
                holders.is_empty() || holders.contains(&interface.index)
            };
            here && interface.is_up && interface.kind != Kind::Other
        };
        let before = chosen.len();
        chosen.extend(all.iter().filter(fits).map(|interface| interface.name.clone()));
        if chosen.len() == before {
            return Err(KernelError::Interface { address });
        }
    }
    let loopback = all.iter().filter(|interface| interface.kind == Kind::Loopback && interface.is_up);
    chosen.extend(loopback.map(|interface| interface.name.clone()));
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

fn check_version() -> Result<(), KernelError> {
    let name = rustix::system::uname();
    let came = name.release().to_string_lossy();
    let mut numbers = came.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST { Err(KernelError::Version { came: came.into_owned() }) } else { Ok(()) }
}

/// Makes what the process may have effective for this thread. Returns what was before, if that was something else.
fn raise_capabilities() -> Result<Option<rustix::thread::CapabilitySets>, KernelError> {
    let before = capabilities(None).map_err(std::io::Error::from)?;
    let has = |set: CapabilitySet| {
        (
            set.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN),
            set.contains(CapabilitySet::NET_ADMIN),
        )
    };
    match has(before.effective | before.permitted) {
        (true, true) => {}
        (false, true) => return Err(KernelError::Capability { missing: "CAP_BPF" }),
        (true, false) => return Err(KernelError::Capability { missing: "CAP_NET_ADMIN" }),
        (false, false) => return Err(KernelError::Capability { missing: "CAP_BPF and CAP_NET_ADMIN" }),
    }
    if has(before.effective) == (true, true) {
        return Ok(None);
    }
    let mut raised = before;
    raised.effective |=
        raised.permitted & (CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
    set_capabilities(None, raised).map_err(std::io::Error::from)?;
    Ok(Some(before))
}

fn refused(error: impl Into<Box<dyn std::error::Error>>) -> KernelError {
    KernelError::Load { why: because(&*error.into()) }
}

/// An error with its causes, in one line.
fn because(error: &dyn std::error::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.dedup();
    let text = causes.join(": ");
    // What the verifier says is long; the reason stands before its statistics.
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let rest: Vec<&str> = lines.collect();
    match rest.iter().position(|line| line.starts_with("verification time") || line.starts_with("processed "))
    {
        Some(end) => format!("{first} {}", rest.iter().take(end).next_back().copied().unwrap_or_default()),
        None => [&[first], rest.as_slice()].concat().join(" "),
    }
}
