//! DTLS-SRTP (RFC 5763, RFC 5764): the certificate of this process, and handshakes on media ports.
//!
//! The library is handed datagrams and the time, and asked for datagrams. Its peer is whoever writes to a media port, so it
//! is given only as much as a handshake needs ([`Allowance`]), and should it panic nevertheless, that is the end of this
//! handshake and not of the relay.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use call::{DtlsTerms, SrtpKeys};
use ring::digest::{SHA256, digest};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::{Certificate, CryptoPrivateKey};
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use sip::{Fingerprint, MasterKey, SrtpSuite};
use zeroize::Zeroizing;

use super::allowance::Allowance;
use crate::stream::{Handshake, Progress};

/// The label of the keys that SRTP takes (RFC 5764 §4.2).
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";

/// What is offered, and chosen from.
const PROFILES: [SrtpProtectionProfile; 4] = [
    SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32,
];

/// After so long without an answer a flight is sent again: the first often overtakes the answer that makes the peer listen.
/// A second, which RFC 6347 §4.2.4.1 begins with, would be a second of silence; everybody's round trip is less than this.
const FLIGHT: Duration = Duration::from_millis(250);

/// How often a handshake that nobody has answered is begun anew, each time with eight flights: a peer that still rings may
/// have no ears yet. Nor is one that was closed begun more often.
const MAX_BEGUN: u8 = 30;

/// The library tells associations apart by their addresses; here each has an endpoint of its own.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The certificate that the relay shows, made at its start and good for its life.
pub(crate) struct Identity {
    own: Arc<Own>,
    fingerprint: Fingerprint,
}

/// What each handshake takes.
struct Own {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
}

impl Identity {
    /// `None` when the system has no randomness.
    pub(crate) fn new() -> Option<Identity> {
        let provider = rtc_dtls::crypto_provider::default_provider().ok()?;
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).ok()?;
        let mut params = rcgen::CertificateParams::new(Vec::new()).ok()?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "media");
        let shown = params.self_signed(&key).ok()?.der().clone();
        let fingerprint = fingerprint(&shown)?;
        let private_key = CryptoPrivateKey::from_key_pair(&key, provider.crypto()).ok()?;
        let certificate = Certificate { certificate: vec![shown], private_key };
        Some(Identity { own: Arc::new(Own { provider, certificate }), fingerprint })
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A handshake to these terms.
    pub(crate) fn begin(&self, terms: DtlsTerms) -> Option<Box<dyn Handshake>> {
        self.own.begin(terms)
    }
}

impl Own {
    fn begin(self: &Arc<Own>, terms: DtlsTerms) -> Option<Box<dyn Handshake>> {
        let shown = Arc::new(Shown::default());
        let config = Arc::new(self.config(terms, &shown)?);
        let mut association = Association {
            own: Arc::clone(self),
            config,
            terms,
            endpoint: None,
            begun: 0,
            resumes: None,
            allowance: Allowance::default(),
            shown,
            stage: Stage::Open,
        };
        association.begin(Instant::now()).then(|| Box::new(association) as Box<dyn Handshake>)
    }

    fn config(&self, terms: DtlsTerms, shown: &Arc<Shown>) -> Option<HandshakeConfig> {
        let shown = Arc::clone(shown);
        let verify = move |certificates: &[Vec<u8>], _: &[_]| {
            let is_named =
                certificates.first().and_then(|first| fingerprint(first)) == Some(terms.fingerprint);
            let of_this = if is_named { &shown.named } else { &shown.other };
            of_this.store(true, Relaxed);
            if is_named { Ok(()) } else { Err(Error::ErrInvalidCertificate) }
        };
        ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&self.provider))
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(PROFILES.to_vec())
            // Certificates sign themselves; which is right the description says (RFC 5763 §5).
            .with_insecure_skip_verify(true)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_verify_peer_certificate(Some(Arc::new(verify)))
            .with_server_name("media".to_owned())
            .with_flight_interval(FLIGHT)
            .build(terms.active, None)
            .ok()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

