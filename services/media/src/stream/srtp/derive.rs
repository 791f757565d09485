//! Session keys out of a master key (RFC 3711 §4.3), derived once: the key derivation rate is 0, the only one that is
//! negotiated.

use aes::{Aes128, Aes256};
use ctr::cipher::{KeyIvInit, StreamCipher};
use sip::{MasterKey, SrtpSuite};
use zeroize::Zeroize;

use super::cipher::Cipher;

/// What a session key is for; SRTCP's are three further on.
#[derive(Clone, Copy)]
pub(super) enum Label {
    Encryption = 0,
    Authentication = 1,
    Salt = 2,
}

/// Those of RTP and of RTCP.
pub(super) fn ciphers(suite: SrtpSuite, master: &MasterKey) -> [Cipher; 2] {
    [0, 3].map(|labels| {
        let mut keys = SessionKeys { key: [0; 32], authentication: [0; 20], salt: [0; 14] };
        let (key, salt) = (suite.key_length(), suite.salt_length());
        derive(master, labels + Label::Encryption as u8, keys.key.get_mut(..key).unwrap_or_default());
        derive(master, labels + Label::Authentication as u8, &mut keys.authentication);
        derive(master, labels + Label::Salt as u8, keys.salt.get_mut(..salt).unwrap_or_default());
        Cipher::new(suite, &keys, labels == 0)
    })
}

/// The session keys of RTP or of RTCP.
pub(super) struct SessionKeys {
    pub(super) key: [u8; 32],
    pub(super) authentication: [u8; 20],
    pub(super) salt: [u8; 14],
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.authentication.zeroize();
        self.salt.zeroize();
    }
}

/// Fills `to` with the pseudo-random function of AES in counter mode (§4.3.3): the label, at its place in 112 bits of salt,
/// is where the counter begins. A salt of 96 bits is filled up with zeros on the right (RFC 7714 §11).
pub(super) fn derive(master: &MasterKey, label: u8, to: &mut [u8]) {
    let mut counter = [0; 16];
    for (octet, salt) in counter.iter_mut().zip(master.salt()) {
        *octet = *salt;
    }
    counter[7] ^= label;
    to.fill(0);
    if let Ok(key) = <&[u8; 16]>::try_from(master.key()) {
        ctr::Ctr128BE::<Aes128>::new(key.into(), &counter.into()).apply_keystream(to);
    } else if let Ok(key) = <&[u8; 32]>::try_from(master.key()) {
        ctr::Ctr128BE::<Aes256>::new(key.into(), &counter.into()).apply_keystream(to);
    }
}
