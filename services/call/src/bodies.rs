//! Bodies: which ones the box understands, what becomes of the others, and the description among several parts.
//!
//! The box reads one thing, a session description. It may stand alone or be one part of a `multipart/…` body, or of a part of one. What else
//! comes with a request that makes or changes a session is for somebody behind the box: whether it crosses, says the
//! trunk ([`Bodies`]). What comes with other requests (MESSAGE, INFO) is between the two ends, and is not looked at here.

use std::borrow::Cow;

use bytes::Bytes;
use routing::Bodies;
use sip::{Message, Multipart, Name, Params, Part, Writer, is_media_type};

use crate::headers::SDP;

/// What an INVITE's answer may hold.
pub(crate) const ACCEPT: &[u8] = b"application/sdp, multipart/mixed";

/// What a request that neither makes nor changes a session may hold.
pub(crate) const ANYTHING_ELSE: &[u8] = b"*/*, application/sdp;q=0";

/// Parts within parts are looked into so deep.
const MAX_DEPTH: u8 = 3;

/// The description in a message, when its body is one or has one among its parts.
pub(crate) fn sdp_of<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let body = message.body();
    let kind = message.content_type().filter(|_| !body.is_empty())?;
    // What may be left unread (`handling=optional`) is.
    if is_encoded(message) {
        return None;
    }
    if is_media_type(kind, SDP) {
        return is_for_session(message.first(Name::ContentDisposition)).then_some(body);
    }
    let cut = message.multipart()?.ok()?;
    description(&cut, MAX_DEPTH)
}

/// Whether a description stands anywhere in a body, whatever it is for.
pub(crate) fn shows_addresses(message: &Message<'_>) -> bool {
    let has_sdp = |cut: Multipart<'_>| cut.parts().iter().any(|part| holds_sdp(part, MAX_DEPTH));
    let is_sdp = message.content_type().is_some_and(|kind| is_media_type(kind, SDP));
    is_sdp && !message.body().is_empty() || message.multipart().is_some_and(|cut| cut.is_ok_and(has_sdp))
}

/// Why the box cannot take a body.
pub(crate) struct Unusable {
    pub(crate) status: u16,
    pub(crate) phrase: Option<&'static str>,
    pub(crate) headers: &'static [(&'static str, &'static [u8])],
}

const UNKNOWN: Unusable = Unusable { status: 415, phrase: None, headers: &[("Accept", ACCEPT)] };
const ENCODED: Unusable =
    Unusable { status: 415, phrase: None, headers: &[("Accept-Encoding", b"identity")] };
const ENCRYPTED: Unusable = Unusable { status: 493, phrase: None, headers: &[] };
const BAD_PARTS: Unusable = Unusable { status: 400, phrase: Some("Bad Multipart Body"), headers: &[] };

/// Judges the body of a request that makes or changes a session (RFC 3261 §8.2.3, RFC 5621 §6).
pub(crate) fn judge(message: &Message<'_>, bodies: Bodies) -> Result<(), Unusable> {
    if message.body().is_empty() {
        return Ok(());
    }
    let disposition = message.first(Name::ContentDisposition);
    if is_encoded(message) {
        return if is_optional(disposition) { Ok(()) } else { Err(ENCODED) };
    }
    let kind = message.content_type().unwrap_or(b"text/plain");
    if is_media_type(kind, SDP) {
        // A description of something else (RFC 3959) crosses nowhere: no relay stands in front of its addresses.
        return match is_for_session(disposition) {
            true => Ok(()),
            false => understood_by_somebody(kind, disposition, Bodies::Strict),
        };
    }
    match message.multipart() {
        None => understood_by_somebody(kind, disposition, bodies),
        Some(Err(_)) => Err(BAD_PARTS),
        Some(Ok(cut)) => judge_parts(kind, &cut, description(&cut, MAX_DEPTH), bodies),
    }
}

fn is_encoded(message: &Message<'_>) -> bool {
    message.elements(Name::ContentEncoding).any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}

/// `known`: the description that the box reads, if it is anywhere within.
fn judge_parts(
    kind: &[u8],
    cut: &Multipart<'_>,
    known: Option<&[u8]>,
    bodies: Bodies,
) -> Result<(), Unusable> {
    // RFC 2046 §5.1.4: who understands one of several forms of the same needs none of the others.
    if is_media_type(kind, b"multipart/alternative") && known.is_some() {
        return Ok(());
    }
    for part in cut.parts() {
        if known.is_some_and(|known| std::ptr::eq(known, part.body)) {
            continue;
        }
        match part.multipart() {
            Some(Ok(nested)) if known.is_some_and(|known| stands_in(known, part.body)) => {
                judge_parts(part.kind(), &nested, known, bodies)?;
            }
            Some(_) | None => {
                // Another description crosses nowhere: no relay stands in front of its addresses.
                let bodies = if holds_sdp(part, MAX_DEPTH) { Bodies::Strict } else { bodies };
                understood_by_somebody(part.kind(), part.disposition, bodies)?;
            }
        }
    }
    Ok(())
}

/// Whether one text is a piece of the other, and not only like one.
fn stands_in(piece: &[u8], whole: &[u8]) -> bool {
    let (piece, whole) = (piece.as_ptr_range(), whole.as_ptr_range());
    whole.start <= piece.start && piece.end <= whole.end
}

/// A body or part that the box does not understand.
fn understood_by_somebody(kind: &[u8], disposition: Option<&[u8]>, bodies: Bodies) -> Result<(), Unusable> {
    match bodies {
        Bodies::Pass => Ok(()),
        Bodies::Strict if is_optional(disposition) => Ok(()),
        Bodies::Strict if is_encrypted(kind) => Err(ENCRYPTED),
        Bodies::Strict => Err(UNKNOWN),
    }
}

