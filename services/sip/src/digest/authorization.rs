//! Credentials: Authorization and Proxy-Authorization.

use std::borrow::Cow;

use super::params::{Params, SHAPE, Value, after_scheme};
use super::{Algorithm, Proof, same};
use crate::message::Fault;

/// What a client proves itself with (RFC 7616 §3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// Who it says it is.
    pub username: Cow<'a, [u8]>,
    /// Must be the one of the challenge.
    pub realm: Cow<'a, [u8]>,
    /// Must be one that was issued here.
    pub nonce: Cow<'a, [u8]>,
    /// What it asks for, as it was written. Must mean the Request-URI (RFC 7616 §3.4.6).
    pub uri: &'a [u8],
    /// The proof.
    pub response: &'a [u8],
    /// Must be the one of the challenge.
    pub algorithm: Algorithm,
    /// The quality of protection; `None` is RFC 2069's way.
    pub qop: Option<Cow<'a, [u8]>>,
    /// The client's own nonce.
    pub cnonce: Option<Cow<'a, [u8]>>,
    /// How often this nonce was used, this time included.
    pub nc: Option<u32>,
    /// What the challenge gave to be given back.
    pub opaque: Option<Cow<'a, [u8]>>,
    /// `nc` as it was written: eight digits by the grammar, but hashed as they come.
    nc_text: &'a [u8],
}

impl<'a> Authorization<'a> {
    /// Reads the value of an Authorization or Proxy-Authorization header.
    ///
    /// # Errors
    /// Another scheme, an unknown algorithm, an `nc` that is not of one to eight hex digits, a quality of protection
    /// without `nc` and `cnonce`, a parameter missing or twice, or text that does not follow the grammar.
    pub fn parse(value: &'a [u8]) -> Result<Authorization<'a>, Fault> {
        let rest = after_scheme(value).ok_or(bad(SHAPE))?;
        let fields = Fields::read(rest)?;
        let algorithm = match fields.algorithm {
            Some(text) => Algorithm::parse(text.raw).ok_or(bad("algorithm MD5 or SHA-256"))?,
            None => Algorithm::Md5,
        };
        let nc_text = fields.nc.map_or(&b""[..], |nc| nc.raw);
        let nc = match fields.nc {
            Some(_) => Some(count(nc_text).ok_or(bad("nc of eight hex digits"))?),
            None => None,
        };
        let needs_cnonce = fields.qop.is_some() || algorithm.is_session_bound();
        if needs_cnonce && fields.cnonce.is_none() || fields.qop.is_some() && nc.is_none() {
            return Err(bad("cnonce and nc beside qop"));
        }
        let unescaped = |value: Value<'a>| value.unescaped();
        Ok(Authorization {
            username: fields.username.map(unescaped).ok_or(bad("a username"))?,
            realm: fields.realm.map(unescaped).ok_or(bad("a realm"))?,
            nonce: fields.nonce.map(unescaped).ok_or(bad("a nonce"))?,
            uri: fields.uri.ok_or(bad("a uri"))?.raw,
            response: fields.response.ok_or(bad("a response"))?.raw,
            algorithm,
            qop: fields.qop.map(unescaped),
            cnonce: fields.cnonce.map(unescaped),
            nc,
            opaque: fields.opaque.map(unescaped),
            nc_text,
        })
    }

    /// Whether the client knows the password. What is *not* looked at here: whether the realm, the nonce and the
    /// algorithm are those of the challenge, and whether `uri` means what was asked for. A quality of protection other
    /// than `auth` is refused. Takes the same time wherever the response differs.
    pub fn verify(&self, password: &str, method: &[u8]) -> bool {
        if self.qop.as_deref().is_some_and(|qop| !qop.eq_ignore_ascii_case(b"auth")) {
            return false;
        }
        let expected = Proof {
            algorithm: self.algorithm,
            username: &self.username,
            realm: &self.realm,
            password: password.as_bytes(),
            nonce: &self.nonce,
            cnonce: self.cnonce.as_deref().unwrap_or_default(),
            nc: self.qop.is_some().then_some(self.nc_text),
            method,
            uri: self.uri,
        }
        .response();
        same(&expected, &self.response.to_ascii_lowercase())
    }
}

#[derive(Default)]
struct Fields<'a> {
    username: Option<Value<'a>>,
    realm: Option<Value<'a>>,
    nonce: Option<Value<'a>>,
    uri: Option<Value<'a>>,
    response: Option<Value<'a>>,
    algorithm: Option<Value<'a>>,
    qop: Option<Value<'a>>,
    cnonce: Option<Value<'a>>,
    nc: Option<Value<'a>>,
    opaque: Option<Value<'a>>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a [u8]) -> Result<Fields<'a>, Fault> {
        let mut fields = Fields::default();
        for pair in Params::new(text) {
            let (name, value) = pair.map_err(|()| bad(SHAPE))?;
            let slot = match name.to_ascii_lowercase().as_slice() {
                b"username" => &mut fields.username,
                b"realm" => &mut fields.realm,
                b"nonce" => &mut fields.nonce,
                b"uri" => &mut fields.uri,
                b"response" => &mut fields.response,
                b"algorithm" => &mut fields.algorithm,
                b"qop" => &mut fields.qop,
                b"cnonce" => &mut fields.cnonce,
                b"nc" => &mut fields.nc,
                b"opaque" => &mut fields.opaque,
                _ => continue,
            };
            // Two readers that take different ones of a repeated parameter can be played against each other.
            if slot.replace(value).is_some() {
                return Err(bad("each parameter once"));
            }
        }
        Ok(fields)
    }
}

/// Hex: the tenth request is `0000000a`.
fn count(text: &[u8]) -> Option<u32> {
    // `from_str_radix` would take a sign.
    if !(1..=8).contains(&text.len()) || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

fn bad(expected: &'static str) -> Fault {
    Fault::new("Authorization", expected)
}
