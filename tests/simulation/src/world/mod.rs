//! The world: one or more Cores, everything around them, and a clock that jumps from event to event.

mod carry;
mod cut;
mod failure;
mod journals;
mod mishaps;
mod registrants;
mod setup;
mod streams;
mod transfers;
mod verdict;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use call::{Core, Coverage, Input, MediaId, MediaReport, NextHop, Now, QueryId, SendToken, Utc, shard_of};
use routing::Decision;
use sip::{Time, Transport};
use uuid::Uuid;

use crate::chance::Chance;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::phone::Phone;
use crate::relay::Relay;
use crate::script::{CallScript, CalleeScript, Party, Stir, Transfer};
use crate::tape::Tape;

use mishaps::Partition;
use streams::Connection;
use wire::Loss;

pub use cut::Cut;
pub use failure::Failure;
pub use mishaps::Deed;
pub(crate) use setup::call_of_number;
pub use setup::{BOX, STRANGER, caller_address, carrier_address};

/// No world takes longer: four targets that each ring for Timer C, 64·T1 for each to go, talk, and the next refresh of a
/// session that nobody ends.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// When an operator ends the calls that nobody hangs up.
const CLOSING: Duration = Duration::from_secs(20 * 60);
/// One of so many seeds has every message of the Core read by a second reader.
const READ_TWICE: u64 = 8;
/// More events than this at one moment are a wheel that spins.
const SPINNING: u32 = 5_000;

/// How the world answers the Core.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Routing takes up to this long.
    pub routing: Duration,
    /// Names take up to this long.
    pub names: Duration,
    /// How many of 1000 names are not found.
    pub unknown_names: u64,
    /// The relay takes this long.
    pub relay: Duration,
    /// How many of 1000 orders for ports are refused.
    pub refusals: u64,
    /// How many of 1000 questions to routing, names or the relay are never answered.
    pub forgets: u64,
    /// How many of 1000 messages of the box come back as undeliverable.
    pub undeliverable: u64,
    /// The sessions that the box asks for.
    pub session_expires: Duration,
}

impl Habits {
    /// Everything is answered at once.
    pub fn prompt() -> Habits {
        Habits {
            routing: Duration::ZERO,
            names: Duration::ZERO,
            unknown_names: 0,
            relay: Duration::ZERO,
            refusals: 0,
            forgets: 0,
            undeliverable: 0,
            session_expires: Duration::from_secs(1_800),
        }
    }

    pub(crate) fn seeded(chance: &mut Chance) -> Habits {
        let ms = Duration::from_millis;
        Habits {
            routing: chance.pick(&[Duration::ZERO, Duration::ZERO, ms(5), ms(2_000)]),
            names: chance.pick(&[Duration::ZERO, ms(50), ms(4_000)]),
            unknown_names: chance.pick(&[0, 0, 300]),
            relay: chance.pick(&[Duration::ZERO, Duration::ZERO, ms(1), ms(900)]),
            refusals: chance.pick(&[0, 0, 0, 100]),
            forgets: chance.pick(&[0, 0, 0, 0, 0, 50]),
            undeliverable: chance.pick(&[0, 0, 0, 0, 0, 30]),
            session_expires: ms(1_800_000),
        }
    }
}

/// What happens at a moment, apart from timers.
#[derive(Debug)]
enum Happening {
    Arrives {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Bytes,
    },
    Routed {
        shard: usize,
        query: QueryId,
        decision: Decision,
    },
    Resolved {
        shard: usize,
        query: QueryId,
        addresses: Vec<SocketAddr>,
        call: Option<usize>,
    },
    Media {
        shard: usize,
        report: MediaReport,
    },
    Undeliverable {
        shard: usize,
        token: SendToken,
        call: Option<usize>,
        bytes: Bytes,
    },
    Operator {
        call: usize,
    },
    Silence {
        call: usize,
    },
    /// Are all here that a transfer needs?
    Gather {
        transfer: usize,
        looks: u16,
    },
    Transfer {
        transfer: usize,
    },
    Stir {
        who: Party,
        stir: Stir,
    },
    /// Do those who talk hear each other?
    Listen {
        call: usize,
    },
    Deed(Deed),
    /// Bytes on a connection, towards the box (0) or the phone (1).
    Piece {
        connection: usize,
        way: usize,
        bytes: Bytes,
    },
    Reset,
    Register {
        call: usize,
    },
    Noise,
}

