//! Connections of a world: bytes in order, cut where chance wants, until somebody resets the connection.
//!
//! The framing is written apart from the product's (RFC 3261 §18.3): a head up to the empty line, then as many bytes as
//! Content-Length says.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use call::{Flow, Input, ListenerId, SendToken};
use memchr::memmem;
use sip::{Message, Time};
use smallvec::SmallVec;

use super::{BOX, Failure, Happening, World};
use crate::tape::Line;

/// The listener for streams in every world's settings.
pub(super) const STREAMS: ListenerId = ListenerId(1);

/// One connection between a phone's address and the box.
#[derive(Debug)]
pub(super) struct Connection {
    /// Where the phones are.
    phone: SocketAddr,
    /// What the box sees: the same, or a port of the caller's choice.
    remote: SocketAddr,
    is_open: bool,
    /// Towards the box, towards the phone.
    ways: [Way; 2],
    /// The INVITEs that the box sent on it, with their shards.
    invites: Vec<(usize, SendToken, Bytes)>,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// Nothing that is sent later arrives before this.
    last: Time,
    /// What has arrived and is no whole message yet.
    arrived: Vec<u8>,
}

impl World {
    /// The box sends on a connection, on a new one where it names none.
    pub(super) fn send_on_stream(&mut self, shard: usize, flow: Flow, bytes: &Bytes, token: SendToken) {
        let is_response = Message::parse(bytes).is_ok_and(|message| !message.is_request());
        let named = usize::try_from(flow.connection).ok().filter(|number| *number > 0);
        let found = match named.and_then(|number| self.connections.get(number - 1).map(|at| (number - 1, at)))
        {
            Some((at, connection)) if connection.is_open => Some(at),
            // RFC 3261 §18.2.2: an answer whose connection is gone opens another.
            Some((_, connection)) if is_response => Some(self.connect(connection.phone, connection.phone)),
            Some(_) => None,
            None => {
                let open = |connection: &Connection| connection.is_open && connection.remote == flow.remote;
                let listening = flow.remote.port() == BOX.port();
                let known = self.connections.iter().position(open);
                known.or_else(|| listening.then(|| self.connect(flow.remote, flow.remote)))
            }
        };
        let call = sip::call_id_of(bytes).and_then(|id| self.oracle.call_of(id)).map(|(call, _)| call);
        match found {
            Some(at) => {
                if token != SendToken::NONE && bytes.starts_with(b"INVITE ") {
                    self.connections[at].invites.push((shard, token, bytes.clone()));
                }
                self.push(at, 1, bytes);
            }
            None if token == SendToken::NONE => {}
            None => {
                let bytes = bytes.clone();
                let happening = Happening::Undeliverable { shard, token, call, bytes };
                self.schedule(Duration::from_millis(1), happening);
            }
        }
    }

    /// A phone sends on its connection, or connects.
    pub(super) fn phone_sends_on_stream(&mut self, phone: SocketAddr, bytes: &Bytes) {
        let open = |connection: &Connection| connection.is_open && connection.phone == phone;
        let known = self.connections.iter().rposition(open);
        let at = known.unwrap_or_else(|| {
            let port = 40_000 + u16::try_from(self.connections.len()).unwrap_or(0);
            self.connect(phone, SocketAddr::new(phone.ip(), port))
        });
        self.push(at, 0, bytes);
    }

    fn connect(&mut self, phone: SocketAddr, remote: SocketAddr) -> usize {
        let (ways, invites) = (Default::default(), Vec::new());
        self.connections.push(Connection { phone, remote, is_open: true, ways, invites });
        self.connections.len() - 1
    }

    /// Sends bytes in up to three pieces.
    fn push(&mut self, at: usize, way: usize, bytes: &Bytes) {
        let mut rest = bytes.clone();
        let mut copies = SmallVec::new();
        for piece in 0..3 {
            let cut = match piece {
                2 => rest.len(),
                _ if self.chance.happens(300) => {
                    usize::try_from(self.chance.below(rest.len() as u64)).unwrap_or(0)
                }
                _ => continue,
            };
            let bytes = rest.split_to(cut);
            let after = self.network.way(&mut self.chance);
            let last = &mut self.connections[at].ways[way].last;
            *last = (*last).max(self.now + after);
            let after = last.since(self.now);
            copies = SmallVec::from_elem(after, 1);
            self.schedule(after, Happening::Piece { connection: at, way, bytes });
        }
        let phone = self.connections[at].phone;
        let (from, to) = if way == 0 { (phone, BOX) } else { (BOX, phone) };
        self.tape.line(Line { at: self.now, from, to, bytes: bytes.clone(), copies });
    }

    /// Bytes arrive; whole messages are read out of them.
    pub(super) fn piece(&mut self, at: usize, way: usize, bytes: &[u8]) -> Result<(), Box<Failure>> {
        if !self.connections[at].is_open {
            return Ok(());
        }
        self.connections[at].ways[way].arrived.extend_from_slice(bytes);
        while let Some(length) = first_message(&self.connections[at].ways[way].arrived) {
            let message: Vec<u8> = self.connections[at].ways[way].arrived.drain(..length).collect();
            let message = Bytes::from(message);
            let Connection { phone, remote, .. } = self.connections[at];
            if way == 0 {
                let connection = at as u64 + 1;
                let flow = Flow { listener: STREAMS, remote, connection };
                self.arrive_at_box(flow, &message)?;
            } else {
                self.arrive(BOX, phone, message)?;
            }
        }
        Ok(())
    }

    /// Resets a connection so long from now, whichever is open then.
    pub fn tear(&mut self, after: Duration) {
        self.schedule(after, Happening::Reset);
    }

    /// Some connection is reset, with all that is on the way.
    pub(super) fn reset(&mut self) -> Result<(), Box<Failure>> {
        let open: Vec<usize> =
            (0..self.connections.len()).filter(|at| self.connections[*at].is_open).collect();
        if open.is_empty() {
            return Ok(());
        }
        let at = self.chance.pick(&open);
        self.connections[at].is_open = false;
        self.torn = true;
        let Connection { phone, remote, .. } = self.connections[at];
        self.tape.note(self.now, None, format!("the connection of {phone} is reset"));
        self.oracle.calls.iter_mut().for_each(|call| call.broken = true);
        let flow = Flow { listener: STREAMS, remote, connection: at as u64 + 1 };
        for (shard, token, bytes) in std::mem::take(&mut self.connections[at].invites) {
            self.oracle.lost(self.now, &bytes);
            self.input(shard, Input::Lost { flow, token })?;
        }
        for shard in 0..self.cores.len() {
            self.input(shard, Input::Closed { flow })?;
        }
        Ok(())
    }
}

/// How long the first message is, once all of it is here.
fn first_message(arrived: &[u8]) -> Option<usize> {
    let head = memmem::find(arrived, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&arrived[..head]).ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length:"))?;
    let length: usize = length.trim().parse().ok()?;
    (arrived.len() >= head + length).then_some(head + length)
}
