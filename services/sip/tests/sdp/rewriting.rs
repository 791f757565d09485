use sip::{Edit, StreamPorts};

use super::{crlf, edit, rewrite};

const ORIGIN: &str = "o=drawbridge 77 3 IN IP4 203.0.113.9";
const CONNECTION: &str = "c=IN IP4 203.0.113.9";

#[test]
fn only_addresses_and_ports_change() {
    let before = crlf(&[
        "v=0",
        "o=alice 5 9 IN IP4 192.0.2.10",
        "s=a call  ",
        "c=IN IP4 192.0.2.10",
        "b=AS:128",
        "t=0 0",
        "a=x-vendor: keep : this ",
        "m=audio 6000 RTP/AVP 8 96",
        "b=TIAS:64000",
        "a=rtpmap:96 telephone-event/8000",
        "a=fmtp:96 0-15",
        "y=unknown",
        "a=sendonly",
        "m=video 6002 RTP/SAVP 97",
        "c=IN IP4 192.0.2.11",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc",
        "a=rtcp:6010 IN IP4 192.0.2.11",
    ]);
    let after = crlf(&[
        "v=0",
        ORIGIN,
        "s=a call  ",
        CONNECTION,
        "b=AS:128",
        "t=0 0",
        "a=x-vendor: keep : this ",
        "m=audio 20000 RTP/AVP 8 96",
        "b=TIAS:64000",
        "a=rtpmap:96 telephone-event/8000",
        "a=fmtp:96 0-15",
        "y=unknown",
        "a=sendonly",
        "m=video 20002 RTP/SAVP 97",
        CONNECTION,
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc",
        "a=rtcp:20003 IN IP4 203.0.113.9",
    ]);
    assert_eq!(rewrite(&before, &edit()), after);
}

#[test]
fn a_rewritten_description_rewritten_again_is_the_same() {
    let once = rewrite("v=0\nm=audio 6000/2  RTP/AVP 0\na=rtcp:9\nm=image 6002 udptl t38", &edit());
    assert_eq!(rewrite(&once, &edit()), once);
}

#[test]
fn ice_and_rtcp_mux_end_at_the_relay() {
    let before = crlf(&[
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.10",
        "a=ice-lite",
        "a=ice-options:trickle",
        "m=audio 6000 RTP/AVP 0",
        "c=IN IP4 192.0.2.10",
        "a=candidate:1 1 udp 2122260223 10.0.0.5 46243 typ host",
        "a=remote-candidates:1 10.0.0.6 5000",
        "a=end-of-candidates",
        "a=alt:1 2 : GQ59frJT GVslSfEi 172.16.4.238 56352",
        "a=altc:1 IP6 2001:db8::5 45678",
        "a=ccap:1 IN IP4 10.0.0.5",
        "a=source-filter: incl IN IP4 * 10.0.0.5",
        "a=ice-ufrag:F7gI",
        "a=ice-pwd:x9cml",
        "a=rtcp-mux",
        "a=rtcp-mux-only",
        "a=rtcp-rsize",
        "a=iceland:stays",
        "a=candidates:stays",
    ]);
    let after = crlf(&[
        "v=0",
        ORIGIN,
        "m=audio 20000 RTP/AVP 0",
        CONNECTION,
        "a=rtcp-rsize",
        "a=iceland:stays",
        "a=candidates:stays",
    ]);
    assert_eq!(rewrite(&before, &edit()), after);
}

#[test]
fn rejected_streams_stay_rejected_and_streams_without_ports_become_so() {
    let before = crlf(&[
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.10",
        "c=IN IP4 192.0.2.10",
        "m=audio 0 RTP/AVP 0",
        "a=rtcp:5 IN IP4 192.0.2.10",
        "m=audio 6000 RTP/AVP 0",
        "m=video 6002/2 RTP/AVP 31",
        "m=text 6004 RTP/AVP 98",
    ]);
    let ports = [
        StreamPorts { rtp: 20_000, rtcp: 20_001 },
        StreamPorts { rtp: 20_002, rtcp: 20_003 },
        StreamPorts { rtp: 0, rtcp: 0 },
    ];
    let after = crlf(&[
        "v=0",
        ORIGIN,
        CONNECTION,
        "m=audio 0 RTP/AVP 0",
        "m=audio 20002 RTP/AVP 0",
        "m=video 0 RTP/AVP 31",
        "m=text 0 RTP/AVP 98",
    ]);
    assert_eq!(rewrite(&before, &Edit { streams: &ports, ..edit() }), after);
}

#[test]
fn an_address_that_means_hold_keeps_meaning_it() {
    let body = |connection: &str| crlf(&["v=0", ORIGIN, connection, "m=audio 20000 RTP/AVP 0", "a=inactive"]);
    let v6 = Edit { address: "2001:db8::9".parse().unwrap(), ..edit() };
    for (came, leaves) in [
        ("c=IN IP4 0.0.0.0 ", "c=IN IP4 0.0.0.0 "),
        ("c=IN IP4 anonymous.invalid", "c=IN IP4 anonymous.invalid"),
        ("c=IN IP6 ::", "c=IN IP4 0.0.0.0"),
        ("c=IN IP4 192.0.2.10", CONNECTION),
    ] {
        assert_eq!(rewrite(&body(came), &edit()), body(leaves));
    }
    let six = rewrite(&body("c=IN IP4 0.0.0.0"), &v6);
    assert!(six.contains("\r\nc=IN IP6 ::\r\n"), "{six}");
    assert!(six.contains("\r\no=drawbridge 77 3 IN IP6 2001:db8::9\r\n"), "{six}");
}

