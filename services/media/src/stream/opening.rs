//! What comes before media on a port whose side checks its path (ICE) or makes its keys by a handshake (DTLS-SRTP), told
//! apart by the first octet (RFC 7983).

use std::fmt;
use std::net::SocketAddr;

use call::{Deaf, DtlsTerms, IceTerms, KeySource, Keying, Protection, Side, SrtpKeys, SrtpUse};

use super::attempts::{Dtls, Ignored};
use super::srtp::Srtp;
use super::{Channel, End, Stream, Verdict, header, same, stun};

/// The DTLS of one side, wherever that is done. Packets to be sent are pushed to `out`.
pub(crate) trait Handshake: fmt::Debug + Send {
    /// Another to the same terms, from the beginning.
    fn anew(&self) -> Option<Box<dyn Handshake>>;

    /// Whether a record may be the first that a side sends which begins. Looks at its head only.
    fn may_begin_with(&self, packet: &[u8]) -> bool;

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
pub(super) type Begin<'a> = &'a dyn Fn(DtlsTerms) -> Option<Box<dyn Handshake>>;

/// What a side's port does besides media.
#[derive(Debug, Default)]
pub(super) struct Opening {
    ice: Option<IceTerms>,
    dtls: Option<Dtls>,
    /// What is to be sent out of the port that something came to.
    replies: Vec<(SocketAddr, Vec<u8>)>,
}

impl Opening {
    /// Keys are still to come.
    pub(super) fn awaits_keys(&self) -> bool {
        self.dtls.as_ref().is_some_and(|dtls| !dtls.is_done())
    }

    /// The side finds out where it can be reached. Who makes no checks is where its description says (RFC 8445 §8.2).
    pub(super) fn checks_path(&self) -> bool {
        self.ice.as_ref().is_some_and(|ice| !ice.is_lite)
    }
}

impl Stream {
    /// How the packets of a side are protected from now on, by a description that says it is at this address. Whether a
    /// handshake was begun, which [`Stream::tend`] must be called for.
    pub(super) fn protect(
        &mut self,
        side: Side,
        protection: Option<&Protection>,
        at: Option<SocketAddr>,
        begin: Begin<'_>,
    ) -> bool {
        self.end_mut(side).protect(protection, at, begin)
    }

