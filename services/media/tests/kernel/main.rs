//! The engine in the kernel, with real packets between network namespaces that each test makes for itself.
//!
//! It takes root (or CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN for the namespaces); without it the tests say that they were
//! skipped, and why; with DRAWBRIDGE_TEST_KERNEL set, as `make test` sets it where they should run, they fail instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod endings;
#[path = "../harness/mod.rs"]
mod harness;
mod network;
mod relaying;
mod steering;
mod surviving;
