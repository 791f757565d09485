//! Messages: what is read lies in the bytes in order, and what is written of it reads as the same.

use std::net::{Ipv4Addr, SocketAddr};

use sip::{
    Dialog, Fault, Header, Message, Method, Name, ParseError, Writer, ack_for_failure, call_id_of,
    cancel_for, respond,
};

use crate::header;

const SOURCE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 5060);

pub(crate) fn check(bytes: &[u8]) {
    match Message::parse(bytes) {
        Ok(message) => {
            assert_eq!(call_id_of(bytes), message.first(Name::CallId), "the reader before the reader");
            lies_in_order(&message);
            reads_its_own_bytes(&message);
            view(&message);
            crosses_unchanged(&message);
            is_answered(&message);
            is_followed(&message);
            parts_stay(&message);
        }
        Err(_) => {
            let Some(message) = Message::salvage(bytes) else { return };
            view(&message);
            answer(&message, 400);
        }
    }
}

/// Every view of everything, for the panic that must not come.
fn view(message: &Message<'_>) {
    let _ = (message.check(), message.cseq(), message.max_forwards(), message.content_type());
    let _ = (message.method_text(), message.reason_phrase(), message.call_id(), format!("{message:?}"));
    let _ = (message.via(), message.from(), message.to(), message.contact());
    let _ = message.via_for_refusal().map(|via| via.response_target(SOURCE));
    for found in message.headers() {
        header::read(found.value);
        for element in message.elements(found.name) {
            header::read(element);
        }
    }
}

/// Headers lie one after another between the start line and the body, and so do the elements of a list: no byte is given
/// out twice.
fn lies_in_order(message: &Message<'_>) {
    let whole = message.bytes().as_ptr_range();
    let mut last = whole.start;
    for found in message.headers() {
        for part in [found.raw_name, found.value] {
            let range = part.as_ptr_range();
            assert!(last <= range.start && range.end <= whole.end, "headers in order");
            last = range.end;
        }
        assert!(message.has(found.name) && message.first(found.name).is_some());
    }
    assert!(message.body().is_empty() || last <= message.body().as_ptr(), "the body behind them");
    for name in [Name::Via, Name::Contact, Name::Route, Name::Server, Name::Supported] {
        let mut last = whole.start;
        for element in message.elements(name) {
            assert!(last <= element.as_ptr() && !element.is_empty(), "elements in order");
            last = element.as_ptr_range().end;
        }
    }
}

/// What a message calls its bytes is a message by itself, and the same one.
fn reads_its_own_bytes(message: &Message<'_>) {
    let again = Message::parse(message.bytes()).expect("its own bytes are a message");
    assert_eq!(again.bytes(), message.bytes());
    assert!(again.headers().eq(message.headers()));
    assert_eq!(again.body(), message.body());
}

/// Header by header or in one piece: what is copied reads as it did. Folds that held nothing but blanks become blanks.
fn crosses_unchanged(message: &Message<'_>) {
    let mut one_by_one = match message.status() {
        Some(status) => Writer::response(status, message.reason_phrase()),
        None => Writer::request(message.method_text(), message.request_uri().unwrap_or_default()),
    };
    let mut together = one_by_one.clone();
    for found in message.headers() {
        one_by_one.copy(&found);
    }
    together.copy_headers(message, |_| true);
    for written in [one_by_one.body(None, message.body()), together.body(None, message.body())] {
        let again = match Message::parse(&written) {
            // One that has as many as may be gets one more, its Content-Length.
            Err(ParseError::TooManyHeaders { .. }) if !message.has(Name::ContentLength) => return,
            again => again.expect("what is written is a message"),
        };
        assert_eq!(headers(&again), headers(message));
        assert_eq!(again.body(), message.body());
        assert_eq!((again.method(), again.status()), (message.method(), message.status()));
        assert_eq!(again.reason_phrase(), message.reason_phrase());
        if message.check().is_ok() {
            assert_eq!(again.check(), Ok(()));
            assert_eq!(again.request_uri(), message.request_uri());
            assert_eq!((again.from(), again.to()), (message.from(), message.to()));
        }
    }
}

