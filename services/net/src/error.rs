//! What can go wrong with the net as a whole.

use std::io;
use std::net::SocketAddr;

/// Why the net cannot start or end.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// An address could not be had.
    #[error("listener {listener:?}: cannot listen on {transport} {address}: {}", reason(.source))]
    Bind {
        /// Its name.
        listener: String,
        /// `udp`, `tcp`, `tls`, `ws` or `wss`.
        transport: &'static str,
        /// Where it should listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A listener for TLS has nothing to show.
    #[error("listener {listener:?}: {transport} needs a certificate and its key")]
    Certificate {
        /// Its name.
        listener: String,
        /// `tls` or `wss`.
        transport: &'static str,
    },
    /// Peers cannot answer to an address that means "every address".
    #[error(
        "listener {listener:?}: {address} is no address that peers can send to: `advertise` must name one"
    )]
    Advertise {
        /// Its name.
        listener: String,
        /// Where it should listen.
        address: SocketAddr,
    },
    /// The parts do not fit together.
    #[error("expected {expected} {what}, got {got}")]
    Parts {
        /// Which parts.
        what: &'static str,
        /// How many there must be.
        expected: String,
        /// How many there are.
        got: usize,
    },
    /// The system has no more threads or descriptors.
    #[error("cannot start shard {shard}: {source}")]
    Start {
        /// Which one, from 0.
        shard: usize,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no thread for looking names up.
    #[error("cannot start looking names up: {source}")]
    Names {
        /// What the system says.
        source: io::Error,
    },
    /// A shard did not end when told to.
    #[error("shard {shard} does not end")]
    Stuck {
        /// Which one, from 0.
        shard: usize,
    },
    /// A shard failed; its calls are lost.
    #[error("shard {shard} has failed")]
    Failed {
        /// Which one, from 0.
        shard: usize,
    },
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use (does another process have it?)".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no such address on this machine".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need a privilege)".to_owned(),
        _ => error.to_string(),
    }
}
