//! The handshakes of TLS and of WebSocket (RFC 6455 §4, RFC 7118 §4), before a connection carries anything: those of peers
//! that come, and those at peers that are connected to.
//!
//! They are arithmetic and waiting for strangers, so they have a thread of their own: a flood of them costs the shards
//! nothing. How many may be under way and how long one may take is bounded.

use std::io;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls_pki_types::ServerName;
use sip::Transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};

use crate::layers::Layers;
use crate::tls::Tls;
use crate::upgrade::{END_OF_HEAD, Origins, SUBPROTOCOL, upgrade};
use crate::websocket::WebSocket;

/// What a peer that connects has to do first.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// What is shown to it.
    pub(crate) tls: Option<Tls>,
    /// Whose pages may open a WebSocket here; `None`: the connection is none.
    pub(crate) websocket: Option<Origins>,
}

impl Door {
    /// Lets a peer in.
    pub(crate) async fn accept(self, stream: TcpStream) -> io::Result<(TcpStream, Layers)> {
        let Door { tls, websocket } = self;
        match (tls, websocket) {
            (None, None) => Ok((stream, Layers::default())),
            (None, Some(origins)) => {
                let stream = upgrade(stream, &origins).await?;
                Ok((stream, Layers::new(None, Some(WebSocket::accepted()))))
            }
            (Some(tls), websocket) => {
                let mut stream = TlsAcceptor::from(tls.server).accept(stream).await?;
                let mut frames = None;
                if let Some(origins) = websocket {
                    stream = upgrade(stream, &origins).await?;
                    frames = Some(WebSocket::accepted());
                }
                let (stream, session) = stream.into_inner();
                Ok((stream, Layers::new(Some(session.into()), frames)))
            }
        }
    }
}

/// What a peer that is connected to is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Visit<'a> {
    /// Who it has to be: the host of the URI that led there.
    pub(crate) name: &'a str,
    /// TLS, in which it proves to be that (RFC 5922 §7).
    pub(crate) tls: Option<Tls>,
    /// A WebSocket, above TLS if there is any.
    pub(crate) websocket: bool,
}

impl Visit<'_> {
    /// Shakes hands with the peer at the other end.
    pub(crate) async fn pay(self, stream: TcpStream) -> io::Result<(TcpStream, Layers)> {
        let Visit { name, tls, websocket } = self;
        let Some(tls) = tls else {
            if !websocket {
                return Ok((stream, Layers::default()));
            }
            let at = authority(name, stream.peer_addr()?.port(), Transport::Ws);
            let (stream, frames) = open_websocket(stream, &format!("ws://{at}/")).await?;
            return Ok((stream, Layers::new(None, Some(frames))));
        };
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(format!("{name:?} is no name that a certificate can have")))?;
        let at = authority(name, stream.peer_addr()?.port(), Transport::Wss);
        let mut stream = TlsConnector::from(tls.client).connect(server, stream).await?;
        let mut frames = None;
        if websocket {
            let opened = open_websocket(stream, &format!("wss://{at}/")).await?;
            (stream, frames) = (opened.0, Some(opened.1));
        }
        let (stream, session) = stream.into_inner();
        Ok((stream, Layers::new(Some(session.into()), frames)))
    }
}

/// The Host of a handshake (RFC 6455 §4.1): without the port where it is the usual one.
fn authority(name: &str, port: u16, transport: Transport) -> String {
    let host = match name.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => name.to_owned(),
    };
    if port == transport.default_port() { host } else { format!("{host}:{port}") }
}

/// Asks for a WebSocket that carries SIP; a peer that does not agree to that in so many words is none (RFC 7118 §4.1).
async fn open_websocket<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    uri: &str,
) -> io::Result<(S, WebSocket)> {
    let mut request = uri.into_client_request().map_err(io::Error::other)?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let stream = Overheard { stream, read: Vec::new() };
    let (websocket, _) = client_async_with_config(request, stream, None).await.map_err(io::Error::other)?;
    let Overheard { stream, mut read } = websocket.into_inner();
    let head = memchr::memmem::find(&read, END_OF_HEAD)
        .ok_or_else(|| io::Error::other("an answer to the handshake whose lines do not end in CRLF"))?;
    Ok((stream, WebSocket::opened(read.split_off(head + END_OF_HEAD.len()))))
}

/// Remembers what was read: a server may send its first frame with the answer to the handshake, and the library, which
/// bounds how long that answer may be, keeps that frame to itself.
struct Overheard<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, room))?;
        self.read.extend_from_slice(room.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
