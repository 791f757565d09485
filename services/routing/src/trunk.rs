//! A trunk: a peer network, known by the addresses its requests come from and the URIs its calls go to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::media::{Codecs, Dtmf, RtpProfile};
use crate::source::Source;
use crate::tags::Tags;

/// Index of a trunk in its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrunkId(pub u16);

/// A peer network and how it is treated.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Unique in a snapshot; what routes, records and metrics call it.
    pub name: String,
    /// Whose requests are this trunk's.
    pub sources: Vec<Source>,
    /// Where its calls go: `sip:` or `sips:` URIs, tried in order.
    pub peers: Vec<String>,
    /// Name of the listener that its calls leave by; `None`: the first that speaks the peer's transport and address family.
    pub listener: Option<String>,
    /// How exactly a CANCEL must match its INVITE.
    pub cancel_matching: CancelMatching,
    /// Who carries out a REFER of this trunk.
    pub refer: Refer,
    /// Who follows a 3xx of this trunk.
    pub redirect: Redirect,
    /// What becomes of bodies that the box does not understand, in its requests that make or change a session.
    pub bodies: Bodies,
    /// In which family its peers are told where media goes.
    pub media_family: MediaFamily,
    /// Which codecs its peers may use.
    pub codecs: Codecs,
    /// In which profile its peers are spoken to of RTP.
    pub rtp_profile: RtpProfile,
    /// How its peers send key presses, and want them.
    pub dtmf: Dtmf,
    /// Whether its media is encrypted between it and the box.
    pub media_security: MediaSecurity,
    /// Whether its calls are recorded.
    pub record: bool,
    /// For the records of calls that come from it or go to it.
    pub tags: Option<Arc<Tags>>,
    /// Methods of its requests that cross besides those of a call. `None`: those that are known to make sense outside of
    /// calls, and within a dialog any.
    pub methods: Option<Vec<String>>,
    /// Option tags that the caller of a new call must support (RFC 3261 §21.4.16).
    pub require: Vec<String>,
    /// What a challenge of this trunk is answered with.
    pub auth: Option<Credentials>,
    /// Who answers the challenges of this trunk.
    pub challenges: Challenges,
    /// The most calls at once; 0: no limit.
    pub max_calls: u32,
    /// The most new calls per second; 0: no limit.
    pub max_cps: u32,
    /// How often its peers are asked for life with OPTIONS; `None`: never.
    pub options_ping: Option<Duration>,
}

impl Trunk {
    /// Whether a request of this method may cross; `None` when that is not for the trunk to say.
    pub fn lets_cross(&self, method: &[u8]) -> Option<bool> {
        let methods = self.methods.as_ref()?;
        Some(methods.iter().any(|listed| listed.as_bytes() == method))
    }

    /// A trunk without sources, peers and limits, everything else as when the configuration is silent.
    pub fn new(name: impl Into<String>) -> Trunk {
        Trunk {
            name: name.into(),
            sources: Vec::new(),
            peers: Vec::new(),
            listener: None,
            cancel_matching: CancelMatching::default(),
            refer: Refer::default(),
            redirect: Redirect::default(),
            bodies: Bodies::default(),
            media_family: MediaFamily::default(),
            codecs: Codecs::default(),
            rtp_profile: RtpProfile::default(),
            dtmf: Dtmf::default(),
            media_security: MediaSecurity::default(),
            record: false,
            tags: None,
            methods: None,
            require: Vec::new(),
            auth: None,
            challenges: Challenges::default(),
            max_calls: 0,
            max_cps: 0,
            options_ping: None,
        }
    }

    /// Whether descriptions to and from it are changed beyond the addresses in them.
    pub fn shapes_media(&self) -> bool {
        !self.codecs.is_any() || self.rtp_profile != RtpProfile::Pass || self.dtmf != Dtmf::Pass
    }

    /// Whether its callers answer its challenges themselves.
    pub fn passes_challenges(&self) -> bool {
        self.challenges == Challenges::Pass
    }
}

/// How a CANCEL finds its INVITE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CancelMatching {
    /// By branch and sent-by (RFC 3261 §9.2, §17.2.3).
    #[default]
    Strict,
    /// Failing that by Call-ID, From-tag, CSeq number and Request-URI, for gateways that change the branch.
    Lenient,
}

/// What becomes of a REFER (RFC 3515).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refer {
    /// The transfer is carried out here; the other leg never sees it.
    #[default]
    Local,
    /// The REFER is carried across.
    Pass,
}

/// What becomes of a 3xx (RFC 3261 §8.1.3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirect {
    /// Its contacts are tried from here.
    #[default]
    Follow,
    /// The 3xx is carried across.
    Pass,
}

/// Who answers a 401 or 407 (RFC 3261 §22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenges {
    /// This box with the trunk's credentials; without any the attempt has failed.
    #[default]
    Answer,
    /// The caller, who is shown the challenge and whose credentials are carried to the trunk.
    Pass,
}

/// What becomes of a body that the box does not understand (RFC 5621).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bodies {
    /// One that must be understood is refused, one that need not is left out.
    #[default]
    Strict,
    /// It crosses as it is.
    Pass,
}

/// The address family of the relay's addresses in what a peer is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaFamily {
    /// As it described itself, and before that as its signalling.
    #[default]
    Auto,
    /// IPv4; what it offers in IPv6 is refused.
    Ipv4,
    /// IPv6; what it offers in IPv4 is refused.
    Ipv6,
}

/// Whether the box encrypts the media of a side, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaSecurity {
    /// It does not. What two such sides say of encryption is between them.
    #[default]
    None,
    /// Always, with keys in the descriptions (RFC 4568).
    Sdes,
    /// Always, with keys that a handshake on the media port makes (RFC 5763).
    Dtls,
    /// Where the other can and wants to; plain where not.
    Optional,
    /// Always, by one of the two.
    Required,
}

/// Digest credentials. The password is never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Digest user name.
    pub username: String,
    /// Plain text; never logged.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
