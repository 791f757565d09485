//! Offers before the call is answered (RFC 3311 §5, RFC 6337): UPDATE in early dialogs, an offer in a PRACK, and what
//! else is sent in early dialogs.

use std::time::Duration;

use crate::harness::*;

const KIND: &str = "Content-Type: application/sdp\n\n";
const ALLOWS: &str = "Allow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE";

/// A call whose callee rings reliably with an answer that the caller has acknowledged: the box's INVITE, and its 183.
fn agreed(world: &mut World, caller: &str, callee: &str) -> (Sent, Sent) {
    world.receive(
        CALLER,
        &invite("1", Some(OFFER)).replace("X-Trace: 42", &format!("Supported: 100rel\n{caller}")),
    );
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let reliable = format!("Require: 100rel\nRSeq: 1\n{callee}\nContact:");
    let early = response(&out, "183 Session Progress", "b1", Some(ANSWER)).replacen("Contact:", &reliable, 1);
    world.receive(CALLEE, &early);
    let ours = world.expect(CALLEE, "PRACK");
    world.receive(CALLEE, &response(&ours, "200 OK", "", None));
    let ringing = world.expect(CALLER, "SIP/2.0 183");
    let rack = format!("RAck: {} 1 INVITE\n", ringing.header("RSeq"));
    world.receive(CALLER, &from_caller("PRACK", 2, &ringing, &rack));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
    (out, ringing)
}

fn both() -> (World, Sent, Sent) {
    let mut world = World::new();
    let (out, ringing) = agreed(&mut world, ALLOWS, ALLOWS);
    (world, out, ringing)
}

fn update(cseq: u32, ringing: &Sent, direction: &str) -> String {
    from_caller("UPDATE", cseq, ringing, KIND) + OFFER + &format!("a={direction}\n")
}

fn answers(world: &mut World, out: &Sent) {
    world.receive(CALLEE, &response(out, "200 OK", "b1", None));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.expect_silence();
}

#[test]
fn an_update_of_the_caller_crosses_and_so_does_its_answer() {
    let (mut world, out, ringing) = both();
    world.receive(CALLER, &update(3, &ringing, "sendonly"));
    let across = world.expect(CALLEE, "UPDATE sip:bob@10.2.2.2:5060 SIP/2.0");
    assert!(across.body().contains("m=audio 30002") && across.body().contains("a=sendonly"));
    assert_eq!((across.tag("To"), across.header("CSeq")), ("b1", "3 UPDATE"));
    world.expect_silence();
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&format!("{ANSWER}a=recvonly\n"))));
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(answer.header("CSeq"), "3 UPDATE");
    assert!(answer.body().contains("m=audio 30000") && answer.body().contains("a=recvonly"));
    answers(&mut world, &out);
}

#[test]
fn an_update_of_a_callee_that_rings_crosses() {
    let (mut world, out, _) = both();
    world.receive(CALLEE, &(from_callee("UPDATE", 1, &out, KIND) + ANSWER + "a=inactive\n"));
    let across = world.expect(CALLER, "UPDATE sip:alice@10.1.1.1:5060 SIP/2.0");
    assert!(across.body().contains("m=audio 30000") && across.body().contains("a=inactive"));
    world.receive(CALLER, &response(&across, "200 OK", "", Some(OFFER)));
    assert!(world.expect(CALLEE, "SIP/2.0 200").body().contains("m=audio 30002"));
    answers(&mut world, &out);
}

#[test]
fn a_refused_update_leaves_the_call_ringing() {
    for (line, crosses) in [("488 Not Acceptable Here", 488), ("491 Request Pending", 491), ("481 Gone", 488)]
    {
        let (mut world, out, ringing) = both();
        world.receive(CALLER, &update(3, &ringing, "sendonly"));
        let across = world.expect(CALLEE, "UPDATE");
        world.receive(CALLEE, &response(&across, line, "", None));
        world.expect(CALLER, &format!("SIP/2.0 {crosses}"));
        answers(&mut world, &out);
    }
}

