//! Registration and calls by name.

use std::time::Duration;

use crate::harness::*;
use call::{BindingChange, Flow, Input, ListenerId, RegistrarPolicy, User, Utc};
use sip::Challenge;

const ALICE: &str = "127.0.0.1:6001";
const BOB: &str = "127.0.0.1:6002";

fn register(name: &str, at: &str, cseq: u32, extra: &str) -> String {
    format!(
        "REGISTER sip:127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP {at};branch=z9hG4bKr{name}{cseq};rport
Max-Forwards: 70
From: <sip:{name}@127.0.0.1>;tag=r
To: <sip:{name}@127.0.0.1>
Call-ID: reg-{name}
CSeq: {cseq} REGISTER
{extra}"
    )
}

fn contact(name: &str, at: &str) -> String {
    format!("Contact: <sip:{name}@{at};ob>\n")
}

fn users() -> World {
    let user = User { name: "alice".into(), password: "secret".into() };
    World::with(RegistrarPolicy::Users(vec![user]), |_| {})
}

#[test]
fn phones_on_loopback_register_any_name_and_call_each_other() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(BOB, &register("bob", BOB, 1, &contact("bob", "192.168.7.7:9")));
    let ok = world.expect(BOB, "SIP/2.0 200");
    assert!(ok.header("Contact").starts_with("<sip:bob@192.168.7.7:9;ob>;expires=3600"), "{}", ok.text);
    let call = invite("1", Some(OFFER)).replace("4912345", "bob").replace(CALLER, ALICE);
    world.receive(ALICE, &call);
    world.expect(ALICE, "SIP/2.0 100");
    // To the registered contact by name, to the flow by address: what stands in Contact may lead nowhere.
    world.expect(BOB, "INVITE sip:bob@192.168.7.7:9;ob SIP/2.0");
}

#[test]
fn the_contacts_of_one_preference_ring_at_once_and_those_of_a_lower_one_after_them() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    let phones = ["127.0.0.1:6011", "127.0.0.1:6012", "127.0.0.1:6013"];
    for (cseq, (at, q)) in phones.into_iter().zip(["0.8", "0.8", "0.3"]).enumerate() {
        let contact = format!("Contact: <sip:bob@{at}>;q={q}\n");
        world.receive(at, &register("bob", at, cseq as u32 + 1, &contact));
        world.expect(at, "SIP/2.0 200");
    }
    world.receive(ALICE, &invite("1", Some(OFFER)).replace("4912345", "bob").replace(CALLER, ALICE));
    world.expect(ALICE, "SIP/2.0 100");
    let desk = world.expect(phones[0], "INVITE sip:bob@127.0.0.1:6011");
    let soft = world.expect(phones[1], "INVITE sip:bob@127.0.0.1:6012");
    world.expect_silence();
    world.receive(phones[0], &response(&desk, "480 Not Here", "b1", None));
    world.expect(phones[0], "ACK");
    world.expect_silence();
    world.receive(phones[1], &response(&soft, "480 Not Here", "b2", None));
    world.expect(phones[1], "ACK");
    let last = world.expect(phones[2], "INVITE sip:bob@127.0.0.1:6013");
    world.receive(phones[2], &response(&last, "200 OK", "b3", Some(ANSWER)));
    world.expect(ALICE, "SIP/2.0 200");
    world.expect(phones[2], "ACK");
}

#[test]
fn a_phone_that_is_busy_does_not_keep_the_others_of_its_user_from_answering() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    for (cseq, at) in [BOB, "127.0.0.1:6012"].into_iter().enumerate() {
        world.receive(at, &register("bob", at, cseq as u32 + 1, &contact("bob", at)));
        world.expect(at, "SIP/2.0 200");
    }
    world.receive(ALICE, &invite("1", Some(OFFER)).replace("4912345", "bob").replace(CALLER, ALICE));
    world.expect(ALICE, "SIP/2.0 100");
    let mut out = [world.sent.pop_front().unwrap(), world.sent.pop_front().unwrap()];
    out.sort_by_key(|sent| sent.to);
    world.receive(BOB, &response(&out[0], "486 Busy Here", "b1", None));
    world.expect(BOB, "ACK");
    world.expect_silence();
    world.receive("127.0.0.1:6012", &response(&out[1], "200 OK", "b2", Some(ANSWER)));
    world.expect(ALICE, "SIP/2.0 200");
}

