//! rsip 0.4.0 and sdp-rs 0.2.1 as second readers: what they read rightly we read the same way, and each fault of theirs
//! that made them unfit for bytes of strangers (`docs/decisions/0001-own-wire-codec.md`) is pinned. A test here that
//! fails because a fault is gone says that upstream has mended it: then its pin goes, and the decision is looked at again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rsip::message::HeadersExt;
use rsip::prelude::*;
use sdp_rs::SessionDescription;
use sip::{Message, Sdp, Uri, Via};
use torture::{Parties, cases};

const PARTIES: Parties<'_> = Parties { sender: "192.0.2.9", host: "192.0.2.1" };

/// Sound messages that rsip reads otherwise than they are meant.
const MISREAD: &[&str] = &[];

#[test]
fn what_both_read_of_the_torture_messages_is_the_same() {
    let mut read = Vec::new();
    for case in cases().filter(|case| case.treated.is_valid()) {
        let bytes = case.write(PARTIES);
        let ours = Message::parse(&bytes).unwrap();
        let Ok(theirs) = rsip::SipMessage::try_from(&bytes[..]) else { continue };
        let call_id = theirs.call_id_header().map(|header| header.value().to_owned());
        let cseq = theirs.cseq_header().and_then(|header| header.typed()).map(|cseq| cseq.seq);
        let tag = theirs
            .from_header()
            .and_then(|header| header.tag())
            .map(|tag| tag.map(|tag| tag.value().to_owned()));
        let (Ok(call_id), Ok(cseq), Ok(tag)) = (call_id, cseq, tag) else { continue };
        let from = ours.from().unwrap();
        let same = call_id.as_bytes() == ours.call_id().unwrap()
            && cseq == ours.cseq().unwrap().number
            && tag.as_deref().map(str::as_bytes) == from.tag();
        assert_eq!(!same, MISREAD.contains(&case.name), "{}: {call_id} {cseq} {tag:?}", case.name);
        read.push(case.name);
    }
    assert!(read.len() >= 10, "rsip reads only {read:?}");
}

fn rsip_uri(text: &str) -> Option<rsip::Uri> {
    rsip::Uri::try_from(text).ok()
}

fn rsip_via(text: &str) -> Option<rsip::typed::Via> {
    rsip::headers::Via::new(text).typed().ok()
}

#[test]
fn rsip_takes_a_user_with_a_dot_for_a_host() {
    let uri = rsip_uri("sip:john.doe@example.com").unwrap();
    assert_eq!((uri.user(), uri.host().to_string()), (None, "john.doe@example.com".to_owned()));
    let ours = Uri::parse(b"sip:john.doe@example.com").unwrap();
    assert_eq!((ours.user, ours.host), (Some(&b"john.doe"[..]), &b"example.com"[..]));
}

#[test]
fn rsip_takes_a_telephone_number_for_a_port() {
    let uri = rsip_uri("tel:911").unwrap();
    assert_eq!((uri.host().to_string(), uri.port().map(|port| *port.value())), ("tel".to_owned(), Some(911)));
    assert_eq!(Uri::parse(b"tel:911").unwrap().user, Some(&b"911"[..]));
}

#[test]
fn rsip_leaves_headers_of_a_uri_in_its_host() {
    let text = "sip:bob@example.com?Replaces=a%3Bto-tag%3D1";
    assert!(rsip_uri(text).unwrap().host().to_string().contains("Replaces"));
    let ours = Uri::parse(text.as_bytes()).unwrap();
    assert_eq!((ours.host, ours.headers), (&b"example.com"[..], &b"Replaces=a%3Bto-tag%3D1"[..]));
}

#[test]
fn rsip_drops_parameters_behind_one_that_it_does_not_expect() {
    for text in ["sip:a@b;maddr=[::1];x=y", "sip:a@b;fs_path=sip:10.0.0.1:5060;ob"] {
        let kept = rsip_uri(text).map_or(0, |uri| uri.params.len());
        assert!(kept < 2, "{text}: {kept}");
        assert_eq!(Uri::parse(text.as_bytes()).unwrap().params.iter().count(), 2);
    }
}

