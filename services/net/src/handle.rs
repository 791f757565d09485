//! The operator's side: orders to all shards, answers from them. A shard that does not answer gives an error in good
//! time, never a hang.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use call::journal::Journal;
use call::{BindingChange, CallView, Command, PeerChange, Recording, RegistrarPolicy, Reply, Stats, Utc};
use routing::{Admission, Snapshot};
use sip::Time;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::guard::{Ban, GuardRules, GuardTotals, Host, Reason};
use crate::keeper::Keeper;
use crate::mailbox::{Answer, Letter, Mailbox, Refused};
use crate::overload::{Load, ShardLoad};
use crate::peers::Peers;
use crate::tls::{Identities, Tls};
use crate::totals::{Counters, NetTotals};

/// How long a shard may take to answer. A shard that works answers within a millisecond.
const PATIENCE: Duration = Duration::from_secs(3);

/// Gives orders to a running [`Net`](crate::Net). Cheap to clone; every method may be called from any runtime that has
/// a timer. Dropping it stops nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    mailboxes: Arc<[Arc<Mailbox>]>,
    counters: Arc<[Arc<Counters>]>,
    admission: Arc<Mutex<Admission>>,
    peers: Arc<Peers>,
    /// Names and certificates of the listeners.
    listeners: (Arc<[Box<str>]>, Identities),
    keeper: Keeper,
}

/// Why an order was not carried out everywhere. Shards that could be reached have carried it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It did not answer in time.
    #[error("shard {shard} gave no answer within {} s", PATIENCE.as_secs())]
    Busy {
        /// Which one, from 0.
        shard: usize,
    },
    /// It has ended.
    #[error("shard {shard} has ended")]
    Gone {
        /// Which one, from 0.
        shard: usize,
    },
    /// It answered something else than was asked.
    #[error("shard {shard} gave the answer to another question")]
    Confused {
        /// Which one, from 0.
        shard: usize,
    },
}

/// The numbers of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// What its Core holds and has done.
    pub core: Stats,
    /// Media ports in use.
    pub ports: u64,
    /// Places that its calls hold on trunks.
    pub admitted: u64,
    /// Letters that wait for it.
    pub queued: u64,
}

/// A source that is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanView {
    /// The host; of IPv6 the network of 64 bits.
    pub source: String,
    /// The host, or the first address of the network.
    pub ip: IpAddr,
    /// For what.
    pub reason: Reason,
    /// Since when.
    pub since: Utc,
    /// Until when.
    pub until: Utc,
    /// The how manieth ban of this source.
    pub times: u32,
    /// Messages dropped because of it.
    pub dropped: u64,
}

/// The numbers of the box.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Sums.
    pub total: ShardStats,
    /// Each shard's, in order.
    pub shards: Vec<ShardStats>,
}

impl Handle {
    pub(crate) fn new(
        mailboxes: &Arc<[Arc<Mailbox>]>,
        counters: &Arc<[Arc<Counters>]>,
        (admission, peers): (&Arc<Mutex<Admission>>, &Arc<Peers>),
        listeners: (Arc<[Box<str>]>, Identities),
        keeper: Keeper,
    ) -> Handle {
        let (mailboxes, counters) = (Arc::clone(mailboxes), Arc::clone(counters));
        Handle {
            mailboxes,
            counters,
            admission: Arc::clone(admission),
            peers: Arc::clone(peers),
            listeners,
            keeper,
        }
    }

    /// A row for each call, at most `limit`, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`HandleError`] says; the same for all methods.
    pub async fn calls(&self, limit: usize) -> Result<Vec<CallView>, HandleError> {
        let mut calls = Vec::new();
        for (shard, reply) in self.ask_all(&Command::List { limit }).await?.into_iter().enumerate() {
            match reply {
                Reply::Calls(some) => calls.extend(some),
                Reply::Call(_)
                | Reply::Journal(_)
                | Reply::HungUp(_)
                | Reply::Recording(_)
                | Reply::Stats(_)
                | Reply::Done => {
                    return Err(HandleError::Confused { shard });
                }
            }
        }
        // UUIDv7: by time of birth.
        calls.sort_by_key(|call| call.id);
        calls.truncate(limit);
        Ok(calls)
    }

