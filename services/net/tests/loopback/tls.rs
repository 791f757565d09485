//! TLS: who is let in, whom the box believes, and certificates that change under open connections.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;
use sip::Transport;

use crate::bench::{Line, PATIENCE, Sbc, ack_of, answer_to, bye_of, call_id, calls_to, listen, request};
use crate::certificates::{Authority, Identity};

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// A box whose stream listener speaks TLS.
fn start(identity: &Identity, client_ca: Option<&Authority>) -> Sbc {
    let tls = identity.tls(client_ca, None);
    Sbc::start_with(2, |config| {
        config.listeners[1] = listen("tls", Transport::Tls, "127.0.0.1:0");
        config.listeners[1].tls = Some(tls);
    })
}

/// Connects and finishes the handshake; the error is what a peer is told that is not let in.
fn dial(sbc: &Sbc, config: &Arc<ClientConfig>) -> std::io::Result<Line<Encrypted>> {
    shake_hands(TcpStream::connect(sbc.tcp)?, config)
}

fn shake_hands(stream: TcpStream, config: &Arc<ClientConfig>) -> std::io::Result<Line<Encrypted>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("edge.example").unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = stream;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(Line::over(StreamOwned::new(session, stream)))
}

/// Whether a request is answered on the connection.
fn is_served(line: &mut Line<Encrypted>, call: &str) -> bool {
    let local = line.stream.sock.local_addr().unwrap();
    let text = request("BYE", call, "TLS", local);
    line.stream.write_all(text.as_bytes()).is_ok()
        && line.try_receive().is_some_and(|answer| answer.starts_with("SIP/2.0 481 "))
}

#[test]
fn a_request_over_tls_is_answered_on_its_connection_and_a_ping_with_a_pong() {
    let authority = Authority::new("all");
    let sbc = start(&authority.identity("edge.example"), None);
    let mut line = dial(&sbc, &authority.client(None)).unwrap();
    assert!(is_served(&mut line, "t1"));
    line.send("\r\n\r\n");
    assert_eq!(line.receive_some(), "\r\n");
    let many: String = (0..200)
        .map(|n| request("BYE", &format!("many{n}"), "TLS", line.stream.sock.local_addr().unwrap()))
        .collect();
    line.send(&many);
    for _ in 0..200 {
        assert!(line.receive().starts_with("SIP/2.0 481 "));
    }
    sbc.net.shutdown().unwrap();
}

/// Much waits for a peer that reads late: what the socket takes in pieces arrives whole and in order.
#[test]
fn what_waits_for_a_slow_reader_arrives_whole() {
    const REQUESTS: usize = 10_000;
    let authority = Authority::new("all");
    let tls = authority.identity("edge.example").tls(None, None);
    let sbc = Sbc::start_with(1, |config| {
        config.listeners[1] = listen("tls", Transport::Tls, "127.0.0.1:0");
        config.listeners[1].tls = Some(tls);
        config.limits.connection_octets = 64 << 20;
    });
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&sbc.tcp.into()).unwrap();
    let mut line = shake_hands(socket.into(), &authority.client(None)).unwrap();
    let local = line.stream.sock.local_addr().unwrap();
    for number in 0..REQUESTS {
        line.send(&request("BYE", &format!("slow{number}"), "TLS", local));
    }
    for number in 0..REQUESTS {
        let answer = line.receive();
        assert!(answer.starts_with("SIP/2.0 481 "), "{answer}");
        assert_eq!(call_id(&answer), format!("slow{number}"));
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn with_a_client_ca_only_peers_with_a_certificate_of_it_are_let_in() {
    let (ours, theirs, strangers) = (Authority::new("o"), Authority::new("t"), Authority::new("s"));
    let sbc = start(&ours.identity("edge.example"), Some(&theirs));
    let (good, bad) = (theirs.identity("peer.example"), strangers.identity("peer.example"));
    assert!(is_served(&mut dial(&sbc, &ours.client(Some(&good))).unwrap(), "good"));
    for (who, identity) in [("nobody", None), ("a stranger", Some(&bad))] {
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        let served = dial(&sbc, &ours.client(identity)).is_ok_and(|mut line| is_served(&mut line, "bad"));
        assert!(!served, "{who} was let in");
    }
    sbc.await_totals(|totals| (totals.connections_failed, totals.connections_open) == (2, 0));
    sbc.net.shutdown().unwrap();
}

#[test]
fn what_is_no_tls_is_cut_off_and_a_mute_peer_after_its_time() {
    let authority = Authority::new("all");
    let tls = authority.identity("edge.example").tls(None, None);
    let sbc = Sbc::start_with(1, |config| {
        config.listeners[1] = listen("tls", Transport::Tls, "127.0.0.1:0");
        config.listeners[1].tls = Some(tls);
        config.limits.handshake = Duration::from_millis(1500);
        config.limits.handshakes = 2;
    });
    let mut plain = sbc.dial();
    plain.send(&request("BYE", "plain", "TCP", plain.stream.local_addr().unwrap()));
    let mut rest = Vec::new();
    let _ = plain.stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"SIP/2.0"), "no answer in the clear");
    sbc.await_totals(|totals| (totals.connections_failed, totals.connections_open) == (1, 0));

    let begun = Instant::now();
    let mut mute = [sbc.dial(), sbc.dial()];
    sbc.await_totals(|totals| totals.connections_open == 2);
    assert!(sbc.dial().is_closed(), "no more handshakes at once than may be");
    for line in &mut mute {
        assert!(line.is_closed());
    }
    assert!(begun.elapsed() >= Duration::from_millis(1400));
    sbc.await_totals(|totals| (totals.connections_refused, totals.connections_open) == (1, 0));
    assert!(is_served(&mut dial(&sbc, &authority.client(None)).unwrap(), "after"), "others are let in again");
    sbc.net.shutdown().unwrap();
}

