//! Requests outside calls: carried across with ids of the box, answered with what the target said.

use std::time::Duration;

use crate::harness::*;
use call::{Input, RegistrarPolicy};

/// A request of the caller's trunk outside any dialog.
fn asks(method: &str, branch: &str, extra: &str) -> String {
    format!(
        "{method} sip:4912345@192.0.2.1 SIP/2.0
Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{branch}
Max-Forwards: 70
From: \"Alice\" <sip:alice@10.1.1.1>;tag=a1
To: <sip:4912345@192.0.2.1>
Call-ID: {branch}@10.1.1.1
CSeq: 7 {method}
User-Agent: Snom
X-Trace: 42
{extra}"
    )
}

const TEXT: &str = "Content-Type: text/plain\n\nhello";

#[test]
fn a_message_crosses_with_ids_of_the_box_and_its_answer_comes_back() {
    let mut world = World::new();
    world.receive(CALLER, &asks("MESSAGE", "1", TEXT));
    let out = world.expect(CALLEE, "MESSAGE sip:4912345@10.2.2.2:5060 SIP/2.0");
    assert_eq!((out.body(), out.header("Content-Type")), ("hello", "text/plain"));
    assert_eq!((out.header("X-Trace"), out.header("Max-Forwards")), ("42", "69"));
    assert_eq!(out.header("CSeq"), "1 MESSAGE");
    assert!(!out.has("Contact"), "RFC 3428 §4: {}", out.text);
    for own in ["10.1.1.1", "tag=a1", "Snom"] {
        assert!(!out.text.contains(own), "{own} is the asker's: {}", out.text);
    }
    world.receive(CALLER, &asks("MESSAGE", "1", TEXT));
    world.expect_silence();
    world.receive(CALLEE, &response(&out, "202 Accepted", "b1", None));
    let answer = world.expect(CALLER, "SIP/2.0 202");
    assert_eq!(answer.header("CSeq"), "7 MESSAGE");
    assert!(!answer.text.contains("10.2.2.2") && !answer.text.contains("tag=b1"), "{}", answer.text);
    world.receive(CALLER, &asks("MESSAGE", "1", TEXT));
    assert_eq!(world.expect(CALLER, "SIP/2.0 202").text, answer.text);
    world.expect_silence();
    assert!(world.records.is_empty(), "no call, no record: {:#?}", world.records);
    world.expect_nothing_left();
}

