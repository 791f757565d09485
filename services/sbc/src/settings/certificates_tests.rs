//! Which files are taken for a listener, and what is said of those that are not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::settings::Settings;

/// Certificates in a folder of their own.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let folder =
            std::env::temp_dir().join(format!("drawbridge-certificates-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    /// What is said of a file with a TLS listener, without the folder's name.
    fn mistakes(&self, keys: &str) -> Vec<String> {
        let keys = keys.replace("= \"", &format!("= \"{}/", self.0.display()));
        self.write(
            "box.toml",
            &format!("[[listener]]\nname = 'tls'\ntransport = 'tls'\nbind = '127.0.0.1:0'\n{keys}"),
        );
        let path = self.0.join("box.toml");
        let said = Settings::load(Some(&path)).err().map(|error| error.to_string()).unwrap_or_default();
        said.replace(&format!("{}/", self.0.display()), "").lines().map(str::to_owned).collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn authority() -> (rcgen::Certificate, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), Issuer::new(params, key))
}

#[test]
fn files_that_belong_together_are_taken() {
    let files = Files::new("good");
    let ((root, issuer), key) = (authority(), KeyPair::generate().unwrap());
    let leaf = CertificateParams::new(vec!["edge.example".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    files.write("edge.pem", &leaf.pem());
    files.write("chain.pem", &(leaf.pem() + &root.pem()));
    files.write("edge.key", &key.serialize_pem());
    files.write("ca.pem", &root.pem());
    for certificate in ["edge.pem", "chain.pem"] {
        let keys = format!(
            "certificate = \"{certificate}\"\nprivate_key = \"edge.key\"\nclient_ca = \"ca.pem\"\nserver_ca = \"ca.pem\""
        );
        assert_eq!(files.mistakes(&keys), [""; 0]);
    }
}

#[test]
fn a_listener_may_have_further_certificates_for_other_names() {
    let files = Files::new("names");
    let ((_, issuer), key) = (authority(), KeyPair::generate().unwrap());
    let leaf = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap().pem()
    };
    files.write("edge.pem", &leaf(&["edge.example"]));
    files.write("other.pem", &leaf(&["other.example", "*.other.example"]));
    files.write("address.pem", &leaf(&["192.0.2.1"]));
    files.write("edge.key", &key.serialize_pem());
    files.write("wrong.key", &KeyPair::generate().unwrap().serialize_pem());
    let own = "certificate = \"edge.pem\"\nprivate_key = \"edge.key\"\n";
    let said = |others: &str| files.mistakes(&format!("{own}{others}"));
    let other = "{ certificate = \"other.pem\", private_key = \"edge.key\" }";
    assert_eq!(said(&format!("certificates = [{other}]")), [""; 0]);
    let tables = "[[listener.certificates]]\ncertificate = \"other.pem\"\nprivate_key = \"edge.key\"\n";
    assert_eq!(said(&format!("{tables}{tables}")), [""; 0]);
    for (others, expected) in [
        (
            format!(
                "certificates = [\n{other},\n{{ certificate = \"gone.pem\", private_key = \"edge.key\" }}]"
            ),
            "box.toml:9: listener.certificates.certificate: gone.pem: expected a readable PEM file",
        ),
        (
            format!(
                "certificates = [\n{other},\n{{ certificate = \"other.pem\", private_key = \"wrong.key\" }}]"
            ),
            "box.toml:9: listener.certificates.private_key: wrong.key: expected the key of the certificate",
        ),
        (
            "certificates = [{ certificate = \"address.pem\", private_key = \"edge.key\" }]".to_owned(),
            "box.toml:7: listener.certificates.certificate: address.pem: expected a certificate with names",
        ),
        (
            "certificates = [{ certificate = \"other.pem\" }]".to_owned(),
            "box.toml:7: listener.certificates.private_key: missing: expected the path of a PEM file",
        ),
        (
            "certificates = \"other.pem\"".to_owned(),
            "box.toml:7: listener.certificates: a string: expected tables headed [[listener.certificates]]",
        ),
        (
            format!("certificates = [{}]", vec![other; 64].join(",\n")),
            "box.toml:70: listener.certificates.certificate: \"other.pem\": expected at most 64 certificates",
        ),
    ] {
        let found = said(&others);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:#?}");
    }
}

/// Nobody reads octets as numbers, or knows what the library calls things.
#[test]
fn what_is_wrong_with_a_file_is_said_in_words() {
    let files = Files::new("words");
    let ((root, issuer), key) = (authority(), KeyPair::generate().unwrap());
    let leaf = CertificateParams::new(vec!["edge.example".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (pem, key) = (leaf.pem(), key.serialize_pem());
    let cut = |pem: &str| pem.lines().take(3).collect::<Vec<_>>().join("\n");
    files.write("edge.pem", &pem);
    files.write("edge.key", &key);
    files.write("cut.pem", &cut(&pem));
    files.write("cut.key", &cut(&key));
    files.write("typo.pem", &pem.replace("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE---"));
    files.write("digits.pem", &pem.replacen("MII", "M!I", 1));
    files.write("no-der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.write("two-roots.pem", &(root.pem() + &root.pem()));
    let pair =
        |certificate: &str, key: &str| format!("certificate = \"{certificate}\"\nprivate_key = \"{key}\"");
    for (keys, expected) in [
        (pair("cut.pem", "edge.key"), "(a file that ends before -----END CERTIFICATE-----)"),
        (pair("edge.pem", "cut.key"), "(a file that ends before -----END PRIVATE KEY-----)"),
        (pair("typo.pem", "edge.key"), "(the line \"-----BEGIN CERTIFICATE---\")"),
        (pair("digits.pem", "edge.key"), "(a line that is not base64)"),
        (pair("no-der.pem", "edge.key"), "(what is no X.509 certificate, or a part of one)"),
        (pair("edge.pem", "edge.pem"), "(no such key in the file)"),
        (pair("two-roots.pem", "edge.key"), "(an authority's certificate in the place of a host's)"),
    ] {
        let said = files.mistakes(&keys);
        assert!(said.len() == 1 && said[0].ends_with(expected), "{expected}: {said:#?}");
    }
}

#[test]
fn every_file_that_cannot_be_used_is_named_with_its_line_and_the_reason() {
    let files = Files::new("bad");
    let ((root, issuer), (stranger, _)) = (authority(), authority());
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let leaf = |expired: bool| {
        let mut params = CertificateParams::new(vec!["edge.example".into()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        params.signed_by(&key, &issuer).unwrap().pem()
    };
    files.write("edge.pem", &leaf(false));
    files.write("wrong-way.pem", &(root.pem() + &leaf(false)));
    files.write("strange.pem", &(leaf(false) + &stranger.pem()));
    files.write("old.pem", &(leaf(true) + &root.pem()));
    files.write("edge.key", &key.serialize_pem());
    files.write("other.key", &other.serialize_pem());
    files.write("empty", "");
    for (keys, expected) in [
        (
            "certificate = \"gone.pem\"\nprivate_key = \"edge.key\"",
            "box.toml:5: listener.certificate: gone.pem: expected a readable PEM file (No such file",
        ),
        (
            "certificate = \"empty\"\nprivate_key = \"edge.key\"",
            "box.toml:5: listener.certificate: empty: expected a PEM file with one certificate or more (no certificate",
        ),
        (
            "certificate = \"strange.pem\"\nprivate_key = \"edge.key\"",
            "box.toml:5: listener.certificate: strange.pem: expected the certificate first, then who signed it",
        ),
        (
            "certificate = \"wrong-way.pem\"\nprivate_key = \"edge.key\"",
            "box.toml:5: listener.certificate: wrong-way.pem: expected",
        ),
        (
            "certificate = \"old.pem\"\nprivate_key = \"edge.key\"",
            "box.toml:5: listener.certificate: old.pem: expected a chain that is valid now",
        ),
        (
            "certificate = \"edge.pem\"\nprivate_key = \"empty\"",
            "box.toml:6: listener.private_key: empty: expected a PEM file with one unencrypted private key",
        ),
        (
            "certificate = \"edge.pem\"\nprivate_key = \"other.key\"",
            "box.toml:6: listener.private_key: other.key: expected the key of the certificate (another certificate's key)",
        ),
        (
            "certificate = \"edge.pem\"\nprivate_key = \"edge.key\"\nclient_ca = \"edge.key\"",
            "box.toml:7: listener.client_ca: edge.key: expected a PEM file with one certificate or more",
        ),
    ] {
        let said = files.mistakes(keys);
        assert!(said.len() == 1 && said[0].starts_with(expected), "{expected}: {said:#?}");
    }
}
