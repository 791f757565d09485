//! Media of calls whose every message is written: which streams cross, what a hold does to them, and when ports are given back.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use interop::{Drawbridge, Message, Place, until};

use crate::party::{ANSWER, OFFER, Party, configuration, ringing, start, start_with, up};

const SOON: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(150);

/// A socket that media comes from and goes to.
struct Mouth(UdpSocket);

impl Mouth {
    fn at(place: &Place, host: u8) -> Mouth {
        Mouth(UdpSocket::bind((place.ip(host), 0)).unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn say(&self, to: SocketAddr, what: &[u8]) {
        self.0.send_to(what, to).unwrap();
    }

    /// What comes, and from where; nothing after so long.
    fn hear(&self, limit: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let mut room = [0; 2048];
        self.0.recv_from(&mut room).ok().map(|(length, from)| (room[..length].to_vec(), from))
    }

    #[track_caller]
    fn hears(&self, what: &[u8]) {
        let heard = self.hear(SOON).map(|(heard, _)| heard);
        assert_eq!(heard.as_deref(), Some(what));
    }
}

fn rtp(sequence: u8, source: u8) -> Vec<u8> {
    [&[0x80, 8, 0, sequence, 0, 0, 0, sequence, 0, 0, 0, source][..], &[0xd5; 160]].concat()
}

/// A description of this host with these m= lines.
fn described(place: &Place, host: u8, version: u32, media: &str) -> String {
    let ip = place.ip(host);
    format!("v=0\no=- 33{host} {version} IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\n{media}")
}

/// The ports of the m= lines, at the box.
fn ports(place: &Place, message: &Message) -> Vec<SocketAddr> {
    let lines = message.body().lines().filter_map(|line| line.strip_prefix("m="));
    let port = |line: &str| line.split(' ').nth(1).and_then(|port| port.parse().ok()).unwrap();
    lines.map(|line| SocketAddr::from((place.ip(Place::BOX), port(line)))).collect()
}

/// A call with these m= lines: the callee's INVITE and the caller's 200.
fn call(place: &Place, caller: &Party, callee: &Party, a: &str, b: &str) -> (Message, Message) {
    caller.say(&caller.invite("1", &described(place, Place::A, 1, a)));
    let invite = callee.expect("INVITE");
    callee.respond(&invite, "200 OK", "", &described(place, Place::B, 1, b));
    let ok = caller.expect("200");
    caller.say(&caller.in_dialog("ACK", "ack1", &ok, "", ""));
    callee.expect("ACK");
    (invite, ok)
}

fn hang_up(caller: &Party, callee: &Party, ok: &Message, branch: &str) {
    caller.say(&caller.in_dialog("BYE", branch, ok, "", ""));
    let bye = callee.expect("BYE");
    callee.respond(&bye, "200 OK", "", "");
    caller.expect("200");
}

/// Every session that was opened was closed, and none has a port any more.
fn reconciles(drawbridge: &Drawbridge, sessions: f64) {
    until("the ledger of media to reconcile", SOON, || {
        let metrics = drawbridge.metrics();
        let opened = metrics.sum("drawbridge_media_sessions_opened_total");
        let closed = metrics.sum("drawbridge_media_sessions_closed_total");
        let ports = metrics.sum("drawbridge_ports_in_use");
        ((opened, closed, ports) == (sessions, sessions, 0.0)).then_some(())
    });
}

#[test]
fn media_facsimile_and_video_cross_beside_audio_and_their_ports_are_closed_after() {
    let place = Place::new("media-streams");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let mouths = |host| [(); 3].map(|()| Mouth::at(&place, host));
    let (a, b) = (mouths(Place::A), mouths(Place::B));
    let lines = |mouths: &[Mouth; 3]| {
        let [audio, video, fax] = mouths.each_ref().map(Mouth::port);
        format!(
            "m=audio {audio} RTP/AVP 8\nm=video {video} RTP/AVP 97\na=rtpmap:97 H264/90000\n\
             m=image {fax} udptl t38\na=T38FaxVersion:0\na=T38FaxRateManagement:transferredTCF\n"
        )
    };
    let (invite, ok) = call(&place, &caller, &callee, &lines(&a), &lines(&b));
    assert!(invite.body().contains("udptl t38") && invite.body().contains("a=T38FaxVersion:0"));
    let (to_a, to_b) = (ports(&place, &ok), ports(&place, &invite));
    assert_eq!((to_a.len(), to_b.len()), (3, 3));
    // A packet of UDPTL is no RTP: a sequence number, a primary packet, nothing to recover from (ITU-T T.38 §9.1).
    let udptl = |number: u8| vec![0, number, 3, 0xc0, 1, 0x80, 0, 0];
    for (index, (a, b)) in a.iter().zip(&b).enumerate() {
        let packet = |number| if index == 2 { udptl(number) } else { rtp(number, index as u8) };
        for number in 1..4 {
            a.say(to_a[index], &packet(number));
            b.hears(&packet(number));
            b.say(to_b[index], &packet(number + 100));
            a.hears(&packet(number + 100));
        }
    }
    hang_up(&caller, &callee, &ok, "bye");
    reconciles(&drawbridge, 1.0);
    for (index, (a, b)) in a.iter().zip(&b).enumerate() {
        a.say(to_a[index], &rtp(9, 9));
        assert_eq!(b.hear(QUIET), None, "stream {index} is over");
    }
}

#[test]
fn media_goodbyes_of_rtcp_cross() {
    let place = Place::new("media-rtcp");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let [audio, control] = [(); 2].map(|()| Mouth::at(&place, Place::A));
    let [b_audio, b_control] = [(); 2].map(|()| Mouth::at(&place, Place::B));
    let lines = |audio: &Mouth, control: &Mouth| {
        format!("m=audio {} RTP/AVP 8\na=rtcp:{}\n", audio.port(), control.port())
    };
    let (_, ok) = call(&place, &caller, &callee, &lines(&audio, &control), &lines(&b_audio, &b_control));
    let to = ports(&place, &ok)[0];
    audio.say(to, &rtp(1, 1));
    b_audio.hears(&rtp(1, 1));
    // A receiver's report and a BYE (RFC 3550 §6.6).
    let goodbye = [0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 203, 0, 1, 0, 0, 0, 1];
    let control_port = SocketAddr::new(to.ip(), to.port() + 1);
    let crossed = (0..20).any(|_| {
        // Its socket is opened once media has come.
        control.say(control_port, &goodbye);
        b_control.hear(QUIET).is_some_and(|(heard, _)| heard == goodbye)
    });
    assert!(crossed);
    hang_up(&caller, &callee, &ok, "bye");
    reconciles(&drawbridge, 1.0);
}

#[test]
fn media_hold_in_every_form_and_resume_keep_the_source_that_latching_found() {
    let place = Place::new("media-hold");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (a, b) = (Mouth::at(&place, Place::A), Mouth::at(&place, Place::B));
    // Nobody is at the port that the caller describes: a NAT in between has made another of it.
    let described_port = Mouth::at(&place, Place::A);
    let line = |port: u16, more: &str| format!("m=audio {port} RTP/AVP 8\n{more}");
    let (described_as, b_line) = (described_port.port(), line(b.port(), ""));
    let (invite, ok) = call(&place, &caller, &callee, &line(described_as, ""), &b_line);
    let (to_a, to_b) = (ports(&place, &ok)[0], ports(&place, &invite)[0]);
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        sequence
    };
    let packet = rtp(next(), 1);
    a.say(to_a, &packet);
    b.hears(&packet);
    let packet = rtp(next(), 2);
    b.say(to_b, &packet);
    a.hears(&packet);

    let nowhere =
        |text: String| text.replace(&format!("c=IN IP4 {}", place.ip(Place::A)), "c=IN IP4 0.0.0.0");
    let forms: [(&str, String, String); 4] = [
        ("sendonly", line(described_as, "a=sendonly\n"), line(b.port(), "a=recvonly\n")),
        ("inactive", line(described_as, "a=inactive\n"), line(b.port(), "a=inactive\n")),
        ("0.0.0.0", line(described_as, ""), line(b.port(), "")),
        ("port 0", line(0, ""), line(0, "")),
    ];
    let mut version = 1;
    let mut renegotiate = |offer: String, answer: &str| {
        version += 1;
        let offer = offer.replace(" 1 IN", &format!(" {version} IN"));
        caller.say(&caller.in_dialog("INVITE", &format!("re{version}"), &ok, "", &offer));
        let reinvite = callee.expect("INVITE");
        callee.respond(&reinvite, "200 OK", "", &described(&place, Place::B, version, answer));
        callee.expect("ACK");
        caller.expect("200");
        caller.say(&caller.in_dialog("ACK", &format!("ack{version}"), &ok, "", ""));
    };
    for (form, hold, held) in forms {
        let offer = described(&place, Place::A, 1, &hold);
        renegotiate(if form == "0.0.0.0" { nowhere(offer) } else { offer }, &held);
        b.say(to_b, &rtp(next(), 2));
        assert_eq!(a.hear(QUIET), None, "{form}: on hold");
        renegotiate(described(&place, Place::A, 1, &line(described_as, "")), &b_line);
        if form == "port 0" {
            // The stream was refused, and is a new one now: who is behind a NAT shows where once more.
            let packet = rtp(next(), 1);
            a.say(to_a, &packet);
            b.hears(&packet);
        }
        let packet = rtp(next(), 2);
        b.say(to_b, &packet);
        assert_eq!(a.hear(SOON).map(|(heard, _)| heard), Some(packet), "{form}: resumed");
        let packet = rtp(next(), 1);
        a.say(to_a, &packet);
        b.hears(&packet);
    }
    assert_eq!(described_port.hear(QUIET), None, "nothing ever went to the address that leads nowhere");
    hang_up(&caller, &callee, &ok, "bye");
    reconciles(&drawbridge, 1.0);
}

#[test]
fn media_ports_are_given_back_at_the_bye_though_the_other_side_says_nothing_any_more() {
    let place = Place::new("media-bye");
    let drawbridge = start(&place, "", "");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up(&drawbridge, &caller, &callee);
    assert_eq!(drawbridge.metrics().sum("drawbridge_ports_in_use"), 4.0);
    caller.say(&caller.in_dialog("BYE", "bye", &ok, "", ""));
    caller.expect("200");
    reconciles(&drawbridge, 1.0);
    assert!(drawbridge.metrics().sum("drawbridge_legs") > 0.0, "the callee's leg still waits for an answer");
    callee.expect("BYE");
    assert_eq!(drawbridge.cdrs(1)[0]["disposition"], "answered");
}

#[test]
fn media_ports_that_are_all_taken_are_a_503_before_anything_rings() {
    let place = Place::new("media-exhausted");
    let rest = configuration(&place, "", "", "\"carrier\"", "");
    let drawbridge = Drawbridge::start_with_ports(&place, "20000-20003", &rest);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let (ok, _) = up(&drawbridge, &caller, &callee);
    let second = caller.invite("2", OFFER).replace("CSeq: 1 ", "CSeq: 7 ").replace("tag=caller", "tag=other");
    caller.say(&second);
    let refusal = caller.expect("503");
    assert!(refusal.header("Retry-After").is_some(), "{}", refusal.text);
    let ack = caller.request("ACK", "2", "", "").replace("CSeq: 1 ", "CSeq: 7 ");
    let to = format!("To: {}\n", refusal.header("To").unwrap());
    let ack = ack.replace("tag=caller", "tag=other").replace("To: <sip:12125551000@box.example>\n", &to);
    caller.say(&ack);
    callee.expect_nothing();
    let refused = drawbridge.metrics().sum("drawbridge_media_sessions_refused_total");
    assert_eq!(refused, 1.0);
    hang_up(&caller, &callee, &ok, "bye");
    reconciles(&drawbridge, 1.0);
}

#[test]
fn media_ledger_reconciles_after_calls_that_were_answered_cancelled_forked_and_refused() {
    let place = Place::new("media-ledger");
    let second = format!(
        "\n[[trunk]]\nname = \"second\"\nsources = [\"{c}\"]\npeers = [\"sip:{c}:5060\"]\n",
        c = place.ip(Place::C),
    );
    let both = "\"carrier\", \"second\"";
    let drawbridge = start_with(&place, "", &second, both, "fork = \"parallel\"");
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let other = Party::at(&place, Place::C, "other");

    // One answers, the other is cancelled.
    let (_, invite) = ringing(&caller, &callee);
    let forked = other.expect("INVITE");
    other.respond(&forked, "180 Ringing", "", "");
    callee.respond(&invite, "200 OK", "", ANSWER);
    let ok = caller.expect("200");
    caller.say(&caller.in_dialog("ACK", "ack1", &ok, "", ""));
    callee.expect("ACK");
    let cancel = other.expect("CANCEL");
    other.respond(&cancel, "200 OK", "", "");
    other.respond(&forked, "487 Request Terminated", "", "");
    other.expect("ACK");
    assert_eq!(drawbridge.metrics().sum("drawbridge_ports_in_use"), 4.0, "one session for all branches");
    hang_up(&caller, &callee, &ok, "bye1");
    reconciles(&drawbridge, 1.0);

    // Both refuse.
    caller.say(&caller.invite("2", OFFER));
    let (first, second) = (callee.expect("INVITE"), other.expect("INVITE"));
    callee.respond(&first, "486 Busy Here", "", "");
    callee.expect("ACK");
    other.respond(&second, "603 Decline", "", "");
    other.expect("ACK");
    let refusal = caller.hear_final();
    caller.ack_refusal("2", &refusal);
    reconciles(&drawbridge, 2.0);

    // The caller leaves.
    let third = caller.invite("3", OFFER).replace("CSeq: 2 ", "CSeq: 3 ");
    caller.say(&third);
    let (first, second) = (callee.expect("INVITE"), other.expect("INVITE"));
    callee.respond(&first, "180 Ringing", "", "");
    other.respond(&second, "180 Ringing", "", "");
    caller.expect("180");
    caller.say(&caller.request("CANCEL", "3", "", "").replace("CSeq: 2 ", "CSeq: 3 "));
    caller.expect_either(&["200", "487", "180"]);
    for (party, invite) in [(&callee, &first), (&other, &second)] {
        let cancel = party.expect("CANCEL");
        party.respond(&cancel, "200 OK", "", "");
        party.respond(invite, "487 Request Terminated", "", "");
    }
    reconciles(&drawbridge, 3.0);
    assert_eq!(drawbridge.metrics().sum("drawbridge_media_sessions_refused_total"), 0.0);
}
