//! Subscriptions across the box (RFC 6665): SUBSCRIBE one way, NOTIFY the other, each with the ids of its own dialog.

use std::time::Duration;

use crate::harness::*;

const EVENT: &str = "Event: dialog\nAccept: application/dialog-info+xml\n";

/// The caller's SUBSCRIBE outside any dialog.
fn subscribe(branch: &str, expires: u32) -> String {
    format!(
        "SUBSCRIBE sip:4912345@192.0.2.1 SIP/2.0
Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{branch}
Max-Forwards: 70
From: <sip:alice@10.1.1.1>;tag=a1
To: <sip:4912345@192.0.2.1>
Call-ID: sub-a@10.1.1.1
CSeq: 1 SUBSCRIBE
Contact: <sip:alice@{CALLER}>
Expires: {expires}
{EVENT}"
    )
}

/// A NOTIFY of the notifier with this tag within the dialog of the box's SUBSCRIBE.
fn notify(subscribe: &Sent, tag: &str, cseq: u32, state: &str) -> String {
    format!(
        "NOTIFY sip:drawbridge@{BOX} SIP/2.0
Via: SIP/2.0/UDP {CALLEE};branch=z9hG4bKn{tag}{cseq}
Max-Forwards: 70
From: {};tag={tag}
To: {}
Call-ID: {}
CSeq: {cseq} NOTIFY
Contact: <sip:bob@{CALLEE}>
Event: dialog
Subscription-State: {state}
Content-Type: application/dialog-info+xml

<dialog-info/>",
        subscribe.header("To"),
        subscribe.header("From"),
        subscribe.header("Call-ID"),
    )
}

fn granted(subscribe: &Sent, expires: u32) -> String {
    let ok = response(subscribe, "200 OK", "b1", None);
    ok.replacen("Contact:", &format!("Expires: {expires}\nContact:"), 1)
}

/// The caller's SUBSCRIBE within the dialog that this response of the box made.
fn refresh(ok: &Sent, cseq: u32, expires: u32) -> String {
    from_caller("SUBSCRIBE", cseq, ok, &format!("Expires: {expires}\n{EVENT}"))
        .replace("call-a@", "sub-a@")
        .replace("\"Alice\" ", "")
}

/// A subscription that was granted and notified once: the box's SUBSCRIBE and its 200 to the caller.
fn subscribed(world: &mut World) -> (Sent, Sent) {
    world.receive(CALLER, &subscribe("1", 600));
    let out = world.expect(CALLEE, "SUBSCRIBE sip:4912345@10.2.2.2:5060 SIP/2.0");
    world.receive(CALLEE, &granted(&out, 600));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLEE, &notify(&out, "b1", 1, "active;expires=600"));
    let first = world.expect(CALLER, "NOTIFY");
    world.receive(CALLER, &response(&first, "200 OK", "", None));
    world.expect(CALLEE, "SIP/2.0 200");
    (out, ok)
}

#[test]
fn subscribe_and_notify_cross_with_the_ids_of_each_side() {
    let mut world = World::new();
    world.receive(CALLER, &subscribe("1", 600));
    let out = world.expect(CALLEE, "SUBSCRIBE sip:4912345@10.2.2.2:5060 SIP/2.0");
    assert_eq!((out.header("Expires"), out.header("Event")), ("600", "dialog"));
    assert_eq!(out.header("Accept"), "application/dialog-info+xml");
    assert!(!out.text.contains("10.1.1.1") && !out.text.contains("tag=a1"), "{}", out.text);
    world.receive(CALLEE, &granted(&out, 300));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.header("Expires"), "300");
    assert!(ok.header("Contact").contains(BOX), "{}", ok.text);
    world.receive(CALLEE, &notify(&out, "b1", 1, "active;expires=300"));
    let heard = world.expect(CALLER, &format!("NOTIFY sip:alice@{CALLER} SIP/2.0"));
    assert_eq!(heard.header("Subscription-State"), "active;expires=300");
    assert_eq!((heard.header("Call-ID"), heard.body()), ("sub-a@10.1.1.1", "<dialog-info/>"));
    assert_eq!((heard.tag("To"), heard.tag("From")), ("a1", ok.tag("To")));
    assert!(!heard.text.contains("10.2.2.2") && !heard.text.contains("tag=b1"), "{}", heard.text);
    world.receive(CALLER, &response(&heard, "200 OK", "", None));
    world.expect(CALLEE, "SIP/2.0 200");
    world.expect_silence();
    assert_eq!((world.core.stats().requests, world.core.stats().subscriptions), (0, 1));
    assert!(world.records.is_empty());
}

