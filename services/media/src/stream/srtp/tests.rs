//! Test vectors of RFC 3711 Appendix B and RFC 7714 §16, and what a context must do with packets in any order.
#![allow(clippy::unwrap_used)]

use super::derive::{Label, SessionKeys, derive};
use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn master(suite: SrtpSuite, first: u8) -> MasterKey {
    let octets: Vec<u8> = (first..).take(suite.key_length() + suite.salt_length()).collect();
    MasterKey::new(suite, &octets).unwrap()
}

fn session(key: &str, salt: &str) -> SessionKeys {
    let mut keys = SessionKeys { key: [0; 32], authentication: [0; 20], salt: [0; 14] };
    let (key, salt) = (hex(key), hex(salt));
    keys.key[..key.len()].copy_from_slice(&key);
    keys.salt[..salt.len()].copy_from_slice(&salt);
    keys
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 1];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xd5; 160]);
    packet
}

fn report(ssrc: u32) -> Vec<u8> {
    [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes(), &[0x81, 202, 0, 2, 0, 0, 0, 9, 1, 2, b'a', b'b']].concat()
}

/// The packet as it comes out of a relay thread's buffer.
fn turned(
    packet: &[u8],
    turn: impl FnOnce(&mut [u8], usize) -> Result<usize, Refused>,
) -> Result<Vec<u8>, Refused> {
    let mut buffer = [packet, &[0xee; OVERHEAD]].concat();
    let length = turn(&mut buffer, packet.len())?;
    buffer.truncate(length);
    Ok(buffer)
}

fn sealed(context: &mut Context, packet: &[u8]) -> Vec<u8> {
    turned(packet, |buffer, length| context.protect_rtp(buffer, length)).unwrap()
}

fn opened(context: &mut Context, packet: &[u8]) -> Result<Vec<u8>, Refused> {
    turned(packet, |buffer, length| context.unprotect_rtp(buffer, length))
}

fn pair(suite: SrtpSuite) -> (Context, Context) {
    let key = master(suite, 1);
    (Context::new(suite, &key), Context::new(suite, &key))
}

