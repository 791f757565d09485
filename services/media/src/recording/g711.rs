//! G.711: an octet as a linear sample (ITU-T G.711, tables 1 and 2).

/// What the octets of a payload type are (RFC 3551 §4.5.14); `None` where it is not G.711.
pub(crate) fn decoder(payload_type: u8) -> Option<fn(u8) -> i16> {
    match payload_type {
        0 => Some(mu_law),
        8 => Some(a_law),
        _ => None,
    }
}

/// Sixteen bits for the fourteen of the law.
fn mu_law(octet: u8) -> i16 {
    let octet = !octet;
    let segment = octet >> 4 & 7;
    let magnitude = ((i16::from(octet & 0x0f) << 3 | 0x84) << segment) - 0x84;
    if octet & 0x80 != 0 { -magnitude } else { magnitude }
}

/// Sixteen bits for the thirteen of the law.
fn a_law(octet: u8) -> i16 {
    let octet = octet ^ 0x55;
    let (segment, step) = (octet >> 4 & 7, i16::from(octet & 0x0f) << 4);
    let magnitude = match segment {
        0 => step + 8,
        1.. => (step + 0x108) << (segment - 1),
    };
    if octet & 0x80 != 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_and_the_middle_of_both_laws_are_those_of_the_tables() {
        for (octet, sample) in
            [(0xff, 0), (0x7f, 0), (0x80, 32_124), (0x00, -32_124), (0xf0, 120), (0xef, 132)]
        {
            assert_eq!(mu_law(octet), sample, "{octet:#x}");
        }
        for (octet, sample) in
            [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256), (0xd4, 24), (0xc5, 264)]
        {
            assert_eq!(a_law(octet), sample, "{octet:#x}");
        }
    }

    #[test]
    fn every_octet_rises_with_its_magnitude_and_has_an_opposite() {
        let rises = |samples: Vec<i16>| samples.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(rises((0x80..=0xfe).rev().map(mu_law).collect()));
        assert!(rises((0..0x80u8).map(|octet| a_law((octet | 0x80) ^ 0x55)).collect()));
        for octet in 0..0x80 {
            assert_eq!((mu_law(octet), a_law(octet)), (-mu_law(octet | 0x80), -a_law(octet | 0x80)));
        }
    }
}