#[test]
fn rsip_has_no_ipv6_references() {
    assert!(rsip_uri("sip:a@[2001:db8::1]").is_none_or(|uri| uri.host().to_string() != "[2001:db8::1]"));
    assert_eq!(Uri::parse(b"sip:a@[2001:db8::1]").unwrap().host_ip(), Some("2001:db8::1".parse().unwrap()));
}

#[test]
fn rsip_loses_a_second_via_in_one_line() {
    let text = "SIP/2.0/UDP a;branch=1, SIP/2.0/TCP b;branch=2";
    let theirs = rsip_via(text).map(|via| via.to_string()).unwrap_or_default();
    assert!(!theirs.contains("TCP b"), "{theirs}");
    let message = format!("SIP/2.0 200 OK\r\nVia: {text}\r\n\r\n");
    let message = Message::parse(message.as_bytes()).unwrap();
    assert_eq!(message.elements(sip::Name::Via).count(), 2);
}

/// As if a Via held a URI (RFC 3261 §20.42 has a host there).
#[test]
fn rsip_takes_a_host_with_the_name_of_a_scheme_for_a_scheme() {
    let via = rsip_via("SIP/2.0/UDP sip:5060;branch=z9hG4bKx").unwrap();
    assert_eq!((via.uri.host().to_string(), via.uri.port()), ("5060".to_owned(), None));
    let via = Via::parse(b"SIP/2.0/UDP sip:5060;branch=z9hG4bKx").unwrap();
    assert_eq!((via.host, via.port), (&b"sip"[..], Some(5060)));
}

#[test]
fn rsip_loses_parameters_behind_a_blank_and_a_branch_behind_an_equals_sign() {
    let spaced = "SIP/2.0/UDP 10.0.0.1:5060 ;branch=z9hG4bK1";
    assert!(rsip_via(spaced).is_none_or(|via| via.branch().is_none()));
    assert_eq!(Via::parse(spaced.as_bytes()).unwrap().branch(), Some(&b"z9hG4bK1"[..]));
    let equals = "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa=b";
    let theirs = rsip_via(equals).and_then(|via| via.branch().map(|branch| branch.value().to_owned()));
    assert_ne!(theirs.as_deref(), Some("z9hG4bKa=b"));
    assert_eq!(Via::parse(equals.as_bytes()).unwrap().branch(), Some(&b"z9hG4bKa=b"[..]));
}

#[test]
fn rsip_writes_reason_phrases_as_one_word() {
    assert_eq!(rsip::StatusCode::NotFound.to_string(), "404 NotFound");
    assert_eq!(sip::reason_phrase(404), "Not Found");
}

#[test]
fn rsip_takes_a_method_in_any_case() {
    use std::str::FromStr;
    assert!(matches!(rsip::Method::from_str("invite"), Ok(rsip::Method::Invite)));
    assert_eq!(sip::Method::parse(b"invite"), sip::Method::Unknown);
}

#[test]
fn rsip_replaces_every_header_that_it_does_not_know_by_one() {
    let mut headers = rsip::Headers::default();
    headers.push(rsip::Header::Other("X-One".into(), "1".into()));
    headers.unique_push(rsip::Header::Other("X-Two".into(), "2".into()));
    assert_eq!(headers.iter().count(), 1);
}

/// Credentials that are right, as we write them, for the so manieth request under one nonce.
fn credentials(algorithm: sip::Algorithm, uri: &str, nc: u32) -> String {
    let challenge = sip::Challenge {
        realm: (*b"r").into(),
        nonce: (*b"n").into(),
        opaque: None,
        algorithm,
        qop_auth: true,
        stale: false,
    };
    let value = challenge.authorize("ada", "lovelace", b"INVITE", uri.as_bytes(), "c", nc);
    String::from_utf8(value).unwrap()
}

fn is_right(credentials: &str) -> bool {
    sip::Authorization::parse(credentials.as_bytes()).unwrap().verify("lovelace", b"INVITE")
}

