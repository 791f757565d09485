//! What the peers ask of the Core, and how it answers: the server side.

use std::time::Duration;

use bytes::Bytes;
use call::Side;
use sip::{Message, Method, Time};

use super::dialogs::{Dialog, DialogKey};
use super::{Key, Oracle, PATIENCE, key, withdrawn};

/// RFC 3261 Table 4: T4, over UDP.
const TIMER_I: Duration = Duration::from_secs(5);

/// A request that the Core received.
#[derive(Debug)]
pub(super) struct Asked {
    call: Option<(usize, Side)>,
    pub(super) method: Method,
    pub(super) dialog: Option<DialogKey>,
    in_dialog: bool,
    /// Reliable ones are repeated, also behind later ones (RFC 3262 §3).
    provisionals: Vec<Bytes>,
    pub(super) end: Option<(u16, Bytes)>,
    pub(super) ended: Option<Time>,
    to_tag: Option<Vec<u8>>,
    /// A CANCEL that came before its INVITE, and gets the same 481 again.
    overtook: bool,
    number: u32,
    /// It came with a body.
    described: bool,
    /// A re-INVITE, by its mark.
    pub(super) offered: Option<withdrawn::Offered>,
    /// When its 2xx was sent and has had no ACK since.
    unacknowledged: Option<Time>,
}

impl Asked {
    /// Whether the 2xx has an offer, which the ACK is to answer (RFC 3264 §4).
    fn asks_for_an_answer(&self) -> bool {
        let offers = |bytes: &Bytes| Message::parse(bytes).is_ok_and(|response| !response.body().is_empty());
        !self.described && self.end.as_ref().is_some_and(|(_, bytes)| offers(bytes))
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.end.as_ref().map(|(status, _)| *status)
    }
}

impl Oracle {
    pub(super) fn request_received(&mut self, now: Time, call: Option<(usize, Side)>, request: &Message<'_>) {
        let Some(key) = key(request) else { return };
        let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let is_new = !self.asked.contains_key(&key);
        let mut overtook = false;
        match request.method() {
            Method::Ack => {
                let unreadable = !request.body().is_empty() && sip::Sdp::parse(request.body()).is_err();
                if let Some((call, _)) = call.filter(|_| unreadable) {
                    self.calls[call].broken = true;
                }
                let id = DialogKey::of_received(request);
                let acknowledged = self.asked.values_mut().filter(|asked| asked.number == number);
                let mut unanswered = false;
                for asked in acknowledged.filter(|asked| asked.dialog == id) {
                    // Who owes an answer and sends none cannot be brought back to what was never agreed on.
                    let owes = asked.unacknowledged.take().is_some() && asked.asks_for_an_answer();
                    unanswered |= owes && request.body().is_empty();
                }
                if let Some((call, _)) = call.filter(|_| unanswered) {
                    self.calls[call].broken = true;
                }
                if let Some(dialog) = id.and_then(|id| self.dialogs.get_mut(&id)) {
                    dialog.ack_received(number);
                }
                return;
            }
            Method::Refer => {
                if let Some((call, _)) = call {
                    self.refer_received(call, &key, request);
                }
            }
            Method::Cancel => {
                let invite = self.asked.get(&(key.0.clone(), b"INVITE".to_vec()));
                overtook = invite.is_none();
                if is_new
                    && let Some(Asked { end: None, call: Some((call, Side::A)), in_dialog: false, .. }) =
                        invite
                {
                    self.calls[*call].cancelled = true;
                }
                if let Some((call, _)) = call.filter(|_| in_dialog) {
                    self.calls[call].withdrew = true;
                }
            }
            // The copy of a BYE that came too late gets the same answer, whatever dialog there is by now. That of one
            // which came before its dialog is the end of it, unless it is answered with 481 once more.
            Method::Bye if self.asked.get(&key).is_some_and(|known| known.status() == Some(500)) => {}
            Method::Bye => {
                if let Some(dialog) = DialogKey::of_received(request).and_then(|id| self.dialogs.get_mut(&id))
                {
                    dialog.bye_received.get_or_insert(now);
                    let referred = self.calls[dialog.call].referred.is_some();
                    self.calls[dialog.call].over |= dialog.side == Side::A && !referred;
                } else if let Some((call, Side::A)) = call
                    && self.calls[call].refused_or_answered.is_none()
                {
                    // In an early dialog BYE is as good as CANCEL (RFC 3261 §15).
                    self.calls[call].cancelled = true;
                }
            }
            Method::Prack if is_new => self.prack_received(now, request),
            Method::Invite if !in_dialog => {
                if let Some((call, side)) = call {
                    self.calls[call].invited.get_or_insert(now);
                    self.keep_secret(call, side, &key.0);
                    self.replacement_received(call, request);
                }
            }
            _ => {}
        }
        self.asked.entry(key).or_insert(Asked {
            call,
            method: request.method(),
            dialog: if in_dialog { DialogKey::of_received(request) } else { None },
            in_dialog,
            provisionals: Vec::new(),
            end: None,
            ended: None,
            to_tag: None,
            overtook,
            number,
            described: !request.body().is_empty(),
            offered: call.and_then(|(call, _)| Some((call, withdrawn::mark(request)?))),
            unacknowledged: None,
        });
    }

