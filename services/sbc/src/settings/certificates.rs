//! The certificates of encrypted listeners: which keys a `[[listener]]` may have, and reading the files that they name.
//!
//! The files are read with the configuration, so that `drawbridge check` finds what is wrong in them, and again with each
//! reload, whether or not the keys have changed: a renewed certificate has the old name.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use net::{MAX_IDENTITIES, Tls, TlsError, TlsFiles, TlsPart};
use sip::Transport;
use toml::de::DeValue;

use super::section::{Expected, Placed, Section};
use super::values::path;
use super::{Listener, Mistake};

/// More than any chain or list of authorities has.
const LARGEST_FILE: u64 = 4 << 20;

/// A file that the configuration names, and where it does. Equal when the name is.
#[derive(Clone, Debug)]
pub struct Named {
    /// As written.
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

impl PartialEq for Named {
    fn eq(&self, other: &Named) -> bool {
        self.path == other.path
    }
}

impl Eq for Named {}

impl From<Placed<PathBuf>> for Named {
    fn from(placed: Placed<PathBuf>) -> Named {
        Named { path: placed.value, line: placed.place.line }
    }
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: Named,
    /// Its key.
    pub private_key: Named,
}

/// The files of an encrypted listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate with its chain.
    pub certificate: Named,
    /// Its key.
    pub private_key: Named,
    /// Those that are shown to who asks for one of their names.
    pub others: Vec<Pair>,
    /// Who may sign the certificates of those who connect.
    pub client_ca: Option<Named>,
    /// Who may sign the certificates of those who are connected to.
    pub server_ca: Option<Named>,
}

/// The certificate keys belong to an encrypted listener, and it cannot do without the first two. Without a known
/// transport only their form is checked.
pub(super) fn read(section: &mut Section<'_>, transport: Option<Transport>) -> Option<Certificate> {
    let encrypted = transport.map(|transport| match transport {
        Transport::Tls | Transport::Wss => true,
        Transport::Udp | Transport::Tcp | Transport::Ws => false,
    });
    if encrypted == Some(true) {
        section.needed("certificate", "the path of a PEM file, for tls and wss");
        section.needed("private_key", "the path of a PEM file, for tls and wss");
    }
    let mut key = |key| {
        let written = section.get(key, path)?;
        if encrypted == Some(false) {
            let expected = "nothing here: only tls and wss listeners have certificates";
            section.document().mistake(&written.place, expected);
        }
        Some(Named::from(written))
    };
    let (certificate, private_key) = (key("certificate"), key("private_key"));
    let (client_ca, server_ca) = (key("client_ca"), key("server_ca"));
    let others = others(section, encrypted);
    let (certificate, private_key) = (certificate?, private_key?);
    Some(Certificate { certificate, private_key, others, client_ca, server_ca })
        .filter(|_| encrypted == Some(true))
}

/// `certificates`: further pairs, for other names.
fn others(section: &mut Section<'_>, encrypted: Option<bool>) -> Vec<Pair> {
    let document = section.document();
    let mut others = Vec::new();
    for mut pair in section.sections("certificates") {
        let certificate = pair.need("certificate", "the path of a PEM file", path);
        let private_key = pair.need("private_key", "the path of a PEM file", path);
        pair.finish();
        let (Some(certificate), Some(private_key)) = (certificate, private_key) else { continue };
        if encrypted == Some(false) {
            document
                .mistake(&certificate.place, "nothing here: only tls and wss listeners have certificates");
        } else if others.len() + 1 == MAX_IDENTITIES {
            document
                .mistake(&certificate.place, format!("at most {MAX_IDENTITIES} certificates of a listener"));
            break;
        }
        others.push(Pair { certificate: certificate.into(), private_key: private_key.into() });
    }
    others
}

/// The pages whose scripts may open a WebSocket.
pub(super) fn origins(section: &mut Section<'_>, transport: Option<Transport>) -> Vec<String> {
    let is_websocket = transport.is_none_or(|transport| match transport {
        Transport::Ws | Transport::Wss => true,
        Transport::Udp | Transport::Tcp | Transport::Tls => false,
    });
    let origins = section.list("origins", "origins like \"https://phone.example.com\"", origin);
    let origins = origins.unwrap_or_default();
    if let Some(first) = origins.first().filter(|_| !is_websocket) {
        let expected = "nothing here: only ws and wss listeners are asked by pages";
        section.document().mistake(&first.place, expected);
    }
    origins.into_iter().map(|origin| origin.value).collect()
}

fn origin(value: &DeValue<'_>) -> Result<String, Expected> {
    let fits = |text: &str| {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        host.is_some_and(|host| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        })
    };
    match value.as_str() {
        Some(text) if fits(text) => Ok(text.to_owned()),
        Some(_) | None => Err(Cow::from("an origin like \"https://phone.example.com\", without a path")),
    }
}

/// Reads the files of a listener; `None` when it is not encrypted.
pub(super) fn load(listener: &Listener) -> Result<Option<Tls>, Mistake> {
    let Some(named) = &listener.certificate else { return Ok(None) };
    let certificate = contents("certificate", &named.certificate)?;
    let private_key = contents("private_key", &named.private_key)?;
    let others = named.others.iter().map(|pair| {
        let certificate = contents("certificates.certificate", &pair.certificate)?;
        Ok((certificate, contents("certificates.private_key", &pair.private_key)?))
    });
    let others: Vec<_> = others.collect::<Result<_, Mistake>>()?;
    let others: Vec<_> = others.iter().map(|(certificate, key)| (&certificate[..], &key[..])).collect();
    let optional = |key, file: &Option<Named>| file.as_ref().map(|file| contents(key, file)).transpose();
    let client_ca = optional("client_ca", &named.client_ca)?;
    let server_ca = optional("server_ca", &named.server_ca)?;
    let files = TlsFiles {
        certificate: &certificate,
        private_key: &private_key,
        others: &others,
        client_ca: client_ca.as_deref(),
        server_ca: server_ca.as_deref(),
    };
    Tls::new(&files).map(Some).map_err(|TlsError { part, came, expected }| {
        let other = |which: usize| named.others.get(which - 1);
        let (key, file) = match part {
            TlsPart::Certificate(0) => ("certificate", Some(&named.certificate)),
            TlsPart::PrivateKey(0) => ("private_key", Some(&named.private_key)),
            TlsPart::Certificate(which) => {
                ("certificates.certificate", other(which).map(|pair| &pair.certificate))
            }
            TlsPart::PrivateKey(which) => {
                ("certificates.private_key", other(which).map(|pair| &pair.private_key))
            }
            TlsPart::ClientCa => ("client_ca", named.client_ca.as_ref()),
            TlsPart::ServerCa => ("server_ca", named.server_ca.as_ref()),
        };
        mistake(key, file.unwrap_or(&named.certificate), format!("expected {expected} ({came})"))
    })
}

fn contents(key: &str, file: &Named) -> Result<Vec<u8>, Mistake> {
    let read = |path: &Path| {
        let mut contents = Vec::new();
        File::open(path)?.take(LARGEST_FILE).read_to_end(&mut contents)?;
        Ok(contents)
    };
    read(&file.path).map_err(|error: std::io::Error| {
        mistake(key, file, format!("expected a readable PEM file ({error})"))
    })
}

fn mistake(key: &str, file: &Named, expected: String) -> Mistake {
    let came = file.path.display().to_string();
    Mistake { line: file.line, key: format!("listener.{key}"), came, expected }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
