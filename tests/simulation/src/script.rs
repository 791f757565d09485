//! Scripts: what each party of a call means to do, chosen by a seed or written by a test.

mod contrary;
mod transfer;

use std::time::Duration;

use crate::chance::Chance;

pub use contrary::{Quirks, Stray};
pub(crate) use transfer::seeded as seeded_transfers;
pub use transfer::{How, Party, Stir, Transfer};

/// One call: who calls, and what becomes of it at each target in turn.
#[derive(Clone, Debug)]
pub struct CallScript {
    /// Which route the called number takes.
    pub route: Route,
    /// The caller.
    pub caller: CallerScript,
    /// The targets in the order in which they are tried; the last one stands for all that follow.
    pub callees: Vec<CalleeScript>,
    /// An operator hangs up this long after the INVITE.
    pub operator: Option<Duration>,
    /// The relay reports silence this long after the INVITE, if it watches then.
    pub silence: Option<Duration>,
}

/// The routes of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// One target.
    West,
    /// Two targets by address.
    WestThenEast,
    /// Two targets by name, found by `Resolve`.
    Named,
    /// One target that challenges.
    Guarded,
    /// Two by address and two by name.
    Long,
    /// One target over TCP.
    Stream,
    /// Two by address, at once.
    Both,
    /// Two by address at once with one that is found by name and has another behind it.
    Fan,
    /// Two by name, at once, the first with another behind it.
    Names,
    /// A phone that registered under the called name.
    User,
    /// No route takes the number.
    Nowhere,
}

impl Route {
    /// How the called numbers of this route begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Route::West => "51",
            Route::WestThenEast => "52",
            Route::Named => "53",
            Route::Guarded => "54",
            Route::Long => "55",
            Route::Stream => "59",
            Route::Both => "56",
            Route::Fan => "57",
            Route::Names => "58",
            Route::User => "60",
            Route::Nowhere => "99",
        }
    }
}

/// What a caller does.
#[derive(Clone, Debug)]
pub struct CallerScript {
    /// When the INVITE leaves.
    pub start: Duration,
    /// The INVITE has an offer; otherwise the ACK answers.
    pub offer: bool,
    /// Calls over TCP.
    pub stream: bool,
    /// How many m= lines its descriptions have.
    pub streams: usize,
    /// Whether and when it leaves before the answer.
    pub cancel: Option<Cancel>,
    /// How it acknowledges the 2xx of its INVITE.
    pub ack: Ack,
    /// What it does before the answer.
    pub early: Early,
    /// What it does within the dialog.
    pub talk: Talk,
}

/// What a party does before the call is answered.
#[derive(Clone, Debug, Default)]
pub struct Early {
    /// Whether provisional responses are to be reliable (RFC 3262).
    pub reliable: Reliably,
    /// How a caller acknowledges them.
    pub pracks: Pracks,
    /// Sends an UPDATE with a description so long after both sides have agreed on one.
    pub update: Option<Duration>,
}

/// What a party thinks of reliable provisional responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliably {
    /// It has not heard of them.
    #[default]
    Never,
    /// A caller supports them; a callee sends them where they are supported.
    Able,
    /// A caller requires them; a callee refuses with 421 where they are not supported.
    Demanded,
}

/// How a caller acknowledges reliable provisional responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pracks {
    /// At once.
    #[default]
    Once,
    /// So much later.
    Late(Duration),
    /// Never.
    Never,
    /// With two transactions.
    Twice,
    /// With a wrong RAck first.
    Wrong,
}

/// When a caller leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// So long after the INVITE, whether a provisional response came or not. RFC 3261 §9.1 forbids it; phones do it.
    Rash(Duration),
    /// So long after the INVITE, but not before a provisional response.
    Patient(Duration),
    /// So long after the first provisional response other than 100.
    Ringing(Duration),
    /// The same, with BYE in the early dialog (RFC 3261 §15) and no CANCEL.
    Bye(Duration),
}

/// How a 2xx is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// At once.
    Prompt,
    /// So much later.
    Late(Duration),
    /// Never.
    Never,
}

