//! Descriptions: what of an offer or answer is ours, and what it tells the relay.

mod again;
mod kept;
mod payloads;

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use sip::{Direction, Edit, Encryption, Host, Sdp, SdpError, Stream};
use smallvec::SmallVec;

use super::security::{self, Forbidden, Security};
use super::terms::{Said, Terms};
use crate::family::{Addresses, Families, Family, Told};
use crate::ids::Ids;
use crate::io::Output;
use crate::leg::Leg;
use crate::media::{Codec, MediaId, MediaOrder, PortPair, RemoteStream, Side, StreamPorts};
use crate::wire::Wire;

/// Our side of a session as one leg sees it: the `o=` line, whose version rises by one for each changed description
/// (RFC 3264 §8).
#[derive(Debug, Default)]
pub(crate) struct LocalSession {
    id: u32,
    version: u32,
    /// Fingerprint of the last description that was written, whatever became of it.
    last: u64,
    /// The description that stands: the last that was not refused.
    text: Box<[u8]>,
    /// What stood before the offer that is under way.
    before: Option<Box<[u8]>>,
    /// Where the box encrypts the media of this side.
    pub(crate) security: Option<Box<Security>>,
}

/// The relay as a side is told of it.
pub(crate) struct Place {
    address: IpAddr,
    /// A stream without any is rejected.
    ports: SmallVec<[Option<PortPair>; 4]>,
    /// The box encrypts the media of a leg of the call.
    is_secured: bool,
    /// What is written is an offer; else an answer, if there is anything to answer.
    is_offer: bool,
}

impl Place {
    /// Its only candidates are its own addresses (RFC 8445 §2.5).
    fn candidates(&self, index: usize, muxed: bool) -> Vec<String> {
        let Some(pair) = self.ports.get(index).copied().flatten() else { return Vec::new() };
        let ports = [Some(pair.rtp), Some(pair.rtcp).filter(|_| !muxed)];
        let of = |(component, port): (u32, u16)| {
            // RFC 8445 §5.1.2.1: a host's own address, of the only interface.
            let priority = (126 << 24) + (65_535 << 8) + (256 - component);
            format!("a=candidate:1 {component} UDP {priority} {} {port} typ host", self.address)
        };
        (1..).zip(ports.into_iter().flatten()).map(of).collect()
    }
}

impl LocalSession {
    pub(crate) fn new(random: u64) -> LocalSession {
        // Thirty-one bits: there are phones that read these numbers as signed 32-bit ones.
        LocalSession { id: (random >> 33) as u32, ..LocalSession::default() }
    }

    /// [`write`](LocalSession::write) for an offer within the dialog, which [`accepted`](LocalSession::accepted) makes
    /// stand and [`refused`](LocalSession::refused) does not.
    pub(crate) fn propose(&mut self, sdp: &Sdp<'_>, place: &Place, ids: &mut Ids) -> Vec<u8> {
        let stood = self.before.take().unwrap_or_else(|| self.text.clone());
        let written = self.write(sdp, place, ids);
        self.before = Some(stood);
        written
    }

    /// The peer makes an offer, or asks for one.
    pub(crate) fn peer_offers(&mut self, has_offer: bool) {
        if let Some(security) = &mut self.security {
            security.peer_offers(has_offer);
        }
    }

    /// Whether the peer may take any of what it is to be offered: a fax is not encrypted.
    pub(crate) fn carries(&self, offer: &Sdp<'_>) -> bool {
        self.security.as_ref().is_none_or(|security| security.carries(offer))
    }

    /// It is offered to go over to another call, with keys that protect nothing yet.
    pub(crate) fn forget_keys(&mut self) {
        if let Some(security) = &mut self.security {
            security.forget_keys();
        }
    }

    /// The offer that was under way is the session now.
    pub(crate) fn accepted(&mut self) {
        self.before = None;
        if let Some(security) = &mut self.security {
            security.accepted();
        }
    }

    /// The offer that was under way never was (RFC 3261 §14.1).
    pub(crate) fn refused(&mut self) {
        if let Some(before) = self.before.take() {
            self.text = before;
        }
        if let Some(security) = &mut self.security {
            security.refused();
        }
    }

    /// The description that stands: what this side was told last of the other.
    pub(crate) fn standing(&self) -> &[u8] {
        &self.text
    }

    /// How many streams the description that stands has.
    pub(crate) fn streams(&self) -> usize {
        Sdp::parse(&self.text).map_or(0, |sdp| sdp.streams().len())
    }

