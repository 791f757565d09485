//! What comes before media on a port whose side checks its path (ICE) or makes its keys by a handshake (DTLS-SRTP), told
//! apart by the first octet (RFC 7983).

use std::fmt;
use std::net::SocketAddr;

use call::{Deaf, DtlsTerms, IceTerms, KeySource, Keying, Protection, Side, SrtpKeys, SrtpUse};

use super::srtp::Srtp;
use super::{Channel, End, Stream, Verdict, header, stun};

/// The DTLS of one side, wherever that is done. Packets to be sent are pushed to `out`.
pub(crate) trait Handshake: fmt::Debug + Send {
    /// Another to the same terms, from the beginning.
    fn anew(&self) -> Option<Box<dyn Handshake>>;

    /// A record of the peer's came.
    fn receive(&mut self, packet: &[u8], out: &mut Vec<Vec<u8>>) -> Progress;

    /// Time has passed: what was lost is sent again.
    fn tend(&mut self, out: &mut Vec<Vec<u8>>) -> Progress;
}

/// How far a handshake is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Under way, or over and nothing new.
    Going,
    /// The peer showed the certificate that its description names, and these keys came of it.
    Done(Box<SrtpKeys>),
    /// There will be no keys.
    Failed,
    /// The same: the peer showed another certificate.
    WrongCertificate,
}

/// Makes a handshake to these terms.
pub(crate) type Begin<'a> = &'a dyn Fn(DtlsTerms) -> Option<Box<dyn Handshake>>;

/// What a side's port does besides media.
#[derive(Debug, Default)]
pub(super) struct Opening {
    ice: Option<IceTerms>,
    dtls: Option<Dtls>,
    /// What is to be sent out of the port that something came to.
    replies: Vec<(SocketAddr, Vec<u8>)>,
}

#[derive(Debug)]
struct Dtls {
    terms: DtlsTerms,
    /// The first that is done is the only one from then on.
    attempts: Vec<Attempt>,
    is_done: bool,
    /// Somebody showed another certificate.
    is_other: bool,
}

/// A handshake with one address. Until keys prove who the side is, whoever may be it gets one of their own: what one sends
/// must not end another's.
#[derive(Debug)]
struct Attempt {
    /// `None`: nothing has come yet.
    with: Option<SocketAddr>,
    handshake: Box<dyn Handshake>,
}

/// So many may try at once: a side, and whoever else is at its address.
const MAX_ATTEMPTS: usize = 4;

impl Dtls {
    fn new(terms: DtlsTerms, first: Option<Box<dyn Handshake>>) -> Dtls {
        let attempts = first.map(|handshake| Attempt { with: None, handshake }).into_iter().collect();
        Dtls { terms, attempts, is_done: false, is_other: false }
    }

    /// The attempt that a record from `source` belongs to.
    fn attempt(&mut self, source: SocketAddr) -> Option<usize> {
        let known = self.attempts.iter().position(|attempt| attempt.with == Some(source));
        let unclaimed = || self.attempts.iter().position(|attempt| attempt.with.is_none());
        let found = known.or_else(unclaimed);
        let index = match found {
            Some(index) => index,
            // Who is spoken to first is the only one that there is to speak to.
            None if self.is_done || self.terms.active || self.attempts.len() >= MAX_ATTEMPTS => return None,
            None => {
                let handshake = self.attempts.first()?.handshake.anew()?;
                self.attempts.push(Attempt { with: None, handshake });
                self.attempts.len() - 1
            }
        };
        self.attempts.get_mut(index)?.with = Some(source);
        Some(index)
    }

    /// What has come of an attempt; keys, if it is done.
    fn progress(&mut self, index: usize, progress: Progress) -> Option<SrtpKeys> {
        match progress {
            Progress::Going => None,
            Progress::Done(keys) => {
                self.is_done = true;
                self.attempts.swap(0, index);
                self.attempts.truncate(1);
                Some(*keys)
            }
            Progress::Failed | Progress::WrongCertificate => {
                self.is_other |= matches!(progress, Progress::WrongCertificate);
                let failed = self.attempts.remove(index);
                // The side itself may still come.
                if self.attempts.is_empty() && !self.terms.active {
                    let next = failed.handshake.anew();
                    self.attempts.extend(next.map(|handshake| Attempt { with: None, handshake }));
                }
                None
            }
        }
    }
}

