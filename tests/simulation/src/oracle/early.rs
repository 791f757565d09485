//! Early dialogs as the wire shows them: reliable provisional responses and their PRACKs (RFC 3262) on both sides.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use call::Side;
use sip::{Message, Method, Name, RAck, Time};

use super::dialogs::DialogKey;
use super::{Key, Oracle, PATIENCE};

const T1: Duration = Duration::from_millis(500);

/// What is known of early dialogs.
#[derive(Debug, Default)]
pub(super) struct EarlyDialogs {
    /// Those in which the Core may send requests, with the CSeq number of the last.
    open: BTreeMap<DialogKey, u32>,
    /// What the Core sent to callers, by their INVITE.
    told: BTreeMap<Key, Told>,
    /// What callees sent, and the PRACKs that it got.
    heard: BTreeMap<DialogKey, Heard>,
}

/// The reliable provisional responses to one INVITE of a caller.
#[derive(Debug)]
struct Told {
    call: Option<usize>,
    /// CSeq number of the INVITE.
    number: u32,
    rseq: u32,
    waiting: Option<Waiting>,
    ended: bool,
}

/// The one that has no PRACK.
#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    described: bool,
    since: Time,
    times: u32,
}

impl Waiting {
    /// RFC 3262 §3: by now it has been sent so often, at T1 doubled each time.
    fn is_repeated_enough(&self, now: Time) -> bool {
        let waited = now.since(self.since);
        let due = (0..6).take_while(|step| T1 * ((2 << step) - 1) < waited).count();
        self.times as usize > due
    }
}

#[derive(Debug, Default)]
struct Heard {
    call: Option<usize>,
    /// RSeq of the last that came in order.
    rseq: u32,
    pracked: Vec<u32>,
}

impl Oracle {
    /// The Core sends a provisional response to a caller's INVITE, perhaps not for the first time.
    pub(super) fn provisional_sent(&mut self, now: Time, key: &Key, response: &Message<'_>, bytes: &Bytes) {
        let call = response.call_id().ok().and_then(|id| self.call_of(id)).map(|(call, _)| call);
        let Some(rseq) = rseq(response) else { return };
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        if let Some(id) = DialogKey::of_sent(response) {
            self.early.open.entry(id).or_insert(0);
        }
        let told = self.early.told.entry(key.clone()).or_insert(Told {
            call,
            number,
            rseq: rseq.wrapping_sub(1),
            waiting: None,
            ended: false,
        });
        let mut wrong = None;
        match &mut told.waiting {
            Some(waiting) if waiting.bytes == *bytes => {
                waiting.times += 1;
                return;
            }
            // A repeated INVITE gets the last provisional response again.
            None if rseq == told.rseq => return,
            Some(_) => wrong = Some("a second reliable 18x before the PRACK of the first".to_owned()),
            None if rseq != told.rseq.wrapping_add(1) => {
                wrong = Some(format!("RSeq {rseq} after {}", told.rseq));
            }
            None => {}
        }
        let described = !response.body().is_empty();
        told.rseq = rseq;
        told.waiting = Some(Waiting { bytes: bytes.clone(), described, since: now, times: 1 });
        if let Some(what) = wrong {
            self.fail(call, what);
        }
    }

    /// The Core sends the final response to a caller's INVITE.
    pub(super) fn reliable_ends(&mut self, now: Time, key: &Key, status: u16) {
        let Some(told) = self.early.told.get_mut(key) else { return };
        if std::mem::replace(&mut told.ended, true) {
            return;
        }
        let (call, waiting) = (told.call, told.waiting.as_ref());
        let early = waiting.is_some_and(|waiting| waiting.described) && (200..300).contains(&status);
        let silent = waiting.is_some_and(|waiting| !waiting.is_repeated_enough(now));
        let late = waiting.is_some_and(|waiting| now.since(waiting.since) > PATIENCE + T1);
        if early {
            self.fail(call, "a 2xx before the PRACK of a description (RFC 3262 §3)");
        }
        if silent {
            self.fail(call, "a reliable 18x was not repeated until its PRACK");
        }
        if late {
            self.fail(call, "a reliable 18x without PRACK outlived 64·T1");
        }
    }