    /// The peer's description with our address and ports in it.
    pub(crate) fn write(&mut self, sdp: &Sdp<'_>, place: &Place, ids: &mut Ids) -> Vec<u8> {
        let Place { address, is_secured, is_offer, .. } = *place;
        let encryption = is_secured.then(|| match &mut self.security {
            Some(security) => {
                security.encryption(sdp, is_offer, |index, muxed| place.candidates(index, muxed), ids)
            }
            None => (Vec::new(), security::plain(sdp)),
        });
        let encryption = encryption.as_ref().map(|(session, streams)| Encryption { session, streams });
        // An offer says where control goes with who answers without `a=rtcp-mux` (RFC 5761 §5.1.3).
        let muxed =
            |index| !is_offer && self.security.as_ref().is_some_and(|security| security.is_muxed(index));
        let is_rejected = |stream| self.security.as_ref().is_some_and(|security| security.rejects(stream));
        let ports: SmallVec<[sip::StreamPorts; 4]> = (0..)
            .zip(sdp.streams())
            .map(|(index, stream)| match place.ports.get(index).copied().flatten() {
                _ if is_rejected(stream) => sip::StreamPorts { rtp: 0, rtcp: 0 },
                Some(pair) => {
                    let rtcp = if muxed(index) { pair.rtp } else { pair.rtcp };
                    sip::StreamPorts { rtp: pair.rtp, rtcp }
                }
                // A stream for which no ports were to be had is rejected (RFC 3264 §6).
                None => sip::StreamPorts { rtp: 0, rtcp: 0 },
            })
            .collect();
        let mut edit = Edit {
            origin_user: "-",
            session_id: u64::from(self.id),
            version: u64::from(self.version),
            address,
            streams: &ports,
            encryption,
        };
        if self.version != 0 {
            let same = sdp.rewrite(&edit);
            if fingerprint(&same) == self.last {
                self.text = same.as_slice().into();
                return same;
            }
        }
        self.version += 1;
        edit.version = u64::from(self.version);
        let changed = sdp.rewrite(&edit);
        self.last = fingerprint(&changed);
        self.text = changed.as_slice().into();
        changed
    }
}

fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// A call's part of the relay.
#[derive(Debug)]
pub(crate) struct CallMedia {
    pub(crate) id: MediaId,
    pub(crate) state: MediaState,
    pub(crate) addresses: Addresses,
    /// Where the relay has the ports of A and of B.
    listening: [Families; 2],
    pub(crate) streams: SmallVec<[StreamPorts; 1]>,
    /// How many streams to ask for when the relay has answered: it is asked one thing at a time, so that what it says is
    /// about what is waited for.
    next: u8,
    /// What A and B said last, in a configuration where any trunk changes descriptions.
    said: Option<Box<Heard>>,
    /// By stream, where the relay was told that A and B are; only where the process after this one is to know.
    remotes: Vec<[Option<RemoteStream>; 2]>,
    /// The box encrypts the media of a leg: no description says anything of another leg's encryption any more.
    is_secured: bool,
}

/// What both sides said last, and which of their key presses the relay takes out.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Heard {
    said: [Option<Said>; 2],
    taken: [Option<TakenDigits>; 2],
    /// The stream whose payloads the relay turns into another codec, and what A and B talk in.
    translated: Option<(u8, [Codec; 2])>,
}

/// Where a side's key presses are: in which stream, with which payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TakenDigits {
    pub(crate) stream: u8,
    pub(crate) payload_type: u8,
}

/// Whether the relay holds anything for the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaState {
    Unopened,
    Opening,
    Open,
    /// More streams were asked for.
    Growing,
    Closing,
    Closed,
}

impl CallMedia {
    pub(crate) fn new(id: MediaId) -> CallMedia {
        CallMedia {
            id,
            state: MediaState::Unopened,
            addresses: Addresses::default(),
            listening: [Families::NONE; 2],
            streams: SmallVec::new(),
            next: 0,
            said: None,
            remotes: Vec::new(),
            is_secured: false,
        }
    }

    /// From now on remembers what a description must agree with.
    pub(crate) fn note_terms(&mut self) {
        self.said.get_or_insert_default();
    }

