//! CANCEL towards the callee (RFC 3261 §9.1): rows C1 to C12.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use interop::{Drawbridge, Place};

use crate::party::{ANSWER, OFFER, Party, branch, ringing, start, tag};

/// The caller leaves; it has its 200 and 487 when this returns.
fn leave(caller: &Party) {
    caller.say(&caller.request("CANCEL", "1", "Reason: Q.850;cause=16\n", ""));
    caller.expect("200");
    let terminated = caller.expect("487");
    caller.ack_refusal("1", &terminated);
}

#[test]
fn cancel_c1_leaves_at_once_and_is_the_invite_in_every_identifier() {
    let place = Place::new("c1");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    leave(&caller);
    let cancel = callee.expect("CANCEL");
    let uri = |text: &str| text.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(uri(&cancel.text), uri(&invite.text));
    for header in ["Via", "From", "To", "Call-ID"] {
        assert_eq!(cancel.headers(header), invite.headers(header), "{header}");
    }
    assert_eq!(cancel.header("CSeq").unwrap(), invite.header("CSeq").unwrap().replace("INVITE", "CANCEL"));
    assert_eq!(cancel.parameter("To", "tag"), None, "no tag of any 18x");
    assert_eq!((cancel.body(), cancel.header("Content-Length")), ("", Some("0")));
    assert_eq!(cancel.header("Reason"), Some("Q.850;cause=16"));
    assert!(cancel.header("Max-Forwards").is_some());
}

#[test]
fn cancel_c2_waits_for_the_first_provisional() {
    let place = Place::new("c2");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.invite("1", OFFER));
    let invite = callee.expect("INVITE");
    leave(&caller);
    callee.expect_nothing();
    callee.respond(&invite, "100 Trying", "", "");
    assert_eq!(branch(&callee.expect("CANCEL")), branch(&invite));
}

#[test]
fn cancel_c2_without_any_provisional_ends_with_timer_b() {
    let place = Place::new("c2-silence");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.invite("1", OFFER));
    callee.expect("INVITE");
    leave(&caller);
    callee.expect_nothing();
    drawbridge.assert_comes_to_rest();
    callee.expect_nothing();
    assert_eq!(drawbridge.cdrs(1)[0]["disposition"], "cancelled");
}

#[test]
fn cancel_c3_200_crossing_gets_ack_then_bye() {
    let place = Place::new("c3");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    leave(&caller);
    let cancel = callee.expect("CANCEL");
    callee.respond(&invite, "200 OK", "", ANSWER);
    callee.respond(&cancel, "200 OK", "", "");
    callee.expect("ACK");
    let bye = callee.expect("BYE");
    assert_eq!(bye.header("Reason"), Some("Q.850;cause=16"), "the Reason is kept");
    callee.respond(&bye, "200 OK", "", "");
    caller.expect_nothing();
    drawbridge.assert_comes_to_rest();
    assert_eq!(drawbridge.cdrs(1)[0]["disposition"], "cancelled");
}

#[test]
fn cancel_c4_200_before_the_waiting_cancel_gets_ack_then_bye_and_no_cancel() {
    let place = Place::new("c4");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.invite("1", OFFER));
    let invite = callee.expect("INVITE");
    leave(&caller);
    callee.respond(&invite, "200 OK", "", ANSWER);
    callee.expect("ACK");
    let bye = callee.expect("BYE");
    callee.respond(&bye, "200 OK", "", "");
    callee.expect_nothing();
}

#[test]
fn cancel_c5_refusal_before_the_waiting_cancel_gets_its_ack_and_no_cancel() {
    let place = Place::new("c5");
    let _drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.invite("1", OFFER));
    let invite = callee.expect("INVITE");
    leave(&caller);
    callee.respond(&invite, "486 Busy Here", "", "");
    assert_eq!(branch(&callee.expect("ACK")), branch(&invite));
    callee.expect_nothing();
}

