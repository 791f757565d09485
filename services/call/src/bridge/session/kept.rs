//! Descriptions and ports of a call, for the process after this one and from the one before.

use smallvec::SmallVec;

use super::{CallMedia, LocalSession, MediaState};
use crate::family::{Addresses, Families, Family};
use crate::io::Output;
use crate::kept::{KeptMedia, KeptSession, Octets};
use crate::media::{MediaId, MediaOrder, RemoteStream, Side, StreamPorts};
use crate::wire::Wire;

impl LocalSession {
    /// What an offer that is under way says is left out: nobody will answer it.
    pub(crate) fn kept(&self) -> KeptSession<'_> {
        let standing = self.before.as_deref().unwrap_or(&self.text);
        // Its keys would lie on a disk.
        let text = if self.security.is_some() { &[][..] } else { standing };
        KeptSession { id: self.id, version: self.version, last: self.last, text: Octets(text) }
    }

    pub(crate) fn restored(kept: &KeptSession<'_>) -> LocalSession {
        let KeptSession { id, version, last, text } = *kept;
        LocalSession { id, version, last, text: text.0.into(), ..LocalSession::default() }
    }
}

impl CallMedia {
    /// `None` where the box encrypts the media of a side: the keys are in no file, and without them nothing can go on.
    pub(crate) fn kept(&self) -> Option<KeptMedia> {
        if self.is_secured || !self.is_open() {
            return None;
        }
        let Addresses { v4, v6 } = self.addresses;
        Some(KeptMedia {
            ports: self.streams.to_vec(),
            addresses: (v4, v6),
            listening: self.listening.map(|Families { v4, v6 }| (v4, v6)),
            remotes: self.remotes.clone(),
            heard: self.said.as_deref().copied(),
        })
    }

    pub(crate) fn restored(id: MediaId, kept: Option<&KeptMedia>) -> CallMedia {
        let Some(kept) = kept else { return CallMedia::new(id) };
        let KeptMedia { ports, addresses: (v4, v6), listening, remotes, heard } = kept;
        CallMedia {
            addresses: Addresses { v4: *v4, v6: *v6 },
            listening: listening.map(|(v4, v6)| Families { v4, v6 }),
            streams: ports.iter().copied().collect(),
            remotes: remotes.clone(),
            said: heard.map(Box::new),
            ..CallMedia::new(id)
        }
    }

    /// Asks for the ports that both sides send to.
    pub(crate) fn reopen(&mut self, wire: &mut Wire) {
        self.state = MediaState::Opening;
        let (session, ports, families) = (self.id, self.streams.clone(), self.first_families());
        wire.outputs.push_back(Output::Media(MediaOrder::Reopen { session, ports, families }));
    }

    /// Whether these are the ports and addresses that both sides were told of.
    pub(crate) fn is_told(&self, addresses: Addresses, streams: &SmallVec<[StreamPorts; 1]>) -> bool {
        self.addresses == addresses && self.streams == *streams
    }

    /// Tells the relay once more what it was told before it died.
    pub(crate) fn resume(&self, wire: &mut Wire) {
        let session = self.id;
        let mut order = |order| wire.outputs.push_back(Output::Media(order));
        for ((side, listening), first) in
            [Side::A, Side::B].into_iter().zip(self.listening).zip(self.first_families())
        {
            let others = [Family::V4, Family::V6].into_iter().filter(|family| *family != first);
            for family in others.filter(|family| listening.has(*family)) {
                order(MediaOrder::Listen { session, side, family });
            }
        }
        for (stream, remotes) in (0..).zip(&self.remotes) {
            for (side, remote) in [Side::A, Side::B].into_iter().zip(remotes) {
                order(MediaOrder::Describe { session, stream, side, remote: *remote, protection: None });
            }
        }
        if let Some((stream, codecs)) = self.said.as_deref().and_then(|heard| heard.translated) {
            order(MediaOrder::Transcode { session, stream, codecs: Some(codecs) });
        }
        let taken = self.said.as_deref().map(|heard| heard.taken).unwrap_or_default();
        for (side, digits) in [Side::A, Side::B].into_iter().zip(taken) {
            if let Some(digits) = digits {
                let (stream, payload_type) = (digits.stream, Some(digits.payload_type));
                order(MediaOrder::TakeDigits { session, stream, side, payload_type });
            }
        }
    }

    /// Remembers what the relay is told of a side, for the process after this one.
    pub(super) fn remember(&mut self, stream: usize, side: Side, remote: Option<RemoteStream>, wire: &Wire) {
        if !wire.settings.recover_calls {
            return;
        }
        if self.remotes.len() <= stream {
            self.remotes.reserve_exact(self.streams.len().saturating_sub(self.remotes.len()));
            self.remotes.resize(stream + 1, [None; 2]);
        }
        if let Some(remotes) = self.remotes.get_mut(stream) {
            remotes[super::place(side)] = remote;
        }
    }
}
