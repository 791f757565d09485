//! An authority of the test's own, the files that a listener of the box names, and what a peer needs to believe them.

use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;

use crate::place::Place;

/// Signs certificates.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Another one each time.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    fn identity(&self, names: &[String]) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.to_vec()).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Writes `edge.pem`, `edge.key` for these names and addresses, and `ca.pem`, into the place's folder; gives the keys
    /// of a listener that name them.
    pub fn write(&self, place: &Place, names: &[String]) -> String {
        let (certificate, key) = self.identity(names);
        let chain = certificate.pem() + &self.certificate.pem();
        let chain = place.write("edge.pem", &chain);
        let key = place.write("edge.key", &key.serialize_pem());
        place.write("ca.pem", &self.certificate.pem());
        format!("certificate = \"{}\"\nprivate_key = \"{}\"\n", chain.display(), key.display())
    }

    /// A peer that is connected to by these names and addresses.
    pub fn server(&self, names: &[String]) -> Arc<ServerConfig> {
        let (certificate, key) = self.identity(names);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.unwrap())
    }

    /// A peer that believes this authority, and shows a certificate of `identity` when it is asked for one.
    pub fn client(&self, identity: Option<&Authority>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match identity.map(|authority| authority.identity(&["peer.example".to_owned()])) {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        })
    }
}