#[test]
fn a_certificate_is_swapped_under_open_connections() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let sbc = start(&old.identity("edge.example"), None);
    let mut open: Vec<_> = (0..20).map(|_| dial(&sbc, &old.client(None)).unwrap()).collect();
    assert!(dial(&sbc, &new.client(None)).is_err());
    assert!(sbc.net.handle().renew("tls", new.identity("edge.example").tls(None, None)));
    assert!(!sbc.net.handle().renew("u", new.identity("edge.example").tls(None, None)), "has none");
    assert!(is_served(&mut dial(&sbc, &new.client(None)).unwrap(), "new"));
    assert!(dial(&sbc, &old.client(None)).is_err());
    for (number, line) in open.iter_mut().enumerate() {
        assert!(is_served(line, &format!("open{number}")));
    }
    sbc.net.shutdown().unwrap();
}

/// Who shows itself to a peer that asks for this name, or for none.
fn shown(sbc: &Sbc, client: &Arc<ClientConfig>, name: &str) -> Result<Vec<u8>, std::io::Error> {
    let mut stream = TcpStream::connect(sbc.tcp)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut session =
        ClientConnection::new(Arc::clone(client), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(session.peer_certificates().unwrap()[0].to_vec())
}

#[test]
fn each_name_of_a_listener_has_its_certificate_and_nobody_s_name_the_listeners_own() {
    let authority = Authority::new("all");
    let identity = |names: &[&str]| authority.identity_of(names);
    let own = identity(&["edge.example", "127.0.0.1"]);
    let (second, wild) = (identity(&["sip.other.example", "other.example"]), identity(&["*.many.example"]));
    let tls = own.tls_beside(&[&second, &wild], None, None);
    let sbc = Sbc::start_with(1, |config| {
        config.listeners[1] = listen("tls", Transport::Tls, "127.0.0.1:0");
        config.listeners[1].tls = Some(tls);
    });
    let client = authority.client(None);
    let der = |identity: &Identity| identity.certificate.der().to_vec();
    for (name, identity) in [
        ("edge.example", &own),
        ("other.example", &second),
        ("sip.other.example", &second),
        ("SIP.Other.Example", &second),
        ("a.many.example", &wild),
        ("b.many.example", &wild),
        // A client that knows an address says no name (RFC 6066 §3).
        ("127.0.0.1", &own),
    ] {
        assert_eq!(shown(&sbc, &client, name).unwrap(), der(identity), "{name}");
    }
    let refused = shown(&sbc, &client, "nobody.example").unwrap_err().to_string();
    assert!(refused.contains("edge.example"), "the listener's own, which is not for that: {refused}");

    // All of them are swapped together.
    let (own, second) = (identity(&["edge.example"]), identity(&["other.example"]));
    assert!(sbc.net.handle().renew("tls", own.tls_beside(&[&second], None, None)));
    assert_eq!(shown(&sbc, &client, "edge.example").unwrap(), der(&own));
    assert_eq!(shown(&sbc, &client, "other.example").unwrap(), der(&second));
    assert!(shown(&sbc, &client, "a.many.example").is_err());
    sbc.net.shutdown().unwrap();
}

/// A carrier that shows `identity`, called by `host` from the UDP phone, and the box between them.
struct Outward {
    sbc: Sbc,
    phone: std::net::UdpSocket,
    carrier: TcpListener,
    identity: Arc<rustls::ServerConfig>,
}

impl Outward {
    fn new(host: &str, identity: &Identity, believed: &Authority) -> Outward {
        let carrier = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = Authority::new("box").identity("edge.example").tls(None, Some(believed));
        let phone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.set_read_timeout(Some(PATIENCE)).unwrap();
        let port = carrier.local_addr().unwrap().port();
        let snapshot = calls_to(&format!("sip:{host}:{port};transport=tls"), phone.local_addr().unwrap());
        let sbc = Sbc::start_with(1, |config| {
            config.listeners[1] = listen("tls", Transport::Tls, "127.0.0.1:0");
            config.listeners[1].tls = Some(ours);
            config.snapshot = snapshot;
        });
        let outward = Outward { sbc, phone, carrier, identity: identity.server() };
        outward.say(&request("INVITE", "out", "UDP", outward.phone.local_addr().unwrap()));
        outward
    }

    fn say(&self, text: &str) {
        self.phone.send_to(text.as_bytes(), self.sbc.udp).unwrap();
    }

    /// What the phone hears next that is not a 100.
    fn hear(&self) -> String {
        let mut room = [0; 4096];
        loop {
            let count = self.phone.recv(&mut room).expect("an answer");
            let text = String::from_utf8_lossy(&room[..count]).into_owned();
            if !text.starts_with("SIP/2.0 100 ") {
                return text;
            }
        }
    }

    /// The connection that the box opens to the carrier.
    fn accept(&self) -> Line<StreamOwned<ServerConnection, TcpStream>> {
        let (stream, _) = self.carrier.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Line::over(StreamOwned::new(ServerConnection::new(Arc::clone(&self.identity)).unwrap(), stream))
    }
}

/// What becomes of a call: the INVITE that the carrier gets, or what the phone is told.
fn call_to(host: &str, identity: &Identity, believed: &Authority) -> Result<String, String> {
    let outward = Outward::new(host, identity, believed);
    outward.accept().try_receive().ok_or_else(|| outward.hear())
}

#[test]
fn a_call_to_a_trunk_uses_one_connection_both_ways_and_pings_on_it_are_answered() {
    let authority = Authority::new("all");
    let outward = Outward::new("localhost", &authority.identity("localhost"), &authority);
    let mut carrier = outward.accept();
    let invite = carrier.receive();
    carrier.send(&answer_to(&invite, "sip:far@localhost;transport=tls"));
    let ok = outward.hear();
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    outward.say(&ack_of(&ok, "out", outward.phone.local_addr().unwrap()));
    assert!(carrier.receive().starts_with("ACK "), "on the connection that is open");
    carrier.skip_body();
    carrier.send("\r\n\r\n");
    assert_eq!(carrier.receive_some(), "\r\n", "whoever opened it (RFC 5626 §3.5.1)");
    // The Contact of the box says TLS; its answer comes by this connection, and by no other.
    carrier.send(&bye_of(&invite, "SIP/2.0/TLS localhost"));
    assert!(carrier.receive().starts_with("SIP/2.0 200 "));
    assert!(outward.hear().starts_with("BYE "));
    let totals = outward.sbc.net.handle().net_totals();
    assert_eq!((totals.connections_opened, totals.connections_open), (1, 1));
}

#[test]
fn a_trunk_peer_must_have_the_name_of_its_uri_from_an_authority_that_is_believed() {
    let (believed, other) = (Authority::new("believed"), Authority::new("other"));
    let by_name = call_to("localhost", &believed.identity("localhost"), &believed).unwrap();
    assert!(by_name.contains("\r\nVia: SIP/2.0/TLS "), "{by_name}");
    assert!(by_name.contains(";transport=tls>\r\n"), "the Contact says where the box is reached: {by_name}");
    let by_address = call_to("127.0.0.1", &believed.identity("127.0.0.1"), &believed);
    assert!(by_address.is_ok(), "{by_address:?}");
    for (what, identity) in [
        ("another name", believed.identity("carrier.example")),
        ("an authority that nobody knows", other.identity("localhost")),
    ] {
        let refused = call_to("localhost", &identity, &believed).expect_err(what);
        assert!(refused.starts_with("SIP/2.0 503 "), "{what}: {refused}");
    }
}

/// Connects from this address of the host.
fn dial_from(sbc: &Sbc, ip: [u8; 4]) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&sbc.tcp.into()).unwrap();
    socket.into()
}