#[test]
fn subscription_refreshed_lasts_longer_and_given_back_ends_with_its_last_notify() {
    let mut world = World::new();
    let (out, ok) = subscribed(&mut world);
    world.pass(Duration::from_secs(500));
    world.receive(CALLER, &refresh(&ok, 2, 600));
    let again = world.expect(CALLEE, "SUBSCRIBE sip:bob@");
    assert_eq!((again.header("CSeq"), again.tag("To")), ("2 SUBSCRIBE", "b1"));
    assert_eq!(again.header("Call-ID"), out.header("Call-ID"));
    world.receive(CALLEE, &granted(&again, 600));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("Expires"), "600");
    world.pass(Duration::from_secs(500));
    assert_eq!(world.core.stats().subscriptions, 1, "600 s from the refresh");
    world.receive(CALLER, &refresh(&ok, 3, 0));
    let last = world.expect(CALLEE, "SUBSCRIBE");
    assert_eq!(last.header("Expires"), "0");
    world.receive(CALLEE, &granted(&last, 0));
    world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(world.core.stats().subscriptions, 1, "its last NOTIFY is still to come");
    world.receive(CALLEE, &notify(&out, "b1", 2, "terminated;reason=timeout"));
    let heard = world.expect(CALLER, "NOTIFY");
    world.receive(CALLER, &response(&heard, "200 OK", "", None));
    world.expect(CALLEE, "SIP/2.0 200");
    assert_eq!(world.core.stats().subscriptions, 0);
    world.expect_nothing_left();
}

/// A challenge with this nonce.
fn challenged(request: &Sent, nonce: &str) -> String {
    let ask = format!("WWW-Authenticate: Digest realm=\"c\", nonce=\"{nonce}\", qop=\"auth\"");
    let refused = response(request, "401 Unauthorized", "b1", None);
    refused.replacen("Contact:", &format!("{ask}\nContact:"), 1)
}

#[test]
fn a_refresh_and_a_notify_that_a_trunk_challenges_are_sent_again_with_its_credentials() {
    let credentials =
        |name: &str| Some(routing::Credentials { username: name.into(), password: "secret".into() });
    let mut world = World::with(call::RegistrarPolicy::Closed, |trunks| {
        (trunks[0].auth, trunks[1].auth) = (credentials("in"), credentials("out"));
    });
    let (out, ok) = subscribed(&mut world);
    for (cseq, expires) in [(2, 600), (3, 0)] {
        world.receive(CALLER, &refresh(&ok, cseq, expires));
        let first = world.expect(CALLEE, "SUBSCRIBE");
        world.receive(CALLEE, &challenged(&first, &format!("n{cseq}")));
        let again = world.expect(CALLEE, "SUBSCRIBE sip:bob@");
        assert!(again.header("Authorization").contains("username=\"out\""), "{}", again.text);
        assert_eq!(again.header("CSeq"), format!("{} SUBSCRIBE", 2 * cseq - 1));
        assert_eq!((again.tag("To"), again.header("Expires")), ("b1", &*expires.to_string()));
        assert_ne!(again.header("Via"), first.header("Via"));
        world.receive(CALLEE, &granted(&again, expires));
        assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("CSeq"), format!("{cseq} SUBSCRIBE"));
    }
    world.receive(CALLEE, &notify(&out, "b1", 2, "terminated;reason=timeout"));
    let heard = world.expect(CALLER, "NOTIFY");
    world.receive(CALLER, &challenged(&heard, "s1"));
    let again = world.expect(CALLER, "NOTIFY");
    assert!(again.header("Authorization").contains("username=\"in\""), "{}", again.text);
    assert_eq!(again.body(), "<dialog-info/>");
    world.receive(CALLER, &response(&again, "200 OK", "", None));
    world.expect(CALLEE, "SIP/2.0 200");
    world.expect_nothing_left();
}

#[test]
fn a_refresh_whose_credentials_are_refused_is_not_sent_for_ever_and_its_challenge_not_passed_on() {
    let mut world = World::with(call::RegistrarPolicy::Closed, |trunks| {
        trunks[1].auth = Some(routing::Credentials { username: "box".into(), password: "secret".into() });
    });
    let (_, ok) = subscribed(&mut world);
    world.receive(CALLER, &refresh(&ok, 2, 600));
    let first = world.expect(CALLEE, "SUBSCRIBE");
    world.receive(CALLEE, &challenged(&first, "n1"));
    let again = world.expect(CALLEE, "SUBSCRIBE");
    world.receive(CALLEE, &challenged(&again, "n2"));
    let refused = world.expect(CALLER, "SIP/2.0 502");
    assert!(!refused.has("WWW-Authenticate"), "{}", refused.text);
    world.expect_silence();
    // The refresh failed, the subscription is as it was (RFC 6665 §4.1.2.2).
    assert_eq!(world.core.stats().subscriptions, 1);
    world.receive(CALLER, &refresh(&ok, 3, 600));
    assert_eq!(world.expect(CALLEE, "SUBSCRIBE").header("CSeq"), "4 SUBSCRIBE");
}

