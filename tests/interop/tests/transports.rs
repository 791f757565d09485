//! Every transport on every side of a call, over IPv4 and IPv6, with media; and certificates that change meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use interop::{Authority, Drawbridge, Line, Over, Phone, Place, Sipp, Softphone, Wire, heard, until};

const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const NAMES: [&str; 1] = ["edge.example"];

/// The port of a transport, in both families. UDP and TCP over IPv4 are those that every box of these tests has.
fn port(over: Over) -> u16 {
    match over {
        Over::Udp | Over::Tcp => 5060,
        Over::Tls => 5061,
        Over::Ws => 5080,
        Over::Wss => 5443,
    }
}

/// Listeners for all of it, beside those that the box has.
fn listeners(place: &Place, certificate: &str) -> String {
    let mut text = String::new();
    for (family, ip) in [(4, IpAddr::V4(place.ip(Place::BOX))), (6, IPV6)] {
        for over in Over::ALL {
            if family == 4 && matches!(over, Over::Udp | Over::Tcp) {
                continue;
            }
            let certificate = if matches!(over, Over::Tls | Over::Wss) { certificate } else { "" };
            let (name, at) = (over.name(), SocketAddr::new(ip, port(over)));
            text += &format!(
                "[[listener]]\nname = \"{name}{family}\"\ntransport = \"{name}\"\nbind = \"{at}\"\n{certificate}\n"
            );
        }
    }
    text + "[access]\nopen_loopback = true\n"
}

fn names() -> Vec<String> {
    NAMES.map(str::to_owned).to_vec()
}

#[test]
fn every_transport_calls_every_other_with_media_in_the_family_of_each_leg() {
    Place::own_network();
    let place = Place::new("transports");
    let authority = Authority::new("all");
    let drawbridge = Drawbridge::start_dual(&place, &listeners(&place, &authority.write(&place, &names())));
    let tls = authority.client(None);
    let phone = |side: &str, host: u8, over: Over, family: u8| {
        let (from, at) = match family {
            4 => (IpAddr::V4(place.ip(host)), IpAddr::V4(place.ip(Place::BOX))),
            _ => (IPV6, IPV6),
        };
        let line = Line::open(over, from, SocketAddr::new(at, port(over)), &tls).unwrap();
        let user = format!("{side}-{}{family}", over.name());
        Softphone::registered(line, over, &user, from)
    };
    let kinds: Vec<(Over, u8)> =
        [4, 6].into_iter().flat_map(|family| Over::ALL.map(|over| (over, family))).collect();
    for (over, family) in &kinds {
        let mut callee = phone("b", Place::B, *over, *family);
        for (caller_over, caller_family) in &kinds {
            // A user of its own for each call: the ids of a phone are made of its name.
            let name = format!("a-{}{family}", over.name());
            let mut caller = phone(&name, Place::A, *caller_over, *caller_family);
            caller.call(&format!("b-{}{family}", over.name()));
            let invite = callee.answer();
            let ok = caller.confirm();
            callee.take("ACK");
            let told = [ok.media(), invite.media()].map(|media| if media.is_ipv4() { 4 } else { 6 });
            assert_eq!(told, [*caller_family, *family], "{caller_over:?} to {over:?}");
            caller.say(&ok, 7);
            assert!(callee.listens(7), "{caller_over:?}{caller_family} is not heard by {over:?}{family}");
            callee.say(&invite, 9);
            assert!(caller.listens(9), "{over:?}{family} is not heard by {caller_over:?}{caller_family}");
            caller.hang_up(&ok);
            callee.take("BYE");
        }
    }
    let cdrs = drawbridge.cdrs(100);
    let pairs: BTreeSet<(String, String)> = cdrs
        .iter()
        .filter(|cdr| cdr["disposition"] == "answered")
        .map(|cdr| (cdr["a_transport"].to_string(), cdr["b_transport"].to_string()))
        .collect();
    assert_eq!((cdrs.len(), pairs.len()), (100, 25), "{pairs:?}");
}

