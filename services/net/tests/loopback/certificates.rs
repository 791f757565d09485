//! Authorities, certificates and keys of the tests' own, and what a peer needs to trust them.

use std::sync::Arc;

use net::{Tls, TlsFiles};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;

/// Signs certificates.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Identity {
    pub certificate: Certificate,
    pub key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    /// For a host name or an address.
    pub fn identity(&self, name: &str) -> Identity {
        self.identity_of(&[name])
    }

    /// For several.
    pub fn identity_of(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        Identity { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// A peer that believes this authority, and shows `identity` when it has one and is asked.
    pub fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        Arc::new(match identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(vec![identity.certificate.der().clone()], identity.der())
                .unwrap(),
        })
    }
}

impl Identity {
    pub fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    /// What a listener of the box shows, and whom it believes.
    pub fn tls(&self, client_ca: Option<&Authority>, server_ca: Option<&Authority>) -> Tls {
        self.tls_beside(&[], client_ca, server_ca)
    }

    /// The same with others for their names.
    pub fn tls_beside(
        &self,
        others: &[&Identity],
        client_ca: Option<&Authority>,
        server_ca: Option<&Authority>,
    ) -> Tls {
        let others: Vec<_> =
            others.iter().map(|other| (other.certificate.pem(), other.key.serialize_pem())).collect();
        let others: Vec<_> =
            others.iter().map(|(certificate, key)| (certificate.as_bytes(), key.as_bytes())).collect();
        let pem = |authority: Option<&Authority>| authority.map(Authority::pem);
        let (client_ca, server_ca) = (pem(client_ca), pem(server_ca));
        Tls::new(&TlsFiles {
            certificate: self.certificate.pem().as_bytes(),
            private_key: self.key.serialize_pem().as_bytes(),
            others: &others,
            client_ca: client_ca.as_deref().map(str::as_bytes),
            server_ca: server_ca.as_deref().map(str::as_bytes),
        })
        .unwrap()
    }

    /// A peer that is connected to.
    pub fn server(&self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], self.der());
        Arc::new(config.unwrap())
    }
}
