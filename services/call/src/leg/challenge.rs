//! Answering 401 and 407 with a trunk's credentials (RFC 3261 §22): the same request again, with the next CSeq.

use bytes::Bytes;
use routing::Credentials;
use sip::{Authorization, Challenge, Message, Name, Writer};

use super::uac::via;
use super::{Leg, LegKey};
use crate::headers::{SDP, SUPPORTED_UNRELIABLE};
use crate::io::Now;
use crate::settings::Listener;
use crate::wire::{ClientKey, ClientUser, Purpose, Wire};

/// A wrong password is told by a second challenge; a nonce that grew old may be replaced this often.
const MAX_CHALLENGES: u8 = 3;
/// Realms that one request is authorized for: the server, and proxies on the way.
const MAX_REALMS: usize = 4;

/// More challenges of one response are not read.
const MAX_CHALLENGE_HEADERS: usize = 8;

/// How often the last request was challenged for realms that it had credentials for.
#[derive(Debug, Default)]
pub(crate) struct AuthTries {
    count: u8,
    /// The INVITE has what the caller answered itself.
    is_callers: bool,
}

/// A header of a request that is sent again, with the value that it has now.
pub(crate) type Rewritten = (Name, Vec<u8>);

impl AuthTries {
    /// Of a new leg; whether its INVITE may have the caller's own credentials.
    pub(super) fn begin(is_callers: bool) -> AuthTries {
        AuthTries { count: 0, is_callers }
    }

    /// The credentials that answer every realm that asks; `None` when they were tried. Each nonce is answered once; a new
    /// one is tried again only when the server says that the old was stale.
    pub(crate) fn answer(
        &mut self,
        response: &Message<'_>,
        credentials: &Credentials,
        old: &Message<'_>,
        wire: &mut Wire,
    ) -> Option<Vec<Rewritten>> {
        let challenges = challenges(response);
        let mut is_first = true;
        for (answer, challenge) in &challenges {
            if let Some(before) = answered(old, *answer, &challenge.realm) {
                is_first = false;
                if !challenge.stale || *before.nonce == *challenge.nonce {
                    return None;
                }
            }
        }
        let count = if is_first { 0 } else { self.count };
        let kept = kept(old, &challenges);
        if challenges.is_empty() || count >= MAX_CHALLENGES || kept.len() + challenges.len() > MAX_REALMS {
            return None;
        }
        *self = AuthTries { count: count + 1, ..*self };
        let Credentials { username, password } = credentials;
        let uri = old.request_uri()?;
        let mut answers: Vec<Rewritten> = kept;
        for (answer, challenge) in &challenges {
            let cnonce = format!("{:016x}", wire.ids.random());
            // A journal has the answer, never the password.
            let answer_it = || challenge.authorize(username, password, old.method_text(), uri, &cnonce, 1);
            answers.push((*answer, wire.ids.tape.text(answer_it)));
        }
        Some(answers)
    }
}

/// A request of a leg that was answered with 401 or 407.
pub(crate) struct Challenged<'a> {
    pub(crate) client: ClientKey,
    pub(crate) purpose: Purpose,
    pub(crate) response: &'a Message<'a>,
    pub(crate) credentials: Option<&'a Credentials>,
}

