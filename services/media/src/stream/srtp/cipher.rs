//! Session keys at work: AES in counter mode with HMAC-SHA1 (RFC 3711 §4), and AES-GCM (RFC 7714).

use std::fmt;

use aes::Aes128;
use aes::cipher::KeyInit;
use ctr::cipher::{InnerIvInit, StreamCipherCore};
use ring::aead;
use sip::SrtpSuite;
use zeroize::Zeroize;

use super::authenticator::Authenticator;
use super::derive::SessionKeys;
use super::{ENCRYPTED, RTCP_HEADER, RTCP_INDEX, Refused};

/// The tag of AES-GCM; no shorter one is defined for SRTP (RFC 7714 §13.1).
const GCM_TAG: usize = 16;

/// Protects the packets of RTP, or those of RTCP.
pub(super) enum Cipher {
    Counter(Box<Counter>),
    Gcm(Box<Gcm>),
}

/// AES-CM with HMAC-SHA1.
pub(super) struct Counter {
    key: Aes128,
    authenticator: Authenticator,
    salt: [u8; 14],
    tag: usize,
}

/// AES-GCM. The library does not wipe its keys, and is four times as fast as one that does.
pub(super) struct Gcm {
    /// `None`, where the key had another length than the algorithm's, protects nothing.
    key: Option<aead::LessSafeKey>,
    salt: [u8; 12],
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cipher::Counter(_) => "Counter(…)",
            Cipher::Gcm(_) => "Gcm(…)",
        })
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        self.salt.zeroize();
        self.forget_key();
    }
}

impl Cipher {
    pub(super) fn new(suite: SrtpSuite, keys: &SessionKeys, is_rtp: bool) -> Cipher {
        match suite {
            SrtpSuite::AesCm128Sha1_80 => Cipher::Counter(Box::new(Counter::new(keys, 10))),
            // RFC 4568 §6.2.2: control keeps the long tag.
            SrtpSuite::AesCm128Sha1_32 => {
                Cipher::Counter(Box::new(Counter::new(keys, if is_rtp { 4 } else { 10 })))
            }
            SrtpSuite::AeadAes128Gcm => Cipher::Gcm(Box::new(Gcm::new(&aead::AES_128_GCM, 16, keys))),
            SrtpSuite::AeadAes256Gcm => Cipher::Gcm(Box::new(Gcm::new(&aead::AES_256_GCM, 32, keys))),
        }
    }

    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header: usize,
        length: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, Refused> {
        match self {
            Cipher::Counter(counter) => {
                let packet = buffer.get_mut(..length + counter.tag).ok_or(Refused::Malformed)?;
                let (packet, tag) = packet.split_at_mut(length);
                counter.turn(packet, header, ssrc, index);
                let rollovers = ((index >> 16) as u32).to_be_bytes();
                counter.tag(packet, rollovers, tag);
                Ok(length + counter.tag)
            }
            Cipher::Gcm(gcm) => {
                let packet = buffer.get_mut(..length + GCM_TAG).ok_or(Refused::Malformed)?;
                let (header, payload) = packet.split_at_mut(header);
                gcm.seal(ssrc, index, header, payload)?;
                Ok(length + GCM_TAG)
            }
        }
    }

    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, Refused> {
        match self {
            Cipher::Counter(counter) => {
                let length = packet.len().checked_sub(counter.tag).filter(|length| *length >= header);
                let (packet, tag) = packet.split_at_mut(length.ok_or(Refused::Malformed)?);
                let rollovers = ((index >> 16) as u32).to_be_bytes();
                counter.verify(packet, rollovers, tag)?;
                counter.turn(packet, header, ssrc, index);
                Ok(packet.len())
            }
            Cipher::Gcm(gcm) => {
                let length = packet.len().checked_sub(GCM_TAG).ok_or(Refused::Malformed)?;
                let (header, payload) = packet.split_at_mut(header);
                gcm.open(ssrc, index, header, payload)?;
                Ok(length)
            }
        }
    }

    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        length: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, Refused> {
        let word = (index | ENCRYPTED).to_be_bytes();
        match self {
            Cipher::Counter(counter) => {
                let whole = length + RTCP_INDEX + counter.tag;
                let packet = buffer.get_mut(..whole).ok_or(Refused::Malformed)?;
                let (packet, trailer) = packet.split_at_mut(length);
                let (place, tag) = trailer.split_at_mut(RTCP_INDEX);
                counter.turn(packet, RTCP_HEADER, ssrc, u64::from(index));
                place.copy_from_slice(&word);
                counter.tag(packet, word, tag);
                Ok(whole)
            }
            Cipher::Gcm(gcm) => {
                let whole = length + GCM_TAG + RTCP_INDEX;
                let packet = buffer.get_mut(..whole).ok_or(Refused::Malformed)?;
                let (packet, place) = packet.split_at_mut(length + GCM_TAG);
                let (header, body) = packet.split_at_mut(RTCP_HEADER);
                let known = rtcp_header(header, word);
                gcm.seal(ssrc, u64::from(index), &known, body)?;
                place.copy_from_slice(&word);
                Ok(whole)
            }
        }
    }

    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, Refused> {
        let word = (index | ENCRYPTED).to_be_bytes();
        let trailer = RTCP_INDEX
            + match self {
                Cipher::Counter(counter) => counter.tag,
                Cipher::Gcm(_) => GCM_TAG,
            };
        let length = packet.len().checked_sub(trailer).filter(|length| *length >= RTCP_HEADER);
        let length = length.ok_or(Refused::Malformed)?;
        match self {
            Cipher::Counter(counter) => {
                let (packet, trailer) = packet.split_at_mut(length);
                let tag = trailer.get(RTCP_INDEX..).unwrap_or_default();
                counter.verify(packet, word, tag)?;
                counter.turn(packet, RTCP_HEADER, ssrc, u64::from(index));
            }
            Cipher::Gcm(gcm) => {
                let (packet, _) = packet.split_at_mut(length + GCM_TAG);
                let (header, body) = packet.split_at_mut(RTCP_HEADER);
                let known = rtcp_header(header, word);
                gcm.open(ssrc, u64::from(index), &known, body)?;
            }
        }
        Ok(length)
    }

