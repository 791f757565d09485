//! What one side may not see of the other, and what descriptions may say.

use std::collections::BTreeMap;

use call::{MediaId, Side};
use memchr::memmem::{self, Finder};
use sip::{Message, Sdp};

use super::{Oracle, index};
use crate::relay::{ADDRESS, Relay};

/// The origin lines that one leg has sent, and each call's session in the relay.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// By Call-ID: session id, version, and the description without its origin line.
    last: BTreeMap<Vec<u8>, (Vec<u8>, u64, Vec<u8>)>,
    sessions: BTreeMap<usize, MediaId>,
}

impl Oracle {
    /// The session in the relay that a call's descriptions name.
    pub(crate) fn session_of(&self, call: usize) -> Option<MediaId> {
        self.origins.sessions.get(&call).copied()
    }

    /// Invariant 8: nothing of one leg is seen on the other.
    pub(super) fn check_secrecy(&mut self, call: usize, side: Side, message: &Message<'_>) {
        let bytes = message.bytes();
        // Two parties of a transfer may be at one address.
        let own = |secret: &Finder<'_>| {
            self.calls[call].secrets[index(side)].iter().any(|known| known.needle() == secret.needle())
        };
        // Whom a REFER names in words that the box has never given it, the target is to hear of (RFC 3891 §4).
        let named =
            |secret: &Finder<'_>| self.calls[call].named.iter().any(|text| secret.find(text).is_some());
        let opposite = self.opposite((call, side));
        let foreign =
            opposite.iter().flatten().flat_map(|(call, side)| &self.calls[*call].secrets[index(*side)]);
        let seen = foreign
            .filter(|secret| secret.find(bytes).is_some() && !own(secret) && !named(secret))
            .map(|secret| String::from_utf8_lossy(secret.needle()).into_owned())
            .next();
        if let Some(secret) = seen {
            let brief = crate::tape::brief(bytes);
            self.fail(Some(call), format!("side {side:?} sees {secret:?} of the other side in {brief}"));
        }
    }

    /// A description of ours names the relay's ports of this side and call, under one origin whose version rises by
    /// one with each change (RFC 3264 §8).
    pub(super) fn check_description(
        &mut self,
        call: usize,
        side: Side,
        message: &Message<'_>,
        relay: &Relay,
    ) {
        let body = message.body();
        if body.is_empty() || message.content_type() != Some(b"application/sdp") {
            return;
        }
        if let Err(what) = self.description(call, side, message, relay) {
            self.fail(Some(call), format!("side {side:?}: {what}"));
        }
    }

    fn description(
        &mut self,
        call: usize,
        side: Side,
        message: &Message<'_>,
        relay: &Relay,
    ) -> Result<(), String> {
        let body = message.body();
        let sdp = Sdp::parse(body).map_err(|error| format!("a description that cannot be read: {error}"))?;
        for stream in sdp.streams().iter().filter(|stream| !stream.is_rejected()) {
            let Some((session, owner)) = relay.owner(stream.port) else {
                return Err(format!("port {} is not the relay's", stream.port));
            };
            let of_call = *self.origins.sessions.entry(call).or_insert(session);
            if owner == side && of_call == session {
                self.keeps_its_place(message.call_id().unwrap_or_default());
            } else if !self.is_offered_a_place((call, side), message, (session, owner)) {
                return Err(format!("port {} is of side {owner:?} of {session:?}", stream.port));
            }
            if !stream.is_held_address() && stream.address().and_then(|host| host.ip()) != Some(ADDRESS) {
                return Err("an address that is not the relay's".to_owned());
            }
        }
        let origin = sdp.origin().ok_or("no origin line")?;
        let version: u64 = std::str::from_utf8(origin.version)
            .ok()
            .and_then(|version| version.parse().ok())
            .ok_or("a version that is no number")?;
        let start = memmem::find(body, b"o=").unwrap_or(0);
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
        let rest = [&body[..start], &body[end..]].concat();
        let id = message.call_id().unwrap_or_default().to_vec();
        let session_id = origin.session_id.to_vec();
        let before = self.origins.last.insert(id, (session_id.clone(), version, rest.clone()));
        match before {
            Some((id, ..)) if id != session_id => Err("another session id than before".to_owned()),
            Some((_, before, same)) if same == rest && before != version => {
                Err(format!("version {version} after {before} although nothing changed"))
            }
            Some((_, before, changed)) if changed != rest && version != before + 1 => {
                Err(format!("version {version} after {before} although the description changed"))
            }
            Some(_) | None => Ok(()),
        }
    }
}
