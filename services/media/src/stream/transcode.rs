//! From one codec into another, for streams whose sides have none in common.
//!
//! Both laws of G.711 have one octet a sample, so that a packet stays what it is but for its payload type and its octets, which
//! are looked up in a table. What is no packet of the codec that a side talks in passes: key presses, comfort noise.
//!
//! A further codec is a variant of [`Codec`]; one whose payloads have another length needs room behind the packet, as SRTP has
//! it ([`super::OVERHEAD`]), and a state for each direction.

use call::{Codec, Side};

use super::header::{self, RtpHeader};

/// What A talks in, and what B does.
pub(crate) type Codecs = [Codec; 2];

/// Turns what `from` sends into what the other side talks in.
pub(crate) fn turn([a, b]: Codecs, from: Side, rtp: &RtpHeader, packet: &mut [u8]) {
    let (near, far) = match from {
        Side::A => (a, b),
        Side::B => (b, a),
    };
    let (Some(table), true) = (table(near, far), rtp.payload_type == near.payload_type()) else { return };
    if let Some(kind) = packet.get_mut(1) {
        *kind = *kind & 0x80 | far.payload_type();
    }
    for octet in header::payload_mut(packet, rtp) {
        *octet = table[usize::from(*octet)];
    }
}

fn table(from: Codec, to: Codec) -> Option<&'static [u8; 256]> {
    match (from, to) {
        (Codec::Pcmu, Codec::Pcma) => Some(&MU_TO_A),
        (Codec::Pcma, Codec::Pcmu) => Some(&A_TO_MU),
        (Codec::Pcmu, Codec::Pcmu) | (Codec::Pcma, Codec::Pcma) => None,
    }
}

/// Each octet's value, as the other law has it (ITU-T G.711, tables 1 and 2).
static MU_TO_A: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let (negative, magnitude) = of_mu_law(octet as u8);
        table[octet] = to_a_law(negative, magnitude);
        octet += 1;
    }
    table
};

static A_TO_MU: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let (negative, magnitude) = of_a_law(octet as u8);
        table[octet] = to_mu_law(negative, magnitude);
        octet += 1;
    }
    table
};

/// Whether it is below zero, which is a matter of its own at zero, and how far from it, of 15 bits.
const fn of_mu_law(octet: u8) -> (bool, u16) {
    let octet = !octet;
    let (segment, step) = (octet >> 4 & 7, (octet & 0x0f) as u16);
    (octet & 0x80 != 0, ((step << 3 | 0x84) << segment) - 0x84)
}

const fn of_a_law(octet: u8) -> (bool, u16) {
    let octet = octet ^ 0x55;
    let (segment, step) = (octet >> 4 & 7, ((octet & 0x0f) as u16) << 4);
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    (octet & 0x80 == 0, magnitude)
}

/// Beyond the last decision value of the law nothing is.
const fn to_mu_law(negative: bool, magnitude: u16) -> u8 {
    let biased = if magnitude > 0x7fff - 0x84 { 0x7fff } else { magnitude + 0x84 };
    let segment = biased.ilog2() as u8 - 7;
    let code = segment << 4 | (biased >> (segment + 3)) as u8 & 0x0f;
    !(code | if negative { 0x80 } else { 0 })
}

