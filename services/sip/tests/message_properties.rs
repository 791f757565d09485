//! What must hold of any bytes: no panic, nothing read twice, what is written reads as what was meant.
//!
//! The inputs are made by a small generator from a fixed seed, so that a failure comes again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use sip::{Address, Fault, Header, Message, Name, Uri, Via, Writer, call_id_of, respond};

/// Xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

const SEEDS: [&[u8]; 4] = [
    b"INVITE sip:bob;x=1@biloxi.example.com:5070;transport=tcp;lr SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;\
      branch=z9hG4bK7;rport, SIP/2.0/TCP p1;branch=z9hG4bKp=1=\r\nMax-Forwards: 70\r\nTo: \"Bob, <B>\" <sip:bob@biloxi.com>\r\n\
      From: Alice <sip:alice@atlanta.com>;tag=1928\r\nCall-ID: a84b4c@pc33\r\nCSeq: 314159 INVITE\r\n\
      Contact: <sip:alice@pc33;a=b?c=d>;+sip.instance=\"<urn:uuid:0>\"\r\nRecord-Route: <sip:p2;lr>,\r\n <sip:p3;lr>\r\n\
      Content-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=0\n",
    b"SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP a;branch=z9hG4bK8;received=192.0.2.1\r\nf: <sip:a@h>;tag=1\r\nt: sip:b@h;tag=2\r\n\
      i: x\r\nCSeq: 1 INVITE\r\nRSeq: 1\r\nServer: y (a, (b)) z\r\nl: 0\r\n\r\n",
    b"\r\n\nREGISTER sip:r SIP/2.0\nVia : SIP / 2.0 / UDP h ; branch = \"q\"\nFrom: <tel:911>;tag=a\nTo: <sip:b@h>\nCall-ID\t:\n y\n\
      CSeq: 2 REGISTER\nContact: *\nm: sip:a(b@h, \"q\\\"\" <sip:c@h>\nAuthorization: Digest a=\"b, c\", d=e\n\nbody\xff\x00",
    b"CANCEL urn:service:sos SIP/2.0\r\nVia: SIP/2.0/WSS x.invalid;branch=z9hG4bK9;maddr=[::1];ttl=1\r\nFrom: <sip:a@h>;tag=1\r\n\
      To: <sip:b@h>\r\nCall-ID: z\r\nCSeq: 1 CANCEL\r\nReason: SIP;cause=200;text=\"done; \\\"x\\\"\"\r\nX-: y\r\n\r\n",
];

/// What trips readers: separators, line ends, whole headers, numbers beyond all limits.
const PIECES: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\r\n",
    b"\n\t",
    b" ",
    b":",
    b",",
    b";",
    b";;",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"(",
    b")",
    b"=",
    b"@",
    b"[",
    b"]",
    b"%0",
    b"Content-Length: 3\r\n",
    b"\xff",
];