impl Opening {
    /// Keys are still to come.
    pub(super) fn awaits_keys(&self) -> bool {
        self.dtls.as_ref().is_some_and(|dtls| !dtls.is_done)
    }

    pub(super) fn checks_path(&self) -> bool {
        self.ice.is_some()
    }
}

impl Stream {
    /// How the packets of a side are protected from now on. Whether a handshake was begun, which
    /// [`Stream::tend`] must be called for.
    pub(crate) fn protect(&mut self, side: Side, protection: Option<&Protection>, begin: Begin<'_>) -> bool {
        self.end_mut(side).protect(protection, begin)
    }

    /// Time has passed for the handshake of a side: whether it still goes on. What is to be sent is among the
    /// [`Stream::replies`].
    pub(crate) fn tend(&mut self, side: Side) -> bool {
        let closed = self.closed;
        let end = self.end_mut(side);
        let to = end.handshake_target();
        let Some(opening) = end.opening.as_mut().filter(|_| !closed) else { return false };
        let Some(dtls) = opening.dtls.as_mut().filter(|dtls| !dtls.is_done) else { return false };
        let mut keys = None;
        for index in (0..dtls.attempts.len()).rev() {
            let Some(attempt) = dtls.attempts.get_mut(index) else { continue };
            // Keys come before the description that says where the side is.
            let Some(to) = attempt.with.or(to) else { continue };
            let mut out = Vec::new();
            let progress = attempt.handshake.tend(&mut out);
            opening.replies.extend(out.into_iter().map(|packet| (to, packet)));
            keys = keys.or(dtls.progress(index, progress));
        }
        let goes_on = !dtls.is_done && !dtls.attempts.is_empty();
        end.take_keys(keys);
        goes_on
    }

    /// What is to be sent out of the port of a side that something came to.
    pub(crate) fn replies(&mut self, side: Side) -> Vec<(SocketAddr, Vec<u8>)> {
        let opening = self.end_mut(side).opening.as_mut();
        opening.map_or_else(Vec::new, |opening| std::mem::take(&mut opening.replies))
    }
}

impl End {
    fn protect(&mut self, protection: Option<&Protection>, begin: Begin<'_>) -> bool {
        let ice = protection.and_then(|protection| protection.ice.clone());
        let mut begun = false;
        let dtls = match protection.map(|protection| &protection.keying) {
            Some(Keying::Sdes(keys)) => {
                match self.srtp.take().or_else(|| self.laid_by.take()) {
                    Some(mut srtp) => {
                        srtp.rekey(keys);
                        self.srtp = Some(srtp);
                    }
                    None => self.srtp = Some(Box::new(Srtp::new(keys.clone()))),
                }
                None
            }
            Some(Keying::Dtls(terms)) => {
                let before = self.opening.take().and_then(|opening| opening.dtls);
                // RFC 8842 §4: the association goes on while the descriptions name the same ends.
                let same = before.filter(|dtls| dtls.terms.fingerprint == terms.fingerprint);
                Some(same.unwrap_or_else(|| {
                    begun = true;
                    self.srtp = None;
                    Dtls::new(*terms, begin(*terms))
                }))
            }
            Some(Keying::Plain) | None => {
                self.laid_by = self.srtp.take().or_else(|| self.laid_by.take());
                None
            }
        };
        for latch in [&mut self.rtp, &mut self.rtcp] {
            latch.keep_chosen(ice.is_some());
        }
        let opening = Opening { ice, dtls, replies: Vec::new() };
        let is_needed = opening.ice.is_some() || opening.dtls.is_some();
        self.opening = is_needed.then(|| Box::new(opening));
        begun
    }

    /// Where a handshake is begun: also with a side on hold, which is to have keys when it comes back, but not before a side
    /// that checks its path has chosen one.
    fn handshake_target(&self) -> Option<SocketAddr> {
        let remote = self.known()?;
        if self.checks_path() {
            return self.rtp.source();
        }
        Some(self.rtp.target(remote.rtp)).filter(|to| !to.ip().is_unspecified())
    }

