//! The last control packet of a stream, where the box ends it.

use call::Side;

use super::{Path, moving};

impl Path {
    /// Tells a side that whoever it has heard control of is gone (RFC 3550 §6.6).
    pub(crate) fn part_from(&self, side: Side) {
        let Some(farewell) = self.state().farewell(side) else { return };
        let socket = self.end_towards(side, farewell.to).and_then(|end| end.socket(farewell.out));
        if let Some(socket) = socket {
            // What gets lost the side finds out by waiting, as it would without it.
            moving::transmit(socket, farewell.packet(), farewell.to, false);
        }
    }
}
