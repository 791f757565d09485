//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22), both sides of it.
//!
//! As a client: read the [`Challenge`] of a 401 or 407, pick with [`Challenge::best`] where there are several, and
//! [`authorize`](Challenge::authorize) the request. As a server: challenge with a nonce of [`Nonces`], read the
//! [`Authorization`] that comes back and [`verify`](Authorization::verify) it. Nothing is remembered here: a nonce
//! carries its own age, and counting `nc` is left to whoever holds the nonce.
//!
//! All values are held without their quotes and escapes; the one exception is the `uri`, which is hashed as it was
//! written, since the two ends need not agree on how a URI is normalised but do see the same text.

mod authorization;
mod challenge;
mod nonce;
mod params;

use arrayvec::ArrayVec;
use sha2::Digest;

pub use authorization::Authorization;
pub use challenge::Challenge;
pub use nonce::{NonceCheck, Nonces};

/// The hash, and whether its secret is bound to the session (`-sess`). In order of strength.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// What is meant where none is named.
    #[default]
    Md5,
    /// MD5, session-bound.
    Md5Sess,
    /// SHA-256 (RFC 8760).
    Sha256,
    /// SHA-256, session-bound.
    Sha256Sess,
}

impl Algorithm {
    /// Reads an `algorithm` parameter, in any case.
    pub fn parse(text: &[u8]) -> Option<Algorithm> {
        const ALL: [Algorithm; 4] =
            [Algorithm::Md5, Algorithm::Md5Sess, Algorithm::Sha256, Algorithm::Sha256Sess];
        ALL.into_iter().find(|algorithm| text.eq_ignore_ascii_case(algorithm.as_str().as_bytes()))
    }

    /// As the `algorithm` parameter says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Md5Sess => "MD5-sess",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha256Sess => "SHA-256-sess",
        }
    }

    const fn is_session_bound(self) -> bool {
        match self {
            Algorithm::Md5 | Algorithm::Sha256 => false,
            Algorithm::Md5Sess | Algorithm::Sha256Sess => true,
        }
    }

    /// The hash of the fields with colons between them, in lower-case hex.
    fn hash(self, fields: &[&[u8]]) -> Hex {
        match self {
            Algorithm::Md5 | Algorithm::Md5Sess => hash_with::<md5::Md5>(fields),
            Algorithm::Sha256 | Algorithm::Sha256Sess => hash_with::<sha2::Sha256>(fields),
        }
    }
}

/// A hash in lower-case hex.
type Hex = ArrayVec<u8, 64>;

fn hash_with<D: Digest>(fields: &[&[u8]]) -> Hex {
    let mut hash = D::new();
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(field);
    }
    hash.finalize().iter().flat_map(|byte| hex(*byte)).collect()
}

fn hex(byte: u8) -> [u8; 2] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

/// What both ends know of a request, and the response is made of (RFC 7616 §3.4.1).
struct Proof<'a> {
    algorithm: Algorithm,
    username: &'a [u8],
    realm: &'a [u8],
    password: &'a [u8],
    nonce: &'a [u8],
    cnonce: &'a [u8],
    /// The text of `nc`, where the quality of protection is `auth`; `None` is RFC 2069's way.
    nc: Option<&'a [u8]>,
    method: &'a [u8],
    uri: &'a [u8],
}

impl Proof<'_> {
    fn response(&self) -> Hex {
        let secret = self.algorithm.hash(&[self.username, self.realm, self.password]);
        let a1 = if self.algorithm.is_session_bound() {
            self.algorithm.hash(&[&secret, self.nonce, self.cnonce])
        } else {
            secret
        };
        let a2 = self.algorithm.hash(&[self.method, self.uri]);
        match self.nc {
            Some(nc) => self.algorithm.hash(&[&a1, self.nonce, nc, self.cnonce, b"auth", &a2]),
            None => self.algorithm.hash(&[&a1, self.nonce, &a2]),
        }
    }
}

/// Compares in a time that tells nothing of where two texts differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |sum, (left, right)| sum | (left ^ right));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}
