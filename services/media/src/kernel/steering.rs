//! Datagrams of many ports at one socket of the thread that relays them (`bpf/steer.bpf.c`): a program that the system asks
//! which socket a packet is for. It goes when the process does, since its link ends with the last descriptor.
//!
//! Sockets of the ports stay bound: they hold the ports, and get what the program leaves to them.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::{Array, MapData, SockMap};
use aya::programs::SkLookup;
use aya::{Ebpf, EbpfLoader};

use super::program::{KernelError, absent, check_version, refused};
use super::{ipsec, rules};
use crate::ports::{Pair, Plan};

/// Compiled by `bpf/build.sh`, which `make bpf` compares with.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/steer.bpf.o");

/// `struct port` of the program: its thread first, then what the program counts.
const PORT: usize = 24;

/// The program, asked for every datagram that comes to this network namespace.
pub(crate) struct Steering {
    ports: Mutex<Array<MapData, [u8; PORT]>>,
    first_port: u16,
    _loaded: Ebpf,
}

impl Steering {
    /// Steers nothing yet. `sockets` are those of the threads, in their order.
    pub(crate) fn start(
        address: Ipv4Addr,
        plan: Plan,
        sockets: &[&UdpSocket],
    ) -> Result<Steering, KernelError> {
        // Older ones refuse to have maps written by who has given his privileges up.
        check_version()?;
        // A raw socket names no ports, which policies may go by: what they would encrypt would leave in the clear.
        if ipsec::has_output_policies()? {
            return Err(KernelError::Ipsec);
        }
        if rules::go_by_port()? {
            return Err(KernelError::Rules);
        }
        let first_port = plan.rtp_port(Pair(0));
        let ports = plan.pairs() * 2;
        let mut loaded = EbpfLoader::new()
            .btf(None)
            .override_global("first_port", &u32::from(first_port), true)
            .override_global("ports", &ports, true)
            .override_global("address", &u32::from_ne_bytes(address.octets()), true)
            .map_max_entries("PORTS", ports)
            .map_max_entries("SOCKETS", sockets.len() as u32)
            .load(OBJECT)
            .map_err(refused)?;
        let mut take = |name| loaded.take_map(name).ok_or_else(|| absent(name));
        let ports = Mutex::new(take("PORTS")?.try_into().map_err(refused)?);
        let mut threads: SockMap<MapData> = take("SOCKETS")?.try_into().map_err(refused)?;
        for (thread, socket) in (0..).zip(sockets) {
            threads.set(thread, *socket, 0).map_err(refused)?;
        }
        let program: &mut SkLookup =
            loaded.program_mut(PROGRAM).ok_or_else(|| absent(PROGRAM))?.try_into().map_err(refused)?;
        program.load().map_err(refused)?;
        // Of this thread: a test may be in a namespace of its own.
        program.attach(File::open("/proc/thread-self/ns/net")?).map_err(refused)?;
        Ok(Steering { ports, first_port, _loaded: loaded })
    }

    /// Has what comes to a port brought to that thread; `None`: to the port's own socket.
    pub(crate) fn steer(&self, port: u16, thread: Option<usize>) {
        let mut value = [0; PORT];
        let number = thread.map_or(0, |thread| thread as u32 + 1);
        value[..4].copy_from_slice(&number.to_ne_bytes());
        let at = u32::from(port.wrapping_sub(self.first_port));
        if let Err(error) = self.ports().set(at, value, 0) {
            // The port's own socket goes on to hear everything.
            tracing::error!(port, %error, "a media port cannot be steered");
        }
    }

    fn ports(&self) -> MutexGuard<'_, Array<MapData, [u8; PORT]>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PROGRAM: &str = "drawbridge_steer";
