//! What a side's descriptions say of encryption: which of its offers are good, what it is offered, and which keys came of it.
//!
//! The box ends encryption where a trunk's (or the phones') `media_security` says so. Each leg has keys of its own then: what
//! comes from one side is decrypted in the relay and encrypted anew for the other. Once one leg of a call does so, the
//! descriptions of the other say nothing of the first one's encryption either. Where no leg does, crypto lines and
//! fingerprints pass like any other line, and the two ends keep their secrets to themselves.
//!
//! Own keys are drawn past the tape of the journal: no record has them, and a replay has zeros in their place.

use routing::MediaSecurity;
use serde::{Deserialize, Serialize};
use sip::{Crypto, MasterKey, Sdp, Setup, SrtpSuite, Stream, StreamEncryption};

use crate::ids::Ids;
use crate::media::{DtlsTerms, IceTerms, Keying, Protection, SrtpKeys};

/// The longest key with its salt.
const LONGEST: usize = 46;

/// Whose offer the next description of a leg belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    /// Nobody has offered anything yet, or the peer asked for an offer.
    #[default]
    Open,
    /// What it describes is an offer, what it is told an answer.
    PeerOffers,
    /// The other way round.
    WeOffer,
}

/// A leg's part.
#[derive(Debug)]
pub(crate) struct Security {
    policy: MediaSecurity,
    /// Its peer is reached over WebSocket: a browser, which knows nothing but DTLS.
    is_web: bool,
    fingerprint: Option<sip::Fingerprint>,
    turn: Turn,
    bundled: bool,
    streams: Vec<Secured>,
    /// What there was before an offer of new keys that is under way.
    before: Option<Vec<Secured>>,
}

/// One stream of it.
#[derive(Debug, Default)]
struct Secured {
    own: Vec<(SrtpSuite, MasterKey)>,
    kind: Kind,
    /// What stood in the peer's offer, for the answer to it.
    proto: Box<str>,
    mid: Box<str>,
    /// RTCP comes with RTP: the peer has said so, and it was offered or is answered.
    muxed: bool,
    /// It was offered so.
    offers_mux: bool,
    ice: Option<Box<Ice>>,
    /// The suite and the line of it that both named.
    agreed: Option<(u32, SrtpKeys)>,
    dtls: Option<DtlsTerms>,
    /// Its peer has encrypted it so, and is offered that again: also when it was off or a fax meanwhile, and in another call.
    is_known: bool,
}

#[derive(Debug)]
struct Ice {
    user: String,
    password: String,
    /// The peer does it as well.
    agreed: bool,
    /// What the peer calls itself, and its password.
    theirs: Option<Box<[u8]>>,
}

/// How a stream is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    Sdes,
    Dtls,
}

/// The transport of an m= line, apart from whether RTCP feedback is early (RFC 4585).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Plain,
    /// RTP/SAVP.
    Secure,
    /// UDP/TLS/RTP/SAVP.
    Tls,
    /// No RTP: a fax, a message session.
    Other,
}

/// A description that a side's `media_security` does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forbidden;

impl Transport {
    fn of(proto: &[u8]) -> (Transport, bool) {
        let is = |name: &str| proto.eq_ignore_ascii_case(name.as_bytes());
        let kinds = [
            (Transport::Plain, "RTP/AVP", "RTP/AVPF"),
            (Transport::Secure, "RTP/SAVP", "RTP/SAVPF"),
            (Transport::Tls, "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"),
        ];
        let found = kinds.iter().find(|(_, plain, feedback)| is(plain) || is(feedback));
        found.map_or((Transport::Other, false), |(transport, _, feedback)| (*transport, is(feedback)))
    }

    fn name(self, feedback: bool) -> Option<&'static str> {
        Some(match (self, feedback) {
            (Transport::Plain, false) => "RTP/AVP",
            (Transport::Plain, true) => "RTP/AVPF",
            (Transport::Secure, false) => "RTP/SAVP",
            (Transport::Secure, true) => "RTP/SAVPF",
            (Transport::Tls, false) => "UDP/TLS/RTP/SAVP",
            (Transport::Tls, true) => "UDP/TLS/RTP/SAVPF",
            (Transport::Other, _) => return None,
        })
    }
}

/// What a description says of a stream's encryption where the box has no part in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Privacy {
    /// Nothing.
    #[default]
    None,
    /// Keys in a profile that does without: it is encrypted where the other side names some as well.
    Offered,
    /// It is encrypted, as its profile says.
    Sure,
}

