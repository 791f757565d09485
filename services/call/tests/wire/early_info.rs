//! INFO within an early dialog: what is refused there, or never answered, ends that dialog at most (RFC 3261 §12.2.1.2), and
//! no key press behind it is lost.

use std::time::Duration;

use call::{Digit, Input, MediaOrder, MediaReport, RegistrarPolicy, Side};
use routing::Dtmf;

use crate::harness::*;

const GONE: &str = "481 Call/Transaction Does Not Exist";

/// The callee's trunk takes key presses in INFO, and plays something before it answers: the box's INVITE and its 183.
fn announced() -> (World, Sent, Sent) {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| trunks[1].dtmf = Dtmf::Info);
    let out = call_placed(&mut world);
    world.receive(CALLEE, &response(&out, "183 Session Progress", "b1", Some(ANSWER)));
    let progress = world.expect(CALLER, "SIP/2.0 183");
    (world, out, progress)
}

fn pressed(world: &mut World, symbol: &str) {
    let session = world.orders.iter().find_map(|order| match order {
        MediaOrder::Open { session, .. } => Some(*session),
        _ => None,
    });
    let digit = Digit::of_symbol(symbol, 100).unwrap();
    world.input(Input::Media(MediaReport::Digit { session: session.unwrap(), side: Side::A, digit }));
}

/// The press that is sent next, in the dialog of this tag.
fn sent(world: &mut World, symbol: &str, tag: &str) -> Sent {
    let info = world.expect(CALLEE, "INFO");
    assert_eq!((info.tag("To"), info.body()), (tag, &*format!("Signal={symbol}\r\nDuration=100\r\n")));
    info
}

