//! One stream of a call as plain data: who may send, where it goes, what was counted.
//!
//! A [`Stream`] has two sides. Each datagram that reaches a local port is shown to [`Stream::receive`], which says what
//! to do with it; the sockets are somebody else's. There is no clock and no I/O here: arrival times come in as
//! arguments, so that every rule can be tested with bytes and numbers alone.
//!
//! The rules, in the order in which a datagram meets them:
//!
//! 0. **Protection** (`passage`, `srtp`): what comes from a side with keys must prove itself before anything else, and what
//!    goes to one is encrypted after everything else. The rules between see plain packets.
//! 1. **Source filter** (`latch`): only the address described, or one source that latching accepted (RFC 7362 §4.2). Where the
//!    description says RTP, nothing else passes but what two ends make keys with past the box.
//! 2. **Reception** (`reception`, `jitter`): loss and jitter of what the side sent, whether or not it is passed on.
//! 3. **Destination**: where latching found the other side, else where it was described; nobody who is unknown, on hold
//!    or not receiving gets media. RTCP goes on while media is held (RFC 3264 §5.1).
//! 4. **Pace** (`pace`): no faster than the limit, which for RTCP is another.
//! 5. **Bond** (`bond`): whether its socket is, or may now be, connected to the one peer it is for.
//! 6. **Hands** (`hands`): whether the kernel relays this direction from now on, or gives it back.

mod attempts;
mod bond;
mod control;
mod deaf;
mod digits;
mod farewell;
mod hands;
mod header;
mod jitter;
mod latch;
mod numbers;
mod opening;
mod pace;
mod passage;
mod reception;
mod silence;
mod srtp;
mod stun;
mod transcode;
mod work;

use std::net::SocketAddr;

use call::{Deaf, DirectionStats, Protection, RemoteStream, Side, Speech};
use sip::Time;

use self::attempts::LaidBy;
use self::bond::Bond;
pub use self::control::RoundTrip;
use self::deaf::Turned;
use self::farewell::Sources;
use self::hands::Hands;
pub(crate) use self::hands::Route;
pub(crate) use self::header::makes_keys;
pub use self::header::{Datagram, RtpHeader, classify_media, is_rtcp};
use self::latch::{Latch, same};
use self::opening::{Begin, Opening};
pub(crate) use self::opening::{Handshake, Progress};
pub(crate) use self::pace::Limit;
use self::pace::Pace;
pub(crate) use self::passage::OVERHEAD;
pub(crate) use self::reception::Handover;
use self::reception::Reception;
pub(crate) use self::silence::Silence;
use self::srtp::Srtp;
pub use self::stun::{Check, check};
pub(crate) use self::work::News;
use self::work::Work;

/// Which of a side's two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// The even port: media, and RTCP too where the side multiplexes (RFC 5761).
    Rtp,
    /// The odd port.
    Rtcp,
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send it out of the other side's port to this address.
    Relay {
        /// Which port of the other side it leaves from.
        out: Channel,
        /// Where to.
        to: SocketAddr,
        /// That port is connected to this address: it need not be named.
        connected: bool,
        /// Media: its payload octets, already counted. `None`: control.
        media: Option<usize>,
    },
    /// From the right source, but the other side is on hold or does not receive.
    Withhold,
    /// For this box itself: there are [`Stream::replies`] to it.
    Reply,
    /// From a source that may not send, of no use to anybody, or with nowhere to go.
    Drop,
    /// The same: a record that looked like the first of a handshake and was none. To find that out took as long as a
    /// handshake's does.
    InVain,
    /// From where the side may send, in a stream of RTP, and no RTP.
    NotRtp,
    /// From where the side may send, and nobody who has its key wrote it.
    Forged,
    /// An encrypted packet that was here before, or is too old to tell.
    Replayed,
}

/// A stream: two sides and whether it is over.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    a: End,
    b: End,
    limit: Limit,
    /// What is done besides, where anything is.
    work: Option<Box<Work>>,
    /// When the call was answered.
    answered: Option<Time>,
    closed: bool,
}

