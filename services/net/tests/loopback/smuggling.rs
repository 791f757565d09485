//! A stream cannot be cut in two ways: what one reader takes for a body and another for a request ends the connection.

use crate::bench::{Sbc, call_id, request};

/// A request whose Content-Length header is this line, followed by a request that would be smuggled in.
fn with_length(sbc: &Sbc, line: &str) -> (Option<String>, bool) {
    let mut connection = sbc.dial();
    let local = connection.stream.local_addr().unwrap();
    let smuggled = request("BYE", "smuggled", "TCP", local);
    let outer = request("OPTIONS", "outer", "TCP", local).replace("Content-Length: 0\r\n", line);
    connection.send(&(outer + &smuggled));
    let answer = connection.try_receive();
    let next = connection.try_receive();
    (answer, next.is_some())
}

#[test]
fn a_length_that_two_readers_read_differently_is_answered_400_and_what_follows_is_never_read() {
    let sbc = Sbc::start(2);
    let hard: &[(&str, &str)] = &[
        ("", "Missing Content-Length"),
        ("Content-Length: 5\r\nContent-Length: 0\r\n", "Ambiguous Content-Length"),
        ("l: 0\r\nContent-Length: 5\r\n", "Ambiguous Content-Length"),
        ("Content-Length: 0\r\nL : 7\r\n", "Ambiguous Content-Length"),
        ("Content-Length: -1\r\n", "Bad Content-Length"),
        ("Content-Length: +0\r\n", "Bad Content-Length"),
        ("Content-Length: 0x0\r\n", "Bad Content-Length"),
        ("Content-Length: 0, 0\r\n", "Bad Content-Length"),
        ("Content-Length: 0;a=b\r\n", "Bad Content-Length"),
        ("Content-Length: 0 0\r\n", "Bad Content-Length"),
        ("Content-Length:\r\n", "Bad Content-Length"),
        ("Content-Length: 0\r\n 0\r\n", "Bad Content-Length"),
        ("Content-Length: \u{660}\r\n", "Bad Content-Length"),
    ];
    for (line, phrase) in hard {
        let (answer, more) = with_length(&sbc, line);
        let answer = answer.unwrap_or_else(|| panic!("{line:?}: no answer"));
        assert!(answer.starts_with(&format!("SIP/2.0 400 {phrase}\r\n")), "{line:?}: {answer}");
        assert_eq!(call_id(&answer), "outer", "{line:?}");
        assert!(!more, "{line:?}: what followed was read");
    }
    for huge in ["99999999999999999999999999", "4294967296", "18446744073709551616", "65536"] {
        let (answer, more) = with_length(&sbc, &format!("Content-Length: {huge}\r\n"));
        assert!(answer.is_some_and(|answer| answer.starts_with("SIP/2.0 513 ")) && !more, "{huge}");
    }
    sbc.await_totals(|totals| totals.connections_open == 0);
    assert_eq!(sbc.net.handle().net_totals().framing_faults, hard.len() as u64 + 4);
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_length_in_a_legal_spelling_is_believed_and_the_body_is_body() {
    // One shard: answers of several are in no order.
    let sbc = Sbc::start(1);
    for line in [
        "Content-Length : {}",
        "l:{}",
        "L\t: {}",
        "Content-Length:\r\n {}",
        "Content-Length: {}\r\nl: {}",
        "l: 000{}",
    ] {
        let mut connection = sbc.dial();
        let local = connection.stream.local_addr().unwrap();
        let body = request("BYE", "inside", "TCP", local);
        let line = line.replace("{}", &body.len().to_string()) + "\r\n";
        let outer = request("BYE", "outer", "TCP", local).replace("Content-Length: 0\r\n", &line);
        let last = request("BYE", "last", "TCP", local);
        connection.send(&(outer + &body + &last));
        assert_eq!(call_id(&connection.receive()), "outer", "{line:?}");
        assert_eq!(call_id(&connection.receive()), "last", "{line:?}: the body was taken for a request");
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_head_without_end_is_refused_and_an_ack_with_a_bad_length_is_not_answered() {
    let sbc = Sbc::start(1);
    let mut endless = sbc.dial();
    let head = request("OPTIONS", "endless", "TCP", endless.stream.local_addr().unwrap());
    let head = head.trim_end().to_owned() + "\r\n" + &"X-More: of the same\r\n".repeat(4_000);
    endless.send(&head);
    let answer = endless.receive();
    assert!(answer.starts_with("SIP/2.0 513 ") && call_id(&answer) == "endless", "{answer}");
    assert!(endless.try_receive().is_none());
    let mut ack = sbc.dial();
    let text = request("ACK", "ack", "TCP", ack.stream.local_addr().unwrap());
    ack.send(&text.replace("Content-Length: 0", "Content-Length: x"));
    assert!(ack.try_receive().is_none());
    sbc.await_totals(|totals| (totals.framing_faults, totals.connections_open) == (2, 0));
    sbc.net.shutdown().unwrap();
}