fn fingerprint(certificate: &[u8]) -> Option<Fingerprint> {
    digest(&SHA256, certificate).as_ref().try_into().ok().map(Fingerprint)
}

/// Which certificates the peer has shown.
#[derive(Debug, Default)]
struct Shown {
    /// The one that its description names; it proved that it has the key.
    named: AtomicBool,
    other: AtomicBool,
}

/// How far an association is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Keys are still to come.
    Open,
    /// They were handed out; the peer may have missed the last messages and ask for them.
    Done,
    /// Nothing comes of it any more.
    Over,
}

/// One handshake, and what remains of it.
struct Association {
    own: Arc<Own>,
    config: Arc<HandshakeConfig>,
    terms: DtlsTerms,
    endpoint: Option<Endpoint>,
    begun: u8,
    /// It was closed, and is begun anew then.
    resumes: Option<Instant>,
    allowance: Allowance,
    shown: Arc<Shown>,
    stage: Stage,
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl Handshake for Association {
    fn anew(&self) -> Option<Box<dyn Handshake>> {
        self.own.begin(self.terms)
    }

    fn may_begin_with(&self, packet: &[u8]) -> bool {
        // A handshake record of the first epoch, in any version of DTLS, with a ClientHello (RFC 6347 §4.1, §4.2.2).
        matches!(packet, [22, 254, _, 0, 0, _, _, _, _, _, _, _, _, 1, ..])
    }

    fn receive(&mut self, packet: &[u8], out: &mut Vec<Vec<u8>>) -> Progress {
        if self.stage == Stage::Over || !self.allowance.takes(packet) {
            return Progress::Going;
        }
        let now = Instant::now();
        // What cannot be read is no reason to end anything (RFC 6347 §4.1.2.7): anybody may have sent it.
        let events =
            self.guarded(|endpoint| endpoint.read(now, PEER, None, packet.into()).unwrap_or_default());
        self.drain(out);
        self.progress(events)
    }

    fn tend(&mut self, out: &mut Vec<Vec<u8>>) -> Progress {
        let now = Instant::now();
        // Nobody is there of whom the library knows: a server that still waits.
        let is_due = |endpoint: &mut Endpoint| endpoint.poll_timeout(&PEER).is_some_and(|at| at <= now);
        let gave_up =
            self.guarded(|endpoint| is_due(endpoint) && endpoint.handle_timeout(PEER, now).is_err());
        let is_over = gave_up == Some(true) || self.resumes.is_some_and(|at| at <= now);
        if is_over && self.stage == Stage::Open && !self.begin(now) {
            return self.fail();
        }
        self.drain(out);
        self.progress(Some(Vec::new()))
    }
}

impl Association {
    /// Begins, or begins anew. Whether there is another time.
    fn begin(&mut self, now: Instant) -> bool {
        self.resumes = None;
        self.begun += 1;
        if self.begun > MAX_BEGUN {
            return false;
        }
        let (local, is_active) = (PEER, self.terms.active);
        let as_server = (!is_active).then(|| Arc::clone(&self.config));
        self.endpoint = Some(Endpoint::new(local, TransportProtocol::UDP, as_server));
        let config = Arc::clone(&self.config);
        !is_active || self.guarded(|endpoint| endpoint.connect(now, PEER, config, None).is_ok()) == Some(true)
    }

    /// Lets the library do something; `None` when it panicked, and then it is not asked again.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut Endpoint) -> T) -> Option<T> {
        let endpoint = self.endpoint.as_mut()?;
        let done = catch_unwind(AssertUnwindSafe(|| act(endpoint)));
        if done.is_err() {
            tracing::error!("a DTLS handshake panicked and is given up");
            self.endpoint = None;
        }
        done.ok()
    }

