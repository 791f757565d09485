//! How a trunk's media is treated: which codecs it may use, in what order, in which profile they are spoken of, and how key
//! presses are sent.

use crate::trunk::Trunk;

/// Which codecs descriptions to and from a trunk may name, and in what order. A codec is named as in `a=rtpmap`, without
/// regard to case: `PCMU`, `opus`, or with its clock rate, `L16/44100`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codecs {
    /// These and no others; empty: any. Key presses (`telephone-event`) and comfort noise (`CN`) are no codecs and stay.
    pub allow: Vec<String>,
    /// None of these, key presses and comfort noise included.
    pub drop: Vec<String>,
    /// These first, in this order; the others follow in theirs.
    pub order: Vec<String>,
}

impl Codecs {
    /// Whether it changes anything.
    pub fn is_any(&self) -> bool {
        self.allow.is_empty() && self.drop.is_empty() && self.order.is_empty()
    }

    /// Whether this codec may be used; `rtpmap` as descriptions have it, like `opus/48000/2`.
    pub fn takes(&self, rtpmap: &[u8]) -> bool {
        let is_among = |list: &[String]| list.iter().any(|name| names(name, rtpmap));
        !is_among(&self.drop) && (self.allow.is_empty() || is_companion(rtpmap) || is_among(&self.allow))
    }

    /// Its place in the order; who has none comes after those that have one.
    pub fn rank(&self, rtpmap: &[u8]) -> usize {
        self.order.iter().position(|name| names(name, rtpmap)).unwrap_or(self.order.len())
    }
}

/// What goes along with a codec and is nothing to talk in.
pub fn is_companion(rtpmap: &[u8]) -> bool {
    names("telephone-event", rtpmap) || names("CN", rtpmap)
}

/// Whether a codec has this name, with its rate or without.
fn names(name: &str, rtpmap: &[u8]) -> bool {
    let (head, rest) = rtpmap.split_at(name.len().min(rtpmap.len()));
    head.eq_ignore_ascii_case(name.as_bytes()) && matches!(rest, [] | [b'/', ..])
}

/// In which profile a trunk's peers are spoken to of RTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtpProfile {
    /// That of the other side.
    #[default]
    Pass,
    /// Without early feedback (`RTP/AVP`, RFC 3551): `a=rtcp-fb` is left out.
    Avp,
    /// With early feedback (`RTP/AVPF`, RFC 4585).
    Avpf,
}

/// How a trunk's peers send key presses, and want them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtmf {
    /// As the other side does: nothing is changed.
    #[default]
    Pass,
    /// As RTP (RFC 4733), also where the other side sends INFO.
    Rfc4733,
    /// In INFO: they are told of no `telephone-event`.
    Info,
}

/// Whether an INFO with a digit that comes from the first of these is played to the second.
pub fn plays_digits(from: Option<&Trunk>, to: Option<&Trunk>) -> bool {
    let of = |trunk: Option<&Trunk>| trunk.map_or(Dtmf::Pass, |trunk| trunk.dtmf);
    match (of(from), of(to)) {
        (_, Dtmf::Info) | (Dtmf::Pass | Dtmf::Rfc4733, Dtmf::Pass) => false,
        (_, Dtmf::Rfc4733) | (Dtmf::Info, Dtmf::Pass) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_codec_is_known_by_its_name_with_its_rate_or_without() {
        let codecs = Codecs { allow: list(&["pcma", "L16/44100"]), ..Codecs::default() };
        assert!(codecs.takes(b"PCMA/8000") && codecs.takes(b"PCMA") && codecs.takes(b"L16/44100/2"));
        assert!(!codecs.takes(b"PCMAX/8000") && !codecs.takes(b"PCM") && !codecs.takes(b"L16/8000"));
    }

    #[test]
    fn key_presses_and_comfort_noise_stay_unless_they_are_dropped_by_name() {
        let allow = Codecs { allow: list(&["PCMA"]), ..Codecs::default() };
        assert!(allow.takes(b"telephone-event/8000") && allow.takes(b"CN/8000"));
        let drop = Codecs { drop: list(&["CN"]), ..allow };
        assert!(drop.takes(b"telephone-event/8000") && !drop.takes(b"CN/8000"));
    }

    #[test]
    fn who_has_no_place_in_the_order_comes_last() {
        let codecs = Codecs { order: list(&["G722", "PCMA"]), ..Codecs::default() };
        assert_eq!(
            [&b"PCMA/8000"[..], b"opus/48000/2", b"G722/8000"].map(|name| codecs.rank(name)),
            [1, 2, 0]
        );
    }
}