impl Privacy {
    pub(crate) fn of(sdp: &Sdp<'_>, index: usize) -> Privacy {
        let profile =
            sdp.streams().get(index).and_then(|stream| stream.proto.rsplit(|byte| *byte == b'/').next());
        let is = |name: &str| profile.is_some_and(|profile| profile.eq_ignore_ascii_case(name.as_bytes()));
        match is("SAVP") || is("SAVPF") {
            true => Privacy::Sure,
            false if sdp.names_keys(index) => Privacy::Offered,
            false => Privacy::None,
        }
    }

    /// Whether what two sides say of a stream keeps it from everybody between them.
    pub(crate) fn is_private(self, other: Privacy) -> bool {
        match (self, other) {
            (Privacy::Sure, _) | (_, Privacy::Sure) | (Privacy::Offered, Privacy::Offered) => true,
            (Privacy::None, Privacy::None | Privacy::Offered) | (Privacy::Offered, Privacy::None) => false,
        }
    }
}

/// Whether a stream carries RTP, encrypted or not, and nothing else.
pub(crate) fn is_rtp(stream: &Stream<'_>) -> bool {
    Transport::of(stream.proto).0 != Transport::Other
}

/// Whether a side on which nothing is encrypted here can be spoken to in plain.
pub(crate) fn is_plain(sdp: &Sdp<'_>) -> bool {
    let in_use = sdp.streams().iter().filter(|stream| !stream.is_rejected());
    in_use
        .into_iter()
        .all(|stream| !matches!(Transport::of(stream.proto).0, Transport::Secure | Transport::Tls))
}

/// What such a side is told: that nothing is encrypted.
pub(crate) fn plain(sdp: &Sdp<'_>) -> Vec<StreamEncryption> {
    let of = |stream: &Stream<'_>| {
        let (transport, feedback) = Transport::of(stream.proto);
        let plain = transport != Transport::Other;
        let proto = Transport::Plain.name(feedback).filter(|_| plain).map(Box::from);
        StreamEncryption { proto, lines: Vec::new() }
    };
    sdp.streams().iter().map(of).collect()
}

impl Security {
    /// For a leg whose media the box encrypts, if it does.
    pub(crate) fn new(
        policy: MediaSecurity,
        is_web: bool,
        fingerprint: Option<sip::Fingerprint>,
    ) -> Option<Box<Security>> {
        let leg = Security {
            policy,
            is_web,
            fingerprint,
            turn: Turn::Open,
            bundled: false,
            streams: Vec::new(),
            before: None,
        };
        (policy != MediaSecurity::None).then(|| Box::new(leg))
    }

