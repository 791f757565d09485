//! Transfers: a REFER carried out by the box, with whoever leaves at whatever moment.

use std::time::Duration;

use crate::harness::*;
use call::{Command, Disposition, EndedBy, Input, MediaOrder, MediaReport, RegistrarPolicy, Side, Speech};

const TARGET_ANSWER: &str = "v=0
o=carol 5 5 IN IP4 10.2.2.9
s=-
c=IN IP4 10.2.2.9
t=0 0
m=audio 6000 RTP/AVP 0
";

pub const TO_CAROL: &str = "Refer-To: <sip:777@192.0.2.1>\n";

/// The caller refers the callee to 777.
pub fn caller_refers(world: &mut World, ok: &Sent, extra: &str) {
    world.receive(CALLER, &from_caller("REFER", 2, ok, &format!("{TO_CAROL}{extra}")));
}

/// The same up to the INVITE of the target; the first NOTIFY is answered.
pub fn caller_transfers(world: &mut World, ok: &Sent) -> Sent {
    caller_refers(world, ok, "");
    let accepted = world.expect(CALLER, "SIP/2.0 202");
    assert!(accepted.has("Contact"));
    notified(world, CALLER, "active", "SIP/2.0 100 Trying");
    world.expect(CALLEE, "INVITE sip:777@10.2.2.2:5060 SIP/2.0")
}

/// The next message is a NOTIFY with this state and status line; it is answered with 200.
pub fn notified(world: &mut World, who: &str, state: &str, line: &str) -> Sent {
    let notify = world.expect(who, "NOTIFY");
    assert!(notify.header("Event").starts_with("refer"), "{}", notify.text);
    assert!(notify.header("Subscription-State").starts_with(state), "{}", notify.text);
    assert_eq!(notify.header("Content-Type"), "message/sipfrag;version=2.0");
    assert_eq!(notify.body().trim_end(), line);
    world.receive(who, &response(&notify, "200 OK", "", None));
    notify
}

/// 2xx of the target with tag `c1`, and what the box does before it turns to who stays.
fn target_answers(world: &mut World, target: &Sent) {
    target_answers_with(world, target, TARGET_ANSWER);
}

/// The same with this description.
pub fn target_answers_with(world: &mut World, target: &Sent, answer: &str) {
    world.receive(CALLEE, &response(target, "200 OK", "c1", Some(answer)));
}

/// A request of the target within its dialog.
pub fn from_target(method: &str, cseq: u32, invite: &Sent) -> String {
    from_callee(method, cseq, invite, "").replace("tag=b1", "tag=c1").replace("bKb", "bKc")
}

fn is_described(world: &World, side: Side, address: &str) -> bool {
    let of_side = |order: &&MediaOrder| matches!(order, MediaOrder::Describe { side: of, .. } if *of == side);
    match world.orders.iter().rev().find(of_side) {
        Some(MediaOrder::Describe { remote: Some(remote), .. }) => remote.rtp == address.parse().unwrap(),
        _ => false,
    }
}

#[test]
fn who_talks_is_told_at_the_answer_and_when_a_side_is_exchanged_or_stays() {
    let [pbx, carrier] = ["pbx", "carrier"].map(|name| Some(name.to_owned()));
    let (mut world, ok, _) = call_up();
    assert_eq!(world.joined, [[pbx.clone(), carrier.clone()]]);
    let target = caller_transfers(&mut world, &ok);
    assert_eq!(world.joined.len(), 1, "the target is none of them yet");
    target_answers(&mut world, &target);
    assert_eq!(world.joined[1..], [[carrier.clone(), carrier.clone()]]);

    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    assert_eq!(world.joined, [[pbx.clone(), carrier.clone()], [pbx, carrier]]);
}

