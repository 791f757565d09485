//! The handshakes of a side that makes its keys by DTLS: who may try, which attempt a record belongs to, and what is kept of
//! associations whose place others have taken.
//!
//! Until keys prove who the side is, anybody who can send from its address, or says so, may be it. So whoever begins gets an
//! attempt of its own, and nobody can end another's. One place is always left for the address where the side is expected.

use std::net::SocketAddr;

use call::{DtlsTerms, SrtpKeys};

use super::opening::{Begin, Handshake, Progress};
use super::srtp::Srtp;

/// So many may try at once: a side, and whoever else is at its address.
const MAX_ATTEMPTS: usize = 4;
/// So many associations are kept for descriptions that come back to them: those of branches whose early media take turns.
const MAX_LAID_BY: usize = 4;

/// The association of a side, made or in the making.
#[derive(Debug)]
pub(super) struct Dtls {
    terms: DtlsTerms,
    /// Where the side is; `None` where that may change.
    at: Option<SocketAddr>,
    /// The first that is done is the only one from then on.
    attempts: Vec<Attempt>,
    is_done: bool,
    /// Somebody showed another certificate.
    is_other: bool,
}

/// A handshake with one address.
#[derive(Debug)]
struct Attempt {
    /// `None`: it waits for who is expected.
    with: Option<SocketAddr>,
    handshake: Box<dyn Handshake>,
}

/// A record that belongs to no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ignored {
    /// By who sent it, or by its head.
    AtOnce,
    /// A handshake was made for it, and read it.
    InVain,
}

impl Dtls {
    pub(super) fn new(terms: DtlsTerms, at: Option<SocketAddr>, first: Option<Box<dyn Handshake>>) -> Dtls {
        let attempts = first.map(|handshake| Attempt { with: None, handshake }).into_iter().collect();
        Dtls { terms, at, attempts, is_done: false, is_other: false }
    }

    /// Whether it goes on by a description with these terms: while the ends and their roles are the same, and where they are
    /// (RFC 8842 §3.1).
    pub(super) fn is_of(&self, terms: &DtlsTerms, at: Option<SocketAddr>) -> bool {
        self.terms == *terms && self.at.zip(at).is_none_or(|(before, now)| before == now)
    }

    /// The side is there, if that is said.
    pub(super) fn is_at(&mut self, at: Option<SocketAddr>) {
        self.at = at.or(self.at);
    }

    /// Its keys are there.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// There may be keys yet, if time is told to pass.
    pub(super) fn goes_on(&self) -> bool {
        !self.is_done && !self.attempts.is_empty()
    }

    /// Begins once more where nothing has come of it and nothing will. Whether it does.
    pub(super) fn begin_again(&mut self, begin: Begin<'_>) -> bool {
        let is_over = !self.is_done && self.attempts.is_empty();
        let next = is_over.then(|| begin(self.terms)).flatten();
        self.attempts.extend(next.map(|handshake| Attempt { with: None, handshake }));
        is_over && self.goes_on()
    }

    /// Somebody showed another certificate than the description names.
    pub(super) fn was_another(&self) -> bool {
        self.is_other
    }

    /// A record from `source` came, where the side `is_expected` or may be. Keys, when it was the last that was missing.
    pub(super) fn receive(
        &mut self,
        source: SocketAddr,
        is_expected: bool,
        packet: &[u8],
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Option<SrtpKeys>, Ignored> {
        let known = self.attempts.iter().position(|attempt| attempt.with == Some(source));
        let index = match known {
            Some(index) => index,
            None if is_expected => self.claim(source).ok_or(Ignored::AtOnce)?,
            None => self.admit(source, packet).ok_or(Ignored::AtOnce)?,
        };
        let attempt = self.attempts.get_mut(index).ok_or(Ignored::AtOnce)?;
        let progress = attempt.handshake.receive(packet, out);
        // What the library makes nothing of is nobody's beginning.
        let is_noise = known.is_none() && !is_expected && out.is_empty();
        if is_noise && matches!(progress, Progress::Going) {
            self.attempts.remove(index);
            return Err(Ignored::InVain);
        }
        Ok(self.progress(index, progress))
    }

    /// The attempt of who is where the side is expected.
    fn claim(&mut self, source: SocketAddr) -> Option<usize> {
        let unclaimed = self.attempts.iter().position(|attempt| attempt.with.is_none());
        // Who is spoken to first is the only one that there is to speak to, wherever it is by now.
        let own = unclaimed.or_else(|| self.terms.active.then_some(0));
        let index = match own {
            Some(index) => index,
            None if self.is_done => return None,
            None => {
                let handshake = self.attempts.first()?.handshake.anew()?;
                self.attempts.truncate(MAX_ATTEMPTS - 1);
                self.attempts.push(Attempt { with: None, handshake });
                self.attempts.len() - 1
            }
        };
        self.attempts.get_mut(index)?.with = Some(source);
        Some(index)
    }

    /// An attempt of somebody who is at the side's address.
    fn admit(&mut self, source: SocketAddr, packet: &[u8]) -> Option<usize> {
        if self.is_done || self.terms.active || self.attempts.len() >= MAX_ATTEMPTS {
            return None;
        }
        let first = &self.attempts.first()?.handshake;
        let handshake = first.may_begin_with(packet).then(|| first.anew()).flatten()?;
        self.attempts.push(Attempt { with: Some(source), handshake });
        Some(self.attempts.len() - 1)
    }

    /// Time has passed. `to`: where the side is expected.
    pub(super) fn tend(
        &mut self,
        to: Option<SocketAddr>,
        replies: &mut Vec<(SocketAddr, Vec<u8>)>,
    ) -> Option<SrtpKeys> {
        let mut keys = None;
        for index in (0..self.attempts.len()).rev() {
            let Some(attempt) = self.attempts.get_mut(index) else { continue };
            // Keys come before the description that says where the side is. Who is begun with is where it is now.
            let to = if self.terms.active { to.or(attempt.with) } else { attempt.with.or(to) };
            let Some(to) = to else { continue };
            let mut out = Vec::new();
            let progress = attempt.handshake.tend(&mut out);
            replies.extend(out.into_iter().map(|packet| (to, packet)));
            keys = keys.or(self.progress(index, progress));
        }
        keys
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

/// Keys of a side that protect nothing at the moment: should its descriptions come back to them, they go on where they were.
#[derive(Debug, Default)]
pub(super) struct LaidBy {
    /// Those that descriptions had in them.
    pub(super) srtp: Option<Box<Srtp>>,
    /// The last at the end.
    associations: Vec<(Dtls, Option<Box<Srtp>>)>,
}

impl LaidBy {
    pub(super) fn put(&mut self, dtls: Dtls, srtp: Option<Box<Srtp>>) {
        if self.associations.len() >= MAX_LAID_BY {
            self.associations.remove(0);
        }
        self.associations.push((dtls, srtp));
    }

    pub(super) fn take(
        &mut self,
        terms: &DtlsTerms,
        at: Option<SocketAddr>,
    ) -> Option<(Dtls, Option<Box<Srtp>>)> {
        let known = self.associations.iter().rposition(|(dtls, _)| dtls.is_of(terms, at))?;
        let (mut dtls, srtp) = self.associations.remove(known);
        dtls.is_at(at);
        Some((dtls, srtp))
    }
}