#[test]
fn each_method_that_may_crosses_and_every_other_is_refused_by_its_rule() {
    let mut world = World::new();
    for method in ["MESSAGE", "PUBLISH", "OPTIONS", "INFO", "NOTIFY"] {
        world.receive(CALLER, &asks(method, method, "Event: presence\nAccept: application/pidf+xml\n"));
        let out = world.expect(CALLEE, method);
        assert_eq!((out.header("Event"), out.header("Accept")), ("presence", "application/pidf+xml"));
        world.receive(CALLEE, &response(&out, "200 OK", "b1", None));
        world.expect(CALLER, "SIP/2.0 200");
    }
    for (method, status) in [("UPDATE", 481), ("PRACK", 481), ("BYE", 481), ("JUMP", 501)] {
        world.receive(CALLER, &asks(method, method, ""));
        world.expect(CALLER, &format!("SIP/2.0 {status}"));
    }
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn options_to_the_box_itself_is_answered_by_the_box() {
    let mut world = World::new();
    let options = asks("OPTIONS", "1", "");
    world.receive(CALLER, &options.replace("sip:4912345@192.0.2.1 SIP", "sip:192.0.2.1 SIP"));
    assert!(world.expect(CALLER, "SIP/2.0 200").has("Accept"));
    let contact = options.replace("sip:4912345@192.0.2.1 SIP", "sip:drawbridge@192.0.2.1:5060 SIP");
    world.receive(CALLER, &contact.replace("z9hG4bK1", "z9hG4bK2"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect_silence();
}

#[test]
fn the_description_in_an_answer_to_options_does_not_cross() {
    let mut world = World::new();
    world.receive(CALLER, &asks("OPTIONS", "1", ""));
    let out = world.expect(CALLEE, "OPTIONS");
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let answer = world.expect(CALLER, "SIP/2.0 200");
    assert!(answer.body().is_empty() && answer.has("Allow"), "{}", answer.text);
}

#[test]
fn a_target_that_refuses_is_followed_by_the_next_and_one_that_is_silent_is_not() {
    let mut world = World::new();
    world.receive(CALLER, &asks("MESSAGE", "1", TEXT));
    let first = world.expect(CALLEE, "MESSAGE");
    world.receive(CALLEE, &response(&first, "503 Service Unavailable", "b1", None));
    let second = world.expect(SPARE, "MESSAGE");
    assert_ne!(first.header("Call-ID"), second.header("Call-ID"));
    world.receive(SPARE, &response(&second, "200 OK", "c1", None));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &asks("MESSAGE", "2", TEXT));
    world.expect(CALLEE, "MESSAGE");
    world.pass(Duration::from_secs(40));
    // It may have been delivered, and after Timer F nobody waits (RFC 4320 §4.2: no 408 either).
    assert!(world.sent.iter().all(|sent| sent.to == CALLEE.parse().unwrap()), "{:#?}", world.sent);
    world.sent.clear();
    world.expect_nothing_left();
}

#[test]
fn a_target_that_cannot_be_reached_is_followed_by_the_next_and_the_last_by_503() {
    let mut world = World::new();
    world.receive(CALLER, &asks("MESSAGE", "1", TEXT));
    let first = world.expect(CALLEE, "MESSAGE");
    world.input(Input::Undeliverable { token: first.token });
    let second = world.expect(SPARE, "MESSAGE");
    world.input(Input::Undeliverable { token: second.token });
    assert!(world.expect(CALLER, "SIP/2.0 503").has("Retry-After"));
    world.expect_nothing_left();
}

#[test]
fn a_provisional_answer_says_nothing_and_a_408_is_not_passed_on() {
    let mut world = World::new();
    world.receive(CALLER, &asks("MESSAGE", "1", TEXT));
    let out = world.expect(CALLEE, "MESSAGE");
    world.receive(CALLEE, &response(&out, "100 Trying", "", None));
    world.receive(CALLEE, &response(&out, "182 Queued", "b1", None));
    world.expect_silence();
    world.receive(CALLEE, &response(&out, "408 Request Timeout", "b1", None));
    world.sent.retain(|sent| sent.to == CALLER.parse().unwrap());
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn a_challenge_is_answered_with_the_credentials_of_the_trunk_and_never_passed_on() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].auth = Some(routing::Credentials { username: "edge".into(), password: "secret".into() });
    });
    let challenge = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\", qop=\"auth\"";
    let challenged = |out: &Sent| {
        response(out, "401 Unauthorized", "b1", None).replacen(
            "Contact:",
            &format!("{challenge}\nContact:"),
            1,
        )
    };
    world.receive(CALLER, &asks("MESSAGE", "1", TEXT));
    let first = world.expect(CALLEE, "MESSAGE");
    world.receive(CALLEE, &challenged(&first));
    let again = world.expect(CALLEE, "MESSAGE");
    assert!(again.header("Authorization").contains("username=\"edge\""));
    assert_eq!((again.header("CSeq"), again.body()), ("2 MESSAGE", "hello"));
    assert_eq!(again.header("Call-ID"), first.header("Call-ID"));
    world.receive(CALLEE, &challenged(&again));
    // A wrong password is the next target's chance: 502 is in the list of every route.
    let second = world.expect(SPARE, "MESSAGE");
    world.receive(SPARE, &response(&second, "403 Forbidden", "c1", None));
    world.expect(CALLER, "SIP/2.0 403");
    world.expect_nothing_left();
}

