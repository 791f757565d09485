//! What the trunks of both sides make of a description on its way: which codecs remain in it, in what order, and in which
//! profile it speaks of RTP.
//!
//! A trunk's rules hold for what comes from it and for what goes to it, so that what one side is offered and what the
//! other side is told of the answer come from one list. Payload types keep their numbers. Where the lists leave nothing but one
//! law of G.711 for the one side and the other law for the other, each is told of its own, and the relay turns one into the other.

use std::borrow::Cow;

use routing::{Codecs, Dtmf, RtpProfile, Snapshot, Trunk, TrunkId, is_companion};
use serde::{Deserialize, Serialize};
use sip::{Sdp, Selection, Stream};

use super::security::Privacy;
use super::session::TakenDigits;
use crate::media::Codec;

/// The trunks of who wrote a description and of who is to read it, where either changes anything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms<'a> {
    from: Option<&'a Trunk>,
    to: Option<&'a Trunk>,
    /// The box encrypts what is encrypted in the call, so that it can read all of it.
    is_read: bool,
}

/// What a side said last that the description for it must agree with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Which of its streams are in a profile with feedback.
    feedback: u16,
    /// Which streams it has described and not rejected.
    streams: u16,
    /// Where it takes key presses.
    pub(super) digits: Option<TakenDigits>,
    /// Which of the codecs that can be turned into each other its first audio stream names, by their places.
    codecs: u8,
    /// What it says of that stream's encryption.
    pub(super) privacy: Privacy,
}

/// What the writer of a description talks in, and what its reader is told of in place of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    pub(super) stream: u8,
    pub(super) from: Codec,
    pub(super) to: Codec,
}

impl Said {
    pub(crate) fn of(sdp: &Sdp<'_>) -> Said {
        let those = |is_one: fn(&Stream<'_>) -> bool| {
            let streams = sdp.streams().iter().take(16).enumerate();
            streams.fold(0, |all, (index, stream)| if is_one(stream) { all | 1 << index } else { all })
        };
        let feedback = those(|stream| is_rtp(stream) && stream.proto.ends_with(b"F"));
        let streams = those(|stream| !stream.is_rejected());
        let digits = audio(sdp).and_then(|(index, stream)| {
            let payload_type = digits_in(stream)?;
            Some(TakenDigits { stream: u8::try_from(index).ok()?, payload_type })
        });
        let named = audio(sdp).into_iter().flat_map(|(_, stream)| stream.payload_types());
        let codecs = named.filter_map(Codec::of).fold(0, |all, codec| all | 1 << codec as u8);
        Said { feedback, streams, digits, codecs, privacy: privacy(sdp) }
    }

    fn talks(&self, codec: Codec) -> bool {
        self.codecs >> codec as u8 & 1 != 0
    }

    /// Whether a stream that it has described is in a profile with feedback.
    fn feedback_of(&self, index: usize) -> Option<bool> {
        let has = |set: u16| set.checked_shr(index as u32).unwrap_or(0) & 1 != 0;
        has(self.streams).then(|| has(self.feedback))
    }
}

/// What becomes of the key presses in a description.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    AsTheyAre,
    Never,
    /// They are there, with this payload type or one that is free.
    Always(Option<u8>),
}

