//! Names, looked up beside the shards: never in their way, bounded in number and time, remembered for as long as their
//! records say.
//!
//! A shard that asks is answered after [`PATIENCE`] at the latest; the look-up itself keeps its place among the
//! [`MAX_RUNNING`] until it really ends, so that a name server that is away cannot pile work up, and what comes late
//! still serves the next call. What a name means is `locate`, what a single answer of a name server means `dns`, in which
//! order one request tries the servers `servers`. All of it runs on one thread that is no shard's.

mod dns;
mod locate;
mod servers;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use call::{Listener, NextHop, QueryId};
use tokio::runtime::Runtime;

use crate::Dns;
use crate::error::NetError;
use crate::mailbox::{Letter, Mailbox};
use crate::totals::Counters;
use dns::{FAILED_LIFE, Records};
pub(crate) use locate::Question;
use locate::{Spoken, locate};
use servers::Servers;

/// How long a shard waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A look-up that takes longer is given up. Each step of it is bounded; their number is, too, but is not small.
const MAX_TIME: Duration = Duration::from_secs(60);

/// Look-ups at the same time, over all shards.
const MAX_RUNNING: usize = 256;

/// Names remembered.
const MAX_KNOWN: usize = 4096;

/// Queries that may wait for one look-up.
const MAX_ASKING: usize = 4096;

/// All names that the process has asked for lately.
#[derive(Debug)]
pub(crate) struct Resolver {
    mailboxes: Arc<[Arc<Mailbox>]>,
    records: Arc<Records>,
    spoken: Spoken,
    names: Mutex<HashMap<Question, Name>>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
enum Name {
    Known(Arc<Servers>),
    /// Being looked up; those who asked wait.
    Asked {
        asking: Vec<Asker>,
    },
    /// Being looked up for longer than anybody waits.
    Late,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) shard: u16,
    pub(crate) query: QueryId,
    /// What the order among equal servers is drawn with.
    pub(crate) draw: u64,
}

/// What can be said at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Now {
        hops: Vec<NextHop>,
        note: Option<Box<str>>,
    },
    /// It will come as a [`Letter::Resolved`].
    Later,
}

impl Answer {
    fn nothing(question: &Question, why: &str) -> Answer {
        Answer::Now { hops: Vec::new(), note: Some(format!("{}: {why}", question.host).into()) }
    }
}

impl Resolver {
    pub(crate) fn start(
        dns: &Dns,
        listeners: &[Listener],
        mailboxes: Arc<[Arc<Mailbox>]>,
    ) -> Result<Arc<Resolver>, NetError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("names")
            .enable_all()
            .build()
            .map_err(|source| NetError::Names { source })?;
        Ok(Arc::new(Resolver {
            mailboxes,
            records: Arc::new(Records::new(dns)),
            spoken: Spoken::of(listeners),
            names: Mutex::default(),
            runtime: Some(runtime),
        }))
    }

    /// Asks for the servers of a name.
    pub(crate) fn resolve(
        self: &Arc<Self>,
        question: Question,
        asker: Asker,
        counters: &Arc<Counters>,
    ) -> Answer {
        let mut names = self.lock();
        match names.get_mut(&question) {
            Some(Name::Known(servers)) if servers.until > Instant::now() => {
                let note = servers.note.clone().filter(|_| servers.is_empty());
                return Answer::Now { hops: servers.drawn(asker.draw), note };
            }
            Some(Name::Asked { asking }) if asking.len() < MAX_ASKING => {
                asking.push(asker);
                return Answer::Later;
            }
            Some(Name::Asked { .. } | Name::Late) => {
                return Answer::nothing(&question, "the name servers have not answered yet");
            }
            Some(Name::Known(_)) | None => {}
        }
        let running = names.values().filter(|name| !matches!(name, Name::Known(_))).count();
        let Some(runtime) = self.runtime.as_ref().filter(|_| running < MAX_RUNNING && make_room(&mut names))
        else {
            counters.lookups_failed.add(1);
            return Answer::nothing(&question, "too many names are being looked up");
        };
        names.insert(question.clone(), Name::Asked { asking: vec![asker] });
        drop(names);
        counters.lookups.add(1);
        runtime.spawn(Arc::clone(self).look_up(question, Arc::clone(counters)));
        Answer::Later
    }

    async fn look_up(self: Arc<Self>, question: Question, counters: Arc<Counters>) {
        let mut search = std::pin::pin!(locate(&self.records, &self.spoken, &question));
        let found = match tokio::time::timeout(PATIENCE, &mut search).await {
            Ok(found) => found,
            Err(_) => {
                let asking = self.replace(&question, Name::Late);
                let why = format!("no answer of the name servers within {} s", PATIENCE.as_secs());
                self.tell(asking, &unknown(&question, &why));
                let patience = MAX_TIME.saturating_sub(PATIENCE);
                let late = tokio::time::timeout(patience, search).await;
                late.unwrap_or_else(|_| unknown(&question, "the name servers do not answer"))
            }
        };
        if let Some(note) = &found.note {
            tracing::debug!(target: "net", "look-up of {note}");
        }
        if found.is_empty() {
            counters.lookups_failed.add(1);
        }
        let found = Arc::new(found);
        let asking = self.replace(&question, Name::Known(Arc::clone(&found)));
        self.tell(asking, &found);
    }

    /// Those who asked until now.
    fn replace(&self, question: &Question, name: Name) -> Vec<Asker> {
        match self.lock().insert(question.clone(), name) {
            Some(Name::Asked { asking }) => asking,
            Some(Name::Known(_) | Name::Late) | None => Vec::new(),
        }
    }

    fn tell(&self, asking: Vec<Asker>, servers: &Servers) {
        for Asker { shard, query, draw } in asking {
            if let Some(mailbox) = self.mailboxes.get(usize::from(shard)) {
                let (hops, note) = (servers.drawn(draw), servers.note.clone());
                // A shard that is gone needs no answer.
                let _ = mailbox.post(Letter::Resolved { query, hops, note });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Whoever drops it last may be a task, which must not wait for the thread that it runs on.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn unknown(question: &Question, why: &str) -> Servers {
    let note = Some(format!("{}: {why}", question.host).into());
    Servers { groups: Vec::new(), note, until: Instant::now() + FAILED_LIFE }
}

/// Forgets what is old, and if nothing is, what is known at all: it can be asked for again.
fn make_room(names: &mut HashMap<Question, Name>) -> bool {
    if names.len() < MAX_KNOWN {
        return true;
    }
    let now = Instant::now();
    names.retain(|_, name| match name {
        Name::Known(servers) => servers.until > now,
        Name::Asked { .. } | Name::Late => true,
    });
    if names.len() >= MAX_KNOWN {
        names.retain(|_, name| !matches!(name, Name::Known(_)));
    }
    names.len() < MAX_KNOWN
}