    /// For a warning: what its peer must describe.
    pub(crate) fn expects(&self) -> &'static str {
        match self.policy {
            MediaSecurity::None => "plain media",
            MediaSecurity::Sdes => "media encrypted with SDES",
            MediaSecurity::Dtls => "media encrypted with DTLS",
            MediaSecurity::Optional => "plain media or a usable key",
            MediaSecurity::Required => "encrypted media with a usable key",
        }
    }

    /// The peer makes an offer, or asks for one.
    pub(crate) fn peer_offers(&mut self, has_offer: bool) {
        self.turn = if has_offer { Turn::PeerOffers } else { Turn::Open };
    }

    /// The leg is offered to go over to another call: what its keys have protected is not known there.
    pub(crate) fn forget_keys(&mut self) {
        let anew =
            |stream: &Secured| Secured { kind: stream.kind, is_known: stream.is_known, ..Secured::default() };
        let anew = self.streams.iter().map(anew).collect();
        self.before = Some(std::mem::replace(&mut self.streams, anew));
    }

    /// It goes over.
    pub(crate) fn accepted(&mut self) {
        self.before = None;
    }

    /// It stays, with the keys that it has.
    pub(crate) fn refused(&mut self) {
        if let Some(before) = self.before.take() {
            self.streams = before;
        }
    }

    /// Whether any stream of an offer is one that its reader may take.
    pub(crate) fn carries(&self, sdp: &Sdp<'_>) -> bool {
        let mut in_use = sdp.streams().iter().filter(|stream| !stream.is_rejected()).peekable();
        in_use.peek().is_none() || in_use.any(|stream| !self.rejects(stream))
    }

    /// Whether this cannot be encrypted and may not be plain.
    pub(crate) fn rejects(&self, stream: &Stream<'_>) -> bool {
        self.policy != MediaSecurity::Optional && !is_rtp(stream)
    }

    /// Whether a description is one that its author may make now.
    pub(crate) fn check(&self, sdp: &Sdp<'_>) -> Result<(), Forbidden> {
        self.check_in(self.turn, sdp)
    }

    /// Whether an offer is one that its author may make.
    pub(crate) fn check_offer(&self, sdp: &Sdp<'_>) -> Result<(), Forbidden> {
        self.check_in(Turn::PeerOffers, sdp)
    }

    fn check_in(&self, turn: Turn, sdp: &Sdp<'_>) -> Result<(), Forbidden> {
        (0..sdp.streams().len()).try_for_each(|index| self.kind(turn, sdp, index).map(drop))
    }

    /// How a described stream is protected; the line of SDES with it.
    fn kind(&self, turn: Turn, sdp: &Sdp<'_>, index: usize) -> Result<(Kind, Option<Crypto>), Forbidden> {
        let Some(stream) = sdp.streams().get(index).filter(|stream| !stream.is_rejected()) else {
            return Ok((Kind::Plain, None));
        };
        let state = self.streams.get(index);
        let may_be_plain = self.policy == MediaSecurity::Optional;
        let may_be = |kind: Kind| match turn {
            Turn::Open | Turn::PeerOffers => match self.policy {
                MediaSecurity::None => false,
                MediaSecurity::Sdes => kind == Kind::Sdes,
                MediaSecurity::Dtls => kind == Kind::Dtls,
                MediaSecurity::Optional | MediaSecurity::Required => true,
            },
            Turn::WeOffer => state.is_some_and(|state| state.kind == kind),
        };
        let transport = Transport::of(stream.proto).0;
        let crypto = if may_be(Kind::Sdes) { turn.choose(state, stream) } else { None };
        let has_dtls = self.fingerprint.is_some() && sdp.fingerprint(index).is_some();
        match transport {
            Transport::Tls if has_dtls && may_be(Kind::Dtls) => Ok((Kind::Dtls, None)),
            Transport::Plain | Transport::Secure if crypto.is_some() => Ok((Kind::Sdes, crypto)),
            // Best effort, as some write it: the protocol of plain RTP, or that of SDES, with a fingerprint.
            Transport::Plain | Transport::Secure if has_dtls && may_be(Kind::Dtls) => Ok((Kind::Dtls, None)),
            Transport::Plain | Transport::Other if may_be_plain => Ok((Kind::Plain, None)),
            Transport::Plain | Transport::Secure | Transport::Tls | Transport::Other => Err(Forbidden),
        }
    }

    /// The peer's description of one stream.
    ///
    /// # Errors
    /// When this is not what its author may say: nothing is sent there.
    pub(crate) fn hear(
        &mut self,
        sdp: &Sdp<'_>,
        index: usize,
        ids: &mut Ids,
    ) -> Result<Option<Box<Protection>>, Forbidden> {
        if self.turn == Turn::Open {
            self.turn = Turn::PeerOffers;
        }
        self.bundled = sdp.bundles();
        let (kind, crypto) = self.kind(self.turn, sdp, index)?;
        let we_offered = self.turn == Turn::WeOffer;
        let fingerprint = sdp.fingerprint(index);
        let setup = sdp.setup(index);
        let relay_does_more = self.fingerprint.is_some();
        let (Some(stream), Some(state)) = (sdp.streams().get(index), self.stream(index)) else {
            return Ok(None);
        };
        if !we_offered {
            state.proto = String::from_utf8_lossy(stream.proto).into();
            state.mid = String::from_utf8_lossy(stream.mid().unwrap_or_default()).into();
        }
        let is_talk = !stream.is_rejected() && is_rtp(stream);
        state.muxed = is_talk && stream.rtcp_mux() && (state.offers_mux || !we_offered);
        // What is off, or a fax, says nothing of how it is protected when it comes back.
        if !is_talk {
            return Ok(None);
        }
        state.kind = kind;
        state.is_known = kind != Kind::Plain;
        // A relay that does no handshakes checks no paths either.
        let ice = sdp.ice(index).filter(|_| relay_does_more);
        state.hear_ice(ice, we_offered, ids);
        let keying = match (kind, crypto, fingerprint) {
            (Kind::Sdes, Some(Crypto { tag, suite, key }), _) => {
                let keys = SrtpKeys { suite, inbound: key, outbound: state.own_key(suite, ids) };
                state.agreed = Some((tag, keys.clone()));
                Keying::Sdes(keys)
            }
            (Kind::Dtls, _, Some(fingerprint)) => {
                // Who is behind a NAT can be reached only by who it has spoken to: the peer begins where it may.
                let active = state.dtls.map_or(setup == Setup::Passive, |before| match setup {
                    Setup::ActPass => before.active,
                    Setup::Active | Setup::Passive => setup == Setup::Passive,
                });
                let terms = DtlsTerms { fingerprint, active };
                state.dtls = Some(terms);
                Keying::Dtls(terms)
            }
            (Kind::Plain | Kind::Sdes | Kind::Dtls, _, _) => {
                state.agreed = None;
                Keying::Plain
            }
        };
        let ice = state.ice.as_ref().filter(|ice| ice.agreed).zip(ice).map(|(ice, (user, _))| {
            let user = format!("{}:{}", ice.user, String::from_utf8_lossy(user));
            let is_lite = sdp.is_ice_lite();
            IceTerms { user: user.into(), password: ice.password.clone().into(), is_lite }
        });
        Ok(match (&keying, &ice) {
            (Keying::Plain, None) => None,
            (Keying::Plain | Keying::Sdes(_) | Keying::Dtls(_), _) => {
                Some(Box::new(Protection { keying, ice }))
            }
        })
    }

    /// Whether RTCP comes with RTP, both having said so.
    pub(crate) fn is_muxed(&self, index: usize) -> bool {
        self.streams.get(index).is_some_and(|stream| stream.muxed)
    }

    /// What the next description says: an offer of ours, or the answer to one of the peer's where it has made one.
    pub(crate) fn encryption(
        &mut self,
        sdp: &Sdp<'_>,
        is_offer: bool,
        place: impl Fn(usize, bool) -> Vec<String>,
        ids: &mut Ids,
    ) -> (Vec<String>, Vec<StreamEncryption>) {
        let is_offer = is_offer || self.turn != Turn::PeerOffers;
        if is_offer {
            self.turn = Turn::WeOffer;
        }
        let preferred = match self.policy {
            MediaSecurity::None => Kind::Plain,
            MediaSecurity::Optional | MediaSecurity::Required
                if self.is_web && self.fingerprint.is_some() =>
            {
                Kind::Dtls
            }
            MediaSecurity::Dtls => Kind::Dtls,
            MediaSecurity::Sdes | MediaSecurity::Optional | MediaSecurity::Required => Kind::Sdes,
        };
        let (policy, fingerprint, bundled) = (self.policy, self.fingerprint, self.bundled);
        let mut session = Vec::new();
        let mut streams = Vec::new();
        for (index, stream) in sdp.streams().iter().enumerate() {
            let Some(state) = self.stream(index) else { break };
            let (transport, feedback) = Transport::of(stream.proto);
            if transport == Transport::Other {
                streams.push(StreamEncryption::default());
                continue;
            }
            let mut said = StreamEncryption::default();
            if is_offer {
                if !state.is_known {
                    state.kind = preferred;
                }
                let transport = match state.kind {
                    // What is offered to those who need not encrypt looks plain to those who cannot (RFC 8643).
                    Kind::Sdes if policy == MediaSecurity::Optional && !state.is_known => Transport::Plain,
                    Kind::Plain => Transport::Plain,
                    Kind::Sdes => Transport::Secure,
                    Kind::Dtls => Transport::Tls,
                };
                said.proto = transport.name(feedback).map(Box::from);
                state.offers_mux = state.muxed || state.kind == Kind::Dtls;
            } else {
                said.proto = Some(state.proto.clone()).filter(|proto| !proto.is_empty());
            }
            let lines = &mut said.lines;
            state.key_lines(is_offer, fingerprint, lines, ids);
            if if is_offer { state.offers_mux } else { state.muxed } {
                lines.push("a=rtcp-mux".to_owned());
            }
            if is_offer && state.kind == Kind::Dtls && state.ice.is_none() {
                state.ice = Some(Box::new(Ice::new(ids)));
            }
            if let Some(ice) = state.ice.as_ref().filter(|ice| ice.agreed || is_offer) {
                lines.push(format!("a=ice-ufrag:{}", ice.user));
                lines.push(format!("a=ice-pwd:{}", ice.password));
                lines.extend(place(index, state.muxed && !is_offer));
                if session.is_empty() {
                    session.push("a=ice-lite".to_owned());
                }
            }
            let is_own = stream.mid().is_none_or(|mid| mid == state.mid.as_bytes());
            if !is_offer && is_own && !state.mid.is_empty() {
                if stream.mid().is_none() {
                    lines.push(format!("a=mid:{}", state.mid));
                }
                if bundled && index == 0 {
                    session.push(format!("a=group:BUNDLE {}", state.mid));
                }
            }
            streams.push(said);
        }
        (session, streams)
    }

    fn stream(&mut self, index: usize) -> Option<&mut Secured> {
        if index >= sip::MAX_STREAMS {
            return None;
        }
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, Secured::default);
        }
        self.streams.get_mut(index)
    }
}

