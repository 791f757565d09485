//! Replaces across shards: the call of the REFER or INVITE in one shard, the dialog that it names in another.

mod places;

use std::time::Duration;

use call::{Command, EndedBy, Flow, Input, MediaOrder, Side};

use crate::harness::*;
use crate::shards::Shards;

const FAR: &str = "10.3.3.3:5060";
const DESK: &str = "10.1.1.7:5060";

/// A call that [`CALLER`] placed and that is up.
struct Talk {
    call_id: String,
    tag: String,
    callee: &'static str,
    /// The box's 200 to the caller, and its INVITE to the callee.
    ok: Sent,
    out: Sent,
}

impl Talk {
    /// Places it in this shard. [`FAR`] is found when [`CALLEE`] is out of service.
    fn begin(shards: &mut Shards, shard: u16, callee: &'static str) -> Talk {
        let (call_id, tag) =
            (shards.call_id(callee, shard), format!("t{}", callee.len() + usize::from(callee == FAR)));
        let own = |text: &str| own(text, &call_id, &tag);
        shards.receive(CALLER, &own(&invite("1", Some(OFFER))));
        shards.expect(CALLER, "SIP/2.0 100");
        let mut out = shards.expect(CALLEE, "INVITE");
        if callee == FAR {
            shards.receive(CALLEE, &response(&out, "503 Service Unavailable", "x", None));
            shards.expect(CALLEE, "ACK");
            out = shards.expect(FAR, "INVITE");
        }
        shards.receive(callee, &response(&out, "200 OK", "b1", Some(&answer(callee))));
        let ok = shards.expect(CALLER, "SIP/2.0 200");
        shards.expect(callee, "ACK");
        shards.receive(CALLER, &own(&from_caller("ACK", 1, &ok, "")));
        shards.expect_silence();
        shards.worlds.iter_mut().for_each(|world| world.records.clear());
        Talk { call_id, tag, callee, ok, out }
    }

    fn of_caller(&self, method: &str, cseq: u32, extra: &str) -> String {
        own(&from_caller(method, cseq, &self.ok, extra), &self.call_id, &self.tag)
    }

    fn of_callee(&self, method: &str, cseq: u32, extra: &str) -> String {
        from_callee(method, cseq, &self.out, extra).replace(CALLEE, self.callee)
    }

    /// A Refer-To for this call's dialog, as the caller knows it.
    fn refer_to(&self) -> String {
        let (call_id, to, from) =
            (self.call_id.replace('@', "%40").replace(':', "%3A"), self.ok.tag("To"), &self.tag);
        format!("Refer-To: <sip:888@192.0.2.1?Replaces={call_id}%3Bto-tag%3D{to}%3Bfrom-tag%3D{from}>\n")
    }

    /// An INVITE of another phone of the caller's network, in the place of the caller; its Call-ID.
    fn pickup(&self, call_id: &str, extra: &str) -> String {
        let replaces = format!("{};to-tag={};from-tag={}{extra}", self.call_id, self.ok.tag("To"), self.tag);
        invite("p1", Some(OFFER))
            .replace(CALLER, DESK)
            .replace("call-a@10.1.1.1", call_id)
            .replace("tag=a1", "tag=p1")
            .replace("X-Trace: 42\n", &format!("Replaces: {replaces}\n"))
    }
}

/// The text as one of a call with this Call-ID and tag of the caller.
fn own(text: &str, call_id: &str, tag: &str) -> String {
    let branch = format!("branch=z9hG4bK{tag}");
    text.replace("call-a@10.1.1.1", call_id)
        .replace("tag=a1", &format!("tag={tag}"))
        .replace("branch=z9hG4bK", &branch)
}

fn answer(of: &str) -> String {
    ANSWER.replace("10.2.2.2", of.split(':').next().unwrap())
}

fn from_desk(method: &str, cseq: u32, call_id: &str, ok: &Sent) -> String {
    from_caller(method, cseq, ok, "")
        .replace(CALLER, DESK)
        .replace("call-a@10.1.1.1", call_id)
        .replace("tag=a1", "tag=p1")
}