    /// One call in full; `None` when there is no such call.
    pub async fn call(&self, id: Uuid) -> Result<Option<CallView>, HandleError> {
        let mut found = None;
        for (shard, reply) in self.ask_all(&Command::Show(id)).await?.into_iter().enumerate() {
            match reply {
                Reply::Call(call) => found = found.or(call),
                Reply::Calls(_)
                | Reply::Journal(_)
                | Reply::HungUp(_)
                | Reply::Recording(_)
                | Reply::Stats(_)
                | Reply::Done => {
                    return Err(HandleError::Confused { shard });
                }
            }
        }
        Ok(found.map(|call| *call))
    }

    /// The journal of a call in progress, or of one that ended not long ago; `None` when none is kept.
    ///
    /// # Errors
    ///
    /// When a shard does not answer.
    pub async fn journal(&self, id: Uuid) -> Result<Option<Journal>, HandleError> {
        let mut found = None;
        for (shard, reply) in self.ask_all(&Command::Journal(id)).await?.into_iter().enumerate() {
            match reply {
                Reply::Journal(journal) => found = found.or(journal),
                Reply::Calls(_)
                | Reply::Call(_)
                | Reply::HungUp(_)
                | Reply::Recording(_)
                | Reply::Stats(_)
                | Reply::Done => {
                    return Err(HandleError::Confused { shard });
                }
            }
        }
        Ok(found.map(|journal| *journal))
    }

    /// Ends one call from both sides; whether there was such a call.
    pub async fn hang_up(&self, id: Uuid) -> Result<bool, HandleError> {
        let mut hung_up = false;
        for (shard, reply) in self.ask_all(&Command::HangUp(id)).await?.into_iter().enumerate() {
            match reply {
                Reply::HungUp(here) => hung_up |= here,
                Reply::Calls(_)
                | Reply::Call(_)
                | Reply::Journal(_)
                | Reply::Recording(_)
                | Reply::Stats(_)
                | Reply::Done => {
                    return Err(HandleError::Confused { shard });
                }
            }
        }
        Ok(hung_up)
    }

    /// Records a call from now on, or no more; what comes of that.
    pub async fn record(&self, id: Uuid, on: bool) -> Result<Recording, HandleError> {
        let mut recording = Recording::NoCall;
        for (shard, reply) in self.ask_all(&Command::Record { id, on }).await?.into_iter().enumerate() {
            match reply {
                Reply::Recording(Recording::NoCall) => {}
                Reply::Recording(here) => recording = here,
                Reply::Calls(_)
                | Reply::Call(_)
                | Reply::Journal(_)
                | Reply::HungUp(_)
                | Reply::Stats(_)
                | Reply::Done => return Err(HandleError::Confused { shard }),
            }
        }
        Ok(recording)
    }

    /// How many of everything there are, in all and on each shard.
    pub async fn stats(&self) -> Result<NetStats, HandleError> {
        let shards = self.gather(|answer| (Command::Stats, Answer::Stats(answer))).await?;
        let mut total = ShardStats::default();
        for shard in &shards {
            total.add(shard);
        }
        Ok(NetStats { total, shards })
    }

    /// Take no new calls from now on; those in progress go on.
    pub async fn drain(&self) -> Result<(), HandleError> {
        self.do_all(&Command::Drain).await
    }

    /// Ends every call. It takes some time until the last has its final response; [`stats`](Handle::stats) tells.
    pub async fn end_all(&self) -> Result<(), HandleError> {
        self.do_all(&Command::EndAll).await
    }

