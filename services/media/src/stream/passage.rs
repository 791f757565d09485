//! A datagram's way through a stream, in the buffer it was read into: taken out of the protection of the side it came from,
//! shown to the rules, and put into that of the side it goes to.

use std::net::SocketAddr;

use call::Side;
use sip::Time;

use super::srtp::{self, Refused};
use super::{Channel, End, Stream, Verdict, header, muxed};

impl Stream {
    /// What to do with the first `length` octets of the buffer, as [`Stream::receive`] says of a plain packet; and how
    /// many octets of the buffer are to be sent.
    pub(crate) fn pass(
        &mut self,
        from: Side,
        channel: Channel,
        source: SocketAddr,
        buffer: &mut [u8],
        length: usize,
        now: Time,
    ) -> (Verdict, usize) {
        if !self.closed && self.end(from).opening.is_some() {
            let packet = buffer.get(..length).unwrap_or_default();
            if let Some(verdict) = self.end_mut(from).open_path(channel, source, packet) {
                return (verdict, 0);
            }
        }
        let length = match self.open(from, channel, source, buffer, length) {
            Ok(length) => length,
            Err(verdict) => return (verdict, 0),
        };
        let packet = buffer.get(..length).unwrap_or_default();
        let verdict = self.receive(from, channel, source, packet, now);
        let Verdict::Relay { media, .. } = verdict else { return (verdict, length) };
        if let Some(octets) = media
            && !self.worked(from, buffer.get_mut(..length).unwrap_or_default(), now)
        {
            return (self.kept_back(from, octets), 0);
        }
        match self.seal(from.other(), media.is_some(), buffer, length) {
            Ok(length) => (verdict, length),
            Err(_) => {
                // Control was never counted.
                if let Some(octets) = media {
                    self.unsent(from, octets);
                }
                (Verdict::Drop, 0)
            }
        }
    }

