//! The seam between calls and media: orders to a relay, and its reports.
//!
//! These small types are all that the Core knows of media. A relay may live in the same process, in the kernel or on
//! another host: the Core only sends [`MediaOrder`]s and reads [`MediaReport`]s. A session belongs to one call and has
//! one stream for each m= line; a stream has two [`Side`]s, each with a pair of local ports (RTP, RTCP).

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use sip::{Fingerprint, MasterKey, SrtpSuite, Time};
use smallvec::SmallVec;

use crate::family::{Addresses, Family};

/// A call's media in the relay. Unique over the life of the process and over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaId(pub u64);

/// Which leg of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards the caller.
    A,
    /// Towards the callee.
    B,
}

impl Side {
    /// The other leg.
    pub fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

/// An order to the relay. Orders of one session are carried out in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MediaOrder {
    /// Reserve ports for `streams` streams. Answered by [`MediaReport::Opened`] or [`MediaReport::Refused`]. Sent again
    /// for a session that is open (a re-INVITE added an m= line) it adds streams up to this number and is answered with
    /// all of them.
    Open {
        /// The session.
        session: MediaId,
        /// How many m= lines the description has.
        streams: u8,
        /// In which families A and B are likely to be told of them, [`Family::V4`] where nothing speaks for the other.
        families: [Family; 2],
    },
    /// Take these very ports, all of them or none: the session had them in the process before this one, and both sides
    /// send to them still. Answered as [`MediaOrder::Open`] is.
    Reopen {
        /// The session, which is not open.
        session: MediaId,
        /// In the order of the m= lines.
        ports: SmallVec<[StreamPorts; 1]>,
        /// In which families A and B were told of them.
        families: [Family; 2],
    },
    /// A side is told of its ports at the relay's address of this family as well, or describes itself in it: have them
    /// there too. Answered only where that cannot be, by [`MediaReport::NotListening`].
    Listen {
        /// The session.
        session: MediaId,
        /// Whose ports.
        side: Side,
        /// At which address.
        family: Family,
    },
    /// What a side's newest description says of one stream. The relay sends to that side from now on to this address
    /// (or where latching moved it), and takes packets from it as the source filter allows.
    Describe {
        /// The session.
        session: MediaId,
        /// Which m= line, from 0.
        stream: u8,
        /// Whose description.
        side: Side,
        /// What it says; `None`: the stream is rejected or not known any more, nothing is relayed to this side.
        remote: Option<RemoteStream>,
        /// How the packets of this side are protected; `None`: they are not.
        protection: Option<Box<Protection>>,
    },
    /// The call was answered (or is held no more): report a side that should send and does not.
    Watch {
        /// The session.
        session: MediaId,
        /// Whether silence is reported from now on.
        on: bool,
    },
    /// Packets of this payload type that a side sends are key presses (RFC 4733): they are not relayed, each press is
    /// reported by [`MediaReport::Digit`]. `None`: none are.
    TakeDigits {
        /// The session.
        session: MediaId,
        /// Which m= line, from 0.
        stream: u8,
        /// Who presses keys.
        side: Side,
        /// Of `telephone-event`.
        payload_type: Option<u8>,
    },
    /// Send a side a key press in place of what comes from the other side meanwhile (RFC 4733). Digits wait for each other.
    PlayDigit {
        /// The session.
        session: MediaId,
        /// Which m= line, from 0.
        stream: u8,
        /// Who is sent it.
        side: Side,
        /// Of `telephone-event` with that side.
        payload_type: u8,
        /// Which, and for how long.
        digit: Digit,
        /// Where the packets begin to count if the side was sent nothing yet.
        seed: u64,
    },
    /// Turn the payloads of one codec into another: what A talks in, and B. `None`: they pass as they are, as packets of every
    /// other payload type do.
    Transcode {
        /// The session.
        session: MediaId,
        /// Which m= line, from 0.
        stream: u8,
        /// Of A and of B.
        codecs: Option<[Codec; 2]>,
    },
    /// Record a stream from now on into a file of this name, where the relay is set up for it; `None`: no more. With the
    /// session it ends in any case.
    Record {
        /// The session.
        session: MediaId,
        /// Which m= line, from 0.
        stream: u8,
        /// Of the file.
        name: Option<Box<str>>,
    },
    /// Say what has come so far. Answered by [`MediaReport::Counted`].
    Count {
        /// The session.
        session: MediaId,
    },
    /// Give everything back. Answered by [`MediaReport::Closed`]; nothing is relayed afterwards.
    Close {
        /// The session.
        session: MediaId,
    },
}

