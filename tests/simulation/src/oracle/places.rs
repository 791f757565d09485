//! Who takes whose place: what REFER and Replaces ask for, and when it has come to pass.
//!
//! A party of one call that goes over to another is seen to be offered the other call's session; it is there when it has
//! accepted and the Core does not take that back. A newcomer is there with the 200 to its INVITE.

use std::collections::BTreeMap;

use call::{MediaId, Side};
use sip::{Message, Method, Name, Time};

use super::dialogs::{Dialog, DialogKey};
use super::{Key, Oracle, Watched, index, key};

/// A call and a side of it.
type Place = (usize, Side);

#[derive(Debug, Default)]
pub(super) struct Places {
    /// Whose dialog a REFER names, and the call whose number it names.
    referrals: BTreeMap<Key, (Option<Place>, Option<usize>)>,
    /// The calls in whose name a number is called.
    numbers: BTreeMap<usize, usize>,
    /// By Call-ID: the branch of the INVITE that offers a party another place than its own.
    offered: BTreeMap<Vec<u8>, (Vec<u8>, Place)>,
    /// By Call-ID: whose place a newcomer wants.
    arrivals: BTreeMap<Vec<u8>, Place>,
}

/// Another call wants a party of this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Where it is to be.
    by: Place,
    /// Where it is now.
    from: Side,
}

impl Watched {
    /// Whether parties of one network may be on either side.
    pub(crate) fn is_mixed(&self) -> bool {
        self.referred == Some(Side::A) || self.mixed
    }

    /// Whether somebody may talk, or have talked, in the place of another.
    pub(crate) fn has_changed(&self) -> bool {
        self.referred.is_some() || self.replaced
    }
}

impl Oracle {
    /// Where somebody is, or wants to be.
    pub(super) fn stands(&self, call_id: &[u8]) -> Option<Place> {
        self.places.arrivals.get(call_id).copied().or_else(|| self.call_of(call_id))
    }

    pub(super) fn refer_received(&mut self, call: usize, key: &Key, refer: &Message<'_>) {
        self.calls[call].moved = true;
        let value = String::from_utf8_lossy(refer.first(Name::ReferTo).unwrap_or_default()).into_owned();
        let number = value.split("sip:").nth(1).and_then(|rest| rest.split('@').next());
        let number = number.and_then(crate::world::call_of_number);
        let named = value.split_once("Replaces=").and_then(|(_, dialog)| {
            let id = dialog.split("%3B").next()?.replace("%40", "@");
            self.call_of(id.as_bytes())
        });
        self.places.referrals.entry(key.clone()).or_insert((named, number));
        self.calls[call].named.push(value.replace("%40", "@").into_bytes());
    }

    /// The Core accepted a REFER of this side.
    pub(super) fn refer_accepted(&mut self, refer: &Key, (call, side): Place) {
        let Some((named, number)) = self.places.referrals.get(refer).copied() else { return };
        self.places.numbers.extend(number.map(|number| (number, call)));
        let Some((other, given_up)) = named.filter(|(other, _)| *other != call) else { return };
        let from = given_up.other();
        self.calls[call].mixed = true;
        self.calls[other].moved = true;
        self.calls[other].wanted = Some(Wanted { by: (call, side), from });
        self.share_secrets((other, from), (call, side));
    }

    /// What stands for those of one place stands for another, too.
    fn share_secrets(&mut self, from: Place, to: Place) {
        let secrets: Vec<Vec<u8>> =
            self.calls[from.0].secrets[index(from.1)].iter().map(|secret| secret.needle().to_vec()).collect();
        secrets.iter().for_each(|secret| self.keep_secret(to.0, to.1, secret));
    }

    /// The places opposite this one, whose parties are not to be known here.
    pub(super) fn opposite(&self, (call, side): Place) -> [Option<Place>; 2] {
        let wanted = self.calls[call].wanted.filter(|wanted| wanted.from == side);
        [Some((call, side.other())), wanted.map(|Wanted { by: (other, side), .. }| (other, side.other()))]
    }

    /// In whose name a number is called.
    pub(super) fn caller_of(&self, number: usize) -> usize {
        self.places.numbers.get(&number).copied().unwrap_or(number)
    }

    /// A description names a port of this session and side. Whether it may, and what it makes of its receiver.
    pub(super) fn is_offered_a_place(
        &mut self,
        (call, side): Place,
        message: &Message<'_>,
        (session, owner): (MediaId, Side),
    ) -> bool {
        let Some(Wanted { by, from }) = self.calls[call].wanted else { return false };
        let fits = from == side && by.1 == owner && self.session_of(by.0) == Some(session);
        if let (true, Some((branch, _)), Ok(id)) = (fits, key(message), message.call_id()) {
            self.places.offered.insert(id.to_vec(), (branch, by));
        }
        fits
    }

    /// It is told of its own call again.
    pub(super) fn keeps_its_place(&mut self, call_id: &[u8]) {
        self.places.offered.remove(call_id);
    }

    /// A party accepted the description of another call, and the Core has done what follows from that.
    pub(super) fn place_accepted(&mut self, response: &Message<'_>) {
        let (Some((branch, _)), Ok(id)) = (key(response), response.call_id()) else { return };
        let fits = |(offered, _): &&(Vec<u8>, Place)| *offered == branch;
        let Some((_, place)) = self.places.offered.get(id).filter(fits).cloned() else { return };
        self.places.offered.remove(id);
        let comes_too_late =
            self.dialogs.values().filter(|dialog| dialog.call == place.0).all(Dialog::is_over);
        if comes_too_late || self.is_over(id) {
            return;
        }
        self.sides.insert(id.to_vec(), place);
        self.move_dialogs(id, place);
        self.calls[place.0].attempts.push(id.to_vec());
    }

    /// An INVITE with Replaces came.
    pub(super) fn replacement_received(&mut self, comes: usize, invite: &Message<'_>) {
        let Some(value) = invite.first(Name::Replaces) else { return };
        let named = value.split(|byte| *byte == b';').next().unwrap_or_default();
        let (Some(place), Ok(id)) = (self.call_of(named), invite.call_id()) else { return };
        self.places.arrivals.insert(id.to_vec(), place);
        self.calls[place.0].moved = true;
        self.calls[place.0].mixed = true;
        // A newcomer that gives up leaves an offer behind that has to be taken back.
        self.calls[place.0].withdrew = true;
        self.share_secrets((comes, Side::A), place);
    }

    /// The Core answered a newcomer; false when this is none.
    pub(super) fn newcomer_answered(&mut self, now: Time, comes: usize, response: &Message<'_>) -> bool {
        let Some(id) = response.call_id().ok().map(<[u8]>::to_vec) else { return false };
        let Some((call, side)) = self.places.arrivals.remove(&id) else { return false };
        let since = self.calls[comes].invited;
        let agreed = self.sent.values().any(|sent| {
            let of_call = sent.call == Some(call) && sent.method == Method::Invite && !sent.is_first_invite;
            of_call && sent.end.is_some_and(|status| status / 100 == 2) && Some(sent.at) >= since
        });
        if !agreed {
            self.fail(Some(call), "a newcomer is answered before who stays has heard of it");
        }
        self.calls[call].attempts.push(id.clone());
        self.sides.insert(id, (call, side));
        self.calls[call].replaced = true;
        if let Some(tag) = response.to().ok().and_then(|to| to.tag()) {
            self.keep_secret(call, side, tag);
        }
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        if let Some(id) = DialogKey::of_sent(response) {
            self.dialogs.insert(id, Dialog::new(call, side, false, (number, 0), now));
        }
        true
    }
}
