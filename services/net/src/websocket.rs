//! WebSocket frames with SIP in them (RFC 6455 §5, RFC 7118 §5): octets in, messages out, wherever the reads end.
//!
//! A [`WebSocket`] has no socket. What it takes in comes as octets, what it has to say (messages, answers to pings, its
//! farewell) goes to whatever can be written to: TLS, a socket that takes what it can at once, or a test's own memory.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::framing::{Frame, MAX_MESSAGE};

/// Octets that are read at a time.
pub(crate) const CHUNK: usize = 4 * 1024;

/// One end of a WebSocket, after the handshake.
pub struct WebSocket {
    context: WebSocketContext,
    /// Frames are left that the other side of the writer has not taken.
    waits: bool,
}

/// Why nothing more can be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The peer says that it is done.
    Done,
    /// What came is no TLS, or no WebSocket frames.
    Broken,
}

impl WebSocket {
    /// One that a peer has opened.
    pub fn accepted() -> WebSocket {
        WebSocket { context: WebSocketContext::new(Role::Server, Some(limits())), waits: false }
    }

    /// One that was opened from here, so that what is sent is masked (RFC 6455 §5.3); `read` came behind the handshake.
    pub fn opened(read: Vec<u8>) -> WebSocket {
        let context = WebSocketContext::from_partially_read(read, Role::Client, Some(limits()));
        WebSocket { context, waits: false }
    }

    /// Whether frames wait that were not taken yet.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Takes a whole message. To be called only when nothing waits.
    ///
    /// # Errors
    ///
    /// Nothing more can be written.
    pub fn put(&mut self, message: Bytes, out: &mut impl Write) -> io::Result<()> {
        // RFC 7118 §5: text or binary; text reaches browsers without a detour, and must be UTF-8.
        let message = match Utf8Bytes::try_from(message.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(message),
        };
        self.note(|context| context.write(&mut Through { out, input: &[] }, message))
    }

    /// Writes what waits, answers to pings among it.
    ///
    /// # Errors
    ///
    /// Nothing more can be written.
    pub fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.note(|context| context.flush(&mut Through { out, input: &[] }))
    }

    /// Takes octets of the peer; what is whole is handed on. Says whether they ended within a message.
    ///
    /// # Errors
    ///
    /// Nothing more comes, or can be read; the peer has been told why. What was whole before has been handed on.
    pub fn take(
        &mut self,
        octets: &[u8],
        out: &mut impl Write,
        frames: &mut VecDeque<Frame>,
    ) -> Result<bool, Stop> {
        let mut below = Through { out, input: octets };
        let mut was_whole = octets.is_empty();
        loop {
            match self.context.read(&mut below) {
                Ok(Message::Text(text)) => frames.extend(frame_of(text.into())),
                Ok(Message::Binary(bytes)) => frames.extend(frame_of(bytes)),
                // Pings are answered by the next flush.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(_)) => {
                    let _ = self.context.flush(&mut below);
                    return Err(Stop::Done);
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(!was_whole),
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err(Stop::Done),
                Err(error) => {
                    let code = match error {
                        Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::Size,
                        Error::Utf8(_) => CloseCode::Invalid,
                        _ => CloseCode::Protocol,
                    };
                    let _ = self.context.close(&mut below, Some(farewell(code, &error.to_string())));
                    return Err(Stop::Broken);
                }
            }
            was_whole = true;
        }
    }

    /// Says goodbye, as far as it is taken at once.
    pub fn close(&mut self, why: &str, out: &mut impl Write) {
        let frame = farewell(CloseCode::Away, why);
        let _ = self.context.close(&mut Through { out, input: &[] }, Some(frame));
    }

    /// Frames that are not taken yet stay in the context, which is no error.
    fn note(&mut self, act: impl FnOnce(&mut WebSocketContext) -> Result<(), Error>) -> io::Result<()> {
        match act(&mut self.context) {
            Ok(()) => {
                self.waits = false;
                Ok(())
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.waits = true;
                Ok(())
            }
            Err(Error::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// RFC 7118 §5: what one WebSocket message holds is one SIP message, or the keep-alive of RFC 5626.
fn frame_of(bytes: Bytes) -> Option<Frame> {
    if bytes.as_ref() == b"\r\n\r\n" {
        Some(Frame::Ping)
    } else if bytes.iter().all(|octet| matches!(octet, b'\r' | b'\n')) {
        None
    } else {
        Some(Frame::Message(bytes))
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

fn farewell(code: CloseCode, why: &str) -> CloseFrame {
    // A close frame has room for 123 octets of reason (RFC 6455 §5.5).
    let why: String = why.chars().filter(char::is_ascii).take(120).collect();
    CloseFrame { code, reason: why.into() }
}

/// Where frames go, and what came from there.
struct Through<'a, W> {
    out: &'a mut W,
    input: &'a [u8],
}

impl<W> Read for Through<'_, W> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.input.read(room) }
    }
}

impl<W: Write> Write for Through<'_, W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.out.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
