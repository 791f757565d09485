//! In whose hands the packets of one side are: the relay's, or the kernel's once the stream is plain and settled.
//!
//! A stream begins in userspace, where latching, encryption and everything that looks into a packet is. When so many media
//! packets in a row were plain RTP that only had to change their addresses, the kernel can do that alone: what it needs is
//! a [`Route`]. It is taken back when the route is not that any more. What the kernel does not take, be it control, a
//! stranger or a packet with IP options, still reaches the port's socket; a stream of which everything does is kept.

use std::net::SocketAddr;

/// So many packets in a row before the orders to the kernel and back have paid for themselves.
const SETTLED: u8 = 32;
/// So many packets that the kernel should have taken and did not: it never sees this stream (it comes by another
/// interface) or cannot handle it. Fewer were on their way when it was told.
const STRAYS: u8 = 200;

/// All that the kernel must know to relay what one side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Who may send.
    pub(crate) source: SocketAddr,
    /// Where it goes.
    pub(crate) destination: SocketAddr,
    /// RTCP comes to the same port, and is not to be taken for media.
    pub(crate) muxed: bool,
}

/// See above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hands {
    /// The relay's; so many packets in a row were plain.
    Ours(u8),
    /// The kernel's, and so many packets came to the relay nevertheless.
    Kernels(Route, u8),
    /// The relay's for good, until the terms change.
    Kept,
}

impl Default for Hands {
    fn default() -> Hands {
        Hands::Ours(0)
    }
}

impl Hands {
    /// A media packet came to the relay.
    pub(crate) fn came(&mut self, plain: bool) {
        match self {
            Hands::Ours(run) => *run = if plain { run.saturating_add(1) } else { 0 },
            Hands::Kernels(_, strays) => *strays = strays.saturating_add(1),
            Hands::Kept => {}
        }
    }

    /// Whether the time has come to hand over.
    pub(crate) fn is_settled(self) -> bool {
        matches!(self, Hands::Ours(run) if run >= SETTLED)
    }

    /// The route that the kernel has.
    pub(crate) fn route(self) -> Option<Route> {
        match self {
            Hands::Kernels(route, _) => Some(route),
            Hands::Ours(_) | Hands::Kept => None,
        }
    }

    /// The kernel has given it back.
    pub(crate) fn returned(&mut self) {
        let missed = matches!(self, Hands::Kernels(_, strays) if *strays >= STRAYS);
        *self = if missed { Hands::Kept } else { Hands::default() };
    }

    /// Whether it is the kernel's, and must not stay so while `route` is right.
    pub(crate) fn must_return(self, route: Option<Route>) -> bool {
        match self {
            Hands::Kernels(given, strays) => route != Some(given) || strays >= STRAYS,
            Hands::Ours(_) | Hands::Kept => false,
        }
    }
}
