//! Transfers: a party sends the other one on, takes it over from another call, or is replaced by a newcomer; and what
//! else happens around that moment.
//!
//! Its parties are named by their place, for who is there changes with every transfer.

use std::time::Duration;

use call::Side;

use super::{
    Ack, CallScript, CalleeScript, Cancel, MS, Manners, Offer, OnCancel, Outcome, Route, Talk, Timer, callee,
    moment,
};
use crate::chance::Chance;

/// A side of a call, whoever is there by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// The call's number.
    pub call: usize,
    /// Its side.
    pub side: Side,
}

/// A transfer.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// When it is looked for the first time whether all that it needs are in a call.
    pub at: Duration,
    /// So long after they are it begins.
    pub lead: Duration,
    /// What is asked of the box.
    pub how: How,
    /// What else is done, counted from when all were there.
    pub stirs: Vec<(Duration, Party, Stir)>,
}

/// What a transfer asks of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `by` sends the other one to the number that was called (RFC 3515), and leaves so long after the 202.
    Blind {
        /// Who asks.
        by: Party,
        /// When it leaves.
        leaves: Option<Duration>,
    },
    /// `by` sends the other one to the party opposite `to` (RFC 3891 in a Refer-To).
    Attended {
        /// Who asks.
        by: Party,
        /// Whose dialog is named.
        to: Party,
        /// When it leaves.
        leaves: Option<Duration>,
    },
    /// The caller of the call `by` takes the place of `of` with an INVITE (RFC 3891). It places no other call.
    Replaces {
        /// Who comes.
        by: usize,
        /// Whose place it takes.
        of: Party,
        /// Only as long as `of` rings.
        early_only: bool,
    },
}

/// What a party, or somebody about it, does around a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stir {
    /// It hangs up.
    Bye,
    /// It offers.
    Offer(Offer),
    /// It sends an INFO.
    Info,
    /// It asks for a transfer of its own.
    Refer,
    /// It is switched off.
    Die,
    /// An operator hangs up its call.
    Operator,
    /// The relay hears nothing of it any more.
    Silence,
}

impl Transfer {
    /// At this moment, at once, with nothing around it.
    pub fn plain(at: Duration, how: How) -> Transfer {
        Transfer { at, lead: Duration::ZERO, how, stirs: Vec::new() }
    }

    /// The calls that take part in it.
    pub fn calls(&self) -> impl Iterator<Item = usize> + '_ {
        let (one, other) = match self.how {
            How::Blind { by, .. } => (by.call, by.call),
            How::Attended { by, to, .. } => (by.call, to.call),
            How::Replaces { by, of, .. } => (of.call, by),
        };
        [one, other].into_iter().chain(self.stirs.iter().map(|(_, party, _)| party.call))
    }

    /// The newcomer's call, which is never placed by itself.
    pub fn newcomer(&self) -> Option<usize> {
        match self.how {
            How::Replaces { by, .. } => Some(by),
            How::Blind { .. } | How::Attended { .. } => None,
        }
    }
}

/// Two calls from number `first` on, those of newcomers, and transfers between them, as chance wants it. `long`: near the
/// end of their sessions.
pub(crate) fn seeded(first: usize, long: bool, chance: &mut Chance) -> (Vec<CallScript>, Vec<Transfer>) {
    let mut scripts = vec![busy(long, chance), busy(long, chance)];
    if chance.happens(80) {
        scripts.iter_mut().for_each(|script| {
            script.caller.streams = 2;
            script.callees[0].streams = 2;
        });
    }
    let mut at = MS(700);
    let transfers = (0..1 + chance.below(3)).map(|_| {
        let by = Party { call: first + usize::from(chance.happens(500)), side: side(chance) };
        let leaves = chance.happens(500).then(|| moment(chance));
        let how = match chance.below(10) {
            0..=2 => How::Blind { by, leaves },
            3..=6 => {
                let to = Party { call: 2 * first + 1 - by.call, side: side(chance) };
                How::Attended { by, to, leaves }
            }
            _ => {
                scripts.push(newcomer(long, chance));
                let early_only = chance.happens(30);
                How::Replaces { by: first + scripts.len() - 1, of: by, early_only }
            }
        };
        let lead = match chance.below(4) {
            _ if long => MS(55_500) + chance.up_to(MS(5_000)),
            0 => chance.up_to(MS(300)),
            _ => MS(1_000) + chance.up_to(MS(1_000)),
        };
        let mut transfer = Transfer { at, lead, how, stirs: Vec::new() };
        at += moment(chance);
        for _ in 0..1 + chance.below(2) {
            trouble(&mut transfer, &mut scripts, first, chance);
        }
        transfer
    });
    let transfers = transfers.collect();
    (scripts, transfers)
}

