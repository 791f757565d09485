//! A world in virtual time for the Core: phones, a network that loses and reorders, a relay, routing and names that
//! answer late, an operator, strangers, and an oracle that holds every step against what a call must never do.
//!
//! Nothing here opens a socket, starts a thread or reads a clock: a seed is a whole story, and the same seed tells it
//! again, byte for byte. [`World::seeded`] makes the world of a seed, [`World::run`] lets it go to its end; the first
//! rule that is broken stops it with a [`Failure`], which shows the call as a ladder and says how to see it again.
//! Tests that tell one particular race write its [`script`]s themselves and read the [`Tape`] afterwards.

mod chance;
pub mod coverage;
mod network;
mod oracle;
mod phone;
mod reader;
mod relay;
pub mod script;
pub mod sweep;
mod tape;
mod world;

pub use chance::Chance;
pub use network::Network;
pub use oracle::{Breach, Oracle};
pub use phone::{PASSWORD, Phone};
pub use relay::Relay;
pub use tape::{Line, Tape, brief};
pub use world::{BOX, Cut, Deed, Failure, Habits, STRANGER, Summary, World, caller_address, carrier_address};
