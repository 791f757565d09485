//! The box as the client of a WebSocket (RFC 7118): what a trunk peer sees that is connected to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};
use sip::Transport;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept_hdr};

use crate::bench::{Line, PATIENCE, Sbc, ack_of, answer_to, bye_of, calls_to, listen, request};
use crate::certificates::{Authority, Identity};

/// A phone that calls through the box, and the carrier that its calls go to over WebSocket.
struct Outward {
    sbc: Sbc,
    phone: UdpSocket,
    carrier: TcpListener,
}

impl Outward {
    /// To `ws:host`, or with an authority that the box believes to `wss:host`.
    fn to(host: &str, believed: Option<&Authority>) -> Outward {
        let carrier = TcpListener::bind("127.0.0.1:0").unwrap();
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.set_read_timeout(Some(PATIENCE)).unwrap();
        let transport = if believed.is_some() { Transport::Wss } else { Transport::Ws };
        let port = carrier.local_addr().unwrap().port();
        let peer = format!("sip:{host}:{port};transport={}", transport.as_param());
        let snapshot = calls_to(&peer, phone.local_addr().unwrap());
        let sbc = Sbc::start_with(1, |config| {
            config.listeners[1] = listen("ws", transport, "127.0.0.1:0");
            config.listeners[1].tls =
                believed.map(|ca| Authority::new("box").identity("edge.example").tls(None, Some(ca)));
            config.snapshot = snapshot;
            config.limits.handshake = Duration::from_secs(1);
        });
        Outward { sbc, phone, carrier }
    }

    fn address(&self) -> SocketAddr {
        self.phone.local_addr().unwrap()
    }

    fn call(&self, name: &str) {
        self.say(&request("INVITE", name, "UDP", self.address()));
    }

    fn say(&self, text: &str) {
        self.phone.send_to(text.as_bytes(), self.sbc.udp).unwrap();
    }

    /// What the phone hears next that is not a 100.
    fn hear(&self) -> String {
        let mut room = [0; 4096];
        loop {
            let count = self.phone.recv(&mut room).expect("an answer");
            let text = String::from_utf8(room[..count].to_vec()).unwrap();
            if !text.starts_with("SIP/2.0 100 ") {
                return text;
            }
        }
    }