fn side(chance: &mut Chance) -> Side {
    chance.pick(&[Side::A, Side::B])
}

impl Party {
    fn opposite(self) -> Party {
        Party { side: self.side.other(), ..self }
    }

    /// What this party does within its call.
    fn talk(self, scripts: &mut [CallScript], first: usize) -> &mut Talk {
        let script = &mut scripts[self.call - first];
        match self.side {
            Side::A => &mut script.caller.talk,
            Side::B => &mut script.callees[0].talk,
        }
    }
}

/// Adds one kind of trouble to a transfer.
fn trouble(transfer: &mut Transfer, scripts: &mut [CallScript], first: usize, chance: &mut Chance) {
    // Who gives its place up, and who is asked whether it takes another one for it.
    let (goes, asked) = match transfer.how {
        How::Blind { by, .. } => (by, by.opposite()),
        How::Attended { to, .. } => (to, to.opposite()),
        How::Replaces { of, .. } => (of, of.opposite()),
    };
    let lead = transfer.lead;
    let any = chance.pick(&[goes, goes, asked]);
    let before = |chance: &mut Chance, from, to| lead.saturating_sub(chance.between(MS(from), MS(to)));
    // An offer that is answered begins the session anew.
    let late = lead > MS(50_000);
    if late {
        asked.talk(scripts, first).thinks = MS(2_000) + chance.up_to(MS(2_000));
    }
    match if late { 3 + chance.below(4) } else { chance.below(12) } {
        // Offers that meet.
        0 => {
            let off = chance.up_to(MS(6));
            transfer.stirs.push(((lead + off).saturating_sub(MS(3)), asked, Stir::Offer(Offer::Hold)));
        }
        // An offer whose ACK is late.
        1 | 8..=9 => {
            let thinks = chance.up_to(MS(1_200));
            any.opposite().talk(scripts, first).thinks = thinks;
            let terms = &mut any.talk(scripts, first).terms;
            terms.dawdles = MS(500) + chance.up_to(MS(6_000));
            terms.botches |= chance.happens(300);
            let offer = chance.pick(&[Offer::Empty, Offer::Hold, Offer::Hold]);
            let when = before(chance, 20, 300).saturating_sub(thinks);
            transfer.stirs.push((when, any, Stir::Offer(offer)));
        }
        // An offer that is taken back, and was accepted already.
        2 | 10..=11 => {
            any.opposite().talk(scripts, first).terms.withdraws = Some(chance.up_to(MS(200)));
            let talk = any.talk(scripts, first);
            (talk.terms.withdrawn, talk.terms.trying) = (OnCancel::Answers, true);
            talk.thinks = MS(500) + chance.up_to(MS(2_000));
            transfer.stirs.push((before(chance, 200, 1_000), any.opposite(), Stir::Offer(Offer::Hold)));
        }
        // One side leaves while the other thinks.
        3 => {
            asked.talk(scripts, first).thinks = MS(500) + chance.up_to(MS(3_500));
            transfer.stirs.push((lead + chance.up_to(MS(1_000)), goes, Stir::Bye));
            transfer.stirs.push((lead + moment(chance), asked, stir(chance)));
        }
        // Much at once.
        4..=5 => {
            asked.talk(scripts, first).thinks = MS(500) + chance.up_to(MS(3_500));
            for _ in 0..1 + chance.below(4) {
                let who = chance.pick(&[goes, asked, goes, asked.opposite()]);
                transfer.stirs.push((lead + chance.up_to(MS(3_000)), who, stir(chance)));
            }
        }
        // Whatever chance wants.
        _ => {
            for _ in 0..chance.below(5) {
                let around = match chance.below(3) {
                    0 => lead.saturating_sub(chance.up_to(MS(1_000))),
                    1 => lead + chance.up_to(MS(100)),
                    _ => lead + moment(chance),
                };
                let call = first + usize::from(chance.happens(500));
                transfer.stirs.push((around, Party { call, side: side(chance) }, stir(chance)));
            }
        }
    }
}