/// What another has relayed of one direction, since it was handed over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Elsewhere {
    pub(crate) packets: u64,
    pub(crate) octets: u64,
    /// Dropped beyond the rate limit.
    pub(crate) limited: u64,
    pub(crate) reception: Handover,
}

/// What has come of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// It differs from the one before; [`Stream::parts`] may name a peer.
    pub(crate) is_other: bool,
    /// A handshake was begun, which [`Stream::tend`] must be called for.
    pub(crate) has_begun: bool,
}

impl Stream {
    /// A stream of which neither side may send faster than this.
    pub(crate) fn new(limit: Limit) -> Stream {
        Stream { limit, ..Stream::default() }
    }

    /// Whether packets must be read, or anything of them changed but addresses: then they stay in userspace. Whoever makes
    /// this true for a stream that is open calls `Shared::recall` next.
    pub(crate) fn needs_payload(&self) -> bool {
        let looks_into = |end: &End| end.srtp.is_some() || end.opening.is_some();
        self.work.is_some() || looks_into(&self.a) || looks_into(&self.b)
    }

    /// Shows a datagram that reached `channel` of side `from`. The counters are moved as if the verdict succeeds; call
    /// [`Stream::unsent`] when it did not.
    pub(crate) fn receive(
        &mut self,
        from: Side,
        channel: Channel,
        source: SocketAddr,
        packet: &[u8],
        now: Time,
    ) -> Verdict {
        if self.closed {
            return Verdict::Drop;
        }
        let limit = self.limit;
        let (near, far) = self.ends(from);
        let admitted = match near.admit(channel, source, packet) {
            Ok(admitted) => admitted,
            Err(verdict) => {
                near.dropped += 1;
                return verdict;
            }
        };
        let verdict = match admitted {
            Datagram::Rtp(rtp) => {
                near.observe(&rtp, now);
                if near.pace.allows(limit, now) {
                    near.count(far.media_target(), rtp.payload)
                } else {
                    Verdict::Drop
                }
            }
            Datagram::Other => {
                near.heard += 1;
                near.sends_other = true;
                near.hands.came(false);
                if near.pace.allows(limit, now) {
                    let verdict = near.count(far.media_target(), packet.len());
                    near.others += u64::from(matches!(verdict, Verdict::Relay { .. }));
                    verdict
                } else {
                    Verdict::Drop
                }
            }
            Datagram::Rtcp if !near.control_pace.allows(Limit::CONTROL, now) => Verdict::Drop,
            Datagram::Rtcp => {
                near.round_trip.heard(packet, now);
                far.round_trip.sent(packet, now);
                let verdict = far.control_target();
                if matches!(verdict, Verdict::Relay { .. }) {
                    farewell::note(near, far, packet);
                }
                verdict
            }
            Datagram::Stun => Verdict::Drop,
        };
        if verdict == Verdict::Drop {
            near.dropped += 1;
        }
        verdict
    }

    /// Takes back the count of a packet from `from` that [`Stream::receive`] wanted relayed and the network refused.
    pub(crate) fn unsent(&mut self, from: Side, octets: usize) {
        let near = self.end_mut(from);
        near.packets = near.packets.saturating_sub(1);
        near.octets = near.octets.saturating_sub(octets as u64);
        near.dropped += 1;
    }

    /// The one peer of a side's media port, when it is time to connect the port to it. Tell [`Stream::connected`] what
    /// came of that before anybody else sees the stream.
    pub(crate) fn ripe(&mut self, side: Side) -> Option<SocketAddr> {
        let closed = self.closed;
        let end = self.end_mut(side);
        if closed || !end.bond.is_ripe() {
            return None;
        }
        end.rtp.source()
    }

    /// A side's media port was connected to `peer`, or could not be: then it is tried again after as many packets.
    pub(crate) fn connected(&mut self, side: Side, peer: Option<SocketAddr>) {
        self.end_mut(side).bond = peer.map_or_else(Bond::default, Bond::Connected);
    }

    /// Once, when a side's media port is connected to a peer that is not its peer any more, because the side has moved or
    /// the stream is over: that peer. The port must be disconnected before anybody else sees the stream.
    pub(crate) fn parts(&mut self, side: Side) -> Option<SocketAddr> {
        let closed = self.closed;
        let end = self.end_mut(side);
        let Bond::Connected(peer) = end.bond else { return None };
        let parts = closed || end.rtp.source() != Some(peer);
        parts.then(|| {
            end.bond = Bond::default();
            peer
        })
    }