#[test]
fn keys_are_derived_as_in_rfc_3711_b3() {
    let octets = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(SrtpSuite::AesCm128Sha1_80, &octets).unwrap();
    let derived = |label: Label, length: usize| {
        let mut key = vec![0; length];
        derive(&master, label as u8, &mut key);
        key
    };
    assert_eq!(derived(Label::Encryption, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(Label::Salt, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let authentication = hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    assert_eq!(derived(Label::Authentication, 20), authentication);
}

#[test]
fn the_keystream_of_counter_mode_is_that_of_rfc_3711_b2() {
    let keys = session("2B7E151628AED2A6ABF7158809CF4F3C", "F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
    let cipher = Cipher::new(SrtpSuite::AesCm128Sha1_80, &keys, true);
    let mut buffer = [0; 48 + OVERHEAD];
    assert_eq!(cipher.seal_rtp(&mut buffer, 0, 48, 0, 0), Ok(58));
    let stream = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                  41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(buffer[..48], hex(stream));
}

const GALLIA: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
                      69736120 696e2070 61727465 73207472 6573";

fn sealed_with_gcm(suite: SrtpSuite, key: &str) -> Vec<u8> {
    let cipher = Cipher::new(suite, &session(key, "51756964 2070726f 2071756f"), true);
    turned(&hex(GALLIA), |buffer, length| cipher.seal_rtp(buffer, 12, length, 0x5501_a0b2, 0xf17b)).unwrap()
}

#[test]
fn gcm_protects_rtp_as_in_rfc_7714_16_1() {
    let sealed = sealed_with_gcm(SrtpSuite::AeadAes128Gcm, "000102030405060708090a0b0c0d0e0f");
    let expected = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
                    0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
    assert_eq!(sealed, hex(expected));
}

#[test]
fn gcm_with_256_bits_protects_rtp_as_in_rfc_7714_16_2() {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let expected = "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
                    9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
    assert_eq!(sealed_with_gcm(SrtpSuite::AeadAes256Gcm, key), hex(expected));
}

#[test]
fn gcm_protects_rtcp_as_in_rfc_7714_17_1() {
    let keys = session("000102030405060708090a0b0c0d0e0f", "51756964 2070726f 2071756f");
    let cipher = Cipher::new(SrtpSuite::AeadAes128Gcm, &keys, false);
    let plain = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
                     deadbeef deadbeef deadbeef deadbeef deadbeef");
    let sealed =
        turned(&plain, |buffer, length| cipher.seal_rtcp(buffer, length, 0x4d61_7273, 0x5d4)).unwrap();
    let expected = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
                    c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872
                    45d9eade 800005d4";
    assert_eq!(sealed, hex(expected));
    let opened =
        turned(&sealed, |buffer, length| cipher.open_rtcp(&mut buffer[..length], 0x4d61_7273, 0x5d4));
    assert_eq!(opened, Ok(plain));
}

#[test]
fn what_one_end_protects_the_other_reads() {
    for suite in SrtpSuite::ALL {
        let (mut one, mut other) = pair(suite);
        let mut extended = rtp(7, 2);
        extended.splice(12..12, [0, 0, 0, 1, 0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        extended[0] = 0x91;
        for packet in [rtp(7, 1), extended, rtp(7, 3)[..12].to_vec()] {
            let sealed = sealed(&mut one, &packet);
            assert_eq!(sealed[..12], packet[..12], "{suite:?}: the header stays readable");
            assert!(packet.len() < 20 || sealed[..packet.len()] != packet, "{suite:?}");
            assert_eq!(opened(&mut other, &sealed), Ok(packet), "{suite:?}");
        }
        for _ in 0..2 {
            let sealed = turned(&report(7), |buffer, length| one.protect_rtcp(buffer, length)).unwrap();
            let opened = |other: &mut Context| turned(&sealed, |buf, len| other.unprotect_rtcp(buf, len));
            assert_eq!(opened(&mut other), Ok(report(7)), "{suite:?}");
            assert_eq!(opened(&mut other), Err(Refused::Replayed), "{suite:?}");
        }
    }
}

#[test]
fn the_short_tag_is_for_rtp_alone() {
    let (mut one, _) = pair(SrtpSuite::AesCm128Sha1_32);
    assert_eq!(sealed(&mut one, &rtp(7, 1)).len(), 172 + 4);
    let control = turned(&report(7), |buffer, length| one.protect_rtcp(buffer, length)).unwrap();
    assert_eq!(control.len(), 20 + 4 + 10);
}

#[test]
fn a_packet_is_read_once_and_a_changed_one_never() {
    for suite in SrtpSuite::ALL {
        let (mut one, mut other) = pair(suite);
        let sealed = sealed(&mut one, &rtp(7, 1));
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 0x10;
            assert!(opened(&mut other, &forged).is_err(), "{suite:?}: octet {at}");
            assert!(opened(&mut other, &sealed[..at]).is_err(), "{suite:?}: cut at {at}");
        }
        assert_eq!(opened(&mut other, &sealed), Ok(rtp(7, 1)), "{suite:?}: what was forged changed nothing");
        assert_eq!(opened(&mut other, &sealed), Err(Refused::Replayed), "{suite:?}");
    }
}

#[test]
fn the_rollover_counter_follows_also_where_packets_are_lost_and_late() {
    let (mut one, mut other) = pair(SrtpSuite::AesCm128Sha1_80);
    let numbers = (65_500u32..65_536 + 40).filter(|number| number % 7 != 0);
    let mut packets: Vec<Vec<u8>> = [50_000, 50_001]
        .into_iter()
        .chain(numbers)
        .map(|number| sealed(&mut one, &rtp(7, number as u16)))
        .collect();
    for pair in packets.chunks_mut(2) {
        pair.reverse();
    }
    for packet in packets {
        assert!(opened(&mut other, &packet).is_ok());
    }
}

/// Who sends before its answer is here may wrap its numbers unheard.
#[test]
fn a_source_whose_numbers_wrapped_before_it_was_heard_is_read() {
    for suite in SrtpSuite::ALL {
        let (mut one, mut other) = pair(suite);
        for unheard in [40_000, 65_530, 65_535, 0, 1, 2] {
            sealed(&mut one, &rtp(7, unheard));
        }
        let third = sealed(&mut one, &rtp(7, 3));
        for at in [2, 20, third.len() - 1] {
            let mut forged = third.clone();
            forged[at] ^= 1;
            assert_eq!(opened(&mut other, &forged), Err(Refused::Forged), "{suite:?}");
        }
        assert_eq!(opened(&mut other, &third), Ok(rtp(7, 3)), "{suite:?}");
        assert_eq!(opened(&mut other, &third), Err(Refused::Replayed), "{suite:?}");
        assert_eq!(opened(&mut other, &sealed(&mut one, &rtp(7, 4))), Ok(rtp(7, 4)), "{suite:?}");
    }
}

/// The other end may miss all of its packets up to there, and would not know that they began again (RFC 3711 §3.3.1).
#[test]
fn a_source_that_begins_shortly_before_its_numbers_wrap_is_given_others() {
    let (mut one, _) = pair(SrtpSuite::AesCm128Sha1_80);
    let begins = |one: &mut Context, ssrc, first: u16| -> Vec<u16> {
        let packets = (0..20).map(|n| sealed(one, &rtp(ssrc, first.wrapping_add(n))));
        packets.map(|packet| u16::from_be_bytes([packet[2], packet[3]])).collect()
    };
    let shifted = begins(&mut one, 7, 65_530);
    assert!(shifted.iter().all(|number| *number < 40_000), "{shifted:?}");
    assert!(shifted.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{shifted:?}");
    for first in [0, 32_760, 50_000] {
        let numbers: Vec<u16> = (first..first + 20).collect();
        assert_eq!(begins(&mut one, u32::from(first) + 8, first), numbers, "there is time enough");
    }
}

#[test]
fn every_source_counts_for_itself() {
    let (mut one, mut other) = pair(SrtpSuite::AeadAes128Gcm);
    for sequence in [40_000, 65_535, 0] {
        for ssrc in [7, 8] {
            let sealed = sealed(&mut one, &rtp(ssrc, sequence));
            assert_eq!(opened(&mut other, &sealed), Ok(rtp(ssrc, sequence)));
        }
    }
}

#[test]
fn one_index_never_protects_two_packets() {
    let (mut one, _) = pair(SrtpSuite::AesCm128Sha1_80);
    sealed(&mut one, &rtp(7, 1));
    let again = turned(&rtp(7, 1), |buffer, length| one.protect_rtp(buffer, length));
    assert_eq!(again, Err(Refused::Replayed));
}

#[test]
fn the_same_key_counts_on_and_another_begins_anew() {
    let suite = SrtpSuite::AesCm128Sha1_80;
    let keys = |first| SrtpKeys { suite, inbound: master(suite, first), outbound: master(suite, 200) };
    let mut peer = Context::new(suite, &master(suite, 1));
    let mut side = Srtp::new(keys(1));
    sealed(&mut peer, &rtp(7, 50_000));
    let first = sealed(&mut peer, &rtp(7, 65_535));
    let second = sealed(&mut peer, &rtp(7, 0));
    assert!(opened(side.inbound(), &first).is_ok());
    side.rekey(&keys(1));
    assert_eq!(opened(side.inbound(), &first), Err(Refused::Replayed), "what was there is remembered");
    assert!(opened(side.inbound(), &second).is_ok(), "and so is the rollover");
    side.rekey(&keys(2));
    let other = sealed(&mut Context::new(suite, &master(suite, 2)), &rtp(7, 5));
    assert!(opened(side.inbound(), &other).is_ok());
    assert!(opened(side.inbound(), &sealed(&mut peer, &rtp(7, 6))).is_err(), "the old key is of no use");
}

/// RFC 3711 §3.3.1 has the count of turns go on over a new key; not everybody does.
#[test]
fn a_peer_with_a_new_key_is_heard_whether_its_rollovers_count_on_or_begin_anew() {
    let suite = SrtpSuite::AesCm128Sha1_80;
    let keys = |first| SrtpKeys { suite, inbound: master(suite, first), outbound: master(suite, 200) };
    // What a peer sends on its way to a number, after so many turns.
    let sent = |key: u8, turns: u32, number: u16| {
        let mut peer = Context::new(suite, &master(suite, key));
        let last = turns << 16 | u32::from(number);
        let on_the_way = (0..last).step_by(16_000).chain([last]);
        on_the_way.map(|index| sealed(&mut peer, &rtp(7, index as u16))).collect::<Vec<_>>()
    };
    for (key, before, after, number) in
        [(2, 3, 3, 50_000), (3, 3, 0, 50_000), (4, 3, 3, 20), (5, 1, 1, 40_000)]
    {
        let mut side = Srtp::new(keys(1));
        sent(1, before, 30_000).iter().for_each(|packet| assert!(opened(side.inbound(), packet).is_ok()));
        side.rekey(&keys(100));
        side.rekey(&keys(key));
        let first = |key, number| sent(key, after, number).pop().unwrap();
        assert_eq!(opened(side.inbound(), &first(9, number)), Err(Refused::Forged));
        let packet = first(key, number);
        assert!(opened(side.inbound(), &packet).is_ok(), "{after} turns, {number}");
        assert_eq!(opened(side.inbound(), &packet), Err(Refused::Replayed));
        assert!(opened(side.inbound(), &first(key, number + 1)).is_ok());
    }
}

/// Who is on hold by a new key sends reports alone, and its packets count from where they were when it comes back.
#[test]
fn a_peer_that_sends_only_reports_under_a_new_key_is_heard_when_it_talks_again() {
    let suite = SrtpSuite::AesCm128Sha1_80;
    let keys = |first| SrtpKeys { suite, inbound: master(suite, first), outbound: master(suite, 200) };
    let reported = |context: &mut Context| {
        turned(&report(7), |buffer, length| context.protect_rtcp(buffer, length)).unwrap()
    };
    for reports_under in [2..3, 2..6] {
        let mut side = Srtp::new(keys(1));
        let mut peer = Context::new(suite, &master(suite, 1));
        for number in [0, 30_000, 60_000, 20_000] {
            assert!(opened(side.inbound(), &sealed(&mut peer, &rtp(7, number))).is_ok());
        }
        let last = reports_under.end - 1;
        for key in reports_under {
            side.rekey(&keys(key));
            let control = reported(&mut Context::new(suite, &master(suite, key)));
            let heard = turned(&control, |buffer, length| side.inbound().unprotect_rtcp(buffer, length));
            assert_eq!(heard, Ok(report(7)));
        }
        let mut peer = Context::new(suite, &master(suite, last));
        [0, 30_000, 60_000].into_iter().for_each(|unheard| drop(sealed(&mut peer, &rtp(7, unheard))));
        for number in [20_001, 20_002] {
            assert_eq!(
                opened(side.inbound(), &sealed(&mut peer, &rtp(7, number))),
                Ok(rtp(7, number)),
                "{last}"
            );
        }
    }
}

/// Descriptions of two branches that take turns: each has its own key for what it sends, and the rollover goes on.
#[test]
fn a_key_that_comes_again_goes_on_where_it_was_in_both_directions() {
    let suite = SrtpSuite::AesCm128Sha1_80;
    let keys = |first| SrtpKeys { suite, inbound: master(suite, first), outbound: master(suite, first + 1) };
    let mut peer = Context::new(suite, &master(suite, 1));
    let [_, before, after] = [50_000, 65_535, 0].map(|sequence| sealed(&mut peer, &rtp(7, sequence)));
    let mut side = Srtp::new(keys(1));
    assert!(opened(side.inbound(), &before).is_ok());
    sealed(side.outbound(), &rtp(9, 1));
    side.rekey(&keys(10));
    side.rekey(&keys(1));
    assert_eq!(opened(side.inbound(), &before), Err(Refused::Replayed));
    assert!(opened(side.inbound(), &after).is_ok(), "it has counted beyond the rollover");
    let again = turned(&rtp(9, 1), |buffer, length| side.outbound().protect_rtp(buffer, length));
    assert_eq!(again, Err(Refused::Replayed), "no index is used twice");
    for other in 2..100u8 {
        side.rekey(&keys(2 * other));
    }
    assert!(side.inbound.spent.len() <= MAX_SPENT && side.outbound.spent.len() <= MAX_SPENT);
}

#[test]
fn no_octets_at_all_are_no_packet() {
    for suite in SrtpSuite::ALL {
        let (mut one, _) = pair(suite);
        for length in 0..64 {
            let mut buffer = vec![0x80; length];
            let _ = one.unprotect_rtp(&mut buffer, length);
            let _ = one.unprotect_rtcp(&mut buffer, length);
            let _ = one.protect_rtp(&mut buffer, length);
            let _ = one.protect_rtcp(&mut buffer, length);
        }
        assert_eq!(one.protect_rtp(&mut [], 12), Err(Refused::Malformed));
    }
}

/// `make bench-srtp`. Of so many batches the fastest counts: nobody else was on the processor then.
#[test]
#[ignore = "a measurement, for an optimised build"]
fn figures() {
    const BATCHES: usize = 400;
    const EACH: u16 = 100;
    for suite in SrtpSuite::ALL {
        let key = master(suite, 1);
        let (mut out, mut into) = (Context::new(suite, &key), Context::new(suite, &key));
        let mut fastest = [f64::MAX; 2];
        for batch in 0..BATCHES {
            let numbers = (batch * usize::from(EACH)..).map(|number| number as u16);
            let mut packets: Vec<(Vec<u8>, usize)> = numbers
                .take(EACH.into())
                .map(|number| [rtp(7, number), vec![0; OVERHEAD]].concat())
                .map(|packet| (packet, 172))
                .collect();
            let begin = std::time::Instant::now();
            for (packet, length) in &mut packets {
                *length = out.protect_rtp(packet, *length).unwrap();
            }
            let between = std::time::Instant::now();
            for (packet, length) in &mut packets {
                *length = into.unprotect_rtp(packet, *length).unwrap();
            }
            let times = [between - begin, between.elapsed()];
            for (fastest, time) in fastest.iter_mut().zip(times) {
                *fastest = fastest.min(time.as_secs_f64() * 1e9 / f64::from(EACH));
            }
            assert!(packets.iter().all(|(packet, length)| *length == 172 && packet[12..172] == [0xd5; 160]));
        }
        println!(
            "{}: {:.0} ns to protect 172 bytes, {:.0} ns to take it off",
            suite.name(),
            fastest[0],
            fastest[1]
        );
    }
}