#[test]
fn what_cannot_be_carried_is_refused_before_anything_is_sent() {
    let mut world = World::new();
    world.receive(CALLER, &asks("MESSAGE", "1", "Require: magic\n"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 420").header("Unsupported"), "magic");
    world.receive(CALLER, &asks("MESSAGE", "2", TEXT).replace("Max-Forwards: 70", "Max-Forwards: 0"));
    world.expect(CALLER, "SIP/2.0 483");
    let sdp = format!("Content-Type: application/sdp\n\n{OFFER}");
    world.receive(CALLER, &asks("MESSAGE", "3", &sdp));
    world.expect(CALLER, "SIP/2.0 415");
    world.receive("10.9.9.9:5060", &asks("MESSAGE", "4", TEXT).replace(CALLER, "10.9.9.9:5060"));
    world.expect("10.9.9.9:5060", "SIP/2.0 403");
    world.input(Input::Command { id: 1, command: call::Command::Drain });
    world.receive(CALLER, &asks("MESSAGE", "5", TEXT));
    assert!(world.expect(CALLER, "SIP/2.0 503").has("Retry-After"));
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn no_more_requests_than_calls_are_on_their_way_at_once() {
    let mut world = World::new();
    for number in 0..1000 {
        world.receive(CALLER, &asks("MESSAGE", &format!("n{number}"), TEXT));
    }
    assert_eq!((world.sent.len(), world.core.stats().requests), (1000, 1000));
    world.sent.clear();
    world.receive(CALLER, &asks("MESSAGE", "over", TEXT));
    assert!(world.expect(CALLER, "SIP/2.0 503").has("Retry-After"));
    world.expect_nothing_left();
}

#[test]
fn routing_that_never_answers_leaves_nothing_behind() {
    let mut world = World::new();
    world.slow_routing = true;
    world.receive(CALLER, &asks("MESSAGE", "1", TEXT));
    world.expect_silence();
    assert_eq!(world.core.stats().requests, 1);
    world.pass(Duration::from_secs(40));
    world.expect_silence();
    world.answer_questions();
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn within_a_call_every_such_method_crosses_and_only_some_failures_end_the_call() {
    let (mut world, ok, _) = call_up();
    for (cseq, method) in (2..).zip(["MESSAGE", "INFO", "OPTIONS", "SUBSCRIBE", "PUBLISH", "NOTIFY", "JUMP"])
    {
        world.receive(CALLER, &from_caller(method, cseq, &ok, "Event: x\n"));
        let out = world.expect(CALLEE, &format!("{method} sip:bob@"));
        assert_eq!(out.header("Event"), "x");
        assert_eq!(out.has("Contact"), matches!(method, "SUBSCRIBE" | "NOTIFY"), "{}", out.text);
        world.receive(CALLEE, &response(&out, "489 Bad Event", "", None));
        world.expect(CALLER, "SIP/2.0 489");
    }
    // A subscription that shares the dialog may be gone without the call (RFC 5057 §5.1).
    world.receive(CALLER, &from_caller("NOTIFY", 20, &ok, ""));
    let out = world.expect(CALLEE, "NOTIFY");
    world.receive(CALLEE, &response(&out, "481 Subscription Does Not Exist", "", None));
    world.expect(CALLER, "SIP/2.0 481");
    world.expect_silence();
    let sdp = format!("Content-Type: application/sdp\n\n{OFFER}");
    world.receive(CALLER, &from_caller("INFO", 21, &ok, &sdp));
    world.expect(CALLER, "SIP/2.0 415");
    world.receive(CALLER, &from_caller("MESSAGE", 22, &ok, ""));
    let out = world.expect(CALLEE, "MESSAGE");
    world.receive(CALLEE, &response(&out, "481 Call Does Not Exist", "", None));
    world.expect(CALLER, "SIP/2.0 481");
    world.expect(CALLEE, "BYE");
    world.expect(CALLER, "BYE");
}

#[test]
fn two_phones_that_registered_on_loopback_send_each_other_messages() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    let [alice, bob] = ["127.0.0.1:5071", "127.0.0.1:5072"];
    for (name, at) in [("alice", alice), ("bob", bob)] {
        let register = format!(
            "REGISTER sip:127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP {at};branch=z9hG4bKr{name};rport
Max-Forwards: 70
From: <sip:{name}@127.0.0.1>;tag=r
To: <sip:{name}@127.0.0.1>
Call-ID: r{name}
CSeq: 1 REGISTER
Contact: <sip:{name}@{at}>
Expires: 3600
"
        );
        world.receive(at, &register);
        world.expect(at, "SIP/2.0 200");
    }
    let message = asks("MESSAGE", "1", TEXT)
        .replace("sip:4912345@192.0.2.1", "sip:bob@127.0.0.1")
        .replace(CALLER, alice);
    world.receive(alice, &message);
    let out = world.expect(bob, "MESSAGE sip:bob@127.0.0.1:5072 SIP/2.0");
    assert_eq!(out.body(), "hello");
    world.receive(bob, &response(&out, "200 OK", "b1", None));
    world.expect(alice, "SIP/2.0 200");
    world.expect_silence();
    let stats = world.core.stats();
    assert_eq!((stats.requests, stats.calls), (0, 0));
}

/// RFC 3261 §8.1.3.4 leaves a 3xx to who gets it, and where it points is nothing for the asker: for calls it would be followed.
#[test]
fn a_request_that_is_sent_elsewhere_is_answered_without_saying_where() {
    let mut world = World::new();
    world.receive(CALLER, &asks("MESSAGE", "moved", ""));
    let out = world.expect(CALLEE, "MESSAGE");
    let moved = response(&out, "302 Moved Temporarily", "b1", None);
    world.receive(CALLEE, &moved.replace("sip:bob@", "sip:elsewhere@"));
    // As for a call, another of the route's peers may have an answer.
    let out = world.expect(SPARE, "MESSAGE");
    world.receive(
        SPARE,
        &response(&out, "301 Moved Permanently", "s1", None).replace("sip:bob@", "sip:elsewhere@"),
    );
    let refused = world.expect(CALLER, "SIP/2.0 502");
    assert!(!refused.text.contains("elsewhere"), "{}", refused.text);
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn a_redirection_that_is_the_askers_to_follow_says_where() {
    let mut world =
        World::with(RegistrarPolicy::Closed, |trunks| trunks[1].redirect = routing::Redirect::Pass);
    world.receive(CALLER, &asks("MESSAGE", "moved", ""));
    let out = world.expect(CALLEE, "MESSAGE");
    let moved = response(&out, "302 Moved Temporarily", "b1", None);
    world.receive(CALLEE, &moved.replace("<sip:bob@10.2.2.2:5060>", "<sip:elsewhere@example.net>"));
    let passed = world.expect(CALLER, "SIP/2.0 302 Moved Temporarily");
    assert_eq!(passed.header("Contact"), "<sip:elsewhere@example.net>");
    world.expect_nothing_left();
}
