//! Header values: each reader reads again what was written of what it read.

use std::net::{Ipv6Addr, SocketAddr};

use sip::{
    Address, CSeq, List, Message, Name, Params, RAck, Reason, Refresher, Replaces, SessionExpires, Via,
    Writer,
};

use crate::uri;

const SOURCE: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 5060);

pub(crate) fn check(bytes: &[u8]) {
    read(bytes);
    list(List::new(bytes), bytes);
    stays_one_header(bytes);
}

/// By every reader, whatever header it comes from.
pub(crate) fn read(value: &[u8]) {
    via(value);
    address(value);
    numbers(value);
    replaces(value);
    params(Params::new(value));
    params(Params::split(value).1);
}

fn via(value: &[u8]) {
    let Ok(via) = Via::parse(value) else { return };
    let port = via.port.map_or(String::new(), |port| format!(":{port}"));
    let pieces = [b"SIP/2.0/", via.transport_text, b" ", via.host, port.as_bytes(), via.params.raw()];
    let written = pieces.concat();
    let again = Via::parse(&written).expect("a Via that was written is a Via");
    assert_eq!(again, via);
    assert!(via.branch().is_none_or(|branch| !branch.is_empty()));
    let target = via.response_target(SOURCE);
    assert_eq!(again.response_target(SOURCE), target);
    if via.maddr().is_none() {
        assert_eq!(target.ip(), SOURCE.ip(), "an answer goes where the request came from");
    }
}

fn address(value: &[u8]) {
    let Ok(address) = Address::parse(value) else { return };
    let space: &[u8] = if address.display.is_empty() { b"" } else { b" " };
    let written = [address.display, space, b"<", address.uri, b">", address.params.raw()].concat();
    let again = Address::parse(&written).expect("an address that was written is an address");
    assert_eq!(again, address);
    assert!(address.params.is_well_formed());
    uri::read(address.uri);
}

fn numbers(value: &[u8]) {
    if let Ok(cseq) = CSeq::parse(value) {
        let written = [cseq.number.to_string().as_bytes(), b" ", cseq.method_text].concat();
        assert_eq!(CSeq::parse(&written), Ok(cseq));
        assert!(cseq.number < 1 << 31);
    }
    if let Ok(rack) = RAck::parse(value) {
        let text = format!("{} {} ", rack.response, rack.cseq.number);
        assert_eq!(RAck::parse(&[text.as_bytes(), rack.cseq.method_text].concat()), Ok(rack));
    }
    if let Ok(expires) = SessionExpires::parse(value) {
        let refresher = expires.refresher.map_or("", Refresher::as_str);
        let name = if refresher.is_empty() { "" } else { ";refresher=" };
        let written = format!("{}{name}{refresher}", expires.seconds);
        assert_eq!(SessionExpires::parse(written.as_bytes()), Ok(expires));
    }
    if let Ok(reason) = Reason::parse(value) {
        let cause = reason.cause.map_or(String::new(), |cause| format!(";cause={cause}"));
        let written = [reason.protocol, cause.as_bytes()].concat();
        let again = Reason::parse(&written).expect("a reason that was written is one");
        assert_eq!((again.protocol, again.cause), (reason.protocol, reason.cause));
    }
}

fn replaces(value: &[u8]) {
    let Ok(replaces) = Replaces::parse(value) else { return };
    let Replaces { call_id, to_tag, from_tag, early_only } = replaces;
    // An open quote takes all that follows, so its place is the last.
    if [call_id, to_tag, from_tag].iter().any(|part| part.contains(&b'"')) {
        return;
    }
    let early: &[u8] = if early_only { b";early-only" } else { b"" };
    let written = [call_id, b";to-tag=", to_tag, b";from-tag=", from_tag, early].concat();
    assert_eq!(Replaces::parse(&written), Ok(replaces));
}

/// Parameters that are well formed are the same when they are written one by one, and the first of a name counts.
fn params(params: Params<'_>) {
    let found: Vec<_> = params.iter().collect();
    for (name, _) in found.iter().take(8) {
        let first = found.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        assert_eq!(params.find(name), first.map(|(_, value)| *value));
    }
    if !params.is_well_formed() {
        return;
    }
    let mut written = Vec::new();
    for (name, value) in &found {
        written.push(b';');
        written.extend_from_slice(name);
        if let Some(value) = value {
            written.push(b'=');
            written.extend_from_slice(value);
        }
    }
    assert!(Params::new(&written).is_well_formed());
    assert!(Params::new(&written).iter().eq(found));
}

/// The elements are within the value, and the same when they are written with commas between.
fn list(list: List<'_>, value: &[u8]) {
    let elements: Vec<&[u8]> = list.collect();
    assert!(elements.iter().map(|element| element.len()).sum::<usize>() <= value.len());
    assert!(elements.iter().all(|element| !element.is_empty()));
    let written = elements.join(&b", "[..]);
    assert!(List::new(&written).eq(elements));
}

/// Whatever a value is, it is one header when it leaves.
fn stays_one_header(value: &[u8]) {
    for name in ["Subject", "Server", "Via"] {
        let mut writer = Writer::request(b"OPTIONS", b"sip:a@b.example");
        writer.header(name, value).parts("X-Parts", &[value, b"|", value]);
        let written = writer.finish();
        let Ok(message) = Message::parse(&written) else {
            // Nothing is cut off what is written; a line may be longer than any that is read.
            assert!(2 * value.len() + 16 > sip::MAX_HEADER_LINE, "{}", written.escape_ascii());
            return;
        };
        let names: Vec<&[u8]> = message.headers().map(|header| header.raw_name).collect();
        assert_eq!(names, [name.as_bytes(), b"X-Parts", b"Content-Length"]);
        let elements: Vec<&[u8]> = message.elements(Name::parse(name.as_bytes())).collect();
        assert!(elements.iter().map(|element| element.len()).sum::<usize>() <= value.len());
    }
    let reason = Writer::response(400, value).finish();
    let message = Message::parse(&reason).expect("a response with any reason is a message");
    assert_eq!((message.status(), message.headers().count()), (Some(400), 1));
    let request = Writer::request(value, value).finish();
    if let Ok(message) = Message::parse(&request) {
        assert_eq!(message.headers().count(), 1);
    }
}
