//! Replaces (RFC 3891): attended transfers between two calls of the box, and an INVITE that takes the place of a leg.

use crate::harness::*;
use call::{Disposition, EndedBy, MediaOrder, Origin, RegistrarPolicy};

pub const FAR: &str = "10.3.3.3:5060";
pub const DESK: &str = "10.1.1.7:5060";

/// The caller of [`call_up_in`] has another call: to 888, answered by [`FAR`] with tag `f1`.
fn consultation(world: &mut World) -> (Sent, Sent) {
    let second = invite("c1", Some(OFFER)).replace("call-a@", "call-c@").replace("tag=a1", "tag=a2");
    world.receive(CALLER, &second.replace("4912345@", "888@"));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE sip:888@");
    world.receive(CALLEE, &response(&first, "503 Service Unavailable", "x", None));
    world.expect(CALLEE, "ACK");
    let out = world.expect(FAR, "INVITE sip:888@");
    let answer = response(&out, "200 OK", "f1", Some(&ANSWER.replace("10.2.2.2", "10.3.3.3")));
    world.receive(FAR, &answer.replacen("Contact:", "Server: Far/2\nContact:", 1));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(FAR, "ACK");
    world.receive(CALLER, &of_second(&from_caller("ACK", 1, &ok, "")));
    world.expect_silence();
    (ok, out)
}

/// A request of the caller, in its second call.
pub fn of_second(text: &str) -> String {
    text.replace("call-a@", "call-c@")
        .replace("tag=a1", "tag=a2")
        .replace("branch=z9hG4bK", "branch=z9hG4bKsecond")
}

/// A request of the far party within the box's INVITE to it.
pub fn from_far(method: &str, cseq: u32, out: &Sent) -> String {
    from_callee(method, cseq, out, "").replace(CALLEE, FAR).replace("tag=b1", "tag=f1")
}

/// A Refer-To for the dialog of the caller's second call, as the caller knows it.
pub fn to_consulted(ok: &Sent) -> String {
    let tag = ok.tag("To");
    format!("Refer-To: <sip:888@192.0.2.1?Replaces=call-c%4010.1.1.1%3Bto-tag%3D{tag}%3Bfrom-tag%3Da2>\n")
}

pub fn two_calls() -> (World, Sent, Sent, Sent, Sent) {
    let mut world = World::new();
    let (ok, out) = call_up_in(&mut world);
    let (ok2, out2) = consultation(&mut world);
    world.records.clear();
    (world, ok, out, ok2, out2)
}

pub fn notified(world: &mut World, line: &str) {
    let notify = world.expect(CALLER, "NOTIFY");
    assert_eq!(notify.body().trim_end(), line);
    world.receive(CALLER, &response(&notify, "200 OK", "", None));
}