    /// What must have been done by now: nothing that follows waits for anybody.
    pub(super) fn request_handled(&mut self, now: Time, request: &Message<'_>) {
        let Some(key) = key(request) else { return };
        let Some(asked) = self.asked.get(&key) else { return };
        let call = asked.call.map(|(call, _)| call);
        let status = asked.status();
        let unanswered = asked.end.is_none();
        let silent = unanswered && asked.provisionals.is_empty();
        match asked.method {
            Method::Invite if silent => {
                self.fail(call, "an INVITE is not answered at once, not even with 100")
            }
            Method::Bye => {
                if unanswered {
                    self.fail(call, "a BYE is not answered at once");
                }
                if status == Some(481) {
                    self.bye_means_nothing(now, request);
                } else if let Some(call) = call {
                    self.check_hung_up(now, call, request);
                }
            }
            Method::Cancel => {
                if unanswered {
                    self.fail(call, "a CANCEL is not answered at once");
                }
                self.check_cancelled(now, &key.0, call);
                self.check_taken_back(now, &key.0);
            }
            _ => {}
        }
    }

    /// Row S1: 200 to the CANCEL and 487 to the INVITE, with one To-tag; row C1: leg B is cancelled at once.
    fn check_cancelled(&mut self, now: Time, branch: &[u8], call: Option<usize>) {
        let cancel = self.asked.get(&(branch.to_vec(), b"CANCEL".to_vec()));
        let invite = self.asked.get(&(branch.to_vec(), b"INVITE".to_vec()));
        let (Some(cancel), Some(invite)) = (cancel, invite) else { return };
        if cancel.overtook {
            return;
        }
        let status = cancel.status();
        // An INVITE whose transaction has ended, at the earliest Timer I after its final response, is known no more, and a
        // call that is over may have lost its To-tag (RFC 3261 §9.2 says SHOULD).
        let known = invite.ended.is_none_or(|ended| now.since(ended) < TIMER_I);
        let was_open = known && call.is_some_and(|call| self.calls[call].cancelled);
        if was_open && status == Some(481) {
            return self.fail(call, "481 to a CANCEL whose INVITE is pending");
        }
        if was_open && cancel.to_tag != invite.to_tag {
            return self.fail(call, "the To-tag of the CANCEL's 200 is not the INVITE's");
        }
        if invite.end.is_none() {
            return self.fail(call, "a CANCEL leaves its INVITE without a final response");
        }
        let waiting = self.sent.values().any(|sent| {
            sent.call == call
                && sent.is_first_invite
                && sent.end.is_none()
                && sent.undelivered.is_none()
                && sent.provisional
                && sent.cancelled.is_none()
        });
        if call.is_some_and(|call| self.calls[call].cancelled) && waiting && !self.abandoned {
            self.fail(call, "the caller left, and the target rings on without a CANCEL");
        }
    }

    /// True when this response was not sent before.
    pub(super) fn response_sent(&mut self, now: Time, response: &Message<'_>, bytes: &Bytes) -> bool {
        let status = response.status().unwrap_or(0);
        let call = response.call_id().ok().and_then(|id| self.call_of(id)).map(|(call, _)| call);
        let Some(key) = key(response) else {
            self.fail(call, "a response without branch");
            return true;
        };
        if response.method() == Method::Invite && status < 200 {
            self.provisional_sent(now, &key, response, bytes);
        } else if response.method() == Method::Invite {
            self.reliable_ends(now, &key, status);
        }
        let Some(asked) = self.asked.get_mut(&key) else {
            self.fail(call, format!("a response to nothing: {}", crate::tape::brief(bytes)));
            return true;
        };
        if let Some((first, before)) = &asked.end {
            if before == bytes {
                return false;
            }
            let first = *first;
            // A challenge is made anew for each copy of a REGISTER: nothing is kept of who may be nobody.
            if asked.method == Method::Register {
                return true;
            }
            // Nor is one repeated that comes after Timer J has ended the transaction.
            let forgotten = asked.ended.is_some_and(|ended| now.since(ended) >= PATIENCE);
            if forgotten || first == 481 && asked.in_dialog {
                // A request that overtook the 2xx is answered without a transaction (RFC 3261 §8.2.7): its repetition,
                // which finds the dialog, is judged anew.
                asked.end = (status >= 200).then(|| (status, bytes.clone()));
                asked.provisionals.extend((status < 200).then(|| bytes.clone()));
                let referring =
                    asked.dialog.clone().filter(|_| asked.method == Method::Refer && status == 202);
                let left = asked.dialog.clone().filter(|_| asked.method == Method::Bye);
                self.note_refer(&key, referring);
                self.note_bye(left, status);
                return true;
            }
            self.fail(call, format!("a second final or late response: {status} after {first}"));
            return true;
        }
        let tag = response.to().ok().and_then(|to| to.tag()).map(<[u8]>::to_vec);
        let mut wrong = None;
        if status > 100 {
            match (&asked.to_tag, &tag) {
                (_, None) => wrong = Some(format!("{status} without To-tag")),
                (Some(before), Some(after)) if before != after => {
                    wrong = Some(format!("{status} with another To-tag than the response before"));
                }
                _ => asked.to_tag = tag,
            }
        }
        if status < 200 {
            if asked.provisionals.contains(bytes) {
                return false;
            }
            asked.provisionals.push(bytes.clone());
        } else {
            asked.end = Some((status, bytes.clone()));
            asked.ended = Some(now);
        }
        if asked.method == Method::Invite && (200..300).contains(&status) {
            asked.dialog = DialogKey::of_sent(response);
            asked.unacknowledged = Some(now);
        }
        let agreed = matches!(asked.method, Method::Invite | Method::Update) && status / 100 == 2;
        let agreed = asked.dialog.clone().filter(|_| agreed);
        let referring = asked.dialog.clone().filter(|_| asked.method == Method::Refer && status == 202);
        let left = asked.dialog.clone().filter(|_| asked.method == Method::Bye);
        let (method, of, in_dialog) = (asked.method, asked.call, asked.in_dialog);
        // An UPDATE that could wait no longer for the other side is as good as taken back.
        if let Some((call, _)) = of.filter(|_| method == Method::Update && status == 504) {
            self.calls[call].withdrew = true;
        }
        self.note_refer(&key, referring);
        self.note_bye(left, status);
        if let Some(what) = wrong {
            self.fail(call, what);
        }
        // What could wait for the answer no longer is taken back on the other leg as if by CANCEL.
        if let (Method::Update, 504, Some((call, _))) = (method, status, of) {
            self.calls[call].withdrew = true;
        }
        if method == Method::Invite
            && status >= 200
            && let Some((call, side)) = of
        {
            self.invite_finished(now, call, side, status, in_dialog, response);
        }
        if let Some(dialog) = agreed.and_then(|id| self.dialogs.get_mut(&id)) {
            dialog.agreed(response, "uac", now);
        }
        true
    }

