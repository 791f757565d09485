//! The callee's side: placing an INVITE, cancelling it, and what its responses mean.

use bytes::Bytes;
use routing::Credentials;
use sip::{Dialog, Message, Method, Name, Writer};

use super::dialog::{end_fork, end_unwanted};
use super::session_timer::SessionTimer;
use super::{AuthTries, Challenged, Leg, LegKey, LegState, News};
use crate::bodies::Body;
use crate::bridge::CallKey;
use crate::headers::{
    ALLOW, Between, SUPPORTED, SUPPORTED_UNRELIABLE, advertised_host, contact, copy_crossing, copy_named,
    is_sips, requires_reliability, takes_reliability,
};
use crate::io::{Flow, Now};
use crate::media::Side;
use crate::settings::Listener;
use crate::wire::{ClientKey, ClientUser, Purpose, Wire};

/// Where a new leg calls, and as what.
pub(crate) struct Target<'a> {
    /// The Request-URI.
    pub(crate) uri: &'a [u8],
    /// The address of record for To, without angle brackets.
    pub(crate) to: &'a [u8],
    pub(crate) flow: Flow,
    pub(crate) trunk: Option<routing::TrunkId>,
    /// A registered phone, reached only over the flow that it registered from.
    pub(crate) by_flow: bool,
    /// The trunk's credentials are not for it.
    pub(crate) is_stranger: bool,
    /// Nobody was called before.
    pub(crate) first: bool,
    /// The caller's credentials are for it.
    pub(crate) passes_credentials: bool,
    /// Who says and who hears what crosses.
    pub(crate) between: Between,
}

impl Leg {
    /// Places a call towards `target` with what crosses of the caller's INVITE.
    pub(crate) fn invite(
        key: LegKey,
        call: CallKey,
        target: &Target<'_>,
        source: &Message<'_>,
        body: Option<&Body>,
        wire: &mut Wire,
        now: Now,
    ) -> Leg {
        let tag = wire.ids.tag(key);
        let call_id = wire.ids.call_id();
        let user = ClientUser::Leg(key, Purpose::Invite);
        let (client, branch) = wire.prepare(Method::Invite, user, target.flow, now);
        if target.by_flow {
            wire.keep_to_flow(client);
        }
        let listener = wire.listener(target.flow.listener);
        let mut writer = Writer::request(b"INVITE", target.uri);
        via(&mut writer, listener, &branch);
        // The core refused 0 with 483 before a call was made of it (RFC 3261 §8.2.6, §16.3).
        let hops = source.max_forwards().ok().flatten().unwrap_or(70).saturating_sub(1);
        writer.number("Max-Forwards", u64::from(hops));
        from_header(&mut writer, source, advertised_host(listener).as_bytes(), &tag);
        writer.parts("To", &[b"<", target.to, b">"]);
        writer.header("Call-ID", call_id.as_bytes());
        writer.header("CSeq", b"1 INVITE");
        contact(&mut writer, listener, is_sips(target.uri));
        writer.header("Allow", ALLOW);
        // An offer in a reliable 18x needs a caller whose PRACK answers it, and a caller answers one.
        let answers = takes_reliability(source) || requires_reliability(source);
        let reliably = body.is_some_and(Body::is_described) || target.first && answers;
        writer.header("Supported", if reliably { SUPPORTED } else { SUPPORTED_UNRELIABLE });
        writer.header("User-Agent", wire.settings.product.as_bytes());
        SessionTimer::default().ask(&mut writer, &wire.settings);
        // Only what a REFER asks for is called in place of another dialog, and what another shard is to put into one.
        if let Some(replaces) = source.first(Name::Replaces) {
            writer.header("Require", b"replaces").header("Replaces", replaces);
        }
        copy_crossing(source, &mut writer, listener, target.between);
        if target.passes_credentials {
            copy_named(source, &mut writer, &[Name::Authorization, Name::ProxyAuthorization]);
        }
        wire.launch(client, Body::finish(body, writer), now);
        let mut leg = Leg::new(call, Side::B, LegState::Calling { client }, target.flow, tag, call_id);
        leg.trunk = target.trunk;
        leg.by_flow = target.by_flow;
        leg.is_stranger = target.is_stranger;
        leg.placed = true;
        leg.auth = AuthTries::begin(target.passes_credentials);
        leg
    }