/// Where a side wants its packets, and what it will send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteStream {
    /// RTP, as the description says; unspecified (`0.0.0.0`) for old-style hold: nothing is sent.
    pub rtp: SocketAddr,
    /// RTCP.
    pub rtcp: SocketAddr,
    /// Where this side's signalling comes from: besides the address described, the only one that latching may take. An
    /// address of "this network" where it is another call of this box.
    pub signalling: IpAddr,
    /// Whether this side said that it sends (sendrecv, sendonly).
    pub sends: bool,
    /// Whether this side said that it receives (sendrecv, recvonly).
    pub receives: bool,
    /// Whether the transport of its m= line is RTP: then nothing else is relayed.
    pub is_rtp: bool,
    /// Whether its m= line is of audio: how the first such stream sounded is counted apart.
    pub is_audio: bool,
}

impl RemoteStream {
    /// Whether this side is another call of this box, and what it describes are ports of this relay.
    pub fn is_inside(&self) -> bool {
        match self.signalling {
            IpAddr::V4(ip) => matches!(ip.octets(), [0, 0, _, _]),
            IpAddr::V6(_) => false,
        }
    }
}

/// What the relay can turn into each other. Those of G.711 have payload types of their own (RFC 3551 §6) and payloads of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// G.711, mu-law.
    Pcmu,
    /// G.711, A-law.
    Pcma,
}

impl Codec {
    /// All of them.
    pub const ALL: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

    /// The one of this payload type.
    pub fn of(payload_type: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.payload_type() == payload_type)
    }

    /// Its payload type.
    pub fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// As `a=rtpmap` has it.
    pub fn rtpmap(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU/8000",
            Codec::Pcma => "PCMA/8000",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }
}

/// How what a side sends and what it is sent is protected, and how its address is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Protection {
    /// With which keys.
    pub keying: Keying,
    /// The side checks the path to the relay (RFC 8445); where its checks come from, packets go.
    pub ice: Option<IceTerms>,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Keying {
    /// There are none: packets are plain.
    Plain,
    /// The descriptions had them (RFC 4568).
    Sdes(SrtpKeys),
    /// A handshake on the media port makes them (RFC 5764). Nothing flows before.
    Dtls(DtlsTerms),
}

/// What a handshake must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DtlsTerms {
    /// Of the certificate that the side must show.
    pub fingerprint: Fingerprint,
    /// The relay begins it, not the side.
    pub active: bool,
}

/// What the side's checks must say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IceTerms {
    /// USERNAME: the relay's fragment and the side's.
    pub user: Box<str>,
    /// The relay's password, which checks and answers are authenticated with.
    pub password: Box<str>,
    /// The side makes none itself, as the relay does (RFC 8445 §2.5): packets go where its description says.
    pub is_lite: bool,
}

/// The master keys of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// How, in both directions.
    pub suite: SrtpSuite,
    /// Of what the side sends.
    pub inbound: MasterKey,
    /// Of what it is sent.
    pub outbound: MasterKey,
}

impl Hash for SrtpKeys {
    /// Prints of orders are kept in journals, which no key may be found in.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.suite.hash(state);
    }
}

