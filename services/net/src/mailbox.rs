//! The one queue through which everything that is not a datagram of its own reaches a shard.
//!
//! Messages of one call always take the same way, so their order is the order of arrival. The queue is bounded for
//! messages, by number and by octets, and as much again for those of other shards, so that what the network brings too
//! much of does not come between two shards that share a call; answers to a shard's own questions and orders of the
//! operator are bounded where they arise, and by a far larger number here. Nobody ever waits for a shard: what does not
//! fit comes back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use call::{BindingChange, Command, Flow, NextHop, QueryId, RegistrarPolicy, Reply, SendToken};
use routing::Snapshot;
use tokio::sync::oneshot;

use crate::handle::ShardStats;

/// The most entries of any kind. Only a shard that has stopped working comes near it.
const MAX_ENTRIES: usize = 1 << 17;

/// Something for a shard.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A message of a stream, or a datagram that another shard's socket received.
    Message { flow: Flow, bytes: Bytes },
    /// A message of another shard, from one of its calls to one of this shard's. The sender wants to know by the token
    /// when it is not taken.
    Inner { from: u16, bytes: Bytes, token: SendToken },
    /// A stream connection is gone.
    Closed { flow: Flow },
    /// What was sent with these tokens left by a connection that is gone.
    Lost { flow: Flow, tokens: Vec<SendToken> },
    /// A datagram that begins like this does not arrive.
    Unreachable { flow: Flow, quote: Bytes },
    /// Something sent could not be delivered.
    Undeliverable { token: SendToken },
    /// The servers of a name, in order.
    Resolved { query: QueryId, hops: Vec<NextHop>, note: Option<Box<str>> },
    /// Registrations of other shards, or kept over a restart.
    Bindings(Arc<[BindingChange]>),
    /// A place that takes no stream connections, as another shard found out.
    NoStreams(SocketAddr),
    /// A new configuration: trunks and routes, and who may register.
    Configuration { snapshot: Arc<Snapshot>, registrar: Arc<RegistrarPolicy> },
    /// Other bounds of how long messages may wait.
    Overload { delay: Duration, interval: Duration },
    /// An order of the operator.
    Command { command: Command, answer: Answer },
}

/// Where the answer to an order goes.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(oneshot::Sender<Reply>),
    /// The Core's numbers, with the shard's own.
    Stats(oneshot::Sender<ShardStats>),
}

impl Answer {
    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Answer::Reply(sender) => sender.is_closed(),
            Answer::Stats(sender) => sender.is_closed(),
        }
    }
}

/// Why a letter came back.
#[derive(Debug)]
pub(crate) enum Refused {
    /// No room.
    Full(Letter),
    /// The shard has ended.
    Gone,
}

/// A shard's queue. Any thread may put letters in; the shard takes them.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    max_messages: usize,
    max_octets: usize,
    wake: Arc<Wake>,
}

#[derive(Debug, Default)]
struct Queue {
    letters: VecDeque<Letter>,
    outside: Load,
    inside: Load,
    /// When the first of those that wait was put in.
    since: Option<Instant>,
    gone: bool,
}

/// How many messages wait, and their octets.
#[derive(Debug, Default)]
struct Load {
    messages: usize,
    octets: usize,
}

impl Load {
    /// Takes room for one more, if there is any.
    fn add(&mut self, octets: usize, max_messages: usize, max_octets: usize) -> bool {
        let fits = self.messages < max_messages && self.octets + octets <= max_octets;
        if fits {
            self.messages += 1;
            self.octets += octets;
        }
        fits
    }
}

impl Mailbox {
    pub(crate) fn new(max_messages: usize, max_octets: usize, wake: Arc<Wake>) -> Mailbox {
        Mailbox { queue: Mutex::default(), max_messages, max_octets, wake }
    }

    /// Puts one letter in and wakes the shard.
    pub(crate) fn post(&self, letter: Letter) -> Result<(), Refused> {
        let mut queue = self.lock();
        queue.push(letter, self.max_messages, self.max_octets)?;
        drop(queue);
        self.wake.wake();
        Ok(())
    }

