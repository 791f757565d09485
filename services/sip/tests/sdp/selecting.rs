use sip::{Sdp, Selection};

use super::crlf;

fn only(payload_types: &[u8]) -> Option<Selection> {
    Some(Selection { payload_types: payload_types.to_vec(), ..Selection::default() })
}

fn text(bytes: Option<Vec<u8>>) -> String {
    String::from_utf8(bytes.unwrap()).unwrap()
}

const HEAD: [&str; 4] = ["v=0", "o=a 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1"];

fn with(lines: &[&str]) -> Vec<u8> {
    crlf(&[&HEAD[..], lines].concat()).into_bytes()
}

#[test]
fn every_line_of_a_payload_type_goes_with_it_and_no_other() {
    let before = with(&[
        "a=rtpmap:96 of the session",
        "m=audio 4000 RTP/AVP 0  96 97 8 101",
        "i=a stream",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:97 iLBC/8000",
        "a=fmtp:97 mode=20",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=mptime:20 20 30 20 -",
        "m=video 5000 RTP/AVPF 100 101",
        "a=rtpmap:100 VP8/90000",
        "a=rtcp-fb:* nack",
        "a=rtcp-fb:101 nack pli",
        "a=rtpmap:101 H264/90000",
        "a=imageattr:101 send *",
    ]);
    let expected = with(&[
        "a=rtpmap:96 of the session",
        "m=audio 4000 RTP/AVP 8 96 101",
        "i=a stream",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "m=video 5000 RTP/AVPF 100",
        "a=rtpmap:100 VP8/90000",
        "a=rtcp-fb:* nack",
    ]);
    let sdp = Sdp::parse(&before).unwrap();
    let after = sdp.select(|index, _| only(if index == 0 { &[8, 96, 101] } else { &[100] }));
    assert_eq!(text(after), String::from_utf8(expected).unwrap());
}

#[test]
fn a_stream_of_which_nothing_remains_is_rejected_and_a_rejected_one_is_nobodys_choice() {
    let before = with(&["m=audio 4000 RTP/AVP 18", "a=rtpmap:18 G729/8000", "m=video 0 RTP/AVP 96"]);
    let expected = with(&["m=audio 0 RTP/AVP 18", "a=rtpmap:18 G729/8000", "m=video 0 RTP/AVP 96"]);
    let sdp = Sdp::parse(&before).unwrap();
    let after = sdp.select(|index, _| {
        assert_eq!(index, 0);
        only(&[])
    });
    assert_eq!(text(after), String::from_utf8(expected).unwrap());
    assert_eq!(sdp.select(|_, _| None), None);
}

#[test]
fn a_line_that_keeps_its_formats_is_not_written_anew() {
    let before = with(&["m=audio  4000/2 RTP/AVP  0 8 ", "a=rtpmap:9 left over"]);
    let sdp = Sdp::parse(&before).unwrap();
    let expected = with(&["m=audio  4000/2 RTP/AVP  0 8 "]);
    assert_eq!(text(sdp.select(|_, _| only(&[0, 8]))), String::from_utf8(expected).unwrap());
}

#[test]
fn a_profile_without_feedback_has_no_lines_about_it_and_new_lines_end_their_section() {
    let before = b"v=0\nm=audio 4000 RTP/AVPF 0\na=rtcp-fb:* nack\nm=video 5000 RTP/AVP 34";
    let sdp = Sdp::parse(before).unwrap();
    let after = sdp.select(|index, _| {
        let (proto, line) = if index == 0 {
            (Some("RTP/AVP".to_owned()), "a=rtpmap:101 telephone-event/8000")
        } else {
            (None, "a=x")
        };
        let payload_types = if index == 0 { vec![0, 101] } else { vec![34] };
        let lines = vec![line.to_owned()];
        Some(Selection { payload_types, proto, without_feedback: index == 0, lines })
    });
    let expected =
        "v=0\nm=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\nm=video 5000 RTP/AVP 34\na=x\n";
    assert_eq!(text(after), expected);
}