#[test]
fn refer_of_the_caller_brings_the_target_to_the_callee() {
    let (mut world, ok, out) = call_up();
    let target = caller_transfers(&mut world, &ok);
    assert!(target.header("From").contains("sip:4912345@"), "{}", target.text);
    assert!(!target.has("Referred-By"));
    assert!(target.body().contains("m=audio"));
    world.receive(CALLEE, &response(&target, "180 Ringing", "c1", None));
    notified(&mut world, CALLER, "active", "SIP/2.0 180 Ringing");
    target_answers(&mut world, &target);
    notified(&mut world, CALLER, "terminated;reason=noresource", "SIP/2.0 200 OK");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    assert_eq!(world.expect(CALLEE, "ACK").header("Call-ID"), target.header("Call-ID"));
    assert!(is_described(&world, Side::A, "10.2.2.9:6000"));
    let again = world.expect(CALLEE, "INVITE");
    assert_eq!(again.header("Call-ID"), out.header("Call-ID"));
    assert!(again.body().contains("m=audio") && !again.body().contains("10.2.2.9"));
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    assert!(is_described(&world, Side::B, "10.2.2.2:5000"));
    world.expect_silence();
    // What one says now reaches the other.
    world.receive(CALLEE, &from_target("BYE", 1, &target));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.header("Call-ID"), out.header("Call-ID"));
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let [talk, last] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((talk.attempt, talk.is_last, talk.disposition), (1, false, Disposition::Answered));
    assert_eq!(talk.ended_by, EndedBy::Caller);
    assert_eq!((last.attempt, last.is_last, last.disposition), (2, true, Disposition::Answered));
    assert_eq!(last.called_sent.as_deref(), Some("777"));
    world.expect_nothing_left();
}

#[test]
fn refer_of_the_callee_brings_the_target_to_the_caller() {
    let (mut world, ok, out) = call_up();
    let refer = from_callee("REFER", 1, &out, &format!("{TO_CAROL}Referred-By: <sip:bob@10.2.2.2>\n"));
    world.receive(CALLEE, &refer);
    world.expect(CALLEE, "SIP/2.0 202");
    notified(&mut world, CALLEE, "active", "SIP/2.0 100 Trying");
    let target = world.expect(CALLEE, "INVITE sip:777@10.2.2.2:5060 SIP/2.0");
    assert!(target.header("From").starts_with("\"Alice\" <sip:alice@"), "{}", target.text);
    assert_eq!(target.header("Referred-By"), "<sip:bob@192.0.2.1>");
    target_answers(&mut world, &target);
    notified(&mut world, CALLEE, "terminated", "SIP/2.0 200 OK");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLER, "INVITE");
    world.receive(CALLER, &response(&again, "200 OK", "", Some(OFFER)));
    world.expect(CALLER, "ACK");
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.header("Call-ID"), target.header("Call-ID"));
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let facts: Vec<_> = world.records.iter().map(|fact| (fact.attempt, fact.is_last)).collect();
    assert_eq!(facts, [(1, false), (2, true)]);
    world.expect_nothing_left();
}

#[test]
fn a_hold_of_who_leaves_does_not_hold_the_target() {
    let (mut world, ok, _) = call_up();
    let hold = format!("{OFFER}a=sendonly\n");
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, "Content-Type: application/sdp\n\n") + &hold));
    world.expect(CALLER, "SIP/2.0 100");
    let held = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&held, "200 OK", "", Some(&format!("{ANSWER}a=recvonly\n"))));
    world.expect(CALLEE, "ACK");
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert!(answer.body().contains("a=recvonly"));
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    world.receive(CALLER, &from_caller("REFER", 3, &ok, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 202");
    world.expect(CALLER, "NOTIFY");
    let target = world.expect(CALLEE, "INVITE sip:777@");
    assert!(!target.body().contains("recvonly"), "{}", target.text);
}

#[test]
fn bye_of_who_asked_does_not_end_the_transfer() {
    let (mut world, ok, out) = call_up();
    let talk = world.open_records.last().unwrap().clone();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
    // Should the process die now, nobody goes on with a talk of which one side is gone.
    let open = world.open_records.last().unwrap();
    assert_eq!((open.id, &open.route, open.answered_at), (talk.id, &talk.route, talk.answered_at));
    assert!(world.kept.is_none() && open.ended_by == EndedBy::Crash && !open.is_last);
    world.receive(CALLEE, &response(&target, "180 Ringing", "c1", None));
    // The subscription is a use of its own of the dialog (RFC 5057 §5).
    let notify = world.expect(CALLER, "NOTIFY");
    world.receive(CALLER, &response(&notify, "481 Call/Transaction Does Not Exist", "", None));
    target_answers(&mut world, &target);
    // Nobody is there to be told any more.
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    assert_eq!(again.header("Call-ID"), out.header("Call-ID"));
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records.len(), 2);
    world.expect_nothing_left();
}