fn stir(chance: &mut Chance) -> Stir {
    match chance.below(20) {
        0..=4 => Stir::Bye,
        5..=11 => Stir::Offer(chance.pick(&[
            Offer::Hold,
            Offer::Resume,
            Offer::Empty,
            Offer::Empty,
            Offer::More,
            Offer::Touch,
        ])),
        12..=13 => Stir::Info,
        14..=15 => Stir::Refer,
        16 => Stir::Die,
        17 => Stir::Operator,
        _ => Stir::Silence,
    }
}

/// A call that is soon up, whose parties take their time and do not always do what they should.
fn busy(long: bool, chance: &mut Chance) -> CallScript {
    let mut script = CallScript::plain(chance.pick(&[Route::West, Route::West, Route::User, Route::Both]));
    script.caller.start = chance.up_to(MS(300));
    script.caller.talk = talk(long, chance);
    script.caller.early.reliable = super::Reliably::Never;
    script.callees[0].outcome = Outcome::Answer(chance.up_to(MS(300)));
    script.callees[0].rings.clear();
    script.callees[0].talk = talk(long, chance);
    if script.route == Route::User {
        script.caller.start += MS(600);
    }
    if script.route == Route::Both {
        let mut other = CalleeScript::plain();
        other.outcome = Outcome::Never;
        script.callees.push(other);
    }
    // Who is called when somebody is sent on.
    let mut target = callee(chance);
    target.talk = talk(long, chance);
    if chance.happens(600) {
        target.outcome = Outcome::Answer(chance.up_to(MS(1_000)));
        target.rings.clear();
    }
    script.callees.push(target);
    // Where nobody is left to hang up an operator does.
    script.operator = Some(MS(if long { 300_000 } else { 100_000 }) + chance.up_to(MS(60_000)));
    script
}

/// A caller that takes somebody's place.
fn newcomer(long: bool, chance: &mut Chance) -> CallScript {
    let mut script = CallScript::plain(Route::Nowhere);
    script.caller.talk = talk(long, chance);
    script.caller.offer = chance.happens(950);
    script.caller.cancel = chance.happens(450).then(|| match chance.below(3) {
        0 => Cancel::Rash(moment(chance)),
        _ => Cancel::Patient(moment(chance)),
    });
    script.caller.ack = match chance.below(10) {
        0 => Ack::Never,
        1..=3 => Ack::Late(chance.up_to(MS(8_000))),
        _ => Ack::Prompt,
    };
    script
}

fn talk(long: bool, chance: &mut Chance) -> Talk {
    let mut talk = Talk {
        // Somebody must end the call, whoever is left in it.
        bye: Some(if long { MS(150_000) } else { MS(12_000) } + chance.up_to(MS(30_000))),
        refuses_offers: chance.happens(80),
        thinks: if chance.happens(700) { chance.up_to(MS(4_000)) } else { Duration::ZERO },
        manners: match chance.below(100) {
            0..=3 => Manners::Forgets,
            4..=7 => Manners::Mute,
            8..=11 => Manners::Stalls,
            12..=24 if long => Manners::Stalls,
            _ => Manners::Polite,
        },
        jumps: chance.happens(100),
        ..Talk::default()
    };
    talk.terms.updates = chance.happens(300);
    talk.terms.withdraws = chance.happens(200).then(|| moment(chance));
    talk.terms.withdrawn = match chance.below(10) {
        0..=2 => OnCancel::Obeys,
        3..=6 => OnCancel::Answers,
        7 => OnCancel::AnswersLate(chance.up_to(MS(3_000))),
        8 => OnCancel::Stalls,
        _ => OnCancel::Unknown,
    };
    talk.terms.trying = chance.happens(700);
    talk.terms.dawdles = if chance.happens(150) { moment(chance) } else { Duration::ZERO };
    talk.terms.botches = chance.happens(60);
    if long {
        talk.timer =
            chance.pick(&[Timer::Unknown, Timer::Keeps, Timer::Promises, Timer::Promises, Timer::Promises]);
    }
    talk
}
