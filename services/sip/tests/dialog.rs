//! Dialogs: what two messages make of them, and what is written inside them, in the bytes of the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sip::{Dialog, Fault, Message, OutOfOrder};

const INVITE: &str = "INVITE sip:bob@example.org SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1\r\n\
    From: \"Alice A.\" <sip:alice@example.com>;tag=a-tag;x=1\r\n\
    To: sip:bob@example.org\r\n\
    Call-ID: c1@192.0.2.1\r\n\
    CSeq: 7 INVITE\r\n\
    Contact: <sip:alice@192.0.2.1:5070;ob>;expires=9\r\n\
    Content-Length: 0\r\n\r\n";

const OK: &str = "SIP/2.0 200 OK\r\n\
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa1\r\n\
    From: \"Alice A.\" <sip:alice@example.com>;tag=a-tag;x=1\r\n\
    To: <sip:bob@example.org>;tag=b-tag\r\n\
    Call-ID: c1@192.0.2.1\r\n\
    CSeq: 7 INVITE\r\n\
    Contact: <sip:bob@198.51.100.7;transport=tcp>\r\n\
    Content-Length: 0\r\n\r\n";

fn message(text: &str) -> Message<'_> {
    Message::parse(text.as_bytes()).unwrap()
}

/// The message with another header line before its Content-Length.
fn with(text: &str, line: &str) -> String {
    text.replace("Content-Length", &format!("{line}\r\nContent-Length"))
}

/// The message without the lines that begin so.
fn without(text: &str, start: &str) -> String {
    text.split_inclusive("\r\n").filter(|line| !line.starts_with(start)).collect()
}

fn uas(invite: &str) -> Dialog {
    Dialog::uas(&message(invite), b"our-tag").unwrap()
}

fn uac(invite: &str, response: &str) -> Dialog {
    Dialog::uac(&message(invite), &message(response)).unwrap()
}

fn bye(dialog: &mut Dialog) -> String {
    let via: [&[u8]; 2] = [b"SIP/2.0/UDP box;branch=", b"z9hG4bKx"];
    String::from_utf8(dialog.request(b"BYE", None, &via, 70).finish().to_vec()).unwrap()
}