    /// What a packet is that is no media and is for this box: [`Verdict::Reply`] where there is something to send.
    pub(super) fn open_path(
        &mut self,
        channel: Channel,
        source: SocketAddr,
        packet: &[u8],
    ) -> Option<Verdict> {
        let opening = self.opening.as_mut()?;
        if header::is_stun(packet) {
            let terms = opening.ice.as_ref()?;
            let Some(check) = stun::check(packet, terms, source) else {
                self.dropped += 1;
                return Some(Verdict::Drop);
            };
            if check.is_nominated {
                match channel {
                    Channel::Rtp => self.rtp.select(source),
                    Channel::Rtcp => self.rtcp.select(source),
                }
            }
            opening.replies.push((source, check.answer));
            return Some(Verdict::Reply);
        }
        // RFC 7983: 20 to 63.
        if !packet.first().is_some_and(|first| (20..64).contains(first)) {
            return None;
        }
        let (remote, dtls) = (self.remote?, opening.dtls.as_mut()?);
        let is_peer = channel == Channel::Rtp && self.rtp.may_admit(remote.rtp, remote.signalling, source);
        let index = if is_peer { dtls.attempt(source) } else { None };
        let Some((index, attempt)) = index.and_then(|index| Some((index, dtls.attempts.get_mut(index)?)))
        else {
            self.dropped += 1;
            return Some(Verdict::Drop);
        };
        let mut out = Vec::new();
        let progress = attempt.handshake.receive(packet, &mut out);
        let keys = dtls.progress(index, progress);
        opening.replies.extend(out.into_iter().map(|packet| (source, packet)));
        self.take_keys(keys);
        Some(Verdict::Reply)
    }

    /// Why the side has no keys, if it should have some by now.
    pub(super) fn keyless(&self) -> Option<Deaf> {
        let dtls = self.opening.as_ref()?.dtls.as_ref().filter(|dtls| !dtls.is_done)?;
        Some(if dtls.is_other { Deaf::WrongCertificate } else { Deaf::NoHandshake })
    }

    /// How its packets are encrypted.
    pub(super) fn srtp_use(&self) -> Option<SrtpUse> {
        let has_dtls = self.opening.as_ref().is_some_and(|opening| opening.dtls.is_some());
        let source = if has_dtls { KeySource::Dtls } else { KeySource::Sdes };
        self.srtp.as_ref().map(|srtp| SrtpUse { source, suite: srtp.suite() })
    }

    fn take_keys(&mut self, keys: Option<SrtpKeys>) {
        if let Some(keys) = keys {
            self.srtp = Some(Box::new(Srtp::new(keys)));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use call::RemoteStream;
    use sip::{Fingerprint, MasterKey, SrtpSuite, Time};

    use super::super::passage::OVERHEAD;
    use super::*;

    const PEER: &str = "192.0.2.10:4000";
    const ELSEWHERE: &str = "203.0.113.9:7000";
    const OTHER: &str = "198.51.100.20:6000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn remote(rtp: &str) -> RemoteStream {
        let rtp = address(rtp);
        RemoteStream { rtp, rtcp: rtp, signalling: rtp.ip(), sends: true, receives: true }
    }

    fn ice() -> IceTerms {
        IceTerms { user: "ours:theirs".into(), password: "a password of some length".into() }
    }

    fn described(protection: Protection, begin: Begin<'_>) -> Stream {
        let mut stream = Stream::default();
        stream.protect(Side::A, Some(&protection), begin);
        stream.describe(Side::A, Some(remote(PEER)));
        stream.describe(Side::B, Some(remote(OTHER)));
        stream
    }

    fn pass(stream: &mut Stream, from: Side, source: &str, packet: &[u8]) -> Verdict {
        let mut buffer = [packet, &[0; OVERHEAD]].concat();
        stream.pass(from, Channel::Rtp, address(source), &mut buffer, packet.len(), Time::ZERO).0
    }

    fn rtp() -> Vec<u8> {
        [&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0xd5; 160]].concat()
    }

    fn nobody(_: DtlsTerms) -> Option<Box<dyn Handshake>> {
        None
    }

