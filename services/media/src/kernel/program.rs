//! The program in the kernel: loaded, sized for the ports, attached to interfaces. It goes when the process does, since a tcx
//! link ends with its last descriptor; unless it is pinned (`pins`), in which case the next process goes on with it.

use std::hash::BuildHasher;
use std::net::IpAddr;

use aya::maps::{Array, Map, MapData, PerCpuArray};
use aya::programs::links::FdLink;
use aya::programs::tc::{SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use foldhash::fast::FixedState;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::abi::{COUNTS, FLOW, TOTALS};
use super::ipsec;
use super::netlink::{Interface, Kind, Netlink};
use super::pins::{self, Pins, Place};
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
    /// It cannot be kept for the process after this one.
    #[error("nothing can be kept in {directory} for the process after this one: {why}")]
    Pins {
        /// Where.
        directory: String,
        /// What was expected there, or the system's words.
        why: String,
    },
    /// A process that lives relays for the same ports.
    #[error("another process relays for these ports, by {directory}")]
    Held {
        /// What it holds.
        directory: String,
    },
    /// What a raw socket sends may go another way than what the ports' sockets do.
    #[error(
        "routing rules of this host (ip rule) go by protocol or port, which a raw socket's packets do not show"
    )]
    Rules,
    /// There is no socket for all ports.
    #[error("no socket hears or speaks for all media ports: {0}")]
    Funnel(#[source] std::io::Error),
    /// No address that packets can be steered by.
    #[error("media.address has no IPv4 address of its own")]
    NoAddress,
    /// Not wanted.
    #[error("configured")]
    Configured,
    /// Interfaces and routes cannot be asked for.
    #[error("the system does not say which interfaces it has: {0}")]
    Netlink(#[from] std::io::Error),
}

/// The program with what it is told and tells. Dropping it takes it off every interface, unless it is left for the next process.
pub(super) struct Program {
    pub(super) flows: Array<MapData, [u8; FLOW]>,
    pub(super) counts: Array<MapData, [u8; COUNTS]>,
    pub(super) totals: PerCpuArray<MapData, [u8; TOTALS]>,
    /// Until when it relays, in nanoseconds of the monotonic clock.
    pub(super) lease: Array<MapData, u64>,
    /// Where it is attached.
    pub(super) interfaces: Vec<String>,
    pub(super) hold: Hold,
}

/// What keeps it in the kernel.
pub(super) enum Hold {
    /// The descriptors of this process.
    Process { _loaded: Ebpf },
    /// Names in a file system.
    Pins(Pins),
}

impl Program {
    pub(super) fn start(config: &Config, plan: Plan, netlink: &Netlink) -> Result<Program, KernelError> {
        check_version()?;
        privileged(|| begin(config, plan, netlink))
    }
}

/// Does what takes privileges with all that the process may have.
pub(crate) fn privileged<T>(work: impl FnOnce() -> Result<T, KernelError>) -> Result<T, KernelError> {
    let before = raise_capabilities()?;
    let done = work();
    if let Some(before) = before {
        // Maps are written through their descriptors, which takes no privilege.
        let _ = set_capabilities(None, before);
    }
    done
}

fn begin(config: &Config, plan: Plan, netlink: &Netlink) -> Result<Program, KernelError> {
    if ipsec::has_output_policies()? {
        if config.engine != EngineChoice::Kernel {
            return Err(KernelError::Ipsec);
        }
        tracing::warn!("media in the kernel passes by the IPsec policies of this host, unencrypted");
    }
    let all = netlink.interfaces()?;
    let chosen = choose(config, &all, netlink)?;
    let constants = Constants::of(config, plan);
    let Some(root) = config.pins.as_ref().filter(|_| config.survive_restart) else {
        return load(&constants, &chosen);
    };
    match Pins::claim(root, &constants.place(config), &constants.digest(OBJECT)) {
        Ok(pins) => keep(pins, &constants, &chosen),
        Err(why) if config.engine != EngineChoice::Kernel => {
            tracing::warn!(%why, "media does not survive a restart");
            load(&constants, &chosen)
        }
        Err(why) => Err(why),
    }
}

/// Ends what a process before this one has left in the kernel for these ports, for one that does not go on with it.
pub(super) fn forget(config: &Config, plan: Plan) {
    let Some(root) = &config.pins else { return };
    if let Err(why) = pins::sweep(root, &Constants::of(config, plan).place(config)) {
        tracing::warn!(%why, "media that a process left behind may still be relayed");
    }
}

/// What the program is made for.
#[derive(Clone, Copy, Debug, Hash)]
struct Constants {
    first_port: u32,
    pairs: u32,
    /// The slot of the first pair in each family; all ones: none.
    slots4: u32,
    slots6: u32,
    slots: u32,
}

impl Constants {
    fn of(config: &Config, plan: Plan) -> Constants {
        let base = |v6: bool| {
            let at = [At::First, At::Other].into_iter().zip(config.addresses());
            let mine = at.into_iter().find(|(_, (address, _))| address.is_ipv6() == v6);
            mine.map_or(u32::MAX, |(at, _)| plan.slot(Pair(0), at).0)
        };
        Constants {
            first_port: u32::from(plan.rtp_port(Pair(0))),
            pairs: plan.pairs(),
            slots4: base(false),
            slots6: base(true),
            slots: plan.pairs() * config.addresses().count() as u32,
        }
    }

    fn place(&self, config: &Config) -> Place {
        Place::here(config.addresses().map(|(address, _)| address), self.first_port, self.pairs)
    }

    /// Another one for another program, whose maps are none of ours. The hash need not be the same on every machine.
    fn digest(&self, object: &[u8]) -> String {
        format!("{:016x}", FixedState::default().hash_one((self, object)))
    }

    fn load(&self) -> Result<Ebpf, KernelError> {
        EbpfLoader::new()
            // Nothing in it depends on the layout of this kernel's own types.
            .btf(None)
            .override_global("first_port", &self.first_port, true)
            .override_global("pairs", &self.pairs, true)
            .override_global("slots4", &self.slots4, true)
            .override_global("slots6", &self.slots6, true)
            .map_max_entries("FLOWS", self.slots)
            .map_max_entries("COUNTS", self.slots)
            .load(OBJECT)
            .map_err(refused)
    }
}

/// For the life of this process.
fn load(constants: &Constants, chosen: &[Interface]) -> Result<Program, KernelError> {
    let mut loaded = constants.load()?;
    let maps = all(NAMES.map(|name| loaded.take_map(name).ok_or_else(|| absent(name))))?;
    let program = classifier(&mut loaded)?;
    program.load().map_err(refused)?;
    for interface in chosen {
        attach(program, interface)?;
    }
    let mut program = Program::of(maps, chosen, Hold::Process { _loaded: loaded })?;
    program.lease.set(0, u64::MAX, 0).map_err(refused)?;
    Ok(program)
}

/// Goes on with what the process before this one left, or leaves the same for the one after.
fn keep(mut pins: Pins, constants: &Constants, chosen: &[Interface]) -> Result<Program, KernelError> {
    if pins.is_whole() {
        match adopt(&pins, chosen) {
            Ok(maps) => return Program::of(maps, chosen, Hold::Pins(pins)),
            Err(why) => tracing::warn!(%why, "media of the process before this one is not gone on with"),
        }
        pins.clear();
    }
    let mut loaded = constants.load()?;
    let maps = NAMES.map(|name| {
        let map = loaded.take_map(name).ok_or_else(|| absent(name))?;
        map.pin(pins.path(name)).map_err(refused)?;
        Ok(map)
    });
    let maps = all(maps)?;
    let program = classifier(&mut loaded)?;
    program.load().map_err(refused)?;
    program.pin(pins.path(PROGRAM)).map_err(refused)?;
    for interface in chosen {
        pin_link(program, &pins, interface)?;
    }
    Program::of(maps, chosen, Hold::Pins(pins))
}

/// The maps of what is there, attached where it should be.
fn adopt(pins: &Pins, chosen: &[Interface]) -> Result<[Map; 4], KernelError> {
    let map = |name| Map::from_map_data(MapData::from_pin(pins.path(name))?);
    let maps = all(NAMES.map(|name| map(name).map_err(refused)))?;
    let mut program = SchedClassifier::from_pin(pins.path(PROGRAM)).map_err(refused)?;
    let id = program.info().map_err(refused)?.id();
    for interface in chosen {
        // A name does not say that the link holds: interfaces go, and others get their number.
        let attached = SchedClassifier::query_tcx(&interface.name, TcAttachType::Ingress).map_err(refused)?.1;
        if !attached.iter().any(|program| program.id() == id) {
            pins.unlink(interface.index);
            pin_link(&mut program, pins, interface)?;
        }
    }
    pins.keep_links(|index| chosen.iter().any(|interface| interface.index == index));
    Ok(maps)
}

fn pin_link(program: &mut SchedClassifier, pins: &Pins, interface: &Interface) -> Result<(), KernelError> {
    let link = attach(program, interface)?;
    let link = FdLink::try_from(program.take_link(link).map_err(refused)?).map_err(refused)?;
    link.pin(pins.link(interface.index)).map_err(refused)?;
    Ok(())
}

fn all<T>(maps: [Result<T, KernelError>; 4]) -> Result<[T; 4], KernelError> {
    let [flows, counts, totals, lease] = maps;
    Ok([flows?, counts?, totals?, lease?])
}

/// The maps, in the order of the fields.
const NAMES: [&str; 4] = ["FLOWS", "COUNTS", "TOTALS", LEASE_MAP];
pub(super) const LEASE_MAP: &str = "LEASE";
/// Of what is pinned it is the last: there once everything else is.
pub(super) const PROGRAM: &str = "drawbridge";

impl Program {
    fn of(maps: [Map; 4], chosen: &[Interface], hold: Hold) -> Result<Program, KernelError> {
        let [flows, counts, totals, lease] = maps;
        Ok(Program {
            flows: flows.try_into().map_err(refused)?,
            counts: counts.try_into().map_err(refused)?,
            totals: totals.try_into().map_err(refused)?,
            lease: lease.try_into().map_err(refused)?,
            interfaces: chosen.iter().map(|interface| interface.name.clone()).collect(),
            hold,
        })
    }
}

fn classifier(loaded: &mut Ebpf) -> Result<&mut SchedClassifier, KernelError> {
    let program = loaded.program_mut(PROGRAM).ok_or_else(|| absent(PROGRAM))?;
    program.try_into().map_err(refused)
}

fn attach(
    program: &mut SchedClassifier,
    interface: &Interface,
) -> Result<SchedClassifierLinkId, KernelError> {
    // Behind programs that are there: what they drop is not media, and what this one takes is nobody else's.
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    program
        .attach_with_options(&interface.name, TcAttachType::Ingress, order)
        .map_err(|error| KernelError::Attach { name: interface.name.clone(), why: because(&error) })
}

pub(super) fn absent(name: &str) -> KernelError {
    KernelError::Load { why: format!("the object has no {name}") }
}

/// The interfaces that have the media addresses, or all that are up where the address is everyone's; and the loopback, by
/// which packets from this host come whatever their addresses are.
fn choose(config: &Config, all: &[Interface], netlink: &Netlink) -> Result<Vec<Interface>, KernelError> {
    let mut chosen: Vec<Interface> = Vec::new();
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
        chosen.extend(all.iter().filter(fits).cloned());
        if chosen.len() == before {
            return Err(KernelError::Interface { address });
        }
    }
    let loopback = all.iter().filter(|interface| interface.kind == Kind::Loopback && interface.is_up);
    chosen.extend(loopback.cloned());
    chosen.sort_by(|one, other| one.name.cmp(&other.name));
    chosen.dedup_by(|one, other| one.index == other.index);
    Ok(chosen)
}

pub(super) fn check_version() -> Result<(), KernelError> {
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
    let wanted = before.permitted
        & (CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::SYS_ADMIN);
    if before.effective.contains(wanted) {
        return Ok(None);
    }
    let mut raised = before;
    raised.effective |= wanted;
    set_capabilities(None, raised).map_err(std::io::Error::from)?;
    Ok(Some(before))
}

pub(super) fn refused(error: impl Into<Box<dyn std::error::Error>>) -> KernelError {
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