/// What rsip says of the same; `None` where it cannot read them.
fn is_right_to_rsip(credentials: &str) -> Option<bool> {
    let read = rsip::headers::Authorization::new(credentials).typed().ok()?;
    let method = rsip::Method::Invite;
    let generator = rsip::services::DigestGenerator::from(&read, "lovelace", &method);
    Some(generator.verify(&read.response))
}

#[test]
fn rsip_counts_the_uses_of_a_nonce_in_decimals_up_to_255() {
    let tenth = credentials(sip::Algorithm::Md5, "sip:b.example", 10);
    assert!(tenth.contains("nc=0000000a") && is_right(&tenth));
    assert_eq!(is_right_to_rsip(&tenth), None);
    // Its own idea of the hundredth is another number, and it has none of the 256th.
    let written = |nc: &str| tenth.replace("nc=0000000a", &format!("nc={nc}"));
    let counted = |nc: &str| rsip::headers::Authorization::new(written(nc)).typed().map(|read| read.qop).ok();
    let auth = |nc| rsip::headers::auth::AuthQop::Auth { cnonce: "c".into(), nc };
    assert_eq!((counted("00000010"), counted("00000256")), (Some(Some(auth(10))), None));
    assert_eq!(sip::Authorization::parse(written("00000010").as_bytes()).unwrap().nc, Some(16));
}

#[test]
fn rsip_cannot_read_sha_256_by_its_name() {
    let right = credentials(sip::Algorithm::Sha256, "sip:b.example", 1);
    assert!(right.contains("algorithm=SHA-256") && is_right(&right));
    assert_eq!(is_right_to_rsip(&right), None);
    assert_eq!(rsip::headers::auth::Algorithm::Sha256.to_string(), "SHA256");
}

#[test]
fn rsip_hashes_md5_sess_as_md5() {
    let of = |algorithm| credentials(sip::Algorithm::parse(algorithm).unwrap(), "sip:b.example", 1);
    let (plain, bound) = (of(b"MD5"), of(b"MD5-sess"));
    assert!(is_right(&plain) && is_right(&bound));
    assert_eq!((is_right_to_rsip(&plain), is_right_to_rsip(&bound)), (Some(true), Some(false)));
    // The response to the one is to rsip that to the other.
    let confused = plain.replace("algorithm=MD5", "algorithm=MD5-sess");
    assert_eq!((is_right(&confused), is_right_to_rsip(&confused)), (false, Some(true)));
}

#[test]
fn rsip_hashes_another_uri_than_the_one_that_is_written() {
    let right = |uri| credentials(sip::Algorithm::Md5, uri, 1);
    assert_eq!(is_right_to_rsip(&right("sip:b.example")), Some(true));
    for uri in ["SIP:b.example", "sip:b.example;transport=udp"] {
        assert!(is_right(&right(uri)), "{uri}");
        assert_eq!(is_right_to_rsip(&right(uri)), Some(false), "{uri}");
    }
}

#[test]
fn rsip_takes_the_star_of_a_contact_for_a_host() {
    let contact = rsip::headers::Contact::new("*").typed().unwrap();
    assert_eq!(contact.to_string(), "<*>");
    let ours = Message::parse(b"REGISTER sip:b SIP/2.0\r\nContact: *\r\n\r\n").unwrap();
    assert_eq!(ours.elements(sip::Name::Contact).collect::<Vec<_>>(), [b"*"]);
}

/// A request with this line in it, as rsip reads it.
fn rsip_request(line: &str, body: &[u8]) -> Option<rsip::Request> {
    let head = format!(
        "MESSAGE sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/UDP c.example;branch=z9hG4bK1\r\nFrom: <sip:a@c.example>;tag=1\r\n\
         To: <sip:a@b.example>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n{line}\r\n\r\n"
    );
    let bytes = [head.as_bytes(), body].concat();
    Message::parse(&bytes).expect("we read it");
    rsip::Request::try_from(bytes).ok()
}

#[test]
fn rsip_corrupts_a_body_that_is_no_text() {
    let body = [0xff, 0x00, 0x80];
    let written = rsip_request("X: y", &body).map(|request| request.to_string().into_bytes());
    assert!(written.is_none_or(|written| !written.ends_with(&body)));
}

