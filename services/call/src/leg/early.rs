//! Early dialogs with the callee (RFC 3261 §12.1): one for each To-tag of its provisional responses, with the numbers
//! of the reliable ones (RFC 3262 §4) and the PRACKs that acknowledge them.
//!
//! A PRACK goes out at once, unless the response holds an offer: then it waits for the answer that the caller's PRACK
//! brings.

use bytes::Bytes;
use sip::{Dialog, Message, Method, Name};
use smallvec::SmallVec;

use super::dialog::MAX_FORWARDS;
use super::reliable::Agreement;
use super::uac::via_pieces;
use super::{Exchange, Leg, LegKey, LegState, News};
use crate::bodies::{Body, sdp_of};
use crate::headers::requires_reliability;
use crate::io::Now;
use crate::wire::{ClientKey, ClientUser, Purpose, Wire};

/// Early dialogs of one INVITE that are followed.
const MAX_FORKS: usize = 8;

/// What the provisional responses to our INVITE made.
#[derive(Debug)]
pub(crate) struct Early {
    dialogs: SmallVec<[EarlyDialog; 1]>,
    /// PRACKs that wait for the caller's answer, the oldest first.
    due: SmallVec<[PrackDue; 1]>,
    /// PRACKs that the callee has not accepted: until then it may know no answer.
    unanswered: u32,
    /// The INVITE had an offer.
    offered: bool,
    /// The one whose description came last.
    current: usize,
}

/// One early dialog.
#[derive(Debug)]
struct EarlyDialog {
    /// `None` once a 2xx has confirmed it.
    dialog: Option<Box<Dialog>>,
    /// RSeq of the last reliable response; 0 before the first.
    rseq: u32,
    /// The description of the first reliable response that had one.
    description: Option<Bytes>,
}

/// A reliable response that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
struct PrackDue {
    /// Which of the early dialogs.
    at: usize,
    rseq: u32,
    /// CSeq number of the INVITE.
    cseq: u32,
}

impl EarlyDialog {
    /// Whether this is the next reliable response of its dialog. One that was seen is a repetition, one that is too
    /// early is dropped and will be repeated (RFC 3262 §4).
    fn is_next(&mut self, rseq: u32) -> bool {
        let next = self.rseq == 0 || rseq.checked_sub(1) == Some(self.rseq);
        if next {
            self.rseq = rseq;
        }
        next
    }
}

