//! Requests within an established dialog: ACK, BYE and whatever is carried across.

use bytes::Bytes;
use sip::{Dialog, Message, Method, Name, Writer};

use super::uac::via_pieces;
use super::way::next_hop;
use super::{Exchange, Leg, LegKey, LegState, News};
use crate::bodies::Body;
use crate::coverage::LegInput;
use crate::headers::{ALLOW, Between, SUPPORTED};
use crate::io::{Flow, Now, SendToken};
use crate::wire::{ClientKey, ClientUser, Purpose, Wire};

pub(super) const MAX_FORWARDS: u8 = 70;
/// Forks of one INVITE whose 2xx are ended.
const MAX_UNWANTED: usize = 8;

impl Leg {
    /// Acknowledges the callee's 2xx, with the answer where the 2xx was an offer.
    pub(crate) fn acknowledge(&mut self, wire: &mut Wire, body: Option<&Body>) {
        wire.coverage.leg(self, LegInput::Acknowledge);
        if let LegState::AckDue { client, cseq } = self.state {
            self.send_ack(client, cseq, body, wire);
            self.state = LegState::Up;
            self.forget_early();
        } else if let Exchange::AckDue { client, cseq } = self.exchange {
            self.send_ack(client, cseq, body, wire);
            self.exchange = Exchange::Idle;
        }
    }

    /// RFC 3261 §13.2.2.4: a new branch, the INVITE's CSeq number, kept for repetitions of the 2xx.
    pub(super) fn send_ack(&mut self, client: ClientKey, cseq: u32, body: Option<&Body>, wire: &mut Wire) {
        let flow = self.request_flow(wire);
        let branch = wire.ids.branch_without_transaction();
        let Some(mut writer) = self.in_dialog(b"ACK", Some(cseq), &branch, flow, wire) else { return };
        self.copy_credentials(client, &mut writer, wire);
        let ack = Body::finish(body, writer);
        wire.acknowledge(client, flow, ack);
    }

    pub(super) fn bye(&mut self, key: LegKey, reason: Option<&[u8]>, wire: &mut Wire, now: Now) {
        let flow = self.request_flow(wire);
        let user = ClientUser::Leg(key, Purpose::Bye);
        let (client, branch) = wire.prepare(Method::Bye, user, flow, now);
        self.state = LegState::Leaving;
        let Some(mut writer) = self.in_dialog(b"BYE", None, &branch, flow, wire) else {
            wire.abandon(client);
            self.state = LegState::Gone;
            return;
        };
        if let Some(reason) = reason {
            writer.header("Reason", reason);
        }
        wire.launch(client, writer.finish(), now);
    }

    /// The peer's BYE. Everything it still waits for is answered first (RFC 3261 §15.1.2).
    pub(crate) fn on_bye(&mut self, wire: &mut Wire, now: Now) -> News {
        self.close_exchange(wire, now);
        match std::mem::replace(&mut self.state, LegState::Gone) {
            // The caller may leave an early dialog with BYE; its INVITE is answered by the bridge.
            LegState::Invited { server } => {
                self.state = LegState::Invited { server };
                News::Bye
            }
            LegState::AckDue { client, cseq } => {
                self.send_ack(client, cseq, None, wire);
                News::Bye
            }
            LegState::Answered { .. } | LegState::Up => News::Bye,
            // Both at once: ours is still to be answered.
            LegState::Leaving => {
                self.state = LegState::Leaving;
                News::Nothing
            }
            LegState::AnsweredLeaving { .. } => News::Nothing,
            early @ (LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::Ghost { .. }
            | LegState::Gone) => {
                self.state = early;
                News::Nothing
            }
        }
    }

    /// The peer's BYE was refused: a later request of its had come first (RFC 3261 §12.2.2), or it requires an extension that
    /// there is not (§8.2.2.3). The dialog stands, and is ended with a BYE of ours.
    pub(crate) fn on_refused_bye(&self) -> News {
        if self.knows_dialog() && !self.has_left() { News::Bye } else { News::Nothing }
    }

    /// Our BYE was answered, or never will be.
    pub(crate) fn on_bye_done(&mut self) {
        if let LegState::Leaving = self.state {
            self.state = LegState::Gone;
        }
    }

    /// Whether the peer may end the dialog: the caller any time, the callee once it answered (RFC 3261 §15).
    pub(crate) fn knows_dialog(&self) -> bool {
        match self.state {
            LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving => true,
            LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::Ghost { .. }
            | LegState::Gone => false,
        }
    }

