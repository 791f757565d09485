//! Bodies that are no description alone: judged by what they say of themselves and by what the trunk lets through.

use crate::harness::*;
use call::RegistrarPolicy;
use routing::Bodies;

const MIXED: &str = "multipart/mixed;boundary=part";
const ISUP: &str =
    "--part\nContent-Type: application/isup;version=itu\nContent-Disposition: signal\n\nabcdef\n";
const PICTURE: &str =
    "--part\nContent-Type: image/png\nContent-Disposition: icon;handling=optional\n\npixels\n";

/// The caller's INVITE with this body.
fn carrying(branch: &str, kind: &str, body: &str) -> String {
    let invite = invite(branch, Some(body)).replacen("application/sdp", kind, 1);
    // One call for each branch, so that none is a copy of another.
    invite.replace("call-a@", &format!("call-{branch}@"))
}

fn sdp_part(offer: &str) -> String {
    format!("--part\nContent-Type: application/sdp\n\n{offer}")
}

fn passing() -> World {
    World::with(RegistrarPolicy::Closed, |trunks| {
        trunks.iter_mut().for_each(|trunk| trunk.bodies = Bodies::Pass)
    })
}

#[test]
fn a_description_among_parts_is_found_and_goes_on_alone() {
    let mut world = World::new();
    let body = format!("{}{PICTURE}--part--\n", sdp_part(OFFER));
    world.receive(CALLER, &carrying("1", MIXED, &body));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(out.header("Content-Type"), "application/sdp");
    assert!(out.body().starts_with("v=0\r\n") && !out.body().contains("pixels"), "{}", out.text);
    assert!(!out.text.contains("10.1.1.1"), "{}", out.text);
}