const fn to_a_law(negative: bool, magnitude: u16) -> u8 {
    let segment = if magnitude < 0x100 { 0 } else { magnitude.ilog2() as u8 - 7 };
    let shift = if segment == 0 { 4 } else { segment + 3 };
    let code = segment << 4 | (magnitude >> shift) as u8 & 0x0f;
    (code | if negative { 0 } else { 0x80 }) ^ 0x55
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    /// The positive half of a law as ITU-T G.711 writes it down: chords of sixteen equal intervals, each chord twice as wide as the one
    /// before; a value between two decision values is read as what lies in the middle of them. In units of the law.
    struct Law {
        /// Decision values, 129 of them, and how many of the units are one of the other law's.
        decisions: Vec<f64>,
        unit: f64,
        /// Turns the number of an interval into the octet of a positive value, and of a negative one.
        octet: fn(u8, bool) -> u8,
    }

    /// Table 1: steps of 2, 2, 4, 8 … up to 4096; even bits inverted.
    fn a_law() -> Law {
        let widths = (0..8).flat_map(|chord: i32| [2.0 * 2f64.powi((chord - 1).max(0)); 16]);
        let mut decisions = vec![0.0];
        widths.for_each(|width| decisions.push(decisions.last().unwrap() + width));
        assert_eq!((decisions.len(), decisions[128]), (129, 4096.0));
        let octet = |interval: u8, negative: bool| (interval | if negative { 0 } else { 0x80 }) ^ 0x55;
        Law { decisions, unit: 8.0, octet }
    }

    /// Table 2: a first interval of 1, fifteen of 2, then sixteen each of 4, 8 … up to 8159; all bits inverted.
    fn mu_law() -> Law {
        let widths = (0..8).flat_map(|chord: i32| [2.0 * 2f64.powi(chord); 16]);
        let mut decisions = vec![0.0];
        for (index, width) in widths.enumerate() {
            let width = if index == 0 { 1.0 } else { width };
            decisions.push(decisions.last().unwrap() + width);
        }
        assert_eq!((decisions.len(), decisions[128]), (129, 8159.0));
        let octet = |interval: u8, negative: bool| !(interval | if negative { 0x80 } else { 0 });
        Law { decisions, unit: 4.0, octet }
    }

    impl Law {
        /// What an interval is read as. The first of the mu-law is zero (its note 3); the others are read in the middle.
        fn value(&self, interval: usize) -> f64 {
            let middle = (self.decisions[interval] + self.decisions[interval + 1]) / 2.0;
            let is_mu_zero = self.decisions[1] == 1.0 && interval == 0;
            if is_mu_zero { 0.0 } else { middle * self.unit }
        }

        fn interval_of(&self, value: f64) -> usize {
            let within = |edge: &f64| edge * self.unit <= value;
            self.decisions[1..128].iter().take_while(|edge| within(edge)).count()
        }
    }

    #[test]
    fn both_tables_are_what_the_decision_values_of_g711_come_to_octet_by_octet() {
        for (from, to, table) in [(mu_law(), a_law(), &MU_TO_A), (a_law(), mu_law(), &A_TO_MU)] {
            for interval in 0..128 {
                for negative in [false, true] {
                    let octet = (from.octet)(interval as u8, negative);
                    let expected = (to.octet)(to.interval_of(from.value(interval)) as u8, negative);
                    assert_eq!(
                        table[usize::from(octet)],
                        expected,
                        "interval {interval}, octet {octet:#04x}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_value_comes_back_within_a_step_of_the_coarser_law() {
        for octet in 0..=255u8 {
            let there_and_back = A_TO_MU[usize::from(MU_TO_A[usize::from(octet)])];
            assert!(octet.abs_diff(there_and_back) <= 1, "{octet:#04x} {there_and_back:#04x}");
            let other = MU_TO_A[usize::from(A_TO_MU[usize::from(octet)])] ^ 0x55;
            assert!((octet ^ 0x55).abs_diff(other) <= 1, "{octet:#04x} {other:#04x}");
        }
    }

    fn packet(first: u8, kind: u8, rest: &[u8]) -> (RtpHeader, Vec<u8>) {
        let packet = [&[first, kind, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..], rest].concat();
        let header::Datagram::Rtp(rtp) = header::classify_media(&packet, false) else { panic!("no RTP") };
        (rtp, packet)
    }

    #[test]
    fn only_the_payload_type_and_the_payload_are_changed_and_only_of_the_codec() {
        let codecs = [Codec::Pcmu, Codec::Pcma];
        // A source besides, and three octets of padding.
        let (rtp, mut from_a) = packet(0x80 | 0x20 | 1, 0x80, &[9, 9, 9, 9, 0xff, 0x80, 0, 0, 3]);
        turn(codecs, Side::A, &rtp, &mut from_a);
        assert_eq!(from_a[..12], [0xa1, 0x88, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        assert_eq!(from_a[12..], [9, 9, 9, 9, 0xd5, 0xaa, 0, 0, 3]);
        for (from, kind) in [(Side::A, 101), (Side::A, 13), (Side::A, 8), (Side::B, 0)] {
            let (rtp, mut other) = packet(0x80, kind, &[1, 2, 3, 4]);
            turn(codecs, from, &rtp, &mut other);
            assert_eq!((other[1], &other[12..]), (kind, &[1, 2, 3, 4][..]));
        }
        let (rtp, mut from_b) = packet(0x80, 8, &[0xd5, 0xaa]);
        turn(codecs, Side::B, &rtp, &mut from_b);
        assert_eq!((from_b[1], &from_b[12..]), (0, &[0xfe, 0x80][..]));
    }
}
