//! Dialogs as the wire shows them: every 2xx acknowledged, every dialog ended, none used after its end.

use std::time::Duration;

use bytes::Bytes;
use call::Side;
use sip::{Message, Method, Name, Refresher, SessionExpires, Time};

use super::{Oracle, PATIENCE};

/// Call-ID, the Core's tag, the peer's tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DialogKey {
    call_id: Vec<u8>,
    local: Vec<u8>,
    remote: Vec<u8>,
}

impl DialogKey {
    fn new(message: &Message<'_>, from_is_local: bool) -> Option<DialogKey> {
        let from = message.from().ok()?.tag()?.to_vec();
        let to = message.to().ok()?.tag()?.to_vec();
        let (local, remote) = if from_is_local { (from, to) } else { (to, from) };
        Some(DialogKey { call_id: message.call_id().ok()?.to_vec(), local, remote })
    }

    /// Of a request that the Core received.
    pub(super) fn of_received(request: &Message<'_>) -> Option<DialogKey> {
        DialogKey::new(request, false)
    }

    /// Of a response that the Core sent.
    pub(super) fn of_sent(response: &Message<'_>) -> Option<DialogKey> {
        DialogKey::new(response, false)
    }

    /// Of a request that the Core sent.
    pub(super) fn of_sent_request(request: &Message<'_>) -> Option<DialogKey> {
        DialogKey::new(request, true)
    }

    /// Of a response that the Core received.
    pub(super) fn of_received_response(response: &Message<'_>) -> Option<DialogKey> {
        DialogKey::new(response, true)
    }
}

/// Half of the shortest session of any world.
const EARLIEST_REFRESH: Duration = Duration::from_secs(45);

/// One dialog.
#[derive(Debug)]
pub(super) struct Dialog {
    pub(super) call: usize,
    pub(super) side: Side,
    /// The Core placed the call, so it owes the ACK.
    is_uac: bool,
    begun: Time,
    /// CSeq number of the INVITE that began it.
    number: u32,
    /// The peer acknowledged the 2xx of the call.
    acked: bool,
    /// INVITEs whose 2xx came: CSeq number, the first 2xx, whether an ACK is owed since.
    owed: Vec<(u32, Time, bool)>,
    last_acks: Vec<(u32, Bytes)>,
    last_cseq: u32,
    /// A REFER within it was accepted.
    pub(super) referred: bool,
    /// Its 2xx came after its INVITE was given up (row C6).
    pub(super) late: bool,
    /// So late that it may be left alone.
    unowed: bool,
    /// The peer was to refresh the session, and from now on the Core need not wait for it (RFC 4028 §10).
    expires: Option<Time>,
    pub(super) bye_sent: Option<Time>,
    pub(super) bye_received: Option<Time>,
    /// The peer's BYE was refused, for a later request of its had overtaken it: the dialog still needs one.
    pub(super) bye_refused: bool,
    /// A BYE of the peer's got its 200.
    pub(super) bye_accepted: bool,
}

impl Dialog {
    /// `last_cseq`: of what the Core sent while it was early.
    pub(super) fn new(
        call: usize,
        side: Side,
        is_uac: bool,
        (number, last_cseq): (u32, u32),
        begun: Time,
    ) -> Dialog {
        Dialog {
            call,
            side,
            is_uac,
            begun,
            number,
            acked: is_uac,
            owed: Vec::new(),
            last_acks: Vec::new(),
            last_cseq,
            referred: false,
            late: false,
            unowed: false,
            expires: None,
            bye_sent: None,
            bye_received: None,
            bye_refused: false,
            bye_accepted: false,
        }
    }

    /// A dialog whose 2xx came when nobody had to wait for it any more: no ACK is owed, and a BYE only after one.
    pub(super) fn too_late(dialog: Dialog) -> Dialog {
        let owed = vec![(dialog.number, dialog.begun, false)];
        Dialog { owed, late: true, unowed: true, ..dialog }
    }

    /// An ACK of the peer came; that of a refused re-INVITE has another number.
    pub(super) fn ack_received(&mut self, number: u32) {
        self.acked |= number == self.number;
    }

