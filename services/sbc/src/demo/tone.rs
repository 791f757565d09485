//! A tone over RTP: what one phone plays the other can tell from anything else, packet by packet.

use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

/// Samples of one packet: 20 ms at 8 kHz.
const SAMPLES: u32 = 160;
const PACKET: Duration = Duration::from_millis(20);
/// RFC 3550 §5.1.
const HEADER: usize = 12;

/// What a phone plays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tone {
    /// In hertz.
    pub(super) pitch: u16,
}

/// What a phone heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Packets sent.
    pub(super) sent: u32,
    /// Packets of the other's tone, unchanged.
    pub(super) tone: u32,
    /// Packets of anything else.
    pub(super) other: u32,
}

impl Tone {
    /// The RTP packet of this number (RFC 3550 §5.1, payload type 0 of RFC 3551).
    fn packet(self, number: u16, ssrc: u32) -> Vec<u8> {
        let timestamp = u32::from(number) * SAMPLES;
        let mut packet = Vec::with_capacity(HEADER + SAMPLES as usize);
        packet.extend([0x80, 0]);
        packet.extend(number.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend(self.payload(timestamp));
        packet
    }

    fn payload(self, timestamp: u32) -> impl Iterator<Item = u8> {
        (timestamp..timestamp + SAMPLES).map(move |sample| {
            let phase = TAU * f64::from(self.pitch) * f64::from(sample) / 8000.0;
            mu_law((phase.sin() * 8000.0) as i16)
        })
    }

    /// Whether a packet is one of this tone's, byte for byte.
    fn is_in(self, packet: &[u8]) -> bool {
        match packet.split_first_chunk::<HEADER>() {
            Some(([0x80, kind, _, _, t0, t1, t2, t3, ..], payload)) => {
                let timestamp = u32::from_be_bytes([*t0, *t1, *t2, *t3]);
                kind & 0x7f == 0
                    && timestamp < u32::MAX - SAMPLES
                    && self.payload(timestamp).eq(payload.iter().copied())
            }
            Some(_) | None => false,
        }
    }
}

/// ITU-T G.711 µ-law.
fn mu_law(sample: i16) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    // The place of the highest bit, above the seven that the bias makes sure of.
    let exponent = (31 - magnitude.leading_zeros()).saturating_sub(7);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | ((exponent as i32) << 4 | mantissa) as u8)
}

/// Plays `own` to `remote` for a while and listens for `other`; a moment longer for what is still under way.
pub(super) async fn talk(
    socket: &UdpSocket,
    remote: SocketAddr,
    own: Tone,
    other: Tone,
    time: Duration,
) -> std::io::Result<Heard> {
    const AFTERWARDS: Duration = Duration::from_millis(200);
    let end = Instant::now() + time;
    let play = async {
        let mut ticks = interval(PACKET);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let ssrc = u32::from(own.pitch) << 16 | 0x0db;
        let mut sent: u16 = 0;
        while ticks.tick().await < end {
            socket.send_to(&own.packet(sent, ssrc), remote).await?;
            sent += 1;
        }
        sleep_until(end + AFTERWARDS).await;
        Ok::<u32, std::io::Error>(u32::from(sent))
    };
    let listen = async {
        let mut heard = Heard::default();
        let mut buffer = [0; 1500];
        while let Ok(received) = timeout_at(end + AFTERWARDS, socket.recv_from(&mut buffer)).await {
            let (length, from) = received?;
            if from == remote && other.is_in(buffer.get(..length).unwrap_or_default()) {
                heard.tone += 1;
            } else {
                heard.other += 1;
            }
        }
        Ok::<Heard, std::io::Error>(heard)
    };
    let (sent, heard) = tokio::try_join!(play, listen)?;
    Ok(Heard { sent, ..heard })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_known_by_its_bytes_and_no_other_is_taken_for_it() {
        let (low, high) = (Tone { pitch: 440 }, Tone { pitch: 620 });
        let packet = low.packet(7, 1);
        assert_eq!(packet.len(), HEADER + 160);
        assert_eq!(packet[..8], [0x80, 0, 0, 7, 0, 0, 4, 96], "sequence 7, timestamp 1120");
        assert!(low.is_in(&packet) && !high.is_in(&packet));
        let mut bent = packet.clone();
        bent[100] ^= 1;
        assert!(!low.is_in(&bent) && !low.is_in(&packet[..100]) && !low.is_in(&[]));
    }

    #[test]
    fn mu_law_has_the_values_of_the_standard() {
        // Silence, the extremes, and the first step on both sides.
        assert_eq!([0, i16::MAX, i16::MIN, 8, -8].map(mu_law), [0xff, 0x80, 0x00, 0xfe, 0x7e]);
    }
}
