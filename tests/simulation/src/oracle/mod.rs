//! The oracle: holds what goes in and out of the Core against the invariants that no call may break.
//!
//! It stands at the Core's border and reads the wire alone, so that it knows nothing of how the Core works: what the
//! Core received (after the network's losses) and what it sent. Every rule names itself in the breach it reports.

mod asked;
mod dialogs;
mod early;
mod places;
mod records;
mod secrecy;
mod sent;
mod withdrawn;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use call::Side;
use memchr::memmem::Finder;
use sip::{Message, Method, Time};

use crate::relay::Relay;
use asked::Asked;
use dialogs::{Dialog, DialogKey};
use places::{Places, Wanted};
use records::Records;
use secrecy::Origins;
use sent::Sent;

pub(crate) use withdrawn::MARK;

/// 64·T1.
const PATIENCE: Duration = Duration::from_secs(32);

/// A rule broken.
#[derive(Clone, Debug)]
pub struct Breach {
    /// The call, when it is known.
    pub call: Option<usize>,
    /// The rule and what broke it.
    pub what: String,
}

/// A transaction's branch and method.
type Key = (Vec<u8>, Vec<u8>);

/// What is known of one call.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The caller's INVITE came.
    pub(crate) invited: Option<Time>,
    /// Its final status.
    pub(crate) refused_or_answered: Option<u16>,
    /// Its CANCEL came in time.
    cancelled: bool,
    /// The caller was refused, or its dialog has ended.
    pub(crate) over: bool,
    /// Somebody was asked to take a side's place: the call may go on without its caller.
    pub(crate) moved: bool,
    /// A target's 2xx came.
    answered: bool,
    /// When the last target said its last word, if all have.
    targets_done: Option<Time>,
    /// The side whose REFER was accepted last: it may leave, and the next target takes its place.
    pub(crate) referred: Option<Side>,
    /// A party of another call, or a newcomer, is to come.
    mixed: bool,
    /// What its REFERs said of their targets.
    named: Vec<Vec<u8>>,
    /// One of another call that names a dialog of this one.
    wanted: Option<Wanted>,
    /// A newcomer took a place.
    replaced: bool,
    /// Something that ends calls without a word of the peers: an operator, silence, a lost peer.
    pub(crate) broken: bool,
    /// A re-INVITE was cancelled.
    pub(super) withdrew: bool,
    /// Call-IDs of the attempts in order.
    pub(crate) attempts: Vec<Vec<u8>>,
    /// What stands for one side alone: of A, of B.
    secrets: [Vec<Finder<'static>>; 2],
}

/// The watcher of one world.
#[derive(Debug)]
pub struct Oracle {
    pub(crate) calls: Vec<Watched>,
    /// Which call and side a Call-ID belongs to.
    sides: BTreeMap<Vec<u8>, (usize, Side)>,
    /// The calls by the Call-ID that began them.
    placed: BTreeMap<Vec<u8>, usize>,
    places: Places,
    asked: BTreeMap<Key, Asked>,
    sent: BTreeMap<Key, Sent>,
    dialogs: BTreeMap<DialogKey, Dialog>,
    taken_back: withdrawn::TakenBack,
    early: early::EarlyDialogs,
    /// The process was told to end at once: it says good-bye to nobody, but it writes its records.
    pub(crate) abandoned: bool,
    origins: Origins,
    records: Records,
    breaches: Vec<Breach>,
    /// Whether what the Core sends is read by rsip, too.
    read_twice: bool,
    /// Responses since the datagram that is being handled came.
    answers: usize,
}

impl Oracle {
    pub(crate) fn new() -> Oracle {
        Oracle {
            calls: Vec::new(),
            sides: BTreeMap::new(),
            placed: BTreeMap::new(),
            places: Places::default(),
            asked: BTreeMap::new(),
            sent: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            taken_back: withdrawn::TakenBack::default(),
            early: early::EarlyDialogs::default(),
            origins: Origins::default(),
            records: Records::default(),
            abandoned: false,
            breaches: Vec::new(),
            read_twice: true,
            answers: 0,
        }
    }

    /// rsip takes longer to read a message than a Core to write it, so most worlds of a sweep do without.
    pub(crate) fn read_once(&mut self) {
        self.read_twice = false;
    }

    /// A call that will be placed with this Call-ID; gives its number.
    pub(crate) fn expect_call(&mut self, call_id: &str, secrets: Vec<String>) -> usize {
        self.calls.push(Watched::default());
        let call = self.calls.len() - 1;
        self.sides.insert(call_id.as_bytes().to_vec(), (call, Side::A));
        self.placed.insert(call_id.as_bytes().to_vec(), call);
        self.keep_secrets(call, Side::A, secrets);
        call
    }