impl<'a> Terms<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot, from: Option<TrunkId>, to: Option<TrunkId>) -> Terms<'a> {
        if !snapshot.shapes_media() {
            return Terms::default();
        }
        let shaping = |id: Option<TrunkId>| snapshot.trunk(id?).filter(|trunk| trunk.shapes_media());
        Terms { from: shaping(from), to: shaping(to), is_read: false }
    }

    /// The rules of who wrote it alone.
    pub(crate) fn from(trunk: Option<&'a Trunk>) -> Terms<'a> {
        Terms { from: trunk.filter(|trunk| trunk.shapes_media()), ..Terms::default() }
    }

    /// The same in a call in which the box encrypts a side's media, or none's.
    pub(super) fn read(self, is_read: bool) -> Terms<'a> {
        Terms { is_read, ..self }
    }

    /// Whether the first audio stream cannot be read here: the two have its keys to themselves. `said`: what the reader of the
    /// description has said of it.
    fn is_private(&self, sdp: &Sdp<'_>, said: Option<Said>) -> bool {
        !self.is_read && privacy(sdp).is_private(said.map(|said| said.privacy).unwrap_or_default())
    }

    fn is_none(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// Whether an offer has streams, and none of them a codec that both trunks allow.
    pub(crate) fn refuse(&self, sdp: &Sdp<'_>) -> bool {
        if self.is_none() {
            return false;
        }
        let mut streams = sdp.streams().iter().filter(|stream| !stream.is_rejected()).peekable();
        streams.peek().is_some()
            && streams.all(|stream| is_rtp(stream) && self.payload_types(stream).is_empty())
            && self.translation(sdp, None).is_none()
    }

    /// What a description is told in place of what it says, where both sides would not understand each other else. `said`:
    /// what its reader has named, if it may be told of nothing besides.
    pub(crate) fn translation(&self, sdp: &Sdp<'_>, said: Option<Said>) -> Option<Translation> {
        if self.is_none() || self.is_private(sdp, said) {
            return None;
        }
        let (index, stream) = audio(sdp).filter(|(_, stream)| is_rtp(stream))?;
        let is_told = |codec: Codec| said.is_none_or(|said| said.talks(codec));
        let common = self.payload_types(stream);
        let mut talks = common.iter().filter(|payload_type| is_talk(stream, **payload_type));
        let from = match talks.next() {
            Some(first) => {
                let from = Codec::of(*first)?;
                let is_understood = |payload_type: &u8| Codec::of(*payload_type).is_some_and(is_told);
                if common.iter().any(is_understood) {
                    return None;
                }
                from
            }
            None => stream.payload_types().filter_map(Codec::of).find(|codec| allows(self.from, *codec))?,
        };
        let to = Codec::ALL.into_iter().find(|to| *to != from && allows(self.to, *to) && is_told(*to))?;
        Some(Translation { stream: u8::try_from(index).ok()?, from, to })
    }

    /// The description for the other side; `None` where it is as it came. `said`: what that side described itself, if it has.
    /// A stream without a common codec is rejected in an offer; in an answer it stays as it is, because that cannot be
    /// taken back.
    pub(crate) fn shape(
        &self,
        sdp: &Sdp<'_>,
        said: Option<Said>,
        is_offer: bool,
        translation: Option<Translation>,
    ) -> Option<Vec<u8>> {
        if self.is_none() {
            return None;
        }
        let digits = if self.is_private(sdp, said) { Digits::AsTheyAre } else { self.digits(said) };
        let first_audio = audio(sdp).map(|(index, _)| index);
        sdp.select(|index, stream| {
            if !is_rtp(stream) {
                return None;
            }
            let mut payload_types = self.payload_types(stream);
            let mut lines = Vec::new();
            if let Some(Translation { to, .. }) =
                translation.filter(|translation| usize::from(translation.stream) == index)
            {
                payload_types = self.taken(stream);
                payload_types.retain(|payload_type| !is_talk(stream, *payload_type));
                payload_types.insert(0, to.payload_type());
                if !stream.payload_types().any(|there| there == to.payload_type()) {
                    lines.push(format!("a=rtpmap:{} {}", to.payload_type(), to.rtpmap()));
                }
            } else if payload_types.is_empty() && !is_offer {
                payload_types = stream.payload_types().collect();
            }
            match digits {
                Digits::AsTheyAre => {}
                Digits::Never => payload_types.retain(|payload_type| !is_digits(stream, *payload_type)),
                Digits::Always(number) if first_audio == Some(index) && !payload_types.is_empty() => {
                    lines.extend(add_digits(stream, number, &mut payload_types));
                }
                Digits::Always(_) => {}
            }
            let proto = self.proto(stream, said.and_then(|said| said.feedback_of(index)));
            let without_feedback = proto.as_deref().unwrap_or(stream.proto).last() != Some(&b'F');
            let is_same = proto.is_none() && stream.payload_types().eq(payload_types.iter().copied());
            let proto = proto.map(|proto| String::from_utf8_lossy(&proto).into_owned());
            let without_feedback = without_feedback && proto.is_some();
            (!is_same).then_some(Selection { payload_types, proto, without_feedback, lines })
        })
    }

    /// Whether the writer's peers want in INFO what the reader's press.
    pub(crate) fn writer_wants_info(&self) -> bool {
        self.from.is_some_and(|trunk| trunk.dtmf == Dtmf::Info)
    }

    /// The other way round.
    pub(crate) fn reader_wants_info(&self) -> bool {
        self.to.is_some_and(|trunk| trunk.dtmf == Dtmf::Info)
    }

    fn digits(&self, said: Option<Said>) -> Digits {
        let of = |trunk: Option<&Trunk>| trunk.map_or(Dtmf::Pass, |trunk| trunk.dtmf);
        let (from, to) = (of(self.from), of(self.to));
        match (from, to, said) {
            (Dtmf::Pass, Dtmf::Pass, _) => Digits::AsTheyAre,
            (_, Dtmf::Info, _) => Digits::Never,
            (_, Dtmf::Rfc4733, None) | (Dtmf::Info, Dtmf::Pass, None) => Digits::Always(None),
            (Dtmf::Rfc4733, Dtmf::Pass, None) => Digits::AsTheyAre,
            // An answer has what was offered, and no more.
            (_, _, Some(Said { digits: None, .. })) => Digits::Never,
            (Dtmf::Info, _, Some(Said { digits: Some(digits), .. })) => {
                Digits::Always(Some(digits.payload_type))
            }
            (Dtmf::Pass | Dtmf::Rfc4733, _, Some(Said { digits: Some(_), .. })) => Digits::AsTheyAre,
        }
    }

    /// What remains of a stream's payload types; nothing, where no codec does.
    fn payload_types(&self, stream: &Stream<'_>) -> Vec<u8> {
        let taken = self.taken(stream);
        let is_any = |payload_type: &u8| is_talk(stream, *payload_type);
        if taken.iter().any(is_any) || self.takes_any() { taken } else { Vec::new() }
    }

    fn rules(&self) -> [Option<&Codecs>; 2] {
        [self.from, self.to].map(|trunk| trunk.map(|trunk| &trunk.codecs))
    }

    fn takes_any(&self) -> bool {
        self.rules().into_iter().flatten().all(Codecs::is_any)
    }

    /// What both trunks take of a stream, in their order.
    fn taken(&self, stream: &Stream<'_>) -> Vec<u8> {
        let any = Codecs::default();
        let rules = self.rules().map(|rules| rules.unwrap_or(&any));
        if self.takes_any() {
            return stream.payload_types().collect();
        }
        let name = |payload_type: u8| codec_of(stream, payload_type);
        let is_taken = |payload_type: u8| rules.iter().all(|rules| rules.takes(&name(payload_type)));
        let mut kept: Vec<u8> = stream
            .payload_types()
            .filter(|payload_type| match repaired_by(stream, *payload_type) {
                // A retransmission format is of use with the codec that it repeats (RFC 4588 §8.1).
                Some(repaired) => is_taken(repaired) && stream.payload_types().any(|other| other == repaired),
                None => is_taken(*payload_type),
            })
            .collect();
        // Stable, so that where the reader's order says nothing the writer's holds, and else the peer's own.
        for rules in rules {
            kept.sort_by_key(|payload_type| rules.rank(&name(*payload_type)));
        }
        kept
    }

    /// The protocol, if it must be another: an answer is in the profile of its offer (RFC 4585 §4.1).
    fn proto(&self, stream: &Stream<'_>, said: Option<bool>) -> Option<Vec<u8>> {
        let has_feedback = stream.proto.last() == Some(&b'F');
        let wanted = said.unwrap_or(match self.to.map(|trunk| trunk.rtp_profile) {
            Some(RtpProfile::Avp) => false,
            Some(RtpProfile::Avpf) => true,
            Some(RtpProfile::Pass) | None => has_feedback,
        });
        match (has_feedback, wanted) {
            (true, false) => stream.proto.split_last().map(|(_, proto)| proto.to_vec()),
            (false, true) => Some([stream.proto, b"F"].concat()),
            (true, true) | (false, false) => None,
        }
    }
}