/// Two calls of the caller: with the callee in shard 0, with the far party in shard 1.
fn two_calls() -> (Shards, Talk, Talk) {
    let mut shards = Shards::new(2);
    let first = Talk::begin(&mut shards, 0, CALLEE);
    let second = Talk::begin(&mut shards, 1, FAR);
    (shards, first, second)
}

/// The caller asks for the callee to be joined with the far party, who hears of it; the offer that it gets.
fn transfer(shards: &mut Shards, first: &Talk, second: &Talk) -> Sent {
    shards.receive(CALLER, &first.of_caller("REFER", 2, &second.refer_to()));
    shards.expect(CALLER, "SIP/2.0 202");
    notified(shards, "SIP/2.0 100 Trying");
    let offer = shards.expect(FAR, "INVITE");
    assert_eq!(offer.header("Call-ID"), second.out.header("Call-ID"));
    offer
}

fn notified(shards: &mut Shards, line: &str) {
    let notify = shards.expect_among(CALLER, "NOTIFY");
    assert_eq!(notify.body().trim_end(), line);
    shards.receive(CALLER, &response(&notify, "200 OK", "", None));
}

/// A BYE of the box to this party, in this call, answered.
fn let_go(shards: &mut Shards, who: &str, call_id: &str) {
    let bye = shards.expect_among(who, "BYE");
    assert_eq!(bye.header("Call-ID"), call_id);
    shards.receive(who, &response(&bye, "200 OK", "", None));
}

/// The far party accepts, and the callee is told.
fn complete(shards: &mut Shards, offer: &Sent) {
    shards.receive(FAR, &response(offer, "200 OK", "", Some(&answer(FAR))));
    shards.expect_among(FAR, "ACK");
    let joined = shards.expect_among(CALLEE, "INVITE");
    shards.receive(CALLEE, &response(&joined, "200 OK", "", Some(ANSWER)));
    shards.expect_among(CALLEE, "ACK");
}

/// A transfer that is done: the callee talks with the far party, the caller is out.
fn joined() -> (Shards, Talk, Talk) {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    complete(&mut shards, &offer);
    notified(&mut shards, "SIP/2.0 200 OK");
    let_go(&mut shards, CALLER, &second.call_id);
    let_go(&mut shards, CALLER, &first.call_id);
    shards.expect_silence();
    (shards, first, second)
}

/// The callee hangs up, and what is left ends with it.
fn ends_by_the_callee(shards: &mut Shards, first: &Talk, second: &Talk) {
    shards.receive(CALLEE, &first.of_callee("BYE", 90, ""));
    shards.expect(CALLEE, "SIP/2.0 200");
    let_go(shards, FAR, second.out.header("Call-ID"));
    shards.expect_nothing_left();
}

/// Where the relay was told last that this side of this shard's first call is.
fn described(shards: &Shards, shard: u16, of: Side) -> String {
    let last = shards.worlds[usize::from(shard)].orders.iter().rev().find_map(|order| match order {
        MediaOrder::Describe { side, remote, .. } if *side == of => Some(*remote),
        MediaOrder::Describe { .. }
        | MediaOrder::Open { .. }
        | MediaOrder::Reopen { .. }
        | MediaOrder::Listen { .. }
        | MediaOrder::Watch { .. }
        | MediaOrder::Count { .. }
        | MediaOrder::TakeDigits { .. }
        | MediaOrder::Transcode { .. }
        | MediaOrder::PlayDigit { .. }
        | MediaOrder::Record { .. }
        | MediaOrder::Close { .. } => None,
    });
    last.flatten().map(|remote| remote.rtp.to_string()).unwrap_or_default()
}

