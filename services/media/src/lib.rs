//! Media: RTP and RTCP relayed between the two legs of a call, apart from signalling.
//!
//! [`start`] gives each shard of the Core an [`Engine`] handle and the process one [`Relay`]. A handle reserves ports and
//! takes descriptions; the packets themselves never meet a shard. They are moved by a few dedicated threads (`relay`)
//! which ask a pure `stream` what to do with each datagram:
//!
//! ```text
//!   shard 0 ── Engine ──┐  ports, sessions            kernel
//!   shard 1 ── Engine ──┤                               │ epoll, recvfrom, sendto
//!                       └── streams (one lock each) ── relay threads
//! ```
//!
//! * `stream/`: source filter, latching, when a port is for one peer alone, loss and jitter, silence. No sockets, no clock.
//! * `ports`: the pool of port pairs with its quarantine. Plain data as well.
//! * `relay/`: sockets and threads.
//! * `kernel/`: the program that relays settled streams without a socket, where the system allows it.
//! * `engine`: the handle of one shard.

#![forbid(unsafe_code)]

mod engine;
mod kernel;
mod ports;
mod recording;
mod relay;
mod stream;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use call::{Addresses, Engine, Families, RemoteStream};

pub use crate::kernel::KernelError;
pub use crate::recording::{Layout, RecordingLimits, RecordingTotals};
pub use crate::relay::{Relay, Totals};

/// What is read of packets of anybody, for those who look for packets that are read wrongly.
pub mod reading {
    pub use crate::stream::{Check, Datagram, RoundTrip, RtpHeader, check, classify_media, is_rtcp};
}

/// Tells a shard to call [`Engine::poll`]. Called on a relay thread: it must not block.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// How to relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The local address of the ports. IPv4 or IPv6, not both: `::` takes IPv6 only.
    pub address: IpAddr,
    /// What descriptions name in place of `address`, for a box behind a one-to-one NAT.
    pub advertise: IpAddr,
    /// The same in the other family, for sides that are told of it. `None`: all media is in the family of `address`.
    pub other: Option<OtherFamily>,
    /// The ports to use at each of the addresses, shared evenly by the shards. A stream needs four: two pairs.
    pub ports: RangeInclusive<u16>,
    /// How long a watched side may send nothing before [`call::MediaReport::Silent`].
    pub timeout: Duration,
    /// How long after the answer a side of which nothing was ever heard is reported ([`call::MediaReport::OneWay`]).
    pub one_way_after: Duration,
    /// Where recordings go; `None`: nothing is recorded.
    pub recordings: Option<RecordingLimits>,
    /// How long to let packets gather before all of them are moved, which is what makes thousands of streams cheap: one
    /// wake-up per tick in place of one per packet. Adds half of it to the delay on average. Zero: wake for each packet.
    pub tick: Duration,
    /// How long a port rests after its call before another call may have it.
    pub quarantine: Duration,
    /// Relay threads; at least one, and no more than there are shards.
    pub threads: usize,
    /// Differentiated services code point of everything sent (RFC 2474; 46 is Expedited Forwarding). `None`: unmarked.
    pub dscp: Option<u8>,
    /// The most packets per second that one side may send in one stream; what is beyond is dropped. Zero: no limit.
    pub rate: u32,
    /// Who relays streams that have settled.
    pub engine: EngineChoice,
    /// Whether the datagrams of all ports are brought to one socket of each relay thread, where the process may have that.
    pub steer: bool,
    /// Whether what the kernel relays is kept for the next process with these ports, if this one is killed: its packets are
    /// relayed meanwhile, for a minute at most.
    pub survive_restart: bool,
    /// The directory for that, in a BPF file system; what a process that survives has left there ends with the start of one
    /// that does not.
    pub pins: Option<PathBuf>,
}

/// Who relays streams that are plain and have settled. Everything else is relayed by sockets in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The kernel, where it can be had.
    Auto,
    /// Sockets.
    Userspace,
    /// The kernel; without it the relay does not start.
    Kernel,
}

