//! The published races on real sockets: the running binary between two peers whose every message is written by the test.
//!
//! What these rows mean is decided in the Core and proven there in virtual time; here it is shown that nothing between
//! the socket and the Core undoes it. A peer is a [`party::Party`]; a test is named after its row in `docs/races.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod across;
mod bridge;
mod cancel_client;
mod cancel_server;
mod early;
mod forks;
mod media;
mod names;
mod offers;
mod party;
mod shards;
mod transfer;