    /// Whether the dialog was asked for with a `sips` URI.
    pub(crate) fn is_secure(&self) -> bool {
        self.current_dialog().is_some_and(|dialog| dialog.secure)
    }

    /// Whether requests can be sent within the dialog. Before its ACK a caller may not have got the 2xx, and a request
    /// that overtakes it finds no dialog there.
    pub(crate) fn is_confirmed(&self) -> bool {
        match self.state {
            LegState::Up => true,
            LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::AckDue { .. }
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone => false,
        }
    }

    /// Whether the INVITE has no final response that makes it a session.
    pub(crate) fn is_early(&self) -> bool {
        match self.state {
            LegState::Invited { .. }
            | LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::Ghost { .. } => true,
            LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Gone => false,
        }
    }

    /// Whether a provisional response made a dialog in which requests can be sent before the answer (RFC 3261 §12.1).
    pub(super) fn has_early_dialog(&self) -> bool {
        match self.state {
            // An 18x without PRACK may be lost, and a request that finds no dialog ends one at who sent it.
            LegState::Invited { .. } => self.has_pracked(),
            LegState::Proceeding { .. } => self.current_dialog().is_some(),
            LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::Calling { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone => false,
        }
    }

    /// A request within the dialog over its flow, ready for more headers.
    pub(super) fn in_dialog(
        &mut self,
        method: &[u8],
        cseq: Option<u32>,
        branch: &str,
        flow: Flow,
        wire: &Wire,
    ) -> Option<Writer> {
        let listener = wire.listener(flow.listener);
        let pieces = via_pieces(listener, branch);
        let mut writer = self.current_dialog_mut()?.request(method, cseq, pieces.get(1..)?, MAX_FORWARDS);
        writer.header("User-Agent", wire.settings.product.as_bytes());
        Some(writer)
    }

    pub(super) fn capabilities(&self, writer: &mut Writer, wire: &Wire) {
        writer.header("Allow", ALLOW);
        writer.header("Supported", SUPPORTED);
        writer.header("Server", wire.settings.product.as_bytes());
    }

    /// The peer was heard over this flow. A connection that we asked for has its number now, and a phone that had to
    /// connect again is found where it is.
    pub(crate) fn heard_on(&mut self, flow: Flow) {
        let same_peer = flow.remote == self.flow.remote;
        if flow.connection != 0 && flow.listener == self.flow.listener && (self.by_flow || same_peer) {
            self.flow = flow;
        }
    }

    /// Whether its peer is a phone, and no trunk nor another part of this box.
    pub(crate) fn is_phone(&self) -> bool {
        self.trunk.is_none() && !self.flow.is_inner()
    }

    /// Who hears what is sent to this leg. That a phone asserts something within a dialog is not asked: whom the call is with
    /// was settled by its INVITE.
    pub(super) fn hears(&self) -> Between {
        Between { heard_by_phone: self.is_phone(), ..Between::default() }
    }

    /// A phone has registered from there, and speaks from there: its address translator has moved it, and what it is sent goes
    /// there from now on. A response proves nothing of the kind.
    pub(crate) fn moves_to(&mut self, flow: Flow) {
        if self.by_flow && flow.listener == self.flow.listener {
            self.flow = flow;
        }
    }

    /// Whether something of this leg goes over this connection; what [`on_closed`](Leg::on_closed) changes.
    pub(crate) fn is_on(&self, connection: u64) -> bool {
        let ok = match &self.state {
            LegState::Answered { ok } | LegState::AnsweredLeaving { ok, .. } => Some(ok),
            LegState::Invited { .. }
            | LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone => None,
        };
        let again = match &self.exchange {
            Exchange::PeerAnswered { ok } => Some(ok),
            Exchange::Idle
            | Exchange::PeerOffers { .. }
            | Exchange::WeOffer { .. }
            | Exchange::AckDue { .. }
            | Exchange::WithdrawWaiting { .. }
            | Exchange::Withdrawing { .. }
            | Exchange::BackOff { .. } => None,
        };
        self.flow.connection == connection || ok.into_iter().chain(again).any(|ok| ok.is_on(connection))
    }

    /// The stream that the peer used is gone: what is still to be sent opens another (RFC 3261 §18.1.1).
    pub(crate) fn on_closed(&mut self, connection: u64) {
        if let LegState::Answered { ok } | LegState::AnsweredLeaving { ok, .. } = &mut self.state {
            ok.on_closed(connection);
        }
        if let Exchange::PeerAnswered { ok } = &mut self.exchange {
            ok.on_closed(connection);
        }
        if self.flow.connection == connection && !self.by_flow {
            self.flow.connection = 0;
        }
    }
}

/// ACK and BYE for a 2xx that nobody wants: of a fork that lost, or of an INVITE that was given up (RFC 3261
/// §13.2.2.4). `ended` are the ACKs of those that had both before; a repetition of such a 2xx gets its ACK again. `spent`
/// is the last CSeq number that its early dialog has used.
pub(super) fn end_unwanted(
    ended: &mut Vec<Bytes>,
    invite: &Bytes,
    (response, spent): (&Message<'_>, u32),
    flow: Flow,
    wire: &mut Wire,
    now: Now,
) {
    let tag = response.to().ok().and_then(|to| to.tag());
    if let Some(ack) = ended.iter().find(|ack| tag_of(ack).as_deref() == tag) {
        wire.send(flow, ack.clone(), SendToken::NONE);
    } else if ended.len() < MAX_UNWANTED {
        ended.extend(acknowledge_and_end(invite, (response, spent), flow, wire, now));
    }
}

/// [`end_unwanted`] for an INVITE whose transaction lives.
pub(crate) fn end_fork(client: ClientKey, response: &Message<'_>, flow: Flow, wire: &mut Wire, now: Now) {
    let Some(invite) = wire.client_request(client) else { return };
    let mut ended = wire.unwanted(client).map(std::mem::take).unwrap_or_default();
    end_unwanted(&mut ended, &invite, (response, wire.spent(client)), flow, wire, now);
    if let Some(unwanted) = wire.unwanted(client) {
        *unwanted = ended;
    }
}

/// The tag of a request's To.
fn tag_of(request: &Bytes) -> Option<Box<[u8]>> {
    Message::parse(request).ok()?.to().ok()?.tag().map(Box::from)
}

fn acknowledge_and_end(
    invite: &Bytes,
    (response, spent): (&Message<'_>, u32),
    flow: Flow,
    wire: &mut Wire,
    now: Now,
) -> Option<Bytes> {
    let invite = Message::parse(invite).ok()?;
    let mut dialog = Dialog::uac(&invite, response).ok()?;
    let cseq = dialog.local_cseq;
    dialog.local_cseq = cseq.max(spent);
    let flow = match flow.connection {
        0 => next_hop(&dialog, flow, wire),
        _open => flow,
    };
    let ack = ack_without_leg(&mut dialog, cseq, flow, wire);
    wire.send(flow, ack.clone(), SendToken::NONE);
    let (client, branch) = wire.prepare(Method::Bye, ClientUser::Nobody, flow, now);
    let pieces = via_pieces(wire.listener(flow.listener), &branch);
    let bye = dialog.request(b"BYE", None, &pieces[1..], MAX_FORWARDS).finish();
    wire.launch(client, bye, now);
    Some(ack)
}

/// The ACK of a 2xx to a re-INVITE whose dialog ended meanwhile: until it comes the peer repeats its 2xx (RFC 3261
/// §13.3.1.4, §15).
pub(crate) fn acknowledge_late(client: ClientKey, response: &Message<'_>, flow: Flow, wire: &mut Wire) {
    let Some(reinvite) = wire.client_request(client) else { return };
    let Ok(reinvite) = Message::parse(&reinvite) else { return };
    let Ok(mut dialog) = Dialog::uac(&reinvite, response) else { return };
    dialog.route_set = reinvite.elements(Name::Route).map(Box::from).collect();
    let cseq = dialog.local_cseq;
    let ack = ack_without_leg(&mut dialog, cseq, flow, wire);
    wire.acknowledge(client, flow, ack);
}

/// The ACK of a 2xx whose dialog no leg keeps.
fn ack_without_leg(dialog: &mut Dialog, cseq: u32, flow: Flow, wire: &mut Wire) -> Bytes {
    let branch = wire.ids.branch_without_transaction();
    let pieces = via_pieces(wire.listener(flow.listener), &branch);
    dialog.request(b"ACK", Some(cseq), &pieces[1..], MAX_FORWARDS).finish()
}