/// A request inside the dialog that the peer sends.
fn from_peer(method: &str, cseq: u32, contact: &str) -> String {
    format!(
        "{method} sip:box SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa{cseq}\r\n\
         From: <sip:alice@example.com>;tag=a-tag\r\nTo: <sip:bob@example.org>;tag=our-tag\r\n\
         Call-ID: c1@192.0.2.1\r\nCSeq: {cseq} {method}\r\n{contact}Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn the_called_side_writes_the_callers_contact_with_both_ends_turned_round() {
    let mut dialog = uas(INVITE);
    assert_eq!(
        bye(&mut dialog),
        "BYE sip:alice@192.0.2.1:5070;ob SIP/2.0\r\n\
         Via: SIP/2.0/UDP box;branch=z9hG4bKx\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:bob@example.org>;tag=our-tag\r\n\
         To: \"Alice A.\" <sip:alice@example.com>;tag=a-tag\r\n\
         Call-ID: c1@192.0.2.1\r\n\
         CSeq: 1 BYE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(dialog.next_hop(), b"sip:alice@192.0.2.1:5070;ob");
}

#[test]
fn the_calling_side_goes_on_from_the_number_of_its_invite() {
    let mut dialog = uac(INVITE, OK);
    assert_eq!(
        bye(&mut dialog),
        "BYE sip:bob@198.51.100.7;transport=tcp SIP/2.0\r\n\
         Via: SIP/2.0/UDP box;branch=z9hG4bKx\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice A.\" <sip:alice@example.com>;tag=a-tag\r\n\
         To: <sip:bob@example.org>;tag=b-tag\r\n\
         Call-ID: c1@192.0.2.1\r\n\
         CSeq: 8 BYE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert!(bye(&mut dialog).contains("\r\nCSeq: 9 BYE\r\n"));
}

#[test]
fn an_ack_has_the_number_of_its_invite_and_uses_none_up() {
    let mut dialog = uac(INVITE, OK);
    let ack = dialog.request(b"ACK", Some(7), &[b"SIP/2.0/UDP box;branch=z9hG4bKy"], 70).finish();
    assert!(String::from_utf8_lossy(&ack).contains("\r\nCSeq: 7 ACK\r\n"));
    assert!(bye(&mut dialog).contains("\r\nCSeq: 8 BYE\r\n"));
}

#[test]
fn loose_routes_are_written_in_order_as_received_by_the_called_and_reversed_by_the_calling_side() {
    let routes = "Record-Route: <sip:p1.example;lr>, \"P, 2\" <sip:p2.example;lr;x=1>;q=1\r\n\
                  Record-Route: <sip:p3.example;lr=on>";
    let p2 = "\"P, 2\" <sip:p2.example;lr;x=1>;q=1";

    let mut called = uas(&with(INVITE, routes));
    let text = bye(&mut called);
    let expected = format!(
        "BYE sip:alice@192.0.2.1:5070;ob SIP/2.0\r\nVia: SIP/2.0/UDP box;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n\
         Route: <sip:p1.example;lr>\r\nRoute: {p2}\r\nRoute: <sip:p3.example;lr=on>\r\nFrom: "
    );
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(called.next_hop(), b"sip:p1.example;lr");

    let mut calling = uac(INVITE, &with(OK, routes));
    let text = bye(&mut calling);
    let expected =
        format!("\r\nRoute: <sip:p3.example;lr=on>\r\nRoute: {p2}\r\nRoute: <sip:p1.example;lr>\r\nFrom: ");
    assert!(text.contains(&expected), "{text}");
    assert_eq!(calling.next_hop(), b"sip:p3.example;lr=on");
}

#[test]
fn a_strict_router_is_the_request_uri_and_the_target_goes_last() {
    let mut dialog = uas(&with(
        INVITE,
        "Record-Route: <sip:p1.example;maddr=192.0.2.5;method=INVITE?Subject=x>,<sip:p2.example;lr>",
    ));
    let text = bye(&mut dialog);
    assert!(
        text.starts_with(
            "BYE sip:p1.example;maddr=192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP box;branch=z9hG4bKx\r\n\
             Max-Forwards: 70\r\nRoute: <sip:p2.example;lr>\r\nRoute: <sip:alice@192.0.2.1:5070;ob>\r\nFrom: "
        ),
        "{text}"
    );
}

#[test]
fn a_record_route_without_angle_brackets_is_taken_for_a_uri() {
    let mut dialog = uas(&with(INVITE, "Record-Route: sip:p1.example;lr"));
    assert!(bye(&mut dialog).contains("\r\nRoute: <sip:p1.example;lr>\r\n"));
    assert_eq!(dialog.next_hop(), b"sip:p1.example;lr");
}

#[test]
fn a_contact_loses_what_a_request_uri_must_not_have() {
    let dialog = |contact: &str| {
        uas(&INVITE.replace("<sip:alice@192.0.2.1:5070;ob>;expires=9", contact)).remote_target
    };
    assert_eq!(&*dialog("<sip:a@h;method=BYE;lr?Replaces=x%3Dy>"), b"sip:a@h;lr");
    assert_eq!(&*dialog("<sip:a?b@h;METHOD=BYE>"), b"sip:a?b@h");
    assert_eq!(&*dialog("sip:a@h;expires=60"), b"sip:a@h");
    assert_eq!(
        &*dialog("<sip:a@[2001:db8::1]:5070;transport=tls>"),
        b"sip:a@[2001:db8::1]:5070;transport=tls"
    );
}

#[test]
fn an_invite_without_a_usable_contact_creates_no_dialog() {
    let refused = |text: &str| -> Fault { Dialog::uas(&message(text), b"t").expect_err(text) };
    assert_eq!(refused(&without(INVITE, "Contact")).phrase(), "Missing Contact Header");
    assert_eq!(
        refused(&INVITE.replace("<sip:alice@192.0.2.1:5070;ob>;expires=9", "<tel:911>")).header,
        "Contact"
    );
    assert_eq!(refused(&with(INVITE, "Record-Route: <sip:p1.example;lr")).header, "Record-Route");
}

#[test]
fn a_2xx_without_a_contact_can_still_be_acknowledged_and_ended() {
    for faulty in [without(OK, "Contact"), OK.replace("<sip:bob@198.51.100.7;transport=tcp>", "<tel:911>")] {
        let mut dialog = uac(INVITE, &faulty);
        assert!(bye(&mut dialog).starts_with("BYE sip:bob@example.org SIP/2.0\r\n"));
    }
}

#[test]
fn an_rfc_2543_peer_without_a_tag_gets_none() {
    let mut dialog = uas(&INVITE.replace(";tag=a-tag", ""));
    assert!(bye(&mut dialog).contains("\r\nTo: \"Alice A.\" <sip:alice@example.com>\r\n"));
    assert!(dialog.matches(b"c1@192.0.2.1", b"our-tag", b""));
}

#[test]
fn a_dialog_is_known_by_all_three_of_its_identifiers() {
    let dialog = uac(INVITE, OK);
    assert!(dialog.matches(b"c1@192.0.2.1", b"a-tag", b"b-tag"));
    assert!(!dialog.matches(b"c1@192.0.2.1", b"b-tag", b"a-tag"));
    assert!(!dialog.matches(b"c1@192.0.2.1", b"a-tag", b"other-fork"));
    assert!(!dialog.matches(b"c2@192.0.2.1", b"a-tag", b"b-tag"));
}

#[test]
fn requests_of_the_peer_must_rise_in_number_and_ack_and_cancel_are_exempt() {
    let mut dialog = uas(INVITE);
    let mut receive = |method, cseq| dialog.receive(&message(&from_peer(method, cseq, "")));
    assert_eq!(receive("ACK", 7), Ok(()));
    assert_eq!(receive("INFO", 9), Ok(()), "gaps are legal");
    assert_eq!(receive("INFO", 8), Err(OutOfOrder { last: 9, got: 8 }));
    assert_eq!(receive("BYE", 9), Err(OutOfOrder { last: 9, got: 9 }));
    assert_eq!(receive("ACK", 7), Ok(()));
    assert_eq!(receive("CANCEL", 9), Ok(()));
    assert_eq!(receive("BYE", 10), Ok(()));

    let mut dialog = uac(INVITE, OK);
    assert_eq!(dialog.receive(&message(&from_peer("BYE", 0, ""))), Ok(()), "the peer's first may be any");
}

#[test]
fn only_target_refreshes_move_the_target_and_never_the_route_set() {
    let moved = "Contact: <sip:alice@192.0.2.99>\r\nRecord-Route: <sip:p9.example;lr>\r\n";
    let target = |text: &str| {
        let mut dialog = uas(&with(INVITE, "Record-Route: <sip:p1.example;lr>"));
        dialog.refresh_target(&message(text));
        assert_eq!(dialog.next_hop(), b"sip:p1.example;lr");
        String::from_utf8(dialog.remote_target.to_vec()).unwrap()
    };
    let before = "sip:alice@192.0.2.1:5070;ob";
    for method in ["INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"] {
        assert_eq!(target(&from_peer(method, 8, moved)), "sip:alice@192.0.2.99", "{method}");
        assert_eq!(target(&from_peer(method, 8, "")), before, "{method} without a Contact");
        assert_eq!(target(&from_peer(method, 8, "Contact: <sip:broken\r\n")), before);
    }
    for method in ["INFO", "BYE", "ACK", "PRACK", "OPTIONS", "MESSAGE"] {
        assert_eq!(target(&from_peer(method, 8, moved)), before, "{method}");
    }
    assert_eq!(target(OK), "sip:bob@198.51.100.7;transport=tcp");
    assert_eq!(target(&OK.replace("200 OK", "491 Request Pending")), before);
}

#[test]
fn the_2xx_confirms_an_early_dialog_with_its_own_route_set_and_target() {
    let ringing = OK.replace("200 OK", "180 Ringing").replace("198.51.100.7", "198.51.100.1");
    let mut dialog = uac(INVITE, &with(&ringing, "Record-Route: <sip:early.example;lr>"));
    dialog.confirm(&message(&with(OK, "Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>"))).unwrap();
    assert_eq!(dialog, uac(INVITE, &with(OK, "Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>")));

    let before = dialog.clone();
    assert!(dialog.confirm(&message(&with(OK, "Record-Route: nonsense"))).is_err());
    assert_eq!(dialog, before);
}

#[test]
fn a_sips_request_makes_a_secure_dialog() {
    assert!(!uas(INVITE).secure);
    assert!(uas(&INVITE.replace("INVITE sip:", "INVITE sips:")).secure);
    assert!(uac(&INVITE.replace("INVITE sip:", "INVITE sips:"), OK).secure);
}

#[test]
fn a_folded_display_name_does_not_split_the_header_it_is_written_into() {
    let mut dialog = uas(&INVITE.replace("\"Alice A.\"", "\"Alice\r\n A.\""));
    let text = bye(&mut dialog);
    assert!(text.contains("\r\nTo: \"Alice\r\n A.\" <sip:alice@example.com>;tag=a-tag\r\n"), "{text}");
    message(&text).check().unwrap();
}