/// What a party does within the dialog; times are counted from its 2xx.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// Hangs up.
    pub bye: Option<Duration>,
    /// Offers again.
    pub offers: Vec<(Duration, Offer)>,
    /// Sends an INFO.
    pub info: Option<Duration>,
    /// Refuses the other's offers with 488.
    pub refuses_offers: bool,
    /// How long it thinks about the other's offers.
    pub thinks: Duration,
    /// What it makes of the other's requests within the dialog.
    pub manners: Manners,
    /// It leaves out numbers of CSeq, as it may (RFC 3261 §12.2.1.1).
    pub jumps: bool,
    /// It is switched off without a word.
    pub dies: Option<Duration>,
    /// Sends the other one to the number that was called, then, and so long after the 202 leaves the call.
    pub refers: Option<(Duration, Option<Duration>)>,
    /// How it changes the session.
    pub terms: Terms,
    /// What it knows of session timers.
    pub timer: Timer,
    /// What it does out of turn.
    pub quirks: Quirks,
}

/// What a party makes of session timers (RFC 4028).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timer {
    /// It has not heard of them.
    #[default]
    Unknown,
    /// Refreshes where it is to, and leaves where the other one does not.
    Keeps,
    /// Agrees to refresh, and never does.
    Promises,
    /// Wants at least two minutes, and refuses less with 422.
    Slow,
}

/// How a party changes the session within the dialog.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Lists UPDATE in Allow, and offers with it where the other one does so, too (RFC 3311).
    pub updates: bool,
    /// Takes each of its re-INVITEs back so long after it, but not before a provisional response.
    pub withdraws: Option<Duration>,
    /// What it makes of a re-INVITE of the other's that is taken back.
    pub withdrawn: OnCancel,
    /// Sends 100 to a re-INVITE at once.
    pub trying: bool,
    /// The answers in its ACKs cannot be read.
    pub garbles: bool,
    /// Its answers within the dialog have a stream too many.
    pub botches: bool,
    /// Acknowledges the 2xx of its re-INVITEs so much later.
    pub dawdles: Duration,
}

/// What a party makes of requests within the dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manners {
    /// Answers as the RFC says.
    #[default]
    Polite,
    /// Knows no dialog any more: 481.
    Forgets,
    /// Answers nothing, and hangs up for itself on BYE.
    Mute,
    /// Says 100 to a re-INVITE and nothing more.
    Stalls,
}

/// A re-INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// With `a=sendonly`.
    Hold,
    /// With `a=sendrecv`.
    Resume,
    /// Without a description: the other side is asked for its offer.
    Empty,
    /// With one m= line more than before.
    More,
    /// No offer at all: an UPDATE without a description, where the other one takes it.
    Touch,
}

/// What a callee does with an INVITE; times are counted from its arrival.
#[derive(Clone, Debug)]
pub struct CalleeScript {
    /// Sends 100.
    pub trying: Option<Duration>,
    /// Sends these provisional responses.
    pub rings: Vec<Ring>,
    /// How it ends.
    pub outcome: Outcome,
    /// Wants digest credentials first.
    pub challenges: bool,
    /// What it does on CANCEL.
    pub on_cancel: OnCancel,
    /// Sends each 2xx twice.
    pub stutters: bool,
    /// How many m= lines an offer of its own has.
    pub streams: usize,
    /// Who answers behind the address that was called.
    pub behind: Behind,
    /// Its descriptions in final responses cannot be read.
    pub garbles: bool,
    /// What it does before the answer.
    pub early: Early,
    /// What it does within the dialog.
    pub talk: Talk,
}

/// A provisional response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// When.
    pub after: Duration,
    /// 180 to 183.
    pub status: u16,
    /// With early media.
    pub sdp: bool,
}

/// A callee's final word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200.
    Answer(Duration),
    /// This status; a 3xx with contacts at other carriers or at this one.
    Refuse(Duration, u16),
    /// Nothing; it rings on.
    Never,
    /// Nothing at all to anything.
    Deaf,
    /// The host answers with ICMP: the box is told that its message could not be delivered.
    Unreachable,
}

/// Who answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The phone that rang.
    Itself,
    /// Another one, so that the 2xx has another To-tag than the 18x (RFC 3261 §13.2.2.4).
    Another,
    /// Two phones, the second so much later: two 2xx with two tags.
    Two(Duration),
}