impl Turn {
    /// Of an offer the line to use, of an answer the one that was chosen.
    fn choose(self, state: Option<&Secured>, stream: &Stream<'_>) -> Option<Crypto> {
        match self {
            Turn::Open | Turn::PeerOffers => {
                let used = state.and_then(|state| state.agreed.as_ref()).map(|(_, keys)| keys.suite);
                let again = stream.crypto().find(|crypto| Some(crypto.suite) == used);
                again.or_else(|| stream.crypto().next())
            }
            Turn::WeOffer => {
                let own = &state?.own;
                let offered = |crypto: &Crypto| {
                    own.iter().zip(1..).any(|((suite, _), tag)| (*suite, tag) == (crypto.suite, crypto.tag))
                };
                stream.crypto().next().filter(offered)
            }
        }
    }
}

impl Secured {
    fn own_key(&mut self, suite: SrtpSuite, ids: &mut Ids) -> MasterKey {
        if let Some((_, key)) = self.own.iter().find(|(of, _)| *of == suite) {
            return key.clone();
        }
        let key = ids.secret::<LONGEST, _>(|octets| {
            octets
                .get(..suite.key_length() + suite.salt_length())
                .and_then(|octets| MasterKey::new(suite, octets))
        });
        self.own.extend(key.clone().map(|key| (suite, key)));
        key.unwrap_or_else(|| MasterKey::zero(suite))
    }