#[test]
fn an_attended_transfer_across_shards_joins_the_two_who_are_left() {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    assert!(offer.body().contains("m=audio 31002"), "ports of its own call: {}", offer.text);
    complete(&mut shards, &offer);
    notified(&mut shards, "SIP/2.0 200 OK");
    let_go(&mut shards, CALLER, &second.call_id);
    let_go(&mut shards, CALLER, &first.call_id);
    shards.expect_silence();
    // Media: callee, first call, second call, far party.
    assert_eq!(described(&shards, 0, Side::B), "10.2.2.2:5000");
    assert_eq!(described(&shards, 0, Side::A), "192.0.2.1:31000");
    assert_eq!(described(&shards, 1, Side::A), "192.0.2.1:30000");
    assert_eq!(described(&shards, 1, Side::B), "10.3.3.3:5000");
    // The first call goes on with another, and the second as it was.
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(1, false)], vec![]));
    assert_eq!(shards.worlds[0].records[0].ended_by, EndedBy::Caller);
    shards.receive(FAR, &second.of_callee("INFO", 1, ""));
    let info = shards.expect(CALLEE, "INFO");
    assert_eq!(info.header("Call-ID"), first.out.header("Call-ID"));
    shards.receive(CALLEE, &response(&info, "200 OK", "", None));
    shards.expect(FAR, "SIP/2.0 200");
    shards.receive(FAR, &second.of_callee("BYE", 2, "Reason: Q.850;cause=16\n"));
    shards.expect(FAR, "SIP/2.0 200");
    let bye = shards.expect(CALLEE, "BYE");
    assert_eq!(bye.header("Reason"), "Q.850;cause=16");
    shards.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(1, false), (2, true)], vec![(2, true)]));
    let [ended, last] = [&shards.worlds[1].records[0], &shards.worlds[0].records[1]];
    assert_eq!((ended.ended_by, last.ended_by), (EndedBy::Callee, EndedBy::Callee));
    // What stayed inside went to no address.
    assert_eq!((last.b_destination, last.b_transport, last.sip_code_b), (None, None, Some(200)));
    shards.expect_nothing_left();
}

#[test]
fn hold_and_resume_cross_both_calls() {
    let (mut shards, first, second) = joined();
    for (cseq, direction) in [(10, "sendonly"), (11, "sendrecv")] {
        let body = format!("{KIND}{ANSWER}a={direction}\n");
        shards.receive(CALLEE, &first.of_callee("INVITE", cseq, &body));
        shards.expect(CALLEE, "SIP/2.0 100");
        let offer = shards.expect(FAR, "INVITE");
        assert!(offer.body().contains(&format!("a={direction}")), "{}", offer.text);
        let answer = answer(FAR) + &format!("a={}\n", direction.replace("sendonly", "recvonly"));
        shards.receive(FAR, &response(&offer, "200 OK", "", Some(&answer)));
        let held = shards.expect_among(CALLEE, "SIP/2.0 200");
        assert!(held.body().contains("m=audio"));
        shards.receive(CALLEE, &first.of_callee("ACK", cseq, ""));
        shards.expect_among(FAR, "ACK");
        shards.expect_silence();
    }
    ends_by_the_callee(&mut shards, &first, &second);
}

#[test]
fn who_transfers_across_shards_may_hang_up_both_calls_at_once() {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    shards.receive(CALLER, &second.of_caller("BYE", 2, ""));
    shards.expect(CALLER, "SIP/2.0 200");
    shards.receive(CALLER, &first.of_caller("BYE", 3, ""));
    shards.expect(CALLER, "SIP/2.0 200");
    shards.expect_silence();
    complete(&mut shards, &offer);
    notified(&mut shards, "SIP/2.0 200 OK");
    shards.expect_silence();
    ends_by_the_callee(&mut shards, &first, &second);
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(1, false), (2, true)], vec![(2, true)]));
}

#[test]
fn a_far_party_in_another_shard_that_refuses_leaves_both_calls_as_they_were() {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    shards.receive(FAR, &response(&offer, "488 Not Acceptable Here", "", None));
    shards.expect(FAR, "ACK");
    notified(&mut shards, "SIP/2.0 488 Not Acceptable Here");
    shards.expect_silence();
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(2, false)], vec![]));
    both_end(&mut shards, &first, &second);
}

