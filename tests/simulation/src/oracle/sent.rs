//! What the Core asks of the peers: the client side, with the rules of CANCEL.

use bytes::Bytes;
use call::Side;
use sip::{Message, Method, Name, Time};

use super::dialogs::{Dialog, DialogKey};
use super::{Oracle, PATIENCE, Watched, key, withdrawn};

/// A request that the Core sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) call: Option<usize>,
    pub(super) method: Method,
    /// An INVITE that began a leg.
    pub(super) is_first_invite: bool,
    bytes: Bytes,
    pub(super) at: Time,
    pub(super) provisional: bool,
    pub(super) end: Option<u16>,
    pub(super) cancelled: Option<Time>,
    /// Its final response came when Timer B or F had ended its transaction.
    pub(super) late: bool,
    /// The Core was told that it did not arrive, though an earlier copy may have.
    pub(super) undelivered: Option<Time>,
    transmissions: usize,
    /// Of a request within a dialog.
    pub(super) dialog: Option<DialogKey>,
    /// A re-INVITE of the other side's, by its mark.
    pub(super) offered: Option<withdrawn::Offered>,
}

impl Oracle {
    /// True when this request was not sent before.
    pub(super) fn request_sent(&mut self, now: Time, request: &Message<'_>, bytes: &Bytes) -> bool {
        let Some(key) = key(request) else {
            self.fail(None, "a request without branch");
            return true;
        };
        let method = request.method();
        if method == Method::Ack {
            return self.ack_sent(now, &key.0, request, bytes);
        }
        if let Some(known) = self.sent.get_mut(&key) {
            known.transmissions += 1;
            // T1 doubled seven times, or ten times up to T2, fill 64·T1 (RFC 3261 §17.1).
            let most = if method == Method::Invite { 7 } else { 11 };
            let (call, same) = (known.call, known.bytes == *bytes);
            let (over, at_end) = (known.transmissions > most, known.end.is_some());
            if !same {
                self.fail(call, format!("a retransmitted {} differs from the first", method.as_str()));
            }
            if over || at_end {
                self.fail(call, format!("{} is retransmitted too often or after its end", method.as_str()));
            }
            return false;
        }
        let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        let call = match method {
            Method::Cancel => self.cancel_sent(now, &key.0, request),
            Method::Invite if !in_dialog => self.invite_sent(request),
            _ => self.dialog_request_sent(now, request),
        };
        let offered = call.and_then(|call| Some((call, withdrawn::mark(request)?)));
        if let Some(offered) = &offered {
            self.check_offer_stands(offered);
        }
        self.sent.insert(
            key,
            Sent {
                call,
                method,
                is_first_invite: method == Method::Invite && !in_dialog,
                bytes: bytes.clone(),
                at: now,
                provisional: false,
                end: None,
                cancelled: None,
                late: false,
                undelivered: None,
                transmissions: 1,
                dialog: if in_dialog { DialogKey::of_sent_request(request) } else { None },
                offered,
            },
        );
        true
    }

    /// The Core is told that this could not be delivered.
    pub(crate) fn undelivered(&mut self, now: Time, bytes: &Bytes) {
        let Some(key) = Message::parse(bytes).ok().and_then(|request| key(&request)) else { return };
        if let Some(sent) = self.sent.get_mut(&key) {
            sent.undelivered.get_or_insert(now);
            if let Some(call) = sent.call {
                self.calls[call].broken = true;
            }
        }
    }

    /// The Core is told that the connection of an INVITE is gone, which it takes for lost while nothing has come back.
    pub(crate) fn lost(&mut self, now: Time, bytes: &Bytes) {
        let key = Message::parse(bytes).ok().and_then(|request| key(&request));
        let sent = key.and_then(|key| self.sent.get_mut(&key));
        if let Some(sent) =
            sent.filter(|sent| sent.is_first_invite && !sent.provisional && sent.end.is_none())
        {
            sent.undelivered.get_or_insert(now);
        }
    }

    /// A leg begins, or tries again with credentials.
    fn invite_sent(&mut self, invite: &Message<'_>) -> Option<usize> {
        let uri = invite.request_uri().and_then(|uri| sip::Uri::parse(uri).ok());
        let host = uri.as_ref().map(|uri| uri.host.to_vec()).unwrap_or_default();
        let number = uri.and_then(|uri| uri.user).map(|user| String::from_utf8_lossy(user).into_owned());
        let call =
            number.as_deref().and_then(crate::world::call_of_number).filter(|at| *at < self.calls.len());
        let Some(call) = call else {
            self.fail(None, format!("an INVITE to a number that nobody called: {number:?}"));
            return None;
        };
        let call = self.caller_of(call);
        let id = invite.call_id().unwrap_or_default().to_vec();
        let Watched { cancelled, refused_or_answered, referred, .. } = self.calls[call];
        if referred.is_none() && (cancelled || refused_or_answered.is_some()) {
            self.fail(Some(call), "an INVITE leaves although the caller is gone or answered (rows S8, C11)");
        }
        if !self.calls[call].attempts.contains(&id) {
            self.calls[call].attempts.push(id.clone());
        }
        self.calls[call].targets_done = None;
        let side = referred.unwrap_or(Side::B);
        self.sides.insert(id.clone(), (call, side));
        self.keep_secret(call, side, &id);
        self.keep_secret(call, side, &host);
        if let Some(tag) = invite.from().ok().and_then(|from| from.tag()) {
            self.keep_secret(call, side, tag);
        }
        if let Some(branch) = invite.via().ok().and_then(|via| via.branch()) {
            self.keep_secret(call, side, branch);
        }
        Some(call)
    }