    /// A 2xx came. After 64·T1 no more repetitions are looked after (RFC 3261 §13.2.2.4), nor after `until`.
    ///
    /// A peer that said BYE has closed the matter itself: its repetitions that were overtaken need nothing any more.
    pub(super) fn owes_ack(&mut self, number: u32, now: Time, until: Option<Time>) {
        let open = self.bye_received.is_none() && !self.unowed;
        match self.owed.iter_mut().find(|(cseq, ..)| *cseq == number) {
            Some((_, first, owed)) => {
                *owed |= open && now.since(*first) < PATIENCE && until.is_none_or(|until| now < until)
            }
            None => self.owed.push((number, now, open)),
        }
    }

    /// True when this ACK was not sent before.
    pub(super) fn ack_sent(&mut self, number: u32, _now: Time, bytes: &Bytes) -> Result<bool, String> {
        let Some((.., owed)) = self.owed.iter_mut().find(|(cseq, ..)| *cseq == number) else {
            return Err(format!("an ACK with CSeq {number}, which no 2xx had"));
        };
        *owed = false;
        match self.last_acks.iter().find(|(cseq, _)| *cseq == number) {
            Some((_, before)) if before == bytes => Ok(false),
            Some(_) => Err(format!("a second ACK of CSeq {number} differs from the first")),
            None => {
                self.last_acks.push((number, bytes.clone()));
                Ok(true)
            }
        }
    }

    /// A 2xx to an INVITE or UPDATE said who refreshes the session; `peer` is what it calls the peer.
    pub(super) fn agreed(&mut self, response: &Message<'_>, peer: &str, now: Time) {
        let said = response.first(Name::SessionExpires).and_then(|value| SessionExpires::parse(value).ok());
        self.expires = said.and_then(|said| {
            let refresher = if peer == "uac" { Refresher::Uac } else { Refresher::Uas };
            let whole = Duration::from_secs(u64::from(said.seconds));
            let wait = whole - (whole / 3).min(Duration::from_secs(32));
            (said.refresher == Some(refresher)).then(|| now + wait)
        });
    }

    pub(super) fn is_over(&self) -> bool {
        self.over_since().is_some() && !self.owes_bye()
    }

    fn owes_bye(&self) -> bool {
        self.bye_refused && !self.bye_accepted && self.bye_sent.is_none()
    }

    /// When the first BYE of either side passed the Core.
    pub(super) fn over_since(&self) -> Option<Time> {
        self.bye_sent.into_iter().chain(self.bye_received).min()
    }
}

impl Oracle {
    /// A new request of the Core within a dialog.
    pub(super) fn dialog_request_sent(&mut self, now: Time, request: &Message<'_>) -> Option<usize> {
        let call = request.call_id().ok().and_then(|id| self.call_of(id)).map(|(call, _)| call);
        let method = request.method();
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let id = DialogKey::of_sent_request(request);
        let busy = method == Method::Invite && id.as_ref().is_some_and(|id| self.is_offering(id, now));
        let unwanted = id.as_ref().is_some_and(|id| self.is_unwanted(id));
        let is_early = id.as_ref().is_some_and(|id| !self.dialogs.contains_key(id));
        if let Some(id) = id.as_ref().filter(|_| is_early)
            && self.early_request_sent(id, request)
        {
            return call;
        }
        if let Some(id) = &id {
            self.prack_sent(id, call, request);
        }
        let Some(dialog) = id.and_then(|id| self.dialogs.get_mut(&id)) else {
            self.fail(call, format!("{} for no dialog", method.as_str()));
            return call;
        };
        let mut wrong = Vec::new();
        if busy {
            wrong.push("a re-INVITE while another INVITE is under way (RFC 3261 §14.1)".to_owned());
        }
        // The subscription of a REFER is another use of the dialog (RFC 5057 §5).
        let notifies = method == Method::Notify && dialog.referred;
        // Nothing is due so early, so this one is the other side's (RFC 4028 §7.4).
        if method == Method::Update && request.body().is_empty() && now < Time::ZERO + EARLIEST_REFRESH {
            wrong.push("a refresh crosses to the other leg".to_owned());
        }
        if dialog.is_over() && !notifies {
            wrong.push(format!("{} in a dialog that is over", method.as_str()));
        }
        if number <= dialog.last_cseq {
            wrong.push(format!("CSeq {number} after {}", dialog.last_cseq));
        }
        dialog.last_cseq = number;
        if method == Method::Bye {
            dialog.bye_sent.get_or_insert(now);
            self.calls[dialog.call].over |=
                dialog.side == Side::A && self.calls[dialog.call].referred.is_none();
            // RFC 3261 §15: the callee's side waits for the ACK or its timeout.
            if !dialog.acked && now.since(dialog.begun) < PATIENCE {
                wrong.push("BYE to the caller before its ACK".to_owned());
            }
            let owed = dialog.is_uac && dialog.owed.iter().any(|(.., owed)| *owed);
            if owed {
                wrong.push("BYE before the ACK of the 2xx".to_owned());
            }
            let timed_out = now.since(dialog.begun) >= PATIENCE;
            if !timed_out && !unwanted && !self.has_cause(now, call) {
                wrong.push("BYE although nobody hung up".to_owned());
            }
        }
        for what in wrong {
            self.fail(call, what);
        }
        call
    }

