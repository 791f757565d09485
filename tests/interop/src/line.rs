//! SIP messages over any transport, as a peer sends and gets them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr, client};

/// How long a peer waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Over {
    /// All of them.
    pub const ALL: [Over; 5] = [Over::Udp, Over::Tcp, Over::Tls, Over::Ws, Over::Wss];

    /// As a URI says it.
    pub fn name(self) -> &'static str {
        match self {
            Over::Udp => "udp",
            Over::Tcp => "tcp",
            Over::Tls => "tls",
            Over::Ws => "ws",
            Over::Wss => "wss",
        }
    }
}

/// One connection to the box, or one socket.
pub struct Line {
    local: SocketAddr,
    wire: Wire,
}

enum Wire {
    Datagrams(UdpSocket),
    Stream(Box<dyn Duplex>, Vec<u8>),
    WebSocket(Box<WebSocket<Box<dyn Duplex>>>),
}

trait Duplex: Read + Write {}
impl<S: Read + Write> Duplex for S {}

impl Line {
    /// From `host` to `remote`; TLS with this configuration, the box being `edge.example`.
    ///
    /// # Errors
    ///
    /// The connection or a handshake was refused.
    pub fn open(over: Over, host: IpAddr, remote: SocketAddr, tls: &Arc<ClientConfig>) -> io::Result<Line> {
        if over == Over::Udp {
            let socket = UdpSocket::bind((host, 0))?;
            socket.connect(remote)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            return Ok(Line { local: socket.local_addr()?, wire: Wire::Datagrams(socket) });
        }
        let domain = if host.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(host, 0).into())?;
        socket.connect(&remote.into())?;
        let tcp = TcpStream::from(socket);
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let local = tcp.local_addr()?;
        let stream: Box<dyn Duplex> = match over {
            Over::Udp | Over::Tcp | Over::Ws => Box::new(tcp),
            Over::Tls | Over::Wss => {
                let mut tcp = tcp;
                let name = ServerName::try_from("edge.example").unwrap();
                let mut session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
                while session.is_handshaking() {
                    session.complete_io(&mut tcp)?;
                }
                Box::new(StreamOwned::new(session, tcp))
            }
        };
        let wire = match over {
            Over::Udp | Over::Tcp | Over::Tls => Wire::Stream(stream, Vec::new()),
            Over::Ws | Over::Wss => {
                let mut request = "ws://edge.example/".into_client_request().unwrap();
                request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
                let opened = client(request, stream);
                Wire::WebSocket(Box::new(opened.map_err(|error| io::Error::other(error.to_string()))?.0))
            }
        };
        Ok(Line { local, wire })
    }

    /// The connection that the box opens to `listener`; TLS with this configuration.
    ///
    /// # Errors
    ///
    /// None came, or a handshake was not to the peer's liking.
    pub fn accept(over: Over, listener: &TcpListener, tls: &Arc<ServerConfig>) -> io::Result<Line> {
        let (tcp, _) = listener.accept()?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = match over {
            Over::Udp | Over::Tcp | Over::Ws => Box::new(tcp),
            Over::Tls | Over::Wss => {
                let session = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(session, tcp))
            }
        };
        let wire = match over {
            Over::Udp | Over::Tcp | Over::Tls => Wire::Stream(stream, Vec::new()),
            Over::Ws | Over::Wss => {
                #[allow(clippy::result_large_err)]
                let agree = |request: &Request, mut response: Response| {
                    // RFC 7118 §4: who asks for nothing gets nothing, and the box notices.
                    if let Some(protocol) = request.headers().get("Sec-WebSocket-Protocol") {
                        response.headers_mut().insert("Sec-WebSocket-Protocol", protocol.clone());
                    }
                    Ok(response)
                };
                let opened = accept_hdr(stream, agree);
                Wire::WebSocket(Box::new(opened.map_err(|error| io::Error::other(error.to_string()))?))
            }
        };
        Ok(Line { local: listener.local_addr()?, wire })
    }

    /// Its own address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends octets as they are; in one message where there are messages.
    pub fn send(&mut self, text: &str) {
        match &mut self.wire {
            Wire::Datagrams(socket) => {
                socket.send(text.as_bytes()).unwrap();
            }
            Wire::Stream(stream, _) => stream.write_all(text.as_bytes()).unwrap(),
            Wire::WebSocket(socket) => socket.send(Message::text(text)).unwrap(),
        }
    }

    /// The next message of the box.
    ///
    /// # Errors
    ///
    /// None came in time, or the connection ended.
    pub fn receive(&mut self) -> io::Result<String> {
        match &mut self.wire {
            Wire::Datagrams(socket) => {
                let mut room = vec![0; 65_536];
                let count = socket.recv(&mut room)?;
                Ok(String::from_utf8_lossy(&room[..count]).into_owned())
            }
            Wire::Stream(stream, read) => loop {
                if let Some(end) = end_of_message(read) {
                    return Ok(String::from_utf8_lossy(&read.drain(..end).collect::<Vec<_>>()).into_owned());
                }
                let mut room = [0; 4096];
                match stream.read(&mut room)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => read.extend_from_slice(&room[..count]),
                }
            },
            Wire::WebSocket(socket) => loop {
                match socket.read().map_err(|error| io::Error::other(error.to_string()))? {
                    Message::Text(text) => return Ok(text.to_string()),
                    Message::Binary(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                    _ => {}
                }
            },
        }
    }
}

/// Where the first message ends, by its Content-Length; CRLFs between messages are one of their own.
fn end_of_message(read: &[u8]) -> Option<usize> {
    if read.starts_with(b"\r\n") {
        return Some(2);
    }
    let head = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&read[..head]).into_owned();
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    let end = head + length.trim().parse::<usize>().unwrap();
    (read.len() >= end).then_some(end)
}
