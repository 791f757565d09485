//! The front door: what becomes of a message before anybody reads it for what it says.
//!
//! The receive path asks [`Guard::admit`] about every datagram and every message of a stream, and that is all that it
//! knows of strangers. A trunk's message costs the look-up of its source and nothing more; each of a trunk's sources is
//! limited, where the configuration says so, and never banned. Of anybody else the [`Ledger`] says whether they are known (a phone that has
//! registered, or a peer that the box sends requests to), banned or too fast. What is left are strangers within their
//! pace: only their messages are read here, once, for what gives a scanner away, and refused without a trace (RFC 3261
//! §8.2.7) where the configuration lets nobody log in from there. What the calls refuse later comes back by
//! [`Guard::report`].
//!
//! Nothing here reads a clock or a socket. The books are in stripes, so that shards seldom wait for each other; a source
//! is always in the same one, which is how all shards share a ban.

mod bans;
mod bucket;
mod generations;
mod host;
mod ledger;
mod lines;
mod reason;
mod rules;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use call::RegistrarPolicy;
use foldhash::fast::RandomState;
use routing::{Snapshot, TrunkId};
use sip::{Message, Method, Name, Time};

use crate::refusal;
pub(crate) use bans::Ban;
use bucket::Pace;
pub(crate) use host::Host;
use ledger::{Knock, Ledger, Share};
use lines::Line;
pub use reason::Reason;
use reason::Tally;
pub use rules::{GuardRules, Scanner};

/// How many ledgers there are.
const STRIPES: usize = 16;

/// What is to be done with a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is for the calls.
    Pass,
    /// Nobody hears of it.
    Drop,
    /// Nobody hears of anything from there; a connection is closed.
    Banned,
    /// It is answered from here. The address counts where the answer goes by datagram.
    Answer(Bytes, SocketAddr),
}

/// Judges who may be heard. Shared by all shards and connections.
#[derive(Debug)]
pub(crate) struct Guard {
    terms: ArcSwap<Terms>,
    stripes: Box<[Mutex<Ledger>]>,
    hasher: RandomState,
    refused: Tally,
    imposed: Tally,
}

/// What is in force.
#[derive(Debug)]
struct Terms {
    rules: Arc<GuardRules>,
    share: Share,
    snapshot: Arc<Snapshot>,
    admits: Admits,
}

/// From where somebody who is no trunk may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admits {
    Nobody,
    Loopback,
    /// With a password, from anywhere.
    Anybody,
}

/// What a stranger's message turns out to be.
enum Look {
    Fine,
    /// A request to begin something, perhaps a call, by the name that it asks for.
    Asks {
        invite: bool,
        name: Option<u64>,
    },
    Refuse(Reason, Option<(Bytes, SocketAddr)>),
}

/// How often each thing happened since start, and how many are banned now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardTotals {
    /// Messages turned away, for each reason.
    pub refused: Vec<(Reason, u64)>,
    /// Bans imposed, for each reason.
    pub imposed: Vec<(Reason, u64)>,
    /// Bans in force.
    pub banned: u64,
}

impl Guard {
    pub(crate) fn new(rules: GuardRules, snapshot: Arc<Snapshot>, registrar: &RegistrarPolicy) -> Guard {
        let terms = Terms::new(Arc::new(rules), snapshot, Admits::of(registrar));
        Guard {
            terms: ArcSwap::from_pointee(terms),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            refused: Tally::default(),
            imposed: Tally::default(),
        }
    }

    /// Other trunks and users from now on.
    pub(crate) fn follow(&self, snapshot: &Arc<Snapshot>, registrar: &RegistrarPolicy) {
        let rules = Arc::clone(&self.terms.load().rules);
        self.terms.store(Arc::new(Terms::new(rules, Arc::clone(snapshot), Admits::of(registrar))));
    }