    fn drain(&mut self, out: &mut Vec<Vec<u8>>) {
        self.guarded(|endpoint| {
            out.extend(std::iter::from_fn(|| endpoint.poll_transmit()).map(|sent| sent.message.to_vec()));
        });
    }

    fn progress(&mut self, events: Option<Vec<EndpointEvent>>) -> Progress {
        let Some(events) = events else { return self.fail() };
        let has = |wanted: fn(&EndpointEvent) -> bool| events.iter().any(wanted);
        let is_closed = has(|event| matches!(event, EndpointEvent::PeerClosed));
        if is_closed && self.stage == Stage::Done {
            // That the peer closes the association says nothing of its media (RFC 5764 §3): its keys are good.
            self.stage = Stage::Over;
        }
        if self.stage != Stage::Open {
            return Progress::Going;
        }
        if self.shown.other.load(Relaxed) {
            self.stage = Stage::Over;
            return Progress::WrongCertificate;
        }
        if is_closed && self.terms.active {
            // No alert is authentic before there are keys: anybody may have written it. Not at once: each time is one of a few.
            self.resumes = Some(Instant::now() + FLIGHT);
            return Progress::Going;
        }
        if is_closed {
            return self.fail();
        }
        if !has(|event| matches!(event, EndpointEvent::HandshakeComplete)) {
            return Progress::Going;
        }
        let keys = self.shown.named.load(Relaxed).then(|| self.keys()).flatten();
        match keys {
            Some(keys) => {
                self.stage = Stage::Done;
                Progress::Done(Box::new(keys))
            }
            None => self.fail(),
        }
    }

    fn fail(&mut self) -> Progress {
        self.stage = Stage::Over;
        Progress::Failed
    }

    fn keys(&self) -> Option<SrtpKeys> {
        let state = self.endpoint.as_ref()?.get_connection_state(PEER)?;
        let suite = suite(state.srtp_protection_profile())?;
        let length = 2 * (suite.key_length() + suite.salt_length());
        let material = state.export_keying_material(EXPORTER, &[], length).ok()?;
        srtp_keys(material.as_ref(), suite, self.terms.active)
    }
}

fn suite(profile: SrtpProtectionProfile) -> Option<SrtpSuite> {
    match profile {
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Some(SrtpSuite::AesCm128Sha1_80),
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32 => Some(SrtpSuite::AesCm128Sha1_32),
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Some(SrtpSuite::AeadAes128Gcm),
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => Some(SrtpSuite::AeadAes256Gcm),
        _ => None,
    }
}

