//! DTLS-SRTP (RFC 5763, RFC 5764): the certificate of this process, and handshakes on media ports.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use call::{DtlsTerms, SrtpKeys};
use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use ring::digest::{SHA256, digest};
use sip::{Fingerprint, MasterKey, SrtpSuite};

use crate::stream::{Handshake, Progress};

/// The largest record that is sent.
const RECORD: usize = 2048;
/// More outputs than one input has.
const MAX_OUTPUTS: usize = 64;

/// The certificate that the relay shows, made at its start and good for its life.
pub(crate) struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// `None` when the system has no randomness, or the library no suite.
    pub(crate) fn new() -> Option<Identity> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).ok()?;
        let mut params = rcgen::CertificateParams::new(Vec::new()).ok()?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "media");
        let certificate = params.self_signed(&key).ok()?.der().to_vec();
        let fingerprint = fingerprint(&certificate)?;
        let certificate = DtlsCertificate { certificate, private_key: key.serialize_der() };
        let config = Config::builder().build().ok()?;
        Some(Identity { certificate, config: Arc::new(config), fingerprint })
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A handshake to these terms.
    pub(crate) fn begin(&self, terms: DtlsTerms) -> Box<dyn Handshake> {
        let mut dtls = Dtls::new_12(Arc::clone(&self.config), self.certificate.clone(), Instant::now());
        dtls.set_active(terms.active);
        Box::new(Association { dtls, terms, is_proven: false, has_failed: false })
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

/// One handshake, and what remains of it.
struct Association {
    dtls: Dtls,
    terms: DtlsTerms,
    /// The peer showed the certificate that its description names.
    is_proven: bool,
    has_failed: bool,
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl Handshake for Association {
    fn receive(&mut self, packet: &[u8], out: &mut Vec<Vec<u8>>) -> Progress {
        self.has_failed |= self.dtls.handle_timeout(Instant::now()).is_err();
        if !self.has_failed {
            self.has_failed |= self.dtls.handle_packet(packet).is_err();
        }
        self.drain(out)
    }

    fn tend(&mut self, out: &mut Vec<Vec<u8>>) -> Progress {
        self.has_failed |= self.dtls.handle_timeout(Instant::now()).is_err();
        self.drain(out)
    }
}

impl Association {
    fn drain(&mut self, out: &mut Vec<Vec<u8>>) -> Progress {
        if self.has_failed {
            return Progress::Failed;
        }
        let mut buffer = vec![0; RECORD];
        let mut keys = None;
        for _ in 0..MAX_OUTPUTS {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => out.push(packet.to_vec()),
                Output::PeerCert(certificate) => {
                    self.is_proven = fingerprint(certificate) == Some(self.terms.fingerprint);
                    self.has_failed |= !self.is_proven;
                }
                Output::KeyingMaterial(material, profile) => {
                    keys = srtp_keys(&material, profile, self.terms.active);
                }
                Output::Timeout(_) => break,
                Output::BufferTooSmall { needed } => buffer.resize(needed.min(1 << 16), 0),
                // Nobody speaks of anything but keys here; that the peer closes it says nothing of its media.
                _ => {}
            }
        }
        match keys {
            _ if self.has_failed => Progress::Failed,
            Some(keys) if self.is_proven => Progress::Done(Box::new(keys)),
            Some(_) => Progress::Failed,
            None => Progress::Going,
        }
    }
}

/// RFC 5764 §4.2: both keys, then both salts, the client's first.
fn srtp_keys(material: &[u8], profile: SrtpProfile, is_client: bool) -> Option<SrtpKeys> {
    let suite = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => SrtpSuite::AesCm128Sha1_80,
        SrtpProfile::AEAD_AES_128_GCM => SrtpSuite::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => SrtpSuite::AeadAes256Gcm,
        _ => return None,
    };
    let (keys, salts) = material.split_at_checked(suite.key_length() * 2)?;
    let (client_key, server_key) = keys.split_at_checked(suite.key_length())?;
    let (client_salt, server_salt) = salts.split_at_checked(suite.salt_length())?;
    let client = MasterKey::new(suite, &[client_key, client_salt].concat())?;
    let server = MasterKey::new(suite, &[server_key, server_salt.get(..suite.salt_length())?].concat())?;
    let (inbound, outbound) = if is_client { (server, client) } else { (client, server) };
    Some(SrtpKeys { suite, inbound, outbound })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Hands packets to and fro until both are done; the keys of the one that begins and of the other.
    fn shake(client: &mut dyn Handshake, server: &mut dyn Handshake) -> [Option<SrtpKeys>; 2] {
        let mut keys = [None, None];
        let mut note = |at: usize, progress: Progress| {
            if let Progress::Done(done) = progress {
                keys[at] = Some(*done);
            }
        };
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        note(0, client.tend(&mut to_server));
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
        let mut client = one.begin(terms(&other, true));
        let mut server = other.begin(terms(&one, false));
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
            let mut client = one.begin(terms(of_server, true));
            let mut server = other.begin(terms(of_client, false));
            let [client, server] = shake(&mut *client, &mut *server);
            assert!(client.is_none() || server.is_none());
            assert_eq!(client.is_none(), std::ptr::eq(of_server, &third));
        }
    }

    #[test]
    fn noise_does_not_end_a_handshake() {
        let (one, other) = (Identity::new().unwrap(), Identity::new().unwrap());
        let mut client = one.begin(terms(&other, true));
        let mut server = other.begin(terms(&one, false));
        let mut out = Vec::new();
        for noise in
            [&[22, 1][..], &[20; 40], &[63; 2000], &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]]
        {
            server.receive(noise, &mut out);
        }
        assert!(shake(&mut *client, &mut *server).iter().all(Option::is_some));
    }
}