    /// Time has passed for the handshake of a side: whether it still goes on. What is to be sent is among the
    /// [`Stream::replies`].
    pub(crate) fn tend(&mut self, side: Side) -> bool {
        let closed = self.closed;
        let end = self.end_mut(side);
        let to = end.handshake_target();
        let Some(opening) = end.opening.as_mut().filter(|_| !closed) else { return false };
        let Some(dtls) = opening.dtls.as_mut().filter(|dtls| !dtls.is_done()) else { return false };
        let keys = dtls.tend(to, &mut opening.replies);
        let goes_on = dtls.goes_on();
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
    fn protect(&mut self, protection: Option<&Protection>, at: Option<SocketAddr>, begin: Begin<'_>) -> bool {
        let ice = protection.and_then(|protection| protection.ice.clone());
        let before = self.opening.take().and_then(|opening| opening.dtls);
        // Who checks its path may move with its association; a hold does not say where the side is.
        let at = at.filter(|at| ice.is_none() && !at.ip().is_unspecified());
        let mut begun = false;
        let dtls = match protection.map(|protection| &protection.keying) {
            Some(Keying::Sdes(keys)) => {
                self.lay_by(before);
                match self.laid_by.as_mut().and_then(|laid_by| laid_by.srtp.take()) {
                    Some(mut srtp) => {
                        srtp.rekey(keys);
                        self.srtp = Some(srtp);
                    }
                    None => self.srtp = Some(Box::new(Srtp::new(keys.clone()))),
                }
                None
            }
            Some(Keying::Dtls(terms)) => Some(match before {
                Some(mut same) if same.is_of(terms, at) => {
                    same.is_at(at);
                    begun = same.begin_again(begin);
                    same
                }
                other => {
                    self.lay_by(other);
                    let known = self.laid_by.as_mut().and_then(|laid_by| laid_by.take(terms, at));
                    let (mut dtls, srtp) =
                        known.unwrap_or_else(|| (Dtls::new(*terms, at, begin(*terms)), None));
                    self.srtp = srtp;
                    dtls.begin_again(begin);
                    begun = !dtls.is_done();
                    dtls
                }
            }),
            Some(Keying::Plain) | None => {
                self.lay_by(before);
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

    /// The keys that there are protect nothing for now.
    fn lay_by(&mut self, dtls: Option<Dtls>) {
        match (dtls, self.srtp.take()) {
            (None, None) => {}
            (None, srtp @ Some(_)) => self.laid_by.get_or_insert_default().srtp = srtp,
            (Some(dtls), srtp) => self.laid_by.get_or_insert_default().put(dtls, srtp),
        }
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
        let remote = self.remote?;
        let may_come = channel == Channel::Rtp && self.rtp.may_admit(remote.rtp, remote.signalling, source);
        let is_expected = same(source, remote.rtp) || self.handshake_target() == Some(source);
        let opening = self.opening.as_mut()?;
        let dtls = opening.dtls.as_mut()?;
        let mut out = Vec::new();
        let heard = match may_come {
            true => dtls.receive(source, is_expected, packet, &mut out),
            false => Err(Ignored::AtOnce),
        };
        opening.replies.extend(out.into_iter().map(|packet| (source, packet)));
        Some(match heard {
            Ok(keys) => {
                self.take_keys(keys);
                Verdict::Reply
            }
            Err(ignored) => {
                self.dropped += 1;
                match ignored {
                    Ignored::AtOnce => Verdict::Drop,
                    Ignored::InVain => Verdict::InVain,
                }
            }
        })
    }

    /// Why the side has no keys, if it should have some by now.
    pub(super) fn keyless(&self) -> Option<Deaf> {
        let dtls = self.opening.as_ref()?.dtls.as_ref().filter(|dtls| !dtls.is_done())?;
        Some(if dtls.was_another() { Deaf::WrongCertificate } else { Deaf::NoHandshake })
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
        RemoteStream {
            rtp,
            rtcp: rtp,
            signalling: rtp.ip(),
            sends: true,
            receives: true,
            is_rtp: true,
            is_audio: true,
        }
    }

    fn ice() -> IceTerms {
        IceTerms { user: "ours:theirs".into(), password: "a password of some length".into(), is_lite: false }
    }

    fn described(protection: Protection, begin: Begin<'_>) -> Stream {
        let mut stream = Stream::default();
        stream.protect(Side::A, Some(&protection), Some(address(PEER)), begin);
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

        fn may_begin_with(&self, _: &[u8]) -> bool {
            true
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
        let again = stream.protect(Side::A, Some(&protection), Some(address(PEER)), &begin);
        assert!(!again, "a re-INVITE begins no other");
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
            fn may_begin_with(&self, _: &[u8]) -> bool {
                true
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

    /// Answers a hello, is done with what follows it, and makes nothing of anything else.
    #[derive(Debug, Default)]
    struct Slow {
        is_begun: bool,
    }

    impl Handshake for Slow {
        fn anew(&self) -> Option<Box<dyn Handshake>> {
            Some(Box::<Slow>::default())
        }

        fn may_begin_with(&self, packet: &[u8]) -> bool {
            packet != [22, 66]
        }

        fn receive(&mut self, packet: &[u8], out: &mut Vec<Vec<u8>>) -> Progress {
            match packet {
                HELLO => {
                    self.is_begun = true;
                    out.push(vec![22, 2]);
                    Progress::Going
                }
                FINISHED if self.is_begun => Quick.receive(packet, out),
                FAILURE => Progress::Failed,
                _ => Progress::Going,
            }
        }

        fn tend(&mut self, out: &mut Vec<Vec<u8>>) -> Progress {
            out.push(HELLO.to_vec());
            self.is_begun = true;
            Progress::Going
        }
    }

    const HELLO: &[u8] = &[22, 1];
    const FINISHED: &[u8] = &[22, 3];
    const FAILURE: &[u8] = &[22, 9];
    const NEIGHBOURS: [&str; 5] =
        ["192.0.2.10:1", "192.0.2.10:2", "192.0.2.10:3", "192.0.2.10:4", "192.0.2.10:5"];

    fn slow(_: DtlsTerms) -> Option<Box<dyn Handshake>> {
        Some(Box::<Slow>::default())
    }

    fn dtls(certificate: u8, active: bool) -> Protection {
        let terms = DtlsTerms { fingerprint: Fingerprint([certificate; 32]), active };
        Protection { keying: Keying::Dtls(terms), ice: None }
    }

    #[test]
    fn neighbours_whose_handshakes_do_not_end_leave_a_place_for_the_side() {
        let mut stream = described(dtls(0, false), &slow);
        for neighbour in NEIGHBOURS {
            for noise in [&[20; 40], &[63; 1][..], &[22, 66], FINISHED] {
                let took = if noise == [22, 66] { Verdict::Drop } else { Verdict::InVain };
                assert_eq!(pass(&mut stream, Side::A, neighbour, noise), took);
            }
        }
        let taken = NEIGHBOURS.map(|neighbour| pass(&mut stream, Side::A, neighbour, HELLO));
        assert_eq!(taken.iter().filter(|verdict| **verdict == Verdict::Reply).count(), MANY - 1);
        // Its first attempt fails, its place is taken, and it is let in all the same.
        assert_eq!(pass(&mut stream, Side::A, PEER, FAILURE), Verdict::Reply);
        assert_eq!(pass(&mut stream, Side::A, NEIGHBOURS[4], HELLO), Verdict::Reply);
        assert_eq!(pass(&mut stream, Side::A, PEER, HELLO), Verdict::Reply);
        assert!(stream.tend(Side::A));
        assert_eq!(pass(&mut stream, Side::A, PEER, FINISHED), Verdict::Reply);
        assert!(!stream.tend(Side::A));
        assert!(matches!(pass(&mut stream, Side::B, OTHER, &rtp()), Verdict::Relay { .. }));
    }

    const MANY: usize = 4;

    #[test]
    fn who_is_spoken_to_first_is_not_whoever_answers_first() {
        let mut stream = described(dtls(0, true), &slow);
        assert!(stream.tend(Side::A));
        assert_eq!(stream.replies(Side::A), [(address(PEER), HELLO.to_vec())]);
        assert_eq!(pass(&mut stream, Side::A, NEIGHBOURS[0], FINISHED), Verdict::Drop);
        assert_eq!(pass(&mut stream, Side::A, PEER, FINISHED), Verdict::Reply);
        assert!(!stream.tend(Side::A));
    }

    #[test]
    fn a_side_that_makes_no_checks_either_is_spoken_to_where_its_description_says() {
        for is_lite in [true, false] {
            let protection = Protection { ice: Some(IceTerms { is_lite, ..ice() }), ..dtls(0, true) };
            let mut stream = described(protection, &slow);
            assert!(stream.tend(Side::A));
            let begun = stream.replies(Side::A).first().map(|(to, _)| *to);
            assert_eq!(begun, is_lite.then(|| address(PEER)));
        }
    }

    /// Describes A so, at this address; whether a handshake begins.
    fn again(stream: &mut Stream, protection: &Protection, at: &str) -> bool {
        let begun = stream.protect(Side::A, Some(protection), Some(address(at)), &slow);
        stream.describe(Side::A, Some(remote(at)));
        begun
    }

    fn shaken(stream: &mut Stream, with: &str) {
        assert_eq!(pass(stream, Side::B, OTHER, &rtp()), Verdict::Drop, "no keys yet");
        assert_eq!(pass(stream, Side::A, with, HELLO), Verdict::Reply);
        assert_eq!(pass(stream, Side::A, with, FINISHED), Verdict::Reply);
    }

    /// RFC 8842 §3.1.
    #[test]
    fn another_role_and_another_place_are_another_association_with_the_same_certificate() {
        let mut stream = described(dtls(0, false), &slow);
        shaken(&mut stream, PEER);
        assert!(!again(&mut stream, &dtls(0, false), "0.0.0.0:4000"), "held");
        assert!(!again(&mut stream, &dtls(0, false), PEER), "resumed");
        assert!(again(&mut stream, &dtls(0, false), ELSEWHERE), "moved");
        shaken(&mut stream, ELSEWHERE);
        assert!(again(&mut stream, &dtls(0, true), ELSEWHERE), "it is to be begun with now");
        shaken(&mut stream, ELSEWHERE);
        // Who checks its path takes its association along.
        let checked = Protection { ice: Some(ice()), ..dtls(0, true) };
        assert!(!again(&mut stream, &checked, PEER));
    }

    /// A peer may have no ears before it answers, and be spoken to in vain for as long as that is done.
    #[test]
    fn a_handshake_of_which_nothing_came_is_begun_again_by_the_next_description() {
        let mut stream = described(dtls(0, true), &slow);
        assert!(!again(&mut stream, &dtls(0, true), PEER), "it is under way");
        assert_eq!(pass(&mut stream, Side::A, PEER, FAILURE), Verdict::Reply);
        assert!(!stream.tend(Side::A), "given up");
        assert!(again(&mut stream, &dtls(0, true), PEER));
        assert!(stream.tend(Side::A));
        assert_eq!(stream.replies(Side::A), [(address(PEER), HELLO.to_vec())]);
        shaken(&mut stream, PEER);
        assert!(!again(&mut stream, &dtls(0, true), PEER), "it has its keys");
    }

    #[test]
    fn associations_of_branches_that_take_turns_go_on() {
        let mut stream = described(dtls(1, false), &slow);
        shaken(&mut stream, PEER);
        assert!(again(&mut stream, &dtls(2, false), ELSEWHERE));
        assert!(!again(&mut stream, &dtls(1, false), PEER), "it has its keys already");
        let mut next = rtp();
        next[3] += 1;
        assert!(matches!(pass(&mut stream, Side::B, OTHER, &next), Verdict::Relay { .. }));
        assert!(again(&mut stream, &dtls(2, false), ELSEWHERE), "and the other goes on being made");
        shaken(&mut stream, ELSEWHERE);
        stream.protect(Side::A, None, Some(address(OTHER)), &slow);
        assert!(!again(&mut stream, &dtls(2, false), ELSEWHERE), "plain in between");
        for certificate in 3..50 {
            assert!(again(&mut stream, &dtls(certificate, false), PEER));
        }
        assert!(again(&mut stream, &dtls(1, false), PEER), "what was long ago is forgotten");
    }

    #[test]
    fn who_shows_the_wrong_certificate_is_not_heard() {
        #[derive(Debug)]
        struct Fails;
        impl Handshake for Fails {
            fn anew(&self) -> Option<Box<dyn Handshake>> {
                None
            }
            fn may_begin_with(&self, _: &[u8]) -> bool {
                true
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
