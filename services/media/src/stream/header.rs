//! Reading RTP and RTCP headers (RFC 3550 §5.1, §6.4), as far as a relay must.

/// What a datagram on a media port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// RTP or SRTP.
    Rtp(RtpHeader),
    /// RTCP or SRTCP.
    Rtcp,
    /// A connectivity check or keep-alive: meant for this box, never passed on.
    Stun,
    /// Anything else: UDPTL (T.38), DTLS, what keeps a NAT open.
    Other,
}

/// The fields that statistics need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Without the marker.
    pub payload_type: u8,
    /// Of the packet.
    pub sequence: u16,
    /// Of its first sample.
    pub timestamp: u32,
    /// Of who sends.
    pub ssrc: u32,
    /// Octets after header, CSRC list and extension, without padding.
    pub payload: usize,
}

/// Says what reached a media port. `muxed`: the sender multiplexes RTCP there; without that, payload types 64 to 95 are
/// ordinary media (RFC 5761 §4).
pub fn classify_media(packet: &[u8], muxed: bool) -> Datagram {
    if is_stun(packet) {
        Datagram::Stun
    } else if muxed && is_rtcp(packet) {
        Datagram::Rtcp
    } else {
        rtp(packet).map_or(Datagram::Other, Datagram::Rtp)
    }
}

/// RTCP: version 2, a packet type of the RTCP block (RFC 5761 §4), and a first packet no longer than the datagram.
pub fn is_rtcp(packet: &[u8]) -> bool {
    let Some(&[first, kind, length_high, length_low]) = packet.first_chunk::<4>() else { return false };
    let words = usize::from(u16::from_be_bytes([length_high, length_low])) + 1;
    first >> 6 == 2 && (192..=223).contains(&kind) && words * 4 <= packet.len()
}

/// What two ends whose encryption is not the box's make their keys with, beside their RTP (RFC 7983 §7): ZRTP and DTLS.
pub(crate) fn makes_keys(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| (16..64).contains(first))
}

/// RFC 5389 §6: two zero bits and the magic cookie.
pub(crate) fn is_stun(packet: &[u8]) -> bool {
    packet.len() >= 20 && packet[0] >> 6 == 0 && packet[4..8] == [0x21, 0x12, 0xA4, 0x42]
}

/// The payload of a packet with this header.
pub(crate) fn payload<'p>(packet: &'p [u8], rtp: &RtpHeader) -> &'p [u8] {
    start(packet).and_then(|start| packet.get(start..start + rtp.payload)).unwrap_or_default()
}

/// The same, to be changed.
pub(crate) fn payload_mut<'p>(packet: &'p mut [u8], rtp: &RtpHeader) -> &'p mut [u8] {
    start(packet).and_then(|start| packet.get_mut(start..start + rtp.payload)).unwrap_or_default()
}

/// Gives a packet of RTP another sequence number.
pub(crate) fn renumber(packet: &mut [u8], sequence: u16) {
    if let Some(place) = packet.get_mut(2..4) {
        place.copy_from_slice(&sequence.to_be_bytes());
    }
}

/// Where the payload begins: behind the sources and the extension (RFC 3550 §5.1, §5.3.1).
fn start(packet: &[u8]) -> Option<usize> {
    let first = packet.first()?;
    let start = 12 + usize::from(first & 0x0f) * 4;
    if first & 0x10 == 0 {
        return Some(start);
    }
    let extension = packet.get(start..)?.first_chunk::<4>()?;
    Some(start + 4 + usize::from(u16::from_be_bytes([extension[2], extension[3]])) * 4)
}

fn rtp(packet: &[u8]) -> Option<RtpHeader> {
    let fixed = packet.first_chunk::<12>()?;
    if fixed[0] >> 6 != 2 {
        return None;
    }
    let start = start(packet)?;
    let mut payload = packet.len().checked_sub(start)?;
    if fixed[0] & 0x20 != 0 {
        // SRTP encrypts the padding count (RFC 3711 §3.1), so a count that makes no sense is not held against the packet.
        let padding = usize::from(packet.last().copied().unwrap_or(0));
        payload = payload.checked_sub(padding).unwrap_or(payload);
    }
    Some(RtpHeader {
        payload_type: fixed[1] & 0x7f,
        sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
        timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        payload,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const FIXED: [u8; 12] = [0x80, 0x88, 0x12, 0x34, 0, 0, 1, 0x40, 0xDE, 0xAD, 0xBE, 0xEF];

    #[test]
    fn a_plain_header_is_read_and_the_marker_is_not_part_of_the_payload_type() {
        let packet = [&FIXED[..], &[0; 160]].concat();
        let expected =
            RtpHeader { payload_type: 8, sequence: 0x1234, timestamp: 320, ssrc: 0xDEAD_BEEF, payload: 160 };
        assert_eq!(classify_media(&packet, false), Datagram::Rtp(expected));
    }

    #[test]
    fn csrcs_extension_and_padding_are_not_payload() {
        let mut packet =
            [&FIXED[..], &[0; 8], &[0xBE, 0xDE, 0, 1, 0, 0, 0, 0], &[7; 20], &[0, 0, 3]].concat();
        packet[0] = 0x80 | 0x20 | 0x10 | 2;
        let Datagram::Rtp(rtp) = classify_media(&packet, false) else { panic!("not RTP") };
        assert_eq!(rtp.payload, 20);
    }

    #[test]
    fn a_header_longer_than_its_datagram_is_not_rtp() {
        for (first, rest) in [(0x8f, 0), (0x90, 0), (0x90, 3), (0x81, 3)] {
            let mut packet = [&FIXED[..], &vec![0; rest]].concat();
            packet[0] = first;
            assert_eq!(
                classify_media(&packet, false),
                Datagram::Other,
                "first octet {first:#x}, {rest} more"
            );
        }
        let mut extension_too_long = [&FIXED[..], &[0, 0, 0xff, 0xff]].concat();
        extension_too_long[0] = 0x90;
        assert_eq!(classify_media(&extension_too_long, false), Datagram::Other);
        assert_eq!(classify_media(&FIXED[..11], false), Datagram::Other);
        assert_eq!(classify_media(&[], false), Datagram::Other);
    }

    #[test]
    fn a_padding_count_that_srtp_encrypted_does_not_make_the_packet_worthless() {
        let mut packet = [&FIXED[..], &[0xff; 10]].concat();
        packet[0] |= 0x20;
        let Datagram::Rtp(rtp) = classify_media(&packet, false) else { panic!("not RTP") };
        assert_eq!(rtp.payload, 10);
    }

    #[test]
    fn rtcp_is_told_from_rtp_only_where_the_two_share_a_port() {
        let report = [0x80, 201, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0];
        assert_eq!(classify_media(&report, true), Datagram::Rtcp);
        assert!(matches!(classify_media(&report, false), Datagram::Rtp(_)));
        assert!(is_rtcp(&report));
        assert!(!is_rtcp(&report[..7]), "a first packet longer than its datagram");
        assert!(!is_rtcp(&[0x80, 191, 0, 0]));
        assert!(!is_rtcp(&[0x40, 201, 0, 0]));
    }

    #[test]
    fn a_binding_request_is_stun() {
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        request.extend([9; 12]);
        assert_eq!(classify_media(&request, true), Datagram::Stun);
        assert_eq!(classify_media(&request[..19], true), Datagram::Other);
    }
}