/// Names and values, with any white space in them as a space.
fn headers(message: &Message<'_>) -> Vec<(Name, Vec<u8>, Vec<u8>)> {
    let plain = |Header { name, raw_name, value }: Header<'_>| {
        let blank = |byte: &u8| if byte.is_ascii_whitespace() { b' ' } else { *byte };
        (name, raw_name.to_vec(), value.iter().map(blank).collect())
    };
    message.headers().filter(|header| header.name != Name::ContentLength).map(plain).collect()
}

fn answer(request: &Message<'_>, status: u16) -> Vec<u8> {
    let answer = respond(request, status, None, Some(b"t9"), SOURCE).finish();
    // It repeats what came, and adds a line end here, a tag and an address there.
    assert!(answer.len() <= 2 * request.bytes().len() + 512, "an answer is no amplifier");
    Message::parse(&answer).expect("an answer is a message");
    answer.to_vec()
}

/// The answer to a sound request is sound but for Vias that are not ours, and belongs to it.
fn is_answered(message: &Message<'_>) {
    let answer = answer(message, 200);
    if message.check().is_err() || !message.is_request() {
        return;
    }
    let answer = Message::parse(&answer).unwrap();
    assert!(answer.to().unwrap().tag().is_some(), "a tag in To");
    assert_eq!(answer.via().unwrap().branch(), message.via().unwrap().branch());
    assert_eq!((answer.call_id(), answer.cseq()), (message.call_id(), message.cseq()));
    assert_eq!(answer.from(), message.from());
    assert_eq!(answer.elements(Name::Via).count(), message.elements(Name::Via).count());
    let two = Fault::new("Via", "one element, because a response with more is not ours");
    assert!([Ok(()), Err(two)].contains(&answer.check()), "{:?}", answer.check());
}

/// What a sound INVITE brings forth: the ACK of its failure, its CANCEL, requests within its dialog.
fn is_followed(message: &Message<'_>) {
    if message.check().is_err() || !message.is_request() {
        return;
    }
    if message.method() == Method::Invite {
        let failure = respond(message, 486, None, Some(b"t9"), SOURCE).finish();
        let failure = Message::parse(&failure).unwrap();
        for follows in [ack_for_failure(message, &failure), cancel_for(message, Some(b"SIP;cause=487"))] {
            let follows = Message::parse(&follows).expect("what follows an INVITE is a message");
            assert_eq!(follows.check(), Ok(()));
            assert_eq!(follows.via().unwrap().branch(), message.via().unwrap().branch());
            assert_eq!(follows.request_uri(), message.request_uri());
            assert_eq!(follows.cseq().unwrap().number, message.cseq().unwrap().number);
        }
    }
    let Ok(mut dialog) = Dialog::uas(message, b"t9") else { return };
    assert_eq!(dialog.receive(message).is_err(), !matches!(message.method(), Method::Ack | Method::Cancel));
    let bye = dialog.request(b"BYE", None, &[b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"], 70).finish();
    let bye = Message::parse(&bye).expect("a request within the dialog is a message");
    assert_eq!(bye.check(), Ok(()), "{}", bye.bytes().escape_ascii());
    assert_eq!(bye.to().unwrap().tag(), message.from().unwrap().tag());
    assert_eq!(bye.from().unwrap().tag(), Some(&b"t9"[..]));
    assert_eq!(bye.call_id(), message.call_id());
}

/// A body of parts of which each is kept is the body that it was.
fn parts_stay(message: &Message<'_>) {
    let Some(Ok(parts)) = message.multipart() else { return };
    assert_eq!(parts.rewrite(|part| Some(part.body)), message.body());
    assert!(parts.rewrite(|_| None::<&[u8]>).len() <= message.body().len());
}