    /// What the kernel must know to relay what `side` sends from now on, when it is time that it does. Tell
    /// [`Stream::handed_over`] when it does, before anybody else sees the stream.
    pub(crate) fn settled(&mut self, side: Side) -> Option<(Route, Handover, Limit)> {
        if !self.end_mut(side).hands.is_settled() {
            return None;
        }
        let route = self.route(side)?;
        let limit = self.limit;
        Some((route, self.end_mut(side).reception.hand_over()?, limit))
    }

    /// What `side` sends is the kernel's now; without a route it would not take it, and is not asked again.
    pub(crate) fn handed_over(&mut self, side: Side, route: Option<Route>) {
        self.end_mut(side).hands = route.map_or(Hands::Kept, |route| Hands::Kernels(route, 0));
    }

    /// The route by which the kernel relays what `side` sends, if it does.
    pub(crate) fn kernel_route(&self, side: Side) -> Option<Route> {
        self.end(side).hands.route()
    }

    /// Whether what `side` sends is with the kernel, and must not stay there.
    pub(crate) fn must_return(&self, side: Side) -> bool {
        self.end(side).hands.must_return(self.route(side))
    }

    /// The kernel relays nothing of what `side` sends any more, and this is what it had relayed.
    pub(crate) fn take_back(&mut self, side: Side, elsewhere: &Elsewhere) {
        let end = self.end_mut(side);
        end.hands.returned();
        end.heard += elsewhere.packets + elsewhere.limited;
        end.packets += elsewhere.packets;
        end.octets += elsewhere.octets;
        end.dropped += elsewhere.limited;
        end.reception.take_back(&elsewhere.reception);
    }

    /// Where the process before this one sent to a side. It had heard it from there, unless that is only what the side said.
    pub(crate) fn believe_target(&mut self, side: Side, target: SocketAddr) {
        if self.end(side).known().is_some_and(|remote| !same(remote.rtp, target)) {
            self.believe(side, target);
        }
    }

    /// Where the process before this one has heard a side. The same rules say whether that is believed as when a packet
    /// comes from there.
    pub(crate) fn believe(&mut self, side: Side, source: SocketAddr) {
        let end = self.end_mut(side);
        if let Some(remote) = end.known() {
            end.rtp.admit(remote.rtp, remote.signalling, source, true);
        }
    }

    /// Whether both sides have described it.
    pub(crate) fn is_described(&self) -> bool {
        self.a.remote.is_some() && self.b.remote.is_some()
    }

    /// How fast each side may send.
    pub(crate) fn limit(&self) -> Limit {
        self.limit
    }

    /// What one side sends, as long as nothing but addresses has to be changed.
    pub(crate) fn route(&self, side: Side) -> Option<Route> {
        let (near, far) = (self.end(side), self.end(side.other()));
        if self.closed || self.needs_payload() {
            return None;
        }
        let Target::At(destination, _) = far.media_target() else { return None };
        Some(Route { source: near.rtp.settled()?, destination, muxed: muxed(&near.known()?) })
    }

    /// Takes a side's newest description, with how its packets are protected by it. Both or neither: by the new protection
    /// alone packets would go to where the side was, and in the clear where it has none any more.
    pub(crate) fn agree(
        &mut self,
        side: Side,
        remote: Option<RemoteStream>,
        protection: Option<&Protection>,
        begin: Begin<'_>,
    ) -> Agreed {
        let has_begun = self.protect(side, protection, remote.map(|remote| remote.rtp), begin);
        Agreed { is_other: self.describe(side, remote), has_begun }
    }

    /// Whether the description differs from the one before; [`Stream::parts`] may name a peer then.
    fn describe(&mut self, side: Side, remote: Option<RemoteStream>) -> bool {
        self.end_mut(side).describe(remote)
    }