#[test]
fn a_stranger_elsewhere_may_neither_register_nor_call() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(
        "203.0.113.9:5060",
        &register("bob", "203.0.113.9:5060", 1, &contact("bob", "203.0.113.9:5060")),
    );
    world.expect("203.0.113.9:5060", "SIP/2.0 403");
    world.receive("203.0.113.9:5060", &invite("1", Some(OFFER)));
    world.expect("203.0.113.9:5060", "SIP/2.0 403");
    assert_eq!(world.core.stats().bindings, 0);
}

#[test]
fn a_register_that_a_stranger_sent_on_first_is_still_answered_to_its_phone() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    let overheard = register("bob", BOB, 1, &contact("bob", BOB));
    world.receive("127.0.0.99:5060", &overheard);
    // RFC 3581: the answer goes to where the request came from, which says nothing about the phone.
    world.expect("127.0.0.99:5060", "SIP/2.0 200");
    world.receive(BOB, &overheard);
    world.expect(BOB, "SIP/2.0");
}

#[test]
fn a_name_that_nobody_registered_is_temporarily_unavailable_or_unknown() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |trunks| trunks[1].peers.truncate(1));
    world.receive(BOB, &register("bob", BOB, 1, &contact("bob", BOB)));
    world.expect(BOB, "SIP/2.0 200");
    world.receive(BOB, &register("bob", BOB, 2, &(contact("bob", BOB) + "Expires: 0\n")));
    let gone = world.expect(BOB, "SIP/2.0 200");
    assert!(!gone.has("Contact"));
    assert_eq!(world.core.stats().bindings, 0);
}

#[test]
fn a_binding_ends_when_its_time_is_over() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(BOB, &register("bob", BOB, 1, &(contact("bob", BOB) + "Expires: 60\n")));
    world.expect(BOB, "SIP/2.0 200");
    assert_eq!(world.core.stats().bindings, 1);
    world.pass(Duration::from_secs(70));
    assert_eq!(world.core.stats().bindings, 0);
    world.expect_nothing_left();
}

#[test]
fn an_interval_too_brief_is_refused_with_the_least_that_is_taken() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(BOB, &register("bob", BOB, 1, &(contact("bob", BOB) + "Expires: 5\n")));
    let refusal = world.expect(BOB, "SIP/2.0 423");
    assert_eq!(refusal.header("Min-Expires"), "60");
    assert_eq!(world.core.stats().bindings, 0);
}

#[test]
fn a_star_removes_every_contact_and_stands_alone() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    let two = contact("bob", BOB) + &contact("bob", "127.0.0.1:6003");
    world.receive(BOB, &register("bob", BOB, 1, &two));
    let ok = world.expect(BOB, "SIP/2.0 200");
    assert_eq!(ok.text.matches("Contact: ").count(), 2);
    world.receive(BOB, &register("bob", BOB, 2, &("Contact: *\n".to_owned() + "Expires: 60\n")));
    world.expect(BOB, "SIP/2.0 400");
    world.receive(BOB, &register("bob", BOB, 3, "Contact: *\nExpires: 0\n"));
    world.expect(BOB, "SIP/2.0 200");
    assert_eq!(world.core.stats().bindings, 0);
}

#[test]
fn a_request_overtaken_by_a_later_one_changes_nothing() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(BOB, &register("bob", BOB, 5, &contact("bob", BOB)));
    world.expect(BOB, "SIP/2.0 200");
    world.receive(BOB, &register("bob", BOB, 4, &(contact("bob", BOB) + "Expires: 0\n")));
    world.expect(BOB, "SIP/2.0 500");
    assert_eq!(world.core.stats().bindings, 1);
}

fn answer(challenge: &Sent, password: &str, nc: u32) -> String {
    let line = challenge.header("WWW-Authenticate");
    let challenge = Challenge::parse(line.as_bytes()).unwrap();
    let value = challenge.authorize("alice", password, b"REGISTER", b"sip:127.0.0.1", "0a4f113b", nc);
    format!("Authorization: {}\n", String::from_utf8(value).unwrap())
}