#[test]
fn cancel_c6_without_a_final_gives_up_and_still_ends_a_late_200() {
    let place = Place::new("c6");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    leave(&caller);
    let cancel = callee.expect("CANCEL");
    callee.respond(&cancel, "200 OK", "", "");
    // 64·T1 are 3.2 s here: the record says that the call is over, and then the phone is picked up.
    assert_eq!(drawbridge.cdrs(1)[0]["disposition"], "cancelled");
    callee.respond(&invite, "200 OK", "", ANSWER);
    callee.expect("ACK");
    let bye = callee.expect("BYE");
    callee.respond(&bye, "200 OK", "", "");
    drawbridge.assert_comes_to_rest();
}

#[test]
fn cancel_c7_answered_481_has_no_effect_and_c6_still_guards() {
    let place = Place::new("c7");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    ringing(&caller, &callee);
    leave(&caller);
    let cancel = callee.expect("CANCEL");
    callee.respond(&cancel, "481 Call/Transaction Does Not Exist", "", "");
    callee.expect_nothing();
    drawbridge.assert_comes_to_rest();
}

#[test]
fn cancel_c8_of_forked_early_dialogs_is_one_and_each_200_gets_ack_then_bye() {
    let place = Place::new("c8");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    caller.say(&caller.invite("1", OFFER));
    let invite = callee.expect("INVITE");
    callee.respond_as("one", &invite, "180 Ringing", "", "");
    let first = caller.expect("180");
    callee.respond_as("two", &invite, "183 Session Progress", "", ANSWER);
    let second = caller.expect("183");
    assert_eq!(tag(&first, "To"), tag(&second, "To"), "the caller has one dialog");
    leave(&caller);
    callee.expect("CANCEL");
    for fork in ["one", "two"] {
        callee.respond_as(fork, &invite, "200 OK", "", ANSWER);
        assert_eq!(tag(&callee.expect("ACK"), "To"), fork);
        let bye = callee.expect("BYE");
        assert_eq!(tag(&bye, "To"), fork);
        callee.respond(&bye, "200 OK", "", "");
    }
    drawbridge.assert_comes_to_rest();
}

#[test]
fn cancel_c9_challenge_after_the_cancel_is_not_answered() {
    let place = Place::new("c9");
    let _drawbridge = start(&place, "", "auth = { username = \"edge\", password = \"open sesame\" }");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (_, invite) = ringing(&caller, &callee);
    leave(&caller);
    callee.expect("CANCEL");
    callee.respond(
        &invite,
        "407 Proxy Authentication Required",
        "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\n",
        "",
    );
    callee.expect("ACK");
    callee.expect_nothing();
}

#[test]
fn cancel_c9_redirection_after_the_cancel_is_not_followed() {
    let place = Place::new("c9-3xx");
    let _drawbridge = start(&place, "", "redirect = \"follow\"");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let elsewhere = Party::at(&place, Place::C, "elsewhere");
    let (_, invite) = ringing(&caller, &callee);
    leave(&caller);
    callee.expect("CANCEL");
    let contact = format!("Contact: <sip:1@{}>\n", elsewhere.local());
    callee.say(&callee.response(&invite, "302 Moved Temporarily", &contact));
    callee.expect("ACK");
    elsewhere.expect_nothing();
}

#[test]
fn cancel_c10_goes_over_the_connection_of_its_invite() {
    let place = Place::new("c10");
    let carrier = TcpListener::bind((place.ip(Place::B), 5060)).unwrap();
    let drawbridge = Drawbridge::start(
        &place,
        &format!(
            "[[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n\
             [[trunk]]\nname = \"carrier\"\nsources = [\"{b}\"]\npeers = [\"sip:{b}:5060;transport=tcp\"]\n\n\
             [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n",
            a = place.ip(Place::A),
            b = place.ip(Place::B),
        ),
    );
    let caller = Party::caller(&place);
    caller.say(&caller.invite("1", OFFER));
    let (mut connection, _) = carrier.accept().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut heard = String::new();
    let mut read_until = |connection: &mut std::net::TcpStream, wanted: &str| {
        let mut buffer = [0; 4096];
        while !heard.contains(wanted) {
            let length = connection.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "the connection was closed after\n{heard}");
            heard += std::str::from_utf8(&buffer[..length]).unwrap();
        }
        heard.clone()
    };
    let invite = read_until(&mut connection, "m=audio");
    let line = |name: &str| invite.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let ringing = format!(
        "SIP/2.0 180 Ringing\r\n{}\r\n{}\r\n{};tag=b\r\n{}\r\n{}\r\nContent-Length: 0\r\n\r\n",
        line("Via:"),
        line("From:"),
        line("To:"),
        line("Call-ID:"),
        line("CSeq:"),
    );
    connection.write_all(ringing.as_bytes()).unwrap();
    caller.expect("180");
    leave(&caller);
    let both = read_until(&mut connection, "CANCEL sip:");
    assert_eq!(both.matches(&line("Via:")).count(), 2, "one Via for both:\n{both}");
    carrier.set_nonblocking(true).unwrap();
    assert!(carrier.accept().is_err(), "no second connection");
    drop(drawbridge);
}

