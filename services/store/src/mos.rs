//! An estimate of how speech sounded, from what the relay counted: the E-model of ITU-T G.107 with everything that the relay
//! cannot know at its default, the delay at none. So it is what loss alone made of it, and never too low.

use call::DirectionStats;

/// What a codec costs without loss and how it bears it (ITU-T G.113, appendix I): Ie and Bpl.
const CODECS: [(&str, f32, f32); 6] = [
    // With the concealment of G.711 appendix I, which phones have.
    ("PCMU", 0.0, 25.1),
    ("PCMA", 0.0, 25.1),
    ("G729", 11.0, 19.0),
    ("G723", 15.0, 16.1),
    ("GSM", 20.0, 43.0),
    ("iLBC", 11.0, 32.0),
];

/// The mean opinion score, from 1 to 4.4; `None` where nothing was heard or the codec is not one that the tables have.
pub(crate) fn estimate(codec: &Option<Box<str>>, heard: &DirectionStats) -> Option<f32> {
    let codec = codec.as_deref()?;
    let (_, impairment, robustness) =
        CODECS.into_iter().find(|(name, ..)| name.eq_ignore_ascii_case(codec))?;
    if heard.packets == 0 {
        return None;
    }
    let (heard, lost) = (heard.packets as f32, heard.lost as f32);
    let loss = lost * 100.0 / (heard + lost);
    let effective = impairment + (95.0 - impairment) * loss / (loss + robustness);
    let r = (93.2 - effective).clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    Some((mos.max(1.0) * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mos(codec: &str, packets: u64, lost: u64) -> Option<f32> {
        estimate(&Some(codec.into()), &DirectionStats { packets, lost, ..DirectionStats::default() })
    }

    #[test]
    fn loss_costs_what_the_codec_cannot_conceal() {
        assert_eq!(mos("PCMU", 1000, 0), Some(4.41));
        assert_eq!(mos("G729", 1000, 0), Some(4.1));
        let lossy = mos("pcma", 950, 50);
        assert!(lossy > Some(3.5) && lossy < Some(4.1), "{lossy:?}");
        assert!(mos("PCMU", 1, 1_000_000) < Some(1.2));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        assert_eq!(mos("opus", 1000, 0), None);
        assert_eq!(mos("PCMU", 0, 0), None);
        assert_eq!(estimate(&None, &DirectionStats { packets: 1, ..DirectionStats::default() }), None);
    }
}