    #[test]
    fn packets_go_where_a_check_with_the_right_password_came_from_and_come_from_nowhere_else() {
        let mut stream = described(Protection { keying: Keying::Plain, ice: Some(ice()) }, &nobody);
        let forged = IceTerms { password: "another password of some length".into(), ..ice() };
        let nominate = |terms: &IceTerms| stun::tests::request(terms, true);
        assert_eq!(pass(&mut stream, Side::A, OTHER, &nominate(&forged)), Verdict::Drop);
        assert!(stream.replies(Side::A).is_empty());
        assert_eq!(pass(&mut stream, Side::A, ELSEWHERE, &nominate(&ice())), Verdict::Reply);
        assert_eq!(stream.replies(Side::A)[0].0, address(ELSEWHERE));
        assert!(matches!(pass(&mut stream, Side::B, OTHER, &rtp()),
            Verdict::Relay { to, .. } if to == address(ELSEWHERE)));
        assert!(matches!(pass(&mut stream, Side::A, ELSEWHERE, &rtp()), Verdict::Relay { .. }));
        assert_eq!(
            pass(&mut stream, Side::A, PEER, &rtp()),
            Verdict::Drop,
            "described, but another was chosen"
        );
        stream.describe(Side::A, Some(RemoteStream { receives: false, ..remote(PEER) }));
        stream.describe(Side::A, Some(remote(PEER)));
        assert!(
            matches!(pass(&mut stream, Side::A, ELSEWHERE, &rtp()), Verdict::Relay { .. }),
            "held, resumed"
        );
        assert_eq!(pass(&mut stream, Side::A, PEER, &nominate(&ice())), Verdict::Reply);
        assert!(matches!(pass(&mut stream, Side::A, PEER, &rtp()), Verdict::Relay { .. }), "it chose anew");
    }

    #[test]
    fn a_page_that_does_not_know_its_address_yet_is_not_on_hold() {
        let mut stream = described(Protection { keying: Keying::Plain, ice: Some(ice()) }, &nobody);
        stream.describe(Side::A, Some(remote("0.0.0.0:9")));
        assert_eq!(pass(&mut stream, Side::B, OTHER, &rtp()), Verdict::Drop, "nowhere to go yet");
        let check = stun::tests::request(&ice(), true);
        assert_eq!(pass(&mut stream, Side::A, ELSEWHERE, &check), Verdict::Reply);
        assert!(matches!(pass(&mut stream, Side::B, OTHER, &rtp()),
            Verdict::Relay { to, .. } if to == address(ELSEWHERE)));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
        assert!(matches!(pass(&mut stream, Side::B, OTHER, &report),
            Verdict::Relay { to, media: None, .. } if to == address(ELSEWHERE)));
    }

    /// Is done with the first record, which it answers with another.
    #[derive(Debug)]
    struct Quick;

    impl Handshake for Quick {
        fn anew(&self) -> Option<Box<dyn Handshake>> {
            Some(Box::new(Quick))
        }

        fn receive(&mut self, _: &[u8], out: &mut Vec<Vec<u8>>) -> Progress {
            out.push(vec![22, 1]);
            let suite = SrtpSuite::AesCm128Sha1_80;
            let (inbound, outbound) = (MasterKey::zero(suite), MasterKey::new(suite, &[1; 30]).unwrap());
            Progress::Done(Box::new(SrtpKeys { suite, inbound, outbound }))
        }

        fn tend(&mut self, _: &mut Vec<Vec<u8>>) -> Progress {
            Progress::Going
        }
    }