    /// In which families A and B will be told of the relay, as far as can be known before it is asked for ports.
    pub(crate) fn expect(&mut self, families: [Family; 2], wire: &Wire) {
        for (listening, family) in self.listening.iter_mut().zip(families) {
            listening.add(wire.settings.media.nearest(family));
        }
    }

    pub(crate) fn open(&mut self, streams: usize, wire: &mut Wire) {
        let streams = u8::try_from(streams.max(1)).unwrap_or(u8::MAX);
        self.state = match self.state {
            MediaState::Unopened => MediaState::Opening,
            MediaState::Open => MediaState::Growing,
            MediaState::Opening | MediaState::Growing => {
                self.next = self.next.max(streams);
                return;
            }
            MediaState::Closing | MediaState::Closed => return,
        };
        let families = self.first_families();
        wire.outputs.push_back(Output::Media(MediaOrder::Open { session: self.id, streams, families }));
    }

    /// In which A and B are told of the relay first.
    fn first_families(&self) -> [Family; 2] {
        self.listening.map(|families| families.nearest(Family::V4))
    }

    /// The relay's address for a peer.
    pub(crate) fn address(&mut self, side: Side, told: Told, wire: &mut Wire) -> IpAddr {
        self.listen(side, told.family(), wire);
        self.addresses.nearest(told.family())
    }

    /// What the one peer describes, for the other: with the relay's address and ports in it.
    pub(crate) fn write(
        &mut self,
        sdp: &Sdp<'_>,
        leg: &mut Leg,
        side: Side,
        terms: Terms<'_>,
        wire: &mut Wire,
    ) -> Vec<u8> {
        let said = self.said(side);
        let place = self.place(side, leg.told, &leg.session, false, wire);
        let translation = self.agree(sdp, side, terms, wire);
        let terms = terms.read(self.is_secured);
        // What the peer has offered itself is answered; else this is an offer in a response.
        let shaped = terms.shape(sdp, said, said.is_none(), translation);
        let shaped = shaped.as_deref().and_then(|shaped| Sdp::parse(shaped).ok());
        leg.session.write(shaped.as_ref().unwrap_or(sdp), &place, &mut wire.ids)
    }

    /// The same for the first offer of a leg that is to be.
    pub(crate) fn write_first(
        &mut self,
        sdp: &Sdp<'_>,
        session: &mut LocalSession,
        told: Told,
        side: Side,
        terms: Terms<'_>,
        wire: &mut Wire,
    ) -> Vec<u8> {
        let place = self.place(side, told, session, true, wire);
        let terms = terms.read(self.is_secured);
        let shaped = terms.shape(sdp, None, true, terms.translation(sdp, None));
        let shaped = shaped.as_deref().and_then(|shaped| Sdp::parse(shaped).ok());
        session.write(shaped.as_ref().unwrap_or(sdp), &place, &mut wire.ids)
    }

    /// The same for an offer within the dialog.
    pub(crate) fn propose(
        &mut self,
        sdp: &Sdp<'_>,
        leg: &mut Leg,
        side: Side,
        terms: Terms<'_>,
        wire: &mut Wire,
    ) -> Vec<u8> {
        let place = self.place(side, leg.told, &leg.session, true, wire);
        let shaped = self.shape(sdp, side, terms);
        let shaped = shaped.as_deref().and_then(|shaped| Sdp::parse(shaped).ok());
        leg.session.propose(shaped.as_ref().unwrap_or(sdp), &place, &mut wire.ids)
    }

    fn place(
        &mut self,
        side: Side,
        told: Told,
        session: &LocalSession,
        is_offer: bool,
        wire: &mut Wire,
    ) -> Place {
        self.is_secured |= session.security.is_some();
        let address = self.address(side, told, wire);
        let ports = self.streams.iter().map(|ports| Some(ports.side(side))).collect();
        Place { address, ports, is_secured: self.is_secured, is_offer }
    }

    /// This leg is to be a leg of the call.
    pub(crate) fn secure_for(&mut self, leg: &Leg) {
        self.is_secured |= leg.session.security.is_some();
    }