/// Whether it is a codec to talk in, and no companion of one.
fn is_talk(stream: &Stream<'_>, payload_type: u8) -> bool {
    !is_companion(&codec_of(stream, payload_type)) && repaired_by(stream, payload_type).is_none()
}

fn allows(trunk: Option<&Trunk>, codec: Codec) -> bool {
    trunk.is_none_or(|trunk| trunk.codecs.takes(codec.rtpmap().as_bytes()))
}

/// The first audio stream that is in use.
fn audio<'s, 'a>(sdp: &'s Sdp<'a>) -> Option<(usize, &'s Stream<'a>)> {
    let mut streams = sdp.streams().iter().enumerate();
    streams.find(|(_, stream)| stream.kind.eq_ignore_ascii_case(b"audio") && !stream.is_rejected())
}

fn privacy(sdp: &Sdp<'_>) -> Privacy {
    audio(sdp).map_or(Privacy::None, |(index, _)| Privacy::of(sdp, index))
}

/// The payload type of key presses, of the clock that the relay plays them by.
fn digits_in(stream: &Stream<'_>) -> Option<u8> {
    let is_ours = |payload_type: &u8| {
        stream.rtpmap(*payload_type).is_some_and(|name| name.eq_ignore_ascii_case(b"telephone-event/8000"))
    };
    stream.payload_types().find(is_ours)
}

