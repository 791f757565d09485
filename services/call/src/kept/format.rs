//! A call as bytes: [`Kept`], a version before it and a checksum.
//!
//! Trunks and listeners stand here by name, because their numbers are another configuration's; moments by civil time,
//! because the monotonic clock is another process's. Texts are borrowed from the call when it is written, and from the bytes when it
//! is read.

use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NotRestorable;
use crate::bridge::Heard;
use crate::media::{DirectionStats, RemoteStream, StreamPorts};

/// Of everything in this file. Whoever changes it raises this: an older process's calls are not guessed at.
pub(super) const VERSION: u8 = 6;

/// The version, and the checksum of what follows.
const HEAD: usize = 1 + 8;

/// More than any call takes: descriptions and headers are bounded by the message that they came in.
const ROOM: usize = 2048;

/// A call that is up.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept<'a> {
    pub(crate) id: [u8; 16],
    pub(crate) referrals: u8,
    #[serde(borrow)]
    pub(crate) record: KeptRecord<'a>,
    /// A, then B.
    #[serde(borrow)]
    pub(crate) legs: [KeptLeg<'a>; 2],
    /// `None`: it cannot be had again.
    pub(crate) media: Option<KeptMedia>,
}

/// One side, its dialog confirmed.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptLeg<'a> {
    pub(crate) listener: &'a str,
    pub(crate) remote: SocketAddr,
    pub(crate) by_flow: bool,
    pub(crate) is_stranger: bool,
    pub(crate) trunk: Option<&'a str>,
    pub(crate) allows_update: bool,
    /// Its Call-ID is ours.
    pub(crate) placed: bool,
    pub(crate) final_status: u16,
    #[serde(borrow)]
    pub(crate) dialog: KeptDialog<'a>,
    /// Of the session timer, in seconds; 0 while none runs.
    pub(crate) interval: u32,
    pub(crate) min_se: u32,
    pub(crate) we_refresh: bool,
    /// Whether it is told of the relay in IPv6, and whether its trunk says so.
    pub(crate) told: (bool, bool),
    #[serde(borrow)]
    pub(crate) session: KeptSession<'a>,
}

/// A [`sip::Dialog`].
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptDialog<'a> {
    #[serde(borrow)]
    pub(crate) call_id: Octets<'a>,
    #[serde(borrow)]
    pub(crate) local_tag: Octets<'a>,
    #[serde(borrow)]
    pub(crate) remote_tag: Octets<'a>,
    #[serde(borrow)]
    pub(crate) local_uri: Octets<'a>,
    #[serde(borrow)]
    pub(crate) remote_uri: Octets<'a>,
    #[serde(borrow)]
    pub(crate) remote_target: Octets<'a>,
    #[serde(borrow)]
    pub(crate) route_set: Vec<Octets<'a>>,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: Option<u32>,
    pub(crate) secure: bool,
}

/// Our session in descriptions towards a side. Without its text where that has keys in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptSession<'a> {
    pub(crate) id: u32,
    pub(crate) version: u32,
    pub(crate) last: u64,
    #[serde(borrow)]
    pub(crate) text: Octets<'a>,
}

/// The ports of the call, and what both sides said of theirs.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptMedia {
    pub(crate) ports: Vec<StreamPorts>,
    /// The relay's addresses, as the sides were told of them.
    pub(crate) addresses: (Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>),
    /// Whether A and B were told of them in IPv4, and in IPv6.
    pub(crate) listening: [(bool, bool); 2],
    /// By stream, where A and B are.
    pub(crate) remotes: Vec<[Option<RemoteStream>; 2]>,
    pub(crate) heard: Option<Heard>,
}

