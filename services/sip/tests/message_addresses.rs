//! URIs, addresses, Via and the smaller values, in the spellings that other readers got wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;

use sip::{
    Address, CSeq, Method, RAck, Reason, Refresher, Replaces, Scheme, SessionExpires, Transport, Uri, Via,
};

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_sip_uri_is_taken_apart() {
    let uri =
        uri("sips:john.doe:pw@Example.com:5071;transport=TCP;lr;maddr=[::1];x=y?Replaces=a%40b&Subject=hi");
    assert_eq!(uri.scheme, Scheme::Sips);
    assert_eq!((uri.user, uri.password), (Some(&b"john.doe"[..]), Some(&b"pw"[..])));
    assert_eq!((uri.host, uri.port), (&b"Example.com"[..], Some(5071)));
    assert_eq!(uri.transport(), Some(Transport::Tcp));
    assert!(uri.is_lr());
    assert_eq!(uri.params.value("maddr"), Some(&b"[::1]"[..]));
    assert_eq!(uri.params.value("X"), Some(&b"y"[..]));
    assert_eq!(text(uri.headers), "Replaces=a%40b&Subject=hi");
}

#[test]
fn uris_that_others_read_wrongly_are_read_rightly() {
    let dotted = uri("sip:john.doe@example.com");
    assert_eq!((dotted.user, dotted.host), (Some(&b"john.doe"[..]), &b"example.com"[..]));
    let emergency = uri("tel:911");
    assert_eq!((emergency.scheme, emergency.user, emergency.port), (Scheme::Tel, Some(&b"911"[..]), None));
    assert!(emergency.host.is_empty());
    let replaces = uri("sip:bob@example.com?Replaces=x%3Bto-tag%3D1");
    assert_eq!((replaces.host, replaces.headers), (&b"example.com"[..], &b"Replaces=x%3Bto-tag%3D1"[..]));
    let path = uri("sip:10.0.0.2;fs_path=sip:10.0.0.1:5060;ob");
    assert_eq!(path.host, b"10.0.0.2");
    assert_eq!(path.params.value("fs_path"), Some(&b"sip:10.0.0.1:5060"[..]));
    assert!(path.params.has("ob"));
    let in_user = uri("sip:user;par=u%40example.net@example.com");
    assert_eq!((in_user.user, in_user.host), (Some(&b"user;par=u%40example.net"[..]), &b"example.com"[..]));
    let odd = uri("sip:1_odd.URI~(be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d@example.com");
    assert_eq!(odd.user, Some(&b"1_odd.URI~(be!sure)&isn't+it$/crazy?,/;;*"[..]));
    assert_eq!(odd.host, b"example.com");
    let tel = uri("tel:+1-201-555-0123;phone-context=example.com");
    assert_eq!(tel.user, Some(&b"+1-201-555-0123"[..]));
    assert_eq!(tel.params.value("phone-context"), Some(&b"example.com"[..]));
    assert_eq!(uri("urn:service:sos").scheme, Scheme::Other);
    assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme, Scheme::Other);
    assert_eq!(
        uri("sip:sip%3Auser%40example.com@example.com").unescaped_user(),
        &b"sip:user@example.com"[..]
    );
    assert_eq!(uri("sip:null-%00-null@example.com").unescaped_user(), &b"null-\0-null"[..]);
}