#[test]
fn rsip_ignores_content_length() {
    let request = rsip_request("Content-Length: 2", b"abSIP").unwrap();
    assert_eq!(request.body(), b"abSIP");
}

#[test]
fn rsip_takes_a_line_feed_alone_into_a_value() {
    let request = rsip_request("X-One: a\nX-Two: b", b"").unwrap();
    let seen = |name: &str| {
        request
            .headers()
            .iter()
            .any(|header| matches!(header, rsip::Header::Other(found, _) if found == name))
    };
    assert!(seen("X-One") && !seen("X-Two"));
}

#[test]
fn rsip_keeps_blanks_behind_a_value() {
    let request = rsip_request("X-One: a \t", b"").unwrap();
    let kept = |header: &rsip::Header| matches!(header, rsip::Header::Other(_, value) if value.ends_with(['\t', ' ']));
    assert!(request.headers().iter().any(kept));
    let ours = Message::parse(b"OPTIONS sip:a SIP/2.0\r\nX-One: a \t\r\n\r\n").unwrap();
    assert_eq!(ours.other(b"X-One"), Some(&b"a"[..]));
}

#[test]
fn rsip_takes_an_angle_bracket_in_a_quoted_name_for_the_uri() {
    let text = "\"a<b\" <sip:a@b.example>;tag=1";
    let uri = rsip::headers::From::new(text).typed().map(|from| from.uri.to_string()).unwrap_or_default();
    assert_ne!(uri, "sip:a@b.example");
    let ours = sip::Address::parse(text.as_bytes()).unwrap();
    assert_eq!((ours.uri, ours.tag()), (&b"sip:a@b.example"[..], Some(&b"1"[..])));
}

#[test]
fn rsip_refuses_what_the_grammar_allows() {
    assert!(rsip_request("X-Fold: a\r\n b", b"").is_none(), "folding");
    assert!(rsip_request("X-Space : a", b"").is_none_or(|request| {
        !request
            .headers()
            .iter()
            .any(|header| matches!(header, rsip::Header::Other(name, _) if name == "X-Space"))
    }));
    let begun = "\r\nOPTIONS sip:a@b.example SIP/2.0\r\nCall-ID: 1\r\n\r\n";
    assert!(rsip::SipMessage::try_from(begun).is_err(), "line ends before the message");
    let bare = "OPTIONS sip:a@b.example SIP/2.0\nCall-ID: 1\n\n";
    assert!(rsip::SipMessage::try_from(bare).is_err(), "LF alone");
    let compact = rsip_request("i: 2", b"").map(|request| {
        request.headers().iter().filter(|header| matches!(header, rsip::Header::CallId(_))).count()
    });
    assert_ne!(compact, Some(2), "compact forms");
    let contact = rsip::headers::Contact::new("<sip:a@b.example>;+sip.instance=\"<urn:uuid:1>\"").typed();
    let params = contact.map_or(0, |contact| contact.params.len());
    let spaced = rsip::headers::From::new("<sip:a@b.example> ;tag=1").typed();
    let tag = spaced.ok().and_then(|from| from.tag().map(|tag| tag.value().to_owned()));
    assert!(params != 1 || tag.as_deref() != Some("1"), "instance ids, and blanks before parameters");
}

/// A description with these lines behind the ones that must be there.
fn description(lines: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{lines}").replace("\r\n\r\n", "\r\n")
}

/// What sdp-rs writes of what it read.
fn sdp_again(text: &str) -> Option<String> {
    SessionDescription::try_from(text).ok().map(|read| read.to_string())
}

#[test]
fn sdp_rs_reads_a_plain_description_as_we_do() {
    let text = description("m=audio 4000 RTP/AVP 0\r\n");
    let theirs = SessionDescription::try_from(&*text).unwrap();
    let ours = Sdp::parse(text.as_bytes()).unwrap();
    assert_eq!(theirs.media_descriptions.len(), ours.streams().len());
    assert_eq!(theirs.media_descriptions[0].media.port, ours.streams()[0].port);
}