/// RFC 5764 §4.2: both keys, then both salts, the client's first.
fn srtp_keys(material: &[u8], suite: SrtpSuite, is_client: bool) -> Option<SrtpKeys> {
    let (keys, salts) = material.split_at_checked(suite.key_length() * 2)?;
    let (client_key, server_key) = keys.split_at_checked(suite.key_length())?;
    let (client_salt, server_salt) = salts.split_at_checked(suite.salt_length())?;
    let master = |key: &[u8], salt: &[u8]| MasterKey::new(suite, &Zeroizing::new([key, salt].concat()));
    let (client, server) = (master(client_key, client_salt)?, master(server_key, server_salt)?);
    let (inbound, outbound) = if is_client { (server, client) } else { (client, server) };
    Some(SrtpKeys { suite, inbound, outbound })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Hands packets to and fro until both are done; the keys of the one that begins and of the other.
    fn shake(client: &mut dyn Handshake, server: &mut dyn Handshake) -> [Option<SrtpKeys>; 2] {
        shake_once(begun(client), client, server)
    }

    /// What a client sends first, as soon as it does.
    fn begun(client: &mut dyn Handshake) -> Vec<Vec<u8>> {
        let (mut hello, begin) = (Vec::new(), Instant::now());
        while hello.is_empty() && begin.elapsed() < Duration::from_secs(10) {
            assert!(matches!(client.tend(&mut hello), Progress::Going));
        }
        hello
    }

    fn shake_once(
        mut to_server: Vec<Vec<u8>>,
        client: &mut dyn Handshake,
        server: &mut dyn Handshake,
    ) -> [Option<SrtpKeys>; 2] {
        let mut keys = [None, None];
        let mut note = |at: usize, progress: Progress| {
            if let Progress::Done(done) = progress {
                keys[at] = Some(*done);
            }
        };
        let mut to_client = Vec::new();
        for _ in 0..12 {
            for packet in std::mem::take(&mut to_server) {
                note(1, server.receive(&packet, &mut to_client));
            }
            for packet in std::mem::take(&mut to_client) {
                note(0, client.receive(&packet, &mut to_server));
            }
        }
        keys
    }

    fn terms(of: &Identity, active: bool) -> DtlsTerms {
        DtlsTerms { fingerprint: of.fingerprint(), active }
    }

    #[test]
    fn both_ends_come_to_the_same_keys() {
        let (one, other) = (Identity::new().unwrap(), Identity::new().unwrap());
        let mut client = one.begin(terms(&other, true)).unwrap();
        let mut server = other.begin(terms(&one, false)).unwrap();
        let [client, server] = shake(&mut *client, &mut *server).map(Option::unwrap);
        assert_eq!(client.suite, server.suite);
        assert_eq!((&client.inbound, &client.outbound), (&server.outbound, &server.inbound));
        assert_ne!(client.inbound, client.outbound);
    }

    #[test]
    fn another_certificate_than_was_described_gives_no_keys() {
        let (one, other, third) =
            (Identity::new().unwrap(), Identity::new().unwrap(), Identity::new().unwrap());
        for (of_server, of_client) in [(&third, &one), (&other, &third)] {
            let mut client = one.begin(terms(of_server, true)).unwrap();
            let mut server = other.begin(terms(of_client, false)).unwrap();
            let [client, server] = shake(&mut *client, &mut *server);
            assert!(client.is_none() && server.is_none());
        }
    }

    /// `make bench-srtp`. The fastest counts: nobody else was on the processor then.
    #[test]
    #[ignore = "a measurement, for an optimised build"]
    fn figures() {
        let (one, other) = (Identity::new().unwrap(), Identity::new().unwrap());
        let mut fastest = Duration::MAX;
        for _ in 0..200 {
            let begin = Instant::now();
            let mut client = one.begin(terms(&other, true)).unwrap();
            let mut server = other.begin(terms(&one, false)).unwrap();
            assert!(shake(&mut *client, &mut *server).iter().all(Option::is_some));
            fastest = fastest.min(begin.elapsed());
        }
        println!("DTLS: {:.2} ms for a handshake, both ends together", fastest.as_secs_f64() * 1e3);
    }

    /// Before there are keys anybody can write that an end closes the association.
    #[test]
    fn a_handshake_that_somebody_closes_is_begun_again() {
        let (one, other) = (Identity::new().unwrap(), Identity::new().unwrap());
        let mut client = one.begin(terms(&other, true)).unwrap();
        let mut server = other.begin(terms(&one, false)).unwrap();
        begun(&mut *client);
        let close_notify = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1, 0];
        for _ in 0..50 {
            assert!(matches!(client.receive(&close_notify, &mut Vec::new()), Progress::Going));
        }
        let again = begun(&mut *client);
        assert!(shake_once(again, &mut *client, &mut *server).iter().all(Option::is_some));
    }

    #[test]
    fn noise_does_not_end_a_handshake() {
        let (one, other) = (Identity::new().unwrap(), Identity::new().unwrap());
        let mut client = one.begin(terms(&other, true)).unwrap();
        let mut server = other.begin(terms(&one, false)).unwrap();
        let mut out = Vec::new();
        for noise in
            [&[22, 1][..], &[20; 40], &[63; 2000], &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]]
        {
            server.receive(noise, &mut out);
        }
        assert!(shake(&mut *client, &mut *server).iter().all(Option::is_some));
    }
}