#[test]
fn a_description_among_parts_is_rewritten_in_its_place_where_the_trunk_passes_bodies() {
    let mut world = passing();
    let early =
        "--part\nContent-Type: application/sdp\nContent-Disposition: early-session;handling=optional\n\n";
    let body = format!("{ISUP}{}{early}{OFFER}{PICTURE}--part--\n", sdp_part(OFFER));
    // What another description is for does not make its addresses less visible.
    world.receive(CALLER, &carrying("a", MIXED, &body).replace("X-Trace", "MIME-Version: 1.0\nX-Trace"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!((out.header("Content-Type"), out.header("MIME-Version")), (MIXED, "1.0"));
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let (before, rest) = out.body().split_once("v=0").unwrap();
    assert_eq!(before, crlf(&format!("{ISUP}{}", sdp_part(""))));
    assert!(
        rest.contains("c=IN IP4 192.0.2.1\r\n") && rest.ends_with(&crlf(&format!("{PICTURE}--part--\n"))),
        "{rest}"
    );
    assert!(!out.text.contains("10.1.1.1"), "{}", out.text);
    let answer = format!("{}{ISUP}--part--\n", sdp_part(ANSWER));
    world.receive(
        CALLEE,
        &response(&out, "200 OK", "b1", Some(&answer))
            .replace("application/sdp\n\n--part", &format!("{MIXED}\n\n--part")),
    );
    let ok = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!(ok.header("Content-Type"), MIXED);
    assert!(ok.body().contains("abcdef") && ok.body().contains("c=IN IP4 192.0.2.1"), "{}", ok.text);
    world.expect(CALLEE, "ACK");
    let offer = format!("{}{ISUP}--part--\n", sdp_part(OFFER));
    let again = from_caller("INVITE", 2, &ok, "");
    world.receive(CALLER, &again.replace("CSeq: 2 INVITE", "CSeq: 1 ACK").replace("INVITE sip", "ACK sip"));
    world.receive(CALLER, &format!("{again}Content-Type: {MIXED}\n\n{offer}"));
    world.expect(CALLER, "SIP/2.0 100");
    assert!(world.expect(CALLEE, "INVITE").body().contains("abcdef"));
}

#[test]
fn what_must_be_understood_and_is_not_is_refused_unless_the_trunk_passes_it() {
    let odd = [
        ("1", "application/isup", "abcdef".to_owned(), "415"),
        ("2", MIXED, format!("{}{ISUP}--part--\n", sdp_part(OFFER)), "415"),
        ("3", "application/pkcs7-mime;smime-type=enveloped-data", "secret".to_owned(), "493"),
        ("4", "multipart/encrypted;boundary=part;protocol=p", format!("{ISUP}--part--\n"), "415"),
    ];
    let mut world = World::new();
    for (branch, kind, body, status) in &odd {
        world.receive(CALLER, &carrying(branch, kind, body));
        let refusal = world.expect(CALLER, &format!("SIP/2.0 {status}"));
        assert_eq!(refusal.has("Accept"), *status == "415", "{}", refusal.text);
    }
    world.expect_silence();
    world.expect_nothing_left();
    let mut world = passing();
    for (branch, kind, body, _) in &odd {
        world.receive(CALLER, &carrying(branch, kind, body));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        assert_eq!(out.header("Content-Type"), *kind);
    }
}

#[test]
fn what_need_not_be_understood_is_left_out_and_the_call_has_no_offer() {
    let mut world = World::new();
    let invite = carrying("1", "text/plain", "hello\n")
        .replace("Content-Type", "Content-Disposition: render;handling=optional\nContent-Type");
    world.receive(CALLER, &invite);
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert!(out.body().is_empty() && !out.has("Content-Type"), "{}", out.text);
}

#[test]
fn a_description_is_one_however_its_type_is_written_and_is_none_when_it_is_for_something_else() {
    for (n, kind) in
        ["application / sdp", "Application/SDP ;charset=utf-8", "application\t/sdp"].iter().enumerate()
    {
        let mut world = World::new();
        world.receive(CALLER, &carrying(&n.to_string(), kind, OFFER));
        world.expect(CALLER, "SIP/2.0 100");
        assert!(world.expect(CALLEE, "INVITE").body().contains("m=audio"), "{kind}");
    }
    let mut world = passing();
    let of = |branch: &str, disposition: &str| {
        let header = format!("Content-Disposition: {disposition}\nContent-Type");
        carrying(branch, "application/sdp", OFFER).replacen("Content-Type", &header, 1)
    };
    for disposition in ["early-session", "foo;handling=required"] {
        world.receive(CALLER, &of("1", disposition));
        world.expect(CALLER, "SIP/2.0 415");
        world.expect_silence();
    }
    world.receive(CALLER, &of("2", "early-session;handling=optional"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert!(out.body().is_empty(), "no relay stands before its addresses: {}", out.text);
    let mut world = World::new();
    world.receive(CALLER, &of("3", "session;handling=required"));
    world.expect(CALLER, "SIP/2.0 100");
    assert!(world.expect(CALLEE, "INVITE").body().contains("m=audio"));
}

#[test]
fn of_several_forms_of_one_thing_the_description_is_taken() {
    let text = "--part\nContent-Type: text/plain\n\ncall me\n";
    let body = format!("{text}{}--part--\n", sdp_part(OFFER));
    let mut world = World::new();
    world.receive(CALLER, &carrying("1", "multipart / alternative ; boundary = \"part\"", &body));
    world.expect(CALLER, "SIP/2.0 100");
    assert!(world.expect(CALLEE, "INVITE").body().contains("m=audio"));
    world
        .receive(CALLER, &carrying("2", "multipart/alternative;boundary=part", &format!("{text}--part--\n")));
    world.expect(CALLER, "SIP/2.0 415");
}

#[test]
fn compressed_and_broken_bodies_are_refused_whatever_the_trunk_passes() {
    for mut world in [World::new(), passing()] {
        let gzip = carrying("1", "application/sdp", OFFER).replace("X-Trace", "e: gzip\nX-Trace");
        world.receive(CALLER, &gzip);
        assert_eq!(world.expect(CALLER, "SIP/2.0 415").header("Accept-Encoding"), "identity");
        world.receive(CALLER, &carrying("2", MIXED, &sdp_part(OFFER)));
        world.expect(CALLER, "SIP/2.0 400 Bad Multipart Body");
        let two = format!("{0}{0}--part--\n", sdp_part(OFFER));
        world.receive(CALLER, &carrying("3", MIXED, &two));
        world.expect(CALLER, "SIP/2.0 415");
        let none = carrying("4", "application/sdp", OFFER).replace("X-Trace", "Accept: text/html\nX-Trace");
        world.receive(CALLER, &none);
        world.expect(CALLER, "SIP/2.0 406");
        for taken in ["application/sdp", "text/html, */*;q=0.1", "application/*"] {
            let number = taken.len();
            let some = carrying(&format!("a{number}"), "application/sdp", OFFER);
            world.receive(CALLER, &some.replace("X-Trace", &format!("Accept: {taken}\nX-Trace")));
            world.expect(CALLER, "SIP/2.0 100");
            world.expect(CALLEE, "INVITE");
        }
    }
}

#[test]
fn a_description_among_the_parts_of_a_message_goes_nowhere() {
    let mut world = passing();
    let message =
        carrying("1", MIXED, &format!("{}--part--\n", sdp_part(OFFER))).replace("INVITE", "MESSAGE");
    world.receive(CALLER, &message);
    world.expect(CALLER, "SIP/2.0 415");
    world.expect_silence();
}

#[test]
fn a_body_without_a_description_crosses_in_responses_where_the_trunk_passes_bodies() {
    for (mut world, passes) in [(passing(), true), (World::new(), false)] {
        world.receive(CALLER, &invite("1", Some(OFFER)));
        world.expect(CALLER, "SIP/2.0 100");
        let out = world.expect(CALLEE, "INVITE");
        let with_isup = |line: &str| {
            response(&out, line, "b1", Some("abcdef"))
                .replace("application/sdp", "application/isup;version=itu")
        };
        for (line, status) in [("183 Progress", "183"), ("486 Busy Here", "486")] {
            world.receive(CALLEE, &with_isup(line));
            if status == "486" {
                world.expect(CALLEE, "ACK");
            }
            let told = world.expect(CALLER, &format!("SIP/2.0 {status}"));
            let body = if passes { "abcdef" } else { "" };
            assert_eq!(told.body(), body, "{}", told.text);
            assert_eq!(told.has("Content-Type"), passes);
            world.sent.clear();
        }
    }
}

#[test]
fn a_description_within_parts_of_parts_is_found_and_rewritten_in_its_place() {
    let inner = format!(
        "--part\nContent-Type: multipart/related;boundary=\"deep\"\n\n--deep\nContent-Type: text/xml\n\n<a/>\n\
         --deep\nContent-Type: application/sdp\n\n{OFFER}--deep--\n"
    );
    let mut world = passing();
    world.receive(CALLER, &carrying("1", MIXED, &format!("{ISUP}{inner}--part--\n")));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert!(out.body().contains("abcdef") && out.body().contains("<a/>"), "{}", out.text);
    assert!(out.body().contains("c=IN IP4 192.0.2.1") && !out.text.contains("10.1.1.1"), "{}", out.text);
    assert!(out.body().ends_with("--deep--\r\n--part--\r\n"), "{}", out.text);
    let mut world = World::new();
    let optional = inner.replace("text/xml\n", "text/xml\nContent-Disposition: x;handling=optional\n");
    world.receive(CALLER, &carrying("1", MIXED, &format!("{optional}--part--\n")));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert_eq!(out.header("Content-Type"), "application/sdp");
}

#[test]
fn a_description_too_deep_to_be_found_crosses_nowhere() {
    let nest = |depth: usize| {
        (0..depth).fold(("application/sdp".to_owned(), OFFER.to_owned()), |(kind, body), level| {
            let part = format!("--p{level}\nContent-Type: {kind}\n\n{body}--p{level}--\n");
            (format!("multipart/mixed;boundary=p{level}"), part)
        })
    };
    for depth in [2, 4, 6, 12] {
        let mut world = passing();
        let (kind, body) = nest(depth);
        world.receive(CALLER, &carrying("1", &kind, &body).replace("INVITE", "MESSAGE"));
        world.expect(CALLER, "SIP/2.0 415");
        world.receive(CALLER, &carrying("2", &kind, &body));
        let out: String = world
            .sent
            .iter()
            .filter(|sent| sent.to == CALLEE.parse().unwrap())
            .map(|sent| &*sent.text)
            .collect();
        assert!(!out.contains("10.1.1.1"), "{depth}: {out}");
        assert_eq!(out.contains("c=IN IP4 192.0.2.1"), depth <= 4, "{depth}: {out}");
    }
}

#[test]
fn a_description_that_is_encoded_and_need_not_be_read_is_left_out() {
    let encoded = |about: &str| {
        carrying("1", "application/sdp", "gibberish")
            .replace("X-Trace", &format!("Content-Encoding: gzip\n{about}X-Trace"))
    };
    let mut world = World::new();
    world.receive(CALLER, &encoded(""));
    let refusal = world.expect(CALLER, "SIP/2.0 415");
    assert_eq!(refusal.header("Accept-Encoding"), "identity");
    world.receive(CALLER, &ack_failure("1", &refusal).replace("call-a@", "call-1@"));
    let mut world = World::new();
    world.receive(CALLER, &encoded("Content-Disposition: session;handling=optional\n"));
    world.expect(CALLER, "SIP/2.0 100");
    let out = world.expect(CALLEE, "INVITE");
    assert!(out.body().is_empty() && !out.text.contains("gzip"), "{}", out.text);
}

#[test]
fn options_are_refused_for_a_body_as_an_invite_would_be() {
    let mut world = World::new();
    let options = |about: &str| {
        let text = carrying("1", "application/x-unknown", "body");
        let text = text.replace("INVITE sip:4912345@", "OPTIONS sip:").replace("INVITE", "OPTIONS");
        text.replace("X-Trace", &format!("{about}X-Trace"))
    };
    world.receive(CALLER, &options(""));
    assert_eq!(world.expect(CALLER, "SIP/2.0 415").header("Accept"), "application/sdp, multipart/mixed");
    world.receive(CALLER, &options("Content-Encoding: gzip\n").replace("1 OPTIONS", "2 OPTIONS"));
    assert_eq!(world.expect(CALLER, "SIP/2.0 415").header("Accept-Encoding"), "identity");
    world.receive(
        CALLER,
        &options("Content-Disposition: render;handling=optional\n").replace("1 OPTIONS", "3 OPTIONS"),
    );
    let able = world.expect(CALLER, "SIP/2.0 200");
    assert_eq!((able.header("Accept-Encoding"), able.header("Accept-Language")), ("identity", "en"));
}
