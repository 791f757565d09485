//! The wire of a world: what is sent, lost on purpose, overheard and repeated.

use std::net::SocketAddr;

use bytes::Bytes;
use sip::Message;

use super::mishaps::Partition;
use super::{BOX, Happening, STRANGER, World};
use crate::tape::Line;

/// Datagrams that a test wants lost.
#[derive(Debug)]
pub(super) struct Loss {
    from: SocketAddr,
    to: SocketAddr,
    start: String,
    left: usize,
}

impl World {
    /// Loses the next `count` datagrams on this way that begin so.
    pub fn lose(&mut self, from: SocketAddr, to: SocketAddr, start: &str, count: usize) {
        self.losses.push(Loss { from, to, start: start.to_owned(), left: count });
    }

    /// Puts one datagram on the network.
    pub(super) fn transmit(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let mut copies = self.network.carry(&mut self.chance);
        let doomed = self.losses.iter_mut().find(|loss| {
            loss.left > 0 && loss.from == from && loss.to == to && bytes.starts_with(loss.start.as_bytes())
        });
        if let Some(loss) = doomed {
            loss.left -= 1;
            copies.clear();
        }
        let parted = |partition: &Partition| {
            let here = partition.who == from.ip() || partition.who == to.ip();
            here && (partition.from..partition.until).contains(&self.now)
        };
        if self.partitions.iter().any(parted) {
            copies.clear();
        }
        for &copy in &copies {
            self.schedule(copy, Happening::Arrives { from, to, bytes: bytes.clone() });
        }
        self.tape.line(Line { at: self.now, from, to, bytes, copies });
    }

    /// A stranger repeats something that it overheard.
    pub(super) fn make_noise(&mut self) {
        let chosen = self.chance.bits();
        let Some(line) = self.tape.nth_line(chosen) else { return };
        // Whoever overhears credentials can be taken for their owner; digest knows no better.
        if line.bytes.starts_with(b"REGISTER") {
            return;
        }
        let mut bytes = line.bytes.to_vec();
        // A response finds its transaction by a branch, and when that is no more its leg by a tag, that only the parties
        // know: whoever hears both stands on the way and could say all that a party says.
        if let Some(response) = Message::parse(&line.bytes).ok().filter(|message| !message.is_request()) {
            for at in memchr::memmem::find_iter(&line.bytes, b"z9hG4bK") {
                bytes[at + 6] = b'X';
            }
            let tag = response.from().ok().and_then(|from| from.tag()).unwrap_or_default();
            for at in memchr::memmem::find_iter(&line.bytes, tag).filter(|_| !tag.is_empty()) {
                bytes[at] = b'X';
            }
        }
        if self.chance.happens(300) {
            for _ in 0..self.chance.below(8) {
                let at = usize::try_from(self.chance.below(bytes.len() as u64)).unwrap_or(0);
                bytes[at] = self.chance.bits().to_le_bytes()[0];
            }
        }
        self.transmit(STRANGER, BOX, bytes.into());
    }
}
