//! What lies between messages and the octets of a socket: TLS, WebSocket frames (RFC 7118), both, or nothing.
//!
//! Both are machines without input and output of their own, so that a shard can write a message to an encrypted peer as
//! it does to a plain one: at once, with one system call, as long as the socket takes it. At most one message waits in
//! here; those behind it wait in the connection's outbox, where they are counted.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::Bytes;
use rustls::Connection as TlsSession;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::framing::{Broken, Frame, Framer, MAX_MESSAGE};

/// Octets that come out of TLS at a time.
const CHUNK: usize = 4 * 1024;

/// The layers of one connection.
#[derive(Default)]
pub(crate) struct Layers {
    tls: Option<Box<TlsSession>>,
    websocket: Option<Box<WebSocket>>,
}

/// The frames of a WebSocket.
pub(crate) struct WebSocket {
    context: WebSocketContext,
    /// Frames are left that the socket has not taken.
    waits: bool,
}

/// What has come and was not handed on.
pub(crate) struct Intake {
    framer: Framer,
    /// Whole already: of a WebSocket.
    frames: VecDeque<Frame>,
    /// The last octets of a WebSocket ended within a message.
    is_partial: bool,
}

/// Why nothing more can be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The peer says that it is done.
    Done,
    /// What came is no TLS, or no WebSocket frames.
    Broken,
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (tls, websocket) = (self.tls.is_some(), self.websocket.is_some());
        f.debug_struct("Layers").field("tls", &tls).field("websocket", &websocket).finish()
    }
}

impl Layers {
    /// After the handshakes.
    pub(crate) fn new(tls: Option<TlsSession>, websocket: Option<WebSocket>) -> Layers {
        let tls = tls.map(|mut session| {
            // One message at a time is handed in; more than that never waits.
            session.set_buffer_limit(None);
            Box::new(session)
        });
        Layers { tls, websocket: websocket.map(Box::new) }
    }

    /// Whether octets are messages as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none() && self.websocket.is_none()
    }

    /// Whether everything that was put in has left.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.tls.as_ref().is_some_and(|tls| tls.wants_write())
            && !self.websocket.as_ref().is_some_and(|websocket| websocket.waits)
    }

    /// Takes a whole message. To be called only when everything before it has left.
    pub(crate) fn put(&mut self, message: Bytes, socket: &OwnedWriteHalf) -> io::Result<()> {
        let Layers { tls, websocket } = self;
        let mut below = Below { tls: tls.as_deref_mut(), socket, input: &[] };
        match websocket {
            None => below.write_all(&message),
            Some(websocket) => {
                // RFC 7118 §5.2: text or binary; text reaches browsers without a detour, and must be UTF-8.
                let message = match Utf8Bytes::try_from(message.clone()) {
                    Ok(text) => Message::Text(text),
                    Err(_) => Message::Binary(message),
                };
                websocket.note(|context| context.write(&mut below, message))
            }
        }
    }

    /// Hands the socket what it takes; whether that was all.
    pub(crate) fn flush(&mut self, socket: &OwnedWriteHalf) -> io::Result<bool> {
        let Layers { tls, websocket } = self;
        if let Some(websocket) = websocket {
            let mut below = Below { tls: tls.as_deref_mut(), socket, input: &[] };
            websocket.note(|context| context.flush(&mut below))?;
        }
        while let Some(tls) = tls.as_mut().filter(|tls| tls.wants_write()) {
            match tls.write_tls(&mut Plain(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(self.is_flushed())
    }

    /// Takes what was read from the socket; frames come out of the intake. What came before a `Stop` is in it.
    pub(crate) fn take(
        &mut self,
        mut octets: &[u8],
        intake: &mut Intake,
        socket: &OwnedWriteHalf,
    ) -> Result<(), Stop> {
        if self.tls.is_none() {
            return self.unwrapped(octets, intake, socket);
        }
        let mut chunk = [0; CHUNK];
        loop {
            let Some(tls) = &mut self.tls else { return Ok(()) };
            let before = octets.len();
            // It takes nothing more after the peer's farewell.
            let taken = tls.read_tls(&mut octets).map_err(|_| Stop::Broken)?;
            let Ok(state) = tls.process_new_packets() else {
                // The alert that says why; a peer that does not read it does without.
                let _ = tls.write_tls(&mut Plain(socket));
                return Err(Stop::Broken);
            };
            let mut left = state.plaintext_bytes_to_read();
            let is_over = state.peer_has_closed();
            while left > 0 {
                let Some(tls) = &mut self.tls else { return Ok(()) };
                let count = tls.reader().read(&mut chunk).map_err(|_| Stop::Broken)?;
                if count == 0 {
                    break;
                }
                left = left.saturating_sub(count);
                self.unwrapped(chunk.get(..count).unwrap_or_default(), intake, socket)?;
            }
            if is_over {
                return Err(Stop::Done);
            }
            if octets.is_empty() || (taken == 0 && octets.len() == before) {
                return Ok(());
            }
        }
    }

    /// Takes what TLS, if there is any, has given.
    fn unwrapped(&mut self, octets: &[u8], intake: &mut Intake, socket: &OwnedWriteHalf) -> Result<(), Stop> {
        let Layers { tls, websocket } = self;
        let Some(websocket) = websocket else {
            intake.framer.extend(octets);
            return Ok(());
        };
        let mut below = Below { tls: tls.as_deref_mut(), socket, input: octets };
        let mut was_whole = octets.is_empty();
        loop {
            match websocket.context.read(&mut below) {
                Ok(Message::Text(text)) => intake.message(text.into()),
                Ok(Message::Binary(bytes)) => intake.message(bytes),
                // Pings are answered by the next flush.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(_)) => {
                    let _ = websocket.context.flush(&mut below);
                    return Err(Stop::Done);
                }
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    intake.is_partial = !was_whole;
                    return Ok(());
                }
                Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => return Err(Stop::Done),
                Err(error) => {
                    let code = match error {
                        WsError::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::Size,
                        WsError::Utf8(_) => CloseCode::Invalid,
                        _ => CloseCode::Protocol,
                    };
                    let _ = websocket.context.close(&mut below, Some(frame(code, &error.to_string())));
                    return Err(Stop::Broken);
                }
            }
            was_whole = true;
        }
    }

    /// Says goodbye in the words of each layer, as far as the socket takes them at once.
    pub(crate) fn close(&mut self, why: &str, socket: &OwnedWriteHalf) {
        let Layers { tls, websocket } = self;
        if let Some(websocket) = websocket {
            let mut below = Below { tls: tls.as_deref_mut(), socket, input: &[] };
            let _ = websocket.context.close(&mut below, Some(frame(CloseCode::Away, why)));
        }
        if let Some(tls) = tls {
            tls.send_close_notify();
        }
        let _ = self.flush(socket);
    }
}

