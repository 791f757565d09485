//! The description that stands, said once more: when a session is refreshed, when a side goes back to what it had, and in
//! answer to an offer that nobody else answers.
//!
//! Where the box encrypts, an offer and an answer say different things of the same keys (RFC 4568 §5.1, RFC 5763 §5), and what
//! stands may have been either. So its encryption is written anew.

use std::net::IpAddr;

use sip::{Edit, Sdp, Stream};

use super::{LocalSession, Place, fingerprint};
use crate::ids::Ids;
use crate::media::PortPair;

impl LocalSession {
    /// The description that stands, to be offered again. Its version rises only where another was written meanwhile.
    pub(crate) fn offer_again(&mut self, ids: &mut Ids) -> Option<Vec<u8>> {
        if self.security.is_some() { self.encrypted_again(true, ids) } else { self.plain_again() }
    }

    /// The same in answer to this offer of the peer, where it answers as many streams and the peer may encrypt them so.
    pub(crate) fn answer_again(&mut self, offer: &Sdp<'_>, ids: &mut Ids) -> Option<Vec<u8>> {
        if self.streams() != offer.streams().len() {
            return None;
        }
        let Some(security) = &mut self.security else { return self.plain_again() };
        security.peer_offers(true);
        security.check(offer).ok()?;
        (0..offer.streams().len()).try_for_each(|index| security.hear(offer, index, ids).map(drop)).ok()?;
        self.encrypted_again(false, ids)
    }

    /// The same in answer to an offer that the relay was told of already.
    pub(crate) fn answer_heard(&mut self, ids: &mut Ids) -> Option<Vec<u8>> {
        if self.security.is_some() { self.encrypted_again(false, ids) } else { self.plain_again() }
    }

    fn plain_again(&mut self) -> Option<Vec<u8>> {
        if self.text.is_empty() {
            return None;
        }
        if fingerprint(&self.text) == self.last {
            return Some(self.text.to_vec());
        }
        // What was refused last may have said the same as what stands.
        let same = self.numbered(self.version)?;
        if fingerprint(&same) != self.last {
            self.version += 1;
        }
        let text = self.numbered(self.version)?;
        self.last = fingerprint(&text);
        self.text = text.clone().into_boxed_slice();
        Some(text)
    }

    /// The description that stands with another version in its origin line, which is our own: `o=- id version IN …`.
    fn numbered(&self, version: u32) -> Option<Vec<u8>> {
        let head = format!("o=- {} ", self.id);
        let begins = self.text.windows(head.len()).position(|window| window == head.as_bytes())?;
        let at = begins + head.len();
        let behind = self.text.get(at..)?;
        let behind = behind.get(behind.iter().position(|byte| !byte.is_ascii_digit())?..)?;
        Some([self.text.get(..at)?, version.to_string().as_bytes(), behind].concat())
    }

    fn encrypted_again(&mut self, is_offer: bool, ids: &mut Ids) -> Option<Vec<u8>> {
        let stood = self.text.clone();
        let stood = Sdp::parse(&stood).ok()?;
        let place = Place::told(&stood, is_offer)?;
        // Without the lines of ICE first: beside them an address that means hold would mean that none is known yet.
        let bare = self.without_paths(&stood, &place);
        Some(self.write(&Sdp::parse(&bare).ok()?, &place, ids))
    }

    fn without_paths(&self, stood: &Sdp<'_>, place: &Place) -> Vec<u8> {
        let pair = |pair: &Option<PortPair>| {
            pair.map_or(sip::StreamPorts { rtp: 0, rtcp: 0 }, |PortPair { rtp, rtcp }| sip::StreamPorts {
                rtp,
                rtcp,
            })
        };
        let ports: Vec<sip::StreamPorts> = place.ports.iter().map(pair).collect();
        stood.rewrite(&Edit {
            origin_user: "-",
            session_id: u64::from(self.id),
            version: u64::from(self.version),
            address: place.address,
            streams: &ports,
            encryption: None,
        })
    }
}

impl Place {
    /// What a description of the box's own says of the relay.
    fn told(own: &Sdp<'_>, is_offer: bool) -> Option<Place> {
        // A c= may mean hold; the origin is the relay at all times.
        let address: IpAddr = std::str::from_utf8(own.origin()?.address).ok()?.parse().ok()?;
        let pair = |stream: &Stream<'_>| {
            let port = Some(stream.port).filter(|_| !stream.is_rejected())?;
            Some(PortPair { rtp: port, rtcp: port.checked_add(1)? })
        };
        let ports = own.streams().iter().map(pair).collect();
        Some(Place { address, ports, is_secured: true, is_offer })
    }
}