    /// Row C1.
    fn cancel_sent(&mut self, now: Time, branch: &[u8], cancel: &Message<'_>) -> Option<usize> {
        let Some(invite) = self.sent.get_mut(&(branch.to_vec(), b"INVITE".to_vec())) else {
            self.fail(None, "a CANCEL whose branch is no INVITE's");
            return None;
        };
        let call = invite.call;
        let early = !invite.provisional;
        let late = invite.end;
        invite.cancelled = Some(now);
        let bytes = invite.bytes.clone();
        if early {
            self.fail(call, "a CANCEL before any provisional response");
        }
        if let Some(status) = late {
            self.fail(call, format!("a CANCEL after the final response {status}"));
        }
        let Ok(invite) = Message::parse(&bytes) else { return call };
        for name in [Name::From, Name::To, Name::CallId, Name::Via, Name::Route] {
            if !cancel.values(name).eq(invite.values(name)) {
                self.fail(call, format!("the CANCEL's {} is not the INVITE's", name.as_str()));
            }
        }
        if cancel.request_uri() != invite.request_uri() {
            self.fail(call, "the CANCEL's Request-URI is not the INVITE's");
        }
        if cancel.cseq().map(|cseq| cseq.number) != invite.cseq().map(|cseq| cseq.number) {
            self.fail(call, "the CANCEL's CSeq number is not the INVITE's");
        }
        let forbidden =
            cancel.has(Name::Require) || cancel.has(Name::ProxyRequire) || !cancel.body().is_empty();
        if forbidden || !cancel.has(Name::MaxForwards) || cancel.elements(Name::Via).count() != 1 {
            self.fail(call, "a CANCEL with Require, Proxy-Require, a body, several Via or no Max-Forwards");
        }
        if !cancel.has(Name::Reason) {
            self.fail(call, "a CANCEL without Reason (RFC 3326)");
        }
        call
    }

    pub(super) fn response_received(
        &mut self,
        now: Time,
        call: Option<(usize, Side)>,
        response: &Message<'_>,
    ) {
        let Some(key) = key(response) else { return };
        let status = response.status().unwrap_or(0);
        let Some(sent) = self.sent.get_mut(&key) else { return };
        if status < 200 {
            // After Timer B there is no transaction left that could be cancelled; what still answers is ended (row C6).
            let lives = sent.provisional || now.since(sent.at) < PATIENCE;
            sent.provisional |= sent.end.is_none() && lives;
            if sent.end.is_none() && sent.is_first_invite && status > 100 {
                self.provisional_received(call, response);
            }
            return;
        }
        // A re-INVITE that was given up because one of its copies bounced is answered to nobody.
        if sent.undelivered.is_some() && !sent.is_first_invite {
            return;
        }
        let first = sent.end.is_none();
        // Timer F runs in Proceeding, Timer B does not (RFC 3261 §17.1).
        let untimed = sent.is_first_invite || sent.method == Method::Invite && sent.provisional;
        sent.late |= first && !untimed && now.since(sent.at) >= PATIENCE;
        // The dialog of a re-INVITE that nobody answered in time is ended, and needs no ACK.
        if sent.late && sent.method == Method::Invite {
            return;
        }
        let before = *sent.end.get_or_insert(status);
        let (method, is_first_invite) = (sent.method, sent.is_first_invite);
        let withdrawn = sent.cancelled.is_some();
        // Of an INVITE that was given up for good the record may be written.
        let is_awaited = sent.undelivered.is_none()
            && (sent.provisional || now.since(sent.at) < PATIENCE)
            && sent.cancelled.is_none_or(|at| now.since(at) < PATIENCE);
        // Row C6: how long after the end of the transaction a 2xx is still looked after.
        let ghost_until = match (sent.undelivered, sent.cancelled, sent.provisional) {
            (Some(at), _, _) => Some(at + PATIENCE),
            (None, Some(at), _) => Some(at + PATIENCE * 2),
            (None, None, true) => None,
            (None, None, false) => Some(sent.at + PATIENCE * 2),
        };
        if first && is_first_invite && is_awaited {
            self.target_said(response, status);
        }
        let Some((call, side)) = call else { return };
        if method == Method::Invite && (200..300).contains(&status) && before < 300 {
            let known =
                DialogKey::of_received_response(response).is_some_and(|id| self.dialogs.contains_key(&id));
            if !known && ghost_until.is_some_and(|until| now >= until) {
                return self.too_late(now, call, side, response);
            }
            if is_first_invite {
                self.calls[call].answered = true;
            }
            self.success_received(now, call, side, (is_first_invite, ghost_until), response);
        }
        let agreed = first && matches!(method, Method::Invite | Method::Update) && status / 100 == 2;
        let dialog = DialogKey::of_received_response(response).filter(|_| agreed);
        if let Some(dialog) = dialog.and_then(|id| self.dialogs.get_mut(&id)) {
            dialog.agreed(response, "uas", now);
        }
        if first && matches!(status, 408 | 481) && !is_first_invite && method != Method::Cancel {
            self.calls[call].broken = true;
        }
        // It gives up what it was asked because it leaves itself (§15.1.2).
        if first && method == Method::Invite && !is_first_invite && status == 487 && !withdrawn {
            self.calls[call].broken = true;
        }
        // A session that cannot be put back after an offer was taken back is none (row C4, within the dialog).
        if first && method == Method::Invite && !is_first_invite && status >= 300 {
            self.calls[call].broken |= self.calls[call].withdrew;
        }
        if first && is_first_invite {
            self.note_targets(now, call);
        }
    }