    /// A PRACK of a caller came.
    pub(super) fn prack_received(&mut self, now: Time, prack: &Message<'_>) {
        let Some(rack) = prack.first(Name::RAck).and_then(|value| RAck::parse(value).ok()) else { return };
        let of = prack.call_id().ok().and_then(|id| self.call_of(id)).map(|(call, _)| call);
        let told =
            self.early.told.values_mut().find(|told| {
                told.call == of && told.number == rack.cseq.number && told.rseq == rack.response
            });
        let Some(told) = told else { return };
        let (call, ended) = (told.call, told.ended);
        if let Some(waiting) = told.waiting.take()
            && !ended
            && !waiting.is_repeated_enough(now)
        {
            self.fail(call, "a reliable 18x was not repeated until its PRACK");
        }
    }

    /// A callee's provisional response came.
    pub(super) fn provisional_received(&mut self, call: Option<(usize, Side)>, response: &Message<'_>) {
        let Some(id) = DialogKey::of_received_response(response) else { return };
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        self.early.open.entry(id.clone()).or_insert(number);
        let Some(rseq) = rseq(response) else { return };
        let heard = self.early.heard.entry(id).or_default();
        heard.call = call.map(|(call, _)| call);
        if heard.rseq == 0 || rseq == heard.rseq + 1 {
            heard.rseq = rseq;
        }
    }

    /// The Core sends a request in an early dialog; false when there is none, or the request cannot be sent there.
    pub(super) fn early_request_sent(&mut self, id: &DialogKey, request: &Message<'_>) -> bool {
        let method = request.method();
        let Some(last) = self.early.open.get_mut(id) else { return false };
        let carried = matches!(method, Method::Info | Method::Message | Method::Options);
        if !carried && !matches!(method, Method::Prack | Method::Update) {
            return false;
        }
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let before = std::mem::replace(last, number);
        let call = request.call_id().ok().and_then(|id| self.call_of(id)).map(|(call, _)| call);
        if number <= before {
            self.fail(call, format!("CSeq {number} after {before}"));
        }
        self.prack_sent(id, call, request);
        true
    }

    /// RFC 3262 §4: one PRACK for each reliable response, in their order.
    pub(super) fn prack_sent(&mut self, id: &DialogKey, call: Option<usize>, prack: &Message<'_>) {
        if prack.method() != Method::Prack {
            return;
        }
        let rack = prack.first(Name::RAck).and_then(|value| RAck::parse(value).ok());
        let Some(rseq) = rack.map(|rack| rack.response) else {
            return self.fail(call, "a PRACK without RAck");
        };
        let Some(heard) = self.early.heard.get_mut(id) else {
            return self.fail(call, "a PRACK for a dialog without reliable responses");
        };
        let again = heard.pracked.contains(&rseq);
        let order = heard.rseq < rseq || heard.pracked.iter().any(|before| *before > rseq);
        heard.pracked.push(rseq);
        if again {
            self.fail(call, format!("a second PRACK for RSeq {rseq}"));
        }
        if order {
            self.fail(call, format!("a PRACK for RSeq {rseq}, which is not the next"));
        }
    }

    /// The CSeq number from which a dialog goes on that began early.
    pub(super) fn early_cseq(&self, id: &DialogKey) -> u32 {
        self.early.open.get(id).copied().unwrap_or(0)
    }

    /// Time has passed: what must not wait any longer.
    pub(super) fn check_reliable(&mut self, now: Time) {
        let overdue = self.early.told.values_mut().find(|told| {
            let waits = told.waiting.as_ref().is_some_and(|waiting| now.since(waiting.since) > PATIENCE + T1);
            waits && !told.ended
        });
        if let Some(told) = overdue {
            told.ended = true;
            let call = told.call;
            self.fail(call, "a reliable 18x without PRACK outlived 64·T1");
        }
    }
}

/// The number of a reliable provisional response.
fn rseq(response: &Message<'_>) -> Option<u32> {
    if !response.token_list(Name::Require).any(|tag| tag == b"100rel") {
        return None;
    }
    std::str::from_utf8(response.first(Name::RSeq)?).ok()?.parse().ok()
}