/// The caller hangs up its two calls, which are as they were.
fn both_end(shards: &mut Shards, first: &Talk, second: &Talk) {
    for talk in [first, second] {
        shards.receive(CALLER, &talk.of_caller("BYE", 8, ""));
        shards.expect(CALLER, "SIP/2.0 200");
        let_go(shards, talk.callee, talk.out.header("Call-ID"));
    }
    shards.expect_nothing_left();
}

#[test]
fn a_far_party_in_another_shard_that_refuses_when_nobody_is_left_ends_both_calls() {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    for (talk, cseq) in [(&second, 2), (&first, 3)] {
        shards.receive(CALLER, &talk.of_caller("BYE", cseq, ""));
        shards.expect(CALLER, "SIP/2.0 200");
    }
    shards.receive(FAR, &response(&offer, "488 Not Acceptable Here", "", None));
    shards.expect(FAR, "ACK");
    notified(&mut shards, "SIP/2.0 488 Not Acceptable Here");
    let_go(&mut shards, FAR, second.out.header("Call-ID"));
    let_go(&mut shards, CALLEE, first.out.header("Call-ID"));
    shards.expect_nothing_left();
}

#[test]
fn who_stays_and_hangs_up_leaves_the_consultation_in_another_shard_as_it_was() {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    shards.receive(CALLEE, &first.of_callee("BYE", 1, ""));
    shards.expect(CALLEE, "SIP/2.0 200");
    notified(&mut shards, "SIP/2.0 487 Request Terminated");
    let_go(&mut shards, CALLER, &first.call_id);
    shards.receive(FAR, &response(&offer, "200 OK", "", Some(&answer(FAR))));
    shards.expect(FAR, "ACK");
    // It hears again of the one it talked with.
    let again = shards.expect(FAR, "INVITE");
    shards.receive(FAR, &response(&again, "200 OK", "", Some(&answer(FAR))));
    shards.expect(FAR, "ACK");
    shards.receive(CALLER, &second.of_caller("BYE", 2, ""));
    shards.expect(CALLER, "SIP/2.0 200");
    let_go(&mut shards, FAR, second.out.header("Call-ID"));
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(2, false), (1, true)], vec![(2, true)]));
    shards.expect_nothing_left();
}

#[test]
fn a_cancel_that_crosses_the_answer_between_shards_ends_what_was_joined() {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    shards.is_held = true;
    shards.receive(FAR, &response(&offer, "200 OK", "", Some(&answer(FAR))));
    shards.expect(FAR, "ACK");
    shards.receive(CALLEE, &first.of_callee("BYE", 1, ""));
    assert_eq!(shards.mail.len(), 2, "the 200 and the CANCEL are on their ways");
    shards.release();
    shards.expect_among(CALLEE, "SIP/2.0 200");
    notified(&mut shards, "SIP/2.0 487 Request Terminated");
    let_go(&mut shards, CALLER, &second.call_id);
    let_go(&mut shards, CALLER, &first.call_id);
    // The far party was told of somebody who is gone, and who was replaced is gone as well.
    let_go(&mut shards, FAR, second.out.header("Call-ID"));
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(2, false), (1, true)], vec![(2, true)]));
    shards.expect_nothing_left();
}

#[test]
fn a_consultation_that_ends_meanwhile_leaves_the_first_call_as_it_was() {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    shards.receive(FAR, &second.of_callee("BYE", 1, ""));
    shards.expect(FAR, "SIP/2.0 200");
    shards.receive(FAR, &response(&offer, "487 Request Terminated", "", None));
    shards.expect_among(FAR, "ACK");
    notified(&mut shards, "SIP/2.0 480 Temporarily Unavailable");
    let_go(&mut shards, CALLER, &second.call_id);
    shards.receive(CALLER, &first.of_caller("BYE", 3, ""));
    shards.expect_among(CALLER, "SIP/2.0 200");
    let_go(&mut shards, CALLEE, first.out.header("Call-ID"));
    shards.sent.clear();
    shards.expect_nothing_left();
}