/// What a callee makes of a CANCEL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCancel {
    /// 200 and 487.
    #[default]
    Obeys,
    /// 200, but its hand was already on the receiver: 200 to the INVITE, too.
    Answers,
    /// 200 to the CANCEL, and never a final response.
    Stalls,
    /// The same, but 200 to the INVITE so long after the CANCEL.
    AnswersLate(Duration),
    /// 481, and it rings on.
    Unknown,
    /// 200, but it has forgotten what the INVITE was of: 481 to it.
    Forgets,
    /// 200, and then it wants credentials: 407 to the INVITE.
    Challenges,
}

const OFFERS: [Offer; 7] =
    [Offer::Hold, Offer::Resume, Offer::Empty, Offer::Hold, Offer::Resume, Offer::Empty, Offer::More];
const MS: fn(u64) -> Duration = Duration::from_millis;

impl CallerScript {
    /// Calls at once with an offer, acknowledges, and waits to be hung up.
    pub fn plain() -> CallerScript {
        CallerScript {
            start: Duration::ZERO,
            offer: true,
            stream: false,
            streams: 1,
            cancel: None,
            ack: Ack::Prompt,
            early: Early::default(),
            talk: Talk::default(),
        }
    }
}

impl CalleeScript {
    /// 100 at once, 180 after 100 ms, 200 after a second; waits to be hung up.
    pub fn plain() -> CalleeScript {
        CalleeScript {
            trying: Some(Duration::ZERO),
            rings: vec![Ring { after: MS(100), status: 180, sdp: false }],
            outcome: Outcome::Answer(MS(1_000)),
            challenges: false,
            on_cancel: OnCancel::Obeys,
            stutters: false,
            streams: 1,
            behind: Behind::Itself,
            garbles: false,
            early: Early::default(),
            talk: Talk::default(),
        }
    }
}

impl Talk {
    /// Whether this side may be gone before it hangs up.
    fn is_unreliable(&self) -> bool {
        self.dies.is_some() || self.manners != Manners::Polite
    }
}

impl CalleeScript {
    fn is_unreliable(&self) -> bool {
        self.talk.is_unreliable() || matches!(self.behind, Behind::Two(_))
    }
}

impl CallScript {
    /// An ordinary call on this route: answered after a second, hung up by the caller 10 s later.
    pub fn plain(route: Route) -> CallScript {
        let mut caller = CallerScript::plain();
        caller.talk.bye = Some(MS(10_000));
        CallScript { route, caller, callees: vec![CalleeScript::plain()], operator: None, silence: None }
    }

    /// Makes the call so long that sessions of 90 s must be refreshed.
    pub(crate) fn lengthen(&mut self, chance: &mut Chance) {
        let callees = self.callees.iter_mut().map(|callee| &mut callee.talk);
        let longer = MS(60_000) + chance.up_to(MS(200_000));
        for talk in callees.chain([&mut self.caller.talk]) {
            talk.timer =
                chance.pick(&[Timer::Unknown, Timer::Keeps, Timer::Keeps, Timer::Promises, Timer::Slow]);
            talk.terms.updates |= chance.happens(400);
            talk.bye = talk.bye.map(|bye| bye + longer);
        }
    }

