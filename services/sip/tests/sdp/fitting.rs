//! Answers with fewer or more m= lines than their offers.

use super::parse;

const OFFER: &[u8] =
    b"v=0\r\nm=audio 4000 RTP/AVP 0 8\r\nm=video 4002 RTP/SAVP 96 97\r\nm=image 4004 udptl t38\r\n";

fn fitted(answer: &str) -> Option<String> {
    let fitted = parse(answer.as_bytes()).fitted_to(&parse(OFFER))?;
    assert_eq!(parse(&fitted).streams().len(), 3);
    Some(String::from_utf8(fitted).unwrap())
}

#[test]
fn as_many_are_left_as_they_are() {
    assert_eq!(fitted("v=0\nm=audio 1 RTP/AVP 0\nm=video 0 RTP/AVP 9\nm=image 0 udptl t38\n"), None);
}

#[test]
fn what_is_missing_is_rejected_with_what_was_offered() {
    let rest = "m=video 0 RTP/SAVP 96 97\r\nm=image 0 udptl t38\r\n";
    let answer = "v=0\r\nm=audio 5000 RTP/AVP 0\r\na=sendrecv\r\n";
    assert_eq!(fitted(answer).unwrap(), format!("{answer}{rest}"));
    assert_eq!(fitted(answer.trim_end()).unwrap(), format!("{answer}{rest}"), "an unfinished last line");
    let lf = "v=0\nm=audio 5000 RTP/AVP 0\n";
    assert_eq!(fitted(lf).unwrap(), format!("{lf}{}", rest.replace('\r', "")));
    assert!(fitted("v=0\r\n").unwrap().contains("m=audio 0 RTP/AVP 0 8\r\n"));
}

#[test]
fn what_was_not_offered_is_left_out_with_its_lines() {
    let answer = "v=0\r\nm=audio 1 RTP/AVP 0\r\nm=video 0 RTP/AVP 9\r\nm=image 0 udptl t38\r\na=x\r\n";
    let more = format!("{answer}m=text 9 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\nm=text 9 RTP/AVP 98\r\n");
    assert_eq!(fitted(&more).unwrap(), answer);
}