    /// Writes the records of the calls that [`end_all`](Handle::end_all) could not end in time, whose peers do not answer.
    pub async fn abandon(&self) -> Result<(), HandleError> {
        self.do_all(&Command::Abandon).await
    }

    /// New calls follow this configuration from now on; those in progress keep theirs. Registrations that the policy
    /// would not have let in end.
    pub async fn reload(
        &self,
        snapshot: Arc<Snapshot>,
        registrar: RegistrarPolicy,
    ) -> Result<(), HandleError> {
        // The door first: a trunk that is new must not be refused by it when the shards know it.
        self.keeper.guard.follow(&snapshot, &registrar);
        let registrar = Arc::new(registrar);
        self.post_all(|| Letter::Configuration {
            snapshot: Arc::clone(&snapshot),
            registrar: Arc::clone(&registrar),
        })
    }

    /// Strangers are dealt with by these rules from now on.
    ///
    /// # Errors
    ///
    /// A shard that could not be told judges its overload as before.
    pub async fn obey(&self, rules: GuardRules) -> Result<(), HandleError> {
        let (delay, interval) = (rules.overload_delay, rules.overload_interval);
        self.keeper.guard.obey(rules);
        self.post_all(|| Letter::Overload { delay, interval })
    }

    /// Who is banned, the newest first.
    pub fn bans(&self) -> Vec<BanView> {
        let now = self.keeper.now();
        // Times to come and gone by, told in civil time.
        let civil = |time: Time| {
            let [ahead, behind] =
                [time.since(now.time), now.time.since(time)].map(|span| span.as_micros() as i64);
            Utc(now.utc.0 + ahead - behind)
        };
        let view = |(host, ban): (Host, Ban)| BanView {
            source: host.to_string(),
            ip: host.ip(),
            reason: ban.reason,
            since: civil(ban.since),
            until: civil(ban.until),
            times: ban.times,
            dropped: ban.dropped,
        };
        self.keeper.guard.bans(now.time).into_iter().map(view).collect()
    }

    /// Lets a source be heard again, as if it had done nothing; whether it was banned.
    pub fn lift(&self, ip: IpAddr) -> bool {
        self.keeper.guard.lift(ip, self.keeper.now().time)
    }

    /// What the guard has turned away. Asks nobody, answers at once.
    pub fn guard_totals(&self) -> GuardTotals {
        self.keeper.guard.totals(self.keeper.now().time)
    }

    /// How each shard keeps up. Asks nobody, answers at once.
    pub fn loads(&self) -> Vec<ShardLoad> {
        self.keeper.loads.iter().map(Load::read).collect()
    }

    /// Registrations that outlived a restart. To be handed in before the first call needs them.
    pub async fn bindings(&self, bindings: Vec<BindingChange>) -> Result<(), HandleError> {
        let bindings: Arc<[BindingChange]> = bindings.into();
        self.post_all(|| Letter::Bindings(Arc::clone(&bindings)))
    }

    /// Handshakes of a listener that begin from now on see this certificate; connections stay as they are. Whether there is
    /// such a listener, with TLS.
    pub fn renew(&self, listener: &str, tls: Tls) -> bool {
        let (names, identities) = &self.listeners;
        let index = names.iter().position(|name| **name == *listener);
        match index.and_then(|index| identities.get(index)?.as_ref()) {
            Some(identity) => {
                identity.store(Arc::new(tls));
                true
            }
            None => false,
        }
    }

    /// What the sockets have done. Asks nobody, answers at once.
    pub fn net_totals(&self) -> NetTotals {
        let mut totals = NetTotals::default();
        for counters in self.counters.iter() {
            totals.add(counters);
        }
        totals
    }