    /// A call as chance wants it.
    pub fn seeded(chance: &mut Chance) -> CallScript {
        let route = match chance.below(20) {
            0..=5 => Route::West,
            6 => Route::User,
            7 => Route::Stream,
            8..=9 => Route::WestThenEast,
            10..=11 => Route::Both,
            12 => Route::Named,
            13 => Route::Names,
            14 => Route::Fan,
            15..=16 => Route::Guarded,
            17..=18 => Route::Long,
            _ => Route::Nowhere,
        };
        let targets = match route {
            Route::West | Route::Guarded | Route::Stream | Route::User | Route::Nowhere => 1,
            Route::WestThenEast | Route::Named | Route::Both => 2,
            Route::Names => 3,
            Route::Long | Route::Fan => 4,
        };
        let failing = targets > 1 && chance.happens(600);
        let mut callees: Vec<CalleeScript> = (0..targets).map(|_| callee(chance)).collect();
        for callee in callees.iter_mut().take(if failing { targets - 1 } else { 0 }) {
            callee.outcome =
                Outcome::Refuse(chance.up_to(MS(3_000)), chance.pick(&[503, 500, 408, 480, 502, 302]));
        }
        for callee in &mut callees {
            callee.challenges = route == Route::Guarded && chance.happens(800);
        }
        let mut caller = caller(chance);
        let hangs_up = talk_ends(chance);
        if hangs_up.0.is_none() && hangs_up.1.is_none() {
            caller.talk.bye = Some(MS(20_000));
        } else {
            caller.talk.bye = hangs_up.0;
        }
        for callee in &mut callees {
            callee.talk.bye = hangs_up.1;
        }
        // Where nobody is left to hang up an operator does.
        let stuck = caller.stream
            || route == Route::Stream
            || caller.talk.is_unreliable()
            || callees.iter().any(CalleeScript::is_unreliable);
        let operator = match chance.below(1_000) {
            0..40 => Some(chance.up_to(MS(8_000))),
            _ if stuck => Some(MS(60_000) + chance.up_to(MS(60_000))),
            _ => None,
        };
        // Out of a chance of its own, so that what was found by seed before is found by it again.
        let mut apart = Chance::new(caller.start.as_nanos() as u64);
        if apart.happens(80) {
            let chance = &mut apart;
            let refers = Some((moment(chance), chance.happens(500).then(|| moment(chance))));
            // Who is called then has a script of its own, and sends nobody on.
            let target = callee(chance);
            callees.push(target);
            // Somebody must end the call, whoever is left in it.
            for callee in &mut callees {
                callee.talk.bye.get_or_insert(moment(chance) + MS(10_000));
            }
            if chance.happens(500) {
                caller.talk.refers = refers;
            } else {
                callees.iter_mut().rev().skip(1).for_each(|callee| callee.talk.refers = refers);
            }
        }
        let mut apart = Chance::new(!(caller.start.as_nanos() as u64));
        if apart.happens(120) {
            let callees = callees.iter_mut().map(|callee| &mut callee.talk);
            callees.chain([&mut caller.talk]).for_each(|talk| bargain(talk, &mut apart));
        }
        CallScript {
            route,
            caller,
            callees,
            operator,
            silence: chance.happens(30).then(|| chance.up_to(MS(12_000))),
        }
    }
}

fn caller(chance: &mut Chance) -> CallerScript {
    let cancel = match chance.below(10) {
        0..=1 => Some(Cancel::Rash(moment(chance))),
        2..=3 => Some(Cancel::Patient(moment(chance))),
        4 if chance.happens(300) => Some(Cancel::Bye(moment(chance))),
        4 => Some(Cancel::Ringing(moment(chance))),
        _ => None,
    };
    let ack = match chance.below(40) {
        0 => Ack::Never,
        1..=3 => Ack::Late(chance.up_to(MS(8_000))),
        _ => Ack::Prompt,
    };
    CallerScript {
        start: chance.up_to(MS(2_000)),
        offer: chance.happens(850),
        stream: chance.happens(120),
        streams: if chance.happens(100) { 2 } else { 1 },
        cancel,
        ack,
        early: early(chance),
        talk: talk(chance),
    }
}

fn callee(chance: &mut Chance) -> CalleeScript {
    let mut rings = Vec::new();
    let mut after = Duration::ZERO;
    for _ in 0..chance.below(4) {
        after += moment(chance);
        let status = chance.pick(&[180, 180, 180, 181, 182, 183]);
        let sdp = status == 183 || chance.happens(100);
        rings.push(Ring { after, status, sdp });
    }
    let last = after + moment(chance);
    let outcome = match chance.below(20) {
        0..=11 => Outcome::Answer(last),
        12 => Outcome::Answer(Duration::ZERO),
        13 => Outcome::Refuse(last, 486),
        14 if chance.happens(500) => Outcome::Refuse(last, chance.pick(&[300, 302, 302, 305, 380])),
        14 => Outcome::Refuse(last, 503),
        15 => Outcome::Refuse(last, chance.pick(&[400, 403, 404, 480, 500, 504, 600, 603, 699, 499])),
        16..=17 => Outcome::Never,
        18 => Outcome::Deaf,
        _ => Outcome::Unreachable,
    };
    let on_cancel = match chance.below(20) {
        0..=12 => OnCancel::Obeys,
        13..=15 => OnCancel::Answers,
        16 => OnCancel::Stalls,
        17..=18 => OnCancel::AnswersLate(chance.up_to(MS(60_000))),
        _ => OnCancel::Unknown,
    };
    CalleeScript {
        trying: chance.happens(700).then(|| chance.up_to(MS(200))),
        rings,
        outcome,
        challenges: false,
        on_cancel,
        stutters: chance.happens(100),
        streams: if chance.happens(150) { 2 } else { 1 },
        behind: match chance.below(40) {
            0..=1 => Behind::Another,
            2 => Behind::Two(moment(chance)),
            _ => Behind::Itself,
        },
        garbles: chance.happens(20),
        early: early(chance),
        talk: talk(chance),
    }
}