#[test]
fn a_target_that_refuses_leaves_the_call_as_it_was() {
    let (mut world, ok, out) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    world.expect(CALLEE, "ACK");
    notified(&mut world, CALLER, "terminated", "SIP/2.0 486 Busy Here");
    world.expect_silence();
    let [attempt] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((attempt.attempt, attempt.is_last, attempt.disposition), (2, false, Disposition::Busy));
    // The two talk on, and may try again.
    world.receive(CALLER, &from_caller("INFO", 3, &ok, ""));
    world.expect(CALLEE, "INFO");
    world.receive(CALLER, &from_caller("REFER", 4, &ok, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 202");
    let notify = world.expect(CALLER, "NOTIFY");
    assert_eq!(notify.header("Event"), "refer;id=4");
    world.expect(CALLEE, "INVITE sip:777@");
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.pass(Duration::from_secs(40));
    let last: Vec<_> = world.records.iter().filter(|fact| fact.is_last).collect();
    assert_eq!((last.len(), last[0].attempt, last[0].ended_by), (1, 1, EndedBy::Callee));
    assert_eq!(world.records.iter().map(|fact| fact.attempt).collect::<Vec<_>>(), [2, 3, 1]);
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn a_target_that_refuses_after_who_asked_has_left_ends_the_call() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLEE, &response(&target, "603 Decline", "c1", None));
    world.expect(CALLEE, "ACK");
    notified(&mut world, CALLER, "terminated", "SIP/2.0 603 Decline");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.header("Reason"), "SIP;cause=603, Q.850;cause=21");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(world.records.iter().filter(|fact| fact.is_last).count(), 1);
    world.expect_nothing_left();
}

#[test]
fn a_target_that_fails_over_is_followed_by_the_next() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "503 Service Unavailable", "c1", None));
    world.expect(CALLEE, "ACK");
    let spare = world.expect(SPARE, "INVITE sip:777@10.3.3.3:5060");
    world.receive(SPARE, &response(&spare, "200 OK", "c2", Some(TARGET_ANSWER)));
    notified(&mut world, CALLER, "terminated", "SIP/2.0 200 OK");
    world.expect(CALLER, "BYE");
    world.expect(SPARE, "ACK");
    world.expect(CALLEE, "INVITE");
    assert_eq!(world.records.iter().map(|fact| fact.attempt).collect::<Vec<_>>(), [2, 1]);
    assert!(world.records.iter().all(|fact| !fact.is_last));
}

#[test]
fn bye_of_who_stays_ends_everything() {
    let (mut world, ok, out) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "180 Ringing", "c1", None));
    notified(&mut world, CALLER, "active", "SIP/2.0 180 Ringing");
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    let cancel = world.expect(CALLEE, "CANCEL");
    assert_eq!(cancel.header("Call-ID"), target.header("Call-ID"));
    notified(&mut world, CALLER, "terminated", "SIP/2.0 487 Request Terminated");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    // The 200 crosses: it is acknowledged and ended (row C3).
    target_answers(&mut world, &target);
    world.expect(CALLEE, "ACK");
    let bye = world.expect(CALLEE, "BYE");
    assert_eq!(bye.header("Call-ID"), target.header("Call-ID"));
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let last: Vec<_> = world.records.iter().filter(|fact| fact.is_last).collect();
    assert_eq!((last.len(), last[0].attempt, last[0].ended_by), (1, 1, EndedBy::Callee));
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn an_operator_ends_a_transfer() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "100 Trying", "", None));
    world.input(Input::Command { id: 1, command: Command::EndAll });
    world.expect(CALLEE, "CANCEL");
    notified(&mut world, CALLER, "terminated", "SIP/2.0 503 Service Unavailable");
    world.expect(CALLER, "BYE");
    world.expect(CALLEE, "BYE");
    world.sent.clear();
    world.expect_nothing_left();
    assert_eq!(world.records.iter().filter(|fact| fact.is_last).count(), 1);
}

