//! The tag of SRTP: HMAC-SHA1 (RFC 2104) over a packet that is there in one piece.
//!
//! The hash is the library's. What RFC 2104 puts round it stands here, because a packet is short: a general HMAC copies its state
//! and a block of octets for each, and wipes both, which takes as long as the hash itself (`make bench-srtp`).

use sha1::block_api::compress;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

const BLOCK: usize = 64;
const DIGEST: usize = 20;

/// What a hash begins with (FIPS 180-4 §5.3.1).
const BEGIN: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// A key that both hashes have taken in.
pub(super) struct Authenticator {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

impl Authenticator {
    pub(super) fn new(key: &[u8; DIGEST]) -> Authenticator {
        let keyed = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
            let mut state = BEGIN;
            compress(&mut state, &[block]);
            block.zeroize();
            state
        };
        Authenticator { inner: keyed(0x36), outer: keyed(0x5c) }
    }

    /// The tag, whole, of a packet with the word behind it that only one of them sends along: the rollover counter of RTP
    /// (RFC 3711 §4.2), the index of RTCP.
    pub(super) fn tag(&self, packet: &[u8], word: [u8; 4]) -> [u8; DIGEST] {
        let mut state = self.inner;
        let (blocks, rest) = packet.as_chunks::<BLOCK>();
        compress(&mut state, blocks);
        // What is left, the word, the bit that ends it, and its length: in one block more, or in two.
        let mut last = [[0; BLOCK]; 2];
        let ended = [word[0], word[1], word[2], word[3], 0x80];
        let whole = last.as_flattened_mut();
        put(whole, 0, rest);
        put(whole, rest.len(), &ended);
        let end = if rest.len() + ended.len() + 8 > BLOCK { 2 * BLOCK } else { BLOCK };
        put(whole, end - 8, &bits(packet.len() + word.len()));
        compress(&mut state, last.get(..end / BLOCK).unwrap_or_default());
        let mut block = [0; BLOCK];
        put(&mut block, 0, octets(state).as_flattened());
        put(&mut block, DIGEST, &[0x80]);
        put(&mut block, BLOCK - 8, &bits(DIGEST));
        let mut state = self.outer;
        compress(&mut state, &[block]);
        let mut tag = [0; DIGEST];
        put(&mut tag, 0, octets(state).as_flattened());
        tag
    }

    /// Whether this is how the tag begins; it takes as long for a wrong one as for the right one.
    pub(super) fn verify(&self, packet: &[u8], word: [u8; 4], tag: &[u8]) -> bool {
        let whole = self.tag(packet, word);
        !tag.is_empty() && whole.get(..tag.len()).is_some_and(|right| right.ct_eq(tag).into())
    }
}

fn put(to: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(place) = to.get_mut(at..at + octets.len()) {
        place.copy_from_slice(octets);
    }
}

fn octets(state: [u32; 5]) -> [[u8; 4]; 5] {
    state.map(u32::to_be_bytes)
}

/// The length of what was hashed, the block with the key included.
fn bits(length: usize) -> [u8; 8] {
    ((BLOCK + length) as u64 * 8).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha1::Sha1;

    use super::*;

    #[test]
    fn tags_are_those_of_a_general_hmac_at_every_length() {
        let key: [u8; DIGEST] = std::array::from_fn(|at| (at * 7) as u8);
        let authenticator = Authenticator::new(&key);
        let octets: Vec<u8> = (0..300).map(|at: u32| ((at * 31) >> 2) as u8).collect();
        for length in 0..=octets.len() {
            let mut general = Hmac::<Sha1>::new_from_slice(&key).unwrap();
            general.update(&octets[..length]);
            general.update(&[1, 2, 3, 4]);
            let right = general.finalize().into_bytes();
            let tag = authenticator.tag(&octets[..length], [1, 2, 3, 4]);
            assert_eq!(tag[..], right[..], "{length}");
        }
    }

    #[test]
    fn a_tag_that_is_not_the_right_one_at_any_place_is_refused() {
        let authenticator = Authenticator::new(&[9; DIGEST]);
        let tag = authenticator.tag(b"packet", [0; 4]);
        for length in [4, 10] {
            assert!(authenticator.verify(b"packet", [0; 4], &tag[..length]));
            for bit in 0..length * 8 {
                let mut wrong = tag;
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(!authenticator.verify(b"packet", [0; 4], &wrong[..length]));
            }
        }
        assert!(!authenticator.verify(b"packet", [0, 0, 0, 1], &tag[..4]));
        assert!(!authenticator.verify(b"packet", [0; 4], &[]));
        assert!(!authenticator.verify(b"packet", [0; 4], &[tag.as_slice(), &[0]].concat()));
    }
}
