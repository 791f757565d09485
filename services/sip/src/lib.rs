//! SIP and SDP as pure data.
//!
//! Messages are an index over the received bytes, the four transactions of RFC 3261 §17 are state machines that are
//! told the time, dialogs and digest are values. Nothing here opens a socket, reads a clock or draws a random number.

mod time;
mod transport;

pub use time::Time;
pub use transport::Transport;

/// T1, T2 and T4 (RFC 3261 §17, Table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Round-trip estimate.
    pub t1: std::time::Duration,
    /// The longest retransmission interval.
    pub t2: std::time::Duration,
    /// The longest a message stays in the network.
    pub t4: std::time::Duration,
}
