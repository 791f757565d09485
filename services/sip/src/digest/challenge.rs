//! Challenges: WWW-Authenticate and Proxy-Authenticate.

use std::borrow::Cow;

use super::params::{Params, SHAPE, after_scheme, escaped, write_plain, write_quoted};
use super::{Algorithm, Proof};
use crate::message::Fault;

/// What a server demands (RFC 7616 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whose users are asked for.
    pub realm: Box<[u8]>,
    /// To be given back.
    pub nonce: Box<[u8]>,
    /// To be given back too, where it is there.
    pub opaque: Option<Box<[u8]>>,
    /// The hash to use.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` is offered; else RFC 2069's way is meant.
    pub qop_auth: bool,
    /// Whether the credentials were right but for the age of their nonce.
    pub stale: bool,
}

impl Challenge {
    /// Reads the value of a WWW-Authenticate or Proxy-Authenticate header.
    ///
    /// # Errors
    /// Another scheme, an unknown algorithm, a quality of protection other than `auth` alone, no realm or nonce, a
    /// parameter twice, or text that does not follow the grammar.
    pub fn parse(value: &[u8]) -> Result<Challenge, Fault> {
        let bad = |expected| Fault::new("WWW-Authenticate", expected);
        let (mut realm, mut nonce, mut opaque) = (None, None, None);
        let (mut algorithm, mut qop, mut stale) = (None, None, None);
        let rest = after_scheme(value).ok_or(bad(SHAPE))?;
        for pair in Params::new(rest) {
            let (name, value) = pair.map_err(|()| bad(SHAPE))?;
            let slot = match name.to_ascii_lowercase().as_slice() {
                b"realm" => &mut realm,
                b"nonce" => &mut nonce,
                b"opaque" => &mut opaque,
                b"algorithm" => &mut algorithm,
                b"qop" => &mut qop,
                b"stale" => &mut stale,
                _ => continue,
            };
            if slot.replace(value.unescaped()).is_some() {
                return Err(bad("each parameter once"));
            }
        }
        let qop_auth = match &qop {
            Some(list) if list.split(|byte| *byte == b',').any(is_auth) => true,
            Some(_) => return Err(bad("qop=\"auth\"")),
            None => false,
        };
        let algorithm = match &algorithm {
            Some(text) => Algorithm::parse(text).ok_or(bad("algorithm MD5 or SHA-256"))?,
            None => Algorithm::Md5,
        };
        let owned = |value: Cow<'_, [u8]>| value.into_owned().into_boxed_slice();
        Ok(Challenge {
            realm: owned(realm.ok_or(bad("a realm"))?),
            nonce: owned(nonce.ok_or(bad("a nonce"))?),
            opaque: opaque.map(owned),
            algorithm,
            qop_auth,
            stale: stale.is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
        })
    }

    /// The challenge of the strongest algorithm among those that can be read; the first where several are as strong.
    pub fn best<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Option<Challenge> {
        let readable = values.into_iter().filter_map(|value| Challenge::parse(value).ok());
        readable.reduce(|best, next| if next.algorithm > best.algorithm { next } else { best })
    }

    /// The value of the Authorization or Proxy-Authorization header that answers. `uri` is the Request-URI as it is
    /// written in the request; `nc` counts the requests that this nonce was used for, from 1, each with its own
    /// `cnonce`.
    pub fn authorize(
        &self,
        username: &str,
        password: &str,
        method: &[u8],
        uri: &[u8],
        cnonce: &str,
        nc: u32,
    ) -> Vec<u8> {
        let nc = format!("{nc:08x}");
        let response = Proof {
            algorithm: self.algorithm,
            username: username.as_bytes(),
            realm: &self.realm,
            password: password.as_bytes(),
            nonce: &self.nonce,
            cnonce: cnonce.as_bytes(),
            nc: self.qop_auth.then_some(nc.as_bytes()),
            method,
            // The other end hashes what it finds between the quotes.
            uri: &escaped(uri),
        }
        .response();
        let mut out = Vec::with_capacity(256 + self.nonce.len() + uri.len());
        write_quoted(&mut out, "username", username.as_bytes());
        write_quoted(&mut out, "realm", &self.realm);
        write_quoted(&mut out, "nonce", &self.nonce);
        write_quoted(&mut out, "uri", uri);
        write_quoted(&mut out, "response", &response);
        write_plain(&mut out, "algorithm", self.algorithm.as_str().as_bytes());
        if self.qop_auth || self.algorithm.is_session_bound() {
            write_quoted(&mut out, "cnonce", cnonce.as_bytes());
        }
        if let Some(opaque) = &self.opaque {
            write_quoted(&mut out, "opaque", opaque);
        }
        if self.qop_auth {
            write_plain(&mut out, "qop", b"auth");
            write_plain(&mut out, "nc", nc.as_bytes());
        }
        out
    }

    /// The value of a WWW-Authenticate or Proxy-Authenticate header.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.nonce.len());
        write_quoted(&mut out, "realm", &self.realm);
        write_quoted(&mut out, "nonce", &self.nonce);
        if let Some(opaque) = &self.opaque {
            write_quoted(&mut out, "opaque", opaque);
        }
        write_plain(&mut out, "algorithm", self.algorithm.as_str().as_bytes());
        if self.qop_auth {
            write_quoted(&mut out, "qop", b"auth");
        }
        if self.stale {
            write_plain(&mut out, "stale", b"true");
        }
        out
    }
}

fn is_auth(token: &[u8]) -> bool {
    token.trim_ascii().eq_ignore_ascii_case(b"auth")
}