#[test]
fn a_transfer_to_nowhere_leaves_the_call_as_it_was() {
    let mut world = World::with(call::RegistrarPolicy::Closed, |trunks| {
        trunks[0].sources.push(routing::Source::parse("10.9.9.9").unwrap());
    });
    let (ok, _) = call_up_in(&mut world);
    world.slow_routing = true;
    caller_refers(&mut world, &ok, "");
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, CALLER, "active", "SIP/2.0 100 Trying");
    // Routing never answers.
    world.pass(Duration::from_secs(33));
    notified(&mut world, CALLER, "terminated", "SIP/2.0 500 Server Internal Error");
    world.questions.clear();
    world.sent.clear();
    world.receive(CALLER, &from_caller("BYE", 3, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let facts: Vec<_> = world.records.iter().map(|fact| (fact.attempt, fact.is_last)).collect();
    assert_eq!(facts, [(2, false), (1, true)]);
    world.expect_nothing_left();
}

#[test]
fn who_stays_and_refuses_the_newcomer_ends_the_call() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    target_answers(&mut world, &target);
    notified(&mut world, CALLER, "terminated", "SIP/2.0 200 OK");
    world.expect(CALLER, "BYE");
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&again, "488 Not Acceptable Here", "", None));
    world.expect(CALLEE, "ACK");
    let byes = [world.expect(CALLEE, "BYE"), world.expect(CALLEE, "BYE")];
    assert!(byes.iter().any(|bye| bye.header("Call-ID") == target.header("Call-ID")));
    world.sent.clear();
    world.expect_nothing_left();
    assert_eq!(world.records.iter().filter(|fact| fact.is_last).count(), 1);
}

#[test]
fn glare_with_who_stays_puts_the_newcomer_off_and_not_out() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    target_answers(&mut world, &target);
    notified(&mut world, CALLER, "terminated", "SIP/2.0 200 OK");
    world.expect(CALLER, "BYE");
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&again, "491 Request Pending", "", None));
    world.expect(CALLEE, "ACK");
    world.sent.clear();
    world.pass(Duration::from_secs(5));
    let again = world.sent.iter().find(|sent| sent.text.starts_with("INVITE")).cloned().unwrap();
    world.sent.clear();
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    assert!(is_described(&world, Side::B, "10.2.2.2:5000"));
}

#[test]
fn norefersub_gets_no_notify() {
    let (mut world, ok, _) = call_up();
    caller_refers(&mut world, &ok, "Refer-Sub: false\n");
    assert_eq!(world.expect(CALLER, "SIP/2.0 202").header("Refer-Sub"), "false");
    let target = world.expect(CALLEE, "INVITE sip:777@");
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
}

#[test]
fn a_refer_that_cannot_be_followed_is_refused_and_changes_nothing() {
    let (mut world, ok, out) = call_up();
    let mut cseq = 2;
    for (refer_to, status) in [
        ("", "400"),
        ("Refer-To: <sip:1@a>, <sip:2@b>\n", "400"),
        ("Refer-To: <sip:1@a>\nRefer-To: <sip:2@b>\n", "400"),
        ("Refer-To: nobody at all\n", "400"),
        ("Refer-To: <mailto:carol@example.com>\n", "416"),
        ("Refer-To: <sip:777@192.0.2.1;method=BYE>\n", "501"),
        ("Refer-To: <sip:777@192.0.2.1?Replaces=nonsense>\n", "400"),
        ("Refer-To: <sip:777@192.0.2.1?Replaces=a%0D%0AX%3Bto-tag%3Db%3Bfrom-tag%3Dc>\n", "400"),
    ] {
        world.receive(CALLER, &from_caller("REFER", cseq, &ok, refer_to));
        world.expect(CALLER, &format!("SIP/2.0 {status}"));
        world.expect_silence();
        cseq += 1;
    }
    let tired = from_caller("REFER", cseq, &ok, TO_CAROL).replace("Max-Forwards: 70", "Max-Forwards: 0");
    world.receive(CALLER, &tired);
    world.expect(CALLER, "SIP/2.0 483");
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    world.expect(CALLER, "BYE");
}