fn is_digits(stream: &Stream<'_>, payload_type: u8) -> bool {
    let name = stream.rtpmap(payload_type).unwrap_or_default();
    name.get(..16).is_some_and(|name| name.eq_ignore_ascii_case(b"telephone-event/"))
}

/// Adds key presses where there are none; the lines that say what they are.
fn add_digits(stream: &Stream<'_>, number: Option<u8>, payload_types: &mut Vec<u8>) -> Vec<String> {
    if digits_in(stream).is_some_and(|there| payload_types.contains(&there)) {
        return Vec::new();
    }
    let is_free = |number: &u8| !stream.payload_types().any(|taken| taken == *number);
    // 101 is what most of the field uses.
    let free = number.into_iter().chain(std::iter::once(101)).chain(96..=127).find(is_free);
    let Some(number) = free else { return Vec::new() };
    payload_types.push(number);
    vec![format!("a=rtpmap:{number} telephone-event/8000"), format!("a=fmtp:{number} 0-15")]
}

/// `RTP/AVP` and its kin: `RTP/SAVPF`, `UDP/TLS/RTP/SAVP`.
fn is_rtp(stream: &Stream<'_>) -> bool {
    [&b"AVP"[..], b"AVPF"].iter().any(|profile| stream.proto.ends_with(profile))
}

/// The name of a payload type; its number where it has none.
fn codec_of<'a>(stream: &Stream<'a>, payload_type: u8) -> Cow<'a, [u8]> {
    stream
        .rtpmap(payload_type)
        .map_or_else(|| Cow::Owned(payload_type.to_string().into_bytes()), Cow::Borrowed)
}

/// The payload type that this one retransmits.
fn repaired_by(stream: &Stream<'_>, payload_type: u8) -> Option<u8> {
    let name = stream.rtpmap(payload_type)?;
    if !name.get(..4)?.eq_ignore_ascii_case(b"rtx/") {
        return None;
    }
    let parameters = stream.fmtp(payload_type)?;
    let apt =
        parameters.split(|byte| *byte == b';').find_map(|one| one.trim_ascii().strip_prefix(b"apt="))?;
    std::str::from_utf8(apt).ok()?.trim().parse().ok()
}
