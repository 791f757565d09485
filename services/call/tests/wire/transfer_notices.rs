//! NOTIFY of a transfer: which refusals end the subscription, and which leave who asked to be told the end.

use std::time::Duration;

use crate::harness::*;
use crate::transfer::{TO_CAROL, caller_transfers, notified};

/// A target that rings twice, which who asked is told of side by side.
fn told_twice() -> (World, Sent, [Sent; 2]) {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    let told = ["180 Ringing", "183 Session Progress"].map(|line| {
        world.receive(CALLEE, &response(&target, line, "c1", None));
        let notify = world.expect(CALLER, "NOTIFY");
        assert_eq!(notify.body().trim_end(), format!("SIP/2.0 {line}"));
        notify
    });
    (world, target, told)
}

/// The first was lost: what comes behind a later one is refused (RFC 3261 §12.2.2), and no subscription ends with it.
#[test]
fn a_notify_that_a_later_one_overtook_leaves_who_asked_subscribed() {
    for refusal in ["500 Server Internal Error", "491 Request Pending", "400 Bad Request", "503 Unavailable"]
    {
        let (mut world, target, [first, second]) = told_twice();
        world.receive(CALLER, &response(&second, "200 OK", "", None));
        world.pass(Duration::from_millis(600));
        assert_eq!(world.expect(CALLER, "NOTIFY").text, first.text);
        world.receive(CALLER, &response(&first, refusal, "", None));
        world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
        world.expect(CALLEE, "ACK");
        notified(&mut world, CALLER, "terminated", "SIP/2.0 486 Busy Here");
        world.expect_silence();
        world.expect_replays();
    }
}

/// RFC 6665 §4.2.2, RFC 5057 §5.1.
#[test]
fn a_notify_of_which_nobody_knows_ends_the_subscription() {
    for refusal in ["481 Subscription Does Not Exist", "489 Bad Event", "405 Not Allowed", "408 Timeout"] {
        let (mut world, target, [first, second]) = told_twice();
        world.receive(CALLER, &response(&first, "200 OK", "", None));
        world.receive(CALLER, &response(&second, refusal, "", None));
        world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
        world.expect(CALLEE, "ACK");
        world.expect_silence();
    }
    let (mut world, target, _) = told_twice();
    world.pass(Duration::from_secs(33));
    world.sent.clear();
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
}

#[test]
fn a_refused_last_word_of_one_transfer_ends_no_subscription_of_the_next() {
    let (mut world, ok, _) = call_up();
    let target = caller_transfers(&mut world, &ok);
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c1", None));
    world.expect(CALLEE, "ACK");
    let last = world.expect(CALLER, "NOTIFY");
    world.receive(CALLER, &from_caller("REFER", 3, &ok, TO_CAROL));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, CALLER, "active", "SIP/2.0 100 Trying");
    let target = world.expect(CALLEE, "INVITE sip:777@");
    world.receive(CALLER, &response(&last, "481 Subscription Does Not Exist", "", None));
    world.receive(CALLEE, &response(&target, "486 Busy Here", "c2", None));
    world.expect(CALLEE, "ACK");
    notified(&mut world, CALLER, "terminated", "SIP/2.0 486 Busy Here");
    world.expect_silence();
}