#[test]
fn an_update_that_nobody_answers_is_given_up_in_time() {
    let (mut world, _, ringing) = both();
    world.receive(CALLER, &update(3, &ringing, "sendonly"));
    world.expect(CALLEE, "UPDATE");
    world.pass(Duration::from_secs(31));
    let told: Vec<&Sent> = world.sent.iter().filter(|sent| sent.to == CALLER.parse().unwrap()).collect();
    assert!(told.len() == 1 && told[0].text.starts_with("SIP/2.0 504"), "{told:#?}");
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn an_update_waits_for_what_is_offered_already() {
    // A peer that does not take the method.
    let mut world = World::new();
    let (_, ringing) = agreed(&mut world, "X: y", "X: y");
    world.receive(CALLER, &update(3, &ringing, "sendonly"));
    world.expect(CALLER, "SIP/2.0 488");
    // The callee has answered nothing yet that counts: the offer of the INVITE is open on both sides.
    let mut world = World::new();
    let (out, ringing) = call_ringing(&mut world);
    world.receive(CALLER, &update(2, &ringing, "sendonly"));
    assert!(world.expect(CALLER, "SIP/2.0 500").has("Retry-After"));
    world.receive(CALLEE, &(from_callee("UPDATE", 1, &out, KIND) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 491");
    // The caller knows nothing of reliable responses: to it the offer of its INVITE is open until the 2xx.
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("X-Trace: 42", ALLOWS));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let reliable = format!("Require: 100rel\nRSeq: 1\n{ALLOWS}\nContact:");
    let early = response(&out, "183 Session Progress", "b1", Some(ANSWER)).replacen("Contact:", &reliable, 1);
    world.receive(CALLEE, &early);
    world.expect(CALLEE, "PRACK");
    world.expect(CALLER, "SIP/2.0 183");
    world.receive(CALLEE, &(from_callee("UPDATE", 1, &out, KIND) + ANSWER));
    assert!(world.expect(CALLEE, "SIP/2.0 500").has("Retry-After"));
}

#[test]
fn updates_that_meet_are_refused_on_both_sides() {
    let (mut world, out, ringing) = both();
    world.receive(CALLER, &update(3, &ringing, "sendonly"));
    let across = world.expect(CALLEE, "UPDATE");
    world.receive(CALLEE, &(from_callee("UPDATE", 1, &out, KIND) + ANSWER));
    world.expect(CALLEE, "SIP/2.0 491");
    world.receive(CALLER, &update(4, &ringing, "sendrecv"));
    assert!(world.expect(CALLER, "SIP/2.0 500").has("Retry-After"));
    world.receive(CALLEE, &response(&across, "491 Request Pending", "", None));
    assert_eq!(world.expect(CALLER, "SIP/2.0 491").header("CSeq"), "3 UPDATE");
    answers(&mut world, &out);
}

#[test]
fn an_update_whose_answer_comes_after_the_2xx_is_answered_all_the_same() {
    let (mut world, out, ringing) = both();
    world.receive(CALLER, &update(3, &ringing, "sendonly"));
    let across = world.expect(CALLEE, "UPDATE");
    answers(&mut world, &out);
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(ANSWER)));
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert!(answer.header("CSeq") == "3 UPDATE" && answer.body().contains("m=audio 30000"));
}

