//! What an encrypted listener shows of itself and whom it believes, made from PEM files.
//!
//! One [`Tls`] serves both directions: connections that are accepted on the listener and those that are opened from it
//! show the same certificate. It is swapped as a whole ([`Handle::renew`](crate::Handle::renew)): connections keep what
//! they were opened with, handshakes that begin afterwards see the new one.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// Certificates of one file; a chain has three, a file of roots a few hundred.
const MAX_CERTIFICATES: usize = 1024;

/// The contents of the files that a listener names.
#[derive(Clone, Copy, Debug)]
pub struct TlsFiles<'a> {
    /// The certificate, then those that lead from it to a root.
    pub certificate: &'a [u8],
    /// The key of the certificate.
    pub private_key: &'a [u8],
    /// Who may sign the certificates of peers that connect; with it, a peer without one is refused.
    pub client_ca: Option<&'a [u8]>,
    /// Who may sign the certificates of peers that are connected to; without it, whom the system trusts.
    pub server_ca: Option<&'a [u8]>,
}

/// One of the [`TlsFiles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// `certificate`
    Certificate,
    /// `private_key`
    PrivateKey,
    /// `client_ca`
    ClientCa,
    /// `server_ca`
    ServerCa,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{came}: expected {expected}")]
pub struct TlsError {
    /// Which one.
    pub part: TlsPart,
    /// What is in it.
    pub came: String,
    /// What should be.
    pub expected: &'static str,
}

/// What a listener needs for TLS.
#[derive(Clone)]
pub struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// What each listener shows now, by its index.
pub(crate) type Identities = Arc<[Option<ArcSwap<Tls>>]>;

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

impl Tls {
    /// Reads and checks the files against each other.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used, and why.
    pub fn new(files: &TlsFiles<'_>) -> Result<Tls, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(files.certificate, TlsPart::Certificate)?;
        check_chain(&chain, &provider)?;
        let key = PrivateKeyDer::from_pem_slice(files.private_key).map_err(|error| TlsError {
            part: TlsPart::PrivateKey,
            came: error.to_string(),
            expected: "a PEM file with one unencrypted private key",
        })?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable_key(&error))?
            .with_client_cert_verifier(match files.client_ca {
                None => Arc::new(NoClientAuth),
                Some(ca) => {
                    let roots = Arc::new(roots(ca, TlsPart::ClientCa)?);
                    let verifier =
                        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
                    verifier.map_err(|error| bad_roots(TlsPart::ClientCa, error.to_string()))?
                }
            })
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unusable_key(&error))?;
        let trusted = match files.server_ca {
            Some(ca) => roots(ca, TlsPart::ServerCa)?,
            None => system_roots(),
        };
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable_key(&error))?
            .with_root_certificates(trusted)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable_key(&error))?;
        Ok(Tls { server: Arc::new(server), client: Arc::new(client) })
    }
}

fn certificates(pem: &[u8], part: TlsPart) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |came| TlsError { part, came, expected: "a PEM file with one certificate or more" };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(MAX_CERTIFICATES).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong("no certificate in the file".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn roots(pem: &[u8], part: TlsPart) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem, part)? {
        store.add(certificate).map_err(|error| bad_roots(part, error.to_string()))?;
    }
    Ok(store)
}

fn bad_roots(part: TlsPart, came: String) -> TlsError {
    TlsError { part, came, expected: "certificates of authorities" }
}

/// Whom the system trusts. Nobody at all is a system without such a list: whoever is connected to is refused then.
fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(target: "net", "certificates of the system: {error}");
    }
    store.add_parsable_certificates(found.certs);
    store
}

/// Each certificate must be signed by the next one, and valid now. Whether the last is known to anybody is the peers'
/// question.
fn check_chain(chain: &[CertificateDer<'static>], provider: &Arc<CryptoProvider>) -> Result<(), TlsError> {
    let wrong = |came: String, expected| TlsError { part: TlsPart::Certificate, came, expected };
    let [first, between @ .., last] = chain else {
        return match chain {
            [only] => rustls::server::ParsedCertificate::try_from(only)
                .map(|_| ())
                .map_err(|error| wrong(error.to_string(), "an X.509 certificate, version 3")),
            _ => Ok(()),
        };
    };
    let mut anchor = RootCertStore::empty();
    anchor
        .add(last.clone())
        .map_err(|error| wrong(error.to_string(), "an authority's certificate at the end of the chain"))?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(anchor), Arc::clone(provider)).build();
    let verifier =
        verifier.map_err(|error| wrong(error.to_string(), "an authority's certificate at its end"))?;
    // Any name: a certificate that is not for it was found to be good otherwise.
    let Ok(name) = ServerName::try_from("chain.invalid") else { return Ok(()) };
    match verifier.verify_server_cert(first, between, &name, &[], UnixTime::now()) {
        Ok(_)
        | Err(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Ok(()),
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            Err(wrong(
                "a certificate that the next one has not signed".to_owned(),
                "the certificate first, then who signed it, then who signed that",
            ))
        }
        Err(error) => Err(wrong(error.to_string(), "a chain that is valid now, the certificate first")),
    }
}

fn unusable_key(error: &Error) -> TlsError {
    let came = match error {
        Error::InconsistentKeys(_) => "another certificate's key".to_owned(),
        other => other.to_string(),
    };
    TlsError { part: TlsPart::PrivateKey, came, expected: "the key of the certificate" }
}
