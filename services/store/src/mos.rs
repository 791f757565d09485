//! An estimate of how speech sounded, from what the relay counted: the E-model of ITU-T G.107 with everything that the relay
//! cannot know at its default.
//!
//! `R = Ro − Is − Id − Ie,eff + A` (G.107 §7.1), where `Ro − Is` is 93.2 with all parameters at their defaults and `A` is 0.
//! `Ie,eff = Ie + (95 − Ie) · Ppl / (Ppl / BurstR + Bpl)` (§7.5), loss taken as random (`BurstR` = 1). `Id` is what delay costs
//! without echo (§7.4): `0.024 · d + 0.11 · (d − 177.3)` of what is beyond 177.3 ms, the usual fit to its curve; `d` is
//! half of both round trips and twice the jitter, which a phone keeps for its buffer. Without RTCP the way counts as none,
//! so that the score is never too low. MOS of R is Annex B.

use call::{DirectionStats, Speech};

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
pub(crate) fn estimate(
    codec: &Option<Box<str>>,
    heard: &DirectionStats,
    other_way: &DirectionStats,
) -> Option<f32> {
    let codec = codec.as_deref()?;
    let (_, impairment, robustness) =
        CODECS.into_iter().find(|(name, ..)| name.eq_ignore_ascii_case(codec))?;
    // Other streams have other codecs. Rows of a process that died do not say what came over which.
    let Speech { packets, lost } =
        heard.speech.unwrap_or(Speech { packets: heard.packets, lost: heard.lost });
    if packets == 0 {
        return None;
    }
    let way = |stats: &DirectionStats| stats.round_trip_ms.unwrap_or(0) as f32 / 2.0;
    let delay = way(heard) + way(other_way) + 2.0 * heard.jitter_ms.max(0.0);
    let delayed = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let (came, lost) = (packets as f32, lost as f32);
    let loss = lost * 100.0 / (came + lost);
    let effective = impairment + (95.0 - impairment) * loss / (loss + robustness);
    let r = (93.2 - delayed - effective).clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    Some((mos.max(1.0) * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mos(codec: &str, packets: u64, lost: u64) -> Option<f32> {
        let heard = DirectionStats { packets, lost, ..DirectionStats::default() };
        estimate(&Some(codec.into()), &heard, &DirectionStats::default())
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
    fn what_a_picture_lost_does_not_count() {
        let speech = Some(Speech { packets: 1000, lost: 0 });
        let heard = DirectionStats { packets: 9000, lost: 3000, speech, ..DirectionStats::default() };
        let none = DirectionStats::default();
        assert_eq!(estimate(&Some("PCMU".into()), &heard, &none), Some(4.41));
        let unheard = DirectionStats { speech: Some(Speech::default()), ..heard };
        assert_eq!(estimate(&Some("PCMU".into()), &unheard, &none), None);
    }

    #[test]
    fn delay_costs_little_up_to_177_ms_and_much_beyond() {
        let mos = |round_trip: u32, jitter_ms: f32| {
            let round_trip_ms = Some(round_trip);
            let heard = DirectionStats { packets: 9, round_trip_ms, jitter_ms, ..DirectionStats::default() };
            estimate(&Some("PCMA".into()), &heard, &heard).unwrap_or_default()
        };
        assert_eq!(mos(0, 0.0), 4.41);
        assert!(mos(150, 0.0) > 4.3 && mos(400, 0.0) < 3.8, "{} {}", mos(150, 0.0), mos(400, 0.0));
        assert!(mos(150, 60.0) < mos(150, 0.0), "jitter is kept in a buffer");
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        assert_eq!(mos("opus", 1000, 0), None);
        assert_eq!(mos("PCMU", 0, 0), None);
        let heard = DirectionStats { packets: 1, ..DirectionStats::default() };
        assert_eq!(estimate(&None, &heard, &heard), None);
    }
}
