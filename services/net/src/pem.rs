//! Reading certificates and keys from PEM, and saying in words what is wrong with them: whoever reads that has a file in front
//! of them, not this program.

use rustls::{CertificateError, Error, OtherError, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::{TlsError, TlsPart};

/// Certificates of one file; a chain has three, a file of roots a few hundred.
const MAX_CERTIFICATES: usize = 1024;

pub(crate) fn certificates(pem: &[u8], part: TlsPart) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |came| TlsError { part, came, expected: "a PEM file with one certificate or more" };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(MAX_CERTIFICATES).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong("no certificate in the file".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(of_pem(&error))),
    }
}

pub(crate) fn private_key(pem: &[u8], part: TlsPart) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| TlsError {
        part,
        came: match error {
            pem::Error::NoItemsFound => "no such key in the file".to_owned(),
            error => of_pem(&error),
        },
        expected: "a PEM file with one unencrypted private key",
    })
}

pub(crate) fn roots(pem: &[u8], part: TlsPart) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem, part)? {
        store.add(certificate).map_err(|error| bad_roots(part, of_tls(&error)))?;
    }
    Ok(store)
}

pub(crate) fn bad_roots(part: TlsPart, came: String) -> TlsError {
    TlsError { part, came, expected: "certificates of authorities" }
}

fn of_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("a file that ends before -----END {}-----", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("the line {:?}", String::from_utf8_lossy(line).trim_end())
        }
        pem::Error::Base64Decode(_) => "a line that is not base64".to_owned(),
        // The library may learn of more.
        other => other.to_string(),
    }
}

/// What the library finds wrong with a certificate.
pub(crate) fn of_tls(error: &Error) -> String {
    let Error::InvalidCertificate(fault) = error else { return error.to_string() };
    let what = match fault {
        CertificateError::BadEncoding => "what is no X.509 certificate, or a part of one",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "a certificate that has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "a certificate that is not valid yet"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "a certificate that is not for servers"
        }
        CertificateError::Other(OtherError(other)) => {
            return match other.downcast_ref::<webpki::Error>() {
                Some(fault) => of_webpki(fault),
                None => other.to_string(),
            };
        }
        other => return other.to_string(),
    };
    what.to_owned()
}

fn of_webpki(fault: &webpki::Error) -> String {
    use webpki::Error as Fault;
    let what = match fault {
        Fault::CaUsedAsEndEntity => "an authority's certificate in the place of a host's",
        Fault::EndEntityUsedAsCa => "a host's certificate in the place of an authority's",
        Fault::PathLenConstraintViolated => "an authority that may not sign for another one",
        Fault::NameConstraintViolation => "a name that its authority may not sign for",
        Fault::UnsupportedCertVersion => "a certificate that is not of version 3",
        other => return format!("a certificate with the fault {other}"),
    };
    what.to_owned()
}