#[test]
fn a_user_with_a_password_is_challenged_and_then_let_in() {
    let mut world = users();
    let at = "203.0.113.9:5060";
    world.receive(at, &register("alice", at, 1, &contact("alice", at)));
    let challenge = world.expect(at, "SIP/2.0 401");
    let right = contact("alice", at) + &answer(&challenge, "secret", 1);
    world.receive(at, &register("alice", at, 2, &right));
    world.expect(at, "SIP/2.0 200");
    assert_eq!(world.core.stats().bindings, 1);
    // What was overheard cannot be sent again by somebody else.
    world.receive("198.51.100.6:5060", &register("alice", "198.51.100.6:5060", 3, &right));
    let stale = world.expect("198.51.100.6:5060", "SIP/2.0 401");
    assert!(stale.header("WWW-Authenticate").contains("stale=true"));
}

#[test]
fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let mut world = users();
    let at = "203.0.113.9:5060";
    let challenges: Vec<Sent> = ["alice", "nobody"]
        .into_iter()
        .enumerate()
        .map(|(n, name)| {
            world.receive(at, &register(name, at, 1, &contact(name, at)));
            let challenge = world.expect(at, "SIP/2.0 401");
            let wrong = answer(&challenge, "guess", 1).replace("alice", name);
            world.receive(at, &register(name, at, 2 + n as u32, &(contact(name, at) + &wrong)));
            world.expect(at, "SIP/2.0 401")
        })
        .collect();
    let shape = |sent: &Sent| {
        sent.text.lines().map(|line| line.split([' ', ':']).next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shape(&challenges[0]), shape(&challenges[1]));
}

#[test]
fn a_user_may_not_call_under_another_name() {
    let mut world = users();
    let at = "203.0.113.9:5060";
    let call = invite("1", Some(OFFER)).replace(CALLER, at);
    world.receive(at, &call);
    let challenge = world.expect(at, "SIP/2.0 401");
    let challenge = Challenge::parse(challenge.header("WWW-Authenticate").as_bytes()).unwrap();
    let value = challenge.authorize("alice", "secret", b"INVITE", b"sip:4912345@192.0.2.1", "0a4f113b", 1);
    let header = format!("Authorization: {}\nX-Trace", String::from_utf8(value).unwrap());
    let again = call.replace("bK1", "bK2").replace("CSeq: 1", "CSeq: 2").replace("X-Trace", &header);
    world.receive(at, &again.replace("<sip:alice@10.1.1.1>;tag", "<sip:boss@10.1.1.1>;tag"));
    world.expect(at, "SIP/2.0 403");
}

#[test]
fn credentials_count_for_the_request_uri_that_they_were_made_for_and_no_other() {
    let at = "203.0.113.9:5060";
    let call = invite("1", Some(OFFER)).replace(CALLER, at);
    for (n, (made_for, status)) in [
        ("sip:4912345@192.0.2.1", "100"),
        ("sip:4912345@192.0.2.1:5060;transport=udp", "100"),
        ("sips:4912345@192.0.2.1:5060", "100"),
        ("sip:100@192.0.2.1", "400"),
        ("sip:4912345@198.51.100.1", "400"),
        ("sip:4912345@192.0.2.1:5070", "400"),
        ("tel:4912345", "400"),
        ("4912345", "400"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = users();
        let call = call.replace("call-a", &format!("call-{n}"));
        world.receive(at, &call);
        let challenge = world.expect(at, "SIP/2.0 401");
        let challenge = Challenge::parse(challenge.header("WWW-Authenticate").as_bytes()).unwrap();
        let value = challenge.authorize("alice", "secret", b"INVITE", made_for.as_bytes(), "0a4f113b", 1);
        let header = format!("Authorization: {}\nX-Trace", String::from_utf8(value).unwrap());
        let again = call.replace("bK1", &format!("bK2{n}")).replace("CSeq: 1", "CSeq: 2");
        world.receive(at, &again.replace("X-Trace", &header));
        world.expect(at, &format!("SIP/2.0 {status}"));
    }
    let mut world = users();
    world.receive(at, &register("alice", at, 1, &contact("alice", at)));
    let challenge = world.expect(at, "SIP/2.0 401");
    let elsewhere =
        answer(&challenge, "secret", 1).replace("uri=\"sip:127.0.0.1\"", "uri=\"sip:other.example\"");
    world.receive(at, &register("alice", at, 2, &(contact("alice", at) + &elsewhere)));
    world.expect(at, "SIP/2.0 400 Digest URI Is Not The Request-URI");
    assert_eq!(world.core.stats().bindings, 0);
}

#[test]
fn behind_one_address_a_phone_has_no_part_in_the_call_of_another() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(BOB, &register("bob", BOB, 1, &contact("bob", BOB)));
    world.expect(BOB, "SIP/2.0 200");
    world.receive(ALICE, &invite("1", Some(OFFER)).replace("4912345", "bob").replace(CALLER, ALICE));
    world.expect(ALICE, "SIP/2.0 100");
    let out = world.expect(BOB, "INVITE");
    // Whoever overheard it: neither a copy nor its CANCEL is the caller's.
    let neighbour = "127.0.0.1:6999";
    world.receive(neighbour, &cancel("1").replace("4912345", "bob").replace(CALLER, ALICE));
    world.expect_silence();
    world.receive(BOB, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(ALICE, "SIP/2.0 200");
    world.expect(BOB, "ACK");
    world.receive(ALICE, &from_caller("ACK", 1, &ok, ""));
    world.receive(neighbour, &from_caller("BYE", 2, &ok, ""));
    assert!(world.sent.pop_front().unwrap().text.starts_with("SIP/2.0 481"));
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 1);
    // The caller's translator has given it another port: it counts from there as soon as it has registered.
    let moved = "127.0.0.1:6500";
    world.receive(moved, &from_caller("BYE", 3, &ok, ""));
    assert!(world.sent.pop_front().unwrap().text.starts_with("SIP/2.0 481"));
    world.receive(moved, &register("alice", moved, 1, &contact("alice", moved)));
    world.expect(moved, "SIP/2.0 200");
    world.receive(moved, &from_caller("BYE", 4, &ok, ""));
    assert!(world.sent.pop_front().unwrap().text.starts_with("SIP/2.0 200"));
    world.expect(BOB, "BYE");
    world.expect_replays();
}

