//! Host names, looked up beside the shards: never in their way, bounded in number and time, remembered for a while.
//!
//! The system's resolver blocks a thread of its own for as long as it likes. A shard that asks is answered after
//! [`PATIENCE`] at the latest; the look-up itself keeps its place among the [`MAX_RUNNING`] until it really ends, so
//! that a name server that is away cannot pile threads up, and what comes late still serves the next call.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use call::QueryId;

use crate::mailbox::{Letter, Mailbox};
use crate::totals::Counters;

/// How long a shard waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer is believed. The system's interface does not tell the record's own time to live.
const LIFE: Duration = Duration::from_secs(30);

/// How long "no such host" is believed.
const FAILED_LIFE: Duration = Duration::from_secs(5);

/// Look-ups at the same time, over all shards.
const MAX_RUNNING: usize = 64;

/// Names remembered.
const MAX_KNOWN: usize = 4096;

/// Queries that may wait for one look-up.
const MAX_ASKING: usize = 4096;

type Question = (Box<str>, u16);
type Addresses = Arc<[SocketAddr]>;

/// All names that the process has asked for lately.
#[derive(Debug)]
pub(crate) struct Resolver {
    mailboxes: Arc<[Arc<Mailbox>]>,
    names: Mutex<HashMap<Question, Name>>,
}

#[derive(Debug)]
enum Name {
    Known {
        addresses: Addresses,
        until: Instant,
    },
    /// Being looked up; those who asked wait.
    Asked {
        asking: Vec<(u16, QueryId)>,
    },
    /// Being looked up for longer than anybody waits.
    Late,
}

/// What can be said at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Now(Addresses),
    /// It will come as a [`Letter::Resolved`].
    Later,
}

impl Resolver {
    pub(crate) fn new(mailboxes: Arc<[Arc<Mailbox>]>) -> Resolver {
        Resolver { mailboxes, names: Mutex::default() }
    }

    /// Asks for the addresses of a host. To be called within a runtime.
    pub(crate) fn resolve(
        self: &Arc<Self>,
        host: Box<str>,
        port: u16,
        shard: u16,
        query: QueryId,
        counters: &Arc<Counters>,
    ) -> Answer {
        let nothing = || Answer::Now(Arc::from([]));
        let question = (host, port);
        let mut names = self.lock();
        match names.get_mut(&question) {
            Some(Name::Known { addresses, until }) if *until > Instant::now() => {
                return Answer::Now(Arc::clone(addresses));
            }
            Some(Name::Asked { asking }) if asking.len() < MAX_ASKING => {
                asking.push((shard, query));
                return Answer::Later;
            }
            Some(Name::Asked { .. } | Name::Late) => return nothing(),
            Some(Name::Known { .. }) | None => {}
        }
        let running = names.values().filter(|name| !matches!(name, Name::Known { .. })).count();
        if running >= MAX_RUNNING || !make_room(&mut names) {
            counters.lookups_failed.add(1);
            return nothing();
        }
        names.insert(question.clone(), Name::Asked { asking: vec![(shard, query)] });
        drop(names);
        counters.lookups.add(1);
        tokio::spawn(Arc::clone(self).look_up(question, Arc::clone(counters)));
        Answer::Later
    }

    async fn look_up(self: Arc<Self>, question: Question, counters: Arc<Counters>) {
        let target = (String::from(&*question.0), question.1);
        let mut lookup = std::pin::pin!(tokio::net::lookup_host(target));
        let found = match tokio::time::timeout(PATIENCE, &mut lookup).await {
            Ok(found) => found,
            Err(_) => {
                let asking = self.replace(&question, Name::Late);
                self.tell(asking, &Arc::from([]));
                lookup.await
            }
        };
        let addresses: Addresses = match found {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                tracing::debug!(target: "net", host = &*question.0, "look-up failed: {error}");
                Arc::from([])
            }
        };
        let life = if addresses.is_empty() { FAILED_LIFE } else { LIFE };
        if addresses.is_empty() {
            counters.lookups_failed.add(1);
        }
        let known = Name::Known { addresses: Arc::clone(&addresses), until: Instant::now() + life };
        let asking = self.replace(&question, known);
        self.tell(asking, &addresses);
    }

    /// Those who asked until now.
    fn replace(&self, question: &Question, name: Name) -> Vec<(u16, QueryId)> {
        match self.lock().insert(question.clone(), name) {
            Some(Name::Asked { asking }) => asking,
            Some(Name::Known { .. } | Name::Late) | None => Vec::new(),
        }
    }

    fn tell(&self, asking: Vec<(u16, QueryId)>, addresses: &Addresses) {
        for (shard, query) in asking {
            if let Some(mailbox) = self.mailboxes.get(usize::from(shard)) {
                // A shard that is gone needs no answer.
                let _ = mailbox.post(Letter::Resolved { query, addresses: Arc::clone(addresses) });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what is old, and if nothing is, what is known at all: it can be asked for again.
fn make_room(names: &mut HashMap<Question, Name>) -> bool {
    if names.len() < MAX_KNOWN {
        return true;
    }
    let now = Instant::now();
    names.retain(|_, name| match name {
        Name::Known { until, .. } => *until > now,
        Name::Asked { .. } | Name::Late => true,
    });
    if names.len() >= MAX_KNOWN {
        names.retain(|_, name| !matches!(name, Name::Known { .. }));
    }
    names.len() < MAX_KNOWN
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::collections::VecDeque;

    use super::*;

    fn wait_for_letters(mailbox: &Mailbox, count: usize) -> Vec<(QueryId, Addresses)> {
        let mut got = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(6);
        while got.len() < count && Instant::now() < deadline {
            let mut letters = VecDeque::new();
            mailbox.take(&mut letters);
            got.extend(letters.into_iter().map(|letter| match letter {
                Letter::Resolved { query, addresses } => (query, addresses),
                other => panic!("{other:?}"),
            }));
            std::thread::sleep(Duration::from_millis(2));
        }
        got
    }

    fn resolver() -> (Arc<Resolver>, Arc<Mailbox>, Arc<Counters>) {
        let mailbox = Arc::new(Mailbox::new(10, 1000, Arc::default()));
        (Arc::new(Resolver::new(Arc::from([Arc::clone(&mailbox)]))), mailbox, Arc::default())
    }

    #[test]
    fn a_name_is_looked_up_once_for_all_who_ask_and_then_remembered() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _entered = runtime.enter();
        let (resolver, mailbox, counters) = resolver();
        let ask = |query| resolver.resolve("localhost".into(), 5062, 0, QueryId(query), &counters);
        assert_eq!(ask(1), Answer::Later);
        let second = ask(2);

        let letters = wait_for_letters(&mailbox, if second == Answer::Later { 2 } else { 1 });
        assert_eq!(letters.first().unwrap().0, QueryId(1));
        for (_, addresses) in letters {
            assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 5062));
            assert!(!addresses.is_empty());
        }
        assert!(matches!(ask(3), Answer::Now(addresses) if !addresses.is_empty()));
        assert_eq!(counters.lookups.get(), 1);
    }

    #[test]
    fn a_name_that_does_not_exist_has_no_addresses() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _entered = runtime.enter();
        let (resolver, mailbox, counters) = resolver();
        let answer = resolver.resolve("not a host name".into(), 5060, 0, QueryId(7), &counters);
        assert_eq!(answer, Answer::Later);
        let letters = wait_for_letters(&mailbox, 1);
        assert_eq!(
            letters.first().map(|(query, addresses)| (*query, addresses.len())),
            Some((QueryId(7), 0))
        );
    }
}
