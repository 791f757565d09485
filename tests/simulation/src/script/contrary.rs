//! Contrary parties: requests at moments when no phone sends them, requests that are never answered, refusals out of a
//! mood. Few worlds have them, and in those every call, so that the narrow races meet each other.

use std::time::Duration;

use super::{
    Ack, Behind, CallScript, CalleeScript, CallerScript, Cancel, Early, MS, Manners, Offer, OnCancel,
    Outcome, Pracks, Reliably, Ring, Route, Talk, Terms, Timer, moment,
};
use crate::chance::Chance;

/// What a party does out of turn.
#[derive(Clone, Debug, Default)]
pub struct Quirks {
    /// Requests so long after its INVITE was sent or came, wherever the call stands by then.
    pub strays: Vec<(Duration, Stray)>,
    /// Methods that it never answers.
    pub ignores: Vec<&'static str>,
    /// Before the answer it says 481 to requests of the other one's.
    pub disowns: bool,
    /// It refuses half of what it is offered.
    pub moody: bool,
    /// A callee wants credentials only so long after the INVITE, when it has rung already.
    pub challenges_late: Option<Duration>,
    /// A callee that described itself reliably does so again in its 2xx.
    pub repeats: bool,
    /// It is switched off when it has hung up.
    pub vanishes: bool,
}

/// A request out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// INFO.
    Info,
    /// MESSAGE.
    Message,
    /// OPTIONS.
    Options,
    /// UPDATE with a description.
    Update,
    /// UPDATE without one.
    Touch,
    /// INVITE with a To-tag and a description.
    Reinvite,
    /// The same without a description.
    EmptyReinvite,
    /// PRACK of a response that never was.
    Prack,
    /// REFER.
    Refer,
    /// BYE, of a callee that has not answered or of a party that has hung up.
    Bye,
    /// The last ACK again, or one of nothing.
    Ack,
}

const SHORT: [&str; 5] = ["INFO", "MESSAGE", "UPDATE", "PRACK", "NOTIFY"];
const STRAYS: [Stray; 11] = [
    Stray::Info,
    Stray::Message,
    Stray::Options,
    Stray::Update,
    Stray::Touch,
    Stray::Reinvite,
    Stray::EmptyReinvite,
    Stray::Prack,
    Stray::Refer,
    Stray::Bye,
    Stray::Ack,
];

impl CallScript {
    /// Makes its parties contrary: while it rings, or within the dialog.
    pub(crate) fn contradict(&mut self, chance: &mut Chance) {
        match chance.below(100) {
            0..45 => self.ring_contrarily(chance),
            45..47 => self.wait_for_timer_c(chance),
            _ => self.talk_contrarily(chance),
        }
    }

    /// Everything that can cross while nobody has answered: reliable provisional responses, their descriptions, offers
    /// and INFO, on a call that is answered late or goes on to the next target.
    fn ring_contrarily(&mut self, chance: &mut Chance) {
        let CallScript { caller, callees, operator, .. } = self;
        if chance.happens(300) {
            self.route = Route::Guarded;
        }
        caller.offer = chance.happens(700);
        caller.early = early(chance);
        if chance.happens(500) {
            caller.ack = Ack::Late(chance.up_to(MS(31_000)));
        }
        caller.cancel = match chance.below(10) {
            0 => Some(Cancel::Patient(chance.up_to(MS(12_000)))),
            1 => Some(Cancel::Ringing(moment(chance))),
            _ => None,
        };
        caller.talk.quirks = quirks(chance, MS(14_000));
        caller.talk.terms.trying = chance.happens(300);
        let last = callees.len().saturating_sub(1);
        for (at, callee) in callees.iter_mut().enumerate() {
            rings_contrarily(callee, at == last, self.route == Route::Guarded, chance);
        }
        operator.get_or_insert(MS(150_000) + chance.up_to(MS(60_000)));
    }

    /// Offers of both sides close to each other, taken back, refused, never answered, answered too late.
    fn talk_contrarily(&mut self, chance: &mut Chance) {
        let CallScript { caller, callees, operator, silence, .. } = self;
        let CallerScript { cancel, talk, .. } = caller;
        *cancel = None;
        let stays = MS(12_000) + chance.up_to(MS(25_000));
        // Offers meet where they are made within the same seconds.
        let around = chance.up_to(MS(8_000));
        talks_contrarily(talk, (around, stays), chance);
        for callee in callees.iter_mut() {
            if !matches!(callee.outcome, Outcome::Refuse(..)) {
                callee.outcome = Outcome::Answer(chance.up_to(MS(600)));
            }
            callee.behind = Behind::Itself;
            callee.garbles = false;
            talks_contrarily(&mut callee.talk, (around, stays + chance.up_to(MS(4_000))), chance);
        }
        operator.get_or_insert(MS(90_000) + chance.up_to(MS(60_000)));
        if chance.happens(150) {
            *silence = Some(around + chance.up_to(MS(5_000)));
        }
        if chance.happens(60) {
            *operator = Some(around + chance.up_to(MS(4_000)));
        }
    }

    /// An offer that is never answered, taken back when Timer C is about to end it.
    fn wait_for_timer_c(&mut self, chance: &mut Chance) {
        let CallScript { caller, callees, operator, .. } = self;
        caller.talk =
            Talk { offers: vec![(MS(1_000), Offer::Hold)], bye: Some(MS(230_000)), ..Talk::default() };
        caller.talk.terms.withdraws = Some(MS(172_000) + chance.up_to(MS(9_000)));
        caller.cancel = None;
        for callee in callees {
            *callee = CalleeScript::plain();
            callee.talk.manners = Manners::Stalls;
            callee.talk.terms.withdrawn = OnCancel::Stalls;
        }
        *operator = Some(MS(250_000));
    }

