//! Identifiers that strangers cannot guess: tags, branches, Call-IDs, UUIDs.
//!
//! A tag begins with the key of its leg and a branch with the key of its transaction, so that finding them again is an
//! index and not a search; the rest is random, so that knowing one says nothing of another. All randomness of a Core
//! comes from one seeded generator: the same seed and the same inputs give the same bytes.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use slotmap::{Key, KeyData};
use uuid::Uuid;
use zeroize::Zeroize;

use crate::io::Utc;
use crate::journal::Tape;
use crate::leg::LegKey;
use crate::settings::shard_of;
use crate::subscription::SubscriptionKey;
use crate::wire::ClientKey;

/// RFC 3261 §8.1.1.7.
const COOKIE: &str = "z9hG4bK";
const HEX: &[u8; 16] = b"0123456789abcdef";
/// A key and a random number, sixteen hexadecimal digits each.
const TOKEN: usize = 32;

/// The generator of one Core.
pub(crate) struct Ids {
    rng: ChaCha8Rng,
    /// Every number drawn is kept with the input that it was drawn for.
    pub(crate) tape: Tape,
    shard: u16,
    shards: u16,
}

impl Ids {
    pub(crate) fn new(seed: [u8; 32], shard: u16, shards: u16) -> Ids {
        let mut rng = ChaCha8Rng::from_seed(seed);
        // Shards of one process are given one seed; the stream number keeps them apart.
        rng.set_stream(u64::from(shard));
        Ids { rng, tape: Tape::Off, shard, shards }
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.tape.number(|| self.rng.next_u64())
    }

    /// Makes something of octets that nobody is to learn: they are in no journal, and in a replay they are zeros.
    pub(crate) fn secret<const N: usize, T>(&mut self, make: impl FnOnce(&[u8]) -> T) -> T {
        let mut octets = [0; N];
        match self.tape {
            Tape::Off | Tape::Recording(_) => self.rng.fill_bytes(&mut octets),
            Tape::Replaying { .. } => {}
        }
        let made = make(&octets);
        octets.zeroize();
        made
    }

    /// A From- or To-tag for this leg.
    pub(crate) fn tag(&mut self, leg: LegKey) -> Box<str> {
        self.token("", leg.data().as_ffi())
    }

    /// A tag of the box in the dialog with one of the ends of this subscription.
    pub(crate) fn subscription_tag(&mut self, subscription: SubscriptionKey) -> Box<str> {
        self.token("", subscription.data().as_ffi())
    }

    /// A branch for this client transaction.
    pub(crate) fn branch(&mut self, client: ClientKey) -> Box<str> {
        self.token(COOKIE, client.data().as_ffi())
    }

    /// A branch that no transaction belongs to: the ACK of a 2xx (RFC 3261 §13.2.2.4).
    pub(crate) fn branch_without_transaction(&mut self) -> Box<str> {
        self.token(COOKIE, 0)
    }

    /// A Call-ID that belongs to this shard.
    pub(crate) fn call_id(&mut self) -> Box<str> {
        let Ids { rng, tape, shard, shards } = self;
        // Only the number that was taken is worth keeping, not those that belong to other shards.
        let [high, low] = tape.numbers(|| {
            loop {
                let pair = [rng.next_u64(), rng.next_u64()];
                if shard_of(text("", pair).as_bytes(), *shards) == *shard {
                    return pair;
                }
            }
        });
        text("", [high, low])
    }

    /// A UUIDv7 of this moment.
    pub(crate) fn uuid(&mut self, utc: Utc) -> Uuid {
        let [high, low] = self.tape.numbers(|| [self.rng.next_u64(), self.rng.next_u64()]);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&high.to_le_bytes());
        random[8..].copy_from_slice(&low.to_le_bytes()[..2]);
        let millis = u64::try_from(utc.0 / 1000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn token(&mut self, prefix: &str, high: u64) -> Box<str> {
        text(prefix, [high, self.random()])
    }
}

fn text(prefix: &str, numbers: [u64; 2]) -> Box<str> {
    let mut text = String::with_capacity(prefix.len() + TOKEN);
    text.push_str(prefix);
    for value in numbers {
        for shift in (0..16).rev() {
            text.push(char::from(HEX[(value >> (shift * 4)) as usize & 15]));
        }
    }
    text.into_boxed_str()
}

/// The leg that a tag of ours names. Whether the leg really has this tag is the caller's to check.
pub(crate) fn leg_of_tag(tag: &[u8]) -> Option<LegKey> {
    leading_key(tag).map(LegKey::from)
}

/// The subscription that a tag of ours names. Whether one of its dialogs really has this tag is the caller's to check.
pub(crate) fn subscription_of_tag(tag: &[u8]) -> Option<SubscriptionKey> {
    leading_key(tag).map(SubscriptionKey::from)
}

/// The client transaction that a branch of ours names. Whether it really has this branch is the caller's to check.
pub(crate) fn client_of_branch(branch: &[u8]) -> Option<ClientKey> {
    leading_key(branch.strip_prefix(COOKIE.as_bytes())?).map(ClientKey::from)
}

fn leading_key(token: &[u8]) -> Option<KeyData> {
    if token.len() != TOKEN {
        return None;
    }
    let mut value = 0u64;
    for &digit in token.get(..16)? {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            0..=b'/' | b':'..=b'`' | b'g'..=u8::MAX => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some(KeyData::from_ffi(value))
}