#[test]
fn subscription_whose_notify_overtakes_the_2xx_is_made_by_the_notify() {
    let mut world = World::new();
    world.receive(CALLER, &subscribe("1", 600));
    let out = world.expect(CALLEE, "SUBSCRIBE");
    world.receive(CALLEE, &notify(&out, "b1", 1, "pending;expires=600"));
    let heard = world.expect(CALLER, "NOTIFY");
    world.receive(CALLER, &response(&heard, "200 OK", "", None));
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(CALLEE, &granted(&out, 600));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(heard.tag("From"), ok.tag("To"));
    world.receive(CALLER, &refresh(&ok, 2, 600));
    let again = world.expect(CALLEE, "SUBSCRIBE");
    assert_eq!((again.tag("To"), again.header("CSeq")), ("b1", "2 SUBSCRIBE"));
}

#[test]
fn subscription_of_which_a_proxy_made_two_keeps_the_first_and_refuses_the_second() {
    let mut world = World::new();
    let (out, _) = subscribed(&mut world);
    world.receive(CALLEE, &notify(&out, "b2", 1, "active;expires=600"));
    world.expect(CALLEE, "SIP/2.0 481");
    world.expect_silence();
    world.receive(CALLEE, &notify(&out, "b1", 2, "active;expires=600"));
    world.expect(CALLER, "NOTIFY");
}

#[test]
fn subscription_that_is_refused_leaves_nothing_and_the_interval_that_is_too_brief_says_what_is_not() {
    let mut world = World::new();
    world.receive(CALLER, &subscribe("1", 10));
    let out = world.expect(CALLEE, "SUBSCRIBE");
    let brief = response(&out, "423 Interval Too Brief", "b1", None);
    world.receive(CALLEE, &brief.replacen("Contact:", "Min-Expires: 60\nContact:", 1));
    assert_eq!(world.expect(CALLER, "SIP/2.0 423").header("Min-Expires"), "60");
    assert_eq!(world.core.stats().subscriptions, 0);
    // A NOTIFY that comes all the same finds no dialog.
    world.receive(CALLEE, &notify(&out, "b1", 1, "active"));
    world.expect(CALLEE, "SIP/2.0 481");
    world.expect_nothing_left();
}

#[test]
fn subscription_that_fails_over_is_made_with_the_target_that_granted_it() {
    let mut world = World::new();
    world.receive(CALLER, &subscribe("1", 600));
    let first = world.expect(CALLEE, "SUBSCRIBE");
    world.receive(CALLEE, &response(&first, "503 Service Unavailable", "b1", None));
    let second = world.expect(SPARE, "SUBSCRIBE");
    world.receive(SPARE, &granted(&second, 600));
    world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLEE, &notify(&first, "b1", 1, "active"));
    world.expect(CALLEE, "SIP/2.0 481");
    world.receive(SPARE, &notify(&second, "b1", 1, "active").replace(CALLEE, SPARE));
    world.expect(CALLER, "NOTIFY");
}

#[test]
fn subscription_that_nobody_refreshes_is_forgotten_when_its_time_is_over() {
    let mut world = World::new();
    let (out, ok) = subscribed(&mut world);
    world.pass(Duration::from_secs(600 + 31));
    assert_eq!(world.core.stats().subscriptions, 1, "the last NOTIFY may still be on its way");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.core.stats().subscriptions, 0);
    world.receive(CALLER, &refresh(&ok, 2, 600));
    world.expect(CALLER, "SIP/2.0 481");
    world.receive(CALLEE, &notify(&out, "b1", 2, "active"));
    world.expect(CALLEE, "SIP/2.0 481");
    world.expect_nothing_left();
}

#[test]
fn subscription_ends_when_the_subscriber_does_not_know_it_or_does_not_answer() {
    for answer in [Some("481 Subscription Does Not Exist"), None] {
        let mut world = World::new();
        let (out, _) = subscribed(&mut world);
        world.receive(CALLEE, &notify(&out, "b1", 2, "active;expires=500"));
        let heard = world.expect(CALLER, "NOTIFY");
        match answer {
            Some(line) => {
                world.receive(CALLER, &response(&heard, line, "", None));
                world.expect(CALLEE, "SIP/2.0 481");
            }
            None => {
                world.pass(Duration::from_secs(33));
                assert!(world.sent.iter().all(|sent| sent.to == CALLER.parse().unwrap()));
            }
        }
        assert_eq!(world.core.stats().subscriptions, 0);
    }
}