    /// The calls that a trunk takes part in now: from it, to it. Asks nobody, answers at once.
    pub fn trunk_calls(&self, name: &str) -> u32 {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner).calls(name)
    }

    /// The peers that are asked for life, and those that calls have put aside, and how each is. Asks nobody, answers at
    /// once.
    pub fn peers(&self) -> Vec<PeerChange> {
        self.peers.all(self.keeper.now().time)
    }

    async fn do_all(&self, command: &Command) -> Result<(), HandleError> {
        for (shard, reply) in self.ask_all(command).await?.into_iter().enumerate() {
            match reply {
                Reply::Done => {}
                Reply::Calls(_)
                | Reply::Call(_)
                | Reply::Journal(_)
                | Reply::HungUp(_)
                | Reply::Recording(_)
                | Reply::Stats(_) => {
                    return Err(HandleError::Confused { shard });
                }
            }
        }
        Ok(())
    }

    async fn ask_all(&self, command: &Command) -> Result<Vec<Reply>, HandleError> {
        self.gather(|answer| (command.clone(), Answer::Reply(answer))).await
    }

    /// Asks all shards at once and waits for all of them, in order.
    async fn gather<T>(
        &self,
        order: impl Fn(oneshot::Sender<T>) -> (Command, Answer),
    ) -> Result<Vec<T>, HandleError> {
        let deadline = Instant::now() + PATIENCE;
        let mut waiting = Vec::with_capacity(self.mailboxes.len());
        let mut failure = None;
        for (shard, mailbox) in self.mailboxes.iter().enumerate() {
            let (sender, receiver) = oneshot::channel();
            let (command, answer) = order(sender);
            match mailbox.post(Letter::Command { command, answer }) {
                Ok(()) => waiting.push((shard, receiver)),
                Err(Refused::Full(_)) => failure = failure.or(Some(HandleError::Busy { shard })),
                Err(Refused::Gone) => failure = failure.or(Some(HandleError::Gone { shard })),
            }
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for (shard, receiver) in waiting {
            match timeout_at(deadline, receiver).await {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(_)) => failure = failure.or(Some(HandleError::Gone { shard })),
                Err(_) => failure = failure.or(Some(HandleError::Busy { shard })),
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => Ok(answers),
        }
    }

    /// One letter for each shard. What is asked afterwards is answered with it in force.
    fn post_all(&self, letter: impl Fn() -> Letter) -> Result<(), HandleError> {
        let mut failure = None;
        for (shard, mailbox) in self.mailboxes.iter().enumerate() {
            match mailbox.post(letter()) {
                Ok(()) => {}
                Err(Refused::Full(_)) => failure = failure.or(Some(HandleError::Busy { shard })),
                Err(Refused::Gone) => failure = failure.or(Some(HandleError::Gone { shard })),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

impl ShardStats {
    fn add(&mut self, other: &ShardStats) {
        // Taken apart, so that a new number cannot be forgotten here.
        let ShardStats { core, ports, admitted, queued } = other;
        self.ports += ports;
        self.admitted += admitted;
        self.queued += queued;
        let Stats {
            calls,
            legs,
            transactions,
            timers,
            queries,
            requests,
            subscriptions,
            bindings,
            calls_started,
            calls_answered,
            calls_ended,
            requests_in,
            responses_in,
            messages_out,
            retransmissions,
            malformed,
            refused,
            one_way,
        } = core;
        self.core.calls += calls;
        self.core.legs += legs;
        self.core.transactions += transactions;
        self.core.timers += timers;
        self.core.queries += queries;
        self.core.requests += requests;
        self.core.subscriptions += subscriptions;
        // Every shard knows every registration.
        self.core.bindings = self.core.bindings.max(*bindings);
        self.core.calls_started += calls_started;
        self.core.calls_answered += calls_answered;
        self.core.calls_ended += calls_ended;
        self.core.requests_in += requests_in;
        self.core.responses_in += responses_in;
        self.core.messages_out += messages_out;
        self.core.retransmissions += retransmissions;
        self.core.malformed += malformed;
        self.core.refused += refused;
        self.core.one_way += one_way;
    }
}