    /// Whether its INVITE shall come to nothing, and no answer has come so far.
    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self.state, LegState::CancelWaiting { .. })
    }

    /// The transaction of the INVITE that was sent last, while it waits for its end.
    pub(crate) fn invite_client(&self) -> Option<ClientKey> {
        match self.state {
            LegState::Calling { client } | LegState::Proceeding { client, .. } => Some(client),
            LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone
            | LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. } => None,
        }
    }

    /// A response to the INVITE, as its transaction passed it on.
    pub(crate) fn on_invite_response(
        &mut self,
        key: LegKey,
        from: ClientKey,
        response: &Message<'_>,
        credentials: Option<&Credentials>,
        wire: &mut Wire,
        now: Now,
    ) -> News {
        let status = response.status().unwrap_or(500);
        match std::mem::replace(&mut self.state, LegState::Gone) {
            // RFC 3261 §16.7 item 2: a hop that repeats its 100 is no news of the phone.
            LegState::Proceeding { client, timer_c } if status == 100 => {
                self.state = LegState::Proceeding { client, timer_c };
                News::Nothing
            }
            LegState::Calling { client } | LegState::Proceeding { client, .. } => match status {
                100..200 => {
                    let timer_c = now.time + wire.settings.timer_c;
                    self.state = LegState::Proceeding { client, timer_c };
                    // RFC 6228's 199 ends an early dialog; the caller has only one, and it stays.
                    if matches!(status, 100 | 199) {
                        return News::Nothing;
                    }
                    self.on_provisional(key, client, response, wire, now)
                }
                200..300 => self.established(client, response, wire, now),
                401 | 407 => {
                    let dropped = self.drop_early_offer(wire, now);
                    let asked = Challenged { client, purpose: Purpose::Invite, response, credentials };
                    match self.answer_challenge(key, &asked, wire, now) {
                        Some(again) => {
                            self.early = None;
                            self.state = LegState::Calling { client: again };
                            dropped
                        }
                        None => self.refused(status, wire, now),
                    }
                }
                422 => match self.invite_with_min_se(key, client, response, wire, now) {
                    Some(again) => {
                        self.state = LegState::Calling { client: again };
                        News::Nothing
                    }
                    None => self.refused(status, wire, now),
                },
                _ => self.refused(status, wire, now),
            },
            LegState::CancelWaiting { client, reason } => match status {
                // Row C2: now there is something to cancel.
                100..200 => {
                    self.cancel(client, reason, wire, now);
                    News::Nothing
                }
                // Row C4.
                200..300 => self.too_late(key, client, response, reason.as_deref(), wire, now),
                // Rows C5 and C9: whatever it says, the call is over.
                _ => self.refused_late(status),
            },
            LegState::Cancelling { client, reason, give_up } => match status {
                100..200 => {
                    self.state = LegState::Cancelling { client, reason, give_up };
                    News::Nothing
                }
                // Row C3: the 200 crossed our CANCEL.
                200..300 => self.too_late(key, client, response, reason.as_deref(), wire, now),
                _ => self.refused_late(status),
            },
            // Also a leg that is over: the repeated 2xx of a callee that missed the ACK wants it again.
            state @ (LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone) => {
                self.state = state;
                self.on_late_success(from, response, wire, now);
                News::Nothing
            }
            state @ (LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }) => {
                self.state = state;
                News::Nothing
            }
        }
    }

    /// No response came in time (408), or the INVITE could not be sent (503; RFC 3261 §8.1.3.1).
    pub(crate) fn on_invite_unanswered(&mut self, status: u16, invite: Bytes, wire: &Wire, now: Now) -> News {
        match std::mem::replace(&mut self.state, LegState::Gone) {
            LegState::Calling { .. } | LegState::Proceeding { .. } => {
                self.haunt(invite, wire, now);
                News::Refused(status)
            }
            LegState::CancelWaiting { .. } | LegState::Cancelling { .. } => {
                self.haunt(invite, wire, now);
                News::Nothing
            }
            other @ (LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
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

    /// A 2xx after the first: the same again gets the same ACK, one of another fork gets ACK and BYE (§13.2.2.4).
    pub(crate) fn on_late_success(
        &mut self,
        client: ClientKey,
        response: &Message<'_>,
        wire: &mut Wire,
        now: Now,
    ) {
        let status = response.status().unwrap_or(0);
        if !(200..300).contains(&status) {
            return;
        }
        let tag = response.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        let ours = self.dialog.as_ref().is_some_and(|dialog| &*dialog.remote_tag == tag);
        if ours {
            if let Some(ack) = wire.kept_ack(client) {
                let flow = self.request_flow(wire);
                wire.send(flow, ack, crate::io::SendToken::NONE);
            }
            return;
        }
        let spent = self.early_cseq(tag);
        match &mut self.state {
            LegState::Ghost { invite, ended, .. } => {
                end_unwanted(ended, invite, (response, spent), self.flow, wire, now);
            }
            LegState::Invited { .. }
            | LegState::Answered { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::AckDue { .. }
            | LegState::Up
            | LegState::Leaving
            | LegState::Gone => end_fork(client, response, self.flow, wire, now),
        }
    }

    /// CANCEL now (row C1). The caller makes sure that a provisional response came.
    pub(super) fn cancel(&mut self, client: ClientKey, reason: Option<Box<[u8]>>, wire: &mut Wire, now: Now) {
        let reason = reason.unwrap_or_else(|| Box::from(&b"SIP;cause=487"[..]));
        wire.cancel(client, Some(&reason), now);
        // Kept for the BYE of a 200 that crosses (row C3).
        let give_up = now.time + wire.settings.timing.t1 * 64;
        self.state = LegState::Cancelling { client, reason: Some(reason), give_up };
    }

    fn established(&mut self, client: ClientKey, response: &Message<'_>, wire: &Wire, now: Now) -> News {
        self.final_status = response.status().unwrap_or(200);
        self.put_off = 0;
        self.learn_methods(response);
        self.hear_timer(response, &wire.settings, now);
        if self.make_dialog(client, response, wire) {
            self.state = LegState::AckDue { client, cseq: invite_cseq(response) };
            News::Answered
        } else {
            // A 2xx that makes no dialog (no Contact, no tag) can be neither acknowledged nor ended.
            self.final_status = 502;
            News::Refused(502)
        }
    }

    /// Rows C3 and C4: ACK, then BYE.
    fn too_late(
        &mut self,
        key: LegKey,
        client: ClientKey,
        response: &Message<'_>,
        reason: Option<&[u8]>,
        wire: &mut Wire,
        now: Now,
    ) -> News {
        self.final_status = response.status().unwrap_or(200);
        if self.make_dialog(client, response, wire) {
            self.send_ack(client, invite_cseq(response), None, wire);
            self.bye(key, reason, wire, now);
        }
        News::Nothing
    }

    fn make_dialog(&mut self, client: ClientKey, response: &Message<'_>, wire: &Wire) -> bool {
        self.way_due = true;
        match self.confirm_early(response) {
            Ok(None) => {}
            Ok(dialog) => {
                self.dialog = dialog;
                return true;
            }
            Err(_) => return false,
        }
        let Some(bytes) = wire.client_request(client) else { return false };
        let Ok(invite) = Message::parse(&bytes) else { return false };
        match Dialog::uac(&invite, response) {
            Ok(dialog) => {
                self.dialog = Some(Box::new(dialog));
                true
            }
            Err(_) => false,
        }
    }

    fn refused(&mut self, status: u16, wire: &mut Wire, now: Now) -> News {
        self.close_exchange(wire, now);
        self.final_status = status;
        News::Refused(status)
    }

    fn refused_late(&mut self, status: u16) -> News {
        self.final_status = status;
        News::Nothing
    }
}

/// The CSeq number of the INVITE that was answered: PRACKs of its early dialog have taken the next ones.
fn invite_cseq(response: &Message<'_>) -> u32 {
    response.cseq().map_or(1, |cseq| cseq.number)
}

/// Our Via. `rport` so that the answer finds its way back through NAT (RFC 3581).
pub(crate) fn via(writer: &mut Writer, listener: &Listener, branch: &str) {
    writer.parts("Via", &via_pieces(listener, branch)[1..]);
}

/// The pieces of our Via; the first is empty for those who want the bare value.
pub(crate) fn via_pieces<'a>(listener: &'a Listener, branch: &'a str) -> [&'a [u8]; 8] {
    [
        b"",
        b"SIP/2.0/",
        listener.transport.as_str().as_bytes(),
        b" ",
        listener.advertise.as_bytes(),
        b";branch=",
        branch.as_bytes(),
        b";rport",
    ]
}

/// From of the new leg: display name and user of the caller. The host is ours, for the caller's may be an inner
/// address; a name that is nobody's host (RFC 3323 §4.1.1.3) stays.
pub(crate) fn from_header(writer: &mut Writer, source: &Message<'_>, host: &[u8], tag: &str) {
    let Ok(from) = source.from() else { return };
    let display = from.display;
    let gap: &[u8] = if display.is_empty() { b"" } else { b" " };
    let uri = from.parsed_uri().ok();
    let kept = uri.as_ref().is_some_and(|uri| {
        matches!(uri.scheme, sip::Scheme::Tel | sip::Scheme::Other) || uri.host.ends_with(b".invalid")
    });
    let user = uri.as_ref().and_then(|uri| uri.user);
    let (scheme, user, at, host): (&[u8], &[u8], &[u8], &[u8]) = match user {
        _ if kept => (b"", from.uri, b"", b""),
        Some(user) => (b"sip:", user, b"@", host),
        None => (b"sip:", b"", b"", host),
    };
    writer.parts("From", &[display, gap, b"<", scheme, user, at, host, b">;tag=", tag.as_bytes()]);
}