    /// The word with the index of an SRTCP packet: before the tag in one suite, behind it in the other.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let behind = match self {
            Cipher::Counter(counter) => counter.tag,
            Cipher::Gcm(_) => 0,
        };
        let end = packet.len().checked_sub(behind)?;
        packet.get(..end)?.last_chunk::<RTCP_INDEX>().copied().map(u32::from_be_bytes)
    }
}

/// What GCM authenticates of control without encrypting it (RFC 7714 §9.2).
fn rtcp_header(header: &[u8], word: [u8; RTCP_INDEX]) -> [u8; RTCP_HEADER + RTCP_INDEX] {
    let mut known = [0; RTCP_HEADER + RTCP_INDEX];
    for (octet, of) in known.iter_mut().zip(header.iter().chain(&word)) {
        *octet = *of;
    }
    known
}

impl Counter {
    fn new(keys: &SessionKeys, tag: usize) -> Counter {
        let mut key = [0; 16];
        key.copy_from_slice(&keys.key[..16]);
        let counter = Counter {
            key: Aes128::new(&key.into()),
            authenticator: Authenticator::new(&keys.authentication),
            salt: keys.salt,
            tag,
        };
        key.zeroize();
        counter
    }

    /// Encrypts or decrypts everything behind the header (§4.1.1).
    fn turn(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) {
        let mut counter = [0; 16];
        counter[..14].copy_from_slice(&self.salt);
        let mix = |at: &mut [u8], value: &[u8]| at.iter_mut().zip(value).for_each(|(to, of)| *to ^= of);
        mix(&mut counter[4..8], &ssrc.to_be_bytes());
        mix(&mut counter[8..14], &index.to_be_bytes()[2..]);
        let core = ctr::CtrCore::<&Aes128, ctr::flavors::Ctr128BE>::inner_iv_init(&self.key, &counter.into());
        core.apply_keystream_partial(packet.get_mut(header..).unwrap_or_default().into());
    }

