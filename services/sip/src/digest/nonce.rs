//! Nonces that need no memory.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{hex, same};
use crate::Time;

/// Issues nonces and knows them again: each is its time of issue and a keyed hash of it, so that a flood of
/// unauthenticated requests leaves nothing behind.
#[derive(Clone)]
pub struct Nonces {
    secret: [u8; 32],
}

/// What a nonce that came back is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceCheck {
    /// Issued here, and young enough.
    Fresh,
    /// Issued here, too long ago (or before the clock's origin moved): challenge again with `stale=true`.
    Stale,
    /// Not issued here: challenge as if there were no credentials.
    Forged,
}

/// The time in hex.
const TIME_DIGITS: usize = 16;
/// The first half of the hash in hex: 128 bits are beyond guessing.
const HASH_DIGITS: usize = 32;

impl Nonces {
    /// Nonces of that secret, which should be random and live no longer than the clock's origin.
    pub fn new(secret: [u8; 32]) -> Nonces {
        Nonces { secret }
    }

    /// A nonce for a challenge. Two of the same microsecond are alike, which does no harm: it is not what identifies
    /// a client.
    pub fn issue(&self, now: Time) -> String {
        let time = format!("{:0TIME_DIGITS$x}", now.as_micros());
        let hash = self.hash(time.as_bytes());
        time + &String::from_utf8_lossy(&hash)
    }

    /// Whether the nonce was issued here and less than `lifetime` ago.
    pub fn check(&self, nonce: &[u8], now: Time, lifetime: Duration) -> NonceCheck {
        let Some((time, hash)) = nonce.split_at_checked(TIME_DIGITS) else { return NonceCheck::Forged };
        if !same(&self.hash(time), hash) {
            return NonceCheck::Forged;
        }
        let issued = std::str::from_utf8(time).ok().and_then(|time| u64::from_str_radix(time, 16).ok());
        match issued.map(Time::from_micros) {
            Some(issued) if issued <= now && now - issued < lifetime => NonceCheck::Fresh,
            Some(_) => NonceCheck::Stale,
            None => NonceCheck::Forged,
        }
    }

    fn hash(&self, time: &[u8]) -> [u8; HASH_DIGITS] {
        // HMAC pads its key with zeros to the hash's block; given so, making it cannot fail.
        let mut key = [0; 64];
        key[..32].copy_from_slice(&self.secret);
        let mut mac = Hmac::<Sha256>::new(&key.into());
        mac.update(time);
        let hash = mac.finalize().into_bytes();
        let mut digits = [0; HASH_DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash.iter()) {
            pair.copy_from_slice(&hex(*byte));
        }
        digits
    }
}

impl std::fmt::Debug for Nonces {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}