#[test]
fn a_dialog_that_no_shard_has_is_replaced_by_the_target_itself() {
    let (mut shards, first, second) = two_calls();
    shards.receive(CALLER, &second.of_caller("BYE", 2, ""));
    shards.expect(CALLER, "SIP/2.0 200");
    let_go(&mut shards, FAR, second.out.header("Call-ID"));
    shards.pass(Duration::from_secs(40));
    shards.receive(CALLER, &first.of_caller("REFER", 2, &second.refer_to()));
    shards.expect(CALLER, "SIP/2.0 202");
    notified(&mut shards, "SIP/2.0 100 Trying");
    let called = shards.expect(CALLEE, "INVITE sip:888@");
    assert!(called.header("Replaces").starts_with(&second.call_id));
    shards.receive(CALLEE, &response(&called, "481 Call/Transaction Does Not Exist", "x", None));
    shards.expect(CALLEE, "ACK");
    notified(&mut shards, "SIP/2.0 481 Call/Transaction Does Not Exist");
    assert_eq!(shards.rows(0), [(2, false), (3, false)]);
    shards.receive(CALLER, &first.of_caller("BYE", 3, ""));
    shards.expect(CALLER, "SIP/2.0 200");
    let_go(&mut shards, CALLEE, first.out.header("Call-ID"));
    shards.expect_nothing_left();
}

#[test]
fn a_consultation_that_still_rings_cannot_be_transferred_to() {
    let mut shards = Shards::new(2);
    let first = Talk::begin(&mut shards, 0, CALLEE);
    let call_id = shards.call_id("ringing", 1);
    shards.receive(CALLER, &own(&invite("1", Some(OFFER)), &call_id, "t9"));
    shards.expect(CALLER, "SIP/2.0 100");
    let out = shards.expect(CALLEE, "INVITE");
    shards.receive(CALLEE, &response(&out, "180 Ringing", "b7", None));
    let ok = shards.expect(CALLER, "SIP/2.0 180");
    let second = Talk { call_id, tag: "t9".to_owned(), callee: CALLEE, ok, out };
    shards.receive(CALLER, &first.of_caller("REFER", 2, &second.refer_to()));
    shards.expect(CALLER, "SIP/2.0 202");
    notified(&mut shards, "SIP/2.0 100 Trying");
    notified(&mut shards, "SIP/2.0 481 Call/Transaction Does Not Exist");
    // Nobody is called a second time.
    shards.expect_silence();
}

#[test]
fn a_consultation_whose_ack_is_on_its_way_cannot_be_transferred_to_yet() {
    let mut shards = Shards::new(2);
    let first = Talk::begin(&mut shards, 0, CALLEE);
    let call_id = shards.call_id("answered", 1);
    shards.receive(CALLER, &own(&invite("1", Some(OFFER)), &call_id, "t9"));
    shards.expect(CALLER, "SIP/2.0 100");
    let out = shards.expect(CALLEE, "INVITE");
    shards.receive(CALLEE, &response(&out, "200 OK", "b7", Some(ANSWER)));
    let ok = shards.expect(CALLER, "SIP/2.0 200");
    shards.expect(CALLEE, "ACK");
    let second = Talk { call_id, tag: "t9".to_owned(), callee: CALLEE, ok, out };
    // Between shards a REFER may overtake what its sender said before it.
    shards.receive(CALLER, &first.of_caller("REFER", 2, &second.refer_to()));
    shards.expect(CALLER, "SIP/2.0 202");
    notified(&mut shards, "SIP/2.0 100 Trying");
    notified(&mut shards, "SIP/2.0 491 Request Pending");
    shards.receive(CALLER, &second.of_caller("ACK", 1, ""));
    shards.receive(CALLER, &first.of_caller("REFER", 3, &second.refer_to()));
    shards.expect(CALLER, "SIP/2.0 202");
    notified(&mut shards, "SIP/2.0 100 Trying");
    assert_eq!(shards.expect(CALLEE, "INVITE").header("Call-ID"), second.out.header("Call-ID"));
}

