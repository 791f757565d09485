//! What the parties of a story say: requests of their own, answers to the box and requests within its dialogs, right in
//! the main and wrong where the bytes want it.

use sip::{Message, Name};

use super::operands::Operands;

const METHODS: [&str; 16] = [
    "INVITE",
    "INVITE",
    "INVITE",
    "REGISTER",
    "SUBSCRIBE",
    "OPTIONS",
    "MESSAGE",
    "PUBLISH",
    "REFER",
    "NOTIFY",
    "INFO",
    "BYE",
    "CANCEL",
    "ACK",
    "PRACK",
    "ODD",
];

const WITHIN: [&str; 16] = [
    "BYE",
    "INVITE",
    "UPDATE",
    "INFO",
    "PRACK",
    "ACK",
    "REFER",
    "NOTIFY",
    "OPTIONS",
    "MESSAGE",
    "SUBSCRIBE",
    "BYE",
    "INVITE",
    "CANCEL",
    "REGISTER",
    "ODD",
];

const STATUSES: [&str; 32] = [
    "200 OK",
    "180 Ringing",
    "183 Progress",
    "100 Trying",
    "200 OK",
    "180 Ringing",
    "181 Forwarded",
    "199 Early Dialog Terminated",
    "202 Accepted",
    "302 Moved",
    "300 Choose",
    "305 Use Proxy",
    "401 Unauthorized",
    "407 Proxy",
    "404 Not Found",
    "408 Timeout",
    "422 Too Small",
    "480 Unavailable",
    "481 Unknown",
    "486 Busy",
    "487 Terminated",
    "488 Not Here",
    "491 Pending",
    "500 Error",
    "503 Unavailable",
    "504 Timeout",
    "600 Busy",
    "603 Decline",
    "699 Odd",
    "299 Odd",
    "200 OK",
    "183 Progress",
];

/// Lines that a message may have besides those that it must have; `{n}` is a number.
const EXTRAS: [&str; 32] = [
    "",
    "Require: 100rel\r\nRSeq: {n}\r\n",
    "Supported: 100rel, timer, replaces\r\n",
    "Session-Expires: 90;refresher=uac\r\nSupported: timer\r\n",
    "Session-Expires: 1800;refresher=uas\r\n",
    "Min-SE: 3600\r\n",
    "RAck: {n} 1 INVITE\r\n",
    "Refer-To: <sip:{n}55@192.0.2.1>\r\n",
    "Refer-To: <sip:155@192.0.2.1?Replaces=c{n}%3Bto-tag%3Da%3Bfrom-tag%3Db>\r\n",
    "Replaces: c{n};to-tag=t1;from-tag=t2\r\n",
    "WWW-Authenticate: Digest realm=\"r{n}\", nonce=\"n{n}\", qop=\"auth\"\r\n",
    "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n{n}\", algorithm=SHA-256, stale=true\r\n",
    "Record-Route: <sip:10.3.3.3;lr>, <sip:gw.example.net>\r\n",
    "Record-Route: <sip:10.4.4.4:5080>\r\n",
    "Reason: Q.850;cause={n};text=\"x\"\r\n",
    "Event: presence\r\nExpires: {n}\r\n",
    "Event: refer\r\nSubscription-State: terminated\r\n",
    "Subscription-State: active;expires={n}\r\nEvent: presence;id={n}\r\n",
    "Retry-After: {n}\r\n",
    "Expires: {n}\r\n",
    "Require: replaces, odd{n}\r\n",
    "Route: <sip:192.0.2.1;lr>, <sip:10.9.9.9;lr>\r\n",
    "Content-Disposition: session;handling=optional\r\n",
    "Privacy: id\r\nP-Asserted-Identity: <sip:x{n}@h>\r\n",
    "Allow: INVITE, ACK, BYE, UPDATE, PRACK\r\nSupported: 100rel\r\n",
    "Timestamp: {n}.5\r\n",
    "In-Reply-To: x\r\nContent-Encoding: gzip\r\n",
    "Accept: text/plain\r\n",
    "Proxy-Require: odd\r\n",
    "Authorization: Digest username=\"u1\", realm=\"drawbridge\", nonce=\"n{n}\", uri=\"sip:r\", response=\"0\"\r\n",
    "Contact: <sip:{n}@10.3.3.3>;q=0.5, <sip:22@gw.example.net>\r\n",
    "Supported: outbound\r\nMax-Forwards: {n}\r\n",
];

const CONTACTS: [&str; 8] = [
    "<sip:p@{host}>",
    "<sip:p@{host}>",
    "<sip:p@{host};transport=tcp>;expires=60",
    "<sip:p@gw.example.net>",
    "*",
    "<tel:1>",
    "<sip:p@[2001:db8::1]>;q=0.1",
    "",
];