/// By UDP, in the middle of a call.
#[test]
fn a_phone_whose_translator_has_moved_it_is_spoken_to_where_it_has_spoken_from() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(ALICE, &register("alice", ALICE, 1, &contact("alice", ALICE)));
    world.expect(ALICE, "SIP/2.0 200");
    world.receive(BOB, &register("bob", BOB, 1, &contact("bob", BOB)));
    world.expect(BOB, "SIP/2.0 200");
    world.receive(ALICE, &invite("1", Some(OFFER)).replace("4912345", "bob").replace(CALLER, ALICE));
    world.expect(ALICE, "SIP/2.0 100");
    let out = world.expect(BOB, "INVITE");
    world.receive(BOB, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(ALICE, "SIP/2.0 200");
    world.expect(BOB, "ACK");
    world.receive(ALICE, &from_caller("ACK", 1, &ok, ""));
    let moved = "127.0.0.1:6500";
    world.receive(moved, &register("alice", moved, 2, &contact("alice", moved)));
    world.expect(moved, "SIP/2.0 200");
    // Where it has registered from alone is where its next calls go.
    world.receive(BOB, &from_callee("INFO", 1, &out, "").replace(CALLEE, BOB));
    let info = world.expect(ALICE, "INFO");
    world.receive(ALICE, &response(&info, "200 OK", "a1", None));
    world.expect(BOB, "SIP/2.0 200");
    world.receive(moved, &from_caller("INFO", 2, &ok, "").replace(CALLER, moved));
    let info = world.expect(BOB, "INFO");
    world.receive(BOB, &response(&info, "200 OK", "b1", None));
    world.expect(moved, "SIP/2.0 200");
    world.receive(BOB, &from_callee("BYE", 2, &out, "").replace(CALLEE, BOB));
    world.expect(BOB, "SIP/2.0 200");
    world.expect(moved, "BYE");
    world.expect_replays();
}

