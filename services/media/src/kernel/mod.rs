//! Settled streams relayed by the kernel: a program at the interfaces changes addresses and counts, and no packet comes up
//! to a socket (`bpf/relay.bpf.c`).
//!
//! A direction of a stream is a *flow*, in the place of the port where it arrives: `program` has loaded and attached the
//! program, `abi` is what it is told and tells, `netlink` says by which interface an address is reached. All of a flow's
//! state goes with it to the kernel and comes back with it. Sockets stay bound: they hold the ports, and get what the
//! program passes on. Where flows outlive their process (`pins`), the next one finds them (`left`).

mod abi;
mod ipsec;
mod left;
mod netlink;
mod pins;
mod program;
mod rules;
mod steering;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::abi::{Counts, Earlier, Flow};
pub(crate) use self::left::Adoption;
use self::left::LeftBehind;
use self::netlink::{Kind, Netlink};
pub use self::program::KernelError;
pub(crate) use self::program::privileged;
use self::program::{Hold, Program};
pub(crate) use self::steering::Steering;
use crate::Config;
use crate::ports::{Plan, SlotId};
use crate::stream::{Elsewhere, Handover, Limit, Route};

/// The whole of a value is read or written under the lock that the program takes (`BPF_F_LOCK`).
const LOCKED: u64 = 4;
/// So many packets in a row of another payload type are a change of codec, as in userspace.
const CODEC_CHANGED: u32 = 100;

/// Often enough that a process which is slow for once does not lose its lease.
const RENEWED_EVERY: Duration = Duration::from_secs(1);

/// The engine in the kernel.
pub(crate) struct Kernel {
    program: Mutex<Program>,
    interfaces: Vec<String>,
    netlink: Netlink,
    /// Interfaces that lead nowhere but here.
    loopbacks: Vec<u32>,
    tos: u8,
    flows: AtomicUsize,
    /// Counts changes of links and routes.
    generation: AtomicU64,
    /// When the lease was renewed last, in nanoseconds of the monotonic clock; all ones: it never ends.
    renewed: AtomicU64,
    /// What the program had counted for the process before this one.
    before: KernelTotals,
    left: LeftBehind,
}

/// A direction of a stream for the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// The port where it arrives.
    pub(crate) slot: SlotId,
    /// Its address; unspecified where the relay listens to all.
    pub(crate) local: SocketAddr,
    /// The port that it leaves from, likewise.
    pub(crate) from: SocketAddr,
    pub(crate) route: Route,
    pub(crate) limit: Limit,
}

/// What one flow has done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Media packets that came.
    pub(crate) heard: u64,
    /// Another codec is spoken now, whose clock only userspace can find out.
    pub(crate) codec_changed: bool,
}

/// Since the start, and gauges of now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KernelTotals {
    pub(crate) packets: u64,
    pub(crate) octets: u64,
    pub(crate) limited: u64,
    pub(crate) flows: usize,
}

impl Kernel {
    /// Loads and attaches the program for the ports of the plan.
    pub(crate) fn start(config: &Config, plan: Plan) -> Result<Kernel, KernelError> {
        let netlink = Netlink::open()?;
        let program = Program::start(config, plan, &netlink)?;
        let loopbacks =
            netlink.interfaces()?.into_iter().filter(|interface| interface.kind == Kind::Loopback);
        let survives = matches!(program.hold, Hold::Pins(_));
        let left = LeftBehind::find(&program, config, plan);
        let kernel = Kernel {
            interfaces: program.interfaces.clone(),
            before: totals(&program),
            program: Mutex::new(program),
            loopbacks: loopbacks.map(|interface| interface.index).collect(),
            netlink,
            // The two low bits of the octet are ECN (RFC 3168 §5).
            tos: config.dscp.unwrap_or(0) << 2,
            flows: AtomicUsize::new(left.count()),
            generation: AtomicU64::new(0),
            renewed: AtomicU64::new(if survives { 0 } else { u64::MAX }),
            left,
        };
        kernel.renew();
        Ok(kernel)
    }

    /// Whether its flows outlive the process.
    pub(crate) fn survives(&self) -> bool {
        matches!(self.program().hold, Hold::Pins(_))
    }

    /// The process ends by a failure: the next one is to go on with what is relayed.
    pub(crate) fn leave(&self) {
        if let Hold::Pins(pins) = &mut self.program().hold {
            pins.leave();
        }
    }

    /// Nothing is relayed any more, whoever else still holds on to this.
    pub(crate) fn end(&self) {
        if let Hold::Pins(pins) = &mut self.program().hold {
            pins.end();
        }
    }

    /// For a relay whose flows do not: ends those of the process before it.
    pub(crate) fn forget(config: &Config, plan: Plan) {
        program::forget(config, plan);
    }

    /// Puts off the end of the program, which would otherwise come a minute after that of the process. For whoever looks
    /// whether all goes well, and at least once a second while there are flows.
    pub(crate) fn renew(&self) {
        let renewed = self.renewed.load(Relaxed);
        // What the process before this one left is not put off before it is known whose it is: a process that fails as
        // soon as it has started would do so for ever.
        if renewed == u64::MAX || self.left.has_unclaimed() {
            return;
        }
        let now = pins::clock();
        if now.saturating_sub(renewed) < RENEWED_EVERY.as_nanos() as u64 && renewed != 0 {
            return;
        }
        self.renewed.store(now, Relaxed);
        if let Err(error) = self.program().lease.set(0, now + pins::LEASE.as_nanos() as u64, 0) {
            tracing::error!(%error, "the program in the kernel cannot be told to go on");
        }
    }

