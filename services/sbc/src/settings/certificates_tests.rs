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