/// RFC 3325 §5: a phone is outside of those who trust each other.
#[test]
fn what_a_phone_asserts_of_itself_stays_behind() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(BOB, &register("bob", BOB, 1, &contact("bob", BOB)));
    world.expect(BOB, "SIP/2.0 200");
    let asserted = "P-Asserted-Identity: <tel:+49110>\nRemote-Party-ID: <sip:110@x>;party=calling\n\
                    P-Preferred-Identity: <sip:alice@x>\nX-Trace: 42";
    let call = invite("1", Some(OFFER)).replace("4912345", "bob").replace(CALLER, ALICE);
    world.receive(ALICE, &call.replace("X-Trace: 42", asserted));
    world.expect(ALICE, "SIP/2.0 100");
    let out = world.expect(BOB, "INVITE");
    assert!(!out.has("P-Asserted-Identity") && !out.has("Remote-Party-ID"), "{}", out.text);
    assert_eq!((out.header("P-Preferred-Identity"), out.header("X-Trace")), ("<sip:alice@x>", "42"));
    let message = call.replace("INVITE", "MESSAGE").replace("application/sdp", "text/plain");
    let message = message.replace("z9hG4bK1", "z9hG4bKm").replace("call-a@", "message-a@");
    world.receive(ALICE, &message.replace("X-Trace: 42", asserted));
    let out = world.expect(BOB, "MESSAGE");
    assert!(!out.has("P-Asserted-Identity") && out.has("X-Trace"), "{}", out.text);
}

/// RFC 3325 §7.
#[test]
fn who_calls_is_withheld_from_a_phone_where_the_caller_wants_that() {
    for (privacy, is_told) in
        [("", true), ("Privacy: id\n", false), ("Privacy: header ; ID\n", false), ("Privacy: none\n", true)]
    {
        let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
        world.receive(BOB, &register("bob", BOB, 1, &contact("bob", BOB)));
        world.expect(BOB, "SIP/2.0 200");
        let asserted = format!("P-Asserted-Identity: <tel:+4930>\n{privacy}X-Trace: 42");
        world.receive(
            CALLER,
            &invite("1", Some(OFFER)).replace("4912345", "bob").replace("X-Trace: 42", &asserted),
        );
        world.expect(CALLER, "SIP/2.0 100");
        assert_eq!(world.expect(BOB, "INVITE").has("P-Asserted-Identity"), is_told, "{privacy}");
    }
}

#[test]
fn another_policy_ends_the_registrations_that_it_would_not_have_let_in() {
    let user = |name: &str, password: &str| User { name: name.into(), password: password.into() };
    let at = "203.0.113.9:5060";
    let registered = || {
        let mut world = users();
        world.receive(at, &register("alice", at, 1, &contact("alice", at)));
        let challenge = world.expect(at, "SIP/2.0 401");
        let right = contact("alice", at) + &answer(&challenge, "secret", 1);
        world.receive(at, &register("alice", at, 2, &right));
        world.expect(at, "SIP/2.0 200");
        world
    };
    for (policy, left) in [
        (RegistrarPolicy::Users(vec![user("bob", "x"), user("alice", "secret")]), 1),
        (RegistrarPolicy::Users(vec![user("alice", "another secret")]), 0),
        (RegistrarPolicy::Users(vec![user("bob", "x")]), 0),
        (RegistrarPolicy::Closed, 0),
        (RegistrarPolicy::OpenLoopback, 0),
    ] {
        let mut world = registered();
        world.input(Input::Registrar(policy.clone()));
        assert_eq!(world.core.stats().bindings, left, "{policy:?}");
    }
    // Without a password anybody could have said to be alice.
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(ALICE, &register("alice", ALICE, 1, &contact("alice", ALICE)));
    world.expect(ALICE, "SIP/2.0 200");
    world.input(Input::Registrar(RegistrarPolicy::Users(vec![user("alice", "secret")])));
    assert_eq!(world.core.stats().bindings, 0);
    world.receive(ALICE, &invite("1", Some(OFFER)).replace(CALLER, ALICE));
    world.expect(ALICE, "SIP/2.0 401");
}

#[test]
fn a_kept_registration_of_somebody_who_is_no_user_any_more_does_not_count() {
    let kept = |name: &str| BindingChange {
        user: name.into(),
        contact: format!("sip:{name}@203.0.113.9").into(),
        flow: Flow { listener: ListenerId(0), remote: "203.0.113.9:5060".parse().unwrap(), connection: 0 },
        expires_at: Utc(i64::MAX),
        call_id: "r".into(),
        cseq: 1,
        q: 1000,
        user_agent: None,
    };
    let mut world = users();
    world.input(Input::Binding(kept("mallory")));
    assert_eq!(world.core.stats().bindings, 0);
    world.input(Input::Binding(kept("alice")));
    assert_eq!(world.core.stats().bindings, 1);
}

#[test]
fn what_a_registration_requires_and_is_not_understood_is_named() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    world.receive(BOB, &register("bob", BOB, 1, &(contact("bob", BOB) + "Require: outbound\n")));
    assert_eq!(world.expect(BOB, "SIP/2.0 420").header("Unsupported"), "outbound");
    assert_eq!(world.core.stats().bindings, 0);
}