    /// Whether an INVITE of either side has no final response, or a 2xx has no ACK.
    fn is_offering(&self, id: &DialogKey, now: Time) -> bool {
        let ours = self.sent.values().any(|sent| {
            let waits = sent.end.is_none() && now.since(sent.at) < PATIENCE;
            waits && sent.method == Method::Invite && sent.dialog.as_ref() == Some(id)
        });
        let theirs = self.asked.values().any(|asked| {
            asked.end.is_none() && asked.method == Method::Invite && asked.dialog.as_ref() == Some(id)
        });
        let unacknowledged =
            self.dialogs.get(id).is_some_and(|dialog| dialog.owed.iter().any(|(.., owed)| *owed));
        ours || theirs || unacknowledged
    }

    /// Whether its 2xx came too late, or another came first: to the same INVITE (RFC 3261 §13.2.2.4), or of another
    /// target.
    fn is_unwanted(&self, id: &DialogKey) -> bool {
        let Some(ours) = self.dialogs.get(id) else { return false };
        ours.late
            || self.dialogs.iter().any(|(other, dialog)| {
                let same_call = dialog.call == ours.call && dialog.side == ours.side;
                // Of two 2xx the second may be the one that is taken, where the first waited for ports.
                other != id && same_call && (dialog.begun <= ours.begun || !dialog.is_over())
            })
    }

    /// Whether something has happened that ends a call.
    fn has_cause(&self, now: Time, call: Option<usize>) -> bool {
        let Some(at) = call else { return false };
        let watched = &self.calls[at];
        watched.broken
            || watched.referred.is_some()
            || watched.wanted.is_some()
            || watched.replaced
            || watched.cancelled
            || watched.refused_or_answered.is_some_and(|status| status >= 300)
            || self.dialogs.values().any(|dialog| {
                let expired = dialog.expires.is_some_and(|expires| expires <= now);
                dialog.call == at && (dialog.bye_received.is_some() || expired)
            })
            || self
                .dialogs
                .values()
                .any(|dialog| dialog.call == at && !dialog.acked && now.since(dialog.begun) >= PATIENCE)
            || self.sent.values().any(|sent| {
                let waited = now.since(sent.at) >= PATIENCE && sent.end.is_none();
                // A re-INVITE that is taken back leaves the call as it was (row S5).
                let left = sent.is_first_invite && sent.cancelled.is_some();
                sent.call == call && (waited || left)
            })
    }