    /// Ends the stream: everything is dropped from now on. Returns the final counters of A and B.
    pub(crate) fn close(&mut self) -> (DirectionStats, DirectionStats) {
        self.closed = true;
        (self.stats(Side::A), self.stats(Side::B))
    }

    /// Whether a handshake is to make the keys of `side`, and has not yet.
    pub(crate) fn is_keyless(&self, side: Side) -> bool {
        self.end(side).keyless().is_some()
    }

    /// Whether `side` ought to be heard: it said that it sends, and the other that it receives.
    pub(crate) fn expects(&self, side: Side) -> bool {
        let (near, far) = (self.end(side), self.end(side.other()));
        near.remote.is_some_and(|remote| remote.sends) && far.remote.is_some_and(|remote| remote.receives)
    }

    /// Whether a side that is silent has gone. On hold, also in its old form, nobody has to send anything: who holds may
    /// play no music, and who is held is not listened to.
    pub(crate) fn is_mutual(&self) -> bool {
        let is_held = |end: &End| {
            end.remote.is_some_and(|remote| remote.rtp.ip().is_unspecified()) && !end.checks_path()
        };
        [Side::A, Side::B].into_iter().all(|side| self.expects(side) && !is_held(self.end(side)))
    }

    /// Whether the sides send in turns, so that one may be silent while the other is heard: a fax (T.38), or whatever
    /// else is no RTP.
    pub(crate) fn takes_turns(&self) -> bool {
        self.a.sends_other || self.b.sends_other
    }

    /// Media packets accepted from `side`, passed on or not.
    pub(crate) fn heard(&self, side: Side) -> u64 {
        self.end(side).heard
    }

    /// The call was answered, by the relay's clock: from now on both sides ought to be heard.
    pub(crate) fn answered(&mut self, now: Time) {
        self.answered.get_or_insert(now);
    }

    /// The terms are others now: both sides ought to be heard by them. What came of A and B so far, wherever it was counted.
    pub(crate) fn expect_anew(&mut self, heard: [u64; 2]) {
        let is_answered = self.answered.is_some();
        for (end, heard) in [&mut self.a, &mut self.b].into_iter().zip(heard) {
            (end.before, end.is_missed, end.turned) = (heard, false, Turned::default());
            if end.remote.is_none() && !is_answered {
                (end.of_others, end.first) = (heard, None);
            }
        }
    }

    /// Whether a side was heard by the terms of now; `heard` is all that has come.
    pub(crate) fn is_heard(&self, side: Side, heard: u64) -> bool {
        let turns = if self.takes_turns() { self.end(side.other()).before } else { 0 };
        heard != self.end(side).before + turns
    }

    /// Whether a side that is not heard is to be reported. One that was heard before may be silent on hold as in
    /// [`Stream::is_mutual`].
    pub(crate) fn is_awaited(&self, side: Side) -> bool {
        let end = self.end(side);
        self.expects(side) && (end.before == end.of_others || self.is_mutual())
    }

    /// A side was awaited for long enough: why nothing is heard of it.
    pub(crate) fn missed(&mut self, side: Side) -> Option<Deaf> {
        let end = self.end_mut(side);
        end.is_missed = true;
        let remote = end.known()?;
        Some(end.keyless().unwrap_or_else(|| end.turned.why(&remote)))
    }

    /// Why nothing is heard of a side that should send; `None`: it is heard, or has no reason to send, or was heard before
    /// and has not been looked for in vain since.
    pub(crate) fn deaf(&self, side: Side) -> Option<Deaf> {
        let end = self.end(side);
        let is_unheard = end.heard == end.of_others || end.is_missed && end.heard == end.before;
        let remote = end.known().filter(|_| is_unheard && self.expects(side))?;
        Some(end.keyless().unwrap_or_else(|| end.turned.why(&remote)))
    }