#[test]
fn a_shard_whose_queue_is_full_leaves_the_call_as_it_was() {
    let (mut shards, first, second) = two_calls();
    shards.full = Some(1);
    shards.receive(CALLER, &first.of_caller("REFER", 2, &second.refer_to()));
    shards.expect(CALLER, "SIP/2.0 202");
    notified(&mut shards, "SIP/2.0 100 Trying");
    notified(&mut shards, "SIP/2.0 503 Service Unavailable");
    shards.expect_silence();
    shards.full = None;
    both_end(&mut shards, &first, &second);
}

#[test]
fn hops_end_between_shards_as_anywhere() {
    let (mut shards, first, second) = two_calls();
    let refer = first.of_caller("REFER", 2, &second.refer_to());
    shards.receive(CALLER, &refer.replace("Max-Forwards: 70", "Max-Forwards: 1"));
    shards.expect(CALLER, "SIP/2.0 202");
    notified(&mut shards, "SIP/2.0 100 Trying");
    notified(&mut shards, "SIP/2.0 483 Too Many Hops");
    both_end(&mut shards, &first, &second);
}

#[test]
fn a_dialog_in_another_shard_may_be_named_as_its_far_side_knows_it() {
    let (mut shards, first, second) = two_calls();
    // Somebody sees through the box: the dialog of the far party is meant, and the party opposite it is replaced.
    let (call_id, ours) = (second.out.header("Call-ID"), second.out.tag("From"));
    let named = format!("{call_id}%3Bto-tag%3Db1%3Bfrom-tag%3D{ours}");
    let refer_to = format!("Refer-To: <sip:888@192.0.2.1?Replaces={named}>\n");
    shards.receive(CALLER, &first.of_caller("REFER", 2, &refer_to));
    shards.expect(CALLER, "SIP/2.0 202");
    notified(&mut shards, "SIP/2.0 100 Trying");
    let offer = shards.expect(FAR, "INVITE");
    complete(&mut shards, &offer);
    notified(&mut shards, "SIP/2.0 200 OK");
    let_go(&mut shards, CALLER, &second.call_id);
    let_go(&mut shards, CALLER, &first.call_id);
    ends_by_the_callee(&mut shards, &first, &second);
}

#[test]
fn who_was_joined_across_shards_can_be_transferred_again() {
    let (mut shards, first, second) = joined();
    // The callee consults somebody in the far party's shard and leaves the two alone.
    let third = Talk::begin(&mut shards, 1, CALLEE);
    let tags = (third.ok.tag("To").to_owned(), third.tag.clone());
    let call_id = third.call_id.replace('@', "%40").replace(':', "%3A");
    let refer_to = format!(
        "Refer-To: <sip:9@192.0.2.1?Replaces={call_id}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>\n",
        tags.0, tags.1
    );
    shards.receive(CALLEE, &first.of_callee("REFER", 20, &refer_to));
    shards.expect(CALLEE, "SIP/2.0 202");
    let notify = shards.expect(CALLEE, "NOTIFY");
    shards.receive(CALLEE, &response(&notify, "200 OK", "", None));
    // The party opposite the caller of the third call is the callee's other line.
    let offer = shards.expect(CALLEE, "INVITE");
    assert_eq!(offer.header("Call-ID"), third.out.header("Call-ID"));
    shards.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    shards.expect_among(CALLEE, "ACK");
    let rejoined = shards.expect_among(FAR, "INVITE");
    shards.receive(FAR, &response(&rejoined, "200 OK", "", Some(&answer(FAR))));
    shards.expect_among(FAR, "ACK");
    let_go(&mut shards, CALLER, &third.call_id);
    let_go(&mut shards, CALLEE, first.out.header("Call-ID"));
    let notify = shards.expect_among(CALLEE, "NOTIFY");
    assert_eq!(notify.body().trim_end(), "SIP/2.0 200 OK");
    shards.receive(CALLEE, &response(&notify, "200 OK", "", None));
    shards.receive(FAR, &second.of_callee("BYE", 30, ""));
    shards.expect(FAR, "SIP/2.0 200");
    let_go(&mut shards, CALLEE, third.out.header("Call-ID"));
    shards.expect_nothing_left();
}