impl Leg {
    /// A provisional response other than 100 and 199.
    pub(super) fn on_provisional(
        &mut self,
        key: LegKey,
        client: ClientKey,
        response: &Message<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> News {
        self.learn_methods(response);
        let rseq = rseq(response);
        let (at, rseq) = match (self.early_dialog(client, response, wire), rseq) {
            (Some(at), Some(rseq)) => (at, rseq),
            (None, Some(_)) => return News::Nothing,
            (_, None) => return News::Progress,
        };
        let Some(early) = &mut self.early else { return News::Progress };
        let Some(dialog) = early.dialogs.get_mut(at) else { return News::Progress };
        if !dialog.is_next(rseq) {
            return News::Nothing;
        }
        let sdp = sdp_of(response);
        if sdp.is_some() {
            early.current = at;
        }
        let is_offer = sdp.is_some() && !early.offered && dialog.description.is_none();
        if dialog.description.is_none() {
            dialog.description = sdp.map(Bytes::copy_from_slice);
        }
        let due = PrackDue { at, rseq, cseq: response.cseq().map_or(1, |cseq| cseq.number) };
        if is_offer {
            early.due.push(due);
        } else {
            self.prack(key, due, None, wire, now);
        }
        News::Progress
    }

    /// The early dialog of a response, made when its To-tag is new.
    fn early_dialog(&mut self, client: ClientKey, response: &Message<'_>, wire: &Wire) -> Option<usize> {
        let tag = response.to().ok()?.tag()?;
        if let Some(early) = &self.early {
            if let Some(at) = early.position(tag) {
                return Some(at);
            }
            if early.dialogs.len() >= MAX_FORKS {
                return None;
            }
        }
        let invite = wire.client_request(client)?;
        let invite = Message::parse(&invite).ok()?;
        let dialog = Some(Box::new(Dialog::uac(&invite, response).ok()?));
        let early = self.early.get_or_insert_with(|| {
            let offered = sdp_of(&invite).is_some();
            Box::new(Early {
                dialogs: SmallVec::new(),
                due: SmallVec::new(),
                unanswered: 0,
                offered,
                current: 0,
            })
        });
        early.dialogs.push(EarlyDialog { dialog, rseq: 0, description: None });
        Some(early.dialogs.len() - 1)
    }

    /// Whether a PRACK waits for the caller's answer.
    pub(crate) fn owes_prack(&self) -> bool {
        self.early.as_ref().is_some_and(|early| !early.due.is_empty())
    }

    /// Sends the PRACK that has waited longest, with the caller's answer when it gave one.
    pub(crate) fn release_prack(&mut self, key: LegKey, body: Option<&Body>, wire: &mut Wire, now: Now) {
        let Some(early) = self.early.as_mut().filter(|early| !early.due.is_empty()) else { return };
        let due = early.due.remove(0);
        self.prack(key, due, body, wire, now);
    }

    /// RFC 3262 §4 and §7.2.
    fn prack(&mut self, key: LegKey, due: PrackDue, body: Option<&Body>, wire: &mut Wire, now: Now) {
        let early = self.early.as_ref().and_then(|early| early.dialogs.get(due.at));
        let flow =
            self.flow_to(early.and_then(|early| early.dialog.as_deref()).or(self.dialog.as_deref()), wire);
        let early = self.early.as_mut().and_then(|early| early.dialogs.get_mut(due.at));
        let Some(dialog) = early.and_then(|early| early.dialog.as_mut()).or(self.dialog.as_mut()) else {
            return;
        };
        let (client, branch) = wire.prepare(Method::Prack, ClientUser::Leg(key, Purpose::Prack), flow, now);
        let pieces = via_pieces(wire.listener(flow.listener), &branch);
        let mut writer = dialog.request(b"PRACK", None, &pieces[1..], MAX_FORWARDS);
        writer.header("User-Agent", wire.settings.product.as_bytes());
        let rack = format!("{} {} INVITE", due.rseq, due.cseq);
        writer.header("RAck", rack.as_bytes());
        wire.launch(client, Body::finish(body, writer), now);
        self.note_spent(wire);
        if let Some(early) = &mut self.early {
            early.unanswered += 1;
        }
    }

    /// The early dialogs are to end with a challenge: no offer within them is answered any more.
    pub(super) fn drop_early_offer(&mut self, wire: &mut Wire, now: Now) -> News {
        self.close_exchange(wire, now);
        self.session.refused();
        match self.exchange.client() {
            Some(client) => {
                wire.abandon(client);
                self.exchange = Exchange::Idle;
                News::OfferRefused(500)
            }
            None => News::Nothing,
        }
    }

    /// Whether the callee has offered in a reliable response, and may not do so again: the caller has its description.
    pub(super) fn has_heard_offer(&self) -> bool {
        let offers =
            |early: &Early| !early.offered && early.dialogs.iter().any(|one| one.description.is_some());
        self.early.as_deref().is_some_and(offers)
    }

    /// The callee has our PRACK, and the answer that may have been in it.
    pub(crate) fn on_prack_accepted(&mut self) {
        if let Some(early) = &mut self.early {
            early.unanswered = early.unanswered.saturating_sub(1);
        }
    }

    /// Takes over the early dialog of a 2xx (RFC 3261 §13.2.2.4), so that its CSeq goes on from the PRACKs. Without one
    /// there is nothing to confirm; an error says that the 2xx cannot be used.
    pub(super) fn confirm_early(
        &mut self,
        response: &Message<'_>,
    ) -> Result<Option<Box<Dialog>>, sip::Fault> {
        let Some(early) = &mut self.early else { return Ok(None) };
        let Some(at) = early.position(response.to()?.tag().unwrap_or_default()) else { return Ok(None) };
        let Some(mut dialog) = early.dialogs.get_mut(at).and_then(|early| early.dialog.take()) else {
            return Ok(None);
        };
        dialog.confirm(response)?;
        Ok(Some(dialog))
    }

    /// What the confirmed dialog's reliable response described, when its 2xx need not say it again.
    pub(crate) fn early_description(&self) -> Option<Bytes> {
        let early = self.early.as_ref()?;
        early.dialogs.iter().find(|early| early.dialog.is_none())?.description.clone()
    }

    /// The call is answered: early dialogs are forgotten, unless a PRACK is still to be sent.
    pub(super) fn forget_early(&mut self) {
        if !self.owes_prack() {
            self.early = None;
        }
    }

    /// A request was sent in an early dialog: should another fork's 2xx have to be ended, its BYE comes after it.
    pub(super) fn note_spent(&self, wire: &mut Wire) {
        if let (LegState::Proceeding { client, .. }, Some(early)) = (&self.state, &self.early) {
            let dialogs = early.dialogs.iter().filter_map(|early| early.dialog.as_ref());
            wire.spend(*client, dialogs.map(|dialog| dialog.local_cseq).max().unwrap_or(0));
        }
    }

    /// The CSeq number of the last request within this early dialog; 0 where none is known.
    pub(super) fn early_cseq(&self, tag: &[u8]) -> u32 {
        let early = self.early.as_ref().and_then(|early| early.dialogs.get(early.position(tag)?));
        early.and_then(|early| early.dialog.as_ref()).map_or(0, |dialog| dialog.local_cseq)
    }

    /// The dialog, early or confirmed, in which the peer has this tag.
    pub(crate) fn dialog_with(&mut self, tag: &[u8]) -> Option<&mut Dialog> {
        let early = self.early.as_mut().and_then(|early| {
            let at = early.position(tag)?;
            early.dialogs.get_mut(at)?.dialog.as_deref_mut()
        });
        early.or(self.dialog.as_deref_mut().filter(|dialog| *dialog.remote_tag == *tag))
    }

    /// The dialog that requests are sent in: the confirmed one, else the early one whose description came last.
    /// Who the other end of the dialog says it is, as From or To have it.
    pub(crate) fn peer_uri(&self) -> Option<&[u8]> {
        self.current_dialog().map(|dialog| &*dialog.remote_uri)
    }

    pub(super) fn current_dialog(&self) -> Option<&Dialog> {
        let early = self.early.as_ref().and_then(|early| early.dialogs.get(early.current)?.dialog.as_deref());
        self.dialog.as_deref().or(early)
    }

    pub(super) fn current_dialog_mut(&mut self) -> Option<&mut Dialog> {
        let early = self.early.as_mut().and_then(|early| {
            let current = early.current;
            early.dialogs.get_mut(current)?.dialog.as_deref_mut()
        });
        self.dialog.as_deref_mut().or(early)
    }

    /// How far offer and answer have come with the callee whose early dialog has this tag; `None` for the current one.
    pub(super) fn agreement_with_callee(&self, tag: Option<&[u8]>) -> Agreement {
        let pending = |offered| if offered { Agreement::OursPending } else { Agreement::TheirsPending };
        let Some(early) = &self.early else { return Agreement::TheirsPending };
        let at = tag.map_or(Some(early.current), |tag| early.position(tag));
        let Some((at, dialog)) = at.and_then(|at| Some((at, early.dialogs.get(at)?))) else {
            return pending(early.offered);
        };
        if dialog.description.is_none() {
            pending(early.offered)
        } else if early.due.iter().any(|due| due.at == at) {
            Agreement::TheirsPending
        } else if tag.is_none() && early.unanswered > 0 {
            Agreement::Unconfirmed
        } else {
            Agreement::Reached
        }
    }

    pub(super) fn owns_early(&self, call_id: &[u8], tag: &[u8]) -> bool {
        self.early.as_ref().is_some_and(|early| {
            early
                .dialogs
                .iter()
                .filter_map(|early| early.dialog.as_ref())
                .any(|dialog| dialog.matches(call_id, self.tag.as_bytes(), tag))
        })
    }
}

impl Early {
    fn position(&self, tag: &[u8]) -> Option<usize> {
        self.dialogs
            .iter()
            .position(|early| early.dialog.as_ref().is_some_and(|dialog| *dialog.remote_tag == *tag))
    }
}

/// The RSeq of a provisional response that wants a PRACK.
pub(crate) fn rseq(response: &Message<'_>) -> Option<u32> {
    let value = response.first(Name::RSeq)?;
    if !requires_reliability(response) {
        return None;
    }
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}