#[test]
fn a_challenge_names_no_algorithm_that_old_phones_stumble_over() {
    let mut world = users();
    let at = "203.0.113.9:5060";
    world.receive(at, &register("alice", at, 1, &contact("alice", at)));
    let challenge = world.expect(at, "SIP/2.0 401");
    assert_eq!(challenge.text.matches("WWW-Authenticate: ").count(), 1, "{}", challenge.text);
    assert!(challenge.header("WWW-Authenticate").contains("algorithm=MD5"), "{}", challenge.text);
}

#[test]
fn what_is_said_to_somebody_unproven_goes_to_where_it_was_asked_from_whatever_maddr_says() {
    let mut world = users();
    let victim = ";maddr=198.51.100.7";
    let elsewhere = |text: String| text.replace(";branch=", &format!("{victim};branch="));
    let ordinary = register("alice", ALICE, 1, "");
    let call = invite("1", Some(OFFER)).replace(CALLER, ALICE);
    let forged = ordinary.replace("1 REGISTER", "2 REGISTER").replace("r1", "r2")
        + "Authorization: Digest username=\"alice\", realm=\"drawbridge\", nonce=\"n\", uri=\"sip:127.0.0.1\", response=\"0\"\n";
    for (what, text, status) in [
        ("a registration", ordinary.clone(), "401"),
        ("with the wrong password", forged, "401"),
        ("a call", call, "401"),
        ("of nobody", ordinary.replace("To: <sip:alice@", "To: <sip:"), "404"),
        ("of no SIP address", ordinary.replace("To: <sip:alice@127.0.0.1>", "To: <mailto:a@b>"), "400"),
        ("another request", ordinary.replace("REGISTER", "OPTIONS"), "401"),
        ("what is for a dialog", ordinary.replace("REGISTER", "UPDATE"), "403"),
    ] {
        world.receive(ALICE, &elsewhere(text));
        let told = world.expect(ALICE, &format!("SIP/2.0 {status}"));
        assert!(told.header("Via").contains(victim), "{what}");
    }
    let mut world = World::new();
    world.receive("198.51.100.9:5060", &elsewhere(ordinary));
    world.expect("198.51.100.9:6001", "SIP/2.0 403");
}

#[test]
fn a_phone_that_is_not_in_yet_is_told_what_is_wrong_with_what_it_sends() {
    let mut world = users();
    let request = register("alice", ALICE, 1, &contact("alice", ALICE));
    for (bad, status) in [
        (request.replace("Max-Forwards: 70", "Max-Forwards: many"), "SIP/2.0 400 Bad Max-Forwards Header"),
        (request.replace("127.0.0.1 SIP/2.0", "127.0.0.1 SIP/3.1"), "SIP/2.0 505"),
        (request.replace("CSeq: 1 REGISTER", "CSeq: 1 INVITE"), "SIP/2.0 400"),
    ] {
        world.receive(ALICE, &bad);
        let refusal = world.expect(ALICE, status);
        assert!(!refusal.text.contains("Server:"), "what program this is: {}", refusal.text);
    }
    world.receive(ALICE, &request.replace("To: <sip:alice@127.0.0.1>", "To: <sip:alice@127.0.0.1>;tag=gone"));
    assert!(!world.expect(ALICE, "SIP/2.0 481").text.contains("Server:"));
    assert_eq!(world.core.stats().malformed, 3);
    world.receive(ALICE, &request);
    assert!(!world.expect(ALICE, "SIP/2.0 401").text.contains("Server:"));
    world.expect_silence();
}

#[test]
fn a_registration_with_a_body_that_nobody_here_reads_is_refused() {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    let with = |cseq: u32, about: &str| {
        let contact = contact("alice", ALICE);
        register("alice", ALICE, cseq, &format!("{contact}{about}\nbody"))
    };
    world.receive(ALICE, &with(1, "Content-Type: application/x-settings\n"));
    assert_eq!(world.expect(ALICE, "SIP/2.0 415").header("Accept"), "application/sdp, multipart/mixed");
    let optional = "Content-Type: application/x-settings\nContent-Disposition: render;handling=optional\n";
    world.receive(ALICE, &with(2, optional));
    world.expect(ALICE, "SIP/2.0 200");
}
