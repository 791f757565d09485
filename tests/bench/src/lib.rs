//! Load generators and probes that compare the box with its peers; `README.md` beside says how to run them.
//!
//! Two programs: `rtpload` holds calls through a relay and streams packets both ways, `callprobe` measures how long a
//! caller waits for the ringing. Both play caller and callee in one process and one thread, so that both ends of a
//! measurement read the same clock.

pub mod agent;
pub mod arguments;
pub mod batch;
pub mod histogram;
pub mod network;
pub mod ng;
pub mod processor;
pub mod stream;