#[test]
fn an_update_that_is_open_when_the_call_fails_is_answered() {
    for refused in [true, false] {
        let (mut world, out, ringing) = both();
        world.receive(CALLER, &update(3, &ringing, "sendonly"));
        world.expect(CALLEE, "UPDATE");
        if refused {
            world.receive(CALLEE, &response(&out, "486 Busy Here", "b1", None));
            world.expect(CALLEE, "ACK");
        } else {
            world.receive(CALLER, &cancel("1"));
            world.expect(CALLER, "SIP/2.0 200");
        }
        assert_eq!(world.expect(CALLER, "SIP/2.0 487").header("CSeq"), "3 UPDATE");
        assert_eq!(world.expect(CALLER, "SIP/2.0 4").header("CSeq"), "1 INVITE");
    }
    // The same for the callee's.
    let (mut world, out, _) = both();
    world.receive(CALLEE, &(from_callee("UPDATE", 1, &out, KIND) + ANSWER));
    world.expect(CALLER, "UPDATE");
    world.receive(CALLEE, &response(&out, "486 Busy Here", "b1", None));
    world.expect(CALLEE, "ACK");
    assert_eq!(world.expect(CALLEE, "SIP/2.0 487").header("CSeq"), "1 UPDATE");
    world.expect(CALLER, "SIP/2.0 486");
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200() {
    let mut world = World::new();
    let says = format!("Require: 100rel\n{ALLOWS}");
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("X-Trace: 42", &says));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let reliable = format!("Require: 100rel\nRSeq: 1\n{ALLOWS}\nContact:");
    let early = response(&out, "183 Session Progress", "b1", Some(ANSWER)).replacen("Contact:", &reliable, 1);
    world.receive(CALLEE, &early);
    let ours = world.expect(CALLEE, "PRACK");
    world.receive(CALLEE, &response(&ours, "200 OK", "", None));
    let ringing = world.expect(CALLER, "SIP/2.0 183");
    let rack = format!("RAck: {} 1 INVITE\n{KIND}{OFFER}a=sendonly\n", ringing.header("RSeq"));
    world.receive(CALLER, &from_caller("PRACK", 2, &ringing, &rack));
    let across = world.expect(CALLEE, "UPDATE");
    assert!(across.body().contains("a=sendonly"));
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&format!("{ANSWER}a=recvonly\n"))));
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert!(answer.header("CSeq") == "2 PRACK" && answer.body().contains("a=recvonly"));
    answers(&mut world, &out);
}