    fn key_lines(
        &mut self,
        is_offer: bool,
        fingerprint: Option<sip::Fingerprint>,
        lines: &mut Vec<String>,
        ids: &mut Ids,
    ) {
        let line = |tag: u32, suite: SrtpSuite, key: MasterKey| {
            let mut line = "a=crypto:".to_owned();
            Crypto { tag, suite, key }.write(&mut line);
            line
        };
        match (self.kind, is_offer, &self.agreed) {
            (Kind::Plain, _, _) => {}
            (Kind::Sdes, false, Some((tag, keys))) => {
                lines.push(line(*tag, keys.suite, keys.outbound.clone()))
            }
            (Kind::Sdes, _, _) => {
                for suite in SrtpSuite::ALL {
                    self.own_key(suite, ids);
                }
                lines.extend(
                    self.own.iter().zip(1..).map(|((suite, key), tag)| line(tag, *suite, key.clone())),
                );
            }
            (Kind::Dtls, _, _) => {
                let Some(fingerprint) = fingerprint else { return };
                lines.push(format!("a=fingerprint:{}", fingerprint.write()));
                let setup = match self.dtls {
                    _ if is_offer => Setup::ActPass,
                    Some(DtlsTerms { active: true, .. }) => Setup::Active,
                    Some(DtlsTerms { active: false, .. }) | None => Setup::Passive,
                };
                lines.push(format!("a=setup:{}", setup.name()));
            }
        }
    }

    fn hear_ice(&mut self, theirs: Option<(&[u8], &[u8])>, we_offered: bool, ids: &mut Ids) {
        let said = theirs.map(|(user, password)| [user, b":", password].concat().into_boxed_slice());
        if said.is_some() && !we_offered {
            let before = self.ice.as_ref().and_then(|ice| ice.theirs.as_ref());
            // Another name begins the checks anew, and is answered with another (RFC 8839 §4.4.1.1.1).
            let is_restart = before.is_some_and(|before| Some(before) != said.as_ref());
            if is_restart || self.ice.is_none() {
                self.ice = Some(Box::new(Ice::new(ids)));
            }
        }
        if let Some(ice) = &mut self.ice {
            ice.agreed = said.is_some();
            ice.theirs = said.or(ice.theirs.take());
        }
    }
}

impl Ice {
    /// RFC 8445 §5.3: 24 and 128 bits of randomness at least.
    fn new(ids: &mut Ids) -> Ice {
        let user = format!("{:016x}", ids.random());
        Ice {
            user,
            password: format!("{:016x}{:016x}", ids.random(), ids.random()),
            agreed: false,
            theirs: None,
        }
    }
}
