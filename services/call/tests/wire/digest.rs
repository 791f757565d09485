//! Digest towards a trunk (RFC 3261 §22): its challenges are answered here and never seen by the caller.

use crate::harness::*;
use call::{Disposition, Input, RegistrarPolicy};
use routing::{Challenges, Credentials};
use sip::Authorization;

fn world() -> World {
    World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers.truncate(1);
        trunks[1].auth = Some(Credentials { username: "box".into(), password: "secret".into() });
    })
}

/// A 407 with this nonce.
fn challenge(request: &Sent, nonce: &str, more: &str) -> String {
    let line = format!("Contact: <sip:bob@{CALLEE}>");
    let asked = format!("Proxy-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"{more}");
    response(request, "407 Proxy Authentication Required", "p", None).replace(&line, &asked)
}

fn is_right(request: &Sent, method: &str, password: &str) -> bool {
    let value = request.header("Proxy-Authorization");
    Authorization::parse(value.as_bytes()).unwrap().verify(password, method.as_bytes())
}

#[test]
fn the_right_password_is_given_once_and_the_call_goes_on() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    assert_eq!(world.expect(CALLEE, "ACK").header("CSeq"), "1 ACK");
    let second = world.expect(CALLEE, "INVITE sip:4912345@10.2.2.2:5060 SIP/2.0");
    assert!(is_right(&second, "INVITE", "secret"));
    for same in ["Call-ID", "From", "To", "Max-Forwards", "Contact"] {
        assert_eq!(second.header(same), first.header(same));
    }
    assert_eq!((second.header("CSeq"), second.body()), ("2 INVITE", first.body()));
    assert_ne!(second.header("Via"), first.header("Via"));
    world.receive(CALLEE, &response(&second, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
    // RFC 3261 §22.1: the ACK has what the INVITE was accepted with.
    let ack = world.expect(CALLEE, "ACK");
    assert_eq!(ack.header("CSeq"), "2 ACK");
    assert_eq!(ack.header("Proxy-Authorization"), second.header("Proxy-Authorization"));
}

#[test]
fn a_body_in_parts_is_sent_again_as_it_was() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks.iter_mut().for_each(|trunk| trunk.bodies = routing::Bodies::Pass);
        trunks[1].peers.truncate(1);
        trunks[1].auth = Some(Credentials { username: "box".into(), password: "secret".into() });
    });
    let body = format!(
        "--part\nContent-Type: application/isup;version=itu\n\nabcdef\n--part\nContent-Type: application/sdp\n\n{OFFER}--part--\n"
    );
    let kind = "multipart/mixed;boundary=part";
    world.receive(CALLER, &invite("1", Some(&body)).replacen("application/sdp", kind, 1));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE, "INVITE");
    assert_eq!(second.header("Content-Type"), kind);
    assert!(second.body().contains("abcdef"), "{}", second.text);
    assert_eq!(second.body(), first.body());
}

#[test]
fn a_wrong_password_is_tried_once_and_the_caller_gets_502() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &challenge(&second, "n2", ""));
    world.expect(CALLEE, "ACK");
    let refusal = world.expect(CALLER, "SIP/2.0 502");
    assert!(!refusal.has("Proxy-Authenticate"));
    assert_eq!((world.records[0].sip_code_a, world.records[0].sip_code_b), (Some(502), Some(407)));
    assert_eq!(world.records[0].disposition, Disposition::Failed);
    world.receive(CALLER, &ack_failure("1", &refusal));
    world.expect_nothing_left();
}

#[test]
fn a_stale_nonce_is_replaced_a_bounded_number_of_times() {
    let mut world = world();
    let mut request = call_placed(&mut world);
    world.receive(CALLEE, &challenge(&request, "n1", ""));
    world.expect(CALLEE, "ACK");
    for nonce in ["n2", "n3"] {
        request = world.expect(CALLEE, "INVITE");
        world.receive(CALLEE, &challenge(&request, nonce, ", stale=true"));
        world.expect(CALLEE, "ACK");
    }
    request = world.expect(CALLEE, "INVITE");
    assert!(is_right(&request, "INVITE", "secret") && request.header("Proxy-Authorization").contains("n3"));
    world.receive(CALLEE, &challenge(&request, "n4", ", stale=true"));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 502");
}

#[test]
fn the_same_nonce_called_stale_is_not_answered_again() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &challenge(&second, "n1", ", stale=true"));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 502");
}

#[test]
fn without_credentials_the_challenge_is_a_failure_of_the_target() {
    let mut world = World::new();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    world.expect(CALLEE, "ACK");
    // As a 502, which the route fails over on.
    world.expect(SPARE, "INVITE");
    assert_eq!(world.records[0].sip_code_b, Some(407));
}

