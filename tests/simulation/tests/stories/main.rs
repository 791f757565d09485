//! Single races told as whole stories: every phone, packet and moment is chosen by the test, the oracle watches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bridge;
mod cancel;
mod forking;
mod journals;
mod refusals;
mod registered;
mod story;
mod streams;
mod transfer;