/// News of the relay.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaReport {
    /// Ports are reserved.
    Opened {
        /// The session.
        session: MediaId,
        /// The addresses that descriptions shall name; each has the ports of the streams.
        addresses: Addresses,
        /// In the order of the m= lines.
        streams: SmallVec<[StreamPorts; 1]>,
    },
    /// No ports: nothing was reserved (an open session stays as it was).
    Refused {
        /// The session.
        session: MediaId,
        /// Why, for the log.
        why: Cow<'static, str>,
    },
    /// The ports of a side cannot be had in a family ([`MediaOrder::Listen`]); where they were before they still are.
    NotListening {
        /// The session.
        session: MediaId,
        /// Why, for the log.
        why: Cow<'static, str>,
    },
    /// A side that should send has sent nothing for the configured time. Reported once until it is heard again.
    Silent {
        /// The session.
        session: MediaId,
        /// Which side.
        side: Side,
    },
    /// The call was answered some time ago, and nothing at all has come from a side that should send. Reported once.
    OneWay {
        /// The session.
        session: MediaId,
        /// Which side was not heard.
        side: Side,
        /// Why, as far as can be seen from here.
        deaf: Deaf,
    },
    /// A side pressed a key ([`MediaOrder::TakeDigits`]).
    Digit {
        /// The session.
        session: MediaId,
        /// Who.
        side: Side,
        /// Which, and for how long.
        digit: Digit,
    },
    /// A recording ended by itself ([`MediaOrder::Record`]): it came to a limit, or the disk refused it.
    RecordingEnded {
        /// The session.
        session: MediaId,
        /// Why, for the log.
        why: Cow<'static, str>,
    },
    /// The recording that was ordered last could not begin: there is no room, or the disk refuses it. There is no file.
    NotRecording {
        /// The session.
        session: MediaId,
        /// Why, for the log.
        why: Cow<'static, str>,
    },
    /// Answer to [`MediaOrder::Count`].
    Counted {
        /// The session.
        session: MediaId,
        /// What has come from A.
        from_a: DirectionStats,
        /// What has come from B.
        from_b: DirectionStats,
    },
    /// Answer to [`MediaOrder::Close`].
    Closed {
        /// The session.
        session: MediaId,
        /// What came from A.
        from_a: DirectionStats,
        /// What came from B.
        from_b: DirectionStats,
    },
}

/// The local ports of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamPorts {
    /// Towards the caller.
    pub a: PortPair,
    /// Towards the callee.
    pub b: PortPair,
}

impl StreamPorts {
    /// The pair of one side.
    pub fn side(&self, side: Side) -> PortPair {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }
}

/// An RTP port and its RTCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortPair {
    /// Even (RFC 3550 §11).
    pub rtp: u16,
    /// `rtp + 1`.
    pub rtcp: u16,
}

/// Counters of what one side sent, over all streams. What does not add up over processes is not kept for the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectionStats {
    /// RTP packets relayed.
    pub packets: u64,
    /// RTP payload octets relayed (without RTP headers).
    pub octets: u64,
    /// Packets that never came (RFC 3550 §A.3), never negative.
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 §A.8) in milliseconds, of the first stream of audio where there is one.
    pub jitter_ms: f32,
    /// Packets dropped by the source filter or a rate limit, as no RTP, or before an address was known.
    pub dropped: u64,
    /// Packets that came behind a later one.
    pub reordered: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// What an estimate of quality is made of, where there was audio.
    pub speech: Option<Speech>,
    /// The round trip between the relay and this side, from the last report in which it said so (RFC 3550 §6.4.1), of the same
    /// stream where that said so.
    #[serde(skip)]
    pub round_trip_ms: Option<u32>,
    /// From the answer to the first packet; 0 where media was there before.
    pub first_media_ms: Option<u32>,
    /// How often packets were taken from another address than before.
    pub moves: u32,
    /// Why nothing was heard, where something ought to have been.
    #[serde(skip)]
    pub deaf: Option<Deaf>,
    /// How packets from and to this side were encrypted in the end, of the first stream that was; `None`: they were plain, or
    /// the two ends encrypted past the box.
    #[serde(skip)]
    pub srtp: Option<SrtpUse>,
}

/// What came over the first stream of audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Speech {
    /// RTP packets relayed.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
}

