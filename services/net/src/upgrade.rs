//! The handshake of a peer that opens a WebSocket (RFC 6455 §4.2, RFC 7118 §4): one HTTP request and its answer.
//!
//! The library of the frames has one, too, but it leaves without a word when a request is not as it should be. Whoever writes
//! a client, or puts a proxy in front of the box, has to read what is wrong (RFC 6455 §4.2.2): so the lines are read by
//! httparse, what they must say is checked here, and each fault has its status and its sentence.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Header, Request, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The subprotocol that RFC 7118 §4 demands.
pub(crate) const SUBPROTOCOL: &str = "sip";

pub(crate) const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// The longest request, in octets and lines: browsers send cookies and what they know of themselves.
const MAX_HEAD: usize = 16 * 1024;
const MAX_LINES: usize = 64;

/// How long and how much a peer may still send that was refused.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_READS: usize = 64;

/// The pages that may open a WebSocket, by the Origin that browsers say (RFC 6455 §10.2); nobody named: all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(pub(crate) Arc<[String]>);

/// Why a peer gets no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    status: &'static str,
    /// Whole lines that the status demands.
    lines: &'static str,
    why: &'static str,
}

/// Reads the request of a peer and answers it; an error when it was refused.
pub(crate) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    origins: &Origins,
) -> io::Result<S> {
    let answered = match read_head(&mut stream).await? {
        Some(head) => answer(&head, origins),
        None => Err(Refusal::too_long()),
    };
    match answered {
        Ok(answer) => {
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            Ok(stream)
        }
        Err(refusal) => {
            refuse(&mut stream, refusal).await;
            Err(io::Error::other(format!("no WebSocket: {}", refusal.why)))
        }
    }
}

/// All that came up to the end of a head, and perhaps behind it; `None` when that does not end where it should.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    while head.len() < MAX_HEAD {
        // The end may have been cut in two.
        let looked_at = head.len().saturating_sub(END_OF_HEAD.len() - 1);
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if memchr::memmem::find(head.get(looked_at..).unwrap_or_default(), END_OF_HEAD).is_some() {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Says what is wrong, and lets the peer read it: closing with octets unread would take the answer back.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, refusal: Refusal) {
    let Refusal { status, lines, why } = refusal;
    let answer = format!(
        "HTTP/1.1 {status}\r\n{lines}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{why}\n",
        why.len() + 1
    );
    if stream.write_all(answer.as_bytes()).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let rest = async {
        let mut room = [0; 1024];
        for _ in 0..LINGER_READS {
            if matches!(stream.read(&mut room).await, Ok(0) | Err(_)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// The answer that opens the WebSocket, or why there is none: RFC 6455 §4.2.1 point by point.
fn answer(head: &[u8], origins: &Origins) -> Result<String, Refusal> {
    let mut room = [EMPTY_HEADER; MAX_LINES];
    let mut request = Request::new(&mut room);
    let length = match request.parse(head) {
        Ok(Status::Complete(length)) => length,
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::too_long()),
        Ok(Status::Partial) | Err(_) => return Err(Refusal::bad("expected an HTTP/1.1 request")),
    };
    if request.method != Some("GET") {
        let why = "expected GET, with which a WebSocket is opened";
        return Err(Refusal { status: "405 Method Not Allowed", lines: "Allow: GET\r\n", why });
    }
    if request.version != Some(1) {
        return Err(Refusal::bad("expected HTTP/1.1"));
    }
    if head.len() != length {
        return Err(Refusal::bad("expected nothing behind the request before it is answered"));
    }
    let headers = &*request.headers;
    if only(headers, "Host").is_none_or(<[u8]>::is_empty) {
        return Err(Refusal::bad("expected one Host"));
    }
    if !has_token(headers, "Upgrade", "websocket") {
        return Err(Refusal::bad("expected Upgrade: websocket"));
    }
    if !has_token(headers, "Connection", "Upgrade") {
        return Err(Refusal::bad("expected Upgrade among the tokens of Connection"));
    }
    if only(headers, "Sec-WebSocket-Version") != Some(b"13") {
        // RFC 6455 §4.4; a 426 says which protocol it means (RFC 9110 §15.5.22).
        return Err(Refusal {
            status: "426 Upgrade Required",
            lines: "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            why: "expected Sec-WebSocket-Version: 13",
        });
    }
    let key = only(headers, "Sec-WebSocket-Key").filter(|key| is_key(key));
    let key = key.ok_or(Refusal::bad("expected one Sec-WebSocket-Key, 16 octets in base64"))?;
    if !has_token(headers, "Sec-WebSocket-Protocol", SUBPROTOCOL) {
        return Err(Refusal::bad("expected sip among those that Sec-WebSocket-Protocol offers (RFC 7118)"));
    }
    if !origins.admit(values(headers, "Origin")) {
        return Err(Refusal { status: "403 Forbidden", lines: "", why: "this Origin is not allowed" });
    }
    let accept = derive_accept_key(key);
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ))
}

impl Refusal {
    fn bad(why: &'static str) -> Refusal {
        Refusal { status: "400 Bad Request", lines: "", why }
    }

    fn too_long() -> Refusal {
        let status = "431 Request Header Fields Too Large";
        Refusal { status, lines: "", why: "expected a head of 16 KiB and 64 lines at most" }
    }
}

impl Origins {
    /// Only browsers say where a page is from, and only their users need to be kept from strange pages.
    fn admit<'a>(&self, mut said: impl Iterator<Item = &'a [u8]>) -> bool {
        let is_allowed =
            |origin: &[u8]| self.0.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()));
        self.0.is_empty() || said.all(is_allowed)
    }
}

fn values<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// The value of a header that may be there once.
fn only<'a>(headers: &'a [Header<'a>], name: &'a str) -> Option<&'a [u8]> {
    let mut values = values(headers, name);
    values.next().filter(|_| values.next().is_none())
}

/// Whether a list has a token, in whichever of its lines (RFC 9110 §5.3).
fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    values(headers, name)
        .flat_map(|value| value.split(|octet| *octet == b','))
        .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Sixteen octets in base64; which ones is the peer's affair.
fn is_key(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").unwrap_or_default();
    digits.len() == 22
        && digits.iter().all(|digit| digit.is_ascii_alphanumeric() || matches!(digit, b'+' | b'/'))
}
