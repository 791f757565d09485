//! Real programs around the real `drawbridge`: SIPp, baresip, Chromium and PostgreSQL, started by the test and gone after it.
//!
//! A test makes a [`Place`] (addresses of its own and a folder), starts a [`Drawbridge`] there with a configuration, and
//! lets peers talk through it. Everything that waits has a limit, everything started is ended by its process id, and a
//! test that fails leaves its folder with all logs behind and says where. The harness panics instead of returning
//! errors: it is test code, and the first thing that is not as it should be is the answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod browser;
mod certificates;
mod clock;
mod crowd;
mod cut;
mod disk;
mod drawbridge;
mod http;
mod line;
mod load;
mod meddler;
mod phone;
mod place;
mod postgres;
mod process;
mod sip_log;
mod sipp;
mod skipped;
mod softphone;
mod tone;
mod wire;

pub use crate::browser::Browser;
pub use crate::certificates::Authority;
pub use crate::clock::WallClock;
pub use crate::crowd::{Book, Crowd, Seen};
pub use crate::cut::Cut;
pub use crate::disk::Disk;
pub use crate::drawbridge::{Drawbridge, Metrics, run_command};
pub use crate::http::{Answer, request};
pub use crate::line::{Line, Over};
pub use crate::load::{from_environment, to_the_carrier};
pub use crate::meddler::{Meddler, replace};
pub use crate::phone::Phone;
pub use crate::place::Place;
pub use crate::postgres::Postgres;
pub use crate::process::{Process, until};
pub use crate::sip_log::{Direction, Message};
pub use crate::sipp::{Outcome, Sipp, Sipping};
pub use crate::skipped::skipped;
pub use crate::softphone::{Heard, Softphone};
pub use crate::tone::{heard, heard_in, write_tone};
pub use crate::wire::Wire;