fn early(chance: &mut Chance) -> Early {
    let reliable = match chance.below(10) {
        0..=6 => Reliably::Never,
        7..=8 => Reliably::Able,
        _ => Reliably::Demanded,
    };
    if reliable == Reliably::Never {
        return Early::default();
    }
    let pracks = match chance.below(20) {
        0 => Pracks::Never,
        1 => Pracks::Twice,
        2 => Pracks::Wrong,
        3..=5 => Pracks::Late(moment(chance)),
        _ => Pracks::Once,
    };
    Early { reliable, pracks, update: chance.happens(300).then(|| moment(chance)) }
}

/// Races need moments that are close together as often as moments that are far apart.
fn moment(chance: &mut Chance) -> Duration {
    match chance.below(4) {
        0 => chance.up_to(MS(4)),
        1 => chance.up_to(MS(300)),
        2 => chance.up_to(MS(2_000)),
        _ => chance.up_to(MS(10_000)),
    }
}

fn talk(chance: &mut Chance) -> Talk {
    let offers = (0..chance.below(3).saturating_sub(if chance.happens(500) { 2 } else { 0 }))
        .map(|_| (chance.up_to(MS(10_000)), chance.pick(&OFFERS)))
        .collect();
    Talk {
        bye: None,
        offers,
        info: chance.happens(150).then(|| chance.up_to(MS(10_000))),
        refuses_offers: chance.happens(100),
        thinks: if chance.happens(300) { chance.up_to(MS(3_000)) } else { Duration::ZERO },
        manners: match chance.below(100) {
            0..=2 => Manners::Forgets,
            3..=5 => Manners::Mute,
            6..=8 => Manners::Stalls,
            _ => Manners::Polite,
        },
        jumps: chance.happens(150),
        dies: chance.happens(20).then(|| chance.up_to(MS(20_000))),
        refers: None,
        terms: Terms::default(),
        timer: Timer::Unknown,
        quirks: Quirks::default(),
    }
}

/// What a party does that changes the session in more ways than an offer that is answered.
fn bargain(talk: &mut Talk, chance: &mut Chance) {
    let withdrawn = match chance.below(10) {
        0..=4 => OnCancel::Obeys,
        5..=6 => OnCancel::Answers,
        7 => OnCancel::AnswersLate(chance.up_to(MS(50_000))),
        8 => OnCancel::Stalls,
        _ => OnCancel::Unknown,
    };
    talk.terms = Terms {
        updates: chance.happens(600),
        withdraws: chance.happens(400).then(|| chance.up_to(MS(2_000))),
        withdrawn,
        trying: chance.happens(600),
        garbles: chance.happens(60),
        botches: false,
        dawdles: Duration::ZERO,
    };
    if chance.happens(700) {
        talk.offers.push((chance.up_to(MS(5_000)), chance.pick(&OFFERS)));
    }
    if chance.happens(300) {
        talk.offers.push((chance.up_to(MS(5_000)), Offer::Touch));
    }
    if talk.thinks.is_zero() && chance.happens(600) {
        talk.thinks = chance.up_to(MS(4_000));
    }
}

/// Who hangs up when: the caller, the callee, or both at nearly the same moment.
fn talk_ends(chance: &mut Chance) -> (Option<Duration>, Option<Duration>) {
    // Some calls outlast 64·T1, so that what is owed until then comes due.
    let when = if chance.happens(100) { chance.up_to(MS(60_000)) } else { moment(chance) };
    match chance.below(3) {
        0 => (Some(when), None),
        1 => (None, Some(when)),
        _ => (Some(when), Some(when + chance.up_to(MS(6)))),
    }
}