#[test]
fn cancel_c11_during_failover_cancels_this_attempt_and_tries_no_further() {
    let place = Place::new("c11");
    let carrier = format!(
        "\n[[trunk]]\nname = \"second\"\nsources = [\"{c}\"]\npeers = [\"sip:{c}:5060\", \"sip:{d}:5060\"]\n",
        c = place.ip(Place::C),
        d = place.ip(5),
    );
    let drawbridge = crate::party::start_with(&place, "", &carrier, "\"carrier\", \"second\"", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (second, third) = (Party::at(&place, Place::C, "second"), Party::at(&place, 5, "third"));
    caller.say(&caller.invite("1", OFFER));
    let invite = callee.expect("INVITE");
    callee.respond(&invite, "503 Service Unavailable", "", "");
    callee.expect("ACK");
    let invite = second.expect("INVITE");
    second.respond(&invite, "180 Ringing", "", "");
    caller.expect("180");
    leave(&caller);
    let cancel = second.expect("CANCEL");
    second.respond(&cancel, "200 OK", "", "");
    second.respond(&invite, "503 Service Unavailable", "", "");
    second.expect("ACK");
    third.expect_nothing();
    let cdrs = drawbridge.cdrs(2);
    assert_eq!(cdrs.len(), 2, "one row for each attempt: {cdrs:#?}");
}

#[test]
fn cancel_c12_of_a_losing_fork_says_completed_elsewhere() {
    let place = Place::new("c12");
    let carrier = format!(
        "\n[[trunk]]\nname = \"second\"\nsources = [\"{c}\"]\npeers = [\"sip:{c}:5060\"]\n",
        c = place.ip(Place::C),
    );
    let drawbridge =
        crate::party::start_with(&place, "", &carrier, "\"carrier\", \"second\"", "fork = \"parallel\"");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let other = Party::at(&place, Place::C, "other");
    caller.say(&caller.invite("1", OFFER));
    let (first, second) = (callee.expect("INVITE"), other.expect("INVITE"));
    callee.respond(&first, "180 Ringing", "", "");
    caller.expect("180");
    other.respond(&second, "180 Ringing", "", "");
    callee.respond(&first, "200 OK", "", ANSWER);
    let ok = caller.expect_either(&["180", "200"]);
    let ok = if ok.kind() == "180" { caller.expect("200") } else { ok };
    let cancel = other.expect("CANCEL");
    let reason = cancel.header("Reason").unwrap();
    assert!(reason.contains("cause=200") && reason.contains("Call completed elsewhere"), "{reason}");
    other.respond(&cancel, "200 OK", "", "");
    other.respond(&second, "487 Request Terminated", "", "");
    other.expect("ACK");
    callee.expect("ACK");
    caller.say(&caller.in_dialog("ACK", "ack", &ok, "", ""));
    caller.say(&caller.in_dialog("BYE", "bye", &ok, "", ""));
    caller.expect("200");
    let bye = callee.expect("BYE");
    callee.respond(&bye, "200 OK", "", "");
    let cdrs = drawbridge.cdrs(2);
    let answered = cdrs.iter().filter(|cdr| cdr["disposition"] == "answered").count();
    assert_eq!((cdrs.len(), answered), (2, 1), "{cdrs:#?}");
}