#[test]
fn a_proxy_and_then_the_server_behind_it_are_both_answered() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE, "INVITE");
    let server =
        challenge(&second, "s1", "").replace("407 Proxy Authentication Required", "401 Unauthorized");
    world.receive(CALLEE, &server.replace("Proxy-Authenticate", "WWW-Authenticate"));
    world.expect(CALLEE, "ACK");
    let third = world.expect(CALLEE, "INVITE");
    assert!(
        third.header("Proxy-Authorization").contains("n1") && third.header("Authorization").contains("s1")
    );
    assert_eq!(third.header("CSeq"), "3 INVITE");
}

#[test]
fn every_realm_that_asks_in_one_response_is_answered_each_with_its_best_algorithm() {
    let mut world = world();
    let first = call_placed(&mut world);
    let asked = "Proxy-Authenticate: Digest realm=\"edge\", nonce=\"p1\", qop=\"auth\"\n\
                 Proxy-Authenticate: Digest realm=\"core\", nonce=\"p2\", qop=\"auth\", algorithm=MD5\n\
                 Proxy-Authenticate: Digest realm=\"core\", nonce=\"p3\", qop=\"auth\", algorithm=SHA-256\n\
                 Proxy-Authenticate: Digest realm=\"odd\", nonce=\"p4\", algorithm=SHA3\n\
                 WWW-Authenticate: Digest realm=\"edge\", nonce=\"w1\", qop=\"auth\"";
    let challenge = challenge(&first, "n", "");
    let line = challenge.lines().find(|line| line.starts_with("Proxy-Authenticate")).unwrap();
    world.receive(CALLEE, &challenge.replace(line, asked));
    world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE, "INVITE");
    let answers: Vec<_> = second.text.lines().filter(|line| line.contains("uthorization: ")).collect();
    assert_eq!(answers.len(), 3, "{answers:#?}");
    for (name, nonce) in
        [("Authorization", "w1"), ("Proxy-Authorization", "p1"), ("Proxy-Authorization", "p3")]
    {
        let of = |line: &&&str| line.starts_with(&format!("{name}: ")) && line.contains(nonce);
        let value = answers.iter().find(of).and_then(|line| line.split_once(": ")).unwrap().1;
        assert!(Authorization::parse(value.as_bytes()).unwrap().verify("secret", b"INVITE"), "{value}");
    }
    // One nonce grew old: only that one is replaced.
    let stale = challenge
        .replace(line, "Proxy-Authenticate: Digest realm=\"edge\", nonce=\"p9\", qop=\"auth\", stale=TRUE");
    let via = |sent: &Sent| sent.header("Via").to_owned();
    let stale = stale.replace(&via(&first), &via(&second)).replace("1 INVITE", "2 INVITE");
    world.receive(CALLEE, &stale);
    world.expect(CALLEE, "ACK");
    let third = world.expect(CALLEE, "INVITE");
    for nonce in ["w1", "p9", "p3"] {
        assert!(third.text.contains(&format!("nonce=\"{nonce}\"")), "{}", third.text);
    }
    assert!(!third.text.contains("\"p1\""), "{}", third.text);
    // And asked again although it was right: a wrong password for one of them is the end.
    let wrong = stale.replace(&via(&second), &via(&third)).replace("2 INVITE", "3 INVITE");
    world.receive(CALLEE, &wrong.replace(", stale=TRUE", "").replace("p9", "p10"));
    world.expect(CALLEE, "ACK");
    world.expect(CALLER, "SIP/2.0 502");
}

#[test]
fn a_challenge_over_a_stream_is_answered_although_its_transaction_is_over_at_once() {
    let mut world = World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].auth = Some(Credentials { username: "edge".into(), password: "secret".into() });
        trunks[1].peers = vec![format!("sip:{CALLEE};transport=tcp")];
    });
    let over_tcp = call::Flow { listener: STREAM, remote: CALLEE.parse().unwrap(), connection: 8 };
    world.receive(CALLER, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE");
    world.receive_on(over_tcp, &challenge(&first, "n1", ""));
    world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE, "INVITE");
    assert!(second.has("Proxy-Authorization") || second.has("Authorization"), "{}", second.text);
}

#[test]
fn cancel_c9_a_challenge_after_the_cancel_is_not_answered() {
    let mut world = world();
    let (out, _) = call_ringing(&mut world);
    world.receive(CALLER, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &challenge(&out, "n1", ""));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    world.expect_nothing_left();
}

#[test]
fn cancel_c9_a_challenge_of_an_offer_behind_the_bye_is_not_answered() {
    let mut world = world();
    let (ok, out) = call_up_in(&mut world);
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, "Content-Type: application/sdp\n\n") + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let hold = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&hold, "100 Trying", "", None));
    let cancel = from_caller("CANCEL", 2, &ok, "").replace("bKCANCEL2", "bKINVITE2");
    world.receive(CALLER, &cancel);
    world.expect(CALLER, "SIP/2.0 200");
    world.expect(CALLER, "SIP/2.0 487");
    world.receive(CALLER, &from_caller("ACK", 2, &ok, "").replace("bKACK2", "bKINVITE2"));
    let cancel = world.expect(CALLEE, "CANCEL");
    world.receive(CALLEE, &response(&cancel, "200 OK", "", None));
    world.receive(CALLEE, &from_callee("BYE", 1, &out, ""));
    world.expect(CALLEE, "SIP/2.0 200");
    // The call waits for the caller's answer to this.
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLEE, &challenge(&hold, "n1", ""));
    world.expect(CALLEE, "ACK");
    world.expect_silence();
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.expect_nothing_left();
}

