//! What must hold of any bytes whatever, wherever the box reads bytes of strangers.
//!
//! A [`Target`] is a reader with its properties: a function that takes any bytes and panics when a property does not
//! hold. `make fuzz` lets libFuzzer look for such bytes, led by what they reach in the code; the tests of this crate show
//! each target the seeds that are kept, among them every input that once broke it. The targets are listed in
//! `README.md`, with how long each was searched and what was found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod digest;
mod framing;
mod header;
mod journal;
mod message;
mod packet;
mod sdp;
mod second;
mod session;
mod stun;
mod uri;
mod websocket;

/// A reader and what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What `make fuzz TARGET=…` and the folder of its seeds call it.
    pub name: &'static str,
    /// Panics when a property does not hold of these bytes.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "message", check: message::check },
    Target { name: "uri", check: uri::check },
    Target { name: "header", check: header::check },
    Target { name: "sdp", check: sdp::check },
    Target { name: "framing", check: framing::check },
    Target { name: "websocket", check: websocket::check },
    Target { name: "packet", check: packet::check },
    Target { name: "stun", check: stun::check },
    Target { name: "digest", check: digest::check },
    Target { name: "journal", check: journal::check },
    Target { name: "session", check: session::check },
    Target { name: "rsip", check: second::rsip },
    Target { name: "sdp-rs", check: second::sdp_rs },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
