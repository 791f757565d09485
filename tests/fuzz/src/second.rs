//! Second readers: what rsip and sdp-rs read, we read the same way.
//!
//! They are old and have faults, each pinned in `tests/torture/tests/upstream.rs`. Where one of those decides what is
//! read nothing is compared; each such place names its pin, and there are no others. A difference that is none of them is
//! a fault of ours, or one of theirs to be pinned.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rsip::message::HeadersExt;
use rsip::prelude::*;
use sdp_rs::SessionDescription;
use sip::{Address, Message, Method, Name, Scheme, Sdp, Uri};

/// A message that we find sound and rsip can read.
pub(crate) fn rsip(bytes: &[u8]) {
    let Ok(ours) = Message::parse(bytes) else { return };
    // `rsip_takes_a_line_feed_alone_into_a_value`
    let head = ours.bytes().len() - ours.body().len();
    if ours.check().is_err() || !has_crlf_only(&ours.bytes()[..head]) {
        return;
    }
    let Ok(theirs) = rsip::SipMessage::try_from(bytes) else { return };
    match &theirs {
        rsip::SipMessage::Request(request) => {
            // `rsip_takes_a_method_in_any_case`
            if ours.method() != Method::Unknown {
                assert_eq!(request.method().to_string().as_bytes(), ours.method_text());
            }
            same_uri(request.uri(), ours.request_uri().unwrap_or_default());
        }
        rsip::SipMessage::Response(response) => {
            assert_eq!(Some(u16::from(response.status_code().clone())), ours.status());
        }
    }
    // `rsip_ignores_content_length`
    if ours.body().len() == theirs.body().len() {
        assert_eq!(theirs.body(), ours.body());
    } else {
        assert!(ours.has(Name::ContentLength) && theirs.body().starts_with(ours.body()));
    }
    same_headers(&theirs, &ours);
}

fn same_headers(theirs: &rsip::SipMessage, ours: &Message<'_>) {
    // `rsip_refuses_what_the_grammar_allows`: of compact forms it knows none, so it looks at the long ones only.
    let long = |name: Name| {
        ours.headers().any(|header| {
            header.name == name && header.raw_name.eq_ignore_ascii_case(name.as_str().as_bytes())
        })
    };
    if let (true, Ok(call_id)) = (long(Name::CallId), theirs.call_id_header()) {
        // `rsip_keeps_blanks_behind_a_value`
        assert_eq!(call_id.value().trim_end_matches([' ', '\t']).as_bytes(), ours.call_id().unwrap());
    }
    if let (true, Ok(cseq)) = (long(Name::CSeq), theirs.cseq_header().and_then(|header| header.typed())) {
        assert_eq!(cseq.seq, ours.cseq().unwrap().number);
        if ours.method() != Method::Unknown {
            assert_eq!(
                cseq.method.to_string().trim_end_matches([' ', '\t']).as_bytes(),
                ours.cseq().unwrap().method_text
            );
        }
    }
    if let (true, Ok(from)) = (long(Name::From), theirs.from_header().and_then(|header| header.typed())) {
        same_address(&from.uri, from.tag().map(|tag| tag.value()), ours, Name::From);
    }
    if let (true, Ok(to)) = (long(Name::To), theirs.to_header().and_then(|header| header.typed())) {
        same_address(&to.uri, to.tag().map(|tag| tag.value()), ours, Name::To);
    }
    let first_via = ours.headers().find(|header| header.name == Name::Via);
    let long_via = first_via.is_some_and(|header| header.raw_name.len() > 1);
    if let (true, Ok(via)) = (long_via, theirs.via_header().and_then(|header| header.typed())) {
        same_via(&via, ours);
    }
}

fn same_address(uri: &rsip::Uri, tag: Option<&str>, message: &Message<'_>, name: Name) {
    let value = message.first(name).unwrap_or_default();
    let ours = Address::parse(value).unwrap();
    // `rsip_refuses_what_the_grammar_allows`: blanks before parameters, behind which it reads nothing without `<>`.
    if !value.contains(&b'<') && value.iter().any(u8::is_ascii_whitespace) {
        return;
    }
    // `rsip_takes_an_angle_bracket_in_a_quoted_name_for_the_uri`
    if ours.display.contains(&b'<') {
        return;
    }
    // `rsip_drops_parameters_behind_one_that_it_does_not_expect`
    if ours.params.iter().any(|(_, value)| value.is_some_and(|value| !is_word(value))) {
        return;
    }
    assert_eq!(tag.map(str::as_bytes), ours.tag());
    same_uri(uri, ours.uri);
}

