//! The caller's side: answering an INVITE.

use bytes::Bytes;
use sip::{Dialog, Fault, Message, Name};

use super::reliable::Reliability;
use super::{Leg, LegKey, LegState, News, Unacked};
use crate::bodies::Body;
use crate::bridge::CallKey;
use crate::coverage::LegInput;
use crate::headers::{contact, copy_crossing, copy_named};
use crate::io::{Flow, Now};
use crate::media::Side;
use crate::wire::{ServerKey, Wire};

/// How a call is refused.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rejection<'a> {
    pub(crate) status: u16,
    /// The reason phrase; `None`: the usual one.
    pub(crate) reason: Option<&'a [u8]>,
    /// The response of the other side whose headers cross, if there is one.
    pub(crate) from: Option<&'a Message<'a>>,
    /// Headers of our own.
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
    pub(crate) body: Option<&'a Body>,
}

impl Leg {
    /// A leg for an INVITE that just came.
    pub(crate) fn invited(
        key: LegKey,
        call: CallKey,
        invite: &Message<'_>,
        server: ServerKey,
        flow: Flow,
        wire: &mut Wire,
    ) -> Result<Leg, Fault> {
        let tag = wire.ids.tag(key);
        let dialog = Dialog::uas(invite, tag.as_bytes())?;
        let call_id = crate::headers::text(invite.call_id()?);
        let mut leg = Leg::new(call, Side::A, LegState::Invited { server }, flow, tag, call_id);
        leg.dialog = Some(Box::new(dialog));
        leg.reliability = Reliability::of(invite);
        leg.session = crate::bridge::LocalSession::new(wire.ids.random());
        leg.learn_methods(invite);
        Ok(leg)
    }

    /// The INVITE, as long as it is not answered.
    pub(crate) fn open_invite(&self, wire: &Wire) -> Option<Bytes> {
        let LegState::Invited { server } = self.state else { return None };
        wire.server_request(server)
    }

    /// Passes a provisional response on, with its headers and a description of ours. `awaited_by` is the target whose
    /// PRACK waits for the caller's answer. Says whether the caller will send a PRACK for it.
    pub(crate) fn progress(
        &mut self,
        wire: &mut Wire,
        from: &Message<'_>,
        body: Option<&Body>,
        awaited_by: Option<LegKey>,
        now: Now,
    ) -> bool {
        wire.coverage.leg(self, LegInput::Progress);
        let LegState::Invited { server } = self.state else { return false };
        let status = from.status().unwrap_or(180);
        let Some(mut writer) = wire.response(server, status, Some(from.reason_phrase()), Some(&self.tag))
        else {
            return false;
        };
        contact(&mut writer, wire.listener(self.flow.listener), self.is_secure());
        copy_crossing(from, &mut writer, wire.listener(self.flow.listener), self.hears());
        if self.goes_reliably(from) {
            self.capabilities(&mut writer, wire);
            return self.progress_reliably(server, writer, (status, body), awaited_by, wire, now);
        }
        let bytes = Body::finish(body, writer);
        wire.respond(server, status, bytes, now);
        false
    }

    /// Answers the call. The 2xx is repeated until its ACK comes.
    pub(crate) fn answer(&mut self, wire: &mut Wire, from: &Message<'_>, body: Option<&Body>, now: Now) {
        wire.coverage.leg(self, LegInput::Answer);
        let LegState::Invited { server } = self.state else { return };
        let status = from.status().unwrap_or(200);
        if let Some(ok) = self.success(server, status, wire, from, body, now) {
            self.final_status = status;
            self.state = LegState::Answered { ok };
            if let Some(reliable) = &mut self.reliable {
                reliable.supersede();
            }
        }
    }

    /// Sends a 2xx to an INVITE or re-INVITE and keeps what its repetition needs.
    pub(super) fn success(
        &mut self,
        server: ServerKey,
        status: u16,
        wire: &mut Wire,
        from: &Message<'_>,
        body: Option<&Body>,
        now: Now,
    ) -> Option<Box<Unacked>> {
        let request = wire.server_request(server)?;
        let request = Message::parse(&request).ok()?;
        let cseq = request.cseq().ok()?.number;
        let flow = wire.reply_to(server)?;
        let mut writer = wire.response(server, status, Some(from.reason_phrase()), Some(&self.tag))?;
        self.grant_timer(&request, &mut writer, &wire.settings, now);
        contact(&mut writer, wire.listener(self.flow.listener), self.is_secure());
        self.capabilities(&mut writer, wire);
        copy_crossing(from, &mut writer, wire.listener(self.flow.listener), self.hears());
        let bytes: Bytes = Body::finish(body, writer);
        wire.respond(server, status, bytes.clone(), now);
        Some(Box::new(Unacked::new(bytes, flow, cseq, wire, now)))
    }

    /// Refuses the call.
    pub(crate) fn reject(&mut self, wire: &mut Wire, said: &Rejection<'_>, now: Now) {
        wire.coverage.leg(self, LegInput::Reject);
        let LegState::Invited { server } = self.state else { return };
        self.close_exchange(wire, now);
        let Rejection { status, reason, from, headers, body } = *said;
        if let Some(mut writer) = wire.response(server, status, reason, Some(&self.tag)) {
            if let Some(from) = from {
                copy_crossing(from, &mut writer, wire.listener(self.flow.listener), self.hears());
                // Redirection that is passed on is worth nothing without its contacts.
                if (300..400).contains(&status) {
                    from.values(Name::Contact).for_each(|value| {
                        writer.header("Contact", value);
                    });
                }
                // Nor is a challenge that the caller is to answer.
                if matches!(status, 401 | 407) {
                    copy_named(from, &mut writer, &[Name::WwwAuthenticate, Name::ProxyAuthenticate]);
                }
            }
            for (name, value) in headers {
                writer.header(name, value);
            }
            let bytes = Body::finish(body, writer);
            wire.respond(server, status, bytes, now);
        }
        self.final_status = status;
        self.state = LegState::Gone;
        if let Some(reliable) = &mut self.reliable {
            reliable.supersede();
        }
    }

    /// Whether the caller still waits for the answer to this INVITE.
    pub(crate) fn waits_for(&self, invite: ServerKey) -> bool {
        matches!(self.state, LegState::Invited { server } if server == invite)
    }

    /// An ACK that belongs to the dialog: of the INVITE's 2xx or of a re-INVITE's.
    pub(crate) fn on_ack(&mut self, key: LegKey, cseq: u32, wire: &mut Wire, now: Now) -> News {
        if let super::Exchange::PeerAnswered { ok } = &self.exchange
            && ok.cseq == cseq
        {
            self.exchange = super::Exchange::Idle;
            return News::Acked;
        }
        match std::mem::replace(&mut self.state, LegState::Gone) {
            LegState::Answered { ok } if ok.cseq == cseq => {
                self.state = LegState::Up;
                News::Acked
            }
            LegState::AnsweredLeaving { ok, reason } if ok.cseq == cseq => {
                self.bye(key, reason.as_deref(), wire, now);
                News::Nothing
            }
            // A repeated ACK, or one for something else.
            other @ (LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone) => {
                self.state = other;
                News::Nothing
            }
        }
    }
}