#[test]
fn subscription_for_longer_than_the_box_keeps_one_is_granted_for_less() {
    let mut world = World::new();
    world.receive(CALLER, &subscribe("1", 4_000_000_000));
    let out = world.expect(CALLEE, "SUBSCRIBE");
    assert_eq!(out.header("Expires"), "7200");
    world.receive(CALLEE, &granted(&out, 100_000));
    assert_eq!(world.expect(CALLER, "SIP/2.0 200").header("Expires"), "7200");
}

#[test]
fn subscription_of_somebody_else_is_not_reached_by_knowing_its_tags() {
    let mut world = World::new();
    let (out, ok) = subscribed(&mut world);
    world.receive(SPARE, &refresh(&ok, 2, 0));
    assert!(world.sent.pop_front().unwrap().first_line().contains("481"));
    world.receive(CALLER, &notify(&out, "b1", 2, "terminated"));
    assert!(world.sent.pop_front().unwrap().first_line().contains("481"));
    world.expect_silence();
    assert_eq!(world.core.stats().subscriptions, 1);
}

#[test]
fn a_fetch_gets_its_one_notify_in_either_order() {
    for notify_first in [false, true] {
        let mut world = World::new();
        world.receive(CALLER, &subscribe("1", 0));
        let out = world.expect(CALLEE, "SUBSCRIBE");
        let last = notify(&out, "b1", 1, "terminated;reason=timeout");
        let ok = granted(&out, 0);
        for step in if notify_first { [&last, &ok] } else { [&ok, &last] } {
            world.receive(CALLEE, step);
            let heard = world.sent.pop_front().unwrap();
            if heard.text.starts_with("NOTIFY") {
                world.receive(CALLER, &response(&heard, "200 OK", "", None));
                world.expect(CALLEE, "SIP/2.0 200");
            }
        }
        world.expect_silence();
        assert_eq!(world.core.stats().subscriptions, 0);
        world.expect_nothing_left();
    }
}

/// The last name that was asked for stands for this server.
fn stands_for(world: &mut World, host: &str, address: &str) {
    assert_eq!(world.names.last().unwrap().host, host, "{:?}", world.names);
    let query = *world.resolves.last().unwrap();
    let hop = call::NextHop { address: address.parse().unwrap(), transport: sip::Transport::Udp };
    world.input(call::Input::Resolved { query, hops: vec![hop], note: None });
}

#[test]
fn a_subscriber_whose_contact_is_a_name_is_notified_where_the_name_leads() {
    let mut world = World::new();
    world.receive(CALLER, &subscribe("1", 600).replace(&format!("alice@{CALLER}"), "alice@pc.example"));
    let out = world.expect(CALLEE, "SUBSCRIBE");
    assert!(world.names.is_empty(), "nobody has granted anything: {:?}", world.names);
    world.receive(CALLEE, &granted(&out, 600));
    world.expect(CALLER, "SIP/2.0 200");
    stands_for(&mut world, "pc.example", "10.1.1.9:5060");
    world.receive(CALLEE, &notify(&out, "b1", 1, "active;expires=600"));
    let notify = world.expect("10.1.1.9:5060", "NOTIFY sip:alice@pc.example SIP/2.0");
    world.receive("10.1.1.9:5060", &response(&notify, "200 OK", "", None));
    world.expect(CALLEE, "SIP/2.0 200");
    assert_eq!(world.names.len(), 1, "once for each name: {:?}", world.names);
}

#[test]
fn a_notifier_that_moves_to_a_name_gets_the_next_subscribe_there() {
    let mut world = World::new();
    let (out, ok) = subscribed(&mut world);
    let moved =
        notify(&out, "b1", 2, "active;expires=600").replace(&format!("bob@{CALLEE}"), "bob@far.example");
    world.receive(CALLEE, &moved);
    world.sent.clear();
    stands_for(&mut world, "far.example", SPARE);
    world.receive(CALLER, &refresh(&ok, 2, 600));
    world.expect(SPARE, "SUBSCRIBE sip:bob@far.example SIP/2.0");
}

#[test]
fn a_look_up_ends_with_its_subscription() {
    let mut world = World::new();
    let (out, _) = subscribed(&mut world);
    let moved = notify(&out, "b1", 2, "terminated").replace(&format!("bob@{CALLEE}"), "bob@far.example");
    world.receive(CALLEE, &moved);
    let notify = world.expect(CALLER, "NOTIFY");
    assert_eq!(world.core.stats().queries, 1);
    world.receive(CALLER, &response(&notify, "200 OK", "", None));
    world.sent.clear();
    world.expect_nothing_left();
    assert_eq!(world.core.stats().queries, 0);
}