/// The streams that the box opens itself, to peers that it has not heard of before: those above reach phones by the
/// connections that these have opened.
#[test]
fn calls_leave_over_every_stream_that_the_box_opens_to_a_trunk_in_either_family() {
    const STREAMS: [Over; 4] = [Over::Tcp, Over::Tls, Over::Ws, Over::Wss];
    Place::own_network();
    let place = Place::new("outward");
    let authority = Authority::new("all");
    let mut certificate = authority.write(&place, &names());
    certificate += &format!("server_ca = \"{}\"\n", place.path("ca.pem").display());
    let ips = [IpAddr::V4(place.ip(Place::B)), IPV6];
    let peers: Vec<(Over, IpAddr, TcpListener)> = ips
        .into_iter()
        .flat_map(|ip| STREAMS.map(|over| (over, ip, TcpListener::bind((ip, 0)).unwrap())))
        .collect();
    let mut config = String::new();
    for (number, (over, _, listener)) in peers.iter().enumerate() {
        let (at, over) = (listener.local_addr().unwrap(), over.name());
        config += &format!(
            "[[trunk]]\nname = \"peer{number}\"\npeers = [\"sip:{at};transport={over}\"]\n\n\
             [[route]]\nname = \"to{number}\"\ncalled = \"^{number}00$\"\nto = [\"peer{number}\"]\n\n"
        );
    }
    let drawbridge = Drawbridge::start_dual(&place, &(config + &listeners(&place, &certificate)));
    let tls = (authority.client(None), authority.server(&ips.map(|ip| ip.to_string())));
    let mut callees: Vec<Option<Softphone>> = peers.iter().map(|_| None).collect();
    for (family, ip, at) in
        [(4, IpAddr::V4(place.ip(Place::A)), place.ip(Place::BOX).into()), (6, IPV6, IPV6)]
    {
        for over in Over::ALL {
            for (number, (out, far, listener)) in peers.iter().enumerate() {
                let line = Line::open(over, ip, SocketAddr::new(at, port(over)), &tls.0).unwrap();
                let user = format!("{}{family}-{number}", over.name());
                let mut caller = Softphone::registered(line, over, &user, ip);
                caller.call(&format!("{number}00"));
                // The first call opens the connection, the others find it.
                let callee = callees[number].get_or_insert_with(|| {
                    let line = Line::accept(*out, listener, &tls.1).unwrap();
                    Softphone::connected(line, *out, "far", *far)
                });
                let invite = callee.answer();
                let via = format!("SIP/2.0/{} ", out.name().to_uppercase());
                assert!(invite.header("Via").starts_with(&via), "{}", invite.0);
                let ok = caller.confirm();
                callee.take("ACK");
                caller.say(&ok, 7);
                assert!(callee.listens(7), "{over:?}{family} is not heard by {out:?} at {far}");
                callee.say(&invite, 9);
                assert!(caller.listens(9), "{out:?} at {far} is not heard by {over:?}{family}");
                caller.hang_up(&ok);
                callee.take("BYE");
            }
        }
    }
    let cdrs = drawbridge.cdrs(80);
    let answered = cdrs.iter().filter(|cdr| cdr["disposition"] == "answered").count();
    assert_eq!((cdrs.len(), answered), (80, 80));
}

#[test]
fn a_phone_of_either_family_hears_a_trunk_of_the_other_that_another_make_answers() {
    Place::own_network();
    let place = Place::new("families");
    let tls = Authority::new("none").client(None);
    let box_6 = SocketAddr::new(IPV6, 5070);
    for (at, from, trunk) in [
        (place.sip(Place::BOX), IpAddr::V4(place.ip(Place::A)), IPV6),
        (box_6, IPV6, IpAddr::V4(place.ip(Place::B))),
    ] {
        let config = format!(
            "[[listener]]\nname = \"six\"\ntransport = \"udp\"\nbind = \"{box_6}\"\n\n\
             [[trunk]]\nname = \"carrier\"\npeers = [\"sip:{}\"]\n\n\
             [[route]]\nname = \"out\"\nto = [\"carrier\"]\n\n[access]\nopen_loopback = true\n",
            SocketAddr::new(trunk, 5060)
        );
        let drawbridge = Drawbridge::start_dual(&place, &config);
        let callee = Sipp::callee("uas_echo.xml", trunk).echoing().start(&place);
        let line = Line::open(Over::Udp, from, at, &tls).unwrap();
        let mut phone = Softphone::registered(line, Over::Udp, "alice", from);
        phone.call("12125551000");
        let ringing = phone.hear();
        assert!(ringing.first_line().starts_with("SIP/2.0 180"), "{}", ringing.0);
        let ok = phone.confirm();
        assert_eq!(ok.media().is_ipv4(), from.is_ipv4());
        phone.say(&ok, 7);
        assert!(phone.listens(7), "{from} to {trunk}: what it says comes back");
        phone.hang_up(&ok);
        callee.finish(Duration::from_secs(15)).assert_clean(1);
        let cdr = &drawbridge.cdrs(1)[0];
        assert_eq!((&cdr["disposition"], &cdr["a_packets"]), (&"answered".into(), &5.into()), "{cdr:#}");
    }
}