const BODIES: [(&str, &str); 12] = [
    ("", ""),
    (
        "application/sdp",
        "v=0\r\no=p 1 {n} IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
    ),
    (
        "application/sdp",
        "v=0\r\no=p 1 {n} IN IP4 10.2.2.2\r\ns=-\r\nc=IN IP4 10.2.2.2\r\nt=0 0\r\nm=audio 5000 RTP/AVP 8\r\nm=video 5002 RTP/AVP 96\r\n",
    ),
    (
        "application/sdp",
        "v=0\r\no=p 1 {n} IN IP4 10.2.2.2\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\na=inactive\r\n",
    ),
    ("application/sdp", "v=0\r\nm=audio 0 RTP/AVP 0\r\n"),
    ("application/sdp", "v=0\r\nm=audio\r\n"),
    (
        "application/sdp",
        "v=0\r\no=p 1 {n} IN IP6 2001:db8::1\r\nc=IN IP6 2001:db8::1\r\nm=audio 7000/2 RTP/AVP 0\r\nm=image 7004 udptl t38\r\na=rtcp:7009\r\n",
    ),
    ("message/sipfrag", "SIP/2.0 {n}00 OK\r\n"),
    ("text/plain", "hello"),
    (
        "multipart/mixed;boundary=cut",
        "--cut\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\n\r\n--cut\r\n\r\nx\r\n--cut--\r\n",
    ),
    ("application/sdp", "v=0\r\n"),
    ("application/dtmf-relay", "Signal={n}\r\n"),
];

/// A request of its own.
pub(super) fn request(operands: &mut Operands<'_>) -> Vec<u8> {
    let method = METHODS[operands.below(METHODS.len())];
    let (call, number, host) = (operands.byte(), operands.below(10), host(operands));
    let uri = match call >> 4 {
        0..10 => format!("sip:{number}5500@192.0.2.1"),
        10 => "sip:u0@192.0.2.1".to_owned(),
        11 => format!("tel:+{number}55"),
        12 => "sip:192.0.2.1".to_owned(),
        13 => format!("sips:{number}55@192.0.2.1"),
        14 => "sip:u1@gw.example.net;transport=tcp".to_owned(),
        _ => "urn:odd".to_owned(),
    };
    let (call, order) = (call % 4, operands.byte());
    let (branch, cseq) = (order % 8, u32::from(order >> 4) % 4 + 1);
    let user = if call < 3 { "p".to_owned() } else { format!("u{}", number % 2) };
    let to_tag = if order == 255 { ";tag=lost" } else { "" };
    let head = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK{call}{branch};rport\r\n\
         From: <sip:{user}@{host}>;tag=f{call}\r\nTo: <sip:{user}@192.0.2.1>{to_tag}\r\nCall-ID: c{call}\r\n\
         CSeq: {cseq} {method}\r\n"
    );
    finish(head.into_bytes(), &host, operands)
}

/// A response to a request of the box.
pub(super) fn response(request: &[u8], operands: &mut Operands<'_>) -> Vec<u8> {
    let Ok(request) = Message::parse(request) else { return Vec::new() };
    let status = STATUSES[operands.below(STATUSES.len())];
    let tag = operands.below(4);
    let mut out = format!("SIP/2.0 {status}\r\n").into_bytes();
    repeat(&mut out, &request, &[Name::Via, Name::From, Name::To]);
    if request.to().is_ok_and(|to| to.tag().is_none()) && tag < 3 {
        out.truncate(out.len() - 2);
        out.extend_from_slice(format!(";tag=t{tag}\r\n").as_bytes());
    }
    repeat(&mut out, &request, &[Name::CallId, Name::CSeq, Name::RecordRoute]);
    finish(out, "10.2.2.2:5060", operands)
}