impl DirectionStats {
    /// Adds what came over another stream, behind this one. Jitters and round trips do not add up: those of audio count, or the
    /// worst.
    pub fn add(&mut self, other: &DirectionStats) {
        self.packets += other.packets;
        self.octets += other.octets;
        self.lost += other.lost;
        (self.jitter_ms, self.round_trip_ms) = match (self.speech, other.speech) {
            (Some(_), _) => (self.jitter_ms, self.round_trip_ms.or(other.round_trip_ms)),
            (None, Some(_)) => (other.jitter_ms, other.round_trip_ms.or(self.round_trip_ms)),
            (None, None) => {
                (self.jitter_ms.max(other.jitter_ms), self.round_trip_ms.max(other.round_trip_ms))
            }
        };
        self.speech = self.speech.or(other.speech);
        self.dropped += other.dropped;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.first_media_ms = match (self.first_media_ms, other.first_media_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.moves += other.moves;
        self.deaf = self.deaf.or(other.deaf);
        self.srtp = self.srtp.or(other.srtp);
    }

    /// All that came, where this came after something else in the process before this one. Of both jitters the worse counts.
    #[must_use]
    pub fn with_earlier(&self, earlier: &DirectionStats) -> DirectionStats {
        let mut all = *self;
        all.add(earlier);
        all.jitter_ms = self.jitter_ms.max(earlier.jitter_ms);
        if let (Some(speech), Some(earlier)) =
            (&mut all.speech, earlier.speech.filter(|_| self.speech.is_some()))
        {
            speech.packets += earlier.packets;
            speech.lost += earlier.lost;
        }
        all
    }

    /// What came after this had come. Jitter, round trip and keys are those of the end.
    #[must_use]
    pub fn since(&self, earlier: &DirectionStats) -> DirectionStats {
        DirectionStats {
            packets: self.packets.saturating_sub(earlier.packets),
            octets: self.octets.saturating_sub(earlier.octets),
            lost: self.lost.saturating_sub(earlier.lost),
            dropped: self.dropped.saturating_sub(earlier.dropped),
            reordered: self.reordered.saturating_sub(earlier.reordered),
            duplicates: self.duplicates.saturating_sub(earlier.duplicates),
            speech: self.speech.map(|speech| {
                let earlier = earlier.speech.unwrap_or_default();
                Speech {
                    packets: speech.packets.saturating_sub(earlier.packets),
                    lost: speech.lost.saturating_sub(earlier.lost),
                }
            }),
            moves: self.moves.saturating_sub(earlier.moves),
            first_media_ms: self.first_media_ms.filter(|_| earlier.first_media_ms.is_none()),
            ..*self
        }
    }
}

/// With which keys a side was spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SrtpUse {
    /// Where they came from.
    pub source: KeySource,
    /// What was done with them.
    pub suite: SrtpSuite,
}

/// How two ends come to have keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// Descriptions had them (RFC 4568).
    Sdes,
    /// A handshake (RFC 5764).
    Dtls,
}

impl SrtpUse {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<SrtpUse> {
        let (source, suite) = text.split_once(' ')?;
        let source = match source {
            "sdes" => KeySource::Sdes,
            "dtls" => KeySource::Dtls,
            _ => return None,
        };
        Some(SrtpUse { source, suite: SrtpSuite::parse(suite.as_bytes())? })
    }
}

impl fmt::Display for SrtpUse {
    /// `sdes` or `dtls`, and the suite as descriptions name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            KeySource::Sdes => "sdes",
            KeySource::Dtls => "dtls",
        };
        write!(f, "{source} {}", self.suite.name())
    }
}

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digit {
    /// The event of RFC 4733 §3.2: 0 to 9, `*`, `#`, A to D, flash; at most 16.
    pub event: u8,
    /// How long.
    pub millis: u32,
}

impl Digit {
    const SYMBOLS: [char; 17] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D', '!'];
    /// A key is not down for longer.
    const MOST_MILLIS: u32 = 8_000;

    /// `None` where the event is no key.
    pub fn new(event: u8, millis: u32) -> Option<Digit> {
        let is_key = usize::from(event) < Digit::SYMBOLS.len();
        is_key.then_some(Digit { event, millis: millis.min(Digit::MOST_MILLIS) })
    }