#[test]
fn two_phones_of_another_make_call_over_tls_and_hear_each_other() {
    const LIMIT: Duration = Duration::from_secs(15);
    Place::own_network();
    let place = Place::new("tls-phones");
    let at = SocketAddr::from((place.ip(Place::BOX), 5061));
    let certificate = Authority::new("all").write(&place, &[names(), vec![at.ip().to_string()]].concat());
    let listener =
        format!("[[listener]]\nname = \"tls\"\ntransport = \"tls\"\nbind = \"{at}\"\n{certificate}\n");
    let drawbridge = Drawbridge::start(&place, &(listener + "[access]\nopen_loopback = true\n"));
    let account = |user: &str| {
        format!("<sip:{user}@{at};transport=tls>;regint=120;answermode=auto;audio_codecs=PCMA\n")
    };
    let phone = |user: &str, port: u16, hertz: f64| {
        let phone =
            Phone::start(&place, user, SocketAddr::from(([127, 0, 0, 1], port)), &account(user), hertz);
        phone.says("200 OK", LIMIT);
        phone
    };
    let mut bob = phone("bob", 5082, 1500.0);
    let mut alice = phone("alice", 5071, 600.0);
    alice.dial(&format!("sip:bob@{at};transport=tls"));
    alice.expect("CALL_ESTABLISHED", LIMIT);
    std::thread::sleep(Duration::from_secs(3));
    alice.hang_up();
    bob.expect("CALL_CLOSED", LIMIT);
    assert!(heard(&alice.recording(), 1500.0) > 2.0, "alice hears bob");
    assert!(heard(&bob.recording(), 600.0) > 2.0, "bob hears alice");
    let cdr = &drawbridge.cdrs(1)[0];
    assert_eq!((&cdr["a_transport"], &cdr["b_transport"]), (&"tls".into(), &"tls".into()), "{cdr:#}");
    for side in ["a_tls", "b_tls"] {
        assert!(["1.2", "1.3"].contains(&cdr[side].as_str().unwrap_or_default()), "{side}: {cdr:#}");
    }
}

/// A call from A to the carrier at B that is too long for a datagram.
fn long_call(place: &Place) -> Wire {
    let caller = Wire::new(place.ip(Place::A), place.sip(Place::BOX));
    let (ip, to) = (place.ip(Place::A), place.ip(Place::BOX));
    let more: String = (0..40).map(|n| format!("a=x-attribute:{n:030}\n")).collect();
    let body =
        format!("v=0\no=- 1 1 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\nm=audio 30000 RTP/AVP 0\n{more}");
    let length = body.replace('\n', "\r\n").len();
    caller.say(&format!(
        "INVITE sip:12125551000@{to} SIP/2.0\nVia: SIP/2.0/UDP {};branch=z9hG4bKlong;rport\nMax-Forwards: 70\n\
         From: <sip:a@{ip}>;tag=a\nTo: <sip:12125551000@{to}>\nCall-ID: long@{ip}\nCSeq: 1 INVITE\n\
         Contact: <sip:a@{ip}>\nContent-Type: application/sdp\nContent-Length: {length}\n\n{body}",
        caller.local()
    ));
    caller
}

fn one_carrier(place: &Place) -> String {
    format!(
        "[[trunk]]\nname = \"pbx\"\nsources = [\"{}\"]\n\n[[trunk]]\nname = \"carrier\"\npeers = [\"sip:{}:5060\"]\n\n\
         [[route]]\nname = \"out\"\nto = [\"carrier\"]\n",
        place.ip(Place::A),
        place.ip(Place::B)
    )
}

#[test]
fn a_long_invite_comes_by_tcp_where_that_is_taken_and_else_by_udp_at_once() {
    let place = Place::new("long");
    let _drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    let udp = Wire::new(place.ip(Place::B), place.sip(Place::BOX));
    let _caller = long_call(&place);
    let invite = udp.hear(Duration::from_secs(3)).expect("the datagram, for nobody takes connections");
    assert!(invite.len() > 1300 && invite.contains("\r\nVia: SIP/2.0/UDP "), "{invite}");

    let place = Place::new("longer");
    let _drawbridge = Drawbridge::start(&place, &one_carrier(&place));
    let tcp = std::net::TcpListener::bind(place.sip(Place::B)).unwrap();
    let udp = Wire::new(place.ip(Place::B), place.sip(Place::BOX));
    let _caller = long_call(&place);
    let (mut stream, _) = tcp.accept().unwrap();
    let mut invite = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // Until it falls silent: only how it begins matters here.
    let _ = std::io::Read::read_to_string(&mut stream, &mut invite);
    assert!(invite.starts_with("INVITE ") && invite.contains("\r\nVia: SIP/2.0/TCP "), "{invite}");
    assert_eq!(udp.hear(Duration::from_millis(100)), None, "and not by UDP as well");
}