    /// A BYE came and was handled: the other side's dialog is ended by now, unless its ACK is still awaited.
    pub(super) fn check_hung_up(&mut self, now: Time, call: usize, bye: &Message<'_>) {
        // Who was asked to be replaced may leave without the other one.
        if self.calls[call].moved || self.abandoned {
            return;
        }
        let ours = DialogKey::of_received(bye);
        // A dialog that the Core has ended itself was no part of the call any more, and one whose BYE came before it is not
        // ended by a copy that is refused again.
        let was_open = |id| {
            self.dialogs
                .get(id)
                .is_some_and(|dialog: &Dialog| dialog.bye_sent.is_none() && dialog.bye_received.is_some())
        };
        if !ours.as_ref().is_some_and(was_open) {
            return;
        }
        // Who asked for a transfer may leave; the other one stays for the target.
        if ours.as_ref().and_then(|id| self.dialogs.get(id)).is_some_and(|dialog| dialog.referred) {
            return;
        }
        let left = self.dialogs.iter().any(|(id, dialog)| {
            dialog.call == call
                && Some(id) != ours.as_ref()
                && !dialog.is_over()
                && (dialog.acked || now.since(dialog.begun) > PATIENCE)
        });
        if left {
            self.fail(Some(call), "one side hung up, and the other is not told at once");
        }
    }

    /// The answer to a BYE of the peer's within this dialog.
    pub(super) fn note_bye(&mut self, left: Option<DialogKey>, status: u16) {
        if let Some(dialog) = left.and_then(|id| self.dialogs.get_mut(&id)) {
            dialog.bye_refused |= status == 500;
            dialog.bye_accepted |= status == 200;
        }
    }

    /// A callee's BYE before its 2xx got 481, and its repetition after the 2xx the same again (RFC 3261 §15).
    pub(super) fn bye_means_nothing(&mut self, now: Time, bye: &Message<'_>) {
        if let Some(dialog) = DialogKey::of_received(bye).and_then(|id| self.dialogs.get_mut(&id)) {
            // Another BYE of the same moment may have been the end.
            let ended = dialog.bye_accepted;
            dialog.bye_received.take_if(|at| *at == now && !ended);
        }
    }

    /// The dialogs of this Call-ID are of another call from now on.
    pub(super) fn move_dialogs(&mut self, call_id: &[u8], (call, side): (usize, Side)) {
        for (_, dialog) in self.dialogs.iter_mut().filter(|(id, _)| id.call_id == call_id) {
            (dialog.call, dialog.side) = (call, side);
        }
    }

    /// Whether every dialog of this Call-ID has ended: of several that forked, one goes on.
    pub(super) fn is_over(&self, call_id: &[u8]) -> bool {
        self.dialogs.iter().filter(|(id, _)| id.call_id == call_id).all(|(_, dialog)| dialog.is_over())
    }

    /// Whether the Core has sent a BYE within a dialog of this Call-ID.
    pub(crate) fn has_hung_up(&self, call_id: &[u8]) -> bool {
        self.dialogs.iter().any(|(id, dialog)| id.call_id == call_id && dialog.bye_sent.is_some())
    }

    /// Whether an INVITE within a dialog had no final response then, or one that says nothing of its session.
    fn is_bargaining_at(&self, id: &DialogKey, at: Time) -> bool {
        let theirs = self.asked.values().any(|asked| {
            asked.method == Method::Invite
                && asked.dialog.as_ref() == Some(id)
                && asked.ended.is_none_or(|ended| ended >= at)
        });
        let ours = self.sent.values().any(|sent| {
            sent.method == Method::Invite
                && sent.dialog.as_ref() == Some(id)
                && sent.end.is_none_or(|status| status >= 300)
        });
        theirs || ours
    }

    pub(super) fn end_dialogs(&mut self) {
        let mut left = Vec::new();
        for (id, dialog) in &self.dialogs {
            let side = dialog.side;
            if dialog.owed.iter().any(|(.., owed)| *owed) {
                left.push((dialog.call, format!("a 2xx of side {side:?} was never acknowledged")));
            }
            // An offer that is under way then is waited for.
            let outlives = |expires: Time| dialog.over_since().is_some_and(|over| over > expires + PATIENCE);
            let bargains = |expires: Time| self.is_bargaining_at(id, expires);
            if dialog.expires.is_some_and(|at| outlives(at) && !bargains(at)) && !self.abandoned {
                left.push((dialog.call, format!("side {side:?} outlives its session (RFC 4028 §10)")));
            }
            let left_alone = dialog.unowed && dialog.last_acks.is_empty();
            if !dialog.is_over() && !left_alone {
                left.push((dialog.call, format!("a dialog of side {side:?} was never ended with BYE")));
            }
        }
        for (call, what) in left {
            self.fail(Some(call), what);
        }
    }
}
