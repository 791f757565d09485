//! Address families: those that the relay has addresses of, and the one in which each leg's peer is told where its media
//! goes.
//!
//! A leg has the family of its side. Until its peer has described itself that is the family of its signalling, and from
//! then on the one that it described last, so that an offer is answered where its author can send (RFC 3264 §6.1). A trunk
//! may say otherwise. What one family sends the relay sends on in the other, so that the two legs of a call need not agree.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use routing::MediaFamily;
use sip::Sdp;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Family {
        match ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// That of a description: of its first stream that is in use and says where it is.
    fn of_description(sdp: &Sdp<'_>) -> Option<Family> {
        described(sdp).next()
    }
}

/// The families of a description's streams. One that is rejected, that names a host, or an unspecified address (which
/// means hold, and is often written as `0.0.0.0` where everything else is IPv6) has none.
fn described(sdp: &Sdp<'_>) -> impl Iterator<Item = Family> {
    let rtp = sdp.streams().iter().filter_map(sip::Stream::rtp);
    rtp.map(|rtp| rtp.ip()).filter(|ip| !ip.is_unspecified()).map(Family::of)
}

/// Which families there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Both.
    pub const BOTH: Families = Families { v4: true, v6: true };
    /// None.
    pub(crate) const NONE: Families = Families { v4: false, v6: false };

    /// Whether this one is among them.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// This one, or the other where that is the only one.
    pub(crate) fn nearest(self, family: Family) -> Family {
        match (family, self) {
            (Family::V4, Families { v4: false, v6: true }) => Family::V6,
            (Family::V6, Families { v4: true, v6: false }) => Family::V4,
            (family, _) => family,
        }
    }

    /// Makes this one one of them; whether it was not.
    pub(crate) fn add(&mut self, family: Family) -> bool {
        let place = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        !std::mem::replace(place, true)
    }

    /// Those that a trunk's peers may offer media in.
    pub(crate) fn allowed_by(self, policy: MediaFamily) -> Families {
        match policy {
            MediaFamily::Auto => self,
            MediaFamily::Ipv4 => Families { v6: false, ..self },
            MediaFamily::Ipv6 => Families { v4: false, ..self },
        }
    }

    /// Whether media can be exchanged with all that a description names.
    pub(crate) fn reach(self, sdp: &Sdp<'_>) -> bool {
        described(sdp).all(|family| self.has(family))
    }

    /// For a warning: the one that there is.
    pub(crate) fn name(self) -> &'static str {
        match (self.v4, self.v6) {
            (true, true) => "IPv4 or IPv6",
            (true, false) => "IPv4",
            (false, true) => "IPv6",
            (false, false) => "any family",
        }
    }
}

/// The relay's addresses as descriptions shall name them, one of each family that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Of IPv4.
    pub v4: Option<Ipv4Addr>,
    /// Of IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The address of this family, or of the other where there is none.
    pub(crate) fn nearest(&self, family: Family) -> IpAddr {
        let (v4, v6) = (self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6));
        let nearest = match family {
            Family::V4 => v4.or(v6),
            Family::V6 => v6.or(v4),
        };
        nearest.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Of which families there are any.
    pub fn families(&self) -> Families {
        Families { v4: self.v4.is_some(), v6: self.v6.is_some() }
    }

    /// These and another one; it takes the place of one of its own family.
    #[must_use]
    pub fn with(self, address: IpAddr) -> Addresses {
        match address {
            IpAddr::V4(ip) => Addresses { v4: Some(ip), ..self },
            IpAddr::V6(ip) => Addresses { v6: Some(ip), ..self },
        }
    }
}

impl From<IpAddr> for Addresses {
    fn from(address: IpAddr) -> Addresses {
        Addresses::default().with(address)
    }
}

/// The family in which a leg's peer is told where its media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    family: Family,
    /// The trunk says so, whatever the peer describes.
    is_fixed: bool,
}

impl Told {
    /// Of a peer that has said nothing yet but where its signalling is.
    pub(crate) fn new(policy: MediaFamily, signalling: IpAddr) -> Told {
        match policy {
            MediaFamily::Auto => Told { family: Family::of(signalling), is_fixed: false },
            MediaFamily::Ipv4 => Told { family: Family::V4, is_fixed: true },
            MediaFamily::Ipv6 => Told { family: Family::V6, is_fixed: true },
        }
    }

    pub(crate) fn family(self) -> Family {
        self.family
    }

    /// Whether it is IPv6, and fixed.
    pub(crate) fn kept(self) -> (bool, bool) {
        (self.family == Family::V6, self.is_fixed)
    }

    pub(crate) fn restored((is_ipv6, is_fixed): (bool, bool)) -> Told {
        Told { family: if is_ipv6 { Family::V6 } else { Family::V4 }, is_fixed }
    }

    /// The peer described itself.
    pub(crate) fn heard(&mut self, sdp: &Sdp<'_>) {
        if let Some(family) = Family::of_description(sdp).filter(|_| !self.is_fixed) {
            self.family = family;
        }
    }
}