#[test]
fn ipv6_hosts_have_brackets_and_are_checked() {
    let with_port = uri("sip:[2001:db8::10]:5070;maddr=[2001:db8::1]");
    assert_eq!((with_port.host, with_port.port), (&b"[2001:db8::10]"[..], Some(5070)));
    assert_eq!(with_port.host_ip(), Some("2001:db8::10".parse().unwrap()));
    // Where the port is meant but stands inside, it is a part of the address (RFC 5118 §4.2).
    let ambiguous = uri("sip:[2001:db8::10:5070]");
    assert_eq!((ambiguous.host_ip(), ambiguous.port), (Some("2001:db8::10:5070".parse().unwrap()), None));
    assert_eq!(uri("sip:a@[::ffff:192.0.2.10]:5060").host_ip(), Some("::ffff:192.0.2.10".parse().unwrap()));
    // A colon too many, which the grammar of RFC 3261 allows in this place alone (RFC 5118 §4.10).
    let three = uri("sip:a@[2001:db8:::192.0.2.1]");
    assert_eq!(three.host_ip(), Some("2001:db8::192.0.2.1".parse().unwrap()));
    for wrong in [
        "sip:2001:db8::10",
        "sip:a@2001:db8::1",
        "sip:a@[2001:db8:::1]",
        "sip:a@[2001:db8::::192.0.2.1]",
        "sip:a@[2001::db8:::192.0.2.1]",
        "sip:a@[1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:a:b:c:d:e:f:::192.0.2.1]",
        "sip:[::1",
        "sip:[::1]x",
        "sip:[1.2.3.4]",
        "sip:[]",
        "sip:a@[fe80::1%25eth0]",
    ] {
        assert!(Uri::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_no_uri_is_refused() {
    for wrong in [
        "",
        "*",
        "sip",
        "sip:",
        ":a@b",
        "sip:a@",
        "sip:a@;x",
        "sip:a@b:",
        "sip:a@b:65536",
        "sip:a@b:5060x",
        "sip:a@b@c",
        "sip:a b@c",
        "sip:a@b;x=\"1\"",
        "<sip:a@b>",
        "sip:a@b\r\nX: y",
        "s p:a@b",
        "1sip:a@b",
        "tel:",
        "tel:+",
        "tel:--",
        "tel:jane",
        "sip:a@b c",
    ] {
        assert!(Uri::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
}

#[test]
fn uris_are_equivalent_as_rfc_3261_19_1_4_says() {
    for (one, two) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0:0::1]"),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("urn:service:sos", "urn:service:sos"),
    ] {
        assert!(uri(one).equivalent(&uri(two)), "{one} {two}");
        assert!(uri(two).equivalent(&uri(one)), "{two} {one}");
    }
    for (one, two) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a%3Bb@h", "sip:a;b@h"),
        ("sip:a@h", "sips:a@h"),
        ("sip:a:x@h", "sip:a@h"),
        ("tel:+12015550123", "tel:+12015550124"),
        ("tel:123;phone-context=a.com", "tel:123"),
        ("sip:h?a=1&a=1&b=2", "sip:h?a=1&b=2&b=2"),
    ] {
        assert!(!uri(one).equivalent(&uri(two)), "{one} {two}");
        assert!(!uri(two).equivalent(&uri(one)), "{two} {one}");
    }
}

fn address(text: &str) -> Address<'_> {
    Address::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

#[test]
fn addresses_are_read_with_and_without_brackets() {
    let quoted = address("\"A. <x>; \\\"B\\\"\" <sip:a@h;lr?x=1> ;tag=1;expires=\"60\"");
    assert_eq!(text(quoted.display), "\"A. <x>; \\\"B\\\"\"");
    assert_eq!(text(quoted.uri), "sip:a@h;lr?x=1");
    assert_eq!(quoted.tag(), Some(&b"1"[..]));
    assert_eq!(quoted.params.value("expires"), Some(&b"\"60\""[..]));
    let tokens = address("Bob van Dijk<sip:bob@h>;tag=a");
    assert_eq!((tokens.display, tokens.uri), (&b"Bob van Dijk"[..], &b"sip:bob@h"[..]));
    let utf_8 = address("Zo\u{eb} <sip:z@h>");
    assert_eq!(utf_8.display, "Zo\u{eb}".as_bytes());
    // Without brackets the parameters are the header's (RFC 3261 §20.10).
    let bare = address("sip:a@h;transport=tcp;tag=x");
    assert_eq!((bare.uri, bare.params.value("transport")), (&b"sip:a@h"[..], Some(&b"tcp"[..])));
    assert_eq!(bare.parsed_uri().unwrap().transport(), None);
    assert_eq!(address("*").uri, b"*");
    assert_eq!(address("<sip:a@h>").tag(), None);
    assert_eq!(address("<sip:a@h> ;tag=1").tag(), Some(&b"1"[..]));
    assert_eq!(address("sip:a@h;x=\"<;>\";tag=2").tag(), Some(&b"2"[..]));
    assert_eq!(address("<sip:a@h>;tag=1;").tag(), Some(&b"1"[..]));
}

#[test]
fn instance_and_other_quoted_parameters_are_whole() {
    let contact = address("<sip:a@192.0.2.1>;+sip.instance=\"<urn:uuid:0000;1,2>\";reg-id=1;x=a=b=");
    assert_eq!(contact.params.value("+SIP.instance").map(sip::unquote), Some(&b"<urn:uuid:0000;1,2>"[..]));
    assert_eq!(contact.params.value("reg-id"), Some(&b"1"[..]));
    assert_eq!(contact.params.value("x"), Some(&b"a=b="[..]));
    assert_eq!(contact.params.iter().count(), 3);
    assert_eq!(contact.params.find(b"none"), None);
}

#[test]
fn addresses_that_could_be_read_two_ways_are_refused() {
    for wrong in [
        "",
        "\"open <sip:a@h>",
        "Bell, A <sip:a@h>",
        "\"W\" < sip:a@h >",
        "<sip:a@h",
        "<>",
        "\"x\" sip:a@h",
        "sip:a@h?Route=%3Csip:b%3E",
        "sip:a@h,sip:b@h",
        "<sip:a@h> x",
        "<sip:a@h>tag=1",
        "<sip:a@h>;;;;",
        "<sip:a@h>;tag=1;tag=2",
        "<sip:a@h>;x=\"open",
        "<sip:a@h>;tag=1, <sip:b@h>",
        "a@b <",
        "sip:a@h b",
        "<sip:a@h>;x y=1",
        "\"a\" \"b\" <sip:a@h>",
        "<sip:a@h>;=x",
    ] {
        assert!(Address::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
}

fn via(text: &str) -> Via<'_> {
    Via::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

#[test]
fn via_is_taken_apart_in_all_its_spellings() {
    let spaced = via("SIP/2.0/UDP 10.0.0.1:5060 ;branch=z9hG4bK1");
    assert_eq!((spaced.host, spaced.port), (&b"10.0.0.1"[..], Some(5060)));
    assert_eq!(spaced.branch(), Some(&b"z9hG4bK1"[..]));
    assert!(spaced.has_magic_cookie());
    assert_eq!(via("SIP/2.0/UDP h;branch=z9hG4bK=a=b==").branch(), Some(&b"z9hG4bK=a=b=="[..]));
    let v6 = via("SIP/2.0/TLS [2001:db8::9:1]:5061;received=[2001:db8::9:255];rport=7;maddr=[::1]");
    assert_eq!((v6.transport, v6.host, v6.port), (Some(Transport::Tls), &b"[2001:db8::9:1]"[..], Some(5061)));
    assert_eq!(v6.received(), Some(&b"2001:db8::9:255"[..]));
    assert_eq!(via("SIP/2.0/UDP h;received=2001:db8::9:255").received(), Some(&b"2001:db8::9:255"[..]));
    assert_eq!((v6.rport(), v6.maddr()), (Some(Some(7)), Some(&b"[::1]"[..])));
    let other = via("SIP/2.0/TLS-SCTP h;branch=390");
    assert_eq!((other.transport, other.transport_text), (None, &b"TLS-SCTP"[..]));
    assert!(!other.has_magic_cookie());
    assert_eq!(via("sip/2.0/udp h").branch(), None);
    assert_eq!(via("SIP/2.0/WSS x.invalid;rport").rport(), Some(None));
    assert_eq!(via("SIP/2.0/TLS h").sent_by_port_or_default(), 5061);
    assert_eq!(via("SIP/2.0/UDP h:5070").sent_by_port_or_default(), 5070);
}

#[test]
fn a_via_that_routes_nowhere_is_refused() {
    for wrong in [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0 h",
        "SIP/3.0/UDP h",
        "HTTP/2.0/UDP h",
        "SIP/2.0/UDP ;branch=1",
        "SIP/2.0/UDP h:x",
        "SIP/2.0/UDP h:70000",
        "SIP/2.0/UDP 2001:db8::1",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP h;;;",
        "SIP/2.0/UDP h;branch=1;branch=2",
        "SIP/2.0/UDP h;branch=1, SIP/2.0/UDP i",
        "SIP/2.0/U DP h",
        "SIP/2.0/UDP h/x",
    ] {
        assert!(Via::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
}

#[test]
fn responses_go_where_rfc_3261_18_2_2_and_rfc_3581_say() {
    let source: SocketAddr = "203.0.113.9:31000".parse().unwrap();
    for (text, target) in [
        ("SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1", "203.0.113.9:5070"),
        ("SIP/2.0/UDP phone.example.com", "203.0.113.9:5060"),
        ("SIP/2.0/UDP 192.0.2.1:5070;rport", "203.0.113.9:31000"),
        ("SIP/2.0/UDP 192.0.2.1:5070;rport=1;received=198.51.100.1", "203.0.113.9:31000"),
        ("SIP/2.0/UDP 192.0.2.1;maddr=224.2.0.1;ttl=1", "224.2.0.1:5060"),
        ("SIP/2.0/UDP 192.0.2.1:5070;maddr=[2001:db8::7]", "[2001:db8::7]:5070"),
        ("SIP/2.0/UDP 192.0.2.1:5070;maddr=a.name", "203.0.113.9:5070"),
        ("SIP/2.0/TCP 192.0.2.1:5070;maddr=198.51.100.1", "203.0.113.9:31000"),
        ("SIP/2.0/WSS x.invalid", "203.0.113.9:31000"),
    ] {
        assert_eq!(via(text).response_target(source), target.parse().unwrap(), "{text}");
    }
}

#[test]
fn the_smaller_values_are_read() {
    let cseq = CSeq::parse(b" 2147483647 \r\n INVITE ").unwrap();
    assert_eq!((cseq.number, cseq.method), (2_147_483_647, Method::Invite));
    for wrong in [
        "2147483648 INVITE",
        "9292394834772304023312 OPTIONS",
        "-1 ACK",
        "1",
        "INVITE",
        "1 IN VITE",
        "1INVITE",
        "",
    ] {
        assert!(CSeq::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let rack = RAck::parse(b"776656 1 INVITE").unwrap();
    assert_eq!((rack.response, rack.cseq.number, rack.cseq.method), (776_656, 1, Method::Invite));
    assert!(RAck::parse(b"776656 INVITE").is_err());
    let timer = SessionExpires::parse(b"1800 ;refresher=UAS;x").unwrap();
    assert_eq!((timer.seconds, timer.refresher), (1800, Some(Refresher::Uas)));
    assert_eq!(SessionExpires::parse(b"90").unwrap().refresher, None);
    assert!(SessionExpires::parse(b"90;refresher=me").is_err());
    assert!(SessionExpires::parse(b"4294967296").is_err());
    let reason = Reason::parse(b"Q.850 ;cause=16 ;text=\"Normal; \\\"clearing\\\"\"").unwrap();
    assert_eq!((reason.protocol, reason.cause), (&b"Q.850"[..], Some(16)));
    assert_eq!(reason.text, Some(&b"Normal; \\\"clearing\\\""[..]));
    assert!(Reason::parse(b"SIP;cause=busy").is_err());
    let replaces = Replaces::parse(b"98732@sip.example.com;from-tag=r33;to-tag=ff87;early-only").unwrap();
    assert_eq!(
        (replaces.call_id, replaces.to_tag, replaces.from_tag),
        (&b"98732@sip.example.com"[..], &b"ff87"[..], &b"r33"[..])
    );
    assert!(replaces.early_only);
    assert!(Replaces::parse(b"98732;from-tag=r33").is_err());
}