    /// Nobody came after all: what was so for the sake of who would have is as before, between these.
    pub(crate) fn secure_only_for<'l>(&mut self, legs: impl IntoIterator<Item = &'l Leg>) {
        self.is_secured = legs.into_iter().any(|leg| leg.session.security.is_some());
    }

    /// Whether the box encrypts the media of a leg of the call, so that no description has anything of another leg's keys.
    pub(crate) fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Whether the peer of this leg may describe itself so: where its encryption ends here as its trunk says, else
    /// plainly, if the other side's does.
    pub(crate) fn takes(&self, sdp: &Sdp<'_>, leg: &Leg) -> bool {
        self.may(sdp, leg, Security::check)
    }

    /// Whether it may make this offer, whoever made the last.
    pub(crate) fn takes_offer(&self, sdp: &Sdp<'_>, leg: &Leg) -> bool {
        self.may(sdp, leg, Security::check_offer)
    }

    fn may(
        &self,
        sdp: &Sdp<'_>,
        leg: &Leg,
        check: impl FnOnce(&Security, &Sdp<'_>) -> Result<(), Forbidden>,
    ) -> bool {
        match &leg.session.security {
            Some(security) => check(security, sdp).is_ok(),
            None => !self.is_secured || security::is_plain(sdp),
        }
    }

    /// What the trunks make of an offer for this side, `None` where it is as it came. The relay hears nothing of that: the
    /// offer may be refused, and another may be out at the same time.
    fn shape(&self, sdp: &Sdp<'_>, side: Side, terms: Terms<'_>) -> Option<Vec<u8>> {
        let said = self.said(side);
        let terms = terms.read(self.is_secured);
        // An offer may name what its reader has not, unless that is being turned into something else.
        let bound = said.filter(|_| self.translated().is_some());
        terms.shape(sdp, said, true, terms.translation(sdp, bound))
    }

    fn said(&self, side: Side) -> Option<Said> {
        self.said.as_deref().and_then(|heard| heard.said[place(side)])
    }

    /// Has the relay listen for a side in a family, if it is in it.
    fn listen(&mut self, side: Side, family: Family, wire: &mut Wire) {
        if !self.is_open() || !self.addresses.families().has(family) {
            return;
        }
        let [a, b] = &mut self.listening;
        let listening = match side {
            Side::A => a,
            Side::B => b,
        };
        if listening.add(family) {
            wire.outputs.push_back(Output::Media(MediaOrder::Listen { session: self.id, side, family }));
        }
    }

    /// The relay has these ports for the call.
    pub(crate) fn opened(
        &mut self,
        addresses: Addresses,
        streams: SmallVec<[StreamPorts; 1]>,
        wire: &mut Wire,
    ) {
        (self.addresses, self.streams) = (addresses, streams);
        if matches!(self.state, MediaState::Closing | MediaState::Closed) {
            return;
        }
        self.state = MediaState::Open;
        let next = std::mem::take(&mut self.next);
        if usize::from(next) > self.streams.len() {
            self.open(usize::from(next), wire);
        }
    }

    /// The relay has not what it was asked for last, and so nothing beyond it either.
    pub(crate) fn refused(&mut self) {
        self.next = 0;
        self.state = match self.state {
            MediaState::Growing | MediaState::Open => MediaState::Open,
            MediaState::Closing => MediaState::Closing,
            MediaState::Unopened | MediaState::Opening | MediaState::Closed => MediaState::Unopened,
        };
    }

    /// Whether every stream of this description has its ports.
    pub(crate) fn covers(&self, sdp: &Sdp<'_>) -> bool {
        sdp.streams().len() <= self.streams.len()
    }

    /// Tells the relay what a side's description says, and remembers in which family that is.
    pub(crate) fn describe(&mut self, sdp: &Sdp<'_>, side: Side, leg: &mut Leg, wire: &mut Wire) {
        leg.told.heard(sdp);
        self.note(sdp, side);
        let signalling = leg.flow.remote.ip();
        self.secure_for(leg);
        if !self.is_open() {
            return;
        }
        for index in 0..self.streams.len() {
            let heard = leg
                .session
                .security
                .as_mut()
                .map_or(Ok(None), |security| security.hear(sdp, index, &mut wire.ids));
            let is_muxed = leg.session.security.as_ref().is_some_and(|security| security.is_muxed(index));
            let stream = sdp.streams().get(index);
            let remote = stream.and_then(|stream| remote_of(stream, is_muxed, signalling));
            if let Some(remote) = remote.filter(|remote| !remote.rtp.ip().is_unspecified()) {
                self.listen(side, Family::of(remote.rtp.ip()), wire);
            }
            let stream = u8::try_from(index).unwrap_or(u8::MAX);
            // A description that is not allowed leads nowhere.
            let (remote, protection) = heard.map_or((None, None), |protection| (remote, protection));
            self.remember(index, side, remote, wire);
            let order = MediaOrder::Describe { session: self.id, stream, side, remote, protection };
            wire.outputs.push_back(Output::Media(order));
        }
    }

    fn note(&mut self, sdp: &Sdp<'_>, side: Side) {
        if let Some(heard) = self.said.as_deref_mut() {
            heard.said[place(side)] = Some(Said::of(sdp));
        }
    }

    /// A side's description counts no more: another target is tried.
    pub(crate) fn forget(&mut self, side: Side, wire: &mut Wire) {
        if let Some(heard) = self.said.as_deref_mut() {
            heard.said[place(side)] = None;
        }
        if !self.is_open() {
            return;
        }
        for index in 0..self.streams.len() {
            self.remember(index, side, None, wire);
            let stream = u8::try_from(index).unwrap_or(u8::MAX);
            let order =
                MediaOrder::Describe { session: self.id, stream, side, remote: None, protection: None };
            wire.outputs.push_back(Output::Media(order));
        }
    }

    pub(crate) fn watch(&self, wire: &mut Wire) {
        if self.is_open() {
            wire.outputs.push_back(Output::Media(MediaOrder::Watch { session: self.id, on: true }));
        }
    }

    /// Gives the ports back; true when there is nothing (more) to give.
    pub(crate) fn close(&mut self, wire: &mut Wire) -> bool {
        match self.state {
            MediaState::Unopened | MediaState::Closed => {
                self.state = MediaState::Closed;
                true
            }
            MediaState::Opening | MediaState::Open | MediaState::Growing => {
                self.state = MediaState::Closing;
                wire.outputs.push_back(Output::Media(MediaOrder::Close { session: self.id }));
                false
            }
            MediaState::Closing => false,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        match self.state {
            MediaState::Open | MediaState::Growing => true,
            MediaState::Unopened | MediaState::Opening | MediaState::Closing | MediaState::Closed => false,
        }
    }
}

fn place(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

/// Where a peer whose signalling comes from this address has its stream; `None` where the stream is rejected, or nowhere.
fn remote_of(stream: &Stream<'_>, is_muxed: bool, signalling: IpAddr) -> Option<RemoteStream> {
    if stream.is_rejected() {
        return None;
    }
    let ip = match stream.address()? {
        Host::Ip(ip) => ip,
        host @ Host::Name(_) if host.is_held() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        // Nobody is asked for a name in the middle of a call: most who write one are where their signalling is, and
        // latching finds the others.
        Host::Name(_) => signalling,
    };
    let rtp = SocketAddr::new(ip, stream.port);
    // Without a port for control there is media all the same.
    let rtcp = if is_muxed { Some(rtp) } else { stream.rtcp_beside(ip) };
    let rtcp = rtcp.unwrap_or(SocketAddr::new(ip, 0));
    let (sends, receives) = match stream.direction() {
        Direction::SendRecv => (true, true),
        Direction::SendOnly => (true, false),
        Direction::RecvOnly => (false, true),
        Direction::Inactive => (false, false),
    };
    let is_rtp = security::is_rtp(stream);
    let is_audio = stream.kind.eq_ignore_ascii_case(b"audio");
    Some(RemoteStream { rtp, rtcp, signalling, sends, receives, is_rtp, is_audio })
}

/// A description without what it says of hold: what was held was held by one who is going.
pub(crate) fn without_hold(sdp: &[u8]) -> Vec<u8> {
    let holds = |line: &&[u8]| {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        matches!(text, b"a=sendonly" | b"a=recvonly" | b"a=inactive")
    };
    sdp.split_inclusive(|byte| *byte == b'\n').filter(|line| !holds(line)).collect::<Vec<_>>().concat()
}

/// A Warning for a description that could not be read (RFC 3261 §20.43), naming the line.
pub(crate) fn warning(error: &SdpError, host: &str) -> String {
    let text: String =
        error.to_string().chars().filter(|c| !c.is_control() && *c != '"' && *c != '\\').collect();
    format!("399 {host} \"{text}\"")
}

/// Name of the first codec of the first stream in use.
pub(crate) fn codec(sdp: &Sdp<'_>) -> Option<Box<str>> {
    let stream = sdp.streams().iter().find(|stream| !stream.is_rejected())?;
    let name = stream.codec()?;
    let name = name.split(|&byte| byte == b'/').next().unwrap_or(name);
    Some(crate::headers::text(name))
}
