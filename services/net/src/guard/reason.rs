//! Why a message is turned away, and how often it happened.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $word:literal,)+) => {
        /// Why a message is turned away, or its source banned.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Reason] = &[$(Reason::$name),+];

            /// As log lines, metrics and the API have it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Reason::$name => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// A signature of `[[scanner]]`.
    Scanner = "scanner",
    /// No SIP message.
    Malformed = "malformed",
    /// A request of somebody who has no business here.
    Stranger = "stranger",
    /// Credentials that are nobody's.
    Password = "password",
    /// One name after the other.
    Names = "names",
    /// One new call after the other without credentials.
    Invites = "invites",
    /// More messages than a stranger may send.
    Flood = "flood",
    /// A source that is banned.
    Banned = "banned",
    /// More messages than a source may send that is known.
    Known = "known",
    /// More messages than a trunk may send.
    Trunk = "trunk",
}

pub(crate) const REASONS: usize = Reason::ALL.len();

/// A number for each reason, counted without locks.
#[derive(Debug, Default)]
pub(crate) struct Tally([AtomicU64; REASONS]);

impl Tally {
    pub(crate) fn add(&self, reason: Reason) {
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, reason: Reason) -> u64 {
        self.0.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