#[test]
fn a_stream_without_any_address_gets_the_relays() {
    let before = crlf(&[
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.10",
        "m=audio 6000 RTP/AVP 0",
        "i=main",
        "a=sendrecv",
        "m=audio 0 RTP/AVP 0",
        "m=audio 6002 RTP/AVP 0",
        "c=IN IP4 192.0.2.10",
    ]);
    let after = crlf(&[
        "v=0",
        ORIGIN,
        "m=audio 20000 RTP/AVP 0",
        "i=main",
        CONNECTION,
        "a=sendrecv",
        "m=audio 0 RTP/AVP 0",
        "m=audio 20004 RTP/AVP 0",
        CONNECTION,
    ]);
    assert_eq!(rewrite(&before, &edit()), after);
}

#[test]
fn a_missing_origin_is_written() {
    assert_eq!(
        rewrite("v=0\ns=-\nc=IN IP4 192.0.2.1\nm=audio 6000 RTP/AVP 0\n", &edit()),
        format!("v=0\n{ORIGIN}\ns=-\n{CONNECTION}\nm=audio 20000 RTP/AVP 0\n"),
    );
}

#[test]
fn line_ends_stay_as_they_came() {
    let before =
        "v=0\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\rc=IN IP4 192.0.2.10\nm=audio 6000 RTP/AVP 0\r\n\r\na=x";
    let after = format!("v=0\n{ORIGIN}\r\ns=-\r{CONNECTION}\nm=audio 20000 RTP/AVP 0\r\n\r\na=x");
    assert_eq!(rewrite(before, &edit()), after);
}

#[test]
fn a_lone_cr_cannot_carry_an_address_past_the_relay() {
    let before = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=x\rc=IN IP4 192.0.2.10\r\nm=audio 6000 RTP/AVP 0\r\n";
    assert!(!rewrite(before, &edit()).contains("192.0.2.10"));
}

#[test]
fn lines_inserted_behind_an_unfinished_last_line_leave_the_last_line_unfinished() {
    let apart = [StreamPorts { rtp: 20_000, rtcp: 30_001 }];
    assert_eq!(
        rewrite("v=0\no=-\nm=audio 6000 RTP/AVP 0", &Edit { streams: &apart, ..edit() }),
        format!("v=0\n{ORIGIN}\nm=audio 20000 RTP/AVP 0\n{CONNECTION}\na=rtcp:30001"),
    );
}

#[test]
fn rtcp_is_named_where_it_is_not_the_port_above_and_named_once() {
    let apart = [StreamPorts { rtp: 20_000, rtcp: 30_001 }];
    let edit = Edit { streams: &apart, ..edit() };
    let head = ["v=0", ORIGIN, CONNECTION];
    let before = crlf(&[&head[..], &["m=audio 6000 RTP/AVP 0", "a=ptime:20"]].concat());
    let after = crlf(&[&head[..], &["m=audio 20000 RTP/AVP 0", "a=ptime:20", "a=rtcp:30001"]].concat());
    assert_eq!(rewrite(&before, &edit), after);
    let before =
        crlf(&[&head[..], &["m=audio 6000 RTP/AVP 0", "a=rtcp:7", "a=rtcp:8 IN IP4 192.0.2.1"]].concat());
    let after = crlf(&[&head[..], &["m=audio 20000 RTP/AVP 0", "a=rtcp:30001"]].concat());
    assert_eq!(rewrite(&before, &edit), after);
}

#[test]
fn fax_takes_over_from_rejected_audio() {
    let before = crlf(&[
        "v=0",
        "o=gw 9 2 IN IP4 192.0.2.10",
        "s=fax",
        "c=IN IP4 192.0.2.10",
        "t=0 0",
        "m=audio 0 RTP/AVP 0",
        "m=image 7002 udptl t38",
        "a=T38FaxVersion:0",
        "a=T38FaxUdpEC:t38UDPRedundancy",
    ]);
    let after = crlf(&[
        "v=0",
        ORIGIN,
        "s=fax",
        CONNECTION,
        "t=0 0",
        "m=audio 0 RTP/AVP 0",
        "m=image 20002 udptl t38",
        "a=T38FaxVersion:0",
        "a=T38FaxUdpEC:t38UDPRedundancy",
    ]);
    assert_eq!(rewrite(&before, &edit()), after);
}

#[test]
fn bytes_that_are_no_text_pass() {
    let before =
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=Conf\xe9rence\x00\r\nc=IN IP4 192.0.2.1\r\na=\xff\xfe\r\n";
    let after = super::parse(before).rewrite(&edit());
    let title = b"\r\ns=Conf\xe9rence\x00\r\n";
    assert!(after.windows(title.len()).any(|window| window == title));
    assert!(after.ends_with(b"\r\na=\xff\xfe\r\n"));
}