    /// Takes a packet out of the protection of the side that it came from. One that does not come out is counted.
    fn open(
        &mut self,
        from: Side,
        channel: Channel,
        source: SocketAddr,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<usize, Verdict> {
        let closed = self.closed;
        let near = self.end_mut(from);
        let awaits_keys = near.opening.as_ref().is_some_and(|opening| opening.awaits_keys());
        if near.srtp.is_none() && !awaits_keys || closed {
            return Ok(length);
        }
        let opened = near.open(channel, source, buffer, length);
        near.dropped += u64::from(opened.is_err());
        opened
    }

    pub(super) fn seal(
        &mut self,
        to: Side,
        is_media: bool,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<usize, Refused> {
        let far = self.end_mut(to);
        match &mut far.srtp {
            None if far.opening.as_ref().is_some_and(|opening| opening.awaits_keys()) => {
                Err(Refused::Malformed)
            }
            None => Ok(length),
            Some(srtp) if is_media => srtp.outbound().protect_rtp(buffer, length),
            Some(srtp) => srtp.outbound().protect_rtcp(buffer, length),
        }
    }
}

impl End {
    fn open(
        &mut self,
        channel: Channel,
        source: SocketAddr,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<usize, Verdict> {
        let (Some(remote), Some(srtp)) = (self.remote, &mut self.srtp) else {
            return Err(Verdict::Drop);
        };
        let latch = match channel {
            Channel::Rtp => &self.rtp,
            Channel::Rtcp => &self.rtcp,
        };
        let described = match channel {
            Channel::Rtp => remote.rtp,
            Channel::Rtcp => remote.rtcp,
        };
        // Strangers are not worth a look into the packet; to those who may come the tag decides.
        if !latch.may_admit(described, remote.signalling, source) {
            return Err(Verdict::Drop);
        }
        let packet = buffer.get(..length).ok_or(Verdict::Drop)?;
        let opened = match channel {
            Channel::Rtp if !(muxed(&remote) && header::is_rtcp(packet)) => {
                srtp.inbound().unprotect_rtp(buffer, length)
            }
            Channel::Rtp | Channel::Rtcp => srtp.inbound().unprotect_rtcp(buffer, length),
        };
        opened.map_err(|why| match why {
            Refused::Forged => {
                self.turned.forged(source);
                Verdict::Forged
            }
            Refused::Replayed => Verdict::Replayed,
            Refused::Malformed | Refused::Exhausted => Verdict::Drop,
        })
    }
}

/// The room that a buffer must have behind a packet.
pub(crate) const OVERHEAD: usize = srtp::OVERHEAD;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use call::{Keying, Protection, RemoteStream, SrtpKeys};
    use sip::{MasterKey, SrtpSuite};

    use super::super::Agreed;
    use super::super::srtp::Context;
    use super::*;

    const PHONE_A: &str = "192.0.2.10:4000";
    const PHONE_B: &str = "198.51.100.20:6000";
    /// The same host, another port: what a NAT may have made of it.
    const NAT_B: &str = "198.51.100.20:7000";
    const SUITE: SrtpSuite = SrtpSuite::AesCm128Sha1_80;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn master(octet: u8) -> MasterKey {
        MasterKey::new(SUITE, &[octet; 30]).unwrap()
    }

    fn remote(rtp: &str) -> RemoteStream {
        let rtp = address(rtp);
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        RemoteStream {
            rtp,
            rtcp,
            signalling: rtp.ip(),
            sends: true,
            receives: true,
            is_rtp: true,
            is_audio: true,
        }
    }

    fn rtp(sequence: u8) -> Vec<u8> {
        [&[0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0xd5; 160]].concat()
    }

    /// A plain phone as A, and B with keys: what B sends is protected with 1, what it is sent with 2.
    fn described() -> Stream {
        let mut stream = Stream::default();
        stream.describe(Side::A, Some(remote(PHONE_A)));
        stream.describe(Side::B, Some(remote(PHONE_B)));
        let keys = SrtpKeys { suite: SUITE, inbound: master(1), outbound: master(2) };
        stream.protect(Side::B, Some(&Protection { keying: Keying::Sdes(keys), ice: None }), None, &|_| None);
        stream
    }

    fn pass(stream: &mut Stream, from: Side, source: &str, packet: &[u8]) -> (Verdict, Vec<u8>) {
        let channel = if packet[1] == 201 { Channel::Rtcp } else { Channel::Rtp };
        let mut buffer = [packet, &[0; OVERHEAD]].concat();
        let (verdict, length) =
            stream.pass(from, channel, address(source), &mut buffer, packet.len(), Time::ZERO);
        buffer.truncate(length);
        (verdict, buffer)
    }

    fn sealed(context: &mut Context, packet: &[u8]) -> Vec<u8> {
        let mut buffer = [packet, &[0; OVERHEAD]].concat();
        let length = context.protect_rtp(&mut buffer, packet.len()).unwrap();
        buffer.truncate(length);
        buffer
    }

    #[test]
    fn a_plain_side_and_one_with_keys_hear_each_other() {
        let mut stream = described();
        assert!(stream.needs_payload());
        let mut b = Context::new(SUITE, &master(1));
        let (verdict, packet) = pass(&mut stream, Side::B, PHONE_B, &sealed(&mut b, &rtp(1)));
        assert!(matches!(verdict, Verdict::Relay { media: Some(160), .. }), "{verdict:?}");
        assert_eq!(packet, rtp(1), "A is sent it in the clear");

        let (verdict, mut packet) = pass(&mut stream, Side::A, PHONE_A, &rtp(2));
        assert!(matches!(verdict, Verdict::Relay { media: Some(160), .. }), "{verdict:?}");
        assert_eq!(packet.len(), 182);
        let length = packet.len();
        assert_eq!(Context::new(SUITE, &master(2)).unprotect_rtp(&mut packet, length), Ok(172));
        assert_eq!(packet[..172], rtp(2));
    }

    #[test]
    fn control_is_turned_as_well() {
        let mut stream = described();
        let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let (verdict, mut packet) = pass(&mut stream, Side::A, "192.0.2.10:4001", &report);
        assert!(matches!(verdict, Verdict::Relay { out: Channel::Rtcp, .. }), "{verdict:?}");
        assert_eq!(packet.len(), 8 + 14);
        assert_eq!(Context::new(SUITE, &master(2)).unprotect_rtcp(&mut packet, 22), Ok(8));
        assert_eq!(packet[..8], report);
    }

    #[test]
    fn what_is_replayed_or_forged_is_dropped_and_counted() {
        let mut stream = described();
        let mut b = Context::new(SUITE, &master(1));
        let first = sealed(&mut b, &rtp(1));
        assert!(matches!(pass(&mut stream, Side::B, PHONE_B, &first).0, Verdict::Relay { .. }));
        assert_eq!(pass(&mut stream, Side::B, PHONE_B, &first).0, Verdict::Replayed);
        for packet in [rtp(2), sealed(&mut Context::new(SUITE, &master(7)), &rtp(3))] {
            assert_eq!(pass(&mut stream, Side::B, PHONE_B, &packet).0, Verdict::Forged);
        }
        let (_, from_b) = stream.close();
        assert_eq!((from_b.packets, from_b.dropped), (1, 3));
    }

    #[test]
    fn only_who_has_the_key_earns_the_latch() {
        let mut stream = described();
        let forged = sealed(&mut Context::new(SUITE, &master(7)), &rtp(1));
        let first_there = "198.51.100.20:9999";
        assert_eq!(pass(&mut stream, Side::B, first_there, &forged).0, Verdict::Forged);
        let why = stream.deaf(Side::B);
        assert_eq!(why.map(|why| why.to_string()).as_deref(), Some("wrong_key 198.51.100.20:9999"));
        let genuine = sealed(&mut Context::new(SUITE, &master(1)), &rtp(1));
        assert_eq!(pass(&mut stream, Side::B, "203.0.113.66:1", &genuine).0, Verdict::Drop, "a stranger");
        assert!(matches!(pass(&mut stream, Side::B, NAT_B, &genuine).0, Verdict::Relay { .. }));
        let (verdict, _) = pass(&mut stream, Side::A, PHONE_A, &rtp(1));
        assert!(matches!(verdict, Verdict::Relay { to, .. } if to == address(NAT_B)), "{verdict:?}");
    }

    #[test]
    fn what_an_encrypted_side_was_to_be_sent_does_not_go_there_in_the_clear_when_it_has_no_keys_any_more() {
        let nowhere = "198.51.100.20:0";
        let elsewhere = "198.51.100.20:9000";
        for (next, sent_to) in [(None, None), (Some(nowhere), None), (Some(elsewhere), Some(elsewhere))] {
            let mut stream = described();
            let genuine = sealed(&mut Context::new(SUITE, &master(1)), &rtp(1));
            assert!(matches!(pass(&mut stream, Side::B, NAT_B, &genuine).0, Verdict::Relay { .. }));
            let agreed = stream.agree(Side::B, next.map(remote), None, &|_| None);
            assert_eq!(agreed, Agreed { is_other: true, has_begun: false });
            assert!(!stream.needs_payload());
            let (verdict, packet) = pass(&mut stream, Side::A, PHONE_A, &rtp(1));
            match sent_to {
                None => assert_eq!(verdict, Verdict::Drop),
                Some(at) => {
                    assert!(matches!(verdict, Verdict::Relay { to, .. } if to == address(at)), "{verdict:?}");
                    assert_eq!(packet, rtp(1), "as this end wants it");
                }
            }
        }
    }

    #[test]
    fn a_key_that_comes_again_does_not_begin_anew() {
        let keys = |outbound| SrtpKeys { suite: SUITE, inbound: master(1), outbound: master(outbound) };
        let mut stream = described();
        assert!(matches!(pass(&mut stream, Side::A, PHONE_A, &rtp(1)).0, Verdict::Relay { .. }));
        for between in [None, Some(keys(3))] {
            let between = between.map(|keys| Protection { keying: Keying::Sdes(keys), ice: None });
            stream.protect(Side::B, between.as_ref(), None, &|_| None);
            let again = Protection { keying: Keying::Sdes(keys(2)), ice: None };
            stream.protect(Side::B, Some(&again), None, &|_| None);
            let mut other = rtp(1);
            other[20] = 0;
            assert_eq!(
                pass(&mut stream, Side::A, PHONE_A, &other).0,
                Verdict::Drop,
                "one index, two packets"
            );
        }
    }
}
