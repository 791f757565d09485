//! Streams on their way to the kernel and back. The caller holds the stream's lock throughout, so that orders, packets and
//! the looks for silence meet each direction in one pair of hands only.

use std::net::SocketAddr;

use call::Side;

use super::{Path, PathEnd, Shared};
use crate::kernel::{Adoption, Kernel, Offer};
use crate::ports::At;
use crate::stream::Stream;

impl Shared {
    /// A packet of `side` came, and the stream has seen it: whatever follows of that for the kernel.
    pub(super) fn settle(&self, path: &Path, side: Side, state: &mut Stream) {
        let Some(kernel) = &self.kernel else { return };
        self.recall(path, state);
        let Some((route, handover, limit)) = state.settled(side) else { return };
        let (Some(near), Some(far)) =
            (path.end_towards(side, route.source), path.end_towards(side.other(), route.destination))
        else {
            return;
        };
        let offer =
            Offer { slot: near.slot, local: self.port_of(near), from: self.port_of(far), route, limit };
        match kernel.take(&offer, &handover) {
            Ok(()) => state.handed_over(side, Some(route)),
            Err(error) => {
                tracing::debug!(%error, from = %route.source, to = %route.destination, "the kernel does not relay this stream");
                state.handed_over(side, None);
            }
        }
    }

    /// Goes on with what the kernel relays of this stream since before this process began, once both sides are described, and
    /// only where they are described as they were then.
    pub(crate) fn adopt(&self, path: &Path, state: &mut Stream) {
        let Some(kernel) = self.kernel.as_ref().filter(|_| state.is_described()) else { return };
        let left = [Side::A, Side::B].map(|side| {
            let mut ends = path.ends(side);
            ends.find_map(|end| kernel.left_in(end.slot).map(|route| (side, end, route)))
        });
        // Both first: each says where the other's packets go.
        for (side, _, route) in left.iter().flatten() {
            state.believe(*side, route.source);
            state.believe_target(side.other(), route.destination);
        }
        for (side, near, left) in left.into_iter().flatten() {
            let route = state.route(side).filter(|route| *route == left);
            let far = route.and_then(|route| path.end_towards(side.other(), route.destination));
            let adopted = match far.zip(route) {
                Some((far, route)) => {
                    let (local, from, limit) = (self.port_of(near), self.port_of(far), state.limit());
                    kernel.adopt(&Offer { slot: near.slot, local, from, route, limit })
                }
                None => kernel.reject(near.slot).map(Adoption::Returned),
            };
            match adopted {
                Ok(Adoption::GoesOn) => state.handed_over(side, Some(left)),
                Ok(Adoption::Returned(elsewhere)) => state.take_back(side, &elsewhere),
                Err(error) => {
                    tracing::error!(%error, "the kernel does not give a media stream of the process before this one back");
                }
            }
        }
    }

    /// Every session of the process before this one that goes on is open and described: what else the kernel relays for ports
    /// of this shard ends.
    pub(crate) fn end_what_is_left(&self, shard: usize) {
        let Some(kernel) = &self.kernel else { return };
        let pairs = self.plan.share(shard as u32, self.shards.len() as u32);
        kernel.let_go_of(pairs.flat_map(|pair| [At::First, At::Other].map(|at| self.plan.slot(pair, at))));
    }

    /// See [`Kernel::renew`].
    pub(super) fn renew(&self) {
        self.kernel.iter().for_each(Kernel::renew);
    }

    /// Takes back what must not stay with the kernel: a side has moved, is on hold, or its packets have to be read.
    pub(crate) fn recall(&self, path: &Path, state: &mut Stream) {
        let Some(kernel) = &self.kernel else { return };
        for side in [Side::A, Side::B] {
            if state.must_return(side) {
                give_back(kernel, path, side, state);
            }
        }
    }

    /// Takes back all of a stream.
    pub(crate) fn recall_all(&self, path: &Path, state: &mut Stream) {
        let Some(kernel) = &self.kernel else { return };
        for side in [Side::A, Side::B] {
            give_back(kernel, path, side, state);
        }
    }

    /// Media packets that have come from a side, wherever they were counted.
    pub(crate) fn heard(&self, path: &Path, side: Side, state: &mut Stream) -> u64 {
        let flow = state.kernel_route(side).and_then(|route| path.end_towards(side, route.source));
        let progress = flow.and_then(|end| self.kernel.as_ref()?.look(end.slot).ok());
        match (progress, &self.kernel) {
            (Some(progress), Some(kernel)) if progress.codec_changed => {
                give_back(kernel, path, side, state);
                state.heard(side)
            }
            (progress, _) => state.heard(side) + progress.map_or(0, |progress| progress.heard),
        }
    }

    /// Changes with the routes of the host; streams in the kernel have to ask for theirs again then.
    pub(crate) fn routes(&self) -> u64 {
        self.kernel.as_ref().map_or(0, Kernel::generation)
    }

    /// Whether there is anything to take back when routes change.
    pub(super) fn has_flows(&self) -> bool {
        self.kernel.as_ref().is_some_and(Kernel::has_flows)
    }

    pub(super) fn port_of(&self, end: &PathEnd) -> SocketAddr {
        let (pair, at) = self.plan.place(end.slot);
        SocketAddr::new(self.address(at), self.plan.rtp_port(pair))
    }
}

fn give_back(kernel: &Kernel, path: &Path, side: Side, state: &mut Stream) {
    let flow = state.kernel_route(side).and_then(|route| path.end_towards(side, route.source));
    let Some(end) = flow else { return };
    match kernel.give_back(end.slot) {
        Ok(elsewhere) => state.take_back(side, &elsewhere),
        Err(error) => {
            tracing::error!(%error, "the kernel does not give a media stream back");
            state.handed_over(side, None);
        }
    }
}