    /// What came from `side` so far.
    pub(crate) fn stats(&self, side: Side) -> DirectionStats {
        let since = |answered: Time, first: Time| u32::try_from(first.since(answered).as_millis()).ok();
        DirectionStats {
            first_media_ms: self.answered.zip(self.end(side).first).and_then(|(from, to)| since(from, to)),
            deaf: self.answered.and_then(|_| self.deaf(side)),
            ..self.end(side).stats()
        }
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    fn ends(&mut self, from: Side) -> (&mut End, &mut End) {
        match from {
            Side::A => (&mut self.a, &mut self.b),
            Side::B => (&mut self.b, &mut self.a),
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        self.ends(side).0
    }
}

/// One side: its description, what latching found, and what came from it.
#[derive(Debug, Default)]
struct End {
    remote: Option<RemoteStream>,
    rtp: Latch,
    rtcp: Latch,
    /// Of the media port. RTCP is too rare to be worth it.
    bond: Bond,
    hands: Hands,
    pace: Pace,
    control_pace: Pace,
    reception: Reception,
    round_trip: RoundTrip,
    turned: Turned,
    /// When its first media came.
    first: Option<Time>,
    heard: u64,
    /// How much of that came before the terms were what they are now.
    before: u64,
    /// And how much of those who had been tried before the call was answered, in vain.
    of_others: u64,
    /// It was looked for in vain since.
    is_missed: bool,
    /// What came last was no RTP.
    sends_other: bool,
    /// It is, or was, described as one of audio.
    is_audio: bool,
    /// Packets relayed that were no RTP: a fax in the place of speech.
    others: u64,
    packets: u64,
    octets: u64,
    dropped: u64,
    /// The keys of a side whose packets are encrypted.
    srtp: Option<Box<Srtp>>,
    /// Those that it had before.
    laid_by: Option<Box<LaidBy>>,
    /// Of a side that checks its path, or makes its keys by a handshake.
    opening: Option<Box<Opening>>,
    /// Of whom it has heard control.
    told: Option<Box<Sources>>,
}

impl End {
    /// The source filter. What the datagram is, if this side may send it.
    fn admit(&mut self, channel: Channel, source: SocketAddr, packet: &[u8]) -> Result<Datagram, Verdict> {
        let remote = self.remote.ok_or(Verdict::Drop)?;
        match channel {
            Channel::Rtp => {
                let datagram = header::classify_media(packet, remote.is_rtp && muxed(&remote));
                // Only what belongs here earns a latch: a stray probe or an RTCP packet must not decide where the media goes,
                // nor speech on its way where a fax begins. The exact described address needs no proof.
                let authentic = match datagram {
                    Datagram::Rtp(_) => remote.is_rtp,
                    Datagram::Other => !remote.is_rtp,
                    Datagram::Rtcp | Datagram::Stun => false,
                };
                let is_other = !remote.is_rtp && datagram != Datagram::Stun;
                // What looks like RTP there does so by chance.
                let datagram = if is_other { Datagram::Other } else { datagram };
                let foreign = remote.is_rtp && datagram == Datagram::Other && !header::makes_keys(packet);
                let useful = datagram != Datagram::Stun && !packet.is_empty() && !foreign;
                if !useful || !self.rtp.admit(remote.rtp, remote.signalling, source, authentic) {
                    self.turned.away(&remote, source, datagram);
                    let is_its_own = self.rtp.may_admit(remote.rtp, remote.signalling, source);
                    return Err(if foreign && is_its_own { Verdict::NotRtp } else { Verdict::Drop });
                }
                // Who checks its path may find another one, and is heard from there.
                let is_fixed = !self.checks_path();
                self.bond.heard(is_fixed && same(source, remote.rtp));
                Ok(datagram)
            }
            Channel::Rtcp => {
                let authentic = header::is_rtcp(packet);
                let is_admitted = authentic && self.rtcp.admit(remote.rtcp, remote.signalling, source, true);
                if is_admitted { Ok(Datagram::Rtcp) } else { Err(Verdict::Drop) }
            }
        }
    }

    fn observe(&mut self, rtp: &RtpHeader, now: Time) {
        if self.heard == self.of_others {
            self.first = Some(now);
        }
        self.heard += 1;
        self.sends_other = false;
        self.hands.came(true);
        match self.hands {
            Hands::Kernels(..) => self.reception.observe_aside(rtp),
            Hands::Ours(_) | Hands::Kept => self.reception.observe(rtp, now),
        }
    }

    /// Where media for this side goes. The verdict's octets are the caller's to fill in.
    fn media_target(&self) -> Target {
        match self.known() {
            None => Target::Unknown,
            Some(remote) if !remote.receives => Target::Held,
            Some(remote) if remote.rtp.ip().is_unspecified() => match self.rtp.source() {
                Some(to) if self.checks_path() => Target::At(to, self.bond.is_with(to)),
                None if self.checks_path() => Target::Unknown,
                Some(_) | None => Target::Held,
            },
            Some(remote) => {
                let to = self.rtp.target(remote.rtp);
                Target::At(to, self.bond.is_with(to))
            }
        }
    }

    /// The side finds the path itself (ICE): an address of `0.0.0.0` is no hold then, but one that it does not know yet (RFC 8829
    /// §5.2.1). Browsers describe themselves so.
    fn checks_path(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| opening.checks_path())
    }

    /// Where control packets for this side go: they do not stop for a hold, save the old `0.0.0.0`, which forbids both
    /// (RFC 3264 §8.4).
    fn control_target(&self) -> Verdict {
        let Some(remote) = self.known() else { return Verdict::Drop };
        let is_nowhere = remote.rtp.ip().is_unspecified() || remote.rtcp.ip().is_unspecified();
        if is_nowhere && !self.checks_path() {
            return Verdict::Withhold;
        }
        let (out, to) = if muxed(&remote) {
            (Channel::Rtp, self.rtp.target(remote.rtp))
        } else {
            (Channel::Rtcp, self.rtcp.target(remote.rtcp))
        };
        if to.port() == 0 || to.ip().is_unspecified() {
            return Verdict::Drop;
        }
        Verdict::Relay { out, to, connected: out == Channel::Rtp && self.bond.is_with(to), media: None }
    }

    /// The description, unless its port says that the stream is refused.
    fn known(&self) -> Option<RemoteStream> {
        self.remote.filter(|remote| remote.rtp.port() != 0)
    }

    fn count(&mut self, target: Target, octets: usize) -> Verdict {
        match target {
            Target::Unknown => Verdict::Drop,
            Target::Held => Verdict::Withhold,
            Target::At(to, connected) => {
                self.packets += 1;
                self.octets += octets as u64;
                Verdict::Relay { out: Channel::Rtp, to, connected, media: Some(octets) }
            }
        }
    }

    fn describe(&mut self, remote: Option<RemoteStream>) -> bool {
        let changed = self.remote != remote;
        let was_silent = self.remote.is_some_and(|before| !before.sends || before.rtp.ip().is_unspecified());
        self.remote = remote;
        self.is_audio |= remote.is_some_and(|remote| remote.is_audio);
        if changed && self.hands == Hands::Kept {
            self.hands = Hands::default();
        }
        match remote {
            Some(remote) => {
                let resumes = was_silent && remote.sends;
                self.rtp.describe(remote.rtp, remote.signalling, resumes);
                self.rtcp.describe(remote.rtcp, remote.signalling, resumes);
            }
            None => {
                self.rtp.forget();
                self.rtcp.forget();
            }
        }
        changed
    }

    fn speech(&self) -> Speech {
        Speech { packets: self.packets.saturating_sub(self.others), lost: self.reception.lost() }
    }

    fn stats(&self) -> DirectionStats {
        DirectionStats {
            packets: self.packets,
            octets: self.octets,
            lost: self.reception.lost(),
            jitter_ms: self.reception.jitter_ms(),
            dropped: self.dropped,
            reordered: self.reception.reordered(),
            duplicates: self.reception.duplicates(),
            speech: self.is_audio.then(|| self.speech()),
            round_trip_ms: self.round_trip.milliseconds(),
            first_media_ms: None,
            moves: self.rtp.moves(),
            deaf: None,
            srtp: self.srtp_use(),
        }
    }
}

#[derive(Clone, Copy)]
enum Target {
    Unknown,
    Held,
    /// Where, and whether the port is connected there.
    At(SocketAddr, bool),
}

/// RTP and RTCP on one port (RFC 5761 §5.1.1): a description that does so names the same address twice.
fn muxed(remote: &RemoteStream) -> bool {
    remote.rtp == remote.rtcp
}

#[cfg(test)]
mod tests;