/// A target's phone, made when its INVITE arrives.
#[derive(Debug)]
struct Slot {
    call: usize,
    address: SocketAddr,
    script: CalleeScript,
    phone: Option<Phone>,
}

/// What a world was like, for statistics of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Calls placed.
    pub calls: u64,
    /// Calls answered at the caller.
    pub answered: u64,
    /// Calls whose caller got 487.
    pub cancelled: u64,
    /// Datagrams sent by anybody.
    pub datagrams: u64,
    /// Happenings and timers.
    pub steps: u64,
}

/// A world.
pub struct World {
    seed: Option<u64>,
    cut: Cut,
    now: Time,
    cores: Vec<Core>,
    network: Network,
    habits: Habits,
    chance: Chance,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    waiting: BTreeMap<u64, Happening>,
    next_id: u64,
    scripts: Vec<CallScript>,
    transfers: Vec<Transfer>,
    callers: Vec<Phone>,
    slots: BTreeMap<Vec<u8>, Slot>,
    relay: Relay,
    oracle: Oracle,
    /// The operator has ended what was left.
    closed: bool,
    tape: Tape,
    calls: BTreeMap<usize, Uuid>,
    /// Every call that a Core has begun: its shard, what it was called for, its id.
    begun: Vec<(usize, Option<usize>, Uuid)>,
    /// The call of each question to routing, and the session that was opened on its answer.
    questions: BTreeMap<(usize, QueryId), usize>,
    sessions: BTreeMap<usize, MediaId>,
    /// The call whose route was just told.
    routed: Option<usize>,
    /// Datagrams for addresses where no phone is.
    strays: Vec<(SocketAddr, Bytes)>,
    losses: Vec<Loss>,
    partitions: Vec<Partition>,
    /// By number, counted from 1 as the box sees it.
    connections: Vec<Connection>,
    /// The calls whose called phone has registered.
    registered: BTreeSet<usize>,
    /// Of the last REGISTER.
    cseq: u32,
    /// A connection was reset: what was on it is lost, and nobody repeats it.
    torn: bool,
    /// A test has sent something in a caller's name.
    by_hand: bool,
    steps: u64,
    spins: u32,
}

impl World {
    /// A world where nothing is lost or late, with these calls.
    pub fn of(scripts: Vec<CallScript>) -> World {
        World::with(scripts, Network::perfect(), Habits::prompt())
    }

    /// A world with these calls.
    pub fn with(scripts: Vec<CallScript>, network: Network, habits: Habits) -> World {
        World::new(Chance::new(1), network, habits, 1, scripts)
    }