    /// Of what is written for it: `5`, `#`, `B`, or the number of the event where that has two digits.
    pub fn of_symbol(symbol: &str, millis: u32) -> Option<Digit> {
        let mut symbols = symbol.chars();
        let event = match (symbols.next()?.to_ascii_uppercase(), symbols.next()) {
            (symbol, None) => Digit::SYMBOLS.iter().position(|known| *known == symbol)?,
            (_, Some(_)) => symbol.parse().ok()?,
        };
        Digit::new(u8::try_from(event).ok()?, millis)
    }

    /// What is written for it.
    pub fn symbol(self) -> char {
        Digit::SYMBOLS.get(usize::from(self.event)).copied().unwrap_or('!')
    }
}

/// Why nothing is heard of a side that should send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deaf {
    /// Nothing came, and the address described is one that is not routed (RFC 1918, RFC 6598, RFC 4193, link-local): the side does not
    /// know how it is seen from here, and perhaps cannot reach the relay either.
    PrivateAddress(IpAddr),
    /// Packets came, from an address that neither the description nor the signalling names; this was the last.
    WrongSource(SocketAddr),
    /// Packets came from where the side may send, and none of them was RTP, which alone shows where it is.
    NoLatch(SocketAddr),
    /// The side showed another certificate in DTLS than its description names (RFC 5763 §5): it is not who was called.
    WrongCertificate,
    /// The handshake of DTLS that keys were to come of was never over.
    NoHandshake,
    /// Packets came from where the side may send, and nobody who has its key wrote them.
    WrongKey(SocketAddr),
    /// Nothing came.
    Nothing,
}

impl Deaf {
    /// For counters and records.
    pub fn word(self) -> &'static str {
        match self {
            Deaf::PrivateAddress(_) => "private_address",
            Deaf::WrongSource(_) => "wrong_source",
            Deaf::NoLatch(_) => "no_latch",
            Deaf::WrongCertificate => "wrong_certificate",
            Deaf::NoHandshake => "no_handshake",
            Deaf::WrongKey(_) => "wrong_key",
            Deaf::Nothing => "nothing_received",
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Deaf> {
        let (word, address) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "private_address" => Deaf::PrivateAddress(address.parse().ok()?),
            "wrong_source" => Deaf::WrongSource(address.parse().ok()?),
            "no_latch" => Deaf::NoLatch(address.parse().ok()?),
            "wrong_certificate" => Deaf::WrongCertificate,
            "no_handshake" => Deaf::NoHandshake,
            "wrong_key" => Deaf::WrongKey(address.parse().ok()?),
            "nothing_received" => Deaf::Nothing,
            _ => return None,
        })
    }
}

impl fmt::Display for Deaf {
    /// The word, and the address if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deaf::PrivateAddress(ip) => write!(f, "{} {ip}", self.word()),
            Deaf::WrongSource(source) | Deaf::NoLatch(source) | Deaf::WrongKey(source) => {
                write!(f, "{} {source}", self.word())
            }
            Deaf::WrongCertificate | Deaf::NoHandshake | Deaf::Nothing => f.write_str(self.word()),
        }
    }
}

impl Hash for DirectionStats {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let DirectionStats {
            packets,
            octets,
            lost,
            jitter_ms,
            dropped,
            reordered,
            duplicates,
            speech,
            round_trip_ms,
            first_media_ms,
            moves,
            deaf,
            srtp,
        } = self;
        (packets, octets, lost, jitter_ms.to_bits(), dropped).hash(state);
        (reordered, duplicates, speech, round_trip_ms, first_media_ms, moves, deaf, srtp).hash(state);
    }
}

/// A relay as a shard sees it. One handle per shard; calls return at once.
pub trait Engine {
    /// Carries out one order; what can be said at once (`Opened`, `Refused`, `Closed`) is pushed to `reports`.
    fn order(&mut self, order: MediaOrder, now: Time, reports: &mut Vec<MediaReport>);

    /// Collects what happened since (silence). Call it when the shard wakes up, at the latest every second.
    fn poll(&mut self, now: Time, reports: &mut Vec<MediaReport>);

    /// Every session of the process before this one has been ordered that goes on ([`MediaOrder::Reopen`] and its descriptions):
    /// whatever else a relay has kept of it ends.
    fn restored(&mut self) {}

    /// How many ports are in use by sessions of this handle.
    fn ports_in_use(&self) -> usize;
}