#[test]
fn a_second_refer_while_one_runs_waits_its_turn() {
    let (mut world, ok, out) = call_up();
    caller_transfers(&mut world, &ok);
    world.receive(CALLER, &from_caller("REFER", 3, &ok, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 491");
    world.receive(CALLEE, &from_callee("REFER", 1, &out, TO_CAROL));
    world.expect(CALLEE, "SIP/2.0 491");
    world.expect_silence();
}

#[test]
fn a_refer_before_the_answer_is_refused() {
    let mut world = World::new();
    let (_, ringing) = call_ringing(&mut world);
    world.receive(CALLER, &from_caller("REFER", 2, &ringing, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 491");
    world.expect_silence();
}

#[test]
fn hops_run_out_and_transfers_are_counted() {
    let (mut world, ok, _) = call_up();
    let refer = from_caller("REFER", 2, &ok, TO_CAROL).replace("Max-Forwards: 70", "Max-Forwards: 9");
    world.receive(CALLER, &refer);
    world.expect(CALLER, "SIP/2.0 202");
    world.expect(CALLER, "NOTIFY");
    let target = world.expect(CALLEE, "INVITE sip:777@");
    assert_eq!(target.header("Max-Forwards"), "8");
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    for cseq in 3..12 {
        world.sent.clear();
        world.receive(CALLER, &from_caller("REFER", cseq, &ok, TO_CAROL));
        world.expect(CALLER, "SIP/2.0 202");
        world.expect(CALLER, "NOTIFY");
        let target = world.expect(CALLEE, "INVITE sip:777@");
        world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    }
    world.sent.clear();
    world.receive(CALLER, &from_caller("REFER", 12, &ok, TO_CAROL));
    assert_eq!(world.expect(CALLER, "SIP/2.0 403").first_line(), "SIP/2.0 403 Too Many Transfers");
}

#[test]
fn a_dialog_that_is_not_ours_is_replaced_by_the_target_itself() {
    let (mut world, ok, _) = call_up();
    let replaces = "Refer-To: <sip:777@192.0.2.1?Replaces=far%4010.2.2.9%3Bto-tag%3Dx%3Bfrom-tag%3Dy>\n";
    world.receive(CALLER, &from_caller("REFER", 2, &ok, replaces));
    world.expect(CALLER, "SIP/2.0 202");
    world.expect(CALLER, "NOTIFY");
    let target = world.expect(CALLEE, "INVITE sip:777@10.2.2.2:5060 SIP/2.0");
    assert_eq!(target.header("Replaces"), "far@10.2.2.9;to-tag=x;from-tag=y");
    assert_eq!(target.header("Require"), "replaces");
}

#[test]
fn update_of_a_target_that_rings_is_put_off() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    let early = response(&target, "183 Session Progress", "c1", Some(TARGET_ANSWER));
    world.receive(CALLEE, &early.replacen("Contact:", "Require: 100rel\nRSeq: 1\nContact:", 1));
    let prack = world.expect(CALLEE, "PRACK");
    world.receive(CALLEE, &response(&prack, "200 OK", "", None));
    notified(&mut world, CALLER, "active", "SIP/2.0 183 Session Progress");
    let update = from_target("UPDATE", 1, &target) + "Content-Type: application/sdp\n\n" + TARGET_ANSWER;
    world.receive(CALLEE, &update);
    let refusal = world.expect(CALLEE, "SIP/2.0 500");
    assert!(refusal.has("Retry-After"), "{}", refusal.text);
    target_answers(&mut world, &target);
    notified(&mut world, CALLER, "terminated;reason=noresource", "SIP/2.0 200 OK");
}

#[test]
fn who_is_spoken_to_in_keys_of_this_box_may_name_another_who_is() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].media_security = routing::MediaSecurity::Sdes;
    });
    let suite = sip::SrtpSuite::AesCm128Sha1_80;
    let lines = |sent: &Sent| -> Vec<sip::Crypto> {
        sip::Sdp::parse(sent.body().as_bytes()).unwrap().streams()[0].crypto().collect()
    };
    let answer = |out: &Sent, plain: &str| {
        let offered = lines(out).into_iter().find(|line| line.suite == suite).unwrap();
        let mut line = "a=crypto:".to_owned();
        sip::Crypto { key: sip::MasterKey::zero(suite), ..offered }.write(&mut line);
        format!("{}{line}\n", plain.replace("RTP/AVP", "RTP/SAVP"))
    };
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(&answer(&out, ANSWER))));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));

    world.receive(CALLEE, &from_callee("REFER", 1, &out, TO_CAROL));
    world.expect(CALLEE, "SIP/2.0 202");
    notified(&mut world, CALLEE, "active", "SIP/2.0 100 Trying");
    let target = world.expect(CALLEE, "INVITE sip:777@");
    assert!(target.body().contains("RTP/SAVP "), "{}", target.text);
    let known = lines(&out);
    assert!(lines(&target).iter().all(|line| known.iter().all(|other| other.key != line.key)));
    world.receive(CALLEE, &response(&target, "200 OK", "c1", Some(&answer(&target, TARGET_ANSWER))));
    notified(&mut world, CALLEE, "terminated", "SIP/2.0 200 OK");
    world.expect(CALLEE, "BYE");
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLER, "INVITE");
    assert!(again.body().contains("RTP/AVP ") && !again.body().contains("crypto"), "{}", again.text);
}