    fn new(
        mut chance: Chance,
        network: Network,
        habits: Habits,
        shards: u16,
        scripts: Vec<CallScript>,
    ) -> World {
        let snapshot = setup::snapshot(false);
        let cores = (0..shards)
            .map(|shard| {
                let users = registrants::policy(scripts.iter().map(|script| script.route));
                let mut settings = setup::settings(shard, shards, users, &mut chance);
                settings.session_expires = habits.session_expires;
                Core::new(settings, Arc::clone(&snapshot))
            })
            .collect();
        let mut world = World {
            seed: None,
            cut: Cut::default(),
            now: Time::ZERO,
            cores,
            network,
            habits,
            chance,
            queue: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            next_id: 0,
            scripts,
            transfers: Vec::new(),
            callers: Vec::new(),
            slots: BTreeMap::new(),
            relay: Relay::default(),
            oracle: Oracle::new(),
            closed: false,
            tape: Tape::default(),
            calls: BTreeMap::new(),
            begun: Vec::new(),
            questions: BTreeMap::new(),
            sessions: BTreeMap::new(),
            routed: None,
            strays: Vec::new(),
            losses: Vec::new(),
            partitions: Vec::new(),
            connections: Vec::new(),
            registered: BTreeSet::new(),
            cseq: 0,
            torn: false,
            by_hand: false,
            steps: 0,
            spins: 0,
        };
        world.plan_registrations();
        for at in 0..world.scripts.len() {
            let script = world.scripts[at].clone();
            let number = setup::number(script.route, at);
            let start = script.caller.start;
            let phone = Phone::caller(caller_address(at), BOX, &number, script.caller, world.chance.apart());
            world.oracle.expect_call(phone.call_id(), phone.secrets());
            world.oracle.calls[at].broken = script.callees.iter().any(|callee| callee.talk.terms.botches);
            world.oracle.calls[at].broken |= phone.botches();
            world.callers.push(phone);
            for seconds in [2, 5, 15] {
                world.schedule(start + Duration::from_secs(seconds), Happening::Listen { call: at });
            }
            if let Some(after) = script.operator {
                world.schedule(start + after, Happening::Operator { call: at });
            }
            if let Some(after) = script.silence {
                world.schedule(start + after, Happening::Silence { call: at });
            }
        }
        world
    }