    /// The Core accepted a REFER within this dialog: it calls somebody in the name of who stays.
    fn note_refer(&mut self, refer: &Key, dialog: Option<DialogKey>) {
        if let Some(dialog) = dialog.and_then(|id| self.dialogs.get_mut(&id)) {
            dialog.referred = true;
            let place = (dialog.call, dialog.side);
            self.calls[place.0].referred = Some(place.1);
            self.refer_accepted(refer, place);
        }
    }

    fn invite_finished(
        &mut self,
        now: Time,
        call: usize,
        side: Side,
        status: u16,
        in_dialog: bool,
        response: &Message<'_>,
    ) {
        if in_dialog {
            return;
        }
        let watched = &mut self.calls[call];
        watched.refused_or_answered = Some(status);
        watched.over |= status >= 300;
        let (answered, cancelled, broken) = (watched.answered, watched.cancelled, watched.broken);
        if let Some(tag) = response.to().ok().and_then(|to| to.tag()) {
            let tag = tag.to_vec();
            self.keep_secret(call, side, &tag);
        }
        if (200..300).contains(&status) && self.newcomer_answered(now, call, response) {
            return;
        }
        if (200..300).contains(&status) {
            if !answered {
                self.fail(Some(call), "the caller is answered before any target is");
            }
            let number = response.cseq().map_or(0, |cseq| cseq.number);
            if let Some(id) = DialogKey::of_sent(response) {
                let last = self.early_cseq(&id);
                self.dialogs.insert(id, Dialog::new(call, side, false, (number, last), now));
            }
        } else if status == 487 && !cancelled && !broken {
            self.fail(Some(call), "487 to a caller that did not cancel");
        }
    }

    /// RFC 4320 §4.2: what the other side never answered is not answered here either, unless it was an INVITE.
    fn is_rightly_silent(&self, asked: &Asked) -> bool {
        let crosses = !matches!(asked.method, Method::Invite | Method::Bye | Method::Cancel);
        crosses
            && self.sent.values().any(|sent| {
                sent.method == asked.method
                    && sent.call == asked.call.map(|(call, _)| call)
                    && (sent.late || sent.end.is_none_or(|status| status == 408))
            })
    }

    pub(super) fn end_asked(&mut self) {
        let mut left = Vec::new();
        for ((_, method), asked) in &self.asked {
            if asked.end.is_none() && !self.is_rightly_silent(asked) {
                let call = asked.call.map(|(call, _)| call);
                left.push((call, format!("{} never got a final response", String::from_utf8_lossy(method))));
            }
            // RFC 3261 §13.3.1.4: repeated for 64·T1, then the dialog is ended.
            let over = asked.dialog.as_ref().and_then(|id| self.dialogs.get(id)).and_then(Dialog::over_since);
            if let (Some(since), Some(over)) = (asked.unacknowledged, over)
                && over > since + PATIENCE
            {
                let call = asked.call.map(|(call, _)| call);
                left.push((
                    call,
                    "a 2xx without ACK is neither repeated nor the end of its dialog".to_owned(),
                ));
            }
        }
        for (call, what) in left {
            self.fail(call, what);
        }
    }
}
