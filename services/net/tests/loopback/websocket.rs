//! SIP over WebSocket (RFC 7118), plain and encrypted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use sip::Transport;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, HandshakeError, Message, WebSocket, client};

use crate::bench::{PATIENCE, Sbc, listen, request};
use crate::certificates::Authority;

/// A box whose stream listener is a WebSocket for these pages.
fn start(origins: &[&str], change: impl FnOnce(&mut net::Config)) -> Sbc {
    let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
    Sbc::start_with(2, |config| {
        config.listeners[1] = listen("ws", Transport::Ws, "127.0.0.1:0");
        config.listeners[1].origins = origins;
        change(config);
    })
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Shakes hands over whatever it is.
fn open<S: Read + Write>(
    stream: S,
    protocol: Option<&str>,
    origin: Option<&str>,
) -> Result<(WebSocket<S>, Response), Error> {
    let mut request = "ws://edge.example/".into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    }
    if let Some(origin) = origin {
        request.headers_mut().insert("Origin", origin.parse().unwrap());
    }
    client(request, stream).map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => panic!("no answer to the handshake"),
    })
}

fn phone(sbc: &Sbc) -> WebSocket<TcpStream> {
    open(connect(sbc.tcp), Some("sip"), None).unwrap().0
}

/// A request as a browser writes it, which does not know its own address (RFC 7118 §5).
fn from_browser(method: &str, call: &str) -> String {
    let nowhere = "192.0.2.1:1".parse().unwrap();
    request(method, call, "WS", nowhere).replace("192.0.2.1:1", "df7jal23ls0d.invalid")
}