/// The callee answers with this tag.
fn answered(world: &mut World, out: &Sent, tag: &str) -> Sent {
    world.receive(CALLEE, &response(out, "200 OK", tag, Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(world.expect(CALLEE, "ACK").tag("To"), tag);
    world.receive(CALLER, &from_caller("ACK", 1, &ok, ""));
    world.expect_silence();
    ok
}

/// The next press reaches who answered with this tag, and the call ends as any other.
fn goes_on(world: &mut World, ok: &Sent, tag: &str) {
    pressed(world, "2");
    let second = sent(world, "2", tag);
    world.receive(CALLEE, &response(&second, "200 OK", "", None));
    ends_by_the_caller(world, ok, 2);
}

#[test]
fn a_press_that_is_refused_before_the_answer_holds_up_none_behind_it() {
    for refusal in [GONE, "408 Request Timeout", "405 Method Not Allowed"] {
        let (mut world, out, _) = announced();
        pressed(&mut world, "1");
        let first = sent(&mut world, "1", "b1");
        pressed(&mut world, "2");
        world.expect_silence();
        world.receive(CALLEE, &response(&first, refusal, "", None));
        let second = sent(&mut world, "2", "b1");
        world.receive(CALLEE, &response(&second, refusal, "", None));
        let told = format!("a key press in INFO was not taken: expected 2xx, got {}", &refusal[..3]);
        assert_eq!(world.warnings, [told]);
        let ok = answered(&mut world, &out, "b1");
        pressed(&mut world, "3");
        let third = sent(&mut world, "3", "b1");
        world.receive(CALLEE, &response(&third, "200 OK", "", None));
        world.expect_silence();
        ends_by_the_caller(&mut world, &ok, 2);
    }
}

#[test]
fn a_press_that_nobody_answers_before_the_answer_holds_up_none_behind_it() {
    let (mut world, out, _) = announced();
    pressed(&mut world, "1");
    sent(&mut world, "1", "b1");
    world.pass(Duration::from_secs(33));
    world.sent.clear();
    assert_eq!(world.warnings, ["a key press in INFO was not taken: nobody answered"]);
    let ok = answered(&mut world, &out, "b1");
    goes_on(&mut world, &ok, "b1");
}

#[test]
fn a_press_that_did_not_leave_before_the_answer_holds_up_none_behind_it() {
    let (mut world, out, _) = announced();
    pressed(&mut world, "1");
    let first = sent(&mut world, "1", "b1");
    world.input(Input::Undeliverable { token: first.token });
    let ok = answered(&mut world, &out, "b1");
    goes_on(&mut world, &ok, "b1");
}

#[test]
fn a_press_refused_by_a_fork_that_did_not_answer_ends_no_call() {
    for refusal in [GONE, "408 Request Timeout"] {
        let (mut world, out, _) = announced();
        pressed(&mut world, "1");
        let first = sent(&mut world, "1", "b1");
        let ok = answered(&mut world, &out, "b2");
        world.receive(CALLEE, &response(&first, refusal, "", None));
        world.expect_silence();
        goes_on(&mut world, &ok, "b2");
    }
}

#[test]
fn a_press_that_a_fork_never_answers_ends_no_call() {
    let (mut world, out, _) = announced();
    pressed(&mut world, "1");
    sent(&mut world, "1", "b1");
    let ok = answered(&mut world, &out, "b2");
    world.pass(Duration::from_secs(33));
    world.sent.clear();
    assert_eq!(world.core.stats().calls, 1);
    goes_on(&mut world, &ok, "b2");
}

#[test]
fn what_is_carried_to_a_fork_that_did_not_answer_ends_no_call() {
    for method in ["INFO", "MESSAGE"] {
        for refusal in [Some(GONE), None] {
            let (mut world, out, progress) = announced();
            let text = "Content-Type: text/plain\n\nx\n";
            world.receive(CALLER, &from_caller(method, 2, &progress, text));
            let across = world.expect(CALLEE, method);
            assert_eq!(across.tag("To"), "b1");
            let ok = answered(&mut world, &out, "b2");
            // The dialog that the asker has is the one of the call that is up.
            match refusal {
                Some(line) => {
                    world.receive(CALLEE, &response(&across, line, "", None));
                    world.expect(CALLER, "SIP/2.0 488");
                }
                None => {
                    world.pass(Duration::from_secs(17));
                    world.sent.retain(|sent| sent.to == CALLER.parse().unwrap());
                    world.expect(CALLER, "SIP/2.0 504");
                }
            }
            world.pass(Duration::from_secs(20));
            world.expect_silence();
            assert_eq!(world.core.stats().calls, 1, "{method} {refusal:?}");
            ends_by_the_caller(&mut world, &ok, 3);
        }
    }
}

#[test]
fn what_is_carried_into_an_early_dialog_and_comes_to_nothing_leaves_the_callers_dialog_alone() {
    for refusal in [Some(GONE), Some("408 Request Timeout"), None] {
        let (mut world, out, progress) = announced();
        let text = "Content-Type: text/plain\n\nx\n";
        world.receive(CALLER, &from_caller("INFO", 2, &progress, text));
        let across = world.expect(CALLEE, "INFO");
        match refusal {
            Some(line) => {
                world.receive(CALLEE, &response(&across, line, "", None));
                world.expect(CALLER, "SIP/2.0 488");
            }
            None => {
                world.pass(Duration::from_millis(15_900));
                world.sent.retain(|sent| sent.to == CALLER.parse().unwrap());
                world.expect_silence();
                world.pass(Duration::from_millis(200));
                world.expect(CALLER, "SIP/2.0 504");
                // Too late to be told.
                world.receive(CALLEE, &response(&across, "200 OK", "", None));
            }
        }
        world.expect_silence();
        let ok = answered(&mut world, &out, "b1");
        ends_by_the_caller(&mut world, &ok, 3);
    }
}

/// Until Timer F has run out the dialog is as good as its answer says.
#[test]
fn what_nobody_answers_before_the_answer_does_not_end_the_call_that_was_answered_meanwhile() {
    let (mut world, out, progress) = announced();
    world.receive(CALLER, &from_caller("INFO", 2, &progress, "Content-Type: text/plain\n\nx\n"));
    world.expect(CALLEE, "INFO");
    let ok = answered(&mut world, &out, "b1");
    world.pass(Duration::from_secs(33));
    world.sent.retain(|sent| sent.to == CALLER.parse().unwrap());
    world.expect(CALLER, "SIP/2.0 504");
    world.expect_silence();
    ends_by_the_caller(&mut world, &ok, 3);
}

/// RFC 3261 §12.2.1.2: the dialog that the call is in is gone.
#[test]
fn a_press_that_is_refused_in_the_dialog_of_the_answer_ends_the_call() {
    for refusal in [Some(GONE), None] {
        let (mut world, out, _) = announced();
        answered(&mut world, &out, "b2");
        pressed(&mut world, "1");
        let first = sent(&mut world, "1", "b2");
        match refusal {
            Some(line) => world.receive(CALLEE, &response(&first, line, "", None)),
            None => world.pass(Duration::from_secs(32)),
        }
        world.sent.retain(|sent| sent.text.starts_with("BYE"));
        assert_eq!(world.sent.len(), 2, "{refusal:?}");
        ends_by_the_box(&mut world);
    }
}
