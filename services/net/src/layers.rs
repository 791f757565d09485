//! What lies between messages and the octets of a socket: TLS, WebSocket frames (RFC 7118), both, or nothing.
//!
//! Both are machines without input and output of their own, so that a shard can write a message to an encrypted peer as
//! it does to a plain one: at once, with one system call, as long as the socket takes it. At most one message waits in
//! here; those behind it wait in the connection's outbox, where they are counted.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::Bytes;
use call::TlsVersion;
use rustls::{Connection as TlsSession, ProtocolVersion};
use tokio::net::tcp::OwnedWriteHalf;

use crate::framing::{Broken, Frame, Framer};
pub(crate) use crate::websocket::Stop;
use crate::websocket::{CHUNK, WebSocket};

/// The layers of one connection.
#[derive(Default)]
pub(crate) struct Layers {
    tls: Option<Box<TlsSession>>,
    websocket: Option<Box<WebSocket>>,
}

/// What has come and was not handed on.
pub(crate) struct Intake {
    framer: Framer,
    /// Whole already: of a WebSocket.
    frames: VecDeque<Frame>,
    /// The last octets of a WebSocket ended within a message.
    is_partial: bool,
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

    /// Which TLS there is, if any.
    pub(crate) fn tls_version(&self) -> Option<TlsVersion> {
        match self.tls.as_ref()?.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some(TlsVersion::V1_2),
            ProtocolVersion::TLSv1_3 => Some(TlsVersion::V1_3),
            // The library speaks no other.
            _ => None,
        }
    }

    /// Whether octets are messages as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none() && self.websocket.is_none()
    }

    /// Whether everything that was put in has left.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.tls.as_ref().is_some_and(|tls| tls.wants_write())
            && !self.websocket.as_ref().is_some_and(|websocket| websocket.waits())
    }

    /// Takes a whole message. To be called only when everything before it has left.
    pub(crate) fn put(&mut self, message: Bytes, socket: &OwnedWriteHalf) -> io::Result<()> {
        let Layers { tls, websocket } = self;
        let mut below = Below { tls: tls.as_deref_mut(), socket };
        match websocket {
            None => below.write_all(&message),
            Some(websocket) => websocket.put(message, &mut below),
        }
    }

    /// Hands the socket what it takes; whether that was all.
    pub(crate) fn flush(&mut self, socket: &OwnedWriteHalf) -> io::Result<bool> {
        let Layers { tls, websocket } = self;
        if let Some(websocket) = websocket {
            websocket.flush(&mut Below { tls: tls.as_deref_mut(), socket })?;
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
        let mut below = Below { tls: tls.as_deref_mut(), socket };
        intake.is_partial = websocket.take(octets, &mut below, &mut intake.frames)?;
        Ok(())
    }

    /// Says goodbye in the words of each layer, as far as the socket takes them at once.
    pub(crate) fn close(&mut self, why: &str, socket: &OwnedWriteHalf) {
        let Layers { tls, websocket } = self;
        if let Some(websocket) = websocket {
            websocket.close(why, &mut Below { tls: tls.as_deref_mut(), socket });
        }
        if let Some(tls) = tls {
            tls.send_close_notify();
        }
        let _ = self.flush(socket);
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
}

/// What is below the messages or the frames round them: TLS or the socket.
struct Below<'a> {
    tls: Option<&'a mut TlsSession>,
    socket: &'a OwnedWriteHalf,
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
