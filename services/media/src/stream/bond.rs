//! Whether a side's media port is for one peer alone, so that its socket may be connected.
//!
//! A connected socket sends without a look at the routing table, which is a good part of what a packet costs. But it is
//! also deaf to everybody else, for whom the port gets a second socket. So it must wait until nobody else can be right. That
//! is when packets come from the very address that was described: nothing outranks it. A source that only earned its
//! latch may yet give way to the described one, and a side that receives elsewhere than it sends from has two addresses.
//! Neither is ever connected.

use std::net::SocketAddr;

/// So many packets in a row before the system calls to connect and to disconnect have paid for themselves twice. A stream
/// that the kernel takes has gone there before.
const RIPE: u8 = 64;

/// What a media port knows of its one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bond {
    /// So many packets in a row came from the described address.
    Loose(u8),
    /// The socket is connected to this address.
    Connected(SocketAddr),
}

impl Default for Bond {
    fn default() -> Bond {
        Bond::Loose(0)
    }
}

impl Bond {
    /// Counts an accepted packet. `described`: it came from the address that the side's description names.
    pub(crate) fn heard(&mut self, described: bool) {
        if let Bond::Loose(run) = self {
            *run = if described { run.saturating_add(1) } else { 0 };
        }
    }

    /// Whether the time has come to connect.
    pub(crate) fn is_ripe(self) -> bool {
        matches!(self, Bond::Loose(run) if run >= RIPE)
    }

    /// Whether the socket is connected to `to`.
    pub(crate) fn is_with(self, to: SocketAddr) -> bool {
        self == Bond::Connected(to)
    }
}