    /// A session that ends while an offer waits: for the other leg, or for ports.
    pub(crate) fn offer_at_the_end_of_the_session(&mut self, chance: &mut Chance) {
        let callees = self.callees.iter_mut().map(|callee| &mut callee.talk);
        for talk in callees.chain([&mut self.caller.talk]) {
            talk.timer = chance.pick(&[Timer::Promises, Timer::Promises, Timer::Keeps, Timer::Unknown]);
            talk.offers = vec![(MS(58_000) + chance.up_to(MS(3_000)), Offer::More)];
            talk.bye = Some(MS(75_000) + chance.up_to(MS(5_000)));
        }
        let answers = |callee: &mut CalleeScript| callee.outcome = Outcome::Answer(chance.up_to(MS(900)));
        self.callees.iter_mut().for_each(answers);
        self.caller.cancel = None;
    }
}

fn rings_contrarily(callee: &mut CalleeScript, is_last: bool, guarded: bool, chance: &mut Chance) {
    let mut after = Duration::ZERO;
    callee.rings.clear();
    for _ in 0..1 + chance.below(3) {
        after += chance.pick(&[chance.clone().up_to(MS(50)), chance.clone().up_to(MS(2_000))]);
        callee.rings.push(Ring { after, status: chance.pick(&[180, 183, 183]), sdp: chance.happens(800) });
    }
    let end = match chance.below(4) {
        0 => moment(chance),
        1 => chance.up_to(MS(31_000)),
        _ => chance.up_to(MS(8_000)),
    };
    callee.outcome = match chance.below(10) {
        0 => Outcome::Never,
        1..=2 if is_last => Outcome::Refuse(after + end, chance.pick(&[401, 407, 486, 503])),
        1..=5 if !is_last => Outcome::Refuse(after + end, chance.pick(&[503, 480, 500, 407])),
        _ => Outcome::Answer(after + end),
    };
    callee.on_cancel = chance.pick(&[
        OnCancel::Obeys,
        OnCancel::Answers,
        OnCancel::Challenges,
        OnCancel::Stalls,
        OnCancel::Stalls,
        OnCancel::AnswersLate(chance.clone().up_to(MS(40_000))),
    ]);
    callee.early = early(chance);
    callee.talk.quirks = quirks(chance, MS(14_000));
    callee.talk.terms.trying = chance.happens(300);
    callee.challenges = guarded;
    if guarded {
        callee.behind = Behind::Itself;
        callee.talk.quirks.challenges_late = chance.happens(800).then(|| chance.up_to(MS(4_000)));
    }
    callee.talk.quirks.repeats = chance.happens(400);
}

fn early(chance: &mut Chance) -> Early {
    let pracks = match chance.below(12) {
        0 => Pracks::Late(chance.up_to(MS(31_500))),
        1 => Pracks::Late(chance.up_to(MS(3_000))),
        _ => Pracks::Once,
    };
    let reliable = chance.pick(&[Reliably::Able, Reliably::Able, Reliably::Able, Reliably::Demanded]);
    Early { reliable, pracks, update: chance.happens(500).then(|| moment(chance)) }
}

fn quirks(chance: &mut Chance, within: Duration) -> Quirks {
    let strays =
        (0..chance.below(6)).map(|_| (moment(chance) + chance.up_to(within), chance.pick(&STRAYS))).collect();
    let ignores = (0..chance.below(3).saturating_sub(1)).map(|_| chance.pick(&SHORT)).collect();
    Quirks { strays, ignores, disowns: chance.happens(150), ..Quirks::default() }
}

fn talks_contrarily(talk: &mut Talk, (around, stays): (Duration, Duration), chance: &mut Chance) {
    let close = |chance: &mut Chance| around + moment(chance) / 2;
    talk.offers = (0..1 + chance.below(4)).map(|_| (close(chance), chance.pick(&super::OFFERS))).collect();
    if chance.happens(150) {
        // Long after the other's offers, so that an exchange of theirs may stand at its end.
        talk.offers.push((MS(32_000) + chance.up_to(MS(3_000)), Offer::Hold));
    }
    talk.thinks =
        chance.pick(&[Duration::ZERO, chance.clone().up_to(MS(3_000)), chance.clone().up_to(MS(40_000))]);
    talk.refuses_offers = chance.happens(50);
    talk.dies = None;
    talk.manners =
        chance.pick(&[Manners::Polite, Manners::Polite, Manners::Polite, Manners::Mute, Manners::Stalls]);
    if talk.manners != Manners::Polite && chance.happens(800) {
        talk.manners = Manners::Polite;
    }
    let late = chance.clone().up_to(MS(40_000));
    talk.terms = Terms {
        updates: chance.happens(400),
        withdraws: match chance.below(20) {
            0 => Some(MS(150_000) + chance.up_to(MS(32_000))),
            1..=12 => Some(chance.up_to(MS(2_500))),
            _ => None,
        },
        withdrawn: chance.pick(&[
            OnCancel::Obeys,
            OnCancel::Obeys,
            OnCancel::Answers,
            OnCancel::AnswersLate(late),
            OnCancel::Stalls,
            OnCancel::Unknown,
            OnCancel::Forgets,
            OnCancel::Challenges,
        ]),
        trying: chance.happens(700),
        garbles: chance.happens(80),
        ..Terms::default()
    };
    let mut quirks = quirks(chance, MS(3_000));
    quirks.strays.iter_mut().for_each(|(after, _)| *after += around);
    quirks.moody = chance.happens(300);
    quirks.vanishes = chance.happens(50);
    talk.quirks = quirks;
    talk.bye = Some(if chance.happens(200) { close(chance) } else { stays });
}
