use std::net::SocketAddr;

use sip::{Direction, Host, MAX_STREAMS, Sdp, SdpError};

use super::{crlf, parse};

const HEAD: [&str; 5] = ["v=0", "o=alice 5 9 IN IP4 192.0.2.10", "s=call", "c=IN IP4 192.0.2.10", "t=0 0"];

fn with_head(lines: &[&str]) -> String {
    crlf(&[&HEAD[..], lines].concat())
}

fn socket(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

fn refusal(text: &str) -> SdpError {
    match Sdp::parse(text.as_bytes()) {
        Ok(_) => panic!("understood: {text:?}"),
        Err(error) => error,
    }
}

#[test]
fn a_call_with_audio_and_video_tells_where_each_goes() {
    let text = with_head(&[
        "m=audio 6000 RTP/AVP 8 96",
        "a=rtpmap:96 telephone-event/8000",
        "a=sendonly",
        "m=video 6002 RTP/AVP 97",
        "c=IN IP6 2001:db8::5",
        "a=rtpmap:97 VP8/90000",
        "a=rtcp:6010",
        "a=rtcp-mux",
    ]);
    let sdp = parse(text.as_bytes());
    let [audio, video] = sdp.streams() else { panic!("two streams") };

    assert_eq!((audio.kind, audio.proto, audio.formats), (&b"audio"[..], &b"RTP/AVP"[..], &b"8 96"[..]));
    assert_eq!(audio.rtp(), socket("192.0.2.10:6000"));
    assert_eq!(audio.rtcp(), socket("192.0.2.10:6001"));
    assert_eq!(audio.direction(), Direction::SendOnly);
    assert_eq!(audio.codec(), Some(&b"PCMA"[..]));
    assert!(!audio.rtcp_mux());

    assert_eq!(video.rtp(), socket("[2001:db8::5]:6002"));
    assert_eq!(video.rtcp(), socket("[2001:db8::5]:6010"));
    assert_eq!(video.direction(), Direction::SendRecv);
    assert_eq!(video.codec(), Some(&b"VP8"[..]));
    assert!(video.rtcp_mux());
}

#[test]
fn the_origin_is_read_from_its_end_because_users_have_spaces_in_their_names() {
    let text = "v=0\r\no=Alice Jones 5b2f 99999999999999999999 IN IP4 host.example\r\n";
    let origin = parse(text.as_bytes()).origin().unwrap();
    assert_eq!(origin.username, b"Alice Jones");
    assert_eq!(origin.session_id, b"5b2f");
    assert_eq!(origin.version, b"99999999999999999999");
    assert_eq!(origin.address, b"host.example");
    assert_eq!(parse(b"v=0\r\no=incomplete 1 IN IP4 a\r\n").origin(), None);
}

#[test]
fn the_session_level_speaks_for_streams_that_do_not() {
    let text = crlf(&[
        "v=0",
        "a=inactive",
        "c=IN IP4 192.0.2.10",
        "m=audio 6000 RTP/AVP 0",
        "m=audio 6002 RTP/AVP 0",
        "a=recvonly ",
    ]);
    let sdp = parse(text.as_bytes());
    assert_eq!(sdp.session_direction(), Some(Direction::Inactive));
    assert_eq!(sdp.session_connection(), Some(Host::Ip("192.0.2.10".parse().unwrap())));
    assert_eq!(sdp.streams()[0].direction(), Direction::Inactive);
    assert_eq!(sdp.streams()[1].direction(), Direction::RecvOnly);
    assert_eq!(sdp.streams()[1].rtp(), socket("192.0.2.10:6002"));
}

#[test]
fn every_form_of_hold_is_seen() {
    let held = |address: &str| {
        let connection = format!("c=IN IP4 {address}");
        let text = crlf(&["v=0", &connection, "m=audio 6000 RTP/AVP 0"]);
        parse(text.as_bytes()).streams()[0].is_held_address()
    };
    assert!(held("0.0.0.0"));
    assert!(held("::"));
    assert!(held("anonymous.INVALID"));
    assert!(!held("192.0.2.1"));
    assert!(!held("valid.example"));
    for (line, sends, receives) in [
        ("a=sendrecv", true, true),
        ("a=sendonly", true, false),
        ("a=recvonly", false, true),
        ("a=inactive", false, false),
    ] {
        let text = with_head(&["m=audio 6000 RTP/AVP 0", line]);
        let direction = parse(text.as_bytes()).streams()[0].direction();
        assert_eq!((direction.sends(), direction.receives()), (sends, receives), "{line}");
    }
}

#[test]
fn a_rejected_stream_goes_nowhere_and_keeps_its_place() {
    let text = with_head(&["m=audio 0 RTP/AVP 0", "m=image 7000 udptl t38"]);
    let sdp = parse(text.as_bytes());
    assert!(sdp.streams()[0].is_rejected());
    assert_eq!((sdp.streams()[0].rtp(), sdp.streams()[0].rtcp()), (None, None));
    assert_eq!(sdp.streams()[1].rtp(), socket("192.0.2.10:7000"));
    assert_eq!(sdp.streams()[1].codec(), Some(&b"t38"[..]));
}

#[test]
fn rtcp_is_where_its_attribute_says() {
    let rtcp = |attribute: &str, port: &str| {
        let media = format!("m=audio {port} RTP/AVP 0");
        let text = with_head(&[&media, attribute]);
        parse(text.as_bytes()).streams()[0].rtcp()
    };
    assert_eq!(rtcp("a=rtcp:53020", "6000"), socket("192.0.2.10:53020"));
    assert_eq!(rtcp("a=rtcp:53020 IN IP4 192.0.2.99", "6000"), socket("192.0.2.99:53020"));
    assert_eq!(rtcp("a=rtcp:99999", "6000"), socket("192.0.2.10:6001"));
    assert_eq!(rtcp("a=ptime:20", "65535"), None, "there is no port above");
}

#[test]
fn names_multicast_and_port_counts_are_read() {
    let text = crlf(&["v=0", "c=IN IP4 224.2.1.1/127/3", "m=video 49170/2 RTP/AVP 31"]);
    let sdp = parse(text.as_bytes());
    assert_eq!(sdp.streams()[0].rtp(), socket("224.2.1.1:49170"));
    assert_eq!(sdp.streams()[0].port_count, 2);
    let text = crlf(&["v=0", "c=IN IP4 media.example.com", "m=audio 6000 RTP/AVP 0"]);
    let sdp = parse(text.as_bytes());
    assert_eq!(sdp.streams()[0].address(), Some(Host::Name(b"media.example.com")));
    assert_eq!(sdp.streams()[0].rtp(), None);
    assert_eq!(parse(b"v=0\nm=audio 6000 RTP/AVP 0").streams()[0].address(), None);
}

#[test]
fn payload_types_are_named_by_their_rtpmap_or_by_assignment() {
    let text = with_head(&[
        "m=audio 6000 RTP/AVP 111 0 9 77",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:0 PCMU/8000/1",
        "m=audio 6002 RTP/AVP 111",
        "a=rtpmap:111 G726-32/8000",
    ]);
    let sdp = parse(text.as_bytes());
    let [first, second] = sdp.streams() else { panic!("two streams") };
    assert_eq!(first.format_list().collect::<Vec<_>>(), [&b"111"[..], b"0", b"9", b"77"]);
    assert_eq!(first.rtpmap(111), Some(&b"opus/48000/2"[..]));
    assert_eq!(first.rtpmap(0), Some(&b"PCMU/8000/1"[..]));
    assert_eq!(first.rtpmap(9), Some(&b"G722/8000"[..]));
    assert_eq!(first.rtpmap(77), None);
    assert_eq!(second.rtpmap(111), Some(&b"G726-32/8000"[..]), "not the first stream's");
    assert_eq!(second.codec(), Some(&b"G726-32"[..]));
}

#[test]
fn what_the_field_forgets_or_misplaces_is_forgiven() {
    let lenient = [
        "v=0\no=a 1 1 IN IP4 192.0.2.10\nc=IN IP4 192.0.2.10\nm=audio 6000 RTP/AVP 0\n",
        "v=0\r\nc=IN IP4 192.0.2.10\nm=audio 6000 RTP/AVP 0\r\n",
        "v=0\rc=IN IP4 192.0.2.10\rm=audio 6000 RTP/AVP 0\r",
        "v=0\r\na=sendrecv\r\nb=AS:64\r\nc=IN IP4 192.0.2.10\r\ns=\r\nm=audio 6000 RTP/AVP 0",
        "v=0\r\nm=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\nb=AS:64\r\nc=IN IP4 192.0.2.10\r\n",
        "v=0\r\nc=IN IP4 192.0.2.10  \r\nm=audio  6000   RTP/AVP 0  \r\n\r\n\r\n",
        "\r\nv=0\r\nc=IN  IP4\t192.0.2.10\r\ny=0100\r\nm=audio 6000 RTP/AVP 0\r\nQ=?\r\n",
    ];
    for text in lenient {
        let sdp = parse(text.as_bytes());
        assert_eq!(sdp.streams().len(), 1, "{text:?}");
        assert_eq!(sdp.streams()[0].rtp(), socket("192.0.2.10:6000"), "{text:?}");
        assert_eq!(sdp.streams()[0].formats, b"0", "{text:?}");
    }
}

#[test]
fn what_leaves_it_unclear_where_media_goes_is_refused_by_line() {
    let at = |lines: &[&str]| refusal(&with_head(lines)).line;
    assert_eq!(at(&["m=audio 65536 RTP/AVP 0"]), 6);
    assert_eq!(at(&["m=audio +5 RTP/AVP 0"]), 6);
    assert_eq!(at(&["m=audio 99999999999999999999 RTP/AVP 0"]), 6);
    assert_eq!(at(&["m=audio 6000/x RTP/AVP 0"]), 6);
    assert_eq!(at(&["a=ok", "m=audio 6000"]), 7);
    assert_eq!(at(&["m=audio 6000 RTP/AVP 0", "c=IN IP4"]), 7);
    assert_eq!(at(&["nonsense"]), 6);
    assert_eq!(at(&[" m=audio 6000 RTP/AVP 0"]), 6);
    assert_eq!(refusal("").line, 1);
    assert_eq!(refusal("\r\n\r\n").line, 1);
    assert_eq!(refusal("o=a 1 1 IN IP4 192.0.2.10\r\n").line, 1);
}

#[test]
fn the_refusal_can_stand_in_a_warning_header() {
    let text = format!("v=0\r\nm=audio \"\\\u{1}{}\r\n", "x".repeat(500));
    let error = refusal(&text).to_string();
    assert!(error.starts_with("line 2: expected media, port, protocol and formats, got 'm=audio ???xx"));
    assert!(error.len() < 150 && !error.contains(['"', '\\', '\u{1}']), "{error}");
}

#[test]
fn a_description_has_a_limit_of_lines_and_of_streams() {
    let media = "m=audio 6000 RTP/AVP 0";
    assert_eq!(parse(with_head(&[media; MAX_STREAMS]).as_bytes()).streams().len(), MAX_STREAMS);
    assert_eq!(refusal(&with_head(&[media; MAX_STREAMS + 1])).line, 5 + MAX_STREAMS + 1);
    assert_eq!(refusal(&with_head(&["a=x"; 2_044])).line, 2_049);
    parse(with_head(&["a=x"; 2_043]).as_bytes());
}