#[test]
fn an_offer_in_a_prack_that_cannot_be_carried_is_refused_and_the_18x_acknowledged() {
    let mut world = World::new();
    world.receive(CALLER, &invite("1", Some(OFFER)).replace("X-Trace: 42", "Require: 100rel"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let reliable = "Require: 100rel\nRSeq: 1\nContact:";
    let early = response(&out, "183 Session Progress", "b1", Some(ANSWER)).replacen("Contact:", reliable, 1);
    world.receive(CALLEE, &early);
    let ours = world.expect(CALLEE, "PRACK");
    world.receive(CALLEE, &response(&ours, "200 OK", "", None));
    let ringing = world.expect(CALLER, "SIP/2.0 183");
    let rack = format!("RAck: {} 1 INVITE\n{KIND}{OFFER}", ringing.header("RSeq"));
    world.receive(CALLER, &from_caller("PRACK", 2, &ringing, &rack));
    world.expect(CALLER, "SIP/2.0 488");
    world.sent.clear();
    world.pass(Duration::from_millis(400));
    world.expect_silence();
    world.receive(CALLEE, &response(&out, "200 OK", "b1", None));
    world.expect(CALLER, "SIP/2.0 200");
}

#[test]
fn an_update_without_a_description_is_answered_by_the_leg_alone() {
    let (mut world, out, ringing) = both();
    world.receive(CALLER, &from_caller("UPDATE", 3, &ringing, ""));
    assert!(world.expect(CALLER, "SIP/2.0 200").header("Allow").contains("UPDATE"));
    world.receive(
        CALLEE,
        &from_callee("UPDATE", 1, &out, "").replace("sip:bob@10.2.2.2", "sip:desk@10.2.2.2"),
    );
    world.expect(CALLEE, "SIP/2.0 200");
    // It said where the callee is from now on.
    world.receive(CALLER, &update(4, &ringing, "sendonly"));
    world.expect(CALLEE, "UPDATE sip:desk@10.2.2.2:5060");
}

#[test]
fn info_crosses_between_early_dialogs() {
    let mut world = World::new();
    let (out, ringing) = call_ringing(&mut world);
    world.receive(CALLER, &from_caller("INFO", 2, &ringing, "Content-Type: text/plain\n\nx\n"));
    let across = world.expect(CALLEE, "INFO sip:bob@10.2.2.2:5060 SIP/2.0");
    assert_eq!((across.tag("To"), across.header("CSeq"), across.body()), ("b1", "2 INFO", "x\r\n"));
    // Whatever becomes of it: it ends no call that rings, and no dialog of the caller's.
    world.receive(CALLEE, &response(&across, "481 Call/Transaction Does Not Exist", "", None));
    world.expect(CALLER, "SIP/2.0 488");
    // The caller may not have got the 180, and its 481 would end the callee's dialog.
    world.receive(CALLEE, &from_callee("INFO", 1, &out, ""));
    assert!(world.expect(CALLEE, "SIP/2.0 500").has("Retry-After"));
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(world.expect(CALLEE, "ACK").header("CSeq"), "1 ACK");
    let (mut world, out, _) = both();
    world.receive(CALLEE, &from_callee("INFO", 1, &out, ""));
    let across = world.expect(CALLER, "INFO sip:alice@10.1.1.1:5060");
    world.receive(CALLER, &response(&across, "200 OK", "", None));
    world.expect(CALLEE, "SIP/2.0 200");
}

/// A 407 to this INVITE of the box.
fn challenge(invite: &Sent) -> String {
    let asked = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
    let contact = format!("Contact: <sip:bob@{CALLEE}>");
    response(invite, "407 Proxy Authentication Required", "b1", None).replace(&contact, asked)
}

/// A world whose callee's trunk has credentials.
fn guarded() -> World {
    World::with(call::RegistrarPolicy::Closed, |trunks| {
        trunks[1].auth =
            Some(routing::Credentials { username: "box".to_owned(), password: "secret".to_owned() });
    })
}

#[test]
fn an_invite_that_is_challenged_after_an_update_offers_what_the_update_said() {
    let mut world = guarded();
    let (out, ringing) = agreed(&mut world, ALLOWS, ALLOWS);
    world.receive(CALLER, &update(3, &ringing, "sendonly"));
    let across = world.expect(CALLEE, "UPDATE");
    world.receive(CALLEE, &response(&across, "200 OK", "", Some(&format!("{ANSWER}a=recvonly\n"))));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLEE, &challenge(&out));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    assert_eq!(again.body(), across.body());
    assert_ne!(again.body(), out.body());
    world.expect_silence();
}

#[test]
fn an_update_that_a_challenge_overtakes_is_refused_and_the_call_goes_on() {
    let mut world = guarded();
    let (out, ringing) = agreed(&mut world, ALLOWS, ALLOWS);
    world.receive(CALLER, &update(3, &ringing, "sendonly"));
    let across = world.expect(CALLEE, "UPDATE");
    world.receive(CALLEE, &challenge(&out));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    assert!(!again.body().contains("sendonly"), "{}", again.text);
    assert!(world.expect(CALLER, "SIP/2.0 500").has("Retry-After"));
    // The early dialog is no more; what its callee says of it ends nothing.
    world.receive(CALLEE, &response(&across, "481 Gone", "", None));
    world.receive(CALLEE, &response(&again, "200 OK", "b2", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLEE, "ACK");
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.pass(Duration::from_secs(40));
    assert_eq!(world.core.stats().calls, 1);
}

#[test]
fn an_invite_without_offer_that_is_challenged_after_an_early_offer_wants_no_second_one() {
    let mut world = guarded();
    world.receive(CALLER, &invite("1", None).replace("X-Trace: 42", "Supported: 100rel"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    let reliable = "Require: 100rel\nRSeq: 1\nContact:";
    let early = response(&out, "183 Session Progress", "b1", Some(ANSWER)).replacen("Contact:", reliable, 1);
    world.receive(CALLEE, &early);
    world.expect(CALLER, "SIP/2.0 183");
    world.receive(CALLEE, &challenge(&out));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    assert!(out.header("Supported").contains("100rel") && !again.header("Supported").contains("100rel"));
}

#[test]
fn an_update_that_nobody_answers_holds_no_offer_of_the_other_side_for_ever() {
    let (mut world, out, ringing) = both();
    world.receive(CALLEE, &(from_callee("UPDATE", 1, &out, KIND) + ANSWER + "a=inactive\n"));
    let across = world.expect(CALLER, "UPDATE");
    answers(&mut world, &out);
    // Glare as the caller sees it; then it offers for itself.
    world.receive(CALLER, &response(&across, "491 Request Pending", "", None));
    world.receive(CALLER, &(from_caller("INVITE", 3, &ringing, KIND) + OFFER + "a=sendonly\n"));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect_silence();
    world.pass(Duration::from_secs(16));
    assert_eq!(world.expect(CALLEE, "SIP/2.0 504").header("CSeq"), "1 UPDATE");
    let offered = world.expect(CALLEE, "INVITE");
    assert!(offered.body().contains("a=sendonly"), "{}", offered.text);
    world.receive(CALLEE, &response(&offered, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 200");
}