    #[test]
    fn nothing_flows_before_the_handshake_is_done() {
        let terms = DtlsTerms { fingerprint: Fingerprint([0; 32]), active: false };
        let protection = Protection { keying: Keying::Dtls(terms), ice: None };
        let begin = |_| Some(Box::new(Quick) as Box<dyn Handshake>);
        let mut stream = described(protection.clone(), &begin);
        assert!(stream.needs_payload() && stream.tend(Side::A));
        assert_eq!(stream.deaf(Side::A), Some(Deaf::NoHandshake));
        assert_eq!(pass(&mut stream, Side::A, PEER, &rtp()), Verdict::Drop);
        assert_eq!(pass(&mut stream, Side::B, OTHER, &rtp()), Verdict::Drop, "not in the clear");
        assert_eq!(pass(&mut stream, Side::A, ELSEWHERE, &[22, 0]), Verdict::Drop, "a stranger's");
        assert_eq!(pass(&mut stream, Side::A, PEER, &[22, 0]), Verdict::Reply);
        assert_eq!(stream.replies(Side::A), [(address(PEER), vec![22, 1])]);
        assert!(!stream.tend(Side::A));
        let used = stream.stats(Side::A).srtp.map(|used| used.to_string());
        assert_eq!(used.as_deref(), Some("dtls AES_CM_128_HMAC_SHA1_80"));
        assert!(matches!(pass(&mut stream, Side::B, OTHER, &rtp()), Verdict::Relay { .. }));
        assert!(!stream.protect(Side::A, Some(&protection), &begin), "a re-INVITE begins no other");
        assert!(matches!(
            pass(&mut stream, Side::B, OTHER, &[&rtp()[..3], &[2], &rtp()[4..]].concat()),
            Verdict::Relay { .. }
        ));
    }

    #[test]
    fn what_another_at_the_same_address_sends_does_not_end_the_handshake_of_the_side() {
        /// Is done with a record that says so, and fails with any other.
        #[derive(Debug)]
        struct Told;
        impl Handshake for Told {
            fn anew(&self) -> Option<Box<dyn Handshake>> {
                Some(Box::new(Told))
            }
            fn receive(&mut self, packet: &[u8], out: &mut Vec<Vec<u8>>) -> Progress {
                match packet {
                    [22, 1] => Quick.receive(packet, out),
                    _ => Progress::WrongCertificate,
                }
            }
            fn tend(&mut self, _: &mut Vec<Vec<u8>>) -> Progress {
                Progress::Going
            }
        }
        let terms = DtlsTerms { fingerprint: Fingerprint([0; 32]), active: false };
        let protection = Protection { keying: Keying::Dtls(terms), ice: None };
        let mut stream = described(protection, &|_| Some(Box::new(Told)));
        let neighbours = ["192.0.2.10:1", "192.0.2.10:2", "192.0.2.10:3", "192.0.2.10:4", "192.0.2.10:5"];
        for neighbour in neighbours {
            assert_eq!(pass(&mut stream, Side::A, neighbour, &[22, 0]), Verdict::Reply);
        }
        assert_eq!(stream.deaf(Side::A), Some(Deaf::WrongCertificate));
        assert!(stream.tend(Side::A), "the side may still come");
        assert_eq!(pass(&mut stream, Side::A, PEER, &[22, 1]), Verdict::Reply);
        assert!(!stream.tend(Side::A));
        assert_eq!(pass(&mut stream, Side::A, neighbours[0], &[22, 1]), Verdict::Drop, "there are keys");
        assert!(matches!(pass(&mut stream, Side::B, OTHER, &rtp()), Verdict::Relay { .. }));
    }

    #[test]
    fn who_shows_the_wrong_certificate_is_not_heard() {
        #[derive(Debug)]
        struct Fails;
        impl Handshake for Fails {
            fn anew(&self) -> Option<Box<dyn Handshake>> {
                None
            }
            fn receive(&mut self, _: &[u8], _: &mut Vec<Vec<u8>>) -> Progress {
                Progress::WrongCertificate
            }
            fn tend(&mut self, _: &mut Vec<Vec<u8>>) -> Progress {
                Progress::Going
            }
        }
        let terms = DtlsTerms { fingerprint: Fingerprint([0; 32]), active: false };
        let protection = Protection { keying: Keying::Dtls(terms), ice: None };
        let mut stream = described(protection, &|_| Some(Box::new(Fails)));
        pass(&mut stream, Side::A, PEER, &[22, 0]);
        assert_eq!(pass(&mut stream, Side::A, PEER, &[22, 0]), Verdict::Drop);
        assert_eq!(pass(&mut stream, Side::A, PEER, &rtp()), Verdict::Drop);
        assert!(!stream.tend(Side::A));
        assert_eq!(stream.deaf(Side::A), Some(Deaf::WrongCertificate));
    }
}