    fn tag(&self, packet: &[u8], word: [u8; 4], to: &mut [u8]) {
        let whole = self.authenticator.tag(packet, word);
        to.iter_mut().zip(whole).for_each(|(to, octet)| *to = octet);
    }

    fn verify(&self, packet: &[u8], word: [u8; 4], tag: &[u8]) -> Result<(), Refused> {
        if self.authenticator.verify(packet, word, tag) { Ok(()) } else { Err(Refused::Forged) }
    }
}

impl Gcm {
    fn new(algorithm: &'static aead::Algorithm, length: usize, keys: &SessionKeys) -> Gcm {
        let mut salt = [0; 12];
        salt.copy_from_slice(&keys.salt[..12]);
        let key = keys.key.get(..length).and_then(|key| aead::UnboundKey::new(algorithm, key).ok());
        Gcm { key: key.map(aead::LessSafeKey::new), salt }
    }

    /// Writes a key of zeros over the key: the same algorithm expands it into the same octets of memory.
    fn forget_key(&mut self) {
        if let Some(key) = &mut self.key {
            let algorithm = key.algorithm();
            let zeros =
                [0; 32].get(..algorithm.key_len()).map(|zeros| aead::UnboundKey::new(algorithm, zeros));
            if let Some(Ok(zeros)) = zeros {
                *key = aead::LessSafeKey::new(zeros);
            }
        }
        // Somebody might still look: what was written last must have been.
        std::hint::black_box(&self.key);
    }

    /// RFC 7714 §8.1, §9.1: two octets of zero, the source, 48 bits of index, all of it mixed with the salt.
    fn nonce(&self, ssrc: u32, index: u64) -> aead::Nonce {
        let mut nonce = self.salt;
        let value = [&[0, 0], &ssrc.to_be_bytes()[..], &index.to_be_bytes()[2..]];
        nonce.iter_mut().zip(value.into_iter().flatten()).for_each(|(to, of)| *to ^= of);
        aead::Nonce::assume_unique_for_key(nonce)
    }

    /// The last octets of `payload` are the tag's.
    fn seal(&self, ssrc: u32, index: u64, known: &[u8], payload: &mut [u8]) -> Result<(), Refused> {
        let length = payload.len().checked_sub(GCM_TAG).ok_or(Refused::Malformed)?;
        let (payload, place) = payload.split_at_mut(length);
        let (nonce, known) = (self.nonce(ssrc, index), aead::Aad::from(known));
        let key = self.key.as_ref().ok_or(Refused::Malformed)?;
        let tag = key.seal_in_place_separate_tag(nonce, known, payload);
        place.copy_from_slice(tag.map_err(|_| Refused::Malformed)?.as_ref());
        Ok(())
    }

    fn open(&self, ssrc: u32, index: u64, known: &[u8], payload: &mut [u8]) -> Result<(), Refused> {
        let (nonce, known) = (self.nonce(ssrc, index), aead::Aad::from(known));
        let key = self.key.as_ref().ok_or(Refused::Forged)?;
        key.open_in_place(nonce, known, payload).map(drop).map_err(|_| Refused::Forged)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn gcm(algorithm: &'static aead::Algorithm, key: u8) -> Gcm {
        let keys = SessionKeys { key: [key; 32], authentication: [0; 20], salt: [7; 14] };
        Gcm::new(algorithm, algorithm.key_len(), &keys)
    }

    fn sealed(gcm: &Gcm) -> [u8; 32] {
        let mut packet = [5; 32];
        gcm.seal(1, 1, b"header", &mut packet).unwrap();
        packet
    }

    /// That this is in the place where the key was, there is no safe way to see.
    #[test]
    fn a_key_of_gcm_that_is_dropped_is_a_key_of_zeros_before() {
        for algorithm in [&aead::AES_128_GCM, &aead::AES_256_GCM] {
            let mut used = gcm(algorithm, 9);
            assert_ne!(sealed(&used), sealed(&gcm(algorithm, 0)));
            used.forget_key();
            assert_eq!(sealed(&used), sealed(&gcm(algorithm, 0)));
        }
    }
}
