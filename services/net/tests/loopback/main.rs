//! The net with real Cores and real sockets on loopback: what a peer sees on the wire, and what the operator is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod calls;
mod certificates;
mod datagrams;
mod failover;
mod guard;
mod hairpin;
mod operator;
mod smuggling;
mod start;
mod streams;
mod tls;
mod transfers;
mod websocket;
mod websocket_out;