    /// Lets everything happen until nothing more can.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn run(&mut self) -> Result<Summary, Box<Failure>> {
        while self.step()? {}
        self.check_end()?;
        Ok(self.summary())
    }

    /// Lets everything happen up to a moment.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn run_until(&mut self, time: Duration) -> Result<(), Box<Failure>> {
        let until = Time::ZERO + time;
        while self.next_moment().is_some_and(|next| next <= until) {
            self.step()?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// One happening or one moment of timers; false when nothing is left.
    fn step(&mut self) -> Result<bool, Box<Failure>> {
        let Some(next) = self.next_moment() else { return Ok(false) };
        self.spins = if next > self.now { 0 } else { self.spins + 1 };
        self.now = self.now.max(next);
        self.steps += 1;
        if self.spins > SPINNING {
            return Err(self.failure(None, "something happens again and again at one moment"));
        }
        // Session refreshes keep a call alive for ever whose phones have both forgotten to hang up.
        if self.now > Time::ZERO + CLOSING && !std::mem::replace(&mut self.closed, true) {
            self.perform(Deed::EndAll)?;
        }
        if self.now > Time::ZERO + LONGEST {
            return Err(self.failure(None, "an hour has passed and it is not over"));
        }
        match self.queue.peek() {
            Some(&Reverse((time, id))) if time <= self.now => {
                self.queue.pop();
                if let Some(happening) = self.waiting.remove(&id) {
                    self.happen(happening)?;
                }
            }
            Some(_) | None => self.run_timers()?,
        }
        self.oracle.tick(self.now);
        self.check()?;
        Ok(true)
    }

    fn next_moment(&self) -> Option<Time> {
        let queue = self.queue.peek().map(|&Reverse((time, _))| time);
        let cores = self.cores.iter().filter_map(Core::poll_timeout);
        let phones = self.phones().filter_map(Phone::deadline);
        queue.into_iter().chain(cores).chain(phones).min()
    }

    fn phones(&self) -> impl Iterator<Item = &Phone> {
        self.callers.iter().chain(self.slots.values().filter_map(|slot| slot.phone.as_ref()))
    }

    fn run_timers(&mut self) -> Result<(), Box<Failure>> {
        let (now, at) = (self.now, self.now());
        for shard in 0..self.cores.len() {
            if self.cores[shard].poll_timeout().is_some_and(|time| time <= now) {
                self.cores[shard].handle_timeout(at);
                self.carry_out(shard)?;
            }
        }
        for phone in 0..self.callers.len() {
            if self.callers[phone].deadline().is_some_and(|time| time <= now) {
                self.callers[phone].on_timeout(now);
                self.drain_caller(phone)?;
            }
        }
        let due: Vec<Vec<u8>> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.phone.as_ref().and_then(Phone::deadline).is_some_and(|time| time <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            if let Some(phone) = self.slots.get_mut(&id).and_then(|slot| slot.phone.as_mut()) {
                phone.on_timeout(now);
            }
            self.drain_callee(&id)?;
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Box<Failure>> {
        match happening {
            Happening::Arrives { from, to, bytes } => self.arrive(from, to, bytes),
            Happening::Routed { shard, query, decision } => {
                self.routed = self.questions.get(&(shard, query)).copied();
                let done = self.input(shard, Input::Routed { query, decision });
                self.routed = None;
                done
            }
            Happening::Resolved { shard, query, addresses, call } => {
                self.tape.note(self.now, call, format!("resolved: {addresses:?}"));
                let hop = |address| NextHop { address, transport: Transport::Udp };
                let hops = addresses.into_iter().map(hop).collect();
                self.input(shard, Input::Resolved { query, hops, note: None })
            }
            Happening::Media { shard, report } => self.input(shard, Input::Media(report)),
            Happening::Undeliverable { shard, token, call, bytes } => {
                self.oracle.undelivered(self.now, &bytes);
                self.tape.note(self.now, call, "undeliverable");
                self.input(shard, Input::Undeliverable { token })
            }
            Happening::Operator { call } => self.operate(call),
            Happening::Silence { call } => self.fall_silent(call),
            Happening::Gather { transfer, looks } => {
                self.gather(transfer, looks);
                Ok(())
            }
            Happening::Transfer { transfer } => self.begin_transfer(transfer),
            Happening::Stir { who, stir } => self.stir(who, stir),
            Happening::Listen { call } => self.listen(call),
            Happening::Deed(deed) => self.perform(deed),
            Happening::Piece { connection, way, bytes } => self.piece(connection, way, &bytes),
            Happening::Reset => self.reset(),
            Happening::Register { call } => {
                self.register(call);
                Ok(())
            }
            Happening::Noise => {
                self.make_noise();
                Ok(())
            }
        }
    }

    fn now(&self) -> Now {
        const EPOCH: i64 = 1_760_000_000_000_000;
        let micros = i64::try_from(self.now.as_micros()).unwrap_or(i64::MAX);
        Now { time: self.now, utc: Utc(EPOCH + micros) }
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        let id = self.next_id;
        self.next_id += 1;
        self.queue.push(Reverse((self.now + after, id)));
        self.waiting.insert(id, happening);
    }

    fn shard_of(&self, bytes: &[u8]) -> usize {
        let shards = u16::try_from(self.cores.len()).unwrap_or(1);
        sip::call_id_of(bytes).map_or(0, |id| usize::from(shard_of(id, shards)))
    }

    /// Which cells of the tables its Cores have been through.
    pub fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        self.cores.iter().for_each(|core| coverage.add(core.coverage()));
        coverage
    }

    /// Everything that was sent.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// The whole story, or one call of it, as a ladder.
    pub fn ladder(&self, call: Option<usize>) -> String {
        self.failure(call, "").ladder
    }

    /// The watcher, for its records.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The caller of a call.
    pub fn caller(&self, call: usize) -> &Phone {
        &self.callers[call]
    }

    /// The phones that a call reached, in no particular order.
    pub fn callees(&self, call: usize) -> impl Iterator<Item = &Phone> {
        self.slots.values().filter(move |slot| slot.call == call).filter_map(|slot| slot.phone.as_ref())
    }

    /// Sends bytes to the box by hand. Answers that the phone at this address has not asked for become strays.
    pub fn inject(&mut self, from: SocketAddr, bytes: impl Into<Bytes>) {
        self.by_hand = true;
        self.transmit(from, BOX, bytes.into());
    }

    /// What has arrived where no phone is.
    pub fn take_strays(&mut self) -> Vec<(SocketAddr, Bytes)> {
        std::mem::take(&mut self.strays)
    }
}