    /// Row C12: when the caller has its answer, nobody else rings on.
    pub(super) fn response_handled(&mut self, now: Time, response: &Message<'_>) {
        if response.status().is_some_and(|status| status < 200) {
            self.check_provisional(now, response);
        }
        let is_success =
            response.method() == Method::Invite && response.status().is_some_and(|s| s / 100 == 2);
        if is_success {
            self.place_accepted(response);
        }
        let Some(sent) = key(response).filter(|_| is_success).and_then(|key| self.sent.get(&key)) else {
            return;
        };
        let (true, Some(call)) = (sent.is_first_invite, sent.call) else { return };
        let rings_on = |sent: &Sent| {
            let waits = sent.is_first_invite && sent.end.is_none() && sent.undelivered.is_none();
            waits && sent.call == Some(call) && sent.provisional && sent.cancelled.is_none()
        };
        // A target of a transfer rings while others talk.
        let answered =
            self.calls[call].refused_or_answered == Some(200) && self.calls[call].referred.is_none();
        if answered && !self.abandoned && self.sent.values().any(rings_on) {
            self.fail(
                Some(call),
                "somebody answered, and another target rings on without a CANCEL (row C12)",
            );
        }
    }

    fn success_received(
        &mut self,
        now: Time,
        call: usize,
        side: Side,
        (is_first_invite, until): (bool, Option<Time>),
        response: &Message<'_>,
    ) {
        let Some(id) = DialogKey::of_received_response(response) else { return };
        if let Some(tag) = response.to().ok().and_then(|to| to.tag()) {
            self.keep_secret(call, side, tag);
        }
        let known = self.dialogs.contains_key(&id);
        if !known && !is_first_invite {
            return;
        }
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        let last = self.early_cseq(&id);
        // What is looked after until then was given up 64·T1 before.
        let late = until.is_some_and(|until| now + PATIENCE >= until);
        let dialog = self.dialogs.entry(id).or_insert_with(|| {
            let mut dialog = Dialog::new(call, side, true, (number, last), now);
            dialog.late = late;
            dialog
        });
        dialog.owes_ack(number, now, until);
    }

    /// A 2xx that need not be looked after any more, and may.
    fn too_late(&mut self, now: Time, call: usize, side: Side, response: &Message<'_>) {
        let Some(id) = DialogKey::of_received_response(response) else { return };
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        let last = self.early_cseq(&id);
        self.dialogs.insert(id, Dialog::too_late(Dialog::new(call, side, true, (number, last), now)));
    }

    fn note_targets(&mut self, now: Time, call: usize) {
        let mut invites = self.sent.values().filter(|sent| sent.is_first_invite && sent.call == Some(call));
        let done = invites
            .all(|sent| sent.end.is_some_and(|status| status >= 300 && !matches!(status, 401 | 407 | 422)));
        self.calls[call].targets_done = done.then_some(now);
    }

    /// The ACK of a failure goes with its INVITE's branch, that of a 2xx within the dialog.
    fn ack_sent(&mut self, now: Time, branch: &[u8], ack: &Message<'_>, bytes: &Bytes) -> bool {
        if let Some(invite) = self.sent.get(&(branch.to_vec(), b"INVITE".to_vec())) {
            let call = invite.call;
            match invite.end {
                Some(300..) => {}
                Some(_) => self.fail(call, "the ACK of a 2xx with the INVITE's branch"),
                None => self.fail(call, "an ACK before the final response"),
            }
            return true;
        }
        let call = ack.call_id().ok().and_then(|id| self.call_of(id)).map(|(call, _)| call);
        let Some(dialog) = DialogKey::of_sent_request(ack).and_then(|id| self.dialogs.get_mut(&id)) else {
            self.fail(call, "an ACK for no dialog");
            return true;
        };
        match dialog.ack_sent(ack.cseq().map_or(0, |cseq| cseq.number), now, bytes) {
            Ok(first) => first,
            Err(what) => {
                self.fail(call, what);
                true
            }
        }
    }
}