/// The record in the making.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptRecord<'a> {
    pub(crate) recovered: u32,
    pub(crate) caller: &'a str,
    pub(crate) called: &'a str,
    pub(crate) a_source: SocketAddr,
    pub(crate) a_transport: &'a str,
    pub(crate) a_tls: Option<&'a str>,
    pub(crate) a_call_id: &'a str,
    pub(crate) a_user_agent: Option<&'a str>,
    pub(crate) trunk_in: Option<&'a str>,
    pub(crate) route: Option<&'a str>,
    pub(crate) started_at: i64,
    #[serde(borrow)]
    pub(crate) identity: Option<KeptIdentity<'a>>,
    pub(crate) q850: Option<u16>,
    #[serde(borrow)]
    pub(crate) described: KeptDescribed<'a>,
    #[serde(borrow)]
    pub(crate) attempt: KeptAttempt<'a>,
    pub(crate) attempts: u32,
    pub(crate) a_status: Option<u16>,
    pub(crate) a_reason: Option<&'a str>,
    /// How many recordings there were, whether there is one now, and whether one waits for another codec.
    pub(crate) recordings: Option<(u8, bool, bool)>,
    /// What had come from A and B when that was last counted.
    pub(crate) counted: Option<[DirectionStats; 2]>,
    /// How much of it stands in rows that are written.
    pub(crate) parted: Option<[DirectionStats; 2]>,
}

/// The attempt that answered.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptAttempt<'a> {
    pub(crate) number: u32,
    pub(crate) started_at: i64,
    pub(crate) rank: u16,
    pub(crate) origin: crate::cdr::Origin,
    pub(crate) parent: Option<u32>,
    #[serde(borrow)]
    pub(crate) identity: Option<KeptIdentity<'a>>,
    #[serde(borrow)]
    pub(crate) described: KeptDescribed<'a>,
    pub(crate) on_a: bool,
    pub(crate) b_call_id: Option<&'a str>,
    pub(crate) trunk_out: Option<&'a str>,
    pub(crate) called_sent: Option<&'a str>,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) transport: Option<&'a str>,
    pub(crate) tls: Option<&'a str>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) ringing: Option<i64>,
    pub(crate) answered: Option<i64>,
    pub(crate) status: Option<u16>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) q850: Option<u16>,
    #[serde(borrow)]
    pub(crate) tags: Vec<(&'a str, &'a str)>,
}

/// What one of the two said of its media.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptDescribed<'a> {
    pub(crate) media: Option<SocketAddr>,
    pub(crate) ptime: Option<u16>,
    pub(crate) codec: Option<&'a str>,
}

/// What an INVITE says of its caller.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptIdentity<'a> {
    pub(crate) asserted: Option<&'a str>,
    pub(crate) diversion: Option<&'a str>,
    pub(crate) privacy: Option<&'a str>,
}

/// Bytes in one piece, which serde would take one by one.
#[derive(Clone, Copy)]
pub(crate) struct Octets<'a>(pub(crate) &'a [u8]);

impl Serialize for Octets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Octets<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Octets<'a>, D::Error> {
        <&'de [u8]>::deserialize(deserializer).map(Octets)
    }
}

impl<'a> Kept<'a> {
    /// The bytes; `None` should they be more than can be written, which nothing in a call is.
    pub(crate) fn write(&self) -> Option<Box<[u8]>> {
        let mut bytes = Vec::with_capacity(ROOM);
        bytes.push(VERSION);
        bytes.extend_from_slice(&[0; HEAD - 1]);
        let mut bytes = postcard::to_extend(self, bytes).ok()?;
        let sum = sum(bytes.get(HEAD..)?);
        bytes.get_mut(1..HEAD)?.copy_from_slice(&sum.to_le_bytes());
        Some(bytes.into())
    }

    pub(crate) fn read(bytes: &'a [u8]) -> Result<Kept<'a>, NotRestorable> {
        let (&version, rest) = bytes.split_first().ok_or(NotRestorable::Damaged)?;
        if version != VERSION {
            return Err(NotRestorable::Version { got: version });
        }
        let (written, rest) = rest.split_first_chunk().ok_or(NotRestorable::Damaged)?;
        if u64::from_le_bytes(*written) != sum(rest) {
            return Err(NotRestorable::Damaged);
        }
        postcard::from_bytes(rest).map_err(|_| NotRestorable::Damaged)
    }
}

/// Against a disk, not against somebody who may write there.
fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}
