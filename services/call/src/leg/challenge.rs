//! Answering 401 and 407 with a trunk's credentials (RFC 3261 §22): the same request again, with the next CSeq.

use bytes::Bytes;
use routing::Credentials;
use sip::{Challenge, Message, Name, Writer};

use super::uac::via;
use super::{Leg, LegKey};
use crate::io::Now;
use crate::settings::Listener;
use crate::wire::{ClientKey, ClientUser, Purpose, Wire};

/// A wrong password is told by a second challenge; a nonce that grew old may be replaced this often.
const MAX_CHALLENGES: u8 = 3;

/// What has been tried against challenges of one request.
#[derive(Debug, Default)]
pub(crate) struct AuthTries {
    count: u8,
    last_nonce: u64,
}

/// A request of a leg that was answered with 401 or 407.
pub(crate) struct Challenged<'a> {
    pub(crate) client: ClientKey,
    pub(crate) purpose: Purpose,
    pub(crate) response: &'a Message<'a>,
    pub(crate) credentials: Option<&'a Credentials>,
}

impl Leg {
    /// Sends the request again with credentials; `None` when there are none, or they were tried. Each nonce is answered
    /// once; a new one is tried again only when the server says that the old was stale.
    pub(crate) fn answer_challenge(
        &mut self,
        key: LegKey,
        asked: &Challenged<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> Option<ClientKey> {
        let credentials = asked.credentials?;
        // What was withdrawn is not asked for again (row C9).
        if asked.purpose == Purpose::Offer && !self.exchange.is_out(asked.client) {
            return None;
        }
        let (challenge, answer) = match asked.response.status()? {
            401 => (Name::WwwAuthenticate, Name::Authorization),
            _ => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
        };
        let challenge = Challenge::best(asked.response.values(challenge))?;
        let old = wire.client_request(asked.client)?;
        let old = Message::parse(&old).ok()?;
        let nonce = wire.keyed_hash(&[&challenge.nonce]);
        let first = !old.has(answer);
        let again = first || (challenge.stale && nonce != self.auth.last_nonce);
        let count = if first { 0 } else { self.auth.count };
        if !again || count >= MAX_CHALLENGES {
            return None;
        }
        self.auth = AuthTries { count: count + 1, last_nonce: nonce };
        let cnonce = format!("{:016x}", wire.ids.random());
        let Credentials { username, password } = credentials;
        let uri = old.request_uri()?;
        // A journal has the answer, never the password.
        let answer_it = || challenge.authorize(username, password, old.method_text(), uri, &cnonce, 1);
        let value = wire.ids.tape.text(answer_it);
        let peer = old.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        let cseq = match self.dialog_with(peer) {
            Some(dialog) => {
                dialog.local_cseq = dialog.local_cseq.saturating_add(1);
                dialog.local_cseq
            }
            None => old.cseq().ok()?.number.saturating_add(1),
        };
        let flow = wire.client_flow(asked.client)?;
        let (next, branch) = wire.prepare(old.method(), ClientUser::Leg(key, asked.purpose), flow, now);
        let request = again_with(&old, wire.listener(flow.listener), &branch, cseq, (answer, &value))?;
        if asked.purpose == Purpose::Offer {
            wire.limit(next, now.time + wire.settings.timer_c);
        }
        wire.launch(next, request);
        self.exchange.sent_again(asked.client, next, cseq);
        Some(next)
    }

    /// The credentials that an INVITE was accepted with go into its ACK (RFC 3261 §22.1).
    pub(super) fn copy_credentials(&self, client: ClientKey, writer: &mut Writer, wire: &Wire) {
        if self.auth.count == 0 {
            return;
        }
        let Some(invite) = wire.client_request(client) else { return };
        let Ok(invite) = Message::parse(&invite) else { return };
        let is_credential = |name| matches!(name, Name::Authorization | Name::ProxyAuthorization);
        for header in invite.headers().filter(|header| is_credential(header.name)) {
            writer.copy(&header);
        }
    }
}

/// The same request as a new transaction: this CSeq, a new branch, one more header.
fn again_with(
    old: &Message<'_>,
    listener: &Listener,
    branch: &str,
    cseq: u32,
    answer: (Name, &[u8]),
) -> Option<Bytes> {
    let number = cseq.to_string();
    let mut writer = Writer::request(old.method_text(), old.request_uri()?);
    via(&mut writer, listener, branch);
    writer.parts("CSeq", &[number.as_bytes(), b" ", old.method_text()]);
    writer.header(answer.0.as_str(), answer.1);
    let replaced = [Name::Via, Name::CSeq, answer.0, Name::ContentType];
    for header in old.headers().filter(|header| !replaced.contains(&header.name)) {
        writer.copy(&header);
    }
    Some(writer.body(old.first(Name::ContentType), old.body()))
}