/// RFC 3261 §20.11: what a description is for when nothing is said.
fn is_for_session(disposition: Option<&[u8]>) -> bool {
    let purpose = disposition.map(|value| Params::split(value).0);
    purpose.is_none_or(|purpose| purpose.eq_ignore_ascii_case(b"session"))
}

/// RFC 5621 §5.2: what says nothing is required.
fn is_optional(disposition: Option<&[u8]>) -> bool {
    disposition.is_some_and(|value| {
        let (_, params) = Params::split(value);
        params.value("handling").is_some_and(|handling| handling.eq_ignore_ascii_case(b"optional"))
    })
}

/// S/MIME (RFC 3261 §23.3) and OpenPGP (RFC 3156).
fn is_encrypted(kind: &[u8]) -> bool {
    let kinds: [&[u8]; 4] = [
        b"application/pkcs7-mime",
        b"application/x-pkcs7-mime",
        b"application/pgp-encrypted",
        b"multipart/encrypted",
    ];
    kinds.iter().any(|known| is_media_type(kind, known))
}

/// The body of the part that describes the session: the first that is one and is for that (RFC 3959 has others), before those
/// within parts.
fn description<'a>(cut: &Multipart<'a>, depth: u8) -> Option<&'a [u8]> {
    let mut parts = cut.parts().iter().filter(|part| is_for_session(part.disposition));
    let own = parts.clone().find(|part| is_sdp(part) && !part.is_encoded).map(|part| part.body);
    let deeper = depth.checked_sub(1);
    own.or_else(|| parts.find_map(|part| description(&part.multipart()?.ok()?, deeper?)))
}

/// Whether a description stands anywhere in a part. What is too deep to be looked into, or cannot be cut, may be one.
fn holds_sdp(part: &Part<'_>, depth: u8) -> bool {
    let within = |cut: &Multipart<'_>| match depth.checked_sub(1) {
        Some(depth) => cut.parts().iter().any(|part| holds_sdp(part, depth)),
        None => true,
    };
    is_sdp(part) || part.multipart().is_some_and(|cut| cut.as_ref().map_or(true, within))
}

/// The parts with another description in the place of the one that was read, and without any other.
fn rewritten(cut: &Multipart<'_>, place: &[u8], written: &[u8], depth: u8) -> Vec<u8> {
    cut.rewrite(|part| {
        if std::ptr::eq(place, part.body) {
            return Some(Cow::Borrowed(written));
        }
        match (part.multipart(), depth.checked_sub(1)) {
            (Some(Ok(nested)), Some(depth)) if stands_in(place, part.body) => {
                Some(Cow::Owned(rewritten(&nested, place, written, depth)))
            }
            (_, _) => (!holds_sdp(part, MAX_DEPTH)).then_some(Cow::Borrowed(part.body)),
        }
    })
}

fn is_sdp(part: &Part<'_>) -> bool {
    is_media_type(part.kind(), SDP)
}

/// A body for the other leg.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    /// Of anything but a description alone: its type, and what else is said of it.
    about: Option<Box<About>>,
    described: bool,
}

#[derive(Debug)]
struct About {
    kind: Box<[u8]>,
    headers: Vec<(&'static str, Box<[u8]>)>,
}

impl From<Vec<u8>> for Body {
    /// A description alone.
    fn from(description: Vec<u8>) -> Body {
        Body { bytes: description, about: None, described: true }
    }
}

impl Body {
    /// A description that was written anew, in the place where it stood in this message if other parts cross with it.
    pub(crate) fn in_place(message: Option<&Message<'_>>, description: Vec<u8>, bodies: Bodies) -> Body {
        let parts = message.filter(|_| bodies == Bodies::Pass).and_then(|message| {
            let cut = message.multipart()?.ok()?;
            let place = self::description(&cut, MAX_DEPTH)?;
            let bytes = rewritten(&cut, place, &description, MAX_DEPTH);
            Some((bytes, About::of(message)))
        });
        match parts {
            Some((bytes, about)) => Body { bytes, about: Some(about), described: true },
            None => Body::from(description),
        }
    }

    /// A body without a description, where the trunk lets it cross.
    pub(crate) fn passed(message: &Message<'_>, bodies: Bodies) -> Option<Body> {
        let crosses = bodies == Bodies::Pass
            && !message.body().is_empty()
            && !is_encoded(message)
            && !shows_addresses(message);
        crosses.then(|| Body {
            bytes: message.body().to_vec(),
            about: Some(About::of(message)),
            described: false,
        })
    }

    /// Whether there is a description in it.
    pub(crate) fn is_described(&self) -> bool {
        self.described
    }

    /// Ends a message with a body, if there is one.
    pub(crate) fn finish(body: Option<&Body>, mut writer: Writer) -> Bytes {
        let Some(body) = body else { return writer.finish() };
        let Some(about) = &body.about else { return writer.body(Some(SDP), &body.bytes) };
        for (name, value) in &about.headers {
            writer.header(name, value);
        }
        writer.body(Some(&about.kind), &body.bytes)
    }
}

impl About {
    fn of(message: &Message<'_>) -> Box<About> {
        let named = [Name::MimeVersion, Name::ContentDisposition];
        let header = |name: Name| Some((name.as_str(), message.first(name)?.into()));
        Box::new(About {
            kind: message.first(Name::ContentType).unwrap_or(b"text/plain").into(),
            headers: named.into_iter().filter_map(header).collect(),
        })
    }
}