#[test]
fn sdp_rs_panics_at_a_time_too_large() {
    for line in ["r=9223372036854775807 1 0", "z=0 9223372036854775807"] {
        let text = description(&format!("{line}\r\n"));
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let outcome = std::panic::catch_unwind(|| SessionDescription::try_from(&*text).is_ok());
        std::panic::set_hook(quiet);
        assert!(outcome.is_err(), "{line}: {outcome:?}");
        assert!(Sdp::parse(text.as_bytes()).is_ok());
    }
}

#[test]
fn sdp_rs_loses_channels_and_what_stands_in_another_order() {
    let opus = description("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n");
    assert!(sdp_again(&opus).is_none_or(|again| !again.contains("opus/48000/2")));
    let late = description("a=tool:x\r\nb=AS:64\r\nm=audio 4000 RTP/AVP 0\r\n");
    let streams = SessionDescription::try_from(&*late).map_or(0, |read| read.media_descriptions.len());
    assert_eq!(streams, 0, "all that stands behind it is lost");
    assert_eq!(Sdp::parse(late.as_bytes()).unwrap().streams().len(), 1);
}

#[test]
fn sdp_rs_stops_without_a_word_at_a_line_that_it_does_not_expect() {
    for odd in ["m=audio 4001 RTP/AVP\r\n", "w=x\r\n", "a=x\r\ni=late\r\n"] {
        let text = description(&format!("m=audio 4000 RTP/AVP 0\r\n{odd}m=audio 4002 RTP/AVP 0\r\n"));
        let streams = SessionDescription::try_from(&*text).map(|read| read.media_descriptions.len());
        assert_eq!(streams, Ok(1), "{odd}");
        assert_eq!(Sdp::parse(text.as_bytes()).unwrap().streams().last().map(|last| last.port), Some(4_002));
    }
}

#[test]
fn sdp_rs_takes_a_tab_for_a_part_of_a_field_and_nothing_for_a_field() {
    for (line, theirs, ours) in [
        ("m=audio\t 4000 RTP/AVP 0\r\n", ("audio\t", 4_000), ("audio", 4_000)),
        ("m= 1 2 RTP/AVP 0\r\n", ("", 1), ("1", 2)),
    ] {
        let text = description(line);
        let media = SessionDescription::try_from(&*text).unwrap().media_descriptions[0].media.clone();
        assert_eq!((&*media.media.to_string(), media.port), theirs);
        let stream = Sdp::parse(text.as_bytes()).unwrap().streams()[0];
        assert_eq!((stream.kind, stream.port), (ours.0.as_bytes(), ours.1));
    }
}

#[test]
fn sdp_rs_refuses_what_is_seen_in_the_field() {
    let whole = description("m=audio 4000 RTP/AVP 0\r\n");
    let odd = [
        whole.replace("s=-\r\n", ""),
        whole.replace("t=0 0\r\n", ""),
        whole.replace("m=", "c=IN IP4 media.example.org\r\nm="),
        whole.replacen("\r\n", "\n", 2),
    ];
    for text in odd {
        let streams = SessionDescription::try_from(&*text).map_or(0, |read| read.media_descriptions.len());
        let named = sdp_again(&text).is_some_and(|again| again == text);
        assert!(streams == 0 || !named, "{text}");
        assert_eq!(Sdp::parse(text.as_bytes()).unwrap().streams().len(), 1, "{text}");
    }
}

#[test]
fn sdp_rs_never_sees_an_inactive_stream() {
    use sdp_rs::lines::Attribute;
    let text = description("m=audio 4000 RTP/AVP 0\r\na=inactive\r\n");
    let seen = SessionDescription::try_from(&*text).is_ok_and(|read| {
        read.media_descriptions
            .iter()
            .flat_map(|media| &media.attributes)
            .any(|attribute| matches!(attribute, Attribute::Inactive))
    });
    assert!(!seen);
    assert_eq!(Sdp::parse(text.as_bytes()).unwrap().streams()[0].direction(), sip::Direction::Inactive);
}