/// The relay's counters of A and B, in that order.
fn counted(fact: &call::CdrFact) -> [u64; 2] {
    [fact.from_a.packets, fact.from_b.packets]
}

/// The harness' relay has counted 3 and 4 packets when it is asked, and 11 and 22 at the end.
#[test]
fn what_was_heard_before_a_transfer_and_after_it_stands_in_a_row_each() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    target_answers(&mut world, &target);
    let [talk] = &world.records[..] else { panic!("{:#?}", world.records) };
    assert_eq!((talk.ended_by, counted(talk)), (EndedBy::Caller, [3, 4]));
    let open = world.open_records.last().unwrap();
    assert_eq!((open.attempt, counted(open)), (2, [0, 0]), "the newcomer begins with nothing");
    notified(&mut world, CALLER, "terminated", "SIP/2.0 200 OK");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.receive(CALLEE, &from_target("BYE", 1, &target));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    assert_eq!(
        counted(world.records.last().unwrap()),
        [18, 8],
        "together they are what was heard in the call"
    );
    assert_eq!(world.records.last().unwrap().from_b.speech, Some(Speech { packets: 8, lost: 0 }));
    world.expect_replays();
}

#[test]
fn a_relay_that_does_not_say_what_it_counted_holds_up_no_row_for_ever() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.slow_ports = true;
    target_answers(&mut world, &target);
    assert!(world.records.is_empty(), "the row of the talk waits for the relay");
    world.input(Input::Command { id: 1, command: Command::Abandon });
    world.reports.retain(|report| matches!(report, MediaReport::Closed { .. }));
    world.open_ports();
    let facts: Vec<_> = world.records.iter().map(|fact| (fact.attempt, fact.is_last)).collect();
    assert_eq!(facts, [(1, false), (2, true)], "the process ends, and both rows are written, in their order");
}

fn shown(world: &mut World) -> call::CallView {
    world.input(Input::Command { id: 9, command: Command::Show(world.begun[0]) });
    match world.replies.pop() {
        Some(call::Reply::Call(Some(call))) => *call,
        other => panic!("no call: {other:?}"),
    }
}

#[test]
fn an_operator_sees_those_who_talk_while_a_target_is_tried() {
    let (mut world, ok, _) = call_up();
    let before = shown(&mut world);
    let (answered, trunk, route) = (before.answered_at, before.trunk_out, before.route);
    assert!(answered.is_some());
    assert_eq!((trunk.as_deref(), route.as_deref()), (Some("carrier"), Some("out")));
    world.slow_routing = true;
    caller_refers(&mut world, &ok, "");
    let asked = shown(&mut world);
    assert_eq!((asked.answered_at, &asked.trunk_out, &asked.route), (answered, &trunk, &route));
    world.slow_routing = false;
    world.answer_questions();
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, CALLER, "active", "SIP/2.0 100 Trying");
    let target = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&target, "180 Ringing", "c1", None));
    let rings = shown(&mut world);
    assert_eq!((rings.answered_at, rings.trunk_out, rings.route), (answered, trunk, route));
}