    /// Other rules from now on. Bans that are in force end when they were to end.
    pub(crate) fn obey(&self, rules: GuardRules) {
        let now = self.terms.load();
        self.terms.store(Arc::new(Terms::new(Arc::new(rules), Arc::clone(&now.snapshot), now.admits)));
    }

    /// Says what is to be done with a message that came from there.
    pub(crate) fn admit(&self, remote: SocketAddr, bytes: &[u8], now: Time) -> Admission {
        let terms = self.terms.load();
        if let Some(trunk) = terms.snapshot.trunk_of(remote) {
            return self.admit_trunk(&terms, trunk, remote, now);
        }
        if terms.rules.is_exempt(remote) {
            return self.admit_exempt(&terms, remote, bytes, now);
        }
        let host = Host::of(remote.ip());
        let knock = self.ledger(host).knock(host, &terms.share, now, terms.rules.window);
        let look = match knock {
            Knock::Known => return Admission::Pass,
            Knock::KnownTooFast => Look::Refuse(Reason::Known, None),
            Knock::Banned => Look::Refuse(Reason::Banned, None),
            Knock::TooFast => Look::Refuse(Reason::Flood, None),
            Knock::Stranger => self.look(&terms, remote, bytes),
        };
        match look {
            Look::Fine => Admission::Pass,
            Look::Asks { invite, name } => self.admit_unproven(&terms, remote.ip(), invite, name, now),
            Look::Refuse(reason, answer) => {
                self.refuse(&terms, remote, reason, now);
                match answer {
                    Some((bytes, target)) => Admission::Answer(bytes, target),
                    None if reason == Reason::Banned => Admission::Banned,
                    None => Admission::Drop,
                }
            }
        }
    }

    /// Each source of a trunk is limited for itself, and told about in the log.
    fn admit_trunk(&self, terms: &Terms, trunk: TrunkId, remote: SocketAddr, now: Time) -> Admission {
        let host = Host::of(remote.ip());
        if terms.share.trunk.is_none() || self.ledger(host).knock_of_trunk(trunk, host, &terms.share, now) {
            return Admission::Pass;
        }
        self.refused.add(Reason::Trunk);
        self.say(remote.ip(), Reason::Trunk, now);
        Admission::Drop
    }

    /// Whoever is exempt may still be nobody's.
    fn admit_exempt(&self, terms: &Terms, remote: SocketAddr, bytes: &[u8], now: Time) -> Admission {
        // Who need not fear a ban is still not here to be scanned.
        if terms.is_scan(bytes) {
            self.refused.add(Reason::Scanner);
            self.say(remote.ip(), Reason::Scanner, now);
            return Admission::Drop;
        }
        if terms.admits.includes(remote.ip()) {
            return Admission::Pass;
        }
        match self.look(terms, remote, bytes) {
            // Only here the rest is left to the calls: what cannot be read is counted there.
            Look::Fine | Look::Asks { .. } | Look::Refuse(_, None) => Admission::Pass,
            Look::Refuse(reason, Some((bytes, target))) => {
                self.refused.add(reason);
                self.say(remote.ip(), reason, now);
                Admission::Answer(bytes, target)
            }
        }
    }

    /// Somebody who has yet to show a password begins something. That is no offence; to go on like this is.
    fn admit_unproven(
        &self,
        terms: &Terms,
        ip: IpAddr,
        invite: bool,
        name: Option<u64>,
        now: Time,
    ) -> Admission {
        let host = Host::of(ip);
        let reason = self.ledger(host).asks(host, name, invite, &terms.rules, &terms.share, now);
        let Some(reason) = reason else { return Admission::Pass };
        self.imposed.add(reason);
        self.refused.add(reason);
        self.say(ip, reason, now);
        Admission::Banned
    }