    /// Where the program is attached.
    pub(crate) fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// Has the kernel relay a direction from now on. Nothing is changed on an error.
    pub(crate) fn take(&self, offer: &Offer, handover: &Handover) -> io::Result<()> {
        let flow = self.flow(offer, handover)?;
        let slot = offer.slot.0;
        self.renew();
        let mut program = self.program();
        program.counts.set(slot, Counts::begin(handover), LOCKED).map_err(io::Error::other)?;
        // An element is written without a lock, word by word; so everything else is there before the flow is active.
        program.flows.set(slot, flow.encode(false), 0).map_err(io::Error::other)?;
        program.flows.set(slot, flow.encode(true), 0).map_err(io::Error::other)?;
        self.flows.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Has the kernel leave a direction to userspace again. Returns what it did, save what is being counted on another
    /// processor at this very instant.
    pub(crate) fn give_back(&self, slot: SlotId) -> io::Result<Elsewhere> {
        let mut program = self.program();
        // Nothing else of it changes: a packet that has found it active may still be underway by it.
        let flow = program.flows.get(&slot.0, 0).map_err(io::Error::other)?;
        program.flows.set(slot.0, abi::switched_off(flow), 0).map_err(io::Error::other)?;
        self.flows.fetch_sub(1, Relaxed);
        let counts = program.counts.get(&slot.0, LOCKED).map_err(io::Error::other)?;
        let mut elsewhere = Counts::decode(&counts).elsewhere;
        if let Some(earlier) = self.left.is_returned(slot) {
            earlier.take_from(&mut elsewhere.reception);
        }
        Ok(elsewhere)
    }

    /// What a flow has done so far.
    pub(crate) fn look(&self, slot: SlotId) -> io::Result<Progress> {
        let counts = self.program().counts.get(&slot.0, LOCKED).map_err(io::Error::other)?;
        let Counts { elsewhere, others } = Counts::decode(&counts);
        Ok(Progress { heard: elsewhere.packets + elsewhere.limited, codec_changed: others >= CODEC_CHANGED })
    }

    /// A number that is another one when links or routes have changed, and with them perhaps the interfaces of flows.
    pub(crate) fn generation(&self) -> u64 {
        if self.netlink.changed() {
            self.generation.fetch_add(1, Relaxed);
        }
        self.generation.load(Relaxed)
    }

    pub(crate) fn has_flows(&self) -> bool {
        self.flows.load(Relaxed) > 0
    }

    pub(crate) fn totals(&self) -> KernelTotals {
        let mut totals = KernelTotals { flows: self.flows.load(Relaxed), ..KernelTotals::default() };
        let KernelTotals { packets, octets, limited, flows: _ } = self::totals(&self.program());
        totals.packets = packets.saturating_sub(self.before.packets);
        totals.octets = octets.saturating_sub(self.before.octets);
        totals.limited = limited.saturating_sub(self.before.limited);
        totals
    }

    fn flow(&self, offer: &Offer, handover: &Handover) -> io::Result<Flow> {
        let Route { source: peer, destination, muxed } = offer.route;
        if [peer, destination].iter().any(|end| is_link_local(end.ip())) {
            // The same address may be reached by several interfaces.
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        let local = self.settle(offer.local, peer.ip())?;
        let source = self.settle(offer.from, destination.ip())?;
        let interface = self.netlink.route(destination.ip(), Some(source.ip()))?.interface;
        let ingress = self.netlink.route(peer.ip(), Some(local.ip()))?.interface;
        Ok(Flow {
            peer,
            local,
            source,
            destination,
            interface,
            stays: self.loopbacks.contains(&interface),
            ingress,
            mtu: self.netlink.mtu(interface)?,
            muxed,
            tos: self.tos,
            interval: offer.limit.interval_nanos(),
            burst: offer.limit.burst_nanos(),
            payload_type: handover.payload_type,
            rate: handover.rate,
            earlier: Earlier::of(handover),
        })
    }

    /// Of all the host's addresses, the one by which it speaks with a peer.
    fn settle(&self, local: SocketAddr, peer: IpAddr) -> io::Result<SocketAddr> {
        if !local.ip().is_unspecified() {
            return Ok(local);
        }
        let source = self.netlink.route(peer, None)?.source;
        let ip = source.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        Ok(SocketAddr::new(ip, local.port()))
    }

    fn program(&self) -> MutexGuard<'_, Program> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Over all processes that the program has had.
fn totals(program: &Program) -> KernelTotals {
    let mut totals = KernelTotals::default();
    if let Ok(per_processor) = program.totals.get(&0, 0) {
        for [packets, octets, limited] in per_processor.iter().map(abi::totals) {
            totals.packets += packets;
            totals.octets += octets;
            totals.limited += limited;
        }
    }
    totals
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
