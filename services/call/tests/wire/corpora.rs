//! Messages and descriptions that are not ours, where a collection of them is at hand (`SIP_CORPORA`, or beside the
//! workspace): the messages of RFC 4475 and RFC 5118, and what real devices describe; and descriptions of our own, one for
//! each of the kinds that those stand for.

use std::path::{Path, PathBuf};

use crate::harness::*;
use call::{Flow, Input, ListenerId, RegistrarPolicy};

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It leaves towards the callee.
    Crosses,
    /// The first answer that is no 100.
    Answered(u16),
    /// A response that nobody waits for.
    Silence,
}
use Fate::{Answered, Crosses, Silence};

const FATES: &[(&str, Fate)] = &[
    // In a dialog, so the box does not know it; as the BYEs below.
    ("wsinv", Answered(481)),
    ("intmeth", Answered(501)),
    ("esc01", Crosses),
    ("escnull", Answered(200)),
    ("esc02", Answered(501)),
    ("lwsdisp", Crosses),
    ("longreq", Crosses),
    ("dblreq", Answered(200)),
    ("semiuri", Crosses),
    ("transports", Crosses),
    ("mpart01", Crosses),
    ("unreason", Silence),
    ("noreason", Silence),
    ("badinv01", Answered(400)),
    ("clerr", Answered(400)),
    ("ncl", Answered(400)),
    ("scalar02", Answered(400)),
    ("scalarlg", Silence),
    ("quotbal", Answered(400)),
    ("ltgtruri", Answered(400)),
    ("lwsruri", Answered(400)),
    ("lwsstart", Answered(400)),
    ("trws", Answered(400)),
    ("escruri", Answered(400)),
    ("baddate", Answered(400)),
    ("regbadct", Answered(400)),
    ("badaspec", Answered(400)),
    ("baddn", Answered(400)),
    ("badvers", Answered(505)),
    ("mismatch01", Answered(400)),
    ("mismatch02", Answered(400)),
    ("bigcode", Silence),
    ("badbranch", Answered(400)),
    ("insuf", Answered(400)),
    ("unkscm", Answered(416)),
    ("novelsc", Answered(416)),
    ("unksm2", Answered(400)),
    ("bext01", Answered(420)),
    ("invut", Answered(415)),
    ("regaut01", Answered(200)),
    ("multi01", Answered(400)),
    ("mcl01", Answered(400)),
    ("bcast", Silence),
    ("zeromf", Answered(483)),
    ("cparam01", Answered(200)),
    ("cparam02", Answered(200)),
    ("regescrt", Answered(200)),
    ("sdp01", Answered(406)),
    ("inv2543", Crosses),
    ("ipv6-good", Answered(200)),
    ("ipv6-bad", Answered(400)),
    ("port-ambiguous", Answered(200)),
    ("port-unambiguous", Answered(200)),
    ("via-received-param-with-delim", Answered(481)),
    // Its Request-URI has no user: it asks the box itself.
    ("via-received-param-no-delim", Answered(200)),
    // It says that its body is shorter than it is, and what is cut off was the end of a line.
    ("ipv6-in-sdp", Crosses),
    ("mult-ip-in-header", Answered(481)),
    ("mult-ip-in-sdp", Crosses),
    ("ipv4-mapped-ipv6", Crosses),
    ("ipv6-bug-abnf-3-colons", Crosses),
    ("ipv6-correct-abnf-2-colons", Crosses),
];

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let root = std::env::var_os("SIP_CORPORA").map_or(beside, PathBuf::from).join(folder);
    let Ok(found) = std::fs::read_dir(&root) else {
        println!("no {}: nothing of it is tried", root.display());
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

fn hand(world: &mut World, from: &str, bytes: &[u8]) {
    let flow = Flow { listener: ListenerId(0), remote: from.parse().unwrap(), connection: 0 };
    world.input(Input::Message { flow, bytes });
}

fn fate(bytes: &[u8]) -> Fate {
    let mut world = World::with(RegistrarPolicy::OpenLoopback, |_| {});
    hand(&mut world, "127.0.0.1:5060", bytes);
    world.sent.retain(|sent| !sent.text.starts_with("SIP/2.0 100"));
    match world.sent.front() {
        None => Silence,
        Some(sent) if sent.text.starts_with("SIP/2.0 ") => Answered(sent.text[8..11].parse().unwrap()),
        Some(sent) => {
            assert_eq!(sent.to, CALLEE.parse().unwrap());
            Crosses
        }
    }
}

#[test]
fn the_torture_messages_themselves_are_treated_as_their_rfcs_say() {
    let mut wrong = Vec::new();
    let messages: Vec<_> = ["rfc4475", "rfc5118"].into_iter().flat_map(files).collect();
    for (name, bytes) in &messages {
        let expected = FATES.iter().find(|(known, _)| known == name).map(|(_, fate)| *fate);
        let came = fate(bytes);
        if expected != Some(came) {
            wrong.push(format!("{name}: expected {expected:?}, came {came:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(messages.is_empty() || messages.len() == FATES.len(), "{} messages", messages.len());
}

/// Lines that are the relay's to write, and those of ICE and of multiplexing, which it does not do. Of `m=` the port alone is.
fn is_owned(line: &[u8]) -> bool {
    const OWNED: [&[u8]; 7] =
        [b"o=", b"c=", b"a=rtcp:", b"a=rtcp-mux", b"a=candidate:", b"a=ice-", b"a=alt:"];
    OWNED.iter().any(|start| line.starts_with(start))
}

/// A line, its port struck out where it is an `m=`. One that is 0 stays: a stream that is refused stays so.
fn without_port(line: &[u8]) -> Vec<u8> {
    let mut fields = line.splitn(3, |octet| *octet == b' ');
    match (fields.next(), fields.next(), fields.next()) {
        (Some(kind), Some(port), Some(rest)) if line.starts_with(b"m=") && port != b"0" => {
            [kind, b" PORT ", rest].concat()
        }
        _ => line.to_vec(),
    }
}

fn body(sent: &Sent) -> Vec<u8> {
    let end = sent.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    sent.bytes[end + 4..].to_vec()
}

/// What the callee is offered for this description of the caller, and what the caller is answered when the callee describes
/// itself in the same words.
fn across(description: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut world = World::new();
    let with_body = |head: &str| {
        let head = head.trim_end().replace("\r\n", "\n").replace('\n', "\r\n");
        let head = format!("{head}\r\nContent-Length: {}\r\n\r\n", description.len());
        [head.as_bytes(), description].concat()
    };
    hand(&mut world, CALLER, &with_body(&invite("1", Some(""))));
    let out = world.sent.iter().find(|sent| sent.text.starts_with("INVITE"))?.clone();
    let ok = response(&out, "200 OK", "callee", Some(""));
    let head: Vec<&str> = ok.lines().filter(|line| !line.starts_with("Content-Length")).collect();
    hand(&mut world, CALLEE, &with_body(&head.join("\n")));
    let ok = world
        .sent
        .iter()
        .find(|sent| sent.text.starts_with("SIP/2.0 200") && sent.to == CALLER.parse().unwrap())?;
    Some((body(&out), body(ok)))
}

/// The lines of both that differ.
fn difference(before: &[u8], after: &[u8]) -> String {
    let lines = |text: &[u8]| -> Vec<String> {
        text.split_inclusive(|byte| matches!(byte, b'\n'))
            .map(|line| format!("{:?}", String::from_utf8_lossy(line)))
            .collect()
    };
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("  - {line}\n"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("  + {line}\n"));
    gone.chain(new).collect()
}

/// Every line that is not the relay's is there as it was, in its order, and there are as many streams: in the offer and in the
/// answer.
fn only_owned_lines_change(name: &str, before: &[u8]) -> Result<(), String> {
    let (offer, answer) = across(before).ok_or(format!("{name}: no INVITE left, or no 200 came back"))?;
    let kept = |text: &[u8]| -> Vec<Vec<u8>> {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        lines.filter(|line| !is_owned(line)).map(without_port).collect()
    };
    for (what, after) in [("offer", offer), ("answer", answer)] {
        println!("{name}, {what}:\n{}", difference(before, &after));
        if kept(before) != kept(&after) {
            return Err(format!("{name}, {what}:\n{}", difference(before, &after)));
        }
    }
    Ok(())
}

#[test]
fn what_real_devices_describe_crosses_with_only_the_relays_lines_changed() {
    let all = files("sdp");
    assert!(all.is_empty() || all.len() == 44, "{} descriptions", all.len());
    let wrong: Vec<String> =
        all.iter().filter_map(|(name, text)| only_owned_lines_change(name, text).err()).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// One description for each kind of oddity that is met in the field.
const KINDS: &[(&str, &[u8])] = &[
    ("attributes before the time", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\na=tool:x\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("another profile", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVPF 0\r\na=setup:actpass\r\n"),
    ("blanks at the end of lines", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=x \r\nc=IN IP4 10.1.1.1 \r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 \r\na=ptime:20 \r\n"),
    ("bandwidth of the conference", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nb=CT:384\r\nt=0 0\r\nm=video 4000 RTP/AVP 34\r\n"),
    ("bandwidth behind attributes", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=ptime:20\r\nb=AS:64\r\nm=audio 4002 RTP/AVP 8\r\n"),
    ("capabilities", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\na=sqn: 0\r\na=cdsc: 1 audio RTP/AVP 0 18\r\na=cpar: a=fmtp:18 annexb=no\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("a browser's lines", b"v=0\r\no=mozilla 4962303333179871722 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic: WMS *\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 10.1.1.1\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=fingerprint:sha-256 00:11\r\na=ice-ufrag:a\r\na=candidate:1 1 udp 1 10.1.1.1 9 typ host\r\n"),
    ("alternative addresses", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nt=0 0\r\na=group:ANAT 1 2\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\na=mid:1\r\nm=audio 4002 RTP/AVP 0\r\nc=IN IP4 10.1.1.1\r\na=mid:2\r\n"),
    ("an empty name", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("a name that is a blank", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns= \r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("no name", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("no time", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("a host name where media goes", b"v=0\r\no=a 1 1 IN IP4 pc.example.org\r\ns=-\r\nc=IN IP4 media.example.org\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("comfort noise and two crypto lines", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0 13\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\na=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:BBBB\r\nm=audio 4000 RTP/AVP 0 13\r\n"),
    ("the connection before the name", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\nc=IN IP4 10.1.1.1\r\ns=x\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("preconditions", b"v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 97 96\r\nb=AS:25.4\r\na=curr:qos local none\r\na=des:qos mandatory local sendrecv\r\na=rtpmap:97 AMR\r\na=fmtp:97 mode-set=0,2,5,7; maxframes=2\r\n"),
    ("held by its direction", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=inactive\r\n"),
    ("letters of another time", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=T\xe9l\xe9phone\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
    ("LF alone", b"v=0\no=a 1 1 IN IP4 10.1.1.1\ns=-\nc=IN IP4 10.1.1.1\nt=0 0\nm=audio 4000 RTP/AVP 0\na=ptime:20\n"),
    ("line ends of both kinds", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\ns=-\r\nc=IN IP4 10.1.1.1\nt=0 0\r\nm=audio 4000 RTP/AVP 0\na=ptime:20\r\n"),
    ("media before all that it needs", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nt=0 0\r\nm=application 4000 TCP/MRCPv2 1\r\nc=IN IP4 10.1.1.1\r\na=setup:active\r\na=channel:1@speechrecog\r\nm=audio 4002 RTP/AVP 0\r\nc=IN IP4 10.1.1.1\r\n"),
    ("no line end at the end", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=ptime:20"),
    ("the last port", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 65535 RTP/AVP 0\r\n"),
    ("several ports", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000/2 RTP/AVP 0\r\n"),
    ("an attribute without its value", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=ptime:\r\na=rtpmap:x\r\na=fmtp\r\n"),
    ("facsimile", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=image 4000 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"),
    ("facsimile in place of speech", b"v=0\r\no=a 1 2 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\nm=image 4000 udptl t38\r\n"),
    ("an empty line at the end", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n\r\n"),
    ("a line of an unknown kind", b"v=0\r\no=a 1 1 IN IP4 10.1.1.1\r\ns=-\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\ny=0200000001\r\nm=audio 4000 RTP/AVP 0\r\nf=v/1/2\r\n"),
];

#[test]
fn each_oddity_of_descriptions_crosses_with_only_the_relays_lines_changed() {
    let wrong: Vec<String> =
        KINDS.iter().filter_map(|(name, text)| only_owned_lines_change(name, text).err()).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), KINDS.len(), wrong.join("\n"));
}
