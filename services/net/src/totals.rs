//! What the sockets have done, counted without locks.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! totals {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Counts since start, over all shards; [`connections_open`](NetTotals::connections_open) is a level.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct NetTotals {
            $($(#[$doc])+ pub $name: u64,)+
        }

        /// The counters of one shard, which alone writes most of them: no cache line travels per message.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        impl NetTotals {
            pub(crate) fn add(&mut self, counters: &Counters) {
                $(self.$name += counters.$name.get();)+
            }
        }
    };
}

totals! {
    /// Datagrams received.
    datagrams_in,
    /// Datagrams sent.
    datagrams_out,
    /// Datagrams that were only a keep-alive (RFC 5626 sends them; so do many phones).
    keepalives_in,
    /// Datagrams that the system refused to send, or that waited too long for the socket.
    datagrams_unsent,
    /// Messages of streams received.
    stream_messages_in,
    /// Messages handed to streams.
    stream_messages_out,
    /// Messages that came to one shard and belong to another.
    handed_over,
    /// Messages dropped because the queue of their shard was full.
    dropped_queue_full,
    /// INVITEs among them that were answered 503.
    answered_503,
    /// Stream connections open now.
    connections_open,
    /// Stream connections accepted.
    connections_accepted,
    /// Stream connections opened by us.
    connections_opened,
    /// Attempts to open one that failed.
    connections_failed,
    /// Connections closed at once because there were too many.
    connections_refused,
    /// Connections closed because the peer read too slowly.
    connections_slow,
    /// Connections closed because nothing happened on them, or a message did not end.
    connections_idle,
    /// Connections closed because their stream could not be cut into messages.
    framing_faults,
    /// Host names looked up.
    lookups,
    /// Look-ups that gave nothing.
    lookups_failed,
}

/// A counter that many may read and one, or a few, write.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
