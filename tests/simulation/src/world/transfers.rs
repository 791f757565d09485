//! Transfers of a world: who takes part is looked up when the moment has come, for calls change hands.

use std::time::Duration;

use call::{Input, MediaReport};

use super::{Failure, Happening, World};
use crate::phone::Phone;
use crate::script::{How, Party, Stir, Transfer};

type Done = Result<(), Box<Failure>>;

/// How often it is looked whether all that a transfer needs are in a call, and how many times.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u16 = 150;

/// Where a phone is kept.
#[derive(Clone, Debug)]
enum Place {
    Caller(usize),
    Slot(Vec<u8>),
}

impl World {
    /// The same world with these transfers; the calls of newcomers are placed by nobody else.
    #[must_use]
    pub fn transferring(mut self, transfers: Vec<Transfer>) -> World {
        for (at, transfer) in transfers.iter().enumerate() {
            if let Some(newcomer) = transfer.newcomer() {
                self.callers[newcomer].stay_at_home();
            }
            self.schedule(transfer.at, Happening::Gather { transfer: at, looks: 0 });
        }
        self.transfers = transfers;
        self
    }

    /// Waits until all that a transfer needs are in a call.
    pub(super) fn gather(&mut self, at: usize, looks: u16) {
        let Transfer { lead, how, ref stirs, .. } = self.transfers[at];
        let needed: &[Party] = match &how {
            How::Blind { by, .. } => &[*by, Party { call: by.call, side: by.side.other() }],
            How::Attended { by, to, .. } => &[*by, *to],
            How::Replaces { of, .. } => &[*of, Party { call: of.call, side: of.side.other() }],
        };
        if needed.iter().any(|party| self.place_of(*party).is_none()) {
            if looks < LOOKS {
                self.schedule(LOOK, Happening::Gather { transfer: at, looks: looks + 1 });
            }
            return;
        }
        let stirs = stirs.clone();
        self.schedule(lead, Happening::Transfer { transfer: at });
        for (after, who, stir) in stirs {
            self.schedule(after, Happening::Stir { who, stir });
        }
        for after in [1, 5, 15] {
            for call in [needed[0].call, needed[1].call] {
                self.schedule(lead + Duration::from_secs(after), Happening::Listen { call });
            }
        }
    }

    pub(super) fn begin_transfer(&mut self, at: usize) -> Done {
        let now = self.now;
        match self.transfers[at].how {
            How::Blind { by, leaves } => self.with_phone(by, |phone| phone.transfer("", leaves, now)),
            How::Attended { by, to, leaves } => {
                let Some(dialog) = self.name_of(to) else { return Ok(()) };
                self.with_phone(by, |phone| phone.transfer(&dialog, leaves, now))
            }
            How::Replaces { by, of, early_only } => {
                let Some(dialog) = self.name_of(of) else { return Ok(()) };
                self.callers[by].take_place(&dialog, early_only, now);
                self.drain_caller(by)
            }
        }
    }

    pub(super) fn stir(&mut self, who: Party, stir: Stir) -> Done {
        let now = self.now;
        match stir {
            Stir::Operator => self.operate(who.call),
            Stir::Silence => self.hush(who),
            Stir::Bye | Stir::Offer(_) | Stir::Info | Stir::Refer | Stir::Die => {
                self.with_phone(who, |phone| phone.stir(stir, now))
            }
        }
    }

    /// The relay says that it hears nothing of this party any more.
    fn hush(&mut self, who: Party) -> Done {
        let Some(session) = self.oracle.session_of(who.call) else { return Ok(()) };
        if !self.relay.watched().any(|watched| watched == session) {
            return Ok(());
        }
        self.tape.note(self.now, Some(who.call), format!("side {:?} falls silent", who.side));
        self.oracle.calls[who.call].broken = true;
        for shard in 0..self.cores.len() {
            self.input(shard, Input::Media(MediaReport::Silent { session, side: who.side }))?;
        }
        Ok(())
    }

    fn with_phone(&mut self, who: Party, act: impl FnOnce(&mut Phone)) -> Done {
        match self.place_of(who) {
            Some(Place::Caller(at)) => {
                act(&mut self.callers[at]);
                self.drain_caller(at)
            }
            Some(Place::Slot(id)) => {
                if let Some(phone) = self.slots.get_mut(&id).and_then(|slot| slot.phone.as_mut()) {
                    act(phone);
                }
                self.drain_callee(&id)
            }
            None => Ok(()),
        }
    }

    fn name_of(&self, who: Party) -> Option<String> {
        match self.place_of(who)? {
            Place::Caller(at) => self.callers[at].dialog_name(),
            Place::Slot(id) => self.slots.get(&id)?.phone.as_ref()?.dialog_name(),
        }
    }

    /// Who is on this side now.
    fn place_of(&self, who: Party) -> Option<Place> {
        let is_there = |phone: &Phone| {
            let place = self.oracle.call_of(phone.call_id().as_bytes());
            phone.is_in_call() && place == Some((who.call, who.side))
        };
        let caller = self.callers.iter().position(&is_there).map(Place::Caller);
        caller.or_else(|| {
            let there = |slot: &super::Slot| slot.phone.as_ref().is_some_and(&is_there);
            self.slots.iter().find(|(_, slot)| there(slot)).map(|(id, _)| Place::Slot(id.clone()))
        })
    }

    /// Everybody who believes to be in this call.
    pub(super) fn parties(&self, call: usize) -> impl Iterator<Item = (call::Side, &Phone)> {
        self.phones().filter(|phone| phone.is_in_call()).filter_map(move |phone| {
            let (of, side) = self.oracle.call_of(phone.call_id().as_bytes())?;
            (of == call).then_some((side, phone))
        })
    }

    /// The phone whose dialog with the box has this Call-ID.
    pub(super) fn phone_of(&self, call_id: &[u8]) -> Option<&Phone> {
        let caller = self.callers.iter().find(|phone| phone.call_id().as_bytes() == call_id);
        caller.or_else(|| self.slots.get(call_id)?.phone.as_ref())
    }

    /// The calls that are in a transfer with this one.
    pub(super) fn together_with(&self, call: usize) -> Vec<usize> {
        let of_call = self.transfers.iter().filter(|transfer| transfer.calls().any(|of| of == call));
        of_call.flat_map(Transfer::calls).chain([call]).collect()
    }
}