#[test]
fn strangers_that_say_nothing_leave_handshakes_and_connections_to_a_trunk() {
    let authority = Authority::new("all");
    let tls = authority.identity("edge.example").tls(None, None);
    let mut trunk = routing::Trunk::new("pbx");
    trunk.sources = vec![routing::Source::parse("127.0.0.2").unwrap()];
    let sbc = Sbc::start_with(1, |config| {
        config.listeners[1] = listen("tls", Transport::Tls, "127.0.0.1:0");
        config.listeners[1].tls = Some(tls);
        config.limits.handshakes = 8;
        config.limits.connections = 12;
        config.limits.connections_per_source = 12;
        config.guard = net::GuardRules { exempt: Vec::new(), ..net::GuardRules::default() };
        config.snapshot = Arc::new(routing::Snapshot::new(vec![trunk], Vec::new()).unwrap());
    });
    let mut mute: Vec<TcpStream> = (0..8).map(|n| dial_from(&sbc, [127, 0, 0, 70 + n / 2])).collect();
    sbc.await_totals(|totals| (totals.connections_open, totals.connections_refused) == (6, 2));
    mute.push(dial_from(&sbc, [127, 0, 0, 70]));
    sbc.await_totals(|totals| totals.connections_refused == 3);
    let mut line = shake_hands(dial_from(&sbc, [127, 0, 0, 2]), &authority.client(None)).unwrap();
    assert!(is_served(&mut line, "trunk"), "six of eight places are the strangers', two are left");
    drop(mute);
    sbc.await_totals(|totals| totals.connections_open == 1);

    let strangers: Vec<_> =
        (0..9).map(|n| shake_hands(dial_from(&sbc, [127, 0, 0, 80 + n]), &authority.client(None))).collect();
    assert_eq!(
        strangers.iter().filter(|line| line.is_ok()).count(),
        8,
        "nine of twelve, one of them the trunk's"
    );
    let mut second = shake_hands(dial_from(&sbc, [127, 0, 0, 2]), &authority.client(None)).unwrap();
    assert!(is_served(&mut second, "beside"));
    sbc.net.shutdown().unwrap();
}

#[test]
fn who_connects_again_and_again_and_never_shakes_hands_is_banned() {
    let authority = Authority::new("all");
    let tls = authority.identity("edge.example").tls(None, None);
    let sbc = Sbc::start_with(1, |config| {
        config.listeners[1] = listen("tls", Transport::Tls, "127.0.0.1:0");
        config.listeners[1].tls = Some(tls);
        config.limits.handshake = Duration::from_secs(1);
        config.guard = net::GuardRules { exempt: Vec::new(), malformed: 3, ..net::GuardRules::default() };
    });
    for _ in 0..5 {
        // To ask whether somebody is here is no offence.
        drop(sbc.dial());
    }
    sbc.await_totals(|totals| (totals.connections_accepted, totals.connections_open) == (5, 0));
    assert_eq!(sbc.net.handle().bans().len(), 0);
    for _ in 0..3 {
        assert!(sbc.dial().is_closed());
    }
    let deadline = Instant::now() + PATIENCE;
    while sbc.net.handle().bans().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sbc.net.handle().bans()[0].reason, net::Reason::Malformed);
    sbc.net.shutdown().unwrap();
}
