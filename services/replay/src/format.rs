//! The shape of a journal file: one JSON object a line, the first of them [`Header`], each other a [`Line`].
//!
//! A change that an older reader would misunderstand raises [`VERSION`]; a reader refuses what it does not know rather
//! than guess. `docs/guide/operation.md` describes the format for those who want to read it with other tools.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use call::{Flow, ListenerId};
use routing::MediaSecurity;
use serde::{Deserialize, Serialize};

/// Which format this is.
pub const VERSION: u32 = 2;

/// The first line: the surroundings of the call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) drawbridge_journal: u32,
    /// Of the program that wrote it.
    pub(crate) version: String,
    /// The call's id, and those of calls that it met.
    pub(crate) calls: Vec<String>,
    /// Why the end is missing, if it is.
    pub(crate) cut: Option<String>,
    pub(crate) product: String,
    pub(crate) shard: u16,
    pub(crate) shards: u16,
    pub(crate) t1_us: u64,
    pub(crate) t2_us: u64,
    pub(crate) t4_us: u64,
    pub(crate) timer_c_us: u64,
    pub(crate) session_expires_us: u64,
    pub(crate) min_se_us: u64,
    /// The one family that media was relayed in, if there was only one.
    #[serde(default, skip_serializing_if = "FamilyLine::is_auto")]
    pub(crate) media_only: FamilyLine,
    /// What phones' media was protected with.
    #[serde(default, skip_serializing_if = "SecurityLine::is_none")]
    pub(crate) phones: SecurityLine,
    /// How often the record of a call that was up was brought up to date.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) interim_us: u64,
    /// Whether calls that were up were kept for a process after this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) recover_calls: bool,
    /// Of the certificate that the relay showed in DTLS, as descriptions have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    pub(crate) listeners: Vec<ListenerLine>,
    pub(crate) configurations: Vec<Configuration>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerLine {
    pub(crate) name: String,
    pub(crate) transport: String,
    pub(crate) bind: SocketAddr,
    pub(crate) advertise: String,
}

