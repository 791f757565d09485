//! The source filter of one port: symmetric RTP with latching (RFC 7362 §4.2), and no more than that.
//!
//! A phone behind a NAT describes an address from which its packets never come, and so does a gateway for its fax. The first
//! authentic packet from the described host, or from the host its signalling comes from, shows the true one; from then on
//! nobody else is heard.
//! Taking packets from anywhere would hand the call to whoever sends first (the "RTP bleed").

use std::net::{IpAddr, SocketAddr};

/// Where a port's packets come from, once the first has come.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    /// The side chose the source itself, and proved that it may.
    chosen: bool,
    source: Option<SocketAddr>,
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
            return true;
        }
        match self.source {
            Some(latched) => same(latched, source),
            None => {
                let earned = authentic && (source.ip() == described.ip() || source.ip() == signalling);
                if earned {
                    self.take(source);
                }
                earned
            }
        }
    }

    /// Whether an authentic packet from `source` would be accepted. Changes nothing.
    pub(crate) fn may_admit(&self, described: SocketAddr, signalling: IpAddr, source: SocketAddr) -> bool {
        if self.chosen {
            return self.source.is_some_and(|chosen| same(chosen, source));
        }
        same(source, described)
            || match self.source {
                Some(latched) => same(latched, source),
                None => source.ip() == described.ip() || source.ip() == signalling,
            }
    }

    /// The side proved that it is there and wants to be heard from there (RFC 8445 §7.3.1.5): it is, from nowhere else.
    pub(crate) fn select(&mut self, source: SocketAddr) {
        self.take(source);
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

    /// Where to send: to the latched source, else to the address described.
    pub(crate) fn target(&self, described: SocketAddr) -> SocketAddr {
        self.source.unwrap_or(described)
    }

    /// Takes a new description. A side that moved is latched anew; a side that did not keeps its source, as long as the
    /// new terms would admit it. A hold with `0.0.0.0` does not say where the side is: the resume decides whether it
    /// has moved.
    pub(crate) fn describe(&mut self, described: SocketAddr, signalling: IpAddr) {
        if described.ip().is_unspecified() || self.chosen {
            return;
        }
        let moved = self.anchor.is_some_and(|anchor| anchor != described);
        self.anchor = Some(described);
        self.former = self.source.or(self.former);
        self.source = self
            .source
            .filter(|source| !moved && (source.ip() == described.ip() || source.ip() == signalling));
    }
}

/// IPv6 flow labels and scopes do not make another sender.
pub(super) fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip() == other.ip()
}