#[test]
fn an_attended_transfer_joins_the_two_who_are_left() {
    let (mut world, ok, out, ok2, out2) = two_calls();
    let before = world.core.stats().calls;
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    // Nobody is called anew: the far party is offered what the callee described.
    let offer = world.expect(FAR, "INVITE");
    assert_eq!(offer.header("Call-ID"), out2.header("Call-ID"));
    assert!(offer.body().contains("m=audio"));
    let answer = ANSWER.replace("10.2.2.2", "10.3.3.3").replace("5000", "7000");
    world.receive(FAR, &response(&offer, "200 OK", "", Some(&answer)));
    world.expect(FAR, "ACK");
    notified(&mut world, "SIP/2.0 200 OK");
    let bye = world.expect(CALLER, "BYE");
    assert_eq!(bye.header("Call-ID"), "call-a@10.1.1.1");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    let joined = world.expect(CALLEE, "INVITE");
    assert_eq!(joined.header("Call-ID"), out.header("Call-ID"));
    let bye = world.expect(CALLER, "BYE");
    assert_eq!(bye.header("Call-ID"), "call-c@10.1.1.1");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.receive(CALLEE, &response(&joined, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    assert_eq!(world.core.stats().calls, before - 1);
    let last: Vec<_> = world.records.iter().map(|fact| (fact.attempt, fact.is_last)).collect();
    assert_eq!(last, [(1, false), (2, true)]);
    assert_eq!(world.records[1].ended_by, EndedBy::Caller);
    // The two talk: what one sends reaches the other.
    world.receive(FAR, &from_far("INFO", 1, &out2));
    let info = world.expect(CALLEE, "INFO");
    assert_eq!(info.header("Call-ID"), out.header("Call-ID"));
    world.receive(CALLEE, &response(&info, "200 OK", "", None));
    world.expect(FAR, "SIP/2.0 200");
    world.receive(FAR, &from_far("BYE", 2, &out2));
    world.expect(FAR, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records.iter().filter(|fact| fact.is_last).count(), 2);
    let closed = world.orders.iter().filter(|order| matches!(order, MediaOrder::Close { .. })).count();
    assert_eq!(closed, 2);
    world.expect_nothing_left();
}

#[test]
fn who_transfers_may_hang_up_both_calls_at_once() {
    let (mut world, ok, _, ok2, _) = two_calls();
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    let offer = world.expect(FAR, "INVITE");
    world.receive(CALLER, &of_second(&from_caller("BYE", 2, &ok2, "")));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
    world.receive(FAR, &response(&offer, "200 OK", "", Some(&ANSWER.replace("10.2.2.2", "10.3.3.3"))));
    world.expect(FAR, "ACK");
    notified(&mut world, "SIP/2.0 200 OK");
    let joined = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&joined, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn a_far_party_that_refuses_leaves_both_calls_as_they_were() {
    let (mut world, ok, _, ok2, _) = two_calls();
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    let offer = world.expect(FAR, "INVITE");
    world.receive(FAR, &response(&offer, "488 Not Acceptable Here", "", None));
    world.expect(FAR, "ACK");
    notified(&mut world, "SIP/2.0 488 Not Acceptable Here");
    world.expect_silence();
    assert!(world.records.is_empty());
    world.receive(CALLER, &of_second(&from_caller("BYE", 2, &ok2, "")));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(FAR, "BYE");
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "BYE");
}

#[test]
fn who_stays_and_hangs_up_leaves_the_consultation_as_it_was() {
    let (mut world, ok, out, ok2, _) = two_calls();
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    let offer = world.expect(FAR, "INVITE");
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    notified(&mut world, "SIP/2.0 487 Request Terminated");
    let bye = world.expect(CALLER, "BYE");
    assert_eq!(bye.header("Call-ID"), "call-a@10.1.1.1");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.receive(FAR, &response(&offer, "200 OK", "", Some(&ANSWER.replace("10.2.2.2", "10.3.3.3"))));
    world.expect(FAR, "ACK");
    // It hears again of the one it talked with.
    let again = world.expect(FAR, "INVITE");
    world.receive(FAR, &response(&again, "200 OK", "", Some(&ANSWER.replace("10.2.2.2", "10.3.3.3"))));
    world.expect(FAR, "ACK");
    world.receive(CALLER, &of_second(&from_caller("BYE", 2, &ok2, "")));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(FAR, "BYE");
    world.receive(FAR, &response(&bye, "200 OK", "", None));
    assert_eq!(
        world.records.iter().map(|fact| (fact.attempt, fact.is_last)).collect::<Vec<_>>(),
        [(1, true), (2, true)]
    );
    world.expect_nothing_left();
}

/// An INVITE of another phone of the caller's network, in the place of the caller.
pub fn pickup(ok: &Sent, extra: &str) -> String {
    invite("p1", Some(OFFER))
        .replace(CALLER, DESK)
        .replace("call-a@10.1.1.1", "call-p@10.1.1.7")
        .replace("tag=a1", "tag=p1")
        .replace(
            "X-Trace: 42\n",
            &format!("Replaces: call-a@10.1.1.1;to-tag={};from-tag=a1{extra}\n", ok.tag("To")),
        )
}

/// An INVITE in the place of the callee, with this branch.
pub fn pickup_of_callee(out: &Sent, branch: &str) -> String {
    let named = format!("{};to-tag={};from-tag=b1\n", out.header("Call-ID"), out.tag("From"));
    let text = pickup(out, "").replace("bKp1", &format!("bK{branch}"));
    let (before, rest) = text.split_once("Replaces: ").unwrap();
    format!("{before}Replaces: {named}{}", rest.split_once('\n').unwrap().1)
}

pub fn from_desk(method: &str, cseq: u32, ok: &Sent) -> String {
    from_caller(method, cseq, ok, "")
        .replace(CALLER, DESK)
        .replace("call-a@10.1.1.1", "call-p@10.1.1.7")
        .replace("tag=a1", "tag=p1")
}

#[test]
fn an_invite_with_replaces_takes_the_place_of_the_leg_it_names() {
    let (mut world, ok, out) = call_up();
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    assert_eq!(offer.header("Call-ID"), out.header("Call-ID"));
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let taken = world.expect(DESK, "SIP/2.0 200");
    assert!(taken.body().contains("m=audio") && taken.header("Supported").contains("replaces"));
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.receive(DESK, &from_desk("ACK", 1, &taken));
    world.expect_silence();
    // The talk of the two is told, and from now on that with the newcomer.
    let [talk] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((talk.attempt, talk.is_last, talk.ended_by), (1, false, EndedBy::Caller));
    assert_eq!(talk.disposition, Disposition::Answered);
    world.pass(std::time::Duration::from_secs(60));
    world.receive(DESK, &from_desk("BYE", 2, &taken));
    world.expect(DESK, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let [talk, last] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((last.attempt, last.is_last, last.parent_id), (2, true, Some(talk.id)));
    assert_eq!(last.b_sip_call_id.as_deref(), Some("call-p@10.1.1.7"), "the newcomer's, as it knows it");
    assert_eq!(last.b_destination, Some(DESK.parse().unwrap()));
    assert_eq!((last.origin, last.trunk_out.as_deref()), (Origin::Transfer, Some("pbx")));
    assert!((60_000..61_000).contains(&last.duration_ms), "{last:#?}");
    world.expect_nothing_left();
}

#[test]
fn an_invite_with_replaces_that_is_refused_or_cancelled_leaves_the_call_as_it_was() {
    let (mut world, ok, _) = call_up();
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&offer, "488 Not Acceptable Here", "", None));
    world.expect(CALLEE, "ACK");
    world.expect(DESK, "SIP/2.0 488");
    world.sent.clear();
    let second = pickup(&ok, "").replace("bKp1", "bKp2").replace("1 INVITE", "2 INVITE");
    world.receive(DESK, &second);
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(DESK, &second.replace("INVITE sip", "CANCEL sip").replace("2 INVITE", "2 CANCEL"));
    world.expect(DESK, "SIP/2.0 200");
    world.expect(DESK, "SIP/2.0 487");
    // The offer was out already.
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let back = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&back, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records.len(), 1);
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn who_takes_a_place_has_the_tags_of_the_call_in_its_record() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[0].tags = call::Tags::new([("customer", "acme")]).unwrap();
    });
    let (ok, _) = call_up_in(&mut world);
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let taken = world.expect(DESK, "SIP/2.0 200");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.receive(DESK, &from_desk("ACK", 1, &taken));
    world.receive(DESK, &from_desk("BYE", 2, &taken));
    world.expect(DESK, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let tags: Vec<Vec<_>> =
        world.records.iter().map(|fact| fact.tags.iter().flat_map(|tags| tags.iter()).collect()).collect();
    assert_eq!(tags, [[("customer", "acme")], [("customer", "acme")]]);
}