#[test]
fn requests_within_the_call_are_answered_too_and_never_show_the_challenge() {
    let mut world = world();
    let (ok, _) = call_up_in(&mut world);
    world.receive(CALLER, &(from_caller("INVITE", 2, &ok, "Content-Type: application/sdp\n\n") + OFFER));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    world.expect(CALLEE, "ACK");
    let again = world.expect(CALLEE, "INVITE");
    assert!(is_right(&again, "INVITE", "secret") && again.header("CSeq") == "3 INVITE");
    world.receive(CALLEE, &response(&again, "200 OK", "", Some(ANSWER)));
    assert_eq!(world.expect(CALLEE, "ACK").header("CSeq"), "3 ACK");
    let answer = world.expect(CALLER, "SIP/2.0 200");
    world.receive(CALLER, &from_caller("ACK", 2, &answer, ""));
    // A password that is refused stays between the box and the trunk.
    world.receive(CALLER, &from_caller("INFO", 3, &ok, ""));
    for nonce in ["n2", "n3"] {
        let info = world.expect(CALLEE, "INFO");
        world.receive(CALLEE, &challenge(&info, nonce, ""));
    }
    assert!(!world.expect(CALLER, "SIP/2.0 502").has("Proxy-Authenticate"));
    world.receive(CALLER, &from_caller("BYE", 4, &ok, ""));
    world.expect(CALLER, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &challenge(&bye, "n4", ""));
    let again = world.expect(CALLEE, "BYE");
    assert!(is_right(&again, "BYE", "secret"));
    world.receive(CALLEE, &response(&again, "200 OK", "", None));
    assert_eq!(world.records.len(), 1);
    world.expect_nothing_left();
}

#[test]
fn an_ack_of_a_challenge_that_cannot_be_delivered_leaves_the_second_invite_alone() {
    let mut world = world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    let ack = world.expect(CALLEE, "ACK");
    let second = world.expect(CALLEE, "INVITE");
    world.input(Input::Undeliverable { token: ack.token });
    world.expect_silence();
    world.receive(CALLEE, &response(&second, "200 OK", "b1", Some(ANSWER)));
    world.expect(CALLER, "SIP/2.0 200");
}

/// A world whose callers answer the callee's challenges themselves.
fn passing_world() -> World {
    World::with(RegistrarPolicy::Closed, |trunks| {
        trunks[1].peers.truncate(1);
        trunks[1].challenges = Challenges::Pass;
    })
}

#[test]
fn a_challenge_that_is_passed_is_answered_by_the_caller() {
    let mut world = passing_world();
    let first = call_placed(&mut world);
    world.receive(CALLEE, &challenge(&first, "n1", ""));
    world.expect(CALLEE, "ACK");
    let refusal = world.expect(CALLER, "SIP/2.0 407");
    assert_eq!(refusal.header("Proxy-Authenticate"), "Digest realm=\"r\", nonce=\"n1\", qop=\"auth\"");
    world.receive(CALLER, &ack_failure("1", &refusal));
    assert_eq!((world.records[0].sip_code_a, world.records[0].sip_code_b), (Some(407), Some(407)));

    let given = "Digest username=\"alice\", realm=\"r\", nonce=\"n1\", uri=\"sip:bob@x\", response=\"0a\"";
    let again = invite("2", Some(OFFER))
        .replace("CSeq: 1", "CSeq: 2")
        .replace("X-Trace: 42\n", &format!("Proxy-Authorization: {given}\n"));
    world.receive(CALLER, &again);
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(out.header("Proxy-Authorization"), given);
    world.receive(CALLEE, &response(&out, "200 OK", "b1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    // RFC 3261 §22.1.
    assert_eq!(world.expect(CALLEE, "ACK").header("Proxy-Authorization"), given);
    world.receive(CALLER, &from_caller("ACK", 2, &ok, ""));
    ends_by_the_caller(&mut world, &ok, 3);
}

#[test]
fn credentials_of_a_caller_cross_to_no_trunk_that_did_not_ask_for_it() {
    let mut world = world();
    let with_credentials = invite("1", Some(OFFER))
        .replace("X-Trace: 42\n", "Authorization: Digest username=\"alice\", realm=\"r\", nonce=\"n\"\n");
    world.receive(CALLER, &with_credentials);
    world.expect(CALLER, "SIP/2.0 100");
    assert!(!world.expect(CALLEE, "INVITE").has("Authorization"));
}
