//! The loop of one shard: what came, what is due, what leaves.
//!
//! It is one hand-written future on a runtime of one thread, so that one waking of the thread looks at everything:
//! the mailbox, each socket (one `recvmmsg` each), the timers; then one `sendmmsg` each. It yields after a few rounds,
//! since the tasks of stream connections live on the same thread.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use call::Flow;
use sip::Time;
use tokio::time::Sleep;

use crate::datagram::{Datagrams, Inbox};
use crate::mailbox::{Letter, Mailbox, Wake};
use crate::worker::Worker;

/// Rounds before other tasks of the thread have their turn.
const ROUNDS: usize = 4;

/// Letters of one round.
const LETTERS: usize = 64;

/// Timers of transactions are hundreds of milliseconds long: those that end within a few of them are run together,
/// which bounds the wakings of a box with thousands of transactions.
const TIMER_GAP: Duration = Duration::from_millis(5);

/// How long a shard that ends waits for its streams to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One shard, ready to run.
pub(crate) struct Shard {
    worker: Worker,
    inbox: Inbox,
    letters: VecDeque<Letter>,
    mailbox: Arc<Mailbox>,
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    alarm: Alarm,
    /// How long the oldest of what this round handles has waited, as far as it is known; `None`: nothing came.
    waited: Option<Duration>,
    /// When the letters at hand were taken from the mailbox.
    taken: Time,
}

impl Shard {
    /// Needs the shard's runtime to be entered.
    pub(crate) fn new(worker: Worker, mailbox: Arc<Mailbox>, stop: Arc<AtomicBool>) -> Shard {
        let wake = Arc::clone(mailbox.wake());
        Shard {
            worker,
            inbox: Inbox::new(),
            letters: VecDeque::new(),
            mailbox,
            wake,
            stop,
            alarm: Alarm::new(),
            waited: None,
            taken: Time::ZERO,
        }
    }

    /// Works until told to stop; then says what is still to be said and returns.
    pub(crate) async fn run(mut self) {
        let streams = Arc::clone(&self.worker.parts.streams);
        self.worker.begin();
        poll_fn(|cx| self.poll(cx)).await;
        streams.flushed(LAST_WORDS).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wake.register(cx.waker());
        let stop = self.stop.load(Ordering::Acquire);
        for _ in 0..ROUNDS {
            self.worker.tick();
            self.waited = None;
            let heard = self.take_letters() | self.take_datagrams(cx);
            self.worker.observe(self.waited);
            self.worker.due(self.wake.take_media());
            self.worker.flush(cx);
            if !heard {
                if stop {
                    return Poll::Ready(());
                }
                self.alarm.set(self.worker.deadline(), &self.worker, cx);
                return Poll::Pending;
            }
        }
        if stop {
            // A flood may not keep a shard from ending.
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_letters(&mut self) -> bool {
        let woken = self.wake.take();
        if self.letters.is_empty() {
            if !woken {
                return false;
            }
            self.waited = Some(self.mailbox.take(&mut self.letters)).filter(|_| !self.letters.is_empty());
            self.taken = self.worker.now.time;
        } else {
            // At least since they were taken; how long before that was seen then.
            self.waited = Some(self.worker.now.time.since(self.taken));
            if woken {
                // There are new ones behind those taken earlier; look again when these are read.
                self.wake.wake();
            }
        }
        let count = self.letters.len().min(LETTERS);
        for letter in self.letters.drain(..count) {
            self.worker.letter(letter);
        }
        count > 0
    }

    fn take_datagrams(&mut self, cx: &mut Context<'_>) -> bool {
        let mut heard = false;
        for index in 0..self.worker.parts.sockets.len() {
            let Some(Some(socket)) = self.worker.parts.sockets.get_mut(index) else { continue };
            let Poll::Ready(arrived) = Datagrams::poll_receive(socket, &mut self.inbox, cx) else { continue };
            // Also after none: the socket has to be polled until it says that it is waiting.
            heard = true;
            let listener = socket.listener;
            if let Some(error) = arrived.error {
                tracing::warn!(target: "net", listener = listener.0, "cannot receive: {error}");
            }
            self.worker.parts.counters.datagrams_in.add(arrived.count as u64);
            if arrived.count > 0 {
                self.waited = self.waited.max(Some(arrived.waited));
            }
            self.worker.take_unreachable();
            for index in 0..arrived.count {
                if let Some((bytes, remote)) = self.inbox.datagram(index) {
                    self.worker.datagram(Flow { listener, remote, connection: 0 }, bytes);
                }
            }
        }
        heard
    }
}

/// The one timer of a shard. It is moved when something is due earlier than it is set for, or when it has rung; a
/// message that only adds later deadlines does not touch it.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it will ring.
    set_for: Option<Time>,
    rang_at: Time,
}

impl Alarm {
    fn new() -> Alarm {
        Alarm { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), set_for: None, rang_at: Time::ZERO }
    }

    /// Everything due now has been done; `deadline` is when something is due again.
    fn set(&mut self, deadline: Time, worker: &Worker, cx: &mut Context<'_>) {
        if self.set_for.is_some_and(|set_for| set_for <= worker.now.time) {
            self.set_for = None;
            self.rang_at = worker.now.time;
        }
        let wanted = deadline.max(self.rang_at + TIMER_GAP);
        if self.set_for.is_some_and(|set_for| set_for <= wanted) {
            return;
        }
        self.sleep.as_mut().reset(worker.parts.clock.instant(wanted).into());
        self.set_for = Some(wanted);
        if self.sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}