#[test]
fn who_is_replaced_may_hang_up_first() {
    let (mut world, ok, out) = call_up();
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    assert!(world.kept.is_some());
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    assert!(world.kept.is_none(), "a process that dies now leaves nobody to go on with");
    world.expect_silence();
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let taken = world.expect(DESK, "SIP/2.0 200");
    assert!(world.kept.is_some(), "both sides are there again");
    world.receive(DESK, &from_desk("ACK", 1, &taken));
    world.expect_silence();
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(DESK, "BYE");
    world.receive(DESK, &response(&bye, "200 OK", "", None));
    let last: Vec<_> = world.records.iter().map(|fact| (fact.attempt, fact.is_last)).collect();
    assert_eq!(last, [(1, false), (2, true)]);
    world.expect_nothing_left();
}

#[test]
fn who_comes_and_gives_up_when_who_is_replaced_has_left_ends_the_call() {
    let (mut world, ok, _) = call_up();
    let text = pickup(&ok, "");
    world.receive(DESK, &text);
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(DESK, &text.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL"));
    world.expect(DESK, "SIP/2.0 200");
    let cancelled = world.expect(DESK, "SIP/2.0 487");
    world.receive(DESK, &from_desk("ACK", 1, &cancelled).replace("bKACK1", "bKp1"));
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    world.sent.retain(|sent| sent.text.starts_with("BYE"));
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.sent.clear();
    assert_eq!(world.records.len(), 1);
    world.expect_nothing_left();
}

#[test]
fn replaces_of_nothing_that_may_be_replaced_is_refused() {
    let (mut world, ok, _) = call_up();
    let mut branch = 0;
    let mut refused = |world: &mut World, text: String, status: &str| {
        branch += 1;
        let text =
            text.replace("bKp1", &format!("bKq{branch}")).replace("1 INVITE", &format!("{branch} INVITE"));
        world.receive(DESK, &text);
        world.expect(DESK, &format!("SIP/2.0 {status}"));
    };
    refused(&mut world, pickup(&ok, "").replace("from-tag=a1", "from-tag=zz"), "481");
    refused(&mut world, pickup(&ok, ";early-only"), "486");
    refused(
        &mut world,
        pickup(&ok, "").replace("Replaces: ", "Replaces: x;to-tag=1;from-tag=2\nReplaces: "),
        "400",
    );
    refused(&mut world, pickup(&ok, "\nJoin: x;to-tag=1;from-tag=2"), "400");
    refused(&mut world, pickup(&ok, "").replace("to-tag", "to"), "400");
    world.expect_silence();
    world.receive(CALLER, &from_caller("BYE", 2, &ok, ""));
    world.sent.clear();
    refused(&mut world, pickup(&ok, ""), "603");
    assert_eq!(world.core.stats().calls_started, 1);
}

#[test]
fn a_stranger_may_not_replace_anybody() {
    let (mut world, ok, _) = call_up();
    world.receive("198.51.100.9:5060", &pickup(&ok, "").replace(DESK, "198.51.100.9:5060"));
    world.expect("198.51.100.9:5060", "SIP/2.0 403");
    world.expect_silence();
}

#[test]
fn refer_is_carried_where_the_trunk_says_so() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| trunks[0].refer = routing::Refer::Pass);
    let (ok, out) = call_up_in(&mut world);
    let (ok2, out2) = consultation(&mut world);
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    let refer = world.expect(CALLEE, "REFER");
    assert_eq!(refer.header("Call-ID"), out.header("Call-ID"));
    // The dialog is called what it is called on the other side.
    let (call_id, tag) = (out2.header("Call-ID"), out2.tag("From"));
    assert_eq!(
        refer.header("Refer-To"),
        format!("<sip:888@192.0.2.1?Replaces={call_id}%3Bto-tag%3Df1%3Bfrom-tag%3D{tag}>")
    );
    world.receive(CALLEE, &response(&refer, "202 Accepted", "", None));
    world.expect(CALLER, "SIP/2.0 202");
    let frag =
        "Event: refer\nSubscription-State: active\nContent-Type: message/sipfrag\n\nSIP/2.0 100 Trying\n";
    world.receive(CALLEE, &from_callee("NOTIFY", 1, &out, frag));
    let notify = world.expect(CALLER, "NOTIFY");
    assert_eq!((notify.header("Event"), notify.body().trim_end()), ("refer", "SIP/2.0 100 Trying"));
    assert_eq!(notify.header("Subscription-State"), "active");
    assert_eq!(world.orders.iter().filter(|order| matches!(order, MediaOrder::Close { .. })).count(), 0);
}