impl Leg {
    /// Sends the request again with credentials for every realm that asks; `None` when there are none, or they were
    /// tried.
    pub(crate) fn answer_challenge(
        &mut self,
        key: LegKey,
        asked: &Challenged<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> Option<ClientKey> {
        let credentials = asked.credentials?;
        // What was withdrawn is not asked for again (row C9), nor is anything in a dialog that is over.
        let is_wanted = match asked.purpose {
            Purpose::Offer => self.exchange.is_out(asked.client) && !self.has_left(),
            Purpose::Carry(_) | Purpose::Prack | Purpose::Info => !self.has_left(),
            Purpose::Invite | Purpose::Bye | Purpose::Notify => true,
        };
        if !is_wanted {
            return None;
        }
        let old = wire.client_request(asked.client)?;
        let old = Message::parse(&old).ok()?;
        let answers = self.auth.answer(asked.response, credentials, &old, wire)?;
        self.send_again(key, asked.client, asked.purpose, &answers, wire, now)
    }

    /// Sends a request that was refused again: the next CSeq, a new branch, these headers in the place of theirs. What an
    /// INVITE offers is what the caller has said last: it may have said more in an early dialog (RFC 3311).
    pub(super) fn send_again(
        &mut self,
        key: LegKey,
        refused: ClientKey,
        purpose: Purpose,
        headers: &[Rewritten],
        wire: &mut Wire,
        now: Now,
    ) -> Option<ClientKey> {
        let old = wire.client_request(refused)?;
        let old = Message::parse(&old).ok()?;
        let peer = old.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        let cseq = match self.dialog_with(peer) {
            Some(dialog) => {
                dialog.local_cseq = dialog.local_cseq.saturating_add(1);
                dialog.local_cseq
            }
            None => old.cseq().ok()?.number.saturating_add(1),
        };
        let flow = wire.client_flow(refused)?;
        let (next, branch) = wire.prepare(old.method(), ClientUser::Leg(key, purpose), flow, now);
        if self.by_flow {
            wire.keep_to_flow(next);
        }
        // Of a body in parts the description is one: it goes as it went.
        let is_sdp = |kind: &[u8]| kind.get(..SDP.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(SDP));
        let offers = purpose == Purpose::Invite && old.first(Name::ContentType).is_some_and(is_sdp);
        let offer = if offers { self.session.offer_again(&mut wire.ids) } else { None };
        let body = offer.as_deref().unwrap_or(old.body());
        let unreliable = purpose == Purpose::Invite && self.has_heard_offer();
        let supported = unreliable.then(|| (Name::Supported, SUPPORTED_UNRELIABLE.to_vec()));
        let headers = headers.iter().cloned().chain(supported).collect::<Vec<_>>();
        let request = again_with(&old, wire.listener(flow.listener), &branch, cseq, &headers, body)?;
        match purpose {
            Purpose::Offer => wire.limit(next, now.time + wire.settings.timer_c),
            Purpose::Carry(_) => self.limit_carried(next, old.method(), wire, now),
            Purpose::Invite | Purpose::Bye | Purpose::Prack | Purpose::Notify | Purpose::Info => {}
        }
        wire.launch(next, request, now);
        self.exchange.sent_again(refused, next, cseq);
        Some(next)
    }

    /// The credentials that an INVITE was accepted with go into its ACK (RFC 3261 §22.1).
    pub(super) fn copy_credentials(&self, client: ClientKey, writer: &mut Writer, wire: &Wire) {
        if self.auth.count == 0 && !self.auth.is_callers {
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

/// What a response asks for: the best challenge of each realm, of the server and of proxies alike (RFC 3261 §22.3; RFC
/// 8760 §2.4 has one realm ask in several ways), with the header that answers it.
fn challenges(response: &Message<'_>) -> Vec<(Name, Challenge)> {
    let asks =
        [(Name::WwwAuthenticate, Name::Authorization), (Name::ProxyAuthenticate, Name::ProxyAuthorization)];
    let mut found: Vec<(Name, Challenge)> = Vec::new();
    for (ask, answer) in asks {
        for challenge in
            response.values(ask).take(MAX_CHALLENGE_HEADERS).filter_map(|value| Challenge::parse(value).ok())
        {
            let same =
                found.iter_mut().find(|(name, known)| *name == answer && known.realm == challenge.realm);
            match same {
                Some((_, known)) if challenge.algorithm > known.algorithm => *known = challenge,
                Some(_) => {}
                None => found.push((answer, challenge)),
            }
        }
    }
    found
}

/// What a request said to this realm.
fn answered<'m>(request: &Message<'m>, answer: Name, realm: &[u8]) -> Option<Authorization<'m>> {
    let mut answers = request.values(answer).filter_map(|value| Authorization::parse(value).ok());
    answers.find(|answer| *answer.realm == *realm)
}

/// The credentials of a request that are still good: nobody asked for those again.
fn kept(request: &Message<'_>, challenges: &[(Name, Challenge)]) -> Vec<Rewritten> {
    let is_asked = |name: Name, value: &[u8]| {
        Authorization::parse(value).is_ok_and(|given| {
            challenges.iter().any(|(answer, asked)| *answer == name && *asked.realm == *given.realm)
        })
    };
    [Name::Authorization, Name::ProxyAuthorization]
        .into_iter()
        .flat_map(|name| request.values(name).map(move |value| (name, value)))
        .filter(|(name, value)| !is_asked(*name, value))
        .map(|(name, value)| (name, value.to_vec()))
        .collect()
}

/// The same request as a new transaction: this CSeq, a new branch, these headers, this body.
pub(crate) fn again_with(
    old: &Message<'_>,
    listener: &Listener,
    branch: &str,
    cseq: u32,
    headers: &[Rewritten],
    body: &[u8],
) -> Option<Bytes> {
    let number = cseq.to_string();
    let mut writer = Writer::request(old.method_text(), old.request_uri()?);
    via(&mut writer, listener, branch);
    writer.parts("CSeq", &[number.as_bytes(), b" ", old.method_text()]);
    for (name, value) in headers {
        writer.header(name.as_str(), value);
    }
    let written = |name| headers.iter().any(|(written, _)| *written == name);
    let own = [Name::Via, Name::CSeq, Name::ContentType];
    for header in old.headers().filter(|header| !own.contains(&header.name) && !written(header.name)) {
        writer.copy(&header);
    }
    Some(writer.body(old.first(Name::ContentType), body))
}