    /// Reads a stranger's message as far as the door is concerned. What belongs to something that has begun is for the
    /// calls to know or not to know; ACK and CANCEL are never answered from here.
    fn look(&self, terms: &Terms, remote: SocketAddr, bytes: &[u8]) -> Look {
        let Ok(message) = Message::parse(bytes) else { return Look::Refuse(terms.fault_of(bytes), None) };
        if message.is_request() && terms.rules.is_scanner(&message) {
            return Look::Refuse(Reason::Scanner, None);
        }
        // Nothing can be made of it: neither where an answer goes nor whose response it is.
        if message.via().is_err() {
            return Look::Refuse(Reason::Malformed, None);
        }
        if !message.is_request() {
            return Look::Fine;
        }
        let method = message.method();
        if matches!(method, Method::Ack | Method::Cancel) || is_within_dialog(&message) {
            return Look::Fine;
        }
        if !terms.admits.includes(remote.ip()) {
            return Look::Refuse(Reason::Stranger, refusal::stranger(&message, remote));
        }
        let name = name_asked_for(&message).map(|name| self.hasher.hash_one(name));
        Look::Asks { invite: method == Method::Invite, name }
    }

    /// The calls have refused something with this status. Whether the source is the guard's matter, which then has said
    /// what there is to say.
    pub(crate) fn report(&self, remote: SocketAddr, status: u16, now: Time) -> bool {
        let reason = match status {
            401 => Reason::Password,
            403 | 481 => Reason::Stranger,
            400 | 414 | 416 | 505 | 513 => Reason::Malformed,
            _ => return false,
        };
        let terms = self.terms.load();
        if terms.snapshot.trunk_of(remote).is_some() {
            return false;
        }
        self.refuse(&terms, remote, reason, now);
        true
    }

    /// A stream from there could not be cut into messages, from this head on. Whether it may hear of it.
    pub(crate) fn report_malformed(&self, remote: SocketAddr, head: &[u8], now: Time) -> bool {
        let terms = self.terms.load();
        if terms.snapshot.trunk_of(remote).is_some() {
            return true;
        }
        let fault = terms.fault_of(head);
        self.refuse(&terms, remote, fault, now);
        fault != Reason::Scanner || terms.rules.is_exempt(remote)
    }

    /// Counts a refusal, and bans its source when it is one too many.
    fn refuse(&self, terms: &Terms, remote: SocketAddr, reason: Reason, now: Time) {
        self.refused.add(reason);
        if reason != Reason::Banned && !terms.rules.is_exempt(remote) {
            let host = Host::of(remote.ip());
            let is_banned = self.ledger(host).offence(host, reason, &terms.rules, &terms.share, now);
            if is_banned {
                self.imposed.add(reason);
            }
        }
        self.say(remote.ip(), reason, now);
    }

    /// Somebody at this address is known until then.
    pub(crate) fn acquaint(&self, ip: IpAddr, until: Time, now: Time) {
        let host = Host::of(ip);
        self.ledger(host).acquaint(host, until, now);
    }

    /// Whether there is a trunk's source, somebody who is known, or who is exempt.
    pub(crate) fn is_acquainted(&self, remote: SocketAddr, now: Time) -> bool {
        let terms = self.terms.load();
        let host = Host::of(remote.ip());
        terms.snapshot.trunk_of(remote).is_some()
            || terms.rules.is_exempt(remote)
            || self.ledger(host).is_known(host, now)
    }

    /// Whether a connection from there is worth accepting.
    pub(crate) fn is_banned(&self, remote: SocketAddr, now: Time) -> bool {
        let terms = self.terms.load();
        let host = Host::of(remote.ip());
        let is_banned = terms.snapshot.trunk_of(remote).is_none()
            && !terms.rules.is_exempt(remote)
            && self.ledger(host).is_banned(host, now);
        if is_banned {
            self.refused.add(Reason::Banned);
            self.say(remote.ip(), Reason::Banned, now);
        }
        is_banned
    }

    /// Writes the lines that are due. To be called every second or so.
    pub(crate) fn sweep(&self, now: Time) {
        for stripe in &self.stripes {
            let due = lock(stripe).due(now);
            due.iter().for_each(write);
        }
    }

