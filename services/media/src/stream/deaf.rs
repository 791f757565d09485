//! Why nothing is heard of a side that should send: what its description says, and what came in place of its media.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use call::{Deaf, RemoteStream};

use super::header::Datagram;

/// What reached a media port and was not let in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turned {
    /// The last that the source filter did not know.
    stranger: Option<SocketAddr>,
    /// The last that might have been the side, and did not send RTP.
    unproven: Option<SocketAddr>,
    /// The last that might have been the side, and did not have its key.
    keyless: Option<SocketAddr>,
}

impl Turned {
    /// A datagram was not let in.
    pub(crate) fn away(&mut self, remote: &RemoteStream, source: SocketAddr, datagram: Datagram) {
        let may_come = source.ip() == remote.rtp.ip() || source.ip() == remote.signalling;
        match datagram {
            Datagram::Stun => {}
            Datagram::Rtp(_) => self.stranger = Some(source),
            Datagram::Rtcp | Datagram::Other if may_come => self.unproven = Some(source),
            Datagram::Rtcp | Datagram::Other => self.stranger = Some(source),
        }
    }

    /// An encrypted packet was not let in, from where the side may send.
    pub(crate) fn forged(&mut self, source: SocketAddr) {
        self.keyless = Some(source);
    }

    /// The likely cause, the surest first.
    pub(crate) fn why(&self, remote: &RemoteStream) -> Deaf {
        let described = remote.rtp.ip();
        if let Some(source) = self.keyless {
            return Deaf::WrongKey(source);
        }
        match (self.stranger, self.unproven) {
            (_, Some(source)) => Deaf::NoLatch(source),
            (Some(source), None) => Deaf::WrongSource(source),
            (None, None) if is_unrouted(described) && described != remote.signalling => {
                Deaf::PrivateAddress(described)
            }
            (None, None) => Deaf::Nothing,
        }
    }
}

/// Whether the internet has no way there: RFC 1918, RFC 6598, RFC 3927; RFC 4193, RFC 4291 §2.5.6.
fn is_unrouted(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22;
            ip.is_private() || ip.is_link_local() || ip.to_bits() >> 22 == shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::header::classify_media;
    use super::*;

    fn remote(rtp: &str, signalling: &str) -> RemoteStream {
        let rtp: SocketAddr = rtp.parse().unwrap();
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        RemoteStream {
            rtp,
            rtcp,
            signalling: signalling.parse().unwrap(),
            sends: true,
            receives: true,
            is_rtp: true,
            is_audio: true,
        }
    }

    fn why(remote: RemoteStream, came: &[(&str, &[u8])]) -> String {
        let mut turned = Turned::default();
        for (source, packet) in came {
            turned.away(&remote, source.parse().unwrap(), classify_media(packet, false));
        }
        turned.why(&remote).to_string()
    }

    const RTP: [u8; 12] = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];

    #[test]
    fn a_private_address_is_named_where_signalling_comes_from_elsewhere() {
        for private in
            ["10.1.2.3:4000", "172.31.0.1:4000", "192.168.0.9:4000", "100.64.0.1:4000", "169.254.1.1:4000"]
        {
            let (ip, _) = private.split_once(':').unwrap();
            assert_eq!(why(remote(private, "203.0.113.1"), &[]), format!("private_address {ip}"));
            assert_eq!(why(remote(private, ip), &[]), "nothing_received", "both in one network");
        }
        assert_eq!(why(remote("[fd00::1]:4000", "2001:db8::1"), &[]), "private_address fd00::1");
        for public in ["100.128.0.1:4000", "172.32.0.1:4000"] {
            assert_eq!(why(remote(public, "203.0.113.1"), &[]), "nothing_received");
        }
    }

    #[test]
    fn who_came_instead_is_named_before_what_the_description_says() {
        let phone = remote("192.168.0.9:4000", "203.0.113.1");
        let stranger: (&str, &[u8]) = ("198.51.100.66:9", &RTP);
        assert_eq!(why(phone, &[stranger]), "wrong_source 198.51.100.66:9");
        let noise: (&str, &[u8]) = ("203.0.113.1:5", b"not RTP");
        assert_eq!(why(phone, &[noise, stranger]), "no_latch 203.0.113.1:5");
        let probe = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[0; 12]].concat();
        assert_eq!(
            why(phone, &[("198.51.100.66:9", &probe)]),
            "private_address 192.168.0.9",
            "a probe is nobody's media"
        );
    }
}
