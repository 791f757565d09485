//! Tones in WAV files: what a phone says, and whether another phone heard it.

use std::f64::consts::TAU;
use std::path::Path;

const RATE: u32 = 8000;
/// 20 ms, a packet of G.711.
const FRAME: usize = 160;

/// Writes `seconds` of a sine of `hertz` at 8 kHz, 16 bit, mono. Choose multiples of 50 Hz: they fill frames evenly.
pub fn write_tone(path: &Path, hertz: f64, seconds: u32) {
    let samples = RATE * seconds;
    let mut wav = Vec::with_capacity(44 + 2 * samples as usize);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + 2 * samples).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&RATE.to_le_bytes());
    wav.extend_from_slice(&(2 * RATE).to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&(2 * samples).to_le_bytes());
    for n in 0..samples {
        let sample = 12_000.0 * (TAU * hertz * f64::from(n) / f64::from(RATE)).sin();
        wav.extend_from_slice(&(sample as i16).to_le_bytes());
    }
    std::fs::write(path, wav).unwrap();
}

/// How many seconds of the file are, frame by frame, mostly a sine of `hertz`.
pub fn heard(path: &Path, hertz: f64) -> f64 {
    heard_in(path, (0, 1), &[hertz])
}

/// The same of one channel of so many, for several tones at once that are about equally loud.
pub fn heard_in(path: &Path, (channel, channels): (usize, usize), tones: &[f64]) -> f64 {
    let (rate, samples) = read(path);
    assert_eq!(rate, RATE, "{}: sampling rate", path.display());
    let samples: Vec<i16> = samples.into_iter().skip(channel).step_by(channels).collect();
    let each = 0.8 / tones.len() as f64;
    let is_heard = |frame: &&[i16]| tones.iter().all(|hertz| share_of(frame, *hertz) > each);
    let frames = samples.chunks_exact(FRAME).filter(is_heard).count();
    frames as f64 * FRAME as f64 / f64::from(RATE)
}

/// The share of a frame's power that lies at `hertz` (Goertzel); 0 for silence.
fn share_of(frame: &[i16], hertz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hertz / f64::from(RATE)).cos();
    let (mut last, mut before, mut power) = (0.0, 0.0, 0.0);
    for &sample in frame {
        let sample = f64::from(sample);
        power += sample * sample;
        (last, before) = (sample + coefficient * last - before, last);
    }
    let audible = 100.0 * 100.0 * frame.len() as f64;
    if power < audible {
        return 0.0;
    }
    let at_tone = last * last + before * before - coefficient * last * before;
    2.0 * at_tone / (frame.len() as f64 * power)
}

/// The sampling rate and the samples of a 16-bit WAV file. A file whose writer was ended early has no sizes in its
/// headers: then everything that follows is taken.
fn read(path: &Path) -> (u32, Vec<i16>) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut rate = 0;
    let mut rest = bytes.get(12..).unwrap_or_default();
    while let Some((head, after)) = rest.split_at_checked(8) {
        let size = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
        match &head[..4] {
            b"fmt " => rate = u32::from_le_bytes(after[4..8].try_into().unwrap()),
            b"data" => {
                let data = if size == 0 { after } else { &after[..size.min(after.len())] };
                let samples = data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
                return (rate, samples.collect());
            }
            _ => {}
        }
        rest = after.get(size + size % 2..).unwrap_or_default();
    }
    (rate, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_heard_and_another_is_not() {
        let path = std::env::temp_dir().join(format!("tone-{}.wav", std::process::id()));
        write_tone(&path, 600.0, 2);
        assert!((heard(&path, 600.0) - 2.0).abs() < 0.03);
        assert!(heard(&path, 1500.0) < 0.01);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn silence_and_two_tones_at_once_are_not_a_tone() {
        assert_eq!(share_of(&[0; FRAME], 600.0), 0.0);
        let both = |n: usize| {
            let at = |hertz: f64| (TAU * hertz * n as f64 / f64::from(RATE)).sin();
            (8000.0 * (at(600.0) + at(1500.0))) as i16
        };
        let frame: Vec<i16> = (0..FRAME).map(both).collect();
        assert!(share_of(&frame, 600.0) < 0.6);
    }
}