    /// The connection of the box, before anything was said on it.
    fn stream(&self) -> TcpStream {
        let (stream, _) = self.carrier.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The WebSocket that the box opens, and the request that it was asked for with.
    fn accept(&self) -> (WebSocket<TcpStream>, Request) {
        agree(self.stream()).unwrap()
    }

    /// A carrier that shakes hands by hand: its answer is made of the key that would agree.
    fn answer(&self, answer: impl Fn(&str) -> Vec<u8>) -> Line {
        let mut line = Line::new(self.stream());
        let request = line.receive();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        // It may hang up before all of it is written.
        let _ = line.stream.write_all(&answer(&derive_accept_key(key.as_bytes())));
        line
    }
}

/// What a server says that speaks SIP.
#[allow(clippy::result_large_err)]
fn agree<S: Read + Write>(stream: S) -> Result<(WebSocket<S>, Request), String> {
    let mut asked = None;
    let agreed = accept_hdr(stream, |request: &Request, mut response: Response| {
        asked = Some(request.clone());
        response.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
        Ok(response)
    });
    Ok((agreed.map_err(|error| error.to_string())?, asked.unwrap()))
}

fn text<S: Read + Write>(socket: &mut WebSocket<S>) -> String {
    match socket.read().unwrap() {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

/// What a server makes of the key that would agree.
type Answer<'a> = &'a dyn Fn(&str) -> String;

/// The head of an answer that agrees to everything.
fn agreement(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {key}\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    )
}

/// A call that is answered, used both ways and ended by the carrier.
fn converse<S: Read + Write>(outward: &Outward, socket: &mut WebSocket<S>, name: &str, via: &str) {
    let invite = text(socket);
    assert!(invite.starts_with("INVITE ") && invite.contains(&format!("\r\nVia: {via} ")), "{invite}");
    socket.send(Message::text(answer_to(&invite, "sip:far@df7jal23ls0d.invalid;transport=ws"))).unwrap();
    let ok = outward.hear();
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    outward.say(&ack_of(&ok, name, outward.address()));
    assert!(text(socket).starts_with("ACK "), "on the connection that is open");
    socket.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
    socket.send(Message::text("\r\n\r\n")).unwrap();
    assert_eq!(text(socket), "\r\n", "whoever opened it (RFC 7118 §6)");
    socket.send(Message::text(bye_of(&invite, &format!("{via} localhost")))).unwrap();
    assert!(text(socket).starts_with("SIP/2.0 200 "));
    let bye = outward.hear();
    assert!(bye.starts_with("BYE "), "{bye}");
    let same: String =
        bye.lines().filter(|line| !line.starts_with("BYE ")).map(|line| format!("{line}\r\n")).collect();
    outward.say(&format!("SIP/2.0 200 OK\r\n{same}"));
}

#[test]
fn calls_to_a_trunk_share_one_websocket_that_is_used_both_ways() {
    let outward = Outward::to("localhost", None);
    outward.call("one");
    let (mut socket, asked) = outward.accept();
    assert_eq!(asked.headers()["Sec-WebSocket-Protocol"], "sip");
    let port = outward.carrier.local_addr().unwrap().port();
    assert_eq!(asked.headers()["Host"], format!("localhost:{port}"));
    assert!(!asked.headers().contains_key("Origin"), "the box is no browser");
    converse(&outward, &mut socket, "one", "SIP/2.0/WS");
    outward.call("two");
    converse(&outward, &mut socket, "two", "SIP/2.0/WS");
    let totals = outward.sbc.net.handle().net_totals();
    assert_eq!((totals.connections_opened, totals.connections_open), (1, 1));
    socket.close(None).unwrap();
    assert!(matches!(socket.read(), Ok(Message::Close(_)) | Err(Error::ConnectionClosed)));
    outward.sbc.await_totals(|totals| totals.connections_open == 0);
    outward.call("three");
    let (mut socket, _) = outward.accept();
    assert!(text(&mut socket).starts_with("INVITE "), "a new one in place of the one that is gone");
}

/// What the phone is told of a call to `host` over secure WebSocket, or that the carrier got it.
fn secure_call_to(host: &str, identity: &Identity, believed: &Authority) -> Result<(), String> {
    let outward = Outward::to(host, Some(believed));
    outward.call("secure");
    let stream = outward.stream();
    let session = ServerConnection::new(Arc::clone(&identity.server())).unwrap();
    match agree(StreamOwned::new(session, stream)) {
        Ok((mut socket, asked)) => {
            assert!(asked.headers()["Host"].to_str().unwrap().starts_with(host));
            converse(&outward, &mut socket, "secure", "SIP/2.0/WSS");
            Ok(())
        }
        Err(_) => Err(outward.hear()),
    }
}

#[test]
fn a_secure_websocket_is_opened_to_whom_its_certificate_names_only() {
    let (believed, other) = (Authority::new("believed"), Authority::new("other"));
    assert_eq!(secure_call_to("localhost", &believed.identity("localhost"), &believed), Ok(()));
    assert_eq!(secure_call_to("127.0.0.1", &believed.identity("127.0.0.1"), &believed), Ok(()));
    for (what, identity) in [
        ("another name", believed.identity("carrier.example")),
        ("an authority that nobody knows", other.identity("localhost")),
    ] {
        let refused = secure_call_to("localhost", &identity, &believed).expect_err(what);
        assert!(refused.starts_with("SIP/2.0 503 "), "{what}: {refused}");
    }
}

#[test]
fn a_peer_that_does_not_agree_to_sip_gets_no_call() {
    let other_key = |_: &str| agreement("dGhlIHNhbXBsZSBub25jZQ==");
    let no_protocol = |key: &str| agreement(key).replace("Sec-WebSocket-Protocol: sip\r\n", "");
    let another = |key: &str| agreement(key).replace("Protocol: sip", "Protocol: mqtt");
    let refused = |_: &str| "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned();
    let endless = |_: &str| format!("HTTP/1.1 101 Switching Protocols\r\nX: {}", "x".repeat(200_000));
    let answers: [(&str, Answer<'_>); 5] = [
        ("another key", &other_key),
        ("no subprotocol", &no_protocol),
        ("another subprotocol", &another),
        ("403", &refused),
        ("a head without end", &endless),
    ];
    for (what, answer) in answers {
        let outward = Outward::to("127.0.0.1", None);
        outward.call("no");
        let _line = outward.answer(|key| answer(key).into_bytes());
        let told = outward.hear();
        assert!(told.starts_with("SIP/2.0 503 "), "{what}: {told}");
        outward.sbc.await_totals(|totals| (totals.connections_failed, totals.connections_open) == (1, 0));
    }
}

#[test]
fn a_peer_that_says_nothing_is_given_up_after_the_time_of_a_handshake() {
    let outward = Outward::to("127.0.0.1", None);
    outward.call("mute");
    let _mute = outward.stream();
    assert!(outward.hear().starts_with("SIP/2.0 503 "));
    outward.sbc.await_totals(|totals| (totals.connections_failed, totals.connections_open) == (1, 0));
}

#[test]
fn a_frame_that_comes_with_the_answer_to_the_handshake_is_not_lost() {
    let outward = Outward::to("127.0.0.1", None);
    outward.call("eager");
    // With a text frame of four octets behind it, which is a ping of SIP: one write, one segment.
    let frame = [0x81, 0x04, b'\r', b'\n', b'\r', b'\n'];
    let mut line = outward.answer(|key| [agreement(key).as_bytes(), &frame].concat());
    let mut room = [0; 4096];
    let mut heard = Vec::new();
    while !frames(&heard).iter().any(|frame| frame == b"\r\n") {
        let count = line.stream.read(&mut room).unwrap();
        assert!(count > 0);
        heard.extend_from_slice(&room[..count]);
    }
    assert!(frames(&heard).iter().any(|frame| frame.starts_with(b"INVITE ")));
}

#[test]
fn what_a_server_must_not_send_is_told_so_and_closed() {
    for (what, octets, code) in [
        ("a masked frame", &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'][..], CloseCode::Protocol),
        ("a frame too long", &[0x81, 0x7f, 0, 0, 0, 0, 0x40, 0, 0, 0], CloseCode::Size),
    ] {
        let outward = Outward::to("127.0.0.1", None);
        outward.call("bad");
        let (mut socket, _) = outward.accept();
        assert!(text(&mut socket).starts_with("INVITE "));
        socket.get_mut().write_all(octets).unwrap();
        match socket.read() {
            Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, code, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        outward.sbc.await_totals(|totals| (totals.framing_faults, totals.connections_open) == (1, 0));
    }
}

/// The payloads of the frames that a client wrote, each of which is masked (RFC 6455 §5.3).
fn frames(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let [_, length, rest @ ..] = octets {
        assert!(length & 0x80 != 0, "masked");
        let (length, rest) = match (length & 0x7f, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (126 | 127, _) => break,
            (short, rest) => (usize::from(short), rest),
        };
        if rest.len() < 4 + length {
            break;
        }
        let (mask, rest) = rest.split_at(4);
        let (payload, rest) = rest.split_at(length);
        frames.push(payload.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask).collect());
        octets = rest;
    }
    frames
}