/// Bounds of a WebSocket: a frame or message that is longer is refused by the length that it announces.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(CHUNK)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

fn frame(code: CloseCode, why: &str) -> CloseFrame {
    // A close frame has room for 123 octets of reason (RFC 6455 §5.5).
    let why: String = why.chars().filter(char::is_ascii).take(120).collect();
    CloseFrame { code, reason: why.into() }
}

impl WebSocket {
    /// One that a peer has opened.
    pub(crate) fn accepted() -> WebSocket {
        WebSocket { context: WebSocketContext::new(Role::Server, Some(limits())), waits: false }
    }

    /// One that was opened from here, so that what is sent is masked (RFC 6455 §5.3); `read` came behind the handshake.
    pub(crate) fn opened(read: Vec<u8>) -> WebSocket {
        let context = WebSocketContext::from_partially_read(read, Role::Client, Some(limits()));
        WebSocket { context, waits: false }
    }

    /// Frames that the socket does not take yet stay in the context, which is no error.
    fn note(&mut self, act: impl FnOnce(&mut WebSocketContext) -> Result<(), WsError>) -> io::Result<()> {
        match act(&mut self.context) {
            Ok(()) => {
                self.waits = false;
                Ok(())
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.waits = true;
                Ok(())
            }
            Err(WsError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Intake {
    pub(crate) fn new() -> Intake {
        Intake { framer: Framer::new(), frames: VecDeque::new(), is_partial: false }
    }

    /// Adds octets of a connection without layers.
    pub(crate) fn extend(&mut self, octets: &[u8]) {
        self.framer.extend(octets);
    }

    /// The next frame, if one is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Broken> {
        match self.frames.pop_front() {
            Some(frame) => Ok(Some(frame)),
            None => self.framer.cut(),
        }
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_within_message(&self) -> bool {
        self.is_partial || self.framer.is_within_message()
    }

    /// RFC 7118 §5: what one WebSocket message holds is one SIP message, or the keep-alive of RFC 5626.
    fn message(&mut self, bytes: Bytes) {
        if bytes.as_ref() == b"\r\n\r\n" {
            self.frames.push_back(Frame::Ping);
        } else if !bytes.iter().all(|octet| matches!(octet, b'\r' | b'\n')) {
            self.frames.push_back(Frame::Message(bytes));
        }
    }
}

/// What is below the WebSocket frames: TLS or the socket; and what came from there.
struct Below<'a> {
    tls: Option<&'a mut TlsSession>,
    socket: &'a OwnedWriteHalf,
    input: &'a [u8],
}

impl Read for Below<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.input.read(room) }
    }
}

impl Write for Below<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.writer().write(octets),
            None => self.socket.try_write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket, which takes what it can at once.
struct Plain<'a>(&'a OwnedWriteHalf);

impl Write for Plain<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.try_write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