#[test]
fn an_operator_ends_a_transfer_across_shards_at_any_moment() {
    for moment in 0..4 {
        for shard in [0, 1] {
            for command in [Command::EndAll, Command::Abandon] {
                let (mut shards, first, second) = two_calls();
                shards.is_held = moment == 0;
                shards.receive(CALLER, &first.of_caller("REFER", 2, &second.refer_to()));
                if moment >= 2 {
                    let offer = shards.expect_among(FAR, "INVITE");
                    shards.is_held = moment == 2;
                    shards.receive(FAR, &response(&offer, "200 OK", "", Some(&answer(FAR))));
                }
                shards.input(shard, Input::Command { id: 1, command: command.clone() });
                shards.release();
                shards.input(1 - shard, Input::Command { id: 2, command });
                answer_everything(&mut shards);
                for shard in [0, 1] {
                    let rows = shards.rows(shard);
                    assert_eq!(
                        rows.iter().filter(|(_, is_last)| *is_last).count(),
                        1,
                        "moment {moment}: {rows:?}"
                    );
                }
                shards.pass(Duration::from_secs(300));
                shards.sent.clear();
                shards.expect_nothing_left();
            }
        }
    }
}

/// Every request that left gets a 200 (a CANCELled INVITE its 487) until nothing new leaves.
fn answer_everything(shards: &mut Shards) {
    while let Some(sent) = shards.sent.pop_front() {
        let to = sent.to.to_string();
        if sent.text.starts_with("INVITE") {
            shards.receive(&to, &response(&sent, "200 OK", "b1", Some(&answer(&to))));
        } else if !sent.text.starts_with("SIP/2.0") && !sent.text.starts_with("ACK") {
            shards.receive(&to, &response(&sent, "200 OK", "", None));
        }
    }
}

#[test]
fn a_peer_that_writes_a_shard_s_address_has_no_part_in_what_shards_say() {
    let (mut shards, first, second) = two_calls();
    let offer = transfer(&mut shards, &first, &second);
    shards.is_held = true;
    shards.receive(FAR, &response(&offer, "200 OK", "", Some(&answer(FAR))));
    shards.expect(FAR, "ACK");
    let inside = shards.mail[0].2.clone();
    shards.release();
    // Somebody knows all there is to know of the dialog between the two.
    let bye = |branch: &str| {
        let [from, to, call_id] = ["From", "To", "Call-ID"].map(|name| inside.header(name));
        format!(
            "BYE sip:x SIP/2.0\nVia: SIP/2.0/UDP 9.9.9.9;branch=z9hG4bK{branch}\nMax-Forwards: 70\nFrom: {from}\n\
             To: {to}\nCall-ID: {call_id}\nCSeq: 90 BYE\n"
        )
    };
    let from = Flow::inner(0).remote.to_string();
    shards.worlds[1].receive(&from, &bye("1"));
    let answer = shards.worlds[1].sent.pop_front().unwrap();
    assert_eq!(answer.first_line(), "SIP/2.0 403 Forbidden");
    assert_eq!(shards.worlds[1].core.stats().calls, 1);
}

#[test]
fn two_transfers_that_want_each_other_s_calls_leave_both_as_they_were() {
    let (mut shards, first, second) = two_calls();
    shards.is_held = true;
    shards.receive(CALLER, &first.of_caller("REFER", 2, &second.refer_to()));
    shards.receive(CALLER, &second.of_caller("REFER", 2, &first.refer_to()));
    shards.release();
    for _ in 0..2 {
        shards.expect_among(CALLER, "SIP/2.0 202");
        notified(&mut shards, "SIP/2.0 100 Trying");
    }
    for _ in 0..2 {
        notified(&mut shards, "SIP/2.0 491 Request Pending");
    }
    both_end(&mut shards, &first, &second);
}