fn same_via(theirs: &rsip::typed::Via, ours: &Message<'_>) {
    let line = ours.first(Name::Via).unwrap_or_default();
    let ours = ours.via().unwrap();
    // `rsip_has_no_ipv6_references`, `rsip_loses_a_second_via_in_one_line`
    if ours.host.starts_with(b"[") || line.contains(&b',') {
        return;
    }
    // `rsip_takes_a_host_with_the_name_of_a_scheme_for_a_scheme`
    if [&b"sip"[..], b"sips"].iter().any(|scheme| ours.host.eq_ignore_ascii_case(scheme)) {
        return;
    }
    // `rsip_loses_parameters_behind_a_blank_and_a_branch_behind_an_equals_sign`; a quoted value is cut like one with `=`.
    let blanks = line.iter().filter(|byte| byte.is_ascii_whitespace()).count();
    if blanks > 1 || ours.params.iter().any(|(_, value)| value.is_some_and(|value| !is_word(value))) {
        return;
    }
    // An empty one is none: RFC 2543 peers may leave it so.
    let branch = theirs.branch().map(|branch| branch.value().to_owned()).filter(|branch| !branch.is_empty());
    assert_eq!(branch.as_deref().map(str::as_bytes), ours.branch());
    same_host(&theirs.uri, ours.host, ours.port);
}

fn same_uri(theirs: &rsip::Uri, text: &[u8]) {
    let Ok(ours) = Uri::parse(text) else { return };
    // `rsip_takes_a_telephone_number_for_a_port`, and so with every scheme that it does not know.
    if !matches!(ours.scheme, Scheme::Sip | Scheme::Sips) {
        return;
    }
    // `rsip_takes_a_user_with_a_dot_for_a_host`, `rsip_leaves_headers_of_a_uri_in_its_host`, `rsip_has_no_ipv6_references`
    let user = [ours.user.unwrap_or_default(), ours.password.unwrap_or_default()].concat();
    let has_headers = !ours.headers.is_empty() || ours.raw.ends_with(b"?");
    if user.contains(&b'.') || has_headers || ours.host.starts_with(b"[") {
        return;
    }
    assert_eq!(theirs.user().map(str::as_bytes), ours.user);
    same_host(theirs, ours.host, ours.port);
}

fn same_host(theirs: &rsip::Uri, host: &[u8], port: Option<u16>) {
    // `rsip_keeps_blanks_behind_a_value`
    assert_eq!(theirs.host().to_string().trim_end_matches([' ', '\t']).as_bytes(), host);
    assert_eq!(theirs.port().map(|port| *port.value()), port);
}

/// What rsip takes for a value.
fn is_word(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(byte))
}

/// Whether each line ends in CRLF.
fn has_crlf_only(text: &[u8]) -> bool {
    let places = |end: u8| text.iter().enumerate().filter(move |(_, byte)| **byte == end).map(|(at, _)| at);
    places(b'\r').map(|at| at + 1).eq(places(b'\n'))
}

/// A description that both can read.
pub(crate) fn sdp_rs(bytes: &[u8]) {
    let (Ok(ours), Ok(text)) = (Sdp::parse(bytes), std::str::from_utf8(bytes)) else { return };
    // `sdp_rs_refuses_what_is_seen_in_the_field`, or loses it: line ends of several kinds.
    // `sdp_rs_takes_a_tab_for_a_part_of_a_field_and_nothing_for_a_field`
    let is_odd = |line: &str| ["\t", "\x0c", "  ", "= "].iter().any(|odd| line.contains(odd));
    let mut read = text.lines().filter(|line| line.starts_with("m=") || line.starts_with("c="));
    if !has_crlf_only(bytes) || read.any(is_odd) {
        return;
    }
    // `sdp_rs_panics_at_a_time_too_large`: only there may it panic.
    let has_times = text.contains("r=") || text.contains("z=");
    let theirs = if has_times { without_panic(text) } else { SessionDescription::try_from(text).ok() };
    let Some(theirs) = theirs else { return };
    // `sdp_rs_stops_without_a_word_at_a_line_that_it_does_not_expect`: of what stands behind it nothing can be said.
    assert!(theirs.media_descriptions.len() <= ours.streams().len(), "streams that are none");
    for (theirs, ours) in theirs.media_descriptions.iter().zip(ours.streams()) {
        assert_eq!(theirs.media.port, ours.port);
        assert_eq!(theirs.media.media.to_string().as_bytes(), ours.kind);
        if let (Some(connection), Some(host)) = (theirs.connections.first(), ours.address()) {
            let address = connection.connection_address.base;
            assert_eq!(Some(address), host.ip());
        }
    }
}

/// What it reads; nothing where it panics, of which nobody need be told.
fn without_panic(text: &str) -> Option<SessionDescription> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let theirs = catch_unwind(AssertUnwindSafe(|| SessionDescription::try_from(text)));
    std::panic::set_hook(hook);
    theirs.ok()?.ok()
}