fn mutate(random: &mut Random) -> Vec<u8> {
    let mut bytes = SEEDS[random.below(SEEDS.len())].to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(7) {
            0 => drop(bytes.drain(at..end)),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => {
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            3 if random.below(4) == 0 => bytes.truncate(at),
            _ => {
                let piece = PIECES[random.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn mutated_messages_are_refused_or_read_the_same_by_all_readers() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut sound) = (0, 0);
    for _ in 0..15_000 {
        let bytes = mutate(&mut random);
        let Ok(message) = Message::parse(&bytes) else {
            if let Some(message) = Message::salvage(&bytes) {
                view_all(&message);
                let answer =
                    respond(&message, 400, None, Some(b"t"), "192.0.2.9:9".parse().unwrap()).finish();
                Message::parse(&answer).unwrap();
            }
            continue;
        };
        read += 1;
        sound += usize::from(message.check().is_ok());
        view_all(&message);
        assert_in_order(&message);
        assert_eq!(call_id_of(&bytes), message.first(Name::CallId), "{}", bytes.escape_ascii());
        assert_rewritten_alike(&message);
        assert_answer_fits(&message);
    }
    // The generator would prove little if it made nothing but rubbish, or nothing but sound messages.
    assert!(read > 6_000 && read < 13_500, "{read} read");
    assert!(sound > 1_000 && sound < read - 1_000, "{sound} sound");
}

/// Every view of every header, for the panic that must not come.
fn view_all(message: &Message<'_>) {
    let _ = (
        message.check(),
        message.cseq(),
        message.max_forwards(),
        message.content_type(),
        message.method_text(),
    );
    let _ = (message.via(), message.from(), message.to(), message.contact(), format!("{message:?}"));
    for header in message.headers() {
        for element in message.elements(header.name) {
            let _ = Via::parse(element).map(|via| via.response_target("[::1]:5060".parse().unwrap()));
            let uri = Address::parse(element).and_then(|address| address.parsed_uri());
            let _ = uri.map(|uri| (uri.equivalent(&uri), uri.host_ip(), uri.unescaped_user().len()));
        }
        let value = header.value;
        let _ = (sip::RAck::parse(value), sip::SessionExpires::parse(value), sip::Reason::parse(value));
        let _ = (sip::Replaces::parse(value), Uri::parse(value).map(|uri| uri.params.iter().count()));
    }
}

/// Headers lie in the bytes one after another, none within another, and so do the elements of a list: each byte is
/// given out once at most.
fn assert_in_order(message: &Message<'_>) {
    let mut last = message.bytes().as_ptr();
    for header in message.headers() {
        for part in [header.raw_name, header.value] {
            let range = part.as_ptr_range();
            assert!(last <= range.start && range.end <= message.bytes().as_ptr_range().end);
            last = range.end;
        }
    }
    assert!(last <= message.body().as_ptr());
    for name in [Name::Via, Name::Contact, Name::Server] {
        let mut last = message.bytes().as_ptr();
        for element in message.elements(name) {
            assert!(last <= element.as_ptr() && !element.is_empty());
            last = element.as_ptr_range().end;
        }
    }
}

/// Copying every header gives a message with the same headers. Folds that held nothing but blanks become blanks.
fn assert_rewritten_alike(message: &Message<'_>) {
    let mut writer = match message.status() {
        Some(status) => Writer::response(status, message.reason_phrase()),
        None => Writer::request(message.method_text(), message.request_uri().unwrap()),
    };
    let mut together = writer.clone();
    for header in message.headers() {
        writer.copy(&header);
    }
    let written = writer.body(None, message.body());
    together.copy_headers(message, |_| true);
    let together = together.body(None, message.body());
    let again =
        Message::parse(&written).unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
    let headers = |message: &Message<'_>| {
        let plain = |Header { name, raw_name, value }: Header<'_>| {
            let value: Vec<u8> =
                value.iter().map(|byte| if byte.is_ascii_whitespace() { b' ' } else { *byte }).collect();
            (name, raw_name.to_vec(), value)
        };
        message.headers().filter(|header| header.name != Name::ContentLength).map(plain).collect::<Vec<_>>()
    };
    assert_eq!(headers(&again), headers(message), "{}", message.bytes().escape_ascii());
    let together = Message::parse(&together).unwrap();
    assert_eq!(headers(&together), headers(message), "{}", message.bytes().escape_ascii());
    assert_eq!(again.body(), message.body());
    assert_eq!(together.body(), message.body());
    assert_eq!((again.method(), again.status()), (message.method(), message.status()));
    assert_eq!(again.reason_phrase(), message.reason_phrase());
    if message.check().is_ok() {
        assert_eq!(again.check(), Ok(()));
        assert_eq!(again.request_uri(), message.request_uri());
        assert_eq!(again.from(), message.from());
    }
}

/// A response to a sound request is sound but for the Vias that are not ours, and belongs to that request.
fn assert_answer_fits(message: &Message<'_>) {
    let answer = respond(message, 200, None, Some(b"t9"), "192.0.2.9:9".parse().unwrap()).finish();
    let answer = Message::parse(&answer).unwrap();
    if message.check().is_err() || !message.is_request() {
        return;
    }
    assert!(answer.to().unwrap().tag().is_some());
    assert_eq!(answer.via().unwrap().branch(), message.via().unwrap().branch());
    assert_eq!(answer.call_id(), message.call_id());
    assert_eq!(answer.cseq(), message.cseq());
    assert_eq!(answer.elements(Name::Via).count(), message.elements(Name::Via).count());
    let two_vias = Fault::new("Via", "one element, because a response with more is not ours");
    assert!([Ok(()), Err(two_vias)].contains(&answer.check()));
}

/// The inputs that cost a reader with a nested loop minutes. Each is walked whole by every reader; were one of them
/// quadratic, this test would not come to its end in the time that a test run has.
#[test]
fn the_longest_hostile_values_are_walked_once() {
    for unit in [
        &b"a;x,"[..],
        b"(",
        b"()",
        b"\"",
        b"\"\"",
        b"\\",
        b"<",
        b"<>",
        b",",
        b";",
        b";=",
        b"=",
        b"a=\"",
        b"\r\n ",
        b"[",
        b"@",
        b"%",
        b":",
        b"/",
        b" ",
        b"\t;",
        b"(\\",
        b"&",
        b"?",
    ] {
        for name in ["Record-Route", "Via", "Contact", "Server", "From", "Reason", "Odd"] {
            let mut bytes = b"OPTIONS sip:b SIP/2.0\r\n".to_vec();
            for _ in 0..3 {
                bytes.extend_from_slice(format!("{name}: x").as_bytes());
                bytes.extend_from_slice(&unit.repeat(16_000 / unit.len()));
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"\r\n");
            let message = Message::parse(&bytes).unwrap_or_else(|error| panic!("{name} {unit:?}: {error}"));
            for header in message.headers() {
                let _ = (Via::parse(header.value), Address::parse(header.value), Uri::parse(header.value));
                let _ = sip::Params::new(header.value).is_well_formed();
            }
            let given: usize = message.elements(Name::parse(name.as_bytes())).map(<[u8]>::len).sum();
            assert!(given <= bytes.len());
            let _ = message.check();
            let uri = [b"sip:h;", &unit.repeat(16_000 / unit.len())[..]].concat();
            let _ = Uri::parse(&uri).map(|uri| uri.equivalent(&Uri::parse(b"sip:h;a").unwrap()));
            let answer = respond(&message, 400, None, None, "192.0.2.9:9".parse().unwrap()).finish();
            assert!(answer.len() <= 2 * bytes.len());
        }
    }
}

/// The torture messages of RFC 4475 and RFC 5118, where a copy of them is at hand.
#[test]
fn torture_messages_are_read_or_refused_as_their_rfcs_say() {
    let given = std::env::var_os("SIP_CORPORA").map(std::path::PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let root = given.unwrap_or(beside);
    const REFUSED: [&str; 25] = [
        "badaspec",
        "badbranch",
        "baddn",
        "badinv01",
        "badvers",
        "bcast",
        "bigcode",
        "clerr",
        "escruri",
        "insuf",
        "ltgtruri",
        "lwsruri",
        "lwsstart",
        "mcl01",
        "mismatch01",
        "mismatch02",
        "quotbal",
        "multi01",
        "ncl",
        "regbadct",
        "scalar02",
        "scalarlg",
        "trws",
        "ipv6-bad",
        "baddate",
    ];
    for folder in ["rfc4475", "rfc5118"] {
        let Ok(files) = std::fs::read_dir(root.join(folder)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let verdict = match Message::parse(&bytes) {
                Ok(message) => {
                    view_all(&message);
                    assert_rewritten_alike(&message);
                    message.check().map_err(|fault| fault.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            assert_eq!(verdict.is_err(), REFUSED.contains(&name.as_str()), "{name}: {verdict:?}");
        }
    }
}
