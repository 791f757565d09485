//! The source filter of one port: symmetric RTP with latching (RFC 7362 §4.2), and no more than that.
//!
//! A phone behind a NAT describes an address from which its packets never come, and so does a gateway for its fax. The first
//! authentic packet from the described host, or from the host its signalling comes from, shows the true one; from then on
//! nobody else is heard, until a new description says that the side is elsewhere, or was silent so long that its NAT may have
//! given it another port. What comes from the old source then may be the last of a party that has left, or of a port that
//! the phone is about to give up (RFC 3264 §8.3.1 has it send there until the answer reaches it): it is heard, in doubt, and
//! gives way to the first other source that may be the side's.
//! Taking packets from anywhere would hand the call to whoever sends first (the "RTP bleed").

use std::net::{IpAddr, SocketAddr};

/// So many packets from a source in doubt, and none from another: it is the side's.
const BELIEVED: u8 = 128;

/// Where a port's packets come from, once the first has come.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    /// The side chose the source itself, and proved that it may.
    chosen: bool,
    source: Option<SocketAddr>,
    /// The source is that of earlier terms, and so many packets speak for its being that of these. `None`: there is no doubt.
    doubt: Option<u8>,
    /// Who was heard under earlier terms.
    earlier: Option<SocketAddr>,
    /// The last described address that was not an old-style hold: what the next one is compared with.
    anchor: Option<SocketAddr>,
    /// The source that there was before a new description took it away.
    former: Option<SocketAddr>,
    moves: u32,
}

impl Latch {
    /// Whether a packet from `source` is accepted; the first one decides who is heard. `authentic`: it looks like what
    /// belongs on this port, without which only the exact described address is trusted.
    pub(crate) fn admit(
        &mut self,
        described: SocketAddr,
        signalling: IpAddr,
        source: SocketAddr,
        authentic: bool,
    ) -> bool {
        if self.chosen {
            return self.source.is_some_and(|chosen| same(chosen, source));
        }
        if same(source, described) {
            // The one source that signalling named outranks what latching guessed: another phone behind the same NAT
            // may have been first. This cannot go back and forth, since nothing outranks it.
            self.take(source);
            self.doubt = None;
            return true;
        }
        if self.source.is_some_and(|latched| same(latched, source)) {
            self.doubt = self.doubt.map(|packets| packets + 1).filter(|packets| *packets < BELIEVED);
            return true;
        }
        let earned =
            self.is_open() && authentic && (source.ip() == described.ip() || source.ip() == signalling);
        if earned {
            self.take(source);
            self.doubt = self.earlier.filter(|earlier| same(*earlier, source)).map(|_| 0);
        }
        earned
    }

    /// Whether another source may be the side's.
    fn is_open(&self) -> bool {
        self.source.is_none() || self.doubt.is_some()
    }

    /// Whether an authentic packet from `source` would be accepted. Changes nothing.
    pub(crate) fn may_admit(&self, described: SocketAddr, signalling: IpAddr, source: SocketAddr) -> bool {
        if self.chosen {
            return self.source.is_some_and(|chosen| same(chosen, source));
        }
        same(source, described)
            || self.source.is_some_and(|latched| same(latched, source))
            || self.is_open() && (source.ip() == described.ip() || source.ip() == signalling)
    }

    /// The side proved that it is there and wants to be heard from there (RFC 8445 §7.3.1.5): it is, from nowhere else.
    pub(crate) fn select(&mut self, source: SocketAddr) {
        self.take(source);
        self.doubt = None;
        self.chosen = true;
    }

    /// Whether what the side chose still counts.
    pub(crate) fn keep_chosen(&mut self, keep: bool) {
        self.chosen &= keep;
    }

    fn take(&mut self, source: SocketAddr) {
        if self.source == Some(source) {
            return;
        }
        let before = self.source.replace(source).or(self.former.take());
        self.moves += u32::from(before.is_some_and(|before| !same(before, source)));
    }

    /// How often the source was another one than before.
    pub(crate) fn moves(&self) -> u32 {
        self.moves
    }

    /// The source that is heard, once there is one.
    pub(crate) fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// The same, where nobody else can be right before there is a new description.
    pub(crate) fn settled(&self) -> Option<SocketAddr> {
        self.source.filter(|_| self.doubt.is_none())
    }

    /// Where to send: to the latched source, else to the address described.
    pub(crate) fn target(&self, described: SocketAddr) -> SocketAddr {
        self.source.unwrap_or(described)
    }

    /// Takes a new description. A side that moved is latched anew; a side that did not keeps its source, as long as the
    /// new terms would admit it. A hold with `0.0.0.0` does not say where the side is: the resume decides whether it
    /// has moved. `resumes`: it had nothing to send before, so that a NAT may have forgotten it.
    pub(crate) fn describe(&mut self, described: SocketAddr, signalling: IpAddr, resumes: bool) {
        if described.ip().is_unspecified() || self.chosen {
            return;
        }
        let moved = self.anchor.is_some_and(|anchor| anchor != described);
        self.anchor = Some(described);
        self.former = self.source.or(self.former);
        self.earlier = self.source.or(self.earlier);
        self.source = self
            .source
            .filter(|source| !moved && (source.ip() == described.ip() || source.ip() == signalling));
        self.doubt = match self.source {
            Some(source) if resumes && !same(source, described) => Some(0),
            Some(_) => self.doubt,
            None => None,
        };
    }

    /// The side is there no more, and another may come in its place. It has moved so often until then: counts go on, and
    /// where who comes has come to is no move.
    pub(crate) fn forget(&mut self) {
        let (earlier, moves) = (self.source.or(self.earlier), self.moves);
        *self = Latch { earlier, moves, ..Latch::default() };
    }
}

/// IPv6 flow labels and scopes do not make another sender.
pub(super) fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip() == other.ip()
}