/// The relay's second address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherFamily {
    /// The local address.
    pub address: IpAddr,
    /// What descriptions name in its place.
    pub advertise: IpAddr,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
            other: None,
            ports: 30_000..=39_999,
            timeout: Duration::from_secs(60),
            one_way_after: Duration::from_secs(5),
            recordings: None,
            tick: Duration::from_millis(1),
            quarantine: Duration::from_secs(5),
            threads: 1,
            dscp: None,
            rate: 0,
            engine: EngineChoice::Userspace,
            steer: true,
            survive_restart: false,
            pins: None,
        }
    }
}

impl Config {
    /// In which families media can be relayed.
    pub fn families(&self) -> Families {
        self.advertised().families()
    }

    /// Where packets for another call of this box go: behind a NAT the address that peers know may lead nowhere from
    /// here.
    fn seen_inside(&self, mut remote: RemoteStream) -> RemoteStream {
        if !remote.is_inside() {
            return remote;
        }
        for (address, advertise) in self.addresses().filter(|(address, advertise)| address != advertise) {
            let local = match address {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                address => address,
            };
            for end in [&mut remote.rtp, &mut remote.rtcp] {
                if end.ip() == advertise {
                    end.set_ip(local);
                }
            }
        }
        remote
    }

    /// Each local address with what descriptions name in its place.
    fn addresses(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let other = self.other.map(|OtherFamily { address, advertise }| (address, advertise));
        std::iter::once((self.address, self.advertise)).chain(other)
    }

    /// What descriptions name.
    fn advertised(&self) -> Addresses {
        self.addresses().fold(Addresses::default(), |all, (_, advertise)| all.with(advertise))
    }
}

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// There must be a shard to serve, and a waker for each.
    #[error("media for {shards} shards needs as many wakers and at least one, {wakers} came")]
    Wakers {
        /// How many shards.
        shards: usize,
        /// How many wakers.
        wakers: usize,
    },
    /// Too few ports for one call on each shard.
    #[error(
        "media ports {}-{} hold {pairs} pairs of an even and an odd port; {shards} shards need at least {}",
        ports.start(), ports.end(), shards * 2
    )]
    Ports {
        /// The range configured.
        ports: RangeInclusive<u16>,
        /// The pairs it holds.
        pairs: u32,
        /// The shards to share them.
        shards: usize,
    },
    /// Two addresses that must be of one family are not, or two that must not be are.
    #[error("media address {came} is not of the family expected, {expected}")]
    Family {
        /// What was expected.
        expected: &'static str,
        /// What was configured.
        came: IpAddr,
    },
    /// The code point does not fit in six bits.
    #[error("media dscp {came} is not a code point: expected 0 to 63")]
    Dscp {
        /// What was configured.
        came: u8,
    },
    /// The local address cannot be used.
    #[error("media address {address} cannot be bound: {source}")]
    Address {
        /// The address configured.
        address: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The engine in the kernel was asked for and cannot be had.
    #[error("media engine ebpf: {0}")]
    Kernel(#[from] KernelError),
    /// Recordings cannot be kept where they should.
    #[error("recordings cannot be kept in {directory}: {source}")]
    Recordings {
        /// The directory configured.
        directory: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a thread, an epoll instance or an eventfd.
    #[error("media relay thread {thread} cannot be started: {source}")]
    Thread {
        /// Which one, from 0.
        thread: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// Starts the relay threads. Returns one handle per shard, in order, and the relay itself, which stops the threads when
/// dropped. `wake` has a waker per shard: it is called while sessions of that shard are watched, often enough to notice
/// silence in time.
///
/// Raises the process's soft limit of file descriptors to the hard one: each stream needs two to four sockets.
///
/// # Errors
///
/// [`MediaError`] when the configuration does not fit or the system refuses; nothing is left running then.
pub fn start(
    config: Config,
    shards: usize,
    wake: Vec<Wake>,
) -> Result<(Vec<Box<dyn Engine + Send>>, Relay), MediaError> {
    relay::start(config, shards, wake)
}