    /// Puts all letters in, in order, with one lock and one waking; what does not fit is left behind, in order.
    pub(crate) fn post_all(&self, letters: &mut Vec<Letter>) {
        if letters.is_empty() {
            return;
        }
        let mut left = Vec::new();
        let mut queue = self.lock();
        for letter in letters.drain(..) {
            match queue.push(letter, self.max_messages, self.max_octets) {
                Ok(()) | Err(Refused::Gone) => {}
                Err(Refused::Full(letter)) => left.push(letter),
            }
        }
        drop(queue);
        self.wake.wake();
        *letters = left;
    }

    /// Takes everything, into an empty `letters`; how long the first of them has waited.
    pub(crate) fn take(&self, letters: &mut VecDeque<Letter>) -> Duration {
        let mut queue = self.lock();
        std::mem::swap(&mut queue.letters, letters);
        queue.outside = Load::default();
        queue.inside = Load::default();
        queue.since.take().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How many letters wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().letters.len()
    }

    /// The shard has ended; nothing is taken any more.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.gone = true;
        // Answers that wait for this shard must not wait any longer.
        queue.letters.clear();
    }

    pub(crate) fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, letter: Letter, max_messages: usize, max_octets: usize) -> Result<(), Refused> {
        if self.gone {
            return Err(Refused::Gone);
        }
        let fits = match &letter {
            Letter::Message { bytes, .. } => self.outside.add(bytes.len(), max_messages, max_octets),
            Letter::Inner { bytes, .. } => self.inside.add(bytes.len(), max_messages, max_octets),
            Letter::Closed { .. }
            | Letter::Lost { .. }
            | Letter::Unreachable { .. }
            | Letter::Undeliverable { .. }
            | Letter::Resolved { .. }
            | Letter::Bindings(_)
            | Letter::NoStreams(_)
            | Letter::Configuration { .. }
            | Letter::Overload { .. }
            | Letter::Command { .. } => self.letters.len() < MAX_ENTRIES,
        };
        if !fits {
            return Err(Refused::Full(letter));
        }
        if self.letters.is_empty() {
            self.since = Some(Instant::now());
        }
        self.letters.push_back(letter);
        Ok(())
    }
}

/// Wakes a shard from any thread; many wakings before it runs are one.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    pending: AtomicBool,
    media: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Wake {
    /// There is something in the mailbox.
    pub(crate) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel)
            && let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
        {
            waker.wake_by_ref();
        }
    }

    /// The media engine has something to say.
    pub(crate) fn wake_for_media(&self) {
        self.media.store(true, Ordering::Release);
        self.wake();
    }

    /// Says who is to be woken. To be called before [`take`](Wake::take), or a waking may be lost.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Whether the shard was woken since the last time.
    pub(crate) fn take(&self) -> bool {
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::AcqRel)
    }

    /// Whether it was for media.
    pub(crate) fn take_media(&self) -> bool {
        self.media.load(Ordering::Relaxed) && self.media.swap(false, Ordering::AcqRel)
    }
}

/// Wakes shards that do not run yet: media engines are made before the net, and one of them must be able to wake its
/// shard later.
#[derive(Clone, Debug)]
pub struct Wakers {
    wakes: Arc<[Arc<Wake>]>,
}

impl Wakers {
    /// For so many shards; at least one, at most 65,535.
    pub fn new(shards: usize) -> Wakers {
        let shards = shards.clamp(1, usize::from(u16::MAX));
        Wakers { wakes: (0..shards).map(|_| Arc::default()).collect() }
    }

    /// How many shards there will be.
    pub fn shards(&self) -> usize {
        self.wakes.len()
    }

    /// What an engine calls when it has something for `Engine::poll`. A shard that does not exist is never woken.
    pub fn waker(&self, shard: usize) -> Box<dyn Fn() + Send + Sync> {
        match self.wakes.get(shard) {
            Some(wake) => {
                let wake = Arc::clone(wake);
                Box::new(move || wake.wake_for_media())
            }
            None => Box::new(|| {}),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Wake>> {
        self.wakes.iter()
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