/// A request within the dialog of what the box sent, of whom it was sent to.
pub(super) fn within(sent: &[u8], operands: &mut Operands<'_>) -> Vec<u8> {
    let Ok(sent) = Message::parse(sent) else { return Vec::new() };
    let method = WITHIN[operands.below(WITHIN.len())];
    let order = operands.byte();
    let cseq = sent.cseq().map_or(1, |cseq| cseq.number % 1_000) + u32::from(order % 4);
    let branch = order >> 4;
    let contact = sent.contact().ok().flatten().map_or(&b"sip:192.0.2.1"[..], |contact| contact.uri);
    let mut out = [method.as_bytes(), b" ", contact, b" SIP/2.0\r\n"].concat();
    let host = host(operands);
    out.extend_from_slice(format!("Via: SIP/2.0/UDP {host};branch=z9hG4bKw{branch}{method}\r\n").as_bytes());
    let (from, to) = (sent.first(Name::From).unwrap_or_default(), sent.first(Name::To).unwrap_or_default());
    let tag: &[u8] = match sent.to() {
        Ok(to) if to.tag().is_none() => [&b";tag=t0"[..], b";tag=t1", b";tag=t2", b""][operands.below(4)],
        Ok(_) | Err(_) => b"",
    };
    let (from, to) = if sent.is_request() { ([to, tag].concat(), from) } else { (from.to_vec(), to) };
    out.extend_from_slice(&[b"From: ", &from[..], b"\r\nTo: ", to, b"\r\n"].concat());
    repeat(&mut out, &sent, &[Name::CallId]);
    out.extend_from_slice(format!("CSeq: {cseq} {method}\r\n").as_bytes());
    finish(out, &host, operands)
}

/// The ACK of a 2xx of the box.
pub(super) fn acknowledge(sent: &[u8], operands: &mut Operands<'_>) -> Vec<u8> {
    let Ok(sent) = Message::parse(sent) else { return Vec::new() };
    let number = sent.cseq().map_or(1, |cseq| cseq.number);
    let mut out =
        b"ACK sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.1.1:5060;branch=z9hG4bKack\r\n".to_vec();
    repeat(&mut out, &sent, &[Name::From, Name::To, Name::CallId]);
    out.extend_from_slice(format!("CSeq: {number} ACK\r\n").as_bytes());
    finish(out, "10.1.1.1:5060", operands)
}

/// The CANCEL of what was heard.
pub(super) fn cancel(heard: &[u8]) -> Vec<u8> {
    let Ok(heard) = Message::parse(heard) else { return Vec::new() };
    let mut out = [b"CANCEL ", heard.request_uri().unwrap_or(b"sip:a"), b" SIP/2.0\r\n"].concat();
    repeat(&mut out, &heard, &[Name::Via, Name::From, Name::To, Name::CallId]);
    let number = heard.cseq().map_or(1, |cseq| cseq.number);
    out.extend_from_slice(format!("CSeq: {number} CANCEL\r\nReason: SIP;cause=487\r\n\r\n").as_bytes());
    out
}

fn repeat(out: &mut Vec<u8>, message: &Message<'_>, names: &[Name]) {
    for name in names {
        for value in message.values(*name) {
            out.extend_from_slice(&[name.as_str().as_bytes(), b": ", value, b"\r\n"].concat());
        }
    }
}

fn host(operands: &mut Operands<'_>) -> String {
    ["10.1.1.1:5060", "10.2.2.2:5060", "10.1.1.1", "[2001:db8::1]:5070", "h.example"][operands.below(5)]
        .to_owned()
}

/// Contact, what else there is, and the body.
fn finish(mut out: Vec<u8>, host: &str, operands: &mut Operands<'_>) -> Vec<u8> {
    let what = operands.byte();
    let contact = CONTACTS[usize::from(what & 7)].replace("{host}", host);
    if !contact.is_empty() {
        out.extend_from_slice(format!("Contact: {contact}\r\n").as_bytes());
    }
    for _ in 0..what >> 6 {
        let extra = operands.byte();
        let line = EXTRAS[usize::from(extra) % EXTRAS.len()].replace("{n}", &(extra >> 5).to_string());
        out.extend_from_slice(line.as_bytes());
    }
    let (kind, body) = BODIES[operands.below(BODIES.len())];
    let body = body.replace("{n}", &(what >> 3 & 7).to_string());
    if !kind.is_empty() {
        out.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    out
}

/// Up to three places of a message changed.
pub(super) fn mutated(mut bytes: Vec<u8>, operands: &mut Operands<'_>) -> Vec<u8> {
    const PIECES: [&[u8]; 16] = [
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b",",
        b";",
        b"\"",
        b"<",
        b">",
        b":",
        b"@",
        b" ",
        b"(",
        b"\xff",
        b"z9hG4bK",
        b"Content-Length: 1\r\n",
        b"%00",
    ];
    for _ in 0..=operands.below(3) {
        let at = (usize::from(operands.byte()) << 8 | usize::from(operands.byte())) % (bytes.len() + 1);
        let what = operands.byte();
        let end = (at + usize::from(what & 7)).min(bytes.len());
        match what >> 6 {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, PIECES[usize::from(what % 16)].iter().copied())),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ if at < bytes.len() => bytes[at] = operands.byte(),
            _ => {}
        }
    }
    bytes
}
