//! The handshakes of TLS and of WebSocket (RFC 6455 §4, RFC 7118 §4), before a connection carries anything.
//!
//! They are arithmetic and waiting for strangers, so they have a thread of their own: a flood of them costs the shards
//! nothing. How many may be under way and how long one may take is bounded.

use std::io;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::layers::Layers;
use crate::tls::Tls;

/// The subprotocol that RFC 7118 §4 demands.
const SUBPROTOCOL: &str = "sip";

/// What a peer that connects has to do first.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// What is shown to it.
    pub(crate) tls: Option<Tls>,
    /// Whose pages may open a WebSocket here; `None`: the connection is none.
    pub(crate) websocket: Option<Origins>,
}

/// The pages that may open a WebSocket, by the Origin that browsers say (RFC 6455 §10.2); nobody named: all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(pub(crate) std::sync::Arc<[String]>);

impl Door {
    /// Lets a peer in.
    pub(crate) async fn accept(self, stream: TcpStream) -> io::Result<(TcpStream, Layers)> {
        let Door { tls, websocket } = self;
        match (tls, websocket) {
            (None, None) => Ok((stream, Layers::default())),
            (None, Some(origins)) => {
                let stream = upgrade(stream, origins).await?;
                Ok((stream, Layers::new(None, true)))
            }
            (Some(tls), websocket) => {
                let mut stream = TlsAcceptor::from(tls.server).accept(stream).await?;
                let is_websocket = websocket.is_some();
                if let Some(origins) = websocket {
                    stream = upgrade(stream, origins).await?;
                }
                let (stream, session) = stream.into_inner();
                Ok((stream, Layers::new(Some(session.into()), is_websocket)))
            }
        }
    }
}

/// Opens TLS towards a peer that must prove to be `name` (RFC 5922 §7).
pub(crate) async fn connect(stream: TcpStream, name: &str, tls: Tls) -> io::Result<(TcpStream, Layers)> {
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| io::Error::other(format!("{name:?} is no name that a certificate can have")))?;
    let stream = TlsConnector::from(tls.client).connect(name, stream).await?;
    let (stream, session) = stream.into_inner();
    Ok((stream, Layers::new(Some(session.into()), false)))
}

async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(stream: S, origins: Origins) -> io::Result<S> {
    // The error is the library's type, which carries a whole response.
    #[allow(clippy::result_large_err)]
    let answer = |request: &Request, response: Response| origins.answer(request, response);
    let websocket = accept_hdr_async_with_config(stream, answer, None).await.map_err(io::Error::other)?;
    // Nothing that came behind the handshake is lost: the library refuses a peer that sends before it was answered.
    Ok(websocket.into_inner())
}

impl Origins {
    #[allow(clippy::result_large_err)]
    fn answer(&self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        if !offers_sip(request.headers()) {
            return Err(refusal(StatusCode::BAD_REQUEST, "Sec-WebSocket-Protocol must offer sip (RFC 7118)"));
        }
        if !self.admit(request.headers()) {
            return Err(refusal(StatusCode::FORBIDDEN, "this Origin is not allowed"));
        }
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            // Only browsers say where a page is from, and only their users need to be kept from strange pages.
            return true;
        };
        self.0.is_empty()
            || self.0.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
    }
}

fn offers_sip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|offered| offered.trim().eq_ignore_ascii_case(SUBPROTOCOL))
}

fn refusal(status: StatusCode, why: &str) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(why.to_owned()));
    *refusal.status_mut() = status;
    refusal
}
