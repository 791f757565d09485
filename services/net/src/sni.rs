//! Which certificate a peer that connects is shown: one that is for the name it asks for (SNI, RFC 6066 §3), else the
//! listener's own.
//!
//! What a name is for is read from the certificate's subject alternative names with the rules by which the peer will judge it,
//! wildcards among them. A peer that says no name, as one does that knows the box by its address, gets the listener's own.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;

/// The certificates of a listener with their keys.
#[derive(Debug)]
pub(crate) struct ByName {
    pub(crate) own: Arc<CertifiedKey>,
    pub(crate) others: Box<[Arc<CertifiedKey>]>,
}

impl ByName {
    fn of(&self, name: &str) -> &Arc<CertifiedKey> {
        let Ok(name) = ServerName::try_from(name) else { return &self.own };
        // The listener's own first: of two for one name, the first counts.
        let all = std::iter::once(&self.own).chain(&self.others);
        all.into_iter().find(|shown| is_for(shown, &name)).unwrap_or(&self.own)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().filter(|_| !self.others.is_empty());
        Some(Arc::clone(asked.map_or(&self.own, |name| self.of(name))))
    }
}

/// Read anew for each handshake: that is a thousandth of what the handshake costs, and nothing to keep beside the certificate.
fn is_for(shown: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = shown.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

/// Whether any peer can ask for a certificate by a name of it.
pub(crate) fn has_name(shown: &CertifiedKey) -> bool {
    let certificate = shown.end_entity_cert().ok();
    let certificate = certificate.and_then(|certificate| webpki::EndEntityCert::try_from(certificate).ok());
    certificate.is_some_and(|certificate| certificate.valid_dns_names().next().is_some())
}
