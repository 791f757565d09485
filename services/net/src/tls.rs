//! What an encrypted listener shows of itself and whom it believes, made from PEM files.
//!
//! One [`Tls`] serves both directions: connections that are accepted on the listener show the certificate of the name that
//! is asked for ([`sni`](crate::sni)), those that are opened from it the listener's own. It is swapped as a whole ([`Handle::renew`](crate::Handle::renew)): connections keep what
//! they were opened with, handshakes that begin afterwards see the new one.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::pem;
use crate::sni::{self, ByName};

/// The most certificates of one listener: of a name that is asked for each is looked at in turn.
pub const MAX_IDENTITIES: usize = 64;

/// The contents of the files that a listener names.
#[derive(Clone, Copy, Debug)]
pub struct TlsFiles<'a> {
    /// The certificate, then those that lead from it to a root.
    pub certificate: &'a [u8],
    /// The key of the certificate.
    pub private_key: &'a [u8],
    /// Further certificates, each with its key, for peers that connect and ask for one of their names.
    pub others: &'a [(&'a [u8], &'a [u8])],
    /// Who may sign the certificates of peers that connect; with it, a peer without one is refused.
    pub client_ca: Option<&'a [u8]>,
    /// Who may sign the certificates of peers that are connected to; without it, whom the system trusts.
    pub server_ca: Option<&'a [u8]>,
}

/// One of the [`TlsFiles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// `certificate`; from 1 on those of `others`.
    Certificate(usize),
    /// `private_key`; from 1 on those of `others`.
    PrivateKey(usize),
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
        let own = identity(0, files.certificate, files.private_key, &provider)?;
        let others = others(files.others, &provider)?;
        let versions = |error: Error| unusable_key(TlsPart::PrivateKey(0), &error);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(versions)?
            .with_client_cert_verifier(match files.client_ca {
                None => Arc::new(NoClientAuth),
                Some(ca) => {
                    let roots = Arc::new(pem::roots(ca, TlsPart::ClientCa)?);
                    let verifier =
                        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
                    verifier.map_err(|error| pem::bad_roots(TlsPart::ClientCa, error.to_string()))?
                }
            })
            .with_cert_resolver(Arc::new(ByName { own: Arc::clone(&own), others }));
        let trusted = match files.server_ca {
            Some(ca) => pem::roots(ca, TlsPart::ServerCa)?,
            None => system_roots(),
        };
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(versions)?
            .with_root_certificates(trusted)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        Ok(Tls { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// A certificate with the key that belongs to it; `which` of the listener's.
fn identity(
    which: usize,
    certificate: &[u8],
    private_key: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = pem::certificates(certificate, TlsPart::Certificate(which))?;
    check_chain(which, &chain, provider)?;
    let part = TlsPart::PrivateKey(which);
    let key = pem::private_key(private_key, part)?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(|error| unusable_key(part, &error))
}

/// Those beside the listener's own. One that nobody can ask for would never be shown.
fn others(
    files: &[(&[u8], &[u8])],
    provider: &Arc<CryptoProvider>,
) -> Result<Box<[Arc<CertifiedKey>]>, TlsError> {
    let mut others = Vec::with_capacity(files.len());
    for (which, (certificate, private_key)) in (1..MAX_IDENTITIES).zip(files) {
        let other = identity(which, certificate, private_key, provider)?;
        if !sni::has_name(&other) {
            return Err(TlsError {
                part: TlsPart::Certificate(which),
                came: "one without a DNS name".to_owned(),
                expected: "a certificate with names that peers can ask for (subject alternative names)",
            });
        }
        others.push(other);
    }
    Ok(others.into())
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
fn check_chain(
    which: usize,
    chain: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<(), TlsError> {
    let wrong = |came: String, expected| TlsError { part: TlsPart::Certificate(which), came, expected };
    let [first, between @ .., last] = chain else {
        return match chain {
            [only] => rustls::server::ParsedCertificate::try_from(only)
                .map(|_| ())
                .map_err(|error| wrong(pem::of_tls(&error), "an X.509 certificate, version 3")),
            _ => Ok(()),
        };
    };
    let mut anchor = RootCertStore::empty();
    anchor
        .add(last.clone())
        .map_err(|error| wrong(pem::of_tls(&error), "an authority's certificate at the end of the chain"))?;
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
        Err(error) => Err(wrong(pem::of_tls(&error), "a chain that is valid now, the certificate first")),
    }
}

fn unusable_key(part: TlsPart, error: &Error) -> TlsError {
    let came = match error {
        Error::InconsistentKeys(_) => "another certificate's key".to_owned(),
        other => other.to_string(),
    };
    TlsError { part, came, expected: "the key of the certificate" }
}