fn status<S: Read + Write>(socket: &mut WebSocket<S>) -> String {
    match socket.read().unwrap() {
        Message::Text(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn close_code<S: Read + Write>(socket: &mut WebSocket<S>) -> Option<CloseCode> {
    match socket.read() {
        Ok(Message::Close(frame)) => frame.map(|frame| frame.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_or_binary_message_is_one_sip_message_and_is_answered_with_one() {
    let sbc = start(&[], |_| {});
    let (mut socket, response) = open(connect(sbc.tcp), Some("mqtt, sip"), None).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
    socket.send(Message::text(from_browser("BYE", "w1"))).unwrap();
    assert!(status(&mut socket).starts_with("SIP/2.0 481 "));
    socket.send(Message::binary(from_browser("BYE", "w2"))).unwrap();
    assert!(status(&mut socket).starts_with("SIP/2.0 481 "));
    // The frame says where a message ends, so that it need not say it itself (RFC 7118 §5.3.1).
    let without_length = from_browser("BYE", "w3").replace("Content-Length: 0\r\n", "");
    socket.send(Message::text(without_length)).unwrap();
    assert!(status(&mut socket).starts_with("SIP/2.0 481 "));
    let two = from_browser("BYE", "w4") + &from_browser("BYE", "w5");
    socket.send(Message::text(two)).unwrap();
    assert!(status(&mut socket).starts_with("SIP/2.0 481 "));
    socket.send(Message::text("\r\n\r\n")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("\r\n"), "the second request was none");
    sbc.net.shutdown().unwrap();
}

#[test]
fn pings_are_answered_and_a_close_is_closed() {
    let sbc = start(&[], |_| {});
    let mut socket = phone(&sbc);
    socket.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
    socket.close(None).unwrap();
    assert_eq!(close_code(&mut socket), None);
    sbc.await_totals(|totals| totals.connections_open == 0);
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_message_in_fragments_is_put_together() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let sbc = start(&[], |_| {});
    let mut socket = phone(&sbc);
    let text = from_browser("BYE", "pieces");
    let (first, rest) = text.split_at(100);
    let fragment = |text: &str, code, last| {
        Message::Frame(Frame::message(text.as_bytes().to_vec(), OpCode::Data(code), last))
    };
    socket.send(fragment(first, Data::Text, false)).unwrap();
    socket.send(Message::Ping("between".into())).unwrap();
    socket.send(fragment(rest, Data::Continue, true)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("between".into()));
    assert!(status(&mut socket).starts_with("SIP/2.0 481 "));
    sbc.net.shutdown().unwrap();
}

#[test]
fn what_waits_for_a_slow_reader_arrives_whole() {
    const REQUESTS: usize = 10_000;
    let sbc = start(&[], |config| config.limits.connection_octets = 64 << 20);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&sbc.tcp.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut socket = open(stream, Some("sip"), None).unwrap().0;
    for number in 0..REQUESTS {
        socket.write(Message::text(from_browser("BYE", &format!("slow{number}")))).unwrap();
    }
    socket.send(Message::Ping("all of it".into())).unwrap();
    let (mut answers, mut pongs) = (0, 0);
    while answers < REQUESTS || pongs == 0 {
        match socket.read().unwrap() {
            Message::Text(text) if text.starts_with("SIP/2.0 481 ") => answers += 1,
            Message::Pong(_) => pongs += 1,
            other => panic!("{other:?}"),
        }
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_handshake_without_sip_or_from_a_strange_page_is_refused() {
    let sbc = start(&["https://phone.example"], |_| {});
    let refused = |protocol, origin| match open(connect(sbc.tcp), protocol, origin) {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    };
    assert_eq!(refused(None, None), 400);
    assert_eq!(refused(Some("mqtt"), None), 400);
    assert_eq!(refused(Some("sip"), Some("https://evil.example")), 403);
    assert_eq!(refused(Some("sip"), Some("https://phone.example")), 101);
    assert_eq!(refused(Some("sip"), None), 101, "no browser");
    sbc.net.shutdown().unwrap();
}

/// The head of the answer to a handshake that is written by hand, and whether the connection was closed behind it.
fn shaken(sbc: &Sbc, request: &str) -> (String, bool) {
    let mut stream = connect(sbc.tcp);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut room = [0; 1024];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut room).unwrap() {
            0 => break,
            count => answer.extend_from_slice(&room[..count]),
        }
    }
    let head = String::from_utf8(answer).unwrap();
    let closed = !head.starts_with("HTTP/1.1 101 ") && stream.read_to_end(&mut Vec::new()).is_ok();
    (head, closed)
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: edge.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n";

#[test]
fn a_handshake_that_is_not_as_it_should_be_is_told_what_is_wrong() {
    let sbc = start(&[], |_| {});
    let without = |line: &str| {
        assert!(HANDSHAKE.contains(line));
        HANDSHAKE.replace(line, "")
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let with = |line: &str, other: &str| without(line).replace("\r\n\r\n", &format!("\r\n{other}\r\n\r\n"));
    let and = |line: &str| HANDSHAKE.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    for (what, request, status) in [
        ("another version", with(version, "Sec-WebSocket-Version: 8"), "426"),
        ("no version", without(version), "426"),
        ("two versions", and("Sec-WebSocket-Version: 8"), "426"),
        ("no key", without(key), "400"),
        ("two keys", and(key.trim_end()), "400"),
        ("a key too short", with(key, "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="), "400"),
        ("a key that is not base64", with(key, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), "400"),
        ("another method", HANDSHAKE.replace("GET ", "POST "), "405"),
        ("another method with a body", HANDSHAKE.replace("GET ", "POST ") + "body", "405"),
        ("HTTP/1.0", HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"), "400"),
        ("no Upgrade", without("Upgrade: websocket\r\n"), "400"),
        ("another Upgrade", HANDSHAKE.replace("Upgrade: websocket", "Upgrade: h2c"), "400"),
        ("no Connection", without("Connection: Upgrade\r\n"), "400"),
        ("another Connection", HANDSHAKE.replace("Connection: Upgrade", "Connection: keep-alive"), "400"),
        ("no Host", without("Host: edge.example\r\n"), "400"),
        ("two Hosts", HANDSHAKE.replace("Host:", "Host: other.example\r\nHost:"), "400"),
        ("frames before the answer", format!("{HANDSHAKE}\u{1}"), "400"),
        ("no HTTP", "BYE sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n\r\n".to_owned(), "400"),
        ("a hundred lines", HANDSHAKE.replace("Host:", &("X: y\r\n".repeat(100) + "Host:")), "431"),
        ("no end", "GET / HTTP/1.1\r\nX: ".to_owned() + &"x".repeat(40_000), "431"),
    ] {
        let (answer, closed) = shaken(&sbc, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
        assert_eq!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), status == "426", "{what}: {answer}");
        assert_eq!(answer.contains("\r\nAllow: GET\r\n"), status == "405", "{what}: {answer}");
        assert!(closed, "{what}: {answer}");
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_handshake_may_be_written_in_any_way_that_http_allows() {
    let sbc = start(&[], |_| {});
    for (what, request) in [
        ("as usual", HANDSHAKE.to_owned()),
        ("tokens in one line", HANDSHAKE.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade")),
        (
            "tokens in two lines",
            HANDSHAKE.replace("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        ),
        ("other letters", HANDSHAKE.replace("Connection: Upgrade", "CONNECTION:upgrade")),
        ("one of several upgrades", HANDSHAKE.replace("Upgrade: websocket", "Upgrade: h2c, WebSocket")),
    ] {
        let (answer, _) = shaken(&sbc, &request);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{what}: {answer}");
        // The example of RFC 6455 §1.3.
        assert!(
            answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{what}: {answer}"
        );
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: sip\r\n"), "{what}: {answer}");
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn what_is_too_long_or_against_the_protocol_is_told_so_and_closed() {
    let sbc = start(&[], |_| {});
    let mut long = phone(&sbc);
    // The announced length is enough: the box does not wait for what it would not take.
    long.get_mut().write_all(&[0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]).unwrap();
    assert_eq!(close_code(&mut long), Some(CloseCode::Size));
    let mut unmasked = phone(&sbc);
    unmasked.get_mut().write_all(&[0x81, 0x02, b'h', b'i']).unwrap();
    assert_eq!(close_code(&mut unmasked), Some(CloseCode::Protocol));
    let mut no_text = phone(&sbc);
    no_text.get_mut().write_all(&[0x81, 0x81, 0, 0, 0, 0, 0xff]).unwrap();
    assert_eq!(close_code(&mut no_text), Some(CloseCode::Invalid));
    sbc.await_totals(|totals| (totals.framing_faults, totals.connections_open) == (3, 0));
    sbc.net.shutdown().unwrap();
}

#[test]
fn what_is_no_handshake_or_does_not_end_is_let_go() {
    let sbc = start(&[], |config| config.limits.handshake = Duration::from_millis(1500));
    let mut sip = sbc.dial();
    sip.send(&request("BYE", "raw", "TCP", sip.stream.local_addr().unwrap()));
    let mut answer = Vec::new();
    let _ = sip.stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"SIP/2.0"), "a request needs a handshake before it");
    let mut slow = sbc.dial();
    slow.send("GET / HTTP/1.1\r\nHost: edge");
    assert!(slow.is_closed());
    sbc.await_totals(|totals| (totals.connections_failed, totals.connections_open) == (2, 0));
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_websocket_over_tls_carries_the_same() {
    let authority = Authority::new("all");
    let tls = authority.identity("edge.example").tls(None, None);
    let sbc = start(&[], |config| {
        config.listeners[1].transport = Transport::Wss;
        config.listeners[1].tls = Some(tls);
    });
    let name = ServerName::try_from("edge.example").unwrap();
    let session = ClientConnection::new(authority.client(None), name).unwrap();
    let mut socket = open(StreamOwned::new(session, connect(sbc.tcp)), Some("sip"), None).unwrap().0;
    for call in 0..50 {
        socket.send(Message::text(from_browser("BYE", &format!("s{call}")))).unwrap();
    }
    for _ in 0..50 {
        assert!(status(&mut socket).starts_with("SIP/2.0 481 "));
    }
    socket.send(Message::Ping("still".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("still".into()));
    sbc.net.shutdown().unwrap();
}