    /// The bans in force, the newest first.
    pub(crate) fn bans(&self, now: Time) -> Vec<(Host, Ban)> {
        let mut bans = Vec::new();
        for stripe in &self.stripes {
            bans.extend(lock(stripe).bans(now));
        }
        bans.sort_unstable_by_key(|(host, ban)| (std::cmp::Reverse(ban.since), *host));
        bans
    }

    /// Forgets what there is against a source; whether it was banned.
    pub(crate) fn lift(&self, ip: IpAddr, now: Time) -> bool {
        let host = Host::of(ip);
        self.ledger(host).lift(host, now)
    }

    pub(crate) fn totals(&self, now: Time) -> GuardTotals {
        let read = |tally: &Tally| Reason::ALL.iter().map(|&reason| (reason, tally.get(reason))).collect();
        let banned = self.stripes.iter().map(|stripe| lock(stripe).bans(now).count() as u64).sum();
        GuardTotals { refused: read(&self.refused), imposed: read(&self.imposed), banned }
    }

    fn say(&self, ip: IpAddr, reason: Reason, now: Time) {
        let line = self.ledger(Host::of(ip)).line(ip, reason, now);
        line.iter().for_each(write);
    }

    fn ledger(&self, host: Host) -> MutexGuard<'_, Ledger> {
        // Another hash than that of the tables within, or each of them would use a sixteenth of its buckets.
        let stripe = (self.hasher.hash_one(host) >> 32) as usize % STRIPES;
        lock(self.stripes.get(stripe).unwrap_or(&self.stripes[0]))
    }
}

impl Terms {
    fn new(rules: Arc<GuardRules>, snapshot: Arc<Snapshot>, admits: Admits) -> Terms {
        let share = Share {
            stranger: Pace::new(rules.rate, rules.burst),
            known: Pace::new(rules.known_rate, rules.known_rate),
            trunk: Pace::new(rules.trunk_rate, rules.trunk_rate),
            sources: rules.sources.div_ceil(STRIPES),
            bans: rules.bans.div_ceil(STRIPES),
        };
        Terms { rules, share, snapshot, admits }
    }

    fn is_scan(&self, bytes: &[u8]) -> bool {
        Message::parse(bytes).is_ok_and(|message| message.is_request() && self.rules.is_scanner(&message))
    }

    /// What to hold against bytes that cannot be read: a scanner that cannot write is one all the same.
    fn fault_of(&self, bytes: &[u8]) -> Reason {
        let salvaged = Message::salvage(bytes).filter(Message::is_request);
        if salvaged.is_some_and(|request| self.rules.is_scanner(&request)) {
            Reason::Scanner
        } else {
            Reason::Malformed
        }
    }
}

impl Admits {
    fn of(registrar: &RegistrarPolicy) -> Admits {
        match registrar {
            RegistrarPolicy::Closed => Admits::Nobody,
            RegistrarPolicy::OpenLoopback => Admits::Loopback,
            RegistrarPolicy::Users(_) => Admits::Anybody,
        }
    }

    fn includes(self, ip: IpAddr) -> bool {
        match self {
            Admits::Nobody => false,
            Admits::Loopback => ip.is_loopback(),
            Admits::Anybody => true,
        }
    }
}

/// A To that cannot be read is the calls' matter, too: they name the fault to those whom they know.
fn is_within_dialog(request: &Message<'_>) -> bool {
    request.to().is_ok_and(|to| to.tag().is_some())
}

/// Who is asked for: the address of record of a REGISTER, the user of any other Request-URI.
fn name_asked_for<'a>(request: &Message<'a>) -> Option<&'a [u8]> {
    let uri = match request.method() {
        Method::Register => request.first(Name::To).and_then(|to| sip::Address::parse(to).ok())?.uri,
        _ => request.request_uri()?,
    };
    sip::Uri::parse(uri).ok()?.user
}

fn lock(stripe: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(line: &Line) {
    tracing::info!(target: "guard", "{line}");
}