/// What was configured while the call was there; only the trunks that it had to do with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Configuration {
    pub(crate) generation: u32,
    pub(crate) trunks: Vec<TrunkLine>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrunkLine {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) sources: Vec<String>,
    pub(crate) peers: Vec<String>,
    pub(crate) listener: Option<String>,
    pub(crate) cancel_matching: Matching,
    pub(crate) refer: ReferLine,
    pub(crate) redirect: RedirectLine,
    #[serde(default, skip_serializing_if = "BodiesLine::is_strict")]
    pub(crate) bodies: BodiesLine,
    #[serde(default, skip_serializing_if = "FamilyLine::is_auto")]
    pub(crate) media_family: FamilyLine,
    #[serde(default, skip_serializing_if = "CodecsLine::is_any")]
    pub(crate) codecs: CodecsLine,
    #[serde(default, skip_serializing_if = "ProfileLine::is_pass")]
    pub(crate) rtp_profile: ProfileLine,
    #[serde(default, skip_serializing_if = "DtmfLine::is_pass")]
    pub(crate) dtmf: DtmfLine,
    #[serde(default, skip_serializing_if = "SecurityLine::is_none")]
    pub(crate) media_security: SecurityLine,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) record: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) methods: Option<Vec<String>>,
    /// Whether there were credentials for it; they are in no journal.
    pub(crate) authenticates: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) passes_challenges: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Matching {
    Strict,
    Lenient,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReferLine {
    Local,
    Pass,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RedirectLine {
    Follow,
    Pass,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BodiesLine {
    #[default]
    Strict,
    Pass,
}

impl BodiesLine {
    fn is_strict(&self) -> bool {
        *self == BodiesLine::Strict
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FamilyLine {
    #[default]
    Auto,
    Ipv4,
    Ipv6,
}

impl FamilyLine {
    fn is_auto(&self) -> bool {
        *self == FamilyLine::Auto
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CodecsLine {
    pub(crate) allow: Vec<String>,
    pub(crate) drop: Vec<String>,
    pub(crate) order: Vec<String>,
}

impl CodecsLine {
    fn is_any(&self) -> bool {
        *self == CodecsLine::default()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProfileLine {
    #[default]
    Pass,
    Avp,
    Avpf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DtmfLine {
    #[default]
    Pass,
    Rfc4733,
    Info,
}

impl DtmfLine {
    fn is_pass(&self) -> bool {
        *self == DtmfLine::Pass
    }
}

impl ProfileLine {
    fn is_pass(&self) -> bool {
        *self == ProfileLine::Pass
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecurityLine {
    #[default]
    None,
    Sdes,
    Dtls,
    Optional,
    Required,
}

impl SecurityLine {
    fn is_none(&self) -> bool {
        *self == SecurityLine::None
    }
}

impl From<MediaSecurity> for SecurityLine {
    fn from(security: MediaSecurity) -> SecurityLine {
        match security {
            MediaSecurity::None => SecurityLine::None,
            MediaSecurity::Sdes => SecurityLine::Sdes,
            MediaSecurity::Dtls => SecurityLine::Dtls,
            MediaSecurity::Optional => SecurityLine::Optional,
            MediaSecurity::Required => SecurityLine::Required,
        }
    }
}

impl From<SecurityLine> for MediaSecurity {
    fn from(line: SecurityLine) -> MediaSecurity {
        match line {
            SecurityLine::None => MediaSecurity::None,
            SecurityLine::Sdes => MediaSecurity::Sdes,
            SecurityLine::Dtls => MediaSecurity::Dtls,
            SecurityLine::Optional => MediaSecurity::Optional,
            SecurityLine::Required => MediaSecurity::Required,
        }
    }
}

/// One input, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// Counts the inputs of the shard that had the call.
    pub(crate) order: u64,
    /// Monotonic, from a moment before the start of the program.
    pub(crate) time_us: u64,
    /// Since 1970.
    pub(crate) utc_us: i64,
    pub(crate) generation: u32,
    pub(crate) draining: bool,
    pub(crate) last_query: u64,
    pub(crate) input: InputLine,
    /// What the input found outside of the call, in the order of asking: 16 hexadecimal digits for a number, `text:` or
    /// `hex:` and a text.
    pub(crate) found: Vec<String>,
    pub(crate) keys: KeysLine,
    pub(crate) outputs: Vec<OutputLine>,
    /// How the calls stood afterwards.
    pub(crate) calls: Vec<StateLine>,
    /// Whether the program that wrote this line could repeat what it had done.
    pub(crate) repeated: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysLine {
    pub(crate) calls: Vec<u64>,
    pub(crate) legs: Vec<u64>,
    pub(crate) clients: Vec<u64>,
    pub(crate) servers: Vec<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum InputLine {
    Message {
        from: FlowLine,
        message: Bytes,
    },
    Closed {
        connection: FlowLine,
        of: OwnerLine,
    },
    Undeliverable {
        token: u64,
    },
    Routed {
        query: u64,
        route: Option<String>,
        targets: Vec<TargetLine>,
        failover: Vec<u16>,
        parallel: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        record: bool,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        tags: BTreeMap<String, String>,
    },
    Refused {
        query: u64,
        status: u16,
        why: String,
        blocked: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        route: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phrase: Option<String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        tags: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trunk: Option<u16>,
    },
    Resolved {
        query: u64,
        servers: Vec<ServerLine>,
        note: Option<String>,
    },
    Opened {
        session: u64,
        address: IpAddr,
        /// Where there is one besides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address6: Option<Ipv6Addr>,
        ports: Vec<[u16; 4]>,
    },
    NoPorts {
        session: u64,
        why: String,
    },
    NotListening {
        session: u64,
        why: String,
    },
    RecordingEnded {
        session: u64,
        why: String,
    },
    NotRecording {
        session: u64,
        why: String,
    },
    Silent {
        session: u64,
        side: SideLine,
    },
    OneWay {
        session: u64,
        side: SideLine,
        deaf: String,
    },
    Digit {
        session: u64,
        side: SideLine,
        digit: char,
        millis: u32,
    },
    CountedSoFar {
        session: u64,
        from_a: CountersLine,
        from_b: CountersLine,
    },
    Counted {
        session: u64,
        from_a: CountersLine,
        from_b: CountersLine,
    },
    Timer {
        of: OwnerLine,
    },
    /// The call is one of the process before this one: what came before is in that one's journal.
    Restored {
        /// The call as it was kept, in hexadecimal digits.
        state: String,
        attempts: u32,
    },
    Operator {
        call: u64,
        order: OrderLine,
    },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowLine {
    pub(crate) listener: u16,
    pub(crate) remote: SocketAddr,
    pub(crate) connection: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum OwnerLine {
    Client(u64),
    Server(u64),
    Leg(u64),
    Call(u64),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerLine {
    pub(crate) address: SocketAddr,
    pub(crate) transport: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum TargetLine {
    Trunk { trunk: u16, peer: u64 },
    User { name: String },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SideLine {
    A,
    B,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountersLine {
    pub(crate) packets: u64,
    pub(crate) octets: u64,
    pub(crate) lost: u64,
    pub(crate) jitter_ms: f32,
    pub(crate) dropped: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) reordered: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) duplicates: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) speech_packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) speech_lost: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) round_trip_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_media_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) moves: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deaf: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) srtp: Option<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderLine {
    HangUp,
    EndAll,
    Abandon,
    Record,
    StopRecording,
}

/// Something that the Core wanted done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OutputLine {
    /// A message.
    Send {
        /// Over which listener.
        listener: u16,
        /// Where to.
        remote: SocketAddr,
        /// The connection; 0 for datagrams.
        connection: u64,
        /// Ties a failure to it.
        token: u64,
        /// The bytes.
        message: Bytes,
    },
    /// Everything else, as text: an order to the relay, a question, a record, an event.
    Note(String),
}

/// How a call stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateLine {
    pub(crate) id: String,
    pub(crate) state: String,
    /// `a invited`.
    pub(crate) legs: Vec<String>,
}

/// Bytes of a message: text where they are text, as they nearly always are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Hex {
        /// Two digits a byte.
        hex: String,
    },
}

impl Bytes {
    pub(crate) fn of(bytes: &[u8]) -> Bytes {
        match std::str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text.to_owned()),
            Err(_) => Bytes::Hex { hex: hex(bytes) },
        }
    }

    /// The bytes; `None` where the digits are none.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Bytes::Text(text) => Some(text.as_bytes().to_vec()),
            Bytes::Hex { hex } => unhex(hex),
        }
    }
}

impl From<Flow> for FlowLine {
    fn from(Flow { listener: ListenerId(listener), remote, connection }: Flow) -> FlowLine {
        FlowLine { listener, remote, connection }
    }
}

impl From<FlowLine> for Flow {
    fn from(FlowLine { listener, remote, connection }: FlowLine) -> Flow {
        Flow { listener: ListenerId(listener), remote, connection }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()).collect()
}