/// The first fifty callees have TLS as well.
fn callee_over(number: usize) -> Over {
    if number < 50 { Over::Tls } else { Over::Udp }
}

/// `DRAWBRIDGE_TLS_CALLS` says how many calls there are while the certificate changes.
#[test]
fn a_certificate_changes_under_tls_calls_and_none_is_dropped() {
    let calls = std::env::var("DRAWBRIDGE_TLS_CALLS").map_or(50, |text| text.parse().unwrap());
    let place = Place::new("renewal");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let at = SocketAddr::from((place.ip(Place::BOX), 5061));
    let config = format!(
        "[[listener]]\nname = \"tls\"\ntransport = \"tls\"\nbind = \"{at}\"\n{}[access]\nopen_loopback = true\n",
        old.write(&place, &names())
    );
    let drawbridge = Drawbridge::start(&place, &config);
    // One address may have a quarter of the connections that there may be.
    let host = |number: usize| IpAddr::V4(place.ip(2 + (number % 8) as u8));
    let open = |authority: &Authority| Line::open(Over::Tls, host(0), at, &authority.client(None));
    let (believing, udp) = (old.client(None), place.sip(Place::BOX));
    let phone = |user: &str, over: Over, number: usize| {
        let remote = if over == Over::Udp { udp } else { at };
        let line = Line::open(over, host(number), remote, &believing).unwrap();
        Softphone::registered(line, over, user, host(number))
    };
    let mut up = Vec::new();
    // All first: a shard hears of another's registration a moment after the phone does.
    let both = |n| (phone(&format!("a{n}"), Over::Tls, n), phone(&format!("b{n}"), callee_over(n), n));
    let phones: Vec<_> = (0..calls).map(both).collect();
    for (number, (mut caller, mut callee)) in phones.into_iter().enumerate() {
        caller.call(&format!("b{number}"));
        callee.answer();
        let ok = caller.confirm();
        callee.take("ACK");
        up.push((caller, callee, ok));
    }
    assert!(open(&new).is_err(), "nobody has seen the new certificate yet");
    new.write(&place, &names());
    drawbridge.read_again();
    until("new connections see the new certificate", Duration::from_secs(10), || open(&new).ok());
    assert!(open(&old).is_err(), "the old one is not shown any more");
    for (caller, callee, ok) in &mut up {
        caller.hang_up(ok);
        callee.take("BYE");
    }
    let cdrs = drawbridge.cdrs(calls);
    let ended =
        cdrs.iter().filter(|cdr| cdr["disposition"] == "answered" && cdr["ended_by"] == "caller").count();
    assert_eq!(ended, calls);
}

#[test]
fn a_listener_with_a_client_ca_lets_only_those_in_who_have_a_certificate() {
    let place = Place::new("mutual");
    let (ours, theirs, strangers) = (Authority::new("ours"), Authority::new("theirs"), Authority::new("x"));
    // What is written last stays: the authority of those who connect has its own file.
    theirs.write(&place, &names());
    let client_ca = place.write("peers.pem", &std::fs::read_to_string(place.path("ca.pem")).unwrap());
    let at = SocketAddr::from((place.ip(Place::BOX), 5061));
    let config = format!(
        "[[listener]]\nname = \"tls\"\ntransport = \"tls\"\nbind = \"{at}\"\n{}client_ca = \"{}\"\n\
         [access]\nopen_loopback = true\n",
        ours.write(&place, &names()),
        client_ca.display()
    );
    let _drawbridge = Drawbridge::start(&place, &config);
    let host = IpAddr::V4(place.ip(Place::A));
    let open = |identity| Line::open(Over::Tls, host, at, &ours.client(identity));
    Softphone::registered(open(Some(&theirs)).unwrap(), Over::Tls, "good", host);
    for identity in [None, Some(&strangers)] {
        // In TLS 1.3 a client is done before the server has looked at its certificate.
        let refused = open(identity).and_then(|mut line| {
            line.send("\r\n\r\n");
            line.receive()
        });
        assert!(refused.is_err(), "{refused:?}");
    }
}