    pub(crate) fn keep_secrets(&mut self, call: usize, side: Side, secrets: Vec<String>) {
        for secret in secrets {
            self.keep_secret(call, side, secret.as_bytes());
        }
    }

    fn keep_secret(&mut self, call: usize, side: Side, secret: &[u8]) {
        let Some(watched) = self.calls.get_mut(call) else { return };
        let secrets = &mut watched.secrets[index(side)];
        if !secret.is_empty() && !secrets.iter().any(|known| known.needle() == secret) {
            secrets.push(Finder::new(secret).into_owned());
        }
    }

    /// The first rule broken since the last question.
    pub(crate) fn breach(&mut self) -> Option<Breach> {
        if self.breaches.is_empty() { None } else { Some(self.breaches.remove(0)) }
    }

    pub(crate) fn fail(&mut self, call: Option<usize>, what: impl Into<String>) {
        self.breaches.push(Breach { call, what: what.into() });
    }

    /// Which call and side a Call-ID belongs to now.
    pub fn call_of(&self, call_id: &[u8]) -> Option<(usize, Side)> {
        self.sides.get(call_id).copied()
    }

    /// The Call-IDs of a call.
    pub fn call_ids(&self, call: usize) -> impl Iterator<Item = &Vec<u8>> {
        self.sides.iter().filter(move |(_, (of, _))| *of == call).map(|(id, _)| id)
    }

    /// The Core is about to be handed this datagram of a party to a call.
    pub(crate) fn received(&mut self, now: Time, bytes: &[u8]) {
        self.answers = 0;
        let Ok(message) = Message::parse(bytes) else { return };
        let call = message.call_id().ok().and_then(|id| self.call_of(id));
        if message.is_request() {
            self.request_received(now, call, &message);
        } else {
            self.response_received(now, call, &message);
        }
    }

    /// The Core is about to be handed this datagram of somebody who is no party to any call.
    pub(crate) fn strange(&mut self) {
        self.answers = 0;
    }

    /// The Core has carried out everything that the datagram wanted.
    pub(crate) fn handled(&mut self, now: Time, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else { return };
        if message.is_request() {
            self.request_handled(now, &message);
        } else {
            self.response_handled(now, &message);
        }
    }

    /// The same for a stranger's datagram (no amplification, no answer to an answer).
    pub(crate) fn strange_handled(&mut self, bytes: &[u8]) {
        let most = match Message::parse(bytes) {
            Ok(message) if message.is_request() && message.method() != Method::Ack => 1,
            Ok(_) => 0,
            Err(_) => 1,
        };
        if self.answers > most {
            let answers = self.answers;
            self.fail(
                None,
                format!("{answers} datagrams answer a stranger's one ({})", crate::tape::brief(bytes)),
            );
        }
    }

    /// The Core sends this to somebody who is no party to any call.
    pub(crate) fn sent_to_stranger(&mut self, bytes: &Bytes) {
        self.answers += 1;
        if Message::parse(bytes).is_ok_and(|message| message.is_request()) {
            self.fail(None, format!("a request goes to a stranger: {}", crate::tape::brief(bytes)));
        }
    }

    /// The Core sends this to a party to a call.
    pub(crate) fn sent(&mut self, now: Time, bytes: &Bytes, relay: &Relay) {
        let Ok(message) = Message::parse(bytes) else {
            return self.fail(None, format!("what was sent cannot be read: {bytes:?}"));
        };
        let first = if message.is_request() {
            self.request_sent(now, &message, bytes)
        } else {
            self.response_sent(now, &message, bytes)
        };
        if !first {
            return;
        }
        let call = message.call_id().ok().and_then(|id| self.call_of(id));
        if self.read_twice
            && let Err(what) = crate::reader::check(bytes)
        {
            self.fail(call.map(|(call, _)| call), what);
        }
        if let Some((call, side)) = message.call_id().ok().and_then(|id| self.stands(id)) {
            self.check_secrecy(call, side, &message);
            self.check_description(call, side, &message, relay);
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Time) {
        self.check_reliable(now);
        // Longer than the box waits for two names, one after the other.
        let lag = Duration::from_secs(72);
        for call in 0..self.calls.len() {
            let watched = &self.calls[call];
            let late = watched.targets_done.is_some_and(|done| now.since(done) > lag);
            if late && watched.refused_or_answered.is_none() && watched.invited.is_some() {
                self.calls[call].targets_done = None;
                self.fail(Some(call), "the caller still rings although every target is done");
            }
        }
    }

    /// Everything is over: what must not be left behind.
    pub(crate) fn end(&mut self) {
        if !self.abandoned {
            self.end_asked();
            self.end_dialogs();
        }
        self.end_records();
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

fn key(message: &Message<'_>) -> Option<Key> {
    let branch = message.via().ok()?.branch()?.to_vec();
    Some((branch, message.cseq().ok()?.method_text.to_vec()))
}
